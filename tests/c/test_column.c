/* test_column.c - the values of a row: every type, ranges, defaults, arithmetic, comparing, as text and as typed cells. */
#include "table_fixture.h"

static void every_type_keeps_its_values(void) {
    store *st = big_store();
    must_declare(st, "t", 100,
                 "i8 int8, i16 int16, i32 int32, i64 int64, u8 uint8, u16 uint16, u32 uint32, u64 uint64, "
                 "f float64, b bool, s str:10, y bytes:3");
    struct {
        const char *column, *value, *back;
    } good[] = {
        {"i8", "-128", 0}, {"i8", "127", 0}, {"i16", "-32768", 0}, {"i16", "32767", 0}, {"i32", "-2147483648", 0},
        {"i32", "2147483647", 0}, {"i64", "-9223372036854775808", 0}, {"i64", "9223372036854775807", 0}, {"u8", "0", 0},
        {"u8", "255", 0}, {"u16", "65535", 0}, {"u32", "4294967295", 0}, {"u64", "18446744073709551615", 0},
        {"u64", "0", 0}, {"f", "0.1", 0}, {"f", "1e300", "1e+300"}, {"f", "3.0", "3"}, {"b", "1", 0}, {"b", "0", 0},
        {"s", "", 0}, {"s", "0123456789", 0}, {"s", "gr\xc3\xbc\xc3\x9f", 0}, {"y", "\xff\xfe", 0}, {"y", "abc", 0},
    };
    for (size_t i = 0; i < FR_COUNTOF(good); i++) {
        hset(st, "t:k", good[i].column, good[i].value);
        CHECK(hget_is(st, "t:k", good[i].column, good[i].back ? good[i].back : good[i].value));
    }
    CHECK(hget_is(st, "t:k", "i8", "127") && hget_is(st, "t:k", "i16", "32767") && hget_is(st, "t:k", "u16", "65535"));
    CHECK(hlen(st, "t:k") == 12 && hlen(st, "t:none") == 0);
    close_sound(st);
}

static void what_does_not_fit_changes_nothing(void) {
    store *st = big_store();
    must_declare(st, "t", 100, "i8 int8, u64 uint64, i64 int64, f float64, b bool, s str:4, y bytes:3");
    hset(st, "t:k", "i8", "1");
    uint64_t version = version_of(st, "t:k");
    struct {
        const char *column, *value;
        fr_status status;
        const char *says;
    } bad[] = {
        {"i8", "128", FR_COLUMNRANGE, "table 't' column 'i8' is int8: 128 is not between -128 and 127"},
        {"i8", "-129", FR_COLUMNRANGE, "-129"}, {"i8", "x", FR_COLUMNTYPE, "'x' is not an integer"},
        {"i8", "", FR_COLUMNTYPE, "not an integer"}, {"i8", "01", FR_COLUMNTYPE, "not an integer"},
        {"i8", "1.0", FR_COLUMNTYPE, "not an integer"}, {"u64", "-1", FR_COLUMNRANGE, "0 and 18446744073709551615"},
        {"u64", "18446744073709551616", FR_COLUMNRANGE, "18446744073709551616"},
        {"i64", "99999999999999999999999999", FR_COLUMNRANGE, "9999"}, {"f", "nan", FR_COLUMNTYPE, "not a valid float"},
        {"f", "1x", FR_COLUMNTYPE, "not a valid float"}, {"b", "2", FR_COLUMNRANGE, "0 and 1"},
        {"b", "true", FR_COLUMNTYPE, "bool"}, {"s", "12345", FR_COLUMNLENGTH, "5 bytes is too long, the limit is 4"},
        {"s", "\xff", FR_COLUMNTYPE, "not valid UTF-8"}, {"s", "\xed\xa0\x80", FR_COLUMNTYPE, "UTF-8"},
        {"s", "\xc0\x80", FR_COLUMNTYPE, "UTF-8"}, {"s", "a\xc3", FR_COLUMNTYPE, "UTF-8"},
        {"y", "1234", FR_COLUMNLENGTH, "limit is 3"}, {"nope", "1", FR_COLUMN, "no column 'nope'; it has i8, u64"},
    };
    for (size_t i = 0; i < FR_COUNTOF(bad); i++) {
        CHECK_STATUS(try_hset(st, "t:k", bad[i].column, text_of(bad[i].value)), bad[i].status);
        CHECK(error_says(bad[i].says));
        CHECK_STATUS(try_hset(st, "t:new", bad[i].column, text_of(bad[i].value)), bad[i].status);
    }
    field_value fv[] = {{SPAN_LIT("i8"), SPAN_LIT("5")}, {SPAN_LIT("s"), SPAN_LIT("too long")}};
    op o = {.run = do_hset, .name = "t:k", .fv = fv, .fv_count = 2};
    CHECK_STATUS(write_op(st, &o), FR_COLUMNLENGTH);
    CHECK(version_of(st, "t:k") == version && hget_is(st, "t:k", "i8", "1") && !exists(st, "t:new"));
    close_sound(st);
}

static void missing_columns_have_defaults(void) {
    store *st = big_store();
    must_declare(st, "t", 100, "a int32, f float64, s str:20, b bool");
    CHECK(hset(st, "t:k", "b", "1") == 1);
    CHECK(hget_is(st, "t:k", "a", "0") && hget_is(st, "t:k", "f", "0") && hget_is(st, "t:k", "s", ""));
    CHECK(hset(st, "t:k", "a", "7") == 0 && hdel(st, "t:k", "a") == 1 && hdel(st, "t:k", "a") == 0);
    CHECK(hget_is(st, "t:k", "a", "0") && hget_is(st, "t:k", "b", "1") && exists(st, "t:k"));
    op o = {.run = do_hset, .name = "t:k", .field = SPAN_LIT("a"), .value = SPAN_LIT("5"), .condition = FIELD_NX};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.count == 0 && hget_is(st, "t:k", "a", "0"));
    o.name = "t:new";
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.count == 1 && hget_is(st, "t:new", "a", "5"));
    CHECK(del(st, "t:k") && !exists(st, "t:k") && !del(st, "t:k"));
    close_sound(st);
}

static fr_status incr(store *st, const char *name, const char *field, int64_t by, int64_t *out) {
    op o = {.run = do_hincr, .name = name, .field = text_of(field), .by = by};
    fr_status status = write_op(st, &o);
    *out = o.number;
    return status;
}

static void arithmetic_on_columns(void) {
    store *st = big_store();
    int64_t n;
    must_declare(st, "t", 100, "a int8, b int8, u uint64, f float64, s str:3, o bool");
    CHECK_STATUS(incr(st, "t:k", "a", 100, &n), FR_OK);
    CHECK(n == 100);
    CHECK_STATUS(incr(st, "t:k", "b", -5, &n), FR_OK);
    CHECK(n == -5 && hget_is(st, "t:k", "a", "100"));
    uint64_t version = version_of(st, "t:k");
    CHECK_STATUS(incr(st, "t:k", "a", 28, &n), FR_COLUMNRANGE);
    CHECK(error_says("100 + 28 is not between -128 and 127"));
    CHECK_STATUS(incr(st, "t:k", "s", 1, &n), FR_COLUMNTYPE);
    CHECK_STATUS(incr(st, "t:k", "o", 1, &n), FR_COLUMNTYPE);
    CHECK_STATUS(incr(st, "t:k", "f", 1, &n), FR_COLUMNTYPE);
    CHECK_STATUS(incr(st, "t:k", "u", -1, &n), FR_COLUMNRANGE);
    CHECK(version_of(st, "t:k") == version);
    hset(st, "t:k", "u", "18446744073709551615");
    CHECK_STATUS(incr(st, "t:k", "u", 1, &n), FR_COLUMNRANGE);
    CHECK_STATUS(incr(st, "t:k", "u", -1, &n), FR_OK);
    CHECK(hget_is(st, "t:k", "u", "18446744073709551614") && hget_is(st, "t:k", "b", "-5"));
    op o = {.run = do_hincrfloat, .name = "t:k", .field = SPAN_LIT("f"), .value = SPAN_LIT("10.5")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.text_n == 4 && memcmp(o.text, "10.5", 4) == 0 && hget_is(st, "t:k", "f", "10.5"));
    o.field = SPAN_LIT("a");
    CHECK_STATUS(write_op(st, &o), FR_COLUMNTYPE);
    close_sound(st);
}

static void columns_compare_and_set(void) {
    store *st = big_store();
    must_declare(st, "t", 100, "a int32, s str:12");
    op o = {.run = do_hcas, .name = "t:k", .field = SPAN_LIT("a"), .old = SPAN_LIT("0"), .value = SPAN_LIT("5")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == -1);
    hset(st, "t:k", "s", "hello");
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 1 && hget_is(st, "t:k", "a", "5"));
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 0);
    o = (op){.run = do_hcas,
             .name = "t:k",
             .field = SPAN_LIT("s"),
             .old = SPAN_LIT("hello"),
             .value = SPAN_LIT("world wide")};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 1 && hget_is(st, "t:k", "s", "world wide"));
    o.old = SPAN_LIT("something much too long for this column");
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK(o.outcome == 0);
    o.value = o.old;
    CHECK_STATUS(write_op(st, &o), FR_COLUMNLENGTH);
    close_sound(st);
}

static void long_names(void) {
    store *st = big_store();
    must_declare(st, "t", 20, "a int32");
    char name[3000] = "t:";
    static const unsigned lengths[] = {0, 1, 7, 8, 39, 40, 41, 200, 1900, 2900};
    for (unsigned i = 0; i < FR_COUNTOF(lengths); i++) {
        memset(name + 2, 'n', lengths[i]);
        name[2 + lengths[i]] = '\0';
        char value[16];
        snprintf(value, sizeof value, "%u", i);
        CHECK(hset(st, name, "a", value) == 1);
    }
    check_sound(st);
    for (unsigned i = 0; i < FR_COUNTOF(lengths); i++) {
        name[2 + lengths[i]] = '\0';
        char value[16];
        snprintf(value, sizeof value, "%u", i);
        CHECK(hget_is(st, name, "a", value) && del(st, name) && !exists(st, name));
        name[2 + lengths[i]] = 'n';
    }
    CHECK(info_of(st, "t").rows == 0);
    close_sound(st);
}

/* --- typed cells -------------------------------------------------------------------------------------------------- */

static fr_status do_put(store *st, txn *t, op *o) {
    cell_in cells[] = {{0, {.kind = VALUE_INT, .i = 7}}, {1, {.kind = VALUE_BYTES, .p = "text", .n = 4}},
                       {2, {.kind = VALUE_DOUBLE, .d = 0.5}}};
    cells[0].v.i += o->by;
    return row_put(st, t, &o->k, cells, o->fv_count, &o->flag);
}
static fr_status do_cell(store *st, txn *t, op *o) {
    fr_status status = row_cell(st, t, &o->k, (uint32_t)o->by, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}
static fr_status do_add(store *st, txn *t, op *o) { return row_add(st, t, &o->k, 0, o->by, &o->number); }
static fr_status do_bad_put(store *st, txn *t, op *o) {
    cell_in cell = {(uint32_t)o->by, o->v};
    return row_put(st, t, &o->k, &cell, 1, &o->flag);
}

static void typed_cells(void) {
    store *st = big_store();
    must_declare(st, "t", 20, "a int8, s str:4, f float64");
    op put = {.run = do_put, .name = "t:k", .fv_count = 3};
    CHECK_STATUS(write_op(st, &put), FR_OK);
    CHECK(put.flag && hget_is(st, "t:k", "a", "7") && hget_is(st, "t:k", "s", "text") &&
          hget_is(st, "t:k", "f", "0.5"));
    put.fv_count = 0;
    CHECK_STATUS(write_op(st, &put), FR_OK);
    CHECK(!put.flag && hget_is(st, "t:k", "s", "text"));
    op add = {.run = do_add, .name = "t:k", .by = 3};
    CHECK_STATUS(write_op(st, &add), FR_OK);
    CHECK(add.number == 10);
    op get = {.run = do_cell, .name = "t:k", .by = 0};
    CHECK_STATUS(read_op(st, &get), FR_OK);
    CHECK(get.v.kind == VALUE_INT && get.v.i == 10);
    get.by = 3;
    CHECK_STATUS(write_op(st, &get), FR_COLUMN);
    struct {
        int64_t column;
        value v;
        fr_status status;
    } bad[] = {{0, {.kind = VALUE_INT, .i = 128}, FR_COLUMNRANGE},
               {0, {.kind = VALUE_DOUBLE, .d = 1}, FR_COLUMNTYPE},
               {0, {.kind = VALUE_BYTES, .p = "1", .n = 1}, FR_COLUMNTYPE},
               {1, {.kind = VALUE_INT, .i = 1}, FR_COLUMNTYPE},
               {1, {.kind = VALUE_BYTES, .p = "12345", .n = 5}, FR_COLUMNLENGTH},
               {3, {.kind = VALUE_INT}, FR_COLUMN},
               {2, {.kind = VALUE_DOUBLE, .d = __builtin_nan("")}, FR_COLUMNTYPE}};
    for (size_t i = 0; i < FR_COUNTOF(bad); i++) {
        op o = {.run = do_bad_put, .name = "t:k", .by = bad[i].column, .v = bad[i].v};
        CHECK_STATUS(write_op(st, &o), bad[i].status);
    }
    CHECK(hget_is(st, "t:k", "a", "10"));
    close_sound(st);
}

int main(void) {
    fixture_unused();
    RUN(every_type_keeps_its_values);
    RUN(what_does_not_fit_changes_nothing);
    RUN(missing_columns_have_defaults);
    RUN(arithmetic_on_columns);
    RUN(columns_compare_and_set);
    RUN(long_names);
    RUN(typed_cells);
    return 0;
}
