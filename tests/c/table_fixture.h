/* table_fixture.h - tables by name and text, and what they say of themselves: what the tests of tables share. */
#ifndef FRIDGE_TESTS_TABLE_FIXTURE_H
#define FRIDGE_TESTS_TABLE_FIXTURE_H

#include "store_fixture.h"

/* "count int32, note str:8" */
static inline schema schema_of(const char *text) {
    schema sc = {.columns = 0};
    char name[64], type[64];
    int n;
    for (const char *p = text; sscanf(p, " %63[^ ] %63[^,]%n", name, type, &n) == 2; p += n + (p[n] == ','))
        CHECK_STATUS(schema_add(&sc, text_of(name), text_of(type), &last_error), FR_OK);
    return sc;
}

static inline fr_status declare(store *st, const char *name, uint64_t capacity, const char *columns, bool *created) {
    schema sc = schema_of(columns);
    table *tb;
    return table_declare(st, text_of(name), capacity, &sc, NOW, &tb, created, &last_error);
}

static inline void must_declare(store *st, const char *name, uint64_t capacity, const char *columns) {
    bool created;
    CHECK_STATUS(declare(st, name, capacity, columns, &created), FR_OK);
    CHECK(created);
}

static inline table_info info_of(store *st, const char *name) {
    table_info info = {0};
    table *tb = table_find(st, text_of(name));
    CHECK(tb != NULL);
    if (tb) table_measure(st, tb, &info);
    return info;
}

static inline bool error_says(const char *what) {
    if (strstr(last_error.text, what)) return true;
    fprintf(stderr, "the error says '%s', not '%s'\n", last_error.text, what);
    return false;
}

static inline bool expire(store *st, const char *name, uint64_t at) {
    op o = {.run = do_expire, .name = name, .at = at};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    return o.flag;
}

static inline void fill_table(store *st, const char *table_name, unsigned from, unsigned to) {
    char name[64], value[16];
    for (unsigned i = from; i < to; i++) {
        snprintf(name, sizeof name, "%s:k%u", table_name, i);
        snprintf(value, sizeof value, "%u", i);
        CHECK(hset(st, name, "a", value) == 1);
    }
}

#endif
