"""The Merkle tree gives the published roots, and its paths prove what they should and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput
from gatewright.ledger.tree import (
    EMPTY_ROOT,
    Frontier,
    frontier_nodes,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_of,
    verify_inclusion,
)

# The leaves of the RFC 6962 reference implementation, and its roots for 0 to 8 of them.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

sizes = st.integers(1, 70)


def hashes(size: int) -> list[bytes]:
    """Leaf hashes of ``size`` different leaves."""
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(size)]


def by_definition(leaves: list[bytes]) -> bytes:
    """The recursive definition of RFC 9162 section 2.1.1, written as it stands there."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(by_definition(leaves[:split]), by_definition(leaves[split:]))


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots(size: int) -> None:
    """The roots over the reference leaves are the published ones."""
    assert ROOTS[size] == root_of([leaf_hash(leaf) for leaf in LEAVES[:size]]).hex()


@given(st.integers(0, 300))
def test_the_root_is_the_one_of_the_definition(size: int) -> None:
    """The root computed level by level equals the recursive definition, for whole and ragged trees."""
    assert by_definition(hashes(size)) == root_of(hashes(size))


@given(st.integers(0, 300))
def test_the_frontier_has_the_same_root(size: int) -> None:
    """A frontier fed at once or leaf by leaf has the root of the whole tree."""
    leaves = hashes(size)
    grown = Frontier()
    for each in leaves:
        grown = grown.append(each)
    assert Frontier.of(leaves) == grown
    assert root_of(leaves) == grown.root()


@given(st.integers(0, 200))
def test_appends_name_every_complete_subtree_once(size: int) -> None:
    """The nodes that appends create are exactly the complete subtrees, each with the root of its leaves."""
    leaves = hashes(size)
    frontier, nodes = Frontier(), {}
    for each in leaves:
        frontier, made = frontier.grow(each)
        for node in made:
            assert (node.level, node.index) not in nodes
            nodes[node.level, node.index] = node.hash
    complete = {
        (level, index): root_of(leaves[index << level : (index + 1) << level])
        for level in range(size.bit_length())
        for index in range(size >> level)
    }
    assert complete == nodes
    assert frontier.hashes == tuple(nodes[place] for place in frontier_nodes(size))


@pytest.mark.parametrize(("size", "count"), [(-1, 0), (0, 1), (3, 1), (4, 2)])
def test_a_frontier_has_one_hash_for_each_bit(size: int, count: int) -> None:
    """A frontier whose hashes cannot belong to its size is refused."""
    with pytest.raises(BadInput):
        Frontier(size=size, hashes=(EMPTY_ROOT,) * count)


@given(sizes, st.data())
def test_every_leaf_is_proven(size: int, data: st.DataObject) -> None:
    """The path of any leaf verifies, and is no longer than the tree is high."""
    leaves, index = hashes(size), data.draw(st.integers(0, size - 1))
    path = inclusion_path(leaves, index)
    assert verify_inclusion(leaf=leaves[index], index=index, size=size, path=path, root=root_of(leaves))
    assert len(path) <= (size - 1).bit_length()


@given(sizes, st.data())
def test_nothing_else_is_proven(size: int, data: st.DataObject) -> None:
    """With another leaf, index, root or path, the same proof fails."""
    leaves, index = hashes(size), data.draw(st.integers(0, size - 1))
    path, root = inclusion_path(leaves, index), root_of(leaves)
    other = leaf_hash(b"other")
    assert not verify_inclusion(leaf=other, index=index, size=size, path=path, root=root)
    assert not verify_inclusion(leaf=leaves[index], index=index, size=size, path=path, root=other)
    assert not verify_inclusion(leaf=leaves[index], index=index, size=size, path=(*path, other), root=root)
    assert not verify_inclusion(leaf=leaves[index], index=index, size=size, path=(other, *path), root=root)
    for wrong in {*range(-1, size + 2)} - {index}:
        assert not verify_inclusion(leaf=leaves[index], index=wrong, size=size, path=path, root=root)
    for place in range(len(path)):
        changed = (*path[:place], other, *path[place + 1 :])
        assert not verify_inclusion(leaf=leaves[index], index=index, size=size, path=changed, root=root)
        shorter = (*path[:place], *path[place + 1 :])
        assert not verify_inclusion(leaf=leaves[index], index=index, size=size, path=shorter, root=root)


def test_an_inner_node_is_no_leaf() -> None:
    """The concatenation of two hashes, offered as a leaf, does not have the hash of their parent."""
    left, right = hashes(2)
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize("short", [b"", b"x" * 31, b"x" * 33])
def test_hashes_have_32_bytes(short: bytes) -> None:
    """A proof with a hash of another length fails, whatever it adds up to."""
    left, right = hashes(2)
    root = root_of([left, right])
    assert not verify_inclusion(leaf=left, index=0, size=2, path=[short], root=root)
    assert not verify_inclusion(leaf=short, index=0, size=1, path=[], root=short)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_leaf_that_is_not_there_has_no_path(index: int, size: int) -> None:
    """Asking for the path of a leaf beyond the tree is BadInput."""
    with pytest.raises(BadInput):
        inclusion_path(hashes(size), index)
