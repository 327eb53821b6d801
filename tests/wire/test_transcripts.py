"""The transcripts of this folder: each section fed whole, byte by byte, and each request with a tail of the next.

The bytes that come back are compared after every piece, so that a reply that comes early, late, twice or in part is seen.
Every command of commands.def stands in some transcript, every file is in both protocols, and every file shows an error.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fridge._native import ffi, lib
from fridge.reply import request
from fridge.segment import Segment

from ..compat.raw import Wire
from ..server_fixture import Server, serving
from .transcript import Section, Transcript, transcripts

ALL = transcripts()
CASES = [(t, s) for t in ALL for s in t.sections]
IDS = [f"{t.path.stem}: {s.name}, RESP{s.protocol}" for t, s in CASES]
LIMITS = {"query_limit": 1 << 24, "output_soft": 1 << 24, "output_hard": 1 << 24, "max_bulk": 1 << 20, "max_args": 1 << 20}


class Inside:
    """A session in this process: every piece is one session_feed, and what came back is all that will."""

    def __init__(self, segment: Segment, protocol: int) -> None:
        self._facts = ffi.new("server_facts *", LIMITS | {"command_cells": len(segment.cells)})
        self._session = lib.session_new(segment.store, self._facts, 7)
        self._out = ffi.new("fridge_output *")
        self.closed = False
        self.got = b""
        self.send(request((b"FLUSHALL",)) + request((b"HELLO", b"%d" % protocol)))
        self.got = b""

    def send(self, data: bytes) -> None:
        """Feed data, in memory of its own that is gone afterwards: what the session keeps it must have copied."""
        answer = lib.fridge_feed(self._session, bytes(bytearray(data)), len(data), self._out)
        assert answer & 7 in (lib.FEED_MORE, lib.FEED_CLOSE), "a transcript of commands for the host begins with '# server'"
        self.closed = answer & 7 == lib.FEED_CLOSE
        self.got += ffi.unpack(self._out.p, answer >> 4) if answer >> 4 else b""

    def await_reply(self, pattern: re.Pattern[bytes]) -> None:
        """All that came is what should."""
        assert pattern.fullmatch(self.got), _difference(pattern, self.got)

    def await_close(self) -> None:
        """The session wants to be closed."""
        assert self.closed

    def close(self) -> None:
        """Free the session."""
        lib.session_free(self._session)


class Outside:
    """A connection to a server: every piece is one send."""

    def __init__(self, server: Server, protocol: int) -> None:
        with Wire((server.host, server.port)) as wire:
            assert wire("FLUSHALL") == b"+OK\r\n"
            assert wire("CONFIG", "SET", "maxmemory-policy", "noeviction", "timeout", "0") == b"+OK\r\n"
        self._wire = Wire((server.host, server.port))
        self._wire("HELLO", protocol)
        self._wire.socket.settimeout(10)
        self.got = b""

    def send(self, data: bytes) -> None:
        """Send data."""
        self._wire.send(data)

    def await_reply(self, pattern: re.Pattern[bytes]) -> None:
        """Read until everything that came is what should; what comes too much the next call finds."""
        while not pattern.fullmatch(self.got):
            try:
                data = self._wire.socket.recv(1 << 16)
            except TimeoutError:
                data = b""
            assert data, _difference(pattern, self.got)
            self.got += data

    def await_close(self) -> None:
        """The server closes without another byte."""
        assert self._wire.socket.recv(1) == b""

    def close(self) -> None:
        """Close."""
        self._wire.close()


def _difference(pattern: re.Pattern[bytes], got: bytes) -> str:
    return f"expected {pattern.pattern[-600:]!r}\ngot      {got[-600:]!r}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def segment(segment_path: Path) -> Iterator[Segment]:
    with contextlib.closing(Segment(str(segment_path), size=16 << 20)) as opened:
        yield opened


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Iterator[Inside | Outside]:
    transcript, section = request.getfixturevalue("case")
    made: Inside | Outside
    if transcript.needs_server:
        made = Outside(request.getfixturevalue("server"), section.protocol)
    else:
        made = Inside(request.getfixturevalue("segment"), section.protocol)
    with contextlib.closing(made):
        yield made


# --- three ways to feed ------------------------------------------------------------------------------------------------

Case = tuple[Transcript, Section]
every_section = pytest.mark.parametrize("case", CASES, ids=IDS)


def finish(peer: Inside | Outside, section: Section) -> None:
    """Everything has been sent: all replies are there, in order, and nothing else."""
    peer.await_reply(section.pattern(len(section.steps)))
    if section.closes:
        peer.await_close()
        return
    peer.send(request((b"ECHO", b"the end")))
    peer.await_reply(re.compile(section.pattern(len(section.steps)).pattern + rb"\$7\r\nthe end\r\n", re.DOTALL))


@every_section
def test_whole(case: Case, peer: Inside | Outside) -> None:
    peer.send(case[1].data)
    finish(peer, case[1])


@every_section
def test_byte_by_byte(case: Case, peer: Inside | Outside) -> None:
    data = case[1].data
    for i in range(len(data)):
        peer.send(data[i : i + 1])
    finish(peer, case[1])


@every_section
def test_with_a_tail(case: Case, peer: Inside | Outside) -> None:
    """Each request comes with the first half of the next: its reply is there, and no other."""
    section, sent, end = case[1], 0, 0
    for i, step in enumerate(section.steps):
        end += len(step.data)
        tail = len(section.steps[i + 1].data) // 2 if i + 1 < len(section.steps) else 0
        peer.send(section.data[sent : end + tail])
        sent = end + tail
        peer.await_reply(section.pattern(i + 1))
    finish(peer, section)


# --- what they cover ---------------------------------------------------------------------------------------------------


def command_names() -> set[str]:
    """The rows of commands.def."""
    facts = ffi.new("command_facts *")
    names = set()
    for i in range(lib.fridge_command_count()):
        lib.fridge_command(i, facts)
        names.add(ffi.string(facts.name).decode())
    return names


def test_every_command_is_in_a_transcript() -> None:
    shown = set()
    for _, section in CASES:
        for step in section.steps:
            words = [word.decode("latin-1").lower() for word in step.words[:2]]
            shown |= {"|".join(words), *words[:1]}
    assert command_names() <= shown, sorted(command_names() - shown)


@pytest.mark.parametrize("transcript", ALL, ids=lambda t: t.path.stem)
def test_both_protocols_and_an_error(transcript: Transcript) -> None:
    assert {section.protocol for section in transcript.sections} == {2, 3}
    assert any(step.is_error for section in transcript.sections for step in section.steps)
