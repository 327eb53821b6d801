/* harness.h - stages: private segments of the test geometry whose memory can be copied from one to the other.
 *
 * A process dies in one stage by being copied to another, where somebody else wakes up with what it left.
 */
#ifndef FRIDGE_TESTS_HARNESS_H
#define FRIDGE_TESTS_HARNESS_H

#include "dump.h"

typedef struct stage {
    segment *s;
    actor a;
} stage;

/* stage_open makes an empty segment in which slot 1, generation 1, is attached. Exits the program on failure. */
void stage_open(stage *g);

/* stage_load makes g's memory `from`, as somebody sees it who has just opened it. stage_fresh only forgets what the
 * process remembered. */
void stage_load(stage *g, const void *from);
void stage_fresh(stage *g);

static inline size_t stage_bytes(const stage *g) { return g->s->g.max_size; }

/* stage_become: g is (slot, 1) now, and `dead` are dead: a bit a slot. stage_recover recovers a dead slot as its process
 * entry names it. */
void stage_become(stage *g, uint32_t slot, unsigned dead);
fr_status stage_recover(stage *g, uint32_t slot);

/* stage_at_rest: no latch is held. stage_rest_error: NULL, or what txn_check or a latch says of a stage that ought to be. */
bool stage_at_rest(const stage *g);
const char *stage_rest_error(stage *g);

/* stage_committed: is there a journal that has been committed and not yet applied? */
bool stage_committed(const stage *g);

/* stage_folded: the sum of statistics that recovery moves and must neither lose nor double. */
uint64_t stage_folded(stage *g);

#endif
