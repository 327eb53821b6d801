"""`make bench`: every row of design section 9, each against its reference in the same run.

Prints the table and writes it as JSON, for docs/generate.py to put into the README. A figure that misses its hold is
shown as such; the exit status is 0 all the same, for a busy machine is no broken build. Run:
``python tests/bench/run.py [--out FILE] [--quick] [--only GROUP ...]``; six minutes, a minute with --quick.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import engine
import hashes
import hot
import memory
import wire
from rows import Plan, Row

GROUPS: dict[str, Callable[[Plan], list[Row]]] = {
    "hot": hot.rows,
    "engine": engine.rows,
    "wire": wire.rows,
    "hashes": hashes.rows,
    "memory": memory.rows,
}


def machine() -> str:
    """Return this machine in a line: processor, cores, kernel, Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"


def build_line() -> str:
    """Return how fridge was built, and what was switched on."""
    from fridge._native import lib, text

    return f"fridge {text(lib.fridge_version())} ({text(lib.fridge_build())}), statistics, limits and expiry on"


def show(rows: list[Row]) -> str:
    """Return the table as text."""
    cells = [["what", "measured", "reference", "ratio", "hold", ""]]
    cells += [[r.what, r.measured, r.reference, r.ratio, r.hold, "" if r.held else "MISSED"] for r in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    notes = [f"  {row.what}: {row.note}" for row in rows if row.note]
    return "\n".join([*lines, "", "notes:", *notes])


def measure(groups: list[str], plan: Plan) -> list[Row]:
    """Return the rows of these groups; says on stderr what it is at."""
    found: list[Row] = []
    for name in groups:
        start = time.monotonic()
        found += GROUPS[name](plan)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return found


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write.

    Args:
        argv: the command line; None for the process's own.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Measure fridge beside its references.")
    parser.add_argument("--out", type=Path, help="write the rows as JSON here")
    parser.add_argument("--quick", action="store_true", help="a minute instead of six; coarse")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="these groups of rows")
    options = parser.parse_args(argv)
    rows = measure(options.only, Plan(options.quick))
    where, how = machine(), build_line()
    print(f"{show(rows)}\n\n{where}\n{how}\nmissed: {sum(not row.held for row in rows)} of {len(rows)}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": where, "build": how, "rows": [asdict(row) for row in rows]}
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
