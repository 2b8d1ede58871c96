"""The gate: a :class:`Deployment` cannot be built without leave, and a plan changes only by one.

The type is the gate. ``deploy`` takes a :class:`Deployment`; a deployment takes a
:class:`~gatewright.policy.approvals.Permit`; a permit is made only by
:func:`~gatewright.policy.approvals.permit`, from a verdict that does not deny and the approvals it
asks for. There is no switch to leave any of them out.

Laws: every change raises the plan's number by one; a change touches one endpoint; rolling back
twice restores the endpoint; a release goes live, and goes back, whole.

Not here: signatures and the chain from the root to the verdict (``releases/verification.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gatewright.deployments.plan import ApiKey, EndpointPlan, Recording, ReleaseRef, TrafficPlan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Refusal, Refused
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name, parse_name
from gatewright.policy.approvals import Approval, Permit, permit
from gatewright.policy.verdict import Verdict, encode_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """Leave to put one root on one endpoint.

    ``verdict`` is the digest of the verdict's bytes. Raises Misuse without a permit for this root.
    """

    root: Digest
    endpoint: Name
    verdict: Digest
    permit: Permit

    def __post_init__(self) -> None:
        if type(self.permit) is not Permit or self.permit.root != self.root:
            raise Misuse(
                "deployments.no-permit",
                f"Nothing permits {self.root.short} to be deployed.",
                why="A deployment takes the permit that a verdict and its approvals gave for this root.",
                next="Use gatewright.deployments.deployment.authorise.",
            )
        if Digest.of(encode_verdict(self.permit.verdict)) != self.verdict:
            raise Misuse(
                "deployments.other-verdict",
                "The permit was given on another verdict than the one named.",
                next="Name the digest of the verdict that the release binds.",
            )


def authorise(
    *, root: Digest, endpoint: str, verdict: Verdict, verdict_digest: Digest, approvals: Sequence[Approval]
) -> Deployment | Refusal:
    """Leave to deploy, or why not.

    ``verdict_digest`` is the digest of ``verdict.json`` as the root binds it. Raises Misuse for a
    bad endpoint name and for a digest that is not the verdict's.
    """
    name = parse_name(endpoint, of="endpoint")
    given = permit(verdict, root, approvals)
    if isinstance(given, Refusal):
        return given
    return Deployment(root=root, endpoint=name, verdict=verdict_digest, permit=given)


def _with(plan: TrafficPlan | None, changed: EndpointPlan, now: Instant) -> TrafficPlan:
    """The next plan: one endpoint changed, the others as they were, in the order of their names."""
    others = () if plan is None else plan.endpoints
    kept = [found for found in others if found.endpoint != changed.endpoint]
    return TrafficPlan(
        number=1 if plan is None else plan.number + 1,
        issued=now,
        endpoints=tuple(sorted([*kept, changed], key=lambda found: found.endpoint)),
    )


def deploy(
    plan: TrafficPlan | None,
    deployment: Deployment,
    release: ReleaseRef,
    keys: Sequence[ApiKey],
    now: Instant,
) -> TrafficPlan:
    """Put the release live on the deployment's endpoint; the champion becomes the previous one.

    ``plan`` is None before the first deployment. ``keys`` are all keys that the endpoint takes
    from now on. Deploying the champion again leaves the previous release as it is. Raises Refused
    when the deployment is about another root.
    """
    if release.root != deployment.root:
        raise Refused(
            "deployments.other-root",
            f"The deployment allows {deployment.root.short}, not {release.root.short}.",
            next="Authorise the release that is to go live.",
        )
    before = None if plan is None else plan.endpoint(deployment.endpoint)
    previous = None
    if before is not None:
        previous = before.previous if before.champion.root == release.root else before.champion
    changed = EndpointPlan(
        endpoint=deployment.endpoint,
        champion=release,
        previous=previous,
        keys=tuple(keys),
        recording=Recording.DURABLE,
    )
    return _with(plan, changed, now)


def roll_back(plan: TrafficPlan, endpoint: str, now: Instant) -> TrafficPlan | Refusal:
    """Swap the endpoint's champion with its previous release, or say why that is not possible."""
    found = plan.endpoint(endpoint)
    if found is None:
        return Refusal(
            code="deployments.no-endpoint",
            what=f"There is no endpoint {endpoint[:80]!r} in the plan.",
            next="'gatewright status' lists the endpoints.",
        )
    if found.previous is None:
        return Refusal(
            code="deployments.nothing-to-roll-back-to",
            what=f"Endpoint {endpoint} has one release only, {found.champion.root.short}.",
            why="A rollback goes back to the release that was live before, and there was none.",
            next="Deploy a release that is known to be good.",
        )
    return _with(plan, replace(found, champion=found.previous, previous=found.champion), now)
