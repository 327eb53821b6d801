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

int main(void) {
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
    return 0;
}
