"""The checker's model of a key that holds a number: GET, SET, CAS, INCR, DEL, and compare-and-set by version.

A version is what `get_versioned` gave: every write renews it, and it only rises. What WATCH remembers is a version that the
client does not see: a number of its own stands for it, and every write ends it. What stands for absence is shared by several
keys: it may rise though nothing has happened to this one, and a compare-and-set on it may be refused for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .linearizable import Model, Operation

# What a compare-and-swap answers. The mmap door says False for both kinds of refusal.
SWAPPED, DIFFERENT, ABSENT, REFUSED = 1, 0, -1, 2
KINDS = ("get", "set", "cas", "incr", "delete", "look", "swap", "watch", "exec")


@dataclass(frozen=True)
class Register:
    """The key.

    Args:
        value: None: absent.
        version: known: its version; else all versions that were seen are at most this.
        known: whether somebody has seen the present version.
        watched: the watches that are still good.
    """

    value: int | None = None
    version: int = -1
    known: bool = False
    watched: frozenset[int] = frozenset()

    def write(self, value: int | None) -> Register:
        """With another value: a version that nobody has seen, and no good watch."""
        return Register(value, self.version)

    def may_have(self, version: int) -> bool:
        """Whether this can be the present version."""
        return version == self.version if self.known else version > self.version


def _get(r: Register, o: Operation) -> tuple[bool, Register]:
    return o.maybe or o.result == r.value, r


def _set(r: Register, o: Operation) -> tuple[bool, Register]:
    return True, r.write(o.value)


def _incr(r: Register, o: Operation) -> tuple[bool, Register]:
    total = (r.value or 0) + o.value
    return o.maybe or o.result == total, r.write(total)


def _delete(r: Register, o: Operation) -> tuple[bool, Register]:
    there = r.value is not None
    return o.maybe or o.result == int(there), r.write(None) if there else r


def _cas(r: Register, o: Operation) -> tuple[bool, Register]:
    if r.value == o.expected:
        return o.maybe or o.result == SWAPPED, r.write(o.value)
    return o.maybe or o.result in (REFUSED, ABSENT if r.value is None else DIFFERENT), r


def _look(r: Register, o: Operation) -> tuple[bool, Register]:
    """get_versioned: `number` is the version that came with the value."""
    if o.maybe:
        return True, r
    risen = r.value is None and o.number >= r.version
    return o.result == r.value and (risen or r.may_have(o.number)), replace(r, version=o.number, known=True)


def _watch(r: Register, o: Operation) -> tuple[bool, Register]:
    return True, replace(r, watched=r.watched | {o.number})


def _guarded(r: Register, o: Operation, can: bool, must: bool) -> tuple[bool, Register]:
    """A write that depends on what was seen: it can be that it succeeds; it must succeed."""
    if o.result == SWAPPED or (o.maybe and can):
        return can, r.write(o.value)
    return o.maybe or not must or r.value is None, r


def _swap(r: Register, o: Operation) -> tuple[bool, Register]:
    """cas_version: `number` is the version that must be there."""
    can = r.may_have(o.number)
    return _guarded(replace(r, version=o.number) if can else r, o, can, r.known and can)


def _exec(r: Register, o: Operation) -> tuple[bool, Register]:
    """MULTI, SET, EXEC: `number` is the watch."""
    return _guarded(r, o, o.number in r.watched, o.number in r.watched)


_RULES: dict[str, Callable[[Register, Operation], tuple[bool, Register]]] = {
    "get": _get, "set": _set, "cas": _cas, "incr": _incr, "delete": _delete,
    "look": _look, "swap": _swap, "watch": _watch, "exec": _exec,
}  # fmt: skip

REGISTER = Model(Register(), lambda r, o: _RULES[o.kind](r, o))
