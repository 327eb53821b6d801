"""What the design buys: the same storm of SIGKILLs over a pthread robust mutex, lmdb and fridge, in one table.

Four writers raise a pair of words and are killed at random: once all in one PID namespace, once each as PID 1 of its own,
as the main processes of containers are. Columns: kills (in brackets: in mid-operation), operations that ended well;
then what must be 0: overlaps (two in the exclusive section at once, seen by the living), doubled (one number given out
twice), torn, stuck (times, and seconds without any progress), lost (acknowledged increments that are not there), invented
(more than were begun), errors (operations that failed), aborts (processes that ended by themselves: by a signal, or because
they could not attach). fridge has no section of the caller's in which an overlap could be seen; its exclusion shows in the
doubled numbers alone.

Whatever comes out is printed. Run: ``python tests/bench/peers_crash.py [--quick] [--seed N] [--only WORD] [--out FILE]``;
a minute for each contender, six seconds with --quick.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import run
from contenders import Contender, all_of_them
from peers_storm import WRITERS, Tally, storm

SECONDS, QUICK_SECONDS = 30.0, 3.0
WHERE = {"one PID namespace": False, "each PID 1 of its own": True}
HEAD = ["contender", "where", "kills", "operations", "overlaps", "doubled", "torn", "stuck", "lost", "invented",
        "errors", "aborts"]  # fmt: skip


def _cells(name: str, where: str, t: Tally) -> list[str]:
    stuck = f"{t.stuck} ({t.stuck_seconds:.0f} s)" if t.stuck else "0"
    overlaps = "-" if name == "fridge" else f"{t.overlaps:,}"
    return [name, where, f"{t.kills:,} ({t.in_operation:,})", f"{t.operations:,}", overlaps, f"{t.doubled:,}",
            f"{t.torn:,}", stuck, f"{t.lost:,}", f"{t.invented:,}", f"{t.failed:,}", f"{t.aborts:,}"]  # fmt: skip


def _said(t: Tally) -> list[str]:
    refused = f"{t.refused} attempts met a live owner for longer than latch-timeout, were refused and repeated"
    return [*sorted(t.notes), *([refused] if t.refused else [])]


def table(lines: list[list[str]]) -> str:
    """Return lines of cells as text in columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def measure(contenders: list[Contender], seconds: float, seed: int) -> list[dict[str, Any]]:
    """Return a report for each contender and place; says on stderr what it is at."""
    found = []
    for contender in contenders:
        for where, namespaces in WHERE.items():
            print(f"{contender.name}, {where}", file=sys.stderr)
            tally = storm(contender, namespaces, seconds, seed)
            found.append({"contender": contender.name, "version": contender.version(), "where": where, "tally": tally})
    return found


def main(argv: list[str] | None = None) -> int:
    """Storm, print, write.

    Args:
        argv: the command line; None for the process's own.

    Returns:
        The exit status: 1 when something of fridge's went wrong.
    """
    parser = argparse.ArgumentParser(description="The same kill storm over fridge and its peers.")
    parser.add_argument("--quick", action="store_true", help="six seconds for each contender instead of a minute")
    parser.add_argument("--seed", type=int, default=1, help="of victims and moments")
    parser.add_argument("--only", default="", help="contenders whose names contain this word")
    parser.add_argument("--out", type=Path, help="write the figures as JSON here")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="fridge-bench-") as library:
        contenders = [c for c in all_of_them(Path(library)) if options.only in c.name]
        found = measure(contenders, QUICK_SECONDS if options.quick else SECONDS, options.seed)
    print(table([HEAD, *(_cells(row["contender"], row["where"], row["tally"]) for row in found)]))
    print("\nwhat was said:")
    for row in found:
        for note in _said(row["tally"]):
            print(f"  {row['contender']}, {row['where']}: {note}")
    versions = ", ".join(dict.fromkeys(str(row["version"]) for row in found))
    print(f"\n{WRITERS} writers, seed {options.seed}; {versions}\n{run.machine()}")
    if options.out:
        rows = [{**row, "tally": {**asdict(row["tally"]), "notes": _said(row["tally"])}} for row in found]
        options.out.write_text(json.dumps({"machine": run.machine(), "seed": options.seed, "rows": rows}, indent=1) + "\n")
    return int(any(row["tally"].wrong() for row in found if row["contender"] == "fridge"))


if __name__ == "__main__":
    sys.exit(main())
