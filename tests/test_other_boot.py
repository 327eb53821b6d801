"""A segment file that another boot left on a disk: opened, it goes on with its times moved; damaged, it is set aside.

Another boot is played by writing another boot id, and another offset of the wall clock, into a file that nobody uses.
What the takeover does to the file, and who may be killed in it, is tests/c/test_boot.c.
"""

from __future__ import annotations

import struct
import time
import warnings
from pathlib import Path

import pytest

import fridge
from fridge import errors

from .child_fixture import Child, Tell
from .server_fixture import run_fridge, serving

BOOT_ID, CHECKSUM, WALL_OFFSET = 80, 152, 528  # csrc/shm/layout.h, struct superblock
HOUR = 3600


def checksum(header: bytes) -> int:
    """Return layout_checksum: FNV-1a of what stands before it."""
    h = 0xCBF29CE484222325
    for byte in header[:CHECKSUM]:
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def another_boot(path: Path, seconds: float = 0) -> None:
    """Make it a file of another boot, whose clock makes every time in it `seconds` earlier."""
    with open(path, "r+b") as f:
        header = bytearray(f.read(1024))
        assert struct.unpack_from("<Q", header, CHECKSUM)[0] == checksum(header)
        header[BOOT_ID + 3] ^= 1
        struct.pack_into("<Q", header, CHECKSUM, checksum(header))
        (offset,) = struct.unpack_from("<Q", header, WALL_OFFSET)
        struct.pack_into("<Q", header, WALL_OFFSET, offset - int(seconds * 1000))
        f.seek(0)
        f.write(header)


def damage(path: Path, key: bytes) -> None:
    """Change the name of a key where it lies, as a sector that was never written would."""
    data = path.read_bytes()
    assert data.count(key) == 1
    with open(path, "r+b") as f:
        f.seek(data.index(key))
        f.write(bytes(len(key)))


def fill(f: fridge.Store) -> None:
    """Put one of everything into f; what expires does so in two hours."""
    f.set("string", "v", ex=2 * HOUR)
    f.set("short", "v", ex=60)
    f.set("plain", "v")
    f.set("big", b"x" * 300_000, ex=2 * HOUR)
    f.hset("hash", mapping={"a": "1"})
    f.hset("tree", mapping={str(i): "v" * 50 for i in range(300)})
    f.counter("counter").increment(41)
    f.counter("lasting").increment(7)
    for name in ("hash", "tree", "counter"):
        f.expire(name, 2 * HOUR)
    rows = f.table("rows", {"n": "int32"}, capacity=100)
    rows.set("a", {"n": 1})
    rows.expire("a", 2 * HOUR)
    rows.set("b", {"n": 2})
    f.vars("scope").set({"x": [1, 2]})


def hold(tell: Tell, path: str) -> None:
    f = fridge.open(path)
    f.lock("lock").acquire()
    tell("held")
    time.sleep(60)


def test_everything_goes_on_with_its_times_moved(shared_dir: Path) -> None:
    path = shared_dir / "segment"
    f = fridge.open(path, size="32mb")
    fill(f)
    f.close()
    holder = Child(hold, str(path))
    assert holder.get() == "held"
    holder.kill()
    another_boot(path, HOUR)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f = fridge.open(path)
    for name in ("string", "big", "hash", "tree", "counter"):
        assert HOUR - 30 < f.ttl(name) <= HOUR, name
    rows = f.table("rows")
    left = rows.ttl("a")
    assert left is not None
    assert HOUR - 30 < left <= HOUR
    assert rows.ttl("b") == float("inf")
    assert rows.get("b", "n") == 2
    assert len(rows) == 2
    assert f.get("short") is None
    assert f.get("plain") == b"v"
    assert f.get("big") == b"x" * 300_000
    assert f.hgetall("hash") == {b"a": b"1"}
    assert f.hlen("tree") == 300
    assert f.counter("lasting").increment() == 8
    assert f.counter("counter").increment() == 42
    assert f.vars("scope").get(timeout=0)["x"] == [1, 2]
    age = f.vars("scope").age()
    assert age is not None
    assert age >= min(HOUR - 30, time.clock_gettime(time.CLOCK_BOOTTIME) - 1)
    assert f.vars("scope").publisher_alive() is False
    with f.lock("lock", blocking_timeout=5):
        pass
    assert f.verify().findings == 0
    f.close()
    assert sorted(p.name for p in shared_dir.iterdir()) == ["segment", "segment.lock"]


def test_a_reader_says_that_a_writer_must_come_first(shared_dir: Path) -> None:
    path = shared_dir / "segment"
    fridge.open(path, size="32mb").close()
    another_boot(path)
    with pytest.raises(errors.ReadOnlyError, match="before the last boot: open it for writing once"):
        fridge.open(path, mode="r")
    fridge.open(path).close()
    fridge.open(path, mode="r").close()


def test_a_damaged_one_is_set_aside_with_a_warning(shared_dir: Path) -> None:
    path = shared_dir / "segment"
    f = fridge.open(path, size="32mb")
    fill(f)
    f.close()
    damage(path, b"lasting")
    another_boot(path)
    with pytest.raises(errors.SegmentNotFoundError, match=r"is now .*segment\.damaged-"):
        fridge.open(path, create=False)
    (aside,) = shared_dir.glob("segment.damaged-*")
    aside.rename(path)
    with pytest.warns(RuntimeWarning, match=r"damaged; it is now .*segment\.damaged-\d{8}T\d{6}Z") as caught:
        f = fridge.open(path)
    assert caught[0].filename == __file__
    assert f.dbsize() == 0
    assert f.set("k", "v")
    f.close()
    assert len(list(shared_dir.glob("segment.damaged-*"))) == 1


def test_the_server_and_the_command_line(shared_dir: Path) -> None:
    path = shared_dir / "segment"
    f = fridge.open(path, size="32mb")
    fill(f)
    f.close()
    another_boot(path, HOUR)
    with serving(folder=shared_dir) as server, server.client() as client:
        assert client("GET", "plain") == b"v"
        assert HOUR - 30 < int(client.text("TTL", "string")) <= HOUR
        assert "damaged" not in server.output()
    another_boot(path)
    assert run_fridge("--segment", str(path), "get", "plain").returncode == 0
    damage(path, b"lasting")
    another_boot(path)
    with serving(folder=shared_dir) as server, server.client() as client:
        assert client("GET", "plain") is None
        assert sum("segment.damaged-" in line for line in server.output().splitlines()) == 1
    (aside,) = shared_dir.glob("segment.damaged-*")
    assert aside.stat().st_size > 0
