"""Memory is full: who is refused and who goes, through a server. The engine's part: c/test_evict.c."""

from __future__ import annotations

from fridge.reply import ErrorReply, request

from .server_fixture import Client, serving


def fill(client: Client, value: bytes) -> int:
    """SET keys until memory is full; how many there are then."""
    for first in range(0, 10_000_000, 2000):
        client.send(b"".join(request((b"SET", b"small:%d" % i, value)) for i in range(first, first + 2000)))
        if ErrorReply in {type(client.read()) for _ in range(2000)}:
            break
    return int(str(client("DBSIZE")))


def test_oom_is_answered_only_when_nothing_may_be_evicted() -> None:
    with serving(size="16mb") as server, server.client() as client:
        small, large = fill(client, b"v" * 64), b"x" * 102_400
        oom = ErrorReply("OOM command not allowed when used memory > 'maxmemory'.")
        assert client("SET", "large", large) == oom  # noeviction
        assert client("CONFIG", "SET", "maxmemory-policy", "volatile-lru") == "OK"
        assert client("SET", "large", large) == oom  # none has an expiry
        assert (client("DBSIZE"), client.info()["evicted_keys"]) == (small, "0")
        assert client("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") == "OK"
        assert {client("SET", f"large:{i}", large) for i in range(300)} == {"OK"}  # 30 MB
        assert int(client.info()["evicted_keys"]) == small + 300 - int(str(client("DBSIZE")))


def test_maxmemory() -> None:
    with serving(size="16mb") as own, own.client() as client:
        assert client("CONFIG", "SET", "maxmemory", "10mb") == "OK"
        fill(client, b"v" * 64)
        assert 9 << 20 < int(client.info()["used_memory"]) <= 10 << 20
        assert client("CONFIG", "SET", "maxmemory", "0") == "OK"
        assert client("SET", "k", b"x" * 1_000_000) == "OK"
