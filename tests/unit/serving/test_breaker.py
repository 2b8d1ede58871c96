from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.errors import Refusal
from gatewright.serving.breaker import Breaker
from gatewright.serving.limits import BREAKER_FAILURES, BREAKER_TIME, BREAKER_WINDOW
from unit.serving.routes import Clock


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=20))
def test_it_opens_with_so_many_failures_in_the_window(gaps: list[int]) -> None:
    """Closed until the last N failures lie within the window of requests, whatever came between: the definition."""
    breaker = Breaker("tumour", 1, clock=Clock(), report=lambda _: None)
    failed: list[int] = []
    seen = 0
    for gap in gaps:
        for _ in range(gap):
            breaker.succeeded()
        seen += gap + 1
        failed.append(seen)
        breaker.failed()
        inside = [place for place in failed if place > seen - BREAKER_WINDOW.value]
        assert (len(inside) >= BREAKER_FAILURES.value) == breaker.is_open
        if breaker.is_open:
            return


def test_a_probe_that_never_ends_is_followed_by_another() -> None:
    """One request at a time may try the release: the next one after the time, however the first ended."""
    clock = Clock()
    breaker = Breaker("tumour", 1, clock=clock, report=lambda _: None)
    for _ in range(BREAKER_FAILURES.value):
        breaker.failed()
    at_once = breaker.may_probe()
    clock.seconds += BREAKER_TIME.value
    first, second = breaker.may_probe(), breaker.may_probe()
    clock.seconds += BREAKER_TIME.value
    third = breaker.may_probe()

    assert (False, True, False, True) == (at_once, first, second, third)


def test_closing_forgets_the_failures() -> None:
    """Once closed, it takes all failures anew to open; each opening and closing is counted and told."""
    said: list[Refusal] = []
    breaker = Breaker("tumour", 7, clock=Clock(), report=said.append)
    for _ in range(BREAKER_FAILURES.value):
        breaker.failed()
    breaker.probed()
    breaker.probed()
    for _ in range(BREAKER_FAILURES.value - 1):
        breaker.failed()
    closed = breaker.is_open
    breaker.failed()

    assert (False, True, 2, 2 * BREAKER_FAILURES.value) == (
        closed,
        breaker.is_open,
        breaker.openings,
        breaker.failures,
    )
    opened, again = "serving.breaker-opened", "serving.breaker-closed"
    assert [opened, again, opened] == [refusal.code for refusal in said]
    assert all("Version 7 of endpoint tumour" in refusal.what for refusal in said)
