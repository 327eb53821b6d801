/* cmd_server.c - the server as a whole: DBSIZE, TIME, FLUSH*, SWAPDB, LASTSAVE, MEMORY, DEBUG, CONFIG HELP. INFO,
 * CONFIG, SHUTDOWN and MONITOR are the host's (commands.def).
 */
#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "store/hash.h"
#include "wire/session_state.h"

/* --- facts ------------------------------------------------------------------------------------------------------- */

fr_status cmd_dbsize(context *c) {
    uint64_t keys, expires;
    keyspace_count(c->st, c->t, c->db, &keys, &expires);
    reply_int(c->out, (int64_t)keys);
    return FR_OK;
}

static void answer_number_text(context *c, long long v) {
    char text[24];
    reply_bulk(c->out, (span){text, (size_t)snprintf(text, sizeof text, "%lld", v)});
}

/* cmd_time reads the clock itself: the session's has no microseconds, and rate limiters use them. */
fr_status cmd_time(context *c) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    reply_array(c->out, 2);
    answer_number_text(c, (long long)t.tv_sec);
    answer_number_text(c, (long long)t.tv_nsec / 1000);
    return FR_OK;
}

/* cmd_lastsave: nothing is ever unsaved. When the server started, as redis-server says before its first save. */
fr_status cmd_lastsave(context *c) {
    reply_int(c->out, (int64_t)c->s->facts->start_s);
    return FR_OK;
}

/* --- databases --------------------------------------------------------------------------------------------------- */

static fr_status flush_generic(context *c, int32_t db) {
    if (c->argc > 2 || (c->argc == 2 && !arg_is(c, 1, "async") && !arg_is(c, 1, "sync"))) return FR_SYNTAX;
    fr_status status = keyspace_flush(c->st, c->t, db);
    if (status == FR_OK) reply_ok(c->out);
    return status;
}

fr_status cmd_flushdb(context *c) { return flush_generic(c, (int32_t)c->db); }

fr_status cmd_flushall(context *c) { return flush_generic(c, -1); }

static fr_status swap_arg(context *c, uint32_t i, int64_t *db) {
    if (arg_range(c, i, INT_MIN, INT_MAX, db) == FR_OK) return FR_OK;
    return fail(c, FR_ARGUMENT, "invalid %s DB index", i == 1 ? "first" : "second");
}

fr_status cmd_swapdb(context *c) {
    int64_t a, b;
    fr_status status = swap_arg(c, 1, &a);
    if (status == FR_OK) status = swap_arg(c, 2, &b);
    if (status != FR_OK) return status;
    if (a < 0 || b < 0 || a >= (int64_t)DATABASES || b >= (int64_t)DATABASES) return FR_DBRANGE;
    if (a != b) status = keyspace_swap(c->st, c->t, (uint32_t)a, (uint32_t)b);
    if (status == FR_OK) reply_ok(c->out);
    return status;
}

/* --- MEMORY ------------------------------------------------------------------------------------------------------ */

fr_status cmd_memory_usage(context *c) {
    found f;
    uint64_t bytes;
    int64_t samples;
    for (uint32_t i = 3; i < c->argc; i += 2) { /* SAMPLES is accepted: what is measured is the whole */
        if (!arg_is(c, i, "samples") || i + 1 >= c->argc) return FR_SYNTAX;
        if (arg_int(c, i + 1, &samples) != FR_OK) return FR_NOTINT;
        if (samples < 0) return FR_SYNTAX;
    }
    fr_status status = key_find(c->st, c->t, &c->keys[0], &f);
    if (status != FR_OK) return status;
    if (!f.exists) {
        reply_null(c->out);
        return FR_OK;
    }
    status = key_memory(c->st, c->t, &c->keys[0], &f, &bytes);
    if (status == FR_OK) reply_int(c->out, (int64_t)bytes);
    return status;
}

fr_status cmd_memory_doctor(context *c) {
    uint64_t used, size;
    char text[512];
    heap_usage(c->st->s, &used, &size);
    double part = 100.0 * (double)used / (double)c->st->s->g.max_size;
    int n = snprintf(text, sizeof text, "The segment uses %llu of %llu bytes (%.1f%%). %s\n", (unsigned long long)used,
                     (unsigned long long)c->st->s->g.max_size, part,
                     part > 90 ? "It is nearly full: make it larger, or let keys expire."
                               : "Sam, I can't find any memory issue in your instance.");
    reply_verbatim(c->out, (span){text, (size_t)n});
    return FR_OK;
}

fr_status cmd_memory_help(context *c) {
    static const char *const lines[] = {
        "DOCTOR",
        "    Return memory problems reports.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

fr_status cmd_debug(context *c) {
    if (c->s->facts->debug_enabled) return CMD_TO_HOST;
    return fail(c, FR_ARGUMENT, "DEBUG command not allowed. If the enable-debug-command option is set to \"local\", "
                "you can run it from a local connection, otherwise you need to set this option in the configuration "
                "file, and then restart the server.");
}

fr_status cmd_config_help(context *c) {
    static const char *const lines[] = {
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}
