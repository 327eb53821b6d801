"""The Spin model of latch, commit, recovery and slot reuse: no error as it stands, and each seeded mutant is caught.

``tests/crash/model/commit.pml`` says what it models. One death at any step is enumerated here; ``FRIDGE_PROOF=1`` (make
proof) enumerates two.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).parent / "crash" / "model" / "commit.pml"
MUTANTS = range(1, 7)


def explore(folder: Path, mutant: int, deaths: int) -> str:
    """Return what the model checker says of one variant.

    Args:
        folder: where the checker may be built.
        mutant: 0 for the protocol as it is, else which seeded bug.
        deaths: how many processes may die, each at any step.

    Returns:
        The checker's report.
    """
    if not shutil.which("spin"):
        pytest.fail("the model needs Spin: apt-get install spin")
    subprocess.run(
        ["spin", f"-DMUTANT={mutant}", "-DTXNS=2", f"-DDEATHS={deaths}", "-a", str(MODEL)],
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
    report = explore(tmp_path, 0, 2 if os.environ.get("FRIDGE_PROOF") else 1)
    assert errors(report) == 0, report
    states = re.search(r"(\d+) states, stored", report)
    assert states, report
    assert int(states.group(1)) > 1_000_000, report
    print(f"{states.group(1)} states")


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_caught(tmp_path: Path, mutant: int) -> None:
    assert errors(explore(tmp_path, mutant, 1)) == 1
