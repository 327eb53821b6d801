"""Draws docs/plots/*.svg, and their page, from the raw results of run_peers.py.

One colour and marker a peer in every plot; fridge is the thick line. Text stays text in the SVG, and nothing in it
depends on the day it is drawn: the same results give the same bytes. Run: ``python tests/bench/plots.py RESULTS.json
FOLDER``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

import latency
import matplotlib.pyplot as plt
import page
import run_peers
import scaling
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rows import time_text

Report = dict[str, Any]
STYLE = {  # peer: colour, marker
    "fridge": ("#0b5fc4", "o"),
    "dict": ("#555555", "x"),
    "lmdb": ("#e08a00", "s"),
    "UltraDict": ("#12926b", "^"),
    "diskcache": ("#c2588f", "v"),
    "multiprocessing.Value": ("#4aa3df", "D"),
    "multiprocessing.Manager": ("#7a4a1e", "P"),
    "atomics": ("#a3a500", "X"),
    "redis-py": ("#c8321f", "h"),
    "prometheus_client": ("#7352b5", "*"),
}
INK, GRID, FILL = "#222222", "#dddddd", "#eef3fa"
BUSY_VERBS = ("get", "set", "incr", "counter increment")
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fridge",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

# --- parts of a plot -------------------------------------------------------------------------------------------------


def _times(axis: Any, least: float, most: float, step: int = 1) -> None:
    """Give an axis of ns its decades, or every so manieth of them, in words."""
    axis.set_major_locator(FixedLocator([10**e for e in range(0, 11, step) if least / 2 <= 10**e <= most * 2]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda ns, _: time_text(ns).replace(".0", "")))


def _rates(axis: Any) -> None:
    units = ((1e6, "M"), (1e3, "k"), (1, ""))
    axis.set_major_formatter(FuncFormatter(lambda x, _: next(f"{x / s:g} {u}/s" for s, u in units if x >= s)))
    axis.set_minor_locator(NullLocator())


def _line(axes: Axes, peer: str, x: Sequence[float], y: Sequence[float], marked: bool = True) -> None:
    colour, marker = STYLE[peer]
    ours = peer == "fridge"
    axes.plot(x, y, color=colour, marker=marker if marked else None, markersize=6.5 if ours else 5.5,
              linewidth=2.6 if ours else 1.4, zorder=5 if ours else 3, label=peer,
              linestyle="--" if peer == "dict" else "-")  # fmt: skip


def _legend(figure: Figure, peers: Sequence[str], marked: bool = True) -> None:
    handles = [
        Line2D([], [], color=STYLE[p][0], marker=STYLE[p][1] if marked else None, linewidth=2.6 if p == "fridge" else 1.4,
               linestyle="--" if p == "dict" else "-", label=p)
        for p in STYLE if p in peers
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=5)


def _title(figure: Figure, what: str, how: str) -> None:
    height = figure.get_figheight()
    figure.text(0.01, 1 - 0.08 / height, what, fontsize=13, fontweight="bold", va="top")
    figure.text(0.01, 1 - 0.37 / height, how, fontsize=8.5, color="#666666", va="top")


def _figure(rows: int, columns: int, width: float, height: float, **more: Any) -> tuple[Figure, Any]:
    """Return a figure with room for a title and a line below it, and its axes."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **more)
    engine = figure.get_layout_engine()
    assert engine
    engine.set(rect=(0, 0, 1, 1 - 0.62 / height), h_pad=0.08, w_pad=0.06)
    return figure, axes


# --- the plots -------------------------------------------------------------------------------------------------------


def percentiles(report: Report) -> Figure:
    """fridge's calls, p50 to p99.99, alone and beside busy threads."""
    rows = [r for r in report["calls"] if r["peer"] == "fridge"]
    verbs = list(dict.fromkeys(r["verb"] for r in rows))[::-1]
    names = [f"{p:g}" for p in latency.PERCENTILES]
    shades = ["#9cc3f0", "#5f9be0", "#2f78cc", "#0b5fc4", "#06325f"]
    most = 3 * max(ns for r in rows for ns in r["latency"]["percentiles"].values() if ns)
    figure, axes = _figure(1, 2, 11, 5.4, sharex=True, sharey=True)
    for place, busy in zip(axes[0], run_peers.BUSY, strict=True):
        for y, verb in enumerate(verbs):
            got = next(r for r in rows if (r["verb"], r["busy"]) == (verb, busy))["latency"]["percentiles"]
            there = [(got[n], shade) for n, shade in zip(names, shades, strict=True) if got[n]]
            place.plot([x for x, _ in there], [y] * len(there), color="#bbbbbb", linewidth=1.4, zorder=2)
            there.reverse()  # where they coincide, the lower percentile lies on top
            place.scatter([x for x, _ in there], [y] * len(there), c=[c for _, c in there], s=46, zorder=3)
        place.axvspan(0, report["timer"]["percentiles"]["50"], color="#f0f0f0", zorder=0)
        place.set_title("alone" if not busy else f"beside {busy} busy threads")
        place.set_xscale("log")
        place.set_xlim(40, most)
        _times(place.xaxis, 100, most / 2)
        place.set_yticks(range(len(verbs)), verbs)
        place.grid(axis="y", visible=False)
    dots = [Line2D([], [], color=c, marker="o", linestyle="", label=f"p{n}") for n, c in zip(names, shades, strict=True)]
    figure.legend(handles=dots, loc="outside lower center", ncols=5)
    _title(figure, "fridge: latency of each call",
           "every call timed by itself; grey: what the timer shows round a call that does nothing")  # fmt: skip
    return figure


def _slower(histogram: dict[str, int]) -> tuple[list[float], list[float]]:
    """Return (ns, share of the calls that took at least so long)."""
    bins = sorted((int(ns), n) for ns, n in histogram.items())
    total, left = sum(n for _, n in bins), sum(n for _, n in bins)
    x, y = [], []
    for ns, n in bins:
        x.append(max(ns, 1.0))
        y.append(left / total)
        left -= n
    return x, y


def distribution(report: Report) -> Figure:
    """The histogram of each call, fridge and peers, as the share of calls that took longer."""
    rows = [r for r in report["calls"] if r["busy"] == 0]
    verbs = list(dict.fromkeys(r["verb"] for r in rows if r["peer"] == "fridge"))
    columns, most = 5, 2 * max(r["latency"]["worst"] for r in rows)
    figure, axes = _figure(-(-len(verbs) // columns), columns, 14, 9, sharex=True, sharey=True)
    for place, verb in zip(axes.flat, verbs, strict=False):
        for r in (r for r in rows if r["verb"] == verb):
            _line(place, r["peer"], *_slower(r["latency"]["histogram"]), marked=False)
        place.set_title(verb)
        place.set(xscale="log", yscale="log", xlim=(50, most), ylim=(0.7e-5, 1.3))
        _times(place.xaxis, 100, most / 2)
        place.set_yticks([1, 0.1, 1e-2, 1e-3, 1e-4, 1e-5], ["all", "10%", "1%", "0.1%", "0.01%", "0.001%"])
        place.yaxis.set_minor_locator(NullLocator())
        place.tick_params(axis="x", labelrotation=40)
    for place in list(axes.flat)[len(verbs) :]:
        place.set_visible(False)
    for place in list(axes.flat)[len(verbs) - columns : len(verbs)]:
        place.tick_params(labelbottom=True)
    _legend(figure, [r["peer"] for r in rows], marked=False)
    _title(figure, "Share of the calls that took at least so long",
           "every call timed by itself, alone; 0.01% is p99.99; the timer is in it")  # fmt: skip
    return figure


def busy_threads(report: Report) -> Figure:
    """What a call takes in a loop, alone and beside busy threads, fridge and peers."""
    figure, axes = _figure(2, 2, 11, 7.2, sharex=True)
    for place, verb in zip(axes.flat, BUSY_VERBS, strict=True):
        means = {(r["peer"], r["busy"]): r["loop_ns"] for r in report["calls"] if r["verb"] == verb}
        peers = [p for p in STYLE if (p, 0) in means][::-1]
        for y, peer in enumerate(peers):
            alone, beside = (means[peer, threads] for threads in run_peers.BUSY)
            colour = STYLE[peer][0]
            place.plot([alone, beside], [y, y], color=colour, linewidth=2.2 if peer == "fridge" else 1.2)
            place.scatter([alone], [y], s=44, facecolor="white", edgecolor=colour, zorder=3, linewidth=1.6)
            place.scatter([beside], [y], s=44, color=colour, zorder=4)
            place.annotate(run_peers.times(beside / alone), (max(alone, beside), y), xytext=(8, 0), textcoords="offset points",
                           va="center", fontsize=8.5)  # fmt: skip
        place.set_title(verb)
        place.set_xscale("log")
        place.set_xlim(10, 8 * max(ns for r in report["calls"] if r["verb"] in BUSY_VERBS for ns in [r["loop_ns"]]))
        _times(place.xaxis, 10, 1e8, 2)
        place.tick_params(labelbottom=True)
        place.set_yticks(range(len(peers)), peers)
        place.set_ylim(-0.6, len(peers) - 0.4)
        place.grid(axis="y", visible=False)
    _title(figure, "What a call takes, alone (hollow) and beside 2 busy threads of the same process (filled)",
           "mean by the wall clock. A thread that keeps the GIL has a third of the time, 3x; one that lets go of it in a call "
           "waits for the other two, 5 ms each")  # fmt: skip
    return figure


def several_processes(report: Report) -> Figure:
    """Operations a second, all processes together."""
    rows = report["processes"]
    verbs = [verb for verb in scaling.VERBS if any(r["verb"] == verb for r in rows) and verb != "table incr"]
    counts = sorted({r["processes"] for r in rows})
    figure, axes = _figure(len(scaling.TARGETS), len(verbs), 13, 7.4, sharex=True, sharey=True)
    for line, target in zip(axes, scaling.TARGETS, strict=True):
        for place, verb in zip(line, verbs, strict=True):
            these = [r for r in rows if (r["verb"], r["target"]) == (verb, target)]
            for peer in dict.fromkeys(r["peer"] for r in these):
                y = {r["processes"]: r["per_second"] for r in these if r["peer"] == peer}
                _line(place, peer, counts, [y[n] for n in counts])
            place.set(xscale="log", yscale="log")
            place.set_xticks(counts, [str(n) for n in counts])
            place.xaxis.set_minor_locator(NullLocator())
            _rates(place.yaxis)
            place.set_title(f"{verb}, {target}")
    for place in axes[-1]:
        place.set_xlabel("processes")
    _legend(figure, [r["peer"] for r in rows])
    processors = report["machine"]["processors"]
    _title(figure, f"Operations a second of all processes together, on {processors} processors",
           "UltraDict, multiprocessing and Manager take their lock for incr; prometheus_client gives each process a file of its "
           "own")  # fmt: skip
    return figure


def keys(report: Report) -> Figure:
    """Random reads and writes over more and more keys."""
    rows = [r for r in report["keys"] if r["ns"]]
    counts = sorted({r["keys"] for r in rows})
    figure, axes = _figure(1, 2, 11, 5.2, sharex=True, sharey=True)
    for place, verb in zip(axes[0], ("get", "set"), strict=True):
        these = [r for r in rows if r["verb"] == verb]
        for peer in dict.fromkeys(r["peer"] for r in these):
            y = {r["keys"]: r["ns"] for r in these if r["peer"] == peer}
            _line(place, peer, list(y), list(y.values()))
        place.set_title(f"random {verb}")
        place.set(xscale="log", yscale="log", xlabel="keys")
        place.set_xticks(counts, [f"{n:,}" for n in counts])
        place.xaxis.set_minor_locator(NullLocator())
        _times(place.yaxis, min(r["ns"] for r in rows), max(r["ns"] for r in rows))
    _legend(figure, [r["peer"] for r in rows])
    absent = sorted({f"{r['peer']} at {r['keys']:,}: {r['note']}" for r in report["keys"] if r["note"].startswith("not")})
    _title(figure, "Random reads and writes over many keys",
           "16-byte keys, 32-byte values, in a loop without a timer inside. " + "; ".join(absent))  # fmt: skip
    return figure


PLOTS: dict[str, tuple[str, Callable[[Report], Figure]]] = {
    "percentiles": ("calls", percentiles),
    "distribution": ("calls", distribution),
    "busy": ("calls", busy_threads),
    "processes": ("processes", several_processes),
    "keys": ("keys", keys),
}

def main(argv: Sequence[str]) -> int:
    """Draw.

    Args:
        argv: the results and the folder.

    Returns:
        The exit status.
    """
    if len(argv) != 2:
        print("usage: plots.py RESULTS.json FOLDER", file=sys.stderr)
        return 2
    report, folder = json.loads(Path(argv[0]).read_text()), Path(argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(SETTINGS):
        for name, (part, draw) in PLOTS.items():
            if not report.get(part):
                continue
            figure = draw(report)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.15)
            plt.close(figure)
    if all(report.get(part) for part, _ in PLOTS.values()):
        (folder / "README.md").write_text(page.page(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
