/* store.c - see store.h: opening, and the two loops through which every operation runs. */
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/keyspace.h"
#include "store/table.h"

#define WRITE_ATTEMPTS 32768 /* relocks, growth steps (16384 in the largest segment) and evictions of one operation together */

#define OPEN_ATTEMPTS 64 /* each of them meets a file of another boot: none but the first should */

/* --- opening -------------------------------------------------------------------------------------------------------- */

fr_status store_over(segment *s, store **out, fr_error *err) {
    store *st = calloc(1, sizeof *st);
    if (!st) return err->status = FR_NOSPACE;
    st->s = s;
    store_catalogue_guard();
    fr_status status = store_catalogue(st, err);
    if (status != FR_OK) {
        store_catalogue_free(st);
        free(st);
        return status;
    }
    *out = st;
    return FR_OK;
}

/* One look at the path. FR_RETRY: another boot's file was there, and is there no longer. */
static fr_status open_once(const char *path, const segment_options *o, store **out, bool *created, char **aside,
                           fr_error *err) {
    segment *s;
    fr_status status = segment_open(path, o, &s, created, err);
    if (status != FR_OK) return status;
    if (segment_other_boot(s)) status = boot_adopt(s, aside, err);
    else status = store_over(s, out, err);
    if (status != FR_OK) segment_close(s);
    return status;
}

static void tell_aside(const char *aside, fr_error *err) {
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, "; the damaged one of another boot is now %s", aside);
}

fr_status store_open(const char *path, const segment_options *o, store **out, bool *created, fr_error *err) {
    char *aside = NULL;
    fr_status status = FR_RETRY;
    for (int i = 0; status == FR_RETRY && i < OPEN_ATTEMPTS; i++) status = open_once(path, o, out, created, &aside, err);
    if (status == FR_OK) {
        (*out)->aside = aside;
        return FR_OK;
    }
    if (status == FR_RETRY) {
        snprintf(err->text, sizeof err->text, "%s: files of another boot took its place %d times over", path, OPEN_ATTEMPTS);
        status = FR_SYSTEM;
    }
    if (aside) tell_aside(aside, err);
    free(aside);
    return err->status = status;
}

void store_close(store *st) {
    store_catalogue_free(st);
    segment_close(st->s);
    free(st->aside);
    free(st);
}

void store_all_stripes(const store *st, stripe_set *set) {
    stripe_set_clear(set);
    for (uint32_t i = 0; i < st->s->g.stripes; i++) stripe_set_add(set, i);
}

/* --- the loops ------------------------------------------------------------------------------------------------------ */

static fr_status run_once(store *st, txn *t, uint64_t now_ms, uint64_t deadline_ms, const stripe_set *stripes, store_op op,
                          void *ctx) {
    fr_status status = txn_begin_write(t, now_ms, deadline_ms, stripes);
    if (status != FR_OK) return status;
    status = op(st, t, ctx);
    if (status == FR_OK) return txn_commit(t);
    txn_abort(t);
    return status;
}

/* Dead rows first, or the dead of every kind when no row but a space id is wanted; when none are left it really is full,
 * and the refusal that the operation left in err (table.h) stands. */
static fr_status reclaim_dead(store *st, uint64_t now_ms, uint64_t deadline_ms, bool *tried, fr_error *err) {
    bool table = err->status == FR_TABLEFULL;
    if (*tried) {
        if (table) stat_add(st->s, STAT_table_full_refusals, 1);
        return err->status;
    }
    *tried = true;
    char kept[FR_ERROR_TEXT];
    memcpy(kept, err->text, sizeof kept);
    if (table) table_reclaim_all(st, now_ms);
    else room_reclaim_all(st, now_ms, deadline_ms, err);
    memcpy(err->text, kept, sizeof kept);
    return FR_OK;
}

/* So many attempts only a damaged segment needs, or a pool that others empty as fast as it is filled. */
static fr_status no_end(fr_status status, fr_error *err) {
    err->text[0] = 0;
    if (status == FR_GROW) return FR_OOM;
    snprintf(err->text, sizeof err->text, "an operation did not come to an end in %d attempts", WRITE_ATTEMPTS);
    return FR_DAMAGED;
}

fr_status store_write(store *st, uint64_t now_ms, uint64_t wait_ms, stripe_set *stripes, store_op op, void *ctx,
                      fr_error *err) {
    txn t;
    room r = {0};
    bool reclaimed = false;
    uint64_t deadline = now_ms + (wait_ms == UINT64_MAX ? segment_latch_timeout(st->s) : wait_ms);
    fr_status status = FR_RETRY;
    txn_init(&t, st->s, err);
    for (int i = 0; i < WRITE_ATTEMPTS; i++) {
        t.want = stripes;
        status = run_once(st, &t, now_ms, deadline, stripes, op, ctx);
        if (FR_LIKELY(status < FR_RETRY || status > FR_RELOCK)) break;
        fr_status more = FR_OK;
        r.lacking = t.lacking;
        r.unspilled = t.unspilled;
        if (status == FR_GROW) more = room_make(st, &r, now_ms, deadline, stripes, err);
        else if (status == FR_RECLAIM) more = reclaim_dead(st, now_ms, deadline, &reclaimed, err);
        if (more != FR_OK) {
            status = more;
            break;
        }
    }
    txn_end(&t);
    if (FR_UNLIKELY(status != FR_OK && st->s->lost)) { /* what else went wrong did so in zeros */
        err->text[0] = 0;
        status = FR_LOST;
    }
    if (FR_UNLIKELY(status >= FR_RETRY && status <= FR_RELOCK)) status = no_end(status, err);
    return err->status = status;
}

static fr_status read_once(store *st, txn *t, uint64_t now_ms, store_op op, void *ctx) {
    txn_begin_read(t, now_ms);
    fr_status status = op(st, t, ctx);
    if (status == FR_OK) return txn_commit(t);
    /* What looked like an answer may have been a race: it counts only when the reads hold. */
    if (status != FR_RETRY && status != FR_BUSYREAD && txn_commit(t) != FR_OK) status = FR_RETRY;
    t->mode = TXN_CLOSED;
    return FR_UNLIKELY(st->s->lost) ? FR_LOST : status;
}

fr_status store_read(store *st, uint64_t now_ms, const stripe_set *stripes, store_op op, void *ctx, fr_error *err) {
    txn t;
    fr_status status = FR_RETRY;
    txn_init(&t, st->s, err);
    for (int i = 0; i < READ_ATTEMPTS; i++) {
        status = read_once(st, &t, now_ms, op, ctx);
        if (FR_LIKELY(status != FR_RETRY)) break;
        stat_add(st->s, STAT_read_retries, 1);
    }
    txn_end(&t);
    if (status != FR_RETRY && status != FR_BUSYREAD) return err->status = status;
    if (stripes && !st->s->readonly) {
        stripe_set latched = *stripes;
        return store_write(st, now_ms, UINT64_MAX, &latched, op, ctx, err);
    }
    stat_add(st->s, STAT_read_busy, 1);
    return err->status = FR_BUSYREAD;
}
