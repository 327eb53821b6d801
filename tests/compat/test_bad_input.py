"""Bad input through the RESP door: each a clear error, and nothing changed.

A `dump` is everything that commands can see: tables with their facts, and every key of every database with its type, its
value and its exact expiry. It is taken before and after; the two are equal. Bytes that are no RESP are judged against
redis-server in test_differential.py; here they are judged by what they leave behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import pytest

from fridge.reply import Replies, Reply, request

from ..server_fixture import Server, serving
from .encode import OK, Error, encode
from .raw import CLOSED, Wire

Dump: TypeAlias = "dict[str, list[Reply]]"

PING = request((b"PING",))
PONG = b"+PONG\r\n"
OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
MEGABYTE = 1 << 20


def ask(wire: Wire, *words: bytes | str | int) -> Reply:
    """A reply as a Python value."""
    return next(iter(Replies().feed(wire(*words))))


def listed(reply: Reply) -> list[Reply]:
    assert isinstance(reply, list), reply
    return reply


def dump(wire: Wire, databases: int = 3) -> Dump:
    """Everything that commands can see."""
    tables = sorted(repr(name) for name in listed(ask(wire, "TABLE", "LIST")))
    seen: Dump = {"tables": [*tables]}
    for name in listed(ask(wire, "TABLE", "LIST")):
        assert isinstance(name, bytes)
        facts = listed(ask(wire, "TABLE", "INFO", name))
        named = dict(zip(map(repr, facts[::2]), facts[1::2], strict=True))
        named.pop(repr(b"refused_inserts"))  # a statistic: a refusal counts
        seen[f"table {name!r}"] = [*named.values()]
    for db in range(databases):
        wire("SELECT", db)
        for key in sorted(k for k in listed(ask(wire, "KEYS", "*")) if isinstance(k, bytes)):
            kind = ask(wire, "TYPE", key)
            value = ask(wire, "HGETALL", key) if kind == "hash" else ask(wire, "GET", key)
            seen[f"{db} {key!r}"] = [kind, ask(wire, "PEXPIRETIME", key), value]
    wire("SELECT", 0)
    return seen


def prepare(wire: Wire) -> None:
    """Something of everything, so that a change would show."""
    for words in (
        ("FLUSHALL",), ("TABLE", "CREATE", "rates", "CAPACITY", 2, "COLUMNS", "count", "int32", "note", "str:8"),
        ("TABLE", "CREATE", "one", "CAPACITY", 4, "COLUMNS", "v", "int64"),
        ("SET", "k", "v", "PXAT", 4102444800123), ("SET", "large", b"x" * 5000),
        ("SET", "n", 9223372036854775807), ("SET", "text", "x" * 100), ("HSET", "h", "f", 1, "g", "text"), ("SET", "one:a", 7),
        ("HSET", "rates:a", "count", 1), ("HSET", "rates:b", "count", 2, "note", "b"), ("EXPIREAT", "rates:b", 4102444800),
        ("SELECT", 2), ("SET", "elsewhere", 1), ("SELECT", 0),
    ):  # fmt: skip
        assert not wire(*words).startswith(b"-"), words


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--proto-max-bulk-len", "1mb", "--request-timeout", "1") as running:
        yield running


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with Wire((server.host, server.port)) as connected:
        prepare(connected)
        yield connected


# --- commands --------------------------------------------------------------------------------------------------------------

NOT_INTEGER = b"-ERR value is not an integer or out of range\r\n"
LONG_KEY = "k" * 65537
KEY_TOO_LONG = b"-ERR key exceeds the maximum of 65536 bytes\r\n"
NOT_IN_TABLE = b"-ERR table 'rates' has no column 'nosuch'; it has count, note\r\n"

REFUSED: tuple[tuple[tuple[bytes | str | int, ...], bytes], ...] = (
    # keys that are too long, as every argument that is a key
    *(((*words,), KEY_TOO_LONG) for words in (
        ("SET", LONG_KEY, "v"), ("GET", LONG_KEY), ("DEL", "k", LONG_KEY), ("MSET", "k", "new", LONG_KEY, "v"),
        ("RENAME", "k", LONG_KEY), ("COPY", "k", LONG_KEY), ("INCR", LONG_KEY), ("HSET", LONG_KEY, "f", "v"),
        ("EXPIRE", LONG_KEY, 5), ("HSET", "rates:" + LONG_KEY, "count", 1), ("MSETNX", "new", 1, LONG_KEY, 1),
    )),
    # values out of range
    (("INCR", "n"), b"-ERR increment or decrement would overflow\r\n"),
    (("INCRBY", "n", "9223372036854775808"), NOT_INTEGER),
    (("DECRBY", "k", "-9223372036854775808"), b"-ERR decrement would overflow\r\n"),
    (("INCR", "k"), NOT_INTEGER), (("SETRANGE", "k", -1, "x"), b"-ERR offset is out of range\r\n"),
    (("SETRANGE", "k", MEGABYTE, "x"), b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
    (("SETRANGE", "k", "9223372036854775807", "x"), b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
    (("EXPIRE", "k", "9223372036854775807"), b"-ERR invalid expire time in 'expire' command\r\n"),
    (("SET", "k", "v", "EX", 0), b"-ERR invalid expire time in 'set' command\r\n"),
    (("SELECT", 16), b"-ERR DB index is out of range\r\n"), (("MOVE", "k", 16), b"-ERR DB index is out of range\r\n"),
    (("SWAPDB", 0, 16), b"-ERR DB index is out of range\r\n"),
    (("INCRBYFLOAT", "n", "nan"), b"-ERR value is not a valid float\r\n"),
    (("INCRBYFLOAT", "one:a", "x"), b"-ERR value is not a valid float\r\n"),
    # rows
    (("HSET", "rates:c", "count", 1), b"-FULL table 'rates' is full: all of its 2 rows are in use\r\n"),
    (("HSET", "rates:a", "count", 9, "nosuch", 1), NOT_IN_TABLE), (("HSET", "rates:a", "nosuch", 1, "count", 9), NOT_IN_TABLE),
    (("HSET", "rates:a", "count", 9, "note", "123456789"),
     b"-ERR table 'rates' column 'note' is str:8: a value of 9 bytes is too long, the limit is 8\r\n"),
    (("HSET", "rates:a", "count", 9, "note", b"\xff\xfe"),
     b"-ERR table 'rates' column 'note' is str:8: '??' is not valid UTF-8\r\n"),
    (("HSET", "rates:a", "count", -2147483649),
     b"-ERR table 'rates' column 'count' is int32: -2147483649 is not between -2147483648 and 2147483647\r\n"),
    (("SET", "one:a", "9223372036854775808"), b""), (("MSET", "one:b", 1, "one:a", "x"), b""), (("RENAME", "rates:a", "k"), b""),
    (("RENAME", "k", "rates:a"), b""), (("COPY", "h", "rates:c"), b""),
    # declarations
    *((("TABLE", "CREATE", name, "CAPACITY", rows, "COLUMNS", *columns), b"") for name, rows, columns in (
        ("t", 0, ("v", "int8")), ("t", -5, ("v", "int8")), ("t", "9223372036854775808", ("v", "int8")),
        ("t", 5, ("v", "int8", "v", "int8")),
        ("t", 5, ("v", "int9")), ("t", 5, ("v", "")), ("t", 5, ("", "int8")), ("t", 5, ("v" * 64, "int8")),
        ("t", 5, ("a b", "int8")),
        ("t", 1 << 40, ("v", "int64")), ("one", 4, ("v", "int32")), ("t:t", 4, ("v", "int32")), (b"t\0", 4, ("v", "int32")),
    )),
    (("TABLE", "DROP", "nosuch"), b""),
)  # fmt: skip


def show(words: object) -> str:
    return str(words)[:60]


@pytest.mark.parametrize(("words", "error"), REFUSED, ids=show)
def test_refused_and_nothing_changed(wire: Wire, words: tuple[bytes | str | int, ...], error: bytes) -> None:
    before = dump(wire)
    reply = wire(*words)
    assert reply.startswith(b"-"), reply
    assert reply == (error or reply)
    assert dump(wire) == before
    # in a transaction: its own error, and what stands beside it is done
    for word in (("MULTI",), words, ("PING",)):
        wire(*word)
    wire("DISCARD")
    assert dump(wire) == before


def test_longest_key_that_there_may_be(wire: Wire) -> None:
    key = "k" * 65536
    assert wire("SET", key, "v") == b"+OK\r\n"
    assert wire("GET", key) == b"$1\r\nv\r\n"
    assert wire("HSET", "rates:" + "k" * 65530, "count", 1).startswith(b"-FULL")
    assert wire("DEL", key) == b":1\r\n"


def test_longest_value_that_there_may_be(server: Server, wire: Wire) -> None:
    assert wire("SET", "big", b"x" * MEGABYTE) == b"+OK\r\n"
    assert wire("STRLEN", "big") == b":%d\r\n" % MEGABYTE
    before = dump(wire)
    with Wire((server.host, server.port)) as other:
        other.send(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n" % (MEGABYTE + 1))
        assert other.until_closed() == b"-ERR Protocol error: invalid bulk length\r\n"
    too_long = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
    assert wire("APPEND", "big", "x") == too_long
    assert wire("HSET", "h", "f", 2) == b":0\r\n"
    assert wire("HSET", "h", "f", 1) == b":0\r\n"
    assert dump(wire) == before


# --- bytes -----------------------------------------------------------------------------------------------------------------

WRITE = request((b"SET", b"k", b"changed"))
BROKEN = (
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-7\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$+7\r\nchanged\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$07\r\nchanged\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$7 \r\nchanged\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$7\x00\r\nchanged\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$7\r\nchangedXX",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$6\r\nchanged\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$99999999999\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$18446744073709551617\r\nx\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\nchanged\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n:7\r\n", b"*2147483648\r\n$3\r\nSET\r\n", b"*1\x003\r\n$3\r\nSET\r\n",
    b"*3 \r\n$3\r\nSET\r\n", b"*+3\r\n$3\r\nSET\r\n", b"*99999999999999999999\r\n", b'SET k "changed\r\n', b"SET k 'chan'ged\r\n",
    b"*" + b"3" * 70_000, b"*3\r\n$" + b"3" * 70_000, b"SET k " + b"x" * 70_000, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n*1\r\n$1\r\nx\r\n",
)  # fmt: skip


@pytest.mark.parametrize("data", BROKEN, ids=show)
def test_broken_request_is_refused_and_closes(server: Server, wire: Wire, data: bytes) -> None:
    before = dump(wire)
    with Wire((server.host, server.port)) as other:
        other.send(PING + data + b"\r\n")
        answer = other.until_closed()
    assert answer.startswith(PONG + b"-ERR Protocol error: "), answer
    assert answer.endswith(b"\r\n")
    assert answer.count(b"\r\n") == 2
    assert dump(wire) == before


@pytest.mark.parametrize("data", [b"*-1\r\n", b"*0\r\n", b"\r\n", b"   \r\n", b"*-5\r\n"], ids=show)
def test_nothing_asked_nothing_answered(server: Server, wire: Wire, data: bytes) -> None:
    before = dump(wire)
    with Wire((server.host, server.port)) as other:
        other.send(data + PING)
        assert other.reply() == PONG
    assert dump(wire) == before


def test_every_cut_of_a_request_that_never_ends(server: Server, wire: Wire) -> None:
    """A client that goes away in the middle, at every byte, has done nothing."""
    before = dump(wire)
    for at in range(len(WRITE)):
        with Wire((server.host, server.port)) as other:
            other.send(PING + WRITE[:at])
            assert other.reply() == PONG
    assert dump(wire) == before


def test_every_cut_of_a_request_that_does_end(server: Server, wire: Wire) -> None:
    """The same request in two pieces, cut at every byte, is the same request."""
    for at in range(1, len(WRITE)):
        assert wire("SET", "k", "old") == b"+OK\r\n"
        with Wire((server.host, server.port)) as other:
            other.send(PING + WRITE[:at])
            assert other.reply() == PONG  # so the first piece is there, alone
            other.send(WRITE[at:])
            assert other.reply() == b"+OK\r\n"
        assert wire("GET", "k") == b"$7\r\nchanged\r\n"


def test_a_request_that_stays_unfinished_is_given_up(server: Server, wire: Wire) -> None:
    before = dump(wire)
    with Wire((server.host, server.port)) as other:
        other.send(WRITE[:-3])
        assert other.reply() in (CLOSED, b"-ERR request timeout\r\n")
    assert dump(wire) == before


# --- no more room ------------------------------------------------------------------------------------------------------------


def test_full_segment() -> None:
    """Every way to write is refused with redis-server's text; reads and deletes still work, and then writes do again."""
    with serving(size="4mb") as server, Wire((server.host, server.port)) as wire:
        prepare(wire)
        for i in range(100_000):
            if wire("SET", f"fill{i}", b"x" * 1000) != b"+OK\r\n":
                break
        else:
            raise AssertionError("a segment of 4 MiB took 100 MB")
        filled = i
        for j in range(100_000):  # the last corners
            if wire("SET", f"corner{j}", b"y") != b"+OK\r\n":
                break
        before = dump(wire)
        big = b"z" * 5000
        for words in (
            ("SET", "new", big), ("SET", "k", big), ("APPEND", "k", big), ("SETRANGE", "k", 0, big), ("HSET", "h", "new", big),
            ("MSET", "k", big, "new", big), ("GETSET", "k", big), ("COPY", "large", "copy"), ("SET", "new", big, "NX"),
            ("HSETNX", "new", "f", big), ("CAS", "k", "v", big), ("SETEX", "new", 100, big), ("MSETNX", "n1", big, "n2", big),
            ("HCAS", "h", "f", 1, big),
        ):  # fmt: skip
            assert wire(*words) == OOM, words[:2]
        assert wire("MULTI") == b"+OK\r\n"
        assert wire("SET", "new", big).startswith((b"+QUEUED", b"-OOM"))
        assert b"OOM" in wire("EXEC")
        assert dump(wire) == before
        assert wire("GET", "fill0") == b"$1000\r\n" + b"x" * 1000 + b"\r\n"
        assert wire("HGET", "rates:a", "count") == b"$1\r\n1\r\n"
        assert wire("INCR", "one:a") == b":8\r\n"  # a row's number has its place already
        for i in range(filled):
            assert wire("DEL", f"fill{i}") == b":1\r\n"
        assert wire("SET", "new", big) == encode(OK, 2)


def test_full_table(wire: Wire) -> None:
    assert wire("DEL", "rates:a", "rates:b") == b":2\r\n"
    assert wire("HSET", "rates:a", "count", 1) == b":1\r\n"
    assert wire("HSET", "rates:b", "count", 1) == b":1\r\n"
    before = dump(wire)
    full = encode(Error("FULL table 'rates' is full: all of its 2 rows are in use"), 2)
    for words in (
        ("HSET", "rates:c", "count", 1), ("HSETNX", "rates:c", "count", 1), ("HINCRBY", "rates:c", "count", 1),
        ("COPY", "rates:a", "rates:c"),
        ("HMSET", "rates:c", "count", 1), ("HINCRBYFLOAT", "rates:c", "note", 1),
    ):  # fmt: skip
        assert wire(*words).startswith((full[:5], b"-ERR table 'rates' column")), words
    assert dump(wire) == before
    assert wire("RENAME", "rates:a", "rates:c") == b"+OK\r\n"  # no more rows than before
    assert wire("HSET", "rates:b", "count", 2) == b":0\r\n"
    assert wire("DEL", "rates:b") == b":1\r\n"
    assert wire("HSET", "rates:d", "count", 1) == b":1\r\n"
