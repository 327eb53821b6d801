/* cmd_string.c - strings and numbers: GET, SET, INCR, APPEND and their kin, and compare-and-set.
 *
 * Order of checks, replies and texts are redis-server 7.0.15's; IFEQ, IFNE and DELEX are Redis 8.4's, INCREX 8.8's,
 * CAS and CAD Tair's.
 */
#include "store/string.h"

#include <math.h>

#include "store/quick.h"
#include "wire/command.h"

/* --- reading ----------------------------------------------------------------------------------------------------- */

fr_status cmd_get(context *c) {
    value v = {0};
    bool found;
    fr_status status = str_get(c->st, c->t, &c->keys[0], &v, &found);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (found) return answer_value(c, &v);
    reply_null(c->out);
    return FR_OK;
}

fr_status cmd_mget(context *c) {
    reply_array(c->out, c->key_count);
    for (uint32_t i = 0; i < c->key_count; i++) {
        value v = {0};
        bool found = false;
        fr_status status = str_get(c->st, c->t, &c->keys[i], &v, &found);
        if (status != FR_OK && status != FR_WRONGTYPE && status != FR_ROWONLY) return status;
        if (status != FR_OK || !found) v.kind = VALUE_NONE;
        if ((status = answer_value(c, &v)) != FR_OK) return status;
    }
    c->err->text[0] = 0;
    return FR_OK;
}

fr_status cmd_strlen(context *c) {
    value v = {0};
    bool found;
    char buf[VALUE_TEXT];
    fr_status status = str_get(c->st, c->t, &c->keys[0], &v, &found);
    if (status != FR_OK) return status;
    uint64_t n = !found ? 0 : v.kind == VALUE_BYTES ? v.n : value_text(&v, buf).n;
    reply_int(c->out, (int64_t)n);
    return FR_OK;
}

/* clamp_range makes start..end of GETRANGE a half-open range of n bytes; false when it is empty. */
static bool clamp_range(int64_t start, int64_t end, uint64_t n, uint64_t *from, uint64_t *to) {
    int64_t length = (int64_t)n;
    if (start < 0 && end < 0 && start > end) return false;
    if (start < 0) start += length;
    if (end < 0) end += length;
    if (start < 0) start = 0;
    if (end < 0) end = 0;
    if (end >= length) end = length - 1;
    if (start > end || !length) return false;
    *from = (uint64_t)start;
    *to = (uint64_t)end + 1;
    return true;
}

static fr_status answer_part(context *c, const value *v, uint64_t from, uint64_t to) {
    reply_head(c->out, '$', (int64_t)(to - from));
    char *at = reply_room(c->out, to - from + 2);
    if (!at) return FR_OK;
    fr_status status = value_copy(c->st->s, v, from, to - from, at);
    if (status != FR_OK) return status;
    memcpy(at + (to - from), "\r\n", 2);
    c->out->n += to - from + 2;
    return FR_OK;
}

fr_status cmd_getrange(context *c) {
    int64_t start, end;
    value v = {0};
    bool found;
    uint64_t from, to;
    char buf[VALUE_TEXT];
    fr_status status = arg_int(c, 2, &start);
    if (status == FR_OK) status = arg_int(c, 3, &end);
    if (status == FR_OK) status = str_get(c->st, c->t, &c->keys[0], &v, &found);
    if (status != FR_OK) return status;
    span text = {"", 0};
    if (found && v.kind != VALUE_BYTES) text = value_text(&v, buf);
    if (!found || !clamp_range(start, end, v.kind == VALUE_BYTES ? v.n : text.n, &from, &to)) {
        reply_bulk(c->out, (span){"", 0});
        return FR_OK;
    }
    if (v.kind == VALUE_BYTES) return answer_part(c, &v, from, to);
    reply_bulk(c->out, (span){text.p + from, to - from});
    return FR_OK;
}

/* --- SET and its kin --------------------------------------------------------------------------------------------- */

/* The options that SET and GETEX share: which times, which conditions. */
enum { OPT_TIME = 1, OPT_KEEPTTL = 2, OPT_PERSIST = 4, OPT_CONDITION = 8, OPT_GET = 16 };

struct string_options {
    unsigned seen;         /* OPT_* */
    unsigned unit;         /* EXPIRY_* */
    uint32_t time_arg;     /* argument that holds the time, 0 = none */
    enum set_condition condition;
    span match;
};

static const struct condition_option {
    const char *word;
    enum set_condition condition;
    bool takes_value;
} condition_options[] = {
    {"nx", SET_NX, false},
    {"xx", SET_XX, false},
    {"ifeq", SET_IFEQ, true},
    {"ifne", SET_IFNE, true},
};

/* time_option reads EX, PX, EXAT or PXAT at *i. The same one may come again, another one may not. */
static bool time_option(context *c, uint32_t *i, struct string_options *o) {
    unsigned unit;
    if (!arg_expiry_unit(c, *i, &unit) || *i + 1 >= c->argc || o->seen & (OPT_KEEPTTL | OPT_PERSIST)) return false;
    if (o->seen & OPT_TIME && o->unit != unit) return false;
    o->seen |= OPT_TIME;
    o->unit = unit;
    o->time_arg = ++*i;
    return true;
}

static bool condition_option(context *c, uint32_t *i, struct string_options *o) {
    for (size_t k = 0; k < FR_COUNTOF(condition_options); k++) {
        const struct condition_option *x = &condition_options[k];
        if (!arg_is(c, *i, x->word)) continue;
        if (o->seen & OPT_CONDITION && o->condition != x->condition) return false;
        if (x->takes_value && *i + 1 >= c->argc) return false;
        o->seen |= OPT_CONDITION;
        o->condition = x->condition;
        if (x->takes_value) o->match = c->argv[++*i];
        return true;
    }
    return false;
}

static bool set_option(context *c, uint32_t *i, struct string_options *o) {
    if (arg_is(c, *i, "keepttl") && !(o->seen & OPT_TIME)) return o->seen |= OPT_KEEPTTL;
    if (arg_is(c, *i, "get")) return o->seen |= OPT_GET;
    return condition_option(c, i, o) || time_option(c, i, o);
}

/* set_generic writes with o and answers `yes` or `no` (NULL: null); with want_old, the old value instead. */
static fr_status set_generic(context *c, span bytes, const set_options *o, const char *yes, const char *no) {
    set_result r = {0};
    fr_status status = str_set(c->st, c->t, &c->keys[0], bytes, o, &r);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (o->want_old) return answer_value(c, &r.old);
    const char *text = r.done ? yes : no;
    if (text) reply_raw(c->out, text, strlen(text));
    else reply_null(c->out);
    return FR_OK;
}

fr_status cmd_set(context *c) {
    struct string_options o = {0};
    for (uint32_t i = 3; i < c->argc; i++)
        if (!set_option(c, &i, &o)) return FR_SYNTAX;
    set_options so = {.condition = o.condition, .match = o.match, .want_old = o.seen & OPT_GET,
                      .keep_ttl = o.seen & OPT_KEEPTTL};
    if (o.time_arg) {
        fr_status status = arg_expiry(c, o.time_arg, o.unit, &so.expiry);
        if (status != FR_OK) return status;
    }
    return set_generic(c, c->argv[2], &so, "+OK\r\n", NULL);
}

fr_status cmd_setnx(context *c) {
    return set_generic(c, c->argv[2], &(set_options){.condition = SET_NX}, ":1\r\n", ":0\r\n");
}

static fr_status setex_generic(context *c, unsigned unit) {
    set_options o = {0};
    fr_status status = arg_expiry(c, 2, unit, &o.expiry);
    return status == FR_OK ? set_generic(c, c->argv[3], &o, "+OK\r\n", NULL) : status;
}

fr_status cmd_setex(context *c) { return setex_generic(c, EXPIRY_SECONDS); }

fr_status cmd_psetex(context *c) { return setex_generic(c, EXPIRY_MS); }

fr_status cmd_getset(context *c) {
    return set_generic(c, c->argv[2], &(set_options){.want_old = true}, NULL, NULL);
}

fr_status cmd_getdel(context *c) {
    value old = {0};
    bool found;
    fr_status status = str_get_delete(c->st, c->t, &c->keys[0], &old, &found);
    if (status != FR_OK) return status;
    if (!found) old.kind = VALUE_NONE;
    return answer_value(c, &old);
}

static bool getex_option(context *c, uint32_t *i, struct string_options *o) {
    if (arg_is(c, *i, "persist") && !(o->seen & OPT_TIME)) return o->seen |= OPT_PERSIST;
    return time_option(c, i, o);
}

fr_status cmd_getex(context *c) {
    struct string_options o = {0};
    value v = {0};
    bool found, changed;
    uint64_t expiry = NO_EXPIRY;
    for (uint32_t i = 2; i < c->argc; i++)
        if (!getex_option(c, &i, &o)) return FR_SYNTAX;
    fr_status status = str_get(c->st, c->t, &c->keys[0], &v, &found);
    if (status != FR_OK) return status;
    if (!found) v.kind = VALUE_NONE;
    if (found && o.time_arg && (status = arg_expiry(c, o.time_arg, o.unit, &expiry)) != FR_OK) return status;
    if ((status = answer_value(c, &v)) != FR_OK || !found || !o.seen) return status;
    return key_expire(c->st, c->t, &c->keys[0], expiry, 0, &changed);
}

static fr_status mset_generic(context *c, bool nx) {
    if (c->argc % 2 == 0) return fail_arity(c);
    for (uint32_t i = 0; nx && i < c->key_count; i++) {
        found f;
        fr_status status = key_write_begin(c->st, c->t, &c->keys[i], &f);
        if (status != FR_OK) return status;
        if (!f.exists) continue;
        answer_bool(c, false);
        return FR_OK;
    }
    for (uint32_t i = 0; i < c->key_count; i++) {
        set_result r;
        fr_status status = str_set(c->st, c->t, &c->keys[i], c->argv[2 + 2 * i], &(set_options){0}, &r);
        if (status != FR_OK) return status;
    }
    if (nx) answer_bool(c, true);
    else reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_mset(context *c) { return mset_generic(c, false); }

fr_status cmd_msetnx(context *c) { return mset_generic(c, true); }

/* --- parts ------------------------------------------------------------------------------------------------------- */

fr_status cmd_append(context *c) {
    uint64_t length;
    fr_status status = str_append(c->st, c->t, &c->keys[0], c->argv[2], &length);
    if (status == FR_OK) reply_int(c->out, (int64_t)length);
    return status;
}

fr_status cmd_setrange(context *c) {
    int64_t at;
    uint64_t length;
    fr_status status = arg_int(c, 2, &at);
    if (status != FR_OK) return status;
    if (at < 0) return fail(c, FR_RANGE, "offset is out of range");
    status = str_set_range(c->st, c->t, &c->keys[0], (uint64_t)at, c->argv[3], &length);
    if (status == FR_OK) reply_int(c->out, (int64_t)length);
    return status;
}

/* --- numbers ----------------------------------------------------------------------------------------------------- */

static fr_status incr_generic(context *c, int64_t by) {
    int64_t now;
    fr_status status = str_incr(c->st, c->t, &c->keys[0], by, &now);
    if (FR_LIKELY(status == FR_OK)) answer_sum(c, &c->keys[0], (span){NULL, 0}, now);
    return status;
}

fr_status cmd_incr(context *c) { return incr_generic(c, 1); }

fr_status cmd_decr(context *c) { return incr_generic(c, -1); }

fr_status cmd_incrby(context *c) {
    int64_t by;
    fr_status status = arg_int(c, 2, &by);
    return status == FR_OK ? incr_generic(c, by) : status;
}

fr_status cmd_decrby(context *c) {
    int64_t by;
    fr_status status = arg_int(c, 2, &by);
    if (status != FR_OK) return status;
    if (by == INT64_MIN) return fail(c, FR_OVERFLOW, "decrement would overflow");
    return incr_generic(c, -by);
}

/* must_be_string: where Redis judges the key's type before an argument. */
static fr_status must_be_string(context *c) {
    value v;
    bool found;
    return str_get(c->st, c->t, &c->keys[0], &v, &found);
}

fr_status cmd_incrbyfloat(context *c) {
    long double by;
    char buf[FLOAT_TEXT];
    size_t n;
    fr_status status = arg_float(c, 2, &by);
    if (status != FR_OK) {
        fr_status type = must_be_string(c);
        return type != FR_OK ? type : status;
    }
    status = str_incr_float(c->st, c->t, &c->keys[0], by, buf, &n);
    if (status == FR_OK) reply_bulk(c->out, (span){buf, n});
    return status;
}

/* --- the straight line ------------------------------------------------------------------------------------------- */

/* quick_answer writes the value where it will be sent from, and takes it back when it was torn. */
static fr_status quick_answer(context *c) {
    quick_value q;
    value v = {.kind = VALUE_NONE};
    fr_status status = quick_get(c->st, &c->keys[0], &q);
    if (FR_UNLIKELY(status == FR_RETRY || c->st->s->lost)) return FR_RETRY;
    if (status == FR_OK && q.is_int) v = (value){.kind = VALUE_INT, .i = quick_int(&q)};
    else if (status == FR_OK) v = (value){.kind = VALUE_BYTES, .n = q.n, .p = q.p};
    if (FR_UNLIKELY(answer_value(c, &v) != FR_OK || (status == FR_OK && !quick_holds(&q)))) {
        reply_truncate(c->out, c->mark);
        return FR_RETRY;
    }
    stat_add(c->st->s, status == FR_OK ? STAT_keyspace_hits : STAT_keyspace_misses, 1);
    return FR_OK;
}

static fr_status quick_step(context *c, int64_t by) {
    int64_t now;
    fr_status status = quick_incr(c->st, &c->keys[0], by, &now);
    if (FR_LIKELY(status == FR_OK)) reply_int(c->out, now);
    return status;
}

fr_status string_quick(context *c) {
    fr_status status;
    switch (command_number(c->cmd)) {
    case COMMAND_get: return quick_answer(c);
    case COMMAND_incr: return quick_step(c, 1);
    case COMMAND_decr: return quick_step(c, -1);
    case COMMAND_set:
        status = c->argc == 3 ? quick_set(c->st, &c->keys[0], c->argv[2]) : FR_RETRY;
        if (FR_LIKELY(status == FR_OK)) reply_ok(c->out);
        return status;
    default: return FR_RETRY;
    }
}

/* --- compare and set --------------------------------------------------------------------------------------------- */

fr_status cmd_cas(context *c) {
    int outcome;
    fr_status status = str_cas(c->st, c->t, &c->keys[0], c->argv[2], c->argv[3], &outcome);
    if (status == FR_OK) reply_int(c->out, outcome);
    return status;
}

fr_status cmd_cad(context *c) {
    int outcome;
    fr_status status = str_delete_if(c->st, c->t, &c->keys[0], c->argv[2], true, &outcome);
    if (status == FR_OK) reply_int(c->out, outcome);
    return status;
}

static fr_status delete_if_generic(context *c, span match, bool equal) {
    int outcome;
    fr_status status = str_delete_if(c->st, c->t, &c->keys[0], match, equal, &outcome);
    if (status == FR_OK) answer_bool(c, outcome == 1);
    return status;
}

fr_status cmd_delifeq(context *c) { return delete_if_generic(c, c->argv[2], true); }

fr_status cmd_delex(context *c) {
    if (c->argc == 2) return cmd_del(c);
    if (c->argc != 4) return fail_arity(c);
    bool equal = arg_is(c, 2, "ifeq");
    if (!equal && !arg_is(c, 2, "ifne")) return fail(c, FR_SYNTAX, "Invalid condition. Use IFEQ or IFNE");
    return delete_if_generic(c, c->argv[3], equal);
}
