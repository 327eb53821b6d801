/* cmd_conn.c - commands on the connection itself: HELLO, AUTH, PING, SELECT, CLIENT, RESET, QUIT.
 *
 * Passwords are the host's: AUTH and HELLO .. AUTH go to it when one is set. CLIENT LIST, KILL and INFO need the other
 * sessions, or the socket's addresses, and go to it too.
 */
#include <stdio.h>

#include "wire/session_state.h"

#define FRIDGE_REDIS_VERSION "7.2.4" /* what clients choose their behaviour by: design section 7 */

/* --- names ------------------------------------------------------------------------------------------------------- */

/* plain: no blanks, no control characters, nothing beyond ASCII, as CLIENT LIST needs it. */
static bool plain(span text) {
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '!' || text.p[i] > '~') return false;
    return true;
}

static void set_text(char *to, span text) {
    memcpy(to, text.p, text.n);
    to[text.n] = 0;
}

static fr_status name_fits(context *c, span name) {
    if (!plain(name))
        return fail(c, FR_ARGUMENT, "Client names cannot contain spaces, newlines or special characters.");
    if (name.n >= sizeof c->s->name)
        return fail(c, FR_ARGUMENT, "Client names cannot be longer than %zu bytes.", sizeof c->s->name - 1);
    return FR_OK;
}

static fr_status set_name(context *c, span name) {
    fr_status status = name_fits(c, name);
    if (status == FR_OK) set_text(c->s->name, name);
    return status;
}

/* --- HELLO ------------------------------------------------------------------------------------------------------- */

struct hello {
    int64_t protocol; /* 0 = as it is */
    bool auth, named;
    span user, name;
};

/* free_pass: with no password set, the user `default` may say any. */
static fr_status free_pass(context *c, span user) {
    if (span_eq(user, SPAN_LIT("default"))) return FR_OK;
    stat_add(c->st->s, STAT_auth_failures, 1);
    return fail(c, FR_ARGUMENT, "-WRONGPASS invalid username-password pair or user is disabled.");
}

static fr_status parse_hello(context *c, struct hello *h) {
    if (c->argc >= 2 && !resp_number(c->argv[1], &h->protocol))
        return fail(c, FR_ARGUMENT, "Protocol version is not an integer or out of range");
    if (c->argc >= 2 && h->protocol != 2 && h->protocol != 3)
        return fail(c, FR_ARGUMENT, "-NOPROTO unsupported protocol version");
    for (uint32_t i = 2; i < c->argc; i++) {
        uint32_t more = c->argc - 1 - i;
        if (arg_is(c, i, "auth") && more >= 2) {
            h->auth = true;
            h->user = c->argv[i + 1];
            i += 2;
            fr_status status = c->s->facts->password_set ? FR_OK : free_pass(c, h->user);
            if (status != FR_OK) return status;
        } else if (arg_is(c, i, "setname") && more) {
            h->named = true;
            h->name = c->argv[++i];
            fr_status status = name_fits(c, h->name);
            if (status != FR_OK) return status;
        } else {
            return fail(c, FR_ARGUMENT, "Syntax error in HELLO option '%.*s'", (int)c->argv[i].n, c->argv[i].p);
        }
    }
    return FR_OK;
}

static void answer_hello(context *c) {
    reply *out = c->out;
    reply_map(out, 7);
    reply_text(out, "server");
    reply_text(out, "redis");
    reply_text(out, "version");
    reply_text(out, FRIDGE_REDIS_VERSION);
    reply_text(out, "proto");
    reply_int(out, out->protocol);
    reply_text(out, "id");
    reply_int(out, (int64_t)c->s->id);
    reply_text(out, "mode");
    reply_text(out, "standalone");
    reply_text(out, "role");
    reply_text(out, "master");
    reply_text(out, "modules");
    reply_array(out, 0);
}

fr_status cmd_hello(context *c) {
    struct hello h = {0};
    fr_status status = parse_hello(c, &h);
    if (status != FR_OK) return status;
    if (h.auth && c->s->facts->password_set && !c->s->host) return CMD_TO_HOST;
    if (session_needs_auth(c->s))
        return fail(c, FR_ARGUMENT, "-NOAUTH HELLO must be called with the client already authenticated, otherwise the "
                    "HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP "
                    "protocol version at the same time");
    if (h.named && (status = set_name(c, h.name)) != FR_OK) return status;
    if (h.protocol) c->out->protocol = (uint32_t)h.protocol;
    answer_hello(c);
    return FR_OK;
}

fr_status cmd_auth(context *c) {
    if (c->argc > 3) return FR_SYNTAX;
    if (c->s->facts->password_set) return CMD_TO_HOST;
    if (c->argc == 2)
        return fail(c, FR_ARGUMENT, "AUTH <password> called without any password configured for the default user. Are "
                    "you sure your configuration is correct?");
    fr_status status = free_pass(c, c->argv[1]);
    if (status == FR_OK) reply_ok(c->out);
    return status;
}

/* --- the rest ---------------------------------------------------------------------------------------------------- */

fr_status cmd_ping(context *c) {
    if (c->argc > 2) return fail_arity(c);
    if (c->argc == 2) reply_bulk(c->out, c->argv[1]);
    else REPLY_LIT(c->out, "+PONG\r\n");
    return FR_OK;
}

fr_status cmd_echo(context *c) {
    reply_bulk(c->out, c->argv[1]);
    return FR_OK;
}

fr_status cmd_select(context *c) {
    uint32_t db;
    fr_status status = arg_db(c, 1, &db);
    if (status != FR_OK) return status;
    c->s->db = c->db = db;
    reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_quit(context *c) {
    c->s->closing = true;
    reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_reset(context *c) {
    session *s = c->s;
    session_leave_multi(s);
    session_unwatch(s);
    s->db = 0;
    s->authenticated = !s->facts->password_set; /* and stays so when one is set later, as in Redis */
    s->no_evict = s->no_touch = s->monitor = false;
    s->reply_mode = REPLY_ON;
    s->name[0] = 0;
    s->out.protocol = 2;
    REPLY_LIT(c->out, "+RESET\r\n");
    return FR_OK;
}

/* --- CLIENT ------------------------------------------------------------------------------------------------------ */

fr_status cmd_client_id(context *c) {
    reply_int(c->out, (int64_t)c->s->id);
    return FR_OK;
}

fr_status cmd_client_getname(context *c) {
    if (c->s->name[0]) reply_text(c->out, c->s->name);
    else reply_null(c->out);
    return FR_OK;
}

fr_status cmd_client_setname(context *c) {
    fr_status status = set_name(c, c->argv[2]);
    if (status == FR_OK) reply_ok(c->out);
    return status;
}

fr_status cmd_client_setinfo(context *c) {
    session *s = c->s;
    bool name = arg_is(c, 2, "lib-name");
    if (!name && !arg_is(c, 2, "lib-ver"))
        return fail(c, FR_ARGUMENT, "Unrecognized option '%.*s'", (int)c->argv[2].n, c->argv[2].p);
    const char *what = name ? "lib-name" : "lib-ver";
    if (!plain(c->argv[3]))
        return fail(c, FR_ARGUMENT, "%s cannot contain spaces, newlines or special characters.", what);
    if (c->argv[3].n >= sizeof s->lib_name)
        return fail(c, FR_ARGUMENT, "%s cannot be longer than %zu bytes.", what, sizeof s->lib_name - 1);
    set_text(name ? s->lib_name : s->lib_ver, c->argv[3]);
    reply_ok(c->out);
    return FR_OK;
}

static fr_status on_or_off(context *c, bool *flag) {
    bool on = arg_is(c, 2, "on");
    if (!on && !arg_is(c, 2, "off")) return FR_SYNTAX;
    *flag = on;
    reply_ok(c->out);
    return FR_OK;
}

fr_status cmd_client_no_evict(context *c) { return on_or_off(c, &c->s->no_evict); }

fr_status cmd_client_no_touch(context *c) { return on_or_off(c, &c->s->no_touch); }

fr_status cmd_client_reply(context *c) {
    session *s = c->s;
    if (arg_is(c, 2, "on")) {
        s->reply_mode = REPLY_ON;
        reply_ok(c->out);
    } else if (arg_is(c, 2, "off")) {
        s->reply_mode = REPLY_OFF;
    } else if (arg_is(c, 2, "skip")) {
        if (s->reply_mode != REPLY_OFF) s->reply_mode = REPLY_SKIP_NEXT;
    } else {
        return FR_SYNTAX;
    }
    return FR_OK;
}

fr_status cmd_client_help(context *c) {
    static const char *const lines[] = {
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETINFO <option> <value>",
        "    Set client meta attr. Options are:",
        "    * LIB-NAME: the client lib name.",
        "    * LIB-VER: the client lib version.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "NO-TOUCH (ON|OFF)",
        "    Will not touch LRU/LFU stats when this mode is on.",
    };
    answer_help(c, lines, FR_COUNTOF(lines));
    return FR_OK;
}
