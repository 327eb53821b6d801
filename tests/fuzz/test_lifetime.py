"""What happens to a segment while it is mapped: cut short, removed, out of room, out of descriptors.

Each case is a Python process of its own, because some of them end, or would end, by a signal. The engine's SIGBUS handler
answers for its own window only: faults elsewhere go to whoever had the signal before (faulthandler, a C handler, nobody).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fridge

from ..server_fixture import Client, serving, wait_until

PREPARE = """
import ctypes, faulthandler, mmap, os, resource, signal, sys
import fridge
from fridge import errors
path = sys.argv[1]
"""
OPEN = """
f = fridge.open(path, size="4mb")
t = f.table("t", {"n": "int32", "note": "str:8"}, 64)
c = f.counter("c", 3)
f.set("k", "v"); f.hset("h", "f", "v"); t.set("a", n=1)
os.truncate(path, 0)
"""
# A file of one page, mapped, then cut: touching it is a SIGBUS that is none of the engine's business.
FOREIGN = """
fd = os.open(path + ".foreign", os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(fd, 4096)
foreign = mmap.mmap(fd, 4096)
address = ctypes.addressof(ctypes.c_char.from_buffer(foreign))
os.ftruncate(fd, 0)
libc = ctypes.CDLL(None, use_errno=True)
def touch_foreign():
    return ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(("memcmp", libc))(
        address, ctypes.create_string_buffer(8), 8)
"""
OPERATIONS = {
    "get": "f.get('k')",
    "set": "f.set('k', 'w')",
    "set a new key": "f.set('new', 'w' * 5000)",
    "incr": "f.incr('n')",
    "delete": "f.delete('k')",
    "mget": "f.mget('k', 'h2')",
    "hgetall": "f.hgetall('h')",
    "hset": "f.hset('h', 'g', 'w')",
    "keys": "f.keys()",
    "dbsize": "f.dbsize()",
    "flushall": "f.flushall()",
    "counter": "c.increment()",
    "a row": "t.get('a')",
    "a row's change": "t.incr('a', 'n')",
    "rows": "list(t.items())",
    "verify": "f.verify()",
    "declare": "f.table('u', {'n': 'int8'}, 4)",
}


def run(path: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    """Run the parts as one program, in a process of its own."""
    program = PREPARE + "".join(textwrap.dedent(part) + "\n" for part in parts)
    return subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60, check=False)


def output_of(path: Path, *parts: str) -> str:
    """What the program prints; it must end well."""
    ended = run(path, *parts)
    assert ended.returncode == 0, f"{ended.returncode}: {ended.stdout}{ended.stderr}"
    return ended.stdout.strip()


def named(call: str) -> str:
    """A program that prints the class of what `call` raises."""
    return f"""
try:
    {call}
    print("nothing was raised")
except fridge.FridgeError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_file_cut_short_under_its_mapping(segment_path: Path, operation: str) -> None:
    again = named(OPERATIONS["get"])
    assert output_of(segment_path, OPEN, named(OPERATIONS[operation]), again) == "SegmentLost\nSegmentLost"


def test_a_reader_of_a_file_cut_short(segment_path: Path) -> None:
    with fridge.open(str(segment_path), size="4mb") as f:
        f.set("k", "v")
        reader = "r = fridge.open(path, mode='r'); os.truncate(path, 0)"
        assert output_of(segment_path, reader, named("r.get('k')")) == "SegmentLost"


def test_a_file_cut_in_half_keeps_no_half_truths(segment_path: Path) -> None:
    """What lies before the cut may be read; what lies behind it is lost, and from then on everything is."""
    cut = """
    for i in range(300):
        f.set(f"key{i}", "x" * 900)
    os.truncate(path, 200_000)
    seen = []
    for i in range(300):
        try:
            assert f.get(f"key{i}") == b"x" * 900
            seen.append("read")
        except errors.SegmentLost:
            seen.append("lost")
    assert "lost" in seen and seen[seen.index("lost"):] == ["lost"] * (len(seen) - seen.index("lost")), seen
    print("sound")
    """
    assert output_of(segment_path, "f = fridge.open(path, size='4mb')", cut) == "sound"


def test_a_file_removed_under_its_mapping(segment_path: Path) -> None:
    """Who has it goes on with it; it cannot grow any more, and a newcomer makes another one."""
    removed = """
    f = fridge.open(path, size="4mb")
    f.set("k", "v")
    os.unlink(path)
    assert f.get("k") == b"v" and f.incr("n") == 1
    try:
        for i in range(4000):
            f.set(f"key{i}", "x" * 1000)
        print("it grew")
    except fridge.FridgeError as error:
        print(type(error).__name__)
    assert f.get("k") == b"v"
    with fridge.open(path, size="4mb") as other:
        assert other.get("k") is None
    """
    assert output_of(segment_path, removed) in {"SegmentLost", "OutOfMemoryError"}


@pytest.mark.parametrize("first", ["faulthandler", "fridge"])
def test_faulthandler_reports_faults_of_others(segment_path: Path, first: str) -> None:
    setup = ["faulthandler.enable()", OPEN] if first == "faulthandler" else [OPEN, "faulthandler.enable()"]
    ended = run(segment_path, *setup, FOREIGN, "touch_foreign()", "print('survived')")
    assert ended.returncode == -signal.SIGBUS
    assert "Fatal Python error: Bus error" in ended.stderr
    assert "survived" not in ended.stdout


def test_with_faulthandler_on_our_fault_is_still_an_error(segment_path: Path) -> None:
    assert output_of(segment_path, "faulthandler.enable()", OPEN, named("f.get('k')")) == "SegmentLost"


def test_without_any_handler_a_fault_of_others_ends_the_process(segment_path: Path) -> None:
    ended = run(segment_path, OPEN, FOREIGN, "touch_foreign()")
    assert ended.returncode == -signal.SIGBUS


def test_a_foreign_handler_gets_its_own_faults(segment_path: Path) -> None:
    """A C handler that was there first mends its own fault and never hears of ours."""
    handler = """
    heard = []
    HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    @HANDLER
    def mend(number, info, context):
        heard.append(number)
        fixed_anonymous = 0x32
        libc.mmap(address, 4096, 3, fixed_anonymous, -1, 0)
    class Action(ctypes.Structure):
        _fields_ = [("handler", HANDLER), ("mask", ctypes.c_ulong * 16), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p)]
    assert libc.sigaction(signal.SIGBUS, ctypes.byref(Action(mend, (ctypes.c_ulong * 16)(), 4, None)), None) == 0
    """
    after = """
    assert touch_foreign() == 0
    assert heard == [signal.SIGBUS]
    print(len(heard))
    """
    assert output_of(segment_path, FOREIGN, handler, OPEN, named("f.get('k')"), after) == "SegmentLost\n1"


def test_a_python_handler_gets_the_signal_that_somebody_sends(segment_path: Path) -> None:
    sent = """
    got = []
    signal.signal(signal.SIGBUS, lambda number, frame: got.append(number))
    f = fridge.open(path, size="4mb")
    os.kill(os.getpid(), signal.SIGBUS)
    assert got == [signal.SIGBUS]
    f.set("k", "v")
    os.truncate(path, 0)
    """
    assert output_of(segment_path, sent, named("f.get('k')"), "print(len(got))") == "SegmentLost\n1"


def test_without_our_handler_the_signal_is_the_program_s(segment_path: Path) -> None:
    opened = OPEN.replace('size="4mb"', 'size="4mb", sigbus_handler=False')
    assert run(segment_path, opened, "f.get('k')").returncode == -signal.SIGBUS


# --- limits of the process ------------------------------------------------------------------------------------------------

FILL = """
written = 0
try:
    for i in range(100_000):
        f.set(f"key{i}", "x" * 1000)
        written += 1
except fridge.FridgeError as error:
    print(type(error).__name__)
assert f.get("k") == b"v" and f.dbsize() == written + 1
assert all(f.get(f"key{i}") == b"x" * 1000 for i in range(written)) and f.get(f"key{written}") is None
f.set("k", "w"); assert f.get("k") == b"w"
"""


def test_rlimit_fsize(segment_path: Path) -> None:
    limited = """
    f = fridge.open(path, size="16mb")
    f.set("k", "v")
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(path).st_size + 65536,) * 2)
    """
    assert output_of(segment_path, limited, FILL) == "OutOfMemoryError"


def test_rlimit_fsize_at_creation_leaves_nothing(segment_path: Path) -> None:
    limited = "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))"
    assert output_of(segment_path, limited, named("fridge.open(path, size='16mb')")) == "OutOfMemoryError"
    assert list(segment_path.parent.iterdir()) == []


def test_rlimit_as(segment_path: Path) -> None:
    limited = """
    used = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))
    try:
        fridge.open(path, size="8gb")
    except errors.OutOfMemoryError as error:
        assert "RLIMIT_AS" in str(error), error
        print("refused")
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    """
    assert output_of(segment_path, limited) == "refused"
    assert list(segment_path.parent.iterdir()) == []


def test_rlimit_nofile(segment_path: Path) -> None:
    """Not one descriptor left, then one, two...: refused or opened, and none is lost."""
    limited = """
    before = os.listdir("/proc/self/fd")
    refused = 0
    fridge.open(path, size="4mb").close()  # imports what it needs
    os.unlink(path); os.unlink(path + ".lock")
    for spare in range(8):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) - 1 + spare, 4096))
        try:
            with fridge.open(path, size="4mb") as f:
                f.set("k", "v")
                assert f.get("k") == b"v"
        except fridge.FridgeError as error:
            assert str(error)
            refused += 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        assert len(os.listdir("/proc/self/fd")) == len(before), (spare, os.listdir("/proc/self/fd"))
    with fridge.open(path) as f:
        assert f.get("k") == b"v"
    print(0 < refused < 8)
    """
    assert output_of(segment_path, limited) == "True"


def test_a_server_without_descriptors_serves_whom_it_has() -> None:
    """accept fails with EMFILE: those who are connected are served, and others are again when there is room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving() as server, contextlib.ExitStack() as clients:
        worker = next(iter(server.workers().values()))
        used = len(os.listdir(f"/proc/{worker}/fd"))
        first = clients.enter_context(server.client())
        assert first("SET", "k", "v") == "OK"
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 8, hard))
        crowd: list[Client] = []
        with contextlib.suppress(OSError):
            crowd.extend(clients.enter_context(server.client()) for _ in range(30))
        for _ in range(50):
            assert first("GET", "k") == b"v"
        for client in crowd:
            client.close()
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))

        def answers() -> bool:
            with contextlib.suppress(OSError), server.client() as late:
                return late("GET", "k") == b"v"
            return False

        wait_until(answers, "a new client is served", 15)
        assert first("GET", "k") == b"v"
