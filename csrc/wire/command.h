/* command.h - the command table, and the one place for policy.
 *
 * Everything a command must pass stands in command_run, in this order: known, arity, authenticated, allowed in a
 * transaction, queued, latches and races, statistics, errors. Handlers hold meaning only.
 */
#ifndef FRIDGE_WIRE_COMMAND_H
#define FRIDGE_WIRE_COMMAND_H

#include "wire/context.h"

/* Flags of a row: Redis's in the order in which COMMAND shows them, then ours, which it does not show. */
#define COMMAND_FLAGS(X)                                                                                               \
    X(WRITE, "write") X(READONLY, "readonly") X(DENYOOM, "denyoom") X(ADMIN, "admin") X(NOSCRIPT, "noscript")          \
    X(LOADING, "loading") X(STALE, "stale") X(SKIP_MONITOR, "skip_monitor") X(SKIP_SLOWLOG, "skip_slowlog")            \
    X(FAST, "fast") X(NO_AUTH, "no_auth") X(NO_MANDATORY_KEYS, "no_mandatory_keys") X(NO_MULTI, "no_multi")            \
    X(MOVABLEKEYS, "movablekeys") X(ALLOW_BUSY, "allow_busy")                                                          \
    X(HOST, NULL) X(CONTAINER, NULL) X(DIRECT, NULL) X(QUICK, NULL) X(SCRIPT, NULL)
enum command_flag_bit {
#define X(name, text) C_BIT_##name,
    COMMAND_FLAGS(X)
#undef X
};
enum command_flag {
#define X(name, text) C_##name = 1 << C_BIT_##name,
    COMMAND_FLAGS(X)
#undef X
};

/* ACL categories in the order in which COMMAND shows them. */
#define COMMAND_CATEGORIES(X)                                                                                          \
    X(KEYSPACE, "keyspace") X(READ, "read") X(WRITE, "write") X(HASH, "hash") X(STRING, "string") X(ADMIN, "admin")    \
    X(FAST, "fast") X(SLOW, "slow") X(DANGEROUS, "dangerous") X(CONNECTION, "connection") X(TRANSACTION, "transaction")   \
    X(SCRIPTING, "scripting")
enum command_category_bit {
#define X(name, text) A_BIT_##name,
    COMMAND_CATEGORIES(X)
#undef X
};
enum command_category {
#define X(name, text) A_##name = 1 << A_BIT_##name,
    COMMAND_CATEGORIES(X)
#undef X
};

enum keys_kind { KEYS_RANGE, KEYS_COPY, KEYS_MOVE, KEYS_COUNTED };

typedef struct command {
    const char *name;
    fr_status (*run)(context *c);
    int arity;
    uint32_t flags;
    enum keys_kind keys;
    int first, last, step;
    const char *access; /* key-spec flags */
    uint32_t acl;
    const char *since, *group, *complexity, *tips, *summary;
} command;

/* COMMAND_<id>: the number of a row, which is also the place of its statistics. */
enum command_number {
#define X(id, ...) COMMAND_##id,
#include "wire/commands.def"
#undef X
    COMMAND_COUNT
};

#define X(id, name, handler, ...) fr_status handler(context *c);
#include "wire/commands.def"
#undef X

extern const command command_table[COMMAND_COUNT];

static inline uint32_t command_number(const command *row) { return (uint32_t)(row - command_table); }

/* command_find looks up argv[0], and argv[1] under a container. NULL when unknown; *container is then the container
 * whose subcommand is unknown, or NULL. command_named looks up "get" or "client|id" in one span. */
const command *command_find(const span *argv, uint32_t argc, const command **container);
const command *command_named(span name);

/* command_fits: does argc agree with the row's arity? */
static inline bool command_fits(const command *row, uint32_t argc) {
    return row->arity >= 0 ? argc == (uint32_t)row->arity : argc >= (uint32_t)-row->arity;
}

/* command_categories: all ACL categories, those that follow from flags included. */
uint32_t command_categories(const command *row);

/* command_key_range: first, last and step for these arguments; false when it has no keys. */
bool command_key_range(const command *row, const span *argv, uint32_t argc, uint32_t *first, uint32_t *last,
                       uint32_t *step);

/* command_route routes the keys of c->cmd into c->keys (growing the session's array). */
fr_status command_route(context *c);

/* command_run executes the session's present request. */
enum run_result { RUN_DONE, RUN_HOST, RUN_PARKED, RUN_CLOSE };
enum run_result command_run(struct session *s, uint64_t now, uint64_t wall);

/* string_quick tries a C_QUICK command, its one key routed, in the straight line of store/quick.h. FR_RETRY: nothing was
 * done or answered, the general way decides. (cmd_string.c) */
fr_status string_quick(context *c);

/* command_line_error prints the error line (without '-') for a status with its particulars. */
span command_error_line(const fr_error *err, fr_status status, char buf[FR_ERROR_TEXT + 64]);

/* command_count_time adds to a row's cells: one call that took ns, and whether it failed. command_count_reject counts a
 * call that was refused before it ran. */
void command_count_time(struct session *s, const command *row, uint64_t ns, bool failed);
void command_count_reject(struct session *s, const command *row);

/* --- for Python: docs, metrics and INFO commandstats read the table ----------------------------------------------- */

typedef struct command_facts {
    uint32_t number;
    int32_t arity, first, last, step;
    const char *name, *summary, *group, *since, *complexity, *tips, *access;
    char flags[160];      /* blank between two */
    char categories[160]; /* "@read @fast" */
    uint32_t host, container;
} command_facts;

FRIDGE_API uint32_t fridge_command_count(void);
/* fridge_command fills out for row i; false past the end. */
FRIDGE_API bool fridge_command(uint32_t i, command_facts *out);

#endif
