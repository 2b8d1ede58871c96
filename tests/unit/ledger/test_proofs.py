"""Proofs from stored nodes equal those from all leaves, and consistency is proven and no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput
from gatewright.ledger.proofs import (
    consistency_from,
    first_difference,
    inclusion_from,
    range_root,
    verify_consistency,
)
from gatewright.ledger.tree import EMPTY_ROOT, Frontier, inclusion_path, leaf_hash, root_of

LEAVES = [leaf_hash(number.to_bytes(4, "big")) for number in range(130)]
ROOTS = [root_of(LEAVES[:size]) for size in range(len(LEAVES) + 1)]


def stored_nodes() -> dict[tuple[int, int], bytes]:
    """Every complete subtree of the tree over all leaves."""
    nodes: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()
    for each in LEAVES:
        frontier, made = frontier.grow(each)
        nodes |= {(node.level, node.index): node.hash for node in made}
    return nodes


NODES = stored_nodes()


def lookup_within(size: int, asked: list[tuple[int, int]]) -> Callable[[int, int], bytes]:
    """A look-up that counts, and fails for a subtree that ``size`` leaves do not fill."""

    def lookup(level: int, index: int) -> bytes:
        assert (index + 1) << level <= size
        asked.append((level, index))
        return NODES[level, index]

    return lookup


sizes = st.integers(1, len(LEAVES))


@given(sizes, st.data())
def test_paths_from_nodes_are_the_paths_from_leaves(size: int, data: st.DataObject) -> None:
    """A path from stored nodes equals the one from all leaves, with O(log n) look-ups in filled subtrees."""
    index = data.draw(st.integers(0, size - 1))
    asked: list[tuple[int, int]] = []
    assert inclusion_path(LEAVES[:size], index) == inclusion_from(
        lookup_within(size, asked), index=index, size=size
    )
    assert len(asked) <= 2 * size.bit_length()


@given(st.integers(0, len(LEAVES)), st.integers(0, len(LEAVES)))
def test_growth_is_proven(one: int, other: int) -> None:
    """For any two sizes the proof from stored nodes shows that the larger tree extends the smaller."""
    first, second = sorted((one, other))
    asked: list[tuple[int, int]] = []
    path = consistency_from(lookup_within(second, asked), first=first, second=second)
    assert verify_consistency(
        first=first, second=second, first_root=ROOTS[first], second_root=ROOTS[second], path=path
    )
    assert len(asked) <= 2 * max(second, 1).bit_length()


@given(sizes, sizes)
def test_a_fork_is_not_proven(one: int, other: int) -> None:
    """A changed root, a changed, longer or shorter path, or swapped roots prove nothing."""
    first, second = sorted((one, other))
    path = consistency_from(lambda level, index: NODES[level, index], first=first, second=second)
    old, new, fork = ROOTS[first], ROOTS[second], leaf_hash(b"fork")

    def proven(old: bytes, new: bytes, path: tuple[bytes, ...]) -> bool:
        return verify_consistency(first=first, second=second, first_root=old, second_root=new, path=path)

    assert not proven(fork, new, path)
    assert not proven(old, fork, path)
    assert not proven(old, new, (*path, fork))
    assert not proven(old, new, (fork, *path))
    assert proven(new, old, path) == (first == second)
    for place in range(len(path)):
        assert not proven(old, new, (*path[:place], fork, *path[place + 1 :]))
        assert not proven(old, new, (*path[:place], *path[place + 1 :]))


@given(st.integers(1, 60), st.integers(1, 60))
def test_a_smaller_tree_extends_nothing(size: int, more: int) -> None:
    """A proof for sizes in the wrong order is neither made nor believed."""
    with pytest.raises(BadInput):
        consistency_from(lambda level, index: NODES[level, index], first=size + more, second=size)
    assert not verify_consistency(
        first=size + more, second=size, first_root=ROOTS[size + more], second_root=ROOTS[size], path=()
    )


def test_the_published_proof() -> None:
    """The example of RFC 9162 section 2.1.5 has the paths that are drawn there, by the names of its nodes."""
    leaves = LEAVES[:7]
    a, b, c, d, _, f, j = leaves
    g, h = root_of([a, b]), root_of([c, d])
    i, k = root_of(leaves[4:6]), root_of(leaves[:4])
    level, lookup = root_of(leaves[4:7]), NODES
    assert i == root_of([leaves[4], f])

    def stored(height: int, index: int) -> bytes:
        return lookup[height, index]

    assert (b, h, level) == inclusion_from(stored, index=0, size=7)
    assert (c, g, level) == inclusion_from(stored, index=3, size=7)
    assert (f, j, k) == inclusion_from(stored, index=4, size=7)
    assert (i, k) == inclusion_from(stored, index=6, size=7)
    assert (c, d, g, level) == consistency_from(stored, first=3, second=7)
    assert (level,) == consistency_from(stored, first=4, second=7)
    assert (i, j, k) == consistency_from(stored, first=6, second=7)


def test_an_empty_tree_is_the_beginning_of_all() -> None:
    """From no leaves every tree follows by the empty proof, and only with the empty root."""
    proven = verify_consistency(first=0, second=5, first_root=EMPTY_ROOT, second_root=ROOTS[5], path=())
    assert proven
    assert not verify_consistency(first=0, second=5, first_root=ROOTS[1], second_root=ROOTS[5], path=())
    assert not verify_consistency(
        first=0, second=5, first_root=EMPTY_ROOT, second_root=ROOTS[5], path=(ROOTS[5],)
    )
    assert EMPTY_ROOT == range_root(lambda level, index: NODES[level, index], 0, 0)


def test_hashes_have_32_bytes() -> None:
    """Roots of another length are consistent with nothing, not even with themselves."""
    assert not verify_consistency(first=1, second=1, first_root=b"x", second_root=b"x", path=())
    assert not verify_consistency(first=1, second=2, first_root=ROOTS[1], second_root=ROOTS[2], path=(b"x",))


def test_a_leaf_that_is_not_there_has_no_path() -> None:
    """Asking for the path of a leaf beyond the tree is BadInput."""
    with pytest.raises(BadInput):
        inclusion_from(lambda level, index: NODES[level, index], index=3, size=3)


@given(size=st.integers(0, 130), changed=st.sets(st.integers(0, 129), max_size=3))
def test_the_first_difference_is_found_by_few_look_ups(size: int, changed: set[int]) -> None:
    """The first leaf in which two trees differ, or None; with at most two look-ups a level in each."""
    other = dict(NODES)
    frontier = Frontier()
    for number, each in enumerate(LEAVES):
        frontier, made = frontier.grow(leaf_hash(b"other") if number in changed else each)
        other |= {(node.level, node.index): node.hash for node in made}
    asked: list[tuple[int, int]] = []
    found = first_difference(lookup_within(size, asked), lambda level, index: other[level, index], size)
    assert min((number for number in changed if number < size), default=None) == found
    assert len(asked) <= 2 * size.bit_length()
