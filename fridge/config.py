"""The only list of settings.

One row a setting: name, kind, default, help, whether CONFIG SET may change it, and the older Redis names it also answers
to. Command-line flags, ``FRIDGE_*`` variables, ``fridge.toml`` keys, ``CONFIG GET`` and ``CONFIG SET`` and the table in
the documentation are all read from these rows, so that a setting has one name everywhere: ``latch-timeout`` is
``--latch-timeout``, ``FRIDGE_LATCH_TIMEOUT``, ``latch-timeout = 200`` and ``CONFIG GET latch-timeout``.

Precedence, lowest first: default, file, environment, flag. Importing reads nothing; ``load`` is given what it reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Value = str | int | bool


class SettingError(ValueError):
    """A setting that cannot be: the message names it, the value and what would do."""


# --- kinds ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """How a setting is written: parse raises ValueError with Redis's words, show is what CONFIG GET says."""

    name: str
    parse: Callable[[str], Value]
    show: Callable[[Value], str] = str
    write: Callable[[Value], str] | None = None  # for people; as show does when None
    example: str = ""  # what the words of parse leave open


_MEMORY = re.compile(r"^(\d+)\s*(b|k|kb|m|mb|g|gb)?$", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1 << 10, "m": 1000**2, "mb": 1 << 20, "g": 1000**3, "gb": 1 << 30}


def parse_memory(text: str) -> int:
    """Bytes from '1024', '64kb', '256mb', '1gb' (powers of two) or '1k', '1m', '1g' (powers of ten), as Redis reads them.

    Raises:
        ValueError: text is none of these.
    """
    match = _MEMORY.match(text.strip())
    if match is None:
        raise ValueError("argument must be a memory value")
    return int(match.group(1)) * _UNITS[(match.group(2) or "").lower()]


def write_memory(size: Value) -> str:
    """Bytes as one would write them: '256mb'."""
    for unit in ("gb", "mb", "kb"):
        if size and int(size) % _UNITS[unit] == 0:
            return f"{int(size) // _UNITS[unit]}{unit}"
    return str(size)


def _parse_flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("yes", "true", "on", "1"):
        return True
    if lowered in ("no", "false", "off", "0"):
        return False
    raise ValueError("argument must be 'yes' or 'no'")


def _parse_octal(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ValueError("argument must be an octal mode between 0 and 777")
    return mode


def _integer(low: int, high: int) -> Kind:
    def parse(text: str) -> int:
        try:
            number = int(text.strip())
        except ValueError:
            raise ValueError("argument couldn't be parsed into an integer") from None
        return _bounded(number, low, high)

    return Kind("integer", parse)


def _memory(low: int, high: int) -> Kind:
    return Kind("memory", lambda text: _bounded(parse_memory(text), low, high), write=write_memory,
                example="such as 64mb or 1gb")  # fmt: skip


def _bounded(number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise ValueError(f"argument must be between {low} and {high} inclusive")
    return number


def _choice(*words: str) -> Kind:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"argument(s) must be one of the following: {', '.join(words)}")
        return text.lower()

    return Kind("one of " + ", ".join(words), parse)


def _parse_text(text: str) -> str:
    if "\x00" in text:
        raise ValueError("argument must not hold a NUL byte")
    return text


def _parse_endpoint(text: str) -> str:
    if text:
        split_endpoint(text)
    return text


def split_endpoint(text: str) -> tuple[str, int]:
    """('127.0.0.1', 9380) from '127.0.0.1:9380', '[::1]:9380' or '9380' (loopback).

    Raises:
        ValueError: no such endpoint.
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ValueError("argument must be HOST:PORT with a port between 0 and 65535")
    return host.strip("[]") or "127.0.0.1", int(port)


TEXT = Kind("text", _parse_text)
FLAG = Kind("yes or no", _parse_flag, lambda value: "yes" if value else "no")
MODE = Kind("octal mode", _parse_octal, lambda value: format(value, "o"))
ENDPOINT = Kind("host:port", _parse_endpoint)
_BIG = 2**63 - 1
_UINT32 = 2**32 - 1


# --- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One row: what is said of a setting besides its name, type and default."""

    help: str
    kind: Kind
    mutable: bool = False  # CONFIG SET may change it
    aliases: tuple[str, ...] = ()  # further names that CONFIG GET and SET know
    secret: bool = False  # never printed in logs or `fridge stat`


def _row(default: Value, kind: Kind, help_text: str, *, mutable: bool = False, aliases: tuple[str, ...] = (),
         secret: bool = False) -> Any:  # fmt: skip
    row = Setting(help_text, kind, mutable, aliases, secret)
    return dataclasses.field(default=default, metadata={"row": row})


@dataclass(frozen=True)
class Settings:
    """Every setting with its value. Field names are the setting's name with '_' for '-'."""

    # doors
    port: int = _row(6380, _integer(0, 65535), "TCP port of the Redis protocol; 0 closes that door")
    bind: str = _row("127.0.0.1", TEXT, "addresses to listen on, separated by blanks; a leading '-' means: skip it if absent")
    unixsocket: str = _row("", TEXT, "path of the unix socket; empty for none")
    unixsocketperm: int = _row(0o700, MODE, "mode of the unix socket")
    http: str = _row("127.0.0.1:9380", ENDPOINT, "where /metrics, /healthz, /readyz and the page are; empty for nowhere")
    tcp_backlog: int = _row(511, _integer(1, 65535), "connections the kernel queues for us")
    tcp_keepalive: int = _row(300, _integer(0, 86400), "seconds between TCP keep-alive probes; 0 for none", mutable=True)
    # segment
    segment: str = _row("", TEXT, "path of the segment; empty: see `fridge path`")
    size: int = _row(256 << 20, _memory(1 << 20, 64 << 30), "bytes the segment may grow to (when it is created)")
    prealloc: bool = _row(False, FLAG, "take all memory of the segment at start")
    segment_perm: int = _row(0o600, MODE, "mode of the segment file (when it is created)")
    segment_owner: str = _row("", TEXT, "a further user whose segment files are believed")
    # processes
    workers: int = _row(1, _integer(1, 256), "data workers on the segment; MONITOR shows the commands of its own")
    drain_timeout: int = _row(5, _integer(0, 3600), "seconds a stopping server waits for its clients to take their replies",
                              mutable=True)  # fmt: skip
    hz: int = _row(10, _integer(1, 500), "times a second the housekeeper reclaims what expired", mutable=True)
    # who may come in
    requirepass: str = _row("", TEXT, "password that clients must give; empty for none", mutable=True, secret=True)
    protected_mode: bool = _row(True, FLAG, "without a password serve only loopback and the unix socket", mutable=True)
    maxclients: int = _row(10000, _integer(1, _UINT32), "connections over all workers", mutable=True)
    enable_debug_command: bool = _row(False, FLAG, "allow DEBUG SLEEP", aliases=())
    # limits of a connection
    timeout: int = _row(0, _integer(0, 2**31 - 1), "seconds after which an idle client is closed; 0 for never", mutable=True)
    request_timeout: int = _row(30, _integer(0, 2**31 - 1), "seconds a client may take to finish a request it began; 0: any",
                                mutable=True)  # fmt: skip
    client_query_buffer_limit: int = _row(64 << 20, _memory(1 << 20, _BIG), "bytes of an unfinished request", mutable=True)
    client_output_limit: int = _row(64 << 20, _memory(1 << 20, _BIG), "bytes of replies a client may leave unread", mutable=True)
    proto_max_bulk_len: int = _row(64 << 20, _memory(1 << 20, 512 << 20), "bytes of the longest value", mutable=True)
    # engine
    latch_timeout: int = _row(200, _integer(1, 60000), "ms that a write waits for a live process before it gives up", mutable=True)
    maxmemory: int = _row(0, _memory(0, _BIG), "bytes of data at which writes are refused or keys evicted; 0: the segment's size",
                          mutable=True)  # fmt: skip
    maxmemory_policy: str = _row("noeviction", _choice("noeviction", "allkeys-lru", "volatile-lru", "volatile-ttl"),
                                 "what to evict when memory is full", mutable=True)  # fmt: skip
    maxmemory_samples: int = _row(5, _integer(1, 64), "keys looked at to find the one to evict", mutable=True)
    # telling
    slowlog_log_slower_than: int = _row(10000, _integer(-1, _BIG), "us from which a command counts as slow; -1 for none",
                                        mutable=True)  # fmt: skip
    loglevel: str = _row("notice", _choice("debug", "verbose", "notice", "warning"), "how much is logged", mutable=True)


# What Redis clients ask for and we have only in this one form: CONFIG GET answers, CONFIG SET takes the same value only.
FIXED: Mapping[str, str] = {
    "databases": "16",
    "save": "",
    "appendonly": "no",
    "dir": "/",
    "io-threads": "1",
    "daemonize": "no",
    "cluster-enabled": "no",
    "tls-port": "0",
    "slowlog-max-len": "128",
    "notify-keyspace-events": "",
    "latency-monitor-threshold": "0",
    "latency-tracking": "no",
    "client-output-buffer-limit": "normal 0 0 0 slave 0 0 0 pubsub 0 0 0",
    "maxmemory-clients": "0",
    "activedefrag": "no",
    "lazyfree-lazy-expire": "yes",
    "lazyfree-lazy-eviction": "no",
    "lazyfree-lazy-server-del": "yes",
    "lazyfree-lazy-user-del": "yes",
    "lazyfree-lazy-user-flush": "yes",
    "hash-max-listpack-entries": "512",
    "hash-max-listpack-value": "64",
    "hash-max-ziplist-entries": "512",
    "hash-max-ziplist-value": "64",
    "supervised": "auto",
    "logfile": "",
    "pidfile": "",
}

_FIELDS: dict[str, dataclasses.Field[Any]] = {f.name.replace("_", "-"): f for f in dataclasses.fields(Settings)}
_ROWS: dict[str, Setting] = {name: f.metadata["row"] for name, f in _FIELDS.items()}
_ALIASES: dict[str, str] = {alias: name for name, row in _ROWS.items() for alias in row.aliases}
SECTIONS = ("tables", "commands", "workers-background")  # further tables of fridge.toml, not settings


def default_text(name: str) -> str:
    """The default of a setting as it is written."""
    kind = _ROWS[name].kind
    return (kind.write or kind.show)(value_of(Settings(), name))


def names() -> list[str]:
    """Every setting, in the order of the table."""
    return list(_ROWS)


def row(name: str) -> Setting:
    """The row of a setting. Raises KeyError."""
    return _ROWS[name]


def value_of(settings: Settings, name: str) -> Value:
    """The value of the setting called name ('latch-timeout')."""
    value: Value = getattr(settings, name.replace("-", "_"))
    return value


def parse(name: str, text: str) -> Value:
    """The value that text stands for.

    Raises:
        SettingError: unknown name, or a value that the setting's kind refuses.
    """
    if name not in _ROWS:
        raise SettingError(f"unknown setting '{name}'{_did_you_mean(name)}")
    try:
        return _ROWS[name].kind.parse(text)
    except ValueError as error:
        shown = "***" if _ROWS[name].secret else text
        hint = _ROWS[name].kind.example
        raise SettingError(f"{name} = '{shown}': {error}{hint and ', ' + hint}") from None


def _did_you_mean(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, _ROWS, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


# --- where settings come from ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableDeclaration:
    """``[tables.rate_limits]`` of fridge.toml: a table that the server declares when it starts."""

    name: str
    capacity: int
    columns: tuple[tuple[str, str], ...]  # (name, type), in order


@dataclass(frozen=True)
class FileContents:
    """What fridge.toml says: settings as text by name, and tables to declare."""

    settings: Mapping[str, str]
    tables: tuple[TableDeclaration, ...] = ()


def _toml() -> Any:
    """Python's reader of TOML; before 3.11 the package that it came from. Imported when a file is read."""
    try:
        import tomllib
    except ModuleNotFoundError:
        try:
            import tomli as tomllib
        except ModuleNotFoundError:
            raise SettingError("reading a fridge.toml with Python 3.10 needs tomli: pip install 'fridge-sidecar[server]'") from None
    return tomllib


def read_file(path: str | Path) -> FileContents:
    """Read fridge.toml.

    Raises:
        SettingError: the file cannot be read, is no TOML, or says something that is not a setting.
    """
    tomllib = _toml()
    try:
        with open(path, "rb") as file:
            return parse_file(tomllib.load(file), str(path))
    except OSError as error:
        raise SettingError(f"cannot read {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is not valid TOML: {error}") from None


def parse_file(document: Mapping[str, Any], source: str) -> FileContents:
    """Split a parsed fridge.toml into settings and tables. Raises SettingError naming source."""
    settings: dict[str, str] = {}
    tables: list[TableDeclaration] = []
    for raw_name, value in document.items():
        name = raw_name.replace("_", "-")
        if name == "tables":
            tables = [_parse_table(table, body, source) for table, body in value.items()]
        elif isinstance(value, bool):
            settings[name] = "yes" if value else "no"
        elif name in ("unixsocketperm", "segment-perm") and isinstance(value, int):
            settings[name] = format(value, "o")  # 0o700 in TOML is the number 448
        elif isinstance(value, (str, int)):
            settings[name] = str(value)
        elif isinstance(value, list) and name == "bind":
            settings[name] = " ".join(str(item) for item in value)
        else:
            raise SettingError(f"{source}: {name}: expected a single value")
        if name != "tables" and name not in _ROWS:
            raise SettingError(f"{source}: unknown setting '{raw_name}'{_did_you_mean(name)}")
    return FileContents(settings, tuple(tables))


def _parse_table(name: str, body: Any, source: str) -> TableDeclaration:
    where = f"{source}: [tables.{name}]"
    if not isinstance(body, dict) or set(body) != {"capacity", "columns"}:
        raise SettingError(f"{where} needs exactly: capacity = N and columns = {{ name = \"type\", ... }}")
    capacity, columns = body["capacity"], body["columns"]
    if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
        raise SettingError(f"{where}: capacity must be a whole number of rows, at least 1")
    if not isinstance(columns, dict) or not columns or not all(isinstance(t, str) for t in columns.values()):
        raise SettingError(f"{where}: columns must be a table of name = \"type\"")
    return TableDeclaration(name, capacity, tuple(columns.items()))


def variable(name: str) -> str:
    """The environment variable of a setting: latch-timeout -> FRIDGE_LATCH_TIMEOUT."""
    return "FRIDGE_" + name.upper().replace("-", "_")


def add_flags(parser: argparse.ArgumentParser, only: Iterable[str] | None = None) -> None:
    """Give parser one flag a setting (--latch-timeout 200); values stay text until load."""
    for name in names() if only is None else only:
        default = default_text(name)
        note = f" (default {default})" if default else ""
        parser.add_argument(f"--{name}", metavar="X", default=None, help=f"{_ROWS[name].help}{note}".replace("%", "%%"))


def from_flags(namespace: argparse.Namespace) -> dict[str, str]:
    """The settings that were given as flags, as text."""
    given = vars(namespace)
    found = {name: given.get(name.replace("-", "_")) for name in _ROWS}
    return {name: text for name, text in found.items() if text is not None}


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that FRIDGE_* variables give, as text. FRIDGE_CONFIG names the file and is no setting."""
    return {name: environment[variable(name)] for name in _ROWS if variable(name) in environment}


def load(file: Mapping[str, str], environment: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """Put the sources together, flags strongest.

    Raises:
        SettingError: the first value that does not parse, with the source it came from.
    """
    values: dict[str, Value] = {}
    for source, given in (("fridge.toml", file), ("environment", environment), ("command line", flags)):
        for name, text in given.items():
            try:
                values[name.replace("-", "_")] = parse(name, text)
            except SettingError as error:
                raise SettingError(f"{error} (from {source})") from None
    return dataclasses.replace(Settings(), **values)  # type: ignore[arg-type]  # parse gave each field's own type


# --- CONFIG GET and SET ----------------------------------------------------------------------------------------------


def glob_match(pattern: str, name: str) -> bool:
    """Redis's glob (* ? [a-c] [^a] and backslash), without regard to case, on short names."""
    out: list[str] = []
    i = 0
    while i < len(pattern):
        c = pattern[i]
        if c == "*":
            out.append(".*")
        elif c == "?":
            out.append(".")
        elif c == "[" and (end := pattern.find("]", i + 1)) > 0:
            inner = pattern[i + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[{inner}]" if inner not in ("", "^") else "(?!)")
            i = end
        else:
            if c == "\\" and i + 1 < len(pattern):
                i += 1
            out.append(re.escape(pattern[i]))
        i += 1
    try:
        return re.fullmatch("".join(out), name, re.IGNORECASE | re.DOTALL) is not None
    except re.error:
        return False


def config_get(settings: Settings, patterns: Iterable[str]) -> dict[str, str]:
    """What CONFIG GET answers: every setting that a pattern names, aliases and fixed ones included."""
    known: dict[str, str] = {}
    for name, setting in _ROWS.items():
        known[name] = setting.kind.show(value_of(settings, name))
    known.update({alias: known[name] for alias, name in _ALIASES.items()})
    known.update(FIXED)
    found: dict[str, str] = {}  # how a name was written first, by its proper spelling
    for pattern in patterns:
        if not set(pattern) & set("*?["):
            if pattern.lower() in known:
                found.setdefault(pattern.lower(), pattern)
        else:
            for name in known:
                if glob_match(pattern, name):
                    found.setdefault(name, name)
    return {written: known[name] for name, written in found.items()}


def config_set(settings: Settings, pairs: Iterable[tuple[str, str]]) -> dict[str, Value]:
    """The changes that CONFIG SET asks for, all checked before any is made; values by setting name.

    Raises:
        SettingError: the text that the client gets after "ERR ", in Redis's words.
    """
    wanted: dict[str, str] = {}  # texts by setting name
    for given, text in pairs:  # every name is judged before any value, as redis-server does
        asked = given.lower()
        name = _ALIASES.get(asked, asked)
        given = given.partition("\0")[0]  # redis-server shows a word up to the first NUL
        why = f"CONFIG SET failed (possibly related to argument '{given}') - "
        if name in FIXED:
            if text != FIXED[name]:
                raise SettingError(why + "can't set immutable config")
            continue
        if name not in _ROWS:
            raise SettingError(f"Unknown option or number of arguments for CONFIG SET - '{given}'")
        if not _ROWS[name].mutable:
            raise SettingError(why + "can't set immutable config")
        if name in wanted:
            raise SettingError(why + "duplicate parameter")
        wanted[name] = text
    changes: dict[str, Value] = {}
    for name, text in wanted.items():
        try:
            changes[name] = _ROWS[name].kind.parse(text)
        except ValueError as error:
            raise SettingError(f"CONFIG SET failed (possibly related to argument '{name}') - {error}") from None
    return changes


def apply(settings: Settings, changes: Mapping[str, Value]) -> Settings:
    """settings with changes made; names that this build does not know are skipped (another build may share them)."""
    known = {name.replace("-", "_"): value for name, value in changes.items() if name in _ROWS}
    return dataclasses.replace(settings, **known)  # type: ignore[arg-type]  # values were parsed by config_set


def markdown() -> str:
    """The table of settings for the documentation."""
    lines = ["| setting | default | live | what |", "|---|---|---|---|"]
    for name, setting in _ROWS.items():
        default = default_text(name) or "(empty)"
        live = "yes" if setting.mutable else ""
        lines.append(f"| `{name}` | `{default}` | {live} | {setting.help} |")
    return "\n".join(lines) + "\n"
