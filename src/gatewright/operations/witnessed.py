"""Heads of this log that witnesses cosigned and that are kept: what they say of the records there are.

A kept head convicts: a log that does not extend it was rewritten, or put back. That a head is not
cosigned yet convicts nobody; it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import NOTE_BYTES, Note
from gatewright.ledger.notes import add_signatures
from gatewright.ledger.tree import Frontier, leaf_hash
from gatewright.operations.files import read_file
from gatewright.operations.verify import Verified
from gatewright.releases.heads import Head, open_head
from gatewright.releases.trust import TrustRoot

FOLDER = "witnessed"
NEWEST = "checkpoint"
OWN = "witness-"
"""How the files begin that hold the note of one witness; the digest of its name follows."""
WITNESSED_FILE = "witnessed"
"""In an exported log: the newest cosigned head, where later records are not cosigned yet."""
SHOWN_FILE = "fork.json"
"""Holds the head that a witness showed and that the log did not begin with (:mod:`gatewright.operations.forks`)."""
SECOND = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What one witness cosigned last of what is kept: how many records, and when by its clock (POSIX seconds)."""

    witness: str
    size: int
    time: int


def own_file(folder: Path, name: str) -> Path:
    """Where the note lies, below ``.gatewright``, that the witness ``name`` cosigned last."""
    return folder / FOLDER / f"{OWN}{Digest.of(name.encode()).hex[:32]}"


def kept_notes(folder: Path) -> dict[str, bytes]:
    """The kept notes below ``.gatewright``, by file name: the newest, and that of each witness."""
    paths = [folder / FOLDER / NEWEST, *sorted((folder / FOLDER).glob(f"{OWN}*"))]
    return {f"{FOLDER}/{path.name}": read_file(path, limit=NOTE_BYTES) for path in paths if path.exists()}


def shown_note(folder: Path) -> dict[str, bytes]:
    """The head that a witness showed and this log did not begin with, by file name."""
    place = folder / SHOWN_FILE
    if not place.exists():
        return {}
    try:
        said = canonical.decode(read_file(place, limit=2 * NOTE_BYTES))
        note = said.get("checkpoint") if isinstance(said, dict) else None
    except BadInput:
        note = None
    return {SHOWN_FILE: note.encode() if isinstance(note, str) else b""}


def open_kept(notes: dict[str, bytes], trust: TrustRoot) -> tuple[Head, ...]:
    """The kept heads, believed. Raises Tampered, with its place, for one that this log did not sign."""
    heads = []
    for place, note in notes.items():
        try:
            heads.append(open_head(note, trust, revoked_too=True))
        except (BadInput, Tampered) as error:
            raise Tampered(
                error.code, error.refusal.what, why=error.refusal.why, next=error.refusal.next, place=place
            ) from None
    return tuple(heads)


def coverage(heads: Iterable[Head]) -> tuple[Witnessed, ...]:
    """The newest head that each witness cosigned, by its name."""
    newest: dict[str, Witnessed] = {}
    for head in heads:
        for one in head.cosigned:
            found = Witnessed(witness=one.witness, size=head.checkpoint.size, time=one.time)
            if one.witness not in newest or found.size > newest[one.witness].size:
                newest[one.witness] = found
    return tuple(newest[name] for name in sorted(newest))


def reached(covered: Sequence[Witnessed], quorum: int) -> int:
    """How many records at least ``quorum`` witnesses vouch for (at least one of them); 0 where that is nobody.

    Whoever cosigned a larger head vouches for every smaller one that it extends.
    """
    sizes = sorted((one.size for one in covered), reverse=True)
    least = max(1, quorum)
    return sizes[least - 1] if len(sizes) >= least else 0


def told(trust: TrustRoot, heads: Sequence[Head], size: int) -> Verified:
    """Who cosigned up to where, of a log with ``size`` records that extends all these heads."""
    covered = coverage(heads)
    if not covered and not trust.witnesses:
        return Verified(kind="witnesses", sentence="", facts={})
    vouched = reached(covered, trust.quorum)
    names = {key.name for key in trust.witness_keys}
    sentence = " ".join(
        f"{one.witness} cosigned {_part(one.size, size)}, {moment(one.time)}." for one in covered
    )
    silent = sorted(names - {one.witness for one in covered})
    if silent:
        sentence += f" There is no cosignature of {' and none of '.join(silent)} here."
    if vouched < size:
        needed = f" by the {trust.quorum} witnesses that are needed" if trust.quorum > 1 else ""
        whole = "No record is" if not vouched else f"Records from number {vouched:,} on are not"
        sentence += f" {whole} witnessed yet{needed}."
    facts: JsonObject = {
        "records": size,
        "witnessed": vouched,
        "quorum": trust.quorum,
        "witnesses": [
            {"name": one.witness, "records": one.size, "time": moment(one.time)} for one in covered
        ],
    }
    return Verified(
        kind="witnesses", sentence=sentence.strip(), facts=facts, lacks=bool(silent) or not vouched
    )


def _part(covered: int, size: int) -> str:
    return f"all {size:,} records" if covered == size else f"the first {covered:,} of {size:,} records"


def moment(time: int) -> str:
    """A cosignature's time as people read it."""
    return str(Instant(min(time, 2**33) * SECOND))


def require_extended(heads: Iterable[Head], size: int, root_at: Callable[[int], bytes]) -> None:
    """Raise Tampered unless a log of ``size`` records extends each head; ``root_at`` gives its roots."""
    for head in sorted(heads, key=lambda one: one.checkpoint.size):
        kept = head.checkpoint
        who = " and ".join(("this log", *(one.witness for one in head.cosigned)))
        if kept.size > size:
            raise Tampered(
                "operations.log-rolled-back",
                f"The log is shorter than it was: {_gone(kept.size - size)}.",
                why=f"A kept head of {kept.size} records is signed by {who}; the log has {size}.",
                next="Keep both as evidence. Where the home was put back from a backup, record it.",
                place=f"record {size}",
            )
        if root_at(kept.size) != kept.root:
            raise Tampered(
                "operations.log-forked",
                f"The first {kept.size} records are not those of a head that is kept.",
                why=f"That head is signed by {who}: records were changed, and all made again, after it.",
                next="Keep both as evidence.",
                place=f"checkpoint of {kept.size} records",
            )


def _gone(count: int) -> str:
    return "1 record is gone" if count == 1 else f"{count} records are gone"


def root_over(leaves: Sequence[tuple[bytes, bytes | None]], size: int) -> bytes:
    """The root over the first ``size`` leaves; a stored leaf hash is taken as it is, for audited leaves."""
    return Frontier.of(leaf_hash(leaf) if stored is None else stored for leaf, stored in leaves[:size]).root()


def notes_beside(folder: Path) -> dict[str, bytes]:
    """Every signed head that lies below ``.gatewright``, by place.

    Read it before the ledger, or under the home's lock: a head that is cosigned later may be of later records.
    """
    return {**kept_notes(folder), **shown_note(folder)}


def witnessed_home(
    notes: dict[str, bytes], leaves: Sequence[tuple[bytes, bytes | None]], note: bytes, trust: TrustRoot
) -> Iterator[Verified]:
    """Compare an audited ledger, and its newest ``note``, with the heads of :func:`notes_beside`.

    Raises Tampered where it does not extend one; nothing comes where there are neither heads nor witnesses.
    """
    head = open_head(note, trust).checkpoint
    heads = open_kept(notes, trust)
    mine = [one for one in heads if one.checkpoint.origin == head.origin]
    require_extended(
        mine, head.size, lambda size: head.root if size == head.size else root_over(leaves, size)
    )
    if mine or trust.witnesses:
        yield told(trust, mine, head.size)


def cosigned_notes(folder: Path, note: bytes, trust: TrustRoot) -> tuple[bytes, bytes]:
    """A newest note with the cosignatures that are kept for it; and the kept note, where it is of an older head."""
    place = folder / FOLDER / NEWEST
    if not place.exists():
        return note, b""
    kept = read_file(place, limit=NOTE_BYTES)
    head = open_head(note, trust).checkpoint
    older = open_head(kept, trust, revoked_too=True).checkpoint
    if older == head:
        known = {(key.name, key.id) for key in trust.witness_keys}
        lines = [one for one in Note.decode(kept).signatures if (one.name, one.key_id) in known]
        return add_signatures(Note.decode(note), lines).encode(), b""
    return note, kept if older.origin == head.origin and older.size < head.size else b""
