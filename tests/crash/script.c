/* script.c - see script.h. Sections: words; commands inside a transaction; running one or several; commands around
 * transactions; the harness's own; dispatch.
 */
#include "script.h"

#include <stdio.h>
#include <stdlib.h>

#include "shm/heap.h"
#include "shm/index.h"
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
        if (bit >= 0 && tag >> 25 != (uint32_t)bit) continue;
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

static int64_t number(span w) {
    char buf[32] = "";
    memcpy(buf, w.p, w.n < 31 ? w.n : 31);
    return strtoll(buf, NULL, 10);
}

static bool is(span w, const char *text) { return w.n == strlen(text) && memcmp(w.p, text, w.n) == 0; }

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
        if (is(c->w[i], "KEEPTTL")) o.keep_ttl = true;
        else if (is(c->w[i], "NX")) o.condition = SET_NX;
        else if (is(c->w[i], "XX")) o.condition = SET_XX;
        else if (is(c->w[i], "PXAT") && i + 1 < c->n) o.expiry = (uint64_t)number(c->w[++i]);
        else if (is(c->w[i], "IFEQ") && i + 1 < c->n) o.condition = SET_IFEQ, o.match = c->w[++i];
        else if (is(c->w[i], "IFNE") && i + 1 < c->n) o.condition = SET_IFNE, o.match = c->w[++i];
    }
    return o;
}

static fr_status do_set(store *st, txn *t, const call *c) {
    key k;
    set_result r;
    set_options o = set_words(c);
    fr_status status = route(c, 1, &k);
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
    return status == FR_OK ? str_incr(st, t, &k, number(c->w[2]), &out) : status;
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
    bound_options o = {.by = number(c->w[2]), .lower = number(c->w[3]), .upper = number(c->w[4]), .saturate = true,
                       .set_expiry = true, .expiry = 90000};
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
    return status == FR_OK ? str_set_range(st, t, &k, (uint64_t)number(c->w[2]), c->w[3], &length) : status;
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
    uint64_t at = is(c->w[0], "PERSIST") ? NO_EXPIRY : (uint64_t)number(c->w[2]);
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? key_expire(st, t, &k, at, 0, &changed) : status;
}

static fr_status do_rename(store *st, txn *t, const call *c) {
    key from, to;
    bool done;
    fr_status status = route(c, 1, &from);
    if (status == FR_OK) status = route(c, 2, &to);
    return status == FR_OK ? key_rename(st, t, &from, &to, is(c->w[0], "RENAMENX"), &done) : status;
}

static fr_status do_copy(store *st, txn *t, const call *c) {
    key from, to;
    bool done;
    fr_status status = route(c, 1, &from);
    if (status == FR_OK) status = route(c, 2, &to);
    return status == FR_OK ? key_copy(st, t, &from, &to, true, &done) : status;
}

/* MOVE: the source's content under the same name in another database, and the source gone. */
static fr_status do_move(store *st, txn *t, const call *c) {
    key from, to;
    bool done;
    fr_status status = route(c, 1, &from);
    if (status == FR_OK) status = key_route(st, (uint32_t)number(c->w[2]), c->w[1], &to, &c->a->err);
    return status == FR_OK ? key_rename(st, t, &from, &to, true, &done) : status;
}

static fr_status do_hset(store *st, txn *t, const call *c) {
    key k;
    field_value fv[WORDS / 2];
    size_t n = 0, created;
    for (size_t i = 2; i + 1 < c->n; i += 2) fv[n++] = (field_value){c->w[i], c->w[i + 1]};
    fr_status status = route(c, 1, &k);
    enum field_condition condition = is(c->w[0], "HSETNX") ? FIELD_NX : FIELD_ALWAYS;
    return status == FR_OK ? hash_set(st, t, &k, fv, n, condition, &created) : status;
}

static fr_status do_hincr(store *st, txn *t, const call *c) {
    key k;
    int64_t out;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? hash_incr(st, t, &k, c->w[2], number(c->w[3]), &out) : status;
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
    return keyspace_flush(st, t, is(c->w[0], "FLUSHALL") ? -1 : (int32_t)number(c->w[1]));
}

static fr_status do_swap(store *st, txn *t, const call *c) {
    return keyspace_swap(st, t, (uint32_t)number(c->w[1]), (uint32_t)number(c->w[2]));
}

static fr_status do_copen(store *st, txn *t, const call *c) {
    key k;
    uint64_t cell;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? counter_open(st, t, &k, number(c->w[2]), &cell) : status;
}

static fr_status do_trash(store *st, txn *t, const call *c) {
    unsigned freed;
    return tree_reclaim(st, t, (uint32_t)number(c->w[1]), (unsigned)number(c->w[2]), &freed);
}

static fr_status do_acquire(store *st, txn *t, const call *c) {
    key k;
    lock_state out;
    lock_request r = {.token = c->w[2], .limit = 1};
    for (size_t i = 3; i < c->n; i++) {
        if (is(c->w[i], "QUEUE")) r.queue = true;
        else if (is(c->w[i], "SHARED") && i + 1 < c->n) r.shared = true, r.limit = (uint32_t)number(c->w[++i]);
        else if (is(c->w[i], "LEASE") && i + 1 < c->n) r.lease_ms = (uint64_t)number(c->w[++i]);
    }
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? lock_acquire(st, t, &k, &r, &out) : status;
}

static fr_status do_let_go(store *st, txn *t, const call *c) {
    key k;
    bool done;
    fr_status status = route(c, 1, &k);
    if (status != FR_OK) return status;
    if (is(c->w[0], "FORCE")) return lock_force(st, t, &k, &done);
    return is(c->w[0], "QUIT") ? lock_leave(st, t, &k, c->w[2], &done) : lock_release(st, t, &k, c->w[2], &done);
}

static fr_status do_lease(store *st, txn *t, const call *c) {
    key k;
    bool done;
    fr_status status = route(c, 1, &k);
    return status == FR_OK ? lock_lease(st, t, &k, c->w[2], (uint64_t)number(c->w[3]), &done) : status;
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
    {"COPY", do_copy, 1, 2, 1},     {"MOVE", do_move, 1, 1, 1},     {"HSET", do_hset, 1, 1, 1},
    {"HSETNX", do_hset, 1, 1, 1},   {"HINCR", do_hincr, 1, 1, 1},   {"HINCRF", do_hincrf, 1, 1, 1},
    {"HDEL", do_hdel, 1, 1, 1},     {"HCAS", do_hcas, 1, 1, 1},     {"FLUSHDB", do_flush, 0, 0, 1},
    {"FLUSHALL", do_flush, 0, 0, 1}, {"SWAPDB", do_swap, 0, 0, 1},  {"COPEN", do_copen, 1, 1, 1},
    {"TRASH", do_trash, -1, 0, 1},  {"ACQUIRE", do_acquire, 1, 1, 1}, {"RELEASE", do_let_go, 1, 1, 1},
    {"FORCE", do_let_go, 1, 1, 1},  {"QUIT", do_let_go, 1, 1, 1},   {"LEASE", do_lease, 1, 1, 1},
};

static const verb *verb_of(span w) {
    for (size_t i = 0; i < FR_COUNTOF(verbs); i++)
        if (is(w, verbs[i].name)) return &verbs[i];
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
    while (i < n && !is(w[i], "|")) i++;
    return i;
}

static void add_stripes(actor *a, const span *w, size_t n, stripe_set *set) {
    const verb *v = verb_of(w[0]);
    key k;
    if (!v || v->first == 0) {
        store_all_stripes(a->st, set);
    } else if (v->first < 0) {
        stripe_set_add(set, (uint32_t)number(w[1]));
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

static fr_status declare(actor *a, const words *ws) {
    static schema sc; /* large; only ever used here */
    table *tb;
    bool created;
    sc.columns = 0;
    for (size_t i = 3; i + 1 < ws->n; i += 2) {
        fr_status status = schema_add(&sc, ws->w[i], ws->w[i + 1], &a->err);
        if (status != FR_OK) return status;
    }
    return table_declare(a->st, ws->w[1], (uint64_t)number(ws->w[2]), &sc, a->now_ms, &tb, &created, &a->err);
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

static fr_status counter_call(actor *a, const words *ws) {
    cell_of c = {a, ws->w[1], 0};
    int64_t out;
    bool done;
    fr_status status = store_read(a->st, a->now_ms, NULL, find_cell, &c, &a->err);
    if (status != FR_OK || !c.cell) return status == FR_OK ? FR_NOKEY : status;
    if (is(ws->w[0], "CADD")) status = counter_add(a->s, c.cell, number(ws->w[2]), &out);
    else if (is(ws->w[0], "CSET")) status = counter_set(a->s, c.cell, number(ws->w[2]));
    else status = counter_cas(a->s, c.cell, number(ws->w[2]), number(ws->w[3]), &done);
    return status;
}

/* An EXPECT that is not met counts here. */
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

static fr_status expect(actor *a, const words *ws) {
    expectation e = {a, ws->w[1], ws->w[2]};
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

/* --- the harness's own ------------------------------------------------------------------------------------------------ */

static unsigned quad_free(actor *a, uint32_t stripe, const char *name) {
    txn t;
    probe p;
    unsigned n = 0;
    txn_init(&t, a->s, &a->err);
    txn_begin_read(&t, a->now_ms);
    uint64_t root = a->s->l.latches + stripe * a->s->l.stripe_bytes + offsetof(struct stripe, root);
    uint64_t hash = key_hash(a->s, FIELD_SPACE, (span){name, strlen(name)});
    if (!index_probe(&t, root, INDEX_TAG(hash), &p)) return 32;
    for (uint32_t i = 0; i < QUAD_SLOTS; i++) n += txn_ld(&t, p.quad + i * 8) == 0;
    return n;
}

static fr_status fill_one(actor *a, const char *name, const char *value) {
    char line[1100];
    snprintf(line, sizeof line, "SET %s %s", name, value);
    return script_run(a, line);
}

/* Names from 100 on: operations take theirs from the beginning. With one prefix bit they stay together when split. */
static fr_status fill_quad(actor *a, int stripe, int quad, unsigned left, int bit) {
    char name[16];
    for (unsigned i = 100; i < 200; i++) {
        script_name(a->s, stripe, quad, bit, i, name);
        if (quad_free(a, (uint32_t)stripe, name) <= left) return FR_OK;
        fr_status status = fill_one(a, name, "1");
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static bool partial_room(actor *a, uint32_t stripe, unsigned class) {
    return segment_stripe(a->s, stripe)->partial[class] != 0;
}

/* Takes every free block of the small classes of a stripe that have a page. */
static fr_status fill_slabs(actor *a, int stripe) {
    char name[16], value[256];
    unsigned n = 100;
    for (unsigned c = 0; heap_class_size(a->s, c); c++) {
        memset(value, 'f', sizeof value);
        value[heap_class_size(a->s, c) - 16 - 8] = 0;
        while (partial_room(a, (uint32_t)stripe, c) && n < 200) {
            script_name(a->s, stripe, -1, -1, n++, name);
            fr_status status = fill_one(a, name, value);
            if (status != FR_OK) return status;
        }
    }
    return FR_OK;
}

static uint64_t pages_free(segment *s) {
    return segment_super(s)->size / s->g.page_size - s->l.data / s->g.page_size - segment_super(s)->pool_used;
}

static fr_status fill_pool(actor *a, uint64_t left) {
    char name[16];
    for (unsigned i = 300; i < 400 && pages_free(a->s) > left; i++) {
        script_name(a->s, -1, -1, -1, i, name);
        uint64_t had = pages_free(a->s);
        fr_status status = fill_one(a, name, had - left > 4 ? "p*1900" : "p*300");
        if (status != FR_OK && status != FR_OOM) return status;
        if (pages_free(a->s) == had) break;
    }
    return FR_OK;
}

/* Pages taken one by one and given back with a gap after each: no run of two is left. */
static fr_status fragment(actor *a, unsigned n) {
    char name[16], line[64];
    fr_status status = FR_OK;
    for (unsigned i = 0; i < 60; i++) {
        script_name(a->s, -1, -1, -1, 400 + i, name);
        snprintf(line, sizeof line, "SET %s p*300", name);
        if (script_run(a, line) != FR_OK) break;
    }
    for (unsigned i = 0; i < 2 * n && status == FR_OK; i += 2) {
        script_name(a->s, -1, -1, -1, 400 + i, name);
        snprintf(line, sizeof line, "DEL %s", name);
        status = script_run(a, line);
    }
    return status;
}

/* Gives the slot up as segment_close does: what it counted stays for the next registrant to fold. */
static fr_status leave(actor *a) {
    static uint64_t idle[256];
    uint64_t *state = &SEG_AT(a->s, a->s->l.procs, proc)[a->s->me->slot].state;
    *state |= 3;
    segment_set_dead(a->s, a->s->me->slot, true);
    *a->s->me = (identity){0, 0};
    a->s->stats = idle;
    return FR_OK;
}

static fr_status add_fields(actor *a, span k, unsigned n, span v) {
    char line[512], name[16];
    fr_status status = FR_OK;
    for (unsigned i = 0; i < n && status == FR_OK; i++) {
        script_name(a->s, -1, 0, 0, i, name);
        snprintf(line, sizeof line, "HSET %.*s %s %.*s", (int)k.n, k.p, name, (int)v.n, v.p);
        status = script_run(a, line);
    }
    return status;
}

static fr_status add_keys(actor *a, int stripe, unsigned n, span v) {
    char line[512], name[16];
    fr_status status = FR_OK;
    for (unsigned i = 0; i < n && status == FR_OK; i++) {
        script_name(a->s, stripe, -1, -1, 40 + i, name);
        snprintf(line, sizeof line, "SET %s %.*s", name, (int)v.n, v.p);
        status = script_run(a, line);
    }
    return status;
}

static unsigned pick(uint64_t *seed, unsigned n) {
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(*seed >> 33) % n;
}

/* A history: n commands on names from 60 on; what fails, fails. */
static fr_status random_history(actor *a, uint64_t seed, unsigned n) {
    static const char *const forms[] = {"SET %s v*%u", "SET %s %u", "INCR %s %u", "APPEND %s w*%u", "DEL %s", "HSET %s f%u x",
                                        "HSET %s g*%u y", "HDEL %s f%u", "SET %s t PXAT 9%03u", "EXPIRE %s 9%04u", "COPEN %s %u",
                                        "RENAME %s k%u", "COPY %s k%u", "SETRANGE %s %u zz"};
    char line[128], name[16];
    for (unsigned i = 0; i < n; i++) {
        script_name(a->s, -1, -1, -1, 60 + pick(&seed, 12), name);
        snprintf(line, sizeof line, forms[pick(&seed, FR_COUNTOF(forms))], name, 1 + pick(&seed, 90));
        script_run(a, line);
    }
    return FR_OK;
}

/* --- dispatch --------------------------------------------------------------------------------------------------------- */

static fr_status harness_word(actor *a, const words *ws, bool *known) {
    int64_t one = ws->n > 1 ? number(ws->w[1]) : 0, two = ws->n > 2 ? number(ws->w[2]) : 0;
    span name = ws->w[0];
    *known = true;
    if (is(name, "NOW")) return a->now_ms = (uint64_t)one, FR_OK;
    if (is(name, "DB")) return a->db = (uint32_t)one, FR_OK;
    if (is(name, "POLICY")) {
        segment_super(a->s)->shared_settings[SETTING_POLICY] = (uint64_t)one;
        segment_super(a->s)->shared_settings[SETTING_SAMPLES] = 5;
        return FR_OK;
    }
    if (is(name, "FILLQUAD")) return fill_quad(a, (int)one, (int)two, (unsigned)number(ws->w[3]), (int)number(ws->w[4]));
    if (is(name, "FRAGMENT")) return fragment(a, (unsigned)one);
    if (is(name, "LEAVE")) return leave(a);
    if (is(name, "FILLSLABS")) return fill_slabs(a, (int)one);
    if (is(name, "FILLPOOL")) return fill_pool(a, (uint64_t)one);
    if (is(name, "FIELDS")) return add_fields(a, ws->w[1], (unsigned)two, ws->w[3]);
    if (is(name, "KEYS")) return add_keys(a, (int)one, (unsigned)two, ws->w[3]);
    if (is(name, "RANDOM")) return random_history(a, (uint64_t)one, (unsigned)two);
    if (is(name, "STAT")) return stat_add(a->s, (unsigned)one, (uint64_t)two), FR_OK;
    *known = false;
    return FR_OK;
}

static fr_status around_word(actor *a, const words *ws, bool *known) {
    int64_t one = ws->n > 1 ? number(ws->w[1]) : 0;
    span name = ws->w[0];
    *known = true;
    if (is(name, "DECLARE")) return declare(a, ws);
    if (is(name, "DROP")) return table_drop(a->st, ws->w[1], a->now_ms, &a->err);
    if (is(name, "TRECLAIM")) return reclaim_table(a, ws->w[1]);
    if (is(name, "RECLAIM")) return reclaim_stripe(a, (uint32_t)one);
    if (is(name, "TRIM")) return trim(a, (uint32_t)one);
    if (is(name, "TICK")) return store_tick(a->st, a->now_ms, 1000), FR_OK;
    if (is(name, "FOLD")) return txn_fold_stats(a->s, (uint32_t)one);
    if (is(name, "REGISTER")) return segment_register(a->s, &a->err);
    if (is(name, "EXPECT")) return expect(a, ws);
    if (is(name, "CADD") || is(name, "CSET") || is(name, "CCAS")) return counter_call(a, ws);
    *known = false;
    return FR_OK;
}

static fr_status run_one(actor *a, const words *ws) {
    bool known;
    fr_status status = harness_word(a, ws, &known);
    if (!known) status = around_word(a, ws, &known);
    if (known) return status;
    if (is(ws->w[0], "EXEC")) return run_words(a, ws->w + 1, ws->n - 1);
    if (verb_of(ws->w[0])) return run_words(a, ws->w, ws->n);
    fprintf(stderr, "script: unknown command '%.*s'\n", (int)ws->w[0].n, ws->w[0].p);
    exit(2);
}

fr_status script_run(actor *a, const char *script) {
    fr_status worst = FR_OK;
    while (*script) {
        words ws;
        split(a->s, &script, ';', &ws);
        fr_status status = ws.n ? run_one(a, &ws) : FR_OK;
        if (status != FR_OK) worst = status;
        free(ws.arena);
    }
    return worst;
}
