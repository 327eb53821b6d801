"""Forked children that report to the test, and can be stopped and killed: what the tests of locks and their kin share."""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

PATIENCE = 20.0  # seconds; a busy machine is slow, and a test that hangs says nothing


class Child:
    """A forked process that runs work(tell, *arguments); tell(value) is what get() of the parent returns.

    It ends with status 0 unless something was raised; the traceback goes to the test's stderr.
    """

    def __init__(self, work: Callable[..., object], *arguments: object) -> None:
        self._answers, mine = Pipe()
        self.pid = os.fork()
        self.status: int | None = None
        if self.pid:
            mine.close()
            return
        self._answers.close()
        os._exit(_run(work, mine, arguments))

    def get(self) -> Any:
        """Return the next value that the child tells."""
        assert self._answers.poll(PATIENCE), f"child {self.pid} told nothing in {PATIENCE} s"
        return self._answers.recv()

    def told(self) -> bool:
        """Say whether get() has something to return now."""
        return self._answers.poll(0)

    def go(self, value: object = None) -> None:
        """Let the child's tell.wait() return."""
        self._answers.send(value)

    def signal(self, number: int) -> None:
        """Send a signal; after SIGSTOP, wait until the child stands still."""
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            os.waitpid(self.pid, os.WUNTRACED)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Killing what has ended is harmless."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
        self._answers.close()

    def end(self) -> None:
        """Wait for the child; it must have ended with status 0."""
        if self.status is None:
            self.status = os.waitpid(self.pid, 0)[1]
        self._answers.close()
        assert self.status == 0, f"child {self.pid} ended with status {self.status}"


class Tell:
    """What a child's work is given: call it with a value for the parent, or wait for the parent's go."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __call__(self, value: object = None) -> None:
        """Tell the parent."""
        self._pipe.send(value)

    def wait(self) -> Any:
        """Sleep until the parent says go; return what it says."""
        return self._pipe.recv()


def _run(work: Callable[..., object], pipe: Connection, arguments: tuple[object, ...]) -> int:
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work(Tell(pipe), *arguments)
    except EOFError:  # the test has ended
        return 0
    except BaseException:
        os.write(2, f"child {os.getpid()}: {traceback.format_exc()}".encode())
        return 1
    return 0


@contextlib.contextmanager
def children(work: Callable[..., object], number: int, *arguments: object) -> Iterator[list[Child]]:
    """Fork so many children, told their index first; kill those that are left at the end."""
    started: list[Child] = []
    try:
        for i in range(number):
            started.append(Child(work, i, *arguments))  # noqa: PERF401 - those that started are killed if one does not
        yield started
    finally:
        for child in started:
            child.kill()


@contextlib.contextmanager
def child(work: Callable[..., object], *arguments: object) -> Iterator[Child]:
    """Fork one child; kill it at the end if it is left."""
    started = Child(work, *arguments)
    try:
        yield started
    finally:
        started.kill()
