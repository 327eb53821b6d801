"""sd_notify(3): tell systemd how we are. One datagram a message; without NOTIFY_SOCKET every call does nothing."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """The way to the service manager.

    Args:
        environment: where NOTIFY_SOCKET and WATCHDOG_USEC are looked up.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = self._watchdog(environment)

    @staticmethod
    def _watchdog(environment: Mapping[str, str]) -> float | None:
        """Seconds between two WATCHDOG=1 (half of what systemd allows), or None when it does not watch us."""
        if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
            return None
        text = environment.get("WATCHDOG_USEC", "")
        return int(text) / 2_000_000 if text.isdigit() and int(text) else None

    def ready(self, status: str) -> None:
        """The doors are open and a worker serves them."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        """We are draining."""
        self._send("STOPPING=1\nSTATUS=draining")

    def alive(self) -> None:
        """The watchdog's sign of life."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(message.encode(), address)
