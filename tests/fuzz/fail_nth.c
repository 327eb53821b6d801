/* fail_nth.c - every call that can fail, failed: for every n the n-th malloc, mmap, madvise, open, fstat, fcntl,
 * fallocate, futex and their kin, alone and with all that follow. Then: a named error or success, nothing changed
 * unless it succeeded, nothing left behind (descriptors, mappings, files, memory), and the same done again works.
 *
 * The calls are the engine's own (ld --wrap), so what libc and the harness allocate does not fail. Two families:
 *   files     create, attach, attach read-only, first write, growth, recovery of a dead process, takeover of a file
 *             of another boot, destroy
 *   memory    every operation of tests/crash/operations.def, verification, waiting, and a session's commands
 * What needs limits of a whole process (RLIMIT_AS, RLIMIT_NOFILE, accept) is in test_lifetime.py, a full tmpfs in
 * tests/test_bad_files.py.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

void *__real_malloc(size_t n);
#define malloc(n) __real_malloc(n)
#include "../crash/script.c"
#undef malloc

#include "check.h"
#include "dump.h"
#include "place.h"
#include "wire/session.h"

#define CASES_MAX 20000

/* --- failing ------------------------------------------------------------------------------------------------------ */

static struct {
    bool armed, onwards; /* onwards: all from fail_at on */
    uint64_t calls, fail_at;
    int64_t mappings;   /* made and not given back, armed or not */
    const char *failed; /* the call that failed first */
} plan;

static uint64_t failures;

static bool fails(const char *name, int error) {
    if (!plan.armed) return false;
    plan.calls++;
    if (plan.onwards ? plan.calls < plan.fail_at : plan.calls != plan.fail_at) return false;
    if (!plan.failed) plan.failed = name;
    failures++;
    errno = error;
    return true;
}

#define WRAP(type, name, params, args, bad, error)                                                                     \
    type __real_##name params;                                                                                         \
    type __wrap_##name params;                                                                                         \
    type __wrap_##name params { return fails(#name, error) ? (bad) : __real_##name args; }

void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n) { return fails("malloc", ENOMEM) ? NULL : __real_malloc(n); }
WRAP(void *, calloc, (size_t n, size_t m), (n, m), NULL, ENOMEM)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM)
WRAP(char *, strdup, (const char *s), (s), NULL, ENOMEM)
WRAP(char *, strndup, (const char *s, size_t n), (s, n), NULL, ENOMEM)
WRAP(char *, realpath, (const char *p, char *to), (p, to), NULL, EACCES)
WRAP(int, madvise, (void *p, size_t n, int advice), (p, n, advice), -1, EINVAL)
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, EPERM)
WRAP(int, fstat, (int fd, struct stat *st), (fd, st), -1, EIO)
WRAP(int, lstat, (const char *p, struct stat *st), (p, st), -1, EACCES)
WRAP(int, mkdir, (const char *p, mode_t mode), (p, mode), -1, EACCES)
WRAP(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), -1, EIO)
WRAP(ssize_t, getrandom, (void *to, size_t n, unsigned flags), (to, n, flags), -1, ENOSYS)
WRAP(int, rename, (const char *from, const char *to), (from, to), -1, EACCES)
WRAP(int, fdatasync, (int fd), (fd), -1, EIO)
WRAP(int, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), -1, EPERM)

int __real_vasprintf(char **to, const char *format, va_list args);
int __wrap_asprintf(char **to, const char *format, ...);
int __wrap_asprintf(char **to, const char *format, ...) {
    if (fails("asprintf", ENOMEM)) return -1;
    va_list args;
    va_start(args, format);
    int n = vasprintf(to, format, args);
    va_end(args);
    return n;
}

void *__real_mmap(void *at, size_t n, int protection, int flags, int fd, off_t from);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t from);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int fd, off_t from) {
    if (fails("mmap", ENOMEM)) return MAP_FAILED;
    void *p = __real_mmap(at, n, protection, flags, fd, from);
    plan.mappings += p != MAP_FAILED && !(flags & MAP_FIXED);
    return p;
}

int __real_munmap(void *at, size_t n);
int __wrap_munmap(void *at, size_t n);
int __wrap_munmap(void *at, size_t n) {
    plan.mappings--;
    return __real_munmap(at, n);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return fails("open", EMFILE) ? -1 : __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...) {
    va_list args;
    va_start(args, what);
    void *arg = va_arg(args, void *);
    va_end(args);
    return fails("fcntl", ENOLCK) ? -1 : __real_fcntl(fd, what, arg);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...) {
    va_list a;
    long arg[6];
    const char *name = number == SYS_futex ? "futex" : number == SYS_fallocate ? "fallocate" : "a system call";
    if (fails(name, number == SYS_futex ? ENOSYS : ENOSPC)) return -1;
    va_start(a, number);
    for (int i = 0; i < 6; i++) arg[i] = va_arg(a, long);
    va_end(a);
    return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}

/* --- what may not be left behind ---------------------------------------------------------------------------------- */

static char folder[PLACE_MAX], path[PLACE_MAX + 32];

static unsigned entries(const char *of) {
    unsigned n = 0;
    DIR *dir = opendir(of);
    while (dir && readdir(dir)) n++;
    if (dir) closedir(dir);
    return n;
}

typedef struct holdings {
    unsigned fds, files;
    int64_t mappings;
} holdings;

static holdings take_stock(void) { return (holdings){entries("/proc/self/fd"), entries(folder), plan.mappings}; }

static const char *running; /* what is being tried */

static void blame(const char *what) {
    fprintf(stderr, "%s, call %llu%s (%s): %s\n", running, (unsigned long long)plan.fail_at,
            plan.onwards ? " and later" : "", plan.failed ? plan.failed : "none", what);
    check_failures++;
}

static void expect_stock(holdings before, bool files_too) {
    holdings now = take_stock();
    if (now.fds != before.fds) blame("a descriptor was left open");
    if (now.mappings != before.mappings) blame("a mapping was left behind");
    if (files_too && now.files != before.files) blame("a file was left behind");
}

/* A status that a caller may see, with words when it comes from a file. */
static void expect_named(fr_status status, const fr_error *err, bool with_text) {
    if (status >= FR_RETRY && status <= FR_RELOCK) blame("an internal status came out");
    if (status != FR_OK && with_text && !err->text[0]) blame("an error without a word");
}

static void arm(uint64_t n, bool onwards) {
    plan.armed = true;
    plan.onwards = onwards;
    plan.calls = 0;
    plan.fail_at = n;
    plan.failed = NULL;
}

static bool disarm(void) {
    plan.armed = false;
    return plan.failed != NULL;
}

/* Runs one() with the n-th call failing, until there is no n-th call; then with all from the n-th on. */
static void fail_each(const char *what, void (*one)(uint64_t n, bool onwards, bool *failed)) {
    running = what;
    for (int onwards = 0; onwards < 2; onwards++) {
        bool failed = true;
        for (uint64_t n = 1; failed && n < CASES_MAX; n++) one(n, onwards, &failed);
    }
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static segment_options creating(void) {
    return (segment_options){.size = 1 << 20, .create = true, .owner = UINT32_MAX};
}

static void one_create(uint64_t n, bool onwards, bool *failed) {
    segment_options o = creating();
    fr_error err = {.text = ""};
    holdings before = take_stock();
    segment *s;
    bool created;
    arm(n, onwards);
    fr_status status = segment_open(path, &o, &s, &created, &err);
    *failed = disarm();
    expect_named(status, &err, true);
    if (status == FR_OK) {
        segment_close(s);
        CHECK_STATUS(segment_destroy(path, &err), FR_OK);
    }
    if (onwards) { /* who cannot even lock cannot tidy up: an empty lock file may stay, and harms nobody */
        char lock[sizeof path + 8];
        snprintf(lock, sizeof lock, "%s.lock", path);
        unlink(lock);
    }
    expect_stock(before, true);
}

static void make_file(void) {
    segment_options o = creating();
    fr_error err = {.text = ""};
    bool created;
    actor a = {.now_ms = clock_boot_ms()};
    CHECK_STATUS(store_open(path, &o, &a.st, &created, &err), FR_OK);
    a.s = a.st->s;
    CHECK_STATUS(script_run(&a, "SET a hello; HSET h f v; COPEN c 5; DECLARE t 4 n int32; HSET t:a n 1"), FR_OK);
    store_close(a.st);
}

static void remove_file(void) {
    fr_error err = {.text = ""};
    CHECK_STATUS(segment_destroy(path, &err), FR_OK);
}

static void attach(uint64_t n, bool onwards, bool readonly, bool *failed) {
    segment_options o = {.owner = UINT32_MAX, .readonly = readonly};
    fr_error err = {.text = ""};
    holdings before = take_stock();
    store *st;
    bool created;
    arm(n, onwards);
    fr_status status = store_open(path, &o, &st, &created, &err);
    *failed = disarm();
    expect_named(status, &err, status != FR_NOSPACE);
    if (status == FR_OK) store_close(st);
    expect_stock(before, true);
}

static void one_attach(uint64_t n, bool onwards, bool *failed) { attach(n, onwards, false, failed); }
static void one_attach_readonly(uint64_t n, bool onwards, bool *failed) { attach(n, onwards, true, failed); }

/* One script on the file, opened before: done or not done, and done when tried again. */
static void on_file(const char *setup, const char *script, uint64_t n, bool onwards, bool *failed) {
    segment_options o = {.owner = UINT32_MAX};
    fr_error err = {.text = ""};
    holdings before = take_stock();
    digest old, now;
    bool created;
    actor a = {.now_ms = clock_boot_ms()};
    make_file();
    CHECK_STATUS(store_open(path, &o, &a.st, &created, &err), FR_OK);
    a.s = a.st->s;
    script_run(&a, setup);
    dump_rest(&a, &old, NULL);
    arm(n, onwards);
    fr_status status = script_run(&a, script);
    *failed = disarm();
    expect_named(status, &a.err, false);
    dump_rest(&a, &now, NULL);
    if (status != FR_OK && !digest_eq(old, now)) blame("it failed and changed something");
    if (status == FR_OK && digest_eq(old, now)) blame("it succeeded and changed nothing");
    if (status != FR_OK) {
        status = script_run(&a, script);
        if (status != FR_OK) blame("tried again, it failed");
    }
    store_close(a.st);
    remove_file();
    expect_stock(before, true);
}

static void one_first_write(uint64_t n, bool onwards, bool *failed) { on_file("", "SET b world", n, onwards, failed); }
static void one_growth(uint64_t n, bool onwards, bool *failed) { /* beyond the first 256 KiB */
    on_file("MSET g1 x*30000 g2 x*30000; MSET g3 x*30000 g4 x*30000; MSET g5 x*30000 g6 x*30000",
            "MSET g7 x*32000 g8 x*32000", n, onwards, failed);
}

/* A process that died under a latch, after its commit. */
static void dies(void) {
    segment_options o = {.owner = UINT32_MAX};
    fr_error err = {.text = ""};
    bool created;
    segment *s;
    txn t;
    if (segment_open(path, &o, &s, &created, &err) != FR_OK) _exit(1);
    txn_init(&t, s, &err);
    for (uint32_t i = 0; i < 1; i++) txn_begin_one(&t, clock_boot_ms(), clock_boot_ms() + 100, i);
    stripe *st = segment_stripe(s, 0);
    st8(&st->journal[0].target, s->l.latches + offsetof(stripe, stamp));
    st8(&st->journal[0].value, 42);
    st8(&st->jstate, (st->jstate & ~UINT64_C(0xffff)) + 0x10000 + 1);
    _exit(0);
}

/* A sound file of another boot: taken over, or left as it is, whatever fails; never set aside. */
static void one_takeover(uint64_t n, bool onwards, bool *failed) {
    segment_options o = {.owner = UINT32_MAX};
    fr_error err = {.text = ""};
    holdings before = take_stock();
    superblock sb;
    store *st;
    bool created;
    make_file();
    int fd = open(path, O_RDWR);
    CHECK(pread(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb);
    sb.boot_id[0] ^= 1;
    sb.checksum = layout_checksum(&sb);
    CHECK(pwrite(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb);
    close(fd);
    arm(n, onwards);
    fr_status status = store_open(path, &o, &st, &created, &err);
    *failed = disarm();
    expect_named(status, &err, status != FR_NOSPACE);
    if (status == FR_OK) store_close(st);
    if (status != FR_OK && strstr(err.text, ".damaged-")) blame("a sound file was set aside");
    CHECK_STATUS(store_open(path, &o, &st, &created, &err), FR_OK);
    if (segment_other_boot(st->s)) blame("it was not taken over when tried again");
    store_close(st);
    remove_file();
    expect_stock(before, true);
}

static void one_recovery(uint64_t n, bool onwards, bool *failed) {
    segment_options o = {.owner = UINT32_MAX};
    fr_error err = {.text = ""};
    bool created;
    store *st;
    verify_report report;
    holdings before = take_stock();
    make_file();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) dies();
    int code;
    CHECK(waitpid(pid, &code, 0) == pid && code == 0);
    CHECK_STATUS(store_open(path, &o, &st, &created, &err), FR_OK);
    arm(n, onwards);
    store_tick(st, clock_boot_ms(), 100);
    *failed = disarm();
    CHECK_STATUS(store_verify(st, false, &report, &err), FR_OK); /* takes every latch: recovers what is left */
    if (segment_stripe(st->s, 0)->stamp[0] != 42) blame("a committed record was lost");
    store_close(st);
    remove_file();
    expect_stock(before, true);
}

static void one_destroy(uint64_t n, bool onwards, bool *failed) {
    fr_error err = {.text = ""};
    holdings before = take_stock();
    make_file();
    arm(n, onwards);
    fr_status status = segment_destroy(path, &err);
    *failed = disarm();
    expect_named(status, &err, true);
    if (status != FR_OK) remove_file();
    expect_stock(before, true);
}

static void test_files(void) {
    place_new(folder);
    snprintf(path, sizeof path, "%s/segment", folder);
    fail_each("create", one_create);
    fail_each("first write", one_first_write);
    fail_each("growth", one_growth);
    fail_each("recovery", one_recovery);
    fail_each("takeover from another boot", one_takeover);
    fail_each("destroy", one_destroy);
    make_file();
    fail_each("attach", one_attach);
    fail_each("attach read-only", one_attach_readonly);
    remove_file();
    CHECK(rmdir(folder) == 0); /* empty */
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

typedef struct operation {
    const char *name, *setup, *run;
} operation;

static const operation operations[] = {
#define OPERATION(name, setup, run) {name, setup, run},
#include "../crash/operations.def"
#undef OPERATION
    {"MSET of many", "",
     "MSET a0 1 a1 2 a2 3 a3 4 a4 5 a5 6 a6 7 a7 8 a8 9 a9 10 b0 1 b1 2 b2 3 b3 4 b4 5 b5 6 b6 7 b7 8 b8 9"},
};

static const operation *present;
static segment *stage;
static uint8_t *prepared;

/* The stage as it was before the operation. */
static actor on_stage(void) {
    fr_error err;
    actor a = {.s = stage, .now_ms = FIRST_NOW};
    memcpy(stage->base, prepared, stage->g.max_size);
    stage->bound = segment_super(stage)->size;
    segment_become(stage, 1, 1);
    if (store_over(stage, &a.st, &err) != FR_OK) abort();
    return a;
}

static void leave_stage(actor *a) {
    store_catalogue_free(a->st);
    free(a->st);
}

static uint64_t now_after_setup;

static void one_operation(uint64_t n, bool onwards, bool *failed) {
    actor a = on_stage();
    digest old, now;
    verify_report report;
    fr_error err;
    bool single = !strstr(present->run, "; "); /* several commands: some may have been done */
    a.now_ms = now_after_setup;
    dump_rest(&a, &old, NULL);
    arm(n, onwards);
    fr_status status = script_run(&a, present->run);
    *failed = disarm();
    if (present->run[0] != 'C' || !strchr("ASC", present->run[1]) ||
        status != FR_RETRY) /* CADD: the caller takes the latch then */
        expect_named(status, &a.err, false);
    dump_rest(&a, &now, NULL);
    if (status != FR_OK && single && !digest_eq(old, now)) blame("it failed and changed something");
    if (store_verify(a.st, false, &report, &err) != FR_OK) blame(report.first[0] ? report.first : "verify failed");
    leave_stage(&a);
}

/* Registrations and files: see test_files. Sessions, which may lose their answer to what they have done: test_sessions. A
 * repair begins with what verification finds. */
static bool left_out(const operation *op) {
    static const char *const words[] = {"LEAVE", "FORGET", "GHOST", "SHRINK", "MISCOUNT", "RESP "};
    for (size_t i = 0; i < FR_COUNTOF(words); i++)
        if (strstr(op->setup, words[i]) || strstr(op->run, words[i])) return true;
    return false;
}

static void test_operations(void) {
    geometry g = layout_test();
    fr_error err;
    CHECK_STATUS(segment_anonymous(&g, &stage, &err), FR_OK);
    uint8_t *empty = malloc(g.max_size);
    prepared = malloc(g.max_size);
    memcpy(empty, stage->base, g.max_size);
    for (size_t i = 0; i < FR_COUNTOF(operations); i++) {
        present = &operations[i];
        if (left_out(present)) continue;
        memcpy(prepared, empty, g.max_size);
        actor a = on_stage();
        script_run(&a, present->setup);
        now_after_setup = a.now_ms;
        memcpy(prepared, stage->base, g.max_size);
        leave_stage(&a);
        fail_each(present->name, one_operation);
    }
    free(empty);
    free(prepared);
    segment_close(stage);
}

static void one_verify(uint64_t n, bool onwards, bool *failed) {
    actor a = on_stage();
    verify_report report;
    arm(n, onwards);
    fr_status status = store_verify(a.st, true, &report, &a.err);
    *failed = disarm();
    expect_named(status, &a.err, false);
    if (store_verify(a.st, false, &report, &a.err) != FR_OK) blame("a failed repair left damage");
    leave_stage(&a);
}

static void one_catalogue(uint64_t n, bool onwards, bool *failed) {
    fr_error err = {.text = ""};
    store *st;
    arm(n, onwards);
    fr_status status = store_over(stage, &st, &err);
    *failed = disarm();
    expect_named(status, &err, false);
    if (status != FR_OK) return;
    store_catalogue_free(st);
    free(st);
}

/* A live process holds the latch: the write fails after the time-out, whether or not one can sleep. */
static void one_wait(uint64_t n, bool onwards, bool *failed) {
    actor a = on_stage();
    stripe *st = segment_stripe(stage, 0);
    uint32_t me = stage->me->word;
    segment_become(stage, 3, 1); /* who holds it is in the process table */
    segment_become(stage, LATCH_SLOT(me), LATCH_GEN(me));
    segment_set_dead(stage, 3, false);
    segment_super(stage)->shared_settings[SETTING_LATCH_TIMEOUT] = 10;
    st->latch = LATCH_WORD(3, 1);
    a.now_ms = clock_boot_ms();
    arm(n, onwards);
    fr_status status = script_run(&a, "SET %0.3 v");
    *failed = disarm();
    if (status != FR_LATCHED || !a.err.text[0]) blame("a held latch is no named error");
    if (st->latch != (LATCH_WORD(3, 1) | LATCH_WAITER)) blame("the latch was taken from its owner");
    leave_stage(&a);
}

static void test_housekeeping(void) {
    geometry g = layout_test();
    g.max_size = 65536;
    fr_error err;
    CHECK_STATUS(segment_anonymous(&g, &stage, &err), FR_OK);
    prepared = malloc(g.max_size);
    memcpy(prepared, stage->base, g.max_size);
    actor a = on_stage();
    script_run(&a,
               "DECLARE t 5 n int32 note str:8; HSET t:a n 1; DECLARE u 32 n int8; FIELDS tree 12 v*12; SET a v*900");
    memcpy(prepared, stage->base, g.max_size);
    leave_stage(&a);
    fail_each("verify", one_verify);
    fail_each("the catalogue", one_catalogue);
    fail_each("waiting", one_wait);
    free(prepared);
    segment_close(stage);
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static const char *const lines[] = {
    "SET a hello\r\n", "MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8\r\n", "GET a\r\n", "MGET a b c d e f g\r\n",
    "KEYS *\r\n", "SCAN 0 COUNT 100\r\n", "HSET h f v g w\r\n", "HGETALL h\r\n", "WATCH a b\r\n",
    "MULTI\r\nSET a 1\r\nINCR a\r\nHSET h f v\r\nEXEC\r\n", "COPY a b REPLACE\r\n",
    "TABLE CREATE t CAPACITY 4 COLUMNS n int32\r\n", "COMMAND DOCS\r\n", "SET \"a b\" 'c d'\r\n",
    "SETRANGE a 5000 x\r\n", "APPEND a xyz\r\n", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nhello\r\n", "*40\r\n",
    "RANDOMKEY\r\n", "DEL a b c\r\n", "INFO\r\n", "CLIENT SETNAME x\r\n", "DELEX a IFEQ 1\r\n",
    "GET missing\r\n*2\r\n$3\r\nGE", "FLUSHALL\r\n",
};

static const char *line;

/* A session that lost a call answers, or closes; the next one over the same store works. */
static void one_line(uint64_t n, bool onwards, bool *failed) {
    static server_facts facts = {.query_limit = 1 << 20,
                                 .output_soft = 1 << 20,
                                 .output_hard = 1 << 24,
                                 .max_bulk = 1 << 20,
                                 .max_args = 1024,
                                 .command_cells = STAT_COUNT,
                                 .monitors = 1};
    actor a = on_stage();
    const char *out;
    verify_report report;
    fr_error err;
    char *copy = strdup(line); /* of its exact size */
    arm(n, onwards);
    session *ss = session_new(a.st, &facts, 7);
    if (ss) {
        feed_result r = session_feed(ss, copy, strlen(copy), FIRST_NOW, UINT64_C(1700000000000));
        if (r == FEED_PARKED) blame("parked, though nobody holds a latch");
        if (session_output(ss, &out) && memmem(out, session_output(ss, &out), "internal:", 9))
            blame("an internal status came out");
    }
    *failed = disarm();
    session_free(ss);
    if (store_verify(a.st, false, &report, &err) != FR_OK) blame(report.first[0] ? report.first : "verify failed");
    ss = session_new(a.st, &facts, 8);
    session_feed(ss, "PING\r\n", 6, FIRST_NOW, UINT64_C(1700000000000));
    size_t got = session_output(ss, &out);
    if (got != 7 || memcmp(out, "+PONG\r\n", 7)) blame("the next session does not answer");
    session_free(ss);
    free(copy);
    leave_stage(&a);
}

static void test_sessions(void) {
    geometry g = layout_test();
    g.max_size = 65536;
    fr_error err;
    CHECK_STATUS(segment_anonymous(&g, &stage, &err), FR_OK);
    prepared = malloc(g.max_size);
    memcpy(prepared, stage->base, g.max_size);
    actor a = on_stage();
    script_run(&a, "SET a 5; SET b v*90; HSET h f v; FIELDS tree 12 v*12; COPEN c 4");
    memcpy(prepared, stage->base, g.max_size);
    leave_stage(&a);
    for (size_t i = 0; i < FR_COUNTOF(lines); i++) {
        line = lines[i];
        fail_each(line, one_line);
    }
    free(prepared);
    segment_close(stage);
}

#ifdef __SANITIZE_ADDRESS__
int __lsan_do_recoverable_leak_check(void);
static void test_leaks(void) { CHECK(__lsan_do_recoverable_leak_check() == 0); }
#else
static void test_leaks(void) {}
#endif

int main(void) {
    RUN(test_files);
    RUN(test_operations);
    RUN(test_housekeeping);
    RUN(test_sessions);
    RUN(test_leaks);
    printf("%llu calls failed\n", (unsigned long long)failures);
    return 0;
}
