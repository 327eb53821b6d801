"""Tests of fridge.server.connection: slow, vanished and half-closed clients, those served in one round, and descriptors.

A worker is stopped (SIGSTOP) while several clients send, so that it finds all of them ready in one call of fridge_serve.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fridge._native import ffi, lib
from fridge.reply import ErrorReply, request
from fridge.segment import Segment

from .server_fixture import Client, Server, serving, wait_until

BIG = b"x" * 300_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--enable-debug-command", "yes") as running:
        with running.client() as c:
            assert c("SET", "big", BIG) == "OK"
        yield running


@pytest.fixture
def pid(server: Server) -> int:
    return server.workers()["worker 0"]


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold a worker up, so that what happens meanwhile is one round for it."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "T", "it has stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(path).startswith("socket:")
    return count


def clients_of(c: Client) -> int:
    """How many clients the server has, the one that asks included."""
    return len(c.text("CLIENT", "LIST").splitlines())


def unsent(asker: Client, client_id: object) -> int:
    """The bytes that a client has not taken, as CLIENT LIST says."""
    line = asker.text("CLIENT", "LIST", "ID", str(client_id))
    return int(line.partition(" omem=")[2].split()[0])


def reset(c: Client) -> None:
    """Go away with a reset instead of an end."""
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


# --- slow clients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unix", [False, True])
def test_a_client_that_reads_in_small_pieces_gets_every_byte_in_order(server: Server, unix: bool) -> None:
    with server.client(unix) as slow:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
        slow.send(request(["GET", "big"]) * 8 + request(["INFO", "keyspace"]) + request(["ECHO", "last"]))
        assert [slow.read() for _ in range(8)] == [BIG] * 8
        assert b"# Keyspace" in cast(bytes, slow.read())
        assert slow.read() == b"last"
        assert slow("PING") == "PONG"


def test_unread_replies_stop_at_the_limit_of_a_stalled_client(server: Server) -> None:
    """The rest of the pipeline is not executed until the client has taken what there is."""
    with server.client(unix=True) as slow, server.client() as other:
        me = slow("CLIENT", "ID")
        slow.send(request(["GET", "big"]) * 50 + request(["SET", "reached", "1"]))
        wait_until(lambda: unsent(other, me), "replies pile up")
        assert (1 << 20) - len(BIG) < unsent(other, me) < (1 << 20) + len(BIG) + 100
        assert other("EXISTS", "reached") == 0
        assert [slow.read() for _ in range(50)] == [BIG] * 50
        assert slow.read() == "OK"
        assert other("DEL", "reached") == 1


def test_an_exec_of_host_commands_waits_for_a_slow_client_too(server: Server) -> None:
    with server.client(unix=True) as slow, server.client() as other:
        assert other("CONFIG", "SET", "requirepass", "p" * 200_000) == "OK"  # CONFIG GET answers with it
        try:
            me = slow("CLIENT", "ID")
            words = [["AUTH", "p" * 200_000], ["MULTI"], *[["CONFIG", "GET", "requirepass"]] * 40, ["EXEC"]]
            slow.send(b"".join(request(w) for w in words))
            wait_until(lambda: unsent(other, me) > 1 << 20, "replies pile up")
            assert max(unsent(other, me) for _ in range(50)) < (1 << 20) + 2 * 200_100
            replies = [slow.read() for _ in range(len(words))]
            assert replies[-1] == [[b"requirepass", b"p" * 200_000]] * 40
        finally:
            assert other("CONFIG", "SET", "requirepass", "") == "OK"


def test_a_monitor_that_does_not_read_is_cut_off() -> None:
    limits = ["--client-output-limit", "1mb", "--proto-max-bulk-len", "1mb"]
    with serving(*limits) as server, server.client(unix=True) as watcher, server.client() as c:
        assert watcher("MONITOR") == "OK"
        value = "v" * 500_000
        for _ in range(40):
            assert c("SET", "k", value) == "OK"
            if clients_of(c) == 1:
                break
        assert clients_of(c) == 1
        assert c("PING") == "PONG"


def test_quit_behind_large_replies_closes_after_the_last_byte(server: Server) -> None:
    with server.client(unix=True) as slow:
        slow.send(request(["GET", "big"]) * 3 + request(["QUIT"]) + request(["SET", "after", "quit"]))
        assert [slow.read() for _ in range(4)] == [BIG] * 3 + ["OK"]
        assert slow.is_closed()
    with server.client() as c:
        assert c("EXISTS", "after") == 0


# --- clients that go -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unix", [False, True])
def test_a_half_closed_client_gets_all_its_replies_and_then_the_end(server: Server, unix: bool) -> None:
    with server.client(unix) as c:
        c.send(request(["GET", "big"]) * 10)
        c.socket.shutdown(socket.SHUT_WR)
        assert [c.read() for _ in range(10)] == [BIG] * 10
        assert c.is_closed()


def test_a_half_closed_client_gets_a_reply_that_comes_later(server: Server) -> None:
    with server.client() as c:
        c.send(request(["DEBUG", "SLEEP", "0.1"]) + request(["PING"]))
        c.socket.shutdown(socket.SHUT_WR)
        assert [c.read(), c.read()] == ["OK", "PONG"]
        assert c.is_closed()


def test_clients_that_vanish_at_any_point_leave_no_descriptor(server: Server, pid: int) -> None:
    """Reset with replies unsent, with half a request, asleep, in the queue of the door; ended, killed, turned away."""
    with server.client() as c:
        assert c("PING") == "PONG"
        before = sockets_of(pid)
        for number in range(60):
            other = server.client(unix=number % 3 == 0)
            if number % 6 == 0:
                me = other("CLIENT", "ID")
                other.send(request(["GET", "big"]) * 30)
                wait_until(lambda me=me: unsent(c, me), "replies pile up")  # type: ignore[misc]
            elif number % 6 == 1:
                other.send(b"*2\r\n$4\r\nECHO\r\n$100\r\nabc")
            elif number % 6 == 2:
                other.send(request(["DEBUG", "SLEEP", "0.05"]) + request(["PING"]))
            elif number % 6 == 3:
                assert c("CLIENT", "KILL", "ID", str(other("CLIENT", "ID"))) == 1
            elif number % 6 == 4:
                other.send(request(["QUIT"]) * 2)
            (reset if number % 4 < 2 else Client.close)(other)
        wait_until(lambda: clients_of(c) == 1, "all are forgotten")
        assert sockets_of(pid) == before
        assert server.workers()["worker 0"] == pid
        assert "Traceback" not in server.output()


def test_a_fire_and_forget_client_is_obeyed(server: Server) -> None:
    for unix in (False, True):
        with server.client(unix) as c:
            c.send(request(["INCR", "fired"]) * 100)
    with server.client() as c:
        wait_until(lambda: c("GET", "fired") == b"200", "both pipelines are executed")
        assert c("DEL", "fired") == 1


# --- one round -------------------------------------------------------------------------------------------------------


def test_two_clients_that_kill_each_other_in_one_round(server: Server, pid: int) -> None:
    with server.client() as first, server.client() as second, server.client() as third:
        ids = [str(c("CLIENT", "ID")) for c in (first, second)]
        with stopped(pid):
            first.send(request(["CLIENT", "KILL", "ID", ids[1]]))
            second.send(request(["CLIENT", "KILL", "ID", ids[0]]))
        assert third("PING") == "PONG"
        answers = []
        for c in (first, second):
            with contextlib.suppress(ConnectionError):
                answers.append((c.read(), c("PING")))
        assert answers == [(1, "PONG")]
        assert server.workers()["worker 0"] == pid


def test_many_clients_ready_at_once_each_get_their_own_reply(server: Server, pid: int) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client(unix=i % 2 == 1)) for i in range(300)]
        assert [c("CLIENT", "SETNAME", f"n{i}") for i, c in enumerate(clients)] == ["OK"] * 300
        with stopped(pid):
            for i, c in enumerate(clients):
                c.send(request(["ECHO", i]) + request(["CLIENT", "INFO"]))
        for i, c in enumerate(clients):
            assert c.read() == b"%d" % i
            assert f" name=n{i} " in str(c.read())


def test_a_monitor_sees_what_one_round_did(server: Server, pid: int) -> None:
    with server.client() as watcher, server.client() as first, server.client() as second:
        assert [first("PING"), second("PING"), watcher("MONITOR")] == ["PONG", "PONG", "OK"]
        with stopped(pid):
            first.send(request(["SET", "m", "1"]))
            second.send(request(["INCR", "m"]))
        assert {first.read(), second.read()} <= {"OK", 1, 2}
        assert {str(watcher.read()).partition("] ")[2] for _ in range(2)} == {'"SET" "m" "1"', '"INCR" "m"'}


# --- what the system refuses -----------------------------------------------------------------------------------------


def test_without_descriptors_clients_wait_at_the_door() -> None:
    with serving() as server, server.client() as c:
        assert c("PING") == "PONG"
        pid = server.workers()["worker 0"]
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        with server.client() as waiting:
            waiting.send(request(["PING"]))
            wait_until(lambda: "cannot accept: Too many open files" in server.output(), "the log says so")
            assert c("PING") == "PONG"
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
            assert waiting.read() == "PONG"
        assert server.output().count("cannot accept") <= 3


def test_an_error_of_ours_costs_one_client_its_connection(tmp_path: Path, segment_path: Path) -> None:
    from fridge.server.connection import Connection

    class Fault:
        def answer(self, connection: object) -> bool:
            raise RuntimeError("a fault")

    near, far = socket.socketpair()
    near.setblocking(False)
    gone: list[int] = []
    with Segment(str(segment_path), size=4 << 20) as segment, select.epoll() as epoll:
        facts = ffi.new("server_facts *", {"query_limit": 1 << 20, "output_soft": 1 << 20, "output_hard": 1 << 20,
                                           "max_args": 100, "max_bulk": 1 << 20, "command_cells": len(segment.cells)})  # fmt: skip
        worker = SimpleNamespace(epoll=epoll, watched=False, host=Fault(), dismiss=lambda c: gone.append(c.id), facts=facts)
        connection = Connection(cast(Any, worker), near, "")
        connection.id = 7
        connection.admit(lib.session_new(segment.store, facts, 7))
        connection.heed(lib.FEED_MORE)
        work = ffi.new("fridge_round *", {"epoll": epoll.fileno()})
        far.sendall(b"PING\r\nINFO\r\n")
        assert lib.fridge_serve(work) == 1
        assert (work.reports[0].id, work.reports[0].what) == (7, lib.FEED_HOST)
        connection.heed(work.reports[0].what)
        assert gone == [7]
        assert near.fileno() == -1
        assert far.recv(100) == b"+PONG\r\n"
        assert far.recv(100) == b""
        connection.kill()
        connection.heed(lib.FRIDGE_LOST)
        assert gone == [7]
    far.close()


def test_the_client_that_is_one_too_many_hears_why(server: Server) -> None:
    with server.client() as c:
        before = c("CONFIG", "GET", "maxclients")
        assert c("CONFIG", "SET", "maxclients", "1") == "OK"
        try:
            with server.client() as other:
                assert other.read() == ErrorReply("ERR max number of clients reached")
                assert other.is_closed()
        finally:
            assert isinstance(before, list)
            assert c("CONFIG", "SET", "maxclients", cast(bytes, before[1])) == "OK"
