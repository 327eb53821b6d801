"""Two servers side by side, spoken to in raw bytes: a real redis-server, a real fridge, and replies cut but not read.

Sans interpretation: ``reply_end`` says where a reply ends, ``tree`` what it is made of; nothing here judges a difference.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from fridge.reply import request

from ..server_fixture import SHARED_MEMORY, Server, free_port, serving, wait_until

CLOSED = b"<the server closed the connection>"
INSTALL = "install it with: apt-get install redis-server redis-tools"

Words: TypeAlias = "tuple[bytes, ...]"
#: A reply as a tree: its type byte with either the bytes behind it or the elements of an aggregate.
Tree: TypeAlias = "tuple[bytes, bytes | None | list[Tree]]"


class Incomplete(Exception):
    """The buffer ends inside a reply; it must grow to at least `need` bytes."""

    def __init__(self, need: int) -> None:
        super().__init__(need)
        self.need = need


def program(name: str) -> str:
    """The path of a program that a test needs; AssertionError with the install command when it is not there."""
    path = shutil.which(name)
    assert path is not None, f"{name} is missing; {INSTALL}"
    return path


def tree(data: bytes, at: int = 0) -> tuple[Tree, int]:
    """The reply that begins at `at`, and where it ends. Raises Incomplete, or ValueError on what is no reply."""
    end = data.find(b"\r\n", at)
    if end < 0:
        raise Incomplete(len(data) + 1)
    mark, rest = data[at : at + 1], data[at + 1 : end]
    at = end + 2
    if mark in b"+-:,_#(":
        return (mark, rest), at
    if mark not in b"$=*~>%":
        raise ValueError(f"not a reply: {data[at - 40 : at + 40]!r}")
    n = int(rest)
    if n < 0:
        return (mark, None), at
    if mark in b"$=":
        if len(data) < at + n + 2:
            raise Incomplete(at + n + 2)
        if data[at + n : at + n + 2] != b"\r\n":
            raise ValueError(f"bulk without CRLF: {data[at : at + n + 2]!r}")
        return (mark, data[at : at + n]), at + n + 2
    elements: list[Tree] = []
    for _ in range(n * 2 if mark == b"%" else n):
        element, at = tree(data, at)
        elements.append(element)
    return (mark, elements), at


class Wire:
    """A blocking connection that hands replies out as the bytes they are."""

    def __init__(self, address: str | tuple[str, int], timeout: float = 20.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Send bytes; a closed connection shows when it is read from."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def reply(self) -> bytes:
        """The next reply, or CLOSED."""
        while True:
            try:
                _, end = tree(self._buffer)
            except Incomplete as more:
                if not self._fill(more.need):
                    return CLOSED
                continue
            raw, self._buffer = self._buffer[:end], self._buffer[end:]
            return raw

    def _fill(self, need: int = 0) -> bool:
        """Read until the buffer is as long as needed, once at least; False when the server has closed."""
        pieces, have = [self._buffer], len(self._buffer)
        while len(pieces) == 1 or have < need:
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError:
                data = b""
            if not data:
                break
            pieces.append(data)
            have += len(data)
        self._buffer = b"".join(pieces)
        return have >= need and len(pieces) > 1

    def until_closed(self) -> bytes:
        """Everything that comes until the server closes; TimeoutError when it does not."""
        while self._fill():
            pass
        data, self._buffer = self._buffer, b""
        return data

    def __call__(self, *words: bytes | str | int) -> bytes:
        """Run one command and return its raw reply."""
        self.send(request(words))
        return self.reply()

    def close(self) -> None:
        """Close."""
        self.socket.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def redis_serving(settings: Mapping[str, str] | None = None) -> Iterator[tuple[str, int]]:
    """A real redis-server 7.0 on a free port, in a folder of its own; yields its address."""
    folder = Path(tempfile.mkdtemp(prefix="fridge-redis-", dir=SHARED_MEMORY))
    port = free_port()
    given = {"port": str(port), "save": "", "appendonly": "no", "dir": str(folder), "databases": "16"}
    given |= dict(settings or {})
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    with open(folder / "out", "w") as out:
        process = subprocess.Popen([program("redis-server"), *flags], stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: "Ready to accept connections" in (folder / "out").read_text(), "redis-server is ready")
        version = subprocess.run([program("redis-server"), "--version"], capture_output=True, text=True, check=True)
        assert "v=7.0." in version.stdout, f"the reference is redis-server 7.0, this is {version.stdout}"
        yield "127.0.0.1", port
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


class Pair:
    """Both servers: two addresses, and connections that are made in step."""

    def __init__(self, redis: tuple[str, int], fridge: Server) -> None:
        self.redis = redis
        self.server = fridge
        self.fridge = (fridge.host, fridge.port)

    def connect(self, timeout: float = 20.0) -> tuple[Wire, Wire]:
        """A fresh connection to each, redis-server's first."""
        return Wire(self.redis, timeout), Wire(self.fridge, timeout)

    def exchange(self, data: bytes, timeout: float = 20.0) -> tuple[bytes, bytes]:
        """Send the same bytes on a fresh connection to each, end the sending side, and return all that comes back."""
        answers = []
        for wire in self.connect(timeout):
            with wire:
                wire.send(data)
                with contextlib.suppress(OSError):  # closed already
                    wire.socket.shutdown(socket.SHUT_WR)
                answers.append(wire.until_closed())
        return answers[0], answers[1]


@contextlib.contextmanager
def pair_serving(redis: Mapping[str, str] | None = None, fridge: Sequence[str] = ()) -> Iterator[Pair]:
    """Both servers with the same limits, where they have the same limits."""
    limits = {"proto-max-bulk-len": "1mb"} | dict(redis or {})
    with redis_serving(limits) as address, serving("--proto-max-bulk-len", "1mb", *fridge, size="128mb") as server:
        yield Pair(address, server)
