from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.deployments import changes
from gatewright.deployments.deployment import (
    PLAN_LIFETIME,
    Beside,
    Change,
    Deployment,
    Seat,
    authorise,
    deploy,
    experiment_of,
    join,
    roll_back,
)
from gatewright.deployments.plan import (
    ApiKey,
    EndpointPlan,
    Portion,
    ReleaseRef,
    Showing,
    Shown,
    TrafficPlan,
)
from gatewright.deployments.transitions import (
    EXPERIMENT,
    FALLBACK,
    LINE,
    RUNNING,
    SHADOW,
    Companion,
    Experiment,
    Running,
    State,
)
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Refusal, Refused
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.policy.approvals import Approval, Permit, permit
from gatewright.policy.verdict import Verdict, encode_verdict
from gatewright.releases.judgements import Role

NOW = Instant(1_000)
END = Instant(1_000 + PLAN_LIFETIME)
KEYS = (ApiKey(id="k1", digest=Digest.of(b"secret")),)
Allowed = Callable[..., Deployment]
Releases = Callable[..., ReleaseRef]
Plans = Callable[..., TrafficPlan]


@pytest.fixture(scope="session")
def allowed(
    verdict_of: Callable[..., Verdict], release_of: Callable[..., ReleaseRef]
) -> Callable[..., Deployment]:
    """Leave to deploy a version on an endpoint."""

    def build(version: int, endpoint: str = "a") -> Deployment:
        verdict = verdict_of()
        found = authorise(
            root=release_of(version).root, endpoint=endpoint, verdict=verdict,
            verdict_digest=Digest.of(encode_verdict(verdict)), approvals=(),
        )  # fmt: skip
        assert isinstance(found, Deployment)
        return found

    return build


def test_an_allowing_verdict_gives_a_deployment(
    allowed: Callable[..., Deployment], release_of: Callable[..., ReleaseRef]
) -> None:
    """A deployment names its root, its endpoint and the digest of its verdict."""
    found = allowed(1)
    assert (release_of(1).root, "a") == (found.root, found.endpoint)
    assert Digest.of(encode_verdict(found.permit.verdict)) == found.verdict


def test_a_denying_verdict_gives_a_refusal(
    verdict_of: Callable[..., Verdict], release_of: Callable[..., ReleaseRef]
) -> None:
    """A denied release has no deployment."""
    verdict = verdict_of(good=False)
    found = authorise(
        root=release_of(1).root, endpoint="a", verdict=verdict,
        verdict_digest=Digest.of(encode_verdict(verdict)), approvals=(),
    )  # fmt: skip
    assert isinstance(found, Refusal)
    assert "policy.denied" == found.code


def test_a_verdict_that_waits_gives_a_deployment_once_approved(
    verdict_of: Callable[..., Verdict], release_of: Callable[..., ReleaseRef]
) -> None:
    """The same call refuses before the approval and gives a deployment after it."""
    verdict, root = verdict_of(count=1), release_of(1).root
    approval = Approval(principal="ann", key_id="k", role=Role.OWNER, root=root, time=NOW)
    found = [
        authorise(
            root=root,
            endpoint="a",
            verdict=verdict,
            verdict_digest=Digest.of(encode_verdict(verdict)),
            approvals=approvals,
        )
        for approvals in ([], [approval])
    ]
    assert isinstance(found[0], Refusal)
    assert "policy.waiting-for-approval" == found[0].code
    assert isinstance(found[1], Deployment)


@pytest.mark.parametrize("value", [None, True, object(), "allow"])
def test_a_deployment_cannot_be_built_without_a_permit(
    value: object, release_of: Callable[..., ReleaseRef]
) -> None:
    """Nothing but a permit stands in for a permit."""
    with pytest.raises(Misuse):
        Deployment(root=release_of(1).root, endpoint=Name("a"), verdict=Digest.of(b""), permit=value)  # type: ignore[arg-type]


def test_a_permit_for_one_root_does_not_serve_another(
    allowed: Callable[..., Deployment], release_of: Callable[..., ReleaseRef]
) -> None:
    """A deployment cannot be turned to another root."""
    with pytest.raises(Misuse):
        replace(allowed(1), root=release_of(2).root)


def test_a_permit_names_its_own_verdict(
    verdict_of: Callable[..., Verdict], release_of: Callable[..., ReleaseRef]
) -> None:
    """A verdict digest that is not the judged verdict's is refused."""
    root, verdict = release_of(1).root, verdict_of()
    leave = permit(verdict, root, ())
    assert isinstance(leave, Permit)
    with pytest.raises(Misuse):
        Deployment(root=root, endpoint=Name("a"), verdict=Digest.of(b"another"), permit=leave)
    with pytest.raises(Misuse):
        authorise(root=root, endpoint="a", verdict=verdict, verdict_digest=Digest.of(b"x"), approvals=())


def test_a_bad_endpoint_name_is_refused(allowed: Callable[..., Deployment]) -> None:
    """An endpoint has a name like everything that is kept."""
    with pytest.raises(Misuse):
        allowed(1, "Bad Name")


def _champion(release_of: Releases, version: int, **values: Any) -> EndpointPlan:
    return EndpointPlan(endpoint=Name("a"), champion=release_of(version), previous=None, keys=KEYS, **values)


def _plan(endpoint: EndpointPlan, number: int = 1) -> TrafficPlan:
    return TrafficPlan(number=number, issued=NOW, endpoints=(endpoint,), expires=END)


def _made(found: Change | Refusal) -> EndpointPlan:
    assert isinstance(found, Change), found
    return found.plan.endpoints[0]


def _code(found: object) -> str:
    assert isinstance(found, Refusal), found
    return found.code


def test_the_first_deployment_makes_the_first_plan(allowed: Allowed, release_of: Releases) -> None:
    """Without a plan the new one has number 1, one endpoint without a predecessor, and an end."""
    expected = Change(plan=_plan(_champion(release_of, 1)), state=State.FIRST)
    assert expected == deploy(None, allowed(1), release_of(1), NOW, keys=KEYS)


def test_another_release_is_refused(allowed: Allowed, release_of: Releases) -> None:
    """Leave for one root puts another root nowhere."""
    for refused in (
        lambda: deploy(None, allowed(1), release_of(2), NOW),
        lambda: join(
            _plan(_champion(release_of, 1)), allowed(3), release_of(2), Seat(beside=Beside.SHADOW), NOW, state=State.FIRST
        ),
    ):  # fmt: skip
        with pytest.raises(Refused) as caught:
            refused()
        assert "deployments.other-root" == caught.value.code


def test_deploying_the_champion_again_keeps_the_predecessor(
    allowed: Allowed, release_of: Releases, plan_of: Plans
) -> None:
    """A second deployment of the same root adds a key, and changes neither line nor state."""
    key = ApiKey(id="k2", digest=Digest.of(b"2"))
    before = plan_of(("a", 2, 1))
    found = deploy(before, allowed(2), release_of(2), NOW, state=State.ROLLED_BACK, keys=(key,))
    assert isinstance(found, Change)
    assert State.ROLLED_BACK is found.state
    assert replace(before.endpoints[0], keys=(*before.endpoints[0].keys, key)) == _made(found)


def test_a_new_champion_changes_nothing_beside_it(allowed: Allowed, release_of: Releases) -> None:
    """Canary, shadow, fallback, limits and keys stay when another release becomes the champion."""
    key = ApiKey(id="k1", digest=Digest.of(b"secret"), rate=5, quota=7, shown=Shown(kind=Showing.LABEL))
    canary = Portion(name=Name("canary"), release=release_of(2), share=100)
    before = replace(
        _champion(release_of, 1, canary=canary, shadow=release_of(3), fallback=release_of(4), rate=9, stopped=True),
        keys=(key,),
    )  # fmt: skip
    found = deploy(_plan(before), allowed(5), release_of(5), NOW, state=State.FIRST)
    assert replace(before, champion=release_of(5), previous=release_of(1)) == _made(found)


@pytest.mark.parametrize("place", ["canary", "arms", "shadow", "fallback"])
def test_promoting_ends_what_the_release_was_before(
    place: str, allowed: Allowed, release_of: Releases
) -> None:
    """The release that becomes the champion leaves its place; an experiment it was in is over."""
    portion = Portion(name=Name("it"), release=release_of(2), share=100)
    other = Portion(name=Name("other"), release=release_of(3), share=100)
    value = {"canary": portion, "arms": (portion, other)}.get(place, release_of(2))
    before = _champion(release_of, 1, **{place: value})
    found = deploy(_plan(before), allowed(2), release_of(2), NOW, state=State.FIRST)
    assert replace(_champion(release_of, 2), previous=release_of(1)) == _made(found)


def test_releases_that_answer_otherwise_do_not_mix(allowed: Allowed, release_of: Releases) -> None:
    """A release with another signature stands beside no champion, and no champion goes before it."""
    strange = release_of(2, b"another signature")
    plan = _plan(_champion(release_of, 1))
    for seat in (Seat(beside=Beside.SHADOW), Seat(beside=Beside.CANARY, share=10)):
        found = join(plan, allowed(2), strange, seat, NOW, state=State.FIRST)
        assert "deployments.other-signature" == _code(found)
    beside = _plan(_champion(release_of, 1, fallback=release_of(3)))
    assert "deployments.other-signature" == _code(deploy(beside, allowed(2), strange, NOW, state=State.FIRST))
    assert strange == _made(deploy(plan, allowed(2), strange, NOW, state=State.FIRST)).champion


def test_the_champion_does_not_stand_beside_itself(allowed: Allowed, release_of: Releases) -> None:
    """A champion takes no other place; nor does anything where there is no champion."""
    seat = Seat(beside=Beside.CANARY, share=10)
    plan = _plan(_champion(release_of, 1))
    assert "deployments.champion-beside-itself" == _code(
        join(plan, allowed(1), release_of(1), seat, NOW, state=State.FIRST)
    )
    for state in (State.EMPTY, State.WITHDRAWN):
        found = join(None, allowed(1), release_of(1), seat, NOW, state=state)
        assert "deployments.transition" == _code(found)


def test_a_seat_can_be_taken_again(allowed: Allowed, release_of: Releases) -> None:
    """Who had the seat gives way: shares change, and arms stand in the order of their names."""
    plan: TrafficPlan = _plan(_champion(release_of, 1))
    for name, version, share in (("red", 2, 100), ("blue", 3, 200), ("red", 4, 300)):
        seat = Seat(beside=Beside.ARMS, name=Name(name), share=share)
        found = join(plan, allowed(version), release_of(version), seat, NOW, state=State.FIRST)
        assert isinstance(found, Change)
        plan = found.plan
    assert [("blue", 3, 200), ("red", 4, 300)] == [
        (arm.name, arm.release.version, arm.share) for arm in plan.endpoints[0].arms
    ]


def test_a_rollback_swaps_one_endpoint_whole(plan_of: Plans) -> None:
    """Champion and previous change places, keys stay, and no other endpoint is touched."""
    plan = plan_of(("a", 2, 1), ("b", 3, 2), number=7)
    expected = replace(plan_of(("a", 1, 2), ("b", 3, 2), number=8), issued=NOW, expires=END)
    assert Change(plan=expected, state=State.ROLLED_BACK) == roll_back(plan, "a", NOW, state=State.LIVE)


def test_a_rollback_under_an_experiment_ends_the_experiment(release_of: Releases, plan_of: Plans) -> None:
    """Canary or arms leave, the shadow with them; the champion, its predecessor and the fallback stay."""
    portion = Portion(name=Name("it"), release=release_of(5), share=100)
    line = replace(plan_of(("a", 2, 1)).endpoints[0], fallback=release_of(6))
    for values in ({"canary": portion}, {"arms": (portion,)}):
        found = roll_back(_plan(replace(line, shadow=release_of(7), **values)), "a", NOW, state=State.LIVE)
        assert Change(plan=_plan(line, number=2), state=State.LIVE) == found


def test_a_rollback_keeps_a_fallback_that_still_fits(release_of: Releases, plan_of: Plans) -> None:
    """The fallback stays, unless it becomes the champion or answers otherwise than the new one."""
    line = replace(plan_of(("a", 2, 1)).endpoints[0], shadow=release_of(7))
    for fallback, stays in ((release_of(6), True), (release_of(1), False), (release_of(6, b"other"), False)):
        found = _made(roll_back(_plan(replace(line, fallback=fallback)), "a", NOW, state=State.LIVE))
        assert (fallback if stays else None, None) == (found.fallback, found.shadow)


def test_rolling_back_twice_restores_the_endpoint(plan_of: Plans) -> None:
    """Two rollbacks give the endpoint as it was, two plans later."""
    plan = plan_of(("a", 2, 1), number=7)
    once = roll_back(plan, "a", NOW, state=State.LIVE)
    assert isinstance(once, Change)
    expected = Change(plan=replace(plan, number=9, issued=NOW, expires=END), state=State.LIVE)
    assert expected == roll_back(once.plan, "a", NOW, state=once.state)


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [("a", "deployments.nothing-to-roll-back-to"), ("z", "deployments.no-endpoint")],
)
def test_a_rollback_without_a_way_back_is_refused(endpoint: str, code: str, plan_of: Plans) -> None:
    """An endpoint with one release, or none, gives a refusal that says so."""
    refusal = roll_back(plan_of(("a", 1, 0)), endpoint, NOW, state=State.FIRST)
    assert code == _code(refusal)
    assert isinstance(refusal, Refusal)
    assert refusal.next


VERSIONS = st.integers(1, 4)
STEPS = st.one_of(
    st.tuples(st.just("deploy"), VERSIONS),
    st.tuples(st.just("canary"), VERSIONS),
    st.tuples(st.just("arm"), VERSIONS),
    st.tuples(st.sampled_from(["shadow", "fallback"]), VERSIONS),
    st.tuples(st.sampled_from([f"no-{each}" for each in Beside]), st.just(0)),
    st.tuples(st.sampled_from(["rollback", "stop", "resume", "withdraw", "limit"]), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["a", "b"]), STEPS), min_size=1, max_size=14))
def test_every_walk_keeps_the_laws(
    steps: list[tuple[str, tuple[str, int]]], allowed: Allowed, release_of: Releases
) -> None:
    """Whatever is done in whatever order: one number on, one endpoint touched, decided releases only, the tables kept."""
    plan: TrafficPlan | None = None
    states = {"a": State.EMPTY, "b": State.EMPTY}
    decided: dict[str, set[Digest]] = {"a": set(), "b": set()}
    for name, (act, version) in steps:
        if version:
            allowing = allowed(version, name)
            found = _put(plan, act, allowing, release_of(version), states[name])
        else:
            found = _act(plan, name, act, states[name])
        if isinstance(found, Refusal):
            assert found.what
            continue
        if version:
            decided[name].add(release_of(version).root)
        _require_laws(plan, found.plan, name, decided)
        here = None if plan is None else plan.endpoint(name)
        _require_tables(here, found.plan.endpoint(name), states[name], found.state)
        plan, states[name] = found.plan, found.state


def _put(
    plan: TrafficPlan | None, act: str, leave_to: Deployment, release: ReleaseRef, state: State
) -> Change | Refusal:
    if act == "deploy":
        return deploy(plan, leave_to, release, NOW, state=state)
    beside = Beside.ARMS if act == "arm" else Beside(act)
    seat = Seat(beside=beside, share=250, name=Name(f"v{release.version}"))
    return join(plan, leave_to, release, seat, NOW, state=state)


def _act(plan: TrafficPlan | None, name: str, act: str, state: State) -> Change | Refusal:
    if plan is None:
        return Refusal(code="test.no-plan", what="There is no plan yet.")
    if act == "rollback":
        return roll_back(plan, name, NOW, state=state)
    if act == "withdraw":
        return changes.withdraw(plan, name, NOW, state=state)
    if act.startswith("no-"):
        found = changes.leave(plan, name, Beside(act.removeprefix("no-")), NOW)
    elif act == "limit":
        found = changes.limit(plan, name, NOW, rate=plan.number)
    else:
        found = {"stop": changes.stop, "resume": changes.resume}[act](plan, name, NOW)
    return found if isinstance(found, Refusal) else Change(plan=found, state=state)


def _require_laws(
    before: TrafficPlan | None, after: TrafficPlan, name: str, decided: dict[str, set[Digest]]
) -> None:
    assert (1 if before is None else before.number + 1, END) == (after.number, after.expires)
    others = [] if before is None else [one for one in before.endpoints if one.endpoint != name]
    assert others == [one for one in after.endpoints if one.endpoint != name]
    for endpoint in after.endpoints:
        assert {each.root for each in endpoint.releases()} <= decided[endpoint.endpoint]


def _require_tables(
    before: EndpointPlan | None, after: EndpointPlan | None, line: State, line_after: State
) -> None:
    pairs = [
        (LINE, line, line_after),
        (EXPERIMENT, _experiment(before), _experiment(after)),
        (SHADOW, _companion(before and before.shadow), _companion(after and after.shadow)),
        (FALLBACK, _companion(before and before.fallback), _companion(after and after.fallback)),
        (RUNNING, _running(before), _running(after)),
    ]
    for part, old, new in pairs:
        known = {to for (state, _), to in part.transitions.items() if state == old}
        assert new == old or new in known, (part.of, old, new)


def _experiment(found: EndpointPlan | None) -> Experiment:
    return Experiment.NONE if found is None else experiment_of(found)


def _companion(release: ReleaseRef | None) -> Companion:
    return Companion.ABSENT if release is None else Companion.PRESENT


def _running(found: EndpointPlan | None) -> Running:
    return Running.STOPPED if found is not None and found.stopped else Running.RUNNING
