"""Five minutes with fridge: keys, a hash, a table and a counter, shared with every process that runs this.

python examples/quickstart.py
"""

from __future__ import annotations

import os

import fridge


def main() -> None:
    f = fridge.open()  # the same segment that `fridge serve` serves
    print("segment", f.path)

    # Keys, as with redis-py.
    f.set("greeting", "hello", ex=60)
    print("greeting", f.get("greeting"), "for", f.ttl("greeting"), "s")
    print("visits", f.incr("visits"))
    f.hset("user:1", mapping={"name": "Ada", "logins": 0})
    f.hincrby("user:1", "logins", 1)
    print("user:1", f.hgetall("user:1"))

    # Only if nobody changed it meanwhile.
    print("cas", f.cas("greeting", "hello", "good day"), f.cas("greeting", "hello", "too late"), f.get("greeting"))

    # A typed table: a fixed number of rows, read and changed in nanoseconds.
    rate = f.table("quickstart_rate", {"count": "int32", "note": "str:32"}, capacity=1000)
    rate.set("1.2.3.4", count=1, note="first seen")
    print("row", rate.incr("1.2.3.4", "count", 1), rate.get("1.2.3.4"), len(rate), "of", rate.capacity)
    try:
        rate.set("1.2.3.4", count=1 << 40)
    except fridge.FridgeError as error:
        print("refused", type(error).__name__, error)

    # A counter needs no lock: two processes, one exact number.
    hits = f.counter("quickstart_hits")
    before = hits.get()
    if (child := os.fork()) == 0:
        for _ in range(10_000):
            hits.increment()
        os._exit(0)
    for _ in range(10_000):
        hits.increment()
    os.waitpid(child, 0)
    print("hits", hits.get() - before)


if __name__ == "__main__":
    main()
