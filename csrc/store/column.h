/* column.h - one value of a typed column: from text or a typed value to bytes in a row image, and back. For row.c. */
#ifndef FRIDGE_STORE_COLUMN_H
#define FRIDGE_STORE_COLUMN_H

#include "store/table.h"

static inline bool column_is_text(const column *c) { return c->type == COLUMN_STR || c->type == COLUMN_BYTES; }
static inline bool column_is_integer(const column *c) { return c->type <= COLUMN_UINT64; }
static inline bool column_is_signed(const column *c) { return c->type <= COLUMN_INT64; }

/* column_read: a value from users' text. When the column cannot hold it, FR_COLUMNTYPE, FR_COLUMNRANGE or FR_COLUMNLENGTH,
 * and in why the value and what is wrong with it. */
#define COLUMN_WHY 200
fr_status column_read(const column *c, span text, cell *out, char why[COLUMN_WHY]);

/* column_parse, column_accept: FR_COLUMNTYPE, FR_COLUMNRANGE or FR_COLUMNLENGTH, naming table, column, value and limit.
 */
fr_status column_parse(txn *t, const table *tb, const column *c, span text, cell *out);
fr_status column_accept(txn *t, const table *tb, const column *c, const value *v, cell *out);

/* column_add: bits + by within the column's range. */
fr_status column_add(txn *t, const table *tb, const column *c, uint64_t bits, int64_t by, uint64_t *out);

/* column_value: a number's bits as a value. */
value column_value(const column *c, uint64_t bits);

/* A number inside the 8-byte word that holds it. */
static inline uint64_t column_from_word(const column *c, uint64_t word) {
    unsigned unused = 64 - 8 * c->size;
    word = word >> 8 * (c->offset & 7) << unused;
    return column_is_signed(c) ? (uint64_t)((int64_t)word >> unused) : word >> unused;
}

uint64_t column_into_word(const column *c, uint64_t word, uint64_t bits);

/* column_of_image takes a column out of an image in private memory; bytes are borrowed from it. */
value column_of_image(const column *c, const char *image);

/* column_preset: the default as a value; false when it is 0 or empty. column_is_preset: does a new row hold this? */
bool column_preset(const column *c, value *out);
bool column_is_preset(const column *c, const value *v);

/* column_put writes a cell into an image in private memory. */
void column_put(const column *c, char *image, const cell *v);

/* column_missing: FR_COLUMN with the table's columns listed. */
fr_status column_missing(txn *t, const table *tb, span name);

#endif
