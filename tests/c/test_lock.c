/* test_lock.c - locks, semaphores, read-write locks and vars in one process that plays several: their lines, deaths, leases
 * and fencing tokens, and what ordinary commands make of them. Real processes: tests/test_lock.py.
 */
#include "hot.h"
#include "store/lock.h"
#include "store_fixture.h"

typedef struct ask {
    op base;
    lock_request request;
    lock_state state;
    owners o;
} ask;

static fr_status do_acquire(store *st, txn *t, op *o) {
    ask *a = (ask *)o;
    return lock_acquire(st, t, &o->k, &a->request, &a->state);
}
static fr_status do_release(store *st, txn *t, op *o) { return lock_release(st, t, &o->k, o->value, &o->flag); }
static fr_status do_force(store *st, txn *t, op *o) { return lock_force(st, t, &o->k, &o->flag); }
static fr_status do_leave(store *st, txn *t, op *o) { return lock_leave(st, t, &o->k, o->value, &o->flag); }
static fr_status do_look(store *st, txn *t, op *o) {
    ask *a = (ask *)o;
    return lock_look(st, t, &o->k, o->value, &o->flag, &a->state.ahead);
}
static fr_status do_lease(store *st, txn *t, op *o) {
    return o->outcome ? lock_extend(st, t, &o->k, o->value, o->by, true, &o->flag)
                      : lock_lease(st, t, &o->k, o->value, (uint64_t)o->by, &o->flag);
}
static fr_status do_facts(store *st, txn *t, op *o) {
    ask *a = (ask *)o;
    return lock_facts(st, t, &o->k, &o->flag, &a->o, &o->at);
}
static fr_status do_publish(store *st, txn *t, op *o) { return var_publish(st, t, &o->k, o->value, &o->flag, &o->size); }
static fr_status do_get(store *st, txn *t, op *o) {
    fr_status status = str_get(st, t, &o->k, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}
static fr_status do_set_nx(store *st, txn *t, op *o) {
    set_options so = {.condition = SET_NX, .expiry = o->at};
    set_result r;
    fr_status status = str_set(st, t, &o->k, o->value, &so, &r);
    o->flag = r.done;
    return status;
}

static uint64_t now = NOW;

static store *fresh(void) {
    geometry g = layout_default(16u << 20);
    store *st = store_with(&g);
    segment_become(st->s, 1, 1);
    now = NOW;
    return st;
}

static lock_state take(store *st, const char *token, bool shared, uint32_t limit, bool queue, uint64_t lease) {
    ask a = {.base = {.run = do_acquire, .name = "lock"},
             .request = {.token = text_of(token), .shared = shared, .limit = limit, .queue = queue, .lease_ms = lease, .owned = true}};
    CHECK_STATUS(write_op_at(st, &a.base, now), FR_OK);
    return a.state;
}
static lock_state take_one(store *st, const char *token, bool queue) { return take(st, token, false, 1, queue, 0); }
static bool release(store *st, const char *token) {
    op o = {.run = do_release, .name = "lock", .value = text_of(token)};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    return o.flag;
}
static bool granted(store *st, const char *token) {
    return take(st, token, false, 1, false, 0).outcome == LOCK_GRANTED;
}
static bool force(store *st) {
    op o = {.run = do_force, .name = "lock"};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    return o.flag;
}
static bool reads(store *st, const char *want) {
    op o = {.run = do_get, .name = "lock"};
    stripe_set all;
    store_all_stripes(st, &all);
    CHECK_STATUS(store_read(st, now, NULL, run_op, &o, &last_error), FR_OK);
    return want ? o.flag && o.text_n == strlen(want) && memcmp(o.text, want, o.text_n) == 0 : !o.flag;
}
static bool set_nx(store *st, const char *value, uint64_t expiry) {
    op o = {.run = do_set_nx, .name = "lock", .value = text_of(value), .at = expiry};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    return o.flag;
}
static bool should_ask(store *st, const char *token, uint32_t *ahead) {
    ask a = {.base = {.run = do_look, .name = "lock", .value = text_of(token)}};
    CHECK_STATUS(store_read(st, now, NULL, run_op, &a.base, &last_error), FR_OK);
    if (ahead) *ahead = a.state.ahead;
    return a.base.flag;
}
static void as(store *st, uint32_t slot) { segment_become(st->s, slot, 1); }

static void one_holder_and_its_line(void) {
    store *st = fresh();
    lock_state a = take_one(st, "a", true), again = take_one(st, "a", true);
    CHECK(a.outcome == LOCK_GRANTED && a.fence && again.outcome == LOCK_GRANTED && again.fence == a.fence);
    CHECK(reads(st, "a"));
    CHECK(take_one(st, "x", false).outcome == LOCK_REFUSED);
    lock_state b = take_one(st, "b", true), c = take_one(st, "c", true);
    CHECK(b.outcome == LOCK_QUEUED && b.ahead == 0 && c.outcome == LOCK_QUEUED && c.ahead == 1);
    CHECK(take_one(st, "c", true).ahead == 1); /* asking again keeps the place */
    CHECK(!release(st, "b"));
    CHECK(release(st, "a") && !release(st, "a"));
    CHECK(reads(st, "b")); /* handed over, not freed */
    lock_state got = take_one(st, "b", true);
    CHECK(got.outcome == LOCK_GRANTED && got.fence > a.fence);
    CHECK(take_one(st, "x", false).outcome == LOCK_REFUSED);
    CHECK(release(st, "b") && reads(st, "c") && release(st, "c") && reads(st, NULL));
    close_sound(st);
}

static void who_leaves_is_passed_over(void) {
    store *st = fresh();
    take_one(st, "a", true);
    take_one(st, "b", true);
    take_one(st, "c", true);
    op o = {.run = do_leave, .name = "lock", .value = text_of("b")};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(!o.flag && release(st, "a") && reads(st, "c"));
    o = (op){.run = do_leave, .name = "lock", .value = text_of("c")};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(o.flag && reads(st, "c")); /* it had been granted: the caller decides */
    close_sound(st);
}

static void the_dead_hold_nothing(void) {
    store *st = fresh();
    as(st, 2);
    take_one(st, "dead", true);
    as(st, 3);
    take_one(st, "dead too", true);
    as(st, 1);
    lock_state third = take_one(st, "c", true);
    CHECK(third.outcome == LOCK_QUEUED && third.ahead == 1 && reads(st, "dead"));
    segment_set_dead(st->s, 2, true);
    CHECK(reads(st, NULL)); /* absent like an expired key, the line notwithstanding */
    segment_set_dead(st->s, 3, true);
    CHECK(should_ask(st, "c", NULL));
    lock_state got = take_one(st, "c", true);
    CHECK(got.outcome == LOCK_GRANTED && got.fence > third.fence && reads(st, "c"));
    CHECK(release(st, "c") && reads(st, NULL));
    close_sound(st);
}

static void one_of_several_holders_is_enough(void) {
    store *st = fresh();
    as(st, 2);
    CHECK(take(st, "dead", true, 2, true, 0).outcome == LOCK_GRANTED);
    as(st, 1);
    CHECK(take(st, "alive", true, 2, true, 0).outcome == LOCK_GRANTED);
    segment_set_dead(st->s, 2, true);
    CHECK(!reads(st, NULL) && !set_nx(st, "redis-py", NO_EXPIRY)); /* it is held */
    CHECK(stat_sum(st->s, STAT_lock_owner_deaths) == 0); /* nobody has noticed so far */
    CHECK(take(st, "third", true, 2, true, 0).outcome == LOCK_GRANTED && reads(st, "alive"));
    CHECK(stat_sum(st->s, STAT_lock_owner_deaths) == 1);
    close_sound(st);
}

static void set_nx_takes_the_lock_of_a_dead_process(void) {
    store *st = fresh();
    as(st, 2);
    take_one(st, "dead", true);
    as(st, 1);
    CHECK(!set_nx(st, "redis-py", NO_EXPIRY));
    segment_set_dead(st->s, 2, true);
    CHECK(set_nx(st, "redis-py", NO_EXPIRY) && reads(st, "redis-py"));
    CHECK(!granted(st, "a"));
    close_sound(st);
}

static void clients_that_know_only_set_nx_are_queued_behind(void) {
    store *st = fresh();
    CHECK(set_nx(st, "0123456789abcdef0123456789abcdef", now + 100));
    CHECK(take_one(st, "b", true).outcome == LOCK_QUEUED && reads(st, "0123456789abcdef0123456789abcdef"));
    CHECK(release(st, "0123456789abcdef0123456789abcdef") && reads(st, "b") && release(st, "b"));
    CHECK(set_nx(st, "1234", now + 100)); /* kept as an integer */
    CHECK(take_one(st, "b", true).outcome == LOCK_QUEUED && !set_nx(st, "x", NO_EXPIRY));
    now += 101; /* its lease is over */
    CHECK(reads(st, NULL) && take_one(st, "b", true).outcome == LOCK_GRANTED && release(st, "b"));
    CHECK(set_nx(st, "a value that is much too long to be a token of anybody", NO_EXPIRY));
    CHECK(take_one(st, "b", true).outcome == LOCK_REFUSED);
    CHECK(force(st) && reads(st, NULL));
    close_sound(st);
}

static void leases_end_and_move(void) {
    store *st = fresh();
    CHECK(take(st, "a", false, 1, true, 50).outcome == LOCK_GRANTED);
    take(st, "b", false, 1, true, 50);
    op o = {.run = do_lease, .name = "lock", .value = text_of("a"), .by = 100};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(o.flag);
    now += 60;
    CHECK(reads(st, "a"));
    o = (op){.run = do_lease, .name = "lock", .value = text_of("a"), .by = 10, .outcome = 1};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    now += 45; /* 100 + 10 - 60 = 50 were left */
    CHECK(o.flag && reads(st, "a"));
    now += 5;
    CHECK(reads(st, NULL));
    o = (op){.run = do_lease, .name = "lock", .value = text_of("a"), .by = 10};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(!o.flag); /* too late */
    CHECK(take(st, "b", false, 1, true, 50).outcome == LOCK_GRANTED);
    now += 49;
    CHECK(reads(st, "b")); /* its lease began with the grant */
    CHECK(take(st, "c", false, 1, true, 0).outcome == LOCK_QUEUED && release(st, "b"));
    o = (op){.run = do_lease, .name = "lock", .value = text_of("c"), .by = 10, .outcome = 1};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(!o.flag); /* nothing to add to */
    CHECK(take(st, "d", false, 1, true, 50).outcome == LOCK_QUEUED && release(st, "c") && reads(st, "d"));
    now += 49;
    CHECK(reads(st, "d"));
    now += 1; /* the lease of who was let in ends like any other */
    CHECK(reads(st, NULL));
    close_sound(st);
}

static bool lease_of(store *st, const char *token, int64_t ms, bool add) {
    op o = {.run = do_lease, .name = "lock", .value = text_of(token), .by = ms, .outcome = add};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    return o.flag;
}

static void leases_beyond_all_time_end_late(void) {
    store *st = fresh();
    CHECK(take(st, "a", false, 1, true, UINT64_MAX).outcome == LOCK_GRANTED && reads(st, "a"));
    CHECK(lease_of(st, "a", INT64_MAX, true) && reads(st, "a"));
    CHECK(lease_of(st, "a", -1, false) && reads(st, "a")); /* 2^64 - 1 ms from now */
    now += INT64_MAX / 8;
    CHECK(reads(st, "a") && lease_of(st, "a", 60, false));
    CHECK(lease_of(st, "a", INT64_MIN, true) && reads(st, NULL)); /* past: it ends */
    close_sound(st);
}

static void a_lease_is_one_holders(void) {
    store *st = fresh();
    CHECK(take(st, "a", true, 3, true, 0).outcome == LOCK_GRANTED && take(st, "b", true, 3, true, 0).outcome == LOCK_GRANTED);
    CHECK(!lease_of(st, "a", 10, false) && !lease_of(st, "a", 10, true) && !lease_of(st, "a", 0, false));
    now += 20;
    CHECK(release(st, "b") && release(st, "a"));
    close_sound(st);
}

static char *take_bytes(hot_sink *sink, size_t n) {
    static char bytes[64];
    (void)sink;
    return n <= sizeof bytes ? bytes : NULL;
}

static bool watched(store *st, hot_watch *w) {
    hot_sink sink = {.room = take_bytes};
    bool found = false;
    CHECK_STATUS(hot_watch_get(st, 0, text_of("lock"), &sink, &found, w, false, &last_error), FR_OK);
    return found;
}

/* What dies without a store is looked up each time. */
static void no_watch_outlives_the_owner(void) {
    store *st = fresh();
    hot_watch w;
    as(st, 2);
    CHECK(take_one(st, "a", true).outcome == LOCK_GRANTED);
    as(st, 1);
    CHECK(watched(st, &w) && !hot_watch_holds(st, &w));
    segment_set_dead(st->s, 2, true);
    CHECK(!watched(st, &w) && !hot_watch_holds(st, &w));
    op o = {.run = do_publish, .name = "lock", .value = text_of("{}")};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(watched(st, &w) && hot_watch_holds(st, &w)); /* a var outlives its publisher */
    close_sound(st);
}

static void the_dead_keep_no_limit(void) {
    store *st = fresh();
    as(st, 2);
    CHECK(take(st, "a", true, 2, true, 0).outcome == LOCK_GRANTED && take(st, "b", false, 2, true, 0).outcome == LOCK_QUEUED);
    as(st, 1);
    segment_set_dead(st->s, 2, true);
    CHECK(take(st, "c", true, 5, true, 0).outcome == LOCK_GRANTED && release(st, "c"));
    close_sound(st);
}

static void force_lets_the_next_in(void) {
    store *st = fresh();
    CHECK(!force(st));
    take_one(st, "a", true);
    take_one(st, "b", true);
    CHECK(force(st) && reads(st, "b") && force(st) && reads(st, NULL) && !force(st));
    close_sound(st);
}

static void semaphores_count(void) {
    store *st = fresh();
    CHECK(take(st, "a", true, 2, true, 0).outcome == LOCK_GRANTED && take(st, "b", true, 2, true, 0).outcome == LOCK_GRANTED);
    CHECK(take(st, "c", true, 2, true, 0).outcome == LOCK_QUEUED);
    ask a = {.base = {.run = do_acquire, .name = "lock"}, .request = {.token = text_of("x"), .shared = true, .limit = 3}};
    CHECK_STATUS(write_op_at(st, &a.base, now), FR_ARGUMENT);
    CHECK(release(st, "a") && take(st, "c", true, 2, true, 0).outcome == LOCK_GRANTED);
    as(st, 2);
    CHECK(take(st, "d", true, 2, true, 0).outcome == LOCK_QUEUED);
    as(st, 1);
    CHECK(release(st, "b"));
    segment_set_dead(st->s, 2, true); /* d holds, dead: its place is free */
    CHECK(take(st, "e", true, 2, false, 0).outcome == LOCK_GRANTED && take(st, "f", true, 2, false, 0).outcome == LOCK_REFUSED);
    CHECK(release(st, "e") && release(st, "c") && reads(st, NULL));
    close_sound(st);
}

static void a_dead_first_waiter_holds_nobody_up(void) {
    store *st = fresh();
    uint32_t ahead;
    CHECK(take(st, "r1", true, 9, true, 0).outcome == LOCK_GRANTED);
    as(st, 2);
    CHECK(take(st, "w", false, 9, true, 0).outcome == LOCK_QUEUED);
    as(st, 1);
    CHECK(take(st, "r2", true, 9, true, 0).outcome == LOCK_QUEUED && take(st, "w2", false, 9, true, 0).ahead == 2);
    CHECK(!should_ask(st, "r2", &ahead) && ahead == 1);
    segment_set_dead(st->s, 2, true); /* r1 lives and holds on */
    CHECK(should_ask(st, "r2", NULL) && take(st, "r2", true, 9, true, 0).outcome == LOCK_GRANTED);
    CHECK(!should_ask(st, "w2", &ahead) && ahead == 0); /* it is the first now, and looks after the holders */
    CHECK(take(st, "r3", true, 9, false, 0).outcome == LOCK_REFUSED); /* a writer waits */
    CHECK(release(st, "r1") && release(st, "r2") && reads(st, "w2"));
    close_sound(st);
}

static void reclaiming_keeps_the_order_of_a_line(void) {
    store *st = fresh();
    as(st, 2);
    CHECK(take(st, "a", false, 1, true, 50).outcome == LOCK_GRANTED);
    as(st, 1);
    CHECK(take_one(st, "b", true).outcome == LOCK_QUEUED && take_one(st, "c", true).outcome == LOCK_QUEUED);
    now += 60;
    room_reclaim_all(st, now, now + 1000, &last_error);
    CHECK(reads(st, NULL) && take_one(st, "c", true).outcome == LOCK_QUEUED && reads(st, "b"));
    as(st, 3);
    CHECK(release(st, "b") && release(st, "c") && take_one(st, "d", true).outcome == LOCK_GRANTED);
    as(st, 1);
    segment_set_dead(st->s, 3, true);
    CHECK(room_reclaim_all(st, now, now + 1000, &last_error) == 0); /* nobody has noticed the death yet */
    CHECK_STATUS(segment_recover_slot(st->s, 3, 1, clock_boot_ms() + 1000), FR_OK);
    CHECK(room_reclaim_all(st, now, now + 1000, &last_error) == 1); /* nobody waits: gone */
    close_sound(st);
}

static void fill_up(store *st) {
    static char filler[64000];
    unsigned kept = 0;
    for (int n = 64000; n >= 1; n /= 2) {
        for (bool room = true; room;) {
            char name[16];
            snprintf(name, sizeof name, "f%u", kept);
            op o = {.run = do_set, .name = name, .value = {filler, (size_t)n}};
            room = write_op_at(st, &o, now) == FR_OK;
            kept += room;
        }
    }
}

static void a_full_segment_keeps_nobody_from_letting_go(void) {
    geometry g = layout_default(2u << 20);
    store *st = store_with(&g);
    segment_become(st->s, 1, 1);
    now = NOW;
    char text[8];
    for (int i = 0; i < 10; i++) { /* as many as make a block of several classes */
        snprintf(text, sizeof text, "t%d", i);
        take_one(st, text, true);
    }
    fill_up(st);
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof text, "t%d", i);
        CHECK(release(st, text));
    }
    CHECK(reads(st, NULL));
    store_close(st);
}

#define READERS 200
/* Lines of all lengths in all stripes, so that no block that is given back fits the next one. */
#define CROWDS 96
static void a_full_segment_keeps_no_crowd_from_letting_go(void) {
    geometry g = layout_default(4u << 20);
    store *st = store_with(&g);
    segment_become(st->s, 1, 1);
    now = NOW;
    char name[16], text[8];
    for (int n = 0; n < CROWDS; n++) {
        for (int i = 0; i < 2 + n % 24; i++) {
            snprintf(name, sizeof name, "crowd%d", n);
            snprintf(text, sizeof text, "t%d", i);
            ask a = {.base = {.run = do_acquire, .name = name},
                     .request = {.token = text_of(text), .limit = 8, .shared = n % 2, .queue = true, .owned = true}};
            CHECK_STATUS(write_op_at(st, &a.base, now), FR_OK);
        }
    }
    fill_up(st);
    for (int i = 0; i < 26; i++) {
        for (int n = 0; n < CROWDS; n++) {
            snprintf(name, sizeof name, "crowd%d", n);
            snprintf(text, sizeof text, "t%d", i);
            op o = {.run = do_release, .name = name, .value = text_of(text)};
            CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
            CHECK(o.flag == (i < 2 + n % 24));
        }
    }
    close_sound(st);
}

static owners owners_now(store *st) {
    ask a = {.base = {.run = do_facts, .name = "lock"}};
    CHECK_STATUS(store_read(st, now, NULL, run_op, &a.base, &last_error), FR_OK);
    CHECK(a.base.flag);
    return a.o;
}

/* A writer that gives up stood between readers: the second is let in by that, and need not ask. */
static void who_stood_behind_one_that_leaves_is_let_in(void) {
    store *st = fresh();
    take(st, "r1", true, READERS, true, 0);
    take(st, "w", false, READERS, true, 0);
    take(st, "r2", true, READERS, true, 0);
    CHECK(owners_now(st).holders == 1 && owners_now(st).waiters == 2);
    op o = {.run = do_leave, .name = "lock", .value = text_of("w")};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(owners_now(st).holders == 2 && owners_now(st).waiters == 0);
    close_sound(st);
}

static void all_who_died_are_dropped_at_once(void) {
    store *st = fresh();
    as(st, 2);
    CHECK(take(st, "dead", true, 3, true, 0).outcome == LOCK_GRANTED);
    as(st, 3);
    CHECK(take(st, "dead too", true, 3, true, 0).outcome == LOCK_GRANTED);
    as(st, 1);
    segment_set_dead(st->s, 2, true);
    segment_set_dead(st->s, 3, true);
    CHECK(take(st, "a", true, 3, true, 0).outcome == LOCK_GRANTED && owners_now(st).holders == 1);
    CHECK(stat_sum(st->s, STAT_lock_owner_deaths) == 2);
    close_sound(st);
}

static void the_dead_do_not_fill_a_line(void) {
    store *st = fresh();
    char token[16];
    take_one(st, "holder", true);
    take_one(st, "first", true); /* it lives, and those behind it do not come to the head of the line */
    as(st, 2);
    for (unsigned i = 2; i < OWNERS_MAX; i++) {
        snprintf(token, sizeof token, "t%u", i);
        CHECK(take_one(st, token, true).outcome == LOCK_QUEUED);
    }
    as(st, 1);
    CHECK(take_one(st, "one more", true).outcome == LOCK_REFUSED);
    segment_set_dead(st->s, 2, true);
    lock_state got = take_one(st, "one more", true);
    CHECK(got.outcome == LOCK_QUEUED && got.ahead == 1 && owners_now(st).waiters == 2);
    close_sound(st);
}

static fr_status meet(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    (void)name, (void)kind, (void)expiry, (void)version;
    ++*(unsigned *)ctx;
    return FR_OK;
}
static fr_status scan_all(store *st, txn *t, void *ctx) {
    uint64_t cursor = 0;
    return keyspace_scan(st, t, 0, NO_TABLE, &cursor, UINT64_MAX, meet, ctx);
}
static void a_scan_does_not_meet_locks_of_the_dead(void) {
    store *st = fresh();
    as(st, 2);
    take_one(st, "dead", true);
    as(st, 1);
    for (unsigned dead = 0; dead < 2; dead++) {
        unsigned met = 0;
        segment_set_dead(st->s, 2, dead);
        CHECK_STATUS(store_read(st, now, NULL, scan_all, &met, &last_error), FR_OK);
        CHECK(met == !dead);
    }
    close_sound(st);
}

static void readers_share_and_writers_do_not(void) {
    store *st = fresh();
    CHECK(take(st, "r1", true, READERS, true, 0).outcome == LOCK_GRANTED);
    CHECK(take(st, "w1", false, READERS, true, 0).outcome == LOCK_QUEUED);
    CHECK(take(st, "r2", true, READERS, true, 0).outcome == LOCK_QUEUED); /* behind the writer: writers do not starve */
    CHECK(release(st, "r1") && reads(st, "w1"));
    CHECK(take(st, "r3", true, READERS, true, 0).outcome == LOCK_QUEUED);
    CHECK(release(st, "w1"));
    lock_state r2 = take(st, "r2", true, READERS, true, 0), r3 = take(st, "r3", true, READERS, true, 0);
    CHECK(r2.outcome == LOCK_GRANTED && r3.outcome == LOCK_GRANTED);
    CHECK(r2.fence && r3.fence > r2.fence); /* though one transaction let both in */
    CHECK(take(st, "w2", false, READERS, false, 0).outcome == LOCK_REFUSED);
    close_sound(st);
}

static void the_line_has_an_end(void) {
    store *st = fresh();
    char token[16];
    unsigned refused = 0;
    for (int i = 0; i < 300; i++) {
        snprintf(token, sizeof token, "t%d", i);
        refused += take_one(st, token, true).outcome == LOCK_REFUSED;
    }
    CHECK(refused == 300 - OWNERS_MAX);
    for (unsigned i = 0; i < OWNERS_MAX; i++) {
        snprintf(token, sizeof token, "t%u", i);
        CHECK(release(st, token)); /* in the order they came */
    }
    CHECK(reads(st, NULL));
    close_sound(st);
}

static void other_kinds_are_refused(void) {
    store *st = fresh();
    op h = {.run = do_hset, .name = "lock", .field = text_of("f"), .value = text_of("v")};
    CHECK_STATUS(write_op(st, &h), FR_OK);
    ask a = {.base = {.run = do_acquire, .name = "lock"}, .request = {.token = text_of("x"), .limit = 1}};
    CHECK_STATUS(write_op_at(st, &a.base, now), FR_WRONGTYPE);
    a.request.token = (span){"", 0};
    CHECK_STATUS(write_op_at(st, &a.base, now), FR_WRONGTYPE);
    a.base.name = "other";
    CHECK_STATUS(write_op_at(st, &a.base, now), FR_ARGUMENT);
    a.request.token = text_of("0123456789abcdef0123456789abcdefX");
    CHECK_STATUS(write_op_at(st, &a.base, now), FR_ARGUMENT);
    close_sound(st);
}

static void vars_outlive_their_publisher(void) {
    store *st = fresh();
    as(st, 2);
    op o = {.run = do_publish, .name = "lock", .value = text_of("{\"a\":1}")};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(o.flag);
    uint64_t version = o.size;
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(!o.flag && o.size == version);
    as(st, 1);
    segment_set_dead(st->s, 2, true);
    CHECK(reads(st, "{\"a\":1}"));
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK); /* the same snapshot of another publisher */
    CHECK(o.flag && o.size > version);
    CHECK(!granted(st, "x") && !set_nx(st, "x", NO_EXPIRY)); /* no lock */
    op append = {.run = do_publish, .name = "lock", .value = text_of("{}")};
    CHECK_STATUS(write_op_at(st, &append, now), FR_OK);
    CHECK(append.flag && reads(st, "{}"));
    close_sound(st);
}

static void renames_and_copies_are_plain_strings(void) {
    store *st = fresh();
    take_one(st, "a", true);
    take_one(st, "b", true);
    op o = {.run = do_copy, .name = "lock", .other = "copy"};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    o = (op){.run = do_rename, .name = "lock", .other = "elsewhere"};
    CHECK_STATUS(write_op_at(st, &o, now), FR_OK);
    CHECK(reads(st, NULL));
    ask a = {.base = {.run = do_facts, .name = "elsewhere"}};
    CHECK_STATUS(read_op(st, &a.base), FR_OK);
    CHECK(a.base.flag && a.o.holders == 1 && a.o.waiters == 0 && a.o.entry[0].identity == 0);
    close_sound(st);
}

int main(void) {
    RUN(one_holder_and_its_line);
    RUN(who_leaves_is_passed_over);
    RUN(the_dead_hold_nothing);
    RUN(one_of_several_holders_is_enough);
    RUN(set_nx_takes_the_lock_of_a_dead_process);
    RUN(clients_that_know_only_set_nx_are_queued_behind);
    RUN(leases_end_and_move);
    RUN(leases_beyond_all_time_end_late);
    RUN(a_lease_is_one_holders);
    RUN(the_dead_keep_no_limit);
    RUN(no_watch_outlives_the_owner);
    RUN(force_lets_the_next_in);
    RUN(semaphores_count);
    RUN(a_dead_first_waiter_holds_nobody_up);
    RUN(reclaiming_keeps_the_order_of_a_line);
    RUN(a_full_segment_keeps_nobody_from_letting_go);
    RUN(a_full_segment_keeps_no_crowd_from_letting_go);
    RUN(who_stood_behind_one_that_leaves_is_let_in);
    RUN(all_who_died_are_dropped_at_once);
    RUN(the_dead_do_not_fill_a_line);
    RUN(a_scan_does_not_meet_locks_of_the_dead);
    RUN(readers_share_and_writers_do_not);
    RUN(the_line_has_an_end);
    RUN(other_kinds_are_refused);
    RUN(vars_outlive_their_publisher);
    RUN(renames_and_copies_are_plain_strings);
    return 0;
}
