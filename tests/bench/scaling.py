"""Several processes at once: 1, 2, 4, 8 of them on one key, and each on a key of its own.

What is given is what all of them get done in a second together, by the wall clock, and the CPU time of one operation.
On a machine with fewer processors than processes the first shows what switching among them costs, lock holders included.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from typing import Any

import processes
from peers import FORK, Call, Peer

COUNTS = (1, 2, 4, 8)
TARGETS = ("one key", "disjoint keys")
VERBS = ("counter increment", "incr", "get", "set", "table incr")
CHUNK_SECONDS = 0.002
START_SECONDS = 30.0
WORDS = 3


@dataclass(frozen=True)
class Share:
    """What processes got done on a verb of a peer's."""

    peer: str
    verb: str
    target: str
    processes: int
    per_second: float
    cpu_ns: float


def _chunk(call: Call) -> int:
    start = time.perf_counter()
    call.call(*call.arguments)
    call.call(*call.arguments)
    return max(1, int(CHUNK_SECONDS / max((time.perf_counter() - start) / 2, 1e-7)))


def _work(peer: Peer, shared: Any, key: str, verb: str, seconds: float, barrier: Any, out: Any) -> None:
    call = next(c for c in peer.calls(shared, key) if c.verb == verb)
    chunk, function, arguments = _chunk(call), call.call, call.arguments
    barrier.wait(START_SECONDS)
    start, cpu, done = time.perf_counter(), time.process_time(), 0
    limit = start + seconds
    while (now := time.perf_counter()) < limit:
        for _ in range(chunk):
            function(*arguments)
        done += chunk
    out[0], out[1], out[2] = done, now - start, time.process_time() - cpu


def _share(peer: Peer, shared: Any, verb: str, target: str, keys: list[str], seconds: float) -> Share:
    barrier = FORK.Barrier(len(keys))
    outs = [RawArray("d", WORDS) for _ in keys]
    children = [
        FORK.Process(target=_work, args=(peer, shared, key, verb, seconds, barrier, out))
        for key, out in zip(keys, outs, strict=True)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(START_SECONDS + 2 * seconds)
        if child.exitcode != 0:
            child.kill()
            raise RuntimeError(f"{peer.name}, {verb}, {len(keys)} processes: one ended with {child.exitcode}")
    done = sum(out[0] for out in outs)
    return Share(peer.name, verb, target, len(keys), sum(out[0] / out[1] for out in outs),
                 sum(out[2] for out in outs) / done * 1e9)  # fmt: skip


def shares(peer: Peer, seconds: float, counts: tuple[int, ...] = COUNTS) -> Iterator[Share]:
    """Measure a peer.

    Args:
        peer: which.
        seconds: for how long each.
        counts: with how many processes.
    """
    names = [f"key{i}" for i in range(max(counts))]
    with processes.folder() as place, peer.setup(place, names) as shared:
        verbs = _verbs(peer, shared, names[0])
        for verb in verbs:
            for target in TARGETS:
                for n in counts:
                    keys = names[:n] if target == TARGETS[1] else names[:1] * n
                    yield _share(peer, shared, verb, target, keys, seconds)


def _verbs(peer: Peer, shared: Any, key: str) -> list[str]:
    """Ask a child: some peers may not be used before a fork."""
    queue = FORK.SimpleQueue()
    child = FORK.Process(target=lambda: queue.put([c.verb for c in peer.calls(shared, key)]))
    child.start()
    child.join(START_SECONDS)
    if child.exitcode != 0:
        raise RuntimeError(f"{peer.name} cannot be used after fork: exit status {child.exitcode}")
    there = queue.get()
    return [verb for verb in VERBS if verb in there]
