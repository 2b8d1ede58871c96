from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.deployments.deployment import Deployment, authorise, deploy, roll_back
from gatewright.deployments.plan import ApiKey, EndpointPlan, ReleaseRef, TrafficPlan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Refusal, Refused
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name
from gatewright.policy.approvals import Approval, Permit, permit
from gatewright.policy.verdict import Verdict, encode_verdict
from gatewright.releases.statement import Role

NOW = Instant(1_000)
KEYS = (ApiKey(id="k1", digest=Digest.of(b"secret")),)


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


def test_the_first_deployment_makes_the_first_plan(
    allowed: Callable[..., Deployment], release_of: Callable[..., ReleaseRef]
) -> None:
    """Without a plan the new one has number 1 and one endpoint without a predecessor."""
    expected = TrafficPlan(
        number=1,
        issued=NOW,
        endpoints=(
            EndpointPlan(endpoint=Name("a"), champion=release_of(1), previous=None, keys=KEYS),
        ),
    )  # fmt: skip
    assert expected == deploy(None, allowed(1), release_of(1), KEYS, NOW)


def test_another_release_is_refused(
    allowed: Callable[..., Deployment], release_of: Callable[..., ReleaseRef]
) -> None:
    """Leave for one root does not put another root live."""
    with pytest.raises(Refused) as caught:
        deploy(None, allowed(1), release_of(2), KEYS, NOW)
    assert "deployments.other-root" == caught.value.code


def test_deploying_the_champion_again_keeps_the_predecessor(
    allowed: Callable[..., Deployment],
    release_of: Callable[..., ReleaseRef],
    plan_of: Callable[..., TrafficPlan],
) -> None:
    """A second deployment of the same root changes keys and statements, not what a rollback reaches."""
    plan = deploy(plan_of(("a", 2, 1)), allowed(2), release_of(2), (), NOW)
    assert (2, release_of(2), release_of(1), ()) == (
        plan.number,
        plan.endpoints[0].champion,
        plan.endpoints[0].previous,
        plan.endpoints[0].keys,
    )


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 4)), min_size=1, max_size=8))
def test_a_deployment_changes_one_endpoint_and_raises_the_number(
    steps: list[tuple[str, int]],
    allowed: Callable[..., Deployment],
    release_of: Callable[..., ReleaseRef],
) -> None:
    """Over any sequence of deployments the champion moves to previous and the rest stays."""
    plan: TrafficPlan | None = None
    for count, (name, version) in enumerate(steps, start=1):
        before, plan = plan, deploy(plan, allowed(version, name), release_of(version), KEYS, NOW)
        old = None if before is None else before.endpoint(name)
        new = plan.endpoint(name)
        assert count == plan.number
        assert new is not None
        assert release_of(version) == new.champion
        if old is not None and old.champion != new.champion:
            assert old.champion == new.previous
        kept = [found for found in plan.endpoints if found.endpoint != name]
        assert [] == [found for found in kept if before is None or found not in before.endpoints]
        assert sorted(found.endpoint for found in plan.endpoints) == [one.endpoint for one in plan.endpoints]


def test_a_rollback_swaps_one_endpoint_whole(plan_of: Callable[..., TrafficPlan]) -> None:
    """Champion and previous change places, keys stay, and no other endpoint is touched."""
    plan = plan_of(("a", 2, 1), ("b", 3, 2), number=7)
    expected = replace(plan_of(("a", 1, 2), ("b", 3, 2), number=8), issued=NOW)
    assert expected == roll_back(plan, "a", NOW)


def test_rolling_back_twice_restores_the_endpoint(plan_of: Callable[..., TrafficPlan]) -> None:
    """Two rollbacks give the endpoint as it was, two plans later."""
    plan = plan_of(("a", 2, 1), number=7)
    once = roll_back(plan, "a", NOW)
    assert isinstance(once, TrafficPlan)
    assert replace(plan, number=9, issued=NOW) == roll_back(once, "a", NOW)


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [("a", "deployments.nothing-to-roll-back-to"), ("z", "deployments.no-endpoint")],
)
def test_a_rollback_without_a_way_back_is_refused(
    endpoint: str, code: str, plan_of: Callable[..., TrafficPlan]
) -> None:
    """An endpoint with one release, or none, gives a refusal that says so."""
    refusal = roll_back(plan_of(("a", 1, 0)), endpoint, NOW)
    assert isinstance(refusal, Refusal)
    assert code == refusal.code
    assert refusal.next
