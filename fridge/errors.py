"""The exceptions of fridge.

Each class is named in the fourth column of csrc/status.def, and tests/test_defs.py holds the two lists together. Each
is a FridgeError and also the builtin that a Python programmer would expect, so that ``except KeyError`` and ``except
FridgeError`` both work.

Leaves out: which failure raises which class (status.def), and the texts, which come with the failure.
"""

from __future__ import annotations

import threading


def kind_of(value: object) -> str:
    """Return what a value is, for a message: "an int", "a NoneType"."""
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


class FridgeError(Exception):
    """The base of everything that fridge raises on purpose."""

    status: str = ""
    """Name of the row of status.def, such as "WRONGTYPE"; "" when the failure did not come from the engine."""

    def __str__(self) -> str:
        """Return the message itself; KeyError alone would show its repr."""
        return str(self.args[0]) if self.args else ""


# --- keys and values -----------------------------------------------------------------------------------------------


class WrongTypeError(FridgeError, TypeError):
    """The key holds another kind of value than the operation is for."""


class ArgumentError(FridgeError, ValueError):
    """An argument is not one that the operation takes."""


class NotAnIntegerError(FridgeError, ValueError):
    """The value is not a 64-bit integer."""


class NotAFloatError(FridgeError, ValueError):
    """The value is not a finite number."""


class CounterOverflowError(FridgeError, OverflowError):
    """The result would not fit; nothing was changed."""


class MissingKeyError(FridgeError, KeyError):
    """The operation needs a key that is not there."""


class TooLongError(FridgeError, ValueError):
    """A key or a value is longer than its limit."""


class OutOfMemoryError(FridgeError, MemoryError):
    """The segment, or the shared memory of the host, has no room; nothing was changed."""


# --- tables --------------------------------------------------------------------------------------------------------


class SchemaError(FridgeError, ValueError):
    """The declaration of a table is not possible."""


class SchemaMismatchError(SchemaError):
    """A table of this name exists with another schema or capacity."""


class UnknownTableError(FridgeError, KeyError):
    """No table of this name is declared."""


class UnknownColumnError(FridgeError, KeyError):
    """The table has no column of this name."""


class TableFullError(FridgeError, MemoryError):
    """The table holds as many rows as it was declared for; nothing was changed."""


class ColumnTypeError(FridgeError, TypeError):
    """The value's type is not the column's."""


class ColumnRangeError(FridgeError, OverflowError):
    """The number does not fit the column's type."""


# --- waiting and exclusion -----------------------------------------------------------------------------------------


class LatchTimeoutError(FridgeError, TimeoutError):
    """A live process holds what the write needs for longer than latch-timeout; nothing was changed."""


class BusyError(FridgeError, BlockingIOError):
    """The read met a write again and again; try again."""


class WaitTimeoutError(FridgeError, TimeoutError):
    """What was waited for did not happen in time."""


class LockError(FridgeError, RuntimeError, ValueError):
    """A lock, or one of its kind, was used in a way that cannot work: released unheld, or waited for by its holder."""


class LockNotOwnedError(LockError):
    """The caller does not hold the lock, or not any more: its lease ran out, or somebody cleared it."""


class LockTimeoutError(LockError, WaitTimeoutError):
    """Others held the lock until the time was up, where the call could not just return False."""


class BrokenBarrierError(FridgeError, threading.BrokenBarrierError):
    """The barrier broke: a party died, waited too long, or somebody called abort or reset."""


class NotPublishedError(WaitTimeoutError):
    """Nothing was published under this name in time."""


class NotPublishableError(ArgumentError, TypeError):
    """A value that JSON does not know; the message has the path to it."""


class VarsFormatError(FridgeError, ValueError):
    """The key holds something else than a published snapshot, which is a JSON object."""


# --- the segment ---------------------------------------------------------------------------------------------------


class ReadOnlyError(FridgeError, PermissionError):
    """The segment was opened for reading only."""


class ClosedError(FridgeError, ValueError):
    """The segment has been closed."""


class SegmentLost(FridgeError, OSError):
    """The segment file was truncated or removed while it was mapped."""


class SegmentDamagedError(FridgeError, OSError):
    """The segment holds something that no sequence of operations could have written."""


class NotASegmentError(FridgeError, OSError):
    """The file is not a whole fridge segment."""


class LayoutVersionError(FridgeError, OSError):
    """The segment was made by a fridge with another layout."""


class ForeignOwnerError(FridgeError, PermissionError):
    """The segment file belongs to somebody else, or is open to somebody else."""


class SegmentNotFoundError(FridgeError, FileNotFoundError):
    """There is no segment at this path, and it was not to be created."""


class TooManyProcessesError(FridgeError, OSError):
    """Every process slot of the segment has a live owner."""


class SystemCallError(FridgeError, OSError):
    """The operating system refused something."""


class SegmentInUseError(FridgeError, OSError):
    """Other processes are attached to the segment."""
