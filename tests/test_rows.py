"""Tests of fridge.table beyond one column of one row: conditions, batches, pop, clear, pages; rows of classes.

Rows such as Z9 or T11 are docs/peers.md's.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypedDict

import pytest

import fridge
from fridge import errors

SCHEMA = {"count": "int32", "reset": "int64", "note": "str:16", "raw": "bytes:4", "ok": "bool", "x": "float64", "big": "uint64"}
ZERO = {"count": 0, "reset": 0, "note": "", "raw": b"", "ok": False, "x": 0.0, "big": 0}


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


@pytest.fixture
def rate(f: fridge.Store) -> fridge.Table:
    return f.table("rate", SCHEMA, capacity=20)


def everything(t: fridge.Table) -> dict[Any, Any]:
    return dict(t.items())


# --- update --------------------------------------------------------------------------------------------------------


def test_update_changes_several_columns_and_returns_the_row(rate: fridge.Table) -> None:
    assert rate.update("ip", incr={"count": 1, "x": 0.5}, set={"reset": 9, "note": "api"}) == {
        **ZERO, "count": 1, "x": 0.5, "reset": 9, "note": "api"}  # fmt: skip
    assert rate.update("ip", incr={"count": 2}, set={"reset": 8}) == rate.get("ip")
    assert rate.get("ip", "count") == 3
    assert rate.update("ip", incr={"count": -3, "big": 1}) == {**ZERO, "x": 0.5, "reset": 8, "note": "api", "big": 1}
    assert rate.update("ip") == rate.get("ip"), "with nothing to do it is a look"


def test_update_happens_only_if_every_condition_holds(rate: fridge.Table) -> None:
    rate.set("ip", count=5, reset=9, note="m", ok=True, x=1.5, big=2**64 - 1, raw=b"ab")
    yes: list[dict[str, Any]] = [
        {"count": 5}, {"count": ("<", 6)}, {"count": ("<=", 5)}, {"count": (">", 4)}, {"count": (">=", 5)}, {"count": ("!=", 4)},
        {"count": ("==", 5)}, {"count": (">=", 0, "<", 10)}, {"note": "m"}, {"note": ("<", "n")}, {"ok": True}, {"x": 1.5},
        {"x": (">", 1)}, {"big": (">", 2**63)}, {"raw": b"ab"}, {"count": ("<", 2**40)}, {"count": 5, "reset": 9, "note": "m"}, {},
    ]  # fmt: skip
    no: list[dict[str, Any]] = [
        {"count": 4}, {"count": ("<", 5)}, {"count": ("<=", 4)}, {"count": (">", 5)}, {"count": (">=", 6)}, {"count": ("!=", 5)},
        {"count": ("==", 6)}, {"count": (">=", 0, "<", 5)}, {"note": "mm"}, {"note": "x" * 99}, {"ok": False}, {"x": math.nan},
        {"big": ("<", 2**63)}, {"raw": b"a"}, {"count": (">", 2**40)}, {"count": 5, "reset": 9, "note": "x"},
    ]  # fmt: skip
    before = rate.get("ip")
    for condition in no:
        assert rate.update("ip", incr={"reset": 1}, set={"note": "w"}, if_=condition) is None, condition
        assert rate.update("ip", incr={"reset": 1}, if_=condition) is None, condition
        assert rate.get("ip") == before
    for condition in yes:
        assert rate.update("ip", set={"raw": b"ab"}, if_=condition) == before, condition
        assert rate.update("ip", incr={"count": 0}, if_=condition) == before, condition


def test_update_of_an_absent_row(rate: fridge.Table) -> None:
    assert rate.update("ip", incr={"count": 1}, if_={"count": 0}) is None, "no condition holds for what is not there"
    assert rate.update("ip", incr={"count": 1}, exists=True) is None
    assert len(rate) == 0
    assert rate.update("ip", incr={"count": 1}, if_={"count": 7}, default={"count": 7, "note": "new"}) == {
        **ZERO, "count": 8, "note": "new"}  # fmt: skip
    assert rate.update("ip", incr={"count": 1}, default={"count": 50}) == {**ZERO, "count": 9, "note": "new"}
    assert rate.update("ip", set={"count": 1}, exists=False) is None, "insert, but never overwrite"
    assert rate.update("other", set={"count": 1}, exists=False) == {**ZERO, "count": 1}
    assert rate.update("other", incr={"count": 1}, exists=True) == {**ZERO, "count": 2}


def test_a_fixed_window_limiter_is_one_call(rate: fridge.Table) -> None:
    """Z15: get, compare, set, incr is a race; here one step decides, and a full table is an error, not an open door."""

    def allowed(ip: str, now: int, limit: int = 3, window: int = 60) -> bool:
        if rate.update(ip, set={"count": 1, "reset": now + window}, if_={"reset": ("<=", now)}, default={}) is not None:
            return True
        return rate.update(ip, incr={"count": 1}, if_={"count": ("<", limit)}) is not None

    assert [allowed("ip", 1000) for _ in range(5)] == [True, True, True, False, False]
    assert [allowed("ip", 1060) for _ in range(4)] == [True, True, True, False]
    for i in range(19):
        assert allowed(f"ip{i}", 1000)
    with pytest.raises(errors.TableFullError):
        allowed("one more", 1000)


def many_updates(path: str, results: Any) -> None:
    with fridge.open(path) as f:
        t = f.table("shared")
        won = 0
        for _ in range(3000):
            t.update("row", incr={"a": 1, "b": -1})
            won += t.update("row", incr={"c": 1}, if_={"c": ("<", 5000)}) is not None
        results.put(won)


def test_updates_of_many_processes_lose_nothing(f: fridge.Store) -> None:
    t = f.table("shared", {"a": "int64", "b": "int64", "c": "int32"}, capacity=1)
    spawn = multiprocessing.get_context("spawn")
    results: Any = spawn.Queue()
    workers = [spawn.Process(target=many_updates, args=(f.path, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        row = t.get("row")
        assert row is None or row["a"] == -row["b"]
    assert [worker.exitcode for worker in workers] == [0, 0, 0], "who died has put nothing into the queue"
    won = sum(results.get(timeout=60) for _ in workers)
    assert t.get("row") == {"a": 9000, "b": -9000, "c": 5000}
    assert won == 5000
    assert f.verify().findings == 0


def test_update_may_return_one_column(rate: fridge.Table) -> None:
    assert rate.update("ip", incr={"count": 5}, set={"note": "x"}, returning="count") == 5
    assert rate.update("ip", returning="note") == "x"
    assert rate.update("ip", incr={"count": 1}, if_={"count": 7}, returning="count") is None
    assert rate.update("ip", incr={"count": -5}, returning="count") == 0, "0 is no None"
    with pytest.raises(errors.UnknownColumnError, match="nope"):
        rate.update("ip", incr={"count": 1}, returning="nope")
    assert rate.get("ip", "count") == 0


def test_rows_expire(f: fridge.Store, rate: fridge.Table) -> None:
    assert rate.ttl("ip") is None
    assert rate.expire("ip", 5) is False
    rate.set("ip", count=1)
    assert rate.ttl("ip") == math.inf
    assert rate.expire("ip", timedelta(minutes=1)) is True
    assert 59 < (rate.ttl("ip") or 0) <= 60
    assert 59 <= f.ttl("rate:ip") <= 60
    assert rate.expire("ip", None) is True
    assert rate.expire("ip", None) is False
    assert rate.ttl("ip") == math.inf
    assert rate.expire("ip", 0.001) is True
    while "ip" in rate:
        pass
    assert (rate.get("ip"), rate.ttl("ip"), rate.pop("ip"), list(rate.items())) == (None, None, None, [])
    assert f.verify().findings == 0


def test_an_update_may_set_the_expiry_in_the_same_step(rate: fridge.Table) -> None:
    assert rate.update("ip", incr={"count": 1}, ex=100) == {**ZERO, "count": 1}
    assert 99 < (rate.ttl("ip") or 0) <= 100
    assert rate.update("ip", incr={"count": 1}) == {**ZERO, "count": 2}
    assert 98 < (rate.ttl("ip") or 0) <= 100, "and keeps it"
    assert rate.update("ip", if_={"count": 5}, ex=9) is None
    assert rate.update("ip", set={"count": 5}, ex=timedelta(seconds=0.001)) == {**ZERO, "count": 5}
    while "ip" in rate:
        pass
    assert rate.update("ip", incr={"count": 1}, returning="count") == 1
    assert rate.ttl("ip") == math.inf


@pytest.mark.parametrize("time", [0, -1, 0.0001, math.nan, math.inf, 1e12, "5", True, [], 10**400])
def test_times_that_are_none(rate: fridge.Table, time: Any) -> None:
    rate.set("ip", count=1)
    with pytest.raises(errors.ArgumentError, match="give seconds"):
        rate.expire("ip", time)
    with pytest.raises(errors.ArgumentError, match="ex is"):
        rate.update("ip", incr={"count": 1}, ex=time)
    assert (rate.get("ip", "count"), rate.ttl("ip")) == (1, math.inf)


def test_update_keeps_the_ttl(f: fridge.Store, rate: fridge.Table) -> None:
    rate.set("ip", count=1)
    f.expire("rate:ip", 100)
    rate.update("ip", incr={"count": 1}, set={"reset": 5})
    assert f.ttl("rate:ip") >= 99


@pytest.mark.parametrize(
    ("arguments", "cls", "says"),
    [({"set": {"nope": 1}}, errors.UnknownColumnError, "it has count, reset"),
     ({"incr": {"nope": 1}}, errors.UnknownColumnError, "nope"),
     ({"if_": {"nope": 1}}, errors.UnknownColumnError, "nope"), ({"default": {"nope": 1}}, errors.UnknownColumnError, "nope"),
     ({"set": {"count": "1"}}, errors.ColumnTypeError, "'1' is no int"),
     ({"set": {"count": 2**31}}, errors.ColumnRangeError, "2147483647"),
     ({"set": {"note": "x" * 17}}, errors.TooLongError, "the limit is 16"),
     ({"incr": {"count": 1.5}}, errors.NotAnIntegerError, "float"),
     ({"incr": {"count": True}}, errors.NotAnIntegerError, "bool"),
     ({"incr": {"count": 2**64}}, errors.NotAnIntegerError, "64-bit"),
     ({"incr": {"note": 1}}, errors.ColumnTypeError, "note"), ({"incr": {"ok": 1}}, errors.ColumnTypeError, "ok"),
     ({"incr": {"x": "1"}}, errors.ColumnTypeError, "no number"),
     ({"incr": {"x": math.inf}}, errors.CounterOverflowError, "Infinity"),
     ({"incr": {"count": 2**31 - 1}}, errors.ColumnRangeError, "5 \\+ 2147483647 is not between"),
     ({"incr": {"big": -1}}, errors.ColumnRangeError, "0 - 1"), ({"if_": {"count": "5"}}, errors.ColumnTypeError, "no int"),
     ({"if_": {"count": None}}, errors.ColumnTypeError, "None is no int"),
     ({"if_": {"count": ("~", 5)}}, errors.ArgumentError, "'~'"),
     ({"if_": {"count": ("<",)}}, errors.ArgumentError, "such as"), ({"if_": {"count": ()}}, errors.ArgumentError, "such as"),
     ({"set": {"count": 1}, "incr": {"count": 1}}, errors.ArgumentError, "both set and incremented"),
     ({"set": 5}, errors.ArgumentError, "a row is a dict"), ({"incr": [1]}, errors.ArgumentError, "a row is a dict"),
     ({"sett": {}}, TypeError, "sett")],
)  # fmt: skip
def test_an_update_that_cannot_be_changes_nothing(rate: fridge.Table, arguments: Any, cls: type[Exception], says: str) -> None:
    """T6, T9: an error has changed nothing; a row that was absent stays so."""
    rate.set("ip", count=5)
    before = rate.get("ip")
    with pytest.raises(cls, match=says):
        rate.update("ip", **{"set": {"reset": 1}, **arguments})
    with pytest.raises(cls):
        rate.update("new", **{**arguments, "incr": {**arguments["incr"], "count": 2**31}} if says.startswith("5") else arguments)
    assert everything(rate) == {b"ip": before}


def test_updates_take_any_mapping(rate: fridge.Table) -> None:
    assert rate.update("ip", set=OrderedDict(count=1), incr=MappingProxyType({"reset": 2})) == {**ZERO, "count": 1, "reset": 2}


# --- whole rows ----------------------------------------------------------------------------------------------------


def test_set_takes_a_row_or_columns(rate: fridge.Table) -> None:
    assert rate.set("a", {"count": 1, "note": "x"}) is True
    assert rate.set("a", {"reset": 2}) is False, "partial rows merge"
    assert rate.get("a") == {**ZERO, "count": 1, "note": "x", "reset": 2}
    with pytest.raises(TypeError, match="one row"):
        rate.set("a", {"count": 2}, reset=3)  # type: ignore[call-overload]
    with pytest.raises(errors.ArgumentError, match="a row is a dict"):
        rate.set("a", 5)  # type: ignore[call-overload]
    assert rate.get("a", "count") == 1


def test_get_with_a_default(rate: fridge.Table) -> None:
    """Z3, Z4, T8: what is not there is None, or what the caller says, and never a value that a row could hold."""
    missing = object()
    assert rate.get("ip") is None
    assert rate.get("ip", default=missing) is missing
    assert rate.get("ip", "count", missing) is missing
    rate.set("ip")
    assert rate.get("ip", "count", missing) == 0
    assert rate.get("ip", "note", default=missing) == ""
    assert rate.get("ip", default=missing) == ZERO
    with pytest.raises(errors.UnknownColumnError):
        rate.get("other", "nope", missing)


def test_setdefault(rate: fridge.Table) -> None:
    assert rate.setdefault("ip", count=7, note="new") == {**ZERO, "count": 7, "note": "new"}
    assert rate.setdefault("ip", count=8, note="other") == {**ZERO, "count": 7, "note": "new"}
    assert rate.setdefault("other", {"x": 1.5}) == {**ZERO, "x": 1.5}
    assert rate.setdefault("plain") == ZERO
    with pytest.raises(errors.ColumnRangeError):
        rate.setdefault("more", count=2**31)
    assert "more" not in rate


def test_pop_reads_and_deletes_in_one_step(f: fridge.Store, rate: fridge.Table) -> None:
    """T13: getdel."""
    rate.set("ip", count=5, note="x")
    assert rate.pop("ip") == {**ZERO, "count": 5, "note": "x"}
    assert rate.pop("ip") is None
    assert rate.pop("ip", 3) == 3
    rate.set("x" * 100, count=1)
    assert rate.pop("x" * 100) == {**ZERO, "count": 1}
    assert (len(rate), f.verify().findings) == (0, 0)


def test_each_row_is_popped_once(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32"}, capacity=2000)
    t.mset((f"k{i}", {"n": i}) for i in range(2000))
    got: list[int] = []

    def take() -> None:
        for i in range(2000):
            row = t.pop(f"k{i}")
            if row is not None:
                got.append(row["n"])

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(2000))


# --- several rows --------------------------------------------------------------------------------------------------


def test_mset_and_mget(rate: fridge.Table) -> None:
    """Z9: in the order of the question, absent rows included."""
    assert rate.mset({"a": {"count": 1}, b"b": {"note": "x", "count": 2}, "c" * 99: {}}) == 3
    assert rate.mset([("a", {"reset": 5}), ("d", {"x": 1.5})]) == 1
    rows = rate.mget(["d", "missing", "a", b"b", "c" * 99, "a"])
    a = {**ZERO, "count": 1, "reset": 5}
    assert rows == [{**ZERO, "x": 1.5}, None, a, {**ZERO, "count": 2, "note": "x"}, ZERO, a]
    assert rate.mget([]) == []
    assert rate.mset({}) == 0
    assert rate.mget(key for key in ("a",)) == [a]


def test_mset_is_all_or_nothing(f: fridge.Store, rate: fridge.Table) -> None:
    """Z9: no half of a batch, also when the table becomes full, or one value does not fit, in the middle."""
    rate.mset({f"k{i}": {"count": i, "reset": -i} for i in range(18)})
    before = everything(rate)
    with pytest.raises(errors.TableFullError, match="20 rows"):
        rate.mset({"k3": {"count": 99}, "new1": {"count": 1}, "new2": {}, "new3": {}, "k4": {"note": "never"}})
    with pytest.raises(errors.TooLongError):
        rate.mset({"k3": {"count": 99}, "new1": {"note": "x" * 17}})
    with pytest.raises(errors.ColumnTypeError):
        rate.mset({"k3": {"count": 99}, "new1": {"note": 5}})
    with pytest.raises(errors.UnknownColumnError):
        rate.mset({"k3": {"count": 99}, "new1": {"nope": 5}})
    with pytest.raises(errors.TooLongError):
        rate.mset({"k3": {"count": 99}, "n" * 70000: {}})
    assert everything(rate) == before
    assert rate.mset({"k3": {"count": 99}, "new1": {"count": 1}, "new2": {}}) == 2
    assert len(rate) == 20
    assert f.verify().findings == 0


def test_large_batches(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32", "s": "str:20"}, capacity=5000)
    assert t.mset({f"key {i}": {"n": i, "s": str(i)} for i in range(5000)}) == 5000
    assert t.mset({f"key {i}": {"n": -i, "s": f"-{i}"} for i in range(5000)}) == 0
    assert t.mget([f"key {i}" for i in range(5000)]) == [{"n": -i, "s": f"-{i}"} for i in range(5000)]
    assert t.mdelete([f"key {i}" for i in range(0, 6000, 2)]) == 2500
    assert len(t) == 2500
    assert f.verify().findings == 0


def write_pairs(path: str) -> None:
    with fridge.open(path) as f:
        t = f.table("pairs")
        i = 0
        while not f.exists("stop"):
            i += 1
            t.mset({"a": {"n": i, "s": str(i)}, "b": {"n": -i, "s": str(-i)}})


def test_batches_are_seen_whole(f: fridge.Store) -> None:
    """Two rows of one mset are never seen one without the other: by mget nor by a copy."""
    t = f.table("pairs", {"n": "int32", "s": "str:8"}, capacity=64)
    t.mset({"a": {}, "b": {}})
    writer = multiprocessing.get_context("fork").Process(target=write_pairs, args=(f.path,))
    writer.start()
    while t.get("a", "n") == 0:
        pass
    for _ in range(300):
        a, b = t.mget(["a", "b"])
        assert a is not None
        assert b is not None
        assert a["n"] == -b["n"]
        assert int(a["s"] or 0) == a["n"]
        copied = t.to_numpy()
        assert copied["n"].sum() == 0
    f.set("stop", 1)
    writer.join()
    assert writer.exitcode == 0


def test_mdelete(rate: fridge.Table) -> None:
    rate.mset({f"k{i}": {} for i in range(10)})
    assert rate.mdelete(["k1", "k2", "nope", b"k3", "k1"]) == 3
    assert len(rate) == 7


@pytest.mark.parametrize("keys", ["abc", b"abc", 5, None, [5], [None]])
def test_batches_take_lists_of_keys(rate: fridge.Table, keys: Any) -> None:
    rate.mset({"a": {}, "b": {}, "c": {}})
    for call in (rate.mget, rate.mdelete):
        with pytest.raises(errors.ArgumentError):
            call(keys)
    assert len(rate) == 3


@pytest.mark.parametrize("rows", ["abc", 5, None, [("a",)], ["ab"], {"a": 5}, {"a": None}, [("a", {}, 1)], {5: {}}])
def test_mset_takes_rows_by_key(rate: fridge.Table, rows: Any) -> None:
    with pytest.raises(errors.ArgumentError):
        rate.mset(rows)
    assert len(rate) == 0


def test_clear_is_one_step(f: fridge.Store, rate: fridge.Table) -> None:
    """Z7: not key by key; the table is there and empty, and its capacity is free."""
    f.set("other", 1)
    for _ in range(3):
        rate.mset({f"k{i}": {"count": i} for i in range(20)})
        assert rate.clear() == 20
        assert (len(rate), list(rate), rate.get("k1")) == (0, [], None)
    assert rate.clear() == 0
    assert f.get("other") == b"1"
    assert f.verify().findings == 0


def test_clear_again_and_again(f: fridge.Store) -> None:
    """Each clear takes a space id; they come back."""
    t = f.table("t", {"n": "int8"}, capacity=4)
    for i in range(3000):
        t.set("k", n=i % 100)
        assert t.clear() == 1
    assert f.verify().findings == 0


# --- names and pages -----------------------------------------------------------------------------------------------


def test_names_and_drop(f: fridge.Store, rate: fridge.Table) -> None:
    f.table("other", {"n": "int8"}, capacity=4)
    assert sorted(f.tables()) == ["other", "rate"]
    f.drop_table("rate")
    assert f.tables() == ["other"]
    with pytest.raises(errors.UnknownTableError):
        f.drop_table("rate")
    calls = (lambda: rate.update("a"), lambda: rate.mset({"a": {}}), lambda: rate.mget(["a"]), lambda: rate.mdelete(["a"]),
             lambda: rate.pop("a"), lambda: rate.scan(), rate.clear, lambda: rate.setdefault("a"), rate.to_numpy)  # fmt: skip
    for call in calls:
        with pytest.raises(errors.UnknownTableError, match="rate"):
            call()


def test_tables_of_a_file(f: fridge.Store, tmp_path: Path) -> None:
    file = tmp_path / "fridge.toml"
    file.write_text('port = 7000\n[tables.rate_limits]\ncapacity = 50\ncolumns = { count = "int32", note = "str:8" }\n')
    tables = f.declare_tables(file)
    assert tables["rate_limits"].incr("ip", "count") == 1
    assert (tables["rate_limits"].capacity, f.tables()) == (50, ["rate_limits"])
    f.declare_tables(file)
    file.write_text('[tables.rate_limits]\ncapacity = 51\ncolumns = { count = "int32", note = "str:8" }\n')
    with pytest.raises(errors.SchemaMismatchError, match="capacity is 50, not 51"):
        f.declare_tables(file)


def scan_on(path: str, cursor: int, results: Any) -> None:
    with fridge.open(path) as f:
        following, rows = f.table("t").scan(cursor, 50)
        results.put((following, [key for key, _ in rows]))


def test_a_cursor_goes_from_process_to_process(f: fridge.Store) -> None:
    """Z8, T11: pages cost their own size, and a cursor lives in no handle."""
    t = f.table("t", {"n": "int32"}, capacity=500)
    t.mset({f"k{i}": {"n": i} for i in range(500)})
    fork = multiprocessing.get_context("fork")
    results: Any = fork.Queue()
    cursor, seen, pages = 0, [], 0
    while cursor or not pages:
        child = fork.Process(target=scan_on, args=(f.path, cursor, results))
        child.start()
        cursor, keys = results.get()
        child.join()
        seen += keys
        pages += 1
    assert sorted(seen) == sorted(f"k{i}".encode() for i in range(500))
    assert 2 < pages < 40
    assert t.scan(0, 10_000)[0] == 0


def test_nested_iteration(f: fridge.Store) -> None:
    """T11: iterators do not share their place."""
    t = f.table("t", {"n": "int32"}, capacity=30)
    t.mset({f"k{i}": {"n": i} for i in range(30)})
    assert sum(1 for _ in t.items() for _ in t.items()) == 900


@pytest.mark.parametrize(("cursor", "count"), [(-1, 10), (0, 0), ("0", 10), (0, 1.5), (0, True)])
def test_scan_refuses_what_is_no_cursor(rate: fridge.Table, cursor: Any, count: Any) -> None:
    with pytest.raises(errors.FridgeError):
        rate.scan(cursor, count)


# --- rows of classes -----------------------------------------------------------------------------------------------


class Limit(TypedDict):
    count: fridge.Int32
    reset: int
    note: Annotated[str, "str:16"]


@dataclass(frozen=True)
class Session:
    user: Annotated[str, "str:32"]
    hits: int = 0
    score: float = 0.0
    admin: bool = False
    token: Annotated[bytes, "bytes:8"] = b""


def test_a_typed_dict_is_a_schema(f: fridge.Store) -> None:
    t = f.table("limits", Limit, capacity=10)
    assert t.schema == {"count": "int32", "reset": "int64", "note": "str:16"}
    limit: Limit = {"count": 1, "reset": 2, "note": "x"}
    t.set("ip", limit)
    assert t.get("ip") == limit
    assert f.table("limits", dict(t.schema), capacity=10).get("ip") == limit, "the same table, however it is declared"


def test_a_dataclass_is_a_schema_and_its_rows_are_objects(f: fridge.Store) -> None:
    t = f.table("sessions", Session, capacity=10)
    assert t.schema == {"user": "str:32", "hits": "int64", "score": "float64", "admin": "bool", "token": "bytes:8"}
    t.set("a", Session("ann", token=b"\0\1"))
    assert t.get("a") == Session("ann", 0, 0.0, False, b"\0\1")
    assert t.update("a", incr={"hits": 1}, set={"admin": True}) == Session("ann", 1, 0.0, True, b"\0\1")
    assert t.setdefault("b", user="bob") == Session("bob")
    assert t.setdefault("b", Session("other")) == Session("bob")
    assert t.mset({"c": Session("cid"), "d": {"user": "dan"}}) == 2
    assert t.mget(["c", "d", "e"]) == [Session("cid"), Session("dan"), None]
    assert dict(t.items())[b"d"] == Session("dan") == t.pop("d")
    assert t.incr("a", "hits") == 2
    assert t.get("a", "hits") == 2
    with pytest.raises(errors.ArgumentError, match="a row is"):
        t.set("a", limit_of_another_class := object())  # type: ignore[call-overload]  # noqa: F841
    plain = f.table("sessions")
    assert plain.get("a") == {"user": "ann", "hits": 2, "score": 0.0, "admin": True, "token": b"\0\1"}


def test_classes_that_are_no_schema(f: fridge.Store) -> None:
    class Plain:
        a: int

    @dataclass
    class Factory:
        a: int = field(default_factory=int)

    @dataclass
    class NoInit:
        a: int = field(init=False)

    @dataclass
    class NoSize:
        a: str

    @dataclass
    class Other:
        a: list[int]

    @dataclass
    class Lies:
        a: Annotated[str, "int32"]

    @dataclass
    class Nothing:
        a: Annotated[int, 5]

    @dataclass
    class Odd:
        a: Annotated[int, "int7"]

    class Optional(TypedDict, total=False):
        a: int

    @dataclass
    class Unknown:
        a: Nowhere  # type: ignore[name-defined]  # noqa: F821

    cases: list[tuple[Any, str]] = [
        (Plain, "dataclass or TypedDict"), (Factory, "Factory.a"),
        (NoInit, "init=False"), (NoSize, 'Annotated\\[str, "str:64"\\]'), (Other, "no column type; annotate it with"),
        (Lies, "holds no str"), (Nothing, "names no column type"), (Odd, "int7"), (Optional, "a may not be optional"),
        (Unknown, "Nowhere"), (int, "got <class 'int'>"), ([], "got a list"),
    ]  # fmt: skip
    for cls, says in cases:
        with pytest.raises(errors.SchemaError, match=says) as caught:
            f.table("t", cls, capacity=4)
        assert caught.value.status == "SCHEMA"
    assert f.tables() == []


# --- closed, read-only, forked -------------------------------------------------------------------------------------


def test_closed_handles_say_so(segment_path: Path) -> None:
    f = fridge.open(segment_path, size="16mb")
    t = f.table("t", {"n": "int32"}, capacity=4)
    f.close()
    calls = (lambda: t.update("a"), lambda: t.mset({"a": {}}), lambda: t.mget(["a"]), lambda: t.mdelete(["a"]), lambda: t.pop("a"),
             t.scan, t.clear, lambda: t.setdefault("a"), t.to_numpy, t.view, lambda: list(t.items()), lambda: f.tables(),
             lambda: f.drop_table("t"), lambda: t.expire("a", 1), lambda: t.ttl("a"))  # fmt: skip
    for call in calls:
        with pytest.raises(errors.ClosedError):
            call()


def test_a_read_only_segment_can_be_read(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32", "s": "str:8"}, capacity=4)
    t.mset({"a": {"n": 1, "s": "x"}, "b": {"n": 2}})
    with fridge.open(f.path, mode="r") as r:
        u = r.table("t")
        assert u.get("a") == {"n": 1, "s": "x"}
        assert u.mget(["b", "c"]) == [{"n": 2, "s": ""}, None]
        assert len(u.scan()[1]) == 2
        assert sorted(u.to_numpy()["n"].tolist()) == [1, 2]
        assert u.view().rows["n"][u.view().valid()].sum() == 3
        calls = (lambda: u.update("a", incr={"n": 1}), lambda: u.mset({"a": {}}), lambda: u.mdelete(["a"]), lambda: u.pop("a"),
                 u.clear, lambda: u.expire("a", 1), lambda: u.setdefault("a"), lambda: u.set("a", n=1))  # fmt: skip
        for call in calls:
            with pytest.raises(errors.ReadOnlyError):
                call()
    assert len(t) == 2


def test_updates_after_fork(rate: fridge.Table) -> None:
    rate.set("ip", count=0)
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            for _ in range(500):
                rate.update("ip", incr={"count": 1, "reset": -1})
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    row = rate.get("ip")
    assert row is not None
    assert (row["count"], row["reset"]) == (2000, -2000)
