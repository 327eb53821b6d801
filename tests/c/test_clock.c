/* test_clock.c - expiry is kept in a clock that nobody can set: the wall jumps by a year, and keys live on as they should.
 *
 * clock_gettime is this program's own, so that the wall can jump, and the machine sleep, without either happening.
 */
#include <sys/syscall.h>
#include <time.h>

#include "store_fixture.h"

#define YEAR INT64_C(31536000)

static int64_t wall_ahead, slept; /* seconds */

int clock_gettime(clockid_t id, struct timespec *out) {
    long failed = syscall(SYS_clock_gettime, id, out);
    if (id == CLOCK_REALTIME) out->tv_sec += wall_ahead + slept;
    if (id == CLOCK_BOOTTIME) out->tv_sec += slept;
    return (int)failed;
}

static bool alive(store *st, const char *name) {
    op o = {.run = do_find, .name = name};
    stripe_set all;
    fr_error err;
    store_all_stripes(st, &all);
    key_route(st, 0, text_of(name), &o.k, &err);
    CHECK_STATUS(store_read(st, clock_boot_ms(), &all, run_op, &o, &err), FR_OK);
    return o.flag;
}

static void keep(store *st, const char *name, uint64_t expiry) {
    op o = {.run = do_set, .name = name, .value = text_of("v")}, e = {.run = do_expire, .name = name, .at = expiry};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    CHECK_STATUS(write_op(st, &e), FR_OK);
}

static void the_wall_may_jump(void) {
    store *st = big_store();
    keep(st, "minute", clock_boot_ms() + 60000);
    for (wall_ahead = -YEAR; wall_ahead <= YEAR; wall_ahead += YEAR) CHECK(alive(st, "minute"));
    wall_ahead = 0;
    store_close(st);
}

static void sleep_counts(void) {
    store *st = big_store();
    keep(st, "minute", clock_boot_ms() + 60000);
    slept = 59;
    CHECK(alive(st, "minute"));
    slept = 61;
    CHECK(!alive(st, "minute"));
    slept = 0;
    store_close(st);
}

static void it_counts_real_time(void) {
    struct timespec boot;
    uint64_t before = clock_boot_ms();
    clock_gettime(CLOCK_BOOTTIME, &boot);
    uint64_t between = (uint64_t)boot.tv_sec * 1000 + (uint64_t)boot.tv_nsec / 1000000, after = clock_boot_ms();
    CHECK(before <= between && between <= after);
    wall_ahead = YEAR;
    CHECK(clock_wall_ms() > clock_boot_ms());
    wall_ahead = 0;
}

int main(void) {
    RUN(the_wall_may_jump);
    RUN(sleep_counts);
    RUN(it_counts_real_time);
    return 0;
}
