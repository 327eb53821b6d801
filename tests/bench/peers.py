"""The peers: what else the processes of one host share numbers and bytes by, each behind the same few verbs.

A peer is set up once (`setup`), before any fork; `calls` gives a process's own calls on one key of it. A peer whose
package does not install says why instead (`missing`), so that its rows are there all the same. Values are 32 bytes; a
peer that holds one number has the verbs of a number alone.

Leaves out: measuring (latency.py, scaling.py, sizes.py).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.metadata
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import processes
import redis

import fridge
from fridge._native import lib, text

VALUE = b"v" * 32
SCHEMA = {"count": "int32", "reset": "int64", "note": "str:64"}
MAP_BYTES = 4 << 30  # lmdb's and fridge's greatest size
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Call:
    """One call to be measured.

    Args:
        verb: what it does, the same word for every peer.
        call: the function.
        arguments: positional, three at most.
        prepare: what makes it possible again, not measured.
    """

    verb: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    prepare: Callable[[], Any] | None = None


class Peer:
    """A means to share state. Subclasses say how.

    name: as the tables have it. package: the distribution that brings it, None for Python's own. module: what it is
    imported as, where that is not the package's name.
    """

    name = ""
    package: str | None = None
    module: str | None = None

    def missing(self) -> str:
        """Return why it cannot be measured here, '' when it can."""
        if self.package is None:
            return ""
        try:
            importlib.import_module(self.module or self.package)
        except Exception as error:  # whatever a package does when it is imported
            return f"{self.package} does not install or import here: {error}"
        return ""

    def version(self) -> str:
        """Return the version of the package, or Python's."""
        return importlib.metadata.version(self.package) if self.package else "Python's own"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[Any]:
        """Make what `calls` needs, with these keys in it."""
        raise NotImplementedError

    def calls(self, shared: Any, key: str) -> list[Call]:
        """Return this process's calls on a key."""
        raise NotImplementedError

    def access(self, shared: Any) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]] | None:
        """Return (get, set) of any key, or None for a peer that has no keys."""
        return None

    def fill(self, shared: Any, keys: Iterator[str]) -> Iterator[int]:
        """Set many keys, and yield how many were set since, from time to time."""
        access = self.access(shared)
        assert access
        for n, key in enumerate(keys, 1):
            access[1](key, VALUE)
            if n % 1000 == 0:
                yield 1000


# --- fridge ----------------------------------------------------------------------------------------------------------


class Fridge(Peer):
    name = "fridge"

    def version(self) -> str:
        return text(lib.fridge_version())

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[fridge.Store]:
        with fridge.open(place / "segment", size=MAP_BYTES) as f:
            rate = f.table("rate", SCHEMA, capacity=1000)
            for key in keys:
                for prefix in ("", "cas "):
                    f.set(prefix + key, VALUE)
                f.set(f"number {key}", 1000)
                f.hset(f"hash {key}", mapping={f"field{i}": VALUE for i in range(10)} | {"number": 1000})
                rate.set(key, count=1000, reset=99, note="api")
                f.counter(f"hits {key}", 1000)
            yield f

    def calls(self, shared: fridge.Store, key: str) -> list[Call]:
        f, rate, hits = shared, shared.table("rate"), shared.counter(f"hits {key}")
        gone = f"gone {key}"
        return [
            Call("get", f.get, (key,)),
            Call("set", f.set, (key, VALUE)),
            Call("incr", f.incr, (f"number {key}",)),
            Call("delete", f.delete, (gone,), partial(f.set, gone, VALUE)),
            Call("cas", f.cas, (f"cas {key}", VALUE, VALUE)),
            Call("hget", f.hget, (f"hash {key}", "field5")),
            Call("hset", f.hset, (f"hash {key}", "field5", VALUE)),
            Call("hincrby", f.hincrby, (f"hash {key}", "number", 1)),
            Call("table get", rate.get, (key, "count")),
            Call("table set", partial(rate.set, key, reset=99)),
            Call("table incr", rate.incr, (key, "count")),
            Call("counter increment", hits.increment),
            Call("counter get", hits.get),
        ]

    def access(self, shared: fridge.Store) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]]:
        return shared.get, shared.set


# --- within one process ----------------------------------------------------------------------------------------------


class Dict(Peer):
    """What cannot be shared: the measure of all."""

    name = "dict"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        yield dict.fromkeys(keys, VALUE) | {f"number {key}": 1000 for key in keys}

    def calls(self, shared: dict[str, Any], key: str) -> list[Call]:
        number, fields = f"number {key}", {f"field{i}": VALUE for i in range(10)}

        def incr() -> None:
            shared[number] += 1

        return [
            Call("get", shared.get, (key,)),
            Call("set", shared.__setitem__, (key, VALUE)),
            Call("incr", incr),
            Call("delete", shared.pop, ("gone",), partial(shared.__setitem__, "gone", VALUE)),
            Call("hget", fields.get, ("field5",)),
            Call("hset", fields.__setitem__, ("field5", VALUE)),
        ]

    def access(self, shared: dict[str, Any]) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]]:
        return shared.get, shared.__setitem__


# --- by files --------------------------------------------------------------------------------------------------------


class Lmdb(Peer):
    """A transaction an operation, as fridge's calls are; nothing synced to disk."""

    name, package = "lmdb", "lmdb"

    def __init__(self) -> None:
        self._environments: dict[tuple[int, Path], Any] = {}  # a process may open a path only once

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[Path]:
        with self._make(place) as environment, environment.begin(write=True) as t:
            for key in keys:
                t.put(key.encode(), VALUE)
                t.put(f"number {key}".encode(), b"1000")
        yield place
        if environment := self._environments.pop((os.getpid(), place), None):
            environment.close()

    def _make(self, place: Path) -> Any:
        return lmdb.open(str(place / "lmdb"), map_size=MAP_BYTES, sync=False, metasync=False)

    def _open(self, place: Path) -> Any:
        at = (os.getpid(), place)
        return self._environments.get(at) or self._environments.setdefault(at, self._make(place))

    def calls(self, shared: Path, key: str) -> list[Call]:
        environment = self._open(shared)
        name, number, gone = key.encode(), f"number {key}".encode(), b"gone"

        def get() -> bytes | None:
            with environment.begin() as t:
                return t.get(name)

        def put(to: bytes = name) -> None:
            with environment.begin(write=True) as t:
                t.put(to, VALUE)

        def incr() -> None:
            with environment.begin(write=True) as t:
                t.put(number, b"%d" % (int(t.get(number)) + 1))

        def delete() -> None:
            with environment.begin(write=True) as t:
                t.delete(gone)

        def cas() -> None:
            with environment.begin(write=True) as t:
                if t.get(name) == VALUE:
                    t.put(name, VALUE)

        return [Call("get", get), Call("set", put), Call("incr", incr), Call("delete", delete, (), partial(put, gone)),
                Call("cas", cas)]  # fmt: skip

    def access(self, shared: Path) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]]:
        environment = self._open(shared)

        def get(key: str) -> bytes | None:
            with environment.begin() as t:
                return t.get(key.encode())

        def put(key: str, value: bytes) -> None:
            with environment.begin(write=True) as t:
                t.put(key.encode(), value)

        return get, put

    def fill(self, shared: Path, keys: Iterator[str]) -> Iterator[int]:
        with self._open(shared).begin(write=True) as t:
            for n, key in enumerate(keys, 1):
                t.put(key.encode(), VALUE)
                if n % 1000 == 0:
                    yield 1000


class Diskcache(Peer):
    """sqlite in a folder in shared memory."""

    name, package = "diskcache", "diskcache"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[Path]:
        with self._open(place) as cache:
            for key in keys:
                cache.set(key, VALUE)
                cache.set(f"number {key}", 1000)
        yield place

    def _open(self, place: Path) -> Any:
        return importlib.import_module("diskcache").Cache(str(place / "diskcache"), eviction_policy="none", timeout=60)

    def calls(self, shared: Path, key: str) -> list[Call]:
        cache = self._open(shared)
        return [
            Call("get", cache.get, (key,)),
            Call("set", cache.set, (key, VALUE)),
            Call("incr", cache.incr, (f"number {key}",)),
            Call("delete", cache.delete, ("gone",), partial(cache.set, "gone", VALUE)),
        ]

    def access(self, shared: Path) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]]:
        cache = self._open(shared)
        return cache.get, cache.set

    def fill(self, shared: Path, keys: Iterator[str]) -> Iterator[int]:
        with self._open(shared) as cache, cache.transact():
            for n, key in enumerate(keys, 1):
                cache.set(key, VALUE)
                if n % 1000 == 0:
                    yield 1000


# --- by shared memory ------------------------------------------------------------------------------------------------


class Ultra(Peer):
    """UltraDict with its shared lock, which a read-modify-write takes by hand."""

    name, package, module = "UltraDict", "UltraDict", "UltraDict"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[Any]:
        made = self._class()(shared_lock=True, auto_unlink=False)
        for key in keys:
            made[key] = VALUE
            made[f"number {key}"] = 1000
        try:
            yield made
        finally:
            made.unlink()
            made.close()

    def _class(self) -> Any:
        return importlib.import_module("UltraDict").UltraDict

    def calls(self, shared: Any, key: str) -> list[Call]:
        ultra = self._class()(name=shared.name, shared_lock=True, create=False, auto_unlink=False)
        number = f"number {key}"

        def incr() -> None:
            with ultra.lock:
                ultra[number] += 1

        return [
            Call("get", ultra.__getitem__, (key,)),
            Call("set", ultra.__setitem__, (key, VALUE)),
            Call("incr", incr),
            Call("delete", ultra.__delitem__, ("gone",), partial(ultra.__setitem__, "gone", VALUE)),
        ]

    def access(self, shared: Any) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]]:
        return shared.__getitem__, shared.__setitem__


class Value(Peer):
    """multiprocessing.Value, an increment under its lock."""

    name = "multiprocessing.Value"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        yield {key: FORK.Value("q", 1000) for key in keys}

    def calls(self, shared: dict[str, Any], key: str) -> list[Call]:
        value = shared[key]

        def incr() -> None:
            with value.get_lock():
                value.value += 1

        return [Call("counter increment", incr), Call("counter get", partial(getattr, value, "value"))]


class Atomics(Peer):
    """A word of shared memory through the `atomics` package."""

    name, package = "atomics", "atomics"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        yield {key: FORK.RawArray("b", 8) for key in keys}

    def calls(self, shared: dict[str, Any], key: str) -> list[Call]:
        atomics = importlib.import_module("atomics")
        view = atomics.atomicview(buffer=memoryview(shared[key]).cast("B"), atype=atomics.INT)
        word = view.__enter__()
        atexit.register(view.__exit__, None, None, None)  # the package's own destructor fails on an open view
        return [Call("counter increment", word.inc), Call("counter get", word.load),
                Call("cas", word.cmpxchg_strong, (0, 0))]  # fmt: skip


class Prometheus(Peer):
    """prometheus_client's multiprocess value: each process adds to a file of its own; who scrapes adds them up."""

    name, package = "prometheus_client", "prometheus_client"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[Path]:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(place)
        try:
            yield place
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]

    def calls(self, shared: Path, key: str) -> list[Call]:
        from prometheus_client.values import MultiProcessValue

        value = MultiProcessValue()("counter", "hits", "hits_total", ["key"], [key], "Hits.")
        return [Call("counter increment", value.inc, (1,)), Call("counter get", value.get)]


# --- by a server -----------------------------------------------------------------------------------------------------


class Manager(Peer):
    """A multiprocessing.Manager's dict; a read-modify-write under a lock of the same manager."""

    name = "multiprocessing.Manager"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[tuple[Any, Any]]:
        with FORK.Manager() as manager:
            yield manager.dict(dict.fromkeys(keys, VALUE) | {f"number {key}": 1000 for key in keys}), manager.Lock()

    def calls(self, shared: tuple[Any, Any], key: str) -> list[Call]:
        proxy, lock = shared
        number = f"number {key}"

        def incr() -> None:
            with lock:
                proxy[number] += 1

        return [
            Call("get", proxy.get, (key,)),
            Call("set", proxy.__setitem__, (key, VALUE)),
            Call("incr", incr),
            Call("delete", proxy.pop, ("gone",), partial(proxy.__setitem__, "gone", VALUE)),
        ]

    def access(self, shared: tuple[Any, Any]) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]]:
        return shared[0].get, shared[0].__setitem__

    def fill(self, shared: tuple[Any, Any], keys: Iterator[str]) -> Iterator[int]:
        while chunk := [key for _, key in zip(range(10_000), keys, strict=False)]:
            shared[0].update(dict.fromkeys(chunk, VALUE))
            yield len(chunk)


class Redis(Peer):
    """redis-py over a unix socket to a redis-server of its own."""

    name, package = "redis-py", "redis"

    @contextlib.contextmanager
    def setup(self, place: Path, keys: Sequence[str]) -> Iterator[str]:
        with processes.redis() as server:
            with redis.Redis(unix_socket_path=server.unix) as client:
                for key in keys:
                    client.set(key, VALUE)
                    client.set(f"number {key}", 1000)
                    client.hset(f"hash {key}", mapping={f"field{i}": VALUE for i in range(10)} | {"number": 1000})
            yield server.unix

    def calls(self, shared: str, key: str) -> list[Call]:
        client = redis.Redis(unix_socket_path=shared)
        return [
            Call("get", client.get, (key,)),
            Call("set", client.set, (key, VALUE)),
            Call("incr", client.incr, (f"number {key}",)),
            Call("delete", client.delete, ("gone",), partial(client.set, "gone", VALUE)),
            Call("hget", client.hget, (f"hash {key}", "field5")),
            Call("hset", client.hset, (f"hash {key}", "field5", VALUE)),
            Call("hincrby", client.hincrby, (f"hash {key}", "number", 1)),
        ]

    def access(self, shared: str) -> tuple[Callable[[str], Any], Callable[[str, bytes], Any]]:
        client = redis.Redis(unix_socket_path=shared)
        return client.get, client.set

    def fill(self, shared: str, keys: Iterator[str]) -> Iterator[int]:
        client = redis.Redis(unix_socket_path=shared)
        while chunk := [key for _, key in zip(range(10_000), keys, strict=False)]:
            client.mset(dict.fromkeys(chunk, VALUE))
            yield len(chunk)


PEERS: tuple[Peer, ...] = (Fridge(), Dict(), Lmdb(), Ultra(), Diskcache(), Value(), Manager(), Atomics(), Redis(),
                           Prometheus())  # fmt: skip


