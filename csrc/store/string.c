/* string.c - see string.h. Sections: reading; writing one value; SET; arithmetic; parts of a string; conditional deletes. */
#include "store/string.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/counter.h"
#include "store/table.h"

/* --- reading -------------------------------------------------------------------------------------------------------- */

/* A row of a one-column table answers as that column; others say so. */
static fr_status only_column(store *st, txn *t, const key *k, column **c) {
    table *tb = table_at(st, (uint32_t)k->table);
    *c = NULL;
    if (tb && tb->schema.columns == 1) {
        *c = &tb->schema.column[0];
        return FR_OK;
    }
    return txn_fail(t, FR_WRONGTYPE, "Operation against a key holding the wrong kind of value (row of table '%s')",
                    tb ? tb->name : "?");
}

static span column_span(const column *c) { return (span){c->name, c->name_n}; }

/* The value of a found string or counter; FR_WRONGTYPE for the rest. A writer freezes a counter before it reads it: what
 * it decides on must still be so when it commits. */
static fr_status found_value(txn *t, const found *f, value *out) {
    head h = {f->off, f->version, f->meta, f->expiry};
    if (f->kind == KIND_STRING) return block_value(t, &h, out);
    if (f->kind != KIND_COUNTER) return FR_WRONGTYPE;
    *out = (value){.kind = VALUE_INT};
    return counter_value(t, f, &out->i);
}

fr_status str_get(store *st, txn *t, const key *k, value *out, bool *found_out) {
    found f;
    column *c;
    if (FR_UNLIKELY(k->table != NO_TABLE)) {
        fr_status status = only_column(st, t, k, &c);
        return status == FR_OK ? row_get(st, t, k, column_span(c), out, found_out) : status;
    }
    fr_status status = key_lookup(st, t, k, &f);
    *found_out = f.exists;
    if (status != FR_OK || !f.exists) return status;
    return found_value(t, &f, out);
}

/* --- writing one value ----------------------------------------------------------------------------------------------- */

static fr_status write_bytes(txn *t, const key *k, const span *parts, size_t count, uint64_t expiry, uint64_t *slot) {
    draft d = {.kind = KIND_STRING, .tag = INDEX_TAG(k->hash), .space = k->space, .expiry = expiry, .name = k->name,
               .parts = parts, .part_count = count};
    return block_write(t, k->stripe, &d, slot);
}

static fr_status write_int(txn *t, const key *k, int64_t i, uint64_t expiry, uint64_t *slot) {
    draft d = {.kind = KIND_STRING, .tag = INDEX_TAG(k->hash), .space = k->space, .expiry = expiry, .name = k->name,
               .is_int = true, .i = i};
    return block_write(t, k->stripe, &d, slot);
}

static uint64_t max_value(store *st) {
    uint64_t set = ld8(&segment_super(st->s)->shared_settings[SETTING_MAX_VALUE]);
    return set && set < VALUE_MAX ? set : VALUE_MAX;
}

/* May a string be changed where it is? The same length, few words, and an expiry word if one is wanted. */
static bool fits_in_place(const found *f, span bytes, uint64_t expiry) {
    unsigned flags = META_FLAGS(f->meta);
    return f->exists && f->kind == KIND_STRING && !(flags & ~FLAG_EXPIRY) && META_VLEN(f->meta) == bytes.n &&
           bytes.n <= OVERWRITE_MAX && bytes.n && (flags & FLAG_EXPIRY || expiry == NO_EXPIRY);
}

static void overwrite(txn *t, const key *k, const found *f, span bytes, uint64_t expiry) {
    block_overwrite(t, k->stripe, f->off, f->off + block_body_at(f->meta), bytes);
    if (f->expiry != expiry) {
        key_count(t, k->stripe, k->space, 0, (expiry != NO_EXPIRY) - (f->expiry != NO_EXPIRY));
        txn_put(t, f->off + BLOCK_EXPIRY, expiry);
    }
    key_changed(t, k);
}

/* Makes the key hold these bytes with this expiry. Integers are kept as such; a counter keeps being one. */
static fr_status store_bytes(store *st, txn *t, const key *k, const found *f, span bytes, uint64_t expiry) {
    uint64_t slot;
    int64_t i;
    if (FR_UNLIKELY(bytes.n > max_value(st))) return FR_TOOLONG;
    bool is_int = bytes.n <= 20 && text_int64(bytes, &i);
    if (is_int && f->exists && f->kind == KIND_COUNTER) return counter_write(st, t, k, f, &i, false, expiry);
    if (!is_int && fits_in_place(f, bytes, expiry)) {
        overwrite(t, k, f, bytes, expiry);
        return FR_OK;
    }
    fr_status status = is_int ? write_int(t, k, i, expiry, &slot) : write_bytes(t, k, &bytes, 1, expiry, &slot);
    return status == FR_OK ? key_put(st, t, k, f, slot, expiry) : status;
}

/* Makes the key hold an integer: in place when it already does. */
static fr_status store_int(store *st, txn *t, const key *k, const found *f, int64_t i) {
    if (f->exists && f->kind == KIND_COUNTER) return counter_write(st, t, k, f, &i, false, f->expiry);
    if (f->exists && META_FLAGS(f->meta) & FLAG_INT) {
        block_change(t, k->stripe, f->off, f->off + block_body_at(f->meta), (uint64_t)i);
        key_changed(t, k);
        return FR_OK;
    }
    uint64_t slot, expiry = f->exists ? f->expiry : NO_EXPIRY;
    fr_status status = write_int(t, k, i, expiry, &slot);
    return status == FR_OK ? key_put(st, t, k, f, slot, expiry) : status;
}

/* Compares a value with bytes; writers only (the value is stable). */
static bool value_is(txn *t, const value *v, span bytes) {
    char buf[VALUE_TEXT], part[4096];
    if (v->kind != VALUE_BYTES || v->p) return span_eq(value_text(v, buf), bytes);
    if (v->n != bytes.n) return false;
    for (uint64_t at = 0; at < v->n; at += sizeof part) {
        uint64_t n = v->n - at < sizeof part ? v->n - at : sizeof part;
        if (value_copy(t->s, v, at, n, part) != FR_OK || memcmp(part, bytes.p + at, n)) return false;
    }
    return true;
}

/* --- SET ------------------------------------------------------------------------------------------------------------- */

static bool set_allowed(txn *t, const set_options *o, const found *f, const value *old) {
    if (o->check_version && found_version(t, f) != o->version) return false;
    switch (o->condition) {
    case SET_NX: return !f->exists;
    case SET_XX: return f->exists;
    case SET_IFEQ: return f->exists && value_is(t, old, o->match);
    case SET_IFNE: return !f->exists || !value_is(t, old, o->match);
    default: return true;
    }
}

static fr_status set_row(store *st, txn *t, const key *k, span bytes, const set_options *o, set_result *r) {
    column *c;
    found f;
    size_t created;
    fr_status status = only_column(st, t, k, &c);
    if (status == FR_OK) status = key_write_begin(st, t, k, &f);
    if (status != FR_OK) return status;
    r->existed = f.exists;
    r->version = f.version;
    if (f.exists && (status = row_get(st, t, k, column_span(c), &r->old, &(bool){false})) != FR_OK) return status;
    r->done = set_allowed(t, o, &f, &r->old);
    if (!r->done) return FR_OK;
    field_value fv = {column_span(c), bytes};
    if ((status = row_set(st, t, k, &fv, 1, &created)) != FR_OK) return status;
    bool changed;
    if (o->keep_ttl) return FR_OK;
    return key_expire(st, t, k, o->expiry, 0, &changed);
}

fr_status str_set(store *st, txn *t, const key *k, span bytes, const set_options *o, set_result *r) {
    found f;
    *r = (set_result){.old = {.kind = VALUE_NONE}};
    if (FR_UNLIKELY(k->table != NO_TABLE)) return set_row(st, t, k, bytes, o, r);
    fr_status status = key_write_begin(st, t, k, &f);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    r->existed = f.exists;
    r->version = f.version;
    bool compares = o->condition == SET_IFEQ || o->condition == SET_IFNE;
    if (f.exists && (o->want_old || compares) && (status = found_value(t, &f, &r->old)) != FR_OK) return status;
    r->done = set_allowed(t, o, &f, &r->old);
    if (!r->done) return FR_OK;
    uint64_t expiry = o->keep_ttl && f.exists ? f.expiry : o->expiry;
    if (expiry != NO_EXPIRY && expiry <= t->now_ms) return f.exists ? key_delete(st, t, k, &r->existed) : FR_OK;
    status = store_bytes(st, t, k, &f, bytes, expiry);
    r->version = segment_stripe(t->s, k->stripe)->clock; /* the version drawn last in this stripe is this write's */
    return status;
}

/* --- arithmetic ------------------------------------------------------------------------------------------------------- */

static fr_status found_int(txn *t, const found *f, int64_t *out) {
    *out = 0;
    if (!f->exists) return FR_OK;
    value v;
    fr_status status = found_value(t, f, &v);
    if (status != FR_OK) return status;
    /* APPEND and SETRANGE leave bytes, which may well be a number. */
    if (v.kind == VALUE_BYTES) return v.p && v.n <= 20 && text_int64((span){v.p, v.n}, out) ? FR_OK : FR_NOTINT;
    *out = v.i;
    return FR_OK;
}

fr_status str_incr(store *st, txn *t, const key *k, int64_t by, int64_t *out) {
    found f;
    column *c;
    int64_t now;
    if (FR_UNLIKELY(k->table != NO_TABLE)) {
        fr_status status = only_column(st, t, k, &c);
        return status == FR_OK ? row_incr(st, t, k, column_span(c), by, out) : status;
    }
    fr_status status = key_write_begin(st, t, k, &f);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if ((status = found_int(t, &f, &now)) != FR_OK) return status;
    if (FR_UNLIKELY(__builtin_add_overflow(now, by, out))) return FR_OVERFLOW;
    return store_int(st, t, k, &f, *out);
}

fr_status str_incr_float(store *st, txn *t, const key *k, long double by, char buf[FLOAT_TEXT], size_t *n) {
    found f;
    column *c;
    value v = {.kind = VALUE_NONE};
    long double now = 0;
    char text[VALUE_TEXT];
    if (k->table != NO_TABLE) {
        fr_status status = only_column(st, t, k, &c);
        return status == FR_OK ? row_incr_float(st, t, k, column_span(c), by, buf, n) : status;
    }
    fr_status status = key_write_begin(st, t, k, &f);
    if (status != FR_OK) return status;
    if (f.exists && (status = found_value(t, &f, &v)) != FR_OK) return status;
    if (f.exists && (v.kind == VALUE_BYTES && !v.p ? true : !text_long_double(value_text(&v, text), &now))) return FR_NOTFLOAT;
    now += by;
    if (isnan(now) || isinf(now)) return FR_NANINF;
    *n = long_double_text(now, buf);
    return store_bytes(st, t, k, &f, (span){buf, *n}, f.exists ? f.expiry : NO_EXPIRY);
}

static fr_status set_bound_expiry(store *st, txn *t, const key *k, const bound_options *o) {
    found f;
    bool changed;
    fr_status status = key_find(st, t, k, &f);
    if (status != FR_OK || (o->only_if_no_ttl && f.expiry != NO_EXPIRY)) return status;
    return key_expire(st, t, k, o->persist ? NO_EXPIRY : o->expiry, 0, &changed);
}

fr_status str_incr_bounded(store *st, txn *t, const key *k, const bound_options *o, int64_t *now, int64_t *applied) {
    found f;
    int64_t next;
    bool done;
    *applied = 0;
    if (k->table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_write_begin(st, t, k, &f);
    if (status != FR_OK) return status;
    if ((status = found_int(t, &f, now)) != FR_OK) return status;
    if ((status = bounds_add(&o->within, *now, o->by, &next, &done)) != FR_OK || !done) return status;
    if (__builtin_sub_overflow(next, *now, applied)) return FR_OVERFLOW;
    *now = next;
    if ((status = store_int(st, t, k, &f, next)) != FR_OK) return status;
    return o->persist || o->set_expiry ? set_bound_expiry(st, t, k, o) : FR_OK;
}

/* --- parts of a string ------------------------------------------------------------------------------------------------ */

#define PIECES (EXTENTS_MAX + 3)
/* The value's bytes as parts: text of an integer goes to buf. */
static fr_status value_parts(txn *t, const value *v, char buf[VALUE_TEXT], span *parts, size_t *n) {
    *n = 0;
    if (v->kind == VALUE_NONE) return FR_OK;
    if (v->kind == VALUE_BYTES && !v->p) return block_extents(t, v->extents, v->n, parts, n);
    parts[(*n)++] = value_text(v, buf);
    return FR_OK;
}

/* The present value for a command that edits it. */
static fr_status edit_begin(store *st, txn *t, const key *k, found *f, value *v) {
    *v = (value){.kind = VALUE_NONE};
    if (k->table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_write_begin(st, t, k, f);
    return status == FR_OK && f->exists ? found_value(t, f, v) : status;
}

static fr_status put_parts(store *st, txn *t, const key *k, const found *f, const span *parts, size_t count) {
    uint64_t slot, expiry = f->exists ? f->expiry : NO_EXPIRY;
    fr_status status = write_bytes(t, k, parts, count, expiry, &slot);
    return status == FR_OK ? key_put(st, t, k, f, slot, expiry) : status;
}

static uint64_t parts_length(const span *parts, size_t count) {
    uint64_t n = 0;
    for (size_t i = 0; i < count; i++) n += parts[i].n;
    return n;
}

fr_status str_append(store *st, txn *t, const key *k, span bytes, uint64_t *length) {
    found f;
    value v;
    char buf[VALUE_TEXT];
    span parts[PIECES];
    fr_status status = edit_begin(st, t, k, &f, &v);
    size_t n;
    if (status != FR_OK || (status = value_parts(t, &v, buf, parts, &n)) != FR_OK) return status;
    if (n == 0) {
        *length = bytes.n;
        return store_bytes(st, t, k, &f, bytes, NO_EXPIRY);
    }
    parts[n++] = bytes;
    *length = parts_length(parts, n);
    if (*length > max_value(st)) return FR_TOOLONG;
    return bytes.n ? put_parts(st, t, k, &f, parts, n) : FR_OK;
}

/* Parts [from, to) of a list of parts. */
static size_t cut(const span *parts, size_t count, uint64_t from, uint64_t to, span *out) {
    uint64_t at = 0;
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t low = from > at ? from : at, high = to < at + parts[i].n ? to : at + parts[i].n;
        if (low < high) out[n++] = (span){parts[i].p + (low - at), high - low};
        at += parts[i].n;
    }
    return n;
}

static const char zeros[4096];

fr_status str_set_range(store *st, txn *t, const key *k, uint64_t at, span bytes, uint64_t *length) {
    found f;
    value v;
    char buf[VALUE_TEXT];
    span old[PIECES], parts[2 * PIECES + 64];
    fr_status status = edit_begin(st, t, k, &f, &v);
    size_t n, m;
    if (status != FR_OK || (status = value_parts(t, &v, buf, old, &n)) != FR_OK) return status;
    *length = parts_length(old, n);
    if (bytes.n == 0) return FR_OK;
    if (at > max_value(st) || at + bytes.n > max_value(st)) return FR_TOOLONG;
    m = cut(old, n, 0, at, parts);
    char *gap = NULL;
    if (at > *length) { /* a gap of zeros: small ones from a constant, the rest from memory of the process */
        uint64_t zero = at - *length;
        if (zero > sizeof zeros && !(gap = calloc(1, zero))) return FR_OOM;
        parts[m++] = (span){gap ? gap : zeros, zero};
    }
    parts[m++] = bytes;
    if (at + bytes.n < *length) m += cut(old, n, at + bytes.n, *length, parts + m);
    *length = parts_length(parts, m);
    status = put_parts(st, t, k, &f, parts, m);
    free(gap);
    return status;
}

/* --- conditional deletes and CAS --------------------------------------------------------------------------------------- */

fr_status str_get_delete(store *st, txn *t, const key *k, value *old, bool *found_out) {
    found f;
    column *c;
    fr_status status = key_write_begin(st, t, k, &f);
    *found_out = f.exists;
    if (status != FR_OK || !f.exists) return status;
    if (k->table == NO_TABLE) status = found_value(t, &f, old);
    else if ((status = only_column(st, t, k, &c)) == FR_OK) status = row_get(st, t, k, column_span(c), old, found_out);
    return status == FR_OK ? key_delete(st, t, k, found_out) : status;
}

fr_status str_delete_if(store *st, txn *t, const key *k, span match, bool equal, int *outcome) {
    value v;
    bool exists;
    found f; /* routed under the latch before anything is compared */
    fr_status status = key_write_begin(st, t, k, &f);
    if (status == FR_OK) status = str_get(st, t, k, &v, &exists);
    if (status != FR_OK) return status;
    *outcome = !exists ? -1 : value_is(t, &v, match) == equal;
    return *outcome == 1 ? key_delete(st, t, k, &exists) : FR_OK;
}

fr_status str_cas(store *st, txn *t, const key *k, span expected, span desired, int *outcome) {
    set_options o = {.condition = SET_IFEQ, .match = expected, .keep_ttl = true};
    set_result r;
    fr_status status = str_set(st, t, k, desired, &o, &r);
    *outcome = !r.existed ? -1 : r.done;
    return status;
}
