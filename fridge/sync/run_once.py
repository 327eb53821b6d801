"""Functions that run once for all processes, at `f.once(name, function)`.

KEYS. `name` is the marker: absent until the function has returned, then what it returned. `name:lock` is the lock under
which it runs. Deleting `name` makes it run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from fridge.commands import Key, encode, encode_key
from fridge.errors import ArgumentError, FridgeError, WaitTimeoutError
from fridge.keys import Text
from fridge.lock import Lock
from fridge.store import Store, default_store
from fridge.waiting import Deadline

DONE = b"done"  # the marker of a function that returned None


class Once:
    """A name under which a function runs once.

    One process runs it while the others wait for it. If it raises, the exception is its caller's and the next in line
    tries; if its process is killed, likewise. Afterwards every call returns at once.

    Args:
        name: the key. `name:lock` belongs to it as well.
        store: where; the default segment when None.

    Example:
        >>> f.once("migrate")(migrate)  # doctest: +SKIP
        b'done'
    """

    def __init__(self, name: Key, *, store: Store | None = None) -> None:
        self._store = default_store() if store is None else store
        self._lock_name = encode_key(name) + b":lock"
        self.name = name

    def __call__(self, function: Callable[[], Any], timeout: float | None = None) -> Text:
        """Run a function, unless it has been run; wait for it while another process does.

        Args:
            function: takes nothing, and returns None, str, bytes, int or float.
            timeout: how many seconds to wait for another process at most; None: for ever.

        Returns:
            The marker, the same in all processes: what the function returned, as bytes (str with decode_responses=True);
            b"done" if it returned None.

        Raises:
            WaitTimeoutError: another process still runs it, and the time is up.
            ArgumentError: the function returned something else. It counts as not run.
            LockError: the function calls itself in this way: it would wait for itself.
        """
        Deadline(timeout)
        marker = self._marker()
        if marker is not None:
            return marker
        lock = Lock(self._lock_name, store=self._store)
        if not lock.acquire(blocking_timeout=timeout):
            raise WaitTimeoutError(f"{lock.holder() or 'another process'} still runs {self._text()} after {timeout} s")
        try:
            marker = self._marker()
            return self._run(function) if marker is None else marker
        finally:
            lock.release()

    def _run(self, function: Callable[[], Any]) -> Text:
        result = function()
        try:
            marker = DONE if result is None else encode(result)
        except ArgumentError:
            raise ArgumentError(f"the function of {self._text()} returned a {type(result).__name__}: let it return None, str, "
                                "bytes, int or float") from None  # fmt: skip
        self._store.set(self.name, marker)
        kept = self._marker()
        return marker if kept is None else kept

    def _marker(self) -> Text | None:
        found: Text | None = self._store.get(self.name)
        return found

    @property
    def done(self) -> bool:
        """Whether it has been run."""
        return self._marker() is not None

    def reset(self) -> bool:
        """Let it run again at the next call. Return whether it had been run."""
        return self._store.delete(self.name) == 1

    def _text(self) -> str:
        return f"once({self.name!r})"

    def __repr__(self) -> str:
        try:
            return f"<fridge.Once {self.name!r}{', done' if self.done else ''}>"
        except FridgeError as error:
            return f"<fridge.Once {self.name!r} ({error})>"


@overload
def once(name: Key, *, store: Store | None = None) -> Once: ...
@overload
def once(name: Key, function: Callable[[], Any], timeout: float | None = None, *, store: Store | None = None) -> Text: ...
def once(name: Key, function: Callable[[], Any] | None = None, timeout: float | None = None, *,
         store: Store | None = None) -> Once | Text:  # fmt: skip
    """Return the Once of a name, or, given a function, what calling that with it returns."""
    found = Once(name, store=store)
    return found if function is None else found(function, timeout)
