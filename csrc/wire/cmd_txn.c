/* cmd_txn.c - MULTI, EXEC, DISCARD, WATCH, UNWATCH.
 *
 * EXEC is one store_write over the stripes of what is queued: watched versions are compared under the latches, all
 * handlers run in the same transaction, and one commit publishes them all, for every door. A command that fails takes
 * back its own records (txn_rollback) and leaves its error in the reply array, as in Redis. Commands that the host must
 * answer are left out of the transaction and woven in behind: weave.c.
 *
 * A watched key is a name in a database and the version it had. Versions change with every write through any door; an
 * absent key's version is its bucket's last-delete stamp, so the worst that a busy neighbour does is a needless abort.
 */
#include <stdlib.h>

#include "wire/session_state.h"

/* --- the queue --------------------------------------------------------------------------------------------------- */

static bool queue_room(session *s) {
    if (s->queue_n < s->queue_cap) return true;
    uint32_t cap = s->queue_cap ? s->queue_cap * 2 : 16;
    queued **grown = realloc(s->queue, cap * sizeof *grown);
    if (!grown) return false;
    s->queue = grown;
    s->queue_cap = cap;
    return true;
}

static void copy_words(queued *q, const span *argv) {
    char *to = (char *)&q->argv[q->argc];
    for (uint32_t i = 0; i < q->argc; i++) {
        q->argv[i] = (span){to, argv[i].n};
        if (argv[i].n) memcpy(to, argv[i].p, argv[i].n);
        to += argv[i].n;
    }
}

bool session_queue(session *s, const command *row) {
    const resp_parser *p = &s->parser;
    size_t bytes = sizeof(queued) + p->argc * sizeof(span);
    for (uint32_t i = 0; i < p->argc; i++) bytes += p->argv[i].n;
    if (s->queue_bytes + bytes > s->facts->query_limit || !queue_room(s)) return false;
    queued *q = malloc(bytes);
    if (!q) return false;
    *q = (queued){.cmd = row, .argc = p->argc};
    copy_words(q, p->argv);
    s->queue[s->queue_n++] = q;
    s->queue_bytes += bytes;
    return true;
}

void session_leave_multi(session *s) {
    for (uint32_t i = 0; i < s->queue_n; i++) free(s->queue[i]);
    s->queue_n = 0;
    s->queue_bytes = 0;
    s->multi = s->multi_dirty = false;
}

fr_status cmd_multi(context *c) {
    if (c->s->multi) return fail(c, FR_ARGUMENT, "MULTI calls can not be nested");
    c->s->multi = true;
    reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_discard(context *c) {
    if (!c->s->multi) return fail(c, FR_ARGUMENT, "DISCARD without MULTI");
    session_leave_multi(c->s);
    session_unwatch(c->s);
    reply_ok(c->out);
    return FR_OK;
}

/* --- WATCH ------------------------------------------------------------------------------------------------------- */

void session_unwatch(session *s) {
    for (uint32_t i = 0; i < s->watch_n; i++) free(s->watch[i].name);
    s->watch_n = 0;
}

static bool watches(const session *s, uint32_t db, span name) {
    for (uint32_t i = 0; i < s->watch_n; i++)
        if (s->watch[i].db == db && span_eq((span){s->watch[i].name, s->watch[i].n}, name)) return true;
    return false;
}

static bool watch_add(session *s, uint32_t db, span name, uint64_t version, bool existed) {
    if (s->watch_n == s->watch_cap) {
        uint32_t cap = s->watch_cap ? s->watch_cap * 2 : 4;
        watched *grown = realloc(s->watch, cap * sizeof *grown);
        if (!grown) return false;
        s->watch = grown;
        s->watch_cap = cap;
    }
    char *copy = malloc(name.n + 1);
    if (!copy) return false;
    if (name.n) memcpy(copy, name.p, name.n);
    s->watch[s->watch_n++] = (watched){.db = db, .existed = existed, .version = version, .n = name.n, .name = copy};
    return true;
}

/* One key's version, read on its own. */
struct version_read {
    context *c;
    span name;
    uint64_t version;
    bool exists;
};

static fr_status read_version(store *st, txn *t, void *ctx) {
    struct version_read *r = ctx;
    key k;
    fr_status status = key_route(st, r->c->db, r->name, &k, r->c->err);
    return status == FR_OK ? key_version(st, t, &k, &r->version, &r->exists) : status;
}

fr_status cmd_watch(context *c) {
    if (c->s->multi) return fail(c, FR_ARGUMENT, "WATCH inside MULTI is not allowed");
    for (uint32_t i = 1; i < c->argc; i++) {
        if (watches(c->s, c->db, c->argv[i])) continue;
        struct version_read r = {.c = c, .name = c->argv[i]};
        fr_status status = store_read(c->st, c->now, NULL, read_version, &r, c->err);
        if (status != FR_OK) return status;
        if (!watch_add(c->s, c->db, c->argv[i], r.version, r.exists)) return FR_OOM;
    }
    reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_unwatch(context *c) {
    session_unwatch(c->s);
    reply_ok(c->out);
    return FR_OK;
}

/* --- EXEC -------------------------------------------------------------------------------------------------------- */

struct exec {
    context *c;
    uint32_t db; /* the session's, before any queued SELECT */
    bool ran;    /* false: a watched key had changed */
};

/* watch_held compares a watched key with what it was. */
static fr_status watch_held(context *c, const watched *w, bool *held) {
    key k;
    uint64_t version;
    bool exists;
    fr_status status = key_route(c->st, w->db, (span){w->name, w->n}, &k, c->err);
    if (status == FR_OK) status = key_version(c->st, c->t, &k, &version, &exists);
    *held = status == FR_OK && version == w->version && exists == w->existed;
    return status;
}

/* internal: the loops of store_write handle these; they are not a command's result. */
static bool internal(fr_status status) {
    return status == FR_RETRY || status == FR_RELOCK || status == FR_GROW || status == FR_RECLAIM ||
           status == FR_LATCHED || status == FR_BUSYREAD || status == FR_LOST || status == FR_DAMAGED;
}

static void enter(context *c, const queued *q) {
    c->cmd = q->cmd;
    c->argv = q->argv;
    c->argc = q->argc;
    c->db = c->s->db;
    c->err->text[0] = 0;
}

static void answer_failure(context *c, size_t mark, fr_status status) {
    char buf[FR_ERROR_TEXT + 64];
    reply_truncate(c->out, mark);
    reply_error(c->out, command_error_line(c->err, status, buf));
}

/* exec_one runs one queued command inside the transaction. */
static fr_status exec_one(context *c, queued *q) {
    size_t reply_at = reply_mark(c->out);
    uint32_t records = c->t ? txn_mark(c->t) : 0; /* no transaction: nothing queued touches keys */
    enter(c, q);
    fr_status status = command_route(c);
    if (status == FR_OK) status = q->cmd->run(c);
    if (command_number(q->cmd) == COMMAND_monitor)
        status = fail(c, FR_ARGUMENT, "MONITOR isn't allowed for DENY BLOCKING client");
    q->to_host = status == CMD_TO_HOST;
    q->reply_at = reply_at - c->mark;
    if (q->to_host) status = FR_OK;
    q->failed = status != FR_OK;
    if (status == FR_OK || internal(status)) return status;
    if (c->t) txn_rollback(c->t, records);
    answer_failure(c, reply_at, status);
    return FR_OK;
}

/* all_held: is every watched key what it was? */
static fr_status all_held(context *c, bool *held) {
    *held = true;
    for (uint32_t i = 0; i < c->s->watch_n && *held; i++) {
        fr_status status = watch_held(c, &c->s->watch[i], held);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

static fr_status exec_op(store *st, txn *t, void *ctx) {
    struct exec *x = ctx;
    context *c = x->c;
    session *s = c->s;
    (void)st;
    c->t = t;
    s->db = x->db;
    reply_truncate(c->out, c->mark);
    fr_status status = all_held(c, &x->ran);
    if (status != FR_OK) return status;
    if (!x->ran) {
        reply_null_array(c->out);
        return FR_OK;
    }
    reply_array(c->out, s->queue_n);
    for (uint32_t i = 0; i < s->queue_n; i++) {
        status = exec_one(c, s->queue[i]);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

/* exec_stripes collects the latches of everything that will be touched; queued SELECTs count. */
static fr_status exec_stripes(struct exec *x) {
    context *c = x->c;
    session *s = c->s;
    for (uint32_t i = 0; i < s->watch_n; i++) {
        key k;
        fr_status status = key_route(c->st, s->watch[i].db, (span){s->watch[i].name, s->watch[i].n}, &k, c->err);
        if (status != FR_OK) return status;
        stripe_set_add(&s->stripes, k.stripe);
    }
    for (uint32_t i = 0; i < s->queue_n; i++) {
        enter(c, s->queue[i]);
        uint32_t db;
        if (command_number(c->cmd) == COMMAND_select && arg_db(c, 1, &db) == FR_OK) s->db = db;
        if (command_route(c) != FR_OK) continue; /* it will fail by itself */
        if (!c->key_count && c->cmd->flags & (C_WRITE | C_READONLY | C_SCRIPT)) store_all_stripes(c->st, &s->stripes);
        for (uint32_t k = 0; k < c->key_count; k++) stripe_set_add(&s->stripes, c->keys[k].stripe);
    }
    s->db = x->db;
    return FR_OK;
}

/* exec_count counts the commands that ran; the host's are counted as they are answered. */
static void exec_count(session *s) {
    for (uint32_t i = 0; i < s->queue_n; i++) {
        if (s->queue[i]->to_host) continue;
        command_count_time(s, s->queue[i]->cmd, 0, s->queue[i]->failed);
        if (s->queue[i]->failed) stat_add(s->st->s, STAT_error_replies, 1);
    }
    s->commands += s->queue_n;
}

/* cmd_exec leaves the transaction when it succeeds. When it fails, command.c does, unless the session is parked. */
fr_status cmd_exec(context *c) {
    session *s = c->s;
    const command *self = c->cmd;
    struct exec x = {.c = c, .db = s->db};
    if (!s->multi) return fail(c, FR_ARGUMENT, "EXEC without MULTI");
    if (s->multi_dirty)
        return fail(c, FR_ARGUMENT, "-EXECABORT Transaction discarded because of previous errors.");
    fr_status status = exec_stripes(&x);
    if (status == FR_OK && !s->stripes.count) status = exec_op(c->st, NULL, &x);
    else if (status == FR_OK) status = store_write(c->st, c->now, 1, &s->stripes, exec_op, &x, c->err);
    stripe_set_clear(&s->stripes);
    c->cmd = self;
    c->argv = s->parser.argv;
    c->argc = s->parser.argc;
    if (status != FR_OK) {
        s->db = x.db;
        return status;
    }
    if (x.ran) exec_count(s);
    if (x.ran && weave_begin(s)) return CMD_TO_HOST;
    session_leave_multi(s);
    session_unwatch(s);
    return FR_OK;
}
