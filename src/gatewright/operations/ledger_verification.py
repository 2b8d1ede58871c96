"""Verifying a ledger, offline: its records under the signed head, and what is said to follow from them.

Every function raises Tampered, naming the first thing that does not hold and its place, or returns
what was verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import GatewrightError, Misuse, Refusal, Tampered
from gatewright.ledger.audit import audit_under
from gatewright.ledger.checkpoints import Checkpoint
from gatewright.ledger.records import Record
from gatewright.operations.catalogue import Segment, TrustChanged, read
from gatewright.operations.projections import project
from gatewright.operations.trust_files import TRUST_CHANGED, TRUST_FILE
from gatewright.operations.verify import Verified
from gatewright.releases.heads import open_head
from gatewright.releases.trust import TrustRoot


def ledger(
    leaves: Sequence[tuple[bytes, bytes | None]],
    checkpoint: bytes,
    disagreements: Sequence[Refusal],
    trust: TrustRoot,
) -> Verified:
    """Verify a whole ledger: every leaf, the tree over them, and the signed head."""
    audited = audit_under(leaves, _head(checkpoint, trust))
    problems = (*audited.problems, *disagreements)
    if problems:
        first = problems[0]
        more = f" {len(problems) - 1} more problems follow." if len(problems) > 1 else ""
        raise Tampered(
            first.code,
            first.what,
            why=f"{first.why}{more}",
            place=first.place or "checkpoint",
            next="Keep this file as evidence; compare with a backup and with checkpoints held elsewhere.",
        )
    return Verified(
        kind="ledger",
        sentence=f"All {audited.size} records hold: every leaf, the tree over them and the signed head.",
        facts={"records": audited.size, "root": audited.root.hex(), "origin": trust.origin},
    )


def _head(note: bytes, trust: TrustRoot) -> Checkpoint | Refusal:
    try:
        return open_head(note, trust).checkpoint
    except GatewrightError as error:
        return error.refusal


def key_history(
    known: Sequence[TrustRoot], leaves: Sequence[tuple[bytes, bytes | None]], trust: TrustRoot
) -> Verified:
    """Verify that the versions of the public keys, each of which follows, are those that the ledger recorded."""
    records = [Record.decode(leaf).draft for leaf, _ in leaves]
    recorded = [str(draft.body["trust"]) for draft in records if draft.kind == TRUST_CHANGED]
    if [each.fingerprint().hex for each in known[1:]] != recorded or known[-1] != trust:
        raise not_recorded()
    return Verified(
        kind="keys",
        sentence=f"Version {trust.version} of the public keys follows by signed steps from the first, as recorded.",
        facts={"version": trust.version, "fingerprint": trust.fingerprint().hex, "eras": len(trust.past)},
    )


def not_recorded() -> Tampered:
    """The refusal of public keys that are not those of the records."""
    return Tampered(
        "operations.trust-not-recorded",
        "The versions of the public keys are not those that the ledger recorded.",
        why="The keys or the ledger were put back to an older state, or replaced.",
        next=f"Restore the newest ledger.db, {TRUST_FILE} and trust/.",
        place=TRUST_FILE,
    )


def require_newest_keys(leaves: Iterable[bytes], trust: TrustRoot) -> None:
    """Compare the changes of the public keys that records tell of with the version that is trusted.

    Raises Misuse where that is older, because what was revoked since would still count, and Tampered
    where it is another version of the same number.
    """
    for leaf in leaves:
        draft = Record.decode(leaf).draft
        if draft.kind != TRUST_CHANGED:
            continue
        entry = read(TrustChanged, draft.body)
        if entry.version > trust.version:
            raise Misuse(
                "operations.trust-behind",
                f"The keys that you trust are version {trust.version}; the log records version {entry.version}.",
                why="Keys that were revoked since would still count.",
                next=f"Get the newer {TRUST_FILE}, or the folder that also holds the signed steps in trust/, and verify with that.",
            )
        if entry.version == trust.version and entry.trust != trust.fingerprint():
            raise not_recorded()


def projections(
    leaves: Sequence[tuple[bytes, bytes | None]], stored: Mapping[tuple[str, str], bytes]
) -> Verified:
    """Verify the stored tables: they are exactly what the records say, no more and no less."""
    wanted: dict[tuple[str, str], bytes] = {}
    for leaf, _ in leaves:
        for put in project(Record.decode(leaf)):
            if put.document is None:
                wanted.pop((put.collection, put.key), None)
            else:
                wanted[put.collection, put.key] = canonical.encode(put.document)
    for place in sorted(set(wanted) | set(stored)):
        if wanted.get(place) != stored.get(place):
            raise Tampered(
                "operations.projection-changed",
                "A stored table does not say what the records say.",
                why="It was changed, added or removed behind the ledger's back.",
                next="Keep this file as evidence, then restore it from a backup.",
                place="/".join(place),
            )
    return Verified(
        kind="tables",
        sentence=f"The {len(stored)} documents of the tables are what the records say.",
        facts={"documents": len(stored)},
    )


def sealed_segments(leaves: Sequence[tuple[bytes, bytes | None]], found: Mapping[str, Digest]) -> Verified:
    """Verify that every segment the ledger recorded is there, as it was; ``found`` maps ids to digests."""
    records = [Record.decode(leaf).draft for leaf, _ in leaves]
    entries = [read(Segment, draft.body) for draft in records if draft.kind == "predictions.sealed"]
    for entry in entries:
        if found.get(entry.id) != entry.file:
            raise Tampered(
                "operations.segment-changed" if entry.id in found else "operations.segment-missing",
                f"A file of {entry.records} prediction records "
                f"{'is not the one that was recorded' if entry.id in found else 'is missing'}.",
                place=f"segment {entry.id}",
                next="Restore it from a backup; the ledger holds its root.",
            )
    count = sum(entry.records for entry in entries)
    return Verified(
        kind="segments",
        sentence=f"{count:,} predictions in {len(entries)} recorded segments are there, as they were recorded.",
        facts={"segments": len(entries), "predictions": count},
    )
