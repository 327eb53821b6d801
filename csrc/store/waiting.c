/* waiting.c - see waiting.h. */
#include "store/waiting.h"

/* --- operations on one key, by name ----------------------------------------------------------------------------------- */

typedef struct call {
    key k;
    const lock_request *request;
    lock_state state;
    span token;
    uint64_t version, expiry, hash;
    bool flag;
} call;

static fr_status look_key(store *st, txn *t, void *ctx) {
    call *c = ctx;
    found f;
    fr_status status = key_find(st, t, &c->k, &f);
    if (status != FR_OK) return status;
    c->version = found_version(t, &f);
    c->expiry = f.exists ? f.expiry : NO_EXPIRY;
    c->hash = found_wait_hash(&c->k, &f);
    return FR_OK;
}

static fr_status do_acquire(store *st, txn *t, void *ctx) {
    call *c = ctx;
    return lock_acquire(st, t, &c->k, c->request, &c->state);
}

static fr_status do_leave(store *st, txn *t, void *ctx) {
    call *c = ctx;
    return lock_leave(st, t, &c->k, c->token, &c->flag);
}

static fr_status do_look(store *st, txn *t, void *ctx) {
    call *c = ctx;
    found f;
    c->expiry = NO_EXPIRY;
    fr_status status = lock_look(st, t, &c->k, c->token, &c->flag, &c->state.ahead);
    if (status != FR_OK || c->flag) return status;
    status = key_find(st, t, &c->k, &f);
    c->expiry = f.expiry;
    return status;
}

static fr_status route(store *st, uint32_t db, span name, call *c, fr_error *err) {
    return key_route(st, db, name, &c->k, err);
}

static fr_status run_read(store *st, call *c, store_op op, fr_error *err) {
    stripe_set set;
    stripe_set_clear(&set);
    stripe_set_add(&set, c->k.stripe);
    return store_read(st, clock_boot_ms(), &set, op, c, err);
}

static fr_status run_write(store *st, call *c, store_op op, fr_error *err) {
    stripe_set set;
    stripe_set_clear(&set);
    stripe_set_add(&set, c->k.stripe);
    return store_write(st, clock_boot_ms(), UINT64_MAX, &set, op, c, err);
}

/* --- sleeping ------------------------------------------------------------------------------------------------------------ */

/* Milliseconds until the earliest of a deadline, an expiry and `look_ms` from now. */
static uint64_t sleep_for(uint64_t now, uint64_t deadline, uint64_t expiry, uint64_t look_ms) {
    uint64_t end = now + look_ms;
    if (deadline < end) end = deadline;
    if (expiry != NO_EXPIRY && expiry < end) end = expiry;
    return end > now ? end - now : 0;
}

static fr_status look(store *st, uint32_t db, span name, call *c, fr_error *err) {
    fr_status status = route(st, db, name, c, err);
    return status == FR_OK ? run_read(st, c, look_key, err) : status;
}

fr_status key_wait_hash(store *st, uint32_t db, span name, uint64_t *hash, fr_error *err) {
    call c;
    fr_status status = look(st, db, name, &c, err);
    *hash = status == FR_OK ? c.hash : 0;
    return status;
}

/* What a wait does with a failure of one look: a stripe that is held up is waited for. */
static fr_status patient(fr_status status, enum wait_result *how) {
    if (status != FR_LATCHED && status != FR_BUSYREAD) return status;
    *how = WAIT_INTERRUPTED;
    return FR_OK;
}

/* Are all owners of the lock at c->k alive? */
static fr_status do_count_dead(store *st, txn *t, void *ctx) {
    call *c = ctx;
    owners o;
    bool held;
    c->flag = false;
    fr_status status = lock_facts(st, t, &c->k, &held, &o, &c->expiry);
    if (status != FR_OK || !held) return status;
    for (uint32_t i = 0; i < o.holders + o.waiters && !c->flag; i++) c->flag = !owner_alive(t->s, o.entry[i].identity);
    return FR_OK;
}

static fr_status any_dead(store *st, uint32_t db, const span *members, bool *died, fr_error *err) {
    call c = {.flag = false};
    *died = false;
    if (!members) return FR_OK;
    fr_status status = route(st, db, *members, &c, err);
    if (status == FR_OK) status = run_read(st, &c, do_count_dead, err);
    *died = status == FR_OK && c.flag;
    return status;
}

/* Looks before the mark too, because that tells what to mark; a key that became a counter in between has another version. */
static fr_status watch(store *st, uint32_t db, span name, uint64_t version, const span *members, uint64_t deadline_ms,
                       uint64_t *now_version, bool *died, enum wait_result *how, fr_error *err) {
    call c = {.version = version};
    uint64_t now = clock_boot_ms(), turn = now + WAIT_SLICE_MS;
    for (;; now = clock_boot_ms()) {
        *how = now >= deadline_ms ? WAIT_TIMEOUT : WAIT_INTERRUPTED;
        fr_status status = look(st, db, name, &c, err); /* tells what to mark, too */
        wait_point p = wait_mark(st->s, status == FR_OK ? c.hash : 0);
        if (status == FR_OK && c.version == version) status = look(st, db, name, &c, err);
        *now_version = c.version;
        if (status == FR_OK && c.version == version) status = any_dead(st, db, members, died, err);
        if (status != FR_OK) return now >= deadline_ms ? status : patient(status, how);
        if (c.version != version || *died) *how = WAIT_WOKEN;
        if (*how != WAIT_INTERRUPTED || now >= turn) return FR_OK;
        *how = wait_sleep(&p, sleep_for(now, deadline_ms, c.expiry, members ? LINE_MS : WAIT_SLICE_MS));
        if (*how == WAIT_INTERRUPTED) return FR_OK;
    }
}

fr_status key_wait(store *st, uint32_t db, span name, uint64_t version, uint64_t deadline_ms, uint64_t *now,
                   enum wait_result *how, fr_error *err) {
    bool died = false;
    return watch(st, db, name, version, NULL, deadline_ms, now, &died, how, err);
}

fr_status key_watch(store *st, uint32_t db, span name, uint64_t version, span members, uint64_t deadline_ms, uint64_t *now,
                    bool *died, enum wait_result *how, fr_error *err) {
    return watch(st, db, name, version, &members, deadline_ms, now, died, how, err);
}

/* How soon a waiter looks by itself: the first in line takes over from a dead holder, the others from one another. */
static uint64_t look_ms(const lock_state *at) {
    uint32_t ahead = at->outcome == LOCK_QUEUED ? at->ahead : 0;
    return ahead < 4 && HEAD_MS << ahead < LINE_MS ? HEAD_MS << ahead : LINE_MS;
}

/* One sleep in line; *again: worth asking. */
static fr_status doze(store *st, call *c, uint64_t deadline_ms, bool *again, enum wait_result *how, fr_error *err) {
    wait_point p = wait_mark(st->s, c->k.hash);
    if (c->state.outcome == LOCK_QUEUED) p.bits = owner_bit(c->token);
    fr_status status = run_read(st, c, do_look, err);
    *again = c->flag;
    *how = WAIT_WOKEN;
    if (status != FR_OK || (c->flag && c->state.outcome == LOCK_QUEUED)) return status;
    *how = wait_sleep(&p, sleep_for(clock_boot_ms(), deadline_ms, c->expiry, look_ms(&c->state)));
    *again = c->state.outcome == LOCK_REFUSED; /* not in line: ask whenever something may have changed */
    return FR_OK;
}

static fr_status give_up(store *st, call *c, lock_state *out, fr_error *err) {
    fr_status status = run_write(st, c, do_leave, err);
    if (status != FR_OK || !c->flag) {
        *out = (lock_state){LOCK_REFUSED, 0, 0};
        return status;
    }
    status = run_write(st, c, do_acquire, err); /* granted in the last moment: the fence */
    *out = c->state;
    return status;
}

fr_status lock_try(store *st, uint32_t db, span name, const lock_request *r, lock_state *out, fr_error *err) {
    call c = {.request = r};
    fr_status status = route(st, db, name, &c, err);
    if (status == FR_OK) status = run_write(st, &c, do_acquire, err);
    *out = c.state;
    return status;
}

/* Back to the caller, who shall call again. */
static fr_status pause_line(fr_status status, lock_state *out) {
    enum wait_result how;
    out->outcome = LOCK_QUEUED;
    return patient(status, &how);
}

fr_status lock_wait(store *st, uint32_t db, span name, const lock_request *r, uint64_t deadline_ms, lock_state *out,
                    fr_error *err) {
    call c = {.request = r, .token = r->token, .state = {.outcome = LOCK_REFUSED}};
    uint64_t turn = clock_boot_ms() + WAIT_SLICE_MS;
    bool again = true;
    for (;;) {
        enum wait_result how = WAIT_WOKEN;
        fr_status status = route(st, db, name, &c, err);
        if (status == FR_OK && again) status = run_write(st, &c, do_acquire, err);
        *out = c.state;
        if ((status == FR_OK && c.state.outcome == LOCK_GRANTED) || !r->queue) return status;
        uint64_t now = clock_boot_ms(); /* after asking, which may have waited for a latch */
        if (now >= deadline_ms) return give_up(st, &c, out, err);
        if (status == FR_OK) status = doze(st, &c, deadline_ms, &again, &how, err);
        if (status != FR_OK || how == WAIT_INTERRUPTED || now >= turn) return pause_line(status, out);
    }
}

static fr_status do_held(store *st, txn *t, void *ctx) {
    call *c = ctx;
    owners o;
    c->expiry = NO_EXPIRY;
    return lock_facts(st, t, &c->k, &c->flag, &o, &c->expiry);
}

fr_status lock_wait_free(store *st, uint32_t db, span name, uint64_t deadline_ms, enum wait_result *how, fr_error *err) {
    call c;
    uint64_t now = clock_boot_ms(), turn = now + WAIT_SLICE_MS;
    for (;; now = clock_boot_ms()) {
        *how = now >= deadline_ms ? WAIT_TIMEOUT : WAIT_INTERRUPTED;
        fr_status status = route(st, db, name, &c, err);
        if (status != FR_OK) return status;
        wait_point p = wait_mark(st->s, c.k.hash);
        if ((status = run_read(st, &c, do_held, err)) != FR_OK) return now >= deadline_ms ? status : patient(status, how);
        if (!c.flag) *how = WAIT_WOKEN;
        if (*how != WAIT_INTERRUPTED || now >= turn) return FR_OK;
        *how = wait_sleep(&p, sleep_for(now, deadline_ms, c.expiry, HEAD_MS));
        if (*how == WAIT_INTERRUPTED) return FR_OK;
    }
}
