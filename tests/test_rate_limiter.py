"""examples/rate_limiter: four processes serve HTTP, several clients load them, exactly ten of N requests pass."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import fridge
from fridge.errors import TableFullError

from .server_fixture import serving

APP = Path(__file__).resolve().parent.parent / "examples" / "rate_limiter" / "app.py"
LIMIT, WINDOW = 10, 2
CLIENTS, ADDRESSES, ROUNDS = 4, 40, 40


@dataclass
class Service:
    """The running example."""

    process: subprocess.Popen[str]
    port: int
    segment: Path


@pytest.fixture
def service(shared_dir: Path) -> Iterator[Service]:
    segment = shared_dir / "segment"
    command = [sys.executable, str(APP), "--port", "0", "--workers", "4", "--limit", str(LIMIT), "--window", str(WINDOW),
               "--segment", str(segment)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield Service(process, int(line.split("/")[2].split(":")[1]), segment)
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def app() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rate_limiter_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def ask(port: int, address: str) -> tuple[int, int, str]:
    """(status, window, worker) of one request from an address of 127.0.0.0/8."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(address, 0))
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return response.status, int(response.headers.get("X-RateLimit-Window", "-1")), response.headers.get("X-Worker", "")
    finally:
        connection.close()


def load(port: int, seed: int, out: Path) -> None:
    """One client process: all addresses, round after round; how often each (address, window, status, worker) came."""
    seen: Counter[tuple[str, int, int, str]] = Counter()
    for i in range(ROUNDS):
        for j in range(ADDRESSES):
            address = f"127.9.0.{1 + (j + seed * 7 + i) % ADDRESSES}"
            status, window, worker = ask(port, address)
            seen[address, window, status, worker] += 1
    out.write_text(json.dumps([[*key, n] for key, n in seen.items()]))


def fork_clients(port: int, folder: Path) -> list[Path]:
    """Run the clients to their end; their files."""
    pids = {}
    for seed in range(CLIENTS):
        out = folder / f"client-{seed}"
        pid = os.fork()
        if pid == 0:
            try:
                load(port, seed, out)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        pids[pid] = out
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0
    return list(pids.values())


def test_exactly_ten_of_n_pass_per_address_and_window(service: Service, shared_dir: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    began = time.monotonic()
    files = fork_clients(service.port, shared_dir)
    passed: Counter[tuple[str, int]] = Counter()
    asked: Counter[tuple[str, int]] = Counter()
    workers: Counter[str] = Counter()
    for file in files:
        for address, window, status, worker, n in json.loads(file.read_text()):
            assert status in (200, 429), status
            asked[address, window] += n
            passed[address, window] += n if status == 200 else 0
            workers[worker] += n
    assert sum(asked.values()) == CLIENTS * ADDRESSES * ROUNDS
    wrong = {pair: (passed[pair], n) for pair, n in asked.items() if passed[pair] != min(LIMIT, n)}
    assert not wrong, wrong
    pressed = sum(n > LIMIT for n in asked.values())
    assert pressed >= ADDRESSES, "hardly anybody met the limit"
    assert len(workers) == 4
    assert min(workers.values()) > 0
    seconds, requests = time.monotonic() - began, sum(asked.values())
    with capsys.disabled():
        print(f"\n{requests} HTTP requests in {seconds:.1f} s over 4 workers: {len(asked)} pairs of address and window,"
              f" {pressed} of them beyond {LIMIT}: exactly {LIMIT} passed in each")  # fmt: skip


def test_the_rows_are_seen_from_outside(service: Service, shared_dir: Path) -> None:
    for _ in range(3):
        _, window, _ = ask(service.port, "127.9.1.1")
    with serving("--segment", str(service.segment)) as server, server.client() as c:
        key = f"rate_limits:127.9.1.1@{window}"
        assert 1 <= int(c.text("HGET", key, "count")) <= 3
        assert c("HGET", key, "reset") == b"%d" % ((window + 1) * WINDOW)
        assert 0 < int(str(c("TTL", key))) <= WINDOW + 6


def test_many_threads_and_processes_on_one_address(app: ModuleType, segment_path: Path, shared_dir: Path) -> None:
    """Without HTTP between, where races would be likelier: 4 processes x 4 threads x 5,000 requests, 2 addresses."""
    with fridge.open(str(segment_path)) as f:
        limiter = app.Limiter(f, LIMIT, 3600, clock=lambda: 7200.0 + 4e9)
        pids = {}
        for i in range(4):
            out = shared_dir / f"process-{i}"
            pid = os.fork()
            if pid == 0:
                allowed: list[str] = []

                def hammer(into: list[str] = allowed) -> None:
                    for n in range(5000):
                        address = f"10.0.0.{n % 2}"
                        if limiter.ask(address).allowed:
                            into.append(address)

                threads = [threading.Thread(target=hammer) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                out.write_text(" ".join(allowed))
                os._exit(0)
            pids[pid] = out
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
        assert Counter(" ".join(p.read_text() for p in pids.values()).split()) == {"10.0.0.0": LIMIT, "10.0.0.1": LIMIT}
        assert limiter.table.get(f"10.0.0.0@{(7200 + 4_000_000_000) // 3600}", "count") == 4 * 4 * 2500


def test_a_hundred_thousand_addresses_and_not_one_more(app: ModuleType, segment_path: Path) -> None:
    now = 4e9
    with fridge.open(str(segment_path)) as f:
        limiter = app.Limiter(f, LIMIT, 60, clock=lambda: now)
        assert limiter.table.capacity == 100_000
        for i in range(100_000):
            assert limiter.ask(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}").remaining == LIMIT - 1
        assert len(limiter.table) == 100_000
        with pytest.raises(TableFullError, match="rate_limits"):
            limiter.ask("192.0.2.1")
        assert len(limiter.table) == 100_000
        assert limiter.ask("10.0.0.1").remaining == LIMIT - 2  # who is in goes on
        now += 120
        assert limiter.ask("192.0.2.1").allowed  # the old windows' rows make room
        assert len(limiter.table) == 1
        assert f.verify().findings == 0
