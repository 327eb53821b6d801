/* index.c - see index.h. Sections: words; search; insertion and splits; walking; dropping; checks.
 *
 * With 4 KiB pages a segment has 64 buckets in 16 quads of 32 slots; the first quad to overflow splits it at a load of
 * about 0.68, so a slot word costs a key about 16 bytes.
 */
#include "shm/index.h"

#include <stdio.h>

#define BUCKET_BYTES 64u
#define QUAD_BYTES (4 * BUCKET_BYTES)
#define WORD_OFF(w) (((w) & UINT64_C(0xffffffff)) << 4)
#define WORD_DEPTH(w) ((unsigned)((w) >> 32 & 63))
#define WORD_MAKE(off, depth) ((off) >> 4 | (uint64_t)(depth) << 32)
#define PREFIX(tag) ((tag) >> INDEX_PLACE_BITS)
#define PREFIX_END (UINT32_C(1) << INDEX_PREFIX_BITS)

/* --- words -------------------------------------------------------------------------------------------------------- */

static uint32_t quads(const segment *s) { return s->g.page_size / QUAD_BYTES; }

/* Which quad of a segment, and which of its buckets first. */
static uint32_t quad_of(const segment *s, uint32_t tag) { return (tag >> 2 & 15) & (quads(s) - 1); }
static uint32_t bucket_of(uint32_t tag) { return tag & 3; }

/* The directory entry for a prefix; for depth 0 the root word itself. *at: where it is. 0 when empty or unbelievable. */
static uint64_t entry_for(txn *t, uint64_t root_off, uint32_t prefix, uint64_t *at) {
    uint64_t root = txn_ld(t, root_off), off = WORD_OFF(root);
    unsigned depth = WORD_DEPTH(root);
    *at = root_off;
    if (depth == 0 || root == 0) return root;
    if (depth > INDEX_PREFIX_BITS || !segment_holds(t->s, off, UINT64_C(8) << depth)) return 0;
    *at = off + (uint64_t)(prefix >> (INDEX_PREFIX_BITS - depth)) * 8;
    return txn_ld(t, *at);
}

static uint64_t segment_at(txn *t, uint64_t entry) {
    uint64_t off = WORD_OFF(entry);
    return entry && off % t->s->g.page_size == 0 && segment_holds(t->s, off, t->s->g.page_size) ? off : 0;
}

/* --- search ------------------------------------------------------------------------------------------------------- */

bool index_probe(txn *t, uint64_t root_off, uint32_t tag, probe *p) {
    uint64_t at, seg = segment_at(t, entry_for(t, root_off, PREFIX(tag), &at));
    p->quad = seg ? seg + quad_of(t->s, tag) * QUAD_BYTES : 0;
    p->tag = tag;
    p->start = bucket_of(tag);
    p->next = 0;
    return seg != 0;
}

uint64_t index_next(txn *t, probe *p, uint64_t *slot_off) {
    while (p->next < QUAD_SLOTS) {
        uint64_t bucket = (p->next >> 3) ^ p->start;
        uint64_t at = p->quad + bucket * BUCKET_BYTES + (p->next & 7) * 8;
        p->next++;
        uint64_t word = txn_ld(t, at);
        if (SLOT_TAG(word) == p->tag && word) {
            *slot_off = at;
            return word;
        }
    }
    return 0;
}

/* An empty slot of the quad, the first bucket first. */
static uint64_t empty_slot(txn *t, uint64_t quad, uint32_t start) {
    for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
        uint64_t at = quad + ((i >> 3) ^ start) * BUCKET_BYTES + (i & 7) * 8;
        if (txn_ld(t, at) == 0) return at;
    }
    return 0;
}

/* --- insertion and splits ------------------------------------------------------------------------------------------ */

/* A zeroed page that nobody reaches yet. */
static fr_status new_page(txn *t, uint64_t *off) {
    fr_status status = pool_take(t, 1, off);
    if (status != FR_OK) return status;
    ACCESS_HOOK(ACCESS_FILL, SEG_AT(t->s, *off, void), t->s->g.page_size);
    for (uint32_t i = 0; i < t->s->g.page_size; i += 8) {
        __atomic_store_n(SEG_AT(t->s, *off + i, uint64_t), 0, __ATOMIC_RELEASE);
    }
    return FR_OK;
}

/* Directories are blocks of words: slab blocks while small, runs of pages later. */
static fr_status new_directory(txn *t, uint32_t stripe, unsigned depth, uint64_t *off) {
    unsigned class;
    return heap_alloc(t, stripe, (size_t)8 << depth, off, &class);
}

static fr_status free_directory(txn *t, uint32_t stripe, uint64_t off, unsigned depth) {
    size_t n = (size_t)8 << depth;
    return heap_free(t, stripe, off, heap_class_for(t->s, n), n);
}

/* Distributes the slots of `from` over two unpublished pages by the prefix bit below `depth`. Every word keeps its quad
 * and bucket order. */
static void divide(txn *t, uint64_t from, unsigned depth, uint64_t low, uint64_t high) {
    uint32_t bit = UINT32_C(1) << (INDEX_PREFIX_BITS - depth - 1);
    ACCESS_HOOK(ACCESS_FILL, SEG_AT(t->s, low, void), t->s->g.page_size);
    ACCESS_HOOK(ACCESS_FILL, SEG_AT(t->s, high, void), t->s->g.page_size);
    for (uint32_t i = 0; i < t->s->g.page_size; i += 8) {
        uint64_t word = txn_ld(t, from + i);
        if (word == 0) continue;
        uint64_t to = PREFIX(SLOT_TAG(word)) & bit ? high : low;
        __atomic_store_n(SEG_AT(t->s, to + i, uint64_t), word, __ATOMIC_RELEASE);
    }
}

/* Twice the directory, each entry doubled; the root word is put. */
static fr_status double_directory(txn *t, uint64_t root_off, uint32_t stripe) {
    uint64_t root = txn_ld(t, root_off), old = WORD_OFF(root), grown;
    unsigned depth = WORD_DEPTH(root);
    if (depth == INDEX_PREFIX_BITS) return FR_INDEXFULL;
    fr_status status = new_directory(t, stripe, depth + 1, &grown);
    if (status != FR_OK) return status;
    ACCESS_HOOK(ACCESS_FILL, SEG_AT(t->s, grown, void), (size_t)16 << depth);
    for (uint64_t i = 0; i < UINT64_C(2) << depth; i++) {
        uint64_t entry = depth == 0 ? root : txn_ld(t, old + i / 2 * 8);
        __atomic_store_n(SEG_AT(t->s, grown + i * 8, uint64_t), entry, __ATOMIC_RELEASE);
    }
    txn_put(t, root_off, WORD_MAKE(grown, depth + 1));
    return depth == 0 ? FR_OK : free_directory(t, stripe, old, depth);
}

/* Points the entries of a prefix range at two segments of depth + 1. */
static void point_at(txn *t, uint64_t root_off, uint32_t prefix, unsigned depth, uint64_t low, uint64_t high) {
    uint64_t root = txn_ld(t, root_off);
    unsigned global = WORD_DEPTH(root);
    uint64_t span_entries = UINT64_C(1) << (global - depth);
    uint64_t first = (uint64_t)(prefix >> (INDEX_PREFIX_BITS - global)) & ~(span_entries - 1);
    for (uint64_t i = 0; i < span_entries; i++) {
        uint64_t to = i < span_entries / 2 ? low : high;
        txn_put(t, WORD_OFF(root) + (first + i) * 8, WORD_MAKE(to, depth + 1));
    }
}

static fr_status split(txn *t, uint64_t root_off, uint32_t stripe, uint32_t prefix) {
    uint64_t at, low, high, entry = entry_for(t, root_off, prefix, &at);
    unsigned depth = at == root_off ? 0 : WORD_DEPTH(entry);
    uint64_t seg = segment_at(t, entry);
    if (!seg || depth > WORD_DEPTH(txn_ld(t, root_off))) return txn_fail(t, FR_DAMAGED, "index directory of stripe %u is broken", stripe);
    if (depth == INDEX_PREFIX_BITS) return FR_INDEXFULL;
    fr_status status = new_page(t, &low);
    if (status == FR_OK) status = new_page(t, &high);
    if (status != FR_OK) return status;
    divide(t, seg, depth, low, high);
    if (depth == WORD_DEPTH(txn_ld(t, root_off))) {
        status = double_directory(t, root_off, stripe);
        if (status != FR_OK) return status;
    }
    point_at(t, root_off, prefix, depth, low, high);
    t->multi = true;
    return pool_give(t, seg, 1);
}

fr_status index_insert(txn *t, uint64_t root_off, uint32_t stripe, uint64_t slot) {
    uint32_t tag = SLOT_TAG(slot);
    probe p;
    for (unsigned attempt = 0; attempt <= INDEX_PREFIX_BITS; attempt++) {
        if (txn_ld(t, root_off) == 0) {
            uint64_t page;
            fr_status status = new_page(t, &page);
            if (status != FR_OK) return status;
            txn_put(t, root_off, WORD_MAKE(page, 0));
            t->multi = true;
        }
        if (!index_probe(t, root_off, tag, &p)) return txn_fail(t, FR_DAMAGED, "index of stripe %u is broken", stripe);
        uint64_t at = empty_slot(t, p.quad, p.start);
        if (at) {
            txn_put(t, at, slot);
            return FR_OK;
        }
        fr_status status = split(t, root_off, stripe, PREFIX(tag));
        if (status != FR_OK) return status;
    }
    return FR_INDEXFULL;
}

/* --- walking ------------------------------------------------------------------------------------------------------ */

/* cursor = prefix << 4 | quad. */
void index_walk(txn *t, uint64_t root_off, uint64_t *cursor, uint64_t out[QUAD_SLOTS], uint64_t offs[QUAD_SLOTS]) {
    uint32_t prefix = (uint32_t)(*cursor >> 4), quad = (uint32_t)*cursor & 15;
    memset(out, 0, QUAD_SLOTS * sizeof *out);
    if (prefix >= PREFIX_END || quad >= quads(t->s)) {
        *cursor = UINT64_MAX;
        return;
    }
    uint64_t at, entry = entry_for(t, root_off, prefix, &at), seg = segment_at(t, entry);
    unsigned depth = at == root_off ? 0 : WORD_DEPTH(entry);
    if (!seg || depth > WORD_DEPTH(txn_ld(t, root_off)) || depth > INDEX_PREFIX_BITS) {
        *cursor = UINT64_MAX;
        return;
    }
    for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
        offs[i] = seg + quad * QUAD_BYTES + i * 8;
        out[i] = txn_ld(t, offs[i]);
    }
    if (quad + 1 < quads(t->s)) {
        *cursor = (uint64_t)prefix << 4 | (quad + 1);
        return;
    }
    uint32_t range = UINT32_C(1) << (INDEX_PREFIX_BITS - depth);
    uint64_t next = ((uint64_t)prefix & ~(uint64_t)(range - 1)) + range;
    *cursor = next >= PREFIX_END ? UINT64_MAX : next << 4;
}

/* --- dropping ----------------------------------------------------------------------------------------------------- */

/* Gives back the segment of one directory entry and clears every entry that names it. */
static fr_status drop_segment(txn *t, uint64_t dir, uint64_t entries, uint64_t i) {
    uint64_t entry = txn_ld(t, dir + i * 8), seg = segment_at(t, entry);
    if (!seg) return txn_fail(t, FR_DAMAGED, "index directory at %llu is broken", (unsigned long long)dir);
    for (; i < entries && txn_ld(t, dir + i * 8) == entry; i++) txn_put(t, dir + i * 8, 0);
    return pool_give(t, seg, 1);
}

fr_status index_drop(txn *t, uint64_t root_off, uint32_t stripe, unsigned limit, bool *done) {
    uint64_t root = txn_ld(t, root_off), dir = WORD_OFF(root);
    unsigned depth = WORD_DEPTH(root);
    *done = root == 0;
    if (root == 0) return FR_OK;
    if (depth > INDEX_PREFIX_BITS || !segment_holds(t->s, dir, UINT64_C(8) << depth)) return txn_fail(t, FR_DAMAGED, "broken index root");
    for (uint64_t i = 0; depth && i < UINT64_C(1) << depth; i++) {
        if (txn_ld(t, dir + i * 8) == 0) continue;
        if (limit-- == 0) return FR_OK;
        fr_status status = drop_segment(t, dir, UINT64_C(1) << depth, i);
        if (status != FR_OK) return status;
    }
    txn_put(t, root_off, 0);
    *done = true;
    return depth ? free_directory(t, stripe, dir, depth) : pool_give(t, dir, 1);
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

static fr_status broken(fr_error *err, const char *what, uint64_t off) {
    snprintf(err->text, sizeof err->text, "index: %s at offset %llu", what, (unsigned long long)off);
    return err->status = FR_DAMAGED;
}

static fr_status check_segment(segment *s, uint64_t seg, uint32_t prefix, unsigned depth,
                               fr_status (*each)(void *, uint64_t), void *ctx, fr_error *err) {
    const uint64_t *words = SEG_AT(s, seg, uint64_t);
    for (uint32_t i = 0; i < s->g.page_size / 8; i++) {
        if (words[i] == 0) continue;
        uint32_t tag = SLOT_TAG(words[i]);
        if (depth && (PREFIX(tag) ^ prefix) >> (INDEX_PREFIX_BITS - depth)) return broken(err, "key in a wrong segment", seg);
        if (quad_of(s, tag) != i / QUAD_SLOTS) return broken(err, "key in a wrong quad", seg + i * 8);
        fr_status status = each(ctx, words[i]);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

fr_status index_check(segment *s, uint64_t root_off, heap_marks *m, fr_status (*each)(void *ctx, uint64_t slot),
                      void *ctx, fr_error *err) {
    uint64_t root = *SEG_AT(s, root_off, uint64_t), dir = WORD_OFF(root);
    unsigned global = WORD_DEPTH(root);
    if (root == 0) return FR_OK;
    if (global > INDEX_PREFIX_BITS || !segment_holds(s, dir, global ? UINT64_C(8) << global : s->g.page_size)) {
        return broken(err, "impossible root", root_off);
    }
    if (global) heap_mark(m, s, dir, heap_class_for(s, (size_t)8 << global), (size_t)8 << global);
    for (uint64_t i = 0; i < UINT64_C(1) << global;) {
        uint64_t entry = global ? SEG_AT(s, dir, uint64_t)[i] : root, seg = WORD_OFF(entry);
        unsigned depth = global ? WORD_DEPTH(entry) : 0;
        if (entry == 0) { /* index_drop has been here */
            i++;
            continue;
        }
        uint64_t count = UINT64_C(1) << (global - (depth > global ? global : depth));
        if (depth > global || i % count || seg % s->g.page_size || !segment_holds(s, seg, s->g.page_size)) {
            return broken(err, "impossible directory entry", dir + i * 8);
        }
        for (uint64_t j = 0; global && j < count; j++) {
            if (SEG_AT(s, dir, uint64_t)[i + j] != entry) return broken(err, "directory entries differ", dir + (i + j) * 8);
        }
        heap_mark(m, s, seg, CLASS_RUN, s->g.page_size);
        fr_status status = check_segment(s, seg, (uint32_t)(global ? i << (INDEX_PREFIX_BITS - global) : 0), depth, each, ctx, err);
        if (status != FR_OK) return status;
        i += count;
    }
    return FR_OK;
}
