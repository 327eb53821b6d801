/* sights.h - for trial.c: what there is to be seen of a stage, looked at once for all stages that are alike.
 *
 * Most recoveries of recoveries end with the same bytes, and two thirds of what a dying recoverer leaves has been met before:
 * of 608,224 recovery stores 98.2 % left, once recovered, and 70.5 % before that, bytes that an earlier store of the same trial
 * had left. Every store is still reached, copied and recovered; what is saved is to look at equal bytes again.
 *
 * WHY THAT IS SOUND. A look, a verification, a follow-up write are functions of what their process has: the bytes of the
 * segment and how many there are, its clock, who it is, who is dead (liveness), how far it trusts the file (bound), and where
 * it would search for a page (pool_hint). Nothing else reaches them: one thread, no signal, and the store is opened anew
 * for each look. A sight's key is all of these. The bytes are in it as a hash of 128 bits of every byte, brought up to date
 * by comparing them with a copy. Within one recovery only those are compared that its hooks named, and at its end all: a
 * store that no hook has seen is a failure. A trial's images are at most some 100,000, so that two different ones meet in
 * one key with odds of about 2^-95.
 * Only what was found good is remembered. A failure is looked at again, wherever it is met, and reported there.
 * What is remembered is what was seen, never a verdict: whether that is legal at this store is decided at each.
 *
 * Leaves out: remembering from one trial to the next (a trial forgets: their legal states differ), and more than SIGHTS of a
 * kind (later ones take the places of earlier ones, which are then looked at again).
 */
#ifndef FRIDGE_TESTS_SIGHTS_H
#define FRIDGE_TESTS_SIGHTS_H

#include "harness.h"

/* What there is to be seen of a stage. */
typedef struct view {
    digest core, rest;
    digest raw; /* a legal state: core, before those are recovered who died before the operation */
    uint64_t size, settings;
    uint64_t listed[DUMP_SLOTS];
} view;

/* look_as_reader takes core, and may look in the middle of a commit; look_at_rest takes rest. Neither remembers. */
fr_status look_as_reader(stage *g, view *v);
fr_status look_at_rest(stage *g, view *v);

/* READING: of a stage as a death left it. RESTING: of a recovered one. */
enum sight_kind { SIGHT_READING, SIGHT_RESTING, SIGHT_KINDS };

typedef struct sight {
    digest key;
    view v;
    bool known;    /* v was seen, and a stage at rest said that it is at rest */
    bool verified; /* store_verify found nothing */
    bool followed; /* what comes after a first recovery went well: once more, a write, and verified again */
} sight;

#define SIGHTS 16384u

/* sights_digest: 128 bits of n bytes, a multiple of 64. */
digest sights_digest(const void *bytes, size_t n);

/* A 64th part of a stage's memory: a bit. sights_strides: those in which [at, at + n) lies; none outside of the segment. */
#define STRIDES 64u
#define SIGHTS_ALL UINT64_MAX
uint64_t sights_strides(const stage *g, const void *at, size_t n);

/* sight_of: the place of what g is like now, in which nothing is known when it is new. Valid until the next call of its kind. What
 * lies outside of `strides` is as it was at that of before, as sights_agree can be asked afterwards: is all memory
 * what it was then? sights_forget: a trial begins. */
sight *sight_of(enum sight_kind kind, const stage *g, uint64_t strides);
bool sights_agree(enum sight_kind kind, const stage *g);
void sights_forget(void);

#endif
