"""The checker's model of a lock: who holds it, by its token; fencing tokens that only rise; processes that die.

A process that is killed is an operation of its own, `death`, from before the kill until it was waited for: what it held may be
free from the kill on, must be free afterwards, and it gets nothing any more. Whoever is only stopped has no such operation,
so no history explains that it was robbed. A lease is an operation too, `lapse`, that may happen from the lease's end on.

Who waits in line may be granted the lock and lose it again before it wakes, when somebody clears the lock, or knows its token,
or the lease is that short; it then asks once more. Such a grant that its owner never hears of is an operation `early`, which
may come before the acquire that it belongs to, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .linearizable import NEVER, Model, Operation

KINDS = ("acquire", "release", "extend", "holder", "clear")  # that are called; the others: death, lapse, early
NO_FENCE = 0  # of a lock that was taken by SET NX
UNKNOWN = -1
CLOCK_NS = 2_000_000  # leases are counted in whole milliseconds of a clock that was read before the call took effect


@dataclass(frozen=True)
class Mutex:
    """The lock.

    Args:
        holder: the holder's token; None: it is free.
        life: of the process that holds it; 0: of a client that does not hold it by its life.
        fence: of the present grant; UNKNOWN: nobody was told.
        highest: all fencing tokens that were seen are at most this.
        dead: the processes that have died.
        answered: the tokens whose acquire is over: no early grant comes any more.
    """

    holder: int | None = None
    life: int = 0
    fence: int = NO_FENCE
    highest: int = 0
    dead: frozenset[int] = frozenset()
    answered: frozenset[int] = frozenset()

    def freed(self) -> Mutex:
        """Without a holder."""
        return replace(self, holder=None, life=0, fence=NO_FENCE)

    def taken(self, o: Operation, fence: int) -> Mutex:
        """With the caller as its holder."""
        return replace(self, holder=o.value, life=o.life, fence=fence, highest=max(self.highest, fence))


def _acquire(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    """`number` is the fencing token of the grant."""
    free = m.holder is None and o.life not in m.dead
    if o.maybe:
        return free, m.taken(o, UNKNOWN)
    m = replace(m, answered=m.answered | {o.value})
    if not o.result:
        return m.holder is not None, m
    return free and (o.number == NO_FENCE or o.number > m.highest), m.taken(o, o.number)


def _release(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    held = m.holder == o.value
    return o.maybe or o.result == int(held), m.freed() if held else m


def _extend(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    return o.maybe or o.result == int(m.holder == o.value), m


def _holder(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    """`number` is the holder's fencing token; UNKNOWN: it was not asked for."""
    if o.maybe:
        return True, m
    if o.result != m.holder:
        return False, m
    if m.holder is None or o.number in (UNKNOWN, m.fence):
        return True, m
    new = m.fence == UNKNOWN and (o.number == NO_FENCE or o.number > m.highest)
    return new, replace(m, fence=o.number, highest=max(m.highest, o.number))


def _clear(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    return o.maybe or o.result == int(m.holder is not None), m.freed()


def _death(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    return True, replace(m.freed() if m.life == o.life else m, dead=m.dead | {o.life})


def _lapse(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    return True, m.freed() if m.holder == o.value else m


def _early(m: Mutex, o: Operation) -> tuple[bool, Mutex]:
    fits = m.holder is None and o.life not in m.dead and o.value not in m.answered
    return fits, m.taken(o, UNKNOWN)


_RULES: dict[str, Callable[[Mutex, Operation], tuple[bool, Mutex]]] = {
    "acquire": _acquire, "release": _release, "extend": _extend, "holder": _holder, "clear": _clear,
    "death": _death, "lapse": _lapse, "early": _early,
}  # fmt: skip

MUTEX = Model(Mutex(), lambda m, o: _RULES[o.kind](m, o))


def death(life: int, before: int, after: int, who: str = "") -> Operation:
    """A process that was killed not before the one time, and was gone at the other."""
    return Operation(before, after, "death", life=life, client=who)


def lapse(acquired: Operation, lease_ms: int, others: Iterable[Operation] = ()) -> Operation:
    """The end of a lease that was asked for by an acquire.

    Who waits in line is let in by another, whose clock counts: as it was when that call began.
    """
    since = min([acquired.called, *(o.called for o in others if o.called < acquired.returned and o.returned > acquired.called)])
    return Operation(since + lease_ms * 1_000_000 - CLOCK_NS, NEVER, "lapse", acquired.value, client=acquired.client)


def early(acquired: Operation) -> Operation:
    """A grant of an acquire that waits in line, lost before it was told."""
    return replace(acquired, returned=NEVER, kind="early", result=None)
