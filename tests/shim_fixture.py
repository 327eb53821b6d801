"""Programs that run with a function of ours in libc's place, for what a test machine does not have.

A network file system, a wall clock that jumps. Compiled with the compiler that built the package; preloaded into the child
alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def output_under(shim: str, program: str, folder: Path) -> str:
    """Run a Python program whose libc is shadowed by some C; return what it prints, stripped.

    Args:
        shim: C source whose functions go before those of libc; `real(name)` is libc's own.
        program: what the child runs.
        folder: where the library is put.
    """
    source, library = folder / "shim.c", folder / "shim.so"
    head = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#define real(name) dlsym(RTLD_NEXT, name)\n"
    source.write_text(head + shim)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    done = subprocess.run([sys.executable, "-c", program], env=os.environ | {"LD_PRELOAD": str(library)}, text=True,
                          capture_output=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
