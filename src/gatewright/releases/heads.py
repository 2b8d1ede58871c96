"""Signed heads of a home's log, believed by its trust root: which of its keys and witnesses signed.

A head counts when every log key of one key set signed it: Ed25519 and, from trust format 2 on,
ML-DSA-44. The key set is the current one or, for heads from before, one of the past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gatewright.kernel.errors import Tampered
from gatewright.ledger.checkpoints import Checkpoint, Note, read_checkpoint_text, require_signed
from gatewright.ledger.notes import NoteKey, SignatureType, cosigned_at
from gatewright.releases.keys import PublicKey
from gatewright.releases.trust import Era, TrustRoot

_SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigned:
    """A witness saw the head: its name, and when, in POSIX seconds by its own clock."""

    witness: str
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A believed head. ``era`` is the past key set that signed it, None for the current one.

    ``revoked``: somebody else may hold the keys that signed it, so it proves nothing by itself;
    ``unproven``: nor did enough witnesses cosign it before that.
    """

    checkpoint: Checkpoint
    cosigned: tuple[Cosigned, ...]
    era: Era | None = None
    revoked: bool = False
    unproven: bool = False


def log_keys(origin: str, log: PublicKey, log_pq: PublicKey | None) -> tuple[NoteKey, ...]:
    """The keys that sign the heads of a log, as C2SP signed-note writes them."""
    first = NoteKey(name=origin, type=SignatureType.ED25519, raw=log.raw())
    if log_pq is None:
        return (first,)
    return (first, NoteKey(name=origin, type=SignatureType.ML_DSA_44_COSIGNATURE, raw=log_pq.raw()))


def open_signed(data: bytes, keys: Sequence[NoteKey]) -> Checkpoint:
    """The head in a note that every one of the keys signed, all of one log; raises BadInput or Tampered."""
    note = Note.decode(data)
    found = _believed(note, keys, (), None).checkpoint
    if found.origin != keys[0].name:
        raise _other_log(found.origin, keys[0].name)
    return found


def open_head(data: bytes, trust: TrustRoot, *, revoked_too: bool = False) -> Head:
    """The head that a signed note states. Raises BadInput for malformed bytes, Tampered for what does not hold.

    A known key, a witness's included, whose signature does not hold rejects the whole note. One by
    retired keys covers no more records than there were then. One by
    keys that were revoked proves nothing, and is refused, unless as many witnesses as the trust root
    wants, and one at least, cosigned it before; ``revoked_too`` lets it through for those who only
    compare what they kept themselves with a head that proves something.
    """
    note = Note.decode(data)
    stated = note.text.partition(b"\n")[0].decode()
    sets: list[tuple[Era | None, tuple[NoteKey, ...]]] = [
        (None, log_keys(trust.origin, trust.log, trust.log_pq)),
        *((era, log_keys(era.origin, era.log, era.log_pq)) for era in reversed(trust.past)),
    ]
    named = {(line.name, line.key_id) for line in note.signatures}
    for era, keys in sets:
        if keys[0].name == stated and any((key.name, key.id) in named for key in keys):
            found = _believed(note, keys, trust.witness_keys, era)
            gone = era is not None and _revoked(era, trust)
            unseen = era is not None and not _seen_before(found, era, trust)
            if gone and unseen and not revoked_too:
                raise _no_proof()
            if era is not None and era.log != trust.log and not revoked_too:
                _require_within(found, era)
            return replace(found, revoked=gone, unproven=gone and unseen)
    if stated not in {keys[0].name for _, keys in sets}:
        raise _other_log(stated, trust.origin)
    raise _unsigned("No key of this home signed it.")


def _revoked(era: Era, trust: TrustRoot) -> bool:
    """Whether the log keys of an era were revoked, then or in a later one."""
    return any(each.log == era.log and "log" in each.revoked for each in trust.past)


def _require_within(head: Head, era: Era) -> None:
    """Retired keys spoke for the records that the log had then, and for none that came later."""
    if head.checkpoint.size > era.records:
        raise Tampered(
            "releases.head-beyond",
            f"The checkpoint covers {head.checkpoint.size:,} records; its log keys signed no more than {era.records:,}.",
            why=f"They were retired on {str(era.until)[:19]}Z: later records are signed with other keys.",
            next="Ask the owner for a newer checkpoint, and how that one came about.",
        )


def _seen_before(head: Head, era: Era, trust: TrustRoot) -> bool:
    """Whether witnesses cosigned a head while nobody else was known to hold its keys."""
    early = [one for one in head.cosigned if one.time * _SECOND <= era.until.ns]
    return len(early) >= max(1, trust.quorum)


def _believed(note: Note, keys: Sequence[NoteKey], witnesses: Sequence[NoteKey], era: Era | None) -> Head:
    held = require_signed(note, [*keys, *witnesses])
    signed = {key for key, _ in held}
    for key in keys:
        if key not in signed:
            raise _unsigned(f"The signature of type {key.type:#04x} is missing.")
    latest: dict[str, int] = {}
    for key, signature in held:
        whole = all(other in signed for other in witnesses if other.name == key.name)
        if key in witnesses and whole:  # a witness counts when each of its keys signed, as a log does
            latest[key.name] = max(latest.get(key.name, 0), cosigned_at(signature))
    return Head(
        checkpoint=read_checkpoint_text(note.text),
        cosigned=tuple(Cosigned(witness=name, time=time) for name, time in sorted(latest.items())),
        era=era,
    )


def _other_log(stated: str, expected: str) -> Tampered:
    return Tampered(
        "ledger.origin",
        f"The checkpoint belongs to the log {stated[:80]!r}, not to {expected!r}.",
        next="Compare it with the ledger that you meant to verify.",
    )


def _no_proof() -> Tampered:
    return Tampered(
        "releases.head-revoked",
        "The checkpoint is signed with log keys that were revoked since.",
        why="Somebody else may hold them, and may have signed another log with them.",
        next="Ask the owner for a newer checkpoint: it covers the same records, signed with the keys of now.",
    )


def _unsigned(why: str) -> Tampered:
    return Tampered(
        "releases.head-unsigned",
        "The checkpoint is not signed by the keys of this log.",
        why=why,
        next="Compare the trust root you gave with the one that the log's owner published.",
    )
