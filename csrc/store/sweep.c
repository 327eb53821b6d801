/* sweep.c - the other end of a row's life: reclaim of expired, flushed and dropped rows, and the check of whole tables.
 *
 * Reclaim walks the images, not the index: a dead row does not move, and live rows that do are none of its business.
 * What it sees without a latch only says where to look; the row is judged again, and removed, under its stripe's latch.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shm/index.h"
#include "store/table.h"

#define STRETCH 4096u /* images of a table that one round looks at, when nobody waits for a row of it */

static _Thread_local const table *full_table; /* of this thread's last FR_RECLAIM */

fr_status table_is_full(txn *t, const table *tb) {
    full_table = tb;
    txn_fail(t, FR_TABLEFULL, "table '%s' is full: all of its %llu rows are in use", tb->name,
             (unsigned long long)tb->capacity);
    return FR_RECLAIM;
}

fr_status table_spaces_full(txn *t) {
    txn_fail(t, FR_OOM, "every space id waits for flushed keys to be reclaimed");
    return FR_RECLAIM;
}

/* --- one row ------------------------------------------------------------------------------------------------------ */

static uint64_t space_of(const store *st, const table *tb) {
    return ld8(SEG_AT(st->s, tb->descriptor + TABLE_SPACE, uint64_t));
}

static bool row_dead(const store *st, const table *tb, const head *h, uint64_t now_ms) {
    if (h->expiry != NO_EXPIRY && h->expiry <= now_ms) return true;
    return tb->state == TABLE_DROPPED || META_SPACE(h->meta) != space_of(st, tb);
}

typedef struct removal {
    const table *tb;
    uint64_t off, hash;
    unsigned freed;
    bool expired;
} removal;

static uint64_t root_at(const segment *s, uint32_t stripe) {
    return s->l.latches + stripe * s->l.stripe_bytes + offsetof(struct stripe, root);
}

/* An absent key's version is its bucket's last-delete stamp. */
static void stamp(txn *t, uint32_t stripe, uint64_t hash) {
    uint64_t at = t->s->l.latches + stripe * t->s->l.stripe_bytes + offsetof(struct stripe, stamp);
    txn_put(t, at + (hash >> 32 & (STAMPS - 1)) * 8, txn_version(t, stripe));
}

static fr_status remove_row(store *st, txn *t, const removal *r, const head *h, uint64_t slot_off, uint64_t slot) {
    key k = {.hash = r->hash, .stripe = (uint32_t)r->hash & (r->tb->table_stripes - 1), .space = META_SPACE(h->meta),
             .table = (int32_t)r->tb->number};
    found f = {.kind = KIND_ROW,
               .slot_off = slot_off,
               .slot = slot,
               .off = h->off,
               .version = h->version,
               .meta = h->meta,
               .expiry = h->expiry};
    stamp(t, k.stripe, k.hash);
    return row_delete(st, t, &k, &f);
}

/* Under the latch: is the image still named, and its row still dead? */
static fr_status remove_dead(store *st, txn *t, void *ctx) {
    removal *r = ctx;
    probe p;
    uint64_t slot, slot_off;
    uint32_t stripe = (uint32_t)r->hash & (r->tb->table_stripes - 1);
    r->freed = 0;
    if (!index_probe(t, root_at(t->s, stripe), INDEX_TAG(r->hash), &p)) return FR_OK;
    while ((slot = index_next(t, &p, &slot_off)) != 0) {
        head h;
        if (SLOT_CLASS(slot) != CLASS_ROW || SLOT_OFF(slot) != r->off) continue;
        fr_status status = row_head(st, t, slot, &h);
        if (status != FR_OK || !row_dead(st, r->tb, &h, t->now_ms)) return status;
        r->freed = 1;
        r->expired = h.expiry != NO_EXPIRY && h.expiry <= t->now_ms;
        return remove_row(st, t, r, &h, slot_off, slot);
    }
    return FR_OK;
}

/* --- a stretch of images ------------------------------------------------------------------------------------------ */

/* Looks at an image without a latch: does it seem to hold a dead row, and under which hash? */
static bool seems_dead(store *st, const table *tb, uint64_t off, uint64_t now_ms, uint64_t *hash) {
    char *name;
    size_t n;
    head h;
    txn t;
    fr_error err;
    bool dead = false;
    txn_init(&t, st->s, &err);
    txn_begin_read(&t, now_ms);
    txn_enter(&t, 0);
    if (row_head(st, &t, SLOT_MAKE(0, CLASS_ROW, off), &h) == FR_OK && row_dead(st, tb, &h, now_ms) &&
        (n = META_KLEN(h.meta), name = malloc(n + 1))) {
        dead = row_name(st, &t, &h, name, &n) == FR_OK;
        if (dead) *hash = key_hash(st->s, 1 + tb->number, (span){name, n});
        free(name);
    }
    txn_end(&t);
    return dead;
}

static unsigned reclaim_image(store *st, const table *tb, uint64_t image, uint64_t now_ms) {
    removal r = {.tb = tb, .off = tb->rows_off + image * tb->stride};
    stripe_set set;
    fr_error err;
    if (!seems_dead(st, tb, r.off, now_ms, &r.hash)) return 0;
    stripe_set_clear(&set);
    stripe_set_add(&set, (uint32_t)r.hash & (tb->table_stripes - 1));
    if (store_write(st, now_ms, UINT64_MAX, &set, remove_dead, &r, &err) != FR_OK || !r.freed) return 0;
    if (r.expired) stat_add(st->s, STAT_expired_keys, 1);
    return 1;
}

/* The table of a descriptor that is still the one this process remembers. */
static bool still_there(store *st, const table *tb) {
    fr_error ignored;
    store_catalogue(st, &ignored);
    return tb->number < st->table_count && st->tables[tb->number] == tb;
}

static unsigned sweep(store *st, const table *tb, uint64_t now_ms, uint64_t *cursor, uint64_t images, unsigned limit) {
    unsigned freed = 0;
    for (uint64_t seen = 0; seen < images && freed < limit; seen++) {
        uint64_t used = ld8(SEG_AT(st->s, tb->bitmap_off + *cursor / 64 * 8, uint64_t));
        if (used == 0 && *cursor % 64 == 0) *cursor += 63; /* a word of free images */
        else if (used >> (*cursor & 63) & 1) freed += reclaim_image(st, tb, *cursor, now_ms);
        if (++*cursor >= tb->images) {
            *cursor = 0;
            break;
        }
    }
    return freed;
}

/* --- a dropped table's end ---------------------------------------------------------------------------------------- */

static fr_status forget(store *st, txn *t, void *ctx) {
    table *tb = ctx;
    uint64_t word = st->s->l.tables + (uint64_t)tb->number * 8, version = offsetof(superblock, catalogue_version);
    if (!still_there(st, tb) || txn_ld(t, tb->descriptor + TABLE_ROWS) != 0) return FR_OK;
    uint64_t space = txn_ld(t, tb->descriptor + TABLE_SPACE);
    if (space < st->s->g.spaces) txn_put(t, st->s->l.spaces + space * 8, SPACE_FREE);
    txn_put(t, word, 0);
    fr_status status = pool_give(t, tb->descriptor, tb->pages);
    txn_put(t, version, txn_ld(t, version) + 1);
    t->multi = true;
    return status;
}

static void end_dropped(store *st, table *tb, uint64_t now_ms) {
    stripe_set all;
    fr_error err;
    if (tb->state != TABLE_DROPPED || ld8(SEG_AT(st->s, tb->descriptor + TABLE_ROWS, uint64_t)) != 0) return;
    store_all_stripes(st, &all);
    if (store_write(st, now_ms, UINT64_MAX, &all, forget, tb, &err) == FR_OK) store_catalogue(st, &err);
}

unsigned table_reclaim(store *st, table *tb, uint64_t now_ms, uint64_t *cursor, unsigned limit) {
    if (!still_there(st, tb)) return 0;
    if (*cursor >= tb->images) *cursor = 0;
    unsigned freed = sweep(st, tb, now_ms, cursor, tb->images, limit);
    if (still_there(st, tb)) end_dropped(st, tb, now_ms);
    return freed;
}

/* Can there be a dead row? Live rows without an expiry are as many as there are images in use, or they are not. */
static bool worth_a_look(store *st, const table *tb) {
    table_info info;
    if (tb->state == TABLE_DECLARING) return false;
    table_measure(st, tb, &info);
    return tb->state == TABLE_DROPPED || info.expires ||
           info.rows != ld8(SEG_AT(st->s, tb->descriptor + TABLE_ROWS, uint64_t));
}

/* All of a table that somebody wants a row of. None to be had: the insert will be refused. */
static unsigned relieve(store *st, const table *tb, uint64_t now_ms) {
    uint64_t from = 0, *refused = SEG_AT(st->s, tb->descriptor + TABLE_REFUSED, uint64_t);
    unsigned freed = worth_a_look(st, tb) ? sweep(st, tb, now_ms, &from, tb->images, UINT32_MAX) : 0;
    if (freed == 0) st8(refused, ld8(refused) + 1);
    return freed;
}

unsigned table_reclaim_all(store *st, uint64_t now_ms) {
    const table *full = full_table;
    unsigned freed = 0;
    fr_error ignored;
    full_table = NULL;
    store_catalogue(st, &ignored);
    for (uint32_t i = 0; i < st->table_count; i++) {
        table *tb = st->tables[i];
        if (tb && tb == full) freed += relieve(st, tb, now_ms);
        if (!tb || tb == full || !worth_a_look(st, tb)) continue;
        if (tb->sweep >= tb->images) tb->sweep = 0;
        freed += sweep(st, tb, now_ms, &tb->sweep, STRETCH, STRETCH);
        end_dropped(st, tb, now_ms);
    }
    return freed;
}

/* --- checks ------------------------------------------------------------------------------------------------------- */

/* One image, one owner: a slot word or a spare. */
typedef struct audit {
    store *st;
    txn *t;
    const table *tb;
    heap_marks *marks;
    uint8_t *named;     /* a bit an image */
    uint64_t rows, keys;
    uint32_t stripe;
    fr_error *err;
} audit;

static fr_status finding(const audit *a, const char *what, uint64_t n) {
    snprintf(a->err->text, sizeof a->err->text, "table '%s': %s %llu", a->tb->name, what, (unsigned long long)n);
    return a->err->status = FR_DAMAGED;
}

static fr_status name_image(audit *a, uint64_t image) {
    if (image >= a->tb->images) return finding(a, "there is no image", image);
    if (a->named[image / 8] >> (image & 7) & 1) return finding(a, "two owners name image", image);
    a->named[image / 8] |= (uint8_t)(1 << (image & 7));
    return FR_OK;
}

static fr_status audit_name(audit *a, const head *h) {
    char buf[KEY_MAX];
    size_t n = sizeof buf;
    uint64_t slot = txn_ld(a->t, h->off + 24);
    fr_status status = row_name(a->st, a->t, h, buf, &n);
    if (status != FR_OK) return status;
    uint64_t hash = key_hash(a->st->s, 1 + a->tb->number, (span){buf, n});
    if (((uint32_t)hash & (a->tb->table_stripes - 1)) != a->stripe)
        return finding(a, "a row is in a wrong stripe:", a->stripe);
    if (n <= ROW_NAME_INLINE) return FR_OK;
    uint64_t off = SLOT_OFF(slot);
    heap_mark(a->marks, a->st->s, off, SLOT_CLASS(slot), block_bytes(a->t, off, txn_ld(a->t, off + BLOCK_META)));
    return FR_OK;
}

static fr_status audit_slot(audit *a, uint64_t slot) {
    const table *tb = a->tb;
    head h;
    uint64_t off = SLOT_OFF(slot);
    if (SLOT_CLASS(slot) != CLASS_ROW || off < tb->rows_off || off >= tb->rows_off + tb->images * tb->stride)
        return FR_OK;
    fr_status status = row_head(a->st, a->t, slot, &h);
    if (status == FR_OK) status = name_image(a, (off - tb->rows_off) / tb->stride);
    if (status == FR_OK) status = audit_name(a, &h);
    if (status != FR_OK) return status;
    a->rows++;
    a->keys += META_SPACE(h.meta) == space_of(a->st, tb);
    return status;
}

static fr_status audit_stripe(audit *a) {
    uint64_t words[QUAD_SLOTS], offs[QUAD_SLOTS], walk = 0;
    while (walk != UINT64_MAX) {
        index_walk(a->t, root_at(a->st->s, a->stripe), &walk, words, offs);
        for (uint32_t i = 0; i < QUAD_SLOTS; i++) {
            fr_status status = words[i] ? audit_slot(a, words[i]) : FR_OK;
            if (status != FR_OK) return status;
        }
    }
    return FR_OK;
}

/* The bitmap says what slot words and spares say, and rows counts the former. */
static fr_status audit_counts(audit *a) {
    table_info info;
    for (uint64_t i = 0; i < a->tb->images; i++) {
        uint64_t word = txn_ld(a->t, a->tb->bitmap_off + i / 64 * 8);
        if ((word >> (i & 63) & 1) != (a->named[i / 8] >> (i & 7) & 1))
            return finding(a, "the bitmap is wrong about image", i);
    }
    uint64_t rows = txn_ld(a->t, a->tb->descriptor + TABLE_ROWS);
    if (rows != a->rows || rows > a->tb->capacity)
        return finding(a, "the descriptor has a wrong number of rows,", rows);
    table_measure(a->st, a->tb, &info);
    return info.rows == a->keys ? FR_OK : finding(a, "the stripes count a wrong number of rows,", info.rows);
}

/* Descriptors never change: what this process remembers is still there. */
static fr_status audit_blank(const audit *a) {
    const table *tb = a->tb;
    for (uint64_t at = ROW_COLUMNS_AT; tb->blank && at < tb->stride; at += 8) {
        uint64_t word = txn_ld(a->t, tb->blank_off + at);
        if (memcmp(&word, tb->blank + at, 8) != 0) return finding(a, "the defaults have changed at byte", at);
    }
    return FR_OK;
}

static fr_status audit_table(audit *a) {
    const table *tb = a->tb;
    fr_status status = audit_blank(a);
    heap_mark(a->marks, a->st->s, tb->descriptor, CLASS_RUN, tb->pages * a->st->s->g.page_size);
    for (uint32_t i = 0; status == FR_OK && i < tb->table_stripes; i++)
        status = name_image(a, txn_ld(a->t, tb->spares_off + 8 * (uint64_t)i));
    for (a->stripe = 0; status == FR_OK && a->stripe < tb->table_stripes; a->stripe++) status = audit_stripe(a);
    return status == FR_OK ? audit_counts(a) : status;
}

fr_status table_check(store *st, heap_marks *m, fr_error *err) {
    txn t;
    fr_status status = store_catalogue(st, err);
    txn_init(&t, st->s, err);
    txn_begin_read(&t, 0);
    txn_enter(&t, 0);
    for (uint32_t i = 0; status == FR_OK && i < st->table_count; i++) {
        audit a = {.st = st, .t = &t, .tb = st->tables[i], .marks = m, .err = err};
        if (!a.tb) continue;
        a.named = calloc(a.tb->images / 8 + 1, 1);
        status = a.named ? audit_table(&a) : FR_NOSPACE;
        free(a.named);
    }
    txn_end(&t);
    return status;
}
