from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.commitments import commit
from gatewright.ledger.receipts import (
    SEAL_KIND,
    BatchStatement,
    PredictionRecord,
    Receipt,
    batch_paths,
    format_leaf,
    leaf_parts,
    matches,
    quote,
    receipt_id,
    verify_receipt,
)
from gatewright.ledger.tree import inclusion_path, leaf_hash, root_of
from gatewright.testing.signers import SeedSigner

WORKER = SeedSigner("worker")
SALTS = (b"i" * 32, b"o" * 32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
RECORDS = st.builds(
    PredictionRecord,
    seq=st.integers(0, 2**40),
    segment=TEXT,
    time=st.integers(0, 2**62).map(Instant),
    endpoint=TEXT,
    release=st.binary(max_size=4).map(Digest.of),
    plan=st.integers(0, 2**40),
    key=TEXT,
    request=TEXT,
    input=st.binary(max_size=4).map(Digest.of),
    output=st.binary(max_size=4).map(Digest.of),
)


def record(seq: int = 0) -> PredictionRecord:
    """A record about the tensors "inputs" and "outputs"."""
    return PredictionRecord(
        seq=seq,
        segment="s-1",
        time=Instant.parse("2026-03-03T14:05:00Z"),
        endpoint="tumour",
        release=Digest.of(b"release"),
        plan=7,
        key="key-1",
        request="q-1",
        input=commit(SALTS[0], b"inputs"),
        output=commit(SALTS[1], b"outputs"),
    )


def receipt(place: int = 2, size: int = 5, first: int = 10) -> Receipt:
    """The receipt of one leaf of a batch."""
    leaves = [record(first + each).encode() for each in range(size)]
    hashes = [leaf_hash(leaf) for leaf in leaves]
    statement = BatchStatement(
        segment="s-1", first=first, size=size, root=root_of(hashes), worker=WORKER.public.id
    ).encode()
    return Receipt(
        leaf=leaves[place],
        statement=statement,
        signature=WORKER.sign(statement),
        path=inclusion_path(hashes, place),
        input_salt=SALTS[0],
        output_salt=SALTS[1],
    )


@settings(max_examples=60, deadline=None)
@given(RECORDS)
def test_records_survive_and_fast_leaves_are_canonical(found: PredictionRecord) -> None:
    """A record survives its encoding, and the fast way to write the leaf gives the same bytes."""
    leaf = found.encode()
    fast = format_leaf(
        leaf_parts(endpoint=found.endpoint, key=found.key, plan=found.plan, release=found.release),
        digests=(found.input.hex, found.output.hex),
        request=quote(found.request),
        segment=quote(found.segment),
        seq=found.seq,
        time=str(found.time),
    )

    assert leaf == fast
    assert found == PredictionRecord.decode(leaf)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"kind": "other"},
        {"seq": True},
        {"plan": "7"},
        {"more": 1},
        {"time": "2026-03-03"},
        {"key": 3},
    ],
)
def test_a_leaf_of_another_form_is_refused(change: dict[str, object]) -> None:
    """A leaf with a wrong, missing or additional field is no prediction record."""
    value = canonical.decode(record().encode()) | change

    with pytest.raises(BadInput):
        PredictionRecord.decode(canonical.encode(value))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40))
def test_batch_paths_equal_the_tree(size: int) -> None:
    """Roots and paths of a batch are those of RFC 9162, for every leaf of every size."""
    hashes = [leaf_hash(bytes([each])) for each in range(size)]

    root, paths = batch_paths(hashes)

    assert root_of(hashes) == root
    assert [b"".join(inclusion_path(hashes, each)) for each in range(size)] == paths


@pytest.mark.parametrize(("place", "size"), [(0, 1), (0, 2), (2, 5), (4, 5), (31, 32)])
def test_a_receipt_travels_as_a_token_and_verifies(place: int, size: int) -> None:
    """A receipt read back from its token is the same receipt and gives the record it promises."""
    held = Receipt.parse(receipt(place, size).token())

    assert receipt(place, size) == held
    assert record(10 + place) == verify_receipt(held, WORKER.public)
    assert f"s-1/{10 + place}" == held.id == receipt_id(held.token())


def test_every_changed_character_of_a_token_is_noticed() -> None:
    """No character of a token can be changed without the receipt being refused."""
    token = receipt(0, 3).token()
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        changed = token[:place] + other + token[place + 1 :]
        with pytest.raises((BadInput, Tampered)):
            accept(changed)


def accept(token: str) -> None:
    """What a holder does: read, verify, compare with their tensors."""
    held = Receipt.parse(token)
    verify_receipt(held, WORKER.public)
    if not matches(held, b"inputs", b"outputs"):
        raise Tampered("test.other-tensors", "The salts do not open the commitments.")


def test_every_shortened_token_is_refused() -> None:
    """A token that was cut anywhere is refused."""
    token = receipt(0, 3).token()
    for length in range(len(token)):
        with pytest.raises(BadInput):
            Receipt.parse(token[:length])


@pytest.mark.parametrize("token", ["", "gwr1.", "gwr2.AAAA", "gwr1.ä", "gwr1.A A", "gwr1." + "A" * 200_000])
def test_other_texts_are_no_receipts(token: str) -> None:
    """Text that is not a receipt is refused as bad input, not with a crash."""
    with pytest.raises(BadInput):
        Receipt.parse(token)


def test_the_place_of_the_damage_is_named() -> None:
    """A refusal names which part of the receipt does not hold."""
    good = receipt()
    other = SeedSigner("other")
    sealing = BatchStatement(
        segment="s-1", first=12, size=1, root=leaf_hash(good.leaf), worker=WORKER.public.id, kind=SEAL_KIND
    ).encode()
    cases = {
        "leaf": replace(good, leaf=b"{}"),
        "signature": replace(good, signature=bytes(64)),
        "path": replace(good, path=good.path[:-1]),
        "statement": replace(good, statement=sealing, signature=WORKER.sign(sealing), path=()),
    }
    for place, broken in cases.items():
        with pytest.raises(Tampered) as caught:
            verify_receipt(broken, WORKER.public)
        assert place == caught.value.refusal.place
    with pytest.raises(Tampered) as caught:
        verify_receipt(good, other.public)
    assert "statement" == caught.value.refusal.place


def test_a_leaf_cannot_take_another_place() -> None:
    """A leaf with the path of its neighbour is not under the signed root."""
    first, second = receipt(0, 2), receipt(1, 2)

    with pytest.raises(Tampered):
        verify_receipt(replace(first, path=second.path), WORKER.public)


def test_a_receipt_matches_its_tensors_only() -> None:
    """The salts open the commitments for exactly these tensors."""
    held = receipt()

    assert matches(held, b"inputs", b"outputs")
    assert not matches(held, b"inputs", b"output")
    assert not matches(held, b"outputs", b"inputs")
    assert not matches(replace(held, input_salt=b"x" * 32), b"inputs", b"outputs")
