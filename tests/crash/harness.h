/* harness.h - stages: private segments of a small geometry whose memory can be copied from one to the other.
 *
 * A process dies in one stage by being copied to another, where somebody else wakes up with what it left. A stage's memory
 * is a file without a name, which is as long as the segment has allocated: growth runs as it does in the field, and whoever
 * touches what lies beyond dies of SIGBUS. Liveness is what stage_become said.
 */
#ifndef FRIDGE_TESTS_HARNESS_H
#define FRIDGE_TESTS_HARNESS_H

#include "dump.h"

typedef struct stage {
    segment *s;
    actor a;
    size_t length; /* of its file, when that was last measured */
} stage;

/* stage_proof: is the long version asked for (FRIDGE_PROOF=1)? Sanitizers, which take ten times as long, run the short one. */
bool stage_proof(void);

/* stage_geometry: layout_test with room for two heirs beside the processes of a script. */
geometry stage_geometry(void);

/* stage_open makes an empty segment in which slot 1, generation 1, is attached. Exits the program on failure. */
void stage_open(stage *g, const geometry *geo);

/* stage_load makes g's memory and length those of `from`, as somebody sees it who has just opened it. stage_fresh only
 * forgets what the process remembered. */
void stage_load(stage *g, stage *from);
void stage_fresh(stage *g);

/* stage_copy is stage_load in one step instead of four calls of the kernel and an opening: both files are as long as when they were
 * last measured, and whoever looks calls stage_fresh first. */
void stage_copy(stage *g, const stage *from);

/* stage_length: how long its file is, which stage_measure notes. stage_bytes: how long it may become. */
size_t stage_length(const stage *g);
static inline size_t stage_measure(stage *g) { return g->length = stage_length(g); }
static inline size_t stage_bytes(const stage *g) { return g->s->g.max_size; }

/* stage_become: g is (slot, 1) now, and `dead` are dead: a bit a slot. stage_leave: it is nobody. stage_recover recovers a
 * dead slot as its process entry names it. stage_dead: who is dead. */
void stage_become(stage *g, uint32_t slot, unsigned dead);
void stage_leave(stage *g);
/* stage_mourn: `dead` are dead, whoever g is. Locks die with their holders: what a reader sees hangs on it. */
void stage_mourn(stage *g, unsigned dead);
fr_status stage_recover(stage *g, uint32_t slot);
unsigned stage_dead(const stage *g);

/* stage_at_rest: nobody who lives holds a latch. stage_rest_error: NULL, or what txn_check or a latch says of a stage in
 * which nobody should. */
bool stage_at_rest(const stage *g);
const char *stage_rest_error(stage *g);

/* stage_committed: is there a journal that has been committed and not yet applied? */
bool stage_committed(const stage *g);

/* stage_folded: the sum of statistics that recovery moves and must neither lose nor double. */
uint64_t stage_folded(stage *g);

#endif
