/* heap.c - see heap.h. Sections: slab pages; lists of partial pages; the page pool; blocks; trimming; checks. */
#include "shm/heap.h"

#include <stdio.h>
#include <stdlib.h>

#define PAGE_MAGIC UINT64_C(0xf41d)
#define PAGE_NEXT 8u
#define PAGE_BITS 24u
#define PAGE_META(class, stripe, blocks)                                                                               \
    (PAGE_MAGIC | (uint64_t)(stripe) << 16 | (uint64_t)(class) << 32 | (uint64_t)(blocks) << 40)
#define PAGE_IS_SLAB(meta) (((meta) & 0xffff) == PAGE_MAGIC)
#define PAGE_STRIPE(meta) ((uint32_t)((meta) >> 16 & 0xffff))
#define PAGE_CLASS(meta) ((unsigned)((meta) >> 32 & 0xff))
#define PAGE_BLOCKS(meta) ((uint32_t)((meta) >> 40 & 0xff))

/* --- slab pages -------------------------------------------------------------------------------------------------- */

typedef struct page_bits {
    uint64_t word[2];
} page_bits;

static page_bits bits_of(uint32_t blocks) {
    page_bits all = {{blocks >= 64 ? UINT64_MAX : (UINT64_C(1) << blocks) - 1,
                      blocks > 64 ? (blocks >= 128 ? UINT64_MAX : (UINT64_C(1) << (blocks - 64)) - 1) : 0}};
    return all;
}

static page_bits view_bits(txn *t, uint64_t page) {
    return (page_bits){{txn_ld(t, page + PAGE_BITS), txn_ld(t, page + PAGE_BITS + 8)}};
}

static bool bits_full(page_bits used, uint32_t blocks) {
    page_bits all = bits_of(blocks);
    return used.word[0] == all.word[0] && used.word[1] == all.word[1];
}

static uint64_t page_of(const segment *s, uint64_t off) { return off & ~(uint64_t)(s->g.page_size - 1); }

/* A page that a list or a block offset led to: is it what it must be? */
static bool page_believable(segment *s, uint64_t page, uint32_t stripe, unsigned class) {
    if (page % s->g.page_size || !segment_holds(s, page, s->g.page_size)) return false;
    uint64_t meta = ld8(SEG_AT(s, page, uint64_t));
    return meta == PAGE_META(class, stripe, s->l.class_blocks[class]);
}

/* --- lists of partial pages ---------------------------------------------------------------------------------------- */

static uint64_t list_head_at(segment *s, uint32_t stripe, unsigned class) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, partial) + class * 8;
}

/* A neighbour that is about to be written to: none, or a page that belongs here. One that this transaction has just made
 * is believed too, its head is stored already. */
static fr_status list_neighbour(txn *t, uint32_t stripe, unsigned class, uint64_t page) {
    if (FR_LIKELY(page == 0 || page_believable(t->s, page, stripe, class))) return FR_OK;
    return txn_fail(t, FR_DAMAGED, "stripe %u: the list of pages of class %u leads to %llu", stripe, class,
                    (unsigned long long)page);
}

/* Takes a page off its list; `link` is the word that names it: the list's head, or the next word of the page before it. */
static fr_status list_unlink(txn *t, uint32_t stripe, unsigned class, uint64_t link, uint64_t page) {
    uint64_t next = txn_ld(t, page + PAGE_NEXT);
    fr_status status = list_neighbour(t, stripe, class, next);
    if (status == FR_OK) txn_put(t, link, next);
    return status;
}

/* A page that was full goes behind the first one: as the first it would be full again with the next block, and a hash or
 * table whose values are replaced in turn would take it off the list and put it back each time. */
static fr_status list_push_second(txn *t, uint32_t stripe, unsigned class, uint64_t page) {
    uint64_t link = list_head_at(t->s, stripe, class), first = txn_ld(t, link);
    fr_status status = list_neighbour(t, stripe, class, first);
    if (status != FR_OK) return status;
    if (first) link = first + PAGE_NEXT;
    txn_put(t, page + PAGE_NEXT, txn_ld(t, link));
    txn_put(t, link, page);
    return FR_OK;
}

/* --- the page pool ------------------------------------------------------------------------------------------------ */

static uint64_t pool_word_at(const segment *s, uint64_t page) { return s->l.poolmap + page / 64 * 8; }

/* Pages that the file has; never more than poolmap has bits for. */
uint64_t pool_size(segment *s) {
    uint64_t pages = ld8(&segment_super(s)->size) / s->g.page_size;
    return pages < s->l.pages ? pages : s->l.pages;
}

/* Bits that are in use, or were at any time in this transaction. */
static uint64_t pool_taken(txn *t, uint64_t page) {
    return txn_ever(t, pool_word_at(t->s, page));
}

/* Which runs a search is content with. */
enum pool_need {
    RUN_IN_A_WORD, /* of the length wanted and, if that is possible at all, within one word of poolmap: one store */
    RUN_ANYWHERE,  /* of the length wanted */
    RUN_LONGEST,   /* the longest there is, at most as long as wanted */
};

/* The first such run of free pages in [from, to); returns its length, 0 for none. */
static uint64_t pool_search(txn *t, uint64_t from, uint64_t to, uint64_t want, enum pool_need need, uint64_t *first) {
    uint64_t best = 0, run = 0;
    for (uint64_t page = from; page < to; page++) {
        uint64_t taken = pool_taken(t, page) >> (page & 63);
        if (need == RUN_IN_A_WORD && want <= 64 && (page & 63) == 0) run = 0;
        if (taken & 1) {
            if (taken == UINT64_MAX >> (page & 63)) page |= 63; /* the rest of the word is taken */
            run = 0;
            continue;
        }
        if (++run > best) {
            best = run;
            *first = page + 1 - run;
            if (best == want) return best;
        }
    }
    return need == RUN_LONGEST ? best : 0;
}

static void pool_mark(txn *t, uint64_t first, uint64_t pages, bool used) {
    for (uint64_t page = first; page < first + pages;) {
        uint64_t n = 64 - (page & 63), at = pool_word_at(t->s, page);
        if (n > first + pages - page) n = first + pages - page;
        uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1) << (page & 63), word = txn_ld(t, at);
        txn_put(t, at, used ? word | mask : word & ~mask);
        page += n;
    }
    uint64_t at = offsetof(superblock, pool_used), count = txn_ld(t, at);
    txn_put(t, at, used ? count + pages : count - pages);
}

/* Pages that only journals may use, so that a delete, however many records it takes, works in a full segment. */
static uint64_t spill_reserve(const segment *s) { return s->l.pages / 32 < 32 ? s->l.pages / 32 : 32; }

uint64_t pool_limit(segment *s) {
    uint64_t set = ld8(&segment_super(s)->shared_settings[SETTING_MAXMEMORY]) / s->g.page_size;
    return set && set < s->l.pages ? set : s->l.pages;
}

/* How many pages ordinary allocations may still take of what the file has. */
static uint64_t pool_left(txn *t) {
    uint64_t data = t->s->l.data / t->s->g.page_size, all = pool_size(t->s), limit = pool_limit(t->s);
    if (!t->shrinks && limit < all) all = limit;
    all = all > data ? all - data : 0;
    uint64_t taken = txn_ld(t, offsetof(superblock, pool_used)) + (t->shrinks ? 0 : spill_reserve(t->s));
    return taken < all ? all - taken : 0;
}

static fr_status pool_find(txn *t, uint64_t want, bool longest, uint64_t *off, uint64_t *got) {
    segment *s = t->s;
    fr_status status = txn_pool(t, POOL_LATCHES);
    if (status != FR_OK) return status;
    uint64_t low = s->l.data / s->g.page_size, end = pool_size(s), first = 0, left = pool_left(t);
    t->lacking = want;
    if (left == 0 || (want > left && !longest)) return FR_GROW;
    if (want > left) want = left;
    uint64_t hint = s->pool_hint < low || s->pool_hint >= end ? low : s->pool_hint;
    *got = pool_search(t, hint, end, want, RUN_IN_A_WORD, &first);
    if (*got < want) *got = pool_search(t, low, end, want, RUN_IN_A_WORD, &first);
    if (*got < want && want > 1) *got = pool_search(t, low, end, want, longest ? RUN_LONGEST : RUN_ANYWHERE, &first);
    if (*got == 0 || !segment_holds(s, first * s->g.page_size, *got * s->g.page_size)) return FR_GROW;
    pool_mark(t, first, *got, true);
    s->pool_hint = first + *got;
    *off = first * s->g.page_size;
    return FR_OK;
}

fr_status pool_take(txn *t, uint64_t pages, uint64_t *off) {
    uint64_t got;
    return pool_find(t, pages, false, off, &got);
}

fr_status pool_take_some(txn *t, uint64_t pages, uint64_t *off, uint64_t *got) { return pool_find(t, pages, true, off, got); }

fr_status pool_give(txn *t, uint64_t off, uint64_t pages) {
    uint64_t page_size = t->s->g.page_size;
    if (FR_UNLIKELY(off % page_size || pages > t->s->l.pages || !segment_holds(t->s, off, pages * page_size))) {
        return txn_fail(t, FR_DAMAGED, "%llu pages at %llu are no run", (unsigned long long)pages, (unsigned long long)off);
    }
    fr_status status = txn_pool(t, POOL_LATCHES);
    if (status != FR_OK) return status;
    pool_mark(t, off / t->s->g.page_size, pages, false);
    t->s->pool_hint = off / page_size;
    return FR_OK;
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

/* Nobody reaches the page before the commit: its own words are no records, only the one that names it is. */
fr_status heap_adopt(txn *t, uint32_t stripe, unsigned class, uint64_t page, uint32_t used, void *image) {
    uint64_t at = list_head_at(t->s, stripe, class), first = txn_ld(t, at);
    fr_status status = list_neighbour(t, stripe, class, first);
    if (status != FR_OK) return status;
    page_bits bits = bits_of(used);
    uint64_t head[PAGE_HEAD / 8] = {PAGE_META(class, stripe, t->s->l.class_blocks[class]), first, 0, bits.word[0], bits.word[1]};
    memcpy(image, head, sizeof head);
    if (used < t->s->l.class_blocks[class]) txn_put(t, at, page);
    return FR_OK;
}

/* A page for a class, with its first block taken. */
static fr_status page_make(txn *t, uint32_t stripe, unsigned class, uint64_t *page) {
    uint64_t head[PAGE_HEAD / 8];
    fr_status status = pool_take(t, 1, page);
    if (status == FR_OK) status = heap_adopt(t, stripe, class, *page, 1, head);
    if (status == FR_OK) fill(SEG_AT(t->s, *page, void), head, sizeof head);
    return status;
}

/* Takes block i of the page that `link` names. */
static fr_status block_take(txn *t, uint32_t stripe, unsigned class, uint64_t link, uint64_t page, uint32_t i, page_bits view) {
    uint32_t w = i / 64;
    view.word[w] |= UINT64_C(1) << (i & 63);
    txn_put(t, page + PAGE_BITS + w * 8, view.word[w]);
    return FR_UNLIKELY(bits_full(view, t->s->l.class_blocks[class])) ? list_unlink(t, stripe, class, link, page) : FR_OK;
}

/* A block of this page that is free and was free all through the transaction, or -1. */
static int block_pick(txn *t, uint64_t page, uint32_t blocks, page_bits *view) {
    page_bits all = bits_of(blocks);
    *view = view_bits(t, page);
    for (uint32_t w = 0; w < 2; w++) {
        uint64_t avail = all.word[w] & ~txn_ever(t, page + PAGE_BITS + w * 8);
        if (avail) return (int)(w * 64 + (uint32_t)__builtin_ctzll(avail));
    }
    return -1;
}

/* Pages ahead in the list can be full of blocks that this transaction freed; there are at most as many as it has records. */
static fr_status slab_alloc(txn *t, uint32_t stripe, unsigned class, uint64_t *off) {
    segment *s = t->s;
    uint32_t blocks = s->l.class_blocks[class];
    uint64_t link = list_head_at(s, stripe, class), page;
    page_bits view;
    for (uint32_t steps = 0; (page = txn_ld(t, link)) != 0; steps++) {
        if (steps > t->n + 1 || !page_believable(s, page, stripe, class)) {
            return txn_fail(t, FR_DAMAGED, "stripe %u: the list of pages of class %u leads to %llu", stripe, class,
                            (unsigned long long)page);
        }
        int i = block_pick(t, page, blocks, &view);
        if (i >= 0) {
            *off = page + heap_block_at(s, class, (uint32_t)i);
            return block_take(t, stripe, class, link, page, (uint32_t)i, view);
        }
        link = page + PAGE_NEXT;
    }
    fr_status status = page_make(t, stripe, class, &page);
    *off = page + PAGE_HEAD;
    return status;
}

static uint64_t run_pages(const segment *s, size_t n) { return (n + s->g.page_size - 1) / s->g.page_size; }

fr_status heap_alloc(txn *t, uint32_t stripe, size_t n, uint64_t *off, unsigned *class) {
    *class = heap_class_for(t->s, n);
    if (*class == CLASS_RUN) return pool_take(t, run_pages(t->s, n), off);
    return slab_alloc(t, stripe, *class, off);
}

static fr_status slab_free(txn *t, uint32_t stripe, uint64_t off, unsigned class) {
    segment *s = t->s;
    uint64_t page = page_of(s, off);
    uint32_t size = heap_class_size(s, class), at = (uint32_t)(off - page) - PAGE_HEAD;
    uint32_t i = (uint32_t)((uint64_t)at * s->l.class_inverse[class & (CLASS_CODES - 1)] >> 20);
    if (FR_UNLIKELY(!size || !page_believable(s, page, stripe, class) || i * size != at)) {
        return txn_fail(t, FR_DAMAGED, "stripe %u: %llu is no block of class %u", stripe, (unsigned long long)off, class);
    }
    page_bits view = view_bits(t, page);
    bool was_full = bits_full(view, s->l.class_blocks[class]);
    if (FR_UNLIKELY(!(view.word[i / 64] >> (i & 63) & 1))) {
        return txn_fail(t, FR_DAMAGED, "stripe %u: the block at %llu is free already", stripe, (unsigned long long)off);
    }
    txn_put(t, page + PAGE_BITS + i / 64 * 8, view.word[i / 64] & ~(UINT64_C(1) << (i & 63)));
    return was_full ? list_push_second(t, stripe, class, page) : FR_OK;
}

fr_status heap_free(txn *t, uint32_t stripe, uint64_t off, unsigned class, size_t n) {
    if (class == CLASS_RUN) return pool_give(t, off, run_pages(t->s, n));
    return slab_free(t, stripe, off, class);
}

/* --- trimming ----------------------------------------------------------------------------------------------------- */

/* Gives the free pages of one class back, up to *left. */
static fr_status trim_class(txn *t, uint32_t stripe, unsigned class, unsigned *left) {
    segment *s = t->s;
    uint64_t link = list_head_at(s, stripe, class), page;
    for (uint64_t steps = 0; (page = txn_ld(t, link)) != 0 && *left && steps < s->l.pages; steps++) {
        if (!page_believable(s, page, stripe, class)) return txn_fail(t, FR_DAMAGED, "stripe %u: broken page list", stripe);
        page_bits view = view_bits(t, page);
        if (view.word[0] || view.word[1]) {
            link = page + PAGE_NEXT;
            continue;
        }
        fr_status status = list_unlink(t, stripe, class, link, page);
        if (status == FR_OK) status = pool_give(t, page, 1);
        if (status != FR_OK) return status;
        --*left;
    }
    return FR_OK;
}

fr_status heap_trim(segment *s, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, unsigned limit,
                    unsigned *returned, fr_error *err) {
    txn t;
    txn_init(&t, s, err);
    *returned = 0;
    fr_status status = txn_begin_one(&t, now_ms, deadline_ms, stripe);
    if (status != FR_OK) return status;
    unsigned left = limit;
    for (unsigned c = 0; c < SIZE_CLASSES && left && status == FR_OK; c++) status = trim_class(&t, stripe, c, &left);
    if (status == FR_OK) status = txn_commit(&t);
    else txn_abort(&t);
    if (status == FR_OK) *returned = limit - left;
    txn_end(&t);
    return status;
}

bool heap_slab(segment *s, uint64_t page, slab *out) {
    uint64_t meta = ld8(SEG_AT(s, page, uint64_t));
    unsigned class = PAGE_CLASS(meta);
    *out = (slab){.stripe = PAGE_STRIPE(meta), .class = class, .size = heap_class_size(s, class),
                  .blocks = s->l.class_blocks[class & (CLASS_CODES - 1)],
                  .used = {ld8(SEG_AT(s, page + PAGE_BITS, uint64_t)), ld8(SEG_AT(s, page + PAGE_BITS + 8, uint64_t))}};
    return PAGE_IS_SLAB(meta) && class < CLASS_CODES && out->size && out->stripe < s->g.stripes && PAGE_BLOCKS(meta) == out->blocks;
}

bool pool_in_use(segment *s, uint64_t page) {
    uint64_t number = page / s->g.page_size;
    return segment_holds(s, page, s->g.page_size) && ld8(SEG_AT(s, pool_word_at(s, number), uint64_t)) >> (number & 63) & 1;
}

void heap_usage(segment *s, uint64_t *used, uint64_t *size) {
    *used = s->l.data + ld8(&segment_super(s)->pool_used) * s->g.page_size;
    *size = ld8(&segment_super(s)->size);
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

bool heap_marks_init(heap_marks *m, segment *s) {
    m->units = pool_size(s) * s->g.page_size / 16;
    m->doubles = 0;
    m->bits = calloc(m->units / 8 + 1, 1);
    return m->bits != NULL;
}

void heap_marks_free(heap_marks *m) { free(m->bits); }

static bool marked(const heap_marks *m, uint64_t off) {
    uint64_t u = off / 16;
    return u < m->units && (m->bits[u / 8] >> (u & 7) & 1);
}

static void mark_unit(heap_marks *m, uint64_t off) {
    uint64_t u = off / 16;
    if (u >= m->units) return;
    if (marked(m, off)) m->doubles++;
    m->bits[u / 8] |= (uint8_t)(1 << (u & 7));
}

/* One mark per slab block, one per page of a run. */
void heap_mark(heap_marks *m, segment *s, uint64_t off, unsigned class, size_t n) {
    if (class != CLASS_RUN) {
        mark_unit(m, off);
        return;
    }
    for (uint64_t i = 0; i < run_pages(s, n); i++) mark_unit(m, off + i * s->g.page_size);
}

static fr_status finding(fr_error *err, const char *what, uint64_t off) {
    snprintf(err->text, sizeof err->text, "%s at offset %llu", what, (unsigned long long)off);
    return err->status = FR_DAMAGED;
}

/* Which pages are on a partial list (invariant 2); none can be on it twice, for it would never end. */
static fr_status check_list(segment *s, uint32_t stripe, unsigned class, uint8_t *listed, fr_error *err) {
    uint64_t page = *SEG_AT(s, list_head_at(s, stripe, class), uint64_t);
    for (uint64_t steps = 0; page; steps++) {
        if (steps > s->l.pages || !page_believable(s, page, stripe, class)) return finding(err, "broken page list", page);
        listed[page / s->g.page_size] = 1;
        page = SEG_AT(s, page, uint64_t)[PAGE_NEXT / 8];
    }
    return FR_OK;
}

static fr_status check_slab(segment *s, uint64_t page, const heap_marks *m, const uint8_t *listed, fr_error *err) {
    const uint64_t *head = SEG_AT(s, page, uint64_t);
    unsigned class = PAGE_CLASS(head[0]);
    uint32_t size = heap_class_size(s, class), blocks = s->l.class_blocks[class & (CLASS_CODES - 1)];
    if (!size || PAGE_STRIPE(head[0]) >= s->g.stripes || PAGE_BLOCKS(head[0]) != blocks) {
        return finding(err, "slab page with an impossible head", page);
    }
    bool full = true;
    for (uint32_t i = 0; i < blocks; i++) {
        bool used = head[3 + i / 64] >> (i & 63) & 1, named = marked(m, page + PAGE_HEAD + i * size);
        if (used && !named) return finding(err, "block in use that nothing names", page + PAGE_HEAD + i * size);
        if (!used && named) return finding(err, "block named that is not in use", page + PAGE_HEAD + i * size);
        full &= used;
    }
    if (full == (bool)listed[page / s->g.page_size]) {
        return finding(err, full ? "full page on a partial list" : "page with free blocks on no list", page);
    }
    return FR_OK;
}

static bool pool_bit(segment *s, uint64_t page) {
    return *SEG_AT(s, pool_word_at(s, page), uint64_t) >> (page & 63) & 1;
}

/* A page in use is a marked run page or a slab page; a slab page's blocks never start at its offset 0, so a mark there
 * means a run. */
static fr_status check_pages(segment *s, const heap_marks *m, const uint8_t *listed, fr_error *err) {
    uint64_t used = 0;
    for (uint64_t page = s->l.data / s->g.page_size; page < s->l.pages; page++) {
        uint64_t off = page * s->g.page_size;
        bool in_use = pool_bit(s, page), run = marked(m, off);
        if (page >= pool_size(s) && in_use) return finding(err, "page in use beyond the file", off);
        if (run && !in_use) return finding(err, "run named that is not in use", off);
        if (!in_use && page < pool_size(s) && listed[page]) return finding(err, "free page on a list", off);
        used += in_use;
        if (!in_use || run) continue;
        if (!PAGE_IS_SLAB(*SEG_AT(s, off, uint64_t))) return finding(err, "page in use that nothing names", off);
        fr_status status = check_slab(s, off, m, listed, err);
        if (status != FR_OK) return status;
    }
    if (used != segment_super(s)->pool_used) return finding(err, "pool_used is wrong", used);
    return FR_OK;
}

fr_status heap_check(segment *s, const heap_marks *m, fr_error *err) {
    if (m->doubles) return finding(err, "blocks named twice", m->doubles);
    uint8_t *listed = calloc(s->l.pages + 1, 1);
    if (!listed) return err->status = FR_NOSPACE;
    fr_status status = FR_OK;
    for (uint32_t i = 0; i < s->g.stripes && status == FR_OK; i++) {
        for (unsigned c = 0; c < SIZE_CLASSES && status == FR_OK; c++) {
            if (heap_class_size(s, c)) status = check_list(s, i, c, listed, err);
        }
    }
    if (status == FR_OK) status = check_pages(s, m, listed, err);
    free(listed);
    return status;
}
