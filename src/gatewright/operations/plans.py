"""The traffic plan of a home: signing the next one, recording it, giving it to the workers, renewing it.

Order matters. Every blob is durable before the record that names it; the record is committed
before the plan is published; a plan that was recorded but not published (a crash in between) is
published by whoever opens the home next. So the ledger is never behind what serves.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gatewright.deployments.changes import ages, as_allowed, renewed
from gatewright.deployments.deployment import PLAN_LIFETIME, Beside, Seat
from gatewright.deployments.plan import (
    PLAN_FILE_BYTES,
    PLAN_TYPE,
    EndpointPlan,
    Recording,
    ReleaseRef,
    TrafficPlan,
    encode_plan,
    read_past_plan,
    read_plan,
)
from gatewright.deployments.transitions import State
from gatewright.deployments.wording import ref_text, share_text, told
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import DependencyFailed, GatewrightError, Misuse, Refusal, Tampered
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name, parse_name
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import Endpoint, Placed, Renewed, body_of, find
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.revocations import require_none_revoked
from gatewright.operations.signing import may_sign, release_signers, vouched
from gatewright.operations.users import owner
from gatewright.policy.recording import recording_allowed
from gatewright.releases.envelope import sealed
from gatewright.releases.manifest import POLICY
from gatewright.releases.trust import TrustRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """What changed. ``api_key`` is the secret itself, shown once; empty when none was made."""

    entry: Endpoint
    api_key: str = ""
    committed: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An endpoint as the ledger and the plan in force have it."""

    entry: Endpoint
    plan: TrafficPlan
    state: State

    @property
    def now(self) -> EndpointPlan:
        """Its part of the plan; raises Misuse where it was withdrawn."""
        found = self.plan.endpoint(self.entry.endpoint)
        if found is None:
            raise no_endpoint(self.entry.endpoint)
        return found


def no_endpoint(name: str) -> Misuse:
    """The refusal of a name that nothing answers to."""
    return Misuse(
        "operations.no-endpoint",
        f"There is no endpoint {name!r} in this home.",
        next="'gatewright status' lists the endpoints.",
    )


def seat_of(now: EndpointPlan, release: ReleaseRef) -> Seat | None:
    """The place beside the champion from which a release answers; None for the champion's."""
    if release.root == now.champion.root:
        return None
    if now.canary is not None and now.canary.release.root == release.root:
        return Seat(beside=Beside.CANARY, share=now.canary.share)
    for arm in now.arms:
        if arm.release.root == release.root:
            return Seat(beside=Beside.ARMS, name=arm.name, share=arm.share)
    return Seat(beside=Beside.FALLBACK)


def deploying(ref: str, endpoint: str, seat: Seat | None) -> str:
    """The command that puts a release where it is wanted: a next step never asks for another place."""
    to = "" if endpoint == ref.partition("@")[0] else f" --to {endpoint}"
    if seat is None:
        place = ""
    elif seat.beside is Beside.CANARY:
        place = f" --canary {share_text(seat.share)}"
    elif seat.beside is Beside.ARMS:
        place = f" --arm {seat.name}={share_text(seat.share)}"
    else:
        place = f" --{seat.beside}"
    return f"gatewright deploy {ref}{to}{place}"


def judged_again(ref: str, endpoint: str, seat: Seat | None) -> str:
    """The commands that take a release through the gate under the policy of now, to the place it has."""
    if seat is None:
        return deploying(ref, endpoint, None).replace(" deploy ", " ship ")
    steps = (
        f"gatewright check {ref}",
        f"gatewright release create {ref}",
        f"gatewright approve {ref} --as NAME",
        deploying(ref, endpoint, seat),
    )
    return "   Then: ".join(steps)


def standing(home: Home, endpoint: str) -> Standing:
    """The named endpoint; raises Misuse where nothing was ever deployed on it, or it was withdrawn."""
    name = parse_name(endpoint, of="endpoint")
    entry = find(home, "endpoints", name, Endpoint)
    plan = current_plan(home)
    if entry is None or plan is None or plan.endpoint(name) is None:
        raise no_endpoint(name)
    return Standing(entry=entry, plan=plan, state=State(entry.state))


def current_plan(home: Home) -> TrafficPlan | None:
    """The newest recorded plan, or None before the first deployment."""
    pointer = home.archive.get("plan", "now")
    return None if pointer is None else read_plan(home.blobs.get(Digest(str(pointer["plan"]))), home.trust)


def signed(home: Home, plan: TrafficPlan) -> Digest:
    """The plan in an envelope that both release keys signed, kept; the envelope's digest.

    Every plan is signed here, so here a plan with a revoked release is refused.
    """
    require_none_revoked(home, plan)
    return home.blobs.put(sealed(PLAN_TYPE, encode_plan(plan), release_signers(home)).encode())


def decided(home: Home, root: Digest, endpoint: Name) -> Digest:
    """The newest deployment decision about a root at an endpoint; Tampered where there is none."""
    document = home.archive.get("decisions", f"{root.hex}/{endpoint}")
    if document is None:
        raise Tampered(
            "operations.no-decision",
            f"The ledger holds no decision that lets {root.short} answer at {endpoint}.",
            next="Verify the ledger: gatewright verify",
        )
    return vouched(home, Digest(str(document["decision"])))


def allowed(home: Home, plan: TrafficPlan, endpoint: Name) -> TrafficPlan:
    """The plan, recording durably where the policy of a release that answers allows nothing else."""
    found = plan.endpoint(endpoint)
    if found is None or found.recording is Recording.DURABLE:
        return plan
    return as_allowed(plan, endpoint, {each.root for each in found.answering() if may_lag(home, each)})


def may_lag(home: Home, release: ReleaseRef) -> bool:
    """Whether the policy that a release binds allows asynchronous recording."""
    return recording_allowed(home.blobs.get(release.resources[POLICY]))


def entry_of(
    home: Home,
    plan: TrafficPlan,
    before: EndpointPlan | None,
    after: EndpointPlan,
    *,
    state: State,
    decisions: Mapping[Digest, Digest],
) -> Endpoint:
    """What the record of a change says; ``decisions`` has those that are not recorded yet, by root."""

    def decision(root: Digest) -> Digest:
        return decisions.get(root) or decided(home, root, after.endpoint)

    previous = after.previous
    return Endpoint(
        endpoint=after.endpoint,
        state=state.value,
        root=after.champion.root,
        ref=ref_text(after.champion),
        previous_root=None if previous is None else previous.root,
        previous_ref="" if previous is None else ref_text(previous),
        decision=decision(after.champion.root),
        plan_number=plan.number,
        plan=signed(home, plan),
        placed=tuple(
            Placed(place=place, name=name, ref=ref_text(ref), root=ref.root, share=share, decision=decision(ref.root))
            for place, name, ref, share in _places(after)
        ),
        stopped=after.stopped,
        recording=after.recording.value,
        rate=after.rate,
        expires=str(plan.expires),
        what="; ".join(told(before, after)),
    )  # fmt: skip


def _places(found: EndpointPlan) -> list[tuple[str, str, ReleaseRef, int]]:
    places = [] if found.canary is None else [("canary", "", found.canary.release, found.canary.share)]
    places += [("arm", str(arm.name), arm.release, arm.share) for arm in found.arms]
    others = (("shadow", found.shadow), ("fallback", found.fallback))
    return places + [(place, "", ref, 0) for place, ref in others if ref is not None]


def change(home: Home, found: Standing, plan: TrafficPlan | Refusal, state: State, *, kind: str) -> Changed:
    """Record a change of one endpoint under ``kind`` and publish its plan; Misuse where it was refused."""
    if isinstance(plan, Refusal):
        raise Misuse.of(plan)
    name = Name(found.entry.endpoint)
    plan = allowed(home, plan, name)
    after = plan.endpoint(name)
    if after is None:
        entry = replace(
            found.entry, state=state.value, previous_root=None, previous_ref="", placed=(), stopped=False, rate=0,
            recording=Recording.DURABLE.value, plan_number=plan.number, plan=signed(home, plan),
            expires=str(plan.expires), what="; ".join(told(found.now, None)),
        )  # fmt: skip
    else:
        entry = entry_of(home, plan, found.now, after, state=state, decisions={})
    draft = Draft(kind=kind, actor=owner(home).principal, subject=name, body=body_of(entry))
    return Changed(entry=entry, committed=commit(home, (draft,), entry.plan_number))


def commit(home: Home, drafts: Sequence[Draft], number: int, *, lost: str = "") -> Instant:
    """Record, then publish; returns when it was recorded. ``lost`` is what to do about what was not shown."""
    home.archive.append(drafts, home.now())
    committed = home.now()
    try:
        publish(home)
    except DependencyFailed as error:
        raise DependencyFailed(
            "operations.not-published",
            f"Plan {number} is recorded, but the workers could not be given it.",
            why=error.refusal.sentence(),
            next="Do not repeat the command. When the disk works again, whatever changes the home next, or a "
            f"running 'gatewright serve', publishes the plan.{lost}",
        ) from error
    return committed


def renew(home: Home, *, lifetime: int = 0) -> TrafficPlan | None:
    """Sign the plan again where less than half of its life is left, or for ``lifetime`` nanoseconds from now.

    Returns the plan in force afterwards, or None before the first deployment.
    """
    plan = current_plan(home)
    if plan is None or not (lifetime or (ages(plan, home.now()) and may_sign(home))):
        return plan
    now = home.now()
    following = renewed(plan, now, lifetime=lifetime or PLAN_LIFETIME)
    entry = Renewed(
        plan_number=following.number, plan=signed(home, following), expires=str(following.expires)
    )
    subject = f"plan {following.number}"
    draft = Draft(kind="plan.renewed", actor=owner(home).principal, subject=subject, body=body_of(entry))
    commit(home, (draft,), following.number)
    return following


def publish(home: Home) -> bool:
    """Make the published plan the recorded one; returns whether it was behind.

    Raises Tampered when the published one is newer than the ledger knows: then the ledger is an
    old copy, and writing its plan would put back what was replaced.
    """
    pointer = home.archive.get("plan", "now")
    published = read_file(home.plan_path, limit=PLAN_FILE_BYTES) if os.path.lexists(home.plan_path) else b""
    digest = None if pointer is None else Digest(str(pointer["plan"]))
    if not published and digest is None:
        return False
    if published and Digest.of(published) == digest:
        return False
    number = _published_number(published, home.trust)
    recorded = 0 if pointer is None else int(str(pointer["number"]))
    if number >= recorded and number:
        raise Tampered(
            "operations.plan-ahead",
            f"The published traffic plan has number {number}; the ledger ends at plan {recorded}.",
            why="The ledger was replaced by an older copy, or another home's plan was put here.",
            next="Restore the newest ledger.db; nothing was changed. Where that is lost, record it: "
            "gatewright recover --as NAME --reason 'WHY'",
            place=str(home.plan_path),
        )
    if digest is not None:
        home.write(home.plan_path, home.blobs.get(digest))
    return digest is not None


def _published_number(envelope: bytes, trust: TrustRoot) -> int:
    """The number of a plan that release keys of this home signed, now or before; 0 for anything else."""
    try:
        return read_past_plan(envelope, trust).number
    except GatewrightError:
        return 0
