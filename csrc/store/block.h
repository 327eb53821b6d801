/* block.h - what a key's block looks like, and values on their way in and out. For store/ only, but for struct value.
 *
 * BLOCK (8-byte words)
 *     0  version: even once settled; odd while a word of it is changed in place; stored last when a block is written
 *     8  meta: kind:3 | flags:4 | klen:17 | vlen:30 | space:10, from the lowest bit up
 *    16  expiry, boot clock ms                               if FLAG_EXPIRY
 *    ..  name, padded to 8                                   klen bytes (rows differ: table.h)
 *    ..  body, by kind:
 *        KIND_STRING   vlen bytes; one int64 word if FLAG_INT (vlen is 0); if FLAG_EXTENTS a count word and count words
 *                      pages:32 | offset/16:32 that hold vlen bytes together; if FLAG_OWNER, behind the vlen bytes
 *                      padded to 8, a trailer: owner.h
 *        KIND_HASH     a packed hash of vlen bytes: hash.h
 *        KIND_TREE     a hash with an index of its own: struct tree_body, hash.h (vlen is 0)
 *        KIND_COUNTER  a cell16, aligned to 16: counter.h (vlen is 0)
 *        KIND_ROW      table.h
 *        KIND_FIELD    a field of a tree; name is the field's, body as KIND_STRING
 *
 * Invariants
 * 1. A block that a slot word names has an even version, or a committed journal holds the records that make it so.
 * 2. Its length (block_bytes) fits its class; a reader checks that before it believes klen or vlen.
 * 3. kind, flags, klen, vlen and space of a named block never change in place: only version, expiry, int64 bodies, short
 *    string bodies of the same length, tree bodies, counter cells and numbers in rows do.
 */
#ifndef FRIDGE_STORE_BLOCK_H
#define FRIDGE_STORE_BLOCK_H

#include "shm/heap.h"
#include "store/store.h"

enum kind { KIND_NONE, KIND_STRING, KIND_HASH, KIND_TREE, KIND_COUNTER, KIND_ROW, KIND_FIELD };

#define FLAG_EXPIRY 1u
#define FLAG_INT 2u
#define FLAG_EXTENTS 4u
#define FLAG_OWNER 8u /* a lock or a published var: a trailer follows the body, owner.h */

#define META_MAKE(kind, flags, klen, vlen, space)                                                                      \
    ((uint64_t)(kind) | (uint64_t)(flags) << 3 | (uint64_t)(klen) << 7 | (uint64_t)(vlen) << 24 | (uint64_t)(space) << 54)
#define META_KIND(m) ((enum kind)((m) & 7))
#define META_FLAGS(m) ((unsigned)((m) >> 3 & 15))
#define META_KLEN(m) ((uint32_t)((m) >> 7 & 0x1ffff))
#define META_VLEN(m) ((uint32_t)((m) >> 24 & 0x3fffffff))
#define META_SPACE(m) ((uint32_t)((m) >> 54))

#define BLOCK_VERSION 0u
#define BLOCK_META 8u
#define BLOCK_HEAD 16u
#define BLOCK_EXPIRY 16u /* when FLAG_EXPIRY */

static inline uint64_t block_name_at(uint64_t meta) { return BLOCK_HEAD + (META_FLAGS(meta) & FLAG_EXPIRY ? 8 : 0); }
static inline uint64_t block_body_at(uint64_t meta) {
    uint64_t at = block_name_at(meta) + FR_ALIGN((uint64_t)META_KLEN(meta), 8);
    return META_KIND(meta) == KIND_COUNTER ? FR_ALIGN(at, 16) : at;
}

/* A value on its way out. Bytes lie in the segment: in a reader's hands they may change until the transaction has been
 * validated, so they may be copied but not believed. */
enum value_kind { VALUE_NONE, VALUE_BYTES, VALUE_INT, VALUE_UINT, VALUE_DOUBLE };
typedef struct value {
    enum value_kind kind;
    uint64_t n;       /* bytes, for VALUE_BYTES */
    const char *p;    /* where they are, or NULL when they lie in extents */
    union {
        int64_t i;
        uint64_t u;
        double d;
        uint64_t extents; /* offset of the count word */
    };
} value;

/* value_copy copies bytes [from, from + n) of a VALUE_BYTES to `to`, wherever they lie. FR_RETRY when the extents are
 * not believable (a reader that lost a race). */
fr_status value_copy(segment *s, const value *v, uint64_t from, uint64_t n, char *to);

/* value_text prints any value as Redis shows it; buf holds VALUE_TEXT bytes for the numeric kinds. Bytes in extents are
 * not handled here. */
#define VALUE_TEXT 32
span value_text(const value *v, char buf[VALUE_TEXT]);

/* int64_text prints i; returns its length. text_int64 is Redis's string2ll: strict decimal, no blanks, no plus, no leading
 * zeros. text_double likewise for floats (no nan); double_text prints shortest round-trip as Redis 7.2 does (%.17g
 * trimmed). */
size_t int64_text(int64_t i, char buf[VALUE_TEXT]);
bool text_int64(span text, int64_t *out);
bool text_double(span text, double *out);
size_t double_text(double d, char buf[VALUE_TEXT]);

/* text_long_double reads what redis-server's INCRBYFLOAT accepts; long_double_text prints as it does: 17 places without
 * trailing zeros, no -0. */
#define FLOAT_TEXT 5120 /* the largest long double has 4933 digits, and they are all shown */
bool text_long_double(span text, long double *out);
size_t long_double_text(long double v, char buf[FLOAT_TEXT]);

/* --- writing blocks: for the objects of store/ ------------------------------------------------------------------- */

/* What a new block shall hold. Flags follow from the fields. */
typedef struct draft {
    enum kind kind;
    uint32_t tag;       /* INDEX_TAG of the key's (or field's) hash */
    uint32_t space;
    uint64_t expiry;    /* NO_EXPIRY: the block has no expiry word, unless reserve_expiry */
    bool reserve_expiry;
    bool is_int;        /* body is int64 `i` */
    int64_t i;
    uint64_t version;   /* 0: a fresh one; otherwise one that this transaction drew from the same stripe */
    span name;
    const span *parts;  /* body: the parts one after the other */
    size_t part_count;
    span trailer;       /* FLAG_OWNER: what follows the body, whole words; KIND_STRING in one piece */
} draft;

/* block_write takes a block of `stripe`, writes the draft, its version last, in two stores (a field in one, for its readers
 * go by its tree's version), and returns the slot word. Nothing reaches it until the caller puts that word somewhere. Bodies that no run of pages can hold in one piece go
 * to extents (KIND_STRING and KIND_FIELD only). FR_GROW, FR_OOM, FR_TOOLONG. */
fr_status block_write(txn *t, uint32_t stripe, const draft *d, uint64_t *slot);

/* block_image writes what block_write would, with the draft's version, at `to`, 8-aligned and in memory of the process: for
 * a page that is filled as a whole. Returns its length, for heap_class_for; to may be NULL. Not for trees and counters. */
size_t block_image(const draft *d, char *to);

/* block_release gives a block (and its extents) back at commit. Trees, rows and counters are not for it. */
fr_status block_release(txn *t, uint32_t stripe, uint64_t slot);

/* block_change changes one word of a named block in place under a new version; block_bump only gives it a new version.
 * Both return the new version. */
uint64_t block_change(txn *t, uint32_t stripe, uint64_t block, uint64_t word_off, uint64_t value);
uint64_t block_bump(txn *t, uint32_t stripe, uint64_t block);

/* block_overwrite changes the bytes of a body in place, as many as it holds: cheaper than a new block for a few words. A
 * reader that meets the odd version takes them from the journal. */
#define OVERWRITE_MAX 64u /* bytes: 8 records, against 3 and a fill for a new block */
void block_overwrite(txn *t, uint32_t stripe, uint64_t block, uint64_t body, span bytes);

/* block_head reads version, meta and expiry of the block a slot word names and checks that they are possible: inside the
 * segment, lengths within the class, version even. A reader that meets an odd version overlays; FR_RETRY when it lost a
 * race; FR_DAMAGED (writers, at rest) when the block cannot be. */
typedef struct head {
    uint64_t off, version, meta, expiry;
} head;
fr_status block_head(txn *t, uint64_t slot, head *h);

/* block_value: the body of a KIND_STRING or KIND_FIELD block as a value. */
fr_status block_value(txn *t, const head *h, value *out);

/* block_named: is the block's name `name`? (An unstable answer in a reader's hands, settled by validation.) */
bool block_named(txn *t, const head *h, span name);

/* block_extents: the n bytes that the extents at `body` hold, as parts; *count of them. */
#define EXTENTS_MAX 200u /* extent words a block may hold: 200 gaps for one value */
fr_status block_extents(txn *t, uint64_t body, uint64_t n, span parts[EXTENTS_MAX], size_t *count);

/* block_bytes: how long the block itself is, for heap_free and the class check. */
uint64_t block_bytes(txn *t, uint64_t off, uint64_t meta);

#endif
