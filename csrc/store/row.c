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

static fr_status not_a_number(txn *t, const table *tb, const column *c, const char *which) {
    char type[32];
    column_type_text(c, type);
    return txn_fail(t, FR_COLUMNTYPE, "table '%s' column '%s' is %s: only %s column can be incremented%s", tb->name,
                    c->name, type, which, which[0] == 'a' && which[1] == ' ' ? " by a float" : "");
}

static fr_status add_to(store *st, txn *t, const key *k, const table *tb, const column *c, int64_t by, int64_t *out) {
    found f;
    uint64_t bits;
    if (!column_is_integer(c)) return not_a_number(t, tb, c, "an integer");
    fr_status status = row_begin(st, t, k, tb, &f);
    if (status == FR_OK) status = column_add(t, tb, c, f.exists ? image_bits(t, f.off, c) : c->preset.bits, by, &bits);
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
    fr_status status = locate(st, t, k, name, &tb, &c);
    if (status != FR_OK) return status;
    if (c->type != COLUMN_FLOAT64) return not_a_number(t, tb, c, "a float64");
    if ((status = row_begin(st, t, k, tb, &f)) != FR_OK) return status;
    cell v = {.bits = f.exists ? image_bits(t, f.off, c) : c->preset.bits};
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
    *is = status == FR_OK && column_is_preset(c, &v);
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
        change_add(&ch, (uint32_t)at, &tb->schema.column[at].preset);
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

/* --- whole rows --------------------------------------------------------------------------------------------------- */

fr_status row_copy_out(store *st, txn *t, const key *k, char *image, bool *found_it) {
    const table *tb;
    found f;
    fr_status status = look(st, t, k, &tb, &f);
    *found_it = status == FR_OK && f.exists;
    if (!*found_it) return status;
    if (FR_UNLIKELY(!segment_holds(t->s, f.off, tb->stride))) return image_unbelievable(t, f.off, "lies outside the segment");
    image_copy(t, f.off, 0, tb->stride, image);
    return FR_OK;
}

fr_status row_take(store *st, txn *t, const key *k, char *image, bool *existed) {
    const table *tb;
    found f;
    *existed = false;
    fr_status status = table_of(st, t, k, &tb);
    if (status == FR_OK) status = row_begin(st, t, k, tb, &f);
    if (status != FR_OK || !f.exists) return status;
    image_copy(t, f.off, 0, tb->stride, image);
    *existed = true;
    return key_unlink(st, t, k, &f);
}

static bool test_holds(enum row_test test, int order) {
    switch (test) {
    case ROW_EQ: return order == 0;
    case ROW_NE: return order != 0;
    case ROW_LT: return order < 0;
    case ROW_LE: return order <= 0;
    case ROW_GT: return order > 0;
    default: return order >= 0;
    }
}

static double as_double(const value *v) {
    return v->kind == VALUE_DOUBLE ? v->d : v->kind == VALUE_UINT ? (double)v->u : (double)v->i;
}

static __int128 as_integer(const value *v) { return v->kind == VALUE_UINT ? (__int128)v->u : (__int128)v->i; }

static int text_order(span a, span b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

/* Numbers are compared as numbers, whether or not the column could hold the other one; texts by their bytes. */
bool row_compare(const column *c, const char *image, const row_condition *with, bool *holds) {
    value now = column_of_image(c, image);
    bool text = with->v.kind == VALUE_BYTES, whole = with->v.kind == VALUE_INT || with->v.kind == VALUE_UINT;
    if (text != column_is_text(c) || (c->type != COLUMN_FLOAT64 && !text && !whole)) return false;
    if (text) {
        *holds = test_holds(with->test, text_order((span){now.p, now.n}, (span){with->v.p, with->v.n}));
    } else if (c->type == COLUMN_FLOAT64) {
        double a = now.d, b = as_double(&with->v);
        *holds = a == a && b == b && test_holds(with->test, (a > b) - (a < b));
    } else {
        __int128 a = as_integer(&now), b = as_integer(&with->v);
        *holds = test_holds(with->test, (a > b) - (a < b));
    }
    return true;
}

static fr_status judge(txn *t, const table *tb, const char *image, const row_condition *with, bool *holds) {
    const column *c = NULL;
    cell ignored;
    fr_status status = column_at(t, tb, with->column, &c);
    if (status != FR_OK || row_compare(c, image, with, holds)) return status;
    return column_accept(t, tb, c, &with->v, &ignored); /* says what is wrong with it */
}

static fr_status put_cells(txn *t, const table *tb, const cell_in *in, size_t n, char *image) {
    const column *c = NULL;
    for (size_t i = 0; i < n; i++) {
        cell v;
        fr_status status = column_at(t, tb, in[i].column, &c);
        if (status == FR_OK) status = column_accept(t, tb, c, &in[i].v, &v);
        if (status != FR_OK) return status;
        column_put(c, image, &v);
    }
    return FR_OK;
}

static fr_status add_float(txn *t, const column *c, const value *by, char *image) {
    cell v = {.bits = 0};
    double d = column_of_image(c, image).d + as_double(by);
    if (isnan(d) || isinf(d)) return txn_fail(t, FR_NANINF, "%s", "");
    memcpy(&v.bits, &d, 8);
    column_put(c, image, &v);
    return FR_OK;
}

static fr_status add_cells(txn *t, const table *tb, const cell_in *in, size_t n, char *image) {
    const column *c = NULL;
    for (size_t i = 0; i < n; i++) {
        cell v = {.bits = 0};
        fr_status status = column_at(t, tb, in[i].column, &c);
        if (status != FR_OK) return status;
        if (c->type == COLUMN_FLOAT64) {
            status = add_float(t, c, &in[i].v, image);
        } else if (!column_is_integer(c) || in[i].v.kind != VALUE_INT) {
            return not_a_number(t, tb, c, column_is_integer(c) ? "a float64" : "an integer");
        } else {
            status = column_add(t, tb, c, column_of_image(c, image).u, in[i].v.i, &v.bits);
            if (status == FR_OK) column_put(c, image, &v);
        }
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static fr_status conditions_hold(txn *t, const table *tb, const row_steps *s, const char *image, bool *all) {
    fr_status status = FR_OK;
    *all = true;
    for (size_t i = 0; status == FR_OK && *all && i < s->conditions; i++)
        status = judge(t, tb, image, &s->condition[i], all);
    return status;
}

/* A new row passes conditions only when defaults say what it would have held. */
static bool may_be(const row_steps *s, bool exists) {
    if (exists) return s->presence != ROW_ABSENT;
    return s->presence != ROW_PRESENT && (s->conditions == 0 || s->defaults);
}

fr_status row_update(store *st, txn *t, const key *k, const row_steps *s, char *out, bool *done, bool *created) {
    const table *tb;
    found f;
    bool all;
    *done = *created = false;
    fr_status status = table_of(st, t, k, &tb);
    if (status == FR_OK) status = row_begin(st, t, k, tb, &f);
    if (status != FR_OK || !may_be(s, f.exists)) return status;
    char *image = image_begin(t, tb, &f);
    if (!image) return txn_fail(t, FR_NOSPACE, "no memory for a row of table '%s'", tb->name);
    if (!f.exists && s->defaults) status = put_cells(t, tb, s->fallback, s->fallbacks, image);
    if (status == FR_OK) status = conditions_hold(t, tb, s, image, &all);
    if (status != FR_OK || !all) return status;
    status = put_cells(t, tb, s->set, s->sets, image);
    if (status == FR_OK) status = add_cells(t, tb, s->add, s->adds, image);
    if (status != FR_OK) return status;
    if (s->expiry != NO_EXPIRY) image_set_word(image, BLOCK_EXPIRY, s->expiry);
    memcpy(out, image, tb->stride);
    *done = true;
    *created = !f.exists;
    if (f.exists && s->sets == 0 && s->adds == 0 && s->expiry == NO_EXPIRY) return FR_OK;
    return f.exists || f.dead ? image_replace(t, tb, k, &f, image) : image_insert(t, tb, k, image);
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
