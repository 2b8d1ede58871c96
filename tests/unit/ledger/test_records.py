"""Record format v1: the frozen bytes, the law of the round trip, and what is no record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import LEAF_BYTES, Draft, Record, place_in

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
records = st.builds(
    Record,
    seq=st.integers(0, 2**53 - 1),
    time=st.integers(0, 253_402_300_799 * 10**9).map(Instant),
    draft=st.builds(
        Draft,
        kind=st.from_regex(r"[a-z]+(-[a-z]+){0,2}\.[a-z]+(-[a-z]+){0,2}", fullmatch=True),
        actor=texts,
        subject=texts,
        body=st.dictionaries(
            texts, st.integers(-9, 9) | texts | st.lists(st.booleans(), max_size=3), max_size=4
        ),
        commitments=st.dictionaries(texts, st.binary(max_size=4).map(Digest.of), max_size=3),
    ),
)

EXAMPLE = Record(
    seq=7,
    time=Instant.parse("2026-03-03T14:05:00Z"),
    draft=Draft(
        kind="model.added",
        actor="ada",
        subject="breast-cancer@2",
        body={"size": 1.0, "format": "onnx"},
        commitments={"note": Digest.of(b"abc")},
    ),
)
FROZEN = (
    b'{"actor":"ada","body":{"format":"onnx","size":1},"commitments":{"note":'
    b'"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},"kind":"model.added",'
    b'"seq":7,"subject":"breast-cancer@2","time":"2026-03-03T14:05:00Z","v":1}'
)


def leaf(**changes: Any) -> bytes:
    """The frozen leaf with some fields changed."""
    return canonical.encode({**canonical.decode(FROZEN), **changes})


def test_the_frozen_format() -> None:
    """The bytes of a record are the ones that version 1 has always had."""
    assert FROZEN == EXAMPLE.encode()
    assert EXAMPLE == Record.decode(FROZEN)


@given(records)
def test_what_was_written_is_read_back(record: Record) -> None:
    """Decoding what was encoded gives an equal record."""
    assert record == Record.decode(record.encode())


@given(st.integers(0, len(FROZEN) - 1), st.integers(1, 255))
def test_a_changed_byte_is_never_the_same_record(index: int, change: int) -> None:
    """A leaf with one byte changed is no record, or a different one that encodes to those bytes."""
    changed = bytearray(FROZEN)
    changed[index] ^= change
    try:
        record = Record.decode(bytes(changed))
    except BadInput:
        return
    assert EXAMPLE != record
    assert changed == record.encode()


@pytest.mark.parametrize(
    "changed",
    [
        b"",
        b"[]",
        b"1",
        FROZEN + b"\n",
        FROZEN.replace(b":7", b": 7"),
        FROZEN.replace(b":7", b":7.0"),
        leaf(v=2),
        leaf(v=True),
        leaf(extra=1),
        leaf(seq=True),
        leaf(seq=-1),
        leaf(seq=1.5),
        leaf(seq=1e30),
        leaf(seq="7"),
        leaf(kind="Model.added"),
        leaf(kind=1),
        leaf(actor=1),
        leaf(subject=None),
        leaf(body=[]),
        leaf(commitments=[]),
        leaf(commitments={"note": "abc"}),
        leaf(commitments={"note": 1}),
        leaf(time=1),
        leaf(time="2026-03-03"),
        leaf(time="2026-03-03T14:05:00.000Z"),
        leaf(time="2026-03-03T15:05:00+01:00"),
        canonical.encode({"v": 1}),
        b"x" * (LEAF_BYTES + 1),
    ],
)
def test_what_is_no_record_is_refused(changed: bytes) -> None:
    """Anything that ``encode`` would not write is BadInput."""
    with pytest.raises(BadInput):
        Record.decode(changed)


@pytest.mark.parametrize(
    "kind", ["", "model", "model.", ".added", "model.Added", "model.added.twice", "m1.a"]
)
def test_bad_kinds_are_refused(kind: str) -> None:
    """A kind is ``subject.past-participle`` in lower-case letters."""
    with pytest.raises(BadInput):
        Record(seq=0, time=Instant(0), draft=Draft(kind=kind, actor="a", subject="b")).encode()


def test_a_leaf_fits_a_tile_entry() -> None:
    """A record of exactly 65,535 bytes is written and read; one byte more is refused."""
    empty = len(Record(seq=0, time=Instant(0), draft=Draft(kind="a.b", actor="", subject="")).encode())

    def sized(size: int) -> Record:
        draft = Draft(kind="a.b", actor="", subject="x" * (size - empty))
        return Record(seq=0, time=Instant(0), draft=draft)

    assert sized(LEAF_BYTES) == Record.decode(sized(LEAF_BYTES).encode())
    with pytest.raises(BadInput, match="65,535"):
        sized(LEAF_BYTES + 1).encode()


def careful(leaf: bytes) -> Record | None:
    """What the careful way alone reads."""
    try:
        return Record._decode(leaf)
    except BadInput:
        return None


def quick(leaf: bytes) -> Record | None:
    """What is read with the quick way first; the place in the leaf is the same."""
    try:
        found = Record.decode(leaf)
    except BadInput:
        with pytest.raises(BadInput):
            place_in(leaf)
        return None
    assert (found.seq, found.time.ns) == place_in(leaf)
    return found


@given(record=records, at=st.integers(0, 400), letter=st.integers(0, 255))
def test_the_quick_way_reads_what_the_careful_way_reads(record: Record, at: int, letter: int) -> None:
    """No more and no less, whatever is in the leaf, and with any byte of it changed."""
    leaf = record.encode()
    assert record == quick(leaf) == careful(leaf)
    changed = leaf[: at % len(leaf)] + bytes((letter,)) + leaf[at % len(leaf) + 1 :]
    assert careful(changed) == quick(changed)


@pytest.mark.parametrize(
    "time",
    [
        "2026-03-03T14:05:00Z",
        "2026-03-03T14:05:00.5Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2026-03-03T14:05:00.50Z",
        "2026-03-03T14:05:00.Z",
        "2026-03-03T14:05:00.0000000001Z",
        "2026-03-03",
        "2026-03-03T14:05:00z",
        "2026-03-03T14:05:00+00:00",
        "2026-02-30T14:05:00Z",
        "2026-03-03 14:05:00Z",
        "",
    ],
)
def test_times_have_one_spelling(time: str) -> None:
    """The quick way takes a time exactly where the careful way does."""
    leaf = Record(seq=1, time=Instant(0), draft=Draft(kind="a.b", actor="", subject="")).encode()
    changed = leaf.replace(b"1970-01-01T00:00:00Z", time.encode())
    assert careful(changed) == quick(changed)
