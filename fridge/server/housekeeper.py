"""The housekeeper: reclaims what expired, recovers the dead early, and serves HTTP.

None of it is needed for correctness: any writer reclaims, any waiter recovers. It is a process of its own so that a scrape
can never delay a command.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Mapping
from importlib.resources import files

import uvloop

from fridge import usage
from fridge._native import lib
from fridge.errors import FridgeError
from fridge.server.context import Context
from fridge.server.http import HEADERS_MAX, HttpServer, Response
from fridge.server.info import OpsMeter
from fridge.server.shared import beat, forget_dead_servers
from fridge.server.worker import ALIVE, READY

log = logging.getLogger(__name__)

RECLAIM_STEP = 500  # keys and rows in one call: about a millisecond
RECLAIM_STEPS = 20  # calls in one tick, while there is more to do
BEAT_SECONDS = 10.0
_PLAIN = "text/plain; charset=utf-8"


class Housekeeper:
    """The state of the housekeeper."""

    def __init__(self, context: Context, loop: asyncio.AbstractEventLoop) -> None:
        from fridge import metrics  # prometheus_client takes 5 MB: only this process needs it

        self.context, self.loop = context, loop
        self.ops = OpsMeter()
        self.stopped = asyncio.Event()
        self._render = metrics.render
        self._registry = metrics.registry(
            metrics.SegmentCollector(context.segment),
            metrics.ServerCollector(
                lambda: context.segment.system_hlen(context.run_id.clients),
                lambda: context.shared.current.maxclients,
                lambda: usage.of_processes(context.pids()),
                context.server.started,
                context.server.version,
            ),
        )
        self._page = files("fridge.server").joinpath("page.html").read_bytes()

    # --- housekeeping ---

    async def reclaim(self) -> None:
        """Reclaim expired and flushed keys and rows, hz times a second; more of them while there are many."""
        while not self.stopped.is_set():
            for _ in range(RECLAIM_STEPS):
                if self.context.segment.tick(RECLAIM_STEP) < RECLAIM_STEP:
                    break
                await asyncio.sleep(0)
            await asyncio.sleep(1 / self.context.shared.current.hz)

    async def look_after(self) -> None:
        """Once a second: recover the dead, follow the settings, count; now and then give the server's sign of life."""
        beaten = -BEAT_SECONDS
        while not self.stopped.is_set():
            try:
                self.context.segment.reap()
                self.context.shared.refresh()
                self.ops.sample(self.context.segment.statistic("commands_processed"))
                if self.loop.time() - beaten >= BEAT_SECONDS:
                    beat(self.context.segment, self.context.run_id)
                    beaten = self.loop.time()
            except FridgeError as error:
                log.warning("housekeeper: %s", error)
            self.context.say(ALIVE)
            await asyncio.sleep(1.0)

    # --- HTTP ---

    def metrics(self, headers: Mapping[str, str]) -> Response:
        """GET /metrics."""
        content_type, body = self._render(self._registry, headers.get("accept", ""))
        return Response(200, content_type, body)

    def healthz(self, headers: Mapping[str, str]) -> Response:
        """GET /healthz: this process answers and the segment is there."""
        facts = self.context.segment.describe()
        if facts.lost or facts.damaged:
            return Response(503, _PLAIN, b"segment damaged\n" if facts.damaged else b"segment lost\n")
        if facts.stale:  # we go on with ours, and who comes now makes another one: two truths
            return Response(503, _PLAIN, b"segment removed: its path names another file now, or none\n")
        return Response(200, _PLAIN, b"ok\n")

    def readyz(self, headers: Mapping[str, str]) -> Response:
        """GET /readyz: healthy, and at least one worker serves."""
        healthy = self.healthz(headers)
        if healthy.status != 200:
            return healthy
        living = usage.of_processes({n: pid for n, pid in self.context.pids().items() if n.startswith("worker")})
        return Response(200, _PLAIN, b"ready\n") if living else Response(503, _PLAIN, b"no worker serves\n")

    def page(self, headers: Mapping[str, str]) -> Response:
        """GET /: the live page."""
        return Response(200, "text/html; charset=utf-8", self._page)

    def status(self, headers: Mapping[str, str]) -> Response:
        """GET /status.json: what the page shows."""
        facts = self.context.gather(ops_per_second=self.ops.rate(), baseline=False)
        document = {
            "now": facts.now,
            "started": facts.server.started,
            "version": facts.server.version,
            "segment": facts.server.segment_path,
            "doors": [{"speaks": d.speaks, "address": d.address} for d in self.context.doors],
            "clients": facts.clients,
            "maxclients": facts.settings.maxclients,
            "policy": facts.settings.maxmemory_policy,
            "memory": vars(facts.memory),
            "statistics": {s.name: s.value for s in facts.statistics.values()},
            "commands": [vars(c) for c in facts.commands],
            "keyspace": {f"db{db}": {"keys": k, "expires": e} for db, (k, e) in facts.keyspace.items()},
            "tables": [vars(t) for t in facts.tables],
            "processes": [vars(p) for p in facts.processes],
            "boot_ms": int(lib.fridge_boot_ms()),
        }
        return Response(200, "application/json", json.dumps(document).encode())

    # --- life ---

    async def serve(self) -> None:
        """Keep house until told to stop. Raises FridgeError when the segment refuses this process."""
        self.context.introduce("housekeeper")
        beat(self.context.segment, self.context.run_id)
        forget_dead_servers(self.context.segment)
        self.context.shared.refresh()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self.stopped.set)
        self.loop.add_reader(self.context.life, self.stopped.set)
        routes = {"/": self.page, "/metrics": self.metrics, "/healthz": self.healthz, "/readyz": self.readyz,
                  "/status.json": self.status}  # fmt: skip
        http = HttpServer(routes)
        servers = [
            await asyncio.start_server(http.serve, sock=door.socket.dup(), limit=HEADERS_MAX)
            for door in self.context.doors
            if door.speaks == "http"
        ]
        tasks = [self.loop.create_task(self.reclaim()), self.loop.create_task(self.look_after())]
        self.context.say(READY)
        await self.stopped.wait()
        for server in servers:
            server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run(context: Context) -> int:
    """Be the housekeeper until told to stop; the process's exit status."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(Housekeeper(context, loop).serve())
    except FridgeError as error:
        log.error("housekeeper (pid %d): %s", os.getpid(), error)
        return 1
    finally:
        loop.close()
    return 0
