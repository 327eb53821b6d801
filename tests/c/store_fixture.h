/* store_fixture.h - a store without a file, and one command at a time on it: what the tests of csrc/store share.
 *
 * A command is a struct op: what to run, on which key, with which arguments; its results come back in the same struct.
 * write_op and read_op route the key inside the transaction, as a server would route it just before.
 */
#ifndef FRIDGE_TESTS_STORE_FIXTURE_H
#define FRIDGE_TESTS_STORE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "shm/index.h"
#include "store/counter.h"
#include "store/string.h"
#include "store/table.h"

#define NOW 1000000u

typedef struct op op;
struct op {
    fr_status (*run)(store *st, txn *t, op *o);
    const char *name, *other; /* keys */
    key k, k2;
    span field, value, old;
    const field_value *fv;
    size_t fv_count;
    int64_t by;
    uint64_t at;
    enum field_condition condition;
    size_t count;      /* results from here on */
    bool flag;
    int outcome;
    int64_t number;
    uint64_t size;
    value v;
    char text[FLOAT_TEXT];
    size_t text_n;
};

static fr_error last_error;

static inline span text_of(const char *s) { return (span){s, strlen(s)}; }

static fr_status run_op(store *st, txn *t, void *ctx) {
    op *o = ctx;
    fr_status status = key_route(st, 0, text_of(o->name), &o->k, t->err);
    if (status == FR_OK && o->other) status = key_route(st, 0, text_of(o->other), &o->k2, t->err);
    return status == FR_OK ? o->run(st, t, o) : status;
}

static inline fr_status write_op_at(store *st, op *o, uint64_t now) {
    stripe_set all;
    store_all_stripes(st, &all);
    return store_write(st, now, UINT64_MAX, &all, run_op, o, &last_error);
}

/* One stripe is held, as a single command would; the rest is the loop's business. */
static inline fr_status write_one(store *st, op *o) {
    stripe_set set;
    fr_error err;
    key k;
    CHECK_STATUS(key_route(st, 0, text_of(o->name), &k, &err), FR_OK);
    stripe_set_clear(&set);
    stripe_set_add(&set, k.stripe);
    return store_write(st, NOW, UINT64_MAX, &set, run_op, o, &last_error);
}

static inline fr_status write_op(store *st, op *o) { return write_op_at(st, o, NOW); }
static inline fr_status read_op(store *st, op *o) { return store_read(st, NOW, NULL, run_op, o, &last_error); }

static inline store *store_with(const geometry *g) {
    segment *s;
    store *st;
    CHECK_STATUS(segment_anonymous(g, &s, &last_error), FR_OK);
    CHECK_STATUS(store_over(s, &st, &last_error), FR_OK);
    return st;
}

static inline store *big_store(void) {
    geometry g = layout_default(256u << 20);
    return store_with(&g);
}

static inline void check_sound(store *st) {
    verify_report report;
    fr_status status = store_verify(st, false, &report, &last_error);
    if (status != FR_OK) fprintf(stderr, "verify: %s\n", report.first[0] ? report.first : last_error.text);
    CHECK_STATUS(status, FR_OK);
}

static inline void close_sound(store *st) {
    check_sound(st);
    store_close(st);
}

static inline uint64_t pages_used(store *st) { return segment_super(st->s)->pool_used; }

/* --- commands that many tests use --------------------------------------------------------------------------------- */

/* Copies a value into o->text while the transaction still holds it. */
static inline fr_status keep_value(txn *t, op *o) {
    char digits[VALUE_TEXT];
    if (o->v.kind == VALUE_BYTES && o->v.n <= sizeof o->text) {
        o->text_n = o->v.n;
        return value_copy(t->s, &o->v, 0, o->v.n, o->text);
    }
    span s = value_text(&o->v, digits);
    o->text_n = s.n < sizeof o->text ? s.n : 0;
    if (o->text_n) memcpy(o->text, s.p, o->text_n);
    return FR_OK;
}

static fr_status do_hset(store *st, txn *t, op *o) {
    field_value one = {o->field, o->value};
    return o->fv ? hash_set(st, t, &o->k, o->fv, o->fv_count, o->condition, &o->count)
                 : hash_set(st, t, &o->k, &one, 1, o->condition, &o->count);
}
static fr_status do_hget(store *st, txn *t, op *o) {
    fr_status status = hash_get(st, t, &o->k, o->field, &o->v, &o->flag);
    return status == FR_OK && o->flag ? keep_value(t, o) : status;
}
static fr_status do_hdel(store *st, txn *t, op *o) { return hash_delete(st, t, &o->k, &o->field, 1, &o->count); }
static fr_status do_hlen(store *st, txn *t, op *o) { return hash_length(st, t, &o->k, &o->size); }
static fr_status do_hincr(store *st, txn *t, op *o) { return hash_incr(st, t, &o->k, o->field, o->by, &o->number); }
static fr_status do_hcas(store *st, txn *t, op *o) {
    return hash_cas(st, t, &o->k, o->field, o->old, o->value, &o->outcome);
}
static fr_status do_hincrfloat(store *st, txn *t, op *o) {
    return hash_incr_float(st, t, &o->k, o->field, strtold(o->value.p, NULL), o->text, &o->text_n);
}
static fr_status do_del(store *st, txn *t, op *o) { return key_delete(st, t, &o->k, &o->flag); }
static fr_status do_expire(store *st, txn *t, op *o) { return key_expire(st, t, &o->k, o->at, 0, &o->flag); }
static fr_status do_rename(store *st, txn *t, op *o) { return key_rename(st, t, &o->k, &o->k2, false, &o->flag); }
static fr_status do_copy(store *st, txn *t, op *o) { return key_copy(st, t, &o->k, &o->k2, true, &o->flag); }
static fr_status do_flush(store *st, txn *t, op *o) {
    (void)o;
    return keyspace_flush(st, t, 0);
}
static fr_status do_find(store *st, txn *t, op *o) {
    found f;
    fr_status status = key_find(st, t, &o->k, &f);
    o->flag = f.exists;
    o->size = f.version;
    o->at = f.expiry;
    return status;
}
static fr_status do_set(store *st, txn *t, op *o) {
    set_options plain = {.condition = SET_ALWAYS};
    set_result r;
    return str_set(st, t, &o->k, o->value, &plain, &r);
}

static inline size_t hset(store *st, const char *name, const char *field, const char *value) {
    op o = {.run = do_hset, .name = name, .field = text_of(field), .value = text_of(value)};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    return o.count;
}
static inline fr_status try_hset(store *st, const char *name, const char *field, span value) {
    op o = {.run = do_hset, .name = name, .field = text_of(field), .value = value};
    return write_op(st, &o);
}
/* The field's text, "(nil)" when it is absent. Good until the next call. */
static inline const char *hget(store *st, const char *name, const char *field) {
    static char text[FLOAT_TEXT + 1];
    op o = {.run = do_hget, .name = name, .field = text_of(field)};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    memcpy(text, o.flag ? o.text : "(nil)", o.flag ? o.text_n : 5);
    text[o.flag ? o.text_n : 5] = '\0';
    return text;
}
static inline bool hget_is(store *st, const char *name, const char *field, const char *want) {
    const char *have = hget(st, name, field);
    if (strcmp(have, want) == 0) return true;
    fprintf(stderr, "%s.%s is '%s', not '%s'\n", name, field, have, want);
    return false;
}
static inline size_t hdel(store *st, const char *name, const char *field) {
    op o = {.run = do_hdel, .name = name, .field = text_of(field)};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    return o.count;
}
static inline uint64_t hlen(store *st, const char *name) {
    op o = {.run = do_hlen, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.size;
}
static inline bool del(store *st, const char *name) {
    op o = {.run = do_del, .name = name};
    CHECK_STATUS(write_op(st, &o), FR_OK);
    return o.flag;
}
static inline uint64_t version_of(store *st, const char *name) {
    op o = {.run = do_find, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.size;
}
static inline bool exists(store *st, const char *name) {
    op o = {.run = do_find, .name = name};
    CHECK_STATUS(read_op(st, &o), FR_OK);
    return o.flag;
}

/* Not every test uses every command. */
static inline void fixture_unused(void) {
    (void)do_hincr, (void)do_hcas, (void)do_hincrfloat, (void)do_expire, (void)do_rename, (void)do_copy, (void)do_flush;
    (void)do_set;
}

/* --- what a reader sees at every store of a commit ---------------------------------------------------------------- */

/* Runs `write` once; before each store that it makes, `look` runs as a reader of the same segment. */
typedef struct interleaving {
    store *st;
    void (*look)(store *st, void *ctx);
    void *ctx;
    unsigned stores;
    bool busy;
} interleaving;

static inline void at_store(void *ctx, enum access_kind kind, const void *addr, size_t len) {
    interleaving *w = ctx;
    (void)addr, (void)len;
    if (w->busy || kind == ACCESS_LD8 || kind == ACCESS_TOUCH1) return;
    w->busy = true;
    w->stores++;
    if (w->look) w->look(w->st, w->ctx);
    w->busy = false;
}

static inline fr_status write_watched(interleaving *w, op *o) {
    fr_hook = at_store;
    fr_hook_ctx = w;
    fr_status status = write_one(w->st, o);
    fr_hook = NULL;
    return status;
}

#endif
