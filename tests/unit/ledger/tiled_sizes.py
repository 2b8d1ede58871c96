"""The laws of a tiled log, for every size up to a bound: the tests take a small one, the campaign a large one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from gatewright.ledger.proofs import Lookup, consistency_from, inclusion_from, range_root, verify_consistency
from gatewright.ledger.tiles import ENTRIES, TILE_WIDTH, Tile, Tiling, lookup_in, tiles_of
from gatewright.ledger.tree import Frontier, inclusion_path, leaf_hash, verify_inclusion

SIZES_IN_TEST = 300
SIZES_IN_CAMPAIGN = 2_000


def leaf_hashes(count: int) -> list[bytes]:
    """The hashes of ``count`` different leaves."""
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def tiles_over(hashes: Sequence[bytes]) -> tuple[dict[Tile, bytes], bytes]:
    """The tiles of the tree over leaf hashes, without bundles, and its root."""
    tiling, tiles = Tiling(), {}
    for start in range(0, len(hashes), TILE_WIDTH):
        tiles |= dict(tiling.add(hashes[start : start + TILE_WIDTH]))
    return tiles | dict(tiling.edge()), tiling.root()


def proven_sizes(most: int) -> int:
    """Hold the laws for every size up to ``most``; returns how many proofs were made and verified.

    The tiles are those that the standard names; the root is that of the tree; every leaf is proven
    in every tree, and every tree in every larger one, by proofs from tiles; the proofs of leaves in
    the largest tree are those from all leaves.
    """
    hashes = leaf_hashes(most)
    roots = [Frontier().root()]
    frontier = Frontier()
    for each in hashes:
        frontier = frontier.append(each)
        roots.append(frontier.root())
    count = 0
    for size in range(most + 1):
        tiles, root = tiles_over(hashes[:size])
        assert {tile for tile in tiles_of(size) if tile.level != ENTRIES} == tiles.keys()
        assert roots[size] == root
        lookup = cache(lookup_in(tiles.__getitem__, size))
        assert root == range_root(lookup, 0, size)
        count += _proofs(lookup, hashes, roots, size)
    lookup = cache(lookup_in(tiles_over(hashes)[0].__getitem__, most))
    for index in range(0, most, 37):
        assert inclusion_path(hashes, index) == inclusion_from(lookup, index=index, size=most)
    return count


def _proofs(lookup: Lookup, hashes: Sequence[bytes], roots: Sequence[bytes], size: int) -> int:
    for index in range(size):
        path = inclusion_from(lookup, index=index, size=size)
        assert verify_inclusion(leaf=hashes[index], index=index, size=size, path=path, root=roots[size])
    for first in range(size + 1):
        path = consistency_from(lookup, first=first, second=size)
        assert verify_consistency(
            first=first, second=size, first_root=roots[first], second_root=roots[size], path=path
        )
    return 2 * size + 1
