/* session.c - bytes in, commands run, bytes out; see session.h for the contract and session_state.h for the inside. */
#include "wire/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "wire/ahead.h"
#include "wire/session_state.h"

#define QUERY_KEEP 65536u /* an empty query buffer larger than this is given back */

session *session_new(store *st, server_facts *facts, uint64_t id) {
    session *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->st = st;
    s->facts = facts;
    s->id = id;
    s->random = clock_ns() ^ (id + 1) * UINT64_C(0x9e3779b97f4a7c15);
    if (!s->random) s->random = 1;
    resp_init(&s->parser);
    reply_init(&s->out, facts->output_hard);
    s->c = (context){.st = st, .s = s, .out = &s->out, .err = &s->err};
    return s;
}

void session_free(session *s) {
    if (!s) return;
    session_leave_multi(s);
    session_unwatch(s);
    resp_free(&s->parser);
    reply_free(&s->out);
    free(s->query);
    free(s->keys);
    free(s->scratch);
    free(s->queue);
    free(s->watch);
    free(s->rest);
    free(s->monitor_log);
    free(s);
}

/* --- input ------------------------------------------------------------------------------------------------------- */

/* A stretch of bytes that is being executed: session_feed's data, or the session's own query buffer. */
typedef struct input {
    const char *p;
    size_t n;
} input;

static bool grow(char **p, size_t *cap, size_t need) {
    if (need <= *cap) return true;
    size_t to = *cap ? *cap : 1024;
    while (to < need) to *= 2;
    char *grown = realloc(*p, to);
    if (!grown) return false;
    *p = grown;
    *cap = to;
    return true;
}

/* shift moves what the query buffer still holds to its front. */
static void shift(session *s) {
    if (!s->query_at) return;
    memmove(s->query, s->query + s->query_at, s->query_n - s->query_at);
    s->query_n -= s->query_at;
    s->query_at = 0;
    if (s->ready) resp_moved(&s->parser, s->query);
}

/* keep appends bytes to the query buffer. False: they would pass the limit, or there is no memory. */
static bool keep(session *s, const char *p, size_t n) {
    if (!n) return true;
    shift(s);
    const char *before = s->query;
    if (s->query_n + n > s->facts->query_limit || !grow(&s->query, &s->query_cap, s->query_n + n)) return false;
    if (s->ready && s->query != before) resp_moved(&s->parser, s->query);
    memcpy(s->query + s->query_n, p, n);
    s->query_n += n;
    return true;
}

/* take says what is to be executed: the kept bytes with the new ones behind, or just the new ones. */
static bool take(session *s, const char *data, size_t n, input *in) {
    if (s->query_n == s->query_at) {
        *in = (input){data, n};
        return true;
    }
    if (!keep(s, data, n)) return false;
    *in = (input){s->query + s->query_at, s->query_n - s->query_at};
    return true;
}

/* leave keeps what was not executed. Bytes of a ready request stay with it. */
static bool leave(session *s, const input *in) {
    if (s->query_n != s->query_at) {
        s->query_at = s->query_n - in->n;
        if (in->n) return true;
    }
    s->query_n = s->query_at = 0;
    if (in->n) {
        if (!keep(s, in->p, in->n)) return false;
        if (s->ready) resp_moved(&s->parser, s->query);
    } else if (s->query_cap > QUERY_KEEP) {
        free(s->query);
        s->query = NULL;
        s->query_cap = 0;
    }
    return true;
}

/* --- one request ------------------------------------------------------------------------------------------------- */

static void log_byte(session *s, const char *text, size_t n) {
    if (!grow(&s->monitor_log, &s->monitor_cap, s->monitor_n + n)) return;
    memcpy(s->monitor_log + s->monitor_n, text, n);
    s->monitor_n += n;
}

/* log_word writes a word in quotes, escaped as Redis's sdscatrepr. */
static void log_word(session *s, span word) {
    static const char from[] = "\\\"\n\r\t\a\b", into[] = "\\\"nrtab";
    log_byte(s, " \"", 2);
    for (size_t i = 0; i < word.n; i++) {
        char c = word.p[i], text[8];
        const char *found = c ? strchr(from, c) : NULL;
        int n = found                    ? snprintf(text, sizeof text, "\\%c", into[found - from])
                : c >= 0x20 && c < 0x7f  ? snprintf(text, sizeof text, "%c", c)
                                         : snprintf(text, sizeof text, "\\x%02x", (unsigned char)c);
        log_byte(s, text, (size_t)n);
    }
    log_byte(s, "\"", 1);
}

/* log_request writes `<db> "word" "word"...` and a newline for MONITOR clients, of what ran; passwords never. */
static void log_request(session *s) {
    const span *argv = s->parser.argv;
    const command *row = s->c.cmd;
    if (!row || row->flags & C_ADMIN || !command_fits(row, s->parser.argc) || session_needs_auth(s)) return;
    if (word_is(argv[0], "hello")) return;
    bool secret = word_is(argv[0], "auth");
    char db[16];
    log_byte(s, db, (size_t)snprintf(db, sizeof db, "%u", s->db));
    for (uint32_t i = 0; i < s->parser.argc; i++) log_word(s, secret && i ? SPAN_LIT("(redacted)") : argv[i]);
    log_byte(s, "\n", 1);
}

/* settle ends a request: CLIENT REPLY may want its answer forgotten. */
static void settle(session *s, size_t mark) {
    if (FR_UNLIKELY(s->reply_mode != REPLY_ON)) {
        if (s->reply_mode != REPLY_SKIP_NEXT) reply_truncate(&s->out, mark);
        if (s->reply_mode == REPLY_SKIPPING) s->reply_mode = REPLY_ON;
        else if (s->reply_mode == REPLY_SKIP_NEXT) s->reply_mode = REPLY_SKIPPING;
    }
    s->ready = s->host = false;
    s->parked_ms = 0;
    s->commands++;
}

/* answer runs the ready request. FEED_MORE: go on with the next. */
static feed_result answer(session *s, uint64_t now, uint64_t wall) {
    size_t mark = reply_mark(&s->out);
    enum run_result got = command_run(s, now, wall);
    if (FR_UNLIKELY(got == RUN_PARKED)) return FEED_PARKED;
    if (FR_UNLIKELY(s->facts->monitors)) log_request(s);
    if (FR_UNLIKELY(got == RUN_HOST)) {
        s->host = true;
        s->host_failed = false;
        s->host_mark = mark;
        if (!s->weaving) s->host_cmd = s->last;
        return FEED_HOST;
    }
    settle(s, mark);
    if (FR_UNLIKELY(got == RUN_CLOSE)) reply_truncate(&s->out, mark); /* not a word to a browser */
    if (FR_UNLIKELY(got == RUN_CLOSE || s->closing)) return FEED_CLOSE;
    if (FR_UNLIKELY(s->out.broken)) {
        reply_truncate(&s->out, mark);
        return FEED_CLOSE;
    }
    return s->out.n - s->out.sent > s->facts->output_soft ? FEED_FULL : FEED_MORE;
}

static feed_result refuse(session *s, const char *text) {
    char line[FR_ERROR_TEXT];
    int n = snprintf(line, sizeof line, "ERR %s", text);
    reply_error(&s->out, (span){line, (size_t)n});
    stat_add(s->st->s, STAT_error_replies, 1);
    return FEED_CLOSE;
}

/* work executes requests from *in until there is none left or the session must stop. */
static feed_result work(session *s, input *in, uint64_t now, uint64_t wall) {
    resp_limits limits = {s->facts->max_bulk, s->facts->max_args, session_needs_auth(s)};
    feed_result result = FEED_MORE;
    ahead next;
    bool looks = false;
    while (result == FEED_MORE) {
        if (!s->ready) {
            int64_t got = resp_parse(&s->parser, in->p, in->n, &limits);
            if (got == 0) return FEED_MORE;
            if (FR_UNLIKELY(got < 0)) return refuse(s, s->parser.error);
            s->request_n = (size_t)got;
            s->ready = s->parser.argc > 0;
            if (!looks) ahead_begin(&next, in->p + got, in->n - (size_t)got);
            looks = true;
            ahead_step(&next, s->st, s->db);
        }
        if (FR_LIKELY(s->ready)) result = answer(s, now, wall);
        if (s->ready) return result;
        in->p += s->request_n;
        in->n -= s->request_n;
        limits.stranger = session_needs_auth(s);
    }
    return result;
}

/* --- feeding ----------------------------------------------------------------------------------------------------- */

/* host_done ends the command that the host has answered; false when another one of the same EXEC is next. */
static bool host_done(session *s) {
    command_count_time(s, s->host_cmd, 0, s->host_failed);
    if (s->weaving && weave_next(s)) return false;
    settle(s, s->host_mark);
    s->query_at += s->request_n;
    return true;
}

feed_result session_feed(session *s, const char *data, size_t n, uint64_t boot_ms, uint64_t wall_ms) {
    input in;
    if (n) stat_add(s->st->s, STAT_net_input_bytes, n);
    if (s->host && !host_done(s) && !s->killed)
        return keep(s, data, n) ? FEED_HOST : refuse(s, "Protocol error: query buffer limit exceeded");
    if (FR_UNLIKELY(s->out.broken)) { /* the host's reply passed the limit */
        reply_truncate(&s->out, s->host_mark);
        s->closing = true;
    }
    if (s->killed || s->closing) return FEED_CLOSE;
    if (!take(s, data, n, &in)) return refuse(s, "Protocol error: query buffer limit exceeded");
    uint64_t before = s->commands;
    s->last_ms = boot_ms;
    s->out.limit = s->facts->output_hard;
    s->clock_ns = clock_ns();
    feed_result result = work(s, &in, boot_ms, wall_ms);
    if (s->commands != before) stat_add(s->st->s, STAT_commands_processed, s->commands - before);
    if (result == FEED_CLOSE) s->closing = true;
    else if (!leave(s, &in)) return refuse(s, "Protocol error: query buffer limit exceeded");
    return result;
}

size_t session_output(session *s, const char **p) {
    *p = s->out.p + s->out.sent;
    return s->out.n - s->out.sent;
}

void session_sent(session *s, size_t n) {
    stat_add(s->st->s, STAT_net_output_bytes, n);
    size_t before = s->out.n;
    reply_drop(&s->out, n);
    size_t gone = before - s->out.n; /* the rest moved forward, and with it the place where the host's reply begins */
    s->host_mark = s->host_mark > gone ? s->host_mark - gone : 0;
    if (s->host_mark < s->out.sent) s->host_mark = s->out.sent;
}

size_t session_held(session *s) { return s->query_n - s->query_at; }

size_t scratch_add(session *s, const void *p, size_t n) {
    size_t at = s->scratch_n;
    if (!grow(&s->scratch, &s->scratch_cap, at + n)) return SIZE_MAX;
    memcpy(s->scratch + at, p, n);
    s->scratch_n += n;
    return at;
}

uint64_t session_random(session *s) {
    uint64_t x = s->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    s->random = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* --- the host ---------------------------------------------------------------------------------------------------- */

const char *session_host_command(session *s) { return s->host ? s->host_cmd->name : ""; }

uint32_t session_host_argc(session *s) { return s->host ? s->c.argc : 0; }

const char *session_host_arg(session *s, uint32_t i, size_t *n) {
    const span *argv = s->weaving ? s->c.argv : s->parser.argv; /* the parser's are told when its bytes move */
    *n = argv[i].n;
    return argv[i].p;
}

void session_reply_status(session *s, const char *p, size_t n) { reply_status(&s->out, (span){p, n}); }

void session_reply_error(session *s, const char *p, size_t n) {
    s->host_failed = true;
    reply_error(&s->out, (span){p, n});
    stat_add(s->st->s, STAT_error_replies, 1);
}

void session_reply_int(session *s, int64_t v) { reply_int(&s->out, v); }
void session_reply_bulk(session *s, const char *p, size_t n) { reply_bulk(&s->out, (span){p, n}); }
void session_reply_verbatim(session *s, const char *p, size_t n) { reply_verbatim(&s->out, (span){p, n}); }
void session_reply_null(session *s) { reply_null(&s->out); }
void session_reply_array(session *s, uint32_t n) { reply_array(&s->out, n); }
void session_reply_map(session *s, uint32_t pairs) { reply_map(&s->out, pairs); }
void session_reply_push(session *s, uint32_t n) { reply_push(&s->out, n); }
void session_reply_close(session *s) { s->closing = true; }
void session_reply_none(session *s) { (void)s; }

bool session_finish_natively(session *s) {
    if (!s->host || command_number(s->host_cmd) != COMMAND_hello) return false;
    s->c.mark = reply_mark(&s->out);
    s->err.text[0] = 0;
    fr_status status = s->host_cmd->run(&s->c);
    if (status == FR_OK) return true;
    char buf[FR_ERROR_TEXT + 64];
    span line = command_error_line(&s->err, status, buf);
    session_reply_error(s, line.p, line.n);
    return true;
}

static void copy_text(char *to, size_t room, const char *from, size_t n) {
    if (n > room - 1) n = room - 1;
    memcpy(to, from, n);
    to[n] = 0;
}

void session_describe(session *s, session_facts *out) {
    *out = (session_facts){.id = s->id, .db = s->db, .protocol = s->out.protocol,
                           .authenticated = !session_needs_auth(s), .in_multi = s->multi, .queued = s->queue_n,
                           .watching = s->watch_n, .monitor = s->monitor,
                           .reply_mode = s->reply_mode == REPLY_ON ? 0 : s->reply_mode == REPLY_OFF ? 1 : 2,
                           .query_bytes = s->query_n - s->query_at, .output_bytes = s->out.n - s->out.sent,
                           .commands = s->commands, .last_ms = s->last_ms,
                           .no_evict = s->no_evict, .no_touch = s->no_touch};
    memcpy(out->name, s->name, sizeof out->name);
    memcpy(out->lib_name, s->lib_name, sizeof out->lib_name);
    memcpy(out->lib_ver, s->lib_ver, sizeof out->lib_ver);
    const char *last = s->last ? s->last->name : "NULL";
    copy_text(out->last_command, sizeof out->last_command, last, strlen(last));
}

void session_authenticate(session *s, int ok) {
    s->authenticated = ok;
    if (!ok) stat_add(s->st->s, STAT_auth_failures, 1);
}

void session_set_name(session *s, const char *p, size_t n) { copy_text(s->name, sizeof s->name, p, n); }

void session_set_reply_mode(session *s, uint32_t mode) {
    s->reply_mode = mode == 0 ? REPLY_ON : mode == 1 ? REPLY_OFF : REPLY_SKIP_NEXT;
}

void session_set_monitor(session *s, int on) { s->monitor = on; }

size_t session_monitor_take(session *s, const char **p) {
    size_t n = s->monitor_n;
    *p = s->monitor_log;
    s->monitor_n = 0;
    return n;
}

void session_kill(session *s) { s->killed = true; }
