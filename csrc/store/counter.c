/* counter.c - see counter.h. */
#include "store/counter.h"

#include "store/table.h"

/* --- the cell, lock-free ------------------------------------------------------------------------------------------- */

fr_status counter_get(segment *s, uint64_t cell, int64_t *out) {
    counter_body *c = SEG_AT(s, cell, counter_body);
    for (int i = 0; i < READ_ATTEMPTS; i++) {
        uint64_t state = ld8(&c->cell.state);
        if (!cell_ready(s, c, state)) return FR_RETRY;
        *out = (int64_t)ld8(&c->cell.value);
        if (ld8(&c->cell.state) == state) return FR_OK;
    }
    return FR_RETRY;
}

fr_status counter_set(segment *s, uint64_t cell, int64_t v) {
    counter_body *c = SEG_AT(s, cell, counter_body);
    cell16 seen = {ld8(&c->cell.value), ld8(&c->cell.state)};
    do {
        if (!cell_ready(s, c, seen.state)) return FR_RETRY;
    } while (!cell_change(s, cell, &seen, v));
    return FR_OK;
}

/* The pair must be one: a dead cell keeps a value that a revived counter never had. */
fr_status counter_cas(segment *s, uint64_t cell, int64_t expected, int64_t desired, bool *done) {
    counter_body *c = SEG_AT(s, cell, counter_body);
    cell16 seen = cell_read(c);
    for (;;) {
        if (!cell_ready(s, c, seen.state)) return FR_RETRY;
        *done = (int64_t)seen.value == expected;
        if (!*done || cell_change(s, cell, &seen, desired)) return FR_OK;
    }
}

/* --- inside a transaction ------------------------------------------------------------------------------------------- */

/* As this transaction sees it: it may have flushed the database itself, or meet a flush that is being applied. */
static uint64_t present_epoch(txn *t) { return txn_ld(t, offsetof(superblock, counter_epoch)); }

/* A frozen cell still holds the old truth, or its new one is in the journal that the reader overlays. */
fr_status counter_live(txn *t, uint64_t off, uint64_t meta, bool *live, int64_t *value, uint64_t *version) {
    uint64_t cell = off + block_body_at(meta), expiry = META_FLAGS(meta) & FLAG_EXPIRY ? txn_ld(t, off + BLOCK_EXPIRY) : 0;
    uint64_t state = txn_ld(t, cell + 8);
    *value = (int64_t)txn_ld(t, cell);
    *version = state;
    *live = !(state & CELL_DEAD) && txn_ld(t, cell + 16) == present_epoch(t) &&
            !(expiry != NO_EXPIRY && expiry <= t->now_ms);
    return t->mode == TXN_READ && txn_ld(t, cell + 8) != state ? FR_RETRY : FR_OK;
}

static void count_change(txn *t, const key *k, bool was, bool had_expiry, bool is, bool has_expiry) {
    key_count(t, k->stripe, SPACE_COUNTERS, is - was, (is && has_expiry) - (was && had_expiry));
}

fr_status counter_value(txn *t, const found *f, int64_t *out) {
    uint64_t cell = f->counter + block_body_at(f->meta);
    cell16 seen;
    if (t->mode == TXN_READ) {
        *out = (int64_t)txn_ld(t, cell);
        return FR_OK;
    }
    fr_status status = txn_freeze(t, cell, &seen);
    *out = (int64_t)seen.value;
    return status;
}

fr_status counter_write(store *st, txn *t, const key *k, const found *f, const int64_t *value, bool dead, uint64_t expiry) {
    uint64_t cell = f->counter + block_body_at(txn_ld(t, f->counter + BLOCK_META));
    uint64_t epoch = present_epoch(t), old_expiry = txn_ld(t, f->counter + BLOCK_EXPIRY);
    (void)st;
    cell16 seen;
    fr_status status = txn_freeze(t, cell, &seen);
    if (status != FR_OK) return status;
    /* An expired counter is still counted; one that is dead or of an old epoch is not. */
    bool counted = !(seen.state & CELL_DEAD) && txn_ld(t, cell + 16) == epoch;
    count_change(t, k, counted, old_expiry != NO_EXPIRY, !dead, expiry != NO_EXPIRY);
    uint64_t bits = (dead ? CELL_DEAD : 0) | (!dead && expiry != NO_EXPIRY ? CELL_EXPIRES : 0);
    txn_put(t, cell, value ? (uint64_t)*value : seen.value);
    txn_put(t, cell + 16, epoch);
    txn_put(t, f->counter + BLOCK_EXPIRY, dead ? NO_EXPIRY : expiry);
    txn_put_kind(t, cell + 8, ((seen.state & ~CELL_STATE) + CELL_VERSION_STEP) | bits, RECORD_CELL);
    key_changed(t, k);
    txn_wake(t, counter_wait_hash(cell));
    return FR_OK;
}

/* --- opening -------------------------------------------------------------------------------------------------------- */

static fr_status create(store *st, txn *t, const key *k, int64_t initial, uint64_t expiry, uint64_t *cell) {
    uint64_t expires = expiry != NO_EXPIRY ? CELL_EXPIRES : 0;
    counter_body body = {{(uint64_t)initial, CELL_VERSION_STEP | expires}, present_epoch(t)};
    span part = {(const char *)&body, sizeof body};
    draft d = {.kind = KIND_COUNTER, .tag = INDEX_TAG(k->hash), .space = SPACE_COUNTERS, .expiry = expiry,
               .reserve_expiry = true, .name = k->name, .parts = &part, .part_count = 1};
    uint64_t slot;
    fr_status status = block_write(t, k->stripe, &d, &slot);
    if (status != FR_OK) return status;
    *cell = SLOT_OFF(slot) + block_body_at(txn_ld(t, SLOT_OFF(slot) + BLOCK_META));
    key_count(t, k->stripe, SPACE_COUNTERS, 1, expires != 0);
    key_changed(t, k);
    return index_insert(t, st->s->l.latches + k->stripe * st->s->l.stripe_bytes + offsetof(struct stripe, root), k->stripe, slot);
}

/* The integer that an ordinary string of this name holds goes into the counter, and the string goes. */
static fr_status convert(store *st, txn *t, const key *k, const found *f, int64_t *initial, uint64_t *expiry) {
    if (f->kind != KIND_STRING) return FR_WRONGTYPE;
    if (!(META_FLAGS(f->meta) & FLAG_INT)) return FR_NOTINT;
    *initial = (int64_t)txn_ld(t, f->off + block_body_at(f->meta));
    *expiry = f->expiry;
    bool existed;
    t->multi = true; /* the string's slot and the counter's */
    return key_delete(st, t, k, &existed);
}

fr_status counter_open(store *st, txn *t, const key *k, int64_t initial, uint64_t *cell) {
    found f;
    uint64_t expiry = NO_EXPIRY;
    if (k->db != 0) return txn_fail(t, FR_DBRANGE, "counters by handle belong to database 0");
    if (k->table != NO_TABLE) return FR_ROWONLY;
    fr_status status = key_write_begin(st, t, k, &f);
    if (status != FR_OK) return status;
    if (f.exists && f.kind != KIND_COUNTER) {
        status = convert(st, t, k, &f, &initial, &expiry);
        if (status != FR_OK) return status;
        if ((status = key_find(st, t, k, &f)) != FR_OK) return status;
    }
    if (!f.exists && (status = table_allows(st, t, k)) != FR_OK) return status;
    if (f.counter == 0) status = create(st, t, k, initial, expiry, cell);
    else *cell = f.counter + block_body_at(txn_ld(t, f.counter + BLOCK_META));
    if (status != FR_OK || f.exists) return status;
    if (f.counter) return counter_write(st, t, k, &f, &initial, false, expiry);
    return FR_OK;
}
