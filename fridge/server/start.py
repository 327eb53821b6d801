"""`fridge serve`: from settings to a running supervisor. Everything that can be wrong is one line here, and status 1."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from fridge import path as segment_path
from fridge import room, segment
from fridge._native import lib, text
from fridge.config import Settings, TableDeclaration
from fridge.errors import FridgeError, OutOfMemoryError
from fridge.local import LocalClient
from fridge.reply import ErrorReply
from fridge.segment import Memory, Segment
from fridge.server.context import Context
from fridge.server.doors import Door, DoorError, close_doors, open_doors
from fridge.server.info import ServerFacts, human
from fridge.server.notify import Notifier
from fridge.server.shared import RunId, tell_engine
from fridge.server.supervisor import Supervisor

log = logging.getLogger(__name__)

LEVELS = {"debug": logging.DEBUG, "verbose": logging.INFO, "notice": logging.INFO, "warning": logging.WARNING}


class StartError(Exception):
    """The server cannot start; the message is the whole story."""


def serve(settings: Settings, tables: Sequence[TableDeclaration], config_file: str, environment: Mapping[str, str],
          out: TextIO) -> int:  # fmt: skip
    """Open the segment and the doors and run the server until it is told to stop; the exit status.

    Raises:
        StartError: it cannot start.
    """
    logging.basicConfig(level=LEVELS[settings.loglevel], format="fridge: %(message)s", stream=sys.stderr)
    where = _segment_path(settings, environment)
    notifier = Notifier(environment)
    if not os.path.lexists(where):
        check_room(where, settings.size)
    try:
        doors = open_doors(settings, environment)
    except DoorError as error:
        raise StartError(str(error)) from None
    try:
        opened = open_segment(settings, where)
        if opened.set_aside:
            log.warning("%s", opened.set_aside)
        try:
            tell_engine(opened, settings)
            declare(opened, tables)
        except FridgeError as error:
            raise StartError(f"segment {where}: {error}") from None
    except StartError:
        close_doors(doors)
        raise
    run_id = RunId.new()
    facts = _facts(settings, doors, opened, config_file, environment, run_id)
    context = Context(opened, run_id, settings, facts, doors)
    block = greeting(context, opened.created)
    return Supervisor(context, notifier, lambda: print(block, file=out, flush=True)).run()


def _segment_path(settings: Settings, environment: Mapping[str, str]) -> str:
    if settings.segment:
        where = os.path.abspath(settings.segment)
    else:
        try:
            where = segment_path.resolve(environment, os.geteuid()).path
        except FileNotFoundError as error:
            raise StartError(str(error)) from None
    try:
        segment_path.prepare(where)
    except FridgeError as error:
        raise StartError(f"segment {where}: {error}") from None
    return where


def check_room(where: str, size: int) -> None:
    """Refuse a new segment that could not grow to its size. Raises StartError."""
    directory = os.path.dirname(where)
    free, limit = room.free_bytes(directory), room.memory_limit()
    if size > free:
        raise StartError(f"segment {where} of {human(size)} does not fit: {directory} has {human(free)} free; give a smaller --size"
                         " (or the container a larger /dev/shm)")  # fmt: skip
    if limit is not None and size > limit:
        raise StartError(f"segment {where} of {human(size)} does not fit the memory limit of {human(limit)}; give a smaller --size")


def open_segment(settings: Settings, where: str) -> Segment:
    """Open (create) the segment that settings describe. Raises StartError."""
    try:
        owner = segment_path.owner_id(settings.segment_owner)
        return Segment(where, size=settings.size, prealloc=settings.prealloc, mode=settings.segment_perm, owner=owner,
                       name="fridge serve")  # fmt: skip
    except OutOfMemoryError as error:
        raise StartError(f"segment {where} of {human(settings.size)}: {error}; give a smaller --size") from None
    except FridgeError as error:
        raise StartError(f"segment {where}: {error}") from None


def declare(opened: Segment, tables: Sequence[TableDeclaration]) -> None:
    """Declare the tables of fridge.toml. Raises StartError with what the engine says."""
    if not tables:
        return
    with LocalClient(opened) as client:
        for t in tables:
            columns = [word for column in t.columns for word in column]
            reply = client.execute("TABLE", "CREATE", t.name, "CAPACITY", t.capacity, "COLUMNS", *columns)
            if isinstance(reply, ErrorReply):
                raise StartError(f"table '{t.name}' of fridge.toml: {reply}")


def _facts(settings: Settings, doors: list[Door], opened: Segment, config_file: str,
           environment: Mapping[str, str], run_id: RunId) -> ServerFacts:  # fmt: skip
    described = opened.describe()
    return ServerFacts(
        version=segment.version(),
        run_id=run_id.text,
        supervisor_pid=os.getpid(),
        supervised="NOTIFY_SOCKET" in environment,
        port=next((d.port for d in doors if d.speaks == "resp" and not d.is_unix), 0),
        unix_path=next((d.address for d in doors if d.is_unix), ""),
        config_file=os.path.abspath(config_file) if config_file else "",
        started=time.time(),
        segment_path=opened.path,
        segment_uuid=text(described.uuid),
        workers=settings.workers,
        build=text(lib.fridge_build()),
    )


def greeting(context: Context, created: bool) -> str:
    """The block that says where each door is."""
    memory, settings = context.segment.memory(), context.settings
    rows = [("segment", f"{context.server.segment_path}  ({_size(memory, created, settings)})")]
    rows += [(_title(door), _how_to_use(door)) for door in context.doors]
    plural = "" if settings.workers == 1 else "s"
    rows.append(("processes", f"supervisor {os.getpid()}, {settings.workers} worker{plural}, housekeeper; Ctrl-C stops"))
    lines = [f"fridge {context.server.version} is ready"]
    return "\n".join(lines + [f"  {title:<10} {words}" for title, words in rows])


def _size(memory: Memory, created: bool, settings: Settings) -> str:
    if created:
        return f"new, up to {human(memory.limit)}"
    note = f"found, {human(memory.used)} of {human(memory.limit)} in use"
    return note if memory.limit == settings.size else f"{note}; its own limit wins over --size {human(settings.size)}"


def _title(door: Door) -> str:
    return "HTTP" if door.speaks == "http" else "unix" if door.is_unix else "TCP"


def _how_to_use(door: Door) -> str:
    if door.speaks == "http":
        return f"http://{door.address}/  (also /metrics, /healthz, /readyz)"
    if door.is_unix:
        return f"{door.address}  (redis-cli -s {door.address})"
    return f"{door.address}  (redis-cli -p {door.port})"
