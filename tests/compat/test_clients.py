"""Real clients, unmodified: redis-cli in each of its modes, redis-benchmark, redis-py in both protocols over both doors."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import redis.asyncio

from ..server_fixture import Server, serving
from .raw import program

KEYS = 2_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with some keys of every kind."""
    with serving() as running:
        with redis.Redis(port=running.port) as r:
            with r.pipeline(transaction=False) as pipe:
                for i in range(KEYS):
                    pipe.set(f"key:{i}", "v" * (i % 100))
                pipe.hset("hash", mapping={str(i): i for i in range(1000)})
                pipe.execute()
        yield running


def cli(server: Server, *arguments: str, stdin: str | None = None) -> str:
    """Run redis-cli and return what it printed; it must end well."""
    done = subprocess.run(
        [program("redis-cli"), "-p", str(server.port), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_cli_replies(server: Server) -> None:
    assert cli(server, "GET", "key:5") == "vvvvv\n"
    assert cli(server, "-3", "HGET", "hash", "7") == "7\n"
    assert cli(server, "--json", "HMGET", "hash", "1", "2") == '["1","2"]\n'


def test_cli_scan_meets_every_key(server: Server) -> None:
    assert {f"key:{i}" for i in range(KEYS)} <= set(cli(server, "--scan").split())
    assert len(set(cli(server, "--scan", "--pattern", "key:1?").split())) == 10


def test_cli_bigkeys_and_memkeys(server: Server) -> None:
    big = cli(server, "--bigkeys")
    assert "Biggest string found" in big.replace('"', "")
    assert f"Sampled {KEYS + 1} keys" in big
    assert "Biggest" in cli(server, "--memkeys")


def test_cli_pipe(server: Server) -> None:
    commands = "".join(f"SET piped:{i} {i}\r\n" for i in range(500))
    assert "errors: 0, replies: 500" in cli(server, "--pipe", stdin=commands)
    assert cli(server, "GET", "piped:499") == "499\n"
    cli(server, "DEL", *[f"piped:{i}" for i in range(500)])


def test_cli_command_docs(server: Server) -> None:
    """What the interactive hints are made of."""
    assert "summary" in cli(server, "COMMAND", "DOCS", "get")
    assert cli(server, "COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2").split() == ["a", "b"]


@pytest.mark.parametrize("depth", ["1", "16"])
def test_benchmark(server: Server, depth: str) -> None:
    done = subprocess.run(
        [program("redis-benchmark"), "-p", str(server.port), "-t", "ping,set,get,incr,hset,mset", "-n", "4000", "-P", depth,
         "-c", "20", "--csv"],  # fmt: skip
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 8, done.stdout
    assert "error" not in done.stdout.lower()


def connections(server: Server) -> list[dict[str, Any]]:
    """Every way redis-py may connect."""
    return [
        {**where, "protocol": protocol}
        for where in ({"port": server.port}, {"unix_socket_path": server.unix})
        for protocol in (2, 3)
    ]


@pytest.mark.parametrize("way", range(4))
def test_redis_py(server: Server, way: int) -> None:
    with redis.Redis(**connections(server)[way], decode_responses=True, client_name="tester") as r:
        assert r.ping()
        assert r.client_getname() == "tester"
        r.set("a", 1, ex=100)
        with r.pipeline() as pipe:
            pipe.watch("a")
            pipe.multi()
            pipe.incr("a").ttl("a").hgetall("hash")
            number, ttl, fields = pipe.execute()
        assert number == 2
        assert 0 < ttl <= 100
        assert len(fields) == 1000
        with r.pipeline() as pipe:
            pipe.watch("a")
            r.set("a", "changed")
            pipe.multi()
            pipe.get("a")
            with pytest.raises(redis.WatchError):
                pipe.execute()
        assert set(r.scan_iter(match="key:[0-9]*")) == {f"key:{i}" for i in range(KEYS)}
        assert dict(r.hscan_iter("hash"))["5"] == "5"
        assert r.info("server")["redis_version"] == "7.2.4"
        assert r.config_get("databases") == {"databases": "16"}
        with pytest.raises(redis.ResponseError, match="unknown command"):
            r.execute_command("LPUSH", "l", "x")
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            r.get("hash")
        r.delete("a")


@pytest.mark.parametrize("way", range(4))
def test_redis_py_asyncio(server: Server, way: int) -> None:
    async def talk() -> None:
        client = redis.asyncio.Redis(**connections(server)[way])
        async with client:
            await asyncio.gather(*(client.incr(f"async:{way}") for _ in range(20)))
            assert await client.get(f"async:{way}") == b"20"
            await client.delete(f"async:{way}")

    asyncio.run(talk())
