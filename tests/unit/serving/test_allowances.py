from __future__ import annotations

import mmap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.deployments.plan import ApiKey
from gatewright.kernel.errors import Refused
from gatewright.serving import allowances
from gatewright.serving.admission import Turned
from gatewright.serving.allowances import DAY, Allowance, Allowances, Clocks
from gatewright.serving.limits import ALLOWANCES
from unit.serving.rig import api_key

SECOND = 1_000_000_000


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = 5 * SECOND
        self.seconds = 20_000.0 * DAY

    @property
    def clocks(self) -> Clocks:
        """Both hands."""
        return Clocks(steady=lambda: self.ns, wall=lambda: self.seconds)


def keys_of(*keys: ApiKey) -> dict[str, ApiKey]:
    """Keys by id."""
    return {key.id: key for key in keys}


def one(found: Allowances, *, rate: int = 0, quota: int = 0, endpoint_rate: int = 0) -> Allowance:
    """The allowance of one key at one endpoint."""
    key = api_key("k", "secret", rate=rate, quota=quota)
    return found.fit([("loans", endpoint_rate, keys_of(key))])["loans"]["k"]


def taken(allowance: Allowance, tries: int) -> int:
    """How many of so many requests are allowed."""
    return sum(wait_of(allowance) == 0 for _ in range(tries))


def wait_of(allowance: Allowance) -> int:
    """Seconds to wait before the next request, 0 where one was taken."""
    try:
        allowance.take()
    except Turned as turned:
        return int(dict(turned.headers)[b"retry-after"]) if turned.status == 429 else -1
    return 0


def test_a_burst_of_one_second_then_the_rate() -> None:
    """A rested caller sends one second's requests at once, and then one for each interval."""
    time = Time()
    allowance = one(Allowances.alone(0, time.clocks), rate=10)

    assert 10 == taken(allowance, 50)
    time.ns += SECOND // 2
    assert 5 == taken(allowance, 50)
    time.ns += 100 * SECOND
    assert 10 == taken(allowance, 50)


@settings(max_examples=25, deadline=None)
@given(
    rate=st.integers(1, 2_000),
    steps=st.lists(st.tuples(st.integers(0, SECOND), st.integers(0, 40), st.integers(0, 1)), max_size=40),
)
def test_no_pattern_of_requests_beats_the_rate(rate: int, steps: list[tuple[int, int, int]]) -> None:
    """Over any time, two workers together let through at most the rate times the time, and one burst."""
    time = Time()
    found = Allowances(mmap.mmap(-1, allowances._CELLS * 8), None, 0, 2, time.clocks)
    other = Allowances(found._cells.obj, None, 1, 2, time.clocks)  # type: ignore[arg-type] # the same memory
    workers = [one(found, rate=rate), one(other, rate=rate)]
    start, passed = time.ns, 0
    for pause, tries, worker in steps:
        time.ns += pause
        passed += taken(workers[worker], tries)

    assert passed <= rate + rate * (time.ns - start) / SECOND + 1e-3 * rate


def test_an_endpoint_s_rate_is_shared_by_its_keys() -> None:
    """Two keys together get the endpoint's rate; one that is refused takes nothing from its own."""
    time = Time()
    keys = keys_of(api_key("a", "1"), api_key("b", "2", rate=5))
    found = Allowances.alone(0, time.clocks).fit([("loans", 6, keys)])["loans"]

    assert (4, 2) == (taken(found["a"], 4), taken(found["b"], 9))
    time.ns += SECOND
    assert 5 == taken(found["b"], 9)


def test_a_quota_holds_over_workers_until_the_day_is_over() -> None:
    """What one worker counted another knows; at midnight, UTC, the count begins anew."""
    time = Time()
    time.seconds += 0.75 * DAY
    found = Allowances(mmap.mmap(-1, allowances._CELLS * 8), None, 0, 2, time.clocks)
    other = Allowances(found._cells.obj, None, 1, 2, time.clocks)  # type: ignore[arg-type] # the same memory
    first, second = one(found, quota=5), one(other, quota=5)

    assert (3, 2) == (taken(first, 3), taken(second, 9))
    assert DAY // 4 + 1 == wait_of(first)
    time.seconds += DAY // 4
    assert (5, 0) == (taken(second, 9), taken(first, 9))


def test_a_clock_that_goes_back_gives_no_quota_back() -> None:
    """After midnight and back before it, the day that was begun goes on."""
    time = Time()
    allowance = one(Allowances.alone(0, time.clocks), quota=3)
    assert 3 == taken(allowance, 5)

    time.seconds -= 10 * DAY
    assert 0 == taken(allowance, 5)
    time.seconds += 10 * DAY
    assert 0 == taken(allowance, 5)


def test_a_quota_that_is_used_up_takes_nothing_from_the_rate() -> None:
    """A request refused for the day does not count for the second."""
    time = Time()
    found = Allowances.alone(0, time.clocks)
    keys = keys_of(api_key("a", "1", quota=1), api_key("b", "2"))
    both = found.fit([("loans", 10, keys)])["loans"]

    assert 1 == taken(both["a"], 20)
    assert 9 == taken(both["b"], 20)


def test_counts_survive_the_worker(tmp_path: Path) -> None:
    """Opened anew, the file still knows what was used today, under whatever plan."""
    time = Time()
    first = Allowances.open(tmp_path / "a", 0, 1, time.clocks)
    assert 4 == taken(one(first, quota=6), 4)
    first.close()

    again = Allowances.open(tmp_path / "a", 1, 2, time.clocks)
    again.fit([("other", 3, {})])
    assert 2 == taken(one(again, quota=6), 9)
    again.close()


def test_what_workers_counted_that_are_no_more_still_counts(tmp_path: Path) -> None:
    """A server that starts again with fewer workers gives nothing back of what the others counted."""
    time = Time()
    third = Allowances.open(tmp_path / "a", 2, 3, time.clocks)
    assert 4 == taken(one(third, quota=6), 4)
    third.close()

    only = Allowances.open(tmp_path / "a", 0, 1, time.clocks)
    allowance = one(only, quota=6)
    assert 2 == taken(allowance, 9)
    time.seconds += DAY
    assert 6 == taken(allowance, 9)
    only.close()


def test_a_file_of_another_form_is_begun_anew(tmp_path: Path) -> None:
    """Garbage in place of the file counts as nothing used."""
    (tmp_path / "a").write_bytes(b"\xff" * 100)
    found = Allowances.open(tmp_path / "a", 0, 1, Time().clocks)

    assert 2 == taken(one(found, quota=2), 5)
    found.close()


@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=8, max_size=8), st.integers(0, 10))
def test_no_bytes_in_the_file_make_a_request_fail(word: bytes, skipped: int) -> None:
    """Whatever stands in the cells, a request is let through or told to wait; and the day after all is well."""
    time = Time()
    found = Allowances.alone(0, time.clocks)
    allowance = one(found, rate=5, quota=8)
    start = allowances._HEAD_CELLS + allowances._NAME_CELLS
    count = allowances._ROW_CELLS - allowances._NAME_CELLS - skipped
    found._cells[start : start + count] = memoryview(word * count).cast("Q")

    assert all(wait_of(allowance) >= 0 for _ in range(20))
    time.seconds += 400 * DAY
    time.ns += 400 * DAY * SECOND
    assert 5 == taken(allowance, 20)


def test_a_time_from_before_a_restart_of_the_machine_shuts_nobody_out() -> None:
    """The steady clock begins anew with the machine; a bucket that was full at a later time is full now."""
    time = Time()
    time.ns = 10**18
    allowance = one(Allowances.alone(0, time.clocks), rate=3)
    assert 3 == taken(allowance, 9)

    time.ns = 7 * SECOND
    assert 3 == taken(allowance, 9)


def test_keys_without_bounds_have_no_allowance() -> None:
    """Nothing is counted for a key that nothing bounds."""
    assert {} == Allowances.alone(0).fit([("loans", 0, keys_of(api_key("a", "1")))])


def test_a_plan_that_cannot_be_counted_is_refused() -> None:
    """More bounded keys than rows, and no worker takes the plan."""
    keys = {str(n): api_key(str(n), str(n), rate=1) for n in range(ALLOWANCES.value + 1)}

    with pytest.raises(Refused) as caught:
        Allowances.alone(0, Time().clocks).fit([("loans", 0, keys)])

    assert "serving.allowances" == caught.value.code


def test_rows_of_old_plans_are_used_again_after_their_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that the plan does not name is kept while its day may still be counted, then given away clean."""
    monkeypatch.setattr(allowances, "_CELLS", allowances._HEAD_CELLS + allowances._ROW_CELLS)
    time = Time()
    found = Allowances.alone(0, time.clocks)
    assert 2 == taken(one(found, quota=2), 9)

    with pytest.raises(Refused):
        found.fit([("other", 7, keys_of(api_key("a", "1")))])
    time.seconds += 2 * DAY
    assert 7 == taken(found.fit([("other", 7, keys_of(api_key("a", "1")))])["other"]["a"], 20)
