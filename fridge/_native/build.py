"""Writes the C source of the cffi module `fridge._native._fridge` out of the engine's headers.

Run by csrc/python.cmake: ``python build.py <csrc> <out.c>``. What Python may call is what the headers below export:
their sections between the #include lines and the last #endif hold no preprocessor line and are read word for word, so
that no declaration stands twice. FRIDGE_API, a visibility attribute, is the one word taken out.

Leaves out: compiling and linking, which CMake does.
"""

from __future__ import annotations

import sys
from pathlib import Path

HEADERS = ("fridge.h", "fridge_wait.h", "wire/session.h", "fridge_sockets.h", "wire/command.h")
"""Exported headers, in an order in which each knows the types of those before it. Absent ones are left out."""

PYTHON_MARK = "/* --- for Python"
"""Begins the exported part of a header whose other parts are the engine's own."""


def middle(header: str, text: str) -> str:
    """Return the part of a header that cffi reads.

    Args:
        header: the header's name, for the error message.
        text: its contents.

    Returns:
        What stands between the last #include, or the line that begins with PYTHON_MARK, and the last #endif, without
        FRIDGE_API.

    Raises:
        ValueError: a preprocessor line stands in that part.
    """
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(PYTHON_MARK)]
    first = (starts or [i for i, line in enumerate(lines) if line.startswith("#include")])[-1] + 1
    last = max(i for i, line in enumerate(lines) if line.startswith("#endif"))
    for number, line in enumerate(lines[first:last], first + 1):
        if line.lstrip().startswith("#"):
            raise ValueError(f"{header}:{number}: cffi cannot read a preprocessor line: {line}")
    return "\n".join(lines[first:last]).replace("FRIDGE_API ", "") + "\n"


def exported(csrc: Path) -> list[str]:
    """Return the names of the exported headers that exist under csrc."""
    return [name for name in HEADERS if (csrc / name).exists()]


def definitions(csrc: Path) -> str:
    """Return the declarations of all exported headers, as cffi takes them."""
    return "".join(middle(name, (csrc / name).read_text()) for name in exported(csrc))


def write(csrc: Path, out: Path) -> None:
    """Write the module's C source.

    Args:
        csrc: the folder of the engine's sources.
        out: the file to write.
    """
    from cffi import FFI

    ffi = FFI()
    ffi.cdef(definitions(csrc))
    includes = "".join(f'#include "{name}"\n' for name in exported(csrc))
    ffi.set_source("fridge._native._fridge", includes)
    ffi.emit_c_code(str(out))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
