/* table.c - the catalogue: which tables there are, as the segment says it and as this process remembers it.
 *
 * Sections: a table's plan; descriptors, read and written; the process's copy; declaring; dropping; facts. Rows are in
 * row.c, reclaim and checks in sweep.c. The catalogue changes under all stripes; catalogue_version is the last word
 * such a commit stores, so whoever has read it has seen the rest.
 */
#include "store/column.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TABLE_MAGIC UINT64_C(0x42415446) /* "FTAB" */
#define CAPACITY_MAX (UINT64_C(1) << 31)
#define HEAD_WORDS 21u /* before the columns */
#define REFRESH_ATTEMPTS 64

typedef struct column_disk {
    char name[64];
    uint64_t type; /* enum column_type:32 | size:32 */
} column_disk;

/* --- a table's plan ----------------------------------------------------------------------------------------------- */

/* Everything about a table's shape follows from capacity, columns and the segment's stripes. */
typedef struct plan {
    uint64_t images, stride, table_stripes;
    uint64_t blank, spares, bitmap, rows; /* from the descriptor's start */
    uint64_t bytes, pages;
} plan;

static uint64_t stripes_for(const segment *s, uint64_t capacity) {
    uint64_t n = 1;
    while (n * 2 <= capacity / 16 && n * 2 <= s->g.stripes) n *= 2;
    return n;
}

static void plan_table(const segment *s, uint64_t capacity, const schema *sc, uint64_t blank_bytes, plan *p) {
    p->table_stripes = stripes_for(s, capacity);
    p->images = capacity + p->table_stripes;
    p->stride = schema_stride(sc);
    p->blank = HEAD_WORDS * 8 + sc->columns * sizeof(column_disk);
    p->spares = p->blank + blank_bytes;
    p->bitmap = p->spares + p->table_stripes * 8;
    p->rows = FR_ALIGN(p->bitmap + (p->images + 63) / 64 * 8, 16);
    p->bytes = p->rows + p->images * p->stride;
    p->pages = (p->bytes + s->g.page_size - 1) / s->g.page_size;
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static fr_status damaged(fr_error *err, uint32_t number, const char *what) {
    snprintf(err->text, sizeof err->text, "the descriptor of table number %u %s", number, what);
    return err->status = FR_DAMAGED;
}

static fr_status read_columns(const char *disk, uint32_t columns, uint32_t number, schema *sc, fr_error *err) {
    fr_error why;
    for (uint32_t i = 0; i < columns; i++) {
        column_disk d;
        char type[32];
        memcpy(&d, disk + i * sizeof d, sizeof d);
        column c = {.type = (enum column_type)(d.type & 0xffffffff), .size = (uint32_t)(d.type >> 32)};
        if (c.type >= COLUMN_TYPE_COUNT || d.name[63]) return damaged(err, number, "has an impossible column");
        span text = {type, column_type_text(&c, type)};
        if (schema_add(sc, (span){d.name, strlen(d.name)}, text, &why) != FR_OK || sc->column[i].size != c.size)
            return damaged(err, number, "has an impossible column");
    }
    return FR_OK;
}

/* Does what the descriptor says agree with what its capacity and columns make of it? */
static bool plan_agrees(const uint64_t *w, const plan *p, uint64_t off, const segment *s) {
    return w[3] == p->images && w[4] == p->stride && w[5] == p->table_stripes && w[7] == off + p->rows &&
           w[8] == off + p->bitmap && w[1] < s->g.spaces && w[6] <= w[2] && w[9] >> 32 <= TABLE_DROPPED;
}

/* descriptor_read believes nothing that it has not checked against the file's size and the plan. */
static fr_status descriptor_read(segment *s, uint32_t number, uint64_t off, table *tb, fr_error *err) {
    uint64_t w[HEAD_WORDS];
    char columns[COLUMNS_MAX * sizeof(column_disk)];
    plan p;
    if (off % s->g.page_size || !segment_holds(s, off, sizeof w))
        return damaged(err, number, "lies outside the segment");
    for (uint32_t i = 0; i < HEAD_WORDS; i++) w[i] = ld8(SEG_AT(s, off, uint64_t) + i);
    uint64_t count = w[9] & 0xffffffff, bytes = w[0] >> 32, bare = HEAD_WORDS * 8 + count * sizeof(column_disk);
    if ((w[0] & 0xffffffff) != TABLE_MAGIC) return damaged(err, number, "is not there");
    if (count == 0 || count > COLUMNS_MAX || w[2] == 0 || w[2] > CAPACITY_MAX || w[10] > TABLE_NAME_MAX ||
        bytes < bare || !segment_holds(s, off, bytes)) {
        return damaged(err, number, "has impossible sizes");
    }
    copy_out(columns, SEG_AT(s, off + HEAD_WORDS * 8, char), count * sizeof(column_disk));
    *tb = (table){.number = number, .descriptor = off, .capacity = w[2], .name_n = (uint32_t)w[10]};
    memcpy(tb->name, &w[11], tb->name_n);
    fr_status status = read_columns(columns, (uint32_t)count, number, &tb->schema, err);
    if (status != FR_OK) return status;
    plan_table(s, tb->capacity, &tb->schema, bytes - bare, &p);
    if ((bytes > bare && bytes - bare != p.stride) || !schema_name_ok((span){tb->name, tb->name_n}) || !plan_agrees(w, &p, off, s) ||
        !segment_holds(s, off, p.bytes)) {
        return damaged(err, number, "contradicts itself");
    }
    tb->blank_off = bytes > bare ? off + p.blank : 0;
    tb->state = (uint32_t)(w[9] >> 32);
    tb->birth = w[19];
    tb->pages = p.pages;
    tb->images = p.images;
    tb->stride = p.stride;
    tb->table_stripes = (uint32_t)p.table_stripes;
    tb->rows_off = off + p.rows;
    tb->bitmap_off = off + p.bitmap;
    tb->spares_off = off + p.spares;
    return FR_OK;
}

/* What a new row of column c holds, from the blank, if the column can hold it. */
static bool read_preset(column *c, const char *blank) {
    char why[COLUMN_WHY];
    uint16_t n;
    value v = column_of_image(c, blank);
    if (!column_is_text(c)) {
        c->preset.bits = v.u;
        return c->type == COLUMN_BOOL ? v.u <= 1 : c->type != COLUMN_FLOAT64 || v.d == v.d;
    }
    memcpy(&n, blank + c->offset, 2);
    return n == v.n && column_read(c, (span){v.p, v.n}, &c->preset, why) == FR_OK;
}

/* Copies the blank to `to`, where it stays; what is no column there is nothing. */
static fr_status read_blank(segment *s, table *tb, char *to, fr_error *err) {
    tb->blank = to;
    copy_out(to, SEG_AT(s, tb->blank_off, char), tb->stride);
    memset(to, 0, ROW_COLUMNS_AT);
    for (uint32_t i = 0; i < tb->schema.columns; i++)
        if (!read_preset(&tb->schema.column[i], to)) return damaged(err, tb->number, "has an impossible default");
    return FR_OK;
}

/* A new table as its declarer wants it. */
typedef struct declaration {
    span name;
    uint64_t capacity;
    const schema *sc;
    char *blank;       /* NULL: nothing but zeros */
    table *tb;         /* the outcome */
    bool created;      /* by this call */
    uint32_t number;   /* where it was published, and */
    uint64_t birth;    /* which one it is */
    uint64_t keys;     /* ordinary keys under its prefix */
    uint64_t cursor;
} declaration;

static void write_head(segment *s, const declaration *d, const plan *p, uint64_t off, uint64_t space) {
    struct {
        uint64_t w[HEAD_WORDS];
        column_disk column[COLUMNS_MAX];
    } image = {{0}, {{{0}, 0}}};
    uint64_t bytes = HEAD_WORDS * 8 + d->sc->columns * sizeof(column_disk);
    uint64_t blank = d->blank ? p->stride : 0;
    uint64_t head[] = {(bytes + blank) << 32 | TABLE_MAGIC, space, d->capacity, p->images, p->stride, p->table_stripes, 0,
                       off + p->rows, off + p->bitmap, (uint64_t)TABLE_DECLARING << 32 | d->sc->columns, d->name.n};
    memcpy(image.w, head, sizeof head);
    memcpy(&image.w[11], d->name.p, d->name.n);
    image.w[19] = d->birth;
    for (uint32_t i = 0; i < d->sc->columns; i++) {
        const column *c = &d->sc->column[i];
        memcpy(image.column[i].name, c->name, c->name_n);
        image.column[i].type = (uint64_t)c->size << 32 | c->type;
    }
    fill(SEG_AT(s, off, char), &image, bytes);
    if (blank) fill(SEG_AT(s, off + p->blank, char), d->blank, blank);
}

/* Spares are images N, N + 1...; the bitmap has their bits, and no others. */
static void write_images(segment *s, const plan *p, uint64_t off, uint64_t capacity) {
    static const char zeros[512];
    uint64_t words = (p->images + 63) / 64;
    for (uint64_t i = 0; i < p->table_stripes; i++) st8(SEG_AT(s, off + p->spares, uint64_t) + i, capacity + i);
    for (uint64_t i = 0; i < words * 8; i += sizeof zeros)
        fill(SEG_AT(s, off + p->bitmap + i, char), zeros, words * 8 - i < sizeof zeros ? words * 8 - i : sizeof zeros);
    for (uint64_t w = capacity / 64; w < words; w++) {
        uint64_t below = capacity > w * 64 ? capacity - w * 64 : 0, end = p->images - w * 64;
        uint64_t used = end >= 64 ? UINT64_MAX : (UINT64_C(1) << end) - 1;
        st8(SEG_AT(s, off + p->bitmap, uint64_t) + w, used & ~((UINT64_C(1) << below) - 1));
    }
}

/* --- the process's copy ------------------------------------------------------------------------------------------- */

static pthread_mutex_t catalogue_mutex = PTHREAD_MUTEX_INITIALIZER; /* of this process's copies; refreshes are rare */

static void lock_catalogue(void) { pthread_mutex_lock(&catalogue_mutex); }
static void unlock_catalogue(void) { pthread_mutex_unlock(&catalogue_mutex); }
static void guard_forks(void) { pthread_atfork(lock_catalogue, unlock_catalogue, unlock_catalogue); }

/* A child that was forked while another thread refreshed must find whole copies and a free mutex. */
void store_catalogue_guard(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_forks);
}

static uint64_t table_word_at(const segment *s, uint32_t number) { return s->l.tables + (uint64_t)number * 8; }

static bool prepare(store *st, fr_error *err) {
    if (st->tables) return true;
    st->tables = calloc(2 * (size_t)st->s->g.tables, sizeof *st->tables);
    if (!st->tables) err->status = FR_NOSPACE;
    return st->tables != NULL;
}

/* What handles may still point at goes behind the live copies, where only store_catalogue_free looks. */
static void retire(store *st, uint32_t number) {
    table *tb = st->tables[number], **shelf = &st->tables[st->s->g.tables + number];
    if (!tb) return;
    tb->state = TABLE_DROPPED;
    tb->older = *shelf;
    *shelf = tb;
    __atomic_store_n(&st->tables[number], NULL, __ATOMIC_RELEASE);
}

/* A table's copy has its blank behind it. */
static table *take_room(store *st, uint64_t blank) {
    if (!st->spare || st->spare_blank < blank) return malloc(sizeof(table) + blank);
    table *tb = st->spare;
    st->spare = NULL;
    return tb;
}

static fr_status refresh_one(store *st, uint32_t number, fr_error *err) {
    table fresh, *have = st->tables[number];
    uint64_t off = ld8(SEG_AT(st->s, table_word_at(st->s, number), uint64_t));
    if (off == 0) {
        retire(st, number);
        return FR_OK;
    }
    fr_status status = descriptor_read(st->s, number, off, &fresh, err);
    if (status != FR_OK) return status;
    if (have && have->descriptor == off && have->birth == fresh.birth) {
        __atomic_store_n(&have->state, fresh.state, __ATOMIC_RELAXED);
        return FR_OK;
    }
    uint64_t blank = fresh.blank_off ? fresh.stride : 0;
    table *tb = take_room(st, blank);
    if (!tb) return err->status = FR_NOSPACE;
    *tb = fresh;
    if (blank && (status = read_blank(st->s, tb, (char *)(tb + 1), err)) != FR_OK) {
        free(tb);
        return status;
    }
    retire(st, number);
    __atomic_store_n(&st->tables[number], tb, __ATOMIC_RELEASE);
    return FR_OK;
}

static fr_status refresh(store *st, fr_error *err) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < st->s->g.tables; i++) {
        fr_status status = refresh_one(st, i, err);
        if (status != FR_OK) return status;
        if (st->tables[i]) count = i + 1;
    }
    st->table_count = count;
    return FR_OK;
}

/* A catalogue that moves while it is read looks damaged, so damage counts only when the version stood still. */
fr_status store_catalogue(store *st, fr_error *err) {
    const uint64_t *word = &segment_super(st->s)->catalogue_version;
    uint64_t version = ld8(word);
    if (FR_LIKELY(st->tables && version == st->catalogue_version)) return FR_OK;
    lock_catalogue();
    fr_status status = prepare(st, err) ? FR_RETRY : FR_NOSPACE;
    for (int i = 0; status == FR_RETRY && i < REFRESH_ATTEMPTS; i++) {
        version = ld8(word);
        fr_status seen = refresh(st, err);
        if (ld8(word) == version || seen == FR_NOSPACE) status = seen;
    }
    if (status == FR_OK) __atomic_store_n(&st->catalogue_version, version, __ATOMIC_RELEASE);
    unlock_catalogue();
    if (FR_LIKELY(!st->s->lost)) return status;
    err->text[0] = 0;
    return err->status = FR_LOST;
}

/* What a declarer publishes it must be able to remember. */
static bool take_spare(store *st, uint64_t blank) {
    lock_catalogue();
    if (!st->spare || st->spare_blank < blank) {
        free(st->spare);
        st->spare = malloc(sizeof *st->spare + blank);
        st->spare_blank = blank;
    }
    bool taken = st->spare != NULL;
    unlock_catalogue();
    return taken;
}

void store_catalogue_free(store *st) {
    free(st->spare);
    st->spare = NULL;
    for (uint32_t i = 0; st->tables && i < 2 * st->s->g.tables; i++) {
        for (table *tb = st->tables[i], *older; tb; tb = older) {
            older = tb->older;
            free(tb);
        }
    }
    free(st->tables);
    st->tables = NULL;
}

/* The table of this name in one of the states of mask. */
static table *find_in(store *st, span name, unsigned mask) {
    for (uint32_t i = 0; i < st->table_count; i++) {
        table *tb = st->tables[i];
        if (tb && (mask >> tb->state & 1) && span_eq((span){tb->name, tb->name_n}, name)) return tb;
    }
    return NULL;
}

table *table_find(store *st, span name) {
    fr_error ignored;
    store_catalogue(st, &ignored);
    return find_in(st, name, 1u << TABLE_LIVE);
}

table *table_at(store *st, uint32_t number) {
    fr_error ignored;
    store_catalogue(st, &ignored);
    if (number >= st->table_count) return NULL;
    table *tb = st->tables[number];
    return tb && tb->state == TABLE_LIVE ? tb : NULL;
}

fr_status table_allows(store *st, txn *t, const key *k) {
    if (FR_LIKELY(st->table_count == 0) || k->db != 0 || k->table != NO_TABLE) return FR_OK;
    const char *colon = memchr(k->full.p, ':', k->full.n < TABLE_NAME_MAX + 1 ? k->full.n : TABLE_NAME_MAX + 1);
    if (!colon) return FR_OK;
    table *tb = find_in(st, (span){k->full.p, (size_t)(colon - k->full.p)}, 1u << TABLE_DECLARING);
    return tb ? txn_fail(t, FR_TABLEKEYS, "table '%s' is being declared: no ordinary key may begin with its name",
                         tb->name)
              : FR_OK;
}

/* --- declaring ---------------------------------------------------------------------------------------------------- */

/* Every change of the catalogue ends with this; its record is the last, so its word is stored last. */
static void catalogue_moved(txn *t) {
    uint64_t at = offsetof(superblock, catalogue_version);
    txn_put(t, at, txn_ld(t, at) + 1);
    t->multi = true;
}

static void set_state(txn *t, const table *tb, enum table_state state) {
    txn_put(t, tb->descriptor + TABLE_STATE, (uint64_t)state << 32 | tb->schema.columns);
}

static bool space_unused(txn *t, uint32_t space) {
    uint64_t word = txn_ld(t, t->s->l.spaces + (uint64_t)space * 8);
    if (SPACE_KIND(word) == SPACE_FREE) return true;
    if (SPACE_KIND(word) != SPACE_STALE) return false;
    for (uint32_t i = 0; i < t->s->g.stripes; i++)
        if (txn_ld(t, t->s->l.counts + ((uint64_t)i * t->s->g.spaces + space) * sizeof(space_count))) return false;
    return true;
}

static fr_status find_place(txn *t, uint32_t *number, uint32_t *space) {
    for (*number = 0; *number < t->s->g.tables; ++*number)
        if (txn_ld(t, table_word_at(t->s, *number)) == 0) break;
    if (*number == t->s->g.tables)
        return txn_fail(t, FR_SCHEMA, "the segment was created for %u tables, and all are in use", t->s->g.tables);
    for (*space = SPACE_COUNTERS + 1; *space < t->s->g.spaces; ++*space)
        if (space_unused(t, *space)) return FR_OK;
    return table_spaces_full(t);
}

static fr_status publish(store *st, txn *t, declaration *d) {
    plan p;
    uint32_t space = 0;
    uint64_t off = 0;
    plan_table(st->s, d->capacity, d->sc, schema_blank(d->sc), &p);
    if (p.bytes > st->s->g.max_size - st->s->l.data) {
        return txn_fail(t, FR_OOM, "table '%.*s' needs %llu bytes, the segment has room for %llu", (int)d->name.n,
                        d->name.p, (unsigned long long)p.bytes,
                        (unsigned long long)(st->s->g.max_size - st->s->l.data));
    }
    fr_status status = find_place(t, &d->number, &space);
    if (status == FR_OK) status = pool_take(t, p.pages, &off);
    if (status != FR_OK) return status;
    d->birth = txn_ld(t, offsetof(superblock, catalogue_version)) + 1;
    write_head(st->s, d, &p, off, space);
    write_images(st->s, &p, off, d->capacity);
    txn_put(t, st->s->l.spaces + (uint64_t)space * 8, SPACE_MAKE(SPACE_TABLE, d->number));
    txn_put(t, table_word_at(st->s, d->number), off);
    catalogue_moved(t);
    d->created = true;
    return FR_OK;
}

static fr_status withdraw(txn *t, const table *tb) {
    uint64_t space = txn_ld(t, tb->descriptor + TABLE_SPACE);
    if (space < t->s->g.spaces) txn_put(t, t->s->l.spaces + space * 8, SPACE_FREE);
    txn_put(t, table_word_at(t->s, tb->number), 0);
    fr_status status = pool_give(t, tb->descriptor, tb->pages);
    catalogue_moved(t);
    return status;
}

/* Same schema and capacity, or the differences in words. */
static fr_status compare(txn *t, const table *tb, const declaration *d) {
    char text[400];
    bool columns = schema_differs(&tb->schema, d->sc, text, sizeof text);
    if (!columns && tb->capacity == d->capacity) return FR_OK;
    size_t n = strlen(text);
    if (tb->capacity != d->capacity && n < sizeof text) {
        snprintf(text + n, sizeof text - n, "%scapacity is %llu, not %llu", n ? ", " : "",
                 (unsigned long long)tb->capacity, (unsigned long long)d->capacity);
    }
    return txn_fail(t, FR_TABLEEXISTS, "table '%s' exists with another schema: %s", tb->name, text);
}

/* First step, under every stripe: attach to what is there, or publish it DECLARING. A declaration that its process left
 * half-done is taken over when it is the same, and withdrawn when it is not. */
static fr_status declare_begin(store *st, txn *t, void *ctx) {
    declaration *d = ctx;
    d->tb = NULL;
    d->created = false;
    fr_status status = store_catalogue(st, t->err);
    if (status != FR_OK) return status;
    table *tb = find_in(st, d->name, 1u << TABLE_LIVE);
    if (tb) {
        d->tb = tb;
        return compare(t, tb, d);
    }
    tb = find_in(st, d->name, 1u << TABLE_DECLARING);
    if (!tb) return publish(st, t, d);
    if (compare(t, tb, d) != FR_OK) return (status = withdraw(t, tb)) == FR_OK ? publish(st, t, d) : status;
    d->number = tb->number;
    d->birth = tb->birth;
    d->created = true;
    return FR_OK;
}

/* Second step, without any latch: how many ordinary keys begin with the name? New ones are refused by now
 * (table_allows). */
static fr_status count_key(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    declaration *d = ctx;
    (void)kind, (void)expiry, (void)version;
    d->keys += name.n > d->name.n && name.p[d->name.n] == ':' && memcmp(name.p, d->name.p, d->name.n) == 0;
    return FR_OK;
}

static fr_status count_some(store *st, txn *t, void *ctx) {
    declaration *d = ctx;
    uint64_t cursor = d->cursor, keys = d->keys;
    fr_status status = keyspace_scan(st, t, 0, NO_TABLE, &cursor, 256, count_key, d);
    if (status == FR_OK) d->cursor = cursor;
    else d->keys = keys;
    return status;
}

static fr_status count_all(store *st, declaration *d, uint64_t now_ms, fr_error *err) {
    stripe_set all;
    fr_status status;
    store_all_stripes(st, &all);
    d->cursor = d->keys = 0;
    do status = store_read(st, now_ms, &all, count_some, d, err);
    while (status == FR_OK && d->cursor != 0);
    return status;
}

/* Third step: live, or gone. FR_RETRY when somebody else withdrew the declaration meanwhile: the caller starts over. */
static fr_status declare_end(store *st, txn *t, void *ctx) {
    declaration *d = ctx;
    fr_status status = store_catalogue(st, t->err);
    if (status != FR_OK) return status;
    table *tb = d->number < st->table_count ? st->tables[d->number] : NULL;
    if (!tb || tb->birth != d->birth) {
        d->tb = NULL;
        return FR_OK;
    }
    d->tb = tb;
    if (tb->state != TABLE_DECLARING) {
        d->created = false;
        return FR_OK;
    }
    if (d->keys) return withdraw(t, tb);
    set_state(t, tb, TABLE_LIVE);
    catalogue_moved(t);
    return FR_OK;
}

/* Takes back what declare_begin published, when the keys could not be counted. */
static void abandon(store *st, declaration *d, uint64_t now_ms) {
    fr_error ignored;
    stripe_set all;
    if (!d->created) return;
    d->keys = 1;
    store_all_stripes(st, &all);
    store_write(st, now_ms, UINT64_MAX, &all, declare_end, d, &ignored);
}

static fr_status refuse_keys(const declaration *d, fr_error *err) {
    snprintf(err->text, sizeof err->text, "%llu ordinary key%s already begin%s with '%.*s:'",
             (unsigned long long)d->keys, d->keys == 1 ? "" : "s", d->keys == 1 ? "s" : "", (int)d->name.n, d->name.p);
    return err->status = FR_TABLEKEYS;
}

static fr_status check_declaration(const declaration *d, fr_error *err) {
    char what[48];
    err->text[0] = '\0';
    if (!schema_name_ok(d->name)) {
        snprintf(err->text, sizeof err->text, "'%s' is no table name: letters, digits, '_', '.' and '-', at most %u",
                 schema_shown(d->name, what), TABLE_NAME_MAX);
    } else if (d->capacity == 0 || d->capacity > CAPACITY_MAX) {
        snprintf(err->text, sizeof err->text, "table '%.*s': capacity %llu is not between 1 and %llu", (int)d->name.n,
                 d->name.p, (unsigned long long)d->capacity, (unsigned long long)CAPACITY_MAX);
    } else if (d->sc->columns == 0) {
        snprintf(err->text, sizeof err->text, "table '%.*s' has no columns", (int)d->name.n, d->name.p);
    }
    return err->status = err->text[0] ? FR_SCHEMA : FR_OK;
}

/* The blank that a declaration writes, and room to remember it. */
static fr_status prepare_declaration(store *st, declaration *d, fr_error *err) {
    uint64_t blank = schema_blank(d->sc);
    if (blank) d->blank = calloc(1, blank);
    if ((blank && !d->blank) || !take_spare(st, blank)) return err->status = FR_NOSPACE;
    for (uint32_t i = 0; blank && i < d->sc->columns; i++)
        column_put(&d->sc->column[i], d->blank, &d->sc->column[i].preset);
    return FR_OK;
}

static fr_status declare(store *st, declaration *d, uint64_t now_ms, fr_error *err) {
    stripe_set all;
    fr_status status = FR_OK;
    while (status == FR_OK) {
        store_all_stripes(st, &all);
        status = store_write(st, now_ms, UINT64_MAX, &all, declare_begin, d, err);
        if (status != FR_OK || d->tb) break;
        if ((status = count_all(st, d, now_ms, err)) != FR_OK) {
            abandon(st, d, now_ms);
            break;
        }
        store_all_stripes(st, &all);
        status = store_write(st, now_ms, UINT64_MAX, &all, declare_end, d, err);
        if (status != FR_OK || !d->tb) continue;
        if (d->keys && d->created) return refuse_keys(d, err);
        break;
    }
    return status == FR_OK ? store_catalogue(st, err) : status;
}

fr_status table_declare(store *st, span name, uint64_t capacity, const schema *sc, uint64_t now_ms, table **out,
                        bool *created, fr_error *err) {
    declaration d = {.name = name, .capacity = capacity, .sc = sc};
    *created = false;
    fr_status status = check_declaration(&d, err);
    if (status == FR_OK) status = prepare_declaration(st, &d, err);
    if (status == FR_OK) status = declare(st, &d, now_ms, err);
    free(d.blank);
    if (status != FR_OK) return status;
    *out = d.tb;
    *created = d.created;
    return FR_OK;
}

/* --- dropping ----------------------------------------------------------------------------------------------------- */

typedef struct dropping {
    span name;
    table *tb;
} dropping;

/* One commit makes every row absent; table_reclaim takes them away, and the table after them. */
static fr_status drop(store *st, txn *t, void *ctx) {
    dropping *d = ctx;
    char what[48];
    fr_status status = store_catalogue(st, t->err);
    if (status != FR_OK) return status;
    d->tb = find_in(st, d->name, 1u << TABLE_LIVE);
    if (!d->tb) return txn_fail(t, FR_NOTABLE, "no such table '%s'", schema_shown(d->name, what));
    uint64_t space = txn_ld(t, d->tb->descriptor + TABLE_SPACE);
    if (space < st->s->g.spaces) txn_put(t, st->s->l.spaces + space * 8, SPACE_MAKE(SPACE_STALE, d->tb->number));
    set_state(t, d->tb, TABLE_DROPPED);
    catalogue_moved(t);
    t->wakes = TXN_WAKES + 1;
    return FR_OK;
}

fr_status table_drop(store *st, span name, uint64_t now_ms, fr_error *err) {
    dropping d = {.name = name};
    stripe_set all;
    uint64_t cursor = 0;
    store_all_stripes(st, &all);
    fr_status status = store_write(st, now_ms, UINT64_MAX, &all, drop, &d, err);
    if (status == FR_OK) status = store_catalogue(st, err);
    if (status == FR_OK) table_reclaim(st, d.tb, now_ms, &cursor, 1024); /* small tables are gone at once */
    return status;
}

/* --- facts -------------------------------------------------------------------------------------------------------- */

void table_measure(store *st, const table *tb, table_info *out) {
    segment *s = st->s;
    uint64_t space = ld8(SEG_AT(s, tb->descriptor + TABLE_SPACE, uint64_t));
    *out = (table_info){.memory_bytes = tb->pages * s->g.page_size,
                        .refused = ld8(SEG_AT(s, tb->descriptor + TABLE_REFUSED, uint64_t))};
    if (space >= s->g.spaces) return;
    for (uint32_t i = 0; i < tb->table_stripes; i++) {
        const space_count *c = SEG_AT(s, s->l.counts, space_count) + (uint64_t)i * s->g.spaces + space;
        out->rows += ld8(&c->keys);
        out->expires += ld8(&c->expires);
    }
}
