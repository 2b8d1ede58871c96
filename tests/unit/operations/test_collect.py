"""Collecting: sealed segments become records once, and those that do not hold stay and are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatewright.operations.catalogue import Segment, every
from gatewright.operations.collect import COLLECTED, collect
from gatewright.operations.home import Home
from gatewright.operations.waiting import SEALED, sealed


def test_nothing_sealed_records_nothing(live: Home) -> None:
    """An empty round leaves the ledger alone."""
    before = live.archive.checkpoint()
    found = collect(live)
    assert (0, 0, ()) == (found.segments, found.predictions, found.problems)
    assert before == live.archive.checkpoint()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x00" * 5_000])
def test_a_segment_that_does_not_hold_is_named_and_stays(live: Home, content: bytes) -> None:
    """It is not recorded, not moved, and does not keep the others from being recorded."""
    place: Path = live.segments / f"strange{SEALED}"
    place.write_bytes(content)
    before = live.archive.checkpoint()
    found = collect(live)
    assert 0 == found.segments
    (problem,) = found.problems
    assert place.name in problem
    assert content == place.read_bytes()
    assert not (live.segments / COLLECTED / place.name).exists()
    assert before == live.archive.checkpoint()
    assert [] == list(every(live, "segments", Segment))


def test_segments_of_every_worker_are_found(live: Home) -> None:
    """What further workers sealed is looked at, in the order of the times that begin the names."""
    (live.segments / "worker-1").mkdir()
    places = [live.segments / f"2{SEALED}", live.segments / "worker-1" / f"1{SEALED}"]
    for place in places:
        place.write_bytes(b"nonsense")
    assert places[::-1] == sealed(live.segments)
    assert [f"1{SEALED}", f"2{SEALED}"] == [each.partition(":")[0] for each in collect(live).problems]


def test_open_segments_are_left_to_the_worker(live: Home) -> None:
    """A segment that is still written to is not looked at."""
    (live.segments / "now.open").write_bytes(b"being written")
    assert () == collect(live).problems
