"""Tests of fridge.keys and of the hot methods on strings and keys: redis-py's return values, options, expiry, scans."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors

from .shim_fixture import output_under


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


# --- strings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "stored"),
    [("text", b"text"), ("é", "é".encode()), (b"\0\xff", b"\0\xff"), (7, b"7"), (-(2**70), str(-(2**70)).encode()),
     (1.5, b"1.5"), (1e100, b"1e+100"), (bytearray(b"ab"), b"ab"), (memoryview(b"cd"), b"cd"), ("", b""), (b"x", b"x"),
     ("0012", b"0012"), (2**63 - 1, str(2**63 - 1).encode())],
)  # fmt: skip
def test_values_come_back_as_redis_py_encodes_them(f: fridge.Store, value: Any, stored: bytes) -> None:
    assert f.set("k", value) is True
    assert f.get("k") == stored
    assert f.mset({"k2": value}) is True
    assert f.get("k2") == stored


@pytest.mark.parametrize("key", ["k", "é", b"\0\xff", bytearray(b"k"), memoryview(b"k"), "", "x" * 65536])
def test_keys_are_str_or_bytes(f: fridge.Store, key: Any) -> None:
    assert f.set(key, 1) is True
    assert f.get(key) == b"1"
    assert f.strlen(key) == 1
    assert f.delete(key) == 1


@pytest.mark.parametrize("value", [True, [], {}, object()])
def test_other_values_are_refused_by_name(f: fridge.Store, value: Any) -> None:
    name = type(value).__name__
    for call in (lambda: f.set("k", value), lambda: f.append("k", value), lambda: f.hset("k", "a", value)):
        with pytest.raises(errors.ArgumentError, match=name):
            call()
    assert f.exists("k") == 0


@pytest.mark.parametrize("key", [1, None, 1.5, True, []])
def test_other_keys_are_refused_by_name(f: fridge.Store, key: Any) -> None:
    for call in (lambda: f.get(key), lambda: f.set(key, 1), lambda: f.incr(key), lambda: f.ttl(key), lambda: f.delete(key)):
        with pytest.raises(errors.ArgumentError, match=type(key).__name__):
            call()


def test_too_long_a_key_is_refused(f: fridge.Store) -> None:
    for call in (lambda: f.get("x" * 65537), lambda: f.set("x" * 65537, 1)):
        with pytest.raises(errors.TooLongError, match="65536"):
            call()


@pytest.mark.parametrize("size", [1, 31, 32, 256, 257, 4096, 65536, 65537, 1 << 20, 3_000_001])
def test_values_of_every_size(f: fridge.Store, size: int) -> None:
    value = os.urandom(size)
    assert f.set("k", value) is True
    assert f.get("k") == value
    assert f.hset("h", "a", value) == 1
    assert f.hget("h", "a") == value
    assert f.cas("k", value, value[::-1]) is True
    assert f.get_versioned("k")[0] == value[::-1]


def test_set_with_options(f: fridge.Store) -> None:
    assert f.set("k", "a", nx=True) is True
    assert f.set("k", "b", nx=True) is None
    assert f.set("k", "b", xx=True) is True
    assert f.set("none", "b", xx=True) is None
    assert f.set("k", "c", get=True) == b"b"
    assert f.set("new", "c", get=True) is None
    assert f.get("new") == b"c"
    assert f.set("k", "d", ex=100) is True
    assert 99 <= f.ttl("k") <= 100
    assert f.set("k", "e", keepttl=True) is True
    assert 99 <= f.ttl("k") <= 100
    assert f.set("k", "e") is True
    assert f.ttl("k") == -1
    assert f.set("k", "f", px=100_000) is True
    assert 99_000 <= f.pttl("k") <= 100_000
    assert f.set("k", "g", ex=timedelta(minutes=1)) is True
    assert 59 <= f.ttl("k") <= 60
    at = int(time.time()) + 500
    assert f.set("k", "h", exat=at) is True
    assert f.expiretime("k") == at
    assert f.set("k", "i", pxat=datetime.fromtimestamp(at + 1, timezone.utc)) is True
    assert f.pexpiretime("k") == (at + 1) * 1000
    assert f.set("k", "j", ifeq="i") is True
    assert f.set("k", "k", ifeq="i") is None
    assert f.set("k", "k", ifne="i") is True
    assert f.get("k") == b"k"


@pytest.mark.parametrize("options", [{"ex": 0}, {"ex": -1}, {"px": 0}, {"nx": True, "xx": True}, {"ex": 1, "px": 1},
                                     {"ex": 1, "keepttl": True}, {"ex": 2**70}, {"ex": "x"}])  # fmt: skip
def test_set_refuses_bad_options_and_changes_nothing(f: fridge.Store, options: dict[str, Any]) -> None:
    f.set("k", "v")
    with pytest.raises((errors.ArgumentError, errors.NotAnIntegerError)):
        f.set("k", "w", **options)
    assert f.get("k") == b"v"


def test_arguments_by_name_and_wrong_ones(f: fridge.Store) -> None:
    assert f.set(name="k", value="v") is True
    assert f.get(name="k") == b"v"
    assert f.incr(name="n", amount=4) == 4
    with pytest.raises(TypeError, match="missing required argument 'name'"):
        f.get()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'nme'"):
        f.get(nme="k")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="multiple values for argument 'name'"):
        f.incr("k", name="k")  # type: ignore[misc]
    with pytest.raises(TypeError, match="at most 2"):
        f.incr("k", 1, 2)  # type: ignore[call-arg]


def test_strings(f: fridge.Store) -> None:
    assert f.setnx("a", 1) is True
    assert f.setnx("a", 2) is False
    assert f.setex("b", 100, "x") is True
    assert f.psetex("b", 100_000, "x") is True
    assert f.getset("a", "new") == b"1"
    assert f.getdel("a") == b"new"
    assert f.getdel("a") is None
    assert f.getex("b") == b"x"
    assert f.getex("b", persist=True) == b"x"
    assert f.ttl("b") == -1
    assert f.getex("b", ex=100) == b"x"
    assert 99 <= f.ttl("b") <= 100
    assert f.mset({"m1": 1, b"m2": "two"}) is True
    assert f.mget(["m1", "m2", "m3"]) == [b"1", b"two", None]
    assert f.mget("m1", "m2") == [b"1", b"two"]
    assert f.msetnx({"m2": 1, "m4": 1}) is False
    assert f.exists("m4") == 0
    assert f.msetnx({"m4": 1, "m5": 1}) is True
    assert f.append("s", "Hello ") == 6
    assert f.append("s", "World") == 11
    assert f.strlen("s") == 11
    assert f.getrange("s", 0, 4) == b"Hello"
    assert f.getrange("s", -5, -1) == b"World"
    assert f.getrange("none", 0, -1) == b""
    assert f.setrange("s", 6, "Redis") == 11
    assert f.get("s") == b"Hello Redis"
    assert f.strlen("none") == 0


def test_numbers(f: fridge.Store) -> None:
    assert [f.incr("n"), f.incr("n", 5), f.incrby("n", 4), f.decr("n"), f.decrby("n", 9)] == [1, 6, 10, 9, 0]
    assert f.incrbyfloat("x", 1.5) == 1.5
    assert f.incrbyfloat("x") == 2.5
    assert f.incr("limit", 2**63 - 1) == 2**63 - 1
    with pytest.raises(errors.CounterOverflowError):
        f.incr("limit")
    with pytest.raises(OverflowError):
        f.decrby("n", -(2**63))
    f.set("text", "abc")
    for call in (lambda: f.incr("text"), lambda: f.incr("n", 2**63), lambda: f.incr("n", 1.5), lambda: f.incr("n", True)):  # type: ignore[arg-type]
        with pytest.raises(errors.NotAnIntegerError):
            call()
    with pytest.raises(errors.NotAFloatError):
        f.incrbyfloat("text", 1)
    assert (f.get("limit"), f.get("n"), f.get("text")) == (str(2**63 - 1).encode(), b"0", b"abc")


def test_compare_and_set(f: fridge.Store) -> None:
    assert f.cas("k", "old", "new") is False
    assert f.cas("k", None, "first") is True
    assert f.cas("k", None, "second") is False
    f.expire("k", 100)
    assert f.cas("k", b"first", "second") is True
    assert f.get("k") == b"second"
    assert f.ttl("k") > 0, "cas keeps the TTL"
    f.set("n", 5)
    assert f.cas("n", 5, 6) is True
    assert f.incr("n") == 7


def test_versions(f: fridge.Store) -> None:
    value, absent = f.get_versioned("k")
    assert value is None
    assert f.cas_version("k", absent, "a") is True
    value, first = f.get_versioned("k")
    assert value == b"a"
    assert f.cas_version("k", absent, "b") is False
    assert f.cas_version("k", first, "b") is True
    _, second = f.get_versioned("k")
    assert second != first
    f.delete("k")
    f.set("k", "b")
    assert f.get_versioned("k")[1] not in (first, second)
    assert f.cas_version("k", second, "c") is False
    with pytest.raises(errors.ArgumentError):
        f.cas_version("k", -1, "c")


# --- keys ----------------------------------------------------------------------------------------------------------


def test_keys(f: fridge.Store) -> None:
    f.mset({"a": 1, "b": 2, "c": 3})
    assert f.exists("a") == 1
    assert f.exists("a", "b", "a", "none") == 3
    assert f.delete("a", "none") == 1
    assert f.delete("none") == 0
    assert f.unlink("b", "c") == 2
    f.set("a", 1)
    f.hset("h", "x", 1)
    assert f.touch("a", "h", "none") == 2
    assert [f.type("a"), f.type("h"), f.type("none")] == [b"string", b"hash", b"none"]
    assert f.rename("a", "z") is True
    assert f.renamenx("z", "h") is False
    assert f.renamenx("z", "y") is True
    assert f.copy("y", "x") is True
    assert f.copy("y", "x") is False
    assert f.copy("h", "x", replace=True) is True
    assert f.type("x") == b"hash"
    assert f.copy("y", "y", destination_db=2) is True
    with pytest.raises(errors.MissingKeyError):
        f.rename("none", "a")
    with pytest.raises(KeyError):
        f.rename("none", "a")
    assert sorted(f.keys()) == [b"h", b"x", b"y"]
    assert f.keys("[xy]") == [b"x", b"y"] or f.keys("[xy]") == [b"y", b"x"]
    assert f.randomkey() in (b"h", b"x", b"y")
    assert f.dbsize() == 3
    assert f.flushdb() is True
    assert f.dbsize() == 0
    assert f.randomkey() is None
    assert f.flushall() is True
    with fridge.open(f.path, db=2) as other:
        assert other.dbsize() == 0


def test_expiry(f: fridge.Store) -> None:
    f.set("k", "v")
    assert (f.ttl("k"), f.pttl("none"), f.expiretime("k"), f.pexpiretime("none")) == (-1, -2, -1, -2)
    assert f.expire("none", 10) is False
    assert f.expire("k", 100, xx=True) is False
    assert f.expire("k", 100, nx=True) is True
    assert f.expire("k", 50, gt=True) is False
    assert f.pexpire("k", timedelta(seconds=50), lt=True) is True
    assert 49 <= f.ttl("k") <= 50
    at = int(time.time()) + 100
    assert f.expireat("k", datetime.fromtimestamp(at, timezone.utc)) is True
    assert f.expiretime("k") == at
    assert f.pexpireat("k", at * 1000 + 5) is True
    assert f.pexpiretime("k") == at * 1000 + 5
    assert f.persist("k") is True
    assert f.persist("k") is False
    assert f.expire("k", -1) is True
    assert f.get("k") is None


def wait_until_gone(f: fridge.Store, key: str) -> None:
    """Return once the engine says that a key has no time left."""
    while f.pttl(key) != -2:
        pass


JUMP = """
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *at) {
    int (*call)(clockid_t, struct timespec *) = real("clock_gettime"), result = call(clock, at);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) at->tv_sec += DAYS * 86400;
    return result;
}
"""


@pytest.mark.parametrize("days", [-3, 3])
def test_expiry_does_not_follow_a_jump_of_the_wall_clock(f: fridge.Store, tmp_path: Path, days: int) -> None:
    f.set("k", "v", ex=60)
    there = "import fridge, time; f = fridge.open(PATH); print(int(time.time()), f.get('k'), f.ttl('k'), f.set('l', 'v', ex=60))"
    said = output_under(f"#define DAYS ({days}L)\n{JUMP}", there.replace("PATH", repr(f.path)), tmp_path).split()
    assert abs(int(said[0]) - time.time() - days * 86400) < 60, "the clock has jumped there"
    assert said[1] == "b'v'"
    assert 0 < int(said[2]) <= 60
    assert 0 < f.ttl("k") <= 60
    assert 0 < f.ttl("l") <= 60


def test_what_is_expired_is_absent_to_every_hot_method(f: fridge.Store) -> None:
    calls: dict[str, tuple[Any, Any]] = {
        "get": (lambda: f.get("k"), None),
        "get_versioned": (lambda: f.get_versioned("k")[0], None),
        "incr": (lambda: f.incr("k"), 1),
        "delete": (lambda: f.delete("k"), 0),
        "exists": (lambda: f.exists("k"), 0),
        "cas": (lambda: f.cas("k", "5", "6"), False),
        "set": (lambda: f.set("k", "n", nx=True), True),
        "hset": (lambda: f.hset("k", "a", 1), 1),
        "hget": (lambda: f.hget("k", "a"), None),
        "hincrby": (lambda: f.hincrby("k", "a", 3), 3),
        "hcas": (lambda: f.hcas("k", "a", "5", "6"), False),
    }
    for name, (call, expected) in calls.items():
        f.delete("k")
        if name.startswith("h"):
            f.hset("k", "a", "5")
        else:
            f.set("k", "5")
        f.pexpire("k", 1)
        wait_until_gone(f, "k")
        assert call() == expected, name
        if f.exists("k"):
            assert f.ttl("k") == -1, name


def test_scans_see_every_key(f: fridge.Store) -> None:
    for i in range(500):
        f.set(f"user:{i}", i)
    f.hset("user:hash", "a", 1)
    assert len(set(f.scan_iter())) == 501
    assert len(set(f.scan_iter(match="user:4*", count=100))) == 111
    assert list(f.scan_iter(_type="hash")) == [b"user:hash"]
    cursor, keys = f.scan(count=10)
    assert isinstance(cursor, int)
    assert len(keys) >= 10
