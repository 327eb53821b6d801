"""Parts of the server that need none of the others: passwords, filters, the registry of clients, shared settings, doors.

The same behind real sockets: `test_server.py`, `test_workers.py`.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from fridge import config
from fridge._native import lib
from fridge.segment import Segment
from fridge.server.clients import ClientIds, ClientLine, ClientRegistry, FilterError, parse_kill, parse_list
from fridge.server.connection import is_loopback
from fridge.server.doors import Door, DoorError, close_doors, open_doors
from fridge.server.host import password_matches
from fridge.server.shared import LIFE_MS, SERVERS, RunId, SharedSettings, beat, forget_dead_servers, forget_server


@pytest.fixture
def segment(segment_path: Path) -> Iterator[Segment]:
    """Return a fresh segment."""
    with Segment(str(segment_path), size=8 << 20) as opened:
        yield opened


# --- who may come in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["", "s", "secre", "secret ", "secret\0", "Secret", "secretsecret", "sécret"])
def test_only_the_password_is_the_password(given: str) -> None:
    assert password_matches(b"secret", "secret")
    assert not password_matches(given.encode(), "secret")


def test_without_a_password_any_will_do() -> None:
    assert password_matches(b"any", "")


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("127.0.0.1:5", True),
        ("127.9.9.9:5", True),
        ("[::1]:5", True),
        ("[::ffff:127.0.0.1]:5", True),
        ("[::ffff:192.0.2.1]:5", False),
        ("[fe80::1]:5", False),
        ("[2001:db8::1]:5", False),
        ("[::]:5", False),
        ("192.0.2.127:5", False),
        ("12.7.0.1:127", False),
        ("?:0", False),
    ],
)
def test_protected_mode_knows_loopback_addresses(endpoint: str, local: bool) -> None:
    assert is_loopback(endpoint) == local


# --- clients -----------------------------------------------------------------------------------------------------------


def line(client_id: int, worker: int = 0, **facts: object) -> ClientLine:
    """Return a client's line with these facts."""
    words = {"id": client_id, "addr": f"127.0.0.1:{client_id}", "laddr": "127.0.0.1:6380", "age": 5} | facts
    return ClientLine(client_id, worker, " ".join(f"{name}={value}" for name, value in words.items()))


LINES = [line(1), line(2, age=100), line(3, age=100, laddr="[::1]:6380"), line(4, sub=1)]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("127.0.0.1:2", [2]),
        ("127.0.0.1:1", [1]),  # oneself: the old form spares nobody
        ("ID 2", [2]),
        ("ID 1", []),
        ("ID 1 SKIPME no", [1]),
        ("TYPE normal", [2, 3]),
        ("TYPE pubsub", [4]),
        ("TYPE master", []),
        ("MAXAGE 100", [2, 3]),
        ("MAXAGE 101", []),
        ("MAXAGE 100 LADDR [::1]:6380", [3]),
        ("LADDR [::1]:6380 ID 2", []),  # all of them must hold
        ("USER default SKIPME NO", [1, 2, 3, 4]),
        ("skipme yes user default", [2, 3, 4]),
    ],
)
def test_client_kill_kills_those_that_all_filters_want(words: str, ids: list[int]) -> None:
    asked = parse_kill(words.split(" "))
    assert [one.id for one in LINES if asked.wants(one, 1)] == ids


@pytest.mark.parametrize("words", ["ID", "ID 0", "ID +1", "ID 01", "MAXAGE 0", "USER me", "TYPE x", "SKIPME y", "X y"])
def test_filters_that_make_no_sense(words: str) -> None:
    with pytest.raises(FilterError):
        parse_kill([*words.split(" "), *(["ADDR"] if words == "ID" else [])])


def test_client_list_gives_ids_as_often_as_asked() -> None:
    assert [one.id for one in parse_list(["ID", "3", "1", "9", "3"])(LINES)] == [3, 1, 3]
    assert [one.id for one in parse_list(["TYPE", "PUBSUB"])(LINES)] == [4]


def test_a_client_that_went_is_on_no_list(segment: Segment) -> None:
    run = RunId.new()
    first, second = (ClientRegistry(segment, run, number) for number in (0, 1))
    other_server = ClientRegistry(segment, RunId.new(), 0)
    assert all([first.put(1, "id=1"), first.put(2, "id=2"), second.put(3, "id=3"), other_server.put(9, "id=9")])
    assert [(one.id, one.worker) for one in second.lines()] == [(1, 0), (2, 0), (3, 1)]
    first.drop(1)
    assert second.count() == 2
    ClientRegistry(segment, run, 0).forget_worker()  # the killed one's successor
    assert [one.id for one in second.lines()] == [3]
    assert other_server.count() == 1


def test_a_wish_to_kill_is_taken_once_by_whom_it_is_for(segment: Segment) -> None:
    run = RunId.new()
    first, second = (ClientRegistry(segment, run, number) for number in (0, 1))
    first.ask_to_kill([5, 6, 7])
    assert sorted(second.take_kills({5: None, 7: None, 8: None})) == [5, 7]
    assert second.take_kills({5: None, 7: None}) == []
    assert first.take_kills({6: None}) == [6]


def test_no_two_clients_have_an_id(segment: Segment) -> None:
    workers = [ClientIds(segment, batch=3) for _ in range(2)]
    taken = [workers[i % 2].take() for i in range(20)]
    assert len(set(taken)) == 20
    assert min(taken) == 1


# --- settings of all workers -------------------------------------------------------------------------------------------


def test_a_change_reaches_every_worker_and_keeps_the_ones_before(segment: Segment) -> None:
    run, base = RunId.new(), config.load({}, {}, {})
    mine, theirs = (SharedSettings(segment, run, base) for _ in range(2))
    assert [theirs.refresh(), theirs.refresh()] == [True, False]
    mine.change({"maxclients": 7})
    assert [theirs.refresh(), theirs.refresh()] == [True, False]
    assert theirs.current.maxclients == 7
    theirs.change({"timeout": 30})
    assert mine.refresh()
    assert (mine.current.maxclients, mine.current.timeout, theirs.current.maxclients) == (7, 30, 7)
    mine.touch()
    assert theirs.refresh()
    fresh = SharedSettings(segment, RunId.new(), base)  # another server on the segment
    assert fresh.refresh()
    assert fresh.current.maxclients == base.maxclients


def test_what_a_dead_server_left_is_removed_and_a_living_one_s_is_not(segment: Segment) -> None:
    dead, living = RunId.new(), RunId.new()
    for run in (dead, living):
        ClientRegistry(segment, run, 0).put(1, "id=1")
        SharedSettings(segment, run, config.load({}, {}, {})).change({"timeout": 30})
        segment.system_hset(run.pids, "worker 0", b"1")
        beat(segment, run)
    segment.system_hset(SERVERS, dead.text, str(int(lib.fridge_boot_ms()) - LIFE_MS - 1).encode())
    forget_dead_servers(segment)
    assert (ClientRegistry(segment, dead, 0).count(), ClientRegistry(segment, living, 0).count()) == (0, 1)
    assert segment.system_get(dead.settings) is None
    assert segment.system_get(living.settings) is not None
    forget_server(segment, living)
    assert segment.system_hgetall(SERVERS) == {}
    assert segment.system_hgetall(living.pids) == {}


# --- doors -------------------------------------------------------------------------------------------------------------


def unix_door(path: Path, **more: str) -> list[Door]:
    """Open a unix socket and no other door."""
    return open_doors(config.load({"port": "0", "http": "", "unixsocket": str(path), **more}, {}, {}), {})


def test_a_unix_socket_has_its_mode_and_goes_with_its_server(shared_dir: Path) -> None:
    path = shared_dir / "sock"
    old = os.umask(0)
    try:
        doors = unix_door(path, unixsocketperm="600")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    close_doors(doors)
    assert not path.exists()


def test_a_wider_mode_than_the_umask_allows_is_given(shared_dir: Path) -> None:
    old = os.umask(0o077)
    try:
        doors = unix_door(shared_dir / "sock", unixsocketperm="770")
    finally:
        os.umask(old)
    assert stat.S_IMODE((shared_dir / "sock").stat().st_mode) == 0o770
    close_doors(doors)


def test_a_socket_that_somebody_listens_on_is_left_alone(shared_dir: Path) -> None:
    path = shared_dir / "sock"
    doors = unix_door(path)
    with pytest.raises(DoorError, match="another server listens there"):
        unix_door(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    close_doors([Door(door.socket, door.speaks, inherited=True) for door in doors])  # as if systemd had made it
    assert path.exists()
    close_doors(unix_door(path))  # nobody listens any more
    assert not path.exists()
