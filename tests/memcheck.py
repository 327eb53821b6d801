"""What `make valgrind` runs: every kind of object once through the mmap door, in a segment that is removed afterwards.

Small, because an instruction costs thirty times as much there.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import fridge


def main() -> None:
    """Touch strings, hashes, rows, counters, batches and errors."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="fridge-memcheck-") as folder:
        f = fridge.open(str(Path(folder) / "segment"), size="8mb")
        for i in range(50):
            f.set(f"key{i}", b"v" * (i * 37))
            f.hset("hash", mapping={f"field{i}": "w" * i})
        assert [len(value or b"") for value in f.mget([f"key{i}" for i in range(50)])] == [i * 37 for i in range(50)]
        assert len(f.hgetall("hash")) == 50
        rows = f.table("rows", {"count": "int32", "note": "str:8"}, capacity=20)
        for i in range(20):
            rows.set(f"r{i}", count=i, note="api")
        assert rows.incr("r3", "count", 4) == 7
        assert len(list(rows.items())) == len(rows) == 20
        try:
            rows.set("one too many", count=1)
        except fridge.FridgeError:
            pass
        else:
            raise AssertionError("a table of 20 rows took 21")
        assert f.counter("hits").increment(5) == 5
        assert f.delete("hash") == 1
        assert f.verify()
        f.close()


if __name__ == "__main__":
    main()
