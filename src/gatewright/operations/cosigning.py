"""Having the newest head of a home's log cosigned by its witnesses (C2SP tlog-witness, the log's side).

What they answer is kept below ``.gatewright/witnessed``: the note of each witness, and as ``checkpoint`` the
newest note with enough cosignatures. A witness that saw more than there is, or something else, and
shows the head with this log's own signature, has proved that this log was rewritten or put back: that is
written to ``fork.json``, beside which nothing is recorded until a person has said so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Refusal, Tampered
from gatewright.ledger.checkpoints import Checkpoint, Note, NoteSignature
from gatewright.ledger.notes import NoteKey
from gatewright.ledger.proofs import verify_consistency
from gatewright.ledger.witnessing import Submission, latest_time, read_response
from gatewright.operations.files import file_failures
from gatewright.operations.forks import FORK_FILE
from gatewright.operations.home import Home
from gatewright.operations.witnessed import FOLDER, NEWEST, SECOND, Witnessed, coverage, kept_notes, own_file
from gatewright.releases.heads import Head, open_head
from gatewright.releases.trust import TrustRoot

ASKED_FILE = "witnessed/asked.json"
ASKED_FORMAT = 1
FORK_FORMAT = 1
AHEAD = "operations.witness-ahead"
AHEAD_S = 86_400
"""How far the clock of a witness may be ahead of this machine's."""
TRIES = 2
"""How often one head is submitted: once more where the witness names another size than is kept."""
COSIGNED, CONFLICT, BAD_PROOF = 200, 409, 422

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a witness answered: HTTP status and body."""

    status: int
    body: bytes


class WitnessLine(Protocol):
    """The way to one witness. Both calls raise DependencyFailed where it does not answer in time."""

    def submit(self, body: bytes) -> Reply:
        """``POST add-checkpoint``."""
        ...

    def head(self, origin: str) -> bytes:
        """The note that it cosigned last for a log; empty where it shows none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came of one round: how many records, who cosigned them all, and what went wrong, by witness."""

    size: int
    cosigned: tuple[str, ...]
    problems: Mapping[str, Refusal]


def require_lines(trust: TrustRoot, named: Sequence[str]) -> dict[str, Refusal]:
    """A problem for each witness of the trust root that has no address."""
    names = sorted({key.name for key in trust.witness_keys})
    return {
        name: Refusal(
            code="operations.witness-address",
            what=f"No address of the witness {name} is known.",
            next="gatewright witness use URL KEY…",
        )
        for name in names
        if name not in named
    }


def cosign_newest(home: Home, lines: Mapping[str, WitnessLine]) -> Round:
    """Submit the newest head to every witness of the trust root at once, and keep what comes back.

    Nobody is asked again who cosigned this head already. Takes as long as the slowest witness may.
    Where another process had a newer head cosigned meanwhile, the newest is submitted once more.
    """
    found = _one_round(home, lines)
    if any(problem.code == AHEAD for problem in found.problems.values()):
        found = _one_round(home, lines)
    return found


def _one_round(home: Home, lines: Mapping[str, WitnessLine]) -> Round:
    kept = _believed(home)  # before the newest head is read: no honest one is larger
    data = home.archive.checkpoint()
    note, head = Note.decode(data), open_head(data, home.trust)
    names = sorted({key.name for key in home.trust.witness_keys})
    mine = {name: kept.get(f"{FOLDER}/{own_file(home.folder, name).name}") for name in names}
    asked = [name for name in names if name in lines and not _covers(mine[name], head, name)]
    asking = _Asking(home, note, head.checkpoint)
    problems = require_lines(home.trust, tuple(lines))
    if asked:
        with ThreadPoolExecutor(len(asked), thread_name_prefix="witness") as pool:
            answers = dict(
                zip(
                    asked,
                    pool.map(lambda name: asking.ask(name, lines[name], mine[name]), asked),
                    strict=True,
                )
            )
        problems |= {name: found for name, found in answers.items() if isinstance(found, Refusal)}
        _keep(home, {name: found for name, found in answers.items() if isinstance(found, Note)})
    _tell(home, problems)
    newest = witnesses(home)
    return Round(
        size=head.checkpoint.size,
        cosigned=tuple(one.witness for one in newest if one.size == head.checkpoint.size),
        problems=problems,
    )


def _believed(home: Home) -> dict[str, Head]:
    """The kept heads of this log that hold, by place; the verifier names those that do not."""
    found: dict[str, Head] = {}
    for place, note in kept_notes(home.folder).items():
        with suppress(BadInput, Tampered):
            head = open_head(note, home.trust, revoked_too=True)
            if head.checkpoint.origin == home.origin:
                found[place] = head
    return found


def witnesses(home: Home) -> tuple[Witnessed, ...]:
    """What each witness of the home cosigned last; 0 records where nothing is kept of it."""
    covered = {one.witness: one for one in coverage(_believed(home).values())}
    names = sorted({key.name for key in home.trust.witness_keys})
    return tuple(covered.get(name) or Witnessed(witness=name, size=0, time=0) for name in names)


def _covers(kept: Head | None, head: Head, name: str) -> bool:
    return (
        kept is not None
        and kept.checkpoint == head.checkpoint
        and any(one.witness == name for one in kept.cosigned)
    )


class _Asking:
    """One head on its way to the witnesses, each in a thread of its own; the archive is read by one at a time."""

    def __init__(self, home: Home, note: Note, head: Checkpoint) -> None:
        self._home = home
        self._note = note
        self._head = head
        self._reading = Lock()

    def ask(self, name: str, line: WitnessLine, kept: Head | None) -> Note | Refusal:
        """The note with this witness's cosignatures, or why there is none."""
        try:
            if kept is not None and not self._extends(kept.checkpoint):
                return self._forked(
                    name, kept.checkpoint, kept_notes(self._home.folder)[_place(self._home, name)]
                )
            return self._submit(name, line, 0 if kept is None else kept.checkpoint.size)
        except GatewrightError as error:
            return error.refusal

    def _submit(self, name: str, line: WitnessLine, old: int) -> Note | Refusal:
        keys = [key for key in self._home.trust.witness_keys if key.name == name]
        for _ in range(TRIES):
            proof = self._proof(old)
            reply = line.submit(Submission(old=old, proof=proof, note=self._note.encode()).encode())
            if reply.status == COSIGNED:
                return self._in_time(name, read_response(self._note, reply.body, keys), keys)
            if reply.status == BAD_PROOF:
                return self._contradicted(name, line, old)
            if reply.status != CONFLICT:
                return _refused(name, reply)
            latest = _size(name, reply)
            if latest > self._head.size or latest == old:
                return self._contradicted(name, line, latest)
            old = latest
        return _refused(name, reply)

    def _in_time(self, name: str, note: Note, keys: Sequence[NoteKey]) -> Note | Refusal:
        """The note, unless the witness says that it cosigned it in the future."""
        if latest_time(note, keys) <= self._home.now().ns // SECOND + AHEAD_S:
            return note
        return Refusal(
            code="operations.witness-time",
            what=f"The witness {name} cosigned with a time that is more than a day ahead; it is not kept.",
            why="Its time says when the head was seen, and others judge by it.",
            next="Ask who runs it to set its clock; or set the clock of this machine.",
        )

    def _proof(self, first: int) -> tuple[bytes, ...]:
        with self._reading:
            return self._home.archive.consistency(first, self._head.size)

    def _extends(self, before: Checkpoint) -> bool:
        """Whether the log as it is now, which may be longer than the head on its way, extends a head."""
        with self._reading:
            archive = self._home.archive
            now = open_head(archive.checkpoint(), self._home.trust).checkpoint
            return before.size <= now.size and verify_consistency(
                first=before.size,
                second=now.size,
                first_root=before.root,
                second_root=now.root,
                path=archive.consistency(before.size, now.size),
            )

    def _contradicted(self, name: str, line: WitnessLine, size: int) -> Refusal:
        """A witness says that it cosigned something which this log does not extend; its note must show it."""
        note = line.head(self._home.origin)
        with suppress(BadInput, Tampered):
            shown = open_head(note, self._home.trust, revoked_too=True)
            mine = shown.checkpoint.origin == self._home.origin and not shown.revoked
            if mine and not self._extends(shown.checkpoint):
                return self._forked(name, shown.checkpoint, note)
            if mine and size == shown.checkpoint.size > self._head.size:
                return Refusal(code=AHEAD, what=f"The witness {name} cosigned a newer head meanwhile.")
        return Refusal(
            code="operations.witness-claim",
            what=f"The witness {name} did not cosign: it says that it saw {size} records that are not in this log.",
            why="It shows no head of this size that this log signed, so it proves nothing.",
            next="Ask who runs it what it keeps of this log.",
        )

    def _forked(self, name: str, seen: Checkpoint, note: bytes) -> Refusal:
        """Write down that this log was rewritten or put back: with the head that it signed itself."""
        fact: canonical.JsonObject = {
            "checkpoint": note.decode(),
            "format": FORK_FORMAT,
            "origin": seen.origin,
            "size": seen.size,
            "witness": name,
        }
        place = self._home.folder / FORK_FILE
        with self._reading:
            if not place.exists():
                self._home.write(place, canonical.encode(fact))
        return Refusal(
            code="operations.log-contradicted",
            what=f"The witness {name} cosigned {seen.size} records that this log does not begin with.",
            why="This log signed that head: since then it was rewritten, or the home was put back.",
            next="Run: gatewright verify",
            place=str(place),
        )


def _place(home: Home, name: str) -> str:
    return f"{FOLDER}/{own_file(home.folder, name).name}"


def _size(name: str, reply: Reply) -> int:
    found = _SIZE.fullmatch(reply.body)
    if found is None:
        raise DependencyFailed(
            "operations.witness-answer", f"The witness {name} did not say how many records it cosigned last."
        )
    return int(found[1])


def _refused(name: str, reply: Reply) -> Refusal:
    said = reply.body[:300].decode("utf-8", "replace")
    return Refusal(
        code="operations.witness-refused",
        what=f"The witness {name} did not cosign: it answered {reply.status}.",
        why=f"It said: {said}" if said else "",
        next="A witness that does not know this log, or not its present keys, is given trust.json: "
        "gatewright witness trust FOLDER trust.json",
    )


def _keep(home: Home, answers: Mapping[str, Note]) -> None:
    """Keep each witness's note, then the newest with enough cosignatures under one name."""
    if not answers:
        return
    with file_failures("keep what witnesses cosigned", home.folder):
        (home.folder / FOLDER).mkdir(mode=0o700, exist_ok=True)
    for name, note in answers.items():
        home.write(own_file(home.folder, name), note.encode())
    heads = _believed(home)
    merged = _merged(home, heads)
    if merged is not None:
        home.write(home.folder / FOLDER / NEWEST, merged)


def _merged(home: Home, heads: Mapping[str, Head]) -> bytes | None:
    """The note to keep as the newest: the largest head with a quorum, else the largest that any witness saw."""
    notes = kept_notes(home.folder)
    by_text: dict[bytes, dict[tuple[str, bytes], NoteSignature]] = {}
    for place in heads:
        note = Note.decode(notes[place])
        lines = by_text.setdefault(note.text, {})
        for each in note.signatures:  # of each key the first line, however often it was asked
            lines.setdefault((each.name, each.key_id), each)
    merged = [Note(text=text, signatures=tuple(lines.values())).encode() for text, lines in by_text.items()]
    found = [(open_head(note, home.trust, revoked_too=True), note) for note in merged]
    least = max(1, home.trust.quorum)
    ranked = max(found, key=lambda one: (len(one[0].cosigned) >= least, one[0].checkpoint.size), default=None)
    return None if ranked is None or notes.get(f"{FOLDER}/{NEWEST}") == ranked[1] else ranked[1]


def _tell(home: Home, problems: Mapping[str, Refusal]) -> None:
    """Leave word for ``status``, where it changed."""
    place = home.folder / ASKED_FILE
    said: canonical.JsonObject = {
        "format": ASKED_FORMAT,
        "problems": {name: one.sentence() for name, one in sorted(problems.items())},
    }
    content = canonical.encode(said)
    if (place.read_bytes() if place.exists() else b"") == content or not (problems or place.exists()):
        return
    with file_failures("keep what witnesses said", home.folder):
        place.parent.mkdir(mode=0o700, exist_ok=True)
    home.write(place, content)


def problems_told(folder: Path) -> dict[str, str]:
    """What went wrong when witnesses were asked last, a sentence for each; nothing where that is unreadable."""
    try:
        said = canonical.decode((folder / ASKED_FILE).read_bytes())
    except (OSError, BadInput):
        return {}
    problems = said.get("problems") if isinstance(said, dict) else None
    if not isinstance(problems, dict):
        return {}
    return {name: str(text) for name, text in problems.items()}
