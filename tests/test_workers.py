"""Three data workers behind one door: which of them serves a client is nobody's business, in life and in death.

tests/test_server.py has the pair-wise cases (a setting set in one worker, a client listed, killed, a password). Here three
workers are driven at once: what happens to the others' clients in mid-load while one dies, again and again.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from fridge.reply import ErrorReply
from fridge.segment import Segment

from .server_fixture import Client, Server, serving, wait_until

WORKERS = 3


@pytest.fixture(scope="module")
def trio() -> Iterator[Server]:
    """A server with three data workers."""
    with serving(workers=WORKERS) as server:
        yield server


def worker_of(server: Server, client: Client) -> int:
    """The number of the worker that serves a connection, as the registry in the segment has it."""
    client_id = str(client("CLIENT", "ID"))
    with Segment(server.segment, create=False, readonly=True) as segment:
        (run,) = segment.system_hgetall("servers")
        # A line that met a held latch is written within a second.
        line = wait_until(lambda: segment.system_hgetall(f"clients:{run}").get(client_id), "its line is there")
        assert line is not None
        return int(line.split(b" ")[0])


def one_on_each(server: Server) -> list[Client]:
    """A connection to each worker, by its number."""
    found: dict[int, Client] = {}
    for _ in range(1000):
        client = server.client()
        if found.setdefault(worker_of(server, client), client) is not client:
            client.close()
        if len(found) == WORKERS:
            return [found[number] for number in range(WORKERS)]
    raise AssertionError(f"1000 connections reached only the workers {sorted(found)}")


@pytest.fixture
def three(trio: Server) -> Iterator[list[Client]]:
    """A connection to each of the three workers."""
    clients = one_on_each(trio)
    yield clients
    for client in clients:
        client.close()


def listed(client: Client) -> dict[int, dict[str, str]]:
    """CLIENT LIST by id."""
    lines = [dict(part.split("=", 1) for part in line.split(" ")) for line in client.text("CLIENT", "LIST").splitlines()]
    return {int(line["id"]): line for line in lines}


# --- one server ----------------------------------------------------------------------------------------------------------


def test_each_worker_is_a_process_of_its_own(trio: Server) -> None:
    pids = trio.workers()
    assert sorted(pids) == ["housekeeper", "worker 0", "worker 1", "worker 2"]
    assert len({*pids.values(), trio.process.pid}) == WORKERS + 2


def test_one_state(three: list[Client]) -> None:
    for i, writer in enumerate(three):
        assert writer("SET", "who", i) == "OK"
        assert [reader("GET", "who") for reader in three] == [b"%d" % i] * WORKERS
    assert [client("INCR", "sum") for client in three] == [1, 2, 3]


def test_watch_notices_another_worker_s_write(three: list[Client]) -> None:
    first, second, _ = three
    assert [first("WATCH", "watched"), first("MULTI"), first("SET", "watched", "mine")] == ["OK", "OK", "QUEUED"]
    assert second("SET", "watched", "other") == "OK"
    assert first("EXEC") is None
    assert first("GET", "watched") == b"other"


@pytest.mark.parametrize(("name", "value", "usual"), [("timeout", "77", "0"), ("maxmemory-policy", "allkeys-lru", "noeviction"),
                                                      ("proto-max-bulk-len", "1048576", "67108864")])  # fmt: skip
def test_config_set_in_each_holds_in_all(three: list[Client], name: str, value: str, usual: str) -> None:
    before = three[0]("CONFIG", "GET", name)
    assert before == [name.encode(), usual.encode()]
    for setter in three:
        assert setter("CONFIG", "SET", name, value) == "OK"
        assert [c("CONFIG", "GET", name) for c in three] == [[name.encode(), value.encode()]] * WORKERS
        assert setter("CONFIG", "SET", name, usual) == "OK"
        assert [c("CONFIG", "GET", name) for c in three] == [before] * WORKERS


def test_a_limit_set_in_one_is_obeyed_in_all(three: list[Client]) -> None:
    assert three[0]("CONFIG", "SET", "proto-max-bulk-len", "1048576") == "OK"
    try:
        assert three[1]("SET", "long", "x" * 1_000_000) == "OK"
        assert isinstance(three[1]("APPEND", "long", "x" * 100_000), ErrorReply)
        assert isinstance(three[2]("SETRANGE", "long", 1_048_576, "x"), ErrorReply)
        assert three[0]("STRLEN", "long") == 1_000_000
    finally:
        assert three[0]("CONFIG", "SET", "proto-max-bulk-len", "67108864") == "OK"
        assert three[0]("DEL", "long") == 1


def test_client_list_is_the_same_everywhere(three: list[Client]) -> None:
    names = {int(str(client("CLIENT", "ID"))): f"client-{i}" for i, client in enumerate(three)}
    assert len(names) == WORKERS
    for client, name in zip(three, names.values(), strict=True):
        assert client("CLIENT", "SETNAME", name) == "OK"
    for client in three:  # other workers' names are as of their last second
        wait_until(lambda c=client: {i: listed(c)[i]["name"] for i in names} == names, "every name is seen")  # type: ignore[misc]
    assert {client.info("clients")["connected_clients"] for client in three} == {str(len(listed(three[0])))}


def test_client_kill_from_each_to_each(trio: Server) -> None:
    for killer in range(WORKERS):
        for victim in range(WORKERS):
            clients, targets = one_on_each(trio), one_on_each(trio)
            target = targets[victim]
            how = [["ID", str(target("CLIENT", "ID"))], ["LADDR", "1.2.3.4:5", "ID", str(target("CLIENT", "ID"))]]
            assert clients[killer]("CLIENT", "KILL", *how[1]) == 0
            assert target("PING") == "PONG"
            assert clients[killer]("CLIENT", "KILL", *how[0]) == 1
            assert target.is_closed()
            for other in (*clients, *targets):
                if other is not target:
                    assert other("PING") == "PONG"
                    other.close()


def test_client_kill_by_address_and_by_type(trio: Server) -> None:
    clients = one_on_each(trio)
    targets = one_on_each(trio)
    address = listed(clients[0])[int(str(targets[2]("CLIENT", "ID")))]["addr"]
    assert clients[0]("CLIENT", "KILL", address) == "OK"
    assert targets[2].is_closed()
    assert clients[0]("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") == 4
    assert all(client.is_closed() for client in (clients[1], clients[2], targets[0], targets[1]))
    assert clients[0]("PING") == "PONG"
    clients[0].close()


# --- death ---------------------------------------------------------------------------------------------------------------


class Load:
    """A client that increments its own key without pause, in a thread; counts, and keeps what went wrong."""

    def __init__(self, client: Client, key: str) -> None:
        self.client, self.key = client, key
        self.count, self.failure = 0, ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                reply = self.client("INCR", self.key)
                if reply != self.count + 1:
                    self.failure = f"after {self.count} came {reply!r}"
                    return
                self.count += 1
        except OSError as error:
            self.failure = f"{type(error).__name__}: {error}"

    def stop(self) -> None:
        """Stop and wait for the thread."""
        self._stopping.set()
        self._thread.join(10)


def kill_one(server: Server, victim: int, name: str) -> None:
    """Load every worker, kill -9 one of them, and see that its own client alone notices."""
    clients = one_on_each(server)
    ids = [int(str(client("CLIENT", "ID"))) for client in clients]
    loads = [Load(client, f"load:{name}:{i}") for i, client in enumerate(clients)]
    others = [load for i, load in enumerate(loads) if i != victim]
    wait_until(lambda: all(load.count > 50 for load in loads), "every worker is busy")
    pids = server.workers()
    os.kill(pids[f"worker {victim}"], signal.SIGKILL)
    wait_until(lambda: loads[victim].failure, "its client is cut off")
    marks = [load.count for load in others]
    wait_until(lambda: all(a.count > b + 50 for a, b in zip(others, marks, strict=True)), "the others' clients go on")
    wait_until(lambda: server.workers().get(f"worker {victim}", 0) not in (0, pids[f"worker {victim}"]), "it is replaced")
    for load in loads:
        load.stop()
    assert [load.failure for load in others] == [""] * len(others)
    after = server.workers()
    assert {n for n in after if after[n] != pids[n]} == {f"worker {victim}"}
    with server.client() as check:
        for load in loads:
            unheard = int(check.text("GET", load.key)) - load.count
            assert unheard in ((0,) if load in others else (0, 1)), "the cut-off client may not have heard of its last one"
        wait_until(lambda: ids[victim] not in listed(check), "the dead worker's client is forgotten")
    again = one_on_each(server)  # the listeners stayed, and the new worker serves
    new = {int(str(client("CLIENT", "ID"))) for client in again}
    assert not new & set(ids), "a client id was used again"
    for client in (*clients, *again):
        client.close()


def test_kill_9_of_each_worker_in_mid_load_twice() -> None:
    with serving(workers=WORKERS) as server:
        housekeeper = server.workers()["housekeeper"]
        for i in range(2 * WORKERS):
            kill_one(server, i % WORKERS, str(i))
        assert server.workers()["housekeeper"] == housekeeper
        assert server.process.poll() is None


def test_all_workers_killed_at_once_connections_wait_for_their_successors() -> None:
    with serving(workers=WORKERS) as server:
        with server.client() as c:
            assert c("SET", "kept", "1") == "OK"
        pids = server.workers()
        for number in range(WORKERS):
            os.kill(pids[f"worker {number}"], signal.SIGKILL)
        waiting = [server.client(unix=bool(i % 2)) for i in range(12)]
        assert [c("GET", "kept") for c in waiting] == [b"1"] * 12
        for c in waiting:
            c.close()
