/* fridge_sockets.c - recv, session_feed, send for the clients that epoll names: see fridge_sockets.h.
 *
 * Level-triggered: what a call leaves unread is named again in the next one, behind the other clients.
 */
#include "fridge_sockets.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "fridge_clock.h"
#include "wire/session.h"

_Static_assert((int)FRIDGE_ENDED > (int)FEED_CLOSE, "a report is a feed_result or more");

/* --- one client ---------------------------------------------------------------------------------------------------- */

/* ask tells epoll what to watch the socket for, when that has changed. */
static uint32_t ask(fridge_socket *c) {
    uint32_t wanted = (c->reading ? EPOLLIN : 0u) | (c->unsent || c->wake_at ? EPOLLOUT : 0u);
    if (FR_LIKELY(wanted == c->asked)) return FEED_MORE;
    struct epoll_event e = {.events = wanted, .data.ptr = c};
    int how = !wanted ? EPOLL_CTL_DEL : c->asked ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(c->epoll, how, c->fd, &e)) return FRIDGE_LOST; /* ENOMEM, or ENOSPC: max_user_watches */
    c->asked = wanted;
    return FEED_MORE;
}

uint32_t fridge_socket_send(fridge_socket *c) {
    const char *p;
    size_t n = session_output(c->session, &p);
    if (n) {
        ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (FR_UNLIKELY(sent < 0)) {
            if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return FRIDGE_LOST;
            sent = 0;
        }
        session_sent(c->session, (size_t)sent);
        n -= (size_t)sent;
    }
    c->unsent = n;
    return ask(c);
}

/* note_partial remembers since when the client owes the rest of a request, which began after the last one was executed. */
static void note_partial(fridge_socket *c, uint64_t now) {
    session_facts facts;
    if (FR_LIKELY(!session_held(c->session))) {
        c->partial_ms = 0;
        return;
    }
    session_describe(c->session, &facts);
    if (c->partial_ms && c->partial_commands == facts.commands) return;
    c->partial_ms = now;
    c->partial_commands = facts.commands;
}

static uint32_t feed(fridge_socket *c, const char *data, size_t n, uint64_t now) {
    feed_result result = session_feed(c->session, data, n, now, wall_tick_ms());
    if (result == FEED_MORE) note_partial(c, now);
    return result;
}

uint32_t fridge_socket_go_on(fridge_socket *c) {
    uint32_t what = feed(c, NULL, 0, clock_boot_ms());
    return fridge_socket_send(c) == FRIDGE_LOST ? (uint32_t)FRIDGE_LOST : what;
}

uint32_t fridge_socket_read(fridge_socket *c, int reading) {
    c->reading = reading != 0;
    return ask(c);
}

void fridge_socket_forget(fridge_socket *c) {
    if (c->asked) epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    c->asked = 0;
}

/* --- all that are ready ---------------------------------------------------------------------------------------------- */

/* receive does what an event calls for, up to the reply. Who has not taken his replies is sent to before he is read. */
static uint32_t receive(fridge_round *r, fridge_socket *c) {
    if (FR_UNLIKELY(c->asked & EPOLLOUT)) {
        if (fridge_socket_send(c) == FRIDGE_LOST) return FRIDGE_LOST;
        if (c->unsent < c->wake_at) {
            c->wake_at = 0;
            return FRIDGE_TAKEN;
        }
    }
    if (FR_UNLIKELY(!c->reading)) return FEED_MORE;
    ssize_t got = recv(c->fd, r->input, sizeof r->input, 0);
    if (FR_LIKELY(got > 0)) {
        c->last_ms = clock_boot_ms();
        return feed(c, r->input, (size_t)got, c->last_ms);
    }
    if (got == 0) return FRIDGE_ENDED;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? (uint32_t)FEED_MORE : (uint32_t)FRIDGE_LOST;
}

/* First everybody's commands, then everybody's replies: 4 % less CPU than one client after the other, for the engine's code
 * stays in the cache while it is used, and clients that the first reply wakes find the others' there. */
uint32_t fridge_serve(fridge_round *r) {
    enum { ROUND = FR_COUNTOF(r->reports) };
    struct epoll_event events[ROUND];
    uint32_t what[ROUND], reports = 0;
    int n = epoll_wait(r->epoll, events, ROUND, 0);
    for (int i = 0; i < n; i++) what[i] = receive(r, events[i].data.ptr);
    for (int i = 0; i < n; i++) {
        fridge_socket *c = events[i].data.ptr;
        if (fridge_socket_send(c) == FRIDGE_LOST) what[i] = FRIDGE_LOST;
        if (FR_UNLIKELY(what[i] != FEED_MORE || r->report_all)) {
            r->reports[reports].id = c->id;
            r->reports[reports++].what = what[i];
        }
    }
    return reports;
}
