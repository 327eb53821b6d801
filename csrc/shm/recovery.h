/* recovery.h - after a death: what a process had committed is finished, and what it held is let go.
 *
 * What the dead left to do is named by the latches that carry its word {slot, gen}: the stripes' journals and odd seqs, and
 * the latches themselves. A recoverer can die as well, at any store; the next one starts over with what is still latched.
 *
 * Invariants
 * 1. Every replay comes before any seq, every seq before any release: an odd seq may refer to another stripe's journal
 *    (coord), and a latch that is dropped names nothing any more.
 * 2. Latches are released from the last to the first, like everywhere; spill pages are protected until then (journal.h, 3).
 * 3. Each step leaves alone what is done already, so all of it can be repeated.
 *
 * Leaves out: who is dead, and that one process at a time recovers a slot (liveness.c, which calls this); the dead slot's
 * statistics (stats.c).
 */
#ifndef FRIDGE_SHM_RECOVERY_H
#define FRIDGE_SHM_RECOVERY_H

#include "shm/segment.h"

/* recovery_run replays what (slot, gen) had committed and releases what it held. The caller has the kernel's word that it
 * is dead and holds its recovery byte. FR_DAMAGED when a journal is not believable: its stripe stays latched. */
fr_status recovery_run(segment *s, uint32_t slot, uint32_t gen);

#endif
