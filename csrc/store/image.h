/* image.h - row images of typed tables: the part of row.c that knows bits, words and spares. For row.c only; what
 * keyspace.c needs of it (row_head, row_named, row_name, row_delete) is in table.h.
 */
#ifndef FRIDGE_STORE_IMAGE_H
#define FRIDGE_STORE_IMAGE_H

#include "store/column.h"

/* What a command does to a row: cells for some columns. A column named twice takes the last value. */
typedef struct change {
    uint64_t mask;
    cell cell[COLUMNS_MAX];
} change;

static inline void change_add(change *ch, uint32_t column, const cell *v) {
    ch->mask |= UINT64_C(1) << column;
    ch->cell[column] = *v;
}

/* What cannot be: a reader has lost a race, a writer has found damage. */
fr_status image_unbelievable(txn *t, uint64_t off, const char *what);

/* image_table: the table an image belongs to, or NULL. */
table *image_table(store *st, uint64_t off, uint32_t space);

/* image_bits: a number of an image; image_value: any column of it. Text is borrowed from the segment, or from a private
 * copy that lasts until this thread looks at another row. */
uint64_t image_bits(txn *t, uint64_t image, const column *c);
fr_status image_value(txn *t, const table *tb, const column *c, uint64_t image, value *out);

/* image_copy copies words [from, from + n) of an image as this transaction sees them. */
void image_copy(txn *t, uint64_t image, uint64_t from, uint64_t n, char *to);

/* image_begin: a private image of what f found, defaults for a new row; NULL when there is no memory. image_replace and
 * image_insert make it the row's; image_write does all three for a change of some columns. */
char *image_begin(txn *t, const table *tb, const found *f);
void image_set_word(char *image, uint64_t at, uint64_t word);
fr_status image_replace(txn *t, const table *tb, const key *k, const found *f, const char *image);
fr_status image_insert(txn *t, const table *tb, const key *k, char *image);
fr_status image_write(txn *t, const table *tb, const key *k, const found *f, const change *ch);

/* image_count_expiry keeps the count of rows with an expiry. */
void image_count_expiry(txn *t, const key *k, uint64_t before, uint64_t after);

#endif
