/* counter.h - counters: one named int64 with a fixed address, changed without a latch.
 *
 * BODY  cell16 {value, state}, then the epoch word. state = version:56, bits:8 (low). cas16 changes value and state
 * together. Bits: CELL_DEAD (deleted or expired), CELL_FROZEN (a transaction has it), CELL_EXPIRES (its block has an
 * expiry). The lock-free path works only when no bit is set and the epoch word equals the segment's counter_epoch;
 * everything else goes through the latch. Every change, deletion and revival included, steps the version.
 *
 * A counter's block lives in SPACE_COUNTERS and is never freed, moved or reused for the life of the segment: the name
 * owns the cell, so that a handle's address stays good. DEL and expiry set it dead, FLUSHDB 0 makes its epoch old; the next
 * use as a counter revives it at 0. While it is dead the name may be an ordinary key (SET hits abc after DEL hits): the
 * index then holds both blocks, and the handle gets FR_NOTINT or FR_WRONGTYPE until that key is gone.
 *
 * Invariants
 * 1. CELL_FROZEN implies an intent of a held stripe names the cell.
 * 2. A frozen cell's value and state change only by that transaction's records, or recovery.
 */
#ifndef FRIDGE_STORE_COUNTER_H
#define FRIDGE_STORE_COUNTER_H

#include "shm/index.h"
#include "store/keyspace.h"

#define CELL_DEAD UINT64_C(1)
#define CELL_FROZEN UINT64_C(2)
#define CELL_EXPIRES UINT64_C(4)
#define CELL_STATE UINT64_C(0xff)
#define CELL_VERSION_STEP UINT64_C(0x100)

/* counter_open finds, revives or creates the counter `k` at `initial` and returns its cell's offset for the lock-free calls. An
 * integer string of that name becomes a counter; FR_NOTINT for other strings, FR_WRONGTYPE for other kinds. Writes. */
fr_status counter_open(store *st, txn *t, const key *k, int64_t initial, uint64_t *cell);

typedef struct counter_body {
    cell16 cell;
    uint64_t epoch;
} counter_body;

/* The lock-free calls; `cell` comes from counter_open. FR_RETRY: the cell is dead, frozen or expires: take the
 * transaction's path (str_incr and friends, after counter_open). */
static inline fr_status counter_add(segment *s, uint64_t cell, int64_t by, int64_t *out) {
    counter_body *c = SEG_AT(s, cell, counter_body);
    cell16 seen = {ld8(&c->cell.value), ld8(&c->cell.state)};
    for (;;) {
        if (FR_UNLIKELY(seen.state & CELL_STATE || ld8(&c->epoch) != ld8(&segment_super(s)->counter_epoch))) return FR_RETRY;
        int64_t next;
        if (FR_UNLIKELY(__builtin_add_overflow((int64_t)seen.value, by, &next))) return FR_OVERFLOW;
        if (FR_LIKELY(cas16(&c->cell, &seen, (cell16){(uint64_t)next, seen.state + CELL_VERSION_STEP}))) {
            *out = next;
            return FR_OK;
        }
    }
}
fr_status counter_get(segment *s, uint64_t cell, int64_t *out);
fr_status counter_set(segment *s, uint64_t cell, int64_t v);
fr_status counter_cas(segment *s, uint64_t cell, int64_t expected, int64_t desired, bool *done);

/* Inside a transaction, for string.c and keyspace.c. counter_live: is the block at `off` a live counter, and what does it
 * hold? counter_value reads a found one; a writer freezes it first. counter_write freezes it, puts value (NULL: keeps it),
 * expiry and bits, and makes its epoch the present one. */
fr_status counter_live(txn *t, uint64_t off, uint64_t meta, bool *live, int64_t *value, uint64_t *version);
fr_status counter_value(txn *t, const found *f, int64_t *out);
fr_status counter_write(store *st, txn *t, const key *k, const found *f, const int64_t *value, bool dead, uint64_t expiry);

#endif
