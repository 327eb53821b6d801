/* lock_storm.c - kills and stops real processes that hold one lock, or stand in line for it, and compares what happens with an
 * oracle outside the segment.
 *
 * The oracle is a page that all share, written by whoever is inside the lock: who is inside, how many have been, the highest
 * fencing token, a count that is not atomic. Invariants, each checked at every entry
 * 1. Who comes in finds nobody inside, or somebody whose process is gone or on its way (PF_EXITING: its address space, and
 *    with it its claim, goes before the kernel calls it a zombie).
 * 2. The fencing token is higher than any before.
 * 3. Who was told that n stand before it sees at most n + 1 others come in before it: those, and who held the lock.
 * 4. While whoever holds the lock is stopped (SIGSTOP), inside or on its way in or out, nobody comes in, however long; when it
 *    goes on it is still the holder, and can let go.
 * 5. After the holder's death the next is inside soon: within latch-timeout + 50 ms of the time that is fridge's (people.h: without what it
 *    waited for a processor), and within a few milliseconds at the median.
 * At the end the lock is free, nobody stands in line, verify finds nothing.
 *
 * The slowest hand-overs, some 50 ms, are those of whoever was killed between its commit and the wake-up (shm/wait.h,
 * invariant 2), when the one to be woken stood far behind.
 *
 * Victims die by SIGKILL at any moment, or by themselves before a chosen store of an acquire or release (fr_hook); one, or the
 * holder together with some of its line. Modes: one PID namespace; each process in its own, where all are PID 1.
 *
 * usage: lock_storm [--seed n] [--kills n]       FRIDGE_PROOF=1: twenty times as many kills
 * Leaves out: threads, leases and semaphores (test_lock.c), Python's Lock (test_lock_storm.py), histories of all operations
 * (test_linear_locks.py).
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "people.h"
#include "place.h"
#include "store/waiting.h"

typedef unsigned long long ull; /* for printf */

#define PEOPLE 7u
#define KILLS 1200u /* a mode */
#define LIMIT_MS 250u
#define MEDIAN_MS 20u
#define STUCK_NS UINT64_C(20000000000)
#define MODE_NS UINT64_C(9000000000) /* a mode ends earlier on a busy machine, with at least ENOUGH kills */
#define ENOUGH 150u
#define ENTRIES 256u
#define HANDOVERS 16384u
#define EXITING 4u /* PF_EXITING */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHARE 4u /* of the kills: a fork costs ten times as much */
#else
#define SHARE 1u
#endif

/* --- the oracle --------------------------------------------------------------------------------------------------------- */

enum phase { RESTING, ASKING, INSIDE, LEAVING };

typedef struct person {
    pid_t pid;          /* as the driver knows it */
    uint32_t phase;
    uint64_t life, sections;
    uint32_t by_itself; /* it died at its chosen store */
} person;

typedef struct entry {
    uint64_t ns, delay; /* when; for how long it waited for a processor while it waited for the lock */
} entry;

typedef struct board {
    person person[PEOPLE];
    uint64_t inside;               /* the pid of who is, 0: nobody */
    uint64_t entered, highest, count;
    entry entry[ENTRIES];          /* of entry number i: i modulo ENTRIES */
    uint64_t violations, lives, latched, in_vain, overtaken;
    char first[5][240];
} board;

static board *B;
static const char *mode = "";

static uint64_t load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static void save(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static uint64_t count(uint64_t *p) { return __atomic_fetch_add(p, 1, __ATOMIC_RELAXED); }
static enum phase phase_of(unsigned i) { return (enum phase)__atomic_load_n(&B->person[i].phase, __ATOMIC_ACQUIRE); }
static void set_phase(unsigned i, enum phase p) { __atomic_store_n(&B->person[i].phase, p, __ATOMIC_RELEASE); }

static void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void violation(const char *format, ...) {
    va_list args;
    uint64_t n = count(&B->violations);
    if (n >= FR_COUNTOF(B->first)) return;
    va_start(args, format);
    int at = snprintf(B->first[n], sizeof B->first[n], "%s: ", mode);
    vsnprintf(B->first[n] + at, sizeof B->first[n] - (size_t)at, format, args);
    va_end(args);
}

/* Is a process gone, or on its way without return? By the driver's /proc, in whatever namespace it is. */
static bool is_gone(uint64_t pid) {
    char path[48], text[512];
    unsigned flags;
    char state;
    snprintf(path, sizeof path, "/proc/%llu/stat", (ull)pid);
    FILE *f = fopen(path, "r");
    if (!f) return true;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    const char *after_name = strrchr(text, ')');
    if (!after_name || sscanf(after_name + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2) return true;
    return state == 'Z' || state == 'X' || flags & EXITING;
}

/* The own pid as the driver's /proc has it. */
static uint64_t outer_pid(void) {
    char text[24] = "";
    return readlink("/proc/self", text, sizeof text - 1) > 0 ? strtoull(text, NULL, 10) : 0;
}

/* --- dying at a store ----------------------------------------------------------------------------------------------------- */

static struct {
    person *me;
    uint64_t left;
} doom;

/* PID 1 of a namespace cannot kill itself; ending at this instruction is the same to a segment. */
static void on_access(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    (void)ctx, (void)addr, (void)len;
    if (kind == ACCESS_LD8 || doom.left-- > 0) return;
    __atomic_store_n(&doom.me->by_itself, 1, __ATOMIC_RELEASE);
    kill(getpid(), SIGKILL);
    for (;;) syscall(SYS_exit_group, 137);
}

/* --- who wants the lock ----------------------------------------------------------------------------------------------------- */

static const span NAME = {"lock", 4};

typedef struct self {
    store *st;
    unsigned index;
    uint64_t pid, random, asked_at, delay;
    char token[TOKEN_MAX];
    lock_request request;
} self;

typedef struct ending {
    key k;
    span token;
    bool done;
} ending;

static fr_status do_release(store *st, txn *t, void *ctx) {
    ending *e = ctx;
    return lock_release(st, t, &e->k, e->token, &e->done);
}

/* Lets go; a stopped process may have the latch, so again and again. */
static void let_go(self *me) {
    fr_error err = {.text = ""};
    ending e = {.token = me->request.token};
    stripe_set set;
    fr_status status = FR_LATCHED;
    while (status == FR_LATCHED) {
        status = key_route(me->st, 0, NAME, &e.k, &err);
        stripe_set_clear(&set);
        stripe_set_add(&set, e.k.stripe);
        if (status == FR_OK) status = store_write(me->st, clock_boot_ms(), UINT64_MAX, &set, do_release, &e, &err);
        if (status == FR_LATCHED) count(&B->latched);
    }
    if (status != FR_OK) violation("releasing: status %d: %s", status, err.text);
    else if (!e.done) violation("the lock was lost while its holder lived");
}

static void come_in(self *me, uint64_t fence, uint64_t others, uint64_t ahead) {
    uint64_t before = __atomic_exchange_n(&B->inside, me->pid, __ATOMIC_ACQ_REL), highest = load(&B->highest);
    if (before && !is_gone(before)) violation("%llu and %llu are both inside", (ull)before, (ull)me->pid);
    if (fence <= highest) violation("fencing token %llu after %llu", (ull)fence, (ull)highest);
    save(&B->highest, fence);
    uint64_t number = load(&B->entered);
    if (number - others > ahead + 1) {
        count(&B->overtaken);
        violation("%llu came in before one who had %llu before it", (ull)(number - others), (ull)ahead);
    }
    uint64_t delay = run_delay() - me->delay;
    B->entry[number % ENTRIES] = (entry){now_ns(), delay};
    save(&B->entered, number + 1);
}

/* What is done inside: mostly nothing, sometimes long enough to be met there. */
static void stay(self *me) {
    uint64_t seen = B->count, r = random_next(&me->random);
    if (r % 8 == 0) pause_us((unsigned)(r >> 8) % 600);
    else if (r % 8 == 1) sched_yield();
    if (load(&B->inside) != me->pid) violation("%llu came in while %llu was inside", (ull)load(&B->inside), (ull)me->pid);
    B->person[me->index].sections++;
    save(&B->count, seen + 1);
    save(&B->inside, 0);
}

/* In line until it is granted; *others, *ahead: how many had been inside when it stood, and how many stood before it. */
static fr_status queue(self *me, lock_state *at, uint64_t *others, uint64_t *ahead, fr_error *err) {
    fr_status status = lock_try(me->st, 0, NAME, &me->request, at, err);
    *others = load(&B->entered);
    *ahead = at->ahead;
    if (status != FR_OK && status != FR_LATCHED) return status;
    if (status == FR_LATCHED) *ahead = PEOPLE; /* whether it stands in line yet is not known */
    while ((status == FR_OK && at->outcome != LOCK_GRANTED) || status == FR_LATCHED) {
        if (status == FR_LATCHED) count(&B->latched);
        status = lock_wait(me->st, 0, NAME, &me->request, clock_boot_ms() + 60000, at, err);
    }
    return status;
}

static void one_section(self *me) {
    fr_error err = {.text = ""};
    lock_state at = {.outcome = LOCK_REFUSED};
    uint64_t r = random_next(&me->random), others = 0, ahead = UINT32_MAX;
    int n = snprintf(me->token, sizeof me->token, "%u.%llu", me->index, (ull)count(&B->lives));
    me->request = (lock_request){.token = {me->token, (size_t)n}, .limit = 1, .queue = true, .owned = true};
    me->delay = run_delay();
    set_phase(me->index, ASKING);
    fr_status status;
    if (r % 8) status = queue(me, &at, &others, &ahead, &err);
    else status = lock_wait(me->st, 0, NAME, &me->request, clock_boot_ms() + (r >> 8) % 5, &at, &err); /* not for long */
    if (status == FR_LATCHED) { /* it may stand in line: out of it */
        count(&B->latched);
        at.outcome = LOCK_QUEUED;
        while (status == FR_LATCHED || (status == FR_OK && at.outcome == LOCK_QUEUED))
            status = lock_wait(me->st, 0, NAME, &me->request, 0, &at, &err);
    }
    if (status != FR_OK) violation("acquiring: status %d: %s", status, err.text);
    if (status != FR_OK || at.outcome != LOCK_GRANTED) {
        count(&B->in_vain);
        set_phase(me->index, RESTING);
        return;
    }
    come_in(me, at.fence, ahead == UINT32_MAX ? load(&B->entered) : others, ahead);
    set_phase(me->index, INSIDE);
    stay(me);
    set_phase(me->index, LEAVING);
    let_go(me);
    set_phase(me->index, RESTING);
}

static void be_person(unsigned i, store *inherited, const char *path, uint64_t r) {
    self me = {.st = inherited, .index = i, .pid = outer_pid(), .random = r};
    fr_error err = {.text = ""};
    segment_options o = {.owner = UINT32_MAX, .name = "lock storm"};
    if (r & 1 && store_open(path, &o, &me.st, NULL, &err) != FR_OK) violation("attaching: %s", err.text);
    if (r & 2) {
        doom.me = &B->person[i];
        doom.left = (r >> 8) % (UINT64_C(1) << (5 + (r >> 24) % 8));
        fr_hook = on_access;
    }
    for (;;) {
        one_section(&me);
        save(&B->person[i].life, B->person[i].life + 1);
        if (random_next(&me.random) % 4 == 0) pause_us((unsigned)(random_next(&me.random) % 200));
    }
}

/* --- the driver ------------------------------------------------------------------------------------------------------------- */

static struct {
    char folder[PLACE_MAX], path[PLACE_MAX + 16];
    store *st;
    uint64_t random;
    bool apart;
    uint64_t kills, inside, waiting, leaving, by_itself, in_stop, crowds, stops, held_stops, passed, failed;
    double handover[HANDOVERS]; /* ms that are fridge's */
    size_t handovers;
    double worst_wall;
} D;

static void spawn(unsigned i) {
    uint64_t r = random_next(&D.random);
    B->person[i] = (person){.sections = B->person[i].sections};
    pid_t pid = fork_apart(&D.apart);
    if (pid == 0) be_person(i, D.st, D.path, r);
    if (pid < 0) violation("fork: %s", strerror(errno));
    B->person[i].pid = pid;
}

static void classify(unsigned i) {
    D.kills++;
    D.by_itself += B->person[i].by_itself;
    switch (phase_of(i)) {
    case ASKING: D.waiting++; break;
    case INSIDE: D.inside++; break;
    case LEAVING: D.leaving++; break;
    default: break;
    }
}

static void bury(unsigned i, int status) {
    bool self = WIFEXITED(status) && WEXITSTATUS(status) == 137;
    if (!self && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
        violation("process %u ended by itself: status %x", i, (unsigned)status);
    classify(i);
    B->person[i].pid = 0;
}

static void slay(unsigned i) {
    int status;
    if (B->person[i].pid <= 0) return;
    kill(B->person[i].pid, SIGKILL);
    waitpid(B->person[i].pid, &status, 0);
    bury(i, status);
}

static void reap(void) {
    int status;
    for (unsigned i = 0; i < PEOPLE; i++) {
        if (B->person[i].pid > 0 && waitpid(B->person[i].pid, &status, WNOHANG) == B->person[i].pid) bury(i, status);
        if (B->person[i].pid == 0) spawn(i);
    }
}

/* Who is in a phase, beginning anywhere; PEOPLE: nobody. */
static unsigned someone(enum phase p) {
    unsigned from = (unsigned)(random_next(&D.random) % PEOPLE);
    for (unsigned n = 0; n < PEOPLE; n++) {
        unsigned i = (from + n) % PEOPLE;
        if (B->person[i].pid > 0 && phase_of(i) == p) return i;
    }
    return PEOPLE;
}

static bool await_entry(uint64_t number) {
    for (uint64_t since = now_ns(); load(&B->entered) <= number;) {
        if (load(&B->violations)) return false;
        if (now_ns() - since > STUCK_NS) {
            violation("nobody came in for %llu s", (ull)(STUCK_NS / 1000000000));
            return false;
        }
        reap();
        pause_us(50);
    }
    return true;
}

/* How long it took from the holder's death until the next was inside. */
static void measure(uint64_t killed, uint64_t number) {
    if (!await_entry(number)) return;
    entry e = B->entry[number % ENTRIES];
    if (e.ns < killed) return;
    double wall = (double)(e.ns - killed) / 1e6, delay = (double)e.delay / 1e6, ours = wall > delay ? wall - delay : 0;
    if (wall > D.worst_wall) D.worst_wall = wall;
    if (D.handovers < HANDOVERS) D.handover[D.handovers++] = ours;
    if (ours > LIMIT_MS) violation("after the holder's death the next came in %.1f ms later (%.1f on the wall)", ours, wall);
}

/* Kills the holder, if it can be met, or anybody; often with some of the line. */
static void kill_some(void) {
    uint64_t r = random_next(&D.random);
    unsigned victims[3], n = 0;
    if (r % 4 && (victims[0] = someone(INSIDE)) < PEOPLE) n = 1;
    else if ((victims[0] = someone(r & 8 ? ASKING : LEAVING)) < PEOPLE) n = 1;
    for (uint64_t more = (r >> 4) % 6; n && more < 2 && n <= 1 + more; n++) victims[n] = someone(ASKING);
    uint64_t inside = load(&B->inside), number = load(&B->entered), killed = now_ns();
    bool held = false;
    for (unsigned i = 0; i < n; i++) {
        if (victims[i] >= PEOPLE || B->person[victims[i]].pid <= 0) continue;
        held |= inside == (uint64_t)B->person[victims[i]].pid;
        kill(B->person[victims[i]].pid, SIGKILL);
        killed = now_ns();
    }
    for (unsigned i = 0; i < n; i++)
        if (victims[i] < PEOPLE) slay(victims[i]);
    D.crowds += n > 1;
    if (held) measure(killed, number);
    else await_entry(number);
}

/* --- stopped holders ------------------------------------------------------------------------------------------------------ */

typedef struct facts {
    key k;
    bool held;
    owners o;
    uint64_t expiry;
} facts;

static fr_status do_facts(store *st, txn *t, void *ctx) {
    facts *f = ctx;
    return lock_facts(st, t, &f->k, &f->held, &f->o, &f->expiry);
}

/* Whose token holds the lock, without a latch; PEOPLE: nobody's. */
static unsigned holder(char token[TOKEN_MAX + 1]) {
    static facts f;
    fr_error err = {.text = ""};
    fr_status status = key_route(D.st, 0, NAME, &f.k, &err);
    if (status == FR_OK) status = store_read(D.st, clock_boot_ms(), NULL, do_facts, &f, &err);
    if (status != FR_OK && status != FR_BUSYREAD) violation("looking: status %d: %s", status, err.text);
    if (status != FR_OK || !f.held) return PEOPLE;
    memcpy(token, f.o.entry[0].token, f.o.entry[0].token_n);
    token[f.o.entry[0].token_n] = 0;
    return (unsigned)strtoul(token, NULL, 10);
}

/* Who is stopped keeps what it has, for as long as it is stopped; then it goes on, or dies. */
static void stop_one(void) {
    char before[TOKEN_MAX + 1], after[TOKEN_MAX + 1];
    int status;
    uint64_t r = random_next(&D.random);
    unsigned i = someone(r & 3 ? INSIDE : r & 4 ? LEAVING : ASKING);
    if (i >= PEOPLE) return;
    pid_t pid = B->person[i].pid;
    kill(pid, SIGSTOP);
    if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) {
        bury(i, status); /* it died by itself before */
        return;
    }
    D.stops++;
    bool has_it = holder(before) == i; /* whoever had it before has counted itself in, and is out */
    uint64_t number = load(&B->entered);
    D.held_stops += has_it;
    pause_us(r >> 8 & 15 ? 4000 + (unsigned)(r >> 16) % 16000 : 300000); /* sometimes for longer than latch-timeout */
    if (has_it && (holder(after) != i || strcmp(before, after) != 0)) violation("a stopped holder was robbed: %s, %s", before, after);
    if (has_it && load(&B->entered) != number) violation("somebody came in while the holder was stopped");
    if (r >> 40 & 1) {
        D.in_stop++;
        slay(i);
        if (has_it) measure(now_ns(), load(&B->entered));
    } else {
        kill(pid, SIGCONT);
    }
}

/* --- a mode --------------------------------------------------------------------------------------------------------------- */

static void begin_segment(void) {
    geometry g = {.max_size = 1u << 20, .page_size = 1024, .stripes = 2, .slots = 24, .journal_records = 16, .spaces = 24,
                  .tables = 2, .notify_words = 8, .access_bytes = 64, .stat_cells = 64};
    segment_options o = {.geometry = &g, .create = true, .owner = UINT32_MAX, .name = "lock storm's driver"};
    fr_error err = {.text = ""};
    memset(B->person, 0, sizeof B->person);
    B->inside = B->entered = B->highest = B->count = 0;
    if (store_open(D.path, &o, &D.st, NULL, &err) == FR_OK) return;
    fprintf(stderr, "lock_storm: no segment: %s\n", err.text);
    exit(2);
}

/* Nobody is left: the lock is free, its line empty, the segment whole; each kill may have come between two counts. */
static void end_segment(uint64_t kills) {
    static facts f;
    verify_report report;
    fr_error err = {.text = ""};
    uint64_t sections = 0;
    char lock[96];
    for (unsigned i = 0; i < PEOPLE; i++) slay(i);
    for (unsigned i = 0; i < PEOPLE; i++) sections += B->person[i].sections;
    if (sections < B->count || sections - B->count > D.kills - kills)
        violation("%llu sections, %llu counted", (ull)sections, (ull)B->count);
    lock_request r = {.token = {"end", 3}, .limit = 1, .owned = true};
    lock_state at;
    if (lock_try(D.st, 0, NAME, &r, &at, &err) != FR_OK || at.outcome != LOCK_GRANTED || at.fence <= B->highest)
        violation("the lock of the dead is not free: %s", err.text);
    fr_status status = key_route(D.st, 0, NAME, &f.k, &err);
    if (status == FR_OK) status = store_read(D.st, clock_boot_ms(), NULL, do_facts, &f, &err);
    if (status != FR_OK || f.o.waiters) violation("%u of the dead stand in line", f.o.waiters);
    if (store_verify(D.st, false, &report, &err) != FR_OK) violation("verify: %s %s", err.text, report.first);
    store_close(D.st);
    unlink(D.path);
    snprintf(lock, sizeof lock, "%s.lock", D.path);
    unlink(lock);
}

static void run_mode(const char *name, bool apart, uint64_t kills) {
    uint64_t from = now_ns(), before = D.kills, wrong = load(&B->violations), entered;
    mode = name;
    D.apart = apart;
    begin_segment();
    for (unsigned i = 0; i < PEOPLE; i++) spawn(i);
    while (D.kills - before < kills && !load(&B->violations)) {
        if (D.kills - before >= ENOUGH && now_ns() - from > MODE_NS && !getenv("FRIDGE_PROOF")) break;
        uint64_t r = random_next(&D.random);
        entered = load(&B->entered);
        if (r % 4) await_entry(entered + (r >> 8) % 24);
        else pause_us((unsigned)(r >> 8) % 1500);
        reap();
        if (r >> 40 & 7) kill_some();
        else stop_one();
    }
    entered = load(&B->entered);
    uint64_t killed = D.kills - before;
    end_segment(before);
    bool clean = load(&B->violations) == wrong;
    printf("%-20s %6llu kills, %llu sections in %.1f s: %s\n", mode, (ull)killed, (ull)entered, (double)(now_ns() - from) / 1e9,
           clean ? "no violation" : "VIOLATED");
    fflush(stdout);
    D.passed += clean;
    D.failed += !clean;
}

/* --- */

static int by_size(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : 1; }

/* The time after a holder's death, of both modes. */
static void print_handovers(void) {
    size_t n = D.handovers;
    if (n == 0) return;
    qsort(D.handover, n, sizeof *D.handover, by_size);
    double median = D.handover[n / 2], worst = D.handover[n - 1];
    printf("ms from the holder's death until the next was inside, without waiting for a processor: median %.1f, 99%% %.1f, worst %.1f"
           " (%.1f on the wall), of %zu\n", median, D.handover[n * 99 / 100], worst, D.worst_wall, n);
    if (median > MEDIAN_MS) violation("half of the hand-overs took %.1f ms or more", median);
}

/* A storm that meets nobody shows nothing. */
static void check_met(void) {
    if (D.kills < 2 * ENOUGH || load(&B->violations)) return;
    if (D.inside < D.kills / 20 || D.waiting < D.kills / 20 || D.leaving == 0 || D.by_itself < D.kills / 20 || D.crowds == 0)
        violation("the storm met too few");
    if (D.stops < 5 || D.held_stops == 0) violation("of %llu stopped %llu had the lock: too few", (ull)D.stops, (ull)D.held_stops);
}

static void cleanup(void) {
    char lock[112];
    if (getpid() == 1 || !D.folder[0]) return;
    for (unsigned i = 0; i < PEOPLE; i++) slay(i);
    snprintf(lock, sizeof lock, "%s.lock", D.path);
    unlink(D.path);
    unlink(lock);
    rmdir(D.folder);
}

static void on_signal(int number) {
    cleanup();
    _exit(128 + number);
}

int main(int argc, char **argv) {
    const char *proof = getenv("FRIDGE_PROOF");
    uint64_t kills = (uint64_t)KILLS * (proof && *proof ? 20 : 1) / SHARE, seed = now_ns(), from = now_ns();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--kills") == 0 && i + 1 < argc) kills = strtoull(argv[++i], NULL, 10);
    }
    B = mmap(NULL, sizeof *B, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (B == MAP_FAILED) {
        perror("lock_storm");
        return 2;
    }
    place_new(D.folder);
    snprintf(D.path, sizeof D.path, "%s/segment", D.folder);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    D.random = seed;
    run_mode("one namespace", false, kills);
    run_mode("PID 1 each", true, kills);
    print_handovers();
    check_met();
    printf("%llu kills in %.1f s (seed %llu): %llu inside, %llu waiting or on their way in, %llu on their way out; %llu at a chosen"
           " store, %llu while stopped; %llu times several at once\n", (ull)D.kills, (double)(now_ns() - from) / 1e9, (ull)seed,
           (ull)D.inside, (ull)D.waiting, (ull)D.leaving, (ull)D.by_itself, (ull)D.in_stop, (ull)D.crowds);
    printf("%llu stopped, %llu of them with the lock; %llu asked in vain; %llu met a stopped owner's latch too long\n",
           (ull)D.stops, (ull)D.held_stops, (ull)B->in_vain, (ull)B->latched);
    for (unsigned i = 0; i < FR_COUNTOF(B->first) && B->first[i][0]; i++) fprintf(stderr, "VIOLATION %s\n", B->first[i]);
    cleanup();
    D.failed += load(&B->violations) && !D.failed;
    printf("%llu violations\n%llu passed, %llu failed\n", (ull)B->violations, (ull)D.passed, (ull)D.failed);
    return D.failed ? 1 : 0;
}
