"""A promise is kept, broken or not covered yet: told from the receipt and the log alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gatewright.deployments.plan import Recording
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Note
from gatewright.ledger.notes import NoteKey, SignatureType
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tree import inclusion_path, leaf_hash, root_of
from gatewright.ledger.witnessing import Cosigner, cosign
from gatewright.operations.log_promises import LIMIT_S, SECOND, WINDOW_S, held_against
from gatewright.testing.signers import SeedSigner
from unit.operations.log_files import trust_root, write_log

WORKER, WITNESS = SeedSigner("worker"), SeedSigner("witness")
PROMISED = Instant(1_772_546_700 * SECOND)
SEGMENT = "00-promised"
OTHERS = 300
"""Records before the interesting ones: more than a bundle."""


def after(seconds: int) -> Instant:
    """So long after the promise."""
    return Instant(PROMISED.ns + seconds * SECOND)


def promise(recording: str = Recording.DURABLE) -> tuple[str, bytes]:
    """The token of the second of three predictions, which are a whole batch, and their root."""
    record = PredictionRecord(
        seq=0,
        segment=SEGMENT,
        time=PROMISED,
        endpoint="loans",
        release=Digest.of(b"r"),
        plan=1,
        key="k",
        request="",
        input=Digest.of(b"i"),
        output=Digest.of(b"o"),
        recording=recording,
    )
    leaves = [replace(record, seq=seq).encode() for seq in range(3)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    statement = BatchStatement(
        segment=SEGMENT, first=0, size=3, root=root_of(hashes), worker=WORKER.public.id
    ).encode()
    receipt = Receipt(
        leaf=leaves[1],
        statement=statement,
        signature=WORKER.sign(statement),
        path=inclusion_path(hashes, 1),
        input_salt=bytes(32),
        output_salt=bytes(32),
    )
    return receipt.token(), root_of(hashes)


def noted(time: Instant) -> tuple[Instant, Draft]:
    """A record about something else."""
    return time, Draft(kind="test.noted", actor="p", subject="other")


def sealed(time: Instant, segment: str, root: bytes = bytes(32), records: int = 4) -> tuple[Instant, Draft]:
    """A record of a segment whose predictions are of that time."""
    body = {
        "id": segment,
        "worker": WORKER.public.id,
        "records": records,
        "root": root.hex(),
        "file": "ab" * 32,
        "first": str(time),
        "last": str(time),
        "total": 4,
    }
    return time, Draft(kind="predictions.sealed", actor="p", subject=segment, body=body)


def log_of(folder: Path, *records: tuple[Instant, Draft]) -> Path:
    """A log of other records from before the promise, and then these."""
    every = [*([noted(after(-60))] * OTHERS), *records]
    leaves = [Record(seq=seq, time=time, draft=draft).encode() for seq, (time, draft) in enumerate(every)]
    return write_log(folder, leaves)


def broken(folder: Path) -> str:
    """Where the promise had to be."""
    with pytest.raises(Tampered) as caught:
        held_against(promise()[0], folder, trust_root())
    return caught.value.refusal.place.partition(" (")[0]


def test_a_kept_promise_is_found(tmp_path: Path) -> None:
    """The segment is recorded: its record is named, and what the log alone does not show is said."""
    found = held_against(promise()[0], log_of(tmp_path, sealed(PROMISED, SEGMENT)), trust_root())
    assert (True, OTHERS) == (found.facts["covered"], found.facts["record"])
    assert "evidence receipt" in found.sentence


@pytest.mark.parametrize("recorded", [(bytes(32), 3), (promise()[1], 2)])
def test_fewer_or_other_predictions_than_promised_convict(
    tmp_path: Path, recorded: tuple[bytes, int]
) -> None:
    """A record of the segment with fewer predictions, or another root for the whole batch, is where it broke."""
    root, records = recorded
    assert f"record {OTHERS}" == broken(log_of(tmp_path, sealed(PROMISED, SEGMENT, root, records)))


def test_later_predictions_convict(tmp_path: Path) -> None:
    """A log with predictions that are later by more than the window convicts, at the first of their records."""
    later = after(WINDOW_S + 1)
    folder = log_of(tmp_path, sealed(after(1), "01-near"), noted(later), sealed(later, "02-later"))
    assert f"record {OTHERS + 2}" == broken(folder)


def test_a_day_convicts(tmp_path: Path) -> None:
    """A log that goes on for more than a day without the promise convicts, whatever it goes on with."""
    assert f"record {OTHERS + 1}" == broken(
        log_of(tmp_path, noted(after(WINDOW_S + 1)), noted(after(LIMIT_S + 1)))
    )


@pytest.mark.parametrize(
    "records",
    [
        (),
        (noted(after(LIMIT_S)),),
        (sealed(after(WINDOW_S), "01-near"),),
        (sealed(after(1), "01-near"), noted(after(WINDOW_S + 1))),
    ],
)
def test_what_is_not_covered_convicts_nobody(
    tmp_path: Path, records: tuple[tuple[Instant, Draft], ...]
) -> None:
    """A log that ends before, or goes on no longer than a killed worker may take, is told as that."""
    found = held_against(promise()[0], log_of(tmp_path, *records), trust_root())
    assert (False, OTHERS + len(records)) == (found.facts["covered"], found.facts["records"])
    assert found.sentence.startswith("Not yet covered")


def test_an_empty_log_covers_nothing(tmp_path: Path) -> None:
    """A log without records is no reproach."""
    assert not held_against(promise()[0], write_log(tmp_path, ()), trust_root()).facts["covered"]


def test_what_was_recorded_after_the_answer_may_be_lost(tmp_path: Path) -> None:
    """Asynchronous recording promises no record: it is told, and convicts nobody."""
    folder = log_of(tmp_path, sealed(after(LIMIT_S + 1), "02-later"))
    found = held_against(promise(Recording.ASYNCHRONOUS)[0], folder, trust_root())
    assert not found.facts["covered"]
    assert "asynchronous" in found.sentence


def test_a_witness_who_saw_the_log_a_day_later_convicts(tmp_path: Path) -> None:
    """A log that stands still, cosigned more than a day after the promise, convicts: times of records are the owner's."""
    key = NoteKey(name="witness", type=SignatureType.ED25519_COSIGNATURE, raw=WITNESS.public.raw())
    folder = log_of(tmp_path)
    place = folder / "checkpoint"
    note = Note.decode(place.read_bytes())
    for seconds, covered in ((LIMIT_S, None), (LIMIT_S + 1, f"record {OTHERS}")):
        time = after(seconds).ns // SECOND
        place.write_bytes(cosign(note, [Cosigner(key=key, sign=WITNESS.sign)], time).encode())
        if covered is None:
            assert not held_against(promise()[0], folder, trust_root(key.text())).facts["covered"]
            continue
        with pytest.raises(Tampered) as caught:
            held_against(promise()[0], folder, trust_root(key.text()))
        assert covered == caught.value.refusal.place
