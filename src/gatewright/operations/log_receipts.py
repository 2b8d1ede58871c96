"""Log receipts: made in a home for one of its predictions, and verified by whoever gets the file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gatewright.deployments.plan import Recording
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse, Tampered
from gatewright.ledger.log_receipts import LogReceipt, Sealed, verify_log_receipt
from gatewright.ledger.receipts import PredictionRecord, Receipt
from gatewright.ledger.segments import Scan, scan, verify_segment
from gatewright.ledger.tree import inclusion_path
from gatewright.operations import receipt_verification, verify
from gatewright.operations.answers import Saved
from gatewright.operations.catalogue import Segment, read
from gatewright.operations.files import file_failures, read_file
from gatewright.operations.home import Home
from gatewright.operations.segment_search import segment_file
from gatewright.operations.verify import Verified
from gatewright.operations.witnessed import kept_notes
from gatewright.releases.heads import Head, open_head
from gatewright.releases.trust import TrustRoot


def prove_to(
    home: Home, saved: Saved, file: Path, *, segments: Path | None = None
) -> tuple[LogReceipt, bytes]:
    """Write the log receipt of a prediction to a new file; returns it and its bytes. Raises what :func:`prove` raises."""
    if os.path.lexists(file):
        raise Misuse("operations.file-exists", f"{file} is there already.", next="Name a new file.")
    proof = prove(home, saved, segments=segments)
    content = proof.encode()
    with file_failures("write the proof", file):
        home.write(file, content)
    return proof, content


def prove(home: Home, saved: Saved, *, segments: Path | None = None) -> LogReceipt:
    """The log receipt of a prediction of this home, verified before it is given away.

    ``segments`` is a further folder of prediction records. Raises Misuse where the segment is not
    sealed or not collected yet, Tampered where the home does not hold what the worker promised.
    """
    certificates = [
        read_file(path, limit=verify.STATEMENT_BYTES)
        for path in sorted((home.folder / "workers").glob("*.dsse.json"))
    ]
    receipt = Receipt.parse(saved.token)
    recorded = receipt_verification.recorded_as(home, receipt)
    receipt_verification.receipt(Saved(token=saved.token), home.trust, certificates, recorded=recorded)
    promised = PredictionRecord.decode(receipt.leaf)
    document = home.archive.get("segments", promised.segment)
    file = segment_file(home, promised.segment, segments)
    if document is None:
        raise _not_recorded(promised, file)
    number = int(str(document["seq"]))
    (record,) = home.archive.leaves(number, number + 1)
    if file is None:
        raise _missing("The ledger names its segment; the file is gone.", f"segment {promised.segment}")
    found = scan(file[0])
    verify_segment(found, verify.certified_workers(home.trust, certificates))
    entry = read(Segment, document)
    if (entry.file, entry.root.raw) != (Digest.of(file[0]), found.root):
        raise _missing("Its segment is not the file that was recorded.", f"segment {promised.segment}")
    path = _path_in_segment(receipt, promised.seq, found)
    note, log_path = _path_in_log(home, number)
    proof = LogReceipt(
        token=saved.token, segment_path=path, index=number, record=record, path=log_path, checkpoint=note
    )
    verify_proof(proof.encode(), home.trust, certificates)
    return proof


def _not_recorded(promised: PredictionRecord, file: tuple[bytes, bool] | None) -> GatewrightError:
    """Why the ledger does not name the segment: it is on its way there, or it is gone."""
    what = "The prediction is not in the log yet."
    place = f"segment {promised.segment}"
    if file is not None and file[1]:
        return Misuse(
            "operations.not-collected-yet",
            what,
            why="Its segment is sealed and waits to be recorded.",
            next="Run 'gatewright collect', then ask again.",
            place=place,
        )
    if file is not None:
        return Misuse(
            "operations.not-sealed-yet",
            what,
            why="Its segment is still open: one is sealed when it is a second old or holds 65,536 predictions; "
            "one of a worker that was killed when a worker starts again.",
            next="Ask again in a moment; until then the receipt itself is the worker's promise.",
            place=place,
        )
    if promised.recording != Recording.DURABLE:
        return Misuse(
            "operations.never-recorded",
            "The prediction is neither in the log nor on the disk.",
            why="It was recorded after the answer (asynchronous), and a crash may have lost it.",
            next="The receipt still proves what the worker signed.",
            place=place,
        )
    return _missing("Its segment is neither in the ledger nor on the disk.", place)


def _missing(why: str, place: str) -> Tampered:
    return Tampered(
        "operations.prediction-missing",
        "The prediction that the worker promised to record is not in this home.",
        why=why,
        next="Keep the receipt as evidence; verify the ledger: gatewright verify",
        place=place,
    )


def _path_in_segment(receipt: Receipt, number: int, found: Scan) -> tuple[bytes, ...]:
    """The path from the leaf to the root of its segment, which was verified."""
    if number >= len(found.leaves) or found.leaves[number] != receipt.leaf:
        raise _missing(
            "The recorded segment does not hold this prediction.", f"segment {found.header.segment}"
        )
    return inclusion_path(found.leaf_hashes, number)


def _path_in_log(home: Home, number: int) -> tuple[bytes, tuple[bytes, ...]]:
    """A signed head that covers the record, one that witnesses cosigned where there is one, and the path to it."""
    for note in kept_notes(home.folder).values():
        with suppress(BadInput, Tampered):  # signed with keys that were revoked since: it proves nothing
            size = open_head(note, home.trust).checkpoint.size
            if number < size:
                return note, home.archive.inclusion(number, size)
    note = home.archive.checkpoint()
    size = open_head(note, home.trust).checkpoint.size
    if number < size:
        return note, home.archive.inclusion(number, size)
    raise _missing("The signed checkpoint does not cover the record of its segment.", f"record {number}")


def verify_proof(content: bytes, trust: TrustRoot, certificates: Iterable[bytes]) -> Verified:
    """Verify a log receipt offline: the worker's promise, the segment, the log, the signed head.

    Raises BadInput for a file that is none, Tampered with the first part that does not hold.
    """
    proof = LogReceipt.decode(content)
    beside = tuple(certificates)
    head = head_of(proof.checkpoint, trust)
    worker = receipt_verification.signer(Receipt.parse(proof.token), trust, beside)
    promised, sealed = verify_log_receipt(proof, worker.public, head.checkpoint)
    facts = receipt_verification.receipt(Saved(token=proof.token), trust, beside, recorded=sealed.index).facts
    return Verified(
        kind="log-receipt",
        sentence=f"{_answered(promised)} {_kept(promised, sealed, head)}",
        facts={**facts, **_facts(sealed, head)},
    )


def head_of(note: bytes, trust: TrustRoot) -> Head:
    """The believed head of a proof. Raises Tampered, with its place, for anything else."""
    try:
        return open_head(note, trust)
    except (BadInput, Tampered) as error:
        found = error.refusal
        raise Tampered(found.code, found.what, why=found.why, next=found.next, place="checkpoint") from None


def _answered(promised: PredictionRecord) -> str:
    time = str(promised.time)
    return (
        f"Endpoint {promised.endpoint} answered on {time[:10]} at {time[11:19]} UTC with release "
        f"{promised.release.short}, and the log kept it:"
    )


def _kept(promised: PredictionRecord, sealed: Sealed, head: Head) -> str:
    names = ", ".join(each.witness for each in head.cosigned)
    seen = f"which the witness {names} cosigned" if names else "which no witness has cosigned"
    return (
        f"number {promised.seq:,} of {sealed.records:,} in segment {sealed.segment}, which is record "
        f"{sealed.index:,} under the signed checkpoint of {head.checkpoint.size:,} records, {seen}."
    )


def _facts(sealed: Sealed, head: Head) -> JsonObject:
    return {
        "segment": sealed.segment,
        "predictions": sealed.records,
        "record": sealed.index,
        "recorded": str(sealed.time),
        "checkpoint": head.checkpoint.size,
        "root": head.checkpoint.root.hex(),
        "cosigned": [each.witness for each in head.cosigned],
    }
