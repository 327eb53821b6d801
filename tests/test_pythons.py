"""Several Python versions at once on one segment: each installs fridge as a user would, all count on the same bytes.

The oldest and the newest other Python of this machine (on PATH, or kept by pyenv) are used beside the running one; where
there is none, a second environment of the running one is. What ran is printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import fridge

ROOT = Path(__file__).parent.parent
ROUNDS = 20_000
BY_CHILD = """
import sys
import fridge

with fridge.open(sys.argv[1], create=False) as f:
    rows, hits = f.table("rates"), f.counter("hits")
    for i in range(int(sys.argv[2])):
        f.incr("total")
        rows.incr("row", "n")
        hits.increment()
    f.hset("versions", sys.argv[3], "seen")
"""


def version_of(python: str) -> tuple[int, int] | None:
    """Return the version of an interpreter, or None when it is none that fridge runs on."""
    try:
        said = subprocess.run([python, "-c", "import sys, venv; print(sys.version_info[:2])"], capture_output=True, text=True)
    except OSError:
        return None
    numbers = [int(n) for n in re.findall(r"\d+", said.stdout)] if said.returncode == 0 else []
    return (numbers[0], numbers[1]) if len(numbers) == 2 and numbers >= [3, 10] else None


def interpreters() -> dict[tuple[int, int], str]:
    """Return the Pythons of this machine by version."""
    names = [f"python3.{minor}" for minor in range(10, 15)]
    found = [path for name in names if (path := shutil.which(name))]
    if pyenv := shutil.which("pyenv"):
        root = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip()
        found += [str(path) for path in Path(root, "versions").glob("*/bin/python")]
    return {version: path for path in found if (version := version_of(path))}


def others() -> list[tuple[str, str]]:
    """Return (version, interpreter) of the oldest and the newest Python beside the running one."""
    here = sys.version_info[:2]
    rest = sorted((version, path) for version, path in interpreters().items() if version != here)
    chosen = rest[:1] + rest[1:][-1:] or [(here, sys.executable)]
    return [(f"{major}.{minor}", path) for (major, minor), path in chosen]


def install(python: str, folder: Path) -> str:
    """Make an environment, install this checkout into it, and return its interpreter."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    inside = str(folder / "bin" / "python")
    done = subprocess.run([inside, "-m", "pip", "install", "-q", str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return inside


def test_several_pythons_on_one_segment(tmp_path: Path, segment_path: Path) -> None:
    chosen = others()
    pythons = [(version, install(python, tmp_path / version)) for version, python in chosen]
    pythons.append(("running", sys.executable))
    path, environment = str(segment_path), {**os.environ, "PYTHONPATH": ""}
    with fridge.open(path) as f:
        f.table("rates", {"n": "int32"}, capacity=10)
        f.counter("hits")
        children = [
            subprocess.Popen([python, "-c", BY_CHILD, path, str(ROUNDS), version], env=environment, cwd=tmp_path)
            for version, python in pythons
        ]
        assert [child.wait(timeout=120) for child in children] == [0] * len(children)
        total = ROUNDS * len(children)
        assert f.get("total") == str(total).encode()
        assert f.table("rates").get("row") == {"n": total}
        assert f.counter("hits").get() == total
        assert set(f.hkeys("versions")) == {version.encode() for version, _ in pythons}
        assert f.verify().findings == 0
    print("on one segment:", ", ".join(version for version, _ in pythons))
