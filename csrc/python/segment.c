/* segment.c - the type Segment: a handle of an open segment, and its life. Its methods are in keys.c, hashes.c and counters.c.
 *
 * Made from the address that fridge_open gave (fridge/store.py opens); from then on the handle owns the store. Calls that
 * let go of the GIL are counted, so that close() in one thread does not unmap under another.
 */
#include "python/methods.h"

PyTypeObject *segment_type;

void segment_enter(SegmentObject *self) { __atomic_fetch_add(&self->users, 1, __ATOMIC_RELAXED); }

static void close_owned(SegmentObject *self) {
    store *owned = self->owned;
    self->owned = NULL;
    if (owned) fridge_close(owned);
}

void segment_leave(SegmentObject *self) {
    long users = __atomic_sub_fetch(&self->users, 1, __ATOMIC_ACQ_REL);
#ifndef Py_GIL_DISABLED
    if (FR_UNLIKELY(users == 0 && !self->st)) close_owned(self);
#else
    (void)users;
#endif
}

static int segment_init(PyObject *o, PyObject *args, PyObject *named) {
    SegmentObject *self = (SegmentObject *)o;
    unsigned long long address;
    unsigned int db;
    int decode;
    if (named && PyDict_Size(named) > 0) {
        PyErr_SetString(PyExc_TypeError, "Segment() takes no keyword arguments");
        return -1;
    }
    if (!PyArg_ParseTuple(args, "KIp:Segment", &address, &db, &decode)) return -1;
    if (self->owned || self->users) {
        fail_text(FR_ARGUMENT, "this handle has been opened already");
        return -1;
    }
    Py_XDECREF(self->cells); /* of the segment that this handle was of before */
    if (!(self->cells = PyDict_New())) return -1;
    self->st = self->owned = (store *)(uintptr_t)address;
    self->db = db;
    self->decode = decode;
    return 0;
}

static void segment_dealloc(PyObject *o) {
    SegmentObject *self = (SegmentObject *)o;
    PyTypeObject *type = Py_TYPE(o);
    self->st = NULL;
    close_owned(self);
    Py_XDECREF(self->snapshots);
    Py_XDECREF(self->cells);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(o);
    Py_DECREF(type);
}

static PyObject *segment_close_method(PyObject *o, PyObject *unused) {
    SegmentObject *self = (SegmentObject *)o;
    (void)unused;
    self->st = NULL;
#ifndef Py_GIL_DISABLED
    if (self->users == 0) close_owned(self);
#endif
    return Py_NewRef(Py_None);
}

static PyObject *segment_hold(PyObject *o, PyObject *unused) {
    SegmentObject *self = (SegmentObject *)o;
    (void)unused;
    if (!self->st) return fail_closed();
    segment_enter(self);
    return PyLong_FromUnsignedLongLong((unsigned long long)(uintptr_t)self->st);
}

static PyObject *segment_release(PyObject *o, PyObject *unused) {
    (void)unused;
    segment_leave((SegmentObject *)o);
    return Py_NewRef(Py_None);
}

static PyObject *segment_closed(PyObject *o, void *unused) {
    (void)unused;
    return bool_out(!((SegmentObject *)o)->st);
}

static PyObject *segment_readonly(PyObject *o, void *unused) {
    SegmentObject *self = (SegmentObject *)o;
    (void)unused;
    return self->st ? bool_out(self->st->s->readonly) : fail_closed();
}

static PyGetSetDef properties[] = {
    {"closed", segment_closed, NULL, "Whether close() was called.", NULL},
    {"readonly", segment_readonly, NULL, "Whether the segment is mapped without the right to write.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    KEY_METHODS,
    HASH_METHODS,
    VARS_METHODS,
    COUNTER_METHODS,
    {"_close", segment_close_method, METH_NOARGS, "Unmap, once no other thread is in a call."},
    {"_hold", segment_hold, METH_NOARGS, "Return the store's address and keep it open until _release()."},
    {"_release", segment_release, METH_NOARGS, "Undo one _hold()."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A handle of an open segment: Segment(address, db, decode)."},
    {Py_tp_init, (void *)segment_init},
    {Py_tp_dealloc, (void *)segment_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {"fridge._hot.Segment", sizeof(SegmentObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

int segment_add(PyObject *module) {
    segment_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return segment_type ? PyModule_AddObjectRef(module, "Segment", (PyObject *)segment_type) : -1;
}
