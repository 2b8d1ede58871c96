"""A server that is killed loses nothing that it has answered for, and finds torn tails.

The figures of the full loop (1,000 kills, every byte of the tail) come from ``make campaign``.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from anomaly.home_verbs import FOLDER
from anomaly.segment_tails import before_seal, make_segment, open_tails, sealed_tails
from anomaly.serving_home import (
    Callers,
    Server,
    kill_loop,
    make_serving_home,
    tally,
    wait_for_both,
    worker_kill_loop,
)

KILLS = 6
POSITIONS = 24
SEED = 20260303


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One home with a live endpoint, and the endpoint's key."""
    folder = tmp_path_factory.mktemp("serving")
    return folder, make_serving_home(folder)


def test_nothing_acknowledged_is_lost_when_all_are_killed(serving: tuple[Path, str]) -> None:
    """Every answer that a caller holds has exactly one record, and every act of a clerk was done exactly once."""
    found, acts = kill_loop(*serving, kills=KILLS, seed=SEED, verify=KILLS // 2)
    assert (0, 0, ()) == (acts.lost, acts.duplicated, acts.refused)
    assert acts.acknowledged > 0
    assert (KILLS, 0, 0, 0) == (found.kills, found.lost, found.duplicated, found.other)
    assert found.answered > KILLS
    assert found.unasked >= 0
    assert KILLS == len(found.restarts)


def test_no_answer_is_lost_when_one_worker_of_two_is_killed(tmp_path: Path) -> None:
    """One of two workers is killed again and again: every answer of both has one record, and the rest goes on."""
    folder = tmp_path / "home"
    found = worker_kill_loop(folder, make_serving_home(folder), kills=KILLS // 2, seed=SEED)
    assert (KILLS // 2, 0, 0, 0) == (found.kills, found.lost, found.duplicated, found.other)
    assert found.answered > KILLS
    assert KILLS // 2 == len(found.restarts)


def test_what_more_workers_left_is_recovered_by_fewer(tmp_path: Path) -> None:
    """Two workers that a power cut ended leave open segments; one worker alone seals and records them all."""
    folder = tmp_path / "home"
    server = Server(folder, make_serving_home(folder), workers=2)
    callers = Callers(server)
    server.start()
    with callers.running():
        wait_for_both(server)
        before = len(callers.held)
        while len(callers.held) < before + KILLS:
            time.sleep(0.01)
        server.kill()
        server.workers = 1
        server.start()
    assert 0 == server.stop()
    found = tally(folder, callers, 1, ())
    assert (0, 0, 0) == (found.lost, found.duplicated, found.other)
    assert not (folder / FOLDER / "segments" / "worker-1" / "serve.json").exists()


def test_a_torn_tail_is_cut_at_its_last_whole_batch(tmp_path: Path) -> None:
    """Cut off or garbled anywhere, an open segment keeps every whole batch before, and says what it cut."""
    content = before_seal(make_segment(tmp_path / "whole"))
    found = open_tails(tmp_path / "damaged", content, count=POSITIONS, seed=SEED)
    assert (2 * POSITIONS, 0, 0) == (found.tried, found.shorter, found.silent)


def test_a_sealed_segment_shows_every_change_of_its_tail(tmp_path: Path) -> None:
    """Cut off or garbled anywhere, a sealed segment is refused."""
    found = sealed_tails(make_segment(tmp_path / "whole"), count=POSITIONS, seed=SEED)
    assert (2 * POSITIONS, 0, 0) == (found.tried, found.shorter, found.silent)
