"""Waits in an event loop: one thread for all tasks of a handle, and no wake-up for tasks whose keys did not change."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import fridge
from fridge import aio
from fridge.errors import ClosedError

from .server_fixture import wait_until


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store
        assert store.verify().findings == 0


def run(work: Coroutine[Any, Any, None], loop: str = "asyncio") -> None:
    policy = uvloop.EventLoopPolicy() if loop == "uvloop" else asyncio.DefaultEventLoopPolicy()
    made = policy.new_event_loop()
    try:
        made.run_until_complete(asyncio.wait_for(work, 60))
    finally:
        made.close()


async def change_of(f: fridge.Store, name: str, timeout: float | None = 20) -> int | None:
    return await aio.wait_for_change(f, 0, name.encode(), f.get_versioned(name)[1], timeout)


async def until(done: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_thousand_tasks_cost_nothing_until_their_key_changes(segment_path: Path, loop: str) -> None:
    async def work(f: fridge.Store) -> None:
        for i in range(1000):
            f.set(f"k{i}", 0)
        before = threading.active_count()
        tasks = [asyncio.create_task(change_of(f, f"k{i}")) for i in range(1000)]
        await until(lambda: len(aio.bell_of(f)._places) == 1000)
        assert threading.active_count() == before + 1
        bell = aio.bell_of(f)
        rings = bell.rings
        for i in range(20_000):
            f.set(f"other{i % 3000}", i)
            if i % 100 == 0:
                await asyncio.sleep(0)  # let go of the GIL
        assert bell.rings - rings <= 1
        assert not any(task.done() for task in tasks)
        f.set("k7", 1)
        await tasks[7]
        assert bell.rings - rings <= 2
        assert sum(task.done() for task in tasks) == 1
        for i in range(1000):
            f.set(f"k{i}", 2)
        results = await asyncio.gather(*tasks)
        assert all(result is not None for result in results)
        assert not bell._places

    with fridge.open(segment_path, size="256mb") as f:
        run(work(f), loop)


def test_another_process_wakes_a_task(f: fridge.Store) -> None:
    async def work() -> None:
        task = asyncio.create_task(change_of(f, "k"))
        await until(lambda: aio.bell_of(f)._places)
        program = "import sys, fridge; fridge.open(sys.argv[1]).set('k', 1)"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, f.path)
        assert await process.wait() == 0
        assert await task == f.get_versioned("k")[1]

    run(work())


def test_many_tasks_on_one_key_are_all_woken(f: fridge.Store) -> None:
    async def work() -> None:
        tasks = [asyncio.create_task(change_of(f, "k")) for _ in range(100)]
        await until(lambda: any(len(futures) == 100 for futures in aio.bell_of(f)._futures))
        f.set("k", 1)
        assert await asyncio.gather(*tasks) == [f.get_versioned("k")[1]] * 100

    run(work())


def test_no_change_is_missed(f: fridge.Store) -> None:
    """A process counts up, with pauses and without; a task that waits between its looks must see the end."""
    program = "import sys, time, fridge\nf = fridge.open(sys.argv[1])\n"
    program += "for i in range(1, 401): f.set('n', i); time.sleep(0.001 * (i % 3))"

    async def work() -> None:
        f.set("n", 0)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, f.path)
        seen = 0
        while True:
            value, version = f.get_versioned("n")
            if int(value) == 400:
                break
            assert await aio.wait_for_change(f, 0, b"n", version, 10) is not None
            seen += 1
        assert await process.wait() == 0
        assert seen > 10

    run(work())


def test_time_outs_and_cancellation_leave_nothing(f: fridge.Store) -> None:
    async def work() -> None:
        assert await change_of(f, "k", 0.05) is None
        assert await change_of(f, "k", 0) is None
        task = asyncio.create_task(change_of(f, "k"))
        await until(lambda: aio.bell_of(f)._places)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not aio.bell_of(f)._places

    run(work())


def test_an_expiry_wakes_a_task(f: fridge.Store) -> None:
    async def work() -> None:
        f.set("k", "v", px=80)
        version = f.get_versioned("k")[1]
        began = time.monotonic()
        while await aio.wait_for_change(f, 0, b"k", version, 10) == version:
            pass
        assert time.monotonic() - began < 2

    run(work())


def test_loops_come_and_go(f: fridge.Store) -> None:
    """A loop that is closed gives its eventfd back, and the next one gets its own."""
    files = len(os.listdir("/proc/self/fd"))

    async def work() -> None:
        task = asyncio.create_task(change_of(f, "k"))
        await until(lambda: aio.bell_of(f)._places)
        f.incr("k")
        assert await task is not None

    for i in range(20):
        run(work(), "uvloop" if i % 2 else "asyncio")
    assert len(os.listdir("/proc/self/fd")) - files <= 2


def test_two_loops_in_two_threads(f: fridge.Store) -> None:
    results: list[int | None] = []

    async def work() -> None:
        results.append(await change_of(f, "k"))

    threads = [threading.Thread(target=run, args=(work(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: f._bells and any(len(futures) == 2 for futures in aio.bell_of(f)._futures), "both wait")
    f.set("k", 1)
    for thread in threads:
        thread.join(10)
    assert results == [f.get_versioned("k")[1]] * 2


def test_the_thread_ends_with_the_handle(segment_path: Path) -> None:
    with fridge.open(segment_path, size="16mb") as f:

        async def work() -> None:
            assert await change_of(f, "k", 0.01) is None

        run(work())
        assert any(thread.name == "fridge-bell" for thread in threading.enumerate())
    wait_until(lambda: not any(thread.name == "fridge-bell" for thread in threading.enumerate()), "it ends", 0.9)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_closing_the_handle_ends_the_waits_of_all_loops(segment_path: Path, loop: str) -> None:
    """Each task is told in the thread of its own loop: debug mode of asyncio raises when a future is resolved elsewhere."""
    told: list[str] = []

    async def work(f: fridge.Store, keys: list[str]) -> None:
        asyncio.get_running_loop().set_debug(True)
        tasks = [asyncio.create_task(change_of(f, key, None)) for key in keys]
        for task in tasks:
            with pytest.raises(ClosedError):
                await task
            told.append(threading.current_thread().name)

    for _ in range(10):
        told.clear()
        f = fridge.open(segment_path, size="16mb")
        lists = [["a", "b"], ["b", "c"], ["c", "a"]]
        threads = [threading.Thread(target=run, args=(work(f, keys), loop), name="".join(keys), daemon=True) for keys in lists]
        for thread in threads:
            thread.start()
        wait_until(lambda f=f: f._bells and sum(map(len, aio.bell_of(f)._futures)) == 6, "all wait")  # type: ignore[misc]
        f.close()
        for thread in threads:
            thread.join(10)
        assert sorted(told) == ["ab", "ab", "bc", "bc", "ca", "ca"]


def test_a_child_of_fork_has_its_own_thread(f: fridge.Store) -> None:
    async def work() -> None:
        assert await change_of(f, "k", 0.01) is None

    run(work())
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            parent = dict(f._bells)
            thread = threading.Timer(0.1, lambda: f.set("k", "of the child"))
            thread.start()

            async def in_child() -> None:
                assert await change_of(f, "k") is not None

            run(in_child())
            status = 0 if f._bells != parent else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    run(work())


def test_a_read_only_handle_waits_too(f: fridge.Store) -> None:
    with fridge.open(f.path, mode="r") as reader:

        async def work() -> None:
            task = asyncio.create_task(change_of(reader, "k"))
            await asyncio.sleep(0.02)
            f.set("k", 1)
            assert await task is not None

        run(work())


def test_changes_of_vars(f: fridge.Store) -> None:
    async def work() -> None:
        flags = f.vars("flags")
        seen: list[dict[str, Any]] = []

        async def watch() -> None:
            async for snapshot in flags.changes():
                seen.append(snapshot)
                if snapshot.get("last"):
                    return

        task = asyncio.create_task(watch())
        for i in range(5):
            flags.set({"n": i})
            await until(lambda i=i: seen and seen[-1] == {"n": i})  # type: ignore[misc]
            flags.set({"n": i})  # no change
        flags.set({"last": True})
        await task
        assert seen == [*({"n": i} for i in range(5)), {"last": True}]

    run(work())


def test_the_methods_for_tasks(f: fridge.Store) -> None:
    async def work() -> None:
        flags = f.vars("flags")
        assert await flags.wait_async(0.02) is None
        flags.set({"n": 1})
        assert await flags.wait_async(5) == {"n": 1}
        version = f.version("k")
        assert await f.wait_async("k", version, 0.02) is None
        task = asyncio.create_task(f.wait_async("k", version, 5))
        await asyncio.sleep(0.01)
        f.hset("k", "f", 1)
        assert await task == f.version("k")
        left = f.counter("left", 3)
        waiting = asyncio.create_task(left.wait_async(0, 5))
        for _ in range(3):
            await asyncio.sleep(0.005)
            left.decrement()
        assert await waiting == 0
        assert await left.wait_async(-1, 0.01) is None

    run(work())


def test_importing_starts_nothing() -> None:
    program = "import sys, threading, fridge, fridge.aio; print('asyncio' in sys.modules, threading.active_count())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False 1\n"
