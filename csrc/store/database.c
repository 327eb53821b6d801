/* database.c - whole databases: iteration, counts, a random key, flushing and swapping (keyspace.h's second half).
 *
 * CURSOR of keyspace_scan: 1 + (stripe << 24 | walk), walk = prefix << 4 | quad as index_walk keeps it; 0 = start and end.
 * Rows of a table of few stripes live in the low stripes; the walk goes over all stripes all the same.
 *
 * FLUSH gives the database a fresh space id and marks the old one stale, in one commit; what bears a stale id is absent to
 * everybody and is reclaimed by writers that meet it and by store_tick. Space ids come back when no key bears them.
 */
#include <stdlib.h>

#include "shm/index.h"
#include "store/counter.h"
#include "store/keyspace.h"
#include "store/owner.h"
#include "store/table.h"

#define WALK_BITS 24

/* --- iteration ------------------------------------------------------------------------------------------------------ */

/* Keys of one quad, copied out before anything is believed. */
typedef struct quad_keys {
    uint32_t n;
    size_t used;
    struct {
        size_t at, length;
        enum kind kind;
        uint64_t expiry, version;
    } key[QUAD_SLOTS];
    char *bytes; /* QUAD_SLOTS * (KEY_MAX + TABLE_NAME_MAX + 1) at most, grown as needed */
    size_t room;
} quad_keys;

static char *reserve(quad_keys *q, size_t n) {
    if (!q->bytes || q->used + n > q->room) { /* a first key's name may be empty */
        size_t room = 2 * (q->used + n) + 4096;
        char *grown = realloc(q->bytes, room);
        if (!grown) return NULL;
        q->bytes = grown;
        q->room = room;
    }
    return q->bytes + q->used;
}

static uint64_t space_word(const segment *s, uint32_t space) {
    return space < s->g.spaces ? ld8(SEG_AT(s, s->l.spaces, uint64_t) + space) : 0;
}

/* Is a key of this space to be shown, and which table is it of? */
static bool visible(store *st, txn *t, uint32_t db, int32_t wanted, uint32_t space, table **tb) {
    uint64_t word = space < t->s->g.spaces ? txn_ld(t, t->s->l.spaces + (uint64_t)space * 8) : 0;
    *tb = NULL;
    if (SPACE_KIND(word) == SPACE_TABLE) {
        *tb = table_at(st, SPACE_NUMBER(word));
        return *tb && db == 0 && (wanted < 0 || wanted == (int32_t)SPACE_NUMBER(word));
    }
    if (wanted >= 0) return false;
    if (space == SPACE_COUNTERS) return db == 0;
    return txn_ld(t, offsetof(superblock, db) + db * 8) == space;
}

static fr_status take_name(store *st, txn *t, const head *h, const table *tb, quad_keys *q, size_t *length) {
    size_t n = META_KLEN(h->meta), prefix = tb ? tb->name_n + 1 : 0;
    char *to = reserve(q, n + prefix);
    if (!to) return FR_NOSPACE;
    *length = n + prefix;
    if (!tb) {
        memcpy(to, SEG_AT(t->s, h->off + block_name_at(h->meta), const char), n);
        return FR_OK;
    }
    memcpy(to, tb->name, tb->name_n);
    to[tb->name_n] = ':';
    return row_name(st, t, h, to + prefix, &n);
}

static fr_status take_key(store *st, txn *t, uint32_t db, int32_t wanted, uint64_t slot, quad_keys *q) {
    head h;
    table *tb;
    bool live = true;
    fr_status status = SLOT_CLASS(slot) == CLASS_ROW ? row_head(st, t, slot, &h) : block_head(t, slot, &h);
    if (status != FR_OK) return status;
    if (!visible(st, t, db, wanted, META_SPACE(h.meta), &tb)) return FR_OK;
    if ((SLOT_CLASS(slot) == CLASS_ROW) != (tb != NULL)) return txn_unbelievable(t, "a key is in a space of another kind");
    if (META_KIND(h.meta) == KIND_COUNTER) {
        int64_t value;
        status = counter_live(t, h.off, h.meta, &live, &value, &h.version);
        if (status != FR_OK) return status;
    }
    if (META_FLAGS(h.meta) & FLAG_OWNER && META_KIND(h.meta) == KIND_STRING) live = owners_live(t, &h);
    if (!live || (h.expiry != NO_EXPIRY && h.expiry <= t->now_ms)) return FR_OK;
    size_t length;
    if ((status = take_name(st, t, &h, tb, q, &length)) != FR_OK) return status;
    if (t->mode == TXN_READ && txn_ld(t, h.off) != h.version && META_KIND(h.meta) != KIND_COUNTER) return FR_RETRY;
    q->key[q->n].at = q->used;
    q->key[q->n].length = length;
    q->key[q->n].kind = META_KIND(h.meta);
    q->key[q->n].expiry = h.expiry;
    q->key[q->n++].version = h.version;
    q->used += length;
    return FR_OK;
}

static uint64_t root_at(const segment *s, uint32_t stripe) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, root);
}

/* One quad, once. The slot words are re-read after the names were copied. */
static fr_status read_quad(store *st, txn *t, uint32_t db, int32_t wanted, uint32_t stripe, uint64_t *walk, quad_keys *q) {
    uint64_t words[QUAD_SLOTS], offs[QUAD_SLOTS];
    q->n = 0;
    q->used = 0;
    txn_enter(t, stripe);
    index_walk(t, root_at(t->s, stripe), walk, words, offs);
    for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
        if (words[i] == 0) continue;
        fr_status status = take_key(st, t, db, wanted, words[i], q);
        if (status != FR_OK) return status;
        if (t->mode == TXN_READ && txn_ld(t, offs[i]) != words[i]) return FR_RETRY;
    }
    return t->mode != TXN_READ || guard_holds(t->s, &t->in) ? FR_OK : FR_RETRY;
}

static fr_status read_quad_again(store *st, txn *t, uint32_t db, int32_t wanted, uint32_t stripe, uint64_t *walk, quad_keys *q) {
    uint64_t from = *walk;
    for (int i = 0; i < READ_ATTEMPTS; i++) {
        *walk = from;
        fr_status status = read_quad(st, t, db, wanted, stripe, walk, q);
        if (status != FR_RETRY) return status;
        stat_add(t->s, STAT_read_retries, 1);
    }
    return FR_BUSYREAD;
}

static fr_status give(const quad_keys *q, scan_each each, void *ctx) {
    for (uint32_t i = 0; i < q->n; i++) {
        fr_status status = each(ctx, (span){q->bytes + q->key[i].at, q->key[i].length}, q->key[i].kind, q->key[i].expiry,
                                q->key[i].version);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

fr_status keyspace_scan(store *st, txn *t, uint32_t db, int32_t table_number, uint64_t *cursor, uint64_t count,
                        scan_each each, void *ctx) {
    uint64_t at = *cursor ? *cursor - 1 : 0, given = 0, walk = at & ((UINT64_C(1) << WALK_BITS) - 1);
    uint32_t stripe = (uint32_t)(at >> WALK_BITS);
    quad_keys q = {.bytes = NULL};
    fr_status status = FR_OK;
    for (uint64_t quads = 0; stripe < t->s->g.stripes && given < count && quads / 64 <= count; quads++) {
        status = read_quad_again(st, t, db, table_number, stripe, &walk, &q);
        if (status == FR_OK) status = give(&q, each, ctx);
        if (status != FR_OK) break;
        given += q.n;
        if (walk == UINT64_MAX) {
            stripe++;
            walk = 0;
        }
    }
    free(q.bytes);
    *cursor = stripe < t->s->g.stripes ? 1 + ((uint64_t)stripe << WALK_BITS | walk) : 0;
    return status;
}

fr_status keyspace_random(store *st, txn *t, uint32_t db, uint64_t seed, scan_each each, void *ctx) {
    uint64_t keys, expires;
    keyspace_count(st, t, db, &keys, &expires);
    if (keys == 0) return FR_OK;
    quad_keys q = {.bytes = NULL};
    fr_status status = FR_OK;
    uint32_t mask = t->s->g.stripes - 1;
    for (int i = 0; i < 128; i++) { /* random quads; then the first one from a random place on */
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t quad = seed >> 16 & 15 & (t->s->g.page_size / 256 - 1);
        uint64_t walk = (seed >> 20 << 4 & ((UINT64_C(1) << WALK_BITS) - 1)) | quad;
        status = read_quad_again(st, t, db, NO_TABLE, (uint32_t)(seed >> 52) & mask, &walk, &q);
        if (status != FR_OK || q.n) break;
    }
    for (uint64_t i = 0, cursor = 0; status == FR_OK && q.n == 0 && i <= mask; i++, cursor = 0) {
        uint32_t stripe = (uint32_t)(seed >> 52 & mask) ^ (uint32_t)i;
        while (status == FR_OK && q.n == 0 && cursor != UINT64_MAX) {
            status = read_quad_again(st, t, db, NO_TABLE, stripe, &cursor, &q);
        }
    }
    if (status == FR_OK && q.n) {
        uint32_t i = (uint32_t)(seed >> 33) % q.n;
        status = each(ctx, (span){q.bytes + q.key[i].at, q.key[i].length}, q.key[i].kind, q.key[i].expiry, q.key[i].version);
    }
    free(q.bytes);
    return status;
}

/* --- counts --------------------------------------------------------------------------------------------------------- */

static uint64_t count_at(const segment *s, uint32_t stripe, uint32_t space) {
    return s->l.counts + ((uint64_t)stripe * s->g.spaces + space) * sizeof(space_count);
}

static void add_space(txn *t, uint32_t space, uint64_t *keys, uint64_t *expires) {
    if (space >= t->s->g.spaces) return;
    for (uint32_t i = 0; i < t->s->g.stripes; i++) {
        *keys += txn_ld(t, count_at(t->s, i, space));
        *expires += txn_ld(t, count_at(t->s, i, space) + 8);
    }
}

void keyspace_count(store *st, txn *t, uint32_t db, uint64_t *keys, uint64_t *expires) {
    *keys = *expires = 0;
    if (t->mode == TXN_READ) t->bloom = 0; /* a sum over stripes is no snapshot */
    add_space(t, (uint32_t)ld8(&segment_super(st->s)->db[db]), keys, expires);
    if (db != 0) return;
    add_space(t, SPACE_COUNTERS, keys, expires);
    for (uint32_t i = 0; i < t->s->g.spaces; i++) {
        if (SPACE_KIND(space_word(t->s, i)) == SPACE_TABLE) add_space(t, i, keys, expires);
    }
}

/* --- flushing and swapping -------------------------------------------------------------------------------------------- */

static bool space_empty(txn *t, uint32_t space) {
    uint64_t keys = 0, expires = 0;
    add_space(t, space, &keys, &expires);
    return keys == 0;
}

/* A space id that no key bears; FR_RECLAIM when all wait for reclaim. */
static fr_status fresh_space(txn *t, uint32_t *out) {
    for (uint32_t i = SPACE_COUNTERS + 1; i < t->s->g.spaces; i++) {
        uint64_t word = txn_ld(t, t->s->l.spaces + i * 8);
        if (SPACE_KIND(word) == SPACE_FREE || (SPACE_KIND(word) == SPACE_STALE && space_empty(t, i))) {
            *out = i;
            return FR_OK;
        }
    }
    for (uint32_t i = 1; i < SPACE_COUNTERS; i++) { /* ids that databases began with come back too */
        uint64_t word = txn_ld(t, t->s->l.spaces + i * 8);
        if (SPACE_KIND(word) == SPACE_STALE && space_empty(t, i)) {
            *out = i;
            return FR_OK;
        }
    }
    return table_spaces_full(t);
}

/* The word at `holder` names a space: gives it a fresh one of the same meaning. Nothing to do when it is empty. */
static fr_status renew(txn *t, uint64_t holder) {
    uint32_t old = (uint32_t)txn_ld(t, holder), fresh = 0;
    if (old >= t->s->g.spaces || space_empty(t, old)) return FR_OK;
    fr_status status = fresh_space(t, &fresh);
    if (status != FR_OK) return status;
    uint64_t word = txn_ld(t, t->s->l.spaces + old * 8);
    txn_put(t, t->s->l.spaces + fresh * 8, word);
    txn_put(t, t->s->l.spaces + old * 8, SPACE_MAKE(SPACE_STALE, SPACE_NUMBER(word)));
    txn_put(t, holder, fresh);
    return FR_OK;
}

static void flush_counters(txn *t) {
    uint64_t at = offsetof(superblock, counter_epoch);
    if (space_empty(t, SPACE_COUNTERS)) return;
    txn_put(t, at, txn_ld(t, at) + 1);
    for (uint32_t i = 0; i < t->s->g.stripes; i++) {
        if (txn_ld(t, count_at(t->s, i, SPACE_COUNTERS))) txn_put(t, count_at(t->s, i, SPACE_COUNTERS), 0);
        if (txn_ld(t, count_at(t->s, i, SPACE_COUNTERS) + 8)) txn_put(t, count_at(t->s, i, SPACE_COUNTERS) + 8, 0);
    }
}

static fr_status flush_one(store *st, txn *t, uint32_t db) {
    fr_status status = renew(t, offsetof(superblock, db) + db * 8);
    if (status != FR_OK || db != 0) return status;
    flush_counters(t);
    for (uint32_t i = 0; i < st->table_count && status == FR_OK; i++) {
        table *tb = table_at(st, i);
        if (tb) status = renew(t, tb->descriptor + 8);
    }
    return status;
}

fr_status keyspace_flush(store *st, txn *t, int32_t db) {
    fr_status status = store_catalogue(st, t->err);
    t->multi = true;
    t->wakes = TXN_WAKES + 1;
    if (db >= 0) return status == FR_OK ? flush_one(st, t, (uint32_t)db) : status;
    for (uint32_t i = 0; i < DATABASES && status == FR_OK; i++) status = flush_one(st, t, i);
    return status;
}

fr_status table_clear(store *st, txn *t, const table *tb, uint64_t *rows) {
    uint64_t expires = 0, holder = tb->descriptor + TABLE_SPACE;
    fr_status status = store_catalogue(st, t->err);
    *rows = 0;
    if (status != FR_OK) return status;
    if (tb->state != TABLE_LIVE) return txn_fail(t, FR_NOTABLE, "no such table '%s'", tb->name);
    add_space(t, (uint32_t)txn_ld(t, holder), rows, &expires);
    t->multi = true;
    t->wakes = TXN_WAKES + 1;
    return renew(t, holder);
}

fr_status keyspace_swap(store *st, txn *t, uint32_t a, uint32_t b) {
    (void)st;
    uint64_t at_a = offsetof(superblock, db) + a * 8, at_b = offsetof(superblock, db) + b * 8;
    uint64_t space_a = txn_ld(t, at_a), space_b = txn_ld(t, at_b);
    if (a >= DATABASES || b >= DATABASES) return FR_DBRANGE;
    if (a == b) return FR_OK;
    if (space_a >= t->s->g.spaces || space_b >= t->s->g.spaces)
        return txn_fail(t, FR_DAMAGED, "a database names space %llu of %u",
                        (unsigned long long)(space_a < t->s->g.spaces ? space_b : space_a), t->s->g.spaces);
    txn_put(t, at_a, space_b);
    txn_put(t, at_b, space_a);
    txn_put(t, t->s->l.spaces + space_a * 8, SPACE_MAKE(SPACE_DB, b));
    txn_put(t, t->s->l.spaces + space_b * 8, SPACE_MAKE(SPACE_DB, a));
    t->multi = true;
    t->wakes = TXN_WAKES + 1;
    return FR_OK;
}
