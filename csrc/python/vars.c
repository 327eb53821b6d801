/* vars.c - published vars: Segment.get_vars in the case that nothing has changed, and the type Snapshot, which knows what was
 * read and where to look whether it still is so. What JSON means, and waiting, is fridge/vars.py's.
 *
 * A Snapshot's data and watch never change together with its value by halves: a newer version makes a new Snapshot, which
 * replaces the old one in the handle's dict. Only where the key lies may be noted anew.
 */
#include "python/methods.h"

typedef struct SnapshotObject {
    PyObject_HEAD
    hot_watch w;
    PyObject *data;  /* bytes as they were read */
    PyObject *value; /* what get_vars returns for them; NULL until kept */
} SnapshotObject;

static PyTypeObject *snapshot_type;

/* --- Segment's methods -------------------------------------------------------------------------------------------------- */

/* The key, looked up: is its version still the snapshot's? Notes where it lies now. */
static int look_again(SegmentObject *self, PyObject *name, SnapshotObject *snapshot) {
    arg key;
    fr_error err;
    fr_status status;
    bool same = false;
    hot_watch w = snapshot->w;
    if (arg_key(name, &key) < 0) return -1;
    TRY(self, status, false, hot_watch_again(st, 0, key.s, &w, &same, wait, &err));
    arg_free(&key);
    if (status != FR_OK || !same) return 0; /* what went wrong the full way will say */
    snapshot->w = w;
    return 1;
}

PyObject *vars_get(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    SegmentObject *self = (SegmentObject *)o;
    if (FR_LIKELY(nargs == 1 && !names && self->snapshots && self->st && PyUnicode_CheckExact(args[0]))) {
        SnapshotObject *found = (SnapshotObject *)PyDict_GetItemWithError(self->snapshots, args[0]);
        if (!found && PyErr_Occurred()) return NULL;
        if (FR_LIKELY(found != NULL)) {
            if (FR_LIKELY(hot_watch_holds(self->st, &found->w))) return Py_NewRef(found->value);
            Py_INCREF(found);
            int same = look_again(self, args[0], found);
            PyObject *value = same > 0 ? Py_NewRef(found->value) : NULL;
            Py_DECREF(found);
            if (same) return value;
        }
    }
    return hand_on(o, "_get_vars", args, nargs, names);
}

PyObject *vars_snapshot(PyObject *o, PyObject *name) {
    SegmentObject *self = (SegmentObject *)o;
    arg key;
    bytes_sink b;
    fr_error err;
    fr_status status;
    bool found = false;
    if (arg_key(name, &key) < 0) return NULL;
    SnapshotObject *made = (SnapshotObject *)PyType_GenericAlloc(snapshot_type, 0);
    if (!made) {
        arg_free(&key);
        return NULL;
    }
    bytes_init(&b);
    TRY_BYTES(self, status, &b, found, hot_watch_get(st, 0, key.s, &b.sink, &found, &made->w, wait, &err));
    arg_free(&key);
    if (status == FR_OK && found) made->data = bytes_result(&b, true, false);
    else bytes_drop(&b);
    if (status == FR_OK && made->data) return (PyObject *)made;
    Py_DECREF(made);
    if (status != FR_OK) return fail_status(status, &err);
    return found ? NULL : Py_NewRef(Py_None);
}

PyObject *vars_keep(PyObject *o, PyObject *const *args, Py_ssize_t nargs) {
    SegmentObject *self = (SegmentObject *)o;
    if (nargs != 3 || !PyUnicode_CheckExact(args[0]) || Py_TYPE(args[1]) != snapshot_type) {
        PyErr_SetString(PyExc_TypeError, "_keep(name, snapshot, value)");
        return NULL;
    }
    SnapshotObject *snapshot = (SnapshotObject *)args[1];
    if (snapshot->value) {
        PyErr_SetString(PyExc_ValueError, "a snapshot is kept once");
        return NULL;
    }
    snapshot->value = Py_NewRef(args[2]);
    if (!self->snapshots && !(self->snapshots = PyDict_New())) return NULL;
    if (PyDict_SetItem(self->snapshots, args[0], args[1]) < 0) return NULL;
    return Py_NewRef(Py_None);
}

PyObject *vars_kept(PyObject *o, PyObject *name) {
    SegmentObject *self = (SegmentObject *)o;
    PyObject *found = self->snapshots ? PyDict_GetItemWithError(self->snapshots, name) : NULL;
    if (!found && PyErr_Occurred()) return NULL;
    return Py_NewRef(found ? found : Py_None);
}

/* --- the type ------------------------------------------------------------------------------------------------------------ */

static void snapshot_dealloc(PyObject *o) {
    SnapshotObject *self = (SnapshotObject *)o;
    PyTypeObject *type = Py_TYPE(o);
    Py_XDECREF(self->data);
    Py_XDECREF(self->value);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(o);
    Py_DECREF(type);
}

static PyObject *snapshot_data(PyObject *o, void *unused) {
    (void)unused;
    return Py_NewRef(((SnapshotObject *)o)->data);
}

static PyObject *snapshot_value(PyObject *o, void *unused) {
    SnapshotObject *self = (SnapshotObject *)o;
    (void)unused;
    return Py_NewRef(self->value ? self->value : Py_None);
}

static PyObject *snapshot_version(PyObject *o, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(((SnapshotObject *)o)->w.version);
}

static PyGetSetDef properties[] = {
    {"data", snapshot_data, NULL, "The bytes that were read.", NULL},
    {"value", snapshot_value, NULL, "What get_vars() returns for them.", NULL},
    {"version", snapshot_version, NULL, "The key's version when they were read.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "A published snapshot as it was read. Segment._snapshot(name) makes one."},
    {Py_tp_dealloc, (void *)snapshot_dealloc},
    {Py_tp_getset, properties},
    {0, NULL},
};

static PyType_Spec spec = {"fridge._hot.Snapshot", sizeof(SnapshotObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

int snapshot_add(PyObject *module) {
    snapshot_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return snapshot_type ? PyModule_AddObjectRef(module, "Snapshot", (PyObject *)snapshot_type) : -1;
}
