"""Whether the model is fast and small enough to serve.

**Question.** Do single-row answers, the model file and the memory stay inside their bounds?

**Method.** An operation measured the wall-clock time of many single-row calls; this check only
judges the samples. The median, the 95th and the 99th percentile carry distribution-free intervals
from order statistics (David & Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1): their bounds
are two of the samples, chosen by the binomial distribution. The check fails when the *upper* bound
of the 99th percentile is beyond its limit, and is ``unknown`` when the samples are too few for
that bound (fewer than 368). Sizes are exact.

**Not shown.** Latency under load, over a network, or on another machine; the intervals take the
calls as independent, so a machine that slows down for a while makes them too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatewright.checks.case import Case, Timing
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import quantile
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "efficiency.latency"
TITLE = "Is the model fast and small enough?"
METRICS = {name: tuple(Task) for name in ("median", "p95", "p99", "model-size", "peak-memory")}
MEBIBYTE = 1024 * 1024
_SHARES = (("median", 0.5), ("p95", 0.95), ("p99", 0.99))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``p99_milliseconds``: the most a single-row answer may take, 99 times in 100.

    ``model_megabytes``: the largest model file, in MiB (2**20 bytes).
    """

    p99_milliseconds: float = 100.0
    model_megabytes: float = 2048.0

    def __post_init__(self) -> None:
        if not (self.p99_milliseconds > 0 and self.model_megabytes > 0):
            raise Misuse("checks.parameter", f"The limits of {NAME} must be above zero.")


def _quantiles(timing: Timing) -> list[Metric]:
    ordered = np.sort(timing.single_row[np.isfinite(timing.single_row)]) * 1000
    found: list[Metric] = []
    for name, share in _SHARES:
        interval = quantile(ordered, share)
        if interval is not None:
            value = float(np.quantile(ordered, share))
            found.append(
                Metric(
                    name=name,
                    value=value,
                    low=min(interval.low, value),
                    high=max(interval.high, value),
                    size=len(ordered),
                    method=interval.method,
                    unit="ms",
                )
            )
    return found


def _sizes(timing: Timing) -> list[Metric]:
    found = [Metric.exact("model-size", timing.model_bytes / MEBIBYTE, unit="MiB")]
    if timing.peak_memory_bytes > 0:
        found.append(Metric.exact("peak-memory", timing.peak_memory_bytes / MEBIBYTE, unit="MiB"))
    return found


def _beyond(metrics: list[Metric], parameters: Parameters) -> list[str]:
    limits = {"p99": parameters.p99_milliseconds, "model-size": parameters.model_megabytes}
    return [
        f"{metric.name} may be {metric.high:.4g} {metric.unit}, and the limit is {limits[metric.name]:g}"
        for metric in metrics
        if metric.name in limits and metric.high > limits[metric.name]
    ]


def run(case: Case, parameters: Parameters) -> Finding:
    """Judge the timing samples of the case."""
    if case.timing is None:
        return Finding(
            check=NAME,
            outcome=Outcome.UNKNOWN,
            summary="The model was not timed.",
            reason="No timing of the model was given.",
            next="Run the check on a model that can be asked.",
        )
    metrics = [*_quantiles(case.timing), *_sizes(case.timing)]
    beyond = _beyond(metrics, parameters)
    evidence: dict[str, Json] = {"samples": len(case.timing.single_row)}
    outcome, reason, advice = Outcome.PASSED, "", ""
    summary = "The model answers fast enough and is small enough."
    if beyond:
        outcome, summary = Outcome.FAILED, f"Beyond the limits: {'; '.join(beyond)}."
        advice = "Make the model smaller or simpler, or raise the limit in the policy with a reason."
    elif not any(metric.name == "p99" for metric in metrics):
        outcome, summary = Outcome.UNKNOWN, "The slowest answers were not bounded."
        reason = f"{len(case.timing.single_row)} timed calls are too few to bound the 99th percentile."
        advice = "Time at least 368 single-row calls."
    return Finding(
        check=NAME,
        outcome=outcome,
        summary=summary,
        reason=reason,
        next=advice,
        metrics=tuple(metrics),
        evidence=evidence,
    )
