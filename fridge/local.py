"""Commands on a segment without a server: a session fed in this very process.

``fridge get k`` and the ``[tables]`` of fridge.toml run through the same command table as a Redis client's commands, so
that nothing has a second implementation. Commands that concern a server (CLIENT LIST, CONFIG, INFO...) have none here and
are refused, also inside a transaction.
"""

from __future__ import annotations

import time

from fridge._native import ffi, lib
from fridge.reply import Replies, Reply, request
from fridge.segment import Segment

PARKED_POLL = 0.002  # seconds between two looks at a latch that another process holds
QUERY_LIMIT = OUTPUT_LIMIT = 1 << 30


class LocalClient:
    """A RESP client whose server is a function call."""

    def __init__(self, segment: Segment) -> None:
        self._facts = ffi.new(
            "server_facts *",
            {
                "query_limit": QUERY_LIMIT,
                "output_soft": OUTPUT_LIMIT,
                "output_hard": OUTPUT_LIMIT,
                "max_bulk": 512 << 20,
                "max_args": 1 << 20,
                "command_cells": len(segment.cells),
            },
        )
        self._session = lib.session_new(segment.store, self._facts, 0)
        if self._session == ffi.NULL:
            raise MemoryError("no memory for a session")
        self._out = ffi.new("fridge_output *")

    def close(self) -> None:
        """Free the session. Closing twice is harmless."""
        if self._session != ffi.NULL:
            lib.session_free(self._session)
            self._session = ffi.NULL

    def __enter__(self) -> LocalClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse(self) -> None:
        name = ffi.string(lib.session_host_command(self._session)).decode().upper().replace("|", " ")
        line = f"ERR {name} concerns a server; ask one with redis-cli or `fridge stat`".encode()
        lib.session_reply_error(self._session, line, len(line))

    def execute(self, *words: bytes | str | int) -> Reply:
        """Run one command and return its reply; an error comes back as ErrorReply."""
        replies = Replies()
        parsed: list[Reply] = []
        data = request(words)
        got = lib.fridge_feed(self._session, data, len(data), self._out)
        while True:
            result = got & 7
            if got >> 4:
                parsed += replies.feed(ffi.unpack(self._out.p, got >> 4))
            if result == lib.FEED_HOST:
                self._refuse()
            elif result == lib.FEED_PARKED:
                time.sleep(PARKED_POLL)
            elif result != lib.FEED_FULL:
                return parsed[-1] if parsed else None
            got = lib.fridge_feed(self._session, ffi.NULL, 0, self._out)
