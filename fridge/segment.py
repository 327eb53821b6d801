"""An open segment as the server and the command line see it: facts, statistics, housekeeping, shared settings.

Everything here goes through cffi, which releases the GIL; what takes nanoseconds is the mmap door's business. A Segment
is safe to use in a child after fork: the engine gives the child its own place in the process table at its first write.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from fridge._native import check, error_buffer, ffi, lib
from fridge._native import text as _text

POLICIES = ("noeviction", "allkeys-lru", "volatile-lru", "volatile-ttl")  # numbers of FRIDGE_WORD_POLICY
DATABASES = 16
COMMAND_CELLS = ("calls", "usec", "rejected", "failed")  # a command's statistics cells, in order


@dataclass(frozen=True)
class Memory:
    """Bytes: limit (the file may grow to), size (it has), used (of that, in use)."""

    limit: int
    size: int
    used: int


@dataclass(frozen=True)
class Statistic:
    """A row of stats.def with its sum over all processes, living and dead."""

    name: str
    kind: str
    help: str
    value: int


@dataclass(frozen=True)
class CommandStatistic:
    """What a command did: calls, their microseconds, refusals before it ran, failures in it."""

    name: str
    calls: int
    usec: int
    rejected: int
    failed: int


@dataclass(frozen=True)
class TableFacts:
    """A typed table and how full it is."""

    name: str
    capacity: int
    rows: int
    expires: int
    refused: int
    memory_bytes: int
    columns: int


@dataclass(frozen=True)
class Process:
    """One attached process. latched: boot-clock ms since when it holds a latch it waited for, 0 for none."""

    slot: int
    generation: int
    pid: int
    start_time: int
    attached_ms: int
    pid_namespace: int
    latched: int
    alive: bool
    is_self: bool
    name: str
    host: str


@dataclass(frozen=True)
class Report:
    """What verify counted, and the first thing it found in words ('' for nothing)."""

    keys: int
    rows: int
    counters: int
    blocks: int
    pages: int
    findings: int
    first: str


class Segment:
    """An open segment.

    Args:
        path: the file; created when absent if create is set.
        size: bytes it may grow to, for the process that creates it.
        mode: of the file, likewise.
        owner: a further uid whose files are believed.
        name: what `fridge ps` shows.
        sigbus_handler: whether the engine may install its handler, which turns a lost file into SegmentLost.

    Attributes:
        set_aside: "", or in one sentence where opening put a damaged file that another boot had left.

    Raises:
        FridgeError: a subclass says what is wrong with the file or the system.
    """

    def __init__(self, path: str, *, size: int = 0, create: bool = True, readonly: bool = False, prealloc: bool = False,
                 mode: int = 0, owner: int | None = None, name: str = "",
                 sigbus_handler: bool = True) -> None:  # fmt: skip
        self.path = os.path.abspath(path)
        self._error = error_buffer()
        flags = (lib.FRIDGE_CREATE if create else 0) | (lib.FRIDGE_READONLY if readonly else 0)
        flags |= lib.FRIDGE_PREALLOC if prealloc else 0
        flags |= 0 if sigbus_handler else lib.FRIDGE_NO_SIGBUS
        label = ffi.new("char[]", name.encode()) if name else ffi.NULL
        options = ffi.new("fridge_options *", {"size": size, "flags": flags, "mode": mode, "name": label})
        options.owner_plus1 = 0 if owner is None else owner + 1
        out, created = ffi.new("store **"), ffi.new("int *")
        check(lib.fridge_open(os.fsencode(self.path), options, out, created, self._error), self._error)
        self.store = out[0]  # the engine's handle, for sessions
        self.created = bool(created[0])
        aside = os.fsdecode(ffi.string(lib.fridge_set_aside(self.store)))
        what = "the segment that another boot left is damaged"
        self.set_aside = f"{what}; it is now {aside}, and a new one is in use" if aside else ""

    def close(self) -> None:
        """Unmap. Sessions over the segment must be gone. Closing twice is harmless."""
        if self.store != ffi.NULL:
            lib.fridge_close(self.store)
            self.store = ffi.NULL

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- facts ---

    def describe(self) -> Any:
        """The engine's fridge_facts (a cffi struct: max_size, size, used, uuid, slots, ...)."""
        facts = ffi.new("fridge_facts *")
        lib.fridge_describe(self.store, facts)
        return facts

    def memory(self) -> Memory:
        """How large the segment is, may become, and how much of it is in use."""
        facts = self.describe()
        return Memory(int(facts.max_size), int(facts.size), int(facts.used))

    def huge_pages(self) -> int:
        """Bytes of the segment that this process sees through huge pages; 0 where the kernel grants none."""
        return int(lib.fridge_huge_pages(self.store))

    def keys(self, db: int) -> tuple[int, int]:
        """(keys, of those with an expiry) of a logical database."""
        keys, expires = ffi.new("uint64_t *"), ffi.new("uint64_t *")
        check(lib.fridge_keys(self.store, db, keys, expires, self._error), self._error)
        return int(keys[0]), int(expires[0])

    def keyspace(self) -> dict[int, tuple[int, int]]:
        """keys() of every database that is not empty."""
        counted = {db: self.keys(db) for db in range(DATABASES)}
        return {db: counts for db, counts in counted.items() if counts[0]}

    def tables(self) -> Iterator[TableFacts]:
        """Every declared table."""
        out, at = ffi.new("fridge_table *"), 0
        while at := int(lib.fridge_table_next(self.store, at, out)):
            yield TableFacts(_text(out.name), out.capacity, out.rows, out.expires, out.refused, out.memory_bytes, out.columns)

    def processes(self) -> Iterator[Process]:
        """Every attached process, the dead that nobody has recovered yet included."""
        out, slot = ffi.new("fridge_process *"), 0
        while slot := int(lib.fridge_process_next(self.store, slot + 1, out)):
            yield Process(out.slot, out.gen, out.pid, out.start_time, out.attached_ms, out.pidns, out.latched,
                          bool(out.alive), bool(out.self), _text(out.name), _text(out.host))  # fmt: skip

    # --- statistics ---

    @property
    def cells(self) -> dict[str, int]:
        """The cell of each statistic of stats.def."""
        return _cells()

    def statistics(self) -> list[Statistic]:
        """Every row of stats.def with its sum."""
        return [
            Statistic(name, _text(lib.fridge_stat_kind(i)), _text(lib.fridge_stat_help(i)), self.statistic(name))
            for name, i in self.cells.items()
        ]

    def statistic(self, name: str) -> int:
        """The sum of one statistic over all processes."""
        return int(lib.fridge_stat_sum(self.store, self.cells[name]))

    def count(self, name: str, n: int = 1) -> None:
        """Add n to this process's cell of a statistic: for what only the host sees."""
        lib.fridge_stat_add(self.store, self.cells[name], n)

    def command_statistics(self) -> list[CommandStatistic]:
        """What every command that was called did."""
        first, width, rows = len(self.cells), len(COMMAND_CELLS), []
        for name, i in command_names().items():
            at = first + i * width
            cells = [int(lib.fridge_stat_sum(self.store, at + j)) for j in range(width)]
            if any(cells):
                rows.append(CommandStatistic(name, *cells))
        return rows

    # --- housekeeping ---

    def tick(self, limit: int) -> int:
        """Reclaim up to limit expired keys and rows and recover the dead; how many were reclaimed."""
        return int(lib.fridge_tick(self.store, limit))

    def reap(self) -> int:
        """Recover dead processes; how many."""
        return int(lib.fridge_reap(self.store))

    def verify(self, repair: bool = False) -> Report:
        """Walk everything and check it. Raises SegmentDamagedError only when the walk itself cannot go on."""
        out = ffi.new("fridge_report *")
        status = lib.fridge_verify(self.store, repair, out, self._error)
        if not out.findings:
            check(status, self._error)
        return Report(out.keys, out.rows, out.counters, out.blocks, out.pages, out.findings, _text(out.first))

    # --- what a server's processes share ---

    @property
    def settings_version(self) -> int:
        """Changes with every system_set, in whichever process."""
        return int(self.describe().settings_version)

    def set_word(self, word: int, value: int) -> None:
        """Set one of the settings that the engine itself obeys (FRIDGE_WORD_*)."""
        check(lib.fridge_word_set(self.store, word, value, self._error), self._error)

    def system_get(self, name: str) -> bytes | None:
        """A string of the system database."""
        room, length = 4096, ffi.new("int64_t *")
        while True:
            buffer = ffi.new("char[]", room)
            check(lib.fridge_system_get(self.store, name.encode(), buffer, room, length, self._error), self._error)
            if length[0] <= room:
                return None if length[0] < 0 else bytes(ffi.buffer(buffer, length[0]))
            room = length[0]

    def system_set(self, name: str, value: bytes | None) -> None:
        """Set (None: delete) a string of the system database and change settings_version."""
        data, n = (ffi.NULL, 0) if value is None else (value, len(value))
        check(lib.fridge_system_set(self.store, name.encode(), data, n, self._error), self._error)

    def system_add(self, name: str, by: int) -> int:
        """Add to a number of the system database; the sum."""
        out = ffi.new("int64_t *")
        check(lib.fridge_system_add(self.store, name.encode(), by, out, self._error), self._error)
        return int(out[0])

    def system_hset(self, name: str, field: str, value: bytes) -> None:
        """Set a field of a hash of the system database. Waits at most 1 ms: LatchTimeoutError then."""
        status = lib.fridge_system_hset(self.store, name.encode(), field.encode(), value, len(value), self._error)
        check(status, self._error)

    def system_hdel(self, name: str, field: str) -> None:
        """Delete a field of a hash of the system database, if it is there. Waits at most 1 ms."""
        check(lib.fridge_system_hdel(self.store, name.encode(), field.encode(), self._error), self._error)

    def system_hlen(self, name: str) -> int:
        """Fields of a hash of the system database."""
        out = ffi.new("uint64_t *")
        check(lib.fridge_system_hlen(self.store, name.encode(), out, self._error), self._error)
        return int(out[0])

    def system_hgetall(self, name: str) -> dict[str, bytes]:
        """A whole hash of the system database."""
        room, need = 1 << 16, ffi.new("size_t *")
        while True:
            buffer = ffi.new("char[]", room)
            check(lib.fridge_system_hall(self.store, name.encode(), buffer, room, need, self._error), self._error)
            if need[0] <= room:
                return dict(_unpack(bytes(ffi.buffer(buffer, need[0]))))
            room = 2 * need[0]


def _unpack(packed: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(packed):
        (n,) = struct.unpack_from("<I", packed, at)
        field = packed[at + 4 : at + 4 + n].decode()
        at += 4 + n
        (n,) = struct.unpack_from("<I", packed, at)
        yield field, packed[at + 4 : at + 4 + n]
        at += 4 + n


@cache  # not cached_property: before Python 3.12 that has a lock, which a child of fork may find taken for ever
def _cells() -> dict[str, int]:
    return {_text(lib.fridge_stat_name(i)): i for i in range(lib.fridge_stat_count())}


@cache
def command_names() -> dict[str, int]:
    """The number of every row of the command table; subcommands are 'client|list', containers are left out."""
    facts = ffi.new("command_facts *")
    found = {}
    for i in range(lib.fridge_command_count()):
        if lib.fridge_command(i, facts) and not facts.container:
            found[_text(facts.name)] = int(facts.number)
    return found


def version() -> str:
    """The version of libfridge."""
    return _text(lib.fridge_version())


def destroy(path: str) -> None:
    """Remove a segment and its lock file. Raises SegmentInUseError while anybody is attached."""
    error = error_buffer()
    check(lib.fridge_destroy(os.fsencode(path), error), error)
