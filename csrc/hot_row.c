/* hot_row.c - hot.h's tables: one row a call. Several rows, pages and whole tables are in hot_rows.c. */
#include "hot_row.h"

/* --- tables ------------------------------------------------------------------------------------------------------- */

fr_status hot_schema_add(schema *sc, span name, span type, fr_error *err) {
    err->text[0] = 0;
    return schema_add(sc, name, type, err);
}

size_t hot_column_type(const column *c, char buf[32]) { return column_type_text(c, buf); }

bool hot_column_preset(const column *c, value *out) { return column_preset(c, out); }

void hot_table_measure(store *st, const table *tb, table_info *out) { table_measure(st, tb, out); }

fr_status hot_table_open(store *st, span name, uint64_t capacity, const schema *sc, table **out, fr_error *err) {
    bool created;
    err->text[0] = 0;
    if (sc) return table_declare(st, name, capacity, sc, clock_boot_ms(), out, &created, err);
    *out = table_find(st, name);
    return *out ? FR_OK : no_table(name, err);
}

static fr_status row_put_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_put(st, t, &c->k, c->cells, c->n, &c->yes) : status;
}

static fr_status row_add_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_add(st, t, &c->k, c->column, c->by, &c->out) : status;
}

static span column_name(const row_call *c) {
    const column *at = &c->tb->schema.column[c->column];
    return (span){at->name, at->name_n};
}

static fr_status row_float_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    char buf[FLOAT_TEXT];
    size_t n;
    fr_status status = row_current(st, t, c);
    if (status == FR_OK) status = row_incr_float(st, t, &c->k, column_name(c), c->float_by, buf, &n);
    return status == FR_OK && !text_double((span){buf, n}, &c->float_out) ? FR_NANINF : status;
}

static fr_status row_cas_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_cas(st, t, &c->k, column_name(c), c->expected, c->desired, &c->outcome) : status;
}

static fr_status row_delete_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? key_delete(st, t, &c->k, &c->yes) : status;
}

static fr_status row_expire_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? key_expire(st, t, &c->k, c->at_ms, 0, &c->yes) : status;
}

static fr_status row_exists_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    found f;
    fr_status status = row_current(st, t, c);
    if (status == FR_OK) status = key_lookup(st, t, &c->k, &f);
    c->yes = status == FR_OK && f.exists;
    return status;
}

static fr_status row_image_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_copy_out(st, t, &c->k, c->image, &c->yes) : status;
}

static fr_status row_take_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_take(st, t, &c->k, c->image, &c->yes) : status;
}

static fr_status row_update_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    return status == FR_OK ? row_update(st, t, &c->k, c->steps, c->image, &c->yes, &c->created) : status;
}

static fr_status row_cell_op(store *st, txn *t, void *ctx) {
    row_call *c = ctx;
    fr_status status = row_current(st, t, c);
    c->sink->to = NULL;
    if (status == FR_OK) status = row_cell(st, t, &c->k, c->column, c->v, &c->yes);
    if (status != FR_OK || !c->yes || c->v->kind != VALUE_BYTES) return status;
    return deliver(st->s, c->sink, c->v);
}

/* Numbers of a row that is there are set in place. FR_RETRY: anything else. */
static fr_status put_straight(store *st, table *tb, const key *k, const cell_in *cells, size_t n) {
    _Alignas(8) char image[512];
    row_steps s = {.set = cells, .sets = n};
    bool done;
    if (n == 0 || n > QUICK_WORDS || tb->stride > sizeof image) return FR_RETRY;
    for (size_t i = 0; i < n; i++)
        if (cells[i].v.kind == VALUE_BYTES || cells[i].column >= tb->schema.columns) return FR_RETRY;
    return quick_row_update(st, k, tb, &s, image, &done);
}

fr_status hot_row_put(store *st, table *tb, span name, const cell_in *cells, size_t n, bool *created, bool wait,
                      fr_error *err) {
    row_call c;
    c.tb = tb;
    c.cells = cells;
    c.n = n;
    c.yes = *created = false;
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK && !wait && (status = put_straight(st, tb, &c.k, cells, n)) != FR_RETRY) return err->status = status;
    if (status == FR_OK || status == FR_RETRY) status = write_one(st, &c.k, now_for(st, &c.k), row_put_op, &c, wait, err);
    *created = c.yes;
    return status;
}

fr_status hot_row_add(store *st, table *tb, span name, uint32_t column, int64_t by, int64_t *out, bool wait, fr_error *err) {
    row_call c;
    c.tb = tb;
    c.column = column;
    c.by = by;
    fr_status status = row_open(st, &c, name, err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (FR_LIKELY(!wait && column < tb->schema.columns && column_is_integer(&tb->schema.column[column]))) {
        status = quick_row_add(st, &c.k, tb, &tb->schema.column[column], by, out);
        if (FR_LIKELY(status != FR_RETRY)) return err->status = status;
    }
    status = write_one(st, &c.k, now_for(st, &c.k), row_add_op, &c, wait, err);
    *out = c.out;
    return status;
}

fr_status hot_row_add_float(store *st, table *tb, span name, uint32_t column, double by, double *out, bool wait,
                            fr_error *err) {
    row_call c = {.tb = tb, .column = column, .float_by = by};
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_float_op, &c, wait, err);
    *out = c.float_out;
    return status;
}

fr_status hot_row_cas(store *st, table *tb, span name, uint32_t column, span expected, span desired, int *outcome, bool wait,
                      fr_error *err) {
    row_call c = {.tb = tb, .column = column, .expected = expected, .desired = desired};
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_cas_op, &c, wait, err);
    *outcome = c.outcome;
    return status;
}

fr_status hot_row_delete(store *st, table *tb, span name, bool *existed, bool wait, fr_error *err) {
    row_call c = {.tb = tb};
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_delete_op, &c, wait, err);
    *existed = c.yes;
    return status;
}

fr_status hot_row_expire(store *st, table *tb, span name, uint64_t at_ms, bool *changed, bool wait, fr_error *err) {
    row_call c = {.tb = tb, .at_ms = at_ms};
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, clock_boot_ms(), row_expire_op, &c, wait, err);
    *changed = c.yes;
    return status;
}

fr_status hot_row_exists(store *st, table *tb, span name, bool *exists, bool wait, fr_error *err) {
    row_call c = {.tb = tb};
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK) status = read_one(st, &c.k, now_for(st, &c.k), row_exists_op, &c, wait, err);
    *exists = c.yes;
    return status;
}

fr_status hot_row_image(store *st, table *tb, span name, char *image, bool *found, bool wait, fr_error *err) {
    row_call c;
    c.tb = tb;
    c.image = image;
    c.yes = false;
    fr_status status = row_open(st, &c, name, err);
    if (FR_LIKELY(status == FR_OK && !wait && (status = quick_row_image(st, &c.k, tb, image)) != FR_RETRY)) {
        *found = status == FR_OK;
        stat_add(st->s, *found ? STAT_keyspace_hits : STAT_keyspace_misses, 1);
        return err->status = st->s->lost ? FR_LOST : FR_OK;
    }
    if (status == FR_OK || status == FR_RETRY) status = read_one(st, &c.k, now_for(st, &c.k), row_image_op, &c, wait, err);
    *found = c.yes;
    return status;
}

value hot_image_value(const column *c, const char *image) { return column_of_image(c, image); }

fr_status hot_row_take(store *st, table *tb, span name, char *image, bool *existed, bool wait, fr_error *err) {
    row_call c = {.tb = tb, .image = image};
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK) status = write_one(st, &c.k, now_for(st, &c.k), row_take_op, &c, wait, err);
    *existed = c.yes;
    return status;
}

static bool steps_possible(const table *tb, const row_steps *s) {
    uint32_t highest = 0;
    for (size_t i = 0; i < s->conditions; i++) highest |= s->condition[i].column >= tb->schema.columns;
    for (size_t i = 0; i < s->sets; i++) highest |= s->set[i].column >= tb->schema.columns;
    for (size_t i = 0; i < s->adds; i++) highest |= s->add[i].column >= tb->schema.columns;
    return !highest;
}

fr_status hot_row_update(store *st, table *tb, span name, const row_steps *steps, char *image, bool *done, bool *created,
                         bool wait, fr_error *err) {
    row_call c;
    c.tb = tb;
    c.image = image;
    c.steps = steps;
    c.yes = c.created = false;
    fr_status status = row_open(st, &c, name, err);
    *created = false;
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (FR_LIKELY(!wait && steps_possible(tb, steps))) {
        status = quick_row_update(st, &c.k, tb, steps, image, done);
        if (FR_LIKELY(status != FR_RETRY)) return err->status = status;
    }
    status = write_one(st, &c.k, now_for(st, &c.k), row_update_op, &c, wait, err);
    *done = c.yes;
    *created = c.created;
    return status;
}

fr_status hot_row_cell(store *st, table *tb, span name, uint32_t column, value *v, hot_sink *sink, bool *found, bool wait,
                       fr_error *err) {
    row_call c;
    c.tb = tb;
    c.column = column;
    c.v = v;
    c.sink = sink;
    c.yes = false;
    fr_status status = row_open(st, &c, name, err);
    if (status == FR_OK) status = read_one(st, &c.k, now_for(st, &c.k), row_cell_op, &c, wait, err);
    *found = c.yes;
    return status;
}
