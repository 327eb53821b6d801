"""The mmap door's rows of the speed table (design section 9): each call beside its reference, in one run.

Rounds are interleaved, so that a change of clock speed meets both; each figure is the median of its rounds, in ns a call,
the loop included, as it is in the reference. Run: ``python tests/bench/bench_hot.py [--json FILE] [--rounds N]``.

Leaves out: peers (lmdb, redis), other doors and the C level, which other files of this folder measure.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import fridge
from fridge import _hot

CALLS = 20_000  # a round of one call
VALUE = b"v" * 32

HOLDS = [
    # what, its reference, ratio to hold
    ("counter.increment()", "atomic add", 1.6),
    ("f.get, 32 B", "dict.get", 4.0),
    ("f.set, 32 B", "dict.get", 5.0),
    ("rate.incr", "dict.get", 5.0),
    ("counter.increment(by)", "atomic add", None),
    ("counter.get()", "atomic add", None),
    ("f.get, with TTL", "dict.get", None),
    ("f.set, ex=60", "dict.get", None),
    ("f.incr", "dict.get", None),
    ("f.hget", "dict.get", None),
    ("f.hset, one field", "dict.get", None),
    ("rate.get(key, column)", "dict.get", None),
    ("rate.get(key)", "dict.get", None),
    ("rate.set, two columns", "dict.get", None),
    ("f.strlen (through a session)", "dict.get", None),
]



def loop_0(call: Callable[..., Any], n: int) -> float:
    """Return the seconds of n calls without arguments."""
    start = time.perf_counter()
    for _ in repeat(None, n):
        call()
    return time.perf_counter() - start


def loop_1(call: Callable[..., Any], n: int, a: object) -> float:
    """Return the seconds of n calls with one argument."""
    start = time.perf_counter()
    for _ in repeat(None, n):
        call(a)
    return time.perf_counter() - start


def loop_2(call: Callable[..., Any], n: int, a: object, b: object) -> float:
    """Return the seconds of n calls with two arguments."""
    start = time.perf_counter()
    for _ in repeat(None, n):
        call(a, b)
    return time.perf_counter() - start


def loop_set_ex(call: Callable[..., Any], n: int, a: object, b: object) -> float:
    """Return the seconds of n calls of set with ex=60."""
    start = time.perf_counter()
    for _ in repeat(None, n):
        call(a, b, ex=60)
    return time.perf_counter() - start


def loop_row(call: Callable[..., Any], n: int, a: object) -> float:
    """Return the seconds of n calls of rate.set."""
    start = time.perf_counter()
    for _ in repeat(None, n):
        call(a, count=1, reset=99)
    return time.perf_counter() - start


def loop_3(call: Callable[..., Any], n: int, a: object, b: object, c: object) -> float:
    """Return the seconds of n calls with three arguments."""
    start = time.perf_counter()
    for _ in repeat(None, n):
        call(a, b, c)
    return time.perf_counter() - start


def cases(f: fridge.Store) -> dict[str, Callable[[int], float]]:
    """Return a function that times n calls, for each row and each reference."""
    ordinary = {f"key:{i}": VALUE for i in range(1000)}
    for i in range(1000):
        f.set(f"key{i}", VALUE)
    f.set("fleeting", VALUE, ex=3600)
    f.set("number", 1000)
    f.hset("hash", mapping={f"field{i}": VALUE for i in range(10)})
    rate = f.table("rate_limits", {"count": "int32", "reset": "int64", "note": "str:64"}, capacity=10_000)
    rate.set("10.0.0.1", count=1000, reset=99, note="api")
    hits = f.counter("hits", 1000)
    return {
        "atomic add": lambda n: loop_0(_hot._reference_add, n),
        "dict.get": lambda n: loop_1(ordinary.get, n, "key:500"),
        "counter.increment()": lambda n: loop_0(hits.increment, n),
        "counter.increment(by)": lambda n: loop_1(hits.increment, n, 3),
        "counter.get()": lambda n: loop_0(hits.get, n),
        "f.get, 32 B": lambda n: loop_1(f.get, n, "key500"),
        "f.get, with TTL": lambda n: loop_1(f.get, n, "fleeting"),
        "f.set, 32 B": lambda n: loop_2(f.set, n, "key500", VALUE),
        "f.set, ex=60": lambda n: loop_set_ex(f.set, n, "fleeting", VALUE),
        "f.incr": lambda n: loop_1(f.incr, n, "number"),
        "f.hget": lambda n: loop_2(f.hget, n, "hash", "field5"),
        "f.hset, one field": lambda n: loop_3(f.hset, n, "hash", "field5", VALUE),
        "rate.incr": lambda n: loop_2(rate.incr, n, "10.0.0.1", "count"),
        "rate.get(key, column)": lambda n: loop_2(rate.get, n, "10.0.0.1", "count"),
        "rate.get(key)": lambda n: loop_1(rate.get, n, "10.0.0.1"),
        "rate.set, two columns": lambda n: loop_row(rate.set, n, "10.0.0.1"),
        "f.strlen (through a session)": lambda n: loop_1(f.strlen, n // 20, "key500") * 20,
    }


def measure(timed: dict[str, Callable[[int], float]], rounds: int, calls: int) -> dict[str, float]:
    """Return the median of interleaved rounds, in ns a call."""
    taken: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, case in timed.items():
            taken[name].append(case(calls) / calls * 1e9)
    return {name: statistics.median(times) for name, times in taken.items()}


def under_threads(timed: dict[str, Callable[[int], float]], names: list[str], rounds: int) -> dict[str, float]:
    """Return the ns that calls take beside another busy thread of the process, rounds interleaved."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(1000))

    other = threading.Thread(target=spin)
    other.start()
    try:
        for name in names:  # a round lasts many switch intervals (5 ms), so that it is shared out fairly
            timed[name](CALLS)
        return measure({name: timed[name] for name in names}, rounds, 20 * CALLS)
    finally:
        stop.set()
        other.join()


def table(ns: dict[str, float], busy: dict[str, float]) -> list[dict[str, Any]]:
    """Return the rows of the table."""
    rows: list[dict[str, Any]] = []
    for what, reference, hold in HOLDS:
        ratio = ns[what] / ns[reference]
        rows.append({"what": what, "ns": ns[what], "reference": reference, "reference_ns": ns[reference],
                     "ratio": ratio, "hold": hold, "held": hold is None or ratio <= hold})  # fmt: skip
    slow_dict = busy["dict.get"] / ns["dict.get"]
    for what in busy:
        if what != "dict.get":
            ratio = busy[what] / ns[what] / slow_dict
            rows.append({"what": f"{what} beside a busy thread", "ns": busy[what], "reference": "dict.get beside one",
                         "reference_ns": busy["dict.get"], "ratio": ratio, "hold": 1.2, "held": ratio <= 1.2})  # fmt: skip
    return rows


def show(rows: list[dict[str, Any]]) -> str:
    """Return the table as text."""
    lines = [f"{'what':40} {'ns':>8} {'reference':22} {'ns':>7} {'ratio':>6} {'hold':>6}"]
    for row in rows:
        hold = "" if row["hold"] is None else f"{row['hold']:.1f}"
        mark = "" if row["held"] else "  MISSED"
        lines.append(f"{row['what']:40} {row['ns']:8.1f} {row['reference']:22} {row['reference_ns']:7.1f} "
                     f"{row['ratio']:6.2f} {hold:>6}{mark}")  # fmt: skip
    return "\n".join(lines)


def run(rounds: int, calls: int) -> list[dict[str, Any]]:
    """Measure everything on a fresh segment in shared memory."""
    folder = Path(tempfile.mkdtemp(prefix="fridge-bench-", dir="/dev/shm"))
    try:
        with fridge.open(folder / "segment", size="64mb") as f:
            timed = cases(f)
            measure(timed, 3, calls)  # warms up the caches and the adaptive interpreter
            ns = measure(timed, rounds, calls)
            busy = under_threads(timed, ["dict.get", "f.get, 32 B", "f.set, 32 B", "counter.increment()"], max(5, rounds // 3))
            return table(ns, busy)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = run(options.rounds, options.calls)
    print(show(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
