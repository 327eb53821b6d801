/* room.c - making room: reclaim of expired and flushed keys, eviction, and the housekeeper's step.
 *
 * Nobody has to run any of this for the store to be right; it decides only when memory comes back. A writer that finds the
 * pool empty goes through the steps of room_make before it reports OOM, so nothing dead ever causes a refusal.
 */
#include "shm/index.h"
#include "store/counter.h"
#include "store/hash.h"
#include "store/keyspace.h"
#include "store/owner.h"
#include "store/table.h"

#define SAMPLE_QUADS 16  /* looked at under one latch in a housekeeper's sample; it goes on while it finds something */
#define BATCH 4          /* deletions in one transaction, */
#define BATCH_RECORDS 12 /* as long as one more, which takes at most these, would not spill */
#define EVICTIONS 128    /* of one operation, then OOM */
#define EVICT_QUADS 64   /* quads looked at for one eviction */

/* --- one stripe's dead keys ------------------------------------------------------------------------------------------ */

static uint64_t root_at(const segment *s, uint32_t stripe) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, root);
}

static uint64_t space_word(const segment *s, uint32_t space) {
    return space < s->g.spaces ? ld8(SEG_AT(s, s->l.spaces, uint64_t) + space) : 0;
}

/* The key of a block in the index of `stripe`, for key_unlink. */
static void key_of(txn *t, uint32_t stripe, const head *h, key *k) {
    k->name = (span){SEG_AT(t->s, h->off + block_name_at(h->meta), const char), META_KLEN(h->meta)};
    k->full = k->name;
    k->hash = key_hash(t->s, FIELD_SPACE, k->name);
    k->space = META_SPACE(h->meta);
    k->stripe = stripe;
    k->table = NO_TABLE;
    k->db = SPACE_NUMBER(space_word(t->s, k->space));
}

static void found_of(const head *h, uint64_t slot_off, uint64_t slot, found *f) {
    *f = (found){.exists = true, .kind = META_KIND(h->meta), .slot_off = slot_off, .slot = slot, .off = h->off,
                 .version = h->version, .meta = h->meta, .expiry = h->expiry,
                 .counter = META_KIND(h->meta) == KIND_COUNTER ? h->off : 0};
}

static fr_status is_dead(txn *t, const head *h, bool *dead) {
    bool expired = h->expiry != NO_EXPIRY && h->expiry <= t->now_ms;
    bool stale = SPACE_KIND(space_word(t->s, META_SPACE(h->meta))) == SPACE_STALE;
    *dead = expired || stale;
    if (META_FLAGS(h->meta) & FLAG_OWNER && META_KIND(h->meta) == KIND_STRING && !stale)
        *dead = (expired || !owners_live(t, h)) && !owners_awaited(t, h);
    if (META_KIND(h->meta) != KIND_COUNTER) return FR_OK;
    uint64_t cell = h->off + block_body_at(h->meta);
    *dead = expired && !(txn_ld(t, cell + 8) & CELL_DEAD) && txn_ld(t, cell + 16) == ld8(&segment_super(t->s)->counter_epoch);
    return FR_OK;
}

static fr_status reclaim_slot(store *st, txn *t, uint32_t stripe, uint64_t slot_off, uint64_t slot, unsigned *freed) {
    head h;
    bool dead;
    if (slot == 0 || SLOT_CLASS(slot) == CLASS_ROW) return FR_OK; /* rows: table_reclaim */
    fr_status status = block_head(t, slot, &h);
    if (status == FR_OK) status = is_dead(t, &h, &dead);
    if (status != FR_OK || !dead) return status;
    key k;
    found f;
    key_of(t, stripe, &h, &k);
    found_of(&h, slot_off, slot, &f);
    status = key_unlink(st, t, &k, &f);
    if (status == FR_OK) ++*freed;
    return status;
}

/* A batch: from quad *walk on until BATCH keys are freed or `quads` quads were looked at. */
static bool room_for_one(const txn *t, unsigned freed) {
    return freed < BATCH && (freed == 0 || t->n + BATCH_RECORDS <= t->s->g.journal_records);
}

static fr_status reclaim_batch(store *st, txn *t, uint32_t stripe, uint64_t *walk, unsigned quads, unsigned *freed) {
    uint64_t words[QUAD_SLOTS], offs[QUAD_SLOTS];
    *freed = 0;
    for (unsigned q = 0; q < quads && *walk != UINT64_MAX && room_for_one(t, *freed); q++) {
        uint64_t from = *walk;
        index_walk(t, root_at(t->s, stripe), walk, words, offs);
        for (uint32_t i = 0; i < QUAD_SLOTS && room_for_one(t, *freed); i++) {
            fr_status status = reclaim_slot(st, t, stripe, offs[i], words[i], freed);
            if (status != FR_OK) return status;
        }
        if (!room_for_one(t, *freed)) *walk = from; /* more may be left in this quad */
    }
    return FR_OK;
}

static fr_status finish(txn *t, fr_status status) {
    if (status == FR_OK) status = txn_commit(t);
    else txn_abort(t);
    txn_end(t);
    return status;
}

fr_status room_reclaim(store *st, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, unsigned limit, uint64_t *walk,
                       unsigned *freed, fr_error *err) {
    *freed = 0;
    while (*freed < limit && *walk != UINT64_MAX) {
        txn t;
        unsigned n;
        uint64_t from = *walk;
        txn_init(&t, st->s, err);
        fr_status status = txn_begin_one(&t, now_ms, deadline_ms, stripe);
        if (status != FR_OK) return status;
        status = reclaim_batch(st, &t, stripe, walk, limit < 64 ? SAMPLE_QUADS : 64, &n);
        status = finish(&t, status);
        if (status != FR_OK) {
            *walk = from;
            return status;
        }
        stat_add(st->s, STAT_expired_keys, n);
        *freed += n;
        if (n == 0 && limit < 64) break; /* a housekeeper's sample */
    }
    return FR_OK;
}

/* Frees fields of detached trees; each call a bounded transaction. A renamed tree's fields are in another stripe, which
 * the second attempt takes too. */
static fr_status reclaim_trash(store *st, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, unsigned limit,
                               unsigned *freed, fr_error *err) {
    txn t;
    stripe_set set;
    fr_status status = FR_RELOCK;
    *freed = 0;
    if (ld8(&segment_stripe(st->s, stripe)->trash) == 0) return FR_OK;
    stripe_set_clear(&set);
    stripe_set_add(&set, stripe);
    for (int i = 0; i < 4 && status == FR_RELOCK; i++) {
        txn_init(&t, st->s, err);
        t.want = &set;
        status = txn_begin_write(&t, now_ms, deadline_ms, &set);
        if (status != FR_OK) return status;
        status = finish(&t, tree_reclaim(st, &t, stripe, limit, freed));
    }
    return status;
}

/* --- eviction --------------------------------------------------------------------------------------------------------- */

enum policy { POLICY_NONE, POLICY_ALLKEYS_LRU, POLICY_VOLATILE_LRU, POLICY_VOLATILE_TTL };

typedef struct candidate {
    head h;
    uint64_t slot_off, slot, score;
    bool any;
} candidate;

/* How willingly a key is given up; 0 = never. Strings and hashes only. */
static uint64_t score(txn *t, const head *h, enum policy policy) {
    enum kind kind = META_KIND(h->meta);
    if (kind != KIND_STRING && kind != KIND_HASH && kind != KIND_TREE) return 0;
    if (META_FLAGS(h->meta) & FLAG_OWNER) return 0;
    if (SPACE_KIND(space_word(t->s, META_SPACE(h->meta))) != SPACE_DB ||
        SPACE_NUMBER(space_word(t->s, META_SPACE(h->meta))) == DB_SYSTEM) {
        return 0;
    }
    if (policy != POLICY_ALLKEYS_LRU && h->expiry == NO_EXPIRY) return 0;
    if (policy == POLICY_VOLATILE_TTL) return UINT64_MAX - h->expiry;
    span name = {SEG_AT(t->s, h->off + block_name_at(h->meta), const char), META_KLEN(h->meta)};
    uint64_t hash = key_hash(t->s, FIELD_SPACE, name);
    uint8_t touched = t->s->base[t->s->l.access + (hash & (t->s->g.access_bytes - 1))];
    return 1 + (uint8_t)((uint8_t)(t->now_ms >> 14) - touched);
}

static fr_status weigh_quad(txn *t, uint32_t stripe, uint64_t walk, enum policy policy, unsigned *samples, candidate *best) {
    uint64_t words[QUAD_SLOTS], offs[QUAD_SLOTS];
    index_walk(t, root_at(t->s, stripe), &walk, words, offs);
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

static uint64_t next_random(uint64_t *seed) { return *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407); }

static fr_status evict_one(store *st, txn *t, uint32_t stripe, enum policy policy, bool *evicted) {
    unsigned samples = (unsigned)ld8(&segment_super(st->s)->shared_settings[SETTING_SAMPLES]);
    uint64_t seed = segment_stripe(st->s, stripe)->clock ^ t->now_ms;
    candidate best = {.any = false};
    for (int i = 0; i < EVICT_QUADS && samples; i++) {
        uint64_t r = next_random(&seed), quad = r >> 16 & 15 & (st->s->g.page_size / 256 - 1);
        fr_status status = weigh_quad(t, stripe, (r >> 40 << 4 & 0xffffff) | quad, policy, &samples, &best);
        if (status != FR_OK) return status;
    }
    *evicted = best.any;
    if (!best.any) return FR_OK;
    key k;
    found f;
    key_of(t, stripe, &best.h, &k);
    found_of(&best.h, best.slot_off, best.slot, &f);
    return key_unlink(st, t, &k, &f);
}

static fr_status evict(store *st, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, bool *evicted, fr_error *err) {
    enum policy policy = (enum policy)ld8(&segment_super(st->s)->shared_settings[SETTING_POLICY]);
    txn t;
    *evicted = false;
    if (policy == POLICY_NONE || policy > POLICY_VOLATILE_TTL) return FR_OK;
    txn_init(&t, st->s, err);
    fr_status status = txn_begin_one(&t, now_ms, deadline_ms, stripe);
    if (status != FR_OK) return status;
    status = finish(&t, evict_one(st, &t, stripe, policy, evicted));
    if (status == FR_OK && *evicted) stat_add(st->s, STAT_evicted_keys, 1);
    return status;
}

/* --- making room ------------------------------------------------------------------------------------------------------- */

#define EACH_STRIPE(i, st, set)                                                                                        \
    for (uint32_t i = 0; i < (st)->s->g.stripes; i++)                                                                  \
        if (stripe_set_has((set), i))

static unsigned trim_all(store *st, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    unsigned sum = 0, n;
    for (uint32_t i = 0; i < st->s->g.stripes; i++) {
        if (heap_trim(st->s, i, now_ms, deadline_ms, 8, &n, err) == FR_OK) sum += n;
    }
    return sum;
}

static unsigned empty_trash(store *st, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    unsigned sum = 0, n;
    while (reclaim_trash(st, stripe, now_ms, deadline_ms, 64, &n, err) == FR_OK && n) sum += n;
    return sum;
}

static unsigned reclaim_set(store *st, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set, fr_error *err) {
    unsigned sum = 0, n;
    EACH_STRIPE(i, st, set) {
        uint64_t walk = 0;
        if (room_reclaim(st, i, now_ms, deadline_ms, UINT32_MAX, &walk, &n, err) == FR_OK) sum += n;
        sum += empty_trash(st, i, now_ms, deadline_ms, err);
    }
    return sum;
}

unsigned room_reclaim_all(store *st, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    stripe_set all;
    store_all_stripes(st, &all);
    return reclaim_set(st, now_ms, deadline_ms, &all, err) + table_reclaim_all(st, now_ms);
}

static bool evict_some(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set, fr_error *err) {
    bool any = false, one;
    EACH_STRIPE(i, st, set) {
        for (int n = 0; n < 4 && r->evictions < EVICTIONS; n++) {
            if (evict(st, i, now_ms, deadline_ms, &one, err) != FR_OK || !one) break;
            r->evictions++;
            any = true;
        }
        empty_trash(st, i, now_ms, deadline_ms, err); /* of an evicted tree nothing has come back so far */
    }
    return any;
}

enum room_step { ROOM_GROW, ROOM_TRIM, ROOM_RECLAIM, ROOM_RECLAIM_ALL, ROOM_EVICT };

fr_status room_make(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *stripes, fr_error *err) {
    if (r->step == ROOM_GROW) {
        if (segment_grow(st->s, err) == FR_OK) return FR_OK;
        r->step++;
    }
    for (; r->step < ROOM_EVICT; r->step++) {
        unsigned freed = r->step == ROOM_TRIM      ? trim_all(st, now_ms, deadline_ms, err)
                         : r->step == ROOM_RECLAIM ? reclaim_set(st, now_ms, deadline_ms, stripes, err)
                                                   : room_reclaim_all(st, now_ms, deadline_ms, err);
        if (freed == 0) continue;
        if (r->step != ROOM_TRIM) trim_all(st, now_ms, deadline_ms, err);
        return FR_OK;
    }
    if (evict_some(st, r, now_ms, deadline_ms, stripes, err)) {
        trim_all(st, now_ms, deadline_ms, err);
        return FR_OK;
    }
    stat_add(st->s, STAT_oom_refusals, 1);
    err->text[0] = 0;
    return err->status = FR_OOM;
}

/* --- the housekeeper's step --------------------------------------------------------------------------------------------- */

/* Can a key of the stripe be dead? The counts say so without a look at any key: an idle server's memory stays untouched. */
static bool worth_a_look(const store *st, uint32_t stripe) {
    const segment *s = st->s;
    const space_count *counts = SEG_AT(s, s->l.counts, space_count) + (uint64_t)stripe * s->g.spaces;
    for (uint32_t i = 0; i < s->g.spaces; i++) {
        unsigned kind = SPACE_KIND(space_word(s, i));
        if (kind != SPACE_TABLE && ld8(&counts[i].expires)) return true;
        if (kind == SPACE_STALE && ld8(&counts[i].keys)) return true;
    }
    return false;
}

/* A sample of one stripe; its sweep word says where to go on, and any value in it is harmless. */
static unsigned tick_stripe(store *st, uint32_t stripe, uint64_t now_ms, unsigned limit, fr_error *err) {
    uint64_t *sweep = &segment_stripe(st->s, stripe)->sweep, walk = ld8(sweep) & 0xffffff;
    unsigned freed = 0, trash = 0;
    if (worth_a_look(st, stripe) &&
        room_reclaim(st, stripe, now_ms, now_ms + 1, limit < 63 ? limit : 63, &walk, &freed, err) == FR_OK) {
        st8(sweep, walk == UINT64_MAX ? 0 : walk);
    }
    reclaim_trash(st, stripe, now_ms, now_ms + 1, 64, &trash, err);
    return freed + trash;
}

unsigned store_tick(store *st, uint64_t now_ms, unsigned limit) {
    fr_error err;
    unsigned freed = segment_reap(st->s);
    for (uint32_t i = 0; i < st->s->g.stripes && freed < limit; i++) freed += tick_stripe(st, i, now_ms, limit - freed, &err);
    return freed + table_reclaim_all(st, now_ms);
}
