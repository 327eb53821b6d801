"""Random reads and writes over a thousand, a million and, on request, ten million keys.

The keys that are called for are drawn beforehand, far more than a cache holds entries for; the loop over their names is
included. Filling has a limit of time: a peer that does not get there has a row that says so.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import processes
from peers import VALUE, Peer

DRAWN = 200_000
PASSES = 3
NO_KEYS = "one number each, no keys"


@dataclass(frozen=True)
class Access:
    """ns a random get or set over so many keys; None, and a note why, when it was not measured."""

    peer: str
    verb: str
    keys: int
    ns: float | None
    note: str = ""


def names(n: int) -> Iterator[str]:
    """Yield the names of n keys, 16 bytes each."""
    return (f"key:{i:012d}" for i in range(n))


def _fill(peer: Peer, shared: Any, keys: int, seconds: float) -> str:
    """Return '' or what was reached in this time."""
    limit, done = time.monotonic() + seconds, 0
    for more in peer.fill(shared, names(keys)):
        done += more
        if done < keys and time.monotonic() > limit:
            return f"not filled: {done:,} keys in {seconds:g} s"
    return ""


def _walk(call: Callable[..., Any], drawn: list[str], arguments: tuple[Any, ...], seconds: float) -> float:
    """Return ns a call, the best of some passes over the drawn keys, or as many of them as there is time for."""
    start = time.perf_counter()
    for key in drawn[:100]:
        call(key, *arguments)
    some = drawn[: max(100, min(len(drawn), int(seconds / (time.perf_counter() - start) * 100)))]
    best = float("inf")
    for _ in range(PASSES):
        start = time.perf_counter()
        if arguments:
            for key in some:
                call(key, VALUE)
        else:
            for key in some:
                call(key)
        best = min(best, time.perf_counter() - start)
    return best / len(some) * 1e9


def accesses(peer: Peer, keys: int, seconds: float, fill_seconds: float) -> list[Access]:
    """Measure a peer.

    Args:
        peer: which.
        keys: over how many keys.
        seconds: how long one pass may take.
        fill_seconds: how long filling may take.
    """
    with processes.folder() as place, peer.setup(place, []) as shared:
        both = peer.access(shared)
        if both is None:
            return [Access(peer.name, verb, keys, None, NO_KEYS) for verb in ("get", "set")]
        why = _fill(peer, shared, keys, fill_seconds)
        if why:
            return [Access(peer.name, verb, keys, None, why) for verb in ("get", "set")]
        chance = random.Random(keys)
        drawn = [f"key:{chance.randrange(keys):012d}" for _ in range(DRAWN)]
        return [Access(peer.name, "get", keys, _walk(both[0], drawn, (), seconds)),
                Access(peer.name, "set", keys, _walk(both[1], drawn, (VALUE,), seconds))]  # fmt: skip
