/* test_store.c - the loops and what they do between attempts: growth of a real file, reclaim, eviction, the OOM answer; and
 * that verify finds what is broken.
 */
#include <fcntl.h>

#include "store_fixture.h"

static set_options how;

static fr_status do_put(store *st, txn *t, op *o) {
    set_result r;
    return str_set(st, t, &o->k, o->value, &how, &r);
}
static fr_status put(store *st, const char *name, size_t n, uint64_t expiry, uint64_t now) {
    static char bytes[70000];
    how = (set_options){.expiry = expiry};
    op o = {.run = do_put, .name = name, .value = {bytes, n}};
    return write_op_at(st, &o, now);
}
static store *tiny(void) {
    geometry g = layout_test();
    store *st = store_with(&g);
    segment_become(st->s, 1, 1); /* statistics of a process without a slot are its own */
    return st;
}

static fr_status fill_up(store *st, const char *prefix, uint64_t expiry, int *n) {
    char name[24];
    fr_status status = FR_OK;
    for (*n = 0; status == FR_OK && *n < 100000; ++*n) {
        snprintf(name, sizeof name, "%s%d", prefix, *n);
        status = put(st, name, 40, expiry, NOW);
    }
    --*n;
    return status;
}

static void a_file_grows_to_its_limit(void) {
    char path[] = "/dev/shm/fridge-test-store-XXXXXX", file[64], name[24];
    store *st;
    bool created;
    CHECK(mkdtemp(path) != NULL);
    snprintf(file, sizeof file, "%s/segment", path);
    segment_options o = {.size = 16u << 20, .create = true};
    CHECK_STATUS(store_open(file, &o, &st, &created, &last_error), FR_OK);
    uint64_t before = segment_super(st->s)->size;
    fr_status status = FR_OK;
    int n = 0;
    for (; status == FR_OK; n++) {
        snprintf(name, sizeof name, "k%d", n);
        status = put(st, name, 5000, NO_EXPIRY, NOW);
    }
    CHECK_STATUS(status, FR_OOM);
    CHECK(before < 8u << 20 && segment_super(st->s)->size == 16u << 20 && n > 1500);
    check_sound(st);
    store_close(st);
    CHECK_STATUS(segment_destroy(file, &last_error), FR_OK);
    rmdir(path);
}

static void expired_keys_make_room_before_oom(void) {
    store *st = tiny();
    int n, m;
    CHECK_STATUS(fill_up(st, "old", NOW + 10, &n), FR_OOM);
    CHECK(n > 50);
    char name[24];
    for (m = 0; m < n * 3 / 4; m++) { /* the index has grown meanwhile, and does not shrink */
        snprintf(name, sizeof name, "new%d", m);
        CHECK_STATUS(put(st, name, 40, NO_EXPIRY, NOW + 10), FR_OK);
    }
    CHECK(stat_sum(st->s, STAT_expired_keys) > 0);
    close_sound(st);
}

static void policies(void) {
    for (uint64_t policy = 1; policy <= 3; policy++) {
        store *st = tiny();
        int n, still = 0;
        char name[24];
        CHECK_STATUS(fill_up(st, "volatile", NOW + 100000, &n), FR_OOM);
        segment_super(st->s)->shared_settings[SETTING_POLICY] = policy;
        for (int i = 0; i < 3 * n; i++) {
            snprintf(name, sizeof name, "more%d", i);
            CHECK_STATUS(put(st, name, 40, NOW + 200000, NOW), FR_OK);
        }
        for (int i = 0; i < n; i++) {
            snprintf(name, sizeof name, "volatile%d", i);
            still += exists(st, name);
        }
        CHECK(still < n);
        CHECK(policy != 3 || still < n / 2); /* volatile-ttl: the nearest expiry goes first */
        close_sound(st);
    }
}

static fr_status do_open(store *st, txn *t, op *o) { return counter_open(st, t, &o->k, 7, &o->size); }

static void eviction_takes_strings_and_hashes_only(void) {
    store *st = tiny();
    schema sc = {.columns = 0};
    table *tb;
    bool created;
    int n;
    char name[24];
    CHECK_STATUS(schema_add(&sc, text_of("n"), text_of("int32"), &last_error), FR_OK);
    CHECK_STATUS(table_declare(st, text_of("t"), 4, &sc, NOW, &tb, &created, &last_error), FR_OK);
    for (int i = 0; i < 4; i++) { /* the oldest there are */
        snprintf(name, sizeof name, "t:%d", i);
        CHECK_STATUS(try_hset(st, name, "n", text_of("1")), FR_OK);
        snprintf(name, sizeof name, "counter%d", i);
        CHECK_STATUS(write_op(st, &(op){.run = do_open, .name = name}), FR_OK);
    }
    CHECK_STATUS(fill_up(st, "k", NO_EXPIRY, &n), FR_OOM);
    segment_super(st->s)->shared_settings[SETTING_POLICY] = 1;
    for (int i = 0; i < 8 * n; i++) {
        snprintf(name, sizeof name, "more%d", i);
        CHECK_STATUS(put(st, name, 40, NO_EXPIRY, NOW + (uint64_t)i * 100000), FR_OK);
    }
    CHECK(stat_sum(st->s, STAT_evicted_keys) > (uint64_t)n);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "t:%d", i);
        CHECK(exists(st, name));
        snprintf(name, sizeof name, "counter%d", i);
        CHECK(exists(st, name));
    }
    close_sound(st);
}

/* The file is cut while a write is in its transaction: it must not be told that it succeeded. */
static int cut;
static fr_status put_and_cut(store *st, txn *t, op *o) {
    fr_status status = do_set(st, t, o);
    if (cut >= 0 && ftruncate(cut, 0) == 0) cut = -1;
    return status;
}
static void a_write_into_a_lost_file_fails(void) {
    char path[] = "/dev/shm/fridge-test-store-XXXXXX", file[64];
    store *st;
    bool created;
    CHECK(mkdtemp(path) != NULL);
    snprintf(file, sizeof file, "%s/segment", path);
    segment_options o = {.size = 16u << 20, .create = true};
    CHECK_STATUS(store_open(file, &o, &st, &created, &last_error), FR_OK);
    cut = open(file, O_RDWR | O_CLOEXEC);
    int fd = cut;
    op w = {.run = put_and_cut, .name = "k", .value = text_of("v")};
    CHECK_STATUS(write_one(st, &w), FR_LOST);
    close(fd);
    store_close(st);
    unlink(file);
    strcat(file, ".lock");
    unlink(file);
    CHECK(rmdir(path) == 0);
}

static void volatile_policies_spare_keys_that_live_for_ever(void) {
    store *st = tiny();
    int n;
    CHECK_STATUS(fill_up(st, "k", NO_EXPIRY, &n), FR_OOM);
    segment_super(st->s)->shared_settings[SETTING_POLICY] = 2;
    CHECK_STATUS(put(st, "more", 40, NO_EXPIRY, NOW), FR_OOM);
    for (int i = 0; i < n; i++) {
        char name[24];
        snprintf(name, sizeof name, "k%d", i);
        CHECK(exists(st, name));
    }
    close_sound(st);
}

static void verify_finds_and_repairs(void) {
    store *st = tiny();
    verify_report r;
    int n;
    fill_up(st, "k", NO_EXPIRY, &n);
    space_count *counts = SEG_AT(st->s, st->s->l.counts, space_count);
    counts[segment_super(st->s)->db[0]].keys += 3;
    CHECK_STATUS(store_verify(st, false, &r, &last_error), FR_DAMAGED);
    CHECK(r.findings == 1 && strstr(r.first, "keys are counted"));
    CHECK_STATUS(store_verify(st, true, &r, &last_error), FR_OK);
    check_sound(st);
    uint64_t root = segment_stripe(st->s, 0)->root, page = (root & UINT32_MAX) << 4;
    if (root >> 32 & 63) page = (*SEG_AT(st->s, page, uint64_t) & UINT32_MAX) << 4;
    for (uint64_t *w = SEG_AT(st->s, page, uint64_t);; w++) {
        if (*w == 0) continue;
        *w ^= 4; /* names another block */
        break;
    }
    CHECK_STATUS(store_verify(st, false, &r, &last_error), FR_DAMAGED);
    CHECK(r.findings > 0 && r.first[0]);
    store_close(st);
}

int main(void) {
    RUN(a_file_grows_to_its_limit);
    RUN(expired_keys_make_room_before_oom);
    RUN(policies);
    RUN(eviction_takes_strings_and_hashes_only);
    RUN(a_write_into_a_lost_file_fails);
    RUN(volatile_policies_spare_keys_that_live_for_ever);
    RUN(verify_finds_and_repairs);
    return 0;
}
