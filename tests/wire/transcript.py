r"""Transcripts: what a client sends and, to the byte, what it gets; one file per family of commands.

    # a comment
    === name of a section, RESP2      a fresh session on an empty server, after HELLO 2 (or 3)
    > SET k "two words\r\n"             a request: words as a shell splits them, with Python's escapes in them
    >> PING\r\n                          a request as it is on the wire
    < +OK                             its reply, a line for each of its lines; escapes likewise
    ~ :[0-9]+                         a line that varies: a regular expression
    !closed                           the server closes here

A file whose first line is ``# server`` needs the process around the session, and is played to a real server over a socket.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from fridge.reply import request

FOLDER = Path(__file__).parent


def unescape(text: str) -> bytes:
    """Text with Python's escapes, as bytes."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


@dataclass
class Step:
    """A request and its reply: data as it is sent, a pattern for the reply's bytes."""

    line: str
    data: bytes
    words: list[bytes]
    reply: bytes = b""
    is_error: bool = False


@dataclass
class Section:
    """A conversation of one client in one protocol."""

    name: str
    protocol: int
    steps: list[Step] = field(default_factory=list)
    closes: bool = False

    @property
    def data(self) -> bytes:
        """Everything that is sent."""
        return b"".join(step.data for step in self.steps)

    def pattern(self, steps: int) -> re.Pattern[bytes]:
        """What the replies to the first so many steps look like."""
        return re.compile(b"".join(step.reply for step in self.steps[:steps]), re.DOTALL)


@dataclass(frozen=True)
class Transcript:
    """A file of sections."""

    path: Path
    needs_server: bool
    sections: tuple[Section, ...]


def _request(line: str) -> Step:
    if line.startswith(">> "):
        data = unescape(line[3:])
        return Step(line, data, data.split())
    words = [unescape(word) for word in shlex.split(line[2:].replace("\\", "\\\\"))]
    return Step(line, request(words), words)


def _reply_line(step: Step, line: str) -> None:
    if line.startswith("~ "):
        step.reply += line[2:].encode("latin-1") + b"\r\n"
        return
    step.reply += re.escape(unescape(line[2:])) + b"\r\n"
    step.is_error = step.is_error or line.startswith("< -")


def parse(path: Path) -> Transcript:
    """Read a file. Raises ValueError for a line that stands where it cannot."""
    lines = path.read_text("latin-1").splitlines()
    sections: list[Section] = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("==="):
            name, _, protocol = line[3:].strip().rpartition(", RESP")
            sections.append(Section(name, int(protocol)))
        elif not sections:
            raise ValueError(f"{path.name}:{number}: before the first section")
        elif line.startswith(">"):
            sections[-1].steps.append(_request(line))
        elif line == "!closed":
            sections[-1].closes = True
        elif line[:2] in ("< ", "~ ") and sections[-1].steps:
            _reply_line(sections[-1].steps[-1], line)
        else:
            raise ValueError(f"{path.name}:{number}: neither a request, nor a reply to one: {line}")
    return Transcript(path, lines[:1] == ["# server"], tuple(sections))


def transcripts() -> list[Transcript]:
    """All of them."""
    return [parse(path) for path in sorted(FOLDER.glob("*.txt"))]
