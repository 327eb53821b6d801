/* hot_counters.c - hot.h's many counters in one call.
 *
 * A name's cell is found without a latch, unless the caller knows it already, and changed without one; only a name that is
 * no live counter takes the latch.
 */
#include <stdlib.h>

#include "hot_try.h"

typedef struct find_call {
    key k;
    uint64_t cell; /* 0: no live counter has this name */
} find_call;

static fr_status find_op(store *st, txn *t, void *ctx) {
    find_call *c = ctx;
    found f;
    fr_status status = key_find(st, t, &c->k, &f);
    c->cell = status == FR_OK && f.exists && f.kind == KIND_COUNTER ? f.counter + block_body_at(f.meta) : 0;
    return status;
}

static fr_status find_cell(store *st, hot_count *h, bool wait, fr_error *err) {
    find_call c;
    if (FR_LIKELY(h->cell)) return FR_OK;
    fr_status status = route(st, 0, h->name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, wait ? clock_boot_ms() : 0, find_op, &c, wait, err);
    if (status == FR_OK) h->cell = c.cell;
    return status;
}

static fr_status add_one(store *st, hot_count *c, bool wait, fr_error *err) {
    fr_status status = find_cell(st, c, wait, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    status = FR_LIKELY(c->cell) ? counter_add(st->s, c->cell, c->by, &c->out) : FR_RETRY;
    if (FR_UNLIKELY(st->s->lost)) return FR_LOST;
    if (FR_LIKELY(status != FR_RETRY)) return status;
    hot_counter_call slow = {.name = c->name, .step = HOT_ADD, .v = c->by};
    status = hot_counter_step(st, &slow, wait, err);
    c->out = slow.out;
    if (status == FR_OK) c->cell = slow.cell;
    return status;
}

static fr_status read_one_counter(store *st, hot_count *c, bool wait, fr_error *err) {
    bool exists;
    fr_status status = find_cell(st, c, wait, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    status = FR_LIKELY(c->cell) ? counter_get(st->s, c->cell, &c->out) : FR_RETRY;
    if (FR_UNLIKELY(st->s->lost)) return FR_LOST;
    return FR_LIKELY(status != FR_RETRY) ? status : hot_counter_read(st, c->name, &c->out, &exists, wait, err);
}

/* Without the GIL too each one is tried quickly first. */
#define EACH(one)                                                                                                      \
    fr_status status = FR_OK;                                                                                          \
    err->text[0] = 0;                                                                                                  \
    for (; *at < n; ++*at) {                                                                                           \
        status = one(st, &c[*at], false, err);                                                                         \
        if (FR_UNLIKELY(wait && hot_again(status))) status = one(st, &c[*at], true, err);                              \
        if (FR_UNLIKELY(status != FR_OK)) break;                                                                       \
    }                                                                                                                  \
    return err->status = status

fr_status hot_counters_add(store *st, hot_count *c, size_t n, size_t *at, bool wait, fr_error *err) {
    if (st->s->readonly) return err->text[0] = 0, err->status = FR_READONLY;
    EACH(add_one);
}

fr_status hot_counters_read(store *st, hot_count *c, size_t n, size_t *at, bool wait, fr_error *err) { EACH(read_one_counter); }

/* --- all or none ---------------------------------------------------------------------------------------------------- */

typedef struct all_call {
    hot_count *c;
    key *k;
    size_t n, at;
} all_call;

static fr_status add_all_op(store *st, txn *t, void *ctx) {
    all_call *a = ctx;
    fr_status status = FR_OK;
    for (a->at = 0; a->at < a->n; a->at++) {
        uint64_t cell;
        status = counter_open(st, t, &a->k[a->at], 0, &cell);
        if (status == FR_OK) status = str_incr(st, t, &a->k[a->at], a->c[a->at].by, &a->c[a->at].out);
        if (status != FR_OK) break;
    }
    return status;
}

fr_status hot_counters_add_all(store *st, hot_count *c, size_t n, size_t *at, fr_error *err) {
    all_call a = {.c = c, .k = malloc(n * sizeof *a.k), .n = n};
    stripe_set set;
    fr_status status = a.k ? FR_OK : FR_OOM;
    err->text[0] = 0;
    stripe_set_clear(&set);
    for (; status == FR_OK && a.at < n; a.at++) {
        status = key_route(st, 0, c[a.at].name, &a.k[a.at], err);
        if (status != FR_OK) break;
        stripe_set_add(&set, a.k[a.at].stripe);
    }
    if (status == FR_OK) status = store_write(st, clock_boot_ms(), UINT64_MAX, &set, add_all_op, &a, err);
    *at = a.at;
    free(a.k);
    return err->status = status;
}
