/* test_row.c - whole rows: updates of several columns under conditions, reading and deleting in one step, clearing; and that
 * the quick update says what the general one says.
 */
#include "store/quick.h"

#include "store_fixture.h"

#define IMAGE 512

static table *make(store *st, uint64_t capacity) {
    static const char *const columns[][2] = {{"count", "int32"}, {"reset", "int64"},  {"note", "str:8"},
                                             {"x", "float64"},   {"small", "uint8"},  {"big", "uint64"}};
    schema sc = {.columns = 0};
    table *tb;
    bool created;
    for (unsigned i = 0; i < FR_COUNTOF(columns); i++)
        CHECK_STATUS(schema_add(&sc, text_of(columns[i][0]), text_of(columns[i][1]), &last_error), FR_OK);
    CHECK_STATUS(table_declare(st, text_of("t"), capacity, &sc, NOW, &tb, &created, &last_error), FR_OK);
    return tb;
}

enum { COUNT, RESET, NOTE, X, SMALL, BIG };

static value num(int64_t i) { return (value){.kind = VALUE_INT, .i = i}; }
static value flt(double d) { return (value){.kind = VALUE_DOUBLE, .d = d}; }
static value txt(const char *s) { return (value){.kind = VALUE_BYTES, .p = s, .n = strlen(s)}; }

static table_info info(store *st) {
    table_info out;
    table_measure(st, table_find(st, SPAN_LIT("t")), &out);
    return out;
}

/* --- one update --------------------------------------------------------------------------------------------------- */

typedef struct update {
    row_steps s;
    row_condition condition[4];
    cell_in set[4], add[4], fallback[4];
    char image[IMAGE];
    bool done, created;
    const char *name;
    uint64_t rows;
} update;

static fr_status update_op(store *st, txn *t, void *ctx) {
    update *u = ctx;
    key k;
    fr_status status = key_route(st, 0, text_of(u->name), &k, t->err);
    return status == FR_OK ? row_update(st, t, &k, &u->s, u->image, &u->done, &u->created) : status;
}

static fr_status take_op(store *st, txn *t, void *ctx) {
    update *u = ctx;
    key k;
    fr_status status = key_route(st, 0, text_of(u->name), &k, t->err);
    return status == FR_OK ? row_take(st, t, &k, u->image, &u->done) : status;
}

static fr_status clear_op(store *st, txn *t, void *ctx) {
    update *u = ctx;
    return table_clear(st, t, table_find(st, SPAN_LIT("t")), &u->rows);
}

static fr_status all_stripes(store *st, store_op op, update *u) {
    stripe_set all;
    store_all_stripes(st, &all);
    return store_write(st, NOW, UINT64_MAX, &all, op, u, &last_error);
}

static void given(update *u, const char *name) {
    memset(u, 0, sizeof *u);
    u->name = name;
    u->s = (row_steps){.condition = u->condition, .set = u->set, .add = u->add, .fallback = u->fallback};
}
static void when(update *u, uint32_t column, enum row_test test, value v) {
    u->condition[u->s.conditions++] = (row_condition){column, test, v};
}
static void to_set(update *u, uint32_t column, value v) { u->set[u->s.sets++] = (cell_in){column, v}; }
static void to_add(update *u, uint32_t column, value v) { u->add[u->s.adds++] = (cell_in){column, v}; }
static void or_else(update *u, uint32_t column, value v) {
    u->s.defaults = true;
    u->fallback[u->s.fallbacks++] = (cell_in){column, v};
}

static fr_status run(store *st, update *u) { return all_stripes(st, update_op, u); }

static bool holds(store *st, const char *count, const char *reset, const char *note) {
    return hget_is(st, "t:a", "count", count) && hget_is(st, "t:a", "reset", reset) && hget_is(st, "t:a", "note", note);
}

static void several_columns_change_at_once(void) {
    store *st = big_store();
    update u;
    make(st, 10);
    given(&u, "t:a");
    to_set(&u, RESET, num(99)), to_set(&u, NOTE, txt("api")), to_add(&u, COUNT, num(3)), to_add(&u, X, flt(0.5));
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(u.done && u.created && holds(st, "3", "99", "api") && hget_is(st, "t:a", "x", "0.5"));
    uint64_t version = version_of(st, "t:a");
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(u.done && !u.created && holds(st, "6", "99", "api") && version_of(st, "t:a") != version);
    int32_t count;
    memcpy(&count, u.image + table_find(st, SPAN_LIT("t"))->schema.column[COUNT].offset, 4);
    CHECK(count == 6);
    close_sound(st);
}

static void conditions_decide(void) {
    store *st = big_store();
    static const struct {
        uint32_t column;
        enum row_test test;
        int64_t v;
        bool want;
    } cases[] = {{COUNT, ROW_EQ, 5, 1}, {COUNT, ROW_EQ, 4, 0}, {COUNT, ROW_NE, 4, 1}, {COUNT, ROW_NE, 5, 0},
                 {COUNT, ROW_LT, 6, 1}, {COUNT, ROW_LT, 5, 0}, {COUNT, ROW_LE, 5, 1}, {COUNT, ROW_LE, 4, 0},
                 {COUNT, ROW_GT, 4, 1}, {COUNT, ROW_GT, 5, 0}, {COUNT, ROW_GE, 5, 1}, {COUNT, ROW_GE, 6, 0},
                 {COUNT, ROW_LT, INT64_MAX, 1}, {COUNT, ROW_EQ, INT64_MAX, 0}, {RESET, ROW_GT, -8, 1}, {X, ROW_GT, 1, 1},
                 {X, ROW_LT, 1, 0}, {SMALL, ROW_GT, -1, 1}, {BIG, ROW_GT, INT64_MAX, 1}};
    update u;
    make(st, 10);
    hset(st, "t:a", "count", "5"), hset(st, "t:a", "reset", "-7"), hset(st, "t:a", "note", "m");
    hset(st, "t:a", "x", "1.5"), hset(st, "t:a", "big", "18446744073709551615");
    for (size_t i = 0; i < FR_COUNTOF(cases); i++) {
        given(&u, "t:a");
        when(&u, cases[i].column, cases[i].test, num(cases[i].v));
        to_set(&u, SMALL, num((int64_t)i + 1));
        CHECK_STATUS(run(st, &u), FR_OK);
        CHECK(u.done == cases[i].want);
        CHECK((hdel(st, "t:a", "small") == 1) == cases[i].want);
    }
    given(&u, "t:a");
    when(&u, NOTE, ROW_EQ, txt("m")), when(&u, NOTE, ROW_LT, txt("ma")), when(&u, NOTE, ROW_GE, txt("")), to_add(&u, COUNT, num(1));
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(u.done && holds(st, "6", "-7", "m"));
    when(&u, NOTE, ROW_EQ, num(1)); /* cannot be compared */
    CHECK_STATUS(run(st, &u), FR_COLUMNTYPE);
    CHECK(holds(st, "6", "-7", "m"));
    close_sound(st);
}

static void an_absent_row_meets_no_condition_but_its_defaults(void) {
    store *st = big_store();
    update u;
    make(st, 10);
    given(&u, "t:a");
    when(&u, COUNT, ROW_EQ, num(0)), to_add(&u, COUNT, num(1));
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(!u.done && !exists(st, "t:a"));
    or_else(&u, NOTE, txt("new"));
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(u.done && u.created && holds(st, "1", "0", "new"));
    given(&u, "t:a"); /* what is there stays */
    or_else(&u, NOTE, txt("other"));
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(u.done && !u.created && holds(st, "1", "0", "new"));
    u.s.presence = ROW_ABSENT;
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(!u.done);
    given(&u, "t:b");
    u.s.presence = ROW_PRESENT;
    to_add(&u, COUNT, num(1));
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK(!u.done && !exists(st, "t:b"));
    close_sound(st);
}

static void a_refused_update_changes_nothing(void) {
    store *st = big_store();
    update u;
    make(st, 1);
    hset(st, "t:a", "count", "2147483647");
    uint64_t version = version_of(st, "t:a");
    given(&u, "t:a");
    to_set(&u, RESET, num(1)), to_add(&u, COUNT, num(1));
    CHECK_STATUS(run(st, &u), FR_COLUMNRANGE);
    given(&u, "t:a");
    to_set(&u, RESET, num(1)), to_set(&u, NOTE, txt("too long a note"));
    CHECK_STATUS(run(st, &u), FR_COLUMNLENGTH);
    given(&u, "t:a");
    to_set(&u, RESET, num(1)), to_add(&u, NOTE, num(1));
    CHECK_STATUS(run(st, &u), FR_COLUMNTYPE);
    given(&u, "t:a");
    to_set(&u, RESET, num(1)), to_add(&u, COUNT, flt(1.5));
    CHECK_STATUS(run(st, &u), FR_COLUMNTYPE);
    given(&u, "t:a");
    to_set(&u, RESET, num(1)), to_add(&u, X, flt(1e308 * 10));
    CHECK_STATUS(run(st, &u), FR_NANINF);
    given(&u, "t:a");
    to_set(&u, RESET, num(1)), to_set(&u, BIG + 1, num(1));
    CHECK_STATUS(run(st, &u), FR_COLUMN);
    CHECK(holds(st, "2147483647", "0", "") && version_of(st, "t:a") == version);
    given(&u, "t:b");
    to_add(&u, COUNT, num(1));
    CHECK_STATUS(run(st, &u), FR_TABLEFULL);
    CHECK(!exists(st, "t:b"));
    close_sound(st);
}

static void an_update_may_set_the_expiry(void) {
    store *st = big_store();
    update u;
    make(st, 10);
    given(&u, "t:a");
    to_add(&u, COUNT, num(1));
    u.s.expiry = NOW + 100;
    CHECK_STATUS(run(st, &u), FR_OK);
    op look = {.run = do_find, .name = "t:a"};
    CHECK_STATUS(read_op(st, &look), FR_OK);
    CHECK(look.flag && look.at == NOW + 100 && info(st).expires == 1);
    u.s.expiry = NO_EXPIRY; /* keeps it */
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK_STATUS(read_op(st, &look), FR_OK);
    CHECK(look.at == NOW + 100 && info(st).expires == 1);
    given(&u, "t:a"); /* nothing else */
    u.s.expiry = NOW + 200;
    CHECK_STATUS(run(st, &u), FR_OK);
    CHECK_STATUS(read_op(st, &look), FR_OK);
    CHECK(look.at == NOW + 200 && hget_is(st, "t:a", "count", "2"));
    close_sound(st);
}

/* --- quick and general -------------------------------------------------------------------------------------------- */

static bool same_rows(store *st) {
    static const char *const columns[] = {"count", "reset", "note", "x", "small", "big"};
    char a[64];
    for (unsigned i = 0; i < FR_COUNTOF(columns); i++) {
        snprintf(a, sizeof a, "%s", hget(st, "t:a", columns[i]));
        if (!hget_is(st, "t:b", columns[i], a)) return false;
    }
    return true;
}

static value any(uint64_t *seed, uint32_t column) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    int64_t i = (int64_t)(*seed >> 40) % 300 - 20;
    static const char *const texts[] = {"", "a", "b", "eight is"};
    if (column == NOTE) return txt(texts[(uint64_t)i & 3]);
    return column == X ? flt((double)i / 4) : num(i);
}

/* The same random steps to t:a by the quick call, when it takes them, and to t:b by the general one. */
static void quick_updates_agree_with_general_ones(void) {
    store *st = big_store();
    table *tb = make(st, 10);
    uint64_t seed = 7;
    unsigned quick = 0, met = 0;
    hset(st, "t:a", "count", "1"), hset(st, "t:b", "count", "1");
    for (unsigned round = 0; round < 4000; round++) {
        update a, b;
        key k;
        given(&a, "t:a");
        for (unsigned i = 0; i < 3; i++) {
            uint64_t r = (seed >> 33) % 18;
            uint32_t column = (uint32_t)(r % 6);
            value v = any(&seed, column);
            if (r < 6 && i == 0) when(&a, column, (enum row_test)((seed >> 50) % 6), v);
            else if (r < 12) to_set(&a, column, v);
            else if (column != NOTE) to_add(&a, column, v);
        }
        b = a;
        b.name = "t:b";
        b.s.condition = b.condition, b.s.set = b.set, b.s.add = b.add, b.s.fallback = b.fallback;
        CHECK_STATUS(key_route(st, 0, SPAN_LIT("t:a"), &k, &last_error), FR_OK);
        fr_status fast = quick_row_update(st, &k, tb, &a.s, a.image, &a.done), slow;
        quick += fast == FR_OK;
        if (fast == FR_RETRY) fast = run(st, &a);
        slow = run(st, &b);
        CHECK(fast == slow && (fast != FR_OK || a.done == b.done) && same_rows(st));
        if (fast != slow || !same_rows(st)) break;
        met += fast == FR_OK && a.done;
        if (fast == FR_OK && a.done)
            CHECK(memcmp(a.image + ROW_COLUMNS_AT, b.image + ROW_COLUMNS_AT, tb->stride - ROW_COLUMNS_AT) == 0);
    }
    CHECK(quick > 1000 && met > 1000);
    close_sound(st);
}

/* --- taking and clearing ------------------------------------------------------------------------------------------ */

static void taking_reads_and_deletes(void) {
    store *st = big_store();
    update u;
    table *tb = make(st, 10);
    hset(st, "t:a", "note", "mine");
    given(&u, "t:a");
    CHECK_STATUS(all_stripes(st, take_op, &u), FR_OK);
    CHECK(u.done && memcmp(u.image + tb->schema.column[NOTE].offset + 2, "mine", 4) == 0 && !exists(st, "t:a"));
    CHECK_STATUS(all_stripes(st, take_op, &u), FR_OK);
    CHECK(!u.done);
    close_sound(st);
}

static void clearing_leaves_the_table_and_the_others(void) {
    store *st = big_store();
    update u;
    char name[16];
    make(st, 100);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "t:%u", i);
        hset(st, name, "count", "1");
    }
    hset(st, "other", "f", "v");
    given(&u, "");
    CHECK_STATUS(all_stripes(st, clear_op, &u), FR_OK);
    CHECK(u.rows == 100 && !exists(st, "t:7") && exists(st, "other"));
    check_sound(st);
    for (unsigned i = 0; i < 100; i++) { /* all capacity is there again, other names included */
        snprintf(name, sizeof name, "t:%u", i + 50);
        CHECK(hset(st, name, "count", "2") == 1);
    }
    CHECK_STATUS(try_hset(st, "t:more", "count", SPAN_LIT("1")), FR_TABLEFULL);
    CHECK_STATUS(all_stripes(st, clear_op, &u), FR_OK);
    CHECK_STATUS(all_stripes(st, clear_op, &u), FR_OK);
    CHECK(u.rows == 0);
    close_sound(st);
}

static fr_status do_row_cas(store *st, txn *t, op *o) { return row_cas(st, t, &o->k, o->field, o->old, o->value, &o->outcome); }

static void comparing_with_what_is_not_there_makes_nothing(void) {
    store *st = big_store();
    make(st, 10);
    op o = {.run = do_row_cas, .name = "t:a", .field = text_of("count"), .old = text_of("0"), .value = text_of("1")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == -1 && !exists(st, "t:a") && info(st).rows == 0);
    hset(st, "t:a", "count", "0");
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 1 && hget_is(st, "t:a", "count", "1"));
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 0 && hget_is(st, "t:a", "count", "1"));
    close_sound(st);
}

/* NaN is neither less, nor equal, nor more. */
static void nothing_compares_with_no_number(void) {
    static const enum row_test tests[] = {ROW_EQ, ROW_NE, ROW_LT, ROW_LE, ROW_GT, ROW_GE};
    store *st = big_store();
    update u;
    make(st, 10);
    hset(st, "t:a", "x", "1.5");
    for (size_t i = 0; i < FR_COUNTOF(tests); i++) {
        given(&u, "t:a");
        when(&u, X, tests[i], flt(0.0 / 0.0)), to_set(&u, SMALL, num(1));
        CHECK_STATUS(run(st, &u), FR_OK);
        CHECK(!u.done && hdel(st, "t:a", "small") == 0);
    }
    close_sound(st);
}

int main(void) {
    RUN(comparing_with_what_is_not_there_makes_nothing);
    RUN(nothing_compares_with_no_number);
    RUN(several_columns_change_at_once);
    RUN(conditions_decide);
    RUN(an_absent_row_meets_no_condition_but_its_defaults);
    RUN(a_refused_update_changes_nothing);
    RUN(an_update_may_set_the_expiry);
    RUN(quick_updates_agree_with_general_ones);
    RUN(taking_reads_and_deletes);
    RUN(clearing_leaves_the_table_and_the_others);
    return 0;
}
