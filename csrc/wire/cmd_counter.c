/* cmd_counter.c - INCREX, the bounded counter of Redis 8.8: one step that adds within bounds and sets the expiry.
 *
 *   INCREX key [BYINT n | BYFLOAT x] [LBOUND a] [UBOUND b] [SATURATE] [EX | PX | EXAT | PXAT n | PERSIST] [ENX]
 *
 * Answers [value, what was added]. A step that would leave the bounds answers [value, 0] and changes nothing, not even
 * the expiry; SATURATE clamps it instead. ENX sets the expiry only where there is none.
 */
#include <math.h>
#include <stdio.h>

#include "store/string.h"
#include "wire/command.h"

struct increx {
    bool is_float, saturate, persist, enx;
    uint32_t by, low, high; /* arguments; 0 = not given */
    uint32_t time_arg;
    unsigned unit;
    uint64_t expiry;
};

static bool time_word(context *c, uint32_t *i, struct increx *x) {
    if (!arg_expiry_unit(c, *i, &x->unit) || x->time_arg || x->persist || *i + 1 >= c->argc) return false;
    x->time_arg = ++*i;
    return true;
}

/* value_word reads `WORD value` into *at, once. */
static bool value_word(context *c, uint32_t *i, const char *word, uint32_t *at) {
    if (!arg_is(c, *i, word) || *at || *i + 1 >= c->argc) return false;
    *at = ++*i;
    return true;
}

static bool increx_word(context *c, uint32_t *i, struct increx *x) {
    if (arg_is(c, *i, "saturate")) return x->saturate = true;
    if (arg_is(c, *i, "enx")) return x->enx = true;
    if (arg_is(c, *i, "persist") && !x->time_arg) return x->persist = true;
    if (value_word(c, i, "byint", &x->by)) return true;
    if (value_word(c, i, "byfloat", &x->by)) return x->is_float = true;
    return value_word(c, i, "lbound", &x->low) || value_word(c, i, "ubound", &x->high) || time_word(c, i, x);
}

static fr_status parse(context *c, struct increx *x) {
    for (uint32_t i = 2; i < c->argc; i++)
        if (!increx_word(c, &i, x)) return FR_SYNTAX;
    if (x->enx && !x->time_arg) return FR_SYNTAX;
    return x->time_arg ? arg_expiry(c, x->time_arg, x->unit, &x->expiry) : FR_OK;
}

static fr_status optional_int(context *c, uint32_t i, int64_t *v) { return i ? arg_int(c, i, v) : FR_OK; }

static fr_status increx_int(context *c, const struct increx *x) {
    int64_t now, applied;
    bound_options o = {.by = 1, .within = {.lower = INT64_MIN, .upper = INT64_MAX, .saturate = x->saturate},
                       .persist = x->persist, .only_if_no_ttl = x->enx, .set_expiry = x->time_arg, .expiry = x->expiry};
    fr_status status = optional_int(c, x->by, &o.by);
    if (status == FR_OK) status = optional_int(c, x->low, &o.within.lower);
    if (status == FR_OK) status = optional_int(c, x->high, &o.within.upper);
    if (status == FR_OK && o.within.lower > o.within.upper) status = fail(c, FR_ARGUMENT, "LBOUND is above UBOUND");
    if (status == FR_OK) status = str_incr_bounded(c->st, c->t, &c->keys[0], &o, &now, &applied);
    if (status != FR_OK) return status;
    reply_array(c->out, 2);
    reply_int(c->out, now);
    reply_int(c->out, applied);
    return FR_OK;
}

/* --- BYFLOAT ----------------------------------------------------------------------------------------------------- */

static fr_status optional_float(context *c, uint32_t i, long double *v) { return i ? arg_float(c, i, v) : FR_OK; }

/* present reads the key's value as a float; 0 when it is absent. */
static fr_status present(context *c, long double *v) {
    value old = {0};
    bool found;
    char buf[VALUE_TEXT], text[512];
    fr_status status = str_get(c->st, c->t, &c->keys[0], &old, &found);
    *v = 0;
    if (status != FR_OK || !found) return status;
    if (old.kind != VALUE_BYTES) return text_long_double(value_text(&old, buf), v) ? FR_OK : FR_NOTFLOAT;
    if (old.n >= sizeof text) return FR_NOTFLOAT;
    status = value_copy(c->st->s, &old, 0, old.n, text);
    if (status != FR_OK) return status;
    return text_long_double((span){text, old.n}, v) ? FR_OK : FR_NOTFLOAT;
}

/* answer_float: a double in RESP3, a bulk string in RESP2; Redis's %.17Lg without an exponent, zeros trimmed. */
static void answer_float(context *c, long double v) {
    char buf[5200];
    int n = snprintf(buf, sizeof buf, "%.17Lf", v);
    while (n > 1 && buf[n - 1] == '0') n--;
    if (n > 1 && buf[n - 1] == '.') n--;
    if (c->out->protocol != 3) {
        reply_bulk(c->out, (span){buf, (size_t)n});
        return;
    }
    REPLY_LIT(c->out, ",");
    reply_raw(c->out, buf, (size_t)n);
    REPLY_LIT(c->out, "\r\n");
}

static fr_status set_expiry(context *c, const struct increx *x) {
    bool changed;
    if (x->persist) return key_expire(c->st, c->t, &c->keys[0], NO_EXPIRY, 0, &changed);
    if (!x->time_arg) return FR_OK;
    return key_expire(c->st, c->t, &c->keys[0], x->expiry, x->enx ? EXPIRE_NX : 0, &changed);
}

static fr_status increx_float(context *c, const struct increx *x) {
    long double by = 1, low = -INFINITY, high = INFINITY, now, next;
    char buf[FLOAT_TEXT];
    size_t n;
    fr_status status = optional_float(c, x->by, &by);
    if (status == FR_OK) status = optional_float(c, x->low, &low);
    if (status == FR_OK) status = optional_float(c, x->high, &high);
    if (status == FR_OK) status = present(c, &now);
    if (status != FR_OK) return status;
    next = now + by;
    if (isnan(next) || isinf(next)) return FR_NANINF;
    bool outside = next < low || next > high;
    if (outside && x->saturate) next = next < low ? low : high;
    bool done = !outside || x->saturate;
    if (done) status = str_incr_float(c->st, c->t, &c->keys[0], next - now, buf, &n);
    if (status == FR_OK && done) status = set_expiry(c, x);
    if (status != FR_OK) return status;
    reply_array(c->out, 2);
    answer_float(c, done ? next : now);
    answer_float(c, done ? next - now : 0);
    return FR_OK;
}

fr_status cmd_increx(context *c) {
    struct increx x = {0};
    fr_status status = parse(c, &x);
    if (status != FR_OK) return status;
    return x.is_float ? increx_float(c, &x) : increx_int(c, &x);
}
