"""The audit holds for an honest ledger, and names the place of every kind of tampering."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.instants import Instant
from gatewright.ledger.audit import LEAF_PROBLEMS, Audit, audit
from gatewright.ledger.checkpoints import checkpoint_text, note_with_signature
from gatewright.ledger.records import Draft, Record
from gatewright.ledger.tree import leaf_hash, root_of
from gatewright.testing.signers import SeedSigner

ORIGIN = "example.com/log"
LOG = SeedSigner("log")
SIZE = 23

Leaves = list[tuple[bytes, bytes | None]]


def record(seq: int, seconds: int | None = None, subject: str = "cancer@2") -> Record:
    """Record ``seq`` of the example log, one second after the one before it."""
    time = Instant((1_772_546_700 + (seq if seconds is None else seconds)) * 10**9)
    return Record(seq=seq, time=time, draft=Draft(kind="model.added", actor="ada", subject=subject))


def stored(records: Sequence[Record]) -> Leaves:
    """Records as a store keeps them: each leaf with its hash."""
    return [(each.encode(), leaf_hash(each.encode())) for each in records]


def signed(leaves: Leaves, origin: str = ORIGIN, signer: SeedSigner = LOG) -> bytes:
    """The checkpoint over the leaves."""
    text = checkpoint_text(origin, len(leaves), root_of([leaf_hash(leaf) for leaf, _ in leaves]))
    return note_with_signature(text, origin, signer.public, signer.sign(text))


HONEST = stored([record(seq) for seq in range(SIZE)])
NOTE = signed(HONEST)


def audited(leaves: Leaves, note: bytes = NOTE) -> Audit:
    """Audit with the log's key and origin."""
    return audit(leaves, note=note, key=LOG.public, origin=ORIGIN)


def first(leaves: Leaves, note: bytes = NOTE) -> tuple[str, str]:
    """Code and place of the first problem."""
    problem = audited(leaves, note).problems[0]
    return problem.code, problem.place


def test_an_honest_ledger_holds() -> None:
    """Unchanged leaves under their checkpoint have no problems, with and without stored hashes."""
    expected = Audit(size=SIZE, root=root_of([leaf_hash(leaf) for leaf, _ in HONEST]), problems=())
    assert expected == audited(HONEST)
    assert expected == audited([(leaf, None) for leaf, _ in HONEST])
    assert expected.holds


def test_an_empty_ledger_holds() -> None:
    """No leaves under a checkpoint of none have no problems."""
    assert audited([], signed([])).holds


@given(st.integers(0, SIZE - 1), st.data())
def test_any_changed_byte_of_a_leaf_is_named(index: int, data: st.DataObject) -> None:
    """Whichever byte of whichever leaf is changed, the first problem names that record."""
    leaf, kept = HONEST[index]
    place = data.draw(st.integers(0, len(leaf) - 1))
    change = data.draw(st.integers(1, 255))
    changed = leaf[:place] + bytes([leaf[place] ^ change]) + leaf[place + 1 :]
    found = audited([*HONEST[:index], (changed, kept), *HONEST[index + 1 :]])
    assert "ledger.record-changed" == found.problems[0].code
    assert f"record {index}" == " ".join(found.problems[0].place.split()[:2])
    assert not found.holds


@given(st.integers(0, SIZE - 1), st.data())
def test_any_changed_byte_is_found_without_stored_hashes(index: int, data: st.DataObject) -> None:
    """Without stored hashes a changed byte still breaks the audit."""
    leaf = HONEST[index][0]
    place = data.draw(st.integers(0, len(leaf) - 1))
    changed = leaf[:place] + bytes([leaf[place] ^ 1]) + leaf[place + 1 :]
    bare: Leaves = [(each, None) for each, _ in HONEST]
    assert not audited([*bare[:index], (changed, None), *bare[index + 1 :]]).holds


def test_a_place_reads_well() -> None:
    """A problem names the record by number, kind, subject and time."""
    leaf, _ = HONEST[17]
    problems = audited([*HONEST[:17], (leaf, bytes(32)), *HONEST[18:]]).problems
    assert ["record 17 (model.added cancer@2, 2026-03-03T14:05:17Z)"] == [each.place for each in problems]


def test_a_changed_stored_hash_is_told_from_a_changed_record() -> None:
    """When the records add up to the signed root, the stored hash is what was changed."""
    leaf, kept = HONEST[4]
    hash_changed = audited([*HONEST[:4], (leaf, leaf_hash(b"x")), *HONEST[5:]])
    record_changed = audited([*HONEST[:4], (leaf.replace(b"ada", b"eve"), kept), *HONEST[5:]])
    assert ["ledger.stored-hash-changed"] == [each.code for each in hash_changed.problems]
    assert ["ledger.record-changed", "ledger.root"] == [each.code for each in record_changed.problems]


def test_a_record_changed_with_its_hash_breaks_the_root() -> None:
    """A record rewritten together with its stored hash does not add up to the signed root."""
    changed = stored([record(5, subject="other@1")])
    assert ("ledger.root", f"checkpoint of {SIZE} records") == first([*HONEST[:5], *changed, *HONEST[6:]])


def test_a_deleted_last_record_is_named() -> None:
    """A missing last record is named by its number."""
    assert ("ledger.records-missing", f"record {SIZE - 1}") == first(HONEST[:-1])


def test_everything_deleted_is_named() -> None:
    """An emptied ledger is missing record 0."""
    assert ("ledger.records-missing", "record 0") == first([])


@pytest.mark.parametrize("index", [0, 9, SIZE - 2])
def test_a_removed_record_is_named(index: int) -> None:
    """A record taken from the middle is named where it is missing, and once."""
    found = audited([*HONEST[:index], *HONEST[index + 1 :]])
    assert ["ledger.sequence", "ledger.records-missing"] == [each.code for each in found.problems]
    assert found.problems[0].what.startswith(f"Record {index} is not where it belongs")
    assert found.problems[0].place.startswith(f"record {index} (")


def test_swapped_records_are_named() -> None:
    """Two neighbours that changed places are named at the first of them."""
    code, place = first([*HONEST[:6], HONEST[7], HONEST[6], *HONEST[8:]])
    assert "ledger.sequence" == code
    assert place.startswith("record 6 (")


def test_an_inserted_record_is_named() -> None:
    """A record put between others is named, also when it takes the number that belongs there."""
    code, place = first([*HONEST[:6], *stored([record(6, subject="new@1")]), *HONEST[6:]])
    assert "ledger.sequence" == code
    assert place.startswith("record 7 (")


def test_a_repeated_record_is_named() -> None:
    """A record that stands twice is named at its second place."""
    code, place = first([*HONEST[:6], HONEST[5], *HONEST[6:]])
    assert ("ledger.sequence", True) == (code, place.startswith("record 6 ("))


def test_an_appended_record_without_a_signature_is_named() -> None:
    """A record beyond the signed checkpoint is named, as the first that nobody signed."""
    code, place = first([*HONEST, *stored([record(SIZE), record(SIZE + 1)])])
    assert "ledger.records-unsigned" == code
    assert place.startswith(f"record {SIZE} (model.added")


def test_time_that_goes_backwards_is_named() -> None:
    """A record earlier than the one before it is named, though everything is signed."""
    leaves = stored([record(0), record(1), record(2, seconds=0), record(3)])
    code, place = first(leaves, signed(leaves))
    assert ("ledger.time", True) == (code, place.startswith("record 2 ("))


def test_an_unreadable_record_is_named() -> None:
    """A leaf that is no record is named, though everything is signed, and the rest is read on."""
    leaves = [*HONEST[:3], (b"{}", leaf_hash(b"{}")), *HONEST[4:]]
    found = audited(leaves, signed(leaves))
    assert [("ledger.unreadable", "record 3")] == [(each.code, each.place) for each in found.problems]


def test_a_log_that_does_not_begin_at_zero_is_named() -> None:
    """The first record must be number 0."""
    leaves = HONEST[1:]
    assert "ledger.sequence" == first(leaves, signed(leaves))[0]


def test_a_wrong_key_is_named() -> None:
    """A checkpoint signed by another key is named, and the leaves are still read."""
    found = audited(HONEST, signed(HONEST, signer=SeedSigner("other")))
    assert ["ledger.note-unknown-key"] == [each.code for each in found.problems]
    assert SIZE == found.size


def test_a_wrong_origin_is_named() -> None:
    """A checkpoint of another log by the same key is named."""
    found = audited(HONEST, signed(HONEST, origin="example.com/other"))
    assert ["ledger.origin"] == [each.code for each in found.problems]
    assert "example.com/other" in found.problems[0].what


@given(st.integers(0, len(NOTE) - 1), st.integers(1, 255))
def test_any_changed_byte_of_the_checkpoint_is_found(index: int, change: int) -> None:
    """A checkpoint with one byte changed never holds, and nothing is raised."""
    note = NOTE[:index] + bytes([NOTE[index] ^ change]) + NOTE[index + 1 :]
    assert not audited(HONEST[:1], note).holds


def test_an_older_checkpoint_does_not_cover_the_records() -> None:
    """A rolled-back checkpoint leaves the newer records unsigned, and names the first."""
    code, place = first(HONEST, signed(HONEST[:10]))
    assert ("ledger.records-unsigned", True) == (code, place.startswith("record 10 ("))


def test_problems_come_in_the_order_of_the_log() -> None:
    """The first problem of the log comes first, whatever its kind."""
    leaves = [*HONEST[:8], (b"x" + HONEST[8][0], HONEST[8][1]), HONEST[9], HONEST[11], *HONEST[12:]]
    places = [each.place.partition(" (")[0] for each in audited(leaves).problems]
    assert ["record 8", "record 10", "record 22"] == places


def test_the_list_of_problems_is_bounded() -> None:
    """A ledger that is broken everywhere gives a bounded list."""
    nothing: Leaves = [(leaf, bytes(32)) for leaf, _ in stored([record(seq) for seq in range(100)])]
    assert len(audited(nothing).problems) <= 2 * LEAF_PROBLEMS + 2
