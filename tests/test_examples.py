"""The small examples run as they stand, on a segment of their own. examples/rate_limiter has a test of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(code: list[str], segment: Path) -> str:
    """Run Python with the default segment at `segment`; what it printed."""
    environment = os.environ | {"FRIDGE_SEGMENT": str(segment)}
    ended = subprocess.run([sys.executable, *code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_quickstart_twice_on_one_segment(segment_path: Path) -> None:
    for turn in (1, 2):
        lines = run([str(EXAMPLES / "quickstart.py")], segment_path).splitlines()
        assert lines[0] == f"segment {segment_path}"
        assert lines[2] == f"visits {turn}"
        assert "cas True False b'good day'" in lines
        assert any(line.startswith("row 2 {'count': 2, 'note': 'first seen'} 1 of 1000") for line in lines)
        assert any(line.startswith("refused ColumnRangeError") for line in lines)
        assert lines[-1] == "hits 20000"


# As gunicorn does it with preload_app: the application is imported once, then the workers are forked.
WORKERS = """
import os, sys
sys.path.insert(0, sys.argv[1])
import app
pids = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        for i in range(1000):
            said = []
            body = b"".join(app.application({"PATH_INFO": f"/{i % 5}"}, lambda status, headers: said.append(status)))
            assert said == ["200 OK"] and body.startswith(b"view "), (said, body)
        os._exit(0)
    pids.append(pid)
print([os.waitpid(pid, 0)[1] for pid in pids], app.hits.get(), sorted((k, v["views"]) for k, v in app.pages.items()))
"""


def test_gunicorn_counter_counts_over_all_workers(segment_path: Path) -> None:
    said = run(["-c", WORKERS, str(EXAMPLES / "gunicorn_counter")], segment_path)
    rows = [(f"/{i}".encode(), 800) for i in range(5)]
    assert said.strip() == f"[0, 0, 0, 0] 4000 {rows}"


def test_gunicorn_s_settings_are_python() -> None:
    settings: dict[str, object] = {}
    exec((EXAMPLES / "gunicorn_counter" / "gunicorn.conf.py").read_text(), settings)
    assert settings["preload_app"] is True
