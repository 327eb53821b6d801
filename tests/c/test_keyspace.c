/* test_keyspace.c - keys whatever they hold: deletion, expiry, renames, copies, databases, counts, a random key. */
#include "store/room.h"
#include "store_fixture.h"

static fr_status do_get(store *st, txn *t, op *o) {
    fr_status status = str_get(st, t, &o->k, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}
static fr_status do_expire_if(store *st, txn *t, op *o) {
    return key_expire(st, t, &o->k, o->at, (unsigned)o->by, &o->flag);
}
static fr_status do_rename_nx(store *st, txn *t, op *o) { return key_rename(st, t, &o->k, &o->k2, true, &o->flag); }
static fr_status do_copy_keep(store *st, txn *t, op *o) { return key_copy(st, t, &o->k, &o->k2, false, &o->flag); }
static fr_status do_flush_db(store *st, txn *t, op *o) { return keyspace_flush(st, t, (int32_t)o->by); }
static fr_status do_swap(store *st, txn *t, op *o) { return keyspace_swap(st, t, (uint32_t)o->by, (uint32_t)o->at); }
static fr_status do_count(store *st, txn *t, op *o) {
    uint64_t expires;
    keyspace_count(st, t, (uint32_t)o->by, &o->size, &expires);
    o->at = expires;
    return FR_OK;
}

static void set(store *st, const char *name, const char *value) {
    op o = {.run = do_set, .name = name, .value = text_of(value)};
    CHECK_STATUS(write_op(st, &o), FR_OK);
}
static bool holds(store *st, const char *name, const char *want) {
    op o = {.run = do_get, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return want ? o.flag && o.text_n == strlen(want) && memcmp(o.text, want, o.text_n) == 0 : !o.flag;
}
static bool did(store *st, op o, fr_status want) {
    CHECK_STATUS(write_op(st, &o), want);
    return o.flag;
}
static uint64_t count(store *st, int64_t db) {
    op o = {.run = do_count, .name = "x", .by = db};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.size;
}

static void conditions_of_expire(void) {
    store *st = big_store();
    set(st, "k", "v");
    op e = {.run = do_expire_if, .name = "k"};
    struct {
        unsigned condition;
        uint64_t at;
        bool changes;
    } row[] = {{EXPIRE_XX, NOW + 50, false}, {EXPIRE_GT, NOW + 50, false}, {EXPIRE_LT, NOW + 90, true},
               {EXPIRE_NX, NOW + 50, false}, {EXPIRE_GT, NOW + 90, false},
               {EXPIRE_LT, NOW + 90, false}, {EXPIRE_GT, NOW + 80, false}, {EXPIRE_GT, NOW + 95, true},
               {EXPIRE_LT, NOW + 99, false}, {EXPIRE_XX, NOW + 60, true},  {0, NO_EXPIRY, true},
               {0, NO_EXPIRY, false},        {0, NOW - 1, true}};
    for (size_t i = 0; i < FR_COUNTOF(row); i++) {
        e.by = row[i].condition, e.at = row[i].at;
        CHECK_STATUS(write_op(st, &e), FR_OK);
        CHECK(e.flag == row[i].changes);
    }
    CHECK(holds(st, "k", NULL) && count(st, 0) == 0);
    close_sound(st);
}

static void renames_and_copies(void) {
    store *st = big_store();
    char long_value[5001];
    memset(long_value, 'x', 5000);
    long_value[5000] = 0;
    set(st, "a", "value");
    set(st, "n", "17");
    set(st, "big", long_value);
    CHECK(did(st, (op){.run = do_rename, .name = "a", .other = "b"}, FR_OK));
    CHECK(holds(st, "a", NULL) && holds(st, "b", "value"));
    CHECK(did(st, (op){.run = do_rename, .name = "n", .other = "b"}, FR_OK));
    CHECK(holds(st, "b", "17") && count(st, 0) == 2);
    CHECK(!did(st, (op){.run = do_rename_nx, .name = "b", .other = "big"}, FR_OK));
    did(st, (op){.run = do_rename, .name = "absent", .other = "z"}, FR_NOKEY);
    CHECK(did(st, (op){.run = do_copy, .name = "big", .other = "copy"}, FR_OK));
    op o = {.run = do_get, .name = "copy"};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.v.n == 5000 && count(st, 0) == 3);
    CHECK(!did(st, (op){.run = do_copy_keep, .name = "b", .other = "copy"}, FR_OK));
    did(st, (op){.run = do_copy, .name = "b", .other = "b"}, FR_SAMEKEY);
    hset(st, "h", "f", "v");
    CHECK(did(st, (op){.run = do_rename, .name = "h", .other = "h2"}, FR_OK));
    CHECK(hget_is(st, "h2", "f", "v") && !exists(st, "h"));
    close_sound(st);
}

/* A renamed tree keeps its fields where they are; only a small block moves (with, at most, a page of index and one of blocks in its new stripe). */
static void a_renamed_tree_moves_one_block(void) {
    store *st = big_store();
    char field[16];
    for (int i = 0; i < 2000; i++) {
        snprintf(field, sizeof field, "f%d", i);
        hset(st, "tree", field, "some value");
    }
    uint64_t before = pages_used(st);
    CHECK(did(st, (op){.run = do_rename, .name = "tree", .other = "moved"}, FR_OK));
    CHECK(pages_used(st) <= before + 3 && hlen(st, "moved") == 2000 && hget_is(st, "moved", "f1999", "some value"));
    CHECK(hset(st, "moved", "new", "x") == 1);
    CHECK(did(st, (op){.run = do_copy, .name = "moved", .other = "twin"}, FR_OK));
    CHECK(hlen(st, "twin") == 2001 && hdel(st, "twin", "f0") == 1 && hlen(st, "moved") == 2001);
    CHECK(del(st, "moved"));
    close_sound(st);
}

static void flush_and_swap(void) {
    store *st = big_store();
    char name[16];
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "k%d", i);
        set(st, name, "v");
    }
    CHECK(count(st, 0) == 500);
    did(st, (op){.run = do_swap, .name = "x", .by = 0, .at = 1}, FR_OK);
    CHECK(count(st, 0) == 0 && count(st, 1) == 500 && holds(st, "k1", NULL));
    for (uint32_t db = 0; db < DATABASES; db++) { /* what each space stands for went along */
        uint64_t space = segment_super(st->s)->db[db];
        CHECK(SEG_AT(st->s, st->s->l.spaces, uint64_t)[space] == SPACE_MAKE(SPACE_DB, db));
    }
    did(st, (op){.run = do_swap, .name = "x", .by = 1, .at = 0}, FR_OK);
    CHECK(holds(st, "k1", "v"));
    did(st, (op){.run = do_flush_db, .name = "x", .by = 0}, FR_OK);
    CHECK(count(st, 0) == 0 && holds(st, "k1", NULL));
    check_sound(st);
    set(st, "k1", "again"); /* takes the flushed block's slot */
    CHECK(holds(st, "k1", "again") && count(st, 0) == 1);
    uint64_t used = pages_used(st);
    unsigned freed = 0;
    for (int i = 0; i < 1000; i++) freed += store_tick(st, NOW, 1000);
    CHECK(freed == 499 && pages_used(st) <= used);
    CHECK(stat_sum(st->s, STAT_expired_keys) == 0); /* they were flushed */
    for (int i = 0; i < 3000; i++) { /* space ids come back */
        set(st, "k", "v");
        did(st, (op){.run = do_flush_db, .name = "x", .by = -1}, FR_OK);
    }
    CHECK(count(st, 0) == 0);
    close_sound(st);
}

static fr_status pick(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    unsigned *seen = ctx;
    char text[16] = {0};
    (void)kind, (void)expiry, (void)version;
    memcpy(text, name.p, name.n < 15 ? name.n : 15);
    seen[atoi(text + 1) % 100]++;
    return FR_OK;
}
static unsigned seen_keys[100];
static fr_status do_random(store *st, txn *t, op *o) { return keyspace_random(st, t, 0, (uint64_t)o->by, pick, seen_keys); }

static void a_random_key_can_be_any(void) {
    store *st = big_store();
    char name[16];
    unsigned met = 0;
    op r = {.run = do_random, .name = "x"};
    CHECK_STATUS(read_op(st, &r), FR_OK); /* none: no call */
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "k%d", i);
        set(st, name, "v");
    }
    for (int i = 0; i < 5000; i++) {
        r.by = i * 7919 + 1;
        CHECK_STATUS(read_op(st, &r), FR_OK);
    }
    for (int i = 0; i < 100; i++) met += seen_keys[i] > 0;
    CHECK(met > 90);
    close_sound(st);
}

/* More flushes than there are space ids: what is dead is reclaimed before a flush is refused. */
static void a_flush_never_runs_out_of_spaces(void) {
    geometry g = layout_default(8u << 20);
    store *st = store_with(&g);
    char name[16];
    for (uint32_t i = 0; i < 2 * g.spaces + 10; i++) {
        snprintf(name, sizeof name, "k%u", i);
        set(st, name, "v");
        did(st, (op){.run = do_flush, .name = "x"}, FR_OK);
    }
    CHECK(holds(st, name, NULL) && count(st, 0) == 0);
    close_sound(st);
}

/* A key that was routed before its prefix became a table: the write that gets the latch later is a row's. */
static key early;
static fr_status do_set_early(store *st, txn *t, op *o) {
    set_options plain = {.condition = SET_ALWAYS};
    set_result r;
    return str_set(st, t, &early, o->value, &plain, &r);
}
static void a_table_comes_between_route_and_latch(void) {
    store *st = big_store();
    schema sc = {0};
    table *tb;
    bool created;
    table_info info;
    CHECK_STATUS(key_route(st, 0, text_of("t:a"), &early, &last_error), FR_OK);
    CHECK_STATUS(schema_add(&sc, text_of("n"), text_of("str:8"), &last_error), FR_OK);
    CHECK_STATUS(table_declare(st, text_of("t"), 4, &sc, NOW, &tb, &created, &last_error), FR_OK);
    CHECK_STATUS(write_op(st, &(op){.run = do_set_early, .name = "x", .value = text_of("abc")}), FR_OK);
    table_measure(st, tb, &info);
    CHECK(info.rows == 1 && hget_is(st, "t:a", "n", "abc"));
    close_sound(st);
}

static void a_key_lives_to_its_last_millisecond(void) {
    store *st = big_store();
    stripe_set all;
    store_all_stripes(st, &all);
    set(st, "k", "v");
    CHECK(did(st, (op){.run = do_expire, .name = "k", .at = NOW + 10}, FR_OK));
    for (uint64_t now = NOW; now < NOW + 20; now++) {
        op o = {.run = do_find, .name = "k"};
        CHECK_STATUS(store_read(st, now, &all, run_op, &o, &last_error), FR_OK);
        CHECK(o.flag == (now < NOW + 10));
    }
    close_sound(st);
}
/* Two names of which the index sees the same: names are compared. A birthday away with 26 bits of tag and 6 of stripe. */
static int by_place(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a >> 32, y = *(const uint64_t *)b >> 32;
    return (x > y) - (x < y);
}
static void names_that_share_a_tag_are_two_keys(void) {
    enum { NAMES = 400000 };
    store *st = big_store();
    uint64_t *place = malloc(NAMES * sizeof *place);
    char name[2][24];
    key k;
    for (uint64_t i = 0; i < NAMES; i++) {
        snprintf(name[0], sizeof name[0], "n%llu", (unsigned long long)i);
        CHECK_STATUS(key_route(st, 0, text_of(name[0]), &k, &last_error), FR_OK);
        place[i] = ((uint64_t)INDEX_TAG(k.hash) ^ (uint64_t)k.stripe << 26) << 32 | i;
    }
    qsort(place, NAMES, sizeof *place, by_place);
    unsigned pairs = 0;
    for (uint64_t i = 1; i < NAMES && pairs < 3; i++) {
        if (place[i] >> 32 != place[i - 1] >> 32) continue;
        pairs++;
        for (uint64_t j = 0; j < 2; j++) {
            snprintf(name[j], sizeof name[j], "n%u", (uint32_t)place[i - j]);
            set(st, name[j], name[j]);
        }
        CHECK(holds(st, name[0], name[0]) && holds(st, name[1], name[1]));
        CHECK(did(st, (op){.run = do_del, .name = name[0]}, FR_OK));
        CHECK(holds(st, name[0], NULL) && holds(st, name[1], name[1]));
    }
    CHECK(pairs > 0);
    free(place);
    close_sound(st);
}
static void absence_has_a_version_that_never_comes_back(void) {
    store *st = big_store();
    uint64_t seen[4];
    for (int i = 0; i < 4; i++) {
        seen[i] = version_of(st, "k");
        for (int j = 0; j < i; j++) CHECK(seen[j] != seen[i]);
        set(st, "k", "v");
        CHECK(did(st, (op){.run = do_del, .name = "k"}, FR_OK));
    }
    close_sound(st);
}

static fr_status do_version(store *st, txn *t, op *o) { return key_version(st, t, &o->k, &o->size, &o->flag); }
static uint64_t version_at(store *st, uint64_t now) {
    op o = {.run = do_version, .name = "k"};
    CHECK_STATUS(store_read(st, now, NULL, run_op, &o, &last_error), FR_OK);
    CHECK(o.flag == (now < NOW + 10));
    return o.size;
}
static void an_expired_key_has_another_version(void) {
    store *st = big_store();
    set(st, "k", "v");
    CHECK(did(st, (op){.run = do_expire, .name = "k", .at = NOW + 10}, FR_OK));
    uint64_t alive = version_at(st, NOW), expired = version_at(st, NOW + 10);
    CHECK(alive == version_at(st, NOW + 9) && expired != alive);
    while (store_tick(st, NOW + 10, 1000)) {}
    uint64_t reclaimed = version_at(st, NOW + 10);
    CHECK(reclaimed != alive);
    close_sound(st);
}

static uint64_t expiry_of(store *st, const char *name) {
    op o = {.run = do_find, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.flag);
    return o.at;
}
static uint64_t expiring(store *st) {
    op o = {.run = do_count, .name = "x", .by = 0};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.at;
}

static void an_expiry_goes_where_its_key_goes(void) {
    store *st = big_store();
    char field[16];
    set(st, "s", "value");
    set(st, "n", "17");
    hset(st, "h", "f", "v");
    for (int i = 0; i < 2000; i++) {
        snprintf(field, sizeof field, "f%d", i);
        hset(st, "t", field, "some value");
    }
    const char *const names[] = {"s", "n", "h", "t"};
    for (size_t i = 0; i < FR_COUNTOF(names); i++) {
        CHECK(did(st, (op){.run = do_expire, .name = names[i], .at = NOW + 10 + i}, FR_OK));
        CHECK(expiring(st) == 1);
        CHECK(did(st, (op){.run = do_rename, .name = names[i], .other = names[i]}, FR_OK)); /* to itself */
        CHECK(did(st, (op){.run = do_rename, .name = names[i], .other = "moved"}, FR_OK));
        CHECK(expiry_of(st, "moved") == NOW + 10 + i && !exists(st, names[i]) && expiring(st) == 1);
        CHECK(did(st, (op){.run = do_copy, .name = "moved", .other = "twin"}, FR_OK));
        CHECK(expiry_of(st, "twin") == NOW + 10 + i && expiring(st) == 2);
        CHECK(did(st, (op){.run = do_expire, .name = "twin", .at = NO_EXPIRY}, FR_OK));
        CHECK(expiry_of(st, "twin") == NO_EXPIRY && expiring(st) == 1);
        CHECK(del(st, "moved") && expiring(st) == 0);
    }
    close_sound(st);
}

/* WATCH of an absent name: a key that was there meanwhile has changed it, wherever it went. */
static void a_rename_changes_what_is_absent(void) {
    store *st = big_store();
    char field[16];
    for (int tree = 0; tree < 2; tree++) {
        uint64_t before = version_of(st, "k");
        for (int i = 0; i < (tree ? 2000 : 1); i++) {
            snprintf(field, sizeof field, "f%d", i);
            hset(st, "k", field, "some value");
        }
        CHECK(did(st, (op){.run = do_rename, .name = "k", .other = "away"}, FR_OK));
        CHECK(version_of(st, "k") != before);
    }
    close_sound(st);
}

/* --- iteration -------------------------------------------------------------------------------------------------------- */

typedef struct walk {
    uint64_t cursor;
    uint8_t met[1000];
} walk;

static fr_status meet(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    char text[8] = {0};
    (void)kind, (void)expiry, (void)version;
    memcpy(text, name.p, name.n < 7 ? name.n : 7);
    ((walk *)ctx)->met[atoi(text + 1)]++;
    return FR_OK;
}
static fr_status do_scan(store *st, txn *t, void *ctx) {
    walk *w = ctx;
    return keyspace_scan(st, t, 0, NO_TABLE, &w->cursor, 10, meet, w);
}

static void a_scan_meets_the_living_of_every_stripe(void) {
    store *st = big_store();
    char name[8];
    walk w = {.cursor = 0};
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "k%d", i);
        set(st, name, "v");
        if (i % 10 == 0) CHECK(did(st, (op){.run = do_expire, .name = name, .at = NOW + 10}, FR_OK));
    }
    do {
        CHECK_STATUS(store_read(st, NOW + 10, NULL, do_scan, &w, &last_error), FR_OK);
    } while (w.cursor);
    for (int i = 0; i < 1000; i++) CHECK(w.met[i] == (i % 10 != 0));
    CHECK(room_reclaim_all(st, NOW + 9, NOW + 500, &last_error) == 0);
    CHECK(room_reclaim_all(st, NOW + 10, NOW + 500, &last_error) == 100); /* all in one pass */
    CHECK(count(st, 0) == 900 && stat_sum(st->s, STAT_expired_keys) == 100);
    for (int i = 0; i < 1000; i++) { /* now many in each quad: more than one transaction takes */
        snprintf(name, sizeof name, "k%d", i);
        if (i % 10) CHECK(did(st, (op){.run = do_expire, .name = name, .at = NOW + 20}, FR_OK));
    }
    CHECK(room_reclaim_all(st, NOW + 20, NOW + 500, &last_error) == 900 && count(st, 0) == 0);
    close_sound(st);
}

/* --- hashes and clocks ------------------------------------------------------------------------------------------------ */

static void every_byte_of_a_name_is_in_its_hash(void) {
    store *st = big_store();
    char name[100];
    for (size_t n = 1; n <= sizeof name; n++) {
        memset(name, 'a', sizeof name);
        uint64_t plain = key_hash(st->s, 0, (span){name, n});
        CHECK(plain != key_hash(st->s, 1, (span){name, n}) && plain != key_hash(st->s, 0, (span){name, n - 1}));
        for (size_t i = 0; i < n; i++) {
            name[i] ^= 1;
            CHECK(key_hash(st->s, 0, (span){name, n}) != plain);
            name[i] ^= 1;
        }
    }
    close_sound(st);
}

static void what_the_server_looks_up_is_no_hit(void) {
    store *st = big_store();
    CHECK_STATUS(segment_register(st->s, &last_error), FR_OK);
    txn t;
    key k;
    found f;
    txn_init(&t, st->s, &last_error);
    for (uint32_t db = 0; db < 2; db++) {
        CHECK_STATUS(key_route(st, db ? DB_SYSTEM : 0, text_of("absent"), &k, &last_error), FR_OK);
        txn_begin_read(&t, NOW);
        CHECK_STATUS(key_lookup(st, &t, &k, &f), FR_OK);
        CHECK_STATUS(txn_commit(&t), FR_OK);
        CHECK(stat_sum(st->s, STAT_keyspace_misses) == 1);
    }
    close_sound(st);
}

/* One offset between the clocks for all: it stays where it is while they differ by a millisecond or two from it. */
static void the_offset_of_the_clocks_follows_only_steps(void) {
    store *st = big_store();
    uint64_t *cell = &segment_super(st->s)->wall_offset_ms;
    for (int64_t off = -1; off <= 1; off++) {
        uint64_t kept = clock_wall_ms() - clock_boot_ms() + (uint64_t)off;
        *cell = kept;
        CHECK(keyspace_to_wall(st, 5) == kept + 5 && *cell == kept && keyspace_from_wall(st, kept + 7) == 7);
    }
    for (int64_t off = -60000; off <= 60000; off += 120000) {
        uint64_t truth = clock_wall_ms() - clock_boot_ms();
        *cell = truth + (uint64_t)off;
        CHECK(keyspace_to_wall(st, 5) - truth - 5 + 2 <= 4 && *cell - truth + 2 <= 4);
        *cell = truth + (uint64_t)off;
        st->s->readonly = true;
        CHECK(keyspace_to_wall(st, 5) - truth - 5 + 2 <= 4 && *cell == truth + (uint64_t)off); /* who reads only, moves nothing */
        st->s->readonly = false;
    }
    close_sound(st);
}

int main(void) {
    RUN(an_expiry_goes_where_its_key_goes);
    RUN(a_rename_changes_what_is_absent);
    RUN(a_scan_meets_the_living_of_every_stripe);
    RUN(every_byte_of_a_name_is_in_its_hash);
    RUN(what_the_server_looks_up_is_no_hit);
    RUN(the_offset_of_the_clocks_follows_only_steps);
    RUN(a_key_lives_to_its_last_millisecond);
    RUN(names_that_share_a_tag_are_two_keys);
    RUN(absence_has_a_version_that_never_comes_back);
    RUN(an_expired_key_has_another_version);
    RUN(conditions_of_expire);
    RUN(renames_and_copies);
    RUN(a_renamed_tree_moves_one_block);
    RUN(flush_and_swap);
    RUN(a_random_key_can_be_any);
    RUN(a_flush_never_runs_out_of_spaces);
    RUN(a_table_comes_between_route_and_latch);
    return 0;
}
