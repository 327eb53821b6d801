"""Tests of fridge.lock, fridge.line and fridge.keeper in one process and between its threads.

Between processes: test_lock_processes.py. Storms: tests/crash/test_lock_storm.py.
"""

from __future__ import annotations

import inspect
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import redis.lock

import fridge
from fridge import errors
from fridge.line import Line, new_token

from .child_fixture import PATIENCE, waiting
from .server_fixture import wait_until

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store
        assert store.verify().findings == 0


# --- one process -----------------------------------------------------------------------------------------------------------


def test_acquire_and_release(f: fridge.Store) -> None:
    lock = f.lock("jobs")
    assert (lock.locked(), lock.owned(), lock.holder(), lock.fence) == (False, False, None, None)
    assert lock.acquire() is True
    assert (lock.locked(), lock.owned()) == (True, True)
    holder = lock.holder()
    assert holder is not None
    assert (holder.pid, holder.alive, holder.fence, holder.token) == (os.getpid(), True, lock.fence, f.get("jobs"))
    assert holder.host == os.uname().nodename[:32]
    assert holder.since is not None
    assert abs(datetime.now(timezone.utc) - holder.since) < timedelta(seconds=5)
    assert {lock.holder() for _ in range(1000)} == {holder}
    assert lock.release() is None  # type: ignore[func-returns-value]
    assert (lock.locked(), lock.owned(), f.exists("jobs")) == (False, False, 0)


def test_a_with_block(f: fridge.Store) -> None:
    with f.lock("jobs") as lock:
        assert lock.owned()
        with pytest.raises(errors.LockTimeoutError, match=str(os.getpid())), f.lock("jobs", blocking=False):
            pass
    assert not lock.locked()
    with pytest.raises(ZeroDivisionError), f.lock("jobs"):
        raise ZeroDivisionError
    assert not lock.locked()


def test_the_surface_is_redis_pys(f: fridge.Store) -> None:
    theirs = inspect.signature(redis.lock.Lock.__init__).parameters
    ours = inspect.signature(fridge.Lock.__init__).parameters
    for name in set(theirs) - {"redis"}:
        assert (ours[name].kind, ours[name].default) == (theirs[name].kind, theirs[name].default), name
    for name in ("acquire", "release", "extend", "reacquire", "locked", "owned"):
        have = inspect.signature(getattr(fridge.Lock, name)).parameters
        assert set(inspect.signature(getattr(redis.lock.Lock, name)).parameters) <= set(have), name
    assert f.lock("jobs", timeout=1.5, sleep=0.2, blocking=False, blocking_timeout=3, thread_local=False,
                  raise_on_release_error=False).acquire(sleep=1, token="abc")  # fmt: skip
    assert f.get("jobs") == b"abc"


def test_a_handle_stays_open_while_a_lock_is_held_under_it(f: fridge.Store) -> None:
    fridge.open(f.path).lock("jobs").acquire()
    assert f.lock("jobs").locked()
    lease = fridge.open(f.path).lock("lease", timeout=60)
    lease.acquire()
    del lease
    assert not f.lock("lease").locked(), "a lease under a handle that nobody has any more ends with the handle"
    f.lock("jobs").unlock()


def test_fences_only_rise(f: fridge.Store) -> None:
    seen = []
    for _ in range(5):
        with f.lock("jobs") as lock:
            seen.append(lock.fence)
        f.incr("jobs:noise")
    assert seen == sorted(set(seen), key=lambda fence: fence or 0)
    assert lock.fence is None


def test_a_lock_that_is_held_is_refused(f: fridge.Store) -> None:
    f.lock("jobs").acquire()
    other = f.lock("jobs")
    assert other.acquire(blocking=False) is False
    assert other.acquire(False) is False
    assert other.acquire(blocking_timeout=0) is False
    assert other.waiters() == []


@pytest.mark.parametrize(("arguments", "message"), [
    ({"timeout": 0}, "timeout is 0"),
    ({"timeout": -1}, "timeout is -1"),
    ({"timeout": math.nan}, "timeout is nan"),
    ({"timeout": "5"}, "timeout is '5'"),
    ({"timeout": True}, "timeout is True"),
    ({"blocking_timeout": -1}, "blocking_timeout is -1"),
    ({"auto_extend": True}, "give timeout=seconds"),
])  # fmt: skip
def test_impossible_locks_are_refused(f: fridge.Store, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.ArgumentError, match=message):
        f.lock("jobs", **arguments)


def test_impossible_calls_are_refused_and_change_nothing(f: fridge.Store) -> None:
    lock = f.lock("jobs", timeout=60)
    for call in (lambda: lock.acquire(token=""), lambda: lock.acquire(token="x" * 33), lambda: lock.acquire(blocking_timeout=-0.1),
                 lambda: lock.wait(-1), lambda: f.lock(5)):  # type: ignore[arg-type]  # fmt: skip
        with pytest.raises(errors.ArgumentError):
            call()
    assert not lock.locked()
    lock.acquire()
    left = f.pttl("jobs")
    for bad in (0, -1, math.inf):
        with pytest.raises(errors.ArgumentError, match="additional_time"):
            lock.extend(bad)
    assert left - 1000 < f.pttl("jobs") <= left


def test_keys_of_other_kinds_are_no_locks(f: fridge.Store) -> None:
    f.hset("jobs", "a", 1)
    f.table("rate", {"n": "int32"}, capacity=4)
    for name in ("jobs", "rate:x"):
        with pytest.raises(errors.WrongTypeError):
            f.lock(name).acquire()
        with pytest.raises(TypeError):
            f.lock(name).holder()
    assert f.hgetall("jobs") == {b"a": b"1"}
    assert not any(thread.name == "fridge-keeper" for thread in threading.enumerate()), "there is nothing to give back"


# --- release, lost locks, waits for oneself ------------------------------------------------------------------------------------


def test_only_the_holder_releases(f: fridge.Store) -> None:
    held = f.lock("jobs")
    held.acquire()
    with pytest.raises(errors.LockError, match="has not acquired it"):
        f.lock("jobs").release()
    assert held.owned()
    held.release()
    with pytest.raises(RuntimeError, match="has released it"):
        held.release()
    with pytest.raises(ValueError, match="has not acquired"):
        held.extend(5)


def test_a_lock_that_was_cleared_by_another(f: fridge.Store) -> None:
    lock = f.lock("jobs")
    lock.acquire()
    assert f.lock("jobs").unlock() is True
    assert f.lock("jobs").unlock() is False
    with pytest.raises(errors.LockNotOwnedError, match="somebody cleared it, and nobody holds it now"):
        lock.release()
    lock.acquire()
    f.lock("jobs").unlock()
    f.lock("jobs").acquire()
    with pytest.raises(errors.LockNotOwnedError, match=f"it is held by process {os.getpid()}"):
        lock.release()
    assert lock.locked()


def test_a_lease_runs_out(f: fridge.Store) -> None:
    lock = f.lock("jobs", timeout=0.05)
    lock.acquire()
    assert 0 < f.pttl("jobs") <= 50
    fence = lock.fence
    assert f.lock("jobs", thread_local=False).wait(PATIENCE)
    assert not lock.owned()
    for call in (lock.reacquire, lambda: lock.extend(1), lock.release):
        with pytest.raises(errors.LockNotOwnedError, match=r"lease of 0\.05 s ran out"):
            call()
    assert lock.acquire()
    assert (lock.fence or 0) > (fence or 0)


def test_raise_on_release_error(f: fridge.Store, caplog: pytest.LogCaptureFixture) -> None:
    with f.lock("jobs", raise_on_release_error=False) as lock:
        lock.unlock()
    assert "lost inside its with block" in caplog.text
    with pytest.raises(errors.LockNotOwnedError), f.lock("jobs"):
        lock.unlock()


def test_leases_move(f: fridge.Store) -> None:
    lock = f.lock("jobs", timeout=10)
    lock.acquire()
    assert lock.extend(20) is True
    assert 29_000 < f.pttl("jobs") <= 30_000
    assert lock.extend(5, replace_ttl=True) is True
    assert 4_000 < f.pttl("jobs") <= 5_000
    assert lock.reacquire() is True
    assert 9_000 < f.pttl("jobs") <= 10_000
    endless = f.lock("endless")
    endless.acquire()
    with pytest.raises(errors.LockError, match="no lease"):
        endless.extend(5)
    with pytest.raises(errors.LockError, match="no lease"):
        endless.reacquire()
    assert f.pttl("endless") == -1


def test_a_wait_on_oneself_is_an_error_at_once(f: fridge.Store) -> None:
    lock = f.lock("jobs")
    lock.acquire()
    for call in (lock.acquire, f.lock("jobs").acquire, lambda: lock.acquire(blocking_timeout=30), lock.wait):
        with pytest.raises(errors.LockError, match="would wait for itself"):
            call()
    assert lock.acquire(blocking=False) is False
    assert lock.wait(0) is False
    assert lock.owned()
    assert lock.waiters() == []
    lock.release()
    assert lock.acquire()
    lock.unlock()
    assert lock.acquire(), "it was cleared: there is nothing to wait for"


def test_a_lease_of_ones_own_that_ran_out_is_no_wait_on_oneself(f: fridge.Store) -> None:
    f.lock("jobs", timeout=0.02).acquire()
    wait_until(lambda: f.exists("jobs") == 0, "the lease ends")
    assert f.lock("jobs").acquire()


# --- strings of other clients ----------------------------------------------------------------------------------------------------


def test_set_nx_and_a_lock_exclude_each_other(f: fridge.Store) -> None:
    lock = f.lock("jobs")
    assert f.set("jobs", "0123456789abcdef0123456789abcdef", nx=True, px=80)  # what redis-py's Lock sends
    holder = lock.holder()
    assert holder is not None
    assert (holder.pid, holder.token, holder.fence) == (None, b"0123456789abcdef0123456789abcdef", 0)
    assert lock.acquire(blocking=False) is False
    began = time.monotonic()
    assert lock.acquire(), "its lease ends, and nobody rings for that"
    assert 0.04 < time.monotonic() - began < 5
    assert f.set("jobs", "other", nx=True) is None
    lock.release()
    assert f.set("jobs", "other", nx=True) is True


def test_a_string_that_is_no_token_is_respected(f: fridge.Store) -> None:
    f.set("jobs", "a value that is longer than any token of a lock could be")
    lock = f.lock("jobs")
    assert lock.acquire(blocking_timeout=0.03) is False
    assert lock.locked()
    assert lock.unlock() is True
    assert lock.acquire(blocking_timeout=0.03) is True


# --- threads ----------------------------------------------------------------------------------------------------------------------


def in_thread(work: Callable[[], Any]) -> Any:
    """Run work in a thread and return what it returns or raises."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    return found[0]


def test_threads_of_one_object(f: fridge.Store) -> None:
    own, shared = f.lock("own"), f.lock("shared", thread_local=False)
    own.acquire()
    shared.acquire()
    assert in_thread(own.owned) is False
    assert in_thread(lambda: own.fence) is None
    assert isinstance(in_thread(own.release), errors.LockError)
    assert own.owned()
    assert in_thread(shared.owned) is True
    assert in_thread(shared.release) is None
    assert not shared.locked()
    assert in_thread(lambda: own.acquire(blocking_timeout=0.03)) is False, "another thread's wait is no wait on itself"


def test_threads_exclude_each_other(f: fridge.Store) -> None:
    lock, counts = f.lock("jobs"), [0]

    def work() -> None:
        for _ in range(200):
            with lock:
                seen = counts[0]
                time.sleep(0)
                counts[0] = seen + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert counts[0] == 800


def test_close_while_another_thread_waits(f: fridge.Store) -> None:
    f.lock("jobs").acquire()
    other = fridge.open(f.path)
    failed: list[BaseException] = []

    def wait(what: Callable[[], object]) -> None:
        try:
            what()
        except fridge.FridgeError as error:
            failed.append(error)

    waits: tuple[Callable[[], object], ...] = (
        other.lock("jobs").acquire, other.lock("jobs").wait, other.event("never").wait,
        lambda: other.wait("key", other.version("key")),
    )  # fmt: skip
    threads = [threading.Thread(target=wait, args=(what,)) for what in waits]
    for thread in threads:
        thread.start()
    waiting(f, 1)
    other.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert [type(error) for error in failed] == [errors.ClosedError] * 4
    assert f.lock("jobs").waiters() == []


def test_closing_releases(f: fridge.Store) -> None:
    other = fridge.open(f.path)
    lock = other.lock("jobs")
    lock.acquire()
    other.close()
    assert f.lock("jobs").acquire(blocking_timeout=1)
    for call in (lock.release, lock.acquire, lock.locked, lock.unlock):
        with pytest.raises(errors.ClosedError):
            call()


def test_a_read_only_handle_looks_but_does_not_touch(f: fridge.Store) -> None:
    f.lock("jobs").acquire()
    with fridge.open(f.path, mode="r") as reader:
        lock = reader.lock("jobs", thread_local=False)
        holder = lock.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
        assert lock.wait(0.03) is False
        for call in (lock.acquire, lambda: lock.acquire(False), lock.unlock):
            with pytest.raises(errors.ReadOnlyError):
                call()
        f.lock("jobs").unlock()
        assert lock.wait(PATIENCE) is True


def test_a_full_line_is_waited_for(f: fridge.Store) -> None:
    lock, line = f.lock("jobs"), Line(f, "jobs")
    lock.acquire()
    tokens = [new_token() for _ in range(255)]
    assert [line.ask(token, queue=True).ahead for token in tokens] == list(range(255))
    assert f.lock("other").acquire()
    assert in_thread(lambda: lock.acquire(blocking_timeout=0.03)) is False
    for token in tokens:
        line.withdraw(token)
    assert lock.waiters() == []


def test_asking_without_sleeping_for_event_loops(f: fridge.Store) -> None:
    lock, line, token = f.lock("jobs"), Line(f, "jobs"), new_token()
    lock.acquire()
    assert line.ask(token, queue=True) == (False, True, 0, 0)
    lock.release()
    answer = line.ask(token, queue=True)
    assert (answer.granted, answer.queued) == (True, False)
    assert answer.fence == lock.holder().fence  # type: ignore[union-attr]
    line.withdraw(token)
    assert not lock.locked()
    lock.acquire()
    line.ask(token, queue=True)
    line.withdraw(token)
    assert lock.waiters() == []


def test_T16_half_a_second_is_not_zero(f: fridge.Store) -> None:
    """(int)timeout * 1000 makes 0.5 s no wait at all."""
    f.lock("jobs").acquire()
    other = f.lock("jobs", thread_local=False)
    began = time.monotonic()
    assert in_thread(lambda: other.acquire(blocking_timeout=0.05)) is False
    assert time.monotonic() - began >= 0.05
    assert f.lock("lease", timeout=0.5).acquire()
    assert 400 < f.pttl("lease") <= 500
