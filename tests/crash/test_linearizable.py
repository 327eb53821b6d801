"""Thousands of short concurrent histories over mmap and RESP, each checked for linearizability; and the checker itself.

Processes that use the segment directly and connections over unix socket and TCP run GET, SET, CAS, INCR and DEL on the same
few keys at once; half of the keys are strings, half rows of a one-column table. Each writes what it is about to do, with
the time, into memory that it shares with this process, then the answer. Some are killed in the middle, and sometimes the
server's worker is: what was under way then may have happened, or not.

A history is everything that happened to one key, from its creation on.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

import fridge
from fridge import errors
from fridge.reply import ErrorReply

from ..server_fixture import Client, Server, serving, wait_until
from .linearizable import (
    ABSENT,
    DIFFERENT,
    NEVER,
    REFUSED,
    SWAPPED,
    Kind,
    Operation,
    linearizable,
    overlapping,
    shortest_prefix,
)

ROUNDS, KEYS = (40_000, 10) if os.environ.get("FRIDGE_PROOF") else (800, 10)  # rounds * keys histories
KILL_ONE_IN = 2  # rounds
WORKER_KILLS = 6
RESP_OPERATIONS = 12  # of each connection in a round
KINDS: tuple[Kind, ...] = ("get", "set", "cas", "incr", "delete")
CHOICES = (0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4)  # indices of KINDS, as often as they are wanted

# --- the checker ------------------------------------------------------------------------------------------------------------


def test_checker_accepts_what_a_register_does() -> None:
    assert linearizable([])
    assert linearizable([Operation(0, 9, "set", 1), Operation(1, 2, "get"), Operation(3, 4, "get", result=1)])
    assert linearizable([Operation(0, 5, "incr", 2, result=5), Operation(1, 6, "incr", 3, result=3)])
    assert linearizable([Operation(0, 1, "set", 4), Operation(2, 3, "delete", result=1), Operation(4, 5, "incr", 1, result=1)])
    assert linearizable([Operation(0, 1, "cas", 7, 4, result=ABSENT), Operation(2, 3, "cas", 7, 4, result=REFUSED)])
    assert linearizable([Operation(0, 1, "set", 4), Operation(2, 3, "cas", 7, 4, SWAPPED), Operation(4, 5, "cas", 8, 4, DIFFERENT)])


def test_checker_lets_a_killed_operation_happen_late_or_never() -> None:
    killed = Operation(0, NEVER, "set", 1)
    assert linearizable([killed, Operation(5, 6, "get"), Operation(7, 8, "get", result=1)])
    assert linearizable([killed, Operation(5, 6, "get")])
    assert linearizable([Operation(0, 1, "set", 1), Operation(2, NEVER, "delete"), Operation(3, 4, "get"), Operation(5, 6, "get")])


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([Operation(0, 1, "set", 1), Operation(2, 3, "get")], id="a lost write"),
        pytest.param([Operation(0, 1, "set", 1), Operation(2, 3, "set", 2), Operation(4, 5, "get", result=1)], id="a stale read"),
        pytest.param([Operation(0, 9, "set", 1), Operation(1, 2, "get", result=1), Operation(3, 4, "get")], id="back and forth"),
        pytest.param([Operation(0, 5, "incr", 1, result=1), Operation(1, 6, "incr", 1, result=1)], id="a lost increment"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 9, "cas", 5, 4, SWAPPED), Operation(3, 8, "cas", 6, 4, SWAPPED)],
                     id="two winners"),
        pytest.param([Operation(0, NEVER, "set", 1), Operation(2, 3, "get", result=1), Operation(4, 5, "get")],
                     id="a killed write, seen and gone"),
        pytest.param([Operation(0, NEVER, "incr", 1), Operation(2, 3, "get", result=2)], id="a killed write, done twice"),
        pytest.param([Operation(5, 6, "set", 1), Operation(1, 2, "get", result=1)], id="read before it was written"),
        pytest.param([Operation(0, 1, "set", 1), Operation(2, 9, "delete", result=1), Operation(3, 8, "delete", result=1)],
                     id="deleted twice"),
    ],
)  # fmt: skip
def test_checker_refuses_what_a_register_cannot_do(history: list[Operation]) -> None:
    assert not linearizable(history)
    assert not linearizable(shortest_prefix(history))


def simulated(rng: random.Random, clients: int, each: int) -> list[Operation]:
    """A linearizable history of overlapping operations: each takes effect at a moment between call and return."""
    from .linearizable import apply

    moments = sorted((rng.random(), c) for c in range(clients) for _ in range(each))
    state: int | None = None
    history, free = [], [0.0] * clients
    for at, client in moments:
        o = Operation(0, 0, KINDS[rng.choice(CHOICES)], rng.randrange(9), rng.randrange(9))
        results = [None, *range(-1, 300)]
        result = next(r for r in results if apply(state, Operation(0, 0, o.kind, o.value, o.expected, r))[0])
        _, state = apply(state, o)
        called = rng.uniform(free[client], at)
        free[client] = returned = rng.uniform(at, min([m for m, c in moments if c == client and m > at], default=1.0))
        ends = NEVER if rng.random() < 0.05 else int(returned * 1e9)
        history.append(Operation(int(called * 1e9), ends, o.kind, o.value, o.expected, result, str(client)))
    return history


def test_checker_agrees_with_histories_that_are_right_by_construction() -> None:
    rng = random.Random(7)
    refused = 0
    for _ in range(300):
        history = simulated(rng, 4, 6)
        assert linearizable(history), "\n".join(map(str, history))
        reads = [i for i, o in enumerate(history) if o.kind == "get" and not o.maybe]
        if reads:  # a value that nobody wrote or summed up
            i = rng.choice(reads)
            o = history[i]
            history[i] = Operation(o.called, o.returned, "get", result=1000, client=o.client)
            refused += not linearizable(history)
    assert refused > 250


# --- recording --------------------------------------------------------------------------------------------------------------

WORDS = 8  # called, returned, kind, key, value, expected, result, whether there was a result
ROOM = 96  # operations of one client in a round


class Tape:
    """What one client did in a round: outlives it. A returned time of 0 says that it never came back."""

    def __init__(self) -> None:
        self.cells = memoryview(mmap.mmap(-1, 8 * (WORDS * ROOM + 3))).cast("q")

    # word 0: operations begun; 1: the round that is finished; 2: spare
    @property
    def begun(self) -> int:
        """How many operations of this round were begun."""
        return self.cells[0]

    @property
    def finished(self) -> int:
        return self.cells[1]

    def finish(self, number: int) -> None:
        self.cells[1] = number

    def rewind(self) -> None:
        self.cells[0] = 0

    def call(self, kind: int, key: int, value: int, expected: int) -> int:
        """Note that an operation begins; where it is noted."""
        at = 3 + WORDS * self.cells[0]
        self.cells[at + 1] = self.cells[at + 7] = 0
        self.cells[at + 2], self.cells[at + 3], self.cells[at + 4], self.cells[at + 5] = kind, key, value, expected
        self.cells[at] = time.monotonic_ns()
        self.cells[0] += 1
        return at

    def answer(self, at: int, result: int | None) -> None:
        now = time.monotonic_ns()
        self.cells[at + 6], self.cells[at + 7] = result or 0, result is not None
        self.cells[at + 1] = now

    def refuse(self, at: int) -> None:
        """It was refused with nothing changed: as if it had never been called."""
        self.cells[at + 2] = -1
        self.cells[at + 1] = time.monotonic_ns()

    def read(self, client: str) -> Iterator[tuple[int, Operation]]:
        """(key, operation) of this round."""
        for i in range(self.begun):
            called, returned, kind, key, value, expected, result, there = self.cells[3 + WORDS * i : 3 + WORDS * (i + 1)]
            if kind >= 0:
                yield key, Operation(called, returned or NEVER, KINDS[kind], value, expected, result if there else None, client)


# --- the doors --------------------------------------------------------------------------------------------------------------


class Door(Protocol):
    """One operation on a key; the result as Operation has it. ConnectionError: nobody knows whether it happened."""

    def run(self, kind: Kind, name: str, value: int, expected: int) -> int | None: ...


def name_of(number: int, key: int) -> str:
    """Keys are new in every round; odd ones are rows of a one-column table."""
    return f"register:{number}:{key}" if key & 1 else f"plain:{number}:{key}"


class MmapDoor:
    """The segment, mapped."""

    def __init__(self, path: str) -> None:
        self.f = fridge.open(path, create=False, name="linearizable")

    def run(self, kind: Kind, name: str, value: int, expected: int) -> int | None:
        if kind == "get":
            found = self.f.get(name)
            return None if found is None else int(found)
        if kind == "set":
            self.f.set(name, value)
            return None
        if kind == "cas":
            return SWAPPED if self.f.cas(name, str(expected), value) else REFUSED
        if kind == "incr":
            return self.f.incr(name, value)
        return self.f.delete(name)


class RespDoor:
    """A connection."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        self.c = Client(address)

    def run(self, kind: Kind, name: str, value: int, expected: int) -> int | None:
        words: dict[Kind, tuple[str | int, ...]] = {
            "get": ("GET", name), "set": ("SET", name, value), "cas": ("CAS", name, expected, value),
            "incr": ("INCRBY", name, value), "delete": ("DEL", name),
        }  # fmt: skip
        reply = self.c(*words[kind])
        if isinstance(reply, ErrorReply):
            if str(reply).startswith("BUSY "):
                raise errors.LatchTimeoutError(str(reply))
            raise AssertionError(f"{words[kind]}: {reply}")
        if kind == "set":
            return None
        assert reply is None or isinstance(reply, (bytes, int)), reply
        return None if reply is None else int(reply)


# --- the clients ------------------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """What clients and driver tell each other: the round at hand, and how far its connections are."""

    cells: memoryview = field(default_factory=lambda: memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q"))

    @property
    def round(self) -> int:
        return self.cells[0]

    def begin(self, number: int) -> None:
        self.cells[0] = number


@dataclass
class Player:
    """A client process that can be killed and replaced."""

    name: str
    connect: Callable[[], Door]
    stage: Stage
    log: Path
    pace: list[Tape]  # of the connections, which are slow: who uses the mapping keeps step with them
    tape: Tape = field(default_factory=Tape)
    pid: int = 0
    killed: int = 0

    def start(self) -> None:
        self.pid = os.fork()
        if self.pid:
            return
        try:
            self._play(random.Random(os.getpid() ^ time.monotonic_ns()))
        except BaseException:
            with open(self.log, "a") as file:
                traceback.print_exc(file=file)
        os._exit(1)

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def replace(self) -> None:
        self.kill()
        self.killed += 1
        self.start()

    def has_failed(self) -> bool:
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def _play(self, rng: random.Random) -> None:
        door: Door | None = None
        while True:
            number = self.stage.round
            if self.tape.finished == number:
                time.sleep(0.0001)
                continue
            last = rng.randrange(1000)
            while self._goes_on():
                if door is None:
                    door = wait_until(self._try_to_connect, f"{self.name} connects", 20)
                    assert door is not None
                try:
                    last = self._step(door, number, rng, last)
                except OSError:  # the server was killed; the operation stays without an end
                    door = None
            self.tape.finish(number)

    def _try_to_connect(self) -> Door | None:
        try:
            return self.connect()
        except OSError:
            return None

    def _goes_on(self) -> bool:
        """Whether there is more to do in this round, now that the others are so far."""
        if self.tape.begun >= ROOM:
            return False
        if not self.pace:
            return self.tape.begun < RESP_OPERATIONS
        while True:
            if all(tape.begun >= RESP_OPERATIONS for tape in self.pace):
                return False
            if self.tape.begun < 4 + 3 * max(tape.begun for tape in self.pace):
                return True
            os.sched_yield()

    def _step(self, door: Door, number: int, rng: random.Random, last: int) -> int:
        """One operation; the value that this client now believes to be there."""
        kind, key = rng.choice(CHOICES), rng.randrange(KEYS)
        value = rng.randrange(1, 4) if KINDS[kind] == "incr" else rng.randrange(1_000_000)
        at = self.tape.call(kind, key, value, last)
        try:
            result = door.run(KINDS[kind], name_of(number, key), value, last)
        except errors.LatchTimeoutError:
            self.tape.refuse(at)
            return last
        self.tape.answer(at, result)
        return result if KINDS[kind] in ("get", "incr") and result is not None else value if KINDS[kind] == "set" else last


# --- the test ---------------------------------------------------------------------------------------------------------------


@dataclass
class Sum:
    """What was recorded and checked."""

    histories: int = 0
    operations: int = 0
    overlapping: int = 0
    maybes: int = 0

    def add(self, players: list[Player], number: int) -> None:
        """Check what happened to each key of a round."""
        by_key: dict[int, list[Operation]] = {}
        for player in players:
            for key, operation in player.tape.read(player.name):
                by_key.setdefault(key, []).append(operation)
        for key, history in by_key.items():
            if not linearizable(history):
                lines = "\n".join(map(str, shortest_prefix(history)))
                pytest.fail(f"{name_of(number, key)} is not linearizable:\n{lines}")
            self.histories += 1
            self.operations += len(history)
            self.overlapping += overlapping(history)
            self.maybes += sum(o.maybe for o in history)


def kill_worker(server: Server, rng: random.Random) -> None:
    """SIGKILL one of the data workers; what the segment says of them may be a moment old."""

    def kill() -> bool:
        pid = server.workers()[f"worker {rng.randrange(2)}"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    wait_until(kill, "there is a worker to kill")


def play_round(number: int, players: list[Player], server: Server, rng: random.Random, worker_dies: bool) -> None:
    for player in players:
        player.tape.rewind()
    players[0].stage.begin(number)
    if worker_dies:
        kill_worker(server, rng)
    if rng.randrange(KILL_ONE_IN) == 0:
        victim = rng.choice(players)
        goal = rng.randrange(RESP_OPERATIONS)
        while victim.tape.begun <= goal and victim.tape.finished != number and not victim.has_failed():
            os.sched_yield()  # not wait_until, which looks every 5 ms: the round would be over
        victim.replace()

    def done() -> bool:
        for player in players:
            assert not player.has_failed(), player.log.read_text() if player.log.exists() else f"{player.name} ended"
        return all(player.tape.finished == number for player in players)

    wait_until(done, f"round {number} ends", 30)


def test_histories_over_all_doors_are_linearizable(shared_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began, seed = time.monotonic(), random.randrange(1 << 32)
    rng, total, stage = random.Random(seed), Sum(), Stage()
    with serving(folder=shared_dir, size="64mb", workers=2) as server, fridge.open(server.segment) as f:
        f.table("register", {"value": "int64"}, capacity=ROUNDS * KEYS)
        addresses: list[str | tuple[str, int]] = [server.unix, (server.host, server.port), server.unix]
        resp = [Player(f"resp {i}", lambda a=a: RespDoor(a), stage, shared_dir / f"resp{i}.log", [])  # type: ignore[misc]
                for i, a in enumerate(addresses)]  # fmt: skip
        pace = [player.tape for player in resp]
        mapped = [Player(f"mmap {i}", lambda: MmapDoor(server.segment), stage, shared_dir / f"mmap{i}.log", pace) for i in range(3)]
        players = resp + mapped
        dying = set(rng.sample(range(1, ROUNDS), WORKER_KILLS))
        try:
            for player in players:
                player.start()
            for number in range(1, ROUNDS + 1):
                play_round(number, players, server, rng, number in dying)
                total.add(players, number)
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise
        finally:
            for player in players:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    player.kill()
        assert f.verify().findings == 0
    killed = sum(player.killed for player in players)
    with capsys.disabled():
        print(f"\n{total.histories} histories, {total.operations} operations, {total.overlapping} of them beside another on their"
              f" key, {total.maybes} without an end; {killed} clients and {WORKER_KILLS} workers killed,"
              f" {time.monotonic() - began:.0f} s")  # fmt: skip
    assert total.histories >= 2000
    assert total.overlapping >= 2000
    assert total.maybes >= 20
