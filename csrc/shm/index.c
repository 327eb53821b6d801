/* index.c - see index.h. Sections: words; search; insertion and splits; building; walking; dropping; checks.
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
#define LOW_BITS(depth) ((UINT32_C(1) << (depth)) - 1)

/* --- words -------------------------------------------------------------------------------------------------------- */

static uint32_t quads(const segment *s) { return s->g.page_size / QUAD_BYTES; }

/* Which quad of a segment, and which of its buckets first. */
static uint32_t quad_of(const segment *s, uint32_t tag) { return (tag >> 2 & 15) & (quads(s) - 1); }
static uint32_t bucket_of(uint32_t tag) { return tag & 3; }

/* A directory is at least a page, of which the words up to 2^depth count. */
static uint64_t directory_bytes(const segment *s, unsigned depth) {
    return (UINT64_C(8) << depth) < s->g.page_size ? s->g.page_size : UINT64_C(8) << depth;
}

/* The directory entry for a prefix; for depth 0 the root word itself. 0 when empty or unbelievable. */
static uint64_t entry_for(txn *t, uint64_t root, uint32_t prefix) {
    uint64_t off = WORD_OFF(root);
    unsigned depth = WORD_DEPTH(root);
    if (depth == 0 || root == 0) return root;
    if (depth > INDEX_PREFIX_BITS || !segment_holds(t->s, off, UINT64_C(8) << depth)) return 0;
    return txn_ld(t, off + (uint64_t)(prefix & LOW_BITS(depth)) * 8);
}

/* How many low bits of their prefixes the keys of entry i's segment share: no entry says so, but those that name it do.
 * One load, or two: most segments have one entry or two. The root is one in which entry_for has found an entry. */
static unsigned depth_of(txn *t, uint64_t root, uint32_t i) {
    unsigned depth = WORD_DEPTH(root);
    uint64_t dir = WORD_OFF(root), entry = depth ? txn_ld(t, dir + i * UINT64_C(8)) : 0;
    while (depth && txn_ld(t, dir + (i ^ UINT32_C(1) << (depth - 1)) * UINT64_C(8)) == entry) depth--;
    return depth;
}

static uint64_t segment_at(txn *t, uint64_t entry) {
    uint64_t off = WORD_OFF(entry);
    return entry && off % t->s->g.page_size == 0 && segment_holds(t->s, off, t->s->g.page_size) ? off : 0;
}

/* --- search ------------------------------------------------------------------------------------------------------- */

bool index_probe(txn *t, uint64_t root_off, uint32_t tag, probe *p) {
    uint64_t seg = segment_at(t, entry_for(t, txn_ld(t, root_off), PREFIX(tag)));
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

/* --- insertion and splits ------------------------------------------------------------------------------------------ */

/* With so few free slots left in a quad an insertion with little else to store doubles a directory that will have to be, or
 * splits the segment. One in 25 has more to do (a page becomes full, or a new one is made): with three chances hardly
 * one in ten thousand splits is left to an insertion that has. It costs a field of a large hash 0.1 bytes. */
#define LEFT_MAX 4u
#define LEFT_DOUBLE 3u
#define LEFT_SPLIT 2u

/* What an insertion found out about the segment of its prefix. */
typedef struct spot {
    uint64_t root, page;
    uint32_t i;           /* its directory entry */
    unsigned depth;       /* of the segment */
    uint64_t at;          /* a slot of the quad that is empty, or whose key has moved away in a split; 0: none */
    unsigned left;        /* how many more there are, up to LEFT_MAX */
} spot;

static bool is_free(uint64_t word, const spot *sp) {
    return word == 0 || ((PREFIX(SLOT_TAG(word)) ^ sp->i) & LOW_BITS(sp->depth));
}

/* The first bucket first. */
static void find_room(txn *t, uint64_t quad, uint32_t start, spot *sp) {
    sp->at = 0;
    sp->left = 0;
    for (uint32_t i = 0; i < QUAD_SLOTS && sp->left < LEFT_MAX; i++) {
        uint64_t at = quad + ((i >> 3) ^ start) * BUCKET_BYTES + (i & 7) * 8;
        if (!is_free(txn_ld(t, at), sp)) continue;
        if (sp->at) sp->left++;
        else sp->at = at;
    }
}

static bool find_spot(txn *t, uint64_t root_off, uint32_t tag, spot *sp) {
    probe p;
    if (!index_probe(t, root_off, tag, &p)) return false;
    sp->root = txn_ld(t, root_off);
    sp->page = p.quad - quad_of(t->s, tag) * QUAD_BYTES;
    sp->i = PREFIX(tag) & LOW_BITS(WORD_DEPTH(sp->root));
    sp->depth = depth_of(t, sp->root, sp->i);
    find_room(t, p.quad, p.start, sp);
    return true;
}

/* What readers must not mix, a directory before and after a split or a move, is told to those of an index in a stripe by
 * the stripe's seq, to those of a tree by its header's version, which every write to the tree makes odd. */
static void reshaped(txn *t, uint64_t root_off) {
    if (root_off < t->s->l.data) txn_step_seq(t, (uint32_t)((root_off - t->s->l.latches) / t->s->l.stripe_bytes));
}

/* An index of one key: a page that nobody reaches yet, and the root as the one visible word. */
static fr_status first_page(txn *t, uint64_t root_off, uint64_t slot) {
    uint64_t page, at = quad_of(t->s, SLOT_TAG(slot)) * QUAD_BYTES + bucket_of(SLOT_TAG(slot)) * BUCKET_BYTES;
    fr_status status = pool_take(t, 1, &page);
    if (status != FR_OK) return status;
    fill_begin(SEG_AT(t->s, page, void), t->s->g.page_size);
    for (uint32_t i = 0; i < t->s->g.page_size; i += 8) {
        __atomic_store_n(SEG_AT(t->s, page + i, uint64_t), i == at ? slot : 0, __ATOMIC_RELEASE);
    }
    txn_put(t, root_off, WORD_MAKE(page, 0));
    return FR_OK;
}

static uint64_t directory_pages(const segment *s, unsigned depth) { return directory_bytes(s, depth) / s->g.page_size; }

/* Doubles the directory: the upper half repeats the lower one, but for entry `but`, which becomes `entry` (0: no such one).
 * It is written behind the words that count, where nobody looks before the root says so, or into a run of twice the pages. */
static fr_status double_directory(txn *t, uint64_t root_off, uint32_t but, uint64_t but_entry) {
    uint64_t root = txn_ld(t, root_off), old = WORD_OFF(root), dir = old, first = 0;
    unsigned depth = WORD_DEPTH(root);
    if (depth == INDEX_PREFIX_BITS) return FR_INDEXFULL;
    bool moves = depth == 0 || directory_pages(t->s, depth + 1) != directory_pages(t->s, depth);
    fr_status status = moves ? pool_take(t, directory_pages(t->s, depth + 1), &dir) : FR_OK;
    if (status != FR_OK) return status;
    uint64_t entries = UINT64_C(1) << depth;
    if (!moves) first = entries;
    fill_begin(SEG_AT(t->s, dir + first * 8, void), (2 * entries - first) * 8);
    for (uint64_t i = first; i < 2 * entries; i++) {
        uint64_t entry = depth == 0 ? root : txn_ld(t, old + (i & (entries - 1)) * 8);
        if (but_entry && i == but) entry = but_entry;
        __atomic_store_n(SEG_AT(t->s, dir + i * 8, uint64_t), entry, __ATOMIC_RELEASE);
    }
    txn_put(t, root_off, WORD_MAKE(dir, depth + 1));
    if (!moves || depth == 0) return FR_OK;
    reshaped(t, root_off);
    return pool_give(t, old, directory_pages(t->s, depth));
}

/* Copies to an unpublished page what of `from` belongs to entries with the bit of `depth` set, each word to its own place;
 * words that an earlier split has left behind belong to neither. */
static void copy_upper(txn *t, uint64_t from, uint32_t upper, unsigned depth, uint64_t to) {
    fill_begin(SEG_AT(t->s, to, void), t->s->g.page_size);
    for (uint32_t i = 0; i < t->s->g.page_size; i += 8) {
        uint64_t word = txn_ld(t, from + i);
        if ((PREFIX(SLOT_TAG(word)) ^ upper) & LOW_BITS(depth + 1)) word = 0;
        __atomic_store_n(SEG_AT(t->s, to + i, uint64_t), word, __ATOMIC_RELEASE);
    }
}

/* The keys with the next bit of the prefix set get a page of their own. What they leave in the old one is not cleared:
 * their prefixes are not of that page any more, so nobody takes them for keys. */
static fr_status split(txn *t, uint64_t root_off, const spot *sp) {
    uint64_t high;
    if (sp->depth == INDEX_PREFIX_BITS) return FR_INDEXFULL;
    fr_status status = pool_take(t, 1, &high);
    if (status != FR_OK) return status;
    bool lone = sp->depth == WORD_DEPTH(sp->root);
    uint32_t step = UINT32_C(1) << sp->depth, upper = (sp->i & (step - 1)) | step;
    copy_upper(t, sp->page, upper, sp->depth, high);
    if (lone) status = double_directory(t, root_off, upper, WORD_MAKE(high, 0));
    for (uint64_t i = upper; !lone && i < UINT64_C(1) << WORD_DEPTH(sp->root); i += 2 * (uint64_t)step) {
        txn_put(t, WORD_OFF(sp->root) + i * 8, WORD_MAKE(high, 0));
    }
    reshaped(t, root_off);
    return status;
}

/* May this insertion do the next one's work as well? When it has only little to store itself: a record for its block, and
 * one that counts it or a version; it took no page and is no part of something greater. */
static bool has_little(const txn *t) { return t->n <= 2 && !t->pools && !t->multi; }

/* What a later insertion here would have to do is done by this one if it has less to do: so none pays for all at once. */
static fr_status prepare(txn *t, uint64_t root_off, const spot *sp, bool *moved) {
    bool lone = sp->depth == WORD_DEPTH(sp->root);
    *moved = false;
    if (sp->left > LEFT_DOUBLE || !has_little(t)) return FR_OK;
    if (lone) return double_directory(t, root_off, 0, 0);
    if (sp->left > LEFT_SPLIT) return FR_OK;
    *moved = true;
    return split(t, root_off, sp);
}

/* A page or run that cannot be had is only missed when it is needed. */
static bool only_early(fr_status status) { return status == FR_GROW || status == FR_INDEXFULL; }

fr_status index_insert(txn *t, uint64_t root_off, uint32_t stripe, uint64_t slot) {
    uint32_t tag = SLOT_TAG(slot);
    spot sp;
    if (txn_ld(t, root_off) == 0) return first_page(t, root_off, slot);
    bool early = true;
    for (unsigned attempt = 0; attempt <= INDEX_PREFIX_BITS + 1; attempt++) {
        bool moved = false;
        if (!find_spot(t, root_off, tag, &sp)) return txn_fail(t, FR_DAMAGED, "index of stripe %u is broken", stripe);
        fr_status status = FR_OK;
        if (!sp.at) {
            status = split(t, root_off, &sp);
            moved = true;
        } else if (early) {
            status = prepare(t, root_off, &sp, &moved);
            if (only_early(status)) status = FR_OK, moved = false;
        }
        early = false;
        if (status != FR_OK) return status;
        if (moved) continue;
        txn_put(t, sp.at, slot);
        return FR_OK;
    }
    return FR_INDEXFULL;
}

/* --- building ----------------------------------------------------------------------------------------------------- */

static bool fits_at(const segment *s, const uint32_t *tags, uint32_t n, unsigned depth) {
    uint8_t used[16 << INDEX_IMAGE_DEPTH] = {0};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t quad = (PREFIX(tags[i]) & LOW_BITS(depth)) * quads(s) + quad_of(s, tags[i]);
        if (++used[quad] > QUAD_SLOTS) return false;
    }
    return true;
}

unsigned index_image_pages(const segment *s, const uint32_t *tags, uint32_t n, unsigned *depth) {
    for (*depth = 0; *depth <= INDEX_IMAGE_DEPTH; ++*depth)
        if (fits_at(s, tags, n, *depth)) return *depth ? 1 + (1u << *depth) : 1;
    return 0;
}

uint64_t index_image(const segment *s, void *image, uint64_t off, unsigned depth, const uint64_t *slots, uint32_t n) {
    char *leaves = image;
    if (depth) {
        leaves += s->g.page_size;
        for (uint64_t i = 0; i < UINT64_C(1) << depth; i++) ((uint64_t *)image)[i] = WORD_MAKE(off + (i + 1) * s->g.page_size, 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t tag = SLOT_TAG(slots[i]), at = 0;
        char *leaf = leaves + (uint64_t)(PREFIX(tag) & LOW_BITS(depth)) * s->g.page_size;
        uint64_t *quad = (uint64_t *)(leaf + quad_of(s, tag) * QUAD_BYTES);
        while (quad[((at >> 3) ^ bucket_of(tag)) * 8 + (at & 7)]) at++;
        quad[((at >> 3) ^ bucket_of(tag)) * 8 + (at & 7)] = slots[i];
    }
    return WORD_MAKE(off, depth);
}

/* --- walking ------------------------------------------------------------------------------------------------------ */

/* A prefix backwards: the order of a walk is that of the backward prefixes, which keeps a segment's keys together. */
static uint32_t backward(uint32_t prefix) {
    uint32_t x = prefix;
    x = (x & 0x55555555) << 1 | (x >> 1 & 0x55555555);
    x = (x & 0x33333333) << 2 | (x >> 2 & 0x33333333);
    x = (x & 0x0f0f0f0f) << 4 | (x >> 4 & 0x0f0f0f0f);
    return __builtin_bswap32(x) >> (32 - INDEX_PREFIX_BITS);
}

/* cursor = backward prefix << 4 | quad. */
void index_walk(txn *t, uint64_t root_off, uint64_t *cursor, uint64_t out[QUAD_SLOTS], uint64_t offs[QUAD_SLOTS]) {
    uint32_t place = (uint32_t)(*cursor >> 4), quad = (uint32_t)*cursor & 15;
    memset(out, 0, QUAD_SLOTS * sizeof *out);
    if (place >= PREFIX_END || quad >= quads(t->s)) {
        *cursor = UINT64_MAX;
        return;
    }
    uint64_t root = txn_ld(t, root_off), seg = segment_at(t, entry_for(t, root, backward(place)));
    if (!seg) {
        *cursor = UINT64_MAX;
        return;
    }
    spot sp = {.i = backward(place) & LOW_BITS(WORD_DEPTH(root))};
    sp.depth = depth_of(t, root, sp.i);
    for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
        offs[i] = seg + quad * QUAD_BYTES + i * 8;
        out[i] = txn_ld(t, offs[i]);
        if (is_free(out[i], &sp)) out[i] = 0;
    }
    if (quad + 1 < quads(t->s)) {
        *cursor = (uint64_t)place << 4 | (quad + 1);
        return;
    }
    uint32_t range = UINT32_C(1) << (INDEX_PREFIX_BITS - sp.depth);
    uint64_t next = ((uint64_t)place & ~(uint64_t)(range - 1)) + range;
    *cursor = next >= PREFIX_END ? UINT64_MAX : next << 4;
}

/* --- dropping ----------------------------------------------------------------------------------------------------- */

/* Gives back the segment of directory entry i and clears every entry that names it. */
static fr_status drop_segment(txn *t, uint64_t root, uint32_t i) {
    uint64_t dir = WORD_OFF(root), seg = segment_at(t, txn_ld(t, dir + i * UINT64_C(8)));
    if (!seg) return txn_fail(t, FR_DAMAGED, "index directory at %llu is broken", (unsigned long long)dir);
    uint64_t step = UINT64_C(1) << depth_of(t, root, i);
    for (uint64_t j = i & (step - 1); j < UINT64_C(1) << WORD_DEPTH(root); j += step) txn_put(t, dir + j * 8, 0);
    return pool_give(t, seg, 1);
}

fr_status index_drop(txn *t, uint64_t root_off, unsigned limit, bool *done) {
    uint64_t root = txn_ld(t, root_off), dir = WORD_OFF(root);
    unsigned depth = WORD_DEPTH(root);
    *done = root == 0;
    if (root == 0) return FR_OK;
    if (depth > INDEX_PREFIX_BITS || !segment_holds(t->s, dir, UINT64_C(8) << depth)) return txn_fail(t, FR_DAMAGED, "broken index root");
    for (uint32_t i = 0; depth && i < UINT32_C(1) << depth; i++) {
        if (txn_ld(t, dir + i * UINT64_C(8)) == 0) continue;
        if (limit-- == 0) return FR_OK;
        fr_status status = drop_segment(t, root, i);
        if (status != FR_OK) return status;
    }
    txn_put(t, root_off, 0);
    *done = true;
    return pool_give(t, dir, depth ? directory_pages(t->s, depth) : 1);
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

static fr_status broken(fr_error *err, const char *what, uint64_t off) {
    snprintf(err->text, sizeof err->text, "index: %s at offset %llu", what, (unsigned long long)off);
    return err->status = FR_DAMAGED;
}

static fr_status check_segment(segment *s, uint64_t seg, const spot *sp, fr_status (*each)(void *, uint64_t), void *ctx,
                               fr_error *err) {
    const uint64_t *words = SEG_AT(s, seg, uint64_t);
    for (uint32_t i = 0; i < s->g.page_size / 8; i++) {
        if (is_free(words[i], sp)) continue;
        if (quad_of(s, SLOT_TAG(words[i])) != i / QUAD_SLOTS) return broken(err, "key in a wrong quad", seg + i * 8);
        fr_status status = each(ctx, words[i]);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

/* How many low bits of i the entries share that name its segment; beyond the directory's depth if they are no set of
 * that kind. The first of them looks at all, the others at the first. */
static unsigned check_depth(const uint64_t *entries, unsigned global, uint32_t i) {
    unsigned depth = global;
    while (depth && entries[i ^ UINT32_C(1) << (depth - 1)] == entries[i]) depth--;
    uint32_t first = i & LOW_BITS(depth);
    if (entries[first] != entries[i]) return INDEX_PREFIX_BITS + 1;
    for (uint64_t j = first; first == i && j < UINT64_C(1) << global; j += UINT64_C(1) << depth)
        if (entries[j] != entries[i]) return INDEX_PREFIX_BITS + 1;
    return depth;
}

fr_status index_check(segment *s, uint64_t root_off, heap_marks *m, fr_status (*each)(void *ctx, uint64_t slot),
                      void *ctx, fr_error *err) {
    uint64_t root = *SEG_AT(s, root_off, uint64_t), dir = WORD_OFF(root);
    unsigned global = WORD_DEPTH(root);
    if (root == 0) return FR_OK;
    uint64_t bytes = directory_bytes(s, global);
    if (global > INDEX_PREFIX_BITS || dir % s->g.page_size || !segment_holds(s, dir, bytes)) {
        return broken(err, "impossible root", root_off);
    }
    if (global) heap_mark(m, s, dir, CLASS_RUN, bytes);
    const uint64_t *entries = global ? SEG_AT(s, dir, uint64_t) : &root;
    for (uint32_t i = 0; i < UINT32_C(1) << global; i++) {
        uint64_t seg = WORD_OFF(entries[i]);
        if (entries[i] == 0) continue; /* index_drop has been here */
        spot sp = {.i = i, .depth = check_depth(entries, global, i)};
        if (sp.depth > global || (global && WORD_DEPTH(entries[i])) || seg % s->g.page_size || !segment_holds(s, seg, s->g.page_size)) {
            return broken(err, "impossible directory entry", dir + i * UINT64_C(8));
        }
        if (i >> sp.depth) continue; /* a later entry of a segment that was met before */
        heap_mark(m, s, seg, CLASS_RUN, s->g.page_size);
        fr_status status = check_segment(s, seg, &sp, each, ctx, err);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}
