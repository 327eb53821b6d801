"""The Spin models: of latch, commit, recovery and slot reuse, and of waiting. No error as they stand; each mutant is caught.

``tests/crash/model/commit.pml`` and ``wait.pml`` say what they model. One death at any step is enumerated here;
``FRIDGE_PROOF=1`` (make proof) enumerates two, or longer lives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "crash" / "model"
MUTANTS = range(1, 7)
PROOF = bool(os.environ.get("FRIDGE_PROOF"))


def explore(folder: Path, mutant: int, deaths: int, model: str = "commit", **more: int) -> str:
    """Return what the model checker says of one variant.

    Args:
        folder: where the checker may be built.
        mutant: 0 for the protocol as it is, else which seeded bug.
        deaths: how many processes may die, each at any step.
        model: which one.
        more: further numbers that the model asks for.

    Returns:
        The checker's report.
    """
    if not shutil.which("spin"):
        pytest.fail("the model needs Spin: apt-get install spin")
    subprocess.run(
        ["spin", f"-DMUTANT={mutant}", f"-DDEATHS={deaths}", *(f"-D{name}={n}" for name, n in more.items()),
         "-a", str(MODELS / f"{model}.pml")],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    subprocess.run(
        ["cc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=8000", "-o", "pan", "pan.c"], cwd=folder, check=True
    )
    return subprocess.run(["./pan", "-m300000"], cwd=folder, capture_output=True, text=True, timeout=900).stdout


def errors(report: str) -> int:
    """Return the number of errors that the checker counted; fail if it did not finish."""
    found = re.search(r"errors: (\d+)", report)
    assert found, report
    assert "max search depth too small" not in report, report
    return int(found.group(1))


def test_the_protocol_has_no_error(tmp_path: Path) -> None:
    report = explore(tmp_path, 0, 2 if PROOF else 1, TXNS=2)
    assert errors(report) == 0, report
    states = re.search(r"(\d+) states, stored", report)
    assert states, report
    assert int(states.group(1)) > 1_000_000, report
    print(f"{states.group(1)} states")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_caught(tmp_path: Path, mutant: int) -> None:
    assert errors(explore(tmp_path, mutant, 1, TXNS=2)) == 1


@pytest.mark.parametrize("same", [0, 1])
def test_no_wake_up_is_lost(tmp_path: Path, same: int) -> None:
    """Two sleepers, two writers, one of which may die: of two keys, and of two places in one line."""
    report = explore(tmp_path, 0, 1, "wait", SAME=same, CHANGES=2 if PROOF else 1)
    assert errors(report) == 0, report
    states = re.search(r"(\d+) states, stored", report)
    assert states, report
    assert int(states.group(1)) > 500_000, report


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_of_waiting_is_caught(tmp_path: Path, mutant: int) -> None:
    assert errors(explore(tmp_path, mutant, 0, "wait", SAME=int(mutant > 4), CHANGES=1)) == 1
