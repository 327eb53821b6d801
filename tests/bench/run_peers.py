"""`make bench-peers`: every call of the mmap door, and its peers', as latency, beside busy threads, processes and keys.

Prints tables and writes the raw results as JSON, from which plots.py draws. All ratios are of one run. A peer that does
not install has a line that says so. Run: ``python tests/bench/run_peers.py [--out FILE] [--quick] [--ten-million]
[--only PART ...]``; some five minutes, one with --quick; --ten-million adds as many keys and four minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import latency
import processes
import run
import scaling
import sizes
from peers import PEERS, Call, Peer
from rows import Plan, time_text

KEY = "key0"
BUSY = (0, 2)
MOST = (1_000_000, 20_000)
THOUSAND, MILLION, QUICK_KEYS = 1_000, 1_000_000, 50_000


@dataclass(frozen=True)
class Timing:
    """What a call took: ns by the wall clock in a loop without a timer (None when it needs preparation); the samples."""

    peer: str
    verb: str
    busy: int
    loop_ns: float | None
    latency: latency.Latency


def present() -> list[Peer]:
    """Return the peers that can be measured here."""
    return [peer for peer in PEERS if not peer.missing()]


# --- latency ---------------------------------------------------------------------------------------------------------


def _timings(peer: Peer, plan: Plan) -> list[Timing]:
    found = []
    with processes.folder() as place, peer.setup(place, [KEY]) as shared:
        calls: dict[str, Call] = {c.verb: c for c in peer.calls(shared, KEY)}
        seconds, most = (0.06 if plan.quick else 1.0), plan.pick(*MOST)
        in_loops = latency.loops(calls, plan.pick(15, 3))
        for threads in BUSY:
            with latency.busy(threads):
                for verb, call in calls.items():
                    if threads and not call.prepare:
                        in_loops[verb] = latency.steady(call, 0.08 if plan.quick else 0.5)
                    taken = latency.samples(call, seconds, most)
                    found.append(Timing(peer.name, verb, threads, in_loops.get(verb), latency.summary(taken)))
    return found


def calls(plan: Plan) -> list[dict[str, Any]]:
    """Measure the latency of every call of every peer, alone and beside busy threads."""
    return [asdict(timing) for peer in present() for timing in _timings(peer, plan)]


def shares(plan: Plan) -> list[dict[str, Any]]:
    """Measure every peer that can be shared with 1, 2, 4 and 8 processes."""
    seconds, counts = (0.03, (1, 4)) if plan.quick else (0.3, scaling.COUNTS)
    return [asdict(share) for peer in present() if peer.name != "dict" for share in scaling.shares(peer, seconds, counts)]


def accesses(plan: Plan, ten_million: bool) -> list[dict[str, Any]]:
    """Measure random reads and writes over many keys."""
    counts = [THOUSAND, plan.pick(MILLION, QUICK_KEYS), *([10 * MILLION] if ten_million else [])]
    seconds, fill = (0.05, 1.5) if plan.quick else (0.5, 40.0)
    rows: list[dict[str, Any]] = []
    for n in counts:
        limit = fill * (3 if n > MILLION else 1)
        slow = {r["peer"]: r["note"] for r in rows if r["note"]}
        for peer in present():
            if why := slow.get(peer.name):
                rows += [asdict(sizes.Access(peer.name, verb, n, None, why)) for verb in ("get", "set")]
            else:
                rows += [asdict(access) for access in sizes.accesses(peer, n, seconds, limit)]
    return rows


# --- report ----------------------------------------------------------------------------------------------------------


def facts() -> dict[str, Any]:
    """Return what is to be known of this machine."""
    return {
        "line": run.machine(),
        "build": run.build_line(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "load": os.getloadavg()[0],
        "shared memory huge pages": _huge(processes.SHARED_MEMORY),
        "measured": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _huge(folder: str) -> str:
    """Return the huge= of the mount that is a folder; a tmpfs that does not say has none."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    words = next((fields[3].split(",") for fields in reversed(mounts) if fields[1] == folder), [])
    return f"{folder} is mounted {next((word for word in words if word.startswith('huge=')), 'huge=never')}"


def columns(lines: list[list[str]]) -> str:
    """Return lines of cells as text in columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def times(ratio: float) -> str:
    """Return a ratio with three digits: 0.321x, 6.11x, 3,050x."""
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.3g}x"


def _time(ns: float | None) -> str:
    return "-" if ns is None else time_text(ns)


def _rate(per_second: float) -> str:
    size, unit = (1e6, "M/s") if per_second >= 1e6 else (1e3, "k/s")
    return f"{per_second / size:.3g} {unit}" if per_second < 1000 * size else f"{per_second / size:,.0f} {unit}"


def _against(ours: float | None, theirs: float | None) -> str:
    return "-" if not ours or not theirs else times(theirs / ours)


def with_missing(lines: list[list[str]], missing: dict[str, str]) -> list[list[str]]:
    """Return a table with a row for each peer that is not here, which says why."""
    width = len(lines[0])
    return [*lines, *(["(none)", name, why, *[""] * (width - 3)] for name, why in missing.items())]


def latency_title(busy: int) -> str:
    """Return what a table of latencies is headed by."""
    return f"Latency of each call beside {busy} busy threads" if busy else "Latency of each call, alone"


def latency_lines(rows: list[dict[str, Any]], busy: int) -> list[list[str]]:
    """Return the table of latencies beside so many busy threads; ratios are the peer's to fridge's for the same verb."""
    head = ["call", "of", "in a loop", "ratio", "mean", "p50", "ratio", *(f"p{p:g}" for p in latency.PERCENTILES[1:]),
            "worst", "calls"]  # fmt: skip
    mine = {r["verb"]: r for r in rows if r["peer"] == "fridge" and r["busy"] == busy}
    lines = [head]
    for verb in mine:
        for r in (r for r in rows if r["verb"] == verb and r["busy"] == busy):
            p, ours = r["latency"]["percentiles"], mine[verb]
            lines.append([verb, r["peer"], _time(r["loop_ns"]), _against(ours["loop_ns"], r["loop_ns"]),
                          _time(r["latency"]["mean"]), _time(p["50"]),
                          _against(ours["latency"]["percentiles"]["50"], p["50"]),
                          *(_time(p[f"{q:g}"]) for q in latency.PERCENTILES[1:]), _time(r["latency"]["worst"]),
                          f"{r['latency']['samples']:,}"])  # fmt: skip
    return lines


def share_lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the table of processes: operations a second, all together."""
    counts = sorted({r["processes"] for r in rows})
    lines = [["call", "of", "target", *(f"{n} proc." for n in counts), "callers' CPU an operation"]]
    for verb in scaling.VERBS:
        for peer, target in dict.fromkeys((r["peer"], r["target"]) for r in rows if r["verb"] == verb):
            these = {r["processes"]: r for r in rows if (r["peer"], r["target"], r["verb"]) == (peer, target, verb)}
            lines.append([verb, peer, target, *(_rate(these[n]["per_second"]) for n in counts),
                          f"{time_text(these[counts[0]]['cpu_ns'])} - {time_text(these[counts[-1]]['cpu_ns'])}"])  # fmt: skip
    return lines


def size_lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the table of random reads and writes over many keys."""
    counts = sorted({r["keys"] for r in rows})
    lines = [["call", "of", *(f"{n:,} keys" for n in counts)]]
    for verb in ("get", "set"):
        for peer in dict.fromkeys(r["peer"] for r in rows if r["note"] != sizes.NO_KEYS):
            these = {r["keys"]: r for r in rows if (r["peer"], r["verb"]) == (peer, verb)}
            lines.append([verb, peer, *(_time(these[n]["ns"]) if these[n]["ns"] else these[n]["note"] for n in counts)])
    return lines


def tables(report: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return (title, plots, lines) of every table that the results give."""
    found: list[tuple[str, list[str], list[list[str]]]] = []
    if rows := report.get("calls"):
        found += [(latency_title(n), ["busy"] if n else ["percentiles", "distribution"], latency_lines(rows, n)) for n in BUSY]
    if rows := report.get("processes"):
        found.append(("Several processes", ["processes"], share_lines(rows)))
    if rows := report.get("keys"):
        found.append(("Random reads and writes over many keys", ["keys"], size_lines(rows)))
    return [(title, plots, with_missing(lines, report["missing"])) for title, plots, lines in found]


def timer_line(report: dict[str, Any]) -> str:
    """Return what the timer takes, in a sentence."""
    p = report["timer"]["percentiles"]
    return (f"Round a call that does nothing the timer shows {_time(p['50'])} (p50), {_time(p['99'])} (p99) and "
            f"{_time(p['99.99'])} (p99.99); that is in every percentile, and in no loop.")  # fmt: skip


def show(report: dict[str, Any]) -> str:
    """Return the tables as text."""
    parts = [f"{title}\n{columns(lines)}" for title, _, lines in tables(report)]
    if report.get("calls"):
        parts.append(timer_line(report))
    if single := sorted({r["peer"] for r in report.get("keys", ()) if r["note"] == sizes.NO_KEYS}):
        parts.append(f"{', '.join(single)}: {sizes.NO_KEYS}")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    parts.append("\n".join([report["machine"]["line"], report["machine"]["build"], versions]))
    return "\n\n".join(parts)


def measure(parts: list[str], plan: Plan, ten_million: bool) -> dict[str, Any]:
    """Return the report of these parts; says on stderr what it is at."""
    every: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "calls": lambda: calls(plan),
        "processes": lambda: shares(plan),
        "keys": lambda: accesses(plan, ten_million),
    }
    report: dict[str, Any] = {
        "machine": facts(),
        "versions": {peer.name: peer.version() for peer in present()},
        "missing": {peer.name: why for peer in PEERS if (why := peer.missing())},
        "quick": plan.quick,
        "timer": asdict(latency.timer()),
    }
    for name in parts:
        start = time.monotonic()
        report[name] = every[name]()
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return report


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write.

    Args:
        argv: the command line; None for the process's own.

    Returns:
        The exit status.
    """
    parts = ["calls", "processes", "keys"]
    parser = argparse.ArgumentParser(description="Measure fridge's calls beside those of its peers.")
    parser.add_argument("--out", type=Path, help="write the raw results as JSON here")
    parser.add_argument("--quick", action="store_true", help="a minute; coarse")
    parser.add_argument("--ten-million", action="store_true", help="ten million keys as well")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="these parts")
    options = parser.parse_args(argv)
    report = measure(options.only, Plan(options.quick), options.ten_million)
    print(show(report))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
