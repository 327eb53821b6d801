"""The same commands into redis-server 7.0.15 and into fridge: the same bytes back, RESP2 and RESP3, errors included.

Every command of commands.def that redis-server has is driven through every kind of case that ``generate.Command.kinds``
derives for it, amid random neighbours; then random sequences, transactions and pipelines cut at random bytes mix them
all. A ledger notes each (command, kind) that ran, and the last test fails with the list of those that never did.

Seeds are fixed. FRIDGE_COMPAT_EXAMPLES=n runs n times as many examples, with seeds of their own.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fridge.reply import request

from .generate import KEYS, OWN_ADDRESS, OWN_ID, OWN_LADDR, VALUES, Command, Generator, load
from .normalise import Context, agree, trees_agree
from .raw import CLOSED, Pair, Tree, Wire, Words, pair_serving, tree

TIMES = int(os.environ.get("FRIDGE_COMPAT_EXAMPLES", "1"))
SLACK_MS = 5  # two servers, one clock, two sockets

GENERATED: Counter[tuple[str, str]] = Counter()


def examples(n: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a property n times (n * TIMES when asked for more), the same ones every time."""
    given_settings = settings(max_examples=n * TIMES, deadline=None, database=None, derandomize=TIMES == 1,
                              suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))  # fmt: skip

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


# --- the runner ----------------------------------------------------------------------------------------------------


class Runner:
    """One connection to each server that get the same bytes, and whose replies are compared as they come."""

    def __init__(self, pair: Pair, commands: dict[str, Command], protocol: int) -> None:
        self.pair = pair
        self.commands = commands
        self.protocol = protocol
        self.control = Wire(pair.redis), Wire(pair.fridge)  # look on, do not take part
        self.wires: tuple[Wire, Wire] | None = None
        self.log: list[str] = []
        self.slowest = 0.0
        self.db = b"0"
        for wire in self.control:
            assert wire("FLUSHALL") == b"+OK\r\n"
            assert wire("CONFIG", "SET", "maxmemory-policy", "noeviction", "timeout", "0") == b"+OK\r\n"
        self.connect()

    def connect(self) -> None:
        """Fresh connections, in the protocol that was asked for."""
        if self.wires:
            for wire in self.wires:
                wire.close()
        self.wires = self.pair.connect()
        self.queue: list[Words] | None = None  # of a transaction that is being written
        self.quiet = 0  # replies to leave out: 1 = the next, 2 = all
        self.db = b"0"
        self.own = [self._own(wire) for wire in self.wires]
        if self.protocol == 3:
            for wire in self.wires:
                assert wire("HELLO", "3").startswith(b"%7")

    def _own(self, wire: Wire) -> dict[bytes, bytes]:
        """What a connection's placeholders stand for."""
        number = wire("CLIENT", "ID").strip(b":\r\n")
        here = "{}:{}".format(*wire.socket.getsockname()).encode()
        there = "{}:{}".format(*wire.socket.getpeername()).encode()
        return {OWN_ID: number, OWN_ADDRESS: here, OWN_LADDR: there}

    def close(self) -> None:
        """Close all four connections."""
        for wire in (*self.control, *(self.wires or ())):
            wire.close()

    # --- sending ---

    def run(self, *words: bytes) -> bytes:
        """Run one command on both and compare; redis-server's reply."""
        return self.pipeline([words])[0]

    def pipeline(self, batch: Sequence[Words], cut: Callable[[bytes], list[bytes]] | None = None) -> list[bytes]:
        """Send commands in one go, in pieces if told how to cut, and compare all replies."""
        assert self.wires
        self.log += [b" ".join(repr(word)[2:-1].encode() for word in words).decode() for words in batch]
        began = time.monotonic()
        for wire, own in zip(self.wires, self.own, strict=True):
            data = b"".join(request([own.get(word, word) for word in words]) for words in batch)
            for piece in cut(data) if cut else [data]:
                wire.send(piece)
        replies = []
        for words in batch:
            if self._is_quiet(words):
                continue
            redis, fridge = (wire.reply() for wire in self.wires)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self._compare(words, redis, fridge)
            replies.append(redis)
            if redis == CLOSED:
                self.connect()
                break
        return replies

    def _is_quiet(self, words: Words) -> bool:
        """CLIENT REPLY OFF and SKIP: will this command have no reply?"""
        lowered = [word.lower() for word in words]
        if lowered[:2] == [b"client", b"reply"] and len(words) == 3 and lowered[2] in (b"on", b"off", b"skip"):
            if lowered[2] == b"on":
                self.quiet = 0
            elif lowered[2] == b"off" or not self.quiet:
                self.quiet = 2 if lowered[2] == b"off" else 1
            return lowered[2] != b"on"
        if self.quiet == 1:
            self.quiet = 0
            return True
        return self.quiet == 2

    # --- comparing ---

    def name_of(self, words: Words) -> str:
        """The row of commands.def that words belong to; "" when there is none."""
        lowered = [word.lower().decode("latin-1") for word in words[:2]]
        both = "|".join(lowered)
        return both if both in self.commands else lowered[0] if lowered[0] in self.commands else ""

    def context(self) -> Context:
        """How long anything took in this sequence bounds how far apart the servers' clocks can have been read."""
        return Context(SLACK_MS + int(self.slowest * 1000), self._is_unordered, self.commands)

    def _is_unordered(self, key: bytes) -> bool:
        self.control[0]("SELECT", self.db)
        return self.control[0]("OBJECT", "ENCODING", key) != b"$8\r\nlistpack\r\n"

    def _compare(self, words: Words, redis: bytes, fridge: bytes) -> None:
        name = self.name_of(words)
        if redis != CLOSED and fridge != CLOSED and self._follow(name, words, redis, fridge):
            return
        same = self._exec_agrees(redis, fridge) if name == "exec" and self.queue else agree(name, words, redis, fridge, self.context())
        assert same, self._difference(redis, fridge)
        self._note(name, words, redis)

    def _exec_agrees(self, redis: bytes, fridge: bytes) -> bool:
        """EXEC's replies one by one, each as the command that it answers."""
        if redis == fridge:
            return True
        theirs, ours = tree(redis)[0], tree(fridge)[0]
        queue = self.queue or []
        if not isinstance(theirs[1], list) or not isinstance(ours[1], list) or len(theirs[1]) != len(ours[1]) != len(queue):
            return False
        for words in queue:
            if words[0].lower() == b"select":
                self.db = words[1]
        context = self.context()
        three = zip(queue, theirs[1], ours[1], strict=True)
        return all(trees_agree(self.name_of(words), words, a, b, context) for words, a, b in three)

    def _note(self, name: str, words: Words, reply: bytes) -> None:
        """Keep the transaction and the database that the connection is in."""
        if reply == b"+QUEUED\r\n" and self.queue is not None:
            self.queue.append(words)
        elif name == "multi" and reply == b"+OK\r\n":
            self.queue = []
        elif name in ("exec", "discard", "reset") and len(words) == 1:
            self.queue = None
        if name == "select" and reply == b"+OK\r\n":
            self.db = words[1]
        if name == "reset" and reply == b"+RESET\r\n":
            self.db = b"0"

    def _follow(self, name: str, words: Words, redis: bytes, fridge: bytes) -> bool:
        """Walk a SCAN to its end on both and compare what it saw; False when this is no scan that began."""
        at = {"scan": 1, "hscan": 2}.get(name)
        if at is None or not redis.startswith(b"*2") or not fridge.startswith(b"*2"):
            return False
        assert self.wires
        seen = []
        for wire, raw in zip(self.wires, (redis, fridge), strict=True):
            found: list[Tree] = []
            for _ in range(10_000):
                outer = tree(raw)[0][1]
                assert isinstance(outer, list)
                cursor, elements = outer[0][1], outer[1][1]
                assert isinstance(cursor, bytes)
                assert isinstance(elements, list)
                found += elements
                if cursor == b"0":
                    break
                raw = wire(*words[:at], cursor, *words[at + 1 :])
            else:
                raise AssertionError("the scan does not end")
            pairs = zip(found[::2], found[1::2], strict=True) if name == "hscan" else found
            seen.append({repr(element) for element in pairs})
        assert seen[0] == seen[1], self._difference(repr(sorted(seen[0])).encode(), repr(sorted(seen[1])).encode())
        return True

    def _difference(self, redis: bytes, fridge: bytes) -> str:
        steps = "\n".join(f"  {line}" for line in self.log[-40:])
        return f"RESP{self.protocol}, db {self.db.decode()}, after\n{steps}\nredis-server: {redis[:600]!r}\nfridge:       {fridge[:600]!r}"

    # --- states ---

    def reap(self) -> None:
        """Have both notice what has expired: redis-server counts an expired key until something looks at it."""
        for wire in self.control:
            for db in (b"0", b"1", b"2", b"15"):
                wire("SELECT", db)
                wire("EXISTS", *KEYS)

    def wait_expired(self, key: bytes) -> None:
        """Wait until both clocks are past the key's time, without looking at the key afterwards."""
        times = []
        for wire in self.control:
            wire("SELECT", self.db)
            times.append(int(wire("PEXPIRETIME", key)[1:]))
        due = max(times)
        deadline = time.monotonic() + 5
        for wire in self.control:
            while _milliseconds(wire("TIME")) <= due:
                assert time.monotonic() < deadline, "the clock stands still"

    def hold(self, key: bytes, what: str) -> None:
        """Make a key hold a string or a hash, or be missing."""
        self.run(b"DEL", key)
        if what == "string":
            self.run(b"SET", key, b"10")
        elif what == "hash":
            self.run(b"HSET", key, b"f", b"10", b"g", b"text")


def _milliseconds(reply: bytes) -> int:
    seconds, micros = (part[1] for part in tree(reply)[0][1] or ())  # type: ignore[union-attr]
    assert isinstance(seconds, bytes)
    assert isinstance(micros, bytes)
    return int(seconds) * 1000 + int(micros) // 1000


# --- every kind of every command ---------------------------------------------------------------------------------------

STRING_GROUP = {"append", "decr", "decrby", "get", "getdel", "getex", "getrange", "getset", "incr", "incrby", "incrbyfloat",
                "strlen", "setrange", "substr", "set", "setnx", "mget", "mset", "msetnx"}  # fmt: skip


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
        runner.reap()
    if kind == "queued":
        runner.run(b"MULTI")
        runner.run(*words)
        runner.run(b"EXEC")
    else:
        runner.run(*words)
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
    from fridge._native import ffi, lib

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
                        runner.reap()
                    runner.run(*words)
                one_kind(runner, generator, command, kind)
        finally:
            runner.close()

    run()


# --- sequences, pipelines, transactions ----------------------------------------------------------------------------------


@examples(60)
@given(st.data())
def random_sequence(pair: Pair, commands: dict[str, Command], data: st.DataObject) -> None:
    generator = Generator(data.draw, commands)
    runner = Runner(pair, commands, generator.of((2, 3)))
    try:
        for _ in range(40):
            command, words = generator.any_step()
            if command.name == "dbsize":
                runner.reap()
            runner.run(*words)
    finally:
        runner.close()


def test_sequences(pair: Pair, commands: dict[str, Command]) -> None:
    random_sequence(pair, commands)
