"""Writes the generated tables of README.md, between marker comments.

``<!-- commands:begin -->`` .. ``<!-- commands:end -->`` from the command table in the library, ``settings`` from the
settings table, ``promises`` from tests/README.md, ``speed`` from the last ``make bench``. A marker that README.md does
not have is an error, so that a table cannot get lost. ``--check`` writes nothing and fails if a table is stale.

The speed table is kept when there is no new measurement: figures come from a run, never from a build.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table.

    Args:
        head: the column titles.
        rows: the cells; a `|` in them is escaped.

    Returns:
        The table, with a line end at its end.
    """
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def commands_table() -> str:
    """Return the table of commands, one row a command or subcommand, grouped as COMMAND DOCS groups them."""
    from fridge._native import ffi, lib, text

    facts = ffi.new("command_facts *")
    rows = []
    for i in range(lib.fridge_command_count()):
        lib.fridge_command(i, facts)
        if not facts.container:
            rows.append((text(facts.group), text(facts.name).upper().replace("|", " "), text(facts.summary)))
    return markdown_table(
        ["group", "command", "what it does"], [[group, f"`{name}`", summary] for group, name, summary in sorted(rows)]
    )


def settings_table() -> str:
    """Return the table of settings: name, type, default, help."""
    from fridge import config

    rows = []
    for name in config.names():
        row = config.row(name)
        rows.append([f"`{name}`", row.kind.name, f"`{config.default_text(name)}`", row.help])
    return markdown_table(["setting", "type", "default", "what it does"], rows)


def _held(row: dict[str, Any]) -> str:
    if not row["held"]:
        return "**no**"
    return "-" if row["hold"] == "-" else "yes"  # a row without a hold is there for the others to be read by


def speed_table(results: dict[str, Any]) -> str:
    """Return the speed table.

    Args:
        results: what tests/bench/run.py wrote: ``machine``, ``build``, and ``rows`` of ``what``, ``measured``,
            ``reference``, ``ratio``, ``hold`` (texts) and ``held`` (bool).

    Returns:
        The table, with the machine and the build in a line below it.
    """
    rows = [
        [r["what"], r["measured"], r["reference"], r["ratio"], r["hold"], _held(r)]
        for r in results["rows"]
    ]
    table = markdown_table(["what", "measured", "reference, same run", "ratio", "hold", "held"], rows)
    return f"{table}\n{results['machine']}; {results['build']}. Reproduce with `make bench`.\n"


def promises_table(tests: str) -> str:
    """Return the table of promises: what is promised, the tests that show it, what they last counted.

    Args:
        tests: tests/README.md, whose table of promises also says what is open.

    Returns:
        The table.
    """
    section = tests.partition("\n## Promises\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if re.match(r"\| \d", line)]
    return markdown_table(["#", "promise", "shown by, in `tests/`", "last count"], [row[:4] for row in rows])


def replace(readme: str, name: str, table: str) -> str:
    """Return the text with what stands between the markers of `name` replaced.

    Args:
        readme: the text.
        name: the marker's name.
        table: the new contents.

    Returns:
        The changed text.

    Raises:
        ValueError: the text does not have both markers exactly once.
    """
    pattern = re.compile(rf"(<!-- {name}:begin[^>]*-->\n).*?(<!-- {name}:end -->)", re.S)
    if len(pattern.findall(readme)) != 1:
        raise ValueError(f"README.md must have <!-- {name}:begin --> and <!-- {name}:end --> exactly once")
    return pattern.sub(lambda m: m.group(1) + "\n" + table + "\n" + m.group(2), readme)


def generate(readme: str, bench: Path | None) -> str:
    """Return README.md as it should be.

    Args:
        readme: README.md as it is.
        bench: results of `make bench`, or None to keep the speed table.

    Returns:
        The text with every generated table renewed.
    """
    tests = (ROOT / "tests" / "README.md").read_text()
    tables: dict[str, Callable[[], str]] = {
        "commands": commands_table,
        "settings": settings_table,
        "promises": lambda: promises_table(tests),
    }
    if bench is not None:
        results = json.loads(bench.read_text())
        tables["speed"] = lambda: speed_table(results)
    for name, table in tables.items():
        readme = replace(readme, name, table())
    return readme


def main(argv: list[str] | None = None) -> int:
    """Write or check the tables.

    Args:
        argv: the command line; None for the process's own.

    Returns:
        The exit status: 1 when --check found a stale table.
    """
    parser = argparse.ArgumentParser(description="Write the generated tables of README.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table is stale")
    parser.add_argument("--bench", type=Path, help="JSON that tests/bench/run.py wrote")
    options = parser.parse_args(argv)
    path = ROOT / "README.md"
    before = path.read_text()
    after = generate(before, options.bench)
    if options.check:
        if before != after:
            print("README.md is stale: run `make docs`", file=sys.stderr)
        return int(before != after)
    path.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
