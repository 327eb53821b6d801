"""Tests of what tests/bench counts and writes: percentiles and histograms, and that the page of plots is the results'.

What the programs measure is nobody's promise but `make bench`'s; that they run is seen by running them.
"""

from __future__ import annotations

import json
import random
import sys
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ROOT / "tests" / "bench")):
            del sys.modules[name]


@pytest.mark.usefixtures("bench")
def test_percentiles_are_those_of_the_sorted_samples() -> None:
    import latency

    taken = list(range(1, 100_001))
    random.Random(1).shuffle(taken)
    got = latency.summary(taken)
    assert got.percentiles == {"50": 50_001, "90": 90_001, "99": 99_001, "99.9": 99_901, "99.99": 99_991}
    assert (got.samples, got.worst, got.mean) == (100_000, 100_000, 50_000.5)


@pytest.mark.usefixtures("bench")
def test_a_percentile_beyond_which_no_sample_lies_is_not_given() -> None:
    import latency

    assert latency.summary([5] * 999).percentiles["99.9"] is None
    assert latency.summary([5] * 1000).percentiles["99.9"] == 5


@pytest.mark.usefixtures("bench")
def test_a_histogram_holds_every_sample_within_an_eighth() -> None:
    import latency

    chance = random.Random(2)
    taken = [int(2 ** (chance.random() * 40)) for _ in range(10_000)]
    bins = latency.summary(taken).histogram
    assert sum(bins.values()) == len(taken)
    starts = sorted(bins)
    for ns in taken:
        start = starts[bisect_right(starts, ns) - 1]
        assert start <= ns < start * 9 / 8 + 1


@pytest.mark.usefixtures("bench")
def test_the_page_of_plots_is_the_one_that_its_results_give() -> None:
    import page

    folder = ROOT / "docs" / "plots"
    report = json.loads((folder / "peers.json").read_text())
    assert page.page(report) == (folder / "README.md").read_text(), "stale: run `make plots`"
    for name in ("percentiles", "distribution", "busy", "processes", "keys"):
        assert (folder / f"{name}.svg").read_text().lstrip().startswith("<?xml"), name


@pytest.mark.usefixtures("bench")
def test_every_call_and_every_peer_has_its_row_the_missing_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import peers
    import run_peers
    from rows import Plan

    class Absent(peers.Peer):
        name, package = "absent", "a_package_that_nobody_has"

    monkeypatch.setattr(run_peers, "PEERS", (peers.Fridge(), peers.Value(), Absent()))
    report = run_peers.measure(["calls", "keys"], Plan(True), False)
    assert [r["verb"] for r in report["calls"] if r["peer"] == "fridge" and r["busy"] == 2] == [
        "get", "set", "incr", "delete", "cas", "hget", "hset", "hincrby", "table get", "table set", "table incr",
        "counter increment", "counter get"]  # fmt: skip
    for title, _, lines in run_peers.tables(report):
        assert any(line[1] == "absent" and "a_package_that_nobody_has" in line[2] for line in lines), title
    assert all(r["note"] for r in report["keys"] if r["peer"] == "multiprocessing.Value")
    assert report["timer"]["percentiles"]["99.99"] > 0
