/* weave.c - what EXEC leaves to the host: its replies woven in behind, one command after the other.
 *
 * INFO, CONFIG, CLIENT LIST, AUTH with a password and their like need the process around the session, which nobody can ask
 * under latches, nor twice when a transaction is run again. So EXEC runs and commits its data commands first, isolated as
 * ever; each command for the host leaves a hole in the reply array. Then the replies behind the first hole are set aside
 * (`rest`), and the host is asked for one command after the other, each followed by the replies up to the next hole.
 *
 *     EXEC's reply   *5 | +OK | (INFO) | :1 | (CONFIG GET) | $1..
 *     out            *5 | +OK            <- INFO's reply is written here; then `rest` goes on with  :1
 *     rest                               :1 | $1..
 *
 * Invariants
 * 1. While `weaving`, the transaction is committed, the queue still stands and queue[weave_at] is what the host answers.
 * 2. Every reply stands in the place of its command. rest is never longer than the output that it was cut from.
 * 3. Nothing of this can fail but for memory; then the writer is broken and the connection ends, as for any reply.
 *
 * How this differs from redis-server: what such a command does or says is of the time behind the transaction's data
 * commands, and other clients may come between. HELLO with AUTH and a password changes the protocol from then on only: the
 * replies of data commands behind it are in the old one.
 */
#include <stdlib.h>

#include "wire/session_state.h"

/* next_hole: the first command from i on that the host answers, or queue_n. */
static uint32_t next_hole(const session *s, uint32_t i) {
    while (i < s->queue_n && !s->queue[i]->to_host) i++;
    return i;
}

static void ask(session *s, uint32_t i) {
    const queued *q = s->queue[i];
    context *c = &s->c;
    s->weave_at = i;
    s->host_cmd = c->cmd = q->cmd;
    s->host_failed = false;
    c->argv = q->argv;
    c->argc = q->argc;
    c->db = s->db;
}

/* silent: CLIENT REPLY has it that EXEC is not answered. What is written goes out before EXEC ends, so it may not wait for
 * that to be taken back. */
static bool silent(const session *s) { return s->reply_mode == REPLY_OFF || s->reply_mode == REPLY_SKIPPING; }

/* set_aside cuts the output at a place in EXEC's reply. */
static void set_aside(session *s, size_t reply_at) {
    size_t at = s->c.mark + reply_at;
    s->rest_n = s->out.n - at;
    s->rest = malloc(s->rest_n + 1);
    if (s->rest) memcpy(s->rest, s->out.p + at, s->rest_n);
    else s->out.broken = true;
    reply_truncate(&s->out, silent(s) ? s->c.mark : at);
}

bool weave_begin(session *s) {
    uint32_t i = next_hole(s, 0);
    if (i == s->queue_n || s->out.broken) return false;
    set_aside(s, s->queue[i]->reply_at);
    if (s->out.broken) return false;
    s->weaving = true;
    ask(s, i);
    return true;
}

static void drop_rest(session *s) {
    free(s->rest);
    s->rest = NULL;
}

/* go_on writes what of the rest stands between two holes. Who has killed its own connection hears that, and no more. */
static void go_on(session *s, uint32_t from, uint32_t to) {
    uint32_t first = next_hole(s, 0);
    size_t base = s->queue[first]->reply_at, at = s->queue[from]->reply_at - base;
    size_t end = to < s->queue_n ? s->queue[to]->reply_at - base : s->rest_n;
    if (silent(s) || !s->rest) {
        reply_truncate(&s->out, s->host_mark);
    } else if (s->closing) {
        drop_rest(s);
        s->host_mark = reply_mark(&s->out);
    } else {
        reply_raw(&s->out, s->rest + at, end - at);
    }
}

static void end(session *s) {
    s->weaving = false;
    drop_rest(s);
    session_leave_multi(s);
    session_unwatch(s);
    command_count_time(s, &command_table[COMMAND_exec], 0, false);
}

bool weave_next(session *s) {
    uint32_t to = next_hole(s, s->weave_at + 1);
    go_on(s, s->weave_at, to);
    if (s->out.broken || to == s->queue_n) {
        end(s);
        return false;
    }
    ask(s, to);
    return true;
}
