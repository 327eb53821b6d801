"""The HTTP door: GET and HEAD of a handful of paths, with h11 for the protocol and asyncio for the bytes.

Nothing here takes a body or changes anything, so there is nothing to parse but a request line and headers. A connection
that is slow, idle or in excess is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import h11

log = logging.getLogger(__name__)

IDLE_SECONDS = 30.0  # for a request to come, and for the peer to take its answer
CONNECTIONS_MAX = 256
HEADERS_MAX = 16 << 10  # bytes
READ_SIZE = 16 << 10


@dataclass(frozen=True)
class Response:
    """An answer."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Handler: TypeAlias = Callable[[Mapping[str, str]], Response]  # is given the headers by lower-case name

_PLAIN = "text/plain; charset=utf-8"
_ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self';"
    " img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


class HttpServer:
    """Serves handlers by path.

    Args:
        routes: a handler for each path; HEAD is answered by the same.
    """

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes = routes
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests until it closes; for asyncio.start_server."""
        if self._open >= CONNECTIONS_MAX:
            writer.close()
            return
        self._open += 1
        try:
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError, ConnectionError, h11.LocalProtocolError):
                await self._converse(reader, writer)
        finally:
            self._open -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_MAX)
        while True:
            try:
                request = await asyncio.wait_for(self._next_request(peer, reader), IDLE_SECONDS)
            except h11.RemoteProtocolError as error:
                if peer.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    refused = Response(error.error_status_hint, _PLAIN, b"bad request\n", {"connection": "close"})
                    await self._send(peer, writer, refused, head_only=False)
                return
            if request is None:
                return
            head_only = request.method == b"HEAD"
            await asyncio.wait_for(self._send(peer, writer, self._answer(request), head_only), IDLE_SECONDS)
            if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
                return
            peer.start_next_cycle()

    @staticmethod
    async def _next_request(peer: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
        """The next request, its body thrown away; None when the peer has closed."""
        request: h11.Request | None = None
        while True:
            event = peer.next_event()
            if event is h11.NEED_DATA:
                peer.receive_data(await reader.read(READ_SIZE))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None

    def _answer(self, request: h11.Request) -> Response:
        if request.method not in (b"GET", b"HEAD"):
            return Response(405, _PLAIN, b"only GET and HEAD\n", {"allow": "GET, HEAD"})
        path = request.target.partition(b"?")[0].decode("latin-1")
        handler = self._routes.get(path)
        if handler is None:
            return Response(404, _PLAIN, f"nothing here; there are {', '.join(self._routes)}\n".encode())
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        try:
            return handler(headers)
        except Exception:  # one broken answer must not end the housekeeper
            log.exception("cannot answer %s", path)
            return Response(500, _PLAIN, b"internal error; see the server's log\n")

    @staticmethod
    async def _send(peer: h11.Connection, writer: asyncio.StreamWriter, r: Response, head_only: bool) -> None:
        headers = [("content-type", r.content_type), ("content-length", str(len(r.body)))]
        headers += [*_ALWAYS.items(), *r.headers.items()]
        reply = h11.Response(status_code=r.status, headers=headers)
        writer.write(peer.send(reply) or b"")
        if not head_only:
            writer.write(peer.send(h11.Data(data=r.body)) or b"")
        writer.write(peer.send(h11.EndOfMessage()) or b"")
        await writer.drain()
