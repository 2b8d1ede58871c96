"""Tiles: the paths and counts of the standard, proofs from them for all sizes, and what must not be read."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.kernel.errors import BadInput
from gatewright.ledger.proofs import consistency_from, inclusion_from, verify_consistency
from gatewright.ledger.records import LEAF_BYTES
from gatewright.ledger.tiles import (
    ENTRIES,
    TILE_WIDTH,
    Tile,
    Tiling,
    bundle_of,
    lookup_in,
    read_bundle,
    read_tile,
    split_bundle,
    tiles_of,
)
from gatewright.ledger.tree import EMPTY_ROOT, leaf_hash, root_of, verify_inclusion
from unit.ledger.tiled_sizes import SIZES_IN_TEST, leaf_hashes, proven_sizes, tiles_over

HASHES = leaf_hashes(700)
TILES, ROOT = tiles_over(HASHES)

# RFC 6962 test leaves, and the roots of their first 0 to 8 as the Certificate Transparency project gives them.
CT_LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
CT_ROOTS = [
    "e3b0c442",
    "6e340b9c",
    "fac54203",
    "aeb6bcfe",
    "d37ee418",
    "4e3bbb1f",
    "76e67dad",
    "ddb89be4",
    "5dc9da79",
]


def test_the_published_roots() -> None:
    """The eight test leaves, tiled, have the published roots at every size."""
    hashes = [leaf_hash(bytes.fromhex(text)) for text in CT_LEAVES]
    found = [tiles_over(hashes[:size])[1] for size in range(9)]
    assert CT_ROOTS == [root.hex()[:8] for root in found]


def test_every_size_is_proven() -> None:
    """For all sizes: the standard's tiles, the tree's root, and every inclusion and consistency proof holds."""
    assert (SIZES_IN_TEST + 1) ** 2 == proven_sizes(SIZES_IN_TEST)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(level=0, index=0), "tile/0/000"),
        (Tile(level=0, index=1_234_067), "tile/0/x001/x234/067"),
        (Tile(level=2, index=0, width=1), "tile/2/000.p/1"),
        (Tile(level=0, index=999), "tile/0/999"),
        (Tile(level=1, index=1_000, width=255), "tile/1/x001/000.p/255"),
        (Tile(level=ENTRIES, index=273, width=112), "tile/entries/273.p/112"),
        (Tile(level=63, index=12_345_678), "tile/63/x012/x345/678"),
    ],
)
def test_paths_are_the_standards(tile: Tile, path: str) -> None:
    """A tile's path has three digits per part, an x before all but the last, and its width when partial."""
    assert path == tile.path()
    assert tile == Tile.parse(path)


@pytest.mark.parametrize(
    "path",
    [
        "", "tile/0/0", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/x000/000", "tile/0/x01/000",
        "tile/0/001/000", "tile/0/x001/x000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01",
        "tile/0/000.p/", "tile/0/000.p", "/tile/0/000", "tile/0/000/", "tile/0/000\n", "tile/0/../0/000",
        "tile/Entries/000", "tile/0/\u0660\u0660\u0660", "tile/0/000.p/+1", "tile/0/X001/000", "tile/0//000",
    ],
)  # fmt: skip
def test_other_paths_are_refused(path: str) -> None:
    """A path that the standard would write otherwise, or not at all, is BadInput."""
    with pytest.raises(BadInput):
        Tile.parse(path)


@given(st.integers(ENTRIES, 63), st.integers(0, 2**55), st.integers(1, TILE_WIDTH))
def test_a_path_is_read_as_it_was_written(level: int, index: int, width: int) -> None:
    """Every tile has one path."""
    tile = Tile(level=level, index=index, width=width)
    assert tile == Tile.parse(tile.path())


@pytest.mark.parametrize(
    ("size", "full", "partial"),
    [
        (0, {}, {}),
        (256, {0: 1}, {1: 1}),
        (70_000, {0: 273, 1: 1}, {0: 112, 1: 17, 2: 1}),
        (65_536, {0: 256, 1: 1}, {2: 1}),
    ],
)
def test_the_standards_counts(size: int, full: dict[int, int], partial: dict[int, int]) -> None:
    """A tree has as many full and partial tiles as the standard says, and bundles like level 0."""
    tiles = list(tiles_of(size))
    counted = Counter(tile.level for tile in tiles if tile.width == TILE_WIDTH and tile.level != ENTRIES)
    assert full == dict(counted)
    assert partial == {
        tile.level: tile.width for tile in tiles if tile.width < TILE_WIDTH and tile.level != ENTRIES
    }
    below = [(tile.index, tile.width) for tile in tiles if tile.level == 0]
    assert below == [(tile.index, tile.width) for tile in tiles if tile.level == ENTRIES]


def test_full_tiles_never_change() -> None:
    """A larger tree keeps every full tile of a smaller one, and begins each partial one with the smaller's."""
    sizes = [1, 255, 256, 257, 300, 511, 512, 700]
    for smaller, larger in pairwise(tiles_over(HASHES[:size])[0] for size in sizes):
        for tile, content in smaller.items():
            (grown,) = [c for t, c in larger.items() if (t.level, t.index) == (tile.level, tile.index)]
            assert grown.startswith(content)


def test_a_tile_knows_its_leaves() -> None:
    """An entry of a tile covers the leaves that the standard's formula gives."""
    assert (512 + 3, 512 + 4) == Tile(level=0, index=2).leaves_of(3)
    assert (512 + 3, 512 + 4) == Tile(level=ENTRIES, index=2).leaves_of(3)
    assert (65_536 + 256, 65_536 + 512) == Tile(level=1, index=1).leaves_of(1)


@given(st.lists(st.binary(max_size=40), max_size=TILE_WIDTH))
def test_a_bundle_is_read_as_it_was_written(leaves: list[bytes]) -> None:
    """The leaves of a bundle come back, however long they are, and only as many as were asked for."""
    data = bundle_of(leaves)
    assert tuple(leaves) == read_bundle(data, len(leaves))
    with pytest.raises(BadInput):
        read_bundle(data + b"\x00", len(leaves))
    with pytest.raises(BadInput):
        read_bundle(data, len(leaves) + 1)
    if leaves:
        with pytest.raises(BadInput):
            read_bundle(data, len(leaves) - 1)


def test_the_longest_leaf_fits_and_one_more_byte_does_not() -> None:
    """65,535 bytes stand in a bundle; more, or more than 256 leaves, is BadInput."""
    longest = bytes(LEAF_BYTES)
    assert (longest, b"x") == read_bundle(bundle_of([longest, b"x"]), 2)
    for leaves in ([longest + b"\x00"], [b""] * (TILE_WIDTH + 1)):
        with pytest.raises(BadInput):
            bundle_of(leaves)


@given(st.binary(max_size=300), st.integers(0, TILE_WIDTH))
def test_any_bytes_are_a_bundle_or_refused(data: bytes, width: int) -> None:
    """Whatever is read as a bundle is written as the same bytes; what is whole before a fault is given."""
    leaves, fault = split_bundle(data, width)
    assert data.startswith(bundle_of(leaves))
    assert (not fault) == (len(leaves) == width and data == bundle_of(leaves))


@pytest.mark.parametrize("length", [0, 31, 33, 32 * 3, 32 * 5])
def test_a_tile_of_another_length_is_refused(length: int) -> None:
    """A tile has exactly its width in hashes: an over-long or short one is BadInput."""
    with pytest.raises(BadInput):
        read_tile(bytes(length), 4)


def test_only_the_last_group_may_be_smaller() -> None:
    """Leaves after a group that was not full are a mistake, and nothing is lost silently."""
    tiling = Tiling()
    assert EMPTY_ROOT == tiling.root()
    assert [] == list(tiling.add(HASHES[:100]))
    with pytest.raises(BadInput):
        list(tiling.add(HASHES[100:300]))
    assert root_of(HASHES[:100]) == tiling.root()


def test_nodes_that_are_not_full_are_not_given() -> None:
    """A look-up beyond the tree is BadInput, though a tile could be read."""
    lookup = lookup_in(TILES.__getitem__, len(HASHES))
    assert HASHES[699] == lookup(0, 699)
    for level, index in ((0, 700), (3, 87), (10, 0)):
        with pytest.raises(BadInput):
            lookup(level, index)


def test_a_tile_of_the_wrong_length_is_no_ground_for_proofs() -> None:
    """A partial tile that is longer than the tree makes no proof, whatever it holds."""
    longer = {tile: content + bytes(32) for tile, content in TILES.items()}
    with pytest.raises(BadInput, match=re.escape("bytes; this one has")):
        inclusion_from(lookup_in(longer.__getitem__, len(HASHES)), index=3, size=len(HASHES))


@given(st.data())
def test_no_tampering_verifies(data: st.DataObject) -> None:
    """One flipped bit in leaf, root or path, another index or size, a longer or shorter path: not proven."""
    lookup = lookup_in(TILES.__getitem__, 700)
    index = data.draw(st.integers(0, 699))
    path = list(inclusion_from(lookup, index=index, size=700))
    parts = [HASHES[index], ROOT, *path]
    at, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[at] = (int.from_bytes(parts[at], "big") ^ 1 << bit).to_bytes(32, "big")
    leaf, root, *changed = parts

    def proven(index: int, leaf: bytes, path: list[bytes], root: bytes) -> bool:
        return verify_inclusion(leaf=leaf, index=index, size=700, path=path, root=root)

    assert proven(index, HASHES[index], path, ROOT)
    assert not proven(index, leaf, changed, root)
    assert not proven(index ^ 1 << data.draw(st.integers(0, 9)), HASHES[index], path, ROOT)
    assert not proven(index, HASHES[index], path[:-1], ROOT)
    assert not proven(index, HASHES[index], [*path, ROOT], ROOT)


@given(st.integers(1, 699), st.data())
def test_no_fork_verifies(first: int, data: st.DataObject) -> None:
    """One flipped bit in a root or the path of a consistency proof, or another length: not proven."""
    path = consistency_from(lookup_in(TILES.__getitem__, 700), first=first, second=700)
    old = root_of(HASHES[:first])
    parts = [old, ROOT, *path]
    at, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[at] = (int.from_bytes(parts[at], "big") ^ 1 << bit).to_bytes(32, "big")

    def proven(old: bytes, new: bytes, *path: bytes) -> bool:
        return verify_consistency(first=first, second=700, first_root=old, second_root=new, path=path)

    assert proven(old, ROOT, *path)
    assert not proven(*parts)
    assert not proven(old, ROOT, *path, ROOT)
    assert not proven(old, ROOT, *path[:-1])
