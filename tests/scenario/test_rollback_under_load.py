"""A new version goes live and is taken back while clients keep asking: nobody notices a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from scenario.conftest import NewHome
from scenario.world import Home, Server, ask, loans, serving

SWITCH_S = 60.0


@dataclass(slots=True)
class Load:
    """Clients that keep asking; ``versions`` is what answered, in order, ``failures`` what went wrong."""

    versions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, server: Server, api_key: str) -> None:
        """Ask until stopped."""
        rows, _ = loans(50, 3)
        with httpx.Client() as client:
            while not self.stopped.is_set():
                for row in rows:
                    try:
                        answer = ask(client, server, "loans", api_key, row[None])
                    except httpx.HTTPError as error:
                        self.failures.append(repr(error))
                        continue
                    if answer.status_code == 200 and answer.json()["parameters"]["receipt"]:
                        self.versions.append(answer.json()["model_version"])
                    else:
                        self.failures.append(answer.text)

    def wait_for(self, version: str) -> None:
        """Until the last answers all came from ``version``."""
        until = time.monotonic() + SWITCH_S
        while time.monotonic() < until:
            if self.versions[-10:] == [version] * 10:
                return
            time.sleep(0.02)
        raise AssertionError(f"Version {version} never answered: {self.versions[-10:]} {self.failures[:3]}")


@contextmanager
def under_load(server: Server, api_key: str) -> Iterator[Load]:
    """Two clients at once; afterwards no request has failed."""
    load = Load()
    threads = [threading.Thread(target=load.run, args=(server, api_key), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join(SWITCH_S)
    assert [] == load.failures


def _live(home: Home) -> tuple[str, str]:
    (endpoint,) = home.do("status")["endpoints"]
    return endpoint["ref"], endpoint["previous_ref"]


def test_switching_and_rolling_back_lose_no_request(new_home: NewHome) -> None:
    """Deployment, rollback and the rollback of the rollback switch every answer; the other stays warm."""
    home = new_home("live")
    home.do("release", "create", "loans@2")
    home.do("approve", "loans@2", "--as", "ada")
    with serving(home) as server, under_load(server, home.api_key) as load:
        load.wait_for("1")
        assert "" == home.do("deploy", "loans@2")["api_key"]
        load.wait_for("2")
        assert ("loans@2", "loans@1") == _live(home)
        assert "loans@1" == home.do("rollback", "loans")["ref"]
        load.wait_for("1")
        assert ("loans@1", "loans@2") == _live(home)
        assert "loans@2" == home.do("rollback", "loans")["ref"]
        load.wait_for("2")
        assert ("loans@2", "loans@1") == _live(home)
    changes = home.do("history")
    assert ["endpoint.deployed"] * 2 + ["endpoint.rolled-back"] * 2 == [one["kind"] for one in changes]
    assert [1, 2, 3, 4] == [one["plan_number"] for one in changes]
    assert len(load.versions) == home.do("status")["predictions"]
