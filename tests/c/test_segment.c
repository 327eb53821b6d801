/* test_segment.c - the segment as a file and as a meeting place of processes: csrc/shm/segment.c, file.c, growth.c,
 * liveness.c, sigbus.c.
 *
 * Processes are led by pipes, one byte a step; nothing here sleeps. Needs root: chown and mount.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "check.h"
#include "shm/latch.h"
#include "shm/liveness.h"
#include "shm/segment_private.h"
#include "shm/txn.h"

/* --- places ------------------------------------------------------------------------------------------------------- */

static char home[64];
static char path[128], lock_path[136];

static int remove_one(const char *name, const struct stat *st, int kind, struct FTW *at) {
    (void)st, (void)kind, (void)at;
    return remove(name);
}

/* Every test has a directory of its own, without anything in it. */
static void fresh(void) {
    if (home[0]) nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    strcpy(home, "/dev/shm/fridge-test-XXXXXX");
    if (!mkdtemp(home)) {
        perror("mkdtemp in /dev/shm");
        exit(1);
    }
    snprintf(path, sizeof path, "%s/segment", home);
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
}

static int entries(const char *dir) {
    char command[160];
    snprintf(command, sizeof command, "ls -A %s | wc -l", dir);
    FILE *f = popen(command, "r");
    int n = -1;
    if (!f || fscanf(f, "%d", &n) != 1) n = -1;
    if (f) pclose(f);
    return n;
}

static fr_error err;
static const segment_options creating = {.create = true, .size = 8 << 20, .owner = UINT32_MAX};
static const segment_options attaching = {.owner = UINT32_MAX};
static const segment_options reading = {.owner = UINT32_MAX, .readonly = true};

static segment *opened(const segment_options *o) {
    segment *s = NULL;
    fr_status status = segment_open(path, o, &s, NULL, &err);
    CHECK_STATUS(status, FR_OK);
    if (status == FR_OK) return s;
    fprintf(stderr, "%s\n", err.text);
    _exit(1);
}

static segment *small(void) {
    static geometry g;
    g = layout_test();
    segment_options o = creating;
    o.geometry = &g;
    return opened(&o);
}

static bool says(const char *word) {
    if (strstr(err.text, word)) return true;
    fprintf(stderr, "'%s' not in: %s\n", word, err.text);
    return false;
}

/* open fails with this status, and leaves nothing behind */
static void refused(const segment_options *o, fr_status status, const char *word) {
    segment *s = NULL;
    fr_status got = segment_open(path, o, &s, NULL, &err);
    CHECK_STATUS(got, status);
    CHECK(says(word));
    if (got == FR_OK) segment_close(s);
}

/* --- processes ---------------------------------------------------------------------------------------------------- */

typedef struct child {
    pid_t pid;
    int to, from;
} child;

static int in, out; /* a child's ends */
static int ends[64]; /* ours: a child closes them, or its siblings would never see an end of file; 0 = unused */

static void keep_end(int fd, bool keep) {
    for (size_t i = 0; i < FR_COUNTOF(ends); i++) {
        if (ends[i] != (keep ? 0 : fd)) continue;
        ends[i] = keep ? fd : 0;
        return;
    }
}

static void close_end(int fd) {
    keep_end(fd, false);
    close(fd);
}

static void step(int fd) {
    if (write(fd, "x", 1) != 1) _exit(3);
}

static bool await(int fd) {
    char c;
    ssize_t n;
    do {
        n = read(fd, &c, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

static child spawn(void (*run)(void)) {
    int down[2], up[2];
    if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC)) exit(1);
    fflush(NULL);
    child c = {fork(), down[1], up[0]};
    if (c.pid != 0) {
        close(down[0]);
        close(up[1]);
        keep_end(c.to, true);
        keep_end(c.from, true);
        return c;
    }
    close(down[1]);
    close(up[0]);
    for (size_t i = 0; i < FR_COUNTOF(ends); i++) {
        if (ends[i]) close(ends[i]);
    }
    in = down[0];
    out = up[1];
    check_failures = 0;
    run();
    _exit(check_failures != 0);
}

static int reaped(child *c) {
    int status = -1;
    close_end(c->to);
    waitpid(c->pid, &status, 0);
    close_end(c->from);
    return status;
}

static void killed(child *c) {
    kill(c->pid, SIGKILL);
    int status = reaped(c);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void ended_well(child *c) {
    int status = reaped(c);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Registers, says so, and waits to be told to end. */
static void live_until_told(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    step(out);
    await(in);
    segment_close(s);
}

static unsigned kind_in(segment *s, uint32_t slot) { return STATE_KIND(ld8(&segment_proc(s, slot)->state)); }
static uint32_t gen_in(segment *s, uint32_t slot) { return STATE_GEN(ld8(&segment_proc(s, slot)->state)); }

/* --- SIGBUS: these run first, in children that have no handler yet ------------------------------------------------ */

static sigjmp_buf back;
static void *fault_at;

static void jump_back(int sig, siginfo_t *info, void *context) {
    (void)sig, (void)context;
    fault_at = info->si_addr;
    siglongjmp(back, 1);
}

static void jump_back_plain(int sig) {
    (void)sig;
    siglongjmp(back, 2);
}

/* A mapping of a file of our own with nothing behind it. */
static volatile char *hollow(void) {
    char name[160];
    snprintf(name, sizeof name, "%s/hollow-%d", home, (int)getpid());
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    unlink(name);
    return p;
}

static void foreign_faults_reach_siginfo_handlers(void) {
    struct sigaction action = {.sa_sigaction = jump_back, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &action, NULL);
    segment *s = opened(&creating);
    volatile char *p = hollow();
    int caught = sigsetjmp(back, 1);
    if (caught == 0) (void)*p;
    CHECK(caught == 1 && fault_at == (void *)p && !s->lost);
    CHECK(truncate(path, 0) == 0);
    CHECK(sigsetjmp(back, 1) == 0); /* ours does not reach it */
    CHECK(ld8(&segment_super(s)->magic) == 0 && s->lost == 1);
    segment_close(s);
}

static void foreign_faults_reach_plain_handlers(void) {
    struct sigaction action = {.sa_handler = jump_back_plain, .sa_flags = SA_NODEFER};
    sigaction(SIGBUS, &action, NULL);
    segment *s = opened(&creating);
    volatile char *p = hollow();
    int caught = sigsetjmp(back, 1);
    if (caught == 0) (void)*p;
    CHECK(caught == 2 && !s->lost);
    caught = sigsetjmp(back, 1);
    if (caught == 0) raise(SIGBUS);
    CHECK(caught == 2);
    segment_close(s);
}

static void foreign_fault_kills(void) {
    opened(&creating);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    (void)*hollow();
}

static void sent_sigbus_kills(void) {
    opened(&creating);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    raise(SIGBUS);
}

static void opting_out_kills(void) {
    segment_options o = creating;
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    o.no_sigbus = true;
    segment *s = opened(&o);
    CHECK(truncate(path, 0) == 0);
    ld8(&segment_super(s)->magic);
}

static void handlers_of_others_get_their_faults(void) {
    void (*const cases[])(void) = {foreign_faults_reach_siginfo_handlers, foreign_faults_reach_plain_handlers};
    for (size_t i = 0; i < FR_COUNTOF(cases); i++) {
        fresh();
        child c = spawn(cases[i]);
        ended_well(&c);
    }
}

static void faults_of_others_still_kill(void) {
    void (*const cases[])(void) = {foreign_fault_kills, sent_sigbus_kills, opting_out_kills};
    for (size_t i = 0; i < FR_COUNTOF(cases); i++) {
        fresh();
        child c = spawn(cases[i]);
        int status = reaped(&c);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
}

static void truncation_under_a_mapping_is_lost_not_death(void) {
    fresh();
    segment *s = opened(&creating);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(truncate(path, 0) == 0);
    CHECK(s->lost == 0);
    st8(&segment_super(s)->wall_offset_ms, 1);
    CHECK(s->lost == 1);
    CHECK(!segment_prove(s, s->l.data + 1) && segment_grow(s, &err) != FR_OK);
    segment_close(s);
}

static void only_the_lost_segment_is_lost(void) {
    fresh();
    segment *a = opened(&creating);
    char first[128];
    strcpy(first, path);
    snprintf(path, sizeof path, "%s/other", home);
    segment *b = opened(&creating), *r = opened(&reading);
    CHECK(truncate(path, 4096) == 0);
    CHECK(ld8(SEG_AT(r, 8192, uint64_t)) == 0 && r->lost == 1);
    CHECK(ld8(&segment_super(a)->magic) == LAYOUT_MAGIC && a->lost == 0 && b->lost == 0);
    segment_close(a);
    segment_close(b);
    segment_close(r);
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static void create_then_attach(void) {
    fresh();
    segment *a = NULL, *b = NULL;
    bool made = false;
    CHECK_STATUS(segment_open(path, &attaching, &a, &made, &err), FR_ABSENT);
    CHECK(says(path) && entries(home) == 0);
    CHECK_STATUS(segment_open(path, &creating, &a, &made, &err), FR_OK);
    CHECK(made && a->g.max_size == 8 << 20 && entries(home) == 2);
    st8(&segment_super(a)->settings_version, 77);
    CHECK_STATUS(segment_open(path, &creating, &b, &made, &err), FR_OK);
    CHECK(!made && ld8(&segment_super(b)->settings_version) == 77);
    CHECK(memcmp(a->secret, b->secret, sizeof a->secret) == 0 && (a->secret[0] | a->secret[1]) != 0);
    CHECK(!segment_other_boot(b) && !segment_stale(b));
    segment_close(a);
    segment_close(b);
}

static void a_new_segment_is_formatted(void) {
    fresh();
    segment *s = small();
    superblock *sb = segment_super(s);
    uint64_t *spaces = SEG_AT(s, s->l.spaces, uint64_t);
    CHECK(sb->size == 32768 && s->g.max_size == 32768 && (s->g.max_size - s->l.data) / 512 >= 30);
    for (unsigned i = 0; i <= DB_SYSTEM; i++) {
        CHECK(sb->db[i] == i + 1 && spaces[sb->db[i]] == SPACE_MAKE(SPACE_DB, i));
    }
    CHECK(spaces[0] == 0 && spaces[18] == 0);
    CHECK(sb->shared_settings[SETTING_LATCH_TIMEOUT] == 200 && sb->shared_settings[SETTING_SAMPLES] == 5);
    CHECK(sb->shared_settings[SETTING_MAX_VALUE] == 64 << 20 && sb->shared_settings[SETTING_POLICY] == 0);
    CHECK(*SEG_AT(s, s->l.poolmap, uint64_t) == (UINT64_C(1) << s->l.data / 512) - 1);
    for (uint32_t i = 0; i < s->l.latch_count; i++) CHECK(segment_stripe(s, i)->clock == 2);
    uint64_t off = clock_wall_ms() - clock_boot_ms() - sb->wall_offset_ms;
    CHECK(off + 100 < 200);
    segment_close(s);
}

/* The library's linkat is this one: what has a name from here on must be whole. */
static unsigned links, half_made;
int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    superblock sb = {0};
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, &sb, sizeof sb, 0);
    if (fd >= 0) close(fd);
    links++;
    half_made += n != (ssize_t)sizeof sb || sb.magic != LAYOUT_MAGIC || sb.checksum != layout_checksum(&sb);
    return (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
}

static void a_file_is_whole_before_it_has_its_name(void) {
    fresh();
    links = 0;
    segment_close(opened(&creating));
    CHECK(links == 1 && half_made == 0);
}

static void modes(void) {
    fresh();
    struct stat data, lock;
    mode_t before = umask(0077);
    segment_options o = creating;
    segment *s = opened(&o);
    CHECK(stat(path, &data) == 0 && stat(lock_path, &lock) == 0);
    CHECK((data.st_mode & 07777) == 0600 && (lock.st_mode & 07777) == 0600);
    segment_close(s);
    fresh();
    o.mode = 0640;
    s = opened(&o);
    CHECK(stat(path, &data) == 0 && stat(lock_path, &lock) == 0);
    CHECK((data.st_mode & 07777) == 0640 && (lock.st_mode & 07777) == 0600);
    segment_close(s);
    fresh();
    o.mode = 0660;
    s = opened(&o);
    CHECK(stat(path, &data) == 0 && stat(lock_path, &lock) == 0);
    CHECK((data.st_mode & 07777) == 0660 && (lock.st_mode & 07777) == 0660);
    segment_close(s);
    refused(&attaching, FR_MODE, "its group can write it");
    umask(before);
}

static void the_last_directory_is_made(void) {
    fresh();
    struct stat st;
    char dir[128];
    snprintf(dir, sizeof dir, "%s/sub", home);
    snprintf(path, sizeof path, "%s/sub/segment", home);
    refused(&attaching, FR_ABSENT, "does not exist");
    segment *s = opened(&creating);
    CHECK(stat(dir, &st) == 0 && (st.st_mode & 07777) == 0700);
    segment_close(s);
    snprintf(path, sizeof path, "%s/no/such/segment", home);
    refused(&creating, FR_SYSTEM, "cannot create the directory");
    snprintf(path, sizeof path, "%s/new/segment", home);
    segment_options tiny = creating;
    tiny.size = 4096;
    refused(&tiny, FR_ARGUMENT, "1 MiB");
    CHECK(entries(home) == 1); /* the directory that was made for it is gone again */
    snprintf(path, sizeof path, "%s/", home);
    refused(&creating, FR_ARGUMENT, "does not name a file");
}

static void create_when_told(void) {
    step(out);
    await(in);
    segment *s = NULL;
    bool made = false;
    CHECK_STATUS(segment_open(path, &creating, &s, &made, &err), FR_OK);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    char answer[2] = {made ? 'c' : 'a', (char)s->me->slot};
    CHECK(write(out, answer, 2) == 2);
    await(in);
    segment_close(s);
}

static void eight_creators_make_one_segment(void) {
    for (int round = 0; round < 20; round++) {
        fresh();
        child c[8];
        int made = 0;
        unsigned slots = 0;
        for (int i = 0; i < 8; i++) c[i] = spawn(create_when_told);
        for (int i = 0; i < 8; i++) await(c[i].from);
        for (int i = 0; i < 8; i++) step(c[i].to);
        for (int i = 0; i < 8; i++) {
            char answer[2] = {0};
            CHECK(read(c[i].from, answer, 2) == 2);
            made += answer[0] == 'c';
            slots |= 1u << answer[1];
        }
        CHECK(made == 1 && slots == 0x1fe);
        for (int i = 0; i < 8; i++) ended_well(&c[i]);
        CHECK(entries(home) == 2);
    }
}

static void write_file(const void *bytes, size_t n) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    close(fd);
}

static void other_kinds_of_files_are_named(void) {
    fresh();
    char text[4096];
    memset(text, 'q', sizeof text);
    write_file(text, 0);
    refused(&creating, FR_NOTSEGMENT, "is empty");
    write_file(text, 5);
    refused(&creating, FR_NOTSEGMENT, "5 bytes of something else");
    write_file(text, sizeof text);
    refused(&creating, FR_NOTSEGMENT, "not a fridge segment");
    CHECK_STATUS(segment_destroy(path, &err), FR_NOTSEGMENT);
    CHECK(access(path, F_OK) == 0 && unlink(path) == 0);
    CHECK(mkdir(path, 0700) == 0);
    refused(&creating, FR_NOTSEGMENT, "is a directory");
    refused(&reading, FR_NOTSEGMENT, "is a directory");
    CHECK(rmdir(path) == 0 && mkfifo(path, 0600) == 0);
    refused(&creating, FR_NOTSEGMENT, "is a FIFO");
    refused(&reading, FR_NOTSEGMENT, "is a FIFO");
    CHECK(unlink(path) == 0 && symlink("/etc/passwd", path) == 0);
    refused(&creating, FR_NOTSEGMENT, "is a symbolic link");
    CHECK_STATUS(segment_destroy(path, &err), FR_NOTSEGMENT);
    CHECK(entries(home) == 1);
}

static void random_files_are_refused(void) {
    fresh();
    char bytes[16384];
    int urandom = open("/dev/urandom", O_RDONLY);
    for (int i = 0; i < 200; i++) {
        CHECK(read(urandom, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
        write_file(bytes, sizeof bytes);
        refused(&attaching, FR_NOTSEGMENT, "not a fridge segment");
    }
    close(urandom);
}

/* Changes the header of the (closed) segment at path. */
static void edit(void (*change)(superblock *), bool checksum) {
    superblock sb;
    int fd = open(path, O_RDWR);
    CHECK(pread(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb);
    change(&sb);
    if (checksum) sb.checksum = layout_checksum(&sb);
    CHECK(pwrite(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb);
    close(fd);
}

static void set_version(superblock *sb) { sb->version = 9; }
static void set_hash(superblock *sb) { sb->layout_hash ^= 1; }
static void flip_secret(superblock *sb) { sb->hash_secret[2] ^= 4; }
static void set_slots(superblock *sb) { sb->g.slots = 1u << 31; }
static void set_max(superblock *sb) { sb->g.max_size = UINT64_MAX - 511; }
static void set_size_small(superblock *sb) { sb->size = 512; }
static void set_size_odd(superblock *sb) { sb->size -= 1; }
static void set_size_large(superblock *sb) { sb->size = UINT64_C(1) << 40; }
static void set_size_beyond(superblock *sb) { sb->size = sb->g.max_size; }
static void set_boot(superblock *sb) { sb->boot_id[3] ^= 1; }

static void headers_that_lie(void) {
    static const struct {
        void (*change)(superblock *);
        bool checksum;
        fr_status status;
        const char *word;
    } cases[] = {
        {set_version, true, FR_VERSION, "layout version 9, this fridge reads version 2"},
        {set_hash, true, FR_VERSION, "other structures"},
        {flip_secret, false, FR_DAMAGED, "checksum"},
        {set_slots, true, FR_DAMAGED, "slots is 2147483648"},
        {set_max, true, FR_DAMAGED, "maximal size"},
        {set_size_small, true, FR_DAMAGED, "the header says 512 bytes"},
        {set_size_odd, true, FR_DAMAGED, "the header says"},
        {set_size_large, true, FR_DAMAGED, "the header says"},
        {set_size_beyond, true, FR_TRUNCATED, "is truncated"},
    };
    for (size_t i = 0; i < FR_COUNTOF(cases); i++) {
        fresh();
        segment_close(opened(&creating));
        edit(cases[i].change, cases[i].checksum);
        refused(&attaching, cases[i].status, cases[i].word);
        refused(&reading, cases[i].status, cases[i].word);
        CHECK_STATUS(segment_destroy(path, &err), FR_OK);
        CHECK(entries(home) == 0);
    }
}

/* One bit of any byte of the half that never changes. */
static void no_byte_of_the_header_is_beside_its_checksum(void) {
    fresh();
    segment_close(opened(&creating));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (size_t at = 0; at < offsetof(superblock, checksum) + 8; at++) {
        uint8_t byte, other;
        CHECK(pread(fd, &byte, 1, (off_t)at) == 1);
        other = byte ^ 1;
        CHECK(pwrite(fd, &other, 1, (off_t)at) == 1);
        segment *s = NULL;
        CHECK(segment_open(path, &reading, &s, NULL, &err) != FR_OK);
        if (s) segment_close(s);
        CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
    }
    close(fd);
    segment_close(opened(&attaching));
}

/* A copy that left out pages of zeros: a store to one of them would be SIGBUS on a full file system. */
static void holes_are_filled_before_anybody_stores(void) {
    struct stat st;
    fresh();
    segment_close(opened(&creating));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fstat(fd, &st) == 0);
    CHECK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, st.st_size - 65536, 65536) == 0);
    CHECK(fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size);
    segment_close(opened(&reading));
    CHECK(fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size); /* who reads only, leaves it so */
    segment_close(opened(&attaching));
    CHECK(fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
    close(fd);
}

static void truncated_files(void) {
    static const off_t lengths[] = {8, 511, 512, 1023, 1024, 4096, 100000};
    for (size_t i = 0; i < FR_COUNTOF(lengths); i++) {
        fresh();
        segment_close(opened(&creating));
        CHECK(truncate(path, lengths[i]) == 0);
        refused(&attaching, FR_TRUNCATED, "truncated");
        refused(&reading, FR_TRUNCATED, path);
    }
}

static void another_boot_is_noticed(void) {
    fresh();
    segment_close(opened(&creating));
    edit(set_boot, true);
    segment *s = opened(&attaching);
    CHECK(segment_other_boot(s));
    segment_close(s);
}

static void strangers_files_are_refused(void) {
    fresh();
    segment_close(opened(&creating));
    CHECK(chown(path, 12345, 12345) == 0);
    refused(&attaching, FR_STRANGER, "belongs to uid 12345");
    segment_options o = attaching;
    o.owner = 12345;
    segment_close(opened(&o));
    CHECK(chown(path, 0, 0) == 0 && chown(lock_path, 12345, 12345) == 0);
    refused(&attaching, FR_STRANGER, ".lock belongs to uid 12345");
    segment_close(opened(&reading)); /* a reader has no business with the lock file */
}

static void files_that_others_can_write_are_refused(void) {
    fresh();
    segment_close(opened(&creating));
    CHECK(chmod(path, 0660) == 0);
    refused(&attaching, FR_MODE, "its group can write it");
    refused(&reading, FR_MODE, "0660");
    segment_options o = attaching;
    o.mode = 0660;
    segment_close(opened(&o));
    CHECK(chmod(path, 0602) == 0);
    refused(&o, FR_MODE, "everybody can write it");
    CHECK(chmod(path, 0600) == 0 && chmod(lock_path, 0666) == 0);
    refused(&attaching, FR_MODE, ".lock has mode 0666");
}

static void hard_links_are_refused(void) {
    fresh();
    char other[160];
    segment_close(opened(&creating));
    snprintf(other, sizeof other, "%s.link", path);
    CHECK(link(path, other) == 0);
    refused(&attaching, FR_STRANGER, "2 names");
}

static void the_lock_file_belongs_to_the_segment(void) {
    fresh();
    char other[160];
    segment_close(opened(&creating));
    snprintf(other, sizeof other, "%s.moved", lock_path);
    CHECK(rename(lock_path, other) == 0);
    refused(&attaching, FR_DAMAGED, "lock file");
    int fd = open(lock_path, O_RDWR | O_CREAT | O_EXCL, 0600);
    close(fd);
    refused(&attaching, FR_DAMAGED, "is not the lock file of");
    segment_close(opened(&reading));
    CHECK(rename(other, lock_path) == 0);
    segment_close(opened(&attaching));
}

static void unprivileged(void) {
    if (setgid(12345) || setuid(12345)) _exit(2);
    refused(&attaching, FR_SYSTEM, "permission denied (uid 0, mode 0600; this process is uid 12345)");
    refused(&reading, FR_SYSTEM, "permission denied");
}

static void permission_denied_says_whose_it_is(void) {
    fresh();
    segment_close(opened(&creating));
    CHECK(chmod(home, 0755) == 0);
    child c = spawn(unprivileged);
    ended_well(&c);
}

static void readers_need_no_lock_file_and_no_slot(void) {
    fresh();
    segment_close(opened(&creating));
    CHECK(unlink(lock_path) == 0);
    segment *s = opened(&reading);
    CHECK(s->lock_fd == -1 && s->me->word == 0);
    CHECK_STATUS(segment_register(s, &err), FR_READONLY);
    CHECK_STATUS(segment_grow(s, &err), FR_READONLY);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, 0), FR_READONLY);
    CHECK(segment_alive(s, 1, 1) && segment_reap(s) == 0 && entries(home) == 1);
    CHECK(mprotect(s->base, 4096, PROT_READ | PROT_WRITE) != 0 && errno == EACCES);
    segment_close(s);
}

/* --- size --------------------------------------------------------------------------------------------------------- */

static void grows_to_its_limit_in_steps(void) {
    fresh();
    segment *s = opened(&creating), *other = opened(&attaching);
    uint64_t before = ld8(&segment_super(s)->size), bound = other->bound;
    struct stat st;
    fr_status status;
    int steps = 0;
    while ((status = segment_grow(s, &err)) == FR_OK) {
        uint64_t now = ld8(&segment_super(s)->size);
        CHECK(now > before && now - before <= 4 << 20 && now % 4096 == 0);
        CHECK(stat(path, &st) == 0 && (uint64_t)st.st_size >= now && (uint64_t)st.st_blocks * 512 >= now);
        CHECK(segment_holds(s, now - 8, 8));
        st8(SEG_AT(s, now - 8, uint64_t), now);
        before = now;
        steps++;
    }
    CHECK_STATUS(status, FR_OOM);
    CHECK(says("is full") && before == s->g.max_size && steps > 2);
    CHECK(other->bound == bound && segment_holds(other, before - 8, 8)); /* no remapping, no call */
    CHECK(ld8(SEG_AT(other, before - 8, uint64_t)) == before && !segment_holds(other, before - 8, 16));
    segment_close(s);
    segment_close(other);
}

/* Two processes grow at once: the one that comes later to say so has less to say. */
static struct {
    segment *other;
    const uint32_t *latch;
} quicker;

static void grow_twice_first(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)n;
    if (kind != ACCESS_CAS4 || addr != quicker.latch) return;
    fr_hook = NULL;
    CHECK_STATUS(segment_grow(quicker.other, &err), FR_OK);
    CHECK_STATUS(segment_grow(quicker.other, &err), FR_OK);
}

static void the_slower_of_two_growers_takes_nothing_back(void) {
    fresh();
    segment *s = opened(&creating);
    quicker.other = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK_STATUS(segment_register(quicker.other, &err), FR_OK);
    uint64_t before = ld8(&segment_super(s)->size);
    quicker.latch = &segment_stripe(s, segment_pool_latch(s))->latch;
    fr_hook = grow_twice_first;
    CHECK_STATUS(segment_grow(s, &err), FR_OK);
    fr_hook = NULL;
    uint64_t after = ld8(&segment_super(s)->size), step = s->g.max_size / 16;
    CHECK(after > before + step); /* both steps of the other */
    segment_close(quicker.other);
    segment_close(s);
}

static void proof_does_not_believe_the_header(void) {
    fresh();
    segment *s = opened(&creating);
    st8(&segment_super(s)->size, s->g.max_size); /* a lie: nothing is there */
    CHECK(!segment_holds(s, s->g.max_size - 8, 8) && !s->lost);
    st8(&segment_super(s)->size, UINT64_MAX);
    CHECK(!segment_holds(s, s->g.max_size - 8, 8) && !segment_holds(s, s->g.max_size, 8) && !s->lost);
    CHECK(!segment_holds(s, UINT64_MAX - 3, 8) && !segment_holds(s, 64, 8));
    segment_close(s);
}

static void preallocation_takes_everything(void) {
    fresh();
    struct stat st;
    segment_options o = creating;
    o.prealloc = true;
    segment *s = opened(&o);
    CHECK(stat(path, &st) == 0 && (uint64_t)st.st_blocks * 512 >= s->g.max_size);
    CHECK(ld8(&segment_super(s)->size) == s->g.max_size);
    segment_close(s);
}

static void mounted(const char *size) {
    char dir[100], options[40];
    fresh();
    snprintf(dir, sizeof dir, "%s/mnt", home);
    snprintf(options, sizeof options, "size=%s,mode=0700", size);
    if (mkdir(dir, 0700) || mount("tmpfs", dir, "tmpfs", 0, options)) {
        fprintf(stderr, "cannot mount a tmpfs on %s (%s): run as root with CAP_SYS_ADMIN\n", dir, strerror(errno));
        exit(1);
    }
    snprintf(path, sizeof path, "%s/segment", dir);
}

static void unmounted(void) {
    char dir[100];
    snprintf(dir, sizeof dir, "%s/mnt", home);
    CHECK(umount(dir) == 0);
}

static void a_full_file_system_is_an_error(void) {
    char text[300], filler[160];
    mounted("4m");
    CHECK(segment_size_warning(path, 64 << 20, text, sizeof text) && strstr(text, "may grow to 64 MiB"));
    CHECK(!segment_size_warning(path, 1 << 20, text, sizeof text) && text[0] == 0);
    segment_options o = creating;
    o.size = 64 << 20;
    o.prealloc = true;
    refused(&o, FR_NOSPACE, "the file system has");
    snprintf(filler, sizeof filler, "%s/mnt", home);
    CHECK(entries(filler) == 0);
    o.prealloc = false;
    segment *s = opened(&o);
    fr_status status;
    while ((status = segment_grow(s, &err)) == FR_OK) {
    }
    CHECK_STATUS(status, FR_NOSPACE);
    CHECK(says("the file system has") && !s->lost);
    uint64_t size = ld8(&segment_super(s)->size);
    for (uint64_t at = s->l.data; at < size; at += 4096) st8(SEG_AT(s, at, uint64_t), 1);
    CHECK(!s->lost && size > 3 << 20); /* every byte below size is really there, and nearly all was used */
    segment_close(s);
    unmounted();
}

static void creation_that_does_not_fit_leaves_nothing(void) {
    char dir[100];
    mounted("128k");
    segment_options o = creating;
    o.size = 64 << 20;
    refused(&o, FR_NOSPACE, "cannot grow to");
    snprintf(dir, sizeof dir, "%s/mnt", home);
    CHECK(entries(dir) == 0);
    unmounted();
}

static void narrow_address_space(void) {
    segment_options o = creating;
    unsigned long pages = 0; /* in use now: some 20 TiB under a sanitizer */
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%lu", &pages) == 1);
    fclose(f);
    rlim_t bytes = (rlim_t)pages * system_page() + (256 << 20);
    setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
    o.size = UINT64_C(4) << 30;
    refused(&o, FR_NOSPACE, "RLIMIT_AS");
    CHECK(access(path, F_OK) != 0 && access(lock_path, F_OK) != 0);
}

static void narrow_file_size(void) {
    struct rlimit limit = {64 << 10, 64 << 10};
    setrlimit(RLIMIT_FSIZE, &limit);
    refused(&creating, FR_NOSPACE, "RLIMIT_FSIZE");
    CHECK(access(path, F_OK) != 0);
}

static void resource_limits_are_named(void) {
    fresh();
    child c = spawn(narrow_address_space);
    ended_well(&c);
    c = spawn(narrow_file_size);
    ended_well(&c);
}

static void default_geometries_are_sane(void) {
    for (uint64_t size = 1 << 20; size <= UINT64_C(64) << 30; size *= 2) {
        geometry g = layout_default(size);
        layout l;
        CHECK_STATUS(layout_compute(&g, &l, &err), FR_OK);
        CHECK(l.data * 4 <= size && g.max_size == size && g.slots >= 16 && g.stat_cells >= STAT_COUNT);
        CHECK(l.procs % 64 == 0 && l.latches % 64 == 0 && l.poolmap % 64 == 0 && l.data % g.page_size == 0);
    }
    geometry g = layout_default(UINT64_C(256) << 20);
    CHECK(g.stripes == 64 && g.slots == 256 && g.spaces == 1024 && g.access_bytes == 1 << 20);
}

/* --- who is alive ------------------------------------------------------------------------------------------------- */

static void registering_takes_a_slot(void) {
    fresh();
    segment_options o = creating;
    o.name = "tester";
    segment *s = opened(&o);
    process_info info;
    stat_add(s, STAT_keyspace_hits, 3); /* before there is a row */
    CHECK(s->me->word == 0 && segment_process(s, 1, &info) == 0);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    uint32_t word = s->me->word;
    CHECK(s->me->slot == 1 && word == LATCH_WORD(1, 1) && s->beacon_pinned);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word == word && segment_alive(s, 1, 1) && !segment_alive(s, 1, 2));
    CHECK(stat_sum(s, STAT_keyspace_hits) == 3);
    CHECK(segment_process(s, 1, &info) == 1 && info.self && info.alive && info.pid == (uint64_t)getpid());
    CHECK(strcmp(info.name, "tester") == 0 && info.gen == 1 && info.start_time > 0 && info.pidns > 0 && info.host[0]);
    CHECK(segment_process(s, 2, &info) == 0);
    segment_close(s);
}

static void two_handles_are_two_slots(void) {
    fresh();
    segment *a = opened(&creating), *b = opened(&attaching);
    CHECK_STATUS(segment_register(a, &err), FR_OK);
    CHECK_STATUS(segment_register(b, &err), FR_OK);
    CHECK(a->me->slot == 1 && b->me->slot == 2 && segment_alive(b, 1, 1) && segment_alive(a, 2, 1));
    segment_close(b);
    CHECK(!segment_alive(a, 2, 1));
    segment_close(a);
}

static void a_killed_process_reads_dead(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    CHECK(segment_alive(s, 1, 1));
    killed(&c);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static void a_stopped_process_reads_alive(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    kill(c.pid, SIGSTOP);
    waitpid(c.pid, NULL, WUNTRACED);
    CHECK(segment_alive(s, 1, 1));
    CHECK_STATUS(segment_recover_slot(s, 1, 1, 0), FR_LATCHED);
    CHECK(segment_reap(s) == 0 && gen_in(s, 1) == 1 && kind_in(s, 1) == STATE_ATTACHED);
    killed(&c);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static segment *inherited;

/* In a fork's child: not registered, and a slot of its own. */
static void check_child_of_fork(segment *s) {
    CHECK(s->me->word == 0 && s->stats == s->priv->idle_stats);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word != 0 && s->me->slot != 1);
}

static void register_and_fork(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->slot == 1);
    if (fork() == 0) {
        check_child_of_fork(s);
        step(out);
        await(in);
        _exit(0);
    }
    await(in);
}

static void a_forks_child_does_not_pass_for_its_parent(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(register_and_fork);
    await(c.from);
    CHECK(segment_alive(s, 1, 1) && segment_alive(s, 2, 1));
    kill(c.pid, SIGKILL);
    waitpid(c.pid, NULL, 0);
    CHECK(!segment_alive(s, 1, 1)); /* though the child lives, with every descriptor it inherited */
    CHECK(segment_alive(s, 2, 1));
    close_end(c.to);
    CHECK(!await(c.from)); /* it has ended */
    close_end(c.from);
    segment_close(s);
}

static void a_raw_clone_is_nobody(void) {
    fresh();
    segment *s = opened(&creating);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        uint32_t word = s->me->word;
        bool registered = segment_register(s, &err) == FR_OK;
        _exit(word == 0 && registered && s->me->slot == 2 ? 0 : 1);
    }
    int status = -1;
    waitpid((pid_t)pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && s->me->slot == 1);
    CHECK(segment_alive(s, 1, 1) && !segment_alive(s, 2, 1));
    segment_close(s);
}

static void close_inherited(void) {
    segment_close(inherited);
    step(out);
}

static void closing_in_a_child_leaves_the_parent_alone(void) {
    fresh();
    inherited = opened(&creating);
    CHECK_STATUS(segment_register(inherited, &err), FR_OK);
    child c = spawn(close_inherited);
    ended_well(&c);
    segment *s = opened(&attaching);
    CHECK(segment_alive(s, 1, 1) && kind_in(s, 1) == STATE_ATTACHED);
    segment_close(s);
    segment_close(inherited);
}

static void close_everything(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    for (int fd = 3; fd < 1024; fd++) {
        if (fd != in && fd != out) close(fd);
    }
    for (int fd = 3; fd < 12; fd++) {
        if (fd != in && fd != out) dup2(0, fd); /* what other code opens next */
    }
    step(out);
    await(in);
    CHECK_STATUS(segment_grow(s, &err), FR_OK);
    CHECK(segment_alive(s, 1, 1) && segment_alive(s, 2, 1) && !segment_alive(s, 3, 1));
    step(out);
    await(in);
}

static void closerange_kills_nobody(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(close_everything);
    await(c.from);
    child second = spawn(live_until_told), third;
    await(second.from);
    third = spawn(live_until_told);
    await(third.from);
    killed(&third);
    CHECK(segment_alive(s, 1, 1) && segment_alive(s, 2, 1));
    uint64_t size = ld8(&segment_super(s)->size);
    step(c.to);
    CHECK(await(c.from) && ld8(&segment_super(s)->size) > size && segment_alive(s, 1, 1));
    ended_well(&second);
    ended_well(&c);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static void exec_cat(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    step(out);
    await(in);
    dup2(in, 0);
    dup2(out, 1);
    execl("/bin/sh", "sh", "-c", "echo; read never", (char *)NULL);
    _exit(4);
}

static void exec_gives_up_the_slot(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(exec_cat);
    await(c.from);
    CHECK(segment_alive(s, 1, 1));
    step(c.to);
    CHECK(await(c.from)); /* the new program speaks */
    CHECK(!segment_alive(s, 1, 1));
    reaped(&c);
    segment_close(s);
}

static void take_latch_and_wait(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    stat_add(s, STAT_evicted_keys, 5);
    CHECK_STATUS(latch_take(s, 0, 0, &err), FR_OK);
    CHECK_STATUS(latch_take(s, segment_pool_latch(s), 0, &err), FR_OK);
    step(out);
    await(in);
}

static void the_dead_are_recovered_by_another_process(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->slot == 2);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 5), FR_LATCHED);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == LATCH_WORD(1, 1));
    killed(&c);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 200), FR_OK);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == 0 && ld4(&segment_stripe(s, segment_pool_latch(s))->latch) == 0);
    CHECK(kind_in(s, 1) == STATE_FREE && gen_in(s, 1) == 1);
    CHECK(*(SEG_AT(s, s->l.stats, uint64_t) + STAT_evicted_keys) == 5 && stat_sum(s, STAT_evicted_keys) == 5);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, 0), FR_OK);
    CHECK(stat_sum(s, STAT_evicted_keys) == 5 && stat_sum(s, STAT_deaths_recovered) == 1);
    segment_close(s);
}

/* Everything that a probe needs is gone: nobody knows, so nobody is dead. */
static void a_probe_that_cannot_tell_says_alive(void) {
    char away[160];
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    snprintf(away, sizeof away, "%s.away", lock_path);
    CHECK(rename(lock_path, away) == 0);
    close(s->lock_fd);
    CHECK(segment_alive(s, 1, 1));
    killed(&c);
    CHECK(segment_alive(s, 1, 1));
    CHECK(rename(away, lock_path) == 0);
    CHECK(!segment_alive(s, 1, 1));
    segment_close(s);
}

static void one_recovers_at_a_time(void) {
    pin other;
    fresh();
    segment *s = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    killed(&c);
    uint64_t dev = s->priv->lock_dev, ino = s->priv->lock_ino;
    CHECK(pin_take(lock_path, dev, ino, BYTE_RECOVER + 1, 0, 1, true, &other) == 0);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 20), FR_LATCHED);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == LATCH_WORD(1, 1));
    pin_release(&other);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 200), FR_OK);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == 0);
    segment_close(s);
}

static void recovery_under_a_latch_leaves_the_folding_for_later(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    killed(&c);
    CHECK_STATUS(latch_take(s, 0, 0, &err), FR_OK);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 200), FR_OK);
    CHECK(kind_in(s, 1) == STATE_FOLDING && ld4(&segment_stripe(s, 0)->latch) == s->me->word);
    latch_drop(s, 0);
    CHECK(segment_reap(s) == 0 && kind_in(s, 1) == STATE_FREE); /* folded, not counted as a death again */
    segment_close(s);
}

static void a_waiter_recovers_the_owner(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK_STATUS(latch_take(s, 0, clock_boot_ms() + 5, &err), FR_LATCHED);
    killed(&c);
    CHECK_STATUS(latch_take(s, 0, clock_boot_ms() + 2000, &err), FR_OK);
    latch_drop(s, 0);
    segment_close(s);
}

static void a_reused_slot_has_a_new_generation(void) {
    fresh();
    segment *s = opened(&creating);
    for (uint32_t life = 1; life <= 5; life++) {
        child c = spawn(take_latch_and_wait);
        await(c.from);
        CHECK(gen_in(s, 1) == life && kind_in(s, 1) == STATE_ATTACHED && segment_alive(s, 1, life));
        CHECK(life == 1 || !segment_alive(s, 1, life - 1));
        killed(&c); /* the next registrant recovers it before it steps the generation */
    }
    CHECK(segment_reap(s) == 1 && s->me->word == LATCH_WORD(1, 6)); /* the reaper needs a slot, and takes that one */
    CHECK(stat_sum(s, STAT_evicted_keys) == 25 && ld4(&segment_stripe(s, 0)->latch) == 0);
    segment_close(s);
}

static void generations_wrap_past_zero(void) {
    fresh();
    segment *s = opened(&creating);
    st8(&segment_proc(s, 1)->state, STATE_MAKE((1u << 19) - 1, STATE_FREE));
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word == LATCH_WORD(1, 1));
    segment_close(s);
}

static void slots_run_out_with_an_error(void) {
    fresh();
    segment *s = small();
    child c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = spawn(live_until_told);
        await(c[i].from);
    }
    CHECK_STATUS(segment_register(s, &err), FR_NOSLOT);
    CHECK(says("all 3 process slots"));
    killed(&c[1]);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word == LATCH_WORD(2, 2));
    ended_well(&c[0]);
    ended_well(&c[2]);
    segment_close(s);
}

static int kill_at, stores;

static void die_at(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)addr, (void)n;
    if ((kind == ACCESS_ST8 || kind == ACCESS_CAS4) && ++stores == kill_at) kill(getpid(), SIGKILL);
}

static void register_and_die(void) {
    segment *s = opened(&attaching);
    fr_hook = die_at;
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    fr_hook = NULL;
}

static void reap_and_die(void) {
    segment *s = opened(&attaching);
    fr_hook = die_at;
    segment_reap(s);
    fr_hook = NULL;
}

static segment *watcher;
static unsigned listings;

/* The slot's last owner left its name behind; who registers over it is listed whole or not at all. */
static void list_at_each_store(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)addr, (void)n;
    process_info info;
    if (kind != ACCESS_ST8 && kind != ACCESS_CAS4) return;
    fr_hook = NULL;
    if (segment_process(watcher, 1, &info) == 1) {
        listings++;
        CHECK(info.gen == 2 && strcmp(info.name, "second") == 0 && info.start_time > 0);
    }
    fr_hook = list_at_each_store;
}

static void a_half_registered_process_is_not_listed(void) {
    fresh();
    segment_options first = creating, second = attaching;
    first.name = "first one here";
    second.name = "second";
    segment *s = opened(&first);
    watcher = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    stat_add(s, STAT_keyspace_hits, 3);
    segment_close(s);
    s = opened(&second);
    listings = 0;
    fr_hook = list_at_each_store;
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    fr_hook = NULL;
    CHECK(s->me->word == LATCH_WORD(1, 2) && listings > 0);
    segment_close(s);
    segment_close(watcher);
}

static unsigned looks;

/* Whoever died has been seen to be dead, and stays it: a lock of his must not be held again for a moment. */
static void probe_at_each_access(void *ctx, enum access_kind kind, const void *addr, size_t n) {
    (void)ctx, (void)kind, (void)addr, (void)n;
    fr_hook = NULL;
    looks++;
    CHECK(!segment_alive(watcher, 1, 1));
    fr_hook = probe_at_each_access;
}

static void a_registrant_makes_nobody_alive(void) {
    fresh();
    watcher = opened(&creating);
    child c = spawn(take_latch_and_wait);
    await(c.from);
    CHECK(segment_alive(watcher, 1, 1));
    killed(&c);
    segment *s = opened(&attaching);
    looks = 0;
    fr_hook = probe_at_each_access;
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    fr_hook = NULL;
    CHECK(s->me->word == LATCH_WORD(1, 2) && looks > 20);
    segment_close(s);
    segment_close(watcher);
}

/* Kills the second process at every store it makes after a first one died holding latches; then everything heals. */
static int enumerate_deaths(void (*run)(void)) {
    for (kill_at = 1;; kill_at++) {
        fresh();
        stores = 0;
        segment *s = opened(&creating);
        child c = spawn(take_latch_and_wait);
        await(c.from);
        killed(&c);
        c = spawn(run);
        int status = reaped(&c);
        CHECK_STATUS(segment_register(s, &err), FR_OK);
        segment_reap(s);
        for (uint32_t slot = 1; slot < s->g.slots; slot++) {
            CHECK(kind_in(s, slot) == (slot == s->me->slot ? STATE_ATTACHED : STATE_FREE));
        }
        CHECK(stat_sum(s, STAT_evicted_keys) == 5);
        for (uint32_t i = 0; i < s->l.latch_count; i++) CHECK(ld4(&segment_stripe(s, i)->latch) == 0);
        segment_close(s);
        if (WIFEXITED(status)) return kill_at;
    }
}

static void death_anywhere_in_registration_heals(void) { CHECK(enumerate_deaths(register_and_die) > 15); }
static void death_anywhere_in_recovery_heals(void) { CHECK(enumerate_deaths(reap_and_die) > 15); }

static void kill_oneself_while_others_register(void) {
    segment *s = opened(&attaching);
    step(out);
    await(in);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK_STATUS(latch_take(s, 0, clock_boot_ms() + 5000, &err), FR_OK);
    kill(getpid(), SIGKILL);
}

static void registrants_and_deaths_at_once(void) {
    fresh();
    segment *s = opened(&creating);
    for (int round = 0; round < 20; round++) {
        child c[6];
        for (int i = 0; i < 6; i++) c[i] = spawn(kill_oneself_while_others_register);
        for (int i = 0; i < 6; i++) await(c[i].from);
        for (int i = 0; i < 6; i++) step(c[i].to);
        for (int i = 0; i < 6; i++) {
            int status = reaped(&c[i]);
            CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
    }
    segment_reap(s);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == 0);
    for (uint32_t slot = 1; slot < s->g.slots; slot++) CHECK(slot == s->me->slot || kind_in(s, slot) == STATE_FREE);
    segment_close(s);
}

static void closing_folds_later(void) {
    fresh();
    segment *a = opened(&creating), *b = opened(&attaching);
    CHECK_STATUS(segment_register(a, &err), FR_OK);
    stat_add(a, STAT_keyspace_misses, 9);
    segment_close(a);
    CHECK(kind_in(b, 1) == STATE_FOLDING && stat_sum(b, STAT_keyspace_misses) == 9);
    CHECK_STATUS(segment_register(b, &err), FR_OK);
    CHECK(b->me->word == LATCH_WORD(1, 2) && stat_sum(b, STAT_keyspace_misses) == 9);
    CHECK(stat_sum(b, STAT_deaths_recovered) == 0);
    segment_close(b);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void destroying_is_refused_while_somebody_is_attached(void) {
    fresh();
    segment *s = opened(&creating);
    child c = spawn(live_until_told);
    await(c.from);
    CHECK_STATUS(segment_destroy(path, &err), FR_ATTACHED);
    char pid[24];
    snprintf(pid, sizeof pid, "process %d", (int)c.pid);
    CHECK(says(pid) && !segment_stale(s) && entries(home) == 2);
    killed(&c);
    CHECK_STATUS(segment_destroy(path, &err), FR_OK);
    CHECK(entries(home) == 0 && segment_stale(s));
    CHECK(segment_grow(s, &err) != FR_OK); /* no new life in a segment without a name */
    CHECK_STATUS(segment_destroy(path, &err), FR_ABSENT);
    segment *again = opened(&creating);
    CHECK(segment_stale(s) && !segment_stale(again));
    segment_close(again);
    segment_close(s);
}

static void anonymous_segments_do_as_told(void) {
    geometry g = layout_test();
    segment *s = NULL;
    CHECK_STATUS(segment_anonymous(&g, &s, &err), FR_OK);
    CHECK(ld8(&segment_super(s)->size) == g.max_size && s->bound == g.max_size && !segment_stale(s));
    CHECK(!segment_alive(s, 1, 1)); /* nobody has come yet */
    segment_become(s, 1, 1);
    segment_become(s, 2, 7);
    CHECK(s->me->word == LATCH_WORD(2, 7) && segment_alive(s, 2, 7) && segment_alive(s, 1, 1) && !segment_alive(s, 1, 2));
    CHECK_STATUS(latch_take(s, 0, 0, &err), FR_OK);
    stat_add(s, 1, 4);
    segment_become(s, 1, 1);
    segment_set_dead(s, 2, true);
    CHECK(!segment_alive(s, 2, 7));
    CHECK_STATUS(segment_recover_slot(s, 2, 7, 0), FR_OK);
    CHECK(ld4(&segment_stripe(s, 0)->latch) == 0 && stat_sum(s, 1) == 4 && kind_in(s, 2) == STATE_FREE);
    CHECK_STATUS(segment_grow(s, &err), FR_OOM);
    segment_close(s);
    CHECK_STATUS(segment_anonymous(&g, &s, &err), FR_OK);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(s->me->word == LATCH_WORD(1, 1));
    segment_close(s);
    g.stripes = 3;
    CHECK_STATUS(segment_anonymous(&g, &s, &err), FR_ARGUMENT);
    CHECK(says("stripes is 3"));
}

static int open_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static int mappings(void) {
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];
    int n = 0;
    while (f && fgets(line, sizeof line, f)) n += strstr(line, "fridge-test") != NULL;
    if (f) fclose(f);
    return n;
}

static void nothing_is_leaked(void) {
    fresh();
    segment_close(opened(&creating));
    int before = open_descriptors();
    for (int i = 0; i < 50; i++) {
        segment *s = opened(&attaching);
        CHECK_STATUS(segment_register(s, &err), FR_OK);
        CHECK_STATUS(segment_destroy(path, &err), FR_ATTACHED);
        segment_close(s);
    }
    edit(set_hash, true);
    for (int i = 0; i < 50; i++) refused(&attaching, FR_VERSION, "structures");
    CHECK(open_descriptors() == before && mappings() == 0);
}

int main(void) {
    signal(SIGBUS, SIG_DFL); /* a sanitizer's handler would be the one that ours chains to */
    RUN(handlers_of_others_get_their_faults);
    RUN(faults_of_others_still_kill);
    RUN(truncation_under_a_mapping_is_lost_not_death);
    RUN(only_the_lost_segment_is_lost);
    RUN(create_then_attach);
    RUN(a_new_segment_is_formatted);
    RUN(a_file_is_whole_before_it_has_its_name);
    RUN(modes);
    RUN(the_last_directory_is_made);
    RUN(eight_creators_make_one_segment);
    RUN(other_kinds_of_files_are_named);
    RUN(random_files_are_refused);
    RUN(headers_that_lie);
    RUN(no_byte_of_the_header_is_beside_its_checksum);
    RUN(holes_are_filled_before_anybody_stores);
    RUN(truncated_files);
    RUN(another_boot_is_noticed);
    RUN(strangers_files_are_refused);
    RUN(files_that_others_can_write_are_refused);
    RUN(hard_links_are_refused);
    RUN(the_lock_file_belongs_to_the_segment);
    RUN(permission_denied_says_whose_it_is);
    RUN(readers_need_no_lock_file_and_no_slot);
    RUN(grows_to_its_limit_in_steps);
    RUN(the_slower_of_two_growers_takes_nothing_back);
    RUN(proof_does_not_believe_the_header);
    RUN(preallocation_takes_everything);
    RUN(a_full_file_system_is_an_error);
    RUN(creation_that_does_not_fit_leaves_nothing);
    RUN(resource_limits_are_named);
    RUN(default_geometries_are_sane);
    RUN(registering_takes_a_slot);
    RUN(a_half_registered_process_is_not_listed);
    RUN(a_registrant_makes_nobody_alive);
    RUN(two_handles_are_two_slots);
    RUN(a_killed_process_reads_dead);
    RUN(a_stopped_process_reads_alive);
    RUN(a_forks_child_does_not_pass_for_its_parent);
    RUN(a_raw_clone_is_nobody);
    RUN(closing_in_a_child_leaves_the_parent_alone);
    RUN(closerange_kills_nobody);
    RUN(exec_gives_up_the_slot);
    RUN(the_dead_are_recovered_by_another_process);
    RUN(a_probe_that_cannot_tell_says_alive);
    RUN(one_recovers_at_a_time);
    RUN(recovery_under_a_latch_leaves_the_folding_for_later);
    RUN(a_waiter_recovers_the_owner);
    RUN(a_reused_slot_has_a_new_generation);
    RUN(generations_wrap_past_zero);
    RUN(slots_run_out_with_an_error);
    RUN(death_anywhere_in_registration_heals);
    RUN(death_anywhere_in_recovery_heals);
    RUN(registrants_and_deaths_at_once);
    RUN(closing_folds_later);
    RUN(destroying_is_refused_while_somebody_is_attached);
    RUN(anonymous_segments_do_as_told);
    RUN(nothing_is_leaked);
    nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
