"""Column types of typed tables, as `f.table(name, schema)` takes them.

A schema is a dict of column names to types, in order; or a dataclass or TypedDict, whose annotations say the same and
whose rows a type checker then knows. A type may bring a default, which is part of the schema: "int32=5" or ("int32", 5), or a
dataclass's own. The engine judges it (csrc/store/schema.c); here stands only how a class is read, and a default written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

from fridge import errors

if TYPE_CHECKING:  # not imported: it brings half of the standard library; who has a dataclass has it already
    from dataclasses import Field

Default: TypeAlias = int | float | bool | str | bytes
"""What a new row holds in a column that is not named."""

ColumnType: TypeAlias = str | tuple[str, Default]
"""A type, such as "int32" or "str:64", or one with its default, ("int32", 5), which may be written "int32=5"."""

Schema: TypeAlias = Mapping[str, ColumnType]
"""Column names and their types: {"count": "int32", "limit": ("int32", 5), "note": "str:64"}."""

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


def pairs(schema: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Return a schema as pairs of name and type, in order. A default stands behind the type and a '='.

    Args:
        schema: column names and types, or a dataclass or TypedDict.

    Raises:
        SchemaError: it is none of these, or a column's annotation is no column type, or a default not of its type.

    Example:
        >>> pairs({"count": "int32", "note": "str:64"})
        (('count', 'int32'), ('note', 'str:64'))
        >>> pairs({"limit": ("int32", 5), "open": ("bool", True), "tag": ("bytes:4", b"x")})
        (('limit', 'int32=5'), ('open', 'bool=1'), ('tag', b'bytes:4=x'))
        >>> from typing import TypedDict
        >>> pairs(TypedDict("RateLimit", {"count": Int32, "note": Annotated[str, "str:64"]}))
        (('count', 'int32'), ('note', 'str:64'))
    """
    if isinstance(schema, Mapping):
        return tuple((name, _written(str(name), kind)) for name, kind in schema.items())
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


def _written(where: str, kind: Any) -> Any:
    """A type with its default as the engine reads it; what is neither is left for the engine to refuse."""
    if not isinstance(kind, tuple):
        return kind
    if len(kind) != 2 or not isinstance(kind[0], str):
        raise _wrong(f"column '{where}': a type with a default is ('int32', 5); got {kind!r}")
    return _with_default(where, *kind)


def _number(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))  # an IntEnum is its number, True is 1


def _with_default(where: str, kind: str, default: object) -> str | bytes:
    python = _PYTHON.get(kind.partition(":")[0], int)
    if "=" in kind:
        raise _wrong(f"column '{where}': two defaults are given, {kind!r} and {default!r}")
    if isinstance(default, int) and not isinstance(default, bool) and python is float:
        default = float(default)
    if not isinstance(default, python) or (isinstance(default, bool) and python is not bool):
        raise _wrong(f"column '{where}' is {kind} and cannot have this default: {default!r} is no {python.__name__}")
    if isinstance(default, bytes):
        return b"%s=%s" % (kind.encode(), default)
    return f"{kind}={default}" if isinstance(default, str) else f"{kind}={_number(default)}"


def _wrong(message: str) -> errors.SchemaError:
    error = errors.SchemaError(message)
    error.status = "SCHEMA"
    return error


def _is_dataclass(cls: type) -> bool:
    return hasattr(cls, "__dataclass_fields__")


def _is_typed_dict(cls: type) -> bool:
    return issubclass(cls, dict) and hasattr(cls, "__total__")  # typing's, and typing_extensions'


def _columns(cls: type) -> Iterator[tuple[str, str | bytes]]:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise _wrong(f"{cls.__name__}: an annotation cannot be read: {error}; define its type where the class can see it") from None
    if _is_dataclass(cls):
        from dataclasses import MISSING, fields

        for field in fields(cls):
            _check_field(cls, field)
            kind = _type_of(cls, field.name, hints[field.name])
            where = f"{cls.__name__}.{field.name}"
            yield field.name, kind if field.default is MISSING else _with_default(where, kind, field.default)
        return
    optional = sorted(getattr(cls, "__optional_keys__", ()))
    if optional:
        raise _wrong(f"{cls.__name__}: a row has all its columns always: {', '.join(optional)} may not be optional")
    for name, hint in hints.items():
        yield name, _type_of(cls, name, hint)


def _check_field(cls: type, field: Field[Any]) -> None:
    """What a new row holds is part of the schema, so that every process says the same: a value, not a function."""
    from dataclasses import MISSING

    where = f"{cls.__name__}.{field.name}"
    if not field.init:
        raise _wrong(f"{where}: a column must be a parameter of the class, so field(init=False) is not possible")
    if field.default_factory is not MISSING:
        raise _wrong(
            f"{where}: a column's default is one value for every process, so default_factory is not possible; give "
            "default=..., or the value to setdefault() or update(default=...)"
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
            if _PYTHON.get(note.partition("=")[0].partition(":")[0], int) is not python:
                raise _wrong(f"{where}: a column of type {note!r} holds no {_shown(python)}")
            return note
    raise _wrong(f"{where}: {_shown(hint)} names no column type; {_HELP}")


def _shown(hint: object) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)
