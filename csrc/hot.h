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
#include "store/table.h"

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

enum hot_step { HOT_ADD, HOT_SET, HOT_CAS };
typedef struct hot_counter_call {
    span name;
    enum hot_step step;
    int64_t v, expected; /* HOT_ADD: by; HOT_SET, HOT_CAS: the new value */
    int64_t out;         /* out: HOT_ADD, the sum */
    bool done;           /* out: HOT_CAS */
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

/* --- tables: `name` is the row's, without the table's and the colon ----------------------------------------------- */

FRIDGE_API fr_status hot_schema_add(schema *sc, span name, span type, fr_error *err);
FRIDGE_API size_t hot_column_type(const column *c, char buf[32]);
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

/* hot_table_page gives the names of about `count` rows from *cursor on (0: start and end), without the table's. They are
 * packed {length:32, bytes} in memory of the process, which the caller frees. */
typedef struct hot_page {
    char *p;
    size_t n, room;
} hot_page;
FRIDGE_API fr_status hot_table_page(store *st, table *tb, uint64_t *cursor, uint64_t count, hot_page *out, fr_error *err);

#endif
