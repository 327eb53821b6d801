/* sigbus.h - a fault in one of our windows marks its segment lost instead of killing the process (design 4, rule 10).
 *
 * Invariants
 * 1. Addresses outside our windows reach whatever handler was there before, as if ours were not.
 * 2. The handler takes no lock and calls nothing but mmap, sigaction, pthread_sigmask and raise.
 */
#ifndef FRIDGE_SHM_SIGBUS_H
#define FRIDGE_SHM_SIGBUS_H

#include "base.h"

#define SIGBUS_WINDOWS 256

/* sigbus_watch installs the handler at the first call and adds a window; *lost becomes 1 at the first fault in it.
 * Returns the entry for sigbus_forget, or -1 when SIGBUS_WINDOWS are in use. */
int sigbus_watch(void *base, size_t bytes, int protection, uint32_t *lost);

/* sigbus_forget must come before the window is unmapped. */
void sigbus_forget(int entry);

#endif
