"""Fixtures that all tests share. Builds nothing: `make test` has installed the package before pytest starts.

Leaves out: servers and clients, which belong to the folders that drive them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED_MEMORY = Path("/dev/shm")
ROOT = Path(__file__).resolve().parent.parent

# Processes that tests spawn import the test's module by name and get this list from us. Wherever pytest was started, they
# find it; at the end, so that a package that is installed goes before the sources, which have nothing compiled in them.
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))


@pytest.fixture
def shared_dir() -> Iterator[Path]:
    """Return a fresh folder in shared memory, owner-only, that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fridge-test-", dir=SHARED_MEMORY))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def segment_path(shared_dir: Path) -> Path:
    """Return the path of a segment that does not exist yet, in shared memory."""
    return shared_dir / "segment"
