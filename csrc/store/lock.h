/* lock.h - locks that die with their owner: exclusive, shared up to a limit (semaphores), or either (read-write locks).
 *
 * A lock is a string key whose value is its holder's token, so that SET NX, GET and redis-py's Lock exclude and see it; the
 * trailer (owner.h) adds who holds it, since when, and who waits in which order. A string of that name without a trailer is a
 * lock of a client that knows only SET NX: it is respected, waited for, and queued behind.
 *
 * Hand-over: whoever releases grants the lock to the first waiters that are compatible and alive, in the same transaction, so
 * nobody who came later gets in between, and wakes those, who is now the first in line, and no others of it. A holder that
 * dies, or whose lease runs out, and a first waiter that dies, is dropped by whoever looks next; waiters look every few
 * milliseconds (waiting.h), since nobody runs code for the dead.
 *
 * Invariants
 * 1. Two exclusive holders, or more shared ones than the limit, never exist at one instant; a live process's grant without a
 *    lease ends only by lock_release with its token, by lock_force, or by DEL, SET, RENAME and the like.
 * 2. Fencing tokens of a name only rise: they are versions of its stripe.
 * 3. Of two live waiters the one that came first is granted first, as long as the key is not deleted or overwritten.
 * 4. A grant belongs to the name under which it was acquired, never to two: RENAME, MOVE and COPY make a plain string of the
 *    token, with what is left of the lease.
 * 5. A lease counts from the clock of whoever grants it, as that was when its transaction began: before it waited for a latch.
 * 6. Ending a grant or leaving the line succeeds in a full segment.
 *
 * Leaves out: sleeping (waiting.h), tokens (the doors make them).
 */
#ifndef FRIDGE_STORE_LOCK_H
#define FRIDGE_STORE_LOCK_H

#include "store/keyspace.h"
#include "store/owner.h"

typedef struct lock_request {
    span token;        /* 1..TOKEN_MAX bytes that nobody else uses */
    bool shared;
    uint32_t limit;    /* shared holders at a time; 1 for a lock. All users of a name must agree */
    uint64_t lease_ms; /* exclusive only: held at most so long; 0: until released or dead */
    bool queue;        /* wait in line when it is held */
    bool owned;        /* the grant is this process's and dies with it; else a client's */
} lock_request;

enum lock_outcome {
    LOCK_GRANTED,
    LOCK_QUEUED,  /* in line; ask again when the key has changed */
    LOCK_REFUSED, /* held, and not in line: not asked to, the line is full, or the holder's token is too long to keep */
};

typedef struct lock_state {
    enum lock_outcome outcome;
    uint64_t fence;  /* GRANTED */
    uint32_t ahead;  /* QUEUED: waiters before this one */
} lock_state;

/* lock_acquire asks for a grant; asking again with the same token finds the grant or the place in line. FR_WRONGTYPE,
 * FR_ROWONLY; FR_ARGUMENT when the name has another limit. Writes. */
fr_status lock_acquire(store *st, txn *t, const key *k, const lock_request *r, lock_state *out);

/* lock_look is what a waiter does when it wakes: should it ask again? (Granted, no line any more, or a holder or the first
 * in line has died.) *ahead: waiters before this one. Any mode. */
fr_status lock_look(store *st, txn *t, const key *k, span token, bool *again, uint32_t *ahead);

/* lock_release ends the grant of this token; lock_force every grant. *done: there was one. lock_leave ends the place in line;
 * *granted: it has become a grant meanwhile, and stays one. Write. */
fr_status lock_release(store *st, txn *t, const key *k, span token, bool *done);
fr_status lock_force(store *st, txn *t, const key *k, bool *done);
fr_status lock_leave(store *st, txn *t, const key *k, span token, bool *granted);

/* lock_lease gives the holder of this token a new end, ms from now; lock_extend does so only when there is an end, and puts ms
 * behind it (add) or counts from now. Strings without a trailer count as locks. An end that is past ends the grant. *done
 * false: another token, or no end to move. Write. */
fr_status lock_lease(store *st, txn *t, const key *k, span token, uint64_t ms, bool *done);
fr_status lock_extend(store *st, txn *t, const key *k, span token, int64_t ms, bool add, bool *done);

/* lock_named: is the key a lock, with a trailer? Any mode. */
fr_status lock_named(store *st, txn *t, const key *k, bool *is_lock);

/* lock_facts reads a lock's holders and waiters; *held false: it is free. The trailer of a plain string is made up: one
 * holder with identity 0. Any mode. */
fr_status lock_facts(store *st, txn *t, const key *k, bool *held, owners *out, uint64_t *expiry);

/* var_publish makes the key a var with this snapshot: *changed false when it was, by this process, already. Writes. */
fr_status var_publish(store *st, txn *t, const key *k, span bytes, bool *changed, uint64_t *version);

#endif
