"""The built-in checks, and running them all.

A check that raises becomes a ``broken`` finding; the others still run. Nothing of the exception
but its type, and its stable code where it has one, reaches the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gatewright.checks.case import Case
from gatewright.checks.data import balance, duplicates, labels, leakage, schema
from gatewright.checks.efficiency import latency
from gatewright.checks.fairness import groups
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.parameters import as_json, defaults, parse, unknown_name
from gatewright.checks.performance import (
    baseline,
    calibration,
    cross_validation,
    importance,
    metrics,
    slices,
    weak_slices,
)
from gatewright.checks.security import advisories
from gatewright.kernel.canonical import Json, decode, encode
from gatewright.kernel.errors import GatewrightError
from gatewright.models.signature import Task

EVIDENCE_BYTES = 32 * 1024
"""The most canonical JSON one finding's evidence may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question and how it is answered.

    ``run`` is a pure function of a case and a value of ``parameters_type``, a frozen dataclass
    whose fields all have defaults. ``metrics`` maps each metric it can report to the tasks it
    reports it for.
    """

    name: str
    title: str
    run: Callable[[Case, Any], Finding]
    parameters_type: type[Any]
    metrics: Mapping[str, tuple[Task, ...]]

    @property
    def parameters(self) -> Mapping[str, Json]:
        """Every parameter with its default."""
        return defaults(self.parameters_type)


CHECKS: tuple[Check, ...] = (
    Check(
        name=leakage.NAME, title=leakage.TITLE, run=leakage.run,
        parameters_type=leakage.Parameters, metrics=leakage.METRICS,
    ),
    Check(
        name=schema.NAME, title=schema.TITLE, run=schema.run,
        parameters_type=schema.Parameters, metrics=schema.METRICS,
    ),
    Check(
        name=duplicates.NAME, title=duplicates.TITLE, run=duplicates.run,
        parameters_type=duplicates.Parameters, metrics=duplicates.METRICS,
    ),
    Check(
        name=balance.NAME, title=balance.TITLE, run=balance.run,
        parameters_type=balance.Parameters, metrics=balance.METRICS,
    ),
    Check(
        name=labels.NAME, title=labels.TITLE, run=labels.run,
        parameters_type=labels.Parameters, metrics=labels.METRICS,
    ),
    Check(
        name=metrics.NAME, title=metrics.TITLE, run=metrics.run,
        parameters_type=metrics.Parameters, metrics=metrics.METRICS,
    ),
    Check(
        name=calibration.NAME, title=calibration.TITLE, run=calibration.run,
        parameters_type=calibration.Parameters, metrics=calibration.METRICS,
    ),
    Check(
        name=cross_validation.NAME, title=cross_validation.TITLE, run=cross_validation.run,
        parameters_type=cross_validation.Parameters, metrics=cross_validation.METRICS,
    ),
    Check(
        name=slices.NAME, title=slices.TITLE, run=slices.run,
        parameters_type=slices.Parameters, metrics=slices.METRICS,
    ),
    Check(
        name=groups.NAME, title=groups.TITLE, run=groups.run,
        parameters_type=groups.Parameters, metrics=groups.METRICS,
    ),
    Check(
        name=baseline.NAME, title=baseline.TITLE, run=baseline.run,
        parameters_type=baseline.Parameters, metrics=baseline.METRICS,
    ),
    Check(
        name=weak_slices.NAME, title=weak_slices.TITLE, run=weak_slices.run,
        parameters_type=weak_slices.Parameters, metrics=weak_slices.METRICS,
    ),
    Check(
        name=importance.NAME, title=importance.TITLE, run=importance.run,
        parameters_type=importance.Parameters, metrics=importance.METRICS,
    ),
    Check(
        name=latency.NAME, title=latency.TITLE, run=latency.run,
        parameters_type=latency.Parameters, metrics=latency.METRICS,
    ),
    Check(
        name=advisories.NAME, title=advisories.TITLE, run=advisories.run,
        parameters_type=advisories.Parameters, metrics=advisories.METRICS,
    ),
)  # fmt: skip


def known_checks() -> Mapping[str, Check]:
    """The built-in checks by name, in the order they run."""
    return {check.name: check for check in CHECKS}


def _silent(_: str) -> None:
    """Report no progress."""


def _broken(check: Check, reason: str) -> Finding:
    return Finding(
        check=check.name,
        outcome=Outcome.BROKEN,
        summary=f"The check {check.name} could not finish.",
        reason=reason,
        next="This is a fault of the check or of data it does not expect; report it with the reason.",
    )


def _fault(check: Check, found: Finding, evidence_bytes: int) -> str:
    """What is wrong with a finding that a check gave, or nothing."""
    if found.check != check.name:
        return "The finding is of another check."
    if evidence_bytes > EVIDENCE_BYTES:
        return f"The evidence takes {evidence_bytes} bytes; {EVIDENCE_BYTES} is the most."
    for metric in found.metrics:
        numbers = (metric.low, metric.value, metric.high)
        if not (all(map(math.isfinite, numbers)) and metric.low <= metric.value <= metric.high):
            return f"The metric {metric.name[:80]} is not a finite number inside its interval."
    return ""


def run_check(check: Check, case: Case, parameters: Any) -> Finding:
    """The check's finding with its parameters filled in; ``broken`` when the check raises."""
    try:
        found = check.run(case, parameters)
        evidence = encode(found.evidence)
        fault = _fault(check, found, len(evidence))
        found = _broken(check, fault) if fault else replace(found, evidence=decode(evidence))
    except Exception as error:  # noqa: BLE001 - whatever a check raises must not stop the others
        code = f" ({error.code})" if isinstance(error, GatewrightError) else ""
        found = _broken(check, f"The check raised {type(error).__name__}{code}.")
    return replace(found, parameters=as_json(parameters))


def run_all(
    case: Case,
    parameters: Mapping[str, Mapping[str, Json]],
    progress: Callable[[str], None] = _silent,
    *,
    checks: Sequence[Check] = CHECKS,
) -> tuple[Finding, ...]:
    """Every check's finding, in order; ``parameters`` maps check names to values by name.

    Raises Misuse, before anything runs, for a check or a parameter that does not exist.
    """
    known = {check.name: check for check in checks}
    for name in parameters:
        if name not in known:
            raise unknown_name("checks.unknown-check", name, known, "check named")
    parsed = [
        (check, parse(check.name, check.parameters_type, parameters.get(check.name, {}))) for check in checks
    ]
    findings: list[Finding] = []
    for check, values in parsed:
        progress(check.name)
        findings.append(run_check(check, case, values))
    return tuple(findings)
