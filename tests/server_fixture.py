"""Real servers for tests: `fridge serve` in a subprocess, on free ports, on a fresh segment in shared memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fridge.reply import Replies, Reply, request

T = TypeVar("T")
SHARED_MEMORY = "/dev/shm"
START_SECONDS = 20.0


def wait_until(condition: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Ask until the answer is truthy and return it; AssertionError naming `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.005)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Client:
    """A blocking RESP client over TCP or a unix socket, that shows replies as they are."""

    def __init__(self, address: str | tuple[str, int], timeout: float = 10.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        self._replies = Replies()
        self._ready: list[Reply] = []

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def read(self) -> Reply:
        """The next reply. ConnectionError when the server has closed."""
        while not self._ready:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._ready += self._replies.feed(data)
        return self._ready.pop(0)

    def __call__(self, *words: bytes | str | int) -> Reply:
        """Run a command and return its reply."""
        self.send(request(words))
        return self.read()

    def text(self, *words: bytes | str | int) -> str:
        """Run a command whose reply is a string, and return it as str."""
        reply = self(*words)
        return reply.decode() if isinstance(reply, bytes) else str(reply)

    def info(self, section: str = "everything") -> dict[str, str]:
        """INFO's fields."""
        lines = self.text("INFO", section).split("\r\n")
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def is_closed(self) -> bool:
        """Whether the server closes the connection (waits for that up to the socket's timeout)."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Close."""
        self.socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class Server:
    """A running `fridge serve`."""

    process: subprocess.Popen[str]
    folder: Path
    port: int
    http_port: int
    arguments: Sequence[str]
    environment: Mapping[str, str]
    host: str = "127.0.0.1"
    log: str = field(default="", init=False)

    @property
    def unix(self) -> str:
        """Path of the unix socket."""
        return str(self.folder / "sock")

    @property
    def segment(self) -> str:
        """Path of the segment."""
        return str(self.folder / "segment")

    def client(self, unix: bool = False) -> Client:
        """A new connection."""
        return Client(self.unix if unix else (self.host, self.port))

    def output(self) -> str:
        """What the server has printed so far."""
        return (self.folder / "out").read_text()

    def is_up(self) -> bool:
        """Whether the server has said where its doors are; AssertionError with its output when it has ended."""
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.output()}"
        return "is ready" in self.output()

    def workers(self) -> dict[str, int]:
        """The server's processes besides the supervisor, by what the segment says of them."""
        from fridge.segment import Segment

        with Segment(self.segment, create=False, readonly=True) as segment:
            beats = segment.system_hgetall("servers")
            if not beats:
                return {}
            run = max(beats, key=lambda run: int(beats[run]))  # a server that was killed is forgotten some seconds later
            return {name: int(pid) for name, pid in segment.system_hgetall(f"pids:{run}").items()}

    def stop(self, number: int = signal.SIGTERM, seconds: float = 15.0) -> int:
        """Signal the supervisor and wait; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


@contextlib.contextmanager
def serving(*arguments: str, workers: int = 1, environment: Mapping[str, str] | None = None,
            folder: Path | None = None, size: str = "32mb") -> Iterator[Server]:  # fmt: skip
    """A server that has printed where its doors are; stopped by its pid afterwards.

    Args:
        arguments: further flags; they win over the fixture's.
        workers: data workers.
        environment: further variables.
        size: of the segment.
        folder: holds segment, socket and output; a fresh one in shared memory that is removed afterwards.
    """
    own = folder is None
    place = Path(tempfile.mkdtemp(prefix="fridge-test-", dir=SHARED_MEMORY)) if folder is None else folder
    port, http_port = free_port(), free_port()
    command = [sys.executable, "-m", "fridge", "serve", "--port", str(port), "--unixsocket", str(place / "sock"),
               "--segment", str(place / "segment"), "--size", size, "--workers", str(workers),
               "--http", f"127.0.0.1:{http_port}", *arguments]  # fmt: skip
    variables = {k: v for k, v in os.environ.items() if not k.startswith("FRIDGE_")} | dict(environment or {})
    with open(place / "out", "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, env=variables, cwd="/")
    server = Server(process, place, port, http_port, command, variables)
    try:
        wait_until(server.is_up, "the server says where its doors are", START_SECONDS)
        yield server
    finally:
        try:
            if process.poll() is None:
                process.terminate()
                process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if own:
            shutil.rmtree(place, ignore_errors=True)


def run_fridge(*arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 30.0,
               text_input: str | None = None) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `fridge ...` to its end and return what it said."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("FRIDGE_")} | dict(environment or {})
    return subprocess.run([sys.executable, "-m", "fridge", *arguments], capture_output=True, text=True, timeout=timeout,
                          env=variables, input=text_input, check=False, cwd="/")  # fmt: skip
