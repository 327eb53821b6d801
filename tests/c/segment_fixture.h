/* segment_fixture.h - a directory for a segment of its own, and processes that are led by pipes, one byte a step: what the
 * tests of csrc/shm/segment.h share. Nothing here sleeps.
 */
#ifndef FRIDGE_SEGMENT_FIXTURE_H
#define FRIDGE_SEGMENT_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"
#include "place.h"
#include "shm/segment_private.h"

/* --- places ------------------------------------------------------------------------------------------------------- */

static char home[PLACE_MAX];
static char path[128], lock_path[136];

/* Every test has a directory of its own, without anything in it. */
static inline void fresh(void) {
    if (home[0]) place_clear(home);
    place_new(home);
    snprintf(path, sizeof path, "%s/segment", home);
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
}

static inline int entries(const char *dir) {
    char command[192];
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

static inline segment *opened(const segment_options *o) {
    segment *s = NULL;
    fr_status status = segment_open(path, o, &s, NULL, &err);
    CHECK_STATUS(status, FR_OK);
    if (status == FR_OK) return s;
    fprintf(stderr, "%s\n", err.text);
    _exit(1);
}

static inline segment *small(void) {
    static geometry g;
    g = layout_test();
    segment_options o = creating;
    o.geometry = &g;
    return opened(&o);
}

static inline bool says(const char *word) {
    if (strstr(err.text, word)) return true;
    fprintf(stderr, "'%s' not in: %s\n", word, err.text);
    return false;
}

/* open fails with this status, and leaves nothing behind */
static inline void refused(const segment_options *o, fr_status status, const char *word) {
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

static inline void keep_end(int fd, bool keep) {
    for (size_t i = 0; i < FR_COUNTOF(ends); i++) {
        if (ends[i] != (keep ? 0 : fd)) continue;
        ends[i] = keep ? fd : 0;
        return;
    }
}

static inline void close_end(int fd) {
    keep_end(fd, false);
    close(fd);
}

static inline void step(int fd) {
    if (write(fd, "x", 1) != 1) _exit(3);
}

static inline bool await(int fd) {
    char c;
    ssize_t n;
    do {
        n = read(fd, &c, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

static inline child spawn(void (*run)(void)) {
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

static inline int reaped(child *c) {
    int status = -1;
    close_end(c->to);
    waitpid(c->pid, &status, 0);
    close_end(c->from);
    return status;
}

static inline void killed(child *c) {
    kill(c->pid, SIGKILL);
    int status = reaped(c);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static inline void ended_well(child *c) {
    int status = reaped(c);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Registers, says so, and waits to be told to end. */
static inline void live_until_told(void) {
    segment *s = opened(&attaching);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    step(out);
    await(in);
    segment_close(s);
}

static inline unsigned kind_in(segment *s, uint32_t slot) { return STATE_KIND(ld8(&segment_proc(s, slot)->state)); }
static inline uint32_t gen_in(segment *s, uint32_t slot) { return STATE_GEN(ld8(&segment_proc(s, slot)->state)); }

#endif
