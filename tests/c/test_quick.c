/* test_quick.c - the straight-line calls agree with the general ones, and refuse everything that is not their case. */
#include "store/quick.h"

#include "shm/recovery.h"
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
    quick_value v = {.n = 0};
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
    quick_value v = {.n = 0};
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

/* A quick call that moves its subject between two values, 0 and 1. */
typedef struct subject {
    fr_status (*put)(store *st, int which);
    int (*seen)(store *st); /* which it holds, -1: something else */
} subject;

static const char *const texts[2] = {"aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbb"};
static fr_status put_text(store *st, int which) {
    key k = route(st, "s");
    return quick_set(st, &k, text_of(texts[which]));
}
static int seen_text(store *st) { return general_says(st, "s", texts[1]) ? 1 : general_says(st, "s", texts[0]) ? 0 : -1; }

static fr_status put_number(store *st, int which) {
    int64_t out;
    key k = route(st, "n");
    return quick_incr(st, &k, which ? 1 : -1, &out);
}
static int seen_number(store *st) { return general_says(st, "n", "42") ? 1 : general_says(st, "n", "41") ? 0 : -1; }

static fr_status put_cell(store *st, int which) {
    int64_t out;
    key k = route(st, "t:r");
    const table *tb = table_at(st, (uint32_t)k.table);
    return quick_row_add(st, &k, tb, &tb->schema.column[0], which ? 1 : -1, &out);
}
static int seen_cell(store *st) {
    const char *have = hget(st, "t:r", "c");
    return strcmp(have, "8") == 0 ? 1 : strcmp(have, "7") == 0 ? 0 : -1;
}

/* Two columns at once, in words that do not touch. */
static fr_status put_pair(store *st, int which) {
    char image[256];
    bool done;
    cell_in set = {2, {.kind = VALUE_INT, .i = which ? -5 : 5}}, add = {0, {.kind = VALUE_INT, .i = which ? 1 : -1}};
    row_condition when = {2, ROW_EQ, {.kind = VALUE_INT, .i = which ? 5 : -5}};
    row_steps s = {.condition = &when, .conditions = 1, .set = &set, .sets = 1, .add = &add, .adds = 1};
    key k = route(st, "t:r");
    fr_status status = quick_row_update(st, &k, table_at(st, (uint32_t)k.table), &s, image, &done);
    return status == FR_OK && !done ? FR_RANGE : status;
}
static int seen_pair(store *st) {
    char c[32], d[32];
    snprintf(c, sizeof c, "%s", hget(st, "t:r", "c"));
    snprintf(d, sizeof d, "%s", hget(st, "t:r", "d"));
    if (strcmp(c, "8") == 0 && strcmp(d, "-5") == 0) return 1;
    return strcmp(c, "7") == 0 && strcmp(d, "5") == 0 ? 0 : -1;
}

/* A store over a photograph, seen by another process; `dead` has died in it. */
static void load_image(store *to, const char *image, uint32_t slot, uint32_t dead) {
    memcpy(to->s->base, image, to->s->g.max_size);
    segment_set_dead(to->s, dead, true);
    segment_become(to->s, slot, 1);
}

/* What somebody sees who can only read, while the latch's owner is dead or has been stopped: never a mixture. */
static int seen_by_a_reader(store *st, const char *image, const subject *what, uint32_t dead) {
    load_image(st, image, 2, dead);
    st->s->readonly = true;
    int which = what->seen(st);
    st->s->readonly = false;
    return which;
}

/* Recovers `first`, whose recoverer dies before each of its stores in turn, and each time again in `second`. */
static int recover_and_recover(store *first, store *second, const char *image, const subject *what, uint32_t dead, uint32_t gen) {
    crash c = {.st = first, .image = malloc(first->s->g.max_size)};
    int which = -1;
    for (c.at = 0;; c.at++) {
        c.now = 0;
        load_image(first, image, 2, dead);
        fr_hook = photograph, fr_hook_ctx = &c;
        CHECK_STATUS(recovery_run(first->s, dead, gen), FR_OK);
        fr_hook = NULL;
        which = what->seen(first);
        if (c.now <= c.at) break;
        int read = seen_by_a_reader(second, c.image, what, dead);
        load_image(second, c.image, 3, dead);
        CHECK_STATUS(recovery_run(second->s, dead, gen), FR_OK);
        CHECK(what->seen(second) == which && (read == 0 || read == which));
        check_sound(second);
    }
    check_sound(first);
    free(c.image);
    return which;
}

/* Dies before each of its stores in turn; what recovery leaves, however often it dies itself, is before or after. */
static void every_store_of(const subject *what) {
    geometry g = layout_test();
    store *st = store_with(&g), *first = store_with(&g), *second = store_with(&g);
    crash c = {.st = st, .image = malloc(g.max_size)};
    schema sc = {.columns = 0};
    table *tb;
    bool created;
    unsigned seen[2] = {0, 0};
    set(st, "s", texts[0]);
    set(st, "n", "41");
    CHECK_STATUS(schema_add(&sc, text_of("c"), text_of("int32"), &last_error), FR_OK);
    CHECK_STATUS(schema_add(&sc, text_of("note"), text_of("str:8"), &last_error), FR_OK);
    CHECK_STATUS(schema_add(&sc, text_of("d"), text_of("int64"), &last_error), FR_OK);
    CHECK_STATUS(table_declare(st, text_of("t"), 4, &sc, NOW, &tb, &created, &last_error), FR_OK);
    hset(st, "t:r", "c", "7");
    hset(st, "t:r", "d", "5");
    uint32_t me = st->s->me->word;
    for (c.at = 0;; c.at++) {
        c.now = 0;
        fr_hook = photograph, fr_hook_ctx = &c;
        CHECK_STATUS(what->put(st, 1), FR_OK);
        fr_hook = NULL;
        if (c.now <= c.at) break;
        CHECK_STATUS(what->put(st, 0), FR_OK);
        int read = seen_by_a_reader(first, c.image, what, LATCH_SLOT(me));
        int which = recover_and_recover(first, second, c.image, what, LATCH_SLOT(me), LATCH_GEN(me));
        CHECK(which == 0 || which == 1);
        CHECK(read == 0 || read == which);
        CHECK(!(which == 0 && seen[1])); /* never back */
        if (which >= 0) seen[which]++;
    }
    CHECK(seen[0] > 3 && seen[1] > 3);
    free(c.image);
    store_close(first);
    store_close(second);
    close_sound(st);
}

static void every_store_of_a_quick_set(void) { every_store_of(&(subject){put_text, seen_text}); }
static void every_store_of_a_quick_incr(void) { every_store_of(&(subject){put_number, seen_number}); }
static void every_store_of_a_quick_row_add(void) { every_store_of(&(subject){put_cell, seen_cell}); }
static void every_store_of_a_quick_row_update(void) { every_store_of(&(subject){put_pair, seen_pair}); }

/* A reader at each store of a quick update sees both columns before, or both after. */
static void look_at_pair(store *st, void *ctx) {
    unsigned *seen = ctx;
    int which = seen_pair(st), straight = -1;
    char image[256];
    key k = route(st, "t:r");
    const table *tb = table_at(st, (uint32_t)k.table);
    fr_status status = quick_row_image(st, &k, tb, image);
    if (status == FR_OK) {
        int32_t c;
        int64_t d;
        memcpy(&c, image + tb->schema.column[0].offset, 4);
        memcpy(&d, image + tb->schema.column[2].offset, 8);
        straight = c == 8 && d == -5 ? 1 : c == 7 && d == 5 ? 0 : 2;
    }
    CHECK(status == FR_OK ? straight == which : status == FR_RETRY);
    seen[2] += status == FR_OK;
    CHECK(which >= 0 && !(which == 0 && seen[1]));
    if (which >= 0) seen[which]++;
}
static void readers_see_all_of_a_quick_row_update(void) {
    store *st = big_store();
    schema sc = {.columns = 0};
    table *tb;
    bool created;
    unsigned seen[3] = {0, 0, 0};
    static const char *const columns[][2] = {{"c", "int32"}, {"note", "str:8"}, {"d", "int64"}};
    for (unsigned i = 0; i < 3; i++)
        CHECK_STATUS(schema_add(&sc, text_of(columns[i][0]), text_of(columns[i][1]), &last_error), FR_OK);
    CHECK_STATUS(table_declare(st, text_of("t"), 4, &sc, NOW, &tb, &created, &last_error), FR_OK);
    hset(st, "t:r", "c", "7");
    hset(st, "t:r", "d", "5");
    interleaving w = {.st = st, .look = look_at_pair, .ctx = seen};
    fr_hook = at_store, fr_hook_ctx = &w;
    CHECK_STATUS(put_pair(st, 1), FR_OK);
    fr_hook = NULL;
    CHECK(seen[0] > 3 && seen[1] > 3 && seen[2] > 3);
    CHECK(del(st, "t:r"));
    char image[256];
    key k = route(st, "t:r");
    CHECK_STATUS(quick_row_image(st, &k, tb, image), FR_NOKEY);
    close_sound(st);
}

/* Two names under one tag of one stripe, found by trying: the one that the index shows first is answered, the other is left
 * to the general path, which tells them apart. */
#define NAMES 500000u
typedef struct tagged {
    uint64_t mark; /* tag and stripe */
    uint32_t number;
} tagged;
static int by_mark(const void *a, const void *b) {
    uint64_t x = ((const tagged *)a)->mark, y = ((const tagged *)b)->mark;
    return (x > y) - (x < y);
}
static void two_names_under_one_tag(void) {
    static tagged all[NAMES];
    store *st = big_store();
    char name[2][16];
    quick_value v = {.n = 0};
    uint32_t i;
    for (i = 0; i < NAMES; i++) {
        snprintf(name[0], 16, "name%u", i);
        key k = route(st, name[0]);
        all[i] = (tagged){(uint64_t)INDEX_TAG(k.hash) << 32 | k.stripe, i};
    }
    qsort(all, NAMES, sizeof *all, by_mark);
    for (i = 1; i < NAMES && all[i].mark != all[i - 1].mark; i++) continue;
    CHECK(i < NAMES);
    if (i == NAMES) return;
    for (unsigned n = 0; n < 2; n++) {
        snprintf(name[n], 16, "name%u", all[i - n].number);
        set(st, name[n], name[n]);
    }
    for (unsigned n = 0, answered = 0; n < 2; n++) {
        key k = route(st, name[n]);
        fr_status status = quick_get(st, &k, &v);
        answered += status == FR_OK;
        CHECK(status == FR_OK ? v.n == strlen(name[n]) && memcmp(v.p, name[n], v.n) == 0 : status == FR_RETRY);
        CHECK(general_says(st, name[n], name[n]) && (n == 0 || answered == 1));
    }
    close_sound(st);
}

/* What the straight path compares and copies word by word, against memcmp and memcpy. */
static void compares_and_copies_every_length(void) {
    static _Alignas(8) char shared[320], own[320], out[328];
    for (size_t i = 0; i < sizeof shared; i++) shared[i] = own[i] = (char)(i * 7 + 1);
    for (size_t n = 0; n <= 312; n++) {
        CHECK(same_bytes(shared, own, n));
        own[n] ^= 1;
        CHECK(same_bytes(shared, own, n));
        own[n] ^= 1;
        for (size_t i = 0; i < n; i += n > 16 ? 7 : 1) {
            own[i] ^= 1;
            CHECK(!same_bytes(shared, own, n));
            own[i] ^= 1;
        }
        memset(out, 0, sizeof out);
        copy_out(out, shared, n);
        CHECK(memcmp(out, shared, n) == 0 && out[n] == 0);
    }
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
    quick_value v = {.n = 0};
    set(st, "k", "mine");
    key k = route(st, "k");
    CHECK_STATUS(write_op(st, &(op){.run = do_swap, .name = "k"}), FR_OK);
    CHECK_STATUS(write_op(st, &(op){.run = do_set_1, .name = "k", .value = text_of("your")}), FR_OK);
    CHECK_STATUS(quick_get(st, &k, &v), FR_RETRY);
    close_sound(st);
}

/* As test_txn.c has it for the general path. */
static store *ringing;
static unsigned looks, early;
static void at_bells(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    segment *s = ringing->s;
    const char *at = addr, *entries = SEG_AT(s, s->l.notify, const char);
    bool anybody = addr == &segment_super(s)->doorbells;
    (void)ctx, (void)n;
    if (kind != ACCESS_LD8 || !(anybody || (at >= entries && at < entries + s->g.notify_words * sizeof(cell16)))) return;
    looks += anybody;
    for (uint32_t i = 0; i < ringing->s->l.latch_count; i++) early += ld4(&segment_stripe(ringing->s, i)->latch) != 0;
}
static void waiters_are_looked_for_after_the_unlock(void) {
    store *st = ringing = big_store();
    set(st, "s", "value");
    key k = route(st, "s");
    wait_point p = wait_mark(st->s, k.hash);
    fr_hook = at_bells;
    CHECK_STATUS(quick_set(st, &k, text_of("other")), FR_OK);
    fr_hook = NULL;
    CHECK(looks == 1 && early == 0 && *p.futex != p.seen);
    close_sound(st);
}

/* Columns end where their type does, a row's expiry is for those who look at the clock. */
static void refuses_rows_that_are_not_its_case(void) {
    store *st = big_store();
    schema sc = {.columns = 0};
    table *tb;
    bool created;
    int64_t out;
    char image[256];
    static const struct {
        const char *type, *at;
        int64_t by;
    } end[] = {{"int8", "127", 1}, {"int8", "-128", -1}, {"uint8", "255", 1}, {"uint8", "0", -1}, {"int16", "32767", 1},
               {"uint16", "65535", 1}, {"int32", "-2147483648", -1}, {"uint32", "4294967295", 1},
               {"int64", "9223372036854775807", 1}};
    for (size_t i = 0; i < FR_COUNTOF(end); i++) {
        char name[4] = {'c', (char)('0' + i)};
        CHECK_STATUS(schema_add(&sc, text_of(name), text_of(end[i].type), &last_error), FR_OK);
    }
    CHECK_STATUS(table_declare(st, text_of("t"), 4, &sc, NOW, &tb, &created, &last_error), FR_OK);
    for (size_t i = 0; i < FR_COUNTOF(end); i++) {
        char name[4] = {'c', (char)('0' + i)};
        hset(st, "t:r", name, end[i].at);
        key k = route(st, "t:r");
        CHECK_STATUS(quick_row_add(st, &k, tb, &tb->schema.column[i], end[i].by, &out), FR_RETRY);
        CHECK(hget_is(st, "t:r", name, end[i].at));
        CHECK_STATUS(quick_row_add(st, &k, tb, &tb->schema.column[i], -end[i].by, &out), FR_OK);
    }
    key k = route(st, "t:r");
    CHECK_STATUS(quick_row_image(st, &k, tb, image), FR_OK);
    CHECK_STATUS(write_op(st, &(op){.run = do_expire, .name = "t:r", .at = NOW + 50}), FR_OK);
    CHECK_STATUS(quick_row_image(st, &k, tb, image), FR_RETRY);
    CHECK_STATUS(quick_row_add(st, &k, tb, &tb->schema.column[0], -1, &out), FR_RETRY);
    close_sound(st);
}

/* An eviction policy wants access marks; a damaged segment is not written to, and of a lost one nothing is believed. */
static void refuses_what_the_segment_is_in(void) {
    store *st = big_store();
    superblock *super = segment_super(st->s);
    int64_t out;
    quick_value v;
    set(st, "s", "value");
    set(st, "n", "41");
    key s = route(st, "s"), n = route(st, "n");
    super->shared_settings[SETTING_POLICY] = 1;
    CHECK_STATUS(quick_get(st, &s, &v), FR_RETRY);
    CHECK_STATUS(quick_set(st, &s, text_of("other")), FR_RETRY);
    super->shared_settings[SETTING_POLICY] = 0;
    super->damaged = 1;
    CHECK_STATUS(quick_set(st, &s, text_of("other")), FR_RETRY);
    CHECK_STATUS(quick_incr(st, &n, 1, &out), FR_RETRY);
    super->damaged = 0;
    CHECK(general_says(st, "s", "value") && general_says(st, "n", "41"));
    st->s->lost = true;
    CHECK_STATUS(quick_set(st, &s, text_of("other")), FR_LOST);
    CHECK_STATUS(quick_incr(st, &n, 1, &out), FR_LOST);
    st->s->lost = false;
    close_sound(st);
}

int main(void) {
    RUN(refuses_rows_that_are_not_its_case);
    RUN(refuses_what_the_segment_is_in);
    RUN(waiters_are_looked_for_after_the_unlock);
    RUN(agrees_with_the_general_path);
    RUN(refuses_what_is_not_its_case);
    RUN(two_names_under_one_tag);
    RUN(compares_and_copies_every_length);
    RUN(every_store_of_a_quick_set);
    RUN(every_store_of_a_quick_incr);
    RUN(every_store_of_a_quick_row_add);
    RUN(every_store_of_a_quick_row_update);
    RUN(readers_see_all_of_a_quick_row_update);
    RUN(a_swap_comes_between_route_and_read);
    return 0;
}
