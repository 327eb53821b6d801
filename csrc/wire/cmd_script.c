/* cmd_script.c - EVAL, EVALSHA and SCRIPT for the scripts of scripts.def. There is no Lua: another script is NOSCRIPT to
 * EVALSHA, and an error that names its SHA-1 to EVAL and SCRIPT LOAD, so that whoever asks for it to be added can say which.
 *
 * The functions do what the scripts do, on locks that have a trailer (store/lock.h) as on plain strings: release deletes a
 * lock that the token holds, or hands it over; extend and reacquire move its end.
 */
#include "store/lock.h"
#include "wire/command.h"
#include "wire/sha1.h"

/* What a script sees. */
typedef struct call {
    context *c;
    const key *keys;
    const span *args;
} call;

typedef struct script {
    const char *sha;
    fr_status (*run)(const call *x, bool *yes);
    uint32_t keys, args;
} script;

/* --- the scripts ----------------------------------------------------------------------------------------------------- */

static fr_status script_lock_release(const call *x, bool *yes) {
    return lock_release(x->c->st, x->c->t, &x->keys[0], x->args[0], yes);
}

static fr_status ms_of(const call *x, uint32_t i, int64_t *ms) {
    return text_int64(x->args[i], ms) && *ms < INT64_MAX / 2 && *ms > INT64_MIN / 2 ? FR_OK : FR_NOTINT;
}

static fr_status script_lock_extend(const call *x, bool *yes) {
    int64_t ms;
    fr_status status = ms_of(x, 1, &ms);
    if (status != FR_OK) return status;
    return lock_extend(x->c->st, x->c->t, &x->keys[0], x->args[0], ms, span_eq(x->args[2], (span){"0", 1}), yes);
}

static fr_status script_lock_reacquire(const call *x, bool *yes) {
    int64_t ms;
    fr_status status = ms_of(x, 1, &ms);
    if (status != FR_OK) return status;
    return lock_lease(x->c->st, x->c->t, &x->keys[0], x->args[0], ms > 0 ? (uint64_t)ms : 0, yes);
}

static const script scripts[] = {
#define X(sha, function, keys, args, what) {sha, function, keys, args},
#include "wire/scripts.def"
#undef X
};

/* --- commands ---------------------------------------------------------------------------------------------------------- */

static const script *find(span sha) {
    for (size_t i = 0; i < FR_COUNTOF(scripts); i++) {
        if (word_is(sha, scripts[i].sha)) return &scripts[i];
    }
    return NULL;
}

static fr_status count_keys(context *c, int64_t *keys) {
    if (arg_int(c, 2, keys) != FR_OK) return FR_NOTINT;
    if (*keys > (int64_t)c->argc - 3) return fail(c, FR_ARGUMENT, "Number of keys can't be greater than number of args");
    if (*keys < 0) return fail(c, FR_ARGUMENT, "Number of keys can't be negative");
    return FR_OK;
}

static fr_status run(context *c, const script *s, uint32_t keys) {
    bool yes;
    uint32_t args = c->argc - 3 - keys;
    if (keys < s->keys || args < s->args)
        return fail(c, FR_ARGUMENT, "script %s wants %u key and %u arguments, got %u and %u", s->sha, s->keys, s->args, keys, args);
    call x = {c, c->keys, c->argv + 3 + keys};
    fr_status status = s->run(&x, &yes);
    if (status == FR_OK) answer_bool(c, yes);
    return status;
}

static fr_status no_script(context *c) { return fail(c, FR_ARGUMENT, "-NOSCRIPT No matching script. Please use EVAL."); }

fr_status cmd_evalsha(context *c) {
    int64_t keys;
    if (c->argv[1].n != 40) return no_script(c);
    fr_status status = count_keys(c, &keys);
    if (status != FR_OK) return status;
    const script *s = find(c->argv[1]);
    return s ? run(c, s, (uint32_t)keys) : no_script(c);
}

static fr_status unknown(context *c, const char sha[40]) {
    return fail(c, FR_ARGUMENT, "fridge runs no Lua, and knows no native function for the script with SHA1 %.40s", sha);
}

fr_status cmd_eval(context *c) {
    int64_t keys;
    char sha[40];
    fr_status status = count_keys(c, &keys);
    if (status != FR_OK) return status;
    sha1_hex(c->argv[1], sha);
    const script *s = find((span){sha, sizeof sha});
    return s ? run(c, s, (uint32_t)keys) : unknown(c, sha);
}

fr_status cmd_script_load(context *c) {
    char sha[40];
    sha1_hex(c->argv[2], sha);
    if (!find((span){sha, sizeof sha})) return unknown(c, sha);
    reply_bulk(c->out, (span){sha, sizeof sha});
    return FR_OK;
}

fr_status cmd_script_exists(context *c) {
    reply_array(c->out, c->argc - 2);
    for (uint32_t i = 2; i < c->argc; i++) answer_bool(c, find(c->argv[i]) != NULL);
    return FR_OK;
}

fr_status cmd_script_flush(context *c) {
    if (c->argc > 3 || (c->argc == 3 && !arg_is(c, 2, "async") && !arg_is(c, 2, "sync")))
        return fail(c, FR_ARGUMENT, "SCRIPT FLUSH only support SYNC|ASYNC option");
    reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_script_kill(context *c) { return fail(c, FR_ARGUMENT, "-NOTBUSY No scripts in execution right now."); }

fr_status cmd_script_help(context *c) {
    static const char *const lines[] = {
        "EXISTS <sha1> [<sha1> ...]",
        "    Return which scripts are known: fridge runs native functions for some, and no Lua.",
        "FLUSH [ASYNC|SYNC]",
        "    Does nothing: what is known is built in.",
        "KILL",
        "    An error: no script runs long.",
        "LOAD <script>",
        "    Return the SHA1 of a script that is known.",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}
