"""Column types of typed tables, as `f.table(name, schema)` takes them.

A schema is a dict of column names to types, in order. The engine judges it (csrc/store/schema.c); here stands only what
helps to write one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from fridge import errors

Schema: TypeAlias = Mapping[str, str]
"""Column names and their types: {"count": "int32", "note": "str:64"}."""

NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float64", "bool")
TEXTS = ("str", "bytes")
"""Written with the largest number of bytes: "str:64"."""


def pairs(schema: Schema) -> tuple[tuple[str, str], ...]:
    """Return a schema as pairs, in order.

    Args:
        schema: column names and types.

    Raises:
        SchemaError: it is no mapping.

    Example:
        >>> pairs({"count": "int32", "note": "str:64"})
        (('count', 'int32'), ('note', 'str:64'))
    """
    if not isinstance(schema, Mapping):
        raise errors.SchemaError(
            f"a schema is a dict of column names and types, such as {{'count': 'int32'}}; got a {type(schema).__name__}"
        )
    return tuple(schema.items())
