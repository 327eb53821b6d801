/* test_string.c - strings and integers through transactions: values, conditions, expiry, arithmetic, parts, in-place
 * overwrites as readers see them, and refusals that change nothing.
 */
#include "store_fixture.h"

static set_options set_with; /* what do_set_with is to do */
static set_result set_got;

static fr_status do_get(store *st, txn *t, op *o) {
    fr_status status = str_get(st, t, &o->k, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}
static fr_status do_set_with(store *st, txn *t, op *o) {
    fr_status status = str_set(st, t, &o->k, o->value, &set_with, &set_got);
    o->v = set_got.old;
    return status == FR_OK && set_got.old.kind != VALUE_NONE ? keep_value(t, o) : status;
}
static fr_status do_incr(store *st, txn *t, op *o) { return str_incr(st, t, &o->k, o->by, &o->number); }
static fr_status do_append(store *st, txn *t, op *o) { return str_append(st, t, &o->k, o->value, &o->size); }
static fr_status do_range(store *st, txn *t, op *o) { return str_set_range(st, t, &o->k, o->at, o->value, &o->size); }
static fr_status do_cas(store *st, txn *t, op *o) { return str_cas(st, t, &o->k, o->old, o->value, &o->outcome); }
static fr_status do_float(store *st, txn *t, op *o) {
    return str_incr_float(st, t, &o->k, strtold(o->value.p, NULL), o->text, &o->text_n);
}

static fr_status set_n(store *st, const char *name, span value) {
    op o = {.run = do_set_with, .name = name, .value = value};
    return write_op(st, &o);
}
static fr_status set(store *st, const char *name, const char *value) {
    set_with = (set_options){.condition = SET_ALWAYS};
    return set_n(st, name, text_of(value));
}
static bool holds(store *st, const char *name, const char *want) {
    op o = {.run = do_get, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    bool same = want ? o.flag && o.text_n == strlen(want) && memcmp(o.text, want, o.text_n) == 0 : !o.flag;
    if (!same) fprintf(stderr, "%s is '%.*s', not '%s'\n", name, (int)(o.flag ? o.text_n : 5), o.flag ? o.text : "(nil)", want);
    return same;
}

static void values_of_every_class(void) {
    store *st = big_store();
    char *big = malloc(300000);
    for (size_t i = 0; i < 300000; i++) big[i] = (char)('a' + i % 26);
    for (size_t n = 0; n < 2500; n += 7) CHECK_STATUS(set_n(st, "k", (span){big, n}), FR_OK);
    for (size_t n = 3000; n < 300000; n *= 2) {
        CHECK_STATUS(set_n(st, "k", (span){big, n}), FR_OK);
        op o = {.run = do_get, .name = "k"};
        CHECK_STATUS(read_op(st, &o), FR_OK);
        CHECK(o.v.n == n);
        check_sound(st);
    }
    CHECK(del(st, "k"));
    CHECK(holds(st, "k", NULL));
    free(big);
    close_sound(st);
}

static void integers_are_kept_as_integers(void) {
    store *st = big_store();
    CHECK_STATUS(set(st, "n", "41"), FR_OK);
    op o = {.run = do_incr, .name = "n", .by = 1};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.number == 42 && holds(st, "n", "42"));
    CHECK_STATUS(set(st, "n", "9223372036854775807"), FR_OK);
    CHECK_STATUS(write_op(st, &o), FR_OVERFLOW);
    CHECK(holds(st, "n", "9223372036854775807"));
    CHECK_STATUS(set(st, "n", "007"), FR_OK);
    CHECK_STATUS(write_op(st, &o), FR_NOTINT);
    CHECK(holds(st, "n", "007"));
    op f = {.run = do_float, .name = "f", .value = text_of("10.5")};
    CHECK_STATUS(write_op(st, &f), FR_OK);
    CHECK(holds(st, "f", "10.5"));
    close_sound(st);
}

static void conditions(void) {
    store *st = big_store();
    set_with = (set_options){.condition = SET_XX};
    CHECK_STATUS(set_n(st, "k", text_of("v")), FR_OK);
    CHECK(!set_got.done && holds(st, "k", NULL));
    set_with = (set_options){.condition = SET_NX};
    CHECK_STATUS(set_n(st, "k", text_of("v")), FR_OK);
    CHECK(set_got.done);
    CHECK_STATUS(set_n(st, "k", text_of("w")), FR_OK);
    CHECK(!set_got.done && holds(st, "k", "v"));
    set_with = (set_options){.condition = SET_IFEQ, .match = text_of("v"), .want_old = true};
    CHECK_STATUS(set_n(st, "k", text_of("w")), FR_OK);
    CHECK(set_got.done && holds(st, "k", "w"));
    set_with = (set_options){.condition = SET_IFNE, .match = text_of("w")};
    CHECK_STATUS(set_n(st, "k", text_of("x")), FR_OK);
    CHECK(!set_got.done && holds(st, "k", "w"));
    op cas = {.run = do_cas, .name = "k", .old = text_of("w"), .value = text_of("z")};
    CHECK_STATUS(write_op(st, &cas), FR_OK);
    CHECK(cas.outcome == 1 && holds(st, "k", "z"));
    CHECK_STATUS(write_op(st, &cas), FR_OK);
    CHECK(cas.outcome == 0);
    cas.name = "absent";
    CHECK_STATUS(write_op(st, &cas), FR_OK);
    CHECK(cas.outcome == -1);
    close_sound(st);
}

static void versions_condition_and_never_repeat(void) {
    store *st = big_store();
    uint64_t absent = version_of(st, "k");
    CHECK_STATUS(set(st, "k", "v"), FR_OK);
    uint64_t first = version_of(st, "k");
    CHECK(set_got.version == first);
    set_with = (set_options){.check_version = true, .version = absent};
    CHECK_STATUS(set_n(st, "k", text_of("w")), FR_OK);
    CHECK(!set_got.done);
    set_with.version = first;
    CHECK_STATUS(set_n(st, "k", text_of("w")), FR_OK);
    CHECK(set_got.done && version_of(st, "k") != first);
    CHECK(del(st, "k"));
    CHECK(version_of(st, "k") != absent);
    CHECK_STATUS(set(st, "k", "v"), FR_OK);
    CHECK(version_of(st, "k") > first);
    close_sound(st);
}

static void expiry(void) {
    store *st = big_store();
    set_with = (set_options){.expiry = NOW + 100};
    CHECK_STATUS(set_n(st, "k", text_of("value")), FR_OK);
    CHECK(holds(st, "k", "value"));
    op late = {.run = do_get, .name = "k"};
    CHECK_STATUS(store_read(st, NOW + 100, NULL, run_op, &late, &last_error), FR_OK);
    CHECK(!late.flag);
    set_with = (set_options){.keep_ttl = true};
    CHECK_STATUS(set_n(st, "k", text_of("other")), FR_OK);
    op find = {.run = do_find, .name = "k"};
    CHECK_STATUS(read_op(st, &find), FR_OK);
    CHECK(find.at == NOW + 100);
    CHECK_STATUS(set(st, "k", "plain"), FR_OK);
    CHECK_STATUS(read_op(st, &find), FR_OK);
    CHECK(find.at == NO_EXPIRY);
    set_with = (set_options){.expiry = NOW - 1};
    CHECK_STATUS(set_n(st, "k", text_of("gone")), FR_OK);
    CHECK(holds(st, "k", NULL));
    close_sound(st);
}

static void parts(void) {
    store *st = big_store();
    op a = {.run = do_append, .name = "k", .value = text_of("hello")};
    CHECK_STATUS(write_op(st, &a), FR_OK);
    a.value = text_of(" world");
    CHECK_STATUS(write_op(st, &a), FR_OK);
    CHECK(a.size == 11 && holds(st, "k", "hello world"));
    op r = {.run = do_range, .name = "k", .at = 6, .value = text_of("there")};
    CHECK_STATUS(write_op(st, &r), FR_OK);
    CHECK(holds(st, "k", "hello there"));
    r.at = 13, r.value = text_of("!");
    CHECK_STATUS(write_op(st, &r), FR_OK);
    op o = {.run = do_get, .name = "k"};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.text_n == 14 && memcmp(o.text, "hello there\0\0!", 14) == 0);
    r.at = 600u << 20;
    CHECK_STATUS(write_op(st, &r), FR_TOOLONG);
    close_sound(st);
}

static void wrong_kinds_change_nothing(void) {
    store *st = big_store();
    hset(st, "h", "f", "v");
    op o = {.run = do_incr, .name = "h", .by = 1};
    CHECK_STATUS(write_op(st, &o), FR_WRONGTYPE);
    op g = {.run = do_get, .name = "h"};
    CHECK_STATUS(read_op(st, &g), FR_WRONGTYPE);
    op a = {.run = do_append, .name = "h", .value = text_of("x")};
    CHECK_STATUS(write_op(st, &a), FR_WRONGTYPE);
    CHECK(hget_is(st, "h", "f", "v"));
    close_sound(st);
}

typedef struct seen {
    unsigned old, new, other;
} seen;

static void look(store *st, void *ctx) {
    seen *s = ctx;
    op o = {.run = do_get, .name = "k"};
    CHECK_STATUS(store_read(st, NOW, NULL, run_op, &o, &last_error), FR_OK);
    bool is_old = o.text_n == 32 && memcmp(o.text, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 32) == 0;
    bool is_new = o.text_n == 32 && memcmp(o.text, "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", 32) == 0;
    s->old += is_old, s->new += is_new, s->other += !is_old && !is_new;
    if (is_old && s->new) s->other++; /* back after it was visible */
}

/* A reader at every store of an overwrite in place sees the old value, then the new one, from the journal meanwhile. */
static void readers_overlay_an_overwrite(void) {
    store *st = big_store();
    seen s = {0, 0, 0};
    CHECK_STATUS(set(st, "k", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), FR_OK);
    set_with = (set_options){.condition = SET_ALWAYS};
    op o = {.run = do_set_with, .name = "k", .value = text_of("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")};
    interleaving w = {.st = st, .look = look, .ctx = &s};
    CHECK_STATUS(write_watched(&w, &o), FR_OK);
    CHECK(w.stores >= 12 && s.old > 0 && s.new > 0 && s.other == 0);
    close_sound(st);
}

/* Too scattered for one run: the value goes to extents, and comes back whole. */
static void extents(void) {
    geometry g = layout_default(4u << 20);
    store *st = store_with(&g);
    char name[16], *big = malloc(1u << 20);
    memset(big, 'x', 1u << 20);
    set_with = (set_options){.condition = SET_ALWAYS};
    int n = 0;
    for (; n < 1000; n++) {
        snprintf(name, sizeof name, "fill%d", n);
        if (set_n(st, name, (span){big, 8000}) != FR_OK) break;
    }
    for (int i = 0; i < n; i += 2) {
        snprintf(name, sizeof name, "fill%d", i);
        CHECK(del(st, name));
    }
    CHECK_STATUS(set_n(st, "scattered", (span){big, 200000}), FR_OK); /* longer than any gap */
    op o = {.run = do_get, .name = "scattered"};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.v.n == 200000 && o.v.p == NULL);
    for (size_t at = 0; at < 200000; at += 40000) { /* compared to the last piece of the last extent */
        big[at + 39999] = 'y';
        op c = {.run = do_cas, .name = "scattered", .old = {big, 200000}, .value = text_of("never")};
        CHECK_STATUS(write_op(st, &c), FR_OK);
        CHECK(c.outcome == 0);
        big[at + 39999] = 'x';
    }
    check_sound(st);
    CHECK(del(st, "scattered"));
    free(big);
    close_sound(st);
}

static void full_is_refused_and_changes_nothing(void) {
    geometry g = layout_test();
    store *st = store_with(&g);
    char name[16];
    int n = 0;
    fr_status status = FR_OK;
    for (; n < 10000 && status == FR_OK; n++) {
        snprintf(name, sizeof name, "key%d", n);
        status = set(st, name, "0123456789abcdef0123456789abcdef");
    }
    CHECK_STATUS(status, FR_OOM);
    CHECK(n > 100);
    CHECK(holds(st, "key0", "0123456789abcdef0123456789abcdef"));
    CHECK(!exists(st, name));
    check_sound(st);
    for (int i = 0; i < n - 1; i++) {
        snprintf(name, sizeof name, "key%d", i);
        CHECK(del(st, name));
    }
    CHECK_STATUS(set(st, "again", "fits"), FR_OK);
    close_sound(st);
}

/* What makes a full segment emptier works in it: HDEL of a packed hash, EXPIRE of a short key, DEL of hundreds at once. */
static fr_status del_many(store *st, txn *t, void *ctx) {
    char name[16];
    for (int i = 0; i < *(int *)ctx; i++) {
        key k;
        bool existed;
        snprintf(name, sizeof name, "key%d", i);
        fr_status status = key_route(st, 0, text_of(name), &k, t->err);
        if (status == FR_OK) status = key_delete(st, t, &k, &existed);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}
static void a_full_segment_can_be_emptied(void) {
    geometry g = layout_default(2u << 20);
    store *st = store_with(&g);
    char name[16];
    int n = 0, many = 400;
    hset(st, "h", "a", "1");
    hset(st, "h", "b", "some text");
    for (fr_status status = FR_OK; status == FR_OK; n++) {
        snprintf(name, sizeof name, "key%d", n);
        status = set(st, name, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    }
    CHECK(n > 5000);
    CHECK(hdel(st, "h", "a") == 1);
    op e = {.run = do_expire, .name = "key500", .at = NOW + 1000};
    CHECK_STATUS(write_op(st, &e), FR_OK);
    CHECK(e.flag);
    stripe_set all;
    store_all_stripes(st, &all);
    CHECK_STATUS(store_write(st, NOW, UINT64_MAX, &all, del_many, &many, &last_error), FR_OK);
    CHECK(!exists(st, "key0") && !exists(st, "key399") && exists(st, "key400"));
    close_sound(st);
}

/* Found by fuzz/segment_file: a damaged bitmap gives a block away that a command has looked at already. */
static fr_status release_a_stranger(store *st, txn *t, op *o) {
    found f;
    fr_status status = key_find(st, t, &o->k, &f);
    if (status != FR_OK) return status;
    *SEG_AT(st->s, f.off + BLOCK_META, uint64_t) = META_MAKE(KIND_HASH, FLAG_EXTENTS, 0x1ffff, 0, 0);
    return block_release(t, o->k.stripe, f.slot);
}
static void a_block_that_became_another_is_damage(void) {
    geometry g = layout_test();
    store *st = store_with(&g);
    CHECK_STATUS(set(st, "k", "v"), FR_OK);
    op o = {.run = release_a_stranger, .name = "k"};
    CHECK_STATUS(write_op(st, &o), FR_DAMAGED);
    CHECK(strstr(last_error.text, "extents") != NULL);
    store_close(st);
}

static bool differs(store *st, const char *name, const char *from) {
    op o = {.run = do_get, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.flag && !(o.text_n == strlen(from) && memcmp(o.text, from, o.text_n) == 0);
}
static uint64_t expiry_of(store *st, const char *name) {
    op o = {.run = do_find, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.flag);
    return o.at;
}

/* What edits a value leaves its end alone; what replaces it takes the end away. */
static void edits_keep_the_expiry(void) {
    op edits[] = {{.run = do_append, .value = text_of("tail")}, {.run = do_range, .at = 2, .value = text_of("XY")},
                  {.run = do_cas, .old = text_of("10"), .value = text_of("a value")}, {.run = do_incr, .by = 1},
                  {.run = do_cas, .old = text_of("10"), .value = text_of("11")}, {.run = do_float, .value = text_of("0.5")}};
    store *st = big_store();
    for (size_t i = 0; i < FR_COUNTOF(edits); i++) {
        edits[i].name = "k";
        CHECK_STATUS(set(st, "k", "10"), FR_OK);
        CHECK_STATUS(write_op(st, &(op){.run = do_expire, .name = "k", .at = NOW + 50}), FR_OK);
        CHECK_STATUS(write_op(st, &edits[i]), FR_OK);
        CHECK(differs(st, "k", "10") && expiry_of(st, "k") == NOW + 50);
    }
    CHECK_STATUS(set(st, "k", "10"), FR_OK);
    CHECK(expiry_of(st, "k") == NO_EXPIRY);
    close_sound(st);
}

static void a_range_leaves_what_is_before_and_behind(void) {
    store *st = big_store();
    CHECK_STATUS(set(st, "k", "0123456789abcdefghij"), FR_OK);
    op o = {.run = do_range, .name = "k", .at = 3, .value = text_of("XYZ")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.size == 20 && holds(st, "k", "012XYZ6789abcdefghij"));
    o = (op){.run = do_range, .name = "k", .at = 22, .value = text_of("!")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    op g = {.run = do_get, .name = "k"};
    CHECK_STATUS(read_op(st, &g), FR_OK);
    CHECK(o.size == 23 && g.text_n == 23 && memcmp(g.text, "012XYZ6789abcdefghij\0\0!", 23) == 0);
    close_sound(st);
}

/* Values of several pages and of several extents are compared to the last byte. */
static void long_values_are_compared_as_a_whole(void) {
    store *st = big_store();
    for (size_t n = 3000; n < 3000000; n *= 9) {
        char *value = malloc(n), *other = malloc(n);
        memset(value, 'v', n);
        memcpy(other, value, n);
        CHECK_STATUS(set_n(st, "k", (span){value, n}), FR_OK);
        size_t places[] = {0, 511, 512, 4095, 4096, n / 2, n - 1};
        for (size_t i = 0; i < FR_COUNTOF(places); i++) {
            if (places[i] >= n) continue;
            other[places[i]] = 'w';
            op o = {.run = do_cas, .name = "k", .old = {other, n}, .value = text_of("never")};
            CHECK_STATUS(write_op(st, &o), FR_OK);
            CHECK(o.outcome == 0);
            other[places[i]] = 'v';
        }
        op o = {.run = do_cas, .name = "k", .old = {other, n}, .value = {value, n - 1}};
        CHECK_STATUS(write_op(st, &o), FR_OK);
        CHECK(o.outcome == 1);
        free(value);
        free(other);
    }
    close_sound(st);
}

static void the_longest_value_is_exact(void) {
    static char bytes[2001];
    store *st = big_store();
    segment_super(st->s)->shared_settings[SETTING_MAX_VALUE] = 2000;
    CHECK_STATUS(set_n(st, "k", (span){bytes, 2000}), FR_OK);
    CHECK_STATUS(set_n(st, "k", (span){bytes, 2001}), FR_TOOLONG);
    CHECK_STATUS(write_op(st, &(op){.run = do_append, .name = "k", .value = text_of("")}), FR_OK);
    CHECK_STATUS(write_op(st, &(op){.run = do_append, .name = "k", .value = text_of("x")}), FR_TOOLONG);
    CHECK_STATUS(write_op(st, &(op){.run = do_range, .name = "k", .at = 1999, .value = text_of("x")}), FR_OK);
    CHECK_STATUS(write_op(st, &(op){.run = do_range, .name = "k", .at = 2000, .value = text_of("x")}), FR_TOOLONG);
    close_sound(st);
}

int main(void) {
    RUN(edits_keep_the_expiry);
    RUN(a_range_leaves_what_is_before_and_behind);
    RUN(long_values_are_compared_as_a_whole);
    RUN(the_longest_value_is_exact);
    RUN(values_of_every_class);
    RUN(integers_are_kept_as_integers);
    RUN(conditions);
    RUN(versions_condition_and_never_repeat);
    RUN(expiry);
    RUN(parts);
    RUN(wrong_kinds_change_nothing);
    RUN(readers_overlay_an_overwrite);
    RUN(extents);
    RUN(full_is_refused_and_changes_nothing);
    RUN(a_full_segment_can_be_emptied);
    RUN(a_block_that_became_another_is_damage);
    return 0;
}
