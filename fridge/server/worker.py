"""A data worker: one uvloop loop that serves RESP on the listening sockets it was born with.

It keeps nothing that the server could not lose: settings, client ids and the registry of clients are in the segment, so
that a worker killed at any moment is replaced by a fork of the supervisor and no other client notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
import time

import uvloop

from fridge._native import ffi, lib
from fridge.errors import FridgeError
from fridge.server.clients import ClientIds, ClientRegistry
from fridge.server.connection import DENIED, TOO_MANY, Connection
from fridge.server.context import Context
from fridge.server.host import Host
from fridge.server.info import OpsMeter

log = logging.getLogger(__name__)

TICK = 0.1  # seconds between two looks at settings_version
SLOW_TICKS = 10  # every so many ticks: timeouts, the registry, a sign of life
OUTPUT_SOFT = 1 << 20  # bytes of replies after which a session lets the transport send first
ARGUMENTS_MAX = 1 << 20
ACCEPT_TURN = 64  # connections accepted in one turn of the loop
ACCEPT_PAUSE = 1.0  # seconds until accepting is tried again after it failed
READY, ALIVE = b"R", b"."  # what a child tells the supervisor


class Worker:
    """The state of a data worker.

    Args:
        context: what the supervisor gave it.
        number: 0 for the first; names it in `fridge ps` and owns its lines in the registry.
    """

    def __init__(self, context: Context, number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.context, self.number, self.loop = context, number, loop
        self.epoll = select.epoll()  # of the clients' sockets
        self._round = ffi.new("fridge_round *", {"epoll": self.epoll.fileno()})
        self.watched = False  # a MONITOR client is there
        cells, started = len(context.segment.cells), int(context.server.started)
        self.facts = ffi.new("server_facts *", {"command_cells": cells, "start_s": started})
        self.ids = ClientIds(context.segment)
        self.registry = ClientRegistry(context.segment, context.run_id, number)
        self.connections: dict[int, Connection] = {}
        self.ops = OpsMeter()
        self.host = Host(self)
        self._listening: list[socket.socket] = []
        self._ticks = 0
        self.stopped = asyncio.Event()
        self.apply_settings()

    # --- settings ---

    def apply_settings(self) -> None:
        """Make the sessions obey the present settings."""
        s, facts = self.context.shared.current, self.facts
        facts.query_limit = s.client_query_buffer_limit + s.proto_max_bulk_len  # one longest value always fits
        facts.output_soft = OUTPUT_SOFT
        facts.output_hard = s.client_output_limit + s.proto_max_bulk_len
        facts.max_bulk = s.proto_max_bulk_len
        facts.slowlog_us = max(0, s.slowlog_log_slower_than)
        facts.max_args = ARGUMENTS_MAX
        facts.password_set = bool(s.requirepass)
        facts.debug_enabled = s.enable_debug_command

    # --- clients come and go ---

    def _accept(self, listening: socket.socket) -> None:
        """Let in who waits at a door, some of them a turn."""
        for _ in range(ACCEPT_TURN):
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # above all EMFILE: who waits stays in the queue
                log.warning("worker %d cannot accept: %s", self.number, error.strerror)
                self.loop.remove_reader(listening)
                self.loop.call_later(ACCEPT_PAUSE, self._listen, listening)
                return
            sock.setblocking(False)
            connection = Connection(self, sock, peer)
            refusal = self.admit(connection)
            if refusal:
                with contextlib.suppress(OSError):
                    sock.send(refusal)
                sock.close()
            else:
                connection.heed(lib.FEED_MORE)

    def _listen(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self.loop.add_reader(listening, self._accept, listening)

    def _serve_clients(self) -> None:
        """Some of them have sent something, or taken something."""
        for i in range(lib.fridge_serve(self._round)):
            report = self._round.reports[i]
            connection = self.connections.get(report.id)  # None: dropped on the report of another
            if connection is not None:
                connection.heed(report.what)

    def admit(self, connection: Connection) -> bytes | None:
        """Give a new connection its session and its id; or the words with which it is turned away."""
        segment, settings = self.context.segment, self.context.shared.current
        if settings.protected_mode and not settings.requirepass and not connection.is_local:
            segment.count("connections_rejected")
            return DENIED
        try:
            if self.registry.count() >= settings.maxclients:
                segment.count("connections_rejected")
                return TOO_MANY
            connection.id = self.ids.take()
        except FridgeError as error:
            return f"-ERR {error}\r\n".encode()
        session = lib.session_new(segment.store, self.facts, connection.id)
        if session == ffi.NULL:
            return b"-ERR out of memory\r\n"
        if not settings.requirepass:
            lib.session_authenticate(session, 1)  # and stays so when a password is set later, as in Redis
        connection.admit(session)
        self.connections[connection.id] = connection
        self.registry.put(connection.id, connection.line(lib.fridge_boot_ms()))
        segment.count("connections_received")
        return None

    def dismiss(self, connection: Connection) -> None:
        """A connection is gone."""
        del self.connections[connection.id]
        self.registry.drop(connection.id)
        if connection.monitor:
            self.monitors_changed()

    def monitors_changed(self) -> None:
        """Tell the sessions whether anybody watches."""
        self.facts.monitors = sum(c.monitor for c in self.connections.values())
        self.watched = self._round.report_all = bool(self.facts.monitors)

    def show_monitors(self, connection: Connection) -> None:
        """Show what a session has executed to the MONITOR clients of this worker."""
        pointer = ffi.new("char **")
        n = lib.session_monitor_take(connection.session, pointer)
        now, shown = f"{time.time():.6f}".encode(), []
        for line in ffi.unpack(pointer[0], n).splitlines() if n else ():
            db, _, words = line.partition(b" ")
            shown.append(b"%s [%s %s] %s" % (now, db, connection.address.encode(), words))
        for other in list(self.connections.values()):
            if shown and other.monitor and other is not connection:
                other.push(shown)

    def tune(self, sock: socket.socket) -> None:
        """Set a TCP connection's options. Raises OSError."""
        keepalive = self.context.shared.current.tcp_keepalive
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, keepalive // 3))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def publish_clients(self) -> None:
        """Write the lines of this worker's clients as they are now, until one meets a held latch: each waits 1 ms for it."""
        now = lib.fridge_boot_ms()
        for connection in self.connections.values():
            if not self.registry.put(connection.id, connection.line(now)):
                return

    # --- now and then ---

    def tick(self) -> None:
        """Ten times a second: settings and kills that came in through another worker."""
        self._ticks += 1
        try:
            if self.context.shared.refresh():
                self.apply_settings()
                for client_id in self.registry.take_kills(self.connections):
                    self.connections[client_id].kill()
            if self._ticks % SLOW_TICKS == 0:
                self._slow_tick()
        except FridgeError as error:
            log.warning("worker %d: %s", self.number, error)
        if not self.stopped.is_set():
            self.loop.call_later(TICK, self.tick)

    def _slow_tick(self) -> None:
        """Once a second."""
        self.context.say(ALIVE)
        self.ops.sample(self.context.segment.statistic("commands_processed"))
        self.registry.flush()
        settings, now = self.context.shared.current, lib.fridge_boot_ms()
        if self.context.settings.workers > 1:
            self.publish_clients()
        overdue = [c for c in self.connections.values() if c.is_overdue(now, settings.timeout, settings.request_timeout)]
        for connection in overdue:
            connection.close()

    # --- life ---

    async def serve(self) -> None:
        """Serve until told to stop, then drain. Raises FridgeError when the segment refuses this process."""
        self.context.introduce(f"worker {self.number}")
        self.registry.forget_worker()
        self.ids.fetch()
        self.context.shared.refresh()
        self.apply_settings()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.stopped.set)
        self.loop.add_reader(self.context.life, self.stopped.set)
        self.loop.add_reader(self.epoll, self._serve_clients)
        self._listening = [door.socket.dup() for door in self.context.doors if door.speaks == "resp"]
        for listening in self._listening:
            listening.listen(self.context.settings.tcp_backlog)
            self._listen(listening)
        self.tick()
        self.context.say(READY)
        await self.stopped.wait()
        await self._drain()

    async def _drain(self) -> None:
        """Stop accepting; let clients take the replies to what was read; then let go of them."""
        while self._listening:
            listening = self._listening.pop()
            self.loop.remove_reader(listening)
            listening.close()
        deadline = self.loop.time() + self.context.shared.current.drain_timeout
        for connection in list(self.connections.values()):
            connection.close()
        while self.connections and self.loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self.connections.values()):
            connection.kill()
        self.loop.remove_reader(self.epoll)
        self.epoll.close()


def run(context: Context, number: int) -> int:
    """Be worker `number` until told to stop; the process's exit status."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = Worker(context, number, loop)
    try:
        loop.run_until_complete(worker.serve())
    except FridgeError as error:
        log.error("worker %d (pid %d): %s", number, os.getpid(), error)
        return 1
    finally:
        loop.close()
    return 0
