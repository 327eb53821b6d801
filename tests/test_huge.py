"""Tests of huge pages (csrc/shm/huge.c): what f.info() says is what the kernel counts, on mounts that grant them and not.

A mount is made in a mount namespace of the test's own, so that it needs root or user namespaces and changes nothing here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fridge

MIB = 1 << 20
NO_MOUNT = 77
MOUNTED = f'mount -t tmpfs -o "huge=$1,size=128m,mode=700" none "$2" || exit {NO_MOUNT}; exec "$3" -c "$4" "$2"'
FILL = """
import json, subprocess, sys, fridge
READ = "import sys, fridge; f = fridge.open(sys.argv[1], mode='r'); " \
       "assert all(f.get(k) == b'v' * 1000 for k in f.scan_iter()); print(f.info()['huge_pages'])"
with fridge.open(sys.argv[1] + "/segment", size="64mb") as f:
    first = f.info()["huge_pages"]
    for i in range(20_000):
        f.set(f"key{i}", "v" * 1000)
    other = subprocess.run([sys.executable, "-c", READ, f.path], capture_output=True, text=True, check=True)
    info = f.info()
    print(json.dumps({"first": first, "huge": info["huge_pages"], "size": info["size"], "other": int(other.stdout),
                      "findings": f.verify().findings}))
"""


def smaps(path: str) -> int:
    """Return the bytes of a file that this process sees through huge pages, as the kernel counts them."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line[0] in "0123456789abcdef":
            ours = line.endswith(path)
        elif ours and line.startswith(("ShmemPmdMapped:", "FilePmdMapped:")):
            total += int(line.split()[1]) * 1024
    return total


def test_info_says_what_the_kernel_counts(segment_path: Path) -> None:
    with fridge.open(segment_path, size="16mb") as f:
        for i in range(5000):
            f.set(f"key{i}", "v" * 1000)
        assert f.info()["huge_pages"] == smaps(f.path)


def filled(place: Path, huge: str) -> dict[str, int]:
    """Fill a segment on a tmpfs mounted with this huge=, in a process of its own."""
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--user", "--map-root-user"]
    run = subprocess.run([*namespace, "sh", "-c", MOUNTED, "sh", huge, str(place), sys.executable, FILL],
                         capture_output=True, text=True, timeout=60)  # fmt: skip
    if run.returncode == NO_MOUNT:
        assert huge != "never", f"a tmpfs cannot be mounted here: {run.stderr}"
        pytest.skip(f"this kernel has no huge pages for shared memory: {run.stderr}")
    assert run.returncode == 0, run.stderr
    found: dict[str, int] = json.loads(run.stdout)
    return found


def test_a_mount_that_grants_none_gets_none(tmp_path: Path) -> None:
    found = filled(tmp_path, "never")
    assert (found["first"], found["huge"], found["other"], found["findings"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("huge", ["within_size", "always"])
def test_a_mount_that_grants_them_gives_them_through_growth(tmp_path: Path, huge: str) -> None:
    found = filled(tmp_path, huge)
    assert found["first"] % (2 * MIB) == 0
    assert found["huge"] > found["size"] * 3 // 4, found
    assert found["other"] > found["size"] // 2, found
    assert found["findings"] == 0


def test_a_mount_that_grants_them_on_advice_loses_nothing(tmp_path: Path) -> None:
    """How many there are is for khugepaged to say, in its own time."""
    found = filled(tmp_path, "advise")
    assert found["huge"] % (2 * MIB) == 0
    assert found["findings"] == 0
