"""A rate limiter for a web service of several processes: at most so many requests per address and window, exactly.

Every process maps the same table. A row belongs to one address in one window, `1.2.3.4@28376`, so that the only thing
a request does to shared state is one atomic `incr`, whose result decides. There is no moment at which one process has
read a count that another is about to change, and a new window needs no reset: it is another row. The row's expiry takes
it away afterwards.

    python examples/rate_limiter/app.py --port 8000 --limit 10 --window 60

Run `fridge serve` beside it and look: `redis-cli -p 6380 HGETALL rate_limits:1.2.3.4@28376`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

import fridge
from fridge.errors import TableFullError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

ROWS = 100_000
COLUMNS = {"count": "int32", "reset": "int64"}
GRACE = 5  # seconds that a row outlives its window: a request may be that late between the clock and the count


@dataclass(frozen=True)
class Verdict:
    """What a request gets to hear. window: its number; reset: when the next one begins, in seconds since the epoch."""

    allowed: bool
    remaining: int
    window: int
    reset: int


class Limiter:
    """At most `limit` requests per address and window of `seconds`, over all processes of the segment.

    A full table raises TableFullError: nobody is let through uncounted.
    """

    def __init__(self, f: fridge.Store, limit: int, seconds: int, clock: Callable[[], float] = time.time,
                 rows: int = ROWS) -> None:  # fmt: skip
        self._store, self._limit, self._seconds, self._clock = f, limit, seconds, clock
        self.table = f.table("rate_limits", COLUMNS, capacity=rows)

    def ask(self, address: str) -> Verdict:
        """Count a request of this address and say whether it may pass."""
        window = int(self._clock() // self._seconds)
        reset = (window + 1) * self._seconds
        row = f"{address}@{window}"
        try:
            count = self.table.incr(row, "count", 1)  # the decision: every request gets another number
        except TableFullError:
            if not self.purge():
                raise
            count = self.table.incr(row, "count", 1)
        if count == 1:
            self.table.set(row, reset=reset)
            self._store.expireat(f"rate_limits:{row}", reset + GRACE)
        return Verdict(count <= self._limit, max(0, self._limit - count), window, reset)

    def purge(self) -> int:
        """Delete rows that have had their time; how many. Only a process killed in `ask` leaves some without an expiry."""
        window = int((self._clock() - GRACE) // self._seconds)
        gone = 0
        for row in self.table:
            name = row if isinstance(row, str) else row.decode()
            if int(name.rpartition("@")[2]) < window:
                gone += self.table.delete(name)
        return gone


def make_application(limiter: Limiter) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """The web service: a WSGI application that says hello to those who may pass."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            verdict = limiter.ask(environ["REMOTE_ADDR"])
        except fridge.FridgeError as error:
            return answer(start_response, HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n", [("Retry-After", "1")])
        headers = [
            ("X-RateLimit-Remaining", str(verdict.remaining)),
            ("X-RateLimit-Reset", str(verdict.reset)),
            ("X-RateLimit-Window", str(verdict.window)),
            ("X-Worker", str(os.getpid())),
        ]
        if verdict.allowed:
            return answer(start_response, HTTPStatus.OK, "hello\n", headers)
        return answer(start_response, HTTPStatus.TOO_MANY_REQUESTS, "too many requests\n", headers)

    return application


def answer(start_response: StartResponse, status: HTTPStatus, text: str, headers: list[tuple[str, str]]) -> list[bytes]:
    body = text.encode()
    own = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", own + headers)
    return [body]


# --- a pre-fork HTTP server in few lines; any WSGI server does as well ---------------------------------------------------


class Handler(WSGIRequestHandler):
    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(WSGIServer):
    """A WSGI server on a socket that is already listening."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()


def work(listener: socket.socket, segment: str | None, limit: int, window: int) -> None:
    """One worker process: never returns by itself."""
    ServerHandler.server_software = "fridge-example"
    with fridge.open(segment, name="rate limiter") as f, Server(listener) as server:
        server.set_app(make_application(Limiter(f, limit, window)))
        server.serve_forever()


def main() -> int:
    options = argparse.ArgumentParser(description="A rate-limited web service of several processes.")
    options.add_argument("--port", type=int, default=8000, help="0: any free one")
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--limit", type=int, default=10, help="requests per address and window")
    options.add_argument("--window", type=int, default=60, help="seconds")
    options.add_argument("--segment", default=None, help="the segment (default: what `fridge path` prints)")
    given = options.parse_args()
    listener = socket.create_server(("127.0.0.1", given.port), backlog=512)
    pids = []
    for _ in range(given.workers):
        pid = os.fork()
        if pid == 0:
            try:
                work(listener, given.segment, given.limit, given.window)
            except KeyboardInterrupt:
                pass
            finally:
                os._exit(0)
        pids.append(pid)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/  workers {' '.join(map(str, pids))}; Ctrl-C stops", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        for pid in pids:
            os.waitpid(pid, 0)
    except KeyboardInterrupt:
        pass
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
