/* cells.c - a table's columns by name, and their values between Python and the engine. Sections: columns; values; several
 * columns; rows out.
 */
#include "python/table.h"

/* --- columns -------------------------------------------------------------------------------------------------------- */

static int no_column(const TableObject *self, PyObject *name) {
    PyObject *list = PyUnicode_FromString("");
    for (uint32_t i = 0; list && i < self->schema.columns; i++) {
        PyObject *longer = PyUnicode_FromFormat(i ? "%U, %U" : "%U%U", list, self->column[i]);
        Py_DECREF(list);
        list = longer;
    }
    if (list) fail_text(FR_COLUMN, "table '%s' has no column %R; it has %U", self->name, name, list);
    Py_XDECREF(list);
    return -1;
}

int column_of(const TableObject *self, PyObject *name) {
    uint32_t n = self->schema.columns;
    for (uint32_t i = 0; i < n; i++)
        if (FR_LIKELY(self->column[i] == name)) return (int)i;
    for (uint32_t i = 0; i < n && PyUnicode_Check(name); i++)
        if (PyUnicode_Compare(self->column[i], name) == 0) return (int)i;
    return no_column(self, name);
}

/* --- values ------------------------------------------------------------------------------------------------------- */

static int refuse(const TableObject *self, const column *c, fr_status status, PyObject *o, const char *why) {
    char type[32];
    hot_column_type(c, type);
    if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_OverflowError)) PyErr_Clear();
    if (!PyErr_Occurred()) fail_text(status, "table '%s' column '%s' is %s: %.80R %s", self->name, c->name, type, o, why);
    return -1;
}

static int wrong_type(const TableObject *self, const column *c, PyObject *o) {
    return refuse(self, c, FR_COLUMNTYPE, o,
                  c->type == COLUMN_STR ? "is no str" : c->type == COLUMN_BYTES ? "is no bytes" :
                  c->type == COLUMN_BOOL ? "is no bool" : c->type == COLUMN_FLOAT64 ? "is no number" : "is no int");
}

static int text_of(const TableObject *self, const column *c, PyObject *o, value *v, arg *a) {
    bool fits = c->type == COLUMN_STR ? PyUnicode_Check(o) : PyBytes_Check(o) || PyByteArray_Check(o) || PyMemoryView_Check(o);
    if (!fits) return wrong_type(self, c, o);
    if (arg_key(o, a) < 0) return -1;
    *v = (value){.kind = VALUE_BYTES, .n = a->s.n, .p = a->s.p};
    return 0;
}

static int float_of(const TableObject *self, const column *c, PyObject *o, value *v) {
    if (PyBool_Check(o) || PyUnicode_Check(o) || PyBytes_Check(o)) return wrong_type(self, c, o);
    v->kind = VALUE_DOUBLE;
    v->d = PyFloat_AsDouble(o);
    return v->d == -1.0 && PyErr_Occurred() ? wrong_type(self, c, o) : 0;
}

/* Integers that no column holds; those that fit 64 bits are judged by the engine. */
static int beyond(const TableObject *self, const column *c, PyObject *o) {
    static const char *const limits[] = {
        [COLUMN_INT8] = "is not between -128 and 127",
        [COLUMN_INT16] = "is not between -32768 and 32767",
        [COLUMN_INT32] = "is not between -2147483648 and 2147483647",
        [COLUMN_INT64] = "is not between -9223372036854775808 and 9223372036854775807",
        [COLUMN_UINT8] = "is not between 0 and 255",
        [COLUMN_UINT16] = "is not between 0 and 65535",
        [COLUMN_UINT32] = "is not between 0 and 4294967295",
        [COLUMN_UINT64] = "is not between 0 and 18446744073709551615",
        [COLUMN_BOOL] = "is not between 0 and 1",
    };
    return refuse(self, c, FR_COLUMNRANGE, o, limits[c->type]);
}

static int integer_of(const TableObject *self, const column *c, PyObject *o, value *v) {
    int overflow;
    bool boolean = PyBool_Check(o);
    if (boolean ? c->type != COLUMN_BOOL : !PyLong_Check(o) && !PyIndex_Check(o)) return wrong_type(self, c, o);
    v->kind = VALUE_INT;
    v->i = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (!overflow) return v->i == -1 && PyErr_Occurred() ? -1 : 0;
    v->kind = VALUE_UINT;
    v->u = overflow > 0 && PyLong_Check(o) ? PyLong_AsUnsignedLongLong(o) : 0;
    return overflow < 0 || PyErr_Occurred() || !PyLong_Check(o) ? beyond(self, c, o) : 0;
}

int value_of(const TableObject *self, const column *c, PyObject *o, value *v, arg *a) {
    a->owner = NULL;
    if (c->type == COLUMN_STR || c->type == COLUMN_BYTES) return text_of(self, c, o, v, a);
    return c->type == COLUMN_FLOAT64 ? float_of(self, c, o, v) : integer_of(self, c, o, v);
}

int text_value_of(const TableObject *self, const column *c, PyObject *o, arg *a) {
    value v;
    if (value_of(self, c, o, &v, a) < 0) return -1;
    if (v.kind == VALUE_BYTES) return 0;
    if (v.kind == VALUE_INT) {
        a->s = hot_int_text(v.i, a->text);
        return 0;
    }
    PyObject *number = v.kind == VALUE_UINT ? PyLong_FromUnsignedLongLong(v.u) : PyFloat_FromDouble(v.d);
    PyObject *text = number ? PyObject_Repr(number) : NULL;
    Py_XDECREF(number);
    return text ? arg_owned(text, a) : -1;
}

PyObject *object_of(const column *c, const value *v) {
    switch (v->kind) {
    case VALUE_BYTES: return bytes_out(v->p, v->n, c->type == COLUMN_STR);
    case VALUE_DOUBLE: return PyFloat_FromDouble(v->d);
    case VALUE_UINT: return PyLong_FromUnsignedLongLong(v->u);
    default: return c->type == COLUMN_BOOL ? bool_out(v->i != 0) : PyLong_FromLongLong(v->i);
    }
}

PyObject *cell_out(const column *c, const char *image) {
    int64_t i;
    if (FR_LIKELY(hot_image_int(c, image, &i))) return c->type == COLUMN_BOOL ? bool_out(i != 0) : PyLong_FromLongLong(i);
    value v = hot_image_value(c, image);
    return object_of(c, &v);
}

/* --- several columns ---------------------------------------------------------------------------------------------- */

void cells_init(cells *c) {
    c->in = c->room_in;
    c->held = c->room_held;
    c->n = 0;
    c->room = CELLS_INLINE;
    c->bytes = 0;
}

void cells_free(cells *c) {
    for (uint32_t i = 0; i < c->n; i++) Py_XDECREF(c->held[i]);
    if (FR_LIKELY(c->in == c->room_in)) return;
    PyMem_Free(c->in);
    PyMem_Free(c->held);
}

int cells_grow(cells *c) {
    cell_in *in = PyMem_Malloc(2 * (size_t)c->room * sizeof *in);
    PyObject **held = in ? PyMem_Malloc(2 * (size_t)c->room * sizeof *held) : NULL;
    if (!held) {
        PyMem_Free(in);
        PyErr_NoMemory();
        return -1;
    }
    memcpy(in, c->in, c->n * sizeof *in);
    memcpy(held, c->held, c->n * sizeof *held);
    if (c->in != c->room_in) {
        PyMem_Free(c->in);
        PyMem_Free(c->held);
    }
    c->in = in;
    c->held = held;
    c->room *= 2;
    return 0;
}

/* Bytes are held on to: they may be read without the GIL, when the mapping that they came from can change. */
int cells_add(const TableObject *self, cells *c, PyObject *name, PyObject *value) {
    arg a;
    int at = column_of(self, name);
    if (FR_UNLIKELY(at < 0) || (FR_UNLIKELY(c->n == c->room) && cells_grow(c) < 0)) return -1;
    cell_in *in = &c->in[c->n];
    in->column = (uint32_t)at;
    if (FR_UNLIKELY(value_of(self, &self->schema.column[at], value, &in->v, &a) < 0)) return -1;
    bool bytes = in->v.kind == VALUE_BYTES;
    c->held[c->n++] = a.owner ? a.owner : bytes ? Py_NewRef(value) : NULL;
    if (bytes) c->bytes += in->v.n;
    return 0;
}

static int no_row(const TableObject *self, PyObject *row) {
    PyObject *type = PyObject_GetAttrString((PyObject *)Py_TYPE(row), "__name__");
    if (type) fail_text(FR_ARGUMENT, "table '%s': a row is a dict of columns, or what get() returns; got a %U", self->name, type);
    Py_XDECREF(type);
    return -1;
}

static int each_attribute(const TableObject *self, PyObject *row, column_visit each, void *ctx) {
    for (uint32_t i = 0; i < self->schema.columns; i++) {
        PyObject *value = PyObject_GetAttr(row, self->column[i]);
        int done = value ? each(ctx, self->column[i], value) : -1;
        Py_XDECREF(value);
        if (done < 0) return -1;
    }
    return 0;
}

static int each_of_dict(PyObject *dict, column_visit each, void *ctx) {
    PyObject *name, *value;
    Py_ssize_t at = 0;
    int done = 0;
    while (done == 0 && PyDict_Next(dict, &at, &name, &value)) {
        Py_INCREF(name);
        Py_INCREF(value);
        done = each(ctx, name, value);
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return done;
}

static int each_of_mapping(const TableObject *self, PyObject *row, column_visit each, void *ctx) {
    PyObject *dict = PyDict_New();
    int done = dict ? PyDict_Update(dict, row) : -1;
    if (done == 0) done = each_of_dict(dict, each, ctx);
    else if (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError)) PyErr_Clear(), no_row(self, row);
    Py_XDECREF(dict);
    return done;
}

int each_column(const TableObject *self, PyObject *row, column_visit each, void *ctx) {
#ifndef Py_GIL_DISABLED
    if (FR_LIKELY(PyDict_CheckExact(row))) return each_of_dict(row, each, ctx);
#endif
    if (self->maker) {
        int is = PyObject_IsInstance(row, self->maker);
        if (is) return is < 0 ? -1 : each_attribute(self, row, each, ctx);
    }
    return PyDict_Check(row) || PyMapping_Check(row) ? each_of_mapping(self, row, each, ctx) : no_row(self, row);
}

typedef struct adding {
    const TableObject *self;
    cells *c;
} adding;

static int add_one(void *ctx, PyObject *name, PyObject *value) {
    adding *a = ctx;
    return cells_add(a->self, a->c, name, value);
}

int cells_add_row(const TableObject *self, cells *c, PyObject *row) {
    adding a = {self, c};
    return each_column(self, row, add_one, &a);
}

int cells_add_call(const TableObject *self, cells *c, const char *method, PyObject *const *args, Py_ssize_t nargs,
                   PyObject *names) {
    Py_ssize_t n = names ? PyTuple_Size(names) : 0;
    if (nargs < 1 || nargs > 2 || (nargs == 2 && n)) {
        PyErr_Format(PyExc_TypeError, "%s() takes a key, and columns by name or one row (%zd arguments and %zd columns given)",
                     method, nargs, n);
        return -1;
    }
    if (nargs == 2) return cells_add_row(self, c, args[1]);
    for (Py_ssize_t i = 0; i < n; i++)
        if (cells_add(self, c, PyTuple_GetItem(names, i), args[nargs + i]) < 0) return -1;
    return 0;
}

/* --- times -------------------------------------------------------------------------------------------------------- */

int expiry_of(const char *what, PyObject *o, uint64_t *at_ms) {
    bool number = (PyLong_Check(o) || PyFloat_Check(o)) && !PyBool_Check(o);
    PyObject *seconds = number ? Py_NewRef(o) : PyObject_CallMethod(o, "total_seconds", NULL);
    double s = seconds ? PyFloat_AsDouble(seconds) : 0;
    Py_XDECREF(seconds);
    bool typed = !PyErr_Occurred();
    PyErr_Clear();
    if (typed && s * 1000 >= 1 && s <= 1e11) {
        *at_ms = fridge_boot_ms() + (uint64_t)(s * 1000);
        return 0;
    }
    fail_text(FR_ARGUMENT, "%s is %.60R: give seconds, an int or float from 0.001 to 1e11, or a timedelta", what, o);
    return -1;
}

/* --- rows out ----------------------------------------------------------------------------------------------------- */

/* Making the dict is most of what a call costs that returns a row: 65 ns of 185 for two columns. Copying one that has the
 * keys already and storing over them was tried, and is no quicker. */
static PyObject *dict_of(const TableObject *self, const char *image) {
    PyObject *row = PyDict_New();
    for (uint32_t i = 0; row && i < self->schema.columns; i++) {
        const column *c = &self->schema.column[i];
        PyObject *cell = cell_out(c, image);
        if (!cell || PyDict_SetItem(row, self->column[i], cell) < 0) {
            Py_DECREF(row);
            row = NULL;
        }
        Py_XDECREF(cell);
    }
    return row;
}

PyObject *row_out(const TableObject *self, const char *image) {
    PyObject *row = dict_of(self, image);
    if (FR_LIKELY(!self->maker) || !row) return row;
    PyObject *nothing = PyTuple_New(0), *made = nothing ? PyObject_Call(self->maker, nothing, row) : NULL;
    Py_XDECREF(nothing);
    Py_DECREF(row);
    return made;
}
