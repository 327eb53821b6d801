/* column.h - one value of a typed column: from text or a typed value to bytes in a row image, and back. For row.c. */
#ifndef FRIDGE_STORE_COLUMN_H
#define FRIDGE_STORE_COLUMN_H

#include "store/table.h"

/* A value that fits its column: the bits of a number, or borrowed bytes. */
typedef struct cell {
    uint64_t bits;
    span bytes;
} cell;

static inline bool column_is_text(const column *c) { return c->type == COLUMN_STR || c->type == COLUMN_BYTES; }
static inline bool column_is_integer(const column *c) { return c->type <= COLUMN_UINT64; }

/* column_parse, column_accept: FR_COLUMNTYPE, FR_COLUMNRANGE or FR_COLUMNLENGTH, naming table, column, value and limit.
 */
fr_status column_parse(txn *t, const table *tb, const column *c, span text, cell *out);
fr_status column_accept(txn *t, const table *tb, const column *c, const value *v, cell *out);

/* column_add: bits + by within the column's range. */
fr_status column_add(txn *t, const table *tb, const column *c, uint64_t bits, int64_t by, uint64_t *out);

/* column_value: a number's bits as a value. */
value column_value(const column *c, uint64_t bits);

/* A number inside the 8-byte word that holds it. */
uint64_t column_from_word(const column *c, uint64_t word);
uint64_t column_into_word(const column *c, uint64_t word, uint64_t bits);

/* column_of_image takes a column out of an image in private memory; bytes are borrowed from it. */
value column_of_image(const column *c, const char *image);

/* column_put writes a cell into an image in private memory; NULL writes the default. */
void column_put(const column *c, char *image, const cell *v);

/* column_missing: FR_COLUMN with the table's columns listed. */
fr_status column_missing(txn *t, const table *tb, span name);

#endif
