/* keyspace.h - keys whatever they hold: look-up, deletion, expiry, renaming, iteration, databases.
 *
 * One namespace for strings, hashes, rows and counters. Expired keys are absent to everybody; writers reclaim them.
 * Times here are boot-clock ms; keyspace_from_wall converts.
 *
 * Every function runs inside a transaction of either mode unless it says "writes"; k comes from key_route. Functions that
 * write return FR_RETRY when k is no longer current, FR_RELOCK when they need a stripe that is not held, FR_GROW for
 * room; store_write handles all three.
 */
#ifndef FRIDGE_STORE_KEYSPACE_H
#define FRIDGE_STORE_KEYSPACE_H

#include "store/block.h"
#include "store/route.h"

/* A key that was found. */
typedef struct found {
    bool exists;
    enum kind kind;
    uint64_t slot_off, slot; /* where its slot word is, and the word */
    uint64_t off;            /* its block */
    uint64_t version, meta;
    uint64_t expiry;         /* NO_EXPIRY or boot-clock ms */
    uint64_t dead;           /* absent: offset of an expired or flushed block of this name that still sits in a slot, or 0 */
    uint64_t counter;        /* offset of the name's counter block, live or dead, or 0 */
} found;

/* key_find looks a key up. Not found is f->exists == false, FR_OK, and f->version is then the stamp that stands for
 * absence. FR_RETRY for a reader that lost a race, FR_DAMAGED for a block that cannot be. Counts no statistics. */
fr_status key_find(store *st, txn *t, const key *k, found *f);

/* key_lookup is key_find for reading commands: it counts a hit or a miss and touches the access byte. */
fr_status key_lookup(store *st, txn *t, const key *k, found *f);

/* key_version: what stands for the key as it is. Of a key that expired or was flushed and is not reclaimed yet, its last
 * version made odd: neither what it was, nor the absence before it. found_version: the same of a key that was found. */
fr_status key_version(store *st, txn *t, const key *k, uint64_t *version, bool *exists);
uint64_t found_version(txn *t, const found *f);
/* found_wait_hash: by what a key that was found is waited for (shm/wait.h): its name, or a live counter's cell. */
uint64_t found_wait_hash(const key *k, const found *f);

/* key_delete removes a key. Writes. */
fr_status key_delete(store *st, txn *t, const key *k, bool *existed);

enum expire_condition { EXPIRE_NX = 1, EXPIRE_XX = 2, EXPIRE_GT = 4, EXPIRE_LT = 8 };
/* key_expire sets (at != NO_EXPIRY) or clears the expiry. A time that is past deletes the key. *changed: 1 or 0 as EXPIRE
 * answers. Writes. */
fr_status key_expire(store *st, txn *t, const key *k, uint64_t at_ms, unsigned conditions, bool *changed);

/* key_rename moves a key over another (nx: not over one that exists; *done says). FR_NOKEY. Writes; both stripes. */
fr_status key_rename(store *st, txn *t, const key *from, const key *to, bool nx, bool *done);
/* key_copy likewise, COPY's semantics. key_move: MOVE's, `to` is the same name in another database. */
fr_status key_copy(store *st, txn *t, const key *from, const key *to, bool replace, bool *done);

/* key_encoding: what OBJECT ENCODING says ("int", "embstr", "raw", "listpack", "hashtable", "fridge-row"...). */
const char *key_encoding(store *st, txn *t, const key *k, const found *f);
/* key_memory: bytes that the key takes, blocks and index share included. */
fr_status key_memory(store *st, txn *t, const key *k, const found *f, uint64_t *bytes);
/* key_idle: seconds since the access byte was last touched, as far as 8 bits tell (0..255 units of 16 s). */
uint64_t key_idle(store *st, const key *k, uint64_t now_ms);

/* keyspace_scan visits whole quads until at least `count` keys were given to each() or the end; *cursor 0 at start and
 * end, as SCAN. each() gets the full name (with a row's table prefix) and the block's kind and meta; what it is given is
 * stable, validated bytes. Works in READ mode; in WRITE mode under the latches held. table >= 0: only that table's
 * rows. */
typedef fr_status (*scan_each)(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version);
fr_status keyspace_scan(store *st, txn *t, uint32_t db, int32_t table, uint64_t *cursor, uint64_t count,
                        scan_each each, void *ctx);

/* keyspace_count: DBSIZE, and how many of them have an expiry. */
void keyspace_count(store *st, txn *t, uint32_t db, uint64_t *keys, uint64_t *expires);

/* keyspace_random gives one key of the database to each(), or none. */
fr_status keyspace_random(store *st, txn *t, uint32_t db, uint64_t seed, scan_each each, void *ctx);

/* keyspace_flush empties a database (db < 0: all of them) in one commit; keys are reclaimed later. keyspace_swap swaps two.
 * Write; every stripe. */
fr_status keyspace_flush(store *st, txn *t, int32_t db);
fr_status keyspace_swap(store *st, txn *t, uint32_t a, uint32_t b);

/* --- for the objects of store/: what a writer does once it has found and decided ---------------------------------- */

/* key_write_begin: key_find for a writer. k is routed anew when a flush or declaration came in between; FR_RELOCK (stripe
 * added to t->want) unless its stripe is held. An expired key comes back as absent with f->dead set. */
fr_status key_write_begin(store *st, txn *t, const key *k, found *f);

/* key_put makes `slot` (a block written by block_write with tag INDEX_TAG(k->hash)) the key's: replaces the slot word of
 * a live or dead block, or inserts one; keeps the counts; frees what was there (a tree is detached); asks for the wake-up.
 * expiry: of the new block, for the counts. The old block must not be a row or a counter. */
fr_status key_put(store *st, txn *t, const key *k, const found *f, uint64_t slot, uint64_t expiry);

/* key_unlink takes a found block, live or dead, out of the index and frees it. */
fr_status key_unlink(store *st, txn *t, const key *k, const found *f);

/* key_changed: to be called after an in-place change (block_change) of the key's block: asks for the wake-up. */
void key_changed(txn *t, const key *k);

/* key_count adjusts keys and expires of (stripe, space) in the transaction. */
void key_count(txn *t, uint32_t stripe, uint32_t space, int64_t keys, int64_t expires);

/* Wall-clock conversions through the segment's one offset cell. */
uint64_t keyspace_from_wall(store *st, uint64_t wall_ms);
uint64_t keyspace_to_wall(store *st, uint64_t boot_ms);

#endif
