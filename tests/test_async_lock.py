"""Locks for tasks: the same line as threads and other processes, without blocking the loop."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import aio
from fridge.errors import ArgumentError, LockError, LockNotOwnedError, LockTimeoutError, WrongTypeError


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store
        assert store.verify().findings == 0


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def test_surface(f: fridge.Store) -> None:
    async def work() -> None:
        lock, other = f.async_lock("jobs", timeout=10), f.async_lock("jobs")
        assert await lock.acquire()
        assert await lock.locked()
        assert await lock.owned()
        assert not await other.owned()
        assert not await other.acquire(blocking=False)
        assert not await other.acquire(blocking_timeout=0.03)
        assert f.lock("jobs").locked()  # the same lock
        assert await lock.extend(5)
        assert await lock.reacquire()
        first = lock.fence
        assert first is not None
        holder = other.holder()
        assert holder is not None
        assert holder.fence == first
        await lock.release()
        with pytest.raises(LockError):
            await lock.release()
        async with other:
            assert (other.fence or 0) > first
            assert await lock.unlock()
            with pytest.raises(LockNotOwnedError):
                await other.extend(1) if other._lock.timeout else await other.release()
            assert await other.acquire()

    run(work())


def test_bad_input(f: fridge.Store) -> None:
    async def work() -> None:
        with pytest.raises(ArgumentError):
            f.async_lock("jobs", timeout=0)
        with pytest.raises(ArgumentError):
            f.async_lock("jobs", auto_extend=True)
        lock = f.async_lock("jobs")
        assert await lock.acquire()
        with pytest.raises(LockError, match="wait for itself"):
            await lock.acquire()
        with pytest.raises(LockTimeoutError, match="held by others"):
            async with f.async_lock("jobs", blocking_timeout=0.02):
                pass
        f.hset("hash", "f", 1)
        with pytest.raises(WrongTypeError):
            await f.async_lock("hash").acquire()

    run(work())


def test_tasks_exclude_each_other_in_the_order_they_came(f: fridge.Store) -> None:
    async def work() -> None:
        inside, order = 0, []

        async def task(i: int) -> None:
            nonlocal inside
            async with f.async_lock("jobs"):
                inside += 1
                assert inside == 1
                order.append(i)
                await asyncio.sleep(0.0005)
                inside -= 1

        tasks = []
        for i in range(50):
            tasks.append(asyncio.create_task(task(i)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert order == list(range(50))
        assert not f.exists("jobs")

    run(work())


def test_threads_and_tasks_exclude_each_other(f: fridge.Store) -> None:
    counted = [0]

    def threads_work() -> None:
        lock = f.lock("jobs")
        for _ in range(100):
            with lock:
                now = counted[0]
                time.sleep(0.0001)
                counted[0] = now + 1

    async def work() -> None:
        async def task() -> None:
            for _ in range(50):
                async with f.async_lock("jobs"):
                    now = counted[0]
                    await asyncio.sleep(0)
                    counted[0] = now + 1

        await asyncio.gather(*(task() for _ in range(4)))

    threads = [threading.Thread(target=threads_work) for _ in range(2)]
    for thread in threads:
        thread.start()
    run(work())
    for thread in threads:
        thread.join()
    assert counted == [400]


HOLDER = "import sys, fridge; f = fridge.open(sys.argv[1]); f.lock('jobs').acquire(); print('held', flush=True); sys.stdin.read()"


def test_a_killed_holder_is_noticed(f: fridge.Store) -> None:
    async def work() -> None:
        process = subprocess.Popen([sys.executable, "-c", HOLDER, f.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        first, second = f.async_lock("jobs"), f.async_lock("jobs")
        tasks = [asyncio.create_task(first.acquire()), asyncio.create_task(second.acquire())]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
        process.send_signal(signal.SIGKILL)
        process.wait()
        began = time.monotonic()
        assert await tasks[0]
        assert time.monotonic() - began < 0.5
        assert not tasks[1].done()
        await first.release()
        assert await tasks[1]
        process.stdin.close() if process.stdin else None
        process.stdout.close()

    run(work())


def test_a_cancelled_task_leaves_the_line(f: fridge.Store) -> None:
    async def work() -> None:
        holder, last = f.async_lock("jobs"), f.async_lock("jobs")
        assert await holder.acquire()
        cancelled = asyncio.create_task(f.async_lock("jobs").acquire())
        await asyncio.sleep(0.02)
        waiting = asyncio.create_task(last.acquire())
        await asyncio.sleep(0.02)
        assert len(f.lock("jobs").waiters()) == 2
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert len(f.lock("jobs").waiters()) == 1
        await holder.release()
        assert await waiting
        assert not aio.bell_of(f)._places

    run(work())
