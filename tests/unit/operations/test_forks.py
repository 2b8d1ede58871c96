"""The mark of a restored home, and the words for what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput, Misuse
from gatewright.operations.forks import Restored, missing, read_restored, restored_file

COUNT = st.integers(min_value=0, max_value=2**53 - 1)
FROZEN = b'{"format":1,"made":"2026-03-03T14:05:00Z","plan":7,"records":90,"root":"ab"}'


@given(st.builds(Restored, records=COUNT, root=st.text(max_size=64), made=st.text(max_size=30), plan=COUNT))
def test_a_mark_is_read_as_it_was_written(mark: Restored) -> None:
    """Law: reading what was written gives the same mark."""
    assert mark == read_restored(restored_file(mark))


def test_the_frozen_mark_of_version_1_is_read() -> None:
    """A mark of today's format is read for ever; a newer one asks for an upgrade, another is refused."""
    assert Restored(records=90, root="ab", made="2026-03-03T14:05:00Z", plan=7) == read_restored(FROZEN)
    with pytest.raises(Misuse, match="reads up to 1"):
        read_restored(FROZEN.replace(b'"format":1', b'"format":2'))
    with pytest.raises(BadInput):
        read_restored(FROZEN.replace(b'"plan":7', b'"plan":-7'))


@pytest.mark.parametrize(
    ("records", "known", "words"),
    [
        (90, 100, "records 90 to 99"),
        (90, 91, "record 90"),
        (90, 90, "whatever was recorded from record 90 on"),
        (90, 0, "whatever was recorded from record 90 on"),
    ],
)
def test_what_is_missing_is_said_by_number(records: int, known: int, words: str) -> None:
    """The missing records by their numbers, where somebody knows how many there were."""
    assert words == missing(records, known)
