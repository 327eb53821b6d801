/* keys.c - Segment's methods on strings and keys. Whatever is not hot (options that are rare, several keys at once) goes on
 * to a method of the Python class by the same name with an underscore, with the same arguments.
 */
#include "python/methods.h"

#define SELF SegmentObject *self = (SegmentObject *)o

/* --- reading ------------------------------------------------------------------------------------------------------ */

PyObject *keys_get(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name"};
    SELF;
    PyObject *in[1];
    arg key;
    bytes_sink b;
    fr_error err;
    fr_status status;
    bool found = false;
    if (FR_UNLIKELY(take("get", args, nargs, names, parameters, 1, 1, in) < 0 || arg_key(in[0], &key) < 0)) return NULL;
    bytes_init(&b);
    TRY_BYTES(self, status, &b, found, hot_get(st, self->db, key.s, &b.sink, &found, wait, &err));
    arg_free(&key);
    if (FR_LIKELY(status == FR_OK)) return bytes_result(&b, found, self->decode);
    bytes_drop(&b);
    return fail_status(status, &err);
}

PyObject *keys_get_versioned(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name"};
    SELF;
    PyObject *in[1];
    arg key;
    bytes_sink b;
    fr_error err;
    fr_status status;
    bool found = false;
    uint64_t version = 0;
    if (take("get_versioned", args, nargs, names, parameters, 1, 1, in) < 0 || arg_key(in[0], &key) < 0) return NULL;
    bytes_init(&b);
    TRY_BYTES(self, status, &b, found, hot_get_versioned(st, self->db, key.s, &b.sink, &found, &version, wait, &err));
    arg_free(&key);
    if (status != FR_OK) {
        bytes_drop(&b);
        return fail_status(status, &err);
    }
    PyObject *value = bytes_result(&b, found, self->decode);
    return value ? Py_BuildValue("(NK)", value, (unsigned long long)version) : NULL;
}

PyObject *keys_exists(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    SELF;
    arg key;
    fr_error err;
    fr_status status;
    bool exists;
    if (nargs != 1 || names) return hand_on(o, "_exists", args, nargs, names);
    if (arg_key(args[0], &key) < 0) return NULL;
    TRY(self, status, false, hot_exists(st, self->db, key.s, &exists, wait, &err));
    arg_free(&key);
    return status == FR_OK ? PyLong_FromLong(exists) : fail_status(status, &err);
}

/* --- SET ---------------------------------------------------------------------------------------------------------- */

enum { SET_NAME, SET_VALUE, SET_EX, SET_PX, SET_ONLY_NX, SET_ONLY_XX, SET_KEEPTTL, SET_GET, SET_RARE };
static const char *const set_parameters[] = {"name", "value", "ex", "px", "nx", "xx", "keepttl", "get",
                                             "exat", "pxat", "ifeq", "ifne"};
#define SET_TOTAL ((int)FR_COUNTOF(set_parameters))

static bool given(PyObject *o) { return o && o != Py_None; }

/* A flag that is True or False; 2 for anything else. */
static int flag(PyObject *o) { return !given(o) || o == Py_False ? 0 : o == Py_True ? 1 : 2; }

/* A time to live that C can take: a positive int below ten thousand years. */
static bool ttl_of(PyObject *o, int64_t unit, uint64_t *ms) {
    int overflow = 0;
    *ms = 0;
    if (!given(o)) return true;
    if (!PyLong_CheckExact(o)) return false;
    long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow || v <= 0 || v > INT64_C(315360000000000) / unit) return false;
    *ms = (uint64_t)(v * unit);
    return true;
}

/* set_options_hot fills c from the usual options; false when they are unusual, contradictory or wrong: Python's. */
static bool set_options_hot(PyObject *const *in, hot_set_call *c) {
    uint64_t ex, px;
    int nx = flag(in[SET_ONLY_NX]), xx = flag(in[SET_ONLY_XX]), keep = flag(in[SET_KEEPTTL]);
    for (int i = SET_RARE; i < SET_TOTAL; i++)
        if (given(in[i])) return false;
    if (nx + xx > 1 || keep > 1 || flag(in[SET_GET]) || !ttl_of(in[SET_EX], 1000, &ex) || !ttl_of(in[SET_PX], 1, &px))
        return false;
    if ((ex != 0) + (px != 0) + keep > 1) return false;
    *c = (hot_set_call){.o = {.condition = nx ? SET_NX : xx ? SET_XX : SET_ALWAYS, .keep_ttl = keep}, .ttl_ms = ex + px};
    return true;
}

static PyObject *set_slowly(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    SELF;
    PyObject *in[FR_COUNTOF(set_parameters)];
    arg key, value;
    fr_error err;
    fr_status status;
    hot_set_call c;
    if (take("set", args, nargs, names, set_parameters, 2, SET_TOTAL, in) < 0) return NULL;
    if (!set_options_hot(in, &c)) return hand_on(o, "_set", args, nargs, names);
    if (arg_key(in[SET_NAME], &key) < 0) return NULL;
    if (arg_value(in[SET_VALUE], &value) < 0) {
        arg_free(&key);
        return NULL;
    }
    c.name = key.s;
    c.bytes = value.s;
    TRY(self, status, value.s.n > HOT_COPY_MAX, hot_set_with(st, self->db, &c, wait, &err));
    arg_free(&key);
    arg_free(&value);
    return status == FR_OK ? Py_NewRef(c.done ? Py_True : Py_None) : fail_status(status, &err);
}

PyObject *keys_set(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    SELF;
    arg key, value;
    fr_error err;
    fr_status status;
    if (FR_UNLIKELY(nargs != 2 || names)) return set_slowly(o, args, nargs, names);
    if (FR_UNLIKELY(arg_key(args[0], &key) < 0)) return NULL;
    if (FR_UNLIKELY(arg_value(args[1], &value) < 0)) {
        arg_free(&key);
        return NULL;
    }
    TRY(self, status, value.s.n > HOT_COPY_MAX, hot_set(st, self->db, key.s, value.s, wait, &err));
    arg_free(&key);
    arg_free(&value);
    return FR_LIKELY(status == FR_OK) ? Py_NewRef(Py_True) : fail_status(status, &err);
}

/* --- numbers ------------------------------------------------------------------------------------------------------ */

PyObject *sum_out(SegmentObject *self, span name, span field, int64_t sum) {
    if (FR_UNLIKELY(sum < 0) && self->st && hot_unsigned(self->st, self->db, name, field))
        return PyLong_FromUnsignedLongLong((uint64_t)sum);
    return PyLong_FromLongLong(sum);
}

static PyObject *incr(SegmentObject *self, PyObject *name, int64_t by) {
    arg key;
    fr_error err;
    fr_status status;
    int64_t sum;
    if (FR_UNLIKELY(arg_key(name, &key) < 0)) return NULL;
    TRY(self, status, false, hot_incr(st, self->db, key.s, by, &sum, wait, &err));
    PyObject *number = FR_LIKELY(status == FR_OK) ? sum_out(self, key.s, (span){NULL, 0}, sum) : fail_status(status, &err);
    arg_free(&key);
    return number;
}

static const char *const incr_parameters[] = {"name", "amount"};

PyObject *keys_incr(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    PyObject *in[2];
    int64_t by;
    if (take("incr", args, nargs, names, incr_parameters, 1, 2, in) < 0 || arg_int64("amount", in[1], 1, &by) < 0) return NULL;
    return incr((SegmentObject *)o, in[0], by);
}

PyObject *keys_decr(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    PyObject *in[2];
    int64_t by;
    if (take("decr", args, nargs, names, incr_parameters, 1, 2, in) < 0 || arg_int64("amount", in[1], 1, &by) < 0) return NULL;
    if (by == INT64_MIN) return fail_text(FR_OVERFLOW, "decrement would overflow");
    return incr((SegmentObject *)o, in[0], -by);
}

/* --- compare and set ---------------------------------------------------------------------------------------------- */

static PyObject *create(SegmentObject *self, span name, span bytes) {
    fr_error err;
    fr_status status;
    hot_set_call c = {.name = name, .bytes = bytes, .o = {.condition = SET_NX}};
    TRY(self, status, bytes.n > HOT_COPY_MAX, hot_set_with(st, self->db, &c, wait, &err));
    return status == FR_OK ? bool_out(c.done) : fail_status(status, &err);
}

static PyObject *swap(SegmentObject *self, span name, PyObject *expected, span desired) {
    arg old;
    fr_error err;
    fr_status status;
    int outcome;
    if (expected == Py_None) return create(self, name, desired);
    if (arg_value(expected, &old) < 0) return NULL;
    TRY(self, status, desired.n > HOT_COPY_MAX,
        hot_cas(st, self->db, name, old.s, desired, &outcome, wait, &err));
    arg_free(&old);
    return status == FR_OK ? bool_out(outcome == 1) : fail_status(status, &err);
}

PyObject *keys_cas(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name", "expected", "new"};
    SELF;
    PyObject *in[3], *out = NULL;
    arg key, value;
    if (take("cas", args, nargs, names, parameters, 3, 3, in) < 0 || arg_key(in[0], &key) < 0) return NULL;
    if (arg_value(in[2], &value) == 0) {
        out = swap(self, key.s, in[1], value.s);
        arg_free(&value);
    }
    arg_free(&key);
    return out;
}

PyObject *keys_cas_version(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"name", "version", "value"};
    SELF;
    PyObject *in[3];
    arg key, value;
    fr_error err;
    fr_status status;
    if (take("cas_version", args, nargs, names, parameters, 3, 3, in) < 0) return NULL;
    unsigned long long version = PyLong_AsUnsignedLongLong(in[1]);
    if (version == (unsigned long long)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return fail_text(FR_ARGUMENT, "version is what get_versioned() gave");
    }
    if (arg_key(in[0], &key) < 0) return NULL;
    if (arg_value(in[2], &value) < 0) {
        arg_free(&key);
        return NULL;
    }
    hot_set_call c = {.name = key.s, .bytes = value.s, .o = {.check_version = true, .version = version, .keep_ttl = true}};
    TRY(self, status, value.s.n > HOT_COPY_MAX, hot_set_with(st, self->db, &c, wait, &err));
    arg_free(&key);
    arg_free(&value);
    return status == FR_OK ? bool_out(c.done) : fail_status(status, &err);
}

PyObject *keys_delete(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    SELF;
    arg key;
    fr_error err;
    fr_status status;
    bool existed;
    if (nargs != 1 || names) return hand_on(o, "_delete", args, nargs, names);
    if (arg_key(args[0], &key) < 0) return NULL;
    TRY(self, status, false, hot_delete(st, self->db, key.s, &existed, wait, &err));
    arg_free(&key);
    return status == FR_OK ? PyLong_FromLong(existed) : fail_status(status, &err);
}
