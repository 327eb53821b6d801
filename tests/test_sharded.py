"""Tests of fridge.sharded: the sum, the shards behind it, the other doors, and processes that are killed while they add."""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors

from .server_fixture import serving

LOW, HIGH = -(2**63), 2**63 - 1


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


def test_a_sharded_counter_counts(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits")
    assert (hits.name, hits.shards, hits.get(), hits.exists()) == ("hits", 8, 0, True)
    assert hits.increment() is None  # type: ignore[func-returns-value]
    hits.increment(10)
    hits.increment(by=5)
    hits.decrement()
    hits.decrement(by=3)
    assert hits.get() == 12
    assert hits.reset() == 0
    assert hits.get() == 0
    assert repr(hits) == "<fridge.ShardedCounter 'hits' x 8>"


def test_the_shards_are_counters_and_the_name_says_how_many(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits", shards=3)
    assert hits.names == ("hits:0", "hits:1", "hits:2")
    assert f.hgetall("hits") == {b"shards": b"3"}
    for i, name in enumerate(hits.names):
        f.counter(name).increment(10**i)
    hits.increment(1000)
    assert hits.get() == 1111
    assert sum(int(v or 0) for v in f.mget(*hits.names)) == 1111
    assert sum(f.counters.get(hits.names).values()) == 1111
    for call in (lambda: f.get("hits"), lambda: f.incr("hits"), lambda: f.counter("hits")):
        with pytest.raises(errors.WrongTypeError):
            call()


def test_each_cpu_adds_to_a_shard_of_its_own(f: fridge.Store) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    hits = f.sharded_counter("hits", shards=64)
    try:
        for cpu in cpus:
            os.sched_setaffinity(0, {cpu})
            hits.increment(cpu + 1)
    finally:
        os.sched_setaffinity(0, cpus)
    want = dict.fromkeys(hits.names, 0)
    for cpu in cpus:
        want[hits.names[cpu % 64]] += cpu + 1
    assert f.counters.get(hits.names) == want


def test_handles_agree_on_the_number_of_shards(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits", shards=4)
    hits.increment(7)
    assert f.sharded_counter("hits").shards == 4
    assert fridge.ShardedCounter("hits", 4, store=f).get() == 7
    with pytest.raises(errors.ArgumentError, match="it has 4 shards, not 8"):
        f.sharded_counter("hits", shards=8)
    assert f.sharded_counter(b"hits").get() == 7


@pytest.mark.parametrize(
    ("shards", "error", "text"),
    [(0, errors.ArgumentError, "shards is 0; it may be 1 to 64"), (-1, errors.ArgumentError, "shards is -1"),
     (65, errors.ArgumentError, "shards is 65; it may be 1 to 64"), ("8", errors.NotAnIntegerError, "shards is a str"),
     (True, errors.NotAnIntegerError, "shards is a bool"), (2.0, errors.NotAnIntegerError, "shards is a float")],
)  # fmt: skip
def test_a_wrong_number_of_shards_is_named(f: fridge.Store, shards: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        f.sharded_counter("hits", shards)
    assert f.dbsize() == 0


def test_names_that_are_taken_are_refused_and_nothing_is_made(f: fridge.Store) -> None:
    f.set("text", "abc")
    f.hset("hash", "a", 1)
    f.counter("counter")
    f.hset("third:2", "a", 1)
    f.set("word:7", "abc")
    f.hset("odd", "shards", "many")
    f.table("rate", {"n": "int32"}, capacity=4)
    before = sorted(f.scan_iter())
    for name, error, text in (("text", errors.WrongTypeError, "holds something else"),
                              ("hash", errors.WrongTypeError, "no field 'shards'"),
                              ("counter", errors.WrongTypeError, "holds something else"),
                              ("third", errors.WrongTypeError, "its shard 2"), ("word", errors.NotAnIntegerError, "its shard 7"),
                              ("odd", errors.ArgumentError, "no number from 1 to 64"),
                              ("rate", errors.WrongTypeError, "its shard 0"), ("rate:x", errors.WrongTypeError, "row of a table"),
                              ("n" * 65536, errors.TooLongError, "65536")):  # fmt: skip
        with pytest.raises(error, match=text):
            f.sharded_counter(name)
    with pytest.raises(errors.ArgumentError, match="int"):
        f.sharded_counter(5)  # type: ignore[arg-type]
    assert sorted(f.scan_iter()) == before
    assert f.verify().findings == 0


def test_only_integers_are_added(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits")
    for value in ("1", 1.5, None, True, 2**63):
        for call in (hits.increment, hits.decrement):
            with pytest.raises(errors.NotAnIntegerError):
                call(value)  # type: ignore[arg-type]
    with pytest.raises(errors.CounterOverflowError):
        hits.decrement(LOW)
    assert hits.get() == 0


def test_overflow_of_a_shard_and_of_the_sum(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits", shards=2)
    f.counters.increment({"hits:0": HIGH, "hits:1": HIGH})
    with pytest.raises(errors.CounterOverflowError, match="'hits': increment or decrement would overflow"):
        hits.increment()
    with pytest.raises(errors.CounterOverflowError, match="read them one by one"):
        hits.get()
    assert f.counters.get(hits.names) == {"hits:0": HIGH, "hits:1": HIGH}
    f.counters.increment({"hits:0": -HIGH})
    assert hits.get() == HIGH


def test_deletion_flush_and_revival(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits", shards=4)
    hits.increment(5)
    assert (hits.delete(), hits.delete(), hits.exists(), hits.get(), f.dbsize()) == (True, False, False, 0, 0)
    hits.increment(2)
    assert (hits.exists(), hits.get(), f.hgetall("hits")) == (True, 2, {b"shards": b"4"})
    f.flushdb()
    assert (hits.exists(), hits.get()) == (False, 0)
    hits.increment(3)
    assert f.sharded_counter("hits").get() == 3
    f.delete(*hits.names)
    assert (hits.get(), hits.exists()) == (0, True)
    hits.increment()
    assert hits.get() == 1
    assert hits.reset() == 0
    assert f.verify().findings == 0


def test_made_anew_with_other_shards(f: fridge.Store) -> None:
    """The old handle's sum would leave shards out: it says so instead."""
    old = f.sharded_counter("hits", shards=2)
    old.delete()
    new = f.sharded_counter("hits", shards=4)
    f.counter("hits:3").increment(5)
    with pytest.raises(errors.ArgumentError, match="it has 4 shards, not 2"):
        old.get()
    with pytest.raises(errors.ArgumentError, match="it has 4 shards, not 2"):
        old.reset()
    old.increment()  # to a shard that both have
    assert new.get() == 6


def test_a_shard_in_a_transactions_hands_or_with_an_expiry(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits", shards=1)
    f.expire("hits:0", 100)
    hits.increment(5)
    assert (hits.get(), f.ttl("hits:0") >= 99) == (5, True)
    f.set("hits:0", 7)
    hits.increment()
    assert hits.get() == 8


def test_a_read_only_handle_and_a_closed_one(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits")
    hits.increment(4)
    with fridge.open(f.path, mode="r") as reader:
        seen = reader.sharded_counter("hits")
        assert (seen.get(), seen.shards, seen.exists()) == (4, 8, True)
        for call in (seen.increment, seen.decrement, seen.reset, seen.delete):
            with pytest.raises(errors.ReadOnlyError):
                call()
        with pytest.raises(errors.MissingKeyError, match="'nosuch': there is none"):
            reader.sharded_counter("nosuch")
    for call in (seen.increment, seen.get, seen.reset, seen.delete, seen.exists, lambda: reader.sharded_counter("hits")):
        with pytest.raises(errors.ClosedError):
            call()
    assert hits.get() == 4


def test_it_belongs_to_database_0(f: fridge.Store) -> None:
    with fridge.open(f.path, db=3) as other:
        other.sharded_counter("hits", shards=2).increment(6)
        assert other.dbsize() == 0
    assert f.sharded_counter("hits").get() == 6


def test_the_resp_door_sees_shards_and_no_half_truth() -> None:
    with serving() as server, fridge.open(server.segment) as f, server.client() as c:
        hits = f.sharded_counter("hits", shards=2)
        hits.increment(5)
        assert c("INCRBY", "hits:1", 10) in (10, 15)
        assert hits.get() == 15
        assert sum(int(v) for v in c("MGET", "hits:0", "hits:1")) == 15
        assert c("HGET", "hits", "shards") == b"2"
        assert all("WRONGTYPE" in str(c(command, "hits")) for command in ("GET", "INCR"))


def test_threads_and_forks_lose_nothing(f: fridge.Store) -> None:
    hits = f.sharded_counter("hits", shards=3)
    each, threads, forks = 20_000, 3, 3

    def add() -> None:
        for _ in range(each):
            hits.increment()

    pids = []
    for _ in range(forks):
        pid = os.fork()
        if pid == 0:
            add()
            os._exit(0)
        pids.append(pid)
    workers = [threading.Thread(target=add) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert hits.get() == each * (threads + forks)


def adding(hits: fridge.ShardedCounter, told: memoryview, place: int) -> int:
    """Fork a process that adds until it is killed; told[place] counts. Its pid."""
    pid = os.fork()
    if pid == 0:
        mine = 0
        while True:
            hits.increment()
            mine += 1
            told[place] = mine  # at once; struct.pack_into would clear the word first
    return pid


def kill_after(pid: int, told: memoryview, place: int, target: int) -> None:
    deadline = time.monotonic() + 30
    while told[place] < target:
        assert time.monotonic() < deadline, "it does not count"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_the_sum_never_falls_while_others_only_add(f: fridge.Store) -> None:
    hits, told = f.sharded_counter("hits"), memoryview(mmap.mmap(-1, 4096)).cast("q")
    pids = [adding(hits, told, place) for place in range(2)]
    sums: list[int] = []
    deadline = time.monotonic() + 30
    while len(sums) < 20_000 or sums[-1] - sums[0] < 20_000:
        assert time.monotonic() < deadline, "they do not count"
        sums.append(hits.get())
    for place, pid in enumerate(pids):
        kill_after(pid, told, place, 1)
    assert sums == sorted(sums)
    assert hits.get() >= sums[-1]


def test_what_a_killed_process_added_stays(f: fridge.Store) -> None:
    """Each may have added once more than it could tell before it was killed."""
    hits, told, processes = f.sharded_counter("hits"), memoryview(mmap.mmap(-1, 4096)).cast("q"), 6
    pids = [adding(hits, told, place) for place in range(processes)]
    for place, pid in enumerate(pids):
        kill_after(pid, told, place, 5000)
    confirmed = sum(told[:processes])
    assert confirmed <= hits.get() <= confirmed + processes
    assert sum(int(v or 0) for v in f.mget(*hits.names)) == hits.get()
    assert f.verify().findings == 0
