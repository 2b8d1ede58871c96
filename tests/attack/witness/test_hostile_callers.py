"""Callers who want a witness to cosign two histories, to forget one, or to stop answering."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.ledger.checkpoints import Note
from gatewright.ledger.notes import SignatureType
from gatewright.ledger.witnessing import SUBMISSION_BYTES
from gatewright.operations.witness import file_name
from scenario.witness_world import CALL_S, WitnessProcess, made_witness, served_witness
from unit.ledger.submitting_log import SubmittingLog

CALLERS = 200
IDLE = 300
CURVE = (SignatureType.ED25519,)
NAMES = ("bodies", "race", "ladder", "idle", "../../../tmp/climbs", "line")
LOGS = {name: SubmittingLog(origin=f"log.example/{name}", types=CURVE) for name in NAMES}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WitnessProcess]:
    """One witness for all attacks; afterwards it must still answer, and its folder hold nothing else."""
    folder = made_witness(tmp_path_factory.mktemp("attacked") / "w1", *LOGS.values())
    with served_witness(folder) as made:
        yield made
        assert 200 == made.ask("GET", "/health").status
        heads = {file_name(log.origin) for log in LOGS.values()}
        assert heads == {path.name for path in (folder / "heads").iterdir()}
        assert {"logs", "heads", "keys", "witness.json", "witness.pub", "lock"} == {
            path.name for path in folder.iterdir()
        }
        assert 0 == made.end()


def raw(served: WitnessProcess, data: bytes) -> bytes:
    """What comes back for bytes that no HTTP library would send."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=CALL_S) as call:
        call.sendall(data)
        call.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := call.recv(65_536):
                found += piece
        return found


def head_of(served: WitnessProcess, log: SubmittingLog) -> bytes:
    """What the witness cosigned last of a log; empty where nothing."""
    found = served.ask("GET", f"/checkpoint/{file_name(log.origin)}")
    return Note.decode(found.body).text if found.status == 200 else b""


def test_no_malformed_body_is_cosigned(served: WitnessProcess) -> None:
    """A valid submission, cut short or changed at every place of its frame, is never cosigned and moves nothing."""
    log = LOGS["bodies"]
    assert 200 == served.submit(log, 0, 3).status
    body = log.submission(3, 7).encode()
    frame = body.index(log.note(7).text)
    spoiled = [body[:end] for end in range(0, len(body), 7)]
    spoiled += [body[:at] + bytes([body[at] ^ 2]) + body[at + 1 :] for at in range(frame)]
    spoiled += [body.replace(b"old 3", b"old 03"), body.replace(b"\n", b"\r\n"), b"\n" + body, body + b"\n"]
    spoiled += [b"\xef\xbb\xbf" + body, body.replace(b"\n\n", b"\n\n\n", 1), body.decode().encode("utf-16")]
    statuses = Counter(served.ask("POST", "/add-checkpoint", each).status for each in spoiled)
    assert 0 == statuses[200] + statuses[500] + statuses[503], statuses
    assert log.text(3) == head_of(served, log)


def test_signature_lines_of_every_length_are_read_or_refused(served: WitnessProcess) -> None:
    """Many, empty, doubled and strange signature lines beside the log's own neither stop it nor count."""
    log = LOGS["line"]
    note = log.note(2).encode()
    line = note.splitlines()[-1]
    for lines, status in (
        (line + b"\n" + "\u2014 x AAAAAAA=\n".encode(), 200),
        ((line + b"\n") * 100, 200),
        ((line + b"\n") * 101, 400),
        ("\u2014 x \n".encode() + line + b"\n", 400),
        ("\u2014 x AAAA\n".encode() + line + b"\n", 400),
        (line, 400),
        (b"", 400),
        (b"\n" + line + b"\n", 400),
    ):
        old = 2 if head_of(served, log) else 0
        body = f"old {old}\n\n".encode() + log.text(2) + b"\n" + lines
        assert status == served.ask("POST", "/add-checkpoint", body).status, lines[:80]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\n\r\n", b"411"),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nold 0\r\n0\r\n\r\n",
            b"411",
        ),
        (b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n", b"413"),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            % (SUBMISSION_BYTES + 1),
            b"413",
        ),
        (b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", b"400"),
        (
            b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
            b"400",
        ),
        (b"GET /health HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),
        (b"old 0\n\n", b"400"),
    ],
)
def test_what_is_no_bounded_request_is_turned_away(
    served: WitnessProcess, request_bytes: bytes, status: bytes
) -> None:
    """A body of unknown or excessive length, a head too large and other protocols get one short answer."""
    assert status == raw(served, request_bytes).split(b" ", 2)[1]


def test_half_requests_do_not_keep_others_out(served: WitnessProcess) -> None:
    """Hundreds of callers who begin a request and never end it leave the witness answering."""
    log = LOGS["idle"]
    with contextlib.ExitStack() as stack:
        for number in range(IDLE):
            call = stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=CALL_S))
            call.sendall(
                b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 5000\r\n\r\nold 0"
                if number % 2
                else b"POST /add-checkpoint HT"
            )
        assert 200 == served.submit(log, 0, 2).status
    assert 200 == served.submit(log, 2, 5).status


def test_of_200_forks_at_once_one_is_cosigned(served: WitnessProcess) -> None:
    """200 callers submit 200 histories of one size at the same moment: one wins, all others are told its size."""
    log = LOGS["race"]
    forks = [replace(log, fork=f"fork {number}", differs=1) for number in range(CALLERS)]
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(lambda fork: served.submit(fork, 0, 3), forks))
    assert {200: 1, 409: CALLERS - 1} == Counter(each.status for each in answers)
    assert {b"3\n"} == {each.body for each in answers if each.status == 409}
    won = forks[[each.status for each in answers].index(200)]
    assert won.text(3) == head_of(served, log)


def test_200_heads_at_once_never_go_back(served: WitnessProcess) -> None:
    """Heads of one honest log that arrive in any order leave the witness at one that it answered, and no smaller."""
    log = LOGS["ladder"]
    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(lambda size: served.submit(log, 0, size), range(1, CALLERS + 1)))
    cosigned = [size for size, each in enumerate(answers, 1) if each.status == 200]
    assert 1 == len(cosigned)
    assert log.text(cosigned[0]) == head_of(served, log)


def test_an_origin_that_climbs_stays_in_the_folder(served: WitnessProcess) -> None:
    """A log whose name is a path is one more log; a log of a longer name is none."""
    log = LOGS["../../../tmp/climbs"]
    assert 200 == served.submit(log, 0, 2).status
    assert not Path("/tmp/climbs").exists()  # noqa: S108 - where it would have climbed to
    for origin in ("x" * 5_000, "\u202egnp.exe", "a/../b", "\U0001f512"):
        body = b"old 0\n\n" + log.note(2).encode().replace(log.origin.encode(), origin.encode())
        assert 404 == served.ask("POST", "/add-checkpoint", body).status
