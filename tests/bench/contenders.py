"""What the storm of peers_crash.py is let loose on: a pair of words that must stay equal, kept by different means.

Each contender keeps the pair in files of a folder and offers the same few verbs. The section in which a holder is killed
is as long as its means make it: the mutex's and lmdb's is ours (a few microseconds), fridge's is the engine's own.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import lmdb

import fridge
from fridge import errors
from fridge._native import lib, text

SOURCE = Path(__file__).with_name("robust.c")
WORK = 10_000  # turns of a loop inside the mutex: some 3 us, about as long as lmdb is inside
WORDS = 12  # copies of the number in fridge's value: more than one 64-byte block
PAIR = struct.Struct("<Q")


@dataclass(frozen=True)
class Outcome:
    """What one operation saw.

    Args:
        number: the pair's value: after an increment, the new one.
        torn: the two words differed, and no dead owner had been reported.
        overlap: somebody else was inside before we left.
        refused: attempts that were refused with the typed error that says so, and repeated.
    """

    number: int
    torn: bool = False
    overlap: bool = False
    refused: int = 0


class Keeper(Protocol):
    """A process's hold of the pair."""

    def add(self, me: int) -> Outcome:
        """Raise both words by one; `me` marks who is inside."""

    def read(self, me: int) -> Outcome:
        """Look at both words."""


class Contender(Protocol):
    """A means to keep the pair."""

    name: str

    def version(self) -> str:
        """Return what is under test."""

    def make(self, place: Path) -> None:
        """Make a fresh pair in an empty folder."""

    def attach(self, place: Path) -> Keeper:
        """Return a process's own hold of it: called after fork."""

    def peek(self, place: Path) -> Outcome:
        """Return the pair as it lies there when every process is gone, without asking for any lock."""


# --- a pthread robust mutex ------------------------------------------------------------------------------------------


class _Outcome(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint64), ("torn", ctypes.c_uint64), ("overlap", ctypes.c_uint64),
                ("dead", ctypes.c_uint64)]  # fmt: skip


@cache
def _robust(folder: str) -> ctypes.CDLL:
    library = Path(folder) / "robust.so"
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-shared", "-fPIC", "-pthread", str(SOURCE),
                    "-o", str(library)], check=True)  # fmt: skip
    return ctypes.CDLL(str(library))


def _map(path: Path) -> Any:
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 0)


class _RobustKeeper:
    def __init__(self, library: ctypes.CDLL, path: Path) -> None:
        self._map = _map(path)
        self._pair = ctypes.c_char.from_buffer(self._map)
        self._out = _Outcome()
        self._add, self._read = library.robust_add, library.robust_read

    def add(self, me: int) -> Outcome:
        return self._result(self._add(ctypes.byref(self._pair), ctypes.c_uint64(me), WORK, ctypes.byref(self._out)))

    def read(self, me: int) -> Outcome:
        return self._result(self._read(ctypes.byref(self._pair), ctypes.c_uint64(me), ctypes.byref(self._out)))

    def _result(self, error: int) -> Outcome:
        if error:
            raise OSError(error, f"pthread_mutex: {os.strerror(error)}")
        return Outcome(self._out.number, bool(self._out.torn), bool(self._out.overlap))


class Robust:
    """A pthread robust mutex over two words.

    Args:
        library: where to put the compiled C file.
        inherit: with the priority inheritance protocol.
    """

    def __init__(self, library: Path, inherit: bool = False) -> None:
        self.name = "pthread robust mutex" + (", PRIO_INHERIT" if inherit else "")
        self._library, self._inherit = _robust(str(library)), inherit

    def version(self) -> str:
        return " ".join(platform.libc_ver()) or "libc of unknown version"

    def make(self, place: Path) -> None:
        path = place / "pair"
        path.write_bytes(bytes(self._library.robust_bytes()))
        error = self._library.robust_make(ctypes.byref(ctypes.c_char.from_buffer(_map(path))), int(self._inherit))
        if error:
            raise OSError(error, os.strerror(error))

    def attach(self, place: Path) -> Keeper:
        return _RobustKeeper(self._library, place / "pair")

    def peek(self, place: Path) -> Outcome:
        first, second = ctypes.c_uint64(), ctypes.c_uint64()
        pair = ctypes.c_char.from_buffer(_map(place / "pair"))
        self._library.robust_peek(ctypes.byref(pair), ctypes.byref(first), ctypes.byref(second))
        return Outcome(first.value)  # a pair that is not whole is what the next owner's repair is for


# --- lmdb ------------------------------------------------------------------------------------------------------------


class _LmdbKeeper:
    """The two words are two keys of one transaction; `inside` is a word beside the database."""

    def __init__(self, place: Path) -> None:
        self._environment = lmdb.open(str(place / "lmdb"), map_size=64 << 20)
        self._inside = memoryview(_map(place / "inside")).cast("Q")

    def add(self, me: int) -> Outcome:
        with self._environment.begin(write=True) as t:
            self._inside[0] = me
            first, second = _numbers(t)
            t.put(b"first", PAIR.pack(first + 1))
            t.put(b"second", PAIR.pack(first + 1))  # mends what was torn: each tear counts once
            overlap = self._inside[0] != me
        return Outcome(first + 1, first != second, overlap)

    def read(self, me: int) -> Outcome:
        with self._environment.begin() as t:
            first, second = _numbers(t)
        return Outcome(first, first != second)


def _numbers(t: Any) -> tuple[int, int]:
    return PAIR.unpack(t.get(b"first"))[0], PAIR.unpack(t.get(b"second"))[0]


class Lmdb:
    """lmdb in its default mode: two keys written in one transaction."""

    name = "lmdb"

    def version(self) -> str:
        return f"lmdb {'.'.join(map(str, lmdb.version()))}, package {lmdb.__version__}"

    def make(self, place: Path) -> None:
        (place / "inside").write_bytes(bytes(8))
        with lmdb.open(str(place / "lmdb"), map_size=64 << 20) as environment, environment.begin(write=True) as t:
            t.put(b"first", PAIR.pack(0))
            t.put(b"second", PAIR.pack(0))

    def attach(self, place: Path) -> Keeper:
        return _LmdbKeeper(place)

    def peek(self, place: Path) -> Outcome:
        with lmdb.open(str(place / "lmdb"), map_size=64 << 20, lock=False, readonly=True) as environment:
            with environment.begin() as t:
                first, second = _numbers(t)
        return Outcome(first, first != second)


# --- fridge ----------------------------------------------------------------------------------------------------------


class _FridgeKeeper:
    """The words are copies in one value, exchanged by version: no section of ours, the engine's latch is inside."""

    def __init__(self, place: Path) -> None:
        self._f = fridge.open(place / "segment", create=False)

    def add(self, me: int) -> Outcome:
        refused = 0
        while True:
            value, version = self._f.get_versioned("pair")
            words = struct.unpack(f"<{WORDS}Q", value)
            try:
                if self._f.cas_version("pair", version, struct.pack("<Q", words[0] + 1) * WORDS):
                    return Outcome(words[0] + 1, len(set(words)) > 1, refused=refused)
            except errors.LatchTimeoutError:  # a live owner without a processor: nothing was changed
                refused += 1

    def read(self, me: int) -> Outcome:
        words = struct.unpack(f"<{WORDS}Q", self._f.get("pair"))
        return Outcome(words[0], len(set(words)) > 1)


class Fridge:
    """fridge, through the mmap door."""

    name = "fridge"

    def version(self) -> str:
        return f"fridge {text(lib.fridge_version())}"

    def make(self, place: Path) -> None:
        with fridge.open(place / "segment", size="4mb") as f:
            f.set("pair", bytes(8 * WORDS))

    def attach(self, place: Path) -> Keeper:
        return _FridgeKeeper(place)

    def peek(self, place: Path) -> Outcome:
        with fridge.open(place / "segment", create=False) as f:
            words = struct.unpack(f"<{WORDS}Q", f.get("pair"))
            findings = f.verify().findings
        return Outcome(words[0], len(set(words)) > 1 or findings > 0)


def all_of_them(library: Path) -> list[Contender]:
    """Return every contender; the C file is compiled into this folder."""
    return [Robust(library), Robust(library, inherit=True), Lmdb(), Fridge()]

