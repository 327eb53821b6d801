/* hot.h - the mmap door's fast paths as flat functions: what csrc/python calls with the GIL held.
 *
 * Two tries. With wait == false a call takes one attempt (a writer) or READ_ATTEMPTS of them (a reader), spins briefly for a
 * latch, never sleeps, never grows the file: tens of nanoseconds. When that was not enough (hot_again says so of the
 * status) the caller lets go of the GIL and makes the same call with wait == true, which goes through store_read or
 * store_write with the full latch-timeout.
 *
 * Clocks cost 20 ns, so none is read where nothing can have expired: keys without an expiry, and stripes that count none.
 *
 * Leaves out: Python, and every command that has no need to be fast (those go through a session, wire/session.h).
 */
#ifndef FRIDGE_HOT_H
#define FRIDGE_HOT_H

#include "store/counter.h"
#include "store/string.h"
#include "store/column.h"

#define HOT_COPY_MAX 65536u /* longer values are copied without the GIL: the caller passes wait == true at once */

/* hot_again: is this status of a first try a reason for the second? */
static inline bool hot_again(fr_status status) {
    return FR_UNLIKELY((status >= FR_RETRY && status <= FR_RELOCK) || status == FR_LATCHED);
}

/* Where bytes go. room() gives n bytes, or NULL to have nothing copied; n is then still told. It may be called again, with
 * another n, when a read lost a race. */
typedef struct hot_sink {
    char *(*room)(struct hot_sink *sink, size_t n);
    char *to; /* what room() gave, NULL when nothing was found or copied */
    size_t n;
} hot_sink;

/* hot_int_text prints v into buf. */
FRIDGE_API span hot_int_text(int64_t v, char buf[VALUE_TEXT]);

/* --- strings and keys --------------------------------------------------------------------------------------------- */

FRIDGE_API fr_status hot_get(store *st, uint32_t db, span name, hot_sink *sink, bool *found, bool wait, fr_error *err);
FRIDGE_API fr_status hot_get_versioned(store *st, uint32_t db, span name, hot_sink *sink, bool *found, uint64_t *version,
                                       bool wait, fr_error *err);
/* hot_set is a plain SET. */
FRIDGE_API fr_status hot_set(store *st, uint32_t db, span name, span bytes, bool wait, fr_error *err);

/* hot_set_with is SET with conditions; ttl_ms > 0 sets an expiry. */
typedef struct hot_set_call {
    span name, bytes;
    set_options o;
    uint64_t ttl_ms;
    bool done, existed; /* out */
    uint64_t version;   /* out */
} hot_set_call;
FRIDGE_API fr_status hot_set_with(store *st, uint32_t db, hot_set_call *c, bool wait, fr_error *err);

/* A key as it was read, and where to look whether it still is so: a handful of loads instead of a look-up. */
typedef struct hot_watch {
    const uint64_t *slot_at, *block, *seq_at, *space_at;
    uint64_t slot, version, seq, space;
    bool exact; /* false: it must be looked up each time (an expiry, a row, a commit under way) */
} hot_watch;

/* hot_watch_get is hot_get that also fills w: an absent key makes no watch. hot_watch_again looks the key up and says whether
 * its version is still w->version; w then knows its new place. */
FRIDGE_API fr_status hot_watch_get(store *st, uint32_t db, span name, hot_sink *sink, bool *found, hot_watch *w, bool wait,
                                   fr_error *err);
FRIDGE_API fr_status hot_watch_again(store *st, uint32_t db, span name, hot_watch *w, bool *same, bool wait, fr_error *err);

static inline bool hot_watch_holds(const store *st, const hot_watch *w) {
    return w->exact && ld8(w->slot_at) == w->slot && ld8(w->block) == w->version && ld8(w->seq_at) == w->seq &&
           ld8(w->space_at) == w->space && !st->s->lost;
}

FRIDGE_API fr_status hot_incr(store *st, uint32_t db, span name, int64_t by, int64_t *out, bool wait, fr_error *err);
FRIDGE_API fr_status hot_cas(store *st, uint32_t db, span name, span expected, span desired, int *outcome, bool wait,
                             fr_error *err);
FRIDGE_API fr_status hot_delete(store *st, uint32_t db, span name, bool *existed, bool wait, fr_error *err);
FRIDGE_API fr_status hot_exists(store *st, uint32_t db, span name, bool *exists, bool wait, fr_error *err);

/* --- hashes ------------------------------------------------------------------------------------------------------- */

FRIDGE_API fr_status hot_hget(store *st, uint32_t db, span name, span field, hot_sink *sink, bool *found, bool wait,
                              fr_error *err);
FRIDGE_API fr_status hot_hset(store *st, uint32_t db, span name, const field_value *fv, size_t n, size_t *created, bool wait,
                              fr_error *err);
FRIDGE_API fr_status hot_hincr(store *st, uint32_t db, span name, span field, int64_t by, int64_t *out, bool wait,
                               fr_error *err);
/* hot_unsigned: is what hot_incr (field.p NULL) or hot_hincr gave the 64 bits of a uint64 column? Asked when it looks
 * negative. */
FRIDGE_API bool hot_unsigned(store *st, uint32_t db, span name, span field);
FRIDGE_API fr_status hot_hcas(store *st, uint32_t db, span name, span field, span expected, span desired, int *outcome,
                              bool wait, fr_error *err);

/* --- counters: the lock-free half is counter.h's, inline ---------------------------------------------------------- */

enum hot_step { HOT_ADD, HOT_ADD_WITHIN, HOT_SET, HOT_CAS };
typedef struct hot_counter_call {
    span name;
    enum hot_step step;
    int64_t v, expected; /* HOT_ADD, HOT_ADD_WITHIN: by; HOT_SET, HOT_CAS: the new value */
    bounds within;       /* HOT_ADD_WITHIN */
    int64_t out;         /* out: HOT_ADD, HOT_ADD_WITHIN: the value afterwards */
    bool done;           /* out: HOT_CAS, HOT_ADD_WITHIN: false when it was refused, and nothing changed */
    uint64_t cell;       /* out: the counter's cell, 0 when it was not needed */
} hot_counter_call;

FRIDGE_API fr_status hot_counter_open(store *st, span name, int64_t initial, uint64_t *cell, bool wait, fr_error *err);
/* hot_counter_step is what the lock-free call could not do: the counter is deleted (it revives at 0), expired, expires,
 * or is in a transaction's hands. */
FRIDGE_API fr_status hot_counter_step(store *st, hot_counter_call *c, bool wait, fr_error *err);
FRIDGE_API fr_status hot_counter_read(store *st, span name, int64_t *out, bool *exists, bool wait, fr_error *err);
/* counter.h's, exported. */
FRIDGE_API fr_status hot_counter_get(store *st, uint64_t cell, int64_t *out);
FRIDGE_API fr_status hot_counter_set(store *st, uint64_t cell, int64_t v);
FRIDGE_API fr_status hot_counter_cas(store *st, uint64_t cell, int64_t expected, int64_t desired, bool *done);

/* --- many counters in one call ------------------------------------------------------------------------------------- */

typedef struct hot_count {
    span name;
    int64_t by, out;
    uint64_t cell; /* in, out: the counter's cell, 0 when it is not known. It stays the name's for the segment's life */
} hot_count;

/* hot_counters_add adds to one counter after the other, from *at on, each as its handle would: each sum is atomic, all of
 * them together are not. *at is then n, or the one that failed; those before it have been counted. hot_counters_read
 * likewise; an absent one reads 0. */
FRIDGE_API fr_status hot_counters_add(store *st, hot_count *c, size_t n, size_t *at, bool wait, fr_error *err);
FRIDGE_API fr_status hot_counters_read(store *st, hot_count *c, size_t n, size_t *at, bool wait, fr_error *err);
/* hot_counters_add_all adds to all of them in one transaction, or to none; *at is the one that refused. Blocks. */
FRIDGE_API fr_status hot_counters_add_all(store *st, hot_count *c, size_t n, size_t *at, fr_error *err);

/* --- sharded counters: hot_sharded.c -------------------------------------------------------------------------------- */

#define SHARDS_MAX 64u
#define SHARDS_STANDARD 8u

/* A handle's copy. names holds the shards' names one after the other, each in name_room bytes. */
typedef struct hot_sharded {
    span name;                 /* the caller's */
    uint32_t shards;           /* in: how many, 0 = as many as there are, or SHARDS_STANDARD; out: how many */
    uint64_t cell[SHARDS_MAX]; /* 0: not known (a read-only handle) */
    char *names;
    size_t name_room;
    uint8_t name_n[SHARDS_MAX]; /* beyond the name's own bytes */
} hot_sharded;

/* hot_sharded_open declares or attaches. FR_ARGUMENT: it has another number of shards. FR_WRONGTYPE: the name, or a shard's,
 * is another key's. FR_NOKEY: absent, and read-only. hot_sharded_end frees; hot_sharded_name is shard i's name. */
FRIDGE_API fr_status hot_sharded_open(store *st, hot_sharded *h, bool wait, fr_error *err);
FRIDGE_API void hot_sharded_end(hot_sharded *h);
FRIDGE_API span hot_sharded_name(const hot_sharded *h, uint32_t i);
/* hot_sharded_here is the shard of the CPU that asks. */
FRIDGE_API uint32_t hot_sharded_here(const hot_sharded *h);
/* hot_sharded_step adds to shard i what counter_add could not. */
FRIDGE_API fr_status hot_sharded_step(store *st, hot_sharded *h, uint32_t i, int64_t by, bool wait, fr_error *err);
/* hot_sharded_sum adds up; FR_OVERFLOW when no int64 holds it. hot_sharded_reset sets each shard to 0. */
FRIDGE_API fr_status hot_sharded_sum(store *st, hot_sharded *h, int64_t *out, bool wait, fr_error *err);
FRIDGE_API fr_status hot_sharded_reset(store *st, hot_sharded *h, bool wait, fr_error *err);
FRIDGE_API fr_status hot_sharded_delete(store *st, hot_sharded *h, bool *existed, bool wait, fr_error *err);
FRIDGE_API fr_status hot_sharded_exists(store *st, hot_sharded *h, bool *exists, bool wait, fr_error *err);

/* --- tables: `name` is the row's, without the table's and the colon ----------------------------------------------- */

FRIDGE_API fr_status hot_schema_add(schema *sc, span name, span type, fr_error *err);
FRIDGE_API size_t hot_column_type(const column *c, char buf[32]);
/* hot_image_int: a column of an image that always fits an int64; false: ask hot_image_value. Inline, because half of what a
 * call that returns a row costs is making its cells. */
static inline bool hot_image_int(const column *c, const char *image, int64_t *out) {
    uint64_t word;
    if (c->type > COLUMN_BOOL || c->type == COLUMN_UINT64 || c->type == COLUMN_FLOAT64) return false;
    memcpy(&word, image + (c->offset & ~UINT32_C(7)), 8);
    *out = (int64_t)column_from_word(c, word);
    return true;
}
/* hot_column_preset: what a new row holds; false when that is 0 or empty. */
FRIDGE_API bool hot_column_preset(const column *c, value *out);
/* hot_table_open declares a table or attaches to it; sc NULL: only attaches, FR_NOTABLE. Blocks. */
FRIDGE_API fr_status hot_table_open(store *st, span name, uint64_t capacity, const schema *sc, table **out, fr_error *err);
FRIDGE_API void hot_table_measure(store *st, const table *tb, table_info *out);

FRIDGE_API fr_status hot_row_put(store *st, table *tb, span name, const cell_in *cells, size_t n, bool *created, bool wait,
                                 fr_error *err);
FRIDGE_API fr_status hot_row_add(store *st, table *tb, span name, uint32_t column, int64_t by, int64_t *out, bool wait,
                                 fr_error *err);
FRIDGE_API fr_status hot_row_add_float(store *st, table *tb, span name, uint32_t column, double by, double *out, bool wait,
                                       fr_error *err);
FRIDGE_API fr_status hot_row_cas(store *st, table *tb, span name, uint32_t column, span expected, span desired, int *outcome,
                                 bool wait, fr_error *err);
FRIDGE_API fr_status hot_row_delete(store *st, table *tb, span name, bool *existed, bool wait, fr_error *err);
FRIDGE_API fr_status hot_row_exists(store *st, table *tb, span name, bool *exists, bool wait, fr_error *err);
/* hot_row_image copies a whole row, tb->stride bytes, as it was at one instant. hot_image_value takes a column out of it;
 * bytes are borrowed from the image. */
FRIDGE_API fr_status hot_row_image(store *st, table *tb, span name, char *image, bool *found, bool wait, fr_error *err);
FRIDGE_API value hot_image_value(const column *c, const char *image);
/* hot_row_cell copies one column: *v says which kind; the bytes of str and bytes columns go to sink. */
FRIDGE_API fr_status hot_row_cell(store *st, table *tb, span name, uint32_t column, value *v, hot_sink *sink, bool *found,
                                  bool wait, fr_error *err);

/* hot_row_take reads a row and deletes it. hot_row_update is row_update (store/table.h); image: stride bytes. */
FRIDGE_API fr_status hot_row_take(store *st, table *tb, span name, char *image, bool *existed, bool wait, fr_error *err);
FRIDGE_API fr_status hot_row_update(store *st, table *tb, span name, const row_steps *steps, char *image, bool *done,
                                    bool *created, bool wait, fr_error *err);

/* hot_row_expire: at_ms is boot-clock ms, NO_EXPIRY takes the expiry away; *changed as EXPIRE and PERSIST answer. */
FRIDGE_API fr_status hot_row_expire(store *st, table *tb, span name, uint64_t at_ms, bool *changed, bool wait, fr_error *err);

/* --- several rows, pages, whole tables: all of these may block ----------------------------------------------------- */

/* hot_rows_put sets columns of n rows in one transaction: all of them or, when one does not fit, none. *created: how many
 * are new. hot_rows_delete likewise. hot_rows_get reads n rows as of one instant: image i at i * stride if there[i]. */
typedef struct hot_row_in {
    span name;
    const cell_in *cells;
    size_t n;
} hot_row_in;
FRIDGE_API fr_status hot_rows_put(store *st, table *tb, const hot_row_in *row, size_t n, uint64_t *created, fr_error *err);
FRIDGE_API fr_status hot_rows_delete(store *st, table *tb, const hot_row_in *row, size_t n, uint64_t *deleted, fr_error *err);
FRIDGE_API fr_status hot_rows_get(store *st, table *tb, const hot_row_in *row, size_t n, char *images, uint8_t *there,
                                  fr_error *err);

/* hot_table_page gives the names of about `count` rows from *cursor on (0: start and end), without the table's, packed
 * {length:32, bytes}; hot_table_rows gives {length:32, bytes, image of stride bytes}, each row as of one instant. The caller
 * frees out->p. A cursor means the same in every process. */
FRIDGE_API fr_status hot_table_page(store *st, table *tb, uint64_t *cursor, uint64_t count, copy_buffer *out, fr_error *err);
FRIDGE_API fr_status hot_table_rows(store *st, table *tb, uint64_t *cursor, uint64_t count, copy_buffer *out, fr_error *err);

FRIDGE_API fr_status hot_table_clear(store *st, table *tb, uint64_t *rows, fr_error *err);
/* hot_table_copy, hot_table_mask: table_copy and table_mask of store/table.h. */
FRIDGE_API fr_status hot_table_copy(store *st, table *tb, copy_buffer *images, copy_buffer *names, uint64_t *rows,
                                    fr_error *err);
FRIDGE_API fr_status hot_table_mask(store *st, table *tb, uint8_t *live, fr_error *err);
/* hot_expiry_to_wall: Unix time in ms of an expiry that is not NO_EXPIRY. */
FRIDGE_API uint64_t hot_expiry_to_wall(store *st, uint64_t boot_ms);

#endif
