"""The gate: a :class:`Deployment` cannot be built without leave, and a plan changes only by one.

The type is the gate. Every way to put a release into a plan takes a :class:`Deployment`; a deployment
takes a :class:`~gatewright.policy.approvals.Permit`; a permit is made only by
:func:`~gatewright.policy.approvals.permit`, from a verdict that does not deny and the approvals it
asks for. There is no switch to leave any of them out.

Laws: every change raises the plan's number by one and gives it a new expiry; a change touches one
endpoint; rolling back twice restores the line of champions; a release goes live, and goes back, whole.

Not here: signatures and the chain from the root to the verdict (``releases/verification.py``);
limits, keys and switches (``changes.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from gatewright.deployments.plan import ApiKey, EndpointPlan, Portion, ReleaseRef, TrafficPlan
from gatewright.deployments.transitions import EXPERIMENT, LINE, Event, Experiment, State
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse, Refusal, Refused
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name, parse_name
from gatewright.policy.approvals import Approval, Permit, permit
from gatewright.policy.verdict import Verdict, encode_verdict
from gatewright.releases.manifest import SIGNATURE

DAY = 86_400 * 10**9
"""Nanoseconds."""
PLAN_LIFETIME = 90 * DAY
"""How long a plan is good for, in nanoseconds: whoever stops a home stops what it signed, in time."""


class Beside(StrEnum):
    """The places beside the champion."""

    CANARY = "canary"
    ARMS = "arms"
    SHADOW = "shadow"
    FALLBACK = "fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place to take beside the champion; canary and arms with a share in thousandths, arms with a name."""

    beside: Beside
    share: int = 0
    name: Name | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The next plan, and the state of the changed endpoint's line of champions in it."""

    plan: TrafficPlan
    state: State


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
    *,
    root: Digest,
    endpoint: str,
    verdict: Verdict,
    verdict_digest: Digest,
    approvals: Sequence[Approval],
    now: Instant | None = None,
) -> Deployment | Refusal:
    """Leave to deploy, or why not.

    ``verdict_digest`` is the digest of ``verdict.json`` as the root binds it; without ``now`` no waived
    rule is accepted. Raises Misuse for a bad endpoint name and for a digest that is not the verdict's.
    """
    name = parse_name(endpoint, of="endpoint")
    given = permit(verdict, root, approvals, now=now)
    if isinstance(given, Refusal):
        return given
    return Deployment(root=root, endpoint=name, verdict=verdict_digest, permit=given)


def next_plan(
    plan: TrafficPlan | None, changed: EndpointPlan | None, now: Instant, *, without: str = ""
) -> TrafficPlan:
    """The next plan: one endpoint changed or left out, the others as they were, in the order of their names."""
    others = () if plan is None else plan.endpoints
    name = without if changed is None else changed.endpoint
    kept = [found for found in others if found.endpoint != name]
    if changed is not None:
        kept.append(changed)
    return TrafficPlan(
        number=1 if plan is None else plan.number + 1,
        issued=now,
        endpoints=tuple(sorted(kept, key=lambda found: found.endpoint)),
        expires=Instant(now.ns + PLAN_LIFETIME),
    )


def endpoint_of(plan: TrafficPlan | None, endpoint: str) -> EndpointPlan | Refusal:
    """The endpoint's plan, or the refusal that says there is none."""
    found = None if plan is None else plan.endpoint(endpoint)
    if found is not None:
        return found
    return Refusal(
        code="deployments.no-endpoint",
        what=f"There is no endpoint {endpoint[:80]!r} in the plan.",
        next="'gatewright status' lists the endpoints.",
    )


def experiment_of(found: EndpointPlan) -> Experiment:
    """Who shares the champion's traffic."""
    if found.canary is not None:
        return Experiment.CANARY
    return Experiment.ARMS if found.arms else Experiment.NONE


def fits(release: ReleaseRef, champion: ReleaseRef) -> bool:
    """Whether two releases answer alike: one signature, so the same tensors and classes in and out."""
    return release.resources.get(SIGNATURE) == champion.resources.get(SIGNATURE)


def _require_leave(deployment: Deployment, release: ReleaseRef) -> None:
    if release.root != deployment.root:
        raise Refused(
            "deployments.other-root",
            f"The deployment allows {deployment.root.short}, not {release.root.short}.",
            next="Authorise the release that is to go live.",
        )


def _misfit(release: ReleaseRef, champion: ReleaseRef) -> Refusal:
    return Refusal(
        code="deployments.other-signature",
        what=f"{release.model}@{release.version} takes or gives other tensors than the champion "
        f"{champion.model}@{champion.version}.",
        why="All releases of an endpoint must understand the same requests and answer alike.",
        next="Put it on an endpoint of its own with --to, or take away what stands beside the champion.",
    )


def deploy(
    plan: TrafficPlan | None,
    deployment: Deployment,
    release: ReleaseRef,
    now: Instant,
    *,
    state: State = State.EMPTY,
    keys: Sequence[ApiKey] = (),
) -> Change | Refusal:
    """Make the release the champion of the deployment's endpoint; the champion becomes the previous one.

    ``plan`` is None before the first deployment, ``state`` that of the endpoint's line; ``keys`` join
    those that the endpoint takes already. What stands beside the champion stays; only where it is the
    release that becomes the champion it leaves its place, and with it the experiment that it was in.
    Deploying the champion again leaves the previous release as it is. Raises Refused when the
    deployment is about another root.
    """
    _require_leave(deployment, release)
    after = LINE.after(state, Event.DEPLOYED)
    if isinstance(after, Refusal):
        return after
    before = None if plan is None else plan.endpoint(deployment.endpoint)
    if before is not None and state is State.REVOKED:
        before = replace(before, champion=release, previous=None)  # a revoked release is nobody's predecessor
    if before is None:
        first = EndpointPlan(endpoint=deployment.endpoint, champion=release, previous=None, keys=tuple(keys))
        return Change(plan=next_plan(plan, first, now), state=after)
    again = before.champion.root == release.root
    apart = without(before, release.root)
    for other in (*apart.answering()[1:], *(() if apart.shadow is None else (apart.shadow,))):
        if not fits(other, release):
            return _misfit(release, other)
    changed = replace(
        apart,
        champion=release,
        previous=before.previous if again else before.champion,
        keys=(*before.keys, *keys),
    )
    began = after if state is State.REVOKED or not again else state
    return Change(plan=next_plan(plan, changed, now), state=began)


def without(found: EndpointPlan, root: Digest) -> EndpointPlan:
    """The endpoint with a release taken out of every place beside the champion, and its experiment ended."""
    portions = found.arms if found.canary is None else (found.canary,)
    ended = any(each.release.root == root for each in portions)
    return replace(
        found,
        canary=None if ended else found.canary,
        arms=() if ended else found.arms,
        shadow=None if found.shadow is None or found.shadow.root == root else found.shadow,
        fallback=None if found.fallback is None or found.fallback.root == root else found.fallback,
    )


def join(
    plan: TrafficPlan | None,
    deployment: Deployment,
    release: ReleaseRef,
    seat: Seat,
    now: Instant,
    *,
    state: State = State.EMPTY,
) -> Change | Refusal:
    """Put the release beside the champion; what had the seat before gives way, so a share can be changed.

    Raises Refused when the deployment is about another root, BadInput for shares that are more than all.
    """
    _require_leave(deployment, release)
    line = LINE.after(state, Event.JOINED)
    if isinstance(line, Refusal):
        return line
    found = endpoint_of(plan, deployment.endpoint)
    if isinstance(found, Refusal):
        return found
    if found.champion.root == release.root:
        return Refusal(
            code="deployments.champion-beside-itself",
            what=f"{release.model}@{release.version} is the champion of {found.endpoint} already.",
            next="Name another release.",
        )
    if not fits(release, found.champion):
        return _misfit(release, found.champion)
    event = {Beside.CANARY: Event.CANARY, Beside.ARMS: Event.ARM}.get(seat.beside)
    allowed = None if event is None else EXPERIMENT.after(experiment_of(found), event)
    if isinstance(allowed, Refusal):
        return replace(allowed, next=allowed.next.replace("ENDPOINT", found.endpoint))
    return Change(plan=next_plan(plan, _seated(found, release, seat), now), state=line)


def _seated(found: EndpointPlan, release: ReleaseRef, seat: Seat) -> EndpointPlan:
    match seat.beside:
        case Beside.SHADOW:
            return replace(found, shadow=release)
        case Beside.FALLBACK:
            return replace(found, fallback=release)
        case Beside.CANARY:
            return replace(found, canary=Portion(name=Name("canary"), release=release, share=seat.share))
        case Beside.ARMS:
            name = seat.name or Name("arm")
            kept = [arm for arm in found.arms if arm.name != name]
            arm = Portion(name=name, release=release, share=seat.share)
            return replace(found, arms=tuple(sorted([*kept, arm], key=lambda each: each.name)))


def roll_back(plan: TrafficPlan, endpoint: str, now: Instant, *, state: State) -> Change | Refusal:
    """Take back, in one step, what was changed last; or say why that is not possible.

    Under an experiment that is the experiment: canary or arms leave, with the shadow, and the champion
    stays. Otherwise the champion changes places with the previous release, and the shadow leaves. The
    fallback stays, unless it is the new champion or does not answer as that one does.
    """
    found = endpoint_of(plan, endpoint)
    if isinstance(found, Refusal):
        return found
    if experiment_of(found) is not Experiment.NONE:
        ended = replace(found, canary=None, arms=(), shadow=None)
        return Change(plan=next_plan(plan, ended, now), state=state)
    after = LINE.after(state, Event.ROLLED_BACK)
    if isinstance(after, Refusal) or found.previous is None:
        return Refusal(
            code="deployments.nothing-to-roll-back-to",
            what=f"Endpoint {endpoint} has one release only, {found.champion.root.short}.",
            why="A rollback goes back to the release that was live before, and there was none.",
            next="Deploy a release that is known to be good.",
        )
    stays = (
        found.fallback is not None
        and found.fallback.root != found.previous.root
        and fits(found.fallback, found.previous)
    )
    back = replace(
        found,
        champion=found.previous,
        previous=found.champion,
        shadow=None,
        fallback=found.fallback if stays else None,
    )
    return Change(plan=next_plan(plan, back, now), state=after)
