"""The pages in docs/ are programs: the ```python blocks of a page run in order, in one namespace, on a segment of its own.

So are the examples of Table's methods, which are C and have no other doctest.

A line that ends with a comment `# -> value` says what the expression before it gives, and is held to it; so is one that
ends with `# raises SomeError` or `# raises SomeError: part of its text`. A block that is not to be run (another language's,
a fragment) is simply no ```python block.

What pages say besides is held, too: tests that they name exist, links lead somewhere, errors are those of fridge.errors, and
the numbers of limits.md are those of the code.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import doctest
import importlib
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fridge
from fridge import _hot, config, errors, metrics, show
from fridge.local import LocalClient
from fridge.segment import Segment
from fridge.vars import Scope

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
SAYS = re.compile(r"^(?P<indent>\s*)(?P<code>\S.*?)\s+#\s*->\s*(?P<value>.+)$")
RAISES = re.compile(r"^(?P<indent>\s*)(?P<code>\S.*?)\s+#\s*raises (?P<name>\w+)(?:: (?P<text>.+))?$")

PAGES = sorted(path for path in [*DOCS.glob("*.md"), ROOT / "README.md"] if BLOCK.search(path.read_text()))


def check_lines(source: str, first: int) -> str:
    """Return a block in which each line that says what comes of it is an assertion, at the page's line numbers."""
    lines = []
    for line in source.splitlines():
        if says := SAYS.match(line):
            line = f"{says['indent']}_check({says['code']}, {says['value']!r}, globals())"
        elif says := RAISES.match(line):
            line = f"{says['indent']}_raises(lambda: {says['code']}, {says['name']!r}, {says['text'] or ''!r})"
        lines.append(line)
    return "\n" * first + "\n".join(lines) + "\n"


def check(found: Any, value: str, names: dict[str, Any]) -> None:
    """Compare what an expression gave with what the page says."""
    wanted = eval(value, names)
    assert found == wanted, f"the page says {wanted!r}, it is {found!r}"
    assert type(found) is type(wanted), f"the page says {wanted!r}, it is the {type(found).__name__} {found!r}"


def check_raises(call: Callable[[], Any], name: str, text: str) -> None:
    """Call what a page says raises an error of this name, whose text has this in it."""
    try:
        outcome = f"it gives {call()!r}"
    except Exception as error:
        if type(error).__name__ == name and text in str(error):
            return
        outcome = f"it is {error!r}"
    raise AssertionError(f"the page says {name}{text and ': '}{text}, {outcome}")


HELPERS: dict[str, Any] = {"_check": check, "_raises": check_raises}


def run_page(path: Path, names: dict[str, Any]) -> int:
    """Run the blocks of a page; how many lines said what they give."""
    text, said, parent = path.read_text(), 0, os.getpid()
    for block in BLOCK.finditer(text):
        source = check_lines(block[1], text[: block.start(1)].count("\n"))
        said += source.count("_check(") + source.count("_raises(") + len(re.findall(r"^assert ", source, re.M))
        try:
            exec(compile(source, str(path), "exec", dont_inherit=True), names)
        finally:
            if os.getpid() != parent:
                os._exit(1)  # a child of fork that the page forgot must not go on as a second pytest
    return said


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_runs(path: Path, segment_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRIDGE_SEGMENT", str(segment_path))
    monkeypatch.chdir(tmp_path)
    page = ModuleType("page")  # a real one: dataclasses look up their module
    monkeypatch.setitem(sys.modules, "page", page)
    with fridge.open(segment_path, size="64mb") as f:
        vars(page).update(HELPERS, f=f, fridge=fridge)
        assert run_page(path, vars(page)) > 0, "the page shows no result that is checked"


SHELL = re.compile(r"^127\.0\.0\.1:6380> (.+)\n((?:(?!127\.0\.0\.1:6380> |```).*\n)*)", re.M)
SCRAPE = re.compile(r"^fridge_\w+\{.*$", re.M)


def test_the_readmes_other_doors_answer_what_it_says(segment_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRIDGE_SEGMENT", str(segment_path))
    readme = ROOT / "README.md"
    run_page(readme, HELPERS | {"__name__": "page"})
    typed = SHELL.findall(readme.read_text())
    scraped = SCRAPE.findall(readme.read_text())
    assert len(typed) > 3
    assert scraped
    with Segment(str(segment_path), create=False) as segment, contextlib.closing(LocalClient(segment)) as client:
        for line, shown in typed:
            assert show.reply_pretty(client.execute(*line.encode().split())) == shown.rstrip("\n"), line
        body = metrics.render(metrics.registry(metrics.SegmentCollector(segment)), "")[1].decode()
    assert set(scraped) <= set(body.splitlines())


SURFACE = {"f.table(": fridge.Table, "f.counter(": fridge.Counter, "f.lock(": fridge.Lock, "f.set_vars(": Scope,
           "beyond redis-py": fridge.Store}  # fmt: skip


@pytest.mark.parametrize("start", SURFACE)
def test_the_readmes_methods_are_there(start: str) -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith((f"| {start}", f"| `{start}")))
    words = {word for text in re.findall(r"`([^`]+)`", row.split(" | ")[1]) for word in re.sub(r"\(.*?\)", "", text).split()}
    assert len(words) > 4
    missing = [word for word in words - {"in", "len", "Lock", "f.async_lock"} if not hasattr(SURFACE[start], word)]
    assert missing == []


METHODS = sorted(name for name, method in vars(_hot.Table).items() if callable(method) and not name.startswith("_"))


@pytest.mark.parametrize("name", METHODS)
def test_the_examples_of_a_tables_methods_run(name: str, segment_path: Path) -> None:
    with fridge.open(segment_path, size="16mb") as f:
        rate = f.table("rate", {"count": "int32", "reset": "int64", "note": "str:64"}, capacity=10)
        text = str(getattr(fridge.Table, name).__doc__)
        examples = doctest.DocTestParser().get_doctest(text, {"rate": rate, "inf": math.inf}, name, None, None)
        assert examples.examples, "a method of the surface has an example"
        assert doctest.DocTestRunner().run(examples).failed == 0


# --- what pages say besides ----------------------------------------------------------------------------------------

ALL_PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]
NOUNS = ("keys", "tables", "counters", "locks", "vars", "waiting")
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")
ERROR = re.compile(r"`(\w+Error|SegmentLost)`")
NAMED_TEST = re.compile(r"`((?:tests|examples)/[\w./-]+?)(?:::([^`]+))?`")


def anchors(text: str) -> set[str]:
    """Return the names by which the headings of a page are linked to, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for name, anchor in LINK.findall(path.read_text()):
        target = path.parent / name if name else path
        assert target.exists(), f"{path.name} links to {name}, which is not there"
        assert not anchor or anchor in anchors(target.read_text()), f"{target.name} has no heading #{anchor}"


def test_every_page_is_reached_from_the_index_and_every_noun_has_one() -> None:
    linked = {name for name, _ in LINK.findall((DOCS / "index.md").read_text())}
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} <= linked
    assert {f"{noun}.md" for noun in NOUNS} <= {path.name for path in PAGES}, "a page per noun, with a worked example"
    assert "docs/index.md" in {name for name, _ in LINK.findall((ROOT / "README.md").read_text())}


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: path.name)
def test_errors_that_a_page_names_are_ours_or_pythons(path: Path) -> None:
    for name in ERROR.findall(path.read_text()):
        assert hasattr(errors, name) or hasattr(builtins, name), f"{path.name} names {name}"


def names_of_tests(path: Path) -> set[str]:
    """Return what a test file has to name: functions of Python by its syntax; words of C and of the operations' list."""
    text = path.read_text()
    if path.suffix == ".py":
        return {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if path.suffix == ".def":
        return set(re.findall(r'^OPERATION\("([^"]+)"', text, re.M))
    return set(re.findall(r"^static void (\w+)\(", text, re.M))


@pytest.mark.parametrize("path", ALL_PAGES, ids=lambda path: path.name)
def test_tests_that_a_page_names_are_there(path: Path) -> None:
    for file, name in NAMED_TEST.findall(path.read_text()):
        assert (ROOT / file).exists(), f"{path.name} names {file}"
        assert not name or name in names_of_tests(ROOT / file), f"{path.name} names {name}, which {file} has not"


# --- the rows of other systems -------------------------------------------------------------------------------------

ROWS = [f"{letter}{i}" for letter, last in {"Z": 15, "C": 5, "T": 16, "F": 10, "S": 6, "P": 10}.items()
        for i in range(1, last + 1)]  # fmt: skip
FLAWED = ["Z10", "Z14", "Z15", *(f"T{i}" for i in range(5, 13)), "S2", "S3", "S4", "P9", "P10"]
"""Rows where the other system is wrong: a test named after the row shows that fridge is right."""
PEER = re.compile(r"^\| ([A-Z]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.M)


def test_the_table_of_peers_has_every_row_once_in_order_with_a_test() -> None:
    found = PEER.findall((DOCS / "peers.md").read_text())
    assert [row[0] for row in found] == ROWS
    without = [name for name, _, how, tests in found if not NAMED_TEST.search(tests) and not how.startswith("Left out")]
    assert without == [], "rows that name no test and no reason to be left out"


@pytest.mark.parametrize("row", FLAWED)
def test_a_flawed_row_has_a_test_of_its_name(row: str) -> None:
    cell = {name: tests for name, _, _, tests in PEER.findall((DOCS / "peers.md").read_text())}[row]
    assert re.search(rf"::test_{row}_", cell, re.I), f"{row} names no test_{row.lower()}_..."


# --- the numbers of limits.md --------------------------------------------------------------------------------------

LIMIT = re.compile(r"^\| (?P<what>[^|]+) \| (?P<number>[\d,]+)(?: (?P<unit>KiB|MiB|GiB|[a-z]+))?[^|]*\|[^|]*\| "
                   r"`(?P<file>[\w./]+): (?P<name>[\w.-]+)` \|$", re.M)  # fmt: skip
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def c_number(text: str) -> int:
    """Return the value of a C constant expression of numbers, shifts and suffixes."""
    text = re.sub(r"/\*.*", "", text)
    text = re.sub(r"UINT(?:32|64)_C\((\d+)\)", r"\1", text)
    text = re.sub(r"\b(\d+)[uUlL]+\b", r"\1", text)
    assert re.fullmatch(r"[\d\s()<*+-]+", text), f"{text} is no constant"
    return int(eval(text))


def number_in_code(file: str, name: str) -> int:
    """Return a number as the code has it: a setting's default, a constant of a module, a #define, a field of a geometry."""
    if file == "fridge/config.py":
        return int(config.value_of(config.Settings(), name))
    if file.endswith(".py"):
        return int(getattr(importlib.import_module(file[:-3].replace("/", ".")), name))
    text = (ROOT / file).read_text()
    if name.startswith("."):
        return int(re.findall(rf"{re.escape(name)} = (\d+)", text)[0])
    return c_number(re.findall(rf"^#define {name} (.+)$", text, re.M)[0])


def limits() -> list[dict[str, str]]:
    return [match.groupdict() for match in LIMIT.finditer((DOCS / "limits.md").read_text())]


@pytest.mark.parametrize("limit", limits(), ids=lambda limit: limit["name"])
def test_a_limit_is_the_number_of_the_code(limit: dict[str, str]) -> None:
    said = int(limit["number"].replace(",", "")) * UNITS.get(limit["unit"], 1)
    assert said == number_in_code(limit["file"], limit["name"]), limit["what"]


def test_every_limit_with_a_source_was_compared() -> None:
    assert len(limits()) == len(re.findall(r"\| `(?:csrc|fridge)/[^`]+: [^`]+` \|$", (DOCS / "limits.md").read_text(), re.M)) > 25


# --- the checks themselves -----------------------------------------------------------------------------------------


def test_wrong_claims_are_found_out() -> None:
    assert anchors("# A `b` c?\n```\n# no heading\n```\n## D, e") == {"a-b-c", "d-e"}
    assert LINK.findall("[a](b.md#c) [d](#e) [f](https://g.h) [i](j/k.md)") == [("b.md", "c"), ("", "e"), ("j/k.md", "")]
    assert NAMED_TEST.findall("`tests/a.py::test_b`, `tests/c/d.c`") == [("tests/a.py", "test_b"), ("tests/c/d.c", "")]
    assert "test_wrong_claims_are_found_out" in names_of_tests(Path(__file__))
    assert "not_there" not in names_of_tests(Path(__file__))
    assert (c_number("(512u << 20)   /* bytes"), c_number("(UINT64_C(64) << 30) /* x */")) == (512 << 20, 64 << 30)
    assert number_in_code("fridge/config.py", "latch-timeout") == 200


def test_there_are_pages() -> None:
    assert DOCS / "tables.md" in PAGES


def test_a_wrong_page_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text\n```python\nn = 1\nn + 1  # -> 3\n```\n")
    with pytest.raises(AssertionError, match="the page says 3, it is 2"):
        run_page(page, dict(HELPERS))
    page.write_text("```python\nTrue  # -> 1\n```\n")
    with pytest.raises(AssertionError, match="bool"):
        run_page(page, dict(HELPERS))
    page.write_text("```python\nif True:\n    1  # -> 2\n```\n")
    with pytest.raises(AssertionError, match="the page says 2, it is 1"):
        run_page(page, dict(HELPERS))
    page.write_text("```python\nint('x')  # raises TypeError\n```\n")
    with pytest.raises(AssertionError, match="the page says TypeError"):
        run_page(page, dict(HELPERS))
    page.write_text("```python\nint('x')  # raises ValueError: no such text\n```\n")
    with pytest.raises(AssertionError, match="no such text"):
        run_page(page, dict(HELPERS))
    page.write_text("```python\nint('1')  # raises ValueError\n```\n")
    with pytest.raises(AssertionError, match="it gives 1"):
        run_page(page, dict(HELPERS))
    page.write_text("```python\nn = 1\n```\n\n```python\nn  # -> 1\nn + undefined\n```\n")
    with pytest.raises(NameError) as caught:
        run_page(page, dict(HELPERS))
    assert caught.traceback[-1].lineno == 6
