"""One client's connection: what its session needs beyond bytes in and bytes out, and the limits between them.

Reading, parsing, execution and sending are in C, for all clients of a worker in one call (``csrc/fridge_sockets.h``). A
connection hears of it only when something is to be done. It stops reading from its client while its session cannot go
on, which is one of: the client does not take its replies (STALLED), a live process holds a latch that the next command
needs (PARKED), or a command is being answered later (SLEEPING). Nobody but this client ever waits for that.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import socket
from typing import TYPE_CHECKING, Any

from fridge._native import ffi, lib, text

if TYPE_CHECKING:
    from fridge.server.worker import Worker

log = logging.getLogger(__name__)

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


class Wait(enum.Flag):
    """Why a connection does not read at the moment."""

    NOTHING = 0
    STALLED = enum.auto()
    PARKED = enum.auto()
    SLEEPING = enum.auto()


class Connection:
    """A client.

    Args:
        worker: whose segment, settings and registry it shares.
        sock: connected and non-blocking; the connection closes it.
        peer: the client's address, as accept() says it.
    """

    __slots__ = ("_sock", "_waits", "_worker", "address", "closing", "id", "is_unix", "local_address", "monitor", "session",
                 "since", "wire")  # fmt: skip

    def __init__(self, worker: Worker, sock: socket.socket, peer: Any) -> None:
        self._worker, self._sock = worker, sock
        self._waits = Wait.NOTHING
        self.session = ffi.NULL
        self.wire = ffi.NULL  # the fridge_socket
        self.id = 0
        self.closing = False
        self.monitor = False
        self.since = lib.fridge_boot_ms()
        self.is_unix = sock.family == socket.AF_UNIX
        if self.is_unix:
            path = sock.getsockname()
            self.address = self.local_address = f"{path if isinstance(path, str) else path.decode()}:0"
            return
        self.address, self.local_address = _endpoint(peer), _endpoint(sock.getsockname())
        with contextlib.suppress(OSError):
            worker.tune(sock)

    def admit(self, session: Any) -> None:
        """Give the client a session, which the connection frees; heed(FEED_MORE) then begins to read."""
        self.session = session
        self.wire = ffi.new("fridge_socket *", {"session": session, "id": self.id, "fd": self._sock.fileno(),
                                                "epoll": self._worker.epoll.fileno(), "last_ms": self.since})  # fmt: skip

    # --- the session ---

    def heed(self, what: int) -> None:
        """Do what a report of fridge_serve asks for. An error of ours costs this client its connection, nobody else's."""
        try:
            if self._worker.watched:
                self._worker.show_monitors(self)
            self._heed(what)
        except Exception:
            log.exception("client %d", self.id)
            self.kill()

    def _heed(self, what: int) -> None:
        if what == lib.FEED_MORE:
            self._read(True)
        elif what == lib.FEED_HOST:
            self._answer()
        elif what == lib.FEED_PARKED:
            self._wait(Wait.PARKED, PARKED_RETRY)
        elif what == lib.FEED_FULL:
            self._stall()
        elif what == lib.FRIDGE_TAKEN and not self.closing:
            self._go_on(Wait.STALLED)
        elif what in (lib.FEED_CLOSE, lib.FRIDGE_ENDED):
            self.close()
        else:
            self.kill()

    def _answer(self) -> None:
        """Answer the commands that the session stops at because they need the process around it."""
        what, answered = lib.FEED_HOST, 0
        while what == lib.FEED_HOST:
            if not self._worker.host.answer(self):
                return
            answered += 1
            if self.wire.unsent > WRITE_HIGH:
                self._stall()
                return
            if answered == HOST_TURN:
                self.sleep(0)
                return
            what = lib.fridge_socket_go_on(self.wire)
        self.heed(what)

    def push(self, lines: list[bytes]) -> None:
        """Send what is no reply (MONITOR). A client that lets too much pile up is cut off."""
        if self.closing:
            return
        if self.wire.unsent + sum(map(len, lines)) > self._worker.facts.output_hard:
            self.kill()
            return
        for line in lines:
            lib.session_reply_status(self.session, line, len(line))
        if lib.fridge_socket_send(self.wire) == lib.FRIDGE_LOST:
            self.kill()

    def _read(self, reading: bool) -> None:
        if lib.fridge_socket_read(self.wire, reading) == lib.FRIDGE_LOST:
            self.kill()

    def _wait(self, why: Wait, seconds: float) -> None:
        self._waits |= why
        self._read(False)
        self._worker.loop.call_later(seconds, self._go_on, why)

    def _stall(self) -> None:
        """Go on when the client has taken its replies, at the next turn of the loop if it has already."""
        self._waits |= Wait.STALLED
        self.wire.wake_at = WRITE_LOW + 1
        self._read(False)

    def _go_on(self, why: Wait) -> None:
        """A reason to wait is gone; when it was the last, go on where the session stopped."""
        self._waits &= ~why
        if not self._waits and self.session != ffi.NULL and not self.closing:
            self.heed(lib.fridge_socket_go_on(self.wire))

    def sleep(self, seconds: float) -> None:
        """Answer the present command later."""
        self._wait(Wait.SLEEPING, seconds)

    # --- limits and the end ---

    def is_overdue(self, now: int, idle: int, request: int) -> bool:
        """Whether the client was silent for `idle` seconds, or owes the rest of a request for `request` (0: any)."""
        if self._waits:
            return False
        if idle and not self.monitor and now - self.wire.last_ms > idle * 1000:
            return True
        if not request or not self.wire.partial_ms:
            return False
        late: float = (now - self.wire.partial_ms) / 1000 - request
        return late > int(self.describe().query_bytes) / SLOW_UPLOAD

    def close(self) -> None:
        """Close once the client has taken its replies."""
        self.closing = True
        if not self.wire.unsent:
            self.kill()
            return
        self.wire.wake_at = 1
        self._read(False)

    def kill(self) -> None:
        """Close now."""
        session, self.session, self.closing = self.session, ffi.NULL, True
        if session == ffi.NULL:
            return
        lib.fridge_socket_forget(self.wire)
        lib.session_free(session)
        self._sock.close()
        self._worker.dismiss(self)

    # --- what CLIENT LIST says ---

    def describe(self) -> Any:
        """The session's session_facts."""
        facts = ffi.new("session_facts *")
        lib.session_describe(self.session, facts)
        return facts

    def line(self, now: int) -> str:
        """This client as CLIENT LIST shows it."""
        s = self.describe()
        flags = ("O" if self.monitor else "") + ("x" if s.in_multi else "") + ("e" if s.no_evict else "")
        flags += ("U" if self.is_unix else "") + ("T" if s.no_touch else "")
        return (
            f"id={self.id} addr={self.address} laddr={self.local_address} fd={self._sock.fileno()} name={text(s.name)}"
            f" age={(now - self.since) // 1000} idle={max(0, now - self.wire.last_ms) // 1000} flags={flags or 'N'} db={s.db}"
            f" sub=0 psub=0 ssub=0 multi={s.queued if s.in_multi else -1} watch={s.watching} qbuf={s.query_bytes} qbuf-free=0"
            f" argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={s.output_bytes}"
            f" tot-mem={s.query_bytes + s.output_bytes} events=r cmd={text(s.last_command) or 'NULL'}"
            f" user=default redir=-1 resp={s.protocol} lib-name={text(s.lib_name)} lib-ver={text(s.lib_ver)}"
        )

    @property
    def is_local(self) -> bool:
        """Whether the client is on this host: the unix socket or a loopback address."""
        return self.is_unix or is_loopback(self.address)


def is_loopback(endpoint: str) -> bool:
    """Whether an endpoint (127.0.0.1:6380, [::1]:6380) is on a loopback address."""
    host = endpoint.rpartition(":")[0].strip("[]").removeprefix("::ffff:")
    return host.startswith("127.") or host == "::1"


def _endpoint(name: tuple[str, int]) -> str:
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
