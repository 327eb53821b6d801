"""What a child of the supervisor is born with, and the facts that INFO, the page and /metrics are made of."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field

from fridge import usage
from fridge.config import Settings
from fridge.segment import Segment
from fridge.server.doors import Door
from fridge.server.info import Facts, ServerFacts
from fridge.server.shared import Baseline, RunId, SharedSettings


@dataclass
class Context:
    """What every process of the server has from the supervisor.

    life is a pipe's read end that says end-of-file when the supervisor is gone; status takes a byte now and then.
    """

    segment: Segment
    run_id: RunId
    settings: Settings
    server: ServerFacts
    doors: list[Door]
    life: int = -1
    status: int = -1
    name: str = "supervisor"
    shared: SharedSettings = field(init=False)

    def __post_init__(self) -> None:
        self.shared = SharedSettings(self.segment, self.run_id, self.settings)

    def introduce(self, name: str) -> None:
        """Enter this process in the server's list of processes. Raises FridgeError."""
        self.name = name
        self.segment.system_hset(self.run_id.pids, name, str(os.getpid()).encode())

    def say(self, byte: bytes) -> None:
        """Tell the supervisor READY or ALIVE (supervisor.py)."""
        with contextlib.suppress(OSError):
            os.write(self.status, byte)

    def pids(self) -> dict[str, int]:
        """Processes of the server by name."""
        return {name: int(pid) for name, pid in self.segment.system_hgetall(self.run_id.pids).items()}

    def gather(self, *, ops_per_second: float = 0.0, with_commands: bool = True, baseline: bool = True) -> Facts:
        """Everything INFO says. baseline: count from the last CONFIG RESETSTAT. Raises FridgeError."""
        segment = self.segment
        taken = usage.of_processes(self.pids())
        since = self.shared.baseline if baseline else Baseline()
        statistics = (since.reduce(s) for s in segment.statistics())
        return Facts(
            server=self.server,
            settings=self.shared.current,
            now=time.time(),
            clients=segment.system_hlen(self.run_id.clients),
            ops_per_second=ops_per_second,
            memory=segment.memory(),
            resident=sum(u.resident for u in taken.values()),
            cpu=(sum(u.system for u in taken.values()), sum(u.user for u in taken.values())),
            statistics={s.name: s for s in statistics},
            commands=since.reduce_commands(segment.command_statistics()) if with_commands else [],
            keyspace=segment.keyspace(),
            tables=list(segment.tables()),
            processes=list(segment.processes()),
        )

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT: INFO counts from now on; the cells themselves, and /metrics, only rise. Raises FridgeError."""
        self.shared.change_baseline(Baseline.of(self.segment.statistics(), self.segment.command_statistics()))


