/* heap.h - blocks inside the segment: pages from one pool, cut into blocks of size classes that belong to a stripe.
 *
 * PAGE POOL. One bit a page in poolmap, under the page pool latch. Runs of pages (index segments, directories, large
 * values, row arrays) are taken from it directly; a run of up to 64 pages within one word of poolmap if there is any. Where
 * the last search ended is kept by each process for itself: a hint in the segment would cost every page a store.
 *
 * SLAB PAGE. Byte map of its first 64 bytes, the rest is blocks:
 *     0  meta: PAGE_MAGIC:16 | stripe:16 | class:8 | blocks:8 | 0:16
 *     8  next page of the same stripe and class with a free block, or 0; of a page that is on no list: anything
 *    16  unused
 *    24  bits[2]: bit i = block i in use
 *    40  unused
 * Slot word, by which a block is known everywhere: hash:26 | class:6 | offset/16:32 (64 GiB).
 *
 * Invariants
 * 1. A set bit of a slab page means that exactly one slot word, root, descriptor or list of the same stripe names the
 *    block (heap_check against the callers' marks).
 * 2. The list stripe.partial[c] holds exactly the pages of that stripe and class with a clear bit. It leads one way: who
 *    takes a page off it has come along it, and knows the word that names the page.
 * 3. A page is in use in poolmap if and only if it is metadata, a slab page, or part of a run that somebody names.
 * 4. Allocation never returns a block that this same transaction freed (txn.h, 2).
 *
 * Leaves out: growing the file (FR_GROW asks the caller to), eviction, and compaction: runs too large for any gap fall
 * back on extents, which the store keeps.
 */
#ifndef FRIDGE_SHM_HEAP_H
#define FRIDGE_SHM_HEAP_H

#include "shm/txn.h"

#define SLOT_MAKE(tag, class, off) ((uint64_t)(tag) << 38 | (uint64_t)(class) << 32 | (off) >> 4)
#define SLOT_TAG(w) ((uint32_t)((w) >> 38))
#define SLOT_CLASS(w) ((unsigned)((w) >> 32 & 63))
#define SLOT_OFF(w) (((w) & UINT64_C(0xffffffff)) << 4)

/* heap_class_size: bytes of a block of class c in this segment; 0 if there is no such class. heap_class_for: the
 * smallest class that holds n bytes, or CLASS_RUN. */
static inline uint32_t heap_class_size(const segment *s, unsigned c) { return s->l.class_size[c & (CLASS_CODES - 1)]; }

static inline unsigned heap_class_for(const segment *s, size_t n) {
    return n < 16 * (CLASS_UNITS - 1) ? s->l.class_of[(n + 15) / 16] : CLASS_RUN;
}

/* heap_alloc finds a block for n bytes in `stripe` (held). *class tells which kind it became. FR_GROW when the pool has
 * no page. The block's content is anything. */
fr_status heap_alloc(txn *t, uint32_t stripe, size_t n, uint64_t *off, unsigned *class);

/* heap_free gives a block back at commit; n is what it was allocated with (used for runs only). */
fr_status heap_free(txn *t, uint32_t stripe, uint64_t off, unsigned class, size_t n);

/* pool_size: pages that the file has, whatever a damaged header says. */
uint64_t pool_size(segment *s);
/* pool_limit: how many pages of the file, metadata included, may be in use: maxmemory, or all that it can have. What only
 * shrinks the data may go beyond it. */
uint64_t pool_limit(segment *s);

/* pool_take finds `pages` pages in a row; pool_give returns them. Both take the page pool latch. */
fr_status pool_take(txn *t, uint64_t pages, uint64_t *off);
fr_status pool_give(txn *t, uint64_t off, uint64_t pages);

/* pool_take_some finds the longest run it can, at most `pages`, at least one: for extents. */
fr_status pool_take_some(txn *t, uint64_t pages, uint64_t *off, uint64_t *got);

/* heap_adopt makes a slab page of a page just taken from the pool, by writing its head into `image`, which the caller
 * fills the page with: its first `used` blocks are in use. heap_block_at: where block i of a page lies. */
fr_status heap_adopt(txn *t, uint32_t stripe, unsigned class, uint64_t page, uint32_t used, void *image);
static inline uint64_t heap_block_at(const segment *s, unsigned class, uint32_t i) {
    return PAGE_HEAD + (uint64_t)i * heap_class_size(s, class);
}

/* heap_trim returns up to `limit` wholly free slab pages of a stripe to the pool, in a transaction of its own. */
fr_status heap_trim(segment *s, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, unsigned limit,
                    unsigned *returned, fr_error *err);

/* heap_slab: what the bytes at a page say, if they look like a slab page; pool_in_use: is the page in use? Both without a
 * latch: for eviction, which believes only what the index names. */
typedef struct slab {
    uint32_t stripe, size, blocks;
    unsigned class;
    uint64_t used[2];
} slab;
bool heap_slab(segment *s, uint64_t page, slab *out);
bool pool_in_use(segment *s, uint64_t page);

/* heap_usage: bytes of pages in use, and bytes that the file has. */
void heap_usage(segment *s, uint64_t *used, uint64_t *size);

/* A reachability map for check(): one mark a 16-byte unit of the data area. The store marks what it names, heap_check
 * compares. The segment must be at rest. */
typedef struct heap_marks {
    uint8_t *bits;
    uint64_t units;
    uint64_t doubles; /* blocks that two owners named */
} heap_marks;
bool heap_marks_init(heap_marks *m, segment *s);
void heap_marks_free(heap_marks *m);
void heap_mark(heap_marks *m, segment *s, uint64_t off, unsigned class, size_t n);
fr_status heap_check(segment *s, const heap_marks *m, fr_error *err);

#endif
