/* test_counter.c - counters: the lock-free cell, the transaction's way to it, and the names that own cells. */
#include <setjmp.h>

#include "store_fixture.h"

static fr_status do_open(store *st, txn *t, op *o) { return counter_open(st, t, &o->k, o->by, &o->size); }
static fr_status do_incr(store *st, txn *t, op *o) { return str_incr(st, t, &o->k, o->by, &o->number); }
static fr_status do_two(store *st, txn *t, op *o) {
    fr_status status = str_incr(st, t, &o->k, 1, &o->number);
    return status == FR_OK ? str_incr(st, t, &o->k2, 1, &o->number) : status;
}
static fr_status do_get(store *st, txn *t, op *o) {
    fr_status status = str_get(st, t, &o->k, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}

static uint64_t counter(store *st, const char *name, int64_t initial) {
    op o = {.run = do_open, .name = name, .by = initial};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    return o.size;
}
static bool reads(store *st, const char *name, const char *want) {
    op o = {.run = do_get, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.flag && o.text_n == strlen(want) && memcmp(o.text, want, o.text_n) == 0;
}
static int64_t add(store *st, uint64_t cell, int64_t by) {
    int64_t out = -1;
    CHECK_STATUS(counter_add(st->s, cell, by, &out), FR_OK);
    return out;
}

static void one_number_behind_both_ways(void) {
    store *st = big_store();
    uint64_t cell = counter(st, "hits", 5);
    CHECK(cell % 16 == 0);
    CHECK(add(st, cell, 2) == 7);
    op o = {.run = do_incr, .name = "hits", .by = 3};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.number == 10 && add(st, cell, 1) == 11 && reads(st, "hits", "11"));
    CHECK(counter(st, "hits", 100) == cell); /* initial does not reset */
    CHECK(reads(st, "hits", "11"));
    close_sound(st);
}

static void a_string_becomes_a_counter(void) {
    store *st = big_store();
    op s = {.run = do_set, .name = "n", .value = text_of("41")};
    CHECK_STATUS(write_op(st, &s), FR_OK);
    uint64_t cell = counter(st, "n", 0);
    CHECK(add(st, cell, 1) == 42);
    s.name = "text", s.value = text_of("abc");
    CHECK_STATUS(write_op(st, &s), FR_OK);
    op o = {.run = do_open, .name = "text"};
    CHECK_STATUS(write_op(st, &o), FR_NOTINT);
    CHECK(reads(st, "text", "abc"));
    hset(st, "h", "f", "v");
    o.name = "h";
    CHECK_STATUS(write_op(st, &o), FR_WRONGTYPE);
    close_sound(st);
}

static void deleted_and_revived_at_the_same_address(void) {
    store *st = big_store();
    int64_t out;
    uint64_t cell = counter(st, "hits", 9);
    CHECK(del(st, "hits"));
    CHECK(!exists(st, "hits"));
    CHECK_STATUS(counter_add(st->s, cell, 1, &out), FR_RETRY);
    op s = {.run = do_set, .name = "hits", .value = text_of("abc")};
    CHECK_STATUS(write_op(st, &s), FR_OK); /* while the cell is dead the name may be anything */
    CHECK(reads(st, "hits", "abc"));
    CHECK(del(st, "hits"));
    CHECK(counter(st, "hits", 0) == cell);
    CHECK(add(st, cell, 1) == 1);
    close_sound(st);
}

static void flush_kills_all_counters_at_once(void) {
    store *st = big_store();
    int64_t out;
    uint64_t a = counter(st, "a", 1), b = counter(st, "b", 2);
    op f = {.run = do_flush, .name = "x"};
    CHECK_STATUS(write_op(st, &f), FR_OK);
    CHECK_STATUS(counter_add(st->s, a, 1, &out), FR_RETRY);
    CHECK_STATUS(counter_get(st->s, b, &out), FR_RETRY);
    CHECK(!exists(st, "a"));
    CHECK(counter(st, "a", 0) == a && add(st, a, 1) == 1);
    close_sound(st);
}

static void limits_and_expiry(void) {
    store *st = big_store();
    int64_t out;
    uint64_t cell = counter(st, "c", INT64_MAX);
    CHECK_STATUS(counter_add(st->s, cell, 1, &out), FR_OVERFLOW);
    CHECK_STATUS(counter_get(st->s, cell, &out), FR_OK);
    CHECK(out == INT64_MAX);
    op e = {.run = do_expire, .name = "c", .at = NOW + 50};
    CHECK_STATUS(write_op(st, &e), FR_OK);
    CHECK_STATUS(counter_get(st->s, cell, &out), FR_RETRY); /* through the latch, which looks at the clock */
    op late = {.run = do_get, .name = "c"};
    CHECK_STATUS(store_read(st, NOW + 50, NULL, run_op, &late, &last_error), FR_OK);
    CHECK(!late.flag);
    bool done;
    cell = counter(st, "d", 3);
    CHECK_STATUS(counter_cas(st->s, cell, 4, 5, &done), FR_OK);
    CHECK(!done);
    CHECK_STATUS(counter_cas(st->s, cell, 3, 5, &done), FR_OK);
    CHECK(done && reads(st, "d", "5"));
    close_sound(st);
}

typedef struct watch {
    uint64_t cell;
    unsigned refused, allowed;
} watch;

static void poke(store *st, void *ctx) {
    watch *w = ctx;
    int64_t out;
    if (counter_get(st->s, w->cell, &out) == FR_OK) w->allowed++;
    else w->refused++;
}

/* While a transaction has the cell frozen the lock-free path is refused; a reader sees both counters of one instant. */
static void a_transaction_freezes_its_counters(void) {
    store *st = big_store();
    watch seen = {counter(st, "a", 0), 0, 0};
    counter(st, "b", 0);
    op o = {.run = do_two, .name = "a", .other = "b"};
    stripe_set all;
    store_all_stripes(st, &all);
    interleaving w = {.st = st, .look = poke, .ctx = &seen};
    fr_hook = at_store, fr_hook_ctx = &w;
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, run_op, &o, &last_error), FR_OK);
    fr_hook = NULL;
    CHECK(seen.refused > 0 && seen.allowed > 0);
    CHECK(reads(st, "a", "1") && reads(st, "b", "1"));
    close_sound(st);
}

/* A process dies at one of its stores; before it is recovered another adds to the counter, if the cell lets it. What that
 * one was told must still be in the counter after the replay. */
static jmp_buf death;
static unsigned stores_left;

static void die_at_store(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    (void)ctx, (void)addr, (void)len;
    if (kind != ACCESS_LD8 && kind != ACCESS_TOUCH1 && --stores_left == 0) longjmp(death, 1);
}

static bool incr_dies_at(store *st, unsigned stores) {
    op o = {.run = do_incr, .name = "c", .by = 5};
    volatile bool died = true;
    stores_left = stores;
    fr_hook = die_at_store;
    if (setjmp(death) == 0) {
        write_one(st, &o);
        died = false;
    }
    fr_hook = NULL;
    return died;
}

static void a_replay_keeps_what_others_added(void) {
    bool died = true;
    for (unsigned at = 1; died; at++) {
        store *st = big_store();
        int64_t sum, now;
        uint64_t cell = counter(st, "c", 0);
        uint32_t slot = st->s->me->slot, gen = LATCH_GEN(st->s->me->word);
        died = incr_dies_at(st, at);
        segment_become(st->s, slot + 1, 1);
        segment_set_dead(st->s, slot, true);
        fr_status added = counter_add(st->s, cell, 100, &sum);
        CHECK_STATUS(segment_recover_slot(st->s, slot, gen, clock_boot_ms() + 1000), FR_OK);
        CHECK_STATUS(counter_get(st->s, cell, &now), FR_OK);
        if (added == FR_OK) CHECK(now >= sum);
        close_sound(st);
    }
}

/* An expired string and a live counter of one name: a new string takes the counter's place, not its cell. */
static void a_cell_outlives_a_dead_string_before_it(void) {
    store *st = big_store();
    int64_t out;
    op e = {.run = do_expire, .name = "k", .at = NOW + 10}, s = {.run = do_set, .name = "k", .value = text_of("abc")};
    op o = {.run = do_open, .name = "k"};
    CHECK_STATUS(write_op(st, &s), FR_OK);
    CHECK_STATUS(write_op(st, &e), FR_OK);
    CHECK_STATUS(write_op_at(st, &o, NOW + 20), FR_OK);
    CHECK_STATUS(write_op_at(st, &s, NOW + 20), FR_OK);
    CHECK_STATUS(counter_add(st->s, o.size, 1, &out), FR_RETRY); /* dead, and still the counter's */
    for (int i = 0; i < 100; i++) { /* nobody else gets its block */
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        counter(st, name, 7);
    }
    CHECK_STATUS(write_op_at(st, &(op){.run = do_del, .name = "k"}, NOW + 20), FR_OK);
    uint64_t cell = o.size;
    CHECK_STATUS(write_op_at(st, &o, NOW + 20), FR_OK);
    CHECK(o.size == cell && add(st, cell, 1) == 1);
    close_sound(st);
}

static void a_converted_string_keeps_its_expiry(void) {
    store *st = big_store();
    int64_t out;
    op s = {.run = do_set, .name = "n", .value = text_of("41")}, e = {.run = do_expire, .name = "n", .at = NOW + 10};
    op f = {.run = do_find, .name = "n"};
    CHECK_STATUS(write_op(st, &s), FR_OK);
    CHECK_STATUS(write_op(st, &e), FR_OK);
    uint64_t cell = counter(st, "n", 0);
    CHECK_STATUS(counter_add(st->s, cell, 1, &out), FR_RETRY); /* it expires: not without a latch */
    CHECK_STATUS(read_op(st, &f), FR_OK);
    CHECK(f.flag && f.at == NOW + 10 && reads(st, "n", "41"));
    close_sound(st);
}

/* --- bounds ---------------------------------------------------------------------------------------------------------- */

static void bounds_decide(void) {
    static const struct {
        int64_t now, by;
        bounds b;
        fr_status status;
        bool done;
        int64_t next;
    } rows[] = {
        {3, 4, {0, 7, false, false, false}, FR_OK, true, 7},
        {3, 5, {0, 7, false, false, false}, FR_OK, false, 3},
        {3, 5, {0, 7, true, false, false}, FR_OK, true, 7},
        {3, -4, {0, 7, false, false, false}, FR_OK, false, 3},
        {3, -4, {0, 7, true, false, false}, FR_OK, true, 0},
        {9, -1, {0, 7, false, false, false}, FR_OK, false, 9}, /* a value that was outside, and stays so */
        {9, -2, {0, 7, false, false, false}, FR_OK, true, 7},
        {9, 1, {0, 7, true, false, false}, FR_OK, true, 7},
        {0, 0, {0, 0, false, false, false}, FR_OK, true, 0},
        {5, 0, {0, 0, false, false, false}, FR_OK, false, 5},
        {INT64_MAX, 1, {INT64_MIN, INT64_MAX, false, false, false}, FR_OK, false, INT64_MAX},
        {INT64_MAX, 1, {INT64_MIN, INT64_MAX, true, false, false}, FR_OK, true, INT64_MAX},
        {INT64_MAX, 1, {0, INT64_MAX, false, false, true}, FR_OVERFLOW, false, 0},
        {INT64_MAX, 1, {0, INT64_MAX, true, false, true}, FR_OVERFLOW, false, 0},
        {INT64_MIN, -1, {INT64_MIN, 5, false, true, false}, FR_OVERFLOW, false, 0},
        {INT64_MIN, -1, {INT64_MIN, 5, true, false, true}, FR_OK, true, INT64_MIN},
        {INT64_MAX, INT64_MAX, {-5, 5, true, false, false}, FR_OK, true, 5},
        {INT64_MIN, INT64_MIN, {-5, 5, true, false, false}, FR_OK, true, -5},
    };
    for (size_t i = 0; i < FR_COUNTOF(rows); i++) {
        int64_t next = 0;
        bool done = false;
        fr_status status = bounds_add(&rows[i].b, rows[i].now, rows[i].by, &next, &done);
        CHECK_STATUS(status, rows[i].status);
        if (status == FR_OK) CHECK(done == rows[i].done && next == rows[i].next);
    }
}

static bool adds_within(store *st, uint64_t cell, int64_t by, const bounds *b, int64_t want) {
    int64_t out = -1;
    bool done = false;
    CHECK_STATUS(counter_add_within(st->s, cell, by, b, &out, &done), FR_OK);
    CHECK(out == want);
    return done;
}

static void a_refused_step_stores_nothing(void) {
    store *st = big_store();
    uint64_t cell = counter(st, "seats", 3);
    cell16 *c = SEG_AT(st->s, cell, cell16), before;
    bounds low = {.lower = 0, .upper = 5}, clamped = {.lower = 0, .upper = 5, .saturate = true};
    CHECK(adds_within(st, cell, 2, &low, 5));
    before = *c;
    CHECK(!adds_within(st, cell, 1, &low, 5));
    CHECK(!adds_within(st, cell, -6, &low, 5));
    CHECK(memcmp(&before, c, sizeof before) == 0);
    CHECK(adds_within(st, cell, -6, &clamped, 0) && reads(st, "seats", "0"));
    CHECK(adds_within(st, cell, INT64_MAX, &clamped, 5) && c->state > before.state);
    bounds open = {.lower = 0, .upper = INT64_MAX, .open_above = true};
    int64_t out;
    bool done;
    CHECK_STATUS(counter_add_within(st->s, cell, INT64_MAX, &open, &out, &done), FR_OVERFLOW);
    CHECK(reads(st, "seats", "5"));
    close_sound(st);
}

static void bounds_too_need_a_live_cell(void) {
    store *st = big_store();
    bounds b = {.lower = 0, .upper = 5};
    int64_t out;
    bool done;
    uint64_t a = counter(st, "a", 9), e = counter(st, "e", 9), f = counter(st, "f", 9);
    CHECK(del(st, "a"));
    CHECK_STATUS(counter_add_within(st->s, a, 1, &b, &out, &done), FR_RETRY); /* not "9 is above 5" */
    op x = {.run = do_expire, .name = "e", .at = NOW + 50};
    CHECK_STATUS(write_op(st, &x), FR_OK);
    CHECK_STATUS(counter_add_within(st->s, e, 1, &b, &out, &done), FR_RETRY);
    op g = {.run = do_flush, .name = "x"};
    CHECK_STATUS(write_op(st, &g), FR_OK);
    CHECK_STATUS(counter_add_within(st->s, f, 1, &b, &out, &done), FR_RETRY);
    close_sound(st);
}

/* A dead counter is revived while a call looks at it: what the dead cell held must not decide. */
typedef struct revival {
    store *st;
    unsigned left;
} revival;

static void revive_at_load(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    revival *r = ctx;
    (void)addr, (void)len;
    if (kind != ACCESS_LD8 || r->left == 0 || --r->left) return;
    fr_hook = NULL;
    counter(r->st, "c", 0);
    fr_hook = revive_at_load;
    fr_hook_ctx = r;
}

static void a_dead_value_never_decides(void) {
    for (unsigned at = 1; at <= 6; at++) {
        for (int bounded = 0; bounded < 2; bounded++) {
            store *st = big_store();
            uint64_t cell = counter(st, "c", 9);
            CHECK(del(st, "c"));
            revival r = {st, at};
            bounds b = {.lower = 0, .upper = 5};
            int64_t out;
            bool done = true;
            fr_hook = revive_at_load;
            fr_hook_ctx = &r;
            fr_status status = bounded ? counter_add_within(st->s, cell, 1, &b, &out, &done)
                                       : counter_cas(st->s, cell, 0, 5, &done);
            fr_hook = NULL;
            CHECK(status == FR_RETRY || (status == FR_OK && done));
            close_sound(st);
        }
    }
}

/* --- many counters in one transaction --------------------------------------------------------------------------------- */

typedef struct crowd {
    unsigned n;
    uint64_t cell[80];
} crowd;

static crowd counted;

static fr_status do_crowd(store *st, txn *t, op *o) {
    for (unsigned i = 0; i < counted.n; i++) {
        char name[16];
        key k;
        snprintf(name, sizeof name, "n%u", i);
        fr_status status = key_route(st, 0, text_of(name), &k, t->err);
        if (status == FR_OK) status = str_incr(st, t, &k, 1, &o->number);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static store *crowd_of(const geometry *g, unsigned n) {
    store *st = store_with(g);
    counted.n = n;
    for (unsigned i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", i);
        counted.cell[i] = counter(st, name, 0);
    }
    return st;
}

static bool all_are(store *st, int64_t want) {
    for (unsigned i = 0; i < counted.n; i++) {
        int64_t now;
        if (counter_get(st->s, counted.cell[i], &now) != FR_OK || now != want) return false;
    }
    return true;
}

static geometry small(void) {
    geometry g = layout_default(8u << 20);
    g.stripes = 4;
    return g;
}

static void each_stripe_has_intents(void) {
    geometry g = small();
    store *st = crowd_of(&g, 64);
    op o = {.run = do_crowd, .name = "n0"};
    CHECK_STATUS(write_one(st, &o), FR_OK); /* one stripe is held at first: the rest are asked for */
    CHECK(all_are(st, 1));
    close_sound(st);
}

static void more_counters_than_intents_are_refused(void) {
    geometry g = small();
    store *st = crowd_of(&g, 65);
    op o = {.run = do_crowd, .name = "n0"};
    CHECK_STATUS(write_one(st, &o), FR_ARGUMENT);
    CHECK(strstr(last_error.text, "64 counters") != NULL);
    CHECK(all_are(st, 0)); /* and none is frozen */
    close_sound(st);
}

static bool crowd_dies_at(store *st, unsigned stores) {
    op o = {.run = do_crowd, .name = "n0"};
    volatile bool died = true;
    stores_left = stores;
    fr_hook = die_at_store;
    if (setjmp(death) == 0) {
        write_op(st, &o);
        died = false;
    }
    fr_hook = NULL;
    return died;
}

/* Dies at every seventh store of a transaction that needs the intents of every stripe. */
static void a_crowd_is_all_or_nothing(void) {
    bool died = true;
    unsigned nothing = 0, all = 0;
    for (unsigned at = 1; died; at += 7) {
        geometry g = small();
        store *st = crowd_of(&g, 64);
        uint32_t slot = st->s->me->slot, gen = LATCH_GEN(st->s->me->word);
        died = crowd_dies_at(st, at);
        segment_become(st->s, slot + 1, 1);
        segment_set_dead(st->s, slot, true);
        CHECK_STATUS(segment_recover_slot(st->s, slot, gen, clock_boot_ms() + 1000), FR_OK);
        bool none = all_are(st, 0), done = all_are(st, 1);
        CHECK(none || done);
        nothing += none;
        all += done;
        close_sound(st);
    }
    CHECK(nothing > 10 && all > 10);
}

/* Somebody adds at the last moment before the first store of an add. */
static uint64_t raced_cell;
static void add_before(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    int64_t out;
    (void)addr, (void)n;
    if (kind == ACCESS_LD8) return;
    fr_hook = NULL;
    CHECK_STATUS(counter_add(((store *)ctx)->s, raced_cell, 10, &out), FR_OK);
}
static void an_add_between_look_and_swap_is_kept(void) {
    store *st = big_store();
    int64_t out, now;
    op o = {.run = do_open, .name = "c"};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    raced_cell = o.size;
    CHECK_STATUS(counter_get(st->s, raced_cell, &now), FR_OK);
    fr_hook = add_before, fr_hook_ctx = st;
    CHECK_STATUS(counter_add(st->s, raced_cell, 1, &out), FR_OK);
    fr_hook = NULL;
    CHECK(out == now + 11);
    CHECK_STATUS(counter_get(st->s, raced_cell, &out), FR_OK);
    CHECK(out == now + 11);
    close_sound(st);
}

/* Every change steps the version, whoever makes it: a WATCH, or a compare-and-swap by version, must notice. */
static void every_way_to_a_counter_steps_its_version(void) {
    store *st = big_store();
    uint64_t cell = counter(st, "c", 5), version = version_of(st, "c");
    op ways[] = {{.run = do_incr, .name = "c", .by = 1}, {.run = do_incr, .name = "c", .by = 0},
                 {.run = do_set, .name = "c", .value = text_of("7")}, {.run = do_expire, .name = "c", .at = NOW + 50},
                 {.run = do_expire, .name = "c", .at = NO_EXPIRY}, {.run = do_del, .name = "c"}, {.run = do_open, .name = "c"}};
    for (size_t i = 0; i < FR_COUNTOF(ways); i++) {
        CHECK_STATUS(write_op(st, &ways[i]), FR_OK);
        uint64_t next = version_of(st, "c");
        CHECK(next != version);
        version = next;
    }
    add(st, cell, 1);
    CHECK(version_of(st, "c") != version);
    close_sound(st);
}

int main(void) {
    RUN(every_way_to_a_counter_steps_its_version);
    RUN(an_add_between_look_and_swap_is_kept);
    RUN(one_number_behind_both_ways);
    RUN(a_string_becomes_a_counter);
    RUN(deleted_and_revived_at_the_same_address);
    RUN(flush_kills_all_counters_at_once);
    RUN(limits_and_expiry);
    RUN(a_transaction_freezes_its_counters);
    RUN(a_replay_keeps_what_others_added);
    RUN(a_cell_outlives_a_dead_string_before_it);
    RUN(a_converted_string_keeps_its_expiry);
    RUN(bounds_decide);
    RUN(a_refused_step_stores_nothing);
    RUN(bounds_too_need_a_live_cell);
    RUN(a_dead_value_never_decides);
    RUN(each_stripe_has_intents);
    RUN(more_counters_than_intents_are_refused);
    RUN(a_crowd_is_all_or_nothing);
    return 0;
}
