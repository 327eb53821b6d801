"""Forks of every kind under load: 2,000 children of processes that are in the middle of using a segment.

os.fork beside threads that write, multiprocessing's three ways, exec while attached, daemons that close every descriptor,
parents that die before their children and children that die before their parents. Every child counts in the segment, and
the sum must be exact at the end; a child's handles work, or raise an error that has a name; and a child is never taken for
its parent: it has a slot of its own as soon as it writes, and when it is gone nobody thinks its parent gone, or the other
way round.

vfork is left out: its child shares the parent's memory, identity included, until it execs; fridge is not to be called there.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import fridge
from fridge import errors
from fridge.segment import Process

from ..server_fixture import wait_until

TIMES = 20 if os.environ.get("FRIDGE_PROOF") else 1
COLUMNS = {"n": "int64"}
BATCH = 3  # children that write without end at the same time: more would only queue for processors

children = multiprocessing.get_context("fork").Value("q", 0)  # forked by all tests of this file, grandchildren too


def count(n: int = 1) -> None:
    """Note that children are forked."""
    with children.get_lock():
        children.value += n


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    """A segment whose processes are all gone, and which is whole, at the end."""
    with fridge.open(segment_path, size="16mb") as store:
        store.table("t", COLUMNS, capacity=64)
        store.incr("n", 0)
        yield store
        segment = store._segment
        wait_until(lambda: segment.reap() >= 0 and all(p.is_self for p in segment.processes()), "all children are gone")
        assert store.verify().findings == 0


def own(store: fridge.Store) -> Process:
    """What `fridge ps` says of this process."""
    found = [p for p in store._segment.processes() if p.is_self]
    assert len(found) == 1, f"{len(found)} processes are this one: {found}"
    return found[0]


def use_everything(store: fridge.Store, n: int) -> None:
    """Use each kind of handle n times, so that sums tell afterwards whether something was lost or doubled."""
    counter, table = store.counter("c"), store.table("t")
    for _ in range(n):
        store.incr("n")
        counter.increment()
        table.incr("row", "n")
        store.append("text", "x")  # through a session
    store.mset({f"m:{os.getpid()}:{i}": i for i in range(4)})
    assert store.get(f"m:{os.getpid()}:3") == b"3"
    store.delete(*(f"m:{os.getpid()}:{i}" for i in range(4)))


def assert_sums(store: fridge.Store, expected: int) -> None:
    sums = (int(store.get("n") or 0), store.counter("c").get(), store.table("t").get("row", "n"), store.strlen("text"))
    assert sums == (expected,) * 4


def as_child(work: Callable[..., object], *arguments: object) -> int:
    """Fork; run work in the child, which ends with status 0 if nothing was raised. Its pid."""
    count()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work(*arguments)
        status = 0
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(2, f"child {os.getpid()}: {type(error).__name__}: {error}\n".encode())
    os._exit(status)


def ended(pids: list[int]) -> None:
    """Wait for children; all must have ended with status 0."""
    failed = [(pid, status) for pid, status in [(pid, os.waitpid(pid, 0)[1]) for pid in pids] if status]
    assert not failed, f"children ended with {failed}"


def is_alive(store: fridge.Store, process: Process) -> bool:
    """Whether the process table says that this life of a slot goes on."""
    now = [p for p in store._segment.processes() if (p.slot, p.generation) == (process.slot, process.generation)]
    return any(p.alive for p in now)


def is_new_process(store: fridge.Store, parent: Process) -> None:
    """In a child: before the first write nobody, afterwards somebody else than the parent, who lives."""
    assert not any(p.is_self for p in store._segment.processes()), "a child passes for its parent"
    store.incr("children")
    me = own(store)
    assert me.pid == os.getpid() != parent.pid
    assert (me.slot, me.generation) != (parent.slot, parent.generation)
    rows = {p.slot: p for p in store._segment.processes()}
    assert rows[parent.slot].pid == parent.pid
    assert rows[parent.slot].alive


# --- fork ---------------------------------------------------------------------------------------------------------------------


def test_fork_under_threads(f: fridge.Store) -> None:
    """600 children of a process whose threads are inside the engine at the moment of the fork."""
    stop = threading.Event()
    written = [0] * 3

    def write(i: int) -> None:
        counter, table = f.counter(f"thread{i}"), f.table("t")
        while not stop.is_set():
            counter.increment()
            table.set(f"thread{i}", n=written[i])
            f.set(f"thread{i}:big", b"x" * 70_000)  # without the GIL, and with pages
            f.append(f"thread{i}:log", "y")
            written[i] += 1

    f.incr("n", 0)
    parent = own(f)

    def child() -> None:
        is_new_process(f, parent)
        use_everything(f, 3)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60 * TIMES):
            ended([as_child(child) for _ in range(10)])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert_sums(f, 600 * TIMES * 3)
    assert [f.counter(f"thread{i}").get() for i in range(3)] == written
    assert [f.strlen(f"thread{i}:log") for i in range(3)] == written
    assert own(f) == parent


def test_fork_under_the_catalogue(f: fridge.Store) -> None:
    """A thread declares and drops tables, another meets every change of the catalogue; children use tables at once."""
    stop = threading.Event()

    def declare() -> None:
        while not stop.is_set():
            f.table("passing", COLUMNS, capacity=16)
            f._run(b"TABLE", b"DROP", b"passing")

    def use() -> None:
        table = f.table("t")
        while not stop.is_set():
            table.set("other", n=1)

    threads = [threading.Thread(target=work) for work in (declare, use, use)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20 * TIMES):
            ended([as_child(use_everything, f, 3) for _ in range(10)])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert_sums(f, 200 * TIMES * 3)


def test_no_call_imports(segment_path: Path) -> None:
    """Calls on an open handle import nothing: a fork in mid-import leaves a lock held in the child for ever.

    In a fresh interpreter, because modules stay imported.
    """
    program = (
        "import sys, fridge\n"
        "f = fridge.open(sys.argv[1], size='1mb')\n"
        "before = set(sys.modules)\n"
        "f.set('k', 1); f.append('k', '2'); f.incr('k'); f.mset({'a': 1}); f.hset('h', 'a', 1); f.hgetall('h'); f.expire('k', 9)\n"
        "list(f.scan_iter()); f.counter('c').increment(); f.info(); f.verify(); f.counters.increment({'c': 1})\n"
        "f.set_vars('v', {'a': 1}); f.get_vars('v'); f.vars('v').publisher(); f.wait('k', f.version('k'), 0)\n"
        "f.async_lock('l'); f.semaphore('s', 2).acquire(); f.event('e').set(); f.rwlock('r').acquire_read()\n"
        "f.barrier('b', 1).wait(); f.once('o', int); f.sharded_counter('sharded').increment()\n"
        "with f.lock('l', timeout=5, auto_extend=True): pass\n"
        "t = f.table('t', {'n': 'int64'}, capacity=4); t.set('r', n=1); t.get('r'); list(t.items())\n"
        "print(sorted(m for m in set(sys.modules) - before if m.startswith('fridge')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, segment_path], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_children_die_and_the_parent_lives(f: fridge.Store) -> None:
    """300 children, killed in mid-write: the parent keeps its slot, and nothing of theirs is left."""
    parent, ready = own(f), multiprocessing.get_context("fork").RawArray("q", BATCH)

    def child(i: int) -> NoReturn:
        store = f if i % 2 else fridge.open(f.path, create=False)
        while True:
            store.mset({f"pair:{i}:a": ready[i], f"pair:{i}:b": ready[i]})
            ready[i] += 1

    for _ in range(100 * TIMES):
        for i in range(BATCH):
            ready[i] = 0
        pids = [as_child(child, i) for i in range(BATCH)]
        for i, pid in enumerate(pids):
            while ready[i] < 3:
                os.sched_yield()
            os.kill(pid, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
            f.append(f"pair:{i}:a", "")  # under the latch: whatever was committed is applied now
            a, b = f.mget([f"pair:{i}:a", f"pair:{i}:b"])
            assert a == b
        assert own(f) == parent
        f.incr("n")
    wait_until(lambda: f._segment.reap() >= 0 and all(p.is_self for p in f._segment.processes()), "the dead are recovered")


def test_parents_die_and_their_children_live(f: fridge.Store) -> None:
    """150 parents fork twice and are killed; their 300 children go on, as themselves."""
    for _ in range(150 * TIMES):
        reading, writing = os.pipe()

        def parent(writing: int) -> NoReturn:
            f.incr("parents")
            me = own(f)
            gate_in, gate_out = os.pipe()

            def child() -> None:
                os.close(gate_out)
                select.select([gate_in], [], [], 30)  # readable, at its end, when the parent is gone
                wait_until(lambda: not is_alive(f, me), "the dead parent is seen as dead")  # its pipes go before its memory
                use_everything(f, 2)
                assert own(f).pid == os.getpid()
                os.write(writing, b"k")

            for _ in range(2):
                as_child(child)
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("SIGKILL returned")

        pid = as_child(parent, writing)
        os.close(writing)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        answer = b""
        while more := os.read(reading, 10):  # at its end when both children have ended
            answer += more
        os.close(reading)
        assert answer == b"kk"
    assert_sums(f, 300 * TIMES * 2)
    assert f.get("parents") == b"%d" % (150 * TIMES)


def test_grandchildren_and_closed_handles(f: fridge.Store) -> None:
    """A child closes the handle: its own use of it is over, by name, and nobody else's."""

    def child() -> None:
        f.incr("n")

        def grandchild() -> None:
            f.incr("n")
            f.close()
            with pytest.raises(errors.ClosedError):
                f.incr("n")
            with pytest.raises(errors.ClosedError):
                f.strlen("n")

        ended([as_child(grandchild)])
        f.incr("n")

    for _ in range(20 * TIMES):
        ended([as_child(child) for _ in range(5)])
    assert f.get("n") == b"%d" % (300 * TIMES)


def test_a_reader_forks(f: fridge.Store) -> None:
    """A read-only mapping has no identity: children read, and are refused to write by name."""
    f.set("k", "v")
    with fridge.open(f.path, mode="r") as reader:

        def child() -> None:
            assert reader.get("k") == b"v"
            with pytest.raises(errors.ReadOnlyError):
                reader.set("k", "w")
            assert not any(p.is_self for p in reader._segment.processes())

        for _ in range(10 * TIMES):
            ended([as_child(child) for _ in range(10)])
    assert f.get("k") == b"v"


# --- descriptors ----------------------------------------------------------------------------------------------------------------


def test_daemons_that_close_every_descriptor(f: fridge.Store) -> None:
    """200 daemons: double fork, setsid, closerange from 3 on, other files under the old numbers; then they write and grow."""
    limit = os.sysconf("SC_OPEN_MAX")
    assert own(f).alive

    def daemon() -> None:
        os.setsid()
        reading, writing = os.pipe()

        def grandchild() -> None:
            os.dup2(writing, 3)
            os.closerange(4, min(limit, 4096))
            for _ in range(12):  # somebody else's files now have the numbers
                os.open("/dev/null", os.O_RDWR)
            use_everything(f, 2)
            f.set(f"big:{os.getpid()}", b"x" * 300_000)
            f.delete(f"big:{os.getpid()}")
            me = own(f)
            assert me.alive
            assert me.pid == os.getpid()
            os.closerange(4, min(limit, 4096))
            f.incr("closed again")
            assert own(f) == me
            os.write(3, b"k")

        as_child(grandchild)
        os.close(writing)
        assert os.read(reading, 1) == b"k"

    for _ in range(20 * TIMES):
        ended([as_child(daemon) for _ in range(10)])
    assert_sums(f, 200 * TIMES * 2)
    assert f.get("closed again") == b"%d" % (200 * TIMES)


def test_an_attached_process_closes_its_descriptors_and_stays_alive(f: fridge.Store) -> None:
    """The beacon needs no descriptor: whoever looks from outside sees a live owner, and its latch is not robbed."""
    reading, writing = os.pipe()
    go_in, go_out = os.pipe()

    def child() -> None:
        f.incr("n")
        os.dup2(writing, 3)
        os.dup2(go_in, 4)
        os.closerange(5, 4096)
        os.write(3, b"1")
        select.select([4], [], [], 30)

    for _ in range(25 * TIMES):
        pid = as_child(child)
        assert select.select([reading], [], [], 30)[0]
        assert os.read(reading, 1) == b"1"
        assert [p.alive for p in f._segment.processes() if p.pid == pid] == [True]
        assert f._segment.reap() == 0
        os.write(go_out, b"g")
        ended([pid])
        os.read(go_in, 1)
    for fd in (reading, writing, go_in, go_out):
        os.close(fd)


def test_exec_while_attached(f: fridge.Store) -> None:
    """exec ends an identity at once, though the PID stays; what the new program opens is another process."""
    f.incr("n", 0)
    program = (
        "import json, sys\nimport fridge\n"
        "f = fridge.open(sys.argv[1], create=False)\n"
        "before = [[p.pid, p.alive] for p in f._segment.processes()]\n"
        "f.incr('n')\n"
        "me = [p for p in f._segment.processes() if p.is_self]\n"
        "print(json.dumps([before, [p.pid for p in me], [p.generation for p in me], [p.slot for p in me]]))\n"
    )

    def attached_then_exec(writing: int) -> NoReturn:
        f.incr("n")
        me = own(f)
        os.dup2(writing, 1)
        os.execv(sys.executable, [sys.executable, "-c", program, f.path, str(me.slot)])

    for _ in range(10 * TIMES):
        reading, writing = os.pipe()
        pid = as_child(attached_then_exec, writing)
        os.close(writing)
        with open(reading) as answer:
            before, pids, _, _ = json.loads(answer.read())
        ended([pid])
        assert [pid, True] not in before, "the program before the exec counts as alive"
        assert pids == [pid]
    assert f.get("n") == b"%d" % (20 * TIMES)


def test_subprocesses_leave_the_parent_alone(f: fridge.Store) -> None:
    """fork and exec of a program that knows nothing of fridge: no descriptor goes with it, no identity changes."""
    parent = own(f)
    for close_fds in (True, False) * (15 * TIMES):
        count()
        done = subprocess.run(["/bin/ls", "-l", "/proc/self/fd"], capture_output=True, text=True, check=True, close_fds=close_fds)
        assert f.path not in done.stdout
        assert own(f) == parent
        f.incr("n")


# --- multiprocessing ------------------------------------------------------------------------------------------------------------

worker_store: fridge.Store | None = None


def attach_worker(path: str) -> None:
    """Initialise a pool's process."""
    global worker_store
    worker_store = fridge.open(path, create=False, name="pool")


def work(n: int) -> tuple[int, int]:
    """Use everything through the pool's handle: (pid, what the process table says of it)."""
    assert worker_store is not None
    use_everything(worker_store, n)
    return os.getpid(), own(worker_store).pid


def open_and_use(path: str, n: int) -> None:
    """A Process's target: a handle of its own."""
    with fridge.open(path, create=False) as store:
        use_everything(store, n)


def use_inherited(n: int) -> None:
    """A Process's target under fork: the handle is the parent's."""
    assert worker_store is not None
    use_everything(worker_store, n)


def _run(processes: list[Any]) -> None:
    count(len(processes))
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)


@pytest.mark.parametrize(("method", "processes"), [("fork", 200), ("forkserver", 12), ("spawn", 8)])
def test_multiprocessing(f: fridge.Store, method: str, processes: int) -> None:
    global worker_store
    parent, context = own(f), multiprocessing.get_context(method)
    done = 0
    for _ in range(TIMES):
        for start in range(0, processes, 8):
            batch = min(8, processes - start)
            if method == "fork":
                worker_store = f
                _run([context.Process(target=use_inherited, args=(2,)) for _ in range(batch)])  # type: ignore[attr-defined]
            else:
                _run([context.Process(target=open_and_use, args=(f.path, 2)) for _ in range(batch)])  # type: ignore[attr-defined]
            done += 2 * batch
    count(2)
    with context.Pool(2, attach_worker, (f.path,)) as pool:
        for pid, says in pool.imap_unordered(work, [2] * 10):
            assert pid == says != os.getpid()
            done += 2
    worker_store = None
    assert_sums(f, done)
    assert own(f) == parent


def test_forks_were_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Runs last: how many it were."""
    with capsys.disabled():
        print(f"\n{children.value} children forked")
    if children.value > 1500 * TIMES:  # not when a single test was chosen
        assert children.value >= 2000 * TIMES
