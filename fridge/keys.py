"""Strings and keys: what the mmap door's handle can do with them, by redis-py's names and with its return values.

The hot ones (get, set, incr, delete, ...) are C methods of `fridge._hot.Segment`; they come here, by the name with an
underscore, for what they do not do themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from fridge.commands import Commands, Key, Value, encode, encode_key
from fridge.errors import ArgumentError, kind_of
from fridge.waiting import Deadline, key_version, wait_for_change

if TYPE_CHECKING:
    from datetime import datetime, timedelta

Seconds: TypeAlias = "int | timedelta"
When: TypeAlias = "int | datetime"
Text: TypeAlias = "bytes | str"
"""What comes back: bytes, or str with decode_responses=True."""


def _seconds(time: Seconds) -> bytes:
    return encode(time if isinstance(time, (int, str)) else int(_length(time)))


def _milliseconds(time: Seconds) -> bytes:
    return encode(time if isinstance(time, (int, str)) else int(_length(time) * 1000))


def _at_seconds(when: When) -> bytes:
    return encode(when if isinstance(when, (int, str)) else int(_moment(when)))


def _at_milliseconds(when: When) -> bytes:
    return encode(when if isinstance(when, (int, str)) else int(_moment(when) * 1000))


def _length(time: timedelta) -> float:
    if hasattr(time, "total_seconds"):
        return time.total_seconds()
    raise ArgumentError(f"{kind_of(time)} is no time: give an int or a timedelta")


def _moment(when: datetime) -> float:
    if hasattr(when, "timestamp"):
        return when.timestamp()
    raise ArgumentError(f"{kind_of(when)} is no time: give an int or a datetime")


def _times(ex: Seconds | None, px: Seconds | None, exat: When | None, pxat: When | None) -> list[bytes]:
    """Return the options of a command that takes an expiry."""
    _at_most_one(ex=ex is not None, px=px is not None, exat=exat is not None, pxat=pxat is not None)
    words: list[bytes] = []
    if ex is not None:
        words += [b"EX", _seconds(ex)]
    if px is not None:
        words += [b"PX", _milliseconds(px)]
    if exat is not None:
        words += [b"EXAT", _at_seconds(exat)]
    if pxat is not None:
        words += [b"PXAT", _at_milliseconds(pxat)]
    return words


def _at_most_one(**given: bool) -> None:
    """Refuse options of which only one may be given, by name: redis-server says no more than "syntax error"."""
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise ArgumentError(f"{' and '.join(names)} exclude each other: give one of them")


def _flags(**given: bool) -> list[bytes]:
    """Return the names, in capitals, of the flags that are set."""
    return [name.upper().encode() for name, value in given.items() if value]


def _names(first: Key | Iterable[Key], more: tuple[Key, ...]) -> list[bytes]:
    """Return redis-py's (keys, *args): one key, or several, or a list of them."""
    keys = [first] if isinstance(first, (str, bytes, bytearray, memoryview)) else list(first)
    return [encode_key(key) for key in [*keys, *more]]


class Keys(Commands):
    """Strings and keys."""

    # --- what the hot methods hand on ---

    def _set(self, name: Key, value: Value, ex: Seconds | None = None, px: Seconds | None = None, nx: bool = False,
             xx: bool = False, keepttl: bool = False, get: bool = False, exat: When | None = None,
             pxat: When | None = None, ifeq: Value | None = None, ifne: Value | None = None) -> bool | Text | None:  # fmt: skip
        _at_most_one(nx=nx, xx=xx, ifeq=ifeq is not None, ifne=ifne is not None)
        times = _times(ex, px, exat, pxat)
        _at_most_one(keepttl=keepttl, **{"a new expiry": bool(times)})
        words = [b"SET", encode_key(name), encode(value), *times]
        words += _flags(keepttl=keepttl, nx=nx, xx=xx, get=get)
        if ifeq is not None:
            words += [b"IFEQ", encode(ifeq)]
        if ifne is not None:
            words += [b"IFNE", encode(ifne)]
        reply = self._run(*words)
        return self._out(reply) if get else True if reply == "OK" else None

    def _delete(self, *names: Key) -> int:
        return self._int(b"DEL", *map(encode_key, names))

    def _exists(self, *names: Key) -> int:
        return self._int(b"EXISTS", *map(encode_key, names))

    # --- strings ---

    def setnx(self, name: Key, value: Value) -> bool:
        """Set a key if it is absent. Return whether it was set."""
        return bool(self._int(b"SETNX", encode_key(name), encode(value)))

    def setex(self, name: Key, time: Seconds, value: Value) -> bool:
        """Set a key that expires after time seconds."""
        return self._ok(b"SETEX", encode_key(name), _seconds(time), encode(value))

    def psetex(self, name: Key, time_ms: Seconds, value: Value) -> bool:
        """Set a key that expires after time_ms milliseconds."""
        return self._ok(b"PSETEX", encode_key(name), _milliseconds(time_ms), encode(value))

    def getset(self, name: Key, value: Value) -> Text | None:
        """Set a key and return what it held."""
        return self._bytes(b"GETSET", encode_key(name), encode(value))

    def getdel(self, name: Key) -> Text | None:
        """Delete a key and return what it held."""
        return self._bytes(b"GETDEL", encode_key(name))

    def getex(self, name: Key, ex: Seconds | None = None, px: Seconds | None = None, exat: When | None = None,
              pxat: When | None = None, persist: bool = False) -> Text | None:  # fmt: skip
        """Return a key's value and change its expiry.

        Args:
            name: the key.
            ex: seconds from now.
            px: milliseconds from now.
            exat: a Unix time in seconds.
            pxat: a Unix time in milliseconds.
            persist: take the expiry away.
        """
        times = _times(ex, px, exat, pxat)
        _at_most_one(persist=persist, **{"a new expiry": bool(times)})
        return self._bytes(b"GETEX", encode_key(name), *times, *_flags(persist=persist))

    def mget(self, keys: Key | Iterable[Key], *args: Key) -> list[Text | None]:
        """Return the values of keys as they were at one instant, None for those that are absent or no strings."""
        return self._list(b"MGET", *_names(keys, args))

    def mset(self, mapping: Mapping[Key, Value]) -> bool:
        """Set keys in one step: all of them or, after a crash, none."""
        return self._ok(b"MSET", *_flat(mapping))

    def msetnx(self, mapping: Mapping[Key, Value]) -> bool:
        """Set keys in one step if all are absent. Return whether they were set."""
        return bool(self._int(b"MSETNX", *_flat(mapping)))

    def append(self, key: Key, value: Value) -> int:
        """Append to a string and return its new length."""
        return self._int(b"APPEND", encode_key(key), encode(value))

    def strlen(self, name: Key) -> int:
        """Return the length of a string, 0 when absent."""
        return self._int(b"STRLEN", encode_key(name))

    def getrange(self, key: Key, start: int, end: int) -> Text:
        """Return bytes start to end, inclusive; negative numbers count from the end."""
        return self._text(self._run(b"GETRANGE", encode_key(key), encode(start), encode(end)))

    def setrange(self, name: Key, offset: int, value: Value) -> int:
        """Overwrite bytes from offset on, zero-filling a gap. Return the new length."""
        return self._int(b"SETRANGE", encode_key(name), encode(offset), encode(value))

    def incrbyfloat(self, name: Key, amount: float = 1.0) -> float:
        """Add to a number and return the sum."""
        return self._float(b"INCRBYFLOAT", encode_key(name), encode(amount))

    def substr(self, name: Key, start: int, end: int = -1) -> Text:
        """Return bytes start to end, inclusive: getrange's older name."""
        return self.getrange(name, start, end)

    def increx(self, name: Key, *, byfloat: Value | None = None, byint: Value | None = None, lbound: Value | None = None,
               ubound: Value | None = None, saturate: bool = False, ex: Seconds | None = None, px: Seconds | None = None,
               exat: When | None = None, pxat: When | None = None, persist: bool = False,
               enx: bool = False) -> list[int | Text]:  # fmt: skip
        """Add to a number within bounds and set its expiry, in one step.

        Args:
            name: the key.
            byfloat: add this number, and keep the sum as a float.
            byint: add this integer; 1 when neither is given.
            lbound: the sum may not be below this.
            ubound: the sum may not be above this.
            saturate: stop at the bound instead of changing nothing.
            ex: seconds from now.
            px: milliseconds from now.
            exat: a Unix time in seconds.
            pxat: a Unix time in milliseconds.
            persist: take the expiry away.
            enx: set the expiry only if there is none.

        Returns:
            The number as it is now, and what was really added: 0 when the bound forbade it. Floats come as text.

        Example:
            >>> f.increx("calls", ubound=100, ex=60, enx=True)  # doctest: +SKIP
            [1, 1]
        """
        words: list[bytes] = []
        for option, given in ((b"BYFLOAT", byfloat), (b"BYINT", byint), (b"LBOUND", lbound), (b"UBOUND", ubound)):
            words += [] if given is None else [option, encode(given)]
        words += [*_flags(saturate=saturate), *_times(ex, px, exat, pxat), *_flags(persist=persist, enx=enx)]
        reply = self._replies(b"INCREX", encode_key(name), *words)
        return [item if isinstance(item, int) else self._text(item) for item in reply]

    def delex(self, name: Key, ifeq: Value | None = None, ifne: Value | None = None, ifdeq: str | None = None,
              ifdne: str | None = None) -> int:  # fmt: skip
        """Delete a key under a condition. Return 1 if it was deleted, else 0.

        Args:
            name: the key.
            ifeq: only if it holds this.
            ifne: only if it holds something else.
            ifdeq: only if the digest of what it holds is this.
            ifdne: only if it is another.

        Example:
            >>> f.delex("lock", ifeq="my token")  # doctest: +SKIP
            1
        """
        words: list[bytes] = []
        for option, given in ((b"IFEQ", ifeq), (b"IFNE", ifne), (b"IFDEQ", ifdeq), (b"IFDNE", ifdne)):
            words += [] if given is None else [option, encode(given)]
        return self._int(b"DELEX", encode_key(name), *words)

    # --- keys ---

    def unlink(self, *names: Key) -> int:
        """Delete keys in one step; return how many there were."""
        return self._int(b"UNLINK", *map(encode_key, names))

    def touch(self, *args: Key) -> int:
        """Mark keys as used; return how many there are."""
        return self._int(b"TOUCH", *map(encode_key, args))

    def type(self, name: Key) -> Text:
        """Return the kind of a key: string, hash or none."""
        return self._text(self._run(b"TYPE", encode_key(name)))

    def expire(self, name: Key, time: Seconds, nx: bool = False, xx: bool = False, gt: bool = False, lt: bool = False) -> bool:
        """Let a key expire after time seconds. Return whether that was set.

        Args:
            name: the key.
            time: seconds from now.
            nx: only if it has no expiry.
            xx: only if it has one.
            gt: only if it would live longer.
            lt: only if it would live shorter.
        """
        return bool(self._int(b"EXPIRE", encode_key(name), _seconds(time), *_flags(nx=nx, xx=xx, gt=gt, lt=lt)))

    def pexpire(self, name: Key, time: Seconds, nx: bool = False, xx: bool = False, gt: bool = False, lt: bool = False) -> bool:
        """Let a key expire after time milliseconds; see expire."""
        return bool(self._int(b"PEXPIRE", encode_key(name), _milliseconds(time), *_flags(nx=nx, xx=xx, gt=gt, lt=lt)))

    def expireat(self, name: Key, when: When, nx: bool = False, xx: bool = False, gt: bool = False, lt: bool = False) -> bool:
        """Let a key expire at a Unix time in seconds; see expire."""
        return bool(self._int(b"EXPIREAT", encode_key(name), _at_seconds(when), *_flags(nx=nx, xx=xx, gt=gt, lt=lt)))

    def pexpireat(self, name: Key, when: When, nx: bool = False, xx: bool = False, gt: bool = False, lt: bool = False) -> bool:
        """Let a key expire at a Unix time in milliseconds; see expire."""
        return bool(self._int(b"PEXPIREAT", encode_key(name), _at_milliseconds(when), *_flags(nx=nx, xx=xx, gt=gt, lt=lt)))

    def ttl(self, name: Key) -> int:
        """Return the seconds a key has left; -1: no expiry, -2: no such key."""
        return self._int(b"TTL", encode_key(name))

    def pttl(self, name: Key) -> int:
        """Return the milliseconds a key has left; -1: no expiry, -2: no such key."""
        return self._int(b"PTTL", encode_key(name))

    def expiretime(self, key: Key) -> int:
        """Return the Unix time, in seconds, at which a key expires; -1 and -2 as ttl."""
        return self._int(b"EXPIRETIME", encode_key(key))

    def pexpiretime(self, key: Key) -> int:
        """Return the Unix time, in milliseconds, at which a key expires; -1 and -2 as ttl."""
        return self._int(b"PEXPIRETIME", encode_key(key))

    def persist(self, name: Key) -> bool:
        """Take a key's expiry away. Return whether it had one."""
        return bool(self._int(b"PERSIST", encode_key(name)))

    def rename(self, src: Key, dst: Key) -> bool:
        """Rename a key, over another if there is one.

        Raises:
            MissingKeyError: there is no src.
        """
        return self._ok(b"RENAME", encode_key(src), encode_key(dst))

    def renamenx(self, src: Key, dst: Key) -> bool:
        """Rename a key if dst is absent. Return whether it was renamed."""
        return bool(self._int(b"RENAMENX", encode_key(src), encode_key(dst)))

    def copy(self, source: Key, destination: Key, destination_db: int | None = None, replace: bool = False) -> bool:
        """Copy a key. Return whether it was copied: source is there, and destination is not or replace is set."""
        words = [b"COPY", encode_key(source), encode_key(destination)]
        if destination_db is not None:
            words += [b"DB", encode(destination_db)]
        return bool(self._int(*words, *_flags(replace=replace)))

    def move(self, name: Key, db: int) -> bool:
        """Move a key to another database. Return whether it was moved: it is here, and there is none of its name."""
        return bool(self._int(b"MOVE", encode_key(name), encode(db)))

    def object(self, infotype: str, key: Key) -> int | Text | None:
        """Return a fact about a key, None when it is absent.

        Args:
            infotype: encoding, idletime (seconds since it was used), freq or refcount.
            key: the key.
        """
        reply = self._run(b"OBJECT", encode_key(infotype), encode_key(key))
        return reply if isinstance(reply, int) else self._out(reply)

    def memory_usage(self, key: Key, samples: int | None = None) -> int | None:
        """Return the bytes that a key takes, its share of the index included; None when it is absent.

        Args:
            key: the key.
            samples: for redis-py's sake: nothing is estimated here.
        """
        words = [] if samples is None else [b"SAMPLES", encode(samples)]
        reply = self._run(b"MEMORY", b"USAGE", encode_key(key), *words)
        return reply if isinstance(reply, int) else None

    # --- databases ---

    def keys(self, pattern: Key = "*") -> list[Text]:
        """Return all keys that match a glob pattern."""
        return [self._text(key) for key in self._replies(b"KEYS", encode_key(pattern))]

    def scan(self, cursor: int = 0, match: Key | None = None, count: int | None = None,
             _type: str | None = None) -> tuple[int, list[Text]]:  # fmt: skip
        """Return the next cursor (0: the end) and some keys.

        Every key that is there from the first call to the last is returned at least once.

        Args:
            cursor: 0, or what the call before returned.
            match: a glob pattern.
            count: about how many keys to look at.
            _type: only keys of this kind.
        """
        words = [b"SCAN", encode(cursor)]
        if match is not None:
            words += [b"MATCH", encode_key(match)]
        if count is not None:
            words += [b"COUNT", encode(count)]
        if _type is not None:
            words += [b"TYPE", encode_key(_type)]
        following, keys = self._replies(*words)
        assert isinstance(following, bytes), following
        assert isinstance(keys, list), keys
        return int(following), [self._text(key) for key in keys]

    def scan_iter(self, match: Key | None = None, count: int | None = None, _type: str | None = None) -> Iterator[Text]:
        """Iterate over keys; see scan.

        Example:
            >>> for key in f.scan_iter(match="user:*"):  # doctest: +SKIP
            ...     f.delete(key)
        """
        cursor = -1
        while cursor:
            cursor, keys = self.scan(max(cursor, 0), match, count, _type)
            yield from keys

    def version(self, name: Key) -> int:
        """Return the version of a key of any kind, which every change of it renews; of an absent one, what stands for absence.

        Example:
            >>> f.wait("h", f.version("h"))  # the next change of a hash  # doctest: +SKIP
        """
        return key_version(self, self._db, encode_key(name))[0]

    def wait(self, name: Key, version: int, timeout: float | None = None) -> int | None:
        """Sleep until a key is changed by anybody, through any door: set, deleted, or expired.

        Nothing polls: the thread sleeps in the kernel, without the GIL. For an absent key the version stands for many
        absent keys, so the wait may end when one of those is deleted: look, and wait again.

        Args:
            name: the key.
            version: what `get_versioned` or `version` gave. If it is out of date already, the wait ends at once.
            timeout: seconds; None for no end.

        Returns:
            The key's new version; None when the time is up.

        Example:
            >>> value, version = f.get_versioned("config")  # doctest: +SKIP
            >>> f.wait("config", version, timeout=1.0)  # doctest: +SKIP
        """
        return wait_for_change(self, self._db, encode_key(name), version, Deadline(timeout))

    async def wait_async(self, name: Key, version: int, timeout: float | None = None) -> int | None:
        """Wait until a key is changed, in an event loop: `wait` for tasks.

        One thread of the process sleeps for all of them; tasks whose keys do not change are not woken.

        Args:
            name: the key.
            version: what `get_versioned` or `version` gave.
            timeout: seconds; None for no end.

        Returns:
            The key's new version; None when the time is up.
        """
        from fridge import aio  # imported when the segment was opened

        return await aio.wait_for_change(self, self._db, encode_key(name), version, timeout)

    def randomkey(self) -> Text | None:
        """Return some key, None when there is none."""
        return self._bytes(b"RANDOMKEY")

    def dbsize(self) -> int:
        """Return how many keys the database has."""
        return self._int(b"DBSIZE")

    def swapdb(self, first: int, second: int) -> bool:
        """Swap two databases in one step: whoever has one of them open sees the other's keys."""
        return self._ok(b"SWAPDB", encode(first), encode(second))

    # --- what a client asks a server ---

    def ping(self) -> bool:
        """Return True, as a server that is there would make redis-py do; raise when the segment is not."""
        return self._run(b"PING") == "PONG"

    def echo(self, value: Value) -> Text:
        """Return value."""
        return self._text(self._run(b"ECHO", encode(value)))

    def time(self) -> tuple[int, int]:
        """Return the wall clock: seconds, and microseconds of the second."""
        seconds, micros = self._replies(b"TIME")
        return int(self._text(seconds)), int(self._text(micros))

    def flushdb(self, asynchronous: bool = False) -> bool:
        """Empty the database in one step. Tables of database 0 keep their declarations."""
        return self._ok(b"FLUSHDB", *([b"ASYNC"] if asynchronous else []))

    def flushall(self, asynchronous: bool = False) -> bool:
        """Empty all databases in one step. Tables keep their declarations."""
        return self._ok(b"FLUSHALL", *([b"ASYNC"] if asynchronous else []))


def _flat(mapping: Mapping[Key, Value]) -> list[bytes]:
    if not isinstance(mapping, Mapping):
        raise ArgumentError(f"{kind_of(mapping)} is no mapping of keys to values: give a dict")
    return [word for key, value in mapping.items() for word in (encode_key(key), encode(value))]
