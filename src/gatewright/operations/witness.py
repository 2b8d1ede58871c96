"""A witness: it keeps one cosigned head of each log that it knows, and cosigns extensions of it.

Its folder, apart from every home::

    witness.json           {"format":1,"name":"…"}
    keys/                  its two private keys, 0600
    logs/<digest>.json     a log that it knows, named by the SHA-256 of the log's origin
    heads/<digest>         the note that it cosigned last for that log, its own cosignatures included

A log has a head from the moment it is known, the cosigned head of no records: so a head that was
taken away is found, and nothing is cosigned in its place. The head is on disk before the answer leaves
(C2SP tlog-witness), and its own cosignatures prove it when it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import (
    NOTE_BYTES,
    Checkpoint,
    Note,
    checkpoint_text,
    good_name,
    read_checkpoint_text,
    require_signed,
)
from gatewright.ledger.notes import NAME_BYTES, NoteKey
from gatewright.ledger.witnessing import (
    Cosigner,
    Declined,
    KnownLog,
    cosign,
    decide,
    empty_head,
    latest_time,
    read_submission,
    response_lines,
    submitted_head,
)
from gatewright.operations.files import read_file
from gatewright.releases.fields import Fields

WITNESS_FORMAT = 1
WITNESS_FILE = "witness.json"
LOGS = 1_024
SETTINGS_BYTES = 65_536
SECOND = 10**9

_CODE = "operations.witness-file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One opened witness. ``turn`` lets one submission in at a time; only one process serves a folder."""

    folder: Path
    name: str
    cosigners: tuple[Cosigner, ...]
    now: Callable[[], Instant]
    write: Callable[[Path, bytes], None]
    turn: AbstractContextManager[object]

    @property
    def keys(self) -> tuple[NoteKey, ...]:
        """Its public keys."""
        return tuple(each.key for each in self.cosigners)

    def log_file(self, origin: str) -> Path:
        """Where what is known of a log stands."""
        return self.folder / "logs" / f"{file_name(origin)}.json"

    def head_file(self, origin: str) -> Path:
        """Where the head of a log stands that was cosigned last."""
        return self.folder / "heads" / file_name(origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A log that the witness knows, with the head that it cosigned last and when (POSIX seconds)."""

    log: KnownLog
    head: Checkpoint
    time: int


def file_name(origin: str) -> str:
    """The name that a log has among files and in addresses: no origin is ever a path."""
    return Digest.of(origin.encode()).hex


def settings(name: str) -> bytes:
    """``witness.json``. Raises Misuse for a name that no signature line can carry."""
    if not good_name(name) or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        raise Misuse(
            "operations.witness-name",
            f"{name[:80]!r} cannot name a witness.",
            next="Take a name without spaces and plus signs, such as witness.example/w1.",
        )
    return canonical.encode({"format": WITNESS_FORMAT, "name": name})


def read_settings(data: bytes) -> str:
    """The name in ``witness.json``; Misuse for a newer format, BadInput for anything else."""
    fields = Fields.read(canonical.decode(data), of=WITNESS_FILE, code=_CODE)
    found = fields.value.get("format")
    if isinstance(found, int) and found > WITNESS_FORMAT:
        raise Misuse(
            "operations.newer-witness",
            f"This witness has format {found}; this version of gatewright reads up to {WITNESS_FORMAT}.",
            next="Upgrade gatewright; nothing was changed.",
        )
    fields.exactly("format", "name").constant("format", WITNESS_FORMAT)
    return fields.text("name", most=NAME_BYTES)


def trust(witness: Witness, texts: tuple[str, ...]) -> tuple[KnownLog, ...]:
    """Know the logs of these verifier keys from now on; of a log that is known the keys are replaced.

    What was cosigned stays: keys may change, the history may not. Raises BadInput for keys that are
    none of a log, Misuse for too many logs.
    """
    keys = [NoteKey.parse(text) for text in texts]
    logs = [
        KnownLog(origin=origin, keys=tuple(key for key in keys if key.name == origin))
        for origin in dict.fromkeys(key.name for key in keys)
    ]
    fresh = [log for log in logs if not witness.log_file(log.origin).exists()]
    if sum(1 for _ in (witness.folder / "logs").glob("*.json")) + len(fresh) > LOGS:
        raise Misuse("operations.witness-logs", f"A witness knows at most {LOGS:,} logs.")
    for log in logs:
        with witness.turn:
            if log in fresh and not witness.head_file(log.origin).exists():
                _keep(witness, Note(text=_text(empty_head(log.origin)), signatures=()), 0)
            document: canonical.JsonObject = {
                "format": WITNESS_FORMAT,
                "keys": [key.text() for key in log.keys],
                "origin": log.origin,
            }
            witness.write(witness.log_file(log.origin), canonical.encode(document))
    return tuple(logs)


def add_checkpoint(witness: Witness, body: bytes) -> bytes | Declined:
    """Cosign the submitted head and return the signature lines, or say why not.

    The head is durable when this returns. Raises DependencyFailed when it could not be kept, and Tampered when what was
    cosigned last does not hold; in neither case is there a cosignature.
    """
    submission = read_submission(body)
    if isinstance(submission, Declined):
        return submission
    stated = submitted_head(submission)
    if isinstance(stated, Declined):
        return stated
    with witness.turn:
        log = known_log(witness, stated.origin)
        last, time = (empty_head(stated.origin), 0) if log is None else _head(witness, log.origin)
        found = decide(submission, log, last)
        if isinstance(found, Declined):
            return found
        return response_lines(_keep(witness, found.note, time), witness.keys)


def _keep(witness: Witness, note: Note, since: int) -> Note:
    """Cosign a note not earlier than ``since``, and keep it; only then it may be shown to anybody."""
    time = max(since, witness.now().ns // SECOND)
    cosigned = cosign(note, witness.cosigners, time)
    witness.write(witness.head_file(read_checkpoint_text(note.text).origin), cosigned.encode())
    return cosigned


def _text(head: Checkpoint) -> bytes:
    return checkpoint_text(head.origin, head.size, head.root)


def known_log(witness: Witness, origin: str) -> KnownLog | None:
    """What is known of a log, or None. Raises Tampered for a file that is not what was written."""
    path = witness.log_file(origin)
    if not path.exists():
        return None
    return _read_log(path)


def _read_log(path: Path) -> KnownLog:
    try:
        fields = Fields.read(
            canonical.decode(read_file(path, limit=SETTINGS_BYTES)), of=path.name, code=_CODE
        )
        fields.exactly("format", "keys", "origin").constant("format", WITNESS_FORMAT)
        texts = fields.value["keys"]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise fields.refuse("keys", "a list of verifier keys")
        keys = tuple(NoteKey.parse(text) for text in texts)
        log = KnownLog(origin=fields.text("origin", most=NAME_BYTES), keys=keys)
    except BadInput as error:
        raise _broken(path, error.refusal.sentence()) from None
    if path.stem != file_name(log.origin):
        raise _broken(path, "It is about another log than its name says.")
    return log


def _head(witness: Witness, origin: str) -> tuple[Checkpoint, int]:
    """What was cosigned last for a known log, and when: believed by the witness's own keys."""
    path = witness.head_file(origin)
    try:
        note = Note.decode(read_file(path, limit=NOTE_BYTES))
        signed = {key for key, _ in require_signed(note, witness.keys)}
        head = read_checkpoint_text(note.text)
    except GatewrightError as error:
        raise _broken(path, error.refusal.sentence()) from None
    if head.origin != origin or signed != set(witness.keys):
        raise _broken(path, "It is not what this witness cosigned last for this log.")
    return head, latest_time(note, witness.keys)


def _broken(path: Path, why: str) -> Tampered:
    return Tampered(
        "operations.witness-broken",
        "What this witness keeps of a log does not hold; nothing of that log is cosigned.",
        why=why,
        next="Put the file back from a backup of the same day, or begin with a new witness of another name.",
        place=str(path),
    )


def cosigned_note(witness: Witness, name: str) -> bytes | None:
    """The note that was cosigned last for the log with this file name; None where nothing was."""
    path = witness.folder / "logs" / f"{name}.json"
    if not path.exists():
        return None
    log = _read_log(path)
    if not _head(witness, log.origin)[0].size:
        return None
    return read_file(witness.head_file(log.origin), limit=NOTE_BYTES)


def seen(witness: Witness) -> Iterator[Seen]:
    """Every log that the witness knows, with what it cosigned last, by file name."""
    for path in sorted((witness.folder / "logs").glob("*.json")):
        log = _read_log(path)
        head, time = _head(witness, log.origin)
        yield Seen(log=log, head=head, time=time)
