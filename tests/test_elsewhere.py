"""The tests themselves, as somebody runs them who has installed a wheel: from another folder, the sources not on the path.

Processes that a test spawns import its module by name; before conftest.py saw to it they died there, and the test waited.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PYTEST = """
import sys
sys.path[:] = [entry for entry in sys.path if entry != sys.argv[1]]
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def test_a_test_that_spawns_runs_from_anywhere(tmp_path: Path) -> None:
    test = f"{ROOT}/tests/test_peers.py::test_Z1_a_table_may_be_made_at_any_time_by_any_process"
    command = [sys.executable, "-c", PYTEST, str(ROOT), test]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
