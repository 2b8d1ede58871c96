"""The witness over HTTP: each ground has the status that the standard gives it, and nothing else is answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewright.http.witness import STATUS
from gatewright.ledger.checkpoints import Note
from gatewright.ledger.notes import NoteKey
from gatewright.ledger.witnessing import SUBMISSION_BYTES, Ground, Submission, read_response
from gatewright.operations.witness import file_name
from scenario.witness_world import WitnessProcess, made_witness, served_witness
from unit.ledger.submitting_log import SubmittingLog

LOGS = {name: SubmittingLog(origin=f"log.example/{name}") for name in ("statuses", "reading", "twice")}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WitnessProcess]:
    """One served witness that knows a log for each story."""
    folder = made_witness(tmp_path_factory.mktemp("http") / "w1", *LOGS.values())
    with served_witness(folder) as made:
        yield made


def keys(served: WitnessProcess) -> list[NoteKey]:
    """The witness's public keys, from the file that it gives away."""
    return [NoteKey.parse(line) for line in (served.folder / "witness.pub").read_text("utf-8").splitlines()]


def test_every_ground_has_its_status() -> None:
    """The table knows each ground, with the statuses of C2SP tlog-witness."""
    assert set(Ground) == STATUS.keys()
    assert {400, 403, 404, 409, 422} == set(STATUS.values())


def test_statuses_are_those_of_the_standard(served: WitnessProcess) -> None:
    """200 with two lines; 404, 403, 400, 409 with the size, 409 for another root, 422: each for its ground."""
    log = LOGS["statuses"]
    forked = SubmittingLog(origin=log.origin, fork="other", differs=2)
    first = served.submit(log, 0, 5)
    assert (200, "text/plain; charset=utf-8") == (first.status, first.kind)
    submission = log.note(5)
    assert 4 == len(read_response(submission, first.body, keys(served)).signatures)
    assert 404 == served.submit(SubmittingLog(origin="log.example/nobody"), 0, 5).status
    assert 403 == served.submit(SubmittingLog(origin=log.origin, seed="stolen"), 5, 7).status
    assert 400 == served.submit(log, 9, 7).status
    behind = served.submit(log, 0, 7)
    assert (409, "text/x.tlog.size", b"5\n") == (behind.status, behind.kind, behind.body)
    other = served.submit(forked, 5, 5)
    assert (409, "text/x.tlog.size", b"5\n") == (other.status, other.kind, other.body)
    assert 422 == served.submit(forked, 5, 7).status
    assert 200 == served.submit(log, 5, 7).status
    assert 0 == served.submit(log, 7, 7).status - 200


def test_the_cosigned_head_can_be_read(served: WitnessProcess) -> None:
    """Whoever knows the origin's digest reads the newest cosigned note; before it there is none."""
    log = LOGS["reading"]
    place = f"/checkpoint/{file_name(log.origin)}"
    assert 404 == served.ask("GET", place).status
    lines = served.submit(log, 0, 3).body
    found = served.ask("GET", place)
    assert 200 == found.status
    assert log.text(3) == Note.decode(found.body).text
    assert found.body.endswith(lines)
    assert b"" == served.ask("HEAD", place).body


def test_nothing_else_is_answered(served: WitnessProcess) -> None:
    """Other paths are not there, other methods not allowed; a health path says that it lives."""
    assert (200, b"ok\n") == (served.ask("GET", "/health").status, served.ask("GET", "/health").body)
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/add-checkpoint", 405),
        ("PUT", "/add-checkpoint", 405),
        ("POST", "/health", 405),
        ("POST", "/add-checkpoint/", 404),
        ("GET", "/checkpoint/" + "0" * 63, 404),
        ("GET", "/checkpoint/" + "0" * 64, 404),
        ("GET", "/checkpoint/" + "A" * 64, 404),
        ("GET", "/checkpoint/../witness.json", 404),
        ("GET", "/checkpoint/%2e%2e/keys/witness-ed25519.pem", 404),
        ("GET", "/logs", 404),
    ):
        assert status == served.ask(method, path).status, (method, path)


def test_a_longer_body_than_allowed_is_not_read(served: WitnessProcess) -> None:
    """A body that announces more than the limit is refused from its head alone."""
    assert 413 == served.ask("POST", "/add-checkpoint", b"x" * (SUBMISSION_BYTES + 1)).status
    assert 400 == served.ask("POST", "/add-checkpoint", b"x" * SUBMISSION_BYTES).status


def test_the_same_head_twice_is_cosigned_twice(served: WitnessProcess) -> None:
    """Who lost the answer asks again with the size it submitted, and gets cosignatures again."""
    log = LOGS["twice"]
    note = log.note(4)
    first = served.ask("POST", "/add-checkpoint", Submission(old=0, proof=(), note=note.encode()).encode())
    again = served.ask("POST", "/add-checkpoint", Submission(old=4, proof=(), note=note.encode()).encode())
    assert [200, 200] == [first.status, again.status]
    for answer in (first, again):
        assert 4 == len(read_response(note, answer.body, keys(served)).signatures)


def test_a_witness_ends_when_it_is_told(tmp_path: Path) -> None:
    """SIGTERM ends it with 0, and the folder can be served again."""
    folder = made_witness(tmp_path / "w1")
    for _ in range(2):
        with served_witness(folder) as made:
            assert 0 == made.end()
