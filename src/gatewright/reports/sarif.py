"""A report and its verdict as SARIF 2.1.0: what code hosts and security dashboards read.

Source: OASIS SARIF 2.1.0, errata 01. Every check is a rule with its help; a finding is a result of it.

| outcome | kind (3.27.9) | level (3.27.10) |
|---|---|---|
| passed | ``pass`` | none |
| failed | ``fail`` | warning: whether it matters is for the policy to say |
| unknown, broken | ``open`` | none; broken is told as a notification of the tool as well |
| skipped | ``notApplicable`` | none |

Every reason of the verdict is a result of the one rule ``policy.rule``: ``pass``, or ``fail`` with the
level error. So an error is what the policy refuses, an unknown answer included.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.report import Report
from gatewright.checks.suite import CHECKS
from gatewright.kernel.digests import Digest
from gatewright.kernel.version import VERSION
from gatewright.policy.verdict import Reason, Verdict
from gatewright.reports.texts import visible

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
POLICY_RULE = "policy.rule"
FINGERPRINT = "gatewright/v1"
LINE_HASH = "primaryLocationLineHash"
"""The partial fingerprint by which GitHub tells an alert again (its SARIF support page)."""

_KINDS = {
    Outcome.PASSED: "pass",
    Outcome.FAILED: "fail",
    Outcome.UNKNOWN: "open",
    Outcome.BROKEN: "open",
    Outcome.SKIPPED: "notApplicable",
}

_Object = dict[str, Any]


def sarif(subject: str, report: Report, verdict: Verdict, *, model_bytes: int) -> bytes:
    """The document about ``subject`` (``loans@2``, of ``model_bytes`` bytes), UTF-8.

    The same report gives the same bytes. A result's fingerprint holds the model's name and the
    question, not its version and not the numbers, so that a dashboard follows it from run to run.
    """
    name = subject.partition("@")[0]
    broken = [found for found in report.findings if found.outcome is Outcome.BROKEN]
    run = {
        "tool": {"driver": _driver(report)},
        "automationDetails": {"id": f"gatewright/{name}/{report.model.hex}"},
        "invocations": [
            {
                "executionSuccessful": not broken,
                "toolExecutionNotifications": [_notification(found) for found in broken],
            }
        ],
        "artifacts": [_artifact(subject, report, model_bytes)],
        "results": [
            *(_finding(name, subject, found) for found in report.findings),
            *_judged(name, subject, verdict.reasons),
        ],
        "properties": {
            "dataset": visible(report.dataset),
            "decision": verdict.decision.value,
            "policy": str(verdict.policy),
            "report": str(verdict.report),
            "seed": report.seed,
            "tier": verdict.tier.value,
        },
    }
    document = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"


def _driver(report: Report) -> _Object:
    titles = {check.name: (check.title, ", ".join(check.metrics)) for check in CHECKS}
    rules = [
        _descriptor(found.check, title, f"{title} Metrics: {metrics or 'none'}.", "warning")
        for found in report.findings
        for title, metrics in (titles.get(found.check, (found.check, "")),)
    ]
    judged = "A rule of the policy, judged on the bound of an interval or on an outcome."
    help_text = f"{judged} What is unknown, broken or missing never satisfies a rule."
    return {
        "name": "Gatewright",
        "version": VERSION,
        "rules": [*rules, _descriptor(POLICY_RULE, judged, help_text, "error")],
    }


def _descriptor(name: str, short: str, help_text: str, level: str) -> _Object:
    """What a rule is (3.49). Its texts are ours."""
    return {
        "id": name,
        "shortDescription": {"text": short},
        "fullDescription": {"text": help_text},
        "help": {"text": help_text},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": [name.partition(".")[0]]},
    }


def _artifact(subject: str, report: Report, model_bytes: int) -> _Object:
    return {
        "location": {"uri": f"{subject}.onnx"},
        "length": model_bytes,
        "roles": ["analysisTarget"],
        "mimeType": "application/octet-stream",
        "hashes": {"sha-256": report.model.hex},
    }


def _finding(name: str, subject: str, found: Finding) -> _Object:
    said = [found.reason or found.summary, found.next if found.outcome is not Outcome.PASSED else ""]
    kind = _KINDS[found.outcome]
    level = "warning" if kind == "fail" else "none"
    result = _result(subject, found.check, kind, level, " ".join(part for part in said if part))
    metrics = [
        {
            "name": metric.name,
            "slice": visible(metric.slice),
            "value": metric.value,
            "low": metric.low,
            "high": metric.high,
            "size": metric.size,
            "method": metric.method,
        }
        for metric in found.metrics
    ]
    bag = {"outcome": found.outcome.value, "metrics": metrics}
    return {**result, **_fingerprints(name, found.check), "properties": bag}


def _judged(name: str, subject: str, reasons: Sequence[Reason]) -> list[_Object]:
    """One result for each reason; a rule on every slice has several, told apart by their number."""
    seen: Counter[str] = Counter()
    results = []
    for reason in reasons:
        seen[reason.rule] += 1
        kind, level = ("pass", "none") if reason.holds else ("fail", "error")
        result = _result(subject, POLICY_RULE, kind, level, reason.sentence())
        bag = {"standing": reason.outcome.value, "observed": reason.observed, "limit": reason.limit}
        marks = _fingerprints(name, POLICY_RULE, reason.rule, str(seen[reason.rule]))
        results.append({**result, **marks, "properties": bag})
    return results


def _result(subject: str, rule: str, kind: str, level: str, text: str) -> _Object:
    """A result at the model's place. The first line stands for a file that has none: hosts ask for one."""
    place = {"artifactLocation": {"uri": f"{subject}.onnx", "index": 0}, "region": {"startLine": 1}}
    logical = {"fullyQualifiedName": subject, "kind": "resource"}
    return {
        "ruleId": rule,
        "kind": kind,
        "level": level,
        "message": {"text": _message(text)},
        "locations": [{"physicalLocation": place, "logicalLocations": [logical]}],
    }


def _fingerprints(*parts: str) -> _Object:
    mark = Digest.of(json.dumps(parts).encode()).hex
    return {"fingerprints": {FINGERPRINT: mark}, "partialFingerprints": {LINE_HASH: mark}}


def _notification(found: Finding) -> _Object:
    return {
        "level": "error",
        "message": {"text": _message(found.reason or found.summary)},
        "associatedRule": {"id": found.check},
    }


def _message(text: str) -> str:
    """A plain text message (3.11.3): no placeholder (3.11.5) and no link (3.11.6) comes from data."""
    return visible(text).replace("{", "{{").replace("}", "}}").replace("](", "] (") or "-"
