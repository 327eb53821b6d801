"""Segment files that are none, file systems that are full, doors that are taken: one clear line, and nothing changed.

Each case is met twice: by `fridge serve`, which ends with status 1 and one line on stderr, and by `fridge.open`, which
raises the class that status.def names. Afterwards the folder holds what it held before, byte for byte.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fridge
from fridge import cli, errors
from fridge.reply import ErrorReply

from .server_fixture import free_port, run_fridge, serving, wait_until
from .shim_fixture import output_under

TMPFS_BYTES = 4 << 20


def snapshot(folder: Path) -> dict[str, object]:
    """Everything below folder: kind, mode and contents by name."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        facts = path.lstat()
        contents: object = None
        if stat.S_ISLNK(facts.st_mode):
            contents = os.readlink(path)
        elif stat.S_ISREG(facts.st_mode):
            contents = path.read_bytes()
        found[str(path.relative_to(folder))] = facts.st_mode, contents
    return found


def serve_and_fail(segment: Path, *arguments: str) -> str:
    """Run a `fridge serve` on segment that must end by itself with status 1; its one line."""
    doors = ["--port", str(free_port()), "--http", f"127.0.0.1:{free_port()}", "--unixsocket", str(segment.parent / "sock")]
    ended = run_fridge("serve", *doors, "--segment", str(segment), *arguments)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.fixture(scope="module")
def sound() -> Iterator[bytes]:
    """A whole segment with a key in it, as bytes."""
    folder = Path(tempfile.mkdtemp(prefix="fridge-test-", dir="/dev/shm"))
    try:
        ended = run_fridge("--segment", str(folder / "s"), "set", "k", "v")
        assert ended.returncode == 0, ended.stderr
        yield (folder / "s").read_bytes()
    finally:
        shutil.rmtree(folder)


def another_version(sound: bytes) -> bytes:
    return sound[:8] + (999).to_bytes(4, "little") + sound[12:]


def other_structures(sound: bytes) -> bytes:
    return sound[:12] + (12345).to_bytes(4, "little") + sound[16:]


def changed_geometry(sound: bytes) -> bytes:
    return sound[:16] + bytes([sound[16] ^ 0xFF]) + sound[17:]


CONTENTS: dict[str, tuple[Callable[[bytes], bytes], type[errors.FridgeError]]] = {
    "empty": (lambda _: b"", errors.NotASegmentError),
    "one byte": (lambda _: b"x", errors.NotASegmentError),
    "zeros": (lambda _: bytes(1 << 20), errors.NotASegmentError),
    "random": (lambda _: os.urandom(1 << 20), errors.NotASegmentError),
    "text": (lambda _: b"precious\n" * 10_000, errors.NotASegmentError),
    "the superblock alone": (lambda s: s[:1024], errors.NotASegmentError),
    "half a superblock": (lambda s: s[:300], errors.NotASegmentError),
    "cut by a page": (lambda s: s[:-4096], errors.NotASegmentError),
    "cut in half": (lambda s: s[: len(s) // 2], errors.NotASegmentError),
    "another version": (another_version, errors.LayoutVersionError),
    "other structures": (other_structures, errors.LayoutVersionError),
    "changed geometry": (changed_geometry, errors.FridgeError),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_file_that_is_no_whole_segment(sound: bytes, shared_dir: Path, case: str) -> None:
    make, error = CONTENTS[case]
    segment = shared_dir / "segment"
    segment.write_bytes(make(sound))
    segment.chmod(0o600)
    before = snapshot(shared_dir)
    assert str(segment) in serve_and_fail(segment)
    assert snapshot(shared_dir) == before
    for mode in ("rw", "r"):
        with pytest.raises(error) as raised:
            fridge.open(str(segment), mode=mode)
        assert str(segment) in str(raised.value)
        assert snapshot(shared_dir) == before


def make_directory(path: Path) -> None:
    path.mkdir()


def make_symlink(path: Path) -> None:
    (path.parent / "target").write_bytes(b"precious")
    path.symlink_to("target")


def make_dangling_symlink(path: Path) -> None:
    path.symlink_to("nowhere")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def make_shared_name(path: Path) -> None:
    path.write_bytes(b"")
    os.link(path, path.parent / "other name")


def make_writable_by_all(path: Path) -> None:
    path.write_bytes(b"")
    path.chmod(0o666)


SHAPES: dict[str, tuple[Callable[[Path], None], str, type[errors.FridgeError]]] = {
    "directory": (make_directory, "is a directory", errors.NotASegmentError),
    "symlink": (make_symlink, "is a symbolic link", errors.NotASegmentError),
    "dangling symlink": (make_dangling_symlink, "is a symbolic link", errors.NotASegmentError),
    "fifo": (make_fifo, "is a FIFO", errors.NotASegmentError),
    "socket": (make_socket, "is a socket", errors.NotASegmentError),
    "hard link": (make_shared_name, "2 names (hard links)", errors.ForeignOwnerError),
    "mode 0666": (make_writable_by_all, "everybody can write it", errors.ForeignOwnerError),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_path_that_is_no_file_of_ours(shared_dir: Path, case: str) -> None:
    make, words, error = SHAPES[case]
    segment = shared_dir / "segment"
    make(segment)
    before = snapshot(shared_dir)
    assert words in serve_and_fail(segment)
    assert snapshot(shared_dir) == before
    with pytest.raises(error, match=words.split(" (")[0]):
        fridge.open(str(segment))
    assert snapshot(shared_dir) == before


def test_a_symlink_to_a_sound_segment_is_refused_too(sound: bytes, shared_dir: Path) -> None:
    with fridge.open(str(shared_dir / "real"), size="1mb") as f:
        f.set("k", "v")
    (shared_dir / "segment").symlink_to("real")
    assert "is a symbolic link" in serve_and_fail(shared_dir / "segment")
    with pytest.raises(errors.NotASegmentError):
        fridge.open(str(shared_dir / "segment"))
    with fridge.open(str(shared_dir / "real"), create=False) as f:
        assert f.get("k") == b"v"


def test_a_file_of_a_stranger(shared_dir: Path) -> None:
    assert os.geteuid() == 0, "giving a file away needs root: run the tests as root, or in a container"
    segment = shared_dir / "segment"
    segment.write_bytes(b"")
    segment.chmod(0o600)
    os.chown(segment, 12345, 12345)
    before = snapshot(shared_dir)
    assert "belongs to uid 12345" in serve_and_fail(segment)
    with pytest.raises(errors.ForeignOwnerError) as raised:
        fridge.open(str(segment))
    assert isinstance(raised.value, PermissionError)
    assert snapshot(shared_dir) == before


NETWORK = """
#include <sys/vfs.h>
static int shadow(const char *name, int fd, struct statfs *fs) {
    int (*call)(int, struct statfs *) = real(name), result = call(fd, fs);
    fs->f_type = (__typeof__(fs->f_type))MAGIC;
    return result;
}
int fstatfs(int fd, struct statfs *fs) { return shadow("fstatfs", fd, fs); }
int fstatfs64(int fd, struct statfs64 *fs) { return shadow("fstatfs", fd, (struct statfs *)fs); }
"""


@pytest.mark.parametrize("magic", ["0x6969", "0x517B", "0xFF534D42u", "0xFE534D42u"], ids=["nfs", "smb", "cifs", "smb2"])
@pytest.mark.parametrize("there", [True, False])
def test_a_network_file_system_is_refused(shared_dir: Path, tmp_path: Path, magic: str, there: bool) -> None:
    segment = shared_dir / "segment"
    if there:
        fridge.open(segment, size="1mb").close()
    before = snapshot(shared_dir)
    program = f"""
import fridge
try:
    fridge.open({str(segment)!r}, size="1mb")
except fridge.FridgeError as error:
    print(type(error).__name__, error)
"""
    said = output_under(f"#define MAGIC {magic}\n{NETWORK}", program, tmp_path)
    assert said.startswith("SystemCallError")
    assert "is on a network file system, which shares no memory" in said
    assert snapshot(shared_dir) == before


def test_nothing_there_and_not_to_be_created(shared_dir: Path) -> None:
    path = str(shared_dir / "segment")
    attempts: list[Callable[[], object]] = [lambda: fridge.open(path, create=False), lambda: fridge.open(path, mode="r")]
    for attempt in attempts:
        with pytest.raises(errors.SegmentNotFoundError) as raised:
            attempt()
        assert isinstance(raised.value, FileNotFoundError)
    assert snapshot(shared_dir) == {}


def test_a_directory_that_cannot_be_created(shared_dir: Path) -> None:
    (shared_dir / "file").write_text("precious")
    ended = run_fridge("serve", "--port", str(free_port()), "--http", "", "--segment", str(shared_dir / "file" / "segment"))
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    with pytest.raises((errors.FridgeError, OSError)):
        fridge.open(str(shared_dir / "file" / "segment"))
    assert (shared_dir / "file").read_text() == "precious"


# --- full file systems ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small_tmpfs() -> Iterator[Path]:
    """A tmpfs of TMPFS_BYTES of its own."""
    folder = Path(tempfile.mkdtemp(prefix="fridge-test-tmpfs-", dir="/dev/shm"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES},mode=0700", "fridge-test", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.fail(f"this test mounts a small tmpfs and may not ({mounted.stderr.strip()}): run it as root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path, leave: int = 0) -> Path:
    """Take all of a file system but `leave` bytes."""
    ballast = folder / "ballast"
    space = os.statvfs(folder)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave)
    return ballast


def test_a_size_above_the_file_system_s(small_tmpfs: Path) -> None:
    segment = small_tmpfs / "segment"
    line = serve_and_fail(segment, "--size", "8mb")
    assert "does not fit" in line
    assert "give a smaller --size" in line
    assert snapshot(small_tmpfs) == {}


@pytest.mark.parametrize("leave", [0, 4096, 16384])
def test_a_full_file_system_at_the_start(small_tmpfs: Path, leave: int) -> None:
    fill(small_tmpfs, leave)
    before = {str(p) for p in small_tmpfs.iterdir()}
    segment = small_tmpfs / "segment"
    assert "does not fit" in serve_and_fail(segment, "--size", "2mb")
    with pytest.raises(errors.OutOfMemoryError) as raised:
        fridge.open(str(segment), size="2mb")
    assert isinstance(raised.value, MemoryError)
    assert str(segment) in str(raised.value)
    assert {str(p) for p in small_tmpfs.iterdir()} == before


def test_a_file_system_that_fills_up_under_a_server(small_tmpfs: Path) -> None:
    with serving(folder=small_tmpfs, size="3mb") as server, server.client() as c:
        assert c("SET", "kept", "v") == "OK"
        ballast = fill(small_tmpfs)
        refused, written = None, 0
        while written < 3000 and refused is None:
            reply = c("SET", f"k{written}", "x" * 1000)
            if reply == "OK":
                written += 1
            else:
                refused = reply
        assert isinstance(refused, ErrorReply)
        assert str(refused) == "OOM command not allowed when used memory > 'maxmemory'."
        assert c("EXISTS", f"k{written}") == 0
        assert c("DBSIZE") == written + 1
        assert c("GET", "kept") == b"v"
        with fridge.open(server.segment, create=False) as f:
            with pytest.raises(errors.OutOfMemoryError):
                f.set("large", b"x" * 100_000)
            assert f.get("large") is None
            assert f.get("kept") == b"v"
        ballast.unlink()
        with fridge.open(server.segment, create=False) as f:
            wait_until(lambda: c("SET", "large", "x" * 100_000) == "OK", "there is room again")
            assert f.get("large") == b"x" * 100_000
            assert f.verify().findings == 0


def test_the_segment_s_own_limit(shared_dir: Path) -> None:
    with serving(folder=shared_dir, size="1mb") as server, server.client() as c, fridge.open(server.segment) as f:
        n = 0
        while c("SET", f"k{n}", "x" * 1000) == "OK":
            n += 1
        assert 100 < n < 1049
        with pytest.raises(errors.OutOfMemoryError):
            f.set(f"k{n}", b"x" * 1000)
        assert (c("EXISTS", f"k{n}"), f.get(f"k{n}")) == (0, None)
        assert c("DBSIZE") == n
        assert [c("DEL", f"k{i}") for i in range(n)] == [1] * n
        again = 0
        while again < n and c("SET", f"again{again}", "x" * 1000) == "OK":
            again += 1
        assert again >= n * 0.95  # not n: a freed block serves its own stripe first, and these keys fall otherwise
        assert f.verify().findings == 0


def test_a_larger_size_than_the_file_s_own_is_said(shared_dir: Path) -> None:
    with fridge.open(str(shared_dir / "segment"), size="1mb") as f:
        f.set("k", "v")
    with serving(folder=shared_dir, size="2mb") as server, server.client() as c:
        assert "its own limit wins over --size" in server.output()
        assert c("GET", "k") == b"v"


# --- doors ---------------------------------------------------------------------------------------------------------------


def test_a_port_in_use_leaves_nothing_behind(shared_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = serve_and_fail(shared_dir / "segment", "--port", port)
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line
    assert snapshot(shared_dir) == {}


def test_a_socket_path_too_long_leaves_nothing_behind(shared_dir: Path) -> None:
    assert "unix socket path" in serve_and_fail(shared_dir / "segment", "--unixsocket", str(shared_dir / ("s" * 120)))
    assert snapshot(shared_dir) == {}


# --- files of other users ------------------------------------------------------------------------------------------------


def as_user(uid: int, gid: int, work: Callable[[], object]) -> str:
    """Run work in a child of another user; return what it gave or raised, as text."""
    heard, said = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setgroups([gid])
            os.setgid(gid)
            os.setuid(uid)
            text = repr(work())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(said, text.encode())
        os._exit(0)
    os.close(said)
    os.waitpid(pid, 0)
    with os.fdopen(heard) as answer:
        return answer.read()


def test_a_group_shares_a_segment_when_both_sides_say_so(shared_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As deploy/fridge.service has it: a server of one user, programs of others in its group."""
    assert os.geteuid() == 0, "becoming other users needs root: run the tests as root, or in a container"
    server, program, group = 12345, 54321, 12346
    segment = str(shared_dir / "segment")
    os.chown(shared_dir, server, group)
    shared_dir.chmod(0o750)
    monkeypatch.setenv("FRIDGE_SEGMENT_PERM", "600")
    assert cli.main(["--segment", str(shared_dir / "warm"), "set", "k", "v"]) == 0
    with fridge.open(str(shared_dir / "warm")):
        pass  # everything is imported now: as another user we may not be able to read it
    monkeypatch.delenv("FRIDGE_SEGMENT_PERM")

    def put() -> object:
        with fridge.open(segment, size="8mb", perm=0o660) as f:
            return f.set("k", "v")

    def get(**how: Any) -> object:
        with fridge.open(segment, **how) as f:
            return f.get("k"), how.get("mode") == "r" or f.set("k", "v")

    assert as_user(server, group, put) == "True"
    assert (shared_dir / "segment").stat().st_mode & 0o777 == 0o660
    assert "ForeignOwnerError" in (said := as_user(program, group, get))
    assert "segment-owner (FRIDGE_SEGMENT_OWNER, or owner= of fridge.open)" in said
    assert "ForeignOwnerError" in (said := as_user(program, group, lambda: get(owner=server)))
    assert "segment-perm (FRIDGE_SEGMENT_PERM, or perm= of fridge.open)" in said
    assert as_user(program, group, lambda: get(owner=server, perm=0o660)) == "(b'v', True)"
    assert as_user(program, group, lambda: get(owner=server, perm=0o660, mode="r")) == "(b'v', True)"
    monkeypatch.setenv("FRIDGE_SEGMENT_OWNER", str(server))
    monkeypatch.setenv("FRIDGE_SEGMENT_PERM", "660")
    assert as_user(program, group, get) == "(b'v', True)"
    assert as_user(program, group, lambda: cli.main(["--segment", segment, "set", "k", "v"])) == "0"
    assert "ForeignOwnerError" in as_user(program, group, lambda: get(owner=program)), "an argument goes before the environment"
    for wrong in ({"owner": "nobody of this name"}, {"owner": True}, {"owner": -1}, {"perm": 0o1000}, {"perm": "660"}):
        with pytest.raises(errors.ArgumentError, match=r"segment-owner|perm is"):
            fridge.open(segment, **wrong)
    monkeypatch.setenv("FRIDGE_SEGMENT_PERM", "rw")
    with pytest.raises(errors.ArgumentError, match=r"segment-perm = 'rw'.*from environment"):
        fridge.open(segment)
