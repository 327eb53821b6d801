/* fast.h - for interleave.c: one thing read by the mmap door's fast call (hot.h: a straight line first, then at most 64 tries
 * without a latch), and the same thing read by the general call. Both give a digest of what the caller was told: a
 * status, whether it was found, its bytes. FAST_WATCH is a string that was read earlier, at fast_remember, and is read again
 * as get_vars does: what it was when its watch holds or its version is the same, and else anew.
 */
#ifndef FRIDGE_TESTS_FAST_H
#define FRIDGE_TESTS_FAST_H

#include "dump.h"
#include "hot.h"

enum fast_kind { FAST_STRING, FAST_WATCH, FAST_FIELD, FAST_CELL, FAST_ROW };

typedef struct fast_program {
    enum fast_kind kind;
    const char *name;  /* a key; a row without its table */
    const char *field; /* FAST_FIELD: of a hash; FAST_CELL: a column */
} fast_program;

/* A program with its names worked out, and the table of the store it will run in. */
typedef struct fast_reader {
    enum fast_kind kind;
    span name, field;
    struct table *table;
    char names[2][16];
    hot_watch *watch;   /* FAST_WATCH */
    digest *kept;
    bool *remembers;
} fast_reader;

/* fast_prepare works out names like `%0q0p0.1`. fast_attach is to be called whenever the actor's store was opened anew. */
void fast_prepare(fast_reader *r, const segment *s, const fast_program *p);
void fast_attach(fast_reader *r, actor *a);

/* fast_remember reads what a later fast_read may believe to be unchanged. Of no effect on other kinds. */
void fast_remember(const fast_reader *r, actor *a);

/* FR_OK, or FR_RETRY and FR_BUSYREAD when all tries were lost; a refusal such as "wrong type" is part of the digest. */
fr_status fast_read(const fast_reader *r, actor *a, digest *d);
fr_status fast_read_generally(const fast_reader *r, actor *a, digest *d);

#endif
