"""Which features to shuffle among which test rows, so that the model can be asked once, within limits.

Shuffling one feature breaks its tie to the answer and to the other features, and leaves its values
as they were. All shuffled rows are stacked into one table for one call of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Predictions, Shuffled
from gatewright.datasets.table import Column, Kind, Table
from gatewright.models.signature import ModelSignature

MOST_ROWS = 2_000
FEWEST_ROWS = 200
"""Rather fewer features than fewer rows; where the test split has fewer, all of them are taken."""
REPEATS = 3
MOST_FEATURES = 100
MOST_CELLS = 20_000_000
"""Stacked rows times the columns that the model takes."""
MOST_SECONDS = 60.0
"""What the stacked rows may take at the pace of single-row calls; for a slow model there are fewer."""

Indices = NDArray[np.intp]
Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``features`` to shuffle among ``rows``, places in the test split, each ``repeats`` times."""

    features: tuple[str, ...]
    rows: Indices
    repeats: int
    seed: int

    @property
    def size(self) -> int:
        """How many rows the model will be asked about."""
        return len(self.features) * self.repeats * len(self.rows)


def plan(
    signature: ModelSignature, test: Table, target: str, predictions: Predictions, *, seed: int
) -> Plan | None:
    """What to shuffle; None where no row has a true answer or no feature varies.

    Where the limits do not allow all features, those that go most with the model's answers are
    taken.
    """
    names = features_of(signature)
    columns = {column.name: column for column in test.columns}
    known = np.flatnonzero(~columns[target].missing) if target in columns else np.empty(0, dtype=np.intp)
    varying = [name for name in names if name in columns and _varies(columns[name])]
    if not len(known) or not varying:
        return None
    rng = np.random.default_rng(seed)
    fewest = min(FEWEST_ROWS, len(known))
    repeats = REPEATS if len(varying) * REPEATS * fewest * len(names) <= MOST_CELLS else 1
    count = min(MOST_FEATURES, max(1, MOST_CELLS // (repeats * fewest * len(names))))
    if count < len(varying):
        chosen = [columns[name] for name in varying]
        varying = _promising(chosen, predictions, known[:MOST_ROWS])[:count]
    most = min(MOST_ROWS, max(fewest, MOST_CELLS // (repeats * len(varying) * len(names))))
    rows = known if len(known) <= most else np.sort(rng.choice(known, most, replace=False))
    return Plan(features=tuple(varying), rows=rows, repeats=repeats, seed=seed)


def features_of(signature: ModelSignature) -> tuple[str, ...]:
    """Every data column that the model takes, once."""
    return tuple(dict.fromkeys(name for spec in signature.inputs for name in spec.columns))


def within(plan: Plan, pace: float) -> Plan | None:
    """The plan with as few rows as ``pace``, seconds a row, allows; None where that is too few."""
    rows = plan.rows
    while plan.size and len(plan.features) * plan.repeats * len(rows) * pace > MOST_SECONDS:
        if len(rows) < FEWEST_ROWS:
            return None
        rows = rows[::2]
    return replace(plan, rows=rows)


def stacked(plan: Plan, columns: Columns) -> Columns:
    """The rows to ask about, shape (``plan.size``,) a column: feature by feature, repetition by repetition."""
    times = len(plan.features) * plan.repeats
    size = len(plan.rows)
    found = {name: np.tile(values[plan.rows], times) for name, values in columns.items()}
    for index, feature in enumerate(plan.features):
        rng = np.random.default_rng((plan.seed, index))
        for repeat in range(plan.repeats):
            at = (index * plan.repeats + repeat) * size
            found[feature][at : at + size] = rng.permutation(columns[feature][plan.rows])
    return found


def unstacked(plan: Plan, predictions: Predictions) -> tuple[Shuffled, ...]:
    """The answers to :func:`stacked` rows, by feature and repetition."""
    size = len(plan.rows)

    def part(at: int) -> Predictions:
        rows = slice(at * size, (at + 1) * size)
        scores = predictions.scores
        return Predictions(labels=predictions.labels[rows], scores=None if scores is None else scores[rows])

    return tuple(
        Shuffled(
            feature=feature,
            rows=plan.rows,
            answers=tuple(part(index * plan.repeats + repeat) for repeat in range(plan.repeats)),
        )
        for index, feature in enumerate(plan.features)
    )


def unanswered(plan: Plan) -> tuple[Shuffled, ...]:
    """What stands for the answers where the model gave none."""
    return tuple(Shuffled(feature=feature, rows=plan.rows, answers=()) for feature in plan.features)


def _varies(column: Column) -> bool:
    values = column.values
    return len(values) > 0 and bool((values != values[0]).any()) and not column.missing.all()


def _promising(columns: Sequence[Column], predictions: Predictions, rows: Indices) -> list[str]:
    """The features by how much they go with the model's answers, most first."""
    answers = _standard(_answered(predictions, rows))
    strength = {column.name: _tie(column, rows, answers) for column in columns}
    return sorted(strength, key=lambda name: (-strength[name], name))


def _answered(predictions: Predictions, rows: Indices) -> NDArray[np.float64]:
    """The model's answers as numbers, shape (n, outputs)."""
    if predictions.scores is not None:
        return predictions.scores[rows]
    labels = predictions.labels[rows]
    if labels.dtype != np.object_:
        return np.asarray(labels, dtype=np.float64)[:, None]
    return np.stack([labels == label for label in sorted(set(labels.tolist()))], axis=1).astype(np.float64)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def _tie(column: Column, rows: Indices, answers: NDArray[np.float64]) -> float:
    """The largest correlation of a column with one of the answers; for texts the correlation ratio."""
    if column.kind is Kind.TEXT:
        _, place = np.unique(column.values[rows].astype(np.str_), return_inverse=True)
        counts = np.bincount(place)
        sums = np.stack([np.bincount(place, weights=answer) for answer in answers.T])
        return float(np.sqrt((sums**2 / counts).sum(axis=1).max() / len(rows)))
    values = column.values[rows].astype(np.float64)
    known = np.isfinite(values)
    if not known.any():
        return 0.0
    filled = _standard(np.where(known, values, values[known].mean()))
    return float(np.abs(answers.T @ filled).max() / len(rows))
