"""Verifying a receipt, offline: by a worker's certified key, over exactly the answer that is shown.

Raises Tampered, naming the first thing that does not hold and its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gatewright.deployments.plan import Recording
from gatewright.kernel.errors import BadInput, Misuse, Tampered
from gatewright.ledger.commitments import commit
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt, verify_receipt
from gatewright.operations.answers import Document, Saved, SavedTensor, inputs_are, outputs_encoding
from gatewright.operations.home import Home
from gatewright.operations.verify import Verified
from gatewright.releases.judgements import Revocation
from gatewright.releases.statement import WorkerKey
from gatewright.releases.trust import TrustRoot
from gatewright.releases.verification import (
    VerifiedRelease,
)
from gatewright.releases.worker_keys import certified, require_counts

RECEIPT_BYTES = 16 * 1024**2
SHADOW = "shadow-"
"""How the recording of a shadow's prediction begins; what follows says whether it agreed."""


def receipt(
    saved: Saved,
    trust: TrustRoot,
    certificates: Iterable[bytes],
    *,
    request: Sequence[SavedTensor] | None = None,
    known: VerifiedRelease | None = None,
    recorded: int | None = None,
) -> Verified:
    """Verify a receipt: by a worker key that both release keys certified, over exactly this record.

    The outputs of the answer that carried it, and the inputs of ``request``, are compared with what
    the record commits to; what could not be compared is said. ``known`` is a verified release: where
    it is the one that answered, it gives the version and the order and types of the inputs.
    ``recorded`` is the number of the record in the log that names its segment, where that is proved: of a
    worker key that was revoked, only what the log had before counts.
    """
    found = Receipt.parse(saved.token)
    worker = signer(found, trust, tuple(certificates))
    record = verify_receipt(found, worker.public)
    require_counts(worker, record.time, trust, recorded=recorded)
    release = known if known is not None and known.root == record.release else None
    _compare_names(saved.answer or {}, record, release)
    compared = {
        "outputs": _outputs_compared(saved, found, record),
        "inputs": _inputs_compared(request, found, record, release),
    }
    return Verified(
        kind="receipt",
        sentence=_receipt_sentence(saved, record, release, compared),
        facts={
            "id": found.id,
            "endpoint": record.endpoint,
            "release": record.release.hex,
            "time": str(record.time),
            "plan": record.plan,
            "key": record.key,
            "request": record.request,
            "input": record.input.hex,
            "output": record.output.hex,
            "recording": record.recording,
            "worker": BatchStatement.decode(found.statement).worker,
            "compared": [part for part, done in compared.items() if done],
            "not_compared": [part for part, done in compared.items() if not done],
            "outputs_missing": saved.head_only,
            "revoked": None if release is None or release.revoked is None else str(release.revoked.time),
        },
    )


def recorded_as(home: Home, found: Receipt) -> int | None:
    """The number of the record that names a receipt's segment; None where the ledger has none."""
    document = home.archive.get("segments", PredictionRecord.decode(found.leaf).segment)
    return None if document is None else int(str(document["seq"]))


def signer(found: Receipt, trust: TrustRoot, certificates: Sequence[bytes]) -> WorkerKey:
    """The certified worker that a receipt names. Raises Misuse without certificates, Tampered where none is its."""
    if not certificates:
        raise Misuse(
            "operations.no-certificates",
            "No worker certificate lies beside trust.json.",
            why="A receipt is signed by a worker's key, which the owner's keys vouch for in a certificate.",
            next="Get the folder .gatewright/workers from the owner ('gatewright release export' writes it), "
            "put it beside trust.json and name their folder: --trust FOLDER.",
        )
    workers = certified(certificates, trust)
    try:
        named = BatchStatement.decode(found.statement).worker
    except BadInput as error:
        raise Tampered(
            "ledger.receipt-broken",
            "The receipt does not hold: what its worker signed cannot be read.",
            why=error.refusal.what,
            next="Ask for the receipt again from whoever kept the answer; do not rely on this one.",
            place="statement",
        ) from None
    if named not in workers:
        raise Tampered(
            "operations.unknown-worker",
            "The worker that signed the receipt is none of those that the trusted keys vouch for.",
            why=f"It was signed by the key {named[:12]}; there are certificates of "
            f"{', '.join(sorted(each[:12] for each in workers))}.",
            next="If the owner certified another worker since, ask for the newest workers/ folder; "
            "otherwise do not rely on this receipt.",
            place="statement",
        )
    return workers[named]


def _compare_names(answer: Document, record: PredictionRecord, release: VerifiedRelease | None) -> None:
    """The endpoint, request id and version in an answer are those of the record."""
    signed = {"model_name": record.endpoint, "id": record.request}
    if release is not None:
        signed["model_version"] = str(release.manifest.version)
    for part, expected in signed.items():
        if part in answer and answer[part] != expected:
            raise _not_signed(f"The {part} in this file is not the one the worker signed.", part, expected)


def _not_signed(what: str, place: str, expected: str | None = None) -> Tampered:
    return Tampered(
        "operations.answer-changed",
        what,
        why="The receipt commits to other tensors."
        if expected is None
        else f"The signed one is {expected!r}.",
        next="Rely on the receipt, not on this file; keep both as evidence.",
        place=place,
    )


def _outputs_compared(saved: Saved, found: Receipt, record: PredictionRecord) -> bool:
    answer = saved.answer or {}
    if "outputs" not in answer or saved.head_only:
        return False
    what = "The outputs in this file are not those the worker signed."
    try:
        encoding = outputs_encoding(answer)
    except BadInput as error:
        refusal = _not_signed(what, "outputs").refusal
        raise Tampered(
            refusal.code, what, why=error.refusal.why, next=refusal.next, place="outputs"
        ) from None
    if commit(found.output_salt, encoding) != record.output:
        raise _not_signed(what, "outputs")
    return True


def _inputs_compared(
    request: Sequence[SavedTensor] | None,
    found: Receipt,
    record: PredictionRecord,
    release: VerifiedRelease | None,
) -> bool:
    if request is None:
        return False
    same = inputs_are(
        request,
        None if release is None else release.signature,
        lambda encoding: commit(found.input_salt, encoding) == record.input,
    )
    if same is None:
        raise Misuse(
            "operations.signature-needed",
            "The inputs cannot be compared without the release that answered.",
            why="The worker signs inputs in the order and the types of the release's signature.",
            next=f"Get the export of release {record.release.short} from the owner and name its folder: --trust FOLDER.",
        )
    if not same:
        raise _not_signed("The inputs in the request are not those the worker signed.", "inputs")
    return True


def _receipt_sentence(
    saved: Saved,
    record: PredictionRecord,
    release: VerifiedRelease | None,
    compared: Mapping[str, bool],
) -> str:
    """For people: who answered what when, how it was recorded, what was compared, and what was not."""
    which = record.release.short
    if release is not None:
        which = f"{release.manifest.name}@{release.manifest.version} ({which})"
    parts = [_who(record, which), *_recorded(record)]
    done = [part for part, same in compared.items() if same]
    if done:
        parts.append(f"The {' and the '.join(done)} are those that were signed.")
    numbered = "model_version" in (saved.answer or {})
    if numbered and release is not None:
        parts.append("The version number is that of the release.")
    if saved.head_only:
        parts.append(
            "Not compared: the outputs, which were binary; save the whole body, and the request likewise."
        )
    elif not compared["outputs"]:
        parts.append("Not compared: the outputs; give the whole saved answer.")
    if not compared["inputs"]:
        parts.append("Not compared: the inputs; give the request with --request.")
    if release is not None and release.revoked is not None:
        parts.append(_taken_back(record, release.revoked))
    if numbered and release is None:
        parts.append("Not compared: the version number; give the exported release with --trust.")
    return " ".join(parts)


def _taken_back(record: PredictionRecord, revoked: Revocation) -> str:
    """That the release was revoked: after this answer, or, where a worker had an older plan, before."""
    when = "later" if record.time < revoked.time else "before this answer"
    return f"The release was revoked {when}, on {str(revoked.time)[:10]} ({revoked.reason})."


def _who(record: PredictionRecord, which: str) -> str:
    time = str(record.time)
    when = f"on {time[:10]} at {time[11:19]} UTC"
    if record.recording.startswith(SHADOW):
        return f"The shadow of endpoint {record.endpoint} ran {when} with release {which}; the signed receipt holds."
    return f"Endpoint {record.endpoint} answered {when} with release {which}; the signed receipt holds."


def _recorded(record: PredictionRecord) -> list[str]:
    """How it was recorded, where it was not the usual way: on the disk before the answer."""
    how = record.recording
    if how == Recording.DURABLE:
        return []
    if how == Recording.ASYNCHRONOUS:
        return [
            "Recorded asynchronously: the answer left before its record was on the disk, so one like it can be missing."
        ]
    if how.startswith(SHADOW):
        said = {"agrees": "agreed with", "differs": "differed from"}.get(how.removeprefix(SHADOW), how)
        return [f"It answered nobody; it {said} the answer with the receipt {record.request}."]
    return [f"Recorded as {how!r}."]
