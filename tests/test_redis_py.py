"""redis-py's client and our handle side by side: every method of redis-py for a command that we have is ours too.

What is missing on purpose stands here with its reason; a command added to commands.def fails this test until its method
is there, or its reason.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import fridge
from fridge import _hot
from fridge._native import ffi, lib, text

SERVER = "concerns a server and its connections, of which the mmap door has none"
MISSING = {
    **dict.fromkeys(("auth", "client", "client_getname", "client_id", "client_info", "client_kill", "client_list",
                     "client_no_evict", "client_no_touch", "client_reply", "client_setinfo", "client_setname", "command",
                     "command_count", "command_docs", "command_getkeys", "command_info", "command_list", "config_get",
                     "config_resetstat", "config_set", "hello", "lastsave", "memory_doctor", "memory_help", "monitor", "quit",
                     "reset", "shutdown"), SERVER),
    "select": "open(db=n) chooses the database of a handle, so that threads cannot change it under each other",
    "watch": "cas, cas_version and Table.update decide in one step what WATCH is for",
    "unwatch": "see watch",
    **dict.fromkeys(("eval", "evalsha", "script_exists", "script_flush", "script_kill", "script_load"),
                    "the scripts that are known are redis-py's locks; here f.lock() is one"),
}  # fmt: skip
RENAMED = {"del": "delete"}
OTHER_NAMES = {  # redis-py method -> what its signature has that ours has not, and why
    "lock": {"lock_class"},  # there is one
    "set": {"ifdeq", "ifdne"},  # compare by digest: IFEQ takes the value itself, which is here
    "info": {"section"},  # ours returns facts about the segment
}
MORE = {"lock": ["auto_extend"]}  # what ours has behind redis-py's


def commands() -> Iterator[str]:
    """Yield the names of our commands as redis-py's methods would be called."""
    facts = ffi.new("command_facts *")
    for i in range(lib.fridge_command_count()):
        if lib.fridge_command(i, facts):
            name = text(facts.name).replace("|", "_").replace("-", "_")
            yield RENAMED.get(name, name)


def stub_methods() -> dict[str, list[str]]:
    """Return the parameters of the C methods, which have no signature of their own, from their stub."""
    tree = ast.parse((Path(fridge.__file__).parent / "_hot.pyi").read_text())
    segment = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Segment")
    found = {}
    for method in segment.body:
        if isinstance(method, ast.FunctionDef):
            a = method.args
            found[method.name] = [p.arg for p in [*a.posonlyargs, *a.args, *filter(None, [a.vararg]), *a.kwonlyargs]][1:]
    return found


def parameters(cls: type, name: str) -> list[str]:
    return [p.name for p in inspect.signature(getattr(cls, name)).parameters.values() if p.name not in ("self", "kwargs")]


SHARED = sorted(name for name in set(commands()) if hasattr(redis.Redis, name) and name not in MISSING)


def test_every_method_of_a_command_is_there_or_has_a_reason() -> None:
    known = {name for name in set(commands()) if hasattr(redis.Redis, name)}
    assert {name for name in known if not hasattr(fridge.Store, name)} <= set(MISSING)
    assert not [name for name in MISSING if hasattr(fridge.Store, name)], "listed as missing, and there"
    assert len(SHARED) > 60


@pytest.mark.parametrize("name", SHARED)
def test_parameters_have_redis_pys_names_and_order(name: str) -> None:
    theirs = [p for p in parameters(redis.Redis, name) if p not in OTHER_NAMES.get(name, set())]
    stub = stub_methods()
    ours = stub[name] if hasattr(_hot.Segment, name) else parameters(fridge.Store, name)
    assert ours == [p for p in theirs if p != "args" or name != "info"] + MORE.get(name, [])


# --- the less usual ones, with redis-py's results ------------------------------------------------------------------


@pytest.fixture
def f(segment_path: Path) -> Iterator[fridge.Store]:
    with fridge.open(segment_path, size="16mb") as store:
        yield store


def test_results(f: fridge.Store) -> None:
    assert f.ping() is True
    assert f.echo("x") == b"x"
    seconds, micros = f.time()
    assert seconds > 1_700_000_000
    assert 0 <= micros < 1_000_000
    assert f.hmset("h", {"a": 1, "b": 2}) is True
    assert f.hrandfield("h") in (b"a", b"b")
    assert sorted(f.hrandfield("h", 5) or ()) == [b"a", b"b"]
    assert len(f.hrandfield("h", -5, withvalues=True) or ()) == 10
    assert f.hrandfield("nothing") is None
    f.set("k", "hello world")
    assert f.substr("k", 0, 4) == b"hello"
    assert f.substr("k", 6) == b"world"
    assert f.object("encoding", "k") == b"embstr"
    assert f.object("refcount", "k") == 1
    assert f.object("encoding", "nothing") is None
    assert (f.memory_usage("k") or 0) > 11
    assert f.memory_usage("k", samples=0) == f.memory_usage("k")
    assert f.memory_usage("nothing") is None
    assert f.getdel("k") == b"hello world"
    assert f.getdel("k") is None


def test_moves_between_databases(f: fridge.Store) -> None:
    with fridge.open(f.path, db=1) as one:
        f.set("k", "v")
        assert f.move("k", 1) is True
        assert (f.get("k"), one.get("k")) == (None, b"v")
        assert f.move("k", 1) is False
        assert f.swapdb(0, 1) is True
        assert (f.get("k"), one.get("k")) == (b"v", None)


def test_increx(f: fridge.Store) -> None:
    assert f.increx("n", ubound=2, ex=100, enx=True) == [1, 1]
    assert f.ttl("n") >= 99
    assert f.increx("n", byint=5, ubound=2) == [1, 0]
    assert f.increx("n", byint=5, ubound=2, saturate=True) == [2, 1]
    assert [float(x) for x in f.increx("n", byfloat=0.5, persist=True)] == [2.5, 0.5]
    assert f.ttl("n") == -1
    with pytest.raises(fridge.FridgeError):
        f.increx("n", byint=1, byfloat=1)


def test_delex(f: fridge.Store) -> None:
    f.set("k", "token")
    assert f.delex("k", ifeq="other") == 0
    assert f.delex("k", ifne="token") == 0
    assert f.delex("k", ifeq="token") == 1
    assert f.delex("k") == 0
    with pytest.raises(fridge.FridgeError):
        f.delex("k", ifeq="a", ifne="b")


def test_getex(f: fridge.Store) -> None:
    f.set("k", "v")
    assert f.getex("k", ex=100) == b"v"
    assert f.ttl("k") >= 99
    assert f.getex("k", persist=True) == b"v"
    assert f.ttl("k") == -1
    missing: Any = f.getex("nothing", ex=1)
    assert missing is None
