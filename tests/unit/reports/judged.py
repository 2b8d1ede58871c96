"""A report with a finding of every outcome, and a verdict with a reason of every standing."""

from __future__ import annotations

from dataclasses import replace

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.kernel.digests import Digest
from gatewright.policy.rules import Tier
from gatewright.policy.verdict import Decision, Reason, Standing, Verdict

SUBJECT = "loans@2"
BYTES = 1_234
MODEL = Digest.of(b"the model")
ACCURACY = Metric(
    name="accuracy", value=0.8, low=0.75, high=0.85, size=400, method="Wilson score (1927)", slice="sex=Male"
)

FINDINGS = (
    Finding(check="data.leakage", outcome=Outcome.PASSED, summary="No row leaked."),
    Finding(
        check="data.schema",
        outcome=Outcome.FAILED,
        summary="A column is missing.",
        next="Give the column.",
        metrics=(Metric.exact("problems", 1),),
    ),
    Finding(
        check="performance.metrics",
        outcome=Outcome.UNKNOWN,
        summary="Nothing was measured.",
        reason="There are 3 rows.",
        metrics=(ACCURACY,),
    ),
    Finding(
        check="performance.slices", outcome=Outcome.SKIPPED, summary="No groups.", reason="None is declared."
    ),
    Finding(
        check="efficiency.latency", outcome=Outcome.BROKEN, summary="It broke.", reason="ZeroDivisionError"
    ),
)
REASONS = (
    Reason(rule="data.leakage must be passed", outcome=Standing.OK, what="data.leakage is passed"),
    Reason(
        rule="accuracy must be at least 0.9",
        outcome=Standing.VIOLATED,
        what="accuracy is 0.8",
        observed=0.75,
        limit=0.9,
    ),
    Reason(rule="every slice must be fair", outcome=Standing.VIOLATED, what="sex=Male is 0.8"),
    Reason(rule="every slice must be fair", outcome=Standing.OK, what="sex=Female is 0.9"),
    Reason(rule="data.privacy must be passed", outcome=Standing.MISSING, what="it is not in the report"),
)


def report(*findings: Finding) -> Report:
    """A report of these findings, or of one of each outcome."""
    return Report(
        model=MODEL,
        dataset="loans@1",
        data={"test": Digest.of(b"test")},
        seed=7,
        findings=findings or FINDINGS,
        software={"numpy": "2"},
    )


def verdict(*reasons: Reason) -> Verdict:
    """A denial for these reasons, or for the ones above."""
    given = reasons or REASONS
    return Verdict(
        decision=Decision.DENY if any(not reason.holds for reason in given) else Decision.NEEDS_APPROVAL,
        reasons=given,
        report=Digest.of(b"report"),
        policy=Digest.of(b"policy"),
        model=MODEL,
        tier=Tier.LOW,
        approvals_needed=1,
        owner_may_approve=True,
    )


def saying(text: str) -> tuple[Report, Verdict]:
    """A report and a verdict in which every text that may come from data is this one."""
    metric = replace(ACCURACY, slice=text)
    found = [replace(each, summary=text, reason=text, next=text, metrics=(metric,)) for each in FINDINGS]
    reasons = [replace(each, rule=text, what=text) for each in REASONS]
    return replace(report(*found), dataset=text), verdict(*reasons)
