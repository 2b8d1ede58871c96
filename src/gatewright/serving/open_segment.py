"""The segment that is being written: how far it is good, and the edge of its Merkle tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.ledger.tree import Frontier, node_hash


@dataclass(slots=True)
class OpenSegment:
    """The segment being written: how far it is good, and the edge of its Merkle tree.

    ``size`` leaves are on the disk; ``planned`` are composed.
    """

    name: str
    quoted: str
    handle: int
    cipher: AESGCM
    good_bytes: int
    size: int = 0
    planned: int = 0
    edge: list[bytes] = field(default_factory=list)
    first_at: float = 0.0

    def grow(self, hashes: Sequence[bytes]) -> None:
        """Take in the leaf hashes of a batch that is on the disk (RFC 9162 section 2.1)."""
        for each in hashes:
            found, level = each, self.size
            while level & 1:
                found = node_hash(self.edge.pop(), found)
                level >>= 1
            self.edge.append(found)
            self.size += 1

    def root(self) -> bytes:
        """RFC 9162 root over the leaves so far."""
        return Frontier(size=self.size, hashes=tuple(self.edge)).root()
