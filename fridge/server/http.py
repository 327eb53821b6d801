"""The HTTP door: GET and HEAD of a handful of paths, on asyncio's streams.

Nothing here takes a body or changes anything, so there is nothing to parse but a request line and headers: a request that
announces a body is refused and its connection closed, which leaves nothing to smuggle. A connection that is slow, idle or
in excess is closed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeAlias

log = logging.getLogger(__name__)

IDLE_SECONDS = 30.0  # for a request to come, and for the peer to take its answer
CONNECTIONS_MAX = 256
HEADERS_MAX = 16 << 10  # bytes


@dataclass(frozen=True)
class Response:
    """An answer."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What a request asks for; header names are lower-case; keep: the connection may stay open."""

    method: str
    path: str
    headers: Mapping[str, str]
    keep: bool


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
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError, ConnectionError):
                await self._converse(reader, writer)
        finally:
            self._open -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = True
        while keep:
            try:
                request = parse_request(await asyncio.wait_for(read_head(reader), IDLE_SECONDS))
                response, keep = self._answer(request), request.keep
                head_only = request.method == "HEAD"
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                response, keep, head_only = Response(431, _PLAIN, b"too long\n"), False, False
            except ValueError as error:
                response, keep, head_only = Response(400, _PLAIN, f"{error}\n".encode()), False, False
            writer.write(render_response(response, head_only, keep))
            await asyncio.wait_for(writer.drain(), IDLE_SECONDS)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(405, _PLAIN, b"only GET and HEAD\n", {"allow": "GET, HEAD"})
        handler = self._routes.get(request.path)
        if handler is None:
            return Response(404, _PLAIN, f"nothing here; there are {', '.join(self._routes)}\n".encode())
        try:
            return handler(request.headers)
        except Exception:  # one broken answer must not end the housekeeper
            log.exception("cannot answer %s", request.path)
            return Response(500, _PLAIN, b"internal error; see the server's log\n")


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """The request line and headers, the empty line included.

    Raises:
        ValueError: the first line is no HTTP request; whoever speaks another protocol here learns it at once.
        asyncio.LimitOverrunError: too long.
        asyncio.IncompleteReadError: the peer closed.
    """
    head = await reader.readuntil(b"\r\n")
    if not head.endswith((b" HTTP/1.1\r\n", b" HTTP/1.0\r\n")):
        raise ValueError("this is the HTTP door, and that is no HTTP/1.1 request")
    while not head.endswith(b"\r\n\r\n"):
        head += await reader.readuntil(b"\r\n")
        if len(head) > HEADERS_MAX:
            raise asyncio.LimitOverrunError("headers are too long", len(head))
    return head


def parse_request(head: bytes) -> Request:
    """A request from its line and headers, the empty line included.

    Raises:
        ValueError: it is none, or it announces a body.
    """
    lines = head.decode("latin-1").split("\r\n")[:-2]
    parts = lines[0].split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.0", "HTTP/1.1") or not parts[1].startswith("/"):
        raise ValueError("not an HTTP/1.1 request for a path")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise ValueError("malformed header")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        raise ValueError("a request with a body is not taken here")
    wishes = headers.get("connection", "").lower()
    keep = "close" not in wishes if parts[2] == "HTTP/1.1" else "keep-alive" in wishes
    return Request(parts[0], parts[1].partition("?")[0], headers, keep)


def render_response(r: Response, head_only: bool, keep: bool) -> bytes:
    """The bytes of a response; head_only leaves the body out but says its length."""
    headers = {"content-type": r.content_type, "content-length": str(len(r.body)), **_ALWAYS, **r.headers,
               "connection": "keep-alive" if keep else "close"}  # fmt: skip
    lines = [f"HTTP/1.1 {r.status} {HTTPStatus(r.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if head_only else r.body)
