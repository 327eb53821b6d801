"""Where the default segment is, and why.

A shell, a service and a cron job of one user must not end up with three segments, so everybody asks this function:
``$FRIDGE_SEGMENT`` when set; else the first candidate that exists; else the first that could be created. It looks at the
file system and creates nothing but, when asked, the candidate's directory with owner-only mode.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from fridge.errors import ArgumentError, SystemCallError

VARIABLE = "FRIDGE_SEGMENT"
NO_UID = 2**32 - 1


@dataclass(frozen=True)
class Candidate:
    """A place that was looked at: path, what was found there, and whether it is the one."""

    path: str
    finding: str
    chosen: bool = False


@dataclass(frozen=True)
class Resolution:
    """The default segment's path, the reason in words, and every place that was looked at in order."""

    path: str
    reason: str
    looked_at: tuple[Candidate, ...]


def candidates(environment: Mapping[str, str], uid: int) -> list[str]:
    """The places, in order of preference."""
    places = ["/run/fridge/default"]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        places.append(os.path.join(runtime, "fridge", "default"))
    places.append(f"/dev/shm/fridge-{uid}/default")
    return places


def resolve(environment: Mapping[str, str], uid: int) -> Resolution:
    """Find the default segment's path.

    Raises:
        FileNotFoundError: nowhere to create one; the message lists what was tried.
    """
    if given := environment.get(VARIABLE):
        path = os.path.abspath(given)
        return Resolution(path, f"${VARIABLE} is set", (Candidate(path, f"from ${VARIABLE}", True),))
    places = candidates(environment, uid)
    findings = [_look(place, uid) for place in places]
    exists = [finding == "exists" for finding in findings]
    fits = [finding.startswith("can be created") for finding in findings]
    if True in exists:
        at, reason = exists.index(True), "it is the first that exists"
    elif True in fits:
        at, reason = fits.index(True), "none exists yet and it is the first that can be created"
    else:
        tried = "; ".join(f"{p}: {f}" for p, f in zip(places, findings, strict=True))
        raise FileNotFoundError(f"no place for a segment ({tried}); set ${VARIABLE} or give a path")
    looked_at = tuple(Candidate(p, f, i == at) for i, (p, f) in enumerate(zip(places, findings, strict=True)))
    return Resolution(places[at], reason, looked_at)


def default_path(environment: Mapping[str, str] | None = None) -> str:
    """The default segment's path for this process; its directory exists afterwards. Raises as resolve."""
    path = resolve(os.environ if environment is None else environment, os.geteuid()).path
    prepare(path)
    return path


def owner_id(owner: object) -> int | None:
    """Return the uid of a further user whose segment files are believed, None for none.

    Args:
        owner: a user's name or uid; "" or None: nobody.

    Raises:
        ArgumentError: there is no such user.
    """
    if owner is None or owner == "":
        return None
    if isinstance(owner, str) and not owner.isdecimal():
        return _uid_of(owner)
    if isinstance(owner, bool) or not isinstance(owner, (str, int)) or not 0 <= int(owner) < NO_UID:
        raise ArgumentError(f"segment-owner is {owner!r}; it is a user's name or uid")
    return int(owner)


def _uid_of(owner: str) -> int:
    import pwd  # seldom

    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ArgumentError(f"segment-owner: there is no user {owner!r}") from None


def prepare(path: str) -> None:
    """Create the directory that path lies in, owner-only, if it is not there.

    Raises:
        SystemCallError: that is not possible.
    """
    directory = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except OSError as error:
        raise SystemCallError(f"cannot create the directory {os.fsdecode(directory)}: {error.strerror}") from None


def _look(path: str, uid: int) -> str:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return _look_at_directory(os.path.dirname(path), uid)
    except OSError as error:
        return error.strerror or "cannot be reached"
    if not os.access(path, os.R_OK):
        return "exists, but may not be read"
    return "exists"


def _look_at_directory(directory: str, uid: int) -> str:
    """What stands against creating a segment in directory (whose last component may be absent)."""
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        parent = os.path.dirname(directory)
        if os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK):
            return "can be created, with its directory"
        return f"{parent} is absent or may not be written"
    except OSError as error:
        return error.strerror or "cannot be reached"
    if not stat.S_ISDIR(found.st_mode):
        return f"{directory} is no directory"
    if found.st_uid not in (uid, 0):
        return f"{directory} belongs to somebody else (uid {found.st_uid})"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{directory} may not be written"
    return "can be created"
