"""Tests of RENAME, RENAMENX, MOVE and COPY of a lock that is held, by redis-py and by fridge, through either door.

A grant belongs to the name under which it was acquired, and never to two names. So a lock that is renamed or moved is free
under its old name, as after DEL; what is found under the new one, or in the copy, is its holder's token as a plain string
with what is left of the lease, as in Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

import fridge
from fridge import errors

from .child_fixture import PATIENCE, Tell, child, waiting
from .server_fixture import Server, serving

TOKEN = b"0123456789abcdef0123456789abcdef"
Keys = fridge.Store | redis.Redis  # both have redis-py's methods
Found = Callable[[str], tuple[Any, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def f(server: Server) -> Iterator[fridge.Store]:
    with fridge.open(server.segment) as store:
        store.flushall()
        yield store
        assert store.verify().findings == 0


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as connection:
        yield connection


@pytest.fixture(params=["mmap", "resp"])
def door(f: fridge.Store, client: redis.Redis, request: pytest.FixtureRequest) -> Keys:
    """Through which the key is renamed."""
    return f if request.param == "mmap" else client


@pytest.fixture(params=["fridge", "redis-py"])
def new_lock(f: fridge.Store, client: redis.Redis, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Whose lock it is."""
    return f.lock if request.param == "fridge" else client.lock


NOT_OWNED = errors.LockNotOwnedError, redis.exceptions.LockNotOwnedError

LEAVING: dict[str, Callable[[Keys], object]] = {
    "RENAME": lambda keys: keys.rename("jobs", "new"),
    "RENAMENX": lambda keys: keys.renamenx("jobs", "new"),
    "RENAME over a string": lambda keys: keys.set("new", "v") and keys.rename("jobs", "new"),
    "MOVE": lambda keys: keys.move("jobs", 3),
}
COPYING: dict[str, Callable[[Keys], object]] = {
    "COPY": lambda keys: keys.copy("jobs", "new"),
    "COPY REPLACE": lambda keys: keys.set("new", "v") and keys.copy("jobs", "new", replace=True),
    "COPY DB": lambda keys: keys.copy("jobs", "jobs", destination_db=3),  # type: ignore[arg-type]  # redis-py's hints say str
}


@pytest.fixture
def found(server: Server, client: redis.Redis) -> Iterator[Found]:
    """What there is afterwards where a command has put it: the value, and its time to live in milliseconds."""
    with redis.Redis(port=server.port, db=3) as third:

        def look(how: str) -> tuple[Any, Any]:
            keys, name = (third, "jobs") if how in ("MOVE", "COPY DB") else (client, "new")
            return keys.get(name), keys.pttl(name)

        yield look


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("lease", [None, 30.0])
def test_a_renamed_lock_is_free_under_its_old_name(
    f: fridge.Store, door: Keys, new_lock: Callable[..., Any], found: Found, how: str,
    lease: float | None,
) -> None:  # fmt: skip
    lock = new_lock("jobs", timeout=lease)
    assert lock.acquire(token=TOKEN)
    assert LEAVING[how](door)
    assert f.exists("jobs") == 0
    assert not lock.owned()
    value, left = found(how)
    assert value == TOKEN
    assert left == -1 if lease is None else 20_000 < left <= 30_000
    next_one = new_lock("jobs")
    assert next_one.acquire(blocking=False)
    if lease is not None:
        with pytest.raises(NOT_OWNED):
            lock.extend(1)
    with pytest.raises(NOT_OWNED):
        lock.release()
    assert next_one.owned()  # nothing was taken from the next holder
    assert found(how)[0] == TOKEN  # nor from the string
    next_one.release()


@pytest.mark.parametrize("how", COPYING)
@pytest.mark.parametrize("lease", [None, 30.0])
def test_a_copied_lock_stays_where_it_is(
    f: fridge.Store, door: Keys, new_lock: Callable[..., Any], found: Found, how: str,
    lease: float | None,
) -> None:  # fmt: skip
    lock = new_lock("jobs", timeout=lease)
    assert lock.acquire(token=TOKEN)
    assert COPYING[how](door)
    value, left = found(how)
    assert value == TOKEN
    assert left == -1 if lease is None else 20_000 < left <= 30_000
    assert lock.owned()
    assert not new_lock("jobs").acquire(blocking=False)
    lock.release()
    assert f.exists("jobs") == 0
    assert found(how)[0] == TOKEN


def test_under_its_new_name_it_is_a_string_that_nobodys_death_ends(f: fridge.Store, door: Keys) -> None:
    def hold(tell: Tell) -> None:
        with fridge.open(f.path) as own:
            assert own.lock("jobs").acquire()
            tell()
            tell.wait()

    with child(hold) as other:
        other.get()
        assert door.rename("jobs", "new")
    holder = f.lock("new").holder()
    assert holder is not None
    assert (holder.pid, holder.fence) == (None, 0)  # as of any client that did SET NX
    assert f.lock("new").acquire(blocking=False) is False
    assert f.lock("new").unlock() is True
    assert f.lock("new").acquire(blocking=False) is True


def test_who_waits_under_the_old_name_goes_on(f: fridge.Store, door: Keys) -> None:
    def wait(tell: Tell) -> None:
        with fridge.open(f.path) as own, own.lock("jobs") as mine:
            tell(mine.fence)

    lock = f.lock("jobs")
    lock.acquire()
    with child(wait) as first, child(wait) as second:
        waiting(f, 2)
        assert door.rename("jobs", "new")
        fences = [first.get(), second.get()]
        assert len(set(fences)) == 2
        assert min(fences) > (lock.fence or 0)
        first.end()
        second.end()


def test_a_lock_that_is_renamed_back_is_its_holders_again(
    f: fridge.Store, door: Keys, new_lock: Callable[..., Any]
) -> None:
    lock = new_lock("jobs", timeout=30)
    assert lock.acquire(token=TOKEN)
    door.rename("jobs", "elsewhere")
    door.rename("elsewhere", "jobs")
    assert lock.owned()
    assert not new_lock("jobs").acquire(blocking=False)
    assert lock.extend(5)
    lock.release()
    assert f.exists("jobs") == 0


def test_a_lock_that_another_key_is_renamed_over(f: fridge.Store, door: Keys, new_lock: Callable[..., Any]) -> None:
    lock = new_lock("jobs")
    assert lock.acquire()
    f.set("other", "somebody")
    assert door.renamenx("other", "jobs") is False
    assert lock.owned()
    assert door.rename("other", "jobs")
    with pytest.raises(NOT_OWNED):
        lock.release()
    assert f.get("jobs") == b"somebody"
    f.delete("jobs")
    assert f.lock("jobs").acquire(blocking_timeout=PATIENCE)


def test_renaming_a_lock_to_itself_changes_nothing(f: fridge.Store, door: Keys) -> None:
    with f.lock("jobs") as lock:
        before = lock.holder()
        assert door.rename("jobs", "jobs")
        assert lock.holder() == before
        assert before is not None
        assert before.pid is not None
