"""A batch of prediction records as bytes: leaves, encrypted payloads, one Merkle root, one signature."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.kernel.instants import Instant
from gatewright.ledger.commitments import preimage
from gatewright.ledger.receipts import (
    SALT_BYTES,
    SEAL_KIND,
    BatchStatement,
    batch_paths,
    format_leaf,
    pack_batch,
    pack_token,
    quote,
)
from gatewright.ledger.segments import (
    BATCH,
    KEY_BYTES,
    NONCE_BYTES,
    SEAL,
    SegmentHeader,
    open_segment,
    pack_payload,
    pack_record,
    pack_statement,
    wrap_key,
)
from gatewright.ledger.tree import leaf_hash
from gatewright.ports import Signer
from gatewright.serving.open_segment import OpenSegment
from gatewright.serving.segment_disk import SegmentDisk

NAME_BYTES = 8

Then = Callable[[str | None], None]
"""Takes the token of a receipt, or None where the record could not be made durable: no answer then."""
Composed = tuple[bytes, list[bytes], list[str]]
"""Frames of a batch, its leaf hashes, and the tokens of its receipts."""


@dataclass(slots=True)
class Entry:
    """A prediction that waits for its record.

    ``parts`` are :func:`~gatewright.ledger.receipts.leaf_parts`; ``inputs`` and ``outputs`` the
    encodings that are committed to; ``then`` takes the token of the receipt, or None. A ``promised``
    one gets it as soon as it is signed, before it is on the disk.
    """

    parts: tuple[str, str, str]
    request: str
    inputs: bytes
    outputs: bytes
    then: Then
    promised: bool = False


@dataclass(slots=True)
class Batch:
    """What the recorder's thread is to write to a segment, from its record ``first`` on.

    ``composed`` is None where the thread is to compose it, too; ``time`` was set when it was planned,
    so that the times of a segment are in order whoever composes.
    """

    segment: OpenSegment
    first: int
    entries: list[Entry]
    composed: Composed | None = None
    time: str = ""


class Composer:
    """Writes what a segment is made of; ``entropy`` gives random bytes, ``now`` never goes back."""

    def __init__(
        self,
        signer: Signer,
        home_key: bytes,
        now: Callable[[], Instant],
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._by = signer, signer.public.id
        self._home_key = home_key
        self._now = now
        self._entropy = entropy

    def take(self, signer: Signer) -> None:
        """Sign with another key from the next batch on."""
        self._by = signer, signer.public.id

    @property
    def worker(self) -> str:
        """The id of the key that signs."""
        return self._by[1]

    def begin(self, disk: SegmentDisk) -> OpenSegment:
        """A new segment on the disk; raises OSError."""
        now = self._now()
        name = f"{now.ns:020d}-{self._entropy(NAME_BYTES).hex()}"  # names sort as times do
        key = self._entropy(KEY_BYTES)
        wrapped = wrap_key(self._home_key, key, segment=name, nonce=self._entropy(NONCE_BYTES))
        head = open_segment(SegmentHeader(segment=name, worker=self.worker, opened=now, wrapped_key=wrapped))
        handle = disk.create(name, head)
        return OpenSegment(name, quote(name), handle, AESGCM(key), len(head))

    def batch(self, batch: Batch) -> Composed:
        """The bytes of a batch, and what its callers get."""
        segment, first, entries = batch.segment, batch.first, batch.entries
        random = self._entropy(2 * SALT_BYTES * len(entries))
        frames, hashes, leaves, salts = [], [], [], []
        seq = first
        for entry in entries:
            at = 2 * SALT_BYTES * (seq - first)
            salt = random[at : at + 2 * SALT_BYTES]
            leaf = format_leaf(
                entry.parts,
                digests=(
                    sha256(preimage(salt[:SALT_BYTES], entry.inputs)).hexdigest(),
                    sha256(preimage(salt[SALT_BYTES:], entry.outputs)).hexdigest(),
                ),
                request=entry.request,
                segment=segment.quoted,
                seq=seq,
                time=batch.time,
            )
            frames.append(
                pack_record(segment.cipher, seq, leaf, pack_payload(salt, entry.inputs, entry.outputs))
            )
            hashes.append(leaf_hash(leaf))
            leaves.append(leaf)
            salts.append(salt)
            seq += 1
        root, paths = batch_paths(hashes)
        signer, worker = self._by
        statement = BatchStatement(
            segment=segment.name, first=first, size=len(entries), root=root, worker=worker
        ).encode()
        signature = signer.sign(statement)
        frames.append(pack_statement(BATCH, statement, signature))
        shared = pack_batch(statement, signature)
        tokens = [
            pack_token(leaf, shared, path, salt)
            for leaf, path, salt in zip(leaves, paths, salts, strict=True)
        ]
        return b"".join(frames), hashes, tokens

    def seal(self, name: str, size: int, root: bytes) -> bytes:
        """The frame that closes a segment."""
        signer, worker = self._by
        statement = BatchStatement(
            segment=name, first=0, size=size, root=root, worker=worker, kind=SEAL_KIND
        ).encode()
        return pack_statement(SEAL, statement, signer.sign(statement))
