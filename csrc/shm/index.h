/* index.h - hash -> slot word: extendible hashing in pages, one root a stripe (and one in every large hash).
 *
 * ROOT WORD  depth:6 at bit 32 | offset/16:32. depth 0: offset is the only segment (0 = empty index). Otherwise offset is
 *            a DIRECTORY: a run of pages, at least one, of which the first 2^depth words count.
 * ENTRY      offset/16:32 of a segment. A segment that is named by 2^k entries is named by all those whose numbers have
 *            the same depth - k low bits.
 * SEGMENT    one page: page_size/64 buckets of 8 slot words. A key lives in its quad: 4 buckets, 256 bytes.
 * TAG        26 bits of the key's hash, kept in the slot word: prefix:20 | place:6. The low `depth` bits of the prefix are
 *            the number of the directory entry, place chooses the quad and the bucket where the search begins. So a split
 *            needs slot words only, it never touches a key (measured in the design: 512 words, about 1 us).
 *
 * WHAT IT COSTS. No insertion pays much for growth: the store hook is counted, and a command may make 20 stores.
 *  - A full quad splits its segment: the keys of one half are copied to a page that nobody reaches yet, and the entries of
 *    that half, as a rule one, are put. The copies left behind are not cleared: a slot word whose prefix leads to
 *    another segment is a free slot. It cannot be taken for a key, because whoever looks for its tag looks elsewhere.
 *  - Because entries are numbered by low bits, a directory doubles by repeating itself: in place, behind the words that
 *    count, as long as its pages have room; then into a run of twice as many.
 *  - An insertion that has little else to store does this in advance (index_insert).
 * A split is shown to readers by the stripe's seq (txn_step_seq), or, of an index in a block, by that block's version,
 * which the caller makes odd. Nothing ever rehashes the whole index.
 *
 * Ordering guarantees
 * A. A reader under a guard that holds has seen every key that was there from its txn_enter to the guard's check.
 * B. The order of a walk, that of the prefixes read from their low bits up, is stable: a split changes neither tag nor quad
 *    of any key. A cursor (prefix, quad) therefore meets every key that stays from the scan's start to its end; after a
 *    split it may meet keys again.
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
#define INDEX_IMAGE_DEPTH 3 /* of index_image: up to 8 segments */

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

/* index_insert puts a slot word for a key that is not there; stripe is for the error's text. FR_GROW, FR_INDEXFULL. */
fr_status index_insert(txn *t, uint64_t root_off, uint32_t stripe, uint64_t slot);

/* index_image_pages: how many pages an index of n keys takes, and how deep its directory is; 0: more than it can build.
 * index_image builds it in `image`, zeroed memory of the process, of which the caller will fill the pages at `off`, and
 * returns the root word. */
unsigned index_image_pages(const segment *s, const uint32_t *tags, uint32_t n, unsigned *depth);
uint64_t index_image(const segment *s, void *image, uint64_t off, unsigned depth, const uint64_t *slots, uint32_t n);

/* index_walk copies the slot words of the quad at *cursor into out[QUAD_SLOTS] (0 = empty), their offsets into offs, and
 * moves the cursor on; *cursor is UINT64_MAX at the end. Start with 0. */
void index_walk(txn *t, uint64_t root_off, uint64_t *cursor, uint64_t out[QUAD_SLOTS], uint64_t offs[QUAD_SLOTS]);

/* index_drop gives back up to `limit` pages of an index whose slots are all empty; *done when nothing is left. */
fr_status index_drop(txn *t, uint64_t root_off, unsigned limit, bool *done);

/* index_check walks pages and directory, marks them, and calls each for every slot word. */
fr_status index_check(segment *s, uint64_t root_off, heap_marks *m, fr_status (*each)(void *ctx, uint64_t slot),
                      void *ctx, fr_error *err);

#endif
