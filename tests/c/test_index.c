/* test_index.c - the index under one root: insertion, splits, directory doubling, walking across splits, refusals, and what
 * readers find meanwhile. */
#include "store_fixture.h"

static void set(store *st, const char *name) {
    op o = {.run = do_set, .name = name, .value = text_of("v")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
}

static uint64_t depth_of(store *st, uint32_t stripe) { return segment_stripe(st->s, stripe)->root >> 32 & 63; }

static void grows_by_splits_and_keeps_every_key(void) {
    geometry g = layout_default(64u << 20);
    g.stripes = 1;
    store *st = store_with(&g);
    char name[24];
    uint64_t last = 0;
    unsigned doublings = 0;
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "key:%d", i);
        set(st, name);
        uint64_t depth = depth_of(st, 0);
        CHECK(depth == last || depth == last + 1);
        doublings += depth != last;
        last = depth;
    }
    CHECK(doublings >= 5);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "key:%d", i);
        CHECK(exists(st, name));
    }
    close_sound(st);
}

typedef struct collect {
    uint8_t *seen;
    unsigned total;
} collect;

static fr_status each(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    collect *c = ctx;
    char text[32] = {0};
    (void)kind, (void)expiry;
    CHECK(version % 2 == 0 && name.n < sizeof text);
    memcpy(text, name.p, name.n);
    if (text[0] == 'k') c->seen[atoi(text + 4)]++;
    c->total++;
    return FR_OK;
}

typedef struct scan_step {
    uint64_t cursor;
    collect *c;
} scan_step;

static fr_status scan(store *st, txn *t, void *ctx) {
    scan_step *s = ctx;
    return keyspace_scan(st, t, 0, NO_TABLE, &s->cursor, 10, each, s->c);
}

/* What was there from start to end is met, though the index splits under the cursor. */
static void a_cursor_survives_splits(void) {
    geometry g = layout_default(64u << 20);
    g.stripes = 2;
    store *st = store_with(&g);
    collect c = {calloc(2000, 1), 0};
    scan_step s = {0, &c};
    char name[24];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "key:%d", i);
        set(st, name);
    }
    int extra = 0;
    do {
        CHECK_STATUS(store_read(st, NOW, NULL, scan, &s, &last_error), FR_OK);
        for (int i = 0; i < 200 && extra < 20000; i++) {
            snprintf(name, sizeof name, "more:%d", extra++);
            set(st, name);
        }
    } while (s.cursor);
    for (int i = 0; i < 2000; i++) CHECK(c.seen[i] > 0);
    free(c.seen);
    close_sound(st);
}

/* Equal tags never part: after a quad of them the index says so, and nothing changed. */
static void equal_tags_are_refused_at_last(void) {
    geometry g = layout_default(64u << 20);
    store *st = store_with(&g);
    txn t;
    stripe_set all;
    store_all_stripes(st, &all);
    txn_init(&t, st->s, &last_error);
    uint64_t root = st->s->l.latches + offsetof(stripe, root), before = segment_stripe(st->s, 0)->root;
    CHECK_STATUS(txn_begin_one(&t, NOW, NOW + 200, 0), FR_OK);
    fr_status status = FR_OK;
    int n = 0;
    for (; n < 100 && status == FR_OK; n++) status = index_insert(&t, root, 0, SLOT_MAKE(12345, 0, 1024 + n * 32));
    CHECK_STATUS(status, FR_INDEXFULL);
    CHECK(n == QUAD_SLOTS + 1);
    txn_abort(&t);
    txn_end(&t);
    CHECK(segment_stripe(st->s, 0)->root == before);
    close_sound(st);
}

typedef struct present {
    const char *name;
    unsigned missing, looks;
} present;

static void look(store *st, void *ctx) {
    present *p = ctx;
    p->looks++;
    p->missing += !exists(st, p->name);
}

/* A reader at every store of the insertion that splits finds the key that was there before. */
static void readers_find_keys_while_a_segment_splits(void) {
    geometry g = layout_test();
    store *st = store_with(&g);
    char name[24];
    set(st, "steady");
    present p = {"steady", 0, 0};
    unsigned splits = 0;
    for (int i = 0; i < 150; i++) {
        uint64_t before = depth_of(st, 0) + depth_of(st, 1);
        snprintf(name, sizeof name, "k%d", i);
        op o = {.run = do_set, .name = name, .value = text_of("v")};
        interleaving w = {.st = st, .look = look, .ctx = &p};
        CHECK_STATUS(write_watched(&w, &o), FR_OK);
        splits += depth_of(st, 0) + depth_of(st, 1) != before;
    }
    CHECK(splits >= 2 && p.looks > 1000 && p.missing == 0);
    close_sound(st);
}

/* The same for directories that have outgrown their page and move, and for the keys of a tree, which has no seq of its own:
 * small pages, so that a few thousand keys are enough. */
static void readers_find_keys_while_a_directory_moves(void) {
    geometry g = layout_test();
    g.max_size = 4u << 20;
    store *st = store_with(&g);
    char name[24];
    set(st, "steady");
    present p = {"steady", 0, 0};
    for (int i = 0; i < 7000; i++) {
        snprintf(name, sizeof name, "k%d", i);
        op o = {.run = do_set, .name = name, .value = text_of("v")};
        interleaving w = {.st = st, .look = look, .ctx = &p};
        CHECK_STATUS(write_watched(&w, &o), FR_OK);
    }
    CHECK(depth_of(st, 0) > 6 && depth_of(st, 1) > 6 && p.missing == 0); /* 64 entries fill a page of 512 bytes */
    close_sound(st);
}

/* The same when a directory moves between a reader's look at the root and its look into the directory, and the page that it
 * was in has been given to somebody's value since: one that sends the reader to a leaf that is not the key's. */
static struct {
    store *st;
    stripe *home;
    const char *name; /* of the key that is set in between */
    uint32_t entry;   /* the reader's, in the directory */
    unsigned step, moves, overwritten;
} mover;

static char *name_in(store *st, uint32_t number, const char *prefix, unsigned *n) {
    static char name[24];
    key k;
    do {
        snprintf(name, sizeof name, "%s%u", prefix, (*n)++);
        CHECK_STATUS(key_route(st, 0, text_of(name), &k, &last_error), FR_OK);
    } while (k.stripe != number);
    return name;
}

/* Fills pages with values that are a forged directory, until the one at dir is among them. */
static void overwrite(store *st, uint64_t dir) {
    uint64_t value[56], forged = *SEG_AT(st->s, dir + 8 * (mover.entry ^ 1), uint64_t);
    for (size_t i = 0; i < FR_COUNTOF(value); i++) value[i] = forged;
    unsigned n = 0;
    for (int i = 0; i < 4000 && *SEG_AT(st->s, dir + 8 * mover.entry, uint64_t) != forged; i++) {
        op o = {.run = do_set, .name = name_in(st, 1, "fill", &n), .value = {(const char *)value, sizeof value}};
        CHECK_STATUS(write_one(st, &o), FR_OK);
    }
    mover.overwritten += *SEG_AT(st->s, dir + 8 * mover.entry, uint64_t) == forged;
}

static void move_behind_the_root(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)n;
    if (kind != ACCESS_LD8 || (mover.step == 0 && addr != &mover.home->root)) return;
    if (mover.step++ == 0) return; /* the root itself is still to be loaded */
    fr_hook = NULL;
    uint64_t before = mover.home->root;
    CHECK_STATUS(write_one(mover.st, &(op){.run = do_set, .name = mover.name, .value = text_of("v")}), FR_OK);
    if (((before ^ mover.home->root) & UINT32_MAX) == 0) return;
    mover.moves++;
    overwrite(mover.st, (before & UINT32_MAX) << 4);
}

static void a_reader_of_a_directory_that_has_moved_starts_over(void) {
    geometry g = layout_test();
    g.max_size = 4u << 20;
    mover.moves = mover.overwritten = 0;
    for (int round = 0; round < 4; round++) {
        store *st = store_with(&g);
        unsigned n = 0, names = 0;
        char steady[24];
        key k;
        do {
            strcpy(steady, name_in(st, 0, "steady", &names));
            CHECK_STATUS(key_route(st, 0, text_of(steady), &k, &last_error), FR_OK);
            mover.entry = INDEX_TAG(k.hash) >> INDEX_PLACE_BITS & 63;
        } while (mover.entry < 10 || mover.entry > 50); /* not where a value's block has its head */
        set(st, steady);
        mover.st = st;
        mover.home = segment_stripe(st->s, 0);
        for (unsigned i = 0; i < 4000 && depth_of(st, 0) < 7; i++) {
            mover.name = name_in(st, 0, "k", &n);
            mover.step = depth_of(st, 0) == 6 ? 0 : 2;
            if (mover.step) {
                CHECK_STATUS(write_one(st, &(op){.run = do_set, .name = mover.name, .value = text_of("v")}), FR_OK);
                continue;
            }
            fr_hook = move_behind_the_root;
            CHECK(exists(st, steady));
            fr_hook = NULL;
        }
        close_sound(st);
    }
    CHECK(mover.moves == 4 && mover.overwritten >= 3);
}

static void look_at_field(store *st, void *ctx) {
    present *p = ctx;
    op o = {.run = do_hget, .name = "h", .field = text_of(p->name)};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    p->looks++;
    p->missing += !o.flag;
}

static void readers_find_fields_while_a_tree_grows(void) {
    geometry g = layout_test();
    g.max_size = 4u << 20;
    store *st = store_with(&g);
    char field[24];
    hset(st, "h", "steady", "v");
    present p = {"steady", 0, 0};
    for (int i = 0; i < 7000; i++) {
        snprintf(field, sizeof field, "f%d", i);
        op o = {.run = do_hset, .name = "h", .field = text_of(field), .value = text_of("v")};
        interleaving w = {.st = st, .look = look_at_field, .ctx = &p};
        CHECK_STATUS(write_watched(&w, &o), FR_OK);
    }
    CHECK(hlen(st, "h") == 7001 && p.missing == 0 && p.looks > 70000);
    close_sound(st);
}

/* What a split leaves behind in the old segment is neither met by a walk nor in anybody's way. */
static void what_a_split_leaves_behind_is_no_key(void) {
    geometry g = layout_test();
    g.max_size = 4u << 20;
    store *st = store_with(&g);
    char name[24];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3000; i++) {
            snprintf(name, sizeof name, "key:%d", i);
            set(st, name);
        }
        collect c = {calloc(3000, 1), 0};
        scan_step s = {0, &c};
        do CHECK_STATUS(store_read(st, NOW, NULL, scan, &s, &last_error), FR_OK);
        while (s.cursor);
        CHECK(c.total == 3000);
        free(c.seen);
        for (int i = 0; i < 3000; i++) {
            snprintf(name, sizeof name, "key:%d", i);
            CHECK(del(st, name) && !exists(st, name));
        }
    }
    close_sound(st);
}

int main(void) {
    RUN(grows_by_splits_and_keeps_every_key);
    RUN(a_cursor_survives_splits);
    RUN(equal_tags_are_refused_at_last);
    RUN(readers_find_keys_while_a_segment_splits);
    RUN(readers_find_keys_while_a_directory_moves);
    RUN(a_reader_of_a_directory_that_has_moved_starts_over);
    RUN(readers_find_fields_while_a_tree_grows);
    RUN(what_a_split_leaves_behind_is_no_key);
    return 0;
}
