/* session.c - RESP from strangers: whatever bytes come, in whatever pieces, the answer is the same and well formed.
 *
 * A case is a history: inputs of a few pipelined commands, most of them right, some broken in the ways that protocols
 * are broken, fed to sessions over equal stores: whole, byte by byte, and cut at random. After each input the bytes
 * that came out, the state of the sessions and at the end the stores must be equal, and what came out must be whole
 * RESP replies. Short cases are also cut in two at every place, each time from the beginning.
 *
 * With -DFRIDGE_LIBFUZZER (clang) the same is libFuzzer's target, with a mutator that knows commands.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "fuzz.h"
#include "shm/segment.h"
#include "store/table.h"
#include "wire/session_state.h"

#define NOW UINT64_C(10000000)
#define WALL UINT64_C(1700000000000)
#define PEERS 3u /* whole, byte by byte, at random */
#define INPUT_MAX 200000u
#define CUT_MAX 700u /* inputs up to this long are cut in two everywhere */

/* --- the clock ---------------------------------------------------------------------------------------------------- */

uint64_t __wrap_clock_boot_ms(void);
uint64_t __wrap_clock_boot_ms(void) { return NOW; }

static bool frozen; /* while a session works: TIME tells microseconds */
int __real_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_clock_gettime(clockid_t id, struct timespec *t) {
    if (!frozen) return __real_clock_gettime(id, t);
    *t = (struct timespec){(time_t)(WALL / 1000), 123456789};
    return 0;
}

/* --- failures ----------------------------------------------------------------------------------------------------- */

static const char *seen;
static size_t seen_n;

/* Shows the input before it gives up. */
#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        show_input();                                                                                                  \
        fail(__VA_ARGS__);                                                                                             \
    } while (0)

static void show_bytes(const char *what, const char *p, size_t n) {
    fprintf(stderr, "%s (%zu): ", what, n);
    for (size_t i = 0; i < n && i < 600; i++) {
        if (p[i] >= ' ' && p[i] < 127 && p[i] != '\\') fputc(p[i], stderr);
        else fprintf(stderr, "\\x%02x", (unsigned char)p[i]);
    }
    fprintf(stderr, "\n");
}

static void show_input(void) { show_bytes("input", seen, seen_n); }

#ifdef FRIDGE_LIBFUZZER
#define fail(...) (fprintf(stderr, __VA_ARGS__), abort())
#define fuzz_count(i, name, n) ((void)0)
#else
#define fail(...) fuzz_fail(__VA_ARGS__)
#endif

/* --- bytes -------------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    char *p;
    size_t n, cap;
} bytes;

static void add(bytes *b, const void *p, size_t n) {
    if (b->n + n > b->cap) {
        b->cap = 2 * (b->n + n) + 256;
        b->p = realloc(b->p, b->cap);
        if (!b->p) abort();
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void add_text(bytes *b, const char *text) { add(b, text, strlen(text)); }

/* --- replies: is this whole RESP? --------------------------------------------------------------------------------- */

static bool line_end(const char *p, size_t n, size_t from, size_t *end) {
    for (*end = from; *end + 1 < n; ++*end) {
        if (p[*end] == '\n') return false; /* a bare LF within a line */
        if (p[*end] == '\r') return p[*end + 1] == '\n';
    }
    return false;
}

static bool bulk_at(const char *p, size_t n, size_t *at, long long length) {
    if (length < 0) return length == -1;
    if ((size_t)length > n - *at || n - *at - (size_t)length < 2) return false;
    *at += (size_t)length + 2;
    return p[*at - 2] == '\r' && p[*at - 1] == '\n';
}

/* Takes one reply off; iterative: `open` counts the elements still to come. */
static bool reply_at(const char *p, size_t n, size_t *at) {
    for (uint64_t open = 1; open; open--) {
        size_t end;
        if (*at >= n || !line_end(p, n, *at + 1, &end)) return false;
        char kind = p[*at];
        long long number = strtoll(p + *at + 1, NULL, 10);
        *at = end + 2;
        if (strchr("$=!", kind) && !bulk_at(p, n, at, number)) return false;
        if (strchr("*~>%", kind) && number > 0) open += (uint64_t)number * (kind == '%' ? 2 : 1);
        if (!strchr("+-:$*_,#(=!%~>", kind) || kind == 0) return false;
    }
    return true;
}

/* CLIENT REPLY inside MULTI leaves a hole in EXEC's array, here as in redis-server: after it nothing can be told apart.
 */
static bool silenced;

static void check_replies(const bytes *out) {
    for (size_t i = 0; i + 5 <= seen_n; i++) silenced |= strncasecmp(seen + i, "REPLY", 5) == 0;
    if (silenced) return;
    for (size_t at = 0; at < out->n;) {
        size_t from = at;
        if (reply_at(out->p, out->n, &at)) continue;
        show_bytes("out", out->p + from, out->n - from);
        FAIL("what came out is no reply");
    }
#ifndef FRIDGE_LIBFUZZER /* which learns the word, and echoes it */
    if (out->n && memmem(out->p, out->n, "internal:", 9)) FAIL("an internal status came out");
#endif
}

/* --- peers -------------------------------------------------------------------------------------------------------- */

typedef struct peer {
    segment *s;
    store *st;
    session *ss;
    server_facts facts;
    bytes out;
    bool closed;
} peer;

static peer peers[PEERS];
static uint8_t *pristine;
static geometry shape;

static void begin_session(peer *p) {
    session_free(p->ss);
    p->ss = session_new(p->st, &p->facts, 7);
    p->ss->random = 7; /* the clock's otherwise */
    p->closed = false;
}

static void open_peer(peer *p) {
    fr_error err = {.text = ""};
    if (segment_anonymous(&shape, &p->s, &err) != FR_OK) abort();
    for (unsigned i = 0; i < 4; i++) p->s->secret[i] = UINT64_C(0x9e3779b97f4a7c15) * (i + 3);
    segment_become(p->s, 1, 1);
    if (!pristine) {
        pristine = malloc(shape.max_size);
        memcpy(pristine, p->s->base, shape.max_size);
    }
}

static void reset_peer(peer *p) {
    fr_error err = {.text = ""};
    silenced = false;
    session_free(p->ss);
    p->ss = NULL;
    if (p->st) {
        store_catalogue_free(p->st);
        free(p->st);
    }
    memcpy(p->s->base, pristine, shape.max_size);
    p->s->pool_hint = 0;
    if (store_over(p->s, &p->st, &err) != FR_OK) abort();
    p->facts = (server_facts){.query_limit = 1 << 20,
                              .output_soft = 20000,
                              .output_hard = 1 << 22,
                              .max_bulk = 100000,
                              .max_args = 1024,
                              .command_cells = STAT_COUNT};
    p->out.n = 0;
    begin_session(p);
}

/* The host answers with what it was asked, so that words that were cut wrong are seen. */
static void answer_as_host(session *ss, bytes *scratch) {
    scratch->n = 0;
    add_text(scratch, session_host_command(ss));
    for (uint32_t i = 0; i < session_host_argc(ss); i++) {
        size_t n;
        const char *word = session_host_arg(ss, i, &n);
        add(scratch, "|", 1);
        add(scratch, word, n);
    }
    session_reply_bulk(ss, scratch->p, scratch->n);
}

static void take_output(peer *p) {
    const char *out;
    size_t n = session_output(p->ss, &out);
    add(&p->out, out, n);
    session_sent(p->ss, n);
}

static void feed(peer *p, const char *data, size_t n) {
    static bytes scratch;
    for (int turn = 0; !p->closed; turn++) {
        frozen = true;
        feed_result r = session_feed(p->ss, data, n, NOW, WALL);
        frozen = false;
        n = 0;
        take_output(p); /* as fridge_feed does, before the host answers */
        if (r == FEED_HOST) answer_as_host(p->ss, &scratch);
        if (r == FEED_PARKED) FAIL("parked, though nobody holds a latch");
        if (r == FEED_CLOSE) p->closed = true;
        if (r == FEED_MORE) return;
        if (turn > 1 << 20) FAIL("a session never went on");
    }
}

/* --- one input ---------------------------------------------------------------------------------------------------- */

static void same_output(const peer *a, const peer *b) {
    if (a->out.n == b->out.n && (a->out.n == 0 || memcmp(a->out.p, b->out.p, a->out.n) == 0)) return;
    size_t at = 0;
    while (at < a->out.n && at < b->out.n && a->out.p[at] == b->out.p[at]) at++;
    show_bytes("whole gave", a->out.p + at, a->out.n - at);
    show_bytes("cut gave", b->out.p + at, b->out.n - at);
    FAIL("cut into pieces, it gave other bytes from %zu on", at);
}

static void same_state(peer *a, peer *b) {
    session_facts x, y;
    if (a->closed != b->closed) FAIL("only one of the sessions closed");
    session_describe(a->ss, &x);
    session_describe(b->ss, &y);
    if (x.db != y.db || x.protocol != y.protocol || x.in_multi != y.in_multi || x.queued != y.queued ||
        x.watching != y.watching || x.commands != y.commands || x.reply_mode != y.reply_mode ||
        strcmp(x.name, y.name) || (!a->closed && x.query_bytes != y.query_bytes)) {
        FAIL("cut into pieces, it left the session in another state");
    }
}

static void feed_pieces(peer *p, const char *data, size_t n, dice *d) {
    bool crumbs = dice_one_in(d, 2);
    while (n && !p->closed) {
        size_t part = 1 + dice_below(d, crumbs ? 9 : (uint32_t)(n < 4000 ? n : 4000));
        if (part > n) part = n;
        char *copy = malloc(part); /* of its exact size: a look beyond it is seen */
        memcpy(copy, data, part);
        feed(p, copy, part);
        free(copy);
        data += part;
        n -= part;
    }
}

static void feed_bytes(peer *p, const char *data, size_t n) {
    for (size_t i = 0; i < n && !p->closed; i++) {
        char c = data[i];
        feed(p, &c, 1);
    }
}

static void one_input(const char *data, size_t n, dice *d) {
    char *copy = malloc(n + !n);
    seen = data;
    seen_n = n;
    for (unsigned i = 0; i < PEERS; i++) peers[i].out.n = 0;
    memcpy(copy, data, n);
    feed(&peers[0], copy, n);
    free(copy);
    check_replies(&peers[0].out);
    if (n <= 4096) feed_bytes(&peers[1], data, n);
    else feed_pieces(&peers[1], data, n, d);
    feed_pieces(&peers[2], data, n, d);
    for (unsigned i = 1; i < PEERS; i++) {
        same_output(&peers[0], &peers[i]);
        same_state(&peers[0], &peers[i]);
    }
    bool closed = peers[0].closed;
    for (unsigned i = 0; closed && i < PEERS; i++) begin_session(&peers[i]);
    silenced &= !closed;
    fuzz_count(0, "inputs, each fed three ways", 1);
}

/* What the engine keeps of the process itself is the same, too: every byte of the segment, but for clocks and
 * statistics. */
static void same_stores(void) {
    const segment *s = peers[0].s;
    const uint64_t from[] = {LAYOUT_MUTABLE, s->l.latches, s->l.data}, to[] = {s->l.procs, s->l.access, s->g.max_size};
    for (unsigned i = 1; i < PEERS; i++) {
        for (unsigned r = 0; r < FR_COUNTOF(from); r++) {
            if (memcmp(peers[0].s->base + from[r], peers[i].s->base + from[r], to[r] - from[r]))
                FAIL("cut into pieces, it left another store");
        }
    }
    verify_report report;
    fr_error err;
    if (store_verify(peers[0].st, false, &report, &err) != FR_OK) FAIL("the store is not sound: %s", report.first);
}

/* --- commands ----------------------------------------------------------------------------------------------------- */

static const char *const verbs[] = {
#define X(id, name, ...) name,
#include "wire/commands.def"
#undef X
};
static const char *const words[] = {
    "a", "b", "c", "h", "h2", "t:a", "t:b", "n:x", "missing", "count", "note", "f", "g", "0", "1", "-1", "5", "10",
    "100", "1.5", "-0", "9223372036854775807", "-9223372036854775808", "99999999999999999999", "inf", "nan", "1e400",
    "", " ", "*", "[a-z]*", "?", "EX", "PX", "EXAT", "PXAT", "KEEPTTL", "NX", "XX", "GT", "LT", "GET", "IFEQ", "IFNE",
    "MATCH", "COUNT", "TYPE", "WITHVALUES", "NOVALUES", "REPLACE", "DB", "hash", "string", "text", "CAPACITY",
    "COLUMNS", "int32", "str:8", "float64", "ON", "OFF", "SKIP", "3", "2", "AUTH", "SETNAME", "default", "secret",
    "\r\n", "\n", "a b", "\"q\"", "'", "\xff\xfe", "ASYNC", "SAMPLES", "LIMITS",
    "LOCK", "ACQUIRE", "RELEASE", "FORCE", "lock", "token", "c3f8721cbb97f72bc19e972846bd7aaf91901658",
    "a4e8783852e6b949f9ef3a97212805108459a890", "1cac51482acf5858da00f6d685d68f886cd6b6b2",
};
static const char *const usual[] = {
    "SET a hello", "SET b 5 EX 100", "GET a", "INCR b", "APPEND a xyz", "MSET a 1 b 2 c 3", "MGET a b c missing",
    "DEL a b", "HSET h f v g 7 count 3", "HGETALL h", "HINCRBY h count 2", "HDEL h f", "HSCAN h 0 COUNT 2",
    "SCAN 0 MATCH * COUNT 3", "KEYS *", "EXPIRE a 10", "TTL a", "PERSIST a", "TYPE h", "RENAME a c",
    "COPY h h2 REPLACE", "SELECT 1", "SELECT 0", "SWAPDB 0 1", "FLUSHDB", "MULTI", "EXEC", "DISCARD", "WATCH a b",
    "LOCK ACQUIRE lock token", "LOCK ACQUIRE lock other PX 50", "LOCK RELEASE lock token", "LOCK FORCE lock", "LOCK INFO lock",
    "LOCK LIST", "SET lock token NX PX 100", "EVALSHA c3f8721cbb97f72bc19e972846bd7aaf91901658 1 lock token",
    "EVALSHA a4e8783852e6b949f9ef3a97212805108459a890 1 lock token 500 0",
    "EVALSHA 1cac51482acf5858da00f6d685d68f886cd6b6b2 1 lock token 9223372036854775807", "EVAL return 0", "SCRIPT EXISTS a b",
    "UNWATCH", "HELLO 3", "HELLO 2", "CLIENT SETNAME me", "CLIENT REPLY OFF", "CLIENT REPLY ON", "CLIENT REPLY SKIP",
    "TABLE CREATE t CAPACITY 4 COLUMNS count int32 note str:8", "TABLE CREATE n CAPACITY 9 COLUMNS v int64",
    "HSET t:a count 5 note hi", "HSET t:b count 1", "HGETALL t:a", "INCR n:x", "TABLE INFO t", "TABLE SCAN t 0",
    "TABLE DROP t", "PING", "ECHO hello", "SETRANGE a 20 zz", "GETRANGE a 0 -1", "SET a v IFEQ hello GET",
    "DELEX a IFEQ v", "CAS b 5 6", "HCAS h g 7 8", "INCREX b", "INCRBYFLOAT b 1.5", "HINCRBYFLOAT h count 0.5",
    "RANDOMKEY", "HRANDFIELD h -3 WITHVALUES", "DBSIZE", "OBJECT ENCODING h", "MEMORY USAGE a", "COMMAND COUNT",
    "COMMAND INFO get set", "COMMAND GETKEYS MSET a 1 b 2", "RESET", "QUIT", "INFO", "CONFIG GET *", "SUBSCRIBE a",
    "AUTH secret", "TIME", "LASTSAVE", "GETEX a PX 10", "SETNX a 1", "GETDEL a", "EXISTS a a b", "EXPIRETIME a",
};

static void add_array_word(bytes *b, const char *p, size_t n) {
    char head[32];
    add(b, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", n));
    add(b, p, n);
    add(b, "\r\n", 2);
}

static void add_array_head(bytes *b, unsigned n) {
    char head[32];
    add(b, head, (size_t)snprintf(head, sizeof head, "*%u\r\n", n));
}

/* A line of words as an array. */
static void add_usual(bytes *b, const char *line) {
    unsigned n = 1;
    for (const char *p = line; *p; p++) n += *p == ' ';
    add_array_head(b, n);
    for (const char *p = line; n--;) {
        size_t length = strcspn(p, " ");
        add_array_word(b, p, length);
        p += length + 1;
    }
}

static void add_random(bytes *b, dice *d) {
    const char *verb = PICK(d, verbs), *bar = strchr(verb, '|');
    unsigned n = dice_below(d, dice_one_in(d, 8) ? 30 : 6);
    add_array_head(b, n + 1 + (bar != NULL));
    add_array_word(b, verb, bar ? (size_t)(bar - verb) : strlen(verb));
    if (bar) add_array_word(b, bar + 1, strlen(bar + 1));
    for (; n; n--) {
        const char *word = PICK(d, words);
        add_array_word(b, word, strlen(word));
    }
}

static void add_inline(bytes *b, dice *d) {
    static const char *const lines[] = {
        "PING\r\n", "\r\n", "\n", " \r\n", "SET a \"x\\x41\\n y\"\r\n", "SET a 'it\\'s'\r\n", "GET \"a\r\n",
        "SET a \"b\"c\r\n", "GET a\n", "  GET   a  \r\n", "GET \"\"\r\n", "\"\"\r\n", "GET a\r\r\n", "GET\ta\r\n",
        "POST / HTTP/1.1\r\n", "Host: x\r\n", "ECHO \"\\xzz\\\"\\\\\"\r\n",
    };
    if (dice_one_in(d, 2)) add_text(b, PICK(d, lines));
    else add_text(b, PICK(d, usual)), add_text(b, dice_one_in(d, 3) ? "\n" : "\r\n");
}

static void add_broken(bytes *b, dice *d) {
    static const char *const pieces[] = {
        "*-1\r\n", "*0\r\n", "*1\r\n$-1\r\n", "*1\r\n$+5\r\nhello\r\n", "*1\r\n$ 5\r\nhello\r\n", "*1\r\n:5\r\n",
        "*1\r\n$4\r\nPINGxx", "*1\r\n$99999999999\r\n", "*99999999\r\n", "*+1\r\n$4\r\nPING\r\n",
        "*2\r\n$3\r\nGET\r\n", "*1\n$4\nPING\n", "*\r\n", "$5\r\nhello\r\n", "*1 \r\n", "*01\r\n$04\r\nPING\r\n",
        "*1\r\n$4\r\nPING\n\n", "*-9223372036854775808\r\n", "*18446744073709551617\r\n",
        "*1\r\n$18446744073709551615\r\n", "*1\r\n$0\r\n\r\n", "*1\r\n\r\n", "*1024\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100001\r\n",
    };
    add_text(b, PICK(d, pieces));
}

static void add_big(bytes *b, dice *d) {
    char head[64];
    size_t n = 200 + dice_below(d, dice_one_in(d, 4) ? 90000 : 3000);
    add(b, head, (size_t)snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$%zu\r\n", n));
    for (size_t i = 0; i < n; i++) add(b, &"abcdefgh"[i & 7], 1);
    add(b, "\r\n", 2);
}

static void add_command(bytes *b, dice *d) {
    switch (dice_below(d, 16)) {
    case 0:
    case 1:
    case 2:
    case 3: return add_random(b, d);
    case 4:
    case 5: return add_inline(b, d);
    case 6: return dice_one_in(d, 3) ? add_broken(b, d) : add_usual(b, PICK(d, usual));
    case 7: return dice_one_in(d, 4) ? add_big(b, d) : add_usual(b, PICK(d, usual));
    default: return add_usual(b, PICK(d, usual));
    }
}

/* Changes bytes in place: flips, cuts, doubled and foreign pieces. */
static void scramble(bytes *b, dice *d) {
    if (b->n == 0) return;
    size_t at = dice_below(d, (uint32_t)b->n), n = 1 + dice_below(d, 12);
    if (n > b->n - at) n = b->n - at;
    switch (dice_below(d, 5)) {
    case 0: b->p[at] = (char)dice_next(d); break;
    case 1: b->p[at] ^= (char)(1 << dice_below(d, 8)); break;
    case 2:
        memmove(b->p + at, b->p + at + n, b->n - at - n);
        b->n -= n;
        break;
    case 3: b->p[at] = "\r\n$*0-\0 :"[dice_below(d, 9)]; break;
    default: {
        char piece[12];
        memcpy(piece, b->p + at, n);
        add(b, piece, n);
    }
    }
}

static void open_peers(void) {
    if (pristine) return;
    shape = layout_test();
    shape.max_size = 256 << 10;
    shape.page_size = 1024;
    shape.stripes = 4;
    shape.tables = 4;
    for (unsigned i = 0; i < PEERS; i++) open_peer(&peers[i]);
}

/* --- as a program, or as libFuzzer's target ----------------------------------------------------------------------- */

#ifdef FRIDGE_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t room);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    dice d = {n};
    open_peers();
    for (unsigned i = 0; i < PEERS; i++) reset_peer(&peers[i]);
    one_input((const char *)data, n, &d);
    same_stores();
    return 0;
}

/* Half of the time libFuzzer's own changes, else another command in front, behind, or a scrambled piece. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed) {
    static bytes b;
    dice d = {seed};
    if (dice_one_in(&d, 2)) return LLVMFuzzerMutate(data, n, room);
    b.n = 0;
    bool front = dice_one_in(&d, 3);
    if (front) add_command(&b, &d);
    add(&b, data, n);
    if (!front) add_command(&b, &d);
    if (dice_one_in(&d, 3)) scramble(&b, &d);
    if (b.n > room) b.n = room;
    memcpy(data, b.p, b.n);
    return b.n;
}

#else

/* From an empty store: whole, then cut in two at every place. */
static void cut_everywhere(const char *data, size_t n) {
    seen = data;
    seen_n = n;
    reset_peer(&peers[0]);
    feed(&peers[0], data, n);
    for (size_t at = 1; at < n; at++) {
        reset_peer(&peers[1]);
        feed(&peers[1], data, at);
        feed(&peers[1], data + at, n - at);
        same_output(&peers[0], &peers[1]);
        same_state(&peers[0], &peers[1]);
        fuzz_count(1, "inputs cut in two", 1);
    }
}

static void make_input(bytes *b, dice *d) {
    b->n = 0;
    for (uint32_t n = 1 + dice_below(d, dice_one_in(d, 6) ? 40 : 6); n; n--) add_command(b, d);
    for (uint32_t n = dice_one_in(d, 4) ? 1 + dice_below(d, 4) : 0; n; n--) scramble(b, d);
}

static void one(uint64_t seed) {
    static bytes b;
    dice d = {seed};
    fuzz_step("a history");
    for (unsigned i = 0; i < PEERS; i++) reset_peer(&peers[i]);
    for (uint32_t n = 1 + dice_below(&d, 24); n; n--) {
        make_input(&b, &d);
        if (b.n <= INPUT_MAX) one_input(b.p, b.n, &d);
    }
    fuzz_step("comparing the stores");
    same_stores();
    if (!dice_one_in(&d, 8)) return;
    fuzz_step("an input cut in two");
    make_input(&b, &d);
    if (b.n <= CUT_MAX) cut_everywhere(b.p, b.n);
}

int main(int argc, char **argv) {
    static const fuzz_target target = {"session", open_peers, one};
    return fuzz_main(&target, argc, argv);
}

#endif
