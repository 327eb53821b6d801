"""Barriers: processes that wait for each other, at `f.barrier(name, parties)`.

KEYS. `name` is the state, a string of five words: round, open or broken, parties, who has arrived in this round, who has
left it (tokens with commas between them, "-" for none). `name:here` is a lock with several holders, one for each party
that is in wait(): it tells when one of them dies. Every step is one compare-and-set of `name`.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from fridge._native import ffi, lib
from fridge.commands import Key, encode_key
from fridge.errors import ArgumentError, BrokenBarrierError, SegmentDamagedError
from fridge.line import OWNERS, Line, is_whole
from fridge.store import Store, default_store
from fridge.waiting import Deadline

PARTIES = OWNERS // 2  # at most: those who come for the next round have to find room while the last one leaves


class State(NamedTuple):
    """The words of the key. here: arrived in this round, in order; gone: of earlier rounds, that may not know it yet."""

    round: int
    broken: bool
    parties: int
    here: tuple[str, ...]
    gone: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.round} {'broken' if self.broken else 'open'} {self.parties} {_join(self.here)} {_join(self.gone)}"


def _join(tokens: tuple[str, ...]) -> str:
    return ",".join(tokens) or "-"


def _split(word: str) -> tuple[str, ...]:
    return () if word == "-" else tuple(word.split(","))


class Barrier:
    """A place where `parties` callers wait until all of them are there.

    When one of those who wait dies, waits too long or is interrupted, the barrier is broken for all of them, and for who
    comes later, until reset() is called.

    Args:
        name: the key. `name:here` belongs to it as well.
        parties: how many, 1 to 128. All who use the name must agree.
        timeout: seconds that wait() waits when it is not told; None: for ever.
        store: where; the default segment when None.

    Raises:
        ArgumentError: the number of parties is impossible.

    Example:
        >>> f.barrier("start", 3).wait(timeout=10)  # doctest: +SKIP
        0
    """

    def __init__(self, name: Key, parties: int, timeout: float | None = None, *, store: Store | None = None) -> None:
        if not is_whole(parties, 1, PARTIES):
            raise ArgumentError(f"a barrier of {parties!r} parties is impossible: give 1 to {PARTIES}")
        Deadline(timeout)
        self._store = default_store() if store is None else store
        self._line = Line(self._store, name)  # for its calls on the state
        self._members = Line(self._store, encode_key(name) + b":here", OWNERS)
        self.name = name
        self.parties = parties
        self.timeout = timeout

    # --- state ---

    def _read(self) -> tuple[object, State]:
        """Return what the key holds, and what it says."""
        found = self._store.get(self.name)
        if found is None:
            return found, State(0, False, self.parties, (), ())
        words = (found if isinstance(found, str) else found.decode("utf-8", "replace")).split(" ")
        try:
            number, condition, parties, here, gone = words
            return found, State(int(number), condition == "broken", int(parties), _split(here), _split(gone))
        except ValueError:
            raise SegmentDamagedError(f"the key {self.name!r} does not hold the state of a barrier") from None

    def _write(self, old: object, new: State) -> bool:
        return self._store.cas(self.name, old, str(new))  # type: ignore[arg-type]

    def _alive(self) -> set[str]:
        return {holder.token.decode() for holder in self._members.owners(waiting=False)}

    # --- waiting ---

    def wait(self, timeout: float | None = None) -> int:
        """Sleep until all parties are here.

        Args:
            timeout: how many seconds at most, which breaks the barrier; None: as the barrier was made.

        Returns:
            0 to parties - 1, another for each of them.

        Raises:
            BrokenBarrierError: the barrier is broken; the message says by what, where that is known.
            ArgumentError: others use this name with another number of parties.
        """
        deadline = Deadline(self.timeout if timeout is None else timeout)
        token = os.urandom(8).hex()
        try:
            if not self._members.acquire(token.encode(), deadline, lambda _: None, shared=True):
                raise BrokenBarrierError(f"barrier {self._line}: more than {OWNERS} processes are in wait()")
            return self._wait(token, deadline)
        except BaseException as error:
            self._break(token, by_force=not isinstance(error, BrokenBarrierError))
            raise
        finally:
            self._members.let_go(token.encode())

    def _wait(self, token: str, deadline: Deadline) -> int:
        index = self._arrive(token)
        if index == self.parties - 1:
            return index
        version, left, exists = ffi.new("uint64_t *"), ffi.new("uint64_t *"), ffi.new("int *")
        died, waited = ffi.new("int *"), ffi.new("int *")
        members = self._members.key
        while True:
            self._line.call(lib.fridge_key_version, version, left, exists)
            _, state = self._read()
            if token in state.gone:
                return index
            if token not in state.here:
                raise BrokenBarrierError(f"barrier {self._line} was broken, or reset")
            if deadline.milliseconds == 0:
                self._break(token, by_force=True)
                if token in self._read()[1].gone:
                    return index
                raise BrokenBarrierError(f"barrier {self._line}: {len(state.here)} of {self.parties} parties had come when the "
                                         "time was up")  # fmt: skip
            self._line.call(lib.fridge_key_watch, version[0], members, len(members), deadline.milliseconds, version, died, waited)
            if died[0]:
                self._bury()

    def _arrive(self, token: str) -> int:
        """Add this party; the last one opens the barrier for all."""
        while True:
            old, state = self._read()
            self._check(state)
            alive = self._alive()
            if state.here and not alive & set(state.here):  # all who waited are dead: nobody is left to be told
                state = state._replace(here=())
            here = (*state.here, token)
            gone = tuple(other for other in state.gone if other in alive)
            new = state._replace(here=here, gone=gone)
            if len(here) >= self.parties:
                new = state._replace(round=state.round + 1, here=(), gone=gone + here)
            if self._write(old, new):
                return len(here) - 1

    def _check(self, state: State) -> None:
        if state.parties != self.parties:
            raise ArgumentError(f"barrier {self._line} is in use with {state.parties} parties, not {self.parties}")
        if state.broken:
            raise BrokenBarrierError(f"barrier {self._line} is broken: reset() mends it")

    def _bury(self) -> None:
        """Somebody in wait() died. If the round still needed it the barrier is broken."""
        alive = self._alive()
        while True:
            old, state = self._read()
            if state.broken or all(token in alive for token in state.here):
                break
            if self._write(old, state._replace(broken=True, here=())):
                break
        self._members.forget_the_dead()

    def _break(self, token: str, by_force: bool) -> None:
        """Break the barrier if this party waits at it."""
        while by_force:
            old, state = self._read()
            if token not in state.here or self._write(old, state._replace(broken=True, here=())):
                return

    # --- the rest of threading.Barrier ---

    def reset(self) -> None:
        """Mend the barrier and begin a new round. Who waits gets BrokenBarrierError."""
        while True:
            old, state = self._read()
            if self._write(old, State(state.round + 1, False, self.parties, (), state.gone)):
                return

    def abort(self) -> None:
        """Break the barrier."""
        while True:
            old, state = self._read()
            if self._write(old, state._replace(broken=True, here=())):
                return

    @property
    def n_waiting(self) -> int:
        """How many wait at it."""
        return len(self._read()[1].here)

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self._read()[1].broken

    def __repr__(self) -> str:
        return f"<fridge.Barrier {self.name!r} of {self.parties}>"
