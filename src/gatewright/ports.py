"""Every seam of the product, on one page.

A seam exists only where two implementations do or will: the ledger and blobs (local files and SQLite; servers by URL), and signers (key files; hardware).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.instants import Instant
from gatewright.ledger.records import Draft, Record
from gatewright.releases.keys import PublicKey


class Ledger(Protocol):
    """The append-only log and the projections that follow from it.

    Contract: ``append`` writes all drafts, their projections and a newly signed checkpoint in one
    durable transaction, or nothing; sequence numbers have no gap; ``rebuild`` drops every
    projection and makes it again from the records, with the same result.
    """

    def append(self, drafts: Sequence[Draft], now: Instant) -> tuple[Record, ...]:
        """Append and return the records as written."""
        ...

    def leaves(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The exact bytes of records ``start`` up to ``stop``, in order."""
        ...

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint (a C2SP signed note)."""
        ...

    def rebuild(self) -> int:
        """Make every projection again from the records; returns how many records were read."""
        ...


class Projections(Protocol):
    """Documents that follow from the records, by collection and key."""

    def get(self, collection: str, key: str) -> JsonObject | None:
        """One document, or None."""
        ...

    def scan(self, collection: str, prefix: str = "") -> Iterator[tuple[str, JsonObject]]:
        """All documents of a collection whose key begins with ``prefix``, by key."""
        ...


class Blobs(Protocol):
    """Encrypted bytes, addressed by the SHA-256 of their plain content.

    Contract: ``get`` returns exactly the bytes whose digest was asked for or raises
    :class:`~gatewright.kernel.errors.Tampered`; ``put`` is durable when it returns.
    """

    def put(self, data: bytes) -> Digest:
        """Keep the bytes; returns their digest. Idempotent."""
        ...

    def get(self, digest: Digest) -> bytes:
        """The bytes; raises Tampered when they do not match and BadInput when there are none."""
        ...

    def has(self, digest: Digest) -> bool:
        """Whether the digest is kept here."""
        ...


class Signer(Protocol):
    """A private key that signs; the public half travels with it."""

    @property
    def public(self) -> PublicKey:
        """The public half."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Signature over the message, in the raw form of the algorithm (DER for ECDSA)."""
        ...
