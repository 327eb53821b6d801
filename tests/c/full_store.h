/* full_store.h - stores that are full, or soon will be: what test_store.c and test_evict.c share. */
#ifndef FRIDGE_TESTS_FULL_STORE_H
#define FRIDGE_TESTS_FULL_STORE_H

#include "store_fixture.h"

static set_options how;

static inline fr_status do_put(store *st, txn *t, op *o) {
    set_result r;
    return str_set(st, t, &o->k, o->value, &how, &r);
}
static inline fr_status put(store *st, const char *name, size_t n, uint64_t expiry, uint64_t now) {
    static char bytes[70000];
    how = (set_options){.expiry = expiry};
    op o = {.run = do_put, .name = name, .value = {bytes, n}};
    return write_op_at(st, &o, now);
}
static inline store *tiny(void) {
    geometry g = layout_test();
    store *st = store_with(&g);
    segment_become(st->s, 1, 1); /* statistics of a process without a slot are its own */
    return st;
}

static inline fr_status fill_up(store *st, const char *prefix, uint64_t expiry, int *n) {
    char name[24];
    fr_status status = FR_OK;
    for (*n = 0; status == FR_OK && *n < 100000; ++*n) {
        snprintf(name, sizeof name, "%s%d", prefix, *n);
        status = put(st, name, 40, expiry, NOW);
    }
    --*n;
    return status;
}

#endif
