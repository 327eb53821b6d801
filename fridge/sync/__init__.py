"""What else processes agree by: semaphores, read-write locks, events, barriers, and functions that run once.

Each is a name in the segment, made of ordinary keys that redis-cli can look at; each module says which. What a process
holds of them is given back when it is gone.
"""

from fridge.sync.barrier import Barrier
from fridge.sync.event import Event
from fridge.sync.run_once import Once, once
from fridge.sync.rwlock import RWLock
from fridge.sync.semaphore import Semaphore

__all__ = ["Barrier", "Event", "Once", "RWLock", "Semaphore", "once"]
