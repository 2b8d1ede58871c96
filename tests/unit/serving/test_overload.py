from __future__ import annotations

from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.serving.admission import Turned
from gatewright.serving.limits import REQUESTS, WAITING_TIME
from gatewright.serving.overload import LEAST_SECONDS, MEMORY, Load, Place

SECONDS = WAITING_TIME.value / 1000
TENTH = SECONDS / 10.3 - LEAST_SECONDS
"""Of so much work, ten requests may be ahead of one that is let in, and eleven may not."""


def fill(load: Load, key: Hashable, expected: float = TENTH, times: int = 1_000) -> list[Place]:
    """Requests of one key, until one is turned away."""
    places: list[Place] = []
    for _ in range(times):
        try:
            places.append(load.enter("slow", key, expected))
        except Turned:
            break
    return places


def test_what_cannot_be_answered_soon_is_turned_away() -> None:
    """One that would wait longer than the limit is told to come again, and counted."""
    load = Load()
    held = fill(load, "a")

    with pytest.raises(Turned) as caught:
        load.enter("slow", "a", TENTH)

    assert 11 == len(held)
    assert (503, ((b"retry-after", b"1"),)) == (caught.value.status, caught.value.headers)
    assert 2 == load.refused


def test_more_threads_take_more() -> None:
    """The work ahead is shared by the threads that do it."""
    assert 21 == len(fill(Load(width=2), "a"))


@pytest.mark.parametrize("width", [1, 3])
def test_no_thread_is_left_idle(width: int) -> None:
    """However slow a model is, one request runs on each thread and one waits for it."""
    assert 2 * width == len(fill(Load(width=width), "a", expected=1_000.0))


def test_quick_models_are_bounded_by_their_number_alone() -> None:
    """Where the time would allow more, there are never more requests in work than the outer limit."""
    assert REQUESTS.value == len(fill(Load(), "a", expected=0.0))


def test_room_comes_back() -> None:
    """Each request that is answered makes room for another."""
    load = Load()
    held = fill(load, "a")

    load.leave(held.pop())

    assert 1 == len(fill(load, "a"))


def test_a_key_with_nothing_in_work_is_let_in() -> None:
    """A key that floods cannot shut out one that asks now and then."""
    load = Load()
    fill(load, "flood")

    assert [1] * 30 == [len(fill(load, f"polite {place}", times=1)) for place in range(30)]


def test_keys_share_what_there_is() -> None:
    """While much waits, each key gets up to an equal part of it, and none gets more."""
    load = Load()
    load.leave(fill(load, "b", times=1)[0])
    fill(load, "b", times=4)
    flood = fill(load, "a")

    assert 6 == len(flood)
    assert 2 == len(fill(load, "b"))


def test_one_key_alone_may_have_it_all() -> None:
    """Sharing keeps nothing free for keys that do not ask."""
    load = Load()
    for place in fill(load, "gone", times=3):
        load.leave(place)

    assert 11 == len(fill(load, "a"))


def test_the_work_of_a_request_is_learnt() -> None:
    """What requests took decides how many of the next may wait."""
    load = Load()
    for _ in range(20 * MEMORY):
        place = load.enter("slow", "a", TENTH)
        place.spent = TENTH / 4
        load.leave(place)

    assert 35 < len(fill(load, "a")) < 45


def test_one_large_request_does_not_close_the_door() -> None:
    """A single request that took very long moves the mean by a bounded part."""
    load = Load()
    place = load.enter("slow", "a", TENTH)
    place.spent = 1_000.0
    load.leave(place)

    assert 7 < len(fill(load, "a"))


def test_endpoints_are_told_apart() -> None:
    """A slow endpoint's work counts as its own: a request to a quick one is less."""
    load = Load()
    fill(load, "a", times=9)

    assert 5 < len([load.enter("quick", "b", 0.0) for _ in range(8)])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 0.05)), max_size=200))
def test_what_went_in_comes_out(steps: list[tuple[str, bool, float]]) -> None:
    """Whatever comes, goes and is turned away: nothing is in work when all have left."""
    load = Load()
    held: list[Place] = []
    for key, enters, spent in steps:
        if enters:
            held += fill(load, key, times=1)
        elif held:
            place = held.pop()
            place.spent = spent
            load.leave(place)
    assert len(held) == load.requests
    for place in held:
        load.leave(place)

    assert (0, 0.0) == (load.requests, load.seconds)
    assert fill(load, "a", times=1)
