/* evict.c - giving up live keys when memory is full and the policy allows it.
 *
 * In two ways, one after the other (room.c):
 *   keys   the best of maxmemory-samples keys, a few from each stripe of the operation. Where all values are of a size the
 *          block that comes free is the one that is wanted, and what goes is what was used least.
 *   pages  a slab page is worth something to another size, or another stripe, only when it is empty as a whole; keys of 64
 *          bytes evicted here and there would not give one page before nine of ten were gone. So a sample chooses a page by
 *          its least used key, and from there on page after page, in the order of their addresses, is emptied of all that
 *          may be evicted, until as many are free as are wanted: side by side, as large values like them. The price is that
 *          the neighbours of a least used key go with it (some 40 of 100 bytes), used or not.
 *
 * Invariants
 * 1. Strings and hashes only; never a lock, counter, row, nor a key of the system's own database.
 * 2. A block is evicted only when a slot word of its stripe's index names it, looked up under the latch: what bytes in a
 *    page look like proves nothing, they may be part of somebody's value.
 * 3. The sweep goes round until a whole round has found nothing, so OOM is answered only when nothing is left.
 */
#include "store/room.h"

#define EVICT_QUADS 64  /* quads looked at for one eviction */
#define EVICT_STRIPE 4  /* keys of one stripe in one round, */
#define EVICT_ROUND 16  /* and of all of them */
#define START_STRIPES 8 /* looked at for the page where the sweep begins */

enum policy { POLICY_NONE, POLICY_ALLKEYS_LRU, POLICY_VOLATILE_LRU, POLICY_VOLATILE_TTL };

static enum policy policy_of(segment *s) {
    uint64_t word = ld8(&segment_super(s)->shared_settings[SETTING_POLICY]);
    return word > POLICY_VOLATILE_TTL ? POLICY_NONE : (enum policy)word;
}

/* --- what a key is worth -------------------------------------------------------------------------------------------- */

/* How willingly a key is given up; 0 = never. */
static uint64_t score(txn *t, const head *h, enum policy policy) {
    enum kind kind = META_KIND(h->meta);
    uint64_t space = room_space(t->s, META_SPACE(h->meta));
    if (kind != KIND_STRING && kind != KIND_HASH && kind != KIND_TREE) return 0;
    if (META_FLAGS(h->meta) & FLAG_OWNER) return 0;
    if (SPACE_KIND(space) != SPACE_DB || SPACE_NUMBER(space) == DB_SYSTEM) return 0;
    if (policy != POLICY_ALLKEYS_LRU && h->expiry == NO_EXPIRY) return 0;
    if (policy == POLICY_VOLATILE_TTL) return UINT64_MAX - h->expiry;
    uint64_t hash = key_hash(t->s, FIELD_SPACE, room_name(t, h));
    uint8_t touched = t->s->base[t->s->l.access + (hash & (t->s->g.access_bytes - 1))];
    return 1 + (uint8_t)((uint8_t)(t->now_ms >> 14) - touched);
}

/* any_candidate: can there be a key to evict in this stripe? By the counts, without a look at any. */
static bool any_candidate(const segment *s, uint32_t stripe, enum policy policy) {
    const space_count *counts = SEG_AT(s, s->l.counts, space_count) + (uint64_t)stripe * s->g.spaces;
    for (uint32_t i = 0; i < s->g.spaces; i++) {
        uint64_t space = room_space(s, i);
        if (SPACE_KIND(space) != SPACE_DB || SPACE_NUMBER(space) == DB_SYSTEM) continue;
        if (ld8(policy == POLICY_ALLKEYS_LRU ? &counts[i].keys : &counts[i].expires)) return true;
    }
    return false;
}

/* --- a sample ------------------------------------------------------------------------------------------------------- */

typedef struct candidate {
    head h;
    uint64_t slot_off, slot, score;
    bool any;
} candidate;

static fr_status weigh_quad(txn *t, uint32_t stripe, uint64_t walk, enum policy policy, unsigned *samples, candidate *best) {
    uint64_t words[QUAD_SLOTS], offs[QUAD_SLOTS];
    index_walk(t, room_root(t->s, stripe), &walk, words, offs);
    for (uint32_t i = 0; i < QUAD_SLOTS && *samples; i++) {
        head h;
        if (words[i] == 0 || SLOT_CLASS(words[i]) == CLASS_ROW) continue;
        fr_status status = block_head(t, words[i], &h);
        if (status != FR_OK) return status;
        uint64_t value = score(t, &h, policy);
        if (value == 0) continue;
        --*samples;
        if (!best->any || value > best->score) *best = (candidate){h, offs[i], words[i], value, true};
    }
    return FR_OK;
}

static uint64_t next_random(uint64_t *seed) {
    return *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
}

/* sample looks at maxmemory-samples keys of a stripe (held) and keeps the best. */
static fr_status sample(txn *t, uint32_t stripe, enum policy policy, candidate *best) {
    unsigned samples = (unsigned)ld8(&segment_super(t->s)->shared_settings[SETTING_SAMPLES]);
    uint64_t seed = segment_stripe(t->s, stripe)->clock ^ t->now_ms;
    *best = (candidate){.any = false};
    for (int i = 0; i < EVICT_QUADS && samples; i++) {
        uint64_t r = next_random(&seed), quad = r >> 16 & 15 & (t->s->g.page_size / 256 - 1);
        fr_status status = weigh_quad(t, stripe, (r >> 40 << 4 & 0xffffff) | quad, policy, &samples, best);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

/* --- single keys ---------------------------------------------------------------------------------------------------- */

static bool evict_one(store *st, uint32_t stripe, enum policy policy, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    txn t;
    candidate best = {.any = false};
    txn_init(&t, st->s, err);
    if (txn_begin_one(&t, now_ms, deadline_ms, stripe) != FR_OK) return false;
    fr_status status = sample(&t, stripe, policy, &best);
    if (status == FR_OK && best.any) status = room_unlink(st, &t, stripe, &best.h, best.slot_off, best.slot);
    if (room_finish(&t, status) != FR_OK || !best.any) return false;
    stat_add(st->s, STAT_evicted_keys, 1);
    return true;
}

unsigned evict_keys(store *st, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set, fr_error *err) {
    enum policy policy = policy_of(st->s);
    unsigned sum = 0;
    for (uint32_t i = 0; policy != POLICY_NONE && i < st->s->g.stripes && sum < EVICT_ROUND; i++) {
        if (!stripe_set_has(set, i) || !any_candidate(st->s, i, policy)) continue;
        for (int n = 0; n < EVICT_STRIPE && evict_one(st, i, policy, now_ms, deadline_ms, err); n++) sum++;
    }
    return sum;
}

/* --- pages ---------------------------------------------------------------------------------------------------------- */

/* One transaction's work on a page. */
typedef struct sweep {
    store *st;
    uint64_t now_ms, deadline_ms;
    enum policy policy;
    fr_error *err;
    unsigned evicted, expired, flushed;
} sweep;

static unsigned gone(const sweep *w) { return w->evicted + w->expired + w->flushed; }

/* judge says which of the sweep's counts a block belongs to, or NULL: it stays. The dead go first, wherever they are. */
static unsigned *judge(sweep *w, txn *t, const head *h) {
    enum kind kind = META_KIND(h->meta);
    if (kind != KIND_STRING && kind != KIND_HASH && kind != KIND_TREE) return NULL;
    if (SPACE_KIND(room_space(t->s, META_SPACE(h->meta))) == SPACE_STALE) return &w->flushed;
    if (h->expiry != NO_EXPIRY && h->expiry <= t->now_ms) return &w->expired;
    return score(t, h, w->policy) ? &w->evicted : NULL;
}

/* evict_block gives up the key whose block this is, if it is a key's and may go. place: a slot word without its tag. */
static fr_status evict_block(sweep *w, txn *t, uint32_t stripe, uint64_t place) {
    head h;
    probe p;
    uint64_t slot, slot_off;
    if (block_head(t, place, &h) != FR_OK) return FR_OK; /* not a key's block */
    unsigned *count = judge(w, t, &h);
    if (!count) return FR_OK;
    uint64_t hash = key_hash(t->s, FIELD_SPACE, room_name(t, &h));
    if (key_stripe_of(t->s, hash) != stripe || !index_probe(t, room_root(t->s, stripe), INDEX_TAG(hash), &p)) return FR_OK;
    while ((slot = index_next(t, &p, &slot_off)) != 0) {
        if (SLOT_OFF(slot) != SLOT_OFF(place) || SLOT_CLASS(slot) != SLOT_CLASS(place)) continue;
        fr_status status = room_unlink(w->st, t, stripe, &h, slot_off, slot);
        if (status == FR_OK) ++*count;
        return status;
    }
    return FR_OK;
}

/* settle keeps what a transaction has counted, or forgets it when it came to nothing. */
static fr_status settle(sweep *w, const sweep *before, txn *t, fr_status status) {
    status = room_finish(t, status);
    if (status != FR_OK) {
        *w = *before;
        return status;
    }
    stat_add(w->st->s, STAT_evicted_keys, w->evicted - before->evicted);
    stat_add(w->st->s, STAT_expired_keys, w->expired - before->expired);
    return FR_OK;
}

/* empty_slab gives up what it may of a slab page, in as many transactions as that takes. */
static fr_status empty_slab(sweep *w, uint64_t page, slab b) {
    for (uint32_t i = 0; i < b.blocks;) {
        txn t;
        sweep before = *w;
        slab now;
        txn_init(&t, w->st->s, w->err);
        fr_status status = txn_begin_one(&t, w->now_ms, w->deadline_ms, b.stripe);
        if (status != FR_OK) return status;
        bool same = heap_slab(w->st->s, page, &now) && now.stripe == b.stripe && now.class == b.class;
        for (; same && i < b.blocks && status == FR_OK && room_for_one(&t, gone(w) - gone(&before)); i++)
            if (now.used[i / 64] >> (i & 63) & 1)
                status = evict_block(w, &t, b.stripe, SLOT_MAKE(0, b.class, page + PAGE_HEAD + i * b.size));
        status = settle(w, &before, &t, status);
        if (status != FR_OK || !same) return status;
    }
    return FR_OK;
}

/* empty_run gives up a key whose block is a run of pages that begins here. */
static fr_status empty_run(sweep *w, uint64_t page) {
    segment *s = w->st->s;
    uint64_t meta = ld8(SEG_AT(s, page + BLOCK_META, uint64_t)), name = page + block_name_at(meta);
    txn t;
    sweep before = *w;
    if (META_KLEN(meta) > KEY_MAX || !segment_holds(s, name, META_KLEN(meta))) return FR_OK;
    uint64_t hash = key_hash(s, FIELD_SPACE, (span){SEG_AT(s, name, const char), META_KLEN(meta)});
    uint32_t stripe = key_stripe_of(s, hash);
    txn_init(&t, s, w->err);
    fr_status status = txn_begin_one(&t, w->now_ms, w->deadline_ms, stripe);
    if (status != FR_OK) return status;
    return settle(w, &before, &t, evict_block(w, &t, stripe, SLOT_MAKE(0, CLASS_RUN, page)));
}

/* empty gives up what it may of a page; true when that left an empty slab page. (Runs are back in the pool already.) */
static bool empty(sweep *w, room *r, uint64_t page) {
    slab b;
    unsigned before = gone(w);
    bool is_slab = heap_slab(w->st->s, page, &b);
    fr_status status = is_slab ? empty_slab(w, page, b) : empty_run(w, page);
    if (status == FR_LATCHED) r->latched = true;
    if (gone(w) == before) return false;
    return is_slab && (heap_slab(w->st->s, page, &b) && (b.used[0] | b.used[1]) == 0);
}

/* start finds the page of a key that is given up most willingly. */
static uint64_t start(const sweep *w) {
    segment *s = w->st->s;
    uint64_t seed = w->now_ms ^ s->pool_hint, found = s->l.data;
    candidate best = {.any = false};
    for (int i = 0; i < START_STRIPES && !best.any; i++) {
        uint32_t stripe = (uint32_t)(next_random(&seed) >> 33) & (s->g.stripes - 1);
        txn t;
        txn_init(&t, s, w->err);
        if (!any_candidate(s, stripe, w->policy)) continue;
        if (txn_begin_one(&t, w->now_ms, w->deadline_ms, stripe) != FR_OK) continue;
        if (sample(&t, stripe, w->policy, &best) == FR_OK && best.any) found = best.h.off;
        txn_abort(&t);
        txn_end(&t);
    }
    return found & ~(uint64_t)(s->g.page_size - 1);
}

static uint64_t next_page(segment *s, uint64_t page) {
    page += s->g.page_size;
    return page + s->g.page_size > room_size(s) ? s->l.data : page;
}

static bool any_candidates(const segment *s, enum policy policy) {
    for (uint32_t i = 0; i < s->g.stripes; i++)
        if (any_candidate(s, i, policy)) return true;
    return false;
}

unsigned evict_pages(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    segment *s = st->s;
    sweep w = {.st = st, .now_ms = now_ms, .deadline_ms = deadline_ms, .policy = policy_of(s), .err = err};
    if (w.policy == POLICY_NONE || !any_candidates(s, w.policy)) return 0;
    uint64_t pages = room_size(s) / s->g.page_size, slabs = 0, used = ld8(&segment_super(s)->pool_used);
    uint64_t data = s->l.data / s->g.page_size, limit = pool_limit(s), wanted = r->lacking;
    if (data + used > limit) wanted += data + used - limit; /* maxmemory was set to less than what there is */
    if (!r->swept) r->page = start(&w);
    r->swept = true;
    for (uint64_t left = pages, now = used; left && slabs + (used > now ? used - now : 0) < wanted; left--) {
        if (pool_in_use(s, r->page)) slabs += empty(&w, r, r->page);
        now = ld8(&segment_super(s)->pool_used);
        r->page = next_page(s, r->page);
    }
    return gone(&w);
}
