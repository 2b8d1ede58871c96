"""Whether stated probabilities come true, in which direction they err, and what to do about it.

**Question.** When the model says 80 %, is it right eight times in ten?

**Method.** For two classes the probability of the positive class is held against whether it came true;
for more, the probability of the class stated as likeliest against whether it was right, and each class
by itself. Reported are

- ``calibration-error``: the root-mean-square one of ``gatewright.checks.calibration``, the same number
  that ``performance.metrics`` reports, with the table behind it (equal-mass bins, Wilson's interval each);
- ``calibration-slope`` and ``calibration-intercept``: the logistic regression of what happened on the
  log-odds stated (Cox, Biometrika 45:562, 1958), Wald intervals: 1 and 0 where probabilities are right; a slope
  below 1 is overconfidence, above 1 underconfidence;
- ``mean-gap``: how much more often it happened than was stated on average, with the normal interval;
- ``calibration-p``: the p-value of Spiegelhalter's z (Stat Med 5:421, 1986), which asks whether squared errors are
  what the stated probabilities themselves promise. Small: the probabilities are not right. With many
  rows it is small for harmless gaps too, so it decides nothing.

The check fails when the lower bound of the calibration error is above ``largest_error``: when it is shown
to be too large. That it is shown to be *small* is what a policy asks of the upper bound.

**Not shown.** Calibration inside groups of rows; probabilities of classes other than the likeliest, beyond
one number a class; calibration on rows unlike the test rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from gatewright.checks.answers import ClassAnswers, NoAnswers, answers_of
from gatewright.checks.calibration import FEWEST_BINS, ROWS_PER_BIN, Calibration, calibration_error
from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import Floats, Interval, normal_point, wilson
from gatewright.checks.performance.metrics import SUM_TOLERANCE
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "performance.calibration"
TITLE = "Do stated probabilities come true?"
METRICS = dict.fromkeys(("calibration-error", "calibration-slope", "calibration-intercept", "mean-gap", "calibration-p"), (Task.BINARY, Task.MULTICLASS))  # fmt: skip
MOST_CLASSES = 20
NAME_LENGTH = 60
MANY_ROWS = 1_000
"""With fewer rows to learn from, isotonic recalibration fits noise; a sigmoid does not."""
UNSHOWN = "not shown to err in one direction"
STEPS = 50
LARGEST_SLOPE = 50.0
WALD = "Wald, logistic regression"
NORMAL = "normal, mean of differences"

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_error``: the calibration error above which the check fails, once it is shown.

    ``positive_class`` names the class of two whose probability is looked at ("": the second one).
    """

    largest_error: float = 0.10
    positive_class: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.largest_error <= 1:
            raise Misuse("checks.parameter", f"largest_error of {NAME} must be above 0 and at most 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """Cox's line through the log-odds: what would have been right, ``intercept + slope * log-odds``."""

    intercept: float
    intercept_interval: Interval
    slope: float
    slope_interval: Interval


def recalibration(stated: Floats, happened: Flags) -> Recalibration | None:
    """Fit Cox's line to probabilities and events, shape (n,); None where no line fits best.

    Probabilities of 0 and 1 count as the nearest ones that float32 tells apart from them.
    """
    tiny = float(np.finfo(np.float32).eps)
    inputs = np.stack([np.ones(len(stated)), logit(np.clip(stated, tiny, 1 - tiny))], axis=1)
    weights = np.array([0.0, 1.0])
    for _ in range(STEPS):
        expected = expit(inputs @ weights)
        curve = (inputs * (expected * (1 - expected))[:, None]).T @ inputs
        if not np.isfinite(curve).all() or np.linalg.cond(curve) > 1e12:
            return None
        step = np.linalg.solve(curve, inputs.T @ (happened - expected))
        weights = weights + step / max(1.0, float(np.abs(step).max()) / 2)  # no leap beyond the data
        if np.abs(step).max() < 1e-9:
            break
    else:
        return None
    if np.abs(weights).max() > LARGEST_SLOPE:
        return None
    reach = normal_point(0.95) * np.sqrt(np.diag(np.linalg.inv(curve)))
    bounds = [
        Interval(low=float(w - r), high=float(w + r), method=WALD)
        for w, r in zip(weights, reach, strict=True)
    ]
    return Recalibration(
        intercept=float(weights[0]),
        intercept_interval=bounds[0],
        slope=float(weights[1]),
        slope_interval=bounds[1],
    )


def spiegelhalter(stated: Floats, happened: Flags) -> tuple[float, float] | None:
    """Spiegelhalter's z and its two-sided p-value; None where every probability is 0, 1/2 or 1."""
    spread = float(((1 - 2 * stated) ** 2 * stated * (1 - stated)).sum())
    if spread <= 0:
        return None
    z = float(((happened - stated) * (1 - 2 * stated)).sum()) / math.sqrt(spread)
    return z, 2 * NormalDist().cdf(-abs(z))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Events:
    """What is held against what: probabilities and whether they came true; ``name`` is "" for all rows."""

    name: str
    stated: Floats
    happened: Flags


def _metrics(events: _Events, found: Calibration, line: Recalibration | None) -> list[Metric]:
    size = len(events.stated)
    gap = events.happened - events.stated
    reach = normal_point(0.95) * float(gap.std(ddof=1)) / math.sqrt(size)
    mean = float(gap.mean())
    numbers = [
        ("calibration-error", found.error, found.interval),
        ("mean-gap", mean, Interval(low=mean - reach, high=mean + reach, method=NORMAL)),
    ]
    if line is not None:
        numbers += [
            ("calibration-slope", line.slope, line.slope_interval),
            ("calibration-intercept", line.intercept, line.intercept_interval),
        ]
    metrics = [
        Metric(
            name=name, value=value, low=min(bounds.low, value), high=max(bounds.high, value), size=size,
            method=bounds.method, slice=events.name,
        )
        for name, value, bounds in numbers
    ]  # fmt: skip
    tested = spiegelhalter(events.stated, events.happened)
    return (
        metrics
        if tested is None
        else [*metrics, Metric.exact("calibration-p", tested[1], size=size, slice=events.name)]
    )


def _table(found: Calibration) -> list[Json]:
    rows: list[Json] = []
    for size, stated, observed in zip(found.rows.tolist(), found.stated, found.observed, strict=True):
        bounds = wilson(float(observed) * size, size)
        rows.append(
            {
                "rows": size, "stated": float(stated), "observed": float(observed),
                "low": bounds.low, "high": bounds.high,
            }
        )  # fmt: skip
    return rows


def _direction(metrics: list[Metric]) -> str:
    """Which way the probabilities err, as far as the intervals show it."""
    by_name = {metric.name: metric for metric in metrics}
    slope, gap = by_name.get("calibration-slope"), by_name["mean-gap"]
    if slope is not None and slope.high < 1:
        return "overconfident: high probabilities are too high, and low ones too low"
    if slope is not None and slope.low > 1:
        return "underconfident: high probabilities are too low, and low ones too high"
    if gap.low > 0:
        return f"too low on average, by {gap.value:.1%}"
    if gap.high < 0:
        return f"too high on average, by {-gap.value:.1%}"
    return UNSHOWN


def _err(bound: Interval, direction: str) -> str:
    """The direction as it goes on from the error of the table: the two are measured in two ways, and may differ."""
    if direction != UNSHOWN and bound.low <= 0:
        return f": group by group that shows no error, but a fit over all rows says that they are {direction}"
    return f"; they are {direction}"


def _advice(rows: int) -> str:
    method = "isotonic" if rows >= MANY_ROWS else "sigmoid"
    return (
        f"Recalibrate on train rows: scikit-learn's CalibratedClassifierCV(model, method={method!r}), or one "
        "temperature over the logits of a network; then check again. Do not fit it on the test rows."
    )


def _unknown(reason: str, advice: str) -> Finding:
    return Finding(
        check=NAME, outcome=Outcome.UNKNOWN, summary="Whether probabilities come true is not known.",
        reason=reason, next=advice,
    )  # fmt: skip


def _skipped(reason: str) -> Finding:
    return Finding(
        check=NAME, outcome=Outcome.SKIPPED, summary="The model states no probabilities.", reason=reason
    )


def _events(found: ClassAnswers, scores: Floats, positive: int | None) -> list[_Events]:
    """The events of all rows first, then for several classes those of each."""
    if positive is not None:
        return [_Events(name="", stated=scores[:, positive], happened=found.truth == positive)]
    top = scores.argmax(axis=1)
    whole = _Events(name="", stated=scores[np.arange(len(top)), top], happened=top == found.truth)
    return [
        whole,
        *(
            _Events(name=name[:NAME_LENGTH], stated=scores[:, index], happened=found.truth == index)
            for index, name in enumerate(found.classes)
        ),
    ]


def _judge(events: list[_Events], parameters: Parameters, train_rows: int) -> Finding:
    first, *others = events
    found = calibration_error(first.stated, first.happened)
    if found is None:
        return _unknown(
            f"{len(first.stated)} test rows are too few, or do not vary enough, for a table of probabilities.",
            f"Give at least {FEWEST_BINS * ROWS_PER_BIN} test rows.",
        )
    line = recalibration(first.stated, first.happened)
    metrics = _metrics(first, found, line)
    notes = (
        []
        if line is not None
        else ["No line through the log-odds fits best, so slope and intercept are left out."]
    )
    parts = [(event, calibration_error(event.stated, event.happened)) for event in others]
    judged = sorted(
        ((event, part) for event, part in parts if part is not None), key=lambda pair: -pair[1].interval.low
    )
    for event, part in judged[:MOST_CLASSES]:
        metrics += _metrics(event, part, recalibration(event.stated, event.happened))
    direction = _direction([metric for metric in metrics if not metric.slice])
    bound = found.interval
    tested = spiegelhalter(first.stated, first.happened)
    failed = bound.low > parameters.largest_error
    return Finding(
        check=NAME,
        outcome=Outcome.FAILED if failed else Outcome.PASSED,
        summary=f"Stated probabilities are off by {found.error:.3f} ({bound.low:.3f} to {bound.high:.3f})"
        f"{_err(bound, direction)}.",
        next=_advice(train_rows) if failed else "",
        metrics=tuple(metrics),
        evidence={
            "table": _table(found),
            "direction": direction,
            "spiegelhalter": None if tested is None else {"z": tested[0], "p": tested[1]},
            "worst_class": judged[0][0].name if judged else "",
            "notes": list(notes),
        },
    )


def run(case: Case, parameters: Parameters) -> Finding:
    """Hold the stated probabilities of the test rows against what happened."""
    if case.signature.task is Task.REGRESSION:
        return _skipped("The task is regression.")
    found = answers_of(case)
    if not isinstance(found, ClassAnswers):
        reason = found.reason if isinstance(found, NoAnswers) else "The answers are amounts."
        return _unknown(reason, found.next if isinstance(found, NoAnswers) else "Declare classes.")
    if found.scores is None:
        return _skipped("The model answers with labels alone.")
    scores = found.scores
    beyond = max(-scores.min(), scores.max() - 1, np.abs(scores.sum(axis=1) - 1).max())
    if not beyond <= SUM_TOLERANCE:
        return _unknown(
            "The scores are not probabilities that add up to 1.", "End the model with a softmax or a sigmoid."
        )
    positive: int | None = None
    if case.signature.task is Task.BINARY:
        wanted = parameters.positive_class or found.classes[-1]
        if wanted not in found.classes:
            return _unknown(
                f"The model has no class {wanted[:NAME_LENGTH]!r}.",
                "Name one of its classes in positive_class.",
            )
        positive = found.classes.index(wanted)
    return _judge(_events(found, np.clip(scores, 0.0, 1.0), positive), parameters, case.train.rows)
