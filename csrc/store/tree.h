/* tree.h - a hash with an index of its own and a block per field. For hash.c and keyspace.c only; hash.h says what a
 * tree looks like in the segment, and which invariants it keeps.
 *
 * Isolation: every write to a tree changes its header block's version, odd while words change. key_find has put that
 * version into a reader's read set, so whatever a reader gathers from the fields of one tree held at one instant. The
 * header's version record comes before those of the fields: so it is odd whenever one of theirs is that was not yet.
 */
#ifndef FRIDGE_STORE_TREE_H
#define FRIDGE_STORE_TREE_H

#include "shm/index.h"
#include "store/hash.h"

/* A tree under work: what of its header a transaction has read, and what it will write back. */
typedef struct tree {
    uint64_t off, body;         /* header block, and its tree_body */
    uint32_t stripe, home;      /* of the header; of the fields and the index */
    uint64_t count, was_count;
    bool over, was_over;        /* was it ever beyond redis-server's listpack limits? */
    bool fresh, touched;        /* made by this transaction: nobody has seen its version; has a new version already */
    uint64_t version;           /* that new version, which fields of the same stripe may share; or 0 */
} tree;

/* Where a field is, or would be. */
typedef struct tree_place {
    uint64_t hash;              /* of the field */
    uint64_t slot_off, slot;    /* slot 0: absent */
    head h;
} tree_place;

/* tree_open reads the header. FR_RELOCK for a writer that does not hold the fields' stripe. */
fr_status tree_open(txn *t, uint32_t stripe, uint64_t off, uint64_t meta, tree *tr);
fr_status tree_find(txn *t, const tree *tr, span field, tree_place *at);

/* tree_make puts an empty tree in the place of what f found under k; tree_store sets the field that tree_find looked
 * for; tree_remove takes it out; tree_close writes count and encoding back. */
fr_status tree_make(store *st, txn *t, const key *k, const found *f, tree *tr);
/* tree_build is tree_make with n fields, no two the same, in a run of pages that is filled in one store; tr->over says
 * beforehand whether they are beyond redis-server's listpack limits. *built is false,
 * and nothing done, when there is no such run or a field needs pages of its own: then they are stored one by one. */
fr_status tree_build(store *st, txn *t, const key *k, const found *f, const field_value *fields, uint32_t n, tree *tr,
                     bool *built);
fr_status tree_store(txn *t, tree *tr, tree_place *at, span field, span text);
fr_status tree_remove(txn *t, tree *tr, const tree_place *at);
void tree_close(txn *t, const tree *tr);

/* tree_visit gives whole quads to each() until at least `count` fields were given; *cursor is UINT64_MAX at the end.
 * version: the header's, for a reader to give up early when it has lost its race. */
fr_status tree_visit(txn *t, const tree *tr, uint64_t version, uint64_t *cursor, uint64_t count, hash_visit each,
                     void *ctx);
fr_status tree_random(txn *t, const tree *tr, uint64_t seed, hash_visit each, void *ctx);

/* tree_copy builds a copy for another key; from's fields' stripe must be held too. */
fr_status tree_copy(txn *t, uint64_t off, uint64_t meta, const key *to, uint64_t expiry, uint64_t *slot);
bool tree_is_over(txn *t, uint64_t off, uint64_t meta);
/* tree_memory: bytes of fields and index, from a sample of the fields. */
uint64_t tree_memory(txn *t, uint64_t off, uint64_t meta);
fr_status tree_check(txn *t, const head *h, uint32_t stripe, heap_marks *m, fr_error *err);

#endif
