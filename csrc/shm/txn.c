/* txn.c - write sets, overlay, commit, validation. See txn.h for the protocol and its invariants.
 *
 * Sections, low level to high: life; stripes held; write set; overlay; commit; readers; counters; checks.
 */
#include "shm/txn.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "shm/wait.h"

#define CHAIN_END UINT32_MAX

fr_status txn_fail(txn *t, fr_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(t->err->text, sizeof t->err->text, format, args);
    va_end(args);
    return t->err->status = status;
}

/* --- life ------------------------------------------------------------------------------------------------------- */

void txn_init(txn *t, segment *s, fr_error *err) {
    t->s = s;
    t->mode = TXN_CLOSED;
    t->err = err;
    t->rec = t->inline_rec;
    t->cap = TXN_INLINE;
    t->read = t->inline_read;
    t->reads_cap = TXN_READS_INLINE;
    t->chain = NULL;
    t->chain_cap = 0;
    t->scratch = NULL;
    t->want = NULL;
}

void txn_end(txn *t) {
    if (t->rec != t->inline_rec) free(t->rec);
    if (t->read != t->inline_read) free(t->read);
    if (FR_UNLIKELY(t->chain)) free(t->chain);
    if (FR_UNLIKELY(t->scratch)) free(t->scratch);
    t->rec = t->inline_rec;
    t->read = t->inline_read;
    t->chain = NULL;
    t->scratch = NULL;
}

static void reset(txn *t, enum txn_mode mode, uint64_t now_ms) {
    t->mode = mode;
    t->multi = t->failed = t->stepped = t->repeats = t->shrinks = false;
    t->n = t->marked = t->reads = t->pools = t->wakes = 0;
    t->lacking = 1;
    t->unspilled = 0;
    t->wake_bits = WAIT_ALL;
    t->bloom = 0;
    t->now_ms = now_ms;
    t->in.stripe = t->in.jstripe = NO_STRIPE;
    t->held.count = 0;
    t->err->status = FR_OK;
    t->err->text[0] = 0;
}

/* --- stripes held ----------------------------------------------------------------------------------------------- */

static void drop_pools(txn *t) {
    for (uint32_t p = POOL_LATCHES + 1; t->pools && p-- > 0;) {
        if (t->pools >> p & 1) latch_drop(t->s, t->s->g.stripes + p);
    }
    t->pools = 0;
}

static void drop_stripes(txn *t) {
    if (t->held.count == 1) {
        latch_drop(t->s, t->lowest);
    } else if (t->held.count > 1) {
        for (uint32_t i = t->s->g.stripes; i-- > 0;) {
            if (stripe_set_has(&t->held, i)) latch_drop(t->s, i);
        }
    }
    t->held.count = 0;
}

static void drop_all(txn *t) {
    drop_pools(t);
    drop_stripes(t);
    t->mode = TXN_CLOSED;
}

static fr_status ready_to_write(txn *t) {
    segment *s = t->s;
    if (FR_UNLIKELY(s->readonly)) return t->err->status = FR_READONLY;
    if (FR_UNLIKELY(s->me->word == 0)) {
        fr_status status = segment_register(s, t->err);
        if (status != FR_OK) return status;
    }
    if (FR_UNLIKELY(ld8(&segment_super(s)->damaged))) {
        return txn_fail(t, FR_DAMAGED, "the segment was found damaged; run fridge verify --repair");
    }
    return FR_OK;
}

fr_status txn_begin_one(txn *t, uint64_t now_ms, uint64_t deadline_ms, uint32_t number) {
    reset(t, TXN_CLOSED, now_ms);
    t->deadline_ms = deadline_ms;
    fr_status status = ready_to_write(t);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    status = latch_take(t->s, number, deadline_ms, t->err);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    t->mode = TXN_WRITE;
    t->lowest = number;
    t->held.count = 1;
    return FR_OK;
}

static fr_status take_pools(txn *t, const stripe_set *set) {
    uint32_t limit = t->s->g.stripes + POOL_LATCHES + 1;
    for (uint32_t i = stripe_set_next(set, t->s->g.stripes, limit); i < limit; i = stripe_set_next(set, i + 1, limit)) {
        fr_status status = txn_pool(t, i - t->s->g.stripes);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

fr_status txn_begin_write(txn *t, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *set) {
    uint32_t limit = t->s->g.stripes, first = stripe_set_next(set, 0, limit);
    if (set->count == 1 && first < limit) return txn_begin_one(t, now_ms, deadline_ms, first);
    reset(t, TXN_CLOSED, now_ms);
    t->deadline_ms = deadline_ms;
    fr_status status = ready_to_write(t);
    if (status != FR_OK) return status;
    stripe_set_clear(&t->held);
    t->lowest = first;
    FOR_STRIPES(i, set, limit) {
        status = latch_take(t->s, i, deadline_ms, t->err);
        if (status != FR_OK) {
            drop_all(t);
            return status;
        }
        stripe_set_add(&t->held, i);
    }
    t->mode = TXN_WRITE;
    status = take_pools(t, set);
    if (status != FR_OK) txn_abort(t);
    return status;
}

fr_status txn_pool(txn *t, uint32_t pool) {
    if (t->pools >> pool & 1) return FR_OK;
    if (t->pools >> pool) { /* one that comes later is held: start over, in order */
        if (t->want) stripe_set_add(t->want, t->s->g.stripes + pool);
        return FR_RELOCK;
    }
    fr_status status = latch_take(t->s, t->s->g.stripes + pool, t->deadline_ms, t->err);
    if (status == FR_OK) t->pools |= 1u << pool;
    return status;
}

/* --- write set -------------------------------------------------------------------------------------------------- */

static uint32_t chain_slot(const txn *t, uint64_t off) {
    return (uint32_t)((off >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 40) & (t->cap - 1);
}

/* chain[0, cap) heads by hash of the target, chain[cap, 2 cap) the next older record with that hash. */
static void chain_add(txn *t, uint32_t i) {
    uint32_t h = chain_slot(t, record_off(t->rec[i].target));
    t->chain[t->cap + i] = t->chain[h];
    t->chain[h] = i;
}

static void chain_rebuild(txn *t) {
    for (uint32_t h = 0; h < t->cap; h++) t->chain[h] = CHAIN_END;
    for (uint32_t i = 0; i < t->n; i++) chain_add(t, i);
}

/* Memory of the process, under latches: malloc neither runs Python nor is a cancellation point, and a process killed in
 * it is recovered like any other. */
static bool grow_write_set(txn *t) {
    uint32_t cap = t->cap * 4;
    if (cap > JOURNAL_MAX) return false;
    record *rec = malloc(cap * sizeof *rec);
    uint32_t *chain = malloc(2 * (size_t)cap * sizeof *chain);
    if (!rec || !chain) {
        free(rec);
        free(chain);
        return false;
    }
    memcpy(rec, t->rec, t->n * sizeof *rec);
    if (t->rec != t->inline_rec) free(t->rec);
    free(t->chain);
    t->rec = rec;
    t->chain = chain;
    t->cap = cap;
    chain_rebuild(t);
    return true;
}

void txn_put_slow(txn *t, uint64_t target, uint64_t value) {
    if (t->n == t->cap && !grow_write_set(t)) {
        t->failed = true; /* not in err, which belongs to the command that comes next */
        return;
    }
    if (t->n == TXN_INLINE) chain_rebuild(t); /* the chains of an earlier, longer write set are still there */
    t->rec[t->n++] = (record){target, value};
    t->bloom |= txn_bloom_bit(record_off(target));
    chain_add(t, t->n - 1);
}

void txn_rollback(txn *t, uint32_t mark) {
    if (mark == t->n) return;
    t->n = mark; /* the bloom keeps bits of what went: they cost a look, no more */
    if (mark > TXN_INLINE) chain_rebuild(t);
}

/* The last record of a word, or NULL. Records are chained once there are more than TXN_INLINE of them: txn_put adds the first
 * ones without a look at chains. */
static record *last_record(const txn *t, uint64_t off) {
    if (t->n > TXN_INLINE) {
        uint32_t i = t->chain[chain_slot(t, off)];
        while (i != CHAIN_END && record_off(t->rec[i].target) != off) i = t->chain[t->cap + i];
        return i == CHAIN_END ? NULL : &t->rec[i];
    }
    for (uint32_t i = t->n; i-- > 0;)
        if (record_off(t->rec[i].target) == off) return &t->rec[i];
    return NULL;
}

static bool own_write(const txn *t, uint64_t off, uint64_t *value) {
    const record *r = last_record(t, off);
    if (r) *value = r->value;
    return r != NULL;
}

void txn_put_over(txn *t, uint64_t off, uint64_t value) {
    record *r = t->n > TXN_INLINE ? last_record(t, off) : NULL;
    if (r && r >= t->rec + t->marked && r->target == off) r->value = value;
    else txn_put(t, off, value);
}

uint64_t txn_ever_slow(txn *t, uint64_t off) {
    uint64_t ever = ld8(SEG_AT(t->s, off, uint64_t));
    bool chained = t->n > TXN_INLINE;
    for (uint32_t i = chained ? t->chain[chain_slot(t, off)] : 0; chained ? i != CHAIN_END : i < t->n;
         i = chained ? t->chain[t->cap + i] : i + 1) {
        if (record_off(t->rec[i].target) == off) ever |= t->rec[i].value;
    }
    return ever;
}

/* --- overlay ----------------------------------------------------------------------------------------------------- */

static void keep_record(void *ctx, const record *r) {
    txn *t = ctx;
    if (t->n < TXN_INLINE) t->rec[t->n++] = *r;
    else txn_put_slow(t, r->target, r->value);
}

/* A reader has no write set: that memory takes the journal which it overlays when that is a long one, so that a load costs a
 * look-up and not a walk. (10,000 records: 12 us a load before; a damaged header may claim a million.) */
static bool long_journal(txn *t) {
    if (JSTATE_COUNT(t->in.jstate) != JOURNAL_SPILLED) return false;
    if (t->n && t->loaded.jstripe == t->in.jstripe && t->loaded.jstate == t->in.jstate) return true;
    t->n = 0;
    if (!journal_each(t->s, t->in.jstripe, t->in.jstate, keep_record, t)) return false;
    t->bloom = UINT64_MAX;
    t->loaded.jstripe = t->in.jstripe;
    t->loaded.jstate = t->in.jstate;
    if (t->failed) t->n = 0; /* no memory: walk it for each load */
    t->failed = false;
    return t->n != 0;
}

static bool overlaid(txn *t, uint64_t off, uint64_t *value) {
    if (t->in.jstripe == NO_STRIPE) return false;
    if (FR_UNLIKELY(long_journal(t))) return own_write(t, off, value);
    return journal_find(t->s, t->in.jstripe, t->in.jstate, off, value);
}

uint64_t txn_ld_slow(txn *t, uint64_t off) {
    uint64_t value;
    if (t->mode == TXN_WRITE ? own_write(t, off, &value) : overlaid(t, off, &value)) return value;
    return ld8(SEG_AT(t->s, off, uint64_t));
}

void txn_enter_slow(txn *t, uint32_t number) {
    uint64_t coord = ld8(&segment_stripe(t->s, number)->coord);
    if (coord >= t->s->g.stripes) coord = number; /* not believable: the guard will not hold, or nothing is overlaid */
    t->in.jstripe = (uint32_t)coord;
    t->in.jstate = ld8(&segment_stripe(t->s, (uint32_t)coord)->jstate);
    t->bloom = JSTATE_COUNT(t->in.jstate) ? UINT64_MAX : 0;
}

bool txn_overlay(txn *t, uint64_t version_off) {
    if (t->mode != TXN_READ || t->in.jstripe != NO_STRIPE) return false;
    uint64_t jstate = ld8(&segment_stripe(t->s, t->in.stripe)->jstate);
    if (JSTATE_COUNT(jstate) == 0 || !(ld8(SEG_AT(t->s, version_off, uint64_t)) & 1)) return false;
    t->in.jstripe = t->in.stripe;
    t->in.jstate = jstate;
    t->bloom = UINT64_MAX;
    return true;
}

const char *txn_bytes_slow(txn *t, uint64_t off, size_t n) {
    size_t at = 0;
    while (at < n && !(t->bloom & txn_bloom_bit(off + at))) at += 8;
    if (at >= n || n > 4096) return SEG_AT(t->s, off, const char); /* only short bodies change in place */
    char *grown = realloc(t->scratch, FR_ALIGN(n, 8) + 8);
    if (!grown) return NULL;
    t->scratch = grown;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = txn_ld(t, off + i);
        memcpy(grown + i, &word, 8);
    }
    return grown;
}

bool guard_holds_slow(const segment *s, const guard *g) {
    segment *m = (segment *)s;
    if ((g->seq & 1) && ld8(&segment_stripe(m, g->stripe)->coord) != g->jstripe) return false;
    return ld8(&segment_stripe(m, g->jstripe)->jstate) == g->jstate;
}

/* --- commit ------------------------------------------------------------------------------------------------------ */

/* Is this page's bit set by the write set, though not in memory? Then it is not free to spill to. */
static bool page_free(txn *t, uint64_t page) {
    uint64_t word = t->s->l.poolmap + page / 64 * 8, bit = UINT64_C(1) << (page % 64);
    return !(txn_ever(t, word) & bit);
}

static uint64_t next_free_page(txn *t, uint64_t from) {
    uint64_t pages = ld8(&segment_super(t->s)->size) / t->s->g.page_size;
    if (pages > t->s->l.pages) pages = t->s->l.pages;
    while (from < pages && !page_free(t, from)) {
        uint64_t word = t->s->l.poolmap + from / 64 * 8;
        from = txn_ever(t, word) == UINT64_MAX ? (from | 63) + 1 : from + 1;
    }
    return from < pages ? from : 0;
}

/* Records go to pages that stay marked free: journal.h, 3. */
static fr_status spill(txn *t, stripe *st) {
    fr_status status = txn_pool(t, POOL_LATCHES);
    if (status != FR_OK) return status;
    segment *s = t->s;
    uint64_t page = s->l.data / s->g.page_size - 1;
    journal_spill to = journal_spill_begin(s, st, t->rec, t->n);
    while (to.done < t->n) {
        page = next_free_page(t, page + 1);
        t->unspilled = journal_pages(s, t->n - to.done);
        if (page == 0 || !journal_spill_page(&to, page * s->g.page_size)) return FR_GROW;
    }
    return FR_OK;
}

/* Records have moved within the write set: what the chain says of places is no longer so, and a journal that spills looks for
 * pages that this very set does not take (found by the enumeration of "EXEC spilled to several pages" in a full quad). */
static void shorten(txn *t, uint32_t n) {
    t->n = n;
    if (t->rec != t->inline_rec) chain_rebuild(t);
}

/* A short write set in which words may stand twice: the last value of each moves to the place of its first record, so that
 * version words keep their order. Longer ones are left alone: their size is not in the words that they repeat. */
static void merge_repeats(txn *t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t at = 0;
        while (at < n && t->rec[at].target != t->rec[i].target) at++;
        t->rec[at] = t->rec[i];
        n += at == n;
    }
    shorten(t, n);
}

/* A second step would need a place of its own among the words. */
void txn_step_seq(txn *t, uint32_t number) {
    if (t->stepped) t->multi = true;
    t->stepped = true;
    txn_put(t, t->s->l.latches + number * t->s->l.stripe_bytes + offsetof(stripe, seq), segment_stripe(t->s, number)->seq + 2);
}

/* make_seq_odd and make_seq_even do it instead. */
static void drop_step(txn *t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n; i++) {
        uint64_t at = t->rec[i].target - t->s->l.latches;
        bool step = at < t->s->g.stripes * t->s->l.stripe_bytes && at % t->s->l.stripe_bytes == offsetof(stripe, seq);
        if (!step) t->rec[n++] = t->rec[i];
    }
    shorten(t, n);
}

/* Where an odd seq sends its readers: mostly where it already says. */
static void point_coord(stripe *st, uint32_t lowest) {
    if (st->coord != lowest) st8(&st->coord, lowest);
}

static void make_seq_odd(txn *t) {
    uint32_t limit = t->s->g.stripes;
    if (t->held.count == 1) {
        stripe *st = segment_stripe(t->s, t->lowest);
        point_coord(st, t->lowest);
        st8(&st->seq, st->seq + 1);
        return;
    }
    FOR_STRIPES(i, &t->held, limit) {
        stripe *st = segment_stripe(t->s, i);
        point_coord(st, t->lowest);
        st8(&st->seq, st->seq + 1);
    }
}

static void make_seq_even(txn *t) {
    uint32_t limit = t->s->g.stripes;
    if (t->held.count == 1) {
        stripe *st = segment_stripe(t->s, t->lowest);
        st8(&st->seq, st->seq + 1);
        return;
    }
    FOR_STRIPES(i, &t->held, limit) {
        stripe *st = segment_stripe(t->s, i);
        st8(&st->seq, st->seq + 1);
    }
}

/* A transaction's intents fill its lowest stripe first; only then do others that it holds have some. */
static void thaw_all(txn *t) {
    stripe *st = segment_stripe(t->s, t->lowest);
    if (FR_LIKELY(!st->intents)) return;
    bool more = st->intents >= INTENTS && t->held.count > 1;
    journal_thaw(t->s, st);
    if (!more) return;
    uint32_t limit = t->s->g.stripes;
    FOR_STRIPES(i, &t->held, limit) journal_thaw(t->s, segment_stripe(t->s, i));
}

static fr_status write_journal(txn *t, stripe *st, uint64_t *committed) {
    if (t->n <= t->s->g.journal_records) {
        fill(st->journal, t->rec, t->n * sizeof(record)); /* nobody believes it before the commit store */
        *committed = JSTATE_NEXT(st->jstate, t->n);
        return FR_OK;
    }
    fr_status status = spill(t, st);
    *committed = JSTATE_NEXT(st->jstate, JOURNAL_SPILLED);
    return status;
}

static void notify(txn *t) {
    if (t->wakes > TXN_WAKES) {
        wait_ring_all(t->s);
        return;
    }
    uint32_t bits = t->wakes == 1 ? t->wake_bits : WAIT_ALL;
    for (uint32_t i = 0; i < t->wakes; i++) wait_ring_some(t->s, t->wake[i], bits);
}

static fr_status commit_writes(txn *t) {
    stripe *st = segment_stripe(t->s, t->lowest);
    uint64_t committed;
    if (t->held.count > 1 || t->wakes > 1) t->multi = true; /* several stripes, or several keys of one */
    if (FR_UNLIKELY(t->stepped && t->multi)) drop_step(t);
    if (t->repeats && t->n <= TXN_INLINE) merge_repeats(t);
    fr_status status = t->failed ? FR_OOM : write_journal(t, st, &committed);
    if (status != FR_OK) return status;
    if (t->multi) make_seq_odd(t);
    st8(&st->jstate, committed); /* COMMIT */
    journal_apply(t->s, t->rec, t->n);
    st8(&st->jstate, JSTATE_CLEAN(committed));
    thaw_all(t);
    if (t->multi) make_seq_even(t);
    stat_add(t->s, STAT_transactions, 1);
    return FR_OK;
}

/* What a look-up for a tag would meet in a quad now: see txn_met. */
static uint64_t quad_digest(txn *t, uint64_t quad, uint32_t tag) {
    uint64_t digest = 0;
    if (!segment_holds(t->s, quad, 256)) return 0; /* a hostile block of version 0 */
    for (uint64_t i = 0; i < 32; i++) {
        uint64_t word = txn_ld(t, quad + i * 8), off = (word & UINT64_C(0xffffffff)) << 4;
        if (word && word >> 38 == tag) digest += txn_met(word, i, segment_holds(t->s, off, 8) ? txn_ld(t, off) : 0);
    }
    return digest;
}

/* Absent because there was no index: there must be none still, for the first key of one does not step the seq. */
static bool still_no_index(txn *t, uint32_t number) {
    return txn_ld(t, t->s->l.latches + number * t->s->l.stripe_bytes + offsetof(stripe, root)) == 0;
}

static bool entry_holds(txn *t, const read_entry *e) {
    if (e->version == 0 && e->slot_off == 0) return still_no_index(t, e->g.stripe);
    if (e->version == 0) return quad_digest(t, e->slot_off, (uint32_t)e->block) == e->slot;
    return txn_ld(t, e->slot_off) == e->slot && txn_ld(t, e->block) == e->version;
}

static fr_status commit_reads(txn *t) {
    for (uint32_t i = 0; i < t->reads; i++) {
        const read_entry *e = &t->read[i];
        t->in = e->g;
        t->bloom = e->g.jstripe != NO_STRIPE && JSTATE_COUNT(e->g.jstate) ? UINT64_MAX : 0;
        if (!entry_holds(t, e) || !guard_holds(t->s, &e->g)) return FR_RETRY;
    }
    return FR_OK;
}

fr_status txn_commit(txn *t) {
    fr_status status;
    if (t->mode == TXN_READ) {
        status = commit_reads(t);
        t->mode = TXN_CLOSED;
        return FR_UNLIKELY(t->s->lost) ? FR_LOST : status;
    }
    status = t->n ? commit_writes(t) : FR_OK;
    if (t->held.count) thaw_all(t);
    bool wake = status == FR_OK && t->wakes && t->n;
    drop_all(t);
    if (FR_UNLIKELY(wake && wait_anybody(t->s))) notify(t);
    if (FR_UNLIKELY(t->s->lost)) return t->err->status = FR_LOST;
    return status;
}

void txn_abort(txn *t) {
    if (t->mode == TXN_WRITE) {
        if (t->held.count) thaw_all(t);
        drop_all(t);
    }
    t->mode = TXN_CLOSED;
}

/* --- readers ----------------------------------------------------------------------------------------------------- */

void txn_begin_read(txn *t, uint64_t now_ms) { reset(t, TXN_READ, now_ms); }

void txn_saw(txn *t, const guard *g, uint64_t slot_off, uint64_t slot, uint64_t block, uint64_t version) {
    if (t->mode != TXN_READ) return;
    if (t->reads == t->reads_cap) {
        uint32_t cap = t->reads_cap * 4;
        read_entry *grown = malloc(cap * sizeof *grown);
        if (!grown) {
            t->read[0].g.seq = UINT64_MAX; /* cannot hold: the read is repeated, in the end under latches */
            return;
        }
        memcpy(grown, t->read, t->reads * sizeof *grown);
        if (t->read != t->inline_read) free(t->read);
        t->read = grown;
        t->reads_cap = cap;
    }
    t->read[t->reads++] = (read_entry){*g, slot_off, slot, block, version};
}

void txn_saw_absent(txn *t, uint64_t quad, uint32_t tag, uint64_t met) {
    if (t->mode == TXN_READ) txn_saw(t, &t->in, quad, met, tag, 0);
}

/* --- counters ---------------------------------------------------------------------------------------------------- */

/* A held stripe with room for an intent, or NULL. */
static stripe *intent_room(txn *t) {
    stripe *st = segment_stripe(t->s, t->lowest);
    if (FR_LIKELY(st->intents < INTENTS)) return st;
    uint32_t limit = t->held.count > 1 ? t->s->g.stripes : 0;
    FOR_STRIPES(i, &t->held, limit) {
        st = segment_stripe(t->s, i);
        if (st->intents < INTENTS) return st;
    }
    return NULL;
}

/* Asks for as many stripes again as are held, for the sake of their intents. */
static fr_status want_intents(txn *t) {
    uint32_t stripes = t->s->g.stripes, more = t->held.count;
    if (more >= stripes)
        return txn_fail(t, FR_ARGUMENT, "a transaction may touch at most %u counters in this segment", INTENTS * stripes);
    for (uint32_t i = 0; t->want && i < stripes && more; i++) {
        if (txn_holds(t, i) || stripe_set_has(t->want, i)) continue;
        stripe_set_add(t->want, i);
        more--;
    }
    return FR_RELOCK;
}

fr_status txn_freeze(txn *t, uint64_t cell_off, cell16 *seen) {
    cell16 *c = SEG_AT(t->s, cell_off, cell16);
    seen->value = ld8(&c->value);
    seen->state = ld8(&c->state);
    if (seen->state & CELL_FROZEN) { /* frozen by this transaction before: its own writes say what the cell holds */
        seen->value = txn_ld(t, cell_off);
        seen->state = txn_ld(t, cell_off + 8) & ~CELL_FROZEN;
        return FR_OK;
    }
    stripe *st = intent_room(t);
    if (!st) return want_intents(t);
    st8(&st->intent[st->intents], cell_off);
    st8(&st->intents, st->intents + 1);
    while (!cas16(c, seen, (cell16){seen->value, seen->state | CELL_FROZEN})) {
    }
    t->multi = true;
    return FR_OK;
}

/* --- checks ------------------------------------------------------------------------------------------------------ */

fr_status txn_check(segment *s, uint32_t number, fr_error *err) {
    stripe *st = segment_stripe(s, number);
    const char *what = NULL;
    if (ld4(&st->latch)) what = "is latched";
    else if (JSTATE_COUNT(ld8(&st->jstate))) what = "has a journal that was not applied";
    else if (ld8(&st->seq) & 1) what = "has an odd seq";
    else if (ld8(&st->intents)) what = "has frozen counters";
    else if (ld8(&st->clock) & 1) what = "has an odd clock";
    if (!what) return FR_OK;
    snprintf(err->text, sizeof err->text, "stripe %u %s", number, what);
    return err->status = FR_DAMAGED;
}
