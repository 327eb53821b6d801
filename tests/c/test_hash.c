/* test_hash.c - hashes: both shapes, the step from one to the other, and what a reader sees meanwhile. */
#include "store_fixture.h"

#include <math.h>

static char *repeat(char c, size_t n) {
    static char buf[8192];
    memset(buf, c, n);
    buf[n] = '\0';
    return buf;
}

static fr_status do_encoding(store *st, txn *t, op *o) {
    found f;
    fr_status status = key_find(st, t, &o->k, &f);
    if (status != FR_OK || !f.exists) return status;
    o->flag = f.kind == KIND_TREE;
    o->size = hash_memory(st, t, &f);
    strcpy(o->text, hash_encoding(st, t, &f));
    return FR_OK;
}

static bool encoding_is(store *st, const char *name, const char *want, bool tree) {
    op o = {.run = do_encoding, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.size > 0);
    return strcmp(o.text, want) == 0 && o.flag == tree;
}

static void fill_hash(store *st, const char *name, unsigned from, unsigned to) {
    char field[32], value[32];
    for (unsigned i = from; i < to; i++) {
        snprintf(field, sizeof field, "f%u", i);
        snprintf(value, sizeof value, "v%u", i);
        CHECK(hset(st, name, field, value) == 1);
    }
}

static bool hash_is_full(store *st, const char *name, unsigned n) {
    char field[32], value[32];
    for (unsigned i = 0; i < n; i++) {
        snprintf(field, sizeof field, "f%u", i);
        snprintf(value, sizeof value, "v%u", i);
        if (!hget_is(st, name, field, value)) return false;
    }
    return hlen(st, name) == n;
}

/* --- packed ------------------------------------------------------------------------------------------------------- */

static void a_small_hash_is_packed(void) {
    store *st = big_store();
    CHECK(hlen(st, "h") == 0 && hget_is(st, "h", "a", "(nil)"));
    CHECK(hset(st, "h", "a", "1") == 1);
    CHECK(hset(st, "h", "b", "") == 1);
    CHECK(hset(st, "h", "", "empty") == 1);
    CHECK(hset(st, "h", "a", "1234567890123") == 0);
    CHECK(hset(st, "h", "c", "-9223372036854775808") == 1);
    CHECK(hset(st, "h", "d", "007") == 1);
    CHECK(hget_is(st, "h", "a", "1234567890123") && hget_is(st, "h", "b", "") && hget_is(st, "h", "", "empty"));
    CHECK(hget_is(st, "h", "c", "-9223372036854775808") && hget_is(st, "h", "d", "007"));
    CHECK(hlen(st, "h") == 5 && encoding_is(st, "h", "listpack", false));
    close_sound(st);
}

static void several_fields_in_one_step(void) {
    store *st = big_store();
    field_value fv[] = {{SPAN_LIT("a"), SPAN_LIT("1")}, {SPAN_LIT("b"), SPAN_LIT("2")}, {SPAN_LIT("a"), SPAN_LIT("3")}};
    op o = {.run = do_hset, .name = "h", .fv = fv, .fv_count = 3};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.count == 2 && hget_is(st, "h", "a", "3") && hget_is(st, "h", "b", "2") && hlen(st, "h") == 2);
    close_sound(st);
}

static void the_last_field_takes_the_key_along(void) {
    store *st = big_store();
    hset(st, "h", "a", "1");
    hset(st, "h", "b", "2");
    CHECK(hdel(st, "h", "nope") == 0 && hdel(st, "h", "a") == 1 && exists(st, "h"));
    CHECK(hdel(st, "h", "b") == 1 && !exists(st, "h") && hdel(st, "h", "b") == 0);
    close_sound(st);
}

static void nx_sets_only_what_is_absent(void) {
    store *st = big_store();
    op o = {.run = do_hset, .name = "h", .field = SPAN_LIT("a"), .value = SPAN_LIT("1"), .condition = FIELD_NX};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.count == 1);
    uint64_t version = version_of(st, "h");
    o.value = SPAN_LIT("2");
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.count == 0 && hget_is(st, "h", "a", "1") && version_of(st, "h") == version);
    close_sound(st);
}

static void other_kinds_are_refused(void) {
    store *st = big_store();
    op set = {.run = do_set, .name = "s", .value = SPAN_LIT("x")};
    CHECK_STATUS(write_op(st, &set), FR_OK);
    uint64_t version = version_of(st, "s");
    CHECK_STATUS(try_hset(st, "s", "a", SPAN_LIT("1")), FR_WRONGTYPE);
    op o = {.run = do_hget, .name = "s", .field = SPAN_LIT("a")};
    CHECK_STATUS(read_op(st, &o), FR_WRONGTYPE);
    o.run = do_hdel;
    CHECK_STATUS(write_op(st, &o), FR_WRONGTYPE);
    o.run = do_hincr;
    CHECK_STATUS(write_op(st, &o), FR_WRONGTYPE);
    CHECK(version_of(st, "s") == version);
    close_sound(st);
}

static void a_field_name_has_a_limit(void) {
    store *st = big_store();
    char *name = malloc(KEY_MAX + 1);
    memset(name, 'f', KEY_MAX + 1);
    op o = {.run = do_hset, .name = "h", .field = {name, KEY_MAX + 1}, .value = SPAN_LIT("1")};
    CHECK_STATUS(write_op(st, &o), FR_TOOLONG);
    CHECK(!exists(st, "h"));
    o.field.n = KEY_MAX;
    CHECK_STATUS(write_op(st, &o), FR_OK);
    o.run = do_hget;
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.flag);
    free(name);
    close_sound(st);
}

/* --- arithmetic --------------------------------------------------------------------------------------------------- */

static fr_status incr(store *st, const char *field, int64_t by, int64_t *out) {
    op o = {.run = do_hincr, .name = "h", .field = text_of(field), .by = by};
    fr_status status = write_op(st, &o);
    *out = o.number;
    return status;
}

static void check_arithmetic(store *st) {
    int64_t n;
    CHECK_STATUS(incr(st, "n", 5, &n), FR_OK);
    CHECK(n == 5);
    CHECK_STATUS(incr(st, "n", -7, &n), FR_OK);
    CHECK(n == -2 && hget_is(st, "h", "n", "-2"));
    hset(st, "h", "max", "9223372036854775807");
    hset(st, "h", "text", "12a");
    hset(st, "h", "zero", "012");
    uint64_t version = version_of(st, "h");
    CHECK_STATUS(incr(st, "max", 1, &n), FR_OVERFLOW);
    CHECK_STATUS(incr(st, "text", 1, &n), FR_HASHNOTINT);
    CHECK_STATUS(incr(st, "zero", 1, &n), FR_HASHNOTINT);
    CHECK(version_of(st, "h") == version && hget_is(st, "h", "max", "9223372036854775807"));
}

static bool float_gives(store *st, const char *field, const char *by, const char *want) {
    op o = {.run = do_hincrfloat, .name = "h", .field = text_of(field), .value = text_of(by)};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    o.text[o.text_n] = '\0';
    if (strcmp(o.text, want) != 0) fprintf(stderr, "got %s, not %s\n", o.text, want);
    return strcmp(o.text, want) == 0 && hget_is(st, "h", field, want);
}

static void check_float_arithmetic(store *st) {
    CHECK(float_gives(st, "x", "10.5", "10.5") && float_gives(st, "x", "0.1", "10.6") &&
          float_gives(st, "x", "-10.6", "0"));
    CHECK(float_gives(st, "y", "5.0e3", "5000") && float_gives(st, "y", "2.0e2", "5200"));
    CHECK(float_gives(st, "z", "-0.25", "-0.25"));
    hset(st, "h", "text", " 1");
    op o = {.run = do_hincrfloat, .name = "h", .field = SPAN_LIT("text"), .value = SPAN_LIT("1")};
    CHECK_STATUS(write_op(st, &o), FR_HASHNOTFLOAT);
    o.field = SPAN_LIT("x");
    o.value = SPAN_LIT("inf");
    CHECK_STATUS(write_op(st, &o), FR_NANINF);
}

static void check_cas(store *st) {
    op o = {.run = do_hcas, .name = "h", .field = SPAN_LIT("c"), .old = SPAN_LIT("1"), .value = SPAN_LIT("2")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == -1);
    hset(st, "h", "c", "1");
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 1 && hget_is(st, "h", "c", "2"));
    uint64_t version = version_of(st, "h");
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 0 && version_of(st, "h") == version);
}

static void arithmetic_on_a_packed_hash(void) {
    store *st = big_store();
    check_arithmetic(st);
    check_float_arithmetic(st);
    check_cas(st);
    CHECK(encoding_is(st, "h", "listpack", false));
    close_sound(st);
}

static void arithmetic_on_a_tree(void) {
    store *st = big_store();
    hset(st, "h", "long", repeat('x', 100));
    check_arithmetic(st);
    check_float_arithmetic(st);
    check_cas(st);
    CHECK(encoding_is(st, "h", "hashtable", true));
    close_sound(st);
}

/* --- packed to tree ----------------------------------------------------------------------------------------------- */

static void many_fields_make_a_tree(void) {
    store *st = big_store();
    fill_hash(st, "h", 0, 100);
    CHECK(encoding_is(st, "h", "listpack", false));
    fill_hash(st, "h", 100, 512);
    CHECK(encoding_is(st, "h", "listpack", true)); /* the block was full long before, redis-server would not notice */
    CHECK(hash_is_full(st, "h", 512));
    fill_hash(st, "h", 512, 513);
    CHECK(encoding_is(st, "h", "hashtable", true) && hash_is_full(st, "h", 513));
    close_sound(st);
}

static void long_values_make_a_tree(void) {
    store *st = big_store();
    fill_hash(st, "h", 0, 3);
    hset(st, "h", "edge", repeat('x', 64));
    CHECK(encoding_is(st, "h", "listpack", false));
    hset(st, "h", "edge", repeat('y', 65));
    CHECK(encoding_is(st, "h", "hashtable", true) && hget_is(st, "h", "edge", repeat('y', 65)));
    hset(st, "h", "edge", "short");
    CHECK(encoding_is(st, "h", "hashtable", true) && hget_is(st, "h", "edge", "short") && hlen(st, "h") == 4);
    close_sound(st);
}

static void a_tree_keeps_its_expiry(void) {
    store *st = big_store();
    fill_hash(st, "h", 0, 3);
    op o = {.run = do_expire, .name = "h", .at = NOW + 500};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    hset(st, "h", "long", repeat('x', 100));
    o.run = do_find;
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.at == NOW + 500);
    CHECK_STATUS(write_op_at(st, &o, NOW + 500), FR_OK);
    CHECK(!o.flag);
    op set = {.run = do_hset, .name = "h", .field = SPAN_LIT("a"), .value = SPAN_LIT("1")};
    CHECK_STATUS(write_op_at(st, &set, NOW + 500), FR_OK);
    CHECK(hlen(st, "h") == 1);
    close_sound(st);
}

static void values_of_many_pages(void) {
    store *st = big_store();
    size_t n = 3u << 20;
    char *big = malloc(n);
    for (size_t i = 0; i < n; i++) big[i] = (char)(i * 2654435761u >> 13);
    op o = {.run = do_hset, .name = "h", .field = SPAN_LIT("big"), .value = {big, n}};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    o.run = do_hcas;
    o.old = o.value;
    o.value = SPAN_LIT("small");
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 1 && hget_is(st, "h", "big", "small"));
    free(big);
    close_sound(st);
}

/* --- trees -------------------------------------------------------------------------------------------------------- */

static void drain(store *st) {
    for (int i = 0; i < 100000; i++)
        if (store_tick(st, NOW, 1000) == 0) return;
    CHECK(!"reclaim comes to an end");
}

static void a_tree_empties_field_by_field(void) {
    store *st = big_store();
    fill_hash(st, "h", 0, 600);
    char field[32];
    for (unsigned i = 0; i < 600; i++) {
        snprintf(field, sizeof field, "f%u", i);
        CHECK(hlen(st, "h") == 600 - i && hdel(st, "h", field) == 1);
    }
    CHECK(!exists(st, "h"));
    check_sound(st);
    drain(st);
    close_sound(st);
}

static void a_deleted_tree_comes_back_as_pages(void) {
    store *st = big_store();
    hset(st, "seed", "a", "1"); /* index pages of one stripe at least are there before */
    fill_hash(st, "h", 0, 5000);
    uint64_t full = pages_used(st);
    CHECK(del(st, "h") && !exists(st, "h"));
    check_sound(st);
    store_tick(st, NOW, 1);
    check_sound(st);
    drain(st);
    unsigned n;
    for (uint32_t i = 0; i < st->s->g.stripes; i++) {
        CHECK_STATUS(heap_trim(st->s, i, NOW, NOW + 200, 10000, &n, &last_error), FR_OK);
        CHECK(segment_stripe(st->s, i)->trash == 0);
    }
    CHECK(pages_used(st) + 40 < full);
    close_sound(st);
}

static void a_renamed_tree_works_from_two_stripes(void) {
    store *st = big_store();
    fill_hash(st, "h", 0, 600);
    char to[16];
    key a, b = {.stripe = 0};
    CHECK_STATUS(key_route(st, 0, SPAN_LIT("h"), &a, &last_error), FR_OK);
    for (unsigned i = 0; snprintf(to, sizeof to, "to%u", i), key_route(st, 0, text_of(to), &b, &last_error) == FR_OK;
         i++)
        if (b.stripe != a.stripe) break;
    op o = {.run = do_rename, .name = "h", .other = to};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(!exists(st, "h") && hash_is_full(st, to, 600));
    op set = {.run = do_hset, .name = to, .field = SPAN_LIT("new"), .value = SPAN_LIT("1")};
    CHECK_STATUS(write_one(st, &set), FR_OK); /* holds one latch, asks for the other */
    op inc = {.run = do_hincr, .name = to, .field = SPAN_LIT("new"), .by = 4};
    CHECK_STATUS(write_one(st, &inc), FR_OK);
    CHECK(hget_is(st, to, "new", "5") && hlen(st, to) == 601);
    check_sound(st);
    op gone = {.run = do_del, .name = to};
    CHECK_STATUS(write_one(st, &gone), FR_OK);
    check_sound(st);
    drain(st);
    CHECK(segment_stripe(st->s, b.stripe)->trash == 0);
    close_sound(st);
}

static void a_copied_tree_is_independent(void) {
    store *st = big_store();
    fill_hash(st, "h", 0, 700);
    op o = {.run = do_copy, .name = "h", .other = "copy"};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.flag && hash_is_full(st, "copy", 700));
    CHECK(hset(st, "copy", "f0", "changed") == 0 && hdel(st, "h", "f1") == 1);
    CHECK(hget_is(st, "h", "f0", "v0") && hget_is(st, "copy", "f1", "v1") && hget_is(st, "copy", "f0", "changed"));
    close_sound(st);
}

static void a_copied_packed_hash_is_independent(void) {
    store *st = big_store();
    fill_hash(st, "h", 0, 5);
    op o = {.run = do_copy, .name = "h", .other = "copy"};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(hset(st, "copy", "f0", "changed") == 0 && hash_is_full(st, "h", 5));
    close_sound(st);
}

/* --- iteration ---------------------------------------------------------------------------------------------------- */

typedef struct seen {
    unsigned n, times[1000];
} seen;

static fr_status see(void *ctx, span field, const value *v) {
    seen *s = ctx;
    char buf[32] = "", digits[VALUE_TEXT];
    memcpy(buf, field.p, field.n < 31 ? field.n : 31);
    unsigned i = (unsigned)atoi(buf + 1);
    span text = value_text(v, digits);
    CHECK(i < 1000 && text.n > 1 && text.p[0] == 'v' && (unsigned)strtoul(text.p + 1, NULL, 10) / 1 >= i);
    s->times[i]++;
    s->n++;
    return FR_OK;
}

static seen saw;
static fr_status do_each(store *st, txn *t, op *o) {
    saw.n = 0;
    memset(saw.times, 0, sizeof saw.times);
    return hash_each(st, t, &o->k, see, &saw);
}
static fr_status do_scan(store *st, txn *t, op *o) { return hash_scan(st, t, &o->k, &o->size, 10, see, &saw); }
static fr_status do_random(store *st, txn *t, op *o) { return hash_random(st, t, &o->k, o->at, see, &saw); }

static void check_iteration(unsigned n) {
    store *st = big_store();
    fill_hash(st, "h", 0, n);
    op o = {.run = do_each, .name = "h"};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(saw.n == n);
    saw = (seen){0};
    o.run = do_scan;
    unsigned rounds = 0;
    do CHECK_STATUS(read_op(st, &o), FR_OK);
    while (o.size && ++rounds < n);
    for (unsigned i = 0; i < n; i++) CHECK(saw.times[i] == 1);
    saw = (seen){0};
    o.run = do_random;
    for (o.at = 0; o.at < 40 * n; o.at++) CHECK_STATUS(read_op(st, &o), FR_OK);
    for (unsigned i = 0; i < n; i++) CHECK(saw.times[i] > 5 && saw.times[i] < 160);
    close_sound(st);
}

static void iteration_of_a_packed_hash(void) { check_iteration(20); }
static void iteration_of_a_tree(void) { check_iteration(900); }

static void iteration_of_nothing(void) {
    store *st = big_store();
    op o = {.run = do_each, .name = "h"};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(saw.n == 0);
    o.run = do_scan;
    o.size = 77;
    CHECK_STATUS(read_op(st, &o), FR_OK);
    CHECK(o.size == 0);
    store_close(st);
}

/* --- against a model ---------------------------------------------------------------------------------------------- */

#define MODEL 700
static char model[MODEL][88];

static uint64_t next_random(uint64_t *seed) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 33;
}

static void model_step(store *st, uint64_t *seed, unsigned fields) {
    unsigned i = (unsigned)next_random(seed) % fields, what = (unsigned)next_random(seed) % 10;
    char field[32], value[80];
    snprintf(field, sizeof field, "field-%u", i);
    if (what < 2) {
        CHECK(hdel(st, "h", field) == (model[i][0] != 0));
        model[i][0] = 0;
        return;
    }
    if (what == 2) {
        op o = {.run = do_hincr, .name = "h", .field = text_of(field), .by = 3};
        char *end = "";
        long long now = model[i][0] ? strtoll(model[i] + 1, &end, 10) : 0;
        bool number = *end == 0 && model[i][1] != (model[i][0] ? 0 : 1);
        CHECK_STATUS(write_op(st, &o), number ? FR_OK : FR_HASHNOTINT);
        if (number) snprintf(model[i], sizeof model[i], "=%lld", now + 3);
        return;
    }
    if (what < 6)
        snprintf(value, sizeof value, "%llu", (unsigned long long)next_random(seed) >> next_random(seed) % 31);
    else
        snprintf(value, sizeof value, "%.*s", (int)(next_random(seed) % 70),
                 "text of a length between none and seventy bytes, "
                 "so that some make trees");
    CHECK(hset(st, "h", field, value) == (model[i][0] == 0));
    snprintf(model[i], sizeof model[i], "=%s", value);
}

static void check_model(store *st) {
    char field[32];
    uint64_t n = 0;
    for (unsigned i = 0; i < MODEL; i++) {
        snprintf(field, sizeof field, "field-%u", i);
        CHECK(hget_is(st, "h", field, model[i][0] ? model[i] + 1 : "(nil)"));
        n += model[i][0] != 0;
    }
    CHECK(hlen(st, "h") == n);
}

static void random_steps_agree_with_a_model(void) {
    uint64_t seed = 42;
    static const unsigned fields[] = {5, 30, 200, MODEL};
    for (unsigned round = 0; round < 12; round++) {
        store *st = big_store();
        memset(model, 0, sizeof model);
        for (unsigned i = 0; i < 3000; i++) {
            model_step(st, &seed, fields[round % 4]);
            if (i % 500 == 0) check_model(st);
        }
        check_model(st);
        drain(st);
        close_sound(st);
    }
}

static void a_full_segment_changes_nothing(void) {
    geometry g = layout_test();
    g.max_size += 64 * g.page_size;
    store *st = store_with(&g);
    char field[32];
    unsigned n = 0;
    for (; n < 100000; n++) {
        snprintf(field, sizeof field, "f%u", n);
        fr_status status = try_hset(st, "h", field, text_of(field));
        if (status != FR_OK) {
            CHECK_STATUS(status, FR_OOM);
            break;
        }
    }
    CHECK(n > 10 && hlen(st, "h") == n && hget_is(st, "h", field, "(nil)"));
    CHECK(hget_is(st, "h", "f0", "f0") && hdel(st, "h", "f0") == 1);
    close_sound(st);
}

/* --- what a reader sees ------------------------------------------------------------------------------------------- */

/* Fields a and b are always changed together: a reader must never see one without the other. */
static fr_status take_pair(void *ctx, span field, const value *v) {
    char *pair = ctx, digits[VALUE_TEXT];
    span text = value_text(v, digits);
    if (field.n != 1 || (field.p[0] != 'a' && field.p[0] != 'b') || text.n > 99) return FR_OK;
    memcpy(pair + (field.p[0] == 'b') * 100, text.p, text.n);
    pair[(field.p[0] == 'b') * 100 + text.n] = '\0';
    return FR_OK;
}

static fr_status do_pair(store *st, txn *t, op *o) {
    memset(o->text, 0, 200);
    return hash_each(st, t, &o->k, take_pair, o->text);
}

static unsigned pairs_old, pairs_new;
static void look_at_pair(store *st, void *ctx) {
    (void)ctx;
    op o = {.run = do_pair, .name = "h"};
    fr_status status = read_op(st, &o);
    if (status == FR_BUSYREAD) return;
    CHECK_STATUS(status, FR_OK);
    if (strcmp(o.text, o.text + 100) != 0) fprintf(stderr, "torn: %s and %s\n", o.text, o.text + 100);
    CHECK(strcmp(o.text, o.text + 100) == 0);
    if (o.text[0] == 'o' || o.text[0] == '1') pairs_old++;
    else pairs_new++;
}

static void check_pair(store *st, const char *to) {
    field_value fv[] = {{SPAN_LIT("a"), text_of(to)}, {SPAN_LIT("b"), text_of(to)}};
    op o = {.run = do_hset, .name = "h", .fv = fv, .fv_count = 2};
    interleaving w = {.st = st, .look = look_at_pair};
    pairs_old = pairs_new = 0;
    CHECK_STATUS(write_watched(&w, &o), FR_OK);
    CHECK(pairs_old > 0 && pairs_new > 0);
    look_at_pair(st, NULL);
    check_sound(st);
}

static void set_pair(store *st, const char *to) {
    field_value fv[] = {{SPAN_LIT("a"), text_of(to)}, {SPAN_LIT("b"), text_of(to)}};
    op o = {.run = do_hset, .name = "h", .fv = fv, .fv_count = 2};
    CHECK_STATUS(write_op(st, &o), FR_OK);
}

static void a_reader_never_sees_half_a_change(void) {
    for (int shape = 0; shape < 4; shape++) {
        store *st = big_store();
        if (shape & 1) fill_hash(st, "h", 0, 100);
        if (shape & 2) hset(st, "h", "long", repeat('x', 100));
        set_pair(st, "old");
        check_pair(st, "new");               /* replaced fields */
        set_pair(st, "1");
        check_pair(st, "2");                 /* integers in place */
        set_pair(st, "old");
        check_pair(st, repeat('n', 90));     /* a packed hash becomes a tree */
        store_close(st);
    }
}

/* A small hash is written anew with each change. */
static void a_packed_hash_keeps_its_expiry(void) {
    store *st = big_store();
    hset(st, "h", "f", "v");
    op e = {.run = do_expire, .name = "h", .at = NOW + 50}, f = {.run = do_find, .name = "h"};
    CHECK_STATUS(write_op(st, &e), FR_OK);
    hset(st, "h", "g", "other");
    hset(st, "h", "f", "changed");
    CHECK(hdel(st, "h", "g") == 1);
    CHECK_STATUS(read_op(st, &f), FR_OK);
    CHECK(f.flag && f.at == NOW + 50);
    close_sound(st);
}

int main(void) {
    RUN(a_packed_hash_keeps_its_expiry);
    RUN(a_small_hash_is_packed);
    RUN(several_fields_in_one_step);
    RUN(the_last_field_takes_the_key_along);
    RUN(nx_sets_only_what_is_absent);
    RUN(other_kinds_are_refused);
    RUN(a_field_name_has_a_limit);
    RUN(arithmetic_on_a_packed_hash);
    RUN(arithmetic_on_a_tree);
    RUN(many_fields_make_a_tree);
    RUN(long_values_make_a_tree);
    RUN(a_tree_keeps_its_expiry);
    RUN(values_of_many_pages);
    RUN(a_tree_empties_field_by_field);
    RUN(a_deleted_tree_comes_back_as_pages);
    RUN(a_renamed_tree_works_from_two_stripes);
    RUN(a_copied_tree_is_independent);
    RUN(a_copied_packed_hash_is_independent);
    RUN(iteration_of_a_packed_hash);
    RUN(iteration_of_a_tree);
    RUN(iteration_of_nothing);
    RUN(random_steps_agree_with_a_model);
    RUN(a_full_segment_changes_nothing);
    RUN(a_reader_never_sees_half_a_change);
    return 0;
}
