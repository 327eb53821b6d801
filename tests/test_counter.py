"""Tests of fridge.counter: values, limits, deletion and revival, the same number through every other way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors

LOW, HIGH = -(2**63), 2**63 - 1


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


def test_a_counter_counts(f: fridge.Store) -> None:
    hits = f.counter("hits")
    assert hits.get() == 0
    assert [hits.increment(), hits.increment(5), hits.increment(by=-2), hits.decrement(), hits.decrement(by=10)] == [1, 6, 4, 3, -7]
    assert hits.set(5) is None  # type: ignore[func-returns-value]
    assert hits.compare_and_set(5, 8) is True
    assert hits.compare_and_set(5, 9) is False
    assert hits.compare_and_set(expected=8, new=9) is True
    assert hits.get() == 9
    assert hits.reset() == 0
    assert hits.get() == 0
    assert hits.name == "hits"


def test_initial_counts_only_when_it_is_created(f: fridge.Store) -> None:
    first = f.counter("hits", initial=10)
    assert first.increment() == 11
    assert f.counter("hits", initial=99).get() == 11
    assert fridge.Counter("hits", 99, store=f).get() == 11


def test_a_counter_is_the_key_of_its_name(f: fridge.Store) -> None:
    hits = f.counter("hits")
    hits.increment(5)
    assert f.get("hits") == b"5"
    assert f.incr("hits") == 6
    assert hits.increment() == 7
    assert f.type("hits") == b"string"
    assert f.mget("hits") == [b"7"]
    assert f.append("other", "x") == 1
    assert f.set("hits", 40) is True
    assert hits.increment() == 41
    assert f.cas("hits", 41, 50) is True
    assert hits.get() == 50
    assert sorted(f.scan_iter()) == [b"hits", b"other"]


def test_an_integer_key_becomes_a_counter_and_keeps_its_value(f: fridge.Store) -> None:
    f.set("hits", 41)
    assert f.counter("hits", initial=7).increment() == 42
    assert f.get("hits") == b"42"


def test_other_keys_do_not(f: fridge.Store) -> None:
    f.set("text", "abc")
    f.hset("hash", "a", 1)
    f.table("rate", {"n": "int32"}, capacity=4)
    with pytest.raises(errors.NotAnIntegerError):
        f.counter("text")
    with pytest.raises(errors.WrongTypeError):
        f.counter("hash")
    with pytest.raises(errors.WrongTypeError):
        f.counter("rate:x")
    assert (f.get("text"), f.hgetall("hash"), len(f.table("rate"))) == (b"abc", {b"a": b"1"}, 0)


def test_overflow_is_refused_and_changes_nothing(f: fridge.Store) -> None:
    hits = f.counter("hits", HIGH)
    with pytest.raises(errors.CounterOverflowError):
        hits.increment()
    with pytest.raises(OverflowError):
        hits.decrement(LOW)
    assert hits.get() == HIGH
    hits.set(LOW)
    with pytest.raises(OverflowError):
        hits.decrement()
    assert hits.get() == LOW
    assert hits.increment(HIGH) == -1


@pytest.mark.parametrize("value", ["1", 1.5, None, True, 2**63, b"1"])
def test_only_integers_are_taken(f: fridge.Store, value: Any) -> None:
    hits = f.counter("hits", 3)
    for call in (lambda: hits.increment(value), lambda: hits.set(value), lambda: hits.compare_and_set(value, 1),
                 lambda: f.counter("new", value)):  # fmt: skip
        with pytest.raises(errors.NotAnIntegerError):
            call()
    assert hits.get() == 3
    assert f.exists("new") == 0


def test_deletion_and_revival(f: fridge.Store) -> None:
    hits = f.counter("hits", 5)
    assert hits.exists() is True
    assert hits.delete() is True
    assert hits.delete() is False
    assert (hits.exists(), hits.get(), f.get("hits"), f.dbsize()) == (False, 0, None, 0)
    assert hits.compare_and_set(3, 4) is False
    assert hits.exists() is False, "a refused change revives nothing"
    assert hits.increment(2) == 2
    assert (hits.exists(), f.get("hits")) == (True, b"2")
    assert f.delete("hits") == 1
    assert hits.compare_and_set(0, 7) is True
    assert f.flushdb() is True
    assert hits.get() == 0
    hits.set(9)
    assert f.get("hits") == b"9"
    assert f.verify().findings == 0


def test_a_key_that_took_the_name_of_a_deleted_counter(f: fridge.Store) -> None:
    hits = f.counter("hits", 5)
    hits.delete()
    f.set("hits", "abc")
    for call in (hits.increment, hits.get, lambda: hits.set(1), hits.reset, lambda: hits.compare_and_set(0, 1)):
        with pytest.raises(errors.NotAnIntegerError):
            call()
    assert f.get("hits") == b"abc"
    f.set("hits", 20)
    assert hits.get() == 20
    assert hits.increment() == 21
    f.delete("hits")
    f.hset("hits", "a", 1)
    with pytest.raises(errors.WrongTypeError):
        hits.increment()
    f.delete("hits")
    assert hits.increment() == 1
    assert f.verify().findings == 0


def test_expiry(f: fridge.Store) -> None:
    hits = f.counter("hits", 5)
    assert f.expire("hits", 100) is True
    assert hits.increment() == 6
    assert 99 <= f.ttl("hits") <= 100, "counting keeps the TTL"
    assert hits.compare_and_set(6, 7) is True
    assert f.ttl("hits") >= 99
    hits.set(8)
    assert f.ttl("hits") == -1, "a plain set takes it away"
    f.pexpire("hits", 1)
    while f.pttl("hits") != -2:
        pass
    assert (hits.get(), hits.exists()) == (0, False)
    assert hits.increment() == 1
    assert f.ttl("hits") == -1


def test_names_are_str_or_bytes(f: fridge.Store) -> None:
    assert f.counter(b"\xff").increment() == 1
    assert f.counter("é").increment() == 1
    with pytest.raises(errors.ArgumentError, match="int"):
        f.counter(5)  # type: ignore[arg-type]


def test_counters_belong_to_database_0(f: fridge.Store) -> None:
    with fridge.open(f.path, db=3) as other:
        assert other.counter("hits").increment() == 1
        assert other.get("hits") is None
    assert f.get("hits") == b"1"


def test_every_value_is_handed_out_once_while_it_is_deleted_and_revived(f: fridge.Store) -> None:
    hits = f.counter("hits")
    stop = threading.Event()
    failures: list[BaseException] = []

    def count() -> None:
        try:
            own = f.counter("hits")
            for _ in range(3000):
                own.increment()
        except BaseException as error:
            failures.append(error)

    def delete() -> None:
        while not stop.is_set():
            f.delete("hits")

    workers = [threading.Thread(target=count) for _ in range(3)]
    deleter = threading.Thread(target=delete)
    for thread in [*workers, deleter]:
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    deleter.join()
    assert not failures
    hits.set(0)
    assert hits.increment() == 1
    assert f.verify().findings == 0
