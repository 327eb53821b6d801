/* column.c - see column.h. Sections: words for errors; ranges; from text; from typed values; in the image. */
#include "store/column.h"

#include <math.h>
#include <stdio.h>

/* --- words for errors --------------------------------------------------------------------------------------------- */

static const char *type_of(const column *c, char buf[32]) {
    column_type_text(c, buf);
    return buf;
}

static fr_status refuse(txn *t, const table *tb, const column *c, fr_status status, const char *why) {
    char type[32];
    return txn_fail(t, status, "table '%s' column '%s' is %s: %s", tb->name, c->name, type_of(c, type), why);
}

static fr_status say_wrong(span text, const char *what, char why[COLUMN_WHY]) {
    char shown[48];
    snprintf(why, COLUMN_WHY, "'%s' %s", schema_shown(text, shown), what);
    return FR_COLUMNTYPE;
}

fr_status column_missing(txn *t, const table *tb, span name) {
    char what[48], list[300] = "";
    for (uint32_t i = 0; i < tb->schema.columns; i++) {
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", n ? ", " : "", tb->schema.column[i].name);
    }
    return txn_fail(t, FR_COLUMN, "table '%s' has no column '%s'; it has %s", tb->name, schema_shown(name, what), list);
}

/* --- ranges ------------------------------------------------------------------------------------------------------- */

static __int128 column_max(const column *c) {
    if (c->type == COLUMN_BOOL) return 1;
    return ((__int128)1 << (8 * c->size - column_is_signed(c))) - 1;
}

static __int128 column_min(const column *c) { return column_is_signed(c) ? -column_max(c) - 1 : 0; }

static void int128_text(__int128 v, char buf[48]) {
    char digits[VALUE_TEXT];
    value as = {.kind = v < 0 ? VALUE_INT : VALUE_UINT};
    if (v < 0) as.i = (int64_t)v;
    else as.u = (uint64_t)v;
    span text = value_text(&as, digits);
    memcpy(buf, text.p, text.n);
    buf[text.n] = '\0';
}

static fr_status say_beyond(const column *c, const char *what, char why[COLUMN_WHY]) {
    char low[48], high[48];
    int128_text(column_min(c), low);
    int128_text(column_max(c), high);
    snprintf(why, COLUMN_WHY, "%s is not between %s and %s", what, low, high);
    return FR_COLUMNRANGE;
}

static bool in_range(const column *c, __int128 v) { return v >= column_min(c) && v <= column_max(c); }

fr_status column_add(txn *t, const table *tb, const column *c, uint64_t bits, int64_t by, uint64_t *out) {
    char what[96], now[48], why[COLUMN_WHY];
    __int128 v = column_is_signed(c) ? (__int128)(int64_t)bits : (__int128)bits;
    if (in_range(c, v + by)) {
        *out = (uint64_t)(v + by);
        return FR_OK;
    }
    int128_text(v, now);
    snprintf(what, sizeof what, "%s %c %llu", now, by < 0 ? '-' : '+',
             (unsigned long long)(by < 0 ? 0 - (uint64_t)by : (uint64_t)by));
    return refuse(t, tb, c, say_beyond(c, what, why), why);
}

/* --- from text ---------------------------------------------------------------------------------------------------- */

/* Is it an integer, whatever its size? */
static bool looks_integer(span text) {
    size_t i = text.n > 1 && text.p[0] == '-';
    for (size_t j = i; j < text.n; j++)
        if (text.p[j] < '0' || text.p[j] > '9') return false;
    return text.n > i && (text.p[i] != '0' || text.n == 1);
}

/* text_int128 reads integers of up to 20 digits: every one that any column can hold, and some that none can. */
static bool text_int128(span text, __int128 *out) {
    if (!looks_integer(text) || text.n > 21) return false;
    bool negative = text.p[0] == '-';
    *out = 0;
    for (size_t i = negative; i < text.n; i++) *out = *out * 10 + (text.p[i] - '0');
    if (negative) *out = -*out;
    return true;
}

static fr_status read_integer(const column *c, span text, cell *out, char why[COLUMN_WHY]) {
    __int128 v;
    char what[48];
    if (!looks_integer(text)) return say_wrong(text, "is not an integer", why);
    if (!text_int128(text, &v) || !in_range(c, v)) return say_beyond(c, schema_shown(text, what), why);
    out->bits = (uint64_t)v;
    return FR_OK;
}

static fr_status read_float(span text, cell *out, char why[COLUMN_WHY]) {
    double d;
    if (!text_double(text, &d)) return say_wrong(text, "is not a valid float", why);
    memcpy(&out->bits, &d, 8);
    return FR_OK;
}

/* UTF-8 as RFC 3629 has it: shortest forms only, no surrogates, nothing above U+10FFFF. */
static bool is_utf8(span text) {
    const uint8_t *p = (const uint8_t *)text.p, *end = p + text.n;
    while (p < end) {
        uint8_t b = *p++;
        if (b < 0x80) continue;
        unsigned more = b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : 1;
        if (b < 0xc2 || b > 0xf4 || (size_t)(end - p) < more) return false;
        uint8_t low = b == 0xe0 ? 0xa0 : b == 0xf0 ? 0x90 : 0x80, high = b == 0xed ? 0x9f : b == 0xf4 ? 0x8f : 0xbf;
        if (p[0] < low || p[0] > high) return false;
        for (unsigned i = 1; i < more; i++)
            if ((p[i] & 0xc0) != 0x80) return false;
        p += more;
    }
    return true;
}

static fr_status read_bytes(const column *c, span text, cell *out, char why[COLUMN_WHY]) {
    if (text.n > c->size) {
        snprintf(why, COLUMN_WHY, "a value of %zu bytes is too long, the limit is %u", text.n, c->size);
        return FR_COLUMNLENGTH;
    }
    if (c->type == COLUMN_STR && !is_utf8(text)) return say_wrong(text, "is not valid UTF-8", why);
    out->bytes = text;
    return FR_OK;
}

fr_status column_read(const column *c, span text, cell *out, char why[COLUMN_WHY]) {
    if (column_is_text(c)) return read_bytes(c, text, out, why);
    return c->type == COLUMN_FLOAT64 ? read_float(text, out, why) : read_integer(c, text, out, why);
}

fr_status column_parse(txn *t, const table *tb, const column *c, span text, cell *out) {
    char why[COLUMN_WHY];
    fr_status status = column_read(c, text, out, why);
    return FR_LIKELY(status == FR_OK) ? FR_OK : refuse(t, tb, c, status, why);
}

/* --- from typed values -------------------------------------------------------------------------------------------- */

static fr_status accept_integer(txn *t, const table *tb, const column *c, const value *v, cell *out) {
    char what[48], why[COLUMN_WHY];
    __int128 i = v->kind == VALUE_INT ? (__int128)v->i : (__int128)v->u;
    if (!in_range(c, i)) {
        int128_text(i, what);
        return refuse(t, tb, c, say_beyond(c, what, why), why);
    }
    out->bits = (uint64_t)i;
    return FR_OK;
}

fr_status column_accept(txn *t, const table *tb, const column *c, const value *v, cell *out) {
    char digits[VALUE_TEXT], why[COLUMN_WHY];
    bool integer = v->kind == VALUE_INT || v->kind == VALUE_UINT;
    if (column_is_text(c) && v->kind == VALUE_BYTES) return column_parse(t, tb, c, (span){v->p, v->n}, out);
    if (c->type == COLUMN_FLOAT64 && (integer || v->kind == VALUE_DOUBLE)) {
        double d = v->kind == VALUE_DOUBLE ? v->d : v->kind == VALUE_INT ? (double)v->i : (double)v->u;
        if (isnan(d)) return refuse(t, tb, c, say_wrong(SPAN_LIT("nan"), "is not a valid float", why), why);
        memcpy(&out->bits, &d, 8);
        return FR_OK;
    }
    if (integer && !column_is_text(c)) return accept_integer(t, tb, c, v, out);
    const char *what = column_is_text(c) ? "is not bytes" : "is not a number of that kind";
    return refuse(t, tb, c, say_wrong(value_text(v, digits), what, why), why);
}

/* --- in the image ------------------------------------------------------------------------------------------------- */

/* Each field is stored once: a struct that is zeroed first and then copied costs two stalls of ten cycles each. */
value column_value(const column *c, uint64_t bits) {
    bool above = c->type == COLUMN_UINT64 && bits > INT64_MAX;
    return (value){.kind = c->type == COLUMN_FLOAT64 ? VALUE_DOUBLE : above ? VALUE_UINT : VALUE_INT, .u = bits};
}

uint64_t column_into_word(const column *c, uint64_t word, uint64_t bits) {
    unsigned shift = 8 * (c->offset & 7);
    uint64_t mask = (UINT64_MAX >> (64 - 8 * c->size)) << shift;
    return (word & ~mask) | (bits << shift & mask);
}

value column_of_image(const column *c, const char *image) {
    if (column_is_text(c)) {
        uint16_t n;
        memcpy(&n, image + c->offset, 2);
        return (value){.kind = VALUE_BYTES, .n = n < c->size ? n : c->size, .p = image + c->offset + 2};
    }
    uint64_t word;
    memcpy(&word, image + (c->offset & ~UINT32_C(7)), 8);
    return column_value(c, column_from_word(c, word));
}

bool column_preset(const column *c, value *out) {
    const cell *p = &c->preset;
    bool text = column_is_text(c);
    *out = text ? (value){.kind = VALUE_BYTES, .n = p->bytes.n, .p = p->bytes.p} : column_value(c, p->bits);
    return text ? p->bytes.n != 0 : p->bits != 0;
}

bool column_is_preset(const column *c, const value *v) {
    return v->kind == VALUE_BYTES ? span_eq((span){v->p, v->n}, c->preset.bytes) : v->u == c->preset.bits;
}

void column_put(const column *c, char *image, const cell *v) {
    if (!column_is_text(c)) {
        memcpy(image + c->offset, &v->bits, c->size);
        return;
    }
    uint16_t n = (uint16_t)v->bytes.n;
    memcpy(image + c->offset, &n, 2);
    if (n) memcpy(image + c->offset + 2, v->bytes.p, n);
    memset(image + c->offset + 2 + n, 0, c->size - n); /* what was there is gone: the cells of equal rows are equal */
}
