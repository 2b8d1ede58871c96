"""Releasing: one signed root over the model, its signature, report, verdict and policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Refused, Tampered
from gatewright.kernel.names import Name
from gatewright.ledger.records import Draft
from gatewright.models.signature import Task
from gatewright.operations import catalogue, check
from gatewright.operations.casework import data_digests
from gatewright.operations.catalogue import DatasetVersion, ModelVersion, Release, body_of
from gatewright.operations.data import dataset
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.operations.signing import seal
from gatewright.operations.users import owner
from gatewright.policy.verdict import Decision, Verdict, encode_verdict
from gatewright.releases.bundle import root_of_resources, sealed_bundle
from gatewright.releases.manifest import ReleaseManifest
from gatewright.releases.statement import Countersignature

SENTENCE_CHARACTERS = 4_000
"""Most characters of the reasons that a refusal keeps."""


def create(home: Home, ref: str, *, policy_file: Path | None = None) -> Release:
    """Release a checked model version; a denying verdict is refused and recorded."""
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
    verdict = check.verdict_on(
        report, digest=entry.report, policy=policy, subject=subject, task=Task(data.target_kind)
    )
    if verdict.decision is Decision.DENY:
        raise _refuse(home, subject, verdict)
    resources = {
        "model.onnx": subject.model,
        "signature.json": subject.signature,
        "report.json": entry.report,
        "verdict.json": home.blobs.put(encode_verdict(verdict)),
        "policy.toml": home.blobs.put(policy[1]),
        "release.json": home.blobs.put(_manifest(home, subject, data, verdict).encode()),
    }
    return _sign(home, subject, resources, verdict)


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


def _sign(home: Home, subject: ModelVersion, resources: Mapping[str, Digest], verdict: Verdict) -> Release:
    root = root_of_resources(resources)
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
    )
    draft = Draft(
        kind="release.created", actor=owner(home).principal, subject=subject.ref, body=body_of(release)
    )
    home.archive.append((draft,), home.now())
    return release


def _refuse(home: Home, subject: ModelVersion, verdict: Verdict) -> Refused:
    why = "; ".join(f"{one.rule}, but {one.what}" for one in verdict.objections)[:SENTENCE_CHARACTERS]
    draft = Draft(
        kind="release.refused",
        actor=owner(home).principal,
        subject=subject.ref,
        body=body_of(catalogue.Refused(code="operations.verdict-denies", digest=verdict.report)),
        commitments={"sentence": home.conceal(why.encode())},
    )
    home.archive.append((draft,), home.now())
    return Refused(
        "operations.verdict-denies",
        f"The policy denies {subject.ref}.",
        why=why,
        next=f"See the whole report: gatewright check {subject.ref} --last",
    )
