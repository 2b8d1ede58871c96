"""What kept heads say: who saw how much, whether enough did, and which log does not extend them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import Tampered
from gatewright.ledger.checkpoints import Checkpoint
from gatewright.ledger.tree import leaf_hash, root_of
from gatewright.operations.witnessed import (
    Witnessed,
    coverage,
    moment,
    reached,
    require_extended,
    root_over,
)
from gatewright.releases.heads import Cosigned, Head

LEAVES = [(f"leaf {number}".encode(), None) for number in range(9)]


def head(size: int, *names: str, root: bytes | None = None, time: int = 1) -> Head:
    """A head of those leaves, cosigned by these."""
    hashes = [leaf_hash(leaf) for leaf, _ in LEAVES[:size]]
    return Head(
        checkpoint=Checkpoint(origin="log", size=size, root=root_of(hashes) if root is None else root),
        cosigned=tuple(Cosigned(witness=name, time=time) for name in names),
    )


def test_the_newest_of_each_witness_counts() -> None:
    """Of several heads the largest that a witness cosigned is told, by name."""
    heads = [head(3, "a", "b"), head(7, "b", time=2), head(5), head(5, "a", "b")]
    assert (
        Witnessed(witness="a", size=5, time=1),
        Witnessed(witness="b", size=7, time=2),
    ) == coverage(heads)


@given(sizes=st.lists(st.integers(0, 50), max_size=6), quorum=st.integers(0, 6))
def test_so_many_records_as_a_quorum_vouches_for(sizes: list[int], quorum: int) -> None:
    """The records that count are covered by at least the quorum, and the next one is not."""
    covered = [Witnessed(witness=str(number), size=size, time=0) for number, size in enumerate(sizes)]
    found = reached(covered, quorum)
    least = max(1, quorum)
    assert found == 0 or least <= sum(size >= found for size in sizes)
    assert least > sum(size > found for size in sizes)


def test_heads_that_the_log_begins_with_hold() -> None:
    """Any head of the same leaves, up to the whole, is extended."""
    require_extended([head(size, "a") for size in (0, 1, 4, 9)], 9, lambda size: root_over(LEAVES, size))


def test_the_smallest_head_that_is_not_extended_is_named() -> None:
    """Of two heads that do not fit, the one that narrows the place most is told."""
    spoiled = [head(7, "a", root=bytes(32)), head(4, "a", root=bytes(32)), head(2, "a")]
    with pytest.raises(Tampered) as found:
        require_extended(spoiled, 9, lambda size: root_over(LEAVES, size))
    assert "checkpoint of 4 records" == found.value.refusal.place


@pytest.mark.parametrize(("size", "words"), [(8, "1 record is gone"), (6, "3 records are gone")])
def test_a_shorter_log_than_somebody_saw_is_told_as_that(size: int, words: str) -> None:
    """What is missing begins where the log ends; it says how many, and whose signature is on it."""
    with pytest.raises(Tampered, match=words) as found:
        require_extended([head(9, "a", "b")], size, lambda size: root_over(LEAVES, size))
    assert ("operations.log-rolled-back", f"record {size}") == (found.value.code, found.value.refusal.place)
    assert "this log and a and b" in found.value.refusal.why


def test_a_time_beyond_all_calendars_can_be_told() -> None:
    """A cosignature may name any time; words for it never fail."""
    assert "2026-03-03T14:05:00Z" == moment(1_772_546_700)
    assert moment(2**63 - 1).startswith("2")
