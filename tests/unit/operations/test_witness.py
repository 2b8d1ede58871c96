"""The witness's folder: what it knows, what it keeps before it answers, and what it does not believe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.assembly.witnesses import create_witness, open_witness
from gatewright.kernel.errors import BadInput, DependencyFailed, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Note, read_checkpoint_text
from gatewright.ledger.notes import cosigned_at
from gatewright.ledger.witnessing import Declined, Ground, Submission, read_response
from gatewright.operations import witness
from gatewright.operations.witness import Witness, file_name
from unit.ledger.submitting_log import ORIGIN, SubmittingLog

LOG = SubmittingLog()
LOG_KEYS = tuple(key.text() for key in LOG.known.keys)
CLIMBING = "../../etc/passwd"


@pytest.fixture
def opened(tmp_path: Path) -> Witness:
    """A witness that knows the log."""
    create_witness(tmp_path / "w1", "audit.example/w1")
    made = open_witness(tmp_path / "w1")
    witness.trust(made, LOG_KEYS)
    return made


def submit(opened: Witness, old: int, size: int, log: SubmittingLog = LOG) -> bytes | Declined:
    """Submit a head of a log."""
    return witness.add_checkpoint(opened, log.submission(old, size).encode())


def size_of(opened: Witness) -> int:
    """How many records it cosigned last."""
    return next(witness.seen(opened)).head.size


def test_a_head_is_kept_before_it_is_answered(opened: Witness) -> None:
    """The answer's lines stand in the file already, and hold for the head."""
    lines = submit(opened, 0, 7)
    assert isinstance(lines, bytes)
    kept = opened.head_file(ORIGIN).read_bytes()
    assert kept.endswith(lines)
    assert LOG.head(7) == read_checkpoint_text(Note.decode(kept).text)
    assert 2 == len(read_response(Note.decode(kept), lines, opened.keys).signatures) - 2


def test_a_witness_goes_on_where_it_was_when_it_is_opened_again(opened: Witness) -> None:
    """Another process sees what the first cosigned, and declines a fork of it."""
    submit(opened, 0, 7)
    again = open_witness(opened.folder)
    forked = SubmittingLog(fork="other", differs=5)
    found = submit(again, 7, 9, forked)
    assert isinstance(found, Declined)
    assert (Ground.BAD_PROOF, 7) == (found.ground, size_of(again))
    assert isinstance(submit(again, 7, 9), bytes)


def test_nothing_is_answered_when_nothing_was_kept(opened: Witness) -> None:
    """A disk that fails means no cosignature, and the old head stands."""
    submit(opened, 0, 7)

    def full(path: Path, _: bytes) -> None:
        raise DependencyFailed("storage.disk-full", f"Could not write {path.name}.", why="The disk is full.")

    before = opened.head_file(ORIGIN).read_bytes()
    with pytest.raises(DependencyFailed):
        submit(replace(opened, write=full), 7, 9)
    assert before == opened.head_file(ORIGIN).read_bytes()
    assert isinstance(submit(opened, 7, 9), bytes)


def test_the_times_of_one_log_never_go_back(opened: Witness) -> None:
    """A clock that is set back does not date a cosignature before the one before it."""
    clock = [1_800_000_000, 1_700_000_000, 1_800_000_001]
    timed = replace(opened, now=lambda: Instant(clock.pop(0) * 10**9))
    times = []
    for size in (1, 2, 3):
        submit(timed, size - 1, size)
        times.append(next(witness.seen(opened)).time)
    assert [1_800_000_000, 1_800_000_000, 1_800_000_001] == times


SPOIL: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "a flipped bit": lambda path: path.write_bytes(
        path.read_bytes()[:20] + bytes([path.read_bytes()[20] ^ 1]) + path.read_bytes()[21:]
    ),
    "without its own cosignatures": lambda path: path.write_bytes(LOG.note(3).encode()),
}


@pytest.mark.parametrize("how", SPOIL)
def test_a_head_that_does_not_hold_stops_the_log(opened: Witness, how: str) -> None:
    """A head that is gone or was changed is named, and nothing is cosigned in its place."""
    submit(opened, 0, 7)
    SPOIL[how](opened.head_file(ORIGIN))
    for old, size in ((0, 3), (7, 9)):
        with pytest.raises(Tampered) as refused:
            submit(opened, old, size)
        assert "operations.witness-broken" == refused.value.code


def test_a_head_of_another_log_does_not_stand_in(opened: Witness) -> None:
    """One log's head, properly cosigned, is not taken for another's."""
    two = SubmittingLog(origin="log.example/two")
    witness.trust(opened, tuple(key.text() for key in two.known.keys))
    submit(opened, 0, 7)
    opened.head_file(two.origin).write_bytes(opened.head_file(ORIGIN).read_bytes())
    with pytest.raises(Tampered):
        submit(opened, 0, 3, two)
    assert isinstance(submit(opened, 7, 8), bytes)


def test_what_is_known_of_a_log_is_checked(opened: Witness) -> None:
    """A file about another log, of another form or of none is not believed."""
    path = opened.log_file(ORIGIN)
    two = SubmittingLog(origin="log.example/two")
    witness.trust(opened, tuple(key.text() for key in two.known.keys))
    for content in (
        opened.log_file(two.origin).read_bytes(),
        b"{}",
        b"",
        b'{"format":9,"keys":[],"origin":""}',
    ):
        path.write_bytes(content)
        with pytest.raises(Tampered):
            submit(opened, 0, 7)


def test_an_origin_is_never_a_path(opened: Witness) -> None:
    """An origin that climbs is one more log, kept under its digest inside the folder."""
    climbing = SubmittingLog(origin=CLIMBING)
    assert Ground.UNKNOWN_LOG is getattr(submit(opened, 0, 1, climbing), "ground", None)
    witness.trust(opened, tuple(key.text() for key in climbing.known.keys))
    assert isinstance(submit(opened, 0, 1, climbing), bytes)
    names = {path.name for path in (opened.folder / "heads").iterdir()}
    assert {file_name(ORIGIN), file_name(CLIMBING)} == names
    assert [] == list(opened.folder.parent.rglob("passwd"))


def test_trusting_a_log_again_replaces_its_keys_and_keeps_its_head(opened: Witness) -> None:
    """New keys sign an extension of what the old ones signed; the old ones sign no more."""
    submit(opened, 0, 7)
    rotated = SubmittingLog(seed="rotated")
    witness.trust(opened, tuple(key.text() for key in rotated.known.keys))
    assert 7 == size_of(opened)
    assert Ground.UNKNOWN_KEY is getattr(submit(opened, 7, 8), "ground", None)
    assert isinstance(submit(opened, 7, 9, rotated), bytes)


def test_a_lost_list_of_keys_does_not_lose_the_head(opened: Witness) -> None:
    """A log that must be made known again goes on from the head that was cosigned last."""
    submit(opened, 0, 7)
    opened.log_file(ORIGIN).unlink()
    witness.trust(opened, LOG_KEYS)
    assert 7 == size_of(opened)


def test_a_log_that_was_never_cosigned_shows_nothing(opened: Witness) -> None:
    """Until the first head there is no note to fetch, and none for a log that is not known."""
    assert None is witness.cosigned_note(opened, file_name(ORIGIN))
    assert None is witness.cosigned_note(opened, file_name("log.example/two"))
    submit(opened, 0, 7)
    note = witness.cosigned_note(opened, file_name(ORIGIN))
    assert note == opened.head_file(ORIGIN).read_bytes()


def test_a_witness_knows_a_bounded_number_of_logs(opened: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """One log too many is refused before anything of it is kept."""
    monkeypatch.setattr(witness, "LOGS", 2)
    logs = [SubmittingLog(origin=f"log.example/{number}") for number in range(2)]
    texts = tuple(key.text() for log in logs for key in log.known.keys)
    with pytest.raises(Misuse, match="at most 2 logs"):
        witness.trust(opened, texts)
    assert 1 == len(list(witness.seen(opened)))


@pytest.mark.parametrize("name", ["", "two words", "plus+sign", "line\nbreak", "bell\x07", "x" * 256])
def test_a_name_that_no_line_can_carry_is_refused(name: str) -> None:
    """A witness's name fits into a signature line."""
    with pytest.raises(Misuse):
        witness.settings(name)


def test_settings_of_a_newer_version_are_refused() -> None:
    """A folder of a newer format is left alone, and other content is no witness."""
    assert "w1" == witness.read_settings(witness.settings("w1"))
    with pytest.raises(Misuse, match="Upgrade"):
        witness.read_settings(b'{"format":2,"name":"w1"}')
    for content in (b"", b"[]", b'{"format":1}', b'{"format":1,"more":1,"name":"w1"}'):
        with pytest.raises(BadInput):
            witness.read_settings(content)


def test_a_submission_is_bound_to_its_head(opened: Witness) -> None:
    """The proof of one head does not do for another."""
    submit(opened, 0, 5)
    mixed = Submission(old=5, proof=LOG.proof(5, 9), note=LOG.note(8).encode())
    found = witness.add_checkpoint(opened, mixed.encode())
    assert Ground.BAD_PROOF is getattr(found, "ground", None)


def test_the_time_of_a_cosignature_is_that_of_the_clock(opened: Witness) -> None:
    """Both lines carry the same time, in POSIX seconds."""
    timed = replace(opened, now=lambda: Instant(1_800_000_000 * 10**9 + 999))
    lines = submit(timed, 0, 1)
    assert isinstance(lines, bytes)
    note = read_response(LOG.note(1), lines, opened.keys)
    assert [1_800_000_000] * 2 == [cosigned_at(line.signature) for line in note.signatures[2:]]
