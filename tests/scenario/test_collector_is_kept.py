"""The collector beside a server: killed it comes back, and everybody who looks can see whether it runs."""

from __future__ import annotations

import os
import signal
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from scenario.conftest import NewHome
from scenario.world import Home, Server, inside, serving
from unit.serving.rig import wait_for

SECRET = "a-secret-for-scraping"  # noqa: S105 - of a test


def collectors(home: Home) -> list[int]:
    """The processes that collect for this home."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"collect" in words and b"--watch" in words and (place / "cwd").readlink() == home.root:
                found.append(int(place.name))
        except OSError:
            continue
    return found


def metric(server: Server, name: str) -> str:
    """The value of a metric without labels."""
    place = urlsplit(server.url)
    caller = HTTPConnection(place.hostname or "", place.port, timeout=60)
    caller.request("GET", "/metrics", headers={"Authorization": f"Bearer {SECRET}"})
    text = caller.getresponse().read().decode()
    caller.close()
    return next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_collector_is_replaced_and_said(new_home: NewHome, workers: str) -> None:
    """After kill -9 another collects, the log says so as a warning, and status and metrics tell the truth."""
    home = new_home("live")
    secret = home.root / "scrape.key"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    options = ("--workers", workers, "--log", "json", "--metrics-key-file", str(secret))
    with serving(home, *options) as server:
        wait_for(lambda: len(collectors(home)) == 1)
        first = collectors(home)[0]
        assert "1" == metric(server, "gatewright_collector_running")
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: collectors(home) not in ([], [first]))
        wait_for(lambda: "The collector was ended by SIGKILL" in server.said())
        said = next(line for line in server.said().splitlines() if "SIGKILL" in line)
        assert '"level": "warning"' in said
        assert home.do("status")["collecting"]
        second = collectors(home)[0]
    assert not Path(f"/proc/{second}").exists()
    assert not home.do("status")["collecting"]


def test_status_tells_one_line_for_all_workers_and_who_is_down(new_home: NewHome) -> None:
    """A worker and then the parent are killed: status counts who serves, and names who does not."""
    home = new_home("live")
    with serving(home, "--workers", "2") as server:
        wait_for(lambda: len(home.do("status")["workers"]) == 2)
        pids = [each["pid"] for each in home.do("status")["workers"]]
        shown = inside(home.root, "status").out
        assert f"2 of 2 workers serve plan 1 at {server.url}." in shown
        assert 1 == shown.count("for one row")
        server.process.kill()
        server.process.wait()
        os.kill(pids[1], signal.SIGKILL)
        wait_for(lambda: home.do("status")["workers"][1].get("down", False))
        shown = inside(home.root, "status").out
        assert f"1 of 2 workers serve plan 1 at {server.url}." in shown
        assert f"Worker 1 is down: its process {pids[1]} is gone." in shown
        assert "The process that looked after them is gone" in shown
        wait_for(lambda: not home.do("status")["collecting"])
        assert "No collector runs beside it" in inside(home.root, "status").out
        os.kill(pids[0], signal.SIGTERM)
        wait_for(lambda: not home.do("status")["worker"]["serving"])
