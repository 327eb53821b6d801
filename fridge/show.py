"""Replies and tables as text for people and for shell scripts. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fridge.reply import ErrorReply, Reply


def reply_raw(reply: Reply) -> bytes:
    """A reply for scripts: values as they are, one line each; nothing for null. As redis-cli does in a pipe."""
    if isinstance(reply, dict):
        return b"".join(reply_raw(part) for pair in reply.items() for part in (_plain(pair[0]), pair[1]))
    if isinstance(reply, list):
        return b"".join(reply_raw(item) for item in reply)
    if isinstance(reply, bytes):
        return reply + b"\n"
    if reply is None:
        return b"\n"
    if isinstance(reply, bool):
        return b"1\n" if reply else b"0\n"
    return str(reply).encode("utf-8", "surrogateescape") + b"\n"


def reply_pretty(reply: Reply, indent: str = "") -> str:
    """A reply for a terminal, as redis-cli shows it."""
    if reply is None:
        return "(nil)"
    if isinstance(reply, ErrorReply):
        return f"(error) {reply}"
    if isinstance(reply, bool):
        return "(true)" if reply else "(false)"
    if isinstance(reply, int):
        return f"(integer) {reply}"
    if isinstance(reply, float):
        return f"(double) {reply}"
    if isinstance(reply, str):
        return reply
    if isinstance(reply, bytes):
        return quoted(reply)
    items = [part for pair in reply.items() for part in (_plain(pair[0]), pair[1])] if isinstance(reply, dict) else reply
    if not items:
        return "(empty array)"
    width = len(str(len(items)))
    lines = []
    for i, item in enumerate(items, 1):
        mark = f"{i:>{width}}) "
        lines.append((indent if i > 1 else "") + mark + reply_pretty(item, indent + " " * len(mark)))
    return "\n".join(lines)


def _plain(value: object) -> Reply:
    return value if isinstance(value, (bytes, str, int, float)) else str(value)


def quoted(data: bytes) -> str:
    """Bytes in double quotes, with redis-cli's escapes."""
    named = {0x22: '\\"', 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x07: "\\a", 0x08: "\\b"}
    out = [named.get(b) or (chr(b) if 0x20 <= b < 0x7F else f"\\x{b:02x}") for b in data]
    return '"' + "".join(out) + '"'


def columns(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in aligned columns; numbers to the right."""
    table = [list(heads), *([str(cell) for cell in row] for row in rows)]
    raw = [list(heads), *rows] if isinstance(rows, list) else table
    widths = [max(len(row[i]) for row in table) for i in range(len(heads))]
    numeric = [len(raw) > 1 and all(isinstance(row[i], (int, float)) for row in raw[1:]) for i in range(len(heads))]
    lines = []
    for row in table:
        cells = [cell.rjust(w) if n else cell.ljust(w) for cell, w, n in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
