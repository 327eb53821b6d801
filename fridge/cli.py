"""The command line: ``fridge serve`` and the tools around a segment.

Everything but ``serve`` and ``ping`` works on the segment itself and needs no server. Exit status: 0 done, 1 the
operation failed (one line on stderr says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from fridge import config, path, show
from fridge.config import SettingError

if TYPE_CHECKING:
    from fridge.segment import Segment

# Commands that work on data and so need no server: `fridge get k` is `redis-cli get k` without redis-cli.
DATA_COMMANDS = (
    "append", "cad", "cas", "copy", "dbsize", "decr", "decrby", "del", "delex", "delifeq", "exists", "expire",
    "expireat", "expiretime", "flushall", "flushdb", "get", "getdel", "getex", "getrange", "getset", "hcas", "hdel",
    "hexists", "hget", "hgetall", "hincrby", "hincrbyfloat", "hkeys", "hlen", "hmget", "hmset", "hrandfield", "hscan",
    "hset", "hsetnx", "hstrlen", "hvals", "incr", "incrby", "incrbyfloat", "increx", "keys", "memory", "mget", "move",
    "mset", "msetnx", "object", "persist", "pexpire", "pexpireat", "pexpiretime", "psetex", "pttl", "randomkey",
    "rename", "renamenx", "scan", "set", "setex", "setnx", "setrange", "strlen", "swapdb", "touch", "ttl", "type",
    "unlink",
)  # fmt: skip


class CommandError(Exception):
    """The operation failed; the message is what the user sees."""


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are one line, with status 2."""

    def error(self, message: str) -> NoReturn:
        if "argument COMMAND: invalid choice: " in message:
            word = message.partition("invalid choice: ")[2].partition(" (")[0]
            message = f"there is no command {word}; a command for servers is asked of one: redis-cli -p 6380"
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(prog="fridge", description="Shared state for the processes of one host.", allow_abbrev=False,
                     epilog="Data commands, in redis-cli's words and without a server: fridge [--segment PATH] [-n DB] get k, "
                     f"set k v, incr n ...: {', '.join(DATA_COMMANDS)}.")  # fmt: skip
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _add_serve(commands)
    _add_ping(commands)
    where = _Parser(add_help=False)
    where.add_argument("--segment", metavar="PATH", default=None, help="the segment (default: see `fridge path`)")

    def add(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> _Parser:
        return _add(commands, name, text, run, where)

    add("path", "where the segment is, and why", _path)
    add("stat", "what the segment holds and counts", _stat)
    top = add("top", "watch it live", _top)
    top.add_argument("--interval", type=_seconds, default=1.0, metavar="S", help="seconds between two looks (default 1)")
    top.add_argument("--count", type=_whole, default=0, metavar="N", help="stop after so many looks (default: never)")
    add("ps", "the attached processes", _ps)
    verify = add("verify", "walk everything and check it", _verify)
    verify.add_argument("--repair", action="store_true", help="put right what can be counted again")
    add("destroy", "remove the segment; refused while anybody is attached", _destroy)
    table = add("table", "declare, list, describe, drop typed tables", _table)
    table.add_argument("words", nargs=argparse.REMAINDER, metavar="create|list|info|drop ...",
                       help="create NAME CAPACITY COLUMN TYPE [COLUMN TYPE ...]")  # fmt: skip
    return parser


def _add(commands: argparse._SubParsersAction[_Parser], name: str, text: str,
         run: Callable[[argparse.Namespace], int], *parents: _Parser) -> _Parser:  # fmt: skip
    sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=parents,
                              allow_abbrev=False)  # fmt: skip
    sub.set_defaults(run=run)
    return sub


def _add_serve(commands: argparse._SubParsersAction[_Parser]) -> None:
    serve = _add(commands, "serve", "run the server", _serve)
    serve.add_argument("--config", metavar="FILE", default=None, help="fridge.toml")
    config.add_flags(serve)


def _add_ping(commands: argparse._SubParsersAction[_Parser]) -> None:
    ping = _add(commands, "ping", "ask a server whether it answers", _ping)
    ping.add_argument("-s", "--unixsocket", metavar="PATH", default=None, help="over a unix socket")
    ping.add_argument("--host", default="127.0.0.1")
    ping.add_argument("-p", "--port", type=_port, default=None, help="(default: FRIDGE_PORT, or 6380)")
    ping.add_argument("-a", "--password", default=None, help="(better: FRIDGE_REQUIREPASS)")
    ping.add_argument("--timeout", type=_seconds, default=3.0, metavar="S", help="seconds to wait for the answer (default 3)")


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port from 1 to 65535")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 86400:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds above 0, a day at most")
    return number


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number from 0 on")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) > 2 and words[0] == "--segment" and _data_command_at(words) is None:
        words = [words[2], *words[:2], *words[3:]]  # where data commands have it, tools may have it, too
    parser = build_parser()
    if (at := _data_command_at(words)) is not None:
        run: Callable[[], int] = lambda: _data(words, at)  # noqa: E731 - one of two
    else:
        options = parser.parse_args(words)
        if options.version:
            return _version()
        if options.command is None:
            parser.print_help()
            return 2
        run = lambda: int(options.run(options))  # noqa: E731 - the other
    return _guard(run)


def _guard(run: Callable[[], int]) -> int:
    """Run; failures that were foreseen are one line and status 1 (wrong settings: 2)."""
    from fridge.errors import FridgeError

    try:
        return run()
    except SettingError as error:
        return _complain(str(error), 2)
    except (FridgeError, CommandError) as error:
        return _complain(str(error), 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _complain(message: str, status: int) -> int:
    print(f"fridge: {message}", file=sys.stderr)
    return status


def _version() -> int:
    from fridge import segment

    print(f"fridge {segment.version()}")
    return 0


# --- serve and ping --------------------------------------------------------------------------------------------------


def load_settings(options: argparse.Namespace, environment: Mapping[str, str]) -> tuple[config.Settings, config.FileContents, str]:
    """(settings, fridge.toml, its path) from flags, environment and file. Raises SettingError."""
    file = options.config or environment.get("FRIDGE_CONFIG", "")
    contents = config.read_file(file) if file else config.FileContents({})
    settings = config.load(contents.settings, config.from_environment(environment), config.from_flags(options))
    return settings, contents, file


def _serve(options: argparse.Namespace) -> int:
    settings, contents, file = load_settings(options, os.environ)
    try:
        from fridge.server import start
    except ModuleNotFoundError as error:
        if error.name not in ("uvloop", "prometheus_client"):
            raise
        raise CommandError(f"the server needs {error.name}: pip install 'fridge-sidecar[server]'") from None
    try:
        return start.serve(settings, contents.tables, file, os.environ, sys.stdout)
    except start.StartError as error:
        raise CommandError(str(error)) from None


def _ping(options: argparse.Namespace) -> int:
    import socket

    from fridge.reply import ErrorReply, Replies, Reply, request

    unix = options.unixsocket or (os.environ.get("FRIDGE_UNIXSOCKET") if options.port is None else None)
    port = options.port or config.load({}, config.from_environment(os.environ), {}).port
    where = unix or f"{options.host}:{port}"
    password = options.password or os.environ.get("FRIDGE_REQUIREPASS")
    try:
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as sock:
            sock.settimeout(options.timeout)
            sock.connect(unix or (options.host, port))
            asked = [["AUTH", password]] if password else []
            asked.append(["PING"])
            sock.sendall(b"".join(request(words) for words in asked))
            parser = Replies()
            replies: list[Reply] = []
            while len(replies) < len(asked):
                data = sock.recv(4096)
                if not data:
                    raise CommandError(f"{where} closed the connection")
                replies += parser.feed(data)
    except OSError as error:
        raise CommandError(f"no answer from {where}: {error.strerror or error}") from None
    except ValueError:
        raise CommandError(f"what answers at {where} does not speak the Redis protocol") from None
    for reply in replies:
        if isinstance(reply, ErrorReply):
            raise CommandError(f"{where}: {reply}")
    print(replies[-1])
    return 0


# --- the segment -------------------------------------------------------------------------------------------------------


def _segment_path(options: argparse.Namespace) -> str:
    if options.segment:
        return str(options.segment)
    try:
        return path.resolve(os.environ, os.geteuid()).path
    except FileNotFoundError as error:
        raise CommandError(str(error)) from None


def _open(options: argparse.Namespace, *, create: bool = False, readonly: bool = False, name: str = "") -> Segment:
    """The segment, of the owner and with the mode that FRIDGE_SEGMENT_OWNER and _PERM allow. Raises FridgeError, SettingError."""
    from fridge.segment import Segment

    settings = config.load({}, config.from_environment(os.environ), {})
    opened = Segment(_segment_path(options), create=create, readonly=readonly, mode=settings.segment_perm,
                     owner=path.owner_id(settings.segment_owner), name=name)  # fmt: skip
    if opened.set_aside:
        print(f"fridge: {opened.set_aside}", file=sys.stderr)
    return opened


def _path(options: argparse.Namespace) -> int:
    if options.segment:
        print(os.path.abspath(options.segment))
        print("because --segment says so", file=sys.stderr)
        return 0
    try:
        found = path.resolve(os.environ, os.geteuid())
    except FileNotFoundError as error:
        raise CommandError(str(error)) from None
    print(found.path)
    print(f"because {found.reason}:", file=sys.stderr)
    for place in found.looked_at:
        print(f"  {'->' if place.chosen else '  '} {place.path}: {place.finding}", file=sys.stderr)
    return 0


def _stat(options: argparse.Namespace) -> int:
    from fridge import dashboard

    with _open(options, readonly=True) as segment:
        print(dashboard.summary(segment))
    return 0


def _top(options: argparse.Namespace) -> int:
    from fridge import dashboard

    with _open(options, readonly=True) as segment:
        dashboard.watch(segment, options.interval, options.count, sys.stdout)
    return 0


def _ps(options: argparse.Namespace) -> int:
    from fridge import dashboard

    with _open(options, readonly=True) as segment:
        print(dashboard.processes(segment))
    return 0


def _verify(options: argparse.Namespace) -> int:
    with _open(options, name="fridge verify") as segment:
        found = segment.verify(options.repair)
    print(f"{segment.path}: {found.keys} keys, {found.rows} rows, {found.counters} counters in {found.blocks} blocks and "
          f"{found.pages} pages")  # fmt: skip
    if found.findings:
        done = "found and repaired" if options.repair else "found"
        raise CommandError(f"{found.findings} {done}; the first: {found.first}")
    print("clean")
    return 0


def _destroy(options: argparse.Namespace) -> int:
    from fridge import segment

    where = _segment_path(options)
    segment.destroy(where)
    print(f"{where} is gone")
    return 0


def _table(options: argparse.Namespace) -> int:
    words = options.words
    if words[:1] == ["create"] and len(words) >= 5 and len(words) % 2 == 1:
        asked = ["TABLE", "CREATE", words[1], "CAPACITY", words[2], "COLUMNS", *words[3:]]
        return _execute(options, asked, sys.stdout)
    if words[:1] in (["list"], ["info"], ["drop"]) and len(words) == (1 if words[0] == "list" else 2):
        return _execute(options, ["TABLE", *words], sys.stdout)
    return _complain("usage: fridge table create NAME CAPACITY COLUMN TYPE[=DEFAULT] ... | list | info NAME | drop NAME", 2)


# --- data commands -----------------------------------------------------------------------------------------------------


def _data_command_at(words: Sequence[str]) -> int | None:
    """Where the data command stands in words ([--segment PATH] [-n DB] COMMAND ...), or None when it is none."""
    at = 0
    while at + 1 < len(words) and words[at] in ("--segment", "-n"):
        at += 2
    return at if at < len(words) and words[at].lower() in DATA_COMMANDS else None


def _data(words: Sequence[str], at: int) -> int:
    options = dict(zip(words[:at:2], words[1:at:2], strict=True))
    if words[at + 1 :] in (["--help"], ["-h"]):
        return _data_help(words[at].lower())
    namespace = argparse.Namespace(segment=options.get("--segment"))
    return _execute(namespace, list(words[at:]), sys.stdout, db=options.get("-n", "0"))


def _data_help(name: str) -> int:
    """What the command table says of a data command. A key named --help is what redis-cli is for."""
    from fridge._native import ffi, lib, text

    facts = ffi.new("command_facts *")
    print(f"usage: fridge [--segment PATH] [-n DB] {name} ...\n")
    for i in range(lib.fridge_command_count()):
        lib.fridge_command(i, facts)
        command = text(facts.name)
        if command.partition("|")[0] != name or facts.container:
            continue
        least, more = abs(facts.arity) - 1 - command.count("|"), " or more" if facts.arity < 0 else ""
        takes = f"{least or 'no'}{more} word{'' if least == 1 and not more else 's'}"
        print(f"{command.replace('|', ' ')} takes {takes}: {text(facts.summary).rstrip('.')}.")
    return 0


def _execute(options: argparse.Namespace, words: Sequence[str], out: TextIO, db: str = "0") -> int:
    """Run one command on the segment, creating it if need be, and print its reply. Raises CommandError."""
    from fridge.local import LocalClient
    from fridge.reply import ErrorReply

    path.prepare(_segment_path(options))
    with _open(options, create=True, name="fridge " + words[0]) as segment, LocalClient(segment) as client:
        reply = client.execute("SELECT", db) if db != "0" else None
        if not isinstance(reply, ErrorReply):
            reply = client.execute(*words)
    if isinstance(reply, ErrorReply):
        late = [word for word in words[1:] if word in ("--segment", "-n")]
        hint = f" ({late[0]} goes before the command: fridge {late[0]} ... {words[0]} ...)" if late else ""
        raise CommandError(f"{reply}{hint}")
    if out.isatty():
        print(show.reply_pretty(reply), file=out)
    else:
        out.flush()
        out.buffer.write(show.reply_raw(reply))
        out.flush()
    return 0
