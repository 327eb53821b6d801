"""The one thread of a process that renews leases, and finishes what could not be let go of at once.

It starts with the first lock that needs it, and ends when none does any more. A process that is stopped renews nothing, so
its leases run out; one that is killed holds nothing in any case. A child of fork begins with none.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from fridge.errors import ClosedError, FridgeError
from fridge.line import PASSING, Line

RETRY_S = 0.05  # between two attempts to let go of what a stopped process's latch keeps
logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """Something to do at a time. order tells jobs of one time apart."""

    due: float
    order: int
    token: bytes
    run: Callable[[], float | None]


class Keeper:
    """The thread and its jobs. A job returns after how many seconds it wants to run again; None: never."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._ended: set[bytes] = set()
        self._order = 0
        self._thread: threading.Thread | None = None

    def add(self, token: bytes, seconds: float, run: Callable[[], float | None]) -> None:
        """Run a job after so many seconds."""
        with self._changed:
            self._push(token, seconds, run)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fridge-keeper", daemon=True)
                self._thread.start()
            self._changed.notify()

    def end(self, token: bytes) -> None:
        """Run a token's job no more."""
        with self._changed:
            kept = [job for job in self._jobs if job.token != token]
            if len(kept) == len(self._jobs) and self._thread is not None:
                self._ended.add(token)  # it is running at this moment
            self._jobs = kept
            heapq.heapify(self._jobs)
            self._changed.notify()

    def give_back(self, line: Line, token: bytes) -> None:
        """Give up a grant or a place in line as soon as it can be done."""

        def run() -> float | None:
            line.store._hold()
            try:
                line.give_back_held(token)
            except PASSING:
                return RETRY_S
            finally:
                line.store._release()
            return None

        self.add(token, RETRY_S, run)

    def _push(self, token: bytes, seconds: float, run: Callable[[], float | None]) -> None:
        self._order += 1
        heapq.heappush(self._jobs, Job(time.monotonic() + seconds, self._order, token, run))

    def _next(self) -> Job | None:
        """Sleep until a job is due, and take it. None: there is nothing left to do, and this thread ends."""
        with self._changed:
            while self._jobs:
                left = self._jobs[0].due - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._jobs)
                self._changed.wait(left)
            self._thread = None
            self._ended.clear()
            return None

    def _work(self) -> None:
        while job := self._next():
            again = _attempt(job)
            with self._changed:
                if job.token in self._ended:
                    self._ended.discard(job.token)
                elif again is not None:
                    self._push(job.token, again, job.run)


def _attempt(job: Job) -> float | None:
    try:
        return job.run()
    except ClosedError:  # what the handle held ended with it
        return None
    except PASSING as error:
        logger.warning("a lease could not be renewed, will try again: %s", error)
        return RETRY_S
    except FridgeError as error:
        logger.warning("a lease could not be renewed: %s", error)
        return None


_keepers: dict[int, Keeper] = {}


def keeper() -> Keeper:
    """Return this process's keeper."""
    pid = os.getpid()
    found = _keepers.get(pid)
    return found if found is not None else _keepers.setdefault(pid, Keeper())
