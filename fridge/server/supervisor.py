"""The supervisor: opens the segment and the doors, forks one housekeeper and the data workers, and replaces the killed.

It runs no loop and no thread and serves nobody, so there is little in it that can fail; everything is imported before
the first fork, so a replacement starts in milliseconds and shares its pages. It waits in poll(2) on three things: signals
(through a wake-up descriptor), the children's status pipe, and the next moment something is due.

Children learn of its death by a pipe whose write end only it holds. Listening sockets stay open here for as long as the
server lives: a client that connects while a worker is replaced waits in the kernel's queue.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from fridge.errors import FridgeError
from fridge.server import housekeeper, worker
from fridge.server.context import Context
from fridge.server.doors import close_doors
from fridge.server.notify import Notifier
from fridge.server.shared import forget_server

log = logging.getLogger(__name__)

BACK_OFF_FIRST, BACK_OFF_LAST = 0.05, 5.0  # seconds before a child that died young is replaced, doubling
YOUNG = 10.0  # seconds; a child that lived longer is replaced at once
STARTUP_DEATHS_MAX = 3  # of one child before it was ever ready: then the server gives up
KILL_MARGIN = 2.0  # seconds beyond drain-timeout before SIGKILL
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)


@dataclass
class Child:
    """A process of the server and how it fares. pid is 0 while it is dead; due says when it is forked again."""

    name: str
    body: Callable[[Context], int]
    pid: int = 0
    born: float = 0.0
    due: float = 0.0
    back_off: float = 0.0
    ready: bool = False
    ever_ready: bool = False
    deaths: int = 0
    status: int = -1  # read end of its status pipe
    last_word: float = 0.0


class Supervisor:
    """Runs a server whose segment and doors are open.

    Args:
        context: they, and the settings.
        notifier: the service manager.
        announce: called once, when every child is ready.
    """

    def __init__(self, context: Context, notifier: Notifier, announce: Callable[[], None]) -> None:
        self._context, self._notifier, self._announce = context, notifier, announce
        self._life_read, self._life_write = os.pipe()
        self._wake_read, self._wake_write = socket.socketpair()
        self._children = [Child("housekeeper", housekeeper.run)]
        for number in range(context.settings.workers):
            self._children.append(Child(f"worker {number}", lambda c, n=number: worker.run(c, n)))  # type: ignore[misc]
        self._stopping = False
        self._announced = False
        self._deadline = 0.0
        self._failed = False
        self._next_alive = 0.0

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; the exit status."""
        self._catch_signals()
        gc.collect()
        gc.freeze()
        try:
            while not self._finished():
                self._fork_due()
                self._wait()
                self._reap()
                self._greet()
        finally:
            self._kill_all()
            signal.set_wakeup_fd(-1)
            self._leave()
        return 1 if self._failed else 0

    # --- signals ---

    def _catch_signals(self) -> None:
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)

    def _take_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wake_read.recv(256):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop(again=self._stopping)

    def _stop(self, again: bool = False) -> None:
        """Ask every child to drain. A second request leaves them a moment only."""
        timeout = 0.0 if again else self._context.settings.drain_timeout + KILL_MARGIN
        self._deadline = time.monotonic() + timeout
        if again:
            return
        self._stopping = True
        self._notifier.stopping()
        for child in self._children:
            if child.pid:
                os.kill(child.pid, signal.SIGTERM)

    # --- children ---

    def _fork_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and not self._stopping and child.due <= now:
                self._fork(child)

    def _fork(self, child: Child) -> None:
        status_read, status_write = os.pipe()
        os.set_blocking(status_read, False)
        os.set_blocking(status_write, False)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be(child, status_read, status_write)
        os.close(status_write)
        child.pid, child.status, child.ready = pid, status_read, False
        child.born = child.last_word = time.monotonic()

    def _be(self, child: Child, status_read: int, status_write: int) -> None:
        """The child's side of the fork. Does not return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.close(status_read)
            os.close(self._life_write)
            self._wake_read.close()
            self._wake_write.close()
            for other in self._children:
                if other.status >= 0:
                    os.close(other.status)
            self._context.life, self._context.status = self._life_read, status_write
            code = child.body(self._context)
        except BaseException:
            log.exception("%s (pid %d) failed", child.name, os.getpid())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        for child in self._children:
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._bury(child, status)

    def _bury(self, child: Child, status: int) -> None:
        pid, now = child.pid, time.monotonic()
        self._listen(child)
        os.close(child.status)
        child.pid, child.status = 0, -1
        if self._stopping:
            self._failed |= os.waitstatus_to_exitcode(status) != 0
            return
        how = os.waitstatus_to_exitcode(status)
        child.deaths += 1
        young = now - child.born < YOUNG
        child.back_off = min(BACK_OFF_LAST, max(BACK_OFF_FIRST, 2 * child.back_off)) if young else 0.0
        child.due = now + child.back_off
        what = f"was killed by signal {-how}" if how < 0 else f"ended with status {how}"
        log.warning("%s (pid %d) %s; replacing it in %.2f s", child.name, pid, what, child.back_off)
        if not child.ever_ready and child.deaths >= STARTUP_DEATHS_MAX:
            log.error("%s cannot start; giving up", child.name)
            self._failed = True
            self._stop()

    # --- waiting ---

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        for child in self._children:
            if child.pid and child.status >= 0:
                poll.register(child.status, select.POLLIN)
        poll.poll(self._milliseconds_to_wait())
        self._take_signals()
        for child in self._children:
            if child.pid:
                self._listen(child)
        if self._stopping and time.monotonic() >= self._deadline:
            self._kill_all()

    def _milliseconds_to_wait(self) -> int:
        now = time.monotonic()
        moments = [child.due for child in self._children if not child.pid and not self._stopping]
        if self._stopping:
            moments.append(self._deadline)
        elif self._notifier.watchdog_seconds:
            moments.append(self._next_alive)
        # A child whose pipe closed but whose zombie is not there yet must not make this spin: SIGCHLD wakes us.
        return max(1, int(1000 * min((m - now for m in moments), default=3600.0)) + 1)

    def _listen(self, child: Child) -> None:
        """Take what a child said: that it is ready, or that it lives."""
        with contextlib.suppress(BlockingIOError):
            said = os.read(child.status, 256)
            if said:
                child.last_word = time.monotonic()
            if worker.READY in said:
                child.ready = child.ever_ready = True

    def _greet(self) -> None:
        """Tell the world once all are ready, and the watchdog that all live."""
        now = time.monotonic()
        if not self._announced and not self._stopping and all(c.ready for c in self._children):
            self._announced = True
            self._announce()
            self._notifier.ready(f"serving {self._context.server.segment_path}")
        patience = self._notifier.watchdog_seconds
        if patience and now >= self._next_alive:
            if all(c.pid == 0 or now - c.last_word < 2 * patience + 1 for c in self._children):
                self._notifier.alive()
            self._next_alive = now + patience

    # --- the end ---

    def _finished(self) -> bool:
        return self._stopping and not any(child.pid for child in self._children)

    def _kill_all(self) -> None:
        for child in self._children:
            if child.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
                _, status = os.waitpid(child.pid, 0)
                self._bury(child, status)

    def _leave(self) -> None:
        close_doors(self._context.doors)
        with contextlib.suppress(FridgeError):
            forget_server(self._context.segment, self._context.run_id)
        self._context.segment.close()
        for fd in (self._life_read, self._life_write):
            os.close(fd)
        self._wake_read.close()
        self._wake_write.close()

