"""Sharded counters: one count spread over several counters, for writers on several CPUs that add all the time.

The verbs are C (csrc/python/sharded.c); csrc/hot_sharded.c says how one is kept and why its name is a hash.
"""

from __future__ import annotations

from fridge import _hot
from fridge.errors import FridgeError
from fridge.store import Store, default_store


class ShardedCounter(_hot.ShardedCounter):
    """A handle of a sharded counter.

    Each add goes to the shard of the CPU that the caller runs on, so that writers on different CPUs do not fight for one
    cache line. ``increment`` and ``decrement`` return nothing; ``get`` adds the shards up, and is exact whenever nobody is
    adding. What a process added stays when it dies. Bounds, compare_and_set and expiry are a plain Counter's.

    For every other door the shards are the counters ``name:0``, ``name:1``, ... (``names``), and ``name`` itself is a hash
    that says how many there are: GET and INCR of it are refused rather than wrong.

    Args:
        name: the sharded counter's name, str or bytes.
        shards: 1 to 64; None: as many as it has, or 8 if it is created now.
        store: where; the default segment when None.

    Raises:
        ArgumentError: it has another number of shards.
        WrongTypeError: another key has its name, or a shard's.
        MissingKeyError: it does not exist, and the segment is open for reading only.

    Example:
        >>> hits = f.sharded_counter("hits")  # doctest: +SKIP
        >>> hits.increment()  # doctest: +SKIP
        >>> hits.get()  # doctest: +SKIP
        1
    """

    __slots__ = ()

    def __init__(self, name: str | bytes, shards: int | None = None, *, store: Store | None = None) -> None:
        super().__init__(default_store() if store is None else store, name, shards)

    def __repr__(self) -> str:
        try:
            return f"<fridge.ShardedCounter {self.name!r} x {self.shards}>"
        except FridgeError as error:
            return f"<fridge.ShardedCounter ({error})>"
