/* test_stats.c - statistics of processes come and go, and their sum does not: counted before there is a slot, by parent and
 * child of a fork, by the dead. At every store of a fold: crash/enumerate.c.
 */
#include <signal.h>
#include <sys/wait.h>

#include "check.h"
#include "shm/liveness.h"
#include "shm/segment_private.h"
#include "shm/txn.h"

static char path[64], lock_path[72];
static fr_error err;

static segment *opened(bool create) {
    geometry g = layout_test();
    segment_options o = {.create = create, .geometry = &g, .owner = UINT32_MAX};
    segment *s = NULL;
    CHECK_STATUS(segment_open(path, &o, &s, NULL, &err), FR_OK);
    if (!s) exit(1);
    return s;
}

static segment *fresh(void) {
    snprintf(path, sizeof path, "/dev/shm/fridge-test-stats-%d", (int)getpid());
    snprintf(lock_path, sizeof lock_path, "%s.lock", path);
    unlink(path);
    unlink(lock_path);
    return opened(true);
}

static void closed(segment *s) {
    segment_close(s);
    unlink(path);
    unlink(lock_path);
}

static void ended(pid_t pid) {
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Readers count before they have a slot. */
static void what_a_parent_counted_is_not_its_childs(void) {
    segment *s = fresh();
    stat_add(s, 2, 5);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_STATUS(segment_register(s, &err), FR_OK);
        stat_add(s, 2, 100);
        segment_close(s);
        _exit(check_failures != 0);
    }
    ended(pid);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK(stat_sum(s, 2) == 105);
    closed(s);
}

/* The whole row of a dead process goes to the base, each cell to its own. */
static void every_cell_of_the_dead_is_kept(void) {
    segment *s = fresh();
    uint32_t cells = s->g.stat_cells;
    int up[2];
    CHECK(pipe(up) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        segment *mine = opened(false);
        CHECK_STATUS(segment_register(mine, &err), FR_OK);
        for (uint32_t i = 0; i < cells; i++) mine->stats[i] = 0;
        for (uint32_t i = 0; i < cells; i++) stat_add(mine, i, 1000 + i);
        CHECK(write(up[1], "x", 1) == 1);
        for (;;) pause();
    }
    char c;
    CHECK(read(up[0], &c, 1) == 1);
    close(up[0]);
    close(up[1]);
    const uint64_t *base = SEG_AT(s, s->l.stats, uint64_t), *row = base + cells;
    CHECK(row[cells - 1] == 1000 + cells - 1 && base[cells - 1] == 0);
    CHECK_STATUS(segment_register(s, &err), FR_OK); /* slot 2: the other lives */
    CHECK(s->me->slot == 2);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    CHECK_STATUS(segment_recover_slot(s, 1, 1, clock_boot_ms() + 1000), FR_OK);
    for (uint32_t i = 0; i < cells; i++) CHECK(row[i] == 0 && base[i] == 1000 + i && stat_sum(s, i) >= 1000 + i);
    closed(s);
}

/* Slots 1 and 2 are taken: the dead one is in the last of all. */
static void the_last_slot_is_reaped_too(void) {
    segment *s = fresh(), *other = opened(false);
    CHECK_STATUS(segment_register(s, &err), FR_OK);
    CHECK_STATUS(segment_register(other, &err), FR_OK);
    pid_t pid = fork();
    if (pid == 0) {
        segment *mine = opened(false);
        CHECK_STATUS(segment_register(mine, &err), FR_OK);
        CHECK(mine->me->slot == mine->g.slots - 1);
        stat_add(mine, 3, 7);
        kill(getpid(), check_failures ? SIGABRT : SIGKILL);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(segment_reap(s) == 1 && segment_reap(s) == 0);
    CHECK(STATE_KIND(ld8(&segment_proc(s, s->g.slots - 1)->state)) == STATE_FREE && stat_sum(s, 3) == 7);
    segment_close(other);
    closed(s);
}

int main(void) {
    RUN(what_a_parent_counted_is_not_its_childs);
    RUN(every_cell_of_the_dead_is_kept);
    RUN(the_last_slot_is_reaped_too);
    return 0;
}
