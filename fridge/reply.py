"""RESP2 and RESP3 replies as Python values, and requests as bytes: the small client half that the command line needs.

Sans-IO: ``Replies`` is fed bytes and yields whole replies. redis-py is the client for programs; this one is here so that
``fridge ping`` and ``fridge get`` work on a machine that has nothing but fridge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

DEPTH_MAX = 32  # nested arrays that a reply may hold


@dataclass(frozen=True)
class ErrorReply:
    """An error, with its prefix: 'ERR syntax error'."""

    text: str

    def __str__(self) -> str:
        return self.text


Reply: TypeAlias = "bytes | str | int | float | bool | None | ErrorReply | list[Reply] | dict[object, Reply]"


def request(words: Sequence[bytes | str | int]) -> bytes:
    """One command as a RESP array of bulk strings."""
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape")
        out.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(out)


class _Incomplete(Exception):
    """The buffer ends inside a reply."""


class Replies:
    """A buffer of reply bytes. Status lines come back as str, bulk strings as bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Add data and yield every reply that is whole. Raises ValueError on what is no RESP."""
        self._buffer += data
        while self._buffer:
            self._at = 0
            try:
                reply = self._parse(0)
            except _Incomplete:
                return
            del self._buffer[: self._at]
            yield reply

    def _line(self) -> bytes:
        end = self._buffer.find(b"\r\n", self._at)
        if end < 0:
            raise _Incomplete
        line = bytes(self._buffer[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, n: int) -> bytes:
        if len(self._buffer) < self._at + n + 2:
            raise _Incomplete
        data = bytes(self._buffer[self._at : self._at + n])
        self._at += n + 2
        return data

    def _parse(self, depth: int) -> Reply:
        if depth > DEPTH_MAX:
            raise ValueError("reply is nested too deeply")
        line = self._line()
        mark, rest = line[:1], line[1:]
        if mark == b"+":
            return rest.decode("utf-8", "replace")
        if mark == b"-":
            return ErrorReply(rest.decode("utf-8", "replace"))
        if mark in (b":", b"("):
            return int(rest)
        if mark == b",":
            return float(rest)
        if mark == b"#":
            return rest == b"t"
        if mark == b"_":
            return None
        if mark in (b"$", b"=", b"!"):
            return self._parse_bulk(mark, int(rest))
        if mark in (b"*", b"~", b">"):
            return None if int(rest) < 0 else [self._parse(depth + 1) for _ in range(int(rest))]
        if mark == b"%":
            return {_key(self._parse(depth + 1)): self._parse(depth + 1) for _ in range(int(rest))}
        raise ValueError(f"not a reply: {line[:40]!r}")

    def _parse_bulk(self, mark: bytes, n: int) -> Reply:
        if n < 0:
            return None
        data = self._bulk(n)
        if mark == b"!":
            return ErrorReply(data.decode("utf-8", "replace"))
        return data[4:] if mark == b"=" else data


def _key(reply: Reply) -> object:
    return tuple(reply) if isinstance(reply, list) else reply
