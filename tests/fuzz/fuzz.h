/* fuzz.h - what the fuzzers share: a seeded generator, and a driver that runs cases in a child until the time is up.
 *
 * A case is a function of its seed alone. The child says in shared memory which seed it is at and what it is doing, so
 * that whoever dies of it (a signal, a sanitizer, the alarm) is named: the driver prints seed and step, counts the
 * failure and goes on behind it. `--seed N` runs one case in the process itself, for a debugger.
 *
 *   --seconds S    how long (60; 600 with FRIDGE_PROOF=1)
 *   --first N      first seed (1; the clock's with FRIDGE_PROOF=1)
 *   --seed N       only this one
 *   --failures N   give up after so many (20)
 */
#ifndef FRIDGE_TESTS_FUZZ_H
#define FRIDGE_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"

/* --- numbers ------------------------------------------------------------------------------------------------------ */

typedef struct dice {
    uint64_t state;
} dice;

static inline uint64_t dice_next(dice *d) { /* splitmix64 */
    uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint32_t dice_below(dice *d, uint32_t n) { return (uint32_t)((dice_next(d) >> 32) * n >> 32); }
static inline bool dice_one_in(dice *d, uint32_t n) { return dice_below(d, n) == 0; }

#define PICK(d, array) ((array)[dice_below((d), FR_COUNTOF(array))])

/* --- the driver --------------------------------------------------------------------------------------------------- */

typedef struct fuzz_target {
    const char *name;
    void (*open)(void); /* once in each child, before its first case; may be NULL */
    void (*one)(uint64_t seed);
} fuzz_target;

/* fuzz_main: the program. Prints executions, executions/s and `N passed, M failed`. */
int fuzz_main(const fuzz_target *target, int argc, char **argv);

/* fuzz_step says what is being done now; the text must stay valid. fuzz_count adds to the counter printed at the end
 * under this name (up to 8, indices of one's own). fuzz_fail ends the case as a failure. */
void fuzz_step(const char *text);
void fuzz_count(unsigned index, const char *name, uint64_t n);
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
