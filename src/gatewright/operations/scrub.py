"""The scrubber: every stored byte is read and verified again, piece by piece, and what does not hold is recorded.

A pass goes through the pieces in their order and keeps its place, so that a process that was ended
goes on where it was. The first piece that does not hold is an alarm at once: the record
``storage.damaged``; one that holds again is ``storage.repaired``. What the pieces are, and how each
is verified, is the verifier's: this module only walks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft
from gatewright.operations.catalogue import Damage, body_of, every
from gatewright.operations.files import read_file
from gatewright.operations.home import Home
from gatewright.operations.users import owner
from gatewright.releases.fields import Fields

PROGRESS_FILE = "scrub.json"
PROGRESS_FORMAT = 1
PROGRESS_BYTES = 65_536
FOUND_LENGTH = 400

_CODE = "operations.scrub-progress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One thing that is verified by itself.

    ``position`` orders the pieces of a pass; ``check`` returns how many bytes it read, or raises what
    the verifier raises. ``expected`` is the digest that the thing must have, None where it has none
    of its own.
    """

    position: str
    what: str
    place: str
    check: Callable[[], int]
    expected: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where the passes are. ``position`` is empty between two; ``finished`` is when the last whole one ended.

    Law: ``Progress.decode(p.encode()) == p``.
    """

    began: str = ""
    position: str = ""
    pieces: int = 0
    size: int = 0
    finished: str = ""

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode(
            {
                "began": self.began,
                "bytes": self.size,
                "finished": self.finished,
                "format": PROGRESS_FORMAT,
                "pieces": self.pieces,
                "position": self.position,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Progress:
        """Read it; raises Misuse for one of a newer version and BadInput for anything else."""
        fields = Fields.read(canonical.decode(data), of="the scrubber's progress", code=_CODE)
        version = fields.value.get("format")
        if isinstance(version, int) and version > PROGRESS_FORMAT:
            raise Misuse(
                "operations.newer-progress",
                f"The scrubber's progress has format {version}; this version of gatewright reads up to "
                f"{PROGRESS_FORMAT}.",
                next="Upgrade gatewright; nothing was changed.",
            )
        fields.exactly("began", "bytes", "finished", "format", "pieces", "position")
        fields.constant("format", PROGRESS_FORMAT)
        return cls(
            began=fields.text("began"),
            position=fields.text("position"),
            pieces=fields.whole("pieces"),
            size=fields.whole("bytes"),
            finished=fields.text("finished"),
        )


def read_progress(folder: Path) -> Progress:
    """The progress kept in a home's folder; a new one where there is none, or none that can be read.

    It is a bookmark and no evidence: without it a pass begins anew.
    """
    try:
        return Progress.decode(read_file(folder / PROGRESS_FILE, limit=PROGRESS_BYTES))
    except (Misuse, BadInput):
        return Progress()


def passed(
    pieces: Iterable[Piece], progress: Progress, now: Callable[[], Instant]
) -> Iterator[tuple[Piece, Damage | None, Progress]]:
    """Verify the pieces that come after the progress, one at a time: what was found, and the progress then.

    Raises DependencyFailed or Misuse where a piece could not be read for another reason than damage.
    """
    if not progress.position:
        progress = Progress(began=str(now()), finished=progress.finished)
    for piece in pieces:
        if piece.position <= progress.position:
            continue
        damage, size = None, 0
        try:
            size = piece.check()
        except DependencyFailed as error:
            if error.code != "storage.disk-error":
                raise
            damage = _damage(piece, error)
        except (Tampered, BadInput) as error:
            damage = _damage(piece, error)
        progress = replace(
            progress, position=piece.position, pieces=progress.pieces + 1, size=progress.size + size
        )
        yield piece, damage, progress


def ended(progress: Progress, now: Instant) -> Progress:
    """The progress after the last piece of a pass."""
    return replace(progress, position="", finished=str(now))


def _damage(piece: Piece, error: GatewrightError) -> Damage:
    return Damage(
        what=piece.what,
        place=piece.place,
        code=error.code,
        found=error.refusal.sentence()[:FOUND_LENGTH],
        expected=piece.expected,
    )


def damages(home: Home) -> dict[str, Damage]:
    """What is recorded as damaged and not as repaired, by place."""
    return {each.place: each for each in every(home, "damaged", Damage)}


def record(home: Home, found: Iterable[tuple[Piece, Damage | None]]) -> tuple[list[Damage], list[str]]:
    """Record what is newly damaged and what holds again; returns the new damages and the places repaired."""
    known = damages(home)
    new: list[Damage] = []
    repaired: list[str] = []
    drafts: list[Draft] = []
    actor = owner(home).principal
    for piece, damage in found:
        before = known.get(piece.place)
        if damage is not None and (before is None or before.code != damage.code):
            new.append(damage)
            drafts.append(
                Draft(kind="storage.damaged", actor=actor, subject=piece.place, body=body_of(damage))
            )
        elif damage is None and before is not None:
            repaired.append(piece.place)
            drafts.append(
                Draft(kind="storage.repaired", actor=actor, subject=piece.place, body=body_of(before))
            )
    if drafts:
        home.archive.append(drafts, home.now())
    return new, repaired
