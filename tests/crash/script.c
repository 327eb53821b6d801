/* script.c - see script.h. Sections: words; running one or several; commands around transactions; dispatch. Commands inside a
 * transaction are in verbs.c, other doors in doors.c, the harness's own words in states.c.
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
#include "store/string.h"
#include "store/table.h"
#include "verbs.h"

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
