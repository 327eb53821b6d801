/* test_weave.c - EXEC with commands for the host: every reply in its place, whatever becomes of the connection meanwhile.
 *
 * The host here answers each command with a number, or as the test says; `asked` keeps what it was asked.
 */
#include "store_fixture.h"
#include "wire/session.h"

typedef struct peer {
    store *st;
    session *ss;
    server_facts facts;
    char out[1 << 16], asked[1024];
    size_t n;
    int answers;     /* so far: the number it says next */
    int closes_at;   /* that answer is CLIENT KILL of the connection itself; 0 = none */
    int kills_at;    /* before that answer somebody else kills it */
    size_t long_at;  /* that answer has a thousand bytes */
    feed_result last;
} peer;

static void peer_open(peer *p, size_t output_hard) {
    *p = (peer){.facts = {.query_limit = 1 << 20, .output_soft = 1 << 20, .output_hard = output_hard, .max_bulk = 1 << 20,
                          .max_args = 1000, .command_cells = STAT_COUNT}};
    p->st = big_store();
    segment_become(p->st->s, 1, 1);
    p->ss = session_new(p->st, &p->facts, 7);
}

static void peer_close(peer *p) {
    session_free(p->ss);
    close_sound(p->st);
}

static void take_output(peer *p) {
    const char *from;
    size_t n = session_output(p->ss, &from);
    if (n) memcpy(p->out + p->n, from, n);
    p->n += n;
    p->out[p->n] = 0;
    session_sent(p->ss, n);
}

static void answer(peer *p) {
    static const char thousand[1000];
    size_t n;
    p->answers++;
    for (uint32_t i = 0; i < session_host_argc(p->ss); i++) {
        const char *word = session_host_arg(p->ss, i, &n);
        snprintf(p->asked + strlen(p->asked), sizeof p->asked - strlen(p->asked), "%.*s ", (int)n, word);
    }
    if (p->answers == p->kills_at) session_kill(p->ss);
    if ((size_t)p->answers == p->long_at) session_reply_bulk(p->ss, thousand, sizeof thousand);
    else session_reply_int(p->ss, p->answers);
    if (p->answers == p->closes_at) session_reply_close(p->ss);
}

/* Feeds text, `piece` bytes at a time, and answers what the host is asked. */
static void feed(peer *p, const char *text, size_t piece) {
    size_t left = strlen(text);
    p->last = FEED_MORE;
    while (left && p->last != FEED_CLOSE) {
        size_t n = left < piece ? left : piece;
        char *copy = malloc(n); /* AddressSanitizer sees who looks further, or later */
        memcpy(copy, text, n);
        p->last = session_feed(p->ss, copy, n, NOW, NOW);
        free(copy);
        take_output(p);
        while (p->last == FEED_HOST) {
            answer(p);
            p->last = session_feed(p->ss, NULL, 0, NOW, NOW);
            take_output(p);
        }
        text += n;
        left -= n;
    }
}

#define TRANSACTION "MULTI\r\nSET a 1\r\nINFO x\r\nINCR a\r\nCONFIG GET y\r\nCLIENT LIST\r\nHGET a f\r\nINFO\r\nEXEC\r\nGET a\r\n"
#define QUEUED "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n"
#define WRONG "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

static void every_reply_in_its_place(void) {
    for (size_t piece = 1; piece <= strlen(TRANSACTION); piece++) {
        peer p;
        peer_open(&p, 1 << 20);
        feed(&p, TRANSACTION, piece);
        CHECK(strcmp(p.out, QUEUED "*7\r\n+OK\r\n:1\r\n:2\r\n:2\r\n:3\r\n" WRONG ":4\r\n$1\r\n2\r\n") == 0);
        CHECK(strcmp(p.asked, "INFO x CONFIG GET y CLIENT LIST INFO ") == 0);
        peer_close(&p);
    }
}

static void nothing_but_host_commands(void) {
    peer p;
    peer_open(&p, 1 << 20);
    feed(&p, "WATCH a\r\nMULTI\r\nINFO\r\nINFO\r\nEXEC\r\nPING\r\nEXEC\r\n", 1000);
    CHECK(strcmp(p.out, "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n+PONG\r\n-ERR EXEC without MULTI\r\n") == 0);
    peer_close(&p);
}

static void the_host_is_not_asked_when_a_watched_key_has_changed(void) {
    peer p;
    peer_open(&p, 1 << 20);
    session *other = session_new(p.st, &p.facts, 8);
    feed(&p, "WATCH a\r\n", 1000);
    session_feed(other, "SET a 2\r\n", 9, NOW, NOW);
    feed(&p, TRANSACTION, 1000);
    CHECK(strcmp(p.out, "+OK\r\n" QUEUED "*-1\r\n$1\r\n2\r\n") == 0 && p.answers == 0);
    session_free(other);
    peer_close(&p);
}

/* Between two answers of the host other clients may run, but the data commands have long been committed together. */
static void data_commands_are_committed_before_the_host_is_asked(void) {
    peer p;
    peer_open(&p, 1 << 20);
    session *other = session_new(p.st, &p.facts, 8);
    const char *seen;
    CHECK(session_feed(p.ss, TRANSACTION, strlen(TRANSACTION), NOW, NOW) == FEED_HOST);
    session_feed(other, "GET a\r\nSET a 50\r\n", 17, NOW, NOW);
    CHECK(session_output(other, &seen) == 12 && memcmp(seen, "$1\r\n2\r\n+OK\r\n", 12) == 0);
    session_facts facts;
    session_describe(p.ss, &facts);
    CHECK(facts.in_multi && facts.queued == 7 && strcmp(facts.last_command, "exec") == 0);
    session_free(other);
    peer_close(&p); /* in the middle of it: nothing leaks */
}

static void client_reply_off_and_skip(void) {
    peer p;
    peer_open(&p, 1 << 20);
    feed(&p, "CLIENT REPLY OFF\r\n" TRANSACTION "CLIENT REPLY ON\r\nPING\r\n", 1000);
    CHECK(strcmp(p.out, "+OK\r\n+PONG\r\n") == 0 && p.answers == 4);
    peer_close(&p);
    peer_open(&p, 1 << 20);
    feed(&p, "MULTI\r\nSET b 1\r\nINFO\r\nGET b\r\nINFO\r\nCLIENT REPLY SKIP\r\nEXEC\r\nPING\r\nPING\r\n", 1000);
    const char *array = strstr(p.out, "*5"); /* as redis-server: the array is one short, and one PING has no reply */
    CHECK(array && strcmp(array, "*5\r\n+OK\r\n:1\r\n$1\r\n1\r\n:2\r\n+PONG\r\n") == 0);
    peer_close(&p);
}

static void who_kills_itself_hears_that_and_no_more(void) {
    peer p;
    peer_open(&p, 1 << 20);
    p.closes_at = 2;
    feed(&p, TRANSACTION, 1000);
    CHECK(strcmp(p.out, QUEUED "*7\r\n+OK\r\n:1\r\n:2\r\n:2\r\n") == 0);
    CHECK(p.last == FEED_CLOSE && p.answers == 4); /* the others were carried out all the same */
    peer_close(&p);
    peer_open(&p, 1 << 20);
    p.kills_at = 2;
    feed(&p, TRANSACTION, 1000);
    CHECK(p.last == FEED_CLOSE && p.answers == 2);
    peer_close(&p);
}

static void a_reply_past_the_limit_ends_the_connection(void) {
    peer p;
    peer_open(&p, 900);
    p.long_at = 3;
    feed(&p, TRANSACTION, 1000);
    CHECK(p.last == FEED_CLOSE && p.answers == 3 && strstr(p.out, "*7\r\n") != NULL && !strstr(p.out, WRONG));
    peer_close(&p);
    peer_open(&p, 900);
    p.long_at = 1;
    feed(&p, "INFO\r\nPING\r\n", 1000);
    CHECK(p.last == FEED_CLOSE && p.n == 0);
    peer_close(&p);
}

int main(void) {
    fixture_unused();
    RUN(every_reply_in_its_place);
    RUN(nothing_but_host_commands);
    RUN(the_host_is_not_asked_when_a_watched_key_has_changed);
    RUN(data_commands_are_committed_before_the_host_is_asked);
    RUN(client_reply_off_and_skip);
    RUN(who_kills_itself_hears_that_and_no_more);
    RUN(a_reply_past_the_limit_ends_the_connection);
    return 0;
}
