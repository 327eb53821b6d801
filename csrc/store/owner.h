/* owner.h - what a string block of a lock or of a published var knows beside its bytes: who, since when, who waits.
 *
 * TRAILER, behind the body (FLAG_OWNER), in 8-byte words
 *     0  head: holders:16 | waiters:16 | limit:16 | role:8, from the lowest bit up
 *     8  holders, then waiters in the order they came, 64 bytes each (struct owner)
 *
 * ROLE_LOCK     the body is the first holder's token. Exclusive (limit 1), or shared by up to `limit` (semaphores), or
 *               either (read-write locks). A lock dies with its holders: to everybody it is absent, like an expired key,
 *               once no process that holds it lives.
 * ROLE_VAR      the body is the snapshot, its one holder the publisher. It outlives its publisher.
 *
 * Invariants
 * 1. holders + waiters <= OWNERS_MAX; a var has one holder and no waiters.
 * 2. Of the holders at most one is exclusive, and then it is alone; shared ones are at most `limit`.
 * 3. The first waiter is not compatible with the holders: else it would be one.
 * 4. A named block's trailer never changes in place: every change writes a new block.
 *
 * An identity of 0 is a client of a server: alive for as long as the key's expiry says.
 */
#ifndef FRIDGE_STORE_OWNER_H
#define FRIDGE_STORE_OWNER_H

#include "store/block.h"

#define OWNERS_MAX 256u
#define TOKEN_MAX 32u /* a uuid in hexadecimal, as redis-py's locks use */

enum owner_role { ROLE_LOCK, ROLE_VAR };

typedef struct owner {
    uint32_t identity; /* slot and generation as in a latch word; 0: unknown */
    uint8_t shared, token_n;
    uint16_t reserved;
    uint64_t number;   /* holders: the fencing token, which only rises; waiters: 0 */
    uint64_t since_ms; /* boot clock: when it was granted, or began to wait */
    uint64_t lease_ms; /* how long it is, or will be, held at most; 0: no end */
    char token[TOKEN_MAX];
} owner;
_Static_assert(sizeof(owner) == 64, "an owner is a cache line");

typedef struct owners {
    uint32_t holders, waiters, limit;
    enum owner_role role;
    owner entry[OWNERS_MAX];
} owners;

#define OWNERS_HEAD(o)                                                                                                 \
    ((uint64_t)(o)->holders | (uint64_t)(o)->waiters << 16 | (uint64_t)(o)->limit << 32 | (uint64_t)(o)->role << 48)
#define OWNERS_HOLDERS(head) ((uint32_t)((head) & 0xffff))
#define OWNERS_WAITERS(head) ((uint32_t)((head) >> 16 & 0xffff))

/* owner_bytes: how long the trailer is whose first word is head. */
static inline uint64_t owner_bytes(uint64_t head) {
    return 8 + ((head & 0xffff) + (head >> 16 & 0xffff)) * sizeof(owner);
}

/* owner_bit: by which a place in line is told from others when it is woken; see shm/wait.h. */
static inline uint32_t owner_bit(span token) {
    uint32_t h = 0;
    for (size_t i = 0; i < token.n; i++) h = h * 31 + (uint8_t)token.p[i];
    return UINT32_C(1) << h % 31;
}

/* owners_read copies a block's trailer. False: it cannot be, or (in a reader's hands) a race was lost. */
bool owners_read(txn *t, const head *h, owners *out);

/* owners_live: is a block with FLAG_OWNER still there, for all that its holders' lives say? True for what cannot be read:
 * validation settles that. One probe (0.3-1.2 us) a holder until one lives. */
bool owners_live(txn *t, const head *h);

/* owners_mortal: may a block with FLAG_OWNER be gone one day without a store, because a process has died? */
bool owners_mortal(txn *t, const head *h);

/* owners_awaited: does a live process stand in line? Such a block is not reclaimed when its holders are gone: the line would
 * lose its order. */
bool owners_awaited(txn *t, const head *h);

/* owners_check verifies what this file says of a block with FLAG_OWNER; clock is its stripe's, which no fence exceeds. */
fr_status owners_check(txn *t, const head *h, uint64_t clock, fr_error *err);

/* owner_alive: does the process of an identity live? */
bool owner_alive(segment *s, uint32_t identity);

/* owners_write writes `bytes` and the trailer as a new block of k; *slot is its word. */
fr_status owners_write(txn *t, const key *k, span bytes, const owners *o, uint64_t expiry, uint64_t *slot);

#endif
