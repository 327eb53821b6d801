/* hash.c - hashes as their users see them: one set of verbs over two shapes, packed (here) and tree (tree.c), and over
 * the rows of typed tables (row.c), which answer the same calls.
 *
 * A write opens the hash for editing, changes it, and closes it: a packed hash is edited in a buffer and written back
 * as one new block; a tree is edited in place, field by field. A packed hash that outgrows its shape while it is edited
 * becomes a tree there and then, so no verb has to know which of the two it works on.
 *
 * Leaves out: parsing of commands, replies, and the numbers that HINCRBY is given.
 */
#include "store/hash.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/table.h"
#include "store/tree.h"

#define LISTPACK_FIELDS 512u /* redis-server's hash-max-listpack-entries and -value */
#define LISTPACK_VALUE 64u
#define PACKED_MAX 2048u     /* above the largest slab class of the largest page */

/* --- packed bodies ------------------------------------------------------------------------------------------------ */

typedef struct packed {
    uint32_t n;      /* bytes */
    uint32_t fields;
    char body[PACKED_MAX];
} packed;

/* One entry of a packed body. Spans point into the body. */
typedef struct entry {
    uint32_t at, end;
    span field, value; /* value: the bytes, or the 8 bytes of the integer */
    bool is_int;
} entry;

static inline bool varint_read(const char *body, uint32_t n, uint32_t *at, uint32_t *out) {
    if (FR_LIKELY(*at < n && !(body[*at] & 0x80))) {
        *out = (uint8_t)body[(*at)++];
        return true;
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < 5; i++) {
        if (*at >= n) return false;
        uint8_t b = (uint8_t)body[(*at)++];
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if (!(b & 0x80)) {
            *out = (uint32_t)v;
            return v <= UINT32_MAX;
        }
    }
    return false;
}

static uint32_t varint_bytes(uint32_t v) {
    uint32_t n = 1;
    while (v >>= 7) n++;
    return n;
}

static char *varint_write(char *to, uint32_t v) {
    for (; v > 0x7f; v >>= 7) *to++ = (char)(v | 0x80);
    *to++ = (char)v;
    return to;
}

/* entry_at reads the entry that begins at `at`; false when it does not lie within the n bytes. */
static bool entry_at(const char *body, uint32_t n, uint32_t at, entry *e) {
    uint32_t flen, vlen, p = at;
    if (!varint_read(body, n, &p, &flen) || !varint_read(body, n, &p, &vlen)) return false;
    e->is_int = vlen & 1;
    vlen >>= 1;
    if ((uint64_t)p + flen + vlen > n || (e->is_int && vlen != 8)) return false;
    e->at = at;
    e->end = p + flen + vlen;
    e->field = (span){body + p, flen};
    e->value = (span){body + p + flen, vlen};
    return true;
}

/* packed_count counts the entries; false when they do not end exactly at n. */
static bool packed_count(packed *p) {
    entry e;
    uint32_t at = 0;
    for (p->fields = 0; at < p->n; p->fields++, at = e.end)
        if (!entry_at(p->body, p->n, at, &e)) return false;
    return p->fields > 0;
}

static bool packed_find(const packed *p, span field, entry *e) {
    for (uint32_t at = 0; at < p->n; at = e->end) {
        if (!entry_at(p->body, p->n, at, e)) return false;
        if (span_eq(e->field, field)) return true;
    }
    return false;
}

/* packed_copy copies a body out of the segment before it is believed; block_head has bounded its length. */
static fr_status packed_copy(txn *t, uint64_t off, uint64_t meta, packed *p) {
    p->n = META_VLEN(meta);
    if (p->n > PACKED_MAX) return txn_unbelievable(t, "a packed hash is longer than any block");
    copy_out(p->body, SEG_AT(t->s, off + block_body_at(meta), char), p->n);
    return FR_OK;
}

static fr_status packed_load(txn *t, uint64_t off, uint64_t meta, packed *p) {
    fr_status status = packed_copy(t, off, meta, p);
    if (status != FR_OK || packed_count(p)) return status;
    return txn_unbelievable(t, "a packed hash does not end where it should");
}

static void packed_cut(packed *p, const entry *e) {
    uint32_t gone = e->end - e->at;
    memmove(p->body + e->at, p->body + e->end, p->n - e->end);
    p->n -= gone;
    p->fields--;
}

/* How a value is packed: as an integer only where that is shorter than its digits. */
static bool packs_as_int(span text, int64_t *i) { return text.n > 8 && text.n <= 20 && text_int64(text, i); }

static uint32_t packed_entry_bytes(span field, span text) {
    int64_t i;
    uint32_t vlen = packs_as_int(text, &i) ? 8 << 1 | 1 : (uint32_t)text.n << 1;
    return varint_bytes((uint32_t)field.n) + varint_bytes(vlen) + (uint32_t)field.n + (vlen >> 1);
}

static void entry_write(char *to, span field, span text) {
    int64_t i;
    bool is_int = packs_as_int(text, &i);
    to = varint_write(to, (uint32_t)field.n);
    to = varint_write(to, is_int ? 8 << 1 | 1 : (uint32_t)text.n << 1);
    if (field.n) memcpy(to, field.p, field.n);
    to += field.n;
    if (is_int) memcpy(to, &i, 8);
    else if (text.n) memcpy(to, text.p, text.n);
}

/* packed_put sets a field, in its old place if it has one (e != NULL). The caller has made sure that it fits. */
static void packed_put(packed *p, const entry *e, span field, span text) {
    uint32_t at = e ? e->at : p->n, end = e ? e->end : p->n, bytes = packed_entry_bytes(field, text);
    memmove(p->body + at + bytes, p->body + end, p->n - end);
    entry_write(p->body + at, field, text);
    p->n = p->n - (end - at) + bytes;
    if (!e) p->fields++;
}

/* entry_value: an entry as a value whose bytes lie at `at`, the body's place in the segment. */
static value entry_value(const packed *p, const entry *e, const char *at) {
    value v = {.kind = VALUE_BYTES, .n = e->value.n, .p = at + (e->value.p - p->body)};
    if (!e->is_int) return v;
    v.kind = VALUE_INT;
    memcpy(&v.i, e->value.p, 8);
    return v;
}

/* --- editing ------------------------------------------------------------------------------------------------------ */

/* A hash that is being changed. */
typedef struct edit {
    const key *k;
    found f;
    bool is_tree, changed;
    tree tr;
    packed p;
} edit;

/* Where a field of it is. */
typedef struct spot {
    bool exists;
    entry e;       /* packed */
    tree_place at; /* tree */
    value v;
} spot;

static fr_status plain_failure(txn *t, fr_status status) { return txn_fail(t, status, "%s", ""); }

static bool kind_is_hash(enum kind kind) { return kind == KIND_HASH || kind == KIND_TREE; }

static fr_status edit_open(store *st, txn *t, const key *k, edit *ed) {
    ed->k = k;
    ed->f.exists = ed->is_tree = ed->changed = false;
    ed->p.n = ed->p.fields = 0;
    fr_status status = key_write_begin(st, t, k, &ed->f);
    if (FR_UNLIKELY(status == FR_OK && k->table >= 0)) status = FR_RETRY; /* routed anew, to a table just declared */
    if (status != FR_OK || !ed->f.exists) return status;
    if (!kind_is_hash(ed->f.kind)) return plain_failure(t, FR_WRONGTYPE);
    ed->is_tree = ed->f.kind == KIND_TREE;
    if (ed->is_tree) return tree_open(t, k->stripe, ed->f.off, ed->f.meta, &ed->tr);
    return packed_load(t, ed->f.off, ed->f.meta, &ed->p);
}

static fr_status edit_find(txn *t, edit *ed, span field, spot *sp) {
    if (ed->is_tree) {
        fr_status status = tree_find(t, &ed->tr, field, &sp->at);
        sp->exists = sp->at.slot != 0;
        if (status != FR_OK || !sp->exists) return status;
        return block_value(t, &sp->at.h, &sp->v);
    }
    sp->exists = packed_find(&ed->p, field, &sp->e);
    if (sp->exists) sp->v = entry_value(&ed->p, &sp->e, ed->p.body);
    return FR_OK;
}

static bool over_listpack(span field, span text, uint64_t fields) {
    return field.n > LISTPACK_VALUE || text.n > LISTPACK_VALUE || fields > LISTPACK_FIELDS;
}

/* packed_room says whether a body of n bytes under k's name fits a slab block, with room for an expiry. */
static bool packed_room(const segment *s, const key *k, uint32_t n) {
    return n <= PACKED_MAX && heap_class_for(s, BLOCK_HEAD + 8 + FR_ALIGN(k->name.n, 8) + n) != CLASS_RUN;
}

/* What a packed hash holds, field by field, integers as digits, and one more field. */
typedef struct unpacked {
    uint32_t n;
    field_value fv[PACKED_MAX / 4];
    char digits[PACKED_MAX / 8][VALUE_TEXT]; /* a packed integer takes ten bytes at least */
} unpacked;

/* unpack gives the entries with one field put or replaced; false when there are too many of them. */
static bool unpack(const packed *p, span field, span text, unpacked *u) {
    entry e;
    uint32_t numbers = 0;
    u->n = 0;
    for (uint32_t at = 0; at < p->n; at = e.end) {
        if (!entry_at(p->body, p->n, at, &e) || u->n + 1 >= PACKED_MAX / 4) return false;
        if (span_eq(e.field, field)) continue;
        value v = entry_value(p, &e, p->body);
        u->fv[u->n++] = (field_value){e.field, value_text(&v, u->digits[numbers])};
        numbers += e.is_int;
    }
    u->fv[u->n++] = (field_value){field, text};
    return true;
}

/* grow_slowly stores the fields one by one. The key's slot word is the one visible word, but the index's words travel as
 * records behind it: readers must overlay them together. */
static fr_status grow_slowly(store *st, txn *t, edit *ed, const unpacked *u) {
    fr_status status = tree_make(st, t, ed->k, &ed->f, &ed->tr);
    for (uint32_t i = 0; status == FR_OK && i < u->n; i++) {
        tree_place nowhere = {.hash = key_hash(t->s, FIELD_SPACE, u->fv[i].field)};
        status = tree_store(t, &ed->tr, &nowhere, u->fv[i].field, u->fv[i].value);
    }
    return status;
}

/* edit_grow makes a tree of what the packed buffer holds, with `field` set to `text`; over: see over_listpack. */
static fr_status edit_grow(store *st, txn *t, edit *ed, span field, span text, bool over) {
    bool built = false;
    unpacked *u = malloc(sizeof *u);
    if (!u) return FR_NOSPACE;
    ed->tr.over = over;
    fr_status status = unpack(&ed->p, field, text, u) ? tree_build(st, t, ed->k, &ed->f, u->fv, u->n, &ed->tr, &built)
                                                      : txn_unbelievable(t, "a packed hash changed under its latch");
    if (status == FR_OK && !built) status = grow_slowly(st, t, ed, u);
    free(u);
    ed->tr.over = over;
    ed->is_tree = true;
    return status;
}

/* edit_put sets a field that edit_find has looked for. */
static fr_status edit_put(store *st, txn *t, edit *ed, spot *sp, span field, span text) {
    ed->changed = true;
    if (!ed->is_tree) {
        uint32_t old = sp->exists ? sp->e.end - sp->e.at : 0, fields = ed->p.fields + !sp->exists;
        bool over = over_listpack(field, text, fields);
        if (!over && packed_room(t->s, ed->k, ed->p.n - old + packed_entry_bytes(field, text))) {
            packed_put(&ed->p, sp->exists ? &sp->e : NULL, field, text);
            return FR_OK;
        }
        return edit_grow(st, t, ed, field, text, over);
    }
    fr_status status = tree_store(t, &ed->tr, &sp->at, field, text);
    if (over_listpack(field, text, ed->tr.count)) ed->tr.over = true;
    return status;
}

static fr_status edit_remove(txn *t, edit *ed, spot *sp) {
    ed->changed = true;
    if (ed->is_tree) return tree_remove(t, &ed->tr, &sp->at);
    packed_cut(&ed->p, &sp->e);
    return FR_OK;
}

static fr_status packed_close(store *st, txn *t, edit *ed) {
    uint64_t slot, expiry = ed->f.exists ? ed->f.expiry : NO_EXPIRY;
    span body = {ed->p.body, ed->p.n};
    draft d = {.kind = KIND_HASH, .tag = INDEX_TAG(ed->k->hash), .space = ed->k->space, .expiry = expiry,
               .name = ed->k->name, .parts = &body, .part_count = 1};
    fr_status status = block_write(t, ed->k->stripe, &d, &slot);
    return status == FR_OK ? key_put(st, t, ed->k, &ed->f, slot, expiry) : status;
}

/* edit_close makes the change the key's. A hash whose last field went is no key any more. */
static fr_status edit_close(store *st, txn *t, edit *ed) {
    bool existed;
    if (!ed->changed) return FR_OK;
    if ((ed->is_tree ? ed->tr.count : ed->p.fields) == 0) return key_delete(st, t, ed->k, &existed);
    if (!ed->is_tree) return packed_close(st, t, ed);
    tree_close(t, &ed->tr);
    if (!ed->tr.fresh) key_changed(t, ed->k); /* key_put has asked for it already */
    return FR_OK;
}

/* --- writing verbs ------------------------------------------------------------------------------------------------ */

static fr_status check_field(txn *t, span field) {
    if (field.n <= KEY_MAX) return FR_OK;
    return txn_fail(t, FR_TOOLONG, "a hash field has %zu bytes, the maximum is %u", field.n, KEY_MAX);
}

static fr_status set_one(store *st, txn *t, edit *ed, const field_value *fv, enum field_condition c, size_t *created) {
    spot sp;
    fr_status status = edit_find(t, ed, fv->field, &sp);
    if (status != FR_OK || (sp.exists && c == FIELD_NX)) return status;
    *created += !sp.exists;
    return edit_put(st, t, ed, &sp, fv->field, fv->value);
}

fr_status hash_set(store *st, txn *t, const key *k, const field_value *fv, size_t n, enum field_condition c,
                   size_t *created) {
    edit ed;
    fr_status status = FR_OK;
    *created = 0;
    if (k->table >= 0)
        return c == FIELD_NX ? row_set_absent(st, t, k, fv, n, created) : row_set(st, t, k, fv, n, created);
    for (size_t i = 0; status == FR_OK && i < n; i++) status = check_field(t, fv[i].field);
    if (status == FR_OK) status = edit_open(st, t, k, &ed);
    for (size_t i = 0; status == FR_OK && i < n; i++) status = set_one(st, t, &ed, &fv[i], c, created);
    return status == FR_OK ? edit_close(st, t, &ed) : status;
}

fr_status hash_delete(store *st, txn *t, const key *k, const span *fields, size_t n, size_t *deleted) {
    edit ed;
    spot sp;
    *deleted = 0;
    if (k->table >= 0) return row_reset_columns(st, t, k, fields, n, deleted);
    fr_status status = edit_open(st, t, k, &ed);
    if (status != FR_OK || !ed.f.exists) return status;
    t->shrinks = true;
    for (size_t i = 0; status == FR_OK && i < n; i++) {
        status = edit_find(t, &ed, fields[i], &sp);
        if (status != FR_OK || !sp.exists) continue;
        status = edit_remove(t, &ed, &sp);
        ++*deleted;
    }
    return status == FR_OK ? edit_close(st, t, &ed) : status;
}

/* value_int: the integer that a field holds, as string2ll reads it. */
static bool value_int(const value *v, int64_t *out) {
    if (v->kind == VALUE_BYTES) return v->p && v->n <= 20 && text_int64((span){v->p, v->n}, out);
    *out = v->i;
    return true;
}

fr_status hash_incr(store *st, txn *t, const key *k, span field, int64_t by, int64_t *out) {
    edit ed;
    spot sp;
    int64_t now = 0;
    char digits[VALUE_TEXT];
    if (k->table >= 0) return row_incr(st, t, k, field, by, out);
    fr_status status = check_field(t, field);
    if (status == FR_OK) status = edit_open(st, t, k, &ed);
    if (status == FR_OK) status = edit_find(t, &ed, field, &sp);
    if (status != FR_OK) return status;
    if (sp.exists && !value_int(&sp.v, &now)) return plain_failure(t, FR_HASHNOTINT);
    if (__builtin_add_overflow(now, by, &now)) return plain_failure(t, FR_OVERFLOW);
    *out = now;
    status = edit_put(st, t, &ed, &sp, field, (span){digits, int64_text(now, digits)});
    return status == FR_OK ? edit_close(st, t, &ed) : status;
}

static bool value_ldouble(const value *v, long double *out) {
    if (v->kind == VALUE_BYTES) return text_long_double((span){v->p, v->n}, out);
    *out = (long double)v->i;
    return true;
}

fr_status hash_incr_float(store *st, txn *t, const key *k, span field, long double by, char buf[FLOAT_TEXT], size_t *n) {
    edit ed;
    spot sp;
    long double now = 0;
    if (k->table >= 0) return row_incr_float(st, t, k, field, by, buf, n);
    fr_status status = check_field(t, field);
    if (status == FR_OK) status = edit_open(st, t, k, &ed);
    if (status == FR_OK) status = edit_find(t, &ed, field, &sp);
    if (status != FR_OK) return status;
    if (sp.exists && !value_ldouble(&sp.v, &now)) return plain_failure(t, FR_HASHNOTFLOAT);
    now += by;
    if (isnan(now) || isinf(now)) return plain_failure(t, FR_NANINF);
    *n = long_double_text(now, buf);
    status = edit_put(st, t, &ed, &sp, field, (span){buf, *n});
    return status == FR_OK ? edit_close(st, t, &ed) : status;
}

/* value_is compares a value, wherever its bytes lie, with a text. */
static fr_status value_is(txn *t, const value *v, span text, bool *same) {
    char piece[512];
    fr_status status = FR_OK;
    *same = false;
    if (v->kind != VALUE_BYTES || v->p) {
        *same = span_eq(value_text(v, piece), text);
        return FR_OK;
    }
    if (v->n != text.n) return FR_OK;
    for (uint64_t at = 0; status == FR_OK && at < v->n; at += sizeof piece) {
        uint64_t n = v->n - at < sizeof piece ? v->n - at : sizeof piece;
        status = value_copy(t->s, v, at, n, piece);
        if (status == FR_OK && memcmp(piece, text.p + at, n) != 0) return FR_OK;
    }
    *same = status == FR_OK;
    return status;
}

fr_status hash_cas(store *st, txn *t, const key *k, span field, span expected, span desired, int *outcome) {
    edit ed;
    spot sp;
    bool same;
    if (k->table >= 0) return row_cas(st, t, k, field, expected, desired, outcome);
    *outcome = -1;
    fr_status status = edit_open(st, t, k, &ed);
    if (status != FR_OK || !ed.f.exists) return status;
    if (status == FR_OK) status = edit_find(t, &ed, field, &sp);
    if (status != FR_OK || !sp.exists) return status;
    status = value_is(t, &sp.v, expected, &same);
    *outcome = same;
    if (status == FR_OK && same) status = edit_put(st, t, &ed, &sp, field, desired);
    return status == FR_OK ? edit_close(st, t, &ed) : status;
}

/* --- reading verbs ------------------------------------------------------------------------------------------------ */

/* look finds the key for a reading verb; f->exists is false for an absent one. */
static fr_status look(store *st, txn *t, const key *k, found *f) {
    fr_status status = key_lookup(st, t, k, f);
    if (status != FR_OK || !f->exists) return status;
    return kind_is_hash(f->kind) ? FR_OK : plain_failure(t, FR_WRONGTYPE);
}

static fr_status tree_get(txn *t, const key *k, const found *f, span field, value *out, bool *found_it) {
    tree tr;
    tree_place at;
    fr_status status = tree_open(t, k->stripe, f->off, f->meta, &tr);
    if (status == FR_OK) status = tree_find(t, &tr, field, &at);
    if (status != FR_OK || at.slot == 0) return status;
    *found_it = true;
    return block_value(t, &at.h, out);
}

fr_status hash_get(store *st, txn *t, const key *k, span field, value *out, bool *found_it) {
    found f;
    packed p;
    entry e;
    *found_it = false;
    if (k->table >= 0) return row_get(st, t, k, field, out, found_it);
    fr_status status = look(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    if (f.kind == KIND_TREE) return tree_get(t, k, &f, field, out, found_it);
    status = packed_copy(t, f.off, f.meta, &p);
    if (status != FR_OK || !packed_find(&p, field, &e)) return status;
    *found_it = true;
    *out = entry_value(&p, &e, SEG_AT(t->s, f.off + block_body_at(f.meta), char));
    return FR_OK;
}

fr_status hash_length(store *st, txn *t, const key *k, uint64_t *n) {
    found f;
    packed p;
    *n = 0;
    if (k->table >= 0) return row_length(st, t, k, n);
    fr_status status = look(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    if (f.kind == KIND_TREE) {
        tree tr;
        status = tree_open(t, k->stripe, f.off, f.meta, &tr);
        *n = tr.count;
        return status;
    }
    status = packed_load(t, f.off, f.meta, &p);
    *n = p.fields;
    return status;
}

/* packed_visit gives every field to each(), or the one that the seed chooses. */
static fr_status packed_visit(txn *t, const found *f, const uint64_t *seed, hash_visit each, void *ctx) {
    packed p;
    entry e;
    fr_status status = packed_load(t, f->off, f->meta, &p);
    if (status != FR_OK) return status;
    const char *at = SEG_AT(t->s, f->off + block_body_at(f->meta), char);
    uint64_t chosen = seed ? *seed % p.fields : 0, i = 0;
    for (uint32_t pos = 0; status == FR_OK && pos < p.n; pos = e.end, i++) {
        if (!entry_at(p.body, p.n, pos, &e)) return txn_unbelievable(t, "a packed hash does not end where it should");
        if (seed && i != chosen) continue;
        value v = entry_value(&p, &e, at);
        status = each(ctx, (span){at + (e.field.p - p.body), e.field.n}, &v);
    }
    return status;
}

fr_status hash_each(store *st, txn *t, const key *k, hash_visit each, void *ctx) {
    found f;
    tree tr;
    if (k->table >= 0) return row_each(st, t, k, each, ctx);
    fr_status status = look(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    if (f.kind == KIND_HASH) return packed_visit(t, &f, NULL, each, ctx);
    uint64_t cursor = 0;
    status = tree_open(t, k->stripe, f.off, f.meta, &tr);
    return status == FR_OK ? tree_visit(t, &tr, f.version, &cursor, UINT64_MAX, each, ctx) : status;
}

fr_status hash_scan(store *st, txn *t, const key *k, uint64_t *cursor, uint64_t count, hash_visit each, void *ctx) {
    found f;
    tree tr;
    uint64_t from = *cursor;
    *cursor = 0;
    if (k->table >= 0) return row_each(st, t, k, each, ctx);
    fr_status status = look(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    if (f.kind == KIND_HASH) return packed_visit(t, &f, NULL, each, ctx);
    status = tree_open(t, k->stripe, f.off, f.meta, &tr);
    if (status == FR_OK) status = tree_visit(t, &tr, f.version, &from, count, each, ctx);
    *cursor = from == UINT64_MAX ? 0 : from;
    return status;
}

fr_status hash_random(store *st, txn *t, const key *k, uint64_t seed, hash_visit each, void *ctx) {
    found f;
    tree tr;
    if (k->table >= 0) return row_random(st, t, k, seed, each, ctx);
    fr_status status = look(st, t, k, &f);
    if (status != FR_OK || !f.exists) return status;
    if (f.kind == KIND_HASH) return packed_visit(t, &f, &seed, each, ctx);
    status = tree_open(t, k->stripe, f.off, f.meta, &tr);
    return status == FR_OK ? tree_random(t, &tr, seed, each, ctx) : status;
}

/* --- for keyspace.c ----------------------------------------------------------------------------------------------- */

fr_status hash_copy(store *st, txn *t, const found *from, const key *to, uint64_t expiry, uint64_t *slot) {
    packed p;
    (void)st;
    if (from->kind == KIND_TREE) return tree_copy(t, from->off, from->meta, to, expiry, slot);
    fr_status status = packed_load(t, from->off, from->meta, &p);
    if (status != FR_OK) return status;
    span body = {p.body, p.n};
    draft d = {.kind = KIND_HASH, .tag = INDEX_TAG(to->hash), .space = to->space, .expiry = expiry, .name = to->name,
               .parts = &body, .part_count = 1};
    return block_write(t, to->stripe, &d, slot);
}

const char *hash_encoding(store *st, txn *t, const found *f) {
    (void)st;
    return f->kind == KIND_TREE && tree_is_over(t, f->off, f->meta) ? "hashtable" : "listpack";
}

uint64_t hash_memory(store *st, txn *t, const found *f) {
    (void)st;
    uint64_t own = block_bytes(t, f->off, f->meta);
    return f->kind == KIND_TREE ? own + tree_memory(t, f->off, f->meta) : own;
}

static fr_status packed_check(txn *t, const head *h, fr_error *err) {
    packed p;
    entry e, twin;
    fr_status status = packed_load(t, h->off, h->meta, &p);
    for (uint32_t at = 0; status == FR_OK && at < p.n; at = e.end)
        if (!entry_at(p.body, p.n, at, &e) || !packed_find(&p, e.field, &twin) || twin.at != at) status = FR_DAMAGED;
    if (status == FR_OK) return FR_OK;
    snprintf(err->text, sizeof err->text, "the packed hash at %llu has a field twice, or ends in the middle of one",
             (unsigned long long)h->off);
    return err->status = FR_DAMAGED;
}

fr_status hash_check(store *st, txn *t, const head *h, uint32_t stripe, heap_marks *m, fr_error *err) {
    (void)st;
    return META_KIND(h->meta) == KIND_TREE ? tree_check(t, h, stripe, m, err) : packed_check(t, h, err);
}
