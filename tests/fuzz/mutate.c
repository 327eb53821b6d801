/* mutate.c - see mutate.h. Sections: values; regions; words of the data area; dispatch. */
#include "mutate.h"

#include "shm/heap.h"
#include "store/owner.h"

/* --- values ------------------------------------------------------------------------------------------------------- */

static uint64_t *word_at(const image *im, uint64_t off) { return (uint64_t *)(im->bytes + (off & ~UINT64_C(7))); }

static uint64_t any_word(const image *im, dice *d) { return *word_at(im, dice_next(d) % im->g.max_size); }

/* A word of the data area that holds something. */
static uint64_t *used_word(const image *im, dice *d) {
    uint64_t *w = NULL;
    for (int i = 0; i < 64; i++) {
        w = word_at(im, im->l.data + dice_next(d) % (im->g.max_size - im->l.data));
        if (*w) break;
    }
    return w;
}

static uint64_t any_offset(const image *im, dice *d) {
    uint64_t max = im->g.max_size, page = im->g.page_size;
    switch (dice_below(d, 10)) {
    case 0: return dice_next(d) % max;
    case 1: return dice_next(d) % max & ~UINT64_C(7);
    case 2: return max - 8 * dice_below(d, 8);
    case 3: return max + 16 * dice_below(d, 64);
    case 4: return (UINT64_C(1) << 36) - 16 * (1 + dice_below(d, 16));
    case 5: return dice_next(d) % im->l.data & ~UINT64_C(15);
    case 6: return UINT64_MAX - dice_below(d, 64);
    case 7: return im->l.data + dice_next(d) % (max - im->l.data) / 16 * 16;
    default: return im->l.data + dice_next(d) % ((max - im->l.data) / page) * page;
    }
}

static uint64_t any_slot(const image *im, dice *d) {
    static const unsigned classes[] = {0, 1, 2, 3, 5, 8, 11, 14, 31, CLASS_ROW, CLASS_RUN};
    uint64_t old = *used_word(im, d), off = dice_one_in(d, 2) ? SLOT_OFF(old) : any_offset(im, d);
    unsigned class = dice_one_in(d, 2) ? SLOT_CLASS(old) : PICK(d, classes);
    return SLOT_MAKE(SLOT_TAG(old), class, off & ((UINT64_C(1) << 36) - 16));
}

static uint64_t any_meta(dice *d) {
    static const uint32_t lengths[] = {0, 1, 7, 8, 9, 40, 41, 64, 100, 400, 2000, 4096, 65535, 65536, 0x1ffff};
    uint64_t vlen = dice_one_in(d, 3) ? dice_next(d) & 0x3fffffff : PICK(d, lengths);
    return META_MAKE(dice_below(d, 8), dice_below(d, 16), PICK(d, lengths), vlen, dice_below(d, 30));
}

static uint64_t any_value(const image *im, dice *d, uint64_t old) {
    static const uint64_t odd[] = {0,
                                   1, 2, 3, 7, 8, 63, 64, 65, 255, 4095, 65535, 65536, UINT32_MAX, INT64_MAX,
                                   UINT64_MAX, UINT64_C(1) << 63,
                                   UINT64_C(1) << 32,
                                   0xffff};
    switch (dice_below(d, 12)) {
    case 0: return old ^ UINT64_C(1) << dice_below(d, 64);
    case 1: return old + (uint64_t)(int64_t)((int)dice_below(d, 9) - 4);
    case 2: return dice_next(d);
    case 3: return any_word(im, d);
    case 4: return any_slot(im, d);
    case 5: return any_meta(d);
    case 6: return any_offset(im, d) << 3 | dice_below(d, 8);
    case 7: return (uint64_t)dice_below(d, 300) << 32 | any_offset(im, d) >> 4; /* an extent */
    case 8:
    case 9: return any_offset(im, d);
    case 10: return old & 0xffffffff ? (old & ~UINT64_C(0xffffffff)) | dice_below(d, 4096) : dice_below(d, 4096);
    default: return PICK(d, odd);
    }
}

static void change(const image *im, dice *d, uint64_t *w) { *w = any_value(im, d, *w); }

/* --- regions ------------------------------------------------------------------------------------------------------ */

static void change_superblock(const image *im, dice *d) {
    superblock *sb = (superblock *)im->bytes;
    uint64_t *const words[] = {&sb->size,
                               &sb->db[dice_below(d, DATABASES + 1)],
                               &sb->pool_used,
                               &sb->catalogue_version,
                               &sb->shared_settings[dice_below(d, 8)],
                               &sb->counter_epoch, &sb->wall_offset_ms, &sb->settings_version, &sb->doorbells,
                               &sb->damaged,
                           };
    change(im, d, PICK(d, words));
}

static void change_proc(const image *im, dice *d) {
    proc *p = (proc *)(im->bytes + im->l.procs) + dice_below(d, im->g.slots);
    if (dice_one_in(d, 2)) p->state = (uint64_t)dice_below(d, 4) << 2 | dice_below(d, 4);
    else ((uint64_t *)p)[dice_below(d, sizeof *p / 8)] = any_value(im, d, p->state);
}

static stripe *any_stripe(const image *im, dice *d) {
    uint32_t i = dice_one_in(d, 4) ? dice_below(d, im->l.latch_count) : dice_below(d, im->g.stripes);
    return (stripe *)(im->bytes + im->l.latches + i * im->l.stripe_bytes);
}

static void change_latch(const image *im, dice *d) {
    stripe *st = any_stripe(im, d);
    uint32_t slot = dice_below(d, im->g.slots + 1), gen = dice_below(d, 3);
    st->latch =
        dice_one_in(d, 6) ? (uint32_t)dice_next(d) : LATCH_WORD(slot, gen) | (dice_one_in(d, 3) ? LATCH_WAITER : 0);
}

/* A journal that a dead process is said to have committed; the words it names may be anything. */
static void change_journal(const image *im, dice *d) {
    stripe *st = any_stripe(im, d);
    uint32_t n = dice_one_in(d, 4) ? dice_below(d, 0x10000) : dice_below(d, im->g.journal_records + 2);
    bool spilled = dice_one_in(d, 3);
    st->latch = LATCH_WORD(1, 1);
    for (uint32_t i = 0; i < im->g.journal_records && dice_below(d, 8); i++) {
        st->journal[i].target = (any_offset(im, d) & ~UINT64_C(7)) | dice_below(d, dice_one_in(d, 8) ? 8 : 3);
        st->journal[i].value = any_value(im, d, st->journal[i].value);
    }
    if (spilled) {
        st->jspill = any_offset(im, d);
        st->jcount = dice_one_in(d, 3) ? any_value(im, d, n) : dice_below(d, 400);
        if (st->jspill < im->g.max_size) *word_at(im, st->jspill) = dice_one_in(d, 2) ? st->jspill : any_offset(im, d);
    }
    st->jstate = (st->jstate & ~UINT64_C(0xffff)) | (spilled ? JOURNAL_SPILLED : n);
}

static void change_stripe(const image *im, dice *d) {
    stripe *st = any_stripe(im, d);
    uint64_t *const words[] = {&st->clock,
                               &st->jstate, &st->jspill, &st->jcount, &st->intents, &st->trash, &st->sweep, &st->seq,
                               &st->coord, &st->root, &st->root,
                               &st->partial[dice_below(d, SIZE_CLASSES)],
                               &st->partial[dice_below(d, 8)],
                               &st->partial[dice_below(d, 8)],
                               &st->stamp[dice_below(d, STAMPS)],
                               &st->intent[dice_below(d, INTENTS)]};
    change(im, d, PICK(d, words));
}

static void change_table_word(const image *im, dice *d) {
    change(im, d, (uint64_t *)(im->bytes + im->l.tables) + dice_below(d, im->g.tables));
    if (dice_one_in(d, 2)) ((superblock *)im->bytes)->catalogue_version++;
}

static void change_between(const image *im, dice *d, uint64_t from, uint64_t to) {
    change(im, d, word_at(im, from + dice_next(d) % (to - from)));
}

static void change_bitmap(const image *im, dice *d) {
    uint64_t bit = dice_next(d) % im->l.pages;
    im->bytes[im->l.poolmap + bit / 8] ^= (uint8_t)(1u << bit % 8);
}

/* --- the data area ------------------------------------------------------------------------------------------------ */

static bool looks_like_slot(const image *im, uint64_t w) {
    return w >> 38 && SLOT_OFF(w) >= im->l.data && SLOT_OFF(w) < im->g.max_size;
}

static void change_slot(uint64_t *w, const image *im, dice *d) {
    switch (dice_below(d, 4)) {
    case 0: *w = SLOT_MAKE(SLOT_TAG(*w), dice_below(d, 64), SLOT_OFF(*w)); break;
    case 1: *w = (*w & ~UINT64_C(0xffffffff)) | (any_offset(im, d) >> 4 & 0xffffffff); break;
    case 2: *w ^= UINT64_C(1) << (38 + dice_below(d, 26)); break;
    default: *w = any_slot(im, d);
    }
}

static void change_meta(uint64_t *w, dice *d) {
    uint64_t other = any_meta(d), mask = 0;
    switch (dice_below(d, 6)) {
    case 0: mask = 7; break;
    case 1: mask = UINT64_C(15) << 3; break;
    case 2: mask = UINT64_C(0x1ffff) << 7; break;
    case 3: mask = UINT64_C(0x3fffffff) << 24; break;
    case 4: mask = UINT64_C(1023) << 54; break;
    default: mask = UINT64_MAX;
    }
    *w = (*w & ~mask) | (other & mask);
}

static void change_data(const image *im, dice *d) {
    uint64_t *w = used_word(im, d);
    bool slot = looks_like_slot(im, *w), meta = META_KIND(*w) >= KIND_STRING && META_KIND(*w) <= KIND_FIELD &&
                                                META_VLEN(*w) < 4096 && META_SPACE(*w) < im->g.spaces && *w > 128;
    if (slot && !dice_one_in(d, 4)) change_slot(w, im, d);
    else if (meta && !dice_one_in(d, 4)) change_meta(w, d);
    else if (dice_one_in(d, 4)) ((uint8_t *)w)[dice_below(d, 8)] = (uint8_t)dice_next(d);
    else change(im, d, w);
}

/* The block that a slot word names: its meta, or a word near its beginning. */
static void change_block(const image *im, dice *d) {
    for (int i = 0; i < 16; i++) {
        uint64_t w = *used_word(im, d), off = SLOT_OFF(w);
        if (!looks_like_slot(im, w) || off + 128 > im->g.max_size) continue;
        if (dice_one_in(d, 2)) change_meta(word_at(im, off + 8), d);
        else change(im, d, word_at(im, off + 8 * dice_below(d, 16)));
        return;
    }
    change_data(im, d);
}

static bool has_owners(const image *im, uint64_t w, uint64_t *trailer) {
    if (!looks_like_slot(im, w) || SLOT_OFF(w) + 128 > im->g.max_size) return false;
    uint64_t meta = *word_at(im, SLOT_OFF(w) + 8);
    *trailer = SLOT_OFF(w) + block_body_at(meta) + FR_ALIGN((uint64_t)META_VLEN(meta), 8);
    return META_KIND(meta) == KIND_STRING && META_FLAGS(meta) & FLAG_OWNER && *trailer + 8 + sizeof(owner) <= im->g.max_size;
}

/* A lock's or var's trailer: how many hold and wait, the limit, the role; or one of the owners. */
static void change_owners(const image *im, dice *d) {
    static const uint64_t odd[] = {0, 1, 2, 3, 255, 256, 257, 0x7fff, 0xffff};
    uint64_t at = 0, words = (im->g.max_size - im->l.data) / 8, from = dice_next(d) % words, i = 0;
    while (i < words && !has_owners(im, *word_at(im, im->l.data + (from + i) % words * 8), &at)) i++;
    if (i == words) return change_data(im, d);
    uint64_t *head = word_at(im, at), shift = 16 * dice_below(d, 4);
    owner *o = (owner *)(head + 1);
    switch (dice_below(d, 7)) {
    case 0:
    case 1:
    case 2: *head = (*head & ~(UINT64_C(0xffff) << shift)) | PICK(d, odd) << shift; break;
    case 3: o->token_n = (uint8_t)(dice_one_in(d, 2) ? dice_below(d, 256) : TOKEN_MAX + dice_below(d, 3)); break;
    case 4: o->identity = dice_one_in(d, 3) ? (uint32_t)dice_next(d) : LATCH_WORD(dice_below(d, im->g.slots + 2), dice_below(d, 3)); break;
    case 5: change(im, d, &((uint64_t *)o)[dice_below(d, sizeof *o / 8)]); break;
    default: change_meta(word_at(im, at - 8), d);
    }
}

/* The head of a page: of a slab, an index segment, a table's descriptor, a spill page. */
static void change_head(const image *im, dice *d) {
    uint64_t pages = (im->g.max_size - im->l.data) / im->g.page_size,
             page = im->l.data + dice_next(d) % pages * im->g.page_size;
    change(im, d, word_at(im, page + 8 * dice_below(d, dice_one_in(d, 3) ? 24 : 6)));
}

static void move_page(const image *im, dice *d) {
    uint64_t pages = (im->g.max_size - im->l.data) / im->g.page_size;
    uint8_t *data = im->bytes + im->l.data;
    memmove(data + dice_next(d) % pages * im->g.page_size, data + dice_next(d) % pages * im->g.page_size,
            im->g.page_size);
}

/* A table's descriptor, whose page its catalogue word names. */
static void change_descriptor(const image *im, dice *d) {
    uint64_t at = ((uint64_t *)(im->bytes + im->l.tables))[dice_below(d, im->g.tables)];
    if (at == 0 || at > im->g.max_size || at + 600 > im->g.max_size) return change_data(im, d);
    change(im, d, word_at(im, at + 8 * dice_below(d, dice_one_in(d, 2) ? 21 : 75)));
    if (dice_one_in(d, 2)) ((superblock *)im->bytes)->catalogue_version++;
}

/* --- dispatch ----------------------------------------------------------------------------------------------------- */

void mutate(const image *im, dice *d) {
    const layout *l = &im->l;
    switch (dice_below(d, 32)) {
    case 0: return change_superblock(im, d);
    case 1: return change_proc(im, d);
    case 2: return change_latch(im, d);
    case 3:
    case 4: return change_journal(im, d);
    case 5:
    case 6: return change_stripe(im, d);
    case 7: return change_between(im, d, l->spaces, l->counts);
    case 8: return change_between(im, d, l->counts, l->tables);
    case 9: return change_table_word(im, d);
    case 10: return change_bitmap(im, d);
    case 11: return change_between(im, d, l->stats, l->latches);
    case 12: return move_page(im, d);
    case 13:
    case 14: return change_descriptor(im, d);
    case 15:
    case 16:
    case 17: return change_head(im, d);
    case 18:
    case 19:
    case 20:
    case 21:
    case 22: return change_block(im, d);
    case 23:
    case 24: return change_owners(im, d);
    case 25: return change_between(im, d, l->notify, l->access);
    default: return change_data(im, d);
    }
}

void mutate_identity(const image *im, dice *d) {
    superblock *sb = (superblock *)im->bytes;
    uint32_t *numbers = &sb->g.page_size;
    switch (dice_below(d, 6)) {
    case 0: sb->magic ^= UINT64_C(1) << dice_below(d, 64); break;
    case 1: sb->g.max_size = any_value(im, d, sb->g.max_size); break;
    case 2: sb->version++; break;
    case 3: sb->layout_hash++; break;
    default: {
        uint32_t *n = &numbers[dice_below(d, 9)];
        *n = dice_one_in(d, 3) ? (uint32_t)dice_next(d) : dice_one_in(d, 2) ? *n * 2 : *n / 2;
    }
    }
    if (!dice_one_in(d, 8)) sb->checksum = layout_checksum(sb);
}
