"""The Merkle tree of RFC 9162 section 2.1 (SHA-256), as pure functions over leaf hashes.

Leaves are hashed with a ``0x00`` prefix and inner nodes with ``0x01``, so that no inner node can be
passed off as a leaf. A *node* is the root of a complete subtree: node ``(level, index)`` covers the
``2**level`` leaves from ``index << level`` on. A complete subtree never changes once it is full,
which is why a store may keep nodes and answer any proof with O(log n) look-ups
(:mod:`gatewright.ledger.proofs`).

Laws: ``Frontier.of(leaves).root() == root_of(leaves)``;
``verify_inclusion(leaf=l[i], index=i, size=len(l), path=inclusion_path(l, i), root=root_of(l))``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gatewright.kernel.errors import BadInput

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""Root of the tree without leaves (RFC 9162 section 2.1.1)."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf, 32 bytes: ``SHA-256(0x00 || data)``."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node, 32 bytes: ``SHA-256(0x01 || left || right)``."""
    return sha256(b"\x01" + left + right).digest()


def _level_above(hashes: Sequence[bytes]) -> list[bytes]:
    """Pair neighbours; a last one without a neighbour moves up as it is."""
    above = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
    if len(hashes) % 2:
        above.append(hashes[-1])
    return above


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root of the tree over the given leaf hashes (RFC 9162 section 2.1.1)."""
    level: Sequence[bytes] = leaf_hashes
    while len(level) > 1:
        level = _level_above(level)
    return level[0] if level else EMPTY_ROOT


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Path from leaf ``index`` to the root, lowest sibling first (RFC 9162 section 2.1.3.1).

    Raises BadInput when there is no such leaf.
    """
    require_leaf(index, len(leaf_hashes))
    path: list[bytes] = []
    level: Sequence[bytes] = leaf_hashes
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _level_above(level)
        index >>= 1
    return tuple(path)


def require_leaf(index: int, size: int) -> None:
    """Raise BadInput unless leaf ``index`` exists in a tree of ``size`` leaves."""
    if not 0 <= index < size:
        raise BadInput("ledger.no-such-leaf", f"There is no leaf {index} in a tree of {size} leaves.")


def verify_inclusion(*, leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves that leaf hash ``leaf`` is number ``index`` of ``size`` under ``root``.

    The algorithm of RFC 9162 section 2.1.3.2; every hash must be 32 bytes long.
    """
    if not 0 <= index < size or any(len(part) != HASH_BYTES for part in (leaf, root, *path)):
        return False
    node, last, found = index, size - 1, leaf
    for part in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(part, found)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            found = node_hash(found, part)
        node >>= 1
        last >>= 1
    return last == 0 and found == root


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The root of one complete subtree: ``hash`` covers the leaves ``index << level`` and on."""

    level: int
    index: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The right edge of a tree: enough to append leaves and to state the root, in O(log n) space.

    ``hashes`` are the roots of the complete subtrees that make up the first ``size`` leaves, from
    the left, one for each bit of ``size`` that is set, the highest bit first.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise BadInput(
                "ledger.frontier", f"{len(self.hashes)} hashes cannot be the edge of a tree of {self.size}."
            )

    @classmethod
    def of(cls, leaf_hashes: Iterable[bytes]) -> Frontier:
        """Frontier of the tree over the given leaf hashes."""
        edge: list[bytes] = []
        size = 0
        for each in leaf_hashes:
            found, level = each, size
            while level & 1:
                found = node_hash(edge.pop(), found)
                level >>= 1
            edge.append(found)
            size += 1
        return cls(size=size, hashes=tuple(edge))

    def append(self, leaf_hash: bytes) -> Frontier:
        """Frontier with one more leaf hash."""
        return self.grow(leaf_hash)[0]

    def grow(self, leaf_hash: bytes) -> tuple[Frontier, tuple[Node, ...]]:
        """Append, and name every node that this append completes, the leaf itself first."""
        edge = list(self.hashes)
        made = [Node(level=0, index=self.size, hash=leaf_hash)]
        while self.size >> (made[-1].level) & 1:
            below = made[-1]
            made.append(
                Node(level=below.level + 1, index=below.index >> 1, hash=node_hash(edge.pop(), below.hash))
            )
        edge.append(made[-1].hash)
        return Frontier(size=self.size + 1, hashes=tuple(edge)), tuple(made)

    def root(self) -> bytes:
        """Root of the tree, 32 bytes."""
        if not self.hashes:
            return EMPTY_ROOT
        found = self.hashes[-1]
        for left in reversed(self.hashes[:-1]):
            found = node_hash(left, found)
        return found


def frontier_nodes(size: int) -> tuple[tuple[int, int], ...]:
    """``(level, index)`` of the complete subtrees that make up ``size`` leaves, from the left."""
    return tuple(
        (level, (size >> level) - 1) for level in reversed(range(size.bit_length())) if size >> level & 1
    )
