/* fridge_sockets.h - libfridge for Python, continued: the connected sockets of a server's worker, each with its session.
 * The conventions of fridge.h hold. cffi reads what stands between the #include line and the last #endif.
 *
 * A worker has an epoll descriptor of its own for all its clients, and its event loop watches that descriptor. When it is
 * readable the worker makes one call, fridge_serve: each client that has sent something is read once, answered and sent
 * to, here. Python hears only of the clients that need it. Measured, 50 clients 1 deep: 7.5 us of CPU a command, 6.5 of them
 * the kernel's; with a transport and a Python callback for each client's read it was 10.0.
 *
 * Invariants
 * 1. `asked` is what epoll watches the socket for: input while `reading`, room while output is unsent or `wake_at` is
 *    set. When it is neither, epoll does not know the socket: a client that leaves while nobody reads it is no event.
 * 2. Output stays in the session until the kernel takes it, and nothing but a session's output is sent.
 * 3. No call waits. None closes a descriptor or frees a session: the owner does, after fridge_socket_forget.
 * 4. A report names its client by id: the owner may drop one client while it reads what another one's report says.
 *
 * Leaves out: accepting, addresses, and every limit that is not the session's.
 */
#ifndef FRIDGE_SOCKETS_H
#define FRIDGE_SOCKETS_H

#include "fridge.h"

/* A connected, non-blocking stream socket. The owner fills in the first four. */
typedef struct fridge_socket {
    struct session *session;
    uint64_t id;
    int fd, epoll;
    uint32_t reading, asked;
    uint64_t unsent;           /* bytes of output that the client has not taken */
    uint64_t wake_at;          /* 1 + how few they must be for FRIDGE_TAKEN to be reported, once; 0 = never */
    uint64_t last_ms;          /* boot clock, when something was read last */
    uint64_t partial_ms;       /* and when the request began that is unfinished; 0 = there is none */
    uint64_t partial_commands; /* how many the session had executed then */
} fridge_socket;

/* What is to be done about a client: a feed_result, of which FEED_MORE asks for nothing, or one of these. */
enum fridge_report_what {
    FRIDGE_ENDED = 8, /* it sends no more */
    FRIDGE_LOST,      /* nothing can be sent to it or read from it */
    FRIDGE_TAKEN      /* it has taken its replies, see wake_at */
};

/* What one call of fridge_serve works with; zero but for epoll. */
typedef struct fridge_round {
    int epoll;
    uint32_t report_all; /* 1: report every client that was fed, FEED_MORE too */
    struct {
        uint64_t id, what;
    } reports[128];
    char input[262144]; /* of one read; with 64 KiB a SET of 100,000 bytes takes twice the CPU: its first half is kept */
} fridge_round;

/* Reads, answers and sends to whoever is ready, once each. Returns the number of reports. */
FRIDGE_API uint32_t fridge_serve(fridge_round *r);

/* Lets the session go on with what it holds, as session_feed(s, NULL, 0), and sends. Returns what is to be done. */
FRIDGE_API uint32_t fridge_socket_go_on(fridge_socket *c);
/* Sends what the session holds. Returns FEED_MORE or FRIDGE_LOST. */
FRIDGE_API uint32_t fridge_socket_send(fridge_socket *c);
/* Says whether the client is to be read from now on. Returns FEED_MORE or FRIDGE_LOST. */
FRIDGE_API uint32_t fridge_socket_read(fridge_socket *c, int reading);
/* The end of the connection: epoll forgets it. */
FRIDGE_API void fridge_socket_forget(fridge_socket *c);

#endif
