"""How good the recipe's models are on training rows they did not see, and whether the test rows agree.

**Question.** Was the figure on the test rows luck? A recipe trained again without a part of the locked
training rows, and asked about that part, gives a second figure, from other rows.

**Method.** An operation trained the folds; this check only judges their answers. Each number is
computed per fold as ``performance.metrics`` does. The mean over the folds carries a 95 % interval
from Student's t with k - 1 degrees of freedom, whose variance is s² · (1/k + n_out/n_in) instead of
s²/k, because folds share most of their training rows: Nadeau & Bengio, Inference for the
Generalization Error, Machine Learning 52:239-281 (2003), section 3. That of accuracy is made no
narrower than Wilson's over all held-out rows. ``gap`` is the test figure minus the mean (of accuracy, or
R²), with MOVER's interval (Zou & Donner 2008) from both; the check fails when all of it lies farther
than ``largest_gap`` from zero.

The correction is an approximation for k folds: no unbiased estimate of the variance exists (Bengio
& Grandvalet, JMLR 5:1089-1105, 2004). Its coverage was measured: see ``docs/checks.md``.

**Not shown.** That the recipe made the model under check (``gatewright train`` shows that); how good
a model trained on all rows is: each fold learns from a part of them, and so does a little worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from gatewright.checks.answers import class_indices, label_indices
from gatewright.checks.case import Case, Fold
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import CONFIDENCE, MOVER, Floats, Interval, wilson
from gatewright.checks.performance import metrics
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "performance.cross-validation"
TITLE = "Does the recipe do as well on training rows it did not see?"
_CLASSES = (Task.BINARY, Task.MULTICLASS)
METRICS = {
    "accuracy": _CLASSES,
    "balanced-accuracy": _CLASSES,
    "roc-auc": _CLASSES,
    "log-loss": _CLASSES,
    "rmse": (Task.REGRESSION,),
    "mae": (Task.REGRESSION,),
    "r2": (Task.REGRESSION,),
    "gap": tuple(Task),
}
CORRECTED = "corrected resampled t (Nadeau & Bengio 2003)"
_RANGES = {
    "accuracy": (0.0, 1.0),
    "balanced-accuracy": (0.0, 1.0),
    "roc-auc": (0.0, 1.0),
    "r2": (-math.inf, 1.0),
}
_LOSS = (0.0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_gap``: the most that accuracy (or R²) on the test rows may surely differ from the folds'."""

    largest_gap: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.largest_gap <= 1:
            raise Misuse("checks.parameter", f"The largest gap of {NAME} must lie between 0 and 1.")


def corrected_mean(values: Floats, ratio: float, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of the mean of k figures from overlapping training sets, shape (k,).

    ``ratio`` is held-out rows over training rows. None for fewer than two values, or where they do
    not vary: then there is no variance to correct.
    """
    size = len(values)
    spread = float(values.var(ddof=1)) if size > 1 else 0.0
    mean = float(values.mean())
    if not (math.isfinite(spread) and spread > (1e-12 * max(1.0, abs(mean))) ** 2):
        return None
    reach = float(stdtrit(size - 1, 0.5 + confidence / 2)) * math.sqrt((1 / size + ratio) * spread)
    return Interval(low=mean - reach, high=mean + reach, method=CORRECTED)


def _unanswered(outcome: Outcome, reason: str, advice: str) -> Finding:
    summary = "The recipe was not cross-validated."
    return Finding(check=NAME, outcome=outcome, summary=summary, reason=reason, next=advice)


def _figures(case: Case, fold: Fold) -> tuple[Mapping[str, Metric], str]:
    """The numbers of one fold by name, or none and the reason."""
    held_out = replace(case, test=case.train.take(fold.rows), predictions=fold.predictions)
    found = metrics.run(held_out, metrics.Parameters())
    return {metric.name: metric for metric in found.metrics if metric.name in METRICS}, found.reason


def _pooled_accuracy(case: Case, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's interval over the held-out rows of all folds."""
    right = size = 0
    classes = case.signature.classes
    for fold in case.folds:
        truth = class_indices(case.train.take(fold.rows).column(case.target), classes)
        known = truth >= 0
        right += int((truth == label_indices(fold.predictions.labels, classes))[known].sum())
        size += int(known.sum())
    return wilson(right, size, confidence)


def _mean(case: Case, name: str, values: Floats, ratio: float, size: int) -> Metric | None:
    """The mean of one number over the folds."""
    found = corrected_mean(values, ratio)
    if name == "accuracy":
        pooled = _pooled_accuracy(case)
        found = pooled if found is None else replace(
            found, low=min(found.low, pooled.low), high=max(found.high, pooled.high)
        )  # fmt: skip
    if found is None:
        return None
    least, most = _RANGES.get(name, _LOSS)
    mean = float(values.mean())
    low, high = min(mean, max(found.low, least)), max(mean, min(found.high, most))
    return Metric(name=name, value=mean, low=low, high=high, size=size, method=found.method)


def _gap(test: Metric, folds: Metric) -> Metric:
    """The test figure minus the folds' mean."""
    value = test.value - folds.value
    return Metric(
        name="gap",
        value=value,
        low=value - math.hypot(test.value - test.low, folds.high - folds.value),
        high=value + math.hypot(test.high - test.value, folds.value - folds.low),
        size=test.size + folds.size,
        method=MOVER,
    )


def _judged(gap: Metric, test: Metric, folds: Metric, largest: float) -> Finding:
    said = (
        f"{folds.name} is {folds.value:.4g} ({folds.low:.4g} to {folds.high:.4g}) over the folds "
        f"and {test.value:.4g} on the test rows"
    )
    if gap.low > largest:
        return Finding(
            check=NAME,
            outcome=Outcome.FAILED,
            summary=f"The test figure is too good to be true of the recipe: {said}.",
            next="See whether test rows were learned from or chosen, and whether the recipe made this model: "
            "gatewright train.",
        )
    if gap.high < -largest:
        return Finding(
            check=NAME,
            outcome=Outcome.FAILED,
            summary=f"The recipe does better on held-out training rows than the model on the test rows: {said}.",
            next="See whether training rows repeat one another or the test rows are of another kind, and "
            "whether the recipe made this model: gatewright train.",
        )
    return Finding(check=NAME, outcome=Outcome.PASSED, summary=f"Both agree: {said}.")


def run(case: Case, parameters: Parameters) -> Finding:
    """Judge the folds of the case, and compare them with the test rows."""
    if case.no_folds:
        return _unanswered(Outcome.UNKNOWN, case.no_folds, "Mend the recipe, or add the version without one.")
    if not case.folds:
        reason = "The version declares no recipe, so it cannot be trained again."
        return _unanswered(Outcome.SKIPPED, reason, "Add it with --recipe FILE.")
    if len(case.folds) < 2 or case.target not in case.train:
        reason = "There are fewer than two folds, or no column of true answers."
        return _unanswered(Outcome.UNKNOWN, reason, "Give more training rows.")
    each = []
    for number, fold in enumerate(case.folds, 1):
        figures, reason = _figures(case, fold)
        if not figures:
            return _unanswered(Outcome.UNKNOWN, f"Fold {number}: {reason}", "Give more training rows.")
        each.append(figures)
    return _told(case, each, parameters)


def _told(case: Case, each: Sequence[Mapping[str, Metric]], parameters: Parameters) -> Finding:
    sizes = np.array([len(fold.rows) for fold in case.folds])
    ratio = float((sizes / (case.train.rows - sizes)).mean())
    found: dict[str, Metric] = {}
    notes: list[str] = []
    for name in METRICS:
        values = np.array([figures[name].value for figures in each if name in figures])
        metric = _mean(case, name, values, ratio, int(sizes.sum())) if len(values) == len(each) else None
        if metric is not None:
            found[name] = metric
        elif len(values):
            notes.append(f"{name} is left out: a fold lacks it, or it does not vary between the folds.")
    headline = "r2" if case.signature.task is Task.REGRESSION else "accuracy"
    test = {metric.name: metric for metric in metrics.run(case, metrics.Parameters()).metrics}.get(headline)
    rows: list[Json] = [
        {
            "rows": len(fold.rows),
            "seconds": round(fold.seconds, 1),
            **{name: metric.value for name, metric in figures.items()},
        }
        for fold, figures in zip(case.folds, each, strict=True)
    ]
    evidence: dict[str, Json] = {"folds": rows, "notes": list(notes)}
    if test is None or headline not in found:
        reason = f"There is no {headline} {'over the folds' if test else 'on the test rows'} to compare."
        unknown = _unanswered(Outcome.UNKNOWN, reason, "Give more rows.")
        return replace(unknown, metrics=tuple(found.values()), evidence=evidence)
    gap = _gap(test, found[headline])
    judged = _judged(gap, test, found[headline], parameters.largest_gap)
    return replace(judged, metrics=(*found.values(), gap), evidence=evidence)
