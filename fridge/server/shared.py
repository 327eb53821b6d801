"""What holds for the whole server, kept in the segment so that every worker and its replacements agree.

Settings that CONFIG SET changed, the id of the next client, the registry of clients and the requests to kill some. All
names carry the server's run id: two servers on one segment do not mix, and a new server starts from its own settings.
``settings_version`` in the segment changes with each of these settings; a worker looks at it every turn of its tick.

A server leaves these names behind when it is killed. The housekeeper renews a sign of life (``beat``); whoever starts
later removes what belongs to run ids without one (``forget_dead_servers``).
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from fridge import config
from fridge._native import lib
from fridge.config import Settings, Value
from fridge.errors import FridgeError
from fridge.segment import POLICIES, CommandStatistic, Segment, Statistic

SERVERS = "servers"  # hash: run id -> boot-clock ms of its last sign of life
NEXT_CLIENT = "client-id"
LIFE_MS = 60_000  # a server that gave no sign of life for so long is gone


@dataclass(frozen=True)
class RunId:
    """A server's name for its life: 40 hex digits, as Redis's run_id."""

    text: str

    @staticmethod
    def new() -> RunId:
        """A fresh random one."""
        return RunId(secrets.token_hex(20))

    @property
    def settings(self) -> str:
        """Name of the string that holds what CONFIG SET changed, as JSON."""
        return f"settings:{self.text}"

    @property
    def baseline(self) -> str:
        """Name of the string that says what CONFIG RESETSTAT found, as JSON."""
        return f"baseline:{self.text}"

    @property
    def clients(self) -> str:
        """Name of the hash that holds a line for each client."""
        return f"clients:{self.text}"

    @property
    def kills(self) -> str:
        """Name of the hash of client ids that are to be closed."""
        return f"kills:{self.text}"

    @property
    def touched(self) -> str:
        """Name of a string that is written only to change settings_version."""
        return f"touched:{self.text}"

    @property
    def pids(self) -> str:
        """Name of the hash of the server's processes: 'worker 0' -> pid."""
        return f"pids:{self.text}"


@dataclass(frozen=True)
class Baseline:
    """What the statistics were at CONFIG RESETSTAT: they only rise, so INFO shows the difference."""

    statistics: Mapping[str, int] = field(default_factory=dict)
    commands: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict)

    @staticmethod
    def of(statistics: Iterable[Statistic], commands: Iterable[CommandStatistic]) -> Baseline:
        """The baseline that makes these statistics 0 (gauges stay)."""
        return Baseline(
            {s.name: s.value for s in statistics if s.kind == "COUNTER"},
            {c.name: (c.calls, c.usec, c.rejected, c.failed) for c in commands},
        )

    @staticmethod
    def parse(stored: bytes | None) -> Baseline:
        """What encode wrote; None is no baseline."""
        document = json.loads(stored) if stored else {}
        commands = {name: (c[0], c[1], c[2], c[3]) for name, c in document.get("commands", {}).items()}
        return Baseline(document.get("statistics", {}), commands)

    def encode(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self)).encode()

    def reduce(self, statistic: Statistic) -> Statistic:
        """A statistic since the baseline."""
        return replace(statistic, value=statistic.value - self.statistics.get(statistic.name, 0))

    def reduce_commands(self, found: Iterable[CommandStatistic]) -> list[CommandStatistic]:
        """Commands' statistics since the baseline; those that were not called since are left out."""
        reduced = []
        for c in found:
            calls, usec, rejected, failed = self.commands.get(c.name, (0, 0, 0, 0))
            if c.calls > calls or c.rejected > rejected:
                since = CommandStatistic(c.name, c.calls - calls, c.usec - usec, c.rejected - rejected, c.failed - failed)
                reduced.append(since)
        return reduced


class SharedSettings:
    """The server's settings: what it was started with, and on top what CONFIG SET changed in any worker.

    Args:
        base: the settings that the server was started with.
    """

    def __init__(self, segment: Segment, run_id: RunId, base: Settings) -> None:
        self._segment, self._run_id, self._base = segment, run_id, base
        self._seen = -1
        self.current = base
        self.baseline = Baseline()

    def refresh(self) -> bool:
        """Read the changes if there were any; True when there were."""
        version = self._segment.settings_version
        if version == self._seen:
            return False
        stored = self._segment.system_get(self._run_id.settings)
        self.baseline = Baseline.parse(self._segment.system_get(self._run_id.baseline))
        self._seen = version
        self.current = config.apply(self._base, json.loads(stored) if stored else {})
        return True

    def change(self, changes: dict[str, Value]) -> None:
        """Make changes for every process of the server. Raises FridgeError when the segment refuses."""
        stored = self._segment.system_get(self._run_id.settings)
        merged = {**(json.loads(stored) if stored else {}), **changes}
        tell_engine(self._segment, config.apply(self._base, merged))
        self._segment.system_set(self._run_id.settings, json.dumps(merged).encode())
        self.refresh()

    def change_baseline(self, baseline: Baseline) -> None:
        """Make INFO count from baseline on, in every process of the server. Raises FridgeError."""
        self._segment.system_set(self._run_id.baseline, baseline.encode())
        self.refresh()

    def touch(self) -> None:
        """Change settings_version and nothing else: every worker looks again. Raises FridgeError."""
        self._segment.system_set(self._run_id.touched, b"1")


def tell_engine(segment: Segment, settings: Settings) -> None:
    """Set the words that the engine itself obeys. Raises FridgeError."""
    segment.set_word(lib.FRIDGE_WORD_POLICY, POLICIES.index(settings.maxmemory_policy))
    segment.set_word(lib.FRIDGE_WORD_SAMPLES, settings.maxmemory_samples)
    segment.set_word(lib.FRIDGE_WORD_MAX_VALUE, settings.proto_max_bulk_len)
    segment.set_word(lib.FRIDGE_WORD_LATCH_TIMEOUT, settings.latch_timeout)
    segment.set_word(lib.FRIDGE_WORD_MAXMEMORY, settings.maxmemory)


def beat(segment: Segment, run_id: RunId) -> None:
    """Give the server's sign of life; a failure is made good by the next one."""
    with contextlib.suppress(FridgeError):
        segment.system_hset(SERVERS, run_id.text, str(int(lib.fridge_boot_ms())).encode())


def forget_dead_servers(segment: Segment) -> None:
    """Remove what servers without a sign of life left behind."""
    now = int(lib.fridge_boot_ms())
    for text, seen in segment.system_hgetall(SERVERS).items():
        if 0 <= now - int(seen) < LIFE_MS:
            continue
        forget_server(segment, RunId(text))


def forget_server(segment: Segment, run_id: RunId) -> None:
    """Remove everything under run_id."""
    for name in (run_id.settings, run_id.baseline, run_id.clients, run_id.kills, run_id.touched, run_id.pids):
        with contextlib.suppress(FridgeError):
            segment.system_set(name, None)
    with contextlib.suppress(FridgeError):
        segment.system_hdel(SERVERS, run_id.text)
