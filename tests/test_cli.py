"""Tests of fridge.cli: every subcommand as a shell uses it, with its exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from fridge import cli, show
from fridge.reply import ErrorReply, Replies, Reply, request

from .server_fixture import free_port, run_fridge, serving

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def fridge(segment_path: Path) -> Run:
    """Run `fridge ...` on a segment of the test's own."""

    def run(*words: str, timeout: float = 30.0) -> CompletedProcess[str]:
        return run_fridge(*words, environment={"FRIDGE_SEGMENT": str(segment_path)}, timeout=timeout)

    return run


def test_data_commands_need_no_server(fridge: Run) -> None:
    assert fridge("set", "k", "hello").stdout == "OK\n"
    assert fridge("get", "k").stdout == "hello\n"
    assert fridge("incr", "n").stdout == "1\n"
    assert fridge("INCRBY", "n", "41").stdout == "42\n"
    assert fridge("hset", "h", "a", "1", "b", "2").stdout == "2\n"
    assert sorted(fridge("hgetall", "h").stdout.split()) == ["1", "2", "a", "b"]
    assert fridge("get", "absent").stdout == "\n"
    assert fridge("-n", "3", "set", "k", "other").stdout == "OK\n"
    assert fridge("get", "k").stdout == "hello\n"


def test_values_are_bytes(fridge: Run) -> None:
    assert fridge("set", "k", os.fsdecode(b"\xff\xfe")).stdout == "OK\n"
    assert fridge("strlen", "k").stdout == "2\n"


def test_an_error_is_one_line_and_status_1(fridge: Run) -> None:
    fridge("set", "k", "text")
    failed = fridge("incr", "k")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "fridge: ERR value is not an integer or out of range\n"
    assert fridge("get", "k").stdout == "text\n"


@pytest.mark.parametrize("words", [
    ["nosuch"], ["serve", "--prot", "1"], ["table", "create", "t"], ["top", "--interval", "x"], ["top", "--interval", "-1"],
    ["top", "--count", "-1"], ["ping", "-p", "70000"], ["ping", "-p", "-1"], ["ping", "-p", "0"], ["ping", "--timeout", "-1"], [],
])  # fmt: skip
def test_wrong_usage_is_status_2(fridge: Run, words: list[str]) -> None:
    ended = fridge(*words)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_tables(fridge: Run) -> None:
    assert fridge("table", "create", "t", "10", "count", "int32", "note", "str:8").returncode == 0
    assert fridge("table", "list").stdout == "t\n"
    assert "capacity\n10\n" in fridge("table", "info", "t").stdout
    refused = fridge("table", "create", "t", "11", "count", "int32")
    assert refused.returncode == 1
    assert "t" in refused.stderr
    assert fridge("hset", "t:a", "count", "5").returncode == 0
    assert fridge("hget", "t:a", "count").stdout == "5\n"
    assert fridge("table", "drop", "t").returncode == 0
    assert fridge("table", "list").stdout == ""


def test_path_prints_which_and_why(fridge: Run, segment_path: Path) -> None:
    found = fridge("path")
    assert found.stdout == f"{segment_path}\n"
    assert "$FRIDGE_SEGMENT is set" in found.stderr
    assert run_fridge("path", "--segment", "/x/y").stdout == "/x/y\n"


def test_stat_and_ps_and_top(fridge: Run, segment_path: Path) -> None:
    fridge("set", "k", "v")
    fridge("table", "create", "t", "10", "count", "int32")
    stat = fridge("stat").stdout
    assert str(segment_path) in stat
    assert "db0" in stat
    assert "t  " in stat
    with serving("--segment", str(segment_path)):
        listed = fridge("ps")
        assert "fridge serve" in listed.stdout
        assert "alive" in listed.stdout
    top = fridge("top", "--interval", "0.1", "--count", "2").stdout
    assert top.count("fridge top") == 2
    assert "commands/s" in top
    assert "\x1b" not in top, "colours and cursor movements are for terminals"


def test_verify_says_clean(fridge: Run) -> None:
    fridge("set", "k", "v")
    verified = fridge("verify")
    assert (verified.returncode, verified.stderr) == (0, "")
    assert verified.stdout.endswith("clean\n")
    assert "1 keys" in verified.stdout


def test_destroy_refuses_while_attached(fridge: Run, segment_path: Path) -> None:
    with serving("--segment", str(segment_path)) as server, server.client() as c:
        assert c("SET", "k", "v") == "OK"
        refused = fridge("destroy")
        assert refused.returncode == 1
        assert segment_path.exists()
    assert fridge("destroy").returncode == 0
    assert not segment_path.exists()


def test_a_segment_that_is_open_to_a_group_is_believed_only_when_told_so(segment_path: Path) -> None:
    told = {"FRIDGE_SEGMENT": str(segment_path), "FRIDGE_SEGMENT_PERM": "660"}
    assert run_fridge("set", "k", "v", environment=told).stdout == "OK\n"
    assert segment_path.stat().st_mode & 0o777 == 0o660
    assert run_fridge("get", "k", environment=told).stdout == "v\n"
    refused = run_fridge("get", "k", environment={"FRIDGE_SEGMENT": str(segment_path)})
    assert refused.returncode == 1
    assert "segment-perm" in refused.stderr


@pytest.mark.parametrize("command", ["stat", "ps", "top", "verify", "destroy"])
def test_tools_do_not_create_a_segment(fridge: Run, segment_path: Path, command: str) -> None:
    ended = fridge(command)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert not segment_path.exists()


def test_ping() -> None:
    with serving("--requirepass", "pw") as server:
        assert run_fridge("ping", "-p", str(server.port), "-a", "pw").stdout == "PONG\n"
        assert run_fridge("ping", "-s", server.unix, environment={"FRIDGE_REQUIREPASS": "pw"}).stdout == "PONG\n"
        refused = run_fridge("ping", "-p", str(server.port))
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "NOAUTH" in refused.stderr
        wrong = run_fridge("ping", "-p", str(server.http_port))
        assert wrong.returncode == 1
        assert "does not speak the Redis protocol" in wrong.stderr
    silent = run_fridge("ping", "-p", str(free_port()))
    assert silent.returncode == 1
    assert "no answer from 127.0.0.1:" in silent.stderr


def test_ping_reads_the_environment_as_serve_does() -> None:
    refused = run_fridge("ping", environment={"FRIDGE_PORT": "abc"})
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "port = 'abc'" in refused.stderr


def test_help_of_a_data_command_touches_no_key(fridge: Run, segment_path: Path) -> None:
    for flag in ("--help", "-h"):
        shown = fridge("incr", flag)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "incr takes 1 word: Increment the integer value of a key by one." in shown.stdout
    assert "set takes 2 or more words" in fridge("SET", "--help").stdout
    assert "object encoding takes 1 word" in fridge("object", "--help").stdout
    assert not segment_path.exists()
    assert all(name in fridge("--help").stdout for name in ("incr", "hgetall", "unlink"))


def test_a_command_that_is_not_there(fridge: Run) -> None:
    for words in (["info"], ["--segment", "/x", "info"]):
        refused = fridge(*words)
        assert refused.returncode == 2
        assert refused.stderr.startswith("fridge: there is no command 'info'; a command for servers is asked of one: redis-cli -p")


def test_where_segment_stands(fridge: Run, segment_path: Path) -> None:
    where = ["--segment", str(segment_path)]
    assert run_fridge(*where, "set", "k", "v").stdout == "OK\n"
    for words in (["stat", *where], [*where, "stat"]):
        assert "db0" in run_fridge(*words).stdout
    refused = run_fridge("get", "k", *where, environment={"FRIDGE_SEGMENT": str(segment_path)})
    assert refused.returncode == 1
    assert "--segment goes before the command" in refused.stderr


def test_a_directory_that_cannot_be_made_is_one_line(shared_dir: Path) -> None:
    (shared_dir / "file").write_text("precious")
    for words in (["set", "k", "v"], ["serve", "--port", "0", "--http", ""]):
        refused = run_fridge("--segment", str(shared_dir / "file" / "sub" / "segment"), *words)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
        assert "cannot create the directory" in refused.stderr


NO_TOML = """
import sys
sys.modules["tomllib"] = sys.modules["tomli"] = None  # as on Python 3.10 without the server's packages
from fridge import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_the_tools_need_no_reader_of_toml(segment_path: Path) -> None:
    def run(*words: str) -> CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", NO_TOML, *words], capture_output=True, text=True, check=False, cwd="/")

    assert run("--segment", str(segment_path), "incr", "n").stdout == "1\n"
    refused = run("serve", "--config", "/x/fridge.toml")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "needs tomli: pip install" in refused.stderr


def test_version_and_help() -> None:
    assert run_fridge("--version").stdout.startswith("fridge ")
    shown = run_fridge("serve", "--help")
    assert "--latch-timeout" in shown.stdout
    assert shown.returncode == 0


def test_tables_of_fridge_toml_are_declared(shared_dir: Path) -> None:
    file = shared_dir / "fridge.toml"
    file.write_text('[tables.limits]\ncapacity = 5\ncolumns = { count = "int32" }\n')
    with serving("--config", str(file), folder=shared_dir) as server, server.client() as c:
        assert c("TABLE", "LIST") == [b"limits"]
    file.write_text('[tables.limits]\ncapacity = 5\ncolumns = { count = "int99" }\n')
    ended = run_fridge("serve", "--config", str(file), "--port", str(free_port()), "--http", "", "--segment", str(shared_dir / "s"))
    assert ended.returncode == 1
    assert "table 'limits' of fridge.toml" in ended.stderr


# --- replies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"+OK\r\n", "OK"), (b":-5\r\n", -5), (b"$3\r\na\r\n\r\n", b"a\r\n"), (b"$-1\r\n", None), (b"_\r\n", None),
        (b"*2\r\n:1\r\n*1\r\n+x\r\n", [1, ["x"]]), (b"%1\r\n$1\r\nk\r\n#t\r\n", {b"k": True}), (b",1.5\r\n", 1.5),
        (b"-ERR no\r\n", ErrorReply("ERR no")), (b"=7\r\ntxt:abc\r\n", b"abc"),
        (b"(123456789012345678901\r\n", 123456789012345678901),
    ],
)  # fmt: skip
def test_replies_are_parsed_whole_and_byte_by_byte(data: bytes, reply: Reply) -> None:
    assert list(Replies().feed(data)) == [reply]
    slowly = Replies()
    assert [r for byte in data for r in slowly.feed(bytes([byte]))] == [reply]


def test_requests_are_arrays_of_bulk_strings() -> None:
    assert request(["SET", b"k", 1]) == b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n"


def test_what_is_no_reply_is_refused() -> None:
    with pytest.raises(ValueError, match="not a reply"):
        list(Replies().feed(b"HTTP/1.1 400\r\n"))


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (None, "(nil)"), (5, "(integer) 5"), (b'a"\n', '"a\\"\\n"'), ("OK", "OK"), ([b"a", 1], '1) "a"\n2) (integer) 1'),
        ([], "(empty array)"), ([[b"x"]], '1) 1) "x"'),
    ],
)  # fmt: skip
def test_replies_for_people_look_like_redis_cli_s(reply: Reply, text: str) -> None:
    assert show.reply_pretty(reply) == text


def test_every_data_command_is_a_command() -> None:
    from fridge.segment import command_names

    known = {name.partition("|")[0] for name in command_names()}
    assert set(cli.DATA_COMMANDS) <= known
