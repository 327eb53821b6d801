"""Unmodified clients: redis-cli, redis-benchmark, and redis-py, sync and asyncio, RESP2 and RESP3, TCP and unix socket.

What redis-py sends before the first command and what its callers rely on is research/ecosystem.md section 1.1; what the
tools send is section 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio
from redis._parsers import _HiredisParser, _RESP2Parser, _RESP3Parser
from redis.backoff import NoBackoff
from redis.retry import Retry

import fridge
from fridge.reply import request

from ..server_fixture import Server, serving
from .raw import Wire, program


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(size="128mb") as running:
        yield running


@pytest.fixture(autouse=True)
def empty(server: Server) -> None:
    with Wire((server.host, server.port)) as wire:
        assert wire("FLUSHALL") == b"+OK\r\n"


# --- redis-cli and redis-benchmark ---------------------------------------------------------------------------------------


def cli(server: Server, *arguments: str, text: str | bytes = b"") -> str:
    """What redis-cli prints, over TCP."""
    data = text.encode() if isinstance(text, str) else text
    done = subprocess.run([program("redis-cli"), "-p", str(server.port), *arguments], input=data, capture_output=True,
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stderr == b"", done.stderr
    return done.stdout.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("flags", [(), ("-3",), ("-2",), ("-n", "2"), ("--no-raw",)], ids=" ".join)
def test_cli_commands(server: Server, flags: tuple[str, ...]) -> None:
    quoted = "--no-raw" in flags
    assert cli(server, *flags, "SET", "k", "v\n") == "OK\n"
    assert cli(server, *flags, "GET", "k") == ('"v\\n"\n' if quoted else "v\n\n")
    assert cli(server, *flags, "GET", "nosuch") == ("(nil)\n" if quoted else "\n")
    assert cli(server, *flags, "INCR", "n") == ("(integer) 1\n" if quoted else "1\n")
    cli(server, *flags, "HSET", "h", "f", "1", "g", "2")
    if not quoted:
        assert cli(server, *flags, "HGETALL", "h").split() == ["f", "1", "g", "2"]
    assert "WRONGTYPE" in cli(server, *flags, "GET", "h")


def test_cli_unix_socket(server: Server) -> None:
    done = subprocess.run([program("redis-cli"), "-s", server.unix, "PING"], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"PONG\n"


def test_cli_json(server: Server) -> None:
    """--json wants RESP3."""
    cli(server, "HSET", "h", "f", "1")
    assert cli(server, "--json", "HGETALL", "h") == '{"f":"1"}\n'


def test_cli_lines(server: Server) -> None:
    """Commands from a file, a transaction among them."""
    printed = cli(server, text="SET k 5\nMULTI\nINCR k\nGET k\nEXEC\nSELECT 3\nDBSIZE\n")
    assert printed.split() == ["OK", "OK", "QUEUED", "QUEUED", "6", "6", "OK", "0"]


def test_cli_scan(server: Server) -> None:
    names = {f"key:{i}" for i in range(5000)}
    with Wire((server.host, server.port)) as wire:
        wire.send(b"".join(request((b"SET", name, b"x")) for name in names))
        for _ in names:
            assert wire.reply() == b"+OK\r\n"
    assert sorted(cli(server, "--scan").split()) == sorted(names)
    assert sorted(cli(server, "--scan", "--pattern", "key:1?").split()) == [f"key:1{i}" for i in range(10)]


def test_cli_bigkeys_and_memkeys(server: Server) -> None:
    cli(server, "SET", "small", "x")
    cli(server, "SET", "large", "x" * 5000)
    cli(server, "HSET", "h", "f", "1", "g", "2")
    cli(server, "TABLE", "CREATE", "rates", "CAPACITY", "5", "COLUMNS", "count", "int32")
    cli(server, "HSET", "rates:a", "count", "1")
    printed = cli(server, "--bigkeys")
    assert 'Biggest string found so far \'"large"\' with 5000 bytes' in printed
    assert "Sampled 4 keys in the keyspace!" in printed
    assert "2 strings with 5001 bytes" in printed
    assert "2 hashs with 3 fields" in printed
    printed = cli(server, "--memkeys")
    assert "Sampled 4 keys in the keyspace!" in printed
    assert "large" in printed
    cli(server, "TABLE", "DROP", "rates")


def test_cli_stat(server: Server) -> None:
    """--stat goes on for ever and fills its output buffer: the first tick of it, then it is stopped by its pid."""
    cli(server, "SET", "k", "v")
    command = [program("redis-cli"), "-p", str(server.port), "--stat", "-i", "0.01"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(3)]
    finally:
        process.kill()
        process.communicate()
    assert "keys       mem      clients" in lines[1], lines
    assert re.match(r"^1 +[0-9.]+[BKM] +\d+ +\d+ +\d+", lines[2]), lines


def test_cli_pipe(server: Server) -> None:
    """Mass insertion: raw requests, then an empty line, and an ECHO of 20 bytes that must come back."""
    data = b"".join(request((b"SET", b"key:%d" % i, b"value\r\n%d" % i)) for i in range(20_000))
    printed = cli(server, "--pipe", text=data)
    assert "errors: 0, replies: 20000" in printed
    assert cli(server, "DBSIZE") == "20000\n"
    printed = subprocess.run([program("redis-cli"), "-p", str(server.port), "--pipe"], input=b"SET k v\r\nNOSUCH\r\nGET\r\n",
                             capture_output=True, timeout=60, check=False).stdout.decode()  # fmt: skip
    assert "errors: 2, replies: 3" in printed


def test_cli_latency(server: Server) -> None:
    """--latency without a terminal prints one line after its interval: min, max, avg, samples."""
    printed = cli(server, "--latency", "-i", "1")
    lowest, highest, average, samples = printed.split()[:4]
    assert float(lowest) <= float(average) <= float(highest)
    assert int(samples) > 10


def test_benchmark(server: Server) -> None:
    done = subprocess.run(
        [program("redis-benchmark"), "-p", str(server.port), "-t", "ping,set,get,incr,hset,mset", "-n", "20000", "-P", "16", "-r",
         "1000", "--csv"], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr
    rows = [line.split('","') for line in done.stdout.splitlines()[1:]]
    names = [row[0].strip('"') for row in rows]
    assert names == ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "HSET", "MSET (10 keys)"]
    assert all(float(row[1]) > 0 for row in rows)


# --- redis-py --------------------------------------------------------------------------------------------------------------

WAYS = [(protocol, unix) for protocol in (2, 3) for unix in (False, True)]
WAY_NAMES = [f"RESP{protocol} {'unix' if unix else 'TCP'}" for protocol, unix in WAYS]


def options(server: Server, protocol: int, unix: bool) -> dict[str, Any]:
    """redis-py's arguments. A wrong reply shows at once: nothing is tried again."""
    place = {"unix_socket_path": server.unix} if unix else {"host": server.host, "port": server.port}
    return {"protocol": protocol, "socket_timeout": 20, "retry": Retry(NoBackoff(), 0), **place}


@pytest.fixture(params=WAYS, ids=WAY_NAMES)
def r(server: Server, request: pytest.FixtureRequest) -> Iterator[Any]:
    # Any: redis-py's annotations join the replies of both its faces and of both protocols
    with contextlib.closing(redis.Redis(**options(server, *request.param))) as client:
        yield client


def test_redis_py_connects(server: Server) -> None:
    """The defaults: HELLO 3, CLIENT MAINT_NOTIFICATIONS, two CLIENT SETINFO; then a name and a database."""
    with contextlib.closing(redis.Redis(server.host, server.port, db=3, client_name="worker")) as client:
        assert client.ping()
        here = client.client_info()
        assert (here["name"], here["db"], here["lib-name"]) == ("worker", 3, "redis-py")
        assert client.info("server")["redis_version"] == "7.2.4"
    with Wire((server.host, server.port)) as wire:  # no password is set: AUTH of one word is refused, as in Redis
        assert wire("AUTH", "any").startswith(b"-ERR AUTH <password> called without any password configured")
        assert wire("AUTH", "default", "any") == b"+OK\r\n"


def test_redis_py_with_a_password() -> None:
    with serving("--requirepass", "secret") as server:
        for protocol in (2, 3):
            with contextlib.closing(redis.Redis(server.host, server.port, password="secret", protocol=protocol)) as client:
                assert client.ping()
            retry = Retry(NoBackoff(), 0)
            wrong = redis.Redis(server.host, server.port, password="wrong", protocol=protocol, retry=retry)
            with contextlib.closing(wrong), pytest.raises(redis.AuthenticationError):
                wrong.ping()
            none = redis.Redis(server.host, server.port, protocol=protocol, retry=retry)
            with contextlib.closing(none), pytest.raises(redis.AuthenticationError):
                none.get("k")


def test_redis_py_types(r: Any) -> None:
    assert r.set("k", "v", ex=100) is True
    assert r.get("k") == b"v"
    assert r.set("k", "w", nx=True) is None
    assert r.set("k", "w", get=True) == b"v"
    assert 99 <= (r.expire("k", 100) and r.ttl("k")) <= 100
    assert r.mset({"a": 1, "b": 2}) is True
    assert r.mget("a", "b", "nosuch") == [b"1", b"2", None]
    assert (r.incr("a"), r.incrby("a", 5), r.decr("a"), r.incrbyfloat("a", 0.5)) == (2, 7, 6, 6.5)
    assert r.hset("h", mapping={"f": 1, "g": "x"}) == 2
    assert r.hgetall("h") == {b"f": b"1", b"g": b"x"}
    assert (r.hget("h", "f"), r.hmget("h", ["f", "z"]), r.hincrby("h", "f", 4)) == (b"1", [b"1", None], 5)
    assert (r.hkeys("h"), r.hexists("h", "f"), r.hdel("h", "g"), r.hlen("h")) == ([b"f", b"g"], True, 1, 1)
    assert (r.type("h"), r.exists("h", "k"), r.delete("h", "k"), r.dbsize()) == (b"hash", 2, 2, 2)
    assert r.config_get("databases") == {"databases": "16"}
    assert r.object("encoding", "b") in (b"int", "int")
    assert len(r.time()) == 2
    assert isinstance(r.client_id(), int)
    with pytest.raises(redis.ResponseError, match=r"WRONGTYPE|wrong kind"):
        r.hset("b", "f", 1)
    with pytest.raises(redis.ResponseError, match="unknown command"):
        r.lpush("list", 1)


def test_redis_py_pipelines(r: Any) -> None:
    assert r.pipeline(transaction=False).set("k", 1).incr("k").get("k").execute() == [True, 2, b"2"]
    assert r.pipeline(transaction=True).set("k", 1).incr("k").get("k").execute() == [True, 2, b"2"]
    with pytest.raises(redis.ResponseError):
        r.pipeline().set("k", "text").incr("k").set("after", 1).execute()
    assert r.get("after") == b"1"  # as in Redis: what is beside the error is done
    found = r.pipeline().incr("k").get("k").execute(raise_on_error=False)
    assert isinstance(found[0], redis.ResponseError)
    assert found[1] == b"text"


def test_redis_py_transactions(r: Any) -> None:
    def step(pipe: Any) -> None:
        value = int(pipe.get("n") or 0)
        if value == 0 and r.set("n", 10):  # somebody else comes between, once
            pass
        pipe.multi()
        pipe.set("n", value + 1)

    assert r.transaction(step, "n") == [True]
    assert r.get("n") == b"11"
    with r.pipeline() as pipe:
        pipe.watch("n")
        r.set("n", 0)
        pipe.multi()
        pipe.set("n", 1)
        with pytest.raises(redis.WatchError):
            pipe.execute()
    assert r.get("n") == b"0"


def test_redis_py_iterators(r: Any) -> None:
    names = {b"key:%d" % i for i in range(3000)}
    r.mset(dict.fromkeys(names, 1))
    assert set(r.scan_iter()) == names
    assert set(r.scan_iter(match="key:1?", count=500)) == {b"key:1%d" % i for i in range(10)}
    r.hset("h", mapping={f"f{i}": i for i in range(2000)})
    assert dict(r.hscan_iter("h")) == {b"f%d" % i: b"%d" % i for i in range(2000)}
    assert set(r.hscan_iter("h", no_values=True)) == {b"f%d" % i for i in range(2000)}
    assert set(r.scan_iter(_type="hash")) == {b"h"}


def test_redis_py_newer_options(r: Any) -> None:
    """Of Redis 8.4 and 8.8, where this redis-py knows them."""
    assert r.execute_command("SET", "k", "a") in (True, b"OK")
    assert r.execute_command("SET", "k", "b", "IFEQ", "a") in (True, b"OK")
    assert r.execute_command("DELEX", "k", "IFEQ", "a") == 0
    assert [int(x) for x in r.execute_command("INCREX", "n", "BYINT", 5, "UBOUND", 3, "SATURATE")] == [3, 3]
    assert [float(x) for x in r.execute_command("INCREX", "n", "BYFLOAT", 0.5)] == [3.5, 0.5]


def test_redis_py_uint64_beyond_int64(server: Server, r: Any) -> None:
    """RESP3's big number is an int to redis-py's own parser and bytes to hiredis; RESP2's bulk string is bytes to both."""
    resp3 = int(r.connection_pool.connection_kwargs["protocol"]) == 3
    own_parser = _RESP3Parser if resp3 else _RESP2Parser
    r.execute_command("TABLE", "CREATE", "big", "CAPACITY", 10, "COLUMNS", "v", "uint64")
    r.set("big:k", 2**64 - 1)
    for parser in (own_parser, _HiredisParser):
        pool = redis.ConnectionPool(host=server.host, port=server.port, protocol=3 if resp3 else 2, parser_class=parser)
        with contextlib.closing(redis.Redis(connection_pool=pool)) as client:
            kind = int if resp3 and parser is own_parser else bytes
            all_ways = [client.get("big:k"), client.hgetall("big:k")[b"v"], client.mget("big:k")[0],
                        client.hincrby("big:k", "v", 0), client.pipeline().incrby("big:k", 0).execute()[0]]  # fmt: skip
            assert [(type(found), int(found)) for found in all_ways] == [(kind, 2**64 - 1)] * 5
    with fridge.open(server.segment) as f:
        text = b"%d" % (2**64 - 1)
        assert (f.get("big:k"), f.hget("big:k", "v"), f.hvals("big:k")) == (text, text, [text])
        assert f.incr("big:k", -1) == f.hincrby("big:k", "v", 0) == f.decr("big:k", 0) == 2**64 - 2
        assert f.table("big", {"v": "uint64"}, capacity=10).get("k", "v") == 2**64 - 2
    r.execute_command("TABLE", "DROP", "big")


# --- redis-py, asyncio -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def connected(server: Server, protocol: int, unix: bool) -> AsyncIterator[Any]:
    client = redis.asyncio.Redis(**options(server, protocol, unix) | {"retry": None})
    try:
        yield client
    finally:
        await client.aclose()


@pytest.mark.parametrize(("protocol", "unix"), WAYS, ids=WAY_NAMES)
def test_redis_py_asyncio(server: Server, protocol: int, unix: bool) -> None:
    async def run() -> None:
        async with connected(server, protocol, unix) as r:
            assert await r.set("k", "v") is True
            assert await r.get("k") == b"v"
            assert await r.hset("h", mapping={"f": 1}) == 1
            assert await r.hgetall("h") == {b"f": b"1"}
            async with r.pipeline(transaction=True) as pipe:
                assert await pipe.set("n", 1).incr("n").get("n").execute() == [True, 2, b"2"]
            assert {name async for name in r.scan_iter()} == {b"k", b"h", b"n"}
            totals = await asyncio.gather(*(r.incr("many") for _ in range(50)))
            assert sorted(totals) == list(range(1, 51))
            async with r.pipeline() as pipe:
                await pipe.watch("n")
                await r.set("n", 9)
                pipe.multi()
                pipe.incr("n")
                with pytest.raises(redis.WatchError):
                    await pipe.execute()
            with pytest.raises(redis.ResponseError, match="unknown command"):
                await r.execute_command("NOSUCH")

    asyncio.run(run())


def test_small_commands_that_clients_send(server: Server) -> None:
    """What pools and caches send now and then, by name."""
    with redis.Redis(port=server.port) as r:
        assert r.execute_command("PSETEX", "short", 60_000, "v")
        assert 0 < r.pttl("short") <= 60_000
        assert r.client_no_evict("ON") in (True, b"OK", "OK")
        assert r.client_no_touch("ON") in (True, b"OK", "OK")
        assert r.execute_command("CLIENT NO-EVICT", "OFF") in (True, b"OK", "OK")
        assert r.execute_command("CLIENT NO-TOUCH", "OFF") in (True, b"OK", "OK")
        r.delete("short")
