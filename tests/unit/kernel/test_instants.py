"""Instants are whole nanoseconds in UTC, and one text each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = int((datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * 10**9
LAST = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH).total_seconds()) * 10**9 + 999_999_999


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01 00:01", 60 * 10**9),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00.5-05:00", 5 * 10**8),
        ("2026-03-03T14:05:00.000000001Z", 1_772_546_700_000_000_001),
        (" 2026-03-03T14:05:00Z\n", 1_772_546_700_000_000_000),
    ],
)
def test_forms_that_people_write_are_read(text: str, ns: int) -> None:
    """Dates and date-times of RFC 3339 are read, without a zone as UTC."""
    assert Instant(ns) == Instant.parse(text)


@given(st.integers(FIRST, LAST))
def test_every_moment_is_read_back(ns: int) -> None:
    """The text of every moment of the years 1 to 9999 reads as the same moment."""
    assert Instant(ns) == Instant.parse(str(Instant(ns)))


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_agree_with_the_standard_library(moment: datetime) -> None:
    """The text that the standard library writes is read as the moment it stands for."""
    expected = (moment - EPOCH) // timedelta(microseconds=1) * 1_000
    assert Instant(expected) == Instant.parse(moment.isoformat())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-13-01",
        "2026-02-30",
        "2026-03-03T25:00Z",
        "2026-03-03T14:05:61Z",
        "2026-03-03T14:05:00.1234567890Z",
        "2026-03-03T14",
        "03.03.2026",
        "2026-03-03Z",
        "\uff12\uff10\uff12\uff16-03-03",
        "2026-03-03T14:05:00.\u0663Z",
        "2026-03-03T14:05:00+99:00",
    ],
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    """What is no date and time is BadInput that shows how to write one."""
    with pytest.raises(BadInput, match="2026-03-03T14:05:00Z"):
        Instant.parse(text)


@given(st.integers(FIRST, LAST), st.integers(FIRST, LAST))
def test_instants_sort_by_time(one: int, other: int) -> None:
    """The order of instants is the order of their nanoseconds."""
    assert (one < other) == (Instant(one) < Instant(other))
