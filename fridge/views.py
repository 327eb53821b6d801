"""Tables for analytics: copies as numpy arrays, pandas frames and Arrow tables, and a window without a copy.

numpy, pandas and pyarrow are imported when they are asked for. What lies where in a row image is csrc/store/table.h's
business; the offsets of the columns come from the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fridge.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import pyarrow

    from fridge import _hot

    Array = np.ndarray[Any, np.dtype[np.void]]

PAGE = 1024  # rows fetched at once when each is copied for itself
KEY_INLINE = 40  # bytes of a key that an image holds

_FORMATS = {"int8": "i1", "int16": "<i2", "int32": "<i4", "int64": "<i8", "uint8": "u1", "uint16": "<u2", "uint32": "<u4",
            "uint64": "<u8", "float64": "<f8", "bool": "?"}  # fmt: skip
_HEAD = {":version": ("<u8", 0), ":meta": ("<u8", 8), ":expiry": ("<u8", 16), ":key": (f"S{KEY_INLINE}", 24)}
"""Fields of an image before its columns. No column's name begins with a colon."""


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"this needs {name}: pip install 'fridge-sidecar[{name}]'") from None


def image_fields(table: _hot.Table[Any]) -> dict[str, tuple[str, int]]:
    """Return format and offset of every field of a row image.

    Args:
        table: any table. A text column has two fields: its bytes, and as `name:n` how many of them count.
    """
    fields = dict(_HEAD)
    for name, kind, offset, size in table._place()[4]:
        if kind in _FORMATS:
            fields[name] = (_FORMATS[kind], offset)
        else:
            fields[name + ":n"] = ("<u2", offset)
            fields[name] = (f"S{size}", offset + 2)
    return fields


def _image_dtype(np: Any, table: _hot.Table[Any]) -> Any:
    fields = image_fields(table)
    formats, offsets = zip(*fields.values(), strict=True)
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": table._place()[2]})


# --- copies --------------------------------------------------------------------------------------------------------


def _images(table: _hot.Table[Any], snapshot: bool) -> tuple[bytes, list[Any]]:
    if snapshot:
        return table._copy()
    found: dict[Any, bytes] = {}
    cursor, stride = -1, table._place()[2]
    while cursor:
        cursor, (images, keys) = table._page(max(cursor, 0), PAGE)
        for i, key in enumerate(keys):  # a row may be given twice while the index grows: the later one stays
            found[key] = images[i * stride : (i + 1) * stride]
    return b"".join(found.values()), list(found)


def _texts(images: bytes, stride: int, offset: int, lengths: list[int], decode: bool) -> list[Any]:
    starts = range(offset + 2, len(images) + offset + 2, stride)
    texts = [images[at : at + n] for at, n in zip(starts, lengths, strict=True)]
    return [text.decode() for text in texts] if decode else texts


def _check_names(table: _hot.Table[Any], key: str, expiry: str | None) -> None:
    for what, name in (("key", key), ("expiry", expiry)):
        if name in table.schema:
            raise ArgumentError(f"table '{table.name}' has a column '{name}': give another name, {what}='...', to the {what} field")
    if key == expiry:
        raise ArgumentError(f"key and expiry are both called '{key}'")


def array(table: _hot.Table[Any], *, snapshot: bool, key: str, expiry: str | None) -> Array:
    """Return a copy of all rows; Table.to_numpy says what is in it.

    Args:
        table: what to copy.
        snapshot: all rows as of one instant, or each as of its own.
        key: name of the field of keys.
        expiry: name of the field of expiry times, or None.
    """
    np = _package("numpy")
    _check_names(table, key, expiry)
    images, keys = _images(table, snapshot)
    _, _, stride, epoch, layout = table._place()
    raw = np.frombuffer(images, _image_dtype(np, table))
    fields = [(key, "O")] + [(name, _FORMATS.get(kind, "O")) for name, kind, _, _ in layout]
    out: Array = np.empty(len(keys), fields + ([(expiry, "<i8")] if expiry is not None else []))
    out[key] = keys
    for name, kind, offset, _ in layout:
        is_text = kind not in _FORMATS
        out[name] = _texts(images, stride, offset, raw[name + ":n"].tolist(), kind.startswith("str")) if is_text else raw[name]
    if expiry is not None:
        out[expiry] = np.where(raw[":expiry"] == 0, -1, raw[":expiry"].astype("<i8") + epoch)
    return out


def frame(table: _hot.Table[Any], *, snapshot: bool, key: str, expiry: str | None) -> pandas.DataFrame:
    """Return array() as a data frame with the keys as its index.

    Args:
        table: what to copy.
        snapshot: see array.
        key: name of the index.
        expiry: see array.
    """
    pandas = _package("pandas")
    rows = array(table, snapshot=snapshot, key=key, expiry=expiry)
    columns = {name: rows[name] for name in rows.dtype.names or () if name != key}
    return pandas.DataFrame(columns, index=pandas.Index(rows[key], name=key, dtype=object))


def arrow(table: _hot.Table[Any], *, snapshot: bool, key: str, expiry: str | None) -> pyarrow.Table:
    """Return array() as an Arrow table.

    Args:
        table: what to copy.
        snapshot: see array.
        key: name of the column of keys.
        expiry: see array.
    """
    pa = _package("pyarrow")
    np = _package("numpy")
    rows = array(table, snapshot=snapshot, key=key, expiry=expiry)
    kinds = {name: kind.partition(":")[0] for name, kind, _, _ in table._place()[4]}
    types = {"str": pa.string(), "bytes": pa.binary()}
    decoded = getattr(table._segment, "_decode", False)
    columns = {key: pa.array(rows[key].tolist(), pa.string() if decoded else pa.binary())}
    for name in (rows.dtype.names or ())[1:]:
        kind = types.get(kinds.get(name, ""))
        columns[name] = pa.array(rows[name].tolist(), kind) if kind else pa.array(np.ascontiguousarray(rows[name]))
    return pa.table(columns)


# --- the window ----------------------------------------------------------------------------------------------------


class _Window:
    """Memory of the segment as numpy reads it, read-only; it keeps the segment mapped as long as an array looks at it."""

    def __init__(self, table: _hot.Table[Any]) -> None:
        segment = table._segment
        segment._hold()  # from here on another thread's close() does not unmap
        self._held = segment
        address, images, stride, _, _ = table._place()
        self.__array_interface__ = {"version": 3, "shape": (images * stride,), "typestr": "|u1", "data": (address, True)}

    def __del__(self) -> None:
        if "_held" in self.__dict__:  # not when the segment was closed already
            self._held._release()


class View:
    """A read-only window on a table's row images, without a copy.

    What it shows moves: other processes write while it is read. A number of 8 bytes is never torn; a row, or a text, may
    be seen half-way through a change. A row that changes in a text or in several columns may move to another image, so
    that two looks may find it twice or not at all. After the table was dropped, what lies there is anything. Use
    Table.to_numpy() where that matters.

    The segment stays mapped, after close() too, until the last array that looks at it is gone.

    Attributes:
        rows: a structured array of all images, capacity and spares, used or not: a field a column; text columns as bytes,
            of which `name:n` count; and of each image `:version`, `:expiry` (boot clock in ms, 0: none) and `:key` (keys
            of up to 40 bytes). Its flags.writeable is False and cannot be set.
    """

    def __init__(self, table: _hot.Table[Any]) -> None:
        np = _package("numpy")
        self._table = table
        self.rows: Array = np.asarray(_Window(table)).view(_image_dtype(np, table))

    def valid(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return a mask: which images hold a row now. A moment later it may be others.

        Raises:
            ClosedError: the segment was closed.
            UnknownTableError: the table was dropped.
        """
        np = _package("numpy")
        return np.frombuffer(self._table._mask(), np.bool_)  # type: ignore[no-any-return]
