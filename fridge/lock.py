"""Locks: exclusion by name that dies with its holder, at `f.lock(name)`.

A lock is the string key of its name and holds its holder's token, so redis-py's Lock on a server of the same segment and
this one exclude each other, and `redis-cli GET name` looks. While the holder's process lives nobody takes it away; when
that is gone (SIGKILL, exec, a container that stops) the next in line has it at once.

Leaves out: how one waits (`fridge.line`), leases that renew themselves (`fridge.keeper`), asyncio.
"""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING

from fridge.commands import Key
from fridge.errors import ArgumentError, LockError, LockNotOwnedError, LockTimeoutError
from fridge.line import Line, forget, milliseconds, new_token, remember, waits_for_itself
from fridge.store import Store, default_store
from fridge.waiting import Deadline

if TYPE_CHECKING:
    from fridge.holder import Holder

CLOCK_S = 0.002  # the engine's clock steps in milliseconds
RENEWALS = 3  # of a lease in its own length: two may fail


class Grant:
    """What a lock object remembers of the grant it has."""

    __slots__ = ("ends", "fence", "pid", "token")

    def __init__(self, token: bytes, fence: int, ends: float | None) -> None:
        self.token = token
        self.fence = fence
        self.pid = os.getpid()
        self.ends = ends  # time.monotonic() at which the lease runs out; None: no lease


class Lock:
    """A lock.

    Surface and defaults are redis-py's. Without a timeout it is held until it is released or its process is gone. A lock
    object may be shared by threads; what each acquires is its own (thread_local=True), so only it can release it. A child
    of fork does not hold what its parent holds. A handle under which a lock is held without end stays open.

    Args:
        name: the key, str or bytes.
        timeout: seconds after which the grant ends by itself, a lease; None: no lease.
        sleep: taken for redis-py's sake and ignored: who waits sleeps until the lock is handed over.
        blocking: whether acquire() waits when it is not told.
        blocking_timeout: how many seconds acquire() waits when it is not told; None: for ever.
        thread_local: False: any thread may release through this object what another one acquired through it.
        raise_on_release_error: False: leaving a `with` block logs a warning when the grant was lost meanwhile.
        auto_extend: renew the lease as long as this process runs. It is lost when the process is stopped for longer.
        store: where; the default segment when None.

    Raises:
        ArgumentError: a timeout is not above 0, or auto_extend has no lease to renew.

    Example:
        >>> with f.lock("jobs") as lock:  # doctest: +SKIP
        ...     write(file, fence=lock.fence)
    """

    def __init__(self, name: Key, timeout: float | None = None, sleep: float = 0.1, blocking: bool = True,
                 blocking_timeout: float | None = None, thread_local: bool = True, raise_on_release_error: bool = True, *,
                 auto_extend: bool = False, store: Store | None = None) -> None:  # fmt: skip
        if auto_extend and timeout is None:
            raise ArgumentError("auto_extend renews a lease, and there is none: give timeout=seconds as well")
        self._line = Line(default_store() if store is None else store, name)
        self._lease_ms = 0 if timeout is None else milliseconds(timeout, "a lock's timeout")
        Deadline(blocking_timeout, "blocking_timeout")
        self.name = name
        self.timeout = timeout
        self.sleep = sleep
        self.blocking = blocking
        self.blocking_timeout = blocking_timeout
        self.thread_local = bool(thread_local)
        self.raise_on_release_error = raise_on_release_error
        self.auto_extend = auto_extend
        self.local: threading.local | SimpleNamespace = threading.local() if thread_local else SimpleNamespace()

    # --- acquire and release ---

    def acquire(self, blocking: bool | None = None, blocking_timeout: float | None = None,
                token: str | bytes | None = None, *, sleep: float | None = None) -> bool:  # fmt: skip
        """Take the lock.

        Args:
            blocking: wait in line when it is held. None: as the lock was made.
            blocking_timeout: how many seconds at most. None: as the lock was made.
            token: 1 to 32 bytes that identify this grant, and that nobody else uses; random when None.
            sleep: ignored.

        Returns:
            True; False when it is held by others, and the time is up.

        Raises:
            LockError: the calling thread holds it: it would wait for itself.
            WrongTypeError: a key of this name holds no string.
            ReadOnlyError: the segment was opened for reading only.

        Example:
            >>> if lock.acquire(blocking=False):  # doctest: +SKIP
            ...     lock.release()
        """
        if blocking_timeout is None:
            blocking_timeout = self.blocking_timeout
        deadline = Deadline(blocking_timeout, "blocking_timeout")
        secret = new_token() if token is None else token.encode() if isinstance(token, str) else bytes(token)
        waits = self.blocking if blocking is None else blocking
        if waits and blocking_timeout != 0:
            self._refuse_to_wait_for_itself()
            return self._line.acquire(secret, deadline, lambda fence: self._keep(secret, fence), lease_ms=self._lease_ms)
        return self._acquire_now(secret)

    def _acquire_now(self, secret: bytes) -> bool:
        try:
            answer = self._line.ask(secret, lease_ms=self._lease_ms)
            if answer.granted:
                self._keep(secret, answer.fence)
        except BaseException:  # a signal handler's, for one
            self._line.withdraw(secret)
            raise
        return answer.granted

    def _refuse_to_wait_for_itself(self) -> None:
        if self.thread_local and (waits_for_itself(self._line) or self.owned()):
            raise LockError(f"this thread holds lock {self._line} and would wait for itself: release it first")

    def _keep(self, secret: bytes, fence: int) -> None:
        grant = Grant(secret, fence, self._line.lease_ends() if self._lease_ms else None)
        self.local.grant = grant
        if self.auto_extend or not self._lease_ms:
            remember(self._line, secret, self.thread_local)
        if self.auto_extend:
            self._start_renewing(grant)

    def release(self) -> None:
        """Let go of the lock; the next in line has it at once.

        Raises:
            LockError: neither this thread nor, with thread_local=False, any other holds it through this object.
            LockNotOwnedError: it was lost meanwhile; the message says how, and who holds it now.
            LatchTimeoutError: a stopped process keeps the segment from being changed there. The lock will be released as
                soon as that goes on or is gone; do not call release again.
        """
        grant = self._grant()
        if grant is None:
            raise LockError(f"cannot release lock {self._line}: this {self._who()} has not acquired it, or has released it")
        self._drop(grant)
        self._check_process(grant, "release")
        if not self._line.let_go(grant.token):
            raise self._lost(grant, "release")

    def unlock(self) -> bool:
        """Clear the lock, whoever holds it. Return whether anybody did.

        The next in line has it at once. The holder learns of it when it extends or releases.
        """
        return self._line.clear()

    def __enter__(self) -> Lock:
        if not self.acquire():
            holder = self.holder()
            held = f"is held by {holder}" if holder else "was held by others"
            waited = f" after {self.blocking_timeout} s" if self.blocking and self.blocking_timeout is not None else ""
            raise LockTimeoutError(f"lock {self._line} {held}{waited}")
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            self.release()
        except LockError as error:
            if self.raise_on_release_error:
                raise
            from fridge.keeper import logger

            logger.warning("lock %s was lost inside its with block: %s", self._line, error)

    # --- leases ---

    def extend(self, additional_time: float, replace_ttl: bool = False) -> bool:
        """Let the lease end later.

        Args:
            additional_time: seconds.
            replace_ttl: count them from now, rather than from when the lease would have ended.

        Returns:
            True.

        Raises:
            LockError: this thread does not hold the lock, or it has no lease.
            LockNotOwnedError: it was lost meanwhile.
        """
        self._renew(milliseconds(additional_time, "additional_time"), not replace_ttl, "extend")
        return True

    def reacquire(self) -> bool:
        """Let the lease begin anew: timeout seconds from now. Raises what extend raises."""
        self._renew(self._lease_ms, False, "reacquire")
        return True

    def _renew(self, ms: int, add: bool, verb: str) -> None:
        grant = self._grant()
        if grant is None:
            raise LockError(f"cannot {verb} lock {self._line}: this {self._who()} has not acquired it, or has released it")
        if grant.ends is None:
            raise LockError(f"cannot {verb} lock {self._line}: it has no lease; make it with timeout=seconds for one")
        self._check_process(grant, verb)
        if not self._line.renew(grant.token, ms, add):
            raise self._lost(grant, verb)
        grant.ends = self._line.lease_ends()

    def _start_renewing(self, grant: Grant) -> None:
        from fridge.keeper import keeper, logger

        line, ms, every = self._line, self._lease_ms, self._lease_ms / 1000 / RENEWALS

        def renew() -> float | None:
            if line.renew(grant.token, ms):
                grant.ends = line.lease_ends()
                return every
            logger.warning("the lease of lock %s ran out before it could be renewed, or the lock was cleared", line)
            return None

        keeper().add(grant.token, every, renew)

    # --- facts ---

    def locked(self) -> bool:
        """Return whether anybody holds the lock."""
        return self.holder() is not None

    def owned(self) -> bool:
        """Return whether the calling thread (thread_local=False: this object) holds the lock, at this moment."""
        grant = self._grant()
        return grant is not None and grant.pid == os.getpid() and self._line.holds(grant.token)

    @property
    def fence(self) -> int | None:
        """The fencing token of the present grant, None without one.

        It rises with every grant of this name: a store that refuses writes with a lower one than it has seen is safe from
        a holder whose lease ran out without its knowing.
        """
        grant = self._grant()
        return None if grant is None or grant.pid != os.getpid() else grant.fence

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until nobody holds the lock, without acquiring it.

        Args:
            timeout: how many seconds at most; None: for ever.

        Returns:
            True; False when it is still held and the time is up.

        Raises:
            LockError: the calling thread holds it: it would wait for itself.
        """
        deadline = Deadline(timeout)
        if timeout != 0:
            self._refuse_to_wait_for_itself()
        return self._line.wait_free(deadline)

    def holder(self) -> Holder | None:
        """Return who holds the lock: process, host, since when, fencing token; None when nobody does."""
        holders = self._line.owners(waiting=False)
        return holders[0] if holders else None

    def waiters(self) -> list[Holder]:
        """Return who waits for the lock, the next first."""
        return self._line.owners(waiting=True)

    # --- the grant of this thread ---

    def _grant(self) -> Grant | None:
        return getattr(self.local, "grant", None)

    def _drop(self, grant: Grant) -> None:
        self.local.grant = None
        forget(self._line, grant.token)
        if self.auto_extend and grant.pid == os.getpid():
            from fridge.keeper import keeper

            keeper().end(grant.token)

    def _who(self) -> str:
        return "thread" if self.thread_local else "object"

    def _check_process(self, grant: Grant, verb: str) -> None:
        if grant.pid != os.getpid():
            raise LockNotOwnedError(f"cannot {verb} lock {self._line}: process {grant.pid} acquired it, and this one, "
                                    f"{os.getpid()}, was forked from it")  # fmt: skip

    def _lost(self, grant: Grant, verb: str) -> LockNotOwnedError:
        over = grant.ends is not None and time.monotonic() >= grant.ends - CLOCK_S
        how = f"its lease of {self.timeout} s ran out" if over else "somebody cleared it"
        holder = self.holder()
        now = f"it is held by {holder} now" if holder else "nobody holds it now"
        return LockNotOwnedError(f"cannot {verb} lock {self._line}: {how}, and {now}")

    def __repr__(self) -> str:
        return f"<fridge.Lock {self.name!r}>"
