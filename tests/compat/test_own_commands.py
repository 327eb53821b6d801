"""What redis-server 7.0 does not have, as tables of requests and replies, each run in RESP2 and in RESP3.

SET IFEQ and IFNE, DELEX (Redis 8.4), DELIFEQ (Valkey 9), INCREX (Redis 8.8), CAS and CAD (Tair), HCAS, HSCAN NOVALUES,
TABLE, and rows, single-column tables and counters under the commands that everybody knows. A story is a list of steps on
one connection to an empty server; the replies are compared as bytes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

import fridge

from ..server_fixture import Server, serving
from .encode import NOT_INTEGER, OK, SYNTAX, WRONGTYPE, Big, Double, Error, Expected, Pairs, Status, encode
from .raw import Wire


def no_arguments(command: str) -> Error:
    return Error(f"ERR wrong number of arguments for '{command}' command")


def row_type(table: str) -> Error:
    return Error(f"WRONGTYPE Operation against a key holding the wrong kind of value (row of table '{table}')")


COLUMNS = "count int32 reset int64 note str:8 f float64 b bool u uint64"
UNKNOWN_COLUMN = Error("ERR table 'rates' has no column 'nosuch'; it has count, reset, note, f, b, u")
EMPTY_ROW: dict[str, Expected] = {"count": "0", "reset": "0", "note": "", "f": "0", "b": "0", "u": "0"}
OTHER_KIND = Error("ERR a row can only be renamed or copied within its own table")
CREATE = f"TABLE CREATE rates CAPACITY 3 COLUMNS {COLUMNS}"
TYPES = "types are int8 to int64, uint8 to uint64, float64, bool, str:N and bytes:N with N from 1 to 65535"

STORIES: dict[str, list[tuple[str, Expected]]] = {
    "SET IFEQ and IFNE": [
        ("SET k a IFEQ b", None), ("EXISTS k", 0),  # nothing equals a key that is not there
        ("SET k a IFNE b", OK), ("SET k b IFEQ x", None), ("GET k", "a"),
        ("SET k b IFEQ a", OK), ("SET k c IFNE b", None), ("SET k c ifne x", OK), ("GET k", "c"),
        ("SET k d IFEQ c GET", "c"), ("SET k e IFEQ c GET", "d"), ("GET k", "d"),  # with GET the old value either way
        ("SET new v IFEQ x GET", None), ("EXISTS new", 0), ("SET new v IFNE x GET", None), ("GET new", "v"),
        ("SET n 10", OK), ("SET n 11 IFEQ 10", OK), ("GET n", "11"), ("SET n 12 IFEQ 011", None),
        ("SET k f IFEQ d EX 100", OK), ("TTL k", 100), ("SET k g IFEQ f KEEPTTL", OK), ("TTL k", 100),
        ("SET k h IFEQ g", OK), ("TTL k", -1),
        ("SET k x IFEQ", SYNTAX), ("SET k x IFEQ a NX", SYNTAX), ("SET k x XX IFNE a", SYNTAX),
        ("SET k x IFEQ a IFNE b", SYNTAX), ("GET k", "h"),
        ("HSET h f 1", 1), ("SET h x IFEQ a", WRONGTYPE), ("SET h x IFNE a", WRONGTYPE), ("TYPE h", Status("hash")),
    ],
    "DELEX and DELIFEQ": [
        ("SET k a", OK), ("DELEX k IFEQ b", 0), ("DELEX k IFNE a", 0), ("EXISTS k", 1), ("DELEX k IFEQ a", 1),
        ("EXISTS k", 0), ("DELEX k IFEQ a", 0), ("DELEX k IFNE a", 0), ("DELEX k", 0),
        ("SET k a", OK), ("DELEX k ifne b", 1), ("SET k a", OK), ("DELEX k", 1),
        ("SET n 10", OK), ("DELEX n IFEQ 10", 1),
        ("SET k a", OK), ("DELIFEQ k b", 0), ("DELIFEQ k a", 1), ("DELIFEQ k a", 0),
        ("HSET h f 1", 1), ("DELEX h IFEQ a", WRONGTYPE), ("DELIFEQ h a", WRONGTYPE), ("DELEX h", 1),
        ("DELEX k IFEQ", no_arguments("delex")), ("DELEX k IFEQ a b", no_arguments("delex")),
        ("DELEX k MAYBE a", Error("ERR Invalid condition. Use IFEQ or IFNE")), ("DELEX", no_arguments("delex")),
        ("DELIFEQ k", no_arguments("delifeq")),
    ],
    "CAS and CAD": [
        ("CAS k a b", -1), ("SET k a", OK), ("CAS k x b", 0), ("GET k", "a"), ("CAS k a b", 1), ("GET k", "b"),
        ("EXPIRE k 100", 1), ("CAS k b c", 1), ("TTL k", 100),  # keeps the time to live
        ("SET n 1", OK), ("CAS n 1 2", 1), ("INCR n", 3), ("CAS n 3 x", 1), ("GET n", "x"),
        ("SETRANGE m 0 12", 2), ("CAS m 12 13", 1), ("APPEND m 4", 3), ("CAS m 134 5", 1), ("SETRANGE p 0 12", 2), ("CAD p 12", 1),
        ("SETRANGE p 0 12", 2), ("INCREX p", [13, 1]), ("CAD k x", 0), ("CAD k c", 1), ("CAD k c", -1),
        ("HSET h f 1", 1), ("CAS h a b", WRONGTYPE), ("CAD h a", WRONGTYPE), ("CAS k a", no_arguments("cas")),
        ("CAD k", no_arguments("cad")),
    ],
    "HCAS and HSCAN NOVALUES": [
        ("HCAS h f 1 2", -1), ("HSET h f 1 g 2", 2), ("HCAS h f x 9", 0), ("HGET h f", "1"), ("HCAS h f 1 2", 1),
        ("HGET h f", "2"), ("HCAS h nosuch 1 2", -1), ("HCAS h f 1", no_arguments("hcas")),
        ("HSCAN h 0", ["0", ["f", "2", "g", "2"]]), ("HSCAN h 0 NOVALUES", ["0", ["f", "g"]]),
        ("HSCAN h 0 MATCH g* novalues COUNT 10", ["0", ["g"]]), ("HSCAN nosuch 0 NOVALUES", ["0", []]),
        ("HSCAN h 0 NOVALUE", SYNTAX), ("SET k 1", OK), ("HCAS k f 1 2", WRONGTYPE), ("HSCAN k 0 NOVALUES", WRONGTYPE),
    ],
    "INCREX": [
        ("INCREX n", [1, 1]), ("INCREX n BYINT 10", [11, 10]), ("INCREX n BYINT 10 UBOUND 15", [11, 0]),
        ("INCREX n BYINT 10 UBOUND 15 SATURATE", [15, 4]), ("INCREX n BYINT -100 LBOUND 0", [15, 0]),
        ("INCREX n BYINT -100 LBOUND 3 SATURATE", [3, -12]), ("INCREX n EX 100", [4, 1]), ("TTL n", 100),
        ("INCREX n ENX EX 5", [5, 1]), ("TTL n", 100), ("INCREX n", [6, 1]), ("TTL n", 100),
        ("INCREX n BYINT 100 UBOUND 50 EX 7", [6, 0]), ("TTL n", 100),  # refused: the time to live stays
        ("INCREX n PERSIST", [7, 1]), ("TTL n", -1), ("INCREX n ENX EX 50", [8, 1]), ("TTL n", 50),
        ("INCREX n BYFLOAT 0.5", [Double("8.5"), Double("0.5")]), ("GET n", "8.5"), ("INCREX n", NOT_INTEGER),
        ("INCREX n BYFLOAT 10 UBOUND 9.5", [Double("8.5"), Double("0")]),
        ("INCREX n BYFLOAT 10 UBOUND 9.5 SATURATE", [Double("9.5"), Double("1")]),
        ("SET k text", OK), ("INCREX k", NOT_INTEGER), ("INCREX k BYFLOAT 1", Error("ERR value is not a valid float")),
        ("INCREX n BYINT x", NOT_INTEGER), ("INCREX n BYINT 1 BYFLOAT 1", SYNTAX), ("INCREX n ENX", SYNTAX),
        ("INCREX n EX 5 PERSIST", SYNTAX), ("INCREX n FOO", SYNTAX),
        ("INCREX new LBOUND 5 UBOUND 1", Error("ERR LBOUND is above UBOUND")),
        ("EXISTS new", 0), ("HSET h f 1", 1), ("INCREX h", WRONGTYPE), ("GET n", "9.5"),
        # the type's own limits are bounds too, and an explicit one comes before them
        ("SET m 9223372036854775807", OK), ("INCREX m", [2**63 - 1, 0]), ("INCREX m SATURATE", [2**63 - 1, 0]),
        ("SET m 5", OK), ("INCREX m BYINT 9223372036854775807 UBOUND 10 SATURATE", [10, 5]),
        ("SET m 20", OK), ("INCREX m UBOUND 10", [20, 0]), ("INCREX m UBOUND 10 SATURATE", [10, -10]),
    ],
    "TABLE": [
        ("TABLE LIST", []), (CREATE, OK), (CREATE, OK), ("TABLE LIST", ["rates"]),
        ("TABLE CREATE rates CAPACITY 4 COLUMNS count int32 reset int64 note str:8 f float64 b bool u uint64",
         Error("ERR table 'rates' exists with another schema: capacity is 3, not 4")),
        ("TABLE INFO rates",
         {"name": "rates", "capacity": 3, "rows": 0, "expires": 0, "memory_bytes": 4096, "refused_inserts": 0,
          "columns": [["count", "int32"], ["reset", "int64"], ["note", "str:8"], ["f", "float64"],
                      ["b", "bool"], ["u", "uint64"]]}),
        ("TABLE INFO nosuch", Error("ERR no such table 'nosuch'")), ("TABLE SCAN nosuch 0", Error("ERR no such table 'nosuch'")),
        ("TABLE SCAN rates 0", ["0", []]), ("TABLE SCAN rates x", Error("ERR invalid cursor")),
        ("HSET rates:a count 1", 1), ("TABLE SCAN rates 0", ["0", [["rates:a", EMPTY_ROW | {"count": "1"}]]]),
        ("TABLE SCAN rates 0 MATCH rates:b* COUNT 5", ["0", []]), ("EXPIRE rates:a 100", 1),
        ("FLUSHDB", OK), ("TABLE LIST", ["rates"]), ("EXISTS rates:a", 0),  # declarations stay
        ("TABLE DROP rates", OK), ("TABLE DROP rates", Error("ERR no such table 'rates'")), ("TABLE LIST", []),
        ("HSET rates:a anything goes", 1), (CREATE, Error("ERR 1 ordinary key already begins with 'rates:'")),
        ("TABLE", no_arguments("table")), ("TABLE NOSUCH", Error("ERR unknown subcommand 'NOSUCH'. Try TABLE HELP.")),
        ("MULTI", OK), ("TABLE DROP rates", Error("ERR Command not allowed inside a transaction")), ("DISCARD", OK),
    ],
    "rows": [
        (CREATE, OK), ("HSET rates:a count 1 note api f 1.5 b 1 u 18446744073709551615", 5), ("TYPE rates:a", Status("hash")),
        ("HGETALL rates:a", EMPTY_ROW | {"count": "1", "note": "api", "f": "1.5", "b": "1", "u": Big(2**64 - 1)}),
        ("HGET rates:a u", Big(2**64 - 1)), ("HMGET rates:a note b", ["api", "1"]), ("HLEN rates:a", 6),
        ("HEXISTS rates:a count", 1), ("HSTRLEN rates:a note", 3), ("HKEYS rates:a", list(EMPTY_ROW)),
        ("HINCRBY rates:a count 5", 6), ("HINCRBYFLOAT rates:a f 1.5", "3"), ("HSET rates:a count 7", 0),
        ("HDEL rates:a count", 1), ("HGET rates:a count", "0"), ("EXISTS rates:a", 1),  # a column's default
        ("HCAS rates:a count 0 9", 1), ("HCAS rates:a count 0 9", 0), ("HCAS rates:b count 0 9", -1),
        ("HGET rates:a nosuch", UNKNOWN_COLUMN), ("HSET rates:a nosuch 1", UNKNOWN_COLUMN),
        ("HSET rates:a count x", Error("ERR table 'rates' column 'count' is int32: 'x' is not an integer")),
        ("HSET rates:a count 2147483648",
         Error("ERR table 'rates' column 'count' is int32: 2147483648 is not between -2147483648 and 2147483647")),
        ("HINCRBY rates:a count 2147483647",
         Error("ERR table 'rates' column 'count' is int32: 9 + 2147483647 is not between -2147483648 and 2147483647")),
        ("HSET rates:a note 123456789",
         Error("ERR table 'rates' column 'note' is str:8: a value of 9 bytes is too long, the limit is 8")),
        ("HGET rates:a count", "9"), ("GET rates:a", row_type("rates")), ("SET rates:a x", row_type("rates")),
        ("EXPIRE rates:a 100", 1), ("TTL rates:a", 100), ("PERSIST rates:a", 1), ("TTL rates:a", -1),
        ("RENAME rates:a rates:z", OK), ("EXISTS rates:a", 0), ("COPY rates:z rates:y", 1), ("HGET rates:y count", "9"),
        ("RENAME rates:z other", OTHER_KIND), ("COPY rates:z other", OTHER_KIND), ("MOVE rates:z 1", OTHER_KIND),
        ("HSET rates:x count 1", 1), ("HSET rates:w count 1", Error("FULL table 'rates' is full: all of its 3 rows are in use")),
        ("DEL rates:x rates:y", 2), ("HSET rates:w count 1", 1), ("SELECT 1", OK), ("EXISTS rates:z", 0),
        ("SELECT 0", OK), ("TABLE DROP rates", OK),
    ],
    "tables of one column": [
        ("TABLE CREATE one CAPACITY 10 COLUMNS v int64", OK), ("SET one:k 5", OK), ("GET one:k", "5"), ("HGET one:k v", "5"),
        ("INCR one:k", 6), ("INCRBY one:k 10", 16), ("DECR one:k", 15), ("GETSET one:k 3", "15"), ("MGET one:k one:x", ["3", None]),
        ("CAS one:k 3 4", 1), ("CAS one:k 3 4", 0), ("CAS one:x 3 4", -1), ("SET one:k 9 NX", None), ("SET one:n 9 NX EX 100", OK),
        ("TTL one:n", 100), ("SET one:n 10", OK), ("TTL one:n", -1), ("GETDEL one:n", "10"), ("EXISTS one:n", 0),
        ("MSET one:a 1 one:b 2", OK), ("MGET one:a one:b", ["1", "2"]), ("TYPE one:k", Status("hash")),
        ("SET one:k text", Error("ERR table 'one' column 'v' is int64: 'text' is not an integer")), ("GET one:k", "4"),
        ("APPEND one:k x", Error("ERR operation not supported on a row of a table")),
        ("TABLE CREATE txt CAPACITY 10 COLUMNS v str:5", OK), ("SET txt:k hello", OK), ("GET txt:k", "hello"),
        ("SET txt:k toolong", Error("ERR table 'txt' column 'v' is str:5: a value of 7 bytes is too long, the limit is 5")),
        ("INCR txt:k", Error("ERR table 'txt' column 'v' is str:5: only an integer column can be incremented")),
        ("TABLE DROP one", OK), ("TABLE DROP txt", OK), ("GET one:k", None),
    ],
    "uint64 beyond int64": [
        ("TABLE CREATE one CAPACITY 10 COLUMNS v uint64", OK), ("SET one:k 9223372036854775807", OK),
        ("GET one:k", "9223372036854775807"), ("INCR one:k", Big(2**63)), ("INCRBY one:k 5", Big(2**63 + 5)),
        ("DECR one:k", Big(2**63 + 4)), ("DECRBY one:k 4", Big(2**63)), ("DECR one:k", 2**63 - 1),
        ("HINCRBY one:k v 1", Big(2**63)), ("SET one:k 18446744073709551615", OK), ("GET one:k", Big(2**64 - 1)),
        ("MGET one:k one:x", [Big(2**64 - 1), None]), ("GETEX one:k EX 100", Big(2**64 - 1)),
        ("GETSET one:k 18446744073709551614", Big(2**64 - 1)), ("SET one:k 9223372036854775808 GET", Big(2**64 - 2)),
        ("SET one:k 1 IFEQ 9223372036854775807 GET", Big(2**63)), ("CAS one:k 9223372036854775808 9223372036854775809", 1),
        ("HGET one:k v", Big(2**63 + 1)), ("HMGET one:k v v", [Big(2**63 + 1)] * 2), ("HGETALL one:k", {"v": Big(2**63 + 1)}),
        ("HVALS one:k", [Big(2**63 + 1)]), ("HSCAN one:k 0", ["0", ["v", Big(2**63 + 1)]]),
        ("HRANDFIELD one:k 1 WITHVALUES", Pairs((("v", Big(2**63 + 1)),))),
        ("HRANDFIELD one:k -2 WITHVALUES", Pairs((("v", Big(2**63 + 1)),) * 2)),
        ("TABLE SCAN one 0", ["0", [["one:k", {"v": Big(2**63 + 1)}]]]),
        ("HCAS one:k v 9223372036854775809 18446744073709551615", 1),
        ("HSTRLEN one:k v", 20), ("STRLEN one:k", 20), ("GETRANGE one:k 0 3", "1844"),  # lengths and parts are of its digits
        ("INCR one:k", Error("ERR table 'one' column 'v' is uint64: 18446744073709551615 + 1 is not between 0 and "
                             "18446744073709551615")),
        ("MULTI", OK), ("GET one:k", Status("QUEUED")), ("DECR one:k", Status("QUEUED")), ("GETDEL one:k", Status("QUEUED")),
        ("EXEC", [Big(2**64 - 1), Big(2**64 - 2), Big(2**64 - 2)]), ("EXISTS one:k", 0),
        ("INCRBY one:k -1", Error("ERR table 'one' column 'v' is uint64: 0 - 1 is not between 0 and 18446744073709551615")),
        ("TABLE CREATE two CAPACITY 10 COLUMNS a int64 b uint64", OK), ("HINCRBY two:k a -5", -5), ("HINCRBY two:k b 5", 5),
        ("HSET two:k b 18446744073709551610", 0), ("HINCRBY two:k b 5", Big(2**64 - 1)), ("HINCRBY two:k a -1", -6),
        ("TABLE DROP one", OK), ("TABLE DROP two", OK),
    ],
    "declarations that cannot be": [
        ("TABLE CREATE t CAPACITY 0 COLUMNS v int64", Error("ERR capacity must be a whole number of rows, at least 1")),
        ("TABLE CREATE t CAPACITY -1 COLUMNS v int64", Error("ERR capacity must be a whole number of rows, at least 1")),
        ("TABLE CREATE t CAPACITY x COLUMNS v int64", Error("ERR capacity must be a whole number of rows, at least 1")),
        ("TABLE CREATE t CAPACITY 5 COLUMNS v int64 v int32", Error("ERR column 'v' is given twice")),
        *((f"TABLE CREATE t CAPACITY 5 COLUMNS v {kind}", Error(f"ERR column 'v' has the unknown type '{kind}'; {TYPES}"))
          for kind in ("int65", "str", "str:0", "str:65536", "INT", "float32", "bytes:x")),
        ("TABLE CREATE t CAPACITY 5 COLUMNS v", SYNTAX), ("TABLE CREATE t SIZE 5 COLUMNS v int8", SYNTAX),
        ("TABLE CREATE t CAPACITY 5 COLUMNS v int8 w", SYNTAX), ("TABLE CREATE t", no_arguments("table|create")),
        *((f"TABLE CREATE '{name}' CAPACITY 5 COLUMNS v int8",
           Error(f"ERR '{shown}' is no table name: letters, digits, '_', '.' and '-', at most 63"))
          for name, shown in (("a:b", "a:b"), ("two words", "two words"), ("", ""), ("x" * 64, "x" * 40 + "..."))),
        ("TABLE LIST", []),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("story", STORIES)
def test_story(server: Server, story: str, protocol: int) -> None:
    with Wire((server.host, server.port)) as wire:
        assert wire("HELLO", protocol).startswith((b"*14", b"%7"))
        assert wire("FLUSHALL") == b"+OK\r\n"
        for line, expected in STORIES[story]:
            assert wire(*shlex.split(line)) == encode(expected, protocol), line


COUNTER: list[tuple[str, Expected]] = [
    ("GET hits", "5"), ("INCR hits", 6), ("INCRBY hits 4", 10), ("DECR hits", 9), ("TYPE hits", Status("string")),
    ("OBJECT ENCODING hits", "int"), ("SET hits 3", OK), ("GETSET hits 4", "3"), ("CAS hits 4 5", 1), ("CAS hits 4 5", 0),
    ("MGET hits nosuch", ["5", None]), ("INCREX hits BYINT 10 UBOUND 9 SATURATE", [9, 4]), ("STRLEN hits", 1),
    ("INCRBY hits 9223372036854775807", Error("ERR increment or decrement would overflow")), ("GET hits", "9"),
    ("HSET hits f 1", WRONGTYPE), ("EXISTS hits", 1), ("EXPIRE hits 100", 1), ("TTL hits", 100), ("PERSIST hits", 1),
    ("SELECT 1", OK), ("GET hits", None), ("SELECT 0", OK), ("INCR hits", 10),
]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 3])
def test_counter(server: Server, protocol: int) -> None:
    """A counter of the mmap door is the number that INCR of its name counts."""
    with Wire((server.host, server.port)) as wire, fridge.open(server.segment) as f:
        wire("HELLO", protocol)
        wire("FLUSHALL")
        hits = f.counter("hits")
        hits.increment(5)
        for line, expected in COUNTER:
            assert wire(*shlex.split(line)) == encode(expected, protocol), line
        assert hits.get() == 10
        assert hits.increment() == 11
        assert wire("GET", "hits") == encode("11", protocol)
        assert wire("DEL", "hits") == b":1\r\n"
        assert hits.increment() == 1
