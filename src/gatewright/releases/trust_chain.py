"""The step from one version of a trust root to the next, signed by the root keys.

Whoever holds the fingerprint of an older version walks the steps to the newest. A step is a DSSE
envelope around the bytes of the next ``trust.json``, signed by both root keys of the version before
and, where these change, by the new ones too; nothing that stood in the past of a home is ever taken
out of it.

Source: The Update Framework 1.0.33, section 5.3 (each version of the root role is signed by the keys
of the one before).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant
from gatewright.releases.envelope import Envelope, SigningKey, require, sealed
from gatewright.releases.fields import held
from gatewright.releases.trust import Era, TrustRoot

TRUST_PAYLOAD = "application/vnd.gatewright.trust+json"
STEPS = 1_024


def seal_step(following: TrustRoot, signers: Sequence[SigningKey]) -> bytes:
    """The envelope of the next version; the signers are the root keys before it, then new ones."""
    return sealed(TRUST_PAYLOAD, following.encode(), signers).encode()


def next_trust(before: TrustRoot, step: bytes) -> TrustRoot:
    """The version that follows ``before``, once its envelope holds; raises Tampered, with the place."""
    place = f"trust/{before.version + 1}"
    envelope = held(place, Envelope.decode, step)
    if envelope.payload_type != TRUST_PAYLOAD:
        raise _broken("It is not a step of a trust root.", place)
    held(place, partial(require, keys=before.root_keys), envelope)
    following = held(place, TrustRoot.decode, envelope.payload)
    if following.root_keys != before.root_keys:
        held(place, partial(require, keys=following.root_keys), envelope)
    _require_follows(before, following, place)
    return following


def walk(before: TrustRoot, steps: Iterable[bytes]) -> TrustRoot:
    """The newest version that the steps lead to, one after the other; raises Tampered for one that does not follow."""
    for count, step in enumerate(steps):
        if count == STEPS:
            raise BadInput("releases.trust-steps", f"A trust root has at most {STEPS:,} versions.")
        before = next_trust(before, step)
    return before


def _require_follows(before: TrustRoot, after: TrustRoot, place: str) -> None:
    """Versions count by one, time goes forwards, and the past is kept."""
    if after.version != before.version + 1:
        raise _broken(f"It says that it is version {after.version}.", place)
    if before.made is not None and after.made is not None and after.made < before.made:
        raise _broken("It was made before the version that it follows.", place)
    same = (after.origin, after.release_keys, after.log, after.log_pq)
    eras = before.past
    if same != (before.origin, before.release_keys, before.log, before.log_pq):
        eras = (*eras, _retired(before, after))
    if len(eras) != len(after.past) or not all(map(_kept, eras, after.past)):
        raise _broken("Keys that spoke for the home are missing from its past.", place)
    if after.revoked_workers[: len(before.revoked_workers)] != before.revoked_workers:
        raise _broken("A worker key that was revoked is not revoked any more.", place)


def _retired(before: TrustRoot, after: TrustRoot) -> Era:
    """The keys of the version before, as they must stand in the past of the next."""
    last = after.past[-1] if after.past else None
    return Era(
        origin=before.origin,
        release=before.release,
        release_pq=before.release_pq,
        log=before.log,
        log_pq=before.log_pq,
        until=Instant(0) if last is None else last.until,
        records=0 if last is None else last.records,
    )


def _kept(before: Era, after: Era) -> bool:
    """Whether an era is the same, or more of it was revoked since."""
    return replace(after, revoked=before.revoked) == before and set(before.revoked) <= set(after.revoked)


def _broken(why: str, place: str) -> Tampered:
    return Tampered(
        "releases.trust-step",
        "A change of the home's keys does not follow from the version before it.",
        why=why,
        next="Rely on no key that it introduces; ask the owner for the trust files again.",
        place=place,
    )
