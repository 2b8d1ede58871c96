"""A revoked release leaves every place of a plan at once, and comes back to none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.deployments.deployment import Change, Deployment, authorise, deploy, experiment_of
from gatewright.deployments.plan import EndpointPlan, Portion, ReleaseRef, TrafficPlan
from gatewright.deployments.revoking import Cleared, clear
from gatewright.deployments.transitions import Experiment, State
from gatewright.deployments.wording import told
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.policy.verdict import Verdict, encode_verdict

Releases = Callable[..., ReleaseRef]
NOW = Instant(1_000)


@st.composite
def _endpoints(draw: st.DrawFn, release_of: Releases, name: str) -> EndpointPlan:
    """An endpoint with releases 1 to 5 in any places that a plan allows."""
    champion, *others = draw(st.permutations(range(1, 6)))

    def some() -> ReleaseRef | None:
        number = draw(st.sampled_from([None, *others]))
        return None if number is None else release_of(number)

    beside = [one for one in (some(), some()) if one is not None]
    canary = draw(st.booleans())
    portions = [
        Portion(name=Name("canary" if canary else f"arm-{index}"), release=one, share=100)
        for index, one in enumerate(beside[:1] if canary else beside)
    ]
    return EndpointPlan(
        endpoint=Name(name),
        champion=release_of(champion),
        previous=some(),
        keys=(),
        canary=portions[0] if canary and portions else None,
        arms=() if canary else tuple(portions),
        shadow=some(),
        fallback=some(),
        stopped=draw(st.booleans()),
    )


@settings(max_examples=200, deadline=None)
@given(data=st.data(), number=st.integers(1, 6))
def test_afterwards_no_running_endpoint_names_it(
    data: st.DataObject, number: int, release_of: Releases
) -> None:
    """No place of a running endpoint names the release; endpoints without it are as they were; nothing else joins."""
    found = (data.draw(_endpoints(release_of, "a")), data.draw(_endpoints(release_of, "b")))
    plan = TrafficPlan(number=7, issued=NOW, endpoints=found)
    states: dict[str, State] = {
        one.endpoint: State.FIRST if one.previous is None else State.LIVE for one in found
    }
    root = release_of(number).root
    cleared = clear(plan, root, states, NOW)
    touched = [one for one in found if any(each.root == root for each in one.releases())]
    assert (cleared is None) == (not touched)
    if cleared is None:
        return
    assert 8 == cleared.plan.number
    assert {one.endpoint for one in touched} == set(cleared.states)
    for before, after in zip(found, cleared.plan.endpoints, strict=True):
        roots = {each.root for each in after.releases()}
        if before not in touched:
            assert before == after
            continue
        assert roots <= {each.root for each in before.releases()}
        if root in roots:
            assert (True, State.REVOKED, {root}) == (after.stopped, cleared.states[after.endpoint], roots)
            assert before.previous is None
        assert told(before, after) or before.stopped
        assert (after.previous is None) == (cleared.states[after.endpoint] is not State.LIVE)


def _plan(**values: object) -> TrafficPlan:
    return TrafficPlan(number=1, issued=NOW, endpoints=(EndpointPlan(**values),))  # type: ignore[arg-type]


def _cleared(found: Cleared | None) -> tuple[EndpointPlan, State]:
    assert found is not None
    return found.plan.endpoints[0], found.states["a"]


def test_the_previous_release_takes_the_champions_place(release_of: Releases) -> None:
    """The experiment and the shadow end with the champion; the fallback stays, and nothing stands behind."""
    one, two, three, four = map(release_of, (1, 2, 3, 4))
    plan = _plan(
        endpoint=Name("a"),
        champion=two,
        previous=one,
        keys=(),
        canary=Portion(name=Name("canary"), release=three, share=100),
        shadow=three,
        fallback=four,
    )
    after, state = _cleared(clear(plan, two.root, {"a": State.LIVE}, NOW))
    assert (one, None, None, four, State.FIRST) == (
        after.champion,
        after.previous,
        after.shadow,
        after.fallback,
        state,
    )
    assert Experiment.NONE is experiment_of(after)


def test_without_a_predecessor_the_endpoint_stops(
    release_of: Releases, verdict_of: Callable[..., Verdict]
) -> None:
    """It is stopped; the next deployment begins without a predecessor and does not let it answer by itself."""
    plan = _plan(endpoint=Name("a"), champion=release_of(1), previous=None, keys=(), fallback=release_of(2))
    cleared = clear(plan, release_of(1).root, {"a": State.FIRST}, NOW)
    after, state = _cleared(cleared)
    assert (True, None, State.REVOKED) == (after.stopped, after.fallback, state)
    verdict = verdict_of()
    leave = authorise(
        root=release_of(3).root,
        endpoint="a",
        verdict=verdict,
        verdict_digest=Digest.of(encode_verdict(verdict)),
        approvals=(),
    )
    assert isinstance(leave, Deployment)
    assert cleared is not None
    made = deploy(cleared.plan, leave, release_of(3), NOW, state=state)
    assert isinstance(made, Change)
    here = made.plan.endpoints[0]
    assert (State.FIRST, release_of(3), None, True) == (
        made.state,
        here.champion,
        here.previous,
        here.stopped,
    )


@pytest.mark.parametrize("place", ["previous", "canary", "arm", "shadow", "fallback"])
def test_beside_the_champion_it_leaves_its_place(release_of: Releases, place: str) -> None:
    """Previous, canary, arms, shadow and fallback of a revoked release leave; the champion stays."""
    gone = release_of(2)
    portion = Portion(name=Name("canary"), release=gone, share=100)
    plan = _plan(
        endpoint=Name("a"),
        champion=release_of(1),
        previous=gone if place == "previous" else release_of(3),
        keys=(),
        canary=portion if place == "canary" else None,
        arms=(replace(portion, name=Name("b")),) if place == "arm" else (),
        shadow=gone if place == "shadow" else None,
        fallback=gone if place == "fallback" else None,
    )
    after, state = _cleared(clear(plan, gone.root, {"a": State.LIVE}, NOW))
    assert (release_of(1), False) == (after.champion, after.stopped)
    assert gone.root not in {each.root for each in after.releases()}
    assert state is (State.FIRST if place == "previous" else State.LIVE)
