"""Holds the .def lists together with what is derived from them: classes, help texts, tests, enum order."""

from __future__ import annotations

import builtins
import inspect
import re
from pathlib import Path

import pytest

from fridge import errors
from fridge._native import check, error_buffer, error_class, ffi, lib, text

ROOT = Path(__file__).resolve().parent.parent
INTERNAL = {"OK", "RETRY", "GROW", "RECLAIM", "RELOCK"}  # never leave the engine


def statuses() -> list[str]:
    """Return the names of all rows of status.def, as the library knows them."""
    return [text(lib.fridge_status_name(i)) for i in range(lib.fridge_status_count())]


def classes() -> dict[str, type[errors.FridgeError]]:
    """Return all exception classes of fridge.errors but the base."""
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.FridgeError) and value is not errors.FridgeError
    }


def rows(path: str) -> list[str]:
    """Return the first columns of the X(...) rows of a .def file."""
    return re.findall(r"^X\(\s*\"?([\w|-]+)", (ROOT / "csrc" / path).read_text(), re.M)


# --- statuses ------------------------------------------------------------------------------------------------------


def test_the_library_has_the_rows_of_status_def() -> None:
    assert statuses() == rows("status.def")


@pytest.mark.parametrize("status", range(lib.fridge_status_count()), ids=statuses())
def test_each_status_names_a_class(status: int) -> None:
    name = text(lib.fridge_status_exception(status))
    if statuses()[status] in INTERNAL:
        assert name == "None"
    else:
        assert name in classes(), f"fridge.errors has no {name}"
        assert text(lib.fridge_status_message(status))
        assert text(lib.fridge_status_prefix(status)).isupper()


def test_each_class_is_named_by_a_status() -> None:
    named = {text(lib.fridge_status_exception(i)) for i in range(lib.fridge_status_count())}
    assert set(classes()) <= named


@pytest.mark.parametrize("cls", classes().values(), ids=classes())
def test_each_class_is_a_builtin_error_too_and_says_what_it_means(cls: type[errors.FridgeError]) -> None:
    parents = [c for c in cls.__mro__ if vars(builtins).get(c.__name__) is c]
    assert set(parents) - {Exception, BaseException, object}, f"{cls.__name__} is no builtin error"
    assert cls.__doc__
    assert cls.__doc__.count("\n") == 0
    assert str(cls("said")) == "said"


@pytest.mark.parametrize("status", [i for i, name in enumerate(statuses()) if name not in INTERNAL])
def test_check_raises_the_class_with_the_message(status: int) -> None:
    with pytest.raises(errors.FridgeError) as caught:
        check(status)
    assert type(caught.value) is error_class(status)
    assert str(caught.value) == text(lib.fridge_status_message(status))
    assert caught.value.status == statuses()[status]


def test_check_prefers_the_particulars() -> None:
    err = error_buffer()
    ffi.memmove(err, b"table users: no column agee\0", 28)
    with pytest.raises(KeyError, match="table users: no column agee"):
        check(statuses().index("COLUMN"), err)


def test_check_lets_success_pass() -> None:
    check(0)


def test_an_unknown_status_is_still_an_error() -> None:
    with pytest.raises(errors.FridgeError):
        check(lib.fridge_status_count())


# --- statistics ----------------------------------------------------------------------------------------------------


def test_each_statistic_has_kind_and_help() -> None:
    names = [text(lib.fridge_stat_name(i)) for i in range(lib.fridge_stat_count())]
    assert names == rows("stats.def")
    for i, name in enumerate(names):
        assert text(lib.fridge_stat_kind(i)) in {"COUNTER", "GAUGE"}, name
        assert len(text(lib.fridge_stat_help(i))) > 10, name


def test_each_statistic_is_counted_somewhere() -> None:
    sources = list((ROOT / "csrc").rglob("*.[ch]")) + list((ROOT / "fridge").rglob("*.py"))
    together = "\n".join(p.read_text() for p in sources)
    silent = [name for name in rows("stats.def") if not re.search(rf"""STAT_{name}\b|["']{name}["']""", together)]
    assert not silent, f"declared in stats.def and never counted: {silent}"


# --- commands ------------------------------------------------------------------------------------------------------


def summaries() -> dict[str, str]:
    """Return name and summary of all rows of the command table."""
    facts = ffi.new("command_facts *")
    found: dict[str, str] = {}
    for i in range(lib.fridge_command_count()):
        assert lib.fridge_command(i, facts)
        found[text(facts.name)] = text(facts.summary)
    return found


def commands() -> list[str]:
    """Return the names of all rows of the command table."""
    return list(summaries())


def test_the_library_has_the_rows_of_commands_def() -> None:
    found = re.findall(r'^X\(\w+, "([^"]+)"', (ROOT / "csrc" / "wire" / "commands.def").read_text(), re.M)
    assert len(found) == lib.fridge_command_count()
    assert found == commands()


def test_each_command_has_a_summary() -> None:
    short = [name for name, summary in summaries().items() if len(summary) < 10]
    assert not short, f"without a summary in commands.def: {short}"


def test_each_command_that_writes_is_killed_at_every_store() -> None:
    """Hold the rows of tests/crash/operations.def that a session runs against the rows of commands.def that write."""
    operations = (ROOT / "tests" / "crash" / "operations.def").read_text()
    pipelines = " | ".join(re.findall(r'"RESP ([^\n]*)', operations))
    killed = {first.lower() for first in re.findall(r"(?:^|\| )([A-Z]+)", pipelines)}
    killed |= {"|".join(words).lower() for words in re.findall(r"(?:^|\| )([A-Z]+) ([A-Z]+)", pipelines)}
    table = (ROOT / "csrc" / "wire" / "commands.def").read_text()
    writing = re.findall(r'^X\(\w+, "([^"]+)", \w+, -?\d+, ([^\n]*)', table, re.M)
    assert len(writing) == lib.fridge_command_count()
    alive = [name for name, flags in writing if "C_WRITE" in flags and name not in killed]
    assert not alive, f"commands that write and that enumerate.c does not kill: {alive}"


def test_each_command_is_named_by_a_test() -> None:
    tests = [p for p in (ROOT / "tests").rglob("*") if p.suffix in {".py", ".c", ".h", ".txt", ".resp"}]
    tests.remove(Path(__file__).resolve())
    together = "\n".join(p.read_text(errors="replace") for p in tests).upper()
    words = set(re.findall(r"[A-Z][A-Z.0-9-]+", together))
    silent = [name for name in commands() if not set(name.upper().split("|")) <= words]
    assert not silent, f"commands that no test names: {silent}"
