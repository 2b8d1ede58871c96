"""Verifying what a home recorded of revoked releases: the statements hold, and none of them answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatewright.deployments.plan import TrafficPlan
from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.operations.catalogue import RevokedRelease, read
from gatewright.operations.verify import Verified
from gatewright.ports import Blobs
from gatewright.releases.envelope import Envelope, verify
from gatewright.releases.fields import held
from gatewright.releases.judgements import Revocation
from gatewright.releases.statement import open_claim
from gatewright.releases.trust import TrustRoot

COLLECTION = "revocations"


def revocations(
    documents: Mapping[tuple[str, str], bytes], plan: TrafficPlan | None, trust: TrustRoot, blobs: Blobs
) -> Iterator[Verified]:
    """Each recorded revocation, verified; ``documents`` are the stored tables, already proved.

    Raises Tampered for a statement that does not hold, and where the plan lets a revoked release answer.
    """
    for (collection, root), document in sorted(documents.items()):
        if collection != COLLECTION:
            continue
        entry = read(RevokedRelease, canonical.decode(document))
        _require_statement(entry, _vouched(documents, entry.statement), trust, blobs)
        _require_silent(entry.root, plan)
        yield Verified(
            kind="revocation",
            sentence=f"{entry.ref} ({entry.root.short}) was revoked ({entry.reason}): the statement holds, and no "
            "endpoint answers with it.",
            facts={"ref": entry.ref, "root": root, "reason": entry.reason},
        )


def _vouched(documents: Mapping[tuple[str, str], bytes], digest: Digest) -> Digest:
    """The statement, or the same one as the newest keys signed it again."""
    while (document := documents.get(("vouched", digest.hex))) is not None:
        digest = Digest(canonical.decode(document)["statement"])
    return digest


def _require_statement(entry: RevokedRelease, statement: Digest, trust: TrustRoot, blobs: Blobs) -> None:
    place = f"{COLLECTION}/{entry.root.hex}"
    envelope = held(place, Envelope.decode, blobs.get(statement))
    claim = held(place, open_claim, envelope)
    said = isinstance(claim, Revocation) and (claim.root, claim.reason) == (entry.root, entry.reason)
    time = claim.time if isinstance(claim, Revocation) else None
    if not said or not trust.vouches(verify(envelope, trust.counting_keys), time):
        raise Tampered(
            "operations.revocation-broken",
            f"The recorded revocation of {entry.ref} is not one that both release keys signed.",
            next="Verify the ledger: gatewright verify",
            place=place,
        )


def _require_silent(root: Digest, plan: TrafficPlan | None) -> None:
    for endpoint in () if plan is None else plan.endpoints:
        if not endpoint.stopped and any(each.root == root for each in endpoint.releases()):
            raise Tampered(
                "operations.revoked-live",
                f"The traffic plan names the revoked release {root.short} on {endpoint.endpoint}.",
                next=f"Stop the endpoint: gatewright stop {endpoint.endpoint}",
                place=str(endpoint.endpoint),
            )
