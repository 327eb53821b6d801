/* verify.c - the whole store, walked and compared: what names a block, what counts say, what every object's invariants are.
 *
 * Runs under every latch (a transaction that puts nothing), so that nothing moves; recovery has run before, because taking
 * the latches recovers the dead. Repair rebuilds what is derived: counts from the slot words. What is not derived (a slot
 * word that names no block) is reported, and stays.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shm/index.h"
#include "store/counter.h"
#include "store/hash.h"
#include "store/keyspace.h"
#include "store/owner.h"
#include "store/table.h"

typedef struct walk {
    store *st;
    txn *t;
    heap_marks marks;
    verify_report *report;
    uint32_t stripe;
    uint64_t *keys, *expires; /* [stripes * spaces], as found */
    bool repair;
    fr_status stopped; /* FR_NOSPACE: this process lacks memory to look with, which says nothing about the store */
} walk;

static void note(walk *w, const char *text) {
    if (w->report->findings++ == 0) snprintf(w->report->first, sizeof w->report->first, "%s", text);
}

static void judge(walk *w, fr_status status, const char *text) {
    if (status == FR_NOSPACE) w->stopped = status;
    else if (status != FR_OK) note(w, text);
}

/* --- one key --------------------------------------------------------------------------------------------------------- */

static void tally(walk *w, const head *h) {
    uint32_t space = META_SPACE(h->meta);
    if (space >= w->st->s->g.spaces) return;
    uint64_t at = (uint64_t)w->stripe * w->st->s->g.spaces + space;
    w->keys[at]++;
    w->expires[at] += h->expiry != NO_EXPIRY;
}

static fr_status check_extents(walk *w, const head *h) {
    uint64_t body = h->off + block_body_at(h->meta);
    const uint64_t *words = SEG_AT(w->st->s, body, uint64_t);
    uint64_t bytes = 0;
    for (uint64_t i = 1; i <= words[0]; i++) {
        uint64_t off = (words[i] & UINT64_C(0xffffffff)) << 4, n = (words[i] >> 32) * w->st->s->g.page_size;
        if (!segment_holds(w->st->s, off, n)) return FR_DAMAGED;
        heap_mark(&w->marks, w->st->s, off, CLASS_RUN, n);
        bytes += n;
    }
    return bytes >= META_VLEN(h->meta) ? FR_OK : FR_DAMAGED;
}

static fr_status check_hashed(walk *w, uint64_t slot, const head *h) {
    span name = {SEG_AT(w->st->s, h->off + block_name_at(h->meta), const char), META_KLEN(h->meta)};
    uint64_t hash = key_hash(w->st->s, FIELD_SPACE, name);
    return INDEX_TAG(hash) == SLOT_TAG(slot) && key_stripe_of(w->st->s, hash) == w->stripe ? FR_OK : FR_DAMAGED;
}

static fr_status check_counter(walk *w, const head *h) {
    const counter_body *c = SEG_AT(w->st->s, h->off + block_body_at(h->meta), counter_body);
    bool live = !(c->cell.state & CELL_DEAD) && c->epoch == segment_super(w->st->s)->counter_epoch;
    w->report->counters++;
    if (live) tally(w, h);
    return c->cell.state & CELL_FROZEN ? FR_DAMAGED : FR_OK;
}

static fr_status check_string(walk *w, const head *h, fr_error *err) {
    if (META_FLAGS(h->meta) & FLAG_EXTENTS) return check_extents(w, h);
    if (!(META_FLAGS(h->meta) & FLAG_OWNER)) return FR_OK;
    return owners_check(w->t, h, ld8(&segment_stripe(w->st->s, w->stripe)->clock), err);
}

static fr_status check_object(walk *w, const head *h, fr_error *err) {
    switch (META_KIND(h->meta)) {
    case KIND_STRING: return check_string(w, h, err);
    case KIND_HASH:
    case KIND_TREE: return hash_check(w->st, w->t, h, w->stripe, &w->marks, err);
    case KIND_COUNTER: return check_counter(w, h);
    default: return FR_DAMAGED;
    }
}

static fr_status check_key(void *ctx, uint64_t slot) {
    walk *w = ctx;
    head h;
    fr_error err = {.text = ""};
    bool row = SLOT_CLASS(slot) == CLASS_ROW;
    fr_status status = row ? row_head(w->st, w->t, slot, &h) : block_head(w->t, slot, &h);
    if (status == FR_OK && !row) {
        heap_mark(&w->marks, w->st->s, h.off, SLOT_CLASS(slot), block_bytes(w->t, h.off, h.meta));
        w->report->blocks++;
        status = check_hashed(w, slot, &h);
        if (status == FR_OK) status = check_object(w, &h, &err);
    }
    if (status != FR_OK) {
        char text[FR_ERROR_TEXT];
        snprintf(text, sizeof text, "stripe %u: slot word %llx: %.400s", w->stripe, (unsigned long long)slot,
                 err.text[0] ? err.text : "names no possible block");
        judge(w, status, text);
        return FR_OK; /* go on: one finding must not hide others */
    }
    if (row) w->report->rows++;
    else w->report->keys++;
    if (META_KIND(h.meta) != KIND_COUNTER) tally(w, &h);
    return FR_OK;
}

/* --- counts ---------------------------------------------------------------------------------------------------------- */

static void compare_counts(walk *w) {
    segment *s = w->st->s;
    space_count *counts = SEG_AT(s, s->l.counts, space_count);
    for (uint64_t i = 0; i < (uint64_t)s->g.stripes * s->g.spaces; i++) {
        if (counts[i].keys == w->keys[i] && counts[i].expires == w->expires[i]) continue;
        char text[FR_ERROR_TEXT];
        snprintf(text, sizeof text, "stripe %u, space %u: %llu keys are counted (%llu with expiry), %llu exist (%llu)",
                 (unsigned)(i / s->g.spaces), (unsigned)(i % s->g.spaces), (unsigned long long)counts[i].keys,
                 (unsigned long long)counts[i].expires, (unsigned long long)w->keys[i], (unsigned long long)w->expires[i]);
        if (!w->repair) {
            note(w, text);
            continue;
        }
        uint64_t at = s->l.counts + i * sizeof(space_count);
        txn_put(w->t, at, w->keys[i]);
        txn_put(w->t, at + 8, w->expires[i]);
    }
}

/* --- everything ------------------------------------------------------------------------------------------------------ */

static fr_status verify_stripe(walk *w, uint32_t stripe, fr_error *err) {
    uint64_t root = w->st->s->l.latches + stripe * w->st->s->l.stripe_bytes + offsetof(struct stripe, root);
    w->stripe = stripe;
    fr_status status = index_check(w->st->s, root, &w->marks, check_key, w, err);
    if (status == FR_OK) status = tree_check_trash(w->st, w->t, stripe, &w->marks, err);
    if (status == FR_OK && ld8(&segment_stripe(w->st->s, stripe)->clock) & 1) {
        snprintf(err->text, sizeof err->text, "stripe %u has an odd clock", stripe);
        status = FR_DAMAGED;
    }
    return status;
}

static fr_status verify_under_latches(store *st, txn *t, void *ctx) {
    walk *w = ctx;
    fr_error err = {.text = ""};
    w->t = t;
    w->stopped = FR_OK;
    size_t cells = (size_t)st->s->g.stripes * st->s->g.spaces;
    if (!heap_marks_init(&w->marks, st->s)) return FR_NOSPACE;
    w->keys = calloc(2 * cells, sizeof *w->keys);
    if (!w->keys) {
        heap_marks_free(&w->marks);
        return FR_NOSPACE;
    }
    w->expires = w->keys + cells;
    *w->report = (verify_report){.pages = 0};
    fr_status status = FR_OK;
    for (uint32_t i = 0; i < st->s->g.stripes; i++) {
        status = verify_stripe(w, i, &err);
        judge(w, status, err.text);
    }
    judge(w, table_check(st, &w->marks, &err), err.text);
    if (w->report->findings == 0) judge(w, heap_check(st->s, &w->marks, &err), err.text);
    compare_counts(w);
    w->report->pages = segment_super(st->s)->pool_used;
    free(w->keys);
    heap_marks_free(&w->marks);
    return w->stopped;
}

fr_status store_verify(store *st, bool repair, verify_report *out, fr_error *err) {
    stripe_set all;
    walk w = {.st = st, .report = out, .repair = repair};
    store_all_stripes(st, &all);
    if (repair) segment_forgive(st->s);
    fr_status status = store_write(st, clock_boot_ms(), UINT64_MAX, &all, verify_under_latches, &w, err);
    if (status != FR_OK) *out = (verify_report){.pages = 0}; /* the walk did not come to its end */
    if (out->findings == 0) return status;
    snprintf(err->text, sizeof err->text, "%llu findings, the first: %.400s", (unsigned long long)out->findings, out->first);
    return err->status = FR_DAMAGED;
}
