/* resp.h - the Redis protocol as bytes: a resumable request parser and a reply writer. Knows no command and no store.
 *
 * REQUEST   *<n>\r\n then n times $<len>\r\n<len bytes>\r\n, or one line of words (inline). Replies: RESP2 and RESP3.
 *
 * Invariants
 * 1. resp_parse never looks at a byte twice but the last line's unfinished end (from where it was scanned), whatever
 *    pieces the bytes come in, and gives the same answer for all of them.
 * 2. Nothing is allocated from a declared length: argv doubles as arguments arrive, payloads stay where they are.
 * 3. A reply is whole or absent: reply_truncate goes back to a mark; past its limit, or without memory, the writer is
 *    `broken`, drops what follows, and the connection must be closed.
 * 4. No CR or LF of anybody's text gets into an error or status line.
 *
 * Leaves out: sockets, limits on the whole session (session.h) and push streams.
 */
#ifndef FRIDGE_WIRE_RESP_H
#define FRIDGE_WIRE_RESP_H

#include "base.h"

#define RESP_LINE_MAX 65536u        /* an inline request, or a length that has no end (Redis: PROTO_INLINE_MAX_SIZE) */
#define RESP_STRANGER_ARGS 10u      /* before AUTH, as Redis since CVE-2021-32675 */
#define RESP_STRANGER_BULK 16384u

typedef struct resp_limits {
    uint64_t max_bulk;
    uint32_t max_args;
    bool stranger; /* not authenticated yet */
} resp_limits;

typedef struct resp_parser {
    span *argv;          /* the words of the request last returned; they lie in the caller's bytes, or in words */
    uint32_t argc, cap;
    const char *base;    /* where the caller's bytes were when argv was filled */
    size_t at;           /* bytes of this request that are read */
    size_t scanned;      /* bytes behind `at` known to hold no line end */
    uint32_t left;       /* arguments still to come; 0 = between requests */
    int64_t bulk;        /* length of the argument being read, -1 = not known yet */
    char *words;         /* unquoted words of an inline request */
    size_t words_cap;
    char error[64];      /* "Protocol error: ..." after a negative answer */
} resp_parser;

void resp_init(resp_parser *p);
void resp_free(resp_parser *p);

/* resp_parse reads one request from buf[0, n): > 0 how many bytes it took (argc may be 0: an empty line), 0 when more
 * must come (call again with the same bytes, perhaps elsewhere, and more behind), < 0 when the protocol is broken. */
int64_t resp_parse(resp_parser *p, const char *buf, size_t n, const resp_limits *l);

/* resp_moved tells the parser that the caller's bytes of the current request now lie at buf. */
void resp_moved(resp_parser *p, const char *buf);

/* --- replies ----------------------------------------------------------------------------------------------------- */

typedef struct reply {
    char *p;
    size_t n, cap;
    size_t sent;       /* bytes at the front that are gone already */
    size_t limit;      /* bytes unsent beyond which it breaks */
    uint32_t protocol; /* 2 or 3 */
    bool broken;
} reply;

void reply_init(reply *r, size_t limit);
void reply_free(reply *r);
void reply_drop(reply *r, size_t n); /* n bytes were sent */

static inline size_t reply_mark(const reply *r) { return r->n; }
static inline void reply_truncate(reply *r, size_t mark) { r->n = mark; }

char *reply_grow(reply *r, size_t n);

/* reply_room gives room for n bytes at the end, or NULL when the writer is broken; the caller then adds to r->n. */
static inline char *reply_room(reply *r, size_t n) {
    if (FR_LIKELY(r->cap - r->n >= n && !r->broken)) return r->p + r->n;
    return reply_grow(r, n);
}

static inline void reply_raw(reply *r, const char *p, size_t n) {
    char *to = reply_room(r, n);
    if (!to) return;
    memcpy(to, p, n);
    r->n += n;
}
#define REPLY_LIT(r, s) reply_raw((r), (s), sizeof(s) - 1)

void reply_head(reply *r, char type, int64_t n); /* "<type><n>\r\n" */
static inline void reply_int(reply *r, int64_t v) { reply_head(r, ':', v); }
static inline void reply_array(reply *r, size_t n) { reply_head(r, '*', (int64_t)n); }
void reply_map(reply *r, size_t pairs);
void reply_set(reply *r, size_t n);
void reply_push(reply *r, size_t n);
static inline void reply_ok(reply *r) { REPLY_LIT(r, "+OK\r\n"); }
void reply_status(reply *r, span text);
void reply_error(reply *r, span text); /* "ERR ..." without the minus */
void reply_bulk(reply *r, span bytes);
static inline void reply_text(reply *r, const char *text) { reply_bulk(r, (span){text, strlen(text)}); }
void reply_verbatim(reply *r, span bytes);
void reply_big(reply *r, span digits); /* RESP3 big number; RESP2: a bulk string */
void reply_null(reply *r);
void reply_null_array(reply *r);

/* reply_open and reply_close bracket an array whose length is known at its end only. */
static inline size_t reply_open(const reply *r) { return r->n; }
void reply_close(reply *r, size_t mark, char type, size_t n);
/* reply_insert puts bytes before what was written since mark. */
void reply_insert(reply *r, size_t mark, span bytes);

/* resp_int prints v and returns its length; buf holds 20 bytes. resp_number reads strict decimal as Redis's string2ll:
 * no blanks, no plus, no leading zeros. */
size_t resp_int(int64_t v, char *buf);
bool resp_number(span text, int64_t *out);

#endif
