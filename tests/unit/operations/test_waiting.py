"""What waits for the collector, and whether one runs."""

from __future__ import annotations

import os
from pathlib import Path

from gatewright.kernel.instants import Instant
from gatewright.operations.waiting import (
    collector_lock,
    collector_runs,
    longest_wait,
)


def test_a_collector_runs_while_anybody_has_its_lock(tmp_path: Path) -> None:
    """The lock ends with the last handle of the last collector; looking at it takes nothing away."""
    assert not collector_runs(tmp_path)
    first, second = collector_lock(tmp_path), collector_lock(tmp_path)
    assert (True, True) == (collector_runs(tmp_path), collector_runs(tmp_path))
    os.close(first)
    assert collector_runs(tmp_path)
    os.close(second)
    assert (False, False) == (collector_runs(tmp_path), collector_runs(tmp_path))


def test_the_wait_is_that_of_the_first_segment(tmp_path: Path) -> None:
    """Of all workers' sealed segments the oldest counts; without any there is no wait."""
    now = Instant(10**18)
    assert 0 == longest_wait(tmp_path, now)
    (tmp_path / "worker-1").mkdir()
    (tmp_path / "worker-1" / "a.sealed").write_bytes(b"")
    came = (tmp_path / "worker-1" / "a.sealed").stat().st_ctime_ns
    (tmp_path / "b.sealed").write_bytes(b"")
    (tmp_path / "c.open").write_bytes(b"")
    assert 90 == longest_wait(tmp_path, Instant(came + 90 * 10**9))
    assert 0 == longest_wait(tmp_path, Instant(came - 1))
