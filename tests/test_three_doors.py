"""One state behind all doors: what is written through one is read through every other, byte for byte.

The doors: redis-cli (RESP2 over TCP, RESP3 over the unix socket), redis-py sync and asyncio (RESP2 and RESP3, TCP and
unix), and the mapping (`import fridge`, in this process and in another one). Each writes the same strings, integers, hashes, rows
and counters; every door reads all of them back: values, kinds, the millisecond of expiry, errors, and that a refused
write changed nothing.
"""

from __future__ import annotations

import ast
import asyncio
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, Protocol

import pytest
import redis
import redis.asyncio

import fridge
from fridge.commands import failure

from .server_fixture import Server, serving, wait_until

REDIS_CLI = shutil.which("redis-cli")
COLUMNS = {"count": "int32", "reset": "int64", "note": "str:64", "share": "float64", "blob": "bytes:8", "on": "bool"}
BINARY = b"caf\xc3\xa9\r\n\xff \"quoted\" \\x"
MAX = (1 << 63) - 1
FAR = 4_000_000_000_123  # milliseconds since the epoch: the odd ones must come back

Word = str | bytes | int


@dataclass(frozen=True)
class Failure:
    """An error, however the door says it: the exception class that it stands for, and its text without the prefix."""

    kind: str
    text: str

    @staticmethod
    def of_line(line: str) -> Failure:
        """From an error as RESP has it; redis-py takes 'ERR ' away."""
        if line.split(" ", 1)[0] not in ("ERR", "WRONGTYPE", "FULL", "OOM", "BUSY"):
            line = "ERR " + line
        return Failure(type(failure(line)).__name__, line.split(" ", 1)[1])

    @staticmethod
    def of(error: fridge.FridgeError) -> Failure:
        """From an exception of the mapping."""
        return Failure(type(error).__name__, str(error))


class Door(Protocol):
    """Commands as every door can say them. Failures are returned."""

    def do(self, *words: Word) -> Any:
        """Run a command: bytes, int, None, list, dict, or a Failure."""

    def close(self) -> None:
        """Let go."""


# --- RESP ----------------------------------------------------------------------------------------------------------------


class RedisCli:
    """redis-cli, whose output is parsed."""

    def __init__(self, *options: str) -> None:
        if REDIS_CLI is None:
            pytest.fail("redis-cli is missing: apt-get install redis-tools")
        self._command = [REDIS_CLI, "--no-raw", *options]

    def do(self, *words: Word) -> Any:
        given = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        ended = subprocess.run([*self._command, *given], capture_output=True, timeout=20, check=False)
        return parse_cli(ended.stdout)

    def close(self) -> None:
        """Nothing is kept."""


def parse_cli(out: bytes) -> Any:
    """What `redis-cli --no-raw` printed."""
    text = out.decode("ascii").removesuffix("\n")
    lines = text.split("\n")
    if re.match(r" *1[)#] ", text):
        items = [re.sub(r"^ *\d+[)#] ", "", line) for line in lines]
        if " => " in items[0]:
            return {parse_cli(k.encode()): parse_cli(v.encode()) for k, v in (item.split(" => ", 1) for item in items)}
        return [parse_cli(item.encode()) for item in items]
    if text.startswith("(error) "):
        return Failure.of_line(text.removeprefix("(error) "))
    if text.startswith("(integer) "):
        return int(text.removeprefix("(integer) "))
    if text in ("(nil)", "(empty array)", "(empty hash)"):
        return None if text == "(nil)" else []
    return ast.literal_eval("b" + text) if text.startswith('"') else text.encode()


class RedisPy:
    """redis-py."""

    def __init__(self, **options: Any) -> None:
        self._client = redis.Redis(**options)

    def do(self, *words: Word) -> Any:
        try:
            return self._client.execute_command(*words)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            return Failure.of_line(str(error))

    def close(self) -> None:
        self._client.close()


class RedisPyAsyncio:
    """redis-py's asyncio half, on a loop of its own."""

    def __init__(self, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = redis.asyncio.Redis(**options)

    def do(self, *words: Word) -> Any:
        try:
            return self._loop.run_until_complete(self._client.execute_command(*words))  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            return Failure.of_line(str(error))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.close()


# --- mmap ----------------------------------------------------------------------------------------------------------------


def text_column(value: object) -> bytes:
    """A column's value as the wire shows it."""
    if isinstance(value, bytes):
        return value
    return b"%d" % value if isinstance(value, bool) else str(value).removesuffix(".0").encode()


def typed(column: str, value: Word) -> Any:
    """A word as the value that a column takes; what does not fit stays as it is."""
    kind = COLUMNS.get(column, "str:1").split(":")[0]
    if kind == "bytes":
        return value if isinstance(value, bytes) else str(value).encode()
    word = value.decode() if isinstance(value, bytes) else str(value)
    convert: dict[str, Callable[[str], object]] = {"str": str, "float64": float, "bool": lambda w: w == "1"}
    try:
        return convert.get(kind, int)(word)
    except ValueError:
        return word


class Mapped:
    """The mapping: each command is the method that a program would call."""

    def __init__(self, path: str) -> None:
        self._f = fridge.open(path, create=False)
        self._tables = {name: self._f.table(name) for name in ("doors", "small")}
        self._commands: Mapping[str, Callable[..., Any]] = {
            "SET": self._set, "GET": self._f.get, "INCRBY": self._incr, "TYPE": self._f.type, "DEL": self._delete,
            "PEXPIRETIME": self._f.pexpiretime, "PEXPIREAT": lambda k, at: int(self._f.pexpireat(k, int(at))), "HSET": self._hset,
            "HGET": self._hget, "HGETALL": self._hgetall, "HINCRBY": self._hincrby, "EXISTS": self._exists,
            "MGET": lambda *keys: self._f.mget(keys), "CAS": lambda k, a, b: int(self._f.cas(k, a, b)), "STRLEN": self._f.strlen,
        }  # fmt: skip

    def do(self, *words: Word) -> Any:
        try:
            return self._commands[str(words[0])](*words[1:])
        except fridge.FridgeError as error:
            return Failure.of(error)

    def close(self) -> None:
        self._f.close()

    @staticmethod
    def _counter_name(key: Word) -> bool:
        return isinstance(key, str) and key.startswith("counter-")

    def _row(self, key: Word) -> tuple[Any, str] | None:
        """(table, row) when key names a row."""
        table, colon, row = str(key).partition(":")
        return (self._tables[table], row) if colon and table in self._tables else None

    def _set(self, key: str, value: Word, *options: Word) -> bytes:
        if self._counter_name(key):
            self._f.counter(key).set(int(value))
        else:
            self._f.set(key, value, pxat=int(options[1]) if options else None)
        return b"OK"

    def _incr(self, key: str, by: Word) -> int:
        return self._f.counter(key).increment(int(by)) if self._counter_name(key) else self._f.incr(key, int(by))

    def _delete(self, key: str) -> int:
        found = self._row(key)
        return int(found[0].delete(found[1])) if found else self._f.delete(key)

    def _exists(self, key: str) -> int:
        found = self._row(key)
        return int(found[1] in found[0]) if found else self._f.exists(key)

    def _hset(self, key: str, *pairs: Word) -> int | None:
        fields = dict(zip(map(str, pairs[::2]), pairs[1::2], strict=True))
        found = self._row(key)
        if not found:
            return self._f.hset(key, mapping=fields)
        found[0].set(found[1], **{name: typed(name, value) for name, value in fields.items()})
        return None

    def _hget(self, key: str, name: str) -> bytes | None:
        found = self._row(key)
        if not found:
            return self._f.hget(key, name)  # type: ignore[no-any-return]
        value = found[0].get(found[1], name)
        return None if value is None else text_column(value)

    def _hgetall(self, key: str) -> dict[Any, Any]:
        found = self._row(key)
        if not found:
            return self._f.hgetall(key)
        return {name.encode(): text_column(value) for name, value in (found[0].get(found[1]) or {}).items()}

    def _hincrby(self, key: str, name: str, by: Word) -> int:
        found = self._row(key)
        return int(found[0].incr(found[1], name, int(by))) if found else self._f.hincrby(key, name, int(by))


_mapped: Mapped | None = None


def in_other_process(path: str, words: tuple[Word, ...]) -> Any:
    """Run a command through this process's own mapping."""
    global _mapped
    _mapped = _mapped or Mapped(path)
    return _mapped.do(*words)


class MappedElsewhere:
    """The mapping in a process of its own, started afresh."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def do(self, *words: Word) -> Any:
        return self._pool.submit(in_other_process, self._path, words).result(30)

    def close(self) -> None:
        self._pool.shutdown()


# --- all of them -----------------------------------------------------------------------------------------------------------


@dataclass
class House:
    """A server and the doors into its segment."""

    server: Server
    f: fridge.Store
    doors: dict[str, Door] = field(default_factory=dict)


def open_doors(server: Server) -> dict[str, Door]:
    """Every door, by name."""
    tcp: dict[str, Any] = {"host": server.host, "port": server.port}
    unix: dict[str, Any] = {"unix_socket_path": server.unix}
    doors: dict[str, Door] = {
        "redis-cli 2 tcp": RedisCli("-2", "-p", str(server.port)),
        "redis-cli 3 unix": RedisCli("-3", "-s", server.unix),
        "mmap": Mapped(server.segment),
        "mmap elsewhere": MappedElsewhere(server.segment),
    }
    for protocol in (2, 3):
        for where, options in (("tcp", tcp), ("unix", unix)):
            doors[f"redis-py {protocol} {where}"] = RedisPy(protocol=protocol, **options)
            doors[f"redis-py asyncio {protocol} {where}"] = RedisPyAsyncio(protocol=protocol, **options)
    return doors


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with serving() as server, fridge.open(server.segment) as f:
        f.table("doors", COLUMNS, capacity=200)
        f.table("small", {"count": "int32"}, capacity=2)
        doors = open_doors(server)
        assert len(doors) == 12
        yield House(server, f, doors)
        for door in doors.values():
            door.close()


DOORS = ["mmap", "mmap elsewhere", "redis-cli 2 tcp", "redis-cli 3 unix"] + [
    f"redis-py {kind}{protocol} {where}" for kind in ("", "asyncio ") for protocol in (2, 3) for where in ("tcp", "unix")
]


def truth(reply: Any) -> Any:
    """Replies that redis-py dresses up, undressed."""
    if reply is True:
        return b"OK"
    if isinstance(reply, str):
        return reply.encode()
    if isinstance(reply, list) and reply and len(reply) % 2 == 0 and isinstance(reply[0], bytes):
        return reply
    return reply


def as_dict(reply: Any) -> dict[bytes, bytes]:
    """HGETALL as a dict, which RESP2 has as a list."""
    return dict(zip(reply[::2], reply[1::2], strict=True)) if isinstance(reply, list) else reply


def everywhere(house: House, *words: Word) -> Any:
    """What every door answers to a command that reads; AssertionError when they do not agree."""
    shape = as_dict if words[0] == "HGETALL" else truth
    replies = {name: shape(door.do(*words)) for name, door in house.doors.items()}
    first = replies["mmap"]
    assert {name: reply for name, reply in replies.items() if reply != first} == {}, f"{words}: mmap says {first!r}"
    return first


@pytest.mark.parametrize("name", DOORS)
def test_what_one_door_writes_every_door_reads(house: House, name: str) -> None:
    writer, mark = house.doors[name], name.replace(" ", "-")
    key, number, names, row, counter = f"s-{mark}", f"n-{mark}", f"h-{mark}", f"doors:{mark}", f"counter-{mark}"

    assert truth(writer.do("SET", key, BINARY, "PXAT", FAR)) == b"OK"
    assert everywhere(house, "GET", key) == BINARY
    assert everywhere(house, "STRLEN", key) == len(BINARY)
    assert everywhere(house, "PEXPIRETIME", key) == FAR

    assert writer.do("INCRBY", number, 41) == 41
    assert writer.do("INCRBY", number, 1) == 42
    assert everywhere(house, "GET", number) == b"42"
    assert everywhere(house, "PEXPIRETIME", number) == -1
    assert everywhere(house, "MGET", key, number, "none") == [BINARY, b"42", None]

    assert writer.do("HSET", names, "f", BINARY, "n", 5) == 2
    assert writer.do("HINCRBY", names, "n", -7) == -2
    assert writer.do("PEXPIREAT", names, FAR + 1) in (1, True)
    assert everywhere(house, "HGETALL", names) == {b"f": BINARY, b"n": b"-2"}
    assert everywhere(house, "HGET", names, "nosuch") is None
    assert everywhere(house, "PEXPIRETIME", names) == FAR + 1

    writer.do("HSET", row, "count", -3, "reset", FAR, "note", "caf\u00e9", "share", "0.5", "blob", b"\x01\xff", "on", 1)
    assert writer.do("HINCRBY", row, "count", 10) == 7
    assert writer.do("PEXPIREAT", row, FAR + 2) in (1, True)
    assert everywhere(house, "HGETALL", row) == {b"count": b"7", b"reset": b"%d" % FAR, b"note": "caf\u00e9".encode(),
                                                 b"share": b"0.5", b"blob": b"\x01\xff", b"on": b"1"}  # fmt: skip
    assert everywhere(house, "HGET", row, "count") == b"7"
    assert everywhere(house, "HGET", "doors:nobody", "count") is None
    assert everywhere(house, "PEXPIRETIME", row) == FAR + 2
    assert house.f.table("doors").get(mark) == {"count": 7, "reset": FAR, "note": "caf\u00e9", "share": 0.5, "blob": b"\x01\xff",
                                                "on": True}  # fmt: skip

    house.f.counter(counter)
    assert [writer.do("INCRBY", counter, by) for by in (5, -2)] == [5, 3]
    assert everywhere(house, "GET", counter) == b"3"
    assert house.f.counter(counter).get() == 3
    assert truth(writer.do("SET", counter, 9)) == b"OK"
    assert house.f.counter(counter).increment() == 10
    assert everywhere(house, "GET", counter) == b"10"

    kinds = {k: everywhere(house, "TYPE", k) for k in (key, number, names, row, counter, "none")}
    assert kinds == {key: b"string", number: b"string", names: b"hash", row: b"hash", counter: b"string", "none": b"none"}

    for gone in (key, number, names, row):
        assert writer.do("DEL", gone) == 1
        assert everywhere(house, "EXISTS", gone) == 0
        assert everywhere(house, "PEXPIRETIME", gone) == -2


def test_every_door_counts_on_the_same_numbers(house: House) -> None:
    house.f.counter("counter-all")
    for n, door in enumerate(house.doors.values(), 1):
        assert door.do("INCRBY", "all", 1) == n
        assert door.do("INCRBY", "counter-all", 1) == n
        assert door.do("HINCRBY", "doors:all", "reset", 1) == n
        assert door.do("HINCRBY", "all-hash", "f", 1) == n
        assert door.do("CAS", "all", n, n) == 1
        assert door.do("CAS", "all", n + 1, "no") == 0


REFUSED: dict[str, tuple[list[Word], str]] = {
    "WRONGTYPE of a hash": (["INCRBY", "e-hash", 1], "WrongTypeError"),
    "WRONGTYPE of a string": (["HGET", "e-text", "f"], "WrongTypeError"),
    "WRONGTYPE of a string, writing": (["HSET", "e-text", "f", "v"], "WrongTypeError"),
    "WRONGTYPE of a row": (["INCRBY", "doors:e", 1], "WrongTypeError"),
    "not an integer": (["INCRBY", "e-text", 1], "NotAnIntegerError"),
    "not an integer in a hash": (["HINCRBY", "e-hash", "f", 1], "NotAnIntegerError"),
    "overflow": (["INCRBY", "e-max", 1], "CounterOverflowError"),
    "overflow of a counter": (["INCRBY", "counter-max", 1], "CounterOverflowError"),
    "overflow in a hash": (["HINCRBY", "e-hash", "max", 1], "CounterOverflowError"),
    "unknown column": (["HSET", "doors:e", "nosuch", 1], "UnknownColumnError"),
    "unknown column, counting": (["HINCRBY", "doors:e", "nosuch", 1], "UnknownColumnError"),
    "value beyond the column": (["HSET", "doors:e", "count", 1 << 31], "ColumnRangeError"),
    "overflow of a column": (["HINCRBY", "doors:e", "count", (1 << 31) - 1], "ColumnRangeError"),
    "wrong type for a column": (["HSET", "doors:e", "count", "abc"], "ColumnTypeError"),
    "counting on text": (["HINCRBY", "doors:e", "note", 1], "ColumnTypeError"),
    "too long for a column": (["HSET", "doors:e", "count", 5, "note", "x" * 65], "TooLongError"),
    "full table": (["HSET", "small:c", "count", 1], "TableFullError"),
    "full table, counting": (["HINCRBY", "small:c", "count", 1], "TableFullError"),
}


@pytest.fixture(scope="module")
def furnished(house: House) -> House:
    """The house with what the refusals are about."""
    f = house.f
    f.hset("e-hash", mapping={"f": "abc", "max": MAX})
    f.set("e-text", "abc")
    f.set("e-max", MAX)
    f.counter("counter-max").set(MAX)
    f.table("doors").set("e", count=1, note="before")
    for row in "ab":
        f.table("small").set(row, count=1)
    return house


def all_there_is(house: House) -> dict[str, object]:
    """Values and versions of what the refusals are about."""
    f = house.f
    values: dict[str, object] = {k: f.get_versioned(k) for k in ("e-text", "e-max", "counter-max")}
    return values | {"hash": f.hgetall("e-hash"), "row": f.table("doors").get("e"), "small": dict(f.table("small").items())}


@pytest.mark.parametrize("case", REFUSED)
def test_every_door_refuses_alike_and_nothing_changes(furnished: House, case: str) -> None:
    words, kind = REFUSED[case]
    before = all_there_is(furnished)
    replies = {name: door.do(*words) for name, door in furnished.doors.items()}
    assert {name: reply for name, reply in replies.items() if not isinstance(reply, Failure)} == {}
    assert {reply.kind for reply in replies.values()} == {kind}
    texts = {reply.text for name, reply in replies.items() if "mmap" not in name or case != "wrong type for a column"}
    assert len(texts) == 1, texts  # the mapping is given a str, not a word: that one text differs
    assert all_there_is(furnished) == before


WRITES: list[list[Word]] = [
    ["SET", "w", "v"],
    ["INCRBY", "w-n", 1],
    ["HSET", "w-h", "f", "v"],
    ["HINCRBY", "doors:w", "count", 1],
    ["INCRBY", "counter-w", 1],
]


@pytest.mark.parametrize("name", [name for name in DOORS if name.startswith("redis-py ") and "asyncio" not in name])
@pytest.mark.parametrize("words", WRITES, ids=lambda words: words[1])
def test_every_door_s_write_is_a_new_version(house: House, name: str, words: list[Word]) -> None:
    """WATCH through one door, write the very same value again through each: EXEC must notice."""
    options: dict[str, Any] = {"unix_socket_path": house.server.unix} if "unix" in name else {"port": house.server.port}
    with redis.Redis(protocol=int(name.split()[1]), **options) as client:
        for writer in (None, *house.doors):
            with client.pipeline() as pipeline:
                pipeline.watch(str(words[1]))
                if writer is not None:
                    assert not isinstance(house.doors[writer].do(*words), Failure)
                pipeline.multi()
                pipeline.ping()
                try:
                    assert pipeline.execute() == [True]
                    noticed = False
                except redis.WatchError:
                    noticed = True
            assert noticed == (writer is not None), f"{writer} wrote {words}"


def test_versions_of_strings_change_with_every_write_and_never_repeat(house: House) -> None:
    seen = set()
    for _ in range(2):
        for door in house.doors.values():
            assert truth(door.do("SET", "v", "same")) == b"OK"
            seen.add(house.f.get_versioned("v")[1])
            assert door.do("DEL", "v") == 1
    assert len(seen) == 2 * len(house.doors)
    assert house.f.set("v", "mine")
    version = house.f.get_versioned("v")[1]
    assert house.f.cas_version("v", version, "next")
    assert not house.f.cas_version("v", version, "late")
    assert everywhere(house, "GET", "v") == b"next"


def test_expiry_is_one_moment_for_all(house: House) -> None:
    at = int(time.time() * 1000) + 400
    for name, door in house.doors.items():
        assert truth(door.do("SET", f"soon-{name}", "v", "PXAT", at)) == b"OK"
        assert not isinstance(door.do("HSET", f"doors:soon-{name}", "count", 1), Failure)
        assert door.do("PEXPIREAT", f"doors:soon-{name}", at) in (1, True)
    names = [f"soon-{name}" for name in house.doors] + [f"doors:soon-{name}" for name in house.doors]
    wait_until(lambda: time.time() * 1000 > at + 2, "the moment has come")
    for name in names:
        assert everywhere(house, "EXISTS", name) == 0


def metric(server: Server, line: str) -> float:
    """The value of one line of /metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = [row.rsplit(" ", 1)[1] for row in text.splitlines() if row.rsplit(" ", 1)[0] == line]
    assert len(found) == 1, f"{line}: {found}"
    return float(found[0])


def test_rows_counters_and_refusals_of_every_door_are_in_the_metrics(furnished: House) -> None:
    server, f, words = furnished.server, furnished.f, REFUSED["full table"][0]
    assert metric(server, 'fridge_table_capacity_rows{table="small"}') == 2
    assert metric(server, 'fridge_table_rows{table="small"}') == 2
    assert metric(server, 'fridge_table_rows{table="doors"}') == len(f.table("doors"))
    refused = 'fridge_table_refused_inserts_total{table="small"}'
    hits, keys = "fridge_keyspace_hits_total", 'fridge_db_keys{db="db0"}'
    for name, door in furnished.doors.items():
        before = [metric(server, line) for line in (refused, hits, keys)]
        assert isinstance(door.do(*words), Failure)
        assert door.do("GET", "e-text") == b"abc"
        furnished.f.counter(f"counter-metric-{name}".replace(" ", "-"))
        after = [metric(server, line) for line in (refused, hits, keys)]
        assert after[0] == before[0] + 1, name
        assert after[1] >= before[1] + 1, name
        assert after[2] == before[2] + 1, "a counter is a key of database 0"
    assert metric(server, "fridge_attached_processes") >= 4
    assert f.verify().findings == 0
