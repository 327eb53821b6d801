"""Holds the layers of design section 3: #include and import lines point one way only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "fridge"

# --- C: a file may include its own layer and those before it -------------------------------------------------------

LAYERS = ["", "shm", "store", "wire", "top", "python"]  # "": base.h and the .def lists
TOP = {path.name for path in (ROOT / "csrc").glob("*.[ch]")} - {"base.h"}
SHM_ORDER = ["access", "layout", "segment", "journal", "recovery", "latch", "stripe_set", "txn", "heap", "index"]
"""Headers of shm: each may include those before it, and so may the .c file of that name."""
KNOTS = {("segment", "latch")}
"""The one exception: a segment that is created or grows takes latches, whose words are in the segment."""

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


def c_files() -> list[Path]:
    """Return all sources and headers of csrc."""
    return sorted(p for p in CSRC.rglob("*") if p.suffix in {".c", ".h"})


def layer(name: str) -> int:
    """Return the number of the layer that a file, named from csrc, belongs to."""
    if name in TOP:
        return LAYERS.index("top")
    folder = name.rpartition("/")[0]
    return LAYERS.index(folder)


def resolve(including: Path, included: str) -> str:
    """Return the name from csrc of what a file includes: siblings may be written without their folder."""
    beside = including.parent / included
    return str((beside if beside.exists() else CSRC / included).relative_to(CSRC))


def includes(path: Path) -> list[str]:
    """Return the names from csrc of all files of ours that a file includes."""
    return [resolve(path, name) for name in INCLUDE.findall(path.read_text())]


@pytest.mark.parametrize("path", c_files(), ids=lambda p: str(p.relative_to(CSRC)))
def test_includes_point_down(path: Path) -> None:
    name = str(path.relative_to(CSRC))
    above = [other for other in includes(path) if layer(other) > layer(name)]
    assert not above, f"{name} includes {above}, which are above it"


@pytest.mark.parametrize("path", sorted((CSRC / "shm").glob("*.h")), ids=lambda p: p.name)
def test_headers_of_shm_keep_their_order(path: Path) -> None:
    known = [p for p in includes(path) if Path(p).parent.name == "shm" and Path(p).stem in SHM_ORDER]
    if path.stem not in SHM_ORDER:
        return
    later = [p for p in known if SHM_ORDER.index(Path(p).stem) >= SHM_ORDER.index(path.stem)]
    assert not later, f"shm/{path.name} includes {later}, which come after it"


@pytest.mark.parametrize("name", [name for name in SHM_ORDER if (CSRC / "shm" / f"{name}.c").exists()])
def test_sources_of_shm_keep_their_order(name: str) -> None:
    known = [Path(p).stem for p in includes(CSRC / "shm" / f"{name}.c") if Path(p).parent.name == "shm"]
    later = [p for p in known if p in SHM_ORDER and SHM_ORDER.index(p) > SHM_ORDER.index(name)]
    later = [p for p in later if (name, p) not in KNOTS]
    assert not later, f"shm/{name}.c includes {later}, which come after it"


def test_headers_include_each_other_in_no_circle() -> None:
    graph = {str(p.relative_to(CSRC)): includes(p) for p in c_files() if p.suffix == ".h"}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name in done:
            return
        for other in graph.get(name, []):
            visit(other, (*way, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("folder", ["shm", "store", "wire"])
def test_the_engine_knows_no_python(folder: str) -> None:
    for path in (CSRC / folder).glob("*.[ch]"):
        assert "Python.h" not in path.read_text(), path


@pytest.mark.parametrize("folder", ["shm", "store"])
def test_the_engine_does_not_print_or_exit(folder: str) -> None:
    forbidden = re.compile(r"\b(printf|puts|perror|exit|abort|fprintf)\s*\(")
    for path in (CSRC / folder).glob("*.c"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(), flags=re.S)
        code = re.sub(r"#ifdef FRIDGE_HOOKS.*?#endif", "", code, flags=re.S)
        found = forbidden.findall(code)
        assert not found, f"{path.name} calls {found}"


def test_sessions_open_no_sockets() -> None:
    for path in (CSRC / "wire").glob("*.[ch]"):
        assert not re.search(r"#include <sys/(socket|epoll)\.h>", path.read_text()), path


# --- C tests mirror the sources ------------------------------------------------------------------------------------

COVERED_BY: dict[str, str] = {
    # engine source without a tests/c/test_X.c of its own -> the test file that covers it
    "fridge.c": "tests/test_native.py",
    "fridge_wait.c": "tests/test_lock.py",
    "hot.c": "tests/test_keys.py",
    "hot_counters.c": "tests/test_counter.py",
    "hot_row.c": "tests/test_table.py",
    "hot_sharded.c": "tests/test_sharded.py",
    "hot_rows.c": "tests/test_table.py",
    "shm/file.c": "tests/c/test_segment.c",
    "shm/format.c": "tests/c/test_segment.c",
    "shm/growth.c": "tests/c/test_segment.c",
    "shm/layout.c": "tests/c/test_segment.c",
    "shm/huge.c": "tests/test_huge.py",
    "shm/recovery.c": "tests/c/test_txn.c",
    "shm/replace.c": "tests/c/test_boot.c",
    "shm/room.c": "tests/c/test_segment.c",
    "store/block.c": "tests/c/test_string.c",
    "store/database.c": "tests/c/test_keyspace.c",
    "store/owner.c": "tests/c/test_lock.c",
    "wire/cmd_lock.c": "tests/compat/test_locks.py",
    "wire/cmd_script.c": "tests/compat/test_locks.py",
    "wire/sha1.c": "tests/compat/test_locks.py",
    "store/room.c": "tests/c/test_store.c",
    "store/sweep.c": "tests/c/test_image.c",
    "store/tree.c": "tests/c/test_hash.c",
    "store/verify.c": "tests/c/test_store.c",
    "wire/cmd_command.c": "tests/compat/test_clients.py",
    "wire/cmd_conn.c": "tests/test_server.py",
    "wire/cmd_counter.c": "tests/compat/test_own_commands.py",
    "wire/cmd_hash.c": "tests/compat/test_differential.py",
    "wire/cmd_key.c": "tests/compat/test_differential.py",
    "wire/cmd_server.c": "tests/compat/test_differential.py",
    "wire/cmd_string.c": "tests/compat/test_differential.py",
    "wire/cmd_table.c": "tests/compat/test_own_commands.py",
    "wire/cmd_txn.c": "tests/compat/test_differential.py",
    "wire/command.c": "tests/compat/test_differential.py",
    "wire/context.c": "tests/compat/test_differential.py",
}


def engine_sources() -> list[str]:
    """Return the names from csrc of all C files that are compiled into libfridge."""
    return sorted(str(p.relative_to(CSRC)) for p in c_files() if p.suffix == ".c" and p.parent.name != "python")


@pytest.mark.parametrize("name", engine_sources())
def test_each_engine_source_has_a_test(name: str) -> None:
    own = ROOT / "tests" / "c" / f"test_{Path(name).stem}.c"
    if own.exists():
        assert name not in COVERED_BY, f"{name} has a test of its own: take it out of COVERED_BY"
        return
    assert name in COVERED_BY, f"{name}: write tests/c/{own.name}, or name the test that covers it in COVERED_BY"
    assert (ROOT / COVERED_BY[name]).exists(), f"{name}: {COVERED_BY[name]} does not exist"


def test_the_table_of_covering_tests_names_real_sources() -> None:
    assert set(COVERED_BY) <= set(engine_sources())


# --- Python --------------------------------------------------------------------------------------------------------

RANKS: list[set[str]] = [
    {"errors", "schema", "config", "path", "reply", "usage", "room", "snapshots", "holder"},  # import nothing else of ours
    {"_native", "_hot", "show"},
    {"segment", "local", "commands", "keys", "hashes", "store", "table", "views", "counter", "sharded", "vars",
     "waiting", "aio", "line", "keeper", "lock", "async_lock",
     "sync"},
    {"server", "metrics", "workers", "dashboard"},
    {"cli"},
    {"__main__"},
]
"""A module may import its own rank and those before it. `fridge` itself (__init__) re-exports the objects."""

OBJECTS = 2


def python_files() -> list[Path]:
    """Return all modules of the package, stubs left out."""
    return sorted(PACKAGE.rglob("*.py"))


def rank(module: str) -> int:
    """Return the rank of a module of ours, by the first name below `fridge`."""
    if module == "":
        return OBJECTS  # the package itself: what it re-exports
    for number, names in enumerate(RANKS):
        if module in names:
            return number
    raise AssertionError(f"fridge.{module} has no rank: add it to RANKS in tests/test_layers.py")


def own_name(path: Path) -> str:
    """Return the first name below `fridge` of a file: "server" for fridge/server/doors.py, "" for __init__.py."""
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return the first names below `fridge` of everything of ours that a file imports, for types only or not."""
    names: set[str] = set()
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            full = [f"{module}.{alias.name}" for alias in node.names] if module == "fridge" else [module]
        else:
            continue
        for name in full:
            parts = name.split(".")
            if parts[0] == "fridge":
                names.add(parts[1] if len(parts) > 1 and is_module(parts[1]) else "")
    return names


def is_module(name: str) -> bool:
    """Say whether `fridge.name` is a module, a package or an extension, rather than something re-exported."""
    return name in {"_hot"} or (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = own_name(path)
    above = {name for name in imported(path) if rank(name) > rank(own)}
    assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}, which are above it"


@pytest.mark.parametrize("name", sorted(RANKS[0]))
def test_the_lowest_modules_import_nothing_of_ours_but_errors(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    if path.exists():
        assert imported(path) <= {"errors"}


def test_servers_do_not_import_workers() -> None:
    for path in python_files():
        if own_name(path) in {"server", "metrics"}:
            assert "workers" not in imported(path), path
        if own_name(path) == "workers":
            assert "server" not in imported(path), path


def test_only_native_imports_the_extension() -> None:
    others = [p for p in python_files() if "_native._fridge" in p.read_text() and p.parent.name != "_native"]
    assert not others
