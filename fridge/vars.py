"""Published vars: one process publishes a snapshot, all others read it at the price of a dict look-up.

A snapshot is a JSON object in an ordinary key of database 0, so ``redis-cli SET flags '{"new_ui": true}'`` publishes and
``GET flags`` reads. Readers get the same dict object as long as nothing newer is published; it is replaced as a whole, so
what one call returned never changes. The last snapshot stays when its publisher is gone.

Leaves out: values as JSON (`fridge.snapshots`), the fast path (csrc/python/vars.c), event loops (`fridge.aio`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from fridge._native import check, error_buffer, ffi, lib, text
from fridge.commands import encode_key
from fridge.errors import ArgumentError, NotPublishedError
from fridge.hashes import Hashes
from fridge.waiting import Deadline, key_version, wait_for_change

if TYPE_CHECKING:
    from fridge._hot import Snapshot
    from fridge.snapshots import Vars

TIMEOUT = 30.0  # seconds that get_vars waits for the first snapshot


class Publisher(NamedTuple):
    """Who published a snapshot: a process, and how many seconds ago."""

    pid: int
    host: str
    name: str
    alive: bool
    is_self: bool
    age: float


# --- the handle's methods -------------------------------------------------------------------------------------------


class Published(Hashes):
    """Vars."""

    def set_vars(self, scope: str, values: Mapping[str, Any]) -> bool:
        """Publish a snapshot, which replaces the last one as a whole.

        Args:
            scope: the name readers ask for; an ordinary key of database 0.
            values: a map of str to None, bool, int, float, str, bytes, enums, lists and maps.

        Returns:
            Whether anything changed: publishing what this process has published already does nothing and wakes nobody.

        Raises:
            NotPublishableError: a value cannot be published. The message has the path to it.
            WrongTypeError: the key holds a hash, a counter or a row.

        Example:
            >>> f.set_vars("flags", {"new_ui": True, "limits": [1, 2]})  # doctest: +SKIP
            True
        """
        from fridge import snapshots  # imported when the segment was opened

        name, data = _scope(scope), snapshots.encode(scope, values)
        changed, version, error = ffi.new("int *"), ffi.new("uint64_t *"), error_buffer()
        self._hold()
        try:
            status = lib.fridge_var_publish(self._segment.store, 0, name, len(name), data, len(data), changed, version, error)
            check(status, error)
        finally:
            self._release()
        return bool(changed[0])

    if TYPE_CHECKING:

        @overload
        def get_vars(self, scope: str, timeout: float | None = TIMEOUT) -> Vars: ...
        @overload
        def get_vars(self, scope: Iterable[str], timeout: float | None = TIMEOUT) -> dict[str, Vars]: ...
        def get_vars(self, scope: str | Iterable[str], timeout: float | None = TIMEOUT) -> Vars | dict[str, Vars]:
            """Return the published snapshot of a scope, or of several; see `Published._get_vars`."""

    def _get_vars(self, scope: str | Iterable[str], timeout: float | None = TIMEOUT) -> Vars | dict[str, Vars]:
        """Return a snapshot when it is not the one that was returned last: what the C method hands on to.

        Args:
            scope: a name, or several, which share the deadline.
            timeout: seconds to wait for what has never been published; None for no end, 0 for not at all.

        Raises:
            NotPublishedError: nothing was published in that time.
            VarsFormatError: the key holds something else than a JSON object.
        """
        deadline = Deadline(timeout)
        if isinstance(scope, str):
            return self._wait_vars(scope, deadline)
        names = list(scope)
        if not names:
            raise ArgumentError("no scope was named")
        return {name: self._wait_vars(name, deadline) for name in names}

    def _wait_vars(self, scope: str, deadline: Deadline) -> Vars:
        name = _scope(scope)
        while True:
            version = key_version(self, 0, name)[0]
            snapshot = self._read_vars(scope)
            if snapshot is not None:
                return snapshot.value  # type: ignore[no-any-return]
            if wait_for_change(self, 0, name, version, deadline) is None:
                raise NotPublishedError(f"nothing is published as {scope!r}: no process has called set_vars({scope!r}, ...), or "
                                        "the key was deleted")  # fmt: skip

    def _read_vars(self, scope: str) -> Snapshot | None:
        """Return the present snapshot with its value, the old object if its bytes are the old ones; None when there is none."""
        from fridge import snapshots  # imported when the segment was opened

        snapshot = self._snapshot(scope)
        if snapshot is None:
            return None
        kept = self._kept(scope)
        same = kept is not None and kept.data == snapshot.data
        self._keep(scope, snapshot, kept.value if same and kept is not None else snapshots.decode(scope, snapshot.data))
        return snapshot

    def vars(self, scope: str) -> Scope:
        """Return a handle of one scope, with waiting for changes.

        Example:
            >>> flags = f.vars("flags")  # doctest: +SKIP
            >>> flags.get()["new_ui"]  # doctest: +SKIP
            True
        """
        return Scope(self, scope)


def _scope(scope: object) -> bytes:
    if not isinstance(scope, str) or not scope:
        raise ArgumentError(f"a scope is a str that is not empty, not {scope!r}")
    return encode_key(scope)


class Scope:
    """One scope of published vars.

    Args:
        store: the open handle.
        name: the scope.
    """

    __slots__ = ("_name", "_seen", "_store", "name")

    def __init__(self, store: Published, name: str) -> None:
        self._store, self.name, self._name = store, name, _scope(name)
        self._seen: int | None = None

    def set(self, values: Mapping[str, Any]) -> bool:
        """Publish; see `Published.set_vars`."""
        return self._store.set_vars(self.name, values)

    def get(self, timeout: float | None = TIMEOUT) -> Vars:
        """Return the present snapshot; see `Published.get_vars`."""
        return self._store.get_vars(self.name, timeout)

    def publisher(self) -> Publisher | None:
        """Return who published the snapshot; None when nothing is published, or it was set by a client of a server."""
        owner, known, error = ffi.new("fridge_owner *"), ffi.new("int *"), error_buffer()
        self._store._hold()
        try:
            store = self._store._segment.store
            check(lib.fridge_var_publisher(store, 0, self._name, len(self._name), owner, known, error), error)
            age = max(0, lib.fridge_boot_ms() - owner.since_ms) / 1000
        finally:
            self._store._release()
        if not known[0]:
            return None
        return Publisher(owner.pid, text(owner.host), text(owner.name), bool(owner.alive), bool(owner.self), age)

    def publisher_alive(self) -> bool | None:
        """Return whether the process that published still lives; None when it is not known who did."""
        publisher = self.publisher()
        return None if publisher is None else publisher.alive

    def age(self) -> float | None:
        """Return how many seconds ago the present snapshot was published; None when that is not known."""
        publisher = self.publisher()
        return None if publisher is None else publisher.age

    def wait(self, timeout: float | None = None) -> Vars | None:
        """Sleep until something newer is published than what this handle returned last, and return it.

        Args:
            timeout: seconds; None for no end.

        Returns:
            The new snapshot; None when the time is up.
        """
        deadline = Deadline(timeout)
        while True:
            version, values = self._look()
            if values is not None:
                return values
            if wait_for_change(self._store, 0, self._name, version, deadline) is None:
                return None

    async def wait_async(self, timeout: float | None = None) -> Vars | None:
        """Wait for something newer in an event loop; see `wait`."""
        from fridge import aio  # imported when the segment was opened

        deadline = Deadline(timeout)
        while True:
            version, values = self._look()
            if values is not None:
                return values
            if await aio.wait_for_change(self._store, 0, self._name, version, deadline.left) is None:
                return None

    def _look(self) -> tuple[int, Vars | None]:
        """The version to wait on, and the snapshot if this handle has not returned it yet."""
        version, exists, _ = key_version(self._store, 0, self._name)
        snapshot = self._store._read_vars(self.name) if exists else None
        if snapshot is None or snapshot.version == self._seen:
            return version, None
        self._seen = snapshot.version
        return version, snapshot.value

    async def changes(self) -> AsyncIterator[Vars]:
        """Iterate over snapshots as they are published, the present one first; those that nobody had time for are skipped.

        Example:
            >>> async for flags in f.vars("flags").changes():  # doctest: +SKIP
            ...     print(flags)
        """
        while True:
            snapshot = await self.wait_async()
            if snapshot is not None:
                yield snapshot

    def __repr__(self) -> str:
        return f"<fridge.Scope {self.name!r}>"
