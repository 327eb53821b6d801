/* hash.h - hashes: field -> value. A small hash is one packed block; a large one (a tree) has an index of its own and a
 * block per field. Rows of typed tables answer the same calls: fields are columns (table.h does the work).
 *
 * PACKED BODY (KIND_HASH), entries one after the other, no padding:
 *     flen:varint | vlen:varint | field | value            vlen's lowest bit: 1 = the value is an int64 of 8 bytes
 *     varint: 7 bits a byte, low bits first, top bit = more follow; at most 5 bytes
 * TREE BODY (KIND_TREE), struct tree_body: index root, number of fields, home stripe, next in trash.
 *
 * A packed hash becomes a tree when it would pass 512 fields, or a value 64 bytes, or its block the largest slab class;
 * it never goes back. OBJECT ENCODING says what redis-server would: listpack up to 512 fields of at most 64 bytes.
 *
 * Invariants
 * 1. A packed body has no field twice, at least one field, and its entries end exactly at vlen.
 * 2. A tree's count is the number of slot words in its index, each naming a KIND_FIELD block of its home stripe; >= 1.
 * 3. Every write to a hash changes the version of its key's block; a tree's goes odd while a field is changed, so that
 *    version equal and even before and after means that all fields were read at one instant.
 */
#ifndef FRIDGE_STORE_HASH_H
#define FRIDGE_STORE_HASH_H

#include "store/keyspace.h"

typedef struct tree_body {
    uint64_t root;   /* index.h */
    uint64_t count;  /* fields */
    uint64_t home;   /* stripe whose pages its blocks are in: low 32 bits; bit 32: was over listpack limits (encoding) */
    uint64_t next;   /* in the trash list of the header's own stripe, once detached; count then says how far reclaim is */
} tree_body;

typedef struct field_value {
    span field, value;
} field_value;

/* hash_get: *found false when key or field is absent. */
fr_status hash_get(store *st, txn *t, const key *k, span field, value *out, bool *found);

enum field_condition { FIELD_ALWAYS, FIELD_NX };
/* hash_set sets n fields in one step; *created: how many were new. A row: all columns checked before anything changes. */
fr_status hash_set(store *st, txn *t, const key *k, const field_value *fv, size_t n, enum field_condition c,
                   size_t *created);
fr_status hash_delete(store *st, txn *t, const key *k, const span *fields, size_t n, size_t *deleted);
fr_status hash_length(store *st, txn *t, const key *k, uint64_t *n);
fr_status hash_incr(store *st, txn *t, const key *k, span field, int64_t by, int64_t *out);
fr_status hash_incr_float(store *st, txn *t, const key *k, span field, long double by, char buf[FLOAT_TEXT], size_t *n);
/* hash_cas: 1 swapped, 0 different, -1 no such key or field. */
fr_status hash_cas(store *st, txn *t, const key *k, span field, span expected, span desired, int *outcome);

/* hash_each calls each() for every field. In READ mode what it is given may be garbage until the commit validated it,
 * but lengths are bounded; each() may copy and must not believe. */
typedef fr_status (*hash_visit)(void *ctx, span field, const value *v);
fr_status hash_each(store *st, txn *t, const key *k, hash_visit each, void *ctx);
/* hash_scan: HSCAN; a packed hash and a row are given whole and end at once. */
fr_status hash_scan(store *st, txn *t, const key *k, uint64_t *cursor, uint64_t count, hash_visit each, void *ctx);
/* hash_random gives one random field; seed chooses. */
fr_status hash_random(store *st, txn *t, const key *k, uint64_t seed, hash_visit each, void *ctx);

/* For keyspace.c. tree_detach puts a tree on its own stripe's trash list (its slot word is the caller's to clear).
 * tree_reclaim frees about `limit` fields of the first tree on a stripe's trash list, in the end the tree itself; *freed
 * is 0 when the list is empty; FR_RELOCK when the fields are in another stripe. hash_copy builds a copy for COPY. */
fr_status tree_detach(store *st, txn *t, uint64_t block, uint64_t slot);
fr_status tree_reclaim(store *st, txn *t, uint32_t stripe, unsigned limit, unsigned *freed);
fr_status hash_copy(store *st, txn *t, const found *from, const key *to, uint64_t expiry, uint64_t *slot);
const char *hash_encoding(store *st, txn *t, const found *f);
uint64_t hash_memory(store *st, txn *t, const found *f);

/* hash_check verifies the invariants of one hash at rest and marks what it names besides its own block.
 * tree_check_trash does so for the detached trees of a stripe, their own blocks included. */
fr_status hash_check(store *st, txn *t, const head *h, uint32_t stripe, heap_marks *m, fr_error *err);
fr_status tree_check_trash(store *st, txn *t, uint32_t stripe, heap_marks *m, fr_error *err);

#endif
