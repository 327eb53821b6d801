"""Column types of typed tables, as `f.table(name, schema)` takes them.

A schema is a dict of column names to types, in order; or a dataclass or TypedDict, whose annotations say the same and
whose rows a type checker then knows. The engine judges it (csrc/store/schema.c); here stands only how a class is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from fridge import errors

if TYPE_CHECKING:  # not imported: it brings half of the standard library; who has a dataclass has it already
    from dataclasses import Field

Schema: TypeAlias = Mapping[str, str]
"""Column names and their types: {"count": "int32", "note": "str:64"}."""

NUMBERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float64", "bool")
TEXTS = ("str", "bytes")
"""Written with the largest number of bytes: "str:64"."""

Int8: TypeAlias = Annotated[int, "int8"]
Int16: TypeAlias = Annotated[int, "int16"]
Int32: TypeAlias = Annotated[int, "int32"]
Int64: TypeAlias = Annotated[int, "int64"]
UInt8: TypeAlias = Annotated[int, "uint8"]
UInt16: TypeAlias = Annotated[int, "uint16"]
UInt32: TypeAlias = Annotated[int, "uint32"]
UInt64: TypeAlias = Annotated[int, "uint64"]
"""For annotations; a type checker sees int. A plain int is int64, a float float64, and bool is bool."""

_PLAIN: dict[object, str] = {int: "int64", float: "float64", bool: "bool"}
_PYTHON: dict[str, type] = {"bool": bool, "float64": float, "str": str, "bytes": bytes}
_HELP = (
    "annotate it with int, float or bool, with fridge.Int8 to fridge.UInt64, or with a type of your own: "
    'Annotated[str, "str:64"], Annotated[bytes, "bytes:16"]'
)


def pairs(schema: Any) -> tuple[tuple[str, str], ...]:
    """Return a schema as pairs, in order.

    Args:
        schema: column names and types, or a dataclass or TypedDict.

    Raises:
        SchemaError: it is none of these, or a column's annotation is no column type.

    Example:
        >>> pairs({"count": "int32", "note": "str:64"})
        (('count', 'int32'), ('note', 'str:64'))
        >>> from typing import TypedDict
        >>> pairs(TypedDict("RateLimit", {"count": Int32, "note": Annotated[str, "str:64"]}))
        (('count', 'int32'), ('note', 'str:64'))
    """
    if isinstance(schema, Mapping):
        return tuple(schema.items())
    is_class = isinstance(schema, type)
    if is_class and (_is_dataclass(schema) or _is_typed_dict(schema)):
        return tuple(_columns(schema))
    got = repr(schema) if is_class else errors.kind_of(schema)
    raise _wrong(
        "a schema is a dict of column names and types, such as {'count': 'int32'}, or a dataclass or TypedDict whose "
        f"annotations say so; got {got}"
    )


def row_class(schema: Any) -> type | None:
    """Return what rows are to be made of: a dataclass; None for dicts.

    Args:
        schema: what the table was declared with.
    """
    return schema if isinstance(schema, type) and _is_dataclass(schema) else None


def _wrong(message: str) -> errors.SchemaError:
    error = errors.SchemaError(message)
    error.status = "SCHEMA"
    return error


def _is_dataclass(cls: type) -> bool:
    return hasattr(cls, "__dataclass_fields__")


def _is_typed_dict(cls: type) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__total__")  # typing's, and typing_extensions'


def _columns(cls: type) -> Iterator[tuple[str, str]]:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise _wrong(f"{cls.__name__}: an annotation cannot be read: {error}; define its type where the class can see it") from None
    if _is_dataclass(cls):
        from dataclasses import fields

        for field in fields(cls):
            _check_field(cls, field)
            yield field.name, _type_of(cls, field.name, hints[field.name])
        return
    optional = sorted(getattr(cls, "__optional_keys__", ()))
    if optional:
        raise _wrong(f"{cls.__name__}: a row has all its columns always: {', '.join(optional)} may not be optional")
    for name, hint in hints.items():
        yield name, _type_of(cls, name, hint)


def _check_field(cls: type, field: Field[Any]) -> None:
    """A new row holds zeros, and says so in every process; a default that only this class knows would be another truth."""
    from dataclasses import MISSING

    where = f"{cls.__name__}.{field.name}"
    if not field.init:
        raise _wrong(f"{where}: a column must be a parameter of the class, so field(init=False) is not possible")
    if field.default_factory is not MISSING or (field.default is not MISSING and field.default):
        raise _wrong(
            f"{where}: a column of a new row is 0, False or empty; give another value to setdefault() or update(default=...)"
        )


def _type_of(cls: type, name: str, hint: object) -> str:
    where = f"{cls.__name__}.{name}"
    if get_origin(hint) is not Annotated:
        if hint in _PLAIN:
            return _PLAIN[hint]
        name = _shown(hint)
        help_text = f'say how many bytes: Annotated[{name}, "{name}:64"]' if hint in (str, bytes) else _HELP
        raise _wrong(f"{where}: {name} is no column type; {help_text}")
    python, *notes = get_args(hint)
    for note in notes:
        if isinstance(note, str):
            if _PYTHON.get(note.partition(":")[0], int) is not python:
                raise _wrong(f"{where}: a column of type {note!r} holds no {_shown(python)}")
            return note
    raise _wrong(f"{where}: {_shown(hint)} names no column type; {_HELP}")


def _shown(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
