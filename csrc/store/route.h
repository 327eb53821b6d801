/* route.h - where a key that is no row lives: its hash, its stripe, and whether that still holds. Inlined into every call.
 * key_route (store.h) decides first whether a name is a row's.
 *
 * The hash is folded multiplication under a secret (the construction of wyhash and rapidhash, whose published analyses it relies on):
 * both factors are masked by secret words of the segment, so that a client cannot aim at zero or at collisions. A name of
 * up to 16 bytes costs three multiplications. Which hash a name has is part of the segment's format: a change of it is a
 * new LAYOUT_VERSION.
 */
#ifndef FRIDGE_STORE_ROUTE_H
#define FRIDGE_STORE_ROUTE_H

#include "store/store.h"

static inline uint64_t load8(const char *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The last 0..16 bytes as two words, without reading beyond the name. */
static inline void hash_tail(const char *p, size_t n, uint64_t *a, uint64_t *b) {
    if (FR_LIKELY(n >= 8)) {
        *a = load8(p);
        *b = load8(p + n - 8);
    } else if (n >= 4) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + n - 4, 4);
        *a = low;
        *b = high;
    } else if (n) {
        *a = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n >> 1] << 8 | (uint8_t)p[n - 1];
        *b = 0;
    } else {
        *a = *b = 0;
    }
}

/* key_hash: of a name in a domain. All databases share domain 0, so that a key keeps its stripe when its database is
 * flushed, swapped or changed, and a flushed block is found, and replaced, where its name lives; each table has a domain of
 * its own (1 + its number), because many tables use the same row keys. Fields of a tree: FIELD_SPACE. */
#define FIELD_SPACE 0u
static inline uint64_t key_hash(const segment *s, uint32_t domain, span name) {
    const uint64_t *secret = s->secret;
    uint64_t h = hash_fold(domain ^ secret[0], name.n ^ secret[1]), a, b;
    const char *p = name.p;
    size_t n = name.n;
    for (; FR_UNLIKELY(n > 16); n -= 16, p += 16) h = hash_fold(load8(p) ^ secret[2], load8(p + 8) ^ h);
    hash_tail(p, n, &a, &b);
    return hash_fold(hash_fold(a ^ secret[3], b ^ h) ^ secret[1], h ^ secret[2]);
}

static inline uint32_t key_stripe_of(const segment *s, uint64_t hash) { return (uint32_t)hash & (s->g.stripes - 1); }

/* key_route_plain completes a key of which full, name, db and catalogue are known and which is no row's. */
static inline void key_route_plain(segment *s, key *k) {
    k->table = NO_TABLE;
    k->space = (uint32_t)ld8(&segment_super(s)->db[k->db]);
    k->hash = key_hash(s, FIELD_SPACE, k->name);
    k->stripe = key_stripe_of(s, k->hash);
}

/* plain_key_current: key_current for a reader of a key that is no row's, which may say no without need. Inlined, so that on
 * the straight path a key is never in memory. */
FR_INLINE bool plain_key_current(segment *s, const key *k) {
    const superblock *super = segment_super(s);
    return (ld8(&super->db[k->db]) == k->space) & (ld8(&super->catalogue_version) == k->catalogue);
}

bool row_key_current(const store *st, const key *k);

/* key_current: does the place still hold? Asked under the latch (key_write_begin routes anew when not), or once everything
 * has been read. */
static inline bool key_current(const store *st, const key *k) {
    if (FR_UNLIKELY(k->table != NO_TABLE)) return row_key_current(st, k);
    const superblock *super = segment_super(st->s);
    return ld8(&super->db[k->db]) == k->space && (k->db != 0 || ld8(&super->catalogue_version) == k->catalogue);
}

#endif
