/* stripe_set.h - a set of stripes, and of the latches above them (row pools, the page pool), walked in ascending order, which
 * is the order in which latches are taken.
 *
 * Invariant: count is the number of bits that are set, and no bit is set at or beyond g.stripes + POOL_LATCHES + 1.
 *
 * Leaves out: which stripes a command needs (store.h), and taking them (txn.h).
 */
#ifndef FRIDGE_SHM_STRIPE_SET_H
#define FRIDGE_SHM_STRIPE_SET_H

#include "base.h"

#define STRIPE_SET_WORDS 65 /* bits for up to 4096 stripes, and for the latches above them */

typedef struct stripe_set {
    uint64_t bits[STRIPE_SET_WORDS];
    uint32_t count;
} stripe_set;

static inline void stripe_set_clear(stripe_set *set) { memset(set, 0, sizeof *set); }

static inline void stripe_set_add(stripe_set *set, uint32_t number) {
    uint64_t bit = UINT64_C(1) << (number & 63);
    if (!(set->bits[number >> 6] & bit)) set->count++;
    set->bits[number >> 6] |= bit;
}

static inline bool stripe_set_has(const stripe_set *set, uint32_t number) {
    return set->bits[number >> 6] >> (number & 63) & 1;
}

/* stripe_set_next is the first number of the set in [from, limit), or limit. */
static inline uint32_t stripe_set_next(const stripe_set *set, uint32_t from, uint32_t limit) {
    while (from < limit) {
        uint64_t rest = set->bits[from >> 6] >> (from & 63);
        if (rest) return from + (uint32_t)__builtin_ctzll(rest);
        from = (from | 63) + 1;
    }
    return limit;
}

/* FOR_STRIPES runs what follows it for each number of a set below limit, ascending. */
#define FOR_STRIPES(i, set, limit)                                                                                     \
    for (uint32_t i = stripe_set_next((set), 0, (limit)); i < (limit); i = stripe_set_next((set), i + 1, (limit)))

#endif
