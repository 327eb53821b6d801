"""What a program gets wrong, and what it is told: each message says what was wrong and what would be right.

A row is a mistake that a newcomer made, the exception and words that its text must have. Refusals of data (full tables,
values out of range, wrong kinds of key) have tests where the data's own are; here are the arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        store.set("k", "v")
        yield store
        assert store.get("k") == b"v"
        assert store.keys() == [b"k"]
        assert store.tables() == []


def cyclic() -> dict[str, Any]:
    around: dict[str, Any] = {}
    around["a_rather_long_name"] = around
    return around


Call = Callable[[Any], object]
MISTAKES: list[tuple[Call, type[errors.FridgeError], str]] = [
    (lambda f: fridge.open(f.path, mode="w"), errors.ArgumentError, "mode is 'w'; it may be 'rw' or 'r'"),  # type: ignore[arg-type]
    (lambda f: fridge.open(f.path, size="lots"), errors.ArgumentError, "size is 'lots'.*such as '64mb' or '1gb'"),
    (lambda f: fridge.open(f.path, size=1.5e6), errors.ArgumentError, "size is 1500000.0"),  # type: ignore[arg-type]
    (lambda f: fridge.open(f.path, size=-1), errors.ArgumentError, "size is -1"),
    (lambda f: fridge.open(f.path, size=True), errors.ArgumentError, "size is True"),
    (lambda f: fridge.open(f.path, size=1 << 63), errors.ArgumentError, "size is 9223372036854775808"),
    (lambda f: fridge.open(f.path, name=3), errors.ArgumentError, "name is 3.*a str, or None"),  # type: ignore[arg-type]
    (lambda f: fridge.open(f.path + "/segment"), errors.SystemCallError, "cannot create the directory .*: File exists"),
    (lambda f: f.set(1, "v"), errors.ArgumentError, "an int is no key: give str or bytes"),
    (lambda f: f.exists(1.5), errors.ArgumentError, "a float is no key: give str or bytes"),
    (lambda f: f.append("k", object()), errors.ArgumentError, "an object is no value: give str, bytes, int or float"),
    (lambda f: f.set("k", object()), errors.ArgumentError, "an object is no value: give str, bytes, int or float"),
    (lambda f: f.set("k", 1, nx=True, xx=True), errors.ArgumentError, "nx and xx exclude each other: give one of them"),
    (lambda f: f.set("k", 1, nx=True, ifeq="v"), errors.ArgumentError, "nx and ifeq exclude each other"),
    (lambda f: f.set("k", 1, ex=5, px=5), errors.ArgumentError, "ex and px exclude each other"),
    (lambda f: f.set("k", 1, exat=5, keepttl=True), errors.ArgumentError, "keepttl and a new expiry exclude each other"),
    (lambda f: f.getex("k", ex=5, pxat=5), errors.ArgumentError, "ex and pxat exclude each other"),
    (lambda f: f.getex("k", ex=5, persist=True), errors.ArgumentError, "persist and a new expiry exclude each other"),
    (lambda f: f.mset([("a", 1)]), errors.ArgumentError, "a list is no mapping of keys to values: give a dict"),
    (lambda f: f.msetnx("a"), errors.ArgumentError, "a str is no mapping"),
    (lambda f: f.wait("k", "1"), errors.ArgumentError, "version is '1'; it is an int that get_versioned"),
    (lambda f: f.wait("k", -1), errors.ArgumentError, "version is -1"),
    (lambda f: f.table("t", {"n": "int8"}, capacity="10"), errors.SchemaError, "the capacity is '10'; it is a whole number"),
    (lambda f: f.table("t", {"n": "int8"}, capacity=1e4), errors.SchemaError, "the capacity is 10000.0"),
    (lambda f: f.table("t", {"n": "int8"}, capacity=-1), errors.SchemaError, "the capacity is -1"),
    (lambda f: f.table("t", 5), errors.SchemaError, "got an int"),
    (lambda f: f.table("t"), errors.UnknownTableError, "^no such table 't'$"),
    (lambda f: f.drop_table("t"), errors.UnknownTableError, "^no such table 't'$"),
    (lambda f: f.set_vars("v", {"a": [1, object()]}), errors.NotPublishableError, r"^v\.a\[1\]: an object cannot be published"),
    (lambda f: f.set_vars("v", {1: 2}), errors.NotPublishableError, "the key 1 is an int; keys must be str"),
    (lambda f: f.set_vars("v", cyclic()), errors.NotPublishableError, r"^v\.a_rather_long_name\..{1,60}\.\.\.: more than 100"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "says"), MISTAKES, ids=[says for _, _, says in MISTAKES])
def test_a_mistake_is_named_with_what_would_be_right(f: fridge.Store, call: Call, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call(f)


def test_a_handle_that_is_of_no_use_any_more_can_be_printed(segment_path: Path) -> None:
    f = fridge.open(segment_path, size="16mb")
    table, dropped = f.table("t", {"n": "int8"}, capacity=4), f.table("d", {"n": "int8"}, capacity=4)
    sharded, once = f.sharded_counter("s"), f.once("o")
    assert repr(table) == "<fridge.Table 't' {'n': 'int8'} x 4>"
    f.drop_table("d")
    with pytest.raises(errors.UnknownTableError, match=r"^no such table 'd'$"):
        dropped.get("x")
    f.close()
    assert repr(f) == f"<fridge.Store {segment_path} (closed)>"
    assert repr(table) == "<fridge.Table (the segment is closed)>"
    assert repr(sharded).startswith("<fridge.ShardedCounter ")
    assert repr(once) == "<fridge.Once 'o' (the segment is closed)>"
