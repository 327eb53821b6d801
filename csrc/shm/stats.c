/* stats.c - statistics cells: summed over processes, and folded into the base row when a process has ended.
 *
 * Invariant: the sum over all rows never falls and never counts anything twice, at whatever store a fold dies: a cell and
 * its base change in one transaction. What a process counted between its last store and its death is kept, because cells
 * are in the segment all along.
 */
#include "shm/txn.h"

#define FOLD_BATCH 3 /* two records a cell; fits the smallest journal */

/* Adds cells [from, from + FOLD_BATCH) to the base row. Statistics have no stripe of their own: stripe 0's journal. */
static fr_status fold_batch(segment *s, uint32_t slot, uint32_t from, fr_error *err) {
    txn t;
    txn_init(&t, s, err);
    uint64_t now = clock_boot_ms();
    fr_status status = txn_begin_one(&t, now, now + 200, 0);
    if (status != FR_OK) return status;
    for (uint32_t i = from; i < s->g.stat_cells && i < from + FOLD_BATCH; i++) {
        uint64_t cell = s->l.stats + ((uint64_t)slot * s->g.stat_cells + i) * 8, base = s->l.stats + (uint64_t)i * 8;
        uint64_t v = txn_ld(&t, cell);
        if (v == 0) continue;
        txn_put(&t, base, txn_ld(&t, base) + v);
        txn_put(&t, cell, 0);
    }
    return txn_commit(&t);
}

fr_status txn_fold_stats(segment *s, uint32_t slot) {
    fr_error err;
    const uint64_t *row = SEG_AT(s, s->l.stats, uint64_t) + (uint64_t)slot * s->g.stat_cells;
    for (uint32_t i = 0; i < s->g.stat_cells; i += FOLD_BATCH) {
        bool any = false;
        for (uint32_t j = i; j < s->g.stat_cells && j < i + FOLD_BATCH; j++) any |= row[j] != 0;
        if (!any) continue;
        fr_status status = fold_batch(s, slot, i, &err);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

uint64_t stat_sum(segment *s, unsigned cell) {
    uint64_t sum = 0;
    if (cell >= s->g.stat_cells) return 0;
    const uint64_t *cells = SEG_AT(s, s->l.stats, uint64_t) + cell;
    for (uint32_t row = 0; row <= s->g.slots; row++) {
        sum += __atomic_load_n(&cells[(uint64_t)row * s->g.stat_cells], __ATOMIC_RELAXED);
    }
    return sum;
}
