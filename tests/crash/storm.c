/* storm.c - kills real processes that share one segment file, thousands of times, and compares what is left with an
 * oracle.
 *
 * A driver forks writers and readers (subjects.h says what they write) and kills them: by SIGKILL at any moment, or by
 * themselves before a chosen store (fr_hook), half of them each. A victim's successor settles what its predecessor
 * began. Segments are small and of many shapes, so that splits, spills, growth and reclaim happen all the time.
 *
 * Modes: one PID namespace; each process in its own, where all are PID 1; killed while registering; while growing the
 * file; while waiting for a latch of an owner that SIGSTOP holds up. Such an owner is never robbed: a write that meets
 * it fails after latch-timeout with FR_LATCHED and nothing changed, reads and other stripes go on; after SIGCONT it
 * ends its write, after SIGKILL the next writer does.
 *
 * Time: no operation of a survivor may take longer than latch-timeout + 50 ms on account of fridge. From the time on
 * the wall the time is taken off in which this process was ready to run and had no processor (/proc/self/schedstat, as
 * of at most 5 ms before the operation): that is the machine's. Sleeping on a latch, in a nap, in the kernel, all counts,
 * even when the owner that was slept for had no processor itself. Both distributions are printed.
 *
 * usage: storm [--full] [--seed n] [--only mode] [--kills n]      --full, or FRIDGE_PROOF=1: ten times as many
 * Leaves out: RESP and killed servers (test_kills.py), enumeration (enumerate.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "people.h"
#include "place.h"
#include "subjects.h"

typedef unsigned long long ull; /* for printf */

#define WRITERS 4u
#define READERS 2u
#define PEOPLE (WRITERS + READERS)
#define EXTRAS 8u /* further processes of the special modes */
#define TIMEOUT_MS 200u
#define GRACE_MS 50u
#define STUCK_NS UINT64_C(20000000000)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHARE 20u /* of the kills: a fork costs ten times as much */
#else
#define SHARE 1u
#endif

/* --- the board: shared by all processes, outside the segment ------------------------------------------------------ */

#define BUCKETS 9u
static const unsigned bucket_ms[BUCKETS] = {1, 5, 20, 50, 100, 150, 200, TIMEOUT_MS + GRACE_MS, UINT32_MAX};

typedef struct person {
    pid_t pid;
    uint32_t word;       /* the identity its latches bear */
    uint64_t life;       /* operations of this life */
    uint32_t at_latch;   /* met a latch that was held, in the operation at hand */
    uint32_t parked;     /* 1: waits to be stopped at a chosen store; set back to 0 by the driver */
    uint32_t by_itself;  /* it died at its chosen store */
} person;

typedef struct board {
    record_of record[WRITERS];
    person person[PEOPLE + EXTRAS];
    uint64_t violations, stop;
    uint64_t operations, refused, latched, busy, slow_by_machine;
    uint64_t wall[BUCKETS], ours[BUCKETS], worst_wall, worst_ours;
    char first[5][300], note[300]; /* violations; the last write that met a live owner too long */
} board;

static board *B;
static const char *mode = "";
static uint64_t seed, timeout_ms = TIMEOUT_MS;

static uint64_t load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static void save(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static void count(uint64_t *p) { __atomic_fetch_add(p, 1, __ATOMIC_RELAXED); }

static void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void violation(const char *format, ...) {
    va_list args;
    uint64_t n = __atomic_fetch_add(&B->violations, 1, __ATOMIC_RELAXED);
    if (n >= FR_COUNTOF(B->first)) return;
    va_start(args, format);
    int at = snprintf(B->first[n], sizeof B->first[n], "%s: ", mode);
    vsnprintf(B->first[n] + at, sizeof B->first[n] - (size_t)at, format, args);
    va_end(args);
}

/* --- time --------------------------------------------------------------------------------------------------------- */

static struct {
    bool off; /* who is going to be stopped measures nothing */
    uint64_t at, delay, begun;
} meter;

static void meter_begin(void) {
    meter.begun = now_ns();
    if (meter.begun - meter.at < 5000000) return;
    meter.delay = run_delay();
    meter.at = meter.begun;
}

static void tally(uint64_t *buckets, uint64_t *worst, uint64_t ns) {
    unsigned i = 0;
    while (i < BUCKETS - 1 && ns > UINT64_C(1000000) * bucket_ms[i]) i++;
    count(&buckets[i]);
    uint64_t seen = load(worst);
    while (seen < ns && !__atomic_compare_exchange_n(worst, &seen, ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* Ends the measurement of an operation; the time that is fridge's. */
static uint64_t meter_end(const char *what) {
    if (meter.off) return 0;
    uint64_t wall = now_ns() - meter.begun, ours = wall;
    if (wall > 1000000) {
        uint64_t machine = run_delay() - meter.delay;
        ours = wall > machine ? wall - machine : 0;
        meter.at = 0;
    }
    count(&B->operations);
    tally(B->wall, &B->worst_wall, wall);
    tally(B->ours, &B->worst_ours, ours);
    uint64_t limit = (timeout_ms + GRACE_MS) * 1000000;
    if (ours > limit) violation("%s took %.1f ms (%.1f on the wall)", what, (double)ours / 1e6, (double)wall / 1e6);
    else if (wall > limit) count(&B->slow_by_machine);
    return ours;
}

/* --- dying at a store --------------------------------------------------------------------------------------------- */

/* What a process does to itself, before the store number `left` from now on. PLAN_PARK: only while it holds a latch. */
enum plan { PLAN_LIVE, PLAN_DIE, PLAN_PARK };
static struct {
    enum plan plan;
    uint64_t left;
    person *me;
    segment *s;
} doom;

/* PID 1 of a namespace cannot kill itself; ending at this instruction is the same to a segment. */
static void die(void) {
    if (doom.me) __atomic_store_n(&doom.me->by_itself, 1, __ATOMIC_RELEASE);
    kill(getpid(), SIGKILL);
    for (;;) syscall(SYS_exit_group, 137);
}

static bool holds_latch(const segment *s) {
    uint32_t mine = s->me->word;
    for (uint32_t i = 0; mine && i < s->l.latch_count; i++)
        if ((ld4(&segment_stripe((segment *)s, i)->latch) & ~LATCH_WAITER) == mine) return true;
    return false;
}

static void park(void) {
    doom.plan = PLAN_LIVE;
    __atomic_store_n(&doom.me->parked, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&doom.me->parked, __ATOMIC_ACQUIRE)) sched_yield();
}

static void on_access(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    (void)ctx, (void)len;
    if (kind == ACCESS_LD8) return;
    if (kind == ACCESS_CAS4 && *(const volatile uint32_t *)addr)
        __atomic_store_n(&doom.me->at_latch, 1, __ATOMIC_RELEASE);
    if (doom.plan == PLAN_LIVE || (doom.plan == PLAN_PARK && !holds_latch(doom.s))) return;
    if (doom.left-- > 0) return;
    if (doom.plan == PLAN_DIE) die();
    park();
}

static void doom_set(person *me, segment *s, enum plan plan, uint64_t left) {
    doom.plan = plan;
    doom.left = left;
    doom.me = me;
    doom.s = s;
    fr_hook = on_access;
}

/* --- a writer ----------------------------------------------------------------------------------------------------- */

static look L;

static bool is_refusal(fr_status status) { return status == FR_OOM || status == FR_NOSPACE || status == FR_LATCHED; }

/* What a status means for a number that was begun: true = it is done. */
static bool account_for(fr_status status, const char *what, const fr_error *err) {
    if (status == FR_OK) return true;
    if (status == FR_LATCHED) {
        count(&B->latched);
        snprintf(B->note, sizeof B->note, "%s, %s: %.200s", mode, what, err->text);
    } else if (is_refusal(status)) count(&B->refused);
    else violation("%s: status %d: %s", what, status, err->text);
    return false;
}

static fr_status write_number(view *v, uint32_t w, enum subject s) {
    mark *m = &B->record[w].own[s];
    uint64_t seq = load(&m->done) + 1;
    save(&m->begun, seq);
    meter_begin();
    fr_status status = subject_write(v, w, s, seq);
    meter_end(subject_names[s]);
    if (account_for(status, subject_names[s], &v->err)) save(&m->done, seq);
    else save(&m->begun, seq - 1); /* refused: nothing may have changed, and readers will say so */
    return status;
}

static void write_shared(view *v, uint32_t w, enum shared s) {
    mark *m = &B->record[w].shared[s];
    if (s == SHARED_STATISTIC && v->st->s->me->word == 0) return;
    save(&m->begun, load(&m->begun) + 1);
    meter_begin();
    fr_status status = shared_add(v, w, s);
    meter_end("a shared sum");
    if (account_for(status, "a shared sum", &v->err)) save(&m->done, load(&m->done) + 1);
    else save(&m->begun, load(&m->begun) - 1);
}

/* Takes over from a predecessor: what it began is now done or will never be. */
static void settle(view *v, uint32_t w) {
    unsigned refusals = 0;
    for (unsigned s = 0; s < SUBJECT_COUNT; s++) {
        mark *m = &B->record[w].own[s];
        uint64_t done = load(&m->done), begun = load(&m->begun);
        if (done == begun) continue;
        meter_begin();
        fr_status status = subject_look(v, w, s, true, &L);
        meter_end("settling");
        if (!account_for(status, "settling", &v->err)) {
            if (status == FR_LATCHED && ++refusals == 10) violation("settling: %s", v->err.text);
            if (status != FR_LATCHED || refusals >= 10) return;
            s--; /* somebody has no processor: again */
            continue;
        }
        if (look_shows(&L, begun)) save(&m->done, begun);
        else if (look_shows(&L, done)) save(&m->begun, done);
        else violation("writer %u, %s, settling: done %llu, begun %llu, seen: %s", w, subject_names[s],
                       (ull)done, (ull)begun, look_text(&L));
        if (!look_shows(&L, begun) && !look_shows(&L, done)) return;
    }
}

static void write_for_ever(view *v, uint32_t w, uint64_t state) {
    person *me = &B->person[w];
    settle(v, w);
    for (;;) {
        uint64_t r = random_next(&state);
        unsigned what = (unsigned)(r % 100);
        if (what < 78) write_number(v, w, (enum subject)(r >> 8) % SUBJECT_COUNT);
        else if (what < 90) write_shared(v, w, (enum shared)(r >> 8) % SHARED_COUNT);
        else if (what < 98) {
            meter_begin();
            account_for(account_move(v, r >> 8), "a transfer", &v->err);
            meter_end("a transfer");
        } else if (what < 99) store_tick(v->st, clock_boot_ms(), 50);
        else segment_reap(v->st->s);
        __atomic_store_n(&me->word, v->st->s->me->word, __ATOMIC_RELAXED);
        save(&me->life, me->life + 1);
    }
}

/* --- a reader ----------------------------------------------------------------------------------------------------- */

typedef struct memory {
    uint64_t seen[WRITERS][SUBJECT_COUNT]; /* greatest number that was visible */
} memory;

static bool read_failed(fr_status status, const view *v, const char *what) {
    if (status == FR_OK) return false;
    if (status == FR_BUSYREAD) count(&B->busy);
    else violation("reading %s: status %d: %s", what, status, v->err.text);
    return true;
}

/* A look without a latch, compared with the oracle before and after it. */
static void read_one(view *v, uint32_t w, enum subject s, memory *past) {
    mark *m = &B->record[w].own[s];
    uint64_t low = load(&m->done);
    meter_begin();
    fr_status status = subject_look(v, w, s, false, &L);
    meter_end("a read");
    uint64_t high = load(&m->begun);
    if (read_failed(status, v, subject_names[s])) return;
    if (past && !L.parity_only && low < past->seen[w][s]) low = past->seen[w][s];
    if (high < low) high = low;
    bool fits = false;
    for (uint64_t seq = low; seq <= high && !fits; seq++) fits = look_shows(&L, seq);
    if (!fits)
        violation("reader of writer %u, %s: %llu to %llu possible, seen: %s", w, subject_names[s], (ull)low,
                  (ull)high, look_text(&L));
    else if (past && !L.parity_only && L.seq > past->seen[w][s]) past->seen[w][s] = L.seq;
}

static void read_accounts(view *v) {
    int64_t sum;
    meter_begin();
    fr_status status = accounts_sum(v, false, &sum);
    meter_end("a read of all accounts");
    if (!read_failed(status, v, "accounts") && sum != 0) violation("the accounts' sum is %lld", (long long)sum);
}

static void read_in_order(view *v, uint32_t w) {
    bool ordered;
    if (!read_failed(many_in_order(v, w, &L, &ordered), v, "an MSET's keys") && !ordered)
        violation("writer %u: a later key of an MSET was older than an earlier one, or torn", w);
}

static void read_for_ever(view *v, person *me, uint64_t state) {
    static memory past;
    for (;;) {
        uint64_t r = random_next(&state);
        uint32_t w = (uint32_t)(r >> 20) % WRITERS;
        if (r % 16 == 0) read_accounts(v);
        else if (r % 16 == 1) read_in_order(v, w);
        else read_one(v, w, (enum subject)(r >> 8) % SUBJECT_COUNT, &past);
        save(&me->life, me->life + 1);
    }
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

typedef struct driver {
    char folder[PLACE_MAX], path[PLACE_MAX + 16];
    view v;
    uint64_t random;
    bool namespaces; /* each process in a PID namespace of its own */
    uint64_t kills, self_kills, latch_held, half_applied, registering, stops, passed, failed;
} driver;

static driver D;

/* fork, into a PID namespace of its own if the mode says so. */
static pid_t fork_person(void) {
    bool apart = D.namespaces;
    pid_t pid = fork_apart(&apart);
    if (pid == 0) {
        if (apart && getpid() != 1) violation("a process in its own namespace has PID %d", getpid());
        meter.at = 0;
    }
    if (pid < 0) violation("fork: %s", strerror(errno));
    D.namespaces = apart;
    return pid;
}

/* A child's own mapping; or the one it has from its parent, with a registration of its own to come. */
static void attach(view *v, bool fresh, bool readonly) {
    store *st;
    fr_error err = {.text = ""};
    segment_options o = {.readonly = readonly, .owner = UINT32_MAX, .name = "storm"};
    if (!fresh) {
        *v = (view){.st = D.v.st, .tb = D.v.tb, .writers = WRITERS};
        return;
    }
    fr_status status = store_open(D.path, &o, &st, NULL, &err);
    if (status == FR_OK) status = view_open(v, st, WRITERS);
    if (status == FR_OK) return;
    violation("attaching: status %d: %s %s", status, err.text, v->err.text);
    _exit(1);
}

static void be_person(unsigned i, uint64_t r) {
    view v;
    person *me = &B->person[i];
    bool writer = i < WRITERS, readonly = !writer && i % 2;
    if (writer && r & 1) doom_set(me, D.v.st->s, PLAN_DIE, random_next(&r) % (UINT64_C(1) << (4 + (r >> 8) % 9)));
    attach(&v, readonly || r >> 4 & 1, readonly);
    if (writer) write_for_ever(&v, i, r);
    read_for_ever(&v, me, r);
}

static void spawn(unsigned i) {
    person *p = &B->person[i];
    uint64_t r = random_next(&D.random);
    *p = (person){.pid = 0};
    pid_t pid = fork_person();
    if (pid == 0) be_person(i, r);
    p->pid = pid;
}

static void await_life(const person *p) {
    for (uint64_t since = now_ns(); load(&p->life) == 0 && !p->by_itself && now_ns() - since < STUCK_NS;) sched_yield();
}

static void slay(unsigned i) {
    person *p = &B->person[i];
    if (p->pid <= 0) return;
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
}

static void slay_all(void) {
    for (unsigned i = 0; i < PEOPLE + EXTRAS; i++) slay(i);
}

/* --- a segment and its end ---------------------------------------------------------------------------------------- */

static void begin_segment(uint64_t max_size, bool roomy) {
    static const uint32_t pages[] = {512, 1024, 4096}, stripes[] = {2, 4, 16}, records[] = {12, 16, 48};
    uint64_t r = random_next(&D.random);
    geometry g = {.max_size = max_size, .page_size = pages[r % 3], .stripes = roomy ? 32 : stripes[(r >> 8) % 3],
                  .slots = 24, .journal_records = records[(r >> 16) % 3], .spaces = 24, .tables = 2,
                  .notify_words = 8, .access_bytes = 64, .stat_cells = 32};
    segment_options o = {.geometry = &g, .create = true, .owner = UINT32_MAX, .name = "storm driver"};
    fr_error err = {.text = ""};
    store *st = NULL;
    memset(B->record, 0, sizeof B->record);
    fr_status status = store_open(D.path, &o, &st, NULL, &err);
    if (status == FR_OK) status = subjects_create(st, WRITERS, &err);
    if (status == FR_OK) status = view_open(&D.v, st, WRITERS);
    if (status == FR_OK) {
        save(&segment_super(st->s)->shared_settings[SETTING_LATCH_TIMEOUT], timeout_ms);
        return;
    }
    fprintf(stderr, "storm: no segment: status %d: %s\n", status, err.text);
    exit(2);
}

static void check_sums(void) {
    static const char *const names[] = {"shared counter", "shared integer", "shared column", "statistic"};
    int64_t sum;
    fr_status status = accounts_sum(&D.v, true, &sum);
    if (status != FR_OK || sum != 0)
        violation("at the end: status %d, the accounts' sum is %lld", status, (long long)sum);
    for (unsigned s = 0; s < SHARED_COUNT; s++) {
        uint64_t low = 0, high = 0, value = 0;
        for (unsigned w = 0; w < WRITERS; w++) {
            low += B->record[w].shared[s].done;
            high += B->record[w].shared[s].begun;
        }
        status = shared_value(&D.v, s, &value);
        if (status != FR_OK || value < low || value > high)
            violation("%s: status %d, %llu; acknowledged %llu, begun %llu", names[s], status, (ull)value,
                      (ull)low, (ull)high);
    }
}

static void check_at_rest(void) {
    segment *s = D.v.st->s;
    verify_report report;
    fr_error err = {.text = ""};
    process_info info;
    if (store_verify(D.v.st, false, &report, &err) != FR_OK) violation("verify: %s %s", err.text, report.first);
    segment_reap(s);
    for (uint32_t i = 0; i < s->l.latch_count; i++) {
        uint32_t held = ld4(&segment_stripe(s, i)->latch);
        if (held && !segment_alive(s, LATCH_SLOT(held), LATCH_GEN(held)))
            violation("latch %u is held by the dead after a reap", i);
        if (i < s->g.stripes && txn_check(s, i, &err) != FR_OK) violation("at rest: %s", err.text);
    }
    for (uint32_t slot = 0; (slot = segment_process(s, slot + 1, &info)) != 0;)
        if (!info.self) violation("slot %u is still somebody's (alive: %d)", slot, info.alive);
    struct stat st;
    uint64_t size = segment_super(s)->size;
    if (stat(D.path, &st) != 0 || (uint64_t)st.st_size < size || size > s->g.max_size || size % s->g.page_size)
        violation("the segment says %llu bytes, the file has %llu", (ull)size, (ull)st.st_size);
}

static void end_segment(void) {
    char lock[96];
    slay_all();
    for (unsigned w = 0; w < WRITERS; w++) {
        settle(&D.v, w);
        for (unsigned s = 0; s < SUBJECT_COUNT; s++) read_one(&D.v, w, s, NULL);
    }
    check_sums();
    check_at_rest();
    store_close(D.v.st);
    unlink(D.path);
    snprintf(lock, sizeof lock, "%s.lock", D.path);
    unlink(lock);
}

/* --- the dead ----------------------------------------------------------------------------------------------------- */

/* What the victim left, for the statistics: a rough look, others may be recovering it already. */
static void autopsy(uint32_t word) {
    segment *s = D.v.st->s;
    bool held = false, half = false;
    for (uint32_t i = 0; word && i < s->l.latch_count; i++) {
        stripe *st = segment_stripe(s, i);
        if ((ld4(&st->latch) & ~LATCH_WAITER) != word) continue;
        held = true;
        half |= (st->jstate & 0xffff) != 0;
    }
    for (uint32_t i = 1; i < s->g.slots; i++) {
        uint64_t state = ld8(&SEG_AT(s, s->l.procs, proc)[i].state);
        D.registering += (state & 3) == 1 && !segment_alive(s, i, (uint32_t)(state >> 2));
    }
    D.latch_held += held;
    D.half_applied += half;
}

static void bury(unsigned i, int status) {
    person *p = &B->person[i];
    bool self = WIFEXITED(status) && WEXITSTATUS(status) == 137;
    if (!self && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        violation("process %u ended by itself: status %x", i, (unsigned)status);
    D.kills++;
    D.self_kills += p->by_itself;
    p->pid = 0;
    autopsy(p->word);
    if (i >= WRITERS) return;
    for (unsigned s = 0; s < SUBJECT_COUNT; s++) read_one(&D.v, i, s, NULL);
}

static unsigned who(pid_t pid) {
    for (unsigned i = 0; i < PEOPLE + EXTRAS; i++)
        if (B->person[i].pid == pid) return i;
    return UINT32_MAX;
}

/* --- the storm ---------------------------------------------------------------------------------------------------- */

static bool go_on(uint64_t target, uint64_t last_death) {
    if (load(&B->violations) || load(&B->latched) > 10000) return false;
    if (now_ns() - last_death > STUCK_NS) {
        violation("nobody got on for %llu s", (ull)(STUCK_NS / 1000000000));
        return false;
    }
    return D.kills < target;
}

/* One segment, so many kills. A victim that does not die by itself has done some operations first. */
static void storm_segment(uint64_t kills, uint64_t max_size) {
    uint64_t target = D.kills + kills, last = now_ns();
    uint64_t patience[PEOPLE];
    begin_segment(max_size, false);
    for (unsigned i = 0; i < PEOPLE; i++) spawn(i), patience[i] = random_next(&D.random) % 200;
    while (go_on(target, last)) {
        int status;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0; last = now_ns()) {
            unsigned i = who(pid);
            if (i == UINT32_MAX) continue;
            bury(i, status);
            spawn(i);
        }
        pause_us((unsigned)(random_next(&D.random) % 300));
        unsigned i = (unsigned)(random_next(&D.random) % (2 * PEOPLE)) % (PEOPLE + 3); /* writers more often */
        if (i >= PEOPLE) i -= PEOPLE;
        if (load(&B->person[i].life) < patience[i]) continue;
        kill(B->person[i].pid, SIGKILL);
        waitpid(B->person[i].pid, &status, 0);
        bury(i, status);
        patience[i] = random_next(&D.random) % (UINT64_C(1) << (1 + random_next(&D.random) % 9));
        spawn(i);
        last = now_ns();
    }
    end_segment();
}

static void storm_mode(uint64_t kills) {
    static const uint64_t sizes[] = {UINT64_C(256) << 10, UINT64_C(1) << 20, UINT64_C(4) << 20};
    for (uint64_t done = 0, round = 0; done < kills && !load(&B->violations); round++) {
        uint64_t n = kills - done < 120 ? kills - done : 120;
        storm_segment(n, sizes[round % 3]);
        done += n;
    }
}

static void mode_one_namespace(uint64_t kills) { storm_mode(kills); }

static void mode_own_namespaces(uint64_t kills) {
    D.namespaces = true;
    storm_mode(kills);
    D.namespaces = false;
}

/* --- killed while registering, while growing ---------------------------------------------------------------------- */

static void be_newcomer(unsigned i, uint64_t r) {
    view v;
    fr_error err = {.text = ""};
    person *me = &B->person[i];
    if (r & 1) doom_set(me, D.v.st->s, PLAN_DIE, (r >> 8) % 64);
    attach(&v, r >> 4 & 1, false);
    save(&me->life, 1);
    fr_status status = segment_register(v.st->s, &err);
    if (status != FR_OK && status != FR_NOSLOT) violation("registering: status %d: %s", status, err.text);
    for (;;) hot_incr(v.st, 0, SPAN_LIT("newcomer"), 1, &(int64_t){0}, true, &err);
}

static void be_grower(unsigned i, uint64_t r) {
    view v;
    fr_error err = {.text = ""};
    person *me = &B->person[i];
    attach(&v, r >> 4 & 1, false);
    segment_register(v.st->s, &err);
    if (r & 1) doom_set(me, v.st->s, PLAN_DIE, (r >> 8) % 6);
    save(&me->life, 1);
    fr_status status = FR_OK;
    while (status == FR_OK || status == FR_LATCHED) status = segment_grow(v.st->s, &err);
    if (status != FR_OOM) violation("growing: status %d: %s", status, err.text);
    die();
}

/* Writers and readers live on; newcomers come and are killed at once. */
static void kill_newcomers(uint64_t kills, void (*be)(unsigned, uint64_t), uint64_t max_size) {
    uint64_t target = D.kills + kills;
    begin_segment(max_size, false);
    spawn(0);
    spawn(1);
    spawn(WRITERS);
    while (D.kills < target && !load(&B->violations)) {
        unsigned n = 1 + (unsigned)(random_next(&D.random) % EXTRAS);
        for (unsigned i = PEOPLE; i < PEOPLE + n; i++) {
            uint64_t r = random_next(&D.random);
            B->person[i] = (person){.pid = 0};
            pid_t pid = fork_person();
            if (pid == 0) be(i, r);
            B->person[i].pid = pid;
        }
        for (unsigned i = PEOPLE; i < PEOPLE + n; i++) {
            int status;
            uint64_t r = random_next(&D.random);
            if (r & 3) await_life(&B->person[i]); /* it begins now */
            if (r & 4) pause_us((unsigned)(r >> 8) % 200);
            kill(B->person[i].pid, SIGKILL);
            waitpid(B->person[i].pid, &status, 0);
            bury(i, status);
        }
    }
    end_segment();
}

static void mode_registering(uint64_t kills) {
    for (uint64_t done = 0; done < kills && !load(&B->violations); done += 100) {
        D.namespaces = done / 100 & 1;
        kill_newcomers(100, be_newcomer, UINT64_C(1) << 20);
    }
    D.namespaces = false;
}

static void mode_growing(uint64_t kills) {
    for (uint64_t done = 0; done < kills && !load(&B->violations); done += 12)
        kill_newcomers(12, be_grower, UINT64_C(16) << 20);
}

/* --- stopped owners, and who waits for them ----------------------------------------------------------------------- */

/* Writes one subject until it is parked in the middle of it, holding a latch; then ends that write. */
static void be_holder(uint64_t r) {
    view v;
    person *me = &B->person[0];
    enum subject s = (enum subject)(r >> 24) % SUBJECT_COUNT;
    if (s == SUBJECT_COUNTER) s = SUBJECT_EXEC; /* lock-free: holds none */
    attach(&v, r >> 4 & 1, false);
    settle(&v, 0);
    meter.off = true;
    for (uint64_t i = 0;; i++) {
        if (i == 4) doom_set(me, v.st->s, PLAN_PARK, (r >> 8) % 24);
        write_number(&v, 0, s);
        me->word = v.st->s->me->word;
        save(&me->life, i + 1);
        if (i >= 4 && doom.plan == PLAN_LIVE) break; /* was parked, and has gone on */
        if (holds_latch(v.st->s)) violation("a latch is held after the write");
    }
    for (;;) pause();
}

static bool wait_parked(void) {
    uint64_t from = now_ns();
    while (!__atomic_load_n(&B->person[0].parked, __ATOMIC_ACQUIRE)) {
        if (load(&B->violations) || now_ns() - from > STUCK_NS) return false;
        pause_us(50);
    }
    return true;
}

/* Numbers of probe keys in a stripe that is held, and in one that is not; false when there are not both. */
static bool find_probes(unsigned *held, unsigned *open) {
    segment *s = D.v.st->s;
    uint32_t word = LATCH_WORD(0, 0);
    char name[16];
    key k;
    *held = *open = UINT32_MAX;
    for (unsigned i = 0; i < PROBES; i++) {
        if (probe_key(&D.v, i, &k, name) != FR_OK) return false;
        word = ld4(&segment_stripe(s, k.stripe)->latch);
        if (word) *held = i;
        else *open = i;
    }
    return *held != UINT32_MAX && *open != UINT32_MAX;
}

static int64_t probe_value(unsigned i) {
    char name[16];
    int64_t out = -1;
    bool exists;
    if (hot_counter_read(D.v.st, probe_name(i, name), &out, &exists, false, &D.v.err) == FR_OK && exists) return out;
    return -1;
}

typedef struct pair {
    unsigned a, b;
} pair;

static fr_status pair_op(store *st, txn *t, void *ctx) {
    pair *p = ctx;
    unsigned numbers[2] = {p->a, p->b};
    fr_status status = FR_OK;
    for (unsigned i = 0; i < 2 && status == FR_OK; i++) {
        char name[16];
        key k;
        int64_t out;
        status = key_route(st, 0, probe_name(numbers[i], name), &k, t->err);
        if (status == FR_OK) status = str_incr(st, t, &k, 1, &out);
    }
    return status;
}

/* A write that meets the owner: FR_LATCHED, neither before latch-timeout nor long after, and nothing changed. */
static void meet_owner(unsigned held, unsigned open, bool both) {
    fr_error err = {.text = ""};
    char name[16];
    int64_t before_held = probe_value(held), before_open = probe_value(open), out;
    meter_begin();
    fr_status status;
    if (both) {
        stripe_set set;
        key k;
        pair p = {open, held};
        stripe_set_clear(&set);
        probe_key(&D.v, held, &k, name), stripe_set_add(&set, k.stripe);
        probe_key(&D.v, open, &k, name), stripe_set_add(&set, k.stripe);
        status = store_write(D.v.st, clock_boot_ms(), UINT64_MAX, &set, pair_op, &p, &err);
    } else {
        status = hot_incr(D.v.st, 0, probe_name(held, name), 1, &out, false, &err);
        if (hot_again(status)) status = hot_incr(D.v.st, 0, probe_name(held, name), 1, &out, true, &err);
    }
    uint64_t wall = now_ns() - meter.begun;
    meter_end("a write that met a stopped owner");
    if (status != FR_LATCHED) violation("a write that met a stopped owner: status %d: %s", status, err.text);
    if (wall < (timeout_ms - 2) * 1000000) violation("it gave up after %.1f ms", (double)wall / 1e6);
    if (!strstr(err.text, "a live process")) violation("the refusal does not name who: %s", err.text);
    if (probe_value(held) != before_held || probe_value(open) != before_open)
        violation("a refused write changed something");
}

static void others_go_on(unsigned open) {
    char name[16];
    fr_error err = {.text = ""};
    int64_t before = probe_value(open), out = 0;
    for (unsigned i = 0; i < 20; i++) {
        meter_begin();
        fr_status status = hot_incr(D.v.st, 0, probe_name(open, name), 1, &out, true, &err);
        if (meter_end("a write beside a stopped owner") > 50000000 || status != FR_OK || out != before + i + 1)
            violation("a write beside a stopped owner: status %d: %s", status, err.text);
    }
    for (unsigned s = 0; s < SUBJECT_COUNT; s++) {
        uint64_t busy = load(&B->busy);
        for (unsigned w = 0; w < WRITERS; w++) read_one(&D.v, w, s, NULL);
        if (load(&B->busy) != busy) violation("a read beside a stopped owner was Busy");
    }
    read_accounts(&D.v);
}

static void be_waiter(unsigned i, unsigned held) {
    view v;
    char name[16];
    fr_error err = {.text = ""};
    attach(&v, i & 1, false);
    segment_register(v.st->s, &err);
    doom_set(&B->person[i], v.st->s, PLAN_LIVE, 0);
    for (int64_t out;;) hot_incr(v.st, 0, probe_name(held, name), 1, &out, true, &err);
}

/* Waiters sleep behind the stopped owner's latch and are killed there, some just as it is let go. */
static void spawn_waiters(unsigned held) {
    for (unsigned i = PEOPLE; i < PEOPLE + EXTRAS; i++) {
        B->person[i] = (person){.pid = 0};
        pid_t pid = fork_person();
        if (pid == 0) be_waiter(i, held);
        B->person[i].pid = pid;
    }
}

static void kill_waiters(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++) {
        int status;
        uint64_t since = now_ns();
        while (!__atomic_load_n(&B->person[i].at_latch, __ATOMIC_ACQUIRE) && now_ns() - since < STUCK_NS) pause_us(100);
        pause_us((unsigned)(random_next(&D.random) % 3000));
        kill(B->person[i].pid, SIGKILL);
        waitpid(B->person[i].pid, &status, 0);
        bury(i, status);
    }
}

/* After its end, by SIGCONT or SIGKILL, the stripe is anybody's again, at once. */
static void stripe_is_free(unsigned held) {
    char name[16];
    fr_error err = {.text = ""};
    int64_t out;
    meter_begin();
    fr_status status = hot_incr(D.v.st, 0, probe_name(held, name), 1, &out, true, &err);
    meter_end("a write after a stopped owner");
    if (status != FR_OK) violation("a write after a stopped owner's end: status %d: %s", status, err.text);
}

static void resume(pid_t pid) {
    mark now[SUBJECT_COUNT];
    uint64_t from = now_ns(), life = load(&B->person[0].life);
    memcpy(now, B->record[0].own, sizeof now);
    kill(pid, SIGCONT);
    while (load(&B->person[0].life) == life && now_ns() - from < STUCK_NS && !load(&B->violations)) pause_us(50);
    for (unsigned s = 0; s < SUBJECT_COUNT; s++) {
        mark *m = &B->record[0].own[s];
        if (load(&m->done) != load(&m->begun)) violation("the owner did not end its write of the %s", subject_names[s]);
        if (load(&m->done) < now[s].begun) violation("the owner's write of the %s was refused", subject_names[s]);
        read_one(&D.v, 0, s, NULL);
    }
}

static void stop_one(void) {
    person *p = &B->person[0];
    int status;
    unsigned held, open;
    uint64_t r = random_next(&D.random);
    *p = (person){.pid = 0};
    pid_t pid = fork_person();
    if (pid == 0) be_holder(r);
    p->pid = pid;
    if (!wait_parked()) {
        violation("the holder was never parked");
        slay(0);
        return;
    }
    kill(pid, SIGSTOP);
    waitpid(pid, &status, WUNTRACED);
    __atomic_store_n(&p->parked, 0, __ATOMIC_RELEASE);
    if (WIFSTOPPED(status) && find_probes(&held, &open)) {
        D.stops++;
        spawn_waiters(held);
        others_go_on(open);
        meet_owner(held, open, r & 1);
        kill_waiters(PEOPLE, PEOPLE + EXTRAS / 2);
        if (r & 2) resume(pid);
        else kill(pid, SIGKILL);
        kill_waiters(PEOPLE + EXTRAS / 2, PEOPLE + EXTRAS);
        if (!(r & 2)) waitpid(pid, &status, 0), bury(0, status);
        else slay(0), D.kills++;
        stripe_is_free(held);
    } else {
        slay(0); /* it holds every stripe, or only a pool's latch */
        D.kills++;
    }
    settle(&D.v, 0);
}

static void mode_stopped(uint64_t kills) {
    uint64_t target = D.kills + kills;
    for (unsigned round = 0; D.kills < target && !load(&B->violations); round++) {
        timeout_ms = round % 4 ? 50 : TIMEOUT_MS;
        D.namespaces = round & 1;
        begin_segment(UINT64_C(4) << 20, true);
        for (unsigned i = 0; i < 5 && D.kills < target && !load(&B->violations); i++) stop_one();
        end_segment();
    }
    timeout_ms = TIMEOUT_MS;
    D.namespaces = false;
}

/* --- modes, and the sum ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(uint64_t kills);
    uint64_t kills;
} modes[] = {
    {"one PID namespace", mode_one_namespace, 3000}, {"all of them PID 1", mode_own_namespaces, 2000},
    {"registering", mode_registering, 700},          {"growing", mode_growing, 300},
    {"stopped owners", mode_stopped, 400},
};

static void print_distribution(const char *what, const uint64_t *buckets, uint64_t worst) {
    printf("%-38s", what);
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (bucket_ms[i] == UINT32_MAX) printf(" more:%llu", (ull)buckets[i]);
        else printf(" <=%u:%llu", bucket_ms[i], (ull)buckets[i]);
    }
    printf("  worst %.1f ms\n", (double)worst / 1e6);
}

/* A live owner that has no processor for so long happens on a busy machine, once in many thousand kills. A dead one
 * that counts as alive, once a kill. */
static void check_latched(uint64_t killed, uint64_t latched) {
    if (latched > 3 + killed / 300)
        violation("%llu writes met an owner too long, the last: %s", (ull)latched, B->note);
}

static void run_mode(unsigned i, uint64_t kills) {
    uint64_t from = now_ns(), killed = D.kills, wrong = load(&B->violations), stops = D.stops;
    uint64_t latched = load(&B->latched);
    mode = modes[i].name;
    modes[i].run(kills);
    check_latched(D.kills - killed, load(&B->latched) - latched);
    double seconds = (double)(now_ns() - from) / 1e9;
    bool clean = load(&B->violations) == wrong;
    printf("%-20s %6llu kills", mode, (ull)(D.kills - killed));
    if (D.stops > stops) printf(", %llu owners stopped", (ull)(D.stops - stops));
    printf(" in %.1f s: %s\n", seconds, clean ? "no violation" : "VIOLATED");
    fflush(stdout);
    D.passed += clean;
    D.failed += !clean;
}

static void cleanup(void) {
    if (getpid() == 1 || !D.folder[0]) return;
    slay_all();
}

static void on_signal(int number) {
    cleanup();
    _exit(128 + number);
}

int main(int argc, char **argv) {
    const char *only = NULL;
    const char *proof = getenv("FRIDGE_PROOF");
    uint64_t times = proof && *proof ? 10 : 1, kills = 0;
    seed = now_ns();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--full") == 0) times = 10;
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
        else if (strcmp(argv[i], "--kills") == 0 && i + 1 < argc) kills = strtoull(argv[++i], NULL, 10);
    }
    B = mmap(NULL, sizeof *B, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (B == MAP_FAILED) {
        perror("storm");
        return 2;
    }
    place_new(D.folder);
    snprintf(D.path, sizeof D.path, "%s/segment", D.folder);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    D.random = seed;
    uint64_t from = now_ns();
    for (unsigned i = 0; i < FR_COUNTOF(modes); i++) {
        if (load(&B->violations) || (only && !strstr(modes[i].name, only))) continue;
        run_mode(i, kills ? kills : modes[i].kills * times / SHARE);
    }
    printf("%llu kills in %.1f s (seed %llu): %llu at a chosen store; %llu left a latch held, "
           "%llu a commit half applied, %llu a slot half registered\n",
           (ull)D.kills, (double)(now_ns() - from) / 1e9, (ull)seed, (ull)D.self_kills,
           (ull)D.latch_held, (ull)D.half_applied, (ull)D.registering);
    printf("%llu operations of survivors, %llu refused for want of memory, %llu met a live owner too long, "
           "%llu reads Busy\n",
           (ull)B->operations, (ull)B->refused, (ull)B->latched,
           (ull)B->busy);
    print_distribution("ms on the wall", B->wall, B->worst_wall);
    print_distribution("ms without waiting for a processor", B->ours, B->worst_ours);
    printf("%llu above the limit on the wall only\n", (ull)B->slow_by_machine);
    if (B->note[0]) printf("the last that met a live owner too long: %s\n", B->note);
    for (unsigned i = 0; i < FR_COUNTOF(B->first) && B->first[i][0]; i++)
        fprintf(stderr, "VIOLATION %s\n", B->first[i]);
    cleanup();
    printf("%llu violations\n%llu passed, %llu failed\n", (ull)B->violations, (ull)D.passed,
           (ull)D.failed);
    return D.failed ? 1 : 0;
}
