"""Shared state for the processes of one host.

One memory-mapped file, the segment, holds keys, hashes, typed tables, counters and locks. Here is the door for Python;
redis clients and Prometheus reach the same bytes through `fridge serve`.

Example:
    >>> import fridge
    >>> f = fridge.open()  # doctest: +SKIP
    >>> f.set("greeting", "hello", ex=60)  # doctest: +SKIP
    True
"""

from fridge.counter import Counter
from fridge.errors import FridgeError
from fridge.lock import Lock
from fridge.store import Store, open
from fridge.sync import Barrier, Event, Once, RWLock, Semaphore, once
from fridge.table import Table

__all__ = [
    "Barrier",
    "Counter",
    "Event",
    "FridgeError",
    "Lock",
    "Once",
    "RWLock",
    "Semaphore",
    "Store",
    "Table",
    "once",
    "open",
]
