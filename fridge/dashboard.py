"""What `fridge stat`, `fridge ps` and `fridge top` show. Text from a segment; only ``watch`` touches a terminal."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from typing import TextIO

from fridge._native import lib
from fridge.segment import CommandStatistic, Segment
from fridge.show import columns

HOME_AND_CLEAR, TO_END = "\x1b[H", "\x1b[J"
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the alternate screen, without a cursor
BOLD, DIM, RED, YELLOW, CYAN, OFF = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"


def size(n: float) -> str:
    """Bytes for people: 12.5 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n < 1024 or unit == "GiB":
            break
        n /= 1024
    return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"


def age(ms: float) -> str:
    """A time for people: 3 min."""
    seconds = max(0.0, ms) / 1000
    for unit, span in (("days", 172800), ("h", 7200), ("min", 120)):
        if seconds >= span:
            return f"{int(seconds // (span / 2))} {unit}"
    return f"{seconds:.0f} s"


def summary(segment: Segment) -> str:
    """Everything a segment holds and counts."""
    memory = segment.memory()
    parts = [
        f"segment    {segment.path}",
        f"memory     {size(memory.used)} in use, {size(memory.size)} allocated, {size(memory.limit)} limit",
        f"processes  {sum(p.alive for p in segment.processes())} attached",
    ]
    for db, (keys, expires) in segment.keyspace().items():
        parts.append(f"db{db:<8} {keys} keys, {expires} with an expiry")
    if tables := list(segment.tables()):
        rows = [(t.name, t.rows, t.capacity, t.expires, t.refused, size(t.memory_bytes)) for t in tables]
        parts += ["", columns(("table", "rows", "capacity", "expiring", "refused", "memory"), rows)]
    parts += ["", columns(("statistic", "value"), [(s.name, s.value) for s in segment.statistics()])]
    commands = sorted(segment.command_statistics(), key=lambda c: -c.calls)
    if commands:
        cells = [(c.name, c.calls, round(c.usec / max(1, c.calls), 2), c.rejected, c.failed) for c in commands]
        parts += ["", columns(("command", "calls", "us each", "rejected", "failed"), cells)]
    return "\n".join(parts)


def processes(segment: Segment) -> str:
    """The attached processes: `fridge ps`."""
    now = int(lib.fridge_boot_ms())
    rows = []
    for p in segment.processes():
        latched = f"{age(now - p.latched)}" if p.latched else "-"
        state = "alive" if p.alive else "dead"
        rows.append((p.slot, p.pid, p.host, p.name, state, age(now - p.attached_ms), latched))
    return columns(("slot", "pid", "host", "name", "state", "attached", "latched"), rows)


@dataclass(frozen=True)
class Look:
    """A segment at one moment, for rates."""

    at: float
    statistics: dict[str, int]
    commands: dict[str, CommandStatistic]


def look(segment: Segment) -> Look:
    """Take note of everything that rises."""
    statistics = {s.name: s.value for s in segment.statistics()}
    return Look(time.monotonic(), statistics, {c.name: c for c in segment.command_statistics()})


def screen(segment: Segment, before: Look, now: Look, width: int, height: int) -> str:
    """One screenful of `fridge top`."""
    seconds = max(now.at - before.at, 1e-3)
    rate = {name: (value - before.statistics[name]) / seconds for name, value in now.statistics.items()}
    memory = segment.memory()
    hits, misses = rate["keyspace_hits"], rate["keyspace_misses"]
    keys = sum(k for k, _ in segment.keyspace().values())
    hit_ratio = f"{100 * hits / (hits + misses):5.1f} %" if hits + misses else "    -  "
    lines = [
        f"{BOLD}fridge top{OFF}  {segment.path}  {DIM}{time.strftime('%H:%M:%S')}{OFF}",
        f"{bar(memory.used / memory.limit, 30)} {size(memory.used)} of {size(memory.limit)}",
        f"{BOLD}{rate['commands_processed']:>12,.0f}{OFF} commands/s  {BOLD}{rate['transactions']:>12,.0f}{OFF} commits/s  "
        f"{BOLD}{hit_ratio}{OFF} hits  {BOLD}{keys:>12,}{OFF} keys",
        f"{rate['latch_waits']:>12,.0f} latch waits/s{rate['read_retries']:>12,.0f} read retries/s"
        f"{rate['expired_keys']:>10,.0f} expired/s  {sum(p.alive for p in segment.processes())} processes",
        "",
    ]
    if tables := list(segment.tables()):
        lines.append(f"{CYAN}{'table':<28}{'rows':>12}{'capacity':>12}{'refused':>10}{OFF}")
        lines += [
            f"{t.name[:27]:<28}{t.rows:>12,}{t.capacity:>12,}{t.refused:>10,}  {bar(t.rows / t.capacity, 16)}" for t in tables
        ]
        lines.append("")
    lines.append(f"{CYAN}{'command':<28}{'a second':>12}{'calls':>14}{'us each':>10}{'failed':>10}{OFF}")
    busy = sorted(now.commands.values(), key=lambda c: -(c.calls - _calls(before, c.name)))
    for c in busy:
        since = c.calls - _calls(before, c.name)
        lines.append(f"{c.name[:27]:<28}{since / seconds:>12,.0f}{c.calls:>14,}{c.usec / max(1, c.calls):>10.2f}{c.failed:>10,}")
    return "\n".join(_cut(line, width) + "\x1b[K" for line in lines[: height - 1])


def bar(share: float, width: int) -> str:
    """A bar, yellow from 85 % and red from 95 %."""
    filled = round(min(1.0, share) * width)
    colour = RED if share > 0.95 else YELLOW if share > 0.85 else CYAN
    return f"{colour}{'█' * filled}{OFF}{DIM}{'░' * (width - filled)}{OFF} {100 * share:5.1f} %"


def _calls(before: Look, name: str) -> int:
    return before.commands[name].calls if name in before.commands else 0


def _cut(line: str, width: int) -> str:
    """line with at most width visible characters (escape sequences do not count)."""
    out, seen, i = [], 0, 0
    while i < len(line) and seen < width:
        if line[i] == "\x1b":
            end = line.index("m", i) + 1
            out.append(line[i:end])
            i = end
            continue
        out.append(line[i])
        seen += 1
        i += 1
    return "".join(out) + (OFF if seen >= width else "")


def _plain(text: str) -> str:
    """Return text without escape sequences, for files and pipes."""
    return re.sub(r"\x1b\[[\d?;]*[a-zA-Z]", "", text)


def watch(segment: Segment, interval: float, count: int, out: TextIO) -> None:
    """Show screen after screen until interrupted, or `count` times; without a terminal they just follow each other."""
    live = out.isatty()
    before = look(segment)
    shown = 0
    try:
        if live:
            out.write(ENTER)
        while not count or shown < count:
            time.sleep(interval)
            now = look(segment)
            width, height = shutil.get_terminal_size((100, 40))
            text = screen(segment, before, now, width, height)
            out.write(f"{HOME_AND_CLEAR}{text}{TO_END}" if live else _plain(text) + "\n\n")
            out.flush()
            before = now
            shown += 1
    except KeyboardInterrupt:
        pass
    finally:
        if live:
            out.write(LEAVE)
            out.flush()
