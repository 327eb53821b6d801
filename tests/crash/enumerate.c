/* enumerate.c - every mutating operation, in every state, killed before every store; and its recovery killed likewise.
 *
 * What is done to an operation in a state, and what must hold then, is in trial.h; operations and states are in operations.def.
 *
 * STATES are variants of what came before the operation: the rows STATE of operations.def and random histories, each in two
 * geometries, and in the long version in all of them; there also every operation after every other one, in each of the rows PAIRS.
 *
 * COUNTS. stores: (operation, state, n); recovery stores: (operation, state, n, m), m counting within the recovery after a
 * crash before store n. Triples is their sum. All are distinct: two variants that leave the same bytes before an operation are
 * one state, of which the second is not run (same). An operation is one shard's and one worker's, with all of its variants,
 * so that neither shards nor workers meet a triple twice.
 *
 * A PART of the plan (--triples, --seconds) is taken in rounds: each gives every operation one more variant, from all over the
 * plan (by the golden section), until there is enough. So a part has as many variants of each operation as of any other, but for
 * the round in which a worker ends.
 *
 * LEAVES OUT: the kernel's locks by which real processes register (kill storms), the repair of damage that no death leaves
 * behind (fuzz/segment_file.c), and orders that only several processors show (interleave.c, TSan).
 *
 *     enumerate [--full] [--triples n] [--shard i/n] [--seconds n] [--only text] [--in text] [--jobs n] [--histories n] [--quick]
 *               [--first]
 *     enumerate --sum file...
 * --full: the long version. FRIDGE_PROOF=1: a part of it, of 200 million triples. --triples: a part of so many (0: all).
 * --seconds: a part, which begins no variant after that time. Both say what the whole would have been. --shard i/n: every
 * n-th operation from the i-th (from 1) on, and an n-th of the triples. --sum adds up what shards have printed, and fails when
 * one has failed, or two have had the same operation. --quick: recoveries are not killed. --first: ends with the first failure.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trial.h"

/* --- the plan --------------------------------------------------------------------------------------------------------------- */

#define PROOF_TRIPLES UINT64_C(200000000)

/* Shared by the worker processes. */
typedef struct board {
    uint32_t next;    /* operation that no worker has taken yet */
    bool stop;        /* --first has found something */
    uint64_t triples; /* so far */
    tally t[];        /* a case each */
} board;

typedef struct plan {
    const char *only, *in;
    unsigned histories, jobs, shard, shards;
    bool full, quick, first;
    uint64_t triples; /* of this shard; 0: all there are */
    double seconds;   /* 0: all there is time for */
} plan;

static unsigned pair_states(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < state_count; i++) n += states[i].pairs;
    return n;
}

static const state *pair_state(unsigned n) {
    unsigned i = 0;
    while (!states[i].pairs || n-- > 0) i++;
    return &states[i];
}

/* The short version has the first geometry and the third, which has more stripes and longer journals. */
static unsigned geometries_of(const plan *p) { return p->full ? GEOMETRIES : p->quick ? 1 : 2; }

/* States and histories of each geometry, then pairs. */
static unsigned variants(const plan *p) {
    unsigned plain = geometries_of(p) * (state_count + p->histories);
    return p->full ? plain + pair_states() * operation_count : plain;
}

static variant variant_of(const plan *p, unsigned i) {
    unsigned plain = state_count + p->histories, geometries = geometries_of(p), at = i % plain;
    if (i >= geometries * plain) {
        i -= geometries * plain;
        return (variant){.st = pair_state(i / operation_count), .first = &operations[i % operation_count]};
    }
    bool history = at >= state_count;
    unsigned geometry = p->full ? i / plain : i / plain * 2;
    return (variant){.geometry = geometry, .st = &states[history ? 0 : at], .history = history ? at - state_count + 1 : 0};
}

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_now(void) { return seconds_of(CLOCK_MONOTONIC); }

static bool takes(const plan *p, unsigned op) {
    return op % p->shards == p->shard && (!p->only || strstr(operations[op].name, p->only));
}

/* --- workers -------------------------------------------------------------------------------------------------------------- */

static void on_alarm(int signal) {
    (void)signal;
    fprintf(stderr, "HUNG %s\n", trial_where());
    _exit(3);
}

static bool in_parts(const plan *p) { return p->triples > 0 || p->seconds > 0; }

static void work_on(board *b, const plan *p, unsigned op, unsigned at) {
    variant v = variant_of(p, at);
    tally *t = &b->t[(size_t)at * operation_count + op];
    if (p->in && !strstr(trial_state(&v), p->in)) return;
    alarm(300);
    double from = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    trial_run(&operations[op], v, !p->quick, t);
    t->seconds = (float)(seconds_of(CLOCK_PROCESS_CPUTIME_ID) - from);
    t->done = true;
    __atomic_fetch_add(&b->triples, (uint64_t)t->stores + t->recoveries, __ATOMIC_RELAXED);
    if (p->first && t->failed) __atomic_store_n(&b->stop, true, __ATOMIC_RELAXED);
}

static bool stopped(const board *b) { return __atomic_load_n(&b->stop, __ATOMIC_RELAXED); }

/* Whole operations, as they come. */
static void work_through(board *b, const plan *p) {
    uint32_t op;
    while (!stopped(b) && (op = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED)) < operation_count)
        for (unsigned at = 0; takes(p, op) && at < variants(p) && !stopped(b); at++) work_on(b, p, op, at);
}

static unsigned divisor(unsigned a, unsigned b) { return b ? divisor(b, a % b) : a; }

/* So that any number of steps from anywhere is spread over all n evenly, and n steps meet each once. */
static unsigned golden_step(unsigned n) {
    unsigned step = (unsigned)(n * 0.6180339887) | 1;
    while (divisor(n, step) > 1) step++;
    return step;
}

/* Every jobs-th operation of the shard, a variant of each in a round. */
static void work_in_rounds(board *b, const plan *p, unsigned worker, double from) {
    unsigned n = variants(p), step = golden_step(n);
    for (unsigned round = 0; round < n; round++) {
        if (p->triples && __atomic_load_n(&b->triples, __ATOMIC_RELAXED) >= p->triples) return;
        for (unsigned op = 0, taken = 0; op < operation_count; op++) {
            if (!takes(p, op) || taken++ % p->jobs != worker) continue;
            if (stopped(b) || (p->seconds > 0 && seconds_now() - from > p->seconds)) return;
            work_on(b, p, op, (unsigned)(((uint64_t)round * step + op) % n));
        }
    }
}

static void work(board *b, const plan *p, unsigned worker, double from) {
    signal(SIGALRM, on_alarm);
    if (in_parts(p)) work_in_rounds(b, p, worker, from);
    else work_through(b, p);
    exit(0);
}

static unsigned run_workers(board *b, const plan *p) {
    unsigned broken = 0;
    double from = seconds_now();
    for (unsigned i = 0; i < p->jobs; i++) {
        fflush(NULL);
        if (fork() == 0) work(b, p, i, from);
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

typedef struct sums {
    uint64_t stores, recoveries, ran, same, refused, failed;
    double seconds;
} sums;

static void add(sums *to, const sums *s) {
    to->stores += s->stores;
    to->recoveries += s->recoveries;
    to->ran += s->ran;
    to->same += s->same;
    to->refused += s->refused;
    to->failed += s->failed;
    to->seconds += s->seconds;
}

static sums sum_of(const board *b, const plan *p, unsigned op) {
    sums sum = {0};
    for (unsigned v = 0; v < variants(p); v++) {
        const tally *t = &b->t[(size_t)v * operation_count + op];
        sums one = {t->stores, t->recoveries, t->done && !t->same, t->same, t->refused, t->failed > 0, t->seconds};
        add(&sum, &one);
    }
    return sum;
}

static void print_row(const char *name, const sums *s) {
    printf("%-28s | %6llu | %8llu | %15llu | %llu\n", name, (unsigned long long)s->ran, (unsigned long long)s->stores,
           (unsigned long long)s->recoveries, (unsigned long long)(s->stores + s->recoveries));
}

/* Returns how many operations had no state at all. */
static unsigned print_table(const board *b, const plan *p, sums *all, double *whole, double *hours) {
    unsigned silent = 0;
    printf("%-28s | %6s | %8s | %15s | %s\n", "operation", "states", "stores", "recovery stores",
           "distinct (operation, state, store) triples");
    for (unsigned op = 0; op < operation_count; op++) {
        if (!takes(p, op)) continue;
        sums s = sum_of(b, p, op);
        if (s.ran == 0) {
            silent += !in_parts(p) && !p->in;
            continue;
        }
        print_row(operations[op].name, &s);
        add(all, &s);
        double part = (double)variants(p) / (double)(s.ran + s.same);
        *whole += part * (double)(s.stores + s.recoveries);
        *hours += part * s.seconds / 3600;
    }
    return silent;
}

/* --- the sum of shards ------------------------------------------------------------------------------------------------------ */

static unsigned operation_named(const char *name, size_t n) {
    unsigned op = 0;
    while (op < operation_count && (strlen(operations[op].name) != n || memcmp(operations[op].name, name, n))) op++;
    return op;
}

/* A line of a shard's output: a row of its table, its last line, or none of these. */
static bool add_line(const char *line, sums *of, sums *all, unsigned long long *failed) {
    unsigned long long ran, stores, recoveries, triples, passed, not;
    const char *bar = strchr(line, '|'), *end = bar;
    while (end && end > line && end[-1] == ' ') end--;
    unsigned op = bar ? operation_named(line, (size_t)(end - line)) : operation_count;
    if (op < operation_count && sscanf(bar, "| %llu | %llu | %llu | %llu", &ran, &stores, &recoveries, &triples) == 4) {
        sums s = {.stores = stores, .recoveries = recoveries, .ran = ran};
        if (of[op].ran || triples != stores + recoveries) fprintf(stderr, "FAILED twice, or not a sum: %s", line), ++*failed;
        of[op] = s;
        add(all, &s);
    }
    if (sscanf(line, "%llu passed, %llu failed", &passed, &not) != 2) return false;
    *failed += not;
    return true;
}

static int sum_up(int n, char **files) {
    sums *of = calloc(operation_count, sizeof *of), all = {0};
    unsigned long long failed = 0;
    char line[512];
    for (int i = 0; of && i < n; i++) {
        FILE *in = fopen(files[i], "r");
        bool ended = false;
        while (in && fgets(line, sizeof line, in)) ended |= add_line(line, of, &all, &failed);
        if (!ended) fprintf(stderr, "FAILED %s: no shard has run to its end\n", files[i]), failed++;
        if (in) fclose(in);
    }
    for (unsigned op = 0; of && op < operation_count; op++) {
        if (of[op].ran) print_row(operations[op].name, &of[op]);
        else fprintf(stderr, "FAILED %s: in no shard\n", operations[op].name), failed++;
    }
    printf("%u operations, %llu distinct states, %llu stores, %llu recovery stores, %llu triples\n%llu passed, %llu failed\n",
           operation_count, (unsigned long long)all.ran, (unsigned long long)all.stores, (unsigned long long)all.recoveries,
           (unsigned long long)(all.stores + all.recoveries), (unsigned long long)all.ran, failed);
    free(of);
    return failed ? 1 : 0;
}

/* --- the program ------------------------------------------------------------------------------------------------------------ */

static plan parse(int argc, char **argv) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    plan p = {.triples = stage_proof() ? PROOF_TRIPLES : 0,
              .histories = 1,
              .jobs = cores <= 2 ? 2 : cores < 64 ? (unsigned)cores : 64,
              .shards = 1,
              .full = stage_proof()};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) p.full = true;
        else if (strcmp(argv[i], "--quick") == 0) p.quick = true;
        else if (strcmp(argv[i], "--first") == 0) p.first = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) p.only = argv[++i];
        else if (strcmp(argv[i], "--in") == 0 && i + 1 < argc) p.in = argv[++i];
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc) p.jobs = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--triples") == 0 && i + 1 < argc) p.triples = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) p.seconds = atof(argv[++i]);
        else if (strcmp(argv[i], "--shard") == 0 && i + 1 < argc) sscanf(argv[++i], "%u/%u", &p.shard, &p.shards);
    }
    if (p.full) p.histories = 100;
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], "--histories") == 0) p.histories = (unsigned)atoi(argv[i + 1]);
    if (p.shards == 0 || p.shard > p.shards || (p.shards > 1 && p.shard == 0)) {
        fprintf(stderr, "--shard i/n: 1 <= i <= n\n");
        exit(2);
    }
    p.shard = p.shard ? p.shard - 1 : 0;
    p.triples = (p.triples + p.shards - 1) / p.shards;
    return p;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--sum") == 0) return sum_up(argc - 2, argv + 2);
    plan p = parse(argc, argv);
    size_t bytes = sizeof(board) + (size_t)operation_count * variants(&p) * sizeof(tally);
    board *b = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    double from = seconds_now(), whole = 0, hours = 0;
    sums all = {0};
    if (b == MAP_FAILED) return 2;
    unsigned broken = run_workers(b, &p), silent = print_table(b, &p, &all, &whole, &hours);
    uint64_t failed = all.failed + broken + silent;
    printf("%u operations, %u variants of what came before, %llu distinct states of them (%llu more were alike, %llu refused),\n"
           "%llu stores, %llu recovery stores, %llu triples\n",
           operation_count, variants(&p), (unsigned long long)all.ran, (unsigned long long)all.same, (unsigned long long)all.refused,
           (unsigned long long)all.stores, (unsigned long long)all.recoveries, (unsigned long long)(all.stores + all.recoveries));
    if (in_parts(&p)) printf("the whole would be %.0f triples in %.1f hours of one processor\n", whole, hours);
    printf("%.1f s\n%llu passed, %llu failed\n", seconds_now() - from, (unsigned long long)(all.ran - all.failed),
           (unsigned long long)failed);
    return failed ? 1 : 0;
}
