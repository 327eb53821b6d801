"""The grants and the line of one name: what Lock, Semaphore, RWLock, Barrier and once are made of.

A grant belongs to a token, random bytes that nobody else uses, and dies with the process that asked. Who does not get one
at once stands in line, first come first served across all processes, and sleeps in C (csrc/store/waiting.h) until it is
handed over. Waits come back whenever a signal arrives, and once a second.

For event loops: ``ask(token, queue=True)`` never sleeps; ask again when the key has changed to learn whether the place in
line has become a grant, and ``withdraw(token)`` gives up either.

Leaves out: what users see, and the thread that finishes what could not be finished at once (`fridge.keeper`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from fridge._native import CData, check, error_buffer, ffi, lib, text
from fridge.commands import Key, encode_key
from fridge.errors import ArgumentError, ClosedError, FridgeError, LatchTimeoutError, OutOfMemoryError
from fridge.waiting import Deadline

if TYPE_CHECKING:
    from fridge.holder import Holder
    from fridge.store import Store

PASSING = LatchTimeoutError, OutOfMemoryError
"""What keeps a grant from being ended now, but not for ever: a stopped process, a full segment."""

OWNERS = 256  # holders and waiters of a name together: OWNERS_MAX of csrc/store/owner.h


def new_token() -> bytes:
    """Return 32 bytes that nobody else uses, hexadecimal so that redis-cli shows them well."""
    return os.urandom(16).hex().encode()


# --- numbers -----------------------------------------------------------------------------------------------------------


def is_number(value: object) -> bool:
    """Say whether something is an int or a float; annotations do not keep other things away."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole(value: object, low: int, high: int) -> bool:
    """Say whether something is an int between low and high."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def milliseconds(seconds: float, what: str) -> int:
    """Return seconds as whole milliseconds, at least 1.

    Raises:
        ArgumentError: it is not above 0, or no finite number.
    """
    if not is_number(seconds) or not 0 < seconds < 1e12:
        raise ArgumentError(f"{what} is {seconds!r}: give seconds above 0")
    return max(1, round(seconds * 1000))


# --- the line ----------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What became of a request: granted with a fencing token, or in line with so many ahead, or refused."""

    granted: bool
    queued: bool
    fence: int
    ahead: int


class Line:
    """The grants and the line of one name.

    Args:
        store: the open segment.
        name: the key.
        limit: how many shared grants there may be at a time. All users of a name must agree.
    """

    __slots__ = ("key", "limit", "store")

    def __init__(self, store: Store, name: Key, limit: int = 1) -> None:
        self.store = store
        self.key = encode_key(name)
        self.limit = limit

    @property
    def place(self) -> tuple[str, int, bytes]:
        """What tells this line from all others."""
        return self.store.path, self.store._db, self.key

    def __str__(self) -> str:
        return repr(self.key.decode("utf-8", "replace"))

    # --- calls ---

    def _held(self, function: Any, *args: Any) -> None:
        """Call a flat function while the caller keeps the segment mapped."""
        error = error_buffer()
        store = self.store
        check(function(store._segment.store, store._db, self.key, len(self.key), *args, error), error)

    def call(self, function: Any, *args: Any) -> None:
        """Call a flat function that takes (store, db, name, length, ..., error buffer), and raise its error."""
        self.store._hold()
        try:
            self._held(function, *args)
        finally:
            self.store._release()

    def _request(self, token: bytes, shared: bool, lease_ms: int, queue: bool) -> tuple[CData, CData]:
        pointer = ffi.from_buffer(token)
        request = ffi.new("fridge_lock_request *", (pointer, len(token), lease_ms, self.limit, shared, queue))
        return request, pointer  # the pointer keeps the token's bytes in place

    # --- asking ---

    def ask(self, token: bytes, *, shared: bool = False, lease_ms: int = 0, queue: bool = False) -> Answer:
        """Ask once, without sleeping. Asking again with the same token finds the grant, or the place in line."""
        request, _pointer = self._request(token, shared, lease_ms, queue)
        state = ffi.new("fridge_lock_state *")
        self.call(lib.fridge_lock_acquire, request, 0, state)
        return Answer(state.outcome == lib.FRIDGE_LOCK_GRANTED, state.outcome == lib.FRIDGE_LOCK_QUEUED, state.fence, state.ahead)

    def acquire(self, token: bytes, deadline: Deadline, granted: Callable[[int], None], *, shared: bool = False,
                lease_ms: int = 0) -> bool:  # fmt: skip
        """Wait in line for a grant.

        Args:
            token: who asks.
            deadline: when to give up.
            granted: called with the fencing token. What it raises ends the grant.
            shared: beside other shared ones, up to the limit.
            lease_ms: held at most so long; 0: no end.

        Returns:
            Whether it was granted before the deadline. Whatever is raised instead, a signal handler's exception for one,
            leaves neither a grant nor a place in line behind.
        """
        request, _pointer = self._request(token, shared, lease_ms, True)
        state = ffi.new("fridge_lock_state *")
        self.store._hold()
        try:
            while not self.store.closed:
                self._held(lib.fridge_lock_acquire, request, max(1, deadline.milliseconds), state)
                if state.outcome == lib.FRIDGE_LOCK_GRANTED:
                    granted(state.fence)
                    return True
                if state.outcome == lib.FRIDGE_LOCK_REFUSED and deadline.milliseconds == 0:
                    return False
            raise ClosedError(f"the segment was closed while this thread waited for {self}")
        except BaseException:
            self._withdraw_held(token)
            raise
        finally:
            self.store._release()

    def withdraw(self, token: bytes) -> None:
        """Give up a grant or a place in line, whichever there is: now, or as soon as it can be done."""
        self.store._hold()
        try:
            self._withdraw_held(token)
        finally:
            self.store._release()

    def _withdraw_held(self, token: bytes) -> None:
        try:
            self.give_back_held(token)
        except PASSING:
            from fridge.keeper import keeper

            keeper().give_back(self, token)
        except FridgeError:  # no lock at all: then there is nothing to give up
            pass

    def give_back_held(self, token: bytes) -> None:
        """Give up a grant or a place in line, of a mapped segment. Raises what keeps it from being done now."""
        granted = ffi.new("int *")
        self._held(lib.fridge_lock_leave, token, len(token), granted)
        if granted[0]:
            self._held(lib.fridge_lock_release, token, len(token), granted)

    # --- grants ---

    def release(self, token: bytes) -> bool:
        """End a grant; the next in line has it at once. Return whether there was one."""
        done = ffi.new("int *")
        self.call(lib.fridge_lock_release, token, len(token), done)
        return bool(done[0])

    def let_go(self, token: bytes) -> bool:
        """Release; what cannot be done now, because a stopped process's latch is in the way, is done as soon as it can be.

        Raises:
            LatchTimeoutError: it will be done. Likewise OutOfMemoryError.
        """
        try:
            return self.release(token)
        except PASSING:
            from fridge.keeper import keeper

            keeper().give_back(self, token)
            raise
        except FridgeError:
            raise
        except BaseException:  # a signal handler's, before or after it was done
            self.withdraw(token)
            raise

    def clear(self) -> bool:
        """End all grants, whoever has them. Return whether there was one."""
        done = ffi.new("int *")
        self.call(lib.fridge_lock_release, ffi.NULL, 0, done)
        return bool(done[0])

    def renew(self, token: bytes, ms: int, add: bool = False) -> bool:
        """Let a lease end ms from now, or (add) ms later than it would. Return whether this token has one."""
        done = ffi.new("int *")
        self.call(lib.fridge_lock_lease, token, len(token), ms, add, done)
        return bool(done[0])

    def forget_the_dead(self) -> None:
        """Drop the grants of dead processes, as the next who asks would."""
        granted = ffi.new("int *")
        self.call(lib.fridge_lock_leave, b"-", 1, granted)

    def wait_free(self, deadline: Deadline) -> bool:
        """Sleep until nobody has a grant, without asking for one. Return False at the deadline."""
        waited = ffi.new("int *")
        while True:
            self.call(lib.fridge_lock_wait, deadline.milliseconds, waited)
            if waited[0] != lib.FRIDGE_INTERRUPTED:
                return bool(waited[0] == lib.FRIDGE_WOKEN)

    # --- facts ---

    def lease_ends(self) -> float:
        """Return the time.monotonic() at which the present lease runs out."""
        found, left, limit = ffi.new("size_t *"), ffi.new("uint64_t *"), ffi.new("uint32_t *")
        self.call(lib.fridge_lock_owners, ffi.NULL, 0, found, left, limit)
        return time.monotonic() + float(left[0]) / 1000

    def _owners(self) -> list[CData]:
        found, left, limit = ffi.new("size_t *"), ffi.new("uint64_t *"), ffi.new("uint32_t *")
        room = 8
        while True:
            owners = ffi.new("fridge_owner[]", room)
            self.call(lib.fridge_lock_owners, owners, room, found, left, limit)
            if found[0] <= room:
                return [owners[i] for i in range(found[0])]
            room = OWNERS

    def holds(self, token: bytes) -> bool:
        """Say whether a token has a grant."""
        return any(not owner.waiting and _token(owner) == token for owner in self._owners())

    def owners(self, waiting: bool) -> list[Holder]:
        """Return who has a grant (the dead left out), or who waits, in order."""
        from fridge.holder import Holder, moment

        found = []
        for o in self._owners():
            if bool(o.waiting) == waiting and o.alive:
                since = moment(o.since_wall_ms / 1000) if o.since_wall_ms else None
                found.append(Holder(int(o.pid) or None, text(o.host), text(o.name), since, int(o.fence), True, _token(o)))
        return found


def _token(owner: CData) -> bytes:
    return bytes(ffi.buffer(owner.token, owner.token_n))


# --- what this process has until it lets go ----------------------------------------------------------------------------

_held: dict[tuple[int, bytes], Line] = {}  # by pid and token: keeps the handles open under which they are held
_mine = threading.local()  # of them, those which only this thread can release


def _tokens() -> dict[tuple[str, int, bytes], tuple[int, bytes]]:
    """Return (pid, token) of this thread's grants, by Line.place."""
    try:
        found: dict[tuple[str, int, bytes], tuple[int, bytes]] = _mine.tokens
    except AttributeError:
        found = _mine.tokens = {}
    return found


def remember(line: Line, token: bytes, by_thread: bool) -> None:
    """Note a grant without end; by_thread: no other thread can release it."""
    grant = os.getpid(), token
    _held[grant] = line
    if by_thread:
        _tokens()[line.place] = grant


def forget(line: Line, token: bytes) -> None:
    """Undo remember; nothing happens when there is nothing to undo."""
    grant = os.getpid(), token
    _held.pop(grant, None)
    if _tokens().get(line.place) == grant:
        del _tokens()[line.place]


def waits_for_itself(line: Line) -> bool:
    """Say whether a wait for this line would be a wait for this very thread."""
    pid, token = _tokens().get(line.place, (0, b""))
    if pid == 0:
        return False
    if pid == os.getpid() and line.holds(token):
        return True
    del _tokens()[line.place]  # of the process that forked this one, or cleared by somebody
    _held.pop((pid, token), None)
    return False
