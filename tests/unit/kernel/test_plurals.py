"""One and many."""

from __future__ import annotations

from gatewright.kernel.plurals import advisories, many


def test_one_is_no_plural_and_all_else_is() -> None:
    """A count agrees with its noun, however the noun makes its plural."""
    assert ["0 notes", "1 note", "2,000 notes"] == [many(count, "note") for count in (0, 1, 2_000)]
    assert ["1 advisory", "2 advisories"] == [advisories(count) for count in (1, 2)]
