"""Records what concurrent clients do to a few keys, in many short rounds, for the checker of linearizable.py.

Clients are processes. Each writes what it is about to do, with the time, into memory that it shares with the test (a tape),
then the answer. Some are killed in the middle, some are stopped for a moment, and sometimes a worker of the server is
killed: what was under way then may have happened, or not. Keys are new in every round.

TAPE, 8-byte words
    0  operations begun in this round
    1  the round that is finished
    2  WORDS for each operation: called, returned (0: it never came back), kind, key, value, expected, result, whether there
       was a result, number, life

Leaves out: which operations there are, and what is right (test_linearizable.py, test_linear_locks.py).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import pytest

from fridge import errors
from fridge.reply import ErrorReply, Reply

from ..server_fixture import Client, Server, wait_until
from .linearizable import NEVER, Model, Operation, S, linearizable, overlapping, shortest_prefix

HEAD, WORDS = 2, 10
ROOM = 96  # operations of one client in a round
RESP_OPERATIONS = 12  # of each connection in a round
KILL_ONE_IN = 2  # rounds
STOP_ONE_IN = 6
STOP_S = 0.01  # far below latch-timeout, so that nothing is refused for it
LIVES = 1_000_000  # of one client


class Tape:
    """What one client did in a round; outlives it."""

    def __init__(self, kinds: Sequence[str], life: int = 0) -> None:
        self.kinds = kinds
        self.life = life  # of the process that is recorded
        self.cells = memoryview(mmap.mmap(-1, 8 * (WORDS * ROOM + HEAD))).cast("q")

    @property
    def begun(self) -> int:
        """How many operations of this round were begun."""
        return self.cells[0]

    @property
    def finished(self) -> int:
        """The last round that is finished."""
        return self.cells[1]

    def finish(self, number: int) -> None:
        """Say that a round is finished."""
        self.cells[1] = number

    def rewind(self) -> None:
        """Begin a round."""
        self.cells[0] = 0

    def call(self, kind: str, key: int, value: int = 0, expected: int = 0, number: int = 0) -> int:
        """Note that an operation begins; where it is noted."""
        at = HEAD + WORDS * self.cells[0]
        self.cells[at + 1] = self.cells[at + 6] = self.cells[at + 7] = 0
        self.cells[at + 2], self.cells[at + 3] = self.kinds.index(kind), key
        self.cells[at + 4], self.cells[at + 5], self.cells[at + 8], self.cells[at + 9] = value, expected, number, self.life
        self.cells[at] = time.monotonic_ns()
        self.cells[0] += 1
        return at

    def answer(self, at: int, result: int | None, number: int | None = None) -> None:
        """Note what came back."""
        now = time.monotonic_ns()
        self.cells[at + 6], self.cells[at + 7] = result or 0, result is not None
        if number is not None:
            self.cells[at + 8] = number
        self.cells[at + 1] = now

    def refuse_last(self) -> None:
        """The last was refused with nothing changed: as if it had never been called."""
        at = HEAD + WORDS * (self.cells[0] - 1)
        self.cells[at + 2] = -1
        self.cells[at + 1] = time.monotonic_ns()

    def read(self, client: str) -> Iterator[tuple[int, Operation]]:
        """(key, operation) of this round."""
        for i in range(self.begun):
            at = HEAD + WORDS * i
            called, returned, kind, key, value, expected, result, there, number, life = self.cells[at : at + WORDS]
            if kind >= 0:
                yield key, Operation(called, returned or NEVER, self.kinds[kind], value, expected, result if there else None,
                                     number, life, client)  # fmt: skip


# --- the clients --------------------------------------------------------------------------------------------------------------


class Actor(Protocol):
    """What a client does, in its own process."""

    def connect(self) -> None:
        """Connect, or connect anew. OSError: the server is not there."""

    def begin(self, number: int) -> None:
        """A round begins."""

    def step(self, tape: Tape, rng: random.Random) -> None:
        """Do and record some operations, at most three. OSError: the server was killed, and the last has no end."""


class Connection:
    """Of an actor over RESP."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        super().__init__()
        self.address = address

    def connect(self) -> None:
        self.c = Client(self.address)

    def ask(self, *words: str | int) -> Reply:
        """A command; LatchTimeoutError when it was refused for a stopped process's sake."""
        reply = self.c(*words)
        if isinstance(reply, ErrorReply):
            if str(reply).startswith("BUSY "):
                raise errors.LatchTimeoutError(str(reply))
            raise AssertionError(f"{words}: {reply}")
        return reply


@dataclass
class Stage:
    """What clients and driver tell each other: the round at hand."""

    cells: memoryview = field(default_factory=lambda: memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q"))

    @property
    def round(self) -> int:
        """The round at hand."""
        return self.cells[0]

    def begin(self, number: int) -> None:
        """Let a round begin."""
        self.cells[0] = number


@dataclass
class Player:
    """A client process that can be killed and replaced."""

    name: str
    index: int
    actor: Callable[[], Actor]
    kinds: Sequence[str]
    stage: Stage
    log: Path
    pace: list[Tape]  # of the connections, which are slow: who uses the mapping keeps step with them
    pid: int = 0
    killed: int = 0
    deaths: list[tuple[int, int, int]] = field(default_factory=list)  # of this round: life, before, after

    def __post_init__(self) -> None:
        self.tape = Tape(self.kinds, self._life())

    def _life(self) -> int:
        return (self.index + 1) * LIVES + self.killed

    def start(self) -> None:
        """Begin, in the middle of a round if need be."""
        self.tape.life = self._life()
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
        """SIGKILL, and wait until it is gone."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def replace(self) -> None:
        """Kill it and begin anew."""
        before = time.monotonic_ns()
        self.kill()
        self.deaths.append((self._life(), before, time.monotonic_ns()))
        self.killed += 1
        self.start()

    def pause(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT so much later."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGCONT)

    def has_failed(self) -> bool:
        """Whether it has ended by itself."""
        return os.waitpid(self.pid, os.WNOHANG)[0] != 0

    def _play(self, rng: random.Random) -> None:
        actor, connected = self.actor(), False
        while True:
            number = self.stage.round
            if self.tape.finished == number:
                time.sleep(0.0001)
                continue
            actor.begin(number)
            while self._goes_on():
                if not connected:
                    wait_until(lambda: self._connects(actor), f"{self.name} connects", 20)
                try:
                    actor.step(self.tape, rng)
                    connected = True
                except OSError:  # the server was killed; the operation stays without an end
                    connected = False
            self.tape.finish(number)

    def _connects(self, actor: Actor) -> bool:
        try:
            actor.connect()
        except OSError:
            return False
        return True

    def _goes_on(self) -> bool:
        """Whether there is more to do in this round, now that the others are so far."""
        if self.tape.begun >= ROOM - 3:
            return False
        if not self.pace:
            return self.tape.begun < RESP_OPERATIONS
        while True:
            if all(tape.begun >= RESP_OPERATIONS for tape in self.pace):
                return False
            if self.tape.begun < 4 + 3 * max(tape.begun for tape in self.pace):
                return True
            os.sched_yield()


# --- rounds -------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def playing(players: list[Player]) -> Iterator[None]:
    """Start the clients, and kill them at the end."""
    try:
        for player in players:
            player.start()
        yield
    finally:
        for player in players:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                player.kill()


def kill_worker(server: Server, rng: random.Random) -> None:
    """SIGKILL one of the data workers; what the segment says of them may be a moment old."""

    def kill() -> bool:
        pid = server.workers()[f"worker {rng.randrange(2)}"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    wait_until(kill, "there is a worker to kill")


def _at_a_moment(player: Player, number: int, rng: random.Random) -> None:
    """Wait until a client is somewhere in a round: not with wait_until, which looks every 5 ms, when it would be over."""
    goal = rng.randrange(RESP_OPERATIONS)
    while player.tape.begun <= goal and player.tape.finished != number and not player.has_failed():
        os.sched_yield()


def play_round(number: int, players: list[Player], rng: random.Random, stops: bool = False) -> bool:
    """Play a round in which a client may be killed, or stopped for a moment; whether one was stopped."""
    for player in players:
        player.tape.rewind()
        player.deaths.clear()
    players[0].stage.begin(number)
    if rng.randrange(KILL_ONE_IN) == 0:
        victim = rng.choice(players)
        _at_a_moment(victim, number, rng)
        victim.replace()
    stopped = stops and rng.randrange(STOP_ONE_IN) == 0
    if stopped:
        victim = rng.choice(players)
        _at_a_moment(victim, number, rng)
        victim.pause(STOP_S)

    def done() -> bool:
        for player in players:
            assert not player.has_failed(), player.log.read_text() if player.log.exists() else f"{player.name} ended"
        return all(player.tape.finished == number for player in players)

    wait_until(done, f"round {number} ends", 30)
    return stopped


def by_key(players: list[Player]) -> dict[int, list[Operation]]:
    """What happened to each key in a round."""
    found: dict[int, list[Operation]] = {}
    for player in players:
        for key, operation in player.tape.read(player.name):
            found.setdefault(key, []).append(operation)
    return found


@dataclass
class Sum:
    """What was recorded and checked."""

    histories: int = 0
    operations: int = 0
    overlapping: int = 0
    maybes: int = 0
    granted: int = 0  # locks
    kinds: dict[str, int] = field(default_factory=dict)  # what came back, by kind

    def check(self, name: str, history: list[Operation], model: Model[S], uncalled: Sequence[Operation] = ()) -> None:
        """Check what happened to a key: what clients did, and what nobody called, which is not counted."""
        if not linearizable([*history, *uncalled], model):
            everything = sorted([*history, *uncalled], key=lambda o: o.called)
            until = shortest_prefix(everything, model)
            lines = "\n".join(map(str, until)) + "\nall of it:\n" + "\n".join(map(str, everything))
            pytest.fail(f"{name} is not linearizable:\n{lines}")
        self.histories += 1
        self.operations += len(history)
        self.overlapping += overlapping(history)
        self.maybes += sum(o.maybe for o in history)
        self.granted += sum(o.kind == "acquire" and bool(o.result) for o in history)
        for o in history:
            self.kinds[o.kind] = self.kinds.get(o.kind, 0) + (o.result is not None)


def simulated(rng: random.Random, clients: int, each: int, happen: Callable[[int], Operation]) -> list[Operation]:
    """A history of overlapping operations that really happen, each at a moment between its call and its return.

    What each of the clients does next, happen(client) lets happen now, and returns.
    """
    moments = sorted((rng.random(), c) for c in range(clients) for _ in range(each))
    history, free = [], [0.0] * clients
    for at, client in moments:
        called = rng.uniform(free[client], at)
        free[client] = returned = rng.uniform(at, min([m for m, c in moments if c == client and m > at], default=1.0))
        ends = NEVER if rng.random() < 0.05 else int(returned * 1e9)
        history.append(replace(happen(client), called=int(called * 1e9), returned=ends, client=str(client)))
    return history
