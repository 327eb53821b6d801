"""Tests of fridge.table: declaring, typed rows, exact capacity, limits with names in their errors, iteration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors, schema

SCHEMA = {"count": "int32", "reset": "int64", "note": "str:16", "raw": "bytes:4", "ok": "bool", "x": "float64", "big": "uint64"}
DEFAULTS = {"count": 0, "reset": 0, "note": "", "raw": b"", "ok": False, "x": 0.0, "big": 0}


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


@pytest.fixture
def rate(f: fridge.Store) -> fridge.Table:
    return f.table("rate", SCHEMA, capacity=20)


# --- declaring -----------------------------------------------------------------------------------------------------


def test_declaring_again_attaches(f: fridge.Store, rate: fridge.Table) -> None:
    rate.set("ip", count=1)
    assert f.table("rate", SCHEMA, capacity=20).get("ip", "count") == 1
    assert f.table("rate").get("ip", "count") == 1
    with fridge.open(f.path) as other:
        assert other.table("rate").get("ip", "count") == 1


def test_facts(rate: fridge.Table) -> None:
    assert (rate.name, rate.capacity, rate.schema, len(rate)) == ("rate", 20, SCHEMA, 0)
    assert rate.memory_bytes > 20 * 64


def test_another_schema_is_refused_with_the_differences(f: fridge.Store, rate: fridge.Table) -> None:
    with pytest.raises(errors.SchemaMismatchError, match="count"):
        f.table("rate", {**SCHEMA, "count": "int64"}, capacity=20)
    with pytest.raises(errors.SchemaMismatchError, match="21"):
        f.table("rate", SCHEMA, capacity=21)
    assert rate.schema == SCHEMA


@pytest.mark.parametrize(
    ("name", "columns", "capacity", "says"),
    [("t", {"a": "int7"}, 4, "int7"), ("t", {"a": "str"}, 4, "str"), ("t", {"a": "str:0"}, 4, "str:0"),
     ("t", {"a": "str:70000"}, 4, "70000"), ("t", {"": "int8"}, 4, "name"), ("t", {"a b": "int8"}, 4, "a b"),
     ("t", {}, 4, ""), ("t", {"a": "int8"}, 0, ""), ("a:b", {"a": "int8"}, 4, ""), ("", {"a": "int8"}, 4, ""),
     ("t", {f"c{i}": "int8" for i in range(65)}, 4, "64"), ("t", [("a", "int8")], 4, "dict"), ("t", {"a": 5}, 4, "str"),
     ("t", {5: "int8"}, 4, "str"), ("t", {"a": int}, 4, "str")],
)  # fmt: skip
def test_impossible_schemas_are_refused(f: fridge.Store, name: str, columns: Any, capacity: int, says: str) -> None:
    with pytest.raises(errors.SchemaError, match=says or None):
        f.table(name, columns, capacity=capacity)
    assert f.info()["tables"] == {}


def test_an_unknown_table_is_a_key_error(f: fridge.Store) -> None:
    with pytest.raises(errors.UnknownTableError, match="nowhere"):
        f.table("nowhere")
    with pytest.raises(KeyError):
        f.table("nowhere")


def test_a_prefix_that_keys_bear_is_refused(f: fridge.Store) -> None:
    f.mset({"t:1": 1, "t:2": 2})
    with pytest.raises(errors.SchemaError, match="2"):
        f.table("t", {"a": "int8"}, capacity=4)
    assert f.get("t:1") == b"1"


def test_a_dropped_table_is_unknown_to_its_handles(f: fridge.Store, rate: fridge.Table) -> None:
    rate.set("ip", count=1)
    f._run(b"TABLE", b"DROP", b"rate")
    for call in (lambda: rate.get("ip"), lambda: rate.set("ip", count=1), lambda: rate.incr("ip", "count"), lambda: list(rate)):
        with pytest.raises(errors.UnknownTableError, match="rate"):
            call()
    again = f.table("rate", {"n": "int8"}, capacity=3)
    assert again.incr("ip", "n") == 1
    with pytest.raises(errors.UnknownTableError):
        rate.get("ip")


def test_pairs_of_a_schema() -> None:
    assert schema.pairs({"a": "int8", "b": "str:4"}) == (("a", "int8"), ("b", "str:4"))


# --- rows ----------------------------------------------------------------------------------------------------------


def test_set_merges_and_get_is_typed(rate: fridge.Table) -> None:
    assert rate.get("ip") is None
    assert rate.get("ip", "count") is None
    assert rate.set("ip", count=1, note="é", ok=True) is True
    assert rate.get("ip") == {**DEFAULTS, "count": 1, "note": "é", "ok": True}
    assert rate.set("ip", raw=b"\0\xff", x=1.5, big=2**64 - 1, reset=-5) is False
    row = rate.get("ip")
    assert row == {"count": 1, "reset": -5, "note": "é", "raw": b"\0\xff", "ok": True, "x": 1.5, "big": 2**64 - 1}
    assert {name: type(value) for name, value in row.items()} == {name: type(value) for name, value in DEFAULTS.items()}
    for name, value in row.items():
        assert rate.get("ip", name) == value
        assert type(rate.get("ip", name)) is type(value)
    assert list(row) == list(SCHEMA)
    rate.set("ip", raw=bytearray(b"ab"), x=2, note="")
    assert rate.get("ip") == {**row, "raw": b"ab", "x": 2.0, "note": ""}


def test_a_row_may_be_set_without_columns(rate: fridge.Table) -> None:
    assert rate.set("ip") is True
    assert rate.get("ip") == DEFAULTS


def test_a_column_may_be_called_key(f: fridge.Store) -> None:
    t = f.table("t", {"key": "int8", "column": "int8"}, capacity=2)
    t.set("k", key=3, column=4)
    assert t.get("k") == {"key": 3, "column": 4}


def test_arithmetic(rate: fridge.Table) -> None:
    assert [rate.incr("ip", "count"), rate.incr("ip", "count", 5)] == [1, 6]
    assert [rate.decr("ip", "count", 2), rate.incr("ip", "count", by=-4)] == [4, 0]
    assert rate.incr("ip", "x", 0.5) == 0.5
    assert rate.decr("ip", "x", 2) == -1.5
    assert rate.incr("ip", "x") == -0.5
    rate.set("ip", big=2**64 - 2)
    assert rate.incr("ip", "big") == 2**64 - 1
    assert rate.incr("other", "reset", 7) == 7
    assert rate.get("other") == {**DEFAULTS, "reset": 7}


def test_cas(rate: fridge.Table) -> None:
    assert rate.cas("ip", "count", 0, 1) is False
    assert "ip" not in rate
    rate.set("ip", count=1, note="a", ok=True, x=0.1, raw=b"r", big=2**64 - 1)
    cases: list[tuple[str, Any, Any]] = [("count", 1, 2), ("note", "a", "b"), ("ok", True, False), ("x", 0.1, 0.2),
                                         ("raw", b"r", b"s"), ("big", 2**64 - 1, 0)]  # fmt: skip
    for column, expected, new in cases:
        assert rate.cas("ip", column, new, expected) is False, column
        assert rate.cas("ip", column, expected, new) is True, column
        assert rate.get("ip", column) == new
    with pytest.raises(errors.ColumnTypeError):
        rate.cas("ip", "count", "2", 3)


def test_delete_contains_and_length(rate: fridge.Table) -> None:
    rate.set("a", count=1)
    rate.set(b"b", count=2)
    assert len(rate) == 2
    assert "a" in rate
    assert b"a" in rate
    assert "c" not in rate
    assert rate.delete("a") is True
    assert rate.delete("a") is False
    assert (len(rate), "a" in rate, rate.get("a")) == (1, False, None)


@pytest.mark.parametrize("key", ["", "x" * 41, "x" * 300, "x" * 5000, "a:b:c", b"\0\xff", "é"])
def test_keys_of_every_sort(rate: fridge.Table, key: Any) -> None:
    rate.set(key, count=3)
    assert rate.incr(key, "count") == 4
    assert list(rate) == [key.encode() if isinstance(key, str) else key]
    assert rate.delete(key) is True


@pytest.mark.parametrize("key", [1, None, 1.5])
def test_other_keys_are_refused(rate: fridge.Table, key: Any) -> None:
    for call in (lambda: rate.get(key), lambda: rate.set(key, count=1), lambda: rate.incr(key, "count"), lambda: key in rate,
                 lambda: rate.delete(key)):  # fmt: skip
        with pytest.raises(errors.ArgumentError):
            call()
    assert len(rate) == 0


# --- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "cls", "says"),
    [("count", 2**31, errors.ColumnRangeError, "2147483648 is not between -2147483648 and 2147483647"),
     ("count", 2**80, errors.ColumnRangeError, f"{2**80} is not between -2147483648 and 2147483647"),
     ("count", -(2**80), errors.ColumnRangeError, "is not between"),
     ("count", "1", errors.ColumnTypeError, "'1' is no int"), ("count", 1.0, errors.ColumnTypeError, "1.0 is no int"),
     ("count", True, errors.ColumnTypeError, "True is no int"), ("count", None, errors.ColumnTypeError, "None is no int"),
     ("reset", 2**63, errors.ColumnRangeError, "9223372036854775807"),
     ("note", "x" * 17, errors.TooLongError, "17 bytes is too long, the limit is 16"),
     ("note", "é" * 9, errors.TooLongError, "18 bytes"), ("note", b"x", errors.ColumnTypeError, "is no str"),
     ("note", 5, errors.ColumnTypeError, "5 is no str"), ("raw", "x", errors.ColumnTypeError, "'x' is no bytes"),
     ("raw", b"12345", errors.TooLongError, "the limit is 4"), ("ok", 2, errors.ColumnRangeError, "between 0 and 1"),
     ("ok", "yes", errors.ColumnTypeError, "is no bool"), ("x", "1.5", errors.ColumnTypeError, "is no number"),
     ("x", float("nan"), errors.ColumnTypeError, "nan"), ("big", -1, errors.ColumnRangeError, "-1 is not between 0"),
     ("big", 2**64, errors.ColumnRangeError, str(2**64))],
)  # fmt: skip
def test_values_that_do_not_fit(rate: fridge.Table, column: str, value: Any, cls: type[Exception], says: str) -> None:
    rate.set("ip", count=5)
    before = rate.get("ip")
    with pytest.raises(cls, match=says) as caught:
        rate.set("ip", **{"reset": 1, column: value})
    assert f"table 'rate' column '{column}' is {SCHEMA[column]}" in str(caught.value)
    with pytest.raises(cls):
        rate.set("new", **{column: value})
    assert (rate.get("ip"), len(rate)) == (before, 1)


def test_sums_that_do_not_fit(rate: fridge.Table) -> None:
    rate.set("ip", count=2**31 - 1)
    for call in (lambda: rate.incr("ip", "count"), lambda: rate.decr("ip", "big"), lambda: rate.incr("new", "count", 2**40)):
        with pytest.raises(errors.ColumnRangeError, match="table 'rate' column"):
            call()
    with pytest.raises(errors.ColumnTypeError, match="note"):
        rate.incr("ip", "note")
    with pytest.raises(errors.NotAnIntegerError):
        rate.incr("ip", "count", 1.5)
    assert (rate.get("ip", "count"), len(rate)) == (2**31 - 1, 1)


def test_unknown_columns_are_refused_with_those_there_are(rate: fridge.Table) -> None:
    rate.set("ip", count=1)
    for call in (lambda: rate.get("ip", "nope"), lambda: rate.set("ip", count=2, nope=1), lambda: rate.incr("ip", "nope"),
                 lambda: rate.cas("ip", "nope", 1, 2), lambda: rate.incr("ip", 5)):  # type: ignore[arg-type]  # fmt: skip
        with pytest.raises(errors.UnknownColumnError, match="it has count, reset, note"):
            call()
    assert rate.get("ip", "count") == 1


def test_a_table_takes_its_capacity_and_no_row_more(f: fridge.Store, rate: fridge.Table) -> None:
    for i in range(20):
        assert rate.set(f"ip{i}", count=i) is True
    for call in (lambda: rate.set("more", count=1), lambda: rate.incr("more", "count")):
        with pytest.raises(errors.TableFullError) as caught:
            call()
        assert isinstance(caught.value, MemoryError)
        assert "rate" in str(caught.value)
    assert (len(rate), "more" in rate) == (20, False)
    assert rate.incr("ip3", "count") == 4, "rows that are there still change"
    assert f.info()["tables"]["rate"]["refused"] >= 2
    rate.delete("ip0")
    assert rate.set("more", count=1) is True


def test_expired_rows_make_room(f: fridge.Store, rate: fridge.Table) -> None:
    for i in range(20):
        rate.set(f"ip{i}", count=i)
    assert f.pexpire("rate:ip7", 1) is True
    while f.pttl("rate:ip7") != -2:
        pass
    assert "ip7" not in rate
    assert rate.get("ip7") is None
    assert rate.incr("more", "count") == 1
    assert len(rate) == 20
    assert f.verify().findings == 0


def test_an_expired_row_starts_anew(f: fridge.Store, rate: fridge.Table) -> None:
    rate.set("ip", count=5, note="old")
    f.pexpire("rate:ip", 1)
    while f.pttl("rate:ip") != -2:
        pass
    assert rate.incr("ip", "count") == 1
    assert (rate.get("ip", "note"), f.ttl("rate:ip")) == ("", -1)


# --- other ways to the same rows -----------------------------------------------------------------------------------


def test_a_row_is_the_key_of_its_name(f: fridge.Store, rate: fridge.Table) -> None:
    rate.set("ip", count=1, note="a")
    assert f.type("rate:ip") == b"hash"
    assert f.hget("rate:ip", "count") == b"1"
    assert f.hincrby("rate:ip", "count", 4) == 5
    assert f.hset("rate:ip", "note", "b") == 0
    assert f.hgetall("rate:ip")[b"ok"] == b"0"
    assert f.expire("rate:ip", 100) is True
    assert rate.get("ip", "count") == 5
    assert rate.get("ip", "note") == "b"
    assert f.ttl("rate:ip") >= 99, "typed writes keep the TTL"
    with pytest.raises(errors.WrongTypeError):
        f.get("rate:ip")
    with pytest.raises(errors.UnknownColumnError):
        f.hset("rate:ip", "nope", 1)
    with pytest.raises(errors.UnknownColumnError):
        f.hset("rate:ip", mapping={"count": 1, "nope": 1})
    assert f.delete("rate:ip") == 1
    assert rate.get("ip") is None


def test_a_table_of_one_column_answers_string_methods(f: fridge.Store) -> None:
    t = f.table("n", {"v": "int64"}, capacity=4)
    assert f.set("n:a", 5) is True
    assert f.incr("n:a") == 6
    assert f.get("n:a") == b"6"
    assert f.cas("n:a", 6, 7) is True
    assert t.get("a") == {"v": 7}


def test_flushing_keeps_the_declaration(f: fridge.Store, rate: fridge.Table) -> None:
    rate.set("ip", count=1)
    f.flushdb()
    assert (len(rate), rate.get("ip")) == (0, None)
    assert rate.incr("ip", "count") == 1
    assert list(rate.items()) == [(b"ip", {**DEFAULTS, "count": 1})]


# --- iteration -----------------------------------------------------------------------------------------------------


def test_iteration_returns_every_row(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32"}, capacity=1000)
    f.set("ordinary", 1)
    for i in range(1000):
        t.set(f"k{i}", n=i)
    assert {key: row["n"] for key, row in t.items()} == {f"k{i}".encode(): i for i in range(1000)}
    assert set(t.keys()) == {f"k{i}".encode() for i in range(1000)}
    with fridge.open(f.path, decode_responses=True) as s:
        assert set(s.table("t")) == {f"k{i}" for i in range(1000)}


def test_rows_that_stay_are_returned_while_others_come_and_go(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32"}, capacity=2000)
    for i in range(1000):
        t.set(f"stay{i}", n=i)
    seen = set()
    for number, (key, _) in enumerate(t.items()):
        seen.add(key)
        if number < 900:
            t.set(f"come{number}", n=1)
            t.delete(f"come{number - 5}")
    assert {f"stay{i}".encode() for i in range(1000)} <= seen


def test_rows_are_never_torn(f: fridge.Store) -> None:
    t = f.table("t", {"a": "int64", "b": "int64", "s": "str:32"}, capacity=4)
    t.set("k", a=0, b=0, s="0")
    pid = os.fork()
    if pid == 0:
        for i in range(30_000):
            t.set("k", a=i, b=-i, s=str(i))
        os._exit(0)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        for _ in range(100):
            row = t.get("k")
            assert row is not None
            assert row["a"] == -row["b"] == int(row["s"])
    assert f.verify().findings == 0
