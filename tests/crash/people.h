/* people.h - what the storms share: processes in PID namespaces of their own, the time on the wall and the time for which a
 * process waited for a processor, random numbers.
 */
#ifndef FRIDGE_TESTS_PEOPLE_H
#define FRIDGE_TESTS_PEOPLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* random_next is SplitMix64. */
uint64_t random_next(uint64_t *state);

uint64_t now_ns(void);
void pause_us(unsigned us);

/* run_delay: for how long this process was ready to run and had no processor, in its life, in nanoseconds. A child of fork
 * says meter_child first. */
uint64_t run_delay(void);
void meter_child(void);

/* fork_apart is fork; *apart: into a PID namespace of its own, where the child is PID 1. *apart is made false where the
 * system does not allow that. Children die with the caller. */
pid_t fork_apart(bool *apart);

#endif
