"""Verifying, offline: a release folder, a receipt, a ledger. Reads; needs no private key.

Every function raises Tampered, naming the first thing that does not hold and its place, or returns
what was verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gatewright.deployments.plan import Recording, ReleaseRef
from gatewright.kernel import canonical
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, Misuse, Refusal, Tampered
from gatewright.ledger.audit import audit
from gatewright.ledger.commitments import commit
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt, verify_receipt
from gatewright.ledger.records import Record
from gatewright.ledger.tiles import CHECKPOINT_FILE
from gatewright.operations.answers import Document, Saved, SavedTensor, inputs_are, outputs_encoding
from gatewright.operations.catalogue import Segment, read
from gatewright.operations.files import read_file
from gatewright.operations.projections import project
from gatewright.ports import Blobs
from gatewright.releases.keys import PublicKey
from gatewright.releases.statement import Approval, DeploymentDecision
from gatewright.releases.trust import TrustRoot
from gatewright.releases.verification import (
    ReadStatement,
    VerifiedRelease,
    read_statements,
    require_deployable,
    verify_release,
)
from gatewright.releases.worker_keys import verify_worker_key

RECEIPT_BYTES = 16 * 1024**2
STATEMENT_BYTES = 1024**2
BUNDLE_FILE = "model.sig"
SHADOW = "shadow-"
"""How the recording of a shadow's prediction begins; what follows says whether it agreed."""
BUNDLE_PLACES = {"", "bundle", "dsseEnvelope", "mediaType", "verificationMaterial"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was verified (``kind``), in one sentence, with the facts behind it."""

    kind: str
    sentence: str
    facts: JsonObject = field(default_factory=dict)


def release_folder(folder: Path, trust: TrustRoot) -> Verified:
    """Verify what ``release export`` wrote: every file of it, each problem by the name of its file."""
    verified, claims = exported(folder, trust)
    return Verified(
        kind="release",
        sentence=f"{verified.manifest.name}@{verified.manifest.version} is release {verified.root.short}: "
        f"{len(verified.resources)} files, signed by both release keys; {len(claims)} statements about it hold.",
        facts=_release_facts(verified, claims),
    )


def exported(folder: Path, trust: TrustRoot) -> tuple[VerifiedRelease, Sequence[ReadStatement]]:
    """The release in an exported folder, and the statements about it, all verified."""
    signed = folder / "release"
    resources = {
        path.relative_to(signed).as_posix(): read_file(path)
        for path in sorted(signed.rglob("*"))
        if not path.is_dir()
    }
    statements = {
        f"statements/{path.name}": read_file(path, limit=STATEMENT_BYTES)
        for path in sorted((folder / "statements").glob("*"))
    }
    try:
        verified = verify_release(
            resources=resources,
            bundle=read_file(folder / BUNDLE_FILE, limit=STATEMENT_BYTES),
            statements=list(statements.values()),
            trust=trust,
        )
    except Tampered as error:
        raise _named(error, list(statements)) from None
    claims = read_statements(list(statements.values()), root=verified.root, keys=trust.release_keys)
    _require_vouched(claims, trust)
    _require_public_files(folder, trust)
    return verified, claims


def _named(error: Tampered, statements: Sequence[str]) -> Tampered:
    """The same problem, with the name of the exported file that has it."""
    place = error.refusal.place
    for index, name in enumerate(statements):
        place = place.replace(f"statements[{index}]", name)
    if place.partition(".")[0].partition("[")[0] in BUNDLE_PLACES:
        place = f"{BUNDLE_FILE}: {place}"
    refusal = error.refusal
    return Tampered(refusal.code, refusal.what, why=refusal.why, next=refusal.next, place=place)


def _require_vouched(claims: Sequence[ReadStatement], trust: TrustRoot) -> None:
    """Each approval that a deployment decision rests on is beside it, byte for byte.

    The people's own keys are not in the trust root: the decision, signed by the release keys, says
    which envelopes counted.
    """
    beside = {one.envelope.digest for one in claims if isinstance(one.claim, Approval)}
    for one in claims:
        if isinstance(one.claim, DeploymentDecision) and set(one.signed_by) == set(trust.release_keys):
            for rests_on in one.claim.approvals:
                if rests_on.envelope not in beside:
                    raise Tampered(
                        "operations.approval-changed",
                        "An approval on which the deployment rests is missing or was changed.",
                        why=f"The decision names the envelope {rests_on.envelope}.",
                        next="Ask for a new export.",
                        place=f"statements/approval-{rests_on.key_id[:12]}.dsse.json",
                    )


def _require_public_files(folder: Path, trust: TrustRoot) -> None:
    """The public keys and certificates that travel with a release are the trusted ones, where they are there."""
    for name, expected in (("release.pub", trust.release.pem()), ("trust.json", trust.encode())):
        place = folder / name
        if place.exists() and read_file(place, limit=STATEMENT_BYTES) != expected:
            raise Tampered(
                "operations.other-keys",
                f"{name} beside the release does not hold the keys it was verified with.",
                next="Use the trust.json that you received from the owner by another way.",
                place=name,
            )
    for place in sorted((folder / "workers").glob("*")):
        try:
            verify_worker_key(read_file(place, limit=STATEMENT_BYTES), trust)
        except (Tampered, BadInput) as error:
            raise Tampered(
                "operations.certificate",
                "A worker's certificate beside the release does not hold.",
                why=error.refusal.sentence(),
                place=f"workers/{place.name}",
            ) from None


def _release_facts(verified: VerifiedRelease, claims: Sequence[ReadStatement]) -> JsonObject:
    return {
        "root": verified.root.hex,
        "model": f"{verified.manifest.name}@{verified.manifest.version}",
        "files": {name: digest.hex for name, digest in verified.resources.items()},
        "verdict": verified.verdict,
        "statements": [type(one.claim).__name__ for one in claims],
    }


def receipt(
    saved: Saved,
    trust: TrustRoot,
    certificates: Iterable[bytes],
    *,
    request: Sequence[SavedTensor] | None = None,
    known: VerifiedRelease | None = None,
) -> Verified:
    """Verify a receipt: by a worker key that both release keys certified, over exactly this record.

    The outputs of the answer that carried it, and the inputs of ``request``, are compared with what
    the record commits to; what could not be compared is said. ``known`` is a verified release: where
    it is the one that answered, it gives the version and the order and types of the inputs.
    """
    found = Receipt.parse(saved.token)
    record = verify_receipt(found, _signer(found, trust, tuple(certificates)))
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
        },
    )


def _signer(found: Receipt, trust: TrustRoot, certificates: Sequence[bytes]) -> PublicKey:
    """The certified worker that the receipt names."""
    if not certificates:
        raise Misuse(
            "operations.no-certificates",
            "No worker certificate lies beside trust.json.",
            why="A receipt is signed by a worker's key, which the owner's keys vouch for in a certificate.",
            next="Get the folder .gatewright/workers from the owner ('gatewright release export' writes it), "
            "put it beside trust.json and name their folder: --trust FOLDER.",
        )
    workers = certified_workers(trust, certificates)
    named = BatchStatement.decode(found.statement).worker
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
    if numbered and release is None:
        parts.append("Not compared: the version number; give the exported release with --trust.")
    return " ".join(parts)


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


def certified_workers(trust: TrustRoot, certificates: Iterable[bytes]) -> Mapping[str, PublicKey]:
    """The worker keys that both release keys vouch for, by id."""
    workers = (verify_worker_key(certificate, trust) for certificate in certificates)
    return {worker.public.id: worker.public for worker in workers}


def planned(reference: ReleaseRef, endpoint: str, trust: TrustRoot, blobs: Blobs) -> VerifiedRelease:
    """A release that a plan names, verified with all that stands about it, and decided for the endpoint."""
    statements = [blobs.get(digest) for digest in reference.statements]
    verified = verify_release(
        resources={name: blobs.get(digest) for name, digest in reference.resources.items()},
        bundle=blobs.get(reference.bundle),
        statements=statements,
        trust=trust,
    )
    if verified.root != reference.root:
        raise Tampered(
            "operations.plan-root", "The plan names another root than its files have.", place=endpoint
        )
    require_deployable(verified, statements, trust, endpoint)
    return verified


def ledger(
    leaves: Sequence[tuple[bytes, bytes | None]],
    checkpoint: bytes,
    disagreements: Sequence[Refusal],
    trust: TrustRoot,
) -> Verified:
    """Verify a whole ledger: every leaf, the tree over them, and the signed head."""
    audited = audit(leaves, note=checkpoint, key=trust.log, origin=trust.origin)
    problems = (*audited.problems, *disagreements)
    if problems:
        first = problems[0]
        more = f" {len(problems) - 1} more problems follow." if len(problems) > 1 else ""
        raise Tampered(
            first.code,
            first.what,
            why=f"{first.why}{more}",
            place=first.place,
            next="Keep this file as evidence; compare with a backup and with checkpoints held elsewhere.",
        )
    return Verified(
        kind="ledger",
        sentence=f"All {audited.size} records hold: every leaf, the tree over them and the signed head.",
        facts={"records": audited.size, "root": audited.root.hex(), "origin": trust.origin},
    )


def projections(
    leaves: Sequence[tuple[bytes, bytes | None]], stored: Mapping[tuple[str, str], bytes]
) -> Verified:
    """Verify the stored tables: they are exactly what the records say, no more and no less."""
    wanted: dict[tuple[str, str], bytes] = {}
    for leaf, _ in leaves:
        for put in project(Record.decode(leaf)):
            if put.document is None:
                wanted.pop((put.collection, put.key), None)
            else:
                wanted[put.collection, put.key] = canonical.encode(put.document)
    for place in sorted(set(wanted) | set(stored)):
        if wanted.get(place) != stored.get(place):
            raise Tampered(
                "operations.projection-changed",
                "A stored table does not say what the records say.",
                why="It was changed, added or removed behind the ledger's back.",
                next="Keep this file as evidence, then restore it from a backup.",
                place="/".join(place),
            )
    return Verified(
        kind="tables",
        sentence=f"The {len(stored)} documents of the tables are what the records say.",
        facts={"documents": len(stored)},
    )


def sealed_segments(leaves: Sequence[tuple[bytes, bytes | None]], found: Mapping[str, Digest]) -> Verified:
    """Verify that every segment the ledger recorded is there, as it was; ``found`` maps ids to digests."""
    records = [Record.decode(leaf).draft for leaf, _ in leaves]
    entries = [read(Segment, draft.body) for draft in records if draft.kind == "predictions.sealed"]
    for entry in entries:
        if found.get(entry.id) != entry.file:
            raise Tampered(
                "operations.segment-changed" if entry.id in found else "operations.segment-missing",
                f"A file of {entry.records} prediction records "
                f"{'is not the one that was recorded' if entry.id in found else 'is missing'}.",
                place=f"segment {entry.id}",
                next="Restore it from a backup; the ledger holds its root.",
            )
    count = sum(entry.records for entry in entries)
    return Verified(
        kind="segments",
        sentence=f"{count:,} predictions in {len(entries)} recorded segments are there, as they were recorded.",
        facts={"segments": len(entries), "predictions": count},
    )


def is_export(path: Path) -> bool:
    """Whether a folder has the form that ``release export`` writes."""
    return (path / "release").is_dir() and (path / BUNDLE_FILE).is_file()


def what_is(path: Path) -> str:
    """``release``, ``log``, ``ledger`` or ``receipt``, by content."""
    if path.is_dir():
        if is_export(path):
            return "release"
        if (path / CHECKPOINT_FILE).exists():
            return "log"
        raise Misuse(
            "operations.nothing-to-verify",
            f"{path} is neither an exported release nor an exported log.",
            next="Name a folder written by 'gatewright release export' or 'gatewright evidence log', "
            "a ledger.db or a receipt.",
        )
    return "ledger" if read_file(path)[:16] == b"SQLite format 3\x00" else "receipt"
