"""Who holds a lock, or waits for one, as a value.

Leaves out: asking for it (`fridge.line`). Imported when a segment is opened, so that `import fridge` stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True)
class Holder:
    """One grant, or one place in line.

    Attributes:
        pid: in its own PID namespace; None for a client of a server, which is known by its token alone.
        host: the host's or container's name; "" when it is not known.
        name: what `fridge ps` shows for the process.
        since: when it was granted, or got in line (UTC); None when it is not known.
        fence: the fencing token; 0 for those who wait and for clients of a server.
        alive: whether the process lives. Clients of a server do, for as long as their key.
        token: the secret of this one grant.
    """

    pid: int | None
    host: str
    name: str
    since: datetime | None
    fence: int
    alive: bool
    token: bytes

    def __str__(self) -> str:
        """Return it in words, for error messages."""
        since = f" since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        if self.pid is None:
            return f"a client with the token {self.token.decode('utf-8', 'replace')!r}{since}"
        return f"process {self.pid} ({self.name}) on {self.host or 'this host'}{since}"


def moment(wall_seconds: float) -> datetime:
    """Return a moment of the wall clock as a datetime in UTC."""
    return datetime.fromtimestamp(wall_seconds, timezone.utc)
