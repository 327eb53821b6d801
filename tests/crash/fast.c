/* fast.c - see fast.h. */
#include "fast.h"

#include <stdlib.h>

#include "store/hash.h"
#include "store/string.h"
#include "store/table.h"

#define ROOM 8192

/* --- names ---------------------------------------------------------------------------------------------------------- */

static span name_of(const segment *s, const char *text, char out[16]) {
    int stripe, bit, n, quad;
    if (sscanf(text, "%%%dq%dp%d.%d", &stripe, &quad, &bit, &n) == 4) script_name(s, stripe, quad, bit, (unsigned)n, out);
    else if (sscanf(text, "%%*q%dp%d.%d", &quad, &bit, &n) == 3) script_name(s, -1, quad, bit, (unsigned)n, out);
    else snprintf(out, 16, "%s", text);
    return (span){out, strlen(out)};
}

void fast_prepare(fast_reader *r, const segment *s, const fast_program *p) {
    r->kind = p->kind;
    r->name = name_of(s, p->name, r->names[0]);
    r->field = name_of(s, p->field ? p->field : "", r->names[1]);
    r->table = NULL;
    r->watch = calloc(1, sizeof *r->watch);
    r->kept = calloc(1, sizeof *r->kept);
    r->remembers = calloc(1, sizeof *r->remembers);
}

void fast_attach(fast_reader *r, actor *a) {
    if (r->kind == FAST_CELL || r->kind == FAST_ROW) r->table = table_find(a->st, SPAN_LIT("t"));
}

/* --- what was told ---------------------------------------------------------------------------------------------------- */

static void tell(digest *to, const void *p, size_t n) {
    const uint8_t *b = p;
    uint64_t h = to->a ^ n;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * UINT64_C(0x100000001b3);
    to->a = (h ^ h >> 32) * UINT64_C(0x9fb21c651e98df25);
    to->b = (to->b + h) * UINT64_C(0xd6e8feb86659fd93) + n;
}

static fr_status tell_value(digest *to, segment *s, const value *v) {
    char number[VALUE_TEXT], bytes[ROOM];
    span text;
    if (v->kind == VALUE_BYTES) {
        if (v->n > sizeof bytes) return FR_RETRY; /* torn: nothing here is so long */
        fr_status status = value_copy(s, v, 0, v->n, bytes);
        if (status != FR_OK) return status;
        text = (span){bytes, v->n};
    } else {
        text = value_text(v, number);
    }
    tell(to, text.p, text.n);
    return FR_OK;
}

/* The end of both ways. */
static fr_status end(digest *to, fr_status status, bool found, digest *d) {
    if (status == FR_RETRY || status == FR_BUSYREAD) return status;
    uint32_t facts[] = {(uint32_t)status, status == FR_OK && found};
    if (!facts[1]) *to = (digest){0, 0};
    tell(to, facts, sizeof facts);
    *d = *to;
    return FR_OK;
}

/* --- the fast way ----------------------------------------------------------------------------------------------------- */

static char *give_room(hot_sink *sink, size_t n) {
    static char room[ROOM];
    (void)sink;
    return n <= sizeof room ? room : NULL;
}

static fr_status read_image(const fast_reader *r, actor *a, digest *to, bool *found) {
    static _Alignas(8) char image[ROOM];
    if (r->table->stride > sizeof image) return FR_NOSPACE;
    fr_status status = hot_row_image(a->st, r->table, r->name, image, found, false, &a->err);
    const schema *sc = &r->table->schema;
    for (uint32_t i = 0; status == FR_OK && *found && i < sc->columns; i++) {
        char number[VALUE_TEXT];
        value v = hot_image_value(&sc->column[i], image);
        span text = v.kind == VALUE_BYTES ? (span){v.p, v.n} : value_text(&v, number);
        tell(to, text.p, text.n);
    }
    return status;
}

static fr_status read_cell(const fast_reader *r, actor *a, digest *to, bool *found) {
    value v;
    char number[VALUE_TEXT];
    hot_sink sink = {.room = give_room};
    int c = schema_find(&r->table->schema, r->field);
    if (c < 0) return FR_COLUMN;
    fr_status status = hot_row_cell(a->st, r->table, r->name, (uint32_t)c, &v, &sink, found, false, &a->err);
    if (status != FR_OK || !*found) return status;
    span text = v.kind == VALUE_BYTES ? (span){sink.to, sink.n} : value_text(&v, number);
    tell(to, text.p, text.n);
    return FR_OK;
}

/* Reads it and takes a watch. */
static fr_status read_watched(const fast_reader *r, actor *a, digest *d) {
    digest to = {0, 0};
    bool found = false;
    hot_sink sink = {.room = give_room};
    fr_status status = hot_watch_get(a->st, 0, r->name, &sink, &found, r->watch, false, &a->err);
    if (status == FR_OK && found) tell(&to, sink.to ? sink.to : "", sink.to ? sink.n : 0);
    *r->remembers = status == FR_OK && found;
    return end(&to, status, found, d);
}

void fast_remember(const fast_reader *r, actor *a) {
    if (r->kind == FAST_WATCH && read_watched(r, a, r->kept) != FR_OK) *r->remembers = false;
}

static fr_status read_again(const fast_reader *r, actor *a, digest *d) {
    bool same = false;
    if (*r->remembers) same = hot_watch_holds(a->st, r->watch);
    if (*r->remembers && !same && hot_watch_again(a->st, 0, r->name, r->watch, &same, false, &a->err) != FR_OK) same = false;
    if (!same) return read_watched(r, a, d);
    *d = *r->kept;
    return FR_OK;
}

fr_status fast_read(const fast_reader *r, actor *a, digest *d) {
    digest to = {0, 0};
    bool found = false;
    hot_sink sink = {.room = give_room};
    fr_status status;
    if (r->kind == FAST_WATCH) return read_again(r, a, d);
    switch (r->kind) {
    case FAST_STRING: status = hot_get(a->st, 0, r->name, &sink, &found, false, &a->err); break;
    case FAST_FIELD: status = hot_hget(a->st, 0, r->name, r->field, &sink, &found, false, &a->err); break;
    case FAST_CELL: status = read_cell(r, a, &to, &found); break;
    default: status = read_image(r, a, &to, &found);
    }
    if (status == FR_OK && found && r->kind <= FAST_FIELD) tell(&to, sink.to ? sink.to : "", sink.to ? sink.n : 0);
    return end(&to, status, found, d);
}

/* --- the general way -------------------------------------------------------------------------------------------------- */

typedef struct general {
    const fast_reader *r;
    actor *a;
    digest to;
    bool found;
} general;

static fr_status read_columns(store *st, txn *t, general *g, const key *k) {
    const schema *sc = &g->r->table->schema;
    fr_status status = FR_OK;
    for (uint32_t i = 0; status == FR_OK && i < sc->columns; i++) {
        value v;
        if (g->r->kind == FAST_CELL && !span_eq((span){sc->column[i].name, sc->column[i].name_n}, g->r->field)) continue;
        status = row_cell(st, t, k, i, &v, &g->found);
        if (status == FR_OK && g->found) status = tell_value(&g->to, st->s, &v);
    }
    return status;
}

static fr_status read_generally(store *st, txn *t, void *ctx) {
    general *g = ctx;
    const fast_reader *r = g->r;
    key k;
    value v;
    char full[40];
    bool row = r->kind == FAST_CELL || r->kind == FAST_ROW;
    int n = snprintf(full, sizeof full, "%s%.*s", row ? "t:" : "", (int)r->name.n, r->name.p);
    g->to = (digest){0, 0};
    g->found = false;
    fr_status status = key_route(st, 0, (span){full, (size_t)n}, &k, &g->a->err);
    if (status != FR_OK) return status;
    if (row) return read_columns(st, t, g, &k);
    status = r->kind <= FAST_WATCH ? str_get(st, t, &k, &v, &g->found) : hash_get(st, t, &k, r->field, &v, &g->found);
    return status == FR_OK && g->found ? tell_value(&g->to, st->s, &v) : status;
}

fr_status fast_read_generally(const fast_reader *r, actor *a, digest *d) {
    general g = {.r = r, .a = a};
    fr_status status = store_read(a->st, a->now_ms, NULL, read_generally, &g, &a->err);
    return end(&g.to, status, g.found, d);
}
