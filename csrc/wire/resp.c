/* resp.c - the Redis protocol; see resp.h for its contract.
 *
 * The parser keeps its place in `at`, `left` and `bulk`. Lengths of one or two digits, nearly all there are, take a way
 * without a search; everything else, the malformed included, goes through line_number. Error texts are redis-server
 * 7.0.15's; where it would wait for ever or skip bytes unseen (NUL in a length, no CRLF behind a payload), we refuse.
 */
#include "wire/resp.h"

#include <stdio.h>
#include <stdlib.h>

/* --- numbers ----------------------------------------------------------------------------------------------------- */

size_t resp_int(int64_t v, char *buf) {
    char digits[20];
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    size_t n = 0, at = 0;
    do digits[n++] = (char)('0' + u % 10);
    while (u /= 10);
    if (v < 0) buf[at++] = '-';
    while (n) buf[at++] = digits[--n];
    return at;
}

bool resp_number(span text, int64_t *out) {
    const char *p = text.p, *end = text.p + text.n;
    bool negative = text.n && *p == '-';
    p += negative;
    if (p == end || text.n > 20) return false;
    if (*p == '0') {
        *out = 0;
        return text.n == 1;
    }
    uint64_t u = 0;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9') return false;
        if (__builtin_mul_overflow(u, 10, &u) || __builtin_add_overflow(u, (uint64_t)(*p - '0'), &u)) return false;
    }
    if (u > (uint64_t)INT64_MAX + negative) return false;
    *out = (int64_t)(negative ? 0 - u : u);
    return true;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

void resp_init(resp_parser *p) {
    memset(p, 0, sizeof *p);
    p->bulk = -1;
}

void resp_free(resp_parser *p) {
    free(p->argv);
    free(p->words);
    resp_init(p);
}

static int64_t fail(resp_parser *p, const char *what) {
    snprintf(p->error, sizeof p->error, "Protocol error: %s", what);
    return -1;
}

void resp_moved(resp_parser *p, const char *buf) {
    for (uint32_t i = 0; i < p->argc; i++) {
        size_t at = (size_t)(p->argv[i].p - p->base);
        if (p->argv[i].n && p->words && p->argv[i].p >= p->words && p->argv[i].p < p->words + p->words_cap) continue;
        p->argv[i].p = buf + at;
    }
    p->base = buf;
}

static bool push_word(resp_parser *p, span word) {
    if (FR_UNLIKELY(p->argc == p->cap)) {
        uint32_t cap = p->cap ? p->cap * 2 : 16;
        span *grown = realloc(p->argv, cap * sizeof *grown);
        if (!grown) return false;
        p->argv = grown;
        p->cap = cap;
    }
    p->argv[p->argc++] = word;
    return true;
}

/* line_number reads the number of the line at p->at, behind its type byte: 1 read, 0 more must come, -1 no number,
 * -2 too long. p->at is moved behind the line only when it was read. */
static int line_number(resp_parser *p, const char *buf, size_t n, int64_t *out) {
    const char *line = buf + p->at;
    size_t have = n - p->at;
    if (FR_LIKELY(have >= 4 && line[1] >= '0' && line[1] <= '9')) {
        if (line[2] == '\r' && line[3] == '\n') {
            *out = line[1] - '0';
            p->at += 4;
            p->scanned = 0;
            return 1;
        }
        if (have >= 5 && line[1] != '0' && line[2] >= '0' && line[2] <= '9' && line[3] == '\r' && line[4] == '\n') {
            *out = (line[1] - '0') * 10 + (line[2] - '0');
            p->at += 5;
            p->scanned = 0;
            return 1;
        }
    }
    const char *cr = have > p->scanned ? memchr(line + p->scanned, '\r', have - p->scanned) : NULL;
    if (!cr) {
        p->scanned = have;
        return have > RESP_LINE_MAX ? -2 : 0;
    }
    p->scanned = (size_t)(cr - line);
    if (p->scanned + 1 == have) return 0;
    if (cr[1] != '\n' || !resp_number((span){line + 1, p->scanned - 1}, out)) return -1;
    p->at += p->scanned + 2;
    p->scanned = 0;
    return 1;
}

static int64_t finish(resp_parser *p) {
    int64_t took = (int64_t)p->at;
    p->at = p->scanned = 0;
    p->left = 0;
    return took;
}

static int64_t fail_type(resp_parser *p, char type) {
    char text[32];
    snprintf(text, sizeof text, "expected '$', got '%c'", type == '\r' || type == '\n' ? ' ' : type);
    return fail(p, text);
}

static int64_t parse_bulks(resp_parser *p, const char *buf, size_t n, const resp_limits *l) {
    while (p->left) {
        if (p->bulk < 0) {
            if (p->at >= n) return 0;
            char type = buf[p->at];
            int64_t length = -1;
            int got = line_number(p, buf, n, &length);
            if (got == 0) return 0;
            if (got == -2) return fail(p, "too big bulk count string");
            if (type != '$') return fail_type(p, type); /* judged with its line, as redis-server does */
            if (got < 0 || length < 0 || (uint64_t)length > l->max_bulk) return fail(p, "invalid bulk length");
            if (l->stranger && length > RESP_STRANGER_BULK) return fail(p, "unauthenticated bulk length");
            p->bulk = length;
        }
        size_t length = (size_t)p->bulk;
        if (n - p->at < length + 2) return 0;
        const char *end = buf + p->at + length;
        if (end[0] != '\r' || end[1] != '\n') return fail(p, "expected CRLF after bulk");
        if (!push_word(p, (span){buf + p->at, length})) return fail(p, "out of memory");
        p->at += length + 2;
        p->bulk = -1;
        p->left--;
    }
    return finish(p);
}

static int64_t parse_multibulk(resp_parser *p, const char *buf, size_t n, const resp_limits *l) {
    int64_t count;
    int got = line_number(p, buf, n, &count);
    if (got == 0) return 0;
    if (got == -2) return fail(p, "too big mbulk count string");
    if (got < 0 || count > (int64_t)l->max_args) return fail(p, "invalid multibulk length");
    if (l->stranger && count > RESP_STRANGER_ARGS) return fail(p, "unauthenticated multibulk length");
    if (count <= 0) return finish(p);
    p->left = (uint32_t)count;
    return parse_bulks(p, buf, n, l);
}

/* --- inline requests: words as Redis's sdssplitargs reads them ---------------------------------------------------- */

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* unescape writes the character that stands behind a backslash in double quotes; returns how many bytes it was. */
static size_t unescape(const char *p, const char *end, char *to) {
    if (end - p >= 3 && p[0] == 'x' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
        *to = (char)(hex(p[1]) << 4 | hex(p[2]));
        return 3;
    }
    static const char from[] = "nrtba", into[] = "\n\r\t\b\a";
    const char *found = *p ? strchr(from, *p) : NULL;
    *to = found ? into[found - from] : *p;
    return 1;
}

/* read_word unquotes one word at *at into *to. False: unbalanced quotes, or a quote that a word follows. */
static bool read_word(const char **at, const char *end, char **to) {
    const char *p = *at;
    char quote = 0;
    for (; p < end; p++) {
        if (!quote) {
            if (blank(*p) || !*p) break;
            if (*p == '"' || *p == '\'') quote = *p;
            else *(*to)++ = *p;
        } else if (quote == '"' && *p == '\\' && p + 1 < end) {
            p += unescape(p + 1, end, (*to)++);
        } else if (quote == '\'' && *p == '\\' && p + 1 < end && p[1] == '\'') {
            *(*to)++ = *++p;
        } else if (*p == quote) {
            if (p + 1 < end && !blank(p[1])) return false;
            p++;
            quote = 0;
            break;
        } else {
            *(*to)++ = *p;
        }
    }
    *at = p;
    return !quote;
}

static bool split_line(resp_parser *p, const char *line, size_t n) {
    if (n + 1 > p->words_cap) {
        char *grown = realloc(p->words, n + 1);
        if (!grown) return false;
        p->words = grown;
        p->words_cap = n + 1;
    }
    char *to = p->words;
    for (const char *at = line, *end = line + n;;) {
        while (at < end && blank(*at)) at++;
        if (at == end || !*at) return true;
        char *word = to;
        if (!read_word(&at, end, &to) || !push_word(p, (span){word, (size_t)(to - word)})) return false;
    }
}

static int64_t parse_inline(resp_parser *p, const char *buf, size_t n, const resp_limits *l) {
    const char *lf = memchr(buf + p->scanned, '\n', n - p->scanned);
    if (!lf || lf - buf > RESP_LINE_MAX) {
        p->scanned = n;
        return lf || n > RESP_LINE_MAX ? fail(p, "too big inline request") : 0;
    }
    size_t length = (size_t)(lf - buf);
    p->at = length + 1;
    if (length && buf[length - 1] == '\r') length--;
    if (!split_line(p, buf, length)) return fail(p, "unbalanced quotes in request");
    if (l->stranger && p->argc > RESP_STRANGER_ARGS) return fail(p, "unauthenticated multibulk length");
    return finish(p);
}

int64_t resp_parse(resp_parser *p, const char *buf, size_t n, const resp_limits *l) {
    if (!n) return 0;
    if (p->left) {
        if (p->base != buf) resp_moved(p, buf);
        return parse_bulks(p, buf, n, l);
    }
    p->argc = 0;
    p->base = buf;
    return buf[0] == '*' ? parse_multibulk(p, buf, n, l) : parse_inline(p, buf, n, l);
}

/* --- replies ----------------------------------------------------------------------------------------------------- */

void reply_init(reply *r, size_t limit) {
    memset(r, 0, sizeof *r);
    r->limit = limit;
    r->protocol = 2;
}

void reply_free(reply *r) { free(r->p); }

void reply_drop(reply *r, size_t n) {
    r->sent += n;
    if (r->sent >= r->n) {
        r->sent = r->n = 0;
    } else if (r->sent >= r->n / 2) {
        memmove(r->p, r->p + r->sent, r->n - r->sent);
        r->n -= r->sent;
        r->sent = 0;
    }
}

char *reply_grow(reply *r, size_t n) {
    if (r->broken) return NULL;
    size_t need = r->n + n, cap = r->cap ? r->cap : 512;
    while (cap < need) cap *= 2;
    char *grown = need - r->sent > r->limit ? NULL : cap == r->cap ? r->p : realloc(r->p, cap);
    if (!grown) {
        r->broken = true;
        return NULL;
    }
    r->p = grown;
    r->cap = cap;
    return r->p + r->n;
}

void reply_head(reply *r, char type, int64_t n) {
    char *to = reply_room(r, 24);
    if (!to) return;
    size_t at = 1;
    to[0] = type;
    if (n >= 0 && n < 10) to[at++] = (char)('0' + n);
    else at += resp_int(n, to + 1);
    to[at++] = '\r';
    to[at++] = '\n';
    r->n += at;
}

void reply_map(reply *r, size_t pairs) {
    if (r->protocol == 3) reply_head(r, '%', (int64_t)pairs);
    else reply_head(r, '*', (int64_t)pairs * 2);
}

void reply_set(reply *r, size_t n) { reply_head(r, r->protocol == 3 ? '~' : '*', (int64_t)n); }

void reply_push(reply *r, size_t n) { reply_head(r, r->protocol == 3 ? '>' : '*', (int64_t)n); }

/* line writes one line of text with the CR and LF in it made blanks. */
static void line(reply *r, char type, span text) {
    while (text.n && (text.p[text.n - 1] == '\r' || text.p[text.n - 1] == '\n')) text.n--;
    char *to = reply_room(r, text.n + 3);
    if (!to) return;
    *to++ = type;
    for (size_t i = 0; i < text.n; i++) *to++ = text.p[i] == '\r' || text.p[i] == '\n' ? ' ' : text.p[i];
    memcpy(to, "\r\n", 2);
    r->n += text.n + 3;
}

void reply_status(reply *r, span text) { line(r, '+', text); }

void reply_error(reply *r, span text) { line(r, '-', text); }

void reply_bulk(reply *r, span bytes) {
    reply_head(r, '$', (int64_t)bytes.n);
    char *to = reply_room(r, bytes.n + 2);
    if (!to) return;
    if (bytes.n) memcpy(to, bytes.p, bytes.n);
    memcpy(to + bytes.n, "\r\n", 2);
    r->n += bytes.n + 2;
}

void reply_verbatim(reply *r, span bytes) {
    if (r->protocol != 3) {
        reply_bulk(r, bytes);
        return;
    }
    reply_head(r, '=', (int64_t)bytes.n + 4);
    REPLY_LIT(r, "txt:");
    reply_raw(r, bytes.p, bytes.n);
    REPLY_LIT(r, "\r\n");
}

void reply_big(reply *r, span digits) {
    if (r->protocol != 3) {
        reply_bulk(r, digits);
        return;
    }
    REPLY_LIT(r, "(");
    reply_raw(r, digits.p, digits.n);
    REPLY_LIT(r, "\r\n");
}

void reply_null(reply *r) {
    if (r->protocol == 3) REPLY_LIT(r, "_\r\n");
    else REPLY_LIT(r, "$-1\r\n");
}

void reply_null_array(reply *r) {
    if (r->protocol == 3) REPLY_LIT(r, "_\r\n");
    else REPLY_LIT(r, "*-1\r\n");
}

void reply_close(reply *r, size_t mark, char type, size_t n) {
    if (type == '%' && r->protocol != 3) {
        type = '*';
        n *= 2;
    }
    if (type == '~' && r->protocol != 3) type = '*';
    char head[24] = {type};
    size_t head_n = 1 + resp_int((int64_t)n, head + 1);
    memcpy(head + head_n, "\r\n", 2);
    reply_insert(r, mark, (span){head, head_n + 2});
}

void reply_insert(reply *r, size_t mark, span bytes) {
    size_t body = r->n - mark;
    if (!reply_room(r, bytes.n)) return;
    memmove(r->p + mark + bytes.n, r->p + mark, body);
    memcpy(r->p + mark, bytes.p, bytes.n);
    r->n += bytes.n;
}
