from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.deployments.plan import WHOLE, Portion
from gatewright.kernel.errors import Refusal
from gatewright.kernel.names import Name
from gatewright.serving.admission import Turned
from gatewright.serving.codec import Asked
from gatewright.serving.limits import BREAKER_FAILURES, BREAKER_TIME
from gatewright.serving.routing import Route, Served
from gatewright.serving.traffic import Unanswered, answer, choose, point_of
from unit.serving.routes import Clock, fresh, ref, route_of

SUBJECTS = [f"subject-{number}" for number in range(4_000)]
ROW = (np.array([[1.0, 2.0, 3.0]], np.float32),)
GOOD = [np.array([1]), np.array([[0.25, 0.75]], np.float32)]


def arm(name: str, version: int, share: int) -> Portion:
    """An arm of an experiment."""
    return Portion(name=Name(name), release=ref(version), share=share)


def split(*shares: int, endpoint: str = "tumour") -> Route:
    """A route with one arm for each share."""
    arms = tuple(arm(f"arm-{number}", number + 2, share) for number, share in enumerate(shares) if share)
    return route_of(ref(1), endpoint=endpoint, arms=arms)


def places(route: Route) -> list[str]:
    """Who answers each subject."""
    return [choose(route, subject, "key-1").place for subject in SUBJECTS]


def points(route: Route) -> list[str]:
    """Who has each thousandth."""
    return [served.place for served in route.points] or ["champion"] * WHOLE


@pytest.mark.parametrize("shares", [(1,), (100,), (500, 250), (333, 333, 334), (10, 20, 30, 900)])
def test_the_shares_hold_over_many_subjects(shares: tuple[int, ...]) -> None:
    """Every arm meets its share of the subjects, within five deviations of the binomial distribution."""
    found = Counter(places(split(*shares)))

    for number, share in enumerate(shares):
        part = share / WHOLE
        bound = 5 * math.sqrt(len(SUBJECTS) * part * (1 - part))
        assert abs(found[f"arm-{number}"] - len(SUBJECTS) * part) <= bound


SHARES = st.lists(st.integers(0, 330), min_size=1, max_size=3)


@settings(max_examples=20, deadline=None)
@given(SHARES)
def test_every_arm_has_exactly_its_thousandths(shares: list[int]) -> None:
    """The points are given away once each, as many as the plan says."""
    found = Counter(points(split(*shares)))

    assert shares == [found[f"arm-{number}"] for number in range(len(shares))]
    assert WHOLE - sum(shares) == found["champion"]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_one_share_that_changes_moves_only_the_difference(one: int, other: int) -> None:
    """A canary that grows keeps whom it has, and one that shrinks gives back only what it must."""
    moved = sum(a != b for a, b in zip(points(split(one)), points(split(other)), strict=True))

    assert abs(one - other) == moved


@settings(max_examples=20, deadline=None)
@given(SHARES, st.integers(0, 2), st.integers(0, 330))
def test_a_change_moves_nobody_of_the_arms_before(shares: list[int], place: int, share: int) -> None:
    """Arms take their points by name: those before the one that changes keep theirs."""
    place = min(place, len(shares) - 1)
    changed = [*shares[:place], share, *shares[place + 1 :]]
    before, after = points(split(*shares)), points(split(*changed))
    kept = {f"arm-{number}" for number in range(place)}

    assert [one if one in kept else "" for one in before] == [one if one in kept else "" for one in after]


@given(st.text(max_size=40), st.integers(1, 500))
@settings(max_examples=20, deadline=None)
def test_one_subject_always_meets_one_release(subject: str, share: int) -> None:
    """Whatever the text, in every plan with the same shares, on every worker."""
    first, second = (choose(split(share, 300), subject, key).place for key in ("key-1", "key-2"))

    assert first == second


def test_endpoints_divide_their_subjects_independently() -> None:
    """Who meets the arm of one endpoint is no likelier to meet that of another one."""
    both = Counter(zip(places(split(500)), places(split(500, endpoint="loans")), strict=True))
    expected = len(SUBJECTS) / 4

    assert all(abs(count - expected) <= 5 * math.sqrt(expected * 0.75) for count in both.values())
    assert 4 == len(both)


def test_a_canary_is_drawn_for_each_request() -> None:
    """Without a subject a canary takes its share of the requests, within six deviations."""
    route = route_of(ref(1), canary=arm("canary", 2, 250))
    found = Counter(choose(route, None, "key-1").place for _ in range(20_000))

    assert abs(found["canary"] - 5_000) <= 6 * math.sqrt(20_000 * 0.25 * 0.75)


def test_a_canary_is_fixed_for_a_subject() -> None:
    """A caller that names the subject meets one release, canary or champion, again and again."""
    route = route_of(ref(1), canary=arm("canary", 2, 500))

    assert 1 == len({choose(route, "anna", "key-1").place for _ in range(50)})


def test_without_a_subject_an_experiment_goes_by_the_key() -> None:
    """Every request of one API key meets the arm at the key's own point; keys meet different arms."""
    route = split(500)
    keys = [f"key-{number}" for number in range(50)]
    found = [{choose(route, None, key).place for _ in range(5)} for key in keys]

    assert [{route.points[point_of("tumour", key)].place} for key in keys] == found
    assert {"champion", "arm-0"} == set().union(*found)


def test_with_the_champion_alone_there_is_nothing_to_choose() -> None:
    """The usual route has no points, and no draw is made."""
    route = route_of(ref(1))

    assert ((), route.champion) == (route.points, choose(route, "anna", "key-1"))


class Stub:
    """An engine by its outcome: arrays, or an exception."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome


FAILS = Stub(RuntimeError("secret text"))
WORKS = Stub(GOOD)


def ask(served: Served, *, pinned: bool = False, binary: bool = False, rows: int = 1) -> Served:
    """Drive one answer; who gave it."""
    asked = Asked(None, ROW * rows, (0, 1), binary=frozenset({1} if binary else ()))
    runs = answer(served, asked, pinned=pinned)
    engine: Any = next(runs)
    while True:
        try:
            engine = runs.send(engine.outcome)
        except StopIteration as end:
            found: Served = end.value[0]
            return found


NOT_FINITE = Stub([np.array([1]), np.array([[np.nan, 0.5]], np.float32)])
TOO_FEW = Stub([np.array([1]), np.array([[0.5]], np.float32)])
TOO_MANY = Stub([np.array([1, 1]), np.array([[0.5, 0.5]] * 2, np.float32)])


@pytest.mark.parametrize("engine", [FAILS, NOT_FINITE, TOO_FEW, TOO_MANY])
def test_the_fallback_answers_for_a_release_that_fails(engine: Stub) -> None:
    """An exception, an impossible number, a shape or a number of rows that should not be: the fallback answers."""
    route = route_of(ref(1), fallback=ref(9), engines={1: engine, 9: WORKS})

    assert "fallback" == ask(route.champion).place


def test_in_binary_a_number_that_is_none_is_an_answer() -> None:
    """NaN is a failure only where JSON cannot hold it."""
    route = route_of(ref(1), fallback=ref(9), engines={1: NOT_FINITE, 9: WORKS})

    assert "champion" == ask(route.champion, binary=True).place


def test_without_a_fallback_the_champion_answers_for_a_canary() -> None:
    """A canary never makes a request fail that the champion can answer."""
    route = route_of(ref(1), canary=arm("canary", 2, 500), engines={1: WORKS, 2: FAILS})

    assert "champion" == ask(route.portions[0][0]).place


def test_a_fallback_that_is_the_canary_is_no_help_for_itself() -> None:
    """Where both are one release, the champion stands in for it."""
    route = route_of(ref(1), canary=arm("canary", 2, 500), fallback=ref(2), engines={1: WORKS, 2: FAILS})

    assert "champion" == ask(route.portions[0][0]).place


@pytest.mark.parametrize("pinned", [False, True])
def test_a_champion_alone_and_a_version_that_was_asked_for_fail(pinned: bool) -> None:
    """Without fallback, or where the caller asked for a version, a failure is a 500 without the engine's text."""
    traffic = {"fallback": ref(9)} if pinned else {}
    route = route_of(ref(1), engines={1: FAILS, 9: WORKS}, **traffic)
    with pytest.raises(Unanswered) as caught:
        ask(route.champion, pinned=pinned)

    assert (500, False) == (caught.value.status, "secret" in caught.value.sentence)


def test_a_refusal_of_the_engine_is_no_failure() -> None:
    """What the engine turns away (too much to do, say) is turned away, and not counted."""
    route = route_of(ref(1), fallback=ref(9), engines={1: Stub(Turned(503, "Busy.")), 9: WORKS})
    with pytest.raises(Turned) as caught:
        ask(route.champion)

    assert route.champion.breaker is not None
    assert ("Busy.", 0) == (caught.value.sentence, route.champion.breaker.failures)


def test_inputs_that_no_release_can_take_open_no_breaker() -> None:
    """A failure that the stand-in shares is the caller's, and is not held against the release."""
    said: list[Refusal] = []
    route = route_of(ref(1), fallback=ref(9), engines={1: FAILS, 9: FAILS}, kept=fresh(said))
    for _ in range(3 * BREAKER_FAILURES.value):
        with pytest.raises(Unanswered):
            ask(route.champion)

    assert route.champion.breaker is not None
    assert ([], False, 0) == (said, route.champion.breaker.is_open, route.champion.breaker.failures)


def opened(said: list[Refusal], clock: Clock) -> tuple[Route, Stub]:
    """A route whose champion failed until its breaker opened, and the champion's engine."""
    engine = Stub(FAILS.outcome)
    route = route_of(ref(1), fallback=ref(9), engines={1: engine, 9: WORKS}, kept=fresh(said, clock))
    for _ in range(BREAKER_FAILURES.value):
        ask(route.champion)
    return route, engine


def test_an_open_breaker_asks_the_fallback_at_once() -> None:
    """After its failures a release is not asked any more, even where it would answer; that is said once."""
    said: list[Refusal] = []
    route, engine = opened(said, Clock())
    engine.outcome = GOOD

    assert ["fallback"] * 5 == [ask(route.champion).place for _ in range(5)]
    assert ["serving.breaker-opened"] == [refusal.code for refusal in said]


def test_a_probe_closes_the_breaker_when_it_succeeds() -> None:
    """After its time one request tries the release; while it fails, all others go to the fallback."""
    said: list[Refusal] = []
    clock = Clock()
    route, engine = opened(said, clock)
    clock.seconds += BREAKER_TIME.value
    failed = [ask(route.champion).place, ask(route.champion).place]
    engine.outcome = GOOD
    early = ask(route.champion).place
    clock.seconds += BREAKER_TIME.value
    late = [ask(route.champion).place, ask(route.champion).place]

    assert (["fallback"] * 2, "fallback", ["champion"] * 2) == (failed, early, late)
    assert ["serving.breaker-opened", "serving.breaker-closed"] == [refusal.code for refusal in said]


def test_a_breaker_outlives_a_plan_that_keeps_its_release() -> None:
    """A new plan with the release finds its breaker as it was; one without it lets the breaker go."""
    kept = fresh()
    first = route_of(ref(1), fallback=ref(9), kept=kept)
    kept.keep((first,))
    same = route_of(ref(1), fallback=ref(9), kept=kept)
    kept.keep((route_of(ref(2), fallback=ref(9), kept=kept),))
    again = route_of(ref(1), fallback=ref(9), kept=kept)

    assert first.champion.breaker is same.champion.breaker
    assert first.champion.breaker is not again.champion.breaker


def test_each_endpoint_has_breakers_and_tallies_of_its_own() -> None:
    """One release on two endpoints fails on one without a consequence for the other."""
    kept = fresh()
    one, other = (
        route_of(ref(1), endpoint=name, fallback=ref(9), shadow=ref(8), kept=kept) for name in ("a", "b")
    )

    assert one.champion.breaker is not other.champion.breaker
    assert one.tally is not other.tally
