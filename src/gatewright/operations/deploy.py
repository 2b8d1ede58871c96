"""Deploying and rolling back: a permit, a signed decision, a signed plan; then the workers see it.

Order matters. Every blob is durable before the record that names it; the record is committed
before the plan is published; a plan that was recorded but not published (a crash in between) is
published by whoever opens the home next. So the ledger is never behind what serves.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass

from gatewright.deployments.deployment import authorise, deploy, roll_back
from gatewright.deployments.plan import (
    PLAN_FILE_BYTES,
    PLAN_TYPE,
    ApiKey,
    EndpointPlan,
    ReleaseRef,
    TrafficPlan,
    encode_plan,
    read_plan,
)
from gatewright.deployments.transitions import Event, State, next_state
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import (
    ApprovalNeeded,
    DependencyFailed,
    GatewrightError,
    Misuse,
    Refusal,
    Refused,
    Tampered,
)
from gatewright.kernel.instants import Instant
from gatewright.kernel.names import Name, parse_name
from gatewright.ledger.records import Draft
from gatewright.operations.approve import verified_approvals
from gatewright.operations.catalogue import ApiKeyEntry, Endpoint, Release, body_of, every, find
from gatewright.operations.files import POLICY_BYTES, read_file
from gatewright.operations.home import Home
from gatewright.operations.released import release, statements
from gatewright.operations.signing import release_signers, seal
from gatewright.operations.users import owner
from gatewright.policy.verdict import decode_verdict
from gatewright.releases.envelope import sealed
from gatewright.releases.manifest import POLICY
from gatewright.releases.statement import DeploymentDecision
from gatewright.releases.trust import TrustRoot

API_KEY_BYTES = 32
WAITING = "policy.waiting-for-approval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What changed. ``api_key`` is the secret itself, shown once; empty when none was made."""

    entry: Endpoint
    api_key: str = ""
    committed: Instant


def deploy_release(home: Home, text: str, *, endpoint: str = "", new_key: bool = False) -> Deployed:
    """Put a release live on an endpoint (by default the one named like its model)."""
    found = release(home, text)
    name = parse_name(endpoint or found.ref.partition("@")[0], of="endpoint")
    current = find(home, "endpoints", name, Endpoint)
    state = _next(State.EMPTY if current is None else State(current.state), Event.DEPLOYED)
    if current is not None and current.root == found.root and not new_key:
        raise Misuse(
            "operations.live-already",
            f"{found.ref} is live on {name} already.",
            next=f"Is its API key lost? Make another one: gatewright deploy {found.ref} --to {name} --new-key",
        )
    _require_home_policy(home, found)
    verdict = decode_verdict(home.blobs.get(found.verdict))
    approved = verified_approvals(home, found)
    permitted = authorise(
        root=found.root,
        endpoint=name,
        verdict=verdict,
        verdict_digest=found.verdict,
        approvals=[approval for approval, _ in approved],
    )
    if isinstance(permitted, Refusal):
        raise _refused(permitted, found)
    now = home.now()
    before = current_plan(home)
    number = 1 if before is None else before.number + 1
    decision = home.blobs.put(
        seal(
            home,
            DeploymentDecision(
                root=found.root,
                endpoint=name,
                verdict=found.verdict,
                plan=number,
                time=now,
                approvals=tuple(reference for _, reference in approved),
            ),
        )
    )
    secret, issued = _key_for(home, name, new=new_key or current is None)
    keys = tuple(
        ApiKey(id=key.id, digest=key.digest) for key in every(home, "api-keys", ApiKeyEntry, f"{name}/")
    )
    plan = deploy(
        before,
        permitted,
        _reference(home, found, decision),
        keys + tuple(ApiKey(id=key.id, digest=key.digest) for key in issued),
        now,
    )
    entry = _entry(home, plan, name, state, decision)
    actor = owner(home).principal
    drafts = [Draft(kind="key.issued", actor=actor, subject=name, body=body_of(key)) for key in issued]
    drafts.append(Draft(kind="endpoint.deployed", actor=actor, subject=name, body=body_of(entry)))
    return _commit(home, drafts, entry, secret)


def _require_home_policy(home: Home, found: Release) -> None:
    """What goes live was judged by the rules that hold in this home now."""
    now = Digest.of(read_file(home.policy_path, limit=POLICY_BYTES))
    if found.resources[POLICY] != now:
        raise Refused(
            "operations.other-policy",
            f"{found.ref} was judged by another policy than {home.policy_path.name} is now.",
            why="The policy was changed since, or the release was made under a policy to try out.",
            next=f"Judge it again: gatewright ship {found.ref}",
        )


def roll_back_endpoint(home: Home, endpoint: str) -> Deployed:
    """Put the previous release back, whole, in one step."""
    name = parse_name(endpoint, of="endpoint")
    current = find(home, "endpoints", name, Endpoint)
    before = current_plan(home)
    if current is None or before is None:
        raise Misuse("operations.no-endpoint", f"There is no endpoint {name!r} in this home.")
    state = _next(State(current.state), Event.ROLLED_BACK)
    plan = roll_back(before, name, home.now())
    if isinstance(plan, Refusal):
        raise Misuse.of(plan)
    champion = _endpoint(plan, name).champion
    decision = next(
        Digest(str(document["decision"]))
        for key, document in home.archive.scan("decisions", f"{champion.root.hex}/")
        if key == f"{champion.root.hex}/{name}"
    )
    entry = _entry(home, plan, name, state, decision)
    draft = Draft(kind="endpoint.rolled-back", actor=owner(home).principal, subject=name, body=body_of(entry))
    return _commit(home, (draft,), entry, "")


def current_plan(home: Home) -> TrafficPlan | None:
    """The newest recorded plan, or None before the first deployment."""
    pointer = home.archive.get("plan", "now")
    return None if pointer is None else read_plan(home.blobs.get(Digest(str(pointer["plan"]))), home.trust)


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
            next="Restore the newest ledger.db; nothing was changed.",
            place=str(home.plan_path),
        )
    if digest is not None:
        home.write(home.plan_path, home.blobs.get(digest))
    return digest is not None


def _published_number(envelope: bytes, trust: TrustRoot) -> int:
    """The number of a plan that both release keys signed; 0 for anything else."""
    try:
        return read_plan(envelope, trust).number
    except GatewrightError:
        return 0


def _commit(home: Home, drafts: Sequence[Draft], entry: Endpoint, secret: str) -> Deployed:
    home.archive.append(drafts, home.now())
    committed = home.now()
    try:
        publish(home)
    except DependencyFailed as error:
        key = f" Its API key was not shown: deploy {entry.ref} once more, with --new-key." if secret else ""
        raise DependencyFailed(
            "operations.not-published",
            f"Plan {entry.plan_number} is recorded, but the workers could not be given it.",
            why=error.refusal.sentence(),
            next="Do not repeat the command. When the disk works again, whatever changes the home next, or a "
            f"running 'gatewright serve', publishes the plan.{key}",
        ) from error
    return Deployed(entry=entry, api_key=secret, committed=committed)


def _next(state: State, event: Event) -> State:
    after = next_state(state, event)
    if isinstance(after, Refusal):
        raise Misuse.of(after)
    return after


def _refused(refusal: Refusal, found: Release) -> GatewrightError:
    if refusal.code != WAITING:
        return Refused.of(refusal)
    return ApprovalNeeded(
        refusal.code,
        refusal.what,
        why=refusal.why,
        next=f"Approve: gatewright approve {found.ref} --as NAME   Then: gatewright deploy {found.ref}",
    )


def _reference(home: Home, found: Release, decision: Digest) -> ReleaseRef:
    model, _, version = found.ref.partition("@")
    about = [digest for name, digest in statements(home, found).items() if not name.startswith("decision-")]
    return ReleaseRef(
        root=found.root,
        model=Name(model),
        version=int(version),
        resources=found.resources,
        bundle=found.bundle,
        statements=(*about, decision),
    )


def _entry(home: Home, plan: TrafficPlan, name: Name, state: State, decision: Digest) -> Endpoint:
    live = _endpoint(plan, name)
    envelope = sealed(PLAN_TYPE, encode_plan(plan), release_signers(home)).encode()
    previous = live.previous
    return Endpoint(
        endpoint=name,
        state=state.value,
        root=live.champion.root,
        ref=f"{live.champion.model}@{live.champion.version}",
        previous_root=None if previous is None else previous.root,
        previous_ref="" if previous is None else f"{previous.model}@{previous.version}",
        decision=decision,
        plan_number=plan.number,
        plan=home.blobs.put(envelope),
    )


def _endpoint(plan: TrafficPlan, name: Name) -> EndpointPlan:
    found = plan.endpoint(name)
    if found is None:
        raise Misuse("operations.no-endpoint", f"The plan has no endpoint {name!r}.")
    return found


def _key_for(home: Home, name: Name, *, new: bool) -> tuple[str, tuple[ApiKeyEntry, ...]]:
    if not new:
        return "", ()
    secret = "gw_" + base64.urlsafe_b64encode(home.new_bytes(API_KEY_BYTES)).rstrip(b"=").decode()
    digest = Digest.of(secret.encode())
    return secret, (ApiKeyEntry(endpoint=name, id=digest.hex[:12], digest=digest),)
