/* engine.c - the C level of the speed table: hot calls, random reads over a million keys, two processes side by side.
 *
 * Prints one JSON object of medians. Everything is CPU time of the measuring process, in ns a call; what is compared is
 * measured in turns (A B A B ...), so that a change of clock speed meets both. The segment is a real file in shared
 * memory, mapped as a server maps it. Run: engine <new segment path> <rounds> <keys>.
 *
 * Leaves out: Python, RESP, and counting stores (stores.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hot.h"
#include "shm/huge.h"

#define HOT_KEYS 16u         /* what the hot calls go round */
#define CALLS 100000u        /* of one round of a hot call */
#define RANDOM_CALLS 200000u
#define ROUNDS_MAX 201
#define NAME_SIZE 17         /* 16 bytes and a zero */

typedef double (*measured)(void *ctx); /* runs once; returns ns a call */

typedef struct bench {
    const char *name;
    measured run;
    void *ctx;
    double taken[ROUNDS_MAX];
} bench;

static fr_error error;

static void must(fr_status status, const char *what) {
    if (status == FR_OK) return;
    fprintf(stderr, "engine: %s: status %d %s\n", what, (int)status, error.text);
    exit(1);
}

static double cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_size);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* take_turns runs every bench once a round, one round unmeasured, and prints the medians. */
static void take_turns(bench *b, size_t n, int rounds) {
    for (int round = -1; round < rounds; round++) {
        for (size_t i = 0; i < n; i++) {
            double ns = b[i].run(b[i].ctx);
            if (round >= 0) b[i].taken[round] = ns;
        }
    }
    for (size_t i = 0; i < n; i++) printf("  \"%s\": %.2f,\n", b[i].name, median(b[i].taken, rounds));
}

/* --- hot calls --------------------------------------------------------------------------------------------------- */

static const char value32[] = "a value of thirty-two bytes, yes";
#define VALUE ((span){value32, 32})

typedef struct buffer {
    hot_sink sink;
    char bytes[64];
} buffer;

static char *give(hot_sink *sink, size_t n) { return n <= 64 ? ((buffer *)sink)->bytes : NULL; }

typedef struct hot_case {
    store *st;
    char names[HOT_KEYS][NAME_SIZE];
} hot_case;

static span name_at(const hot_case *c, uint32_t i) { return (span){c->names[i % HOT_KEYS], NAME_SIZE - 1}; }

static void hot_names(hot_case *c, store *st, const char *prefix) {
    c->st = st;
    for (unsigned i = 0; i < HOT_KEYS; i++) snprintf(c->names[i], NAME_SIZE, "%.4s%012u", prefix, i);
}

static double run_get(void *ctx) {
    hot_case *c = ctx;
    buffer b = {.sink = {.room = give}};
    bool found = true;
    double start = cpu_ns();
    for (uint32_t i = 0; i < CALLS && found; i++) must(hot_get(c->st, 0, name_at(c, i), &b.sink, &found, false, &error), "get");
    must(found ? FR_OK : FR_NOKEY, "get");
    return (cpu_ns() - start) / CALLS;
}

static double run_set(void *ctx) {
    hot_case *c = ctx;
    double start = cpu_ns();
    for (uint32_t i = 0; i < CALLS; i++) must(hot_set(c->st, 0, name_at(c, i), VALUE, false, &error), "set");
    return (cpu_ns() - start) / CALLS;
}

static double run_incr(void *ctx) {
    hot_case *c = ctx;
    int64_t out;
    double start = cpu_ns();
    for (uint32_t i = 0; i < CALLS; i++) must(hot_incr(c->st, 0, name_at(c, i), 1, &out, false, &error), "incr");
    return (cpu_ns() - start) / CALLS;
}

static void put(store *st, span name, span bytes, uint64_t ttl_ms) {
    hot_set_call c = {.name = name, .bytes = bytes, .ttl_ms = ttl_ms};
    must(hot_set_with(st, 0, &c, true, &error), "set");
}

static void hot_calls(store *st, int rounds) {
    static hot_case plain, fleeting, number;
    hot_names(&plain, st, "hot:");
    hot_names(&fleeting, st, "ttl:");
    hot_names(&number, st, "num:");
    for (uint32_t i = 0; i < HOT_KEYS; i++) {
        put(st, name_at(&plain, i), VALUE, 0);
        put(st, name_at(&fleeting, i), VALUE, 3600 * 1000);
        put(st, name_at(&number, i), SPAN_LIT("1000"), 0);
    }
    bench b[] = {{"get", run_get, &plain, {0}},
                 {"get_ttl", run_get, &fleeting, {0}},
                 {"set", run_set, &plain, {0}},
                 {"incr", run_incr, &number, {0}}};
    take_turns(b, FR_COUNTOF(b), rounds);
}

/* --- random reads ------------------------------------------------------------------------------------------------ */

/* Each read's place comes out of the one before, so that neither reads ahead: what is measured is latency. */
typedef struct wide_case {
    store *st;
    uint32_t keys;
    const uint64_t *words; /* the array: as many bytes as the keys take in the segment */
    uint64_t count, stride;
} wide_case;

static uint64_t scatter(uint64_t x) {
    x = (x ^ x >> 31) * UINT64_C(0x9e3779b97f4a7c15);
    return x ^ x >> 29;
}

/* Names are made, not stored: reading them from memory would be a miss of its own. */
static void wide_name(uint64_t i, char to[NAME_SIZE]) {
    memcpy(to, "key:", 4);
    for (int at = 15; at >= 4; at--, i >>= 4) to[at] = "0123456789abcdef"[i & 15];
}

static double get_wide(wide_case *c, uint64_t keys) {
    char name[NAME_SIZE];
    buffer b = {.sink = {.room = give}};
    bool found = true;
    uint64_t x = 1;
    double start = cpu_ns();
    for (uint32_t i = 0; i < RANDOM_CALLS && found; i++) {
        x = scatter(x + i);
        wide_name((x >> 20) % keys, name);
        must(hot_get(c->st, 0, (span){name, 16}, &b.sink, &found, false, &error), "get");
        x += (unsigned char)b.bytes[0];
    }
    must(found ? FR_OK : FR_NOKEY, "random get");
    return (cpu_ns() - start) / RANDOM_CALLS;
}

static double read_array(wide_case *c, uint64_t count) {
    uint64_t x = 1;
    double start = cpu_ns();
    for (uint32_t i = 0; i < RANDOM_CALLS; i++) {
        x = scatter(x + i);
        x += __atomic_load_n(&c->words[(x >> 20) % count * c->stride], __ATOMIC_RELAXED);
    }
    if (x == 0) fputs(" ", stderr);
    return (cpu_ns() - start) / RANDOM_CALLS;
}

static double run_get_wide(void *ctx) { return get_wide(ctx, ((wide_case *)ctx)->keys); }
static double run_get_narrow(void *ctx) { return get_wide(ctx, HOT_KEYS); }
static double run_array_wide(void *ctx) { return read_array(ctx, ((wide_case *)ctx)->count); }
static double run_array_narrow(void *ctx) { return read_array(ctx, HOT_KEYS); }

static void random_reads(store *st, uint32_t keys, int rounds) {
    char name[NAME_SIZE];
    uint64_t before = segment_super(st->s)->pool_used;
    for (uint64_t i = 0; i < keys; i++) {
        wide_name(i, name);
        put(st, (span){name, 16}, VALUE, 0);
    }
    size_t bytes = (segment_super(st->s)->pool_used - before) * st->s->g.page_size;
    uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (words == MAP_FAILED) exit(1);
    huge_advise(words, bytes);
    memset(words, 1, bytes);
    wide_case c = {st, keys, words, bytes / 64, 8};
    bench b[] = {{"get_wide", run_get_wide, &c, {0}},
                 {"get_narrow", run_get_narrow, &c, {0}},
                 {"array_wide", run_array_wide, &c, {0}},
                 {"array_narrow", run_array_narrow, &c, {0}}};
    take_turns(b, FR_COUNTOF(b), rounds);
    printf("  \"bytes_per_key\": %.1f,\n", (double)bytes / keys);
    printf("  \"huge_segment\": %.0f,\n  \"huge_array\": %.0f,\n", (double)segment_huge(st->s),
           (double)huge_mapped(words, bytes));
    munmap(words, bytes);
}

/* --- processes --------------------------------------------------------------------------------------------------- */

#define PAIR_CALLS 400000u

/* What the children of one round share. */
typedef struct pair {
    store *st;
    uint32_t ready, go;
    double ns[2];
    bool alone;      /* is there only child 0? */
    bool calibrates; /* spin on memory of one's own instead: what the machine itself costs */
} pair;

/* names_in gives HOT_KEYS names whose stripes are in the child's half, all in different stripes if possible. */
static void names_in(hot_case *c, store *st, unsigned half) {
    uint32_t n = 0, middle = st->s->g.stripes / 2;
    c->st = st;
    for (unsigned i = 0; n < HOT_KEYS; i++) {
        key k;
        snprintf(c->names[n], NAME_SIZE, "pair:%011u", i);
        must(key_route(st, 0, (span){c->names[n], 16}, &k, &error), "route");
        if ((k.stripe >= middle) == half) n++;
    }
}

static double spin(void) {
    static uint64_t words[512];
    double start = cpu_ns();
    for (uint32_t i = 0; i < PAIR_CALLS; i++)
        for (uint32_t k = 0; k < 16; k++) __atomic_store_n(&words[(i * 16 + k) & 511], scatter(i + k), __ATOMIC_RELEASE);
    return (cpu_ns() - start) / PAIR_CALLS;
}

static double work(store *st, unsigned half) {
    static hot_case c;
    buffer b = {.sink = {.room = give}};
    bool found;
    names_in(&c, st, half);
    for (uint32_t i = 0; i < HOT_KEYS; i++) put(st, name_at(&c, i), VALUE, 0);
    double start = cpu_ns();
    for (uint32_t i = 0; i < PAIR_CALLS; i += 2) {
        must(hot_set(st, 0, name_at(&c, i), VALUE, false, &error), "set");
        must(hot_get(st, 0, name_at(&c, i), &b.sink, &found, false, &error), "get");
    }
    return (cpu_ns() - start) / PAIR_CALLS;
}

static void child(pair *p, unsigned i) {
    __atomic_add_fetch(&p->ready, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&p->go, __ATOMIC_SEQ_CST)) usleep(100);
    p->ns[i] = p->calibrates ? spin() : work(p->st, i);
    _exit(0);
}

static double run_pair(void *ctx) {
    pair *p = ctx;
    uint32_t children = p->alone ? 1 : 2;
    p->ready = p->go = 0;
    p->ns[1] = 0;
    fflush(stdout);
    for (unsigned i = 0; i < children; i++)
        if (fork() == 0) child(p, i);
    while (__atomic_load_n(&p->ready, __ATOMIC_SEQ_CST) < children) usleep(100);
    __atomic_store_n(&p->go, 1, __ATOMIC_SEQ_CST);
    for (int status; wait(&status) > 0;)
        if (status) exit(1);
    return (p->ns[0] + p->ns[1]) / children;
}

static pair *shared_pair(store *st, bool alone, bool calibrates) {
    pair *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) exit(1);
    *p = (pair){.st = st, .alone = alone, .calibrates = calibrates};
    return p;
}

static void processes(store *st, int rounds) {
    bench b[] = {{"alone", run_pair, shared_pair(st, true, false), {0}},
                 {"beside", run_pair, shared_pair(st, false, false), {0}},
                 {"spin_alone", run_pair, shared_pair(st, true, true), {0}},
                 {"spin_beside", run_pair, shared_pair(st, false, true), {0}}};
    take_turns(b, FR_COUNTOF(b), rounds);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: engine <new segment path> <rounds> <keys>\n");
        return 2;
    }
    int rounds = atoi(argv[2]);
    uint32_t keys = (uint32_t)atoi(argv[3]);
    if (rounds < 1 || rounds > ROUNDS_MAX || keys < HOT_KEYS) return 2;
    segment_options o = {.size = (uint64_t)512 << 20, .create = true, .name = "bench"};
    store *st;
    bool created;
    must(store_open(argv[1], &o, &st, &created, &error), "open");
    printf("{\n");
    hot_calls(st, rounds);
    processes(st, rounds < 15 ? rounds : 15);
    random_reads(st, keys, rounds);
    printf("  \"rounds\": %d\n}\n", rounds);
    store_close(st);
    return 0;
}
