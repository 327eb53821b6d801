/* test_session.c - what a session is left with when a command fails, and whom it will not talk to. Replies to the byte:
 * tests/wire; EXEC with commands for the host: test_weave.c; any bytes at all: fuzz/session.c.
 */
#include "full_store.h"
#include "wire/session.h"

typedef struct peer {
    store *st;
    session *ss;
    server_facts facts;
    char out[1 << 16];
    size_t n;
} peer;

static void peer_open(peer *p, store *st) {
    *p = (peer){.st = st, .facts = {.query_limit = 1 << 20, .output_soft = 1 << 20, .output_hard = 1 << 20, .max_bulk = 1 << 20,
                                    .max_args = 1000, .command_cells = STAT_COUNT}};
    p->ss = session_new(st, &p->facts, 7);
    session_authenticate(p->ss, 1);
}

static feed_result feed(peer *p, const char *data, size_t n) {
    const char *from;
    feed_result result = session_feed(p->ss, data, n, NOW, NOW);
    p->n = session_output(p->ss, &from);
    memcpy(p->out, from, p->n);
    p->out[p->n] = 0;
    session_sent(p->ss, p->n);
    return result;
}

static bool says(peer *p, const char *request, const char *reply) {
    feed(p, request, strlen(request));
    if (strcmp(p->out, reply) == 0) return true;
    fprintf(stderr, "%s is answered %s", request, p->out);
    return false;
}

static session_facts facts_of(peer *p) {
    session_facts facts;
    session_describe(p->ss, &facts);
    return facts;
}

/* EXEC has run a SELECT when there is no room for what comes behind it: all of it is as if it had not been. */
static void an_exec_that_failed_leaves_the_database_as_it_was(void) {
    static char request[4096];
    peer p;
    int n;
    store *st = tiny();
    CHECK_STATUS(fill_up(st, "k", NO_EXPIRY, &n), FR_OOM);
    peer_open(&p, st);
    size_t at = (size_t)snprintf(request, sizeof request, "MULTI\r\nSELECT 5\r\nSET x ");
    memset(request + at, 'v', 3000);
    memcpy(request + at + 3000, "\r\nEXEC\r\n", 9);
    feed(&p, request, at + 3000 + 8);
    CHECK(strncmp(p.out, "+OK\r\n+QUEUED\r\n+QUEUED\r\n-OOM ", 28) == 0);
    CHECK(facts_of(&p).db == 0 && !facts_of(&p).in_multi);
    CHECK(says(&p, "EXISTS k0 x\r\n", ":1\r\n") && says(&p, "EXEC\r\n", "-ERR EXEC without MULTI\r\n"));
    session_free(p.ss);
    close_sound(st);
}

/* A live process holds a latch: EXEC waits, runs later, and is in the database that it began in. */
static void an_exec_that_waited_begins_again(void) {
    peer p;
    key k;
    store *st = big_store();
    segment_become(st->s, 1, 1);
    segment_become(st->s, 2, 1);
    peer_open(&p, st);
    CHECK_STATUS(key_route(st, 0, text_of("x"), &k, &last_error), FR_OK);
    CHECK(latch_try(st->s, k.stripe));
    segment_become(st->s, 1, 1);
    CHECK(says(&p, "MULTI\r\nSET x 0\r\nSELECT 5\r\nSET x 5\r\nSELECT 0\r\nEXEC\r\n",
               "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"));
    CHECK(facts_of(&p).db == 0);
    segment_become(st->s, 2, 1);
    latch_drop(st->s, k.stripe);
    segment_become(st->s, 1, 1);
    CHECK(says(&p, "", "*4\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n") && says(&p, "GET x\r\n", "$1\r\n0\r\n"));
    CHECK(says(&p, "SELECT 5\r\nGET x\r\n", "+OK\r\n$1\r\n5\r\n"));
    session_free(p.ss);
    close_sound(st);
}

static void strangers(peer *p) {
    peer_open(p, big_store());
    p->facts.password_set = 1;
    session_authenticate(p->ss, 0);
}

/* The host has refused the password: nothing of the HELLO that brought it holds. */
static void who_is_not_let_in_changes_nothing(void) {
    peer p;
    strangers(&p);
    CHECK(says(&p, "PING\r\n", "-NOAUTH Authentication required.\r\n"));
    CHECK(says(&p, "MULTI\r\n", "-NOAUTH Authentication required.\r\n"));
    feed(&p, "HELLO 3 SETNAME me\r\n", 20);
    CHECK(strncmp(p.out, "-NOAUTH HELLO must be called", 28) == 0);
    CHECK(feed(&p, "HELLO 3 AUTH default wrong SETNAME me\r\n", 39) == FEED_HOST);
    session_reply_error(p.ss, "WRONGPASS no", 12);
    CHECK(says(&p, "", "-WRONGPASS no\r\n"));
    CHECK(facts_of(&p).protocol == 2 && facts_of(&p).name[0] == 0 && !facts_of(&p).authenticated && !facts_of(&p).in_multi);
    CHECK(feed(&p, "HELLO 3 AUTH default right SETNAME me\r\n", 39) == FEED_HOST);
    session_authenticate(p.ss, 1);
    CHECK(session_finish_natively(p.ss));
    feed(&p, "", 0);
    CHECK(p.out[0] == '%' && facts_of(&p).protocol == 3 && strcmp(facts_of(&p).name, "me") == 0);
    session_free(p.ss);
    close_sound(p.st);
}

/* RESET makes a stranger of its sender, for the bytes that came with it already. */
static void who_has_reset_is_a_stranger(void) {
    peer p;
    strangers(&p);
    session_authenticate(p.ss, 1);
    CHECK(says(&p, "PING\r\n", "+PONG\r\n"));
    CHECK(says(&p, "RESET\r\nPING\r\n*11\r\n$4\r\nPING\r\n",
               "+RESET\r\n-NOAUTH Authentication required.\r\n-ERR Protocol error: unauthenticated multibulk length\r\n"));
    session_free(p.ss);
    close_sound(p.st);
}

static bool shown(peer *p, const char *request, const char *want) {
    const char *log;
    feed(p, request, strlen(request));
    size_t n = session_monitor_take(p->ss, &log);
    return n == strlen(want) && memcmp(log, want, n) == 0;
}

static void monitors_see_no_passwords(void) {
    peer p;
    peer_open(&p, big_store());
    p.facts.monitors = 1;
    CHECK(shown(&p, "SET k v\r\n", "0 \"SET\" \"k\" \"v\"\n"));
    CHECK(shown(&p, "AUTH default hidden\r\n", "0 \"AUTH\" \"(redacted)\" \"(redacted)\"\n"));
    CHECK(shown(&p, "HELLO 2 AUTH default hidden\r\n", ""));
    CHECK(shown(&p, "NOSUCH hidden\r\n", "") && shown(&p, "GET\r\n", "")); /* nor what did not run */
    session_free(p.ss);
    close_sound(p.st);
}

static void names_have_a_limit(void) {
    char request[300], want[300];
    peer p;
    store *st = big_store();
    for (size_t n = 120; n < 140; n++) {
        peer_open(&p, st);
        int length = snprintf(request, sizeof request, "CLIENT SETNAME %0*d\r\n", (int)n, 7);
        feed(&p, request, (size_t)length);
        bool fits = p.out[0] == '+';
        CHECK(fits == (n < sizeof facts_of(&p).name));
        snprintf(want, sizeof want, "$%zu\r\n%0*d\r\n", n, (int)n, 7);
        CHECK(says(&p, "CLIENT GETNAME\r\n", fits ? want : "$-1\r\n"));
        session_free(p.ss);
    }
    close_sound(st);
}

/* What a web page makes its reader's browser send begins with an HTTP head; the commands that follow in its body are not run. */
static void browsers_are_not_talked_to(void) {
    static const char *const heads[] = {"POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost:6380\r\n"};
    for (size_t i = 0; i < FR_COUNTOF(heads); i++) {
        peer p;
        char request[256];
        store *st = big_store();
        peer_open(&p, st);
        int n = snprintf(request, sizeof request, "%sContent-Length: 20\r\n\r\nSET owned 1\r\n", heads[i]);
        CHECK(feed(&p, request, (size_t)n) == FEED_CLOSE);
        CHECK(i == 0 ? p.n == 0 : strchr(p.out, '\n') == p.out + p.n - 1); /* at most the error for GET's arguments */
        CHECK(!exists(st, "owned"));
        session_free(p.ss);
        close_sound(st);
    }
}

int main(void) {
    RUN(an_exec_that_failed_leaves_the_database_as_it_was);
    RUN(an_exec_that_waited_begins_again);
    RUN(who_is_not_let_in_changes_nothing);
    RUN(who_has_reset_is_a_stranger);
    RUN(monitors_see_no_passwords);
    RUN(names_have_a_limit);
    RUN(browsers_are_not_talked_to);
    return 0;
}
