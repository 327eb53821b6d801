/* clock.c - the two clocks of segment.h.
 *
 * CLOCK_BOOTTIME counts suspend and no wall-clock jump moves it, but a time namespace shifts it: containers that share
 * a segment must agree, so the shift is taken off again. Both clocks are vdso calls (22 ns measured); the shift is read
 * once per process and once more in a fork's child, which may be the first process of a new time namespace.
 */
#include "shm/clock.h"

#include <stdio.h>
#include <time.h>

#include "shm/segment.h"

#define SHIFT_UNKNOWN INT64_MIN
static int64_t shift_ns = SHIFT_UNKNOWN;

/* "boottime  <seconds> <nanoseconds>": what the namespace adds. No such file: no time namespaces here. */
static int64_t read_shift(void) {
    FILE *f = fopen("/proc/self/timens_offsets", "re");
    char line[128];
    long long sec, ns;
    int64_t shift = 0;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "boottime %lld %lld", &sec, &ns) == 2) shift = sec * INT64_C(1000000000) + ns;
    }
    if (f) fclose(f);
    return shift;
}

void clock_forget_shift(void) { __atomic_store_n(&shift_ns, SHIFT_UNKNOWN, __ATOMIC_RELAXED); }

#ifdef FRIDGE_HOOKS
_Thread_local uint64_t clock_pretended;
#else
#define clock_pretended 0
#endif

uint64_t clock_boot_ms(void) {
    struct timespec now;
    if (clock_pretended) return clock_pretended;
    int64_t shift = __atomic_load_n(&shift_ns, __ATOMIC_RELAXED);
    if (FR_UNLIKELY(shift == SHIFT_UNKNOWN)) {
        shift = read_shift();
        __atomic_store_n(&shift_ns, shift, __ATOMIC_RELAXED);
    }
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - shift) / 1000000;
}

uint64_t clock_wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
