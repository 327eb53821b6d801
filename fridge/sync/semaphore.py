"""Semaphores: at most n at a time, at `f.semaphore(name, n)`.

KEYS. `name` is a lock with several holders (csrc/store/owner.h): GET shows the token of the one that came first.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING

from fridge.commands import Key
from fridge.errors import ArgumentError, LockError, LockNotOwnedError
from fridge.line import OWNERS, Line, forget, is_whole, new_token, remember
from fridge.store import Store, default_store
from fridge.waiting import Deadline

if TYPE_CHECKING:
    from fridge.holder import Holder


class Semaphore:
    """A number of permits. A process that is gone holds none.

    It is bounded: only who acquired a permit through this object can release one. First come, first served.

    Args:
        name: the key.
        permits: how many, 1 to 256. All who use the name must agree while it is in use.
        store: where; the default segment when None.

    Raises:
        ArgumentError: the number of permits is impossible.

    Example:
        >>> with f.semaphore("downloads", 4):  # doctest: +SKIP
        ...     download()
    """

    def __init__(self, name: Key, permits: int = 1, *, store: Store | None = None) -> None:
        if not is_whole(permits, 1, OWNERS):
            raise ArgumentError(f"a semaphore of {permits!r} permits is impossible: give 1 to {OWNERS}")
        self._line = Line(default_store() if store is None else store, name, permits)
        self._grants: list[tuple[int, bytes]] = []
        self.name = name
        self.permits = permits

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        """Take a permit.

        Args:
            blocking: wait in line when there is none.
            timeout: how many seconds at most; None: for ever.

        Returns:
            True; False when there is none, and the time is up.

        Raises:
            ArgumentError: others use this name with another number of permits.
        """
        token, pid = new_token(), os.getpid()
        deadline = Deadline(timeout)
        if blocking and timeout != 0:
            return self._line.acquire(token, deadline, lambda _: self._keep(pid, token), shared=True)
        try:
            granted = self._line.ask(token, shared=True).granted
            if granted:
                self._keep(pid, token)
        except BaseException:
            self._line.withdraw(token)
            raise
        return granted

    def _keep(self, pid: int, token: bytes) -> None:
        self._grants.append((pid, token))
        remember(self._line, token, False)

    def release(self) -> None:
        """Give a permit back; the next in line has it at once.

        Raises:
            LockError: none was acquired through this object in this process.
            LockNotOwnedError: it was taken away meanwhile, by DEL or FLUSHDB.
        """
        token = self._take()
        forget(self._line, token)
        if not self._line.let_go(token):
            raise LockNotOwnedError(f"cannot release semaphore {self._line}: somebody cleared it")

    def _take(self) -> bytes:
        while self._grants:
            try:
                pid, token = self._grants.pop()
            except IndexError:  # another thread was quicker
                break
            if pid == os.getpid():
                return token
        raise LockError(f"cannot release semaphore {self._line}: this process acquired none through this object that it "
                        "has not released")  # fmt: skip

    @property
    def value(self) -> int:
        """How many permits are free."""
        return max(0, self.permits - len(self.holders()))

    def holders(self) -> list[Holder]:
        """Return who holds permits, the first first."""
        return self._line.owners(waiting=False)

    def waiters(self) -> list[Holder]:
        """Return who waits for one, the next first."""
        return self._line.owners(waiting=True)

    def __enter__(self) -> Semaphore:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<fridge.Semaphore {self.name!r} of {self.permits}>"
