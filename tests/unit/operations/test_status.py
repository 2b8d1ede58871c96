"""Status: what stands, counted from the projections, and what the worker last said."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from gatewright.operations.home import Home
from gatewright.operations.status import status


def test_a_new_home_is_empty(fresh: Home) -> None:
    """Nothing is live, nothing waits, and the first records are counted."""
    found = status(fresh)
    assert (3, 0, (), (), 0, 0, None) == (
        found.records, found.plan_number, found.endpoints, found.waiting, found.refusals, found.predictions, found.worker,
    )  # fmt: skip


def test_what_is_released_and_not_live_waits(live: Home) -> None:
    """The live release is shown as an endpoint, the other one with its approvals."""
    found = status(live)
    assert ["loans@1"] == [entry.ref for entry in found.endpoints]
    assert [("loans@2", 1, 1)] == [(one.ref, one.have, one.need) for one in found.waiting]
    assert "durable" == found.recording


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"3"])
def test_a_worker_that_writes_nonsense_is_unknown(live: Home, content: bytes) -> None:
    """A status file that cannot be read is no status, not a failure."""
    (live.segments / "serve.json").write_bytes(content)
    assert status(live).worker is None


def test_what_the_worker_says_is_passed_on(live: Home) -> None:
    """The worker's own words stand in the status."""
    mine = f'{{"pid": {os.getpid()}, "serving": true}}'
    (live.segments / "serve.json").write_text(mine, "utf-8")
    assert {"pid": os.getpid(), "serving": True} == status(live).worker


def test_a_worker_whose_process_is_gone_is_down(live: Home) -> None:
    """Who was killed said no farewell: the process table does; and who lost its parent is an orphan."""
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    (live.segments / "worker-1").mkdir()
    for folder, pid in ((live.segments, os.getpid()), (live.segments / "worker-1", gone.pid)):
        said = {"pid": pid, "serving": True, "server": gone.pid}
        (folder / "serve.json").write_text(json.dumps(said), "utf-8")
    first, second = status(live).workers
    assert (True, True, None) == (first["serving"], first["orphan"], first.get("down"))
    assert (False, True) == (second["serving"], second["down"])
