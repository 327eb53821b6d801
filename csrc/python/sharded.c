/* sharded.c - the type ShardedCounter: one count over several cells, each written by the CPUs whose turn it is.
 *
 * increment() returns nothing: the sum would cost a look at every shard, which is what the shards are there to avoid. What
 * the lock-free add cannot do goes through hot_sharded_step.
 */
#include "python/hot_module.h"

typedef struct ShardedObject {
    PyObject_HEAD
    SegmentObject *segment;
    PyObject *name; /* bytes; h.name lies in it */
    hot_sharded h;
} ShardedObject;

static PyTypeObject *sharded_type;

#define SELF ShardedObject *self = (ShardedObject *)o

/* --- life ----------------------------------------------------------------------------------------------------------- */

static PyObject *fail_named(const ShardedObject *self, fr_status status, const fr_error *err) {
    if (status == FR_CLOSED || PyErr_Occurred()) return fail_status(status, NULL);
    const char *text = err && err->text[0] ? err->text : fridge_status_message(status);
    return fail_text(status, "sharded counter '%.64s': %s", self->h.name.n ? PyBytes_AsString(self->name) : "", text);
}

static int sharded_open(ShardedObject *self) {
    fr_error err;
    fr_status status;
    err.text[0] = 0;
    TRY(self->segment, status, false, hot_sharded_open(st, &self->h, wait, &err));
    if (status == FR_OK) return 0;
    fail_named(self, status, &err);
    hot_sharded_end(&self->h); /* not READY */
    return -1;
}

static int shards_of(PyObject *o, uint32_t *out) {
    int64_t n;
    *out = 0;
    if (!o || o == Py_None) return 0;
    if (arg_int64("shards", o, 0, &n) < 0) return -1;
    *out = (uint32_t)n;
    if (n >= 1 && n <= SHARDS_MAX) return 0;
    fail_text(FR_ARGUMENT, "shards is %lld; it may be 1 to %u", (long long)n, SHARDS_MAX);
    return -1;
}

static int sharded_init(PyObject *o, PyObject *args, PyObject *named) {
    SELF;
    PyObject *segment, *name, *shards = NULL;
    arg key;
    if (named && PyDict_Size(named) > 0) {
        PyErr_SetString(PyExc_TypeError, "ShardedCounter() of _hot takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "OO|O:ShardedCounter", &segment, &name, &shards)) return -1;
    if (!PyObject_TypeCheck(segment, segment_type) || self->segment) {
        PyErr_SetString(PyExc_TypeError, "ShardedCounter() of _hot needs an open Segment, once");
        return -1;
    }
    if (shards_of(shards, &self->h.shards) < 0 || arg_key(name, &key) < 0) return -1;
    self->name = PyBytes_FromStringAndSize(key.s.p, (Py_ssize_t)key.s.n);
    arg_free(&key);
    if (!self->name) return -1;
    self->h.name = (span){PyBytes_AsString(self->name), (size_t)PyBytes_Size(self->name)};
    self->segment = (SegmentObject *)Py_NewRef(segment);
    return sharded_open(self);
}

static void sharded_dealloc(PyObject *o) {
    SELF;
    PyTypeObject *type = Py_TYPE(o);
    hot_sharded_end(&self->h);
    Py_XDECREF((PyObject *)self->segment);
    Py_XDECREF(self->name);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(o);
    Py_DECREF(type);
}

/* A handle whose making failed has no names. */
#define READY                                                                                                          \
    if (FR_UNLIKELY(!self->segment || !self->h.names)) return fail_closed()

/* --- adding --------------------------------------------------------------------------------------------------------- */

static PyObject *add_slowly(ShardedObject *self, uint32_t shard, int64_t by) {
    fr_error err;
    fr_status status;
    err.text[0] = 0;
    TRY(self->segment, status, false, hot_sharded_step(st, &self->h, shard, by, wait, &err));
    return status == FR_OK ? Py_NewRef(Py_None) : fail_named(self, status, &err);
}

static PyObject *add(ShardedObject *self, int64_t by) {
    int64_t sum;
    READY;
    store *st = self->segment->st;
    if (FR_UNLIKELY(!st)) return fail_closed();
    if (FR_UNLIKELY(st->s->readonly)) return fail_status(FR_READONLY, NULL);
    uint32_t shard = hot_sharded_here(&self->h);
    fr_status status = counter_add(st->s, self->h.cell[shard], by, &sum);
    if (FR_UNLIKELY(status == FR_RETRY)) return add_slowly(self, shard, by);
    if (FR_UNLIKELY(st->s->lost)) status = FR_LOST;
    return FR_LIKELY(status == FR_OK) ? Py_NewRef(Py_None) : fail_named(self, status, NULL);
}

static const char *const by_parameters[] = {"by"};

static PyObject *sharded_increment(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    PyObject *in[1];
    int64_t by;
    if (FR_LIKELY(nargs == 0 && !names)) return add((ShardedObject *)o, 1);
    if (take("increment", args, nargs, names, by_parameters, 0, 1, in) < 0 || arg_int64("by", in[0], 1, &by) < 0) return NULL;
    return add((ShardedObject *)o, by);
}

static PyObject *sharded_decrement(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    PyObject *in[1];
    int64_t by;
    if (FR_LIKELY(nargs == 0 && !names)) return add((ShardedObject *)o, -1);
    if (take("decrement", args, nargs, names, by_parameters, 0, 1, in) < 0 || arg_int64("by", in[0], 1, &by) < 0) return NULL;
    if (by == INT64_MIN) return fail_text(FR_OVERFLOW, "decrement would overflow");
    return add((ShardedObject *)o, -by);
}

/* --- the whole ------------------------------------------------------------------------------------------------------ */

static PyObject *sharded_get(PyObject *o, PyObject *unused) {
    SELF;
    int64_t sum = 0;
    fr_error err;
    fr_status status;
    (void)unused;
    READY;
    TRY(self->segment, status, false, hot_sharded_sum(st, &self->h, &sum, wait, &err));
    return status == FR_OK ? PyLong_FromLongLong(sum) : fail_named(self, status, &err);
}

static PyObject *sharded_reset(PyObject *o, PyObject *unused) {
    SELF;
    fr_error err;
    fr_status status;
    (void)unused;
    READY;
    TRY(self->segment, status, false, hot_sharded_reset(st, &self->h, wait, &err));
    return status == FR_OK ? PyLong_FromLong(0) : fail_named(self, status, &err);
}

static PyObject *sharded_exists(PyObject *o, PyObject *unused) {
    SELF;
    bool exists = false;
    fr_error err;
    fr_status status;
    (void)unused;
    READY;
    TRY(self->segment, status, false, hot_sharded_exists(st, &self->h, &exists, wait, &err));
    return status == FR_OK ? bool_out(exists) : fail_named(self, status, &err);
}

static PyObject *sharded_delete(PyObject *o, PyObject *unused) {
    SELF;
    bool existed = false;
    fr_error err;
    fr_status status;
    (void)unused;
    READY;
    TRY(self->segment, status, false, hot_sharded_delete(st, &self->h, &existed, wait, &err));
    return status == FR_OK ? bool_out(existed) : fail_named(self, status, &err);
}

/* --- facts ---------------------------------------------------------------------------------------------------------- */

static PyObject *sharded_name(PyObject *o, void *unused) {
    SELF;
    (void)unused;
    return self->name ? bytes_out(self->h.name.p, self->h.name.n, true) : fail_closed();
}

static PyObject *sharded_shards(PyObject *o, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLong(((ShardedObject *)o)->h.shards);
}

static PyObject *sharded_names(PyObject *o, void *unused) {
    SELF;
    (void)unused;
    READY;
    PyObject *out = PyTuple_New((Py_ssize_t)self->h.shards);
    for (uint32_t i = 0; out && i < self->h.shards; i++) {
        span name = hot_sharded_name(&self->h, i);
        PyObject *one = bytes_out(name.p, name.n, true);
        if (!one || PyTuple_SetItem(out, (Py_ssize_t)i, one) < 0) Py_CLEAR(out);
    }
    return out;
}

/* --- the type ------------------------------------------------------------------------------------------------------- */

static PyMethodDef methods[] = {
    FAST("increment", sharded_increment, "increment(by=1)\n--\n\nAdd to this CPU's shard."),
    FAST("decrement", sharded_decrement, "decrement(by=1)\n--\n\nSubtract from this CPU's shard."),
    {"get", sharded_get, METH_NOARGS, "Return the sum of the shards."},
    {"reset", sharded_reset, METH_NOARGS, "Set each shard to 0, one after the other, and return 0."},
    {"exists", sharded_exists, METH_NOARGS, "Return whether the sharded counter exists."},
    {"delete", sharded_delete, METH_NOARGS, "Delete shards and name; return whether it existed."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"name", sharded_name, NULL, "The sharded counter's name.", NULL},
    {"shards", sharded_shards, NULL, "How many shards there are.", NULL},
    {"names", sharded_names, NULL, "The shards' names: counters of their own.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A count over several cells: ShardedCounter(segment, name, shards)."},
    {Py_tp_init, (void *)sharded_init},
    {Py_tp_dealloc, (void *)sharded_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {"fridge._hot.ShardedCounter", sizeof(ShardedObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

int sharded_add_type(PyObject *module) {
    sharded_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return sharded_type ? PyModule_AddObjectRef(module, "ShardedCounter", (PyObject *)sharded_type) : -1;
}
