"""Tests of fridge.config: one table, four sources, and what CONFIG GET and SET say."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from fridge import config
from fridge.config import SettingError, Settings

# --- kinds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [("0", 0), ("1k", 1000), ("1kb", 1024), ("256mb", 256 << 20), ("2GB", 2 << 30), ("1m", 1000000), ("3 mb", 3 << 20)],
)
def test_memory_is_read_as_redis_reads_it(text: str, bytes_: int) -> None:
    assert config.parse_memory(text) == bytes_


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5mb", "1tb", "mb"])
def test_what_is_no_memory_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory value"):
        config.parse_memory(text)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("port", "70000", "between 0 and 65535"),
        ("port", "http", "integer"),
        ("prealloc", "maybe", "'yes' or 'no'"),
        ("maxmemory-policy", "lfu", "one of the following: noeviction, allkeys-lru"),
        ("http", "nowhere", "HOST:PORT"),
        ("unixsocketperm", "999", "octal"),
        ("latch-timeout", "0", "between 1 and"),
        ("requirepass", "a\0b", "NUL"),
    ],
)
def test_a_bad_value_names_the_setting_and_what_would_do(name: str, text: str, words: str) -> None:
    with pytest.raises(SettingError) as caught:
        config.parse(name, text)
    assert name in str(caught.value)
    assert words in str(caught.value)


def test_a_password_is_never_in_a_message() -> None:
    with pytest.raises(SettingError) as caught:
        config.parse("requirepass", "sec\0ret")
    assert "sec" not in str(caught.value)


def test_an_unknown_setting_suggests_the_near_one() -> None:
    with pytest.raises(SettingError, match="did you mean 'latch-timeout'"):
        config.parse("latch-timeot", "5")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [("127.0.0.1:9380", ("127.0.0.1", 9380)), ("[::1]:80", ("::1", 80)), ("9380", ("127.0.0.1", 9380)), (":9", ("127.0.0.1", 9))],
)
def test_endpoints(text: str, endpoint: tuple[str, int]) -> None:
    assert config.split_endpoint(text) == endpoint


def test_every_default_is_a_value_that_its_own_kind_takes() -> None:
    for name in config.names():
        assert config.parse(name, config.default_text(name)) == config.value_of(Settings(), name), name


def test_memory_is_shown_as_one_would_write_it() -> None:
    assert [config.write_memory(n) for n in (0, 1000, 1 << 20, 256 << 20, 1536 << 20, 64 << 30)] == [
        "0", "1000", "1mb", "256mb", "1536mb", "64gb"]  # fmt: skip
    assert config.default_text("size") == "256mb"
    assert config.config_get(Settings(), ["size"]) == {"size": "268435456"}
    with pytest.raises(SettingError, match="size = 'lots': argument must be a memory value, such as 64mb or 1gb"):
        config.parse("size", "lots")
    with pytest.raises(SettingError, match=f"between {1 << 20} and {64 << 30}"):
        config.parse("size", "65gb")


# --- sources ---------------------------------------------------------------------------------------------------------


def flags(*words: str) -> dict[str, str]:
    parser = argparse.ArgumentParser()
    config.add_flags(parser)
    return config.from_flags(parser.parse_args(list(words)))


def test_flags_win_over_the_environment_and_that_over_the_file() -> None:
    environment = config.from_environment({"FRIDGE_PORT": "2", "FRIDGE_WORKERS": "2", "PORT": "9"})
    settings = config.load({"port": "1", "workers": "1", "hz": "7"}, environment, flags("--port", "3"))
    assert (settings.port, settings.workers, settings.hz) == (3, 2, 7)


def test_every_setting_is_a_flag_a_variable_and_a_key(tmp_path: Path) -> None:
    for name in config.names():
        text = config.default_text(name)
        assert flags(f"--{name}", text) == {name: text}
        assert config.from_environment({config.variable(name): text}) == {name: text}
        assert config.parse_file({name: text}, "x").settings == {name: text}


def test_a_bad_value_names_its_source() -> None:
    with pytest.raises(SettingError, match="from environment"):
        config.load({}, {"port": "x"}, {})


def test_a_file_gives_settings_and_tables(tmp_path: Path) -> None:
    file = tmp_path / "fridge.toml"
    file.write_text(
        'port = 7000\nbind = ["127.0.0.1", "-::1"]\nprealloc = true\nunixsocketperm = 0o770\nsize = "1gb"\n'
        '[tables.rate_limits]\ncapacity = 10\ncolumns = { count = "int32", note = "str:64" }\n'
    )
    contents = config.read_file(file)
    settings = config.load(contents.settings, {}, {})
    assert (settings.port, settings.bind, settings.prealloc) == (7000, "127.0.0.1 -::1", True)
    assert (settings.unixsocketperm, settings.size) == (0o770, 1 << 30)
    assert contents.tables == (config.TableDeclaration("rate_limits", 10, (("count", "int32"), ("note", "str:64"))),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = ", "not valid TOML"),
        ("prot = 1", "did you mean 'port'"),
        ("port = [1]", "single value"),
        ("[tables.t]\ncapacity = 1", "needs exactly"),
        ('[tables.t]\ncapacity = 0\ncolumns = { a = "int8" }', "at least 1"),
        ("[tables.t]\ncapacity = 1\ncolumns = {}", "columns must be"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "fridge.toml"
    file.write_text(text)
    with pytest.raises(SettingError) as caught:
        config.read_file(file)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cannot read .*nothing"):
        config.read_file(tmp_path / "nothing.toml")


# --- CONFIG GET and SET ----------------------------------------------------------------------------------------------

PROBED = (
    "databases save appendonly maxmemory maxmemory-policy maxmemory-samples maxclients timeout requirepass proto-max-bulk-len"
    " port bind unixsocket latch-timeout protected-mode client-query-buffer-limit slowlog-log-slower-than slowlog-max-len"
    " io-threads hash-max-listpack-entries hash-max-listpack-value"
)


@pytest.mark.parametrize("name", PROBED.split())
def test_config_get_knows_what_clients_probe(name: str) -> None:
    assert list(config.config_get(Settings(), [name])) == [name]


def test_config_get_says_what_redis_says() -> None:
    found = config.config_get(Settings(), ["databases", "save", "appendonly", "maxmemory", "protected-mode"])
    assert found == {"databases": "16", "save": "", "appendonly": "no", "maxmemory": "0", "protected-mode": "yes"}


def test_config_get_takes_patterns_and_is_silent_about_the_unknown() -> None:
    assert set(config.config_get(Settings(), ["MAXMEM*"])) >= {"maxmemory", "maxmemory-policy", "maxmemory-samples"}
    assert config.config_get(Settings(), ["no-such-thing", "[a"]) == {}
    assert set(config.config_get(Settings(), ["*"])) >= {*config.names(), *config.FIXED}


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("h?llo", "hello", True), ("h[ae]llo", "hallo", True), ("h[^e]llo", "hello", False), ("h[a-c]*", "hb", True),
        ("a\\*b", "a*b", True), ("a\\*b", "axb", False), ("*", "", True), ("HZ", "hz", True), ("a+", "aa", False),
    ],
)  # fmt: skip
def test_glob(pattern: str, name: str, matches: bool) -> None:
    assert config.glob_match(pattern, name) is matches


def test_config_set_gives_parsed_values() -> None:
    changes = config.config_set(Settings(), [("MaxMemory", "1mb"), ("requirepass", "x"), ("save", "")])
    assert changes == {"maxmemory": 1 << 20, "requirepass": "x"}
    assert config.apply(Settings(), changes).maxmemory == 1 << 20


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        ([("foo", "1")], "Unknown option or number of arguments for CONFIG SET - 'foo'"),
        ([("port", "1")], "CONFIG SET failed (possibly related to argument 'port') - can't set immutable config"),
        ([("databases", "3")], "CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config"),
        ([("maxclients", "x")], "CONFIG SET failed (possibly related to argument 'maxclients') - argument couldn't be parsed"
                                " into an integer"),
        ([("maxclients", "0")], "CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1"
                                " and 4294967295 inclusive"),
        ([("maxmemory", "x")], "CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a memory value"),
        ([("hz", "5"), ("hz", "6")], "CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter"),
    ],
)  # fmt: skip
def test_config_set_refuses_in_redis_words(pairs: list[tuple[str, str]], text: str) -> None:
    with pytest.raises(SettingError) as caught:
        config.config_set(Settings(), pairs)
    assert str(caught.value) == text


def test_the_documentation_lists_every_setting() -> None:
    table = config.markdown()
    assert all(f"| `{name}` |" in table for name in config.names())
