"""Cross-validation: a version's recipe, trained without a part of the locked rows, asked about that part."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Fold
from gatewright.datasets.splits import split
from gatewright.datasets.table import Table
from gatewright.kernel.errors import GatewrightError
from gatewright.operations import recipes
from gatewright.operations.catalogue import DatasetVersion, ModelVersion
from gatewright.operations.home import Home

FOLDS = 5
SECONDS = 600
"""Wall-clock time for all folds together."""


def parts(table: Table, *, target: str, seed: int, count: int = FOLDS) -> tuple[NDArray[np.intp], ...]:
    """``count`` disjoint sets of row numbers that together are every row, about equal in size.

    Stratified by the target's classes; rows with the same features stay together. They are the test
    sides of repeated :func:`splits.split`, and so the same on every platform. Raises BadInput where
    the rows are too few.
    """
    left = np.arange(table.rows, dtype=np.intp)
    found = []
    for more in range(count, 1, -1):
        keep, out = split(table.take(left), target=target, seed=seed, test_share=1 / more)
        found.append(left[out])
        left = left[keep]
    return (*found, left)


def folds(
    home: Home,
    version: ModelVersion,
    data: DatasetVersion,
    train: Table,
    *,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[Fold, ...], str]:
    """The folds of a version with a recipe, or none and the reason why not; never raises a refusal.

    A version without a recipe has no folds and no reason.
    """
    if version.recipe is None:
        return (), ""
    ends = time.monotonic() + SECONDS
    found: list[Fold] = []
    try:
        recipe = home.blobs.get(version.recipe)
        for number, rows in enumerate(parts(train, target=data.target, seed=seed), 1):
            progress(f"cross-validation: training fold {number} of {FOLDS}")
            left = int(ends - time.monotonic())
            if left < 1:
                return (), f"The {FOLDS} folds took more than {SECONDS} seconds together."
            without = np.setdiff1d(np.arange(train.rows, dtype=np.intp), rows)
            trained = recipes.run(recipe, train.take(without), seed=version.seed, home=home, seconds=left)
            signature = recipes.fitted(trained.onnx, data)
            answers = recipes.answers(trained.onnx, signature, train.take(rows))
            found.append(Fold(rows=rows, predictions=answers, seconds=trained.seconds))
    except GatewrightError as error:
        return (), f"Fold {len(found) + 1} of {FOLDS}: {error.refusal.sentence()}"
    return tuple(found), ""
