"""A storm of SIGKILLs over one contender, and the oracle outside its files that says what became wrong.

Writers raise the pair as fast as they can; the driver kills one at a time, at a random moment, and lets a successor take
its place. Each is the child of a helper that makes it PID 1 of a PID namespace of its own, if that is wanted: what a
container does with its main process. The oracle is a board in memory that all inherit:

1. `done` is raised after an increment was reported as done: the pair may never hold less than the sum (lost), nor more
   than the sum of `begun` (invented).
2. A number that two increments both return was given out twice: they were not exclusive (doubled). Where the section is
   ours, a writer that finds somebody else's mark on leaving it was not alone in it (overlap). Only the living count.
3. Words that differ while nobody was reported dead are torn.
4. When no writer gets anything done for STUCK seconds, the contender is stuck: that is noted, all are killed, what is
   left is looked at, and the storm goes on with a fresh pair.

Leaves out: what the contenders are (contenders.py), and the table (peers_crash.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import processes
from contenders import Contender, Keeper, Outcome

WRITERS = 4
READ_EVERY = 8
NUMBERS = 1 << 26
STUCK = 2.0
LIFE_SECONDS, MOMENT_SECONDS = 0.1, 0.01  # how long a writer may take to its first increment; when it is killed then
CLONE_NEWUSER, CLONE_NEWPID, PR_SET_PDEATHSIG = 0x10000000, 0x20000000, 1
NO_NAMESPACE = 71
NOTE_BYTES = 160
PID, STATUS, LIFE, LIVE, BUSY, BEGUN, DONE, READS, FAILED, TORN, OVERLAP, DOUBLED, REFUSED, CELLS = range(14)

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Tally:
    """What a storm came to."""

    kills: int = 0
    in_operation: int = 0  # of the kills
    operations: int = 0
    overlaps: int = 0
    doubled: int = 0
    torn: int = 0
    stuck: int = 0
    stuck_seconds: float = 0.0
    lost: int = 0
    invented: int = 0
    failed: int = 0
    refused: int = 0
    aborts: int = 0
    seconds: float = 0.0
    notes: set[str] = field(default_factory=set)

    def wrong(self) -> int:
        """Return how much of it should not have happened."""
        return (self.overlaps + self.doubled + self.torn + self.stuck + self.lost + self.invented + self.failed
                + self.aborts)  # fmt: skip


class Board:
    """Words and notes in memory that all processes of a storm share."""

    def __init__(self) -> None:
        self._words = memoryview(mmap.mmap(-1, WRITERS * CELLS * 8)).cast("Q")
        self._notes = mmap.mmap(-1, WRITERS * NOTE_BYTES)
        self.numbers = mmap.mmap(-1, NUMBERS)

    def get(self, writer: int, cell: int) -> int:
        return self._words[writer * CELLS + cell]

    def put(self, writer: int, cell: int, value: int) -> None:
        self._words[writer * CELLS + cell] = value

    def add(self, writer: int, cell: int, by: int = 1) -> None:
        """Raise a cell that only one process writes."""
        self._words[writer * CELLS + cell] += by

    def total(self, cell: int) -> int:
        return sum(self.get(writer, cell) for writer in range(WRITERS))

    def note(self, writer: int, what: str) -> None:
        """Keep the writer's first note."""
        if self._notes[writer * NOTE_BYTES] == 0:
            line = what.encode()[:NOTE_BYTES]
            self._notes[writer * NOTE_BYTES : writer * NOTE_BYTES + len(line)] = line

    def notes(self) -> set[str]:
        every = (self._notes[i * NOTE_BYTES : (i + 1) * NOTE_BYTES].rstrip(b"\0") for i in range(WRITERS))
        return {note.decode(errors="replace") for note in every if note}


# --- a writer --------------------------------------------------------------------------------------------------------


def _saw(board: Board, writer: int, outcome: Outcome) -> None:
    board.add(writer, TORN, outcome.torn)
    board.add(writer, OVERLAP, outcome.overlap)
    board.add(writer, REFUSED, outcome.refused)


def _add(keeper: Keeper, board: Board, writer: int, me: int) -> None:
    board.add(writer, BEGUN)
    board.put(writer, BUSY, 1)
    outcome = keeper.add(me)
    board.add(writer, DONE)
    board.put(writer, BUSY, 0)
    board.add(writer, LIVE)
    _saw(board, writer, outcome)
    if outcome.number < NUMBERS:
        board.add(writer, DOUBLED, board.numbers[outcome.number])
        board.numbers[outcome.number] = 1


def _read(keeper: Keeper, board: Board, writer: int, me: int) -> None:
    board.put(writer, BUSY, 1)
    _saw(board, writer, keeper.read(me))
    board.put(writer, BUSY, 0)
    board.add(writer, READS)


def _write_for_ever(contender: Contender, place: Path, board: Board, writer: int) -> None:
    me = board.get(writer, LIFE) * WRITERS + writer + 1
    keeper = contender.attach(place)
    turn = 0
    while True:
        turn += 1
        try:
            (_add if turn % READ_EVERY else _read)(keeper, board, writer, me)
        except Exception as error:
            board.add(writer, FAILED)
            board.note(writer, f"{type(error).__name__}: {error}")
            time.sleep(0.001)


# --- the driver ------------------------------------------------------------------------------------------------------


def _isolate() -> None:
    """Let this process's next child be PID 1 of a new PID namespace."""
    flags = CLONE_NEWPID | (0 if os.geteuid() == 0 else CLONE_NEWUSER)
    if _libc.unshare(flags) != 0:
        os._exit(NO_NAMESPACE)


def _help(contender: Contender, place: Path, board: Board, writer: int, namespaces: bool) -> None:
    """Be a writer's parent: it dies with us, and we tell how it ended."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if namespaces:
        _isolate()
    pid = os.fork()
    if pid == 0:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            _write_for_ever(contender, place, board, writer)
        except BaseException as error:
            board.note(writer, f"{type(error).__name__}: {error}")
        finally:
            os._exit(70)
    board.put(writer, PID, pid)
    board.put(writer, STATUS, os.waitpid(pid, 0)[1])
    os._exit(0)


class _Crowd:
    """The writers over one pair, from its making to its end."""

    def __init__(self, contender: Contender, place: Path, namespaces: bool, chance: random.Random, tally: Tally) -> None:
        self._contender, self._place, self._namespaces = contender, place, namespaces
        self._chance, self._tally, self._board = chance, tally, Board()
        self._helpers = [0] * WRITERS
        contender.make(place)
        for writer in range(WRITERS):
            self._spawn(writer)

    def storm(self, until: float) -> None:
        """Kill until then, or until nothing goes on any more."""
        done, since = -1, time.monotonic()
        while (now := time.monotonic()) < until:
            if self._board.total(DONE) != done:
                done, since = self._board.total(DONE), now
            if now - since > STUCK:
                self._tally.stuck += 1
                self._tally.stuck_seconds += now - since
                return
            writer = self._chance.randrange(WRITERS)
            self._let_live(writer, until)
            self._kill(writer)
            self._spawn(writer)

    def end(self) -> None:
        """Kill all and count what is left."""
        for writer in range(WRITERS):
            self._kill(writer, counts=False)
        board, tally = self._board, self._tally
        try:
            left = self._contender.peek(self._place)
        except Exception as error:
            tally.torn += 1
            tally.notes.add(f"what is left cannot be read: {type(error).__name__}: {error}")
        else:
            tally.torn += left.torn
            tally.lost += max(0, board.total(DONE) - left.number)
            tally.invented += max(0, left.number - board.total(BEGUN))
        tally.operations += board.total(DONE) + board.total(READS)
        tally.overlaps += board.total(OVERLAP)
        tally.doubled += board.total(DOUBLED)
        tally.torn += board.total(TORN)
        tally.failed += board.total(FAILED)
        tally.refused += board.total(REFUSED)
        tally.notes |= board.notes()

    def _spawn(self, writer: int) -> None:
        for cell in (PID, STATUS, LIVE, BUSY):
            self._board.put(writer, cell, 0)
        self._board.add(writer, LIFE)
        pid = os.fork()
        if pid == 0:
            try:
                _help(self._contender, self._place, self._board, writer, self._namespaces)
            finally:
                os._exit(70)
        self._helpers[writer] = pid

    def _let_live(self, writer: int, until: float) -> None:
        """Wait for its first increment, and then some, but not for ever: it may have to wait for the dead."""
        limit = min(until, time.monotonic() + LIFE_SECONDS)
        while time.monotonic() < limit and not self._board.get(writer, LIVE):
            time.sleep(0.0005)
        time.sleep(self._chance.random() * MOMENT_SECONDS)

    def _kill(self, writer: int, counts: bool = True) -> None:
        """Kill a writer, or find that it has ended by itself."""
        board = self._board
        gone = 0
        while not gone and not board.get(writer, PID):  # its helper has not got that far
            gone = os.waitpid(self._helpers[writer], os.WNOHANG)[0]
            time.sleep(0.0005)
        if not gone and board.get(writer, STATUS) == 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(board.get(writer, PID), signal.SIGKILL)
        status = 0 if gone else os.waitpid(self._helpers[writer], 0)[1]
        ended = board.get(writer, STATUS)
        if gone or os.waitstatus_to_exitcode(status) == NO_NAMESPACE:
            raise RuntimeError("a writer could not be started: are PID namespaces allowed here?")
        if os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL:
            self._tally.kills += counts
            self._tally.in_operation += counts and board.get(writer, BUSY)
        else:
            self._tally.aborts += 1
            how = signal.Signals(os.WTERMSIG(ended)).name if os.WIFSIGNALED(ended) else f"exit status {ended >> 8}"
            self._tally.notes.add(f"a writer ended by itself: {how}")


def storm(contender: Contender, namespaces: bool, seconds: float, seed: int) -> Tally:
    """Let the storm loose on a contender.

    Args:
        contender: on what.
        namespaces: each writer in a PID namespace of its own.
        seconds: for how long.
        seed: of victims and moments; the scheduler has its own mind.
    """
    tally, chance, start = Tally(), random.Random(seed), time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        with processes.folder() as place:
            crowd = _Crowd(contender, place, namespaces, chance, tally)
            try:
                crowd.storm(start + seconds)
            finally:
                crowd.end()
    tally.seconds = now - start
    return tally
