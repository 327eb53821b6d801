/* schema.c - the columns of a table: parsing, layout in the row image, comparison.
 *
 * Numbers come first, the widest ahead, so that each is aligned to its size and a change of one touches one 8-byte
 * word; then str and bytes, each a 16-bit length and its bytes on whole words. Leaves out the values themselves, defaults
 * included: column.c.
 */
#include <stdio.h>

#include "store/column.h"

static const struct {
    const char *text;
    uint32_t bytes;
} column_types[] = {
#define X(name, text, bytes) {text, bytes},
    COLUMN_TYPES(X)
#undef X
};

static bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

bool schema_name_ok(span name) {
    if (name.n == 0 || name.n > TABLE_NAME_MAX || !is_word(name.p[0])) return false;
    for (size_t i = 1; i < name.n; i++) {
        char c = name.p[i];
        if (!is_word(c) && !(c >= '0' && c <= '9') && c != '.' && c != '-') return false;
    }
    return true;
}

const char *schema_shown(span text, char buf[48]) {
    size_t n = text.n < 40 ? text.n : 40;
    for (size_t i = 0; i < n; i++) buf[i] = text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?';
    strcpy(buf + n, text.n > n ? "..." : "");
    return buf;
}

static void place_columns(schema *sc) {
    uint32_t at = ROW_COLUMNS_AT;
    for (uint32_t size = 8; size; size /= 2) {
        for (uint32_t i = 0; i < sc->columns; i++) {
            column *c = &sc->column[i];
            if (column_is_text(c) || c->size != size) continue;
            c->offset = at;
            at += size;
        }
    }
    at = FR_ALIGN(at, 8u);
    for (uint32_t i = 0; i < sc->columns; i++) {
        column *c = &sc->column[i];
        if (!column_is_text(c)) continue;
        c->offset = at;
        at += FR_ALIGN(2 + c->size, 8u);
    }
}

uint64_t schema_stride(const schema *sc) {
    uint64_t end = ROW_COLUMNS_AT;
    for (uint32_t i = 0; i < sc->columns; i++) {
        const column *c = &sc->column[i];
        uint64_t to = c->offset + (column_is_text(c) ? 2 : 0) + (uint64_t)c->size;
        if (to > end) end = to;
    }
    return FR_ALIGN(end, 16);
}

uint64_t schema_blank(const schema *sc) {
    value ignored;
    for (uint32_t i = 0; i < sc->columns; i++)
        if (column_preset(&sc->column[i], &ignored)) return schema_stride(sc);
    return 0;
}

int schema_find(const schema *sc, span name) {
    for (uint32_t i = 0; i < sc->columns; i++)
        if (span_eq((span){sc->column[i].name, sc->column[i].name_n}, name)) return (int)i;
    return -1;
}

/* "int32", or "str:64" with the size behind the colon. */
static bool parse_type(span type, column *c) {
    for (unsigned i = 0; i < COLUMN_TYPE_COUNT; i++) {
        size_t n = strlen(column_types[i].text);
        if (type.n < n || memcmp(type.p, column_types[i].text, n) != 0) continue;
        int64_t size = column_types[i].bytes;
        c->type = (enum column_type)i;
        if (size == 0) {
            if (type.n < n + 2 || type.p[n] != ':' || !text_int64((span){type.p + n + 1, type.n - n - 1}, &size))
                return false;
            if (size < 1 || size > 65535) return false;
        } else if (type.n != n) {
            continue;
        }
        c->size = (uint32_t)size;
        return true;
    }
    return false;
}

/* "int32=5": the type, and what the '=' gives. */
static span cut_preset(span type, span *preset) {
    const char *at = type.n ? memchr(type.p, '=', type.n) : NULL;
    size_t n = at ? (size_t)(at - type.p) : type.n;
    *preset = at ? (span){at + 1, type.n - n - 1} : (span){NULL, 0};
    return (span){type.p, n};
}

static fr_status refuse_preset(fr_error *err, const column *c, const char *why) {
    char type[32];
    column_type_text(c, type);
    snprintf(err->text, sizeof err->text, "column '%s' is %s and cannot have this default: %s", c->name, type, why);
    return err->status = FR_SCHEMA;
}

static fr_status refuse(fr_error *err, const char *format, span a, span b) {
    char one[48], two[48];
    snprintf(err->text, sizeof err->text, format, schema_shown(a, one), schema_shown(b, two));
    return err->status = FR_SCHEMA;
}

fr_status schema_add(schema *sc, span name, span type, fr_error *err) {
    column c = {0};
    char why[COLUMN_WHY];
    span preset, bare = cut_preset(type, &preset);
    if (sc->columns >= COLUMNS_MAX)
        return refuse(err, "column '%s' is one too many: a table has at most 64", name, type);
    if (!schema_name_ok(name))
        return refuse(err, "'%s' is no column name: letters, digits, '_', '.' and '-', at most 63", name, type);
    if (schema_find(sc, name) >= 0) return refuse(err, "column '%s' is given twice", name, type);
    if (!parse_type(bare, &c)) {
        return refuse(err,
                      "column '%s' has the unknown type '%s'; types are int8 to int64, uint8 to uint64, float64, bool, "
                      "str:N and bytes:N with N from 1 to 65535",
                      name, bare);
    }
    memcpy(c.name, name.p, name.n);
    c.name_n = (uint32_t)name.n;
    if (preset.p && column_read(&c, preset, &c.preset, why) != FR_OK) return refuse_preset(err, &c, why);
    sc->column[sc->columns++] = c;
    place_columns(sc);
    return FR_OK;
}

size_t column_type_text(const column *c, char buf[32]) {
    const char *text = column_types[c->type].text;
    int n = column_is_text(c) ? snprintf(buf, 32, "%s:%u", text, c->size) : snprintf(buf, 32, "%s", text);
    return (size_t)n;
}

/* "5", or "'none'", as error texts show a default. */
static const char *preset_text(const column *c, char buf[64]) {
    value v;
    char shown[48], digits[VALUE_TEXT];
    column_preset(c, &v);
    schema_shown(v.kind == VALUE_BYTES ? (span){v.p, v.n} : value_text(&v, digits), shown);
    snprintf(buf, 64, column_is_text(c) ? "'%s'" : "%s", shown);
    return buf;
}

static bool presets_differ(const column *have, const column *want) {
    value v;
    column_preset(want, &v);
    return !column_is_preset(have, &v);
}

/* Adds one difference to a list in text. */
static void differ(char *text, size_t room, const char *format, const char *name, const char *a, const char *b) {
    size_t n = strlen(text);
    if (n && n + 2 < room) {
        strcpy(text + n, ", ");
        n += 2;
    }
    if (n < room) snprintf(text + n, room - n, format, name, a, b);
}

bool schema_differs(const schema *have, const schema *want, char *text, size_t room) {
    char a[64], b[64];
    text[0] = '\0';
    for (uint32_t i = 0; i < want->columns; i++) {
        const column *c = &want->column[i];
        int at = schema_find(have, (span){c->name, c->name_n});
        column_type_text(c, b);
        if (at < 0) {
            differ(text, room, "column %s %s is not there%s", c->name, b, "");
            continue;
        }
        column_type_text(&have->column[at], a);
        if (strcmp(a, b) != 0) differ(text, room, "column %s is %s, not %s", c->name, a, b);
        else if ((uint32_t)at != i) differ(text, room, "column %s has another place%s%s", c->name, "", "");
        else if (presets_differ(&have->column[at], c))
            differ(text, room, "the default of column %s is %s, not %s", c->name, preset_text(&have->column[at], a),
                   preset_text(c, b));
    }
    for (uint32_t i = 0; i < have->columns; i++) {
        const column *c = &have->column[i];
        if (schema_find(want, (span){c->name, c->name_n}) < 0)
            differ(text, room, "column %s is missing%s%s", c->name, "", "");
    }
    return text[0] != '\0';
}
