"""INFO: the sections and fields that Redis's clients and exporters read, in redis-server's order and spelling.

``Facts`` is everything INFO says, gathered at the rim by the worker; ``render`` is a pure function of it. A field stands
here when somebody reads it (research/ecosystem.md section 2), not because redis-server has it.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fridge.config import Settings
from fridge.segment import CommandStatistic, Memory, Process, Statistic, TableFacts

REDIS_VERSION = "7.2.4"  # what clients switch behaviour on; design section 7
DEFAULT_SECTIONS = ("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "modules", "errorstats",
                    "cluster", "keyspace", "fridge")  # fmt: skip
EXTRA_SECTIONS = ("commandstats", "latencystats")


@dataclass(frozen=True)
class ServerFacts:
    """What a process of the server knows of the server."""

    version: str
    run_id: str
    supervisor_pid: int
    supervised: bool
    port: int
    unix_path: str
    config_file: str
    started: float  # wall clock, seconds
    segment_path: str
    segment_uuid: str
    workers: int
    build: str


@dataclass(frozen=True)
class Facts:
    """Everything that INFO says, at one moment."""

    server: ServerFacts
    settings: Settings
    now: float
    clients: int
    ops_per_second: float
    memory: Memory
    resident: int  # bytes, of the server's processes
    cpu: tuple[float, float]  # seconds in the kernel, in user mode, of the server's processes
    statistics: dict[str, Statistic]
    commands: list[CommandStatistic]
    keyspace: dict[int, tuple[int, int]]
    tables: list[TableFacts]
    processes: list[Process]

    def statistic(self, name: str) -> int:
        """A statistic's sum."""
        return self.statistics[name].value


Fields = Iterable[tuple[str, object]]


def human(n: float) -> str:
    """Bytes as redis-server prints them: 1.11M."""
    if n < 1024:
        return f"{int(n)}B"
    for unit in "KMGT":
        n /= 1024
        if n < 1024 or unit == "T":
            break
    return f"{n:.2f}{unit}"


def _server(f: Facts) -> Fields:
    s, uptime = f.server, int(f.now - f.server.started)
    system = os.uname()
    yield from (
        ("redis_version", REDIS_VERSION), ("fridge_version", s.version), ("redis_git_sha1", "00000000"),
        ("redis_git_dirty", 0), ("redis_build_id", s.segment_uuid.replace("-", "")[:16]), ("redis_mode", "standalone"),
        ("os", f"{system.sysname} {system.release} {system.machine}"), ("arch_bits", 64),
        ("monotonic_clock", "POSIX clock_gettime"), ("multiplexing_api", "epoll"), ("gcc_version", s.build),
        ("process_id", s.supervisor_pid), ("process_supervised", "systemd" if s.supervised else "no"),
        ("run_id", s.run_id), ("tcp_port", s.port), ("server_time_usec", int(f.now * 1e6)),
        ("uptime_in_seconds", uptime), ("uptime_in_days", uptime // 86400), ("hz", f.settings.hz),
        ("configured_hz", f.settings.hz), ("lru_clock", int(f.now) & 0xFFFFFF), ("executable", "fridge"),
        ("config_file", s.config_file), ("io_threads_active", 0),
    )  # fmt: skip


def _clients(f: Facts) -> Fields:
    yield from (
        ("connected_clients", f.clients), ("cluster_connections", 0), ("maxclients", f.settings.maxclients),
        ("client_recent_max_input_buffer", 0), ("client_recent_max_output_buffer", 0), ("blocked_clients", 0),
        ("tracking_clients", 0), ("pubsub_clients", 0), ("watching_clients", 0), ("clients_in_timeout_table", 0),
    )  # fmt: skip


def _memory(f: Facts) -> Fields:
    used, limit = f.memory.used, f.settings.maxmemory or f.memory.limit
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield from (
        ("used_memory", used), ("used_memory_human", human(used)), ("used_memory_rss", f.resident),
        ("used_memory_rss_human", human(f.resident)), ("used_memory_peak", f.memory.size),
        ("used_memory_peak_human", human(f.memory.size)),
        ("used_memory_peak_perc", f"{100 * used / max(f.memory.size, 1):.2f}%"), ("used_memory_dataset", used),
        ("total_system_memory", total), ("total_system_memory_human", human(total)), ("used_memory_lua", 0),
        ("maxmemory", limit), ("maxmemory_human", human(limit)), ("maxmemory_policy", f.settings.maxmemory_policy),
        ("mem_fragmentation_ratio", f"{f.memory.size / max(used, 1):.2f}"),
        ("mem_fragmentation_bytes", f.memory.size - used), ("mem_allocator", "fridge"), ("active_defrag_running", 0),
        ("lazyfree_pending_objects", 0), ("lazyfreed_objects", 0),
    )  # fmt: skip


def _persistence(f: Facts) -> Fields:
    yield from (
        ("loading", 0), ("async_loading", 0), ("rdb_changes_since_last_save", 0), ("rdb_bgsave_in_progress", 0),
        ("rdb_last_save_time", int(f.server.started)), ("rdb_last_bgsave_status", "ok"),
        ("rdb_last_bgsave_time_sec", -1), ("rdb_current_bgsave_time_sec", -1), ("aof_enabled", 0),
        ("aof_rewrite_in_progress", 0), ("aof_rewrite_scheduled", 0), ("aof_last_rewrite_time_sec", -1),
        ("aof_last_bgrewrite_status", "ok"), ("aof_last_write_status", "ok"),
    )  # fmt: skip


def _stats(f: Facts) -> Fields:
    stat = f.statistic
    yield from (
        ("total_connections_received", stat("connections_received")),
        ("total_commands_processed", stat("commands_processed")),
        ("instantaneous_ops_per_sec", round(f.ops_per_second)), ("total_net_input_bytes", stat("net_input_bytes")),
        ("total_net_output_bytes", stat("net_output_bytes")), ("rejected_connections", stat("connections_rejected")),
        ("sync_full", 0), ("sync_partial_ok", 0), ("sync_partial_err", 0), ("expired_keys", stat("expired_keys")),
        ("evicted_keys", stat("evicted_keys")), ("evicted_clients", 0), ("keyspace_hits", stat("keyspace_hits")),
        ("keyspace_misses", stat("keyspace_misses")), ("pubsub_channels", 0), ("pubsub_patterns", 0),
        ("latest_fork_usec", 0), ("total_forks", 0), ("unexpected_error_replies", 0),
        ("total_error_replies", stat("error_replies")), ("acl_access_denied_auth", stat("auth_failures")),
    )  # fmt: skip


def _replication(f: Facts) -> Fields:
    yield from (
        ("role", "master"), ("connected_slaves", 0), ("master_failover_state", "no-failover"),
        ("master_replid", f.server.run_id), ("master_replid2", "0" * 40), ("master_repl_offset", 0),
        ("second_repl_offset", -1), ("repl_backlog_active", 0), ("repl_backlog_size", 0),
        ("repl_backlog_first_byte_offset", 0), ("repl_backlog_histlen", 0),
    )  # fmt: skip


def _cpu(f: Facts) -> Fields:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield from (
        ("used_cpu_sys", f"{f.cpu[0]:.6f}"), ("used_cpu_user", f"{f.cpu[1]:.6f}"),
        ("used_cpu_sys_children", f"{children.ru_stime:.6f}"), ("used_cpu_user_children", f"{children.ru_utime:.6f}"),
    )  # fmt: skip


def _commandstats(f: Facts) -> Fields:
    for c in f.commands:
        mean = c.usec / c.calls if c.calls else 0.0
        yield f"cmdstat_{c.name}", (
            f"calls={c.calls},usec={c.usec},usec_per_call={mean:.2f},rejected_calls={c.rejected},failed_calls={c.failed}"
        )


def _errorstats(f: Facts) -> Fields:
    if errors := f.statistic("error_replies"):
        yield "errorstat_ERR", f"count={errors}"


def _keyspace(f: Facts) -> Fields:
    for db, (keys, expires) in f.keyspace.items():
        yield f"db{db}", f"keys={keys},expires={expires},avg_ttl=0"


def _fridge(f: Facts) -> Fields:
    alive = [p for p in f.processes if p.alive]
    yield from (
        ("fridge_version", f.server.version), ("segment", f.server.segment_path),
        ("segment_uuid", f.server.segment_uuid), ("segment_bytes_limit", f.memory.limit),
        ("segment_bytes_allocated", f.memory.size), ("segment_bytes_used", f.memory.used),
        ("unixsocket", f.server.unix_path), ("workers", f.server.workers), ("attached_processes", len(alive)),
    )  # fmt: skip
    shown_elsewhere = {"keyspace_hits", "keyspace_misses", "expired_keys", "evicted_keys", "commands_processed",
                       "connections_received", "connections_rejected", "error_replies", "net_input_bytes",
                       "net_output_bytes"}  # fmt: skip
    yield from ((s.name, s.value) for s in f.statistics.values() if s.name not in shown_elsewhere)
    yield "tables", len(f.tables)
    for t in f.tables:
        yield f"table_{t.name}", (
            f"rows={t.rows},capacity={t.capacity},expires={t.expires},refused={t.refused},bytes={t.memory_bytes}"
        )


_SECTIONS: dict[str, tuple[str, Callable[[Facts], Fields]]] = {
    "server": ("Server", _server),
    "clients": ("Clients", _clients),
    "memory": ("Memory", _memory),
    "persistence": ("Persistence", _persistence),
    "stats": ("Stats", _stats),
    "replication": ("Replication", _replication),
    "cpu": ("CPU", _cpu),
    "modules": ("Modules", lambda f: ()),
    "commandstats": ("Commandstats", _commandstats),
    "errorstats": ("Errorstats", _errorstats),
    "latencystats": ("Latencystats", lambda f: ()),
    "cluster": ("Cluster", lambda f: (("cluster_enabled", 0),)),
    "keyspace": ("Keyspace", _keyspace),
    "fridge": ("Fridge", _fridge),
}


def wanted(words: Iterable[str]) -> list[str]:
    """The sections that INFO's arguments ask for, in order; no argument means 'default'."""
    asked = [word.lower() for word in words] or ["default"]
    chosen: set[str] = set()
    for word in asked:
        if word in ("all", "everything"):
            chosen.update(_SECTIONS)
        elif word == "default":
            chosen.update(DEFAULT_SECTIONS)
        elif word in _SECTIONS:
            chosen.add(word)
    return [name for name in _SECTIONS if name in chosen]


def render(facts: Facts, sections: Iterable[str]) -> str:
    """INFO's text: '# Header', 'field:value' lines, an empty line between sections, CRLF throughout."""
    parts = []
    for name in sections:
        header, fields = _SECTIONS[name]
        lines = [f"# {header}", *(f"{field}:{value}" for field, value in fields(facts))]
        parts.append("".join(line + "\r\n" for line in lines))
    return "\r\n".join(parts)


class OpsMeter:
    """Commands a second, from samples of a rising counter (instantaneous_ops_per_sec).

    Args:
        window: seconds that a rate looks back.
    """

    def __init__(self, window: float = 2.0) -> None:
        self._window = window
        self._samples: list[tuple[float, int]] = []

    def sample(self, counter: int, now: float | None = None) -> None:
        """Take note of the counter."""
        at = time.monotonic() if now is None else now
        self._samples.append((at, counter))
        while len(self._samples) > 2 and self._samples[1][0] < at - self._window:
            self._samples.pop(0)

    def rate(self) -> float:
        """Commands a second over the window; 0.0 before the second sample."""
        if len(self._samples) < 2:
            return 0.0
        (t0, n0), (t1, n1) = self._samples[0], self._samples[-1]
        return max(0.0, (n1 - n0) / (t1 - t0)) if t1 > t0 else 0.0
