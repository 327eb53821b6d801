"""Tests of fridge.counter: values, limits, bounds, deletion and revival, many in one call, other doors, killed processes."""

from __future__ import annotations

import mmap
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
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


# --- bounds --------------------------------------------------------------------------------------------------------


def test_c4_a_step_within_bounds_returns_the_value_and_one_beyond_them_none(f: fridge.Store) -> None:
    seats = f.counter("seats")
    assert [seats.increment(max=3) for _ in range(5)] == [1, 2, 3, None, None]
    assert seats.get() == 3
    assert seats.decrement(2, min=2) is None
    assert seats.increment(-2, min=0, max=3) == 1
    assert seats.decrement(by=1, min=0) == 0
    assert seats.decrement(min=0) is None, "0 is a value, None is the bound"
    assert seats.increment(max=0) is None
    assert seats.get() == 0


def test_c4_a_refused_step_changes_nothing_at_all(f: fridge.Store) -> None:
    seats = f.counter("seats", 5)
    before = f.get_versioned("seats")
    assert seats.increment(max=5) is None
    assert seats.decrement(6, min=0) is None
    assert f.get_versioned("seats") == before
    seats.delete()
    assert seats.increment(9, max=5) is None
    assert not seats.exists(), "a refused step revives nothing"
    assert seats.increment(5, max=5) == 5


def test_saturate_stops_at_the_bound(f: fridge.Store) -> None:
    level = f.counter("level", 5)
    assert level.increment(10, max=8, saturate=True) == 8
    assert level.increment(max=8, saturate=True) == 8
    assert level.decrement(100, min=2, saturate=True) == 2
    assert level.increment(max=8, saturate=False) == 3
    level.set(20)
    assert level.increment(max=8) is None, "a value beyond the bound stays where it is"
    assert level.get() == 20
    assert level.increment(max=8, saturate=True) == 8, "as INCREX: what is beyond the bound comes back to it"
    level.delete()
    assert level.decrement(5, min=-3, saturate=True) == -3


def test_overflow_beyond_an_open_side_is_an_error_and_beyond_a_bound_is_none(f: fridge.Store) -> None:
    hits = f.counter("hits", HIGH)
    with pytest.raises(errors.CounterOverflowError):
        hits.increment(min=0)
    with pytest.raises(errors.CounterOverflowError):
        hits.increment(min=0, saturate=True)
    assert hits.increment(max=HIGH) is None
    assert hits.increment(HIGH, max=HIGH, saturate=True) == HIGH
    assert hits.get() == HIGH
    f.expire("hits", 100)  # the slow half, in a transaction
    with pytest.raises(errors.CounterOverflowError):
        hits.increment(min=0)
    assert hits.increment(max=HIGH) is None
    assert hits.get() == HIGH


def test_bounds_of_a_counter_that_expires_keep_its_ttl(f: fridge.Store) -> None:
    calls = f.counter("calls")
    f.expire("calls", 100)
    assert [calls.increment(max=2) for _ in range(4)] == [1, 2, None, None]
    assert calls.increment(5, max=3, saturate=True) == 3
    assert f.ttl("calls") >= 99


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"max": "1"}, errors.NotAnIntegerError, "max is a str and must be an int"),
        ({"max": True}, errors.NotAnIntegerError, "max is a bool"),
        ({"min": 1.5}, errors.NotAnIntegerError, "min is a float"),
        ({"max": 2**63}, errors.NotAnIntegerError, "max is out of the range"),
        ({"max": 1, "min": 2}, errors.ArgumentError, "max is 1, below min, which is 2"),
        ({"saturate": True}, errors.ArgumentError, "saturate needs a bound: give max or min"),
        ({"max": 9, "saturate": 1}, errors.ArgumentError, "saturate must be True or False"),
        ({"limit": 9}, TypeError, "unexpected keyword argument 'limit'"),
    ],
)
def test_wrong_bounds_are_named_and_change_nothing(
    f: fridge.Store, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    hits = f.counter("hits", 3)
    for call in (hits.increment, hits.decrement):
        with pytest.raises(error, match=text):
            call(**arguments)
    assert hits.get() == 3


def test_bounds_are_given_by_name(f: fridge.Store) -> None:
    hits = f.counter("hits", 3)
    with pytest.raises(TypeError, match="at most 1"):
        hits.increment(1, 5)  # type: ignore[call-overload]
    assert hits.increment(by=1, max=None, min=None) == 4
    assert hits.increment(by=1, max=None, saturate=False) == 5


def test_a_key_that_took_the_name_refuses_bounds_too(f: fridge.Store) -> None:
    hits = f.counter("hits", 5)
    hits.delete()
    f.set("hits", "abc")
    with pytest.raises(errors.NotAnIntegerError):
        hits.increment(max=9)
    f.delete("hits")
    f.hset("hits", "a", 1)
    with pytest.raises(errors.WrongTypeError):
        hits.increment(max=9)


# --- many in one call ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("together", [False, True])
def test_c5_many_counters_in_one_call(f: fridge.Store, together: bool) -> None:
    f.counter("b", 10)
    f.set("c", 5)
    steps: dict[Any, int] = {"d": 1, "b": -3, b"c": 2, "a": 0}
    assert list(f.counters.increment(steps, all_or_nothing=together).items()) == [("d", 1), ("b", 7), (b"c", 7), ("a", 0)]
    assert f.counters.increment(steps, all_or_nothing=together) == {"d": 2, "b": 4, b"c": 9, "a": 0}
    assert f.counters.get(["a", "b", "c", "nosuch"]) == {"a": 0, "b": 4, "c": 9, "nosuch": 0}
    assert f.exists("a", "nosuch") == 1
    assert f.mget("a", "b", "c", "d") == [b"0", b"4", b"9", b"2"]
    assert f.counters.increment({}, all_or_nothing=together) == {}
    assert f.counters.get([]) == {}
    assert f.counters.get(name for name in "ab") == {"a": 0, "b": 4}


def test_many_counters_that_are_deleted_flushed_or_expire(f: fridge.Store) -> None:
    many = f.counters
    assert many.increment({"a": 1, "b": 1, "c": 1}) == {"a": 1, "b": 1, "c": 1}
    f.delete("a")
    f.expire("b", 100)
    assert many.get("abc"[i] for i in range(3)) == {"a": 0, "b": 1, "c": 1}
    assert many.increment({"a": 1, "b": 1, "c": 1}) == {"a": 1, "b": 2, "c": 2}
    assert f.ttl("b") >= 99
    f.flushdb()
    assert many.get(["a", "b", "c"]) == {"a": 0, "b": 0, "c": 0}
    assert many.increment({"a": 1, "b": 1, "c": 1}, all_or_nothing=True) == {"a": 1, "b": 1, "c": 1}
    f.delete("c")
    f.set("c", "text")
    with pytest.raises(errors.NotAnIntegerError, match="counter 'c'"):
        many.get(["a", "c"])
    assert f.verify().findings == 0


def test_an_error_says_which_counter_and_what_became_of_the_others(f: fridge.Store) -> None:
    f.set("text", "abc")
    f.hset("hash", "a", 1)
    f.counter("full", HIGH)
    f.counter("a")
    for name, error in (("text", errors.NotAnIntegerError), ("hash", errors.WrongTypeError), ("full", OverflowError)):
        with pytest.raises(error, match=f"counter '{name}': .*; nothing was changed"):
            f.counters.increment({"a": 1, "b": 1, name: 1}, all_or_nothing=True)
        assert (f.counters.get(["a"]), f.exists("b")) == ({"a": 0}, 0)
    with pytest.raises(OverflowError, match=r"counter 'full': .*; the 1 before it have been counted"):
        f.counters.increment({"a": 1, "full": 1, "b": 1})
    assert (f.counters.get(["a"]), f.exists("b")) == ({"a": 1}, 0)


@pytest.mark.parametrize(
    ("steps", "error", "text"),
    [
        ({"a": 1, "b": "2"}, errors.NotAnIntegerError, "the step of counter 'b' is a str and must be an int"),
        ({"a": 1, "b": True}, errors.NotAnIntegerError, "the step of counter 'b' is a bool"),
        ({"a": 1, "b": 2**63}, errors.NotAnIntegerError, "the step of counter 'b' is out of the range"),
        ({"a": 1, 5: 1}, errors.ArgumentError, "an int is no key"),
        (["a", "b"], errors.ArgumentError, "no mapping of names to integers"),
        ("ab", errors.ArgumentError, "no mapping of names to integers"),
        (None, errors.ArgumentError, "no mapping of names to integers"),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_wrong_steps_change_nothing(
    f: fridge.Store, together: bool, steps: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        f.counters.increment(steps, all_or_nothing=together)
    assert f.dbsize() == 0


@pytest.mark.parametrize("names", ["ab", b"ab", None, 5, ["a", 5], [["a"]]])
def test_wrong_names_are_named(f: fridge.Store, names: Any) -> None:
    with pytest.raises(errors.ArgumentError):
        f.counters.get(names)


def test_all_or_nothing_takes_more_counters_than_one_stripe_has_room_for(f: fridge.Store) -> None:
    steps = {f"n{i}": i for i in range(500)}
    for together in (True, True, False):
        f.counters.increment(steps, all_or_nothing=together)
    assert f.counters.get(steps) == {name: 3 * step for name, step in steps.items()}
    assert [int(v or 0) for v in f.mget(list(steps))] == [3 * step for step in steps.values()]
    assert f.verify().findings == 0


def test_more_counters_than_a_transaction_may_touch_are_refused(f: fridge.Store) -> None:
    f.counters.increment({f"n{i}": 0 for i in range(5000)})
    with pytest.raises(errors.ArgumentError, match=r"a transaction may touch at most [0-9]+ counters"):
        f.counters.increment({f"n{i}": 1 for i in range(5000)}, all_or_nothing=True)
    assert set(f.counters.get(f"n{i}" for i in range(5000)).values()) == {0}
    assert f.counters.increment({"n0": 1}) == {"n0": 1}, "none of them is frozen"
    assert f.verify().findings == 0


def test_counters_on_a_read_only_and_on_a_closed_handle(f: fridge.Store) -> None:
    f.counters.increment({"a": 4})
    with fridge.open(f.path, mode="r") as reader:
        assert reader.counters.get(["a", "b"]) == {"a": 4, "b": 0}
        for call in (lambda: reader.counters.increment({"a": 1}), lambda: reader.counter("a").increment(max=9),
                     lambda: reader.counters.increment({"a": 1}, all_or_nothing=True)):  # fmt: skip
            with pytest.raises(errors.ReadOnlyError):
                call()
    with pytest.raises(errors.ClosedError):
        reader.counters.get(["a"])
    with pytest.raises(errors.ClosedError):
        reader.counters.increment({"a": 1})
    assert f.counters.get(["a"]) == {"a": 4}


def test_pairs_of_one_transaction_are_never_seen_apart(f: fridge.Store) -> None:
    """Transfers between two counters while another thread reads both by MGET: the sum never changes."""
    stop = threading.Event()
    f.counters.increment({"left": 1000, "right": 0})

    def transfer() -> None:
        while not stop.is_set():
            f.counters.increment({"left": -1, "right": 1}, all_or_nothing=True)

    thread = threading.Thread(target=transfer)
    thread.start()
    try:
        sums = {sum(int(v or 0) for v in f.mget("left", "right")) for _ in range(2000)}
    finally:
        stop.set()
        thread.join()
    assert sums == {1000}
    assert f.counters.get(["right"])["right"] > 0


# --- processes that die ---------------------------------------------------------------------------------------------


def counting(path: str, place: int, told: memoryview, step: Callable[[fridge.Store], Callable[[], int | None]]) -> int:
    """Fork a process that steps until it is refused; told[place] counts what it has been told. Its pid.

    A memoryview stores a word at once. struct.pack_into clears it first: who is killed in between has told nothing.
    """
    pid = os.fork()
    if pid:
        return pid
    try:
        with fridge.open(path, create=False) as store:
            call, mine = step(store), 0
            while call() is not None:
                mine += 1
                told[place] = mine
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize("together", [False, True])
def test_a_bound_holds_while_processes_are_killed(f: fridge.Store, together: bool) -> None:
    """Each victim may have made one step more than it could tell; the bound is reached, and never passed."""
    bound, kills, generator, meanwhile = HIGH if together else 4_000_000, 12, random.Random(7), 0
    told = memoryview(mmap.mmap(-1, 4096)).cast("q")
    seats = f.counter("seats")

    def step(store: fridge.Store) -> Callable[[], int | None]:
        own = store.counter("seats")
        if not together:
            return lambda: own.increment(max=bound)
        return lambda: store.counters.increment({"seats": 1, "shadow": 1}, all_or_nothing=True)["seats"]

    pids = {place: counting(f.path, place, told, step) for place in range(4)}
    for place in range(4, 4 + kills):
        deadline = time.monotonic() + 30
        victim = generator.choice(list(pids))
        mark, target = told[victim], generator.randrange(50, 800)
        while told[victim] < mark + target and seats.get() < bound:
            assert time.monotonic() < deadline, "it does not count"
        meanwhile += seats.get() < bound
        os.kill(pids[victim], signal.SIGKILL)
        os.waitpid(pids.pop(victim), 0)
        pids[place] = counting(f.path, place, told, step)
    for pid in pids.values():
        if together:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert together or status == 0
    assert meanwhile > kills // 2, "they were killed after the bound was reached"
    confirmed = sum(told[: 4 + kills])
    if together:
        shadow = f.counter("shadow").get()
        assert seats.get() == shadow, "both or none"
        assert confirmed <= shadow <= confirmed + kills + len(pids)
    else:
        assert seats.get() == bound
        assert bound - kills <= confirmed <= bound
    assert f.verify().findings == 0
