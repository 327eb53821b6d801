/* batch.c - Table's verbs that are more than one column of one row: updates under conditions, several rows in one step,
 * pages of rows, and whole tables. Sections: updates; several rows; pages; whole tables.
 */
#include "python/table.h"

#include <stdlib.h>

/* --- updates ------------------------------------------------------------------------------------------------------ */

enum update_name { UPDATE_SET, UPDATE_INCR, UPDATE_IF, UPDATE_DEFAULT, UPDATE_EXISTS, UPDATE_RETURNING, UPDATE_EX, UPDATE_NAMES };
static const char *const update_words[UPDATE_NAMES] = {"set", "incr", "if_", "default", "exists", "returning", "ex"};
static PyObject *update_name[UPDATE_NAMES]; /* interned: what most callers' keywords are */

int batch_prepare(void) {
    for (int i = 0; i < UPDATE_NAMES; i++)
        if (!update_name[i] && !(update_name[i] = PyUnicode_InternFromString(update_words[i]))) return -1;
    return 0;
}

#define CONDITIONS_MAX 64u

/* One update as its caller wrote it. */
typedef struct update {
    const TableObject *self;
    int returning; /* a column, or -1: the row */
    cells set, add, fallback, with; /* with: the values of the conditions */
    uint32_t conditions;
    row_condition condition[CONDITIONS_MAX];
} update;

static void update_init(update *u, const TableObject *self) {
    u->self = self;
    u->returning = -1;
    u->conditions = 0;
    cells_init(&u->set);
    cells_init(&u->add);
    cells_init(&u->fallback);
    cells_init(&u->with);
}

static void update_free(update *u) {
    cells_free(&u->set);
    cells_free(&u->add);
    cells_free(&u->fallback);
    cells_free(&u->with);
}

static int take_add(void *ctx, PyObject *name, PyObject *by) {
    update *u = ctx;
    cells *c = &u->add;
    int64_t n;
    int at = column_of(u->self, name);
    if (at < 0) return -1;
    enum column_type type = u->self->schema.column[at].type;
    if (type == COLUMN_FLOAT64) return cells_add(u->self, c, name, by);
    if (arg_int64("the increment", by, 1, &n) < 0 || (c->n == c->room && cells_grow(c) < 0)) return -1;
    c->held[c->n] = NULL;
    c->in[c->n++] = (cell_in){(uint32_t)at, {.kind = VALUE_INT, .i = n}};
    return 0;
}

static int test_of(PyObject *word, enum row_test *test) {
    static const char *const words[] = {"==", "!=", "<", "<=", ">", ">="};
    static const enum row_test tests[] = {ROW_EQ, ROW_NE, ROW_LT, ROW_LE, ROW_GT, ROW_GE};
    for (size_t i = 0; PyUnicode_Check(word) && i < FR_COUNTOF(words); i++) {
        if (PyUnicode_CompareWithASCIIString(word, words[i]) != 0) continue;
        *test = tests[i];
        return 0;
    }
    fail_text(FR_ARGUMENT, "%.40R is no comparison; there are '==', '!=', '<', '<=', '>' and '>='", word);
    return -1;
}

static int add_condition(update *u, PyObject *name, enum row_test test, PyObject *value) {
    if (u->conditions == CONDITIONS_MAX) {
        fail_text(FR_ARGUMENT, "an update takes at most %u conditions", CONDITIONS_MAX);
        return -1;
    }
    if (cells_add(u->self, &u->with, name, value) < 0) return -1;
    const cell_in *in = &u->with.in[u->with.n - 1];
    u->condition[u->conditions++] = (row_condition){in->column, test, in->v};
    return 0;
}

/* A value to be equal to, or ("<", value), or several of these: (">=", low, "<", high). */
static int take_condition(void *ctx, PyObject *name, PyObject *value) {
    update *u = ctx;
    enum row_test test;
    if (!PyTuple_Check(value)) return add_condition(u, name, ROW_EQ, value);
    Py_ssize_t n = PyTuple_Size(value);
    if (n == 0 || n % 2) {
        fail_text(FR_ARGUMENT, "a condition is a value, or comparisons and values, such as ('<', 5); got %.80R", value);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i += 2)
        if (test_of(PyTuple_GetItem(value, i), &test) < 0 || add_condition(u, name, test, PyTuple_GetItem(value, i + 1)) < 0)
            return -1;
    return 0;
}

static int update_argument(PyObject *name) {
    for (int i = 0; i < UPDATE_NAMES; i++)
        if (FR_LIKELY(name == update_name[i])) return i;
    for (int i = 0; i < UPDATE_NAMES; i++)
        if (PyUnicode_Compare(name, update_name[i]) == 0) return i;
    PyErr_Format(PyExc_TypeError, "update() got an unexpected keyword argument '%U'; it takes set, incr, if_, default, exists, returning and ex",
                 name);
    return -1;
}

static int take_argument(update *u, PyObject *name, PyObject *value, row_steps *s) {
    int which = update_argument(name), truth;
    if (which < 0) return -1;
    if (value == Py_None) return 0;
    switch (which) {
    case UPDATE_SET: return cells_add_row(u->self, &u->set, value);
    case UPDATE_INCR: return each_column(u->self, value, take_add, u);
    case UPDATE_IF: return each_column(u->self, value, take_condition, u);
    case UPDATE_DEFAULT: s->defaults = true; return cells_add_row(u->self, &u->fallback, value);
    case UPDATE_RETURNING: return (u->returning = column_of(u->self, value)) < 0 ? -1 : 0;
    case UPDATE_EX: return expiry_of("ex", value, &s->expiry);
    default:
        truth = PyObject_IsTrue(value);
        s->presence = truth ? ROW_PRESENT : ROW_ABSENT;
        return truth < 0 ? -1 : 0;
    }
}

static int no_column_twice(const update *u) {
    for (uint32_t i = 0; i < u->set.n; i++) {
        for (uint32_t j = 0; j < u->add.n; j++) {
            if (u->set.in[i].column != u->add.in[j].column) continue;
            fail_text(FR_ARGUMENT, "table '%s': column '%U' is both set and incremented", u->self->name,
                      u->self->column[u->set.in[i].column]);
            return -1;
        }
    }
    return 0;
}

static PyObject *updated(const TableObject *self, const update *u, const char *image) {
    if (u->returning < 0) return row_out(self, image);
    return cell_out(&self->schema.column[u->returning], image);
}

static PyObject *run_update(TableObject *self, PyObject *name, update *u, row_steps *s) {
    image_room r;
    arg key;
    fr_error err;
    fr_status status;
    bool done = false, created;
    char *image = image_get(&r, self->stride);
    if (!image) return PyErr_NoMemory();
    s->condition = u->condition, s->conditions = u->conditions;
    s->set = u->set.in, s->sets = u->set.n;
    s->add = u->add.in, s->adds = u->add.n;
    s->fallback = u->fallback.in, s->fallbacks = u->fallback.n;
    PyObject *out = NULL;
    if (arg_key(name, &key) == 0) {
        TRY(self->segment, status, u->set.bytes + u->fallback.bytes > HOT_COPY_MAX,
            hot_row_update(st, self->tb, key.s, s, image, &done, &created, wait, &err));
        arg_free(&key);
        out = status != FR_OK ? fail_status(status, &err) : done ? updated(self, u, image) : Py_NewRef(Py_None);
    }
    image_free(&r);
    return out;
}

PyObject *rows_update(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    TABLE_SELF;
    update u;
    row_steps s = {.presence = ROW_EITHER};
    Py_ssize_t n = names ? PyTuple_Size(names) : 0;
    TABLE_OPEN(NULL);
    if (nargs != 1) {
        return PyErr_Format(PyExc_TypeError, "update() takes a key, and everything else by name: set, incr, if_ ... (%zd given)",
                            nargs);
    }
    update_init(&u, self);
    bool ok = true;
    for (Py_ssize_t i = 0; ok && i < n; i++) ok = take_argument(&u, PyTuple_GetItem(names, i), args[nargs + i], &s) == 0;
    PyObject *out = ok && no_column_twice(&u) == 0 ? run_update(self, args[0], &u, &s) : NULL;
    update_free(&u);
    return out;
}

PyObject *rows_setdefault(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    TABLE_SELF;
    update u;
    row_steps s = {.presence = ROW_EITHER, .defaults = true};
    TABLE_OPEN(NULL);
    update_init(&u, self);
    bool ok = cells_add_call(self, &u.fallback, "setdefault", args, nargs, names) == 0;
    PyObject *out = ok ? run_update(self, args[0], &u, &s) : NULL;
    update_free(&u);
    return out;
}

/* --- several rows ------------------------------------------------------------------------------------------------- */

/* Rows of one call, and what their keys are borrowed from. */
typedef struct many {
    TableObject *self;
    cells cells;
    hot_row_in *row;
    size_t *first; /* of the row's cells; they move while they are added */
    size_t n, room;
    PyObject *held;
} many;

static int many_init(many *m, TableObject *self) {
    *m = (many){.self = self};
    cells_init(&m->cells);
    m->held = PyList_New(0);
    return m->held ? 0 : -1;
}

static void many_free(many *m) {
    cells_free(&m->cells);
    PyMem_Free(m->row);
    PyMem_Free(m->first);
    Py_XDECREF(m->held);
}

static int many_grow(many *m) {
    size_t room = m->room ? 2 * m->room : 16;
    hot_row_in *row = PyMem_Realloc(m->row, room * sizeof *row);
    if (row) m->row = row;
    size_t *first = row ? PyMem_Realloc(m->first, room * sizeof *first) : NULL;
    if (!first) {
        PyErr_NoMemory();
        return -1;
    }
    m->first = first;
    m->room = room;
    return 0;
}

static int many_add(many *m, PyObject *key, PyObject *row) {
    arg a;
    if ((m->n == m->room && many_grow(m) < 0) || arg_key(key, &a) < 0) return -1;
    int kept = PyList_Append(m->held, a.owner ? a.owner : key);
    arg_free(&a);
    if (kept < 0) return -1;
    m->row[m->n] = (hot_row_in){.name = a.s};
    m->first[m->n] = m->cells.n;
    if (row && cells_add_row(m->self, &m->cells, row) < 0) return -1;
    m->row[m->n].n = m->cells.n - m->first[m->n];
    m->n++;
    return 0;
}

static int no_list(const char *method, const char *what, PyObject *o) {
    if (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        fail_text(FR_ARGUMENT, "%s() takes %s; got %.80R", method, what, o);
    }
    return -1;
}

/* A tuple of an iterable that is not one key. */
static PyObject *tuple_of(const char *method, const char *what, PyObject *o) {
    bool key = PyUnicode_Check(o) || PyBytes_Check(o) || PyByteArray_Check(o) || PyMemoryView_Check(o);
    PyObject *tuple = key ? NULL : PySequence_Tuple(o);
    if (!tuple) no_list(method, what, o);
    return tuple;
}

static int many_keys(many *m, const char *method, PyObject *keys) {
    PyObject *tuple = tuple_of(method, "keys, such as ['a', 'b']", keys);
    int done = tuple ? 0 : -1;
    for (Py_ssize_t i = 0; done == 0 && i < PyTuple_Size(tuple); i++) done = many_add(m, PyTuple_GetItem(tuple, i), NULL);
    Py_XDECREF(tuple);
    return done;
}

static int many_rows(many *m, PyObject *rows) {
    static const char what[] = "rows by key, such as {'a': {'count': 1}}";
    bool mapping = PyDict_Check(rows) || (PyMapping_Check(rows) && PyObject_HasAttrString(rows, "items"));
    PyObject *items = mapping ? PyMapping_Items(rows) : Py_NewRef(rows);
    PyObject *tuple = items ? tuple_of("mset", what, items) : NULL;
    int done = tuple ? 0 : -1;
    for (Py_ssize_t i = 0; done == 0 && i < PyTuple_Size(tuple); i++) {
        PyObject *pair = PyTuple_GetItem(tuple, i);
        bool two = PyTuple_Check(pair) && PyTuple_Size(pair) == 2;
        done = two ? many_add(m, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1)) : no_list("mset", what, pair);
    }
    for (size_t i = 0; done == 0 && i < m->n; i++) m->row[i].cells = m->cells.in + m->first[i];
    Py_XDECREF(tuple);
    Py_XDECREF(items);
    return done;
}

/* STORE runs `call` without the GIL on the open store, or says that it is closed. */
#define STORE(self, status, call)                                                                                      \
    do {                                                                                                               \
        store *st = (self)->segment->st;                                                                               \
        if (!st) status = FR_CLOSED;                                                                                   \
        else WAITING((self)->segment, status = (call));                                                                \
    } while (0)

PyObject *rows_mset(PyObject *o, PyObject *rows) {
    TABLE_SELF;
    many m;
    fr_error err;
    fr_status status = FR_OK;
    uint64_t created = 0;
    TABLE_OPEN(NULL);
    bool ok = many_init(&m, self) == 0 && many_rows(&m, rows) == 0;
    if (ok && m.n) STORE(self, status, hot_rows_put(st, self->tb, m.row, m.n, &created, &err));
    many_free(&m);
    if (!ok) return NULL;
    return status == FR_OK ? PyLong_FromUnsignedLongLong(created) : fail_status(status, &err);
}

PyObject *rows_mdelete(PyObject *o, PyObject *keys) {
    TABLE_SELF;
    many m;
    fr_error err;
    fr_status status = FR_OK;
    uint64_t deleted = 0;
    TABLE_OPEN(NULL);
    bool ok = many_init(&m, self) == 0 && many_keys(&m, "mdelete", keys) == 0;
    if (ok && m.n) STORE(self, status, hot_rows_delete(st, self->tb, m.row, m.n, &deleted, &err));
    many_free(&m);
    if (!ok) return NULL;
    return status == FR_OK ? PyLong_FromUnsignedLongLong(deleted) : fail_status(status, &err);
}

static PyObject *rows_found(const TableObject *self, const char *images, const uint8_t *there, size_t n) {
    PyObject *list = PyList_New(0);
    for (size_t i = 0; list && i < n; i++) {
        PyObject *row = there[i] ? row_out(self, images + i * self->stride) : Py_NewRef(Py_None);
        if (!row || PyList_Append(list, row) < 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(row);
    }
    return list;
}

PyObject *rows_mget(PyObject *o, PyObject *keys) {
    TABLE_SELF;
    many m;
    fr_error err = {.text = ""};
    fr_status status = FR_OK;
    PyObject *out = NULL;
    TABLE_OPEN(NULL);
    if (many_init(&m, self) == 0 && many_keys(&m, "mget", keys) == 0) {
        char *images = PyMem_Malloc(m.n * self->stride + 1);
        uint8_t *there = PyMem_Malloc(m.n + 1);
        if (!images || !there) status = FR_NOSPACE;
        else if (m.n) STORE(self, status, hot_rows_get(st, self->tb, m.row, m.n, images, there, &err));
        out = status == FR_OK ? rows_found(self, images, there, m.n) : fail_status(status, &err);
        PyMem_Free(images);
        PyMem_Free(there);
    }
    many_free(&m);
    return out;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static PyObject *page_rows(const TableObject *self, const copy_buffer *page) {
    PyObject *list = PyList_New(0);
    uint32_t n;
    for (size_t at = 0; list && at + 4 <= page->n; at += 4 + n + self->stride) {
        memcpy(&n, page->p + at, 4);
        PyObject *key = bytes_out(page->p + at + 4, n, self->segment->decode);
        PyObject *row = key ? row_out(self, page->p + at + 4 + n) : NULL;
        PyObject *pair = row ? PyTuple_Pack(2, key, row) : NULL;
        if (!pair || PyList_Append(list, pair) < 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(pair);
        Py_XDECREF(row);
        Py_XDECREF(key);
    }
    return list;
}

/* Splits a page into images, one after the other, and a list of keys. */
static PyObject *page_parts(const TableObject *self, const copy_buffer *page) {
    PyObject *keys = PyList_New(0), *images = NULL;
    copy_buffer packed = {NULL, 0, 0};
    uint32_t n;
    for (size_t at = 0; keys && at + 4 <= page->n; at += 4 + n + self->stride) {
        memcpy(&n, page->p + at, 4);
        PyObject *key = bytes_out(page->p + at + 4, n, self->segment->decode);
        char *to = copy_reserve(&packed, self->stride);
        if (!key || !to || PyList_Append(keys, key) < 0) {
            Py_DECREF(keys);
            keys = NULL;
        }
        Py_XDECREF(key);
        if (to) memcpy(to, page->p + at + 4 + n, self->stride), packed.n += self->stride;
    }
    if (keys) images = PyBytes_FromStringAndSize(packed.p, (Py_ssize_t)packed.n);
    PyObject *out = images ? PyTuple_Pack(2, images, keys) : PyErr_Occurred() ? NULL : PyErr_NoMemory();
    Py_XDECREF(images);
    Py_XDECREF(keys);
    free(packed.p);
    return out;
}

typedef PyObject *(*page_maker)(const TableObject *self, const copy_buffer *page);

static PyObject *next_page(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names, page_maker make) {
    static const char *const parameters[] = {"cursor", "count"};
    TABLE_SELF;
    PyObject *in[2];
    int64_t from, count;
    copy_buffer page = {NULL, 0, 0};
    fr_error err;
    fr_status status;
    TABLE_OPEN(NULL);
    if (take("scan", args, nargs, names, parameters, 0, 2, in) < 0) return NULL;
    if (arg_int64("cursor", in[0], 0, &from) < 0 || arg_int64("count", in[1], 100, &count) < 0) return NULL;
    if (from < 0 || count < 1)
        return fail_text(FR_ARGUMENT, from < 0 ? "a cursor is 0, or what scan() returned" : "count must be at least 1");
    uint64_t cursor = (uint64_t)from;
    STORE(self, status, hot_table_rows(st, self->tb, &cursor, (uint64_t)count, &page, &err));
    PyObject *rows = status == FR_OK ? make(self, &page) : fail_status(status, &err);
    free(page.p);
    return rows ? Py_BuildValue("(KN)", (unsigned long long)cursor, rows) : NULL;
}

PyObject *rows_scan(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    return next_page(o, args, nargs, names, page_rows);
}

/* _page(cursor, count) -> (next cursor, (images, keys)) */
PyObject *rows_page(PyObject *o, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    return next_page(o, args, nargs, names, page_parts);
}

/* --- whole tables ------------------------------------------------------------------------------------------------- */

PyObject *rows_clear(PyObject *o, PyObject *unused) {
    TABLE_SELF;
    fr_error err;
    fr_status status;
    uint64_t rows = 0;
    (void)unused;
    TABLE_OPEN(NULL);
    STORE(self, status, hot_table_clear(st, self->tb, &rows, &err));
    return status == FR_OK ? PyLong_FromUnsignedLongLong(rows) : fail_status(status, &err);
}

static PyObject *names_out(const copy_buffer *names, bool decode) {
    PyObject *list = PyList_New(0);
    uint32_t n;
    for (size_t at = 0; list && at + 4 <= names->n; at += 4 + n) {
        memcpy(&n, names->p + at, 4);
        PyObject *name = bytes_out(names->p + at + 4, n, decode);
        if (!name || PyList_Append(list, name) < 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(name);
    }
    return list;
}

/* _copy() -> (images, keys) as of one instant */
PyObject *rows_copy(PyObject *o, PyObject *unused) {
    TABLE_SELF;
    copy_buffer images = {NULL, 0, 0}, names = {NULL, 0, 0};
    fr_error err = {.text = ""};
    fr_status status;
    uint64_t rows = 0;
    PyObject *out = NULL;
    (void)unused;
    TABLE_OPEN(NULL);
    STORE(self, status, hot_table_copy(st, self->tb, &images, &names, &rows, &err));
    if (status != FR_OK) fail_status(status, &err);
    PyObject *bytes = status == FR_OK ? PyBytes_FromStringAndSize(images.p, (Py_ssize_t)images.n) : NULL;
    PyObject *keys = bytes ? names_out(&names, self->segment->decode) : NULL;
    if (keys) out = PyTuple_Pack(2, bytes, keys);
    Py_XDECREF(keys);
    Py_XDECREF(bytes);
    free(images.p);
    free(names.p);
    return out;
}

/* _mask() -> a byte for each image: is it a row now? */
PyObject *rows_mask(PyObject *o, PyObject *unused) {
    TABLE_SELF;
    fr_error err = {.text = ""};
    fr_status status = FR_NOSPACE;
    (void)unused;
    TABLE_OPEN(NULL);
    size_t n = self->tb->images;
    uint8_t *live = PyMem_Malloc(n);
    if (live) STORE(self, status, hot_table_mask(st, self->tb, live, &err));
    PyObject *out = status == FR_OK ? PyBytes_FromStringAndSize((char *)live, (Py_ssize_t)n) : fail_status(status, &err);
    PyMem_Free(live);
    return out;
}

static PyObject *layout_of(const TableObject *self) {
    PyObject *list = PyList_New(0);
    for (uint32_t i = 0; list && i < self->schema.columns; i++) {
        const column *c = &self->schema.column[i];
        char type[32];
        hot_column_type(c, type);
        PyObject *one = Py_BuildValue("(OsII)", self->column[i], type, c->offset, c->size);
        if (!one || PyList_Append(list, one) < 0) {
            Py_DECREF(list);
            list = NULL;
        }
        Py_XDECREF(one);
    }
    return list;
}

/* _place() -> (address of the first image, images, stride, Unix ms of expiry 0, [(column, type, offset, size)]) */
PyObject *rows_place(PyObject *o, PyObject *unused) {
    TABLE_SELF;
    (void)unused;
    TABLE_OPEN(NULL);
    const store *st = self->segment->st; /* before any object is made: that may run Python code, which may close */
    unsigned long long address = (unsigned long long)(uintptr_t)(st->s->base + self->tb->rows_off), images = self->tb->images;
    unsigned long long epoch = hot_expiry_to_wall(self->segment->st, 0);
    PyObject *layout = layout_of(self);
    return layout ? Py_BuildValue("(KKKKN)", address, images, (unsigned long long)self->stride, epoch, layout) : NULL;
}
