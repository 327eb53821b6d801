/* doors.c - see doors.h. */
#include "doors.h"

#include <stdio.h>

#include "fridge.h"
#include "shm/clock.h"
#include "states.h"
#include "store/keyspace.h"
#include "store/quick.h"
#include "wire/session.h"

/* --- in a straight line ----------------------------------------------------------------------------------------------- */

static fr_status add_to_row(actor *a, const key *k, const span *w) {
    int64_t out;
    table *tb = k->table == NO_TABLE ? NULL : table_at(a->st, (uint32_t)k->table);
    int c = tb ? schema_find(&tb->schema, w[2]) : -1;
    return c < 0 ? FR_RETRY : quick_row_add(a->st, k, tb, &tb->schema.column[c], word_number(w[3]), &out);
}

static fr_status straight(actor *a, const span *w, size_t n, const char *general) {
    key k;
    int64_t out;
    span call[4] = {{general, strlen(general)}};
    fr_status status = key_route(a->st, a->db, w[1], &k, &a->err);
    if (status != FR_OK) return status;
    if (word_is(w[0], "QADD")) status = add_to_row(a, &k, w);
    else if (word_is(w[0], "QSET")) status = quick_set(a->st, &k, w[2]);
    else status = quick_incr(a->st, &k, word_number(w[2]), &out);
    if (status != FR_RETRY) return status;
    script_unmet++;
    for (size_t i = 1; i < n && i < FR_COUNTOF(call); i++) call[i] = w[i];
    return script_words(a, call, n);
}

/* --- a session -------------------------------------------------------------------------------------------------------- */

/* The words of a pipeline as clients send them, "|" between its commands. */
static size_t request(const span *w, size_t n, char *to, size_t cap) {
    size_t used = 0;
    for (size_t i = 0, words; i < n; i += words + 1) {
        for (words = 0; i + words < n && !word_is(w[i + words], "|");) words++;
        used += (size_t)snprintf(to + used, cap - used, "*%zu\r\n", words);
        for (size_t j = i; j < i + words; j++) {
            used += (size_t)snprintf(to + used, cap - used, "$%zu\r\n", w[j].n);
            if (used + w[j].n + 2 > cap) return 0;
            memcpy(to + used, w[j].p, w[j].n);
            used += w[j].n;
            used += (size_t)snprintf(to + used, cap - used, "\r\n");
        }
    }
    return used;
}

/* Where the last reply begins, of which an array's elements are parts. */
static const char *last_reply(const char *p, const char *end) {
    const char *last = p, *line;
    for (long inside = 0; p < end && (line = memchr(p, '\n', (size_t)(end - p))); p = line + 1) {
        long n = strtol(p + 1, NULL, 10);
        if (inside == 0) last = p;
        else inside--;
        if (*p == '*' && n > 0) inside += n;
        if (*p == '$' && n >= 0) line += n + 2;
    }
    return last;
}

/* The last reply decides: an error is a refusal. One among EXEC's replies is none: the other commands are done. */
static fr_status answer(actor *a, session *s) {
    const char *p, *last;
    size_t n = session_output(s, &p);
    if (n < 2) return FR_SYSTEM;
    last = last_reply(p, p + n);
    if (*last != '-') return FR_OK;
    snprintf(a->err.text, sizeof a->err.text, "%.*s", (int)(p + n - 2 - last), last);
    return FR_ARGUMENT;
}

static fr_status resp(actor *a, const span *w, size_t n) {
    static char text[8192];
    server_facts facts = {.query_limit = 1 << 20, .output_soft = 1 << 20, .output_hard = 1 << 20, .max_bulk = 1 << 20,
                          .max_args = 1000, .command_cells = 1 << 20};
    session *s = session_new(a->st, &facts, 7);
    size_t length = request(w, n, text, sizeof text);
    if (!s || !length) return FR_SYSTEM;
    feed_result r = session_feed(s, text, length, a->now_ms, keyspace_to_wall(a->st, a->now_ms));
    fr_status status = r == FEED_MORE ? answer(a, s) : r == FEED_PARKED ? FR_LATCHED : FR_SYSTEM;
    session_free(s);
    return status;
}

/* --- the server's own database ---------------------------------------------------------------------------------------- */

static int server_call(actor *a, const span *w, size_t n, bool *known) {
    char name[64] = "", field[64] = "";
    int64_t out;
    if (n > 1) snprintf(name, sizeof name, "%.*s", (int)w[1].n, w[1].p);
    if (n > 2) snprintf(field, sizeof field, "%.*s", (int)w[2].n, w[2].p);
    if (word_is(w[0], "SYSSET")) return fridge_system_set(a->st, name, n > 2 ? w[2].p : NULL, n > 2 ? w[2].n : 0, a->err.text);
    if (word_is(w[0], "SYSADD")) return fridge_system_add(a->st, name, word_number(w[2]), &out, a->err.text);
    if (word_is(w[0], "SYSHDEL")) return fridge_system_hdel(a->st, name, field, a->err.text);
    if (word_is(w[0], "SYSHSET")) return fridge_system_hset(a->st, name, field, w[3].p, w[3].n, a->err.text);
    *known = false;
    return FR_OK;
}

/* --- dispatch --------------------------------------------------------------------------------------------------------- */

fr_status doors_word(actor *a, const span *w, size_t n, bool *known) {
    *known = true;
    if (word_is(w[0], "QSET")) return straight(a, w, n, "SET");
    if (word_is(w[0], "QINCR")) return straight(a, w, n, "INCR");
    if (word_is(w[0], "QADD")) return straight(a, w, n, "HINCR");
    if (word_is(w[0], "RESP")) return resp(a, w + 1, n - 1);
    clock_pretended = a->now_ms; /* else what expires at the trial's times is long past, and goes when room is made */
    fr_status status = (fr_status)server_call(a, w, n, known);
    clock_pretended = 0;
    return status;
}
