/* hot_watch.c - keys that are read again and again and seldom change: hot.h's watch.
 *
 * A watch holds when the key's slot word, its block's version, its stripe's seq and its database's space are what they were.
 * Under an unchanged, even seq the index has not changed its shape, so the slot word is still where the key is looked for;
 * with the same word and version it is the same block with the same bytes; with the same space no flush came between. What can
 * become absent without a store (what expires, what dies with its owner) has no exact watch.
 *
 * The order of the loads matters: the slot word before the version (then the block was the key's when the word was read), seq
 * after both (a split in between would have stepped it).
 */
#include "hot_try.h"
#include "store/owner.h"

typedef struct watch_call {
    key k;
    hot_sink *sink;
    hot_watch *w;
    bool found;
} watch_call;

static void remember(store *st, txn *t, const key *k, const found *f, hot_watch *w) {
    const superblock *super = segment_super(st->s);
    *w = (hot_watch){.slot_at = SEG_AT(st->s, f->slot_off, uint64_t), .slot = f->slot, .version = f->version,
                     .block = SEG_AT(st->s, f->off, uint64_t), .seq_at = &segment_stripe(st->s, k->stripe)->seq,
                     .seq = t->in.seq, .space_at = &super->db[k->db], .space = k->space};
    head h = {f->off, f->version, f->meta, f->expiry};
    bool lasts = f->kind == KIND_STRING && f->expiry == NO_EXPIRY && !(META_FLAGS(f->meta) & FLAG_OWNER && owners_mortal(t, &h));
    w->exact = t->mode == TXN_READ && !(t->in.seq & 1) && t->in.jstripe == NO_STRIPE && lasts;
}

static fr_status get_op(store *st, txn *t, void *ctx) {
    watch_call *c = ctx;
    found f;
    value v;
    c->sink->to = NULL;
    if (c->k.table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_lookup(st, t, &c->k, &f);
    c->found = f.exists;
    if (status != FR_OK || !f.exists) return status;
    if (f.kind != KIND_STRING) return FR_WRONGTYPE;
    head h = {f.off, f.version, f.meta, f.expiry};
    if ((status = block_value(t, &h, &v)) != FR_OK) return status;
    remember(st, t, &c->k, &f, c->w);
    return deliver(st->s, c->sink, &v);
}

static fr_status again_op(store *st, txn *t, void *ctx) {
    watch_call *c = ctx;
    found f;
    fr_status status = key_lookup(st, t, &c->k, &f);
    if (status != FR_OK) return status;
    c->found = f.exists && f.kind == KIND_STRING && f.version == c->w->version && f.off == (uint64_t)((char *)c->w->block - (char *)st->s->base);
    if (c->found) remember(st, t, &c->k, &f, c->w);
    return FR_OK;
}

fr_status hot_watch_get(store *st, uint32_t db, span name, hot_sink *sink, bool *found, hot_watch *w, bool wait,
                        fr_error *err) {
    watch_call c = {.sink = sink, .w = w};
    w->exact = false;
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, clock_boot_ms(), get_op, &c, wait, err);
    *found = c.found;
    return status;
}

fr_status hot_watch_again(store *st, uint32_t db, span name, hot_watch *w, bool *same, bool wait, fr_error *err) {
    watch_call c = {.w = w};
    fr_status status = route(st, db, name, &c.k, err);
    if (status == FR_OK) status = read_one(st, &c.k, clock_boot_ms(), again_op, &c, wait, err);
    *same = c.found;
    return status;
}
