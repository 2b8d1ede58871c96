r"""The segment: a file of prediction records, format v1, as pure functions over bytes.

::

    "GWSEGv1\n"                                     eight bytes
    frame*                                           until the end of the file
    frame  = u32 length | u32 crc | u8 kind | body   big-endian; ``length`` counts kind and body,
                                                     ``crc`` is CRC-32 over length, kind and body
    kind 0 HEADER  canonical JSON; exactly one, first
    kind 1 RECORD  u16 leaf length | leaf | AES-256-GCM of the payload
    kind 2 BATCH   u16 statement length | statement | signature; closes the records since the last one
    kind 3 SEAL    as BATCH, over all leaves of the segment; nothing follows it

The payload (32-byte salts of input and output, u32 length of the input encoding, both encodings)
is encrypted with the segment's own data key; the nonce is ``seq`` in twelve bytes, the leaf is the
associated data. The data key is itself encrypted with the home's data key: destroying that
key forgets the payloads and leaves every proof valid.

A record counts only inside a signed batch. What a crash left after the last whole batch was never
answered for: :func:`scan` says where to cut.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gatewright.kernel import canonical
from gatewright.kernel.errors import BadInput, GatewrightError, Refusal, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.receipts import (
    BATCH_KIND,
    SALT_BYTES,
    SEAL_KIND,
    BatchStatement,
    VerifyingKey,
    pack_batch,
)
from gatewright.ledger.records import LEAF_BYTES
from gatewright.ledger.tree import EMPTY_ROOT, leaf_hash, root_of

SEGMENT_FORMAT = 1
MAGIC = b"GWSEGv1\n"
SEGMENT_RECORDS = 65_536
FRAME_BYTES = 96 * 2**20
KEY_BYTES = 32
NONCE_BYTES = 12

HEADER, RECORD, BATCH, SEAL = range(4)

_FRAME = struct.Struct(">IIB")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_HEADER_FIELDS = {"format", "key", "opened", "segment", "worker"}
_KEY_LABEL = b"gatewright segment key v1 "


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """Who opened the segment, when, and its data key, wrapped. Law: ``decode(encode(h)) == h``."""

    segment: str
    worker: str
    opened: Instant
    wrapped_key: bytes

    def encode(self) -> bytes:
        """Canonical JSON."""
        return canonical.encode(
            {
                "format": SEGMENT_FORMAT,
                "key": base64.b64encode(self.wrapped_key).decode(),
                "opened": str(self.opened),
                "segment": self.segment,
                "worker": self.worker,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> SegmentHeader:
        """Read a header; raises BadInput for anything that ``encode`` would not write."""
        value = canonical.decode(data)
        bad = BadInput("ledger.segment-header", "The segment's header is not of version 1.")
        if not isinstance(value, dict) or set(value) != _HEADER_FIELDS or value["format"] != SEGMENT_FORMAT:
            raise bad
        if not all(isinstance(value[name], str) for name in _HEADER_FIELDS - {"format"}):
            raise bad
        try:
            key = base64.b64decode(value["key"], validate=True)
        except (binascii.Error, ValueError):
            raise bad from None
        header = cls(
            segment=value["segment"],
            worker=value["worker"],
            opened=Instant.parse(value["opened"]),
            wrapped_key=key,
        )
        if header.encode() != data:
            raise bad
        return header


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Leaves ``first`` up to ``first + size``, with the statement that the worker ``worker`` signed about them."""

    statement: bytes
    signature: bytes
    first: int
    size: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What a record is about: the salts, and the encodings of the tensors that came and went."""

    input_salt: bytes
    output_salt: bytes
    inputs: bytes
    outputs: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """All that counts in a segment: whole, signed batches.

    ``good_bytes`` is the length of the longest prefix that ends with a whole batch (or header, or
    seal); ``torn`` says what stands after it, or is None. ``sealed`` tells whether the worker's
    closing statement was found; ``seal`` holds it, its signature beside it.
    """

    header: SegmentHeader
    leaves: tuple[bytes, ...]
    ciphertexts: tuple[bytes, ...]
    leaf_hashes: tuple[bytes, ...]
    batches: tuple[Batch, ...]
    seal: Batch | None
    good_bytes: int
    torn: Refusal | None

    @property
    def sealed(self) -> bool:
        """Whether the segment was closed properly."""
        return self.seal is not None

    @property
    def root(self) -> bytes:
        """RFC 9162 root over all leaves: what enters the ledger as ``predictions.sealed``."""
        return root_of(self.leaf_hashes) if self.leaf_hashes else EMPTY_ROOT


def wrap_key(home_key: bytes, data_key: bytes, *, segment: str, nonce: bytes) -> bytes:
    """Encrypt a segment's data key under the home's; ``nonce`` is 12 fresh random bytes."""
    return nonce + AESGCM(home_key).encrypt(nonce, data_key, _KEY_LABEL + segment.encode())


def unwrap_key(home_key: bytes, header: SegmentHeader) -> bytes:
    """The segment's data key; raises Tampered when the home's key does not open it."""
    nonce, sealed = header.wrapped_key[:NONCE_BYTES], header.wrapped_key[NONCE_BYTES:]
    try:
        return AESGCM(home_key).decrypt(nonce, sealed, _KEY_LABEL + header.segment.encode())
    except (InvalidTag, ValueError):
        raise Tampered(
            "ledger.segment-key",
            "The data key of the segment does not open.",
            why="It was destroyed, altered, or belongs to another home.",
            place=header.segment,
        ) from None


def pack_frame(kind: int, body: bytes) -> bytes:
    """One frame."""
    length = len(body) + 1
    crc = zlib.crc32(body, zlib.crc32(bytes((kind,)), zlib.crc32(_U32.pack(length))))
    return _FRAME.pack(length, crc, kind) + body


def open_segment(header: SegmentHeader) -> bytes:
    """The bytes that a new segment begins with."""
    return MAGIC + pack_frame(HEADER, header.encode())


def pack_payload(salts: bytes, inputs: bytes, outputs: bytes) -> bytes:
    """The plain payload; ``salts`` are those of input and output end to end, 64 bytes."""
    return b"".join((salts, _U32.pack(len(inputs)), inputs, outputs))


def pack_record(cipher: AESGCM, seq: int, leaf: bytes, payload: bytes) -> bytes:
    """One RECORD frame; ``cipher`` holds the segment's data key, used once for each ``seq``."""
    sealed = cipher.encrypt(seq.to_bytes(NONCE_BYTES, "big"), payload, leaf)
    return pack_frame(RECORD, b"".join((_U16.pack(len(leaf)), leaf, sealed)))


def pack_statement(kind: int, statement: bytes, signature: bytes) -> bytes:
    """One BATCH or SEAL frame."""
    return pack_frame(kind, pack_batch(statement, signature))


def open_payload(data_key: bytes, seq: int, leaf: bytes, ciphertext: bytes) -> Payload:
    """Decrypt what record ``seq`` is about; raises Tampered when leaf, place and bytes do not belong together."""
    bad = Tampered(
        "ledger.segment-payload", "A payload does not belong to its record.", place=f"record {seq}"
    )
    try:
        plain = AESGCM(data_key).decrypt(seq.to_bytes(NONCE_BYTES, "big"), ciphertext, leaf)
    except (InvalidTag, ValueError):
        raise bad from None
    start = 2 * SALT_BYTES + _U32.size
    if len(plain) < start:
        raise bad
    stop = start + _U32.unpack_from(plain, 2 * SALT_BYTES)[0]
    if stop > len(plain):
        raise bad
    return Payload(
        input_salt=plain[:SALT_BYTES],
        output_salt=plain[SALT_BYTES : 2 * SALT_BYTES],
        inputs=plain[start:stop],
        outputs=plain[stop:],
    )


class _Torn(Exception):
    """Something that no whole segment holds, at a byte position."""


def _frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """``(kind, body, end)`` of every whole frame; raises _Torn at the first that is not."""
    at = len(MAGIC)
    while at < len(data):
        if at + _FRAME.size > len(data):
            raise _Torn("a frame ends too early")
        length, crc, kind = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length - 1
        if not 1 <= length <= FRAME_BYTES or end > len(data):
            raise _Torn("a frame ends too early")
        body = data[at + _FRAME.size : end]
        if zlib.crc32(body, zlib.crc32(bytes((kind,)), zlib.crc32(_U32.pack(length)))) != crc:
            raise _Torn("the check sum of a frame is wrong")
        yield kind, body, end
        at = end


def _split(body: bytes, limit: int) -> tuple[bytes, bytes]:
    """The u16-counted front of a body, and the rest."""
    if len(body) < _U16.size:
        raise _Torn("a frame is too short")
    stop = _U16.size + _U16.unpack_from(body)[0]
    if stop > min(len(body), limit + _U16.size):
        raise _Torn("a frame is too short")
    return body[_U16.size : stop], body[stop:]


class _Collected:
    """What a scan has found so far; ``pending`` waits for the batch that signs it."""

    def __init__(self, header: SegmentHeader, end: int) -> None:
        self.header = header
        self.good_bytes = end
        self.leaves: list[bytes] = []
        self.ciphertexts: list[bytes] = []
        self.leaf_hashes: list[bytes] = []
        self.batches: list[Batch] = []
        self.pending: list[tuple[bytes, bytes]] = []
        self.seal: Batch | None = None

    def take(self, kind: int, body: bytes, end: int) -> None:
        if self.seal is not None:
            raise _Torn("something follows the seal")
        if kind == RECORD:
            self.pending.append(_split(body, LEAF_BYTES))
        elif kind == BATCH:
            self._close(body, end)
        elif kind == SEAL:
            self._seal(body, end)
        else:
            raise _Torn(f"a frame has the unknown kind {kind}")

    def _close(self, body: bytes, end: int) -> None:
        hashes = [leaf_hash(leaf) for leaf, _ in self.pending]
        batch = self._statement(
            body, BATCH_KIND, first=len(self.leaves), size=len(hashes), root=root_of(hashes)
        )
        self.leaves += [leaf for leaf, _ in self.pending]
        self.ciphertexts += [sealed for _, sealed in self.pending]
        self.leaf_hashes += hashes
        self.batches.append(batch)
        self.pending = []
        self.good_bytes = end

    def _seal(self, body: bytes, end: int) -> None:
        if self.pending or not self.leaves:
            raise _Torn("the seal does not close the last batch")
        self.seal = self._statement(
            body, SEAL_KIND, first=0, size=len(self.leaves), root=root_of(self.leaf_hashes)
        )
        self.good_bytes = end

    def _statement(self, body: bytes, kind: str, *, first: int, size: int, root: bytes) -> Batch:
        written, rest = _split(body, LEAF_BYTES)
        expected = BatchStatement(
            segment=self.header.segment,
            first=first,
            size=size,
            root=root,
            worker=self.header.worker,
            kind=kind,
        )
        whole = bool(size) and written == expected.encode()
        statement = expected if whole else _read_statement(written)
        about = (statement.kind, statement.segment, statement.first, statement.size)
        if about != (kind, self.header.segment, first, size):
            raise _Torn("a batch statement is about other records")
        if statement.root != root:
            raise _Torn("the records are not those that the batch statement is about")
        if not rest or len(rest) != rest[0] + 1:
            raise _Torn("a signature has the wrong length")
        return Batch(statement=written, signature=rest[1:], first=first, size=size, worker=statement.worker)


def _read_statement(written: bytes) -> BatchStatement:
    """The slow way, for a statement that is not written as expected: it says what is wrong."""
    try:
        return BatchStatement.decode(written)
    except GatewrightError:
        raise _Torn("a batch statement cannot be read") from None


def _first_frame(data: bytes) -> tuple[SegmentHeader, int]:
    try:
        kind, body, end = next(_frames(data)) if data.startswith(MAGIC) else (RECORD, b"", 0)
        header = SegmentHeader.decode(body) if kind == HEADER else None
    except (StopIteration, GatewrightError, _Torn):
        header = None
    if header is None:
        raise Tampered(
            "ledger.segment-start",
            "The file does not begin as a segment of version 1 does.",
            why="Its first bytes are missing or altered.",
            place="byte 0",
        )
    return header, end


def scan(data: bytes) -> Scan:
    """Read a segment up to its last whole batch.

    Check sums, Merkle roots and the order of the batches are checked; signatures are
    :func:`verify_segment`'s. Raises Tampered when not even the header can be read.
    """
    header, start = _first_frame(data)
    found = _Collected(header, start)
    fault = ""
    try:
        for kind, body, end in _frames(data):
            if end > start:
                found.take(kind, body, end)
    except _Torn as error:
        fault = str(error)
    if found.pending and not fault:
        fault = "records stand there that no batch statement signs"
    torn = Refusal(
        code="ledger.segment-torn",
        what=f"The segment is whole up to byte {found.good_bytes:,}; after that, {fault}.",
        why="A write was cut short, or the file was altered.",
        place=f"{header.segment}, byte {found.good_bytes}",
    )
    return Scan(
        header=header,
        leaves=tuple(found.leaves),
        ciphertexts=tuple(found.ciphertexts),
        leaf_hashes=tuple(found.leaf_hashes),
        batches=tuple(found.batches),
        seal=found.seal,
        good_bytes=found.good_bytes,
        torn=torn if fault else None,
    )


def verify_segment(found: Scan, workers: Mapping[str, VerifyingKey]) -> None:
    """Check the signature of every batch and of the seal.

    ``workers`` maps key ids to the keys that were certified. Raises Tampered with the place of the
    first statement that does not hold, and for a segment that is torn or has lost its seal.
    """
    if found.torn is not None:
        raise Tampered.of(found.torn)
    if found.seal is None:
        raise Tampered(
            "ledger.segment-unsealed",
            "The segment does not end with the worker's closing statement.",
            why="It is being written still, or its end was cut off.",
            place=f"{found.header.segment}, byte {found.good_bytes}",
        )
    named = [(f"batch {number}", batch) for number, batch in enumerate(found.batches)]
    for name, batch in (*named, ("seal", found.seal)):
        worker = workers.get(batch.worker)
        if worker is None or not worker.verifies(batch.signature, batch.statement):
            raise Tampered(
                "ledger.segment-signature",
                "A signature in the segment does not hold.",
                why="No certified worker key made it." if worker is None else "The bytes were altered.",
                place=f"{found.header.segment}, {name}",
            )
