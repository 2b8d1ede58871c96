"""Going on after a home was put back: the fork is recorded, and nothing that was taken back comes to life again.

What is done, in one append and one publication:

- ``home.restored`` says from which record on the old log is lost, who says so, and why;
- the traffic plan gets a number above every number that can have been published;
- where the newest published plan is known and an endpoint stood differently in it, the endpoint is
  stopped: the ledger knows less of it than the workers did. An API key that is not in it any more is revoked;
- sealed segments that the ledger does not know lie in the collector's way again.

The log goes on under a new origin: a witness never cosigns two histories of one origin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gatewright.deployments import changes
from gatewright.deployments.plan import EndpointPlan, TrafficPlan
from gatewright.deployments.transitions import State
from gatewright.deployments.wording import ref_text
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.ledger.records import Draft
from gatewright.ledger.segments import scan
from gatewright.operations.approve import COMMENT_BYTES
from gatewright.operations.catalogue import ApiKeyEntry, Endpoint, Renewed, RestoredHome, body_of, find
from gatewright.operations.collect import COLLECTED
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.forks import FORK_FILE, RESTORED_FILE, Fork, found
from gatewright.operations.home import Home
from gatewright.operations.plans import current_plan, entry_of, publish, signed
from gatewright.operations.trust_changes import RootPair, change_trust, following_version
from gatewright.operations.trust_files import steps_beyond
from gatewright.operations.users import person
from gatewright.releases.heads import open_head
from gatewright.releases.trust import TrustRoot

PLANS_SKIPPED = 1_000
"""Plans that may have been published after the state that was put back, where nobody says how many."""

REVOKED_AGAIN = (
    "What was revoked since the state that was put back is in force again. Releases answer again: revoke them "
    "again with 'gatewright release revoke'. Keys count again: then run 'gatewright key rotate' with log, release or worker, "
    "and --compromised."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was recorded, and what the operator should look at: a sentence each."""

    entry: RestoredHome
    missing: str
    segments: int
    stopped: tuple[str, ...]
    look: tuple[str, ...]


def recover(home: Home, *, name: str, reason: str, root: RootPair | None = None) -> Recovered:
    """Record that the home was put back, by a person with a reason; its log goes on under a new origin.

    ``root`` are the root keys, where they lie elsewhere than in the home. Raises Misuse where nothing
    says that the home was put back, without a reason, and where the root keys are not here.
    """
    fork = found(home)
    if fork is None:
        raise Misuse(
            "operations.not-put-back",
            "Nothing says that this home was put back; there is nothing to record.",
            next="'gatewright verify' tells whether it holds.",
        )
    if not reason.strip() or len(reason.encode()) > COMMENT_BYTES:
        raise Misuse("operations.reason", f"Give a reason of 1 to {COMMENT_BYTES:,} bytes.")
    user = person(home, name)
    head = open_head(home.archive.checkpoint(), home.trust).checkpoint
    after = next_origin(home.trust)
    plan, drafts, stopped = _following(home, fork, user.principal)
    entry = RestoredHome(
        origin=home.origin,
        records=head.size,
        root=Digest.from_raw(head.root),
        known=fork.known,
        signs=fork.signs,
        plan_number=0 if plan is None else plan.number,
        continues=after,
    )
    first = Draft(
        kind="home.restored",
        actor=user.principal,
        subject=home.origin,
        body=body_of(entry),
        commitments={"reason": home.conceal(reason.encode())},
    )
    newest = steps_beyond(home.trust, home.folder)
    segments = _reenter(home)
    fresh = change_trust(
        home,
        following_version(home, origin=after),
        what=f"The log goes on as {after}, because the home was put back.",
        root=root,
        also=lambda _: (first, *drafts),
    )
    publish(fresh)
    with file_failures("take the mark away", home.folder):
        for name_ in (RESTORED_FILE, FORK_FILE):
            (home.folder / name_).unlink(missing_ok=True)
    return Recovered(
        entry=entry,
        missing=fork.missing,
        segments=segments,
        stopped=stopped,
        look=(*_revoked_since(home.trust, newest), *_look(fork, fresh.trust)),
    )


def still_to_look(trust: TrustRoot) -> str:
    """What a person should look at since the home was put back; nothing once keys were rotated after that.

    The last key set of the past has another origin for as long as nothing but the recovery ended it.
    """
    return REVOKED_AGAIN if trust.past and trust.past[-1].origin != trust.origin else ""


def next_origin(trust: TrustRoot) -> str:
    """The name under which the log goes on: that of the first, and a number that counts the forks."""
    origins = list(dict.fromkeys((*(era.origin for era in trust.past), trust.origin)))
    return f"{origins[0]}/{len(origins) + 1}"


def _following(
    home: Home, fork: Fork, actor: str
) -> tuple[TrafficPlan | None, tuple[Draft, ...], tuple[str, ...]]:
    """The plan that is published next with the records that go with it, and the endpoints that it stops."""
    before = current_plan(home)
    if before is None:
        return None, (), ()
    newest = fork.plan
    lost = fork.known - fork.records if fork.known > fork.records else PLANS_SKIPPED
    number = max(before.number, newest.number if newest else 0) + lost + 1
    now = home.now()
    endpoints, stopped, revoked = [], [], []
    for old in before.endpoints:
        seen = newest.endpoint(old.endpoint) if newest else old
        if seen is not None and seen == old:
            endpoints.append(old)
            continue
        known = {key.id for key in seen.keys} if seen else set()
        keys = tuple(key for key in old.keys if key.id in known)
        revoked += [(old, key) for key in old.keys if key.id not in known]
        stopped.append(old)
        endpoints.append(replace(old, keys=keys, stopped=True))
    plan = replace(changes.renewed(before, now), number=number, endpoints=tuple(endpoints))
    envelope = signed(home, plan)
    drafts = [_renewal(plan, envelope, actor)]
    drafts += [_stop(home, plan, old, envelope, actor) for old in stopped]
    for old, key in revoked:
        entry = find(home, "api-keys", f"{old.endpoint}/{key.id}", ApiKeyEntry)
        if entry is not None:
            entry = replace(entry, revoked=True, plan_number=number, plan=envelope)
            drafts.append(Draft(kind="key.revoked", actor=actor, subject=entry.endpoint, body=body_of(entry)))
    return plan, tuple(drafts), tuple(str(old.endpoint) for old in stopped)


def _renewal(plan: TrafficPlan, envelope: Digest, actor: str) -> Draft:
    entry = Renewed(plan_number=plan.number, plan=envelope, expires=str(plan.expires))
    return Draft(kind="plan.renewed", actor=actor, subject=f"plan {plan.number}", body=body_of(entry))


def _stop(home: Home, plan: TrafficPlan, old: EndpointPlan, envelope: Digest, actor: str) -> Draft:
    recorded = find(home, "endpoints", old.endpoint, Endpoint)
    state = State.LIVE if recorded is None else State(recorded.state)
    after = plan.endpoint(old.endpoint) or old
    entry = replace(entry_of(home, plan, old, after, state=state, decisions={}), plan=envelope)
    return Draft(kind="endpoint.stopped", actor=actor, subject=str(old.endpoint), body=body_of(entry))


def _reenter(home: Home) -> int:
    """Put sealed segments that the ledger does not know back in the collector's way; returns how many."""
    count = 0
    for path in sorted((home.segments / COLLECTED).glob("*.sealed")):
        try:
            segment = scan(read_file(path)).header.segment
        except BadInput:
            continue  # the verifier names it
        if home.archive.get("segments", segment) is None:
            with file_failures("put a segment back", path):
                path.rename(_free(home.segments / path.name))
            count += 1
    return count


def _free(place: Path) -> Path:
    return place if not place.exists() else place.with_name(f"again-{place.name}")


def _revoked_since(before: TrustRoot, newest: TrustRoot) -> Iterator[str]:
    """Which keys were revoked in versions that the home was put back from, where their steps are still here."""
    parts = {part for era in newest.past[len(before.past) :] for part in era.revoked}
    if len(newest.revoked_workers) > len(before.revoked_workers):
        parts.add("worker")
    for part in sorted(parts):
        yield (
            f"Version {newest.version} of the public keys says that the {part} keys were revoked; they are in force "
            f"again: gatewright key rotate {part} --compromised"
        )


def _look(fork: Fork, trust: TrustRoot) -> Iterator[str]:
    """What a person has to do or look at, because others or the ledger do not know it."""
    names = sorted({key.name for key in trust.witness_keys})
    if names:
        yield (
            f"Witnesses: give .gatewright/trust.json to {' and '.join(names)} (gatewright witness trust FOLDER "
            "trust.json); until then they do not know the log under its new name and answer 404. Then: gatewright collect"
        )
    yield f"Verifiers: tell them the new fingerprint, by another way: {trust.fingerprint().hex}"
    yield "Evidence: exports and packs made before end where the home was put back; make new ones."
    if fork.plan is None:
        yield "API keys: one that was revoked since is good again, one that was made since is not. See: gatewright key list ENDPOINT"
        yield "Endpoints: a rollback or a stop since then is undone. See: gatewright status"
    else:
        yield "Endpoints that stood differently are stopped; put them right, then: gatewright resume ENDPOINT"
        yield from _lost(fork.plan)
    yield REVOKED_AGAIN
    yield "People who were added since must be added again; approvals and releases made since are gone."


def _lost(newest: TrafficPlan) -> Iterator[str]:
    for each in newest.endpoints:
        yield f"The newest plan had {ref_text(each.champion)} on {each.endpoint}, with {len(each.keys)} API keys."
