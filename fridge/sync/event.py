"""Events: a flag that processes wait for, at `f.event(name)`.

KEYS. `name` is an integer that counts changes: odd is set; even, or no key, is clear. `redis-cli SET name 1` sets it, DEL
clears it. That it counts keeps a waiter from missing an event that was set and cleared again before it woke.
"""

from __future__ import annotations

from fridge._native import ffi, lib
from fridge.commands import Key
from fridge.errors import NotAnIntegerError
from fridge.line import Line
from fridge.store import Store, default_store
from fridge.waiting import Deadline


class Event:
    """A flag. It outlives the process that set it.

    Args:
        name: the key.
        store: where; the default segment when None.

    Example:
        >>> f.event("ready").set()  # doctest: +SKIP
        >>> f.event("ready").wait(timeout=5)  # doctest: +SKIP
        True
    """

    def __init__(self, name: Key, *, store: Store | None = None) -> None:
        self._store = default_store() if store is None else store
        self._line = Line(self._store, name)  # for its calls; an event has neither grants nor line
        self.name = name

    def is_set(self) -> bool:
        """Return whether it is set."""
        return _count(self._store.get(self.name)) % 2 == 1

    def set(self) -> None:
        """Set it, and wake all who wait. Nothing happens when it is set."""
        self._step(0)

    def clear(self) -> None:
        """Clear it. Nothing happens when it is clear."""
        self._step(1)

    def _step(self, parity: int) -> None:
        while True:
            found = self._store.get(self.name)
            count = _count(found)
            if count % 2 != parity or self._store.cas(self.name, found, count + 1):
                return

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is set, or has been set since the call began.

        Args:
            timeout: how many seconds at most; None: for ever.

        Returns:
            True; False when the time is up.

        Raises:
            NotAnIntegerError: the key holds something else than an integer.
        """
        deadline = Deadline(timeout)
        version, left, exists = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("int *")
        waited = ffi.new("int *")
        first: int | None = None
        while True:
            self._line.call(lib.fridge_key_version, version, left, exists)
            count = _count(self._store.get(self.name))
            first = count if first is None else min(first, count)  # lower than before: it was deleted meanwhile
            if count % 2 == 1 or count > first:
                return True
            if deadline.milliseconds == 0:
                return False
            self._line.call(lib.fridge_key_wait, version[0], deadline.milliseconds, version, waited)

    def __repr__(self) -> str:
        return f"<fridge.Event {self.name!r}>"


def _count(value: object) -> int:
    """Return how often an event has changed."""
    if value is None:
        return 0
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]
    except ValueError:
        raise NotAnIntegerError(f"the key of an event holds an integer, not {value!r}") from None
