/* fridge.c - the flat functions of fridge.h over store/ and shm/. Each is a translation of types and nothing more:
 * what has a meaning of its own belongs to a lower layer.
 */
#include "fridge.h"

#include <stdio.h>

#include "fridge_clock.h"
#include "store/store.h"
#include "store/hash.h"
#include "store/keyspace.h"
#include "store/string.h"
#include "store/table.h"
#include "wire/session.h"

_Static_assert(FRIDGE_ERROR_BYTES == FR_ERROR_TEXT, "one length of error texts");
_Static_assert((int)FRIDGE_WORD_MAXMEMORY == (int)SETTING_MAXMEMORY, "settings words are the segment's");
_Static_assert(sizeof((fridge_report){0}.first) == FR_ERROR_TEXT, "a finding fits");
_Static_assert(sizeof((fridge_table){0}.name) == TABLE_NAME_MAX + 1, "a table's name fits");

/* leave copies the particulars of a failure out and returns its status. */
static int leave(fr_status status, const fr_error *e, char *err) {
    if (err) {
        size_t n = status == FR_OK ? 0 : strnlen(e->text, FR_ERROR_TEXT - 1);
        memcpy(err, e->text, n);
        err[n] = 0;
    }
    return status;
}

/* --- library ------------------------------------------------------------------------------------------------------ */

#ifndef FRIDGE_VERSION
#define FRIDGE_VERSION "0"
#endif
#ifndef FRIDGE_FLAGS
#define FRIDGE_FLAGS "unknown flags"
#endif

const char *fridge_version(void) { return FRIDGE_VERSION; }

const char *fridge_build(void) {
#if defined(__clang__)
    return "clang " __clang_version__ ", " FRIDGE_FLAGS;
#else
    return "gcc " __VERSION__ ", " FRIDGE_FLAGS;
#endif
}

uint64_t fridge_boot_ms(void) { return clock_boot_ms(); }

/* --- statuses ------------------------------------------------------------------------------------------------------- */

static const struct status_row {
    const char *name, *prefix, *message, *exception;
} status_rows[] = {
#define X(name, prefix, message, pyexc) {#name, prefix, message, #pyexc},
#include "status.def"
#undef X
};

static const struct status_row *status_row(int status) {
    static const struct status_row unknown = {"?", "ERR", "unknown status", "FridgeError"};
    return status >= 0 && status < FR_STATUS_COUNT ? &status_rows[status] : &unknown;
}

int fridge_status_count(void) { return FR_STATUS_COUNT; }
const char *fridge_status_name(int status) { return status_row(status)->name; }
const char *fridge_status_prefix(int status) { return status_row(status)->prefix; }
const char *fridge_status_message(int status) { return status_row(status)->message; }
const char *fridge_status_exception(int status) { return status_row(status)->exception; }

/* --- statistics ----------------------------------------------------------------------------------------------------- */

static const struct stat_row {
    const char *name, *kind, *help;
} stat_rows[] = {
#define X(name, kind, help) {#name, #kind, help},
#include "stats.def"
#undef X
};

static const struct stat_row *stat_row(int stat) {
    static const struct stat_row unknown = {"?", "COUNTER", "?"};
    return stat >= 0 && stat < STAT_COUNT ? &stat_rows[stat] : &unknown;
}

int fridge_stat_count(void) { return STAT_COUNT; }
const char *fridge_stat_name(int stat) { return stat_row(stat)->name; }
const char *fridge_stat_kind(int stat) { return stat_row(stat)->kind; }
const char *fridge_stat_help(int stat) { return stat_row(stat)->help; }

uint64_t fridge_stat_sum(store *st, unsigned cell) { return cell < st->s->g.stat_cells ? stat_sum(st->s, cell) : 0; }

void fridge_stat_add(store *st, unsigned cell, uint64_t n) {
    if (cell < st->s->g.stat_cells) stat_add(st->s, (enum stat_cell)cell, n);
}

/* --- segment -------------------------------------------------------------------------------------------------------- */

int fridge_open(const char *path, const fridge_options *o, store **out, int *created, char *err) {
    fr_error e = {0};
    bool made = false;
    geometry g = layout_default(o->size ? o->size : UINT64_C(256) << 20);
    if (o->page_size) g.page_size = o->page_size;
    if (o->stripes) g.stripes = o->stripes;
    if (o->slots) g.slots = o->slots;
    if (o->tables) g.tables = o->tables;
    segment_options so = {
        .size = o->size,
        .geometry = o->page_size || o->stripes || o->slots || o->tables ? &g : NULL,
        .readonly = o->flags & FRIDGE_READONLY,
        .create = o->flags & FRIDGE_CREATE,
        .prealloc = o->flags & FRIDGE_PREALLOC,
        .no_sigbus = o->flags & FRIDGE_NO_SIGBUS,
        .mode = o->mode,
        .owner = o->owner_plus1 - 1, /* 0 becomes UINT32_MAX: nobody */
        .name = o->name,
    };
    *out = NULL;
    fr_status status = store_open(path, &so, out, &made, &e);
    *created = made;
    return leave(status, &e, err);
}

const char *fridge_set_aside(store *st) { return st->aside ? st->aside : ""; }

int fridge_open_tiny(const char *path, store **out, int *created, char *err) {
    fr_error e = {0};
    bool made = false;
    geometry g = layout_test();
    segment_options so = {.size = g.max_size, .geometry = &g, .create = true, .owner = UINT32_MAX};
    *out = NULL;
    fr_status status = store_open(path, &so, out, &made, &e);
    *created = made;
    return leave(status, &e, err);
}

void fridge_close(store *st) { store_close(st); }

int fridge_destroy(const char *path, char *err) {
    fr_error e = {0};
    return leave(segment_destroy(path, &e), &e, err);
}

static void uuid_text(const uint8_t uuid[16], char out[37]) {
    static const char digits[] = "0123456789abcdef";
    char *p = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *p++ = '-';
        *p++ = digits[uuid[i] >> 4];
        *p++ = digits[uuid[i] & 15];
    }
    *p = 0;
}

void fridge_describe(store *st, fridge_facts *out) {
    segment *s = st->s;
    superblock *super = segment_super(s);
    memset(out, 0, sizeof *out);
    heap_usage(s, &out->used, &out->size);
    out->max_size = s->g.max_size;
    out->created_ms = super->created_ms;
    out->settings_version = ld8(&super->settings_version);
    out->catalogue_version = ld8(&super->catalogue_version);
    out->damaged = ld8(&super->damaged);
    out->page_size = s->g.page_size;
    out->stripes = s->g.stripes;
    out->slots = s->g.slots;
    out->tables = s->g.tables;
    out->stat_cells = s->g.stat_cells;
    out->layout_version = LAYOUT_VERSION;
    out->slot = s->me ? s->me->slot : 0;
    out->readonly = s->readonly;
    out->lost = __atomic_load_n(&s->lost, __ATOMIC_RELAXED);
    out->stale = segment_stale(s);
    out->beacon_pinned = s->beacon_pinned;
    uuid_text(super->uuid, out->uuid);
}

uint64_t fridge_huge_pages(store *st) { return segment_huge(st->s); }

uint32_t fridge_process_next(store *st, uint32_t from, fridge_process *out) {
    process_info p;
    uint32_t slot = segment_process(st->s, from, &p);
    if (!slot) return 0;
    *out = (fridge_process){.pid = p.pid, .start_time = p.start_time, .attached_ms = p.attached_ms, .pidns = p.pidns,
                            .latched = p.latched, .slot = p.slot, .gen = p.gen, .alive = p.alive, .self = p.self};
    memcpy(out->name, p.name, sizeof out->name);
    memcpy(out->host, p.host, sizeof out->host);
    return slot;
}

uint32_t fridge_reap(store *st) { return segment_reap(st->s); }
uint32_t fridge_tick(store *st, uint32_t limit) { return store_tick(st, clock_boot_ms(), limit); }

int fridge_grow(store *st, char *err) {
    fr_error e = {0};
    return leave(segment_grow(st->s, &e), &e, err);
}

int fridge_verify(store *st, int repair, fridge_report *out, char *err) {
    fr_error e = {0};
    verify_report r = {0};
    fr_status status = store_verify(st, repair, &r, &e);
    *out = (fridge_report){.keys = r.keys, .rows = r.rows, .counters = r.counters, .blocks = r.blocks, .pages = r.pages,
                           .findings = r.findings};
    memcpy(out->first, r.first, sizeof out->first);
    return leave(status, &e, err);
}

/* --- settings ------------------------------------------------------------------------------------------------------- */

uint64_t fridge_word_get(store *st, unsigned word) {
    return word < FRIDGE_WORD_COUNT ? ld8(&segment_super(st->s)->shared_settings[word]) : 0;
}

int fridge_word_set(store *st, unsigned word, uint64_t value, char *err) {
    fr_error e = {0};
    if (word >= FRIDGE_WORD_COUNT) return leave(FR_ARGUMENT, &e, err);
    if (st->s->readonly) return leave(FR_READONLY, &e, err);
    st8(&segment_super(st->s)->shared_settings[word], value);
    return leave(FR_OK, &e, err);
}

/* What the operations below share: one string of the system database. */
typedef struct system_call {
    key k;
    span value;       /* set: the new value; p NULL deletes */
    char *to;         /* get: where to */
    size_t cap;
    int64_t by;       /* add: how much */
    int64_t n;        /* get: its length, or -1. add: the sum */
} system_call;

static fr_status system_get_op(store *st, txn *t, void *ctx) {
    system_call *c = ctx;
    value v;
    bool found;
    char text[VALUE_TEXT];
    fr_status status = str_get(st, t, &c->k, &v, &found);
    if (status != FR_OK) return status;
    c->n = -1;
    if (!found) return FR_OK;
    if (v.kind == VALUE_BYTES) {
        c->n = (int64_t)v.n;
        return value_copy(st->s, &v, 0, v.n < c->cap ? v.n : c->cap, c->to);
    }
    span printed = value_text(&v, text);
    c->n = (int64_t)printed.n;
    memcpy(c->to, printed.p, printed.n < c->cap ? printed.n : c->cap);
    return FR_OK;
}

/* settings_changed makes every process look again: in the same commit as the change. */
static void settings_changed(txn *t) {
    uint64_t off = offsetof(superblock, settings_version);
    txn_put(t, off, txn_ld(t, off) + 1);
}

static fr_status system_set_op(store *st, txn *t, void *ctx) {
    system_call *c = ctx;
    set_result result;
    bool existed;
    t->shrinks = true; /* few and small, and CONFIG SET must work when memory is full: it may be what makes room */
    settings_changed(t);
    if (!c->value.p) return key_delete(st, t, &c->k, &existed);
    return str_set(st, t, &c->k, c->value, &(set_options){0}, &result);
}

static fr_status system_add_op(store *st, txn *t, void *ctx) {
    system_call *c = ctx;
    return str_incr(st, t, &c->k, c->by, &c->n);
}

static fr_status system_route(store *st, const char *name, system_call *c, fr_error *e) {
    return key_route(st, DB_SYSTEM, (span){name, strlen(name)}, &c->k, e);
}

/* system_write holds every stripe for set, so that settings_version has one writer at a time; add needs the key's. */
static fr_status system_write(store *st, system_call *c, store_op op, bool all, fr_error *e) {
    stripe_set set;
    stripe_set_clear(&set);
    if (all) store_all_stripes(st, &set);
    else stripe_set_add(&set, c->k.stripe);
    return store_write(st, clock_boot_ms(), UINT64_MAX, &set, op, c, e);
}

int fridge_system_get(store *st, const char *name, char *to, size_t cap, int64_t *n, char *err) {
    fr_error e = {0};
    system_call c = {.to = to, .cap = cap, .n = -1};
    fr_status status = system_route(st, name, &c, &e);
    if (status == FR_OK) status = store_read(st, clock_boot_ms(), NULL, system_get_op, &c, &e);
    *n = c.n;
    return leave(status, &e, err);
}

int fridge_system_set(store *st, const char *name, const char *p, size_t n, char *err) {
    fr_error e = {0};
    system_call c = {.value = {p, n}};
    fr_status status = system_route(st, name, &c, &e);
    if (status == FR_OK) status = system_write(st, &c, system_set_op, true, &e);
    return leave(status, &e, err);
}

int fridge_system_add(store *st, const char *name, int64_t by, int64_t *out, char *err) {
    fr_error e = {0};
    system_call c = {.by = by};
    fr_status status = system_route(st, name, &c, &e);
    if (status == FR_OK) status = system_write(st, &c, system_add_op, false, &e);
    *out = c.n;
    return leave(status, &e, err);
}

#define REGISTRY_WAIT_MS 1

typedef struct registry_call {
    key k;
    field_value fv;
    char *to;    /* all: where to */
    size_t cap;
    size_t n;    /* all: bytes packed or needed; hlen: fields */
    segment *s;
} registry_call;

static fr_status registry_set_op(store *st, txn *t, void *ctx) {
    registry_call *c = ctx;
    size_t created;
    return hash_set(st, t, &c->k, &c->fv, 1, FIELD_ALWAYS, &created);
}

static fr_status registry_delete_op(store *st, txn *t, void *ctx) {
    registry_call *c = ctx;
    size_t deleted;
    return hash_delete(st, t, &c->k, &c->fv.field, 1, &deleted);
}

static fr_status registry_length_op(store *st, txn *t, void *ctx) {
    registry_call *c = ctx;
    uint64_t n = 0;
    fr_status status = hash_length(st, t, &c->k, &n);
    c->n = n;
    return status;
}

/* registry_pack appends one entry while there is room; n counts on, so that the caller learns what is needed. */
static fr_status registry_pack(void *ctx, span field, const value *v) {
    registry_call *c = ctx;
    char text[VALUE_TEXT];
    span printed = v->kind == VALUE_BYTES ? (span){v->p, v->n} : value_text(v, text);
    uint32_t lengths[2] = {(uint32_t)field.n, (uint32_t)printed.n};
    size_t at = c->n, need = sizeof lengths + field.n + printed.n;
    c->n += need;
    if (c->n > c->cap) return FR_OK;
    memcpy(c->to + at, &lengths[0], 4);
    memcpy(c->to + at + 4, field.p, field.n);
    memcpy(c->to + at + 4 + field.n, &lengths[1], 4);
    if (v->kind == VALUE_BYTES) return value_copy(c->s, v, 0, v->n, c->to + at + 8 + field.n);
    memcpy(c->to + at + 8 + field.n, printed.p, printed.n);
    return FR_OK;
}

static fr_status registry_all_op(store *st, txn *t, void *ctx) {
    registry_call *c = ctx;
    c->n = 0;
    return hash_each(st, t, &c->k, registry_pack, c);
}

static int registry_run(store *st, const char *name, registry_call *c, store_op op, bool write, char *err) {
    fr_error e = {0};
    stripe_set set;
    fr_status status = key_route(st, DB_SYSTEM, (span){name, strlen(name)}, &c->k, &e);
    if (status == FR_OK) {
        stripe_set_clear(&set);
        stripe_set_add(&set, c->k.stripe);
        c->s = st->s;
        status = write ? store_write(st, clock_boot_ms(), REGISTRY_WAIT_MS, &set, op, c, &e)
                       : store_read(st, clock_boot_ms(), &set, op, c, &e);
    }
    return leave(status, &e, err);
}

int fridge_system_hset(store *st, const char *name, const char *field, const char *p, size_t n, char *err) {
    registry_call c = {.fv = {{field, strlen(field)}, {p, n}}};
    return registry_run(st, name, &c, registry_set_op, true, err);
}

int fridge_system_hdel(store *st, const char *name, const char *field, char *err) {
    registry_call c = {.fv = {{field, strlen(field)}, {NULL, 0}}};
    return registry_run(st, name, &c, registry_delete_op, true, err);
}

int fridge_system_hlen(store *st, const char *name, uint64_t *n, char *err) {
    registry_call c = {0};
    int status = registry_run(st, name, &c, registry_length_op, false, err);
    *n = c.n;
    return status;
}

int fridge_system_hall(store *st, const char *name, char *to, size_t cap, size_t *n, char *err) {
    registry_call c = {.to = to, .cap = cap};
    int status = registry_run(st, name, &c, registry_all_op, false, err);
    *n = c.n;
    return status;
}

/* --- keyspace ------------------------------------------------------------------------------------------------------- */

typedef struct count_call {
    uint32_t db;
    uint64_t keys, expires;
} count_call;

static fr_status count_op(store *st, txn *t, void *ctx) {
    count_call *c = ctx;
    keyspace_count(st, t, c->db, &c->keys, &c->expires);
    return FR_OK;
}

int fridge_keys(store *st, uint32_t db, uint64_t *keys, uint64_t *expires, char *err) {
    fr_error e = {0};
    count_call c = {.db = db};
    fr_status status = db < DATABASES ? store_read(st, clock_boot_ms(), NULL, count_op, &c, &e) : FR_DBRANGE;
    *keys = c.keys;
    *expires = c.expires;
    return leave(status, &e, err);
}

/* --- tables --------------------------------------------------------------------------------------------------------- */

uint32_t fridge_table_next(store *st, uint32_t from, fridge_table *out) {
    fr_error e = {0};
    if (store_catalogue(st, &e) != FR_OK) return 0;
    for (uint32_t i = from; i < st->table_count; i++) {
        table *tb = table_at(st, i);
        if (!tb) continue;
        table_info info;
        table_measure(st, tb, &info);
        *out = (fridge_table){.capacity = tb->capacity, .rows = info.rows, .expires = info.expires,
                              .refused = info.refused, .memory_bytes = info.memory_bytes, .number = tb->number,
                              .columns = tb->schema.columns};
        memcpy(out->name, tb->name, sizeof out->name);
        return i + 1;
    }
    return 0;
}

/* --- sessions ------------------------------------------------------------------------------------------------------- */

uint64_t fridge_feed(struct session *s, const char *data, size_t n, fridge_output *out) {
    feed_result result = session_feed(s, data, n, clock_boot_ms(), wall_tick_ms());
    uint64_t bytes = session_output(s, &out->p);
    if (bytes && bytes <= sizeof out->copy) memcpy(out->copy, out->p, bytes);
    if (bytes) session_sent(s, bytes); /* all of it: what was handed out stays where it is until the next feed */
    bool holds = result == FEED_MORE && session_held(s);
    return (uint64_t)result | (holds ? 8 : 0) | bytes << 4;
}
