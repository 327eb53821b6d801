/* block.c - see block.h. Sections: numbers and text; lengths; reading; writing. */
#include "store/block.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/owner.h"

/* --- numbers and text ---------------------------------------------------------------------------------------------- */

size_t int64_text(int64_t i, char buf[VALUE_TEXT]) {
    char rev[24];
    uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    size_t n = 0, at = 0;
    do rev[n++] = (char)('0' + u % 10);
    while (u /= 10);
    if (i < 0) buf[at++] = '-';
    while (n) buf[at++] = rev[--n];
    return at;
}

bool text_int64(span text, int64_t *out) {
    const char *p = text.p, *end = text.p + text.n;
    if (text.n == 0 || text.n > 20) return false;
    bool negative = *p == '-';
    if (negative && ++p == end) return false;
    if (*p == '0') {
        *out = 0;
        return text.n == 1;
    }
    uint64_t u = 0;
    for (; p < end; p++) {
        unsigned d = (unsigned)(*p - '0');
        if (d > 9 || __builtin_mul_overflow(u, 10, &u) || __builtin_add_overflow(u, d, &u)) return false;
    }
    if (u > (uint64_t)INT64_MAX + negative) return false;
    *out = negative ? (int64_t)(0 - u) : (int64_t)u;
    return true;
}

bool text_double(span text, double *out) {
    char buf[256], *end;
    if (text.n == 0 || text.n >= sizeof buf || (text.p[0] != '-' && text.p[0] != '+' && text.p[0] != '.' && text.p[0] != 'i' &&
                                              text.p[0] != 'I' && (text.p[0] < '0' || text.p[0] > '9'))) {
        return false;
    }
    memcpy(buf, text.p, text.n);
    buf[text.n] = 0;
    errno = 0;
    *out = strtod(buf, &end);
    return end == buf + text.n && !isnan(*out) && !(errno == ERANGE && (isinf(*out) || *out == 0));
}

size_t double_text(double d, char buf[VALUE_TEXT]) {
    if (isinf(d)) return (size_t)snprintf(buf, VALUE_TEXT, d > 0 ? "inf" : "-inf");
    if (d == 0) return (size_t)snprintf(buf, VALUE_TEXT, signbit(d) ? "-0" : "0");
    if (d > -1e15 && d < 1e15 && d == (double)(int64_t)d) return int64_text((int64_t)d, buf);
    for (int digits = 15; digits < 18; digits++) { /* the shortest that reads back the same */
        size_t n = (size_t)snprintf(buf, VALUE_TEXT, "%.*g", digits, d);
        if (digits == 17 || strtod(buf, NULL) == d) return n;
    }
    return 0;
}

bool text_long_double(span text, long double *out) {
    char buf[FLOAT_TEXT], *end;
    if (text.n == 0 || text.n >= sizeof buf || text.p[0] == ' ' || (text.p[0] >= '\t' && text.p[0] <= '\r')) return false;
    memcpy(buf, text.p, text.n);
    buf[text.n] = 0;
    errno = 0;
    *out = strtold(buf, &end);
    return end == buf + text.n && !isnan(*out) && !(errno == ERANGE && (isinf(*out) || *out == 0));
}

size_t long_double_text(long double v, char buf[FLOAT_TEXT]) {
    size_t n = (size_t)snprintf(buf, FLOAT_TEXT, "%.17Lf", v);
    while (n && buf[n - 1] == '0') n--;
    if (n && buf[n - 1] == '.') n--;
    if (n != 2 || memcmp(buf, "-0", 2) != 0) return n;
    buf[0] = '0';
    return 1;
}

span value_text(const value *v, char buf[VALUE_TEXT]) {
    size_t n = 0;
    switch (v->kind) {
    case VALUE_BYTES: return (span){v->p, v->n};
    case VALUE_INT: n = int64_text(v->i, buf); break;
    case VALUE_UINT: n = (size_t)snprintf(buf, VALUE_TEXT, "%llu", (unsigned long long)v->u); break;
    case VALUE_DOUBLE: n = double_text(v->d, buf); break;
    case VALUE_NONE: break;
    }
    return (span){buf, n};
}

/* --- lengths ------------------------------------------------------------------------------------------------------ */

/* Behind the body of a lock or var; a length that cannot be fits no class. */
static uint64_t trailer_bytes(txn *t, uint64_t off) {
    return segment_holds(t->s, off, 8) ? owner_bytes(txn_ld(t, off)) : t->s->g.max_size;
}

uint64_t block_bytes(txn *t, uint64_t off, uint64_t meta) {
    uint64_t body = block_body_at(meta), vlen = FR_ALIGN((uint64_t)META_VLEN(meta), 8);
    switch (META_KIND(meta)) {
    case KIND_TREE: return body + 32;    /* struct tree_body */
    case KIND_COUNTER: return body + 24; /* struct counter_body */
    case KIND_STRING:
    case KIND_FIELD:
        if (META_FLAGS(meta) & FLAG_EXTENTS) {
            if (!segment_holds(t->s, off + body, 8)) return UINT64_MAX;
            uint64_t count = txn_ld(t, off + body);
            return count > EXTENTS_MAX || vlen > t->s->g.max_size ? UINT64_MAX : body + 8 + 8 * count;
        }
        body += META_FLAGS(meta) & FLAG_INT ? 8 : vlen;
        return META_FLAGS(meta) & FLAG_OWNER ? body + trailer_bytes(t, off + body) : body;
    case KIND_HASH: return body + vlen;
    default: return UINT64_MAX;
    }
}

/* Invariant 2: the length fits what the slot word promises. */
static bool fits(txn *t, uint64_t slot, uint64_t meta) {
    uint64_t off = SLOT_OFF(slot), n = block_bytes(t, off, meta);
    uint32_t size = heap_class_size(t->s, SLOT_CLASS(slot));
    if (SLOT_CLASS(slot) == CLASS_RUN) return off % t->s->g.page_size == 0 && n < t->s->g.max_size && segment_holds(t->s, off, n);
    return n <= size;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static fr_status unbelievable(txn *t, uint64_t slot) {
    if (t->mode == TXN_READ) return FR_RETRY;
    return txn_fail(t, FR_DAMAGED, "slot word %llx names no block", (unsigned long long)slot);
}

fr_status block_head(txn *t, uint64_t slot, head *h) {
    uint64_t off = SLOT_OFF(slot);
    uint32_t least = SLOT_CLASS(slot) == CLASS_RUN ? t->s->g.page_size : heap_class_size(t->s, SLOT_CLASS(slot));
    if (FR_UNLIKELY(least == 0 || !segment_holds(t->s, off, least))) return unbelievable(t, slot);
    h->off = off;
    h->version = txn_ld(t, off);
    if (FR_UNLIKELY(h->version & 1)) {
        if (!txn_overlay(t, off)) return t->mode == TXN_READ ? FR_RETRY : unbelievable(t, slot);
        h->version = txn_ld(t, off);
        if (h->version & 1) return FR_RETRY;
    }
    h->meta = txn_ld(t, off + BLOCK_META);
    if (FR_UNLIKELY(!fits(t, slot, h->meta))) return unbelievable(t, slot);
    h->expiry = META_FLAGS(h->meta) & FLAG_EXPIRY ? txn_ld(t, off + BLOCK_EXPIRY) : NO_EXPIRY;
    return FR_OK;
}

fr_status block_value(txn *t, const head *h, value *out) {
    uint64_t body = h->off + block_body_at(h->meta);
    if (META_FLAGS(h->meta) & FLAG_INT) {
        out->kind = VALUE_INT;
        out->n = 0;
        out->p = NULL;
        out->i = (int64_t)txn_ld(t, body);
        return FR_OK;
    }
    out->kind = VALUE_BYTES;
    out->n = META_VLEN(h->meta);
    out->extents = body;
    if (META_FLAGS(h->meta) & FLAG_EXTENTS) {
        out->p = NULL;
        return FR_OK;
    }
    out->p = txn_bytes(t, body, out->n);
    return out->p ? FR_OK : FR_NOSPACE;
}

bool block_named(txn *t, const head *h, span name) {
    if (META_KLEN(h->meta) != name.n) return false;
    return same_bytes(SEG_AT(t->s, h->off + block_name_at(h->meta), const char), name.p, name.n);
}

fr_status block_extents(txn *t, uint64_t body, uint64_t n, span parts[EXTENTS_MAX], size_t *count) {
    uint64_t words = txn_ld(t, body);
    for (*count = 0; *count < words && *count < EXTENTS_MAX && n; ++*count) {
        uint64_t word = txn_ld(t, body + 8 + 8 * *count), off = (word & UINT64_C(0xffffffff)) << 4;
        uint64_t bytes = (word >> 32) * t->s->g.page_size;
        if (!segment_holds(t->s, off, bytes)) return txn_unbelievable(t, "an extent lies outside the segment");
        parts[*count] = (span){SEG_AT(t->s, off, const char), bytes < n ? bytes : n};
        n -= parts[*count].n;
    }
    return n ? txn_unbelievable(t, "a value's extents are too short for it") : FR_OK;
}

/* Calls for each extent that [from, from + n) touches. */
static fr_status copy_extents(segment *s, const value *v, uint64_t from, uint64_t n, char *to) {
    const uint64_t *words = SEG_AT(s, v->extents, uint64_t);
    uint64_t count = ld8(&words[0]), at = 0;
    if (count > EXTENTS_MAX || !segment_holds(s, v->extents, 8 + 8 * count)) return FR_RETRY;
    for (uint64_t i = 1; i <= count && n; i++) {
        uint64_t word = ld8(&words[i]), off = (word & UINT64_C(0xffffffff)) << 4, bytes = (word >> 32) * s->g.page_size;
        if (!segment_holds(s, off, bytes)) return FR_RETRY;
        if (from < at + bytes) {
            uint64_t skip = from - at, part = bytes - skip < n ? bytes - skip : n;
            memcpy(to, SEG_AT(s, off + skip, char), part);
            to += part;
            from += part;
            n -= part;
        }
        at += bytes;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return n ? FR_RETRY : FR_OK;
}

fr_status value_copy(segment *s, const value *v, uint64_t from, uint64_t n, char *to) {
    if (n == 0) return FR_OK;
    if (!v->p) return copy_extents(s, v, from, n, to);
    if (from % 8 == 0 && ((uintptr_t)v->p & 7) == 0) copy_out(to, v->p + from, n);
    else memcpy(to, v->p + from, n);
    return FR_OK;
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static uint64_t body_length(const draft *d) {
    uint64_t n = 0;
    for (size_t i = 0; i < d->part_count; i++) n += d->parts[i].n;
    return n;
}

static uint64_t draft_meta(const draft *d, uint64_t vlen, unsigned more_flags) {
    unsigned flags = more_flags | (d->expiry || d->reserve_expiry ? FLAG_EXPIRY : 0) | (d->is_int ? FLAG_INT : 0);
    if (d->trailer.n) flags |= FLAG_OWNER;
    return META_MAKE(d->kind, flags, d->name.n, vlen, d->space);
}

/* Parts that lie side by side go to 8-aligned places only at their start, so they are gathered word by word through a
 * carry; one part, the common case, is filled in one piece. */
static void put_parts(char *to, const span *parts, size_t count) {
    if (count == 1) {
        fill_part(to, parts[0].p, parts[0].n);
        return;
    }
    char carry[256];
    size_t held = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t done = 0; done < parts[i].n;) {
            size_t n = parts[i].n - done < sizeof carry - held ? parts[i].n - done : sizeof carry - held;
            memcpy(carry + held, parts[i].p + done, n);
            held += n;
            done += n;
            if (held == sizeof carry) {
                fill_part(to, carry, held);
                to += held;
                held = 0;
            }
        }
    }
    if (held) fill_part(to, carry, held);
}

static void put_word(char *to, uint64_t word) { fill_part(to, &word, sizeof word); }

/* All of a block but its version and its body. */
static void put_head(char *block, uint64_t meta, const draft *d) {
    put_word(block + BLOCK_META, meta);
    if (META_FLAGS(meta) & FLAG_EXPIRY) put_word(block + BLOCK_EXPIRY, d->expiry);
    if (d->name.n) fill_part(block + block_name_at(meta), d->name.p, d->name.n);
}

static void put_body(char *block, uint64_t meta, const draft *d) {
    char *body = block + block_body_at(meta);
    if (d->is_int) put_word(body, (uint64_t)d->i);
    else if (d->part_count) put_parts(body, d->parts, d->part_count);
    if (d->trailer.n) fill_part(body + FR_ALIGN((uint64_t)META_VLEN(meta), 8), d->trailer.p, d->trailer.n);
}

/* Copies the concatenation of parts, from byte `from`, n bytes, to `to`. */
static void gather(const draft *d, uint64_t from, uint64_t n, char *to) {
    uint64_t at = 0;
    for (size_t i = 0; i < d->part_count && n; i++) {
        uint64_t len = d->parts[i].n;
        if (from < at + len) {
            uint64_t skip = from - at, part = len - skip < n ? len - skip : n;
            ACCESS_HOOK(ACCESS_FILL, to, part);
            memmove(to, d->parts[i].p + skip, part);
            to += part;
            from += part;
            n -= part;
        }
        at += len;
    }
}

/* Takes gaps until n bytes fit, fills them, and notes them in words. */
static fr_status write_extents(txn *t, const draft *d, uint64_t n, uint64_t *words, uint64_t *count) {
    uint64_t done = 0;
    *count = 0;
    while (done < n) {
        uint64_t off, got, pages = (n - done + t->s->g.page_size - 1) / t->s->g.page_size;
        if (*count == EXTENTS_MAX) return FR_GROW;
        fr_status status = pool_take_some(t, pages, &off, &got);
        if (status != FR_OK) return status;
        uint64_t bytes = got * t->s->g.page_size, part = n - done < bytes ? n - done : bytes;
        gather(d, done, part, SEG_AT(t->s, off, char));
        words[(*count)++] = got << 32 | off >> 4;
        done += part;
    }
    __atomic_thread_fence(__ATOMIC_RELEASE);
    return FR_OK;
}

static fr_status write_scattered(txn *t, uint32_t stripe, const draft *d, uint64_t vlen, uint64_t *slot) {
    uint64_t words[EXTENTS_MAX], count, off;
    unsigned class;
    if (t->s->l.data + vlen > pool_limit(t->s) * t->s->g.page_size) { /* no growth and no eviction would help */
        stat_add(t->s, STAT_oom_refusals, 1);
        return FR_OOM;
    }
    fr_status status = write_extents(t, d, vlen, words, &count);
    if (status != FR_OK) return status;
    uint64_t meta = draft_meta(d, vlen, FLAG_EXTENTS), body = block_body_at(meta);
    status = heap_alloc(t, stripe, body + 8 + 8 * count, &off, &class);
    if (status != FR_OK) return status;
    char *block = SEG_AT(t->s, off, char);
    fill_begin(block, body + 8 + 8 * count);
    put_head(block, meta, d);
    put_word(block + body, count);
    fill_part(block + body + 8, words, 8 * count);
    st8(SEG_AT(t->s, off, uint64_t), txn_version(t, stripe));
    *slot = SLOT_MAKE(d->tag, class, off);
    return FR_OK;
}

/* Bytes after the body's own parts: tree and counter bodies are fixed. */
static uint64_t draft_bytes(const draft *d, uint64_t meta, uint64_t vlen) {
    if (d->kind == KIND_TREE || d->kind == KIND_COUNTER) return block_body_at(meta) + body_length(d);
    return block_body_at(meta) + (d->is_int ? 8 : FR_ALIGN(vlen, 8)) + d->trailer.n;
}

/* What is too long for a slab gets an expiry word in any case: EXPIRE on it must not copy megabytes. */
static fr_status write_long(txn *t, uint32_t stripe, const draft *d, uint64_t *slot) {
    draft longer = *d;
    longer.reserve_expiry = true;
    return block_write(t, stripe, &longer, slot);
}

fr_status block_write(txn *t, uint32_t stripe, const draft *d, uint64_t *slot) {
    uint64_t vlen = d->is_int || d->kind == KIND_TREE || d->kind == KIND_COUNTER ? 0 : body_length(d), off;
    if (FR_UNLIKELY(vlen > VALUE_MAX)) return FR_TOOLONG;
    uint64_t meta = draft_meta(d, vlen, 0), n = draft_bytes(d, meta, vlen);
    unsigned class = heap_class_for(t->s, n);
    if (FR_UNLIKELY(class == CLASS_RUN && !(META_FLAGS(meta) & FLAG_EXPIRY))) return write_long(t, stripe, d, slot);
    fr_status status = heap_alloc(t, stripe, n, &off, &class);
    bool may_scatter = (d->kind == KIND_STRING || d->kind == KIND_FIELD) && !d->is_int && !d->trailer.n &&
                       vlen > t->s->g.page_size;
    if (FR_UNLIKELY(status == FR_GROW && may_scatter && ld8(&segment_super(t->s)->size) + n > t->s->g.max_size)) {
        return write_scattered(t, stripe, d, vlen, slot);
    }
    if (FR_UNLIKELY(status != FR_OK)) return status;
    uint64_t version = d->version ? d->version : txn_version(t, stripe);
    char *block = SEG_AT(t->s, off, char);
    fill_begin(block, n);
    put_head(block, meta, d);
    put_body(block, meta, d);
    if (d->kind == KIND_FIELD) put_word(block, version); /* whoever reads a field validates its tree's version too */
    else st8(SEG_AT(t->s, off, uint64_t), version);      /* last: txn.h, READER */
    *slot = SLOT_MAKE(d->tag, class, off);
    return FR_OK;
}

size_t block_image(const draft *d, char *to) {
    uint64_t vlen = d->is_int ? 0 : body_length(d);
    if (vlen > VALUE_MAX) return SIZE_MAX;
    uint64_t meta = draft_meta(d, vlen, 0);
    if (to) {
        put_word(to, d->version);
        put_head(to, meta, d);
        put_body(to, meta, d);
    }
    return draft_bytes(d, meta, vlen);
}

/* The head was believed when it was found. In a damaged segment the block may have been given to somebody since then, even
 * by this transaction: bounds are looked at again. */
static fr_status release_extents(txn *t, uint64_t body) {
    uint64_t count = segment_holds(t->s, body, 8) ? txn_ld(t, body) : UINT64_MAX;
    if (FR_UNLIKELY(count > EXTENTS_MAX || !segment_holds(t->s, body, 8 + 8 * count)))
        return txn_fail(t, FR_DAMAGED, "the list of extents at %llu is none", (unsigned long long)body);
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t word = txn_ld(t, body + 8 * i);
        fr_status status = pool_give(t, (word & UINT64_C(0xffffffff)) << 4, word >> 32);
        if (status != FR_OK) return status;
    }
    return FR_OK;
}

fr_status block_release(txn *t, uint32_t stripe, uint64_t slot) {
    uint64_t off = SLOT_OFF(slot), meta = txn_ld(t, off + BLOCK_META);
    if (META_FLAGS(meta) & FLAG_EXTENTS) {
        fr_status status = release_extents(t, off + block_body_at(meta));
        if (status != FR_OK) return status;
    }
    return heap_free(t, stripe, off, SLOT_CLASS(slot), block_bytes(t, off, meta));
}

uint64_t block_bump(txn *t, uint32_t stripe, uint64_t block) {
    uint64_t version = txn_version(t, stripe);
    txn_put_kind(t, block, version, RECORD_VERSION);
    return version;
}

void block_overwrite(txn *t, uint32_t stripe, uint64_t block, uint64_t body, span bytes) {
    block_bump(t, stripe, block);
    for (size_t i = 0; i < bytes.n; i += 8) {
        uint64_t word = 0;
        memcpy(&word, bytes.p + i, bytes.n - i < 8 ? bytes.n - i : 8);
        txn_put(t, body + i, word);
    }
}

uint64_t block_change(txn *t, uint32_t stripe, uint64_t block, uint64_t word_off, uint64_t value) {
    uint64_t version = block_bump(t, stripe, block);
    txn_put(t, word_off, value);
    return version;
}
