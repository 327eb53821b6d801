"""The public API as a user's type checker sees it. mypy checks this file; nothing runs it."""

from __future__ import annotations

from datetime import timedelta

import fridge
from fridge import errors
from fridge.segment import Report


def a_builtin_catches_ours() -> str:
    try:
        raise errors.MissingKeyError("no such key")
    except KeyError as error:
        return str(error)


def every_error_has_a_status(error: errors.FridgeError) -> str:
    return error.status


def keys(f: fridge.Store) -> int:
    f.set("k", b"v", ex=timedelta(minutes=1), nx=True)
    done: bool | None = f.set("k", 1.5)
    value: bytes | None = f.get("k")
    known, version = f.get_versioned("k")
    swapped: bool = f.cas("k", None, known) or f.cas_version("k", version, "v")
    f.mset({"a": 1, b"b": "2"})
    listed: list[bytes | str | None] = f.mget(["a", "b"], "c")
    for key in f.scan_iter(match="user:*"):
        f.delete(key)
    return f.incr("n", 5) + f.ttl("k") + len(listed) + bool(done) + swapped + len(value or b"")


def hashes(f: fridge.Store) -> dict[bytes | str, bytes | str]:
    created: int = f.hset("h", "a", 1) + f.hset("h", mapping={"a": 1, "b": "2"})
    assert created
    return f.hgetall("h")


def tables(f: fridge.Store) -> int:
    rate: fridge.Table = f.table("rate_limits", {"count": "int32", "note": "str:64"}, capacity=10_000)
    new: bool = rate.set("10.0.0.1", count=1, note="api")
    row = rate.get("10.0.0.1")
    total = 0 if row is None else len(row)
    for key, found in rate.items():
        total += len(key) + len(found)
    if "10.0.0.1" in rate and rate.cas("10.0.0.1", "count", 1, 2):
        rate.delete("10.0.0.1")
    return total + len(rate) + rate.capacity + rate.memory_bytes + new


def counters(f: fridge.Store) -> int:
    hits: fridge.Counter = f.counter("hits", initial=3)
    own = fridge.Counter("hits", store=f)
    changed: bool = hits.compare_and_set(3, 4) or hits.exists() or hits.delete()
    hits.set(5)
    return hits.increment() + own.decrement(by=2) + own.get() + own.reset() + changed


def bounds(hits: fridge.Counter) -> int:
    seat: int | None = hits.increment(max=100)
    left: int | None = hits.decrement(2, min=0)
    level: int = hits.increment(by=5, max=9, min=0, saturate=True)
    return level if seat is None or left is None else seat + left


def many_counters(f: fridge.Store) -> int:
    many: fridge.Counters = f.counters
    by_text: dict[str, int] = many.increment({"a": 1, "b": -1}, all_or_nothing=True)
    by_bytes: dict[bytes, int] = many.get([b"a", b"b"])
    return by_text["a"] + by_bytes[b"b"]


def sharded_counters(f: fridge.Store) -> int:
    hits: fridge.ShardedCounter = f.sharded_counter("hits", shards=8)
    own = fridge.ShardedCounter("hits", store=f)
    names: tuple[str, ...] = hits.names
    hits.increment()
    hits.decrement(by=2)
    gone: bool = own.exists() or own.delete()
    return own.get() + own.reset() + own.shards + len(names) + gone


def handles() -> Report:
    with fridge.open("/dev/shm/segment", size="256mb", mode="r", create=False, db=1, name="me") as f:
        f.info()["path"].upper()
        return f.verify()


def locks(f: fridge.Store) -> int:
    lock: fridge.Lock = f.lock("jobs", timeout=1.5, auto_extend=True)
    if not lock.acquire(blocking_timeout=2.0):
        return 0
    fence: int | None = lock.fence
    holder = lock.holder()
    pid: int | None = None if holder is None else holder.pid
    done: bool = lock.extend(5) and lock.owned() and lock.wait(timeout=1) and lock.unlock()
    lock.release()
    with fridge.Lock(b"jobs", store=f) as held:
        done = held.locked() or done
    return (fence or 0) + (pid or 0) + done + len(lock.waiters())


def more_of_their_kind(f: fridge.Store) -> bytes | str:
    with f.semaphore("s", 4) as s, f.rwlock("rw").read(timeout=1) as rw, f.rwlock("rw2").write():
        free: int = s.value + len(rw.holders())
    event: fridge.Event = f.event("e")
    event.set()
    index: int = f.barrier("b", 2, timeout=1).wait() if event.wait(1.0) and free else 0
    try:
        f.barrier("b", 2).abort()
    except errors.BrokenBarrierError:
        index += 1
    once: fridge.Once = f.once("migrate")
    marker: bytes | str = once(lambda: index)
    return f.once("migrate", lambda: "x", timeout=1) or fridge.once("m", lambda: None, store=f) or marker
