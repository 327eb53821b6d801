/* boot.c - a segment file that another boot left on a disk is taken into this one, or set aside.
 *
 * Nobody of that boot lives, what the disk kept is no prefix of the store order, and the boot clock, in which all times
 * are, began anew. So: recover what the dead left, check everything, and if nothing is wrong write a copy in which every
 * time is moved from the old boot clock to the new one, by way of the wall clock, and give it the name (shm/replace.h).
 * If anything is wrong the file is renamed to <path>.damaged-<time>, and the caller goes on as if there had been none.
 *
 * Moved are: the expiry of keys, counters and rows, and since when locks and vars have their owners. Not moved: numbers that
 * users keep in values. Versions, counters, tables and fencing tokens go on.
 *
 * Invariants
 * 1. The file under the name is the old one, or the whole new one, or absent, at whatever instant this is killed; the old
 *    one's times are never changed, so none is moved twice.
 * 2. Only the holder of BYTE_CREATE is here; who waited for it finds another file and opens that (FR_RETRY).
 */
#include <stdio.h>
#include <stdlib.h>

#include "shm/index.h"
#include "shm/replace.h"
#include "store/keyspace.h"
#include "store/owner.h"
#include "store/table.h"

typedef struct walk {
    store *st;
    txn *t;
    replacement *r;
    heap_marks marks;
} walk;

/* --- times -------------------------------------------------------------------------------------------------------- */

/* The new time follows from the old file's, so that a walk may be repeated. */
static void move_word(walk *w, uint64_t off) { *replace_word(w->r, off) = replace_moved(w->r, txn_ld(w->t, off)); }

static void move_owners(walk *w, const head *h) {
    uint64_t at = h->off + block_body_at(h->meta) + FR_ALIGN((uint64_t)META_VLEN(h->meta), 8);
    uint64_t counts = txn_ld(w->t, at), n = OWNERS_HOLDERS(counts) + OWNERS_WAITERS(counts);
    for (uint64_t i = 0; i < n; i++) move_word(w, at + 8 + i * sizeof(owner) + offsetof(owner, since_ms));
}

static fr_status move_key(void *ctx, uint64_t slot) {
    walk *w = ctx;
    head h;
    bool row = SLOT_CLASS(slot) == CLASS_ROW;
    fr_status status = row ? row_head(w->st, w->t, slot, &h) : block_head(w->t, slot, &h);
    if (status != FR_OK) return status;
    if (h.expiry != NO_EXPIRY) move_word(w, h.off + BLOCK_EXPIRY);
    if (!row && META_FLAGS(h.meta) & FLAG_OWNER) move_owners(w, &h);
    return FR_OK;
}

static fr_status move_all(store *st, txn *t, void *ctx) {
    walk *w = ctx;
    w->t = t;
    if (!heap_marks_init(&w->marks, st->s)) return FR_NOSPACE;
    fr_status status = FR_OK;
    for (uint32_t i = 0; status == FR_OK && i < st->s->g.stripes; i++) {
        uint64_t root = st->s->l.latches + i * st->s->l.stripe_bytes + offsetof(struct stripe, root);
        status = index_check(st->s, root, &w->marks, move_key, w, t->err);
    }
    heap_marks_free(&w->marks);
    return status;
}

static fr_status move_times(store *st, replacement *r, fr_error *err) {
    stripe_set all;
    walk w = {.st = st, .r = r};
    store_all_stripes(st, &all);
    return store_write(st, clock_boot_ms(), UINT64_MAX, &all, move_all, &w, err);
}

/* --- one file ----------------------------------------------------------------------------------------------------- */

static fr_status check_and_copy(segment *s, replacement *r, fr_error *err) {
    verify_report report;
    store *st;
    fr_status status = segment_register(s, err);
    if (status != FR_OK) return status;
    segment_reap(s);
    status = store_over(s, &st, err);
    if (status != FR_OK) return status;
    status = store_verify(st, false, &report, err);
    if (status == FR_OK) status = replace_copy(r, err);
    if (status == FR_OK) status = move_times(st, r, err);
    if (status == FR_OK) status = replace_publish(r, err);
    store_catalogue_free(st);
    free(st);
    return status;
}

/* A latch of a slot that cannot be: nobody can recover it. */
static bool latch_of_nobody(segment *s) {
    for (uint32_t i = 0; i < s->l.latch_count; i++) {
        uint32_t word = ld4(&segment_stripe(s, i)->latch);
        if (word != 0 && (LATCH_SLOT(word) == 0 || LATCH_SLOT(word) >= s->g.slots)) return true;
    }
    return false;
}

/* Anything else may be this process's own trouble (memory, descriptors), and then the file stays. */
static bool is_damage(segment *s, fr_status status) {
    return status == FR_DAMAGED || (status == FR_LATCHED && latch_of_nobody(s));
}

fr_status boot_adopt(segment *s, char **aside, fr_error *err) {
    replacement *r;
    if (s->readonly) {
        snprintf(err->text, sizeof err->text,
                 "the segment was made before the last boot: open it for writing once, then it can be read");
        return err->status = FR_READONLY;
    }
    fr_status status = replace_begin(s, &r, err);
    if (status != FR_OK) return status;
    status = check_and_copy(s, r, err);
    if (is_damage(s, status)) {
        free(*aside);
        *aside = NULL;
        status = replace_aside(r, aside, err);
    }
    replace_end(r);
    return status == FR_OK ? FR_RETRY : status;
}
