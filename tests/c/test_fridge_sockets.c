/* test_fridge_sockets.c - clients on real sockets: what is read, answered, sent in pieces and reported.
 *
 * The server's side of each pair is served by fridge_serve; the test is the other side. A pair is a unix socket pair, or a
 * TCP connection over loopback where it is the kind of end that matters.
 */
#include "fridge_sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "store_fixture.h"
#include "wire/session.h"

enum { BIG = 100000, CLIENTS = 300 };

typedef struct house {
    store *st;
    server_facts facts;
    fridge_round round;
} house;

typedef struct client {
    fridge_socket c;
    int far; /* the test's end */
} client;

static house h;

static void open_house(void) {
    h = (house){.facts = {.query_limit = 1 << 20, .output_soft = 1 << 20, .output_hard = 64 << 20, .max_bulk = 1 << 20,
                          .max_args = 1000, .command_cells = STAT_COUNT}};
    h.st = big_store();
    segment_become(h.st->s, 1, 1);
    h.round.epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(h.round.epoll >= 0);
}

static void close_house(void) {
    close(h.round.epoll);
    close_sound(h.st);
}

/* The server's side of a TCP connection to *far. */
static int tcp_pair(int *far) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listening, (struct sockaddr *)&at, sizeof at) == 0 && listen(listening, 1) == 0);
    CHECK(getsockname(listening, (struct sockaddr *)&at, &n) == 0);
    *far = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(*far, (struct sockaddr *)&at, sizeof at) == 0);
    int near = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
    close(listening);
    return near;
}

static void meet(client *p, uint64_t id, bool tcp) {
    int ends[2];
    if (tcp) ends[0] = tcp_pair(&ends[1]);
    else CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    p->far = ends[1];
    p->c = (fridge_socket){.session = session_new(h.st, &h.facts, id), .id = id, .fd = ends[0], .epoll = h.round.epoll};
    CHECK(fridge_socket_read(&p->c, 1) == FEED_MORE);
}

static void part(client *p) {
    fridge_socket_forget(&p->c);
    session_free(p->c.session);
    close(p->c.fd);
    if (p->far >= 0) close(p->far);
}

static void say(client *p, const char *text) {
    size_t n = strlen(text);
    CHECK(send(p->far, text, n, MSG_NOSIGNAL) == (ssize_t)n);
}

/* Serves until nobody is ready, and returns the number of reports; the last one's `what` is in *what. */
static uint32_t serve_all(uint64_t *what) {
    struct pollfd ready = {.fd = h.round.epoll, .events = POLLIN};
    uint32_t reports = 0;
    for (int i = 0; i < 1000 && poll(&ready, 1, 20) > 0; i++) {
        uint32_t n = fridge_serve(&h.round);
        if (n) *what = h.round.reports[n - 1].what;
        reports += n;
        if (n) break;
    }
    return reports;
}

static bool hears(client *p, const char *text) {
    char got[4096] = {0};
    size_t n = strlen(text), have = 0;
    while (have < n) {
        ssize_t more = recv(p->far, got + have, n - have, MSG_DONTWAIT);
        if (more <= 0) break;
        have += (size_t)more;
    }
    return have == n && memcmp(got, text, n) == 0;
}

/* A key `big` of BIG bytes, and the small buffers with which its values are sent in many pieces. */
static void make_big(client *p) {
    char *request = malloc(BIG + 100);
    int n = sprintf(request, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", BIG);
    for (int i = 0; i < BIG; i++) request[n + i] = (char)('a' + i % 23);
    memcpy(request + n + BIG, "\r\n", 3);
    session *s = session_new(h.st, &h.facts, 99);
    const char *out;
    CHECK(session_feed(s, request, (size_t)(n + BIG + 2), NOW, NOW) == FEED_MORE);
    CHECK(session_output(s, &out) == 5 && memcmp(out, "+OK\r\n", 5) == 0);
    session_free(s);
    free(request);
    int small = 1;
    CHECK(setsockopt(p->c.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
}

/* Takes `n` replies to GET big, at most `piece` bytes at a time, while the server goes on; counts how often it reported. */
static int take_big(client *p, int n, size_t piece) {
    char head[32], got[8192];
    size_t head_n = (size_t)sprintf(head, "$%d\r\n", BIG), each = head_n + BIG + 2, at = 0;
    int reported = 0;
    uint64_t what;
    for (int idle = 0; at < each * (size_t)n && idle < 1000; idle++) {
        ssize_t more = recv(p->far, got, piece, MSG_DONTWAIT);
        for (ssize_t i = 0; i < more; i++, at++) {
            size_t k = at % each;
            char want = k < head_n ? head[k] : k < head_n + BIG ? (char)('a' + (k - head_n) % 23) : "\r\n"[k - head_n - BIG];
            CHECK(got[i] == want);
            idle = 0;
        }
        uint32_t reports = fridge_serve(&h.round);
        if (!reports) continue;
        reported++;
        what = h.round.reports[0].what;
        CHECK(what == FRIDGE_TAKEN);
        if (what != FRIDGE_TAKEN) break;
    }
    CHECK(at == each * (size_t)n);
    return reported;
}

/* --- tests ------------------------------------------------------------------------------------------------------------- */

static void answers_without_a_report(void) {
    uint64_t what = 0;
    client p;
    for (int tcp = 0; tcp < 2; tcp++) {
        open_house();
        meet(&p, 1, tcp);
        say(&p, "SET a 1\r\nINCR a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
        CHECK(serve_all(&what) == 0);
        CHECK(hears(&p, "+OK\r\n:2\r\n$1\r\n2\r\n"));
        CHECK(p.c.asked == EPOLLIN && p.c.unsent == 0 && p.c.last_ms > 0);
        h.round.report_all = 1;
        say(&p, "PING\r\n");
        CHECK(serve_all(&what) == 1 && what == FEED_MORE && h.round.reports[0].id == 1);
        part(&p);
        close_house();
    }
}

static void stops_where_the_owner_is_needed(void) {
    uint64_t what = 0;
    client p;
    open_house();
    meet(&p, 1, false);
    say(&p, "PING\r\nINFO\r\nPING\r\n");
    CHECK(serve_all(&what) == 1 && what == FEED_HOST);
    session_reply_int(p.c.session, 5);
    CHECK(fridge_socket_go_on(&p.c) == FEED_MORE);
    CHECK(hears(&p, "+PONG\r\n:5\r\n+PONG\r\n"));
    say(&p, "QUIT\r\n");
    CHECK(serve_all(&what) == 1 && what == FEED_CLOSE);
    CHECK(hears(&p, "+OK\r\n"));
    part(&p);
    close_house();
}

static void sends_in_pieces_what_a_slow_client_takes(void) {
    uint64_t what = 0;
    client p;
    open_house();
    meet(&p, 1, false);
    make_big(&p);
    say(&p, "GET big\r\nGET big\r\nGET big\r\n");
    CHECK(serve_all(&what) == 0);
    CHECK(p.c.unsent > BIG && p.c.asked == (EPOLLIN | EPOLLOUT));
    CHECK(take_big(&p, 3, 777) == 0); /* nobody wanted to know */
    CHECK(p.c.unsent == 0 && p.c.asked == EPOLLIN);
    say(&p, "PING\r\n");
    CHECK(serve_all(&what) == 0);
    CHECK(hears(&p, "+PONG\r\n"));
    part(&p);
    close_house();
}

static void says_once_when_replies_are_taken(void) {
    uint64_t what = 0;
    client p;
    open_house();
    meet(&p, 1, true);
    make_big(&p);
    h.facts.output_soft = BIG / 2;
    say(&p, "GET big\r\nGET big\r\n");
    CHECK(serve_all(&what) == 1 && what == FEED_FULL);
    p.c.wake_at = 1000;
    CHECK(fridge_socket_read(&p.c, 0) == FEED_MORE);
    CHECK(p.c.asked == EPOLLOUT);
    CHECK(take_big(&p, 1, 8192) == 1);
    CHECK(p.c.unsent == 0 && p.c.wake_at == 0 && p.c.asked == 0);
    CHECK(fridge_socket_go_on(&p.c) == FEED_FULL);
    p.c.wake_at = 1; /* the same at the end of a connection */
    CHECK(fridge_socket_read(&p.c, 0) == FEED_MORE);
    CHECK(take_big(&p, 1, 8192) == 1);
    CHECK(fridge_socket_go_on(&p.c) == FEED_MORE);

    p.c.wake_at = 1; /* nothing is unsent: at the next turn */
    CHECK(fridge_socket_read(&p.c, 0) == FEED_MORE);
    CHECK(serve_all(&what) == 1 && what == FRIDGE_TAKEN);
    CHECK(serve_all(&what) == 0);
    part(&p);
    close_house();
}

static void a_half_closed_client_gets_its_replies(void) {
    uint64_t what = 0;
    client p;
    for (int tcp = 0; tcp < 2; tcp++) {
        open_house();
        meet(&p, 1, tcp);
        make_big(&p);
        say(&p, "GET big\r\n");
        CHECK(shutdown(p.far, SHUT_WR) == 0);
        CHECK(serve_all(&what) == 1 && what == FRIDGE_ENDED);
        CHECK(fridge_socket_read(&p.c, 0) == FEED_MORE);
        CHECK(p.c.unsent > 0 && p.c.asked == EPOLLOUT);
        take_big(&p, 1, 8192);
        CHECK(p.c.unsent == 0 && p.c.asked == 0);
        part(&p);
        close_house();
    }
}

/* TCP: an end that is closed with bytes unread, or without lingering, is a reset. */
static void a_reset_is_reported_while_sending_and_while_reading(void) {
    struct linger at_once = {1, 0};
    uint64_t what = 0;
    client p;
    for (int reading = 0; reading < 2; reading++) {
        for (int tcp = 0; tcp < 2; tcp++) {
            open_house();
            meet(&p, 1, tcp);
            make_big(&p);
            say(&p, reading ? "PING\r\n" : "GET big\r\n");
            CHECK(serve_all(&what) == 0);
            CHECK((p.c.unsent > 0) == !reading);
            if (!reading) CHECK(fridge_socket_read(&p.c, 0) == FEED_MORE);
            CHECK(setsockopt(p.far, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
            close(p.far);
            p.far = -1;
            CHECK(serve_all(&what) == 1 && (what == FRIDGE_LOST || (reading && what == FRIDGE_ENDED)));
            part(&p);
            close_house();
        }
    }
}

static void who_is_not_read_is_no_event(void) {
    uint64_t what = 0;
    client p;
    for (int tcp = 0; tcp < 2; tcp++) {
        open_house();
        meet(&p, 1, tcp);
        CHECK(fridge_socket_read(&p.c, 0) == FEED_MORE);
        CHECK(p.c.asked == 0);
        say(&p, "SET a 1\r\n");
        close(p.far);
        p.far = -1;
        CHECK(serve_all(&what) == 0);
        CHECK(fridge_socket_read(&p.c, 1) == FEED_MORE); /* what he sent is executed all the same */
        CHECK(serve_all(&what) == 1 && (what == FRIDGE_ENDED || what == FRIDGE_LOST));
        session_facts facts;
        session_describe(p.c.session, &facts);
        CHECK(facts.commands == 1);
        part(&p);
        close_house();
    }
}

static void since_when_a_request_is_unfinished(void) {
    uint64_t what = 0;
    client p;
    open_house();
    meet(&p, 1, false);
    say(&p, "*1\r\n$4\r\nPI");
    CHECK(serve_all(&what) == 0);
    CHECK(p.c.partial_ms == p.c.last_ms && p.c.partial_ms > 0);
    p.c.partial_ms = 7;
    say(&p, "N");
    CHECK(serve_all(&what) == 0);
    CHECK(p.c.partial_ms == 7); /* it is the same one */
    say(&p, "G\r\n*1\r\n$4\r\nPI");
    CHECK(serve_all(&what) == 0);
    CHECK(p.c.partial_ms == p.c.last_ms); /* it is the next one */
    say(&p, "NG\r\n");
    CHECK(serve_all(&what) == 0);
    CHECK(p.c.partial_ms == 0);
    part(&p);
    close_house();
}

static void more_clients_than_a_round_holds_are_all_served(void) {
    static client many[CLIENTS];
    static bool seen[CLIENTS];
    struct pollfd ready;
    uint32_t rounds = 0;
    open_house();
    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < CLIENTS; i++) meet(&many[i], i, false);
    for (uint32_t i = 0; i < CLIENTS; i++) say(&many[i], i % 2 ? "QUIT\r\n" : "PING\r\n");
    ready = (struct pollfd){.fd = h.round.epoll, .events = POLLIN};
    for (; poll(&ready, 1, 0) > 0; rounds++) {
        uint32_t n = fridge_serve(&h.round);
        for (uint32_t k = 0; k < n; k++) {
            uint64_t id = h.round.reports[k].id;
            CHECK(h.round.reports[k].what == FEED_CLOSE && id % 2 && !seen[id]);
            seen[id] = true;
        }
    }
    CHECK(rounds == (CLIENTS + FR_COUNTOF(h.round.reports) - 1) / FR_COUNTOF(h.round.reports));
    for (uint32_t i = 0; i < CLIENTS; i++) {
        CHECK(seen[i] == (i % 2 == 1));
        CHECK(hears(&many[i], i % 2 ? "+OK\r\n" : "+PONG\r\n"));
        part(&many[i]);
    }
    close_house();
}

static void who_is_forgotten_is_no_event_though_his_socket_lives_on(void) {
    uint64_t what = 0;
    client p;
    open_house();
    meet(&p, 1, false);
    int other = dup(p.c.fd); /* as a forked child may have it */
    say(&p, "QUIT\r\n");
    int far = p.far;
    p.far = -1;
    part(&p);
    CHECK(serve_all(&what) == 0);
    close(other);
    close(far);
    close_house();
}

static void an_epoll_that_refuses_loses_the_client(void) {
    client p;
    open_house();
    meet(&p, 1, false);
    CHECK(fridge_socket_read(&p.c, 0) == FEED_MORE);
    p.c.epoll = -1;
    CHECK(fridge_socket_read(&p.c, 1) == FRIDGE_LOST);
    part(&p);
    close_house();
}

int main(void) {
    RUN(answers_without_a_report);
    RUN(stops_where_the_owner_is_needed);
    RUN(sends_in_pieces_what_a_slow_client_takes);
    RUN(says_once_when_replies_are_taken);
    RUN(a_half_closed_client_gets_its_replies);
    RUN(a_reset_is_reported_while_sending_and_while_reading);
    RUN(who_is_not_read_is_no_event);
    RUN(since_when_a_request_is_unfinished);
    RUN(more_clients_than_a_round_holds_are_all_served);
    RUN(who_is_forgotten_is_no_event_though_his_socket_lives_on);
    RUN(an_epoll_that_refuses_loses_the_client);
}
