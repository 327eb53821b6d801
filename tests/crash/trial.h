/* trial.h - for enumerate.c: one operation in one state, killed before every store.
 *
 * METHOD. Three segments of 32 KiB in one process. A runs the operation with a hook before each store. At each of them
 * A's memory, and the length of its file, are copied to B, where
 *   1. a reader that does not recover (a read-only mapping) must see a legal state, and never an earlier one than a reader
 *      of an earlier store saw,
 *   2. another slot recovers the dead one; what it then finds must be a legal state, never earlier than before, and not
 *      earlier than what the reader saw; recovering once more changes no byte; statistics are neither lost nor doubled;
 *      the dead one's slot is free, its generation has not gone back, and a newcomer gets it under the next one,
 *   3. store_verify finds nothing, and finds nothing again after a follow-up write in each stripe,
 *   4. the recovery is itself killed before each of its stores: copied to C, where 1 holds again, and a third slot recovers
 *      both and must find what the undisturbed recovery found.
 * The legal states of an operation are what a first, undisturbed run shows whenever no latch is held: before, after, and for
 * operations of several transactions (reclaim, eviction, growth) what lies between. A state is what users see of the keys,
 * what DBSIZE and tables say, the size of the segment, the version of the settings, and who is listed in the process table. Users
 * of all but evicting operations may tell at most two states of the keys apart, and of a refused one only one; a slot of the
 * process table shows its old owner, its new one, or nobody. Fills must not touch a block that is in use. Nobody may touch
 * what lies beyond the end of the file: there is nothing there (harness.h).
 *
 * COST. 1, 2's views and 3 are functions of bytes, many of which come again: sights.h says why they need be looked at only
 * once, and what that cannot hide. Copies, recoveries, statistics, and whether what is seen is legal, are done for each store. No
 * recovery may change the length of the file, which is measured before and after all recoveries of one store's recovery.
 */
#ifndef FRIDGE_TESTS_TRIAL_H
#define FRIDGE_TESTS_TRIAL_H

#include "harness.h"

typedef struct operation {
    const char *name, *setup, *script;
} operation;

typedef struct state {
    const char *name, *before, *after;
    bool evicts, pairs;
} state;

/* operations.def. */
extern const operation operations[];
extern const state states[];
extern const unsigned operation_count, state_count;

#define GEOMETRIES 4u

/* What came before an operation. */
typedef struct variant {
    unsigned geometry;
    const state *st;
    const operation *first; /* NULL: none */
    unsigned history;       /* 0, or the seed of a random history */
} variant;

/* What came out of it. */
typedef struct tally {
    uint32_t stores, recoveries, fills;
    float seconds; /* of a processor */
    uint8_t failed;
    bool done, same, refused;
} tally;

/* trial_run counts in t and names failures on stderr. nested: recoveries are killed, too. */
void trial_run(const operation *op, variant v, bool nested, tally *t);

/* trial_where: operation, state, store and recovery store of the trial under way. trial_state: a variant in words. */
const char *trial_where(void);
const char *trial_state(const variant *v);

#endif
