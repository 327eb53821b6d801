"""Listening sockets: made by the supervisor before it forks, or handed over by systemd.

Pure set-up: nothing is accepted here. A door that cannot be opened is one clear line (``DoorError``), never a traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from fridge.config import Settings, split_endpoint

UNIX_PATH_MAX = 107  # bytes in sockaddr_un.sun_path without its NUL
ACTIVATION_FIRST_FD = 3  # sd_listen_fds(3): descriptors start here


class DoorError(OSError):
    """A door that cannot be opened; the message is the whole story."""


@dataclass(frozen=True)
class Door:
    """A listening socket and what is spoken behind it."""

    socket: socket.socket
    speaks: str  # "resp" or "http"
    inherited: bool = False  # from systemd: not ours to unlink

    @property
    def is_unix(self) -> bool:
        """Whether this is a unix socket."""
        return self.socket.family == socket.AF_UNIX

    @property
    def address(self) -> str:
        """Where it is, for people: '127.0.0.1:6380', '[::1]:6380' or a path."""
        name = self.socket.getsockname()
        if self.is_unix:
            return os.fsdecode(name)
        host, port = name[0], name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def port(self) -> int:
        """The TCP port, 0 for a unix socket."""
        return 0 if self.is_unix else int(self.socket.getsockname()[1])


def open_doors(settings: Settings, environment: Mapping[str, str]) -> list[Door]:
    """Open every door that settings ask for, or take over those that systemd opened.

    Raises:
        DoorError: one that cannot be opened; those opened before it are closed again.
    """
    handed = take_over(environment)
    doors = list(handed)
    try:
        if not any(door.speaks == "resp" for door in handed):
            for host, optional in _hosts(settings) if settings.port else ():
                doors += _open_tcp(host, settings.port, settings, "resp", optional)
            if settings.unixsocket:
                doors.append(_open_unix(settings.unixsocket, settings))
        if settings.http and not any(door.speaks == "http" for door in handed):
            host, port = split_endpoint(settings.http)
            doors += _open_tcp(host, port, settings, "http", False)
    except DoorError:
        close_doors(doors)
        raise
    if not any(door.speaks == "resp" for door in doors):
        close_doors(doors)
        raise DoorError("no door to open: give --port or --unixsocket")
    return doors


def close_doors(doors: list[Door]) -> None:
    """Close the sockets and remove the unix sockets that we made."""
    for door in doors:
        if door.is_unix and not door.inherited:
            with contextlib.suppress(OSError):
                os.unlink(door.address)
        door.socket.close()


def take_over(environment: Mapping[str, str]) -> list[Door]:
    """Listening sockets handed over by socket activation (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES); [] without.

    A descriptor named "http" is the HTTP door, every other one speaks RESP.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environment.get("LISTEN_FDS", "0") or 0)
    tags = environment.get("LISTEN_FDNAMES", "").split(":")
    doors = []
    for i in range(count):
        tag = tags[i] if i < len(tags) else ""
        sock = socket.socket(fileno=ACTIVATION_FIRST_FD + i)
        sock.setblocking(False)
        os.set_inheritable(sock.fileno(), False)
        doors.append(Door(sock, "http" if tag == "http" or tag.endswith("http.socket") else "resp", inherited=True))
    return doors


def _hosts(settings: Settings) -> list[tuple[str, bool]]:
    """(address, optional) of each word of `bind`; '*' is every IPv4 address, '-' in front makes it optional."""
    hosts = []
    for word in settings.bind.split():
        optional, host = word.startswith("-"), word.removeprefix("-")
        hosts.append(("0.0.0.0" if host == "*" else "::" if host == "::*" else host, optional))
    return hosts


def _open_tcp(host: str, port: int, settings: Settings, speaks: str, optional: bool) -> list[Door]:
    """The door, or none when it is optional and the host has no such address. Raises DoorError."""
    where = f"{host}:{port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise DoorError(f"cannot listen on {where}: {error.strerror or error}") from None
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(settings.tcp_backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if optional and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return []
        flag = "--http" if speaks == "http" else "--port"
        cure = f"; another program listens there, choose another with {flag}" if error.errno == errno.EADDRINUSE else ""
        raise DoorError(f"cannot listen on {where}: {error.strerror}{cure}") from None
    return [Door(sock, speaks)]


def _open_unix(path: str, settings: Settings) -> Door:
    length = len(os.fsencode(path))
    if length > UNIX_PATH_MAX:
        raise DoorError(f"unix socket path is {length} bytes long, the system takes {UNIX_PATH_MAX}: {path}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        old_mask = os.umask(0o777 & ~settings.unixsocketperm)
        try:
            sock.bind(path)
        finally:
            os.umask(old_mask)
        os.chmod(path, settings.unixsocketperm)
        sock.listen(settings.tcp_backlog)
        sock.setblocking(False)
    except DoorError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise DoorError(f"cannot listen on unix socket {path}: {error.strerror}") from None
    return Door(sock, "resp")


def _remove_stale(path: str) -> None:
    """Remove a unix socket that nobody listens on. Raises DoorError when somebody does, or it is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise DoorError(f"cannot listen on unix socket {path}: a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise DoorError(f"cannot listen on unix socket {path}: {error.strerror}") from None
    raise DoorError(f"cannot listen on unix socket {path}: another server listens there")
