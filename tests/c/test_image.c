/* test_image.c - images of rows: N rows for a table of N, dead ones reclaimed, batches that reuse what they free. */
#include "table_fixture.h"

static void a_table_of_n_rows_takes_n_rows(void) {
    static const unsigned sizes[] = {1, 2, 15, 16, 63, 64, 65, 1000};
    for (unsigned i = 0; i < FR_COUNTOF(sizes); i++) {
        store *st = big_store();
        unsigned n = sizes[i];
        must_declare(st, "t", n, "a int64, b int64");
        fill_table(st, "t", 0, n);
        CHECK(info_of(st, "t").rows == n && info_of(st, "t").refused == 0);
        CHECK_STATUS(try_hset(st, "t:more", "a", SPAN_LIT("1")), FR_TABLEFULL);
        char says[64];
        snprintf(says, sizeof says, "table 't' is full: all of its %u rows", n);
        CHECK(error_says(says) && info_of(st, "t").refused == 1 && !exists(st, "t:more"));
        field_value fv[] = {{SPAN_LIT("a"), SPAN_LIT("8")}, {SPAN_LIT("b"), SPAN_LIT("9")}};
        op o = {.run = do_hset, .name = "t:k0", .fv = fv, .fv_count = 2}; /* replacing needs no free row */
        CHECK_STATUS(write_op(st, &o), FR_OK);
        CHECK(hget_is(st, "t:k0", "a", "8") && hget_is(st, "t:k0", "b", "9"));
        CHECK(del(st, "t:k0") && hset(st, "t:more", "a", "1") == 1);
        CHECK_STATUS(try_hset(st, "t:k0", "a", SPAN_LIT("1")), FR_TABLEFULL);
        close_sound(st);
    }
}

/* What says which images and pages are free changes under the latch of its pool. */
static struct {
    store *st;
    const table *tb;
    unsigned images, pages, unguarded;
} pools;

static void at_pools(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    segment *s = pools.st->s;
    uint64_t off = (uint64_t)((const uint8_t *)addr - s->base), words = (pools.tb->images + 63) / 64 * 8;
    (void)ctx, (void)n;
    if (kind != ACCESS_ST8) return;
    bool image = off >= pools.tb->bitmap_off && off < pools.tb->bitmap_off + words;
    bool page = off >= s->l.poolmap && off < s->l.poolmap + s->l.pages / 8;
    uint32_t latch = page ? segment_pool_latch(s) : s->g.stripes + table_pool(pools.tb);
    pools.images += image;
    pools.pages += page;
    if (image || page) pools.unguarded += ld4(&segment_stripe(s, latch)->latch) != s->me->word;
}

static void pools_change_under_their_latches(void) {
    static char bytes[9000];
    store *st = pools.st = big_store();
    must_declare(st, "t", 100, "n int32");
    pools.tb = table_find(st, text_of("t"));
    hset(st, "t:a", "n", "1");
    fr_hook = at_pools;
    op ops[] = {{.run = do_hset, .name = "t:b", .field = text_of("n"), .value = text_of("1")}, {.run = do_del, .name = "t:a"},
                {.run = do_set, .name = "k", .value = {bytes, sizeof bytes}}, {.run = do_del, .name = "k"}};
    for (size_t i = 0; i < FR_COUNTOF(ops); i++) CHECK_STATUS(write_one(st, &ops[i]), FR_OK);
    fr_hook = NULL;
    CHECK(pools.images == 2 && pools.pages >= 2 && pools.unguarded == 0);
    close_sound(st);
}

static void dead_rows_make_room(void) {
    store *st = big_store();
    must_declare(st, "t", 50, "a int64");
    fill_table(st, "t", 0, 50);
    for (unsigned i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "t:k%u", i);
        CHECK(expire(st, name, NOW + 100));
    }
    CHECK(info_of(st, "t").expires == 10);
    CHECK_STATUS(try_hset(st, "t:more", "a", SPAN_LIT("1")), FR_TABLEFULL);
    for (unsigned i = 0; i < 11; i++) {
        char name[16];
        snprintf(name, sizeof name, "t:m%u", i);
        op o = {.run = do_hset, .name = name, .field = SPAN_LIT("a"), .value = SPAN_LIT("1")};
        CHECK_STATUS(write_op_at(st, &o, NOW + 100), i < 10 ? FR_OK : FR_TABLEFULL);
    }
    CHECK(info_of(st, "t").expires == 0 && info_of(st, "t").rows == 50);
    close_sound(st);
}

static void an_expired_row_is_a_new_one(void) {
    store *st = big_store();
    must_declare(st, "t", 1, "a int64, b int64");
    hset(st, "t:k", "a", "1");
    hset(st, "t:k", "b", "2");
    CHECK(expire(st, "t:k", NOW + 100));
    op o = {.run = do_find, .name = "t:k"};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.flag && o.at == NOW + 100);
    o = (op){.run = do_hset, .name = "t:k", .field = SPAN_LIT("b"), .value = SPAN_LIT("9")};
    CHECK_STATUS(write_op_at(st, &o, NOW + 100), FR_OK);
    CHECK(o.count == 1 && hget_is(st, "t:k", "a", "0") && hget_is(st, "t:k", "b", "9") &&
          info_of(st, "t").expires == 0);
    close_sound(st);
}

/* Several commands in one transaction. */
typedef struct batch {
    op *ops;
    size_t n;
} batch;

static fr_status run_batch(store *st, txn *t, void *ctx) {
    batch *b = ctx;
    t->multi = true;
    for (size_t i = 0; i < b->n; i++) {
        fr_status status = run_op(st, t, &b->ops[i]);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static fr_status write_batch(store *st, op *ops, size_t n) {
    stripe_set all;
    store_all_stripes(st, &all);
    return store_write(st, NOW, UINT64_MAX, &all, run_batch, &(batch){ops, n}, &last_error);
}

static void batches_reuse_what_they_free(void) {
    store *st = big_store();
    must_declare(st, "t", 2, "a int64, b int64");
    hset(st, "t:x", "a", "1");
    hset(st, "t:y", "a", "2");
    field_value p[] = {{SPAN_LIT("a"), SPAN_LIT("10")}, {SPAN_LIT("b"), SPAN_LIT("11")}};
    field_value q[] = {{SPAN_LIT("a"), SPAN_LIT("20")}, {SPAN_LIT("b"), SPAN_LIT("21")}};
    op ops[] = {
        {.run = do_hset, .name = "t:x", .fv = p, .fv_count = 2},
        {.run = do_hset, .name = "t:y", .fv = q, .fv_count = 2},
        {.run = do_hset, .name = "t:x", .fv = q, .fv_count = 2},
        {.run = do_del, .name = "t:y"},
        {.run = do_hset, .name = "t:z", .fv = p, .fv_count = 2},
        {.run = do_hset, .name = "t:z", .fv = q, .fv_count = 2},
        {.run = do_hset, .name = "t:z", .field = SPAN_LIT("b"), .value = SPAN_LIT("30")},
        {.run = do_hget, .name = "t:z", .field = SPAN_LIT("b")},
    };
    CHECK_STATUS(write_batch(st, ops, FR_COUNTOF(ops)), FR_OK);
    CHECK(ops[7].flag && ops[7].text_n == 2 && memcmp(ops[7].text, "30", 2) == 0);
    CHECK(hget_is(st, "t:x", "a", "20") && hget_is(st, "t:x", "b", "21") && !exists(st, "t:y"));
    CHECK(hget_is(st, "t:z", "a", "20") && hget_is(st, "t:z", "b", "30") && info_of(st, "t").rows == 2);
    check_sound(st);
    op full[] = {{.run = do_del, .name = "t:x"}, {.run = do_hset, .name = "t:x", .fv = p, .fv_count = 2},
                 {.run = do_hset, .name = "t:w", .fv = p, .fv_count = 2}};
    CHECK_STATUS(write_batch(st, full, 3), FR_TABLEFULL);
    CHECK(hget_is(st, "t:x", "a", "20") && !exists(st, "t:w"));
    close_sound(st);
}

static void text_is_read_back_within_a_batch(void) {
    store *st = big_store();
    must_declare(st, "t", 20, "s str:6, l str:30, a int8");
    hset(st, "t:k", "s", "old");
    op ops[] = {
        {.run = do_hset, .name = "t:k", .field = SPAN_LIT("s"), .value = SPAN_LIT("new")},
        {.run = do_hget, .name = "t:k", .field = SPAN_LIT("s")},
        {.run = do_hset, .name = "t:k", .field = SPAN_LIT("l"), .value = SPAN_LIT("a text of several words")},
        {.run = do_hset, .name = "t:k", .field = SPAN_LIT("l"), .value = SPAN_LIT("another text of some words")},
        {.run = do_hget, .name = "t:k", .field = SPAN_LIT("l")}};
    CHECK_STATUS(write_batch(st, ops, FR_COUNTOF(ops)), FR_OK);
    CHECK(ops[1].text_n == 3 && memcmp(ops[1].text, "new", 3) == 0);
    CHECK(ops[4].text_n == 26 && memcmp(ops[4].text, "another text of some words", 26) == 0);
    close_sound(st);
}

int main(void) {
    fixture_unused();
    RUN(a_table_of_n_rows_takes_n_rows);
    RUN(pools_change_under_their_latches);
    RUN(dead_rows_make_room);
    RUN(an_expired_row_is_a_new_one);
    RUN(batches_reuse_what_they_free);
    RUN(text_is_read_back_within_a_batch);
    return 0;
}
