"""The pages in docs/ are programs: the ```python blocks of a page run in order, in one namespace, on a segment of its own.

So are the examples of Table's methods, which are C and have no other doctest.

A block that ends with a comment `# -> value` on a line says what the expression before it gives, and is held to it. A
block that is not to be run (another language's, a fragment) is simply no ```python block.
"""

from __future__ import annotations

import doctest
import math
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fridge
from fridge import _hot

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
SAYS = re.compile(r"^(?P<code>\S.*?)\s+#\s*->\s*(?P<value>.+)$")

PAGES = sorted(path for path in DOCS.glob("*.md") if BLOCK.search(path.read_text()))


def check_lines(source: str, first: int) -> str:
    """Return a block in which each line `expression  # -> value` is an assertion, at the page's line numbers."""
    lines = []
    for line in source.splitlines():
        says = SAYS.match(line)
        lines.append(f"_check({says['code']}, {says['value']!r}, globals())" if says else line)
    return "\n" * first + "\n".join(lines) + "\n"


def check(found: Any, value: str, names: dict[str, Any]) -> None:
    """Compare what an expression gave with what the page says."""
    if value.endswith("Error"):
        raise AssertionError(f"{found!r} came, where the page says {value}")
    wanted = eval(value, names)
    assert found == wanted, f"the page says {wanted!r}, it is {found!r}"
    assert type(found) is type(wanted), f"the page says {wanted!r}, it is the {type(found).__name__} {found!r}"


def run_page(path: Path, names: dict[str, Any]) -> int:
    """Run the blocks of a page; how many lines said what they give."""
    text, said = path.read_text(), 0
    for block in BLOCK.finditer(text):
        source = check_lines(block[1], text[: block.start(1)].count("\n"))
        said += source.count("_check(") + len(re.findall(r"^assert ", source, re.M))
        exec(compile(source, str(path), "exec", dont_inherit=True), names)
    return said


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_runs(path: Path, segment_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRIDGE_SEGMENT", str(segment_path))
    monkeypatch.chdir(tmp_path)
    page = ModuleType("page")  # a real one: dataclasses look up their module
    monkeypatch.setitem(sys.modules, "page", page)
    with fridge.open(segment_path, size="64mb") as f:
        vars(page).update(f=f, fridge=fridge, _check=check)
        assert run_page(path, vars(page)) > 0, "the page shows no result that is checked"


METHODS = sorted(name for name, method in vars(_hot.Table).items() if callable(method) and not name.startswith("_"))


@pytest.mark.parametrize("name", METHODS)
def test_the_examples_of_a_tables_methods_run(name: str, segment_path: Path) -> None:
    with fridge.open(segment_path, size="16mb") as f:
        rate = f.table("rate", {"count": "int32", "reset": "int64", "note": "str:64"}, capacity=10)
        text = str(getattr(fridge.Table, name).__doc__)
        examples = doctest.DocTestParser().get_doctest(text, {"rate": rate, "inf": math.inf}, name, None, None)
        assert examples.examples, "a method of the surface has an example"
        assert doctest.DocTestRunner().run(examples).failed == 0


def test_there_are_pages() -> None:
    assert DOCS / "tables.md" in PAGES


def test_a_wrong_page_is_found_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Text\n```python\nn = 1\nn + 1  # -> 3\n```\n")
    with pytest.raises(AssertionError, match="the page says 3, it is 2"):
        run_page(page, {"_check": check})
    page.write_text("```python\nTrue  # -> 1\n```\n")
    with pytest.raises(AssertionError, match="bool"):
        run_page(page, {"_check": check})
    page.write_text("```python\nn = 1\n```\n\n```python\nn  # -> 1\nn + undefined\n```\n")
    with pytest.raises(NameError) as caught:
        run_page(page, {"_check": check})
    assert caught.traceback[-1].lineno == 6
