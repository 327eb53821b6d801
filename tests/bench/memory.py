"""Memory per key beside redis-server, time to attach, and what an idle server takes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from processes import Server, fridge, load, redis, request
from rows import Plan, Row, at_most, budget, time_text

KEYS, BATCH = 1_000_000, 1000
VALUE = b"v" * 32
ATTACH_LIMIT_NS = 0.5e6
IDLE_LIMIT = 60e6
ATTACH = """
import sys, time, fridge
start = time.perf_counter_ns()
fridge.open(sys.argv[2]).close()
first = time.perf_counter_ns()
f = fridge.open(sys.argv[1], create=False)
print(time.perf_counter_ns() - first, first - start)
"""


def _sets(keys: int) -> Iterator[bytes]:
    for i in range(keys):
        yield request(b"SET", b"key:%012d" % i, VALUE)


def _bytes_per_key(server: Server, keys: int) -> float:
    before = server.used_memory()
    load(server, _sets(keys), BATCH)
    return (server.used_memory() - before) / keys


def _attach_ns(segment: str, other: str) -> tuple[int, int]:
    """Return what attaching took, and what the process's first open took, which imports modules and makes a segment."""
    run = subprocess.run([sys.executable, "-c", ATTACH, segment, other], capture_output=True, text=True, check=True)
    attached, first = run.stdout.split()
    return int(attached), int(first)


def rows(plan: Plan) -> list[Row]:
    """Measure; some twenty seconds."""
    keys = plan.pick(KEYS, 100_000)
    with fridge() as ours, redis() as theirs:
        time.sleep(1.5)  # what start-up leaves behind, housekeeping has given back
        idle = ours.pss()
        mine, other = _bytes_per_key(ours, keys), _bytes_per_key(theirs, keys)
        taken = [_attach_ns(str(ours.segment), f"{ours.segment}-other") for _ in range(plan.pick(15, 5))]
    what = f"memory per key, {keys:,} keys of 16 B with values of 32 B"
    return [
        at_most(what, mine, other, 0.75, theirs.name, "INFO used_memory of both", lambda b: f"{b:.1f} B"),
        budget("attach to an existing segment", statistics.median(t for t, _ in taken), ATTACH_LIMIT_NS,
               f"a process's second fridge.open(); its first, which imports modules and makes a segment, "
               f"{time_text(statistics.median(t for _, t in taken))}"),
        budget("idle server: memory of all its processes", idle, IDLE_LIMIT, "PSS without segment pages",
               lambda b: f"{b / 1e6:.1f} MB"),
    ]  # fmt: skip
