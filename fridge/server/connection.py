"""One client's connection: bytes from the transport into its session, replies back, and the limits between them.

All parsing and execution is in C: ``data_received`` makes one call for a whole read of pipelined commands. A connection
stops reading from its client while its session cannot go on, which is one of: the client does not take its replies
(STALLED), a live process holds a latch that the next command needs (PARKED), or a command is being answered later
(SLEEPING). Nobody but this client ever waits for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from fridge._native import ffi, lib, text

if TYPE_CHECKING:
    from fridge.server.worker import Worker

# What the path of every command uses, looked up once.
_feed, _unpack = lib.fridge_feed, ffi.unpack
MORE, HOST, PARKED, CLOSE = (int(r) for r in (lib.FEED_MORE, lib.FEED_HOST, lib.FEED_PARKED, lib.FEED_CLOSE))
HOLDS, OUTPUT_FROM = 8, 15  # fridge_feed's answer: bit 3, and the largest one without output
COPIED_TO = (ffi.typeof("fridge_output").fields[1][1].type.length << 4) + 15  # the largest whose output is in fridge_output.copy

HOST_TURN = 8  # commands answered by the host (2 ms at most) in one turn of the loop: an EXEC may hold any number of them
PARKED_RETRY = 0.004  # seconds until a parked session tries its latch again
WRITE_HIGH, WRITE_LOW = 1 << 20, 256 << 10  # bytes unsent at which a client counts as stalled, and no more
SLOW_UPLOAD = 64 << 10  # bytes a second that a long request must at least make beyond request-timeout

TOO_MANY = b"-ERR max number of clients reached\r\n"
DENIED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default"
    b" user. In this mode connections are only accepted from the loopback interface. If you want to connect from external"
    b" computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command"
    b" 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is"
    b" running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make"
    b" this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration"
    b" file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server"
    b" manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password"
    b" for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting"
    b" connections from the outside.\r\n"
)


def _nowhere(data: bytes) -> None:
    """Write to a connection that is gone, or was never let in."""


class Wait(enum.Flag):
    """Why a connection does not read at the moment."""

    NOTHING = 0
    STALLED = enum.auto()
    PARKED = enum.auto()
    SLEEPING = enum.auto()


class Connection(asyncio.Protocol):
    """The transport's side of a session.

    Args:
        worker: whose segment, settings and registry it shares.
    """

    __slots__ = ("_busy", "_full", "_inbox", "_out", "_reading", "_transport", "_view", "_waits", "_worker", "_write", "address",
                 "closing", "descriptor", "id", "is_unix", "last_read", "local_address", "monitor", "partial_commands",
                 "partial_since", "session", "since")  # fmt: skip

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._out, self._view = worker.out, worker.view
        self._transport: asyncio.Transport | None = None
        self._write: Callable[[bytes], None] = _nowhere
        self._waits = Wait.NOTHING
        self._full = False
        self._busy = True  # data may not be fed at once: no session yet, or it waits for something
        self._reading = True
        self._inbox = bytearray()
        self.session = ffi.NULL
        self.id = 0
        self.address = self.local_address = ""
        self.descriptor = -1
        self.is_unix = False
        self.closing = False
        self.monitor = False
        self.since = self.last_read = worker.now
        self.partial_since = 0.0  # when the request that is still unfinished began; 0.0: there is none
        self.partial_commands = 0  # how many the session had executed then

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the client, or tell it why not and close."""
        self._transport = cast(asyncio.Transport, transport)
        self._look_up_addresses(self._transport)
        refusal = self._worker.admit(self)
        if refusal:
            self._transport.write(refusal)
            self._transport.close()
            return
        self._transport.set_write_buffer_limits(WRITE_HIGH, WRITE_LOW)
        self._write = self._transport.write
        self._busy = False

    def data_received(self, data: bytes) -> None:
        """Feed what was read. This is the path of every command: one call into C, one write."""
        if self._busy:
            if self.session != ffi.NULL and not self.closing:
                self._inbox += data
            return
        worker = self._worker
        self.last_read = worker.now
        got = _feed(self.session, data, len(data), self._out)
        if got > OUTPUT_FROM:
            self._write(self._view[: got >> 4] if got <= COPIED_TO else _unpack(self._out.p, got >> 4))
        if got & 15 or worker.watched:
            self._after(got)
        else:
            self.partial_since = 0.0

    def eof_received(self) -> bool:
        """The client sent all it will: close once its replies are out."""
        return False

    def pause_writing(self) -> None:
        """The client does not take its replies."""
        self._wait(Wait.STALLED)

    def resume_writing(self) -> None:
        """It does again."""
        self._go_on(Wait.STALLED)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the session."""
        session, self.session, self._transport = self.session, ffi.NULL, None
        self._busy, self._write = True, _nowhere
        if session != ffi.NULL:
            self._worker.dismiss(self)
            lib.session_free(session)

    # --- the session ---

    def _after(self, got: int) -> None:
        """Go on with the session, whose last feed answered `got`, until it wants more or cannot."""
        answered = 0
        while True:
            if self._worker.watched:
                self._worker.show_monitors(self)
            result = got & 7
            if result == MORE:
                self._note_partial(bool(got & HOLDS))
                return
            if result == HOST:
                if not self._worker.host.answer(self):
                    return
                answered += 1
                if answered == HOST_TURN:
                    self.sleep(0)
                    return
            elif result == PARKED:
                self._wait(Wait.PARKED)
                self._worker.loop.call_later(PARKED_RETRY, self._go_on, Wait.PARKED)
                return
            elif result == CLOSE:
                self.close()
                return
            elif self._waits:  # FULL and the client is behind
                self._full = self._busy = True
                return
            got = self._feed_nothing()

    def _feed_nothing(self) -> int:
        """Let the session go on with what it holds."""
        got = int(_feed(self.session, ffi.NULL, 0, self._out))
        if got > OUTPUT_FROM:
            self._write(_unpack(self._out.p, got >> 4))
        return got

    def push(self, data: bytes) -> None:
        """Send what is no reply (MONITOR). A client that lets too much pile up is cut off."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > self._worker.facts.output_hard:
            transport.abort()
            return
        transport.write(data)

    def _wait(self, why: Wait) -> None:
        self._waits |= why
        self._busy = True
        self._set_reading()

    def _go_on(self, why: Wait) -> None:
        """A reason to wait is gone; when it was the last, go on where the session stopped."""
        self._waits &= ~why
        if self._waits or self.session == ffi.NULL or self.closing:
            return
        self._full = self._busy = False
        self._after(self._feed_nothing())
        if self._inbox and not self._busy:
            data, self._inbox = bytes(self._inbox), bytearray()
            self.data_received(data)
        self._set_reading()

    def sleep(self, seconds: float) -> None:
        """Answer the present command later: resume() goes on."""
        self._wait(Wait.SLEEPING)
        self._worker.loop.call_later(seconds, self._go_on, Wait.SLEEPING)

    def _set_reading(self) -> None:
        transport = self._transport
        if self._busy is not self._reading or transport is None or transport.is_closing():
            return
        self._reading = not self._busy
        if self._reading:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _note_partial(self, held: bool) -> None:
        """Remember since when the client owes us the rest of a request, which began after the last one was executed."""
        if not held:
            self.partial_since = 0.0
            return
        commands = self.describe().commands
        if not self.partial_since or commands != self.partial_commands:
            self.partial_since, self.partial_commands = self._worker.now, commands

    # --- limits and the end ---

    def is_overdue(self, now: float, idle: int, request: int) -> bool:
        """Whether the client was silent for `idle` seconds, or owes the rest of a request for `request` (0: any)."""
        if self._waits:
            return False
        if idle and not self.monitor and now - self.last_read > idle:
            return True
        if not request or not self.partial_since:
            return False
        return now - self.partial_since > request + int(self.describe().query_bytes) / SLOW_UPLOAD

    def close(self) -> None:
        """Close once what is written has been sent."""
        self.closing = self._busy = True
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """CLIENT KILL by somebody else: drop the connection now."""
        self.closing = self._busy = True
        if self._transport is not None:
            self._transport.abort()

    def unsent(self) -> int:
        """Bytes that the client has not taken yet."""
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    # --- what CLIENT LIST says ---

    def describe(self) -> Any:
        """The session's session_facts."""
        facts = ffi.new("session_facts *")
        lib.session_describe(self.session, facts)
        return facts

    def line(self, now: float) -> str:
        """This client as CLIENT LIST shows it."""
        s = self.describe()
        flags = ("O" if self.monitor else "") + ("x" if s.in_multi else "") + ("e" if s.no_evict else "")
        flags += ("U" if self.is_unix else "") + ("T" if s.no_touch else "")
        return (
            f"id={self.id} addr={self.address} laddr={self.local_address} fd={self.descriptor} name={text(s.name)}"
            f" age={int(now - self.since)} idle={int(now - self.last_read)} flags={flags or 'N'} db={s.db} sub=0 psub=0"
            f" ssub=0 multi={s.queued if s.in_multi else -1} watch={s.watching} qbuf={s.query_bytes} qbuf-free=0"
            f" argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={s.output_bytes} oll=0 omem={self.unsent()}"
            f" tot-mem={s.query_bytes + s.output_bytes + self.unsent()} events=r cmd={text(s.last_command) or 'NULL'}"
            f" user=default redir=-1 resp={s.protocol} lib-name={text(s.lib_name)} lib-ver={text(s.lib_ver)}"
        )

    def _look_up_addresses(self, transport: asyncio.Transport) -> None:
        sock = transport.get_extra_info("socket")
        self.descriptor = sock.fileno()
        self.is_unix = sock.family == socket.AF_UNIX
        if self.is_unix:
            path = transport.get_extra_info("sockname") or ""
            self.address = self.local_address = f"{path if isinstance(path, str) else path.decode()}:0"
            return
        self.address = _endpoint(transport.get_extra_info("peername"))
        self.local_address = _endpoint(transport.get_extra_info("sockname"))
        with contextlib.suppress(OSError):
            self._worker.tune(sock)

    @property
    def is_local(self) -> bool:
        """Whether the client is on this host: the unix socket or a loopback address."""
        return self.is_unix or is_loopback(self.address)


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint (127.0.0.1:6380, [::1]:6380) is on a loopback address."""
    host = endpoint.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
    return host.startswith("127.") or host == "::1"


def _endpoint(name: tuple[str, int] | None) -> str:
    if not name:
        return "?:0"
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
