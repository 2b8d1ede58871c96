"""What dead workers left is the first thing that is recorded."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from anomaly.home_verbs import seal_a_segment
from gatewright.assembly.collecting import collect_home
from gatewright.assembly.homes import create_home, open_home, read_home
from gatewright.kernel.errors import Refused
from gatewright.ledger.records import Record
from gatewright.operations.forks import RESTORED_FILE, Restored, restored_file
from gatewright.operations.users import add as add_user
from gatewright.operations.waiting import open_segments, sealed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A home whose worker was killed: one segment is sealed, one was left open."""
    create_home(tmp_path, "ada")
    segments = tmp_path / ".gatewright" / "segments"
    seal_a_segment(tmp_path)
    seal_a_segment(tmp_path)
    first = sealed(segments)[0]
    first.rename(first.with_suffix(".open"))
    return tmp_path


@pytest.mark.parametrize("beside", [False, True])
def test_what_was_promised_is_recorded_before_anything_else(root: Path, *, beside: bool) -> None:
    """A command that records something records the left segments first, the open one sealed."""
    if beside:
        with read_home(root) as home, home.exclusive():
            add_user(home, "grace")
    else:
        with open_home(root) as home:
            add_user(home, "grace")
    with read_home(root) as home:
        recorded = [Record.decode(leaf).draft.kind for leaf in home.archive.leaves()]
        assert ["predictions.sealed"] * 2 == recorded[-3:-1]
        assert (frozenset(), []) == (open_segments(home.segments), sealed(home.segments))


def test_collecting_tells_all_that_it_took_in(root: Path) -> None:
    """What opening the home recorded is counted."""
    found = collect_home(root)
    assert (2, ()) == (found.segments, found.problems)
    assert 0 == collect_home(root).segments


def test_an_open_segment_of_a_running_server_is_left_to_it(root: Path) -> None:
    """While a server has its lock, only what is sealed is taken in."""
    segments = root / ".gatewright" / "segments"
    lock = os.open(segments / "serve.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert 1 == collect_home(root).segments
    assert 1 == len(open_segments(segments))
    os.close(lock)


def test_in_a_home_that_was_put_back_nothing_is_taken_in(root: Path) -> None:
    """What waits goes on waiting until a person has recorded that the home was put back."""
    mark = Restored(records=3, root="", made="2026-01-01T00:00:00Z", plan=0)
    (root / ".gatewright" / RESTORED_FILE).write_bytes(restored_file(mark))
    with pytest.raises(Refused):
        collect_home(root)
    assert 1 == len(sealed(root / ".gatewright" / "segments"))


def test_a_segment_that_does_not_hold_is_named_and_ends_nothing(root: Path) -> None:
    """A damaged segment stays where it is; the others are recorded, and the command goes on."""
    (damaged,) = sealed(root / ".gatewright" / "segments")
    damaged.write_bytes(damaged.read_bytes()[:-8])
    found = collect_home(root)
    assert (1, 1) == (found.segments, len(found.problems))
    assert damaged.exists()
