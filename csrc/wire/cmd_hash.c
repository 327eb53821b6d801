/* cmd_hash.c - hashes, and rows of typed tables, which answer the same commands with columns for fields. */
#include "store/hash.h"

#include <math.h>

#include "wire/session_state.h"

#define HASH(c) (c)->st, (c)->t, &(c)->keys[0]

/* pairs_at: words from argument i on as field and value pairs; a pair of spans is a field_value. */
static const field_value *pairs_at(const context *c, uint32_t i) {
    _Static_assert(sizeof(field_value) == 2 * sizeof(span), "two words are one pair");
    return (const field_value *)(const void *)(c->argv + i);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static fr_status hset_generic(context *c, bool count) {
    size_t created;
    if (c->argc % 2) return fail_arity(c);
    fr_status status = hash_set(HASH(c), pairs_at(c, 2), (c->argc - 2) / 2, FIELD_ALWAYS, &created);
    if (status != FR_OK) return status;
    if (count) reply_int(c->out, (int64_t)created);
    else reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_hset(context *c) { return hset_generic(c, true); }

fr_status cmd_hmset(context *c) { return hset_generic(c, false); }

fr_status cmd_hsetnx(context *c) {
    size_t created;
    fr_status status = hash_set(HASH(c), pairs_at(c, 2), 1, FIELD_NX, &created);
    if (status == FR_OK) answer_bool(c, created);
    return status;
}

fr_status cmd_hdel(context *c) {
    size_t deleted;
    fr_status status = hash_delete(HASH(c), c->argv + 2, c->argc - 2, &deleted);
    if (status == FR_OK) reply_int(c->out, (int64_t)deleted);
    return status;
}

fr_status cmd_hincrby(context *c) {
    int64_t by, now;
    fr_status status = arg_int(c, 3, &by);
    if (status == FR_OK) status = hash_incr(HASH(c), c->argv[2], by, &now);
    if (status == FR_OK) answer_sum(c, &c->keys[0], c->argv[2], now);
    return status;
}

fr_status cmd_hincrbyfloat(context *c) {
    long double by;
    char buf[FLOAT_TEXT];
    size_t n;
    fr_status status = arg_float(c, 3, &by);
    if (status != FR_OK) return status;
    if (isinf(by)) return fail(c, FR_NANINF, "value is NaN or Infinity");
    status = hash_incr_float(HASH(c), c->argv[2], by, buf, &n);
    if (status == FR_OK) reply_bulk(c->out, (span){buf, n});
    return status;
}

fr_status cmd_hcas(context *c) {
    int outcome;
    fr_status status = hash_cas(HASH(c), c->argv[2], c->argv[3], c->argv[4], &outcome);
    if (status == FR_OK) reply_int(c->out, outcome);
    return status;
}

/* --- reading one field ------------------------------------------------------------------------------------------- */

/* get_field leaves VALUE_NONE for a field that is not there. */
static fr_status get_field(context *c, span field, value *v) {
    bool found = false;
    *v = (value){0};
    fr_status status = hash_get(HASH(c), field, v, &found);
    if (!found) v->kind = VALUE_NONE;
    return status;
}

fr_status cmd_hget(context *c) {
    value v;
    fr_status status = get_field(c, c->argv[2], &v);
    return status == FR_OK ? answer_value(c, &v) : status;
}

fr_status cmd_hmget(context *c) {
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        value v;
        fr_status status = get_field(c, c->argv[i], &v);
        if (status == FR_OK) status = answer_value(c, &v);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

fr_status cmd_hexists(context *c) {
    value v;
    fr_status status = get_field(c, c->argv[2], &v);
    if (status == FR_OK) answer_bool(c, v.kind != VALUE_NONE);
    return status;
}

fr_status cmd_hstrlen(context *c) {
    value v;
    char buf[VALUE_TEXT];
    fr_status status = get_field(c, c->argv[2], &v);
    if (status != FR_OK) return status;
    uint64_t n = v.kind == VALUE_NONE ? 0 : v.kind == VALUE_BYTES ? v.n : value_text(&v, buf).n;
    reply_int(c->out, (int64_t)n);
    return FR_OK;
}

fr_status cmd_hlen(context *c) {
    uint64_t n;
    fr_status status = hash_length(HASH(c), &n);
    if (status == FR_OK) reply_int(c->out, (int64_t)n);
    return status;
}

/* --- reading all of them ------------------------------------------------------------------------------------------ */

struct listing {
    context *c;
    bool fields, values;
    bool nested;       /* a pair is an array of its own: HRANDFIELD in RESP3 */
    span pattern;      /* p NULL: all */
    size_t n;          /* fields listed */
    uint64_t left;     /* selection: fields still to come, and how many of them to take */
    uint64_t wanted;
};

static fr_status list_field(void *ctx, span field, const value *v) {
    struct listing *l = ctx;
    if (l->pattern.p && !glob(l->pattern, field, false)) return FR_OK;
    l->n++;
    if (l->nested) reply_array(l->c->out, 2);
    if (l->fields) reply_bulk(l->c->out, field);
    return l->values ? answer_value(l->c, v) : FR_OK;
}

static fr_status list_generic(context *c, bool fields, bool values) {
    struct listing l = {.c = c, .fields = fields, .values = values};
    size_t mark = reply_open(c->out);
    fr_status status = hash_each(HASH(c), list_field, &l);
    if (status == FR_OK) reply_close(c->out, mark, fields && values ? '%' : '*', l.n);
    return status;
}

fr_status cmd_hgetall(context *c) { return list_generic(c, true, true); }

fr_status cmd_hkeys(context *c) { return list_generic(c, true, false); }

fr_status cmd_hvals(context *c) { return list_generic(c, false, true); }

fr_status cmd_hscan(context *c) {
    scan_options o;
    uint64_t cursor, length;
    fr_status status = arg_cursor(c, 2, &cursor);
    if (status == FR_OK) status = hash_length(HASH(c), &length);
    if (status != FR_OK) return status;
    size_t mark = reply_open(c->out);
    struct listing l = {.c = c, .fields = true, .values = true};
    if (!length) { /* redis-server does not look at the options of a key that is not there */
        answer_cursor(c, mark, 0, 0);
        return FR_OK;
    }
    if ((status = arg_scan(c, 3, SCAN_NOVALUES, &o)) != FR_OK) return status;
    l.values = !o.no_values;
    l.pattern = o.pattern;
    status = hash_scan(HASH(c), &cursor, (uint64_t)o.count, list_field, &l);
    if (status == FR_OK) answer_cursor(c, mark, cursor, l.values ? l.n * 2 : l.n);
    return status;
}

/* --- HRANDFIELD -------------------------------------------------------------------------------------------------- */

/* select_field takes each field with the chance that leaves every set of `wanted` fields equally likely. */
static fr_status select_field(void *ctx, span field, const value *v) {
    struct listing *l = ctx;
    bool chosen = l->left && session_random(l->c->s) % l->left < l->wanted;
    if (l->left) l->left--;
    if (!chosen) return FR_OK;
    l->wanted--;
    return list_field(l, field, v);
}

/* draw_field lists a field unless scratch, a row of {length, bytes}, says that it was drawn before. */
static fr_status draw_field(void *ctx, span field, const value *v) {
    struct listing *l = ctx;
    session *s = l->c->s;
    for (size_t at = 0, n; at < s->scratch_n; at += sizeof n + n) {
        memcpy(&n, s->scratch + at, sizeof n);
        if (n == field.n && !memcmp(s->scratch + at + sizeof n, field.p, n)) return FR_OK;
    }
    if (scratch_add(s, &field.n, sizeof field.n) == SIZE_MAX || scratch_add(s, field.p, field.n) == SIZE_MAX)
        return FR_OOM;
    return list_field(l, field, v);
}

/* A few of many are drawn one by one; otherwise one walk selects. Below this many draws looking back is cheaper. */
#define DRAWS_MAX 64u

static fr_status random_distinct(context *c, struct listing *l, uint64_t count) {
    uint64_t length;
    fr_status status = hash_length(HASH(c), &length);
    if (status != FR_OK) return status;
    l->left = length;
    l->wanted = count < length ? count : length;
    if (count > DRAWS_MAX || count * 8 > length) return hash_each(HASH(c), select_field, l);
    c->s->scratch_n = 0;
    for (unsigned tries = 0; l->n < count && tries < DRAWS_MAX * 8; tries++) {
        status = hash_random(HASH(c), session_random(c->s), draw_field, l);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static fr_status random_repeated(context *c, struct listing *l, uint64_t count) {
    uint64_t length;
    fr_status status = hash_length(HASH(c), &length);
    for (uint64_t i = 0; status == FR_OK && length && i < count && !c->out->broken; i++)
        status = hash_random(HASH(c), session_random(c->s), list_field, l);
    return status;
}

static fr_status random_many(context *c, int64_t count, bool values) {
    struct listing l = {.c = c, .fields = true, .values = values, .nested = values && c->out->protocol == 3};
    size_t mark = reply_open(c->out);
    fr_status status = count < 0 ? random_repeated(c, &l, (uint64_t)-count) : random_distinct(c, &l, (uint64_t)count);
    if (status == FR_OK) reply_close(c->out, mark, '*', values && !l.nested ? l.n * 2 : l.n);
    return status;
}

fr_status cmd_hrandfield(context *c) {
    struct listing l = {.c = c, .fields = true};
    int64_t count;
    fr_status status;
    if (c->argc == 2) {
        status = hash_random(HASH(c), session_random(c->s), list_field, &l);
        if (status == FR_OK && !l.n) reply_null(c->out);
        return status;
    }
    if ((status = arg_range(c, 2, -INT64_MAX, INT64_MAX, &count)) != FR_OK) return status;
    if (c->argc > 4 || (c->argc == 4 && !arg_is(c, 3, "withvalues"))) return FR_SYNTAX;
    if (c->argc == 4 && (count < -INT64_MAX / 2 || count > INT64_MAX / 2))
        return fail(c, FR_RANGE, "value is out of range");
    return random_many(c, count, c->argc == 4);
}
