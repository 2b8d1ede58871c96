"""The offline audit of a whole ledger: every leaf, the tree over them, and the signed head.

One pass, in order, in the space of the tree's right edge. Every thing that does not hold is a
:class:`~gatewright.kernel.errors.Refusal` with its place; the first one in the log comes first.

Not here: whether the log's key was used honestly. Whoever holds it can sign another history; only
a witness, or a checkpoint kept elsewhere, shows that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gatewright.kernel.errors import BadInput, GatewrightError, Refusal
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Checkpoint, VerifyingKey, open_checkpoint
from gatewright.ledger.records import Record
from gatewright.ledger.tree import Frontier, leaf_hash

LEAF_PROBLEMS = 20
"""Leaf problems that one audit lists; a ledger with so many is not read by the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found: the size and root of the leaves as they are, and what does not hold."""

    size: int
    root: bytes
    problems: tuple[Refusal, ...]

    @property
    def holds(self) -> bool:
        """Whether everything held."""
        return not self.problems


def place_of(index: int, leaf: bytes) -> str:
    """Name a leaf for people: ``record 17 (model.added breast-cancer@2, 2026-03-03T14:05:00Z)``."""
    try:
        record = Record.decode(leaf)
    except BadInput:
        return f"record {index}"
    return f"record {index} ({record.draft.kind} {record.draft.subject}, {record.time})"


@dataclass(slots=True, kw_only=True)
class _Walk:
    """What the pass carries from leaf to leaf."""

    signed_size: int | None
    expected: int = 0
    time: Instant = Instant(0)  # noqa: RUF009 - a frozen value
    problems: list[Refusal] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unsigned: str = ""

    def hashes(self, leaves: Iterable[tuple[bytes, bytes | None]]) -> Iterator[bytes]:
        for index, (leaf, stored) in enumerate(leaves):
            found = leaf_hash(leaf)
            if index == self.signed_size:
                self.unsigned = place_of(index, leaf)
            if stored is not None and stored != found:
                self.expected += 1
                if len(self.changed) < LEAF_PROBLEMS:
                    self.changed.append(place_of(index, leaf))
            elif len(self.problems) < LEAF_PROBLEMS:
                self.problems += self.reads(index, leaf)
            yield found

    def reads(self, index: int, leaf: bytes) -> list[Refusal]:
        """What is wrong with one leaf: its form, its number, or its time."""
        try:
            record = Record.decode(leaf)
        except BadInput as error:
            self.expected += 1
            what = "A record cannot be read."
            return [Refusal(code="ledger.unreadable", what=what, why=str(error), place=f"record {index}")]
        wanted, self.expected = self.expected, record.seq + 1
        before, self.time = self.time, record.time
        place = place_of(index, leaf)
        if record.seq != wanted:
            what = f"Record {wanted} is not where it belongs: the record there says that it is number {record.seq}."
            why = "A record was removed, inserted or moved."
            return [Refusal(code="ledger.sequence", what=what, why=why, place=place)]
        if record.time < before:
            what = f"Time goes backwards: the record before is of {before}."
            return [Refusal(code="ledger.time", what=what, place=place)]
        return []


def _changed_leaves(places: list[str], *, root_holds: bool) -> list[Refusal]:
    """A hash that does not match its leaf: the signed root tells which of the two was changed."""
    if root_holds:
        code, what = "ledger.stored-hash-changed", "The stored hash of a record was changed."
        why = "The record itself is the one that the signed root covers."
    else:
        code, what = "ledger.record-changed", "A record was changed after it was written."
        why = "Its bytes do not match the hash that was stored with it."
    return [Refusal(code=code, what=what, why=why, place=place) for place in places]


def _against(head: Checkpoint, frontier: Frontier, unsigned: str) -> list[Refusal]:
    """Compare the leaves as they are with the signed head."""
    if frontier.size < head.size:
        lost = head.size - frontier.size
        what = f"{lost} of {head.size} signed records are missing."
        why = f"The signed checkpoint covers {head.size} records; the ledger holds {frontier.size}."
        place = f"record {frontier.size}"
        return [Refusal(code="ledger.records-missing", what=what, why=why, place=place)]
    if frontier.size > head.size:
        extra = frontier.size - head.size
        what = f"{extra} of {frontier.size} records are not covered by the signed checkpoint."
        return [Refusal(code="ledger.records-unsigned", what=what, place=unsigned)]
    if frontier.root() != head.root:
        what = "The records do not add up to the signed root."
        why = "At least one record differs from what was signed."
        place = f"checkpoint of {head.size} records"
        return [Refusal(code="ledger.root", what=what, why=why, place=place)]
    return []


def audit(
    leaves: Iterable[tuple[bytes, bytes | None]], *, note: bytes, key: VerifyingKey, origin: str
) -> Audit:
    """Audit a ledger offline, whose checkpoint ``note`` the log's Ed25519 key ``key`` must have signed as ``origin``.

    The rest is :func:`audit_under`'s.
    """
    try:
        return audit_under(leaves, open_checkpoint(note, origin=origin, key=key))
    except GatewrightError as error:
        return audit_under(leaves, error.refusal)


def audit_under(leaves: Iterable[tuple[bytes, bytes | None]], head: Checkpoint | Refusal) -> Audit:
    """Audit a ledger offline, under its newest signed head, or what is wrong with it.

    ``leaves`` are the leaf bytes in order, each with the leaf hash stored beside it (32 bytes), or
    None where none was kept. Nothing raises for bad evidence: it is listed.
    """
    believed = head if isinstance(head, Checkpoint) else None
    walk = _Walk(signed_size=believed.size if believed else None)
    frontier = Frontier.of(walk.hashes(leaves))
    against = _against(believed, frontier, walk.unsigned) if believed else []
    changed = _changed_leaves(walk.changed, root_holds=believed is not None and not against)
    found = sorted(changed + walk.problems, key=_leaf_number)
    untrusted = () if isinstance(head, Checkpoint) else (head,)
    return Audit(size=frontier.size, root=frontier.root(), problems=(*found, *against, *untrusted))


def _leaf_number(problem: Refusal) -> int:
    return int(problem.place.split()[1])
