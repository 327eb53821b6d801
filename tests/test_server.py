"""Tests of fridge.server with real servers: doors, limits, settings over all workers, deaths, drain, exit statuses."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fridge.reply import ErrorReply, request

from .server_fixture import Client, Server, free_port, run_fridge, serving, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for tests that leave it as they found it."""
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def pair() -> Iterator[Server]:
    """A server with two data workers."""
    with serving(workers=2) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with server.client() as connected:
        yield connected


def on_both_workers(server: Server) -> tuple[Client, Client]:
    """Two connections that different workers serve."""
    first = server.client()
    mine = client_facts(first, first("CLIENT", "ID"))["fd"], worker_of(server, first)
    for _ in range(200):
        second = server.client()
        if worker_of(server, second) != mine[1]:
            return first, second
        second.close()
    raise AssertionError("the kernel gave every connection to one worker")


def worker_of(server: Server, connected: Client) -> int:
    """The number of the worker that serves a connection, as the registry in the segment has it."""
    from fridge.segment import Segment

    client_id = str(connected("CLIENT", "ID"))
    with Segment(server.segment, create=False, readonly=True) as segment:
        (run,) = segment.system_hgetall("servers")
        return int(segment.system_hgetall(f"clients:{run}")[client_id].split(b" ")[0])


def client_facts(connected: Client, client_id: object) -> dict[str, str]:
    """A client's line in CLIENT LIST."""
    lines = connected.text("CLIENT", "LIST", "ID", str(client_id)).splitlines()
    return dict(part.split("=", 1) for part in lines[0].split(" "))


# --- doors -----------------------------------------------------------------------------------------------------------


def test_the_start_says_where_each_door_is_in_one_block(server: Server) -> None:
    block = server.output()
    assert f"127.0.0.1:{server.port}" in block
    assert server.unix in block
    assert f"http://127.0.0.1:{server.http_port}/" in block
    assert server.segment in block
    assert len(block.splitlines()) <= 8


@pytest.mark.parametrize("unix", [False, True])
def test_commands_work_over_both_sockets(server: Server, unix: bool) -> None:
    with server.client(unix) as c:
        assert c("PING") == "PONG"
        assert c("SET", f"door{unix}", "v") == "OK"
        assert c("GET", f"door{unix}") == b"v"
        assert c("NOSUCH", "a") == ErrorReply("ERR unknown command 'NOSUCH', with args beginning with: 'a' ")


def test_both_sockets_see_one_state(server: Server) -> None:
    with server.client() as tcp, server.client(unix=True) as unix:
        assert tcp("SET", "shared", "1") == "OK"
        assert unix("INCR", "shared") == 2
        assert tcp("GET", "shared") == b"2"


def test_pipelines_and_inline_commands(client: Client) -> None:
    client.send(b"".join(request(["SET", f"p{i}", i]) for i in range(1000)) + b"PING\r\n")
    assert [client.read() for _ in range(1001)] == ["OK"] * 1000 + ["PONG"]


def test_a_request_split_at_every_byte(client: Client) -> None:
    for byte in request(["ECHO", "split"]):
        client.send(bytes([byte]))
    assert client.read() == b"split"


def test_a_value_of_many_megabytes_comes_back_whole(server: Server) -> None:
    value = os.urandom(1 << 20) * 8
    with server.client() as c:
        assert c("SET", "big", value) == "OK"
        assert c("GET", "big") == value
        assert c("DEL", "big") == 1


def test_a_client_that_does_not_read_holds_up_nobody_and_loses_nothing(server: Server) -> None:
    value = b"x" * 100_000
    with server.client() as slow, server.client() as other:
        assert other("SET", "slow", value) == "OK"
        slow.socket.settimeout(30)
        slow.send(request(["GET", "slow"]) * 400)
        assert other("PING") == "PONG"
        for _ in range(400):
            assert slow.read() == value


def test_hello_3_answers_maps(client: Client) -> None:
    hello = client("HELLO", "3")
    assert isinstance(hello, dict)
    assert (hello[b"server"], hello[b"proto"], hello[b"version"]) == (b"redis", 3, b"7.2.4")
    assert client("CONFIG", "GET", "databases") == {b"databases": b"16"}
    assert client.text("INFO", "server").startswith("# Server\r\nredis_version:7.2.4\r\n")


def test_quit_says_ok_and_closes(server: Server) -> None:
    with server.client() as c:
        assert c("QUIT") == "OK"
        assert c.is_closed()


def test_malformed_resp_is_a_protocol_error_and_closes(server: Server) -> None:
    with server.client() as c:
        c.send(b"*1\r\n$-5\r\n")
        reply = c.read()
        assert isinstance(reply, ErrorReply)
        assert str(reply).startswith("ERR Protocol error")
        assert c.is_closed()


# --- INFO and CLIENT -------------------------------------------------------------------------------------------------

HEADERS = ["Server", "Clients", "Memory", "Persistence", "Stats", "Replication", "CPU", "Modules", "Commandstats", "Errorstats",
           "Latencystats", "Cluster", "Keyspace", "Fridge"]  # fmt: skip


def test_info_has_redis_sections_in_order_and_ours_last(client: Client) -> None:
    lines = client.text("INFO", "all").split("\r\n")
    assert [line[2:] for line in lines if line.startswith("# ")] == HEADERS
    assert "Commandstats" not in client.text("INFO")


def test_info_fields_that_exporters_read(server: Server, client: Client) -> None:
    client("SET", "k", "v")
    client("GET", "k")
    info = client.info()
    wanted = (
        "redis_version fridge_version redis_mode os process_id run_id tcp_port uptime_in_seconds connected_clients"
        " blocked_clients maxclients used_memory used_memory_rss used_memory_peak maxmemory maxmemory_policy"
        " mem_fragmentation_ratio total_connections_received total_commands_processed instantaneous_ops_per_sec"
        " total_net_input_bytes total_net_output_bytes rejected_connections expired_keys evicted_keys keyspace_hits"
        " keyspace_misses total_error_replies role connected_slaves master_replid used_cpu_sys used_cpu_user loading"
    )
    assert not set(wanted.split()) - set(info)
    assert info["tcp_port"] == str(server.port)
    assert info["process_id"] == str(server.process.pid)
    assert info["db0"].startswith("keys=")
    assert info["cmdstat_set"].startswith("calls=")
    assert int(info["keyspace_hits"]) >= 1
    assert int(info["used_memory_rss"]) > 1 << 20
    assert client("LASTSAVE") == int(info["rdb_last_save_time"]) > 1_700_000_000


def test_an_exec_of_many_host_commands_holds_nobody_up(server: Server, client: Client) -> None:
    """Others are served between its replies, which are all there and in order."""
    with server.client() as other:
        pairs = [(b"INCR", b"n"), (b"CONFIG", b"GET", b"time*")] * 500
        client.send(b"".join(request(words) for words in [(b"MULTI",), *pairs, (b"EXEC",)]))
        assert other("PING") == "PONG"
        replies = [client.read() for _ in range(1002)][-1]
        assert isinstance(replies, list)
        assert replies[::2] == list(range(1, 501))
        assert replies[1::2] == [[b"timeout", b"0"]] * 500
        assert other("GET", "n") == b"500"
        assert other("DEL", "n") == 1


def test_info_of_some_sections(client: Client) -> None:
    text = client.text("INFO", "clients", "keyspace", "nosuch")
    assert [line for line in text.split("\r\n") if line.startswith("#")] == ["# Clients", "# Keyspace"]


def test_config_resetstat_starts_info_again(client: Client) -> None:
    client("GET", "too", "much")
    before = client.info()
    assert "cmdstat_get" in before
    assert int(before["total_error_replies"]) >= 1
    assert client("CONFIG", "RESETSTAT") == "OK"
    after = client.info()
    assert "cmdstat_get" not in after
    assert after["total_error_replies"] == after["total_connections_received"] == "0"


def test_client_list_shows_every_client(server: Server, client: Client) -> None:
    with server.client(unix=True) as other:
        assert other("CLIENT", "SETNAME", "somebody") == "OK"
        facts = client_facts(client, other("CLIENT", "ID"))
        assert facts["name"] == "somebody"
        assert facts["addr"] == f"{server.unix}:0"
        assert facts["flags"] == "U"
        mine = client_facts(client, client("CLIENT", "ID"))
        assert mine["laddr"] == f"127.0.0.1:{server.port}"
        assert mine["cmd"] == "client|list"
        assert client.text("CLIENT", "INFO").startswith(f"id={mine['id']} addr={mine['addr']} ")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["CLIENT", "KILL", "1.2.3.4:5"], "ERR No such client"),
        (["CLIENT", "KILL", "FOO", "bar"], "ERR syntax error"),
        (["CLIENT", "KILL", "ID", "x"], "ERR client-id should be greater than 0"),
        (["CLIENT", "KILL", "TYPE", "x"], "ERR Unknown client type 'x'"),
        (["CLIENT", "KILL", "ID", "99", "SKIPME", "maybe"], "ERR syntax error"),
        (["CLIENT", "LIST", "FOO"], "ERR syntax error"),
        (["CLIENT", "LIST", "TYPE", "foo"], "ERR Unknown client type 'foo'"),
        (["CLIENT", "LIST", "ID", "x"], "ERR Invalid client ID"),
        (["SHUTDOWN", "FOO"], "ERR syntax error"),
        (["SHUTDOWN", "ABORT"], "ERR No shutdown in progress."),
        (["CONFIG", "SET", "hz"], "ERR wrong number of arguments for 'config|set' command"),
        (["CONFIG", "SET", "hz", "1", "port"], "ERR syntax error"),
        (["CONFIG", "GET"], "ERR wrong number of arguments for 'config|get' command"),
        (["CONFIG", "FOO"], "ERR unknown subcommand 'FOO'. Try CONFIG HELP."),
    ],
)
def test_refusals_are_redis_own(client: Client, words: list[str], text: str) -> None:
    assert client(*words) == ErrorReply(text)


def test_client_kill_closes_the_other_and_then_oneself(server: Server, client: Client) -> None:
    other = server.client()
    assert client("CLIENT", "KILL", "ID", str(other("CLIENT", "ID"))) == 1
    assert other.is_closed()
    me = server.client()
    address = client_facts(me, me("CLIENT", "ID"))["addr"]
    assert me("CLIENT", "KILL", address) == "OK"
    assert me.is_closed()


def test_monitor_shows_what_others_do(server: Server, client: Client) -> None:
    with server.client() as watcher:
        assert watcher("MONITOR") == "OK"
        client("SET", "seen", 'a"b')
        line = str(watcher.read())
        assert line.endswith('"SET" "seen" "a\\"b"')
        assert " [0 127.0.0.1:" in line


def test_debug_sleep_is_refused_unless_enabled(client: Client) -> None:
    assert str(client("DEBUG", "SLEEP", "0")).startswith("ERR DEBUG command not allowed.")


def test_debug_sleep_holds_up_only_its_own_client() -> None:
    with serving("--enable-debug-command", "yes") as server, server.client() as sleeper, server.client() as other:
        sleeper.send(request(["DEBUG", "SLEEP", "30"]) + request(["PING"]))
        wait_until(lambda: "cmd=debug" in other.text("CLIENT", "LIST"), "the sleeper sleeps")
        assert other("PING") == "PONG"


# --- limits ----------------------------------------------------------------------------------------------------------


def test_maxclients_is_exact_and_says_so() -> None:
    with serving("--maxclients", "3") as server:
        inside = [server.client() for _ in range(3)]
        assert [c("PING") for c in inside] == ["PONG"] * 3
        with server.client() as fourth:
            assert fourth.read() == ErrorReply("ERR max number of clients reached")
            assert fourth.is_closed()
        inside.pop().close()
        wait_until(lambda: _admitted(server), "a place is free again")
        assert int(inside[0].info("stats")["rejected_connections"]) >= 1


def _admitted(server: Server) -> bool:
    with server.client() as c:
        return c("PING") == "PONG"


def test_maxclients_holds_over_all_workers() -> None:
    with serving("--maxclients", "4", workers=2) as server:
        inside = [server.client() for _ in range(4)]
        assert [c("PING") for c in inside] == ["PONG"] * 4
        with server.client() as fifth:
            assert fifth.read() == ErrorReply("ERR max number of clients reached")


def own_address() -> str:
    """An address of this host that is no loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
            return str(sock.getsockname()[0])
        except OSError:
            return socket.gethostbyname(socket.gethostname())


def test_protected_mode_serves_only_loopback_until_there_is_a_password() -> None:
    address = own_address()
    assert not address.startswith("127."), "this test needs an address that is no loopback address"
    with serving("--bind", "127.0.0.1 " + address) as server, server.client() as local:
        with Client((address, server.port)) as stranger:
            reply = str(stranger.read())
            assert reply.startswith("DENIED Redis is running in protected mode because protected mode is enabled")
            assert stranger.is_closed()
        assert local("CONFIG", "SET", "requirepass", "secret") == "OK"
        with Client((address, server.port)) as stranger:
            assert stranger("PING") == ErrorReply("NOAUTH Authentication required.")
            assert stranger("AUTH", "secret") == "OK"
            assert stranger("PING") == "PONG"


def test_an_idle_client_is_closed_and_a_busy_one_is_not() -> None:
    with serving("--timeout", "1") as server, server.client() as idle, server.client() as busy:
        assert idle("PING") == "PONG"
        wait_until(lambda: busy("PING") == "PONG" and len(busy.text("CLIENT", "LIST").splitlines()) == 1, "the idle one is closed")
        assert idle.is_closed()


def test_half_a_request_is_not_waited_for_for_ever() -> None:
    with serving("--request-timeout", "1") as server, server.client() as half, server.client() as quiet:
        assert quiet("PING") == "PONG"
        half.send(b"*2\r\n$4\r\nECHO\r\n$100\r\nabc")
        assert half.is_closed()
        assert quiet("PING") == "PONG"


def test_before_auth_arguments_are_few_and_short() -> None:
    with serving("--requirepass", "pw") as server, server.client() as c:
        assert c("GET", "k") == ErrorReply("NOAUTH Authentication required.")
        c.send(b"*11\r\n")
        assert str(c.read()).startswith("ERR Protocol error")
        assert c.is_closed()


# --- passwords -------------------------------------------------------------------------------------------------------


def test_passwords() -> None:
    with serving("--requirepass", "pw") as server:
        with server.client() as c:
            assert c("AUTH", "wrong") == ErrorReply("WRONGPASS invalid username-password pair or user is disabled.")
            assert c("AUTH", "nobody", "pw") == ErrorReply("WRONGPASS invalid username-password pair or user is disabled.")
            assert c("PING") == ErrorReply("NOAUTH Authentication required.")
            assert c("AUTH", "default", "pw") == "OK"
            assert c("PING") == "PONG"
            assert c("CONFIG", "GET", "requirepass") == [b"requirepass", b"pw"]
        with server.client() as c:
            assert str(c("HELLO", "3")).startswith("NOAUTH HELLO must be called")
            assert str(c("HELLO", "3", "AUTH", "default", "bad")).startswith("WRONGPASS")
            hello = c("HELLO", "3", "AUTH", "default", "pw", "SETNAME", "me")
            assert isinstance(hello, dict)
            assert hello[b"proto"] == 3
            assert c("CLIENT", "GETNAME") == b"me"


def test_auth_without_a_password_configured(client: Client) -> None:
    assert str(client("AUTH", "x")).startswith("ERR AUTH <password> called without any password configured")
    assert client("AUTH", "default", "x") == "OK"


# --- settings over all workers -----------------------------------------------------------------------------------------


def test_config_set_holds_in_every_worker(pair: Server) -> None:
    first, second = on_both_workers(pair)
    with first, second:
        assert first("CONFIG", "SET", "timeout", "77", "maxmemory-policy", "allkeys-lru") == "OK"
        assert second("CONFIG", "GET", "timeout") == [b"timeout", b"77"]
        assert second("CONFIG", "GET", "maxmemory-policy") == [b"maxmemory-policy", b"allkeys-lru"]
        assert second("CONFIG", "SET", "timeout", "0", "maxmemory-policy", "noeviction") == "OK"
        assert first("CONFIG", "GET", "timeout") == [b"timeout", b"0"]


def test_config_set_changes_all_or_nothing(client: Client) -> None:
    assert isinstance(client("CONFIG", "SET", "timeout", "5", "port", "1"), ErrorReply)
    assert client("CONFIG", "GET", "timeout") == [b"timeout", b"0"]


def test_client_ids_and_lists_are_the_server_s(pair: Server) -> None:
    first, second = on_both_workers(pair)
    with first, second:
        ids = {first("CLIENT", "ID"), second("CLIENT", "ID")}
        assert len(ids) == 2
        for c in (first, second):
            listed = {int(line.split()[0][3:]) for line in c.text("CLIENT", "LIST").splitlines()}
            assert ids <= listed
        assert int(first.info("clients")["connected_clients"]) == int(second.info("clients")["connected_clients"])


def test_client_kill_reaches_the_other_worker(pair: Server) -> None:
    first, second = on_both_workers(pair)
    with first, second:
        assert first("CLIENT", "KILL", "ID", str(second("CLIENT", "ID"))) == 1
        assert second.is_closed()


def test_a_password_set_in_one_worker_is_asked_for_in_the_other() -> None:
    with serving(workers=2) as server:
        first, second = on_both_workers(server)
        with first, second:
            number = worker_of(server, second)
            assert first("CONFIG", "SET", "requirepass", "pw") == "OK"
            assert second("PING") == "PONG"  # who is in stays in, as in Redis
            wait_until(lambda: _asks(server), "new clients of both workers are asked")
            assert number in (0, 1)


def _asks(server: Server) -> bool:
    answers = []
    for _ in range(20):
        with server.client() as c:
            answers.append(str(c("PING")).startswith("NOAUTH"))
    return all(answers)


# --- deaths ----------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_and_the_others_clients_notice_nothing() -> None:
    with serving(workers=2) as server:
        first, second = on_both_workers(server)
        with first, second:
            victim = worker_of(server, first)
            assert first("SET", "kept", "1") == "OK"
            before = server.workers()
            os.kill(before[f"worker {victim}"], signal.SIGKILL)
            assert first.is_closed()
            assert second("GET", "kept") == b"1"
            wait_until(lambda: server.workers()[f"worker {victim}"] != before[f"worker {victim}"], "it is replaced")
            wait_until(lambda: len(second.text("CLIENT", "LIST").splitlines()) == 1, "its clients are forgotten")
            again, other = on_both_workers(server)
            with again, other:
                assert again("GET", "kept") == other("GET", "kept") == b"1"
                assert again("CLIENT", "ID") != first
        assert server.workers()["housekeeper"] == before["housekeeper"]


def test_the_only_worker_killed_connections_wait_in_the_queue() -> None:
    with serving() as server:
        with server.client() as c:
            assert c("SET", "kept", "1") == "OK"
            os.kill(server.workers()["worker 0"], signal.SIGKILL)
            assert c.is_closed()
        with server.client() as c:
            assert c("GET", "kept") == b"1"


def test_a_killed_housekeeper_is_replaced() -> None:
    with serving() as server:
        before = server.workers()
        os.kill(before["housekeeper"], signal.SIGKILL)
        wait_until(lambda: server.workers()["housekeeper"] != before["housekeeper"], "it is replaced")
        assert server.workers()["worker 0"] == before["worker 0"]


def test_a_killed_supervisor_takes_its_children_along_and_a_new_one_finds_everything() -> None:
    with serving() as server:
        with server.client() as c:
            assert c("SET", "kept", "1") == "OK"
        children = server.workers()
        server.stop(signal.SIGKILL)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children.values()), "the children are gone")
        with serving("--port", str(server.port), folder=server.folder) as again:
            with Client((again.host, server.port)) as c:
                assert c("GET", "kept") == b"1"
            assert "found" in again.output()


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_server_hands_out_the_replies_to_what_it_read(number: int) -> None:
    with serving() as server, server.client() as c:
        assert c("SET", "k", "x" * 100_000) == "OK"
        c.send(request(["GET", "k"]) * 50)
        assert c.read() == b"x" * 100_000
        server.process.send_signal(number)
        got = 1
        try:
            while True:
                assert c.read() == b"x" * 100_000
                got += 1
        except ConnectionError:
            pass
        assert got >= 1
        assert server.process.wait(15) == 0
        assert not Path(server.unix).exists()
        assert Path(server.segment).exists()


def test_the_shutdown_command_stops_the_server() -> None:
    with serving() as server, server.client() as c:
        c.send(request(["SHUTDOWN", "NOSAVE"]))
        assert c.is_closed()
        assert server.process.wait(15) == 0


def test_a_client_that_never_reads_does_not_hold_up_the_end() -> None:
    with serving("--drain-timeout", "1") as server, server.client() as stuck, server.client() as other:
        assert stuck("SET", "k", "x" * 1_000_000) == "OK"
        stuck.send(request(["GET", "k"]) * 30)
        wait_until(lambda: "omem=0 " not in _line_of(other, "get"), "its replies pile up")
        assert server.stop() == 0


def _line_of(c: Client, command: str) -> str:
    return next((line for line in c.text("CLIENT", "LIST").splitlines() if f"cmd={command} " in line), "omem=0 ")


# --- what cannot start -----------------------------------------------------------------------------------------------


def start_and_fail(*arguments: str, status: int = 1, folder: Path | None = None) -> str:
    """Run a `fridge serve` that must end by itself; its one line of complaint."""
    ended = run_fridge("serve", *arguments)
    assert ended.returncode == status, ended.stderr + ended.stdout
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_port_in_use(server: Server, segment_path: Path) -> None:
    line = start_and_fail("--port", str(server.port), "--segment", str(segment_path), "--http", "")
    assert f"cannot listen on 127.0.0.1:{server.port}: Address already in use" in line
    assert not segment_path.exists()


def test_an_http_port_in_use(server: Server, segment_path: Path) -> None:
    line = start_and_fail("--port", str(free_port()), "--segment", str(segment_path), "--http", f"127.0.0.1:{server.http_port}")
    assert "choose another with --http" in line


def test_a_socket_path_too_long(shared_dir: Path) -> None:
    path = str(shared_dir / ("s" * 120))
    line = start_and_fail("--port", "0", "--unixsocket", path, "--segment", str(shared_dir / "s"), "--http", "")
    assert f"unix socket path is {len(path)} bytes long, the system takes 107" in line


def test_a_unix_socket_in_use_and_a_file_in_its_place(server: Server, shared_dir: Path) -> None:
    options = ["--port", "0", "--http", "", "--segment", str(shared_dir / "s"), "--unixsocket"]
    assert "another server listens there" in start_and_fail(*options, server.unix)
    (shared_dir / "file").write_text("precious")
    assert "no socket is in the way" in start_and_fail(*options, str(shared_dir / "file"))
    assert (shared_dir / "file").read_text() == "precious"


def test_a_stale_unix_socket_is_replaced(shared_dir: Path) -> None:
    stale = shared_dir / "sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    with serving(folder=shared_dir) as server, server.client(unix=True) as c:
        assert c("PING") == "PONG"


def test_no_door_at_all(segment_path: Path) -> None:
    assert "no door to open" in start_and_fail("--port", "0", "--http", "", "--segment", str(segment_path))


def test_a_file_that_is_no_segment_stays_as_it_is(segment_path: Path) -> None:
    segment_path.write_bytes(b"precious" * 1000)
    line = start_and_fail("--port", str(free_port()), "--http", "", "--segment", str(segment_path))
    assert str(segment_path) in line
    assert segment_path.read_bytes() == b"precious" * 1000


def test_more_memory_than_there_is(segment_path: Path) -> None:
    free = shutil.disk_usage(segment_path.parent).free
    line = start_and_fail("--port", str(free_port()), "--http", "", "--segment", str(segment_path), "--size", str(2 * free))
    assert "give a smaller --size" in line
    assert not segment_path.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "http"], "port = 'http': argument couldn't be parsed into an integer (from command line)"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--config", "/no/such/file"], "cannot read /no/such/file"),
        (["--workers", "0"], "workers = '0': argument must be between 1 and 256"),
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], words: str) -> None:
    assert words in start_and_fail(*arguments, status=2)


def test_a_bad_variable_is_status_2() -> None:
    ended = run_fridge("serve", environment={"FRIDGE_PORT": "x"})
    assert ended.returncode == 2
    assert "from environment" in ended.stderr


# --- systemd ---------------------------------------------------------------------------------------------------------


def test_readiness_and_stopping_are_notified(shared_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(shared_dir / "notify"))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(shared_dir / "notify"), "WATCHDOG_USEC": "200000"}
        with serving(environment=environment) as server:
            said = manager.recv(4096).decode()
            while "READY=1" not in said:
                said = manager.recv(4096).decode()
            assert f"STATUS=serving {server.segment}" in said
            while said != "WATCHDOG=1":
                said = manager.recv(4096).decode()
            assert server.stop() == 0
            while not said.startswith("STOPPING=1"):
                said = manager.recv(4096).decode()


ACTIVATE = """
import os, socket, sys
resp, http = socket.socket(), socket.socket()
for sock, port in ((resp, int(sys.argv[1])), (http, int(sys.argv[2]))):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port)); sock.listen()
a, b = os.dup(resp.fileno()), os.dup(http.fileno())
os.dup2(a, 3); os.dup2(b, 4)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="resp:http")
os.execv(sys.executable, [sys.executable, "-m", "fridge", "serve", "--port", "1", "--segment", sys.argv[3]])
"""


def test_sockets_handed_over_are_used_instead_of_our_own(segment_path: Path) -> None:
    import sys
    import urllib.request

    port, http_port = free_port(), free_port()
    command = [sys.executable, "-c", ACTIVATE, str(port), str(http_port), str(segment_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "processes" in line:
                break
        with Client(("127.0.0.1", port)) as c:
            assert c("PING") == "PONG"
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
    finally:
        process.terminate()
        assert process.wait(15) == 0
        assert process.stdout is not None
        process.stdout.close()


# --- memory ----------------------------------------------------------------------------------------------------------


def pss_without_segment(pid: int, segment: str) -> int:
    """Proportional bytes of a process, the segment's pages left out."""
    total, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            inside = segment in line
        elif line.startswith("Pss:") and not inside:
            total += int(line.split()[1]) * 1024
    return total


def test_an_idle_server_takes_at_most_60_mb() -> None:
    with serving() as server, server.client() as c:
        assert c("PING") == "PONG"
        pids = [server.process.pid, *server.workers().values()]
        total = sum(pss_without_segment(pid, server.segment) for pid in pids)
        assert total <= 60e6, f"{total / 1e6:.1f} MB"
