"""The cffi binding: `ffi`, `lib`, and what turns a status into an exception.

The sole importer of the extension module. Calls through it release the GIL: for what may block or run long. What takes
nanoseconds goes through `fridge._hot`, which links the same libfridge.

Leaves out: any object that users see.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

from fridge import errors
from fridge._native._fridge import ffi, lib

__all__ = ["CData", "check", "error_buffer", "error_class", "ffi", "lib", "text"]

CData: TypeAlias = Any
"""A C object: a pointer, a struct, an array. mypy cannot know its fields."""


def text(pointer: CData) -> str:
    """Return the str behind a `char *` of libfridge ("" for NULL)."""
    if not pointer:
        return ""
    raw: bytes = ffi.string(pointer)
    return raw.decode("utf-8", "replace")


def error_buffer() -> CData:
    """Return a buffer for the particulars of a failure: the `err` of the flat functions."""
    return ffi.new("char[]", lib.FRIDGE_ERROR_BYTES)


@cache
def error_class(status: int) -> type[errors.FridgeError]:
    """Return the class of `fridge.errors` that status.def names for a status.

    Args:
        status: a value of the C enum fr_status.

    Returns:
        The exception class; FridgeError itself for statuses that should never reach Python.
    """
    name = text(lib.fridge_status_exception(status))
    found: Any = getattr(errors, name, errors.FridgeError)
    return found if isinstance(found, type) and issubclass(found, errors.FridgeError) else errors.FridgeError


def check(status: int, err: CData | None = None) -> None:
    """Raise the exception of a status; do nothing when it says that all went well.

    Args:
        status: what a function of libfridge returned.
        err: the buffer that the call filled with particulars, if it took one.

    Raises:
        FridgeError: the subclass that status.def names. Its `status` is the row's name.
    """
    if status == 0:
        return
    particulars = text(err) if err is not None else ""
    error = error_class(status)(particulars or text(lib.fridge_status_message(status)))
    error.status = text(lib.fridge_status_name(status))
    raise error
