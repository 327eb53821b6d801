"""Read-write locks: many readers or one writer, at `f.rwlock(name)`.

KEYS. `name` is a lock (csrc/store/owner.h) that is held by one writer or shared by readers: GET shows the token of the
holder that came first.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING

from fridge.commands import Key
from fridge.errors import LockError, LockNotOwnedError, LockTimeoutError
from fridge.line import OWNERS, Line, forget, new_token, remember, waits_for_itself
from fridge.store import Store, default_store
from fridge.waiting import Deadline

if TYPE_CHECKING:
    from fridge.holder import Holder

READERS = OWNERS // 2  # at a time: as many places are left for those who wait


class RWLock:
    """A read-write lock. Each thread holds it once, for reading or for writing; a process that is gone does not hold it.

    First come, first served: a reader that comes after a waiting writer waits behind it, so neither side starves. At most
    128 readers hold it at a time.

    Args:
        name: the key.
        store: where; the default segment when None.

    Example:
        >>> rw = f.rwlock("config")  # doctest: +SKIP
        >>> with rw.read():  # doctest: +SKIP
        ...     look()
        >>> with rw.write():  # doctest: +SKIP
        ...     change()
    """

    def __init__(self, name: Key, *, store: Store | None = None) -> None:
        self._line = Line(default_store() if store is None else store, name, READERS)
        self._local = threading.local()
        self.name = name

    def acquire_read(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take it for reading.

        Args:
            blocking: wait in line while a writer holds it, or waits.
            timeout: how many seconds at most; None: for ever.

        Returns:
            True; False when the time is up.

        Raises:
            LockError: this thread holds it already: behind a writer that came in between it would wait for itself.
        """
        return self._acquire(True, blocking, timeout)

    def acquire_write(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take it for writing; otherwise like acquire_read."""
        return self._acquire(False, blocking, timeout)

    def _acquire(self, shared: bool, blocking: bool, timeout: float | None) -> bool:
        deadline = Deadline(timeout)
        if self._holds() or waits_for_itself(self._line):
            raise LockError(f"this thread holds read-write lock {self._line} and may wait for itself: release it first")
        token = new_token()
        if blocking and timeout != 0:
            return self._line.acquire(token, deadline, lambda _: self._keep(token), shared=shared)
        try:
            granted = self._line.ask(token, shared=shared).granted
            if granted:
                self._keep(token)
        except BaseException:
            self._line.withdraw(token)
            raise
        return granted

    def _keep(self, token: bytes) -> None:
        self._local.grant = (os.getpid(), token)
        remember(self._line, token, True)

    def _holds(self) -> bool:
        pid, _ = getattr(self._local, "grant", (0, b""))
        return bool(pid == os.getpid())

    def release(self) -> None:
        """Let go of what this thread holds.

        Raises:
            LockError: this thread holds nothing of it.
            LockNotOwnedError: it was taken away meanwhile, by DEL or FLUSHDB.
        """
        if not self._holds():
            raise LockError(f"cannot release read-write lock {self._line}: this thread has not acquired it, or has released it")
        _, token = self._local.grant
        self._local.grant = (0, b"")
        forget(self._line, token)
        if not self._line.let_go(token):
            raise LockNotOwnedError(f"cannot release read-write lock {self._line}: somebody cleared it")

    def read(self, timeout: float | None = None) -> Side:
        """Return a context manager that holds it for reading; LockTimeoutError after timeout seconds."""
        return Side(self, True, timeout)

    def write(self, timeout: float | None = None) -> Side:
        """Return a context manager that holds it for writing; LockTimeoutError after timeout seconds."""
        return Side(self, False, timeout)

    def holders(self) -> list[Holder]:
        """Return who holds it: readers, or one writer."""
        return self._line.owners(waiting=False)

    def waiters(self) -> list[Holder]:
        """Return who waits for it, the next first."""
        return self._line.owners(waiting=True)

    def __repr__(self) -> str:
        return f"<fridge.RWLock {self.name!r}>"


class Side:
    """A read-write lock, to be held for reading or for writing in a `with` block."""

    def __init__(self, lock: RWLock, shared: bool, timeout: float | None) -> None:
        Deadline(timeout)
        self._lock = lock
        self._shared = shared
        self._timeout = timeout

    def __enter__(self) -> RWLock:
        if not self._lock._acquire(self._shared, True, self._timeout):
            held = ", ".join(map(str, self._lock.holders())) or "nobody any more"
            raise LockTimeoutError(f"read-write lock {self._lock._line} is held after {self._timeout} s, by {held}")
        return self._lock

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()
