/* image.c - see image.h. Sections: scratch; heads and names; columns of an image; images; writing. Every image is
 * reached through one slot word; table.h says how it changes. A reader takes words by txn_ld, so that a commit under
 * way is seen whole; text is copied only then, and borrowed from the segment otherwise.
 */
#include "store/image.h"

#include <stdlib.h>

#include "shm/index.h"

#define NAME_AT 24u
#define SCRATCH_INLINE 2048u

/* --- scratch ------------------------------------------------------------------------------------------------------ */

/* Private copies of one row image. Rows are small as a rule; one of many long text columns moves to the process's heap.
 */
typedef struct scratch {
    char *p;
    uint64_t n;
    _Alignas(16) char room[SCRATCH_INLINE];
} scratch;

static _Thread_local scratch view_scratch, edit_scratch;

static char *scratch_for(scratch *sc, uint64_t n) {
    if (n <= SCRATCH_INLINE) return sc->room;
    if (n > sc->n) {
        char *p = realloc(sc->p, n);
        if (!p) return NULL;
        sc->p = p;
        sc->n = n;
    }
    return sc->p;
}

/* --- heads and names ---------------------------------------------------------------------------------------------- */

static bool image_of(const table *tb, uint64_t off) {
    if (!tb || off < tb->rows_off || (off - tb->rows_off) % tb->stride != 0) return false;
    return (off - tb->rows_off) / tb->stride < tb->images;
}

/* The table an image belongs to: by its space as a rule, by search for flushed and dropped ones. */
table *image_table(store *st, uint64_t off, uint32_t space) {
    uint64_t word = space < st->s->g.spaces ? ld8(SEG_AT(st->s, st->s->l.spaces, uint64_t) + space) : 0;
    uint32_t number = SPACE_NUMBER(word);
    if (FR_LIKELY(SPACE_KIND(word) == SPACE_TABLE && number < st->table_count && image_of(st->tables[number], off)))
        return st->tables[number];
    for (uint32_t i = 0; i < st->table_count; i++)
        if (image_of(st->tables[i], off)) return st->tables[i];
    return NULL;
}

fr_status image_unbelievable(txn *t, uint64_t off, const char *what) {
    if (t->mode == TXN_READ) return FR_RETRY;
    return txn_fail(t, FR_DAMAGED, "row image at %llu %s", (unsigned long long)off, what);
}

static fr_status even_version(txn *t, uint64_t off, uint64_t *version) {
    *version = txn_ld(t, off);
    if (FR_LIKELY(!(*version & 1))) return FR_OK;
    if (!txn_overlay(t, off)) return image_unbelievable(t, off, "has an odd version");
    *version = txn_ld(t, off);
    return *version & 1 ? FR_RETRY : FR_OK;
}

fr_status row_head(store *st, txn *t, uint64_t slot, head *h) {
    uint64_t off = SLOT_OFF(slot);
    if (FR_UNLIKELY(!segment_holds(t->s, off, ROW_COLUMNS_AT)))
        return image_unbelievable(t, off, "lies outside the segment");
    fr_status status = even_version(t, off, &h->version);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    h->off = off;
    h->meta = txn_ld(t, off + BLOCK_META);
    h->expiry = txn_ld(t, off + BLOCK_EXPIRY);
    if (FR_UNLIKELY(META_KIND(h->meta) != KIND_ROW || META_KLEN(h->meta) > KEY_MAX))
        return image_unbelievable(t, off, "is no row");
    if (FR_LIKELY(image_table(st, off, META_SPACE(h->meta)) != NULL)) return FR_OK;
    store_catalogue(st, t->err); /* a table that this process has not heard of */
    return image_table(st, off, META_SPACE(h->meta)) ? FR_OK : image_unbelievable(t, off, "is of no table");
}

/* The block that holds a name too long for the image. */
static fr_status long_name(txn *t, const head *h, head *name) {
    fr_status status = block_head(t, txn_ld(t, h->off + NAME_AT), name);
    if (status != FR_OK) return status;
    if (META_KIND(name->meta) == KIND_STRING && META_KLEN(name->meta) == META_KLEN(h->meta)) return FR_OK;
    return image_unbelievable(t, h->off, "has another name than its block");
}

static void inline_name(txn *t, const head *h, char buf[ROW_NAME_INLINE]) {
    for (uint32_t i = 0; i < META_KLEN(h->meta); i += 8) {
        uint64_t word = txn_ld(t, h->off + NAME_AT + i);
        memcpy(buf + i, &word, 8);
    }
}

bool row_named(store *st, txn *t, const head *h, span name) {
    char buf[ROW_NAME_INLINE];
    head block;
    (void)st;
    if (META_KLEN(h->meta) != name.n) return false;
    if (FR_UNLIKELY(name.n > ROW_NAME_INLINE)) return long_name(t, h, &block) == FR_OK && block_named(t, &block, name);
    inline_name(t, h, buf);
    return memcmp(buf, name.p, name.n) == 0;
}

fr_status row_name(store *st, txn *t, const head *h, char *buf, size_t *n) {
    char words[ROW_NAME_INLINE];
    head block;
    size_t length = META_KLEN(h->meta);
    (void)st;
    if (length > *n) return image_unbelievable(t, h->off, "has a longer name than expected");
    *n = length;
    if (length <= ROW_NAME_INLINE) {
        inline_name(t, h, words);
        memcpy(buf, words, length);
        return FR_OK;
    }
    fr_status status = long_name(t, h, &block);
    if (status != FR_OK) return status;
    memcpy(buf, SEG_AT(t->s, block.off + block_name_at(block.meta), char), length);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return FR_OK;
}

/* --- columns of an image ------------------------------------------------------------------------------------------ */

static uint64_t word_at(uint64_t image, const column *c) { return image + (c->offset & ~UINT64_C(7)); }

uint64_t image_bits(txn *t, uint64_t image, const column *c) {
    return column_from_word(c, txn_ld(t, word_at(image, c)));
}

/* Copies words [from, from + n) of an image as this transaction sees them. */
void image_copy(txn *t, uint64_t image, uint64_t from, uint64_t n, char *to) {
    if (FR_LIKELY(!t->bloom)) {
        copy_out(to, SEG_AT(t->s, image + from, char), n);
        return;
    }
    for (uint64_t i = 0; i < n; i += 8) {
        uint64_t word = txn_ld(t, image + from + i);
        memcpy(to + i, &word, 8);
    }
}

/* Text is borrowed from the segment, or from a copy at the same place of a private image, so that what was borrowed
 * before stays good. */
static fr_status text_value(txn *t, const table *tb, const column *c, uint64_t image, value *out) {
    uint16_t n = (uint16_t)txn_ld(t, image + c->offset);
    if (FR_UNLIKELY(n > c->size)) return image_unbelievable(t, image, "has a text longer than its column");
    *out = (value){.kind = VALUE_BYTES, .n = n, .p = SEG_AT(t->s, image + c->offset + 2, char)};
    if (FR_LIKELY(!t->bloom)) return FR_OK;
    char *copy = scratch_for(&view_scratch, tb->stride);
    if (!copy) return FR_NOSPACE;
    image_copy(t, image, c->offset, FR_ALIGN(2 + (uint64_t)n, 8), copy + c->offset);
    out->p = copy + c->offset + 2;
    return FR_OK;
}

fr_status image_value(txn *t, const table *tb, const column *c, uint64_t image, value *out) {
    if (column_is_text(c)) return text_value(t, tb, c, image, out);
    *out = column_value(c, image_bits(t, image, c));
    return FR_OK;
}

/* --- images ------------------------------------------------------------------------------------------------------- */

static void change_apply(const table *tb, const change *ch, char *image) {
    for (uint64_t rest = ch->mask; rest; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctzll(rest);
        column_put(&tb->schema.column[i], image, &ch->cell[i]);
    }
}

static uint64_t image_word(const char *image, uint64_t at) {
    uint64_t word;
    memcpy(&word, image + at, 8);
    return word;
}

void image_set_word(char *image, uint64_t at, uint64_t word) { memcpy(image + at, &word, 8); }

static uint64_t bitmap_at(const table *tb, uint64_t i) { return tb->bitmap_off + i / 64 * 8; }
static uint64_t image_number(const table *tb, uint64_t off) { return (off - tb->rows_off) / tb->stride; }
static uint64_t image_at(const table *tb, uint64_t i) { return tb->rows_off + i * tb->stride; }

static void bitmap_set(txn *t, const table *tb, uint64_t i, bool used) {
    uint64_t at = bitmap_at(tb, i), bit = UINT64_C(1) << (i & 63), word = txn_ld(t, at);
    if (used) txn_put_over(t, at, word | bit);
    else txn_put(t, at, word & ~bit);
}

/* A free image in bitmap word w: one that was free before this transaction too, or else (*clean false) one that it has
 * freed. False when there is none. */
static bool pick_in_word(txn *t, const table *tb, uint64_t w, bool clean, uint64_t *image) {
    uint64_t at = tb->bitmap_off + w * 8, used = txn_ld(t, at);
    if (clean) used = txn_ever(t, at);
    if (used == UINT64_MAX) return false;
    *image = w * 64 + (uint64_t)__builtin_ctzll(~used);
    return *image < tb->images;
}

static bool image_pick(txn *t, const table *tb, bool clean, uint64_t *image) {
    uint64_t words = (tb->images + 63) / 64, hint = __atomic_load_n(&tb->hint, __ATOMIC_RELAXED);
    for (uint64_t i = 0; i < words; i++) {
        uint64_t w = hint + i < words ? hint + i : hint + i - words;
        if (!pick_in_word(t, tb, w < words ? w : 0, clean, image)) continue;
        __atomic_store_n(&((table *)tb)->hint, w, __ATOMIC_RELAXED);
        return true;
    }
    return false;
}

/* Fills an image that nobody reaches: odd version first, the even one last. */
static void image_fill(txn *t, const table *tb, uint32_t stripe, uint64_t off, const char *image) {
    uint64_t version = txn_version(t, stripe);
    st8(SEG_AT(t->s, off, uint64_t), version | 1);
    fill(SEG_AT(t->s, off + BLOCK_META, char), image + BLOCK_META, tb->stride - BLOCK_META);
    st8(SEG_AT(t->s, off, uint64_t), version);
}

/* Changes an image that readers may be in to `image`, word by word. Several words of one image need readers to overlay.
 */
static void image_patch(txn *t, const table *tb, uint32_t stripe, uint64_t off, const char *image) {
    uint32_t changed = 0;
    block_bump(t, stripe, off);
    for (uint64_t at = BLOCK_META; at < tb->stride; at += 8) {
        uint64_t word = image_word(image, at);
        if (txn_ld(t, off + at) == word) continue;
        txn_put(t, off + at, word);
        changed++;
    }
    if (changed > 1) t->multi = true;
}

static bool differs_by_more_than_one(txn *t, const table *tb, uint64_t off, const char *image) {
    uint32_t changed = 0;
    for (uint64_t at = BLOCK_META; at < tb->stride && changed < 2; at += 8)
        changed += txn_ld(t, off + at) != image_word(image, at);
    return changed > 1;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static uint64_t root_at(const segment *s, uint32_t stripe) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, root);
}

void image_count_expiry(txn *t, const key *k, uint64_t before, uint64_t after) {
    int64_t step = (after != NO_EXPIRY) - (before != NO_EXPIRY);
    if (step) key_count(t, k->stripe, k->space, 0, step);
}

/* Gives a row that is there (or there, but expired: f->dead) the content of `image`. One word is changed in place; for
 * more the stripe's spare takes the new image, unless this transaction has already used it. */
fr_status image_replace(txn *t, const table *tb, const key *k, const found *f, const char *image) {
    uint64_t spare_at = tb->spares_off + 8 * (uint64_t)k->stripe, spare = txn_ld(t, spare_at);
    image_count_expiry(t, k, f->expiry, image_word(image, BLOCK_EXPIRY));
    key_changed(t, k);
    bool clean = spare == ld8(SEG_AT(t->s, spare_at, uint64_t));
    if (!clean || !differs_by_more_than_one(t, tb, f->off, image)) {
        image_patch(t, tb, k->stripe, f->off, image);
        return FR_OK;
    }
    if (spare >= tb->images) return txn_fail(t, FR_DAMAGED, "table '%s': stripe %u has no spare", tb->name, k->stripe);
    image_fill(t, tb, k->stripe, image_at(tb, spare), image);
    txn_put(t, f->slot_off, SLOT_MAKE(SLOT_TAG(f->slot), CLASS_ROW, image_at(tb, spare)));
    txn_put(t, spare_at, image_number(tb, f->off));
    return FR_OK;
}

static fr_status name_write(txn *t, const key *k, char *image) {
    if (k->name.n <= ROW_NAME_INLINE) {
        if (k->name.n) memcpy(image + NAME_AT, k->name.p, k->name.n);
        return FR_OK;
    }
    uint64_t slot;
    draft d = {.kind = KIND_STRING, .tag = 0, .space = k->space, .name = k->name};
    fr_status status = block_write(t, k->stripe, &d, &slot);
    if (status == FR_OK) image_set_word(image, NAME_AT, slot);
    return status;
}

/* Takes an image from the table's pool. Exact: row N + 1 is refused, and only that. */
static fr_status image_take(txn *t, const table *tb, uint64_t *image, bool *clean) {
    fr_status status = txn_pool(t, table_pool(tb));
    if (status != FR_OK) return status;
    uint64_t at = tb->descriptor + TABLE_ROWS, rows = txn_ld(t, at);
    if (rows >= tb->capacity) return table_is_full(t, tb);
    *clean = image_pick(t, tb, true, image);
    if (!*clean && !image_pick(t, tb, false, image))
        return txn_fail(t, FR_DAMAGED, "table '%s' counts fewer rows than its bitmap", tb->name);
    bitmap_set(t, tb, *image, true);
    txn_put_over(t, at, rows + 1);
    return FR_OK;
}

/* Makes a row of k that was not there. */
fr_status image_insert(txn *t, const table *tb, const key *k, char *image) {
    uint64_t number, expiry = image_word(image, BLOCK_EXPIRY);
    bool clean;
    fr_status status = image_take(t, tb, &number, &clean);
    if (status == FR_OK) status = name_write(t, k, image);
    if (status != FR_OK) return status;
    uint64_t off = image_at(tb, number);
    image_set_word(image, BLOCK_META, META_MAKE(KIND_ROW, 0, k->name.n, 0, k->space));
    if (clean) {
        image_fill(t, tb, k->stripe, off, image);
    } else { /* freed by an earlier command of this transaction: readers are in it until the commit */
        image_patch(t, tb, k->stripe, off, image);
        t->multi = true;
    }
    key_count(t, k->stripe, k->space, 1, expiry != NO_EXPIRY);
    key_changed(t, k);
    return index_insert(t, root_at(t->s, k->stripe), k->stripe, SLOT_MAKE(INDEX_TAG(k->hash), CLASS_ROW, off));
}

/* A private image for k: what is there, or, for a new or expired row, the name as it is and defaults for the rest. */
char *image_begin(txn *t, const table *tb, const found *f) {
    char *image = scratch_for(&edit_scratch, tb->stride);
    if (!image) return NULL;
    if (f->exists) {
        image_copy(t, f->off, 0, tb->stride, image);
        return image;
    }
    if (tb->blank) memcpy(image, tb->blank, tb->stride);
    else memset(image, 0, tb->stride);
    if (f->dead) image_copy(t, f->off, BLOCK_META, ROW_COLUMNS_AT - BLOCK_META, image + BLOCK_META);
    if (f->dead) image_set_word(image, BLOCK_EXPIRY, NO_EXPIRY);
    return image;
}

/* One number in place: the hot path, without a copy of the image. */
static void number_change(txn *t, const key *k, const column *c, uint64_t image, uint64_t bits) {
    uint64_t at = word_at(image, c);
    block_change(t, k->stripe, image, at, column_into_word(c, txn_ld(t, at), bits));
    key_changed(t, k);
}

fr_status image_write(txn *t, const table *tb, const key *k, const found *f, const change *ch) {
    if (f->exists && ch->mask && (ch->mask & (ch->mask - 1)) == 0) {
        unsigned i = (unsigned)__builtin_ctzll(ch->mask);
        const column *c = &tb->schema.column[i];
        if (!column_is_text(c)) {
            number_change(t, k, c, f->off, ch->cell[i].bits);
            return FR_OK;
        }
    }
    char *image = image_begin(t, tb, f);
    if (!image) return txn_fail(t, FR_NOSPACE, "no memory for a row of table '%s'", tb->name);
    change_apply(tb, ch, image);
    return f->exists || f->dead ? image_replace(t, tb, k, f, image) : image_insert(t, tb, k, image);
}

static fr_status release_name(txn *t, uint32_t stripe, const found *f) {
    head row = {.off = f->off, .meta = f->meta}, name;
    fr_status status = long_name(t, &row, &name);
    return status == FR_OK ? block_release(t, stripe, txn_ld(t, f->off + NAME_AT)) : status;
}

fr_status row_delete(store *st, txn *t, const key *k, const found *f) {
    const table *tb = image_table(st, f->off, META_SPACE(f->meta));
    if (!tb) return image_unbelievable(t, f->off, "is of no table");
    fr_status status = txn_pool(t, table_pool(tb));
    if (status == FR_OK && META_KLEN(f->meta) > ROW_NAME_INLINE)
        status = release_name(t, k->stripe, f);
    if (status != FR_OK) return status;
    uint64_t at = tb->descriptor + TABLE_ROWS, number = image_number(tb, f->off);
    txn_put(t, f->slot_off, 0);
    bitmap_set(t, tb, number, false);
    txn_put_over(t, at, txn_ld(t, at) - 1);
    key_count(t, k->stripe, META_SPACE(f->meta), -1, -(f->expiry != NO_EXPIRY));
    __atomic_store_n(&((table *)tb)->hint, number / 64, __ATOMIC_RELAXED);
    return FR_OK;
}
