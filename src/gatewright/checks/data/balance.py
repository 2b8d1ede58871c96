"""How the target is distributed, and whether train and test are labelled alike.

**Question.** Is every class there often enough, in both splits, for the numbers of other checks to mean
something? Does the target look the same in train and test?

**Method, classes.** Rows and share of each class with Wilson's interval. Alike: Pearson's chi-square
test of the two rows of counts; where a count of less than ``FEWEST_EXPECTED`` is expected, its exact
distribution given the margins, by ``DRAWS`` seeded draws. How far apart: the class whose share differs most, with
Newcombe's interval (Stat Med 17:873, 1998, method 10), Bonferroni over the classes.

**Method, amounts.** Quantiles, the share at the commonest value, and the share beyond Tukey's outer
fences (three interquartile ranges beyond the quartiles, of the train split), with Wilson's intervals. Alike:
the two-sample Kolmogorov-Smirnov test by its limiting distribution, which is on the safe side where values
repeat; how far apart: its distance, with the bounds of Dvoretzky, Kiefer, Wolfowitz and Massart (1990).

The check fails only where later numbers would mean nothing: a class of the model or the data with fewer
than ``fewest_train_rows`` or ``fewest_test_rows``, or amounts that are the same almost everywhere. A
difference between the splits is told and fails nothing: a split by time differs by right.

**Not shown.** Whether classes are as rare as where the model will be used; whether labels are true (see
``data.labels``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, kolmogorov

from gatewright.checks.answers import NO_CLASS, class_indices, spelling
from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import CONFIDENCE, Floats, quantile, wilson
from gatewright.datasets.table import Column, Kind, Table
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "data.balance"
TITLE = "How is the target distributed, and alike in train and test?"
SPLITS = ("train", "test")
_CLASSES = (Task.BINARY, Task.MULTICLASS)
METRICS = {
    **{f"{name}-{split}": _CLASSES for split in SPLITS for name in ("class-share", "rarest-rows")},
    **{
        f"{name}-{split}": (Task.REGRESSION,)
        for split in SPLITS
        for name in ("median", "commonest-share", "outlying-share")
    },
    "share-difference": _CLASSES,
    "distribution-distance": (Task.REGRESSION,),
    "alike-p": tuple(Task),
}
FEWEST_EXPECTED = 5
DRAWS = 9_999
MOST_CLASSES = 20
"""Classes whose shares are reported, rarest first; all are judged."""
NAME_LENGTH = 60
QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
FENCES = 3.0
NEWCOMBE = "Newcombe (1998) method 10, Bonferroni"
DKW = "Dvoretzky-Kiefer-Wolfowitz-Massart (1990)"

Counts = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``fewest_train_rows``, ``fewest_test_rows``: each class must have in its split.

    ``largest_commonest_share``: of amounts may be one and the same value.
    """

    fewest_train_rows: int = 5
    fewest_test_rows: int = 5
    largest_commonest_share: float = 0.99

    def __post_init__(self) -> None:
        if self.fewest_train_rows < 1 or self.fewest_test_rows < 1:
            raise Misuse("checks.parameter", f"The fewest rows of {NAME} must be at least 1.")
        if not 0 < self.largest_commonest_share <= 1:
            raise Misuse(
                "checks.parameter", f"largest_commonest_share of {NAME} must be above 0 and at most 1."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What one kind of target shows."""

    problems: list[str]
    summary: str
    metrics: list[Metric]
    evidence: dict[str, Json]


def alike(train: Counts, test: Counts, seed: int) -> tuple[float, float, float, str]:
    """The p-value that two rows of counts (K,) come from one distribution, its bounds, and the method.

    Classes without rows in both do not count; with one class left the p-value is 1.
    """
    both = np.stack([train, test])[:, train + test > 0].astype(np.float64)
    if both.shape[1] < 2:
        return 1.0, 1.0, 1.0, "exact"
    margin, total = both.sum(axis=0), both.sum()
    expected = both.sum(axis=1, keepdims=True) * margin / total
    statistic = float(((both - expected) ** 2 / expected).sum())
    if expected.min() >= FEWEST_EXPECTED:
        p = float(chdtrc(both.shape[1] - 1, statistic))
        return p, p, p, "exact"
    drawn = np.random.default_rng(seed).multivariate_hypergeometric(
        margin.astype(np.int64), int(both[1].sum()), size=DRAWS, method="marginals"
    )
    of_test = (drawn - expected[1]) ** 2 / expected[1]
    of_train = (margin - drawn - expected[0]) ** 2 / expected[0]
    beyond = int(((of_test + of_train).sum(axis=1) >= statistic * (1 - 1e-9)).sum())
    bounds = wilson(beyond + 1, DRAWS + 1)
    return (beyond + 1) / (DRAWS + 1), bounds.low, bounds.high, f"{DRAWS:,} draws given the margins"


def _difference(train: Counts, test: Counts, classes: Sequence[str]) -> Metric:
    """The class whose share differs most between the splits: test less train."""
    sizes = int(train.sum()), int(test.sum())
    here, there = train / sizes[0], test / sizes[1]
    worst = int(np.abs(there - here).argmax())
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(classes))
    a = wilson(int(train[worst]), sizes[0], confidence)
    b = wilson(int(test[worst]), sizes[1], confidence)
    value = float(there[worst] - here[worst])
    return Metric(
        name="share-difference",
        value=value,
        low=value - math.hypot(there[worst] - b.low, a.high - here[worst]),
        high=value + math.hypot(b.high - there[worst], here[worst] - a.low),
        size=sizes[1],
        method=NEWCOMBE,
        slice=classes[worst][:NAME_LENGTH],
    )


def _named(case: Case, columns: Sequence[Column]) -> tuple[str, ...]:
    """The classes of the signature, and then those only the data has."""
    known = list(case.signature.classes)
    for column in columns:
        strange = class_indices(column, known) == NO_CLASS
        texts = set(column.values[strange & ~column.missing].tolist())
        known += sorted(text if isinstance(text, str) else spelling(text) for text in texts)
    return tuple(known)


def _classes(case: Case, columns: Sequence[Column], parameters: Parameters) -> _Told:
    classes = _named(case, columns)
    found = [class_indices(column, classes) for column in columns]
    counts = [np.bincount(place[place != NO_CLASS], minlength=len(classes)) for place in found]
    fewest = (parameters.fewest_train_rows, parameters.fewest_test_rows)
    problems = [
        f"The class {name[:NAME_LENGTH]!r} has {rows} {split} rows, and {least} are needed."
        for split, often, least in zip(SPLITS, counts, fewest, strict=True)
        for name, rows in zip(classes, often.tolist(), strict=True)
        if rows < least
    ]
    p, low, high, method = alike(counts[0], counts[1], case.seed)
    order = np.argsort(counts[0] + counts[1], kind="stable")
    metrics = [
        _share(f"class-share-{split}", int(often[index]), int(often.sum()), classes[index])
        for split, often in zip(SPLITS, counts, strict=True)
        for index in order[:MOST_CLASSES]
    ]
    for split, often in zip(SPLITS, counts, strict=True):
        metrics.append(Metric.exact(f"rarest-rows-{split}", int(often.min()), size=int(often.sum())))
    difference = _difference(counts[0], counts[1], classes)
    metrics += [difference, _p_value(p, low, high, method, int(counts[1].sum()))]
    rarest = int(order[0])
    return _Told(
        problems=problems,
        summary=f"{len(classes)} classes; the rarest, {classes[rarest][:NAME_LENGTH]!r}, has {counts[0][rarest]:,} "
        f"train and {counts[1][rarest]:,} test rows. {_alike_words(p, difference)}",
        metrics=metrics,
        evidence={
            "classes": [
                {"class": classes[i][:NAME_LENGTH], "train": int(counts[0][i]), "test": int(counts[1][i])}
                for i in order.tolist()
            ],
            "test": "Pearson's chi-square" if method == "exact" else f"Pearson's statistic, {method}",
        },
    )


def _alike_words(p: float, difference: Metric) -> str:
    if p >= 0.001:
        return f"Train and test may well be labelled alike (p = {p:.2g})."
    return (
        f"Train and test are not labelled alike (p = {p:.1g}): the share of {difference.slice!r} differs by "
        f"{difference.value:+.1%}."
    )


def _share(name: str, count: int, size: int, of: str = "") -> Metric:
    bounds = wilson(count, size)
    return Metric(
        name=name, value=count / size, low=bounds.low, high=bounds.high, size=size, method=bounds.method,
        slice=of[:NAME_LENGTH],
    )  # fmt: skip


def _p_value(p: float, low: float, high: float, method: str, size: int) -> Metric:
    if method == "exact":
        return Metric.exact("alike-p", p, size=size)
    return Metric(name="alike-p", value=p, low=min(low, p), high=max(high, p), size=size, method=method)


def distance(train: Floats, test: Floats) -> float:
    """The largest difference of the two samples' distribution functions (Kolmogorov-Smirnov)."""
    a, b = np.sort(train), np.sort(test)
    at = np.concatenate([a, b])
    below = np.searchsorted(a, at, "right") / len(a) - np.searchsorted(b, at, "right") / len(b)
    return float(np.abs(below).max())


def _amounts(values: Sequence[Floats], parameters: Parameters) -> _Told:
    train, test = values
    q1, q3 = np.quantile(train, [0.25, 0.75])
    fences = (q1 - FENCES * (q3 - q1), q3 + FENCES * (q3 - q1))
    problems: list[str] = []
    metrics: list[Metric] = []
    evidence: dict[str, Json] = {"fences": [float(fence) for fence in fences]}
    for split, found in zip(SPLITS, values, strict=True):
        distinct, often = np.unique(found, return_counts=True)
        most = int(often.argmax())
        if often[most] > parameters.largest_commonest_share * len(found):
            problems.append(
                f"The target is {distinct[most]:.6g} in {often[most] / len(found):.1%} of the {split} rows."
            )
        middle = quantile(np.sort(found), 0.5)
        if middle is not None:
            value = float(np.median(found))
            metrics.append(
                Metric(
                    name=f"median-{split}", value=value, low=min(middle.low, value), high=max(middle.high, value),
                    size=len(found), method=middle.method,
                )
            )  # fmt: skip
        outside = int(((found < fences[0]) | (found > fences[1])).sum())
        metrics += [
            _share(f"commonest-share-{split}", int(often[most]), len(found)),
            _share(f"outlying-share-{split}", outside, len(found)),
        ]
        evidence[split] = {
            "rows": len(found),
            "quantiles": [[share, float(np.quantile(found, share))] for share in QUANTILES],
            "commonest": float(distinct[most]),
            "distinct": len(distinct),
        }
    apart = distance(train, test)
    reach = sum(math.sqrt(math.log(4 / (1 - CONFIDENCE)) / (2 * len(found))) for found in values)
    size = len(train) * len(test) / (len(train) + len(test))
    p = float(kolmogorov(math.sqrt(size) * apart))
    metrics += [
        Metric(
            name="distribution-distance", value=apart, low=max(0.0, apart - reach), high=min(1.0, apart + reach),
            size=len(test), method=DKW,
        ),
        Metric.exact("alike-p", p, size=len(test)),
    ]  # fmt: skip
    verdict = "may well be distributed alike" if p >= 0.001 else "are not distributed alike"
    return _Told(
        problems=problems,
        summary=f"The target's median is {np.median(train):.4g} in train and {np.median(test):.4g} in test, "
        f"which {verdict} (p = {p:.2g}).",
        metrics=metrics,
        evidence={**evidence, "test": "two-sample Kolmogorov-Smirnov"},
    )


def _unknown(reason: str) -> Finding:
    return Finding(
        check=NAME, outcome=Outcome.UNKNOWN, summary="The target's distribution is not known.", reason=reason,
        next="Register a data set whose splits hold the target.",
    )  # fmt: skip


def _target(table: Table, name: str) -> Column | None:
    column = table.column(name) if name in table else None
    return None if column is None or column.missing.all() else column


def run(case: Case, parameters: Parameters) -> Finding:
    """Describe the target of both splits and compare them."""
    columns: list[Column] = []
    for table, split in ((case.train, "train"), (case.test, "test")):
        column = _target(table, case.target)
        if column is None:
            return _unknown(f"The {split} rows have no value of the target {case.target!r}.")
        columns.append(column)
    if case.signature.task is not Task.REGRESSION:
        told = _classes(case, columns, parameters)
    else:
        if any(column.kind is Kind.TEXT for column in columns):
            return _unknown(f"The target {case.target!r} holds text, and the task is regression.")
        values = [column.values[~column.missing].astype(np.float64) for column in columns]
        if not all(np.isfinite(found).all() for found in values):
            return _unknown(f"The target {case.target!r} holds numbers that are not finite.")
        told = _amounts(values, parameters)
    return Finding(
        check=NAME,
        outcome=Outcome.FAILED if told.problems else Outcome.PASSED,
        summary=told.problems[0] if told.problems else told.summary,
        next="Give more rows of it, group rare classes, or split again with the classes in both parts."
        if told.problems
        else "",
        metrics=tuple(told.metrics),
        evidence={**told.evidence, "problems": list(told.problems[:MOST_CLASSES])},
    )
