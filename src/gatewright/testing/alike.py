"""A world where all rows are equally hard: whatever a search names there is a false alarm."""

from __future__ import annotations

import numpy as np

from gatewright.checks.case import Case, Predictions
from gatewright.checks.performance import weak_slices
from gatewright.models.signature import Task
from gatewright.testing.cases import (
    CLASSES,
    TARGET,
    features,
    number_column,
    signature,
    text_column,
    with_column,
)

WRONG = 0.15
COLUMNS = 8


def alike_case(seed: int, task: Task, rows: int) -> Case:
    """Answers that are wrong, or off by a heavy-tailed error, whatever the columns say."""
    rng = np.random.default_rng(seed)
    train, test = features(rows, COLUMNS, rng), features(rows, COLUMNS, rng)
    if task is Task.REGRESSION:
        answer = rng.normal(size=rows)
        truth = number_column(TARGET, answer + rng.standard_t(5, size=rows))
        learned = number_column(TARGET, rng.normal(size=rows))
        predictions = Predictions(labels=answer)
    else:
        classes = np.array(CLASSES[task], dtype=object)
        right = rng.integers(0, len(classes), rows)
        said = np.where(rng.random(rows) < WRONG, (right + 1) % len(classes), right)
        truth = text_column(TARGET, classes[right].tolist())
        learned = text_column(TARGET, classes[rng.integers(0, len(classes), rows)].tolist())
        predictions = Predictions(labels=classes[said])
    return Case(
        signature=signature(task, [f"x{index}" for index in range(COLUMNS)]),
        target=TARGET,
        train=with_column(train, learned),
        test=with_column(test, truth),
        trained_on=None,
        predictions=predictions,
        timing=None,
        seed=seed,
    )


def false_alarms(count: int, task: Task, rows: int, first: int = 0) -> int:
    """In how many of ``count`` such cases the search for weak slices names one, however slight."""
    parameters = weak_slices.Parameters(smallest_gap=0.0, smallest_ratio=1.0)
    cases = (alike_case(seed, task, rows) for seed in range(first, first + count))
    return sum(bool(weak_slices.run(each, parameters).evidence.get("weak")) for each in cases)
