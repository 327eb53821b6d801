/* segment_private.h - what segment.c, file.c, liveness.c and sigbus.c know about a segment and nobody else does.
 *
 * Everything that must not survive a fork lies in struct registration, on a page that the kernel wipes in the child
 * (MADV_WIPEONFORK): even a child of raw clone(2), which runs no atfork handler, finds itself unregistered.
 */
#ifndef FRIDGE_SHM_SEGMENT_PRIVATE_H
#define FRIDGE_SHM_SEGMENT_PRIVATE_H

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/segment.h"

/* A byte of the lock file held by this process. The mapping alone keeps the description, and with it the lock, alive;
 * fd is -1 unless the file system does not do that. */
typedef struct pin {
    void *map;
    int fd;
    uint32_t byte;
} pin;

/* First in it, because segment.me points here. */
typedef struct registration {
    identity id;
    pin beacon;
} registration;

struct segment_private {
    char *path, *lock_path; /* canonical; NULL for an anonymous segment */
    int fd;                 /* the data file, CLOEXEC: fstat before use, a closerange may have replaced it */
    uint64_t lock_dev, lock_ino;
    bool anonymous, other_boot;
    bool keep_fd;        /* mappings do not pin locks here */
    int beacon_fd;       /* the beacon's description when keep_fd, for the atfork handler; else -1 */
    int window;          /* entry of sigbus.c's table, or -1 */
    uint8_t *dead;       /* anonymous: what segment_set_dead said */
    uint64_t *idle_stats; /* row of cells while unregistered */
    pthread_mutex_t mutex; /* registration */
    char name[48];
    segment *next; /* list of live segments, for the atfork handlers */
};

#define STATE_FREE 0u
#define STATE_REGISTERING 1u
#define STATE_ATTACHED 2u
#define STATE_FOLDING 3u
#define STATE_MAKE(gen, kind) ((uint64_t)(gen) << 2 | (kind))
#define STATE_KIND(state) ((unsigned)((state) & 3))
#define STATE_GEN(state) ((uint32_t)((state) >> 2) & ((UINT32_C(1) << 19) - 1))

#define BYTE_CREATE 0 /* of the lock file: held while the segment is created or destroyed */

/* segment_fail fills err (which may be NULL) and returns status. */
fr_status segment_fail(fr_error *err, fr_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

static inline uint64_t system_page(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

static inline proc *segment_proc(segment *s, uint32_t slot) { return SEG_AT(s, s->l.procs, proc) + slot; }

#endif
