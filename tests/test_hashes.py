"""Tests of fridge.hashes and of the hot methods on hashes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import fridge
from fridge import errors


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


def test_hashes(f: fridge.Store) -> None:
    assert f.hset("h", "a", 1) == 1
    assert f.hset("h", "a", 2) == 0
    assert f.hset("h", mapping={"b": 2, 3: 1.5}) == 2
    assert f.hset("h", "c", "x", mapping={"d": "y"}) == 2
    assert f.hset("h", items=["e", "z"]) == 1
    assert f.hget("h", "a") == b"2"
    assert f.hget("h", 3) == b"1.5"
    assert f.hget("h", "none") is None
    assert f.hget("none", "a") is None
    assert f.hgetall("h") == {b"a": b"2", b"b": b"2", b"3": b"1.5", b"c": b"x", b"d": b"y", b"e": b"z"}
    assert f.hgetall("none") == {}
    assert f.hsetnx("h", "a", 9) == 0
    assert f.hsetnx("h", "f", 9) == 1
    assert f.hmget("h", "a", "none") == [b"2", None]
    assert f.hmget("h", ["a", "b"]) == [b"2", b"2"]
    assert f.hdel("h", "e", "f", "none") == 2
    assert f.hlen("h") == 5
    assert sorted(f.hkeys("h")) == [b"3", b"a", b"b", b"c", b"d"]
    assert sorted(f.hvals("h")) == [b"1.5", b"2", b"2", b"x", b"y"]
    assert f.hexists("h", "a") is True
    assert f.hexists("h", "none") is False
    assert f.hincrby("h", "a") == 3
    assert f.hincrby("h", "a", -5) == -2
    assert f.hincrbyfloat("h", "3", 0.25) == 1.75
    assert f.hstrlen("h", "c") == 1
    assert f.hcas("h", "c", "x", "new") is True
    assert f.hcas("h", "c", "x", "new") is False
    assert f.hscan("h", match="[ab]") in [(0, {b"a": b"-2", b"b": b"2"}), (0, {b"b": b"2", b"a": b"-2"})]
    assert dict(f.hscan_iter("h", match="c")) == {b"c": b"new"}
    assert f.hscan("h", match="c", no_values=True) == (0, [b"c"])
    with pytest.raises(errors.NotAnIntegerError):
        f.hincrby("h", "c")
    calls = [lambda: f.hset("h"), lambda: f.hset("h", "a"), lambda: f.hset("h", "a", None),
             lambda: f.hset("h", mapping={"a": None})]  # type: ignore[dict-item]  # fmt: skip
    for call in calls:
        with pytest.raises(errors.FridgeError):
            call()


def test_a_large_hash_is_iterated_whole(f: fridge.Store) -> None:
    f.hset("h", mapping={f"field{i}": i for i in range(2000)})
    assert f.hlen("h") == 2000
    assert len(dict(f.hscan_iter("h", count=50))) == 2000
    assert f.hget("h", "field1999") == b"1999"
    assert f.hincrby("h", "field7", 3) == 10


def test_the_wrong_kind_is_refused_and_nothing_changes(f: fridge.Store) -> None:
    f.hset("h", "a", 1)
    f.set("s", "x")
    calls = [lambda: f.get("h"), lambda: f.incr("h"), lambda: f.append("h", "x"), lambda: f.cas("h", "a", "b"),
             lambda: f.get_versioned("h"), lambda: f.getset("h", 1), lambda: f.hget("s", "a"), lambda: f.hset("s", "a", 1),
             lambda: f.hincrby("s", "a"), lambda: f.hgetall("s"), lambda: f.hcas("s", "a", 1, 2)]  # fmt: skip
    for call in calls:
        with pytest.raises(errors.WrongTypeError) as caught:
            call()
        assert caught.value.status == "WRONGTYPE"
        assert isinstance(caught.value, TypeError)
    assert (f.hgetall("h"), f.get("s")) == ({b"a": b"1"}, b"x")
