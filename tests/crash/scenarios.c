/* scenarios.c - short histories of which every schedule with two interruptions is tried: what random schedules (interleave.c)
 * meet once in a billion.
 *
 * METHOD. A history is a few operations of one writer; the memory is copied before each of its stores. Then a reader runs
 * over it: it starts on the first copy, at its load n it finds copy a, and at its load m copy b, for all n < m and all
 * a <= b. What it returns must be what an instantaneous reader sees on one of the copies from the first to b. Where
 * that makes more than SCHEDULES of them, so many are drawn from a fixed seed.
 *
 * LEAVES OUT: two writers and their deaths, which are interleave.c's; what is right at all, which is enumerate.c's.
 *
 *     scenarios [--only text]
 */
#include <stdlib.h>

#include "harness.h"
#include "store/table.h"

#define COPIES 600
#define NAMES 3
#define SCHEDULES 200000

/* K, J in stripe 0 and other quads, L in stripe 1; I and H have K's quad, and a split sends H elsewhere. */
#define K "%0q0p0.0"
#define I "%0q0p0.1"
#define J "%0q1p0.0"
#define H "%0q0p1.0"
#define L "%1q0p0.0"
#define T "DECLARE t 3 count int32 reset int64 note str:8; "

typedef struct scenario {
    const char *name, *setup, *history, *names[NAMES];
} scenario;

static const scenario scenarios[] = {
    {"a block comes back to its key", "SET " K " a*40", "DEL " K "; SET " K " b*40", {K}},
    {"a block goes to another key and comes back", "SET " K " a*40; SET " L " old",
     "DEL " K "; SET " J " x*40; DEL " J "; SET " K " b*40; SET " L " new", {K, L}},
    {"a block changes its key in one quad", "SET " K " a*40; SET " I " b*40", "DEL " K "; SET " I " c*40; SET " K " d*40", {K, I}},
    {"overwritten twice in place", "SET " K " a*40", "SET " K " b*40; SET " K " c*40", {K}},
    {"counted twice in place", "SET " K " 1", "INCR " K " 1; INCR " K " 1", {K}},
    {"in place, then with others", "SET " K " 1; SET " I " 1", "INCR " K " 1; MSET " K " 7 " I " 8; INCR " I " 1", {K, I}},
    {"keys of two stripes", "SET " K " a; SET " L " a", "MSET " K " b " L " b; MSET " K " c " L " c", {K, L}},
    {"moved and back", "SET " K " a*40", "RENAME " K " " L "; RENAME " L " " K, {K, L}},
    {"a row's two images", T "HSET t:a count 1 reset 1 note one", "HSET t:a count 2 reset 2 note two; HSET t:a count 3 reset 3 note six", {"t:a"}},
    {"a row's two images by one look-up", T "HSET t:a count 1 reset 1 note one",
     "HSET t:a count 2 reset 2 note two; HSET t:a count 3 reset 3 note six", {"t:a"}},
    {"a row's two images and a key", T "HSET t:a count 1 reset 1 note one; SET " K " a",
     "SET " K " b; HSET t:a count 2 reset 2 note two; SET " K " c; HSET t:a count 3 reset 3 note six; SET " K " d", {"t:a", K}},
    {"a row's image goes to another", T "HSET t:a count 1 reset 1 note one",
     "DEL t:a; HSET t:b count 2 reset 2 note two; DEL t:b; HSET t:a count 3 reset 3 note six", {"t:a", "t:b"}},
    {"a counter, deleted and revived", "COPEN " K " 1", "INCR " K " 1; DEL " K "; COPEN " K " 5; INCR " K " 1", {K}},
    {"a tree's field and its neighbour", "FIELDS " K " 9 v*20", "HSET " K " n 1 m 2; HSET " K " n 3 m 4", {K}},
    {"flushed and set", "SET " K " a; SET " L " a", "FLUSHDB 0; SET " L " b; SET " K " b", {K, L}},
    {"a page splits once", "FILLQUAD 0 0 0 -1; SET " L " a", "SET " H " v; SET " L " b", {H, L}},
    {"a scattered value's block comes back", "FRAGMENT 6; SET " K " e*1300", "DEL " K "; SET " K " f*1100", {K}},
    {"a page splits twice", "FILLQUAD 0 0 0 0; SET " L " a", "SET " K " v; SET " I " v; SET " L " b", {I, L}},
    {"a page splits", "FILLQUAD 0 0 0 0; SET " L " a", "SET " K " v; SET " L " b", {K, L, I}},
};

static stage W, R, blank;
static uint8_t *copies[COPIES];
static digest instant[COPIES];
static uint32_t copied;
static span names[NAMES];
static size_t name_count;
static bool alone; /* names[0] is a row, to be read by one look-up */
static uint64_t schedules;
static unsigned failed;

static uint64_t draw(void) {
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return seed >> 11;
}

/* --- the history ------------------------------------------------------------------------------------------------------ */

static struct {
    size_t at, n;
} filled; /* by the access before this one */

static void keep(const void *from) {
    if (copied == COPIES) return;
    size_t bytes = stage_bytes(&W);
    if (!copies[copied]) copies[copied] = malloc(bytes);
    memcpy(copies[copied], from, bytes);
    if (copied == 0 || memcmp(copies[copied], copies[copied - 1], bytes)) copied++;
}

/* A fill is many stores: the memory is also kept as it was after half of those that changed something. */
static void keep_half_filled(void) {
    static uint64_t half[32768 / 8];
    const uint64_t *now = (const uint64_t *)W.s->base;
    size_t changed = 0, done = 0, from = filled.at / 8, to = (filled.at + filled.n + 7) / 8;
    memcpy(half, copies[copied - 1], stage_bytes(&W));
    for (size_t i = from; i < to; i++) changed += half[i] != now[i];
    for (size_t i = from; i < to && done < changed / 2; i++) {
        done += half[i] != now[i];
        half[i] = now[i];
    }
    keep(half);
}

static void copy(void) {
    if (filled.n && copied) keep_half_filled();
    keep(W.s->base);
    filled.n = 0;
}

static void on_store(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1) return;
    copy();
    if (kind != ACCESS_FILL) return;
    filled.at = (size_t)((const uint8_t *)addr - W.s->base);
    filled.n = n;
}

static span name_of(const char *text) {
    static char kept[NAMES][16];
    int stripe, quad, bit, n;
    char *name = kept[name_count];
    if (sscanf(text, "%%%dq%dp%d.%d", &stripe, &quad, &bit, &n) != 4) return (span){text, strlen(text)};
    script_name(W.s, stripe, quad, bit, (unsigned)n, name);
    return (span){name, strlen(name)};
}

static void record_history(const scenario *sc) {
    stage_load(&W, &blank);
    stage_become(&W, 1, 0);
    script_run(&W.a, sc->setup);
    for (name_count = 0; name_count < NAMES && sc->names[name_count]; name_count++) names[name_count] = name_of(sc->names[name_count]);
    copied = 0;
    fr_hook = on_store;
    script_run(&W.a, sc->history);
    fr_hook = NULL;
    copy();
    stage_load(&R, &blank);
}

/* --- the reader ------------------------------------------------------------------------------------------------------- */

static struct {
    uint32_t loads, n, m, a, b;
} plan;

static void show_copy(uint32_t i) { memcpy(R.s->base, copies[i], stage_bytes(&R)); }

static void on_load(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)kind, (void)addr, (void)n;
    plan.loads++;
    if (plan.loads == plan.n) show_copy(plan.a);
    if (plan.loads == plan.m) show_copy(plan.b);
}

/* A row by one look-up: what dump_keys does with several would notice more than a reader of one need notice. */
static fr_status add_column(void *ctx, span field, const value *v) {
    char text[VALUE_TEXT];
    digest *d = ctx;
    span s = value_text(v, text);
    d->a = d->a * 31 + (uint8_t)field.p[0];
    for (size_t i = 0; i < s.n && s.n < 64; i++) d->b = d->b * UINT64_C(1099511628211) + (uint8_t)s.p[i] + 1;
    return FR_OK;
}

static fr_status read_row(store *st, txn *t, void *ctx) {
    key k;
    *(digest *)ctx = (digest){0, 0};
    fr_status status = key_route(st, 0, names[0], &k, t->err);
    return status == FR_OK ? row_each(st, t, &k, add_column, ctx) : status;
}

static fr_status look(digest *d, FILE *out) {
    plan.loads = 0;
    fr_hook = on_load;
    fr_status status = alone ? store_read(R.a.st, R.a.now_ms, NULL, read_row, d, &R.a.err) : dump_keys(&R.a, names, name_count, d, out);
    fr_hook = NULL;
    return status;
}

static void look_at_instants(const scenario *sc) {
    plan.n = plan.m = 0;
    for (uint32_t i = 0; i < copied; i++) {
        show_copy(i);
        if (look(&instant[i], NULL) == FR_OK) continue;
        failed++;
        fprintf(stderr, "FAILED %s: a reader of copy %u failed: %s\n", sc->name, i, R.a.err.text);
    }
}

static void complain(const scenario *sc, fr_status status) {
    digest d;
    if (failed++ >= 3) return;
    fprintf(stderr, "FAILED %s: load %u finds copy %u, load %u copy %u of %u: status %d; it saw what was at no instant:\n", sc->name,
            plan.n, plan.a, plan.m, plan.b, copied, status);
    show_copy(0);
    look(&d, stderr);
    uint32_t n = plan.n, m = plan.m;
    plan.n = plan.m = 0;
    for (uint32_t i = 0; i <= plan.b; i++) {
        if (i && digest_eq(instant[i], instant[i - 1])) continue;
        fprintf(stderr, "copy %u:\n", i);
        show_copy(i);
        look(&d, stderr);
    }
    plan.n = n, plan.m = m;
}

static void try_schedule(const scenario *sc) {
    digest d;
    show_copy(0);
    fr_status status = look(&d, NULL);
    uint32_t last = plan.loads >= plan.m ? plan.b : plan.loads >= plan.n ? plan.a : 0;
    schedules++;
    for (uint32_t i = 0; status == FR_OK && i <= last; i++)
        if (digest_eq(instant[i], d)) return;
    complain(sc, status);
}

/* Loads beyond the undisturbed reader's are those of a second attempt: half as many again are enough to interrupt it. */
static void try_all(const scenario *sc) {
    digest d;
    show_copy(0);
    look(&d, NULL);
    uint32_t loads = plan.loads + plan.loads / 2;
    uint64_t all = (uint64_t)loads * loads / 2 * copied * copied / 2;
    if (all > SCHEDULES) {
        for (uint32_t i = 0; i < SCHEDULES && failed == 0; i++) {
            plan.n = 1 + (uint32_t)(draw() % loads), plan.m = plan.n + 1 + (uint32_t)(draw() % loads);
            plan.a = (uint32_t)(draw() % copied), plan.b = plan.a + (uint32_t)(draw() % (copied - plan.a));
            try_schedule(sc);
        }
        return;
    }
    for (plan.n = 1; plan.n <= loads; plan.n++)
        for (plan.m = plan.n + 1; plan.m <= loads + 1; plan.m++)
            for (plan.a = 0; plan.a < copied; plan.a++)
                for (plan.b = plan.a; plan.b < copied && failed == 0; plan.b++) try_schedule(sc);
}

int main(int argc, char **argv) {
    const char *only = argc == 3 && strcmp(argv[1], "--only") == 0 ? argv[2] : "";
    static uint64_t counted[256];
    unsigned passed = 0, broken = 0;
    geometry g = stage_geometry();
    stage_open(&W, &g);
    stage_open(&R, &g);
    stage_open(&blank, &g);
    R.s->readonly = true;
    R.s->stats = counted;
    for (size_t i = 0; i < FR_COUNTOF(scenarios); i++) {
        const scenario *sc = &scenarios[i];
        if (!strstr(sc->name, only)) continue;
        uint64_t before = schedules;
        failed = 0;
        alone = strstr(sc->name, "one look-up") != NULL;
        record_history(sc);
        look_at_instants(sc);
        try_all(sc);
        printf("%-44s | %3u copies | %8llu schedules\n", sc->name, copied, (unsigned long long)(schedules - before));
        passed += failed == 0;
        broken += failed > 0;
    }
    printf("%llu schedules\n%u passed, %u failed\n", (unsigned long long)schedules, passed, broken);
    return broken || passed == 0;
}
