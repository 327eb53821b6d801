/* journal.c - see journal.h. Low level to high: pages, the walk, look-up, what is believed, replay. */
#include "shm/journal.h"

static uint32_t records_per_page(const segment *s) { return (s->g.page_size - 16) / sizeof(record); }

uint64_t journal_pages(const segment *s, uint64_t n) { return (n + records_per_page(s) - 1) / records_per_page(s); }

static bool page_believable(segment *s, uint64_t page) {
    return page % s->g.page_size == 0 && segment_holds(s, page, s->g.page_size);
}

static void write_record(record *to, const record *r) {
    st8(&to->target, r->target);
    st8(&to->value, r->value);
}

bool journal_spill_page(journal_spill *to, uint64_t off) {
    segment *s = to->s;
    if (!segment_holds(s, off, s->g.page_size)) return false;
    st8(to->link, off);
    to->link = SEG_AT(s, off, uint64_t);
    record *at = SEG_AT(s, off + 16, record);
    uint32_t per_page = records_per_page(s);
    for (uint32_t i = 0; i < per_page && to->done < to->n; i++, to->done++) write_record(at + i, &to->rec[to->done]);
    if (to->done == to->n) st8(&to->st->jcount, to->n);
    return true;
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* A walk over a committed journal, inline or spilled. */
typedef struct walk {
    segment *s;
    stripe *st;
    uint64_t left, page; /* records still to come; current spill page or 0 */
    uint32_t at, per_page;
} walk;

/* False: the head of the journal that jstate speaks of is not believable. */
static bool walk_begin(segment *s, uint32_t number, uint64_t jstate, walk *w) {
    stripe *st = segment_stripe(s, number);
    uint32_t n = JSTATE_COUNT(jstate);
    *w = (walk){s, st, n, 0, 0, records_per_page(s)};
    if (n != JOURNAL_SPILLED) return n <= s->g.journal_records;
    w->left = ld8(&st->jcount);
    w->page = ld8(&st->jspill);
    return w->left <= s->l.pages * w->per_page && w->left <= JOURNAL_MAX && page_believable(s, w->page);
}

/* False: at the end (left is 0 then), or where a page cannot be. */
static inline bool walk_next(walk *w, record *out) {
    if (w->left == 0) return false;
    const record *r;
    if (w->page) {
        if (w->at == w->per_page) {
            w->page = ld8(SEG_AT(w->s, w->page, uint64_t));
            w->at = 0;
            if (!page_believable(w->s, w->page)) return false;
        }
        r = SEG_AT(w->s, w->page + 16, record) + w->at;
    } else {
        r = &w->st->journal[w->at];
    }
    out->target = ld8(&r->target);
    out->value = ld8(&r->value);
    w->at++;
    w->left--;
    return true;
}

bool journal_each(segment *s, uint32_t number, uint64_t jstate, void (*take)(void *ctx, const record *r), void *ctx) {
    walk w;
    record r;
    if (!walk_begin(s, number, jstate, &w)) return false;
    while (walk_next(&w, &r)) take(ctx, &r);
    return true;
}

bool journal_find(segment *s, uint32_t number, uint64_t jstate, uint64_t off, uint64_t *value) {
    walk w;
    record r;
    bool found = false;
    if (!walk_begin(s, number, jstate, &w)) return false;
    while (walk_next(&w, &r)) {
        if (record_off(r.target) != off) continue;
        *value = r.value;
        found = true; /* the latest wins */
    }
    return found;
}

/* --- what is believed ------------------------------------------------------------------------------------------------ */

/* Which words of a stripe travel in journals: not the latch, and not the journal itself. */
static bool stripe_word_allowed(const segment *s, uint64_t off) {
    uint64_t at = (off - s->l.latches) % s->l.stripe_bytes;
    return at == offsetof(stripe, trash) || at == offsetof(stripe, root) || at == offsetof(stripe, seq) ||
           (at >= offsetof(stripe, partial) && at < offsetof(stripe, intent));
}

/* May a journal change this word? Hostile files and scribbled journals are refused before the first store. */
static bool target_allowed(segment *s, uint64_t target) {
    uint64_t off = record_off(target), kind = target & RECORD_KIND;
    if (kind > RECORD_CELL || off < LAYOUT_MUTABLE) return false;
    if (off >= s->l.data) return segment_holds(s, off, 8);
    if (off >= s->l.latches && off < s->l.latches + s->l.latch_count * s->l.stripe_bytes) return stripe_word_allowed(s, off);
    return off < sizeof(superblock) || (off >= s->l.stats && off < s->l.notify) || off >= s->l.poolmap;
}

static bool believable(segment *s, uint32_t number, uint64_t jstate) {
    walk w;
    record r;
    if (!walk_begin(s, number, jstate, &w)) return false;
    while (walk_next(&w, &r)) {
        if (!target_allowed(s, r.target)) return false;
    }
    return w.left == 0;
}

/* --- replay ------------------------------------------------------------------------------------------------------ */

/* One pass of the three. */
static void replay_pass(segment *s, uint32_t number, uint64_t jstate, int pass) {
    walk w;
    record r;
    if (!walk_begin(s, number, jstate, &w)) return;
    while (walk_next(&w, &r)) {
        uint64_t kind = r.target & RECORD_KIND;
        if (!target_allowed(s, r.target)) return; /* a record that a record of this very journal has changed */
        uint64_t *word = SEG_AT(s, record_off(r.target), uint64_t);
        if (pass == 0 && kind == RECORD_VERSION) st8(word, r.value | 1);
        if (pass == 1 && kind == RECORD_WORD) st8(word, r.value);
        if (pass == 2 && kind >= RECORD_VERSION) st8(word, record_settled(kind, r.value));
    }
}

static void replay(segment *s, uint32_t number, uint64_t jstate) {
    for (int pass = 0; pass < 3; pass++) replay_pass(s, number, jstate, pass);
}

void journal_thaw(segment *s, stripe *st) {
    uint64_t n = ld8(&st->intents);
    for (uint64_t i = 0; i < n && i < INTENTS; i++) {
        uint64_t off = ld8(&st->intent[i]);
        if (off % 16 || !segment_holds(s, off, sizeof(cell16))) continue;
        cell16 *c = SEG_AT(s, off, cell16);
        uint64_t state = ld8(&c->state);
        if (state & CELL_FROZEN) st8(&c->state, state & ~CELL_FROZEN); /* frozen: nobody but us may change it */
    }
    if (n) st8(&st->intents, 0);
}

fr_status journal_recover(segment *s, uint32_t number) {
    stripe *st = segment_stripe(s, number);
    uint64_t jstate = ld8(&st->jstate);
    if (JSTATE_COUNT(jstate)) {
        bool sound = believable(s, number, jstate);
        if (!sound && ld8(&segment_super(s)->damaged) != DAMAGE_FORGIVEN) {
            st8(&segment_super(s)->damaged, 1 + (uint64_t)number);
            return FR_DAMAGED;
        }
        if (sound) replay(s, number, jstate);
        st8(&st->jstate, JSTATE_CLEAN(jstate));
        stat_add(s, STAT_replays, 1);
    }
    journal_thaw(s, st);
    return FR_OK;
}
