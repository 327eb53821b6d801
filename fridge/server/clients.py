"""The server's clients, over all workers: one line each in a hash of the segment's system database.

A worker writes a client's line when it comes and, while there are other workers to read it, once a second; it deletes
the line when the client goes. CLIENT LIST reads the hash; CLIENT KILL leaves the ids that other
workers own in a second hash and changes settings_version, which every worker watches. A write that meets a held latch is
not waited for: the line is written at the next tick.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from fridge.errors import FridgeError
from fridge.segment import Segment
from fridge.server.shared import NEXT_CLIENT, RunId

ID_BATCH = 64  # ids that a worker takes at a time, so that accepting does not write to the segment
TYPES = ("normal", "master", "replica", "slave", "pubsub")


class ClientIds:
    """Ids that no two clients of the segment's servers share; rising within a worker."""

    def __init__(self, segment: Segment, batch: int = ID_BATCH) -> None:
        self._segment, self._batch = segment, batch
        self._next = self._end = 0

    def take(self) -> int:
        """The next id. Raises FridgeError when the segment refuses a new batch."""
        self.fetch()
        self._next += 1
        return self._next - 1

    def fetch(self) -> None:
        """Have a batch at hand: done at the start, so that the first client needs no memory. Raises as take."""
        if self._next == self._end:
            self._end = self._segment.system_add(NEXT_CLIENT, self._batch) + 1
            self._next = self._end - self._batch


@dataclass(frozen=True)
class ClientLine:
    """One client as CLIENT LIST shows it, with the worker that serves it."""

    id: int
    worker: int
    text: str

    def encode(self) -> bytes:
        """As it stands in the segment."""
        return f"{self.worker} {self.text}".encode()

    @staticmethod
    def decode(client_id: str, data: bytes) -> ClientLine:
        """What encode wrote."""
        worker, _, text = data.decode("utf-8", "replace").partition(" ")
        return ClientLine(int(client_id), int(worker), text)

    def facts(self) -> dict[str, str]:
        """The line's fields: addr, laddr, name, age, user, ..."""
        return dict(part.partition("=")[::2] for part in self.text.split(" "))


class ClientRegistry:
    """The hash of lines, written for one worker and read for all."""

    def __init__(self, segment: Segment, run_id: RunId, worker: int) -> None:
        self._segment, self._run_id, self.worker = segment, run_id, worker
        self._unwritten: dict[int, bytes | None] = {}

    def put(self, client_id: int, text: str) -> bool:
        """Write (or rewrite) a client's line; whether it could be written at once."""
        return self._write(client_id, ClientLine(client_id, self.worker, text).encode())

    def drop(self, client_id: int) -> None:
        """Delete a client's line."""
        self._write(client_id, None)

    def flush(self) -> None:
        """Write what could not be written before. Stops at the first that cannot be written now either."""
        for client_id, data in list(self._unwritten.items()):
            if not self._write(client_id, data):
                return

    def _write(self, client_id: int, data: bytes | None) -> bool:
        try:
            if data is None:
                self._segment.system_hdel(self._run_id.clients, str(client_id))
            else:
                self._segment.system_hset(self._run_id.clients, str(client_id), data)
        except FridgeError:
            self._unwritten[client_id] = data
            return False
        self._unwritten.pop(client_id, None)
        return True

    def count(self) -> int:
        """Clients of the whole server."""
        return self._segment.system_hlen(self._run_id.clients)

    def lines(self) -> list[ClientLine]:
        """Every client's line, by id."""
        found = self._segment.system_hgetall(self._run_id.clients)
        return sorted((ClientLine.decode(i, data) for i, data in found.items()), key=lambda line: line.id)

    def forget_worker(self) -> None:
        """Delete the lines that a predecessor under this worker's number left when it was killed."""
        for line in self.lines():
            if line.worker == self.worker:
                self.drop(line.id)

    # --- killing clients of other workers ---

    def ask_to_kill(self, ids: Iterable[int]) -> None:
        """Leave ids for the workers that own them; the caller changes settings_version afterwards. Raises FridgeError."""
        for client_id in ids:
            self._segment.system_hset(self._run_id.kills, str(client_id), b"1")

    def take_kills(self, mine: Mapping[int, object]) -> list[int]:
        """Ids among mine that somebody wants killed; they are taken off the list."""
        wanted = [int(i) for i in self._segment.system_hgetall(self._run_id.kills)]
        found = [client_id for client_id in wanted if client_id in mine]
        for client_id in found:
            self._segment.system_hdel(self._run_id.kills, str(client_id))
        return found


# --- CLIENT KILL's and CLIENT LIST's filters ---------------------------------------------------------------------------


class FilterError(ValueError):
    """What CLIENT KILL or CLIENT LIST answers to arguments that make no sense, without 'ERR '."""


@dataclass(frozen=True)
class KillRequest:
    """Which clients CLIENT KILL is about."""

    tests: tuple[Callable[[ClientLine, dict[str, str]], bool], ...]
    old_form: bool  # CLIENT KILL addr: answers OK or 'No such client'
    skip_me: bool

    def wants(self, line: ClientLine, me: int) -> bool:
        """Whether line is to be closed for client me, who asks."""
        if line.id == me and self.skip_me:
            return False
        facts = line.facts()
        return all(test(line, facts) for test in self.tests)


def parse_kill(words: list[str]) -> KillRequest:
    """CLIENT KILL's arguments. Raises FilterError."""
    if len(words) == 1:
        address = words[0]
        return KillRequest((lambda line, facts: facts.get("addr") == address,), True, False)
    tests: list[Callable[[ClientLine, dict[str, str]], bool]] = []
    skip_me = True
    for option, value in zip_longest(words[::2], words[1::2]):
        name = option.lower()
        if value is None:
            raise FilterError("syntax error")
        if name == "skipme":
            if value.lower() not in ("yes", "no"):
                raise FilterError("syntax error")
            skip_me = value.lower() == "yes"
        else:
            tests.append(_kill_test(name, value))
    return KillRequest(tuple(tests), False, skip_me)


def _kill_test(name: str, value: str) -> Callable[[ClientLine, dict[str, str]], bool]:
    if name == "id":
        wanted = _client_id(value)
        if wanted is None:
            raise FilterError("client-id should be greater than 0")
        return lambda line, facts: line.id == wanted
    if name == "type":
        kind = parse_type(value)
        return lambda line, facts: is_type(facts, kind)
    if name in ("addr", "laddr"):
        return lambda line, facts: facts.get(name) == value
    if name == "user":
        if value != "default":
            raise FilterError(f"No such user '{_shown(value)}'")
        return lambda line, facts: True
    if name == "maxage":
        age = _client_id(value)
        if age is None:
            raise FilterError("maxage should be greater than 0")
        return lambda line, facts: int(facts.get("age", "0")) >= age
    raise FilterError("syntax error")


def parse_list(words: list[str]) -> Callable[[list[ClientLine]], list[ClientLine]]:
    """CLIENT LIST's arguments as what they choose of all lines; ids as often as they are given. Raises FilterError."""
    if not words:
        return lambda lines: lines
    if words[0].lower() == "type" and len(words) == 2:
        kind = parse_type(words[1])
        return lambda lines: [line for line in lines if is_type(line.facts(), kind)]
    if words[0].lower() == "id" and len(words) > 1:
        ids = [_integer(word) for word in words[1:]]
        if None in ids:
            raise FilterError("Invalid client ID")
        return lambda lines: [line for i in ids for line in lines if line.id == i]
    raise FilterError("syntax error")


def parse_type(word: str) -> str:
    """A client type. Raises FilterError."""
    if word.lower() not in TYPES:
        raise FilterError(f"Unknown client type '{_shown(word)}'")
    return word.lower()


def is_type(facts: Mapping[str, str], kind: str) -> bool:
    """Whether the client with these facts is of a type; there are neither masters nor replicas here."""
    subscribed = facts.get("sub", "0") != "0" or facts.get("psub", "0") != "0"
    return kind == ("pubsub" if subscribed else "normal")


def _integer(word: str) -> int | None:
    """An int64 as redis-server reads it: no blanks, no plus, no leading zeros."""
    number = int(word) if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", word, re.ASCII) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _client_id(word: str) -> int | None:
    number = _integer(word)
    return number if number is not None and number > 0 else None


def _shown(word: str) -> str:
    """A word inside an error text: redis-server shows it up to the first NUL."""
    return word.partition("\0")[0]
