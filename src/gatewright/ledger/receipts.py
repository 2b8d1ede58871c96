"""Receipts: proof that one release made one prediction at one time, to be checked offline.

A prediction record is a *leaf*: canonical JSON (RFC 8785), format v1, frozen::

    {"endpoint":"…","input":"<hex>","key":"…","kind":"prediction","output":"<hex>","plan":7,
     "recording":"durable","release":"<hex>","request":"…","segment":"…","seq":0,
     "time":"2026-03-03T14:05:00Z","v":1}

Leaves that reach the disk with one write form a *batch*; the worker signs one statement about the
RFC 9162 root of the batch. A receipt is the leaf, its path to that root, the signed statement, and
the two salts that open the commitments to the input and output tensors.

Laws: ``Receipt.parse(r.token()) == r``; ``PredictionRecord.decode(p.encode()) == p``; every byte
of a token counts: no other token parses to the same receipt.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Protocol

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.commitments import commit
from gatewright.ledger.records import LEAF_BYTES
from gatewright.ledger.tree import HASH_BYTES, leaf_hash, node_hash, verify_inclusion

PREDICTION_FORMAT = 1
BATCH_FORMAT = 1
TOKEN_PREFIX = "gwr1."  # noqa: S105 - the mark of a format, not a secret
TOKEN_CHARS = 131_072
SALT_BYTES = 32
PATH_HASHES = 64

_PREDICTION_FIELDS = {
    "endpoint", "input", "key", "kind", "output", "plan", "recording", "release", "request",
    "segment", "seq", "time", "v",
}  # fmt: skip
_BATCH_FIELDS = {"first", "kind", "root", "segment", "size", "v", "worker"}
BATCH_KIND = "predictions.batch"
SEAL_KIND = "predictions.segment"
_U16 = struct.Struct(">H")


class VerifyingKey(Protocol):
    """The public half of a worker's key, as this package needs it."""

    @property
    def id(self) -> str:
        """Key id."""
        ...

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` over ``message`` was made by the private half."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRecord:
    """One prediction, as it was promised before the answer left.

    ``seq`` counts from 0 within ``segment``; ``release`` is the root that answered under plan
    number ``plan``; ``key`` is the id of the caller's API key; ``request`` the id that the caller
    gave, or empty; ``input`` and ``output`` are salted commitments to the tensors
    (:func:`gatewright.ledger.commitments.commit`).
    """

    seq: int
    segment: str
    time: Instant
    endpoint: str
    release: Digest
    plan: int
    key: str
    request: str
    input: Digest
    output: Digest
    recording: str = "durable"

    def encode(self) -> bytes:
        """The leaf."""
        return canonical.encode(
            {
                "endpoint": self.endpoint,
                "input": self.input.hex,
                "key": self.key,
                "kind": "prediction",
                "output": self.output.hex,
                "plan": self.plan,
                "recording": self.recording,
                "release": self.release.hex,
                "request": self.request,
                "segment": self.segment,
                "seq": self.seq,
                "time": str(self.time),
                "v": PREDICTION_FORMAT,
            }
        )

    @classmethod
    def decode(cls, leaf: bytes) -> PredictionRecord:
        """Read a leaf; raises BadInput for anything that ``encode`` would not write."""
        value = canonical.decode(leaf) if len(leaf) <= LEAF_BYTES else None
        if not isinstance(value, dict) or set(value) != _PREDICTION_FIELDS:
            raise _bad_leaf()
        if value["kind"] != "prediction" or value["v"] != PREDICTION_FORMAT:
            raise _bad_leaf()
        if not all(_is_count(value[name]) for name in ("plan", "seq")):
            raise _bad_leaf()
        if not all(isinstance(value[name], str) for name in _PREDICTION_FIELDS - {"plan", "seq", "v"}):
            raise _bad_leaf()
        record = cls(
            seq=value["seq"],
            segment=value["segment"],
            time=Instant.parse(value["time"]),
            endpoint=value["endpoint"],
            release=Digest(value["release"]),
            plan=value["plan"],
            key=value["key"],
            request=value["request"],
            input=Digest(value["input"]),
            output=Digest(value["output"]),
            recording=value["recording"],
        )
        if record.encode() != leaf:
            raise _bad_leaf()
        return record


def _bad_leaf() -> BadInput:
    return BadInput("ledger.prediction", "The leaf is not a version 1 prediction record.")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def quote(text: str) -> str:
    """Text as a canonical JSON string, quotes included."""
    return encode_basestring(text)


def leaf_parts(
    *, endpoint: str, key: str, plan: int, release: Digest, recording: str = "durable"
) -> tuple[str, str, str]:
    """What all leaves of one caller at one release share: a leaf's text around its two commitments."""
    return (
        f'{{"endpoint":{quote(endpoint)},"input":"',
        f'","key":{quote(key)},"kind":"prediction","output":"',
        f'","plan":{plan},"recording":{quote(recording)},"release":"{release.hex}","request":',
    )


def format_leaf(
    parts: tuple[str, str, str], *, digests: tuple[str, str], request: str, segment: str, seq: int, time: str
) -> bytes:
    """Write a leaf by joining texts; equal to :meth:`PredictionRecord.encode`, and ten times faster.

    ``digests`` are the commitments to input and output in hexadecimal; ``request`` and ``segment``
    are already quoted by :func:`quote`.
    """
    head, middle, tail = parts
    return (
        f"{head}{digests[0]}{middle}{digests[1]}{tail}{request},"
        f'"segment":{segment},"seq":{seq},"time":"{time}","v":1}}'
    ).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatement:
    """What a worker signs: ``size`` leaves of ``segment`` from ``first`` on have this ``root``.

    ``kind`` tells a batch from the closing statement over a whole segment, so that neither can
    stand for the other. Law: ``BatchStatement.decode(s.encode()) == s``.
    """

    segment: str
    first: int
    size: int
    root: bytes
    worker: str
    kind: str = BATCH_KIND

    def encode(self) -> bytes:
        """The signed bytes: canonical JSON."""
        return (
            f'{{"first":{self.first},"kind":"{self.kind}","root":"{self.root.hex()}",'
            f'"segment":{quote(self.segment)},"size":{self.size},"v":{BATCH_FORMAT},'
            f'"worker":{quote(self.worker)}}}'
        ).encode()

    @classmethod
    def decode(cls, data: bytes) -> BatchStatement:
        """Read signed bytes; raises BadInput for anything that ``encode`` would not write."""
        value = canonical.decode(data)
        bad = BadInput("ledger.batch", "The batch statement is not of version 1.")
        if not isinstance(value, dict) or set(value) != _BATCH_FIELDS:
            raise bad
        if value["kind"] not in (BATCH_KIND, SEAL_KIND) or value["v"] != BATCH_FORMAT:
            raise bad
        if not _is_count(value["first"]) or not _is_count(value["size"]) or value["size"] == 0:
            raise bad
        if not all(isinstance(value[name], str) for name in ("root", "segment", "worker")):
            raise bad
        statement = cls(
            segment=value["segment"],
            first=value["first"],
            size=value["size"],
            root=Digest(value["root"]).raw,
            worker=value["worker"],
            kind=value["kind"],
        )
        if statement.encode() != data:
            raise bad
        return statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a client holds. ``statement`` and ``leaf`` are the exact bytes that were signed and hashed.

    ``path`` leads from the leaf to the root of the batch, lowest sibling first; the salts open the
    leaf's two commitments and are known to the caller and to the encrypted payload only.
    """

    leaf: bytes
    statement: bytes
    signature: bytes
    path: tuple[bytes, ...]
    input_salt: bytes
    output_salt: bytes

    @property
    def id(self) -> str:
        """The short name of the prediction: its segment and its place in it."""
        record = PredictionRecord.decode(self.leaf)
        return f"{record.segment}/{record.seq}"

    def token(self) -> str:
        """One line of text that :meth:`parse` reads."""
        return pack_token(
            self.leaf,
            pack_batch(self.statement, self.signature),
            b"".join(self.path),
            self.input_salt + self.output_salt,
        )

    @classmethod
    def parse(cls, token: str) -> Receipt:
        """Read a token; raises BadInput for anything that ``token`` would not write."""
        reader = _Reader(_unwrap(token))
        leaf = reader.take(reader.number(2))
        statement = reader.take(reader.number(2))
        signature = reader.take(reader.number(1))
        count = reader.number(1)
        if count > PATH_HASHES:
            raise _bad_token("Its path is longer than any tree is high.")
        path = tuple(reader.take(HASH_BYTES) for _ in range(count))
        receipt = cls(
            leaf=leaf,
            statement=statement,
            signature=signature,
            path=path,
            input_salt=reader.take(SALT_BYTES),
            output_salt=reader.take(SALT_BYTES),
        )
        if reader.rest() or receipt.token() != token:
            raise _bad_token("It has bytes that do not belong to it.")
        return receipt


def pack_batch(statement: bytes, signature: bytes) -> bytes:
    """The part of a token that all receipts of one batch share."""
    return b"".join((_U16.pack(len(statement)), statement, bytes((len(signature),)), signature))


def pack_token(leaf: bytes, batch: bytes, path: bytes, salts: bytes) -> str:
    """Join a token: ``batch`` from :func:`pack_batch`, ``path`` the sibling hashes end to end."""
    raw = b"".join((_U16.pack(len(leaf)), leaf, batch, bytes((len(path) // HASH_BYTES,)), path, salts))
    return TOKEN_PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def receipt_id(token: str) -> str:
    """The id of the receipt of a token that this process made itself: nothing in it is checked.

    Law: ``receipt_id(r.token()) == r.id``, at a tenth of the cost.
    """
    reader = _Reader(_unwrap(token))
    leaf = json.loads(reader.take(reader.number(2)))
    return f"{leaf['segment']}/{leaf['seq']}"


def _bad_token(why: str) -> BadInput:
    return BadInput(
        "ledger.receipt",
        "This is not a receipt.",
        why=why,
        next="Give the whole text of 'receipt' as the answer held it.",
    )


def _unwrap(token: str) -> bytes:
    if not token.startswith(TOKEN_PREFIX) or len(token) > TOKEN_CHARS:
        raise _bad_token(
            f"A receipt begins with {TOKEN_PREFIX!r} and has at most {TOKEN_CHARS:,} characters."
        )
    text = token.removeprefix(TOKEN_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad_token("What follows the mark is not base64url.") from None


class _Reader:
    """Takes bytes from the front, and never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise _bad_token("It ends too early.")
        self._at += count
        return part

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def rest(self) -> bytes:
        return self._data[self._at :]


def batch_paths(leaf_hashes: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """Root of a batch, and for each leaf its path (hashes end to end), each node hashed once.

    Equal to :func:`~gatewright.ledger.tree.root_of` and
    :func:`~gatewright.ledger.tree.inclusion_path` of every index.
    """
    paths: list[list[bytes]] = [[] for _ in leaf_hashes]
    level = list(leaf_hashes)
    span = 1
    while len(level) > 1:
        for node, each in enumerate(level):
            sibling = node ^ 1
            if sibling < len(level):
                for place in range(sibling * span, min((sibling + 1) * span, len(paths))):
                    paths[place].append(each)
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = above + level[len(above) * 2 :]
        span *= 2
    return level[0], [b"".join(path) for path in paths]


def verify_receipt(receipt: Receipt, worker: VerifyingKey) -> PredictionRecord:
    """Return the record that ``worker`` promised.

    Raises Tampered, naming the part that does not hold: ``leaf``, ``statement``, ``signature`` or
    ``path``. That the key itself was certified is for the caller to check.
    """
    record = _read(receipt, "leaf")
    statement = _read_statement(receipt)
    if statement.worker != worker.id:
        raise _broken("It names another worker key than the one given.", "statement")
    if not worker.verifies(receipt.signature, receipt.statement):
        raise _broken("The worker's signature does not hold.", "signature")
    if record.segment != statement.segment:
        raise _broken("Leaf and statement name different segments.", "leaf")
    index = record.seq - statement.first
    if not verify_inclusion(
        leaf=leaf_hash(receipt.leaf),
        index=index,
        size=statement.size,
        path=receipt.path,
        root=statement.root,
    ):
        raise _broken("The leaf is not under the signed root.", "path")
    return record


def _read(receipt: Receipt, place: str) -> PredictionRecord:
    try:
        return PredictionRecord.decode(receipt.leaf)
    except GatewrightError as error:
        raise _broken(error.refusal.what, place) from None


def _read_statement(receipt: Receipt) -> BatchStatement:
    try:
        statement = BatchStatement.decode(receipt.statement)
    except GatewrightError as error:
        raise _broken(error.refusal.what, "statement") from None
    if statement.kind != BATCH_KIND:
        raise _broken("Its statement is not about a batch.", "statement")
    return statement


def _broken(why: str, place: str) -> Tampered:
    return Tampered(
        "ledger.receipt-broken",
        "The receipt does not hold.",
        why=why,
        next="Ask for the receipt again from whoever kept the answer; do not rely on this one.",
        place=place,
    )


def matches(receipt: Receipt, inputs: bytes, outputs: bytes) -> bool:
    """Whether the receipt is about these tensors, each given in the encoding that was committed to."""
    record = _read(receipt, "leaf")
    return (
        commit(receipt.input_salt, inputs) == record.input
        and commit(receipt.output_salt, outputs) == record.output
    )
