from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.kernel.errors import BadInput, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import SEAL_KIND, BatchStatement
from gatewright.ledger.segments import (
    BATCH,
    MAGIC,
    RECORD,
    SEAL,
    Payload,
    SegmentHeader,
    open_payload,
    open_segment,
    pack_frame,
    pack_payload,
    pack_record,
    pack_statement,
    scan,
    unwrap_key,
    verify_segment,
    wrap_key,
)
from gatewright.ledger.tree import EMPTY_ROOT, leaf_hash, root_of
from unit.ledger.test_receipts import WORKER, record

HOME_KEY, DATA_KEY = bytes(range(32)), bytes(32)
HEADER = SegmentHeader(
    segment="s-1",
    worker=WORKER.public.id,
    opened=Instant.parse("2026-03-03T14:05:00Z"),
    wrapped_key=wrap_key(HOME_KEY, DATA_KEY, segment="s-1", nonce=b"n" * 12),
)
CIPHER = AESGCM(DATA_KEY)
WORKERS = {WORKER.public.id: WORKER.public}


def batch(first: int, size: int) -> bytes:
    """Records and the statement that closes them."""
    leaves = [record(first + each).encode() for each in range(size)]
    frames = [
        pack_record(CIPHER, first + each, leaf, pack_payload(b"s" * 64, b"in", b"out"))
        for each, leaf in enumerate(leaves)
    ]
    root = root_of([leaf_hash(leaf) for leaf in leaves])
    return b"".join(frames) + statement(BATCH, first=first, size=size, root=root)


def statement(kind: int, *, first: int, size: int, root: bytes, segment: str = "s-1") -> bytes:
    """A signed BATCH or SEAL frame."""
    named = {"kind": SEAL_KIND} if kind == SEAL else {}
    written = BatchStatement(
        segment=segment, first=first, size=size, root=root, worker=WORKER.public.id, **named
    ).encode()
    return pack_statement(kind, written, WORKER.sign(written))


def seal(size: int) -> bytes:
    """The closing statement over the first records."""
    root = root_of([leaf_hash(record(each).encode()) for each in range(size)])
    return statement(SEAL, first=0, size=size, root=root)


START = open_segment(HEADER)
WHOLE = START + batch(0, 2) + batch(2, 3)


def test_a_whole_segment_is_read() -> None:
    """Leaves, hashes, batches and root of a sealed segment come back, and its signatures hold."""
    found = scan(WHOLE + seal(5))

    assert tuple(record(each).encode() for each in range(5)) == found.leaves
    assert tuple(leaf_hash(leaf) for leaf in found.leaves) == found.leaf_hashes
    assert [(0, 2), (2, 3)] == [(each.first, each.size) for each in found.batches]
    assert root_of(found.leaf_hashes) == found.root
    assert (HEADER, None, True) == (found.header, found.torn, found.sealed)
    verify_segment(found, WORKERS)


def test_an_empty_segment_is_whole() -> None:
    """A segment with nothing but its header is whole and has the root of the empty tree."""
    found = scan(START)

    assert (None, (), EMPTY_ROOT, len(START)) == (found.torn, found.leaves, found.root, found.good_bytes)


def test_a_tail_cut_at_any_byte_of_the_last_batch_is_found_and_cut() -> None:
    """However much of the last batch is missing, the scan ends at the batch before it and says so."""
    good = len(START + batch(0, 2))
    for length in range(good + 1, len(WHOLE)):
        found = scan(WHOLE[:length])
        assert good == found.good_bytes
        assert 2 == len(found.leaves)
        assert found.torn is not None
        assert "ledger.segment-torn" == found.torn.code


def test_any_garbled_byte_is_found() -> None:
    """No byte of a sealed segment can change without the scan or the verification saying so."""
    whole = WHOLE + seal(5)
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :]
        try:
            found = scan(changed)
        except Tampered:
            continue
        assert found.torn is not None
        assert found.good_bytes <= place


def test_a_garbled_byte_keeps_the_longest_good_prefix() -> None:
    """Damage in the last batch leaves the batches before it untouched."""
    good = len(START + batch(0, 2))
    for place in range(good, len(WHOLE)):
        found = scan(WHOLE[:place] + bytes([WHOLE[place] ^ 1]) + WHOLE[place + 1 :])
        assert (good, 2) == (found.good_bytes, len(found.leaves))


@pytest.mark.parametrize(
    "data", [b"", MAGIC, b"GWSEGv2\n" + START[8:], MAGIC + pack_frame(RECORD, b"x"), START[:40]]
)
def test_without_a_header_it_is_no_segment(data: bytes) -> None:
    """A file that does not begin as a segment is refused outright."""
    with pytest.raises(Tampered):
        scan(data)


def test_statements_cannot_be_moved() -> None:
    """Batches that are swapped, repeated, dropped or of another segment end the scan before them."""
    other = statement(BATCH, first=0, size=2, root=scan(START + batch(0, 2)).root, segment="s-2")
    for data in (
        batch(2, 3) + batch(0, 2),
        batch(2, 3),
        pack_frame(9, b""),
        other,
        statement(BATCH, first=0, size=1, root=EMPTY_ROOT),
    ):
        assert len(START) == scan(START + data).good_bytes
    assert len(START + batch(0, 2)) == scan(START + batch(0, 2) * 2).good_bytes


def test_records_without_a_batch_do_not_count() -> None:
    """A record that no statement signs is reported, not counted."""
    loose = pack_record(CIPHER, 0, record(0).encode(), b"")

    found = scan(START + loose)

    assert ((), len(START)) == (found.leaves, found.good_bytes)
    assert found.torn is not None


def test_a_segment_cut_between_batches_lost_its_seal() -> None:
    """Cutting whole batches off a sealed segment is noticed, because the seal goes with them."""
    with pytest.raises(Tampered) as caught:
        verify_segment(scan(START + batch(0, 2)), WORKERS)
    assert "ledger.segment-unsealed" == caught.value.code


def test_a_batch_statement_is_no_seal() -> None:
    """The statement of the only batch cannot be put in the place of the seal."""
    one = START + batch(0, 2)
    written = scan(one).batches[0]

    found = scan(one + pack_statement(SEAL, written.statement, written.signature))

    assert not found.sealed
    assert len(one) == found.good_bytes


def test_nothing_follows_a_seal() -> None:
    """What stands after the seal is torn."""
    sealed = WHOLE + seal(5)

    assert len(sealed) == scan(sealed + batch(5, 1)).good_bytes


def test_foreign_and_false_signatures_are_named() -> None:
    """Verification names the statement whose signature does not hold, and keys nobody certified."""
    good = scan(WHOLE + seal(5))
    written = good.batches[0].statement
    start = len(START) + sum(
        len(pack_record(CIPHER, each, record(each).encode(), pack_payload(b"s" * 64, b"in", b"out")))
        for each in range(2)
    )
    forged = WHOLE[:start] + pack_statement(BATCH, written, bytes(64)) + batch(2, 3) + seal(5)

    with pytest.raises(Tampered) as caught:
        verify_segment(scan(forged), WORKERS)
    assert "s-1, batch 0" == caught.value.refusal.place
    with pytest.raises(Tampered):
        verify_segment(good, {})


def test_payloads_open_with_the_right_key_and_place_only() -> None:
    """A payload opens under its own key, number and leaf, and under nothing else."""
    found = scan(WHOLE)
    key = unwrap_key(HOME_KEY, found.header)

    opened = open_payload(key, 1, found.leaves[1], found.ciphertexts[1])

    assert Payload(input_salt=b"s" * 32, output_salt=b"s" * 32, inputs=b"in", outputs=b"out") == opened
    for wrong in ((HOME_KEY, 1, 1), (key, 0, 1), (key, 1, 0)):
        with pytest.raises(Tampered):
            open_payload(wrong[0], wrong[1], found.leaves[wrong[2]], found.ciphertexts[1])
    with pytest.raises(Tampered):
        unwrap_key(DATA_KEY, found.header)


def test_headers_are_read_strictly() -> None:
    """A header survives its encoding, and other JSON is no header."""
    assert HEADER == SegmentHeader.decode(HEADER.encode())
    for data in (b"{}", HEADER.encode().replace(b'"format":1', b'"format":2'), b"[]"):
        with pytest.raises(BadInput):
            SegmentHeader.decode(data)
