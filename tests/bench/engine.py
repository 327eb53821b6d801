"""The C level: builds csrc/bench.cmake's programs and runs engine.c, whose figures are CPU time in ns a call.

Cache misses: where the kernel lets nobody count them (most virtual machines), they are counted by time. A read of a
random word of an array as large as the keys costs one miss more than a read of a word that is cached; a random get costs
so many of those more than a get that is cached.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from processes import folder
from rows import Plan, Row, at_most, budget, time_text

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "bench"
KEYS = 1_000_000
MISSES = 3.0  # two more than the array's one
PROTOTYPE = {"get": 13.0, "set": 38.0, "incr": 23.0}
HOT = (("get", "get", 20.0), ("get of a key with TTL", "get_ttl", 45.0), ("set", "set", 45.0), ("incr", "incr", 35.0))


@cache
def build() -> Path:
    """Build the C programs with the flags of a release; return the folder that holds them."""
    tools = Path(sys.executable).parent
    cmake = str(tools / "cmake") if (tools / "cmake").exists() else "cmake"
    ninja = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"] if (tools / "ninja").exists() else []
    subprocess.run([cmake, "-S", str(ROOT / "csrc"), "-B", str(BUILD), *ninja, "-DFRIDGE_BENCH=ON",
                    "--log-level=WARNING"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    subprocess.run([cmake, "--build", str(BUILD), "-j", str(os.cpu_count() or 1)], check=True, stdout=subprocess.DEVNULL)
    return BUILD


def rows(plan: Plan) -> list[Row]:
    """Measure; some ten seconds, and the build."""
    program = build() / "engine"
    rounds, keys = plan.pick(41, 7), plan.pick(KEYS, 200_000)
    with folder() as place:
        run = subprocess.run([program, place / "segment", str(rounds), str(keys)], capture_output=True, text=True, check=True)
    got: dict[str, float] = json.loads(run.stdout)
    return [*_hot(got), _random(got, keys), _beside(got)]


def _hot(got: dict[str, float]) -> list[Row]:
    found = []
    for what, name, limit in HOT:
        prototype = f"prototype: {PROTOTYPE[name]:g} ns" if name in PROTOTYPE else "-"
        found.append(budget(f"C level, hot: {what}, 32 B", got[name], limit, reference=prototype))
    return found


def _random(got: dict[str, float], keys: int) -> Row:
    miss = got["array_wide"] - got["array_narrow"]
    misses = (got["get_wide"] - got["get_narrow"]) / miss
    note = f"by time: random {time_text(got['get_wide'])}, cached {time_text(got['get_narrow'])}; {_pages(got)}"
    return Row(f"random get over {keys:,} keys: cache misses", f"{misses:.2f}", f"random array read: 1 ({time_text(miss)})",
               f"{misses - 1:.2f} more", "<= 2 more", misses <= MISSES, note)  # fmt: skip


def _pages(got: dict[str, float]) -> str:
    segment, array = got["huge_segment"], got["huge_array"]
    if not segment and not array:
        return "4 KiB pages in both"
    return f"in huge pages: {segment / 1e6:.0f} MB of the segment, {array / 1e6:.0f} MB of the array"


def _beside(got: dict[str, float]) -> Row:
    own = got["spin_beside"] / got["spin_alone"]
    note = f"set and get; two loops without shared memory cost {own:.2f}x each on this machine"
    return at_most("2 processes, disjoint stripes: CPU per operation", got["beside"], got["alone"], 1.05, "1 process", note)
