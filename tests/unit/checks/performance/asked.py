"""Models that a test can ask: functions of columns, and cases whose features were shuffled with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Case, Predictions
from gatewright.checks.performance import shuffling
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, text_column, with_column

Columns = Mapping[str, NDArray[Any]]
Ask = Callable[[Columns], Predictions]


def columns_of(found: Case) -> Columns:
    """The test columns by name."""
    return {column.name: column.values for column in found.test.columns}


def shuffled(found: Case, ask: Ask) -> Case:
    """The case with the answers of ``ask``, on the test rows and on the shuffled ones."""
    answered = replace(found, predictions=ask(columns_of(found)))
    assert answered.predictions is not None
    plan = shuffling.plan(found.signature, found.test, TARGET, answered.predictions, seed=found.seed)
    assert plan is not None
    stacked = shuffling.stacked(plan, columns_of(found))
    return replace(answered, shuffled=shuffling.unstacked(plan, ask(stacked)))


def linear(weights: Mapping[str, float]) -> Callable[[Columns], NDArray[np.float64]]:
    """A weighted sum of columns."""
    return lambda columns: np.sum([weight * columns[name] for name, weight in weights.items()], axis=0)


def world(task: Task, weights: Mapping[str, float], seed: int = 1, rows: int = 800) -> Case:
    """A case whose truth is drawn from a weighted sum of its columns, and a model that knows the weights."""
    found = case(seed, task, test_rows=rows)
    rng = np.random.default_rng((seed, 1))
    drive = linear(weights)
    odds = drive(columns_of(found))
    if task is Task.REGRESSION:
        test = with_column(found.test, number_column(TARGET, odds + rng.normal(size=rows)))
        return shuffled(replace(found, test=test), lambda columns: Predictions(labels=drive(columns)))
    truth = np.where(rng.random(rows) < 1 / (1 + np.exp(-odds)), "yes", "no").tolist()
    test = with_column(found.test, text_column(TARGET, truth))
    return shuffled(replace(found, test=test), lambda columns: stated(drive(columns)))


def stated(odds: NDArray[np.float64]) -> Predictions:
    """Two classes from log-odds."""
    chance = 1 / (1 + np.exp(-odds))
    labels = np.array(["no", "yes"], dtype=object)[(chance > 0.5).astype(int)]
    return Predictions(labels=labels, scores=np.stack([1 - chance, chance], axis=1))
