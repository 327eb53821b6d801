"""Tests of fridge.commands: error lines become exceptions."""

from __future__ import annotations

import pytest

from fridge import errors
from fridge.commands import failure


@pytest.mark.parametrize(
    ("line", "cls"),
    [("WRONGTYPE Operation against a key holding the wrong kind of value", errors.WrongTypeError),
     ("ERR no such key", errors.MissingKeyError),
     ("ERR value is not an integer or out of range", errors.NotAnIntegerError),
     ("ERR invalid expire time in 'set' command", errors.ArgumentError),
     ("ERR decrement would overflow", errors.CounterOverflowError),
     ("OOM command not allowed when used memory > 'maxmemory'.", errors.OutOfMemoryError),
     ("FULL table 'rate' is full: it holds 10 rows", errors.TableFullError),
     ("READONLY You can't write against a read only segment.", errors.ReadOnlyError),
     ("BUSY a live process (slot 3) holds latch 5", errors.LatchTimeoutError),
     ("ERR something nobody foresaw", errors.ArgumentError)],
)  # fmt: skip
def test_error_lines_become_exceptions(line: str, cls: type[errors.FridgeError]) -> None:
    error = failure(line)
    assert type(error) is cls
    assert str(error) == line.partition(" ")[2]
