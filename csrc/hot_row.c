/* hot_row.c - hot.h's tables: a row is named by a table that the caller holds, so routing needs no search. */
#include <stdlib.h>

#include "hot_try.h"
#include "store/column.h"
#include "store/quick.h"

/* --- tables ------------------------------------------------------------------------------------------------------- */

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

/* row_route is key_route for a row whose table is known; FR_NOTABLE once that table is gone. `full` is not the full name:
 * key_route must never see such a key, so every operation asks row_current, under its latch, before the engine can. */
HOT fr_status row_route(store *st, row_call *c, span name, fr_error *err) {
    table *tb = c->tb;
    key *k = &c->k;
    uint64_t catalogue = ld8(&segment_super(st->s)->catalogue_version); /* first: what changes later makes k stale */
    if (FR_UNLIKELY(catalogue != st->catalogue_version)) {
        fr_status status = store_catalogue(st, err);
        if (status != FR_OK) return status;
    }
    if (FR_UNLIKELY(tb->state != TABLE_LIVE)) {
        return st->s->lost ? (err->status = FR_LOST) : no_table((span){tb->name, tb->name_n}, err);
    }
    if (FR_UNLIKELY(name.n + tb->name_n + 1 > KEY_MAX)) return err->status = FR_KEYTOOLONG;
    *k = (key){.full = name, .name = name, .table = (int32_t)tb->number, .catalogue = catalogue};
    k->space = (uint32_t)ld8(SEG_AT(st->s, tb->descriptor + TABLE_SPACE, uint64_t));
    k->hash = key_hash(st->s, 1 + tb->number, k->name);
    k->stripe = (uint32_t)k->hash & (tb->table_stripes - 1);
    return FR_OK;
}

HOT fr_status row_begin(store *st, row_call *c, span name, fr_error *err) {
    err->text[0] = 0;
    return row_route(st, c, name, err);
}

/* In an operation: a declaration, a drop or a flush may have come in between. */
HOT fr_status row_current(store *st, txn *t, row_call *c) {
    if (FR_LIKELY(key_current(st, &c->k) && c->tb->state == TABLE_LIVE)) return FR_OK;
    uint32_t stripe = c->k.stripe;
    fr_status status = row_route(st, c, c->k.name, t->err);
    return status == FR_OK && stripe != c->k.stripe ? FR_RETRY : status;
}

static fr_status row_put_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_put(st, t, &c->k, c->cells, c->n, &c->yes) : status;
}

static fr_status row_add_op(store *st, txn *t, void *ctx) {
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
    char buf[FLOAT_TEXT];
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

static fr_status row_exists_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    found f;
    fr_status status = row_current(st, t, c);
    if (status == FR_OK) status = key_lookup(st, t, &c->k, &f);
    c->yes = status == FR_OK && f.exists;
    return status;
}

static fr_status row_image_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    found f;
    fr_status status = row_current(st, t, c);
    if (status == FR_OK) status = key_lookup(st, t, &c->k, &f);
    c->yes = status == FR_OK && f.exists;
    if (!c->yes) return status;
    if (FR_UNLIKELY(!segment_holds(st->s, f.off, c->tb->stride))) return FR_RETRY;
    if (FR_LIKELY(!t->bloom)) {
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

fr_status hot_row_put(store *st, table *tb, span name, const cell_in *cells, size_t n, bool *created, bool wait,
                      fr_error *err) {
    row_call c;
    c.tb = tb;
    c.cells = cells;
    c.n = n;
    c.yes = false;
    fr_status status = row_begin(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_put_op, &c, wait, err);
    *created = c.yes;
    return status;
}

fr_status hot_row_add(store *st, table *tb, span name, uint32_t column, int64_t by, int64_t *out, bool wait, fr_error *err) {
    row_call c;
    c.tb = tb;
    c.column = column;
    c.by = by;
    fr_status status = row_begin(st, &c, name, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (FR_LIKELY(!wait && column < tb->schema.columns && column_is_integer(&tb->schema.column[column]))) {
        status = quick_row_add(st, &c.k, tb, &tb->schema.column[column], by, out);
        if (FR_LIKELY(status != FR_RETRY)) return err->status = status;
    }
    status = write_one(st, &c.k, now_for(st, &c.k), row_add_op, &c, wait, err);
    *out = c.out;
    return status;
}

fr_status hot_row_add_float(store *st, table *tb, span name, uint32_t column, double by, double *out, bool wait,
                            fr_error *err) {
    row_call c = {.tb = tb, .column = column, .float_by = by};
    fr_status status = row_begin(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_float_op, &c, wait, err);
    *out = c.float_out;
    return status;
}

fr_status hot_row_cas(store *st, table *tb, span name, uint32_t column, span expected, span desired, int *outcome, bool wait,
                      fr_error *err) {
    row_call c = {.tb = tb, .column = column, .expected = expected, .desired = desired};
    fr_status status = row_begin(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_cas_op, &c, wait, err);
    *outcome = c.outcome;
    return status;
}

fr_status hot_row_delete(store *st, table *tb, span name, bool *existed, bool wait, fr_error *err) {
    row_call c = {.tb = tb};
    fr_status status = row_begin(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_delete_op, &c, wait, err);
    *existed = c.yes;
    return status;
}

fr_status hot_row_exists(store *st, table *tb, span name, bool *exists, bool wait, fr_error *err) {
    row_call c = {.tb = tb};
    fr_status status = row_begin(st, &c, name, err);
    if (status == FR_OK) status = read_one(st, &c.k, now_for(st, &c.k), row_exists_op, &c, wait, err);
    *exists = c.yes;
    return status;
}

fr_status hot_row_image(store *st, table *tb, span name, char *image, bool *found, bool wait, fr_error *err) {
    row_call c;
    c.tb = tb;
    c.image = image;
    c.yes = false;
    fr_status status = row_begin(st, &c, name, err);
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

fr_status hot_row_cell(store *st, table *tb, span name, uint32_t column, value *v, hot_sink *sink, bool *found, bool wait,
                       fr_error *err) {
    row_call c;
    c.tb = tb;
    c.column = column;
    c.v = v;
    c.sink = sink;
    c.yes = false;
    fr_status status = row_begin(st, &c, name, err);
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
