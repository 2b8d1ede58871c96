"""Two at once: one server per home, one writer at a time, and nobody loses anything."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gatewright.adapters.durable_files import HomeLock
from gatewright.assembly import homes
from scenario.conftest import NewHome
from scenario.world import COMMAND_S, command, environment, serving


def test_a_second_server_is_refused_and_the_first_goes_on(new_home: NewHome) -> None:
    """The second ``serve`` of a home ends with a sentence; writers work beside the first one."""
    home = new_home("live")
    with serving(home) as server:
        second = command(home.root, "serve", "--port", "0")
        assert 2 == second.code, second.err
        assert "Traceback" not in second.err
        assert str(server.process.pid) in second.err or "serves" in second.err
        home.do("user", "add", "grace")
        home.do("release", "create", "loans@2")
        home.do("approve", "loans@2", "--as", "ada")
        home.do("deploy", "loans@2")
        server.wait_for("Plan 2 is in force")
        assert server.process.poll() is None
    assert 0 == server.process.returncode


def test_two_writers_take_turns(new_home: NewHome) -> None:
    """Commands started together all succeed, one after the other, and the records have no gap."""
    home = new_home("opened")
    before = len(home.kinds())

    def add(name: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "gatewright", "user", "add", name],
            cwd=home.root,
            env=environment(),
            capture_output=True,
            timeout=COMMAND_S,
            check=False,
        ).returncode

    with ThreadPoolExecutor(2) as pool:
        assert [0, 0] == list(pool.map(add, ("grace", "barbara")))
    assert ["user.added"] * 2 == home.kinds()[before:]
    assert {"ada", "grace", "barbara"} == {person["name"] for person in home.do("user", "list")}


def test_a_writer_that_waits_too_long_says_for_whom(
    new_home: NewHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody else writes, a command says whose turn it is and changes nothing; reading goes on."""
    home = new_home("opened")
    before = home.digest()
    monkeypatch.setattr(homes, "HomeLock", lambda path: HomeLock(path, wait_s=0.1))
    with HomeLock(home.folder / "lock"):
        ran = home.run("user", "add", "grace")
        assert (2, "storage.home-busy") == (ran.code, ran.error["code"])
        assert "process" in ran.said
        assert before == home.digest()
        assert 3 == home.do("status")["records"]
    home.do("user", "add", "grace")
