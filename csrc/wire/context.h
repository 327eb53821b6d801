/* context.h - what a handler gets, and the small tools that handlers share: arguments in, answers out.
 *
 * A handler (cmd_*) turns arguments into one store call and its result into one reply. It returns a status; whatever is
 * not FR_OK makes command.c drop what the handler wrote and send the error line instead. A handler runs again when its
 * transaction lost a race, so it changes nothing but the transaction and the reply; session fields only by plain
 * assignment.
 *
 * In a read (C_READONLY) values lie in the segment and may be garbage until the transaction was validated: a handler
 * copies them into the reply and never decides anything by their bytes.
 *
 * Leaves out: policy (command.h).
 */
#ifndef FRIDGE_WIRE_CONTEXT_H
#define FRIDGE_WIRE_CONTEXT_H

#include "store/keyspace.h"
#include "wire/resp.h"

struct command;
struct session;

/* A handler may answer that the process around the session must answer: FEED_HOST. Inside EXEC: weave.c. */
#define CMD_TO_HOST ((fr_status)FR_STATUS_COUNT)

typedef struct context {
    store *st;
    struct session *s;
    txn *t;                    /* NULL in rows that run without one */
    const struct command *cmd;
    const span *argv;
    uint32_t argc;
    uint32_t key_count;
    key *keys;                 /* routed keys of the row, in argument order */
    uint32_t db;
    uint32_t attempt;          /* 0 at the first run of the handler */
    uint64_t now, wall;        /* boot and wall clock, ms */
    reply *out;
    size_t mark;               /* where this command's reply begins */
    fr_error *err;
} context;

/* fail sets the particulars of an error and returns status. A text that begins with '-' is the whole error line, else
 * the status's prefix goes before it. */
fr_status fail(context *c, fr_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
fr_status fail_arity(context *c);

/* --- arguments --------------------------------------------------------------------------------------------------- */

/* word_is compares without case; `word` is lower case. arg_is does so for argument i. */
bool word_is(span text, const char *word);
static inline bool arg_is(const context *c, uint32_t i, const char *word) { return word_is(c->argv[i], word); }

fr_status arg_int(context *c, uint32_t i, int64_t *out);                                /* FR_NOTINT */
fr_status arg_range(context *c, uint32_t i, int64_t min, int64_t max, int64_t *out);    /* FR_NOTINT, FR_RANGE */
fr_status arg_float(context *c, uint32_t i, long double *out);                          /* FR_NOTFLOAT */
fr_status arg_db(context *c, uint32_t i, uint32_t *out);                                /* FR_DBRANGE */
fr_status arg_cursor(context *c, uint32_t i, uint64_t *out);
bool text_long_double(span text, long double *out); /* Redis's string2ld */

/* An expiry as an option names it. */
enum expiry_unit { EXPIRY_SECONDS = 0, EXPIRY_MS = 1, EXPIRY_ABSOLUTE = 2 }; /* bits */
/* arg_expiry reads a positive time and converts it to boot-clock ms; FR_BADEXPIRE with the command's name. */
fr_status arg_expiry(context *c, uint32_t i, unsigned unit, uint64_t *boot_ms);
/* arg_expiry_unit: is argument i EX, PX, EXAT or PXAT? */
bool arg_expiry_unit(const context *c, uint32_t i, unsigned *unit);
fr_status fail_expiry(context *c);
/* expiry_boot converts wall-clock ms, however far in the past, to a boot-clock expiry that is never NO_EXPIRY. */
uint64_t expiry_boot(context *c, int64_t wall_ms);

/* glob is Redis's stringmatchlen. */
bool glob(span pattern, span text, bool no_case);

/* What may follow the cursor of SCAN and its kin. */
enum scan_words { SCAN_TYPE = 1, SCAN_NOVALUES = 2 };
typedef struct scan_options {
    int64_t count;
    span pattern, type; /* p NULL: all */
    bool no_values;
} scan_options;
fr_status arg_scan(context *c, uint32_t from, unsigned words, scan_options *o);
span arg_pattern(const context *c, uint32_t i); /* p NULL for "*" */

/* --- answers ----------------------------------------------------------------------------------------------------- */

/* answer_value: a bulk string; VALUE_NONE: null; VALUE_UINT (a uint64 column beyond int64): RESP3's big number. */
fr_status answer_value(context *c, const value *v);
/* answer_sum: what an increment gave, an integer. Of a uint64 column it is the 64 bits, and beyond int64 it is answered as
 * answer_value does. column is looked at for rows only; p NULL: the only one. */
void answer_sum(context *c, const key *k, span column, int64_t sum);
static inline void answer_bool(context *c, bool yes) { reply_raw(c->out, yes ? ":1\r\n" : ":0\r\n", 4); }
/* answer_cursor makes the n elements written since mark the second half of a SCAN reply. */
void answer_cursor(context *c, size_t mark, uint64_t cursor, size_t n);
void answer_help(context *c, const char *const *lines, size_t n); /* "<NAME> <subcommand> ..." and HELP are added */

#endif
