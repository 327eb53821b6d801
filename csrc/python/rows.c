/* rows.c - Table's verbs on one row: rows in, rows out, typed. Sections: writing; reading. */
#include "python/table.h"

#include <math.h>

/* --- writing ------------------------------------------------------------------------------------------------------ */

PyObject *rows_set(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    TABLE_SELF;
    arg key;
    cells c;
    fr_error err;
    fr_status status = FR_OK;
    bool created = false;
    TABLE_OPEN(NULL);
    cells_init(&c);
    bool ok = cells_add_call(self, &c, "set", args, nargs, names) == 0;
    if (!ok || arg_key(args[0], &key) < 0) {
        cells_free(&c);
        return NULL;
    }
    TRY(self->segment, status, c.bytes > HOT_COPY_MAX, hot_row_put(st, self->tb, key.s, c.in, c.n, &created, wait, &err));
    cells_free(&c);
    arg_free(&key);
    return status == FR_OK ? bool_out(created) : fail_status(status, &err);
}

static PyObject *add_float(TableObject *self, span name, uint32_t column, PyObject *by, int sign) {
    value v = {.kind = VALUE_DOUBLE, .d = 1};
    arg none;
    fr_error err;
    fr_status status;
    double out;
    if (by && value_of(self, &self->schema.column[column], by, &v, &none) < 0) return NULL;
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

PyObject *rows_expire(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"key", "time"};
    TABLE_SELF;
    PyObject *in[2];
    arg key;
    fr_error err;
    fr_status status;
    uint64_t at = NO_EXPIRY;
    bool changed = false;
    TABLE_OPEN(NULL);
    if (take("expire", args, nargs, names, parameters, 2, 2, in) < 0) return NULL;
    if ((in[1] != Py_None && expiry_of("time", in[1], &at) < 0) || arg_key(in[0], &key) < 0) return NULL;
    TRY(self->segment, status, false, hot_row_expire(st, self->tb, key.s, at, &changed, wait, &err));
    arg_free(&key);
    return status == FR_OK ? bool_out(changed) : fail_status(status, &err);
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

/* What a call that finds no row gives: the caller's default. */
static PyObject *nothing(PyObject *standard) { return Py_NewRef(standard ? standard : Py_None); }

static PyObject *whole_row(TableObject *self, span name, PyObject *standard) {
    image_room r;
    fr_error err;
    fr_status status;
    bool found = false;
    size_t stride = self->stride;
    char *image = image_get(&r, stride);
    if (!image) return PyErr_NoMemory();
    TRY(self->segment, status, stride > HOT_COPY_MAX, hot_row_image(st, self->tb, name, image, &found, wait, &err));
    PyObject *out = status != FR_OK ? fail_status(status, &err) : found ? row_out(self, image) : nothing(standard);
    image_free(&r);
    return out;
}

/* Seconds, inf for a row that never expires. */
static PyObject *time_left(const char *image) {
    uint64_t at, now = fridge_boot_ms();
    memcpy(&at, image + 16, 8); /* table.h: a row image's expiry */
    return PyFloat_FromDouble(at == NO_EXPIRY ? HUGE_VAL : at > now ? (double)(at - now) / 1000 : 0);
}

PyObject *rows_ttl(PyObject *o, PyObject *name) {
    TABLE_SELF;
    image_room r;
    arg key;
    fr_error err;
    fr_status status;
    bool found = false;
    TABLE_OPEN(NULL);
    if (arg_key(name, &key) < 0) return NULL;
    char *image = image_get(&r, self->stride);
    if (!image) status = FR_NOSPACE;
    else TRY(self->segment, status, self->stride > HOT_COPY_MAX, hot_row_image(st, self->tb, key.s, image, &found, wait, &err));
    arg_free(&key);
    PyObject *out = status != FR_OK ? fail_status(status, image ? &err : NULL) : found ? time_left(image) : Py_NewRef(Py_None);
    image_free(&r);
    return out;
}

PyObject *rows_pop(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"key", "default"};
    TABLE_SELF;
    PyObject *in[2];
    image_room r;
    arg key;
    fr_error err;
    fr_status status;
    bool existed = false;
    TABLE_OPEN(NULL);
    if (take("pop", args, nargs, names, parameters, 1, 2, in) < 0 || arg_key(in[0], &key) < 0) return NULL;
    size_t stride = self->stride;
    char *image = image_get(&r, stride);
    if (!image) status = FR_NOSPACE;
    else TRY(self->segment, status, stride > HOT_COPY_MAX, hot_row_take(st, self->tb, key.s, image, &existed, wait, &err));
    arg_free(&key);
    PyObject *out = status != FR_OK ? fail_status(status, image ? &err : NULL) : existed ? row_out(self, image) : nothing(in[1]);
    image_free(&r);
    return out;
}

static PyObject *one_cell(TableObject *self, span name, PyObject *column_name, PyObject *standard) {
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
    if (status == FR_OK && !found && standard) {
        bytes_drop(&b);
        return Py_NewRef(standard);
    }
    if (status == FR_OK) return bytes_result(&b, found, c->type == COLUMN_STR);
    bytes_drop(&b);
    return fail_status(status, &err);
}

PyObject *rows_get(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"key", "column", "default"};
    TABLE_SELF;
    PyObject *in[3], *out;
    arg key;
    TABLE_OPEN(NULL);
    if (take("get", args, nargs, names, parameters, 1, 3, in) < 0 || arg_key(in[0], &key) < 0) return NULL;
    out = in[1] && in[1] != Py_None ? one_cell(self, key.s, in[1], in[2]) : whole_row(self, key.s, in[2]);
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
