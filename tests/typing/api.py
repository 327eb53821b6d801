"""The public API as a user's type checker sees it. mypy checks this file; nothing runs it."""

from __future__ import annotations

from fridge import errors


def a_builtin_catches_ours() -> str:
    try:
        raise errors.MissingKeyError("no such key")
    except KeyError as error:
        return str(error)


def every_error_has_a_status(error: errors.FridgeError) -> str:
    return error.status
