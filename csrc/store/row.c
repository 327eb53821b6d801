/* row.c - rows of typed tables, as commands see them: in users' text, in typed cells, and as keyspace.c moves them. How
 * a row lies in memory, and changes there, is in image.c; what a column takes, in column.c. Every value is checked
 * before anything changes.
 */
#include <math.h>

#include "store/image.h"

/* --- a key's table ------------------------------------------------------------------------------------------------ */

/* The table of a key. One that was dropped since the key was routed: a writer routes it anew, and starts over. */
static fr_status table_of(store *st, txn *t, const key *k, const table **tb) {
    found ignored;
    *tb = st->tables[k->table];
    if (FR_LIKELY(*tb && (*tb)->state == TABLE_LIVE)) return FR_OK;
    fr_status status = t->mode == TXN_READ ? FR_OK : key_write_begin(st, t, k, &ignored);
    return status == FR_OK ? FR_RETRY : status;
}

/* key_write_begin for a row of tb. */
static fr_status row_begin(store *st, txn *t, const key *k, const table *tb, found *f) {
    fr_status status = key_write_begin(st, t, k, f);
    if (FR_UNLIKELY(status == FR_OK && (k->table < 0 || st->tables[k->table] != tb))) return FR_RETRY;
    return status;
}

/* The table of a key and one of its columns by name. */
static fr_status locate(store *st, txn *t, const key *k, span name, const table **tb, const column **c) {
    fr_status status = table_of(st, t, k, tb);
    if (status != FR_OK) return status;
    int i = schema_find(&(*tb)->schema, name);
    if (FR_UNLIKELY(i < 0)) return column_missing(t, *tb, name);
    *c = &(*tb)->schema.column[i];
    return FR_OK;
}

/* --- verbs in users' text ----------------------------------------------------------------------------------------- */

/* look: the row of a reading verb. */
static fr_status look(store *st, txn *t, const key *k, const table **tb, found *f) {
    fr_status status = table_of(st, t, k, tb);
    return status == FR_OK ? key_lookup(st, t, k, f) : status;
}

fr_status row_get(store *st, txn *t, const key *k, span name, value *out, bool *found_it) {
    const table *tb;
    const column *c = NULL;
    found f;
    *found_it = false;
    fr_status status = locate(st, t, k, name, &tb, &c);
    if (status == FR_OK) status = key_lookup(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    *found_it = true;
    return image_value(t, tb, c, f.off, out);
}

/* Every value is checked before anything changes. */
static fr_status parse_change(txn *t, const table *tb, const field_value *fv, size_t n, change *ch) {
    ch->mask = 0;
    for (size_t i = 0; i < n; i++) {
        cell v;
        int at = schema_find(&tb->schema, fv[i].field);
        if (at < 0) return column_missing(t, tb, fv[i].field);
        fr_status status = column_parse(t, tb, &tb->schema.column[at], fv[i].value, &v);
        if (status != FR_OK) return status;
        change_add(ch, (uint32_t)at, &v);
    }
    return FR_OK;
}

static fr_status set_columns(store *st, txn *t, const key *k, const field_value *fv, size_t n, bool absent,
                             size_t *created) {
    const table *tb;
    found f;
    change ch;
    *created = 0;
    fr_status status = table_of(st, t, k, &tb);
    if (status == FR_OK) status = parse_change(t, tb, fv, n, &ch);
    if (status == FR_OK) status = row_begin(st, t, k, tb, &f);
    if (status != FR_OK || (absent && f.exists)) return status;
    if (!f.exists) *created = (size_t)__builtin_popcountll(ch.mask);
    return image_write(t, tb, k, &f, &ch);
}

fr_status row_set(store *st, txn *t, const key *k, const field_value *fv, size_t n, size_t *created) {
    return set_columns(st, t, k, fv, n, false, created);
}

fr_status row_set_absent(store *st, txn *t, const key *k, const field_value *fv, size_t n, size_t *created) {
    return set_columns(st, t, k, fv, n, true, created);
}

static fr_status add_to(store *st, txn *t, const key *k, const table *tb, const column *c, int64_t by, int64_t *out) {
    found f;
    uint64_t bits;
    char type[32];
    if (!column_is_integer(c)) {
        column_type_text(c, type);
        return txn_fail(t, FR_COLUMNTYPE, "table '%s' column '%s' is %s: only an integer column can be incremented",
                        tb->name, c->name, type);
    }
    fr_status status = row_begin(st, t, k, tb, &f);
    if (status == FR_OK) status = column_add(t, tb, c, f.exists ? image_bits(t, f.off, c) : 0, by, &bits);
    if (status != FR_OK) return status;
    *out = (int64_t)bits;
    change ch = {.mask = 0};
    change_add(&ch, (uint32_t)(c - tb->schema.column), &(cell){.bits = bits});
    return image_write(t, tb, k, &f, &ch);
}

bool row_is_unsigned(store *st, const key *k, span name) {
    const table *tb = k->table == NO_TABLE ? NULL : table_at(st, (uint32_t)k->table);
    int i = !tb ? -1 : name.p ? schema_find(&tb->schema, name) : 0;
    return i >= 0 && tb->schema.column[i].type == COLUMN_UINT64;
}

fr_status row_incr(store *st, txn *t, const key *k, span name, int64_t by, int64_t *out) {
    const table *tb;
    const column *c = NULL;
    fr_status status = locate(st, t, k, name, &tb, &c);
    return status == FR_OK ? add_to(st, t, k, tb, c, by, out) : status;
}

fr_status row_incr_float(store *st, txn *t, const key *k, span name, long double by, char buf[FLOAT_TEXT], size_t *n) {
    const table *tb;
    const column *c = NULL;
    found f;
    double d = 0;
    char type[32];
    fr_status status = locate(st, t, k, name, &tb, &c);
    if (status != FR_OK) return status;
    if (c->type != COLUMN_FLOAT64) {
        column_type_text(c, type);
        return txn_fail(t, FR_COLUMNTYPE,
                        "table '%s' column '%s' is %s: only a float64 column can be incremented by a float", tb->name,
                        c->name, type);
    }
    if ((status = row_begin(st, t, k, tb, &f)) != FR_OK) return status;
    cell v = {.bits = f.exists ? image_bits(t, f.off, c) : 0};
    memcpy(&d, &v.bits, 8);
    d = (double)((long double)d + by);
    if (isnan(d) || isinf(d)) return txn_fail(t, FR_NANINF, "%s", "");
    memcpy(&v.bits, &d, 8);
    *n = double_text(d, buf);
    change ch = {.mask = 0};
    change_add(&ch, (uint32_t)(c - tb->schema.column), &v);
    return image_write(t, tb, k, &f, &ch);
}

/* Is the column's present value what `expected` says? A text that the column could not hold is not. */
static fr_status cell_is(txn *t, const table *tb, const column *c, uint64_t image, span expected, bool *same) {
    cell v;
    value now;
    char kept[sizeof t->err->text];
    memcpy(kept, t->err->text, sizeof kept);
    fr_status status = image_value(t, tb, c, image, &now);
    if (status != FR_OK) return status;
    if (column_parse(t, tb, c, expected, &v) != FR_OK) {
        memcpy(t->err->text, kept, sizeof kept);
        *same = false;
    } else if (column_is_text(c)) {
        *same = span_eq((span){now.p, now.n}, expected);
    } else {
        *same = c->type == COLUMN_FLOAT64 ? memcmp(&now.d, &v.bits, 8) == 0 : now.u == v.bits;
    }
    return FR_OK;
}

fr_status row_cas(store *st, txn *t, const key *k, span name, span expected, span desired, int *outcome) {
    const table *tb;
    const column *c = NULL;
    found f;
    cell v;
    bool same;
    *outcome = -1;
    fr_status status = locate(st, t, k, name, &tb, &c);
    if (status == FR_OK) status = column_parse(t, tb, c, desired, &v);
    if (status == FR_OK) status = row_begin(st, t, k, tb, &f);
    if (status != FR_OK || !f.exists) return status;
    if ((status = cell_is(t, tb, c, f.off, expected, &same)) != FR_OK) return status;
    *outcome = same;
    if (!same) return FR_OK;
    change ch = {.mask = 0};
    change_add(&ch, (uint32_t)(c - tb->schema.column), &v);
    return image_write(t, tb, k, &f, &ch);
}

static fr_status cell_is_default(txn *t, const table *tb, const column *c, uint64_t image, bool *is) {
    value v;
    fr_status status = image_value(t, tb, c, image, &v);
    *is = v.kind == VALUE_BYTES ? v.n == 0 : v.u == 0;
    return status;
}

fr_status row_reset_columns(store *st, txn *t, const key *k, const span *columns, size_t n, size_t *changed) {
    const table *tb;
    found f;
    change ch = {.mask = 0};
    *changed = 0;
    fr_status status = table_of(st, t, k, &tb);
    for (size_t i = 0; status == FR_OK && i < n; i++) {
        int at = schema_find(&tb->schema, columns[i]);
        if (at < 0) return column_missing(t, tb, columns[i]);
        change_add(&ch, (uint32_t)at, &(cell){0});
    }
    if (status == FR_OK) status = row_begin(st, t, k, tb, &f);
    if (status != FR_OK || !f.exists) return status;
    for (uint64_t rest = ch.mask; rest; rest &= rest - 1) {
        unsigned i = (unsigned)__builtin_ctzll(rest);
        bool is;
        if ((status = cell_is_default(t, tb, &tb->schema.column[i], f.off, &is)) != FR_OK) return status;
        if (is) ch.mask &= ~(UINT64_C(1) << i);
    }
    *changed = (size_t)__builtin_popcountll(ch.mask);
    return ch.mask ? image_write(t, tb, k, &f, &ch) : FR_OK;
}

fr_status row_length(store *st, txn *t, const key *k, uint64_t *n) {
    const table *tb;
    found f;
    *n = 0;
    fr_status status = look(st, t, k, &tb, &f);
    if (status == FR_OK && f.exists) *n = tb->schema.columns;
    return status;
}

static fr_status give(txn *t, const table *tb, const column *c, uint64_t image, hash_visit each, void *ctx) {
    value v;
    fr_status status = image_value(t, tb, c, image, &v);
    return status == FR_OK ? each(ctx, (span){c->name, c->name_n}, &v) : status;
}

fr_status row_each(store *st, txn *t, const key *k, hash_visit each, void *ctx) {
    const table *tb;
    found f;
    fr_status status = look(st, t, k, &tb, &f);
    if (status != FR_OK || !f.exists) return status;
    for (uint32_t i = 0; status == FR_OK && i < tb->schema.columns; i++)
        status = give(t, tb, &tb->schema.column[i], f.off, each, ctx);
    return status;
}

fr_status row_random(store *st, txn *t, const key *k, uint64_t seed, hash_visit each, void *ctx) {
    const table *tb;
    found f;
    fr_status status = look(st, t, k, &tb, &f);
    if (status != FR_OK || !f.exists) return status;
    return give(t, tb, &tb->schema.column[seed % tb->schema.columns], f.off, each, ctx);
}

/* --- verbs in typed cells ----------------------------------------------------------------------------------------- */

static fr_status column_at(txn *t, const table *tb, uint32_t i, const column **c) {
    if (i >= tb->schema.columns) return txn_fail(t, FR_COLUMN, "table '%s' has no column number %u", tb->name, i);
    *c = &tb->schema.column[i];
    return FR_OK;
}

fr_status row_put(store *st, txn *t, const key *k, const cell_in *cells, size_t n, bool *created) {
    const table *tb;
    const column *c = NULL;
    found f;
    change ch = {.mask = 0};
    fr_status status = table_of(st, t, k, &tb);
    for (size_t i = 0; status == FR_OK && i < n; i++) {
        cell v;
        status = column_at(t, tb, cells[i].column, &c);
        if (status == FR_OK) status = column_accept(t, tb, c, &cells[i].v, &v);
        if (status == FR_OK) change_add(&ch, cells[i].column, &v);
    }
    if (status == FR_OK) status = row_begin(st, t, k, tb, &f);
    if (status != FR_OK) return status;
    *created = !f.exists;
    return image_write(t, tb, k, &f, &ch);
}

fr_status row_cell(store *st, txn *t, const key *k, uint32_t column_number, value *out, bool *found_it) {
    const table *tb;
    const column *c = NULL;
    found f;
    *found_it = false;
    fr_status status = look(st, t, k, &tb, &f);
    if (status == FR_OK) status = column_at(t, tb, column_number, &c);
    if (status != FR_OK || !f.exists) return status;
    *found_it = true;
    return image_value(t, tb, c, f.off, out);
}

fr_status row_add(store *st, txn *t, const key *k, uint32_t column_number, int64_t by, int64_t *out) {
    const table *tb;
    const column *c = NULL;
    fr_status status = table_of(st, t, k, &tb);
    if (status == FR_OK) status = column_at(t, tb, column_number, &c);
    return status == FR_OK ? add_to(st, t, k, tb, c, by, out) : status;
}

/* --- for keyspace.c ----------------------------------------------------------------------------------------------- */

fr_status row_expire(store *st, txn *t, const key *k, const found *f, uint64_t at_ms) {
    (void)st;
    image_count_expiry(t, k, f->expiry, at_ms);
    block_change(t, k->stripe, f->off, f->off + BLOCK_EXPIRY, at_ms);
    key_changed(t, k);
    return FR_OK;
}

/* The target keeps its own name and image; everything else comes from the source. */
fr_status row_copy(store *st, txn *t, const found *from, const key *to) {
    const table *tb;
    found target;
    fr_status status = table_of(st, t, to, &tb);
    if (status == FR_OK) status = row_begin(st, t, to, tb, &target);
    if (status != FR_OK) return status;
    char *image = image_begin(t, tb, &target);
    if (!image) return txn_fail(t, FR_NOSPACE, "no memory for a row of table '%s'", tb->name);
    image_copy(t, from->off, ROW_COLUMNS_AT, tb->stride - ROW_COLUMNS_AT, image + ROW_COLUMNS_AT);
    image_set_word(image, BLOCK_EXPIRY, from->expiry);
    return target.exists || target.dead ? image_replace(t, tb, to, &target, image) : image_insert(t, tb, to, image);
}
