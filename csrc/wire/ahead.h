/* ahead.h - while one request is executed, the memory that the next ones of the same read will need is on its way.
 *
 * A random key costs two cache misses, which is most of a pipelined command's time. Requests behind the present one are
 * peeked at, in their ordinary form only (`*n`, then arguments), and their second word is taken for a key: its index line
 * is fetched some requests ahead, its block a few later. Whatever else a request is, no harm is done but a useless fetch.
 *
 * Leaves out: parsing (resp.h), and every judgement.
 */
#ifndef FRIDGE_WIRE_AHEAD_H
#define FRIDGE_WIRE_AHEAD_H

#include "store/store.h"

#define AHEAD_KEYS 8u  /* a power of two above AHEAD_INDEX */
#define AHEAD_INDEX 6u /* requests from the present one to the one whose index line is fetched, */
#define AHEAD_BLOCK 3u /* and to the one whose block is */

typedef struct ahead {
    const char *at, *end; /* what is not peeked at yet */
    uint32_t peeked, fetched, now; /* requests: peeked at, with their block fetched, executed */
    key keys[AHEAD_KEYS];
} ahead;

/* ahead_begin starts behind the first request of a read: n bytes at p. */
static inline void ahead_begin(ahead *a, const char *p, size_t n) {
    a->at = p;
    a->end = p + n;
    a->peeked = a->fetched = a->now = 0;
}

void ahead_fetch(ahead *a, store *st, uint32_t db);

/* ahead_step is called before each request is executed. */
static inline void ahead_step(ahead *a, store *st, uint32_t db) {
    if (a->at != a->end || a->fetched != a->peeked) ahead_fetch(a, st, db);
    a->now++;
}

#endif
