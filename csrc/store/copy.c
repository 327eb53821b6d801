/* copy.c - a whole table at once: a copy of every row as of one instant, and which images are rows now.
 *
 * Goes over the images in the order they lie, by the bitmap, which is what a copy of millions of rows costs least. That
 * is sound only while no transaction of the table's stripes commits: then every image in use is a row's or a spare
 * (table.h, invariant 1). Each commit changes jstate of the stripe whose journal it uses, for good (its txnid), and, when
 * it holds several stripes, seq of each. So what every stripe of the table says before must be what it says afterwards.
 *
 * Leaves out: rows one by one (row.c), and what a copy is made into.
 */
#include <stdio.h>
#include <stdlib.h>

#include "store/image.h"

#define COPY_ATTEMPTS 4

char *copy_reserve(copy_buffer *b, size_t n) {
    if (b->n + n > b->room) {
        size_t room = 2 * (b->n + n) + 4096;
        char *p = realloc(b->p, room);
        if (!p) return NULL;
        b->p = p;
        b->room = room;
    }
    return b->p + b->n;
}

/* --- which images are rows ---------------------------------------------------------------------------------------- */

typedef struct pass {
    const table *tb;
    uint64_t now_ms, rows;
    uint32_t space;
    uint8_t *spare; /* a bit an image */
    copy_buffer *images, *names;
} pass;

static bool pass_begin(store *st, const table *tb, uint64_t now_ms, pass *p) {
    p->tb = tb;
    p->now_ms = now_ms;
    p->rows = 0;
    p->space = (uint32_t)ld8(SEG_AT(st->s, tb->descriptor + TABLE_SPACE, uint64_t));
    p->spare = calloc(1, (tb->images + 7) / 8);
    if (!p->spare) return false;
    for (uint32_t i = 0; i < tb->table_stripes; i++) {
        uint64_t image = ld8(SEG_AT(st->s, tb->spares_off, uint64_t) + i);
        if (image < tb->images) p->spare[image / 8] |= (uint8_t)(1u << (image & 7));
    }
    return true;
}

static bool is_row(store *st, const pass *p, uint64_t image) {
    uint64_t off = p->tb->rows_off + image * p->tb->stride;
    if (p->spare[image / 8] >> (image & 7) & 1) return false;
    uint64_t meta = ld8(SEG_AT(st->s, off + BLOCK_META, uint64_t)), expiry = ld8(SEG_AT(st->s, off + BLOCK_EXPIRY, uint64_t));
    if (META_KIND(meta) != KIND_ROW || META_SPACE(meta) != p->space) return false;
    return expiry == NO_EXPIRY || expiry > p->now_ms;
}

static uint64_t images_used(store *st, const table *tb, uint64_t word) {
    return ld8(SEG_AT(st->s, tb->bitmap_off, uint64_t) + word);
}

void table_mask(store *st, const table *tb, uint64_t now_ms, uint8_t *live) {
    pass p;
    memset(live, 0, tb->images);
    if (!pass_begin(st, tb, now_ms, &p)) return;
    for (uint64_t w = 0; w < (tb->images + 63) / 64; w++) {
        for (uint64_t rest = images_used(st, tb, w); rest; rest &= rest - 1) {
            uint64_t image = w * 64 + (uint64_t)__builtin_ctzll(rest);
            if (image < tb->images) live[image] = is_row(st, &p, image);
        }
    }
    free(p.spare);
}

/* --- copying ------------------------------------------------------------------------------------------------------ */

static fr_status copy_row(store *st, txn *t, pass *p, uint64_t image) {
    head h;
    size_t n = KEY_MAX;
    uint64_t off = p->tb->rows_off + image * p->tb->stride;
    fr_status status = row_head(st, t, SLOT_MAKE(0, CLASS_ROW, off), &h);
    if (status != FR_OK) return status;
    n = META_KLEN(h.meta);
    char *to = copy_reserve(p->images, p->tb->stride), *name = to ? copy_reserve(p->names, 4 + n) : NULL;
    if (!name) return txn_fail(t, FR_NOSPACE, "no memory for a copy of table '%s'", p->tb->name);
    copy_out(to, SEG_AT(st->s, off, char), p->tb->stride);
    memcpy(name, &(uint32_t){(uint32_t)n}, 4);
    status = row_name(st, t, &h, name + 4, &n);
    p->images->n += p->tb->stride;
    p->names->n += 4 + n;
    p->rows++;
    return status;
}

static fr_status copy_rows(store *st, txn *t, pass *p) {
    const table *tb = p->tb;
    fr_status status = FR_OK;
    p->images->n = p->names->n = 0;
    for (uint64_t w = 0; status == FR_OK && w < (tb->images + 63) / 64; w++) {
        for (uint64_t rest = images_used(st, tb, w); status == FR_OK && rest; rest &= rest - 1) {
            uint64_t image = w * 64 + (uint64_t)__builtin_ctzll(rest);
            if (image < tb->images && is_row(st, p, image)) status = copy_row(st, t, p, image);
        }
    }
    return status;
}

/* What a stripe says of its commits; false while one is being applied. */
typedef struct rest {
    uint64_t seq, jstate;
} rest;

static bool stripe_rest(store *st, uint32_t number, rest *r) {
    const stripe *s = segment_stripe(st->s, number);
    *r = (rest){ld8(&s->seq), ld8(&s->jstate)};
    return !(r->seq & 1) && (r->jstate & 0xffff) == 0;
}

static bool still_so(store *st, const table *tb, const rest *before) {
    rest now;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < tb->table_stripes; i++)
        if (!stripe_rest(st, i, &now) || now.seq != before[i].seq || now.jstate != before[i].jstate) return false;
    return true;
}

static fr_status gone(const table *tb, fr_error *err) {
    snprintf(err->text, sizeof err->text, "no such table '%s'", tb->name);
    return err->status = FR_NOTABLE;
}

/* One try without a latch: FR_RETRY when a commit came in between. */
static fr_status copy_once(store *st, pass *p, rest *before, fr_error *err) {
    txn t;
    fr_status status = FR_OK;
    for (uint32_t i = 0; i < p->tb->table_stripes; i++)
        if (!stripe_rest(st, i, &before[i])) return FR_RETRY;
    if (!pass_begin(st, p->tb, p->now_ms, p)) return err->status = FR_NOSPACE;
    txn_init(&t, st->s, err);
    txn_begin_read(&t, p->now_ms);
    txn_enter(&t, 0);
    t.bloom = 0; /* at rest there is nothing to overlay */
    status = copy_rows(st, &t, p);
    txn_end(&t);
    free(p->spare);
    if (st->s->lost) return FR_LOST;
    return still_so(st, p->tb, before) ? status : FR_RETRY;
}

static fr_status copy_latched(store *st, txn *t, void *ctx) {
    pass *p = ctx;
    fr_status status = store_catalogue(st, t->err);
    if (status != FR_OK) return status;
    if (p->tb->state != TABLE_LIVE) return gone(p->tb, t->err);
    if (!pass_begin(st, p->tb, p->now_ms, p)) return FR_NOSPACE;
    status = copy_rows(st, t, p);
    free(p->spare);
    return status;
}

static fr_status too_busy(store *st, const table *tb, fr_error *err) {
    snprintf(err->text, sizeof err->text,
             "table '%s' changes faster than its %llu bytes can be copied as of one instant%s: copy it row by row", tb->name,
             (unsigned long long)(tb->images * tb->stride), st->s->readonly ? " without the right to write" : "");
    return err->status = FR_BUSYREAD;
}

fr_status table_copy(store *st, const table *tb, uint64_t now_ms, copy_buffer *images, copy_buffer *names, uint64_t *rows,
                     fr_error *err) {
    pass p = {.tb = tb, .now_ms = now_ms, .images = images, .names = names};
    rest *before = malloc(tb->table_stripes * sizeof *before);
    stripe_set set;
    err->text[0] = 0;
    fr_status status = before ? store_catalogue(st, err) : FR_NOSPACE;
    if (status == FR_OK && tb->state != TABLE_LIVE) status = gone(tb, err);
    if (status == FR_OK) status = FR_RETRY;
    for (int i = 0; status == FR_RETRY && i < COPY_ATTEMPTS; i++) status = copy_once(st, &p, before, err);
    free(before);
    if (status == FR_RETRY) {
        if (st->s->readonly || tb->images * tb->stride > COPY_LATCHED) return too_busy(st, tb, err);
        stripe_set_clear(&set);
        for (uint32_t i = 0; i < tb->table_stripes; i++) stripe_set_add(&set, i);
        status = store_write(st, now_ms, UINT64_MAX, &set, copy_latched, &p, err);
    }
    *rows = p.rows;
    return err->status = status;
}
