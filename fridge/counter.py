"""Counters: one named 64-bit integer each, changed without a latch; many of them in one call.

The verbs are C (csrc/python/counter.c, counters.c). The same number is the key of that name for every other door: ``INCR hits``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from fridge import _hot
from fridge.commands import encode_key
from fridge.errors import ArgumentError
from fridge.store import Store, default_store
from fridge.waiting import Deadline, key_version, wait_for_change

Name = TypeVar("Name", str, bytes)


class Counter(_hot.Counter):
    """A handle of a counter.

    Making one creates the counter if it is absent; one that exists keeps its value. It stays good for the life of the
    segment, deleted or not, across fork and in every thread.

    ``increment`` and ``decrement`` take bounds: ``max=`` and ``min=``, both included. A step that would leave them changes
    nothing and returns None, which no other outcome returns; with ``saturate=True`` it stops at the bound and returns
    that.

    Args:
        name: the counter's name, str or bytes.
        initial: its value if it is created now.
        store: where; the default segment when None.

    Raises:
        NotAnIntegerError: a key of this name holds something else than an integer.
        WrongTypeError: a key of this name is of another kind.

    Example:
        >>> hits = Counter("hits")  # doctest: +SKIP
        >>> hits.increment()  # doctest: +SKIP
        1
        >>> seats = Counter("seats")  # doctest: +SKIP
        >>> if seats.increment(max=100) is None:  # doctest: +SKIP
        ...     print("sold out")
    """

    __slots__ = ("_store",)

    def __init__(self, name: str | bytes, initial: int = 0, *, store: Store | None = None) -> None:
        self._store = default_store() if store is None else store
        super().__init__(self._store, name, initial)

    def wait(self, value: int, timeout: float | None = None) -> int | None:
        """Sleep until the counter reaches a value: from below, or from above, wherever it is when the wait begins.

        Nothing polls. A value that the counter jumps over counts as reached.

        Args:
            value: to be reached.
            timeout: seconds; None for no end.

        Returns:
            What the counter is then; None when the time is up.

        Example:
            >>> left = f.counter("left", 8)  # doctest: +SKIP
            >>> left.wait(0, timeout=60)  # until eight workers have called left.decrement()  # doctest: +SKIP
            0
        """
        deadline, reached = Deadline(timeout), self._reaches(value)
        while True:
            version, now = self._look()
            if reached(now):
                return now
            if wait_for_change(self._store, 0, encode_key(self.name), version, deadline) is None:
                return None

    async def wait_async(self, value: int, timeout: float | None = None) -> int | None:
        """Wait until the counter reaches a value, in an event loop; see `wait`."""
        from fridge import aio  # imported when the segment was opened

        deadline, reached = Deadline(timeout), self._reaches(value)
        while True:
            version, now = self._look()
            if reached(now):
                return now
            if await aio.wait_for_change(self._store, 0, encode_key(self.name), version, deadline.left) is None:
                return None

    def _look(self) -> tuple[int, int]:
        """The version to wait on, taken first, and the value."""
        version = key_version(self._store, 0, encode_key(self.name))[0]
        return version, self.get()

    def _reaches(self, value: object) -> Callable[[int], bool]:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ArgumentError(f"a counter is waited for until it is an int, not {value!r}")
        first = self.get()
        return (lambda now: now >= value) if first <= value else (lambda now: now <= value)

    def __repr__(self) -> str:
        return f"<fridge.Counter {self.name!r}>"


class Counters:
    """Many counters in one call, at ``f.counters``. The loop over them is C.

    Args:
        store: where they are.

    Example:
        >>> f.counters.increment({"views": 1, "bytes": 512})  # doctest: +SKIP
        {'views': 1, 'bytes': 512}
    """

    __slots__ = ("_store",)

    def __init__(self, store: Store) -> None:
        self._store = store

    def increment(self, steps: Mapping[Name, int], *, all_or_nothing: bool = False) -> dict[Name, int]:
        """Add to counters and return their new values, in the order of the steps.

        Each counter changes atomically and without a latch. Absent ones are created.

        Args:
            steps: what to add, by counter's name; negative to subtract.
            all_or_nothing: change all of them in one transaction, which readers see whole or not at all. It takes latches
                and may touch 16 counters for each of the segment's stripes (1024 as segments are made by default).

        Raises:
            NotAnIntegerError: a step is no integer, or a key of that name holds something else than one.
            WrongTypeError: a key of that name is of another kind.
            CounterOverflowError: a sum would not fit 64 bits. The text of an error names the counter and says whether
                those before it in the steps have been counted; with all_or_nothing they never have.

        Example:
            >>> f.counters.increment({"sold": 1, "left": -1}, all_or_nothing=True)  # doctest: +SKIP
            {'sold': 1, 'left': 99}
        """
        return self._store._counters_add(steps, all_or_nothing)

    def get(self, names: Iterable[Name]) -> dict[Name, int]:
        """Return the values of counters; 0 for those that do not exist.

        Each value is exact, but they may be of different instants: ``f.mget(names)`` returns one instant's, as bytes.

        Args:
            names: the counters' names.

        Raises:
            NotAnIntegerError: a key of such a name holds something else than an integer.

        Example:
            >>> f.counters.get(["sold", "left"])  # doctest: +SKIP
            {'sold': 1, 'left': 99}
        """
        return self._store._counters_get(names)
