/* cmd_key.c - keys whatever they hold: DEL, TYPE, EXPIRE and TTL families, KEYS, SCAN, RENAME, COPY, MOVE, OBJECT. */
#include <stdlib.h>

#include "store/hash.h"
#include "wire/session_state.h"

/* --- existence --------------------------------------------------------------------------------------------------- */

fr_status cmd_del(context *c) {
    int64_t n = 0;
    for (uint32_t i = 0; i < c->key_count; i++) {
        bool existed;
        fr_status status = key_delete(c->st, c->t, &c->keys[i], &existed);
        if (status != FR_OK) return status;
        n += existed;
    }
    reply_int(c->out, n);
    return FR_OK;
}

/* cmd_exists is TOUCH too. */
fr_status cmd_exists(context *c) {
    int64_t n = 0;
    for (uint32_t i = 0; i < c->key_count; i++) {
        found f;
        fr_status status = key_lookup(c->st, c->t, &c->keys[i], &f);
        if (status != FR_OK) return status;
        n += f.exists;
    }
    reply_int(c->out, n);
    return FR_OK;
}

static const char *type_name(const found *f) {
    if (!f->exists) return "none";
    switch (f->kind) {
    case KIND_HASH:
    case KIND_TREE:
    case KIND_ROW: return "hash";
    default: return "string";
    }
}

fr_status cmd_type(context *c) {
    found f;
    fr_status status = key_find(c->st, c->t, &c->keys[0], &f);
    if (status != FR_OK) return status;
    const char *name = type_name(&f);
    reply_status(c->out, (span){name, strlen(name)});
    return FR_OK;
}

/* --- expiry ------------------------------------------------------------------------------------------------------ */

static fr_status expire_conditions(context *c, unsigned *out) {
    static const char *const words[] = {"nx", "xx", "gt", "lt"};
    *out = 0;
    for (uint32_t i = 3; i < c->argc; i++) {
        unsigned bit = 0;
        for (unsigned k = 0; k < 4; k++)
            if (arg_is(c, i, words[k])) bit = 1u << k;
        if (!bit) return fail(c, FR_SYNTAX, "Unsupported option %.*s", (int)c->argv[i].n, c->argv[i].p);
        *out |= bit;
    }
    if (*out & EXPIRE_NX && *out & ~(unsigned)EXPIRE_NX)
        return fail(c, FR_SYNTAX, "NX and XX, GT or LT options at the same time are not compatible");
    if (*out & EXPIRE_GT && *out & EXPIRE_LT)
        return fail(c, FR_SYNTAX, "GT and LT options at the same time are not compatible");
    return FR_OK;
}

/* expire_at converts EXPIRE's argument, which may be negative or long past, to a boot-clock expiry. */
static fr_status expire_at(context *c, unsigned unit, uint64_t *at) {
    int64_t v, wall = unit & EXPIRY_ABSOLUTE ? 0 : (int64_t)c->wall;
    fr_status status = arg_int(c, 2, &v);
    if (status != FR_OK) return status;
    if (!(unit & EXPIRY_MS)) {
        if (v > INT64_MAX / 1000 || v < INT64_MIN / 1000) return fail_expiry(c);
        v *= 1000;
    }
    if (v > INT64_MAX - wall) return fail_expiry(c);
    if (unit & EXPIRY_ABSOLUTE) *at = expiry_boot(c, v);
    else *at = v > 0 || 0 - (uint64_t)v < c->now ? c->now + (uint64_t)v : 1;
    return FR_OK;
}

static fr_status expire_generic(context *c, unsigned unit) {
    unsigned conditions;
    uint64_t at = 0;
    bool changed;
    fr_status status = expire_conditions(c, &conditions);
    if (status == FR_OK) status = expire_at(c, unit, &at);
    if (status == FR_OK) status = key_expire(c->st, c->t, &c->keys[0], at, conditions, &changed);
    if (status == FR_OK) answer_bool(c, changed);
    return status;
}

fr_status cmd_expire(context *c) { return expire_generic(c, EXPIRY_SECONDS); }

fr_status cmd_pexpire(context *c) { return expire_generic(c, EXPIRY_MS); }

fr_status cmd_expireat(context *c) { return expire_generic(c, EXPIRY_SECONDS | EXPIRY_ABSOLUTE); }

fr_status cmd_pexpireat(context *c) { return expire_generic(c, EXPIRY_MS | EXPIRY_ABSOLUTE); }

fr_status cmd_persist(context *c) {
    bool changed;
    fr_status status = key_expire(c->st, c->t, &c->keys[0], NO_EXPIRY, 0, &changed);
    if (status == FR_OK) answer_bool(c, changed);
    return status;
}

static fr_status ttl_generic(context *c, unsigned unit) {
    found f;
    fr_status status = key_find(c->st, c->t, &c->keys[0], &f);
    if (status != FR_OK) return status;
    int64_t v = f.exists ? -1 : -2;
    if (f.exists && f.expiry != NO_EXPIRY) {
        v = (int64_t)(unit & EXPIRY_ABSOLUTE ? keyspace_to_wall(c->st, f.expiry) : f.expiry - c->now);
        if (!(unit & EXPIRY_MS)) v = (int64_t)(((uint64_t)v + 500) / 1000); /* v may be INT64_MAX */
    }
    reply_int(c->out, v);
    return FR_OK;
}

fr_status cmd_ttl(context *c) { return ttl_generic(c, EXPIRY_SECONDS); }

fr_status cmd_pttl(context *c) { return ttl_generic(c, EXPIRY_MS); }

fr_status cmd_expiretime(context *c) { return ttl_generic(c, EXPIRY_SECONDS | EXPIRY_ABSOLUTE); }

fr_status cmd_pexpiretime(context *c) { return ttl_generic(c, EXPIRY_MS | EXPIRY_ABSOLUTE); }

/* --- iteration --------------------------------------------------------------------------------------------------- */

struct sieve {
    context *c;
    span pattern;  /* p NULL: all */
    span type;     /* p NULL: all */
    size_t n;
};

static fr_status sift(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    struct sieve *s = ctx;
    found f = {.exists = true, .kind = kind};
    (void)expiry;
    (void)version;
    if (s->type.p && !word_is(s->type, type_name(&f))) return FR_OK;
    if (s->pattern.p && !glob(s->pattern, name, false)) return FR_OK;
    reply_bulk(s->c->out, name);
    s->n++;
    return FR_OK;
}

fr_status cmd_keys(context *c) {
    struct sieve s = {.c = c, .pattern = arg_pattern(c, 1)};
    uint64_t cursor = 0;
    size_t mark = reply_open(c->out);
    do {
        fr_status status = keyspace_scan(c->st, c->t, c->db, NO_TABLE, &cursor, 1024, sift, &s);
        if (status != FR_OK) return status;
    } while (cursor && !c->out->broken);
    reply_close(c->out, mark, '*', s.n);
    return FR_OK;
}

fr_status cmd_scan(context *c) {
    scan_options o;
    uint64_t cursor;
    fr_status status = arg_cursor(c, 1, &cursor);
    if (status == FR_OK) status = arg_scan(c, 2, SCAN_TYPE, &o);
    if (status != FR_OK) return status;
    struct sieve s = {.c = c, .pattern = o.pattern, .type = o.type};
    size_t mark = reply_open(c->out);
    status = keyspace_scan(c->st, c->t, c->db, NO_TABLE, &cursor, (uint64_t)o.count, sift, &s);
    if (status == FR_OK) answer_cursor(c, mark, cursor, s.n);
    return status;
}

fr_status cmd_randomkey(context *c) {
    struct sieve s = {.c = c};
    fr_status status = keyspace_random(c->st, c->t, c->db, session_random(c->s), sift, &s);
    if (status == FR_OK && !s.n) reply_null(c->out);
    return status;
}

/* --- moving ------------------------------------------------------------------------------------------------------ */

static fr_status rename_generic(context *c, bool nx) {
    bool done;
    if (span_eq(c->argv[1], c->argv[2])) {
        found f;
        fr_status status = key_write_begin(c->st, c->t, &c->keys[0], &f);
        if (status == FR_OK && !f.exists) return FR_NOKEY;
        if (status != FR_OK) return status;
        done = false;
    } else {
        fr_status status = key_rename(c->st, c->t, &c->keys[0], &c->keys[1], nx, &done);
        if (status != FR_OK) return status;
    }
    if (nx) answer_bool(c, done);
    else reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_rename(context *c) { return rename_generic(c, false); }

fr_status cmd_renamenx(context *c) { return rename_generic(c, true); }

static fr_status copy_options(context *c, uint32_t *db, bool *replace) {
    *db = c->db;
    *replace = false;
    for (uint32_t i = 3; i < c->argc; i++) {
        if (arg_is(c, i, "replace")) {
            *replace = true;
        } else if (arg_is(c, i, "db") && i + 1 < c->argc) {
            fr_status status = arg_db(c, ++i, db);
            if (status != FR_OK) return status;
        } else {
            return FR_SYNTAX;
        }
    }
    return FR_OK;
}

fr_status cmd_copy(context *c) {
    uint32_t db;
    bool replace, done;
    fr_status status = copy_options(c, &db, &replace);
    if (status != FR_OK) return status;
    if (db == c->db && span_eq(c->argv[1], c->argv[2])) return FR_SAMEKEY;
    status = key_copy(c->st, c->t, &c->keys[0], &c->keys[1], replace, &done);
    if (status == FR_OK) answer_bool(c, done);
    return status;
}

fr_status cmd_move(context *c) {
    uint32_t db;
    bool done;
    found f;
    fr_status status = arg_db(c, 2, &db);
    if (status != FR_OK) return status;
    if (db == c->db) return FR_SAMEKEY;
    if ((status = key_write_begin(c->st, c->t, &c->keys[0], &f)) != FR_OK) return status;
    done = f.exists;
    if (done) status = key_rename(c->st, c->t, &c->keys[0], &c->keys[1], true, &done);
    if (status == FR_OK) answer_bool(c, done);
    return status;
}

/* --- OBJECT ------------------------------------------------------------------------------------------------------ */

static fr_status object_find(context *c, found *f) {
    fr_status status = key_find(c->st, c->t, &c->keys[0], f);
    if (status == FR_OK && !f->exists) reply_null(c->out);
    return status;
}

fr_status cmd_object_encoding(context *c) {
    found f;
    fr_status status = object_find(c, &f);
    if (status == FR_OK && f.exists) reply_text(c->out, key_encoding(c->st, c->t, &c->keys[0], &f));
    return status;
}

fr_status cmd_object_idletime(context *c) {
    found f;
    fr_status status = object_find(c, &f);
    if (status == FR_OK && f.exists) reply_int(c->out, (int64_t)key_idle(c->st, &c->keys[0], c->now));
    return status;
}

fr_status cmd_object_freq(context *c) {
    found f;
    fr_status status = object_find(c, &f);
    if (status != FR_OK || !f.exists) return status;
    return fail(c, FR_ARGUMENT, "An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
                "that when switching between policies at runtime LRU and LFU data will take some time to adjust.");
}

/* Redis shares the integers below 10000 and then says this number; nothing here has a reference count. */
#define SHARED_REFCOUNT 2147483647

fr_status cmd_object_refcount(context *c) {
    found f;
    value v = {0};
    fr_status status = object_find(c, &f);
    if (status != FR_OK || !f.exists) return status;
    head h = {.off = f.off, .version = f.version, .meta = f.meta, .expiry = f.expiry};
    if (f.kind == KIND_STRING && (status = block_value(c->t, &h, &v)) != FR_OK) return status;
    reply_int(c->out, v.kind == VALUE_INT && v.i >= 0 && v.i < 10000 ? SHARED_REFCOUNT : 1);
    return FR_OK;
}

fr_status cmd_object_help(context *c) {
    static const char *const lines[] = {
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}
