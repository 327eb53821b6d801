/* cmd_table.c - typed tables: TABLE CREATE, DROP, LIST, INFO, SCAN. Rows themselves answer the hash commands.
 *
 *   TABLE CREATE name CAPACITY n COLUMNS col type[=default] [col type[=default] ...]
 *                                                                  -> OK (the same declaration again: OK)
 *   TABLE DROP name                                                -> OK
 *   TABLE LIST                                                     -> names
 *   TABLE INFO name    -> map: name, capacity, rows, expires, memory_bytes, refused_inserts, columns [[name, type[=default]] ...],
 *                         as TABLE CREATE takes them
 *   TABLE SCAN name cursor [COUNT n] [MATCH pattern]               -> [cursor, [[key, {column: value}] ...]]
 *
 * Tables belong to database 0. Keys of rows are written in full, "table:key", as every other command takes them.
 */
#include <stdio.h>

#include "store/column.h"
#include "wire/session_state.h"

/* --- declarations ------------------------------------------------------------------------------------------------ */

static fr_status create_schema(context *c, schema *sc) {
    uint32_t columns = (c->argc - 6) / 2;
    if (!arg_is(c, 3, "capacity") || !arg_is(c, 5, "columns") || c->argc % 2) return FR_SYNTAX;
    memset(sc, 0, sizeof *sc);
    for (uint32_t i = 0; i < columns; i++) {
        fr_status status = schema_add(sc, c->argv[6 + 2 * i], c->argv[7 + 2 * i], c->err);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

fr_status cmd_table_create(context *c) {
    schema sc;
    int64_t capacity;
    table *tb;
    bool created;
    fr_status status = create_schema(c, &sc);
    if (status != FR_OK) return status;
    if (arg_int(c, 4, &capacity) != FR_OK || capacity < 1)
        return fail(c, FR_SCHEMA, "capacity must be a whole number of rows, at least 1");
    status = table_declare(c->st, c->argv[2], (uint64_t)capacity, &sc, c->now, &tb, &created, c->err);
    if (status == FR_OK) reply_ok(c->out);
    return status;
}

fr_status cmd_table_drop(context *c) {
    fr_status status = table_drop(c->st, c->argv[2], c->now, c->err);
    if (status == FR_OK) reply_ok(c->out);
    return status;
}

/* --- facts ------------------------------------------------------------------------------------------------------- */

static fr_status find_table(context *c, uint32_t i, table **tb) {
    *tb = table_find(c->st, c->argv[i]);
    if (*tb) return FR_OK;
    return fail(c, FR_NOTABLE, "no such table '%.*s'", (int)(c->argv[i].n > 128 ? 128 : c->argv[i].n), c->argv[i].p);
}

fr_status cmd_table_list(context *c) {
    fr_status status = store_catalogue(c->st, c->err);
    if (status != FR_OK) return status;
    size_t n = 0, mark = reply_open(c->out);
    for (uint32_t i = 0; i < c->st->table_count; i++) {
        table *tb = table_at(c->st, i);
        if (!tb) continue;
        reply_bulk(c->out, (span){tb->name, tb->name_n});
        n++;
    }
    reply_close(c->out, mark, '*', n);
    return FR_OK;
}

static void answer_fact(context *c, const char *name, uint64_t v) {
    reply_text(c->out, name);
    reply_int(c->out, (int64_t)v);
}

/* A column's type, and its default unless that is 0 or empty. */
static fr_status answer_type(context *c, const column *col) {
    char type[32], digits[VALUE_TEXT];
    value v;
    size_t n = column_type_text(col, type);
    c->s->scratch_n = 0;
    bool kept = scratch_add(c->s, type, n) != SIZE_MAX;
    if (column_preset(col, &v)) {
        span text = v.kind == VALUE_BYTES ? (span){v.p, v.n} : value_text(&v, digits);
        kept = kept && scratch_add(c->s, "=", 1) != SIZE_MAX && scratch_add(c->s, text.p, text.n) != SIZE_MAX;
    }
    if (kept) reply_bulk(c->out, (span){c->s->scratch, c->s->scratch_n});
    return kept ? FR_OK : FR_OOM;
}

static fr_status answer_columns(context *c, const schema *sc) {
    fr_status status = FR_OK;
    reply_text(c->out, "columns");
    reply_array(c->out, sc->columns);
    for (uint32_t i = 0; status == FR_OK && i < sc->columns; i++) {
        reply_array(c->out, 2);
        reply_bulk(c->out, (span){sc->column[i].name, sc->column[i].name_n});
        status = answer_type(c, &sc->column[i]);
    }
    return status;
}

fr_status cmd_table_info(context *c) {
    table *tb;
    table_info info;
    fr_status status = find_table(c, 2, &tb);
    if (status != FR_OK) return status;
    table_measure(c->st, tb, &info);
    reply_map(c->out, 7);
    reply_text(c->out, "name");
    reply_bulk(c->out, (span){tb->name, tb->name_n});
    answer_fact(c, "capacity", tb->capacity);
    answer_fact(c, "rows", info.rows);
    answer_fact(c, "expires", info.expires);
    answer_fact(c, "memory_bytes", info.memory_bytes);
    answer_fact(c, "refused_inserts", info.refused);
    return answer_columns(c, &tb->schema);
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

/* gather keeps a row's name in the session's scratch, {length, bytes}: the scan may not be disturbed by other reads. */
static fr_status gather(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    context *c = ctx;
    (void)kind;
    (void)expiry;
    (void)version;
    bool kept = scratch_add(c->s, &name.n, sizeof name.n) != SIZE_MAX && scratch_add(c->s, name.p, name.n) != SIZE_MAX;
    return kept ? FR_OK : FR_OOM;
}

struct columns {
    context *c;
    size_t n;
};

static fr_status answer_column(void *ctx, span column, const value *v) {
    struct columns *x = ctx;
    x->n++;
    reply_bulk(x->c->out, column);
    return answer_value(x->c, v);
}

/* answer_table_row writes [key, {column: value}]; nothing for a row that went away since the scan saw it. */
static fr_status answer_table_row(context *c, span name, size_t *n) {
    key k;
    struct columns x = {.c = c};
    size_t start = reply_mark(c->out);
    fr_status status = key_route(c->st, 0, name, &k, c->err);
    if (status != FR_OK || k.table == NO_TABLE) return status; /* dropped meanwhile */
    reply_array(c->out, 2);
    reply_bulk(c->out, name);
    size_t mark = reply_open(c->out);
    status = row_each(c->st, c->t, &k, answer_column, &x);
    reply_close(c->out, mark, '%', x.n);
    if (x.n) ++*n;
    else reply_truncate(c->out, start);
    return status;
}

fr_status cmd_table_scan(context *c) {
    table *tb;
    uint64_t cursor;
    scan_options o;
    session *s = c->s;
    size_t rows = 0, mark = reply_open(c->out), length;
    fr_status status = find_table(c, 2, &tb);
    if (status == FR_OK) status = arg_cursor(c, 3, &cursor);
    if (status == FR_OK) status = arg_scan(c, 4, 0, &o);
    if (status != FR_OK) return status;
    s->scratch_n = 0;
    status = keyspace_scan(c->st, c->t, 0, (int32_t)tb->number, &cursor, (uint64_t)o.count, gather, c);
    for (size_t at = 0; status == FR_OK && at < s->scratch_n; at += sizeof length + length) {
        memcpy(&length, s->scratch + at, sizeof length);
        span name = {s->scratch + at + sizeof length, length};
        if (!o.pattern.p || glob(o.pattern, name, false)) status = answer_table_row(c, name, &rows);
    }
    if (status == FR_OK) answer_cursor(c, mark, cursor, rows);
    return status;
}

fr_status cmd_table_help(context *c) {
    static const char *const lines[] = {
        "CREATE <name> CAPACITY <rows> COLUMNS <column> <type>[=<default>] [<column> <type>[=<default>] ...]",
        "    Declare a typed table of a fixed number of rows. Types: int8 .. int64, uint8 .. uint64,",
        "    float64, bool, str:<bytes>, bytes:<bytes>. A new row holds the defaults: 0 or empty if not given.",
        "DROP <name>",
        "    Drop a table and its rows.",
        "INFO <name>",
        "    Return capacity, use and columns of a table.",
        "LIST",
        "    Return the names of the tables.",
        "SCAN <name> <cursor> [MATCH <pattern>] [COUNT <count>]",
        "    Iterate over the rows of a table.",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}
