"""Typed tables: a fixed number of rows of typed columns, at `f.table(name, schema, capacity=n)`.

The verbs are C (csrc/python/rows.c). A row is also the key `table:key` of every other door.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fridge import _hot
from fridge.schema import Schema, pairs

Row = dict[str, Any]
"""Columns by name: int, float, bool, str and bytes, as the schema says."""

PAGE = 256  # keys fetched at once while iterating


class Table(_hot.Table):
    """A handle of a table.

    Get one from ``f.table(...)``. Declaring the same schema again attaches to what is there.

    Args:
        segment: the open store.
        name: letters, digits, '_', '.' and '-'.
        schema: column names and types; None attaches to a table that exists.
        capacity: how many rows fit. Exactly.

    Raises:
        SchemaError: the schema is not possible, or ordinary keys already begin with `name:`.
        SchemaMismatchError: the table exists with another schema or capacity.
        UnknownTableError: no schema was given and there is no such table.
        OutOfMemoryError: the rows do not fit the segment.

    Example:
        >>> rate = f.table("rate_limits", {"count": "int32", "reset": "int64"}, capacity=10_000)  # doctest: +SKIP
        >>> rate.incr("1.2.3.4", "count")  # doctest: +SKIP
        1
    """

    __slots__ = ()

    def __init__(self, segment: _hot.Segment, name: str, schema: Schema | None, capacity: int) -> None:
        super().__init__(segment, name, capacity, None if schema is None else pairs(schema))

    def keys(self) -> Iterator[bytes | str]:
        """Iterate over the keys of all rows.

        Every row that is there from start to end is returned at least once; one that comes or goes meanwhile, perhaps.
        """
        cursor = -1
        while cursor:
            cursor, page = self._page(max(cursor, 0), PAGE)
            yield from page

    def __iter__(self) -> Iterator[bytes | str]:
        return self.keys()

    def items(self) -> Iterator[tuple[bytes | str, Row]]:
        """Iterate over (key, row); see keys. Each row is as it was at one instant."""
        for key in self.keys():
            row = self.get(key)
            if row is not None:
                yield key, row

    def __repr__(self) -> str:
        return f"<fridge.Table {self.name!r} {dict(self.schema)} x {self.capacity}>"
