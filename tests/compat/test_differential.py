"""The same commands into redis-server 7.0.15 and into fridge: the same bytes back, RESP2 and RESP3, errors included.

Every command of commands.def that redis-server has is driven through every kind of case that ``generate.Command.kinds``
derives for it, amid random neighbours; then random sequences, transactions and pipelines cut at random bytes mix them
all. A ledger notes each (command, kind) that ran, and the last test fails with the list of those that never did.

Seeds are fixed. FRIDGE_COMPAT_EXAMPLES=n runs n times as many examples, with seeds of their own.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fridge._native import ffi, lib
from fridge.reply import request

from .generate import Command, Generator, load
from .raw import CLOSED, Pair, Wire, Words, pair_serving
from .runner import NEEDLESS, Runner

TIMES = int(os.environ.get("FRIDGE_COMPAT_EXAMPLES", "1"))
PHASES = (Phase.generate, Phase.shrink) if os.environ.get("FRIDGE_COMPAT_SHRINK") else (Phase.generate,)

GENERATED: Counter[tuple[str, str]] = Counter()


def examples(n: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a property n times (n * TIMES when asked for more), the same ones every time."""
    given_settings = settings(max_examples=n * TIMES, deadline=None, database=None, derandomize=TIMES == 1,
                              suppress_health_check=list(HealthCheck), phases=PHASES)  # fmt: skip

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        return given_settings(test) if TIMES == 1 else seed(TIMES)(given_settings(test))

    return decorate


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with pair_serving() as both:
        yield both


@pytest.fixture(scope="module")
def commands(pair: Pair) -> dict[str, Command]:
    with Wire(pair.redis) as redis:
        return load(redis)


# --- every kind of every command ---------------------------------------------------------------------------------------

def one_kind(runner: Runner, generator: Generator, command: Command, kind: str) -> None:
    """Bring about a case of a kind, run the command, and note that it was."""
    words = generator.of_kind(command, kind)
    key = words[command.first] if command.first and len(words) > command.first else b""
    if kind in ("holding string", "holding hash", "missing key"):
        runner.hold(key, kind.removeprefix("holding "))
    if kind == "expired key":
        runner.hold(key, "hash" if command.name.startswith("h") or generator.chance(20) else "string")
        runner.run(b"PEXPIRE", key, b"1")
        runner.wait_expired(key)
    if command.name == "dbsize":
        runner.reap(counted=True)
    if kind == "queued":
        runner.run(b"MULTI")
        runner.run(*words)
        runner.run(b"EXEC")
    else:
        runner.run(*words)
    if command.name in ("monitor", "client|reply"):
        runner.connect()
    note(command, kind, words)
    runner.reap()


def note(command: Command, kind: str, words: Words) -> None:
    """Enter into the ledger what the words show to be so, not what was meant."""
    upper = {word.upper() for word in words[len(command.words) :]}
    for option in command.options & upper:
        GENERATED[command.name, f"option {option.decode()}"] += 1
    enough = len(words) == command.arity if command.arity > 0 else len(words) >= -command.arity
    if kind == "too few words":
        assert not enough
        assert len(words) < abs(command.arity)
    if kind == "too many words":
        assert len(words) > command.arity
    if not kind.startswith("option "):
        GENERATED[command.name, kind] += 1


def names() -> list[str]:
    """The rows of commands.def; those that redis-server does not have are known only when it runs."""
    facts = ffi.new("command_facts *")
    found = []
    for i in range(lib.fridge_command_count()):
        lib.fridge_command(i, facts)
        found.append(ffi.string(facts.name).decode())
    return found


@pytest.mark.parametrize("name", names())
def test_every_kind(pair: Pair, commands: dict[str, Command], name: str) -> None:
    command = commands.get(name)
    if command is None:
        return  # redis-server 7.0 has no such command: test_own_commands.py

    @examples(6)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        generator = Generator(data.draw, commands)
        runner = Runner(pair, commands, generator.of((2, 3)))
        try:
            for kind in command.kinds:
                for _ in range(generator.below(3)):
                    neighbour, words = generator.any_step()
                    if neighbour.name == "dbsize":
                        runner.reap(counted=True)
                    runner.run(*words)
                one_kind(runner, generator, command, kind)
        finally:
            runner.close()

    run()


# --- sequences, pipelines, transactions ----------------------------------------------------------------------------------

Body = Callable[[Generator, Runner], None]


def play(pair: Pair, commands: dict[str, Command], count: int, body: Body) -> None:
    """Run body with a fresh generator and runner, so many times."""

    @examples(count)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        generator = Generator(data.draw, commands)
        runner = Runner(pair, commands, generator.of((2, 3)))
        with contextlib.closing(runner):
            body(generator, runner)

    run()


def step(generator: Generator, runner: Runner, leave_out: frozenset[str] = frozenset()) -> None:
    """One command of any kind."""
    command, words = generator.any_step(leave_out)
    if command.name == "dbsize":
        runner.reap(counted=True)
    runner.run(*words)


def test_sequences(pair: Pair, commands: dict[str, Command]) -> None:
    def body(generator: Generator, runner: Runner) -> None:
        for _ in range(40):
            step(generator, runner)

    play(pair, commands, 150, body)


def test_one_key(pair: Pair, commands: dict[str, Command]) -> None:
    """Every step meets what the one before left."""

    def body(generator: Generator, runner: Runner) -> None:
        generator.keys = (b"k",)
        for _ in range(40):
            step(generator, runner)

    play(pair, commands, 100, body)


@pytest.mark.parametrize("group", ["string", "hash"])
def test_one_type(pair: Pair, commands: dict[str, Command], group: str) -> None:
    """One key and one type's commands, so that every way to write a value meets every way to read it."""
    hashes = frozenset(name for name in commands if name.startswith("h") and name != "hello")
    wanted = hashes if group == "hash" else STRINGS

    def body(generator: Generator, runner: Runner) -> None:
        generator.keys = (b"k",)
        generator.common = tuple(command for name, command in commands.items() if name in wanted)
        for _ in range(60):
            step(generator, runner)

    play(pair, commands, 60, body)


STRINGS = frozenset({
    "append", "decr", "decrby", "get", "getdel", "getex", "getrange", "getset", "incr", "incrby", "incrbyfloat", "strlen",
    "setrange", "substr", "set", "setnx", "mget", "mset", "object|encoding", "pexpiretime", "copy",
})  # fmt: skip


def test_big_hashes(pair: Pair, commands: dict[str, Command]) -> None:
    """A hash beyond 512 fields, and one with a value beyond 64 bytes: redis-server keeps these without an order."""

    def body(generator: Generator, runner: Runner) -> None:
        generator.keys = (b"h", b"k")
        runner.run(b"HSET", b"h", *(b"%s%d" % (part, i) for i in range(600) for part in (b"f", b"value")))
        runner.run(b"HSET", b"k", b"f", b"z" * 65)
        for _ in range(25):
            step(generator, runner)

    play(pair, commands, 30, body)


# DBSIZE would count what has expired, and a cursor cannot be followed while replies wait in the pipe
NOT_PIPED = frozenset({"dbsize", "scan", "hscan"})


def test_pipelines(pair: Pair, commands: dict[str, Command]) -> None:
    """Many commands at once, cut at random bytes, some of them as lines, some of them silenced."""

    def body(generator: Generator, runner: Runner) -> None:
        for _ in range(4):
            batch = []
            for _ in range(1 + generator.below(20)):
                batch.append(generator.any_step(NOT_PIPED | {"reset"})[1])
                if generator.chance(10):
                    batch.append((b"CLIENT", b"REPLY", generator.of((b"SKIP", b"OFF", b"ON"))))
            runner.pipeline([*batch, (b"CLIENT", b"REPLY", b"ON")], generator.cuts, lambda: generator.chance(30))

    play(pair, commands, 60, body)


# What is gone but not yet reclaimed is counted
NOT_IN_MULTI = frozenset({"dbsize"})
# Answered by the process around the session once EXEC's data commands are committed (csrc/wire/weave.c)
HOST = ("info", "config|get", "config|set", "config|resetstat", "client|info", "client|list", "client|kill", "auth", "monitor")
# Another connection's database is not the runner's to follow
NOT_ELSEWHERE = NOT_IN_MULTI | {"swapdb", "flushall", "flushdb", "select"}


def test_transactions(pair: Pair, commands: dict[str, Command]) -> None:
    """WATCH, writes of others, MULTI, good and bad commands, EXEC, DISCARD, and whatever comes out of order."""
    strays = ((b"MULTI",), (b"WATCH", b"k"), (b"EXEC", b"x"), (b"NOSUCH", b"k"), (b"UNWATCH",), (b"SELECT", b"1"), (b"GET",))

    def body(generator: Generator, runner: Runner) -> None:
        generator.keys = (b"k", b"h", b"k2")
        for _ in range(3):
            for _ in range(generator.below(4)):
                step(generator, runner)
            if generator.chance(60):
                runner.run(b"WATCH", *(generator.of(generator.keys) for _ in range(1 + generator.below(2))))
            if generator.chance(40):
                runner.elsewhere(*generator.any_step(NOT_ELSEWHERE)[1])
            runner.run(b"MULTI")
            for _ in range(generator.below(6)):
                if generator.chance(12):
                    runner.run(*generator.of(strays))
                elif generator.chance(30):
                    runner.run(*generator.plain(commands[generator.of(HOST)]))
                else:
                    step(generator, runner, NOT_IN_MULTI)
            runner.run(*generator.of(((b"EXEC",), (b"EXEC",), (b"EXEC",), (b"DISCARD",), (b"RESET",), (b"QUIT",))))
        runner.run(b"EXEC")
        runner.run(b"DISCARD")

    play(pair, commands, 120, body)


# --- what is no command --------------------------------------------------------------------------------------------------

MALFORMED = (
    b"*1\r\n$4\r\nPING\r\n", b"\r\n", b"\r\n\r\nPING\r\n", b"PING\n", b"  PING  \r\n", b"*0\r\n", b"*-1\r\n", b"*-2147483648\r\n",
    b"*2147483648\r\n", b"*99999999999999999999\r\n", b"*x\r\n", b"*\r\n", b"* 1\r\n", b"*+1\r\n", b"*01\r\n", b"*1 \r\n",
    b"*1\r\n$-1\r\n", b"*1\r\n$-5\r\n", b"*1\r\n$+4\r\nPING\r\n", b"*1\r\n$04\r\nPING\r\n", b"*1\r\n$x\r\n", b"*1\r\n$\r\n",
    b"*1\r\n$ 4\r\nPING\r\n", b"*1\r\n$1048577\r\n", b"*1\r\n$2147483648\r\n", b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\nPING\r\n", b"*1\r\n:1\r\n", b"*1\r\n+PING\r\n", b"*1\r\n\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\nx\r\n", b"*1\r\n$0\r\n\r\n", b'PING "x\r\n', b"PING 'x\r\n", b'PING "x"y\r\n',
    b'ECHO "\\x41\\n\\q"\r\n', b"ECHO 'a\\'b'\r\n", b"$4\r\n", b"+OK\r\n", b":1\r\n", b"PING" + b" " * 200_000 + b"\r\n",
    b"x" * 200_000, b"*" + b"1" * 200_000, b"*1\r\n$" + b"1" * 200_000, b"*1\r\n$4\r\nPI",
)  # fmt: skip
PONG = b"+PONG\r\n"
#: The exceptions among them: what fridge answers between the two PINGs instead, and why.
MEANT = {
    b"*1048577\r\n": (b"-ERR Protocol error: invalid multibulk length\r\n", "a hard limit of words, 2**20 (issue 2, section 3)"),
    b"\x00\r\n": (PONG, "redis-server does not see a line's end behind a NUL and waits; this is an empty line"),
    b"PING\x00x\r\n": (PONG + PONG, "likewise: the word ends at the NUL"),
    b"POST / HTTP/1.1\r\n\r\n": (b"", "both close on a browser's request; redis-server drops replies not sent yet"),
    b"GET /\r\nHost: x\r\n\r\n": (b"$-1\r\n", "likewise"),
}
#: Where redis-server goes on as if nothing were, and fridge says what is wrong and closes: bytes behind a payload that are
#: no CRLF (it skips two, whatever they are), bytes between a length and its LF. csrc/wire/resp.c says so.
STRICTER = (b"-ERR Protocol error: expected CRLF after bulk\r\n", b"-ERR Protocol error: invalid bulk length\r\n",
            b"-ERR Protocol error: invalid multibulk length\r\n")  # fmt: skip


@pytest.mark.parametrize("data", [*MALFORMED, *MEANT], ids=lambda data: repr(data[:24]))
def test_malformed(pair: Pair, data: bytes) -> None:
    """On a connection of its own, between two PINGs: the same replies, and closed or not alike."""
    redis, fridge = pair.exchange(request((b"PING",)) + data + request((b"PING",)))
    if data in MEANT:
        assert fridge == PONG + MEANT[data][0]
        assert fridge != redis, "no exception any more: take it off the list"
    else:
        assert fridge == redis


def test_damaged_pipelines(pair: Pair, commands: dict[str, Command]) -> None:
    """Good requests with one byte changed, lost or added."""
    good = b"".join(request(words) for words in ((b"SET", b"k", b"v"), (b"GET", b"k"), (b"PING", b"x" * 12), (b"GET", b"k")))

    @examples(150)
    @given(st.integers(0, len(good) - 1), st.sampled_from((b"", b"\r", b"\n", b"0", b"9", b"$", b"*", b"-", b" ", b"+", b"x")),
           st.booleans())  # fmt: skip
    def run(at: int, byte: bytes, replaces: bool) -> None:
        with Wire(pair.redis) as redis, Wire(pair.fridge) as fridge:
            assert redis("FLUSHALL") == fridge("FLUSHALL") == b"+OK\r\n"
        theirs, ours = pair.exchange(good[:at] + byte + good[at + replaces :])
        assert ours == theirs or (ours.endswith(STRICTER) and theirs.startswith(ours[: ours.rindex(b"-ERR")])), (theirs, ours)

    run()


# --- what needs more than one connection, or ends the server ----------------------------------------------------------------


ENCODINGS: tuple[tuple[str, ...], ...] = (
    *((f"SET k {v}",) for v in ("1", "-1", "x" * 44, "x" * 45, "9223372036854775807", "9223372036854775808", "01", "-0", "3.5")),
    *((line,) for line in ("INCR k", "INCRBYFLOAT k 1.5", "APPEND k 12", "APPEND k a", "SETEX k 99 12", "GETSET k 5", "MSET k 5")),
    ("SET k 10", "INCR k"), ("SET k " + "x" * 44, "APPEND k x"), ("SET k x", "SETRANGE k 60 x"), ("SETRANGE k 60 x",),
    ("SET k x", "APPEND k " + "x" * 50, "SET k abc"), ("SET k 5", "COPY k k2", "RENAME k2 k"), ("HSETNX k f " + "v" * 65,),
    tuple(f"HSET k f{i} v" for i in range(512)), tuple(f"HSET k f{i} v" for i in range(513)),
    ("HSET k f " + "v" * 64,), ("HSET k f " + "v" * 65,), ("HSET k " + "f" * 64 + " v",), ("HSET k " + "f" * 65 + " v",),
    ("HSET k f " + "v" * 65, "HSET k f v"), (*(f"HSET k f{i} v" for i in range(513)), "HDEL k f1"),
    ("HSET k f " + "v" * 65, "COPY k k2", "RENAME k2 k", "HSET k f v"),
)  # fmt: skip


@pytest.mark.parametrize("lines", ENCODINGS, ids=lambda lines: f"{lines[-1][:24]} ({len(lines)})")
def test_encodings(pair: Pair, lines: tuple[str, ...]) -> None:
    """OBJECT ENCODING at both sides of every limit: int, embstr up to 44 bytes, raw; listpack up to 512 fields of 64 bytes."""
    found = []
    for wire in pair.connect():
        with wire:
            wire("FLUSHALL")
            for line in lines:
                wire(*line.split())
            found.append(wire("OBJECT", "ENCODING", "k"))
    assert found[0] == found[1]
    assert found[0].startswith(b"$")


def test_monitor(pair: Pair) -> None:
    lines = []
    for watcher, worker in zip(pair.connect(), pair.connect(), strict=True):
        with watcher, worker:
            assert watcher("MONITOR") == b"+OK\r\n"
            worker("SELECT", "2")
            worker("SET", b"k\x00\r\n\"", b"\xff\\")
            worker("NOSUCH")
            worker("AUTH", "secret", "word")
            worker("GET", "k")
            lines.append([re.sub(rb"^\+[0-9.]+ \[(\d+) [0-9.:]+\]", rb"+\1", watcher.reply()) for _ in range(3)])
    assert lines[0] == lines[1]


@pytest.mark.parametrize("protocol", [2, 3])
def test_every_row_of_command_info(pair: Pair, commands: dict[str, Command], protocol: int) -> None:
    """Arity, flags, keys, categories, tips of every command; but for containers, that hold what only one side has."""
    redis, fridge = pair.connect()
    with redis, fridge:
        redis("HELLO", protocol)
        fridge("HELLO", protocol)
        names = [n for n in commands if n not in ("command", "client", "config", "memory", "object")]
        pairs = [(redis("COMMAND", "INFO", name), fridge("COMMAND", "INFO", name)) for name in names]
    assert [theirs for theirs, _ in pairs] == [ours for _, ours in pairs]


def test_killing_others(pair: Pair) -> None:
    replies = []
    for victim, killer in zip(pair.connect(), pair.connect(), strict=True):
        with victim, killer:
            number = victim("CLIENT", "ID").strip(b":\r\n")
            found = [killer("CLIENT", "KILL", "ID", number), killer("CLIENT", "KILL", "ID", number)]
            replies.append((found, victim.reply()))
    assert replies[0] == replies[1] == ([b":1\r\n", b":0\r\n"], CLOSED)


def test_shutdown() -> None:
    with pair_serving() as own:
        for wire in own.connect():
            with wire:
                assert wire("SHUTDOWN", "NOSAVE") == CLOSED
        assert own.server.process.wait(15) == 0


# --- the ledger ------------------------------------------------------------------------------------------------------------


def test_every_pair_was_generated(commands: dict[str, Command], capsys: pytest.CaptureFixture[str]) -> None:
    """Runs last: fails with the list of (command, kind) that no test of this file brought about."""
    wanted = {(command.name, kind) for command in commands.values() for kind in command.kinds}
    missing = sorted(wanted - set(GENERATED))
    with capsys.disabled():
        print(f"\n{len(wanted)} pairs of {len(commands)} commands, {sum(GENERATED.values())} cases, "
              f"{NEEDLESS[0]} needless aborts")  # fmt: skip
    assert not missing, "\n".join(f"{name}: {kind}" for name, kind in missing)
