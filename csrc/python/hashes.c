/* hashes.c - Segment's methods on hashes: one field at a time. More than one goes on to Python's `_hset`. */
#include "python/methods.h"

#define SELF SegmentObject *self = (SegmentObject *)o

/* A key and a field. */
typedef struct place {
    arg key, field;
} place;

static int place_of(PyObject *key, PyObject *field, place *p) {
    if (arg_key(key, &p->key) < 0) return -1;
    if (arg_value(field, &p->field) == 0) return 0;
    arg_free(&p->key);
    return -1;
}

static void place_free(place *p) {
    arg_free(&p->key);
    arg_free(&p->field);
}

PyObject *hashes_get(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name", "key"};
    SELF;
    PyObject *in[2];
    place p;
    bytes_sink b;
    fr_error err;
    fr_status status;
    bool found = false;
    if (take("hget", args, nargs, names, parameters, 2, 2, in) < 0 || place_of(in[0], in[1], &p) < 0) return NULL;
    bytes_init(&b);
    TRY_BYTES(self, status, &b, found, hot_hget(st, self->db, p.key.s, p.field.s, &b.sink, &found, wait, &err));
    place_free(&p);
    if (status == FR_OK) return bytes_result(&b, found, self->decode);
    bytes_drop(&b);
    return fail_status(status, &err);
}

static PyObject *set_one(SegmentObject *self, PyObject *const *in) {
    place p;
    arg value;
    fr_error err;
    fr_status status;
    size_t created;
    if (place_of(in[0], in[1], &p) < 0) return NULL;
    if (arg_value(in[2], &value) < 0) {
        place_free(&p);
        return NULL;
    }
    field_value fv = {p.field.s, value.s};
    TRY(self, status, value.s.n > HOT_COPY_MAX, hot_hset(st, self->db, p.key.s, &fv, 1, &created, wait, &err));
    place_free(&p);
    arg_free(&value);
    return status == FR_OK ? PyLong_FromSize_t(created) : fail_status(status, &err);
}

static PyObject *set_many(PyObject *o, PyObject *const *in) {
    PyObject *all[5];
    for (int i = 0; i < 5; i++) all[i] = in[i] ? in[i] : Py_None;
    PyObject *method = PyObject_GetAttrString(o, "_hset");
    PyObject *out = method ? PyObject_CallFunctionObjArgs(method, all[0], all[1], all[2], all[3], all[4], NULL) : NULL;
    Py_XDECREF(method);
    return out;
}

PyObject *hashes_set(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name", "key", "value", "mapping", "items"};
    SELF;
    PyObject *in[5];
    if (take("hset", args, nargs, names, parameters, 1, 5, in) < 0) return NULL;
    bool more = (in[3] && in[3] != Py_None) || (in[4] && in[4] != Py_None);
    if (!more && in[1] && in[1] != Py_None && in[2]) return set_one(self, in);
    return set_many(o, in);
}

PyObject *hashes_incr(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name", "key", "amount"};
    SELF;
    PyObject *in[3];
    place p;
    fr_error err;
    fr_status status;
    int64_t by, sum;
    if (take("hincrby", args, nargs, names, parameters, 2, 3, in) < 0 || arg_int64("amount", in[2], 1, &by) < 0) return NULL;
    if (place_of(in[0], in[1], &p) < 0) return NULL;
    TRY(self, status, false, hot_hincr(st, self->db, p.key.s, p.field.s, by, &sum, wait, &err));
    PyObject *number = status == FR_OK ? sum_out(self, p.key.s, p.field.s, sum) : fail_status(status, &err);
    place_free(&p);
    return number;
}

static PyObject *swap(SegmentObject *self, const place *p, PyObject *expected, PyObject *desired) {
    arg old, value;
    fr_error err;
    fr_status status;
    int outcome;
    if (arg_value(expected, &old) < 0) return NULL;
    if (arg_value(desired, &value) < 0) {
        arg_free(&old);
        return NULL;
    }
    TRY(self, status, value.s.n > HOT_COPY_MAX,
        hot_hcas(st, self->db, p->key.s, p->field.s, old.s, value.s, &outcome, wait, &err));
    arg_free(&old);
    arg_free(&value);
    return status == FR_OK ? bool_out(outcome == 1) : fail_status(status, &err);
}

PyObject *hashes_cas(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name", "key", "expected", "new"};
    SELF;
    PyObject *in[4];
    place p;
    if (take("hcas", args, nargs, names, parameters, 4, 4, in) < 0 || place_of(in[0], in[1], &p) < 0) return NULL;
    PyObject *out = swap(self, &p, in[2], in[3]);
    place_free(&p);
    return out;
}
