"""Releasing: one signed root over the model, its signature, report, verdict and policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refused, Tampered
from gatewright.kernel.names import Name
from gatewright.kernel.version import VERSION
from gatewright.ledger.records import Draft
from gatewright.models.signature import Task
from gatewright.operations import catalogue, check, waive
from gatewright.operations.bill import draw_up, lacking, refusal
from gatewright.operations.casework import data_digests
from gatewright.operations.catalogue import DatasetVersion, ModelVersion, Release, body_of
from gatewright.operations.data import dataset
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.operations.signing import seal
from gatewright.operations.users import owner
from gatewright.operations.waive import Waiving
from gatewright.policy.verdict import Decision, Verdict, encode_verdict
from gatewright.releases.bom_claim import BillOfMaterials
from gatewright.releases.bundle import root_of_resources, sealed_bundle
from gatewright.releases.manifest import POLICY, REPORT, VERDICT, ReleaseManifest
from gatewright.releases.statement import Countersignature
from gatewright.releases.summaries import VerificationSummary

SENTENCE_CHARACTERS = 4_000
"""Most characters of the reasons that a refusal keeps."""


def create(
    home: Home, ref: str, *, policy_file: Path | None = None, waiving: Waiving | None = None
) -> Release:
    """Release a checked model version; a denying verdict is refused and recorded.

    With ``waiving`` the rules that somebody waives, with leave of the policy, do not deny.
    """
    subject = model(home, ref)
    entry, report = check.latest(home, subject)
    policy = check.load_policy(home, policy_file)
    data = dataset(home, subject.dataset)
    if report.model != subject.model or dict(report.data) != dict(data_digests(subject, data)):
        raise Tampered(
            "operations.other-report",
            f"The recorded report is not about {subject.ref} and its data.",
            next="Verify the ledger, then check the model again.",
        )
    task = Task(data.target_kind)
    verdict = check.verdict_on(report, digest=entry.report, policy=policy, subject=subject, task=task)
    if waiving is not None:
        waivers = waive.asked(home, waiving, policy[0], task, verdict)
        verdict = check.verdict_on(
            report, digest=entry.report, policy=policy, subject=subject, task=task, waivers=waivers
        )
        waive.require_used(waivers, verdict)
    if verdict.decision is Decision.DENY:
        raise _refuse(home, subject, _denied(subject, verdict), verdict)
    resources = {
        "model.onnx": subject.model,
        "signature.json": subject.signature,
        "report.json": entry.report,
        "verdict.json": home.blobs.put(encode_verdict(verdict)),
        "policy.toml": home.blobs.put(policy[1]),
        "release.json": home.blobs.put(_manifest(home, subject, data, verdict).encode()),
    }
    root = root_of_resources(resources)
    bill = draw_up(
        home, subject, data, root=root, resources=resources, splits=data_digests(subject, data), report=report
    )
    if lacks := lacking(bill, policy[0].stated.get(verdict.tier, ())):
        raise _refuse(home, subject, refusal(subject.ref, lacks), verdict)
    return _sign(home, subject, resources, verdict, bill, words="" if waiving is None else waiving.words)


def _manifest(home: Home, subject: ModelVersion, data: DatasetVersion, verdict: Verdict) -> ReleaseManifest:
    parent = home.archive.get("endpoints", subject.name)
    return ReleaseManifest(
        name=Name(subject.name),
        version=subject.version,
        tier=Name(verdict.tier),
        model=subject.model,
        dataset=Name(data.name),
        data={"train": data.train, "test": data.test},
        trained_on=subject.trained_on,
        created=home.now(),
        parent=Digest(str(parent["root"])) if parent else None,
        thresholds={},
    )


def _sign(
    home: Home,
    subject: ModelVersion,
    resources: Mapping[str, Digest],
    verdict: Verdict,
    bill: BillOfMaterials,
    *,
    words: str,
) -> Release:
    root = bill.root
    bundle = sealed_bundle(resources, home.keys.release)
    counter = seal(home, Countersignature(root=root))
    release = Release(
        ref=subject.ref,
        root=root,
        tier=verdict.tier,
        resources=resources,
        bundle=home.blobs.put(bundle),
        countersignature=home.blobs.put(counter),
        verdict=resources["verdict.json"],
        approvals_needed=verdict.approvals_needed,
        summary=home.blobs.put(seal(home, _summary(home, subject, root, resources, verdict))),
        bom=home.blobs.put(seal(home, bill)),
    )
    draft = Draft(
        kind="release.created", actor=owner(home).principal, subject=subject.ref, body=body_of(release)
    )
    home.archive.append((draft, *waive.given(home, release, verdict, words)), home.now())
    return release


def _summary(
    home: Home, subject: ModelVersion, root: Digest, resources: Mapping[str, Digest], verdict: Verdict
) -> VerificationSummary:
    """The verdict in the form that other tools read."""
    return VerificationSummary(
        root=root,
        origin=home.origin,
        version=VERSION,
        time=home.now(),
        model=Name(subject.name),
        model_version=subject.version,
        tier=Name(verdict.tier),
        policy=resources[POLICY],
        report=resources[REPORT],
        verdict=resources[VERDICT],
        waived=bool(verdict.waivers),
    )


def _denied(subject: ModelVersion, verdict: Verdict) -> Refused:
    why = "; ".join(f"{one.rule}, but {one.what}" for one in verdict.objections)
    return Refused(
        "operations.verdict-denies",
        f"The policy denies {subject.ref}.",
        why=why[:SENTENCE_CHARACTERS],
        next=f"See the whole report: gatewright check {subject.ref} --last",
    )


def _refuse(home: Home, subject: ModelVersion, refused: Refused, verdict: Verdict) -> Refused:
    """Record the refusal, to be raised."""
    why = refused.refusal.why[:SENTENCE_CHARACTERS]
    draft = Draft(
        kind="release.refused",
        actor=owner(home).principal,
        subject=subject.ref,
        body=body_of(catalogue.Refused(code=refused.code, digest=verdict.report)),
        commitments={"sentence": home.conceal(why.encode())},
    )
    home.archive.append((draft,), home.now())
    return refused
