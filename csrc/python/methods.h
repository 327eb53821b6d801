/* methods.h - the methods of Segment, one row each: name, function, what help() says. */
#ifndef FRIDGE_PYTHON_METHODS_H
#define FRIDGE_PYTHON_METHODS_H

#include "python/hot_module.h"

METHOD(keys_get);
METHOD(keys_get_versioned);
METHOD(keys_set);
METHOD(keys_incr);
METHOD(keys_decr);
METHOD(keys_cas);
METHOD(keys_cas_version);
METHOD(keys_delete);
METHOD(keys_exists);
METHOD(hashes_get);
METHOD(hashes_set);
METHOD(hashes_incr);
METHOD(hashes_cas);
METHOD(vars_get);
PyObject *vars_snapshot(PyObject *self, PyObject *name);
PyObject *vars_keep(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *vars_kept(PyObject *self, PyObject *name);
METHOD(counters_add);
METHOD(counters_get);

#define KEY_METHODS                                                                                                    \
    FAST("get", keys_get, "get(name)\n--\n\nReturn the value of a key, or None."),                                     \
        FAST("get_versioned", keys_get_versioned,                                                                      \
             "get_versioned(name)\n--\n\nReturn (value or None, version) of a key; they belong together."),            \
        FAST("set", keys_set,                                                                                          \
             "set(name, value, ex=None, px=None, nx=False, xx=False, keepttl=False, get=False, exat=None, pxat=None, " \
             "ifeq=None, ifne=None)\n--\n\nSet a key. True, or None when a condition was not met; the old value "      \
             "with get=True."),                                                                                        \
        FAST("incr", keys_incr, "incr(name, amount=1)\n--\n\nAdd to an integer and return the sum."),                  \
        FAST("incrby", keys_incr, "incrby(name, amount=1)\n--\n\nAdd to an integer and return the sum."),              \
        FAST("decr", keys_decr, "decr(name, amount=1)\n--\n\nSubtract from an integer and return what is left."),      \
        FAST("decrby", keys_decr, "decrby(name, amount=1)\n--\n\nSubtract from an integer and return what is left."),  \
        FAST("cas", keys_cas,                                                                                          \
             "cas(name, expected, new)\n--\n\nSet a key to new if it holds expected (None: if it is absent). The TTL " \
             "stays. Return whether it was set."),                                                                     \
        FAST("cas_version", keys_cas_version,                                                                          \
             "cas_version(name, version, value)\n--\n\nSet a key if its version is still this one. The TTL stays. "    \
             "Return whether it was set."),                                                                            \
        FAST("delete", keys_delete, "delete(*names)\n--\n\nDelete keys in one step; return how many there were."),     \
        FAST("exists", keys_exists, "exists(*names)\n--\n\nReturn how many of the keys there are.")

#define HASH_METHODS                                                                                                   \
    FAST("hget", hashes_get, "hget(name, key)\n--\n\nReturn the value of a field, or None."),                          \
        FAST("hset", hashes_set,                                                                                       \
             "hset(name, key=None, value=None, mapping=None, items=None)\n--\n\nSet fields in one step; return how "   \
             "many are new."),                                                                                         \
        FAST("hincrby", hashes_incr, "hincrby(name, key, amount=1)\n--\n\nAdd to a field and return the sum."),        \
        FAST("hcas", hashes_cas,                                                                                       \
             "hcas(name, key, expected, new)\n--\n\nSet a field to new if it holds expected. Return whether it was set.")

#define VARS_METHODS                                                                                                   \
    FAST("get_vars", vars_get,                                                                                         \
         "get_vars(scope, timeout=30.0)\n--\n\nReturn a published snapshot: the same dict as long as nothing newer "    \
         "is published. Waits until there is one."),                                                                   \
        {"_snapshot", vars_snapshot, METH_O, "Read a var: a Snapshot, or None when there is none."},                   \
        {"_keep", (PyCFunction)(void (*)(void))vars_keep, METH_FASTCALL, "_keep(name, snapshot, value): what get_vars returns."}, \
        {"_kept", vars_kept, METH_O, "The Snapshot that is kept for a name, or None."}
#define COUNTER_METHODS                                                                                                \
    FAST("_counters_add", counters_add, "_counters_add(steps, all_or_nothing)\n--\n\nCounters.increment()."),          \
        FAST("_counters_get", counters_get, "_counters_get(names)\n--\n\nCounters.get().")

#endif
