/* clock.h - the part of clock.c that is not for callers of segment.h. */
#ifndef FRIDGE_SHM_CLOCK_H
#define FRIDGE_SHM_CLOCK_H

#include "base.h"

/* clock_forget_shift: read the time namespace's offset again at the next use (a fork's child calls it). */
void clock_forget_shift(void);

#ifdef FRIDGE_HOOKS
/* Harnesses only: what clock_boot_ms says; 0: the truth. */
extern _Thread_local uint64_t clock_pretended;
#endif

#endif
