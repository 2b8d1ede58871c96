from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gatewright.deployments.changes import (
    add_key,
    ages,
    as_allowed,
    leave,
    limit,
    limit_key,
    renewed,
    resume,
    revoke_key,
    stop,
    withdraw,
)
from gatewright.deployments.deployment import PLAN_LIFETIME, Beside
from gatewright.deployments.plan import (
    ApiKey,
    EndpointPlan,
    Portion,
    Recording,
    ReleaseRef,
    Showing,
    Shown,
    TrafficPlan,
)
from gatewright.deployments.transitions import State
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Refusal
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name

NOW = Instant(1_000)
END = Instant(1_000 + PLAN_LIFETIME)
Plans = Callable[..., TrafficPlan]
Releases = Callable[..., ReleaseRef]


def _crowded(plan: TrafficPlan, release_of: Releases, **values: Any) -> TrafficPlan:
    """The plan with everything beside its first champion."""
    canary = Portion(name=Name("canary"), release=release_of(5), share=100)
    full = {"canary": canary, "shadow": release_of(6), "fallback": release_of(7), **values}
    return replace(plan, endpoints=(replace(plan.endpoints[0], **full), *plan.endpoints[1:]))


def _first(plan: TrafficPlan | Refusal) -> EndpointPlan:
    assert isinstance(plan, TrafficPlan), plan
    return plan.endpoints[0]


@pytest.mark.parametrize("beside", list(Beside))
def test_each_companion_leaves_alone(beside: Beside, plan_of: Plans, release_of: Releases) -> None:
    """Taking one away leaves the rest of the endpoint and the other endpoints as they were."""
    arms = (Portion(name=Name("blue"), release=release_of(5), share=100),)
    experiment = {"canary": None, "arms": arms} if beside is Beside.ARMS else {}
    plan = _crowded(plan_of(("a", 2, 1), ("b", 2, 1), number=7), release_of, **experiment)
    gone: dict[str, Any] = {beside.value: () if beside is Beside.ARMS else None}
    expected = replace(
        plan,
        number=8,
        issued=NOW,
        expires=END,
        endpoints=(replace(plan.endpoints[0], **gone), plan.endpoints[1]),
    )
    assert expected == leave(plan, "a", beside, NOW)


@pytest.mark.parametrize("beside", list(Beside))
def test_what_is_not_there_cannot_leave(beside: Beside, plan_of: Plans) -> None:
    """Taking away nothing is refused, and so is anything of an endpoint that is not there."""
    for endpoint, code in (("a", "deployments.transition"), ("z", "deployments.no-endpoint")):
        found = leave(plan_of(("a", 2, 1)), endpoint, beside, NOW)
        assert isinstance(found, Refusal)
        assert code == found.code


def test_a_canary_does_not_leave_as_arms(plan_of: Plans, release_of: Releases) -> None:
    """What is called by another name stays."""
    assert isinstance(leave(_crowded(plan_of(("a", 2, 1)), release_of), "a", Beside.ARMS, NOW), Refusal)


def test_stop_and_resume_take_turns(plan_of: Plans) -> None:
    """A stopped endpoint is whole but for the switch; resumed, it is as it was."""
    plan = plan_of(("a", 2, 1), number=3)
    stopped = stop(plan, "a", NOW)
    assert replace(plan.endpoints[0], stopped=True) == _first(stopped)
    assert isinstance(stopped, TrafficPlan)
    assert isinstance(stop(stopped, "a", NOW), Refusal)
    assert plan.endpoints[0] == _first(resume(stopped, "a", NOW))
    assert isinstance(resume(plan, "a", NOW), Refusal)


def test_a_withdrawn_endpoint_leaves_the_plan(plan_of: Plans) -> None:
    """Its name and keys are in the plan no more; the others stay."""
    found = withdraw(plan_of(("a", 2, 1), ("b", 1, 0), number=3), "a", NOW, state=State.LIVE)
    assert not isinstance(found, Refusal)
    assert (4, ["b"], State.WITHDRAWN) == (
        found.plan.number,
        [one.endpoint for one in found.plan.endpoints],
        found.state,
    )


def test_limits_are_set_one_by_one(plan_of: Plans) -> None:
    """What is not named stays; what is the same already is refused."""
    once = limit(plan_of(("a", 2, 1)), "a", NOW, rate=5)
    assert isinstance(once, TrafficPlan)
    twice = _first(limit(once, "a", NOW, recording=Recording.ASYNCHRONOUS))
    assert (5, Recording.ASYNCHRONOUS) == (twice.rate, twice.recording)
    same = limit(once, "a", NOW, rate=5)
    assert isinstance(same, Refusal)
    assert "deployments.nothing-changed" == same.code


def test_a_key_is_limited_apart_from_the_others(plan_of: Plans) -> None:
    """Bounds and shown outputs of one key change; the other keys do not, and a strange id is refused."""
    other = ApiKey(id="k2", digest=Digest.of(b"2"))
    plan = add_key(plan_of(("a", 2, 1)), "a", other, NOW)
    assert isinstance(plan, TrafficPlan)
    label = Shown(kind=Showing.LABEL)
    found = _first(limit_key(plan, "a", "k1", NOW, rate=1, quota=2, shown=label)).keys
    assert (replace(plan.endpoints[0].keys[0], rate=1, quota=2, shown=label), other) == found
    strange = limit_key(plan, "a", "k3", NOW, rate=1)
    assert isinstance(strange, Refusal)
    assert "deployments.no-key" == strange.code


@pytest.mark.parametrize("values", [{"rate": -1}, {"rate": 10**7}, {"quota": -1}, {"quota": 10**13}])
def test_impossible_bounds_are_bad_input(values: dict[str, int], plan_of: Plans) -> None:
    """A bound that no plan holds is refused before it is signed."""
    with pytest.raises(BadInput):
        limit_key(plan_of(("a", 2, 1)), "a", "k1", NOW, **values)


def test_a_revoked_key_is_gone(plan_of: Plans) -> None:
    """The last key may be revoked, too; a second time there is none."""
    plan = revoke_key(plan_of(("a", 2, 1)), "a", "k1", NOW)
    assert () == _first(plan).keys
    assert isinstance(plan, TrafficPlan)
    assert isinstance(revoke_key(plan, "a", "k1", NOW), Refusal)


def test_a_renewed_plan_says_the_same_for_longer(plan_of: Plans) -> None:
    """Number, issue and expiry change, and nothing else."""
    plan = plan_of(("a", 2, 1), number=7)
    assert replace(plan, number=8, issued=NOW, expires=END) == renewed(plan, NOW)


@pytest.mark.parametrize(
    ("left", "old"),
    [(PLAN_LIFETIME, False), (PLAN_LIFETIME // 2, False), (PLAN_LIFETIME // 2 - 1, True), (-5, True)],
)
def test_a_plan_ages_at_half_its_life(left: int, old: bool, plan_of: Plans) -> None:
    """With less than half of its life left a plan is due; without an expiry it is due at once."""
    plan = plan_of(("a", 2, 1))
    assert old is ages(replace(plan, expires=Instant(10**18 + left)), Instant(10**18))
    assert ages(plan, Instant(10**18))


def test_one_policy_is_enough_to_record_durably(plan_of: Plans, release_of: Releases) -> None:
    """Asynchronous recording stands only where every release that answers is allowed it."""
    plan = _crowded(plan_of(("a", 2, 1), ("b", 2, 1)), release_of, recording=Recording.ASYNCHRONOUS)
    answering = {each.root for each in plan.endpoints[0].answering()}
    assert plan == as_allowed(plan, "a", answering)
    assert plan == as_allowed(plan, "b", ())
    for root in answering:
        assert Recording.DURABLE is _first(as_allowed(plan, "a", answering - {root})).recording
