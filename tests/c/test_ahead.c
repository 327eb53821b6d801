/* test_ahead.c - looking ahead changes nothing: replies are the same whether requests come together, one by one or cut. */
#include "store_fixture.h"
#include "wire/ahead.h"
#include "wire/session.h"

static const char *const requests[] = {
    "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nx\r\n",
    "*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "*1\r\n$4\r\nPING\r\n",
    "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n",
    "GET a\r\n", /* inline: not seen ahead */
    "*2\r\n$3\r\nGET\r\n$0\r\n\r\n",
    "*4\r\n$4\r\nHSET\r\n$1\r\nh\r\n$1\r\nf\r\n$1\r\nv\r\n",
    "*2\r\n$3\r\nGET\r\n$1\r\nh\r\n", /* WRONGTYPE */
    "*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n",
    "*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "*1\r\n$5\r\nMULTI\r\n",
    "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n",
    "*1\r\n$4\r\nEXEC\r\n",
    "*1\r\n$7\r\nFLUSHDB\r\n",
    "*2\r\n$3\r\nGET\r\n$1\r\nn\r\n",
    "*2\r\n$3\r\nGET\r\n$00001\r\na\r\n",
};

static size_t all_requests(char *to) {
    size_t n = 0;
    for (size_t i = 0; i < FR_COUNTOF(requests); i++) {
        memcpy(to + n, requests[i], strlen(requests[i]));
        n += strlen(requests[i]);
    }
    return n;
}

/* Feeds text in pieces of `piece` bytes, from memory that ends where the piece does. Returns the replies' length. */
static size_t replies_to(const char *text, size_t n, size_t piece, char *out) {
    server_facts facts = {.query_limit = 1 << 20, .output_soft = 1 << 20, .output_hard = 1 << 20, .max_bulk = 1 << 20,
                          .max_args = 1000, .command_cells = STAT_COUNT};
    store *st = big_store();
    session *s = session_new(st, &facts, 1);
    size_t got = 0;
    session_authenticate(s, 1);
    for (size_t at = 0; at < n; at += piece) {
        size_t m = n - at < piece ? n - at : piece;
        char *copy = malloc(m);
        const char *p;
        memcpy(copy, text + at, m);
        session_feed(s, copy, m, NOW, NOW);
        free(copy);
        size_t length = session_output(s, &p);
        if (length) memcpy(out + got, p, length);
        got += length;
        session_sent(s, length);
    }
    session_free(s);
    close_sound(st);
    return got;
}

static void replies_do_not_depend_on_the_pieces(void) {
    char text[2048], whole[4096], pieces[4096];
    size_t n = all_requests(text), want = replies_to(text, n, n, whole);
    CHECK(want > 100 && memcmp(whole, "+OK\r\n$1\r\nx\r\n+PONG\r\n:1\r\n", 23) == 0);
    for (size_t piece = 1; piece < n; piece += piece < 40 ? 1 : 17) {
        CHECK(replies_to(text, n, piece, pieces) == want);
        CHECK(memcmp(whole, pieces, want) == 0);
    }
}

/* Peeking ends at whatever is no whole ordinary request, and reads no byte behind it (AddressSanitizer watches). */
static void peeks_at_whole_requests_only(void) {
    static const struct {
        const char *text;
        uint32_t seen;
    } cases[] = {{"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", 1},  {"*2\r\n$3\r\nGET\r\n$1\r\na\r", 0}, {"*2\r\n$3\r\nGET\r\n$1\r\n", 0},
                 {"*", 0},                               {"*9", 0},                          {"*2\r", 0},
                 {"GET a\r\n", 0},                       {"*-1\r\n", 0},                     {"*2\r\n$-1\r\n", 0},
                 {"*1\r\n$99999\r\nx\r\n", 0},          {"*1\r\n$123456\r\nx\r\n", 0},     {"*99999\r\n$1\r\nx\r\n", 0},
                 {"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\nx", 2}};
    store *st = big_store();
    for (size_t i = 0; i < FR_COUNTOF(cases); i++) {
        size_t n = strlen(cases[i].text);
        char *copy = malloc(n);
        ahead a;
        memcpy(copy, cases[i].text, n);
        ahead_begin(&a, copy, n);
        ahead_step(&a, st, 0);
        CHECK(a.peeked == cases[i].seen && a.at == a.end);
        free(copy);
    }
    close_sound(st);
}

int main(void) {
    fixture_unused();
    RUN(replies_do_not_depend_on_the_pieces);
    RUN(peeks_at_whole_requests_only);
    return 0;
}
