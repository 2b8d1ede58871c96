"""How good the model's answers on the test rows are, and how sure that is.

**Question.** What are the usual numbers of this task, each with the interval that the number of
test rows allows?

**Method.** Every metric carries a two-sided 95 % interval and the name of its method:

- accuracy, binary precision and recall: Wilson's score interval (JASA 1927);
- binary F1: Wilson's interval of the Jaccard index, carried over, since F1 = 2J / (1 + J);
- balanced accuracy and the macro averages of several classes: MOVER (Zou & Donner 2008) over the
  Wilson bounds of each class, with the classes' correlation for macro F1 (Zou 2007);
- ROC-AUC: DeLong (1988) on the logit scale by the algorithm of Sun & Xu (2014); Newcombe's method 5
  (2006) where a class has few rows or the ranking is perfect. Several classes: the mean of the
  one-vs-rest areas;
- log loss, MAE, RMSE: the mean as a scaled chi-square (Satterthwaite 1946);
- R²: the delta method on the logarithm of 1 - R²;
- calibration error: the root-mean-square one over at most 10 equal-mass bins, without its noise
  (Kumar et al. 2019); of the positive class for two classes, of the stated top class for more.

A number that cannot be computed is left out, and a note says why. Labels and scores are judged apart:
where a label is not the class with the highest score of its row, a note says of how many rows. The outcome is ``passed`` when
there are numbers: the policy judges their bounds.

**Not shown.** How the model does on rows unlike the test rows; whether the test rows were
independent; anything about groups of rows (see ``performance.slices``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gatewright.checks.answers import ClassAnswers, Indices, NoAnswers, ValueAnswers, answers_of
from gatewright.checks.calibration import Calibration, calibration_error
from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import (
    Floats,
    Interval,
    correlation,
    f1_interval,
    mean_of,
    positive_mean,
    ratio_of_means,
    wilson,
)
from gatewright.checks.ranking import area_under_curve, macro_area
from gatewright.kernel.canonical import Json
from gatewright.models.signature import Task

NAME = "performance.metrics"
TITLE = "How good are the answers on the test rows?"
_CLASSES = (Task.BINARY, Task.MULTICLASS)
METRICS = {
    "accuracy": _CLASSES,
    "balanced-accuracy": _CLASSES,
    "precision": _CLASSES,
    "recall": _CLASSES,
    "f1": _CLASSES,
    "roc-auc": _CLASSES,
    "log-loss": _CLASSES,
    "calibration-error": _CLASSES,
    "rmse": (Task.REGRESSION,),
    "mae": (Task.REGRESSION,),
    "r2": (Task.REGRESSION,),
}
SUM_TOLERANCE = 1e-3
"""How far the probabilities of a row may be from 1 in total and still count as probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``positive_class`` names the class that precision and recall are about ("": the second one)."""

    positive_class: str = ""


@dataclass(slots=True, kw_only=True)
class _Page:
    """What was computed so far, and why the rest was not."""

    metrics: list[Metric] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, interval: Interval | None, size: int, why: str = "") -> None:
        if interval is None:
            self.notes.append(f"{name} is left out: {why}.")
            return
        low, high = min(interval.low, value), max(interval.high, value)
        self.metrics.append(
            Metric(name=name, value=value, low=low, high=high, size=size, method=interval.method)
        )

    def skip(self, name: str, why: str) -> None:
        self.notes.append(f"{name} is left out: {why}.")


_TOO_FEW = "the rows are too few, or do not vary enough, for an honest interval"


def _shares(page: _Page, found: ClassAnswers, positive: int | None) -> None:
    """Accuracy, balanced accuracy, precision, recall and F1."""
    size, classes = len(found.truth), len(found.classes)
    right = found.truth == found.answer
    actual = np.bincount(found.truth, minlength=classes)
    said = np.bincount(found.answer[found.answer >= 0], minlength=classes)
    hits = np.bincount(found.truth[right], minlength=classes)
    page.add("accuracy", float(right.mean()), wilson(int(right.sum()), size), size)
    absent = [name for name, count in zip(found.classes, actual, strict=True) if not count]
    if absent:
        page.skip("balanced-accuracy", f"no test row has the class {absent[0]!r}")
    else:
        recalls = [wilson(int(h), int(a)) for h, a in zip(hits, actual, strict=True)]
        page.add("balanced-accuracy", float((hits / actual).mean()), mean_of(hits / actual, recalls), size)
    if positive is None:
        _macro(page, found, actual, said, hits)
        return
    p, a, h = int(said[positive]), int(actual[positive]), int(hits[positive])
    name = found.classes[positive]
    if p:
        page.add("precision", h / p, wilson(h, p), p)
    else:
        page.skip("precision", f"the model never answered {name!r}")
    if a:
        page.add("recall", h / a, wilson(h, a), a)
    else:
        page.skip("recall", f"no test row has the class {name!r}")
    if p + a:
        page.add("f1", 2 * h / (p + a), f1_interval(h, p + a - 2 * h), p + a - h)
    else:
        page.skip("f1", f"{name!r} is neither in the test rows nor in the answers")


def _macro(page: _Page, found: ClassAnswers, actual: Indices, said: Indices, hits: Indices) -> None:
    """Macro precision, recall and F1 over all classes of the signature."""
    size = len(found.truth)
    kinds = range(len(found.classes))
    for name, base, what in (
        ("precision", said, "the model never answered"),
        ("recall", actual, "no test row has the class"),
    ):
        empty = [found.classes[k] for k in kinds if not base[k]]
        if empty:
            page.skip(name, f"{what} {empty[0]!r}")
            continue
        parts = [wilson(int(hits[k]), int(base[k])) for k in kinds]
        page.add(name, float((hits / base).mean()), mean_of(hits / base, parts), size)
    both = actual + said
    if not both.all():
        page.skip("f1", "a class is neither in the test rows nor in the answers")
        return
    scores = 2 * hits / both
    parts = [f1_interval(int(hits[k]), int(both[k] - 2 * hits[k])) for k in kinds]
    truth = found.truth[:, None] == np.arange(len(found.classes))
    answer = found.answer[:, None] == np.arange(len(found.classes))
    influence = (2.0 * (truth & answer) - scores * (truth.astype(np.float64) + answer)) / both
    page.add("f1", float(scores.mean()), mean_of(scores, parts, correlation(influence)), size)


def _area(page: _Page, found: ClassAnswers, scores: Floats, positive: int | None) -> None:
    if positive is None:
        area = macro_area(scores, found.truth)
    else:
        area = area_under_curve(scores[:, positive], found.truth == positive)
    if area is None:
        page.skip("roc-auc", "a class has fewer than five test rows")
    else:
        page.add("roc-auc", area[0], area[1], len(found.truth))


def _probabilities(page: _Page, found: ClassAnswers, positive: int | None) -> Calibration | None:
    """ROC-AUC, log loss and calibration error, as far as the scores allow."""
    scores = found.scores
    if scores is None or not np.isfinite(scores).all():
        why = "the model gives no scores" if scores is None else "some scores are not finite numbers"
        for name in ("roc-auc", "log-loss", "calibration-error"):
            page.skip(name, why)
        return None
    _area(page, found, scores, positive)
    beyond = max(-scores.min(), scores.max() - 1, np.abs(scores.sum(axis=1) - 1).max())
    if beyond > SUM_TOLERANCE:  # float32 sums over many trees miss 1 by some 1e-7
        for name in ("log-loss", "calibration-error"):
            page.skip(name, "the scores are not probabilities that add up to 1")
        return None
    scores = np.clip(scores, 0.0, 1.0)
    size = len(found.truth)
    tiny = float(np.finfo(np.float64).eps)
    losses = -np.log(np.clip(scores[np.arange(size), found.truth], tiny, 1 - tiny))
    page.add("log-loss", float(losses.mean()), positive_mean(losses), size, _TOO_FEW)
    if positive is None:
        top = scores.argmax(axis=1)
        result = calibration_error(scores[np.arange(size), top], top == found.truth)
    else:
        result = calibration_error(scores[:, positive], found.truth == positive)
    if result is None:
        page.skip("calibration-error", _TOO_FEW)
        return None
    page.add("calibration-error", result.error, result.interval, size)
    return result


def _contradictions(page: _Page, found: ClassAnswers) -> None:
    """Note how many labels are not the class with the highest score of their row; ties are no contradiction."""
    if found.scores is None or not np.isfinite(found.scores).all():
        return
    known = np.flatnonzero(found.answer >= 0)
    stated = found.scores[known, found.answer[known]]
    if other := int((stated < found.scores[known].max(axis=1)).sum()):
        size = len(found.answer)
        page.notes.append(
            f"{other} of {size} labels ({other / size:.2%}, exact) are not the class with the highest score: "
            "the model decides otherwise than by its scores, such as by a threshold, or the two are mixed up."
        )


def _regression(page: _Page, found: ValueAnswers) -> None:
    """MAE, RMSE and R²."""
    size = len(found.truth)
    errors = found.truth - found.answer
    absolute, squares = np.abs(errors), errors**2
    page.add("mae", float(absolute.mean()), positive_mean(absolute), size, _TOO_FEW)
    square = positive_mean(squares)
    root = square and Interval(low=math.sqrt(square.low), high=math.sqrt(square.high), method=square.method)
    page.add("rmse", math.sqrt(float(squares.mean())), root, size, _TOO_FEW)
    spread = (found.truth - found.truth.mean()) ** 2
    ratio = ratio_of_means(squares, spread)
    explained = ratio and Interval(low=1 - ratio.high, high=1 - ratio.low, method=ratio.method)
    value = 1 - float(squares.sum() / spread.sum()) if spread.sum() > 0 else 0.0
    page.add("r2", value, explained, size, _TOO_FEW)


def _table(result: Calibration | None) -> Iterator[Json]:
    if result is not None:
        for rows, stated, observed in zip(result.rows, result.stated, result.observed, strict=True):
            yield {"rows": int(rows), "stated": float(stated), "observed": float(observed)}


def _unknown(reason: str, advice: str) -> Finding:
    return Finding(
        check=NAME,
        outcome=Outcome.UNKNOWN,
        summary="The answers were not measured.",
        reason=reason,
        next=advice,
    )


def _positive(case: Case, wanted: str) -> int | None:
    """Index of the positive class for two classes, None for more; -1 when it is not a class."""
    if case.signature.task is not Task.BINARY:
        return None
    if not wanted:
        return 1
    return case.signature.classes.index(wanted) if wanted in case.signature.classes else -1


def run(case: Case, parameters: Parameters) -> Finding:
    """Compute the metrics of the case's task on its test rows."""
    found = answers_of(case)
    if isinstance(found, NoAnswers):
        return _unknown(found.reason, found.next)
    page, result, positive = _Page(), None, None
    evidence: dict[str, Json] = {}
    if isinstance(found, ValueAnswers):
        _regression(page, found)
    else:
        positive = _positive(case, parameters.positive_class)
        if positive is not None and not 0 <= positive < len(found.classes):
            return _unknown(
                f"The model's classes are {', '.join(found.classes[:20]) or 'not named'}; "
                f"the positive class {parameters.positive_class or 'two classes need'!r} is not there.",
                "Name one of the classes in positive_class, or correct the signature.",
            )
        _shares(page, found, positive)
        result = _probabilities(page, found, positive)
        if positive is not None:
            evidence["positive_class"] = found.classes[positive]
        if (strange := int((found.answer < 0).sum())) > 0:
            page.notes.append(f"{strange} answers are not one of the model's classes and count as wrong.")
        _contradictions(page, found)
    if (dropped := case.test.rows - len(found.rows)) > 0:
        page.notes.append(f"{dropped} test rows without a true answer are left out.")
    evidence |= {"notes": page.notes, "rows": len(found.rows), "calibration": list(_table(result))}
    if not page.metrics:
        return _unknown("No metric could be computed: " + " ".join(page.notes), "Give more test rows.")
    first = page.metrics[0]
    return Finding(
        check=NAME,
        outcome=Outcome.PASSED,
        summary=f"{first.name} is {first.value:.4g} ({first.low:.4g} to {first.high:.4g}) "
        f"on {len(found.rows)} test rows; {len(page.metrics)} metrics in all.",
        metrics=tuple(page.metrics),
        evidence=evidence,
    )
