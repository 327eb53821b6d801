/* lock.c - see lock.h. Sections: a lock in memory; the line; operations. */
#include "store/lock.h"

#include "shm/wait.h"

/* --- a lock in memory ------------------------------------------------------------------------------------------------- */

/* What a key held when the operation met it, and what it shall hold. */
typedef struct lock {
    found f;
    owners o;
    uint64_t expiry; /* the first holder's lease, as the key's expiry */
    bool changed;
    bool promoted;    /* another is the first in line now */
    uint32_t granted; /* owner_bits of those who got it now */
} lock;

static void drop(lock *l, uint32_t i) {
    uint32_t n = l->o.holders + l->o.waiters;
    l->promoted |= i == l->o.holders;
    if (i < l->o.holders) l->o.holders--;
    else l->o.waiters--;
    memmove(&l->o.entry[i], &l->o.entry[i + 1], (n - i - 1) * sizeof(owner));
    l->changed = true;
}

static bool is_token(const owner *e, span token) { return span_eq((span){e->token, e->token_n}, token); }

static bool find_holder(const lock *l, span token, uint32_t *at) {
    for (*at = 0; *at < l->o.holders; ++*at) {
        if (is_token(&l->o.entry[*at], token)) return true;
    }
    return false;
}

static bool find_waiter(const lock *l, span token, uint32_t *at) {
    uint32_t n = l->o.holders + l->o.waiters;
    for (*at = l->o.holders; *at < n; ++*at) {
        if (is_token(&l->o.entry[*at], token)) return true;
    }
    return false;
}

/* A string of another client, as a lock with one exclusive holder. False: its value is too long for a token. */
static bool foreign(txn *t, const found *f, owners *o) {
    head h = {f->off, f->version, f->meta, f->expiry};
    value v;
    char text[VALUE_TEXT];
    if (block_value(t, &h, &v) != FR_OK || (v.kind == VALUE_BYTES && (!v.p || v.n > TOKEN_MAX))) return false;
    span token = value_text(&v, text);
    if (token.n > TOKEN_MAX) return false;
    o->holders = 1;
    o->entry[0] = (owner){.token_n = (uint8_t)token.n, .since_ms = 0};
    memcpy(o->entry[0].token, token.p, token.n);
    return true;
}

/* The block that f names, dead or alive, as owners. False: no lock that can be kept. */
static bool owners_of(txn *t, const found *f, owners *o) {
    head h = {f->exists ? f->off : f->dead, f->version, f->meta, f->expiry};
    *o = (owners){.limit = 1, .role = ROLE_LOCK};
    if (META_FLAGS(f->meta) & FLAG_OWNER) return owners_read(t, &h, o) && o->role == ROLE_LOCK;
    return f->exists && foreign(t, f, o);
}

static void drop_dead_holders(txn *t, lock *l) {
    for (uint32_t i = l->o.holders; i-- > 0;) {
        if (owner_alive(t->s, l->o.entry[i].identity)) continue;
        drop(l, i);
        stat_add(t->s, STAT_lock_owner_deaths, 1);
    }
}

/* Loads the lock for a writer: dead holders and a lease that ran out are gone, the line stays. *kept false: the key holds a
 * string that is too long to be queued behind. */
static fr_status load(store *st, txn *t, const key *k, lock *l, bool *kept) {
    l->o = (owners){.limit = 1, .role = ROLE_LOCK};
    l->changed = l->promoted = false;
    l->granted = 0;
    l->expiry = NO_EXPIRY;
    *kept = true;
    if (k->table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_write_begin(st, t, k, &l->f);
    if (status != FR_OK) return status;
    const found *f = &l->f;
    if (f->exists && f->kind != KIND_STRING) return FR_WRONGTYPE;
    if (!f->exists && (!f->dead || !(META_FLAGS(f->meta) & FLAG_OWNER) || META_SPACE(f->meta) != k->space)) return FR_OK;
    *kept = owners_of(t, f, &l->o);
    if (!*kept) {
        l->o = (owners){.limit = 1, .role = ROLE_LOCK};
        *kept = !f->exists;
        return FR_OK;
    }
    l->expiry = f->expiry;
    if (f->expiry != NO_EXPIRY && f->expiry <= t->now_ms) {
        while (l->o.holders) drop(l, 0);
        l->expiry = NO_EXPIRY;
    }
    drop_dead_holders(t, l);
    return FR_OK;
}

/* The bits of those for whom the change means something: who got it, and who is the first in line now. That one has slept as
 * long as those do who need not look after the holder, and must do so from now on: the new holder may be dead already. */
static uint32_t concerned(const lock *l) {
    const owner *first = &l->o.entry[l->o.holders];
    return WAIT_OTHERS | l->granted | (l->promoted ? owner_bit((span){first->token, first->token_n}) : 0);
}

static fr_status save(store *st, txn *t, const key *k, lock *l) {
    if (!l->changed) return FR_OK;
    if (l->o.holders == 0) return l->f.exists || l->f.dead ? key_unlink(st, t, k, &l->f) : FR_OK;
    uint64_t slot;
    span value = {l->o.entry[0].token, l->o.entry[0].token_n};
    fr_status status = owners_write(t, k, value, &l->o, l->expiry, &slot);
    if (l->o.waiters) txn_wake_some(t, concerned(l));
    return status == FR_OK ? key_put(st, t, k, &l->f, slot, l->expiry) : status;
}

/* --- the end of a lease ------------------------------------------------------------------------------------------------- */

#define LAST_END ((uint64_t)INT64_MAX / 2) /* what wall-clock times and signed replies can still hold: 146 million years */

static uint64_t end_of(uint64_t from, uint64_t ms) { return ms < LAST_END - from ? from + ms : LAST_END; }

static uint64_t moved_end(uint64_t end, int64_t ms) {
    if (ms >= 0) return end_of(end, (uint64_t)ms);
    uint64_t back = -(uint64_t)ms;
    return back < end ? end - back : 0;
}

/* --- the line ----------------------------------------------------------------------------------------------------------- */

static bool compatible(const lock *l, bool shared) {
    if (l->o.holders == 0) return true;
    return shared && l->o.entry[0].shared && l->o.holders < l->o.limit;
}

/* Waiters lie behind holders, so the first waiter becomes the last holder where it is. */
static void grant_first(txn *t, const key *k, lock *l) {
    owner *e = &l->o.entry[l->o.holders];
    e->number = txn_version(t, k->stripe);
    e->since_ms = t->now_ms;
    l->expiry = e->lease_ms && !e->shared ? end_of(t->now_ms, e->lease_ms) : NO_EXPIRY;
    l->granted |= owner_bit((span){e->token, e->token_n});
    l->o.holders++;
    l->o.waiters--;
    l->changed = l->promoted = true;
    stat_add(t->s, STAT_lock_grants, 1);
}

/* A dead first waiter goes even if it could not be granted: who stands behind it may be compatible with the holders. */
static void advance(txn *t, const key *k, lock *l) {
    while (l->o.waiters) {
        const owner *first = &l->o.entry[l->o.holders];
        if (!owner_alive(t->s, first->identity)) drop(l, l->o.holders);
        else if (compatible(l, first->shared)) grant_first(t, k, l);
        else return;
    }
}

static void drop_dead_waiters(txn *t, lock *l) {
    for (uint32_t i = l->o.holders + l->o.waiters; i-- > l->o.holders;) {
        if (!owner_alive(t->s, l->o.entry[i].identity)) drop(l, i);
    }
}

/* Puts the asker at the end of the line. False: the line is full of the living. */
static bool stand(txn *t, lock *l, const lock_request *r) {
    if (l->o.holders + l->o.waiters >= OWNERS_MAX) drop_dead_waiters(t, l);
    if (l->o.holders + l->o.waiters >= OWNERS_MAX) return false;
    owner *e = &l->o.entry[l->o.holders + l->o.waiters++];
    *e = (owner){.identity = r->owned ? t->s->me->word : 0, .shared = r->shared, .token_n = (uint8_t)r->token.n,
                 .since_ms = t->now_ms, .lease_ms = r->lease_ms};
    memcpy(e->token, r->token.p, r->token.n);
    l->changed = true;
    return true;
}

/* --- operations ---------------------------------------------------------------------------------------------------------- */

static fr_status check_request(txn *t, const key *k, const lock *l, const lock_request *r) {
    if (r->token.n == 0 || r->token.n > TOKEN_MAX)
        return txn_fail(t, FR_ARGUMENT, "a lock's token has 1 to %u bytes, not %zu", TOKEN_MAX, r->token.n);
    if (r->limit == 0 || r->limit > OWNERS_MAX)
        return txn_fail(t, FR_ARGUMENT, "a limit of %u holders is impossible: 1 to %u", r->limit, OWNERS_MAX);
    if (l->o.holders + l->o.waiters == 0 || l->o.limit == r->limit) return FR_OK;
    return txn_fail(t, FR_ARGUMENT, "'%.*s' is in use with a limit of %u holders, not %u", (int)(k->name.n < 64 ? k->name.n : 64),
                    k->name.p, l->o.limit, r->limit);
}

/* The asker's place after everything else has been done. */
static void outcome(const lock *l, span token, lock_state *out) {
    uint32_t at;
    *out = (lock_state){LOCK_REFUSED, 0, 0};
    if (find_holder(l, token, &at)) *out = (lock_state){LOCK_GRANTED, l->o.entry[at].number, 0};
    else if (find_waiter(l, token, &at)) *out = (lock_state){LOCK_QUEUED, 0, at - l->o.holders};
}

fr_status lock_acquire(store *st, txn *t, const key *k, const lock_request *r, lock_state *out) {
    lock l;
    bool kept;
    uint32_t at;
    fr_status status = load(st, t, k, &l, &kept);
    if (status != FR_OK) return status;
    if (kept) advance(t, k, &l); /* what a death left to do comes before the asker, and before what limit it asks for */
    if ((status = check_request(t, k, &l, r)) != FR_OK) return status;
    *out = (lock_state){LOCK_REFUSED, 0, 0};
    if (!kept) return FR_OK;
    bool known = find_holder(&l, r->token, &at) || find_waiter(&l, r->token, &at);
    if (l.o.holders + l.o.waiters == 0) l.o.limit = r->limit;
    bool fits = l.o.waiters == 0 && compatible(&l, r->shared);
    if (!known && (fits || r->queue) && stand(t, &l, r)) advance(t, k, &l);
    outcome(&l, r->token, out);
    if (out->outcome == LOCK_QUEUED && !known) stat_add(t->s, STAT_lock_waits, 1);
    t->shrinks = known; /* a hand-over must not fail because the segment is full */
    return save(st, t, k, &l);
}

fr_status lock_look(store *st, txn *t, const key *k, span token, bool *again, uint32_t *ahead) {
    found f;
    lock l;
    uint32_t at;
    *again = true;
    *ahead = 0;
    fr_status status = key_find(st, t, k, &f);
    if (status != FR_OK || !f.exists || !(META_FLAGS(f.meta) & FLAG_OWNER) || f.kind != KIND_STRING) return status;
    head h = {f.off, f.version, f.meta, f.expiry};
    if (!owners_read(t, &h, &l.o)) return txn_unbelievable(t, "a lock's trailer cannot be");
    if (find_holder(&l, token, &at) || !find_waiter(&l, token, &at)) return FR_OK;
    *ahead = at - l.o.holders;
    *again = false;
    for (uint32_t i = 0; i <= l.o.holders && !*again; i++) *again = !owner_alive(t->s, l.o.entry[i].identity);
    return FR_OK;
}

fr_status lock_release(store *st, txn *t, const key *k, span token, bool *done) {
    lock l;
    bool kept;
    uint32_t at;
    *done = false;
    fr_status status = load(st, t, k, &l, &kept);
    if (status != FR_OK || !kept) return status;
    *done = find_holder(&l, token, &at);
    if (!*done) return FR_OK;
    drop(&l, at);
    if (l.o.holders == 0) l.expiry = NO_EXPIRY;
    advance(t, k, &l);
    t->shrinks = true;
    return save(st, t, k, &l);
}

fr_status lock_force(store *st, txn *t, const key *k, bool *done) {
    lock l;
    bool kept;
    fr_status status = load(st, t, k, &l, &kept);
    *done = false;
    if (status != FR_OK) return status;
    if (!kept) return key_delete(st, t, k, done);
    *done = l.o.holders != 0;
    while (l.o.holders) drop(&l, 0);
    l.expiry = NO_EXPIRY;
    advance(t, k, &l);
    t->shrinks = true;
    return save(st, t, k, &l);
}

fr_status lock_leave(store *st, txn *t, const key *k, span token, bool *granted) {
    lock l;
    bool kept;
    uint32_t at;
    *granted = false;
    fr_status status = load(st, t, k, &l, &kept);
    if (status != FR_OK || !kept) return status;
    *granted = find_holder(&l, token, &at);
    if (!*granted && find_waiter(&l, token, &at)) drop(&l, at);
    advance(t, k, &l); /* who stood behind may be compatible with the holders */
    t->shrinks = true;
    return save(st, t, k, &l);
}

/* A lease is one holder's: those who share a lock have none. */
static bool shared_lock(txn *t, const head *h) {
    owners o;
    return META_FLAGS(h->meta) & FLAG_OWNER && (!owners_read(t, h, &o) || o.role != ROLE_LOCK || o.entry[0].shared);
}

/* The value of a string as a token; false: it is none. */
static fr_status has_token(store *st, txn *t, const key *k, span token, found *f, bool *has) {
    *has = false;
    if (k->table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_write_begin(st, t, k, f);
    if (status != FR_OK || !f->exists) return status;
    if (f->kind != KIND_STRING) return FR_WRONGTYPE;
    head h = {f->off, f->version, f->meta, f->expiry};
    value v;
    char text[VALUE_TEXT];
    if ((status = block_value(t, &h, &v)) != FR_OK) return status;
    *has = (v.kind != VALUE_BYTES || v.p) && span_eq(value_text(&v, text), token) && !shared_lock(t, &h);
    return FR_OK;
}

/* The end of a grant, moved; one that is past ends it, and lets the next in. */
static fr_status end_at(store *st, txn *t, const key *k, span token, uint64_t at, bool *done) {
    bool changed;
    return at <= t->now_ms ? lock_release(st, t, k, token, done) : key_expire(st, t, k, at, 0, &changed);
}

fr_status lock_lease(store *st, txn *t, const key *k, span token, uint64_t ms, bool *done) {
    found f;
    fr_status status = has_token(st, t, k, token, &f, done);
    return status == FR_OK && *done ? end_at(st, t, k, token, end_of(t->now_ms, ms), done) : status;
}

fr_status lock_extend(store *st, txn *t, const key *k, span token, int64_t ms, bool add, bool *done) {
    found f;
    fr_status status = has_token(st, t, k, token, &f, done);
    if (status != FR_OK || !*done) return status;
    *done = f.expiry != NO_EXPIRY;
    return *done ? end_at(st, t, k, token, moved_end(add ? f.expiry : t->now_ms, ms), done) : FR_OK;
}

fr_status lock_named(store *st, txn *t, const key *k, bool *is_lock) {
    found f;
    owners o;
    *is_lock = false;
    fr_status status = key_find(st, t, k, &f);
    if (status != FR_OK || !f.exists || f.kind != KIND_STRING || !(META_FLAGS(f.meta) & FLAG_OWNER)) return status;
    head h = {f.off, f.version, f.meta, f.expiry};
    *is_lock = owners_read(t, &h, &o) && o.role == ROLE_LOCK;
    return FR_OK;
}

fr_status lock_facts(store *st, txn *t, const key *k, bool *held, owners *out, uint64_t *expiry) {
    found f;
    *held = false;
    if (k->table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_find(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    if (f.kind != KIND_STRING) return FR_WRONGTYPE;
    *held = true;
    *expiry = f.expiry;
    if (owners_of(t, &f, out)) return FR_OK;
    *out = (owners){.holders = 1, .limit = 1, .role = ROLE_LOCK};
    return FR_OK;
}

/* --- vars ------------------------------------------------------------------------------------------------------------------ */

fr_status var_publish(store *st, txn *t, const key *k, span bytes, bool *changed, uint64_t *version) {
    found f;
    owners o = {.holders = 1, .limit = 1, .role = ROLE_VAR};
    uint64_t slot;
    if (k->table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_write_begin(st, t, k, &f);
    if (status != FR_OK) return status;
    if (f.exists && f.kind != KIND_STRING) return FR_WRONGTYPE;
    head h = {f.off, f.version, f.meta, f.expiry};
    *version = f.version;
    if (f.exists && META_FLAGS(f.meta) & FLAG_OWNER && META_VLEN(f.meta) == bytes.n && owners_read(t, &h, &o) &&
        o.role == ROLE_VAR && o.entry[0].identity == t->s->me->word) {
        const char *old = txn_bytes(t, f.off + block_body_at(f.meta), bytes.n);
        *changed = !old || memcmp(old, bytes.p, bytes.n) != 0;
        if (!*changed) return FR_OK;
    }
    *changed = true;
    o = (owners){.holders = 1, .limit = 1, .role = ROLE_VAR};
    o.entry[0] = (owner){.identity = t->s->me->word, .since_ms = t->now_ms};
    status = owners_write(t, k, bytes, &o, NO_EXPIRY, &slot);
    if (status == FR_OK) status = key_put(st, t, k, &f, slot, NO_EXPIRY);
    *version = segment_stripe(t->s, k->stripe)->clock;
    return status;
}
