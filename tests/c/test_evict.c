/* test_evict.c - who goes when memory is full: the policies, what is spared, small values against large ones, and OOM only
 * when nothing is left that may go.
 */
#include "full_store.h"

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
    int more;
    CHECK_STATUS(fill_up(st, "more", NO_EXPIRY, &more), FR_OOM);
    CHECK(more < 10); /* free blocks of pages that were there */
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

static uint64_t bytes_used(store *st) {
    uint64_t used, size;
    heap_usage(st->s, &used, &size);
    return used;
}

static void maxmemory_is_a_limit_below_the_segment(void) {
    geometry g = layout_default(16u << 20);
    store *st = store_with(&g);
    uint64_t *limit = &segment_super(st->s)->shared_settings[SETTING_MAXMEMORY];
    int n;
    segment_become(st->s, 1, 1);
    *limit = 8u << 20;
    CHECK_STATUS(fill_up(st, "k", NO_EXPIRY, &n), FR_OOM);
    CHECK(n > 20000 && bytes_used(st) <= *limit && bytes_used(st) > *limit * 9 / 10);
    set_policy(st, 1);
    for (int i = 0; i < 1000; i++) {
        char name[24];
        snprintf(name, sizeof name, "more%d", i);
        CHECK_STATUS(put(st, name, 1000, NO_EXPIRY, NOW), FR_OK);
    }
    CHECK(bytes_used(st) <= *limit);
    *limit = 6u << 20; /* what is too much goes with the next write that wants a page */
    CHECK_STATUS(put(st, "large", 60000, NO_EXPIRY, NOW), FR_OK);
    CHECK(bytes_used(st) <= *limit && bytes_used(st) > *limit * 8 / 10);
    set_policy(st, 0);
    *limit = 3u << 20;
    op o = {.run = do_del, .name = "large"};
    CHECK_STATUS(put(st, "x", 60000, NO_EXPIRY, NOW), FR_OOM);
    CHECK_STATUS(write_op(st, &o), FR_OK); /* deletes need no room */
    CHECK(o.flag);
    *limit = 0;
    CHECK_STATUS(put(st, "x", 60000, NO_EXPIRY, NOW), FR_OK);
    close_sound(st);
}

int main(void) {
    RUN(policies);
    RUN(volatile_policies_spare_keys_that_live_for_ever);
    RUN(large_values_push_out_small_ones);
    RUN(volatile_keys_go_to_the_last_before_oom);
    RUN(more_than_the_segment_costs_nobody_anything);
    RUN(maxmemory_is_a_limit_below_the_segment);
    return 0;
}
