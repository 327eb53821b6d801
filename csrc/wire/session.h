/* session.h - one RESP peer, sans I/O: bytes in, bytes out, no socket, no clock of its own, no thread.
 *
 * The host (fridge/server, or a test) owns the transport. It calls session_feed with what it read, then sends
 * session_output and tells session_sent. session_feed executes every whole command it holds, in order, until one of:
 *   FEED_MORE    everything whole is executed; feed the next bytes
 *   FEED_HOST    a command flagged HOST is next: session_host_* gives its words; the host writes its reply with the
 *                session_reply_* calls and then calls session_feed(s, NULL, 0, now) to go on
 *   FEED_PARKED  a live process holds a latch that the next command needs: call session_feed(s, NULL, 0, now) again on
 *                a later turn of the loop (within 10 ms); after latch-timeout the command fails with its typed error
 *   FEED_FULL    the output buffer passed its soft limit: send, then feed (NULL, 0) to go on
 *   FEED_CLOSE   send what is in the output, then close (QUIT, protocol error, limits)
 * It never blocks and never allocates from a declared length.
 */
#ifndef FRIDGE_WIRE_SESSION_H
#define FRIDGE_WIRE_SESSION_H

#include "store/store.h"

typedef enum feed_result { FEED_MORE, FEED_HOST, FEED_PARKED, FEED_FULL, FEED_CLOSE } feed_result;

/* Limits and facts that hold for every session of a server; the host may change them while sessions live. */
typedef struct server_facts {
    uint64_t query_limit;       /* bytes a session may hold unparsed (64 MiB) */
    uint64_t output_soft;       /* FEED_FULL above this (1 MiB) */
    uint64_t output_hard;       /* FEED_CLOSE above this (64 MiB) */
    uint64_t max_bulk;          /* proto-max-bulk-len */
    uint64_t slowlog_us;        /* commands slower than this are counted as slow; 0 = none */
    uint32_t max_args;          /* 1,048,576 */
    uint32_t password_set;      /* 1: AUTH is needed; the host answers AUTH and HELLO AUTH by session_authenticate */
    uint32_t debug_enabled;     /* DEBUG SLEEP only then */
    uint32_t command_cells;     /* first statistics cell of command 0: cells are calls, usec, rejected, failed */
    uint64_t monitors;          /* >0: MONITOR clients exist: the host gets each command through session_monitor_take */
    uint64_t slow_commands;     /* how many passed slowlog_us; the sessions count here */
    uint64_t start_s;           /* wall-clock seconds when the server started: LASTSAVE */
} server_facts;

typedef struct session session;

FRIDGE_API session *session_new(store *st, server_facts *facts, uint64_t id);
FRIDGE_API void session_free(session *s);

/* session_feed takes n bytes (0 to go on) and the two clocks in ms. */
FRIDGE_API feed_result session_feed(session *s, const char *data, size_t n, uint64_t boot_ms, uint64_t wall_ms);

/* The output: *p, and how many bytes. session_sent drops the first n of them. */
FRIDGE_API size_t session_output(session *s, const char **p);
FRIDGE_API void session_sent(session *s, size_t n);

/* session_held: bytes of an unfinished request that the session keeps. */
FRIDGE_API size_t session_held(session *s);

/* The HOST command that session_feed stopped at. Words are valid until the next session_feed. */
FRIDGE_API const char *session_host_command(session *s); /* lower-case name of the command row, "client|list" style */
FRIDGE_API uint32_t session_host_argc(session *s);
FRIDGE_API const char *session_host_arg(session *s, uint32_t i, size_t *n);

/* Replies by the host, in the session's protocol (RESP2 or 3). */
FRIDGE_API void session_reply_status(session *s, const char *p, size_t n);
FRIDGE_API void session_reply_error(session *s, const char *p, size_t n); /* "ERR ..."; CR and LF stripped; counted */
FRIDGE_API void session_reply_int(session *s, int64_t v);
FRIDGE_API void session_reply_bulk(session *s, const char *p, size_t n);
FRIDGE_API void session_reply_verbatim(session *s, const char *p, size_t n); /* "txt:" in RESP3, bulk in RESP2 */
FRIDGE_API void session_reply_null(session *s);
FRIDGE_API void session_reply_array(session *s, uint32_t n);
FRIDGE_API void session_reply_map(session *s, uint32_t pairs); /* RESP2: an array of 2 * pairs */
FRIDGE_API void session_reply_push(session *s, uint32_t n);    /* RESP3 push; RESP2 array */
FRIDGE_API void session_reply_close(session *s);               /* close after this reply */
FRIDGE_API void session_reply_none(session *s);                /* the command has no reply (CLIENT REPLY OFF) */

/* What the host must know for CLIENT LIST and INFO, and what it may set. */
typedef struct session_facts {
    uint64_t id;
    uint32_t db, protocol, authenticated, in_multi, queued, watching, monitor;
    uint32_t reply_mode;        /* 0 on, 1 off, 2 skip next */
    uint64_t query_bytes, output_bytes, commands, last_ms;
    uint32_t no_evict, no_touch;
    char name[128];             /* CLIENT SETNAME */
    char lib_name[64], lib_ver[64];
    char last_command[48];
} session_facts;
FRIDGE_API void session_describe(session *s, session_facts *out);
FRIDGE_API void session_authenticate(session *s, int ok);
FRIDGE_API void session_set_name(session *s, const char *p, size_t n);
FRIDGE_API void session_set_reply_mode(session *s, uint32_t mode);
FRIDGE_API void session_set_monitor(session *s, int on);
/* session_killed: reply nothing more, FEED_CLOSE at the next feed. */
FRIDGE_API void session_kill(session *s);

/* session_finish_natively answers the HELLO ... AUTH that session_feed stopped at, once the host has found the password
 * right and called session_authenticate: protocol, SETNAME and the map. False: no HELLO is waiting. */
FRIDGE_API bool session_finish_natively(session *s);

/* session_monitor_take gives what the session has executed since the last call, while facts->monitors > 0: a line
 * `<db> "word" "word"...` a command. The bytes are valid until the next session_feed. */
FRIDGE_API size_t session_monitor_take(session *s, const char **p);

#endif
