"""What the server's processes take from the machine: CPU seconds and resident bytes, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """Of one process: seconds in user mode and in the kernel, bytes resident, start time in seconds since the epoch."""

    user: float
    system: float
    resident: int
    descriptors: int


def of_process(pid: int) -> Usage | None:
    """The usage of a process, or None when it is gone or hidden."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    # proc(5): the fields behind the name begin with the state, which is number 3
    return Usage(int(fields[11]) / _TICK, int(fields[12]) / _TICK, int(fields[21]) * _PAGE, descriptors)


def of_processes(pids: Mapping[str, int]) -> dict[str, Usage]:
    """The usage of each named process that is there."""
    found = {name: of_process(pid) for name, pid in pids.items()}
    return {name: usage for name, usage in found.items() if usage is not None}
