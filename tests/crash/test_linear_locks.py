"""Thousands of short concurrent histories of locks over all doors, each checked for linearizability; and the checker itself.

fridge.Lock in processes that use the segment directly, which are killed, and stopped, while they hold and while they wait;
LOCK ACQUIRE, RELEASE, FORCE and INFO over TCP; SET NX and the scripts of redis-py's Lock over a unix socket. Tokens are the
clients' own, so that everybody tries to release and to extend what others hold, too. The server's workers are killed now and
then. What the model of a lock is stands in mutexes.py.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from redis.lock import Lock as RedisLock

import fridge
from fridge import errors
from fridge.line import Line

from ..server_fixture import serving
from .linearizable import NEVER, Operation, linearizable, shortest_prefix
from .mutexes import KINDS, MUTEX, NO_FENCE, UNKNOWN, death, early, lapse
from .recorder import ROOM, Connection, Player, Stage, Sum, Tape, by_key, kill_worker, play_round, playing, simulated

ROUNDS, KEYS = (40_000, 3) if os.environ.get("FRIDGE_PROOF") else (800, 3)  # rounds * keys histories
WORKER_KILLS = 6
LEASES_MS = (0, 0, 60_000, 60_000, 4)  # 0: none
WAITS_MS = 6
RELEASE, REACQUIRE = (
    hashlib.sha1(text.encode()).hexdigest() for text in (RedisLock.LUA_RELEASE_SCRIPT, RedisLock.LUA_REACQUIRE_SCRIPT)
)

# --- the checker ------------------------------------------------------------------------------------------------------------


def explained(*history: Operation) -> bool:
    return linearizable(history, MUTEX)


def acquire(called: int, returned: int, token: int, fence: int = 0, *, life: int = 0, got: bool = True) -> Operation:
    return Operation(called, returned, "acquire", token, result=int(got), number=fence, life=life)


def release(called: int, returned: int, token: int, done: bool = True) -> Operation:
    return Operation(called, returned, "release", token, result=int(done))


def holder(called: int, returned: int, token: int | None, fence: int = UNKNOWN) -> Operation:
    return Operation(called, returned, "holder", result=token, number=fence)


def test_checker_accepts_what_a_lock_does() -> None:
    in_vain = acquire(2, 3, 8, got=False), release(4, 5, 8, done=False)
    assert explained(acquire(0, 1, 7, 2), *in_vain, release(6, 7, 7), holder(8, 9, None))
    assert explained(acquire(0, 9, 7, 4), acquire(0, 9, 8, 2), release(3, 6, 8))  # 8 came first
    assert explained(acquire(0, 1, 7), acquire(2, 9, 8, 2), release(3, 8, 7))  # SET NX, and who waited for it
    extended, cleared = Operation(2, 3, "extend", 7, result=1), Operation(6, 7, "clear", result=1)
    assert explained(acquire(0, 1, 7, 2), extended, holder(4, 5, 7, 2), cleared, release(8, 9, 7, done=False))


def test_checker_lets_the_dead_hold_nothing() -> None:
    held = acquire(0, 1, 7, 2, life=5)
    assert explained(held, death(5, 10, 20), acquire(11, 12, 8, got=False), acquire(13, 14, 8, 4))  # free from the kill on
    assert explained(held, death(5, 10, 20), acquire(21, 22, 8, 4))
    assert explained(acquire(0, NEVER, 7, life=5), death(5, 10, 20), acquire(11, 12, 8, 4))
    assert explained(acquire(0, NEVER, 7, life=5), death(5, 10, 20), holder(11, 12, 7, 2), holder(13, 14, None))
    assert explained(held, death(6, 10, 20), acquire(21, 22, 8, got=False))  # somebody else died


def test_checker_lets_a_grant_be_lost_in_line() -> None:
    waited = acquire(2, 9, 8, 6)
    history = acquire(0, 1, 7, 2), waited, release(3, 4, 7), acquire(5, 6, 9, got=False), Operation(7, 8, "clear", result=1)
    assert explained(*history, early(waited), release(10, 11, 8))
    assert not explained(*history, release(10, 11, 8))
    assert not explained(*history, early(waited), release(10, 11, 8), holder(12, 13, 8))  # once it has been told, no more


def test_checker_lets_leases_end() -> None:
    held = acquire(1_000_000, 2_000_000, 7, 2)
    assert explained(held, lapse(held, 10), acquire(11_500_000, 12_000_000, 8, 4), release(13_000_000, 14_000_000, 7, done=False))
    assert explained(held, lapse(held, 10), release(13_000_000, 14_000_000, 7))
    waited, before = acquire(3_000_000, 4_000_000, 7, 4), (acquire(0, 1, 6, 2), release(100, 3_500_000, 6))
    late = release(9_000_000, 9_100_000, 7, done=False)
    assert explained(*before, waited, lapse(waited, 10, before), late)  # by the clock of who let it in
    assert not explained(*before, waited, lapse(waited, 10), late)


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([acquire(0, 1, 7, 2), acquire(2, 3, 8, 4)], id="two holders at once"),
        pytest.param([acquire(0, 9, 7, 2), acquire(0, 9, 8, 4), holder(10, 11, 7), holder(12, 13, 7)],
                     id="two holders, called at once"),
        pytest.param([acquire(0, 1, 7), acquire(2, 3, 8)], id="two holders by SET NX"),
        pytest.param([acquire(0, 1, 7, 6), release(2, 3, 7), acquire(4, 5, 8, 4)], id="a fencing token that goes back"),
        pytest.param([acquire(0, 1, 7, 6), release(2, 3, 7), acquire(4, 5, 8, 6)], id="a fencing token that repeats"),
        pytest.param([acquire(0, 1, 7, 6), holder(2, 3, 7, 8)], id="a fencing token that changes"),
        pytest.param([acquire(0, 1, 7, 2), release(2, 3, 8)], id="released by another"),
        pytest.param([acquire(0, 1, 7, 2), release(2, 3, 7), release(4, 5, 7)], id="released twice"),
        pytest.param([acquire(0, 1, 7, 2), release(2, 3, 7, done=False)], id="its holder may not release it"),
        pytest.param([acquire(0, 1, 7, 2), Operation(2, 3, "extend", 8, result=1)], id="extended by another"),
        pytest.param([acquire(0, 1, 7, 2), release(2, 3, 7), acquire(4, 5, 8, got=False)], id="a free lock refused"),
        pytest.param([acquire(0, 1, 7, 2), holder(2, 3, None)], id="a held lock that seems free"),
        pytest.param([acquire(0, 1, 7, 2), Operation(2, 3, "clear", result=1), holder(4, 5, 7)], id="cleared in vain"),
        # The owner, stopped from 10 to 90, is alive: no death, so nothing explains that another has its lock.
        pytest.param([acquire(0, 1, 7, 2, life=5), acquire(20, 30, 8, 4, life=6), release(95, 96, 7, done=False)],
                     id="a living stopped owner is robbed"),
        pytest.param([acquire(0, 1, 7, 2, life=5), acquire(20, 30, 8, 4, life=6), death(5, 40, 50)], id="robbed before its death"),
        pytest.param([acquire(0, 1, 7, 2, life=5), death(5, 10, 20), acquire(21, 22, 8, got=False)], id="the dead's lock is stuck"),
        pytest.param([acquire(0, 1, 7, 2, life=5), death(5, 10, 20), holder(21, 22, 7)], id="the dead still hold"),
        pytest.param([acquire(0, 1, 7, 2), acquire(3, NEVER, 8, life=5), death(5, 10, 20), release(21, 22, 7), holder(23, 24, 8)],
                     id="handed to the dead"),
        pytest.param([acquire(0, 1, 7, 2), death(5, 10, 20), acquire(21, 22, 8, 4)],
                     id="a client's lock dies with somebody's process"),
        pytest.param([acquire(0, 1, 7, 2), lapse(acquire(0, 1, 7), 10), acquire(3_000_000, 4_000_000, 8, 4)],
                     id="a lease that ends before its time"),
        pytest.param([acquire(5, 6, 8, 4), lapse(acquire(0, 1, 7), 10), acquire(30_000_000, 31_000_000, 9, 6)],
                     id="another's lease ends it"),
    ],
)  # fmt: skip
def test_checker_refuses_what_a_lock_must_not_do(history: list[Operation]) -> None:
    assert not explained(*history)
    assert not explained(*shortest_prefix(history, MUTEX))


class TrueMutex:
    """What really happens to a lock: an implementation that shares nothing with the model."""

    def __init__(self) -> None:
        self.token: int | None = None
        self.fence = self.last = self.tokens = 0

    def run(self, client: int, rng: random.Random) -> Operation:
        """One operation, as it is recorded but for its times."""
        kind = rng.choice(["acquire", "acquire", "release", "release", "extend", "holder", "clear"])
        value = rng.randrange(1, self.tokens + 2)
        if kind == "holder":
            return Operation(0, 0, kind, result=self.token, number=self.fence if self.token else NO_FENCE)
        if kind == "acquire":
            self.tokens += 1
            if self.token is not None:
                return Operation(0, 0, kind, self.tokens, result=0)
            self.token, self.fence = self.tokens, self.last + rng.randrange(2, 6)
            self.last = self.fence
            return Operation(0, 0, kind, self.tokens, result=1, number=self.fence)
        done = self.token is not None if kind == "clear" else self.token == value
        if done and kind != "extend":
            self.token = None
        return Operation(0, 0, kind, value, result=int(done))


def test_checker_agrees_with_histories_that_are_right_by_construction() -> None:
    rng = random.Random(11)
    refused = tried = 0
    for _ in range(300):
        truth = TrueMutex()
        history = simulated(rng, 4, 6, lambda client, t=truth: t.run(client, rng))  # type: ignore[misc]
        assert explained(*history), "\n".join(map(str, history))
        grants = [i for i, o in enumerate(history) if o.kind == "acquire" and o.result and not o.maybe]
        if len(grants) > 1:  # a fencing token that was handed out before
            tried += 1
            history[grants[-1]] = replace(history[grants[-1]], number=history[grants[0]].number)
            refused += not explained(*history)
    assert refused == tried > 200


# --- the doors --------------------------------------------------------------------------------------------------------------


class Locks:
    """A client of some locks. It remembers its last token of each, and tries others' tokens too."""

    def __init__(self) -> None:
        self.number = 0
        self.mine: dict[int, int] = {}
        self.theirs = 0  # a token that somebody else had at some time

    def begin(self, number: int) -> None:
        self.number = number
        self.mine.clear()

    def step(self, tape: Tape, rng: random.Random) -> None:
        """One operation."""
        key, r = rng.randrange(KEYS), rng.random()
        name = f"lock:{self.number}:{key}"
        try:
            if r < 0.08:
                self._act(tape, "release" if r < 0.04 else "extend", key, name, self.theirs)
            elif r < 0.11:
                at = tape.call("clear", key)
                tape.answer(at, int(self.clear(name)))
            elif r < 0.25:
                at = tape.call("holder", key)
                token, fence = self.holder(name)
                tape.answer(at, token, fence)
                self.theirs = token or self.theirs
            elif key in self.mine and r < 0.9:
                self._act(tape, "extend" if r < 0.4 else "release", key, name, self.mine[key])
            else:
                self._acquire(tape, rng, key, name)
        except errors.LatchTimeoutError:
            pass  # it stays without an end: what could not be let go of will be

    def _act(self, tape: Tape, kind: str, key: int, name: str, token: int) -> None:
        if kind == "release" and self.mine.get(key) == token:
            del self.mine[key]
        at = tape.call(kind, key, token)
        tape.answer(at, int(self.release(name, token) if kind == "release" else self.extend(name, token)))

    def _acquire(self, tape: Tape, rng: random.Random, key: int, name: str) -> None:
        lease = rng.choice(LEASES_MS)
        token = tape.life * ROOM + tape.begun
        at = tape.call("acquire", key, token, lease)
        got, fence = self.acquire(name, token, lease, rng.randrange(WAITS_MS))
        tape.answer(at, int(got), fence)
        if got:
            self.mine[key] = token

    def connect(self) -> None:
        raise NotImplementedError

    def acquire(self, name: str, token: int, lease_ms: int, wait_ms: int) -> tuple[bool, int]:
        """Whether it was granted, and the fencing token."""
        raise NotImplementedError

    def release(self, name: str, token: int) -> bool:
        raise NotImplementedError

    def extend(self, name: str, token: int) -> bool:
        """To a minute from now; a lock without a lease gets one."""
        raise NotImplementedError

    def clear(self, name: str) -> bool:
        raise NotImplementedError

    def holder(self, name: str) -> tuple[int | None, int]:
        """Token and fencing token of the holder."""
        raise NotImplementedError


class Mapped(Locks):
    """fridge.Lock; and its line, for tokens that a Lock would not send."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.f = fridge.open(path, create=False, name="linear locks")
        self.locks: dict[tuple[str, int], fridge.Lock] = {}

    def begin(self, number: int) -> None:
        super().begin(number)
        self.locks.clear()

    def connect(self) -> None:
        pass

    def acquire(self, name: str, token: int, lease_ms: int, wait_ms: int) -> tuple[bool, int]:
        lock = self.f.lock(name, timeout=lease_ms / 1000 if lease_ms else None, thread_local=False)
        got = lock.acquire(blocking=wait_ms > 0, blocking_timeout=wait_ms / 1000, token=str(token))
        if got:
            self.locks[name, token] = lock
        return got, lock.fence or 0

    def release(self, name: str, token: int) -> bool:
        lock = self.locks.pop((name, token), None)
        if lock is None:
            return Line(self.f, name).release(str(token).encode())
        try:
            lock.release()
        except errors.LockNotOwnedError:
            return False
        return True

    def extend(self, name: str, token: int) -> bool:
        return Line(self.f, name).renew(str(token).encode(), 60_000)

    def clear(self, name: str) -> bool:
        return self.f.lock(name).unlock()

    def holder(self, name: str) -> tuple[int | None, int]:
        found = self.f.lock(name).holder()
        return (None, 0) if found is None else (int(found.token), found.fence)


class Connected(Connection, Locks):
    """LOCK and its subcommands; holds what it holds though it be killed."""

    def acquire(self, name: str, token: int, lease_ms: int, wait_ms: int) -> tuple[bool, int]:
        fence = self.ask("LOCK", "ACQUIRE", name, token, *(["PX", lease_ms] if lease_ms else []))
        assert fence is None or isinstance(fence, int)
        return fence is not None, fence or 0

    def release(self, name: str, token: int) -> bool:
        return self.ask("LOCK", "RELEASE", name, token) == 1

    def extend(self, name: str, token: int) -> bool:
        return self.ask("EVALSHA", REACQUIRE, 1, name, token, 60_000) == 1

    def clear(self, name: str) -> bool:
        return self.ask("LOCK", "FORCE", name) == 1

    def holder(self, name: str) -> tuple[int | None, int]:
        facts = self.ask("LOCK", "INFO", name)
        if facts is None:
            return None, 0
        assert isinstance(facts, list)
        told = dict(zip(facts[::2], facts[1::2], strict=True))
        return int(told[b"token"]), int(told[b"fence"])


class LikeRedisPy(Connected):
    """What redis-py's Lock sends."""

    def acquire(self, name: str, token: int, lease_ms: int, wait_ms: int) -> tuple[bool, int]:
        return self.ask("SET", name, token, "NX", *(["PX", lease_ms] if lease_ms else [])) is not None, NO_FENCE

    def release(self, name: str, token: int) -> bool:
        return self.ask("EVALSHA", RELEASE, 1, name, token) == 1

    def clear(self, name: str) -> bool:
        return self.ask("DEL", name) == 1

    def holder(self, name: str) -> tuple[int | None, int]:
        token = self.ask("GET", name)
        assert token is None or isinstance(token, bytes)
        return (None if token is None else int(token)), UNKNOWN


# --- the test ---------------------------------------------------------------------------------------------------------------


def uncalled(recorded: list[Operation], players: list[Player]) -> list[Operation]:
    """What nobody calls: deaths, grants that were lost in line, and the ends of short leases."""
    found = [death(*times, who=player.name) for player in players for times in player.deaths]
    enders = [o for o in recorded if o.kind in ("clear", "release")]
    for o in recorded:
        if o.kind != "acquire":
            continue
        ends = 0 < o.expected < 1000
        by = [e for e in enders if e.called < o.returned and o.called < e.returned and (e.kind == "clear" or e.value == o.value)]
        lost = ends + len(by) if o.life else 0
        found += [early(o)] * lost
        found += [lapse(o, o.expected, recorded)] * ((1 + lost) * ends)
    return found


def owned(o: Operation) -> Operation:
    """Only who uses the mapping holds by its life."""
    return o if o.client.startswith("mmap") else replace(o, life=0)


def test_histories_of_locks_over_all_doors_are_linearizable(shared_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began, seed = time.monotonic(), random.randrange(1 << 32)
    rng, total, stage, stops = random.Random(seed), Sum(), Stage(), 0
    print(f"seed {seed}", file=sys.stderr)
    with serving(folder=shared_dir, size="32mb", workers=2) as server, fridge.open(server.segment) as f:
        doors = [lambda: Connected((server.host, server.port)), lambda: LikeRedisPy(server.unix), lambda: Connected(server.unix)]
        resp = [Player(f"resp {i}", i, door, KINDS, stage, shared_dir / f"resp{i}.log", []) for i, door in enumerate(doors)]
        pace = [player.tape for player in resp]
        mapped = [Player(f"mmap {i}", 3 + i, lambda: Mapped(server.segment), KINDS, stage, shared_dir / f"mmap{i}.log", pace)
                  for i in range(3)]  # fmt: skip
        players = resp + mapped
        dying = set(rng.sample(range(1, ROUNDS), WORKER_KILLS))
        with playing(players):
            for number in range(1, ROUNDS + 1):
                if number in dying:
                    kill_worker(server, rng)
                stops += play_round(number, players, rng, stops=True)
                for key, recorded in by_key(players).items():
                    history = [owned(o) for o in recorded]
                    total.check(f"lock:{number}:{key}", history, MUTEX, uncalled(history, players))
        assert f.verify().findings == 0
    killed = sum(player.killed for player in players)
    with capsys.disabled():
        print(f"\n{total.histories} histories of locks, {total.operations} operations, {total.overlapping} of them beside another"
              f" on their key, {total.maybes} without an end, {total.granted} grants; {killed} clients and {WORKER_KILLS} workers"
              f" killed, {stops} stopped, {time.monotonic() - began:.0f} s")  # fmt: skip
    assert total.histories >= 2000
    assert total.overlapping >= 2000
    assert total.maybes >= 20
    assert total.granted >= 4000
    assert stops >= 50
