"""Rotating a home's keys: new ones in force at once, old ones retired, or revoked where somebody else may hold them.

One transaction records the change together with all that follows from it: the traffic plan and the
worker's certificate, signed by the new release keys; for revoked release keys every statement that
they had signed, vouched for by the new ones. Private halves that are not in force any more are
destroyed afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from gatewright.deployments.changes import renewed
from gatewright.deployments.plan import EndpointPlan, Portion, ReleaseRef, TrafficPlan
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import Renewed, Vouched, body_of
from gatewright.operations.home import Home
from gatewright.operations.plans import current_plan, publish, signed
from gatewright.operations.released import releases, statements
from gatewright.operations.signing import release_signers
from gatewright.operations.trust_changes import (
    PARTS,
    RootPair,
    change_trust,
    following_version,
    recorded_already,
    recorded_count,
    root_signers,
)
from gatewright.operations.users import owner
from gatewright.operations.workers import (
    certified_again,
    certified_here,
    draft_certificate,
    in_use,
    publish_certificates,
)
from gatewright.ports import Signer
from gatewright.releases.envelope import Envelope, sealed, verify
from gatewright.releases.keys import PublicKey
from gatewright.releases.statement import WorkerKey
from gatewright.releases.trust import RevokedWorker

WORKER_FILE = "worker-ed25519"
REVOCABLE = ("release", "log")


class Away(Protocol):
    """Root keys in a folder of their own."""

    @property
    def root(self) -> Signer:
        """P-256."""
        ...

    @property
    def root_pq(self) -> Signer:
        """ML-DSA-65."""
        ...

    def make(self, name: str) -> Signer:
        """Make a further one there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What changed: the part, its keys before and now, the version and fingerprint of the public keys since."""

    part: str
    before: tuple[PublicKey, ...]
    after: tuple[PublicKey, ...]
    version: int
    fingerprint: str
    compromised: bool
    vouched: int = 0


def rotate(
    home: Home, part: str, *, compromised: bool = False, away: Away | None = None, keep: bool = False
) -> Rotated:
    """Put new keys in force for ``release``, ``log`` or ``root``; the old ones are retired, or revoked.

    ``away`` holds the root keys where these are not in the home; new root keys are made there then.
    ``keep`` leaves the private halves of the old keys where they are. Raises Misuse without the root keys.
    """
    pair = None if away is None else (away.root, away.root_pq)
    root_signers(home, pair)  # refused before anything is made
    maker = away if part == "root" and away is not None else home.keys
    made = [maker.make(name) for name in PARTS[part]]
    fields = dict(zip((part, f"{part}_pq"), (each.public for each in made), strict=True))
    marked = (part,) if compromised and part in REVOCABLE else ()
    following = following_version(home, revoked=marked, **fields)
    before = _pair(home, part)
    vouched: list[Draft] = []
    fresh = change_trust(
        home,
        following,
        what=_what(part, compromised=compromised),
        root=pair,
        new_root=(made[0], made[1]) if part == "root" else None,
        also=partial(_signed_anew, home, vouched, compromised=compromised) if part == "release" else _nothing,
    )
    with recorded_already():
        publish_certificates(fresh)
        publish(fresh)
        if not keep:
            fresh.keys.sweep()
    return Rotated(
        part=part,
        before=before,
        after=tuple(each.public for each in made),
        version=following.version,
        fingerprint=following.fingerprint().hex,
        compromised=compromised,
        vouched=len(vouched),
    )


def _nothing(_: Home) -> Sequence[Draft]:
    return ()


def _what(part: str, *, compromised: bool) -> str:
    return f"the {part} keys were {'revoked and replaced' if compromised else 'rotated'}"


def _pair(home: Home, part: str) -> tuple[PublicKey, ...]:
    trust = home.trust
    pairs = {"root": trust.root_keys, "release": trust.release_keys, "log": (trust.log, trust.log_pq)}
    return tuple(key for key in pairs[part] if key is not None)


def _signed_anew(old: Home, vouched: list[Draft], fresh: Home, *, compromised: bool) -> Sequence[Draft]:
    """Records of all that the new release keys sign at once."""
    again: dict[Digest, Digest] = {}
    if compromised:
        vouched += _vouched(old, fresh, again)
        workers = certified_here(old.folder, old.trust)
    else:
        workers = tuple(filter(None, [in_use(old.folder, old.trust)]))
    drafts = [*vouched, *certified_again(fresh, workers)]
    plan = current_plan(old)
    if plan is None:
        return drafts
    following = renewed(_with(plan, again), fresh.now())
    entry = Renewed(
        plan_number=following.number, plan=signed(fresh, following), expires=str(following.expires)
    )
    subject = f"plan {following.number}"
    return [
        *drafts,
        Draft(kind="plan.renewed", actor=owner(fresh).principal, subject=subject, body=body_of(entry)),
    ]


def _vouched(old: Home, fresh: Home, again: dict[Digest, Digest]) -> list[Draft]:
    """Every statement that the revoked keys signed about a release of this home, signed by the new ones."""
    drafts = []
    for release in releases(old):
        found: dict[str, Digest] = {}
        for digest in statements(old, release).values():
            envelope = Envelope.decode(old.blobs.get(digest))
            if verify(envelope, old.trust.release_keys):
                new = _signed_again(envelope, {key.id for key in old.trust.release_keys}, fresh)
                again[digest] = found[digest.hex] = fresh.blobs.put(new.encode())
        entry = Vouched(root=release.root, ref=release.ref, statements=found)
        actor = owner(fresh).principal
        drafts.append(Draft(kind="release.vouched", actor=actor, subject=release.ref, body=body_of(entry)))
    return drafts


def _signed_again(envelope: Envelope, gone: set[str], fresh: Home) -> Envelope:
    """The same statement by the new release keys; signatures of people stay beside them."""
    new = sealed(envelope.payload_type, envelope.payload, release_signers(fresh))
    people = tuple(one for one in envelope.signatures if one.key_id not in gone)
    return replace(new, signatures=(*new.signatures, *people))


def _with(plan: TrafficPlan, again: dict[Digest, Digest]) -> TrafficPlan:
    """The plan, naming the new statements in place of those that count no more."""

    def of(ref: ReleaseRef) -> ReleaseRef:
        return replace(ref, statements=tuple(again.get(digest, digest) for digest in ref.statements))

    def maybe(ref: ReleaseRef | None) -> ReleaseRef | None:
        return None if ref is None else of(ref)

    def portion(found: Portion) -> Portion:
        return replace(found, release=of(found.release))

    def endpoint(found: EndpointPlan) -> EndpointPlan:
        return replace(
            found,
            champion=of(found.champion),
            previous=maybe(found.previous),
            canary=None if found.canary is None else portion(found.canary),
            arms=tuple(map(portion, found.arms)),
            shadow=maybe(found.shadow),
            fallback=maybe(found.fallback),
        )

    return replace(plan, endpoints=tuple(map(endpoint, plan.endpoints)))


# Workers


def rotate_worker(home: Home, *, keep: bool = False) -> Rotated:
    """Put a new worker key in force; what the one before signed goes on counting."""
    before = in_use(home.folder, home.trust)
    made, now = home.keys.make(WORKER_FILE), home.now()
    worker = WorkerKey(public=made.public, valid_from=now, origin=home.origin)
    home.archive.append((draft_certificate(home, worker),), now)
    with recorded_already():
        publish_certificates(home)
        if not keep:
            home.keys.under(home.trust, made.public.id).sweep()
    return Rotated(
        part="worker",
        before=() if before is None else (before.public,),
        after=(made.public,),
        version=home.trust.version,
        fingerprint=home.trust.fingerprint().hex,
        compromised=False,
    )


def revoke_worker(home: Home, key: str, *, root: RootPair | None = None) -> Home:
    """Have a worker key that is not in use count for nothing but what the log has of it by now."""
    worker = in_use(home.folder, home.trust)
    if worker is not None and worker.public.id == key:
        raise Misuse(
            "operations.worker-in-use",
            f"The worker key {key[:12]} is in use.",
            next="Put another one in force: gatewright key rotate worker --compromised",
        )
    gone = RevokedWorker(key=key, time=home.now(), records=recorded_count(home))
    following = following_version(home, revoked_workers=(*home.trust.revoked_workers, gone))
    return change_trust(home, following, what=f"the worker key {key[:12]} was revoked", root=root)
