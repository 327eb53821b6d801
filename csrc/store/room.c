/* room.c - making room: reclaim of expired and flushed keys, and the housekeeper's step. Eviction: evict.c.
 *
 * Nobody has to run any of this for the store to be right; it decides only when memory comes back. A writer that finds the
 * pool empty goes through the steps of room_make before it reports OOM, so nothing dead ever causes a refusal.
 */
#include "store/room.h"

#include "store/counter.h"
#include "store/hash.h"
#include "store/owner.h"
#include "store/table.h"

#define TRIM_PAGES 8u     /* of a stripe in one transaction */
#define SAMPLES 64u       /* of 63 keys a stripe, before every key of the operation's stripes is looked at */
#define RECLAIMS 8u       /* others may leave new dead behind meanwhile */
#define SAMPLE_QUADS 16  /* looked at under one latch in a housekeeper's sample; it goes on while it finds something */
#define BATCH 4          /* deletions in one transaction, */
#define BATCH_RECORDS 12 /* as long as one more, which takes at most these, would not spill */
#define EVICT_ROUNDS 4   /* of an operation over its own stripes' keys, before whole pages are emptied */

/* --- one stripe's dead keys ------------------------------------------------------------------------------------------ */

/* The key of a block in the index of `stripe`, for key_unlink. */
static void key_of(txn *t, uint32_t stripe, const head *h, key *k) {
    k->name = room_name(t, h);
    k->full = k->name;
    k->hash = key_hash(t->s, FIELD_SPACE, k->name);
    k->space = META_SPACE(h->meta);
    k->stripe = stripe;
    k->table = NO_TABLE;
    k->db = SPACE_NUMBER(room_space(t->s, k->space));
}

fr_status room_unlink(store *st, txn *t, uint32_t stripe, const head *h, uint64_t slot_off, uint64_t slot) {
    key k;
    found f = {.exists = true, .kind = META_KIND(h->meta), .slot_off = slot_off, .slot = slot, .off = h->off,
               .version = h->version, .meta = h->meta, .expiry = h->expiry,
               .counter = META_KIND(h->meta) == KIND_COUNTER ? h->off : 0};
    key_of(t, stripe, h, &k);
    return key_unlink(st, t, &k, &f);
}

static bool has_expired(const txn *t, const head *h) { return h->expiry != NO_EXPIRY && h->expiry <= t->now_ms; }

static bool is_flushed(const txn *t, const head *h) {
    return SPACE_KIND(room_space(t->s, META_SPACE(h->meta))) == SPACE_STALE;
}

/* A lock dies with its holders; while somebody stands in line its block is kept for the order. */
static bool is_ended(txn *t, const head *h, bool expired) {
    return (expired || !owners_live(t, h)) && !owners_awaited(t, h);
}

static fr_status is_dead(txn *t, const head *h, bool *dead) {
    bool expired = has_expired(t, h), stale = is_flushed(t, h);
    *dead = expired || stale;
    if (META_FLAGS(h->meta) & FLAG_OWNER && META_KIND(h->meta) == KIND_STRING && !stale) *dead = is_ended(t, h, expired);
    if (META_KIND(h->meta) != KIND_COUNTER) return FR_OK;
    uint64_t cell = h->off + block_body_at(h->meta);
    *dead = expired && !(txn_ld(t, cell + 8) & CELL_DEAD) && txn_ld(t, cell + 16) == ld8(&segment_super(t->s)->counter_epoch);
    return FR_OK;
}

/* What a batch has freed; a flushed key has not expired, whatever its time says. */
typedef struct harvest {
    unsigned freed, expired;
} harvest;

static fr_status reclaim_slot(store *st, txn *t, uint32_t stripe, uint64_t slot_off, uint64_t slot, harvest *got) {
    head h;
    bool dead;
    if (slot == 0 || SLOT_CLASS(slot) == CLASS_ROW) return FR_OK; /* rows: table_reclaim */
    fr_status status = block_head(t, slot, &h);
    if (status == FR_OK) status = is_dead(t, &h, &dead);
    if (status != FR_OK || !dead) return status;
    status = room_unlink(st, t, stripe, &h, slot_off, slot);
    if (status != FR_OK) return status;
    got->freed++;
    got->expired += !is_flushed(t, &h);
    return FR_OK;
}

/* A batch: from quad *walk on until BATCH keys are freed or `quads` quads were looked at. */
bool room_for_one(const txn *t, unsigned freed) {
    return freed < BATCH && (freed == 0 || t->n + BATCH_RECORDS <= t->s->g.journal_records);
}

static fr_status reclaim_batch(store *st, txn *t, uint32_t stripe, uint64_t *walk, unsigned quads, harvest *got) {
    uint64_t words[QUAD_SLOTS], offs[QUAD_SLOTS];
    *got = (harvest){0, 0};
    for (unsigned q = 0; q < quads && *walk != UINT64_MAX && room_for_one(t, got->freed); q++) {
        uint64_t from = *walk;
        index_walk(t, room_root(t->s, stripe), walk, words, offs);
        for (uint32_t i = 0; i < QUAD_SLOTS && room_for_one(t, got->freed); i++) {
            fr_status status = reclaim_slot(st, t, stripe, offs[i], words[i], got);
            if (status != FR_OK) return status;
        }
        if (!room_for_one(t, got->freed)) *walk = from; /* more may be left in this quad */
    }
    return FR_OK;
}

fr_status room_finish(txn *t, fr_status status) {
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
        harvest got;
        uint64_t from = *walk;
        txn_init(&t, st->s, err);
        fr_status status = txn_begin_one(&t, now_ms, deadline_ms, stripe);
        if (status != FR_OK) return status;
        status = reclaim_batch(st, &t, stripe, walk, limit < 64 ? SAMPLE_QUADS : 64, &got);
        status = room_finish(&t, status);
        if (status != FR_OK) {
            *walk = from;
            return status;
        }
        stat_add(st->s, STAT_expired_keys, got.expired);
        *freed += got.freed;
        if (got.freed == 0 && limit < 64) break; /* a housekeeper's sample */
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
        status = room_finish(&t, tree_reclaim(st, &t, stripe, limit, freed));
    }
    return status;
}

/* --- a sample -------------------------------------------------------------------------------------------------------------- */

/* Can a key of the stripe be dead? The counts say so without a look at any key: an idle server's memory stays untouched. */
static bool worth_a_look(const store *st, uint32_t stripe) {
    const segment *s = st->s;
    const space_count *counts = SEG_AT(s, s->l.counts, space_count) + (uint64_t)stripe * s->g.spaces;
    for (uint32_t i = 0; i < s->g.spaces; i++) {
        unsigned kind = SPACE_KIND(room_space(s, i));
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

/* --- making room ------------------------------------------------------------------------------------------------------- */

#define EACH_STRIPE(i, st, set)                                                                                        \
    for (uint32_t i = 0; i < (st)->s->g.stripes; i++)                                                                  \
        if (stripe_set_has((set), i))

static unsigned trim_all(store *st, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    unsigned sum = 0, n;
    for (uint32_t i = 0; i < st->s->g.stripes; i++) {
        if (heap_trim(st->s, i, now_ms, deadline_ms, TRIM_PAGES, &n, err) == FR_OK) sum += n;
    }
    return sum;
}

static unsigned empty_trash(store *st, uint32_t stripe, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    unsigned sum = 0, n;
    while (reclaim_trash(st, stripe, now_ms, deadline_ms, 64, &n, err) == FR_OK && n) sum += n;
    return sum;
}

/* Every: look at every key, else only where the counts say that one may be dead, or a refused write would walk them all. */
static unsigned reclaim_set(store *st, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set, bool every, fr_error *err) {
    unsigned sum = 0, n;
    EACH_STRIPE(i, st, set) {
        uint64_t walk = 0;
        bool look = every || worth_a_look(st, i);
        if (look && room_reclaim(st, i, now_ms, deadline_ms, UINT32_MAX, &walk, &n, err) == FR_OK) sum += n;
        sum += empty_trash(st, i, now_ms, deadline_ms, err);
    }
    return sum;
}

/* Locks of the dead are counted nowhere: each recovered death is a reason to look at everything once. */
static bool new_deaths(store *st) {
    uint64_t seen = st->deaths_seen;
    st->deaths_seen = stat_sum(st->s, STAT_deaths_recovered);
    return st->deaths_seen != seen;
}

unsigned room_reclaim_all(store *st, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    stripe_set all;
    store_all_stripes(st, &all);
    return reclaim_set(st, now_ms, deadline_ms, &all, new_deaths(st), err) + table_reclaim_all(st, now_ms);
}

/* Single keys of the operation's own stripes first: that gives blocks of the size that is wanted where all are of a size,
 * and costs nobody else anything. Then pages, from all of the segment. */
static unsigned evict_some(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set, fr_error *err) {
    unsigned sum = r->lacking <= 1 && r->rounds++ < EVICT_ROUNDS ? evict_keys(st, now_ms, deadline_ms, set, err) : 0;
    if (sum == 0) sum = evict_pages(st, r, now_ms, deadline_ms, err);
    for (uint32_t i = 0; sum && i < st->s->g.stripes; i++)
        empty_trash(st, i, now_ms, deadline_ms, err); /* of an evicted tree nothing has come back so far */
    return sum;
}

/* The dead of the operation's stripes, as many as a housekeeper's step takes. Under an evicting policy that is all that
 * comes before eviction, as in Redis: to walk every key for each write to a full cache would cost more than it gives. */
static unsigned sample_set(store *st, uint64_t now_ms, const stripe_set *set, fr_error *err) {
    unsigned sum = 0;
    EACH_STRIPE(i, st, set) sum += tick_stripe(st, i, now_ms, UINT32_MAX, err);
    return sum;
}

enum room_step { ROOM_GROW, ROOM_TRIM, ROOM_SAMPLE, ROOM_EVICT, ROOM_RECLAIM, ROOM_RECLAIM_ALL, ROOM_NONE };

static unsigned take_step(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set, fr_error *err) {
    switch (r->step) {
    case ROOM_TRIM: return trim_all(st, now_ms, deadline_ms, err);
    case ROOM_SAMPLE: return sample_set(st, now_ms, set, err);
    case ROOM_EVICT: return evict_some(st, r, now_ms, deadline_ms, set, err);
    case ROOM_RECLAIM: return reclaim_set(st, now_ms, deadline_ms, set, false, err);
    default: return room_reclaim_all(st, now_ms, deadline_ms, err);
    }
}

/* How often an operation may take a step that says it has gained something: more than a sound segment can need. In a damaged one
 * a list that leads back to itself gives for ever. */
static uint64_t enough(const store *st, unsigned step) {
    if (step == ROOM_EVICT) return UINT64_MAX; /* has an end of its own */
    return step == ROOM_TRIM ? 1 + st->s->l.pages / TRIM_PAGES : step == ROOM_SAMPLE ? SAMPLES : RECLAIMS;
}

static void trim_often(store *st, uint64_t now_ms, uint64_t deadline_ms, fr_error *err) {
    for (uint64_t i = enough(st, ROOM_TRIM); i && trim_all(st, now_ms, deadline_ms, err); i--) {
    }
}

/* A journal that found no room is written again, by the operation from its start: all its pages at once, then, not a step of
 * growth for each attempt. (262,144 new rows: six attempts before.) */
static bool grow(store *st, uint64_t unspilled, fr_error *err) {
    const uint64_t *size = &segment_super(st->s)->size, page = st->s->g.page_size;
    uint64_t from = ld8(size);
    bool grown = false;
    do {
        bool may = ld8(size) < pool_limit(st->s) * page; /* maxmemory may be less */
        if (!may || segment_grow(st->s, err) != FR_OK) break;
        grown = true;
    } while (ld8(size) < from + unspilled * page);
    return grown;
}

fr_status room_make(store *st, room *r, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *stripes, fr_error *err) {
    if (r->step == ROOM_GROW) {
        if (grow(st, r->unspilled, err)) return FR_OK;
        r->step++;
    }
    for (; r->step < ROOM_NONE; r->step++, r->tries = 0) {
        if (r->tries++ >= enough(st, r->step) || take_step(st, r, now_ms, deadline_ms, stripes, err) == 0) continue;
        if (r->step != ROOM_TRIM) trim_often(st, now_ms, deadline_ms, err); /* a few pages of each stripe at a time */
        return FR_OK;
    }
    err->text[0] = 0;
    if (r->latched) return err->status = FR_LATCHED; /* what is left to evict is in somebody's hands */
    stat_add(st->s, STAT_oom_refusals, 1);
    return err->status = FR_OOM;
}

/* --- the housekeeper's step --------------------------------------------------------------------------------------------- */

unsigned store_tick(store *st, uint64_t now_ms, unsigned limit) {
    fr_error err;
    unsigned freed = segment_reap(st->s);
    for (uint32_t i = 0; i < st->s->g.stripes && freed < limit; i++) freed += tick_stripe(st, i, now_ms, limit - freed, &err);
    return freed + table_reclaim_all(st, now_ms);
}
