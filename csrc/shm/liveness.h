/* liveness.h - who is attached and who is gone: bytes of the lock file, the beacon, slots, recovery.
 *
 * Invariants
 * 1. A registered process holds byte `slot` of the lock file until its address space is gone. The probe never uses the
 *    description that holds it, and answers "alive" on any doubt.
 * 2. Whoever cleans up after a slot's previous life holds byte BYTE_RECOVER + slot and looks again once it has it, so
 *    one life is never cleaned twice at once; a registrant does so before it steps the generation.
 * 3. No fork happens while a descriptor that holds a lock is open: the atfork handler waits for the process lock, which
 *    is held from open to close. (A raw clone at that moment makes the child look like its parent: alive, never dead.)
 *
 * Public functions of it are declared in segment.h.
 */
#ifndef FRIDGE_SHM_LIVENESS_H
#define FRIDGE_SHM_LIVENESS_H

#include "shm/segment_private.h"

/* pin_take locks the first free byte base + i, first <= i < end, of the lock file at path and returns i; -1 with errno
 * EAGAIN when all are held, or another errno. keep_fd: do not rely on the mapping. */
int pin_take(const char *path, uint64_t dev, uint64_t ino, uint32_t base, uint32_t first, uint32_t end, bool keep_fd,
             pin *out);
void pin_release(pin *p);

/* pin_wait is pin_take for one byte, polled until deadline_ms of the boot clock. false: errno says why. */
bool pin_wait(const char *path, uint64_t dev, uint64_t ino, uint32_t byte, bool keep_fd, uint64_t deadline_ms,
              pin *out);

/* liveness_enlist makes the atfork handlers know s; liveness_delist and liveness_leave are their opposites: leave gives
 * up the slot. */
void liveness_enlist(segment *s);
void liveness_delist(segment *s);
void liveness_leave(segment *s);

#endif
