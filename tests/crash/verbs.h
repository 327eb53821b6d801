/* verbs.h - for script.c: the commands that run inside a transaction, by the store's general calls, a row for each. */
#ifndef FRIDGE_TESTS_VERBS_H
#define FRIDGE_TESTS_VERBS_H

#include "script.h"

#define WORDS 96 /* of one script command, EXEC and what it runs included */

typedef struct call {
    actor *a;
    const span *w; /* w[0] is the command */
    size_t n;
} call;

/* Which words are keys: first, last (0 = to the end), step; first 0: every stripe, -1: the stripe that word 1 says. */
typedef struct verb {
    const char *name;
    fr_status (*run)(store *, txn *, const call *);
    int first, last, step;
} verb;

/* verb_of is the row of a word, or NULL. */
const verb *verb_of(span w);

#endif
