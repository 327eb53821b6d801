/* enumerate.c - every mutating operation, in every state, killed before every store; and its recovery killed likewise.
 *
 * What is done to an operation in a state, and what must hold then, is in trial.h; operations and states are in operations.def.
 *
 * STATES are variants of what came before the operation: the rows STATE of operations.def, random histories and, in the long
 * version, both in other geometries, and every operation after every other one, in each of the rows PAIRS.
 *
 * COUNTS. stores: (operation, state, n); recovery stores: (operation, state, n, m), m counting within the recovery after a
 * crash before store n. Triples is their sum. All are distinct: two variants that leave the same bytes before an operation are
 * one state, of which the second is not run (same).
 *
 * LEAVES OUT: the kernel's locks by which real processes register (kill storms), the repair of damage that no death leaves
 * behind (fuzz/segment_file.c), and orders that only several processors show (interleave.c, TSan).
 *
 *     enumerate [--full] [--shard i/n] [--seconds n] [--only text] [--in text] [--jobs n] [--histories n] [--quick] [--first]
 * --full, or FRIDGE_PROOF=1: the long version. --shard i/n: every n-th operation from the i-th (from 1) on; the shards'
 * counts add up. --seconds: takes variants from all over the plan, begins none after that time, and says what the whole
 * would have been. --first: ends with the first failure.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trial.h"

/* --- the plan --------------------------------------------------------------------------------------------------------------- */

/* Shared by the worker processes. */
typedef struct board {
    uint32_t next;
    tally t[]; /* a case each */
} board;

typedef struct plan {
    const char *only, *in;
    unsigned histories, jobs, shard, shards;
    bool full, quick, first;
    double seconds; /* 0: all there is time for */
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

/* States and histories of each geometry, then pairs. */
static unsigned variants(const plan *p) {
    unsigned plain = state_count + p->histories;
    return p->full ? GEOMETRIES * plain + pair_states() * operation_count : plain;
}

static variant variant_of(const plan *p, unsigned i) {
    unsigned plain = state_count + p->histories, geometries = p->full ? GEOMETRIES : 1, at = i % plain;
    if (i >= geometries * plain) {
        i -= geometries * plain;
        return (variant){.st = pair_state(i / operation_count), .first = &operations[i % operation_count]};
    }
    bool history = at >= state_count;
    return (variant){.geometry = i / plain, .st = &states[history ? 0 : at], .history = history ? at - state_count + 1 : 0};
}

static double seconds_of(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_now(void) { return seconds_of(CLOCK_MONOTONIC); }

/* An operation's variants are one worker's, so that it knows which of them begin alike. They are in the plan's order, but
 * for a run of limited time, which takes them from all over the plan. */
static bool takes(const plan *p, unsigned op) {
    return op % p->shards == p->shard && (!p->only || strstr(operations[op].name, p->only));
}

/* --- workers -------------------------------------------------------------------------------------------------------------- */

static void on_alarm(int signal) {
    (void)signal;
    fprintf(stderr, "HUNG %s\n", trial_where());
    _exit(3);
}

static void work_on(board *b, const plan *p, unsigned op, double until) {
    unsigned n = variants(p), step = p->seconds <= 0 ? 1 : n % 7919 ? 7919 : 7907; /* prime to n: each once */
    for (unsigned i = 0; i < n && (p->seconds <= 0 || seconds_now() < until); i++) {
        unsigned at = (unsigned)((uint64_t)i * step % n);
        variant v = variant_of(p, at);
        tally *t = &b->t[(size_t)at * operation_count + op];
        if (p->in && !strstr(trial_state(&v), p->in)) continue;
        alarm(300);
        double from = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
        trial_run(&operations[op], v, !p->quick, t);
        t->seconds = (float)(seconds_of(CLOCK_PROCESS_CPUTIME_ID) - from);
        t->done = true;
        if (!p->first || !t->failed) continue;
        __atomic_store_n(&b->next, operation_count, __ATOMIC_RELAXED); /* the other workers end their operations */
        return;
    }
}

static void work(board *b, const plan *p, double from) {
    signal(SIGALRM, on_alarm);
    for (;;) {
        uint32_t op = __atomic_fetch_add(&b->next, 1, __ATOMIC_RELAXED);
        if (op >= operation_count) break;
        double share = p->seconds * (op + 1) / operation_count;
        if (takes(p, op)) work_on(b, p, op, from + share);
    }
    exit(0);
}

static unsigned run_workers(board *b, const plan *p) {
    unsigned broken = 0;
    double from = seconds_now();
    for (unsigned i = 0; i < p->jobs; i++) {
        fflush(NULL);
        if (fork() == 0) work(b, p, from);
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
            silent += p->seconds <= 0 && !p->in;
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

static plan parse(int argc, char **argv) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    plan p = {.histories = 1, .jobs = cores <= 2 ? 2 : cores < 64 ? (unsigned)cores : 64, .shards = 1, .full = stage_proof()};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) p.full = true;
        else if (strcmp(argv[i], "--quick") == 0) p.quick = true;
        else if (strcmp(argv[i], "--first") == 0) p.first = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) p.only = argv[++i];
        else if (strcmp(argv[i], "--in") == 0 && i + 1 < argc) p.in = argv[++i];
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc) p.jobs = (unsigned)atoi(argv[++i]);
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
    return p;
}

int main(int argc, char **argv) {
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
    if (p.seconds > 0) printf("the whole would be %.0f triples in %.1f hours of one processor\n", whole, hours);
    printf("%.1f s\n%llu passed, %llu failed\n", seconds_now() - from, (unsigned long long)(all.ran - all.failed),
           (unsigned long long)failed);
    return failed ? 1 : 0;
}
