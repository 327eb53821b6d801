"""How much memory a new segment could get: what its file system has free, and what the control groups allow."""

from __future__ import annotations

import os
from collections.abc import Iterator

CGROUPS = "/sys/fs/cgroup"


def free_bytes(directory: str) -> int:
    """Bytes that a file in directory could grow to on its file system. Raises OSError."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def memory_limit() -> int | None:
    """The lowest memory.max of this process's control groups in bytes, or None without a limit."""
    limits = [limit for limit in map(_read_limit, _groups()) if limit is not None]
    return min(limits, default=None)


def _groups() -> Iterator[str]:
    """The folders of this process's control group and those around it."""
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    while True:
        yield CGROUPS + path.rstrip("/")
        if path in ("/", ""):
            return
        path = os.path.dirname(path)


def _read_limit(folder: str) -> int | None:
    try:
        with open(os.path.join(folder, "memory.max")) as file:
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
