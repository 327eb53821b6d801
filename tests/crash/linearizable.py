"""A linearizability checker: Wing and Gong's search with Lowe's cache of what was tried.

A history is a list of operations on one key, each with the times of its call and its return. It is linearizable when the
operations can be put into one order that respects time (what returned before another was called comes first) and in
which each result is the one that the model, used by one client alone, would give. An operation that nobody saw return,
because its client or its server was killed, may have happened at any time after its call, or never.

Keys are checked one by one: a history of several is linearizable when each key's is (Herlihy and Wing, theorem 1).

Leaves out: the models (registers.py, mutexes.py), and how histories are recorded (recorder.py).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)
NEVER = 1 << 62  # "returned" at the end of all times: perhaps not at all


@dataclass(frozen=True)
class Operation:
    """One operation of one client.

    Args:
        called: when, on a clock that all clients share.
        returned: likewise; NEVER when nobody knows whether it happened.
        kind: which one; the models know which there are.
        value: what is written, or the token.
        expected: what must be there for it to be written.
        result: what came back; None: nothing was there.
        number: a version, a watch, or a fencing token.
        life: of the process whose death ends what it holds; 0: of none.
        client: who, for the reader of a report.
    """

    called: int
    returned: int
    kind: str
    value: int = 0
    expected: int = 0
    result: int | None = None
    number: int = 0
    life: int = 0
    client: str = ""

    @property
    def maybe(self) -> bool:
        """Whether nobody saw it return."""
        return self.returned >= NEVER

    def __str__(self) -> str:
        until = "?" if self.maybe else str(self.returned)
        arguments = f"{self.value} ({self.expected}, {self.number}, {self.life})"
        return f"[{self.called}, {until}] {self.client} {self.kind} {arguments} -> {self.result}"


@dataclass(frozen=True)
class Model(Generic[S]):
    """What an object used by one client alone does.

    Args:
        initial: its state at first.
        apply: what becomes of a state by an operation: whether the result is the recorded one (for a maybe: any result
            is), and the state afterwards.
    """

    initial: S
    apply: Callable[[S, Operation], tuple[bool, S]]


def linearizable(history: Sequence[Operation], model: Model[S]) -> bool:
    """Whether an object of the model can have behaved so."""
    return order_of(history, model) is not None


def order_of(history: Sequence[Operation], model: Model[S]) -> list[Operation] | None:
    """Return an order that explains the history, or None. A maybe that is not in it never happened."""
    ops = sorted(history, key=lambda o: o.called)
    needed = sum(1 << i for i, o in enumerate(ops) if not o.maybe)
    tried: set[tuple[int, S]] = set()
    # A step: what has happened (one bit an operation), the state, which operations may come next, which one did.
    stack: list[tuple[int, S, list[int], int]] = [(0, model.initial, _next(ops, 0), -1)]
    while stack:
        done, state, candidates, _ = stack[-1]
        if done & needed == needed:
            return [ops[step[3]] for step in stack[1:]]
        if not candidates:
            stack.pop()
            continue
        i = candidates.pop()
        fits, after = model.apply(state, ops[i])
        reached = (done | 1 << i, after)
        if ops[i].maybe and after == state:  # never is as good, and leaves it for later
            continue
        if fits and reached not in tried:
            tried.add(reached)
            stack.append((*reached, _next(ops, reached[0]), i))
    return None


def _next(ops: Sequence[Operation], done: int) -> list[int]:
    """Which operations may come next: those that were called before the first of the missing ones returned.

    The one that returned first stands last, where it is tried first; maybes are tried when nothing else fits.
    """
    found: list[int] = []
    limit = NEVER + 1
    for i, o in enumerate(ops):
        if o.called > limit:
            break
        if not done >> i & 1:
            found.append(i)
            limit = min(limit, o.returned)
    return sorted((i for i in found if ops[i].called <= limit), key=lambda i: -ops[i].returned)


def shortest_prefix(history: Sequence[Operation], model: Model[S]) -> list[Operation]:
    """The first operations, in order of return, that cannot be explained: what to look at in a failure."""
    ops = sorted(history, key=lambda o: o.returned)
    for n in range(1, len(ops) + 1):
        last = ops[n - 1].returned
        # what had been called by then and returned later may have happened
        pending = [replace(o, returned=NEVER, result=None) for o in ops[n:] if o.called < last]
        if not linearizable([*ops[:n], *pending], model):
            return ops[:n]
    return ops


def overlapping(history: Sequence[Operation]) -> int:
    """How many operations ran at the same time as one of another client."""
    return sum(any(o.client != p.client and o.called < p.returned and p.called < o.returned for p in history) for o in history)
