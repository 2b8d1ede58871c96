"""A home that was put back: found by what it, its plan, a witness or a kept head says, and refused.

A ledger that ends earlier than somebody saw it end must not go on as if nothing had happened: the
records that follow would contradict those that others hold. Until a person has recorded that the
home was put back (:mod:`gatewright.operations.recovery`), whatever would append is refused; serving
by the signed plan goes on.

| file | says | written by |
|---|---|---|
| ``restored.json`` | the home was made from a backup | ``gatewright restore`` |
| ``fork.json`` | a witness cosigned more records than there are | whoever asks the witness |
| ``witnessed/`` | the newest heads that witnesses cosigned | the same |
| ``plan.dsse`` | a plan that is newer than the ledger knows | every change of the traffic |

All four lie in the home: who puts back the whole folder takes them along. Then only a witness, or
a head kept elsewhere, can tell.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gatewright.deployments.plan import PLAN_FILE_BYTES, TrafficPlan, read_plan
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Refused, Tampered
from gatewright.ledger.checkpoints import NOTE_BYTES, Checkpoint
from gatewright.ledger.records import Record
from gatewright.operations.catalogue import RestoredHome, find, read
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.verify import Verified
from gatewright.releases.fields import Fields, held
from gatewright.releases.heads import open_head

RESTORED = "home.restored"
"""The kind of record that says that a home was put back."""
FORK_FILE = "fork.json"
RESTORED_FILE = "restored.json"
WITNESSED = "witnessed"
RESTORED_FORMAT = 1
MARK_BYTES = NOTE_BYTES * 2
RECORD_IT = "gatewright recover --as NAME --reason 'WHY'"

_CODE = "operations.restored-mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a home was when it was made from a backup: its records, their root (hex), its plan's number.

    ``made`` is when the backup was. Law: ``read_restored(restored_file(mark)) == mark``.
    """

    records: int
    root: str
    made: str
    plan: int


def restored_file(mark: Restored) -> bytes:
    """The file that says so."""
    return canonical.encode(
        {
            "format": RESTORED_FORMAT,
            "made": mark.made,
            "plan": mark.plan,
            "records": mark.records,
            "root": mark.root,
        }
    )


def read_restored(data: bytes) -> Restored:
    """Read it; raises Misuse for one of a newer version, BadInput for anything else."""
    fields = Fields.read(canonical.decode(data), of="the mark of a restored home", code=_CODE)
    if isinstance(fields.value.get("format"), int) and fields.value["format"] > RESTORED_FORMAT:
        raise Misuse(
            "operations.newer-mark",
            f"The mark of this restored home has format {fields.value['format']}; "
            f"this version of gatewright reads up to {RESTORED_FORMAT}.",
            next="Upgrade gatewright; nothing was changed.",
        )
    fields.exactly("format", "made", "plan", "records", "root").constant("format", RESTORED_FORMAT)
    return Restored(
        records=fields.whole("records"),
        root=fields.text("root"),
        made=fields.text("made"),
        plan=fields.whole("plan"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """That a home was put back. It has ``records``; somebody saw ``known`` (0 where nobody says).

    ``signs`` says who knows it, a sentence each; ``plan`` is the published plan that is newer than
    the ledger, None where there is none; ``restored`` that the home was made from a backup.
    """

    records: int
    known: int
    signs: tuple[str, ...]
    restored: bool
    plan: TrafficPlan | None

    @property
    def missing(self) -> str:
        """The records that are gone, in words."""
        return missing(self.records, self.known)


def missing(records: int, known: int) -> str:
    """``records 90 to 99``, or from which record on, where nobody knows how many there were."""
    if known <= records:
        return f"whatever was recorded from record {records} on"
    one = known - records == 1
    return f"record {records}" if one else f"records {records} to {known - 1}"


def found(home: Home) -> Fork | None:
    """Whether this home was put back and nobody has recorded it. Raises Tampered for a sign that cannot be read."""
    head = open_head(home.archive.checkpoint(), home.trust).checkpoint
    signs: list[str] = []
    known = 0
    mark = _restored(home)
    if mark is not None:
        signs.append(f"It was made from a backup of {mark.made}.")
    for said, size in (*_witness(home), *_kept_head(home, head)):
        signs.append(said)
        known = max(known, size)
    plan = _newer_plan(home)
    if plan is not None:
        signs.append(f"The published traffic plan has number {plan.number}, which the ledger does not know.")
    if not signs:
        return None
    return Fork(records=head.size, known=known, signs=tuple(signs), restored=mark is not None, plan=plan)


def require_none(home: Home) -> None:
    """Raise where the home was put back and nobody has recorded it: Refused for a restored one, Tampered else.

    A plan that is ahead is left to whoever publishes: it may be another home's.
    """
    fork = found(home)
    if fork is None or not (fork.restored or fork.known):
        return
    kind = Refused if fork.restored else Tampered
    raise kind(
        "operations.home-put-back",
        f"This home was put back to an older state: nothing is recorded in it until a person says so. "
        f"Missing: {fork.missing}.",
        why=" ".join(fork.signs),
        next=f"Where a newer state is left, bring that back. Where it is lost, record it: {RECORD_IT}",
        place=str(home.folder),
    )


def _restored(home: Home) -> Restored | None:
    """The mark of a restored home; None once the log that goes on since says so."""
    place = home.folder / RESTORED_FILE
    if not os.path.lexists(place):
        return None
    mark = held(RESTORED_FILE, read_restored, read_file(place, limit=MARK_BYTES))
    recorded = find(home, "restored", home.origin, RestoredHome)
    return None if recorded is not None and recorded.records >= mark.records else mark


def _witness(home: Home) -> Iterator[tuple[str, int]]:
    place = home.folder / FORK_FILE
    if not os.path.lexists(place):
        return
    try:
        fields = Fields.read(
            canonical.decode(read_file(place, limit=MARK_BYTES)), of="what a witness said", code=_CODE
        )
        origin, name, size = fields.text("origin"), fields.text("witness"), fields.whole("size")
    except BadInput as error:
        raise Tampered(
            "operations.fork-unreadable",
            "What a witness said of this log cannot be read.",
            why=error.refusal.what,
            next="Ask the witness again; nothing is recorded until then.",
            place=str(place),
        ) from None
    if origin == home.origin:
        yield f"The witness {name} cosigned {size} records.", size


def _kept_head(home: Home, head: Checkpoint) -> Iterator[tuple[str, int]]:
    for path in sorted((home.folder / WITNESSED).glob("*")):
        place = f"{WITNESSED}/{path.name}"
        try:
            kept = open_head(read_file(path, limit=NOTE_BYTES), home.trust, revoked_too=True).checkpoint
        except GatewrightError:
            continue  # damage is the verifier's to name; a head that cannot be read says nothing of the ledger
        if kept.origin != home.origin:
            continue
        if kept.size > head.size:
            yield f"A head of {kept.size} records, signed by this home, is kept in {place}.", kept.size
        elif kept.size == head.size and kept.root != head.root:
            yield f"Another head of {kept.size} records, signed by this home, is kept in {place}.", kept.size


def _newer_plan(home: Home) -> TrafficPlan | None:
    """The published plan, where it is signed by this home and has a number that the ledger does not reach."""
    if not os.path.lexists(home.plan_path):
        return None
    pointer = home.archive.get("plan", "now")
    recorded = 0 if pointer is None else int(str(pointer["number"]))
    published = read_file(home.plan_path, limit=PLAN_FILE_BYTES)
    if pointer is not None and Digest.of(published).hex == pointer["plan"]:
        return None
    try:
        plan = read_plan(published, home.trust)
    except GatewrightError:
        return None
    return plan if plan.number > recorded else None


def put_back(verified: Verified, leaves: Iterable[tuple[bytes, bytes | None]]) -> Verified:
    """What was verified of a ledger, with the times it was put back: which records are missing since."""
    lost: list[JsonObject] = []
    sentence = verified.sentence
    for leaf, _ in leaves:
        if RESTORED.encode() not in leaf:
            continue
        record = Record.decode(leaf)
        if record.draft.kind == RESTORED:
            entry = read(RestoredHome, record.draft.body)
            lost.append(
                {"record": record.seq, "origin": entry.origin, "records": entry.records, "known": entry.known}
            )
            sentence += (
                f" Record {record.seq} says that the home was put back: of the log {entry.origin} "
                f"{missing(entry.records, entry.known)} is missing."
            )
    if not lost:
        return verified
    return replace(verified, sentence=sentence, facts={**verified.facts, "missing": lost})
