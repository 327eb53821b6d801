/* cmd_lock.c - locks for clients that speak RESP: what fridge.Lock does, without a process behind it.
 *
 *   LOCK ACQUIRE name token [PX ms]   -> the fencing token, or null when somebody else holds it
 *   LOCK RELEASE name token           -> 1, or 0 when the token does not hold it
 *   LOCK FORCE name                   -> 1, or 0 when nobody held it
 *   LOCK INFO name                    -> map: token, fence, pid, host, process, alive, since, pttl, holders, limit, waiters; or null
 *   LOCK LIST                         -> names
 *
 * A lock without PX that a client acquires here lasts until it is released: the server cannot know that the client died. What
 * a process acquires through fridge.Lock ends with the process.
 */
#include "store/lock.h"
#include "wire/session_state.h"

fr_status cmd_lock_acquire(context *c) {
    int64_t ms = 0;
    lock_state state;
    if (c->argc != 4 && (c->argc != 6 || !arg_is(c, 4, "px"))) return FR_SYNTAX;
    if (c->argc == 6 && (arg_int(c, 5, &ms) != FR_OK || ms < 1)) return fail_expiry(c);
    lock_request r = {.token = c->argv[3], .limit = 1, .lease_ms = (uint64_t)ms};
    fr_status status = lock_acquire(c->st, c->t, &c->keys[0], &r, &state);
    if (status != FR_OK) return status;
    if (state.outcome == LOCK_GRANTED) reply_int(c->out, (int64_t)state.fence);
    else reply_null(c->out);
    return FR_OK;
}

fr_status cmd_lock_release(context *c) {
    bool done;
    fr_status status = lock_release(c->st, c->t, &c->keys[0], c->argv[3], &done);
    if (status == FR_OK) answer_bool(c, done);
    return status;
}

fr_status cmd_lock_force(context *c) {
    bool done;
    fr_status status = lock_force(c->st, c->t, &c->keys[0], &done);
    if (status == FR_OK) answer_bool(c, done);
    return status;
}

/* --- facts --------------------------------------------------------------------------------------------------------------- */

static void fact(context *c, const char *name, uint64_t v) {
    reply_text(c->out, name);
    reply_int(c->out, (int64_t)v);
}

static void text_fact(context *c, const char *name, const char *p, size_t n) {
    reply_text(c->out, name);
    reply_bulk(c->out, (span){p, n});
}

/* Of the first holder; pid 0 and no names for a client of a server. */
static void holder_facts(context *c, const owner *o) {
    process_info p = {0};
    uint32_t slot = LATCH_SLOT(o->identity);
    if (o->identity && (segment_process(c->st->s, slot, &p) != slot || p.gen != LATCH_GEN(o->identity))) p = (process_info){0};
    text_fact(c, "token", o->token, o->token_n);
    fact(c, "fence", o->number);
    fact(c, "pid", p.pid);
    text_fact(c, "host", p.host, strlen(p.host));
    text_fact(c, "process", p.name, strlen(p.name));
    fact(c, "alive", owner_alive(c->st->s, o->identity));
    fact(c, "since", o->since_ms ? keyspace_to_wall(c->st, o->since_ms) : 0);
}

fr_status cmd_lock_info(context *c) {
    bool held;
    owners o;
    uint64_t expiry;
    fr_status status = lock_facts(c->st, c->t, &c->keys[0], &held, &o, &expiry);
    if (status != FR_OK) return status;
    if (!held) {
        reply_null(c->out);
        return FR_OK;
    }
    reply_map(c->out, 11);
    holder_facts(c, &o.entry[0]);
    reply_text(c->out, "pttl");
    reply_int(c->out, expiry == NO_EXPIRY ? -1 : expiry > c->now ? (int64_t)(expiry - c->now) : 0);
    fact(c, "holders", o.holders);
    fact(c, "limit", o.limit);
    fact(c, "waiters", o.waiters);
    return FR_OK;
}

/* What a scan told may be out of date when it is looked at again; so the look is not part of what must hold at the end. */
struct lock_list {
    context *c;
    size_t n;
};

static fr_status take_lock(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    struct lock_list *list = ctx;
    context *c = list->c;
    key k;
    bool is_lock;
    uint32_t reads = c->t->reads;
    (void)expiry, (void)version;
    if (kind != KIND_STRING) return FR_OK;
    fr_status status = key_route(c->st, c->db, name, &k, c->err);
    if (status == FR_OK) status = lock_named(c->st, c->t, &k, &is_lock);
    c->t->reads = reads;
    if (status != FR_OK || !is_lock) return status;
    reply_bulk(c->out, name);
    list->n++;
    return FR_OK;
}

fr_status cmd_lock_list(context *c) {
    struct lock_list list = {.c = c};
    uint64_t cursor = 0;
    size_t mark = reply_open(c->out);
    do {
        fr_status status = keyspace_scan(c->st, c->t, c->db, NO_TABLE, &cursor, 1024, take_lock, &list);
        if (status != FR_OK) return status;
    } while (cursor && !c->out->broken);
    reply_close(c->out, mark, '*', list.n);
    return FR_OK;
}

fr_status cmd_lock_help(context *c) {
    static const char *const lines[] = {
        "ACQUIRE <name> <token> [PX <milliseconds>]",
        "    Acquire a lock if nobody holds it; returns the fencing token, or null.",
        "FORCE <name>",
        "    Release a lock whoever holds it.",
        "INFO <name>",
        "    Return who holds a lock and how many wait.",
        "LIST",
        "    Return the names of the locks of this database, those of plain SET NX left out.",
        "RELEASE <name> <token>",
        "    Release a lock that the token holds.",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}
