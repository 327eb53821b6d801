"""A row of the speed table, and measuring in turns.

Leaves out: what is measured; every other module of this folder gives a list of rows.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

TIMES = ((1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns"))


@dataclass(frozen=True)
class Row:
    """One comparison, as text: what docs/generate.py puts into the README."""

    what: str
    measured: str
    reference: str
    ratio: str
    hold: str
    held: bool
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """How long the whole may take.

    Args:
        quick: at most a minute in all: every row is there, its figures are coarse.
    """

    quick: bool

    def pick(self, full: int, quick: int) -> int:
        """Return how many rounds, calls or keys."""
        return quick if self.quick else full


def time_text(ns: float) -> str:
    """Return a duration with three digits and its unit: 18.4 ns, 2.71 us."""
    size, unit = next((row for row in TIMES if ns >= row[0]), TIMES[-1])
    return f"{ns / size:.3g} {unit}"


def at_most(what: str, measured: float, reference: float, limit: float, name: str, note: str = "",
            show: Callable[[float], str] = time_text) -> Row:  # fmt: skip
    """Return the row of a cost that may be at most `limit` times the reference's, which is called `name`."""
    ratio = measured / reference
    return Row(what, show(measured), f"{name}: {show(reference)}", f"{ratio:.2f}x", f"<= {limit:g}x", ratio <= limit, note)


def at_least(what: str, measured: float, reference: float, limit: float, name: str, note: str = "") -> Row:
    """Return the row of a cost that the reference must exceed at least `limit` times."""
    ratio = reference / measured
    return Row(what, time_text(measured), f"{name}: {time_text(reference)}", f"1/{ratio:.3g}", f"<= 1/{limit:g}",
               ratio >= limit, note)  # fmt: skip


def budget(what: str, measured: float, limit: float, note: str = "", show: Callable[[float], str] = time_text,
           reference: str = "-") -> Row:  # fmt: skip
    """Return the row of a cost that is held against a fixed limit."""
    return Row(what, show(measured), reference, f"{measured / limit:.2f} of it", f"<= {show(limit)}", measured <= limit, note)


def in_turns(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Run every case once a round, the first round unmeasured, and return the medians: clock speed meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, case in cases.items():
            got = case()
            if number:
                taken[name].append(got)
    return {name: statistics.median(values) for name, values in taken.items()}
