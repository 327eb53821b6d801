"""The cost of HSET, HGET and HINCRBY does not grow with the hash: 10, 1,000 and 1,000,000 fields, over RESP.

Server CPU per command under redis-benchmark, 16 deep, on random fields that are there; and the number of stores into
shared memory, which stores.c counts by the store hook.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial

import engine
from processes import Server, fridge, load, request
from rows import Plan, Row, at_most, in_turns
from wire import cpu_per_command

SIZES = (10, 1_000, 1_000_000)
DEPTH, CHUNK = 16, 1000
LIMIT, STORES = 3.0, 20
VALUE = b"v" * 32
COMMANDS = ("hset", "hget", "hincrby")


def _fill(name: bytes, value: bytes, fields: int) -> Iterator[bytes]:
    """Yield HSET requests that make a hash; fields are named as redis-benchmark's -r does."""
    for first in range(0, fields, CHUNK):
        words = [word for i in range(first, min(first + CHUNK, fields)) for word in (b"f:%012d" % i, value)]
        yield request(b"HSET", name, *words)


def _arguments(command: str, fields: int) -> list[str]:
    last = {"hset": ["w" * len(VALUE)], "hget": [], "hincrby": ["1"]}[command]
    kind = "n" if command == "hincrby" else "h"
    return ["-r", str(fields), command, f"{kind}{fields}", "f:__rand_int__", *last]


def _over_resp(server: Server, plan: Plan, sizes: list[int]) -> list[Row]:
    for fields in sizes:
        load(server, _fill(b"h%d" % fields, VALUE, fields), 4)
        load(server, _fill(b"n%d" % fields, b"1000", fields), 4)
    commands = plan.pick(100_000, 40_000)
    cases = {
        f"{command} {fields}": partial(cpu_per_command, server, commands, DEPTH, _arguments(command, fields))
        for command in COMMANDS
        for fields in sizes
    }
    ns = in_turns(cases, plan.pick(5, 2))
    return [
        at_most(f"{c.upper()} on a hash of {n:,} fields, over RESP", ns[f"{c} {n}"], ns[f"{c} {sizes[0]}"], LIMIT,
                f"a hash of {sizes[0]}", f"server CPU, {DEPTH} deep")
        for c in COMMANDS for n in sizes[1:]
    ]  # fmt: skip


def _stores(sizes: list[int]) -> list[Row]:
    run = subprocess.run([engine.build() / "stores", str(sizes[-1])], capture_output=True, text=True, check=True)
    got: dict[str, int] = json.loads(run.stdout)
    found = []
    for command in COMMANDS:
        kinds = {"a field that is there": command}
        if command == "hset":
            kinds = {"the same length": command, "another length": "hset_resized", "each new field": "hset_new"}
        elif command == "hincrby":
            kinds["each new field"] = "hincrby_new"
        counts = {
            f"{what}, {n:,} fields": (got[f"{name}_{n}_median"], got[f"{name}_{n}"])
            for what, name in kinds.items()
            for n in sizes
            if f"{name}_{n}" in got
        }
        most = max(worst for _, worst in counts.values())
        note = "median/most: " + "; ".join(f"{what}: {usual}/{worst}" for what, (usual, worst) in counts.items())
        calls = "2,001 calls" if command == "hget" else "every insertion, and of 2,001 other calls"
        what = f"{command.upper()}: stores into shared memory, the most of {calls}"
        found.append(Row(what, str(most), "-", f"{most / STORES:.2f} of it", f"<= {STORES}", most <= STORES, note))
    return found


def rows(plan: Plan) -> list[Row]:
    """Measure; about half a minute."""
    sizes = [*SIZES[:2], plan.pick(SIZES[2], 200_000)]
    with fridge() as server:
        return _over_resp(server, plan, sizes) + _stores(sizes)
