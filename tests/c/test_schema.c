/* test_schema.c - defaults of columns: what a schema takes for one, what new rows hold, and descriptors whose defaults
 * cannot be. Types and places of columns: test_table.c.
 */
#include "store_fixture.h"

#include "store/column.h"

static const char *const columns[][2] = {{"count", "int8=-5"}, {"note", "str:8=none"}, {"raw", "bytes:300=\x01\xff=x"},
                                         {"ok", "bool=1"},     {"x", "float64=0.5"},   {"zero", "int64"}};

static schema schema_with(const char *count) {
    schema sc = {.columns = 0};
    for (unsigned i = 0; i < FR_COUNTOF(columns); i++)
        CHECK_STATUS(schema_add(&sc, text_of(columns[i][0]), text_of(i ? columns[i][1] : count), &last_error), FR_OK);
    return sc;
}

static fr_status declare(store *st, const char *count, bool *created) {
    schema sc = schema_with(count);
    table *tb;
    return table_declare(st, SPAN_LIT("t"), 20, &sc, NOW, &tb, created, &last_error);
}

static store *store_with_defaults(void) {
    store *st = big_store();
    bool created;
    CHECK_STATUS(declare(st, "int8=-5", &created), FR_OK);
    CHECK(created);
    return st;
}

static bool holds(store *st, const char *name, const char *field, const char *bytes) {
    op o = {.run = do_hget, .name = name, .field = text_of(field)};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    bool same = o.flag && span_eq((span){o.text, o.text_n}, text_of(bytes));
    if (!same) fprintf(stderr, "%s %s is '%.*s', not '%s'\n", name, field, (int)o.text_n, o.text, bytes);
    return same;
}

static bool holds_defaults(store *st, const char *name, const char *but) {
    static const char *const want[] = {"-5", "none", "\x01\xff=x", "1", "0.5", "0"};
    bool all = true;
    for (unsigned i = 0; i < FR_COUNTOF(columns); i++)
        all = all && (strcmp(columns[i][0], but) == 0 || holds(st, name, columns[i][0], want[i]));
    return all;
}

static void a_default_that_its_column_cannot_hold_is_refused(void) {
    static const struct {
        const char *type, *says;
    } bad[] = {
        {"int8=128", "column 'c' is int8 and cannot have this default: 128 is not between -128 and 127"},
        {"uint64=-1", "-1 is not between"},          {"uint64=18446744073709551616", "is not between"},
        {"bool=2", "2 is not between 0 and 1"},      {"int32=", "'' is not an integer"},
        {"int32=1.5", "'1.5' is not an integer"},    {"int32==1", "'=1' is not an integer"},
        {"float64=nan", "is not a valid float"},     {"float64=x", "is not a valid float"},
        {"str:2=abc", "too long, the limit is 2"},   {"str:2=\xff", "is not valid UTF-8"},
        {"bytes:1=ab", "too long, the limit is 1"},  {"int9=1", "unknown type 'int9'"},
        {"str=abc", "unknown type 'str'"},           {"=5", "unknown type ''"},
    };
    schema sc = {.columns = 0};
    for (unsigned i = 0; i < FR_COUNTOF(bad); i++) {
        CHECK_STATUS(schema_add(&sc, SPAN_LIT("c"), text_of(bad[i].type), &last_error), FR_SCHEMA);
        CHECK(sc.columns == 0 && strstr(last_error.text, bad[i].says));
    }
}

static void zero_is_no_default(void) {
    static const char *const zeros[] = {"int8=0", "uint64=0", "bool=0", "float64=0", "str:5=", "bytes:5="};
    schema sc = {.columns = 0};
    char name[2] = "a";
    for (unsigned i = 0; i < FR_COUNTOF(zeros); i++, name[0]++)
        CHECK_STATUS(schema_add(&sc, text_of(name), text_of(zeros[i]), &last_error), FR_OK);
    CHECK(schema_blank(&sc) == 0);
    CHECK_STATUS(schema_add(&sc, SPAN_LIT("z"), SPAN_LIT("int8=1"), &last_error), FR_OK);
    CHECK(schema_blank(&sc) == schema_stride(&sc));
}

static void new_rows_hold_the_defaults(void) {
    store *st = store_with_defaults();
    hset(st, "t:set", "zero", "3");
    CHECK(holds_defaults(st, "t:set", "zero") && holds(st, "t:set", "zero", "3"));
    op incr = {.run = do_hincr, .name = "t:incr", .field = SPAN_LIT("count"), .by = -2};
    CHECK_STATUS(write_op(st, &incr), FR_OK);
    CHECK(incr.number == -7 && holds_defaults(st, "t:incr", "count"));
    incr = (op){.run = do_hincr, .name = "t:low", .field = SPAN_LIT("count"), .by = -124};
    CHECK_STATUS(write_op(st, &incr), FR_COLUMNRANGE);
    CHECK(strstr(last_error.text, "-5 - 124 is not between") && !exists(st, "t:low"));
    hset(st, "t:set", "count", "9");
    op del = {.run = do_hdel, .name = "t:set", .field = SPAN_LIT("count")};
    CHECK_STATUS(write_op(st, &del), FR_OK);
    CHECK(del.count == 1 && holds(st, "t:set", "count", "-5"));
    CHECK_STATUS(write_op(st, &del), FR_OK);
    CHECK(del.count == 0); /* it held its default already */
    close_sound(st);
}

static void an_expired_row_comes_back_with_the_defaults(void) {
    store *st = store_with_defaults();
    hset(st, "t:a", "count", "9");
    op expire = {.run = do_expire, .name = "t:a", .at = NOW + 10};
    CHECK_STATUS(write_op(st, &expire), FR_OK);
    op set = {.run = do_hset, .name = "t:a", .field = SPAN_LIT("zero"), .value = SPAN_LIT("4")};
    CHECK_STATUS(write_op_at(st, &set, NOW + 20), FR_OK);
    CHECK(holds_defaults(st, "t:a", "zero"));
    close_sound(st);
}

static void another_default_is_another_schema(void) {
    store *st = store_with_defaults();
    uint64_t pages = pages_used(st);
    bool created;
    CHECK_STATUS(declare(st, "int8=-5", &created), FR_OK);
    CHECK(!created);
    CHECK_STATUS(declare(st, "int8=6", &created), FR_TABLEEXISTS);
    CHECK(strstr(last_error.text, "the default of column count is -5, not 6"));
    CHECK_STATUS(declare(st, "int8", &created), FR_TABLEEXISTS);
    CHECK(strstr(last_error.text, "the default of column count is -5, not 0"));
    CHECK(pages_used(st) == pages && hset(st, "t:a", "zero", "1") == 1 && holds_defaults(st, "t:a", "zero"));
    close_sound(st);
}

/* Every process that attaches later has them from the segment, and so has this one after a flush. */
static void defaults_come_from_the_segment(void) {
    store *st = store_with_defaults(), *other;
    CHECK_STATUS(store_over(st->s, &other, &last_error), FR_OK);
    hset(other, "t:a", "zero", "1");
    CHECK(holds_defaults(other, "t:a", "zero") && holds_defaults(st, "t:a", "zero"));
    value v;
    CHECK(column_preset(&table_find(other, SPAN_LIT("t"))->schema.column[1], &v) && v.n == 4 && !memcmp(v.p, "none", 4));
    store_catalogue_free(other);
    free(other);
    close_sound(st);
}

/* Whatever stands where the blank is: the table is refused, or its rows are whole; verify finds what has changed. */
static void garbage_in_the_defaults_never_crashes(void) {
    store *st = store_with_defaults();
    table *tb = table_find(st, SPAN_LIT("t"));
    uint64_t seed = 7;
    unsigned refused = 0, found = 0, words = (unsigned)(tb->stride / 8), head = ROW_COLUMNS_AT / 8;
    for (unsigned round = 0; round < words * 20; round++) {
        uint64_t *word = SEG_AT(st->s, tb->blank_off, uint64_t) + round % words, kept = *word;
        verify_report report;
        store *other;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        *word = round & 1 ? seed : seed >> 56;
        found += *word != kept && round % words >= head && store_verify(st, false, &report, &last_error) == FR_DAMAGED;
        if (store_over(st->s, &other, &last_error) == FR_OK) {
            op o = {.run = do_hset, .name = "t:new", .field = SPAN_LIT("zero"), .value = SPAN_LIT("1")};
            CHECK_STATUS(write_op(other, &o), FR_OK);
            o = (op){.run = do_del, .name = "t:new"};
            CHECK_STATUS(write_op(other, &o), FR_OK);
            store_catalogue_free(other);
            free(other);
        } else {
            CHECK(last_error.status == FR_DAMAGED && last_error.text[0]);
            refused++;
        }
        *word = kept;
    }
    CHECK(refused > 10 && found > words * 15);
    close_sound(st);
}

int main(void) {
    RUN(a_default_that_its_column_cannot_hold_is_refused);
    RUN(zero_is_no_default);
    RUN(new_rows_hold_the_defaults);
    RUN(an_expired_row_comes_back_with_the_defaults);
    RUN(another_default_is_another_schema);
    RUN(defaults_come_from_the_segment);
    RUN(garbage_in_the_defaults_never_crashes);
    return 0;
}
