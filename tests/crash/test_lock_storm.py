"""A storm of kills on Python processes that hold one lock, or wait for it: never two holders, never a lock that is stuck.

In one PID namespace, and each process in its own, where all are PID 1. lock_storm.c does the same to the engine below, with
stopped holders, at chosen stores, and many more kills.

The oracle stands outside of fridge: an anonymous shared mapping with the pid of who is inside, a word for each worker, and
a count that is not atomic. Who finds somebody else's pid there proves that this process is dead or dying (its address
space, and with it its claim, goes before the kernel calls it a zombie; PF_EXITING says so) or has found two holders.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import signal
import time
from pathlib import Path

import pytest

import fridge

from ..child_fixture import Child, Tell
from ..server_fixture import wait_until

TIMES = 20 if os.environ.get("FRIDGE_PROOF") else 1
KILLS = 200 * TIMES
WORKERS = 6
PF_EXITING = 4
CLONE_NEWPID = 0x20000000
INSIDE, COUNT, WORDS = 0, 1, 2  # words of the oracle; from WORDS on: what each worker has counted


class Oracle:
    """Words that all workers share, without fridge."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * (WORDS + WORKERS))).cast("q")

    def get(self, word: int) -> int:
        return self._cells[word]

    def put(self, word: int, value: int) -> None:
        """At once: struct.pack_into clears the word first, and who is killed in between has put 0."""
        self._cells[word] = value

    def total(self) -> int:
        """What all workers have counted."""
        return sum(self.get(WORDS + i) for i in range(WORKERS))


def is_dead(pid: int) -> bool:
    """Whether a process is gone, or on its way without return."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return after_name[0] in "ZX" or bool(int(after_name[6]) & PF_EXITING)


def outer_pid() -> int:
    """The own pid as the test's /proc has it, whatever namespace this process is in."""
    return int(os.readlink("/proc/self"))


def new_child(apart: bool, *arguments: object) -> Child:
    """A worker; apart: in a PID namespace of its own, where the system allows that."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/pid") as own:
        moved = apart and libc.unshare(CLONE_NEWPID) == 0
        try:
            return Child(work, *arguments)
        finally:
            if moved:
                assert libc.setns(own.fileno(), CLONE_NEWPID) == 0, os.strerror(ctypes.get_errno())


def work(tell: Tell, index: int, path: str, oracle: Oracle) -> None:
    """Count inside the lock for ever."""
    lock, own = fridge.open(path).lock("jobs"), WORDS + index
    me = outer_pid()
    rng = random.Random(me)
    while True:
        with lock:
            other = oracle.get(INSIDE)
            assert other == 0 or is_dead(other), f"{me} and {other} both hold the lock"
            oracle.put(INSIDE, me)
            seen = oracle.get(COUNT)
            if rng.random() < 0.2:
                time.sleep(rng.random() * 0.002)  # sections of different lengths, so that kills meet holders too
            assert oracle.get(INSIDE) == me, "somebody else came in"
            oracle.put(own, oracle.get(own) + 1)
            oracle.put(COUNT, seen + 1)
            oracle.put(INSIDE, 0)


@pytest.mark.parametrize("apart", [pytest.param(False, id="one namespace"), pytest.param(True, id="PID 1 each")])
def test_200_kills_of_holders_and_waiters(segment_path: Path, capsys: pytest.CaptureFixture[str], apart: bool) -> None:
    seed = random.randrange(1 << 32)
    rng, oracle, path = random.Random(seed), Oracle(), str(segment_path)
    holders, began, waited = 0, time.monotonic(), []
    with fridge.open(path, size="16mb") as f:
        workers = [new_child(apart, i, path, oracle) for i in range(WORKERS)]
        try:
            for kill in range(KILLS):
                wanted = oracle.total() + rng.randrange(1, 8)
                since = time.monotonic()
                wait_until(lambda goal=wanted: oracle.total() >= goal, f"they go on (seed {seed}, kill {kill})", 10)  # type: ignore[misc]
                waited.append(time.monotonic() - since)
                victim = rng.randrange(WORKERS)
                if rng.random() < 0.5:
                    inside = oracle.get(INSIDE)
                    victim = next((i for i, worker in enumerate(workers) if worker.pid == inside), victim)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(workers[victim].pid, signal.SIGSTOP if rng.random() < 0.1 else 0)  # some die where they stand
                workers[victim].kill()
                assert os.WIFSIGNALED(workers[victim].status or 0), f"seed {seed}: a worker failed"
                holders += oracle.get(INSIDE) == workers[victim].pid
                workers[victim] = new_child(apart, victim, path, oracle)
        finally:
            for worker in workers:
                worker.kill()
        # Each kill inside may have come between the two counts; none may have come twice.
        assert 0 <= oracle.total() - oracle.get(COUNT) <= KILLS + WORKERS
        assert f.lock("jobs").acquire(blocking_timeout=2), "the lock is free at the end"
        assert f.lock("jobs").waiters() == []
        f.lock("jobs").unlock()
        assert f.verify().findings == 0
    with capsys.disabled():
        print(f"\n{KILLS} kills, {holders} of them inside the lock, {oracle.total()} sections in {time.monotonic() - began:.0f} s;"
              f" after a kill {max(waited) * 1000:.0f} ms at most until the next sections")  # fmt: skip
    assert holders >= KILLS // 20, "the storm must meet holders"
