"""What a witness cosigns: the decision of https://c2sp.org/tlog-witness over plain values.

A log submits its newest head with a proof that it extends the head which the witness cosigned last::

    old <size>
    <base64 of a hash>
    …

    <the checkpoint, a signed note>

The witness cosigns an extension and nothing else, so that whoever asks for its cosignature sees the
same history as everybody else. Laws: of two heads that one witness cosigned, the larger begins with
the smaller; no size is cosigned with two roots. Stricter than the standard, which asks for one
signature of the log: of every signature type that is known of the log, one must hold.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gatewright.kernel.errors import BadInput, GatewrightError
from gatewright.ledger.checkpoints import (
    TREE_SIZE,
    Checkpoint,
    Note,
    NoteSignature,
    canonical_base64,
    read_checkpoint_text,
    require_signed,
)
from gatewright.ledger.notes import NoteKey, SignatureType, add_signatures, cosigned_at
from gatewright.ledger.proofs import verify_consistency
from gatewright.ledger.tree import EMPTY_ROOT, HASH_BYTES

PROOF_LINES = 63
SUBMISSION_BYTES = 65_536
LOG_KEYS = 8
LOG_TYPES = (SignatureType.ED25519, SignatureType.ML_DSA_44_COSIGNATURE)
"""The signature types of a log's own keys; type 0x04 is a witness's."""

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")


class Ground(StrEnum):
    """Why a head is not cosigned, in the order in which it is asked."""

    MALFORMED = "malformed"
    UNKNOWN_LOG = "unknown-log"
    UNKNOWN_KEY = "unknown-key"
    NOT_LATEST = "not-latest"
    OTHER_ROOT = "other-root"
    BAD_PROOF = "bad-proof"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """No cosignature: the ground, a sentence, and the size that was cosigned last where that is the ground."""

    ground: Ground
    why: str
    latest: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A head that a log submits: the size it builds on, the proof, and the signed note as bytes.

    Law: ``read_submission(s.encode()) == s``.
    """

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The body of an ``add-checkpoint`` request."""
        lines = [f"old {self.old}", *(base64.b64encode(part).decode() for part in self.proof), "", ""]
        return "\n".join(lines).encode() + self.note


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLog:
    """A log that a witness watches: its origin and its own keys, of the types :data:`LOG_TYPES`.

    Raises BadInput for a key of another name or type, and for none or too many.
    """

    origin: str
    keys: tuple[NoteKey, ...]

    def __post_init__(self) -> None:
        if not 0 < len(set(self.keys)) == len(self.keys) <= LOG_KEYS:
            raise BadInput("ledger.log-keys", f"A log has 1 to {LOG_KEYS} keys, each named once.")
        if any(key.name != self.origin or key.type not in LOG_TYPES for key in self.keys):
            raise BadInput(
                "ledger.log-keys",
                f"One of the keys is none of the log {self.origin[:80]!r}.",
                why="A log's key has the log's origin for its name, and is of type 0x01 or 0x06.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """A head that may be cosigned, and its note with the signatures of the log's known keys alone."""

    head: Checkpoint
    note: Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigner:
    """A cosigning key: its public form, and what signs with the private half."""

    key: NoteKey
    sign: Callable[[bytes], bytes]


def empty_head(origin: str) -> Checkpoint:
    """The head of a log before its first record: what a witness has of a log that it never cosigned."""
    return Checkpoint(origin=origin, size=0, root=EMPTY_ROOT)


def read_submission(body: bytes) -> Submission | Declined:
    """Read the body of an ``add-checkpoint`` request; strict, so that one submission has one spelling."""
    if len(body) > SUBMISSION_BYTES:
        return _malformed(f"The request is longer than {SUBMISSION_BYTES:,} bytes.")
    head, blank, note = body.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        return _malformed("The lines before the checkpoint are not ASCII.")
    old = _OLD.fullmatch(first)
    if old is None or not blank or int(old[1]) > TREE_SIZE:
        return _malformed("The request must begin with 'old', the size, proof lines and an empty line.")
    if len(lines) > PROOF_LINES:
        return _malformed(f"A proof has at most {PROOF_LINES} lines.")
    proof = [canonical_base64(line) for line in lines]
    hashes = tuple(part for part in proof if part is not None and len(part) == HASH_BYTES)
    if len(hashes) != len(proof):
        return _malformed("A proof line is not the base64 of 32 bytes.")
    return Submission(old=int(old[1]), proof=hashes, note=note)


def _malformed(why: str) -> Declined:
    return Declined(ground=Ground.MALFORMED, why=why)


def submitted_head(submission: Submission) -> Checkpoint | Declined:
    """The head that a submission states; nobody's signature is looked at yet."""
    try:
        return read_checkpoint_text(Note.decode(submission.note).text)
    except BadInput as error:
        return _malformed(error.refusal.sentence())


def decide(submission: Submission, log: KnownLog | None, latest: Checkpoint) -> Extension | Declined:
    """Whether the submitted head may be cosigned by whoever cosigned ``latest`` of this log last.

    ``log`` is what is known of the origin that the submission states, None where that is nothing;
    ``latest`` is :func:`empty_head` where nothing was cosigned yet.
    """
    head = submitted_head(submission)
    if isinstance(head, Declined):
        return head
    if log is None or log.origin != head.origin or latest.origin != head.origin:
        return Declined(ground=Ground.UNKNOWN_LOG, why="This witness does not know the log.")
    note = _own_signatures(Note.decode(submission.note), log)
    if isinstance(note, Declined):
        return note
    if submission.old > head.size:
        return _malformed(f"A log of {head.size} records cannot extend one of {submission.old}.")
    if submission.old != latest.size:
        why = f"The witness cosigned {latest.size} records last, not {submission.old}."
        return Declined(ground=Ground.NOT_LATEST, why=why, latest=latest.size)
    if head.size == latest.size and head.root != latest.root:
        why = f"Another root was cosigned for {latest.size} records."
        return Declined(ground=Ground.OTHER_ROOT, why=why, latest=latest.size)
    if not verify_consistency(
        first=latest.size,
        second=head.size,
        first_root=latest.root,
        second_root=head.root,
        path=submission.proof,
    ):
        why = f"The proof does not show that the log begins with the {latest.size} records cosigned last."
        return Declined(ground=Ground.BAD_PROOF, why=why)
    return Extension(head=head, note=note)


def _own_signatures(note: Note, log: KnownLog) -> Note | Declined:
    """The note with what the log's known keys signed; each type that is known must have signed."""
    try:
        signed = {key for key, _ in require_signed(note, log.keys)}
    except GatewrightError as error:
        return Declined(ground=Ground.UNKNOWN_KEY, why=error.refusal.sentence())
    missing = {key.type for key in log.keys} - {key.type for key in log.keys if key in signed}
    if missing:
        why = f"The log signed without its key of type {min(missing):#04x}."
        return Declined(ground=Ground.UNKNOWN_KEY, why=why)
    return Note(text=note.text, signatures=_lines_of(note, log.keys))


def _lines_of(note: Note, keys: Sequence[NoteKey]) -> tuple[NoteSignature, ...]:
    """The first line of each of these keys: a note may repeat a key, and holds a bounded number of lines."""
    known = {(key.name, key.id) for key in keys}
    first: dict[tuple[str, bytes], NoteSignature] = {}
    for one in note.signatures:
        if (one.name, one.key_id) in known:
            first.setdefault((one.name, one.key_id), one)
    return tuple(first.values())


def cosign(note: Note, cosigners: Sequence[Cosigner], time: int) -> Note:
    """The note with a cosignature of each key, made at ``time`` (POSIX seconds)."""
    lines = [each.key.line(each.sign(each.key.message(note.text, time)), time) for each in cosigners]
    return add_signatures(note, lines)


def response_lines(note: Note, keys: Sequence[NoteKey]) -> bytes:
    """The signature lines of these keys, as the answer to a submission carries them."""
    return Note(text=note.text, signatures=_lines_of(note, keys)).encode()[len(note.text) + 1 :]


def read_response(note: Note, lines: bytes, keys: Sequence[NoteKey]) -> Note:
    """The note with those cosignatures of an answer whose keys are known; others are ignored.

    Raises BadInput for lines that are none, Tampered where a known key's signature does not hold or
    no known key signed.
    """
    answer = Note.decode(note.text + b"\n" + lines)
    require_signed(answer, keys)
    return add_signatures(note, _lines_of(answer, keys))


def latest_time(note: Note, keys: Sequence[NoteKey]) -> int:
    """The latest time in the cosignatures of these keys (POSIX seconds); 0 where there is none."""
    return max((cosigned_at(one.signature) for one in _lines_of(note, keys)), default=0)
