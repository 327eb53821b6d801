/* fridge_wait.h - libfridge for Python, continued: waiting, locks, vars. The conventions of fridge.h hold. cffi reads what
 * stands between the #include line and the last #endif.
 *
 * Waits sleep in the calling thread without the GIL. `wait_ms` is how long at most; UINT64_MAX for ever. They come back early
 * with FRIDGE_INTERRUPTED when a signal arrived, and once a second: let Python handle it, then call again with what is left.
 */
#ifndef FRIDGE_WAIT_H
#define FRIDGE_WAIT_H

#include "fridge.h"

enum fridge_waited { FRIDGE_WOKEN, FRIDGE_TIMED_OUT, FRIDGE_INTERRUPTED };

/* --- keys ------------------------------------------------------------------------------------------------------------ */

/* Sleeps until the key's version is another than `version`; *now is what it is then. */
FRIDGE_API int fridge_key_wait(store *st, uint32_t db, const char *name, size_t n, uint64_t version, uint64_t wait_ms,
                               uint64_t *now, int *waited, char *err);
/* The same, and back too (WOKEN, *died 1) when an owner of the lock `members` is dead. */
FRIDGE_API int fridge_key_watch(store *st, uint32_t db, const char *name, size_t n, uint64_t version, const char *members,
                                size_t members_n, uint64_t wait_ms, uint64_t *now, int *died, int *waited, char *err);
/* The key's version and, for keys with an expiry, the ms until it (0: none). */
FRIDGE_API int fridge_key_version(store *st, uint32_t db, const char *name, size_t n, uint64_t *version, uint64_t *left_ms,
                                  int *exists, char *err);

/* --- the doorbell: one thread of a process sleeps for all its event loops ------------------------------------------------ */

/* What fridge_doorbell_wait is told it saw; to be taken before keys are looked at. Registers the process if need be. */
FRIDGE_API int fridge_doorbell_seen(store *st, uint32_t *seen, char *err);
/* The hash by which a key is waited for. To be asked again after each look: a key that has become a counter has another. */
FRIDGE_API int fridge_key_hash(store *st, uint32_t db, const char *name, size_t n, uint64_t *hash, char *err);
/* Asks for the doorbell when the key changes next, and returns the count of its entry. The key is to be looked at
 * afterwards: it may have changed just before. The process must be registered (fridge_doorbell_seen). */
FRIDGE_API uint32_t fridge_doorbell_mark(store *st, uint64_t hash);
/* Which of n marked keys have been rung for since: their places go to out, their number is returned. */
FRIDGE_API size_t fridge_doorbell_rung(store *st, const uint64_t *hashes, const uint32_t *counts, size_t n, uint32_t *out);
/* Sleeps until the doorbell rings, at most 1 s. */
FRIDGE_API int fridge_doorbell_wait(store *st, uint32_t seen, uint64_t wait_ms);
/* Rings this process's own doorbell, so that its thread looks for new work. */
FRIDGE_API void fridge_doorbell_ring(store *st);

/* --- locks ----------------------------------------------------------------------------------------------------------------- */

enum fridge_lock_outcome { FRIDGE_LOCK_GRANTED, FRIDGE_LOCK_QUEUED, FRIDGE_LOCK_REFUSED };

typedef struct fridge_lock_request {
    const char *token;   /* who asks, 1 to 32 bytes, unique for each grant */
    size_t token_n;
    uint64_t lease_ms;   /* 0: until released, or the process dies */
    uint32_t limit;      /* holders at a time: 1 for a lock */
    int shared, queue;   /* queue: wait in line; with wait_ms 0 the place is kept for a later call */
} fridge_lock_request;

typedef struct fridge_lock_state {
    uint64_t fence;      /* GRANTED: the fencing token */
    uint32_t ahead;      /* QUEUED: how many stand before */
    int outcome;
} fridge_lock_state;

/* fridge_lock_acquire, wait_ms 0: asks once; QUEUED when queue is set and it is held, and the place in line is kept. Else it
 * waits in line: REFUSED when the time is up, QUEUED when a signal came and once a second: call again, or leave. After an
 * error the place in line may be kept. */
FRIDGE_API int fridge_lock_acquire(store *st, uint32_t db, const char *name, size_t n, const fridge_lock_request *r,
                                   uint64_t wait_ms, fridge_lock_state *out, char *err);
/* Sleeps until nobody holds the lock, without acquiring it. */
FRIDGE_API int fridge_lock_wait(store *st, uint32_t db, const char *name, size_t n, uint64_t wait_ms, int *waited, char *err);
/* Ends the grant of a token, or (token NULL) every grant. *done: there was one. */
FRIDGE_API int fridge_lock_release(store *st, uint32_t db, const char *name, size_t n, const char *token, size_t token_n,
                                   int *done, char *err);
/* Gives up a place in line. *granted: it has become a grant meanwhile, which stays. */
FRIDGE_API int fridge_lock_leave(store *st, uint32_t db, const char *name, size_t n, const char *token, size_t token_n,
                                 int *granted, char *err);
/* Moves the end of a lease: ms from now, or (add) ms later than it is. *done 0: not this token's, or nothing to add to. */
FRIDGE_API int fridge_lock_lease(store *st, uint32_t db, const char *name, size_t n, const char *token, size_t token_n,
                                 uint64_t ms, int add, int *done, char *err);

typedef struct fridge_owner {
    uint64_t fence;      /* 0 for waiters, and for holders that are clients of a server */
    uint64_t since_ms;   /* boot clock; 0: not known */
    uint64_t since_wall_ms; /* the same by the segment's offset: the same from every door and at every look */
    uint64_t pid;        /* in its own PID namespace; 0: a client of a server */
    uint32_t slot, gen;
    int alive, self, shared, waiting;
    uint32_t token_n;
    char token[33], name[49], host[33];
} fridge_owner;

/* Fills out[0, cap) with the holders, then the waiters in line; *n how many there are. *left_ms: what is left of the lease,
 * 0 for none. *limit: holders at a time. */
FRIDGE_API int fridge_lock_owners(store *st, uint32_t db, const char *name, size_t n, fridge_owner *out, size_t cap,
                                  size_t *found, uint64_t *left_ms, uint32_t *limit, char *err);

/* --- vars ------------------------------------------------------------------------------------------------------------------ */

/* Publishes a snapshot: *changed 0 when this process had published the same already. */
FRIDGE_API int fridge_var_publish(store *st, uint32_t db, const char *name, size_t n, const char *p, size_t size, int *changed,
                                  uint64_t *version, char *err);
/* Who published it and when; *known 0: absent, or written by SET. */
FRIDGE_API int fridge_var_publisher(store *st, uint32_t db, const char *name, size_t n, fridge_owner *out, int *known, char *err);

#endif
