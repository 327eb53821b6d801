/* test_boot.c - a file of another boot: taken over with its times moved, or set aside; by one process at a time, and
 * whole whoever is killed. Another boot is played by writing another boot id, and another offset of the wall clock, into
 * a file that nobody uses.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "full_store.h"
#include "place.h"

#define HOUR INT64_C(3600000)

static char home[PLACE_MAX], path[96];
static fr_error err;
static const segment_options creating = {.create = true, .size = 8u << 20, .owner = UINT32_MAX};
static const segment_options attaching = {.owner = UINT32_MAX};
static const segment_options reading = {.owner = UINT32_MAX, .readonly = true};

static void fresh(void) {
    place_new(home);
    snprintf(path, sizeof path, "%s/segment", home);
}

/* Names in the folder that begin with prefix; the last one in name. */
static int named(const char *prefix, char name[340]) {
    int n = 0;
    DIR *d = opendir(home);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0) continue;
        if (name) snprintf(name, 340, "%s/%s", home, e->d_name);
        n++;
    }
    closedir(d);
    return n;
}

static void clear(void) {
    char name[340];
    while (named("segment", name)) unlink(name);
    rmdir(home);
}

static store *opened(const segment_options *o) {
    store *st = NULL;
    bool made;
    fr_status status = store_open(path, o, &st, &made, &err);
    CHECK_STATUS(status, FR_OK);
    if (status == FR_OK) return st;
    fprintf(stderr, "%s\n", err.text);
    _exit(1);
}

/* The file as another boot would have left it, whose wall clock was boot clock + our offset + by. */
static void another_boot(int64_t by) {
    superblock sb;
    int fd = open(path, O_RDWR);
    CHECK(pread(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb);
    sb.boot_id[3] ^= 1;
    sb.wall_offset_ms += (uint64_t)by;
    sb.checksum = layout_checksum(&sb);
    CHECK(pwrite(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb);
    close(fd);
}

static uint64_t expiry_of(store *st, const char *name) {
    op o = {.run = do_find, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.flag ? o.at : UINT64_MAX;
}

static bool about(uint64_t have, uint64_t want) {
    if (have + 1000 > want && have < want + 1000) return true; /* what the system's clock may be stepped by meanwhile */
    fprintf(stderr, "%llu is not about %llu\n", (unsigned long long)have, (unsigned long long)want);
    return false;
}

static void write_some(uint64_t at) {
    store *st = opened(&creating);
    CHECK_STATUS(segment_register(st->s, &err), FR_OK);
    CHECK_STATUS(put(st, "string", 40, at, at - 5 * HOUR), FR_OK);
    CHECK_STATUS(put(st, "long", 60000, at, at - 5 * HOUR), FR_OK);
    CHECK_STATUS(put(st, "plain", 40, NO_EXPIRY, at - 5 * HOUR), FR_OK);
    hset(st, "hash", "field", "value");
    for (int i = 0; i < 300; i++) {
        char field[16];
        snprintf(field, sizeof field, "f%d", i);
        hset(st, "tree", field, "value");
    }
    op o = {.run = do_expire, .name = "hash", .at = at};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    o.name = "tree";
    CHECK_STATUS(write_op(st, &o), FR_OK);
    stat_add(st->s, STAT_evicted_keys, 7);
    store_close(st);
}

static void times_move_and_the_rest_stays(void) {
    fresh();
    uint64_t at = clock_boot_ms() + 10 * HOUR;
    write_some(at);
    store *st = opened(&attaching);
    uint64_t version = version_of(st, "plain"), offset = segment_super(st->s)->wall_offset_ms;
    geometry g = st->s->g;
    store_close(st);
    another_boot(-3 * HOUR);
    st = opened(&attaching);
    CHECK(!segment_other_boot(st->s) && st->aside == NULL && memcmp(&g, &st->s->g, sizeof g) == 0);
    CHECK(about(segment_super(st->s)->wall_offset_ms, offset));
    static const char *const names[] = {"string", "long", "hash", "tree"};
    for (size_t i = 0; i < FR_COUNTOF(names); i++) CHECK(about(expiry_of(st, names[i]), at - 3 * HOUR));
    CHECK(expiry_of(st, "plain") == NO_EXPIRY && version_of(st, "plain") == version);
    CHECK(hget_is(st, "hash", "field", "value") && hlen(st, "tree") == 300);
    check_sound(st);
    CHECK_STATUS(put(st, "plain", 41, NO_EXPIRY, clock_boot_ms()), FR_OK);
    CHECK(named("segment", NULL) == 2);
    store_close(st);
    clear();
}

static void what_expired_meanwhile_is_gone(void) {
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    another_boot(-11 * HOUR);
    store *st = opened(&attaching);
    op o = {.run = do_find, .name = "string"};
    CHECK_STATUS(store_read(st, clock_boot_ms(), NULL, run_op, &o, &err), FR_OK);
    CHECK(!o.flag);
    o.name = "plain";
    CHECK_STATUS(store_read(st, clock_boot_ms(), NULL, run_op, &o, &err), FR_OK);
    CHECK(o.flag);
    room_reclaim_all(st, clock_boot_ms(), clock_boot_ms() + 1000, &err);
    CHECK(!exists(st, "tree"));
    check_sound(st);
    store_close(st);
    clear();
}

/* Clocks may have been set to anything: a time before the boot clock's beginning has expired, none becomes "never". */
static void times_beyond_the_clock_stay_times(void) {
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    another_boot(INT64_MIN / 2);
    store *st = opened(&attaching);
    CHECK(!exists(st, "string") && exists(st, "plain"));
    store_close(st);
    another_boot(INT64_MAX - 10);
    st = opened(&attaching);
    CHECK(expiry_of(st, "string") > INT64_MAX / 2 && expiry_of(st, "string") <= INT64_MAX);
    store_close(st);
    another_boot(INT64_MAX - 10);
    st = opened(&attaching);
    CHECK(expiry_of(st, "string") == INT64_MAX && expiry_of(st, "plain") == NO_EXPIRY);
    check_sound(st);
    store_close(st);
    clear();
}

/* A process that the boot ended: in the table, with statistics, under a latch. */
static void what_the_dead_left_is_cleared(void) {
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    pid_t pid = fork();
    if (pid == 0) {
        store *st = opened(&attaching);
        CHECK_STATUS(segment_register(st->s, &err), FR_OK);
        stat_add(st->s, STAT_evicted_keys, 5);
        uint32_t none = 0;
        CHECK(cas4(&segment_stripe(st->s, 1)->latch, &none, st->s->me->word));
        raise(SIGKILL);
    }
    waitpid(pid, NULL, 0);
    another_boot(0);
    store *st = opened(&attaching);
    process_info info;
    CHECK(segment_process(st->s, 1, &info) == 0);
    CHECK(stat_sum(st->s, STAT_evicted_keys) == 12 && SEG_AT(st->s, st->s->l.stats, uint64_t)[STAT_evicted_keys] == 12);
    CHECK(segment_stripe(st->s, 1)->latch == 0);
    check_sound(st);
    store_close(st);
    clear();
}

static void readers_say_what_to_do(void) {
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    another_boot(0);
    store *st;
    bool made;
    CHECK_STATUS(store_open(path, &reading, &st, &made, &err), FR_READONLY);
    CHECK(strstr(err.text, "before the last boot: open it for writing once") != NULL);
    store_close(opened(&attaching));
    st = opened(&reading);
    CHECK(exists(st, "plain"));
    store_close(st);
    clear();
}

/* A count that no keys stand behind. */
static void damage(void) {
    store *st = opened(&attaching);
    space_count *counts = SEG_AT(st->s, st->s->l.counts, space_count);
    st8(&counts[segment_super(st->s)->db[0]].keys, 12345);
    store_close(st);
}

static void damaged_files_go_aside(void) {
    char name[340];
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    damage();
    another_boot(0);
    store *st;
    bool made;
    CHECK_STATUS(store_open(path, &attaching, &st, &made, &err), FR_ABSENT);
    CHECK(strstr(err.text, "no segment at") && strstr(err.text, "is now") && strstr(err.text, "segment.damaged-"));
    CHECK(named("segment.damaged-", name) == 1 && access(path, F_OK) != 0);
    CHECK(rename(name, path) == 0);
    CHECK_STATUS(store_open(path, &creating, &st, &made, &err), FR_OK);
    CHECK(made && st->aside && named("segment.damaged-", name) == 1 && strcmp(st->aside, name) == 0);
    CHECK(!exists(st, "plain"));
    CHECK_STATUS(put(st, "plain", 40, NO_EXPIRY, clock_boot_ms()), FR_OK);
    store_close(st);
    clear();
}

static void held_latches_are_damage(void) {
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    store *st = opened(&attaching);
    uint32_t none = 0;
    CHECK(cas4(&segment_stripe(st->s, 0)->latch, &none, LATCH_WORD(0, 77)));
    store_close(st);
    another_boot(0);
    bool made;
    CHECK_STATUS(store_open(path, &creating, &st, &made, &err), FR_OK);
    CHECK(made && st->aside && named("segment.damaged-", NULL) == 1);
    store_close(st);
    clear();
}

/* A commit of which the disk kept the word that says so, and not the records. */
static void unbelievable_journals_are_damage(void) {
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        store *st = opened(&attaching);
        CHECK_STATUS(segment_register(st->s, &err), FR_OK);
        stripe *one = segment_stripe(st->s, 1);
        uint32_t none = 0;
        CHECK(cas4(&one->latch, &none, st->s->me->word));
        for (int i = 0; i < 4; i++) st8(&one->journal[i].target, UINT64_MAX - 15);
        st8(&one->jstate, (ld8(&one->jstate) | 0xffff) - 0xffff + 0x10000 + 4);
        raise(SIGKILL);
    }
    waitpid(pid, NULL, 0);
    another_boot(0);
    store *st;
    bool made;
    CHECK_STATUS(store_open(path, &creating, &st, &made, &err), FR_OK);
    CHECK(made && st->aside && named("segment.damaged-", NULL) == 1);
    store_close(st);
    clear();
}

static void the_living_are_not_robbed(void) {
    int ready[2];
    char c;
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    CHECK(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        store *mine = opened(&attaching);
        CHECK_STATUS(segment_register(mine->s, &err), FR_OK);
        CHECK(write(ready[1], "x", 1) == 1);
        for (;;) pause();
    }
    CHECK(read(ready[0], &c, 1) == 1);
    another_boot(0);
    store *st;
    bool made;
    CHECK_STATUS(store_open(path, &creating, &st, &made, &err), FR_ATTACHED);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    st = opened(&attaching);
    CHECK(exists(st, "plain"));
    store_close(st);
    close(ready[0]);
    close(ready[1]);
    clear();
}

static bool wait_for(pid_t pid) {
    int status;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#define AT_ONCE 6
static void many_at_once_end_in_one_file(void) {
    for (int round = 0; round < 10; round++) {
        pid_t pids[AT_ONCE];
        fresh();
        uint64_t at = clock_boot_ms() + 10 * HOUR;
        write_some(at);
        another_boot(-2 * HOUR);
        fflush(NULL);
        for (int i = 0; i < AT_ONCE; i++) {
            if ((pids[i] = fork()) != 0) continue;
            char name[16];
            snprintf(name, sizeof name, "of%d", i);
            store *st = opened(&creating);
            CHECK(about(expiry_of(st, "string"), at - 2 * HOUR));
            CHECK_STATUS(put(st, name, 40, NO_EXPIRY, clock_boot_ms()), FR_OK);
            store_close(st);
            _exit(check_failures != 0);
        }
        for (int i = 0; i < AT_ONCE; i++) CHECK(wait_for(pids[i]));
        store *st = opened(&attaching);
        for (int i = 0; i < AT_ONCE; i++) {
            char name[16];
            snprintf(name, sizeof name, "of%d", i);
            CHECK(exists(st, name));
        }
        CHECK(named("segment", NULL) == 2);
        store_close(st);
        clear();
    }
}

static void adopt_and_die(unsigned after_us) {
    pid_t pid = fork();
    if (pid == 0) {
        store *st;
        bool made;
        store_open(path, &attaching, &st, &made, &err);
        for (;;) pause();
    }
    usleep(after_us);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* How long a process takes for it that nobody kills, fork included. */
static unsigned unharmed_us(void) {
    struct timespec from, to;
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    another_boot(0);
    fflush(NULL);
    clock_gettime(CLOCK_MONOTONIC, &from);
    pid_t pid = fork();
    if (pid == 0) {
        store_close(opened(&attaching));
        _exit(check_failures != 0);
    }
    CHECK(wait_for(pid));
    clock_gettime(CLOCK_MONOTONIC, &to);
    clear();
    return (unsigned)((to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000);
}

/* Killed at any time: whoever comes next finds the times moved once, and no second copy under any name. */
static void the_killed_leave_one_file_or_the_other(void) {
    int old = 0;
    unsigned spread = 2 * unharmed_us();
    for (unsigned round = 0; round < 200; round++) {
        superblock sb;
        fresh();
        uint64_t at = clock_boot_ms() + 10 * HOUR;
        write_some(at);
        another_boot(-2 * HOUR);
        uint8_t boot[16];
        int fd = open(path, O_RDONLY);
        CHECK(pread(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb);
        close(fd);
        memcpy(boot, sb.boot_id, 16);
        adopt_and_die(spread / 200 * round);
        fd = open(path, O_RDONLY);
        CHECK(pread(fd, &sb, sizeof sb, 0) == (ssize_t)sizeof sb && sb.checksum == layout_checksum(&sb));
        close(fd);
        old += memcmp(boot, sb.boot_id, 16) == 0;
        store *st = opened(&attaching);
        CHECK(about(expiry_of(st, "string"), at - 2 * HOUR) && about(expiry_of(st, "tree"), at - 2 * HOUR));
        CHECK(stat_sum(st->s, STAT_evicted_keys) == 7 && named("segment", NULL) == 2 && st->aside == NULL);
        check_sound(st);
        store_close(st);
        clear();
        if (check_failures) break;
    }
    printf("killed before the copy had the name: %d of 200\n", old);
    CHECK(old > 0 && old < 200);
}

static void a_full_file_system_changes_nothing(void) {
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    another_boot(0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        store *st;
        bool made;
        struct rlimit limit = {100 << 10, 100 << 10};
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK_STATUS(store_open(path, &creating, &st, &made, &err), FR_NOSPACE);
        _exit(check_failures != 0);
    }
    CHECK(wait_for(pid));
    CHECK(named("segment", NULL) == 2);
    store *st = opened(&attaching);
    CHECK(exists(st, "plain"));
    store_close(st);
    clear();
}

static void the_copy_belongs_to_the_same_user(void) {
    struct stat st;
    fresh();
    write_some(clock_boot_ms() + 10 * HOUR);
    if (geteuid() != 0) { /* only root can give files away; the mode is kept in any case */
        CHECK(chmod(path, 0400 | 0200) == 0);
    } else {
        CHECK(chown(path, 12345, 12346) == 0 && chmod(path, 0640) == 0);
        char lock[128];
        snprintf(lock, sizeof lock, "%s.lock", path);
        CHECK(chown(lock, 12345, 12346) == 0);
    }
    another_boot(0);
    segment_options o = attaching;
    if (geteuid() == 0) o.owner = 12345;
    store_close(opened(&o));
    CHECK(stat(path, &st) == 0);
    if (geteuid() == 0) CHECK(st.st_uid == 12345 && st.st_gid == 12346 && (st.st_mode & 07777) == 0640);
    else CHECK((st.st_mode & 07777) == 0600);
    clear();
}

int main(void) {
    RUN(times_move_and_the_rest_stays);
    RUN(what_expired_meanwhile_is_gone);
    RUN(times_beyond_the_clock_stay_times);
    RUN(what_the_dead_left_is_cleared);
    RUN(readers_say_what_to_do);
    RUN(damaged_files_go_aside);
    RUN(held_latches_are_damage);
    RUN(unbelievable_journals_are_damage);
    RUN(the_living_are_not_robbed);
    RUN(many_at_once_end_in_one_file);
    RUN(the_killed_leave_one_file_or_the_other);
    RUN(a_full_file_system_changes_nothing);
    RUN(the_copy_belongs_to_the_same_user);
}
