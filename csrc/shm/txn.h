/* txn.h - transactions: the only way to change a segment, and the reader's way to see one.
 *
 * WRITER. begin takes the latches of a set of stripes in ascending order. The transaction then collects a write set:
 * {offset, value} words, appended and, but for those of txn_put_over, not edited before the commit merges those of one word;
 * reads inside it see its own writes. New values go into free blocks directly. commit writes the set into the journal of
 * the lowest stripe held, makes the ONE commit store, applies the set, makes the journal clean (journal.h, LIFE) and drops
 * the latches.
 *
 * VISIBILITY. One visible word: its own store makes it visible, readers see before or after. A change in place: the
 * block's version word is made odd first and its new, even value is stored last; a reader that meets an odd version
 * overlays the journal. Several visible words (txn.multi, and always when several stripes are held): the seq of every
 * stripe held is odd from before the commit store until after the apply; a reader that meets an odd seq overlays the
 * journal of stripe `coord`.
 *
 * READER. Optimistic: a guard on each stripe it looks into, plain or overlaid loads, values copied out, and the read set
 * (slot word, block version, guard, for each key) validated at the end: passing means that all values held at one
 * instant, the instant validation began. A version passes only if it is even before the copy and unchanged after, and
 * the slot word is re-read before the version is: an image that was never committed cannot pass. A stale slot word may
 * lead into a block that is being filled anew: its content is written first and its version last, without an odd one
 * before. Whoever copied such a mixture read either the old version, which no later one repeats, or the new one, behind
 * which the content was complete; and when he re-reads the slot word, it has changed, or the new version is there.
 *
 * Invariants
 * 1. Between two transactions of a stripe: jstate's n is 0, seq is even, intents is 0, every version reachable from
 *    the stripe is even.
 * 2. A block or page freed by a transaction is not allocatable before it committed: allocation looks for bits that are
 *    0 both in memory and in the write set. Pages for a journal that spills are looked for likewise.
 *
 * Leaves out: the journal's bytes and what is believed of them (journal.h); what is done after a death (recovery.h); what
 * words mean: heap.h, index.h and store/ decide that.
 */
#ifndef FRIDGE_SHM_TXN_H
#define FRIDGE_SHM_TXN_H

#include "shm/journal.h"
#include "shm/latch.h"
#include "shm/stripe_set.h"

#define TXN_INLINE 64        /* records kept in the txn itself; a 65th moves them to the heap of the process */
#define TXN_READS_INLINE 4   /* likewise for keys of the read set */
#define READ_ATTEMPTS 64     /* lost races before FR_BUSYREAD */
#define TXN_WAKES 8          /* keys whose waiters are woken after the unlock; beyond that all waiters are */
#define NO_STRIPE UINT32_MAX

/* What a reader saw of a stripe when it went in. */
typedef struct guard {
    uint32_t stripe;
    uint32_t jstripe; /* journal that is overlaid, or NO_STRIPE */
    uint64_t seq;
    uint64_t jstate;  /* of the stripe whose journal seq refers to */
} guard;

/* One key that was read without a latch. version 0: absent; slot_off is its quad (0: no index yet), block the tag, slot
 * a digest of the quad's words with that tag. */
typedef struct read_entry {
    guard g;
    uint64_t slot_off, slot;
    uint64_t block, version;
} read_entry;

enum txn_mode { TXN_CLOSED, TXN_READ, TXN_WRITE };

typedef struct txn {
    segment *s;
    enum txn_mode mode;
    bool multi;           /* several visible words */
    bool failed;          /* a record could not be kept: txn_commit refuses */
    bool stepped;         /* holds a record of txn_step_seq */
    bool repeats;         /* perhaps a word was put twice: one record of each is enough */
    bool shrinks;         /* a deletion in all but name (HDEL, EXPIRE): may use the pages kept for journals */
    uint32_t n, cap;      /* write set */
    uint32_t marked;      /* where txn_mark was last asked: what is before may have to stay when the rest goes */
    uint32_t lowest;      /* first stripe held; its journal is used */
    uint32_t pools;       /* bit p: row pool p is held; bit POOL_LATCHES: the page pool */
    uint32_t wakes;       /* used entries of wake; TXN_WAKES + 1 = all */
    uint32_t wake_bits;   /* of the sleepers to wake when one key only has changed: wait.h */
    uint32_t reads, reads_cap;
    uint64_t bloom;       /* of the write set's targets: a read of an untouched word costs one test; all ones: overlay */
    uint64_t lacking;     /* pages that the page pool was last asked for: FR_GROW means that it did not have them */
    uint64_t unspilled;   /* pages that the journal did not find: with as many more, anywhere, FR_GROW would not have been */
    uint64_t now_ms;      /* boot clock: what expiry is compared with */
    uint64_t deadline_ms; /* of latch waits, boot clock */
    fr_error *err;        /* never NULL; particulars of the last failure */
    guard in;             /* the stripe a reader is in: what txn_ld overlays */
    record *rec;          /* inline_rec, or memory of the process */
    struct {
        uint32_t jstripe;
        uint64_t jstate;
    } loaded;             /* a reader with n > 0: the long journal that rec holds */
    read_entry *read;     /* inline_read, or memory of the process */
    char *scratch;        /* txn_bytes' copy of bytes that are being changed in place; or NULL */
    uint32_t *chain;      /* hash of targets once the write set has left inline_rec: heads, then next links */
    uint32_t chain_cap;
    uint64_t wake[TXN_WAKES];
    stripe_set *want;     /* FR_RELOCK: the latches that the next attempt must take; NULL = the caller cannot retry */
    stripe_set held;      /* bits are valid only when count > 1: one stripe is `lowest`, without 512 bytes to clear */
    read_entry inline_read[TXN_READS_INLINE];
    record inline_rec[TXN_INLINE];
} txn;

/* --- life ------------------------------------------------------------------------------------------------------- */

/* txn_init prepares t for any number of transactions; txn_end frees what it grew. */
void txn_init(txn *t, segment *s, fr_error *err);
void txn_end(txn *t);

void txn_begin_read(txn *t, uint64_t now_ms);

/* txn_begin_write registers the process if need be and takes the latches of `set` in ascending order. FR_LATCHED when a
 * live process outlasts the deadline: nothing is held then. */
fr_status txn_begin_write(txn *t, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set);

/* txn_begin_one is txn_begin_write for one stripe. */
fr_status txn_begin_one(txn *t, uint64_t now_ms, uint64_t deadline_ms, uint32_t stripe);

/* txn_commit, READ: validates the read set, FR_RETRY when it does not hold any more. WRITE: commits, applies and drops
 * the latches; on failure (FR_GROW or FR_OOM: no pages to spill to) nothing is changed and the latches are dropped. */
fr_status txn_commit(txn *t);
void txn_abort(txn *t);

/* txn_mark and txn_rollback bracket one command of several: rollback forgets what was put since the mark. */
static inline uint32_t txn_mark(txn *t) { return t->marked = t->n; }
void txn_rollback(txn *t, uint32_t mark);

/* txn_pool takes a latch above the stripes: a row pool (0..POOL_LATCHES-1) or POOL_LATCHES, the page pool. Held to the
 * end of the transaction. Row pools must be taken in ascending order and before the page pool: otherwise FR_RELOCK, with
 * the latch added to t->want (number g.stripes + pool). */
fr_status txn_pool(txn *t, uint32_t pool);

static inline bool txn_holds(const txn *t, uint32_t stripe) {
    return t->held.count == 1 ? stripe == t->lowest : stripe_set_has(&t->held, stripe);
}

/* --- words ------------------------------------------------------------------------------------------------------ */

static inline uint64_t txn_bloom_bit(uint64_t target) {
    return UINT64_C(1) << ((target >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

uint64_t txn_ld_slow(txn *t, uint64_t off);

/* txn_ld reads a word as this transaction sees it. A reader that overlays a journal has every bloom bit set. */
static inline uint64_t txn_ld(txn *t, uint64_t off) {
    if (FR_UNLIKELY(t->bloom & txn_bloom_bit(off))) return txn_ld_slow(t, off);
    return ld8(SEG_AT(t->s, off, uint64_t));
}

uint64_t txn_ever_slow(txn *t, uint64_t off);

/* txn_ever: the bits that a word has in memory, or had at any time in this transaction. For bitmaps: what was taken and
 * given back by one transaction still has records of it in flight, so it is not free before the commit. */
static inline uint64_t txn_ever(txn *t, uint64_t off) {
    if (FR_UNLIKELY(t->bloom & txn_bloom_bit(off))) return txn_ever_slow(t, off);
    return ld8(SEG_AT(t->s, off, uint64_t));
}

/* txn_put appends a record. It cannot fail: memory for the write set that cannot be had makes txn_commit return
 * FR_OOM. */
void txn_put_slow(txn *t, uint64_t target, uint64_t value);

static inline void txn_put_kind(txn *t, uint64_t off, uint64_t value, enum record_kind kind) {
    if (FR_UNLIKELY(t->n >= TXN_INLINE)) {
        txn_put_slow(t, off | kind, value);
        return;
    }
    uint64_t bit = txn_bloom_bit(off);
    t->rec[t->n++] = (record){off | kind, value};
    t->repeats |= (t->bloom & bit) != 0;
    t->bloom |= bit;
}

static inline void txn_put(txn *t, uint64_t off, uint64_t value) { txn_put_kind(t, off, value, RECORD_WORD); }

/* txn_put_over is txn_put for a word that many records would repeat in a long write set, and of which only the last value is
 * asked for: a count, or a bitmap that only gains bits by it (txn_ever loses nothing). It takes the place of the last record
 * of that word, unless a rollback might ask for that one. (A batch of new rows: one record a row instead of four.) */
void txn_put_over(txn *t, uint64_t off, uint64_t value);

/* txn_version draws a new version from a stripe that the transaction holds. */
static inline uint64_t txn_version(txn *t, uint32_t number) {
    stripe *st = segment_stripe(t->s, number);
    uint64_t v = st->clock + 2; /* plain read: only the latch holder writes it */
    st8(&st->clock, v);
    return v;
}

/* txn_step_seq lets readers that went into a stripe before notice words that only lead to others (an index's directory): its
 * seq becomes the next even number, after the words put before and before those put after. What is put before must leave
 * to readers who do not know of it what they find. A transaction with several visible words needs none: it becomes, or
 * is already, `multi`, which steps the seq anyway. */
void txn_step_seq(txn *t, uint32_t number);

/* txn_freeze names a counter cell as this transaction's and freezes it; *seen is what it held. Each stripe that is held has
 * room for INTENTS names: FR_RELOCK, with more stripes in t->want, when they are used up; FR_ARGUMENT when all are held. */
fr_status txn_freeze(txn *t, uint64_t cell_off, cell16 *seen);

/* --- readers ---------------------------------------------------------------------------------------------------- */

void txn_enter_slow(txn *t, uint32_t number);

/* txn_enter sets the guard of the stripe that the following loads belong to. Writers need none. */
static inline void txn_enter(txn *t, uint32_t number) {
    if (t->mode != TXN_READ) return;
    uint64_t seq = ld8(&segment_stripe(t->s, number)->seq);
    t->in = (guard){number, NO_STRIPE, seq, 0};
    t->bloom = 0;
    if (FR_UNLIKELY(seq & 1)) txn_enter_slow(t, number);
}

/* txn_overlay makes the loads that follow see the journal of the stripe a reader is in: called when it met an odd version,
 * at version_off, under an even seq. False: start over. The version is read again after the journal's state: the odd one
 * may have been an earlier transaction's, and a later one that has committed but stored nothing yet must not be seen
 * before it can be seen by everybody (found by tests/crash/model/commit.pml). */
bool txn_overlay(txn *t, uint64_t version_off);

/* txn_bytes returns n bytes at off as this transaction sees them: where they are, or, when a journal or the write set
 * changes one of their words, put together in memory of the process. One such piece at a time: the next call may move it.
 * NULL when memory cannot be had. off is 8-aligned. */
const char *txn_bytes_slow(txn *t, uint64_t off, size_t n);

static inline const char *txn_bytes(txn *t, uint64_t off, size_t n) {
    if (FR_LIKELY(t->bloom == 0)) return SEG_AT(t->s, off, const char);
    return txn_bytes_slow(t, off, n);
}

bool guard_holds_slow(const segment *s, const guard *g);

/* guard_holds says whether nothing happened in the stripe that a reader would have to know of. */
static inline bool guard_holds(segment *s, const guard *g) {
    if (ld8(&segment_stripe(s, g->stripe)->seq) != g->seq) return false;
    return FR_LIKELY(!(g->seq & 1) && g->jstripe == NO_STRIPE) || guard_holds_slow(s, g);
}

/* txn_saw adds a key to the read set (a writer's is empty). */
void txn_saw(txn *t, const guard *g, uint64_t slot_off, uint64_t slot, uint64_t block, uint64_t version);

/* What a look-up met under its tag in a quad: the sum of txn_met over the slot words, i being the place in the quad and
 * version the first word of the block. The versions are in it because a stale word can lead to a block that has got
 * another owner, and back, while nobody changed the quad. */
static inline uint64_t txn_met(uint64_t word, uint64_t i, uint64_t version) {
    uint64_t h = (word + i) * UINT64_C(0x9e3779b97f4a7c15);
    h = (h ^ h >> 32 ^ version) * UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

/* txn_saw_absent adds "nothing under this tag in this quad but what was met" to the read set. */
void txn_saw_absent(txn *t, uint64_t quad, uint32_t tag, uint64_t met);

/* --- notification ----------------------------------------------------------------------------------------------- */

/* txn_wake asks that waiters on this key hash be woken after the commit. */
static inline void txn_wake(txn *t, uint64_t hash) {
    if (t->wakes < TXN_WAKES) t->wake[t->wakes] = hash;
    if (t->wakes <= TXN_WAKES) t->wakes++;
}

/* txn_wake_some: of those who wait for the one key that this transaction changes, only sleepers with these bits need be
 * woken. Of no effect when it changes a key more. */
static inline void txn_wake_some(txn *t, uint32_t bits) { t->wake_bits = bits; }

/* --- upkeep ------------------------------------------------------------------------------------------------------ */

/* txn_fold_stats adds a dead slot's statistics cells to the base row and zeroes them, in journalled batches. */
fr_status txn_fold_stats(segment *s, uint32_t slot);

/* txn_check verifies invariant 1 of a stripe that is at rest. */
fr_status txn_check(segment *s, uint32_t number, fr_error *err);

/* txn_fail fills t->err and returns status. */
fr_status txn_fail(txn *t, fr_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* txn_unbelievable: what cannot be; a reader has lost a race, a writer has found damage. */
static inline fr_status txn_unbelievable(txn *t, const char *what) {
    return t->mode == TXN_READ ? FR_RETRY : txn_fail(t, FR_DAMAGED, "%s", what);
}

#endif
