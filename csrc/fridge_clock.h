/* fridge_clock.h - the wall clock that sessions are fed with. */
#ifndef FRIDGE_CLOCK_H
#define FRIDGE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* The wall clock of a tick ago: sessions ask it only how far an expiry may reach, and it is read four times as fast. */
static inline uint64_t wall_tick_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#endif
