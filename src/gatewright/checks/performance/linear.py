"""A straight line through the training rows: the simplest model that looks at the columns.

Numbers are standardised by the training rows and missing ones set to their mean; texts become one
column for each frequent value. Classes: multinomial logistic regression; values: ridge regression;
both with a penalty of 1 on the squared weights, as is usual. Nothing is random but which rows are
taken where there are more than ``MOST_ROWS``, and that follows from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from gatewright.checks.answers import Floats, Indices
from gatewright.datasets.table import Column, Kind, Table

MOST_ROWS = 20_000
MOST_COLUMNS = 400
MOST_WORK = 200_000_000
"""Rows times columns times classes; fewer rows are taken where there would be more."""
MOST_CATEGORIES = 20
SMALLEST_SHARE = 0.01
FARTHEST = 10.0
"""Standardised numbers are held within this many spreads, so that one row cannot tilt the line."""
CHUNK = 20_000
STEPS = 200
FARTHEST_ODDS = 500.0
FLATTEST = 1e-12
"""Keeps Newton's equations solvable where a column says nothing."""
HALVINGS = 30
SETTLED = 1e-12
"""The share of the loss below which a step changes nothing that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How one column becomes numbers: a mean and a spread, or its frequent texts."""

    name: str
    mean: float = 0.0
    spread: float = 1.0
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A fitted line: ``weights`` (columns + 1, outputs), the last row being the constant."""

    scales: tuple[Scale, ...]
    weights: Floats
    rows: int
    left_out: int

    def answers(self, table: Table) -> Floats:
        """The line's values, shape (n, outputs): log-odds of classes, or the target's value."""
        parts = [
            _matrix(self.scales, table, slice(at, at + CHUNK)) @ self.weights
            for at in range(0, table.rows, CHUNK)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.weights.shape[1]))


def probabilities(line: Line, table: Table) -> Floats:
    """What a line of classes states for each row, shape (n, classes)."""
    return _softmax(line.answers(table))


def fit_classes(train: Table, names: tuple[str, ...], truth: Indices, classes: int, seed: int) -> Line:
    """Multinomial logistic regression; ``truth`` holds class indices, shape (n,).

    By L-BFGS; two classes by Newton's method, which gets there in a tenth of the time.
    """
    scales, left_out = _scales(train, names)
    width = sum(len(scale.texts) or 1 for scale in scales) + 1
    rows = _sample(len(truth), min(MOST_ROWS, MOST_WORK // (width * classes)), seed)
    inputs = _matrix(scales, train, rows)
    wanted = np.eye(classes)[truth[rows]]
    penalty = np.ones((inputs.shape[1], 1)) / len(rows)
    penalty[-1] = 0.0
    if classes == 2:
        half = _two_classes(inputs, wanted[:, 1], penalty[:, 0] / 2) / 2
        return Line(scales=scales, weights=np.stack([-half, half], axis=1), rows=len(rows), left_out=left_out)

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(inputs.shape[1], classes)
        stated = _softmax(inputs @ weights)
        off = -float(np.log(np.maximum((stated * wanted).sum(axis=1), 1e-300)).mean())
        slope = inputs.T @ (stated - wanted) / len(rows) + penalty * weights
        return off + 0.5 * float((penalty * weights**2).sum()), slope.ravel()

    start = np.zeros(inputs.shape[1] * classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    weights = np.asarray(found.x, dtype=np.float64).reshape(inputs.shape[1], classes)
    return Line(scales=scales, weights=weights, rows=len(rows), left_out=left_out)


def _two_classes(inputs: Floats, wanted: Floats, penalty: Floats) -> Floats:
    """Weights of the log-odds of the second class, shape (columns,): Newton's steps, halved until the loss falls."""

    def loss(weights: Floats) -> float:
        odds = inputs @ weights
        return float((np.logaddexp(0.0, odds) - wanted * odds).mean() + 0.5 * (penalty * weights**2).sum())

    weights = np.zeros(inputs.shape[1])
    now = loss(weights)
    for _ in range(STEPS):
        stated = 1 / (1 + np.exp(-np.clip(inputs @ weights, -FARTHEST_ODDS, FARTHEST_ODDS)))
        slope = inputs.T @ (stated - wanted) / len(wanted) + penalty * weights
        curve = (inputs.T * (stated * (1 - stated) / len(wanted))) @ inputs
        step = np.linalg.solve(curve + np.diag(penalty + FLATTEST), slope)
        before = now
        for _ in range(HALVINGS):
            now = loss(weights - step)
            if now <= before:
                break
            step = step / 2
        else:
            break
        weights = weights - step
        if before - now <= SETTLED * before:
            break
    return weights


def fit_values(train: Table, names: tuple[str, ...], truth: Floats, seed: int) -> Line:
    """Ridge regression; ``truth`` has shape (n,)."""
    scales, left_out = _scales(train, names)
    rows = _sample(len(truth), MOST_ROWS, seed)
    inputs = _matrix(scales, train, rows)
    penalty = np.eye(inputs.shape[1])
    penalty[-1, -1] = 0.0
    weights = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ truth[rows]).astype(np.float64)
    return Line(scales=scales, weights=weights[:, None], rows=len(rows), left_out=left_out)


def _sample(size: int, most: int, seed: int) -> Indices:
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng(seed).choice(size, most, replace=False))


def _scales(train: Table, names: tuple[str, ...]) -> tuple[tuple[Scale, ...], int]:
    """How each column becomes numbers, and how many columns found no place."""
    scales: list[Scale] = []
    width, left_out = 0, 0
    columns = {column.name: column for column in train.columns}
    for name in names:
        scale = _scale(columns[name])
        need = 0 if scale is None else len(scale.texts) or 1
        if scale is not None and width + need <= MOST_COLUMNS:
            scales.append(scale)
            width += need
        elif scale is not None:
            left_out += 1
    return tuple(scales), left_out


def _scale(column: Column) -> Scale | None:
    """None for a column that says nothing: one value only."""
    known = column.values[~column.missing]
    if column.kind is Kind.TEXT:
        texts, counts = np.unique(known.astype(np.str_), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]
        kept = [str(texts[i]) for i in order if counts[i] >= SMALLEST_SHARE * len(column.values)]
        return Scale(name=column.name, texts=tuple(kept)) if kept and len(texts) > 1 else None
    values = known.astype(np.float64)
    values = values[np.isfinite(values)]
    spread = float(values.std()) if len(values) else 0.0
    return Scale(name=column.name, mean=float(values.mean()), spread=spread) if spread > 0 else None


def _matrix(scales: tuple[Scale, ...], table: Table, rows: Indices | slice) -> Floats:
    """Shape (n, columns + 1); the last column is one."""
    columns = [part for scale in scales for part in _numbers(scale, table.column(scale.name), rows)]
    size = len(np.empty(table.rows, dtype=np.int8)[rows])
    return np.stack([*columns, np.ones(size)], axis=1)


def _numbers(scale: Scale, column: Column, rows: Indices | slice) -> list[Floats]:
    values = column.values[rows]
    if scale.texts:
        return [np.asarray(values == text, dtype=np.float64) for text in scale.texts]
    standard = np.clip((values.astype(np.float64) - scale.mean) / scale.spread, -FARTHEST, FARTHEST)
    return [np.where(np.isfinite(standard), standard, 0.0)]


def _softmax(odds: NDArray[np.float64]) -> Floats:
    shifted = np.exp(odds - odds.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float64)
