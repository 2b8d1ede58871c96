"""Builders of reports, policies and verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.kernel.canonical import Json
from gatewright.kernel.digests import Digest
from gatewright.models.signature import Task
from gatewright.policy.policy_file import read_policy
from gatewright.policy.rules import ApprovalNeed, KnownChecks, OutcomeRule, Policy, Rule, Tier
from gatewright.policy.verdict import Verdict, judge

CLASSIFICATION = (Task.BINARY, Task.MULTICLASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A check as the reader of policies knows it."""

    metrics: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    parameters: Mapping[str, Json] = field(default_factory=dict)


@pytest.fixture(scope="session")
def known() -> KnownChecks:
    """The checks that the default policy names."""
    return {
        "data.leakage": Known(
            metrics={"leaked-rows": tuple(Task), "near-leaked-rows": tuple(Task)},
            parameters={"near_distance": 0.01, "columns": ["a"], "strict": True, "most": 3, "note": ""},
        ),
        "data.schema": Known(),
        "performance.metrics": Known(
            metrics={
                "balanced-accuracy": CLASSIFICATION,
                "calibration-error": CLASSIFICATION,
                "r2": (Task.REGRESSION,),
            }
        ),
        "performance.slices": Known(metrics={"accuracy": CLASSIFICATION, "mae": (Task.REGRESSION,)}),
        "performance.baseline": Known(),
        "performance.importance": Known(),
        "performance.cross-validation": Known(),
        "fairness.groups": Known(),
        "efficiency.latency": Known(metrics={"p95": tuple(Task)}),
        "security.advisories": Known(),
    }


@pytest.fixture(scope="session")
def report_of() -> Callable[..., Report]:
    """A report made of the given findings."""

    def build(*findings: Finding) -> Report:
        return Report(
            model=Digest.of(b"model"),
            dataset="rows@1",
            data={"train": Digest.of(b"train"), "test": Digest.of(b"test")},
            seed=7,
            findings=findings,
            software={"numpy": "2.4"},
        )

    return build


@pytest.fixture(scope="session")
def policy_of() -> Callable[..., Policy]:
    """A policy made of the given rules, with the approvals of the default policy."""

    def build(*rules: Rule, tier: Tier = Tier.LOW, low: int = 1) -> Policy:
        return Policy(
            title="Test",
            default_tier=tier,
            rules=rules,
            approvals={
                Tier.LOW: ApprovalNeed(count=low, owner_may_approve=True),
                Tier.HIGH: ApprovalNeed(count=2, owner_may_approve=False),
            },
        )

    return build


@pytest.fixture(scope="session")
def judged() -> Callable[..., Verdict]:
    """What a policy says of a report about a binary classifier."""

    def build(policy: Policy, report: Report, *, task: Task = Task.BINARY, name: str = "m") -> Verdict:
        return judge(
            policy,
            report,
            report_digest=Digest.of(b"report"),
            policy_digest=Digest.of(b"policy"),
            model_name=name,
            task=task,
        )

    return build


@pytest.fixture(scope="session")
def verdict_at(
    policy_of: Callable[..., Policy], report_of: Callable[..., Report], judged: Callable[..., Verdict]
) -> Callable[..., Verdict]:
    """A verdict at a tier: needs-approval, or deny when asked for."""

    def build(tier: Tier = Tier.LOW, *, denied: bool = False, low: int = 1) -> Verdict:
        outcome = Outcome.FAILED if denied else Outcome.PASSED
        rule = OutcomeRule(check="data.leakage", accept=(Outcome.PASSED,))
        finding = Finding(check="data.leakage", outcome=outcome, summary="Rows were compared.")
        return judged(policy_of(rule, tier=tier, low=low), report_of(finding))

    return build


@pytest.fixture(scope="session")
def metric() -> Callable[..., Metric]:
    """A metric with an interval."""

    def build(name: str, low: float, high: float, where: str = "") -> Metric:
        return Metric(
            name=name, value=(low + high) / 2, low=low, high=high, size=100, method="wilson", slice=where
        )

    return build


@pytest.fixture(scope="session")
def read(known: KnownChecks) -> Callable[[str], Policy]:
    """Read a policy's text."""

    def build(text: str) -> Policy:
        return read_policy(text.encode(), known=known)

    return build
