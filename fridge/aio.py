"""Waiting in an event loop: one thread and one eventfd for all tasks of a process that wait on a segment.

The thread sleeps on the process's doorbell, a futex in the segment. A task that waits marks its key (csrc/shm/wait.h);
whoever changes a marked key rings. The thread then asks which of the marked keys were rung for, a load each, and wakes the
loops of exactly those tasks through the loop's eventfd. Tasks whose keys did not change are not woken, and cost nothing.

The thread is a daemon, started at the first wait of an open handle, and ends when the handle is closed, or when the segment
fails it: the tasks then look for themselves, and the next wait starts another. A child of fork has none and starts its own.

Leaves out: what is waited for: keys here and vars in `fridge.vars`; nothing here imports asyncio before a loop runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from fridge._native import check, error_buffer, ffi, lib
from fridge.errors import ClosedError, FridgeError
from fridge.waiting import Deadline, key_version

if TYPE_CHECKING:
    import asyncio

    from fridge.commands import Commands

SLEEP_MS = 1000  # how long the thread sleeps before it looks whether its handle is still open
POOR_MAN_S = 0.01  # between looks, for handles that cannot mark: mode "r"


class Wakeups:
    """The futures of one loop that are to be resolved, and the eventfd that tells the loop so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._ready: list[asyncio.Future[None]] = []
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        loop.add_reader(self._fd, self._resolve)

    def wake(self, futures: list[asyncio.Future[None]]) -> None:
        """From the thread: have these futures resolved."""
        self._ready += futures
        os.eventfd_write(self._fd, 1)

    def _resolve(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        ready, self._ready = self._ready, []
        for future in ready:
            if not future.done():
                future.set_result(None)

    def end(self) -> None:
        """Give the eventfd back, in the loop's own thread if the loop still runs."""
        try:
            self.loop.call_soon_threadsafe(self._close)
        except RuntimeError:  # the loop is closed, and has forgotten its readers
            os.close(self._fd)

    def _close(self) -> None:
        self._resolve()  # what was written just before: a reader that is removed is not called any more
        self.loop.remove_reader(self._fd)
        os.close(self._fd)


class Bell:
    """What waits on one handle: keys with the futures of tasks, and the thread."""

    def __init__(self, store: Commands) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._hashes, self._counts = array("Q"), array("I")  # of the marked keys: what the engine is asked about
        self._futures: list[list[asyncio.Future[None]]] = []  # likewise
        self._places: dict[int, int] = {}  # key hash -> place in these three
        self._loops: dict[asyncio.AbstractEventLoop, Wakeups] = {}
        self._seen, self._error = ffi.new("uint32_t *"), error_buffer()
        self._ending = False
        self.rings = 0  # how often the thread was woken
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread if it does not run."""
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._see()
                    self._thread = threading.Thread(target=self._run, name="fridge-bell", daemon=True)
                    self._thread.start()

    def _see(self) -> None:
        check(lib.fridge_doorbell_seen(self._store._segment.store, self._seen, self._error), self._error)

    # --- tasks ---

    def add(self, key: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Mark a key. The future is resolved when it is rung for; look at the key first, it may just have changed."""
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if loop not in self._loops:
                self._end_closed_loops()
                self._loops[loop] = Wakeups(loop)
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = len(self._hashes)
                self._hashes.append(key)
                self._counts.append(lib.fridge_doorbell_mark(self._store._segment.store, key))
                self._futures.append([])
            self._futures[place].append(future)
        return future

    def remove(self, key: int, future: asyncio.Future[None]) -> None:
        """The task waits no longer: it was woken or cancelled, or its time is up."""
        with self._lock:
            place = self._places.get(key)
            if place is not None and future in self._futures[place]:
                self._futures[place].remove(future)
                if not self._futures[place]:
                    self._drop(place)

    def _end_closed_loops(self) -> None:
        for loop in [loop for loop in self._loops if loop.is_closed()]:
            self._loops.pop(loop).end()

    def _drop(self, place: int) -> None:
        """Take a key out; the last one moves into its place."""
        del self._places[self._hashes[place]]
        last = self._hashes.pop(), self._counts.pop(), self._futures.pop()
        if place < len(self._hashes):
            self._hashes[place], self._counts[place], self._futures[place] = last
            self._places[last[0]] = place

    def stop(self) -> None:
        """The handle is being closed: get the thread out of its sleep."""
        self._ending = True
        with contextlib.suppress(ClosedError):  # another thread closes it, too
            self._store._hold()
            try:
                lib.fridge_doorbell_ring(self._store._segment.store)
            finally:
                self._store._release()

    # --- the thread ---

    def _rung(self) -> list[int]:
        """The places of the keys that were rung for."""
        n = len(self._hashes)
        if n == 0:
            return []
        out = ffi.new("uint32_t[]", n)
        rung = lib.fridge_doorbell_rung(self._store._segment.store, ffi.from_buffer("uint64_t[]", self._hashes),
                                        ffi.from_buffer("uint32_t[]", self._counts), n, out)  # fmt: skip
        return [out[i] for i in range(rung)]

    def _hand_out(self) -> None:
        """Wake the tasks that were rung for; who goes on waiting marks its key again."""
        woken: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        with self._lock:
            for place in reversed(self._rung()):
                for future in self._futures[place]:
                    woken.setdefault(future.get_loop(), []).append(future)
                self._drop(place)
            self._wake(woken)

    def _wake(self, woken: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]) -> None:
        """Each future through its own loop: no other thread may resolve it."""
        for loop, futures in woken.items():
            self._loops[loop].wake(futures)

    def _give_up(self) -> None:
        """Have all tasks look for themselves. What they wait on next is marked anew."""
        woken: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        with self._lock:
            for futures in self._futures:
                for future in futures:
                    woken.setdefault(future.get_loop(), []).append(future)
            self._wake(woken)
            for wakeups in self._loops.values():
                wakeups.end()
            self._loops.clear()
            self._places.clear()
            self._futures.clear()
            del self._hashes[:], self._counts[:]

    def _run(self) -> None:
        store = self._store
        try:
            while not self._ending:
                store._hold()
                try:
                    self._see()
                    self._hand_out()
                    if lib.fridge_doorbell_wait(store._segment.store, self._seen[0], SLEEP_MS) == lib.FRIDGE_WOKEN:
                        self.rings += 1
                finally:
                    store._release()
        except FridgeError:  # the segment is lost or the handle closed: each task will be told when it looks
            pass
        finally:
            self._give_up()


def bell_of(store: Commands) -> Bell:
    """Return the handle's bell of this process, made at the first call. A child of fork finds its parent's, and makes its own."""
    pid = os.getpid()
    bell = store._bells.get(pid)
    if bell is None:
        bell = store._bells.setdefault(pid, Bell(store))  # one of two threads wins
    bell.start()
    return bell


def _hash(store: Commands, db: int, name: bytes) -> int:
    out, error = ffi.new("uint64_t *"), error_buffer()
    check(lib.fridge_key_hash(store._segment.store, db, name, len(name), out, error), error)
    return int(out[0])


async def sleep_on_key(store: Commands, db: int, name: bytes, seconds: float | None, looked: Callable[[], bool]) -> None:
    """Wait until a key is rung for, at most so long. looked() is asked after the key is marked: True: no need to wait."""
    import asyncio

    loop = asyncio.get_running_loop()
    store._hold()  # another thread may close the handle
    try:
        bell, key = bell_of(store), _hash(store, db, name)
        future = bell.add(key, loop)
    finally:
        store._release()
    try:
        if not looked():
            await asyncio.wait_for(future, seconds)
    except asyncio.TimeoutError:  # not the builtin before Python 3.11
        pass
    finally:
        bell.remove(key, future)


async def wait_for_change(store: Commands, db: int, name: bytes, version: int, timeout: float | None = None) -> int | None:
    """Wait until a key's version is another one; the twin of `fridge.waiting.wait_for_change`.

    Args:
        store: the open handle.
        db: the key's logical database.
        name: the key.
        version: what `get_versioned` gave.
        timeout: seconds; None for no end.

    Returns:
        The new version; None when the time is up.
    """
    import asyncio

    deadline = Deadline(timeout)
    while True:
        now, _, expires = key_version(store, db, name)
        if now != version:
            return now
        left = deadline.seconds
        if left <= 0:
            return None
        limits = [seconds for seconds in (left, expires) if seconds is not None and seconds != float("inf")]
        if store.readonly:
            await asyncio.sleep(min([*limits, POOR_MAN_S]))
            continue
        await sleep_on_key(store, db, name, min(limits) if limits else None,
                        lambda: key_version(store, db, name)[0] != version)  # fmt: skip
