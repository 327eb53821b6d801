"""Runs tests/bench/peers_crash.py in its quick size: of the same kill storm fridge comes out unharmed.

What the peers come out with is printed by the program and promised by nobody.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parent / "bench" / "peers_crash.py"
HARM = ("overlaps", "doubled", "torn", "stuck", "lost", "invented", "failed", "aborts")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    out = tmp_path_factory.mktemp("peers") / "report.json"
    run = subprocess.run([sys.executable, str(PROGRAM), "--quick", "--out", str(out)], capture_output=True, text=True,
                         timeout=200, check=False)  # fmt: skip
    assert out.exists(), run.stderr[-2000:]
    print(run.stdout)
    return json.loads(out.read_text())["rows"]


def test_fridge_is_unharmed_in_one_pid_namespace_and_in_many(report: list[dict]) -> None:
    ours = [row for row in report if row["contender"] == "fridge"]
    assert len(ours) == 2
    for row in ours:
        assert row["tally"]["kills"] > 0
        assert row["tally"]["operations"] > 0
        assert {name: row["tally"][name] for name in HARM} == dict.fromkeys(HARM, 0), row


def test_every_contender_has_its_rows(report: list[dict]) -> None:
    contenders = {row["contender"] for row in report}
    assert {"pthread robust mutex", "lmdb", "fridge"} <= contenders
    assert len(report) == 2 * len(contenders)
    assert all(row["tally"]["kills"] + row["tally"]["aborts"] > 0 for row in report)
