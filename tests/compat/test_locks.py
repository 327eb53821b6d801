"""redis-py's Lock against our server, its three scripts by name and by text, and the LOCK commands.

That redis-py's Lock and fridge.Lock exclude each other is in tests/test_lock.py.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import redis
from redis.exceptions import LockError, LockNotOwnedError, NoScriptError, ResponseError
from redis.lock import Lock

import fridge
from fridge._native import ffi, lib

from ..server_fixture import Server, serving, wait_until

RELEASE, EXTEND, REACQUIRE = (
    hashlib.sha1(text.encode()).hexdigest() for text in (Lock.LUA_RELEASE_SCRIPT, Lock.LUA_EXTEND_SCRIPT, Lock.LUA_REACQUIRE_SCRIPT)
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(workers=2) as running:
        yield running


@pytest.fixture(params=[2, 3])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port, protocol=request.param) as connection:
        connection.flushall()
        yield connection


# --- redis-py ----------------------------------------------------------------------------------------------------------


def test_the_installed_redis_py_sends_the_scripts_that_are_known() -> None:
    """Fails when a new release changes them: then scripts.def needs the new ones too."""
    assert RELEASE == "c3f8721cbb97f72bc19e972846bd7aaf91901658"
    assert EXTEND == "a4e8783852e6b949f9ef3a97212805108459a890"
    assert REACQUIRE == "1cac51482acf5858da00f6d685d68f886cd6b6b2"


def test_lock_of_redis_py(client: redis.Redis) -> None:
    lock, other = client.lock("jobs", timeout=10), client.lock("jobs", timeout=10)
    assert lock.acquire()
    assert lock.locked()
    assert lock.owned()
    assert not other.acquire(blocking=False)
    assert not other.owned()
    assert 9000 < client.pttl("jobs") <= 10_000
    assert lock.extend(5)
    assert 14_000 < client.pttl("jobs") <= 15_000
    assert lock.extend(3, replace_ttl=True)
    assert 2000 < client.pttl("jobs") <= 3000
    assert lock.reacquire()
    assert 9000 < client.pttl("jobs") <= 10_000
    lock.release()
    assert not client.exists("jobs")
    with pytest.raises(LockError):
        lock.release()
    with client.lock("jobs", timeout=10):
        assert other.locked()
    assert other.acquire(blocking=False)
    client.set("jobs", "stolen")
    with pytest.raises(LockNotOwnedError):
        other.release()


def test_a_lease_that_ran_out(client: redis.Redis) -> None:
    lock = client.lock("jobs", timeout=0.05)
    assert lock.acquire()
    wait_until(lambda: not client.exists("jobs"), "it expires")
    with pytest.raises(LockNotOwnedError):
        lock.release()


def test_exclusion_of_two_clients(server: Server, client: redis.Redis) -> None:
    """8 threads, 100 critical sections each, on a number that GET and SET would lose updates of."""
    client.set("n", 0)

    def work() -> None:
        with redis.Redis(port=server.port) as mine:
            for _ in range(100):
                with mine.lock("jobs", timeout=30, sleep=0.0005):
                    mine.set("n", int(mine.get("n") or 0) + 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("n") == b"800"


# --- scripts --------------------------------------------------------------------------------------------------------------


def test_scripts_by_text_and_by_name(client: redis.Redis) -> None:
    assert client.script_load(Lock.LUA_RELEASE_SCRIPT) == RELEASE
    assert client.script_exists(RELEASE, EXTEND.upper(), "0" * 40) == [True, True, False]
    client.set("k", "token", px=10_000)
    assert client.eval(Lock.LUA_REACQUIRE_SCRIPT, 1, "k", "token", 20_000) == 1
    assert client.evalsha(EXTEND.upper(), 1, "k", "token", 1000, "0") == 1
    assert 20_000 < client.pttl("k") <= 21_000
    assert client.evalsha(EXTEND, 1, "k", "other", 1000, "0") == 0
    assert client.evalsha(RELEASE, 1, "k", "other") == 0
    assert client.evalsha(RELEASE, 1, "k", "token") == 1
    assert client.evalsha(RELEASE, 1, "k", "token") == 0
    client.set("k", "token")
    assert client.evalsha(EXTEND, 1, "k", "token", 1000, "0") == 0  # there is no end to move
    assert client.evalsha(REACQUIRE, 1, "k", "token", 0) == 1  # an end that is past
    assert not client.exists("k")
    assert client.script_flush() is True
    assert client.script_exists(RELEASE) == [True]  # built in


def test_scripts_in_a_transaction(client: redis.Redis) -> None:
    client.set("k", "token", px=10_000)
    with client.pipeline() as pipe:
        pipe.get("k")
        pipe.execute_command("EVALSHA", RELEASE, 1, "k", "token")
        pipe.get("k")
        assert pipe.execute() == [b"token", 1, None]


@pytest.mark.parametrize("length", [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 100_000])
def test_other_scripts_are_named_by_their_sha1(client: redis.Redis, length: int) -> None:
    text = ("return 1 --" + "x" * 100_000)[:length]
    sha = hashlib.sha1(text.encode()).hexdigest()
    with pytest.raises(ResponseError, match=sha):
        client.eval(text, 0)
    with pytest.raises(ResponseError, match=sha):
        client.script_load(text)
    with pytest.raises(NoScriptError):
        client.evalsha(sha, 0)


def test_errors(client: redis.Redis) -> None:
    for words, error in {
        ("EVALSHA", RELEASE, "x", "k", "t"): "value is not an integer or out of range",
        ("EVALSHA", RELEASE, 3, "k", "t"): "Number of keys can't be greater than number of args",
        ("EVALSHA", RELEASE, -1, "k", "t"): "Number of keys can't be negative",
        ("EVALSHA", RELEASE, 0, "k", "t"): f"script {RELEASE} wants 1 key and 1 arguments, got 0 and 2",
        ("EVALSHA", EXTEND, 1, "k", "t"): "wants 1 key and 3 arguments, got 1 and 1",
        ("EVALSHA", REACQUIRE, 1, "k", "t", "soon"): "value is not an integer or out of range",
        ("SCRIPT", "FLUSH", "NOW"): "SCRIPT FLUSH only support SYNC|ASYNC option",
        ("SCRIPT", "KILL"): "No scripts in execution right now",
        ("SCRIPT", "DEBUG", "YES"): "unknown subcommand",
    }.items():
        client.set("k", "t")
        with pytest.raises(ResponseError, match=error):
            client.execute_command(*words)
        assert client.get("k") == b"t"
    client.delete("k")
    client.hset("k", "f", "v")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        client.evalsha(RELEASE, 1, "k", "t")


# --- LOCK ------------------------------------------------------------------------------------------------------------------


def info(client: redis.Redis, name: str) -> dict[str, object] | None:
    reply = client.execute_command("LOCK", "INFO", name)
    if reply is None:
        return None
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    return {key.decode(): value for key, value in pairs}


def test_lock_commands(client: redis.Redis) -> None:
    run = client.execute_command
    fence = run("LOCK", "ACQUIRE", "jobs", "me", "PX", 10_000)
    assert isinstance(fence, int)
    assert run("LOCK", "ACQUIRE", "jobs", "you") is None
    assert run("LOCK", "ACQUIRE", "jobs", "me") == fence  # asking again
    assert client.get("jobs") == b"me"
    assert client.set("jobs", "x", nx=True) is None
    facts = info(client, "jobs")
    assert facts is not None
    assert {k: facts[k] for k in ("token", "fence", "pid", "alive", "holders", "limit", "waiters")} == {
        "token": b"me", "fence": fence, "pid": 0, "alive": 1, "holders": 1, "limit": 1, "waiters": 0,
    }  # fmt: skip
    assert 9000 < int(str(facts["pttl"])) <= 10_000
    assert abs(int(str(facts["since"])) / 1000 - time.time()) < 30
    client.set("plain", "SET NX of somebody")
    assert run("LOCK", "LIST") == [b"jobs"]
    assert run("LOCK", "RELEASE", "jobs", "you") == 0
    assert run("LOCK", "RELEASE", "jobs", "me") == 1
    assert run("LOCK", "RELEASE", "jobs", "me") == 0
    assert info(client, "jobs") is None
    assert int(run("LOCK", "ACQUIRE", "jobs", "you")) > fence
    assert run("LOCK", "FORCE", "jobs") == 1
    assert run("LOCK", "FORCE", "jobs") == 0
    assert run("LOCK", "LIST") == []
    for words, error in {
        ("ACQUIRE", "jobs", "me", "PX", 0): "invalid expire time",
        ("ACQUIRE", "jobs", "me", "EX", 1): "syntax error",
        ("ACQUIRE", "jobs", ""): "a lock's token has 1 to 32 bytes, not 0",
        ("ACQUIRE", "jobs", "x" * 33): "a lock's token has 1 to 32 bytes, not 33",
        ("ACQUIRE", "jobs"): "wrong number of arguments for 'lock|acquire' command",
        ("STEAL", "jobs"): "unknown subcommand 'STEAL'",
    }.items():
        with pytest.raises(ResponseError, match=error.replace("|", r"\|")):
            run("LOCK", *words)
    assert not client.exists("jobs")
    client.hset("h", "f", "v")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        run("LOCK", "ACQUIRE", "h", "me")


def test_a_lease_of_a_client_ends(client: redis.Redis) -> None:
    assert client.execute_command("LOCK", "ACQUIRE", "jobs", "me", "PX", 30)
    wait_until(lambda: client.execute_command("LOCK", "ACQUIRE", "jobs", "you") is not None, "the lease runs out")


HOLDER = """
import sys, fridge
from fridge._native import ffi, lib
f = fridge.open(sys.argv[1], name="holder")
token = ffi.from_buffer(b"of a process")
request = ffi.new("fridge_lock_request *", {"token": token, "token_n": 12, "limit": 1, "queue": 1})
state, err = ffi.new("fridge_lock_state *"), ffi.new("char[512]")
assert lib.fridge_lock_acquire(f._segment.store, 0, b"jobs", 4, request, 0, state, err) == 0 and state.outcome == 0
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_of_a_killed_process_is_free_for_redis_py_at_once(server: Server, client: redis.Redis) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, server.segment], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        facts = info(client, "jobs")
        assert facts is not None
        assert (facts["pid"], facts["process"], facts["pttl"]) == (holder.pid, b"holder", -1)
        lock = client.lock("jobs", timeout=10, sleep=0.001)
        assert not lock.acquire(blocking=False)
        os.kill(holder.pid, signal.SIGSTOP)
        assert not lock.acquire(blocking_timeout=0.2)  # a stopped owner is never robbed
        os.kill(holder.pid, signal.SIGKILL)
        began = time.monotonic()
        assert lock.acquire(blocking_timeout=5)
        assert time.monotonic() - began < 0.5
        lock.release()


def test_redis_py_hands_over_to_a_waiter_in_line(server: Server, client: redis.Redis) -> None:
    """A process that queues behind redis-py's SET NX gets the lock by redis-py's EVALSHA release, without a race."""
    lock = client.lock("jobs", timeout=10)
    assert lock.acquire()
    with fridge.open(server.segment) as f:
        token = ffi.from_buffer(b"waiter")
        request = ffi.new("fridge_lock_request *", {"token": token, "token_n": 6, "limit": 1, "queue": 1})
        state, err = ffi.new("fridge_lock_state *"), ffi.new("char[512]")
        assert lib.fridge_lock_acquire(f._segment.store, 0, b"jobs", 4, request, 0, state, err) == 0
        assert state.outcome == lib.FRIDGE_LOCK_QUEUED
        assert lock.owned()
        lock.release()
        assert client.get("jobs") == b"waiter"
        assert lib.fridge_lock_acquire(f._segment.store, 0, b"jobs", 4, request, 0, state, err) == 0
        assert state.outcome == lib.FRIDGE_LOCK_GRANTED
