/* latch.h - internal exclusion: a 32-bit word {waiter:1, slot:12, gen:19} with a futex behind it.
 *
 * Invariants
 * 1. A word other than 0 names the process that holds the latch; only that process, or recovery after the kernel said
 *    that process is gone, makes it 0 again. Nobody inherits a latch.
 * 2. Waits are always timed; after each time-out the owner is probed. A live owner is never robbed: the wait ends with
 *    FR_LATCHED when nothing has moved for as long as the caller would wait, or after eight times as long.
 * 3. Lost wake-ups (a woken waiter that was killed) heal at the next time-out, so no wake-up has to be crash-safe.
 * 4. Latches are taken in ascending order of their number: stripes, then row pools, then the page pool.
 */
#ifndef FRIDGE_SHM_LATCH_H
#define FRIDGE_SHM_LATCH_H

#include "shm/segment.h"

/* latch_wait is latch_take's slow path: spins, waits, probes, recovers, until deadline_ms of the boot clock (0 = try
 * once). FR_LATCHED with the owner named in err->text when a live owner outlasts it. */
fr_status latch_wait(segment *s, uint32_t number, uint64_t deadline_ms, fr_error *err);

/* latch_wake is latch_drop's slow path. */
void latch_wake(uint32_t *word);

static inline bool latch_try(segment *s, uint32_t number) {
    uint32_t free_word = 0;
    return cas4(&segment_stripe(s, number)->latch, &free_word, s->me->word);
}

static inline fr_status latch_take(segment *s, uint32_t number, uint64_t deadline_ms, fr_error *err) {
    if (FR_LIKELY(latch_try(s, number))) return FR_OK;
    return latch_wait(s, number, deadline_ms, err);
}

static inline void latch_drop(segment *s, uint32_t number) {
    uint32_t *word = &segment_stripe(s, number)->latch, held = s->me->word;
    if (FR_UNLIKELY(!cas4(word, &held, 0))) latch_wake(word);
}

#endif
