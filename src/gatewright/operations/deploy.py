"""Deploying and rolling back: a permit, a signed decision, a signed plan; then the workers see it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatewright.deployments.deployment import (
    Change,
    Deployment,
    Seat,
    authorise,
    deploy,
    join,
    roll_back,
)
from gatewright.deployments.plan import ReleaseRef, TrafficPlan
from gatewright.deployments.transitions import State
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import ApprovalNeeded, GatewrightError, Misuse, Refusal, Refused
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name, parse_name
from gatewright.ledger.records import Draft
from gatewright.operations.approve import verified_approvals
from gatewright.operations.catalogue import ApiKeyEntry, Endpoint, Release, body_of, find
from gatewright.operations.files import POLICY_BYTES, read_file
from gatewright.operations.home import Home
from gatewright.operations.keys import new_key as make_key
from gatewright.operations.keys import plain_key
from gatewright.operations.plan_records import ENDPOINT_KINDS
from gatewright.operations.plans import (
    Changed,
    Standing,
    allowed,
    change,
    commit,
    current_plan,
    deploying,
    entry_of,
    judged_again,
    standing,
)
from gatewright.operations.released import planned_statements, release
from gatewright.operations.revocations import require_not_revoked
from gatewright.operations.signing import seal
from gatewright.operations.users import owner
from gatewright.operations.waive import require_waivers
from gatewright.policy.verdict import decode_verdict
from gatewright.releases.heads import open_head
from gatewright.releases.manifest import POLICY
from gatewright.releases.statement import ApprovalReference, DeploymentDecision

WAITING = "policy.waiting-for-approval"


def deploy_release(
    home: Home, text: str, *, endpoint: str = "", new_key: bool = False, seat: Seat | None = None
) -> Changed:
    """Put a release live on an endpoint (by default the one named like its model).

    It becomes the champion, or takes a ``seat`` beside the champion; the gate is the same. The first
    deployment of an endpoint makes an API key, and ``new_key`` makes a further one. Raises Misuse where
    the endpoint cannot take it, Refused and ApprovalNeeded where the gate does not let it through.
    """
    found = release(home, text)
    require_not_revoked(home, found.root, found.ref)
    name = parse_name(endpoint or found.ref.partition("@")[0], of="endpoint")
    current = find(home, "endpoints", name, Endpoint)
    state = State.EMPTY if current is None else State(current.state)
    before = current_plan(home)
    here = None if before is None else before.endpoint(name)
    if here is not None and here.champion.root == found.root and seat is None and not new_key:
        raise Misuse(
            "operations.live-already",
            f"{found.ref} is live on {name} already.",
            next=f"Is its API key lost? Make another one: gatewright deploy {found.ref} --to {name} --new-key",
        )
    permitted, approvals = _permitted(home, found, name, seat)
    secret, issued = make_key(home, name) if new_key or (here is None and seat is None) else ("", None)
    wanted = _Wanted(
        before=before, permitted=permitted, now=home.now(), state=state, seat=seat, issued=issued
    )
    number = wanted.change(_reference(home, found, None)).plan.number  # refused before anything is signed
    decision = _decide(home, found, name, number=number, now=wanted.now, approvals=approvals)
    made = wanted.change(_reference(home, found, decision))
    plan = allowed(home, made.plan, name)
    after = plan.endpoint(name)
    assert after is not None  # noqa: S101 - it was just put there
    entry = entry_of(home, plan, here, after, state=made.state, decisions={found.root: decision})
    actor = owner(home).principal
    drafts = []
    if issued is not None:
        drafts.append(Draft(kind="key.issued", actor=actor, subject=name, body=body_of(issued)))
    if seat is None:
        drafts.append(Draft(kind="endpoint.deployed", actor=actor, subject=name, body=body_of(entry)))
    else:
        drafts.append(Draft(kind="endpoint.joined", actor=actor, subject=name, body=body_of(entry)))
    lost = (
        "" if issued is None else f" Its API key was not shown: make another one: gatewright key add {name}"
    )
    return Changed(entry=entry, api_key=secret, committed=commit(home, drafts, plan.number, lost=lost))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A deployment that has leave: where it goes, and what it changes."""

    before: TrafficPlan | None
    permitted: Deployment
    now: Instant
    state: State
    seat: Seat | None
    issued: ApiKeyEntry | None

    def change(self, reference: ReleaseRef) -> Change:
        """The plan with the release in it; raises Misuse where the endpoint cannot take it."""
        if self.seat is not None:
            made = join(self.before, self.permitted, reference, self.seat, self.now, state=self.state)
        else:
            keys = () if self.issued is None else (plain_key(self.issued),)
            made = deploy(self.before, self.permitted, reference, self.now, state=self.state, keys=keys)
        if isinstance(made, Refusal):
            raise Misuse.of(made)
        return made


def roll_back_endpoint(home: Home, endpoint: str) -> Changed:
    """Take back what was changed last, whole, in one step: the experiment, or else the champion."""
    found = standing(home, endpoint)
    back = roll_back(found.plan, found.entry.endpoint, home.now(), state=found.state)
    if isinstance(back, Refusal):
        raise Misuse.of(_nothing_behind(home, found, back))
    return change(home, found, back.plan, back.state, kind="endpoint.rolled-back")


def _nothing_behind(home: Home, found: Standing, refused: Refusal) -> Refusal:
    """The refusal, with what was revoked since the champion came: that is why nothing stands behind it."""
    size = open_head(home.archive.checkpoint(), home.trust).checkpoint.size
    last = home.archive.newest(ENDPOINT_KINDS, below=size, subject=str(found.entry.endpoint))
    if not last or last[0].draft.kind != "endpoint.revoked":
        return refused
    why = f"What could have come back was revoked: {last[0].draft.body['what']} (record {last[0].seq})."
    return replace(refused, why=why)


def _permitted(
    home: Home, found: Release, name: Name, seat: Seat | None
) -> tuple[Deployment, tuple[ApprovalReference, ...]]:
    """The gate, the same for every place: the home's policy, the verdict, its waivers, the approvals."""
    _require_home_policy(home, found, name, seat)
    approved = verified_approvals(home, found)
    verdict = decode_verdict(home.blobs.get(found.verdict))
    require_waivers(home, found, verdict)
    permitted = authorise(
        root=found.root,
        endpoint=name,
        verdict=verdict,
        verdict_digest=found.verdict,
        approvals=[approval for approval, _ in approved],
        now=home.now(),
    )
    if isinstance(permitted, Refusal):
        raise _refused(permitted, found, name, seat)
    return permitted, tuple(reference for _, reference in approved)


def _decide(
    home: Home,
    found: Release,
    name: Name,
    *,
    number: int,
    now: Instant,
    approvals: tuple[ApprovalReference, ...],
) -> Digest:
    claim = DeploymentDecision(
        root=found.root, endpoint=name, verdict=found.verdict, plan=number, time=now, approvals=approvals
    )
    return home.blobs.put(seal(home, claim))


def _require_home_policy(home: Home, found: Release, name: Name, seat: Seat | None) -> None:
    """What goes live was judged by the rules that hold in this home now."""
    now = Digest.of(read_file(home.policy_path, limit=POLICY_BYTES))
    if found.resources[POLICY] != now:
        raise Refused(
            "operations.other-policy",
            f"{found.ref} was judged by another policy than {home.policy_path.name} is now.",
            why="The policy was changed since, or the release was made under a policy to try out.",
            next=f"Judge it again: {judged_again(found.ref, name, seat)}",
        )


def _refused(refusal: Refusal, found: Release, name: Name, seat: Seat | None) -> GatewrightError:
    if refusal.code != WAITING:
        return Refused.of(refusal)
    return ApprovalNeeded(
        refusal.code,
        refusal.what,
        why=refusal.why,
        next=f"Approve: gatewright approve {found.ref} --as NAME   Then: {deploying(found.ref, name, seat)}",
    )


def _reference(home: Home, found: Release, decision: Digest | None) -> ReleaseRef:
    model, _, version = found.ref.partition("@")
    about = planned_statements(home, found)
    return ReleaseRef(
        root=found.root,
        model=Name(model),
        version=int(version),
        resources=found.resources,
        bundle=found.bundle,
        statements=(*about, *(() if decision is None else (decision,))),
    )
