"""Fixtures that all tests share. Builds nothing: `make test` has installed the package before pytest starts.

Leaves out: servers and clients, which belong to the folders that drive them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED_MEMORY = Path("/dev/shm")


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
