/* hot.c - see hot.h. Sections: the two tries; strings and keys; hashes; counters; tables. */
#include "hot.h"

#include <stdlib.h>

#include "store/column.h"

#define HOT __attribute__((always_inline)) static inline
#define SPINS 200 /* pauses: some microseconds, as long as a few commits take */

/* --- the two tries -------------------------------------------------------------------------------------------------- */

static inline void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static bool wait_for_latch(const uint32_t *latch) {
    for (int i = 0; i < SPINS; i++) {
        if (ld4(latch) == 0) return true;
        pause_cpu();
    }
    return false;
}

/* begin_quickly begins a write on one stripe without ever sleeping. */
HOT fr_status begin_quickly(txn *t, store *st, uint64_t now_ms, uint32_t number, fr_error *err) {
    const uint32_t *latch = &segment_stripe(st->s, number)->latch;
    txn_init(t, st->s, err);
    if (FR_UNLIKELY(ld4(latch) != 0) && !wait_for_latch(latch)) return FR_LATCHED;
    return txn_begin_one(t, now_ms, 0, number);
}

HOT fr_status finish(txn *t, fr_status status) {
    if (FR_LIKELY(status == FR_OK)) {
        status = txn_commit(t);
    } else {
        bool lost = t->s->lost;
        txn_abort(t);
        if (lost) status = FR_LOST;
    }
    txn_end(t);
    return t->err->status = status;
}

static fr_status write_waiting(store *st, const key *k, store_op op, void *ctx, fr_error *err) {
    stripe_set set;
    stripe_set_clear(&set);
    stripe_set_add(&set, k->stripe);
    return store_write(st, clock_boot_ms(), UINT64_MAX, &set, op, ctx, err);
}

/* write_one runs op under the latch of k's stripe: once, or for as long as it takes. */
HOT fr_status write_one(store *st, const key *k, uint64_t now_ms, store_op op, void *ctx, bool wait, fr_error *err) {
    txn t;
    if (FR_UNLIKELY(wait)) return write_waiting(st, k, op, ctx, err);
    fr_status status = begin_quickly(&t, st, now_ms, k->stripe, err);
    if (FR_UNLIKELY(status != FR_OK)) {
        txn_end(&t);
        return err->status = status;
    }
    return finish(&t, op(st, &t, ctx));
}

static fr_status read_waiting(store *st, const key *k, store_op op, void *ctx, fr_error *err) {
    stripe_set set;
    stripe_set_clear(&set);
    stripe_set_add(&set, k->stripe);
    return store_read(st, clock_boot_ms(), &set, op, ctx, err);
}

/* read_end validates. An error that was read counts only when the reads hold. */
HOT fr_status read_end(txn *t, fr_status status) {
    if (FR_UNLIKELY(status == FR_RETRY)) {
        t->mode = TXN_CLOSED;
        return FR_UNLIKELY(t->s->lost) ? FR_LOST : FR_RETRY;
    }
    fr_status held = txn_commit(t);
    return held == FR_OK ? status : held;
}

HOT fr_status read_one(store *st, const key *k, uint64_t now_ms, store_op op, void *ctx, bool wait, fr_error *err) {
    txn t;
    fr_status status = FR_RETRY;
    if (FR_UNLIKELY(wait)) return read_waiting(st, k, op, ctx, err);
    txn_init(&t, st->s, err);
    for (int i = 0; i < READ_ATTEMPTS; i++) {
        txn_begin_read(&t, now_ms);
        status = read_end(&t, op(st, &t, ctx));
        if (FR_LIKELY(status != FR_RETRY)) break;
        stat_add(st->s, STAT_read_retries, 1);
    }
    txn_end(&t);
    return err->status = status;
}

HOT bool has_policy(const store *st) { return ld8(&segment_super(st->s)->shared_settings[SETTING_POLICY]) != 0; }

/* The time for a write to k: 0, at which nothing is expired, while nothing in its stripe and space can expire and nobody
 * asks for access times. */
HOT uint64_t now_for(store *st, const key *k) {
    segment *s = st->s;
    uint64_t at = s->l.counts + ((uint64_t)k->stripe * s->g.spaces + k->space) * sizeof(space_count) + 8;
    if (FR_LIKELY(ld8(SEG_AT(s, at, uint64_t)) == 0 && !has_policy(st))) return 0;
    return clock_boot_ms();
}

static fr_status route(store *st, uint32_t db, span name, key *k, fr_error *err) {
    err->text[0] = 0;
    return key_route(st, db, name, k, err);
}

/* deliver hands a value to a sink. Inside a read the bytes are believed only once it was validated. */
HOT fr_status deliver(segment *s, hot_sink *sink, const value *v) {
    char buf[VALUE_TEXT];
    span text = {NULL, v->n};
    if (v->kind != VALUE_BYTES) text = value_text(v, buf);
    sink->n = text.n;
    sink->to = sink->room(sink, text.n);
    if (FR_UNLIKELY(!sink->to)) return FR_OK;
    if (v->kind == VALUE_BYTES) return value_copy(s, v, 0, v->n, sink->to);
    memcpy(sink->to, text.p, text.n);
    return FR_OK;
}

/* --- strings and keys ------------------------------------------------------------------------------------------------- */

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
        c->sink->to = NULL;
        status = read_end(&t, get_once(st, &t, c, &now));
        if (FR_LIKELY(status != FR_RETRY)) break;
        stat_add(st->s, STAT_read_retries, 1);
    }
    txn_end(&t);
    if (FR_LIKELY(status == FR_OK)) stat_add(st->s, c->found ? STAT_keyspace_hits : STAT_keyspace_misses, 1);
    return err->status = status;
}

fr_status hot_get(store *st, uint32_t db, span name, hot_sink *sink, bool *found, bool wait, fr_error *err) {
    get_call c;
    c.sink = sink;
    c.found = false;
    fr_status status = route(st, db, name, &c.k, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (FR_UNLIKELY(wait || c.k.table != NO_TABLE || has_policy(st))) {
        status = read_one(st, &c.k, clock_boot_ms(), get_op, &c, wait, err);
    } else {
        status = get_quickly(st, &c, err);
    }
    *found = c.found;
    return status;
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
    if (c->old) c->old->to = NULL;
    fr_status status = str_set(st, t, &w->k, c->bytes, &c->o, &r);
    if (status != FR_OK) return status;
    c->done = r.done;
    c->existed = r.existed;
    c->version = r.version;
    return c->old && r.old.kind != VALUE_NONE ? deliver(st->s, c->old, &r.old) : FR_OK;
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

/* incr_in_place: an integer that is there and never expires; FR_RETRY for every other case. */
HOT fr_status incr_in_place(store *st, txn *t, void *ctx) {
    incr_call *c = ctx;
    found f;
    fr_status status = key_write_begin(st, t, &c->k, &f);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (!f.exists || f.kind != KIND_STRING || !(META_FLAGS(f.meta) & FLAG_INT) || f.expiry != NO_EXPIRY) return FR_RETRY;
    uint64_t body = f.off + block_body_at(f.meta);
    if (__builtin_add_overflow((int64_t)txn_ld(t, body), c->by, &c->out)) return FR_OVERFLOW;
    block_change(t, c->k.stripe, f.off, body, (uint64_t)c->out);
    key_changed(t, &c->k);
    return FR_OK;
}

fr_status hot_incr(store *st, uint32_t db, span name, int64_t by, int64_t *out, bool wait, fr_error *err) {
    incr_call c;
    c.by = by;
    fr_status status = route(st, db, name, &c.k, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    status = FR_RETRY;
    if (FR_LIKELY(!wait && c.k.table == NO_TABLE && !has_policy(st)))
        status = write_one(st, &c.k, 0, incr_in_place, &c, false, err);
    if (FR_UNLIKELY(status == FR_RETRY)) status = write_one(st, &c.k, clock_boot_ms(), incr_op, &c, wait, err);
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
    if (status == FR_OK) status = write_one(st, &c.k, clock_boot_ms(), cas_op, &c, wait, err);
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
    if (status == FR_OK) status = write_one(st, &c.k, clock_boot_ms(), delete_op, &c, wait, err);
    *existed = c.yes;
    return status;
}

fr_status hot_exists(store *st, uint32_t db, span name, bool *exists, bool wait, fr_error *err) {
    name_call c = {.yes = false};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, clock_boot_ms(), exists_op, &c, wait, err);
    *exists = c.yes;
    return status;
}

/* --- hashes ------------------------------------------------------------------------------------------------------------ */

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
    if (status == FR_OK) status = read_one(st, &c.k, clock_boot_ms(), hget_op, &c, wait, err);
    *found = c.found;
    return status;
}

fr_status hot_hset(store *st, uint32_t db, span name, const field_value *fv, size_t n, size_t *created, bool wait,
                   fr_error *err) {
    hash_call c = {.fv = fv, .n = n};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, clock_boot_ms(), hset_op, &c, wait, err);
    *created = c.created;
    return status;
}

fr_status hot_hincr(store *st, uint32_t db, span name, span field, int64_t by, int64_t *out, bool wait, fr_error *err) {
    hash_call c = {.field = field, .by = by};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, clock_boot_ms(), hincr_op, &c, wait, err);
    *out = c.out;
    return status;
}

fr_status hot_hcas(store *st, uint32_t db, span name, span field, span expected, span desired, int *outcome, bool wait,
                   fr_error *err) {
    cas_call c = {.field = field, .expected = expected, .desired = desired};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = write_one(st, &c.k, clock_boot_ms(), hcas_op, &c, wait, err);
    *outcome = c.outcome;
    return status;
}

/* --- counters ---------------------------------------------------------------------------------------------------------- */

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

static fr_status step_op(store *st, txn *t, void *ctx) {
    step_call *w = ctx;
    hot_counter_call *c = w->c;
    int64_t now;
    bool exists;
    fr_status status = FR_OK;
    if (c->step == HOT_CAS) {
        status = present(st, t, &w->k, &now, &exists);
        c->done = status == FR_OK && now == c->expected;
        if (!c->done) return status;
    }
    if ((status = counter_open(st, t, &w->k, 0, &w->cell)) != FR_OK) return status;
    if (c->step == HOT_ADD) return str_incr(st, t, &w->k, c->v, &c->out);
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

/* --- tables ------------------------------------------------------------------------------------------------------------ */

fr_status hot_schema_add(schema *sc, span name, span type, fr_error *err) {
    err->text[0] = 0;
    return schema_add(sc, name, type, err);
}

size_t hot_column_type(const column *c, char buf[32]) { return column_type_text(c, buf); }

void hot_table_measure(store *st, const table *tb, table_info *out) { table_measure(st, tb, out); }

static fr_status no_table(span name, fr_error *err) {
    static const char before[] = "no such table: ";
    size_t n = name.n < 64 ? name.n : 64;
    memcpy(err->text, before, sizeof before - 1);
    memcpy(err->text + sizeof before - 1, name.p, n);
    err->text[sizeof before - 1 + n] = 0;
    return err->status = FR_NOTABLE;
}

fr_status hot_table_open(store *st, span name, uint64_t capacity, const schema *sc, table **out, fr_error *err) {
    bool created;
    err->text[0] = 0;
    if (sc) return table_declare(st, name, capacity, sc, clock_boot_ms(), out, &created, err);
    *out = table_find(st, name);
    return *out ? FR_OK : no_table(name, err);
}

typedef struct row_call {
    key k;
    table *tb;
    const cell_in *cells;
    size_t n;
    uint32_t column;
    int64_t by, out;
    double float_by, float_out;
    span expected, desired;
    int outcome;
    bool yes;
    char *image;
    value *v;
    hot_sink *sink;
} row_call;

/* row_route is key_route for a row whose table is known; FR_NOTABLE once that table is gone. */
HOT fr_status row_route(store *st, row_call *c, span full, fr_error *err) {
    table *tb = c->tb;
    key *k = &c->k;
    if (FR_UNLIKELY(ld8(&segment_super(st->s)->catalogue_version) != st->catalogue_version)) {
        fr_status status = store_catalogue(st, err);
        if (status != FR_OK) return status;
    }
    if (FR_UNLIKELY(tb->state != TABLE_LIVE)) return no_table((span){tb->name, tb->name_n}, err);
    if (FR_UNLIKELY(full.n > KEY_MAX)) return err->status = FR_KEYTOOLONG;
    *k = (key){.full = full, .name = {full.p + tb->name_n + 1, full.n - tb->name_n - 1}, .table = (int32_t)tb->number, .db = 0};
    k->space = (uint32_t)ld8(SEG_AT(st->s, tb->descriptor + TABLE_SPACE, uint64_t));
    k->hash = key_hash(st->s, 1 + tb->number, k->name);
    k->stripe = (uint32_t)k->hash & (tb->table_stripes - 1);
    return FR_OK;
}

HOT fr_status row_begin(store *st, row_call *c, span full, fr_error *err) {
    err->text[0] = 0;
    return row_route(st, c, full, err);
}

/* In an operation: a declaration, a drop or a flush may have come in between. */
HOT fr_status row_current(store *st, txn *t, row_call *c) {
    if (FR_LIKELY(key_current(st, &c->k) && c->tb->state == TABLE_LIVE)) return FR_OK;
    uint32_t stripe = c->k.stripe;
    fr_status status = row_route(st, c, c->k.full, t->err);
    return status == FR_OK && stripe != c->k.stripe ? FR_RETRY : status;
}

static fr_status row_put_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_put(st, t, &c->k, c->cells, c->n, &c->yes) : status;
}

HOT fr_status row_add_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_add(st, t, &c->k, c->column, c->by, &c->out) : status;
}

static span column_name(const row_call *c) {
    const column *at = &c->tb->schema.column[c->column];
    return (span){at->name, at->name_n};
}

static fr_status row_float_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    char buf[64];
    size_t n;
    fr_status status = row_current(st, t, c);
    if (status == FR_OK) status = row_incr_float(st, t, &c->k, column_name(c), c->float_by, buf, &n);
    return status == FR_OK && !text_double((span){buf, n}, &c->float_out) ? FR_NANINF : status;
}

static fr_status row_cas_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_cas(st, t, &c->k, column_name(c), c->expected, c->desired, &c->outcome) : status;
}

static fr_status row_delete_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? key_delete(st, t, &c->k, &c->yes) : status;
}

static fr_status row_image_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    found f;
    fr_status status = row_current(st, t, c);
    if (status == FR_OK) status = key_lookup(st, t, &c->k, &f);
    c->yes = status == FR_OK && f.exists;
    if (!c->yes) return status;
    if (FR_UNLIKELY(!segment_holds(st->s, f.off, c->tb->stride))) return FR_RETRY;
    if (FR_LIKELY(!t->overlaid)) {
        copy_out(c->image, SEG_AT(st->s, f.off, char), c->tb->stride);
        return FR_OK;
    }
    for (uint64_t at = 0; at < c->tb->stride; at += 8) {
        uint64_t word = txn_ld(t, f.off + at);
        memcpy(c->image + at, &word, 8);
    }
    return FR_OK;
}

static fr_status row_cell_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    c->sink->to = NULL;
    if (status == FR_OK) status = row_cell(st, t, &c->k, c->column, c->v, &c->yes);
    if (status != FR_OK || !c->yes || c->v->kind != VALUE_BYTES) return status;
    return deliver(st->s, c->sink, c->v);
}

fr_status hot_row_put(store *st, table *tb, span full, const cell_in *cells, size_t n, bool *created, bool wait,
                      fr_error *err) {
    row_call c;
    c.tb = tb;
    c.cells = cells;
    c.n = n;
    c.yes = false;
    fr_status status = row_begin(st, &c, full, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_put_op, &c, wait, err);
    *created = c.yes;
    return status;
}

fr_status hot_row_add(store *st, table *tb, span full, uint32_t column, int64_t by, int64_t *out, bool wait, fr_error *err) {
    row_call c;
    c.tb = tb;
    c.column = column;
    c.by = by;
    fr_status status = row_begin(st, &c, full, err);
    if (FR_LIKELY(status == FR_OK)) status = write_one(st, &c.k, now_for(st, &c.k), row_add_op, &c, wait, err);
    *out = c.out;
    return status;
}

fr_status hot_row_add_float(store *st, table *tb, span full, uint32_t column, double by, double *out, bool wait,
                            fr_error *err) {
    row_call c = {.tb = tb, .column = column, .float_by = by};
    fr_status status = row_begin(st, &c, full, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_float_op, &c, wait, err);
    *out = c.float_out;
    return status;
}

fr_status hot_row_cas(store *st, table *tb, span full, uint32_t column, span expected, span desired, int *outcome, bool wait,
                      fr_error *err) {
    row_call c = {.tb = tb, .column = column, .expected = expected, .desired = desired};
    fr_status status = row_begin(st, &c, full, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_cas_op, &c, wait, err);
    *outcome = c.outcome;
    return status;
}

fr_status hot_row_delete(store *st, table *tb, span full, bool *existed, bool wait, fr_error *err) {
    row_call c = {.tb = tb};
    fr_status status = row_begin(st, &c, full, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_delete_op, &c, wait, err);
    *existed = c.yes;
    return status;
}

fr_status hot_row_image(store *st, table *tb, span full, char *image, bool *found, bool wait, fr_error *err) {
    row_call c;
    c.tb = tb;
    c.image = image;
    c.yes = false;
    fr_status status = row_begin(st, &c, full, err);
    if (status == FR_OK) status = read_one(st, &c.k, now_for(st, &c.k), row_image_op, &c, wait, err);
    *found = c.yes;
    return status;
}

value hot_image_value(const column *c, const char *image) {
    if (column_is_text(c)) {
        uint16_t n;
        memcpy(&n, image + c->offset, 2);
        return (value){.kind = VALUE_BYTES, .n = n < c->size ? n : c->size, .p = image + c->offset + 2};
    }
    uint64_t word;
    memcpy(&word, image + (c->offset & ~UINT32_C(7)), 8);
    return column_value(c, column_from_word(c, word));
}

fr_status hot_row_cell(store *st, table *tb, span full, uint32_t column, value *v, hot_sink *sink, bool *found, bool wait,
                       fr_error *err) {
    row_call c;
    c.tb = tb;
    c.column = column;
    c.v = v;
    c.sink = sink;
    c.yes = false;
    fr_status status = row_begin(st, &c, full, err);
    if (status == FR_OK) status = read_one(st, &c.k, now_for(st, &c.k), row_cell_op, &c, wait, err);
    *found = c.yes;
    return status;
}

typedef struct page_call {
    table *tb;
    uint64_t from, cursor, count;
    hot_page *page;
} page_call;

static fr_status page_add(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    page_call *c = ctx;
    hot_page *page = c->page;
    uint32_t prefix = c->tb->name_n + 1, n = (uint32_t)name.n - prefix;
    (void)kind, (void)expiry, (void)version;
    if (page->n + 4 + n > page->room) {
        size_t room = 2 * (page->n + 4 + n) + 1024;
        char *p = realloc(page->p, room);
        if (!p) return FR_NOSPACE;
        page->p = p;
        page->room = room;
    }
    memcpy(page->p + page->n, &n, 4);
    memcpy(page->p + page->n + 4, name.p + prefix, n);
    page->n += 4 + n;
    return FR_OK;
}

static fr_status page_op(store *st, txn *t, void *ctx) {
    page_call *c = ctx;
    c->page->n = 0;
    c->cursor = c->from;
    return keyspace_scan(st, t, 0, (int32_t)c->tb->number, &c->cursor, c->count, page_add, c);
}

fr_status hot_table_page(store *st, table *tb, uint64_t *cursor, uint64_t count, hot_page *out, fr_error *err) {
    page_call c = {.tb = tb, .from = *cursor, .count = count, .page = out};
    stripe_set all;
    err->text[0] = 0;
    fr_status status = store_catalogue(st, err);
    if (status == FR_OK && tb->state != TABLE_LIVE) status = no_table((span){tb->name, tb->name_n}, err);
    store_all_stripes(st, &all);
    if (status == FR_OK) status = store_read(st, clock_boot_ms(), &all, page_op, &c, err);
    *cursor = c.cursor;
    return status;
}
