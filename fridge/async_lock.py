"""Locks for event loops, at `f.async_lock(name)`: the lock of `fridge.lock` whose waits do not block the loop.

The same key, the same line: threads, tasks, other processes and redis-py exclude each other. A task that waits costs nothing
until the lock is handed on; the death of a holder's process, for which nobody can ring, is looked for by the first in line,
every 20 ms, by each of the others half as often as by who stands before it, and less often when very many tasks of this
process wait for locks.

Leaves out: what a grant is (`fridge.lock`), the thread that wakes tasks (`fridge.aio`).
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from fridge import aio
from fridge.commands import Key
from fridge.errors import LockError, LockTimeoutError
from fridge.line import Answer, new_token
from fridge.lock import Lock
from fridge.waiting import Deadline

if TYPE_CHECKING:
    from fridge.holder import Holder
    from fridge.store import Store

HEAD_S = 0.02  # how often the first in line looks whether the holder's process lives
LINE_S = 1.0  # how often at least the others do: half as often as who stands before them
EACH_S = 0.0004  # for each task of this process that waits: together they look at most 2,500 times a second, 1 % of a core


class AsyncLock:
    """A lock for tasks. A grant belongs to the object, so tasks that exclude each other use one object each.

    Args:
        name: the key, str or bytes.
        timeout: seconds after which the grant ends by itself; None: no lease.
        blocking: whether acquire() waits when it is not told.
        blocking_timeout: how many seconds acquire() waits when it is not told; None: for ever.
        auto_extend: renew the lease as long as this process runs.
        store: where; the default segment when None.

    Raises:
        ArgumentError: a timeout is not above 0, or auto_extend has no lease to renew.

    Example:
        >>> async with f.async_lock("jobs") as lock:  # doctest: +SKIP
        ...     await write(file, fence=lock.fence)
    """

    waiting = 0  # tasks of this process

    def __init__(self, name: Key, timeout: float | None = None, blocking: bool = True, blocking_timeout: float | None = None, *,
                 auto_extend: bool = False, store: Store | None = None) -> None:  # fmt: skip
        self._lock = Lock(name, timeout, blocking=blocking, blocking_timeout=blocking_timeout, thread_local=False,
                          auto_extend=auto_extend, store=store)  # fmt: skip
        self.name = name

    # --- acquire and release ---

    async def acquire(self, blocking: bool | None = None, blocking_timeout: float | None = None) -> bool:
        """Take the lock.

        Args:
            blocking: wait in line when it is held. None: as the lock was made.
            blocking_timeout: how many seconds at most. None: as the lock was made.

        Returns:
            True; False when it is held by others, and the time is up.

        Raises:
            LockError: this object holds it: it would wait for itself.
            WrongTypeError: a key of this name holds no string.
        """
        lock = self._lock
        waits = lock.blocking if blocking is None else blocking
        seconds = lock.blocking_timeout if blocking_timeout is None else blocking_timeout
        deadline = Deadline(seconds, "blocking_timeout")
        if waits and seconds != 0:
            if lock.owned():
                raise LockError(f"this lock object holds {lock._line} and would wait for itself: release it first")
            return await self._wait(new_token(), deadline)
        return lock.acquire(blocking=False)

    async def _wait(self, token: bytes, deadline: Deadline) -> bool:
        line = self._lock._line
        AsyncLock.waiting += 1
        try:
            while True:
                answer = line.ask(token, lease_ms=self._lock._lease_ms, queue=True)
                if answer.granted:
                    self._lock._keep(token, answer.fence)
                    return True
                if deadline.seconds <= 0:
                    line.withdraw(token)
                    return False
                await self._doze(token, answer, deadline)
        except BaseException:  # cancelled, for one
            line.withdraw(token)
            raise
        finally:
            AsyncLock.waiting -= 1

    async def _doze(self, token: bytes, answer: Answer, deadline: Deadline) -> None:
        line, lease_ms = self._lock._line, self._lock._lease_ms
        ahead = answer.ahead if answer.queued else 0
        look = max(min(HEAD_S * 2 ** min(ahead, 10), LINE_S), EACH_S * AsyncLock.waiting)

        def is_over() -> bool:
            now = line.ask(token, lease_ms=lease_ms, queue=True)
            return now.granted or now.ahead != answer.ahead

        await aio.sleep_on_key(line.store, line.store._db, line.key, min(deadline.seconds, look), is_over)

    async def release(self) -> None:
        """Let go of the lock; the next in line has it at once. Raises what `Lock.release` raises."""
        self._lock.release()

    async def unlock(self) -> bool:
        """Clear the lock, whoever holds it. Return whether anybody did."""
        return self._lock.unlock()

    async def __aenter__(self) -> AsyncLock:
        if not await self.acquire():
            raise LockTimeoutError(f"lock {self._lock._line} was held by others after {self._lock.blocking_timeout} s")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None,
                        traceback: TracebackType | None) -> None:  # fmt: skip
        await self.release()

    # --- leases and facts ---

    async def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Let the lease end later; see `Lock.extend`."""
        return self._lock.extend(additional_time, replace_ttl)

    async def reacquire(self) -> bool:
        """Let the lease begin anew; see `Lock.reacquire`."""
        return self._lock.reacquire()

    async def locked(self) -> bool:
        """Return whether anybody holds the lock."""
        return self._lock.locked()

    async def owned(self) -> bool:
        """Return whether this object holds the lock, at this moment."""
        return self._lock.owned()

    @property
    def fence(self) -> int | None:
        """The fencing token of the present grant; see `Lock.fence`."""
        return self._lock.fence

    def holder(self) -> Holder | None:
        """Return who holds the lock; see `Lock.holder`."""
        return self._lock.holder()

    def __repr__(self) -> str:
        return f"<fridge.AsyncLock {self.name!r}>"
