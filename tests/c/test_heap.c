/* test_heap.c - size classes, blocks, partial lists, the page pool, trimming: against a model of what is in use. */
#include "store_fixture.h"

#define BLOCKS 3000

typedef struct block_of {
    uint64_t off;
    unsigned class;
    size_t n;
} block_of;

static store *fresh(void) {
    geometry g = layout_default(16u << 20);
    g.stripes = 2;
    return store_with(&g);
}

static void every_length_has_its_class(void) {
    store *st = fresh();
    for (size_t n = 1; n < 5000; n++) {
        unsigned c = heap_class_for(st->s, n);
        if (c == CLASS_RUN) {
            CHECK(n > 2016);
            continue;
        }
        CHECK(heap_class_size(st->s, c) >= n && (c == 0 || heap_class_size(st->s, c - 1) < n));
    }
    close_sound(st);
}

static void begin(store *st, txn *t) {
    txn_init(t, st->s, &last_error);
    CHECK_STATUS(txn_begin_one(t, NOW, NOW + 200, 0), FR_OK);
}

static bool apart(const block_of *a, size_t n, const block_of *b) {
    for (size_t i = 0; i < n; i++) {
        if (a[i].off && a[i].off < b->off + b->n && b->off < a[i].off + a[i].n) return false;
    }
    return true;
}

/* Thousands of takes and gives in random order; no two blocks overlap, and the bitmaps say exactly what is in use. */
static void blocks_never_overlap(void) {
    store *st = fresh();
    static block_of held[BLOCKS];
    size_t top = 0;
    uint32_t r = 7;
    memset(held, 0, sizeof held);
    for (int step = 0; step < 6000; step++) {
        txn t;
        begin(st, &t);
        r = r * 1664525 + 1013904223;
        size_t i = (r >> 8) % BLOCKS;
        if (held[i].off) {
            CHECK_STATUS(heap_free(&t, 0, held[i].off, held[i].class, held[i].n), FR_OK);
            CHECK_STATUS(txn_commit(&t), FR_OK);
            held[i].off = 0;
        } else {
            block_of b = {0, 0, 1 + (r >> 16) % (step % 50 ? 700 : 9000)};
            CHECK_STATUS(heap_alloc(&t, 0, b.n, &b.off, &b.class), FR_OK);
            CHECK(step % 64 || apart(held, top, &b));
            CHECK_STATUS(txn_commit(&t), FR_OK);
            held[i] = b;
            if (i >= top) top = i + 1;
        }
        txn_end(&t);
    }
    heap_marks m;
    CHECK(heap_marks_init(&m, st->s));
    for (size_t i = 0; i < BLOCKS; i++) {
        if (held[i].off) heap_mark(&m, st->s, held[i].off, held[i].class, held[i].n);
    }
    CHECK_STATUS(heap_check(st->s, &m, &last_error), FR_OK);
    heap_marks_free(&m);
    store_close(st);
}

static void a_block_freed_is_not_taken_again_before_commit(void) {
    store *st = fresh();
    txn t;
    uint64_t a, b;
    unsigned class;
    begin(st, &t);
    CHECK_STATUS(heap_alloc(&t, 0, 64, &a, &class), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    begin(st, &t);
    CHECK_STATUS(heap_free(&t, 0, a, class, 64), FR_OK);
    for (int i = 0; i < 200; i++) {
        CHECK_STATUS(heap_alloc(&t, 0, 64, &b, &class), FR_OK);
        CHECK(b != a);
    }
    txn_abort(&t);
    txn_end(&t);
    store_close(st);
}

static void an_abort_leaves_nothing(void) {
    store *st = fresh();
    txn t;
    uint64_t off, used = pages_used(st);
    unsigned class;
    begin(st, &t);
    for (int i = 0; i < 500; i++) CHECK_STATUS(heap_alloc(&t, 0, 40 + i, &off, &class), FR_OK);
    CHECK_STATUS(pool_take(&t, 100, &off), FR_OK);
    txn_abort(&t);
    txn_end(&t);
    CHECK(pages_used(st) == used);
    close_sound(st);
}

static void trimming_gives_free_pages_back(void) {
    store *st = fresh();
    char name[16];
    uint64_t empty = pages_used(st);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "k%d", i);
        op o = {.run = do_set, .name = name, .value = text_of("some value of some length")};
        CHECK_STATUS(write_op(st, &o), FR_OK);
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "k%d", i);
        CHECK(del(st, name));
    }
    uint64_t before = pages_used(st);
    unsigned n, sum = 0;
    for (uint32_t stripe = 0; stripe < 2; stripe++) {
        CHECK_STATUS(heap_trim(st->s, stripe, NOW, NOW + 200, 1000, &n, &last_error), FR_OK);
        sum += n;
    }
    CHECK(sum > 50 && pages_used(st) == before - sum && pages_used(st) >= empty);
    close_sound(st);
}

static void an_empty_pool_asks_for_growth(void) {
    store *st = fresh();
    txn t;
    uint64_t off, got;
    begin(st, &t);
    CHECK_STATUS(pool_take(&t, 1u << 20, &off), FR_GROW);
    CHECK_STATUS(pool_take_some(&t, 1u << 20, &off, &got), FR_OK);
    CHECK(got > 1000);
    CHECK_STATUS(pool_take(&t, 1, &off), FR_GROW);
    txn_abort(&t);
    txn_end(&t);
    close_sound(st);
}

static void fill_pool(txn *t) {
    uint64_t off, got;
    while (pool_take_some(t, 1u << 20, &off, &got) == FR_OK) {}
}

static void a_page_freed_is_not_taken_again_before_commit(void) {
    store *st = fresh();
    txn t;
    uint64_t page, off, got;
    begin(st, &t);
    CHECK_STATUS(pool_take(&t, 1, &page), FR_OK);
    fill_pool(&t);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    begin(st, &t);
    CHECK_STATUS(pool_give(&t, page, 1), FR_OK);
    while (pool_take_some(&t, 1, &off, &got) == FR_OK) CHECK(off != page); /* a few are kept for journals */
    txn_abort(&t);
    begin(st, &t);
    CHECK_STATUS(pool_give(&t, page, 1), FR_OK);
    uint64_t before = *SEG_AT(st->s, page, uint64_t);
    uint64_t records = 1, at = st->s->l.poolmap; /* one page more than what the journal finds, if not that one */
    for (uint64_t p = st->s->l.data; p < segment_super(st->s)->size; p += st->s->g.page_size)
        if (!pool_in_use(st->s, p)) records += (st->s->g.page_size - 16) / sizeof(record);
    while (t.n < records) txn_put(&t, at, txn_ld(&t, at));
    CHECK_STATUS(txn_commit(&t), FR_GROW);
    CHECK(*SEG_AT(st->s, page, uint64_t) == before); /* nor has a journal that spilled been there */
    begin(st, &t);
    CHECK_STATUS(pool_give(&t, page, 1), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    begin(st, &t);
    bool again = false;
    while (!again && pool_take_some(&t, 1, &off, &got) == FR_OK) again = off == page;
    CHECK(again);
    txn_abort(&t);
    txn_end(&t);
    store_close(st);
}

/* The bitmap of a page has two words: 32-byte blocks use 126 bits of them. */
#define SMALL 126u
static void both_halves_of_a_page_count(void) {
    store *st = fresh();
    txn t;
    uint64_t off[SMALL + 1], used;
    unsigned class, n;
    begin(st, &t);
    CHECK_STATUS(heap_alloc(&t, 0, 32, &off[0], &class), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    used = pages_used(st);
    begin(st, &t);
    for (unsigned i = 1; i < SMALL; i++) CHECK_STATUS(heap_alloc(&t, 0, 32, &off[i], &class), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    CHECK(st->s->l.class_blocks[class] == SMALL && pages_used(st) == used); /* all in one page */
    begin(st, &t);
    CHECK_STATUS(heap_alloc(&t, 0, 32, &off[SMALL], &class), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    CHECK(pages_used(st) == used + 1);
    begin(st, &t);
    for (unsigned i = 0; i < 64; i++) CHECK_STATUS(heap_free(&t, 0, off[i], class, 32), FR_OK);
    CHECK_STATUS(heap_free(&t, 0, off[SMALL], class, 32), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    CHECK_STATUS(heap_trim(st->s, 0, NOW, NOW + 200, 100, &n, &last_error), FR_OK);
    CHECK(n == 1 && pages_used(st) == used); /* the page whose second half is in use stays */
    begin(st, &t);
    for (unsigned i = 64; i < SMALL; i++) CHECK_STATUS(heap_free(&t, 0, off[i], class, 32), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    CHECK_STATUS(heap_trim(st->s, 0, NOW, NOW + 200, 100, &n, &last_error), FR_OK);
    CHECK(n == 1 && pages_used(st) == used - 1);
    close_sound(st);
}

static void what_is_no_block_is_not_freed(void) {
    store *st = fresh();
    txn t;
    uint64_t off, other;
    unsigned class;
    begin(st, &t);
    CHECK_STATUS(heap_alloc(&t, 0, 48, &off, &class), FR_OK);
    CHECK_STATUS(heap_alloc(&t, 0, 48, &other, &class), FR_OK);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    begin(st, &t);
    CHECK_STATUS(heap_free(&t, 0, off + 16, class, 48), FR_DAMAGED);     /* the middle of one */
    CHECK_STATUS(heap_free(&t, 0, off, class + 1, 48), FR_DAMAGED);      /* of another size */
    CHECK_STATUS(heap_free(&t, 1, off, class, 48), FR_DAMAGED);          /* of another stripe */
    CHECK_STATUS(heap_free(&t, 0, other + 48, class, 48), FR_DAMAGED);   /* free */
    CHECK_STATUS(heap_free(&t, 0, off, class, 48), FR_OK);
    CHECK_STATUS(heap_free(&t, 0, off, class, 48), FR_DAMAGED);          /* by this very transaction */
    CHECK_STATUS(pool_give(&t, off, 1), FR_DAMAGED);
    txn_abort(&t);
    txn_end(&t);
    store_close(st);
}

/* A list that leads out of the segment, into another stripe's page, or to bytes that are none. */
static void a_list_of_pages_is_not_believed(void) {
    for (unsigned i = 0; i < 3; i++) {
        store *st = fresh();
        txn t;
        uint64_t off, page;
        unsigned class;
        begin(st, &t);
        CHECK_STATUS(heap_alloc(&t, 0, 48, &off, &class), FR_OK);
        CHECK_STATUS(pool_take(&t, 1, &page), FR_OK);
        CHECK_STATUS(txn_commit(&t), FR_OK);
        segment_stripe(st->s, 0)->partial[class] = i == 0 ? UINT64_C(1) << 50 : i == 1 ? page : off;
        begin(st, &t);
        CHECK_STATUS(heap_alloc(&t, 0, 48, &off, &class), FR_DAMAGED);
        txn_abort(&t);
        txn_end(&t);
        store_close(st);
    }
}

/* Ordinary takers leave some pages to the journals of those who give back; maxmemory binds the former only. */
static void what_shrinks_finds_pages_when_nothing_else_does(void) {
    store *st = fresh();
    txn t;
    uint64_t off, at = st->s->l.poolmap;
    begin(st, &t);
    fill_pool(&t);
    CHECK_STATUS(txn_commit(&t), FR_OK);
    begin(st, &t);
    CHECK_STATUS(pool_take(&t, 1, &off), FR_GROW);
    while (t.n < 5000) txn_put(&t, at, txn_ld(&t, at)); /* a journal of twenty pages */
    CHECK_STATUS(txn_commit(&t), FR_OK);
    begin(st, &t);
    t.shrinks = true;
    CHECK_STATUS(pool_take(&t, 1, &off), FR_OK);
    txn_abort(&t);
    txn_end(&t);
    store_close(st);
    st = fresh();
    segment_super(st->s)->shared_settings[SETTING_MAXMEMORY] = st->s->l.data + st->s->g.page_size;
    begin(st, &t);
    CHECK_STATUS(pool_take(&t, 2, &off), FR_GROW);
    t.shrinks = true;
    CHECK_STATUS(pool_take(&t, 2, &off), FR_OK);
    txn_abort(&t);
    txn_end(&t);
    close_sound(st);
}

int main(void) {
    RUN(both_halves_of_a_page_count);
    RUN(what_is_no_block_is_not_freed);
    RUN(a_list_of_pages_is_not_believed);
    RUN(what_shrinks_finds_pages_when_nothing_else_does);
    RUN(every_length_has_its_class);
    RUN(blocks_never_overlap);
    RUN(a_block_freed_is_not_taken_again_before_commit);
    RUN(a_page_freed_is_not_taken_again_before_commit);
    RUN(an_abort_leaves_nothing);
    RUN(trimming_gives_free_pages_back);
    RUN(an_empty_pool_asks_for_growth);
    return 0;
}
