"""One sequence of commands through both servers: sends the same bytes, compares replies as they come, keeps the thread.

The runner follows just enough of the conversation to know which command a reply answers: the transaction being written,
CLIENT REPLY's silence, the database. It follows SCAN cursors to their end, each server's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fridge.reply import request

from .generate import KEYS, OWN_ADDRESS, OWN_ID, OWN_LADDR, SCRIPTS, Command
from .normalise import Context, agree, trees_agree
from .raw import CLOSED, Pair, Tree, Wire, Words, tree

SLACK_MS = 5  # two servers, one clock, two sockets
NEEDLESS = [0]  # transactions that fridge aborted and redis-server did not


def inline(words: Words) -> bytes:
    """A command as a line for people, everything unusual quoted as redis-cli quotes it."""
    return b" ".join(b'"' + b"".join(_QUOTED[byte] for byte in word) + b'"' for word in words) + b"\r\n"


_QUOTED = [bytes((n,)) if 32 <= n < 127 and n not in b'"\\' else b"\\x%02x" % n for n in range(256)]


class Runner:
    """One connection to each server that get the same bytes, and whose replies are compared as they come."""

    def __init__(self, pair: Pair, commands: dict[str, Command], protocol: int) -> None:
        self.pair = pair
        self.commands = commands
        self.protocol = protocol
        self.control = Wire(pair.redis), Wire(pair.fridge)  # look on, do not take part
        self.wires: tuple[Wire, Wire] | None = None
        self.log: list[str] = []
        self.slowest = 0.0
        self.db = b"0"
        for wire in self.control:
            assert wire("FLUSHALL") == b"+OK\r\n"
            for text in SCRIPTS:
                assert wire("SCRIPT", "LOAD", text).startswith(b"$40")
            assert wire("CONFIG", "SET", "maxmemory-policy", "noeviction", "timeout", "0") == b"+OK\r\n"
        self.connect()

    def connect(self) -> None:
        """Fresh connections, in the protocol that was asked for."""
        if self.wires:
            for wire in self.wires:
                wire.close()
        self.wires = self.pair.connect()
        self.queue: list[Words] | None = None  # of a transaction that is being written
        self.watching = False
        self.quiet = 0  # replies to leave out: 1 = the next, 2 = all
        self.db = b"0"
        self.own = [self._own(wire) for wire in self.wires]
        if self.protocol == 3:
            for wire in self.wires:
                assert wire("HELLO", "3").startswith(b"%7")

    def _own(self, wire: Wire) -> dict[bytes, bytes]:
        """What a connection's placeholders stand for."""
        number = wire("CLIENT", "ID").strip(b":\r\n")
        here = "{}:{}".format(*wire.socket.getsockname()).encode()
        there = "{}:{}".format(*wire.socket.getpeername()).encode()
        return {OWN_ID: number, OWN_ADDRESS: here, OWN_LADDR: there}

    def close(self) -> None:
        """Close all four connections."""
        for wire in (*self.control, *(self.wires or ())):
            wire.close()

    # --- sending ---

    def run(self, *words: bytes) -> bytes:
        """Run one command on both and compare; redis-server's reply."""
        return next(iter(self.pipeline([words])), b"")

    def pipeline(self, batch: Sequence[Words], cut: Callable[[bytes], list[int]] | None = None,
                 as_line: Callable[[], bool] = lambda: False) -> list[bytes]:  # fmt: skip
        """Send commands in one go, in pieces if told how to cut, some as lines, and compare all replies."""
        assert self.wires
        self.log += [b" ".join(repr(word)[2:-1].encode() for word in words).decode() for words in batch]
        began = time.monotonic()
        lines = [as_line() and bool(words[0]) for words in batch]
        pieces: list[int] = []
        for wire, own in zip(self.wires, self.own, strict=True):
            filled = [tuple(own.get(word, word) for word in words) for words in batch]
            data = b"".join(inline(w) if line else request(w) for w, line in zip(filled, lines, strict=True))
            if cut and not pieces:
                pieces = cut(data)
            for a, b in zip([0, *pieces], [*pieces, len(data)], strict=True):
                wire.send(data[a:b])
        replies = []
        for words in batch:
            if self._is_quiet(words):
                continue
            redis, fridge = (wire.reply() for wire in self.wires)
            fridge = self._again(words, redis, fridge)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self._compare(words, redis, fridge)
            replies.append(redis)
            if redis == CLOSED:
                self.connect()
                break
        return replies

    def _again(self, words: Words, redis: bytes, fridge: bytes) -> bytes:
        """What fridge answers to a transaction that it aborted without need, when it is tried again.

        The version of a key that is absent is that of its bucket's last delete, which a neighbour or the reclaiming of an
        expired key may change: a needless abort, never a missed one (design section 4; csrc/wire/cmd_txn.c).
        """
        if words[0].lower() != b"exec" or redis[:1] != b"*" or redis[:2] == b"*-" or fridge not in (b"*-1\r\n", b"_\r\n"):
            return fridge
        assert self.wires
        assert self.queue is not None
        assert self.watching
        NEEDLESS[0] += 1
        for again in ((b"MULTI",), *self.queue):
            self.wires[1](*(self.own[1].get(word, word) for word in again))
        return self.wires[1]("EXEC")

    def _is_quiet(self, words: Words) -> bool:
        """CLIENT REPLY OFF and SKIP: will this command have no reply?"""
        lowered = [word.lower() for word in words]
        if lowered == [b"reset"] and self.quiet == 2:
            self.quiet = 0
        if lowered[:2] == [b"client", b"reply"] and len(words) == 3 and lowered[2] in (b"on", b"off", b"skip"):
            if lowered[2] == b"on":
                self.quiet = 0
            elif lowered[2] == b"off" or not self.quiet:
                self.quiet = 2 if lowered[2] == b"off" else 1
            return lowered[2] != b"on"
        if self.quiet == 1:
            self.quiet = 0
            return True
        return self.quiet == 2

    def elsewhere(self, *words: bytes) -> None:
        """Run a command on another connection to each, in the same database; replies are not compared."""
        self.log.append("elsewhere: " + repr(words))
        for wire in self.control:
            wire("SELECT", self.db)
            wire(*words)

    # --- comparing ---

    def name_of(self, words: Words) -> str:
        """The row of commands.def that words belong to; "" when there is none."""
        lowered = [word.lower().decode("latin-1") for word in words[:2]]
        both = "|".join(lowered)
        return both if both in self.commands else lowered[0] if lowered[0] in self.commands else ""

    def context(self) -> Context:
        """How long anything took in this sequence bounds how far apart the servers' clocks can have been read."""
        return Context(SLACK_MS + int(self.slowest * 1000), self._is_unordered, self.commands)

    def _is_unordered(self, key: bytes) -> bool:
        self.control[0]("SELECT", self.db)
        return self.control[0]("OBJECT", "ENCODING", key) != b"$8\r\nlistpack\r\n"

    def _compare(self, words: Words, redis: bytes, fridge: bytes) -> None:
        name = self.name_of(words)
        if redis != CLOSED and fridge != CLOSED and self._follow(name, words, redis, fridge):
            return
        if name == "exec" and self.queue:
            same = self._exec_agrees(redis, fridge)
        else:
            same = agree(name, words, redis, fridge, self.context())
        assert same, self._difference(redis, fridge)
        self._note(name, words, redis)

    def _exec_agrees(self, redis: bytes, fridge: bytes) -> bool:
        """EXEC's replies one by one, each as the command that it answers."""
        if redis == fridge:
            return True
        theirs, ours = tree(redis)[0], tree(fridge)[0]
        queue = self.queue or []
        if not isinstance(theirs[1], list) or not isinstance(ours[1], list) or len(theirs[1]) != len(ours[1]) != len(queue):
            return False
        for words in queue:
            if words[0].lower() == b"select":
                self.db = words[1]
        context = self.context()
        three = zip(queue, theirs[1], ours[1], strict=True)
        return all(trees_agree(self.name_of(words), words, a, b, context) for words, a, b in three)

    def _note(self, name: str, words: Words, reply: bytes) -> None:
        """Keep the transaction and the database that the connection is in."""
        if reply == b"+QUEUED\r\n" and self.queue is not None:
            self.queue.append(words)
        elif name == "multi" and reply == b"+OK\r\n":
            self.queue = []
        elif name in ("exec", "discard", "reset") and len(words) == 1:
            self.queue = None
        if name == "watch" and reply == b"+OK\r\n":
            self.watching = True
        elif self.queue is None and name in ("exec", "discard", "reset", "unwatch"):
            self.watching = False
        if name == "select" and reply == b"+OK\r\n":
            self.db = words[1]
        if name == "reset" and reply == b"+RESET\r\n":
            self.db = b"0"

    def _follow(self, name: str, words: Words, redis: bytes, fridge: bytes) -> bool:
        """Walk a SCAN to its end on both and compare what it saw; False when this is no scan that began."""
        at = {"scan": 1, "hscan": 2}.get(name)
        if at is None or redis[:2] != b"*2" or fridge[:2] != b"*2" or words[at].strip(b"0"):
            return False
        assert self.wires
        seen = []
        for wire, raw in zip(self.wires, (redis, fridge), strict=True):
            found: list[Tree] = []
            for _ in range(10_000):
                outer = tree(raw)[0][1]
                assert isinstance(outer, list)
                cursor, elements = outer[0][1], outer[1][1]
                assert isinstance(cursor, bytes)
                assert isinstance(elements, list)
                found += elements
                if cursor == b"0":
                    break
                raw = wire(*words[:at], cursor, *words[at + 1 :])
            else:
                raise AssertionError(self._difference(b"the scan does not end", repr(outer).encode()))
            pairs = zip(found[::2], found[1::2], strict=True) if name == "hscan" else found
            seen.append({repr(element) for element in pairs})
        assert seen[0] == seen[1], self._difference(repr(sorted(seen[0])).encode(), repr(sorted(seen[1])).encode())
        return True

    def _difference(self, redis: bytes, fridge: bytes) -> str:
        steps = "\n".join(f"  {line}" for line in self.log[-40:])
        two = f"redis-server: {redis[:600]!r}\nfridge:       {fridge[:600]!r}"
        return f"RESP{self.protocol}, db {self.db.decode()}, after\n{steps}\n{two}"

    # --- states ---

    def reap(self, counted: bool = False) -> None:
        """Have both notice what has expired; with counted, until it counts no more.

        redis-server counts an expired key until something looks at it or its cycle comes by, fridge until its housekeeper
        does.
        """
        for wire in self.control:
            wire.send(_REAP)
        for wire in self.control:
            for _ in range(_REAP.count(b"EXISTS") * 2):
                wire.reply()
        deadline = time.monotonic() + (2 if counted else 0)
        while time.monotonic() < deadline and len({self._size(wire) for wire in self.control}) == 2:
            pass

    def _size(self, wire: Wire) -> bytes:
        wire("SELECT", self.db)
        return wire("DBSIZE")

    def wait_expired(self, key: bytes) -> None:
        """Wait until both clocks are past the key's time, without looking at the key afterwards."""
        times = []
        for wire in self.control:
            wire("SELECT", self.db)
            times.append(int(wire("PEXPIRETIME", key)[1:]))
        due = max(times)
        deadline = time.monotonic() + 5
        for wire in self.control:
            while _milliseconds(wire("TIME")) <= due:
                assert time.monotonic() < deadline, "the clock stands still"

    def hold(self, key: bytes, what: str) -> None:
        """Make a key hold a string or a hash, or be missing."""
        self.run(b"DEL", key)
        if what == "string":
            self.run(b"SET", key, b"10")
        elif what == "hash":
            self.run(b"HSET", key, b"f", b"10", b"g", b"text")


_REAP = b"".join(request((b"SELECT", db)) + request((b"EXISTS", *KEYS)) for db in (b"0", b"1", b"2", b"15"))


def _milliseconds(reply: bytes) -> int:
    """TIME's reply."""
    words = tree(reply)[0][1]
    assert isinstance(words, list)
    seconds, micros = (int(word[1]) for word in words if isinstance(word[1], bytes))
    return seconds * 1000 + micros // 1000
