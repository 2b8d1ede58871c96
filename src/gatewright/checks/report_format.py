"""A report as canonical JSON, format 1.

Laws: ``decode_report(encode_report(r)) == r`` for every report whose evidence is plain JSON (lists,
not tuples); ``encode_report(decode_report(b)) == b`` for every ``b`` that ``decode_report`` takes.
A metric is always a finite number inside its interval; anything else is neither written nor read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.report import REPORT_FORMAT, Report
from gatewright.kernel import canonical
from gatewright.kernel.canonical import Json
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput

MAX_REPORT_BYTES = 8 * 1024 * 1024
MAX_FINDINGS = 1_000
MAX_METRICS = 10_000

_NUMBER = (int, float)
_METRIC: Mapping[str, type | tuple[type, ...]] = {
    "confidence": _NUMBER,
    "high": _NUMBER,
    "low": _NUMBER,
    "method": str,
    "name": str,
    "size": int,
    "slice": str,
    "unit": str,
    "value": _NUMBER,
}
_FINDING: Mapping[str, type | tuple[type, ...]] = {
    "check": str,
    "evidence": dict,
    "metrics": list,
    "next": str,
    "outcome": str,
    "parameters": dict,
    "reason": str,
    "summary": str,
}
_REPORT: Mapping[str, type | tuple[type, ...]] = {
    "data": dict,
    "dataset": str,
    "findings": list,
    "format": int,
    "model": str,
    "seed": int,
    "software": dict,
}


def _sound(metric: Metric) -> Metric:
    """The metric, when its numbers are finite (JSON holds no others) and in order."""
    numbers = (metric.low, metric.value, metric.high)
    if not (all(map(math.isfinite, numbers)) and metric.low <= metric.value <= metric.high):
        raise _bad(f"The metric {metric.name[:80]} is not a finite number inside its interval.")
    return metric


def _metric_json(metric: Metric) -> dict[str, Json]:
    return {name: getattr(metric, name) for name in _METRIC}


def _finding_json(finding: Finding) -> dict[str, Json]:
    return {
        "check": finding.check,
        "evidence": finding.evidence,
        "metrics": [_metric_json(_sound(metric)) for metric in finding.metrics],
        "next": finding.next,
        "outcome": finding.outcome.value,
        "parameters": finding.parameters,
        "reason": finding.reason,
        "summary": finding.summary,
    }


def encode_report(report: Report) -> bytes:
    """Canonical JSON of the report; digests are written as 64 hexadecimal characters.

    Raises BadInput for evidence or parameters that JSON cannot hold, and for a metric that is not a
    finite number inside its interval.
    """
    return canonical.encode(
        {
            "data": {name: digest.hex for name, digest in report.data.items()},
            "dataset": report.dataset,
            "findings": [_finding_json(finding) for finding in report.findings],
            "format": report.format,
            "model": report.model.hex,
            "seed": report.seed,
            "software": dict(report.software),
        }
    )


def _bad(what: str, place: str = "") -> BadInput:
    return BadInput("checks.report", what, next="Run the checks again.", place=place)


def _fields(value: object, kinds: Mapping[str, type | tuple[type, ...]], place: str) -> Mapping[str, Any]:
    """The JSON object, when it has exactly these keys with values of these types."""
    if not isinstance(value, dict) or set(value) != set(kinds):
        raise _bad(f"It does not have exactly the keys {', '.join(kinds)}.", place)
    for key, kind in kinds.items():
        if not isinstance(value[key], kind) or isinstance(value[key], bool):
            raise _bad(f"The field {key} has the wrong type.", place)
    return value


def _texts(value: Mapping[str, object], place: str) -> dict[str, str]:
    for key, text in value.items():
        if not isinstance(text, str):
            raise _bad(f"The field {key[:80]} is not text.", place)
    return {key: str(text) for key, text in value.items()}


def _digest(text: str, place: str) -> Digest:
    try:
        return Digest(text)
    except BadInput:
        raise _bad("A digest is not 64 hexadecimal characters.", place) from None


def _metric(value: object, place: str) -> Metric:
    found = _fields(value, _METRIC, place)
    metric = Metric(
        name=found["name"],
        value=float(found["value"]),
        low=float(found["low"]),
        high=float(found["high"]),
        size=found["size"],
        method=found["method"],
        confidence=float(found["confidence"]),
        slice=found["slice"],
        unit=found["unit"],
    )
    return _sound(metric)


def _finding(value: object, place: str) -> Finding:
    found = _fields(value, _FINDING, place)
    if found["outcome"] not in set(Outcome):
        raise _bad(f"{found['outcome'][:40]!r} is not an outcome.", place)
    if len(found["metrics"]) > MAX_METRICS:
        raise _bad(f"It has more than {MAX_METRICS} metrics.", place)
    return Finding(
        check=found["check"],
        outcome=Outcome(found["outcome"]),
        summary=found["summary"],
        reason=found["reason"],
        next=found["next"],
        metrics=tuple(_metric(item, f"{place}.metrics[{n}]") for n, item in enumerate(found["metrics"])),
        evidence=found["evidence"],
        parameters=found["parameters"],
    )


def decode_report(data: bytes) -> Report:
    """Read a report strictly.

    Raises BadInput for bytes that :func:`encode_report` would not write: JSON that is not
    canonical, another format number, a missing, unknown or mistyped field, a metric that is not
    inside its interval, more than the named limits.
    """
    if len(data) > MAX_REPORT_BYTES:
        raise _bad(f"The report is larger than {MAX_REPORT_BYTES} bytes.")
    value = canonical.decode(data)
    if isinstance(value, dict) and value.get("format") != REPORT_FORMAT:
        raise BadInput(
            "checks.report-format",
            f"The report has format {str(value.get('format'))[:40]}, not {REPORT_FORMAT}.",
            next="Read it with a version of this product that knows the format.",
        )
    found = _fields(value, _REPORT, "report")
    if len(found["findings"]) > MAX_FINDINGS:
        raise _bad(f"The report has more than {MAX_FINDINGS} findings.")
    data_digests = _texts(found["data"], "data")
    return Report(
        model=_digest(found["model"], "model"),
        dataset=found["dataset"],
        data={name: _digest(text, f"data.{name[:80]}") for name, text in data_digests.items()},
        seed=found["seed"],
        findings=tuple(_finding(item, f"findings[{n}]") for n, item in enumerate(found["findings"])),
        software=_texts(found["software"], "software"),
    )
