/* table.h (python) - the type Table, shared by table.c (its life and facts) and rows.c (its verbs). */
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
    PyObject *column[COLUMNS_MAX]; /* names, interned: most callers' literals are these very objects */
} TableObject;

METHOD(rows_set);
METHOD(rows_get);
METHOD(rows_incr);
METHOD(rows_decr);
METHOD(rows_cas);
PyObject *rows_delete(PyObject *o, PyObject *name);
int rows_contains(PyObject *o, PyObject *name);

#define TABLE_SELF TableObject *self = (TableObject *)o
#define TABLE_OPEN(failure)                                                                                            \
    if (FR_UNLIKELY(!self->tb || !self->segment->st)) {                                                                \
        fail_closed();                                                                                                 \
        return failure;                                                                                                \
    }

#endif
