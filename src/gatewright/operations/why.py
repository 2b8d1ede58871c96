"""Why an answer was given: the chain behind one receipt, from the answer to the signed head of the log.

Nothing is verified in a second way here: the receipt, the plan, the release and the segment are verified by
what verifies them elsewhere, and every record is proved when it is read. The first thing that does not hold
raises Tampered with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatewright.checks.report_format import decode_report
from gatewright.datasets.datasheet import decode_datasheet
from gatewright.deployments.plan import EndpointPlan, Recording, ReleaseRef
from gatewright.deployments.wording import share_text
from gatewright.kernel.canonical import JsonObject
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Tampered
from gatewright.kernel.plurals import many
from gatewright.ledger.checkpoints import Checkpoint
from gatewright.ledger.receipts import BatchStatement, PredictionRecord, Receipt
from gatewright.ledger.segments import scan, verify_segment
from gatewright.operations import receipt_verification, verify
from gatewright.operations.answers import Saved, SavedTensor
from gatewright.operations.approve import verified_approvals
from gatewright.operations.catalogue import (
    ApiKeyEntry,
    DatasetVersion,
    ModelVersion,
    Release,
    RevokedRelease,
    Segment,
    WaiverEntry,
    read,
)
from gatewright.operations.files import read_file
from gatewright.operations.grounds import Grounds, Who, grounds
from gatewright.operations.home import Home
from gatewright.operations.plan_records import InForce, numbered, opened
from gatewright.operations.segment_search import segment_file
from gatewright.operations.waive import words_of
from gatewright.policy.verdict import Standing, Verdict, decode_verdict
from gatewright.releases.envelope import Envelope
from gatewright.releases.heads import open_head
from gatewright.releases.manifest import REPORT, VERDICT
from gatewright.releases.statement import DeploymentDecision, open_claim
from gatewright.releases.unproven import UNPROVEN
from gatewright.releases.verification import VerifiedRelease


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One sentence of the story, with what backs it: a record of the ledger, a digest, or both."""

    part: str
    text: str
    record: int | None = None
    time: str = ""
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The chain behind one prediction; ``facts`` are those of the verified receipt."""

    sentence: str
    lines: tuple[Line, ...]
    not_proven: tuple[str, ...]
    facts: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What the parts of the story are told from."""

    home: Home
    who: Who
    receipt: Receipt
    record: PredictionRecord
    head: Checkpoint
    certificates: Sequence[bytes]


def why(
    home: Home, saved: Saved, *, request: Sequence[SavedTensor] | None = None, segments: Path | None = None
) -> Story:
    """The story of a receipt of this home.

    ``segments`` is a further folder of prediction records, of a worker that serves elsewhere. Raises
    Tampered where something does not hold, BadInput for what is no receipt.
    """
    certificates = [
        read_file(path, limit=verify.STATEMENT_BYTES)
        for path in sorted((home.folder / "workers").glob("*.dsse.json"))
    ]
    receipt = Receipt.parse(saved.token)
    recorded = receipt_verification.recorded_as(home, receipt)
    receipt_verification.receipt(saved, home.trust, certificates, recorded=recorded)
    case = _Case(
        home=home,
        who=Who(home),
        receipt=receipt,
        record=PredictionRecord.decode(receipt.leaf),
        head=open_head(home.archive.checkpoint(), home.trust).checkpoint,
        certificates=certificates,
    )
    plan, here = _plan(case)
    place, reference = _place(case, here)
    known = verify.planned(reference, case.record.endpoint, home.trust, home.blobs)
    verified = receipt_verification.receipt(
        saved, home.trust, certificates, request=request, known=known, recorded=recorded
    )
    found = grounds(
        case.who, reference.root, _decision(home, reference), case.record.endpoint, plan.record.seq + 1
    )
    lines = (
        *_answered(case, place, known),
        _key(case, here),
        *_kept(case, segments),
        _planned(case, plan, place),
        *_decided(case, found),
        *_judged(case, reference, found),
        *_model(case, known),
        _checkpoint(case),
    )
    return Story(
        sentence=verified.sentence,
        lines=lines,
        not_proven=(*_doubts(case, plan, verified), *UNPROVEN),
        facts=verified.facts,
    )


def _broken(code: str, what: str, place: str, why: str = "") -> Tampered:
    return Tampered(
        code,
        what,
        why=why,
        next="Keep the receipt as evidence; verify the ledger: gatewright verify",
        place=place,
    )


def _plan(case: _Case) -> tuple[InForce, EndpointPlan]:
    """The plan that the record names, its signatures verified, and its part for the endpoint."""
    record = case.record
    made = numbered(case.home, record.plan, case.head.size)
    if made is None:
        raise _broken("operations.no-such-plan", f"No record of the ledger made plan {record.plan}.", "plan")
    found = opened(case.home, made)
    here = found.plan.endpoint(record.endpoint)
    if here is None or here.stopped:
        how = "does not have" if here is None else "stops"
        raise _broken(
            "operations.plan-answers-not", f"Plan {record.plan} {how} the endpoint {record.endpoint}.", "plan"
        )
    return found, here


def _place(case: _Case, here: EndpointPlan) -> tuple[str, ReleaseRef]:
    """The place of the release that answered, in words."""
    seats = [("the champion", here.champion)]
    if here.canary is not None:
        seats.append(
            (f"the canary with {share_text(here.canary.share)} of the requests", here.canary.release)
        )
    seats += [
        (f"arm {arm.name} with {share_text(arm.share)} of the subjects", arm.release) for arm in here.arms
    ]
    seats += [] if here.fallback is None else [("the fallback", here.fallback)]
    held = [(place, reference) for place, reference in seats if reference.root == case.record.release]
    if not held:
        raise _broken(
            "operations.other-release",
            f"Plan {case.record.plan} does not let release {case.record.release.short} answer at {here.endpoint}.",
            "release",
        )
    return " or ".join(place for place, _ in held), held[0][1]


def _decision(home: Home, reference: ReleaseRef) -> Digest:
    """The envelope of the deployment decision among the statements that the plan names."""
    for digest in reference.statements:
        if isinstance(open_claim(Envelope.decode(home.blobs.get(digest))), DeploymentDecision):
            return digest
    raise _broken(
        "operations.no-decision-named", "The plan names no deployment decision.", reference.root.short
    )


def _answered(case: _Case, place: str, known: VerifiedRelease) -> Iterator[Line]:
    record, statement = case.record, BatchStatement.decode(case.receipt.statement)
    ref = f"{known.manifest.name}@{known.manifest.version}"
    asked = f" the request {record.request!r}" if record.request else ""
    yield Line(
        part="answer",
        text=f"Endpoint {record.endpoint} answered{asked}: {ref} did, as {place}.",
        time=str(record.time),
        digest=Digest.of(case.receipt.leaf),
    )
    yield Line(
        part="batch",
        text=f"The worker {statement.worker[:12]} signed it before the answer left, as one of a batch of "
        f"{statement.size:,}; it is number {record.seq:,} of segment {record.segment}.",
        digest=Digest.of(case.receipt.statement),
    )


def _key(case: _Case, here: EndpointPlan) -> Line:
    named = case.record.key
    if all(key.id != named for key in here.keys):
        raise _broken(
            "operations.other-key", f"Plan {case.record.plan} does not admit the API key {named}.", "key"
        )
    document = case.home.archive.get("api-keys", f"{here.endpoint}/{named}")
    if document is None:
        raise _broken("operations.no-such-key", f"No record made the API key {named}.", "key")
    entry = read(ApiKeyEntry, document)
    what = "its newest record says that it is taken no more" if entry.revoked else "it is taken still"
    return Line(
        part="key",
        text=f"The caller had the API key {named}{f' ({entry.name})' if entry.name else ''}; {what}.",
        record=int(str(document["seq"])),
        time=str(document["time"]),
        digest=entry.digest,
    )


def _kept(case: _Case, segments: Path | None) -> Iterator[Line]:
    """How the prediction was recorded, and where its record lies: in the ledger, or on the way there."""
    mode = case.record.recording
    yield Line(
        part="recording",
        text="It was on disk before the answer left."
        if mode == Recording.DURABLE
        else "It was recorded just after the answer (asynchronous), as the policy allows.",
    )
    document = case.home.archive.get("segments", case.record.segment)
    content = segment_file(case.home, case.record.segment, segments)
    if content is None:
        if document is None and mode != Recording.DURABLE:
            yield Line(part="segment", text="Its segment is not on the disk (yet): a crash may have lost it.")
            return
        raise _broken(
            "operations.prediction-missing",
            "The prediction that the worker promised to record is not in this home.",
            f"segment {case.record.segment}",
            "Its segment is neither in the ledger nor on the disk."
            if document is None
            else "The ledger names its segment; the file is gone.",
        )
    yield _segment(case, content, None if document is None else dict(document))


def _segment(case: _Case, file: tuple[bytes, bool], document: JsonObject | None) -> Line:
    content, is_sealed = file
    record, place = case.record, f"segment {case.record.segment}"
    found = scan(content)
    if is_sealed:
        verify_segment(found, verify.certified_workers(case.home.trust, case.certificates))
    there = record.seq < len(found.leaves) and found.leaves[record.seq] == case.receipt.leaf
    if not there and (is_sealed or record.recording == Recording.DURABLE):
        raise _broken("operations.prediction-missing", "The segment does not hold this prediction.", place)
    if document is None:
        how = (
            "sealed and waits to be recorded"
            if is_sealed
            else "still open"
            if there
            else "open, and does not hold it yet"
        )
        return Line(part="segment", text=f"Its segment is {how}: the ledger does not name it yet.")
    entry = read(Segment, document)
    if not is_sealed or (entry.file, entry.root.raw) != (Digest.of(content), found.root):
        raise _broken("operations.segment-changed", "The segment is not the one that was recorded.", place)
    return Line(
        part="segment",
        text=f"Its segment of {many(entry.records, 'prediction')} is sealed, and its root is in the ledger.",
        record=int(str(document["seq"])),
        time=str(document["time"]),
        digest=entry.root,
    )


def _planned(case: _Case, plan: InForce, place: str) -> Line:
    made = case.who.noted(plan.record)
    return Line(
        part="plan",
        text=f"Traffic plan {plan.plan.number} made this release {place}; both release keys signed it, "
        f"by an act of {made.by}.",
        record=made.record,
        time=made.time,
        digest=plan.digest,
    )


def _decided(case: _Case, found: Grounds) -> Iterator[Line]:
    document = case.home.archive.get("releases", case.record.release.hex)
    release = read(Release, document or {})
    counted = {reference.envelope for _, reference in verified_approvals(case.home, release)}
    yield Line(
        part="deployment",
        text=f"{found.deployed.by} deployed it; the decision, signed by both release keys, rests on "
        f"{many(len(found.approvals), 'approval')}.",
        record=found.deployed.record,
        time=found.deployed.time,
        digest=found.decision,
    )
    for one in found.approvals:
        if one.statement not in counted:
            raise _broken(
                "operations.approval-broken",
                f"The approval of {one.by} does not hold.",
                f"record {one.record}",
            )
        yield Line(
            part="approval",
            text=f"{one.by} ({one.role}) approved it with their own key.",
            record=one.record,
            time=one.time,
            digest=one.statement,
        )
    yield Line(
        part="release",
        text=f"Release {release.root.short} binds {len(release.resources)} files by one root, which both release "
        f"keys signed; its tier is {release.tier}.",
        record=found.record,
        time=found.time,
        digest=release.root,
    )
    yield from _revocation(case, release)


def _revocation(case: _Case, release: Release) -> Iterator[Line]:
    """That the release was taken back since, where it was; what it answered before stands."""
    document = case.home.archive.get("revocations", release.root.hex)
    if document is not None:
        entry, time = read(RevokedRelease, document), str(document["time"])
        when = "later" if str(case.record.time) < time else "before this answer"
        yield Line(
            part="revocation",
            text=f"The release was revoked {when} ({entry.reason}), signed by both release keys.",
            record=int(str(document["seq"])),
            time=time,
            digest=entry.statement,
        )


def _waived(case: _Case, release: Digest) -> Iterator[Line]:
    """Who waived which rule, until when."""
    for _, document in case.home.archive.scan("waivers", f"{release.hex}/"):
        entry = read(WaiverEntry, document)
        yield Line(
            part="waiver",
            text=f"{case.who.named(entry.principal)} ({entry.role}) waived a rule until {entry.until[:16]}: "
            f"{entry.rule}. Why: {words_of(case.home, entry).rstrip('.')}. Their own approval of this release does not count.",
            record=int(str(document["seq"])),
            time=str(document["time"]),
            digest=entry.statement,
        )


def _judged(case: _Case, reference: ReleaseRef, found: Grounds) -> Iterator[Line]:
    blobs = case.home.blobs
    verdict = decode_verdict(blobs.get(reference.resources[VERDICT]))
    report = decode_report(blobs.get(reference.resources[REPORT]))
    yield Line(
        part="verdict",
        text=f"The policy said {verdict.decision}: {many(len(verdict.reasons), 'reason')}, {_against(verdict)}; "
        f"{many(verdict.approvals_needed, 'approval')} asked for.",
        digest=found.verdict,
    )
    for reason in verdict.reasons:
        waived = "Does not hold, and was waived: " if reason.outcome is Standing.WAIVED else ""
        yield Line(part="reason", text=f"{waived}{reason.sentence()}", digest=found.verdict)
    yield from _waived(case, reference.root)
    yield Line(part="policy", text="The rules are one of the release's files.", digest=found.policy)
    yield Line(
        part="report",
        text=f"The report has {len(report.findings)} findings about the exact bytes of the model, seed {report.seed}.",
        digest=found.report,
    )
    for finding in report.findings:
        said = finding.summary or finding.reason
        yield Line(part="finding", text=f"{finding.check} {finding.outcome}: {said}", digest=found.report)


def _against(verdict: Verdict) -> str:
    """How many reasons stand against it, and of how many the rule does not hold and was waived."""
    waived = sum(reason.outcome is Standing.WAIVED for reason in verdict.reasons)
    beside = f" that {'was' if waived == 1 else 'were'} not waived, {waived} waived" if waived else ""
    return f"{len(verdict.objections)} against{beside}"


def _model(case: _Case, known: VerifiedRelease) -> Iterator[Line]:
    manifest = known.manifest
    ref = f"{manifest.name}@{manifest.version}"
    document = case.home.archive.get("models", ref)
    if document is None or read(ModelVersion, document).model != manifest.model:
        raise _broken("operations.other-model", f"The record of {ref} is not about the released model.", ref)
    model = read(ModelVersion, document)
    recipe = f" by the recipe {model.recipe.short}, seed {model.seed}" if model.recipe else ""
    rows = f"the rows {model.trained_on.short}" if model.trained_on else "rows that nobody declared"
    yield Line(
        part="model",
        text=f"{ref} is {model.bytes:,} bytes of ONNX, declared as trained on {rows}{recipe}.",
        record=int(str(document["seq"])),
        time=str(document["time"]),
        digest=model.model,
    )
    if model.origin:
        said = ", ".join(f"{name} {value}" for name, value in sorted(model.origin.items()))
        yield Line(
            part="origin", text=f"Another system says of it: {said}.", record=int(str(document["seq"]))
        )
    yield _dataset(case, model, known)


def _dataset(case: _Case, model: ModelVersion, known: VerifiedRelease) -> Line:
    document = case.home.archive.get("datasets", model.dataset)
    data = read(DatasetVersion, document or {})
    if {"train": data.train, "test": data.test} != dict(known.manifest.data):
        raise _broken(
            "operations.other-data", f"The record of {data.ref} is not about the tested rows.", data.ref
        )
    sheet = decode_datasheet(case.home.blobs.get(data.datasheet))
    unstated = f"; not stated: {', '.join(sheet.unstated())}" if sheet.unstated() else ""
    return Line(
        part="dataset",
        text=f"It was tested on {data.ref}: {data.test_rows:,} rows locked apart from {data.train_rows:,} for training, "
        f"target {data.target}. The datasheet says: title {sheet.title}, licence {sheet.licence}, origin {sheet.origin}{unstated}.",
        record=int(str((document or {})["seq"])),
        time=str((document or {})["time"]),
        digest=data.datasheet,
    )


def _checkpoint(case: _Case) -> Line:
    return Line(
        part="checkpoint",
        text=f"Every record named here stands under the signed head of the log's {case.head.size:,} records.",
        digest=Digest.from_raw(case.head.root),
    )


def _doubts(case: _Case, plan: InForce, verified: verify.Verified) -> Iterator[str]:
    """What is not proven of this very answer, before what no answer proves."""
    left = verified.facts["not_compared"]
    for part in left if isinstance(left, list) else ():
        yield f"That the {part} were these: they were not given, so they were not compared."
    if case.record.time < plan.record.time:
        yield "That the worker's clock was right: the prediction says that it is older than its own plan."
