"""The mmap door: each call beside its reference, beside its peers, and beside a second busy thread.

References: a method of the extension that does one atomic add and returns an int, and dict.get. Peers: lmdb (a
transaction an operation, as fridge's calls are; nothing synced to disk) and redis-py over a unix socket. Figures are ns a
call with the loop included, as it is in the reference; CPU time of the thread, but for redis-py and the busy threads,
where waiting is what is measured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import lmdb
import processes
import redis
from rows import Plan, Row, at_least, at_most, in_turns

import fridge
from fridge import _hot

CALLS = 20_000
VALUE = b"v" * 32
ADD, DICT = "atomic add", "dict.get"
HOLDS = (
    ("counter.increment()", ADD, 1.6),
    ("f.get, 32 B", DICT, 4.0),
    ("f.set, 32 B", DICT, 5.0),
    ("rate.incr", DICT, 5.0),
)
BUSY_LIMIT, BUSY_SLICE = 1.2, 0.05
PEERS = (("f.get, 32 B", "lmdb get", 2.5), ("f.set, 32 B", "lmdb put", 15.0), ("f.get, 32 B", "redis-py get", 250.0))

Loop = Callable[[int], float]


def loop(call: Callable[..., Any], *arguments: object, clock: Callable[[], float] = time.thread_time) -> Loop:
    """Return a function that makes n calls and returns the seconds they took; arguments are passed without a tuple."""

    def none(n: int) -> float:
        start = clock()
        for _ in repeat(None, n):
            call()
        return clock() - start

    def one(n: int) -> float:
        a = arguments[0]
        start = clock()
        for _ in repeat(None, n):
            call(a)
        return clock() - start

    def two(n: int) -> float:
        a, b = arguments
        start = clock()
        for _ in repeat(None, n):
            call(a, b)
        return clock() - start

    def three(n: int) -> float:
        a, b, c = arguments
        start = clock()
        for _ in repeat(None, n):
            call(a, b, c)
        return clock() - start

    return (none, one, two, three)[len(arguments)]


def per_call(loop: Loop, n: int) -> float:
    return loop(n) / n * 1e9


# --- what is measured ----------------------------------------------------------------------------------------------


def _calls(f: fridge.Store, clock: Callable[[], float] = time.thread_time) -> dict[str, Loop]:
    """Return a loop for every reference and every call of the mmap door that is held to its speed."""
    ordinary = {f"key:{i}": VALUE for i in range(1000)}
    for i in range(1000):
        f.set(f"key{i}", VALUE)
    f.set("number", 1000)
    f.hset("hash", mapping={f"field{i}": VALUE for i in range(10)})
    rate = f.table("rate_limits", {"count": "int32", "reset": "int64", "note": "str:64"}, capacity=10_000)
    rate.set("10.0.0.1", count=1000, reset=99, note="api")
    hits = f.counter("hits", 1000)
    timed = partial(loop, clock=clock)
    return {
        ADD: timed(_hot._reference_add),
        DICT: timed(ordinary.get, "key:500"),
        "counter.increment()": timed(hits.increment),
        "f.get, 32 B": timed(f.get, "key500"),
        "f.set, 32 B": timed(f.set, "key500", VALUE),
        "rate.incr": timed(rate.incr, "10.0.0.1", "count"),
        "f.incr": timed(f.incr, "number"),
        "f.hget": timed(f.hget, "hash", "field5"),
        "f.hset": timed(f.hset, "hash", "field5", VALUE),
        "rate.get": timed(rate.get, "10.0.0.1", "count"),
    }


def _alone(f: fridge.Store, plan: Plan) -> list[Row]:
    cases = {name: partial(per_call, loop, CALLS) for name, loop in _calls(f).items()}
    in_turns(cases, 3)  # the interpreter adapts to the loops
    ns = in_turns(cases, plan.pick(61, 15))
    return [at_most(what, ns[what], ns[name], limit, name) for what, name, limit in HOLDS]


# --- peers ---------------------------------------------------------------------------------------------------------


def _lmdb_loops(place: Path) -> tuple[Loop, Loop]:
    environment = lmdb.open(str(place / "lmdb"), map_size=64 << 20, sync=False, metasync=False)
    keys = [b"key%d" % i for i in range(1000)]
    with environment.begin(write=True) as transaction:
        for key in keys:
            transaction.put(key, VALUE)

    def get() -> bytes | None:
        with environment.begin() as t:
            return t.get(b"key500")

    def put() -> None:
        with environment.begin(write=True) as t:
            t.put(b"key500", VALUE)

    return loop(get), loop(put)


def _peers(f: fridge.Store, plan: Plan) -> list[Row]:
    with processes.folder() as place, processes.redis() as server:
        client = redis.Redis(unix_socket_path=server.unix)
        client.set("key500", VALUE)
        get, put = _lmdb_loops(place)
        calls = _calls(f)
        cases = {
            "f.get, 32 B": partial(per_call, calls["f.get, 32 B"], CALLS),
            "f.set, 32 B": partial(per_call, calls["f.set, 32 B"], CALLS),
            "lmdb get": partial(per_call, get, CALLS // 10),
            "lmdb put": partial(per_call, put, CALLS // 20),
            "redis-py get": partial(per_call, loop(client.get, "key500", clock=time.perf_counter), CALLS // 100),
        }
        ns = in_turns(cases, plan.pick(31, 7))
        client.close()
    return [at_least(f"{what}, beside {name}", ns[what], ns[name], limit, name) for what, name, limit in PEERS]


# --- two busy threads ----------------------------------------------------------------------------------------------


def spin(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def _slices(loops: dict[str, Loop], names: Iterable[str], rounds: int) -> dict[str, float]:
    """Return ns a call, by the wall clock, over `rounds` slices of each in turn."""
    calls, seconds = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0)
    for _ in range(rounds):
        for name in calls:
            limit = time.perf_counter() + BUSY_SLICE
            while time.perf_counter() < limit:
                seconds[name] += loops[name](CALLS // 10)
                calls[name] += CALLS // 10
    return {name: seconds[name] / calls[name] * 1e9 for name in calls}


def _busy(f: fridge.Store, plan: Plan) -> list[Row]:
    """The worst of the calls: how much slower beside a thread that never lets go of the GIL, against dict.get's slowdown."""
    loops = _calls(f, time.perf_counter)
    names = [name for name in loops if name != ADD]
    alone = _slices(loops, names, plan.pick(10, 3))
    stop = threading.Event()
    other = threading.Thread(target=spin, args=(stop,))
    other.start()
    try:
        beside = _slices(loops, names, plan.pick(20, 6))
    finally:
        stop.set()
        other.join()
    slower = {name: beside[name] / alone[name] for name in names}
    worst = max((name for name in names if name != DICT), key=lambda name: slower[name])
    note = f"the worst of {len(names) - 1} calls, {worst}: {alone[worst]:.0f} -> {beside[worst]:.0f} ns"
    return [at_most("any call with 2 busy threads: slowdown", slower[worst], slower[DICT], BUSY_LIMIT, DICT, note,
                    lambda x: f"{x:.2f}x")]  # fmt: skip


def rows(plan: Plan) -> list[Row]:
    """Measure; half a minute."""
    with processes.folder() as place, fridge.open(place / "segment", size="64mb") as f:
        alone = _alone(f, plan)
        return [*alone, *_peers(f, plan), *_busy(f, plan)]
