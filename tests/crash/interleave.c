/* interleave.c - readers stepped at each load while writers advance store by store, one of them dying in between.
 *
 * METHOD. A history is recorded: several random operations of two writers (slots 1 and 2) over one memory, the second now and
 * then running inside the first at a chosen store, either dying at a chosen store, the survivors recovering what they meet.
 * What is kept is the memory before and every word stored, in order, so that the memory can be moved to any position of the
 * history, both ways. At every position each reader program is run on the memory as it stands there: what somebody sees
 * who reads in no time. Then come the schedules: a reader starts at a random position, and at up to five of its loads
 * the memory moves on, by one store or by many. What it returns must be what an instantaneous reader sees at a position
 * between its start and its end. That one rule says that values were current during the read, that reads of several
 * keys are of one instant, that rows and hashes are whole. The mmap door's fast readers (fast.h) are programs, too, and at
 * each position must be told what the general ones are. It must also end within a bounded number of loads, and never say
 * Busy. Whether what is seen at rest positions is right at all is enumerate.c's business; here the sum of increments is
 * checked, and store_verify, when everybody has been recovered.
 *
 * The writers' stores are recorded and not stepped by contexts of their own because rows are edited in a thread-local
 * buffer; a schedule costs a microsecond so.
 *
 * LEAVES OUT: orders of a weak memory model (TSan and litmus tests), writers preempted by readers (readers store nothing).
 *
 *     FRIDGE_SEED=n interleave [--full] [--seconds n] [--jobs n] [--histories n] [--first]
 * --full, or FRIDGE_PROOF=1: half an hour. Otherwise 25 seconds, and on until 22 million schedules were run.
 * --first: a job ends with its first failure.
 * A failure prints its seed: FRIDGE_SEED=that --jobs 1 --histories 1 repeats the history and its schedules.
 */
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fast.h"
#include "harness.h"

#define STORES_MAX 20000
#define READS_MAX 4
#define PREEMPTIONS 5
#define LOADS_MAX 100000 /* of one read: a walk over every key is some 2000, six times over */
#define SCHEDULES 8000   /* of one history */

/* --- the programs -------------------------------------------------------------------------------------------------------- */

/* Names: two keys of one quad, one of another stripe, a tree, a packed hash, a counter, a lock, a var, two rows. */
#define K "%0q0p0.0"
#define K1 "%0q0p0.1"
#define L "%1q0p0.0"
#define TREE "%0q0p0.2"
#define HASH "%1q0p0.2"
#define COUNTER "%0q0p0.3"
#define NUMBER "%1q0p0.3"
#define LOCK "%0q0p0.4"
#define VARS "%1q0p0.4"

static const char *const setups[] = {
    "SET " K " first; SET " L " 5; SET " NUMBER " 0; COPEN " COUNTER " 0; HSET " HASH " f v g w; FIELDS " TREE " 9 v*20; "
    "DECLARE t 3 count int32 reset int64 note str:8; HSET t:a count 1 reset 1 note one; DB 1; SET " K " other; DB 0",
    "SET " K " 7; SET " K1 " x*60; SET " NUMBER " 0; COPEN " COUNTER " 0; FIELDS " TREE " 9 v*20; RENAME " TREE " " L
    "; FIELDS " TREE " 12 w*12; HSET " HASH " f v; FILLQUAD 0 0 1 0; DECLARE t 3 count int32 reset int64 note str:8; "
    "HSET t:a count 1 reset 1 note one; HSET t:b count 2",
};

/* # is a small random number. Rows come last: they must not run inside one another. */
static const char *const operations[] = {
    "SET " K " v*#", "SET " K " #", "SET " K1 " w*#", "SET " L " u*#", "SET " K " r*9#", "DEL " K, "DEL " K1, "DEL " L,
    "APPEND " K " a*#", "SETRANGE " K " # zz", "INCR " K1 " #", "EXPIRE " K " 9#", "PERSIST " K, "MSET " K " m*# " L " n*#",
    "MSET " K " m*# " K1 " n*#", "EXEC SET " K " e*# | SET " K1 " e*# | SET " L " e*#", "RENAME " K " " L, "RENAME " L " " K1,
    "RENAME " K1 " " K, "COPY " K " " K1, "EXEC DEL " K " | SET " K1 " d*#", "HSET " TREE " new v*#", "HSET " TREE " %*q0p0.3 x*#",
    "HSET " TREE " n #", "HINCR " TREE " n #", "HDEL " TREE " %*q0p0.3", "HDEL " TREE " new n", "HSET " TREE " a x*# b y*# n #",
    "DEL " TREE, "TRASH 0 1000", "RENAME " TREE " " L, "HSET " HASH " f v*#", "HSET " HASH " f # g # h #", "HDEL " HASH " f",
    "HSET " HASH " long v*9#", "SET %0q0p0.9# 1", "SET %0q0p0.8# 1", "DEL %0q0p0.90", "FLUSHDB 0", "SWAPDB 0 1",
    "INCR " COUNTER " 1", "CADD " COUNTER " 1", "CADDB " COUNTER " 1 0 5", "INCR " NUMBER " 1", "QINCR " NUMBER " 1",
    "QSET " K " a*9", "QSET " K " b*9", "QSET " K1 " y*60", "QSET " K " #", "QSET " L " #", "QINCR " K " #", "QINCR " L " #",
    "EXEC INCR " COUNTER " 1 | SET " K " c*#", "RECLAIM 0", "TRIM 0",
    "ACQUIRE " LOCK " a QUEUE", "ACQUIRE " LOCK " b QUEUE LEASE 9#", "ACQUIRE " LOCK " c QUEUE", "ACQUIRE " LOCK " d SHARED 1 QUEUE",
    "RELEASE " LOCK " a", "RELEASE " LOCK " b", "RELEASE " LOCK " c", "QUIT " LOCK " b", "FORCE " LOCK, "SET " LOCK " a NX",
    "EXEC RELEASE " LOCK " a | PUBLISH " VARS " v*#", "PUBLISH " VARS " v*#", "PUBLISH " VARS " w*#", "PUBLISH " VARS " #", "DEL " VARS,
    "SET " VARS " v*#", "RENAME " VARS " " K, "PERSIST " VARS, "DEL " LOCK,
    "HSET t:a count # reset # note n#", "HSET t:a count #", "HINCR t:a count #", "HSET t:a reset # note m#", "DEL t:a",
    "HSET t:b count # reset #", "DEL t:b", "EXPIRE t:a 9#", "EXEC HSET t:a count # reset # | HSET t:b count # reset #",
    "QADD t:a count #", "QADD t:a reset -#", "QADD t:b count #",
};
#define ROWS_FROM (FR_COUNTOF(operations) - 12)

static const char *const programs[][READS_MAX] = {
    {K}, {K1}, {K, L}, {K, K1}, {L, K1, K}, {"t:a"}, {"t:a", "t:b"}, {TREE}, {HASH}, {HASH, TREE}, {COUNTER, K}, {NUMBER, COUNTER},
    {TREE, L}, {LOCK}, {LOCK, VARS},
};
#define GENERAL FR_COUNTOF(programs)

/* Read by the mmap door's fast calls; at each position they must tell what the general call tells. */
static const fast_program fast_programs[] = {
    {FAST_STRING, K, NULL}, {FAST_STRING, K1, NULL}, {FAST_STRING, L, NULL}, {FAST_STRING, NUMBER, NULL},
    {FAST_STRING, COUNTER, NULL}, {FAST_FIELD, TREE, "%*q0p0.3"}, {FAST_FIELD, HASH, "f"}, {FAST_CELL, "a", "count"},
    {FAST_ROW, "a", NULL}, {FAST_ROW, "b", NULL}, {FAST_WATCH, VARS, NULL}, {FAST_WATCH, K, NULL}, {FAST_WATCH, K1, NULL},
};
#define PROGRAMS (GENERAL + FR_COUNTOF(fast_programs))

/* --- state ---------------------------------------------------------------------------------------------------------------- */

typedef struct stored {
    uint32_t off;
    bool joined; /* with the next: one 16-byte swap */
    uint64_t before, after;
} stored;

typedef struct board {
    uint64_t schedules, fast, histories, loads, preempted, deaths, inside, refused, straight, left, failed, positions;
} board;

static stage W[2], R;        /* writers over one memory; the reader over its own */
static uint8_t *shadow, *blank;
static stored *history;
static uint32_t stores, position;
static digest (*instant)[PROGRAMS]; /* per position */
static span names[GENERAL][READS_MAX];
static size_t name_count[GENERAL];
static fast_reader fast[FR_COUNTOF(fast_programs)];
static board *totals;
static uint64_t seed, first_seed;
static char script_log[8192];

static uint32_t pick(uint32_t n) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 16) % n);
}

static bool fail(const char *what, size_t program) {
    if (totals->failed++ >= 3) return false;
    fprintf(stderr, "FAILED seed %llu | %s | program %zu | history:%s\n", (unsigned long long)first_seed, what, program,
            script_log);
    return true;
}

/* --- recording ------------------------------------------------------------------------------------------------------------ */

static bool ignored(uint64_t off) { return off >= W[0].s->l.stats && off < W[0].s->l.latches; }

/* Every word that changed since the last look. */
static void look(bool joined) {
    const uint64_t *memory = (const uint64_t *)W[0].s->base;
    uint64_t *old = (uint64_t *)shadow;
    size_t bytes = stage_bytes(&W[0]);
    for (size_t at = 0; at < bytes; at += 256) {
        if (memcmp(shadow + at, W[0].s->base + at, 256) == 0) continue;
        for (size_t i = at / 8; i < at / 8 + 32; i++) {
            if (memory[i] == old[i]) continue;
            if (!ignored(i * 8) && stores < STORES_MAX) history[stores++] = (stored){(uint32_t)(i * 8), joined, old[i], memory[i]};
            old[i] = memory[i];
        }
    }
    if (joined && stores) history[stores - 1].joined = false;
}

/* What the writers' hook is to do. */
static struct {
    bool last_was_cas16;
    uint32_t count, die_at, enter_at; /* 0: never */
    int depth;                        /* 1: the second writer runs inside */
    jmp_buf *death;
    const char *inner;
    uint32_t inner_die_at;
} act;

static bool run_writer(int w, const char *script, uint32_t die_at, fr_status *status);

static void enter(void) {
    uint32_t count = act.count, die_at = act.die_at;
    jmp_buf *death = act.death;
    fr_status status;
    act.enter_at = 0;
    act.depth = 1;
    totals->inside++;
    run_writer(1, act.inner, act.inner_die_at, &status);
    act.depth = 0;
    act.count = count;
    act.die_at = die_at;
    act.death = death;
}

static void on_store(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    (void)addr;
    (void)n;
    if (kind == ACCESS_LD8 || kind == ACCESS_TOUCH1) return;
    look(act.last_was_cas16);
    act.last_was_cas16 = kind == ACCESS_CAS16;
    if (++act.count == act.die_at) {
        fr_hook = NULL;
        longjmp(*act.death, 1);
    }
    if (act.depth == 0 && act.count == act.enter_at) enter();
}

/* What has been acknowledged, and what may have happened, to counter and number. */
static struct {
    int64_t counter, counter_maybe, number, number_maybe;
    bool lost; /* flushed, swapped, renamed over: sums say nothing any more */
} sums;

static void account(const char *script, bool died, fr_status status) {
    bool on_counter = strstr(script, COUNTER) != NULL, on_number = strstr(script, NUMBER) != NULL;
    if (strstr(script, "FLUSHDB") || strstr(script, "SWAPDB")) sums.lost = true;
    if (died) sums.counter_maybe += on_counter, sums.number_maybe += on_number;
    else if (status == FR_OK) sums.counter += on_counter, sums.number += on_number;
    else totals->refused++;
}

/* Returns whether the writer lived. */
static bool run_writer(int w, const char *script, uint32_t die_at, fr_status *status) {
    jmp_buf death;
    stage *g = &W[w];
    size_t n = strlen(script_log);
    snprintf(script_log + n, sizeof script_log - n, " [%d%s%u] %s;", w + 1, die_at ? " dies at " : " ", die_at, script);
    bool straight = script[0] == 'Q';
    segment_set_dead(W[0].s, (uint32_t)w + 1, false);
    segment_set_dead(W[1].s, (uint32_t)w + 1, false);
    totals->straight += straight;
    script_unmet = 0;
    act.count = 0;
    act.die_at = die_at;
    act.death = &death;
    if (setjmp(death) == 0) {
        fr_hook = on_store;
        *status = script_run(&g->a, script);
        totals->left += straight && script_unmet;
        if (act.depth == 0) fr_hook = NULL;
        account(script, false, *status);
        return true;
    }
    act.last_was_cas16 = false;
    account(script, true, FR_OK);
    segment_set_dead(W[0].s, (uint32_t)w + 1, true);
    segment_set_dead(W[1].s, (uint32_t)w + 1, true);
    totals->deaths++;
    if (act.depth == 1) fr_hook = on_store;
    return false;
}

/* A slot that was dead is recovered before somebody registers in it, as segment_register does. */
static void come_back(int w) {
    stage *other = &W[1 - w];
    fr_hook = on_store;
    act.die_at = act.enter_at = 0;
    stage_recover(other, (uint32_t)w + 1);
    fr_hook = NULL;
    segment_set_dead(W[0].s, (uint32_t)w + 1, false);
    segment_set_dead(W[1].s, (uint32_t)w + 1, false);
    segment_become(W[w].s, (uint32_t)w + 1, 1);
}

static void random_operation(char out[256], uint32_t below) {
    size_t n = 0;
    bool first = true;
    for (const char *p = operations[pick(below)]; *p; p++) {
        if (*p == '#') n += (size_t)snprintf(out + n, 256 - n, "%u", 1 + pick(first ? 90 : 9)), first = false;
        else out[n++] = *p;
    }
    out[n] = 0;
}

static void record_one(bool *dead) {
    char outer[256], inner[256];
    fr_status status;
    int w = (int)pick(2);
    random_operation(outer, FR_COUNTOF(operations));
    bool row = strstr(outer, "t:") != NULL;
    random_operation(inner, row ? ROWS_FROM : FR_COUNTOF(operations));
    act.inner = inner;
    act.depth = 0;
    act.enter_at = 0;
    if (w == 0 && !dead[0] && !dead[1] && pick(3) == 0) act.enter_at = 1 + pick(20);
    act.inner_die_at = pick(3) == 0 ? 1 + pick(20) : 0;
    if (dead[w]) {
        come_back(w);
        dead[w] = false;
    }
    bool inside = act.enter_at != 0;
    uint32_t die_at = pick(4) == 0 ? 1 + pick(24) : 0;
    dead[w] = !run_writer(w, outer, die_at, &status);
    act.depth = 0;
    fr_hook = NULL;
    look(false);
    if (inside && act.enter_at == 0) dead[1] = !segment_alive(W[0].s, 2, 1); /* it may have died in there */
}

static void start(const char *setup) {
    memcpy(W[0].s->base, blank, stage_bytes(&W[0]));
    for (int w = 0; w < 2; w++) {
        W[w].a.now_ms = FIRST_NOW;
        W[w].a.db = 0;
        segment_set_dead(W[w].s, 1, false);
        segment_set_dead(W[w].s, 2, false);
    }
    stage_fresh(&W[0]);
    segment_become(W[0].s, 1, 1);
    segment_become(W[1].s, 2, 1);
    script_run(&W[0].a, setup);
    stage_fresh(&W[1]);
    memcpy(shadow, W[0].s->base, stage_bytes(&W[0]));
    memcpy(R.s->base, W[0].s->base, stage_bytes(&R));
    stage_fresh(&R);
    for (size_t i = 0; i < FR_COUNTOF(fast); i++) fast_attach(&fast[i], &R.a);
    R.a.now_ms = FIRST_NOW;
    stores = position = 0;
    script_log[0] = 0;
    memset(&sums, 0, sizeof sums);
    memset(&act, 0, sizeof act);
}

static void record_history(void) {
    bool dead[2] = {false, false};
    uint32_t n = 3 + pick(4);
    uint32_t setup = pick(FR_COUNTOF(setups));
    snprintf(script_log, sizeof script_log, " ");
    start(setups[setup]);
    snprintf(script_log, sizeof script_log, " (setup %u)", setup);
    for (uint32_t i = 0; i < n; i++) record_one(dead);
    for (int w = 0; w < 2; w++)
        if (dead[w]) come_back(w);
    look(false);
    totals->positions += stores;
}

/* --- moving ----------------------------------------------------------------------------------------------------------------- */

static void set_word(uint32_t off, uint64_t value) { *SEG_AT(R.s, off, uint64_t) = value; }

static void move_to(uint32_t p) {
    while (position < p) set_word(history[position].off, history[position].after), position++;
    while (position > p) position--, set_word(history[position].off, history[position].before);
}

/* The first whole position from p on. */
static uint32_t whole(uint32_t p) {
    while (p > 0 && p < stores && history[p - 1].joined) p++;
    return p;
}

/* --- reading ---------------------------------------------------------------------------------------------------------------- */

static struct {
    uint32_t loads, next, n;
    struct {
        uint32_t load, to;
    } step[PREEMPTIONS];
} plan;

static void on_load(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx;
    (void)kind;
    (void)addr;
    (void)n;
    plan.loads++;
    if (FR_UNLIKELY(plan.next < plan.n && plan.loads >= plan.step[plan.next].load)) move_to(plan.step[plan.next++].to);
}

static fr_status read_program(size_t r, digest *d, FILE *out) {
    plan.loads = 0;
    fr_hook = on_load;
    fr_status status = r < GENERAL ? dump_keys(&R.a, names[r], name_count[r], d, out) : fast_read(&fast[r - GENERAL], &R.a, d);
    fr_hook = NULL;
    if (out && r >= GENERAL) {
        const fast_program *p = &fast_programs[r - GENERAL];
        fprintf(out, "  %s %s: %016llx\n", p->name, p->field ? p->field : "", (unsigned long long)d->a);
    }
    return status;
}

/* What an instantaneous reader sees, at every position. */
static void read_instants(void) {
    plan.n = plan.next = 0;
    for (uint32_t p = 0; p <= stores; p++) {
        if (p && p < stores && history[p - 1].joined) {
            memcpy(instant[p], instant[p - 1], sizeof instant[p]);
            continue;
        }
        move_to(p);
        for (size_t i = 0; i < FR_COUNTOF(fast); i++) fast_remember(&fast[i], &R.a);
        for (size_t r = 0; r < PROGRAMS; r++)
            if (read_program(r, &instant[p][r], NULL) != FR_OK) fail("a reader of a frozen memory failed", r);
        for (size_t i = 0; i < FR_COUNTOF(fast); i++) {
            digest d;
            if (fast_read_generally(&fast[i], &R.a, &d) != FR_OK || !digest_eq(d, instant[p][GENERAL + i]))
                fail("a fast reader of a frozen memory is told what the general one is not", GENERAL + i);
        }
    }
}

static uint32_t ahead(uint32_t p) {
    uint32_t by = pick(4) ? 1 + pick(6) : 1 + pick(pick(3) ? 40 : 400);
    return whole(p + by < stores ? p + by : stores);
}

static void draw_plan(uint32_t from, uint32_t typical) {
    uint32_t load = 0;
    plan.n = 1 + pick(PREEMPTIONS);
    plan.next = 0;
    for (uint32_t i = 0; i < plan.n; i++) {
        load += 1 + pick(typical / (plan.n > 2 ? 2 : 1) + 1);
        from = ahead(from);
        plan.step[i].load = load;
        plan.step[i].to = from;
    }
}

/* The schedule once more, and what there was to be seen. */
static void show(size_t r, uint32_t from) {
    digest d, last = {0, 0};
    uint32_t to = position;
    fprintf(stderr, "from %u to %u; moves:", from, to);
    for (uint32_t i = 0; i < plan.next; i++) fprintf(stderr, " load %u: %u", plan.step[i].load, plan.step[i].to);
    fprintf(stderr, "\nit saw (the last is what counts):\n");
    plan.n = plan.next;
    plan.next = 0;
    move_to(from);
    read_program(r, &d, stderr);
    plan.n = 0;
    for (uint32_t p = from; p <= to; p++) {
        if (digest_eq(instant[p][r], last)) continue;
        last = instant[p][r];
        move_to(p);
        fprintf(stderr, "at %u:\n", p);
        read_program(r, &d, stderr);
    }
    for (uint32_t p = from; p < to; p++)
        fprintf(stderr, "store %u: word %u, %llx for %llx\n", p, history[p].off, (unsigned long long)history[p].after,
                (unsigned long long)history[p].before);
}

static void check_read(size_t r, uint32_t from, fr_status status, digest d) {
    totals->loads += plan.loads;
    totals->preempted += plan.next;
    totals->fast += r >= GENERAL;
    const char *what = "a reader saw what was at no instant of its interval";
    if (status != FR_OK) what = status == FR_BUSYREAD || status == FR_RETRY ? "a reader said Busy" : "a reader failed";
    else if (plan.loads > LOADS_MAX) what = "a reader took too many loads";
    else
        for (uint32_t p = from; p <= position; p++)
            if (digest_eq(instant[p][r], d)) return;
    if (fail(what, r)) show(r, from);
}

static void run_schedules(uint32_t typical[PROGRAMS]) {
    for (uint32_t i = 0; i < SCHEDULES; i++) {
        size_t r = pick(PROGRAMS);
        uint32_t from = whole(pick(stores + 1));
        digest d;
        if (r >= GENERAL && fast[r - GENERAL].kind == FAST_WATCH) {
            move_to(whole(from - pick(from < 60 ? from + 1 : 60)));
            fast_remember(&fast[r - GENERAL], &R.a);
        }
        move_to(from);
        draw_plan(from, typical[r]);
        fr_status status = read_program(r, &d, NULL);
        check_read(r, from, status, d);
    }
    totals->schedules += SCHEDULES;
}

static void measure(uint32_t typical[PROGRAMS]) {
    digest d;
    plan.n = plan.next = 0;
    move_to(0);
    for (size_t r = 0; r < PROGRAMS; r++) {
        read_program(r, &d, NULL);
        typical[r] = plan.loads < 8 ? 8 : plan.loads;
    }
}

/* --- the end of a history ---------------------------------------------------------------------------------------------------- */

static void check_sum(const char *what, int64_t least, int64_t maybe, const char *name) {
    char line[128];
    script_unmet = 0;
    for (int64_t v = least; v <= least + maybe; v++) {
        unsigned before = script_unmet;
        snprintf(line, sizeof line, "EXPECT %s %lld", name, (long long)v);
        script_run(&W[0].a, line);
        if (script_unmet == before) return;
    }
    fail(what, 0);
}

static void check_end(void) {
    verify_report report;
    fr_error err = {.text = ""};
    const char *what = stage_rest_error(&W[0]);
    if (what) fail(what, 0);
    else if (store_verify(W[0].a.st, false, &report, &err) != FR_OK) fail(err.text, 0);
    if (sums.lost) return;
    check_sum("the counter has lost or doubled an increment", sums.counter, sums.counter_maybe, COUNTER);
    check_sum("the number has lost or doubled an increment", sums.number, sums.number_maybe, NUMBER);
}

/* --- workers -------------------------------------------------------------------------------------------------------------------- */

typedef struct options {
    double seconds;
    uint64_t least;           /* schedules, however long they take */
    unsigned jobs, histories; /* histories 0: as many as there is time for */
    bool first;               /* the first failure ends it */
    uint64_t seed;
} options;

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static span keep_name(const char *text) {
    char *name = malloc(16);
    int stripe, bit, n, quad;
    if (sscanf(text, "%%%dq%dp%d.%d", &stripe, &quad, &bit, &n) != 4) return (span){text, strlen(text)};
    script_name(R.s, stripe, quad, bit, (unsigned)n, name);
    return (span){name, strlen(name)};
}

static void open_stages(void) {
    static uint64_t counted[256];
    geometry geo = stage_geometry();
    stage_open(&W[0], &geo);
    stage_open(&W[1], &geo);
    stage_open(&R, &geo);
    size_t bytes = stage_bytes(&R);
    blank = malloc(bytes);
    memcpy(blank, W[0].s->base, bytes);
    W[1].s->base = W[0].s->base; /* its own mapping stays until the process ends */
    shadow = malloc(bytes);
    history = malloc(STORES_MAX * sizeof *history);
    instant = malloc((STORES_MAX + 1) * sizeof *instant);
    R.s->readonly = true;
    R.s->stats = counted;
    for (size_t i = 0; i < FR_COUNTOF(fast); i++) fast_prepare(&fast[i], R.s, &fast_programs[i]);
    for (size_t r = 0; r < GENERAL; r++)
        for (name_count[r] = 0; name_count[r] < READS_MAX && programs[r][name_count[r]]; name_count[r]++)
            names[r][name_count[r]] = keep_name(programs[r][name_count[r]]);
}

static void work(board *b, const options *o, unsigned job) {
    uint32_t typical[PROGRAMS];
    double until = seconds_now() + o->seconds;
    totals = b;
    open_stages();
    for (uint64_t i = 0; o->histories ? i < o->histories : seconds_now() < until || b->schedules < o->least / o->jobs + 1; i++) {
        first_seed = o->seed + i * o->jobs + job;
        seed = first_seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
        pick(2);
        record_history();
        check_end();
        measure(typical);
        read_instants();
        run_schedules(typical);
        totals->histories++;
        if (totals->failed > (o->first ? 0 : 20)) break;
    }
    exit(0);
}

static options parse(int argc, char **argv) {
    const char *from = getenv("FRIDGE_SEED");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    options o = {.seconds = 25, .least = 22000000, .jobs = cores > 2 ? (unsigned)cores : 2};
    o.seed = from ? strtoull(from, NULL, 10) : 1;
    if (stage_proof()) o.seconds = 1800;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) o.seconds = 1800;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) o.seconds = atof(argv[++i]), o.least = 0;
        else if (strcmp(argv[i], "--first") == 0) o.first = true;
        else if (strcmp(argv[i], "--jobs") == 0 && i + 1 < argc) o.jobs = (unsigned)atoi(argv[++i]);
        else if (strcmp(argv[i], "--histories") == 0 && i + 1 < argc) o.histories = (unsigned)atoi(argv[++i]);
    }
    if (o.jobs == 0 || o.jobs > 64) o.jobs = 1;
    return o;
}

static board sum(const board *b, unsigned jobs) {
    board s = {0};
    for (unsigned i = 0; i < jobs; i++) {
        const uint64_t *from = (const uint64_t *)&b[i];
        for (size_t w = 0; w < sizeof s / 8; w++) ((uint64_t *)&s)[w] += from[w];
    }
    return s;
}

int main(int argc, char **argv) {
    options o = parse(argc, argv);
    board *b = mmap(NULL, o.jobs * sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double from = seconds_now();
    unsigned broken = 0;
    if (b == MAP_FAILED) return 2;
    for (unsigned i = 0; i < o.jobs; i++) {
        fflush(NULL);
        if (fork() == 0) work(&b[i], &o, i);
    }
    for (unsigned i = 0; i < o.jobs; i++) {
        int status;
        wait(&status);
        broken += status != 0;
        if (status) fprintf(stderr, "FAILED a worker ended with status %x\n", (unsigned)status);
    }
    board s = sum(b, o.jobs);
    double took = seconds_now() - from;
    printf("seed %llu: %llu schedules (%.0f a second), %llu of them of fast readers, over %llu histories of %llu stores;\n"
           "%llu loads, %llu preemptions,\n"
           "%llu deaths, %llu operations inside another, %llu refused, %llu in a straight line, of which %llu had to leave it\n",
           (unsigned long long)o.seed, (unsigned long long)s.schedules, (double)s.schedules / took, (unsigned long long)s.fast,
           (unsigned long long)s.histories,
           (unsigned long long)(s.histories ? s.positions / s.histories : 0), (unsigned long long)s.loads,
           (unsigned long long)s.preempted, (unsigned long long)s.deaths, (unsigned long long)s.inside, (unsigned long long)s.refused,
           (unsigned long long)s.straight, (unsigned long long)s.left);
    uint64_t failed = s.failed + broken;
    printf("%llu passed, %llu failed\n", (unsigned long long)(s.schedules - (s.failed < s.schedules ? s.failed : s.schedules)),
           (unsigned long long)failed);
    return failed ? 1 : 0;
}
