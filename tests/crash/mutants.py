"""Mutation of the harness: seeded bugs, each of which a named test must find.

`mutants.toml` has a row for each: the exact old text in a file, the new text, and the test that kills it. A row is
applied to a copy of the tree, the killer is built and run for a bounded time. A killer is a C program of tests/ (hooks
on, as the C tests are) or a pytest file of tests/ and its arguments: that runs with the copy's Python and with a
libfridge.so of the copy's C, below the extension modules as they are installed. Killed means that the killer said
FAILED, hung where the row says it may, or died. A row whose old text is not in its file
exactly once is an error, as is an unmutated killer that does not pass: the code has moved on, and the row has to follow.

Rows with `survives` are equivalent: they say why no test can tell them apart, and nothing is run.

    python tests/crash/mutants.py [--only TEXT] [--quick] [--jobs N]   run them, print the table; exit status 1 on a survivor
    python tests/crash/mutants.py --readme                             write the table of README.md

Leaves out: mutants of the Spin model (../test_model.py has its own), and of csrc/python/ (nothing is compiled against
Python.h here).
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TABLE = HERE / "mutants.toml"
README = HERE / "README.md"
OBJECTS = ROOT / "build" / "mutants"
COPIED = ("csrc", "fridge", "tests")
FLAGS = ["-std=gnu11", "-O1", "-w", "-fno-strict-aliasing", "-D_GNU_SOURCE", "-DFRIDGE_HOOKS", "-Icsrc", "-Itests/c",
         "-Itests/crash", "-Itests/fuzz", '-DFRIDGE_VERSION="0"', '-DFRIDGE_FLAGS=""']
SHARED = [flag for flag in FLAGS if flag != "-DFRIDGE_HOOKS"] + ["-fPIC", "-fvisibility=hidden"]  # libfridge.so, as it is installed
PYTEST = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout=60"]
# `fridge` is the tree's: an editable install's finder would come before PYTHONPATH.
SITE = "import sys\nsys.meta_path[:] = [f for f in sys.meta_path if 'Redirecting' not in type(f).__name__]\n"
MACHINE = ["-mcx16"] if os.uname().machine in ("x86_64", "AMD64") else []
BEGIN, END = "<!-- mutants: written by mutants.py --readme -->", "<!-- /mutants -->"
COUNTS = re.compile(r"(\d[\d,]*) (triples|schedules|cases|passed)")


@dataclass(frozen=True)
class Edit:
    """One replacement: `old` stands exactly once in `file`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A row of the table."""

    name: str
    what: str
    edits: tuple[Edit, ...]
    killer: str = ""
    seconds: float = 120
    hangs: bool = False
    quick: bool = False
    survives: str = ""


@dataclass
class Outcome:
    """What came of running a killer."""

    failed: bool
    seconds: float
    count: str
    text: str = field(repr=False)


class TableError(Exception):
    """The table does not fit the code, or a killer does not pass without a mutant."""


# --- the table -------------------------------------------------------------------------------------------------------


def read_table(path: Path = TABLE) -> list[Mutant]:
    """Return the rows, checked for what can be checked without running anything."""
    mutants = []
    for row in tomllib.loads(path.read_text())["mutant"]:
        row["edits"] = tuple(Edit(**edit) for edit in row.pop("edit"))
        mutants.append(Mutant(**row))
    names = [mutant.name for mutant in mutants]
    for name in names:
        if names.count(name) > 1:
            raise TableError(f"two mutants are called {name!r}")
    for mutant in mutants:
        if bool(mutant.killer) == bool(mutant.survives):
            raise TableError(f"{mutant.name}: says either its killer or why it survives")
        for file, text in mutated(mutant, ROOT).items():
            if text == (ROOT / file).read_text():
                raise TableError(f"{mutant.name}: changes nothing in {file}")
    return mutants


def mutated(mutant: Mutant, tree: Path) -> dict[str, str]:
    """Return the changed files' texts.

    Raises:
        TableError: an old text is not there exactly once.
    """
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        text = texts.get(edit.file) or (tree / edit.file).read_text()
        if text.count(edit.old) != 1:
            raise TableError(f"{mutant.name}: {edit.file} has its old text {text.count(edit.old)} times, not once:\n{edit.old}")
        texts[edit.file] = text.replace(edit.old, edit.new)
    return texts


# --- building --------------------------------------------------------------------------------------------------------


def expand(text: str, cmake: str) -> str:
    """Return text with ${variables} as the set() and list(REMOVE_ITEM) before it have left them."""
    for name, words in re.findall(r"set\((\w+) ([^)]*)\)", cmake):
        removed = [word for item in re.findall(rf"list\(REMOVE_ITEM {name} ([^)]*)\)", cmake) for word in item.split()]
        text = text.replace(f"${{{name}}}", ";".join(word for word in words.split() if word not in removed))
    return text


def is_python(program: str) -> bool:
    """Is a killer's first word a pytest file, or one test of it?"""
    return program.partition("::")[0].endswith(".py")


def sources(tree: Path, program: str) -> tuple[list[str], list[str]]:
    """Return what a program (c/test_X, crash/X, fuzz/X) is made of, and the linker options it needs."""
    folder, _, name = program.partition("/")
    main = f"tests/{folder}/{name}.c"
    shared, options = [], []
    if folder == "crash":
        starts = re.compile(r"^(int )?main *\(", re.M)
        shared = [f"tests/crash/{path.name}" for path in sorted((tree / "tests/crash").glob("*.c"))
                  if not starts.search(path.read_text())]
    elif folder == "fuzz":
        cmake = (tree / "csrc/tests.cmake").read_text()
        call = re.search(rf"fuzz_program\({name} \"?([^ \"]+)\"?((?: |\n)[^)]*)\)", cmake)
        if not call:
            raise TableError(f"csrc/tests.cmake does not build {program}")
        shared = [f"tests/{file}" for file in expand(call[1], cmake[: call.start()]).split(";")]
        options = [f"-Wl,--wrap={function}" for function in call[2].split()]
    layers = ["shm/*.c", "store/*.c"]
    if folder != "c" or re.search('#include "(wire/|fridge|hot)', (tree / main).read_text()):
        layers += ["wire/*.c", "fridge*.c", "hot*.c"]
    engine = [str(path.relative_to(tree)) for layer in layers for path in sorted((tree / "csrc").glob(layer))]
    return [main, *shared, *engine], options


class Builder:
    """Compiles in one tree; objects are shared by content, so that a mutant costs what it changes."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.headers: dict[str, list[str]] = {}

    def _compiler(self, flags: list[str], *more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([os.environ.get("CC", "cc"), *flags, *MACHINE, *more], cwd=self.tree, capture_output=True, text=True)
        if done.returncode:
            raise TableError(f"does not compile:\n{done.stderr}")
        return done

    def _dependencies(self, source: str) -> list[str]:
        if source not in self.headers:
            rule = self._compiler(FLAGS, "-MM", source).stdout.replace("\\\n", " ")
            self.headers[source] = rule.split(":", 1)[1].split()
        return self.headers[source]

    def _object(self, source: str, flags: list[str]) -> Path:
        digest = hashlib.sha256(repr([flags, MACHINE, source]).encode())
        for file in self._dependencies(source):
            digest.update((self.tree / file).read_bytes())
        out = OBJECTS / f"{Path(source).stem}-{digest.hexdigest()[:24]}.o"
        if not out.exists():
            fresh = out.with_suffix(f".{os.getpid()}.{id(self)}")
            self._compiler(flags, "-c", source, "-o", str(fresh))
            fresh.rename(out)
        return out

    def build(self, program: str, to: Path) -> None:
        """Build tests/<program>.c of this tree."""
        files, options = sources(self.tree, program)
        self._compiler(FLAGS, *(str(self._object(file, FLAGS)) for file in files), *options, "-lm", "-lpthread", "-o", str(to))

    def build_package(self) -> None:
        """Make the tree's fridge/ one that can be imported: a libfridge.so of this tree, beside the installed modules."""
        layers = ("shm/*.c", "store/*.c", "wire/*.c", "fridge*.c", "hot*.c")
        engine = [path for layer in layers for path in (self.tree / "csrc").glob(layer)]
        objects = [str(self._object(str(path.relative_to(self.tree)), SHARED)) for path in sorted(engine)]
        self._compiler(SHARED, "-shared", *objects, "-lm", "-lpthread", "-Wl,-z,defs", "-o", "fridge/libfridge.so")
        for module in ("_hot", "_native._fridge"):
            found = importlib.util.find_spec(f"fridge.{module}")
            if not found or not found.origin:
                raise TableError(f"fridge.{module} is not installed: make test does it")
            folder = self.tree / "fridge" / Path(*module.split(".")[:-1])
            shutil.copy(found.origin, folder)
        (self.tree / "sitecustomize.py").write_text(SITE)


def copy_tree(to: Path) -> Path:
    """Copy what a killer is built from."""
    for folder in COPIED:
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


# --- running ---------------------------------------------------------------------------------------------------------


def run_killer(command: list[str], tree: Path, seconds: float) -> Outcome:
    """Run a built killer, for at most so long. A group of its own: a killer's children end with it."""
    began = time.monotonic()
    variables = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               cwd=tree, env=variables, process_group=0, text=True, errors="replace")
    try:
        text, _ = process.communicate(timeout=seconds)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        text, _ = process.communicate()
        status = None
    took = time.monotonic() - began
    counted = COUNTS.findall(text)
    count = " ".join(counted[0]) if counted else ""
    if status is None:
        return Outcome(True, took, "hung", text)
    return Outcome(status != 0, took, count, text)


def says_so(outcome: Outcome, mutant: Mutant) -> bool:
    """Is it the killer that found something? A program that could not do its work has shown nothing."""
    if outcome.count == "hung":
        return mutant.hangs
    return outcome.failed and re.search(r"FAILED|HUNG|violation|CHECK|damaged|[1-9]\d* failed|\A\Z", outcome.text) is not None


class Workshop:
    """Trees for several workers, and what unmutated killers have answered."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self.trees: SimpleQueue[Builder] = SimpleQueue()
        for i in range(jobs):
            self.trees.put(Builder(copy_tree(folder / f"tree-{i}")))

    def run(self, mutant: Mutant) -> Outcome:
        """Build one mutant's killer and run it; with no edits, the killer as it is."""
        builder = self.trees.get()
        kept = {edit.file: (builder.tree / edit.file).read_text() for edit in mutant.edits}
        program, *arguments = shlex.split(mutant.killer)
        binary = builder.tree / "killer"
        try:
            for file, text in mutated(mutant, builder.tree).items():
                (builder.tree / file).write_text(text)
            if is_python(program):
                builder.build_package()
                command = [*PYTEST, f"tests/{program}", *arguments]
            else:
                builder.build(program, binary)
                command = [str(binary), *arguments]
            return run_killer(command, builder.tree, mutant.seconds)
        finally:
            for file, text in kept.items():
                (builder.tree / file).write_text(text)
            self.trees.put(builder)


def unmutated(mutants: list[Mutant]) -> Iterator[Mutant]:
    """Return a row without edits for each killer that the mutants name, with the shortest time any of them gets."""
    for killer in dict.fromkeys(mutant.killer for mutant in mutants):
        seconds = min(mutant.seconds for mutant in mutants if mutant.killer == killer)
        yield Mutant("(unmutated)", "", (), killer, seconds)


def judge(workshop: Workshop, mutant: Mutant) -> bool:
    """Run one row and print its line; False when it is not as it should be."""
    try:
        outcome = workshop.run(mutant)
    except TableError as error:
        print(f"ERROR    | {mutant.name}: {error}", flush=True)
        return False
    good = says_so(outcome, mutant) if mutant.edits else not outcome.failed
    word = ("killed" if good else "SURVIVED") if mutant.edits else ("passes" if good else "FAILS")
    print(f"{word:8} | {mutant.name:42} | {mutant.killer:58} | {outcome.seconds:5.1f} s | {outcome.count}", flush=True)
    if not good or os.environ.get("FRIDGE_TRACE"):
        print(outcome.text[-2500:], flush=True)
    return good


def run(mutants: list[Mutant], jobs: int) -> bool:
    """Run killers as they are, then every mutant that is to be killed; print the table. Returns whether all is well."""
    OBJECTS.mkdir(parents=True, exist_ok=True)
    to_kill = [mutant for mutant in mutants if mutant.killer]
    with tempfile.TemporaryDirectory(prefix="fridge-mutants-") as folder, ThreadPoolExecutor(jobs) as pool:
        workshop = Workshop(Path(folder), jobs)
        passed = list(pool.map(lambda row: judge(workshop, row), unmutated(to_kill)))
        killed = list(pool.map(lambda row: judge(workshop, row), to_kill))
    for mutant in mutants:
        if mutant.survives:
            print(f"{'same':8} | {mutant.name:42} | {mutant.survives}")
    print(f"{sum(killed)} of {len(killed)} mutants killed, {len(mutants) - len(to_kill)} equivalent; "
          f"{sum(passed)} of {len(passed)} killers pass unmutated")
    return all(passed) and all(killed)


# --- README ----------------------------------------------------------------------------------------------------------


def readme_text(mutants: list[Mutant]) -> str:
    """Return README.md with the table of mutants as it has to be."""
    rows = ["| seeded bug | what it does | killed by |", "|---|---|---|"]
    rows += [f"| {m.name} | {m.what} | {'`' + m.killer + '`' if m.killer else 'nothing: ' + m.survives} |" for m in mutants]
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    return before + "\n".join([BEGIN, *rows, END]) + after


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="seeded bugs, each of which a named test must find")
    parser.add_argument("--only", default="", help="mutants whose names have this pattern")
    parser.add_argument("--quick", action="store_true", help="the few that make test runs")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 2, 8))
    parser.add_argument("--readme", action="store_true", help="write the table of README.md and run nothing")
    options = parser.parse_args()
    mutants = read_table()
    if options.readme:
        README.write_text(readme_text(mutants))
        return 0
    chosen = [m for m in mutants if re.search(options.only, m.name) and (m.quick or not options.quick)]
    return 0 if chosen and run(chosen, max(1, options.jobs)) else 1


if __name__ == "__main__":
    sys.exit(main())
