"""A log receipt holds for exactly its prediction, in exactly its place; every other part in it is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Checkpoint
from gatewright.ledger.log_receipts import LogReceipt, Sealed, require_kept, sealed_in, verify_log_receipt
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tree import inclusion_path, leaf_hash, root_of
from gatewright.testing.signers import SeedSigner

WORKER = SeedSigner("worker")
NOW = Instant(1_772_546_700 * 10**9)
SEGMENTS = ("00-a", "01-b")
RECORDS = 5
"""Predictions in each segment, in batches of three and two."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """Two sealed segments in a small log."""

    leaves: tuple[bytes, ...]
    head: Checkpoint
    proofs: tuple[LogReceipt, ...]


def prediction(segment: str, seq: int) -> bytes:
    """A leaf of a segment."""
    return PredictionRecord(
        seq=seq,
        segment=segment,
        time=NOW,
        endpoint="loans",
        release=Digest.of(b"r"),
        plan=1,
        key="k",
        request="",
        input=Digest.of(b"i"),
        output=Digest.of(b"o"),
    ).encode()


def batched(segment: str, leaves: list[bytes]) -> list[Receipt]:
    """A receipt of every leaf, in batches of three."""
    made = []
    for first in range(0, len(leaves), 3):
        part = [leaf_hash(leaf) for leaf in leaves[first : first + 3]]
        statement = BatchStatement(
            segment=segment, first=first, size=len(part), root=root_of(part), worker=WORKER.public.id
        ).encode()
        made += [
            Receipt(
                leaf=leaves[first + at],
                statement=statement,
                signature=WORKER.sign(statement),
                path=inclusion_path(part, at),
                input_salt=bytes(32),
                output_salt=bytes(32),
            )
            for at in range(len(part))
        ]
    return made


def sealed(seq: int, segment: str, root: bytes, records: int = RECORDS) -> bytes:
    """The record of a segment."""
    body = {
        "id": segment,
        "worker": WORKER.public.id,
        "records": records,
        "root": root.hex(),
        "file": "ab" * 32,
        "first": str(NOW),
        "last": str(NOW),
        "total": records,
    }
    draft = Draft(kind="predictions.sealed", actor="p", subject=segment, body=body)
    return Record(seq=seq, time=NOW, draft=draft).encode()


@cache
def log() -> Log:
    """The log, with a proof of every prediction."""
    segments = {name: [prediction(name, seq) for seq in range(RECORDS)] for name in SEGMENTS}
    hashes = {name: [leaf_hash(leaf) for leaf in leaves] for name, leaves in segments.items()}
    other = Record(seq=0, time=NOW, draft=Draft(kind="home.opened", actor="p", subject="home")).encode()
    records = [sealed(seq, name, root_of(found)) for seq, (name, found) in enumerate(hashes.items(), start=1)]
    leaves = (other, *records)
    tree = [leaf_hash(leaf) for leaf in leaves]
    proofs = tuple(
        LogReceipt(
            token=receipt.token(),
            segment_path=inclusion_path(hashes[name], seq),
            index=index,
            record=leaves[index],
            path=inclusion_path(tree, index),
            checkpoint=b"a note that the caller believes\n",
        )
        for index, name in enumerate(SEGMENTS, start=1)
        for seq, receipt in enumerate(batched(name, segments[name]))
    )
    head = Checkpoint(origin="example.com/log", size=len(leaves), root=root_of(tree))
    return Log(leaves=leaves, head=head, proofs=proofs)


def verified(proof: LogReceipt) -> tuple[PredictionRecord, Sealed]:
    """Verified by the worker's key under the log's head."""
    return verify_log_receipt(proof, WORKER.public, log().head)


@pytest.mark.parametrize("number", range(2 * RECORDS))
def test_every_prediction_is_proven(number: int) -> None:
    """The proof says which prediction it is, and which record its segment is."""
    proof = log().proofs[number]
    promised, record = verified(proof)
    assert divmod(number, RECORDS) == (record.index - 1, promised.seq)
    assert proof == LogReceipt.decode(proof.encode())


@given(
    one=st.integers(0, 2 * RECORDS - 1),
    other=st.integers(0, 2 * RECORDS - 1),
    part=st.sampled_from(["token", "segment_path", "index", "record", "path"]),
)
def test_no_part_of_another_proof_fits(one: int, other: int, part: str) -> None:
    """With a part that is that of another prediction, the proof does not hold: it binds this very leaf."""
    mine, theirs = log().proofs[one], log().proofs[other]
    mixed = replace(mine, **{part: getattr(theirs, part)})
    if mixed == mine:
        verified(mixed)
        return
    with pytest.raises(Tampered) as caught:
        verified(mixed)
    assert caught.value.refusal.place


def _shorter(proof: LogReceipt) -> LogReceipt:
    return replace(proof, path=proof.path[:-1])


def _root(proof: LogReceipt) -> LogReceipt:
    return replace(proof, record=sealed(1, SEGMENTS[0], bytes(32)))


def _fewer(proof: LogReceipt) -> LogReceipt:
    return replace(proof, record=sealed(1, SEGMENTS[0], bytes(32), records=2))


def _kind(proof: LogReceipt) -> LogReceipt:
    return replace(proof, index=0, record=log().leaves[0])


def _number(proof: LogReceipt) -> LogReceipt:
    return replace(proof, index=2)


def _nothing(proof: LogReceipt) -> LogReceipt:
    return replace(proof, record=b"{}")


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (_shorter, "path"),
        (_root, "segment_path"),
        (_fewer, "record 1"),
        (_kind, "record"),
        (_number, "index"),
        (_nothing, "record"),
    ],
)
def test_what_does_not_hold_is_named(spoil: Callable[[LogReceipt], LogReceipt], place: str) -> None:
    """The first part that does not hold is the place of the refusal."""
    with pytest.raises(Tampered) as caught:
        verified(spoil(log().proofs[0]))
    assert place == caught.value.refusal.place


def test_a_smaller_or_other_head_does_not_prove() -> None:
    """The same proof under a head of fewer records, or of another root, does not hold."""
    for head in (replace(log().head, size=2), replace(log().head, root=bytes(32))):
        with pytest.raises(Tampered, match="is not under the checkpoint"):
            verify_log_receipt(log().proofs[0], WORKER.public, head)


def test_another_worker_did_not_promise_it() -> None:
    """A key that is not the one the receipt names verifies nothing."""
    with pytest.raises(Tampered):
        verify_log_receipt(log().proofs[0], SeedSigner("other").public, log().head)


def test_a_whole_batch_must_be_the_segment() -> None:
    """Where the signed batch is the whole segment, its root alone convicts a record with another root."""
    leaves = [prediction("00-a", seq) for seq in range(3)]
    (receipt, *_) = batched("00-a", leaves)
    promised = PredictionRecord.decode(receipt.leaf)
    root = root_of([leaf_hash(leaf) for leaf in leaves])
    honest = Sealed.of(Record.decode(sealed(1, "00-a", root, records=3)))
    assert honest is not None
    require_kept(receipt, promised, honest)
    for broken in (replace(honest, root=bytes(32)), replace(honest, records=2), replace(honest, segment="x")):
        with pytest.raises(Tampered):
            require_kept(receipt, promised, broken)


def test_a_sealed_record_is_read_or_refused() -> None:
    """Records of other kinds are none; a body that does not say what was sealed is refused."""
    proof = log().proofs[0]
    assert SEGMENTS[0] == sealed_in(proof).segment
    assert Sealed.of(Record.decode(log().leaves[0])) is None
    for body in (
        {},
        {"id": "a", "worker": "w", "records": True, "root": "ab" * 32, "first": "x", "last": "x"},
    ):
        draft = Draft(kind="predictions.sealed", actor="p", subject="a", body=body)
        with pytest.raises(GatewrightError):
            Sealed.of(Record(seq=1, time=NOW, draft=draft))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"kind":"gatewright.log-receipt"}',
        b'{"format":2,"kind":"gatewright.log-receipt"}',
        b"x" * 3_000_000,
    ],
)
def test_what_is_no_proof_is_bad_input(data: bytes) -> None:
    """Other documents, other formats, and files longer than any proof."""
    with pytest.raises(BadInput):
        LogReceipt.decode(data)
