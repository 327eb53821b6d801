/* hot.c - see hot.h. Sections: strings and keys; hashes; counters. Rows are in hot_row.c. */
#include "hot_try.h"

#include "store/quick.h"

span hot_int_text(int64_t v, char buf[VALUE_TEXT]) { return (span){buf, int64_text(v, buf)}; }

/* --- strings and keys --------------------------------------------------------------------------------------------- */

typedef struct get_call {
    key k;
    hot_sink *sink;
    bool found;
    uint64_t version;
} get_call;

static fr_status get_op(store *st, txn *t, void *ctx) {
    get_call *c = ctx;
    value v;
    fr_status status = str_get(st, t, &c->k, &v, &c->found);
    c->sink->to = NULL;
    return status == FR_OK && c->found ? deliver(st->s, c->sink, &v) : status;
}

static fr_status get_versioned_op(store *st, txn *t, void *ctx) {
    get_call *c = ctx;
    bool exists;
    fr_status status = key_version(st, t, &c->k, &c->version, &exists);
    return status == FR_OK ? get_op(st, t, c) : status;
}

/* get_once is get_op for keys of no table. At *now == 0 nothing is expired; a key that has an expiry is looked at again
 * with the clock only when it is past. */
HOT fr_status get_once(store *st, txn *t, get_call *c, uint64_t *now) {
    found f;
    value v = {.kind = VALUE_INT};
    fr_status status = key_find(st, t, &c->k, &f);
    c->found = f.exists;
    if (FR_UNLIKELY(status != FR_OK || !f.exists)) return status;
    if (FR_UNLIKELY(f.expiry != NO_EXPIRY && *now == 0)) {
        uint64_t present = clock_boot_ms();
        if (f.expiry <= present) {
            *now = present;
            return FR_RETRY;
        }
    }
    head h = {f.off, f.version, f.meta, f.expiry};
    if (FR_LIKELY(f.kind == KIND_STRING)) status = block_value(t, &h, &v);
    else if (f.kind == KIND_COUNTER) status = counter_value(t, &f, &v.i);
    else return FR_WRONGTYPE;
    return status == FR_OK ? deliver(st->s, c->sink, &v) : status;
}

static fr_status get_quickly(store *st, get_call *c, fr_error *err) {
    txn t;
    uint64_t now = 0;
    fr_status status = FR_RETRY;
    txn_init(&t, st->s, err);
    for (int i = 0; i < READ_ATTEMPTS; i++) {
        txn_begin_read(&t, now);
        uint64_t asked = now;
        c->sink->to = NULL;
        status = read_end(&t, get_once(st, &t, c, &now));
        if (FR_LIKELY(status != FR_RETRY)) break;
        if (now == asked) stat_add(st->s, STAT_read_retries, 1); /* else no race: the clock was needed */
    }
    txn_end(&t);
    if (FR_LIKELY(status == FR_OK)) stat_add(st->s, c->found ? STAT_keyspace_hits : STAT_keyspace_misses, 1);
    return err->status = status;
}

/* Routed, but not as one of a table's rows: FR_RETRY for those, and for what key_route has an error for. */
HOT fr_status route_straight(store *st, uint32_t db, span name, key *k) {
    uint64_t catalogue = ld8(&segment_super(st->s)->catalogue_version);
    if (FR_UNLIKELY(name.n > KEY_MAX || db > DATABASES)) return FR_RETRY;
    if (FR_UNLIKELY(db == 0 && catalogue > 1)) {
        fr_error ignored;
        key routed; /* of its own, so that k need not be in memory */
        if (key_route(st, db, name, &routed, &ignored) != FR_OK || routed.table != NO_TABLE) return FR_RETRY;
        *k = routed;
        return FR_OK;
    }
    *k = (key){.full = name, .name = name, .db = db, .catalogue = catalogue};
    key_route_plain(st->s, k);
    return FR_OK;
}

/* get_straight: quick.h's case, or FR_RETRY with nothing counted. */
HOT fr_status get_straight(store *st, uint32_t db, span name, hot_sink *sink, bool *found) {
    quick_value q;
    key k;
    fr_status status = route_straight(st, db, name, &k);
    if (FR_LIKELY(status == FR_OK)) status = quick_get(st, &k, &q);
    if (FR_UNLIKELY(status != FR_OK && status != FR_NOKEY)) return FR_RETRY;
    sink->to = NULL;
    *found = status == FR_OK;
    if (FR_UNLIKELY(!*found)) {
        stat_add(st->s, STAT_keyspace_misses, 1);
        return FR_OK;
    }
    if (FR_UNLIKELY(q.is_int)) {
        value v = {.kind = VALUE_INT, .i = quick_int(&q)};
        deliver(st->s, sink, &v);
    } else {
        sink->to = sink->room(sink, sink->n = q.n);
        if (FR_LIKELY(sink->to != NULL)) copy_out(sink->to, q.p, q.n);
    }
    if (FR_UNLIKELY(!quick_holds(&q))) return FR_RETRY;
    stat_add(st->s, STAT_keyspace_hits, 1);
    return FR_OK;
}

/* get_any: whatever the key is. */
__attribute__((noinline)) static fr_status get_any(store *st, uint32_t db, span name, hot_sink *sink, bool *found, bool wait,
                                                   fr_error *err) {
    get_call c = {.sink = sink};
    fr_status status = route(st, db, name, &c.k, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (wait || c.k.table != NO_TABLE || has_policy(st)) status = read_one(st, &c.k, clock_boot_ms(), get_op, &c, wait, err);
    else status = get_quickly(st, &c, err);
    *found = c.found;
    return status;
}

fr_status hot_get(store *st, uint32_t db, span name, hot_sink *sink, bool *found, bool wait, fr_error *err) {
    fr_status status = FR_UNLIKELY(wait) ? FR_RETRY : get_straight(st, db, name, sink, found);
    if (FR_UNLIKELY(status == FR_RETRY)) status = get_any(st, db, name, sink, found, wait, err);
    return err->status = FR_UNLIKELY(st->s->lost) ? FR_LOST : status;
}

fr_status hot_get_versioned(store *st, uint32_t db, span name, hot_sink *sink, bool *found, uint64_t *version, bool wait,
                            fr_error *err) {
    get_call c = {.sink = sink};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, clock_boot_ms(), get_versioned_op, &c, wait, err);
    *found = c.found;
    *version = c.version;
    return status;
}

typedef struct set_call {
    key k;
    span bytes;
} set_call;

static fr_status set_op(store *st, txn *t, void *ctx) {
    static const set_options plain;
    set_call *c = ctx;
    set_result r;
    return str_set(st, t, &c->k, c->bytes, &plain, &r);
}

/* A plain SET does the same to a key that is expired as to one that is not: no clock. */
fr_status hot_set(store *st, uint32_t db, span name, span bytes, bool wait, fr_error *err) {
    set_call c;
    c.bytes = bytes;
    fr_status status = route(st, db, name, &c.k, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (FR_LIKELY(!wait)) {
        status = quick_set(st, &c.k, bytes);
        if (FR_LIKELY(status != FR_RETRY)) return err->status = status;
    }
    uint64_t now = FR_LIKELY(c.k.table == NO_TABLE && !has_policy(st)) ? 0 : clock_boot_ms();
    return write_one(st, &c.k, now, set_op, &c, wait, err);
}

typedef struct set_with_call {
    key k;
    hot_set_call *c;
} set_with_call;

static fr_status set_with_op(store *st, txn *t, void *ctx) {
    set_with_call *w = ctx;
    hot_set_call *c = w->c;
    set_result r;
    fr_status status = str_set(st, t, &w->k, c->bytes, &c->o, &r);
    if (status != FR_OK) return status;
    c->done = r.done;
    c->existed = r.existed;
    c->version = r.version;
    return FR_OK;
}

fr_status hot_set_with(store *st, uint32_t db, hot_set_call *c, bool wait, fr_error *err) {
    set_with_call w = {.c = c};
    uint64_t now = clock_boot_ms();
    fr_status status = route(st, db, c->name, &w.k, err);
    if (status != FR_OK) return status;
    if (c->ttl_ms) c->o.expiry = now + c->ttl_ms;
    return write_one(st, &w.k, now, set_with_op, &w, wait, err);
}

typedef struct incr_call {
    key k;
    int64_t by, out;
} incr_call;

static fr_status incr_op(store *st, txn *t, void *ctx) {
    incr_call *c = ctx;
    return str_incr(st, t, &c->k, c->by, &c->out);
}

fr_status hot_incr(store *st, uint32_t db, span name, int64_t by, int64_t *out, bool wait, fr_error *err) {
    incr_call c;
    c.by = by;
    fr_status status = route(st, db, name, &c.k, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (FR_LIKELY(!wait)) {
        status = quick_incr(st, &c.k, by, out);
        if (FR_LIKELY(status != FR_RETRY)) return err->status = status;
    }
    status = write_one(st, &c.k, clock_boot_ms(), incr_op, &c, wait, err);
    *out = c.out;
    return status;
}

typedef struct cas_call {
    key k;
    span field, expected, desired;
    int outcome;
} cas_call;

static fr_status cas_op(store *st, txn *t, void *ctx) {
    cas_call *c = ctx;
    return str_cas(st, t, &c->k, c->expected, c->desired, &c->outcome);
}

fr_status hot_cas(store *st, uint32_t db, span name, span expected, span desired, int *outcome, bool wait, fr_error *err) {
    cas_call c = {.expected = expected, .desired = desired};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), cas_op, &c, wait, err);
    *outcome = c.outcome;
    return status;
}

typedef struct name_call {
    key k;
    bool yes;
} name_call;

static fr_status delete_op(store *st, txn *t, void *ctx) {
    name_call *c = ctx;
    return key_delete(st, t, &c->k, &c->yes);
}

static fr_status exists_op(store *st, txn *t, void *ctx) {
    name_call *c = ctx;
    found f;
    fr_status status = key_lookup(st, t, &c->k, &f);
    c->yes = f.exists;
    return status;
}

fr_status hot_delete(store *st, uint32_t db, span name, bool *existed, bool wait, fr_error *err) {
    name_call c = {.yes = false};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), delete_op, &c, wait, err);
    *existed = c.yes;
    return status;
}

fr_status hot_exists(store *st, uint32_t db, span name, bool *exists, bool wait, fr_error *err) {
    name_call c = {.yes = false};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, now_for(st, &c.k), exists_op, &c, wait, err);
    *exists = c.yes;
    return status;
}

/* --- hashes ------------------------------------------------------------------------------------------------------- */

typedef struct hash_call {
    key k;
    span field;
    const field_value *fv;
    size_t n, created;
    int64_t by, out;
    hot_sink *sink;
    bool found;
} hash_call;

static fr_status hget_op(store *st, txn *t, void *ctx) {
    hash_call *c = ctx;
    value v;
    c->sink->to = NULL;
    fr_status status = hash_get(st, t, &c->k, c->field, &v, &c->found);
    return status == FR_OK && c->found ? deliver(st->s, c->sink, &v) : status;
}

static fr_status hset_op(store *st, txn *t, void *ctx) {
    hash_call *c = ctx;
    return hash_set(st, t, &c->k, c->fv, c->n, FIELD_ALWAYS, &c->created);
}

static fr_status hincr_op(store *st, txn *t, void *ctx) {
    hash_call *c = ctx;
    return hash_incr(st, t, &c->k, c->field, c->by, &c->out);
}

static fr_status hcas_op(store *st, txn *t, void *ctx) {
    cas_call *c = ctx;
    return hash_cas(st, t, &c->k, c->field, c->expected, c->desired, &c->outcome);
}

fr_status hot_hget(store *st, uint32_t db, span name, span field, hot_sink *sink, bool *found, bool wait, fr_error *err) {
    hash_call c = {.field = field, .sink = sink};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, now_for(st, &c.k), hget_op, &c, wait, err);
    *found = c.found;
    return status;
}

fr_status hot_hset(store *st, uint32_t db, span name, const field_value *fv, size_t n, size_t *created, bool wait,
                   fr_error *err) {
    hash_call c = {.fv = fv, .n = n};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), hset_op, &c, wait, err);
    *created = c.created;
    return status;
}

fr_status hot_hincr(store *st, uint32_t db, span name, span field, int64_t by, int64_t *out, bool wait, fr_error *err) {
    hash_call c = {.field = field, .by = by};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), hincr_op, &c, wait, err);
    *out = c.out;
    return status;
}

bool hot_unsigned(store *st, uint32_t db, span name, span field) {
    key k;
    fr_error ignored;
    return route(st, db, name, &k, &ignored) == FR_OK && row_is_unsigned(st, &k, field);
}

fr_status hot_hcas(store *st, uint32_t db, span name, span field, span expected, span desired, int *outcome, bool wait,
                   fr_error *err) {
    cas_call c = {.field = field, .expected = expected, .desired = desired};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), hcas_op, &c, wait, err);
    *outcome = c.outcome;
    return status;
}

/* --- counters ----------------------------------------------------------------------------------------------------- */

fr_status hot_counter_get(store *st, uint64_t cell, int64_t *out) { return counter_get(st->s, cell, out); }
fr_status hot_counter_set(store *st, uint64_t cell, int64_t v) { return counter_set(st->s, cell, v); }

fr_status hot_counter_cas(store *st, uint64_t cell, int64_t expected, int64_t desired, bool *done) {
    return counter_cas(st->s, cell, expected, desired, done);
}

typedef struct step_call {
    key k;
    hot_counter_call *c;
    int64_t initial;
    uint64_t cell;
} step_call;

static fr_status open_op(store *st, txn *t, void *ctx) {
    step_call *w = ctx;
    return counter_open(st, t, &w->k, w->initial, &w->cell);
}

fr_status hot_counter_open(store *st, span name, int64_t initial, uint64_t *cell, bool wait, fr_error *err) {
    step_call w = {.initial = initial};
    fr_status status = route(st, 0, name, &w.k, err);
    if (status == FR_OK) status = write_one(st, &w.k, clock_boot_ms(), open_op, &w, wait, err);
    *cell = w.cell;
    return status;
}

/* What the name counts now: 0 when it is absent. */
static fr_status present(store *st, txn *t, const key *k, int64_t *out, bool *exists) {
    value v;
    *out = 0;
    fr_status status = str_get(st, t, k, &v, exists);
    if (status != FR_OK || !*exists) return status;
    if (v.kind != VALUE_INT) return FR_NOTINT;
    *out = v.i;
    return FR_OK;
}

static fr_status put_number(store *st, txn *t, const key *k, int64_t v, bool keep_ttl) {
    char buf[VALUE_TEXT];
    set_result r;
    return str_set(st, t, k, (span){buf, int64_text(v, buf)}, &(set_options){.keep_ttl = keep_ttl}, &r);
}

/* What a conditional step makes of the value that is there: a refused one revives nothing. */
static fr_status decide(store *st, txn *t, const key *k, hot_counter_call *c) {
    int64_t now;
    bool exists;
    fr_status status = present(st, t, k, &now, &exists);
    if (status != FR_OK) return status;
    if (c->step == HOT_ADD_WITHIN) return bounds_add(&c->within, now, c->v, &c->out, &c->done);
    c->done = now == c->expected;
    return FR_OK;
}

static fr_status step_op(store *st, txn *t, void *ctx) {
    step_call *w = ctx;
    hot_counter_call *c = w->c;
    fr_status status = FR_OK;
    if (c->step == HOT_CAS || c->step == HOT_ADD_WITHIN) {
        status = decide(st, t, &w->k, c);
        if (status != FR_OK || !c->done) return status;
    }
    if ((status = counter_open(st, t, &w->k, 0, &w->cell)) != FR_OK) return status;
    if (c->step == HOT_ADD) return str_incr(st, t, &w->k, c->v, &c->out);
    if (c->step == HOT_ADD_WITHIN) return put_number(st, t, &w->k, c->out, true);
    return put_number(st, t, &w->k, c->v, c->step == HOT_CAS);
}

fr_status hot_counter_step(store *st, hot_counter_call *c, bool wait, fr_error *err) {
    step_call w = {.c = c};
    fr_status status = route(st, 0, c->name, &w.k, err);
    if (status == FR_OK) status = write_one(st, &w.k, clock_boot_ms(), step_op, &w, wait, err);
    if (status == FR_OK) c->cell = w.cell;
    return status;
}

typedef struct read_call {
    key k;
    int64_t out;
    bool exists;
} read_call;

static fr_status read_op(store *st, txn *t, void *ctx) {
    read_call *c = ctx;
    return present(st, t, &c->k, &c->out, &c->exists);
}

fr_status hot_counter_read(store *st, span name, int64_t *out, bool *exists, bool wait, fr_error *err) {
    read_call c = {.exists = false};
    fr_status status = route(st, 0, name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, clock_boot_ms(), read_op, &c, wait, err);
    *out = c.out;
    *exists = c.exists;
    return status;
}
