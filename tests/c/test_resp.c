/* test_resp.c - the request parser and the reply writer of csrc/wire/resp.c.
 *
 * Every transcript is fed whole, byte by byte, in two pieces at every place, and with the head of a next request behind
 * it; the words must come out the same each time. Pieces are fed from memory that moves, so a word that still points to
 * where it was is found by the sanitizers.
 */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "wire/resp.h"

static const resp_limits plain = {1u << 20, 1024, false};

/* What came out of a feeding: all requests' words, '|' between two, '\n' behind a request; or "!" and the error. */
struct outcome {
    char text[65536];
    size_t n;
};

static void note(struct outcome *o, const char *p, size_t n) {
    if (o->n + n >= sizeof o->text) return;
    memcpy(o->text + o->n, p, n);
    o->n += n;
    o->text[o->n] = 0;
}

static void note_request(struct outcome *o, const resp_parser *p) {
    for (uint32_t i = 0; i < p->argc; i++) {
        if (i) note(o, "|", 1);
        note(o, p->argv[i].p, p->argv[i].n);
    }
    note(o, "\n", 1);
}

/* feed gives n bytes in pieces that end at each place for which cut() says so. */
struct feeding {
    resp_parser p;
    char *kept; /* a fresh copy for each piece */
    size_t n;
    bool failed;
};

static void piece(struct feeding *f, const char *data, size_t n, const resp_limits *l, struct outcome *o) {
    char *fresh = malloc(f->n + n + 1);
    memcpy(fresh, f->kept ? f->kept : "", f->n);
    memcpy(fresh + f->n, data, n);
    resp_moved(&f->p, fresh);
    free(f->kept);
    f->kept = fresh;
    f->n += n;
    for (int64_t got; !f->failed && (got = resp_parse(&f->p, f->kept, f->n, l)) != 0;) {
        if (got < 0) {
            note(o, "!", 1);
            note(o, f->p.error, strlen(f->p.error));
            f->failed = true;
            break;
        }
        if (f->p.argc) note_request(o, &f->p);
        f->n -= (size_t)got;
        memmove(f->kept, f->kept + got, f->n);
    }
}

static void feed(const char *data, size_t n, size_t step, size_t cut, const resp_limits *l, struct outcome *o) {
    struct feeding f = {0};
    resp_init(&f.p);
    o->n = 0;
    o->text[0] = 0;
    for (size_t at = 0; at < n;) {
        size_t take = cut && at < cut ? cut - at : step;
        if (take > n - at) take = n - at;
        piece(&f, data + at, take, l, o);
        at += take;
    }
    free(f.kept);
    resp_free(&f.p);
}

static bool same(const struct outcome *o, const char *want, size_t n) { return o->n == n && !memcmp(o->text, want, n); }

static void expect_n(const char *data, size_t n, const char *want, size_t want_n, const resp_limits *l) {
    static struct outcome o;
    feed(data, n, n, 0, l, &o);
    if (!same(&o, want, want_n)) fprintf(stderr, "fed %.*s\ngot %s\n", (int)n, data, o.text);
    CHECK(same(&o, want, want_n));
    feed(data, n, 1, 0, l, &o);
    CHECK(same(&o, want, want_n));
    for (size_t cut = 1; cut < n; cut++) {
        feed(data, n, n, cut, l, &o);
        CHECK(same(&o, want, want_n));
    }
}

#define EXPECT(data, want) expect_n((data), sizeof(data) - 1, (want), sizeof(want) - 1, &plain)
#define EXPECT_STRANGER(data, want)                                                                                    \
    expect_n((data), sizeof(data) - 1, (want), sizeof(want) - 1, &(resp_limits){1u << 20, 1024, true})

static void test_requests(void) {
    EXPECT("*1\r\n$4\r\nPING\r\n", "PING\n");
    EXPECT("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", "SET|k|\n");
    EXPECT("*2\r\n$3\r\nGET\r\n$12\r\nabcdefghijkl\r\n*1\r\n$4\r\nPING\r\n", "GET|abcdefghijkl\nPING\n");
    EXPECT("*2\r\n$4\r\nECHO\r\n$5\r\n\0\r\n$*\r\n", "ECHO|\0\r\n$*\n");
    EXPECT("*0\r\n*-1\r\n*-5\r\n*1\r\n$4\r\nPING\r\n", "PING\n");
}

static void test_a_tail_stays(void) {
    EXPECT("*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGE", "PING\n");
    EXPECT("*1\r\n$4\r\nPING\r\nQUI", "PING\n");
    EXPECT("*", "");
    EXPECT("*3\r", "");
    EXPECT("*1\r\n$100\r\nabc", "");
}

static void test_many_arguments(void) {
    static char data[8192], want[4096];
    size_t n = (size_t)sprintf(data, "*300\r\n"), w = 0;
    for (int i = 0; i < 300; i++) {
        n += (size_t)sprintf(data + n, "$3\r\n%03d\r\n", i);
        w += (size_t)sprintf(want + w, i ? "|%03d" : "%03d", i);
    }
    want[w++] = '\n';
    expect_n(data, n, want, w, &plain);
}

static void test_a_long_argument(void) {
    enum { LENGTH = 30000 };
    static char data[LENGTH + 64], want[LENGTH + 8];
    static struct outcome o;
    size_t n = (size_t)sprintf(data, "*2\r\n$4\r\nECHO\r\n$%d\r\n", LENGTH);
    memset(data + n, 'x', LENGTH);
    memcpy(data + n + LENGTH, "\r\n", 2);
    memcpy(want, "ECHO|", 5);
    memset(want + 5, 'x', LENGTH);
    want[LENGTH + 5] = '\n';
    size_t steps[] = {n + LENGTH + 2, 1, 7, 1000};
    for (size_t i = 0; i < FR_COUNTOF(steps); i++) {
        feed(data, n + LENGTH + 2, steps[i], 0, &plain, &o);
        CHECK(same(&o, want, LENGTH + 6));
    }
}

static void test_inline(void) {
    EXPECT("PING\r\n", "PING\n");
    EXPECT("PING\n", "PING\n");
    EXPECT("\r\n\n  \r\nGET  k \t\r\n", "GET|k\n");
    EXPECT("SET k \"a b\\x41\\n\\\"\\q\"\r\n", "SET|k|a bA\n\"q\n");
    EXPECT("SET k 'a\\'b \\n'\r\n", "SET|k|a'b \\n\n");
    EXPECT("SET k \"\"\r\n", "SET|k|\n");
    EXPECT("SET a\"b\" c\r\n", "SET|ab|c\n");
}

static void test_inline_refused(void) {
    EXPECT("SET k \"abc\r\n", "!Protocol error: unbalanced quotes in request");
    EXPECT("SET k 'abc\r\n", "!Protocol error: unbalanced quotes in request");
    EXPECT("SET k \"a\"b\r\n", "!Protocol error: unbalanced quotes in request");
}

static void test_lengths_refused(void) {
    EXPECT("*a\r\n", "!Protocol error: invalid multibulk length");
    EXPECT("*\r\n", "!Protocol error: invalid multibulk length");
    EXPECT("*01\r\n", "!Protocol error: invalid multibulk length");
    EXPECT("*1\rx", "!Protocol error: invalid multibulk length");
    EXPECT("*1 \r\n", "!Protocol error: invalid multibulk length");
    EXPECT("*1\0\r\n", "!Protocol error: invalid multibulk length");
    EXPECT("*1025\r\n", "!Protocol error: invalid multibulk length");
    EXPECT("*99999999999999999999999\r\n", "!Protocol error: invalid multibulk length");
    EXPECT("*1\r\n$-1\r\n", "!Protocol error: invalid bulk length");
    EXPECT("*1\r\n$\r\n", "!Protocol error: invalid bulk length");
    EXPECT("*1\r\n$+3\r\n", "!Protocol error: invalid bulk length");
    EXPECT("*1\r\n$1048577\r\n", "!Protocol error: invalid bulk length");
    EXPECT("*1\r\n$18446744073709551615\r\n", "!Protocol error: invalid bulk length");
    EXPECT("*1\r\n$3\0\r\n", "!Protocol error: invalid bulk length");
}

static void test_wrong_bytes_refused(void) {
    EXPECT("*1\r\n:3\r\n", "!Protocol error: expected '$', got ':'");
    EXPECT("*1\r\nPING\r\n", "!Protocol error: expected '$', got 'P'");
    EXPECT("*1\r\n\r\n", "!Protocol error: expected '$', got ' '");
    EXPECT("*1\r\n$4\r\nPINGxx", "!Protocol error: expected CRLF after bulk");
    EXPECT("*1\r\n$3\r\nPING\r\n", "!Protocol error: expected CRLF after bulk");
    EXPECT("*1\r\n$4\r\nPING\n\n", "!Protocol error: expected CRLF after bulk");
    EXPECT("*1\r\n$4\r\nPING\rx", "!Protocol error: expected CRLF after bulk");
    EXPECT("PING\r\n*1\r\n$x\r\n", "PING\n!Protocol error: invalid bulk length");
}

/* A line without an end is refused once it passes RESP_LINE_MAX, whatever it begins with. */
static void endless(const char *head, const char *want) {
    enum { LENGTH = RESP_LINE_MAX + 64 };
    static char data[LENGTH];
    static struct outcome o;
    memset(data, '7', LENGTH);
    memcpy(data, head, strlen(head));
    feed(data, LENGTH, LENGTH, 0, &plain, &o);
    CHECK(same(&o, want, strlen(want)));
    feed(data, LENGTH, 999, 0, &plain, &o);
    CHECK(same(&o, want, strlen(want)));
    feed(data, RESP_LINE_MAX, 1, 0, &plain, &o);
    CHECK(o.n == 0);
}

static void test_endless_lines_refused(void) {
    endless("*1", "!Protocol error: too big mbulk count string");
    endless("PING", "!Protocol error: too big inline request");
    enum { LENGTH = RESP_LINE_MAX + 64 };
    static char data[LENGTH];
    static struct outcome o;
    memset(data, '7', LENGTH);
    memcpy(data, "*1\r\n$", 5);
    feed(data, LENGTH, 1000, 0, &plain, &o);
    CHECK(!strcmp(o.text, "!Protocol error: too big bulk count string"));
}

static void test_strangers_get_little(void) {
    EXPECT_STRANGER("*10\r\n", "");
    EXPECT_STRANGER("*11\r\n", "!Protocol error: unauthenticated multibulk length");
    EXPECT_STRANGER("*1\r\n$16384\r\n", "");
    EXPECT_STRANGER("*1\r\n$16385\r\n", "!Protocol error: unauthenticated bulk length");
    EXPECT_STRANGER("a b c d e f g h i j k\r\n", "!Protocol error: unauthenticated multibulk length");
}

static void test_nothing_is_allocated_from_a_declared_length(void) {
    resp_parser p;
    resp_init(&p);
    const char head[] = "*1024\r\n$1000000\r\n";
    CHECK(resp_parse(&p, head, sizeof head - 1, &plain) == 0);
    CHECK(p.cap == 0 && p.words == NULL);
    resp_free(&p);
}

/* A random cut of random bytes never makes the parser read outside them, and never takes more than there is. */
static void test_noise(void) {
    static const char alphabet[] = "*$1230\r\n-\"'\\ aP\0";
    uint32_t x = 1;
    for (int round = 0; round < 200000; round++) {
        char data[48];
        size_t n = 0;
        for (size_t length = round % 48; n < length; n++) {
            x = x * 1664525u + 1013904223u;
            data[n] = alphabet[(x >> 16) % (sizeof alphabet - 1)];
        }
        resp_parser p;
        resp_init(&p);
        char *copy = malloc(n + 1);
        memcpy(copy, data, n);
        int64_t got = resp_parse(&p, copy, n, &plain);
        CHECK(got <= (int64_t)n);
        for (uint32_t i = 0; got > 0 && i < p.argc; i++) CHECK(p.argv[i].n <= n);
        free(copy);
        resp_free(&p);
    }
}

/* --- numbers and replies ------------------------------------------------------------------------------------------ */

static void test_numbers(void) {
    static const char *const good[] = {"0", "-1", "9223372036854775807", "-9223372036854775808", "42"};
    static const char *const bad[] = {"",   "-", "+1", "01", "-0x", " 1", "1 ", "9223372036854775808",
                                      "-9223372036854775809", "1.0", "00", "-01", "99999999999999999999"};
    for (size_t i = 0; i < FR_COUNTOF(good); i++) {
        int64_t v;
        char text[20];
        CHECK(resp_number((span){good[i], strlen(good[i])}, &v));
        CHECK(span_eq((span){text, resp_int(v, text)}, (span){good[i], strlen(good[i])}));
    }
    for (size_t i = 0; i < FR_COUNTOF(bad); i++) {
        int64_t v;
        CHECK(!resp_number((span){bad[i], strlen(bad[i])}, &v));
    }
}

static bool wrote(const reply *r, const char *want) {
    return r->n - r->sent == strlen(want) && !memcmp(r->p + r->sent, want, strlen(want));
}

static void write_all(reply *r) {
    reply_ok(r);
    reply_int(r, -7);
    reply_bulk(r, SPAN_LIT("abc"));
    reply_null(r);
    reply_null_array(r);
    reply_map(r, 1);
    reply_set(r, 2);
    reply_push(r, 1);
    reply_verbatim(r, SPAN_LIT("v"));
}

static void test_replies(void) {
    reply r;
    reply_init(&r, 1u << 20);
    write_all(&r);
    CHECK(wrote(&r, "+OK\r\n:-7\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n*2\r\n*2\r\n*1\r\n$1\r\nv\r\n"));
    reply_truncate(&r, 0);
    r.protocol = 3;
    write_all(&r);
    CHECK(wrote(&r, "+OK\r\n:-7\r\n$3\r\nabc\r\n_\r\n_\r\n%1\r\n~2\r\n>1\r\n=5\r\ntxt:v\r\n"));
    reply_free(&r);
}

static void test_lines_hold_no_line_ends(void) {
    reply r;
    reply_init(&r, 1u << 20);
    reply_error(&r, SPAN_LIT("ERR a\r\n+OK\nb\r\n"));
    CHECK(wrote(&r, "-ERR a  +OK b\r\n"));
    reply_free(&r);
}

static void test_late_lengths(void) {
    reply r;
    reply_init(&r, 1u << 20);
    reply_ok(&r);
    size_t mark = reply_open(&r);
    for (int i = 0; i < 11; i++) reply_int(&r, 1);
    reply_close(&r, mark, '*', 11);
    CHECK(!memcmp(r.p, "+OK\r\n*11\r\n:1\r\n", 14) && r.n == 5 + 5 + 44);
    reply_truncate(&r, mark);
    CHECK(wrote(&r, "+OK\r\n"));
    reply_free(&r);
}

static void test_a_reply_beyond_its_limit_breaks(void) {
    reply r;
    char big[1000] = {0};
    reply_init(&r, 2048);
    for (int i = 0; i < 4; i++) reply_bulk(&r, (span){big, sizeof big});
    CHECK(r.broken && r.n <= 4096);
    reply_free(&r);
    reply_init(&r, 2048); /* what the peer has taken does not count */
    reply_bulk(&r, (span){big, 984});
    reply_bulk(&r, (span){big, 984});
    reply_drop(&r, 990); /* less than half: it stays where it is */
    reply_bulk(&r, (span){big, 884});
    CHECK(!r.broken && r.n - r.sent == 2 * 992 - 990 + 892);
    for (int i = 0; i < 3; i++) reply_bulk(&r, (span){big, 984});
    CHECK(r.broken);
    reply_free(&r);
}

static void test_what_was_sent_is_dropped(void) {
    reply r;
    reply_init(&r, 1u << 20);
    for (int i = 0; i < 100; i++) reply_int(&r, i % 10);
    reply_drop(&r, 4);
    CHECK(r.n - r.sent == 396 && !memcmp(r.p + r.sent, ":1\r\n", 4));
    reply_drop(&r, 300);
    CHECK(r.n - r.sent == 96);
    reply_drop(&r, 96);
    CHECK(r.n == 0 && r.sent == 0);
    reply_free(&r);
}

int main(void) {
    RUN(test_requests);
    RUN(test_a_tail_stays);
    RUN(test_many_arguments);
    RUN(test_a_long_argument);
    RUN(test_inline);
    RUN(test_inline_refused);
    RUN(test_lengths_refused);
    RUN(test_wrong_bytes_refused);
    RUN(test_endless_lines_refused);
    RUN(test_strangers_get_little);
    RUN(test_nothing_is_allocated_from_a_declared_length);
    RUN(test_noise);
    RUN(test_numbers);
    RUN(test_replies);
    RUN(test_lines_hold_no_line_ends);
    RUN(test_late_lengths);
    RUN(test_a_reply_beyond_its_limit_breaks);
    RUN(test_what_was_sent_is_dropped);
    return 0;
}
