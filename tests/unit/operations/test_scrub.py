"""The scrubber's walk: in order, from where it was, and what it makes of each kind of failure."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.operations.scrub import Piece, Progress, ended, passed

NOW = Instant.parse("2026-03-03T14:05:00Z")
TEXT = st.text(max_size=20)
COUNT = st.integers(min_value=0, max_value=2**53 - 1)


def piece(position: str, check: Callable[[], int] = lambda: 10) -> Piece:
    """A piece at a position."""
    return Piece(position=position, what="content", place=f"blobs/{position}", check=check)


def failing(error: GatewrightError) -> Callable[[], int]:
    """A check that raises."""

    def check() -> int:
        raise error

    return check


@given(st.builds(Progress, began=TEXT, position=TEXT, pieces=COUNT, size=COUNT, finished=TEXT))
def test_progress_is_read_as_it_was_written(progress: Progress) -> None:
    """Law: decoding what was encoded gives the same progress."""
    assert progress == Progress.decode(progress.encode())


def test_the_frozen_progress_of_version_1_is_read() -> None:
    """A bookmark written when the format was published is read; a newer one asks for an upgrade."""
    data = b'{"began":"b","bytes":7,"finished":"f","format":1,"pieces":3,"position":"4 content ab"}'
    expected = Progress(began="b", position="4 content ab", pieces=3, size=7, finished="f")
    assert expected == Progress.decode(data)
    with pytest.raises(Misuse, match="reads up to 1"):
        Progress.decode(data.replace(b'"format":1', b'"format":2'))


@pytest.mark.parametrize("stop", range(4))
def test_a_pass_goes_on_where_it_was(stop: int) -> None:
    """However often it is ended, a pass reads each piece once, in order."""
    pieces = [piece(each) for each in ("1", "2", "3")]
    first = list(passed(pieces, Progress(), lambda: NOW))[:stop]
    kept = first[-1][2] if first else Progress()
    rest = [] if stop == 3 else list(passed(pieces, kept, lambda: NOW))
    assert ["1", "2", "3"] == [one.position for one, _, _ in (*first, *rest)]
    last = (*first, *rest)[-1][2]
    assert (3, 30) == (last.pieces, last.size)
    assert ("", str(NOW)) == (ended(last, NOW).position, ended(last, NOW).finished)


@pytest.mark.parametrize(
    "error",
    [
        Tampered("a.b", "Flipped."),
        BadInput("a.b", "Not read."),
        DependencyFailed("storage.disk-error", "EIO."),
    ],
)
def test_what_does_not_hold_is_damage_and_the_walk_goes_on(error: GatewrightError) -> None:
    """Changed bytes, and bytes that the disk cannot give back, are damage; the next piece is read all the same."""
    found = list(passed([piece("1", failing(error)), piece("2")], Progress(), lambda: NOW))
    assert ["blobs/1", None] == [damage and damage.place for _, damage, _ in found]


@pytest.mark.parametrize("error", [Misuse("a.b", "Busy."), DependencyFailed("storage.too-many-files", "No.")])
def test_what_could_not_be_looked_at_is_no_damage(error: GatewrightError) -> None:
    """A busy home or a lack of handles is no alarm: the pass ends there, to be gone on with."""
    with pytest.raises(type(error)):
        list(passed([piece("1", failing(error))], Progress(), lambda: NOW))
