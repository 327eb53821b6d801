"""Eight processes, half over RESP and half over mmap, count on one subject: the total is exact and every value came once.

250,000 increments each, on one key, one column of one row, and one counter. Each process keeps every value that it was
given in a file; together they must be 1, 2, ... 2,000,000 without a gap or a double. `make proof` counts to 16 million.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from array import array
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

import fridge
from fridge.reply import request

from .server_fixture import Server, serving

EACH = 2_000_000 if os.environ.get("FRIDGE_PROOF") else 250_000
PROCESSES = 8
PIPELINE = 250
COLUMNS = {"label": "str:8", "n": "int64"}

# subject -> the command over RESP, and the call over mmap
COMMANDS: dict[str, list[bytes | str | int]] = {
    "key": ["INCR", "total:key"],
    "column": ["HINCRBY", "totals:row", "n", 1],
    "counter": ["INCR", "total_counter"],
}


def mapped_call(f: fridge.Store, subject: str) -> Callable[[int], object]:
    """A function of the increment (1) that counts on a subject and returns the new value."""
    if subject == "key":
        return lambda by: f.incr("total:key", by)
    if subject == "column":
        rows = f.table("totals", COLUMNS, capacity=16)
        return lambda by: rows.incr("row", "n", by)
    return f.counter("total_counter").increment


def count_by_mmap(path: str, subject: str, go: int) -> array[int]:
    """The values that EACH calls returned."""
    with fridge.open(path, create=False) as f:
        call = mapped_call(f, subject)
        os.read(go, 1)
        return array("q", map(call, repeat(1, EACH)))  # type: ignore[arg-type]


def count_by_resp(address: str, subject: str, go: int) -> array[int]:
    """The values that EACH pipelined commands returned."""
    batch = request(COMMANDS[subject]) * PIPELINE
    values = array("q")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        os.read(go, 1)
        for _ in range(EACH // PIPELINE):
            sock.sendall(batch)
            replies = b""
            while replies.count(b"\r\n") < PIPELINE:
                replies += sock.recv(1 << 16)
            lines = replies.split()
            assert all(line.startswith(b":") for line in lines), next(line for line in lines if not line.startswith(b":"))
            values.extend(int(line[1:]) for line in lines)
    return values


def fork(body: Callable[[], array[int]], file: Path) -> int:
    """A process that writes what body returns to file; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        with open(file, "wb") as out:
            body().tofile(out)
        os._exit(0)
    except BaseException:
        file.with_suffix(".failure").write_text(traceback.format_exc())
    os._exit(1)


def count_together(server: Server, subject: str, folder: Path) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """All values that the eight processes were given."""
    go_read, go_write = os.pipe()
    pids: dict[int, Path] = {}
    for i in range(PROCESSES):
        file = folder / f"{subject}-{i}"
        if i % 2:
            pids[fork(lambda: count_by_resp(server.unix, subject, go_read), file)] = file
        else:
            pids[fork(lambda: count_by_mmap(server.segment, subject, go_read), file)] = file
    os.write(go_write, bytes(PROCESSES))  # all at once
    for pid, file in pids.items():
        _, status = os.waitpid(pid, 0)
        failure = file.with_suffix(".failure")
        assert status == 0, failure.read_text() if failure.exists() else f"process {pid} ended with {status}"
    os.close(go_read)
    os.close(go_write)
    return np.concatenate([np.fromfile(file, dtype=np.int64) for file in pids.values()])


@pytest.mark.parametrize("subject", COMMANDS)
def test_eight_processes_count_to_two_million(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    total = EACH * PROCESSES
    with serving() as server, fridge.open(server.segment) as f, server.client() as c:
        f.table("totals", COLUMNS, capacity=16)
        began = time.monotonic()
        values = count_together(server, subject, server.folder)
        seconds = time.monotonic() - began
        assert len(values) == total
        order = np.argsort(values)
        values = values[order]
        turns = int(np.count_nonzero(np.diff(order // EACH)))  # how often the next value was another process's
        assert turns > 10 * PROCESSES, "they did not count at the same time"
        assert np.array_equal(values, np.arange(1, total + 1)), "a value is missing, or was given twice"
        mapped: dict[str, Callable[[], object]] = {
            "key": lambda: f.get("total:key"),
            "column": lambda: b"%d" % f.table("totals").get("row", "n"),
            "counter": lambda: b"%d" % f.counter("total_counter").get(),
        }
        looks: list[bytes | str | int] = ["HGET", "totals:row", "n"] if subject == "column" else ["GET", COMMANDS[subject][1]]
        assert mapped[subject]() == c(*looks) == b"%d" % total
        assert f.verify().findings == 0
    with capsys.disabled():
        print(f"\n{subject}: {PROCESSES} x {EACH} = {total}, every value once, {turns} turns, {seconds:.1f} s")


# --- a bound ---------------------------------------------------------------------------------------------------------

BOUND = 1_000_000


def take_by_mmap(path: str, go: int) -> array[int]:
    """The values that were given out below the bound."""
    with fridge.open(path, create=False) as f:
        seats, values = f.counter("seats"), array("q")
        os.read(go, 1)
        while (value := seats.increment(max=BOUND)) is not None:
            values.append(value)
        return values


def take_by_resp(address: str, go: int) -> array[int]:
    """The values that INCREX gave out below the bound."""
    batch = request(["INCREX", "seats", "UBOUND", BOUND]) * PIPELINE
    values, applied = array("q"), [b":1"]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        os.read(go, 1)
        while b":1" in applied:
            sock.sendall(batch)
            replies = b""
            while replies.count(b"\r\n") < 3 * PIPELINE:
                replies += sock.recv(1 << 16)
            lines = replies.split()
            applied = lines[2::3]
            values.extend(int(value[1:]) for value, added in zip(lines[1::3], applied, strict=True) if added == b":1")
    return values


def test_eight_processes_take_exactly_a_million_seats(capsys: pytest.CaptureFixture[str]) -> None:
    """Half by increment(max=) and half by INCREX UBOUND: every seat is taken once, none beyond the bound."""
    with serving() as server, fridge.open(server.segment) as f, server.client() as c:
        f.counter("seats")
        go_read, go_write = os.pipe()
        pids: dict[int, Path] = {}
        for i in range(PROCESSES):
            file = server.folder / f"seats-{i}"
            if i % 2:
                pids[fork(lambda: take_by_resp(server.unix, go_read), file)] = file
            else:
                pids[fork(lambda: take_by_mmap(server.segment, go_read), file)] = file
        os.write(go_write, bytes(PROCESSES))
        taken = []
        for pid, file in pids.items():
            _, status = os.waitpid(pid, 0)
            failure = file.with_suffix(".failure")
            assert status == 0, failure.read_text() if failure.exists() else f"process {pid} ended with {status}"
            taken.append(np.fromfile(file, dtype=np.int64))
        os.close(go_read)
        os.close(go_write)
        counts = [len(values) for values in taken]
        assert sum(counts) == BOUND
        assert np.array_equal(np.sort(np.concatenate(taken)), np.arange(1, BOUND + 1))
        assert sum(counts[::2]) > 1000
        assert sum(counts[1::2]) > 1000, "both doors took part"
        assert c("GET", "seats") == b"%d" % f.counter("seats").get() == b"%d" % BOUND
        assert f.verify().findings == 0
    with capsys.disabled():
        print(f"\nseats: {counts} taken, {BOUND} in all")
