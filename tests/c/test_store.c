/* test_store.c - the loops and what they do between attempts: growth of a real file, reclaim, eviction, the OOM answer; and
 * that verify finds what is broken.
 */
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

static void set_policy(store *st, uint64_t policy) { segment_super(st->s)->shared_settings[SETTING_POLICY] = policy; }

static int count_keys(store *st, const char *prefix, int n) {
    int found = 0;
    char name[24];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s%d", prefix, i);
        found += exists(st, name);
    }
    return found;
}

/* A full segment of small values; every `some`-th of them will expire (0: none). */
static store *crowded(int some, int *n) {
    geometry g = layout_default(16u << 20);
    store *st = store_with(&g);
    char name[24];
    fr_status status = FR_OK;
    segment_become(st->s, 1, 1);
    for (*n = 0; status == FR_OK; ++*n) {
        snprintf(name, sizeof name, "small%d", *n);
        status = put(st, name, 40, some && *n % some == 0 ? NOW + 100000 : NO_EXPIRY, NOW);
    }
    --*n;
    CHECK_STATUS(status, FR_OOM);
    CHECK(*n > 60000);
    return st;
}

static void large_values_push_out_small_ones(void) {
    int n, writes = 0;
    char name[24];
    store *st = crowded(0, &n);
    CHECK_STATUS(put(st, "large", 60000, NO_EXPIRY, NOW), FR_OOM);
    CHECK(count_keys(st, "small", n) == n && stat_sum(st->s, STAT_evicted_keys) == 0); /* noeviction */
    set_policy(st, 1);
    CHECK_STATUS(put(st, "large0", 60000, NO_EXPIRY, NOW), FR_OK);
    int gone = n - count_keys(st, "small", n);
    printf("# a value of 60,000 bytes cost %d of %d keys of 40\n", gone, n);
    CHECK(gone < n / 16 && stat_sum(st->s, STAT_evicted_keys) == (uint64_t)gone);
    for (writes = 1; writes < 1000; writes++) { /* four times what the segment holds: in the end each pushes out its own kind */
        snprintf(name, sizeof name, "large%d", writes);
        CHECK_STATUS(put(st, name, 60000, NO_EXPIRY, NOW), FR_OK);
    }
    printf("# then %d small and %d large ones\n", count_keys(st, "small", n), count_keys(st, "large", writes));
    CHECK(count_keys(st, "small", n) < n / 100 && count_keys(st, "large", writes) > 150);
    CHECK(stat_sum(st->s, STAT_oom_refusals) == 2); /* of crowded, and of noeviction */
    close_sound(st);
}

static void volatile_keys_go_to_the_last_before_oom(void) {
    for (uint64_t policy = 2; policy <= 3; policy++) {
        int n;
        store *st = crowded(0, &n);
        set_policy(st, policy);
        uint64_t before = stat_sum(st->s, STAT_oom_refusals);
        CHECK_STATUS(put(st, "large", 60000, NO_EXPIRY, NOW), FR_OOM); /* none has an expiry */
        CHECK(count_keys(st, "small", n) == n && stat_sum(st->s, STAT_oom_refusals) == before + 1);
        close_sound(st);

        st = crowded(100, &n); /* scattered as they are these do not give a page, and all of them go */
        set_policy(st, policy);
        CHECK_STATUS(put(st, "large", 60000, NO_EXPIRY, NOW), FR_OOM);
        CHECK(count_keys(st, "small", n) == n - (n + 99) / 100 && stat_sum(st->s, STAT_evicted_keys) == (uint64_t)(n + 99) / 100);
        close_sound(st);

        st = crowded(1, &n);
        set_policy(st, policy);
        for (int i = 0; i < 100; i++) CHECK_STATUS(put(st, "large", 60000, NO_EXPIRY, NOW), FR_OK);
        close_sound(st);
    }
}

static void more_than_the_segment_costs_nobody_anything(void) {
    int n;
    store *st = crowded(0, &n);
    set_policy(st, 1);
    static char bytes[17u << 20];
    how = (set_options){0};
    op o = {.run = do_put, .name = "huge", .value = {bytes, sizeof bytes}};
    CHECK_STATUS(write_op(st, &o), FR_OOM);
    CHECK(count_keys(st, "small", n) == n);
    o.value.n = 8u << 20;
    CHECK_STATUS(write_op(st, &o), FR_OK); /* half of it */
    printf("# a value of 8 MiB in a segment of 16 left %d of %d keys\n", count_keys(st, "small", n), n);
    close_sound(st);
}

static void flushed_keys_are_not_expired(void) {
    store *st = big_store();
    segment_become(st->s, 1, 1);
    for (int i = 0; i < 500; i++) {
        char name[24];
        snprintf(name, sizeof name, "k%d", i);
        CHECK_STATUS(put(st, name, 40, i % 2 ? NOW + 10 : NO_EXPIRY, NOW), FR_OK);
    }
    op o = {.run = do_flush, .name = "k"};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    unsigned freed = 0, more;
    while ((more = store_tick(st, NOW + 100, 10000)) != 0) freed += more;
    CHECK(freed >= 500 && stat_sum(st->s, STAT_expired_keys) == 0);
    CHECK_STATUS(put(st, "short", 40, NOW + 200, NOW), FR_OK);
    while (store_tick(st, NOW + 300, 10000)) {}
    CHECK(stat_sum(st->s, STAT_expired_keys) == 1);
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
    RUN(volatile_policies_spare_keys_that_live_for_ever);
    RUN(large_values_push_out_small_ones);
    RUN(volatile_keys_go_to_the_last_before_oom);
    RUN(more_than_the_segment_costs_nobody_anything);
    RUN(flushed_keys_are_not_expired);
    RUN(verify_finds_and_repairs);
    return 0;
}
