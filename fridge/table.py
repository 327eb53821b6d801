"""Typed tables: a fixed number of rows of typed columns, at `f.table(name, schema, capacity=n)`.

The verbs are C (csrc/python/rows.c and batch.c). A row is also the key `table:key` of every other door. docs/tables.md
shows them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from fridge import _hot
from fridge.errors import FridgeError, SchemaError
from fridge.schema import Schema, pairs, row_class

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow
    from typing_extensions import TypeVar

    from fridge.views import View

    R = TypeVar("R", default=dict[str, Any])
else:
    from typing import TypeVar

    R = TypeVar("R")

Row: TypeAlias = dict[str, Any]
"""Columns by name: int, float, bool, str and bytes, as the schema says."""

PAGE = 256  # rows fetched at once while iterating


def _check_capacity(name: object, capacity: object) -> None:
    """Refuse what is no number of rows; how many there may be is for the engine to say."""
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 0:
        raise SchemaError(f"table {name!r}: the capacity is {capacity!r}; it is a whole number of rows, at least 1")


class Table(_hot.Table[R]):
    """A handle of a table.

    Get one from ``f.table(...)``. Declaring the same schema again attaches to what is there. Each verb is one step: it
    happens whole or, after an error or a crash, not at all, and no reader sees half of it.

    Args:
        segment: the open store.
        name: letters, digits, '_', '.' and '-'.
        schema: column names and types, or a dataclass or TypedDict; None attaches to a table that exists.
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
        >>> rate.update("1.2.3.4", incr={"count": 1}, set={"reset": 99}, if_={"reset": 0})  # doctest: +SKIP
        {'count': 2, 'reset': 99}
    """

    __slots__ = ()

    def __init__(self, segment: _hot.Segment, name: str, schema: Schema | type[R] | None, capacity: int) -> None:
        columns = None if schema is None else pairs(schema)
        _check_capacity(name, capacity)
        super().__init__(segment, name, capacity, columns, row_class(schema))

    def keys(self) -> Iterator[bytes | str]:
        """Iterate over the keys of all rows.

        Every row that is there from start to end is returned at least once; one that comes or goes meanwhile, perhaps.
        Nested and concurrent iterations do not disturb each other.
        """
        cursor = -1
        while cursor:
            cursor, (_, page) = self._page(max(cursor, 0), PAGE)
            yield from page

    def __iter__(self) -> Iterator[bytes | str]:
        return self.keys()

    def items(self) -> Iterator[tuple[bytes | str, R]]:
        """Iterate over (key, row); see keys. Each row is as it was at one instant.

        Example:
            >>> for key, row in rate.items():  # doctest: +SKIP
            ...     print(key, row["count"])
        """
        cursor = -1
        while cursor:
            cursor, page = self.scan(max(cursor, 0), PAGE)
            yield from page

    # --- for analytics ---

    def to_numpy(self, *, snapshot: bool = True, key: str = "key",
                 expiry: str | None = None) -> numpy.ndarray[Any, numpy.dtype[numpy.void]]:  # fmt: skip
        """Return a copy of all rows as a structured array.

        Args:
            snapshot: all rows as of one and the same instant. Without a latch; a table that is written all the time is
                copied, up to 32 MiB of it, while its writers wait. False: each row as of one instant, one after the
                other, while nobody waits.
            key: the name of the field of keys, which comes first.
            expiry: the name of a last field with the Unix time in ms at which a row expires, -1 for never; None: no such
                field.

        Returns:
            An array of a row each: numbers and bools as such, keys, str and bytes as Python objects, as get() gives them.

        Raises:
            BusyError: a large table, or one that may not be written, changed during each of several copies.
            ArgumentError: `key` or `expiry` is also the name of a column.
            ImportError: numpy is not installed.

        Example:
            >>> rate.to_numpy()["count"].sum()  # doctest: +SKIP
            1234
        """
        from fridge import views  # with numpy, when they are wanted

        return views.array(self, snapshot=snapshot, key=key, expiry=expiry)

    def to_pandas(self, *, snapshot: bool = True, key: str = "key", expiry: str | None = None) -> pandas.DataFrame:
        """Return to_numpy() as a data frame whose index is the key.

        Args:
            snapshot: see to_numpy.
            key: the name of the index.
            expiry: see to_numpy.

        Raises:
            ImportError: pandas is not installed.
        """
        from fridge import views  # with numpy, when they are wanted

        return views.frame(self, snapshot=snapshot, key=key, expiry=expiry)

    def to_arrow(self, *, snapshot: bool = True, key: str = "key", expiry: str | None = None) -> pyarrow.Table:
        """Return to_numpy() as an Arrow table of the schema's types.

        Args:
            snapshot: see to_numpy.
            key: the name of the column of keys.
            expiry: see to_numpy.

        Raises:
            ImportError: pyarrow is not installed.
        """
        from fridge import views  # with numpy, when they are wanted

        return views.arrow(self, snapshot=snapshot, key=key, expiry=expiry)

    def view(self) -> View:
        """Return a window on the rows where they lie: no copy, read-only, and moving.

        Returns:
            See fridge.views.View for what may be read there and what may not be believed.

        Raises:
            ImportError: numpy is not installed.

        Example:
            >>> v = rate.view()  # doctest: +SKIP
            >>> v.rows["count"][v.valid()].max()  # doctest: +SKIP
            17
        """
        from fridge import views  # with numpy, when they are wanted

        return views.View(self)

    def __repr__(self) -> str:
        try:
            return f"<fridge.Table {self.name!r} {dict(self.schema)} x {self.capacity}>"
        except FridgeError as error:  # a repr is for debuggers and tracebacks: it says so, and does not raise
            return f"<fridge.Table ({error})>"
