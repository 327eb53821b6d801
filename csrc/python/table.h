/* table.h (python) - the type Table, shared by table.c (its life and facts), cells.c (columns and values), rows.c (verbs on one
 * row) and batch.c (updates, several rows, pages, whole tables).
 */
#ifndef FRIDGE_PYTHON_TABLE_H
#define FRIDGE_PYTHON_TABLE_H

#include "python/hot_module.h"

typedef struct TableObject {
    PyObject_HEAD
    SegmentObject *segment;
    table *tb;                     /* the store's copy: lives as long as the store is open */
    schema schema;                 /* what outlives it */
    char name[TABLE_NAME_MAX + 1];
    uint32_t name_n;
    size_t stride;                 /* bytes of an image */
    PyObject *column[COLUMNS_MAX]; /* names, interned: most callers' literals are these very objects */
    PyObject *maker;               /* called with a row's columns by name; NULL: rows are dicts */
} TableObject;

/* --- cells.c ------------------------------------------------------------------------------------------------------- */

/* column_of finds a column by its name; -1: UnknownColumnError. */
int column_of(const TableObject *self, PyObject *name);
/* value_of converts an object for a column; bytes are borrowed from it or from a->owner. text_value_of is value_of as the
 * text that row_cas takes. object_of converts back. */
int value_of(const TableObject *self, const column *c, PyObject *o, value *v, arg *a);
int text_value_of(const TableObject *self, const column *c, PyObject *o, arg *a);
PyObject *object_of(const column *c, const value *v);
/* cell_out: a column of an image. */
PyObject *cell_out(const column *c, const char *image);

/* Columns of a row, or of several rows, on their way in; and what their bytes are borrowed from. */
#define CELLS_INLINE 16u
typedef struct cells {
    cell_in *in, room_in[CELLS_INLINE];
    PyObject **held, *room_held[CELLS_INLINE];
    uint32_t n, room;
    size_t bytes;
} cells;
void cells_init(cells *c);
void cells_free(cells *c);
int cells_grow(cells *c);
/* cells_add converts one column; cells_add_row those of a dict, another mapping, or an object of the table's row class. */
int cells_add(const TableObject *self, cells *c, PyObject *name, PyObject *value);
int cells_add_row(const TableObject *self, cells *c, PyObject *row);
/* cells_add_call: the columns of a call set(key, row, **columns): one or the other. */
int cells_add_call(const TableObject *self, cells *c, const char *method, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *names);
/* each_column calls each(ctx, name, value) for the columns of a row in any of these forms. */
typedef int (*column_visit)(void *ctx, PyObject *name, PyObject *value);
int each_column(const TableObject *self, PyObject *row, column_visit each, void *ctx);

/* expiry_of: boot-clock ms after an int or float of seconds, or a timedelta, from now. */
int expiry_of(const char *what, PyObject *o, uint64_t *at_ms);

/* row_out makes an image what the caller gets for a row: a dict, or an object of the row class. */
PyObject *row_out(const TableObject *self, const char *image);

/* An image's room: on the stack when it is small. */
typedef struct image_room {
    char *p;
    _Alignas(16) char room[1024];
} image_room;
static inline char *image_get(image_room *r, size_t stride) {
    return r->p = stride <= sizeof r->room ? r->room : (char *)PyMem_Malloc(stride);
}
static inline void image_free(image_room *r) {
    if (FR_UNLIKELY(r->p != r->room)) PyMem_Free(r->p);
}

/* --- rows.c -------------------------------------------------------------------------------------------------------- */

METHOD(rows_set);
METHOD(rows_get);
METHOD(rows_incr);
METHOD(rows_decr);
METHOD(rows_cas);
METHOD(rows_pop);
METHOD(rows_expire);
PyObject *rows_ttl(PyObject *o, PyObject *name);
PyObject *rows_delete(PyObject *o, PyObject *name);
int rows_contains(PyObject *o, PyObject *name);

/* --- batch.c ------------------------------------------------------------------------------------------------------- */

int batch_prepare(void);
METHOD(rows_update);
METHOD(rows_setdefault);
PyObject *rows_mset(PyObject *o, PyObject *rows);
PyObject *rows_mget(PyObject *o, PyObject *keys);
PyObject *rows_mdelete(PyObject *o, PyObject *keys);
METHOD(rows_scan);
METHOD(rows_page);
PyObject *rows_clear(PyObject *o, PyObject *unused);
PyObject *rows_copy(PyObject *o, PyObject *unused);
PyObject *rows_mask(PyObject *o, PyObject *unused);
PyObject *rows_place(PyObject *o, PyObject *unused);

#define TABLE_SELF TableObject *self = (TableObject *)o
#define TABLE_OPEN(failure)                                                                                            \
    if (FR_UNLIKELY(!self->tb || !self->segment->st)) {                                                                \
        fail_closed();                                                                                                 \
        return failure;                                                                                                \
    }

#endif
