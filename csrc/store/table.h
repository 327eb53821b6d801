/* table.h - typed tables: a fixed number of rows of typed columns.
 *
 * DESCRIPTOR (a run of pages named by layout.tables[number]); written unpublished, then published by one word:
 *     0    magic:32 | bytes:32               8   space id (changes with FLUSHDB; journalled)
 *     16   capacity N                        24  images: N + spares
 *     32   stride: bytes of a row image      40  table stripes: clamp(N/16, 1, S), power of two
 *     48   rows: images in use by rows (journalled, row pool latch)
 *     56   offset of the row images          64  offset of the image bitmap (1 = in use; spares count as in use)
 *     72   columns:32 | state:32             80  name length; 88.. name, padded to 64
 *     152  birth: catalogue version at creation, so that a successor at the same place is told apart
 *     160  refused: inserts that found the table full (a statistic: a plain word, without a latch)
 *     168.. struct column_disk [columns], then, when a column has a default that is not 0 or empty, the blank: a row
 *          image without version, name and expiry that says what a new row holds; then spare[table stripes]: image
 *          number that the stripe owns as its copy-on-write target (journalled, stripe), then the bitmap, then,
 *          16-aligned, the row images. `bytes` at 4 counts head, columns and blank; they never change.
 * ROW IMAGE (stride bytes, 16-aligned)
 *     0  version     8  meta (KIND_ROW; klen; vlen 0; space)     16 expiry (0 = none)
 *     24 name: 40 bytes inline, or for longer names a slot word (class, offset) of a block that holds the bytes
 *     64 columns: 8-byte columns first, then 4, 2, 1; then str and bytes, each a 16-bit length and its bytes, on whole
 *        words
 *
 * Invariants
 * 1. rows <= N; the bitmap has rows + table stripes bits set; each used image is named by exactly one slot word or
 *    spare.
 * 2. One changed word is changed in place (version odd, word, version even), and so are the few words of quick_row_update
 *    (quick.h); otherwise the stripe's spare takes the new image, one slot word publishes it and the old image becomes the spare. A spare that this same transaction
 *    has just filled or freed is not free before the commit: then the words travel as records, under an odd seq.
 * 3. What is in the blank its columns could hold; a process copies it when it first hears of the table and believes only
 *    the copy.
 * 4. A declaration is DECLARING while the ordinary keys under its prefix are counted, then LIVE or gone; a dropped
 *    table keeps its number until its last row has been reclaimed.
 */
#ifndef FRIDGE_STORE_TABLE_H
#define FRIDGE_STORE_TABLE_H

#include "store/keyspace.h"
#include "store/hash.h"

#define COLUMNS_MAX 64u
#define TABLE_NAME_MAX 63u
#define COLUMN_NAME_MAX 63u
#define ROW_NAME_INLINE 40u
#define ROW_COLUMNS_AT 64u

/* COLUMN_TYPES: X(NAME, text, bytes (0 = given by the schema)) */
#define COLUMN_TYPES(X)                                                                                                \
    X(INT8, "int8", 1) X(INT16, "int16", 2) X(INT32, "int32", 4) X(INT64, "int64", 8)                                  \
    X(UINT8, "uint8", 1) X(UINT16, "uint16", 2) X(UINT32, "uint32", 4) X(UINT64, "uint64", 8)                          \
    X(FLOAT64, "float64", 8) X(BOOL, "bool", 1) X(STR, "str", 0) X(BYTES, "bytes", 0)
enum column_type {
#define X(name, text, bytes) COLUMN_##name,
    COLUMN_TYPES(X)
#undef X
    COLUMN_TYPE_COUNT
};

/* A value that fits its column: the bits of a number, or borrowed bytes. */
typedef struct cell {
    uint64_t bits;
    span bytes;
} cell;

typedef struct column {
    char name[COLUMN_NAME_MAX + 1];
    uint32_t name_n;
    enum column_type type;
    uint32_t size;   /* bytes: of the number, or the longest str/bytes */
    uint32_t offset; /* in the row image */
    cell preset;     /* what a new row holds; bytes are the declarer's, or the process's copy of the blank */
} column;

typedef struct schema {
    uint32_t columns;
    column column[COLUMNS_MAX];
} schema;

enum table_state { TABLE_LIVE, TABLE_DECLARING, TABLE_DROPPED };

/* A process's copy of a declaration. It stays until the store is closed, because handles point at it. */
typedef struct table {
    uint32_t number;
    uint32_t state;       /* enum table_state, as of the store's catalogue_version */
    uint64_t descriptor;  /* offset */
    uint64_t birth, pages;
    uint64_t hint;        /* bitmap word where this process last found, or freed, an image */
    uint64_t sweep;       /* image where this process's reclaim goes on */
    struct table *older;  /* earlier declarations under the same number */
    char name[TABLE_NAME_MAX + 1];
    uint32_t name_n;
    uint64_t capacity, images, stride, rows_off, bitmap_off, spares_off;
    uint64_t blank_off; /* 0: none */
    uint32_t table_stripes;
    schema schema;
    char *blank; /* a row image, behind this struct; NULL: all zeros */
} table;

/* schema_add parses one `name type` pair ("count", "int32"; "note", "str:64"; with a default "int32=5", "str:64=none": all
 * behind the '='). A default of text is borrowed from type. FR_SCHEMA with particulars: bad name, duplicate, unknown type,
 * size 0 or above 65535, a default that the column could not hold, more than 64 columns. */
fr_status schema_add(schema *sc, span name, span type, fr_error *err);
/* schema_stride: bytes of a row image; schema_add keeps the columns' offsets up to date. schema_find: -1 when absent.
 */
uint64_t schema_stride(const schema *sc);
int schema_find(const schema *sc, span name);
/* schema_blank: bytes of the blank; 0 when every default is 0 or empty. */
uint64_t schema_blank(const schema *sc);
/* schema_name_ok: may a table or column be called so? schema_differs writes what differs into text; false: nothing. */
bool schema_name_ok(span name);
bool schema_differs(const schema *have, const schema *want, char *text, size_t room);
/* schema_shown: a client's bytes in an error text: cut to 40, and nothing that would break a line. */
const char *schema_shown(span text, char buf[48]);
/* column_type_text prints a column's type as the schema writes it, without its default. */
size_t column_type_text(const column *c, char buf[32]);

/* table_declare creates the table, or attaches to one of the same schema and capacity (*created tells). FR_TABLEEXISTS
 * with the differences listed; FR_TABLEKEYS with how many; FR_SCHEMA. Runs its own transactions. */
fr_status table_declare(store *st, span name, uint64_t capacity, const schema *sc, uint64_t now_ms, table **out,
                        bool *created, fr_error *err);
fr_status table_drop(store *st, span name, uint64_t now_ms, fr_error *err);

/* table_find, table_at: by name or number, live tables only, refreshing the catalogue copy when it is out of date. NULL
 * when absent. */
table *table_find(store *st, span name);
table *table_at(store *st, uint32_t number);
/* store_catalogue re-reads the catalogue if its version moved: FR_DAMAGED when a descriptor cannot be. Dropped tables
 * and half-declared ones are in st->tables too (of twice g.tables words: the second half keeps what was there before).
 * store_catalogue_free is for store_close, store_catalogue_guard for store_open: it makes forks wait for refreshes. */
void store_catalogue_guard(void);
fr_status store_catalogue(store *st, fr_error *err);
void store_catalogue_free(store *st);
/* table_allows: may an ordinary key of this name be created? FR_TABLEKEYS while a table of its prefix is being
 * declared. */
fr_status table_allows(store *st, txn *t, const key *k);

typedef struct table_info {
    uint64_t rows, expires, memory_bytes, refused;
} table_info;
void table_measure(store *st, const table *tb, table_info *out);

/* Rows. k is a row's key (k->table >= 0). The hash_* functions call these for rows. */
fr_status row_get(store *st, txn *t, const key *k, span column, value *out, bool *found);
fr_status row_set(store *st, txn *t, const key *k, const field_value *fv, size_t n, size_t *created);
/* row_set_absent: HSETNX. row_length: HLEN; row_random: HRANDFIELD. */
fr_status row_set_absent(store *st, txn *t, const key *k, const field_value *fv, size_t n, size_t *created);
fr_status row_length(store *st, txn *t, const key *k, uint64_t *n);
fr_status row_random(store *st, txn *t, const key *k, uint64_t seed, hash_visit each, void *ctx);
/* row_incr, row_add: of a uint64 column *out holds the 64 bits; row_is_unsigned says that it is one (name.p NULL: the
 * table's first). */
bool row_is_unsigned(store *st, const key *k, span name);
fr_status row_incr(store *st, txn *t, const key *k, span column, int64_t by, int64_t *out);
fr_status row_incr_float(store *st, txn *t, const key *k, span column, long double by, char buf[FLOAT_TEXT], size_t *n);
fr_status row_cas(store *st, txn *t, const key *k, span column, span expected, span desired, int *outcome);
fr_status row_reset_columns(store *st, txn *t, const key *k, const span *columns, size_t n, size_t *changed);
fr_status row_each(store *st, txn *t, const key *k, hash_visit each, void *ctx);

/* Typed access for the mmap door: cells in schema order, values as struct value. */
typedef struct cell_in {
    uint32_t column;
    value v; /* VALUE_INT, UINT, DOUBLE, or BYTES */
} cell_in;
fr_status row_put(store *st, txn *t, const key *k, const cell_in *cells, size_t n, bool *created);
fr_status row_cell(store *st, txn *t, const key *k, uint32_t column, value *out, bool *found);
fr_status row_add(store *st, txn *t, const key *k, uint32_t column, int64_t by, int64_t *out);

/* Whole rows, as images: stride bytes of private memory. row_copy_out reads one; row_take reads and deletes it. */
fr_status row_copy_out(store *st, txn *t, const key *k, char *image, bool *found);
fr_status row_take(store *st, txn *t, const key *k, char *image, bool *existed);

/* row_update: several columns of one row in one step, when all conditions hold (*done says). Sets go before adds. A row
 * that is absent is made, unless presence forbids it; it begins with `fallback` when `defaults`, which is also what
 * conditions then are judged by; without, no condition holds for an absent row. expiry: NO_EXPIRY keeps what the row has.
 * *out: the row as it is afterwards. */
enum row_presence { ROW_EITHER, ROW_PRESENT, ROW_ABSENT };
enum row_test { ROW_EQ, ROW_NE, ROW_LT, ROW_LE, ROW_GT, ROW_GE };
typedef struct row_condition {
    uint32_t column;
    enum row_test test;
    value v;
} row_condition;
typedef struct row_steps {
    enum row_presence presence;
    bool defaults;
    const row_condition *condition;
    const cell_in *fallback, *set, *add;
    size_t conditions, fallbacks, sets, adds;
    uint64_t expiry; /* boot-clock ms */
} row_steps;
fr_status row_update(store *st, txn *t, const key *k, const row_steps *steps, char *out, bool *done, bool *created);
/* row_compare judges one condition by an image; false: the column's type and the value's cannot be compared. */
bool row_compare(const column *c, const char *image, const row_condition *with, bool *holds);

/* For keyspace.c and store.c. row_head is block_head for slot words of CLASS_ROW: the offset is an image of a declared
 * table, version even, name length possible. row_name copies a row's name, without the table's prefix, into buf, which
 * holds *n bytes, and sets *n. row_delete takes the row out of the index, too; row_copy makes `to` hold what `from`
 * holds, expiry included. */
fr_status row_head(store *st, txn *t, uint64_t slot, head *h);
bool row_named(store *st, txn *t, const head *h, span name);
fr_status row_name(store *st, txn *t, const head *h, char *buf, size_t *n);
fr_status row_delete(store *st, txn *t, const key *k, const found *f);
fr_status row_expire(store *st, txn *t, const key *k, const found *f, uint64_t at_ms);
fr_status row_copy(store *st, txn *t, const found *from, const key *to);

/* table_reclaim frees up to `limit` expired, flushed or dropped rows, starting at *cursor (an image number; 0 again at
 * the end), and in the end a dropped table itself; runs its own transactions. table_reclaim_all does so for every
 * table: all of the table that this thread's last FR_RECLAIM was about (table_is_full), a stretch of the others. */
unsigned table_reclaim(store *st, table *tb, uint64_t now_ms, uint64_t *cursor, unsigned limit);
unsigned table_reclaim_all(store *st, uint64_t now_ms);
fr_status table_is_full(txn *t, const table *tb);
/* table_is_full and table_spaces_full (no space id is free) return FR_RECLAIM; err->status is the refusal that it becomes
 * when there is nothing to reclaim. */
fr_status table_spaces_full(txn *t);

/* table_clear empties a table in one commit; the rows are reclaimed later. *rows: how many there were, expired ones that
 * nobody has reclaimed yet included. Writes; every stripe. */
fr_status table_clear(store *st, txn *t, const table *tb, uint64_t *rows);

/* In copy.c. table_copy appends every live row, images to *images and {length:32, name} to *names, all as they were at
 * one instant. Without latches a few times; then a process that may write copies up to COPY_LATCHED bytes under the
 * table's latches; else FR_BUSYREAD. The caller frees p of both. table_mask says of each image whether it is a live row
 * now: one byte each, tb->images in all; images that change meanwhile may be told wrongly. */
#define COPY_LATCHED (UINT64_C(32) << 20)
typedef struct copy_buffer {
    char *p;
    size_t n, room;
} copy_buffer;
FRIDGE_API char *copy_reserve(copy_buffer *b, size_t n); /* room for n more bytes, NULL when there is no memory */
fr_status table_copy(store *st, const table *tb, uint64_t now_ms, copy_buffer *images, copy_buffer *names, uint64_t *rows,
                     fr_error *err);
void table_mask(store *st, const table *tb, uint64_t now_ms, uint8_t *live);

/* table_check verifies the invariants of every table at rest and marks runs and long names. */
fr_status table_check(store *st, heap_marks *m, fr_error *err);

/* Fields of a descriptor, as offsets from its start: the words that transactions change. */
#define TABLE_SPACE 8u
#define TABLE_ROWS 48u
#define TABLE_STATE 72u
#define TABLE_REFUSED 160u

/* Can there be an image of this table at `off`? Alignment is not asked for: what begins here ends within the table. */
static inline bool table_has_image(const table *tb, uint64_t off) {
    return off >= tb->rows_off && off <= tb->rows_off + (tb->images - 1) * tb->stride;
}

/* The row pool latch that a table shares with every POOL_LATCHES-th other. */
static inline uint32_t table_pool(const table *tb) { return tb->number % POOL_LATCHES; }

#endif
