"""A cheap model of a table, asked only about rows it has not seen.

Multinomial logistic regression on binned columns, that is, an additive model (Hastie & Tibshirani,
"Generalized Additive Models", 1990, with step functions): each number by the quantile bin it falls
in and its standardised value, each text by whether it is one of the commonest. It is not meant to be
good, but to owe nothing to the model under check, and to take seconds.

Fitted by Nesterov's accelerated gradient (2004) with restarts (O'Donoghue & Candès, 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from gatewright.datasets.table import Column, Kind, Table

FOLDS = 5
BINS = 8
COMMONEST = 24
REACH = 3.0
"""Standardised numbers are cut off here, so that one far value does not outweigh the others."""
WIDEST = 1_500
"""Columns of the design matrix; beyond it numbers are not binned, then columns are left out."""
PENALTY = 3e-3
STEPS = 60

Floats32 = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """One entry that every row has: its place (n,) among ``width`` columns, and its value (n,)."""

    place: Indices
    value: Floats32
    width: int


def _number(column: Column, *, binned: bool) -> list[_Slot]:
    values = np.asarray(column.values, dtype=np.float64)
    finite = np.isfinite(values)
    seen = values[finite]
    if not len(seen):
        return []
    spread = float(seen.std()) or 1.0
    moved = np.where(finite, np.clip((values - seen.mean()) / spread, -REACH, REACH), 0.0)
    slots = [_Slot(place=np.zeros(len(values), dtype=np.intp), value=moved.astype(np.float32), width=1)]
    if binned:
        edges = np.unique(np.quantile(seen, np.arange(1, BINS) / BINS))
        place = np.where(finite, np.searchsorted(edges, values, side="right"), len(edges) + 1)
        slots.append(_Slot(place=place, value=np.ones(len(values), dtype=np.float32), width=len(edges) + 2))
    return slots


def _text(column: Column) -> list[_Slot]:
    codes: dict[str, int] = {}
    place = np.array([codes.setdefault(text, len(codes)) for text in column.values.tolist()], dtype=np.intp)
    kept = np.argsort(-np.bincount(place), kind="stable")[: COMMONEST - 1]
    index = np.full(len(codes), len(kept), dtype=np.intp)  # all other texts share the last place
    index[kept] = np.arange(len(kept))
    return [_Slot(place=index[place], value=np.ones(len(place), dtype=np.float32), width=len(kept) + 1)]


def design(table: Table) -> csr_array:
    """The table's columns as numbers, shape (n, at most ``WIDEST`` + 1); the first is a column of ones.

    Bins and means come from all rows; the labels have no part in them.
    """
    size = table.rows
    binned = sum(column.kind is not Kind.TEXT for column in table.columns) * (BINS + 2) <= WIDEST
    slots = [_Slot(place=np.zeros(size, dtype=np.intp), value=np.ones(size, dtype=np.float32), width=1)]
    places, total = [slots[0].place], 1
    for column in table.columns:
        for slot in _text(column) if column.kind is Kind.TEXT else _number(column, binned=binned):
            if total + slot.width <= WIDEST + 1:
                places.append(slot.place + total)
                slots.append(slot)
                total += slot.width
    values = np.stack([slot.value for slot in slots], axis=1)
    starts = np.arange(size + 1) * len(slots)
    return csr_array((values.ravel(), np.stack(places, axis=1).ravel(), starts), shape=(size, total))


def softmax(scores: Floats32) -> Floats32:
    """Probabilities of each row of scores, shape (n, K)."""
    power = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True), dtype=np.float32)


def fit(features: csr_array, given: Indices, kinds: int) -> Floats32:
    """The weights, shape (d, K), of multinomial logistic regression with a small ridge penalty."""
    size, wide = features.shape
    across = features.T.tocsr()
    target = np.zeros((size, kinds), dtype=np.float32)
    target[np.arange(size), given] = 1
    step = np.float32(1 / (0.5 * _largest(features) / size + PENALTY))
    weights = ahead = np.zeros((wide, kinds), dtype=np.float32)
    speed = 1.0
    for _ in range(STEPS):
        slope = across @ (softmax(features @ ahead) - target) / size + np.float32(PENALTY) * ahead
        moved = ahead - step * slope
        if float((slope * (moved - weights)).sum()) > 0:  # overshot: begin again from here
            speed, ahead = 1.0, moved
        else:
            faster = (1 + (1 + 4 * speed * speed) ** 0.5) / 2
            ahead = moved + np.float32((speed - 1) / faster) * (moved - weights)
            speed = faster
        weights = moved
    return np.asarray(weights, dtype=np.float32)


def _largest(features: csr_array) -> float:
    """The largest eigenvalue of the features' Gram matrix, by powers of it."""
    along = np.ones(features.shape[1], dtype=np.float32)
    value = 1.0
    for _ in range(20):
        along = features.T @ (features @ along)
        value = float(np.linalg.norm(along)) or 1.0
        along /= np.float32(value)
    return value * 1.05


def outside(table: Table, given: Indices, kinds: int, seed: int) -> NDArray[np.float64]:
    """Probabilities of each row's classes, shape (n, kinds), by a model fitted without the row's fold.

    ``table`` holds the features alone, ``given`` class indices, shape (n,). Each class is dealt evenly to
    the folds.
    """
    order = np.random.default_rng(seed).permutation(len(given))
    order = order[np.argsort(given[order], kind="stable")]
    fold = np.empty(len(given), dtype=np.intp)
    fold[order] = np.arange(len(given)) % FOLDS
    found = np.empty((len(given), kinds))
    features = design(table)
    for part in range(FOLDS):
        known, asked = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        weights = fit(features[known], given[known], kinds)
        found[asked] = softmax(features[asked] @ weights)
    return found
