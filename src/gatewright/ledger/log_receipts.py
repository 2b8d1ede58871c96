"""Log receipts: one prediction, all the way from the worker's promise to a signed head of the log.

A receipt is a promise, made before the answer left. A log receipt shows that it was kept: the path
from the prediction's leaf to the root of its segment, the ledger's record of that segment
(``predictions.sealed``), the path from that record to the root of a checkpoint, and the checkpoint.
The file is canonical JSON (RFC 8785), format 1, named ``*.proof.json``::

    {"checkpoint":"<signed note>","format":1,"index":7,"kind":"gatewright.log-receipt",
     "path":["<hex>",…],"receipt":"gwr1.…","record":"<leaf 7 of the log>","segment_path":["<hex>",…]}

Everything that is verified follows from the leaf inside the receipt: its hash begins both paths, and
its own segment and number are those the record and the paths must have. No place is taken from
beside it, so the proof of another entry never fits.

Law: ``LogReceipt.decode(p.encode()) == p``, and no other bytes decode to ``p``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gatewright.kernel import canonical
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Tampered
from gatewright.kernel.instants import Instant
from gatewright.ledger.checkpoints import Checkpoint
from gatewright.ledger.receipts import (
    PATH_HASHES,
    BatchStatement,
    PredictionRecord,
    Receipt,
    VerifyingKey,
    verify_receipt,
)
from gatewright.ledger.records import Record
from gatewright.ledger.tree import HASH_BYTES, leaf_hash, verify_inclusion

LOG_RECEIPT_FORMAT = 1
LOG_RECEIPT_KIND = "gatewright.log-receipt"
LOG_RECEIPT_BYTES = 2 * 1024**2
SEALED_KIND = "predictions.sealed"

_FIELDS = {"checkpoint", "format", "index", "kind", "path", "receipt", "record", "segment_path"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReceipt:
    """The parts of a proof, not yet believed.

    ``token`` is the receipt; ``segment_path`` and ``path`` hold 32-byte hashes, lowest sibling first;
    ``record`` is leaf ``index`` of the log, ``checkpoint`` a signed note.
    """

    token: str
    segment_path: tuple[bytes, ...]
    index: int
    record: bytes
    path: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """The file. Raises BadInput for parts that are no text in UTF-8."""
        try:
            texts = {"checkpoint": self.checkpoint.decode(), "record": self.record.decode()}
        except UnicodeDecodeError:
            raise _bad("The record or the checkpoint is not UTF-8 text.") from None
        return canonical.encode(
            {
                **texts,
                "format": LOG_RECEIPT_FORMAT,
                "index": self.index,
                "kind": LOG_RECEIPT_KIND,
                "path": [part.hex() for part in self.path],
                "receipt": self.token,
                "segment_path": [part.hex() for part in self.segment_path],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> LogReceipt:
        """Read a file; raises BadInput for anything that :meth:`encode` would not write."""
        if len(data) > LOG_RECEIPT_BYTES:
            raise _bad(f"It is longer than {LOG_RECEIPT_BYTES:,} bytes.")
        value = canonical.decode(data)
        if not isinstance(value, dict) or value.get("kind") != LOG_RECEIPT_KIND:
            raise _bad(f"Its kind is not {LOG_RECEIPT_KIND!r}.")
        if type(value.get("format")) is not int or value["format"] != LOG_RECEIPT_FORMAT:
            raise _bad(f"This version reads format {LOG_RECEIPT_FORMAT}.")
        if set(value) != _FIELDS:
            raise _bad("It has other parts than a proof has.")
        if type(value["index"]) is not int or value["index"] < 0:
            raise _bad("Its index is not the number of a record.")
        if not all(isinstance(value[name], str) for name in ("checkpoint", "receipt", "record")):
            raise _bad("A part of it is not text.")
        return cls(
            token=value["receipt"],
            segment_path=_hashes(value["segment_path"]),
            index=value["index"],
            record=value["record"].encode(),
            path=_hashes(value["path"]),
            checkpoint=value["checkpoint"].encode(),
        )


def _bad(why: str) -> BadInput:
    return BadInput("ledger.log-receipt", "This is not the proof of a prediction.", why=why)


def _hashes(value: Any) -> tuple[bytes, ...]:
    if not isinstance(value, list) or len(value) > PATH_HASHES:
        raise _bad(f"A path is a list of at most {PATH_HASHES} hashes.")
    try:
        return tuple(Digest(text).raw for text in value)
    except (TypeError, GatewrightError):
        raise _bad(f"A hash is {HASH_BYTES} bytes in lower-case hexadecimal.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What a ``predictions.sealed`` record says: the segment, how many predictions, their root and times."""

    index: int
    time: Instant
    segment: str
    worker: str
    records: int
    root: bytes
    first: Instant
    last: Instant

    @classmethod
    def of(cls, record: Record) -> Sealed | None:
        """What the record says, or None where it is of another kind; raises BadInput for a body that is none."""
        if record.draft.kind != SEALED_KIND:
            return None
        body = record.draft.body
        counted, texts = (
            body.get("records"),
            [body.get(name) for name in ("id", "worker", "root", "first", "last")],
        )
        if type(counted) is not int or counted < 1 or not all(isinstance(text, str) for text in texts):
            raise BadInput("ledger.sealed", "The record does not say which predictions were sealed.")
        segment, worker, root, first, last = (str(text) for text in texts)
        return cls(
            index=record.seq,
            time=record.time,
            segment=segment,
            worker=worker,
            records=counted,
            root=Digest(root).raw,
            first=Instant.parse(first),
            last=Instant.parse(last),
        )


def _broken(what: str, place: str, why: str = "") -> Tampered:
    return Tampered(
        "ledger.log-receipt-broken",
        what,
        why=why,
        next="Keep the file as evidence; hold the receipt against the log: gatewright verify RECEIPT --log FOLDER",
        place=place,
    )


def sealed_in(proof: LogReceipt) -> Sealed:
    """The record of the segment that a proof carries. Raises Tampered unless it is record ``index``, and of that kind."""
    try:
        record = Record.decode(proof.record)
        sealed = Sealed.of(record)
    except GatewrightError as error:
        raise _broken(
            "The ledger's record in the proof cannot be read.", "record", error.refusal.what
        ) from None
    if sealed is None:
        raise _broken(
            f"The record in the proof is no {SEALED_KIND}.", "record", f"It is {record.draft.kind}."
        )
    if sealed.index != proof.index:
        why = f"The record says that it is number {sealed.index}."
        raise _broken(f"The record in the proof is not number {proof.index}.", "index", why)
    return sealed


def verify_log_receipt(
    proof: LogReceipt, worker: VerifyingKey, head: Checkpoint
) -> tuple[PredictionRecord, Sealed]:
    """The prediction and the record of its segment, once every step from the one to ``head`` holds.

    ``head`` is what the proof's checkpoint states, believed by the caller; ``worker`` the certified key
    that the receipt names. Raises Tampered with the first part that does not hold: ``receipt``,
    ``record``, ``index``, ``segment_path`` or ``path``; BadInput for a token that is no receipt.
    """
    receipt = Receipt.parse(proof.token)
    promised = verify_receipt(receipt, worker)
    sealed = sealed_in(proof)
    require_kept(receipt, promised, sealed)
    if not verify_inclusion(
        leaf=leaf_hash(receipt.leaf),
        index=promised.seq,
        size=sealed.records,
        path=proof.segment_path,
        root=sealed.root,
    ):
        raise _broken("The prediction is not in the segment that the ledger recorded.", "segment_path")
    if not verify_inclusion(
        leaf=leaf_hash(proof.record), index=sealed.index, size=head.size, path=proof.path, root=head.root
    ):
        what = f"The ledger's record {sealed.index} is not under the checkpoint of {head.size} records."
        raise _broken(what, "path")
    return promised, sealed


def require_kept(receipt: Receipt, promised: PredictionRecord, sealed: Sealed) -> None:
    """Raise Tampered where the recorded segment cannot be the one that the worker promised.

    It must be the segment that the leaf names, hold the whole batch that the worker signed, and,
    where that batch is the whole segment, have its root. Whether the leaf itself is in it only a path
    shows (:func:`verify_log_receipt`).
    """
    place = f"record {sealed.index}"
    statement = BatchStatement.decode(receipt.statement)
    if sealed.segment != promised.segment:
        what = "The record in the proof is about another segment."
        raise _broken(
            what, place, f"The prediction is in {promised.segment}, the record about {sealed.segment}."
        )
    if sealed.records < statement.first + statement.size:
        raise Tampered(
            "ledger.promise-broken",
            f"The log records {sealed.records} predictions of segment {sealed.segment}; "
            f"the worker promised at least {statement.first + statement.size}.",
            why="Predictions were left out after their receipts had been given.",
            next="Keep the receipt and the log as evidence.",
            place=place,
        )
    whole = (statement.first, statement.size) == (0, sealed.records)
    if whole and statement.root != sealed.root:
        raise Tampered(
            "ledger.promise-broken",
            f"The log records other predictions for segment {sealed.segment} than the worker signed.",
            why="The batch that the worker signed is the whole segment, and has another root.",
            next="Keep the receipt and the log as evidence.",
            place=place,
        )
