/* waiting.h - sleeping until a key changes or a lock is granted: shm/wait.h for keys.
 *
 * Calls sleep in the calling thread, at most until deadline_ms (boot clock; UINT64_MAX: for ever). They come back INTERRUPTED
 * (locks: QUEUED) when a signal arrived, so that the caller can let its language handle it and call again; and once in
 * WAIT_SLICE_MS whatever happens, because a signal that arrives between a look and the sleep after it interrupts nothing. A
 * live process that holds the key's stripe for longer than latch-timeout is waited for in the same way: the call comes back
 * early, and only at the deadline with FR_LATCHED.
 *
 * What nobody rings for is looked for by time: an expiry is slept towards, and who stands in a lock's line looks whether the
 * holder's process or that of the first in line has died. The first looks every HEAD_MS, each of the others half as often as
 * who stands before it, at least every LINE_MS: the lock of a holder that dies together with the first n of its line is taken
 * over within HEAD_MS times 2 to the n, by whoever is left. Who becomes the first is woken for it (lock.c), because it may have
 * slept for longer, and the holder may be dead already: 8 % more processor time a hand-over. Such a look is a read and one or
 * two probes, about 2 us: at most 0.1 % of a processor for a whole line. Whoever is killed between a grant and
 * the wake-up for it delays the one that it has let in until that looks by itself, LINE_MS at most.
 */
#ifndef FRIDGE_STORE_WAITING_H
#define FRIDGE_STORE_WAITING_H

#include "shm/wait.h"
#include "store/lock.h"

#define HEAD_MS 4u
#define LINE_MS 50u

/* key_wait sleeps until the key's version is another than `version`; *now is what it is then. An absent key's version is a
 * stamp that other keys share, so a wait on an absent key may end early. TIMEOUT at the deadline. */
fr_status key_wait(store *st, uint32_t db, span name, uint64_t version, uint64_t deadline_ms, uint64_t *now,
                   enum wait_result *how, fr_error *err);

/* key_wait_hash: by what the key is waited for now; to be asked again whenever it was looked at (an absent key may become a
 * counter). */
fr_status key_wait_hash(store *st, uint32_t db, span name, uint64_t *hash, fr_error *err);
/* key_watch is key_wait that comes back too when an owner of the lock `members` (same database) is dead: *died, how WOKEN. */
fr_status key_watch(store *st, uint32_t db, span name, uint64_t version, span members, uint64_t deadline_ms, uint64_t *now,
                    bool *died, enum wait_result *how, fr_error *err);

/* lock_try asks once; QUEUED when r->queue is set and it is held: ask again later, or lock_leave. */
fr_status lock_try(store *st, uint32_t db, span name, const lock_request *r, lock_state *out, fr_error *err);

/* lock_wait acquires, in line until deadline_ms (without r->queue: lock_try). Outcomes: GRANTED; QUEUED: call again; REFUSED:
 * time is up, and the place in line given up. After an error the place in line may be kept: lock_leave. */
fr_status lock_wait(store *st, uint32_t db, span name, const lock_request *r, uint64_t deadline_ms, lock_state *out,
                    fr_error *err);

/* lock_wait_free sleeps until nobody holds the lock, without acquiring. WOKEN: it is free. */
fr_status lock_wait_free(store *st, uint32_t db, span name, uint64_t deadline_ms, enum wait_result *how, fr_error *err);

#endif
