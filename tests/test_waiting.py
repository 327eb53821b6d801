"""Blocking waits on keys: they end when the key changes, through whatever door, and not before; nothing polls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fridge
from fridge.errors import ArgumentError, ClosedError

from .server_fixture import wait_until


def later(seconds: float, work: Callable[[], object]) -> threading.Thread:
    thread = threading.Timer(seconds, work)
    thread.start()
    return thread


def changed(f: fridge.Store, name: str, work: Callable[[], object], timeout: float = 5.0) -> bool:
    """Whether a wait on a key ends because of work."""
    version = f.version(name)
    thread = later(0.05, work)
    began = time.monotonic()
    now = f.wait(name, version, timeout)
    thread.join()
    assert time.monotonic() - began < timeout, "it ended by its time"
    return now is not None and now != version


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store
        assert store.verify().findings == 0


def test_every_kind_of_change_ends_a_wait(f: fridge.Store) -> None:
    f.set("k", "aaaa")
    assert changed(f, "k", lambda: f.set("k", "bbbb"))  # in place
    assert changed(f, "k", lambda: f.set("k", "longer than before"))
    assert changed(f, "k", lambda: f.append("k", "x"))
    assert changed(f, "k", lambda: f.mset({"k": "1", "other": "2"}))
    assert changed(f, "k", lambda: f.incr("k"))  # the quick path
    assert changed(f, "k", lambda: f.expire("k", 1000))
    assert changed(f, "k", lambda: f.rename("k", "elsewhere"))
    f.hset("h", "a", 1)
    assert changed(f, "h", lambda: f.hset("h", "a", 2))
    assert changed(f, "h", lambda: f.hincrby("h", "a", 2))
    assert changed(f, "h", lambda: f.delete("h"))
    f.set("k", 1)
    assert changed(f, "k", f.flushdb)
    table = f.table("t", {"n": "int64"}, capacity=8)
    table.set("r", n=1)
    assert changed(f, "t:r", lambda: table.incr("r", "n"))
    assert changed(f, "t:r", lambda: table.set("r", n=7))


def test_creation_ends_a_wait(f: fridge.Store) -> None:
    assert changed(f, "absent", lambda: f.set("absent", 1))


def test_counters_are_waited_for_by_cell(f: fridge.Store) -> None:
    """A lock-free change knows no name."""
    hits = f.counter("hits")
    assert changed(f, "hits", hits.increment)
    assert changed(f, "hits", lambda: hits.increment(max=100))
    assert changed(f, "hits", lambda: hits.set(7))
    assert changed(f, "hits", lambda: hits.compare_and_set(7, 8))
    assert changed(f, "hits", lambda: f.incr("hits"))  # by name: through a transaction
    assert changed(f, "hits", hits.delete)
    assert changed(f, "hits", hits.increment)  # revived
    assert changed(f, "hits", f.flushdb)
    assert changed(f, "hits", lambda: f.set("hits", "an ordinary string"))
    assert changed(f, "hits", lambda: f.delete("hits"))
    assert changed(f, "new", lambda: f.counter("new"))  # became a counter under the wait


def test_t15_wait_for_a_value(f: fridge.Store) -> None:
    """OpenSwoole's Atomic.wait knows 0 and 1 only; a counter is waited for until it reaches any value, from either side."""
    left = f.counter("left", 20)

    def work() -> None:
        for _ in range(5):
            left.decrement()
            time.sleep(0.002)

    threads = [later(0.05, work) for _ in range(4)]
    assert left.wait(10, timeout=20) in range(11)
    assert left.wait(0, timeout=20) == 0
    for thread in threads:
        thread.join()
    assert left.wait(0, timeout=0) == 0
    assert left.wait(-1, timeout=0.02) is None
    thread = later(0.05, lambda: left.increment(50))
    assert left.wait(40, timeout=20) == 50  # jumped over
    thread.join()
    for bad in ("1", 1.5, True, None):
        with pytest.raises(ArgumentError, match="a counter is waited for"):
            left.wait(bad)  # type: ignore[arg-type]


def test_an_expiry_ends_a_wait(f: fridge.Store) -> None:
    f.set("k", "v", px=100)
    version = f.get_versioned("k")[1]
    began = time.monotonic()
    while f.wait("k", version, 5) == version:
        pass
    assert 0.05 < time.monotonic() - began < 1.0
    assert f.get("k") is None


def test_a_version_that_is_out_of_date_ends_at_once(f: fridge.Store) -> None:
    f.set("k", "1")
    version = f.get_versioned("k")[1]
    f.set("k", "2")
    assert f.wait("k", version) == f.get_versioned("k")[1]


def test_time_is_up(f: fridge.Store) -> None:
    f.set("k", "1")
    version = f.get_versioned("k")[1]
    began = time.monotonic()
    assert f.wait("k", version, 0.1) is None
    assert 0.09 < time.monotonic() - began < 1
    assert f.wait("k", version, 0) is None
    for bad in (-1, "1", True, float("nan")):
        with pytest.raises(ArgumentError, match="timeout is"):
            f.wait("k", version, bad)  # type: ignore[arg-type]


def test_another_process_ends_a_wait_and_a_thousand_others_do_not(f: fridge.Store) -> None:
    """A sleeper on one key is not woken by writes to others: it uses no processor time meanwhile."""
    f.set("k", "1")
    version = f.get_versioned("k")[1]
    results: list[int | None] = []
    sleeper = threading.Thread(target=lambda: results.append(f.wait("k", version, 20)))
    sleeper.start()
    stat = Path(f"/proc/self/task/{sleeper.native_id}/status")

    def switches() -> int:
        return int(next(line.split()[1] for line in stat.read_text().splitlines() if line.startswith("voluntary_ctxt")))

    program = ("import sys, fridge\nwith fridge.open(sys.argv[1]) as f:\n    for i in range(20000): f.set(f'other{i % 1000}', i)\n"
               "    print('done', flush=True); sys.stdin.read(); f.set('k', '2')")  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", program, f.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        wait_until(lambda: switches() > 0, "the sleeper sleeps")
        before = switches()
        assert other.stdout.readline() == b"done\n"
        assert switches() - before < 30  # one look a second, and what shares its entry
        assert not results
        other.communicate(b"")
        sleeper.join(10)
    assert results == [f.get_versioned("k")[1]]


def test_signals_get_through(f: fridge.Store) -> None:
    """A handler runs during the wait; if it raises, the wait ends with that."""
    f.set("k", "1")
    version = f.get_versioned("k")[1]
    seen: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, _: seen.append(number))
    try:
        later(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert f.wait("k", version, 0.3) is None
        assert seen == [signal.SIGUSR1]
        signal.signal(signal.SIGUSR1, signal.default_int_handler)
        later(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        with pytest.raises(KeyboardInterrupt):
            f.wait("k", version, 10)
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_a_read_only_handle_waits_too(f: fridge.Store) -> None:
    f.set("k", "1")
    with fridge.open(f.path, mode="r") as reader:
        version = reader.get_versioned("k")[1]
        later(0.1, lambda: f.set("k", "2"))
        assert reader.wait("k", version, 5) == f.get_versioned("k")[1]


def test_closing_under_a_wait(f: fridge.Store) -> None:
    """close() in another thread ends no wait, but unmaps only when the wait is over."""
    with fridge.open(f.path) as other:
        other.set("k", "1")
        version = other.get_versioned("k")[1]
        results: list[object] = []
        thread = threading.Thread(target=lambda: results.append(other.wait("k", version, 5)))
        thread.start()
        later(0.1, lambda: other.close()).join()
        f.set("k", "2")
        thread.join(10)
        assert results == [f.get_versioned("k")[1]]
        with pytest.raises(ClosedError):
            other.wait("k", version, 1)
