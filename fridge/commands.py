"""Commands of the mmap door that need no nanoseconds: each runs through a RESP session fed in this very process.

So their meaning, their checks and their error texts are the RESP door's by construction. A session serves one call at a
time; idle ones wait in a list, from which a thread takes one and to which it gives it back. No lock is held meanwhile, so
a child of fork finds nothing locked.

Leaves out: the hot methods (`fridge._hot`) and the commands' Python signatures (`fridge.keys`, `fridge.hashes`).
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from fridge import _hot, errors
from fridge._native import error_class, ffi, lib, text

if TYPE_CHECKING:  # imported when the first segment is opened: `import fridge` stays quick
    from fridge.aio import Bell
    from fridge.local import LocalClient
    from fridge.reply import Reply
    from fridge.segment import Segment

Key: TypeAlias = "str | bytes | bytearray | memoryview"
Value: TypeAlias = "str | bytes | bytearray | memoryview | int | float"

VALUES = (bytes, str, int, float, list, dict)  # what replies are, but for None and errors
IDLE_SESSIONS = 8  # beyond these a session that comes back is freed


def encode_key(key: object) -> bytes:
    """Return the bytes of a key or a field name.

    Raises:
        ArgumentError: it is neither str nor bytes.
    """
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(key)
    raise _argument(f"{errors.kind_of(key)} is no key: give str or bytes")


def encode(value: object) -> bytes:
    """Return the bytes of a value, as redis-py encodes it.

    Raises:
        ArgumentError: it is neither str, bytes, int nor float.
    """
    if isinstance(value, bool):
        raise _argument("a bool is no value: convert it to str, bytes, int or float first")
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return repr(value).encode()
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return encode_key(value)
    raise _argument(f"{errors.kind_of(value)} is no value: give str, bytes, int or float")


def _argument(message: str) -> errors.ArgumentError:
    error = errors.ArgumentError(message)
    error.status = "ARGUMENT"
    return error


# --- errors --------------------------------------------------------------------------------------------------------

PARTICULARS = (
    # What error lines say that are not a row's own message. In order: the first that is found decides.
    ("has no column", "COLUMN"),
    ("is not between", "COLUMNRANGE"),
    ("too long, the limit", "COLUMNLENGTH"),
    ("' column '", "COLUMNTYPE"),
    ("would overflow", "OVERFLOW"),
    ("not supported on a row", "ROWONLY"),
    ("within its own table", "ROWONLY"),
    ("exceeds", "TOOLONG"),
)


@cache
def _rows() -> dict[str, tuple[int, str, str]]:
    """Return number, prefix and message of every row of status.def."""
    return {
        text(lib.fridge_status_name(i)): (i, text(lib.fridge_status_prefix(i)), text(lib.fridge_status_message(i)))
        for i in range(lib.fridge_status_count())
    }


def _status_of(line: str) -> str:
    """Return the name of the row of status.def that an error line is about."""
    prefix, _, rest = line.partition(" ")
    rows = _rows()
    full = [(len(m), n) for n, (_, p, m) in rows.items() if m and p == prefix and rest.startswith(m)]
    if full:
        return max(full)[1]
    for words, name in PARTICULARS:
        if words in rest:
            return name
    if prefix != "ERR":
        return next((name for name, row in rows.items() if row[1] == prefix), "ARGUMENT")
    return "ARGUMENT"


def failure(line: str) -> errors.FridgeError:
    """Return the exception that an error line of the RESP door stands for.

    Args:
        line: such as "WRONGTYPE Operation against a key holding the wrong kind of value".

    Example:
        >>> type(failure("ERR no such key")).__name__
        'MissingKeyError'
    """
    name = _status_of(line)
    number, prefix, _ = _rows()[name]
    error = error_class(number)(line.removeprefix(prefix + " "))
    error.status = name
    return error


def local_client() -> type[LocalClient]:
    """Return the class of sessions, imported when a segment is opened and not in a call on it.

    An import in progress holds a lock, and a child that another thread forks meanwhile would wait for that lock for ever.
    """
    from fridge.local import LocalClient

    return LocalClient


# --- the handle ----------------------------------------------------------------------------------------------------


class Commands(_hot.Segment):
    """A handle of an open segment that can run any command.

    Args:
        segment: what fridge_open gave. The handle closes it.
        db: the logical database.
        decode_responses: whether bytes come back as str.
    """

    def __init__(self, segment: Segment, db: int, decode_responses: bool) -> None:
        self._segment = segment
        self._db = db
        self._decode = decode_responses
        self._idle: list[LocalClient] = []
        self._client_class = local_client()
        self._bells: dict[int, Bell] = {}  # by pid: a child of fork makes its own
        super().__init__(int(ffi.cast("uintptr_t", segment.store)), db, decode_responses)

    def _run(self, *words: bytes) -> Reply:
        """Run a command; raise what it answers when that is an error."""
        self._hold()
        try:
            client = self._client()
            reply = client.execute(*words)
            self._give_back(client)
        finally:
            self._release()
        if reply is not None and not isinstance(reply, VALUES):
            raise failure(str(reply))
        return reply

    def _client(self) -> LocalClient:
        try:
            return self._idle.pop()
        except IndexError:
            client = self._client_class(self._segment)
            if self._db:
                client.execute(b"SELECT", b"%d" % self._db)
            return client

    def _give_back(self, client: LocalClient) -> None:
        if self.closed or len(self._idle) >= IDLE_SESSIONS:
            client.close()
        else:
            self._idle.append(client)

    def close(self) -> None:
        """Unmap the segment. Data stays; calls on this handle fail with ClosedError. Closing twice is harmless."""
        if not self.closed:
            if self._bells:
                self._stop_bell()
            self._drop_idle()
            self._close()  # unmaps when the last call of another thread is done
            self._drop_idle()

    def _stop_bell(self) -> None:
        bell = self._bells.pop(os.getpid(), None)
        if bell is not None:
            bell.stop()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        if hasattr(self, "_idle"):  # not when opening failed
            self.close()

    # --- replies as Python values ---

    def _int(self, *words: bytes) -> int:
        reply = self._run(*words)
        assert isinstance(reply, int), reply
        return reply

    def _float(self, *words: bytes) -> float:
        reply = self._run(*words)
        assert isinstance(reply, bytes), reply
        return float(reply)

    def _ok(self, *words: bytes) -> bool:
        return self._run(*words) == "OK"

    def _bytes(self, *words: bytes) -> bytes | str | None:
        return self._out(self._run(*words))

    def _replies(self, *words: bytes) -> list[Reply]:
        reply = self._run(*words)
        assert isinstance(reply, list), reply
        return reply

    def _list(self, *words: bytes) -> list[bytes | str | None]:
        return [self._out(item) for item in self._replies(*words)]

    def _pairs(self, reply: Reply) -> dict[bytes | str, bytes | str]:
        assert isinstance(reply, list), reply
        flat = [self._text(item) for item in reply]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _out(self, reply: Reply) -> bytes | str | None:
        """Return a bulk string as the caller wants it, None for null."""
        return None if reply is None else self._text(reply)

    def _text(self, reply: Reply) -> bytes | str:
        data = reply.encode() if isinstance(reply, str) else reply
        assert isinstance(data, bytes), reply
        return data.decode() if self._decode else data

