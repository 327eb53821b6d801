"""/metrics: everything the segment counts, as Prometheus metrics.

One collector walks the rows of stats.def, the command table, the tables and the process table each time it is asked; it
keeps nothing, so that any process attached to the segment can serve the same numbers. Names are ``fridge_`` and the row's
name, counters with ``_total``. Labels are bounded: commands, tables, databases, the server's processes; never a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ModuleNotFoundError as error:
    needs = "fridge.metrics needs prometheus_client: pip install 'fridge-sidecar[server]'"
    raise ModuleNotFoundError(needs, name=error.name) from None

from fridge.segment import Segment
from fridge.usage import Usage

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class SegmentCollector(Collector):
    """The metrics of a segment, whoever uses it.

    Args:
        segment: an open segment; a read-only mapping is enough.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment

    def collect(self) -> Iterator[Metric]:
        """Walk the segment once."""
        yield from self._statistics()
        yield from self._commands()
        yield from self._tables()
        yield from self._keys()
        yield from self._memory()
        yield from self._processes()

    def _statistics(self) -> Iterator[Metric]:
        for s in self._segment.statistics():
            family = CounterMetricFamily if s.kind == "COUNTER" else GaugeMetricFamily
            yield family(f"fridge_{s.name}", f"{s.help}.", value=s.value)

    def _commands(self) -> Iterator[Metric]:
        calls = CounterMetricFamily("fridge_commands", "Calls of each command.", labels=["cmd"])
        seconds = CounterMetricFamily(
            "fridge_commands_duration_seconds", "Time spent executing each command.", labels=["cmd"]
        )
        rejected = CounterMetricFamily(
            "fridge_commands_rejected", "Calls of each command that were refused before it ran.", labels=["cmd"]
        )
        failed = CounterMetricFamily("fridge_commands_failed", "Calls of each command that failed.", labels=["cmd"])
        for c in self._segment.command_statistics():
            calls.add_metric([c.name], c.calls)
            seconds.add_metric([c.name], c.usec / 1e6)
            rejected.add_metric([c.name], c.rejected)
            failed.add_metric([c.name], c.failed)
        yield from (calls, seconds, rejected, failed)

    def _tables(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily("fridge_table_rows", "Rows of each table.", labels=["table"])
        capacity = GaugeMetricFamily("fridge_table_capacity_rows", "Rows that each table takes.", labels=["table"])
        size = GaugeMetricFamily("fridge_table_memory_bytes", "Bytes that each table takes.", labels=["table"])
        refused = CounterMetricFamily(
            "fridge_table_refused_inserts", "Inserts refused because the table was full.", labels=["table"]
        )
        for t in self._segment.tables():
            rows.add_metric([t.name], t.rows)
            capacity.add_metric([t.name], t.capacity)
            size.add_metric([t.name], t.memory_bytes)
            refused.add_metric([t.name], t.refused)
        yield from (rows, capacity, size, refused)

    def _keys(self) -> Iterator[Metric]:
        keys = GaugeMetricFamily("fridge_db_keys", "Keys of each database.", labels=["db"])
        expiring = GaugeMetricFamily("fridge_db_keys_expiring", "Keys of each database that have an expiry.", labels=["db"])
        for db, (n, expires) in self._segment.keyspace().items():
            keys.add_metric([f"db{db}"], n)
            expiring.add_metric([f"db{db}"], expires)
        yield from (keys, expiring)

    def _memory(self) -> Iterator[Metric]:
        memory = self._segment.memory()
        yield GaugeMetricFamily("fridge_segment_used_bytes", "Bytes of the segment that are in use.", value=memory.used)
        yield GaugeMetricFamily(
            "fridge_segment_allocated_bytes", "Bytes that the segment's file has.", value=memory.size
        )
        yield GaugeMetricFamily(
            "fridge_segment_limit_bytes", "Bytes that the segment's file may grow to.", value=memory.limit
        )

    def _processes(self) -> Iterator[Metric]:
        facts = self._segment.describe()
        attached = sum(p.alive for p in self._segment.processes())
        yield GaugeMetricFamily("fridge_attached_processes", "Living processes attached to the segment.", value=attached)
        yield GaugeMetricFamily(
            "fridge_process_slots", "Processes that may be attached to the segment at once.", value=int(facts.slots)
        )
        yield GaugeMetricFamily(
            "fridge_segment_damaged", "1 when damage was found in the segment.", value=bool(facts.damaged)
        )
        yield GaugeMetricFamily(
            "fridge_segment_removed", "1 when the segment's path names another file now, or none.", value=bool(facts.stale)
        )


class ServerCollector(Collector):
    """The metrics of a server: clients, uptime, and what its processes take.

    Args:
        clients: asks how many clients are connected.
        limit: asks for maxclients.
        processes: asks for the usage of each process of the server.
        started: wall clock, seconds.
        version: of fridge.
    """

    def __init__(self, clients: Callable[[], int], limit: Callable[[], int], processes: Callable[[], Mapping[str, Usage]],
                 started: float, version: str) -> None:  # fmt: skip
        self._clients, self._limit, self._processes = clients, limit, processes
        self._started, self._version = started, version

    def collect(self) -> Iterator[Metric]:
        """Ask."""
        yield GaugeMetricFamily("fridge_up", "1 while the server answers.", value=1)
        yield InfoMetricFamily("fridge_build", "The version that serves.", value={"version": self._version})
        yield GaugeMetricFamily(
            "fridge_start_time_seconds", "When the server started, in seconds since the epoch.", value=self._started
        )
        yield GaugeMetricFamily("fridge_connected_clients", "RESP clients connected now.", value=self._clients())
        yield GaugeMetricFamily("fridge_max_clients", "RESP clients that may be connected.", value=self._limit())
        cpu = CounterMetricFamily(
            "fridge_server_cpu_seconds", "CPU time of each process of the server.", labels=["process", "mode"]
        )
        memory = GaugeMetricFamily(
            "fridge_server_resident_memory_bytes",
            "Resident memory of each process of the server, its share of the segment included.",
            labels=["process"],
        )
        descriptors = GaugeMetricFamily(
            "fridge_server_open_fds", "File descriptors of each process of the server.", labels=["process"]
        )
        for name, usage in self._processes().items():
            cpu.add_metric([name, "user"], usage.user)
            cpu.add_metric([name, "system"], usage.system)
            memory.add_metric([name], usage.resident)
            descriptors.add_metric([name], usage.descriptors)
        yield from (cpu, memory, descriptors)


def registry(*collectors: Collector) -> CollectorRegistry:
    """A registry of its own: nothing of the process's default registry gets in."""
    own = CollectorRegistry()
    for collector in collectors:
        own.register(collector)
    return own


def render(source: CollectorRegistry, accept: str) -> tuple[str, bytes]:
    """(content type, body) of a scrape whose Accept header is given."""
    encoder, content_type = choose_encoder(accept)
    return (OPENMETRICS if content_type.startswith("application/openmetrics-text") else TEXT), encoder(source)
