"""Why a prediction has no proof yet, and what is broken where it should have one; the rest is a scenario."""

from __future__ import annotations

import pytest

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Note, NoteSignature, checkpoint_text
from gatewright.ledger.receipts import PredictionRecord
from gatewright.operations.log_receipts import _not_recorded, head_of, verify_proof
from gatewright.releases.heads import log_keys
from unit.operations.log_files import LOG, LOG_PQ, ORIGIN, trust_root


def promised(recording: str = "durable") -> PredictionRecord:
    """A prediction whose segment no record names."""
    return PredictionRecord(
        seq=0,
        segment="00-a",
        time=Instant(0),
        endpoint="loans",
        release=Digest.of(b"r"),
        plan=1,
        key="k",
        request="",
        input=Digest.of(b"i"),
        output=Digest.of(b"o"),
        recording=recording,
    )


@pytest.mark.parametrize(
    ("recording", "file", "kind", "code"),
    [
        ("durable", (b"", False), Misuse, "operations.not-sealed-yet"),
        ("durable", (b"", True), Misuse, "operations.not-collected-yet"),
        ("asynchronous", None, Misuse, "operations.never-recorded"),
        ("durable", None, Tampered, "operations.prediction-missing"),
    ],
)
def test_why_it_is_not_in_the_log(
    recording: str, file: tuple[bytes, bool] | None, kind: type[GatewrightError], code: str
) -> None:
    """On its way is wrong use for now, lost without a promise is said, lost against a promise is tampering."""
    found = _not_recorded(promised(recording), file)
    assert (kind, code, "segment 00-a") == (type(found), found.code, found.refusal.place)
    assert found.refusal.next


def test_the_checkpoint_of_a_proof_is_named_where_it_does_not_hold() -> None:
    """A note that is none, of another log, or signed by one of the two log keys alone."""
    text = checkpoint_text(ORIGIN, 1, bytes(32))
    trust = trust_root()
    other = trust_root().origin.encode()
    half = Note(text=text, signatures=(_line(text),)).encode()
    for note in (b"", b"nothing\n", half, half.replace(other, b"example.com/gol")):
        with pytest.raises(Tampered) as caught:
            head_of(note, trust)
        assert "checkpoint" == caught.value.refusal.place


def _line(text: bytes) -> NoteSignature:
    """One of the two lines that a head has."""
    key = log_keys(ORIGIN, LOG.public, LOG_PQ.public)[0]
    return key.line(LOG.sign(key.message(text)))


def test_what_is_no_proof_is_bad_input() -> None:
    """A file of another kind says nothing about the evidence."""
    with pytest.raises(BadInput):
        verify_proof(b'{"kind":"other"}', trust_root(), ())
