"""Tests of fridge._native: the library is loaded once, segments open and close, refusals are the named errors."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fridge import errors
from fridge._native import build, check, error_buffer, ffi, lib, text

CSRC = Path(__file__).resolve().parent.parent / "csrc"


def open_segment(path: Path, flags: int = 0, **shape: int) -> Any:
    """Return an open segment, or raise the named error."""
    options = ffi.new("fridge_options *", {"flags": flags, "size": 8 << 20, **shape})
    out, created, err = ffi.new("store **"), ffi.new("int *"), error_buffer()
    check(lib.fridge_open(os.fsencode(path), options, out, created, err), err)
    return out[0]


def facts(store: Any) -> Any:
    """Return what fridge_describe says."""
    out = ffi.new("fridge_facts *")
    lib.fridge_describe(store, out)
    return out


def libraries_mapped(order: list[str]) -> set[str]:
    """Return the paths of all libfridge that a fresh process maps after importing modules in this order."""
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print('\\n'.join({line.split()[-1] for line in open('/proc/self/maps') if 'libfridge' in line}))"
    )
    done = subprocess.run([sys.executable, "-c", program, *order], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


NATIVE, HOT = "fridge._native", "fridge._hot"


@pytest.mark.parametrize("order", [[NATIVE], [NATIVE, HOT], [HOT, NATIVE]])
def test_one_process_has_one_libfridge(order: list[str]) -> None:
    assert importlib.util.find_spec(HOT), "fridge._hot is not built"
    assert len(libraries_mapped(order)) == 1


def test_the_version_is_the_one_in_pyproject() -> None:
    line = next(x for x in (CSRC.parent / "pyproject.toml").read_text().splitlines() if x.startswith("version = "))
    assert line.split('"')[1] == text(lib.fridge_version())


def test_headers_with_preprocessor_lines_in_the_middle_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bad\.h:4"):
        build.middle("bad.h", '#ifndef B\n#include "a.h"\nint a(void);\n#define C 1\nint c(void);\n#endif\n')


def test_a_header_may_mark_where_its_exported_part_begins() -> None:
    text = "#define B\n#include <x.h>\nint hidden(void);\n/* --- for Python --- */\nFRIDGE_API int shown(void);\n#endif\n"
    assert build.middle("marked.h", text) == "int shown(void);\n"


def test_all_exported_functions_are_declared_for_python() -> None:
    assert build.exported(CSRC) == list(build.HEADERS)
    assert "FRIDGE_API" not in build.definitions(CSRC)


def test_a_segment_is_created_then_attached(segment_path: Path) -> None:
    first = open_segment(segment_path, lib.FRIDGE_CREATE)
    second = open_segment(segment_path)
    assert text(facts(first).uuid) == text(facts(second).uuid)
    assert facts(first).max_size == 8 << 20
    assert 0 < facts(first).used <= facts(first).size <= facts(first).max_size
    lib.fridge_close(second)
    lib.fridge_close(first)


def test_an_absent_segment_is_a_file_not_found(segment_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_segment(segment_path)
    assert isinstance(caught.value, errors.SegmentNotFoundError)
    assert not segment_path.exists()


def test_a_file_that_is_no_segment_is_left_alone(segment_path: Path) -> None:
    segment_path.write_bytes(b"not a segment" * 1000)
    segment_path.chmod(0o600)
    with pytest.raises(errors.NotASegmentError):
        open_segment(segment_path, lib.FRIDGE_CREATE)
    assert segment_path.read_bytes() == b"not a segment" * 1000


def test_system_values_are_kept_and_counted(segment_path: Path) -> None:
    store = open_segment(segment_path, lib.FRIDGE_CREATE)
    err, n, room = error_buffer(), ffi.new("int64_t *"), ffi.new("char[64]")
    before = facts(store).settings_version
    check(lib.fridge_system_get(store, b"requirepass", room, 64, n, err), err)
    assert n[0] == -1
    check(lib.fridge_system_set(store, b"requirepass", b"secret", 6, err), err)
    check(lib.fridge_system_get(store, b"requirepass", room, 64, n, err), err)
    assert ffi.buffer(room, n[0])[:] == b"secret"
    assert facts(store).settings_version > before
    check(lib.fridge_system_set(store, b"requirepass", ffi.NULL, 0, err), err)
    check(lib.fridge_system_get(store, b"requirepass", room, 64, n, err), err)
    assert n[0] == -1
    check(lib.fridge_system_add(store, b"client-id", 5, n, err), err)
    check(lib.fridge_system_add(store, b"client-id", 2, n, err), err)
    assert n[0] == 7
    lib.fridge_close(store)


def test_system_values_are_no_keys(segment_path: Path) -> None:
    store = open_segment(segment_path, lib.FRIDGE_CREATE)
    err, keys, expires = error_buffer(), ffi.new("uint64_t *"), ffi.new("uint64_t *")
    check(lib.fridge_system_set(store, b"a", b"b", 1, err), err)
    for db in range(16):
        check(lib.fridge_keys(store, db, keys, expires, err), err)
        assert (keys[0], expires[0]) == (0, 0)
    lib.fridge_close(store)


def test_a_new_segment_verifies(segment_path: Path) -> None:
    store = open_segment(segment_path, lib.FRIDGE_CREATE)
    err, report = error_buffer(), ffi.new("fridge_report *")
    check(lib.fridge_verify(store, 0, report, err), err)
    assert report.findings == 0
    lib.fridge_close(store)


def test_processes_are_listed_once_they_write(segment_path: Path) -> None:
    store = open_segment(segment_path, lib.FRIDGE_CREATE)
    err = error_buffer()
    check(lib.fridge_system_set(store, b"a", b"b", 1, err), err)
    row = ffi.new("fridge_process *")
    assert lib.fridge_process_next(store, 0, row) == facts(store).slot
    assert (row.pid, row.alive, row.self) == (os.getpid(), 1, 1)
    assert lib.fridge_process_next(store, row.slot + 1, row) == 0
    lib.fridge_close(store)


def test_destroy_refuses_while_somebody_is_attached(segment_path: Path) -> None:
    store = open_segment(segment_path, lib.FRIDGE_CREATE)
    err = error_buffer()
    check(lib.fridge_system_set(store, b"a", b"b", 1, err), err)
    program = (
        "import sys; from fridge._native import *\n"
        "err = error_buffer(); check(lib.fridge_destroy(sys.argv[1].encode(), err), err)"
    )
    command = [sys.executable, "-c", program, str(segment_path)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "SegmentInUseError" in refused.stderr
    assert segment_path.exists()
    lib.fridge_close(store)
    subprocess.run(command, check=True)
    assert not segment_path.exists()
