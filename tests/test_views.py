"""Tests of fridge.views: copies of tables for numpy, pandas and Arrow, and the window without a copy."""

from __future__ import annotations

import gc
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest

import fridge
from fridge import errors

SCHEMA = {"count": "int32", "reset": "int64", "note": "str:16", "raw": "bytes:4", "ok": "bool", "x": "float64", "big": "uint64",
          "a": "int8", "b": "int16", "c": "uint8", "d": "uint16", "e": "uint32"}  # fmt: skip


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="32mb") as store:
        yield store


@pytest.fixture
def t(f: fridge.Store) -> fridge.Table:
    t = f.table("t", SCHEMA, capacity=100)
    for i in range(50):
        t.set(f"k{i}" if i % 5 else f"k{i}" + " long" * 20, count=-i, reset=2**40 + i, note="é" * (i % 8),
              raw=b"\0" * (i % 5), ok=i % 2 == 0, x=i / 4,
              big=2**63 + i, a=-128, b=-i, c=255, d=65535 - i, e=2**32 - 1)  # fmt: skip
    for i in range(0, 50, 3):
        t.incr(f"k{i}" if i % 5 else f"k{i}" + " long" * 20, "count", 0)
        t.set(f"k{i}" if i % 5 else f"k{i}" + " long" * 20, reset=1, note="changed")
    return t


def rows_of(array: Any) -> dict[bytes, dict[str, Any]]:
    return {row["key"]: {name: row[name].item() if hasattr(row[name], "item") else row[name] for name in SCHEMA} for row in array}


# --- copies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snapshot", [True, False])
def test_a_copy_says_what_get_says(f: fridge.Store, t: fridge.Table, snapshot: bool) -> None:
    array = t.to_numpy(snapshot=snapshot)
    assert rows_of(array) == dict(t.items())
    assert len(array) == 50
    assert array.dtype.names == ("key", *SCHEMA)
    assert [array.dtype[name].str for name in ("count", "reset", "ok", "x", "big", "a", "d", "e")] == [
        "<i4", "<i8", "|b1", "<f8", "<u8", "|i1", "<u2", "<u4"]  # fmt: skip
    array["count"] = 7
    assert t.get("k1", "count") == -1, "it is a copy"
    with fridge.open(f.path, decode_responses=True) as s:
        assert set(s.table("t").to_numpy(snapshot=snapshot)["key"]) == {key.decode() for key in array["key"]}


def test_an_empty_table(f: fridge.Store) -> None:
    t = f.table("empty", {"n": "int8", "s": "str:4"}, capacity=10)
    for array in (t.to_numpy(), t.to_numpy(snapshot=False)):
        assert array.shape == (0,)
        assert array.dtype.names == ("key", "n", "s")
    assert t.to_pandas().shape == (0, 2)
    assert t.to_arrow().num_rows == 0
    assert t.view().valid().sum() == 0


def test_expiry_is_unix_time(f: fridge.Store, t: fridge.Table) -> None:
    f.pexpireat("t:k1", int(time.time() * 1000) + 50_000)
    f.pexpire("t:k2", 1)
    while f.pttl("t:k2") != -2:
        pass
    array = t.to_numpy(expiry="expires")
    times = dict(zip(array["key"], array["expires"].tolist(), strict=True))
    assert times[b"k1"] == f.pexpiretime("t:k1")
    assert times[b"k3"] == -1
    assert b"k2" not in times
    assert b"k2" not in t.to_numpy(snapshot=False)["key"]
    assert t.view().valid().sum() == 49


def test_names_that_collide(f: fridge.Store) -> None:
    t = f.table("t", {"key": "int8", "expiry": "int8"}, capacity=2)
    t.set("k", key=3)
    with pytest.raises(errors.ArgumentError, match="has a column 'key': give another name, key="):
        t.to_numpy()
    with pytest.raises(errors.ArgumentError, match="expiry="):
        t.to_numpy(key="name", expiry="expiry")
    with pytest.raises(errors.ArgumentError, match="both called"):
        t.to_numpy(key="name", expiry="name")
    assert t.to_numpy(key="name")["key"].tolist() == [3]


def transfer(path: str) -> None:
    with fridge.open(path) as f:
        t = f.table("accounts")
        i = 0
        while not f.exists("stop"):
            i += 1
            a, b = f"a{i * 7 % 50}", f"a{(i * 7 + 1 + i % 48) % 50}"
            t.mset({a: {"n": i, "s": str(i)}, b: {"n": -i, "s": str(-i)}})
            t.mset({a: {"n": 0, "s": "0"}, b: {"n": 0, "s": "0"}})


def test_a_snapshot_is_of_one_instant_and_rows_alone_are_whole(f: fridge.Store) -> None:
    t = f.table("accounts", {"n": "int64", "s": "str:20"}, capacity=800)
    t.mset({f"a{i}": {"n": 0, "s": "0"} for i in range(50)})
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=transfer, args=(f.path,))]
    for worker in workers:
        worker.start()
    for _ in range(150):
        copied = t.to_numpy()
        assert (len(copied), copied["n"].sum()) == (50, 0)
        for array in (copied, t.to_numpy(snapshot=False)):
            assert array["n"].tolist() == [int(s) for s in array["s"]]
    f.set("stop", 1)
    for worker in workers:
        worker.join()
    assert f.verify().findings == 0


def test_pandas(t: fridge.Table) -> None:
    frame = t.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.index.name == "key"
    assert frame.loc[b"k1", "count"] == -1
    assert frame["x"].sum() == sum(i / 4 for i in range(50))
    assert frame.loc[b"k1", "note"] == "é"
    assert list(t.to_pandas(expiry="until")["until"]) == [-1] * 50


def test_arrow(t: fridge.Table) -> None:
    table = t.to_arrow()
    kinds = {name: str(table.schema.field(name).type) for name in table.schema.names}
    assert kinds == {"key": "binary", "count": "int32", "reset": "int64", "note": "string", "raw": "binary", "ok": "bool",
                     "x": "double", "big": "uint64",
                     "a": "int8", "b": "int16", "c": "uint8", "d": "uint16", "e": "uint32"}  # fmt: skip
    assert isinstance(table, pyarrow.Table)
    assert {row.pop("key"): row for row in table.to_pylist()} == dict(t.items())


# --- the window ----------------------------------------------------------------------------------------------------


def test_a_view_shows_rows_where_they_lie(t: fridge.Table) -> None:
    view = t.view()
    valid = view.valid()
    assert valid.sum() == 50
    assert len(valid) == len(view.rows) > 100, "spares are images too"
    assert view.rows["count"][valid].sum() == -sum(range(50))
    by_key = {row[":key"]: row for row in view.rows[valid] if not row[":key"].startswith(b"k0")}
    assert by_key[b"k1"]["note"].decode() == "é"
    assert by_key[b"k3"]["note:n"] == len("changed")
    t.incr("k1", "count", 1000)
    assert view.rows["count"][valid].sum() == 1000 - sum(range(50)), "it is no copy"
    t.delete("k1")
    assert view.valid().sum() == 49


def test_a_view_cannot_be_written(t: fridge.Table) -> None:
    rows = t.view().rows
    assert not rows.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        rows["count"] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        rows.flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        rows["count"].flags.writeable = True
    with pytest.raises(ValueError, match="WRITEABLE"):
        rows.base.flags.writeable = True  # type: ignore[union-attr]
    with pytest.raises((ValueError, TypeError, BufferError)):
        memoryview(rows["count"]).cast("B")[0] = 1  # type: ignore[arg-type]
    assert t.get("k1", "count") == -1


def mapped(path: str) -> bool:
    return path in Path("/proc/self/maps").read_text()


def test_a_view_outlives_its_segment(segment_path: Path) -> None:
    f = fridge.open(segment_path, size="16mb")
    t = f.table("t", {"n": "int64"}, capacity=100)
    t.mset({f"k{i}": {"n": i} for i in range(100)})
    view = t.view()
    column = view.rows["n"]
    f.close()
    assert f.closed
    assert column.sum() >= sum(range(100))
    with pytest.raises(errors.ClosedError):
        view.valid()
    with pytest.raises(errors.ClosedError):
        t.view()
    assert mapped(str(segment_path))
    del view
    gc.collect()
    assert column[:].max() == 99
    del column, t
    gc.collect()
    assert not mapped(str(segment_path)), "the last array unmaps"


def test_a_view_of_a_dropped_table(f: fridge.Store, t: fridge.Table) -> None:
    view = t.view()
    f.drop_table("t")
    other = f.table("u", {"s": "bytes:1000"}, capacity=100)
    other.mset({f"k{i}": {"s": b"\xff" * 1000} for i in range(100)})
    assert view.rows["x"].shape == view.rows.shape, "anything may lie there, and can be read"
    view.rows["note"].tolist()
    with pytest.raises(errors.UnknownTableError):
        view.valid()


def test_a_view_of_a_file_that_is_truncated(segment_path: Path) -> None:
    code = """
import sys, os, fridge
f = fridge.open(sys.argv[1], size="16mb")
t = f.table("t", {"n": "int64"}, capacity=10000)
t.set("k", n=5)
v = t.view()
os.truncate(sys.argv[1], 4096)
print(v.rows["n"].sum())
try:
    v.valid()
except fridge.FridgeError as error:
    print(type(error).__name__)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(segment_path)], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.split()) == (0, ["0", "SegmentLost"]), ended.stderr


# --- optional packages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "method"), [("numpy", "to_numpy"), ("numpy", "view"), ("pandas", "to_pandas"), ("pyarrow", "to_arrow")]
)
def test_a_package_that_is_not_installed_is_named(
    t: fridge.Table, package: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # what the import system takes for "not there"
    with pytest.raises(ImportError, match=f"pip install 'fridge-sidecar\\[{package}\\]'"):
        getattr(t, method)()


def test_importing_fridge_imports_none_of_them() -> None:
    code = "import sys, fridge; print([m for m in ('numpy', 'pandas', 'pyarrow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_array_is_numpys(t: fridge.Table) -> None:
    assert isinstance(t.to_numpy(), np.ndarray)
