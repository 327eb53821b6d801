/* enumerate.c - every mutating operation, in every state, killed before every store; and its recovery killed likewise.
 *
 * METHOD. Three segments of 32 KiB in one process. A runs the operation with a hook before each store. At each of them
 * A's memory is copied to B, where
 *   1. a reader that does not recover (a read-only mapping) must see a legal state, and never an earlier one than a reader
 *      of an earlier store saw,
 *   2. another slot recovers the dead one; what it then finds must be a legal state, never earlier than before, and not
 *      earlier than what the reader saw; recovering once more changes no byte; statistics are neither lost nor doubled,
 *   3. store_verify finds nothing, and finds nothing again after a follow-up write in each stripe,
 *   4. the recovery is itself killed before each of its stores: copied to C, where 1 holds again, and a third slot recovers
 *      both and must find what the undisturbed recovery found.
 * The legal states of an operation are what a first, undisturbed run shows whenever no latch is held: before, after, and for
 * operations of several transactions (reclaim, eviction) what lies between. Users of all but evicting operations may
 * tell at most two of them apart, and of a refused one only one. Fills must not touch a block that is in use.
 * Operations and states: operations.def, and random histories as further states.
 *
 * COUNTS. stores: (operation, state, n); recovery stores: (operation, state, n, m), m counting within the recovery after a
 * crash before store n. All are distinct by construction; triples is their sum.
 *
 * LEAVES OUT: segment_grow and registration by the kernel's locks, which need a real file (kill storms), and orders that
 * only several processors show (interleave.c, TSan).
 *
 *     enumerate [--full] [--only text] [--jobs n] [--quick] [--first]      first: ends with the first failure
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "store/string.h"
#include "store/table.h"

typedef struct operation {
    const char *name, *setup, *script;
} operation;

static const operation operations[] = {
#define OPERATION(name, setup, script) {name, setup, script},
#include "operations.def"
};

typedef struct state {
    const char *name, *before, *after;
    bool evicts;
} state;

static const state states[] = {
#define STATE(name, before, after, evicts) {name, before, after, evicts},
#include "operations.def"
};

#define LEGAL_MAX 64

/* Shared by the worker processes. */
typedef struct tally {
    uint64_t stores, recoveries, fills, failed, refused;
    bool done;
} tally;

typedef struct board {
    uint32_t next;
    tally t[]; /* a case each */
} board;

/* One (operation, state) under work. */
typedef struct trial {
    const operation *op;
    const state *st;
    unsigned history;   /* 0, or the seed of a random history */
    tally *t;
    struct {
        digest core, rest;
    } legal[LEGAL_MAX];
    unsigned legal_n, reader_at, recovered_at; /* how far readers and recoveries have come */
    uint64_t store, recovery; /* where we are */
    unsigned target;          /* what recovery of this store found */
    uint64_t began, counted;  /* statistics: before the operation, and what recovery must keep */
} trial;

static stage A, B, C;
static trial now; /* of this process */
static uint8_t *saved, *recovered;
static bool nested = true;

/* --- reports ---------------------------------------------------------------------------------------------------------- */

static void show(const char *what, stage *g) {
    digest d;
    fprintf(stderr, "%s:\n", what);
    access_hook hook = fr_hook;
    fr_hook = NULL;
    fr_status status = dump_rest(&g->a, &d, stderr);
    if (status != FR_OK) fprintf(stderr, "  unreadable: status %d %s\n", status, g->a.err.text);
    fr_hook = hook;
}

static void fail(stage *g, const char *what, const char *more) {
    if (now.t->failed++ >= 3) return;
    fprintf(stderr, "FAILED %s | %s%s%u | store %llu", now.op->name, now.history ? "history " : now.st->name,
            now.history ? "" : " ", now.history, (unsigned long long)now.store);
    if (now.recovery) fprintf(stderr, " recovery store %llu", (unsigned long long)now.recovery);
    fprintf(stderr, ": %s %s\n", what, more ? more : "");
    if (g) show("it holds", g);
    if (now.t->failed > 1 || !g) return;
    stage_load(&C, saved);
    show("before", &C);
    fprintf(stderr, "setup: %s ; operation: %s\n", now.op->setup, now.op->script);
}

/* --- fills ------------------------------------------------------------------------------------------------------------ */

static bool table_image_free(const table *tb, uint64_t off) {
    uint64_t image = (off - tb->rows_off) / tb->stride;
    if (off < tb->rows_off || image >= tb->images) return false;
    if (!(*SEG_AT(A.s, tb->bitmap_off + image / 64 * 8, uint64_t) >> (image & 63) & 1)) return true;
    for (uint32_t i = 0; i < tb->table_stripes; i++)
        if (*SEG_AT(A.s, tb->spares_off + 8 * (uint64_t)i, uint64_t) == image) return true;
    return false;
}

/* Is this byte of the data area part of nothing that is in use? heap.h says what pages look like. */
static bool byte_free(uint64_t off) {
    segment *s = A.s;
    uint64_t page = off / s->g.page_size, base = page * s->g.page_size;
    if (!(*SEG_AT(s, s->l.poolmap + page / 64 * 8, uint64_t) >> (page & 63) & 1)) return true;
    for (uint32_t i = 0; i < A.a.st->table_count; i++) {
        const table *tb = A.a.st->tables[i];
        if (tb && off >= tb->descriptor && off < tb->descriptor + tb->pages * s->g.page_size) return table_image_free(tb, off);
    }
    const uint64_t *head = SEG_AT(s, base, uint64_t);
    if ((head[0] & 0xffff) != 0xf41d || off < base + 64) return false;
    uint32_t size = heap_class_size(s, (unsigned)(head[0] >> 32 & 0xff)), block = (uint32_t)(off - base - 64) / (size ? size : 1);
    return size && !(head[3 + block / 64] >> (block & 63) & 1);
}

/* The journal of a stripe that somebody holds. */
static bool in_journal(uint64_t off, size_t n) {
    const layout *l = &A.s->l;
    if (off < l->latches || off >= l->latches + A.s->g.stripes * l->stripe_bytes) return false;
    uint64_t at = (off - l->latches) % l->stripe_bytes;
    const stripe *st = segment_stripe(A.s, (uint32_t)((off - l->latches) / l->stripe_bytes));
    return st->latch && at >= offsetof(stripe, journal) && at + n <= l->stripe_bytes;
}

static void check_fill(const void *addr, size_t n) {
    uint64_t off = (uint64_t)((const uint8_t *)addr - A.s->base);
    if (in_journal(off, n)) return;
    now.t->fills++;
    for (uint64_t i = 0; i < n; i += 16)
        if (off + i < A.s->l.data || !byte_free(off + i)) {
            char where[80];
            snprintf(where, sizeof where, "offset %llu, %zu bytes, page head %llx", (unsigned long long)off, n,
                     (unsigned long long)*SEG_AT(A.s, off & ~UINT64_C(511), uint64_t));
            return fail(NULL, "a fill touches a block in use:", where);
        }
    if (n && !byte_free(off + n - 1)) fail(NULL, "a fill's end touches a block in use", NULL);
}

/* --- a crash ------------------------------------------------------------------------------------------------------------ */

/* The first legal state from `from` on that looks so. */
static unsigned legal_core(digest d, unsigned from) {
    while (from < now.legal_n && !digest_eq(now.legal[from].core, d)) from++;
    return from;
}

static unsigned legal_rest(digest d, unsigned from) {
    while (from < now.legal_n && !digest_eq(now.legal[from].rest, d)) from++;
    return from;
}

/* What somebody sees who can only read. */
static bool read_only(stage *g, unsigned from, unsigned *at) {
    digest d;
    g->s->readonly = true;
    fr_status status = dump_core(&g->a, &d, NULL);
    g->s->readonly = false;
    if (status != FR_OK) return fail(g, "a reader failed:", g->a.err.text), false;
    *at = legal_core(d, from);
    if (*at < now.legal_n) return true;
    fail(g, legal_core(d, 0) < now.legal_n ? "a reader went back in time" : "a reader saw a state that never was", NULL);
    return false;
}

static bool verified(stage *g, const char *when) {
    verify_report report;
    fr_error err = {.text = ""};
    fr_status status = store_verify(g->a.st, false, &report, &err);
    if (status == FR_OK && report.findings == 0) return true;
    fail(g, when, err.text);
    return false;
}

/* At rest, whole, and in a legal state. */
static bool settled(stage *g, unsigned from, unsigned *at) {
    digest d;
    const char *what = stage_rest_error(g);
    if (what) return fail(g, "not at rest after recovery:", what), false;
    stage_fresh(g);
    fr_status status = dump_rest(&g->a, &d, NULL);
    if (status != FR_OK) return fail(g, "unreadable after recovery:", g->a.err.text), false;
    *at = legal_rest(d, from);
    if (*at < now.legal_n) return verified(g, "verify after recovery:");
    fail(g, legal_rest(d, 0) < now.legal_n ? "recovery went back in time" : "recovery made a state that never was", NULL);
    return false;
}

static void follow_up(stage *g) {
    fr_status status = script_run(&g->a, "SET %0.39 follow; SET %1.39 12");
    if (status != FR_OK && status != FR_OOM) fail(g, "a write after recovery failed:", g->a.err.text);
    verified(g, "verify after a write after recovery:");
}

static void twice(stage *g) {
    memcpy(recovered, g->s->base, stage_bytes(g));
    if (stage_recover(g, 1) != FR_OK) fail(g, "the second recovery failed", NULL);
    if (memcmp(recovered, g->s->base, stage_bytes(g))) fail(g, "the second recovery changed something", NULL);
}

/* C: the recoverer has died, too. */
static void on_recovery(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    unsigned at;
    (void)ctx;
    (void)addr;
    (void)n;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1) return;
    fr_hook = NULL;
    now.recovery++;
    now.t->recoveries++;
    stage_load(&C, B.s->base);
    C.a.now_ms = A.a.now_ms;
    bool ok = read_only(&C, now.reader_at, &at);
    stage_become(&C, 3, 6);
    if (ok && at > now.target) fail(&C, "a reader saw more than was recovered", NULL);
    if (stage_recover(&C, 2) != FR_OK || stage_recover(&C, 1) != FR_OK) fail(&C, "recovery of a recovery failed:", C.a.err.text);
    else if (settled(&C, now.target, &at) && at != now.target) fail(&C, "recovery of a recovery found something else", NULL);
    if (stage_folded(&C) != now.counted) fail(&C, "recovery of a recovery lost or doubled statistics", NULL);
    fr_hook = on_recovery;
}

static void recover_again(void) {
    stage_load(&B, A.s->base);
    stage_become(&B, 2, 2);
    now.recovery = 0;
    fr_hook = on_recovery;
    stage_recover(&B, 1);
    fr_hook = NULL;
    now.recovery = 0;
}

/* A process died here. */
static void crash(void) {
    unsigned seen, found_at;
    now.store++;
    now.t->stores++;
    stage_load(&B, A.s->base);
    B.a.now_ms = A.a.now_ms;
    if (!read_only(&B, now.reader_at, &seen)) return;
    now.counted = stage_folded(&B);
    bool exact = !stage_committed(&B); /* a fold that is being applied has added and not yet subtracted */
    stage_become(&B, 2, 2);
    fr_status status = stage_recover(&B, 1);
    if (status != FR_OK) return fail(&B, "recovery failed:", B.a.err.text);
    if (!exact) now.counted = stage_folded(&B);
    if (stage_folded(&B) != now.counted) fail(&B, "recovery lost or doubled statistics", NULL);
    if (stage_folded(&B) < now.began) fail(&B, "statistics have fallen", NULL);
    if (!settled(&B, now.recovered_at, &found_at)) return;
    if (found_at < seen) fail(&B, "a reader saw what recovery took back", NULL);
    twice(&B);
    follow_up(&B);
    now.reader_at = seen;
    now.recovered_at = now.target = found_at;
    if (nested) recover_again();
}

static void on_store(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1 || now.t->failed > 3) return;
    fr_hook = NULL;
    if (kind == ACCESS_FILL) check_fill(addr, n);
    crash();
    fr_hook = on_store;
}

/* --- a trial -------------------------------------------------------------------------------------------------------------- */

static void note_legal(void) {
    digest core, rest;
    stage_load(&C, A.s->base);
    C.a.now_ms = A.a.now_ms;
    if (dump_core(&C.a, &core, NULL) != FR_OK || dump_rest(&C.a, &rest, NULL) != FR_OK) {
        return fail(&C, "unreadable at rest:", C.a.err.text);
    }
    if (now.legal_n && digest_eq(now.legal[now.legal_n - 1].rest, rest)) return;
    if (now.legal_n == LEGAL_MAX) return fail(&C, "too many states between before and after", NULL);
    now.legal[now.legal_n].core = core;
    now.legal[now.legal_n++].rest = rest;
}

static void on_learning(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    (void)addr;
    (void)n;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1 || !stage_at_rest(&A)) return;
    fr_hook = NULL;
    note_legal();
    fr_hook = on_learning;
}

static unsigned distinct_cores(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < now.legal_n; i++) n += i == 0 || !digest_eq(now.legal[i].core, now.legal[i - 1].core);
    return n;
}

static fr_status run(access_hook hook) {
    fr_hook = hook;
    fr_status status = script_run(&A.a, now.op->script);
    fr_hook = NULL;
    return status;
}

static fr_status learn(void) {
    now.legal_n = 0;
    note_legal();
    fr_status status = run(on_learning);
    if (!stage_at_rest(&A)) fail(&A, "a latch is left", NULL);
    note_legal();
    stage_load(&C, A.s->base);
    stage_become(&C, 3, 0);
    verified(&C, "verify after the operation:");
    bool evicts = now.st->evicts || strncmp(now.op->name, "evict", 5) == 0;
    if (!evicts && distinct_cores() > 2) fail(&A, "the operation is not atomic", NULL);
    if (!evicts && status != FR_OK && distinct_cores() > 1) fail(&A, "a refused operation changed something", NULL);
    return status;
}

static void prepare(void) {
    char line[64];
    if (now.history) {
        snprintf(line, sizeof line, "RANDOM %u %u", now.history, 10 + now.history % 4 * 8);
        script_run(&A.a, line);
    } else {
        script_run(&A.a, now.st->before);
    }
    script_run(&A.a, now.op->setup);
    if (!now.history) script_run(&A.a, now.st->after);
    script_run(&A.a, "STAT 2 3; STAT 5 7");
}

/* The registration of A's process is not in the segment's memory. */
static void rewind_to(const void *memory, const identity *me, uint64_t *stats) {
    stage_load(&A, memory);
    *A.s->me = *me;
    A.s->stats = stats;
    segment_set_dead(A.s, 1, me->word == 0);
}

/* A refused operation proves little: in the empty state only these are. */
static bool may_refuse(void) {
    static const char *const words[] = {"refused", "full", "overflow", "dead", "different"};
    for (size_t i = 0; i < FR_COUNTOF(words); i++)
        if (strstr(now.op->name, words[i])) return true;
    return false;
}

static void try_one(const uint8_t *blank) {
    stage_load(&A, blank);
    stage_become(&A, 1, 0);
    A.a.now_ms = FIRST_NOW;
    A.a.db = 0;
    now.store = now.recovery = now.began = 0;
    now.reader_at = now.recovered_at = 0;
    script_unmet = 0;
    prepare();
    memcpy(saved, A.s->base, stage_bytes(&A));
    stage_load(&C, saved);
    stage_become(&C, 3, 0);
    if (!verified(&C, "verify after the setup:")) return;
    identity me = *A.s->me;
    uint64_t *stats = A.s->stats;
    rewind_to(saved, &me, stats);
    fr_status first = learn();
    rewind_to(saved, &me, stats);
    now.began = stage_folded(&A);
    fr_status second = run(on_store);
    now.t->refused += first != FR_OK;
    if (now.st == &states[0] && !now.history && script_unmet) fail(&A, "the operation did not do what it should", NULL);
    if (now.st == &states[0] && !now.history && first != FR_OK && !may_refuse()) fail(&A, "the operation did nothing", NULL);
    if (getenv("FRIDGE_TRACE")) {
        printf("%s | %s %u | status %d | %u legal, %u cores | %llu stores, %llu fills\n", now.op->name, now.st->name, now.history, first,
               now.legal_n, distinct_cores(), (unsigned long long)now.t->stores, (unsigned long long)now.t->fills);
        fflush(stdout);
    }
    if (first != second && now.t->failed == 0) fail(&A, "two runs differ", NULL);
    digest d;
    stage_fresh(&A);
    if (now.t->failed == 0 && (dump_rest(&A.a, &d, NULL) != FR_OK || legal_rest(d, now.legal_n - 1) != now.legal_n - 1))
        fail(&A, "the second run ended elsewhere", NULL);
}

/* --- workers -------------------------------------------------------------------------------------------------------------- */

typedef struct plan {
    const char *only;
    unsigned histories, jobs;
    bool first; /* the first failure ends it */
} plan;

static unsigned variants(const plan *p) { return (unsigned)FR_COUNTOF(states) + p->histories; }

static void on_alarm(int signal) {
    (void)signal;
    fprintf(stderr, "HUNG %s | %s %u | store %llu.%llu\n", now.op->name, now.st->name, now.history,
            (unsigned long long)now.store, (unsigned long long)now.recovery);
    _exit(3);
}

static void work(board *b, const plan *p) {
    stage_open(&A);
    stage_open(&B);
    stage_open(&C);
    saved = malloc(stage_bytes(&A));
    recovered = malloc(stage_bytes(&A));
    uint8_t *blank = malloc(stage_bytes(&A));
    memcpy(blank, A.s->base, stage_bytes(&A));
    signal(SIGALRM, on_alarm);
    for (;;) {
        uint32_t i = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED);
        if (i >= FR_COUNTOF(operations) * variants(p)) break;
        unsigned variant = i / (unsigned)FR_COUNTOF(operations);
        now = (trial){.op = &operations[i % FR_COUNTOF(operations)], .t = &b->t[i], .st = &states[0]};
        if (variant < FR_COUNTOF(states)) now.st = &states[variant];
        else now.history = variant - (unsigned)FR_COUNTOF(states) + 1;
        if (p->only && !strstr(now.op->name, p->only)) continue;
        alarm(300);
        try_one(blank);
        now.t->done = true;
        if (p->first && now.t->failed) __atomic_store_n(&b->next, UINT32_MAX / 2, __ATOMIC_RELAXED);
    }
    exit(0);
}

static unsigned run_workers(board *b, const plan *p) {
    unsigned broken = 0;
    for (unsigned i = 0; i < p->jobs; i++) {
        fflush(NULL);
        if (fork() == 0) work(b, p);
    }
    for (unsigned i = 0; i < p->jobs; i++) {
        int status;
        wait(&status);
        if (status == 0) continue;
        fprintf(stderr, "FAILED a worker ended with status %x\n", (unsigned)status);
        broken++;
    }
    return broken;
}

/* --- the table -------------------------------------------------------------------------------------------------------------- */

static tally sum_of(const board *b, const plan *p, size_t op, unsigned *ran, unsigned *failed) {
    tally sum = {0};
    *ran = 0;
    for (unsigned v = 0; v < variants(p); v++) {
        const tally *t = &b->t[v * FR_COUNTOF(operations) + op];
        sum.stores += t->stores;
        sum.recoveries += t->recoveries;
        sum.fills += t->fills;
        sum.refused += t->refused;
        *ran += t->done;
        *failed += t->failed > 0;
    }
    return sum;
}

static unsigned print_table(const board *b, const plan *p, unsigned *passed) {
    uint64_t all = 0, stores = 0;
    unsigned failed = 0, silent = 0;
    printf("%-28s | %6s | %8s | %15s | %s\n", "operation", "states", "stores", "recovery stores",
           "distinct (operation, state, store) triples");
    for (size_t op = 0; op < FR_COUNTOF(operations); op++) {
        unsigned ran, before = failed;
        tally t = sum_of(b, p, op, &ran, &failed);
        if (p->only && ran == 0) continue;
        printf("%-28s | %6u | %8llu | %15llu | %llu\n", operations[op].name, ran, (unsigned long long)t.stores,
               (unsigned long long)t.recoveries, (unsigned long long)(t.stores + t.recoveries));
        *passed += ran - (failed - before);
        stores += t.stores;
        all += t.stores + t.recoveries;
        silent += ran == 0;
    }
    printf("%zu operations, %u states, %llu stores, %llu recovery stores, %llu triples\n", FR_COUNTOF(operations), variants(p),
           (unsigned long long)stores, (unsigned long long)(all - stores), (unsigned long long)all);
    return failed + silent;
}

static plan parse(int argc, char **argv) {
    plan p = {.histories = 5, .jobs = 2};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 2) p.jobs = cores < 64 ? (unsigned)cores : 64;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) p.histories = 600;
        else if (strcmp(argv[i], "--quick") == 0) nested = false;
        else if (strcmp(argv[i], "--first") == 0) p.first = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) p.only = argv[++i];
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc) p.jobs = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--histories") == 0 && i + 1 < argc) p.histories = (unsigned)atoi(argv[++i]);
    }
    return p;
}

int main(int argc, char **argv) {
    plan p = parse(argc, argv);
    size_t bytes = sizeof(board) + FR_COUNTOF(operations) * variants(&p) * sizeof(tally);
    board *b = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec from, to;
    if (b == MAP_FAILED) return 2;
    clock_gettime(CLOCK_MONOTONIC, &from);
    unsigned broken = run_workers(b, &p), passed = 0;
    unsigned failed = broken + print_table(b, &p, &passed);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.1f s\n%u passed, %u failed\n", (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec), passed,
           failed);
    return failed ? 1 : 0;
}
