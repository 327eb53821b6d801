"""Commands that need the process around a session: AUTH, CONFIG, CLIENT, INFO, MONITOR, SHUTDOWN, DEBUG SLEEP.

The command table flags them HOST; arity and authentication have been checked when they get here. A handler answers
through the session's reply calls, so that RESP2, RESP3 and transactions look the same as for every other command.
"""

from __future__ import annotations

import hmac
import os
import signal
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from fridge import config
from fridge._native import ffi, lib
from fridge.config import SettingError
from fridge.errors import FridgeError
from fridge.server import info
from fridge.server.clients import ClientLine, FilterError, parse_kill, parse_list

if TYPE_CHECKING:
    from fridge.server.connection import Connection
    from fridge.server.worker import Worker

Words: TypeAlias = list[bytes]

NO_PASSWORD = (
    "ERR AUTH <password> called without any password configured for the default user. "
    "Are you sure your configuration is correct?"
)
WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled."
DEBUG_REFUSED = (
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local "
    "connection, otherwise you need to set this option in the configuration file, and then restart the server."
)


class Answer:
    """The reply calls of one session."""

    __slots__ = ("_session",)

    def __init__(self, connection: Connection) -> None:
        self._session = connection.session

    def ok(self) -> None:
        """+OK."""
        lib.session_reply_status(self._session, b"OK", 2)

    def error(self, text: str) -> None:
        """An error with its prefix: 'ERR syntax error'."""
        data = text.encode("utf-8", "surrogateescape")
        lib.session_reply_error(self._session, data, len(data))

    def integer(self, n: int) -> None:
        """:n."""
        lib.session_reply_int(self._session, n)

    def bulk(self, text: str) -> None:
        """$text."""
        data = text.encode("utf-8", "surrogateescape")
        lib.session_reply_bulk(self._session, data, len(data))

    def verbatim(self, text: str) -> None:
        """A text for people: verbatim in RESP3, bulk in RESP2."""
        data = text.encode("utf-8", "replace")
        lib.session_reply_verbatim(self._session, data, len(data))

    def pairs(self, pairs: dict[str, str]) -> None:
        """A map of bulk strings."""
        lib.session_reply_map(self._session, len(pairs))
        for name, value in pairs.items():
            self.bulk(name)
            self.bulk(value)

    def nothing(self) -> None:
        """This command has no reply."""
        lib.session_reply_none(self._session)


class Host:
    """The handlers, bound to a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._context = worker.context
        self._handlers: dict[str, Callable[[Connection, Answer, Words], bool | None]] = {
            "auth": self._auth,
            "hello": self._hello,
            "info": self._info,
            "config|get": self._config_get,
            "config|set": self._config_set,
            "config|resetstat": self._config_resetstat,
            "client|info": self._client_info,
            "client|list": self._client_list,
            "client|kill": self._client_kill,
            "monitor": self._monitor,
            "shutdown": self._shutdown,
            "debug": self._debug,
            "debug|sleep": self._debug,
        }

    def answer(self, connection: Connection) -> bool:
        """Answer the command that the connection's session stopped at; False when its answer comes later."""
        session = connection.session
        name = bytes(ffi.string(lib.session_host_command(session))).decode()
        answer = Answer(connection)
        handler = self._handlers.get(name)
        if handler is None:
            answer.error(f"ERR '{name}' cannot be answered by this server")
            return True
        try:
            return handler(connection, answer, _words(session)) is not False
        except FridgeError as error:
            answer.error(f"ERR {error}")
            return True

    # --- who may come in ---

    def _auth(self, connection: Connection, answer: Answer, words: Words) -> None:
        if len(words) > 3:
            answer.error("ERR syntax error")
            return
        user = words[1] if len(words) == 3 else b"default"
        if len(words) == 2 and not self._context.shared.current.requirepass:
            answer.error(NO_PASSWORD)
            return
        if self._authenticate(connection, answer, user, words[-1]):
            answer.ok()

    def _hello(self, connection: Connection, answer: Answer, words: Words) -> None:
        """HELLO n AUTH user password ...: check the password; the session answers the rest itself."""
        lowered = [word.lower() for word in words]
        at = lowered.index(b"auth", 1)
        if self._authenticate(connection, answer, words[at + 1], words[at + 2]):
            lib.session_finish_natively(connection.session)

    def _authenticate(self, connection: Connection, answer: Answer, user: bytes, password: bytes) -> bool:
        ok = user == b"default" and password_matches(password, self._context.shared.current.requirepass)
        if not ok:
            self._context.segment.count("auth_failures")
            answer.error(WRONG_PASSWORD)
        else:
            lib.session_authenticate(connection.session, 1)
        return ok

    # --- settings and statistics ---

    def _info(self, connection: Connection, answer: Answer, words: Words) -> None:
        sections = info.wanted(_decode(word) for word in words[1:])
        facts = self._context.gather(
            ops_per_second=self._worker.ops.rate(), with_commands="commandstats" in sections
        )
        answer.verbatim(info.render(facts, sections))

    def _config_get(self, connection: Connection, answer: Answer, words: Words) -> None:
        self._context.shared.refresh()
        answer.pairs(config.config_get(self._context.shared.current, (_decode(word) for word in words[2:])))

    def _config_set(self, connection: Connection, answer: Answer, words: Words) -> None:
        if len(words) % 2:
            answer.error("ERR syntax error")
            return
        texts = [_decode(word) for word in words[2:]]
        try:
            self._context.shared.refresh()
            changes = config.config_set(self._context.shared.current, zip(texts[::2], texts[1::2], strict=True))
        except SettingError as error:
            answer.error(f"ERR {error}")
            return
        if changes:
            self._context.shared.change(changes)
            self._worker.apply_settings()
        answer.ok()

    def _config_resetstat(self, connection: Connection, answer: Answer, words: Words) -> None:
        self._context.reset_statistics()
        answer.ok()

    # --- clients ---

    def _client_info(self, connection: Connection, answer: Answer, words: Words) -> None:
        answer.verbatim(connection.line(lib.fridge_boot_ms()) + "\n")

    def _lines(self) -> list[ClientLine]:
        """Every client of the server: this worker's as they are now, the others' as of their last tick."""
        self._worker.publish_clients()
        return self._worker.registry.lines()

    def _client_list(self, connection: Connection, answer: Answer, words: Words) -> None:
        try:
            chosen = parse_list([_decode(word) for word in words[2:]])
        except FilterError as error:
            answer.error(f"ERR {error}")
            return
        answer.verbatim("".join(line.text + "\n" for line in chosen(self._lines())))

    def _client_kill(self, connection: Connection, answer: Answer, words: Words) -> None:
        try:
            asked = parse_kill([_decode(word) for word in words[2:]])
        except FilterError as error:
            answer.error(f"ERR {error}")
            return
        doomed = [line for line in self._lines() if asked.wants(line, connection.id)]
        elsewhere = [line.id for line in doomed if line.id not in self._worker.connections]
        if elsewhere:
            self._worker.registry.ask_to_kill(elsewhere)
            self._context.shared.touch()
        for line in doomed:
            if line.id != connection.id and line.id in self._worker.connections:
                self._worker.connections[line.id].kill()
        if not asked.old_form:
            answer.integer(len(doomed))
        elif doomed:
            answer.ok()
        else:
            answer.error("ERR No such client")
        if any(line.id == connection.id for line in doomed):
            lib.session_reply_close(connection.session)

    def _monitor(self, connection: Connection, answer: Answer, words: Words) -> None:
        """The commands of this worker's clients only: what others execute never leaves their process."""
        connection.monitor = True
        lib.session_set_monitor(connection.session, 1)
        self._worker.monitors_changed()
        answer.ok()

    # --- the server ---

    def _shutdown(self, connection: Connection, answer: Answer, words: Words) -> None:
        options = {word.lower() for word in words[1:]}
        if options == {b"abort"}:
            answer.error("ERR No shutdown in progress.")
        elif not options <= {b"nosave", b"save", b"now", b"force"} or options >= {b"nosave", b"save"}:
            answer.error("ERR syntax error")
        else:
            answer.nothing()
            os.kill(self._context.server.supervisor_pid, signal.SIGTERM)

    def _debug(self, connection: Connection, answer: Answer, words: Words) -> bool:
        if not self._context.shared.current.enable_debug_command:
            answer.error(DEBUG_REFUSED)
            return True
        try:
            seconds = float(words[-1])
        except ValueError:
            answer.error("ERR value is not a valid float")
            return True
        answer.ok()
        if not 0 < seconds < 86400:
            return True
        connection.sleep(seconds)
        return False


def password_matches(given: bytes, requirepass: str) -> bool:
    """Whether a password is the right one, in a time that says nothing about either; without requirepass any is."""
    if not requirepass:
        return True
    wanted = requirepass.encode("utf-8", "surrogateescape")
    return hmac.compare_digest(sha256(given).digest(), sha256(wanted).digest())


def _decode(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _words(session: object) -> Words:
    length = ffi.new("size_t *")
    words = []
    for i in range(lib.session_host_argc(session)):
        pointer = lib.session_host_arg(session, i, length)
        words.append(bytes(ffi.buffer(pointer, length[0])))
    return words
