"""Worlds whose truth is known, to see how often an interval holds it.

A world draws a fresh case of n test rows; its truths are the metrics of one very large draw of the
same world (whose points the oracle tests compare with scikit-learn).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Case, Predictions, Timing
from gatewright.checks.efficiency import latency
from gatewright.checks.finding import Metric
from gatewright.checks.performance import metrics
from gatewright.datasets.table import Table
from gatewright.models.signature import Task
from gatewright.testing.cases import CLASSES, TARGET, number_column, signature, text_column

TRUTH_ROWS = 1_000_000
Floats = NDArray[np.float64]
World = Callable[[int, np.random.Generator], Case]


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)


def classified(task: Task, truth: NDArray[np.intp], scores: Floats) -> Case:
    """A case of classes with the given true classes and probabilities."""
    names = np.array(CLASSES[task], dtype=object)
    test = Table(columns=(text_column(TARGET, names[truth].tolist()),))
    predictions = Predictions(labels=names[scores.argmax(axis=1)], scores=scores)
    return Case(
        signature=signature(task, ()), target=TARGET, train=test, test=test, trained_on=None,
        predictions=predictions, timing=None,
    )  # fmt: skip


def estimated(truth: Floats, answer: Floats) -> Case:
    """A regression case with the given true and predicted values."""
    test = Table(columns=(number_column(TARGET, truth),))
    return Case(
        signature=signature(Task.REGRESSION, ()), target=TARGET, train=test, test=test, trained_on=None,
        predictions=Predictions(labels=answer), timing=None,
    )  # fmt: skip


def two_classes(spread: float, shift: float, trust: float) -> World:
    """Log-odds normal around ``shift``; the model states them times ``trust`` (1: calibrated)."""

    def draw(rows: int, rng: np.random.Generator) -> Case:
        odds = rng.normal(shift, spread, rows)
        truth = (rng.random(rows) < _sigmoid(odds)).astype(np.intp)
        stated = _sigmoid(odds * trust)
        return classified(Task.BINARY, truth, np.stack([1 - stated, stated], axis=1))

    return draw


def three_classes(strength: float, shares: tuple[float, float, float]) -> World:
    """Normal evidence for the true class; the model knows the shares and is calibrated."""

    def draw(rows: int, rng: np.random.Generator) -> Case:
        truth = rng.choice(3, rows, p=shares)
        evidence = rng.normal(size=(rows, 3))
        evidence[np.arange(rows), truth] += strength
        weight = np.exp(evidence * strength) * np.array(shares)
        return classified(Task.MULTICLASS, truth, weight / weight.sum(axis=1, keepdims=True))

    return draw


def errors(draw_errors: Callable[[np.random.Generator, int], Floats], signal: float) -> World:
    """A normal signal that the model knows, and errors of the given kind."""

    def draw(rows: int, rng: np.random.Generator) -> Case:
        answer = rng.normal(0, signal, rows)
        return estimated(answer + draw_errors(rng, rows), answer)

    return draw


def timed(rows: int, rng: np.random.Generator) -> Case:
    """Log-normal latencies."""
    found = estimated(np.zeros(1), np.zeros(1))
    timing = Timing(single_row=rng.lognormal(-7, 0.5, rows), model_bytes=1)
    return Case(
        signature=found.signature, target=found.target, train=found.train, test=found.test,
        trained_on=None, predictions=None, timing=timing,
    )  # fmt: skip


WORLDS: Mapping[str, World] = {
    "two classes, calibrated": two_classes(1.5, 0, 1),
    "two classes, overconfident": two_classes(1.5, 0, 2.5),
    "two classes, rare positives": two_classes(1.5, -2, 1),
    "two classes, very accurate": two_classes(6, 0, 1),
    "three classes, even": three_classes(1.2, (0.34, 0.33, 0.33)),
    "three classes, uneven": three_classes(2.0, (0.6, 0.25, 0.15)),
    "regression, normal errors": errors(lambda rng, n: rng.normal(size=n), 2),
    "regression, Laplace errors": errors(lambda rng, n: rng.laplace(size=n), 1),
    "regression, Student-t5 errors": errors(lambda rng, n: rng.standard_t(5, n), 1),
    "regression, errors that grow": errors(lambda rng, n: rng.normal(size=n) * rng.lognormal(0, 0.5, n), 1),
    "latency, log-normal": timed,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """How one metric's interval did over ``draws``: how often below, around and above the truth."""

    world: str
    metric: str
    method: str
    rows: int
    truth: float
    draws: int
    held: int
    too_high: int
    too_low: int

    @property
    def coverage(self) -> float:
        """Share of the draws whose interval holds the truth."""
        return self.held / self.draws


def _metrics_of(case: Case) -> tuple[Metric, ...]:
    if case.timing is not None:
        return tuple(m for m in latency.run(case, latency.Parameters()).metrics if m.unit == "ms")
    return metrics.run(case, metrics.Parameters()).metrics


def coverage(name: str, rows: int, draws: int, seed: int) -> tuple[Covered, ...]:
    """Coverage of every metric of the named world at ``rows`` test rows, over ``draws`` draws."""
    rng = np.random.default_rng(seed)
    truths = {metric.name: metric.value for metric in _metrics_of(WORLDS[name](TRUTH_ROWS, rng))}
    seen: dict[str, list[int]] = {metric: [0, 0, 0] for metric in truths}
    methods: dict[str, str] = {}
    for _ in range(draws):
        for metric in _metrics_of(WORLDS[name](rows, rng)):
            truth = truths[metric.name]
            seen[metric.name][0 if metric.low > truth else 2 if metric.high < truth else 1] += 1
            methods[metric.name] = metric.method
    return tuple(
        Covered(
            world=name, metric=metric, method=methods[metric], rows=rows, truth=truths[metric],
            draws=sum(counts), too_high=counts[0], held=counts[1], too_low=counts[2],
        )
        for metric, counts in seen.items()
        if sum(counts)
    )  # fmt: skip
