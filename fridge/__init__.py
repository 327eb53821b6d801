"""Shared state for the processes of one host.

One memory-mapped file, the segment, holds keys, hashes, typed tables, counters and locks. Here is the door for Python;
redis clients and Prometheus reach the same bytes through `fridge serve`.

Example:
    >>> import fridge
    >>> f = fridge.open()  # doctest: +SKIP
    >>> f.set("greeting", "hello", ex=60)  # doctest: +SKIP
    True
"""

from typing import TYPE_CHECKING

from fridge.counter import Counter, Counters
from fridge.errors import FridgeError
from fridge.sharded import ShardedCounter
from fridge.store import Store, open
from fridge.table import Table

if TYPE_CHECKING:
    from fridge.lock import Lock
    from fridge.sync import Barrier, Event, Once, RWLock, Semaphore, once

__all__ = [
    "Barrier",
    "Counter",
    "Counters",
    "Event",
    "FridgeError",
    "Lock",
    "Once",
    "RWLock",
    "Semaphore",
    "ShardedCounter",
    "Store",
    "Table",
    "once",
    "open",
]

_AT_OPEN = {"Lock": "lock"} | dict.fromkeys(("Barrier", "Event", "Once", "RWLock", "Semaphore", "once"), "sync")
"""Names whose modules are imported when a segment is opened, or when they are first asked for: 10 ms less to import."""


def __getattr__(name: str) -> object:
    """Import what was left for later."""
    if name not in _AT_OPEN:
        raise AttributeError(f"module 'fridge' has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"fridge.{_AT_OPEN[name]}"), name)
    return found
