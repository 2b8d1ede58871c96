"""Whether the model is clearly worse for some group of rows.

**Question.** For each value of every declared sensitive column and slice column: how good are the
answers there, and is the group clearly worse off than all test rows together?

**Method.** Classification: accuracy, and for two classes the true- and false-positive rate, with
Wilson's intervals. Regression: the mean absolute error, its mean as a scaled chi-square. Text
columns are cut by value, numeric ones with at most ``cuts.MOST_VALUES`` values in training as
well; other numeric columns into ``bins`` equal-mass parts with edges from the *training* rows. Rows
without a value are a group of their own. The check fails when a group's whole interval is beyond
the overall value by more than ``largest_gap`` (for the mean absolute error: by more than that
share of it). The intervals that decide hold together at 95 % (Bonferroni over all groups and
metrics judged); those reported hold at 95 % each.

**Too small.** The groups are those of the train rows and of all test rows, so that one without a
labelled test row is not forgotten: it has 0 rows. Those with fewer rows than ``smallest_slice`` are
listed. Where such a group is of a sensitive column, and no other group fails, the check is
``unknown``; of a slice column, it is only not a pass for that group.

**Not shown.** Groups by two columns at once are not looked at. A group that passes is not shown
to be as well off as the others; it is only not shown to be worse off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.answers import ClassAnswers, NoAnswers, ValueAnswers, answers_of
from gatewright.checks.case import Case
from gatewright.checks.cuts import Group, cut, labels_of_all
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import CONFIDENCE, Interval, positive_mean, wilson
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "performance.slices"
TITLE = "Is the model clearly worse for some group?"
METRICS = {
    "accuracy": (Task.BINARY, Task.MULTICLASS),
    "true-positive-rate": (Task.BINARY,),
    "false-positive-rate": (Task.BINARY,),
    "mae": (Task.REGRESSION,),
}
MOST_REPORTED = 60
"""Groups with metrics in the report; the worst are kept, and all are judged."""
MOST_SMALL_NAMED = 40

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_gap``: how much worse than overall a group may be; ``smallest_slice``: rows to be judged.

    ``bins``: equal-mass parts of a numeric column. ``positive_class``: as in ``performance.metrics``.
    """

    largest_gap: float = 0.10
    smallest_slice: int = 30
    bins: int = 4
    positive_class: str = ""

    def __post_init__(self) -> None:
        if not (self.largest_gap >= 0 and self.smallest_slice >= 10 and 2 <= self.bins <= 20):
            raise Misuse(
                "checks.parameter",
                f"{NAME} takes largest_gap from 0, smallest_slice from 10, bins from 2 to 20.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measure:
    """A number per row to be averaged over ``base`` rows of a group.

    ``worse`` is 1 when more is worse and -1 when less is; ``relative`` measures the gap as a share
    of the overall value.
    """

    name: str
    values: NDArray[np.float64]
    base: Flags
    worse: int
    relative: bool = False
    unit: str = ""

    def interval(self, rows: NDArray[np.intp], confidence: float) -> Interval | None:
        values = self.values[rows]
        if self.relative:
            return positive_mean(values, confidence)
        return wilson(float(values.sum()), len(values), confidence)

    def excess(self, value: float, overall: float) -> float:
        """How much worse ``value`` is than the overall value; negative when it is better."""
        return self.worse * (value - overall) / (overall if self.relative and overall > 0 else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One group under one measure."""

    slice: str
    measure: _Measure
    value: float
    overall: float
    rows: NDArray[np.intp]
    alone: Interval

    def nearest(self, confidence: float) -> float:
        """How much worse the group is at the least, at this confidence."""
        found = self.measure.interval(self.rows, confidence) or self.alone
        return self.measure.excess(found.low if self.measure.worse > 0 else found.high, self.overall)


def _measures(found: ClassAnswers | ValueAnswers, positive: int | None) -> tuple[_Measure, ...]:
    everyone = np.ones(len(found.rows), dtype=bool)
    if isinstance(found, ValueAnswers):
        errors = np.abs(found.truth - found.answer)
        return (_Measure(name="mae", values=errors, base=everyone, worse=1, relative=True),)
    right = (found.truth == found.answer).astype(np.float64)
    measures = [_Measure(name="accuracy", values=right, base=everyone, worse=-1)]
    if positive is not None:
        said = (found.answer == positive).astype(np.float64)
        is_positive = found.truth == positive
        measures += [
            _Measure(name="true-positive-rate", values=said, base=is_positive, worse=-1),
            _Measure(name="false-positive-rate", values=said, base=~is_positive, worse=1),
        ]
    return tuple(measures)


def _judge(
    slices: list[Group], measures: tuple[_Measure, ...], smallest: int
) -> tuple[list[_Judged], list[tuple[str, str, int]]]:
    """Every group under every measure that it has enough rows for, and those it has not."""
    judged: list[_Judged] = []
    small: list[tuple[str, str, int]] = []
    for group in slices:
        for measure in measures:
            rows = group.rows[measure.base[group.rows]]
            alone = measure.interval(rows, CONFIDENCE) if len(rows) >= smallest else None
            if alone is None:
                small.append((group.name, measure.name, len(rows)))
                continue
            overall = float(measure.values[measure.base].mean())
            judged.append(
                _Judged(
                    slice=group.name,
                    measure=measure,
                    value=float(measure.values[rows].mean()),
                    overall=overall,
                    rows=rows,
                    alone=alone,
                )
            )
    return judged, small


def _metrics(judged: list[_Judged]) -> tuple[Metric, ...]:
    worst: dict[str, float] = {}
    for one in judged:
        gap = one.measure.excess(one.value, one.overall)
        worst[one.slice] = max(gap, worst.get(one.slice, gap))
    kept = set(sorted(worst, key=lambda name: (-worst[name], name))[:MOST_REPORTED])
    return tuple(
        Metric(
            name=one.measure.name,
            value=one.value,
            low=min(one.alone.low, one.value),
            high=max(one.alone.high, one.value),
            size=len(one.rows),
            method=one.alone.method,
            slice=one.slice,
        )
        for one in judged
        if one.slice in kept
    )


def _no_answer(outcome: Outcome, reason: str, advice: str = "") -> Finding:
    return Finding(
        check=NAME, outcome=outcome, summary="Groups of rows were not compared.", reason=reason, next=advice
    )


def _finding(
    judged: list[_Judged], small: list[tuple[str, str, int]], edges: dict[str, Json], parameters: Parameters
) -> Finding:
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(judged))
    gaps = [(one.nearest(confidence), one) for one in judged]
    worse = sorted((pair for pair in gaps if pair[0] > parameters.largest_gap), key=lambda pair: -pair[0])
    evidence: dict[str, Json] = {
        "edges": edges,
        "judged": len(judged),
        "groups": len({one.slice for one in judged}),
        "confidence_together": CONFIDENCE,
        "multiplicity": "Bonferroni",
        "overall": {one.measure.name: one.overall for one in judged},
        "worse": [
            {"slice": one.slice, "metric": one.measure.name, "value": one.value, "overall": one.overall,
             "gap_at_least": gap, "rows": len(one.rows)}
            for gap, one in worse[:MOST_REPORTED]
        ],
        "too_small": [
            {"slice": name, "metric": metric, "rows": rows} for name, metric, rows in small[:MOST_SMALL_NAMED]
        ],
        "too_small_total": len(small),
    }  # fmt: skip
    metrics = _metrics(judged)
    if worse:
        one = worse[0][1]
        count = len({found.slice for _, found in worse})
        return Finding(
            check=NAME,
            outcome=Outcome.FAILED,
            metrics=metrics,
            evidence=evidence,
            summary=f"{count} {'group is' if count == 1 else 'groups are'} clearly worse off; the worst is "
            f"{one.slice}: {one.measure.name} {one.value:.4g} against {one.overall:.4g} overall.",
            next="Look at the rows of the group: too few in training, or a feature that means something else there.",
        )
    return Finding(
        check=NAME, outcome=Outcome.PASSED, metrics=metrics, evidence=evidence,
        summary=f"No group is shown to be worse off by more than {parameters.largest_gap:g}: "
        f"{len({one.slice for one in judged})} groups judged, {len(small)} measures of a group too small.",
    )  # fmt: skip


def _doubted(finding: Finding, doubts: list[Group], smallest: int) -> Finding:
    """The finding where groups of sensitive columns could not be judged: a failure stands, a pass does not."""
    if finding.outcome is not Outcome.PASSED:
        return finding
    first = min(doubts, key=lambda group: (len(group.rows), group.name))
    return replace(
        finding,
        outcome=Outcome.UNKNOWN,
        summary="Not every group of a sensitive column could be judged.",
        reason=f"{first.name} has {len(first.rows)} test rows with an answer; {smallest} is the least."
        + f" {len(doubts) - 1} more." * (len(doubts) > 1),
        next="Gather more test rows of the group, merge small groups in the data, or set smallest_slice in the policy.",
    )


def _positive(case: Case, wanted: str) -> int | None:
    classes = case.signature.classes
    if case.signature.task is not Task.BINARY or len(classes) < 2:
        return None
    return classes.index(wanted) if wanted in classes else 1


def run(case: Case, parameters: Parameters) -> Finding:
    """Compare the groups of every declared column with all test rows."""
    names = tuple(dict.fromkeys((*case.sensitive, *case.slices)))
    if not names:
        return _no_answer(
            Outcome.SKIPPED,
            "The data set declares no sensitive column and no slice column.",
            "Declare them with the data set when groups of people or kinds of rows matter.",
        )
    absent = [name for name in names if name not in case.test]
    if absent:
        return _no_answer(
            Outcome.UNKNOWN,
            f"The test rows have no column {absent[0]!r}.",
            "Keep the declared columns in the test rows; the model need not use them.",
        )
    found = answers_of(case)
    if isinstance(found, NoAnswers):
        return _no_answer(Outcome.UNKNOWN, found.reason, found.next)
    wanted = parameters.positive_class
    if wanted and case.signature.task is Task.BINARY and wanted not in case.signature.classes:
        return _no_answer(
            Outcome.UNKNOWN,
            f"The positive class {wanted!r} is not a class of the model.",
            f"Name one of: {', '.join(case.signature.classes[:20])}.",
        )
    slices: list[Group] = []
    doubts: list[Group] = []
    edges: dict[str, Json] = {}
    for name in names:
        labels, cuts = labels_of_all(name, case.test, case.train, parameters.bins)
        groups = list(cut(name, labels, found.rows))
        slices += groups
        if name in case.sensitive:
            doubts += [group for group in groups if len(group.rows) < parameters.smallest_slice]
        if cuts:
            edges[name] = cuts
    judged, small = _judge(slices, _measures(found, _positive(case, wanted)), parameters.smallest_slice)
    if not judged:
        finding = _finding(judged, small, edges, parameters)
        return Finding(
            check=NAME,
            outcome=Outcome.UNKNOWN,
            summary="Every group is too small to judge.",
            reason=f"All {len(slices)} groups have fewer than {parameters.smallest_slice} rows.",
            next="Give more test rows, or slice by a coarser column.",
            evidence=finding.evidence,
        )
    finding = _finding(judged, small, edges, parameters)
    return _doubted(finding, doubts, parameters.smallest_slice) if doubts else finding
