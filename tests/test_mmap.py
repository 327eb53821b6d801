"""Tests of the mmap door's handle: opening, closing, read-only mappings, fork, threads, a lost and a full segment."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import _hot, errors


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


def in_child(work: Any) -> int:
    """Run work in a child of fork; return its exit status: 0 when work returned something true."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- opening -------------------------------------------------------------------------------------------------------


def test_a_second_handle_sees_the_same_keys(f: fridge.Store) -> None:
    f.set("k", "v")
    with fridge.open(f.path) as other:
        assert other.get("k") == b"v"


def test_another_process_sees_the_same_keys(f: fridge.Store) -> None:
    f.set("k", "v")
    program = "import sys, fridge; f = fridge.open(sys.argv[1]); print(f.get('k')); f.set('back', 'here')"
    done = subprocess.run([sys.executable, "-c", program, f.path], capture_output=True, text=True, check=True)
    assert done.stdout == "b'v'\n"
    assert f.get("back") == b"here"


def test_the_default_segment_is_shared_by_store_and_counter(segment_path: Path) -> None:
    program = (
        "import fridge; from fridge.store import default_store\n"
        "f = fridge.Store(); c = fridge.Counter('hits', 5); c.increment()\n"
        "print(f.path, f.get('hits'), default_store() is default_store())"
    )
    environment = {**os.environ, "FRIDGE_SEGMENT": str(segment_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == f"{segment_path} b'6' True\n"


def test_an_absent_segment_is_not_created_when_it_must_not(segment_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fridge.open(segment_path, create=False)
    with pytest.raises(errors.SegmentNotFoundError):
        fridge.open(segment_path, mode="r")
    assert not segment_path.exists()


def test_an_unknown_mode_is_refused(segment_path: Path) -> None:
    with pytest.raises(ValueError, match="'rw' or 'r'"):
        fridge.open(segment_path, mode="w")  # type: ignore[arg-type]


def test_size_takes_a_number_or_a_text(segment_path: Path) -> None:
    with fridge.open(segment_path, size="4mb") as f:
        assert f.info()["max_size"] == 4 << 20


def test_databases_are_apart(f: fridge.Store) -> None:
    with fridge.open(f.path, db=3) as other:
        f.set("k", "zero")
        other.set("k", "three")
        assert other.append("k", "!") == 6  # through a session: SELECTed
        assert (f.get("k"), other.get("k")) == (b"zero", b"three!")
        assert other.dbsize() == 1


def test_decoded_responses_are_str(f: fridge.Store) -> None:
    with fridge.open(f.path, decode_responses=True) as s:
        s.hset("h", mapping={"a": "é", "b": 2})
        s.set("k", "ü")
        assert s.get("k") == "ü"
        assert s.hgetall("h") == {"a": "é", "b": "2"}
        assert s.hget("h", "a") == "é"
        assert s.type("h") == "hash"
        assert sorted(s.scan_iter()) == ["h", "k"]
        assert s.get_versioned("k")[0] == "ü"
        assert s.mget("k", "none") == ["ü", None]


# --- closing -------------------------------------------------------------------------------------------------------


def test_a_closed_handle_says_so(segment_path: Path) -> None:
    f = fridge.open(segment_path)
    counter, table = f.counter("c"), f.table("t", {"n": "int32"}, capacity=4)
    f.strlen("k")
    f.close()
    f.close()
    assert f.closed
    calls = [lambda: f.get("k"), lambda: f.set("k", 1), lambda: f.set("k", 1, ex=5), lambda: f.incr("k"), f.dbsize, f.info,
             f.verify, lambda: f.hget("h", "a"), lambda: f.delete("k"), lambda: f.exists("a", "b"), counter.increment,
             counter.get, lambda: table.get("k"), lambda: table.incr("k", "n"), lambda: len(table),
             lambda: "k" in table]  # fmt: skip
    for call in calls:
        with pytest.raises(errors.ClosedError):
            call()


def test_closing_waits_for_calls_of_other_threads(segment_path: Path) -> None:
    f = fridge.open(segment_path, size="64mb")
    big = os.urandom(8 << 20)
    f.set("big", big)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while True:
                assert f.get("big") == big
        except errors.ClosedError:
            pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    f.get("big")
    f.close()
    for thread in threads:
        thread.join()
    assert not failures


# --- read-only -----------------------------------------------------------------------------------------------------


def test_a_read_only_handle_reads_and_cannot_write(f: fridge.Store) -> None:
    f.set("k", "v")
    f.hset("h", "a", 1)
    f.counter("c").set(7)
    f.table("t", {"n": "int32"}, capacity=4).set("r", n=5)
    with fridge.open(f.path, mode="r") as r:
        assert r.readonly
        counter, table = r.counter("c"), r.table("t")
        assert (r.get("k"), r.hget("h", "a"), counter.get(), table.get("r")) == (b"v", b"1", 7, {"n": 5})
        assert counter.exists()
        assert r.ttl("k") == -1
        assert sorted(r.scan_iter()) == [b"c", b"h", b"k", b"t:r"]
        f.set("k", "w")
        f.counter("c").increment()
        assert (r.get("k"), counter.get()) == (b"w", 8)
        writes = [lambda: r.set("k", 1), lambda: r.set("k", 1, ex=3), lambda: r.incr("n"), lambda: r.delete("k"),
                  lambda: r.append("k", "x"), lambda: r.expire("k", 5), lambda: r.hset("h", "a", 2),
                  lambda: r.hset("h", mapping={"a": 1, "b": 2}), lambda: r.hincrby("h", "a"), lambda: r.cas("k", "w", "x"),
                  counter.increment, lambda: counter.set(1), counter.reset, counter.delete,
                  lambda: counter.compare_and_set(8, 9), lambda: table.set("r", n=1), lambda: table.incr("r", "n"),
                  lambda: table.cas("r", "n", 5, 6), lambda: table.delete("r"), lambda: r.flushall(),
                  lambda: r.table("new", {"n": "int8"}, capacity=1), lambda: r.set("k", b"x" * 100_000)]  # fmt: skip
        for write in writes:
            with pytest.raises(errors.ReadOnlyError):
                write()
    assert (f.get("k"), f.hgetall("h"), f.dbsize()) == (b"w", {b"a": b"1"}, 4)


def test_counters_are_readable_where_they_cannot_be_made(f: fridge.Store) -> None:
    with fridge.open(f.path, mode="r") as r:
        counter = r.counter("later")
        assert (counter.get(), counter.exists()) == (0, False)
        f.counter("later", 3)
        assert (counter.get(), counter.exists()) == (3, True)


# --- fork and threads ----------------------------------------------------------------------------------------------


def test_a_child_of_fork_uses_the_handle(f: fridge.Store) -> None:
    counter, table = f.counter("c"), f.table("t", {"n": "int32"}, capacity=4)
    f.set("k", "v")
    f.strlen("k")  # a session waits in the list

    def work() -> bool:
        f.set("child", "here")
        f.append("child", "!")
        return f.get("k") == b"v" and counter.increment(2) == 2 and table.incr("r", "n", 3) == 3

    assert in_child(work) == 0
    assert (f.get("child"), counter.get(), table.get("r", "n")) == (b"here!", 2, 3)
    assert f.verify().findings == 0


def test_a_child_of_fork_may_close_the_handle(f: fridge.Store) -> None:
    f.set("k", "v")
    assert in_child(lambda: f.close() is None and f.closed) == 0
    assert f.get("k") == b"v"
    assert f.incr("n") == 1


def test_processes_count_exactly(f: fridge.Store) -> None:
    counter, table = f.counter("c"), f.table("t", {"n": "int64"}, capacity=4)
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            for _ in range(5000):
                counter.increment()
                f.incr("n")
                table.incr("r", "n")
                f.hincrby("h", "n")
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert (counter.get(), f.get("n"), table.get("r", "n"), f.hget("h", "n")) == (20000, b"20000", 20000, b"20000")
    assert f.verify().findings == 0


def test_threads_count_exactly(f: fridge.Store) -> None:
    counter = f.counter("c")
    values: list[list[int]] = [[] for _ in range(4)]

    def work(own: list[int]) -> None:
        for _ in range(2000):
            own.append(counter.increment())
            f.incr("n")
            f.append("s", "x")

    threads = [threading.Thread(target=work, args=(own,)) for own in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = [v for own in values for v in own]
    assert sorted(together) == list(range(1, 8001))
    assert (f.get("n"), f.strlen("s")) == (b"8000", 8000)


# --- the rest ------------------------------------------------------------------------------------------------------


def test_a_lost_segment_is_an_error(f: fridge.Store) -> None:
    def work() -> bool:
        f.set("k", "v" * 1000)
        counter = f.counter("c")
        os.truncate(f.path, 0)
        for call in (lambda: f.get("k"), lambda: f.set("k", 1), counter.increment, counter.get, lambda: f.incr("n")):
            with pytest.raises(errors.SegmentLost):
                call()
        return True

    assert in_child(work) == 0


def test_info_and_verify(f: fridge.Store) -> None:
    f.set("k", "v", ex=100)
    f.table("t", {"n": "int32"}, capacity=4).set("r", n=1)
    info = f.info()
    assert info["keyspace"][0]["keys"] >= 1
    assert info["tables"]["t"]["rows"] == 1
    assert any(p["is_self"] and p["pid"] == os.getpid() for p in info["processes"])
    assert info["statistics"]["transactions"] > 0
    report = f.verify()
    assert (report.findings, report.rows) == (0, 1)


def fill(f: fridge.Store) -> None:
    """Set keys until that fails."""
    for i in range(100_000):
        f.set(f"key{i}", "v" * 1000)


def test_a_full_segment_refuses_and_still_reads(segment_path: Path) -> None:
    with fridge.open(segment_path, size="4mb") as f:
        with pytest.raises(errors.OutOfMemoryError):
            fill(f)
        with pytest.raises(MemoryError):
            f.set("another", "v" * 100_000)
        assert f.get("key0") == b"v" * 1000
        assert f.delete("key0") == 1
        assert f.verify().findings == 0


def test_importing_is_quick_and_starts_nothing() -> None:
    program = (
        "import time, threading, sys; start = time.process_time(); import fridge\n"
        "print(time.process_time() - start, threading.active_count(), 'asyncio' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(5)]
    facts = [done.stdout.split() for done in runs]
    assert min(float(seconds) for seconds, _, _ in facts) < 0.03
    assert {(threads, loop) for _, threads, loop in facts} == {("1", "False")}


def test_public_names_are_the_promised_ones() -> None:
    objects = {"Barrier", "Counter", "Counters", "Event", "Lock", "Once", "RWLock", "Semaphore", "ShardedCounter", "Store", "Table"}
    assert set(fridge.__all__) == objects | {"FridgeError", "once", "open"}


def test_open_takes_what_store_takes() -> None:
    assert str(inspect.signature(fridge.open)).split(" -> ")[0] == str(inspect.signature(fridge.Store)).split(" -> ")[0]


def test_the_hot_methods_are_c() -> None:
    for name in ("get", "set", "incr", "delete", "exists", "hget", "hset", "hincrby", "cas"):
        assert getattr(fridge.Store, name) is getattr(_hot.Segment, name)
