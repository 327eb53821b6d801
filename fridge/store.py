"""The handle of a segment, `fridge.open()`: keys, hashes, tables, counters, facts and checks.

Leaves out: how commands run (`fridge.commands`), and servers, which are other processes and not needed here.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from fridge._native import lib, text
from fridge.commands import encode_key
from fridge.errors import ArgumentError
from fridge.schema import Schema
from fridge.table import Table
from fridge.vars import Published

if TYPE_CHECKING:
    from collections.abc import Callable

    from fridge.async_lock import AsyncLock
    from fridge.commands import Key
    from fridge.counter import Counter, Counters
    from fridge.keys import Text
    from fridge.lock import Lock
    from fridge.segment import Report
    from fridge.sharded import ShardedCounter
    from fridge.sync import Barrier, Event, Once, RWLock, Semaphore

R = TypeVar("R")

DEFAULT_CAPACITY = 1024  # rows of a table whose capacity is not given


class Store(Published):
    """An open segment.

    Data lives in the segment, not in the handle: every process that opens the same path sees the same keys. Handles are
    safe in threads and after fork.

    Args:
        path: the segment's file; None: the default segment (`fridge path` prints which and why). Folders on the way that
            are missing are made, owner-only, unless create is False.
        size: bytes it may grow to, 268435456 or "256mb"; it counts for the process that creates the segment only.
        mode: "rw", or "r" for a mapping that cannot write.
        create: create the segment if it is absent.
        db: the logical database of keys and hashes, 0 to 15. Tables and counters belong to database 0.
        name: what `fridge ps` shows for this process; the program's name when None.
        decode_responses: return str instead of bytes.
        sigbus_handler: turn a segment file that is truncated under the mapping into SegmentLost.
        prealloc: take all memory when creating.
        owner: a further user (name or uid) whose segment file is believed, besides this process's and root; None:
            $FRIDGE_SEGMENT_OWNER.
        perm: mode of the file: what it is created with, and how far open to others it may be, 0o660 for a group;
            None: $FRIDGE_SEGMENT_PERM, else 0o600.

    Raises:
        SegmentNotFoundError: there is none, and it was not to be created.
        NotASegmentError: the file is something else.
        ForeignOwnerError: the file belongs to somebody else, or others may write it, and nobody said that is right.
        OutOfMemoryError: there is not enough shared memory.
        SystemCallError: the operating system refuses something: no permission, a read-only file system.
        ArgumentError: an argument is not possible.

    Example:
        >>> with Store("/dev/shm/example") as f:  # doctest: +SKIP
        ...     f.set("greeting", "hello", ex=60)
        ...     f.get("greeting")
        True
        b'hello'
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, size: int | str | None = None,
                 mode: Literal["rw", "r"] = "rw", create: bool = True, db: int = 0, name: str | None = None,
                 decode_responses: bool = False, sigbus_handler: bool = True, prealloc: bool = False,
                 owner: str | int | None = None, perm: int | None = None) -> None:  # fmt: skip
        _check_arguments(mode, db, name)
        from fridge import aio, async_lock, holder, keeper, lock, snapshots, sync  # noqa: F401  (so that no call has to)
        from fridge import path as paths  # here, so that `import fridge` stays quick
        from fridge.segment import Segment

        readonly = mode == "r"
        create = create and not readonly
        where = paths.default_path() if path is None else os.fspath(path)
        uid, access = paths.owner_id(os.environ.get("FRIDGE_SEGMENT_OWNER") if owner is None else owner), _perm(perm)
        if create:
            paths.prepare(where)
        segment = Segment(where, size=_bytes(size), create=create, readonly=readonly, prealloc=prealloc, mode=access, owner=uid,
                          name=name or "", sigbus_handler=sigbus_handler)  # fmt: skip
        if segment.set_aside:
            warnings.warn(segment.set_aside, RuntimeWarning, stacklevel=3)
        super().__init__(segment, db, decode_responses)

    @property
    def path(self) -> str:
        """The segment's file."""
        return self._segment.path

    # --- objects ---

    @overload
    def table(self, name: str, schema: type[R], capacity: int = DEFAULT_CAPACITY) -> Table[R]: ...
    @overload
    def table(self, name: str, schema: Schema | None = None, capacity: int = DEFAULT_CAPACITY) -> Table: ...

    def table(self, name: str, schema: Any = None, capacity: int = DEFAULT_CAPACITY) -> Table[Any]:
        """Declare a typed table, or attach to one.

        Args:
            name: the table's name.
            schema: column names and types, such as {"count": "int32", "note": "str:64"}. Types: int8 to int64, uint8 to
                uint64, float64, bool, str:N and bytes:N. ("int32", 5), or "int32=5", is a type with a default: what a new row
                holds instead of 0 or nothing. Or a TypedDict or dataclass whose annotations say so, which
                makes its rows known to a type checker; rows are then TypedDicts, which are dicts, or objects of the
                dataclass. None attaches to a table that is there.
            capacity: how many rows fit, exactly.

        Raises:
            SchemaError: the schema is not possible.
            SchemaMismatchError: the table is there with another schema or capacity.
            UnknownTableError: no schema was given and there is no such table.

        Example:
            >>> rate = f.table("rate_limits", {"count": "int32"}, capacity=10_000)  # doctest: +SKIP
        """
        return Table(self, name, schema, capacity)

    def tables(self) -> list[str]:
        """Return the names of all declared tables.

        Example:
            >>> f.tables()  # doctest: +SKIP
            ['rate_limits']
        """
        return [str(name, "ascii") for name in self._replies(b"TABLE", b"LIST") if isinstance(name, bytes)]

    def declare_tables(self, path: str | os.PathLike[str]) -> dict[str, Table]:
        """Declare the tables of a fridge.toml, as `fridge serve` does when it starts.

        Args:
            path: the file; of what it says only ``[tables.*]`` counts here.

        Returns:
            The tables by name.

        Raises:
            SettingError: the file cannot be read, or is no fridge.toml.
            SchemaError: a declaration is not possible; SchemaMismatchError: a table is there with another one.

        Example:
            >>> rate = f.declare_tables("fridge.toml")["rate_limits"]  # doctest: +SKIP
        """
        from fridge.config import read_file

        declared = read_file(os.fspath(path)).tables
        return {t.name: Table(self, t.name, dict(t.columns), t.capacity) for t in declared}

    def drop_table(self, name: str) -> None:
        """Drop a table and its rows in one step. Handles of it raise UnknownTableError from then on.

        Args:
            name: the table's name.

        Raises:
            UnknownTableError: there is no such table.
        """
        self._ok(b"TABLE", b"DROP", encode_key(name))

    def counter(self, name: str | bytes, initial: int = 0) -> Counter:
        """Return the counter of this name, created at initial if it is absent.

        Args:
            name: the counter's name.
            initial: its value if it is created now.

        Example:
            >>> f.counter("hits").increment()  # doctest: +SKIP
            1
        """
        from fridge.counter import Counter

        return Counter(name, initial, store=self)

    @property
    def counters(self) -> Counters:
        """Many counters in one call; see Counters.

        Example:
            >>> f.counters.increment({"views": 1, "bytes": 512})  # doctest: +SKIP
            {'views': 1, 'bytes': 512}
        """
        from fridge.counter import Counters

        return Counters(self)

    def sharded_counter(self, name: str | bytes, shards: int | None = None) -> ShardedCounter:
        """Return the sharded counter of this name, created if it is absent.

        Args:
            name: its name.
            shards: 1 to 64; None: as many as it has, or 8 if it is created now.

        Example:
            >>> f.sharded_counter("hits", shards=8).increment()  # doctest: +SKIP
        """
        from fridge.sharded import ShardedCounter

        return ShardedCounter(name, shards, store=self)

    def lock(self, name: Key, timeout: float | None = None, sleep: float = 0.1, blocking: bool = True,
             blocking_timeout: float | None = None, thread_local: bool = True, raise_on_release_error: bool = True, *,
             auto_extend: bool = False) -> Lock:  # fmt: skip
        """Return the lock of this name; see `fridge.Lock` for the arguments.

        Example:
            >>> with f.lock("jobs"):  # doctest: +SKIP
            ...     work()
        """
        from fridge.lock import Lock

        return Lock(name, timeout, sleep, blocking, blocking_timeout, thread_local, raise_on_release_error,
                    auto_extend=auto_extend, store=self)  # fmt: skip

    def async_lock(self, name: Key, timeout: float | None = None, blocking: bool = True, blocking_timeout: float | None = None,
                   *, auto_extend: bool = False) -> AsyncLock:  # fmt: skip
        """Return the lock of this name for the tasks of an event loop; see `fridge.async_lock.AsyncLock`.

        Example:
            >>> async with f.async_lock("jobs"):  # doctest: +SKIP
            ...     await work()
        """
        from fridge.async_lock import AsyncLock

        return AsyncLock(name, timeout, blocking, blocking_timeout, auto_extend=auto_extend, store=self)

    def semaphore(self, name: Key, permits: int = 1) -> Semaphore:
        """Return the semaphore of this name: at most so many holders at a time; see `fridge.Semaphore`."""
        from fridge.sync import Semaphore

        return Semaphore(name, permits, store=self)

    def rwlock(self, name: Key) -> RWLock:
        """Return the read-write lock of this name: many readers or one writer; see `fridge.RWLock`."""
        from fridge.sync import RWLock

        return RWLock(name, store=self)

    def event(self, name: Key) -> Event:
        """Return the event of this name: a flag to wait for; see `fridge.Event`."""
        from fridge.sync import Event

        return Event(name, store=self)

    def barrier(self, name: Key, parties: int, timeout: float | None = None) -> Barrier:
        """Return the barrier of this name, where so many callers wait for each other; see `fridge.Barrier`."""
        from fridge.sync import Barrier

        return Barrier(name, parties, timeout, store=self)

    @overload
    def once(self, name: Key) -> Once: ...
    @overload
    def once(self, name: Key, function: Callable[[], Any], timeout: float | None = None) -> Text: ...
    def once(self, name: Key, function: Callable[[], Any] | None = None, timeout: float | None = None) -> Once | Text:
        """Run a function in exactly one process while the others wait for it; see `fridge.Once`.

        Returns:
            What the function returned, in all of them; without a function, the Once of the name.

        Example:
            >>> f.once("migrate", migrate)  # doctest: +SKIP
            b'done'
        """
        from fridge.sync import Once

        found = Once(name, store=self)
        return found if function is None else found(function, timeout)

    # --- facts ---

    def info(self) -> dict[str, Any]:
        """Return what there is to know about the segment: sizes, keys, tables, processes, statistics.

        `huge_pages` is how many bytes of it this process sees through huge pages: 0 unless the file system grants them
        for shared memory (a tmpfs mounted with huge=advise, within_size or always).
        """
        self._hold()
        try:
            facts = self._segment.describe()
            return {
                "fridge_version": text(lib.fridge_version()),
                "path": self.path,
                "uuid": text(facts.uuid),
                "size": int(facts.size),
                "used": int(facts.used),
                "max_size": int(facts.max_size),
                "huge_pages": self._segment.huge_pages(),
                "readonly": bool(facts.readonly),
                "keyspace": {db: {"keys": k, "expires": e} for db, (k, e) in self._segment.keyspace().items()},
                "tables": {t.name: vars(t) for t in self._segment.tables()},
                "processes": [vars(p) for p in self._segment.processes()],
                "statistics": {s.name: s.value for s in self._segment.statistics()},
            }
        finally:
            self._release()

    def verify(self, repair: bool = False) -> Report:
        """Walk the whole segment and check every invariant.

        Args:
            repair: set right what can be derived again: bitmaps and counts.

        Returns:
            What was counted; `findings` is 0 when all is well.
        """
        self._hold()
        try:
            return self._segment.verify(repair)
        finally:
            self._release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<fridge.Store {self.path}{' (closed)' if self.closed else ''}>"


def _check_arguments(mode: object, db: object, name: object) -> None:
    """The engine knows one database more, for settings, which a handle must not reach."""
    from fridge.segment import DATABASES

    if mode not in ("rw", "r"):
        raise ArgumentError(f"mode is {mode!r}; it may be 'rw' or 'r'")
    if name is not None and not isinstance(name, str):
        raise ArgumentError(f"name is {name!r}; it is what `fridge ps` shows for this process: a str, or None")
    if isinstance(db, bool) or not isinstance(db, int) or not 0 <= db < DATABASES:
        raise ArgumentError(f"db is {db!r}; it may be 0 to {DATABASES - 1}")


def _perm(perm: object) -> int:
    """What perm, or the environment, says of the file's mode; 0 for the engine's own."""
    if perm is None:
        if not (said := os.environ.get("FRIDGE_SEGMENT_PERM")):
            return 0
        from fridge.config import SettingError, parse

        try:
            return int(parse("segment-perm", said))
        except SettingError as error:
            raise ArgumentError(f"{error} (from environment)") from None
    if isinstance(perm, bool) or not isinstance(perm, int) or not 0 < perm <= 0o777:
        raise ArgumentError(f"perm is {perm!r}; it is the mode of a file, such as 0o660")
    return perm


def _bytes(size: int | str | None) -> int:
    """What size says in bytes, 0 for the default. Whether a segment can have it is for the engine to say."""
    if size is None:
        return 0
    from fridge.config import parse_memory

    try:
        found = parse_memory(size) if isinstance(size, str) else size
    except ValueError:
        found = None
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 63:
        raise ArgumentError(f"size is {size!r}; it may be an int of bytes, or a text such as '64mb' or '1gb'")
    return found


_default: Store | None = None


def default_store() -> Store:
    """Return this process's handle of the default segment, opened at the first call."""
    global _default
    if _default is None or _default.closed:
        _default = Store()
    return _default


def open(path: str | os.PathLike[str] | None = None, size: int | str | None = None, mode: Literal["rw", "r"] = "rw",
         create: bool = True, db: int = 0, name: str | None = None, decode_responses: bool = False,
         sigbus_handler: bool = True, prealloc: bool = False, owner: str | int | None = None,
         perm: int | None = None) -> Store:  # fmt: skip
    """Open a segment; see Store for the arguments.

    Example:
        >>> f = open()  # doctest: +SKIP
        >>> f.incr("n", 5)  # doctest: +SKIP
        5
    """
    return Store(path, size, mode, create, db, name, decode_responses, sigbus_handler, prealloc, owner, perm)
