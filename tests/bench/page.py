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
        "[peers.json](peers.json). All figures are of one run"
        + (", a coarse one (--quick)" if report["quick"] else "") + ".\n",
        f"{machine['line']}; {machine['libc']}; {machine['build']}; huge pages for shared memory: "
        f"`{machine['shared memory huge pages']}`; load when it began: {machine['load']:.2f}; measured "
        f"{machine['measured']}.\n",
        ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".\n",
        *(f"**{name}** is missing: {why}.\n" for name, why in report["missing"].items()),
        run_peers.timer_line(report) + " A percentile stands only where at least one call lies beyond it. Ratios are the "
        "peer's to fridge's.\n",
    ]  # fmt: skip
    sections: list[tuple[str, list[str], list[list[str]]]] = [
        *((run_peers.latency_title(n), ["percentiles", "distribution"] if n == 0 else ["busy"],
           run_peers.latency_lines(report["calls"], n)) for n in run_peers.BUSY),
        ("Several processes", ["processes"], run_peers.share_lines(report["processes"])),
        ("Many keys", ["keys"], run_peers.size_lines(report["keys"])),
    ]  # fmt: skip
    for title, plots, lines in sections:
        parts += [f"## {title}\n", *(f"![{title}]({name}.svg)\n" for name in plots), _table(lines)]
    return "\n".join(parts)
