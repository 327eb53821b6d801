"""No line of the engine that stores shared bytes is left out of the enumeration.

``enumerate.c`` kills what ``operations.def`` says. Whether that is everything is asked of the compiler here: the engine is
built with line counters, every operation runs in every state, and each line of ``csrc/shm`` and ``csrc/store`` that calls one
of the access functions, or puts a record into a write set, must have run. (That each *command* has an operation is
``test_defs.py``'s business.)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = [*sorted((ROOT / "csrc" / "shm").glob("*.c")), *sorted((ROOT / "csrc" / "store").glob("*.c"))]
REST = [
    *sorted((ROOT / "csrc" / "wire").glob("*.c")),
    *sorted((ROOT / "csrc").glob("*.c")),
]
MAIN = re.compile(r"^(int )?main *\(", re.M)  # a program, as tests.cmake tells them
HARNESS = [
    source
    for source in sorted((ROOT / "tests" / "crash").glob("*.c"))
    if source.stem == "enumerate" or not MAIN.search(source.read_text())
]
FLAGS = [
    "-std=gnu11",
    "-fno-strict-aliasing",
    "-DFRIDGE_HOOKS",
    "-D_GNU_SOURCE",
    '-DFRIDGE_VERSION=""',
    '-DFRIDGE_FLAGS=""',
]
INCLUDES = [f"-I{ROOT / folder}" for folder in ("csrc", "tests/c", "tests/crash")]
STORES = re.compile(r"\b(st8|cas4|cas16|fill|touch1|txn_put|txn_put_kind|txn_put_over|txn_put_slow)\(")
DAMAGE = "->damaged"  # the mark that a journal cannot be: no death leaves one, the fuzzer of segment files does


def build(folder: Path) -> Path:
    """Build enumerate in folder, with line counters in the engine proper, and return the program."""
    wide = ["-mcx16"] if os.uname().machine == "x86_64" else []

    def compile_one(source: Path) -> Path:
        made = folder / f"{source.parent.name}_{source.stem}.o"
        how = ["-O0", "-g", "--coverage"] if source in ENGINE else ["-O1"]
        subprocess.run(
            ["gcc", *FLAGS, *wide, *how, *INCLUDES, "-c", str(source), "-o", str(made)], check=True, cwd=folder
        )
        return made

    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        objects = [str(made) for made in pool.map(compile_one, [*ENGINE, *REST, *HARNESS])]
    program = folder / "enumerate"
    subprocess.run(["gcc", "--coverage", *objects, "-lm", "-lpthread", "-o", str(program)], check=True, cwd=folder)
    return program


def counts(folder: Path, source: Path) -> dict[int, int]:
    """Return how often each line of source that has code has run."""
    data = folder / f"{source.parent.name}_{source.stem}.gcda"
    done = subprocess.run(["gcov", "--json-format", "--stdout", str(data)], check=True, cwd=folder, capture_output=True)
    files = json.loads(done.stdout)["files"]
    lines = [line for file in files if Path(file["file"]).name == source.name for line in file["lines"]]
    ran: dict[int, int] = {}
    for line in lines:
        ran[line["line_number"]] = ran.get(line["line_number"], 0) + line["count"]
    return ran


def check_sums(program: Path, shards: list[Path]) -> None:
    """The shards have every operation once: their sum says so, and says no when one is missing or there twice."""

    def sum_of(*files: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, "--sum", *files], capture_output=True, text=True, check=False)

    both = sum_of(*shards)
    assert both.returncode == 0, both.stderr
    triples = [int(text) for shard in shards for text in re.findall(r"(\d+) triples", shard.read_text())]
    assert f" {sum(triples)} triples\n" in both.stdout
    assert all(triples)
    missing, twice = sum_of(shards[0]), sum_of(shards[0], *shards)
    assert missing.returncode == 1
    assert "in no shard" in missing.stderr
    assert twice.returncode == 1
    assert "FAILED twice" in twice.stderr


@pytest.mark.timeout(900)  # half a minute of a processor, and other tests may want it, too
@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("gcov")), reason="line counters need gcc and gcov")
def test_every_line_that_stores_is_killed(tmp_path: Path) -> None:
    program = build(tmp_path)
    short = {name: value for name, value in os.environ.items() if name != "FRIDGE_PROOF"}
    shards = [tmp_path / f"shard-{i}" for i in (1, 2)]
    for i, shard in enumerate(shards, 1):
        command = [str(program), "--quick", "--histories", "0", "--shard", f"{i}/2"]
        with shard.open("w") as out:
            done = subprocess.run(
                command, cwd=tmp_path, env=short, stdout=out, stderr=subprocess.PIPE, text=True, check=False
            )
        assert done.returncode == 0, shard.read_text()[-2000:] + done.stderr[-2000:]
    check_sums(program, shards)
    stores, silent = 0, []
    for source in ENGINE:
        ran = counts(tmp_path, source)
        for number, line in enumerate(source.read_text().splitlines(), 1):
            code = line.split("/*")[0]
            if number not in ran or not line.startswith(" ") or not STORES.search(code) or DAMAGE in code:
                continue
            stores += 1
            if ran[number] == 0:
                silent.append(f"{source.relative_to(ROOT)}:{number}: {line.strip()}")
    assert stores > 100
    assert not silent, "lines that store and that no operation reaches:\n" + "\n".join(silent)
