"""The files of deploy/: what they say of fridge is so. Settings, flags, paths and metrics that they name exist.

Leaves out: whether systemd, Docker and Kubernetes do what their manuals say.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fridge import cli, config
from fridge.segment import version

from .test_metrics import get, server  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
DASHBOARD = ROOT / "grafana" / "fridge.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"

METRIC = re.compile(r"\bfridge_\w+")


def expressions(value: Any) -> list[str]:
    """Return what is asked of Prometheus anywhere in a dashboard."""
    if isinstance(value, dict):
        own = [text for key, text in value.items() if key in ("expr", "definition") and isinstance(text, str)]
        return own + [text for item in value.values() for text in expressions(item)]
    return [text for item in value for text in expressions(item)] if isinstance(value, list) else []


def scraped(running: Any) -> set[str]:
    """Return the names of all samples of a scrape."""
    return {re.split(r"[ {]", line)[0] for line in get(running, "/metrics").body.splitlines() if not line.startswith("#")}


# --- what is watched -------------------------------------------------------------------------------------------------


def test_the_dashboard_asks_for_every_metric_and_for_no_other(server: Any) -> None:  # noqa: F811
    asked = {name for text in expressions(json.loads(DASHBOARD.read_text())) for name in METRIC.findall(text)}
    assert len(asked) > 40
    assert asked == scraped(server)


def test_the_dashboard_can_be_imported() -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]
    assert "id" not in board, "the instance that imports it gives one"
    assert board["uid"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(p["gridPos"]["x"] + dx, p["gridPos"]["y"] + dy) for p in panels
              for dx in range(p["gridPos"]["w"]) for dy in range(p["gridPos"]["h"])]  # fmt: skip
    assert len(places) == len(set(places)), "no panel lies on another"
    assert max(x for x, _ in places) == 23
    for panel in panels:
        for target in panel.get("targets", ()):
            assert target["expr"].count("(") == target["expr"].count(")")
            assert 'job=~"$job",instance=~"$instance"' in target["expr"]
            assert panel["datasource"]["uid"] == target["datasource"]["uid"] == "${datasource}"


def test_promql_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    found = expressions({"panels": json.loads(DASHBOARD.read_text())["panels"]})
    asked = [text.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*") for text in found]
    rules = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(asked)]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def promtool(*words: str) -> str:
    """Run promtool, which must be content; what it said."""
    assert shutil.which("promtool"), "promtool is missing: apt-get install prometheus"
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, cwd=ALERTS.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_alerts_come_when_they_should_and_else_not(server: Any) -> None:  # noqa: F811
    text = ALERTS.read_text()
    assert set(METRIC.findall(" ".join(re.findall(r"expr: (.*)", text)))) <= scraped(server)
    assert f"{text.count('- alert:')} rules found" in promtool("check", "rules", ALERTS.name)
    promtool("test", "rules", "alerts_test.yaml")
    tested = (ALERTS.parent / "alerts_test.yaml").read_text()
    assert [name for name in re.findall(r"- alert: (\w+)", text) if f'alertname="{name}"' not in tested] == []
    promtool("check", "config", "scrape.yaml")


# --- what is started -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_settings_that_a_file_names_are_settings(path: Path) -> None:
    text = path.read_text()
    variables = {config.variable(name) for name in config.names()}
    assert set(re.findall(r"\bFRIDGE_[A-Z_]+", text)) <= variables | {"FRIDGE_REQUIREPASS"}
    for name, value in re.findall(r"^(?:ENV |Environment=)?.*?\b(FRIDGE_[A-Z_]+)=([^\s\\]+)", text, re.M):
        if not name.startswith("FRIDGE_REQUIREPASS"):
            config.parse(name.removeprefix("FRIDGE_").lower().replace("_", "-"), value)


def words_of(path: Path) -> list[list[str]]:
    """Return the words of each call of fridge in a YAML list or a Dockerfile's."""
    lists = re.findall(r"(?<!\w)(?:args|command|CMD): *\[([^\]]*)\]|CMD (\[[^\]]*\])", path.read_text())
    return [[word.strip(' "[]') for word in (a or b).split(",")] for a, b in lists]


@pytest.mark.parametrize("path", [p for p in FILES if p.suffix == ".yaml" or p.name == "Dockerfile"], ids=lambda p: p.name)
def test_calls_that_a_file_makes_are_calls(path: Path) -> None:
    for words in words_of(path):
        call = words[1:] if words[0] == "fridge" else words
        if call[0] not in cli.DATA_COMMANDS:
            cli.build_parser().parse_args(call)


def test_there_are_calls_to_check() -> None:
    found = {path.name: words_of(path) for path in FILES}
    assert ["serve", "--size", "256mb"] in found["compose.yaml"]
    assert ["serve", "--size", "256mb"] in found["sidecar.yaml"]
    assert ["serve"] in found["Dockerfile"]
    assert any("ping" in words for words in found["Dockerfile"])


def test_images_have_this_version() -> None:
    said = {tag for path in FILES for tag in re.findall(r"image: fridge:(\S+)", path.read_text())}
    assert said == {version()}


def test_every_file_is_named_in_the_documents() -> None:
    pages = "".join(path.read_text() for path in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
    missing = [str(path.relative_to(ROOT)) for path in FILES
               if str(path.relative_to(ROOT)) not in pages and str(path.parent.relative_to(ROOT)) + "/" not in pages]  # fmt: skip
    assert missing == []


def test_the_unit_reserves_what_it_uses() -> None:
    unit, sockets = (DEPLOY / "fridge.service").read_text(), (DEPLOY / "fridge.socket").read_text()
    folder = "/run/" + re.findall(r"^RuntimeDirectory=(.*)$", unit, re.M)[0]
    assert f"FRIDGE_SEGMENT={folder}/default" in unit
    assert f"FRIDGE_UNIXSOCKET={folder}/fridge.sock" in unit
    assert f"ListenStream={folder}/fridge.sock" in sockets
    assert "ListenStream=127.0.0.1:6380" in sockets
    assert config.default_text("port") == "6380"
