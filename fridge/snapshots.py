"""Snapshots of published vars as JSON, and back.

Values: None, bool, int, float, str, bytes, lists, tuples (read as lists), enums (read as their values), and maps with str
keys. bytes travel as ``{"$bytes": "<base64>"}``, which is why that key is reserved.

Leaves out: where they are kept (`fridge.vars`).
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeAlias

from fridge.errors import NotPublishableError, VarsFormatError, kind_of

Vars: TypeAlias = "dict[str, Any]"
BYTES = "$bytes"
DEPTH = 100  # of maps and lists within each other


def _refuse(path: str, why: str) -> NotPublishableError:
    return NotPublishableError(f"{path}: {why}")


def _plain_map(value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
    plain = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise _refuse(path, f"the key {key!r} is {kind_of(key)}; keys must be str")
        if key == BYTES:
            raise _refuse(path, f"the key {BYTES!r} is reserved for bytes; give it another name")
        plain[key] = _plain(item, f"{path}.{key}", depth)
    return plain


def _plain(value: Any, path: str, depth: int = 0) -> Any:
    """Return value as JSON knows it, or raise an error with the path to what JSON does not."""
    if depth > DEPTH:
        raise _refuse(path[:60] + "...", f"more than {DEPTH} levels deep, or part of itself")
    if isinstance(value, Enum):
        return _plain(value.value, path, depth + 1)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if value - value != 0:
            raise _refuse(path, f"{value} is no number that JSON has; publish None or a string instead")
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {BYTES: b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _plain_map(value, path, depth + 1)
    raise _refuse(path, f"{kind_of(value)} cannot be published: use None, bool, int, float, str, bytes, an enum, "
                        "a list or a map")  # fmt: skip


def encode(scope: str, values: Mapping[str, Any]) -> bytes:
    """Return a snapshot as JSON.

    Raises:
        NotPublishableError: a value cannot be published; the message has its path, such as ``flags.limits[2]``.
    """
    if not isinstance(values, Mapping):
        raise _refuse(scope, f"a snapshot is a map, not a {type(values).__name__}")
    try:
        return json.dumps(_plain(values, scope), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise _refuse(scope, f"a string is not valid Unicode: {error}") from None


def _with_bytes(pairs: dict[str, Any]) -> Any:
    if len(pairs) == 1 and isinstance(pairs.get(BYTES), str):
        return b64decode(pairs[BYTES], validate=True)
    return pairs


def decode(scope: str, data: bytes) -> Vars:
    """Return a snapshot from JSON.

    Raises:
        VarsFormatError: somebody set the key to something else than a JSON object.
    """
    try:
        values = json.loads(data, object_hook=_with_bytes if b'"$bytes"' in data else None)
    except ValueError as error:
        raise VarsFormatError(f"{scope!r} holds no JSON: {error}") from None
    except RecursionError:
        raise VarsFormatError(f"{scope!r} holds JSON that is nested too deep") from None
    if not isinstance(values, dict):
        raise VarsFormatError(f"{scope!r} holds JSON, but no object: {data[:40]!r}")
    return values
