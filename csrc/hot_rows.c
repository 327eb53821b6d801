/* hot_rows.c - hot.h's tables: several rows in one transaction, pages of rows, and whole tables. None of these has a first
 * try: they may block and are called without the GIL.
 */
#include <stdlib.h>

#include "hot_row.h"

/* --- several rows ------------------------------------------------------------------------------------------------- */

typedef struct rows_call {
    table *tb;
    const hot_row_in *row;
    size_t n;
    char *images;
    uint8_t *there;
    uint64_t count; /* of new, or deleted, rows */
} rows_call;

/* The stripes of all rows. A row's stripe depends on nothing but its table and name. */
static fr_status rows_stripes(store *st, const rows_call *c, stripe_set *set, fr_error *err) {
    row_call one = {.tb = c->tb};
    fr_status status = FR_OK;
    err->text[0] = 0;
    stripe_set_clear(set);
    for (size_t i = 0; status == FR_OK && i < c->n; i++) {
        status = row_route(st, &one, c->row[i].name, err);
        if (status == FR_OK) stripe_set_add(set, one.k.stripe);
    }
    if (set->count == 0) stripe_set_add(set, 0);
    return status;
}

static fr_status rows_put_op(store *st, txn *t, void *ctx) {
    rows_call *c = ctx;
    row_call one = {.tb = c->tb};
    bool created;
    fr_status status = FR_OK;
    c->count = 0;
    for (size_t i = 0; status == FR_OK && i < c->n; i++) {
        status = row_route(st, &one, c->row[i].name, t->err);
        if (status == FR_OK) status = row_put(st, t, &one.k, c->row[i].cells, c->row[i].n, &created);
        c->count += status == FR_OK && created;
    }
    return status;
}

static fr_status rows_delete_op(store *st, txn *t, void *ctx) {
    rows_call *c = ctx;
    row_call one = {.tb = c->tb};
    bool existed;
    fr_status status = FR_OK;
    c->count = 0;
    for (size_t i = 0; status == FR_OK && i < c->n; i++) {
        status = row_route(st, &one, c->row[i].name, t->err);
        if (status == FR_OK) status = key_delete(st, t, &one.k, &existed);
        c->count += status == FR_OK && existed;
    }
    return status;
}

static fr_status rows_get_op(store *st, txn *t, void *ctx) {
    rows_call *c = ctx;
    row_call one = {.tb = c->tb};
    fr_status status = FR_OK;
    for (size_t i = 0; status == FR_OK && i < c->n; i++) {
        bool there = false;
        status = row_route(st, &one, c->row[i].name, t->err);
        if (status == FR_OK) status = row_copy_out(st, t, &one.k, c->images + i * c->tb->stride, &there);
        c->there[i] = there;
    }
    return status;
}

static fr_status rows_write(store *st, rows_call *c, store_op op, uint64_t *count, fr_error *err) {
    stripe_set set;
    fr_status status = rows_stripes(st, c, &set, err);
    if (status == FR_OK) status = store_write(st, clock_boot_ms(), UINT64_MAX, &set, op, c, err);
    *count = c->count;
    return status;
}

fr_status hot_rows_put(store *st, table *tb, const hot_row_in *row, size_t n, uint64_t *created, fr_error *err) {
    rows_call c = {.tb = tb, .row = row, .n = n};
    return rows_write(st, &c, rows_put_op, created, err);
}

fr_status hot_rows_delete(store *st, table *tb, const hot_row_in *row, size_t n, uint64_t *deleted, fr_error *err) {
    rows_call c = {.tb = tb, .row = row, .n = n};
    return rows_write(st, &c, rows_delete_op, deleted, err);
}

fr_status hot_rows_get(store *st, table *tb, const hot_row_in *row, size_t n, char *images, uint8_t *there, fr_error *err) {
    rows_call c = {.tb = tb, .row = row, .n = n, .images = images, .there = there};
    stripe_set set;
    fr_status status = rows_stripes(st, &c, &set, err);
    return status == FR_OK ? store_read(st, clock_boot_ms(), &set, rows_get_op, &c, err) : status;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static fr_status page_put(copy_buffer *page, span name) {
    uint32_t n = (uint32_t)name.n;
    char *to = copy_reserve(page, 4 + name.n);
    if (!to) return FR_NOSPACE;
    memcpy(to, &n, 4);
    memcpy(to + 4, name.p, name.n);
    page->n += 4 + name.n;
    return FR_OK;
}

typedef struct page_call {
    table *tb;
    uint64_t from, cursor, count;
    copy_buffer *page;
} page_call;

static fr_status page_add(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    page_call *c = ctx;
    copy_buffer *page = c->page;
    size_t prefix = c->tb->name_n + 1, n = name.n - prefix;
    (void)kind, (void)expiry, (void)version;
    return page_put(page, (span){name.p + prefix, n});
}

static fr_status page_op(store *st, txn *t, void *ctx) {
    page_call *c = ctx;
    c->page->n = 0;
    c->cursor = c->from;
    return keyspace_scan(st, t, 0, (int32_t)c->tb->number, &c->cursor, c->count, page_add, c);
}

fr_status hot_table_page(store *st, table *tb, uint64_t *cursor, uint64_t count, copy_buffer *out, fr_error *err) {
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

/* A row of the page, as it is at one instant; one that is gone by now is left out. */
static fr_status add_row(store *st, table *tb, span name, copy_buffer *out, fr_error *err) {
    bool there = false;
    size_t before = out->n;
    fr_status status = page_put(out, name);
    char *image = status == FR_OK ? copy_reserve(out, tb->stride) : NULL;
    if (!image) return err->status = FR_NOSPACE;
    status = hot_row_image(st, tb, name, image, &there, true, err);
    out->n = status == FR_OK && there ? out->n + tb->stride : before;
    return status;
}

fr_status hot_table_rows(store *st, table *tb, uint64_t *cursor, uint64_t count, copy_buffer *out, fr_error *err) {
    copy_buffer names = {NULL, 0, 0};
    uint32_t n;
    fr_status status = hot_table_page(st, tb, cursor, count, &names, err);
    for (size_t at = 0; status == FR_OK && at + 4 <= names.n; at += 4 + n) {
        memcpy(&n, names.p + at, 4);
        status = add_row(st, tb, (span){names.p + at + 4, n}, out, err);
    }
    free(names.p);
    return status;
}

/* --- whole tables ------------------------------------------------------------------------------------------------- */

typedef struct clear_call {
    table *tb;
    uint64_t rows;
} clear_call;

static fr_status clear_op(store *st, txn *t, void *ctx) {
    clear_call *c = ctx;
    return table_clear(st, t, c->tb, &c->rows);
}

fr_status hot_table_clear(store *st, table *tb, uint64_t *rows, fr_error *err) {
    clear_call c = {.tb = tb};
    stripe_set all;
    uint64_t cursor = 0;
    err->text[0] = 0;
    store_all_stripes(st, &all);
    fr_status status = store_write(st, clock_boot_ms(), UINT64_MAX, &all, clear_op, &c, err);
    *rows = c.rows;
    if (status == FR_OK) table_reclaim(st, tb, clock_boot_ms(), &cursor, 1024); /* small tables are empty at once */
    return status;
}

fr_status hot_table_copy(store *st, table *tb, copy_buffer *images, copy_buffer *names, uint64_t *rows, fr_error *err) {
    return table_copy(st, tb, clock_boot_ms(), images, names, rows, err);
}

fr_status hot_table_mask(store *st, table *tb, uint8_t *live, fr_error *err) {
    err->text[0] = 0;
    fr_status status = store_catalogue(st, err);
    if (status == FR_OK && tb->state != TABLE_LIVE) return no_table((span){tb->name, tb->name_n}, err);
    if (status == FR_OK) table_mask(st, tb, clock_boot_ms(), live);
    return st->s->lost ? (err->status = FR_LOST) : status;
}

uint64_t hot_expiry_to_wall(store *st, uint64_t boot_ms) { return keyspace_to_wall(st, boot_ms); }
