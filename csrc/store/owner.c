/* owner.c - see owner.h. */
#include "store/owner.h"

#include <stdio.h>

#include "shm/index.h"

static uint64_t trailer_at(const head *h) {
    return h->off + block_body_at(h->meta) + FR_ALIGN((uint64_t)META_VLEN(h->meta), 8);
}

bool owner_alive(segment *s, uint32_t identity) {
    uint32_t slot = LATCH_SLOT(identity);
    return identity == 0 || (slot != 0 && slot < s->g.slots && segment_alive(s, slot, LATCH_GEN(identity)));
}

/* The trailer and its first word, when they can be. */
static bool read_head(txn *t, const head *h, uint64_t *at, uint64_t *head_word) {
    *at = trailer_at(h);
    if (!(META_FLAGS(h->meta) & FLAG_OWNER) || !segment_holds(t->s, *at, 8)) return false;
    *head_word = txn_ld(t, *at);
    uint32_t n = OWNERS_HOLDERS(*head_word) + OWNERS_WAITERS(*head_word);
    return n <= OWNERS_MAX && segment_holds(t->s, *at, owner_bytes(*head_word));
}

bool owners_read(txn *t, const head *h, owners *out) {
    uint64_t at, word;
    if (!read_head(t, h, &at, &word)) return false;
    out->holders = OWNERS_HOLDERS(word);
    out->waiters = OWNERS_WAITERS(word);
    out->limit = (uint32_t)(word >> 32 & 0xffff);
    out->role = (enum owner_role)(word >> 48 & 0xff);
    size_t n = (out->holders + out->waiters) * sizeof(owner);
    copy_out(out->entry, SEG_AT(t->s, at + 8, const char), n);
    for (uint32_t i = 0; i < out->holders + out->waiters; i++) {
        if (out->entry[i].token_n > TOKEN_MAX) return false;
    }
    return true;
}

/* Does one of the owners [from, end) of the trailer at `at` live? */
static bool any_alive(txn *t, uint64_t at, uint32_t from, uint32_t end) {
    for (uint32_t i = from; i < end; i++) {
        if (owner_alive(t->s, (uint32_t)txn_ld(t, at + 8 + i * sizeof(owner)))) return true;
    }
    return false;
}

bool owners_live(txn *t, const head *h) {
    uint64_t at, word;
    if (!read_head(t, h, &at, &word) || (word >> 48 & 0xff) != ROLE_LOCK) return true;
    return any_alive(t, at, 0, OWNERS_HOLDERS(word));
}

bool owners_mortal(txn *t, const head *h) {
    uint64_t at, word;
    return !read_head(t, h, &at, &word) || (word >> 48 & 0xff) != ROLE_VAR;
}

bool owners_awaited(txn *t, const head *h) {
    uint64_t at, word;
    if (!read_head(t, h, &at, &word)) return false;
    return any_alive(t, at, OWNERS_HOLDERS(word), OWNERS_HOLDERS(word) + OWNERS_WAITERS(word));
}

static fr_status finding(fr_error *err, const char *what) {
    snprintf(err->text, sizeof err->text, "owners: %s", what);
    return err->status = FR_DAMAGED;
}

static fr_status check_lock(txn *t, const head *h, const owners *o, uint64_t clock, fr_error *err) {
    const owner *first = &o->entry[0];
    span body = {txn_bytes(t, h->off + block_body_at(h->meta), META_VLEN(h->meta)), META_VLEN(h->meta)};
    if (o->holders == 0 || o->limit == 0 || o->limit > OWNERS_MAX) return finding(err, "a lock without a holder, or a limit");
    if (!body.p || !span_eq(body, (span){first->token, first->token_n})) return finding(err, "the value is not the holder's token");
    if (o->holders > 1 && o->holders > o->limit) return finding(err, "more holders than the limit");
    for (uint32_t i = 0; i < o->holders; i++) {
        if (o->holders > 1 && !o->entry[i].shared) return finding(err, "an exclusive holder among others");
        if (o->entry[i].number > clock) return finding(err, "a fence that was never handed out");
    }
    for (uint32_t i = o->holders; i < o->holders + o->waiters; i++) {
        if (o->entry[i].number) return finding(err, "a waiter with a fence");
    }
    bool fits = o->waiters && o->entry[o->holders].shared && first->shared && o->holders < o->limit;
    return fits ? finding(err, "the first waiter could hold it") : FR_OK;
}

fr_status owners_check(txn *t, const head *h, uint64_t clock, fr_error *err) {
    owners o;
    if (!owners_read(t, h, &o)) return finding(err, "a trailer that cannot be");
    if (o.role == ROLE_VAR) return o.holders == 1 && o.waiters == 0 ? FR_OK : finding(err, "a var without one publisher");
    return o.role == ROLE_LOCK ? check_lock(t, h, &o, clock, err) : finding(err, "a role that cannot be");
}

fr_status owners_write(txn *t, const key *k, span bytes, const owners *o, uint64_t expiry, uint64_t *slot) {
    struct {
        uint64_t head;
        owner entry[OWNERS_MAX];
    } image;
    image.head = OWNERS_HEAD(o);
    memcpy(image.entry, o->entry, (o->holders + o->waiters) * sizeof(owner));
    draft d = {.kind = KIND_STRING, .tag = INDEX_TAG(k->hash), .space = k->space, .expiry = expiry, .reserve_expiry = true,
               .name = k->name, .parts = &bytes, .part_count = 1,
               .trailer = {(const char *)&image, owner_bytes(image.head)}};
    return block_write(t, k->stripe, &d, slot);
}
