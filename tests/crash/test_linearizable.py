"""Thousands of short concurrent histories over mmap and RESP, each checked for linearizability; and the checker itself.

Processes that use the segment directly and connections over unix socket and TCP run GET, SET, CAS, INCR and DEL on the same
few keys at once; half of the keys are strings, half rows of a one-column table. They compare and set by version, too:
`get_versioned` and `cas_version` in the mapping, WATCH and EXEC through the server.

A history is everything that happened to one key, from its creation on. Locks have theirs in test_linear_locks.py.
"""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import fridge
from fridge import errors

from ..server_fixture import serving
from .linearizable import NEVER, Operation, linearizable, shortest_prefix
from .recorder import ROOM, Connection, Player, Stage, Sum, Tape, by_key, kill_worker, play_round, playing, simulated
from .registers import ABSENT, DIFFERENT, KINDS, REFUSED, REGISTER, SWAPPED

ROUNDS, KEYS = (40_000, 10) if os.environ.get("FRIDGE_PROOF") else (800, 10)  # rounds * keys histories
WORKER_KILLS = 6
CHOICES = ("get", "get", "set", "set", "cas", "cas", "incr", "incr", "delete", "version", "version")

# --- the checker ------------------------------------------------------------------------------------------------------------


def explained(*history: Operation) -> bool:
    return linearizable(history, REGISTER)


def test_checker_accepts_what_a_register_does() -> None:
    assert explained()
    assert explained(Operation(0, 9, "set", 1), Operation(1, 2, "get"), Operation(3, 4, "get", result=1))
    assert explained(Operation(0, 5, "incr", 2, result=5), Operation(1, 6, "incr", 3, result=3))
    assert explained(Operation(0, 1, "set", 4), Operation(2, 3, "delete", result=1), Operation(4, 5, "incr", 1, result=1))
    assert explained(Operation(0, 1, "cas", 7, 4, result=ABSENT), Operation(2, 3, "cas", 7, 4, result=REFUSED))
    assert explained(Operation(0, 1, "set", 4), Operation(2, 3, "cas", 7, 4, SWAPPED), Operation(4, 5, "cas", 8, 4, DIFFERENT))
    seen = Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8)
    assert explained(*seen, Operation(4, 5, "swap", 5, result=SWAPPED, number=8), Operation(6, 7, "get", result=5))
    assert explained(*seen, Operation(4, 5, "set", 4), Operation(6, 7, "swap", 5, result=DIFFERENT, number=8))
    late = Operation(10, 11, "get", result=7)
    assert explained(*seen, Operation(4, 9, "set", 7), Operation(5, 8, "swap", 5, result=SWAPPED, number=8), late)
    absent = Operation(0, 1, "look", number=6)
    assert explained(absent, Operation(2, 3, "swap", 5, result=SWAPPED, number=6))
    assert explained(absent, Operation(2, 3, "look", number=8), Operation(4, 5, "swap", 5, result=REFUSED, number=6))
    watched = Operation(0, 1, "set", 4), Operation(2, 3, "watch", number=1)
    assert explained(*watched, Operation(4, 5, "exec", 5, result=SWAPPED, number=1), Operation(6, 7, "get", result=5))
    assert explained(*watched, Operation(4, 9, "incr", 1, result=5), Operation(5, 8, "exec", 5, result=DIFFERENT, number=1))


def test_checker_lets_a_killed_operation_happen_late_or_never() -> None:
    killed = Operation(0, NEVER, "set", 1)
    assert explained(killed, Operation(5, 6, "get"), Operation(7, 8, "get", result=1))
    assert explained(killed, Operation(5, 6, "get"))
    assert explained(Operation(0, 1, "set", 1), Operation(2, NEVER, "delete"), Operation(3, 4, "get"), Operation(5, 6, "get"))
    seen = Operation(0, 1, "set", 1), Operation(2, 3, "look", result=1, number=8), Operation(4, NEVER, "swap", 2, number=8)
    assert explained(*seen, Operation(5, 6, "swap", 3, result=DIFFERENT, number=8), Operation(7, 8, "get", result=2))
    assert explained(*seen, Operation(5, 6, "swap", 3, result=SWAPPED, number=8), Operation(7, 8, "get", result=3))


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
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8), Operation(4, 5, "set", 4),
                      Operation(6, 7, "swap", 5, result=SWAPPED, number=8)], id="an old version, the same value"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8),
                      Operation(4, 9, "swap", 5, result=SWAPPED, number=8), Operation(4, 9, "swap", 6, result=SWAPPED, number=8)],
                     id="two winners by version"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8),
                      Operation(4, 5, "swap", 5, result=DIFFERENT, number=8)], id="a present version refused"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8), Operation(4, 5, "set", 5),
                      Operation(6, 7, "look", result=5, number=8)], id="a version that repeats"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8), Operation(4, 5, "delete", result=1),
                      Operation(6, 7, "set", 4), Operation(8, 9, "look", result=4, number=6)], id="a version that goes back"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8),
                      Operation(4, 5, "look", result=4, number=10)], id="a version that changes by itself"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "look", result=4, number=8),
                      Operation(4, NEVER, "swap", 5, number=8), Operation(6, 7, "get", result=5),
                      Operation(8, 9, "swap", 6, result=SWAPPED, number=8)],
                     id="an old version after a killed swap was seen"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "watch", number=1), Operation(4, 5, "set", 4),
                      Operation(6, 7, "exec", 5, result=SWAPPED, number=1)], id="WATCH missed a write"),
        pytest.param([Operation(0, 1, "set", 4), Operation(2, 3, "watch", number=1),
                      Operation(4, 5, "exec", 5, result=DIFFERENT, number=1)], id="WATCH saw a write that was none"),
    ],
)  # fmt: skip
def test_checker_refuses_what_a_register_cannot_do(history: list[Operation]) -> None:
    assert not explained(*history)
    assert not explained(*shortest_prefix(history, REGISTER))


class TrueRegister:
    """What really happens to a key: an implementation that shares nothing with the model."""

    def __init__(self) -> None:
        self.value: int | None = None
        self.version = 0
        self.seen: dict[int, int] = {}  # by client

    def run(self, client: int, rng: random.Random) -> Operation:
        """One operation, as it is recorded but for its times."""
        kind = rng.choice(["get", "set", "cas", "incr", "delete", "look", "swap"])
        value, expected, before, number = rng.randrange(9), rng.randrange(9), self.value, 0
        result: int | None = None
        if kind in ("get", "look"):
            result, number = self.value, self.version if kind == "look" else 0
            if kind == "look":
                self.seen[client] = self.version
        elif kind == "delete":
            result, self.value = int(before is not None), None
        elif kind == "cas":
            result = SWAPPED if before == expected else ABSENT if before is None else DIFFERENT
        elif kind == "swap":
            number = self.seen.get(client, -2)
            result = SWAPPED if number == self.version else DIFFERENT
        if kind in ("set", "incr") or (kind in ("cas", "swap") and result == SWAPPED):
            self.value = value + (before or 0) if kind == "incr" else value
            result = self.value if kind == "incr" else result
        wrote = kind in ("set", "incr") or (kind in ("cas", "swap", "delete") and result == SWAPPED)
        self.version += 2 * wrote
        return Operation(0, 0, kind, value, expected, result, number)


def test_checker_agrees_with_histories_that_are_right_by_construction() -> None:
    rng = random.Random(7)
    refused = 0
    for _ in range(300):
        truth = TrueRegister()
        history = simulated(rng, 4, 6, lambda client, t=truth: t.run(client, rng))  # type: ignore[misc]
        assert explained(*history), "\n".join(map(str, history))
        reads = [i for i, o in enumerate(history) if o.kind == "get" and not o.maybe]
        if reads:  # a value that nobody wrote or summed up
            i = rng.choice(reads)
            history[i] = replace(history[i], result=1000)
            refused += not explained(*history)
    assert refused > 200


# --- the doors --------------------------------------------------------------------------------------------------------------


class Registers:
    """A client of some registers."""

    def __init__(self) -> None:
        self.number = self.last = 0

    def begin(self, number: int) -> None:
        self.number = number

    def step(self, tape: Tape, rng: random.Random) -> None:
        """One operation, or looking at a version and a write that depends on it."""
        kind, key = rng.choice(CHOICES), rng.randrange(KEYS)
        value = rng.randrange(1, 4) if kind == "incr" else rng.randrange(1_000_000)
        try:
            if kind == "version":
                self.last = self.by_version(tape, key, name_of(self.number, key), value)
            else:
                self._step(tape, kind, key, value)
        except errors.LatchTimeoutError:
            tape.refuse_last()

    def _step(self, tape: Tape, kind: str, key: int, value: int) -> None:
        at = tape.call(kind, key, value, self.last)
        result = self.run(kind, name_of(self.number, key), value, self.last)
        tape.answer(at, result)
        if kind == "set":
            self.last = value
        elif kind in ("get", "incr") and result is not None:
            self.last = result

    def connect(self) -> None:
        raise NotImplementedError

    def run(self, kind: str, name: str, value: int, expected: int) -> int | None:
        """One operation on a key; the result as Operation has it. OSError: nobody knows whether it happened."""
        raise NotImplementedError

    def by_version(self, tape: Tape, key: int, name: str, value: int) -> int:
        """A write that depends on what was seen; the value that this client now believes to be there."""
        raise NotImplementedError


def name_of(number: int, key: int) -> str:
    """Keys are new in every round; odd ones are rows of a one-column table."""
    return f"register:{number}:{key}" if key & 1 else f"plain:{number}:{key}"


class Mapped(Registers):
    """The segment, mapped."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.f = fridge.open(path, create=False, name="linearizable")

    def connect(self) -> None:
        pass

    def run(self, kind: str, name: str, value: int, expected: int) -> int | None:
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

    def by_version(self, tape: Tape, key: int, name: str, value: int) -> int:
        at = tape.call("look", key)
        found, version = self.f.get_versioned(name)
        tape.answer(at, None if found is None else int(found), version)
        at = tape.call("swap", key, value, number=version)
        tape.answer(at, SWAPPED if self.f.cas_version(name, version, value) else REFUSED)
        return value


class Connected(Connection, Registers):
    """A connection."""

    def run(self, kind: str, name: str, value: int, expected: int) -> int | None:
        words: dict[str, tuple[str | int, ...]] = {
            "get": ("GET", name), "set": ("SET", name, value), "cas": ("CAS", name, expected, value),
            "incr": ("INCRBY", name, value), "delete": ("DEL", name),
        }  # fmt: skip
        reply = self.ask(*words[kind])
        if kind == "set":
            return None
        assert reply is None or isinstance(reply, (bytes, int)), reply
        return None if reply is None else int(reply)

    def by_version(self, tape: Tape, key: int, name: str, value: int) -> int:
        watch = tape.life * ROOM + tape.begun
        at = tape.call("watch", key, number=watch)
        self.ask("WATCH", name)
        tape.answer(at, None)
        at = tape.call("get", key)
        found = self.run("get", name, 0, 0)
        tape.answer(at, found)
        at = tape.call("exec", key, value, number=watch)
        self.ask("MULTI")
        self.ask("SET", name, value)
        tape.answer(at, DIFFERENT if self.ask("EXEC") is None else SWAPPED)
        return value


# --- the test ---------------------------------------------------------------------------------------------------------------


def test_histories_over_all_doors_are_linearizable(shared_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began, seed = time.monotonic(), random.randrange(1 << 32)
    rng, total, stage = random.Random(seed), Sum(), Stage()
    with serving(folder=shared_dir, size="64mb", workers=2) as server, fridge.open(server.segment) as f:
        f.table("register", {"value": "int64"}, capacity=ROUNDS * KEYS)
        addresses: list[str | tuple[str, int]] = [server.unix, (server.host, server.port), server.unix]
        resp = [Player(f"resp {i}", i, lambda a=a: Connected(a), KINDS, stage, shared_dir / f"resp{i}.log", [])  # type: ignore[misc]
                for i, a in enumerate(addresses)]  # fmt: skip
        pace = [player.tape for player in resp]
        mapped = [Player(f"mmap {i}", 3 + i, lambda: Mapped(server.segment), KINDS, stage, shared_dir / f"mmap{i}.log", pace)
                  for i in range(3)]  # fmt: skip
        players = resp + mapped
        dying = set(rng.sample(range(1, ROUNDS), WORKER_KILLS))
        print(f"seed {seed}", file=sys.stderr)
        with playing(players):
            for number in range(1, ROUNDS + 1):
                if number in dying:
                    kill_worker(server, rng)
                play_round(number, players, rng)
                for key, history in by_key(players).items():
                    total.check(name_of(number, key), history, REGISTER)
        assert f.verify().findings == 0
    killed = sum(player.killed for player in players)
    with capsys.disabled():
        print(f"\n{total.histories} histories, {total.operations} operations, {total.overlapping} of them beside another on their"
              f" key, {total.maybes} without an end, {total.kinds['swap'] + total.kinds['exec']} writes that depend on a version;"
              f" {killed} clients and {WORKER_KILLS} workers killed, {time.monotonic() - began:.0f} s")  # fmt: skip
    assert total.histories >= 2000
    assert total.overlapping >= 2000
    assert total.maybes >= 20
    assert total.kinds["swap"] >= 2000
    assert total.kinds["exec"] >= 1000
