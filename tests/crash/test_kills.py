"""SIGKILL in mid-load, 200 times: data workers, whole servers, mmap writers. What was acknowledged is there; all is whole.

The oracle lies outside the segment: each writer has six subjects (a string, an integer, a row, a counter, four keys that
one MSET writes, a hash) and, for each, two numbers in an anonymous mapping that it shares with this process: the sequence
number it is about to write, and the last one it was told is written. A subject must at any time hold the acknowledged
number or the one under way, in all its parts: a row whose columns disagree, or an MSET seen by half, is torn.

Each writer is the only one of its subjects, so that a lost or doubled increment shows as well.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

import fridge
from fridge import errors
from fridge.reply import ErrorReply, Reply, request

from ..server_fixture import Client, Server, run_fridge, serving, wait_until

CATCHES = 100  # attempts to stop a writer inside a transaction
ROUNDS = 100 if os.environ.get("FRIDGE_PROOF") else 10
WORKER_KILLS, MMAP_KILLS = 8, 11  # a round ends with the whole server: 10 * (8 + 11 + 1) = 200
WORKERS, RESP_WRITERS, MMAP_WRITERS = 2, 2, 2
SUBJECTS = ("string", "integer", "row", "counter", "many", "hash")
MANY = 4
FIELDS = 40
COLUMNS = {"a": "int64", "b": "int64", "note": "str:32"}


def text_of(seq: int) -> bytes:
    """A value that shows whether it is whole: of every size class, up to a few pages."""
    return b"%d:" % seq + b"%c" % (97 + seq % 26) * (seq * 977 % 9000)


# --- the doors, as the writers need them -----------------------------------------------------------------------------------


class Door(Protocol):
    """What a writer does to its subjects, and how they are looked at."""

    def write(self, subject: str, name: str, seq: int) -> int | None:
        """Write seq; the new value where the operation returns one."""

    def read(self, subject: str, name: str) -> int:
        """The sequence number that a subject holds (0: nothing yet). AssertionError when it is torn."""


def whole(name: str, parts: list[int]) -> int:
    """The number that all parts agree on."""
    assert len(set(parts)) == 1, f"{name} is torn: {parts}"
    return parts[0]


def whole_text(name: str, value: bytes | str | None) -> int:
    """The number that a text_of value was made from."""
    if value is None:
        return 0
    assert isinstance(value, bytes)
    seq = int(value.split(b":", 1)[0])
    assert value == text_of(seq), f"{name} is torn: {value[:60]!r}... of {len(value)} bytes"
    return seq


class MmapDoor:
    """The segment mapped into this process."""

    def __init__(self, path: str) -> None:
        self.f = fridge.open(path, create=False, name="kill test")
        self.rows = self.f.table("kill_rows", COLUMNS, capacity=64)

    def write(self, subject: str, name: str, seq: int) -> int | None:
        if subject == "string":
            self.f.set(f"{name}:string", text_of(seq))
        elif subject == "integer":
            return int(self.f.incr(f"{name}:integer"))
        elif subject == "row":
            self.rows.set(name, a=seq, b=-seq, note=str(seq))
        elif subject == "counter":
            return int(self.f.counter(f"{name}_counter").increment())
        elif subject == "many":
            self.f.mset({f"{name}:many:{i}": text_of(seq) for i in range(MANY)})
        else:
            self.f.hset(f"{name}:hash", mapping={f"f{seq % FIELDS}": str(seq), "last": str(seq)})
        return None

    def read(self, subject: str, name: str) -> int:
        if subject == "string":
            return whole_text(name, self.f.get(f"{name}:string"))
        if subject == "integer":
            return int(self.f.get(f"{name}:integer") or 0)
        if subject == "row":
            row = self.rows.get(name)
            return whole(name, [int(row["a"]), -int(row["b"]), int(row["note"] or 0)]) if row else 0
        if subject == "counter":
            return int(self.f.counter(f"{name}_counter").get())
        if subject == "many":
            values = self.f.mget([f"{name}:many:{i}" for i in range(MANY)])
            return whole(name, [whole_text(name, value) for value in values])
        fields = {k: int(v) for k, v in self.f.hgetall(f"{name}:hash").items()}
        last = fields.pop(b"last", 0)
        expected = {b"f%d" % (seq % FIELDS): seq for seq in range(max(1, last - FIELDS + 1), last + 1)}
        assert fields == expected, f"{name}:hash is torn at {last}"
        return last


class RespDoor:
    """A connection to the server."""

    def __init__(self, address: str) -> None:
        self.c = Client(address)

    def _ask(self, *words: bytes | str | int) -> object:
        reply = self.c(*words)
        if str(reply).startswith("BUSY "):
            raise errors.LatchTimeoutError(str(reply))
        assert not isinstance(reply, ErrorReply), f"{words[:2]}: {reply}"
        return reply

    def write(self, subject: str, name: str, seq: int) -> int | None:
        if subject == "string":
            assert self._ask("SET", f"{name}:string", text_of(seq)) == "OK"
        elif subject == "integer":
            return int(str(self._ask("INCR", f"{name}:integer")))
        elif subject == "row":
            self._ask("HSET", f"kill_rows:{name}", "a", seq, "b", -seq, "note", seq)
        elif subject == "counter":
            return int(str(self._ask("INCR", f"{name}_counter")))
        elif subject == "many":
            assert self._ask("MSET", *(w for i in range(MANY) for w in (f"{name}:many:{i}", text_of(seq)))) == "OK"
        else:
            self._ask("HSET", f"{name}:hash", f"f{seq % FIELDS}", seq, "last", seq)
        return None

    def _bytes(self, *words: bytes | str | int) -> bytes | None:
        reply = self._ask(*words)
        assert reply is None or isinstance(reply, bytes)
        return reply

    def _list(self, *words: bytes | str | int) -> list[bytes | None]:
        reply = self._ask(*words)
        assert isinstance(reply, list)
        return reply

    def read(self, subject: str, name: str) -> int:
        if subject == "string":
            return whole_text(name, self._bytes("GET", f"{name}:string"))
        if subject == "integer":
            return int(self._bytes("GET", f"{name}:integer") or 0)
        if subject == "row":
            a, b, note = self._list("HMGET", f"kill_rows:{name}", "a", "b", "note")
            return whole(name, [int(a or 0), -int(b or 0), int(note or 0)])
        if subject == "counter":
            return int(self._bytes("GET", f"{name}_counter") or 0)
        if subject == "many":
            values = self._list("MGET", *(f"{name}:many:{i}" for i in range(MANY)))
            return whole(name, [whole_text(name, value) for value in values])
        return int(self._bytes("HGET", f"{name}:hash", "last") or 0)


# --- the oracle -------------------------------------------------------------------------------------------------------------


class Oracle:
    """For each subject of one writer: the number under way, and the number acknowledged. Survives the writer."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._cells = memoryview(self._memory).cast("q")

    def begin(self, subject: int, seq: int) -> None:
        self._cells[2 * subject] = seq

    def acknowledge(self, subject: int, seq: int) -> None:
        self._cells[2 * subject + 1] = seq

    def bounds(self, subject: int) -> tuple[int, int]:
        """(acknowledged, under way)."""
        return self._cells[2 * subject + 1], self._cells[2 * subject]

    def total(self) -> int:
        """Everything acknowledged."""
        return sum(self.bounds(i)[0] for i in range(len(SUBJECTS)))


def look(door: Door, name: str, oracle: Oracle, settle: bool = False) -> None:
    """Compare every subject of a writer that is not writing with the oracle; settle: what is there counts from now on."""
    for i, subject in enumerate(SUBJECTS):
        acknowledged, under_way = oracle.bounds(i)
        held = door.read(subject, name)
        assert held in (acknowledged, under_way), f"{name} {subject}: {held}; acknowledged {acknowledged}, begun {under_way}"
        if settle:
            oracle.begin(i, held)
            oracle.acknowledge(i, held)


def write_for_ever(door: Door, name: str, oracle: Oracle) -> None:
    """Write one subject after the other."""
    while True:
        for i, subject in enumerate(SUBJECTS):
            seq = oracle.bounds(i)[0] + 1
            oracle.begin(i, seq)
            try:
                returned = door.write(subject, name, seq)
            except errors.LatchTimeoutError:  # another writer was stopped inside a transaction: then nothing changed
                held = door.read(subject, name)
                assert held == seq - 1, f"{name} {subject}: {held} although the write of {seq} was refused"
                continue
            assert returned in (None, seq), f"{name} {subject}: {returned} came back, {seq} was due"
            oracle.acknowledge(i, seq)


@dataclass
class Writer:
    """A writing process that can be killed and started again."""

    name: str
    body: Callable[[str, Oracle], None]
    log: Path
    oracle: Oracle = field(default_factory=Oracle)
    pid: int = 0
    ended: bool = False

    def start(self) -> None:
        self.ended = False
        self.pid = os.fork()
        if self.pid:
            return
        try:
            self.body(self.name, self.oracle)
        except BaseException:
            with open(self.log, "a") as file:
                traceback.print_exc(file=file)
        os._exit(1)

    def advance(self, steps: int) -> None:
        """Wait until it has got so many more acknowledgements."""
        goal = self.oracle.total() + steps
        wait_until(lambda: self._failed() or self.oracle.total() >= goal, f"{self.name} writes", 20)
        assert not self._failed(), self.log.read_text() if self.log.exists() else f"{self.name} ended"

    def _failed(self) -> bool:
        self.ended = self.ended or os.waitpid(self.pid, os.WNOHANG)[0] != 0
        return self.ended

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.pid and not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self.pid = 0


def write_by_mmap(path: str) -> Callable[[str, Oracle], None]:
    """A writer's body: through the mapping."""

    def open_door() -> MmapDoor:
        while True:
            try:
                return MmapDoor(path)
            except errors.LatchTimeoutError:  # another writer was stopped inside a transaction
                continue

    def body(name: str, oracle: Oracle) -> None:
        write_for_ever(open_door(), name, oracle)

    return body


def write_by_resp(address: str, segment: str) -> Callable[[str, Oracle], None]:
    """A writer's body: through the server; when the connection is cut, connects again and looks before it goes on."""

    def connect() -> RespDoor | None:
        try:
            door = RespDoor(address)
            door._ask("PING")
            return door
        except OSError:
            return None

    def body(name: str, oracle: Oracle) -> None:
        while True:
            try:
                door = wait_until(connect, "the server answers", 20)
                assert door is not None
                with fridge.open(segment, create=False) as f:
                    f.verify()  # takes every latch: a commit that a dead worker did not apply counts from now on
                look(door, name, oracle, settle=True)
                write_for_ever(door, name, oracle)
            except OSError:
                continue

    return body


# --- the storm ---------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ended_afterwards(writers: list[Writer]) -> Iterator[None]:
    """Kill the writers that still run, whatever happens."""
    try:
        yield
    finally:
        for writer in writers:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                writer.kill()


def kill_worker(server: Server, number: int) -> None:
    """SIGKILL a data worker and wait until another one has its number."""
    pid = server.workers()[f"worker {number}"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.workers().get(f"worker {number}", pid) != pid, "the worker is replaced")


def kill_server(server: Server) -> None:
    """SIGKILL supervisor and children."""
    pids = server.workers().values()
    os.kill(server.process.pid, signal.SIGKILL)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.process.wait(10)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the children are gone")


def catch_inside(victim: Writer, eye: MmapDoor) -> bool:
    """Stop a mapping writer inside a transaction, if that works out soon: then its keys cannot be written by others."""
    for _ in range(CATCHES):
        os.kill(victim.pid, signal.SIGSTOP)
        os.waitpid(victim.pid, os.WUNTRACED)
        try:
            eye.f.persist(f"{victim.name}:many:0")  # changes nothing: there is no expiry
        except errors.LatchTimeoutError:
            return True
        os.kill(victim.pid, signal.SIGCONT)
    return False


def storm_round(server: Server, resp: list[Writer], mapped: list[Writer], eye: MmapDoor, rng: random.Random) -> dict[str, int]:
    """Kill workers and mmap writers in random order while all write; how many of each."""
    kills, caught = ["worker"] * WORKER_KILLS + ["mmap writer"] * MMAP_KILLS, 0
    rng.shuffle(kills)
    turn = 0
    for kind in kills:
        if kind == "worker":
            resp[rng.randrange(len(resp))].advance(rng.randrange(1, 20))
            kill_worker(server, turn % WORKERS)
            turn += 1
        else:
            victim = rng.choice(mapped)
            victim.advance(rng.randrange(1, 60))
            if rng.random() < 0.4:
                caught += catch_inside(victim, eye)
            victim.kill()
            look(eye, victim.name, victim.oracle)
            eye.f.verify()  # takes every latch: a commit that the dead did not apply counts from now on
            look(RespDoor(server.unix), victim.name, victim.oracle, settle=True)
            victim.start()
    return {kind: kills.count(kind) for kind in set(kills)} | {"caught": caught}


@pytest.mark.timeout(0 if ROUNDS > 10 else 300)
def test_200_kills_lose_nothing_and_tear_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    began, seed = time.monotonic(), random.randrange(1 << 32)
    rng = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="fridge-test-", dir="/dev/shm"))
    counts = {"worker": 0, "mmap writer": 0, "server": 0, "caught": 0}
    segment = str(folder / "segment")
    with fridge.open(segment, size="32mb") as f:
        f.table("kill_rows", COLUMNS, capacity=64)
    by_resp = write_by_resp(str(folder / "sock"), segment)
    resp = [Writer(f"resp{i}", by_resp, folder / f"resp{i}.log") for i in range(RESP_WRITERS)]
    mapped = [Writer(f"mmap{i}", write_by_mmap(segment), folder / f"mmap{i}.log") for i in range(MMAP_WRITERS)]
    try:
        with ended_afterwards(resp + mapped):
            for writer in resp + mapped:
                writer.start()
            eye = MmapDoor(segment)
            for _ in range(ROUNDS):
                with serving(folder=folder, workers=WORKERS) as server:
                    for kind, n in storm_round(server, resp, mapped, eye, rng).items():
                        counts[kind] += n
                    for writer in resp + mapped:
                        writer.advance(2)
                    kill_server(server)
                    counts["server"] += 1
                for writer in mapped:
                    writer.advance(10)  # the server is a door, not the house
            with serving(folder=folder) as server:  # and restarts on the same segment
                for writer in resp + mapped:
                    writer.advance(10)
                    writer.kill()
                for writer in resp + mapped:
                    look(eye, writer.name, writer.oracle)
                    look(RespDoor(server.unix), writer.name, writer.oracle)
            counted = eye.f.info()["statistics"]
            eye.f.close()
        ended = run_fridge("verify", "--segment", segment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert ended.stdout.endswith("clean\n")
    except BaseException:
        print(f"seed {seed}", file=sys.stderr)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    caught = counts.pop("caught")
    assert sum(counts.values()) == 20 * ROUNDS
    total = sum(writer.oracle.total() for writer in resp + mapped)
    seconds, killed = time.monotonic() - began, ", ".join(f"{n} {kind}s" for kind, n in counts.items())
    with capsys.disabled():
        print(f"\n{sum(counts.values())} kills ({killed}; {caught} of them certainly inside a transaction) in {seconds:.0f} s:"
              f" {total} acknowledged writes kept, {counted['deaths_recovered']} deaths recovered,"
              f" {counted['replays']} commits finished for the dead, verify is clean")  # fmt: skip


# --- a stopped writer --------------------------------------------------------------------------------------------------------

HELD = ["held:to", "held:from"]
FREE = [f"free:{i}" for i in range(64)]


def hold_latches_for_ever(path: str) -> Callable[[str, Oracle], None]:
    """A writer that spends nearly all its time inside one transaction over HELD: it copies 8 MB."""

    def body(name: str, oracle: Oracle) -> None:
        f = fridge.open(path, create=False)
        f.set(HELD[1], b"x" * 8_000_000)
        while True:
            f.copy(HELD[1], HELD[0], replace=True)
            oracle.acknowledge(0, oracle.bounds(0)[0] + 1)

    return body


@pytest.fixture
def stopped(shared_dir: Path) -> Iterator[tuple[Server, fridge.Store, int]]:
    """A server, a mapping, and a writer that SIGSTOP has caught while it holds the latches of HELD, and no others."""
    with serving(folder=shared_dir, size="64mb") as server, fridge.open(server.segment) as f:
        for key in FREE:
            f.incr(key, 0)
        writer = Writer("holder", hold_latches_for_ever(server.segment), shared_dir / "holder.log")
        with ended_afterwards([writer]):
            writer.start()
            deadline = time.monotonic() + 20
            while True:
                writer.advance(1)
                os.kill(writer.pid, signal.SIGSTOP)
                os.waitpid(writer.pid, os.WUNTRACED)
                if is_held(f, HELD[0]) and any(not is_held(f, key) for key in FREE):
                    break
                assert time.monotonic() < deadline, "the writer was never caught with a latch"
                os.kill(writer.pid, signal.SIGCONT)
            yield server, f, writer.pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(writer.pid, signal.SIGCONT)


def is_held(f: fridge.Store, key: str) -> bool:
    """Whether a write of key, which needs no memory, meets a live process's latch."""
    try:
        f.setrange(key, 0, b"")
        f.persist(key)
    except errors.LatchTimeoutError:
        return True
    return False


def test_a_stopped_writer_holds_up_only_who_needs_its_keys(stopped: tuple[Server, fridge.Store, int]) -> None:
    server, f, pid = stopped
    before = {key: (f.get_versioned(key), f.ttl(key)) for key in HELD}
    free = [key for key in FREE if not is_held(f, key)]
    assert free

    began = time.monotonic()
    with pytest.raises(errors.LatchTimeoutError) as raised:
        f.set(HELD[0], b"robbed")
    assert isinstance(raised.value, TimeoutError)
    assert 0.15 < time.monotonic() - began < 2.0, "latch-timeout is 200 ms"
    with pytest.raises(errors.LatchTimeoutError):
        f.mset({HELD[0]: b"robbed", free[0]: b"robbed"})
    with pytest.raises(errors.LatchTimeoutError):
        f.delete(HELD[0])

    with server.client() as stuck, server.client(unix=True) as other:
        stuck.send(request(["SET", HELD[0], "robbed"]) * 5)
        done = 0
        turns: list[float] = []
        stuck.socket.settimeout(0.001)
        replies: list[Reply] = []
        while len(replies) < 5:  # five refusals of 200 ms: the other session goes on all the while
            began = time.monotonic()
            assert other("INCR", free[0]) == done + 1
            assert other("GETRANGE", HELD[0], 7_999_990, -1) == b"x" * 10  # readers never wait
            turns.append(time.monotonic() - began)
            done += 1
            with contextlib.suppress(TimeoutError):
                replies.append(stuck.read())
        assert all(isinstance(reply, ErrorReply) and str(reply).startswith("BUSY ") for reply in replies), replies
        assert str(pid) in str(replies[0]), "the error names who holds it"
        assert done > 100
        # A worker that waited would do so 200 ms for each of the five; on a busy machine a turn may be late by itself.
        assert statistics.median(turns) < 0.02
        assert sum(seconds > 0.15 for seconds in turns) < 3, sorted(turns)[-5:]
        stuck.socket.settimeout(10)
        assert stuck("PING") == "PONG"
        assert other("GET", free[0]) == b"%d" % done

    assert {key: (f.get_versioned(key), f.ttl(key)) for key in HELD} == before, "a refused write changed something"
    os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not is_held(f, HELD[0]), "it goes on, and lets go")


def test_a_stopped_writer_that_is_killed_is_recovered(stopped: tuple[Server, fridge.Store, int]) -> None:
    server, f, pid = stopped
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert f.set(HELD[0], b"mine")
    with server.client() as c:
        assert c("GET", HELD[0]) == b"mine"
        assert c("MSET", *(word for key in HELD for word in (key, "theirs"))) == "OK"
    assert f.mget(HELD) == [b"theirs"] * len(HELD)
    assert f.verify().findings == 0
