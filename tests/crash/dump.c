/* dump.c - see dump.h. A digest is a sum of item hashes, so the order in which items are met does not matter. */
#include "dump.h"

#include "store/hash.h"
#include "store/lock.h"
#include "store/string.h"
#include "store/table.h"

#define NAMES 400
#define NAMES_MAX 8192
#define TEXT_MAX 40000

/* --- digests -------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, const void *p, size_t n) {
    const char *c = p;
    for (; n >= 8; n -= 8, c += 8) {
        uint64_t w;
        memcpy(&w, c, 8);
        h = (h ^ w) * UINT64_C(0x9fb21c651e98df25);
        h ^= h >> 35;
    }
    uint64_t w = n;
    memcpy(&w, c, n);
    h = (h ^ w ^ (uint64_t)n << 60) * UINT64_C(0x9fb21c651e98df25);
    return h ^ h >> 29;
}

typedef struct item {
    uint64_t a, b;
} item;

static item item_begin(uint64_t tag) { return (item){tag * UINT64_C(0xd6e8feb86659fd93), ~tag * UINT64_C(0xa0761d6478bd642f)}; }

/* Two hashes side by side, which take no longer than one. */
static void item_add(item *i, const void *p, size_t n) {
    uint64_t length = n, a = mix(i->a, &length, 8), b = i->b, w;
    const char *c = p;
    for (; n >= 8; n -= 8, c += 8) {
        memcpy(&w, c, 8);
        a = (a ^ w) * UINT64_C(0x9fb21c651e98df25);
        b = (b ^ w) * UINT64_C(0xd6e8feb86659fd93);
        a ^= a >> 35;
        b ^= b >> 35;
    }
    i->a = mix(a, c, n);
    i->b = mix(mix(b, c, n), &length, 8);
}

static void digest_add(digest *d, const item *i) {
    d->a += i->a;
    d->b += i->b ^ i->a >> 7;
}

static void print(FILE *out, const char *p, size_t n) {
    for (size_t i = 0; i < n && i < 48; i++) fputc(p[i] >= ' ' && p[i] < 127 ? p[i] : '?', out);
    if (n > 48) fprintf(out, "...(%zu)", n);
}

/* --- names ---------------------------------------------------------------------------------------------------------- */

typedef struct names {
    uint32_t db, n;
    size_t used;
    struct {
        uint16_t at, length;
        uint64_t expiry;
    } name[NAMES];
    char bytes[NAMES_MAX];
} names;

static fr_status take_name(void *ctx, span name, enum kind kind, uint64_t expiry, uint64_t version) {
    names *ns = ctx;
    (void)kind;
    (void)version;
    if (ns->n == NAMES || ns->used + name.n > NAMES_MAX) return FR_NOSPACE;
    memcpy(ns->bytes + ns->used, name.p, name.n);
    ns->name[ns->n].at = (uint16_t)ns->used;
    ns->name[ns->n].length = (uint16_t)name.n;
    ns->name[ns->n++].expiry = expiry;
    ns->used += name.n;
    return FR_OK;
}

static fr_status scan_all(store *st, txn *t, void *ctx) {
    names *ns = ctx;
    uint64_t cursor = 0;
    fr_status status;
    ns->n = 0;
    ns->used = 0;
    do status = keyspace_scan(st, t, ns->db, NO_TABLE, &cursor, 1000, take_name, ns);
    while (status == FR_OK && cursor);
    return status;
}

/* --- one key -------------------------------------------------------------------------------------------------------- */

typedef struct reading {
    actor *a;
    uint32_t db;
    span name;
    bool exists;
    uint64_t expiry;
    enum kind kind;
    digest content;
    FILE *out;
    char buf[TEXT_MAX];
} reading;

static fr_status bytes_of(segment *s, const value *v, char *buf, span *out) {
    static char digits[VALUE_TEXT];
    if (v->kind != VALUE_BYTES) {
        *out = value_text(v, digits);
        return FR_OK;
    }
    if (v->n > TEXT_MAX) return FR_RETRY;
    *out = (span){buf, v->n};
    return value_copy(s, v, 0, v->n, buf);
}

static fr_status take_field(void *ctx, span field, const value *v) {
    reading *r = ctx;
    item i = item_begin(2);
    span text;
    char name[512];
    if (field.n > sizeof name) return FR_RETRY;
    memcpy(name, field.p, field.n);
    fr_status status = bytes_of(r->a->s, v, r->buf, &text);
    if (status != FR_OK) return status;
    item_add(&i, name, field.n);
    item_add(&i, text.p, text.n);
    digest_add(&r->content, &i);
    if (r->out) {
        fprintf(r->out, " ");
        print(r->out, name, field.n);
        fprintf(r->out, "=");
        print(r->out, text.p, text.n);
    }
    return FR_OK;
}

/* Who holds a lock, and who waits, in order. */
static fr_status read_owners(store *st, txn *t, reading *r, const key *k) {
    owners o;
    bool held;
    uint64_t expiry;
    fr_status status = lock_facts(st, t, k, &held, &o, &expiry);
    if (status != FR_OK || !held) return status;
    item i = item_begin(6);
    uint64_t facts[] = {o.holders, o.waiters, o.limit};
    item_add(&i, facts, sizeof facts);
    for (uint32_t n = 0; n < o.holders + o.waiters; n++) {
        uint64_t about[] = {o.entry[n].identity, o.entry[n].shared, o.entry[n].lease_ms, o.entry[n].number != 0};
        item_add(&i, about, sizeof about);
        item_add(&i, o.entry[n].token, o.entry[n].token_n);
        if (!r->out) continue;
        fprintf(r->out, n < o.holders ? " holder " : " waiter ");
        print(r->out, o.entry[n].token, o.entry[n].token_n);
    }
    digest_add(&r->content, &i);
    return FR_OK;
}

static fr_status read_string(store *st, txn *t, reading *r, const key *k) {
    value v;
    span text;
    bool found_it;
    item i = item_begin(1);
    fr_status status = str_get(st, t, k, &v, &found_it);
    if (status != FR_OK || !found_it) return status;
    if ((status = bytes_of(r->a->s, &v, r->buf, &text)) != FR_OK) return status;
    item_add(&i, text.p, text.n);
    digest_add(&r->content, &i);
    if (r->out) {
        fprintf(r->out, " ");
        print(r->out, text.p, text.n);
    }
    return FR_OK;
}

static fr_status read_key(store *st, txn *t, void *ctx) {
    reading *r = ctx;
    key k;
    found f;
    r->content = (digest){0, 0};
    r->exists = false;
    fr_status status = key_route(st, r->db, r->name, &k, &r->a->err);
    if (status == FR_OK) status = key_find(st, t, &k, &f);
    if (status != FR_OK || !f.exists) return status;
    r->exists = true;
    r->expiry = f.expiry;
    r->kind = f.kind == KIND_TREE ? KIND_HASH : f.kind;
    bool hash = r->kind == KIND_HASH || r->kind == KIND_ROW;
    status = hash ? hash_each(st, t, &k, take_field, r) : read_string(st, t, r, &k);
    bool owned = f.kind == KIND_STRING && META_FLAGS(f.meta) & FLAG_OWNER;
    return status == FR_OK && owned ? read_owners(st, t, r, &k) : status;
}

static fr_status dump_key(actor *a, reading *r, span name, uint32_t db, digest *d, FILE *out) {
    r->a = a;
    r->db = db;
    r->name = name;
    r->out = NULL;
    fr_status status = store_read(a->st, a->now_ms, NULL, read_key, r, &a->err);
    if (status != FR_OK) return status;
    item i = item_begin(3 + db);
    uint64_t facts[] = {r->exists, r->exists ? r->kind : 0, r->exists ? r->expiry : 0, r->content.a, r->content.b};
    item_add(&i, name.p, name.n);
    item_add(&i, facts, sizeof facts);
    digest_add(d, &i);
    if (!out) return FR_OK;
    fprintf(out, "  %u/", db);
    print(out, name.p, name.n);
    fprintf(out, r->exists ? " kind %d expiry %llu:" : " GHOST", r->kind, (unsigned long long)r->expiry);
    r->out = out;
    status = r->exists ? store_read(a->st, a->now_ms, NULL, read_key, r, &a->err) : FR_OK;
    fprintf(out, "\n");
    return status;
}

typedef struct several {
    reading *r;
    const span *names;
    size_t n;
    digest d;
    FILE *out;
} several;

static fr_status read_several(store *st, txn *t, void *ctx) {
    several *s = ctx;
    s->d = (digest){0, 0};
    for (size_t i = 0; i < s->n; i++) {
        s->r->name = s->names[i];
        if (s->out) fprintf(s->out, "  %.*s:", (int)s->names[i].n, s->names[i].p);
        fr_status status = read_key(st, t, s->r);
        if (status != FR_OK) return status;
        item one = item_begin(40 + i);
        uint64_t facts[] = {s->r->exists, s->r->exists ? s->r->kind : 0, s->r->exists ? s->r->expiry : 0, s->r->content.a,
                            s->r->content.b};
        item_add(&one, facts, sizeof facts);
        digest_add(&s->d, &one);
        if (s->out) fprintf(s->out, s->r->exists ? "\n" : " (absent)\n");
    }
    return FR_OK;
}

fr_status dump_keys(actor *a, const span *names, size_t n, digest *d, FILE *out) {
    static reading r;
    r.a = a;
    r.db = 0;
    r.out = out;
    several s = {.r = &r, .names = names, .n = n, .out = out};
    fr_status status = store_read(a->st, a->now_ms, NULL, read_several, &s, &a->err);
    *d = s.d;
    return status;
}

fr_status dump_core(actor *a, digest *d, FILE *out) {
    static names ns;
    static reading r;
    *d = (digest){0, 0};
    for (uint32_t i = 0; i <= DUMP_DATABASES; i++) {
        uint32_t db = ns.db = i < DUMP_DATABASES ? i : DB_SYSTEM;
        fr_status status = store_read(a->st, a->now_ms, NULL, scan_all, &ns, &a->err);
        for (uint32_t n = 0; status == FR_OK && n < ns.n; n++)
            status = dump_key(a, &r, (span){ns.bytes + ns.name[n].at, ns.name[n].length}, db, d, out);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

/* --- at rest -------------------------------------------------------------------------------------------------------- */

typedef struct counting {
    uint32_t db;
    uint64_t keys, expires;
} counting;

static fr_status count(store *st, txn *t, void *ctx) {
    counting *c = ctx;
    keyspace_count(st, t, c->db, &c->keys, &c->expires);
    return FR_OK;
}

static void dump_table(actor *a, const table *tb, digest *d, FILE *out) {
    table_info info;
    table_measure(a->st, tb, &info);
    item i = item_begin(30);
    uint64_t facts[] = {tb->state, tb->capacity, tb->stride, info.rows, info.expires};
    item_add(&i, tb->name, tb->name_n);
    item_add(&i, facts, sizeof facts);
    digest_add(d, &i);
    if (out) fprintf(out, "  table %s state %u rows %llu\n", tb->name, tb->state, (unsigned long long)info.rows);
}

fr_status dump_rest(actor *a, digest *d, FILE *out) {
    fr_status status = dump_core(a, d, out);
    for (uint32_t db = 0; status == FR_OK && db <= DATABASES; db++) {
        counting c = {.db = db};
        status = store_read(a->st, a->now_ms, NULL, count, &c, &a->err);
        if (c.keys == 0 && c.expires == 0) continue;
        item i = item_begin(20);
        item_add(&i, &c, sizeof c);
        digest_add(d, &i);
        if (out) fprintf(out, "  db %u: %llu keys, %llu expire\n", db, (unsigned long long)c.keys, (unsigned long long)c.expires);
    }
    if (status == FR_OK) status = store_catalogue(a->st, &a->err);
    for (uint32_t i = 0; status == FR_OK && i < a->st->table_count; i++)
        if (a->st->tables[i]) dump_table(a, a->st->tables[i], d, out);
    return status;
}

/* --- processes ------------------------------------------------------------------------------------------------------ */

void dump_processes(segment *s, uint64_t listed[DUMP_SLOTS], FILE *out) {
    process_info info;
    memset(listed, 0, DUMP_SLOTS * sizeof *listed);
    for (uint32_t slot = 0; (slot = segment_process(s, slot + 1, &info)) != 0 && slot < DUMP_SLOTS;) {
        uint64_t facts[] = {info.gen, info.pid, info.start_time, info.pidns, info.attached_ms > FIRST_NOW};
        uint64_t h = mix(slot, facts, sizeof facts);
        listed[slot] = mix(mix(h, info.name, strlen(info.name)), info.host, strlen(info.host)) | 1;
        if (out) fprintf(out, "  slot %u: generation %u, pid %llu, %s\n", slot, info.gen, (unsigned long long)info.pid, info.name);
    }
}
