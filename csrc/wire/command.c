/* command.c - the table, its look-up, and command_run: the choke point that every command passes. See command.h. */
#include "wire/command.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "wire/session_state.h"

#define KEYS(kind, first, last, step, access) KEYS_##kind, first, last, step, access
#define NO_KEYS KEYS_RANGE, 0, 0, 0, ""
#define X(id, name, handler, arity, flags, keys, acl, ...) {name, handler, arity, flags, keys, acl, __VA_ARGS__},
const command command_table[COMMAND_COUNT] = {
#include "wire/commands.def"
};
#undef X

/* --- look-up ----------------------------------------------------------------------------------------------------- */

/* Names are at most 16 bytes: two words, lower case. Subcommands are keyed by their container's number besides. */
typedef struct word16 {
    uint64_t a, b;
} word16;

#define SLOTS 512u
static struct entry {
    word16 word;
    uint16_t parent; /* 0, or 1 + number of the container */
    uint16_t number; /* 1 + number of the row; 0 = free */
} slots[SLOTS];
_Static_assert(COMMAND_COUNT * 2 < SLOTS, "the look-up table stays at most half full");

/* lower8 makes eight ASCII letters lower case at once and leaves all other bytes alone. */
static uint64_t lower8(uint64_t w) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t low7 = w & 0x7f * ones;
    uint64_t above_z = low7 + (0x7f - 'Z') * ones, from_a = low7 + (0x80 - 'A') * ones;
    return w | ((~w & 0x80 * ones & (from_a ^ above_z)) >> 2);
}

static uint64_t load(const char *p, size_t n) {
    uint64_t w = 0;
    if (n >= 8) {
        memcpy(&w, p, 8);
    } else if (n >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, 4);
        memcpy(&tail, p + n - 4, 4);
        w = head | (uint64_t)tail << (n - 4) * 8;
    } else {
        for (size_t i = 0; i < n; i++) w |= (uint64_t)(unsigned char)p[i] << i * 8;
    }
    return lower8(w);
}

static bool word_of(span name, word16 *out) {
    if (name.n == 0 || name.n > 16) return false;
    out->a = load(name.p, name.n);
    out->b = name.n > 8 ? load(name.p + 8, name.n - 8) : 0;
    return true;
}

static uint32_t slot_of(word16 w, uint32_t parent) {
    uint64_t h = (w.a ^ w.b * 31 ^ (uint64_t)parent << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 40) & (SLOTS - 1);
}

static const command *find(span name, uint32_t parent) {
    word16 w;
    if (!word_of(name, &w)) return NULL;
    for (uint32_t i = slot_of(w, parent); slots[i].number; i = (i + 1) & (SLOTS - 1))
        if (slots[i].word.a == w.a && slots[i].word.b == w.b && slots[i].parent == parent)
            return &command_table[slots[i].number - 1];
    return NULL;
}

__attribute__((constructor)) static void fill_slots(void) {
    uint32_t container = 0;
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        const char *name = command_table[i].name, *bar = strchr(name, '|');
        if (command_table[i].flags & C_CONTAINER) container = i + 1;
        word16 w;
        if (bar) name = bar + 1;
        word_of((span){name, strlen(name)}, &w);
        uint32_t parent = bar ? container : 0, at = slot_of(w, parent);
        while (slots[at].number) at = (at + 1) & (SLOTS - 1);
        slots[at] = (struct entry){w, (uint16_t)parent, (uint16_t)(i + 1)};
    }
}

const command *command_find(const span *argv, uint32_t argc, const command **container) {
    const command *row = find(argv[0], 0);
    *container = NULL;
    if (FR_LIKELY(!row || !(row->flags & C_CONTAINER) || argc < 2)) return row;
    *container = row;
    return find(argv[1], command_number(row) + 1);
}

const command *command_named(span name) {
    const char *bar = name.n ? memchr(name.p, '|', name.n) : NULL;
    if (!bar) return find(name, 0);
    size_t head = (size_t)(bar - name.p);
    const command *row = find((span){name.p, head}, 0);
    return row ? find((span){bar + 1, name.n - head - 1}, command_number(row) + 1) : NULL;
}

uint32_t command_categories(const command *row) {
    uint32_t f = row->flags, acl = row->acl;
    if (f & C_WRITE) acl |= A_WRITE;
    if (f & C_READONLY) acl |= A_READ;
    if (f & C_ADMIN) acl |= A_ADMIN | A_DANGEROUS;
    return acl | (f & C_FAST ? A_FAST : A_SLOW);
}

/* --- keys -------------------------------------------------------------------------------------------------------- */

/* As many keys as the argument before the first one says. */
static bool counted_keys(const span *argv, uint32_t argc, uint32_t first, uint32_t *last) {
    int64_t n;
    if (first > argc || !text_int64(argv[first - 1], &n) || n < 1 || n > (int64_t)(argc - first)) return false;
    *last = first + (uint32_t)n - 1;
    return true;
}

bool command_key_range(const command *row, const span *argv, uint32_t argc, uint32_t *first, uint32_t *last,
                       uint32_t *step) {
    if (!row->first) return false;
    *first = (uint32_t)row->first;
    *step = (uint32_t)row->step;
    if (FR_UNLIKELY(row->keys == KEYS_COUNTED)) return counted_keys(argv, argc, *first, last);
    *last = row->last < 0 ? argc + (uint32_t)row->last : (uint32_t)row->last;
    return *last >= *first && *last < argc;
}

static bool make_room(session *s, uint32_t n) {
    if (FR_LIKELY(n <= s->keys_cap)) return true;
    uint32_t cap = s->keys_cap ? s->keys_cap : 8;
    while (cap < n) cap *= 2;
    key *grown = realloc(s->keys, cap * sizeof *grown);
    if (!grown) return false;
    s->keys = s->c.keys = grown;
    s->keys_cap = cap;
    return true;
}

/* other_db says in which database the second key of COPY or MOVE is; a wrong number is left to the handler. */
static uint32_t other_db(context *c) {
    uint32_t db = c->db;
    fr_error ignored = *c->err;
    if (c->cmd->keys == KEYS_MOVE && arg_db(c, 2, &db) != FR_OK) db = c->db;
    for (uint32_t i = 3; c->cmd->keys == KEYS_COPY && i + 1 < c->argc; i++)
        if (arg_is(c, i, "db") && arg_db(c, ++i, &db) != FR_OK) db = c->db;
    *c->err = ignored;
    return db;
}

static fr_status route_pair(context *c) {
    uint32_t second = c->cmd->keys == KEYS_MOVE ? 1 : 2;
    c->key_count = 2;
    return key_route(c->st, other_db(c), c->argv[second], &c->keys[1], c->err);
}

fr_status command_route(context *c) {
    uint32_t first, last, step;
    c->key_count = 0;
    if (!command_key_range(c->cmd, c->argv, c->argc, &first, &last, &step)) return FR_OK;
    if (!make_room(c->s, (last - first) / step + 2)) return FR_OOM;
    for (uint32_t i = first; i <= last; i += step) {
        fr_status status = key_route(c->st, c->db, c->argv[i], &c->keys[c->key_count++], c->err);
        if (FR_UNLIKELY(status != FR_OK)) return status;
    }
    return FR_UNLIKELY(c->cmd->keys == KEYS_COPY || c->cmd->keys == KEYS_MOVE) ? route_pair(c) : FR_OK;
}

#define LATCH_WAIT_MS 1 /* session_feed never blocks longer; the session is parked instead */

/* --- execution --------------------------------------------------------------------------------------------------- */

static void stripes_of_keys(context *c) {
    stripe_set *set = &c->s->stripes;
    if (!c->key_count) store_all_stripes(c->st, set);
    for (uint32_t i = 0; i < c->key_count; i++) stripe_set_add(set, c->keys[i].stripe);
}

/* stripes_clear keeps invariant 2 of the session without clearing 512 bytes for a single key. */
static void stripes_clear(context *c) {
    stripe_set *set = &c->s->stripes;
    if (c->key_count == 1 && set->count == 1) {
        set->bits[c->keys[0].stripe >> 6] = 0;
        set->count = 0;
        if (c->attempt <= 1) return; /* routed again, it may have moved */
    }
    stripe_set_clear(set);
}

static fr_status run_op(store *st, txn *t, void *p) {
    context *c = p;
    (void)st;
    c->t = t;
    reply_truncate(c->out, c->mark);
    if (FR_UNLIKELY(c->attempt++)) {
        fr_status status = command_route(c); /* FLUSHDB, SWAPDB or a declaration may have come between */
        if (status != FR_OK) return status;
    }
    return c->cmd->run(c);
}

/* latched runs the handler under the latches of its keys; for writes, and for reads that lost too many races. */
static fr_status latched(context *c) {
    stripes_of_keys(c);
    fr_status status = store_write(c->st, c->now, LATCH_WAIT_MS, &c->s->stripes, run_op, c, c->err);
    stripes_clear(c);
    return status;
}

static fr_status execute(context *c) {
    uint32_t flags = c->cmd->flags;
    c->attempt = 0;
    c->key_count = 0;
    c->t = NULL;
    if (!(flags & (C_WRITE | C_READONLY | C_SCRIPT)) || flags & C_DIRECT) return c->cmd->run(c);
    fr_status status = command_route(c);
    if (FR_UNLIKELY(status != FR_OK)) return status;
    if (flags & C_QUICK && FR_LIKELY((status = string_quick(c)) != FR_RETRY)) return status;
    if (!(flags & (C_WRITE | C_SCRIPT))) {
        status = store_read(c->st, c->now, NULL, run_op, c, c->err);
        if (FR_LIKELY(status != FR_BUSYREAD)) return status;
    }
    return latched(c);
}

/* --- statistics -------------------------------------------------------------------------------------------------- */

enum cell { CELL_CALLS, CELL_USEC, CELL_REJECTED, CELL_FAILED, CELLS };

static void cell_add(session *s, const command *row, enum cell cell, uint64_t n) {
    uint32_t cells = s->facts->command_cells + CELLS * command_number(row);
    if (FR_UNLIKELY(cells + CELLS > s->st->s->g.stat_cells)) return; /* a segment so small that its rows are, too */
    uint64_t *at = &s->st->s->stats[cells + cell];
    __atomic_store_n(at, __atomic_load_n(at, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

void command_count_time(session *s, const command *row, uint64_t ns, bool failed) {
    /* Most commands take less than a microsecond: what is left over waits here for the row's next call. */
    static uint32_t rest[COMMAND_COUNT];
    uint64_t sum = ns + rest[command_number(row)];
    cell_add(s, row, CELL_CALLS, 1);
    if (sum >= 1000) cell_add(s, row, CELL_USEC, sum / 1000);
    rest[command_number(row)] = (uint32_t)(sum % 1000);
    if (FR_UNLIKELY(failed)) cell_add(s, row, CELL_FAILED, 1);
}

void command_count_reject(session *s, const command *row) { cell_add(s, row, CELL_REJECTED, 1); }

static void count_run(session *s, const command *row, bool failed) {
    uint64_t now = clock_ns();
    if (FR_UNLIKELY(s->facts->slowlog_us && now - s->clock_ns > s->facts->slowlog_us * 1000)) s->facts->slow_commands++;
    command_count_time(s, row, now - s->clock_ns, failed);
    s->clock_ns = now;
}

/* --- errors ------------------------------------------------------------------------------------------------------ */

static const char *const prefixes[] = {
#define X(name, prefix, message, exception) prefix,
#include "status.def"
#undef X
};
static const char *const messages[] = {
#define X(name, prefix, message, exception) message,
#include "status.def"
#undef X
};

span command_error_line(const fr_error *err, fr_status status, char buf[FR_ERROR_TEXT + 64]) {
    const char *text = err->text[0] ? err->text : messages[status];
    if (text[0] == '-') return (span){text + 1, strlen(text + 1)};
    int n = snprintf(buf, FR_ERROR_TEXT + 64, "%s %s", prefixes[status], text);
    return (span){buf, (size_t)n};
}

static void answer_error(session *s, fr_status status) {
    char buf[FR_ERROR_TEXT + 64];
    reply_truncate(&s->out, s->c.mark);
    reply_error(&s->out, command_error_line(&s->err, status, buf));
    stat_add(s->st->s, STAT_error_replies, 1);
}

/* reject refuses a command before it runs: inside MULTI that spoils the transaction, and it aborts EXEC itself. */
static enum run_result reject(session *s, const command *row, fr_status status) {
    if (s->multi) s->multi_dirty = true;
    if (row) command_count_reject(s, row);
    if (row && command_number(row) == COMMAND_exec) {
        char text[FR_ERROR_TEXT];
        snprintf(text, sizeof text, "%s", s->err.text + (s->err.text[0] == '-'));
        session_leave_multi(s);
        session_unwatch(s);
        fail(&s->c, status, "-EXECABORT Transaction discarded because of: %.400s", text);
    }
    answer_error(s, status);
    return RUN_DONE;
}

static enum run_result reject_subcommand(session *s, const command *container) {
    char name[32];
    size_t n = strlen(container->name);
    for (size_t i = 0; i <= n; i++) name[i] = (char)toupper((unsigned char)container->name[i]);
    span sub = s->parser.argv[1];
    fail(&s->c, FR_ARGUMENT, "unknown subcommand '%.*s'. Try %s HELP.", (int)(sub.n > 128 ? 128 : sub.n), sub.p, name);
    return reject(s, NULL, FR_ARGUMENT);
}

static enum run_result reject_unknown(session *s) {
    const span *argv = s->parser.argv;
    if (word_is(argv[0], "post") || word_is(argv[0], "host:")) return RUN_CLOSE; /* a browser made to talk to us */
    char args[160];
    size_t n = 0;
    for (uint32_t i = 1; i < s->parser.argc && n < 128; i++) {
        size_t most = 128 - n, take = strnlen(argv[i].p ? argv[i].p : "", argv[i].n);
        n += (size_t)snprintf(args + n, sizeof args - n, "'%.*s' ", (int)(take < most ? take : most), argv[i].p);
    }
    args[n] = 0;
    fail(&s->c, FR_ARGUMENT, "unknown command '%.*s', with args beginning with: %s",
         (int)(argv[0].n > 128 ? 128 : argv[0].n), argv[0].p, args);
    return reject(s, NULL, FR_ARGUMENT);
}

/* --- the choke point --------------------------------------------------------------------------------------------- */

/* runs_in_multi: these are executed, not queued, while a transaction is being written. */
static bool runs_in_multi(const command *row) {
    switch (command_number(row)) {
    case COMMAND_exec:
    case COMMAND_discard:
    case COMMAND_multi:
    case COMMAND_watch:
    case COMMAND_quit:
    case COMMAND_reset: return true;
    default: return false;
    }
}

static enum run_result queue(session *s, const command *row) {
    if (row->flags & C_NO_MULTI) {
        fail(&s->c, FR_ARGUMENT, "Command not allowed inside a transaction");
        return reject(s, row, FR_ARGUMENT);
    }
    if (!session_queue(s, row)) {
        fail(&s->c, FR_ARGUMENT, "transaction exceeds the query buffer limit");
        return reject(s, row, FR_ARGUMENT);
    }
    REPLY_LIT(&s->out, "+QUEUED\r\n");
    return RUN_DONE;
}

/* parked: a latch or a race was lost. The session waits until latch-timeout has passed since the first try. */
static bool parked(session *s, fr_status status) {
    if (status != FR_LATCHED && status != FR_BUSYREAD) return false;
    uint64_t now = s->c.now;
    if (!s->parked_ms) s->parked_ms = now ? now : 1;
    return now - s->parked_ms < segment_latch_timeout(s->st->s);
}

static enum run_result run(session *s, const command *row) {
    fr_status status = execute(&s->c);
    if (FR_LIKELY(status == FR_OK)) {
        count_run(s, row, false);
        return RUN_DONE;
    }
    if (status == CMD_TO_HOST) return RUN_HOST;
    if (parked(s, status)) {
        reply_truncate(&s->out, s->c.mark);
        return RUN_PARKED;
    }
    if (command_number(row) == COMMAND_exec) session_leave_multi(s), session_unwatch(s);
    answer_error(s, status);
    count_run(s, row, true);
    return RUN_DONE;
}

enum run_result command_run(session *s, uint64_t now, uint64_t wall) {
    context *c = &s->c;
    const command *container, *row = command_find(s->parser.argv, s->parser.argc, &container);
    c->argv = s->parser.argv;
    c->argc = s->parser.argc;
    c->cmd = row;
    c->db = s->db;
    c->now = now;
    c->wall = wall;
    c->mark = reply_mark(&s->out);
    s->err.text[0] = 0;
    if (FR_UNLIKELY(!row)) return container ? reject_subcommand(s, container) : reject_unknown(s);
    if (FR_UNLIKELY(!command_fits(row, c->argc))) {
        fail_arity(c);
        return reject(s, row, FR_ARGUMENT);
    }
    s->last = row;
    if (FR_UNLIKELY(session_needs_auth(s) && !(row->flags & C_NO_AUTH))) {
        fail(c, FR_ARGUMENT, "-NOAUTH Authentication required.");
        return reject(s, row, FR_ARGUMENT);
    }
    if (FR_UNLIKELY(command_number(row) == COMMAND_debug && !s->facts->debug_enabled)) {
        fr_status status = row->run(c); /* says why not, inside a transaction too */
        return reject(s, row, status);
    }
    if (FR_UNLIKELY(s->multi && !runs_in_multi(row))) return queue(s, row);
    return run(s, row);
}

fr_status cmd_host(context *c) {
    (void)c;
    return CMD_TO_HOST;
}

fr_status cmd_container(context *c) { return fail_arity(c); }

/* --- for Python -------------------------------------------------------------------------------------------------- */

static const char *const flag_names[] = {
#define X(name, text) text,
    COMMAND_FLAGS(X)
#undef X
};
static const char *const category_names[] = {
#define X(name, text) "@" text,
    COMMAND_CATEGORIES(X)
#undef X
};

static void join(char *to, size_t room, uint32_t bits, const char *const *names, size_t n) {
    size_t at = 0;
    to[0] = 0;
    for (size_t i = 0; i < n; i++)
        if (bits >> i & 1 && names[i])
            at += (size_t)snprintf(to + at, room - at, at ? " %s" : "%s", names[i]);
}

uint32_t fridge_command_count(void) { return COMMAND_COUNT; }

bool fridge_command(uint32_t i, command_facts *out) {
    if (i >= COMMAND_COUNT) return false;
    const command *row = &command_table[i];
    *out = (command_facts){.number = i, .arity = row->arity, .first = row->first, .last = row->last, .step = row->step,
                           .name = row->name, .summary = row->summary, .group = row->group, .since = row->since,
                           .complexity = row->complexity, .tips = row->tips, .access = row->access,
                           .host = !!(row->flags & C_HOST), .container = !!(row->flags & C_CONTAINER)};
    join(out->flags, sizeof out->flags, row->flags, flag_names, FR_COUNTOF(flag_names));
    join(out->categories, sizeof out->categories, command_categories(row), category_names, FR_COUNTOF(category_names));
    return true;
}
