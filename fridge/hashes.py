"""Hashes: what the mmap door's handle can do with them, by redis-py's names and with its return values.

hget, hincrby, hcas and hset of one field are C methods of `fridge._hot.Segment`. Rows of typed tables answer to all of
these, as `table:key`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fridge.commands import Key, Value, encode, encode_key
from fridge.keys import Keys, Text

Field = Value


class Hashes(Keys):
    """Hashes."""

    def _hset(self, name: Key, key: Field | None, value: Value | None, mapping: Mapping[Field, Value] | None,
              items: Sequence[Value] | None) -> int:  # fmt: skip
        words: list[object] = list(items or [])
        if key is not None:
            words += [key, value]
        for field, content in (mapping or {}).items():
            words += [field, content]
        return self._int(b"HSET", encode_key(name), *map(encode, words))

    def hsetnx(self, name: Key, key: Field, value: Value) -> int:
        """Set a field if it is absent. Return 1 if it was set, else 0."""
        return self._int(b"HSETNX", encode_key(name), encode(key), encode(value))

    def hmset(self, name: Key, mapping: Mapping[Field, Value]) -> bool:
        """Set fields: hset's older name, which returns True."""
        words = [encode(word) for pair in mapping.items() for word in pair]
        return self._ok(b"HMSET", encode_key(name), *words)

    def hmget(self, name: Key, keys: Field | Iterable[Field], *args: Field) -> list[Text | None]:
        """Return the values of fields, None for those that are absent."""
        first = [keys] if isinstance(keys, (str, bytes, bytearray, memoryview, int, float)) else list(keys)
        return self._list(b"HMGET", encode_key(name), *map(encode, [*first, *args]))

    def hgetall(self, name: Key) -> dict[Text, Text]:
        """Return all fields and values as they were at one instant."""
        return self._pairs(self._run(b"HGETALL", encode_key(name)))

    def hdel(self, name: Key, *keys: Field) -> int:
        """Delete fields; return how many there were. A column of a row gets its default."""
        return self._int(b"HDEL", encode_key(name), *map(encode, keys))

    def hlen(self, name: Key) -> int:
        """Return how many fields there are."""
        return self._int(b"HLEN", encode_key(name))

    def hkeys(self, name: Key) -> list[Text]:
        """Return all fields."""
        return [self._text(field) for field in self._replies(b"HKEYS", encode_key(name))]

    def hvals(self, name: Key) -> list[Text]:
        """Return all values."""
        return [self._text(value) for value in self._replies(b"HVALS", encode_key(name))]

    def hrandfield(self, key: Key, count: int | None = None, withvalues: bool = False) -> Text | list[Text] | None:
        """Return a random field, or several.

        Args:
            key: the key.
            count: how many, all different; negative: as many, some perhaps twice. None: one field, not a list.
            withvalues: each followed by its value.
        """
        if count is None:
            return self._bytes(b"HRANDFIELD", encode_key(key))
        words = [b"HRANDFIELD", encode_key(key), encode(count), *([b"WITHVALUES"] if withvalues else [])]
        return [self._text(item) for item in self._replies(*words)]

    def hexists(self, name: Key, key: Field) -> bool:
        """Return whether there is such a field."""
        return bool(self._int(b"HEXISTS", encode_key(name), encode(key)))

    def hincrbyfloat(self, name: Key, key: Field, amount: float = 1.0) -> float:
        """Add to a field and return the sum."""
        return self._float(b"HINCRBYFLOAT", encode_key(name), encode(key), encode(amount))

    def hstrlen(self, name: Key, key: Field) -> int:
        """Return the length of a field's value, 0 when absent."""
        return self._int(b"HSTRLEN", encode_key(name), encode(key))

    def hscan(self, name: Key, cursor: int = 0, match: Key | None = None, count: int | None = None,
              no_values: bool = False) -> tuple[int, dict[Text, Text] | list[Text]]:  # fmt: skip
        """Return the next cursor (0: the end) and some fields with their values, or without them.

        Args:
            name: the key.
            cursor: 0, or what the call before returned.
            match: a glob pattern for fields.
            count: about how many fields to look at.
            no_values: a list of fields only.
        """
        words = [b"HSCAN", encode_key(name), encode(cursor)]
        if match is not None:
            words += [b"MATCH", encode_key(match)]
        if count is not None:
            words += [b"COUNT", encode(count)]
        following, found = self._replies(*words, *([b"NOVALUES"] if no_values else []))
        assert isinstance(following, bytes), following
        assert isinstance(found, list), found
        return int(following), [self._text(field) for field in found] if no_values else self._pairs(found)

    def hscan_iter(self, name: Key, match: Key | None = None, count: int | None = None,
                   no_values: bool = False) -> Iterator[tuple[Text, Text] | Text]:  # fmt: skip
        """Iterate over (field, value), or over fields; see hscan."""
        cursor = -1
        while cursor:
            cursor, found = self.hscan(name, max(cursor, 0), match, count, no_values)
            yield from found.items() if isinstance(found, dict) else found
