/* cmd_command.c - COMMAND and its subcommands: what commands.def says, in Redis's shapes.
 *
 * Leaves out, of COMMAND DOCS: history, deprecation notes and the argument trees. redis-cli does without them.
 */
#include <stdio.h>

#include "wire/session_state.h"

/* --- words of a text, as elements -------------------------------------------------------------------------------- */

/* next_word takes the next word off a text whose words `gap` separates; false at the end. */
static bool next_word(const char **text, char gap, span *word) {
    if (!**text) return false;
    const char *end = strchr(*text, gap);
    word->p = *text;
    word->n = end ? (size_t)(end - *text) : strlen(*text);
    *text += word->n + (end != NULL);
    return true;
}

static void answer_words(context *c, const char *text, bool bulks) {
    span word;
    size_t n = 0, mark = reply_open(c->out);
    while (next_word(&text, ' ', &word)) {
        if (bulks) reply_bulk(c->out, word);
        else reply_status(c->out, word);
        n++;
    }
    reply_close(c->out, mark, '~', n);
}

/* --- COMMAND INFO ------------------------------------------------------------------------------------------------ */

static void answer_pair(context *c, const char *name, int value) {
    reply_text(c->out, name);
    reply_int(c->out, value);
}

static void answer_type(context *c, const char *name, const char *type, size_t pairs) {
    reply_text(c->out, name);
    reply_map(c->out, 2);
    reply_text(c->out, "type");
    reply_text(c->out, type);
    reply_text(c->out, "spec");
    reply_map(c->out, pairs);
}

/* answer_key_spec prints one spec of `access`: "RW access#note". */
static void answer_key_spec(context *c, enum keys_kind kind, span access, int index, int last, int step) {
    char flags[96], note[96];
    const char *hash = memchr(access.p, '#', access.n);
    size_t flags_n = hash ? (size_t)(hash - access.p) : access.n;
    snprintf(flags, sizeof flags, "%.*s", (int)flags_n, access.p);
    reply_map(c->out, hash ? 4 : 3);
    if (hash) {
        snprintf(note, sizeof note, "%.*s", (int)(access.n - flags_n - 1), hash + 1);
        reply_text(c->out, "notes");
        reply_text(c->out, note);
    }
    reply_text(c->out, "flags");
    answer_words(c, flags, false);
    answer_type(c, "begin_search", "index", 1);
    if (kind == KEYS_COUNTED) {
        answer_pair(c, "index", index - 1);
        answer_type(c, "find_keys", "keynum", 3);
        answer_pair(c, "keynumidx", 0);
        answer_pair(c, "firstkey", 1);
        answer_pair(c, "keystep", step);
        return;
    }
    answer_pair(c, "index", index);
    answer_type(c, "find_keys", "range", 3);
    answer_pair(c, "lastkey", last);
    answer_pair(c, "keystep", step);
    answer_pair(c, "limit", 0);
}

static void answer_key_specs(context *c, const command *row) {
    const char *text = row->access;
    span access;
    size_t n = 0, mark = reply_open(c->out);
    bool several = strchr(text, ';');
    while (next_word(&text, ';', &access)) {
        int last = several ? 0 : row->last < 0 ? row->last : row->last - row->first;
        answer_key_spec(c, row->keys, access, row->first + (int)n, last, row->step);
        n++;
    }
    reply_close(c->out, mark, '~', n);
}

static bool is_sub(const command *row) { return strchr(row->name, '|'); }

/* sub_count: how many subcommand rows stand behind a container. */
static size_t sub_count(const command *row) {
    size_t n = 0;
    if (!(row->flags & C_CONTAINER)) return 0;
    for (uint32_t i = command_number(row) + 1; i < COMMAND_COUNT && is_sub(&command_table[i]); i++) n++;
    return n;
}

static void answer_row(context *c, const command *row) {
    command_facts f;
    fridge_command(command_number(row), &f);
    reply_array(c->out, 10);
    reply_text(c->out, row->name);
    reply_int(c->out, row->arity);
    answer_words(c, f.flags, false);
    bool fixed = row->keys != KEYS_COUNTED;
    reply_int(c->out, fixed ? row->first : 0);
    reply_int(c->out, fixed ? row->last : 0);
    reply_int(c->out, fixed ? row->step : 0);
    answer_words(c, f.categories, false);
    answer_words(c, row->tips, true);
    answer_key_specs(c, row);
    size_t subs = sub_count(row);
    reply_set(c->out, subs);
    for (size_t i = 1; i <= subs; i++) answer_row(c, row + i);
}

/* top_count: rows that are no subcommands. */
static size_t top_count(void) {
    size_t n = 0;
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) n += !is_sub(&command_table[i]);
    return n;
}

fr_status cmd_command(context *c) {
    reply_array(c->out, top_count());
    for (uint32_t i = 0; i < COMMAND_COUNT; i++)
        if (!is_sub(&command_table[i])) answer_row(c, &command_table[i]);
    return FR_OK;
}

fr_status cmd_command_info(context *c) {
    if (c->argc == 2) return cmd_command(c);
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) {
        const command *row = command_named(c->argv[i]);
        if (row) answer_row(c, row);
        else reply_null(c->out);
    }
    return FR_OK;
}

fr_status cmd_command_count(context *c) {
    reply_int(c->out, (int64_t)top_count());
    return FR_OK;
}

/* --- COMMAND DOCS ------------------------------------------------------------------------------------------------ */

static void answer_text_pair(context *c, const char *name, const char *text) {
    reply_text(c->out, name);
    reply_text(c->out, text);
}

static void answer_doc(context *c, const command *row) {
    size_t subs = sub_count(row);
    bool complexity = row->complexity[0];
    reply_text(c->out, row->name);
    reply_map(c->out, 3 + complexity + (subs > 0));
    answer_text_pair(c, "summary", row->summary);
    answer_text_pair(c, "since", row->since);
    answer_text_pair(c, "group", row->group);
    if (complexity) answer_text_pair(c, "complexity", row->complexity);
    if (!subs) return;
    reply_text(c->out, "subcommands");
    reply_map(c->out, subs);
    for (size_t i = 1; i <= subs; i++) answer_doc(c, row + i);
}

fr_status cmd_command_docs(context *c) {
    size_t n = 0, mark = reply_open(c->out);
    for (uint32_t i = 0; c->argc == 2 && i < COMMAND_COUNT; i++) {
        if (is_sub(&command_table[i])) continue;
        answer_doc(c, &command_table[i]);
        n++;
    }
    for (uint32_t i = 2; i < c->argc; i++) {
        const command *row = command_named(c->argv[i]);
        if (!row) continue;
        answer_doc(c, row);
        n++;
    }
    reply_close(c->out, mark, '%', n);
    return FR_OK;
}

/* --- COMMAND LIST, GETKEYS ---------------------------------------------------------------------------------------- */

enum filter { FILTER_NONE, FILTER_MODULE, FILTER_ACLCAT, FILTER_PATTERN };

static bool has_category(const command *row, span category) {
    command_facts f;
    fridge_command(command_number(row), &f);
    const char *text = f.categories;
    span word;
    while (next_word(&text, ' ', &word)) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)word.n - 1, word.p + 1);
        if (word_is(category, name)) return true;
    }
    return false;
}

static bool passes(const command *row, enum filter filter, span what) {
    switch (filter) {
    case FILTER_MODULE: return false;
    case FILTER_ACLCAT: return has_category(row, what);
    case FILTER_PATTERN: return glob(what, (span){row->name, strlen(row->name)}, true);
    default: return true;
    }
}

static fr_status list_filter(context *c, enum filter *filter) {
    static const char *const words[] = {NULL, "module", "aclcat", "pattern"};
    *filter = FILTER_NONE;
    if (c->argc == 2) return FR_OK;
    if (c->argc != 5 || !arg_is(c, 2, "filterby")) return FR_SYNTAX;
    for (enum filter f = FILTER_MODULE; f <= FILTER_PATTERN; f++)
        if (arg_is(c, 3, words[f])) *filter = f;
    return *filter ? FR_OK : FR_SYNTAX;
}

fr_status cmd_command_list(context *c) {
    enum filter filter;
    fr_status status = list_filter(c, &filter);
    if (status != FR_OK) return status;
    size_t n = 0, mark = reply_open(c->out);
    for (uint32_t i = 0; i < COMMAND_COUNT; i++) {
        if (!passes(&command_table[i], filter, filter ? c->argv[4] : (span){NULL, 0})) continue;
        reply_text(c->out, command_table[i].name);
        n++;
    }
    reply_close(c->out, mark, '*', n);
    return FR_OK;
}

fr_status cmd_command_getkeys(context *c) {
    const command *container, *row = command_find(c->argv + 2, c->argc - 2, &container);
    uint32_t first, last, step, argc = c->argc - 2;
    if (!row) return fail(c, FR_ARGUMENT, "Invalid command specified");
    if (!row->first) return fail(c, FR_ARGUMENT, "The command has no key arguments");
    if (!command_fits(row, argc)) return fail(c, FR_ARGUMENT, "Invalid number of arguments specified for command");
    if (!command_key_range(row, c->argv + 2, argc, &first, &last, &step))
        return fail(c, FR_ARGUMENT, "Invalid arguments specified for command");
    reply_array(c->out, (last - first) / step + 1);
    for (uint32_t i = first; i <= last; i += step) reply_bulk(c->out, c->argv[2 + i]);
    return FR_OK;
}

fr_status cmd_command_help(context *c) {
    static const char *const lines[] = {
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}
