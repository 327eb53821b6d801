/* verbs.c - see verbs.h: from words to the arguments of one call. */
#include "verbs.h"

#include "states.h"
#include "store/counter.h"
#include "store/hash.h"
#include "store/lock.h"
#include "store/string.h"
#include "store/table.h"

static fr_status route(const call *c, size_t i, key *k) {
    return key_route(c->a->st, c->a->db, c->w[i], k, &c->a->err);
}

static set_options set_words(const call *c) {
    set_options o = {.condition = SET_ALWAYS};
    for (size_t i = 3; i < c->n; i++) {
        if (word_is(c->w[i], "KEEPTTL")) o.keep_ttl = true;
        else if (word_is(c->w[i], "NX")) o.condition = SET_NX;
        else if (word_is(c->w[i], "XX")) o.condition = SET_XX;
        else if (word_is(c->w[i], "SAME")) o.check_version = true;
        else if (word_is(c->w[i], "PXAT") && i + 1 < c->n) o.expiry = (uint64_t)word_number(c->w[++i]);
        else if (word_is(c->w[i], "IFEQ") && i + 1 < c->n) o.condition = SET_IFEQ, o.match = c->w[++i];
        else if (word_is(c->w[i], "IFNE") && i + 1 < c->n) o.condition = SET_IFNE, o.match = c->w[++i];
    }
    return o;
}

static fr_status do_set(store *st, txn *t, const call *c) {
    key k;
    set_result r;
    bool exists;
    set_options o = set_words(c);
    fr_status status = route(c, 1, &k);
    if (status == FR_OK && o.check_version) status = key_version(st, t, &k, &o.version, &exists);
    return status == FR_OK ? str_set(st, t, &k, c->w[2], &o, &r) : status;
}

static fr_status do_mset(store *st, txn *t, const call *c) {
    key k;
    set_result r;
    set_options o = {.condition = SET_ALWAYS};
    fr_status status = FR_OK;
    for (size_t i = 1; status == FR_OK && i + 1 < c->n; i += 2) {
        status = route(c, i, &k);
        if (status == FR_OK) status = str_set(st, t, &k, c->w[i + 1], &o, &r);
    }
    return status;
}

static fr_status do_incr(store *st, txn *t, const call *c) {
    key k;
    int64_t out;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? str_incr(st, t, &k, word_number(c->w[2]), &out) : status;
}

static fr_status do_incrf(store *st, txn *t, const call *c) {
    key k;
    char buf[FLOAT_TEXT];
    size_t n;
    long double by = 0;
    fr_status status = route(c, 1, &k);
    text_long_double(c->w[2], &by);
    return status == FR_OK ? str_incr_float(st, t, &k, by, buf, &n) : status;
}

static fr_status do_increx(store *st, txn *t, const call *c) {
    key k;
    int64_t now, applied;
    bound_options o = {.by = word_number(c->w[2]),
                       .within = {.lower = word_number(c->w[3]), .upper = word_number(c->w[4]), .saturate = true},
                       .set_expiry = true, .expiry = 90000000000};
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? str_incr_bounded(st, t, &k, &o, &now, &applied) : status;
}

static fr_status do_append(store *st, txn *t, const call *c) {
    key k;
    uint64_t length;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? str_append(st, t, &k, c->w[2], &length) : status;
}

static fr_status do_setrange(store *st, txn *t, const call *c) {
    key k;
    uint64_t length;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? str_set_range(st, t, &k, (uint64_t)word_number(c->w[2]), c->w[3], &length) : status;
}

static fr_status do_getdel(store *st, txn *t, const call *c) {
    key k;
    value old;
    bool found_it;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? str_get_delete(st, t, &k, &old, &found_it) : status;
}

static fr_status do_del(store *st, txn *t, const call *c) {
    key k;
    bool existed;
    fr_status status = FR_OK;
    for (size_t i = 1; status == FR_OK && i < c->n; i++) {
        status = route(c, i, &k);
        if (status == FR_OK) status = key_delete(st, t, &k, &existed);
    }
    return status;
}

static fr_status do_delif(store *st, txn *t, const call *c) {
    key k;
    int outcome;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? str_delete_if(st, t, &k, c->w[2], true, &outcome) : status;
}

static fr_status do_cas(store *st, txn *t, const call *c) {
    key k;
    int outcome;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? str_cas(st, t, &k, c->w[2], c->w[3], &outcome) : status;
}

static fr_status do_expire(store *st, txn *t, const call *c) {
    key k;
    bool changed;
    uint64_t at = word_is(c->w[0], "PERSIST") ? NO_EXPIRY : (uint64_t)word_number(c->w[2]);
    static const char *const words[] = {"NX", "XX", "GT", "LT"};
    unsigned conditions = 0;
    for (unsigned i = 0; c->n > 3 && i < FR_COUNTOF(words); i++) conditions |= (unsigned)word_is(c->w[3], words[i]) << i;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? key_expire(st, t, &k, at, conditions, &changed) : status;
}

static fr_status do_rename(store *st, txn *t, const call *c) {
    key from, to;
    bool done;
    fr_status status = route(c, 1, &from);
    if (status == FR_OK) status = route(c, 2, &to);
    return status == FR_OK ? key_rename(st, t, &from, &to, word_is(c->w[0], "RENAMENX"), &done) : status;
}

static fr_status do_copy(store *st, txn *t, const call *c) {
    key from, to;
    bool done;
    fr_status status = route(c, 1, &from);
    if (status == FR_OK) status = route(c, 2, &to);
    return status == FR_OK ? key_copy(st, t, &from, &to, !word_is(c->w[0], "COPYNX"), &done) : status;
}

/* MOVE: the source's content under the same name in another database, and the source gone. */
static fr_status do_move(store *st, txn *t, const call *c) {
    key from, to;
    bool done;
    fr_status status = route(c, 1, &from);
    if (status == FR_OK) status = key_route(st, (uint32_t)word_number(c->w[2]), c->w[1], &to, &c->a->err);
    return status == FR_OK ? key_rename(st, t, &from, &to, true, &done) : status;
}

static fr_status do_hset(store *st, txn *t, const call *c) {
    key k;
    field_value fv[WORDS / 2];
    size_t n = 0, created;
    for (size_t i = 2; i + 1 < c->n; i += 2) fv[n++] = (field_value){c->w[i], c->w[i + 1]};
    fr_status status = route(c, 1, &k);
    enum field_condition condition = word_is(c->w[0], "HSETNX") ? FIELD_NX : FIELD_ALWAYS;
    return status == FR_OK ? hash_set(st, t, &k, fv, n, condition, &created) : status;
}

static fr_status do_hincr(store *st, txn *t, const call *c) {
    key k;
    int64_t out;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? hash_incr(st, t, &k, c->w[2], word_number(c->w[3]), &out) : status;
}

static fr_status do_hincrf(store *st, txn *t, const call *c) {
    key k;
    char buf[FLOAT_TEXT];
    size_t n;
    long double by = 0;
    fr_status status = route(c, 1, &k);
    text_long_double(c->w[3], &by);
    return status == FR_OK ? hash_incr_float(st, t, &k, c->w[2], by, buf, &n) : status;
}

static fr_status do_hdel(store *st, txn *t, const call *c) {
    key k;
    size_t deleted;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? hash_delete(st, t, &k, c->w + 2, c->n - 2, &deleted) : status;
}

static fr_status do_hcas(store *st, txn *t, const call *c) {
    key k;
    int outcome;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? hash_cas(st, t, &k, c->w[2], c->w[3], c->w[4], &outcome) : status;
}

static fr_status do_flush(store *st, txn *t, const call *c) {
    return keyspace_flush(st, t, word_is(c->w[0], "FLUSHALL") ? -1 : (int32_t)word_number(c->w[1]));
}

static fr_status do_swap(store *st, txn *t, const call *c) {
    return keyspace_swap(st, t, (uint32_t)word_number(c->w[1]), (uint32_t)word_number(c->w[2]));
}

static fr_status do_copen(store *st, txn *t, const call *c) {
    key k;
    uint64_t cell;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? counter_open(st, t, &k, word_number(c->w[2]), &cell) : status;
}

static fr_status do_trash(store *st, txn *t, const call *c) {
    unsigned freed;
    return tree_reclaim(st, t, (uint32_t)word_number(c->w[1]), (unsigned)word_number(c->w[2]), &freed);
}

/* ROWPUT row column n...; ROWADD row column n: columns by number. */
static fr_status do_rowput(store *st, txn *t, const call *c) {
    key k;
    bool created;
    cell_in cells[8];
    size_t n = 0;
    for (size_t i = 2; i + 1 < c->n && n < FR_COUNTOF(cells); i += 2)
        cells[n++] = (cell_in){(uint32_t)word_number(c->w[i]), {.kind = VALUE_INT, .i = word_number(c->w[i + 1])}};
    fr_status status = route(c, 1, &k);
    if (status == FR_OK && k.table == NO_TABLE) status = FR_NOTABLE;
    return status == FR_OK ? row_put(st, t, &k, cells, n, &created) : status;
}

static fr_status do_rowadd(store *st, txn *t, const call *c) {
    key k;
    int64_t out;
    fr_status status = route(c, 1, &k);
    if (status == FR_OK && k.table == NO_TABLE) status = FR_NOTABLE;
    return status == FR_OK ? row_add(st, t, &k, (uint32_t)word_number(c->w[2]), word_number(c->w[3]), &out) : status;
}

/* A column's value from a word: texts as they are, numbers as integers. */
static fr_status cell_word(const call *c, const key *k, size_t i, cell_in *out) {
    const table *tb = c->a->st->tables[k->table];
    int at = schema_find(&tb->schema, c->w[i]);
    if (at < 0) return FR_COLUMN;
    enum column_type type = tb->schema.column[at].type;
    bool text = type == COLUMN_STR || type == COLUMN_BYTES;
    *out = (cell_in){.column = (uint32_t)at, .v = {.kind = VALUE_INT, .i = word_number(c->w[i + 1])}};
    if (text) out->v = (value){.kind = VALUE_BYTES, .p = c->w[i + 1].p, .n = c->w[i + 1].n};
    return FR_OK;
}

/* UPDATE row [IF column value ..] [SET column value ..] [ADD column value ..] [ELSE column value ..] [NX|XX] [PXAT ms] */
static fr_status do_update(store *st, txn *t, const call *c) {
    char image[512];
    cell_in in[3][WORDS / 2];
    row_condition conditions[WORDS / 2];
    row_steps s = {.condition = conditions, .set = in[0], .add = in[1], .fallback = in[2]};
    bool done, created;
    key k;
    char what = 'S';
    fr_status status = route(c, 1, &k);
    if (status == FR_OK && k.table < 0) return FR_NOTABLE;
    for (size_t i = 2; status == FR_OK && i < c->n; i++) {
        cell_in v;
        if (word_is(c->w[i], "NX")) s.presence = ROW_ABSENT;
        else if (word_is(c->w[i], "XX")) s.presence = ROW_PRESENT;
        else if (word_is(c->w[i], "PXAT") && i + 1 < c->n) s.expiry = (uint64_t)word_number(c->w[++i]);
        else if (word_is(c->w[i], "IF") || word_is(c->w[i], "SET") || word_is(c->w[i], "ADD") || word_is(c->w[i], "ELSE")) what = c->w[i].p[0];
        else if ((status = cell_word(c, &k, i++, &v)) != FR_OK) break;
        else if (what == 'I') conditions[s.conditions++] = (row_condition){v.column, ROW_EQ, v.v};
        else if (what == 'A') in[1][s.adds++] = v;
        else if (what == 'E') s.defaults = true, in[2][s.fallbacks++] = v;
        else in[0][s.sets++] = v;
    }
    return status == FR_OK ? row_update(st, t, &k, &s, image, &done, &created) : status;
}

/* ROWS row column value [row column value ..] */
static fr_status do_rows(store *st, txn *t, const call *c) {
    fr_status status = FR_OK;
    for (size_t i = 1; status == FR_OK && i + 2 < c->n; i += 3) {
        cell_in v;
        bool created;
        key k;
        status = route(c, i, &k);
        if (status == FR_OK) status = k.table < 0 ? FR_NOTABLE : cell_word(c, &k, i + 1, &v);
        if (status == FR_OK) status = row_put(st, t, &k, &v, 1, &created);
    }
    return status;
}

static fr_status do_take(store *st, txn *t, const call *c) {
    char image[512];
    bool existed;
    key k;
    fr_status status = route(c, 1, &k);
    if (status == FR_OK && k.table < 0) return FR_NOTABLE;
    return status == FR_OK ? row_take(st, t, &k, image, &existed) : status;
}

static fr_status do_clear(store *st, txn *t, const call *c) {
    uint64_t rows;
    const table *tb = table_find(st, c->w[1]);
    return tb ? table_clear(st, t, tb, &rows) : FR_NOTABLE;
}

static fr_status do_acquire(store *st, txn *t, const call *c) {
    key k;
    lock_state out;
    lock_request r = {.token = c->w[2], .limit = 1};
    for (size_t i = 3; i < c->n; i++) {
        if (word_is(c->w[i], "QUEUE")) r.queue = true;
        else if (word_is(c->w[i], "OWNED")) r.owned = true;
        else if (word_is(c->w[i], "SHARED") && i + 1 < c->n) r.shared = true, r.limit = (uint32_t)word_number(c->w[++i]);
        else if (word_is(c->w[i], "LIMIT") && i + 1 < c->n) r.limit = (uint32_t)word_number(c->w[++i]);
        else if (word_is(c->w[i], "LEASE") && i + 1 < c->n) r.lease_ms = (uint64_t)word_number(c->w[++i]);
    }
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? lock_acquire(st, t, &k, &r, &out) : status;
}

static fr_status do_let_go(store *st, txn *t, const call *c) {
    key k;
    bool done;
    fr_status status = route(c, 1, &k);
    if (status != FR_OK) return status;
    if (word_is(c->w[0], "FORCE")) return lock_force(st, t, &k, &done);
    return word_is(c->w[0], "QUIT") ? lock_leave(st, t, &k, c->w[2], &done) : lock_release(st, t, &k, c->w[2], &done);
}

static fr_status do_lease(store *st, txn *t, const call *c) {
    key k;
    bool done;
    fr_status status = route(c, 1, &k);
    if (status != FR_OK) return status;
    if (word_is(c->w[0], "EXTENDLEASE")) return lock_extend(st, t, &k, c->w[2], word_number(c->w[3]), true, &done);
    return lock_lease(st, t, &k, c->w[2], (uint64_t)word_number(c->w[3]), &done);
}

static fr_status do_publish(store *st, txn *t, const call *c) {
    key k;
    bool changed;
    uint64_t version;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? var_publish(st, t, &k, c->w[2], &changed, &version) : status;
}

static const verb verbs[] = {
    {"SET", do_set, 1, 1, 1},       {"MSET", do_mset, 1, 0, 2},     {"INCR", do_incr, 1, 1, 1},
    {"INCRF", do_incrf, 1, 1, 1},   {"INCREX", do_increx, 1, 1, 1}, {"APPEND", do_append, 1, 1, 1},
    {"SETRANGE", do_setrange, 1, 1, 1}, {"GETDEL", do_getdel, 1, 1, 1}, {"DEL", do_del, 1, 0, 1},
    {"DELIF", do_delif, 1, 1, 1},   {"CAS", do_cas, 1, 1, 1},       {"EXPIRE", do_expire, 1, 1, 1},
    {"PERSIST", do_expire, 1, 1, 1}, {"RENAME", do_rename, 1, 2, 1}, {"RENAMENX", do_rename, 1, 2, 1},
    {"COPY", do_copy, 1, 2, 1},     {"COPYNX", do_copy, 1, 2, 1},   {"MOVE", do_move, 1, 1, 1},     {"HSET", do_hset, 1, 1, 1},
    {"HSETNX", do_hset, 1, 1, 1},   {"HINCR", do_hincr, 1, 1, 1},   {"HINCRF", do_hincrf, 1, 1, 1},
    {"HDEL", do_hdel, 1, 1, 1},     {"HCAS", do_hcas, 1, 1, 1},     {"FLUSHDB", do_flush, 0, 0, 1},
    {"FLUSHALL", do_flush, 0, 0, 1}, {"SWAPDB", do_swap, 0, 0, 1},  {"COPEN", do_copen, 1, 1, 1},
    {"TRASH", do_trash, -1, 0, 1},  {"UPDATE", do_update, 1, 1, 1}, {"ROWS", do_rows, 1, 0, 3},
    {"TAKE", do_take, 1, 1, 1},     {"CLEAR", do_clear, 0, 0, 1},
    {"ROWPUT", do_rowput, 1, 1, 1}, {"ROWADD", do_rowadd, 1, 1, 1},
    {"ACQUIRE", do_acquire, 1, 1, 1}, {"RELEASE", do_let_go, 1, 1, 1}, {"FORCE", do_let_go, 1, 1, 1},
    {"QUIT", do_let_go, 1, 1, 1},   {"LEASE", do_lease, 1, 1, 1},   {"EXTENDLEASE", do_lease, 1, 1, 1},
    {"PUBLISH", do_publish, 1, 1, 1},
};

const verb *verb_of(span w) {
    for (size_t i = 0; i < FR_COUNTOF(verbs); i++)
        if (word_is(w, verbs[i].name)) return &verbs[i];
    return NULL;
}
