"""docs/plots/README.md: the plots, and the tables that they are drawn from, out of the raw results of run_peers.py."""

from __future__ import annotations

from typing import Any

import run_peers


def _table(lines: list[list[str]]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])


def page(report: dict[str, Any]) -> str:
    """Return docs/plots/README.md: the plots, and the tables that they are drawn from."""
    machine = report["machine"]
    parts = [
        "# How fast, beside what else there is\n",
        "Written by `make plots`, which measures and draws everything here anew; the raw results are in "
        "[peers.json](peers.json). Figures that stand together are of one run"
        + (", a coarse one (--quick)" if report["quick"] else "") + ".\n",
        f"{machine['line']}; {machine['libc']}; {machine['build']}; "
        f"{machine['shared memory huge pages']}; load when it began: {machine['load']:.2f}; measured "
        f"{machine['measured']}.\n",
        ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".\n",
        run_peers.timer_line(report) + " A percentile stands only where at least one call lies beyond it. Ratios are the "
        "peer's to fridge's.\n",
    ]  # fmt: skip
    for title, plots, lines in run_peers.tables(report):
        parts += [f"## {title}\n", *(f"![{title}]({name}.svg)\n" for name in plots), _table(lines)]
    return "\n".join(parts)
