"""Commands as test data, derived and not listed: rows from commands.def, their syntax from redis-server's COMMAND DOCS.

``load`` joins the two. ``Command.kinds`` is what must be generated of a command; ``Generator`` makes words of a kind, or
of any, through hypothesis draws, from pools so small that keys, fields and types collide. The pools are keyed by the
names that redis-server gives its arguments; ``SPECIAL`` holds the few commands whose arguments those names do not tell.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from hypothesis import strategies as st
from redis.lock import Lock

from fridge._native import ffi, lib
from fridge.reply import Replies, request

from .raw import Wire, Words

T = TypeVar("T")
Piece: TypeAlias = "tuple[bytes, str]"  #: a word and the type of the argument that it stands for

# --- pools ---------------------------------------------------------------------------------------------------------

KEYS = (b"k", b"k2", b"h", b"", b"a:b", b"bin\x00\r\n\xff", b"*[x]?")
FIELDS = (b"f", b"g", b"field3", b"", b"bin\x00\xff\r\n")
MAX, MIN = b"9223372036854775807", b"-9223372036854775808"
VALUES = (
    b"", b"v", b"0", b"10", b"-1", MAX, MIN, b"9223372036854775808", b"3.5", b"1e3", b" 1", b"01", b"-0", b"+1", b"nan",
    b"inf", b"-inf", b"5.0e-10", b"0x10", b"\x00\r\n\xff", b"y" * 44, b"y" * 45, b"z" * 64, b"z" * 65, b"z" * 300,
)  # fmt: skip
BAD_NUMBERS = (b"x", b"", b" 1", b"1 ", b"+1", b"01", b"1.5x", b"--1", b"-", b"9223372036854775808", b"nan", b"1\x00")
INTEGERS = (b"1", b"5", b"-1", b"0", b"100", MAX, MIN, b"-9223372036854775807")
FLOATS = (b"1", b"0.1", b"-2.5", b"1e3", b"5.0e-3", b"1e300", b"-1e300", b"1e400", b"1e-400", b"inf", b"-inf", b"nan",
          b"infinity", b"0x1p3", b" 1", b"1 ", b"", b"1e", MAX, b"0.30000000000000004", b"1e4932", b"-0")  # fmt: skip
SECONDS = (b"100", b"1000", b"100000", b"0", b"-1", b"9223372036854775", b"9223372036854776", MAX, MIN)
MILLISECONDS = (b"100000", b"1000000", b"0", b"-1", b"9223370000000000000", MAX, MIN)
UNIX_SECONDS = (b"4102444800", b"5000000000", b"1", b"0", b"-1", b"9223372036854775", b"9223372036854776", MAX, MIN)
UNIX_MILLISECONDS = (b"4102444800123", b"5000000000007", b"1", b"0", b"-1", b"9223372036854775807", MIN)
PATTERNS = (b"*", b"k*", b"?", b"h", b"[a-k]*", b"[^k]*", b"\\*[[]x]\\?", b"", b"*:*", b"**k**2", b"[k-a]", b"[", b"\\")
DATABASES = (b"0", b"0", b"1", b"2", b"15", b"16", b"-1", b"x", b"99999999999", b"")
OFFSETS = (b"0", b"1", b"3", b"70", b"-1", b"1048575", b"1048576", MAX, MIN)
RANGE = (b"0", b"1", b"-1", b"-2", b"4", b"100", b"-100", MAX, MIN)

_POOLS: dict[str, Sequence[bytes]] = {
    # by the name of the argument
    "field": FIELDS, "index": DATABASES, "index1": DATABASES, "index2": DATABASES, "db": DATABASES,
    "destination-db": DATABASES, "cursor": (b"0", b"0", b"0", b"x", b"", b" 0", b"0 ", b"18446744073709551616"),
    "count": (b"1", b"10", b"1000", b"3"), "offset": OFFSETS, "start": RANGE, "end": RANGE,
    "seconds": SECONDS, "milliseconds": MILLISECONDS, "timeout": SECONDS,
    "unix-time-seconds": UNIX_SECONDS, "unix-time-milliseconds": UNIX_MILLISECONDS,
    "protover": (b"2", b"3", b"2", b"3", b"1", b"4", b"x", b"", b"3000000000000"),
    "username": (b"default", b"default", b"nobody", b""), "password": (b"pw", b""),
    "clientname": (b"me", b"", b"two words", b"new\nline"), "connection-name": (b"me", b"you", b"", b"two words", b"\x7f"),
    "samples": (b"0", b"5", b"-1", MAX),
}  # fmt: skip
_BY_TYPE: dict[str, Sequence[bytes]] = {
    "string": VALUES, "integer": INTEGERS, "double": FLOATS, "pattern": PATTERNS,
    "unix-time": UNIX_SECONDS, "pure-token": (b"",),
}  # fmt: skip
_BY_COMMAND: dict[tuple[str, str], Sequence[bytes]] = {
    ("pexpireat", "unix-time-milliseconds"): UNIX_MILLISECONDS,
    ("scan", "type"): (b"string", b"hash", b"HASH", b"list", b"nothing", b""),
    ("scan", "count"): (b"1", b"10", b"1000", b"0", b"-1", MAX),
    ("hscan", "count"): (b"1", b"10", b"1000", b"0", b"-1", MAX),
    # -2**63 is refused; smaller counts would make redis-server write replies without end
    ("hrandfield", "count"): (b"0", b"1", b"3", b"100", b"-3", b"-20", MIN),
    ("decrby", "decrement"): INTEGERS,
}
NUMERIC = frozenset({"integer", "double", "unix-time"})

# --- what a command is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Argument:
    """One argument of COMMAND DOCS."""

    name: str
    type: str
    token: bytes
    optional: bool
    multiple: bool
    multiple_token: bool
    parts: tuple[Argument, ...]

    def tokens(self) -> frozenset[bytes]:
        """Every word of this argument that must be written as it is."""
        return frozenset({self.token} - {b""}).union(*(part.tokens() for part in self.parts))


@dataclass(frozen=True)
class Command:
    """A row of commands.def that redis-server has too, with redis-server's syntax."""

    name: str
    arity: int
    first: int
    host: bool
    arguments: tuple[Argument, ...]

    @functools.cached_property
    def words(self) -> Words:
        """The words it begins with."""
        return tuple(self.name.encode().split(b"|"))

    @functools.cached_property
    def options(self) -> frozenset[bytes]:
        """Every option, by its word."""
        return frozenset().union(*(argument.tokens() for argument in self.arguments))

    @functools.cached_property
    def kinds(self) -> tuple[str, ...]:
        """What must be generated of it."""
        found = ["well formed"]
        found += [f"option {option.decode()}" for option in sorted(self.options)]
        if abs(self.arity) > len(self.words):
            found.append("too few words")
        found.append("too many words" if self.arity > 0 else "unknown option")
        if len(self.options) > 1:
            found.append("options in conflict")
        if any(part.type in NUMERIC for part in _flat(self.arguments)):
            found.append("bad number")
        if self.first:
            found += ["holding string", "holding hash", "missing key", "expired key"]
        if self.name not in NOT_QUEUED:
            found.append("queued")
        return tuple(found)


#: What a transaction cannot be asked about: it ends the order of replies itself.
NOT_QUEUED = frozenset({"client|reply"})
#: Commands that random sequences leave out: they change what later replies mean, or end the connection or server. Each
#: is driven by its own directed case.
DIRECTED_ONLY = frozenset({
    "shutdown", "monitor", "client|reply", "client|kill", "quit", "multi", "exec", "discard", "config|set", "debug",
    "auth", "command", "command|list", "command|docs", "command|info", "info", "eval", "evalsha", "script|load",
    "script|flush", "script|exists",
})  # fmt: skip
#: The scripts that are known (csrc/wire/scripts.def), with what follows the key.
SCRIPTS = {
    Lock.LUA_RELEASE_SCRIPT: (),
    Lock.LUA_EXTEND_SCRIPT: ((b"1000", b"100000", b"0", b"-5"), (b"0", b"1")),
    Lock.LUA_REACQUIRE_SCRIPT: ((b"1000", b"100000", b"0", b"-5"),),
}


def _flat(arguments: Sequence[Argument]) -> list[Argument]:
    return [found for a in arguments for found in (a, *_flat(a.parts))]


def _argument(docs: dict[Any, Any]) -> Argument:
    texts = {key.decode(): value for key, value in docs.items()}
    flags = {str(flag) if isinstance(flag, str) else flag.decode() for flag in texts.get("flags", [])}
    return Argument(
        name=texts["name"].decode(), type=texts["type"].decode(), token=texts.get("token", b""),
        optional="optional" in flags, multiple="multiple" in flags, multiple_token="multiple_token" in flags,
        parts=tuple(_argument(part) for part in texts.get("arguments", [])),
    )  # fmt: skip


def _ask(wire: Wire, *words: bytes | str) -> Any:
    wire.send(request(words))
    return next(iter(Replies().feed(wire.reply())))


def load(redis: Wire) -> dict[str, Command]:
    """Every row of commands.def that this redis-server has, by name."""
    assert redis("HELLO", "3").startswith(b"%")
    facts = ffi.new("command_facts *")
    found: dict[str, Command] = {}
    for i in range(lib.fridge_command_count()):
        assert lib.fridge_command(i, facts)
        name = ffi.string(facts.name).decode()
        docs = _ask(redis, "COMMAND", "DOCS", name)
        if not docs or (facts.container and name != "command"):
            continue
        arguments = docs[name.encode()].get(b"arguments", []) if name != "command" else []
        parsed = tuple(_argument(argument) for argument in arguments)
        found[name] = Command(name, facts.arity, facts.first, bool(facts.host), parsed)
    return found


# --- words ---------------------------------------------------------------------------------------------------------

# Placeholders that the runner fills in for each server: the connection's own id and address.
OWN_ID, OWN_ADDRESS, OWN_LADDR = b"\0own id\0", b"\0own addr\0", b"\0own laddr\0"


@functools.cache
def _below(n: int) -> st.SearchStrategy[int]:
    return st.integers(0, n - 1)


@dataclass
class Generator:
    """Makes words of commands; every choice is a hypothesis draw."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    commands: dict[str, Command]
    keys: Sequence[bytes] = KEYS
    common: tuple[Command, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.common = tuple(c for name, c in self.commands.items() if name not in DIRECTED_ONLY)

    def of(self, items: Sequence[T]) -> T:
        """One of these."""
        return items[self.below(len(items))]

    def chance(self, percent: int) -> bool:
        """True so often."""
        return bool(self.draw(_below(100)) >= 100 - percent)

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        return int(self.draw(_below(n)))

    # --- well-formed words ---

    def _value(self, command: Command, argument: Argument) -> bytes:
        if argument.type == "key":
            return self.of(self.keys)
        pool = _BY_COMMAND.get((command.name, argument.name)) or _POOLS.get(argument.name)
        return self.of(pool if pool is not None else _BY_TYPE[argument.type])

    def _once(self, command: Command, argument: Argument, wanted: bytes) -> list[Piece]:
        if argument.type == "block":
            return [piece for part in argument.parts for piece in self._expand(command, part, wanted)]
        if argument.type == "oneof":
            fitting = [part for part in argument.parts if wanted in part.tokens()]
            return self._expand(command, self.of(fitting or argument.parts), wanted, chosen=True)
        if argument.type == "pure-token":
            return []
        return [(self._value(command, argument), argument.type)]

    def _expand(self, command: Command, argument: Argument, wanted: bytes, chosen: bool = False) -> list[Piece]:
        needed = chosen or wanted in argument.tokens()
        if argument.optional and not needed and not self.chance(35):
            return []
        times = 1 + self.below(3) if argument.multiple and self.chance(60) else 1
        pieces: list[Piece] = []
        for i in range(times):
            if argument.token and (i == 0 or argument.multiple_token):
                pieces.append((self.cased(argument.token), "token"))
            pieces += self._once(command, argument, wanted)
        return pieces

    def cased(self, word: bytes) -> bytes:
        """The word in upper, lower or mixed case."""
        way = self.below(3)
        return word.upper() if way == 0 else word.lower() if way == 1 else word.title()

    def pieces(self, command: Command, wanted: bytes = b"") -> list[Piece]:
        """Arguments of a command as its syntax has them, with the option `wanted`."""
        special = SPECIAL.get(command.name)
        if special is not None:
            return special(self, wanted)
        return [piece for argument in command.arguments for piece in self._expand(command, argument, wanted)]

    def plain(self, command: Command, wanted: bytes = b"") -> Words:
        """A well-formed command."""
        return self.named(command, [word for word, _ in self.pieces(command, wanted)])

    def named(self, command: Command, rest: Sequence[bytes]) -> Words:
        """The command's own words, then these."""
        return tuple(self.cased(word) for word in command.words) + tuple(rest)

    # --- words of a kind ---

    def of_kind(self, command: Command, kind: str) -> Words:
        """Words of one of command.kinds; what the kind says of the key or of MULTI is the runner's business."""
        if kind.startswith("option "):
            return self.plain(command, kind[7:].encode())
        if kind == "too few words":
            rest = [word for word, _ in self.pieces(command)]
            return self.named(command, rest[: self.below(abs(command.arity) - len(command.words))])
        if kind == "too many words":
            rest = [word for word, _ in self.pieces(command)]
            return self.named(command, rest + [self.of(VALUES) for _ in range(1 + self.below(2))])
        if kind == "unknown option":
            return self.plain(command) + (b"BOGUS",)
        if kind == "options in conflict":
            return self._conflict(command)
        if kind == "bad number":
            return self._bad_number(command)
        return self.plain(command)

    def _conflict(self, command: Command) -> Words:
        options = sorted(command.options)
        both = self.pieces(command, self.of(options))
        more = self.pieces(command, self.of(options))
        at = next((i for i, (_, kind) in enumerate(more) if kind == "token"), len(more))
        return self.named(command, [word for word, _ in both + more[at:]])

    def _bad_number(self, command: Command) -> Words:
        wanted = b""
        inside = [a for a in _flat(command.arguments) if a.type in NUMERIC]
        if inside:
            wanted = self.of(inside).token
        pieces = self.pieces(command, wanted)
        places = [i for i, (_, kind) in enumerate(pieces) if kind in NUMERIC]
        if not places:
            pieces.append((b"", "integer"))
            places = [len(pieces) - 1]
        pieces[self.of(places)] = (self.of(BAD_NUMBERS), "bad")
        return self.named(command, [word for word, _ in pieces])

    # --- any words ---

    def any_step(self, leave_out: frozenset[str] = frozenset()) -> tuple[Command, Words]:
        """A command of those that may stand anywhere, mostly well formed."""
        command = self.of([c for c in self.common if c.name not in leave_out] if leave_out else self.common)
        if not self.chance(15):
            return command, self.plain(command)
        words = list(self.plain(command))
        way, at = self.below(4), self.below(len(words))
        if way == 0 and len(words) > len(command.words):
            del words[max(at, len(command.words))]
        elif way == 1:
            words.insert(max(at, len(command.words)), self.of(VALUES))
        elif way == 2 and len(words) > len(command.words):
            words[max(at, len(command.words))] = self.of(BAD_NUMBERS)
        else:
            words += words[len(command.words) :]
        return command, tuple(words)

    def cuts(self, data: bytes) -> list[int]:
        """Up to four places in the data, ascending."""
        return sorted({self.below(len(data)) for _ in range(self.below(5))} - {0})


# --- commands whose arguments COMMAND DOCS does not tell --------------------------------------------------------------

#: Settings that both servers have, with values that both take.
SETTINGS: dict[bytes, Sequence[bytes]] = {
    b"maxmemory-policy": (b"noeviction", b"allkeys-lru", b"volatile-lru", b"volatile-ttl", b"sideways"),
    b"timeout": (b"0", b"1000", b"-1", b"x"),
    b"maxmemory-samples": (b"5", b"10", b"64", b"x"),
    b"slowlog-log-slower-than": (b"10000", b"-1", b"x"),
    b"no-such-setting": (b"1",),
}
READ_SETTINGS = (b"maxmemory-policy", b"timeout", b"databases", b"appendonly", b"save", b"no-such-setting", b"maxmemory-s*",
                 b"TIMEOUT", b"proto-max-bulk-len", b"requirepass", b"hash-max-listpack-[ev]*")  # fmt: skip


def _strings(*words: bytes) -> list[Piece]:
    return [(word, "string") for word in words]


def _client_kill(g: Generator, wanted: bytes) -> list[Piece]:
    """Kill nobody, or oneself; anybody else is a connection of the test."""
    options: dict[bytes, Callable[[], bytes]] = {
        b"ID": lambda: g.of((OWN_ID, b"999999999", b"0", b"-1", b"x")), b"USER": lambda: g.of((b"nobody", b"default")),
        b"ADDR": lambda: g.of((OWN_ADDRESS, b"1.2.3.4:5")), b"LADDR": lambda: b"1.2.3.4:5",
        b"SKIPME": lambda: g.of((b"yes", b"no", b"maybe")), b"TYPE": lambda: g.of((b"normal", b"pubsub", b"what")),
    }  # fmt: skip
    if wanted in (b"NORMAL", b"MASTER", b"SLAVE", b"REPLICA", b"PUBSUB"):
        return _strings(b"TYPE", wanted, b"ID", g.of((OWN_ID, b"999999999")), b"SKIPME", g.of((b"yes", b"no")))
    if not wanted and g.chance(30):
        return _strings(g.of((OWN_ADDRESS, b"1.2.3.4:5", b"nowhere")))
    pieces = _strings(b"ID", g.of((OWN_ID, b"999999999")))
    for option in [wanted] if wanted else [g.of(tuple(options)) for _ in range(g.below(3))]:
        pieces += _strings(g.cased(option), options[option]())
    return pieces


def _client_list(g: Generator, wanted: bytes) -> list[Piece]:
    if wanted == b"ID" or (not wanted and g.chance(30)):
        return _strings(b"ID", *(g.of((OWN_ID, b"999999999", b"x", b"-1")) for _ in range(1 + g.below(2))))
    if not wanted and g.chance(40):
        return []
    return _strings(b"TYPE", wanted if wanted not in (b"", b"TYPE") else g.of((b"normal", b"PubSub", b"what")))


def _client_reply(g: Generator, wanted: bytes) -> list[Piece]:
    return _strings(wanted or g.of((b"ON", b"on", b"sometimes")))


def _config_get(g: Generator, wanted: bytes) -> list[Piece]:
    return _strings(*(g.of(READ_SETTINGS) for _ in range(1 + g.below(3))))


def _config_set(g: Generator, wanted: bytes) -> list[Piece]:
    names = [g.of(tuple(SETTINGS)) for _ in range(1 + g.below(2))]
    return _strings(*(word for name in names for word in (g.cased(name), g.of(tuple(SETTINGS[name])))))


def _command_names(g: Generator, wanted: bytes) -> list[Piece]:
    names = tuple(name.encode() for name in g.commands)
    return _strings(*(g.cased(g.of(names + (b"nosuch", b"get|x", b"config|nosuch", b""))) for _ in range(1 + g.below(3))))


def _command_info(g: Generator, wanted: bytes) -> list[Piece]:
    """Names whose rows are the same: not those with subcommands that only one of the two has."""
    own = {"client", "command", "config", "memory", "object"}
    names = tuple(n.encode() for n in g.commands if n.split("|")[0] not in own) + (b"nosuch", b"get|x")
    return _strings(*(g.cased(g.of(names)) for _ in range(1 + g.below(3))))


def _command_list(g: Generator, wanted: bytes) -> list[Piece]:
    if not wanted and g.chance(40):
        return []
    way = wanted if wanted in (b"MODULE", b"ACLCAT", b"PATTERN") else g.of((b"MODULE", b"ACLCAT", b"PATTERN"))
    values = {b"MODULE": (b"nosuch",), b"ACLCAT": (b"hash", b"string", b"nosuch", b"transaction"), b"PATTERN": (b"h*", b"xyz")}
    return _strings(b"FILTERBY", g.cased(way), g.of(values[way]))


def _command_getkeys(g: Generator, wanted: bytes) -> list[Piece]:
    own = {"client", "command", "config"}
    command = g.of([c for n, c in g.commands.items() if n.split("|")[0] not in own])
    return _strings(*g.plain(command))


def _debug(g: Generator, wanted: bytes) -> list[Piece]:
    return _strings(g.of((b"SLEEP", b"OBJECT", b"nosuch")), g.of((b"0", b"x")))


def _info(g: Generator, wanted: bytes) -> list[Piece]:
    sections = (b"server", b"CLIENTS", b"memory", b"stats", b"replication", b"cpu", b"keyspace", b"commandstats", b"errorstats",
                b"nosuch")  # fmt: skip
    return _strings(*(g.of(sections) for _ in range(g.below(3))))


def _shutdown(g: Generator, wanted: bytes) -> list[Piece]:
    """Only what is refused: a server that ends has a test of its own."""
    if wanted in (b"", b"ABORT"):
        return _strings(b"ABORT")
    return _strings(wanted, *((b"ABORT",) if wanted != b"SAVE" else (b"NOSAVE",)))


def _watch(g: Generator, wanted: bytes) -> list[Piece]:
    return [(g.of(KEYS), "key") for _ in range(1 + g.below(3))]


def _script_call(g: Generator, first: bytes, more: Sequence[Sequence[bytes]]) -> list[Piece]:
    pieces: list[Piece] = [(first, "string"), (b"1", "integer"), (g.of(KEYS), "key"), (g.of(VALUES), "string")]
    return pieces + [(g.of(choice), "string") for choice in more]


def _eval(g: Generator, wanted: bytes) -> list[Piece]:
    text, more = g.of(list(SCRIPTS.items()))
    return _script_call(g, text.encode(), more)


def _evalsha(g: Generator, wanted: bytes) -> list[Piece]:
    text, more = g.of(list(SCRIPTS.items()))
    sha = g.of((hashlib.sha1(text.encode()).hexdigest().encode(), b"0" * 40, b"nosuch"))
    return _script_call(g, sha, more)


def _script_load(g: Generator, wanted: bytes) -> list[Piece]:
    return _strings(g.of(list(SCRIPTS)).encode())


def _script_exists(g: Generator, wanted: bytes) -> list[Piece]:
    return _strings(*(g.of((b"0" * 40, b"nosuch", b"")) for _ in range(1 + g.below(3))))


SPECIAL: dict[str, Callable[[Generator, bytes], list[Piece]]] = {
    "client|kill": _client_kill, "client|list": _client_list, "client|reply": _client_reply, "config|get": _config_get,
    "config|set": _config_set, "command|docs": _command_names, "command|info": _command_info, "info": _info,
    "command|list": _command_list, "command|getkeys": _command_getkeys, "debug": _debug, "shutdown": _shutdown,
    "watch": _watch, "eval": _eval, "evalsha": _evalsha, "script|load": _script_load, "script|exists": _script_exists,
}  # fmt: skip
