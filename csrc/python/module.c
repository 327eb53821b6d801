/* module.c - the module fridge._hot: errors, arguments and results that its types share, and the bench's reference. */
#include "python/hot_module.h"

#include <stdarg.h>

/* --- errors ------------------------------------------------------------------------------------------------------- */

/* The class of fridge.errors with this name; looked up only when something failed. */
static PyObject *error_class(const char *name) {
    PyObject *errors = PyImport_ImportModule("fridge.errors");
    if (!errors) return NULL;
    PyObject *found = PyObject_GetAttrString(errors, strcmp(name, "None") == 0 ? "FridgeError" : name);
    Py_DECREF(errors);
    return found;
}

static PyObject *raise_error(fr_status status, PyObject *message) {
    PyObject *type = error_class(fridge_status_exception(status));
    PyObject *error = type && message ? PyObject_CallFunctionObjArgs(type, message, NULL) : NULL;
    PyObject *name = error ? PyUnicode_FromString(fridge_status_name(status)) : NULL;
    if (name && PyObject_SetAttrString(error, "status", name) == 0) PyErr_SetObject(type, error);
    Py_XDECREF(name);
    Py_XDECREF(error);
    Py_XDECREF(type);
    Py_XDECREF(message);
    return NULL;
}

PyObject *fail_status(fr_status status, const fr_error *err) {
    if (PyErr_Occurred()) return NULL;
    const char *text = status != FR_CLOSED && err && err->text[0] ? err->text : fridge_status_message(status);
    return raise_error(status, PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace"));
}

PyObject *fail_text(fr_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    PyObject *message = PyUnicode_FromFormatV(format, args);
    va_end(args);
    return raise_error(status, message);
}

PyObject *fail_closed(void) { return fail_status(FR_CLOSED, NULL); }

/* --- arguments ---------------------------------------------------------------------------------------------------- */

static PyObject *bad_call(const char *format, const char *method, const char *what) {
    return PyErr_Format(PyExc_TypeError, format, method, what);
}

static int place(const char *method, PyObject *name, PyObject *value, const char *const *names, int total, PyObject **out) {
    for (int i = 0; i < total; i++) {
        if (PyUnicode_CompareWithASCIIString(name, names[i]) != 0) continue;
        if (out[i]) {
            bad_call("%s() got multiple values for argument '%s'", method, names[i]);
            return -1;
        }
        out[i] = value;
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", method, name);
    return -1;
}

int take_slow(const char *method, PyObject *const *args, Py_ssize_t nargs, PyObject *given, const char *const *names,
              int required, int total, PyObject **out) {
    Py_ssize_t named = given ? PyTuple_Size(given) : 0;
    if (nargs > total) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", method, total, nargs);
        return -1;
    }
    for (int i = 0; i < total; i++) out[i] = i < nargs ? args[i] : NULL;
    for (Py_ssize_t i = 0; i < named; i++)
        if (place(method, PyTuple_GetItem(given, i), args[nargs + i], names, total, out) < 0) return -1;
    for (int i = 0; i < required; i++) {
        if (out[i]) continue;
        bad_call("%s() missing required argument '%s'", method, names[i]);
        return -1;
    }
    return 0;
}

static int type_refused(PyObject *o, const char *what) {
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(o), "__name__");
    const char *text = name ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
    if (text) fail_text(FR_ARGUMENT, "%s %s is no %s", strchr("aeiou", *text) ? "an" : "a", text, what);
    Py_XDECREF(name);
    return -1;
}

/* Bytes that `owner`, a new reference or NULL, holds. */
int arg_owned(PyObject *owner, arg *a) {
    char *p;
    Py_ssize_t n;
    if (!owner) return -1;
    if (PyUnicode_Check(owner)) p = (char *)PyUnicode_AsUTF8AndSize(owner, &n);
    else if (PyBytes_AsStringAndSize(owner, &p, &n) < 0) p = NULL;
    if (!p) {
        Py_DECREF(owner);
        return -1;
    }
    a->owner = owner;
    a->s = (span){p, (size_t)n};
    return 0;
}

/* Subclasses of str and bytes, and buffers, which the limited API can only copy. */
static int buffer_bytes(PyObject *o, arg *a) {
    if (PyUnicode_Check(o) || PyBytes_Check(o)) {
        Py_INCREF(o);
        return arg_owned(o, a);
    }
    if (PyByteArray_Check(o) || PyMemoryView_Check(o)) return arg_owned(PyBytes_FromObject(o), a);
    return 1;
}

int arg_key_slow(PyObject *o, arg *a) {
    int status = buffer_bytes(o, a);
    return status <= 0 ? status : type_refused(o, "key: give str or bytes");
}

int arg_value_slow(PyObject *o, arg *a) {
    int status = buffer_bytes(o, a), overflow;
    if (status <= 0) return status;
    if (PyBool_Check(o)) return type_refused(o, "value: convert it to str, bytes, int or float first");
    if (PyFloat_Check(o)) return arg_owned(PyObject_Repr(o), a);
    if (!PyLong_Check(o)) return type_refused(o, "value: give str, bytes, int or float");
    long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow) return arg_owned(PyObject_Str(o), a);
    if (v == -1 && PyErr_Occurred()) return -1;
    a->s = hot_int_text(v, a->text);
    return 0;
}

int arg_int64(const char *what, PyObject *o, int64_t standard, int64_t *out) {
    int overflow = 0;
    *out = standard;
    if (!o) return 0;
    if (FR_UNLIKELY(PyBool_Check(o) || !(PyLong_Check(o) || PyIndex_Check(o)))) {
        PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(o), "__name__");
        if (name) fail_text(FR_NOTINT, "%s is a %U and must be an int", what, name);
        Py_XDECREF(name);
        return -1;
    }
    *out = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (FR_UNLIKELY(overflow)) {
        fail_text(FR_NOTINT, "%s is out of the range of a 64-bit integer", what);
        return -1;
    }
    return FR_UNLIKELY(*out == -1) && PyErr_Occurred() ? -1 : 0;
}

/* --- calls --------------------------------------------------------------------------------------------------------- */

PyObject *hand_on(PyObject *o, const char *name, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    PyObject *method = PyObject_GetAttrString(o, name), *out = NULL;
    PyObject *tuple = PyTuple_New(nargs), *dict = named ? PyDict_New() : NULL;
    bool ok = method && tuple && (!named || dict);
    for (Py_ssize_t i = 0; ok && i < nargs; i++) PyTuple_SetItem(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; ok && i < named; i++) ok = PyDict_SetItem(dict, PyTuple_GetItem(names, i), args[nargs + i]) == 0;
    if (ok) out = PyObject_Call(method, tuple, dict);
    Py_XDECREF(method);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return out;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

/* Where the bytes of a bytes object begin. The limited API tells by a call for each object; it is the same for all. */
static ptrdiff_t bytes_offset;

static int measure_bytes(void) {
    PyObject *some = PyBytes_FromStringAndSize("some", 4);
    if (!some) return -1;
    bytes_offset = PyBytes_AsString(some) - (char *)some;
    Py_DECREF(some);
    return 0;
}

static char *bytes_room(hot_sink *sink, size_t n) {
    bytes_sink *b = (bytes_sink *)sink;
    if (FR_UNLIKELY(b->bytes != NULL)) { /* a read that lost a race comes again */
        if (b->n == n) return b->to;
        Py_DECREF(b->bytes);
        b->bytes = NULL;
    }
    if (FR_UNLIKELY(n > b->cap)) return NULL;
    if (FR_UNLIKELY(!(b->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n)))) return NULL;
    b->n = n;
    return b->to = (char *)b->bytes + bytes_offset;
}

static char *fixed_room(hot_sink *sink, size_t n) {
    bytes_sink *b = (bytes_sink *)sink;
    return n <= b->cap ? b->to : NULL;
}

void bytes_init(bytes_sink *b) {
    b->sink.room = bytes_room;
    b->sink.to = NULL;
    b->sink.n = 0;
    b->bytes = NULL;
    b->cap = HOT_COPY_MAX;
}

int bytes_prepare(bytes_sink *b) {
    size_t n = b->sink.n > 1024 ? b->sink.n : 1024;
    bytes_drop(b);
    b->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
    if (!b->bytes) {
        PyErr_Clear();
        return -1;
    }
    b->sink.room = fixed_room;
    b->to = PyBytes_AsString(b->bytes);
    b->n = b->cap = n;
    return 0;
}

void bytes_drop(bytes_sink *b) {
    Py_XDECREF(b->bytes);
    b->bytes = NULL;
}

PyObject *bytes_result(bytes_sink *b, bool found, bool decode) {
    if (!found) {
        bytes_drop(b);
        return Py_NewRef(Py_None);
    }
    if (FR_UNLIKELY(!b->sink.to)) {
        bytes_drop(b);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    if (FR_LIKELY(!decode && b->n == b->sink.n)) return b->bytes;
    PyObject *out = bytes_out(b->sink.to, b->sink.n, decode);
    bytes_drop(b);
    return out;
}

/* --- the module --------------------------------------------------------------------------------------------------- */

static uint64_t reference_cell = 1000;

/* What an ideal counter would cost: one atomic add and an int that is not cached. */
static PyObject *reference_add(PyObject *module, PyObject *const *args, Py_ssize_t nargs) {
    (void)module, (void)args, (void)nargs;
    return PyLong_FromLongLong((long long)__atomic_add_fetch(&reference_cell, 1, __ATOMIC_SEQ_CST));
}

static PyMethodDef functions[] = {
    {"_reference_add", (PyCFunction)(void (*)(void))reference_add, METH_FASTCALL,
     "The reference that tests/bench measures counters against: one atomic add in private memory."},
    {NULL, NULL, 0, NULL},
};

static int module_exec(PyObject *module) {
    if (measure_bytes() < 0 || segment_add(module) < 0 || table_add(module) < 0) return -1;
    return counter_add_type(module) < 0 || sharded_add_type(module) < 0 || snapshot_add(module) < 0 ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)module_exec},
#ifdef Py_GIL_DISABLED
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "fridge._hot", "The mmap door: what takes nanoseconds.", 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__hot(void) { return PyModuleDef_Init(&definition); }
