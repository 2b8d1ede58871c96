"""Several processes on one home: nobody's record is lost, and whoever must wait waits or is told why."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anomaly.home_verbs import FOLDER
from anomaly.serving_home import environment, program
from gatewright.assembly.homes import create_home, open_home
from gatewright.assembly.verifying import verify_home
from gatewright.operations.users import people

WRITERS = 8
SECONDS = 60.0
WRONG_USE = 2
HOLD = """
import sys, time
from pathlib import Path
from gatewright.adapters.durable_files import HomeLock
with HomeLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of ada's."""
    create_home(tmp_path, "ada")
    return tmp_path


@pytest.fixture
def holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the home's lock and does not let go."""
    running = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home / FOLDER / "lock")], stdout=subprocess.PIPE, text=True
    )
    with running:
        assert running.stdout is not None
        assert "held\n" == running.stdout.readline()
        yield running
        running.kill()


def start(home: Path, *words: str) -> subprocess.Popen[str]:
    """A command that runs beside others."""
    return subprocess.Popen(
        program(*words),
        cwd=home,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a command: its exit code and what it printed."""
    out, err = running.communicate(timeout=SECONDS)
    return running.returncode, out, err


def names(home: Path) -> list[str]:
    """The people of the home, by name."""
    with open_home(home) as opened:
        return sorted(user.name for user in people(opened))


def test_writers_at_once_take_turns(home: Path) -> None:
    """Eight commands that write at once all succeed; the ledger has no gap, and everybody is in it."""
    wanted = [f"person-{number}" for number in range(WRITERS)]
    ended = [end(each) for each in [start(home, "user", "add", name, "--json") for name in wanted]]

    assert [0] * WRITERS == [status for status, _, _ in ended], ended
    assert wanted == [json.loads(out)["name"] for _, out, _ in ended]
    assert ["ada", *wanted] == names(home)
    ledger = next(iter(verify_home(home)))
    assert 3 + WRITERS == ledger.facts["records"]


def test_one_of_two_rivals_wins(home: Path) -> None:
    """Two commands that add the same name: one succeeds, the other is told that the name is taken."""
    ended = [end(each) for each in [start(home, "user", "add", "grace", "--json") for _ in range(2)]]
    assert [0, WRONG_USE] == sorted(status for status, _, _ in ended), ended
    told = next(out for status, out, _ in ended if status)
    assert "operations.user-exists" == json.loads(told)["error"]["code"]
    assert ["ada", "grace"] == names(home)


def test_a_killed_holder_is_followed_at_once(home: Path, holder: subprocess.Popen[str]) -> None:
    """A command that waits for the lock gets it when its holder is killed."""
    waiting = start(home, "user", "add", "grace")
    time.sleep(1.0)
    assert waiting.poll() is None
    holder.kill()
    assert 0 == end(waiting)[0]
    assert ["ada", "grace"] == names(home)


def test_a_lock_that_is_kept_is_a_clear_refusal(home: Path, holder: subprocess.Popen[str]) -> None:
    """A command that waited in vain says who is in the way, and has changed nothing; readers go on."""
    writer, reader = start(home, "user", "add", "grace", "--json"), start(home, "user", "list", "--json")
    status, out, err = end(writer)
    assert WRONG_USE == status, err
    error = json.loads(out)["error"]
    assert ("storage.home-busy", f"The home is in use by process {holder.pid}.") == (
        error["code"],
        error["what"],
    )
    assert 0 == end(reader)[0]
    holder.kill()
    holder.wait(SECONDS)
    assert ["ada"] == names(home)


def test_a_second_server_is_refused_and_a_killed_one_followed(home: Path) -> None:
    """The second server is refused, naming the first; killed, the first makes way."""
    first = start(home, "serve", "--port", "0", "--workers", "1")
    try:
        _wait_until_served(home, first)
        status, _, err = end(start(home, "serve", "--port", "0"))
        assert WRONG_USE == status, err
        assert f"by process {first.pid}" in err
    finally:
        first.kill()
        first.communicate(timeout=SECONDS)
    second = start(home, "serve", "--port", "0")
    _wait_until_served(home, second)
    second.terminate()
    assert 0 == end(second)[0]


def test_a_killed_parent_leaves_workers_that_keep_the_home(home: Path) -> None:
    """Workers whose parent is killed serve on; no second server begins beside them, and it is told of them."""
    first = start(home, "serve", "--port", "0", "--workers", "2")
    segments = home / FOLDER / "segments"
    workers: list[int] = []
    try:
        folders = (segments, segments / "worker-1")
        workers = [_wait_until_served(home, first, folder)["pid"] for folder in folders]
        first.kill()
        first.wait(SECONDS)
        status, _, err = end(start(home, "serve", "--port", "0"))
        assert WRONG_USE == status, err
        assert all(str(pid) in err for pid in workers)
        assert str(first.pid) not in err
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        first.communicate(timeout=SECONDS)
    second = start(home, "serve", "--port", "0", "--workers", "1")
    _wait_until_served(home, second)
    second.terminate()
    assert 0 == end(second)[0]


def _wait_until_served(
    home: Path, server: subprocess.Popen[str], folder: Path | None = None
) -> dict[str, Any]:
    """Wait until a worker's status file tells of this server; what it says."""
    place = (folder or home / FOLDER / "segments") / "serve.json"
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, server.communicate()
        if place.exists():
            said: dict[str, Any] = json.loads(place.read_text("utf-8"))
            if said["server"] == server.pid:
                return said
        time.sleep(0.02)
    os.kill(server.pid, 9)
    raise AssertionError("The server did not come up.")
