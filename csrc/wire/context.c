/* context.c - arguments in, answers out; see context.h. Edge cases are redis-server 7.0.15's. */
#include "wire/context.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/table.h"
#include "wire/command.h"

fr_status fail(context *c, fr_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(c->err->text, sizeof c->err->text, format, args);
    va_end(args);
    c->err->status = status;
    return status;
}

fr_status fail_arity(context *c) {
    return fail(c, FR_ARGUMENT, "wrong number of arguments for '%s' command", c->cmd->name);
}

/* --- arguments --------------------------------------------------------------------------------------------------- */

bool word_is(span text, const char *word) {
    for (size_t i = 0; i < text.n; i++) {
        char a = text.p[i];
        if (a >= 'A' && a <= 'Z') a |= 0x20;
        if (a != word[i] || !word[i]) return false;
    }
    return !word[text.n];
}

fr_status arg_int(context *c, uint32_t i, int64_t *out) { return resp_number(c->argv[i], out) ? FR_OK : FR_NOTINT; }

fr_status arg_range(context *c, uint32_t i, int64_t min, int64_t max, int64_t *out) {
    if (!resp_number(c->argv[i], out)) return FR_NOTINT;
    if (*out >= min && *out <= max) return FR_OK;
    return fail(c, FR_RANGE, "value is out of range, value must between %lld and %lld", (long long)min, (long long)max);
}

fr_status arg_float(context *c, uint32_t i, long double *out) {
    return text_long_double(c->argv[i], out) ? FR_OK : FR_NOTFLOAT;
}

fr_status arg_db(context *c, uint32_t i, uint32_t *out) {
    int64_t v;
    fr_status status = arg_range(c, i, INT_MIN, INT_MAX, &v);
    if (status != FR_OK) return status;
    if (v < 0 || v >= (int64_t)DATABASES) return FR_DBRANGE;
    *out = (uint32_t)v;
    return FR_OK;
}

fr_status arg_cursor(context *c, uint32_t i, uint64_t *out) {
    char buf[32], *end = buf;
    span text = c->argv[i];
    errno = 0;
    if (text.n < sizeof buf) {
        memcpy(buf, text.p, text.n);
        buf[text.n] = 0;
        *out = strtoul(buf, &end, 10);
    }
    if (text.n >= sizeof buf || isspace((unsigned char)buf[0]) || *end || errno == ERANGE)
        return fail(c, FR_ARGUMENT, "invalid cursor");
    return FR_OK;
}

bool arg_expiry_unit(const context *c, uint32_t i, unsigned *unit) {
    static const char *const words[] = {"ex", "px", "exat", "pxat"}; /* in the order of the EXPIRY_ bits */
    for (unsigned u = 0; u < FR_COUNTOF(words); u++) {
        if (!arg_is(c, i, words[u])) continue;
        *unit = u;
        return true;
    }
    return false;
}

fr_status fail_expiry(context *c) {
    return fail(c, FR_BADEXPIRE, "invalid expire time in '%s' command", c->cmd->name);
}

uint64_t expiry_boot(context *c, int64_t wall_ms) {
    if (wall_ms <= (int64_t)c->wall && wall_ms <= 0) return 1;
    uint64_t boot = keyspace_from_wall(c->st, (uint64_t)wall_ms);
    return boot == NO_EXPIRY || boot > (uint64_t)INT64_MAX ? 1 : boot;
}

fr_status arg_expiry(context *c, uint32_t i, unsigned unit, uint64_t *boot_ms) {
    int64_t v;
    fr_status status = arg_int(c, i, &v);
    if (status != FR_OK) return status;
    if (v <= 0 || (!(unit & EXPIRY_MS) && v > INT64_MAX / 1000)) return fail_expiry(c);
    if (!(unit & EXPIRY_MS)) v *= 1000;
    if (unit & EXPIRY_ABSOLUTE) {
        *boot_ms = expiry_boot(c, v);
        return FR_OK;
    }
    if (v > INT64_MAX - (int64_t)c->wall) return fail_expiry(c);
    *boot_ms = c->now + (uint64_t)v;
    return FR_OK;
}

span arg_pattern(const context *c, uint32_t i) {
    return span_eq(c->argv[i], SPAN_LIT("*")) ? (span){NULL, 0} : c->argv[i];
}

fr_status arg_scan(context *c, uint32_t from, unsigned words, scan_options *o) {
    *o = (scan_options){.count = 10};
    for (uint32_t i = from; i < c->argc; i++) {
        bool more = i + 1 < c->argc;
        if (arg_is(c, i, "count") && more) {
            fr_status status = arg_int(c, ++i, &o->count);
            if (status != FR_OK) return status;
            if (o->count < 1) return FR_SYNTAX;
        } else if (arg_is(c, i, "match") && more) {
            o->pattern = arg_pattern(c, ++i);
        } else if (words & SCAN_TYPE && arg_is(c, i, "type") && more) {
            o->type = c->argv[++i];
        } else if (words & SCAN_NOVALUES && arg_is(c, i, "novalues")) {
            o->no_values = true;
        } else {
            return FR_SYNTAX;
        }
    }
    return FR_OK;
}

/* --- glob -------------------------------------------------------------------------------------------------------- */

static int fold(char c, bool no_case) { return no_case ? tolower((unsigned char)c) : (unsigned char)c; }

/* in_class judges a [class] whose '[' is at *p; leaves *p at its last byte, as stringmatchlen does. */
static bool in_class(const char **p, const char *end, char c, bool no_case) {
    const char *at = *p + 1;
    bool invert = at < end && *at == '^', match = false;
    if (invert) at++;
    for (;; at++) {
        if (at < end && *at == '\\' && end - at >= 2) {
            at++;
            if (*at == c) match = true;
        } else if (at < end && *at == ']') {
            break;
        } else if (at >= end) {
            at--;
            break;
        } else if (end - at >= 3 && at[1] == '-') {
            int low = fold(at[0], no_case), high = fold(at[2], no_case), x = fold(c, no_case);
            if (low > high) {
                int swap = low;
                low = high;
                high = swap;
            }
            at += 2;
            if (x >= low && x <= high) match = true;
        } else if (fold(*at, no_case) == fold(c, no_case)) {
            match = true;
        }
    }
    *p = at;
    return match != invert;
}

static bool glob_at(const char *p, const char *pe, const char *t, const char *te, bool no_case, bool *skip);

/* glob_star matches what follows a star, at every place. *skip: a star further in has eaten the whole text, so no other
 * place for this one can match either. */
static bool glob_star(const char *p, const char *pe, const char *t, const char *te, bool no_case, bool *skip) {
    for (; t < te; t++) {
        if (glob_at(p, pe, t, te, no_case, skip)) return true;
        if (*skip) return false;
    }
    *skip = true;
    return false;
}

/* glob_one matches one character against the pattern's next element and moves *p to that element's last byte. */
static bool glob_one(const char **p, const char *pe, char c, bool no_case) {
    if (**p == '?') return true;
    if (**p == '[') return in_class(p, pe, c, no_case);
    if (**p == '\\' && pe - *p >= 2) ++*p;
    return fold(**p, no_case) == fold(c, no_case);
}

static bool glob_at(const char *p, const char *pe, const char *t, const char *te, bool no_case, bool *skip) {
    while (p < pe && t < te) {
        if (*p == '*') {
            while (p + 1 < pe && p[1] == '*') p++;
            return p + 1 == pe || glob_star(p + 1, pe, t, te, no_case, skip);
        }
        if (!glob_one(&p, pe, *t, no_case)) return false;
        p++;
        t++;
    }
    if (t == te)
        while (p < pe && *p == '*') p++;
    return p == pe && t == te;
}

bool glob(span pattern, span text, bool no_case) {
    bool skip = false;
    if (!text.n) return !pattern.n; /* as redis-server; callers know "*" */
    return glob_at(pattern.p, pattern.p + pattern.n, text.p, text.p + text.n, no_case, &skip);
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

fr_status answer_value(context *c, const value *v) {
    if (v->kind == VALUE_NONE) {
        reply_null(c->out);
        return FR_OK;
    }
    if (v->kind != VALUE_BYTES) {
        char buf[VALUE_TEXT];
        if (v->kind == VALUE_UINT) reply_big(c->out, value_text(v, buf));
        else reply_bulk(c->out, value_text(v, buf));
        return FR_OK;
    }
    reply_head(c->out, '$', (int64_t)v->n);
    char *to = reply_room(c->out, v->n + 2);
    if (!to) return FR_OK; /* the reply is broken, and says so itself */
    fr_status status = value_copy(c->st->s, v, 0, v->n, to);
    if (status != FR_OK) return status;
    memcpy(to + v->n, "\r\n", 2);
    c->out->n += v->n + 2;
    return FR_OK;
}

void answer_sum(context *c, const key *k, span column, int64_t sum) {
    if (FR_LIKELY(sum >= 0 || !row_is_unsigned(c->st, k, column))) {
        reply_int(c->out, sum);
        return;
    }
    value v = {.kind = VALUE_UINT, .u = (uint64_t)sum};
    answer_value(c, &v);
}

void answer_cursor(context *c, size_t mark, uint64_t cursor, size_t n) {
    char head[64];
    reply_close(c->out, mark, '*', n);
    int text_n = snprintf(NULL, 0, "%llu", (unsigned long long)cursor);
    int head_n = snprintf(head, sizeof head, "*2\r\n$%d\r\n%llu\r\n", text_n, (unsigned long long)cursor);
    reply_insert(c->out, mark, (span){head, (size_t)head_n});
}

void answer_help(context *c, const char *const *lines, size_t n) {
    char head[96], name[32];
    size_t length = strcspn(c->cmd->name, "|");
    for (size_t i = 0; i < length; i++) name[i] = (char)toupper((unsigned char)c->cmd->name[i]);
    snprintf(head, sizeof head, "%.*s <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", (int)length, name);
    reply_array(c->out, n + 3);
    reply_status(c->out, (span){head, strlen(head)});
    for (size_t i = 0; i < n; i++) reply_status(c->out, (span){lines[i], strlen(lines[i])});
    reply_status(c->out, SPAN_LIT("HELP"));
    reply_status(c->out, SPAN_LIT("    Prints this help."));
}
