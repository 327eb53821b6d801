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
 * 3. A change within bounds leaves a value within them, and whoever is refused was refused by a value that the counter had:
 *    the sum is compared with the bounds and stored by the same cas16, or refused on a pair that was one.
 * 4. A refused change stores nothing: no value, no version, no revival of a dead cell.
 */
#ifndef FRIDGE_STORE_COUNTER_H
#define FRIDGE_STORE_COUNTER_H

#include "shm/index.h"
#include "shm/wait.h"
#include "store/keyspace.h"

#define CELL_DEAD UINT64_C(1)
/* CELL_FROZEN, 2: shm/journal.h, because recovery thaws. */
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

/* --- bounds: of every bounded increment, lock-free or not, INCREX included ------------------------------------------ */

/* The sum must lie in [lower, upper], both included. One that does not changes nothing, or becomes the nearer bound when
 * `saturate`, even if that takes back more than was added (a value that lay outside before), as Redis 8.8's INCREX. */
typedef struct bounds {
    int64_t lower, upper;
    bool saturate;
    bool open_below, open_above; /* nobody asked for a bound on this side: there a sum beyond int64 is FR_OVERFLOW */
} bounds;

/* bounds_add is now + by, or what takes its place outside the bounds. *done: false when that is to change nothing. */
static inline fr_status bounds_add(const bounds *b, int64_t now, int64_t by, int64_t *next, bool *done) {
    bool beyond = __builtin_add_overflow(now, by, next);
    *done = true;
    if (FR_LIKELY(!beyond && *next >= b->lower && *next <= b->upper)) return FR_OK;
    if (beyond && (by > 0 ? b->open_above : b->open_below)) return FR_OVERFLOW;
    *done = b->saturate;
    if (!b->saturate) *next = now;
    else if (beyond) *next = by > 0 ? b->upper : b->lower;
    else *next = *next < b->lower ? b->lower : b->upper;
    return FR_OK;
}

/* --- lock-free ------------------------------------------------------------------------------------------------------ */

/* cell_read copies the pair as it was at one instant, without cas16: every change steps the state. */
static inline cell16 cell_read(const counter_body *c) {
    cell16 seen;
    do {
        seen.state = ld8(&c->cell.state);
        seen.value = ld8(&c->cell.value);
    } while (FR_UNLIKELY(ld8(&c->cell.state) != seen.state));
    return seen;
}

/* counter_wait_hash: by what a live counter is waited for (shm/wait.h). Not by its name, which a lock-free change does not
 * know: by its cell, which never moves. */
static inline uint64_t counter_wait_hash(uint64_t cell) {
    uint64_t h = cell * UINT64_C(0x9e3779b97f4a7c15);
    return (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
}

/* cell_change is every lock-free change of a value, and the only one. False: somebody was faster, *seen is theirs. cas16 is
 * the barrier between the change and the look for waiters. */
static inline bool cell_change(segment *s, uint64_t cell, cell16 *seen, int64_t next) {
    counter_body *c = SEG_AT(s, cell, counter_body);
    if (FR_UNLIKELY(!cas16(&c->cell, seen, (cell16){(uint64_t)next, seen->state + CELL_VERSION_STEP}))) return false;
    if (FR_UNLIKELY(wait_anybody(s))) wait_ring(s, counter_wait_hash(cell));
    return true;
}

/* cell_ready: may it be changed without a latch? */
static inline bool cell_ready(segment *s, const counter_body *c, uint64_t state) {
    return FR_LIKELY(!(state & CELL_STATE) && ld8(&c->epoch) == ld8(&segment_super(s)->counter_epoch));
}

/* The lock-free calls; `cell` comes from counter_open. FR_RETRY: the cell is dead, frozen or expires: take the
 * transaction's path (str_incr and friends, after counter_open). */
static inline fr_status counter_add(segment *s, uint64_t cell, int64_t by, int64_t *out) {
    counter_body *c = SEG_AT(s, cell, counter_body);
    cell16 seen = {ld8(&c->cell.value), ld8(&c->cell.state)};
    do {
        if (!cell_ready(s, c, seen.state)) return FR_RETRY;
        if (FR_UNLIKELY(__builtin_add_overflow((int64_t)seen.value, by, out))) return FR_OVERFLOW;
    } while (!cell_change(s, cell, &seen, *out));
    return FR_OK;
}

/* counter_add_within adds within bounds. *done false: the bounds refuse, nothing changed. *out is the value in any case. */
static inline fr_status counter_add_within(segment *s, uint64_t cell, int64_t by, const bounds *b, int64_t *out, bool *done) {
    counter_body *c = SEG_AT(s, cell, counter_body);
    cell16 seen = cell_read(c);
    for (;;) {
        if (!cell_ready(s, c, seen.state)) return FR_RETRY;
        fr_status status = bounds_add(b, (int64_t)seen.value, by, out, done);
        if (FR_UNLIKELY(status != FR_OK || !*done)) return status;
        if (cell_change(s, cell, &seen, *out)) return FR_OK;
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
