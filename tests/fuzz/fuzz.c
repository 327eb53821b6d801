/* fuzz.c - see fuzz.h. */
#include "fuzz.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CASE_SECONDS 20 /* no case may take longer */
#define COUNTERS 8

/* Shared with the child. */
typedef struct board {
    uint64_t seed, executions;
    uint64_t counter[COUNTERS];
    char counter_name[COUNTERS][40];
    char step[200];
} board;

static board *shared;

typedef struct plan {
    uint64_t first, only;
    double seconds;
    unsigned failures;
} plan;

void fuzz_step(const char *text) {
    size_t n = strlen(text);
    if (n >= sizeof shared->step) n = sizeof shared->step - 1;
    memcpy(shared->step, text, n);
    shared->step[n] = 0;
}

void fuzz_count(unsigned index, const char *name, uint64_t n) {
    shared->counter[index] += n;
    if (!shared->counter_name[index][0])
        snprintf(shared->counter_name[index], sizeof shared->counter_name[0], "%s", name);
}

void fuzz_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "fuzz: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void child(const fuzz_target *target, uint64_t seed, double until) {
    if (target->open) target->open();
    do {
        __atomic_store_n(&shared->seed, seed, __ATOMIC_RELAXED);
        alarm(CASE_SECONDS);
        target->one(seed++);
        shared->executions++;
    } while (seconds_now() < until);
    alarm(0);
    fflush(NULL);
    _exit(0);
}

static int usage(const char *program) {
    fprintf(stderr, "usage: %s [--seconds S] [--first N] [--seed N] [--failures N]\n", program);
    return 2;
}

static bool read_plan(int argc, char **argv, plan *p) {
    bool proof = getenv("FRIDGE_PROOF") != NULL;
    *p = (plan){proof ? (uint64_t)time(NULL) << 24 : 1, 0, proof ? 600 : 60, 20};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return false;
        if (!strcmp(argv[i], "--seconds")) p->seconds = strtod(argv[i + 1], NULL);
        else if (!strcmp(argv[i], "--first")) p->first = strtoull(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--seed")) p->only = strtoull(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--failures")) p->failures = (unsigned)strtoul(argv[i + 1], NULL, 0);
        else return false;
    }
    return true;
}

static void report(const fuzz_target *target, const plan *p, double took, unsigned failed) {
    printf("%s: %llu executions in %.1f s, %.0f/s, seeds from %llu on\n", target->name,
           (unsigned long long)shared->executions, took, (double)shared->executions / took,
           (unsigned long long)p->first);
    for (unsigned i = 0; i < COUNTERS; i++) {
        if (shared->counter_name[i][0])
            printf("%s: %llu %s\n", target->name, (unsigned long long)shared->counter[i], shared->counter_name[i]);
    }
    printf("%llu passed, %u failed\n", (unsigned long long)shared->executions, failed);
}

static int run_all(const fuzz_target *target, const plan *p) {
    double began = seconds_now(), until = began + p->seconds;
    unsigned failed = 0;
    uint64_t seed = p->first;
    while (seconds_now() < until && failed < p->failures) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) child(target, seed, until);
        int status = 0;
        if (pid < 0 || waitpid(pid, &status, 0) != pid) return perror("fork"), 2;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
        failed++;
        fprintf(stderr, "FAILED %s --seed %llu: %s %d during %s\n", target->name, (unsigned long long)shared->seed,
                WIFSIGNALED(status) ? "signal" : "exit status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), shared->step);
        seed = shared->seed + 1;
    }
    report(target, p, seconds_now() - began, failed);
    return failed || shared->executions == 0;
}

int fuzz_main(const fuzz_target *target, int argc, char **argv) {
    plan p;
    if (!read_plan(argc, argv, &p)) return usage(argv[0]);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return perror("mmap"), 2;
    if (!p.only) return run_all(target, &p);
    if (target->open) target->open();
    target->one(p.only);
    printf("%s --seed %llu: passed\n", target->name, (unsigned long long)p.only);
    return 0;
}
