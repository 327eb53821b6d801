"""Shared state for the processes of one host.

One memory-mapped file, the segment, holds keys, hashes, typed tables and counters. Here is the door for Python; redis
clients and Prometheus reach the same bytes through `fridge serve`.

Example:
    >>> import fridge
    >>> f = fridge.open()  # doctest: +SKIP
    >>> f.set("greeting", "hello", ex=60)  # doctest: +SKIP
    True
"""

from fridge.counter import Counter, Counters
from fridge.errors import FridgeError
from fridge.schema import Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64
from fridge.sharded import ShardedCounter
from fridge.store import Store, open
from fridge.table import Table

__all__ = [
    "Counter",
    "Counters",
    "FridgeError",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "ShardedCounter",
    "Store",
    "Table",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "open",
]
