/* table.c - the type Table: a declared table and its facts. Its verbs are in rows.c and batch.c. */
#include "python/table.h"
#include "python/table_docs.h"

PyTypeObject *table_type;

/* --- declaring ---------------------------------------------------------------------------------------------------- */

/* The type may hold a default behind a '=', and is bytes when that is. A default of text is borrowed from it: the pairs
 * outlive the declaration. */
static int add_column(schema *sc, PyObject *pair) {
    PyObject *name = PyTuple_Check(pair) && PyTuple_Size(pair) == 2 ? PyTuple_GetItem(pair, 0) : NULL;
    PyObject *type = name ? PyTuple_GetItem(pair, 1) : NULL;
    fr_error err;
    arg a, b;
    if (!name || !PyUnicode_Check(name) || !(PyUnicode_Check(type) || PyBytes_Check(type))) {
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
    self->stride = tb->stride;
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

/* Table(segment, name, capacity, ((column, type), ...) or None, row class or None) */
static int table_init(PyObject *o, PyObject *args, PyObject *named) {
    TABLE_SELF;
    PyObject *segment, *name, *pairs, *maker = Py_None;
    unsigned long long capacity;
    arg a;
    schema sc;
    (void)named;
    if (!PyArg_ParseTuple(args, "OOKO|O:Table", &segment, &name, &capacity, &pairs, &maker)) return -1;
    if (!PyObject_TypeCheck(segment, segment_type) || self->segment || (pairs != Py_None && !PyTuple_Check(pairs))) {
        PyErr_SetString(PyExc_TypeError, "Table() of _hot needs an open Segment, a name, a capacity and a tuple, once");
        return -1;
    }
    if (pairs != Py_None && read_schema(pairs, &sc) < 0) return -1;
    if (arg_key(name, &a) < 0) return -1;
    self->segment = (SegmentObject *)Py_NewRef(segment);
    if (maker != Py_None) self->maker = Py_NewRef(maker);
    int done = open_table(self, a.s, capacity, pairs == Py_None ? NULL : &sc);
    arg_free(&a);
    return done;
}

static void table_dealloc(PyObject *o) {
    TABLE_SELF;
    PyTypeObject *type = Py_TYPE(o);
    for (uint32_t i = 0; i < COLUMNS_MAX; i++) Py_XDECREF(self->column[i]);
    Py_XDECREF(self->maker);
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

/* "int32", or ("int32", 5) with a default. */
static PyObject *type_out(const column *c) {
    char type[32];
    value v;
    size_t n = hot_column_type(c, type);
    if (!hot_column_preset(c, &v)) return PyUnicode_FromStringAndSize(type, (Py_ssize_t)n);
    PyObject *preset = object_of(c, &v);
    return preset ? Py_BuildValue("(s#N)", type, (Py_ssize_t)n, preset) : NULL;
}

static PyObject *table_schema(PyObject *o, void *unused) {
    TABLE_SELF;
    (void)unused;
    TABLE_OPEN(NULL);
    PyObject *out = PyDict_New();
    for (uint32_t i = 0; out && i < self->schema.columns; i++) {
        PyObject *text = type_out(&self->schema.column[i]);
        if (!text || PyDict_SetItem(out, self->column[i], text) < 0) {
            Py_DECREF(out);
            out = NULL;
        }
        Py_XDECREF(text);
    }
    return out;
}

static PyObject *table_segment(PyObject *o, void *unused) {
    TABLE_SELF;
    (void)unused;
    return self->segment ? Py_NewRef((PyObject *)self->segment) : fail_closed();
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

static PyObject *table_of_rows(PyObject *type, PyObject *row) { return Py_GenericAlias(type, row); }

static PyMethodDef methods[] = {
    FAST("set", rows_set, DOC_SET),
    FAST("get", rows_get, DOC_GET),
    FAST("incr", rows_incr, DOC_INCR),
    FAST("decr", rows_decr, DOC_DECR),
    FAST("cas", rows_cas, DOC_CAS),
    FAST("update", rows_update, DOC_UPDATE),
    FAST("setdefault", rows_setdefault, DOC_SETDEFAULT),
    FAST("pop", rows_pop, DOC_POP),
    FAST("expire", rows_expire, DOC_EXPIRE),
    {"ttl", rows_ttl, METH_O, DOC_TTL},
    {"delete", rows_delete, METH_O, DOC_DELETE},
    {"mset", rows_mset, METH_O, DOC_MSET},
    {"mget", rows_mget, METH_O, DOC_MGET},
    {"mdelete", rows_mdelete, METH_O, DOC_MDELETE},
    FAST("scan", rows_scan, DOC_SCAN),
    {"clear", rows_clear, METH_NOARGS, DOC_CLEAR},
    FAST("_page", rows_page, "Return the next cursor, and about count row images and their keys."),
    {"__class_getitem__", table_of_rows, METH_O | METH_CLASS, "Table[RateLimit] is the type of tables whose rows are RateLimit."},
    {"_copy", rows_copy, METH_NOARGS, "Return all row images, and their keys, as of one instant."},
    {"_mask", rows_mask, METH_NOARGS, "Return a byte for each image: whether it is a row now."},
    {"_place", rows_place, METH_NOARGS, "Return where the images lie, and how."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"name", table_name, NULL, "The table's name.", NULL},
    {"capacity", table_capacity, NULL, "How many rows fit.", NULL},
    {"memory_bytes", table_memory, NULL, "Bytes of the segment that the table takes.", NULL},
    {"schema", table_schema, NULL, "Column names and types, in order; a type is (type, default) when a new row does not hold 0 or empty.", NULL},
    {"_segment", table_segment, NULL, "The handle of the segment.", NULL},
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
    if (batch_prepare() < 0) return -1;
    table_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return table_type ? PyModule_AddObjectRef(module, "Table", (PyObject *)table_type) : -1;
}
