"""Tests of fridge.lock between processes: order, deaths, stops, forks, signals.

Rows P1-P10 and T16 of the requirements (docs/locks.md has the table) are named where other systems get them wrong.
"""

from __future__ import annotations

import mmap
import os
import signal
import statistics
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors
from fridge.line import Line, new_token

from .child_fixture import PATIENCE, Child, Tell, child, children, waiting
from .server_fixture import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
LIMIT_MS = 100  # a waiter has the lock of a killed holder within


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store
        assert store.verify().findings == 0


def hold(tell: Tell, path: str, **options: Any) -> None:
    """A child that acquires, tells its fence, releases at go, and tells how that went."""
    lock = fridge.open(path).lock("jobs", **options)
    assert lock.acquire()
    tell(lock.fence)
    tell.wait()
    try:
        lock.release()
        tell("released")
    except errors.LockError as error:
        tell(f"{type(error).__name__}: {error}")


def queue(tell: Tell, _index: int, path: str) -> None:
    """A child that waits for the lock, tells when it has it, and releases it."""
    lock = fridge.open(path).lock("jobs")
    tell("asks")
    with lock:
        tell(time.monotonic())


# --- processes ----------------------------------------------------------------------------------------------------------------


def test_hand_over_between_processes(f: fridge.Store) -> None:
    with child(hold, f.path) as other:
        fence = other.get()
        lock = f.lock("jobs")
        holder = lock.holder()
        assert holder is not None
        assert (holder.pid, holder.fence) == (other.pid, fence)
        assert lock.acquire(blocking_timeout=0.05) is False
        other.go()
        with lock:
            assert (lock.fence or 0) > fence
        assert other.get() == "released"
        other.end()


def test_first_come_first_served_across_processes(f: fridge.Store) -> None:
    lock = f.lock("jobs")
    lock.acquire()
    with children(queue, 0) as line:
        for i in range(6):
            line.append(Child(queue, i, f.path))
            assert line[-1].get() == "asks"
            waiting(f, i + 1)
        assert [waiter.pid for waiter in lock.waiters()] == [other.pid for other in line]
        lock.release()
        times = [other.get() for other in line]
        assert times == sorted(times)


def test_a_killed_holder_is_followed_at_once(f: fridge.Store, capsys: pytest.CaptureFixture[str]) -> None:
    took = []
    lock = f.lock("jobs")
    for _ in range(15):
        with child(hold, f.path) as other:
            other.get()
            killed: list[float] = []
            killer = threading.Thread(target=lambda o=other, k=killed: (waiting(f, 1), k.append(time.monotonic()), o.kill()))  # type: ignore[misc]
            killer.start()
            with lock:
                took.append((time.monotonic() - killed[0]) * 1000)
            killer.join()
    with capsys.disabled():
        print(f"\na killed holder's lock: {statistics.median(took):.1f} ms to the next in line, {max(took):.1f} ms at most")
    assert statistics.median(took) < LIMIT_MS


def test_a_holder_that_executes_another_program_holds_nothing(f: fridge.Store) -> None:
    def work(tell: Tell) -> None:
        fridge.open(f.path).lock("jobs").acquire()
        tell()
        tell.wait()
        os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])

    with child(work) as other:
        other.get()
        assert f.lock("jobs").acquire(blocking=False) is False
        other.go()
        assert f.lock("jobs").acquire(blocking_timeout=PATIENCE)
        os.kill(other.pid, 0)  # it lives


def test_a_stopped_holder_is_not_robbed(f: fridge.Store) -> None:
    with child(hold, f.path) as other:
        other.get()
        other.signal(signal.SIGSTOP)
        assert f.lock("jobs").acquire(blocking_timeout=0.5) is False
        holder = f.lock("jobs").holder()
        assert holder is not None
        assert (holder.pid, holder.alive) == (other.pid, True)
        other.signal(signal.SIGCONT)
        other.go()
        assert other.get() == "released"


def test_auto_extend_outlives_its_lease_but_not_a_stop(f: fridge.Store) -> None:
    with child(lambda tell: hold(tell, f.path, timeout=1, auto_extend=True)) as other:
        fence = other.get()
        assert f.lock("jobs").acquire(blocking_timeout=1.6) is False
        other.signal(signal.SIGSTOP)
        with f.lock("jobs") as lock:
            assert (lock.fence or 0) > fence
            other.signal(signal.SIGCONT)
            other.go()
            lost = other.get()
        assert lost.startswith("LockNotOwnedError"), lost
        assert str(os.getpid()) in lost, "it says who holds it now"


def test_auto_extend_ends_with_release_and_with_the_process(f: fridge.Store) -> None:
    with f.lock("mine", timeout=0.6, auto_extend=True) as lock:
        assert f.lock("mine", thread_local=False).wait(1) is False
        assert lock.owned()
    assert not lock.locked()
    wait_until(lambda: not any(t.name == "fridge-keeper" for t in threading.enumerate()), "the keeper ends")
    with child(lambda tell: hold(tell, f.path, timeout=30, auto_extend=True)) as other:
        other.get()
        other.kill()
        assert f.lock("jobs").acquire(blocking_timeout=1), "thirty seconds of lease are not waited for"


def test_a_child_of_fork_holds_nothing(f: fridge.Store) -> None:
    lock, leased = f.lock("jobs"), f.lock("leased", timeout=60, auto_extend=True)
    lock.acquire()
    leased.acquire()

    def work(tell: Tell) -> None:
        assert (lock.owned(), lock.fence) == (False, None)
        for call in (lock.release, leased.release, lambda: f.lock("x", timeout=5).extend(1)):
            with pytest.raises(errors.LockError):
                call()
        with pytest.raises(errors.LockNotOwnedError, match="forked"):
            third.release()
        assert lock.acquire(blocking_timeout=0.03) is False
        with f.lock("own", timeout=1, auto_extend=True) as own:
            began = time.monotonic()
            while time.monotonic() - began < 1.5:  # the child's leases are renewed by a thread of its own
                assert own.owned()
                time.sleep(0.05)

    third = f.lock("third")
    third.acquire()
    with child(work) as other:
        other.end()
    assert lock.owned()
    assert leased.owned()
    lock.release()
    leased.release()


def test_fork_while_another_thread_waits(f: fridge.Store) -> None:
    with child(hold, f.path) as holder:
        holder.get()
        lock = f.lock("jobs")
        waiter = threading.Thread(target=lambda: (lock.acquire(), lock.release()))
        waiter.start()
        waiting(f, 1)

        def work(tell: Tell) -> None:
            mine = f.lock("mine")
            with mine:
                assert mine.owned()
            assert lock.acquire(blocking_timeout=0.03) is False

        with child(work) as other:
            other.end()
        holder.go()
        waiter.join(PATIENCE)
        assert not waiter.is_alive()
    assert f.lock("jobs").acquire(blocking_timeout=PATIENCE)


def test_keyboard_interrupt_gets_through_and_leaves_the_line(f: fridge.Store, capsys: pytest.CaptureFixture[str]) -> None:
    def work(tell: Tell) -> None:
        store = fridge.open(f.path)
        for call in (store.lock("jobs").acquire, store.lock("jobs").wait, store.event("never").wait):
            tell("asks")
            try:
                call()
            except KeyboardInterrupt:
                tell(time.monotonic())
        tell(len(store.lock("jobs").waiters()))

    f.lock("jobs").acquire()
    took = []
    with child(work) as other:
        for _ in range(3):
            assert other.get() == "asks"
            time.sleep(0.05)  # it is to sleep: that nobody can be asked
            sent = time.monotonic()
            other.signal(signal.SIGINT)
            took.append(other.get() - sent)
        assert other.get() == 0
        other.end()
    assert max(took) < 1.5, took


def test_other_signals_do_not_end_a_wait(f: fridge.Store) -> None:
    def work(tell: Tell) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: tell("handled"))
        tell("asks")
        with fridge.open(f.path).lock("jobs"):
            tell("got it")

    lock = f.lock("jobs")
    lock.acquire()
    with child(work) as other:
        assert other.get() == "asks"
        waiting(f, 1)
        place = lock.waiters()[0].token
        other.signal(signal.SIGUSR1)
        assert other.get() == "handled"
        assert [waiter.token for waiter in lock.waiters()] == [place]
        lock.release()
        assert other.get() == "got it"


def test_wait_does_not_acquire(f: fridge.Store) -> None:
    assert f.lock("jobs").wait() is True
    with child(hold, f.path) as other:
        other.get()
        assert f.lock("jobs").wait(0.05) is False
        other.go()
        assert f.lock("jobs").wait(PATIENCE) is True
        assert f.lock("jobs").locked() is False
        assert f.info()["statistics"]["lock_grants"] == 1


def copy_for_ever(tell: Tell, path: str) -> None:
    """A child that spends nearly all its time inside one transaction, with the latches of two stripes."""
    store = fridge.open(path)
    store.set("from", b"x" * 8_000_000)
    tell()
    while True:
        store.copy("from", "to", replace=True)


def is_latched(f: fridge.Store, name: str) -> bool:
    try:
        f.persist(name)
    except errors.LatchTimeoutError:
        return True
    return False


def test_a_stopped_process_with_a_latch_delays_but_breaks_nothing(segment_path: Path) -> None:
    with fridge.open(segment_path, size="64mb") as f, child(copy_for_ever, f.path) as other:
        locks = [f.lock(f"jobs{i}") for i in range(256)]
        for lock in locks:
            while not lock.acquire(blocking_timeout=5):
                pass
        other.get()

        def caught() -> list[fridge.Lock]:
            other.signal(signal.SIGSTOP)
            if not is_latched(f, "to"):
                other.signal(signal.SIGCONT)
                return []
            return [lock for lock in locks if is_latched(f, str(lock.name))][:2]

        held = wait_until(caught, "the child is stopped inside a transaction, with the latch of a lock", PATIENCE)
        with pytest.raises(errors.LatchTimeoutError):
            held[0].release()
        with pytest.raises(errors.LockError, match="has released it"):
            held[0].release()
        assert held[0].locked(), "readers are not held up"
        with pytest.raises(errors.LatchTimeoutError):
            f.lock("to").acquire(blocking_timeout=0.3)
        waiter = threading.Thread(target=lambda: f.lock(held[1].name).acquire())
        waiter.start()
        other.signal(signal.SIGCONT)
        wait_until(lambda: not held[0].locked(), "it is released by itself")
        waiting(f, 1, str(held[1].name))
        held[1].release()
        waiter.join(PATIENCE)
        other.kill()
        assert [waiter.pid for waiter in held[1].waiters()] == []
        assert f.verify().findings == 0


# --- what others get wrong -------------------------------------------------------------------------------------------------------


def test_P2_unlock_clears_whoever_holds_it(f: fridge.Store) -> None:
    with child(hold, f.path) as other:
        other.get()
        assert f.lock("jobs").unlock() is True
        assert f.lock("jobs").unlock() is False
        other.go()
        assert other.get().startswith("LockNotOwnedError")


def test_P9_a_waiter_and_a_newcomer_never_hold_it_both(f: fridge.Store) -> None:
    """Files that are unlinked at release: the waiter owns the old one, the newcomer locks a new one."""
    lock = f.lock("jobs")
    lock.acquire()
    with child(hold, f.path) as waiter:
        waiting(f, 1)
        line, newcomer = Line(f, "jobs"), new_token()
        lock.release()
        assert line.ask(newcomer).granted is False
        assert [holder.pid for holder in line.owners(waiting=False)] == [waiter.pid]
        assert lock.locked(), "exists() goes on being true after a hand-over"
        waiter.get()


def test_P9_a_crash_leaves_no_lock_behind(f: fridge.Store) -> None:
    with child(hold, f.path) as other:
        other.get()
        assert f.lock("jobs").locked() is True
        other.kill()
    assert f.lock("jobs").locked() is False
    assert f.exists("jobs") == 0


def test_P10_a_dead_owner_needs_no_lease_and_a_stranger_cannot_release(f: fridge.Store) -> None:
    """SETNX without an owner's token and without an end."""
    with child(hold, f.path) as other:
        other.get()
        with pytest.raises(errors.LockError):
            f.lock("jobs").release()
        assert f.pttl("jobs") == -1
        assert f.lock("jobs").locked()
        other.kill()
    assert f.lock("jobs").acquire(blocking=False)
    assert f.info()["statistics"]["lock_owner_deaths"] == 1


def test_T16_a_dead_owner_is_counted_and_told_by_the_fence(f: fridge.Store) -> None:
    """EOWNERDEAD that is silently made consistent."""
    with child(hold, f.path) as other:
        fence = other.get()
        other.kill()
    with f.lock("jobs") as lock:
        assert (lock.fence or 0) > fence
    assert f.info()["statistics"]["lock_owner_deaths"] == 1


# --- many processes --------------------------------------------------------------------------------------------------------------

SECTIONS = 2000


def test_8_processes_with_2000_critical_sections_each(f: fridge.Store, shared_dir: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    path = shared_dir / "counter"
    path.write_bytes(bytes(16))

    def work(tell: Tell, _index: int) -> None:
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 16) as cell:
            lock = fridge.open(f.path).lock("jobs")
            tell.wait()
            for _ in range(SECTIONS):
                with lock:
                    value, fence = struct.unpack("qq", cell[:])
                    assert (lock.fence or 0) > fence, "a fence that does not rise"
                    cell[:] = struct.pack("qq", value + 1, lock.fence)

    with children(work, 8) as workers:
        began = time.monotonic()
        for worker in workers:
            worker.go()
        for worker in workers:
            worker.end()
        seconds = time.monotonic() - began
    assert struct.unpack("qq", path.read_bytes())[0] == 8 * SECTIONS
    with capsys.disabled():
        print(f"\n8 processes, {8 * SECTIONS} critical sections: {seconds / 8 / SECTIONS * 1e6:.0f} us each")
