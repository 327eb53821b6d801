"""What two right answers may differ in: one small function a command, with the reason beside it, and the exceptions.

``agree`` compares byte for byte first, always: a function is asked only about what differs, and errors never are. The
functions of ``COMPARE`` cover what redis-server itself does not promise. ``EXCEPTIONS`` is the one list of where fridge
means to answer otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from .generate import Command
from .raw import CLOSED, Tree, Words, tree


@dataclass
class Context:
    """What a comparison may need to know besides the two replies."""

    slack_ms: int  # how far apart in time the two servers saw the same command, at most
    is_unordered: Callable[[bytes], bool]  # redis-server keeps this key's hash without an order
    commands: dict[str, Command]


Compare: TypeAlias = Callable[[Tree, Tree, Words, Context], bool]

# --- functions -----------------------------------------------------------------------------------------------------


def _list(reply: Tree) -> list[Tree]:
    assert isinstance(reply[1], list), reply
    return reply[1]


def _bytes(reply: Tree) -> bytes:
    return reply[1] if isinstance(reply[1], bytes) else b""


def _same_elements(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """The elements in any order."""
    return Counter(map(repr, _list(a))) == Counter(map(repr, _list(b)))


def _pairs(reply: Tree) -> Counter[str]:
    flat = _list(reply)
    return Counter(repr(pair) for pair in zip(flat[::2], flat[1::2], strict=True))


def _unordered_hash(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """A big hash is a hash table: no order. A small one is a list, and its order of insertion is compared."""
    if not context.is_unordered(words[1]):
        return False
    return _pairs(a) == _pairs(b) if words[0].lower() == b"hgetall" else _same_elements(a, b, words, context)


def _scan(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """Cursors are the server's own. The runner follows both to the end and compares the sets; in EXEC it cannot."""
    return all(len(_list(x)) == 2 and _bytes(_list(x)[0]).isdigit() and _list(x)[1][0] == b"*" for x in (a, b))


def _drawn(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """HRANDFIELD draws: the form is compared, and everything when a draw without repetition took all of them."""
    if isinstance(a[1], bytes) or isinstance(b[1], bytes):
        return a[0] == b[0] == b"$"
    if a[1] is None or b[1] is None or len(a[1]) != len(b[1]):
        return False
    nested = bool(a[1]) and a[1][0][0] == b"*"
    took = len(a[1]) // 2 if len(words) == 4 and not nested else len(a[1])
    if int(words[2]) < 100 or took == int(words[2]):  # repeated, or perhaps not all of them
        return [_form(x) for x in a[1]] == [_form(x) for x in b[1]]
    return _pairs(a) == _pairs(b) if len(words) == 4 and not nested else _same_elements(a, b, words, context)


def _form(reply: Tree) -> object:
    """The types of a reply."""
    return (reply[0], [_form(x) for x in reply[1]]) if isinstance(reply[1], list) else reply[0]


def _same_form(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """A draw, an id, a clock, a measure: its type and nothing else."""
    return _form(a) == _form(b)


def _milliseconds(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """The two servers were asked within slack_ms of each other."""
    return a[0] == b[0] == b":" and abs(int(_bytes(a)) - int(_bytes(b))) <= context.slack_ms and int(_bytes(b)) > 0


def _seconds(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """Rounded milliseconds."""
    apart = abs(int(_bytes(a)) - int(_bytes(b)))
    return a[0] == b[0] == b":" and apart <= 1 + context.slack_ms // 1000 and int(_bytes(b)) >= 0


_CLIENT_FIELDS = (b"name", b"sub", b"psub", b"multi", b"resp")  # of every client
_OWN_FIELDS = (*_CLIENT_FIELDS, b"db", b"cmd")  # of the newest, who asks; the others are the runner's own onlookers


def _client_lines(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """Ids, addresses and buffer sizes are the connection's, and the list has no order: what clients say is compared."""
    theirs, ours = (_bytes(x).removeprefix(b"txt:").splitlines() for x in (a, b))
    same = Counter(_client_fields(line) for line in theirs) == Counter(_client_fields(line) for line in ours)
    return a[0] == b[0] and same and _client_fields(theirs[-1], _OWN_FIELDS) == _client_fields(ours[-1], _OWN_FIELDS)


def _client_fields(line: bytes, names: tuple[bytes, ...] = _CLIENT_FIELDS) -> tuple[bytes, ...]:
    fields = dict(word.split(b"=", 1) for word in line.split(b" "))
    return tuple(fields[name] for name in names)


def _info_text(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """Figures are the server's; the sections that were asked for are compared, in their order."""
    theirs, ours = ([line for line in _bytes(x).split(b"\r\n") if line.startswith(b"# ")] for x in (a, b))
    return a[0] == b[0] and [line for line in theirs if line in ours] == [line for line in ours if line in theirs]


def _hello(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """Ids are the server's, and so is the version (design section 7: redis_version is 7.2.4)."""
    theirs, ours = _list(a), _list(b)
    return a[0] == b[0] and all(x == y for i, (x, y) in enumerate(zip(theirs, ours, strict=True)) if i not in (3, 7))


def _known(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """COMMAND LIST: of the commands that both have, the same ones."""
    names = {name.encode() for name in context.commands}
    theirs, ours = ({_bytes(x) for x in _list(side)} & names for side in (a, b))
    return theirs == ours


def _rows(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """COMMAND: all rows in any order; each is compared by COMMAND INFO."""
    return a[0] == b[0] and {_form(x)[0] for x in _list(a)} == {_form(x)[0] for x in _list(b)}  # type: ignore[index]


def _docs(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """COMMAND DOCS: which commands are described; what is said of them is documentation."""
    theirs, ours = ([_bytes(x) for x in _list(side)[::2]] for side in (a, b))
    return a[0] == b[0] and sorted(theirs) == sorted(ours)


def _shared_settings(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """CONFIG GET answers in the order of a hash table of settings."""
    return a[0] == b[0] and _pairs(a) == _pairs(b)


def _text(a: Tree, b: Tree, words: Words, context: Context) -> bool:
    """A text for people, about the server's own memory or commands."""
    return a[0] == b[0]


COMPARE: dict[str, Compare] = {
    "keys": _same_elements, "scan": _scan, "hscan": _scan, "randomkey": _same_form, "hrandfield": _drawn,
    "hgetall": _unordered_hash, "hkeys": _unordered_hash, "hvals": _unordered_hash,
    "ttl": _seconds, "expiretime": _seconds, "pttl": _milliseconds, "pexpiretime": _milliseconds,
    "time": _same_form, "lastsave": _same_form, "client|id": _same_form, "memory|usage": _same_form,
    "object|idletime": _same_form, "object|freq": _same_form, "command|count": _same_form,
    "client|info": _client_lines, "client|list": _client_lines, "info": _info_text, "hello": _hello,
    "command": _rows, "command|list": _known, "command|docs": _docs, "memory|doctor": _text,
    "config|get": _shared_settings,
}  # fmt: skip

# --- exceptions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deviation:
    """A difference that is meant: of which command ("" = any), why, and what it looks like."""

    command: str
    why: str
    holds: Callable[[Tree, Tree, Words], bool]  # redis-server's reply, fridge's


def _both_help(redis: Tree, fridge: Tree, words: Words) -> bool:
    """Both begin and end as HELP does."""
    theirs, ours = _list(redis), _list(fridge)
    return redis[0] == fridge[0] == b"*" and theirs[0] == ours[0] and theirs[-2:] == ours[-2:]


def _encoded_anew(redis: Tree, fridge: Tree, words: Words) -> bool:
    return (redis[1], fridge[1]) in ((b"raw", b"embstr"), (b"embstr", b"int"))


def _other_policies(redis: Tree, fridge: Tree, words: Words) -> bool:
    theirs, ours = (_bytes(x).split(b" must be one of the following: ") for x in (redis, fridge))
    return redis[0] == fridge[0] == b"-" and theirs[0] == ours[0] and len(theirs) == len(ours) == 2


def _two_integers(redis: Tree, fridge: Tree, words: Words) -> bool:
    return redis[0] == fridge[0] == b":"


def _not_reaped(redis: Tree, fridge: Tree, words: Words) -> bool:
    return redis[0] == b":" and fridge in ((b"$", None), (b"_", b""))


def _error_in_a_script(redis: Tree, fridge: Tree, words: Words) -> bool:
    """redis-server adds where in the script it was; a script that is given too little fails somewhere in it."""
    at = _bytes(redis).find(b" script: ")
    return redis[0] == fridge[0] == b"-" and at > 0 and (_bytes(redis)[:at] == _bytes(fridge) or b" wants " in _bytes(fridge))


EXCEPTIONS: tuple[Deviation, ...] = (
    Deviation("eval", "an error inside a script names the line; there are no lines here", _error_in_a_script),
    Deviation("evalsha", "an error inside a script names the line; there are no lines here", _error_in_a_script),
    Deviation("config|set", "of the eviction policies there are noeviction and the three of issue 2, section 2", _other_policies),
    Deviation("object|refcount", "redis-server's value may be the very object that a queued command holds", _two_integers),
    Deviation("object|encoding", "redis-server keeps a short string raw after APPEND or SETRANGE, and what INCRBYFLOAT made of "
              "an integer embstr; here it is that of the value as it is: a block's meta word has no bit left to say more",
              _encoded_anew),
    Deviation("memory|usage", "redis-server measures a key that has expired and was not looked at since; here it is gone",
              _not_reaped),
    *(Deviation(f"{container}|help", "HELP tells of the subcommands that this server has (issue 2, section 3)", _both_help)
      for container in ("client", "command", "config", "memory", "object", "script")),
)  # fmt: skip


def agree(name: str, words: Words, redis: bytes, fridge: bytes, context: Context) -> bool:
    """Whether two raw replies to a command say the same."""
    if redis == fridge:
        return True
    if CLOSED in (redis, fridge):
        return False
    return trees_agree(name, words, tree(redis)[0], tree(fridge)[0], context)


def trees_agree(name: str, words: Words, redis: Tree, fridge: Tree, context: Context) -> bool:
    """``agree`` for parsed replies: those inside EXEC's."""
    if redis == fridge:
        return True
    if any(row.command in ("", name) and row.holds(redis, fridge, words) for row in EXCEPTIONS):
        return True
    compare = COMPARE.get(name)
    if compare is None or b"-" in (redis[0], fridge[0]) or redis[0] != fridge[0]:
        return False
    if isinstance(redis[1], list) != isinstance(fridge[1], list):
        return False
    return compare(redis, fridge, words, context)
