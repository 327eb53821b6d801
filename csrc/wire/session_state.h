/* session_state.h - a session's inside: for session.c, command.c and the cmd_* files that serve the connection itself.
 *
 * INPUT  query[query_at .. query_n) is what the peer sent and what is not executed. Bytes given to session_feed are
 *        parsed where they lie; only what is left over is kept. `ready`: parser.argv holds a whole request that is not
 *        answered yet (parked, or the host's); its bytes are kept until it is.
 *
 * Invariants
 * 1. While `multi`, queue holds copies; their bytes together stay below facts->query_limit.
 * 2. stripes is all zero between two commands.
 */
#ifndef FRIDGE_WIRE_SESSION_STATE_H
#define FRIDGE_WIRE_SESSION_STATE_H

#include <time.h>

#include "wire/command.h"
#include "wire/session.h"

typedef struct queued {
    const command *cmd;
    uint32_t argc;
    bool failed;
    bool to_host;    /* answered by the host once the transaction is committed: weave.c */
    size_t reply_at; /* then: where its reply belongs, counted from the beginning of EXEC's */
    span argv[];     /* and their bytes behind */
} queued;

typedef struct watched {
    uint32_t db;
    bool existed;
    uint64_t version;
    size_t n;
    char *name;
} watched;

enum reply_mode { REPLY_ON, REPLY_OFF, REPLY_SKIP_NEXT, REPLY_SKIPPING };

struct session {
    store *st;
    server_facts *facts;
    uint64_t id;
    context c;
    resp_parser parser;
    reply out;
    fr_error err;

    char *query;
    size_t query_n, query_cap, query_at;
    size_t request_n;          /* bytes of the ready request */
    bool ready, host, closing, killed;
    const command *host_cmd;   /* what the host answers at the moment */
    size_t host_mark;          /* where the reply to the ready request begins, the host's or EXEC's */
    bool host_failed;

    key *keys;                 /* room for routed keys */
    uint32_t keys_cap;
    stripe_set stripes;
    char *scratch;             /* bytes that one command may collect: scratch_add */
    size_t scratch_n, scratch_cap;

    uint32_t db;
    bool authenticated, no_evict, no_touch, monitor;
    enum reply_mode reply_mode;
    char name[128], lib_name[64], lib_ver[64];
    const command *last;
    uint64_t commands, last_ms;
    uint64_t parked_ms;        /* boot clock; when the ready request was first refused a latch; 0 = it was not */
    uint64_t random;           /* xorshift state, never 0 */
    uint64_t clock_ns;         /* when the last command ended */

    bool multi, multi_dirty;   /* dirty: a command could not be queued, EXEC will refuse */
    queued **queue;
    uint32_t queue_n, queue_cap;
    size_t queue_bytes;
    bool weaving;              /* EXEC is committed, and the host answers queue[weave_at]: weave.c */
    uint32_t weave_at;
    char *rest;                /* EXEC's replies from there on */
    size_t rest_n;
    watched *watch;
    uint32_t watch_n, watch_cap;

    char *monitor_log;         /* lines for MONITOR clients: session_monitor_take */
    size_t monitor_n, monitor_cap;
};

/* session_leave_multi forgets the queue; session_unwatch the watched keys. (cmd_txn.c) */
void session_leave_multi(session *s);
void session_unwatch(session *s);
/* session_queue keeps a copy of the present request. False: no room for it. (cmd_txn.c) */
bool session_queue(session *s, const command *row);

/* weave_begin makes the host answer what EXEC left to it; false when there is nothing. weave_next ends the command that
 * the host has just answered; false when it was the last. (weave.c) */
bool weave_begin(session *s);
bool weave_next(session *s);

/* scratch_add appends n bytes to the session's scratch and returns where they begin, or SIZE_MAX without memory. */
size_t scratch_add(session *s, const void *p, size_t n);

/* clock_ns is for durations: statistics and the slow count. Expiry uses the clocks that session_feed is given. */
static inline uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* session_random gives the next number of the session's generator: for choices, not for secrets. */
uint64_t session_random(session *s);

/* session_needs_auth: must this peer still say its password? */
static inline bool session_needs_auth(const session *s) { return !s->authenticated && s->facts->password_set; }

#endif
