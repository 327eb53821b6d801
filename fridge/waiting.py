"""Sleeping until a key changes: the Python side of csrc/store/waiting.h.

A sleep is one call without the GIL that ends when the key changes, at its time, or when a signal arrives; Python then
handles the signal (Ctrl-C raises here) and the sleep goes on with what is left. Nothing polls.

Leaves out: event loops (`fridge.aio`) and locks (`fridge.lock`).
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from fridge._native import check, error_buffer, ffi, lib
from fridge.errors import ArgumentError, ClosedError

if TYPE_CHECKING:
    from fridge.commands import Commands

FOREVER = (1 << 64) - 1


class Deadline:
    """A point in time until which several waits may go on together.

    Args:
        seconds: from now; None for no end.
        what: the argument's name, for the error.

    Raises:
        ArgumentError: seconds is no number, or negative.
    """

    __slots__ = ("at",)

    def __init__(self, seconds: object, what: str = "timeout") -> None:
        if seconds is None:
            self.at = math.inf
            return
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
            raise ArgumentError(f"{what} is {seconds!r}; it may be a number of seconds from 0 on, or None for no end")
        self.at = time.monotonic() + seconds

    @property
    def seconds(self) -> float:
        """What is left, at least 0."""
        return max(0.0, self.at - time.monotonic())

    @property
    def left(self) -> float | None:
        """What is left, None for no end: as a timeout of another wait."""
        return None if self.at == math.inf else self.seconds

    @property
    def milliseconds(self) -> int:
        """What is left, rounded up: as libfridge takes it."""
        left = self.seconds
        return FOREVER if left == math.inf else min(math.ceil(left * 1000), FOREVER)


def _check_version(version: object) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= FOREVER:
        raise ArgumentError(f"version is {version!r}; it is an int that get_versioned() or version() gave")


def wait_for_change(store: Commands, db: int, name: bytes, version: int, deadline: Deadline) -> int | None:
    """Sleep until a key's version is another one.

    Args:
        store: the open handle.
        db: the key's logical database.
        name: the key.
        version: what `get_versioned` gave.
        deadline: when to give up.

    Returns:
        The new version; None when the time is up.

    Raises:
        ArgumentError: version is no int that a version can be.
    """
    _check_version(version)
    now, waited, error = ffi.new("uint64_t *"), ffi.new("int *"), error_buffer()
    store._hold()
    try:
        while True:
            status = lib.fridge_key_wait(
                store._segment.store, db, name, len(name), version, deadline.milliseconds, now, waited, error
            )
            check(status, error)
            if waited[0] == lib.FRIDGE_WOKEN:
                return int(now[0])
            if waited[0] == lib.FRIDGE_TIMED_OUT:
                return None
            if store.closed:
                raise ClosedError("the segment was closed while this thread waited")
    finally:
        store._release()


def key_version(store: Commands, db: int, name: bytes) -> tuple[int, bool, float | None]:
    """Return a key's version, whether it is there, and the seconds until it expires (None: it does not)."""
    version, left, exists, error = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("int *"), error_buffer()
    store._hold()
    try:
        check(lib.fridge_key_version(store._segment.store, db, name, len(name), version, left, exists, error), error)
    finally:
        store._release()
    return int(version[0]), bool(exists[0]), left[0] / 1000 if left[0] else None
