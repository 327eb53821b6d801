"""Expected replies written as Python values, and as the bytes that they are in RESP2 and in RESP3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Status:
    """A status line: +OK."""

    text: str


@dataclass(frozen=True)
class Error:
    """An error line, with its prefix."""

    text: str


@dataclass(frozen=True)
class Double:
    """A float: a double in RESP3, a bulk string in RESP2."""

    text: str


@dataclass(frozen=True)
class Big:
    """An integer beyond int64: a big number in RESP3, a bulk string in RESP2."""

    value: int


@dataclass(frozen=True)
class Pairs:
    """[field, value] pairs: arrays of two in RESP3, one flat array in RESP2 (HRANDFIELD WITHVALUES)."""

    pairs: tuple[tuple[Expected, Expected], ...]


Expected: TypeAlias = "Status | Error | Double | Big | Pairs | str | bytes | int | None | list[Expected] | dict[str, Expected]"

OK = Status("OK")
WRONGTYPE = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
NOT_INTEGER = Error("ERR value is not an integer or out of range")
SYNTAX = Error("ERR syntax error")


def encode(value: Expected, protocol: int) -> bytes:
    """The reply as bytes."""
    if isinstance(value, Status):
        return b"+%s\r\n" % value.text.encode()
    if isinstance(value, Error):
        return b"-%s\r\n" % value.text.encode()
    if value is None:
        return b"_\r\n" if protocol == 3 else b"$-1\r\n"
    if isinstance(value, Double):
        return b",%s\r\n" % value.text.encode() if protocol == 3 else encode(value.text, protocol)
    if isinstance(value, Big):
        return b"(%d\r\n" % value.value if protocol == 3 else encode(str(value.value), protocol)
    if isinstance(value, Pairs):
        nested = [list(pair) for pair in value.pairs]
        return encode(nested if protocol == 3 else [word for pair in value.pairs for word in pair], protocol)
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(encode(element, protocol) for element in value)
    if isinstance(value, dict):
        head = b"%%%d\r\n" % len(value) if protocol == 3 else b"*%d\r\n" % (len(value) * 2)
        return head + b"".join(encode(word, protocol) for pair in value.items() for word in pair)
    data = value.encode() if isinstance(value, str) else value
    return b"$%d\r\n%s\r\n" % (len(data), data)
