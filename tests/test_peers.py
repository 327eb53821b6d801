"""What docs/peers.md says of other systems, where no other file tests it: one test a row, named after the row.

Z: ZealPHP's Store. C: its Counter. T: OpenSwoole's Table, Atomic and Lock. F: FrankenPHP's background workers. S:
frankenstate. P: php-sync. `tests/test_docs.py` holds the page to the tests that it names; other files have tests that are
named after rows, too: `test_lock.py`, `test_sync.py`, `test_vars.py`, `test_counter.py`, `test_waiting.py`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import errors
from fridge.local import LocalClient
from fridge.reply import ErrorReply
from fridge.segment import Segment


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


def in_children(n: int, work: Callable[[int], Any]) -> None:
    """Run work(number) in n children of fork at the same time, and wait for all of them to end well."""
    pids = []
    for number in range(n):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(number)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * n


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
    child.join(60)
    assert (child.exitcode, ready.is_set()) == (0, True)
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


def test_Z10_of_many_who_compare_and_set_one_wins(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int64", "s": "str:8"}, capacity=4)
    t.set("k", n=0, s="free")
    wins = f.counter("wins")

    def work(number: int) -> None:
        for turn in range(500):
            while (now := t.get("k", "n") or 0) == turn:
                if t.cas("k", "n", turn, turn + 1):
                    wins.increment()
            assert now > turn

    in_children(3, work)
    assert (wins.get(), t.get("k")) == (500, {"n": 500, "s": "free"})
    assert t.update("k", set={"s": "mine"}, if_={"n": 500, "s": "free"}) == {"n": 500, "s": "mine"}
    assert t.update("k", set={"s": "yours"}, if_={"n": 500, "s": "free"}) is None


def test_Z15_a_full_table_lets_nobody_pass_unseen(f: fridge.Store) -> None:
    limits = f.table("limits", {"count": "int32", "reset": "int64"}, capacity=2)
    passed = f.counter("passed")

    def allowed(ip: str, now: int) -> bool:
        fresh = limits.update(ip, set={"count": 1, "reset": now + 60}, if_={"reset": ("<=", now)}, default={})
        return fresh is not None or limits.update(ip, incr={"count": 1}, if_={"count": ("<", 10)}) is not None

    def work(_: int) -> None:
        for _ in range(50):
            for ip in ("10.0.0.1", "10.0.0.2"):
                if allowed(ip, 1000):
                    passed.increment()

    in_children(3, work)
    assert passed.get() == 20, "ten of each address, of 150"
    with pytest.raises(errors.TableFullError):
        allowed("10.0.0.3", 1000)
    assert f.info()["tables"]["limits"]["refused"] == 1


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


def test_T6_an_error_writes_nothing_at_all(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int8", "s": "str:4"}, capacity=2)
    t.set("k", n=1, s="old")
    version = f.version("t:k")
    for wrong in ({"n": 2, "s": "too long"}, {"n": "2", "s": "new"}, {"n": 2, "s": 5}, {"n": 128}, {"n": 2, "nope": 1}):
        for refused in (
            lambda w=wrong: t.set("k", **w),
            lambda w=wrong: t.set("new", **w),
            lambda w=wrong: t.update("k", set=w),
            lambda w=wrong: t.mset({"k": {"n": 3}, "new": w}),
        ):
            with pytest.raises(fridge.FridgeError):
                refused()
    assert dict(t.items()) == {b"k": {"n": 1, "s": "old"}}
    assert f.version("t:k") == version


def test_T7_how_many_rows_fit_does_not_depend_on_their_names(f: fridge.Store) -> None:
    """1000 rows took 596."""
    for turn in range(5):
        t = f.table("octane", {"value": "str:64"}, capacity=1000)
        for i in range(1000):
            t.set(os.urandom(16), value=str(i))
        assert len(t) == len(list(t.items())) == 1000, turn
        with pytest.raises(errors.TableFullError):
            t.set(os.urandom(16))
        f.drop_table("octane")


def test_T8_missing_is_none_and_an_unknown_column_an_error(f: fridge.Store) -> None:
    t = f.table("t", {"b": "bool", "n": "int8", "s": "str:4"}, capacity=2)
    t.set("k")
    assert [t.get("k", column) for column in ("b", "n", "s")] == [False, 0, ""]
    assert [t.get("missing", column) for column in ("b", "n", "s")] == [None, None, None]
    assert t.get("missing") is None
    for key in ("k", "missing"):
        with pytest.raises(errors.UnknownColumnError, match="b, n, s"):
            t.get(key, "nope")


def test_T9_a_refused_increment_leaves_no_row(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int64", "s": "str:4"}, capacity=4)
    for column, cls in (("nope", errors.UnknownColumnError), ("s", errors.ColumnTypeError)):
        with pytest.raises(cls):
            t.incr("k", column)
    t.set("max", n=2**63 - 1)
    with pytest.raises(errors.ColumnRangeError):
        t.incr("max", "n")
    assert dict(t.items()) == {b"max": {"n": 2**63 - 1, "s": ""}}


def test_T10_each_row_is_deleted_by_one_of_those_who_try(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32"}, capacity=2000)
    t.mset({f"k{i}": {"n": i} for i in range(2000)})
    deleted = f.counter("deleted")
    in_children(3, lambda _: deleted.increment(sum(t.delete(f"k{i}") for i in range(2000))))
    assert (deleted.get(), len(t), list(t.items())) == (2000, 0, [])


def test_T11_loops_within_loops(f: fridge.Store) -> None:
    t = f.table("t", {"n": "int32"}, capacity=20)
    t.mset({f"k{i}": {"n": i} for i in range(20)})
    assert sum(1 for _ in t.items() for _ in t.items()) == 400


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


def write_batches(t: fridge.Table, keys: list[str]) -> None:
    """Write all rows together, over and over: nearly all the time within one transaction."""
    for n in range(1, 1_000_000):
        t.mset({key: {"n": n} for key in keys})


def is_held(t: fridge.Table) -> bool:
    """Whether a write meets a live process's latch."""
    try:
        t.incr("k0", "n", 0)
    except errors.LatchTimeoutError:
        return True
    return False


def test_T12_a_live_owner_is_never_robbed_and_readers_do_not_wait(f: fridge.Store) -> None:
    """After two seconds the other's spinlock is forced open, though its holder lives."""
    keys = [f"k{i}" for i in range(2000)]
    t = f.table("t", {"n": "int64"}, capacity=2000)
    t.mset({key: {"n": 0} for key in keys})
    pid = os.fork()
    if pid == 0:
        try:
            write_batches(t, keys)
        finally:
            os._exit(1)
    try:
        deadline = time.monotonic() + 30
        while True:
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
            if is_held(t):
                break
            os.kill(pid, signal.SIGCONT)
            assert time.monotonic() < deadline, "the writer was never caught in a transaction"
        seen, until, quickest = t.mget(keys), time.monotonic() + 2.5, 1.0
        while time.monotonic() < until:
            assert t.mget(keys) == seen
            looked = time.monotonic()
            assert t.get("k0") == seen[0]
            quickest = min(quickest, time.monotonic() - looked)
            with pytest.raises(errors.LatchTimeoutError, match=str(pid)):
                t.set("k0", n=-1)
        assert quickest < 0.1, "a reader that waited would do so each time, for 200 ms"
        os.kill(pid, signal.SIGCONT)
        while is_held(t):
            assert time.monotonic() < until + 30
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert len({row["n"] for row in t.mget(keys) if row}) == 1, "its batch was written whole"
    assert f.verify().findings == 0


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
    in_children(3, lambda _: add(f, 2000))
    assert f.get("n") == b"6000"


def test_S4_time_to_live_and_compare_and_set_are_there(f: fridge.Store) -> None:
    f.set("k", "a", ex=60)
    assert f.cas("k", "b", "c") is False
    assert f.cas("k", "a", "c") is True
    assert (f.get("k"), 0 < f.ttl("k") <= 60) == (b"c", True)


def test_S3_refusals_have_redis_words_and_change_nothing(f: fridge.Store) -> None:
    f.set("n", "10.0")
    with Segment(f.path, create=False) as segment, contextlib.closing(LocalClient(segment)) as client:
        for words, text in (
            ("GET", "ERR wrong number of arguments for 'get' command"),
            ("INCR", "ERR wrong number of arguments for 'incr' command"),
            ("INCR n", "ERR value is not an integer or out of range"),
            ("SET n 1 EX", "ERR syntax error"),
            ("SELECT 99", "ERR DB index is out of range"),
            ("LPUSH n 1", "ERR unknown command 'LPUSH', with args beginning with: 'n' '1' "),
        ):
            reply = client.execute(*words.encode().split())
            assert isinstance(reply, ErrorReply)
            assert str(reply) == text
    assert f.get("n") == b"10.0"


def test_S5_versions_move_with_their_own_key_only(f: fridge.Store) -> None:
    f.mset({"a": 1, "b\0x": b"\0\1"})
    _, version = f.get_versioned("a")
    f.set("b\0x", 2)
    f.delete("nothing")
    assert f.get_versioned("a") == (b"1", version)
    f.set("a", 1)
    assert f.get_versioned("a")[1] != version
    assert f.get("b\0x") == b"2", "a NUL is a byte like any other"
