"""The table of seeded bugs fits the code, its few fast rows are killed, and the runner says so when one is not.

The whole table is `make mutants`, which `make proof` runs.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUNNER = Path(__file__).with_name("mutants.py")


def load() -> ModuleType:
    """Return the runner as a module: tests/ is no package."""
    spec = importlib.util.spec_from_file_location("fridge_mutants", RUNNER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mutants = load()


def test_every_row_fits_the_code() -> None:
    rows = mutants.read_table()
    assert len(rows) >= 24
    for row in rows:
        if row.killer:
            program = row.killer.split()[0]
            file = program.partition("::")[0] if mutants.is_python(program) else f"{program}.c"
            assert (mutants.ROOT / "tests" / file).exists(), row.name


def test_readme_has_the_table() -> None:
    assert mutants.README.read_text() == mutants.readme_text(mutants.read_table()), "run tests/crash/mutants.py --readme"


def test_the_quick_ones_are_killed() -> None:
    done = subprocess.run([sys.executable, RUNNER, "--quick", "--jobs", "2"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 equivalent" in done.stdout


def test_a_survivor_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harmless = mutants.Edit("csrc/shm/clock.c", "#include <time.h>", "#include <time.h>\n/* changed */")
    mutants.OBJECTS.mkdir(parents=True, exist_ok=True)
    workshop = mutants.Workshop(tmp_path, 1)
    assert not mutants.judge(workshop, mutants.Mutant("harmless", "", (harmless,), "c/test_clock"))
    assert "SURVIVED" in capsys.readouterr().out


def test_a_row_that_does_not_fit_any_more_is_an_error(tmp_path: Path) -> None:
    for old in ("no such text", "#include"):
        row = mutants.Mutant("old", "", (mutants.Edit("csrc/shm/clock.c", old, ""),), "c/test_clock")
        with pytest.raises(mutants.TableError, match="not once"):
            mutants.mutated(row, mutants.ROOT)


def test_not_doing_ones_work_is_no_finding() -> None:
    row = mutants.Mutant("any", "", (), "c/test_clock")
    assert not mutants.says_so(mutants.Outcome(True, 1.0, "", "crash harness: no segment: out of memory"), row)
    assert not mutants.says_so(mutants.Outcome(True, 60.0, "hung", "FAILED"), row)
    assert mutants.says_so(mutants.Outcome(True, 1.0, "", "FAILED a_test"), row)
