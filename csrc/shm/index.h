/* index.h - hash -> slot word: extendible hashing in pages, one root a stripe (and one in every large hash).
 *
 * ROOT WORD  depth:6 at bit 32 | offset/16:32. depth 0: offset is the only segment (0 = empty index). Otherwise offset is
 *            a directory of 2^depth words of the same form, whose depth is the segment's local depth.
 * SEGMENT    one page: page_size/64 buckets of 8 slot words. A key lives in its quad: 4 buckets, 256 bytes.
 * TAG        26 bits of the key's hash, kept in the slot word: prefix:20 | place:6. The top `depth` bits choose the
 *            directory word, place chooses the quad and the bucket where the search begins. So a split needs slot words
 *            only, it never touches a key (measured in the design: 512 words, about 1 us).
 *
 * A full quad splits its segment: two new pages are filled unpublished, the directory words (or a directory of twice
 * the size, filled unpublished too) are put, the old page is given back, all in the caller's transaction, which becomes
 * `multi`. One split an insert at most per level; nothing ever rehashes the whole index.
 *
 * Ordering guarantees
 * A. A reader under a guard that holds has seen every key that was there from its txn_enter to the guard's check.
 * B. Prefix order is stable: a split changes neither tag nor quad of any key. A cursor (prefix, quad) therefore meets
 *    every key that stays from the scan's start to its end; after a split it may meet keys again.
 * C. Loops are bounded: 32 words a probe, 2^20 prefixes a scan.
 *
 * Leaves out: keys. The caller compares them; equal tags are ordinary.
 */
#ifndef FRIDGE_SHM_INDEX_H
#define FRIDGE_SHM_INDEX_H

#include "shm/heap.h"

#define INDEX_PREFIX_BITS 20
#define INDEX_PLACE_BITS 6
#define INDEX_TAG(hash) ((uint32_t)((hash) >> 38))
#define QUAD_SLOTS 32

typedef struct probe {
    uint64_t quad;  /* offset of the quad, 0 = empty index */
    uint32_t tag;
    uint32_t start; /* first bucket tried */
    uint32_t next;  /* slots tried so far */
} probe;

/* index_probe begins a search for tag under the root word at root_off. False when the index is empty or (for a reader)
 * not believable. */
bool index_probe(txn *t, uint64_t root_off, uint32_t tag, probe *p);

/* index_next returns the next slot word with the tag and its offset, or 0 when there is none. */
uint64_t index_next(txn *t, probe *p, uint64_t *slot_off);

/* index_insert puts a slot word for a key that is not there; stripe is where pages are charged. FR_GROW, FR_INDEXFULL. */
fr_status index_insert(txn *t, uint64_t root_off, uint32_t stripe, uint64_t slot);

/* index_walk copies the slot words of the quad at *cursor into out[QUAD_SLOTS] (0 = empty), their offsets into offs, and
 * moves the cursor on; *cursor is UINT64_MAX at the end. Start with 0. */
void index_walk(txn *t, uint64_t root_off, uint64_t *cursor, uint64_t out[QUAD_SLOTS], uint64_t offs[QUAD_SLOTS]);

/* index_drop gives back up to `limit` pages of an index whose slots are all empty; *done when nothing is left. */
fr_status index_drop(txn *t, uint64_t root_off, uint32_t stripe, unsigned limit, bool *done);

/* index_check walks pages and directory, marks them, and calls each for every slot word. */
fr_status index_check(segment *s, uint64_t root_off, heap_marks *m, fr_status (*each)(void *ctx, uint64_t slot),
                      void *ctx, fr_error *err);

#endif
