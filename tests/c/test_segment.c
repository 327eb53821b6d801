/* test_segment.c - the segment as a file: made, attached, refused, grown, destroyed: csrc/shm/segment.c, file.c, growth.c. Needs
 * root: chown and mount. */
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "segment_fixture.h"
#include "shm/latch.h"
#include "shm/txn.h"

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
        {set_version, true, FR_VERSION, "layout version 9, this fridge reads version 3"},
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
    RUN(destroying_is_refused_while_somebody_is_attached);
    RUN(anonymous_segments_do_as_told);
    RUN(nothing_is_leaked);
    return 0;
}
