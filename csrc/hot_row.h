/* hot_row.h - how hot_row.c and hot_rows.c name a row: by a table that the caller holds, so routing needs no search. Private
 * to them.
 */
#ifndef FRIDGE_HOT_ROW_H
#define FRIDGE_HOT_ROW_H

#include "hot_try.h"
#include "store/column.h"
#include "store/quick.h"

static inline fr_status no_table(span name, fr_error *err) {
    static const char before[] = "no such table '";
    size_t n = name.n < 64 ? name.n : 64;
    memcpy(err->text, before, sizeof before - 1);
    memcpy(err->text + sizeof before - 1, name.p, n);
    memcpy(err->text + sizeof before - 1 + n, "'", 2);
    return err->status = FR_NOTABLE;
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
    bool yes, created;
    char *image;
    const row_steps *steps;
    uint64_t at_ms;
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

HOT fr_status row_open(store *st, row_call *c, span name, fr_error *err) {
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

#endif
