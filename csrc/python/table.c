/* table.c - the type Table: a declared table, its facts and its pages of keys. Rows are in rows.c. */
#include "python/table.h"

#include <stdlib.h>

PyTypeObject *table_type;

/* --- declaring ---------------------------------------------------------------------------------------------------- */

static int add_column(schema *sc, PyObject *pair) {
    PyObject *name = PyTuple_Check(pair) && PyTuple_Size(pair) == 2 ? PyTuple_GetItem(pair, 0) : NULL;
    PyObject *type = name ? PyTuple_GetItem(pair, 1) : NULL;
    fr_error err;
    arg a, b;
    if (!name || !PyUnicode_Check(name) || !PyUnicode_Check(type)) {
        fail_text(FR_SCHEMA, "a column is a name and a type, both str: {\"count\": \"int32\"}; got %.80R", pair);
        return -1;
    }
    if (arg_key(name, &a) < 0 || arg_key(type, &b) < 0) return -1;
    fr_status status = hot_schema_add(sc, a.s, b.s, &err);
    if (status != FR_OK) fail_status(status, &err);
    arg_free(&a);
    arg_free(&b);
    return status == FR_OK ? 0 : -1;
}

static int read_schema(PyObject *pairs, schema *sc) {
    sc->columns = 0;
    for (Py_ssize_t i = 0; i < PyTuple_Size(pairs); i++)
        if (add_column(sc, PyTuple_GetItem(pairs, i)) < 0) return -1;
    return 0;
}

/* Copies what the methods need of the store's declaration. */
static int adopt(TableObject *self, table *tb) {
    self->tb = tb;
    self->schema = tb->schema;
    self->name_n = tb->name_n;
    memcpy(self->name, tb->name, sizeof self->name);
    for (uint32_t i = 0; i < self->schema.columns; i++) {
        self->column[i] = PyUnicode_InternFromString(self->schema.column[i].name);
        if (!self->column[i]) return -1;
    }
    return 0;
}

static int open_table(TableObject *self, span name, uint64_t capacity, const schema *sc) {
    store *st = self->segment->st;
    fr_error err;
    fr_status status;
    table *tb = NULL;
    err.text[0] = 0;
    if (!st) {
        fail_closed();
        return -1;
    }
    WAITING(self->segment, status = hot_table_open(st, name, capacity, sc, &tb, &err));
    if (status != FR_OK) {
        fail_status(status, &err);
        return -1;
    }
    if (!self->segment->st) {
        fail_closed();
        return -1;
    }
    return adopt(self, tb);
}

/* Table(segment, name, capacity, ((column, type), ...) or None) */
static int table_init(PyObject *o, PyObject *args, PyObject *named) {
    TABLE_SELF;
    PyObject *segment, *name, *pairs;
    unsigned long long capacity;
    arg a;
    schema sc;
    (void)named;
    if (!PyArg_ParseTuple(args, "OOKO:Table", &segment, &name, &capacity, &pairs)) return -1;
    if (!PyObject_TypeCheck(segment, segment_type) || self->segment || (pairs != Py_None && !PyTuple_Check(pairs))) {
        PyErr_SetString(PyExc_TypeError, "Table() of _hot needs an open Segment, a name, a capacity and a tuple, once");
        return -1;
    }
    if (pairs != Py_None && read_schema(pairs, &sc) < 0) return -1;
    if (arg_key(name, &a) < 0) return -1;
    self->segment = (SegmentObject *)Py_NewRef(segment);
    int done = open_table(self, a.s, capacity, pairs == Py_None ? NULL : &sc);
    arg_free(&a);
    return done;
}

static void table_dealloc(PyObject *o) {
    TABLE_SELF;
    PyTypeObject *type = Py_TYPE(o);
    for (uint32_t i = 0; i < COLUMNS_MAX; i++) Py_XDECREF(self->column[i]);
    Py_XDECREF((PyObject *)self->segment);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(o);
    Py_DECREF(type);
}

/* --- facts -------------------------------------------------------------------------------------------------------- */

static Py_ssize_t table_length(PyObject *o) {
    TABLE_SELF;
    table_info info;
    TABLE_OPEN(-1);
    hot_table_measure(self->segment->st, self->tb, &info);
    return (Py_ssize_t)info.rows;
}

static PyObject *table_capacity(PyObject *o, void *unused) {
    TABLE_SELF;
    (void)unused;
    TABLE_OPEN(NULL);
    return PyLong_FromUnsignedLongLong(self->tb->capacity);
}

static PyObject *table_memory(PyObject *o, void *unused) {
    TABLE_SELF;
    table_info info;
    (void)unused;
    TABLE_OPEN(NULL);
    hot_table_measure(self->segment->st, self->tb, &info);
    return PyLong_FromUnsignedLongLong(info.memory_bytes);
}

static PyObject *table_name(PyObject *o, void *unused) {
    TABLE_SELF;
    (void)unused;
    TABLE_OPEN(NULL);
    return PyUnicode_FromStringAndSize(self->name, (Py_ssize_t)self->name_n);
}

static PyObject *table_schema(PyObject *o, void *unused) {
    TABLE_SELF;
    char type[32];
    (void)unused;
    TABLE_OPEN(NULL);
    PyObject *out = PyDict_New();
    for (uint32_t i = 0; out && i < self->schema.columns; i++) {
        size_t n = hot_column_type(&self->schema.column[i], type);
        PyObject *text = PyUnicode_FromStringAndSize(type, (Py_ssize_t)n);
        if (!text || PyDict_SetItem(out, self->column[i], text) < 0) {
            Py_DECREF(out);
            out = NULL;
        }
        Py_XDECREF(text);
    }
    return out;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static PyObject *keys_of(const hot_page *page, bool decode) {
    PyObject *keys = PyList_New(0);
    uint32_t n;
    for (size_t at = 0; keys && at + 4 <= page->n; at += 4 + n) {
        memcpy(&n, page->p + at, 4);
        PyObject *key = bytes_out(page->p + at + 4, n, decode);
        if (!key || PyList_Append(keys, key) < 0) {
            Py_DECREF(keys);
            keys = NULL;
        }
        Py_XDECREF(key);
    }
    return keys;
}

/* _page(cursor, count) -> (next cursor or 0, keys) */
static PyObject *table_page(PyObject *o, PyObject *args) {
    TABLE_SELF;
    unsigned long long from, count;
    hot_page page = {NULL, 0, 0};
    fr_error err;
    fr_status status;
    if (!PyArg_ParseTuple(args, "KK:_page", &from, &count)) return NULL;
    TABLE_OPEN(NULL);
    store *st = self->segment->st;
    uint64_t cursor = from;
    WAITING(self->segment, status = hot_table_page(st, self->tb, &cursor, count, &page, &err));
    PyObject *keys = status == FR_OK ? keys_of(&page, self->segment->decode) : fail_status(status, &err);
    free(page.p);
    return keys ? Py_BuildValue("(KN)", (unsigned long long)cursor, keys) : NULL;
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    FAST("set", rows_set,
         "Set columns of a row, set(key, column=value, ...); other columns stay, or get their default in a new row. "
         "Return whether the row is new."),
    FAST("get", rows_get, "get(key, column=None)\n--\n\nReturn a row as a dict, or one column of it; None when absent."),
    FAST("incr", rows_incr, "incr(key, column, by=1)\n--\n\nAdd to a number, in a new row from 0; return the sum."),
    FAST("decr", rows_decr, "decr(key, column, by=1)\n--\n\nSubtract from a number; return what is left."),
    FAST("cas", rows_cas,
         "cas(key, column, expected, new)\n--\n\nSet a column if it holds expected; return whether it was set. A missing "
         "row is False."),
    {"delete", rows_delete, METH_O, "delete(key, /)\n--\n\nDelete a row; return whether it existed."},
    {"_page", table_page, METH_VARARGS, "Return the next cursor and about `count` keys."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"name", table_name, NULL, "The table's name.", NULL},
    {"capacity", table_capacity, NULL, "How many rows fit.", NULL},
    {"memory_bytes", table_memory, NULL, "Bytes of the segment that the table takes.", NULL},
    {"schema", table_schema, NULL, "Column names and types, in order.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A typed table: Table(segment, name, capacity, columns)."},
    {Py_tp_init, (void *)table_init},
    {Py_tp_dealloc, (void *)table_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_sq_length, (void *)table_length},
    {Py_sq_contains, (void *)rows_contains},
    {0, NULL},
};

static PyType_Spec spec = {"fridge._hot.Table", sizeof(TableObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

int table_add(PyObject *module) {
    table_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return table_type ? PyModule_AddObjectRef(module, "Table", (PyObject *)table_type) : -1;
}
