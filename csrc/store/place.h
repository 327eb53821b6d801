/* place.h - where a key's block is, as the stripe's index says now: the look-up of the straight path (quick.h), inlined
 * into each of its calls. Private to quick.h and quick.c.
 *
 * A reader's look-up takes no latch and writes nothing. It ends in one of three ways: the block, absent, or FR_RETRY for
 * whatever is not the ordinary case. The block is one that the key had while everything in `place` was read; whether it
 * has it still, the caller asks once it has copied (quick_holds).
 *
 * Invariants
 * 1. No offset that came out of the segment is followed before it is known to lie in the data area, with the whole length
 *    that will be read.
 * 2. The block's version was even before its name was compared; what follows is believed only while slot word, version
 *    and seq stand as they were read.
 * 3. Absent means that the stripe's seq was even and the same before the first and after the last slot word.
 *
 * Leaves out: rows with expiries, values in extents, hashes, counters, blocks with owners, other names under the tag.
 */
#ifndef FRIDGE_STORE_PLACE_H
#define FRIDGE_STORE_PLACE_H

#include "shm/index.h"
#include "store/table.h"

typedef struct place {
    stripe *st;
    const uint64_t *slot_at;
    uint64_t seq, slot, version; /* as they were read */
    uint64_t off, meta, body, expiry; /* of the block; body: of its value, from the block's start */
} place;

/* The segment of the index for a tag, or 0. */
static inline uint64_t place_page(segment *s, uint64_t root, uint32_t tag) {
    unsigned depth = (unsigned)(root >> 32 & 63);
    uint64_t off = (root & UINT64_C(0xffffffff)) << 4;
    if (depth) {
        if (FR_UNLIKELY(depth > INDEX_PREFIX_BITS || !segment_holds(s, off, UINT64_C(8) << depth))) return 0;
        uint64_t entry = ld8(SEG_AT(s, off, uint64_t) + (tag >> INDEX_PLACE_BITS & ((UINT32_C(1) << depth) - 1)));
        off = (entry & UINT64_C(0xffffffff)) << 4;
    }
    return FR_LIKELY((off & (s->g.page_size - 1)) == 0 && segment_has(s, off, s->g.page_size)) ? off : 0;
}

static inline uint64_t *place_quad(segment *s, uint64_t page, uint32_t tag) {
    return SEG_AT(s, page + (tag << 6 & 0xf00 & (s->g.page_size - 1)), uint64_t); /* of 256 bytes each */
}

/* Bits of meta in which two plain short strings of the same name length and space may differ. */
#define PLACE_FREE META_MAKE(0, FLAG_INT | FLAG_EXPIRY, 0, 0x3fffffff, 0)

/* Is the block behind this slot word the key's, settled, and a plain short string? */
FR_INLINE fr_status place_block(segment *s, const key *k, uint64_t slot, place *p) {
    uint32_t size = heap_class_size(s, SLOT_CLASS(slot));
    p->off = SLOT_OFF(slot);
    if (FR_UNLIKELY(size == 0 || !segment_has(s, p->off, size))) return FR_RETRY;
    const uint64_t *block = SEG_AT(s, p->off, uint64_t);
    __builtin_prefetch(block + 8); /* two misses at once, where there are two */
    p->version = ld8(&block[0]);
    p->meta = ld8(&block[1]);
    uint64_t differs = (p->meta ^ META_MAKE(KIND_STRING, 0, k->name.n, 0, k->space)) & ~PLACE_FREE;
    if (FR_UNLIKELY(p->version & 1 || differs)) return FR_RETRY;
    uint64_t name = block_name_at(p->meta);
    p->body = name + FR_ALIGN(k->name.n, 8);
    uint64_t end = p->body + META_VLEN(p->meta) + (META_FLAGS(p->meta) & FLAG_INT) * (8 / FLAG_INT);
    if (FR_UNLIKELY(end > size)) return FR_RETRY;
    if (FR_UNLIKELY(!same_bytes(&block[name / 8], k->name.p, k->name.n))) return FR_RETRY;
    p->expiry = NO_EXPIRY;
    if (FR_LIKELY(!(META_FLAGS(p->meta) & FLAG_EXPIRY))) return FR_OK;
    p->expiry = ld8(&block[BLOCK_EXPIRY / 8]);
    return p->expiry != NO_EXPIRY && p->expiry <= clock_boot_ms() ? FR_RETRY : FR_OK;
}

/* The same for a row: one of the table's images, of its present space, with a short name and no expiry. */
FR_INLINE fr_status place_row(segment *s, const key *k, const table *tb, uint64_t slot, place *p) {
    uint64_t at = SLOT_OFF(slot) - tb->rows_off;
    p->off = SLOT_OFF(slot);
    if (FR_UNLIKELY(SLOT_CLASS(slot) != CLASS_ROW)) return FR_RETRY; /* another kind's: p->off is not to be looked at */
    if (FR_UNLIKELY(at >= tb->images * tb->stride || at % tb->stride || !segment_has(s, p->off, tb->stride))) return FR_RETRY;
    const uint64_t *image = SEG_AT(s, p->off, uint64_t);
    p->version = ld8(&image[0]);
    p->meta = ld8(&image[1]);
    if (FR_UNLIKELY(p->version & 1 || META_KIND(p->meta) != KIND_ROW || META_SPACE(p->meta) != k->space)) return FR_RETRY;
    if (FR_UNLIKELY(k->name.n > ROW_NAME_INLINE || ld8(&image[2]) != NO_EXPIRY)) return FR_RETRY;
    return META_KLEN(p->meta) == k->name.n && same_bytes(&image[3], k->name.p, k->name.n) ? FR_OK : FR_RETRY;
}

/* The slot word with this tag in a quad: where it is, or NULL. Its own bucket first. (Of tag 0, perhaps an empty word: no
 * offset into the data area.) */
FR_INLINE const uint64_t *place_slot(const uint64_t *quad, uint32_t tag, uint64_t *slot) {
    for (uint32_t b = 0; b < 4; b++) {
        const uint64_t *bucket = quad + ((b ^ (tag & 3)) << 3);
        for (const uint64_t *at = bucket; at < bucket + 8; at++) {
            *slot = ld8(at);
            if (FR_UNLIKELY(SLOT_TAG(*slot) == tag)) return at;
        }
    }
    return NULL;
}

/* tb: NULL for a string. Two names under one tag, one in 2^26 of a quad's, are left to the general path. */
FR_INLINE fr_status place_find(segment *s, const key *k, const table *tb, place *p) {
    uint32_t tag = INDEX_TAG(k->hash);
    p->st = segment_stripe(s, k->stripe);
    p->seq = ld8(&p->st->seq);
    uint64_t root = ld8(&p->st->root), page = place_page(s, root, tag);
    if (FR_UNLIKELY(p->seq & 1 || (page == 0 && root != 0))) return FR_RETRY;
    p->slot_at = page ? place_slot(place_quad(s, page, tag), tag, &p->slot) : NULL;
    if (FR_LIKELY(p->slot_at != NULL)) return tb ? place_row(s, k, tb, p->slot, p) : place_block(s, k, p->slot, p);
    return ld8(&p->st->seq) == p->seq ? FR_NOKEY : FR_RETRY;
}

#endif
