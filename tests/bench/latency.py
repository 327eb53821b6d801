"""The latency of single calls: each is timed by itself, so that the slow ones show; percentiles and a histogram.

Each sample is the difference of two readings of time.perf_counter_ns() round a functools.partial; what that takes round
a call that does nothing is measured too and said beside the figures, not taken off them. The cost of a call without a
timer is the loop's of hot.py, as in `make bench`.

Busy threads are spinning ones beside the one that calls, as in hot.py: whoever lets go of the GIL waits for them.
"""

from __future__ import annotations

import contextlib
import operator
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import hot
from peers import Call
from rows import in_turns

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 99.99)
STEPS = 8  # bins of the histogram to a doubling
LOOP_SECONDS, STEADY_CHUNK = 0.004, 0.0002


@dataclass(frozen=True)
class Latency:
    """What the samples of one call came to, in ns.

    Args:
        samples: how many calls.
        mean: of all of them.
        percentiles: by their name; None where there are too few samples for it.
        worst: the slowest call.
        histogram: lower bound of a bin -> calls in it; bins grow by an eighth of a doubling.
    """

    samples: int
    mean: float
    percentiles: dict[str, float | None]
    worst: int
    histogram: dict[int, int]


def _bin(ns: int) -> int:
    if ns < 2 * STEPS:
        return ns
    shift = ns.bit_length() - STEPS.bit_length()
    return ns >> shift << shift


def summary(taken: Sequence[int]) -> Latency:
    """Return what samples come to.

    Args:
        taken: ns of each call.
    """
    ordered, n = sorted(taken), len(taken)
    found: dict[str, float | None] = {}
    for p in PERCENTILES:
        enough = n * (100 - p) >= 99.999  # at least one sample lies above
        found[f"{p:g}"] = ordered[min(n - 1, int(n * p / 100))] if enough else None
    bins = Counter(map(_bin, taken))
    return Latency(n, sum(ordered) / n, found, ordered[-1], {start: bins[start] for start in sorted(bins)})


def samples(call: Call, seconds: float, most: int) -> array[int]:
    """Return the ns that each of up to `most` calls took, `seconds` of them at most.

    Args:
        call: what; its preparation is not timed.
        seconds: how long it may take.
        most: how many calls.
    """
    once, prepare, now = partial(call.call, *call.arguments), call.prepare, time.perf_counter_ns
    taken = array("q", bytes(8 * most))
    limit, done = now() + int(seconds * 1e9), 0
    while done < most:
        if prepare:
            prepare()
        start = now()
        once()
        end = now()
        taken[done] = end - start
        done += 1
        if end > limit:
            break
    return taken[:done]


def timer() -> Latency:
    """Return what the timer itself shows round a call that does nothing."""
    return summary(samples(Call("nothing", operator.is_, (None, None)), 1.0, 100_000))


@contextlib.contextmanager
def busy(threads: int) -> Iterator[None]:
    """Keep so many other threads of this process busy."""
    stop = threading.Event()
    others = [threading.Thread(target=hot.spin, args=(stop,)) for _ in range(threads)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        stop.set()
        for other in others:
            other.join()


def _calibrated(call: Call, seconds: float, clock: Callable[[], float]) -> tuple[hot.Loop, int]:
    """Return a loop, and with how many calls it takes about so long."""
    loop = hot.loop(call.call, *call.arguments, clock=clock)
    loop(1)
    once = max(loop(10) / 10, 1e-8)
    return loop, max(1, int(seconds / once))


def steady(call: Call, seconds: float) -> float:
    """Return ns a call by the wall clock over so long a time, for busy threads take theirs in slices of milliseconds.

    Args:
        call: what; it needs no preparation.
        seconds: for how long.
    """
    loop, chunk = _calibrated(call, STEADY_CHUNK, time.perf_counter)
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds:
        loop(chunk)
        done += chunk
    return spent / done * 1e9


def loops(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Return ns a call of those that need no preparation, measured in turns without a timer inside.

    Args:
        calls: by a name of the caller's.
        rounds: how many turns; the median counts.
    """
    cases = {
        name: partial(hot.per_call, *_calibrated(call, LOOP_SECONDS, time.perf_counter))
        for name, call in calls.items()
        if call.prepare is None
    }
    return in_turns(cases, rounds)
