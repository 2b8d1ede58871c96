"""The proof cases that the Certificate Transparency projects test each other with, made again.

The tree is the one over the eight test leaves; the leaves and sizes are theirs, and so are the ways
in which a good proof is spoiled (https://github.com/transparency-dev/merkle, folder ``testdata``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest

from gatewright.ledger.proofs import consistency_from, inclusion_from, verify_consistency
from gatewright.ledger.tiles import lookup_in
from gatewright.ledger.tree import leaf_hash, root_of, verify_inclusion
from unit.ledger.test_tiles import CT_LEAVES
from unit.ledger.tiled_sizes import tiles_over

HASHES = [leaf_hash(bytes.fromhex(text)) for text in CT_LEAVES]
ROOTS = [root_of(HASHES[:size]) for size in range(9)]
RANDOM = sha256(b"any").digest()
GARBAGE = bytes(32)


@dataclass(frozen=True, kw_only=True)
class Inclusion:
    """One inclusion proof."""

    index: int
    size: int
    root: bytes
    leaf: bytes
    path: tuple[bytes, ...]

    def holds(self) -> bool:
        """What we say."""
        return verify_inclusion(
            leaf=self.leaf, index=self.index, size=self.size, path=self.path, root=self.root
        )


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """One consistency proof."""

    first: int
    second: int
    old: bytes
    new: bytes
    path: tuple[bytes, ...]

    def holds(self) -> bool:
        """What we say."""
        return verify_consistency(
            first=self.first, second=self.second, first_root=self.old, second_root=self.new, path=self.path
        )


def inclusion(index: int, size: int) -> Inclusion:
    """The good proof of a leaf, from tiles."""
    lookup = lookup_in(tiles_over(HASHES[:size])[0].__getitem__, size)
    path = inclusion_from(lookup, index=index, size=size)
    return Inclusion(index=index, size=size, root=ROOTS[size], leaf=HASHES[index], path=path)


def consistency(first: int, second: int) -> Consistency:
    """The good proof of growth, from tiles."""
    lookup = lookup_in(tiles_over(HASHES[:second])[0].__getitem__, second)
    path = consistency_from(lookup, first=first, second=second)
    return Consistency(first=first, second=second, old=ROOTS[first], new=ROOTS[second], path=path)


def spoiled_paths(path: tuple[bytes, ...], *roots: bytes) -> Iterator[tuple[bytes, ...]]:
    """Every spoiled form of a path: longer at either end, shorter, a bit flipped, a part inserted."""
    for part in (GARBAGE, b"", *roots):
        yield (*path, part)
        yield (part, *path)
    for at, part in enumerate(path):
        yield (*path[:at], bytes([part[0] ^ 8, *part[1:]]), *path[at + 1 :])
        yield (*path[:at], *path[at + 1 :])
        yield (*path[:at], GARBAGE, *path[at:])
    if path:
        yield ()


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 8), (5, 8), (2, 3), (1, 5)])
def test_spoiled_inclusion_proofs_are_refused(index: int, size: int) -> None:
    """The good proof verifies; every other index, size, root, leaf or path of the published kinds does not."""
    good = inclusion(index, size)
    assert good.holds()
    spoiled = [replace(good, path=path) for path in spoiled_paths(good.path, good.root, good.leaf)]
    spoiled += [replace(good, index=other) for other in (index - 1, index + 1, index ^ 2, 2**64 - 1)]
    spoiled += [replace(good, size=other) for other in (size * 2, size // 2, 0)]
    spoiled += [replace(good, root=other) for other in (b"", RANDOM, ROOTS[0])]
    spoiled += [replace(good, leaf=other) for other in (b"", RANDOM)]
    assert [] == [one for one in spoiled if one.holds()]


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 8), (6, 8), (2, 5), (6, 7)])
def test_spoiled_consistency_proofs_are_refused(first: int, second: int) -> None:
    """The good proof verifies; every other size, root or path of the published kinds does not."""
    good = consistency(first, second)
    assert good.holds()
    spoiled = [replace(good, path=path) for path in spoiled_paths(good.path, good.old, good.new)]
    spoiled += [replace(good, first=other) for other in (first - 1, first + 1, first ^ 2)]
    spoiled += [replace(good, second=other) for other in (second * 2, second // 2)]
    spoiled += [replace(good, old=other) for other in (b"", RANDOM)]
    spoiled += [replace(good, new=other) for other in (b"", RANDOM)]
    if first != second:
        spoiled.append(replace(good, old=good.new, new=good.old))
    assert [] == [one for one in spoiled if one.holds()]


def test_the_empty_tree_is_consistent_with_every_tree() -> None:
    """The published case of size 0: an empty path, and nothing else, leads from the empty tree."""
    good = consistency(0, 8)
    assert () == good.path
    assert good.holds()
    assert not replace(good, path=(RANDOM,)).holds()
