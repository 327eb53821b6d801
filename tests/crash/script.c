/* script.c - see script.h. Sections: words; commands inside a transaction; running one or several; commands around
 * transactions; dispatch. Other doors are in doors.c, the harness's own words in states.c.
 */
#include "script.h"

#include <stdio.h>
#include <stdlib.h>

#include "doors.h"
#include "shm/heap.h"
#include "shm/liveness.h"
#include "shm/wait.h"
#include "states.h"
#include "store/counter.h"
#include "store/hash.h"
#include "store/lock.h"
#include "store/string.h"
#include "store/table.h"

#define WORDS 96
#define ARENA 65536

typedef struct words {
    span w[WORDS];
    size_t n;
    char *arena; /* malloc'ed: scripts nest (RANDOM) */
    size_t used;
} words;

/* --- words ---------------------------------------------------------------------------------------------------------- */

void script_name(const segment *s, int stripe, int quad, int bit, unsigned n, char out[16]) {
    for (unsigned i = 0;; i++) {
        int length = snprintf(out, 16, "k%u", i);
        uint64_t hash = key_hash(s, FIELD_SPACE, (span){out, (size_t)length});
        uint32_t tag = INDEX_TAG(hash);
        if (stripe >= 0 && key_stripe_of(s, hash) != (uint32_t)stripe) continue;
        if (quad >= 0 && ((tag >> 2 & 15) & (s->g.page_size / 256 - 1)) != (uint32_t)quad) continue;
        if (bit >= 0 && (tag >> INDEX_PLACE_BITS & 1) != (uint32_t)bit) continue;
        if (n-- == 0) return;
    }
}

static int option_of(const char **p, char mark) {
    if (**p != mark) return -1;
    ++*p;
    if (**p == '*') return ++*p, -1;
    return (int)strtol(*p, (char **)p, 10);
}

static span name_word(const segment *s, words *ws, const char *p) {
    char *out = ws->arena + ws->used;
    int stripe = option_of(&p, '%'), quad = option_of(&p, 'q'), bit = option_of(&p, 'p'), n = option_of(&p, '.');
    script_name(s, stripe, quad, bit, n < 0 ? 0 : (unsigned)n, out);
    ws->used += 16;
    return (span){out, strlen(out)};
}

static span plain_word(words *ws, const char *p, size_t n) {
    char *out = ws->arena + ws->used;
    size_t times = n > 2 && p[1] == '*' ? strtoul(p + 2, NULL, 10) : 0;
    if (times) memset(out, p[0], times);
    else memcpy(out, p, n);
    ws->used += (times ? times : n) + 1;
    return (span){out, times ? times : n};
}

/* Takes the words up to `end` (or the string's) from *p. */
static void split(const segment *s, const char **p, char end, words *ws) {
    ws->n = ws->used = 0;
    ws->arena = malloc(ARENA);
    while (**p && **p != end && ws->n < WORDS) {
        size_t n = strcspn(*p, " ;|");
        if (n && **p == '%') ws->w[ws->n++] = name_word(s, ws, *p);
        else if (n) ws->w[ws->n++] = plain_word(ws, *p, n);
        *p += n;
        if (**p == ' ' || (**p == '|' && end != '|')) {
            if (**p == '|') ws->w[ws->n++] = SPAN_LIT("|");
            ++*p;
        }
    }
    if (**p) ++*p;
}

/* --- commands inside a transaction ---------------------------------------------------------------------------------- */

typedef struct call {
    actor *a;
    const span *w; /* w[0] is the command */
    size_t n;
} call;

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

/* Which words are keys: first, last (0 = to the end), step; first 0: every stripe, -1: the stripe that word 1 says. */
typedef struct verb {
    const char *name;
    fr_status (*run)(store *, txn *, const call *);
    int first, last, step;
} verb;

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

static const verb *verb_of(span w) {
    for (size_t i = 0; i < FR_COUNTOF(verbs); i++)
        if (word_is(w, verbs[i].name)) return &verbs[i];
    return NULL;
}

/* --- running one or several ------------------------------------------------------------------------------------------ */

typedef struct batch {
    actor *a;
    const span *w;
    size_t n;
} batch;

static size_t bar(const span *w, size_t n) {
    size_t i = 0;
    while (i < n && !word_is(w[i], "|")) i++;
    return i;
}

static void add_stripes(actor *a, const span *w, size_t n, stripe_set *set) {
    const verb *v = verb_of(w[0]);
    key k;
    if (!v || v->first == 0) {
        store_all_stripes(a->st, set);
    } else if (v->first < 0) {
        stripe_set_add(set, (uint32_t)word_number(w[1]));
    } else {
        for (size_t i = (size_t)v->first; i < n && (v->last == 0 || i <= (size_t)v->last); i += (size_t)v->step)
            if (key_route(a->st, a->db, w[i], &k, &a->err) == FR_OK) stripe_set_add(set, k.stripe);
    }
}

/* As EXEC does: a command that fails is rolled back and the others stand; what the loops handle goes up. */
static fr_status run_batch(store *st, txn *t, void *ctx) {
    batch *b = ctx;
    for (size_t i = 0, n; i < b->n; i += n + 1) {
        n = bar(b->w + i, b->n - i);
        call c = {b->a, b->w + i, n};
        const verb *v = verb_of(b->w[i]);
        uint32_t mark = txn_mark(t);
        fr_status status = v ? v->run(st, t, &c) : FR_SYNTAX;
        if (status == FR_OK) continue;
        if (status <= FR_RELOCK || n == b->n) return status;
        txn_rollback(t, mark);
    }
    return FR_OK;
}

static fr_status run_words(actor *a, const span *w, size_t n) {
    batch b = {a, w, n};
    stripe_set set;
    stripe_set_clear(&set);
    for (size_t i = 0, m; i < n; i += m + 1) {
        m = bar(w + i, n - i);
        add_stripes(a, w + i, m, &set);
    }
    if (set.count == 0) stripe_set_add(&set, 0);
    return store_write(a->st, a->now_ms, UINT64_MAX, &set, run_batch, &b, &a->err);
}

/* --- commands around transactions ------------------------------------------------------------------------------------- */

static fr_status declare(actor *a, const span *w, size_t n) {
    static schema sc; /* large; only ever used here */
    table *tb;
    bool created;
    sc.columns = 0;
    for (size_t i = 3; i + 1 < n; i += 2) {
        fr_status status = schema_add(&sc, w[i], w[i + 1], &a->err);
        if (status != FR_OK) return status;
    }
    return table_declare(a->st, w[1], (uint64_t)word_number(w[2]), &sc, a->now_ms, &tb, &created, &a->err);
}

static fr_status reclaim_table(actor *a, span name) {
    uint64_t cursor = 0;
    store_catalogue(a->st, &a->err);
    for (uint32_t i = 0; i < a->st->table_count; i++) {
        table *tb = a->st->tables[i];
        if (tb && span_eq((span){tb->name, tb->name_n}, name)) table_reclaim(a->st, tb, a->now_ms, &cursor, UINT32_MAX);
    }
    return FR_OK;
}

/* The lock-free calls by name: finds the cell in a transaction that changes nothing. */
typedef struct cell_of {
    actor *a;
    span name;
    uint64_t cell;
} cell_of;

static fr_status find_cell(store *st, txn *t, void *ctx) {
    cell_of *c = ctx;
    key k;
    found f;
    c->cell = 0;
    fr_status status = key_route(st, c->a->db, c->name, &k, &c->a->err);
    if (status == FR_OK) status = key_find(st, t, &k, &f);
    if (status == FR_OK && f.counter) c->cell = f.counter + block_body_at(txn_ld(t, f.counter + BLOCK_META));
    return status;
}

static fr_status counter_call(actor *a, const span *w, size_t n) {
    cell_of c = {a, w[1], 0};
    int64_t out;
    bool done;
    bounds within = {.lower = INT64_MIN, .upper = INT64_MAX};
    if (word_is(w[0], "CADDB")) within = (bounds){.lower = word_number(w[3]), .upper = word_number(w[4]), .saturate = n > 5};
    fr_status status = store_read(a->st, a->now_ms, NULL, find_cell, &c, &a->err);
    if (status != FR_OK || !c.cell) return status == FR_OK ? FR_NOKEY : status;
    if (word_is(w[0], "CADD")) status = counter_add(a->s, c.cell, word_number(w[2]), &out);
    else if (word_is(w[0], "CADDB")) status = counter_add_within(a->s, c.cell, word_number(w[2]), &within, &out, &done);
    else if (word_is(w[0], "CSET")) status = counter_set(a->s, c.cell, word_number(w[2]));
    else status = counter_cas(a->s, c.cell, word_number(w[2]), word_number(w[3]), &done);
    return status;
}

unsigned script_unmet;

typedef struct expectation {
    actor *a;
    span name, value;
} expectation;

static fr_status compare(store *st, txn *t, void *ctx) {
    expectation *e = ctx;
    key k;
    value v;
    bool there;
    char buf[VALUE_TEXT];
    fr_status status = key_route(st, e->a->db, e->name, &k, &e->a->err);
    if (status == FR_OK) status = str_get(st, t, &k, &v, &there);
    if (status == FR_OK && (!there || !span_eq(value_text(&v, buf), e->value))) status = FR_RANGE;
    return status;
}

static fr_status expect(actor *a, const span *w) {
    expectation e = {a, w[1], w[2]};
    script_unmet += store_read(a->st, a->now_ms, NULL, compare, &e, &a->err) != FR_OK;
    return FR_OK;
}

static fr_status reclaim_stripe(actor *a, uint32_t stripe) {
    uint64_t walk = 0;
    unsigned freed;
    return room_reclaim(a->st, stripe, a->now_ms, a->now_ms, 1000, &walk, &freed, &a->err);
}

static fr_status trim(actor *a, uint32_t stripe) {
    unsigned returned;
    return heap_trim(a->s, stripe, a->now_ms, a->now_ms, 100, &returned, &a->err);
}

static fr_status repair(actor *a) {
    verify_report report;
    return store_verify(a->st, true, &report, &a->err);
}

/* Gives the slot up as segment_close does: what was counted in it stays for the next registrant to fold. */
static fr_status leave(actor *a) {
    uint32_t slot = a->s->me->slot;
    liveness_leave(a->s);
    if (slot) segment_set_dead(a->s, slot, true);
    return FR_OK;
}

/* What a sleeper leaves at its key's notify entry, or, BELL, an event loop's thread. */
static fr_status mark(actor *a, const span *w) {
    key k;
    fr_status status = key_route(a->st, a->db, w[1], &k, &a->err);
    if (status != FR_OK) return status;
    if (word_is(w[0], "BELL")) wait_mark_doorbell(a->s, k.hash);
    else wait_mark(a->s, k.hash);
    return FR_OK;
}

/* --- dispatch --------------------------------------------------------------------------------------------------------- */

static fr_status around_word(actor *a, const span *w, size_t n, bool *known) {
    int64_t one = n > 1 ? word_number(w[1]) : 0;
    span name = w[0];
    *known = true;
    if (word_is(name, "DECLARE")) return declare(a, w, n);
    if (word_is(name, "DROP")) return table_drop(a->st, w[1], a->now_ms, &a->err);
    if (word_is(name, "TRECLAIM")) return reclaim_table(a, w[1]);
    if (word_is(name, "RECLAIM")) return reclaim_stripe(a, (uint32_t)one);
    if (word_is(name, "TRIM")) return trim(a, (uint32_t)one);
    if (word_is(name, "TICK")) return store_tick(a->st, a->now_ms, 1000), FR_OK;
    if (word_is(name, "FOLD")) return txn_fold_stats(a->s, (uint32_t)one);
    if (word_is(name, "WALL")) return keyspace_from_wall(a->st, 0), FR_OK;
    if (word_is(name, "GROW")) return segment_grow(a->s, &a->err);
    if (word_is(name, "REPAIR")) return repair(a);
    if (word_is(name, "REAP")) return segment_reap(a->s) ? FR_OK : FR_NOKEY;
    if (word_is(name, "LEAVE")) return leave(a);
    if (word_is(name, "REGISTER")) return segment_register(a->s, &a->err);
    if (word_is(name, "EXPECT")) return expect(a, w);
    if (word_is(name, "MARK") || word_is(name, "BELL")) return mark(a, w);
    if (word_is(name, "CADD") || word_is(name, "CADDB") || word_is(name, "CSET") || word_is(name, "CCAS")) return counter_call(a, w, n);
    *known = false;
    return FR_OK;
}

fr_status script_words(actor *a, const span *w, size_t n) {
    bool known;
    fr_status status = states_word(a, w, n, &known);
    if (!known) status = doors_word(a, w, n, &known);
    if (!known) status = around_word(a, w, n, &known);
    if (known) return status;
    if (word_is(w[0], "EXEC")) return run_words(a, w + 1, n - 1);
    if (verb_of(w[0])) return run_words(a, w, n);
    fprintf(stderr, "script: unknown command '%.*s'\n", (int)w[0].n, w[0].p);
    exit(2);
}

fr_status script_run(actor *a, const char *script) {
    fr_status worst = FR_OK;
    while (*script) {
        words ws;
        split(a->s, &script, ';', &ws);
        fr_status status = ws.n ? script_words(a, ws.w, ws.n) : FR_OK;
        if (status != FR_OK) worst = status;
        free(ws.arena);
    }
    return worst;
}
