"""Tests of fridge.metrics and the HTTP door: what a scrape gets, exact content types, and what promtool says of it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fridge import metrics
from fridge.segment import Segment
from fridge.server.http import Response, parse_request, render_response

from .server_fixture import Client, Server, serving, wait_until

STATS_DEF = Path(__file__).resolve().parent.parent / "csrc" / "stats.def"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(workers=2) as running:
        with running.client() as c:
            assert c("TABLE", "CREATE", "small", "CAPACITY", 2, "COLUMNS", "n", "int64") == "OK"
            for row in ("a", "b"):
                c("HSET", f"small:{row}", "n", 1)
            assert "full" in str(c("HSET", "small:c", "n", 1))
            c("SET", "k", "v", "EX", 1000)
            c("GET", "k")
            c("GET", "absent")
            c("SET", "k")
        yield running


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str
    body: str
    headers: dict[str, str]


def get(server: Server, path: str, accept: str | None = None, method: str = "GET") -> Answer:
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}{path}", method=method)
    if accept is not None:
        request.add_header("Accept", accept)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, answer.headers["content-type"], answer.read().decode(), dict(answer.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers["content-type"], error.read().decode(), dict(error.headers))


def values(text: str) -> dict[str, float]:
    """Every sample of a scrape by its name and labels."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


# --- /metrics --------------------------------------------------------------------------------------------------------


def test_promtool_finds_nothing_to_say(server: Server) -> None:
    assert shutil.which("promtool"), "promtool is missing: apt-get install prometheus"
    checked = subprocess.run(["promtool", "check", "metrics"], input=get(server, "/metrics").body, text=True,
                             capture_output=True, timeout=60, check=False)  # fmt: skip
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT), ("", TEXT), ("*/*", TEXT), ("text/plain", TEXT), ("text/html", TEXT),
        ("application/openmetrics-text; version=1.0.0", OPENMETRICS), (PROMETHEUS_3, OPENMETRICS),
    ],
)  # fmt: skip
def test_content_types_are_exact(server: Server, accept: str | None, content_type: str) -> None:
    answer = get(server, "/metrics", accept)
    assert (answer.status, answer.content_type) == (200, content_type)
    assert answer.body.endswith("# EOF\n") is (content_type == OPENMETRICS)


def test_every_row_of_stats_def_is_a_metric(server: Server) -> None:
    found = values(get(server, "/metrics").body)
    for name, kind in re.findall(r"^X\((\w+), (\w+),", STATS_DEF.read_text(), re.M):
        assert f"fridge_{name}{'_total' if kind == 'COUNTER' else ''}" in found, name


def test_what_was_done_is_what_is_counted(server: Server) -> None:
    found = values(get(server, "/metrics").body)
    assert found['fridge_table_rows{table="small"}'] == 2
    assert found['fridge_table_capacity_rows{table="small"}'] == 2
    assert found['fridge_table_refused_inserts_total{table="small"}'] == 1
    assert found["fridge_table_full_refusals_total"] >= 1
    assert found['fridge_db_keys{db="db0"}'] >= 1
    assert found['fridge_db_keys_expiring{db="db0"}'] >= 1
    assert found['fridge_commands_total{cmd="get"}'] >= 2
    assert found['fridge_commands_rejected_total{cmd="set"}'] == 1
    assert found['fridge_commands_duration_seconds_total{cmd="get"}'] >= 0
    assert found["fridge_keyspace_hits_total"] >= 1
    assert found["fridge_keyspace_misses_total"] >= 1
    assert found["fridge_up"] == 1
    assert found["fridge_segment_limit_bytes"] == 32 << 20
    assert 0 < found["fridge_segment_used_bytes"] <= found["fridge_segment_allocated_bytes"] <= 32 << 20
    for process in ("worker 0", "worker 1", "housekeeper"):
        assert found[f'fridge_server_resident_memory_bytes{{process="{process}"}}'] > 1 << 20
        assert f'fridge_server_cpu_seconds_total{{mode="user",process="{process}"}}' in found


def test_a_process_that_uses_the_segment_without_the_server_is_counted_too(server: Server) -> None:
    before = values(get(server, "/metrics").body)
    with Segment(server.segment, create=False, name="by itself") as segment:
        segment.count("keyspace_hits", 0)
        segment.system_set("counted", b"1")
        wait_until(lambda: values(get(server, "/metrics").body)["fridge_attached_processes"]
                   == before["fridge_attached_processes"] + 1, "it is counted")  # fmt: skip


def test_connected_clients_are_those_of_all_workers(server: Server) -> None:
    before = values(get(server, "/metrics").body)["fridge_connected_clients"]
    clients = [server.client() for _ in range(8)]
    assert [c("PING") for c in clients] == ["PONG"] * 8
    assert values(get(server, "/metrics").body)["fridge_connected_clients"] == before + 8
    for c in clients:
        c.close()
    wait_until(lambda: values(get(server, "/metrics").body)["fridge_connected_clients"] == before, "they are gone")


def test_resetstat_leaves_metrics_alone(server: Server) -> None:
    before = values(get(server, "/metrics").body)["fridge_commands_processed_total"]
    with server.client() as c:
        assert c("CONFIG", "RESETSTAT") == "OK"
    assert values(get(server, "/metrics").body)["fridge_commands_processed_total"] >= before


def test_metrics_can_be_rendered_by_any_attached_process(server: Server) -> None:
    with Segment(server.segment, create=False, readonly=True) as segment:
        content_type, body = metrics.render(metrics.registry(metrics.SegmentCollector(segment)), "")
    assert content_type == TEXT
    assert b'fridge_table_rows{table="small"} 2.0' in body


# --- the other paths -------------------------------------------------------------------------------------------------


def test_healthz_and_readyz(server: Server) -> None:
    assert (get(server, "/healthz").status, get(server, "/healthz").body) == (200, "ok\n")
    assert (get(server, "/readyz").status, get(server, "/readyz").body) == (200, "ready\n")


def test_without_prometheus_client_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['prometheus_client'] = None\nimport fridge.metrics"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "needs prometheus_client: pip install 'fridge-sidecar[server]'" in done.stderr.splitlines()[-1]


def test_a_removed_segment_is_no_health() -> None:
    with serving() as server:
        assert "fridge_segment_removed 0.0" in get(server, "/metrics").body
        Path(server.segment).rename(server.segment + ".away")
        for path in ("/healthz", "/readyz"):
            said = get(server, path)
            assert (said.status, said.body.partition(":")[0]) == (503, "segment removed")
        assert "fridge_segment_removed 1.0" in get(server, "/metrics").body
        with server.client() as c:
            assert c("SET", "k", "v") == "OK", "who has it goes on with it"
        Path(server.segment + ".away").rename(server.segment)
        assert get(server, "/healthz").status == 200


def test_a_worker_that_is_stopped_does_not_hold_up_a_scrape() -> None:
    import os

    with serving() as server:
        worker = server.workers()["worker 0"]
        os.kill(worker, signal.SIGSTOP)
        try:
            assert get(server, "/metrics").status == 200
            assert get(server, "/healthz").status == 200
        finally:
            os.kill(worker, signal.SIGCONT)
        with server.client() as c:
            assert c("PING") == "PONG"


def test_the_page_loads_nothing_from_elsewhere(server: Server) -> None:
    page = get(server, "/")
    assert page.content_type == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"""(src|href)=["']?https?:""", page.body)
    assert "status.json" in page.body


def test_status_json_has_all_that_the_page_reads(server: Server) -> None:
    status = json.loads(get(server, "/status.json").body)
    read = set(re.findall(r"\bs\.(\w+)", get(server, "/").body)) - {"kind"}
    assert read <= set(status)
    assert {"name": "small", "rows": 2, "capacity": 2}.items() <= status["tables"][0].items()
    statistics = set(re.findall(r"\bst\.(\w+)", get(server, "/").body))
    assert statistics <= set(status["statistics"])


def test_other_paths_and_methods(server: Server) -> None:
    assert get(server, "/nothing").status == 404
    answer = get(server, "/metrics", method="DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    head = get(server, "/healthz", method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, "", "3")


def test_several_requests_on_one_connection(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        got = b""
        while data := sock.recv(65536):
            got += data
        assert got.count(b"HTTP/1.1 200 OK\r\n") == 4


@pytest.mark.parametrize(
    "data",
    [
        b"GARBAGE\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
    ],
)
def test_a_bad_request_is_refused_and_closes(server: Server, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as sock:
        sock.sendall(data)
        got = b""
        try:
            while more := sock.recv(65536):
                got += more
        except ConnectionResetError:
            pass
        assert got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


def test_head_and_keep_alive_are_rendered() -> None:
    request = parse_request(b"HEAD /x?y=1 HTTP/1.0\r\nConnection: Keep-Alive\r\nAccept: a:b\r\n\r\n")
    assert (request.method, request.path, request.keep, request.headers["accept"]) == ("HEAD", "/x", True, "a:b")
    assert render_response(Response(200, "text/plain", b"abc"), True, True).endswith(b"connection: keep-alive\r\n\r\n")


def test_the_client_of_these_tests_reads_what_redis_says(server: Server) -> None:
    with Client(("127.0.0.1", server.port)) as c:
        assert c("HELLO", "2")
