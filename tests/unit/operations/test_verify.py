"""Verifying: which file is what, and where a receipt may stand."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt
from gatewright.ledger.tree import leaf_hash
from gatewright.operations import receipt_verification, release_verification, released, verify
from gatewright.operations.answers import saved_in
from gatewright.operations.home import Home
from gatewright.releases.statement import WorkerKey
from gatewright.releases.worker_keys import certify
from gatewright.testing.signers import SeedSigner
from unit.releases.workshop import NOW, SIGNERS, TRUST

TOKEN = "gwr1.abc-_123"  # noqa: S105 - the form of a receipt, no secret


@pytest.mark.parametrize(
    "content",
    [
        TOKEN,
        f"  {TOKEN}\r\n",
        json.dumps({"receipt": TOKEN}),
        json.dumps(TOKEN) + "\n",
        json.dumps({"model_name": "m", "outputs": [], "parameters": {"receipt": TOKEN, "batch": 1}}),
        json.dumps({"parameters": {"receipt": TOKEN}}, indent=4) + "\n",
    ],
)
def test_a_receipt_is_found(content: str) -> None:
    """The token alone and the whole answer that carried it both do."""
    assert TOKEN == saved_in(content.encode()).token


@pytest.mark.parametrize(
    "content",
    [
        "", "{}", "[]", "null", "3", '"gwr2.x"', '"gwr1.x', '["gwr1.x"]', '{"parameters": {}}', '{"parameters": null}', '{"receipt": 3}',
        '{"parameters": {"receipt": null}}', '{"parameters": []}', "not json", "\xff\xfe", "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_bad_input(content: str) -> None:
    """Anything else says what to save instead, however it is shaped."""
    with pytest.raises(BadInput, match=r"parameters\.receipt"):
        saved_in(content.encode("latin-1"))


@given(content=st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_any_bytes_give_a_token_or_bad_input(content: bytes) -> None:
    """No bytes make it fail in another way."""
    with suppress(BadInput):
        assert isinstance(saved_in(content).token, str)


def test_files_are_told_apart_by_content(live: Home, tmp_path: Path) -> None:
    """An export, a ledger and a receipt are recognised whatever they are called."""
    folder = released.export(live, "loans", tmp_path / "x.txt")
    assert "release" == verify.what_is(folder)
    assert "ledger" == verify.what_is(live.folder / "ledger.db")
    note = tmp_path / "ledger.db"
    note.write_text(TOKEN)
    assert "receipt" == verify.what_is(note)
    with pytest.raises(Misuse, match="release export"):
        verify.what_is(tmp_path)


def test_an_export_holds_and_each_problem_has_its_file(live: Home, tmp_path: Path) -> None:
    """The problem is told with the name of the exported file, not with a place inside an envelope."""
    folder = released.export(live, "loans@1", tmp_path / "out")
    assert "loans@1" == release_verification.release_folder(folder, live.trust).facts["model"]
    for name in ("model.sig", "release.pub", "statements/decision-loans.dsse.json", "release/report.json"):
        place = folder / name
        original = place.read_bytes()
        middle = len(original) // 2
        place.write_bytes(original[:middle] + bytes((original[middle] ^ 1,)) + original[middle + 1 :])
        with pytest.raises(Tampered) as caught:
            release_verification.release_folder(folder, live.trust)
        assert Path(name).name in caught.value.refusal.sentence()
        place.write_bytes(original)


def test_an_approval_taken_away_is_missed(live: Home, tmp_path: Path) -> None:
    """A deployment decision names the approvals it rests on; without one the export does not hold."""
    folder = released.export(live, "loans@1", tmp_path / "out")
    (approval,) = (folder / "statements").glob("approval-*")
    approval.unlink()
    with pytest.raises(Tampered, match=approval.name):
        release_verification.release_folder(folder, live.trust)


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ("durable", ""),
        ("asynchronous", "Recorded asynchronously: the answer left before its record was on the disk"),
        ("shadow-agrees", f"The shadow of endpoint loans ran on {str(NOW)[:10]}"),
        ("shadow-agrees", "It answered nobody; it agreed with the answer with the receipt seg/7."),
        ("shadow-differs", "it differed from the answer with the receipt seg/7."),
        ("later", "Recorded as 'later'."),
    ],
)
def test_how_a_prediction_was_recorded_is_said(recording: str, expected: str) -> None:
    """Whoever verifies a receipt reads whether it was recorded after the answer, or is a shadow's."""
    signer = SeedSigner("worker")
    leaf = PredictionRecord(
        seq=0, segment="s", time=NOW, endpoint="loans", release=Digest.of(b"r"), plan=1, key="k",
        request="seg/7", input=Digest.of(b"i"), output=Digest.of(b"o"), recording=recording,
    ).encode()  # fmt: skip
    statement = BatchStatement(
        segment="s", first=0, size=1, root=leaf_hash(leaf), worker=signer.public.id
    ).encode()
    receipt = Receipt(
        leaf=leaf,
        statement=statement,
        signature=signer.sign(statement),
        path=(),
        input_salt=bytes(32),
        output_salt=bytes(32),
    )
    worker = WorkerKey(public=signer.public, valid_from=NOW, origin=TRUST.origin)
    found = receipt_verification.receipt(
        saved_in(receipt.token().encode()), TRUST, [certify(worker, SIGNERS)]
    )
    assert expected in found.sentence
    assert (recording == "durable") == ("ecorded" not in found.sentence and "nobody" not in found.sentence)
