/* test_quick.c - the straight-line calls agree with the general ones, and refuse everything that is not their case. */
#include "store/quick.h"

#include "store_fixture.h"

static fr_status do_get(store *st, txn *t, op *o) {
    fr_status status = str_get(st, t, &o->k, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}
static void set(store *st, const char *name, const char *value) {
    op o = {.run = do_set, .name = name, .value = text_of(value)};
    CHECK_STATUS(write_op(st, &o), FR_OK);
}
static key route(store *st, const char *name) {
    key k;
    CHECK_STATUS(key_route(st, 0, text_of(name), &k, &last_error), FR_OK);
    return k;
}
static bool general_says(store *st, const char *name, const char *want) {
    op o = {.run = do_get, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.flag && o.text_n == strlen(want) && memcmp(o.text, want, o.text_n) == 0;
}

static void agrees_with_the_general_path(void) {
    store *st = big_store();
    int64_t out;
    quick_value v;
    set(st, "s", "value of some length");
    set(st, "n", "41");
    key s = route(st, "s"), n = route(st, "n"), absent = route(st, "absent");
    CHECK_STATUS(quick_get(st, &s, &v), FR_OK);
    CHECK(v.n == 20 && memcmp(v.p, "value of some length", 20) == 0 && quick_holds(&v));
    CHECK_STATUS(quick_set(st, &s, text_of("another, as long yes")), FR_OK);
    CHECK(!quick_holds(&v) && general_says(st, "s", "another, as long yes"));
    uint64_t before = version_of(st, "n");
    CHECK_STATUS(quick_incr(st, &n, 1, &out), FR_OK);
    CHECK(out == 42 && general_says(st, "n", "42") && version_of(st, "n") != before);
    CHECK_STATUS(quick_set(st, &n, text_of("-7")), FR_OK);
    CHECK(general_says(st, "n", "-7"));
    CHECK_STATUS(quick_get(st, &absent, &v), FR_NOKEY);
    close_sound(st);
}

static void refuses_what_is_not_its_case(void) {
    store *st = big_store();
    int64_t out;
    quick_value v;
    set(st, "s", "value");
    set(st, "max", "9223372036854775807");
    set(st, "ttl", "value");
    hset(st, "h", "f", "v");
    op e = {.run = do_expire, .name = "ttl", .at = NOW + 50};
    CHECK_STATUS(write_op(st, &e), FR_OK);
    key s = route(st, "s"), max = route(st, "max"), ttl = route(st, "ttl"), h = route(st, "h"), absent = route(st, "absent");
    CHECK_STATUS(quick_set(st, &s, text_of("longer value")), FR_RETRY);
    CHECK_STATUS(quick_set(st, &s, text_of("12345")), FR_RETRY); /* an integer now */
    CHECK_STATUS(quick_incr(st, &s, 1, &out), FR_RETRY);
    CHECK_STATUS(quick_incr(st, &max, 1, &out), FR_OVERFLOW);
    CHECK_STATUS(quick_get(st, &ttl, &v), FR_RETRY); /* of a time long past, by the real clock */
    e.at = clock_boot_ms() + 100000;
    CHECK_STATUS(write_op(st, &e), FR_OK);
    CHECK_STATUS(quick_get(st, &ttl, &v), FR_OK);
    CHECK(v.n == 5 && memcmp(v.p, "value", 5) == 0 && quick_holds(&v));
    CHECK_STATUS(quick_set(st, &ttl, text_of("other")), FR_RETRY); /* SET takes the expiry away */
    CHECK_STATUS(quick_get(st, &h, &v), FR_RETRY);
    CHECK_STATUS(quick_set(st, &absent, text_of("v")), FR_RETRY);
    CHECK(general_says(st, "s", "value") && general_says(st, "max", "9223372036854775807"));
    CHECK(latch_try(st->s, s.stripe));
    CHECK_STATUS(quick_set(st, &s, text_of("other")), FR_RETRY); /* contended: the general path waits */
    latch_drop(st->s, s.stripe);
    close_sound(st);
}

typedef struct crash {
    store *st;
    char *image;
    unsigned at, now;
} crash;

static void photograph(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    crash *c = ctx;
    (void)addr, (void)len;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1) return;
    if (c->now++ == c->at) memcpy(c->image, c->st->s->base, c->st->s->g.max_size);
}

/* Dies before each of its stores in turn; what recovery leaves is before or after, and sound. */
static void every_store_of_a_quick_set(void) {
    geometry g = layout_test();
    store *st = store_with(&g), *copy = store_with(&g);
    crash c = {.st = st, .image = malloc(g.max_size)};
    const char *texts[2] = {"aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb"};
    unsigned old = 0, new = 0;
    set(st, "s", texts[0]);
    key s = route(st, "s");
    for (unsigned at = 0;; at++) {
        c.at = at, c.now = 0;
        CHECK_STATUS(quick_set(st, &s, text_of(texts[0])), FR_OK);
        fr_hook = photograph, fr_hook_ctx = &c;
        CHECK_STATUS(quick_set(st, &s, text_of(texts[1])), FR_OK);
        fr_hook = NULL;
        if (c.now <= at) break;
        memcpy(copy->s->base, c.image, g.max_size);
        segment_set_dead(copy->s, st->s->me->slot, true);
        segment_become(copy->s, 2, 1);
        CHECK_STATUS(txn_recover(copy->s, st->s->me->slot, LATCH_GEN(st->s->me->word)), FR_OK);
        bool is_new = general_says(copy, "s", texts[1]);
        CHECK(is_new || general_says(copy, "s", texts[0]));
        CHECK(!(new && !is_new));
        old += !is_new, new += is_new;
        check_sound(copy);
    }
    CHECK(old > 3 && new > 3);
    free(c.image);
    store_close(copy);
    close_sound(st);
}

/* The key was routed, then databases were swapped: what the other one is given now is not this key's. */
static fr_status do_swap(store *st, txn *t, op *o) {
    (void)o;
    return keyspace_swap(st, t, 0, 1);
}
static fr_status do_set_1(store *st, txn *t, op *o) {
    CHECK_STATUS(key_route(st, 1, text_of(o->name), &o->k, t->err), FR_OK);
    return do_set(st, t, o);
}
static void a_swap_comes_between_route_and_read(void) {
    store *st = big_store();
    quick_value v;
    set(st, "k", "mine");
    key k = route(st, "k");
    CHECK_STATUS(write_op(st, &(op){.run = do_swap, .name = "k"}), FR_OK);
    CHECK_STATUS(write_op(st, &(op){.run = do_set_1, .name = "k", .value = text_of("your")}), FR_OK);
    CHECK_STATUS(quick_get(st, &k, &v), FR_RETRY);
    close_sound(st);
}

int main(void) {
    RUN(agrees_with_the_general_path);
    RUN(refuses_what_is_not_its_case);
    RUN(every_store_of_a_quick_set);
    RUN(a_swap_comes_between_route_and_read);
    return 0;
}
