/* quick.c - see quick.h. */
#include "store/quick.h"

#include "shm/journal.h"
#include "shm/wait.h"
#include "store/column.h"

fr_status quick_row_image(store *st, const key *k, const table *tb, char *image) {
    place p;
    if (FR_UNLIKELY(ld8(&segment_super(st->s)->shared_settings[SETTING_POLICY]))) return FR_RETRY;
    fr_status status = place_find(st->s, k, tb, &p);
    if (FR_UNLIKELY(!key_current(st, k))) return FR_RETRY; /* as in quick_get */
    if (FR_UNLIKELY(status != FR_OK)) return status == FR_NOKEY && ld8(&p.st->seq) != p.seq ? FR_RETRY : status;
    copy_out(image, SEG_AT(st->s, p.off, char), tb->stride);
    bool whole = ld8(p.slot_at) == p.slot && ld8(SEG_AT(st->s, p.off, uint64_t)) == p.version && ld8(&p.st->seq) == p.seq;
    return FR_LIKELY(whole) ? FR_OK : FR_RETRY;
}

/* --- looking ahead --------------------------------------------------------------------------------------------------- */

/* The bucket in which a key's slot word most probably is, or NULL. */
static inline const uint64_t *first_bucket(segment *s, const key *k) {
    uint32_t tag = INDEX_TAG(k->hash);
    uint64_t page = place_page(s, ld8(&segment_stripe(s, k->stripe)->root), tag);
    return page ? place_quad(s, page, tag) + ((tag & 3) << 3) : NULL;
}

void quick_fetch_index(store *st, const key *k) {
    const uint64_t *bucket = first_bucket(st->s, k);
    if (bucket) __builtin_prefetch(bucket);
}

void quick_fetch_block(store *st, const key *k) {
    const uint64_t *bucket = first_bucket(st->s, k);
    for (uint32_t i = 0; bucket && i < 8; i++) {
        uint64_t slot = ld8(&bucket[i]);
        if (SLOT_TAG(slot) != INDEX_TAG(k->hash) || !segment_holds(st->s, SLOT_OFF(slot), 128)) continue;
        __builtin_prefetch(SEG_AT(st->s, SLOT_OFF(slot), const char));
        __builtin_prefetch(SEG_AT(st->s, SLOT_OFF(slot) + 64, const char));
        return;
    }
}

/* --- writing --------------------------------------------------------------------------------------------------------- */

/* Takes the latch if it is free and everything is in its ordinary state. */
static inline bool begin(store *st, const key *k) {
    segment *s = st->s;
    superblock *super = segment_super(s);
    if (FR_UNLIKELY(s->readonly || s->me->word == 0)) return false;
    if (FR_UNLIKELY(ld8(&super->damaged) || ld8(&super->shared_settings[SETTING_POLICY]))) return false;
    if (FR_UNLIKELY(!latch_try(s, k->stripe))) return false;
    if (FR_LIKELY(key_current(st, k))) return true;
    latch_drop(s, k->stripe);
    return false;
}

/* Where word i of a change lies: one after the other from `body` on, or where `at` says, from the block's start. */
static inline uint64_t word_off(const place *p, const uint32_t *at, uint32_t i) {
    return p->off + (at ? at[i] : p->body + i * 8);
}

/* txn_commit's stores for one block: n words of it under a new version. */
FR_INLINE void commit_at(segment *s, const place *p, const uint32_t *at, const uint64_t *words, uint32_t n) {
    stripe *st = p->st;
    uint64_t version = st->clock + 2, *block = SEG_AT(s, p->off, uint64_t);
    uint64_t committed = JSTATE_NEXT(st->jstate, n + 1);
    st8(&st->clock, version);
    st8(&st->journal[0].target, p->off | RECORD_VERSION);
    st8(&st->journal[0].value, version);
    for (uint32_t i = 0; i < n; i++) {
        st8(&st->journal[i + 1].target, word_off(p, at, i));
        st8(&st->journal[i + 1].value, words[i]);
    }
    st8(&st->jstate, committed); /* COMMIT */
    st8(block, version | 1);
    for (uint32_t i = 0; i < n; i++) st8(SEG_AT(s, word_off(p, at, i), uint64_t), words[i]);
    st8(block, version);
    st8(&st->jstate, JSTATE_CLEAN(committed));
}

static inline void commit(segment *s, const place *p, const uint64_t *words, uint32_t n) {
    commit_at(s, p, NULL, words, n);
}

static inline fr_status finish(segment *s, const key *k, fr_status status) {
    latch_drop(s, k->stripe);
    if (FR_UNLIKELY(s->lost)) return FR_LOST;
    if (FR_UNLIKELY(status != FR_OK)) return status == FR_NOKEY ? FR_RETRY : status;
    stat_add(s, STAT_transactions, 1);
    if (FR_UNLIKELY(wait_anybody(s))) wait_ring(s, k->hash);
    return FR_OK;
}

fr_status quick_set(store *st, const key *k, span bytes) {
    place p;
    uint64_t words[OVERWRITE_MAX / 8];
    int64_t i;
    uint32_t n = (uint32_t)(FR_ALIGN(bytes.n, 8) / 8);
    if (FR_UNLIKELY(bytes.n == 0 || bytes.n > OVERWRITE_MAX || n + 1 > st->s->g.journal_records)) return FR_RETRY;
    if (FR_UNLIKELY(k->table != NO_TABLE || !begin(st, k))) return FR_RETRY;
    fr_status status = place_find(st->s, k, NULL, &p);
    bool is_int = bytes.n <= 20 && text_int64(bytes, &i);
    if (status == FR_OK && is_int != (bool)(META_FLAGS(p.meta) & FLAG_INT)) status = FR_RETRY;
    if (status == FR_OK && !is_int && META_VLEN(p.meta) != bytes.n) status = FR_RETRY;
    if (status == FR_OK && p.expiry != NO_EXPIRY) status = FR_RETRY; /* SET takes the expiry away */
    if (FR_LIKELY(status == FR_OK)) {
        words[n - 1] = 0;
        if (is_int) words[0] = (uint64_t)i;
        else memcpy(words, bytes.p, bytes.n);
        commit(st->s, &p, words, is_int ? 1 : n);
    }
    return finish(st->s, k, status);
}

fr_status quick_incr(store *st, const key *k, int64_t by, int64_t *out) {
    place p;
    if (FR_UNLIKELY(k->table != NO_TABLE || !begin(st, k))) return FR_RETRY;
    fr_status status = place_find(st->s, k, NULL, &p);
    if (status == FR_OK && !(META_FLAGS(p.meta) & FLAG_INT)) status = FR_RETRY;
    if (FR_LIKELY(status == FR_OK)) {
        int64_t now = (int64_t)ld8(SEG_AT(st->s, p.off + p.body, uint64_t));
        if (FR_UNLIKELY(__builtin_add_overflow(now, by, out))) status = FR_OVERFLOW;
        else commit(st->s, &p, (const uint64_t *)out, 1);
    }
    return finish(st->s, k, status);
}

/* Does v fit a column of this type? uint64 is left to the general path. */
static inline bool fits_column(const column *c, int64_t v) {
    if (c->type == COLUMN_INT64) return true;
    unsigned bits = c->size * 8;
    if (c->type < COLUMN_INT64) return v >= -(INT64_C(1) << (bits - 1)) && v < INT64_C(1) << (bits - 1);
    return c->type < COLUMN_UINT64 && v >= 0 && v < INT64_C(1) << bits;
}

fr_status quick_row_add(store *st, const key *k, const table *tb, const column *c, int64_t by, int64_t *out) {
    place p;
    if (FR_UNLIKELY(!begin(st, k))) return FR_RETRY;
    fr_status status = place_find(st->s, k, tb, &p);
    if (FR_LIKELY(status == FR_OK)) {
        p.body = c->offset & ~UINT32_C(7);
        uint64_t word = ld8(SEG_AT(st->s, p.off + p.body, uint64_t)), changed;
        int64_t now = (int64_t)column_from_word(c, word);
        if (FR_UNLIKELY(__builtin_add_overflow(now, by, out) || !fits_column(c, *out))) {
            status = FR_RETRY;
        } else {
            changed = column_into_word(c, word, (uint64_t)*out);
            commit(st->s, &p, &changed, 1);
        }
    }
    return finish(st->s, k, status);
}

/* --- several columns ------------------------------------------------------------------------------------------------- */

/* Words of an image that a quick update changes: where, and what they become. */
typedef struct edit {
    char *image; /* private, as the row will be */
    uint32_t n, at[QUICK_WORDS];
    uint64_t words[QUICK_WORDS];
} edit;

static bool edit_word(edit *e, const column *c, uint64_t bits) {
    uint32_t at = c->offset & ~UINT32_C(7), i = 0;
    uint64_t word;
    while (i < e->n && e->at[i] != at) i++;
    if (FR_UNLIKELY(i == QUICK_WORDS)) return false;
    memcpy(&word, e->image + at, 8);
    e->words[i] = column_into_word(c, word, bits);
    memcpy(e->image + at, &e->words[i], 8);
    e->at[i] = at;
    e->n += i == e->n;
    return true;
}

static uint64_t image_bits_of(const edit *e, const column *c) {
    uint64_t word;
    memcpy(&word, e->image + (c->offset & ~UINT32_C(7)), 8);
    return column_from_word(c, word);
}

static bool edit_set(edit *e, const table *tb, const cell_in *in) {
    const column *c = &tb->schema.column[in->column];
    uint64_t bits;
    if (c->type == COLUMN_FLOAT64 && in->v.kind == VALUE_DOUBLE && in->v.d == in->v.d) {
        memcpy(&bits, &in->v.d, 8);
        return edit_word(e, c, bits);
    }
    bool small = in->v.kind == VALUE_INT && c->type <= COLUMN_UINT32 && fits_column(c, in->v.i);
    return small && edit_word(e, c, (uint64_t)in->v.i);
}

static bool edit_add(edit *e, const table *tb, const cell_in *in) {
    const column *c = &tb->schema.column[in->column];
    int64_t sum;
    if (!column_is_integer(c) || in->v.kind != VALUE_INT) return false;
    if (__builtin_add_overflow((int64_t)image_bits_of(e, c), in->v.i, &sum) || !fits_column(c, sum)) return false;
    return edit_word(e, c, (uint64_t)sum);
}

/* FR_OK: the row is to become e->image; FR_NOKEY: a condition does not hold; FR_RETRY: not for the quick path. */
static fr_status edit_all(edit *e, const table *tb, const row_steps *s) {
    bool holds = true;
    for (size_t i = 0; i < s->conditions && holds; i++)
        if (!row_compare(&tb->schema.column[s->condition[i].column], e->image, &s->condition[i], &holds)) return FR_RETRY;
    if (!holds) return FR_NOKEY;
    for (size_t i = 0; i < s->sets; i++)
        if (!edit_set(e, tb, &s->set[i])) return FR_RETRY;
    for (size_t i = 0; i < s->adds; i++)
        if (!edit_add(e, tb, &s->add[i])) return FR_RETRY;
    return FR_OK;
}

fr_status quick_row_update(store *st, const key *k, const table *tb, const row_steps *s, char *image, bool *done) {
    place p;
    edit e; /* not zeroed: that took a third of this call's time */
    e.image = image;
    e.n = 0;
    if (FR_UNLIKELY(s->presence == ROW_ABSENT || s->expiry != NO_EXPIRY || !begin(st, k))) return FR_RETRY;
    fr_status status = place_find(st->s, k, tb, &p);
    if (status != FR_OK) return finish(st->s, k, status);
    copy_out(image, SEG_AT(st->s, p.off, char), tb->stride);
    status = edit_all(&e, tb, s);
    if (FR_UNLIKELY(e.n + 1 > st->s->g.journal_records)) status = FR_RETRY;
    *done = status == FR_OK;
    if (FR_LIKELY(status == FR_OK && e.n)) {
        commit_at(st->s, &p, e.at, e.words, e.n);
        return finish(st->s, k, FR_OK);
    }
    latch_drop(st->s, k->stripe);
    if (FR_UNLIKELY(st->s->lost)) return FR_LOST;
    return status == FR_RETRY ? FR_RETRY : FR_OK;
}
