/* rows.c - Table's verbs: rows in, rows out, typed. Sections: columns; values; writing; reading. */
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

static int column_of(const TableObject *self, PyObject *name) {
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

static int value_of(const TableObject *self, const column *c, PyObject *o, value *v, arg *a) {
    a->owner = NULL;
    if (c->type == COLUMN_STR || c->type == COLUMN_BYTES) return text_of(self, c, o, v, a);
    return c->type == COLUMN_FLOAT64 ? float_of(self, c, o, v) : integer_of(self, c, o, v);
}

/* text_value_of is value_of as the text that row_cas takes. */
static int text_value_of(const TableObject *self, const column *c, PyObject *o, arg *a) {
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

static PyObject *object_of(const column *c, const value *v) {
    switch (v->kind) {
    case VALUE_BYTES: return bytes_out(v->p, v->n, c->type == COLUMN_STR);
    case VALUE_DOUBLE: return PyFloat_FromDouble(v->d);
    case VALUE_UINT: return PyLong_FromUnsignedLongLong(v->u);
    default: return c->type == COLUMN_BOOL ? bool_out(v->i != 0) : PyLong_FromLongLong(v->i);
    }
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

typedef struct put_call {
    cell_in cell[COLUMNS_MAX];
    arg arg[COLUMNS_MAX];
    uint32_t n;
    size_t bytes;
} put_call;

static int put_columns(const TableObject *self, PyObject *const *values, PyObject *names, put_call *p) {
    Py_ssize_t n = names ? PyTuple_Size(names) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        int at = column_of(self, PyTuple_GetItem(names, i));
        if (at < 0) return -1;
        cell_in *in = &p->cell[p->n];
        in->column = (uint32_t)at;
        if (value_of(self, &self->schema.column[at], values[i], &in->v, &p->arg[p->n]) < 0) return -1;
        p->n++;
        if (in->v.kind == VALUE_BYTES) p->bytes += in->v.n;
    }
    return 0;
}

PyObject *rows_set(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    TABLE_SELF;
    arg key;
    put_call p;
    fr_error err;
    fr_status status = FR_OK;
    bool created = false;
    TABLE_OPEN(NULL);
    if (nargs != 1) return PyErr_Format(PyExc_TypeError, "set() takes a key, and columns by name (%zd given)", nargs);
    p.n = 0;
    p.bytes = 0;
    if (arg_key(args[0], &key) < 0) return NULL;
    bool ok = put_columns(self, args + 1, names, &p) == 0;
    if (ok) {
        TRY(self->segment, status, p.bytes > HOT_COPY_MAX,
            hot_row_put(st, self->tb, key.s, p.cell, p.n, &created, wait, &err));
    }
    for (uint32_t i = 0; i < p.n; i++) arg_free(&p.arg[i]);
    arg_free(&key);
    if (!ok) return NULL;
    return status == FR_OK ? bool_out(created) : fail_status(status, &err);
}

static PyObject *add_float(TableObject *self, span name, uint32_t column, PyObject *by, int sign) {
    value v = {.kind = VALUE_DOUBLE, .d = 1};
    fr_error err;
    fr_status status;
    double out;
    if (by && float_of(self, &self->schema.column[column], by, &v) < 0) return NULL;
    TRY(self->segment, status, false, hot_row_add_float(st, self->tb, name, column, sign * v.d, &out, wait, &err));
    return status == FR_OK ? PyFloat_FromDouble(out) : fail_status(status, &err);
}

static PyObject *add_int(TableObject *self, span name, uint32_t column, int64_t by) {
    fr_error err;
    fr_status status;
    int64_t out;
    TRY(self->segment, status, false, hot_row_add(st, self->tb, name, column, by, &out, wait, &err));
    if (FR_UNLIKELY(status != FR_OK)) return fail_status(status, &err);
    if (FR_UNLIKELY(out < 0) && self->schema.column[column].type == COLUMN_UINT64)
        return PyLong_FromUnsignedLongLong((unsigned long long)out);
    return PyLong_FromLongLong(out);
}

static PyObject *add(PyObject *o, PyObject *const *in, int sign) {
    TABLE_SELF;
    arg key;
    int64_t by = 1;
    PyObject *out = NULL;
    TABLE_OPEN(NULL);
    int column = column_of(self, in[1]);
    if (FR_UNLIKELY(column < 0)) return NULL;
    bool floats = self->schema.column[column].type == COLUMN_FLOAT64;
    if (FR_LIKELY(!floats) && in[2] && FR_UNLIKELY(arg_int64("by", in[2], 1, &by) < 0)) return NULL;
    if (FR_UNLIKELY(by == INT64_MIN && sign < 0)) return fail_text(FR_OVERFLOW, "decrement would overflow");
    if (FR_UNLIKELY(arg_key(in[0], &key) < 0)) return NULL;
    if (FR_LIKELY(!floats)) out = add_int(self, key.s, (uint32_t)column, sign * by);
    else out = add_float(self, key.s, (uint32_t)column, in[2], sign);
    arg_free(&key);
    return out;
}

static const char *const add_parameters[] = {"key", "column", "by"};

PyObject *rows_incr(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    PyObject *in[3];
    return FR_LIKELY(take("incr", args, nargs, names, add_parameters, 2, 3, in) == 0) ? add(o, in, 1) : NULL;
}

PyObject *rows_decr(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    PyObject *in[3];
    return FR_LIKELY(take("decr", args, nargs, names, add_parameters, 2, 3, in) == 0) ? add(o, in, -1) : NULL;
}

static PyObject *swap(TableObject *self, span name, PyObject *const *in) {
    arg old, new;
    fr_error err;
    fr_status status;
    int outcome, at = column_of(self, in[1]);
    if (at < 0) return NULL;
    const column *c = &self->schema.column[at];
    if (text_value_of(self, c, in[2], &old) < 0) return NULL;
    if (text_value_of(self, c, in[3], &new) < 0) {
        arg_free(&old);
        return NULL;
    }
    TRY(self->segment, status, false,
        hot_row_cas(st, self->tb, name, (uint32_t)at, old.s, new.s, &outcome, wait, &err));
    arg_free(&old);
    arg_free(&new);
    return status == FR_OK ? bool_out(outcome == 1) : fail_status(status, &err);
}

PyObject *rows_cas(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"key", "column", "expected", "new"};
    TABLE_SELF;
    PyObject *in[4];
    arg key;
    TABLE_OPEN(NULL);
    if (take("cas", args, nargs, names, parameters, 4, 4, in) < 0 || arg_key(in[0], &key) < 0) return NULL;
    PyObject *out = swap(self, key.s, in);
    arg_free(&key);
    return out;
}

PyObject *rows_delete(PyObject *o, PyObject *name) {
    TABLE_SELF;
    arg key;
    fr_error err;
    fr_status status;
    bool existed;
    TABLE_OPEN(NULL);
    if (arg_key(name, &key) < 0) return NULL;
    TRY(self->segment, status, false, hot_row_delete(st, self->tb, key.s, &existed, wait, &err));
    arg_free(&key);
    return status == FR_OK ? bool_out(existed) : fail_status(status, &err);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static PyObject *dict_of(const TableObject *self, const char *image) {
    PyObject *row = PyDict_New();
    for (uint32_t i = 0; row && i < self->schema.columns; i++) {
        const column *c = &self->schema.column[i];
        value v = hot_image_value(c, image);
        PyObject *cell = object_of(c, &v);
        if (!cell || PyDict_SetItem(row, self->column[i], cell) < 0) {
            Py_DECREF(row);
            row = NULL;
        }
        Py_XDECREF(cell);
    }
    return row;
}

static PyObject *whole_row(TableObject *self, span name) {
    _Alignas(16) char room[1024];
    fr_error err;
    fr_status status;
    bool found = false;
    size_t stride = self->segment->st ? self->tb->stride : 0;
    char *image = stride <= sizeof room ? room : PyMem_Malloc(stride);
    if (!image) return PyErr_NoMemory();
    TRY(self->segment, status, stride > HOT_COPY_MAX, hot_row_image(st, self->tb, name, image, &found, wait, &err));
    PyObject *out = status != FR_OK ? fail_status(status, &err) : found ? dict_of(self, image) : Py_NewRef(Py_None);
    if (image != room) PyMem_Free(image);
    return out;
}

static PyObject *one_cell(TableObject *self, span name, PyObject *column_name) {
    bytes_sink b;
    fr_error err;
    fr_status status;
    bool found = false;
    value v = {.kind = VALUE_NONE};
    int at = column_of(self, column_name);
    if (at < 0) return NULL;
    const column *c = &self->schema.column[at];
    bytes_init(&b);
    TRY_BYTES(self->segment, status, &b, found, hot_row_cell(st, self->tb, name, (uint32_t)at, &v, &b.sink, &found, wait, &err));
    if (status == FR_OK && found && v.kind != VALUE_BYTES) return object_of(c, &v);
    if (status == FR_OK) return bytes_result(&b, found, c->type == COLUMN_STR);
    bytes_drop(&b);
    return fail_status(status, &err);
}

PyObject *rows_get(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"key", "column"};
    TABLE_SELF;
    PyObject *in[2], *out;
    arg key;
    TABLE_OPEN(NULL);
    if (take("get", args, nargs, names, parameters, 1, 2, in) < 0 || arg_key(in[0], &key) < 0) return NULL;
    out = in[1] && in[1] != Py_None ? one_cell(self, key.s, in[1]) : whole_row(self, key.s);
    arg_free(&key);
    return out;
}

int rows_contains(PyObject *o, PyObject *name) {
    TABLE_SELF;
    arg key;
    fr_error err;
    fr_status status;
    bool exists = false;
    TABLE_OPEN(-1);
    if (arg_key(name, &key) < 0) return -1;
    TRY(self->segment, status, false, hot_row_exists(st, self->tb, key.s, &exists, wait, &err));
    arg_free(&key);
    if (status == FR_OK) return exists;
    fail_status(status, &err);
    return -1;
}
