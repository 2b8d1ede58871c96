"""Proofs from stored nodes, and the check of consistency proofs (RFC 9162 sections 2.1.3 and 2.1.4).

A ``Lookup`` answers ``(level, index)`` with the hash of that complete subtree; each proof asks it
O(log n) times and never for a subtree that is not complete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from gatewright.kernel.errors import BadInput
from gatewright.ledger.tree import EMPTY_ROOT, HASH_BYTES, frontier_nodes, node_hash, require_leaf

Lookup: TypeAlias = Callable[[int, int], bytes]


def _split(count: int) -> int:
    """The largest power of two smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def range_root(lookup: Lookup, start: int, stop: int) -> bytes:
    """Root over the leaves ``start`` up to ``stop``, where ``start`` begins a subtree that holds them."""
    parts: list[bytes] = []
    count = stop - start
    for level in reversed(range(count.bit_length())):
        if count >> level & 1:
            parts.append(lookup(level, start >> level))
            start += 1 << level
    if not parts:
        return EMPTY_ROOT
    found = parts.pop()
    while parts:
        found = node_hash(parts.pop(), found)
    return found


def inclusion_from(lookup: Lookup, *, index: int, size: int) -> tuple[bytes, ...]:
    """Path of leaf ``index`` in the tree of ``size`` leaves, lowest sibling first.

    Raises BadInput when there is no such leaf.
    """
    require_leaf(index, size)
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(range_root(lookup, middle, stop))
            stop = middle
        else:
            path.append(range_root(lookup, start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_from(lookup: Lookup, *, first: int, second: int) -> tuple[bytes, ...]:
    """Proof that the tree of ``second`` leaves begins with the tree of ``first`` (section 2.1.4.1).

    Empty when ``first`` is 0 or equals ``second``. Raises BadInput when ``first`` is the larger.
    """
    if not 0 <= first <= second:
        raise BadInput("ledger.consistency-sizes", f"A tree of {second} cannot begin with one of {first}.")
    path: list[bytes] = []
    start, stop = 0, second
    while 0 < first < stop:
        middle = start + _split(stop - start)
        if first <= middle:
            path.append(range_root(lookup, middle, stop))
            stop = middle
        else:
            path.append(range_root(lookup, start, middle))
            start = middle
    if start and first:
        path.append(range_root(lookup, start, stop))
    return tuple(reversed(path))


def first_difference(one: Lookup, other: Lookup, size: int) -> int | None:
    """Number of the first of ``size`` leaves in which two trees differ, or None: by O(log n) look-ups in each."""
    for height, place in frontier_nodes(size):
        if one(height, place) != other(height, place):
            index = place
            for level in reversed(range(height)):
                index *= 2
                index += one(level, index) == other(level, index)
            return index
    return None


def verify_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether ``path`` proves that ``second_root`` extends ``first_root`` (section 2.1.4.2).

    A tree without leaves is the beginning of every tree: then the path must be empty.
    """
    if not 0 <= first <= second or any(len(part) != HASH_BYTES for part in (first_root, second_root, *path)):
        return False
    if first == second:
        return not path and first_root == second_root
    if first == 0:
        return not path and first_root == EMPTY_ROOT
    parts = list(path) if first & (first - 1) else [first_root, *path]
    if not parts:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = parts[0]
    for part in parts[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = node_hash(part, old), node_hash(part, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, part)
        node >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root
