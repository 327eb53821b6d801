/* test_evict.c - who goes when memory is full: the policies, what is spared, small values against large ones, and OOM only
 * when nothing is left that may go.
 */
#include "full_store.h"
#include "store/lock.h"

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

static fr_status do_lock(store *st, txn *t, op *o) {
    lock_request r = {.token = text_of("me"), .limit = 1, .owned = true};
    lock_state state;
    return lock_acquire(st, t, &o->k, &r, &state);
}
/* In the server's own database. */
static fr_status do_set_system(store *st, txn *t, op *o) {
    fr_status status = key_route(st, DB_SYSTEM, text_of(o->name), &o->k, t->err);
    return status == FR_OK ? do_set(st, t, o) : status;
}
static fr_status do_find_system(store *st, txn *t, op *o) {
    fr_status status = key_route(st, DB_SYSTEM, text_of(o->name), &o->k, t->err);
    return status == FR_OK ? do_find(st, t, o) : status;
}

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
        snprintf(name, sizeof name, "lock%d", i);
        CHECK_STATUS(write_op(st, &(op){.run = do_lock, .name = name}), FR_OK);
        snprintf(name, sizeof name, "setting%d", i);
        CHECK_STATUS(write_op(st, &(op){.run = do_set_system, .name = name, .value = text_of("v")}), FR_OK);
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
        snprintf(name, sizeof name, "lock%d", i);
        CHECK(exists(st, name));
        snprintf(name, sizeof name, "setting%d", i);
        op o = {.run = do_find_system, .name = name};
        CHECK_STATUS(read_op(st, &o), FR_OK);
        CHECK(o.flag);
    }
    close_sound(st);
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

static fr_status do_look(store *st, txn *t, op *o) { return str_get(st, t, &o->k, &o->v, &o->flag); }

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

/* A value that holds, where a page begins, what the block of a key that lives for ever would begin with if it could expire:
 * the sweep comes to each page. */
static void bytes_that_look_like_a_block_are_none(void) {
    enum { PAGE = 4096, PAGES = 16, BODY = 32 };
    static char bytes[PAGE * PAGES];
    geometry g = layout_default(16u << 20);
    store *st = store_with(&g);
    uint64_t meta = META_MAKE(KIND_STRING, FLAG_EXPIRY, 6, 8, segment_super(st->s)->db[0]), head[] = {2, meta, NOW + 100000};
    char name[24];
    segment_become(st->s, 1, 1);
    CHECK(g.page_size == PAGE);
    for (int page = 1; page < PAGES; page++) {
        char *at = bytes + page * PAGE - BODY;
        memcpy(at, head, sizeof head);
        memcpy(at + block_name_at(meta), "victim", 6);
    }
    how = (set_options){0};
    CHECK_STATUS(put(st, "victim", 8, NO_EXPIRY, NOW), FR_OK);
    CHECK_STATUS(write_op(st, &(op){.run = do_put, .name = "forger", .value = {bytes, sizeof bytes - BODY}}), FR_OK);
    fr_status status = FR_OK;
    for (int i = 0; status == FR_OK; i++) {
        snprintf(name, sizeof name, "k%d", i);
        status = put(st, name, 1000, i % 100 ? NO_EXPIRY : NOW + 100000, NOW);
    }
    set_policy(st, 2);
    CHECK_STATUS(put(st, "large", 60000, NO_EXPIRY, NOW), FR_OOM); /* once round, for nothing */
    CHECK(stat_sum(st->s, STAT_evicted_keys) > 10 && exists(st, "forger") && exists(st, "victim"));
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

/* As a single command does it: one stripe is held. */
static fr_status put_alone(store *st, const char *name, uint64_t expiry, uint64_t now) {
    static char bytes[40];
    key k;
    stripe_set set;
    fr_error err;
    CHECK_STATUS(key_route(st, 0, text_of(name), &k, &err), FR_OK);
    stripe_set_clear(&set);
    stripe_set_add(&set, k.stripe);
    how = (set_options){.expiry = expiry};
    op o = {.run = do_put, .name = name, .value = {bytes, sizeof bytes}};
    return store_write(st, now, UINT64_MAX, &set, run_op, &o, &last_error);
}

/* Keys that are the policy's choice, every second one, and others: how many of each are gone when a fifth as many have come. */
static void choice(uint64_t policy, int gone[2]) {
    geometry g = layout_default(4u << 20);
    g.access_bytes = 1u << 18; /* hardly two keys share one */
    store *st = store_with(&g);
    uint64_t later = NOW + (100u << 14); /* of the access clock, which has steps of 2^14 ms */
    char name[24];
    int n = 0;
    segment_become(st->s, 1, 1);
    set_policy(st, policy);
    segment_super(st->s)->shared_settings[SETTING_SAMPLES] = 10;
    for (bool full = false; !full; full = stat_sum(st->s, STAT_evicted_keys) != 0, n += !full) {
        snprintf(name, sizeof name, "k%d", n);
        CHECK_STATUS(put_alone(st, name, policy == 3 ? later + (n % 2 ? 1000000 : 1000) : NO_EXPIRY, NOW), FR_OK);
    }
    for (int i = 1; i < n; i += 2) { /* used */
        op o = {.run = do_look, .name = name};
        snprintf(name, sizeof name, "k%d", i);
        CHECK_STATUS(store_read(st, later, NULL, run_op, &o, &last_error), FR_OK);
    }
    for (int i = 0; i < n / 5; i++) {
        snprintf(name, sizeof name, "m%d", i);
        CHECK_STATUS(put_alone(st, name, policy == 3 ? later + 1000000 : NO_EXPIRY, later), FR_OK);
    }
    gone[0] = gone[1] = 0;
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "k%d", i);
        gone[i % 2] += !exists(st, name);
    }
    printf("# policy %d: of %d keys %d of those to go first are gone, and %d others\n", (int)policy, n, gone[0], gone[1]);
    close_sound(st);
}

static void what_was_used_least_goes_first(void) {
    int gone[2];
    choice(1, gone);
    CHECK(gone[0] > 5 * gone[1]); /* not all: whole pages go when a stripe has nothing of its own to give */
}

static void what_ends_first_goes_first(void) {
    int gone[2];
    choice(3, gone);
    CHECK(gone[0] > 5 * gone[1]);
}

/* A flush frees nothing by itself; what was flushed makes room before anything is refused, whatever the policy. */
static void what_was_flushed_makes_room(void) {
    for (uint64_t policy = 0; policy < 2; policy++) {
        int n, again = 0;
        char name[24];
        store *st = tiny();
        CHECK_STATUS(fill_up(st, "small", NO_EXPIRY, &n), FR_OOM);
        set_policy(st, policy);
        CHECK_STATUS(write_op(st, &(op){.run = do_flush, .name = "x"}), FR_OK);
        for (int i = 0; i < n / 2; i++, again++) {
            snprintf(name, sizeof name, "again%d", i);
            CHECK_STATUS(put(st, name, 40, NO_EXPIRY, NOW), FR_OK);
        }
        CHECK(count_keys(st, "again", again) == again && stat_sum(st->s, STAT_evicted_keys) == 0);
        close_sound(st);
    }
}

int main(void) {
    RUN(what_was_used_least_goes_first);
    RUN(what_ends_first_goes_first);
    RUN(what_was_flushed_makes_room);
    RUN(policies);
    RUN(eviction_takes_strings_and_hashes_only);
    RUN(bytes_that_look_like_a_block_are_none);
    RUN(volatile_policies_spare_keys_that_live_for_ever);
    RUN(large_values_push_out_small_ones);
    RUN(volatile_keys_go_to_the_last_before_oom);
    RUN(more_than_the_segment_costs_nobody_anything);
    RUN(maxmemory_is_a_limit_below_the_segment);
    return 0;
}
