"""Tests of fridge.sync: semaphores, read-write locks, events, barriers and once, between threads and between processes.

Rows T15, T16 and Z14 of the requirements (docs/locks.md has the table) are named where other systems get them wrong.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors

from .child_fixture import PATIENCE, Child, Tell, child, children
from .server_fixture import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store
        assert store.verify().findings == 0


def in_threads(*works: Callable[[], Any]) -> list[Any]:
    """Run each work in a thread at the same time; return what they return or raise."""
    found: list[Any] = [None] * len(works)

    def run(i: int) -> None:
        try:
            found[i] = works[i]()
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return found


# --- semaphores ----------------------------------------------------------------------------------------------------------


def test_a_semaphore_counts(f: fridge.Store) -> None:
    s = f.semaphore("s", 3)
    assert (s.value, s.permits) == (3, 3)
    assert s.acquire() is True
    assert s.acquire() is True
    assert s.value == 1
    with s:
        assert s.value == 0
        assert s.acquire(blocking=False) is False
        assert s.acquire(timeout=0.03) is False
        assert len(s.holders()) == 3
    s.release()
    s.release()
    assert (s.value, f.exists("s")) == (3, 0)


def test_a_semaphore_is_bounded(f: fridge.Store) -> None:
    s, other = f.semaphore("s", 2), f.semaphore("s", 2)
    with pytest.raises(errors.LockError, match="acquired none"):
        s.release()
    s.acquire()
    with pytest.raises(ValueError, match="acquired none"):
        other.release()
    assert s.value == 1
    f.delete("s")
    with pytest.raises(errors.LockNotOwnedError, match="cleared"):
        s.release()


def test_all_users_of_a_semaphore_agree(f: fridge.Store) -> None:
    s = f.semaphore("s", 2)
    s.acquire()
    with pytest.raises(errors.ArgumentError, match="limit of 2 holders, not 3"):
        f.semaphore("s", 3).acquire()
    s.release()
    assert f.semaphore("s", 3).acquire()


@pytest.mark.parametrize("permits", [0, -1, 257, 1.5, True, "2"])
def test_impossible_semaphores_are_refused(f: fridge.Store, permits: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="give 1 to 256"):
        f.semaphore("s", permits)


def take_permit(tell: Tell, path: str) -> None:
    s = fridge.open(path).semaphore("s", 2)
    s.acquire()
    tell()
    tell.wait()
    s.release()


def test_a_dead_holders_permit_comes_back(f: fridge.Store) -> None:
    s = f.semaphore("s", 2)
    with child(take_permit, f.path) as first, child(take_permit, f.path) as second:
        first.get()
        second.get()
        assert s.value == 0
        second.signal(signal.SIGSTOP)
        assert s.acquire(timeout=0.2) is False, "a stopped one keeps its permit"
        first.kill()
        assert s.value == 1
        assert s.acquire(timeout=1)
        assert s.acquire(timeout=0.05) is False
        second.kill()
        assert s.acquire(timeout=1)
    s.release()
    s.release()


def test_a_child_has_no_permits(f: fridge.Store) -> None:
    s = f.semaphore("s", 2)
    s.acquire()

    def work(tell: Tell) -> None:
        with pytest.raises(errors.LockError):
            s.release()
        with s:
            assert s.value == 0

    with child(work) as other:
        other.end()
    assert s.value == 1


def test_a_semaphore_lets_so_many_in_and_no_more(f: fridge.Store, shared_dir: Path) -> None:
    path = shared_dir / "inside"
    path.write_bytes(bytes(9))

    def work(tell: Tell, index: int) -> None:
        s = fridge.open(f.path).semaphore("s", 3)
        with path.open("r+b", buffering=0) as file:
            for _ in range(200):
                with s:
                    os.pwrite(file.fileno(), b"\1", index)
                    assert sum(os.pread(file.fileno(), 8, 0)) <= 3
                    os.pwrite(file.fileno(), b"\0", index)

    with children(work, 8) as workers:
        for worker in workers:
            worker.end()
    assert f.semaphore("s", 3).value == 3


# --- read-write locks ------------------------------------------------------------------------------------------------------


def test_readers_share_and_writers_do_not(f: fridge.Store) -> None:
    rw = f.rwlock("rw")
    with rw.read():
        assert in_threads(lambda: rw.acquire_read(blocking=False), lambda: rw.acquire_write(blocking=False)) == [True, False]
        assert in_threads(lambda: rw.acquire_write(timeout=0.03)) == [False]
    f.delete("rw")
    with rw.write():
        assert in_threads(lambda: rw.acquire_read(timeout=0.03), lambda: rw.acquire_write(blocking=False)) == [False, False]
    assert rw.holders() == []


def test_a_thread_holds_a_read_write_lock_once(f: fridge.Store) -> None:
    rw = f.rwlock("rw")
    with pytest.raises(errors.LockError, match="has not acquired it"):
        rw.release()
    with rw.read():
        for call in (rw.acquire_read, rw.acquire_write, f.rwlock("rw").acquire_write):
            with pytest.raises(errors.LockError, match="may wait for itself"):
                call()
    with pytest.raises(errors.LockError):
        rw.release()
    with rw.write():
        f.delete("rw")
        with pytest.raises(errors.LockNotOwnedError):
            rw.release()
        rw.acquire_write()


@pytest.mark.parametrize("write", [False, True])
def test_a_child_does_not_hold_its_parents_read_write_lock(f: fridge.Store, write: bool) -> None:
    rw = f.rwlock("rw")
    assert rw.acquire_write() if write else rw.acquire_read()

    def work(tell: Tell) -> None:
        with pytest.raises(errors.LockError, match="release"):
            rw.release()
        assert rw.acquire_write(blocking=False) is False
        assert rw.acquire_read(blocking=False) is not write

    with child(work) as other:
        other.end()
    rw.release()  # it holds it still, and its child has left nothing behind
    assert rw.acquire_write(blocking=False)
    rw.release()


def test_a_read_write_lock_that_is_not_had_in_time(f: fridge.Store) -> None:
    rw = f.rwlock("rw")
    with rw.write():
        found = in_threads(lambda: f.rwlock("rw").read(timeout=0.03).__enter__())
    assert isinstance(found[0], errors.LockTimeoutError)
    assert isinstance(found[0], TimeoutError)
    assert str(os.getpid()) in str(found[0])


def share(tell: Tell, path: str, write: bool) -> None:
    rw = fridge.open(path).rwlock("rw")
    tell("asks")
    with rw.write() if write else rw.read():
        tell("has")
        tell.wait()


def test_a_waiting_writer_goes_before_readers_that_come_later(f: fridge.Store) -> None:
    rw = f.rwlock("rw")
    with child(share, f.path, False) as reader:
        assert (reader.get(), reader.get()) == ("asks", "has")
        with child(share, f.path, True) as writer:
            assert writer.get() == "asks"
            wait_until(lambda: len(rw.waiters()) == 1, "the writer waits")
            assert rw.acquire_read(timeout=0.05) is False, "writers do not starve"
            writer.kill()
        assert rw.acquire_read(timeout=2), "a dead writer holds no reader up, though a reader lives"
        rw.release()
        reader.kill()
    with rw.write(timeout=2):
        pass


# --- events --------------------------------------------------------------------------------------------------------------------


def test_an_event(f: fridge.Store) -> None:
    event = f.event("ready")
    assert event.is_set() is False
    assert event.wait(0.03) is False
    event.set()
    event.set()
    assert event.is_set() is True
    assert event.wait() is True
    assert f.get("ready") == b"1"
    event.clear()
    event.clear()
    assert (event.is_set(), event.wait(0), f.get("ready")) == (False, False, b"2")
    f.set("ready", 1)  # as redis-cli would
    assert event.wait(0) is True
    f.delete("ready")
    assert event.is_set() is False
    f.set("ready", "yes")
    with pytest.raises(errors.NotAnIntegerError, match="integer"):
        event.wait()
    with pytest.raises(errors.ArgumentError):
        event.wait(-1)


class Overtaken:
    """A store of which somebody else changes a key, once, right after it was read: the moment of every lost race."""

    def __init__(self, store: fridge.Store, meddle: Callable[[], object]) -> None:
        self._store, self._meddle = store, [meddle]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, name: str) -> Any:
        """Read, and let the other come between."""
        found = self._store.get(name)
        if self._meddle:
            self._meddle.pop()()
        return found


def test_an_event_that_another_changes_meanwhile_is_set_all_the_same(f: fridge.Store) -> None:
    def pulse() -> None:
        f.event("e").set()
        f.event("e").clear()

    fridge.Event("e", store=Overtaken(f, pulse)).set()  # type: ignore[arg-type]
    assert f.event("e").is_set()
    fridge.Event("e", store=Overtaken(f, f.event("e").clear)).set()  # type: ignore[arg-type]
    assert f.get("e") == b"4"  # it was set when it was looked at: the other came later
    f.event("e").set()
    fridge.Event("e", store=Overtaken(f, lambda: f.delete("e"))).clear()  # type: ignore[arg-type]
    assert not f.event("e").is_set()


def wait_for_event(tell: Tell, _index: int, path: str) -> None:
    event = fridge.open(path).event("ready")
    tell("asks")
    tell(event.wait(PATIENCE))


def test_T15_all_who_wait_are_woken(f: fridge.Store) -> None:
    """wakeup(): one waiter wins; a value that is neither 0 nor 1: nobody waits at all."""
    f.set("ready", 6)
    with children(wait_for_event, 4, f.path) as waiters:
        for waiter in waiters:
            assert waiter.get() == "asks"
        time.sleep(0.05)  # they are to sleep: that nobody can be asked
        assert not any(waiter.told() for waiter in waiters)
        f.event("ready").set()
        assert [waiter.get() for waiter in waiters] == [True] * 4


def test_T15_a_pulse_is_not_missed(f: fridge.Store) -> None:
    """A waiter that is still asleep when the event is cleared again."""
    with child(wait_for_event, 0, f.path) as waiter:
        assert waiter.get() == "asks"
        time.sleep(0.1)
        waiter.signal(signal.SIGSTOP)
        f.event("ready").set()
        f.event("ready").clear()
        waiter.signal(signal.SIGCONT)
        assert waiter.get() is True


def test_an_event_outlives_who_set_it(f: fridge.Store) -> None:
    with child(lambda tell: fridge.open(f.path).event("ready").set()) as other:
        other.end()
    assert f.event("ready").wait(0) is True


def test_events_and_barriers_with_decoded_responses(f: fridge.Store) -> None:
    with fridge.open(f.path, decode_responses=True) as other:
        other.event("e").set()
        assert f.event("e").is_set()
        assert other.barrier("b", 1).wait() == 0
        assert other.barrier("b", 1).n_waiting == 0
        assert other.once("o", lambda: "x") == "x"
        assert f.once("o", lambda: "y") == b"x"


# --- barriers ------------------------------------------------------------------------------------------------------------------


def meet(tell: Tell, _index: int, path: str, parties: int, timeout: float | None = None) -> None:
    barrier = fridge.open(path).barrier("b", parties, timeout)
    while True:
        try:
            tell(barrier.wait())
        except threading.BrokenBarrierError as error:
            tell(f"broken: {error}")
        tell.wait()


def test_a_barrier_opens_when_all_are_there(f: fridge.Store) -> None:
    barrier = f.barrier("b", 4)
    with children(meet, 3, f.path, 4) as others:
        for number in range(1, 4):
            wait_until(lambda: barrier.n_waiting == 3, "three wait")
            assert not any(other.told() for other in others)
            indexes = [barrier.wait()] + [other.get() for other in others]
            assert sorted(indexes) == [0, 1, 2, 3]
            state = f.get("b")
            assert state is not None
            assert state.startswith(b"%d open 4 - " % number)
            for other in others:
                other.go()
        wait_until(lambda: barrier.n_waiting == 3, "three wait")
        assert len(barrier._members.owners(waiting=False)) == 3


def test_more_processes_than_parties(f: fridge.Store) -> None:
    with children(meet, 6, f.path, 2) as others:
        indexes = [other.get() for other in others]
        assert sorted(indexes) == [0, 0, 0, 1, 1, 1]


def test_a_dead_party_breaks_the_barrier(f: fridge.Store) -> None:
    barrier = f.barrier("b", 4)
    with children(meet, 3, f.path, 4) as others:
        wait_until(lambda: barrier.n_waiting == 3, "three wait")
        others[1].kill()
        for other in (others[0], others[2]):
            assert other.get().startswith("broken")
        assert barrier.broken
        with pytest.raises(errors.BrokenBarrierError, match="reset"):
            barrier.wait()
        barrier.reset()
        assert not barrier.broken
        for other in (others[0], others[2]):
            other.go()
        others.append(Child(meet, 3, f.path, 4))
        assert sorted([barrier.wait(), others[0].get(), others[2].get(), others[3].get()]) == [0, 1, 2, 3]


def test_who_died_alone_at_a_barrier_is_forgotten(f: fridge.Store) -> None:
    barrier = f.barrier("b", 2)
    with child(meet, 0, f.path, 2) as other:
        wait_until(lambda: barrier.n_waiting == 1, "it waits")
        other.kill()
    with children(meet, 1, f.path, 2) as others:
        wait_until(lambda: barrier.n_waiting == 1 and barrier._alive(), "another one waits")
        assert sorted([barrier.wait(), others[0].get()]) == [0, 1]


def test_a_time_out_breaks_the_barrier(f: fridge.Store) -> None:
    barrier = f.barrier("b", 3)
    with children(meet, 1, f.path, 3) as (other,):
        wait_until(lambda: barrier.n_waiting == 1, "it waits")
        with pytest.raises(errors.BrokenBarrierError, match="2 of 3 parties"):
            barrier.wait(timeout=0.05)
        assert other.get().startswith("broken")
        assert (barrier.broken, barrier.n_waiting) == (True, 0)


def test_abort_and_reset_wake_who_waits(f: fridge.Store) -> None:
    barrier = f.barrier("b", 2)
    for call in (barrier.abort, barrier.reset):
        barrier.reset()
        with children(meet, 1, f.path, 2) as (other,):
            wait_until(lambda: barrier.n_waiting == 1, "it waits")
            call()
            assert other.get().startswith("broken")
        assert barrier.broken == (call == barrier.abort)


def test_barriers_between_threads(f: fridge.Store) -> None:
    barrier = f.barrier("b", 5)
    for _ in range(20):
        assert sorted(in_threads(*[barrier.wait] * 5)) == [0, 1, 2, 3, 4]


def test_an_interrupted_party_breaks_the_barrier(f: fridge.Store) -> None:
    barrier = f.barrier("b", 3)

    def work(tell: Tell) -> None:
        with pytest.raises(KeyboardInterrupt):
            fridge.open(f.path).barrier("b", 3).wait()
        tell("interrupted")

    with child(work) as other:
        wait_until(lambda: barrier.n_waiting == 1, "it waits")
        time.sleep(0.02)
        other.signal(signal.SIGINT)
        assert other.get() == "interrupted"
        assert barrier.broken


@pytest.mark.parametrize("parties", [0, 129, 1.0, False])
def test_impossible_barriers_are_refused(f: fridge.Store, parties: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="give 1 to 128"):
        f.barrier("b", parties)


def test_all_users_of_a_barrier_agree(f: fridge.Store) -> None:
    f.barrier("b", 1).wait()
    with pytest.raises(errors.ArgumentError, match="in use with 1 parties, not 2"):
        f.barrier("b", 2).wait()
    f.set("b", "hello")
    with pytest.raises(errors.SegmentDamagedError, match="state of a barrier"):
        f.barrier("b", 2).wait()


# --- once ------------------------------------------------------------------------------------------------------------------------


def test_once(f: fridge.Store) -> None:
    ran: list[int] = []
    assert f.once("migrate", lambda: ran.append(1)) == b"done"
    assert f.once("migrate", lambda: ran.append(2)) == b"done"
    once = f.once("migrate")
    assert (ran, once.done, once.reset(), once.reset(), once.done) == ([1], True, True, False, False)
    assert [once(lambda: 5), once(lambda: 6)] == [b"5", b"5"]
    assert f.get("migrate") == b"5"
    once.reset()
    assert once(lambda: "") == b""
    assert f.exists("migrate:lock") == 0


def test_a_function_that_raises_has_not_run(f: fridge.Store) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        f.once("migrate", fail)
    with pytest.raises(errors.ArgumentError, match="returned a dict"):
        f.once("migrate", dict)
    assert not f.once("migrate").done
    assert f.once("migrate", lambda: 1) == b"1"


def test_once_within_itself(f: fridge.Store) -> None:
    with pytest.raises(errors.LockError, match="wait for itself"):
        f.once("migrate", lambda: f.once("migrate", lambda: 1))


def run_once(tell: Tell, index: int, path: str, fails: int) -> None:
    def work() -> int:
        tell("runs")
        tell.wait()
        if index < fails:
            raise ZeroDivisionError
        return index

    try:
        tell(fridge.open(path).once("migrate", work))
    except ZeroDivisionError:
        tell("raised")


def test_Z14_exactly_one_process_runs_it(f: fridge.Store) -> None:
    """A gate that is made after the fork is each worker's own; losers that give up waiting run it as well."""
    with children(run_once, 1, f.path, 0) as first:
        assert first[0].get() == "runs"
        with children(run_once, 5, f.path, 0) as others:
            wait_until(lambda: len(f.lock("migrate:lock").waiters()) == 5, "five wait")
            time.sleep(0.3)
            assert not any(other.told() for other in others)
            with pytest.raises(errors.WaitTimeoutError, match=f"process {first[0].pid}"):
                f.once("migrate")(lambda: 7, timeout=0.02)
            first[0].go()
            assert [other.get() for other in [*first, *others]] == [b"0"] * 6


def test_Z14_processes_that_know_nothing_of_each_other(f: fridge.Store) -> None:
    program = (
        "import sys, fridge\n"
        "f = fridge.open(sys.argv[1])\n"
        "print(f.once('migrate', lambda: f.incr('runs')).decode())"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, f.path], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["1\n"] * 4
    assert f.get("runs") == b"1"


def test_a_killed_or_failed_runner_is_followed(f: fridge.Store) -> None:
    with children(run_once, 1, f.path, 1) as first:
        assert first[0].get() == "runs"
        with children(run_once, 2, f.path, 0) as others:
            wait_until(lambda: len(f.lock("migrate:lock").waiters()) == 2, "two wait")
            first[0].go()
            assert first[0].get() == "raised"
            second = wait_until(lambda: next((other for other in others if other.told()), None), "the next one runs")
            assert second is not None
            assert second.get() == "runs"
            second.kill()
            third = next(other for other in others if other is not second)
            assert third.get() == "runs"
            third.go()
            assert third.get() == f.get("migrate")
