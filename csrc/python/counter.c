/* counter.c - the type Counter: a name and the address of its cell, changed without a latch.
 *
 * The address is good for the life of the segment (store/counter.h). Whatever the lock-free call cannot do (the counter was
 * deleted, expires, or is in a transaction's hands) goes through hot_counter_step. A handle on a read-only segment has no
 * address and reads by name.
 */
#include "python/hot_module.h"

typedef struct CounterObject {
    PyObject_HEAD
    SegmentObject *segment;
    PyObject *name; /* bytes */
    span key;       /* in name */
    uint64_t cell;  /* offset, 0 = not known */
} CounterObject;

PyTypeObject *counter_type;

#define SELF CounterObject *self = (CounterObject *)o
#define OPEN                                                                                                           \
    store *st = self->segment ? self->segment->st : NULL;                                                              \
    if (FR_UNLIKELY(!st)) return fail_closed()

/* --- life --------------------------------------------------------------------------------------------------------- */

static int open_cell(CounterObject *self, int64_t initial) {
    fr_error err;
    fr_status status;
    if (!self->segment->st) {
        fail_closed();
        return -1;
    }
    if (self->segment->st->s->readonly) return 0;
    TRY(self->segment, status, false, hot_counter_open(st, self->key, initial, &self->cell, wait, &err));
    return status == FR_OK ? 0 : (fail_status(status, &err), -1);
}

static int counter_init(PyObject *o, PyObject *args, PyObject *named) {
    SELF;
    PyObject *segment, *name, *initial = NULL;
    arg key;
    int64_t start;
    if (named && PyDict_Size(named) > 0) {
        PyErr_SetString(PyExc_TypeError, "Counter() of _hot takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "OO|O:Counter", &segment, &name, &initial)) return -1;
    if (!PyObject_TypeCheck(segment, segment_type) || self->segment) {
        PyErr_SetString(PyExc_TypeError, "Counter() of _hot needs an open Segment, once");
        return -1;
    }
    if (arg_int64("initial", initial, 0, &start) < 0 || arg_key(name, &key) < 0) return -1;
    self->name = PyBytes_FromStringAndSize(key.s.p, (Py_ssize_t)key.s.n);
    arg_free(&key);
    if (!self->name) return -1;
    self->key = (span){PyBytes_AsString(self->name), (size_t)PyBytes_Size(self->name)};
    self->segment = (SegmentObject *)Py_NewRef(segment);
    return open_cell(self, start);
}

static void counter_dealloc(PyObject *o) {
    SELF;
    PyTypeObject *type = Py_TYPE(o);
    Py_XDECREF((PyObject *)self->segment);
    Py_XDECREF(self->name);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(o);
    Py_DECREF(type);
}

/* The lock-free calls read zeros once the segment file is lost. */
static inline fr_status unless_lost(store *st, fr_status status) { return FR_UNLIKELY(st->s->lost) ? FR_LOST : status; }

/* --- the slow half ------------------------------------------------------------------------------------------------ */

static fr_status step(CounterObject *self, hot_counter_call *c, fr_error *err) {
    fr_status status;
    c->name = self->key;
    TRY(self->segment, status, false, hot_counter_step(st, c, wait, err));
    if (status == FR_OK && c->cell) self->cell = c->cell;
    return status;
}

static fr_status read_by_name(CounterObject *self, int64_t *out, bool *exists, fr_error *err) {
    fr_status status;
    TRY(self->segment, status, false, hot_counter_read(st, self->key, out, exists, wait, err));
    return status;
}

/* --- adding ------------------------------------------------------------------------------------------------------- */

static PyObject *add_slowly(CounterObject *self, int64_t by) {
    fr_error err;
    hot_counter_call c = {.step = HOT_ADD, .v = by};
    fr_status status = step(self, &c, &err);
    return status == FR_OK ? PyLong_FromLongLong(c.out) : fail_status(status, &err);
}

static PyObject *add(CounterObject *self, int64_t by) {
    int64_t sum;
    OPEN;
    if (FR_UNLIKELY(st->s->readonly)) return fail_status(FR_READONLY, NULL);
    fr_status status = FR_LIKELY(self->cell) ? counter_add(st->s, self->cell, by, &sum) : FR_RETRY;
    if (FR_UNLIKELY(status == FR_RETRY)) return add_slowly(self, by);
    if (FR_UNLIKELY(st->s->lost)) status = FR_LOST;
    return FR_LIKELY(status == FR_OK) ? PyLong_FromLongLong(sum) : fail_status(status, NULL);
}

/* --- adding within bounds ------------------------------------------------------------------------------------------- */

enum { ADD_BY, ADD_MAX, ADD_MIN, ADD_SATURATE };
static const char *const add_parameters[] = {"by", "max", "min", "saturate"};
#define ADD_TOTAL ((int)FR_COUNTOF(add_parameters))

static bool given(PyObject *o) { return o && o != Py_None; }

static PyObject *add_within_slowly(CounterObject *self, int64_t by, const bounds *b) {
    fr_error err;
    hot_counter_call c = {.step = HOT_ADD_WITHIN, .v = by, .within = *b};
    fr_status status = step(self, &c, &err);
    if (status != FR_OK) return fail_status(status, &err);
    return c.done ? PyLong_FromLongLong(c.out) : Py_NewRef(Py_None);
}

static PyObject *add_within(CounterObject *self, int64_t by, const bounds *b) {
    int64_t sum;
    bool done;
    OPEN;
    if (st->s->readonly) return fail_status(FR_READONLY, NULL);
    fr_status status = self->cell ? counter_add_within(st->s, self->cell, by, b, &sum, &done) : FR_RETRY;
    if (status == FR_RETRY) return add_within_slowly(self, by, b);
    if (FR_UNLIKELY(st->s->lost)) status = FR_LOST;
    if (FR_UNLIKELY(status != FR_OK)) return fail_status(status, NULL);
    return done ? PyLong_FromLongLong(sum) : Py_NewRef(Py_None);
}

static int bounds_of(PyObject *const *in, bounds *b) {
    bool above = given(in[ADD_MAX]), below = given(in[ADD_MIN]);
    PyObject *saturate = in[ADD_SATURATE];
    *b = (bounds){.saturate = saturate == Py_True, .open_above = !above, .open_below = !below};
    if (saturate && saturate != Py_True && saturate != Py_False) {
        fail_text(FR_ARGUMENT, "saturate must be True or False");
        return -1;
    }
    if (b->saturate && !above && !below) {
        fail_text(FR_ARGUMENT, "saturate needs a bound: give max or min");
        return -1;
    }
    if (arg_int64("max", above ? in[ADD_MAX] : NULL, INT64_MAX, &b->upper) < 0) return -1;
    if (arg_int64("min", below ? in[ADD_MIN] : NULL, INT64_MIN, &b->lower) < 0) return -1;
    if (b->upper >= b->lower) return 0;
    fail_text(FR_ARGUMENT, "max is %lld, below min, which is %lld", (long long)b->upper, (long long)b->lower);
    return -1;
}

static PyObject *word_max, *word_min; /* interned, as the names at the place of a call are */

/* One bound, by its interned name, and at most `by`: what most calls give. Without a look at the text of names: 20 ns. */
static bool one_bound(PyObject *const *args, Py_ssize_t nargs, PyObject *names, PyObject **in) {
    if (nargs > 1 || !names || PyTuple_Size(names) != 1) return false;
    PyObject *name = PyTuple_GetItem(names, 0);
    if (name != word_max && name != word_min) return false;
    in[ADD_BY] = nargs ? args[0] : NULL;
    in[ADD_MAX] = name == word_max ? args[nargs] : NULL;
    in[ADD_MIN] = name == word_min ? args[nargs] : NULL;
    in[ADD_SATURATE] = NULL;
    return true;
}

/* increment and decrement: sign is 1 or -1; only `by` may be given by place. */
static PyObject *add_with(PyObject *o, const char *method, int sign, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    PyObject *in[FR_COUNTOF(add_parameters)];
    int64_t by;
    bounds b;
    int total = nargs > 1 ? 1 : ADD_TOTAL; /* so that a second one by place is one too many */
    if (!one_bound(args, nargs, names, in) && take(method, args, nargs, names, add_parameters, 0, total, in) < 0) return NULL;
    if (arg_int64("by", in[ADD_BY], 1, &by) < 0) return NULL;
    if (sign < 0 && by == INT64_MIN) return fail_text(FR_OVERFLOW, "decrement would overflow");
    if (!given(in[ADD_MAX]) && !given(in[ADD_MIN]) && !in[ADD_SATURATE]) return add((CounterObject *)o, sign * by);
    if (bounds_of(in, &b) < 0) return NULL;
    if (b.open_above && b.open_below) return add((CounterObject *)o, sign * by);
    return add_within((CounterObject *)o, sign * by, &b);
}

static PyObject *counter_increment(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    if (FR_LIKELY(nargs == 0 && !names)) return add((CounterObject *)o, 1);
    return add_with(o, "increment", 1, args, nargs, names);
}

static PyObject *counter_decrement(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    if (FR_LIKELY(nargs == 0 && !names)) return add((CounterObject *)o, -1);
    return add_with(o, "decrement", -1, args, nargs, names);
}

/* --- reading and setting ------------------------------------------------------------------------------------------ */

static PyObject *counter_get_method(PyObject *o, PyObject *unused) {
    SELF;
    int64_t v = 0;
    bool exists;
    fr_error err;
    (void)unused;
    OPEN;
    err.text[0] = 0;
    fr_status status = FR_LIKELY(self->cell) ? unless_lost(st, hot_counter_get(st, self->cell, &v)) : FR_RETRY;
    if (FR_UNLIKELY(status == FR_RETRY)) status = read_by_name(self, &v, &exists, &err);
    return FR_LIKELY(status == FR_OK) ? PyLong_FromLongLong(v) : fail_status(status, &err);
}

static PyObject *set_to(CounterObject *self, int64_t v, PyObject *result) {
    fr_error err;
    OPEN;
    if (st->s->readonly) return fail_status(FR_READONLY, NULL);
    err.text[0] = 0;
    fr_status status = self->cell ? unless_lost(st, hot_counter_set(st, self->cell, v)) : FR_RETRY;
    hot_counter_call c = {.step = HOT_SET, .v = v};
    if (status == FR_RETRY) status = step(self, &c, &err);
    return status == FR_OK ? Py_NewRef(result) : fail_status(status, &err);
}

static PyObject *counter_set_method(PyObject *o, PyObject *value) {
    int64_t v;
    return arg_int64("value", value, 0, &v) < 0 ? NULL : set_to((CounterObject *)o, v, Py_None);
}

static PyObject *counter_reset(PyObject *o, PyObject *unused) {
    (void)unused;
    PyObject *zero = PyLong_FromLong(0), *out = zero ? set_to((CounterObject *)o, 0, zero) : NULL;
    Py_XDECREF(zero);
    return out;
}

static PyObject *counter_compare_and_set(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const char *const parameters[] = {"expected", "new"};
    SELF;
    PyObject *in[2];
    fr_error err;
    hot_counter_call c = {.step = HOT_CAS};
    if (take("compare_and_set", args, nargs, names, parameters, 2, 2, in) < 0) return NULL;
    if (arg_int64("expected", in[0], 0, &c.expected) < 0 || arg_int64("new", in[1], 0, &c.v) < 0) return NULL;
    OPEN;
    if (st->s->readonly) return fail_status(FR_READONLY, NULL);
    err.text[0] = 0;
    fr_status status = self->cell ? unless_lost(st, hot_counter_cas(st, self->cell, c.expected, c.v, &c.done)) : FR_RETRY;
    if (status == FR_RETRY) status = step(self, &c, &err);
    return status == FR_OK ? bool_out(c.done) : fail_status(status, &err);
}

static PyObject *counter_exists(PyObject *o, PyObject *unused) {
    SELF;
    int64_t v;
    bool exists = false;
    fr_error err;
    (void)unused;
    if (!self->segment) return fail_closed();
    fr_status status = read_by_name(self, &v, &exists, &err);
    return status == FR_OK ? bool_out(exists) : fail_status(status, &err);
}

static PyObject *counter_delete(PyObject *o, PyObject *unused) {
    SELF;
    bool existed;
    fr_error err;
    fr_status status;
    (void)unused;
    if (!self->segment) return fail_closed();
    TRY(self->segment, status, false, hot_delete(st, 0, self->key, &existed, wait, &err));
    return status == FR_OK ? bool_out(existed) : fail_status(status, &err);
}

static PyObject *counter_name(PyObject *o, void *unused) {
    SELF;
    (void)unused;
    return self->name ? bytes_out(self->key.p, self->key.n, true) : fail_closed();
}

/* --- the type ----------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    FAST("increment", counter_increment,
         "increment(by=1, *, max=None, min=None, saturate=False)\n--\n\nAdd and return the sum. With bounds: None, and "
         "nothing is changed, when the sum would lie outside them; with saturate the nearer bound takes its place."),
    FAST("decrement", counter_decrement,
         "decrement(by=1, *, max=None, min=None, saturate=False)\n--\n\nSubtract and return what is left. Bounds as in "
         "increment()."),
    {"get", counter_get_method, METH_NOARGS, "Return the value; 0 when the counter does not exist."},
    {"set", counter_set_method, METH_O, "set(value, /)\n--\n\nSet the value."},
    {"reset", counter_reset, METH_NOARGS, "Set to 0 and return 0."},
    FAST("compare_and_set", counter_compare_and_set,
         "compare_and_set(expected, new)\n--\n\nSet to new if the value is expected; return whether it was."),
    {"exists", counter_exists, METH_NOARGS, "Return whether the counter exists."},
    {"delete", counter_delete, METH_NOARGS, "Delete; return whether it existed. The next change starts at 0."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"name", counter_name, NULL, "The counter's name.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A named 64-bit integer: Counter(segment, name, initial)."},
    {Py_tp_init, (void *)counter_init},
    {Py_tp_dealloc, (void *)counter_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {"fridge._hot.Counter", sizeof(CounterObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

int counter_add_type(PyObject *module) {
    if (!(word_max = PyUnicode_InternFromString("max")) || !(word_min = PyUnicode_InternFromString("min"))) return -1;
    counter_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return counter_type ? PyModule_AddObjectRef(module, "Counter", (PyObject *)counter_type) : -1;
}
