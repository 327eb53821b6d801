"""docs/peers.md: each row of other systems' behaviour names the test that shows what fridge does; those without a home are here.

A test here is named after its row: Z of ZealPHP's Store, T of OpenSwoole's Table, S of frankenstate.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.M)
NAMED = re.compile(r"`(tests/[\w/]+\.(?:py|c|def))(?:::([\w\" ,-]+))?`")


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


# --- the page ------------------------------------------------------------------------------------------------------


def rows() -> list[tuple[str, str, str, str]]:
    return ROW.findall((ROOT / "docs" / "peers.md").read_text())


def test_the_page_has_the_rows_in_order() -> None:
    names = [row[0] for row in rows()]
    assert len(names) > 25
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "tests"), [(row[0], row[3]) for row in rows()], ids=[row[0] for row in rows()])
def test_each_row_names_tests_that_exist(name: str, tests: str) -> None:
    named = NAMED.findall(tests)
    assert named, f"{name} names no test"
    for path, test in named:
        text = (ROOT / path).read_text()
        assert not test or re.search(rf"\b{re.escape(test)}\b", text), f"{name}: {path} has no {test}"


# --- ZealPHP -------------------------------------------------------------------------------------------------------


def declare_late(path: str, ready: Any) -> None:
    with fridge.open(path) as f:
        f.table("late", {"v": "int32"}, capacity=4).set("from the child", v=7)
        ready.set()


def test_Z1_a_table_may_be_made_at_any_time_by_any_process(f: fridge.Store) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    child = spawn.Process(target=declare_late, args=(f.path, ready))
    child.start()
    assert ready.wait(60)
    child.join()
    assert f.table("late").get("from the child", "v") == 7
    again = f.table("late", {"v": "int32"}, capacity=4)
    assert again.get("from the child", "v") == 7, "made again it is attached to, never replaced"


def test_Z2_Z5_failures_are_exceptions(f: fridge.Store) -> None:
    t = f.table("t", {"v": "int8"}, capacity=1)
    t.set("a")
    with pytest.raises(errors.TableFullError, match="'t' is full"):
        t.set("b")
    with pytest.raises(errors.UnknownTableError):
        f.table("unknown")
    assert (t.delete("b"), "b" in t, t.delete("a")) == (False, False, True)


def test_Z6_arithmetic_makes_rows_and_floats_stay_floats(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32", "x": "float64", "s": "str:4"}, capacity=4)
    assert t.incr("k", "x", 0.25) == 0.25
    assert t.decr("k", "x", 0.5) == -0.25
    assert t.decr("other", "n") == -1
    assert t.get("other") == {"n": -1, "x": 0.0, "s": ""}


# --- OpenSwoole ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capacity", [1, 7, 64, 1000])
def test_T1_T7_a_table_of_n_rows_takes_n_rows_of_any_names(f: fridge.Store, capacity: int) -> None:
    for form in ("{:x}", "the same long prefix of every key, {}", "{}" + "0" * 100):
        t = f.table("t", {"v": "int8"}, capacity=capacity)
        assert t.capacity == capacity
        assert t.mset({form.format(i): {} for i in range(capacity)}) == capacity
        with pytest.raises(errors.TableFullError):
            t.set("one more")
        f.drop_table("t")


def test_T2_columns_are_as_wide_as_they_say(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int8", "s": "str:5"}, capacity=2)
    t.set("k", n=127, s="abcde")
    with pytest.raises(errors.TooLongError):
        t.set("k", s="abcdef")
    with pytest.raises(errors.ColumnRangeError):
        t.incr("k", "n")
    with pytest.raises(errors.SchemaError, match="str:0"):
        f.table("u", {"s": "str:0"}, capacity=2)
    assert t.get("k") == {"n": 127, "s": "abcde"}


def test_T3_memory_is_told_and_taken_at_once(f: fridge.Store) -> None:
    before = f.info()["used"]
    t = f.table("t", {"n": "int64", "s": "str:30"}, capacity=10_000)
    assert t.memory_bytes >= 10_000 * (64 + 8 + 32)
    taken = f.info()["used"]
    assert taken - before >= t.memory_bytes
    t.mset({f"key {i}": {"n": i, "s": "x" * 30} for i in range(10_000)})
    assert f.info()["used"] - taken < t.memory_bytes // 2, "rows were paid for; the index grows"


def test_T5_long_keys_are_keys_of_their_own(f: fridge.Store) -> None:
    t = f.table("t", {"v": "int32"}, capacity=4)
    a, b = "x" * 63 + "a", "x" * 63 + "b"
    t.mset({a: {"v": 1}, b: {"v": 2}, "": {"v": 3}})
    assert [t.get(key, "v") for key in (a, b, "")] == [1, 2, 3]
    assert set(t) == {a.encode(), b.encode(), b""}
    with pytest.raises(errors.TooLongError):
        t.set("x" * 65_536)


def test_T9_a_refused_increment_leaves_no_row(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int64", "s": "str:4"}, capacity=4)
    for column, cls in (("nope", errors.UnknownColumnError), ("s", errors.ColumnTypeError)):
        with pytest.raises(cls):
            t.incr("k", column)
    t.set("max", n=2**63 - 1)
    with pytest.raises(errors.ColumnRangeError):
        t.incr("max", "n")
    assert dict(t.items()) == {b"max": {"n": 2**63 - 1, "s": ""}}


def test_T11_rows_that_stay_come_once_each_while_others_are_deleted(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32"}, capacity=1000)
    t.mset({f"k{i}": {"n": i} for i in range(1000)})
    seen = []
    for key, row in t.items():
        seen.append(key)
        if row["n"] % 2 == 0:
            t.delete(key)
    assert {key for key in seen if int(key[1:]) % 2} == {f"k{i}".encode() for i in range(1, 1000, 2)}
    assert len(t) == 500


def test_T13_add_update_cmpset_getdel_cmpdel(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32", "s": "str:4"}, capacity=4)
    assert t.update("k", set={"n": 1}, exists=False) == {"n": 1, "s": ""}, "add"
    assert t.update("k", set={"n": 9}, exists=False) is None
    assert t.update("k", set={"s": "a"}, exists=True) == {"n": 1, "s": "a"}, "update"
    assert t.update("absent", set={"s": "a"}, exists=True) is None
    assert t.update("k", set={"n": 2, "s": "b"}, if_={"n": 1, "s": "a"}) == {"n": 2, "s": "b"}, "cmpset"
    assert t.pop("k") == {"n": 2, "s": "b"}, "getdel"
    facts = f.info()["tables"]["t"]
    assert (facts["rows"], facts["capacity"], facts["refused"]) == (0, 4, 0), "stats"


# --- frankenstate --------------------------------------------------------------------------------------------------


def test_S2_values_are_kept_as_they_are_given(f: fridge.Store) -> None:
    for text in ("007", "1e3", "NaN", "Inf", "-0", "+5", "", "1" * 40):
        f.set("k", text)
        assert f.get("k") == text.encode()


def add(f: fridge.Store, n: int) -> None:
    for _ in range(n):
        f.incr("n")


def test_S4_increments_lose_nothing(f: fridge.Store) -> None:
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            add(f, 2000)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    assert f.get("n") == b"6000"


def test_S5_versions_move_with_their_own_key_only(f: fridge.Store) -> None:
    f.mset({"a": 1, "b\0x": b"\0\1"})
    _, version = f.get_versioned("a")
    f.set("b\0x", 2)
    f.delete("nothing")
    assert f.get_versioned("a") == (b"1", version)
    f.set("a", 1)
    assert f.get_versioned("a")[1] != version
    assert f.get("b\0x") == b"2", "a NUL is a byte like any other"
