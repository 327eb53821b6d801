/* fridge_wait.c - the flat functions of fridge_wait.h: translations of types over store/waiting.h and store/lock.h. */
#include "fridge_wait.h"

#include <stdio.h>

#include "store/waiting.h"

_Static_assert((int)FRIDGE_WOKEN == (int)WAIT_WOKEN && (int)FRIDGE_INTERRUPTED == (int)WAIT_INTERRUPTED, "one list");
_Static_assert((int)FRIDGE_LOCK_GRANTED == (int)LOCK_GRANTED && (int)FRIDGE_LOCK_REFUSED == (int)LOCK_REFUSED, "one list");
_Static_assert(sizeof((fridge_owner){0}.token) == TOKEN_MAX + 1, "a token fits");

static int leave(fr_status status, const fr_error *e, char *err) {
    snprintf(err, FRIDGE_ERROR_BYTES, "%s", status == FR_OK ? "" : e->text);
    return status;
}

static uint64_t deadline(uint64_t wait_ms) {
    uint64_t now = clock_boot_ms();
    return wait_ms > UINT64_MAX - now ? UINT64_MAX : now + wait_ms;
}

/* --- one operation on one key ------------------------------------------------------------------------------------------ */

typedef struct call {
    key k;
    span token, bytes;
    uint64_t ms, version, expiry;
    bool flag, add;
    owners o;
    fr_status (*run)(store *st, txn *t, struct call *c);
} call;

static fr_status run(store *st, txn *t, void *ctx) {
    call *c = ctx;
    return c->run(st, t, c);
}

static fr_status on_key(store *st, uint32_t db, span name, bool write, call *c, fr_error *e) {
    stripe_set set;
    fr_status status = key_route(st, db, name, &c->k, e);
    if (status != FR_OK) return status;
    stripe_set_clear(&set);
    stripe_set_add(&set, c->k.stripe);
    uint64_t now = clock_boot_ms();
    return write ? store_write(st, now, UINT64_MAX, &set, run, c, e) : store_read(st, now, &set, run, c, e);
}

static fr_status do_version(store *st, txn *t, call *c) {
    found f;
    c->expiry = NO_EXPIRY;
    fr_status status = key_version(st, t, &c->k, &c->version, &c->flag);
    if (status != FR_OK || !c->flag) return status;
    status = key_find(st, t, &c->k, &f);
    c->expiry = f.expiry;
    return status;
}
static fr_status do_release(store *st, txn *t, call *c) { return lock_release(st, t, &c->k, c->token, &c->flag); }
static fr_status do_force(store *st, txn *t, call *c) { return lock_force(st, t, &c->k, &c->flag); }
static fr_status do_leave(store *st, txn *t, call *c) { return lock_leave(st, t, &c->k, c->token, &c->flag); }
static fr_status do_lease(store *st, txn *t, call *c) {
    return c->add ? lock_extend(st, t, &c->k, c->token, (int64_t)c->ms, true, &c->flag)
                  : lock_lease(st, t, &c->k, c->token, c->ms, &c->flag);
}
static fr_status do_facts(store *st, txn *t, call *c) { return lock_facts(st, t, &c->k, &c->flag, &c->o, &c->expiry); }
static fr_status do_publish(store *st, txn *t, call *c) {
    return var_publish(st, t, &c->k, c->bytes, &c->flag, &c->version);
}
static fr_status do_publisher(store *st, txn *t, call *c) {
    found f;
    c->flag = false;
    fr_status status = key_find(st, t, &c->k, &f);
    if (status != FR_OK || !f.exists || f.kind != KIND_STRING || !(META_FLAGS(f.meta) & FLAG_OWNER)) return status;
    head h = {f.off, f.version, f.meta, f.expiry};
    c->flag = owners_read(t, &h, &c->o) && c->o.role == ROLE_VAR;
    return FR_OK;
}

static uint64_t left(uint64_t expiry) {
    uint64_t now = clock_boot_ms();
    return expiry == NO_EXPIRY ? 0 : expiry > now ? expiry - now : 1;
}

/* --- keys and the doorbell ------------------------------------------------------------------------------------------------ */

int fridge_key_wait(store *st, uint32_t db, const char *name, size_t n, uint64_t version, uint64_t wait_ms, uint64_t *now,
                    int *waited, char *err) {
    fr_error e = {0};
    enum wait_result how = WAIT_TIMEOUT;
    fr_status status = key_wait(st, db, (span){name, n}, version, deadline(wait_ms), now, &how, &e);
    *waited = (int)how;
    return leave(status, &e, err);
}

int fridge_key_watch(store *st, uint32_t db, const char *name, size_t n, uint64_t version, const char *members, size_t members_n,
                     uint64_t wait_ms, uint64_t *now, int *died, int *waited, char *err) {
    fr_error e = {0};
    enum wait_result how = WAIT_TIMEOUT;
    bool dead = false;
    fr_status status = key_watch(st, db, (span){name, n}, version, (span){members, members_n}, deadline(wait_ms), now, &dead, &how, &e);
    *died = dead;
    *waited = (int)how;
    return leave(status, &e, err);
}

int fridge_key_version(store *st, uint32_t db, const char *name, size_t n, uint64_t *version, uint64_t *left_ms, int *exists,
                       char *err) {
    fr_error e = {0};
    call c = {.run = do_version};
    fr_status status = on_key(st, db, (span){name, n}, false, &c, &e);
    *version = c.version;
    *left_ms = left(c.expiry);
    *exists = c.flag;
    return leave(status, &e, err);
}

int fridge_doorbell_seen(store *st, uint32_t *seen, char *err) {
    fr_error e = {0};
    fr_status status = segment_register(st->s, &e);
    *seen = status == FR_OK ? wait_doorbell(st->s).seen : 0;
    return leave(status, &e, err);
}

int fridge_key_hash(store *st, uint32_t db, const char *name, size_t n, uint64_t *hash, char *err) {
    fr_error e = {0};
    return leave(key_wait_hash(st, db, (span){name, n}, hash, &e), &e, err);
}

uint32_t fridge_doorbell_mark(store *st, uint64_t hash) { return wait_mark_doorbell(st->s, hash); }

size_t fridge_doorbell_rung(store *st, const uint64_t *hashes, const uint32_t *counts, size_t n, uint32_t *out) {
    size_t rung = 0;
    for (size_t i = 0; i < n; i++) {
        if (wait_rung(st->s, hashes[i], counts[i])) out[rung++] = (uint32_t)i;
    }
    return rung;
}

int fridge_doorbell_wait(store *st, uint32_t seen, uint64_t wait_ms) {
    wait_point p = wait_doorbell(st->s);
    p.seen = seen;
    return (int)wait_sleep(&p, wait_ms);
}

void fridge_doorbell_ring(store *st) { wait_ring_doorbell(st->s); }

/* --- locks ------------------------------------------------------------------------------------------------------------------ */

int fridge_lock_acquire(store *st, uint32_t db, const char *name, size_t n, const fridge_lock_request *r, uint64_t wait_ms,
                        fridge_lock_state *out, char *err) {
    fr_error e = {0};
    lock_state state = {LOCK_REFUSED, 0, 0};
    lock_request request = {.token = {r->token, r->token_n}, .shared = r->shared, .limit = r->limit, .lease_ms = r->lease_ms,
                            .queue = r->queue, .owned = true};
    fr_status status = wait_ms ? lock_wait(st, db, (span){name, n}, &request, deadline(wait_ms), &state, &e)
                               : lock_try(st, db, (span){name, n}, &request, &state, &e);
    *out = (fridge_lock_state){state.fence, state.ahead, (int)state.outcome};
    return leave(status, &e, err);
}

int fridge_lock_wait(store *st, uint32_t db, const char *name, size_t n, uint64_t wait_ms, int *waited, char *err) {
    fr_error e = {0};
    enum wait_result how = WAIT_TIMEOUT;
    fr_status status = lock_wait_free(st, db, (span){name, n}, deadline(wait_ms), &how, &e);
    *waited = (int)how;
    return leave(status, &e, err);
}

int fridge_lock_release(store *st, uint32_t db, const char *name, size_t n, const char *token, size_t token_n, int *done,
                        char *err) {
    fr_error e = {0};
    call c = {.run = token ? do_release : do_force, .token = {token, token_n}};
    fr_status status = on_key(st, db, (span){name, n}, true, &c, &e);
    *done = c.flag;
    return leave(status, &e, err);
}

int fridge_lock_leave(store *st, uint32_t db, const char *name, size_t n, const char *token, size_t token_n, int *granted,
                      char *err) {
    fr_error e = {0};
    call c = {.run = do_leave, .token = {token, token_n}};
    fr_status status = on_key(st, db, (span){name, n}, true, &c, &e);
    *granted = c.flag;
    return leave(status, &e, err);
}

int fridge_lock_lease(store *st, uint32_t db, const char *name, size_t n, const char *token, size_t token_n, uint64_t ms,
                      int add, int *done, char *err) {
    fr_error e = {0};
    call c = {.run = do_lease, .token = {token, token_n}, .ms = ms, .add = add};
    fr_status status = on_key(st, db, (span){name, n}, true, &c, &e);
    *done = c.flag;
    return leave(status, &e, err);
}

static bool find_process(segment *s, uint32_t slot, uint32_t gen, process_info *p) {
    return segment_process(s, slot, p) == slot && p->gen == gen;
}

static void describe(store *st, const owner *o, bool waiting, fridge_owner *out) {
    segment *s = st->s;
    process_info p;
    *out = (fridge_owner){.fence = o->number, .since_ms = o->since_ms,
                          .since_wall_ms = o->since_ms ? keyspace_to_wall(st, o->since_ms) : 0, .slot = LATCH_SLOT(o->identity),
                          .gen = LATCH_GEN(o->identity), .alive = owner_alive(s, o->identity), .shared = o->shared,
                          .waiting = waiting, .token_n = o->token_n};
    memcpy(out->token, o->token, o->token_n);
    if (o->identity == 0) return;
    out->self = o->identity == s->me->word;
    if (!find_process(s, out->slot, out->gen, &p)) return;
    out->pid = p.pid;
    memcpy(out->name, p.name, sizeof out->name);
    memcpy(out->host, p.host, sizeof p.host);
}

int fridge_lock_owners(store *st, uint32_t db, const char *name, size_t n, fridge_owner *out, size_t cap, size_t *found_n,
                       uint64_t *left_ms, uint32_t *limit, char *err) {
    fr_error e = {0};
    call c = {.run = do_facts, .expiry = NO_EXPIRY};
    fr_status status = on_key(st, db, (span){name, n}, false, &c, &e);
    *found_n = 0;
    if (status == FR_OK && c.flag) *found_n = c.o.holders + c.o.waiters;
    *left_ms = left(c.expiry);
    *limit = c.o.limit;
    for (size_t i = 0; i < *found_n && i < cap; i++) describe(st, &c.o.entry[i], i >= c.o.holders, &out[i]);
    return leave(status, &e, err);
}

/* --- vars ------------------------------------------------------------------------------------------------------------------- */

int fridge_var_publish(store *st, uint32_t db, const char *name, size_t n, const char *p, size_t size, int *changed,
                       uint64_t *version, char *err) {
    fr_error e = {0};
    call c = {.run = do_publish, .bytes = {p, size}};
    fr_status status = on_key(st, db, (span){name, n}, true, &c, &e);
    *changed = c.flag;
    *version = c.version;
    return leave(status, &e, err);
}

int fridge_var_publisher(store *st, uint32_t db, const char *name, size_t n, fridge_owner *out, int *known, char *err) {
    fr_error e = {0};
    call c = {.run = do_publisher};
    fr_status status = on_key(st, db, (span){name, n}, false, &c, &e);
    *known = status == FR_OK && c.flag;
    if (*known) describe(st, &c.o.entry[0], false, out);
    return leave(status, &e, err);
}
