/* dump.h - what a store holds, as its users see it: a digest that two equal states share whatever lies where, and the
 * same in words for a failure's report.
 *
 * core: every key of the first DUMP_DATABASES databases and of the server's own with its kind, value or fields, expiry, and a
 *       lock's owners; read without latches, so it may be taken of a store in the middle of a commit. Versions and encodings
 *       are left out.
 * rest: core, and what only a store at rest says: DBSIZE and keys with an expiry of each of these databases, the live
 *       tables with their rows.
 */
#ifndef FRIDGE_TESTS_DUMP_H
#define FRIDGE_TESTS_DUMP_H

#include <stdio.h>

#include "script.h"

#define DUMP_DATABASES 3u

typedef struct digest {
    uint64_t a, b;
} digest;

static inline bool digest_eq(digest x, digest y) { return x.a == y.a && x.b == y.b; }

/* dump_core, dump_rest: FR_OK, or why the store could not be read. out may be NULL. */
fr_status dump_core(actor *a, digest *d, FILE *out);
fr_status dump_rest(actor *a, digest *d, FILE *out);

/* dump_processes: of each slot a hash of the process that is listed there (but for the moment at which it came), or 0. */
#define DUMP_SLOTS 8u
void dump_processes(segment *s, uint64_t listed[DUMP_SLOTS], FILE *out);

/* dump_keys: what these keys of database 0 hold at one instant, read in one transaction. */
fr_status dump_keys(actor *a, const span *names, size_t n, digest *d, FILE *out);

#endif
