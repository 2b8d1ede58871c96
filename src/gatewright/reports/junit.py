"""A report and its verdict as JUnit XML: what build servers show as test results.

Two suites: the findings, one test case for each check, and the rules, one for each reason of the
verdict. What passed is told as well as what did not.

| outcome | element |
|---|---|
| passed, a rule that holds | none |
| failed, unknown, a rule that does not hold | ``failure`` |
| broken | ``error`` |
| skipped | ``skipped`` |

Source of the form: the schema ``junit-10.xsd`` of the Jenkins xUnit plugin, which Surefire's form
follows; no other attribute or element is used. No time is told, since a document of the same report
is the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from gatewright.checks.finding import EXACT, Finding, Metric, Outcome
from gatewright.checks.report import Report
from gatewright.policy.verdict import Reason, Verdict
from gatewright.reports.texts import visible

_ELEMENTS = {
    Outcome.FAILED: "failure",
    Outcome.UNKNOWN: "failure",
    Outcome.BROKEN: "error",
    Outcome.SKIPPED: "skipped",
}
_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def junit(subject: str, report: Report, verdict: Verdict) -> bytes:
    """The document about ``subject`` (``loans@2``), UTF-8.

    Hidden characters, which XML forbids or a console would obey, stand as their codes.
    """
    checks = _suite(f"{subject} checks", (_finding(subject, found) for found in report.findings))
    rules = _suite(f"{subject} policy", _rules(subject, verdict.reasons))
    _properties(checks, {"model": str(report.model), "dataset": report.dataset, "seed": str(report.seed)})
    _properties(
        rules,
        {"decision": verdict.decision.value, "policy": str(verdict.policy), "tier": verdict.tier.value},
    )
    root = ET.Element("testsuites", {"name": visible(f"gatewright check {subject}")})
    root.extend((checks, rules))
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ET.indent(root)
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _suite(name: str, cases: Iterable[ET.Element]) -> ET.Element:
    suite = ET.Element("testsuite", {"name": visible(name)})
    suite.extend(cases)
    suite.set("tests", str(len(suite)))
    for count, element in _COUNTED.items():
        suite.set(count, str(sum(case.find(element) is not None for case in suite)))
    return suite


def _properties(suite: ET.Element, values: dict[str, str]) -> None:
    properties = ET.Element("properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": name, "value": visible(value)})
    suite.insert(0, properties)


def _finding(subject: str, found: Finding) -> ET.Element:
    said = found.reason or found.summary
    lines = [found.summary, found.reason, found.next, *map(_metric, found.metrics)]
    element = _ELEMENTS.get(found.outcome, "")
    return _case(
        f"{_name(subject)}.checks", found.check, lines, element=element, kind=found.outcome.value, said=said
    )


def _rules(subject: str, reasons: Sequence[Reason]) -> Iterable[ET.Element]:
    """A rule on every slice gives a reason for each; they are numbered, so that no two share a name."""
    seen: Counter[str] = Counter()
    for reason in reasons:
        seen[reason.rule] += 1
        number = f" ({seen[reason.rule]})" if seen[reason.rule] > 1 else ""
        element = "" if reason.holds else "failure"
        name = reason.rule + number
        kind = reason.outcome.value
        yield _case(
            f"{_name(subject)}.policy", name, [reason.what], element=element, kind=kind, said=reason.what
        )


def _case(group: str, name: str, lines: Sequence[str], *, element: str, kind: str, said: str) -> ET.Element:
    case = ET.Element("testcase", {"classname": visible(group), "name": visible(name)})
    text = visible("\n".join(line for line in lines if line))
    if element:
        ET.SubElement(case, element, {"type": kind, "message": visible(said)}).text = text
    else:
        ET.SubElement(case, "system-out").text = text
    return case


def _metric(metric: Metric) -> str:
    where = f" where {metric.slice}" if metric.slice else ""
    unit = f" {metric.unit}" if metric.unit else ""
    value = f"{metric.name}{where}: {metric.value:.6g}{unit}"
    if metric.method == EXACT:
        return f"{value} (exact)"
    return f"{value}, interval {metric.low:.6g} to {metric.high:.6g} ({metric.method}, n = {metric.size})"


def _name(subject: str) -> str:
    """The model's name alone: build servers tell a test's history by its class, version after version."""
    return subject.partition("@")[0]
