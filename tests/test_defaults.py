"""Tests of columns' defaults: given through any door, kept in the segment, told by every process.

What the engine takes for a default, and damaged ones: c/test_schema.c. The wire's side, to the byte: wire/own.txt.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

import fridge
from fridge import errors

SCHEMA: dict[str, Any] = {
    "limit": ("int32", 5), "note": ("str:16", "none = ok"), "raw": ("bytes:4", b"\xff=\0"), "x": ("float64", 0.5),
    "ok": ("bool", True), "big": ("uint64", 2**64 - 1), "plain": "int8",
}  # fmt: skip
ROW = {"limit": 5, "note": "none = ok", "raw": b"\xff=\0", "x": 0.5, "ok": True, "big": 2**64 - 1, "plain": 0}


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


@pytest.fixture
def t(f: fridge.Store) -> fridge.Table:
    return f.table("t", SCHEMA, capacity=20)


def test_each_verb_makes_rows_of_the_defaults(t: fridge.Table) -> None:
    assert t.set("set", plain=1)
    assert t.get("set") == {**ROW, "plain": 1}
    assert t.incr("incr", "limit", 2) == 7
    assert t.get("incr") == {**ROW, "limit": 7}
    assert t.incr("float", "x", 0.25) == 0.75
    assert t.decr("decr", "big") == 2**64 - 2
    assert t.update("update", incr={"limit": 1}, set={"plain": 2}) == {**ROW, "limit": 6, "plain": 2}
    assert t.setdefault("setdefault", note="own") == {**ROW, "note": "own"}
    assert t.update("over", if_={"limit": 9}, incr={"limit": 1}, default={"limit": 9}) == {**ROW, "limit": 10}
    assert t.update("judged", if_={"limit": 5}, set={"plain": 1}, default={}) == {**ROW, "plain": 1}
    assert t.mset({"m1": {}, "m2": {"note": ""}}) == 2
    assert t.mget(["m1", "m2"]) == [ROW, {**ROW, "note": ""}]
    assert t.update("absent", if_={"limit": 5}, set={"plain": 1}) is None, "a row that is absent holds nothing"


def test_an_increment_beyond_the_column_from_its_default_changes_nothing(t: fridge.Table) -> None:
    with pytest.raises(errors.ColumnRangeError, match="5 \\+ 2147483643"):
        t.incr("a", "limit", 2**31 - 5)
    assert "a" not in t


def test_other_doors_see_them(f: fridge.Store, t: fridge.Table) -> None:
    assert f.hset("t:a", "plain", 1) == 1
    assert t.get("a") == {**ROW, "plain": 1}
    assert f.hincrby("t:b", "limit", -6) == -1
    t.set("a", limit=1, note="x")
    assert f.hdel("t:a", "limit", "note", "raw") == 2, "raw held its default already"
    assert t.get("a") == {**ROW, "plain": 1}


def test_the_schema_says_them_and_declares_the_same_again(f: fridge.Store, t: fridge.Table) -> None:
    assert t.schema == SCHEMA
    assert f.table("t", dict(t.schema), capacity=20).schema == SCHEMA
    assert f.table("t").schema == SCHEMA
    texts = {"limit": "int32=5", "note": "str:16=none = ok", "x": "float64=0.5", "ok": "bool=1", "big": f"uint64={2**64 - 1}"}
    assert f.table("t", {**SCHEMA, **texts}, capacity=20).schema == SCHEMA, "as text"
    assert f.table("zeros", {"a": ("int32", 0), "b": "str:4="}, capacity=1).schema == {"a": "int32", "b": "str:4"}
    assert t.to_numpy().dtype.names == ("key", *SCHEMA)


def test_another_process_has_them_from_the_segment(f: fridge.Store, t: fridge.Table) -> None:
    code = f"import fridge; t = fridge.open({f.path!r}).table('t'); t.incr('other', 'limit'); print(t.schema)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == repr(SCHEMA)
    assert t.get("other") == {**ROW, "limit": 6}
    assert f.verify().findings == 0


def test_attaching_with_another_default_names_the_differences(f: fridge.Store, t: fridge.Table) -> None:
    t.set("a", plain=1)
    for change, says in (
        ({"limit": ("int32", 6)}, "the default of column limit is 5, not 6"),
        ({"limit": "int32"}, "the default of column limit is 5, not 0"),
        ({"plain": "int8=-1"}, "the default of column plain is 0, not -1"),
        ({"note": "str:16", "ok": "bool"}, "column note is 'none = ok', not '', the default of column ok is 1, not 0"),
        ({"limit": ("int64", 5)}, "column limit is int32, not int64"),
    ):
        with pytest.raises(errors.SchemaMismatchError, match=says):
            f.table("t", {**SCHEMA, **change}, capacity=20)
    assert dict(t.items()) == {b"a": {**ROW, "plain": 1}}
    assert t.schema == SCHEMA


def test_impossible_defaults_declare_nothing(f: fridge.Store) -> None:
    cases: list[tuple[Any, str]] = [
        (("int8", 128), "column 'a' is int8 and cannot have this default: 128 is not between -128 and 127"),
        (("uint8", -1), "-1 is not between 0 and 255"), (("int64", 2**70), "is not between"), (("int8", "5"), "'5' is no int"),
        (("int8", True), "True is no int"), (("int8", 1.0), "1.0 is no int"), (("int8", None), "None is no int"),
        (("bool", 1), "1 is no bool"), ("bool=true", "'true' is not an integer"), (("float64", "x"), "'x' is no float"),
        (("float64", float("nan")), "is not a valid float"), (("str:2", "äb"), "3 bytes is too long, the limit is 2"),
        (("str:8", b"x"), "b'x' is no str"), (("bytes:8", "x"), "'x' is no bytes"), (("bytes:1", b"xy"), "too long"),
        (("int8=5", 5), "two defaults"), (("int8",), "a type with a default is"), ((8, 8), "a type with a default is"),
        (("int9", 5), "unknown type 'int9'"), ("int8=", "'' is not an integer"),
    ]  # fmt: skip
    for kind, says in cases:
        with pytest.raises(errors.SchemaError, match=says) as caught:
            f.table("t", {"ok": "int8=1", "a": kind}, capacity=4)
        assert caught.value.status == "SCHEMA"
    assert f.tables() == []


def test_a_dataclass_has_its_own(f: fridge.Store) -> None:
    @dataclass(frozen=True)
    class Session:
        user: Annotated[str, "str:32"]
        limit: fridge.Int32 = 5
        score: float = 1
        state: Annotated[str, "str:8"] = "new"
        admin: bool = True
        token: Annotated[bytes, "bytes:8=\x01"] = field(kw_only=True)

    t = f.table("sessions", Session, capacity=4)
    assert t.schema == {"user": "str:32", "limit": ("int32", 5), "score": ("float64", 1.0), "state": ("str:8", "new"),
                        "admin": ("bool", True), "token": ("bytes:8", b"\x01")}  # fmt: skip
    assert t.update("a", set={"user": "ann"}) == Session("ann", token=b"\x01")
    assert t.set("b", Session("bob", token=b""))
    assert t.get("b") == Session("bob", token=b"")


def test_a_typed_dict_says_them_in_its_annotations(f: fridge.Store) -> None:
    class Limit(TypedDict):
        limit: Annotated[int, "int32=5"]
        note: Annotated[str, "str:8=none"]

    t = f.table("limits", Limit, capacity=4)
    assert t.setdefault("a") == {"limit": 5, "note": "none"}


def test_classes_whose_defaults_are_impossible(f: fridge.Store) -> None:
    @dataclass
    class TooLarge:
        a: fridge.Int8 = 200

    @dataclass
    class Nothing:
        a: int = None  # type: ignore[assignment]

    @dataclass
    class Twice:
        a: Annotated[int, "int32=5"] = 5

    @dataclass
    class Factory:
        a: int = field(default_factory=int)

    for cls, says in ((TooLarge, "200 is not between"), (Nothing, "Nothing.a.*None is no int"), (Twice, "two defaults"),
                      (Factory, "Factory.a: .*default_factory")):  # fmt: skip
        with pytest.raises(errors.SchemaError, match=says):
            f.table("t", cls, capacity=4)
    assert f.tables() == []


def test_fridge_toml_declares_them(f: fridge.Store, tmp_path: Path) -> None:
    file = tmp_path / "fridge.toml"
    file.write_text('[tables.t]\ncapacity = 4\ncolumns = { limit = "int32=5", note = "str:8=a b" }\n')
    t = f.declare_tables(file)["t"]
    assert t.setdefault("a") == {"limit": 5, "note": "a b"}
    file.write_text('[tables.t]\ncapacity = 4\ncolumns = { limit = "int32=6", note = "str:8=a b" }\n')
    with pytest.raises(errors.SchemaMismatchError, match="limit is 5, not 6"):
        f.declare_tables(file)


def test_rows_keep_what_they_hold_when_a_table_is_cleared_or_dropped(f: fridge.Store, t: fridge.Table) -> None:
    t.set("a", limit=1)
    assert t.clear() == 1
    assert t.setdefault("a") == ROW
    f.drop_table("t")
    assert f.table("t", {"limit": "int32"}, capacity=20).setdefault("a") == {"limit": 0}
