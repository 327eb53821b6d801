"""A linearizability checker for one register: Wing and Gong's search with Lowe's cache of what was tried.

A history is a list of operations on one key, each with the times of its call and its return. It is linearizable when the
operations can be put into one order that respects time (what returned before another was called comes first) and in
which each result is the one that a register, used by one client alone, would give. An operation that nobody saw return,
because its client or its server was killed, may have happened at any time after its call, or never.

Keys are checked one by one: a history of several is linearizable when each key's is (Herlihy and Wing, theorem 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["get", "set", "cas", "incr", "delete"]
NEVER = 1 << 62  # "returned" at the end of all times: perhaps not at all

# What a compare-and-swap answers. The mmap door says False for both kinds of refusal.
SWAPPED, DIFFERENT, ABSENT, REFUSED = 1, 0, -1, 2


@dataclass(frozen=True)
class Operation:
    """One operation of one client.

    Args:
        called: when, on a clock that all clients share.
        returned: likewise; NEVER when nobody knows whether it happened.
        kind: which one.
        value: what set and cas put, what incr adds.
        expected: of a cas.
        result: get: the value or None; incr: the sum; cas: SWAPPED...; delete: whether there was one; set: None.
        client: who, for the reader of a report.
    """

    called: int
    returned: int
    kind: Kind
    value: int = 0
    expected: int = 0
    result: int | None = None
    client: str = ""

    @property
    def maybe(self) -> bool:
        """Whether nobody saw it return."""
        return self.returned >= NEVER

    def __str__(self) -> str:
        until = "?" if self.maybe else str(self.returned)
        return f"[{self.called}, {until}] {self.client} {self.kind} {self.value} ({self.expected}) -> {self.result}"


def apply(state: int | None, o: Operation) -> tuple[bool, int | None]:
    """Run an operation on a register that holds state (None: nothing).

    Returns:
        Whether the result is the recorded one (for a maybe: any result is), and the register afterwards.
    """
    if o.kind == "get":
        return o.maybe or o.result == state, state
    if o.kind == "set":
        return True, o.value
    if o.kind == "incr":
        total = (state or 0) + o.value
        return o.maybe or o.result == total, total
    if o.kind == "delete":
        return o.maybe or o.result == int(state is not None), None
    return _swap(state, o)


def _swap(state: int | None, o: Operation) -> tuple[bool, int | None]:
    if state == o.expected:
        return o.maybe or o.result == SWAPPED, o.value
    refusals = (REFUSED, ABSENT if state is None else DIFFERENT)
    return o.maybe or o.result in refusals, state


def linearizable(history: Sequence[Operation]) -> bool:
    """Whether a register that is empty at first can have behaved so.

    Example:
        >>> linearizable([Operation(0, 1, "set", 5), Operation(2, 3, "get", result=5)])
        True
    """
    return order_of(history) is not None


def order_of(history: Sequence[Operation]) -> list[Operation] | None:
    """Return an order that explains the history, or None. A maybe that is not in it never happened."""
    ops = sorted(history, key=lambda o: o.called)
    needed = sum(1 << i for i, o in enumerate(ops) if not o.maybe)
    tried: set[tuple[int, int | None]] = set()
    # A step: what has happened (one bit an operation), the register, which operations may come next, which one did.
    stack: list[tuple[int, int | None, list[int], int]] = [(0, None, _next(ops, 0), -1)]
    while stack:
        done, state, candidates, _ = stack[-1]
        if done & needed == needed:
            return [ops[step[3]] for step in stack[1:]]
        if not candidates:
            stack.pop()
            continue
        i = candidates.pop()
        fits, after = apply(state, ops[i])
        reached = (done | 1 << i, after)
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


def shortest_prefix(history: Sequence[Operation]) -> list[Operation]:
    """The first operations, in order of return, that cannot be explained: what to look at in a failure."""
    ops = sorted(history, key=lambda o: o.returned)
    for n in range(1, len(ops) + 1):
        last = ops[n - 1].returned
        # what had been called by then and returned later may have happened
        pending = [Operation(o.called, NEVER, o.kind, o.value, o.expected, None, o.client) for o in ops[n:] if o.called < last]
        if not linearizable([*ops[:n], *pending]):
            return ops[:n]
    return ops


def overlapping(history: Sequence[Operation]) -> int:
    """How many operations ran at the same time as one of another client."""
    return sum(any(o.client != p.client and o.called < p.returned and p.called < o.returned for p in history) for o in history)
