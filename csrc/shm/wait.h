/* wait.h - sleeping until a key changes. A wake-up is a hint: whoever wakes looks at the key again.
 *
 * NOTIFY ENTRY (a cell16, chosen by the key's hash)
 *     value  bit 0          somebody sleeps on the entry's own futex, which is the low half of value
 *            bits 1..31     how often it has been rung
 *            bits 32..63    bit b: a process of a slot that is b modulo 32 wants its doorbell rung
 *     state  which keys the marks are for: a Bloom filter of 64 bits, four of which stand for a key
 *
 * A sleeper marks the entry, then looks at its key, then sleeps if nothing has changed. A writer drops its latch (a full
 * barrier), then looks at the entry: one of the two sees the other. The writer that finds a mark for its key clears all
 * marks, steps the futex and wakes; sleepers that were not meant mark it again. A sleeper that was killed leaves a mark,
 * which costs the next writer one wake-up too many. With 1,000 keys waited for, a write to another key wakes somebody once
 * in a million times (16,384 entries: 6 % of the writes meet a mark, of which one in 65,536 passes the filter).
 *
 * For event loops a process has a doorbell, a futex in its entry of the process table, on which one thread sleeps for
 * all its keys.
 *
 * Invariants
 * 1. A mark that was set before a key changed is cleared, and its sleepers woken, by the writer that changed the key; or it
 *    stays, and those sleepers are woken whom the change concerns. The futex steps in either case.
 * 2. Nobody's correctness hangs on a wake-up: a writer that is killed before it rings delays a sleeper to the end of its
 *    time, and sleeps that must notice a death are short.
 * 3. Before anybody has waited in a segment (superblock.doorbells is 0) writers pay one load; afterwards two.
 *
 * Leaves out: what is waited for. store/wait.h and store/lock.h know keys.
 */
#ifndef FRIDGE_SHM_WAIT_H
#define FRIDGE_SHM_WAIT_H

#include "shm/segment.h"

#define WAIT_SLICE_MS 1000u /* the longest sleep: a segment that is lost is noticed after it */

enum wait_result { WAIT_WOKEN, WAIT_TIMEOUT, WAIT_INTERRUPTED };

/* Sleepers of one key that a writer can tell apart (those in a lock's line) have a bit each; all others share one. */
#define WAIT_ALL UINT32_MAX
#define WAIT_OTHERS UINT32_C(0x80000000)

/* Where a sleeper sleeps, and what it saw there when it marked it. */
typedef struct wait_point {
    uint32_t *futex;
    uint32_t seen, bits; /* bits: WAIT_OTHERS, or what the sleeper puts there before it sleeps */
    bool marked; /* false: read-only mapping; sleeps are short instead */
} wait_point;

/* wait_mark marks the entry of a key hash; the key is to be looked at afterwards. */
wait_point wait_mark(segment *s, uint64_t hash);

/* wait_sleep sleeps until the point is rung, at most ms (and at most WAIT_SLICE_MS; 10 ms without a mark). INTERRUPTED: a
 * signal came. */
enum wait_result wait_sleep(const wait_point *p, uint64_t ms);

/* The process's doorbell, which needs a registered process (segment_register). mark asks for it to be rung when the key
 * changes next, and returns the entry's count; wait_rung says whether the entry has been rung since. */
uint32_t wait_mark_doorbell(segment *s, uint64_t hash);
bool wait_rung(segment *s, uint64_t hash, uint32_t count);
wait_point wait_doorbell(segment *s);

/* wait_ring wakes who waits for this key hash; wait_ring_all everybody. After the latch was dropped, or a cas16 done.
 * wait_ring_some wakes those sleepers only whose bits are among these, and all doorbells; the mark stays for the others. A
 * line of n for a lock that is handed on then costs one wake-up at each hand-over, not n. */
FRIDGE_API void wait_ring(segment *s, uint64_t hash);
void wait_ring_some(segment *s, uint64_t hash, uint32_t bits);
void wait_ring_all(segment *s);
/* wait_ring_doorbell rings this process's own doorbell: its thread is to look for new work. */
void wait_ring_doorbell(segment *s);

/* wait_anybody: has anybody ever waited here? What a writer asks before it calls wait_ring. On x86 the locked instruction
 * before it is the barrier that this load needs. */
static inline bool wait_anybody(segment *s) {
#if !defined(__x86_64__)
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
    return ld8(&segment_super(s)->doorbells) != 0;
}

#endif
