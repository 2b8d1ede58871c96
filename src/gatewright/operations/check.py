"""Checking a model version: run the checks, keep the report, let the policy say what it means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as installed
from pathlib import Path

from gatewright.checks.report import Report
from gatewright.checks.report_format import decode_report, encode_report
from gatewright.checks.suite import known_checks, run_all
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import Misuse
from gatewright.kernel.version import VERSION
from gatewright.ledger.records import Draft
from gatewright.models.signature import Task
from gatewright.operations import casework
from gatewright.operations.advisories import known_of
from gatewright.operations.catalogue import CheckedVersion, ModelVersion, body_of, find
from gatewright.operations.data import dataset
from gatewright.operations.files import POLICY_BYTES, read_file
from gatewright.operations.home import Home
from gatewright.operations.models import model
from gatewright.operations.users import owner
from gatewright.policy.policy_file import read_policy
from gatewright.policy.rules import Policy
from gatewright.policy.verdict import Verdict, decode_verdict, encode_verdict, judge
from gatewright.policy.waivers import Waived

LIBRARIES = ("numpy", "onnxruntime", "scipy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A report, the verdict on it, and what was recorded."""

    entry: CheckedVersion
    report: Report
    verdict: Verdict


def load_policy(home: Home, path: Path | None) -> tuple[Policy, bytes]:
    """The policy file named, or the home's own."""
    content = read_file(path or home.policy_path, limit=POLICY_BYTES)
    return read_policy(content, known=known_checks()), content


def check(
    home: Home,
    ref: str,
    *,
    policy_file: Path | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Checked:
    """Run every check on a model version and record the report with its verdict."""
    policy = load_policy(home, policy_file)
    subject = model(home, ref)
    data = dataset(home, subject.dataset)
    progress("reading the locked rows and asking the model about the test rows")
    case = casework.gather(home, subject, data, seed=seed, progress=progress)
    case = replace(case, known=known_of(home, subject))
    findings = run_all(case, policy[0].parameters, progress)
    report = Report(
        model=subject.model,
        dataset=data.ref,
        data=casework.data_digests(subject, data),
        seed=seed,
        findings=findings,
        software={"gatewright": VERSION, **{name: installed(name) for name in LIBRARIES}},
    )
    with home.exclusive():
        return _record(home, subject, report, policy, Task(data.target_kind))


def _record(
    home: Home, subject: ModelVersion, report: Report, policy: tuple[Policy, bytes], task: Task
) -> Checked:
    """Keep the report with its verdict; every write is made while nobody else writes."""
    report_digest = home.blobs.put(encode_report(report))
    verdict = verdict_on(report, digest=report_digest, policy=policy, subject=subject, task=task)
    entry = CheckedVersion(
        ref=subject.ref,
        report=report_digest,
        model=subject.model,
        outcomes={found.check: found.outcome.value for found in report.findings},
        policy=home.blobs.put(policy[1]),
        verdict=home.blobs.put(encode_verdict(verdict)),
        decision=verdict.decision.value,
    )
    draft = Draft(kind="model.checked", actor=owner(home).principal, subject=subject.ref, body=body_of(entry))
    home.archive.append((draft,), home.now())
    return Checked(entry=entry, report=report, verdict=verdict)


def verdict_on(
    report: Report,
    *,
    digest: Digest,
    policy: tuple[Policy, bytes],
    subject: ModelVersion,
    task: Task,
    waivers: Sequence[Waived] = (),
) -> Verdict:
    """What the policy says of a report about a model version."""
    return judge(
        policy[0],
        report,
        report_digest=digest,
        policy_digest=Digest.of(policy[1]),
        model_name=subject.name,
        task=task,
        waivers=waivers,
    )


def newest(home: Home, subject: ModelVersion) -> CheckedVersion | None:
    """What the newest check of a model version recorded, or None."""
    return find(home, "checked", subject.ref, CheckedVersion)


def last(home: Home, ref: str) -> Checked:
    """The newest report on a model version with its verdict, without running anything."""
    entry, report = latest(home, model(home, ref))
    return Checked(entry=entry, report=report, verdict=decode_verdict(home.blobs.get(entry.verdict)))


def latest(home: Home, subject: ModelVersion) -> tuple[CheckedVersion, Report]:
    """The newest report on a model version; Misuse when it was never checked."""
    entry = newest(home, subject)
    if entry is None:
        raise Misuse(
            "operations.not-checked",
            f"{subject.ref} was not checked.",
            next=f"Run: gatewright check {subject.ref}",
        )
    return entry, decode_report(home.blobs.get(entry.report))
