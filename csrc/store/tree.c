/* tree.c - see tree.h. Sections: the header; fields; walking; copies and sizes; detaching and reclaim; checks.
 *
 * A tree is dropped by one slot word: its header goes on the trash list of the header's own stripe, and its fields are
 * freed a few at a time by whoever reclaims. The list is that stripe's and not the fields' because then DEL needs the
 * key's latch only; the reclaimer, who can wait, takes both.
 */
#include "store/tree.h"

#include <stdio.h>
#include <stdlib.h>

#define OVER_BIT (UINT64_C(1) << 32)
#define BODY_ROOT offsetof(tree_body, root)
#define BODY_COUNT offsetof(tree_body, count) /* in the trash: where the reclaimer's walk goes on */
#define BODY_HOME offsetof(tree_body, home)
#define BODY_NEXT offsetof(tree_body, next)
#define RANDOM_TRIES 1024u
#define BUILD_MAX 640u /* fields: more than a packed hash has */
#define SAMPLE_FIELDS 64u
#define RECHECK_QUADS 256u /* a reader's walk looks at the header's version this often */

/* --- the header --------------------------------------------------------------------------------------------------- */

static fr_status tree_read(txn *t, uint64_t off, uint64_t meta, tree *tr) {
    tr->off = off;
    tr->body = off + block_body_at(meta);
    tr->count = tr->was_count = txn_ld(t, tr->body + BODY_COUNT);
    uint64_t home = txn_ld(t, tr->body + BODY_HOME);
    tr->home = (uint32_t)home;
    tr->over = tr->was_over = (home & OVER_BIT) != 0;
    tr->fresh = tr->touched = false;
    tr->version = 0;
    if (tr->home < t->s->g.stripes && home < OVER_BIT * 2) return FR_OK;
    return txn_unbelievable(t, "a tree's header names no stripe");
}

/* A reader keeps the guard of the header's stripe when the fields are there too: it may be overlaying a commit that it
 * met in the header's version, and the fields belong to the same commit. */
static fr_status tree_lock(txn *t, uint32_t stripe, uint32_t home) {
    if (t->mode == TXN_READ) {
        if (home != stripe) txn_enter(t, home);
        return FR_OK;
    }
    if (txn_holds(t, home)) return FR_OK;
    if (t->want) stripe_set_add(t->want, home);
    return FR_RELOCK;
}

fr_status tree_open(txn *t, uint32_t stripe, uint64_t off, uint64_t meta, tree *tr) {
    fr_status status = tree_read(t, off, meta, tr);
    tr->stripe = stripe;
    return status == FR_OK ? tree_lock(t, stripe, tr->home) : status;
}

static draft header_draft(const key *k, uint64_t expiry, const span *body) {
    return (draft){.kind = KIND_TREE, .tag = INDEX_TAG(k->hash), .space = k->space, .expiry = expiry,
                   .reserve_expiry = true, .name = k->name, .parts = body, .part_count = 1};
}

/* header_write makes a tree for k in k's stripe; nothing names it yet. version: 0 for a fresh one. */
static fr_status header_write(txn *t, const key *k, uint64_t expiry, tree_body body, uint64_t version, uint64_t *slot, tree *tr) {
    span bytes = {(const char *)&body, sizeof body};
    draft d = header_draft(k, expiry, &bytes);
    d.version = version;
    fr_status status = block_write(t, k->stripe, &d, slot);
    if (status != FR_OK) return status;
    uint64_t off = SLOT_OFF(*slot);
    *tr = (tree){.off = off, .body = off + block_body_at(txn_ld(t, off + BLOCK_META)), .stripe = k->stripe,
                 .home = k->stripe, .count = body.count, .was_count = body.count, .fresh = true};
    tr->over = tr->was_over = (body.home & OVER_BIT) != 0;
    return FR_OK;
}

fr_status tree_make(store *st, txn *t, const key *k, const found *f, tree *tr) {
    uint64_t slot, expiry = f->exists ? f->expiry : NO_EXPIRY;
    fr_status status = header_write(t, k, expiry, (tree_body){.home = k->stripe}, 0, &slot, tr);
    return status == FR_OK ? key_put(st, t, k, f, slot, expiry) : status;
}

void tree_close(txn *t, const tree *tr) {
    if (tr->count != tr->was_count) txn_put(t, tr->body + BODY_COUNT, tr->count);
    if (tr->over != tr->was_over) txn_put(t, tr->body + BODY_HOME, tr->home | (tr->over ? OVER_BIT : 0));
}

/* --- fields ------------------------------------------------------------------------------------------------------- */

/* field_head reads a block that a tree's index names. */
static fr_status field_head(txn *t, uint64_t slot, head *h) {
    fr_status status = block_head(t, slot, h);
    if (status != FR_OK) return status;
    return META_KIND(h->meta) == KIND_FIELD ? FR_OK
                                            : txn_unbelievable(t, "a tree's index names a block that is no field");
}

fr_status tree_find(txn *t, const tree *tr, span field, tree_place *at) {
    probe p;
    at->hash = key_hash(t->s, FIELD_SPACE, field);
    at->slot = 0;
    if (!index_probe(t, tr->body + BODY_ROOT, INDEX_TAG(at->hash), &p)) return FR_OK;
    for (uint64_t slot; (slot = index_next(t, &p, &at->slot_off)) != 0;) {
        fr_status status = field_head(t, slot, &at->h);
        if (status != FR_OK) return status;
        if (!block_named(t, &at->h, field)) continue;
        at->slot = slot;
        if (t->mode == TXN_READ) txn_saw(t, &t->in, at->slot_off, slot, at->h.off, at->h.version);
        return FR_OK;
    }
    return FR_OK;
}

static fr_status field_write(txn *t, const tree *tr, uint64_t hash, span field, span text, uint64_t *slot) {
    draft d = {.kind = KIND_FIELD, .tag = INDEX_TAG(hash), .space = FIELD_SPACE, .name = field, .parts = &text,
               .part_count = 1};
    d.is_int = text_int64(text, &d.i);
    d.version = tr->home == tr->stripe ? tr->version : 0;
    return block_write(t, tr->home, &d, slot);
}

/* Before the first field changes. A reader that met an odd field under an even header would mix old fields with new. A
 * fresh tree's version is even already: its key's slot word is one visible word, and what comes after is another. */
static void touch(txn *t, tree *tr) {
    if (tr->fresh) t->multi = true;
    else if (!tr->touched) tr->version = block_bump(t, tr->stripe, tr->off);
    tr->touched = true;
}

/* Changes a field where it is, an integer to another or text to as much text: 15 stores for 32 bytes, not 23. */
static bool change_in_place(txn *t, const tree *tr, const head *h, span text) {
    int64_t i;
    bool is_int = text_int64(text, &i);
    uint64_t body = h->off + block_body_at(h->meta);
    if (is_int != (META_FLAGS(h->meta) == FLAG_INT)) return false;
    if (is_int) {
        block_change(t, tr->home, h->off, body, (uint64_t)i);
        return true;
    }
    if (META_FLAGS(h->meta) || text.n != META_VLEN(h->meta) || !text.n || text.n > OVERWRITE_MAX) return false;
    block_overwrite(t, tr->home, h->off, body, text);
    return true;
}

fr_status tree_store(txn *t, tree *tr, tree_place *at, span field, span text) {
    uint64_t slot;
    touch(t, tr);
    if (at->slot && change_in_place(t, tr, &at->h, text)) return FR_OK;
    fr_status status = field_write(t, tr, at->hash, field, text, &slot);
    if (status != FR_OK) return status;
    if (at->slot) {
        txn_put(t, at->slot_off, slot);
        return block_release(t, tr->home, at->slot);
    }
    tr->count++;
    return index_insert(t, tr->body + BODY_ROOT, tr->home, slot);
}

fr_status tree_remove(txn *t, tree *tr, const tree_place *at) {
    touch(t, tr);
    txn_put(t, at->slot_off, 0);
    tr->count--;
    return block_release(t, tr->home, at->slot);
}

/* --- building ----------------------------------------------------------------------------------------------------- */

/* A tree that is built as a whole: pages of its index, then a slab page or more for each class of its fields' blocks, all
 * in one run. */
typedef struct plan {
    const field_value *fields;
    uint32_t n;
    uint32_t tags[BUILD_MAX];
    uint8_t class[BUILD_MAX];
    uint64_t slots[BUILD_MAX];
    uint32_t of_class[SIZE_CLASSES]; /* blocks */
    unsigned index_pages, index_depth, pages;
} plan;

static draft field_draft(const field_value *fv, uint32_t tag, uint64_t version) {
    draft d = {.kind = KIND_FIELD, .tag = tag, .space = FIELD_SPACE, .version = version, .name = fv->field,
               .parts = &fv->value, .part_count = 1};
    d.is_int = text_int64(fv->value, &d.i);
    return d;
}

static uint32_t slab_pages(const segment *s, unsigned class, uint32_t blocks) {
    return (blocks + s->l.class_blocks[class] - 1) / s->l.class_blocks[class];
}

/* Blocks of several classes take a page each at least, and each of those a store for its list. When they need no more
 * pages for it, all fields get blocks of the largest class. */
static void plan_classes(const segment *s, plan *p, unsigned largest) {
    uint32_t apart = 0, together = slab_pages(s, largest, p->n);
    for (unsigned c = 0; c <= largest; c++)
        if (p->of_class[c]) apart += slab_pages(s, c, p->of_class[c]);
    p->pages = p->index_pages + (together <= apart ? together : apart);
    if (together > apart) return;
    memset(p->of_class, 0, sizeof p->of_class);
    memset(p->class, (int)largest, p->n);
    p->of_class[largest] = p->n;
}

static bool plan_make(const segment *s, const field_value *fields, uint32_t n, plan *p) {
    unsigned largest = 0;
    p->fields = fields;
    p->n = n;
    memset(p->of_class, 0, sizeof p->of_class);
    for (uint32_t i = 0; i < n; i++) {
        p->tags[i] = INDEX_TAG(key_hash(s, FIELD_SPACE, fields[i].field));
        draft d = field_draft(&fields[i], p->tags[i], 0);
        unsigned class = heap_class_for(s, block_image(&d, NULL));
        if (class == CLASS_RUN) return false;
        p->class[i] = (uint8_t)class;
        p->of_class[class]++;
        if (class > largest) largest = class;
    }
    p->index_pages = index_image_pages(s, p->tags, n, &p->index_depth);
    if (p->index_pages) plan_classes(s, p, largest);
    return p->index_pages != 0;
}

/* Writes the fields of one class into the image, from page `first` of the run at `run` on. */
static fr_status build_class(txn *t, uint32_t stripe, plan *p, unsigned class, uint64_t version, char *image, uint64_t run,
                             uint32_t first) {
    const segment *s = t->s;
    uint32_t per_page = s->l.class_blocks[class], size = s->g.page_size, done = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        if (p->class[i] != class) continue;
        uint64_t at = (uint64_t)(first + done / per_page) * size + heap_block_at(s, class, done % per_page);
        draft d = field_draft(&p->fields[i], p->tags[i], version);
        block_image(&d, image + at);
        p->slots[i] = SLOT_MAKE(p->tags[i], class, run + at);
        done++;
    }
    for (uint32_t page = 0; page * per_page < done; page++) {
        uint32_t used = done - page * per_page < per_page ? done - page * per_page : per_page;
        uint64_t at = (uint64_t)(first + page) * size;
        fr_status status = heap_adopt(t, stripe, class, run + at, used, image + at);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static fr_status build_image(txn *t, const key *k, plan *p, uint64_t version, char *image, uint64_t run, uint64_t *root) {
    uint32_t first = p->index_pages;
    for (unsigned c = 0; c < SIZE_CLASSES; c++) {
        if (p->of_class[c] == 0) continue;
        fr_status status = build_class(t, k->stripe, p, c, version, image, run, first);
        if (status != FR_OK) return status;
        first += slab_pages(t->s, c, p->of_class[c]);
    }
    *root = index_image(t->s, image, run, p->index_depth, p->slots, p->n);
    return FR_OK;
}

static fr_status build_planned(store *st, txn *t, const key *k, const found *f, plan *p, char *image, tree *tr) {
    uint64_t home = k->stripe | (tr->over ? OVER_BIT : 0);
    uint64_t run, root, slot, version = txn_version(t, k->stripe), expiry = f->exists ? f->expiry : NO_EXPIRY;
    size_t bytes = (size_t)p->pages * t->s->g.page_size;
    fr_status status = pool_take(t, p->pages, &run);
    if (status == FR_OK) status = build_image(t, k, p, version, image, run, &root);
    if (status != FR_OK) return status;
    fill(SEG_AT(t->s, run, void), image, bytes);
    status = header_write(t, k, expiry, (tree_body){.root = root, .count = p->n, .home = home}, version, &slot, tr);
    return status == FR_OK ? key_put(st, t, k, f, slot, expiry) : status;
}

fr_status tree_build(store *st, txn *t, const key *k, const found *f, const field_value *fields, uint32_t n, tree *tr,
                     bool *built) {
    uint32_t mark = txn_mark(t);
    *built = false;
    plan *p = n <= BUILD_MAX ? malloc(sizeof *p) : NULL;
    char *image = p && plan_make(t->s, fields, n, p) ? calloc(p->pages, t->s->g.page_size) : NULL;
    fr_status status = image ? build_planned(st, t, k, f, p, image, tr) : FR_OK;
    *built = image && status == FR_OK;
    free(image);
    free(p);
    if (status != FR_GROW) return status;
    txn_rollback(t, mark);
    return FR_OK;
}

/* --- walking ------------------------------------------------------------------------------------------------------ */

static fr_status field_give(txn *t, uint64_t slot, hash_visit each, void *ctx) {
    head h;
    value v;
    fr_status status = field_head(t, slot, &h);
    if (status == FR_OK) status = block_value(t, &h, &v);
    if (status != FR_OK) return status;
    status = each(ctx, (span){SEG_AT(t->s, h.off + block_name_at(h.meta), char), META_KLEN(h.meta)}, &v);
    /* A field may have begun the overlay after the header was read: what the journal said counts while it stands. */
    bool overlays = t->mode == TXN_READ && t->in.jstripe != NO_STRIPE;
    return FR_UNLIKELY(status == FR_OK && overlays) && !guard_holds(t->s, &t->in) ? FR_RETRY : status;
}

/* A walk over garbage is bounded but long: a reader asks now and then whether it has lost its race already. */
static bool walk_lost(txn *t, const tree *tr, uint64_t version, uint32_t quads) {
    return t->mode == TXN_READ && quads % RECHECK_QUADS == 0 && txn_ld(t, tr->off) != version;
}

fr_status tree_visit(txn *t, const tree *tr, uint64_t version, uint64_t *cursor, uint64_t count, hash_visit each,
                     void *ctx) {
    uint64_t slots[QUAD_SLOTS], offs[QUAD_SLOTS], given = 0;
    for (uint32_t quads = 1; *cursor != UINT64_MAX && given < count; quads++) {
        if (walk_lost(t, tr, version, quads)) return FR_RETRY;
        index_walk(t, tr->body + BODY_ROOT, cursor, slots, offs);
        for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
            if (slots[i] == 0) continue;
            fr_status status = field_give(t, slots[i], each, ctx);
            if (status != FR_OK) return status;
            given++;
        }
    }
    return FR_OK;
}

static uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    return x ^ x >> 33;
}

/* Any slot of any quad, again and again until one is taken: every field is as likely as every other while the index is
 * evenly filled, which hashing sees to. */
fr_status tree_random(txn *t, const tree *tr, uint64_t seed, hash_visit each, void *ctx) {
    for (uint32_t i = 0; i < RANDOM_TRIES; i++) {
        probe p;
        uint64_t r = mix(seed + i * UINT64_C(0x9e3779b97f4a7c15));
        if (!index_probe(t, tr->body + BODY_ROOT, INDEX_TAG(r), &p)) break;
        uint64_t slot = txn_ld(t, p.quad + (r & (QUAD_SLOTS - 1)) * 8);
        /* a word that a split left behind is no field: its own tag leads elsewhere */
        probe own;
        if (slot && index_probe(t, tr->body + BODY_ROOT, SLOT_TAG(slot), &own) && own.quad == p.quad)
            return field_give(t, slot, each, ctx);
    }
    uint64_t cursor = 0, slots[QUAD_SLOTS], offs[QUAD_SLOTS];
    for (uint32_t quads = 1; cursor != UINT64_MAX && quads < UINT32_C(1) << 24; quads++) {
        index_walk(t, tr->body + BODY_ROOT, &cursor, slots, offs);
        for (uint32_t i = 0; i < QUAD_SLOTS; i++)
            if (slots[i]) return field_give(t, slots[i], each, ctx);
    }
    return txn_unbelievable(t, "a tree has no field");
}

/* --- copies and sizes --------------------------------------------------------------------------------------------- */

/* Parts of a value that lie in the segment: one, or one an extent. */
#define COPY_PARTS 256u

static fr_status value_parts(txn *t, const value *v, span parts[COPY_PARTS], size_t *n) {
    *n = 1;
    parts[0] = (span){v->p, v->n};
    if (v->p || v->kind != VALUE_BYTES) return FR_OK;
    uint64_t left = v->n, count = txn_ld(t, v->extents);
    for (*n = 0; left && *n < count && *n < COPY_PARTS; ++*n) {
        uint64_t word = txn_ld(t, v->extents + 8 + 8 * *n), bytes = (word >> 32) * t->s->g.page_size;
        uint64_t off = (word & UINT64_C(0xffffffff)) << 4, part = bytes < left ? bytes : left;
        if (!segment_holds(t->s, off, bytes)) return txn_unbelievable(t, "an extent lies outside the segment");
        parts[*n] = (span){SEG_AT(t->s, off, char), part};
        left -= part;
    }
    return left ? txn_unbelievable(t, "a value's extents are too short for it") : FR_OK;
}

static fr_status field_copy(txn *t, uint64_t slot, tree *to) {
    head h;
    value v;
    span parts[COPY_PARTS];
    draft d = {.kind = KIND_FIELD, .tag = SLOT_TAG(slot), .space = FIELD_SPACE, .parts = parts};
    fr_status status = field_head(t, slot, &h);
    if (status == FR_OK) status = block_value(t, &h, &v);
    if (status == FR_OK) status = value_parts(t, &v, parts, &d.part_count);
    if (status != FR_OK) return status;
    d.name = (span){SEG_AT(t->s, h.off + block_name_at(h.meta), char), META_KLEN(h.meta)};
    d.is_int = v.kind == VALUE_INT;
    d.i = d.is_int ? v.i : 0;
    uint64_t copy;
    status = block_write(t, to->home, &d, &copy);
    return status == FR_OK ? index_insert(t, to->body + BODY_ROOT, to->home, copy) : status;
}

fr_status tree_copy(txn *t, uint64_t off, uint64_t meta, const key *to, uint64_t expiry, uint64_t *slot) {
    tree from, copy;
    uint64_t slots[QUAD_SLOTS], offs[QUAD_SLOTS], cursor = 0;
    fr_status status = tree_open(t, NO_STRIPE, off, meta, &from);
    if (status == FR_OK) status = header_write(t, to, expiry, (tree_body){.home = to->stripe}, 0, slot, &copy);
    t->multi = true; /* its words follow the one that names it */
    while (status == FR_OK && cursor != UINT64_MAX) {
        index_walk(t, from.body + BODY_ROOT, &cursor, slots, offs);
        for (uint32_t i = 0; status == FR_OK && i < QUAD_SLOTS; i++)
            if (slots[i]) status = field_copy(t, slots[i], &copy);
    }
    if (status != FR_OK) return status;
    copy.count = from.count;
    copy.over = from.over;
    tree_close(t, &copy);
    return FR_OK;
}

bool tree_is_over(txn *t, uint64_t off, uint64_t meta) {
    return (txn_ld(t, off + block_body_at(meta) + BODY_HOME) & OVER_BIT) != 0;
}

uint64_t tree_memory(txn *t, uint64_t off, uint64_t meta) {
    tree tr;
    head h;
    uint64_t slots[QUAD_SLOTS], offs[QUAD_SLOTS], cursor = 0, bytes = 0, seen = 0;
    if (tree_read(t, off, meta, &tr) != FR_OK) return 0;
    for (uint32_t quads = 0; cursor != UINT64_MAX && seen < SAMPLE_FIELDS && quads < SAMPLE_FIELDS; quads++) {
        index_walk(t, tr.body + BODY_ROOT, &cursor, slots, offs);
        for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
            if (slots[i] == 0 || field_head(t, slots[i], &h) != FR_OK) continue;
            bytes += block_bytes(t, h.off, h.meta);
            if (META_FLAGS(h.meta) & FLAG_EXTENTS) bytes += META_VLEN(h.meta);
            seen++;
        }
    }
    return seen ? tr.count * (bytes / seen + 12) : 0; /* 12: a slot word at the index's mean load of 0.68 */
}

/* --- detaching and reclaim ---------------------------------------------------------------------------------------- */

static uint64_t trash_at(const segment *s, uint32_t stripe) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, trash);
}

/* A header lies in its key's stripe, which the key's name tells. All databases share one domain of the key hash. */
static uint32_t header_stripe(txn *t, uint64_t off, uint64_t meta) {
    span name = {SEG_AT(t->s, off + block_name_at(meta), char), META_KLEN(meta)};
    return key_stripe_of(t->s, key_hash(t->s, 0, name));
}

fr_status tree_detach(store *st, txn *t, uint64_t block, uint64_t slot) {
    (void)st;
    (void)slot;
    uint64_t meta = txn_ld(t, block + BLOCK_META), body = block + block_body_at(meta);
    uint64_t trash = trash_at(t->s, header_stripe(t, block, meta));
    txn_put(t, body + BODY_COUNT, 0);
    txn_put(t, body + BODY_NEXT, txn_ld(t, trash));
    txn_put(t, trash, block);
    t->multi = true;
    return FR_OK;
}

/* Frees fields from where the last call ended; whole quads, so up to 31 more than asked for. */
static fr_status free_fields(txn *t, const tree *tr, unsigned limit, unsigned *freed) {
    uint64_t slots[QUAD_SLOTS], offs[QUAD_SLOTS], cursor = tr->count;
    fr_status status = FR_OK;
    for (uint32_t quads = 0; cursor != UINT64_MAX && *freed < limit && quads < limit + QUAD_SLOTS; quads++) {
        index_walk(t, tr->body + BODY_ROOT, &cursor, slots, offs);
        for (uint32_t i = 0; status == FR_OK && i < QUAD_SLOTS; i++) {
            if (slots[i] == 0) continue;
            head h;
            if ((status = field_head(t, slots[i], &h)) != FR_OK) break;
            txn_put(t, offs[i], 0);
            status = block_release(t, tr->home, slots[i]);
            ++*freed;
        }
        if (status != FR_OK) return status;
    }
    txn_put(t, tr->body + BODY_COUNT, cursor);
    if (*freed == 0) *freed = 1; /* empty quads are progress too: callers stop at 0 */
    return FR_OK;
}

/* The last step: the index's pages, then the header itself. */
static fr_status free_rest(txn *t, const tree *tr, uint64_t meta, unsigned limit) {
    bool done;
    fr_status status = index_drop(t, tr->body + BODY_ROOT, limit, &done);
    if (status != FR_OK || !done) return status;
    uint64_t bytes = block_bytes(t, tr->off, meta);
    txn_put(t, trash_at(t->s, tr->stripe), txn_ld(t, tr->body + BODY_NEXT));
    return heap_free(t, tr->stripe, tr->off, heap_class_for(t->s, bytes), bytes);
}

fr_status tree_reclaim(store *st, txn *t, uint32_t stripe, unsigned limit, unsigned *freed) {
    tree tr;
    (void)st;
    *freed = 0;
    uint64_t block = txn_ld(t, trash_at(t->s, stripe));
    if (block == 0) return FR_OK;
    if (block % 16 || !segment_holds(t->s, block, 64))
        return txn_unbelievable(t, "the trash list leads outside the segment");
    uint64_t meta = txn_ld(t, block + BLOCK_META);
    if (META_KIND(meta) != KIND_TREE || !segment_holds(t->s, block, block_bytes(t, block, meta)))
        return txn_unbelievable(t, "the trash list names a block that is no tree");
    fr_status status = tree_open(t, stripe, block, meta, &tr);
    if (status != FR_OK) return status;
    if (tr.count != UINT64_MAX) return free_fields(t, &tr, limit, freed);
    *freed = 1;
    return free_rest(t, &tr, meta, limit);
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

typedef struct census {
    txn *t;
    heap_marks *m;
    uint64_t fields;
} census;

static fr_status census_field(void *ctx, uint64_t slot) {
    census *c = ctx;
    head h;
    fr_status status = field_head(c->t, slot, &h);
    if (status != FR_OK) return status;
    c->fields++;
    heap_mark(c->m, c->t->s, h.off, SLOT_CLASS(slot), block_bytes(c->t, h.off, h.meta));
    if (!(META_FLAGS(h.meta) & FLAG_EXTENTS)) return FR_OK;
    uint64_t body = h.off + block_body_at(h.meta), count = txn_ld(c->t, body);
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t word = txn_ld(c->t, body + 8 * i), off = (word & UINT64_C(0xffffffff)) << 4;
        uint64_t n = (word >> 32) * c->t->s->g.page_size;
        if (!segment_holds(c->t->s, off, n)) return txn_unbelievable(c->t, "an extent lies outside the segment");
        heap_mark(c->m, c->t->s, off, CLASS_RUN, n);
    }
    return FR_OK;
}

static fr_status count_fields(txn *t, const tree *tr, heap_marks *m, uint64_t *fields, fr_error *err) {
    census c = {t, m, 0};
    fr_status status = index_check(t->s, tr->body + BODY_ROOT, m, census_field, &c, err);
    *fields = c.fields;
    return status;
}

fr_status tree_check(txn *t, const head *h, uint32_t stripe, heap_marks *m, fr_error *err) {
    tree tr;
    uint64_t fields;
    fr_status status = tree_read(t, h->off, h->meta, &tr);
    tr.stripe = stripe;
    if (status == FR_OK) status = count_fields(t, &tr, m, &fields, err);
    if (status != FR_OK) return status;
    if (fields == tr.count && fields > 0) return FR_OK;
    snprintf(err->text, sizeof err->text, "the tree at %llu counts %llu fields and has %llu",
             (unsigned long long)h->off, (unsigned long long)tr.count, (unsigned long long)fields);
    return err->status = FR_DAMAGED;
}

fr_status tree_check_trash(store *st, txn *t, uint32_t stripe, heap_marks *m, fr_error *err) {
    (void)st;
    uint64_t block = txn_ld(t, trash_at(t->s, stripe)), fields;
    for (uint64_t steps = 0; block; steps++) {
        tree tr;
        uint64_t meta = segment_holds(t->s, block, 64) && block % 16 == 0 ? txn_ld(t, block + BLOCK_META) : 0;
        if (META_KIND(meta) != KIND_TREE || steps > t->s->l.pages * 128) break;
        uint64_t bytes = block_bytes(t, block, meta);
        if (!segment_holds(t->s, block, bytes) || tree_read(t, block, meta, &tr) != FR_OK) break;
        heap_mark(m, t->s, block, heap_class_for(t->s, bytes), bytes);
        fr_status status = count_fields(t, &tr, m, &fields, err);
        if (status != FR_OK) return status;
        block = txn_ld(t, tr.body + BODY_NEXT);
    }
    if (block == 0) return FR_OK;
    snprintf(err->text, sizeof err->text, "the trash list of stripe %u leads to %llu, which is no tree", stripe,
             (unsigned long long)block);
    return err->status = FR_DAMAGED;
}
