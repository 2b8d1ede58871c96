"""A server that is killed loses nothing that it has answered for, and finds torn tails.

The figures of the full loop (1,000 kills, every byte of the tail) come from ``make campaign``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly.segment_tails import before_seal, make_segment, open_tails, sealed_tails
from anomaly.serving_home import kill_loop, make_serving_home

KILLS = 6
POSITIONS = 24
SEED = 20260303


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One home with a live endpoint, and the endpoint's key."""
    folder = tmp_path_factory.mktemp("serving")
    return folder, make_serving_home(folder)


def test_no_answer_is_lost_when_the_server_is_killed(serving: tuple[Path, str]) -> None:
    """Every answer that a caller holds has exactly one record, on disk and counted in the ledger."""
    found = kill_loop(*serving, kills=KILLS, seed=SEED)
    assert (KILLS, 0, 0, 0) == (found.kills, found.lost, found.duplicated, found.other)
    assert found.answered > KILLS
    assert found.unasked >= 0
    assert KILLS == len(found.restarts)


def test_a_torn_tail_is_cut_at_its_last_whole_batch(tmp_path: Path) -> None:
    """Cut off or garbled anywhere, an open segment keeps every whole batch before, and says what it cut."""
    content = before_seal(make_segment(tmp_path / "whole"))
    found = open_tails(tmp_path / "damaged", content, count=POSITIONS, seed=SEED)
    assert (2 * POSITIONS, 0, 0) == (found.tried, found.shorter, found.silent)


def test_a_sealed_segment_shows_every_change_of_its_tail(tmp_path: Path) -> None:
    """Cut off or garbled anywhere, a sealed segment is refused."""
    found = sealed_tails(make_segment(tmp_path / "whole"), count=POSITIONS, seed=SEED)
    assert (2 * POSITIONS, 0, 0) == (found.tried, found.shorter, found.silent)
