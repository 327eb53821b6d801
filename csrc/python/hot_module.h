/* hot_module.h - what the files of _hot share: types, arguments, results, errors, and the GIL's release.
 *
 * abi3 on Pythons with a GIL, so only calls of the limited API. Functions return NULL or -1 with an exception set.
 */
#ifndef FRIDGE_PYTHON_HOT_MODULE_H
#define FRIDGE_PYTHON_HOT_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "fridge.h"
#include "hot.h"

/* A handle of an open segment. `st` is NULL while it is not open. The GIL guards `users`: calls that run without it. The
 * last one out closes; without a GIL the mapping stays until the handle is freed. */
typedef struct SegmentObject {
    PyObject_HEAD
    store *st;
    store *owned;
    long users;
    PyObject *cells; /* counters.c: name -> cell of the counters that were named */
    uint32_t db;
    bool decode; /* bytes go out as str */
    PyObject *snapshots; /* name -> Snapshot of a published var; NULL until the first: vars.c */
} SegmentObject;

extern PyTypeObject *segment_type, *table_type, *counter_type;
int segment_add(PyObject *module);
int table_add(PyObject *module);
int counter_add_type(PyObject *module);
int snapshot_add(PyObject *module);
int sharded_add_type(PyObject *module);

/* The methods of a SegmentObject that keys.c, hashes.c and counters.c hold. */
typedef PyObject *(*fast_method)(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names);
#define FAST(name, function, doc)                                                                                      \
    {name, (PyCFunction)(void (*)(void))(fast_method)function, METH_FASTCALL | METH_KEYWORDS, doc}
#define METHOD(name) PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)

/* --- errors ------------------------------------------------------------------------------------------------------- */

/* fail_status raises the class of fridge.errors that status.def names. Returns NULL. */
PyObject *fail_status(fr_status status, const fr_error *err);

/* sum_out makes a number of what an increment gave: of a uint64 column it is the 64 bits. field.p NULL: the only column.
 * (keys.c) */
PyObject *sum_out(SegmentObject *self, span name, span field, int64_t sum);
PyObject *fail_text(fr_status status, const char *format, ...);
PyObject *fail_closed(void);

/* --- calls ---------------------------------------------------------------------------------------------------------- */

/* hand_on calls self.<name>(*args, **named): what is not hot is written in Python. */
PyObject *hand_on(PyObject *self, const char *name, PyObject *const *args, Py_ssize_t nargs, PyObject *names);

/* --- arguments ---------------------------------------------------------------------------------------------------- */

/* take_slow sorts arguments given by name into out[0, total); names[i] is the i-th parameter. */
int take_slow(const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *given, const char *const *names,
              int required, int total, PyObject **out);

/* take fills out[0, total) with borrowed references; parameters that were not given stay NULL. */
static inline int take(const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *given,
                       const char *const *names, int required, int total, PyObject **out) {
    if (FR_UNLIKELY(given != NULL || nargs < required || nargs > total))
        return take_slow(method, args, nargs, given, names, required, total, out);
    for (int i = 0; i < total; i++) out[i] = i < nargs ? args[i] : NULL;
    return 0;
}

/* Bytes of an argument: borrowed from it, or from `owner`, which arg_free lets go of, or from text. */
typedef struct arg {
    span s;
    PyObject *owner;
    char text[VALUE_TEXT];
} arg;

/* arg_owned takes the bytes of a new reference to str or bytes, or NULL. */
int arg_owned(PyObject *owner, arg *a);
int arg_key_slow(PyObject *o, arg *a);
int arg_value_slow(PyObject *o, arg *a);

static inline int arg_bytes(PyObject *o, arg *a) {
    Py_ssize_t n;
    a->owner = NULL;
    if (FR_LIKELY(PyUnicode_CheckExact(o))) {
        if (!(a->s.p = PyUnicode_AsUTF8AndSize(o, &n))) return -1;
    } else if (PyBytes_CheckExact(o)) {
        a->s.p = PyBytes_AsString(o);
        n = PyBytes_Size(o);
    } else {
        return 1;
    }
    a->s.n = (size_t)n;
    return 0;
}

/* arg_key: str, bytes, bytearray or memoryview. arg_value: int and float too, as redis-py prints them. */
static inline int arg_key(PyObject *o, arg *a) {
    int status = arg_bytes(o, a);
    return FR_LIKELY(status <= 0) ? status : arg_key_slow(o, a);
}

static inline int arg_value(PyObject *o, arg *a) {
    int status = arg_bytes(o, a);
    return FR_LIKELY(status <= 0) ? status : arg_value_slow(o, a);
}

static inline void arg_free(arg *a) {
    if (FR_UNLIKELY(a->owner != NULL)) Py_DECREF(a->owner);
}

/* arg_int64 reads an int; NULL gives `standard`. */
int arg_int64(const char *what, PyObject *o, int64_t standard, int64_t *out);

/* --- results ------------------------------------------------------------------------------------------------------ */

/* A sink that makes bytes objects of up to HOT_COPY_MAX bytes; for longer ones, or without the GIL, bytes of a size that
 * is known beforehand (bytes_prepare). */
typedef struct bytes_sink {
    hot_sink sink;
    PyObject *bytes;
    char *to; /* prepared room */
    size_t n, cap;
} bytes_sink;

void bytes_init(bytes_sink *b);
/* bytes_prepare makes room for sink.n bytes that were too many at the first try. -1: no memory, no exception set. */
int bytes_prepare(bytes_sink *b);
/* bytes_result is what was delivered: bytes, or str when `decode`; None when not found. Frees the rest. */
PyObject *bytes_result(bytes_sink *b, bool found, bool decode);
void bytes_drop(bytes_sink *b);
/* bytes_again: was the value found, but too long for the first try? */
static inline bool bytes_again(const bytes_sink *b, fr_status status, bool found) {
    return FR_UNLIKELY(status == FR_OK && found && !b->sink.to && b->sink.n > b->cap);
}

static inline PyObject *bytes_out(const char *p, size_t n, bool decode) {
    if (decode) return PyUnicode_DecodeUTF8(p, (Py_ssize_t)n, "strict");
    return PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
}

static inline PyObject *bool_out(bool yes) { return PyBool_FromLong(yes); }

/* --- the second try ----------------------------------------------------------------------------------------------- */

void segment_enter(SegmentObject *self);
void segment_leave(SegmentObject *self);

/* WAITING runs `call` without the GIL while the segment is kept open. */
#define WAITING(segment, call)                                                                                         \
    do {                                                                                                               \
        segment_enter(segment);                                                                                        \
        Py_BEGIN_ALLOW_THREADS call;                                                                                   \
        Py_END_ALLOW_THREADS segment_leave(segment);                                                                   \
    } while (0)

/* TRY makes the two tries of hot.h. In `call`, `st` is the open store and `wait` says which try it is. Converting the
 * arguments may have run Python code, which may have closed the segment: so the store is asked for here, last of all.
 * Values that are long go to the second try at once. */
#define TRY(segment, status, long_value, call)                                                                         \
    do {                                                                                                               \
        bool wait = (long_value);                                                                                      \
        store *st = (segment)->st;                                                                                     \
        if (FR_UNLIKELY(!st)) {                                                                                        \
            status = FR_CLOSED;                                                                                        \
            break;                                                                                                     \
        }                                                                                                              \
        if (FR_LIKELY(!wait)) status = (call);                                                                         \
        if (FR_UNLIKELY(wait || hot_again(status))) {                                                                  \
            wait = true;                                                                                               \
            WAITING(segment, status = (call));                                                                         \
        }                                                                                                              \
    } while (0)

/* TRY_BYTES does so for calls that deliver to a bytes_sink. */
#define TRY_BYTES(segment, status, b, found, call)                                                                     \
    do {                                                                                                               \
        bool wait = false;                                                                                             \
        store *st = (segment)->st;                                                                                     \
        if (FR_UNLIKELY(!st)) {                                                                                        \
            status = FR_CLOSED;                                                                                        \
            break;                                                                                                     \
        }                                                                                                              \
        status = (call);                                                                                               \
        while (FR_UNLIKELY(hot_again(status) || bytes_again(b, status, found))) {                                      \
            wait = true;                                                                                               \
            status = bytes_prepare(b) < 0 ? FR_NOSPACE : !(st = (segment)->st) ? FR_CLOSED : FR_OK;                    \
            if (status != FR_OK) break;                                                                                \
            WAITING(segment, status = (call));                                                                         \
        }                                                                                                              \
    } while (0)

#endif
