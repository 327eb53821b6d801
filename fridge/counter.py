"""Counters: one named 64-bit integer each, changed without a latch.

The verbs are C (csrc/python/counter.c). The same number is the key of that name for every other door: ``INCR hits``.
"""

from __future__ import annotations

from fridge import _hot
from fridge.store import Store, default_store


class Counter(_hot.Counter):
    """A handle of a counter.

    Making one creates the counter if it is absent; one that exists keeps its value. It stays good for the life of the
    segment, deleted or not, across fork and in every thread.

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
    """

    __slots__ = ()

    def __init__(self, name: str | bytes, initial: int = 0, *, store: Store | None = None) -> None:
        super().__init__(default_store() if store is None else store, name, initial)

    def __repr__(self) -> str:
        return f"<fridge.Counter {self.name!r}>"
