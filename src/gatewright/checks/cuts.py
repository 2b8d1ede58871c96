"""Groups of rows by the values of a column: how slices and protected groups are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.answers import spelling
from gatewright.datasets.table import Column, Kind, Table

MOST_VALUES = 10
"""A numeric column with at most this many values in training is cut by value."""
NAME_LENGTH = 80
MISSING = "(missing)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group: its name ``column=value`` and the places of its rows among the answers."""

    name: str
    rows: NDArray[np.intp]


def _edges(train: Column, bins: int) -> list[float]:
    values = train.values[~train.missing].astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return []
    return [float(edge) for edge in np.unique(np.quantile(values, np.arange(1, bins) / bins))]


def labels_of(column: Column, train: Table, bins: int) -> tuple[list[str], list[float]]:
    """The group of each row, and the edges where a numeric column was cut."""
    gone = column.missing.tolist()
    if column.kind is Kind.TEXT:
        texts = column.values.tolist()
        return [MISSING if g else t[:NAME_LENGTH] for t, g in zip(texts, gone, strict=True)], []
    values = column.values.astype(np.float64)
    model = train.column(column.name) if column.name in train else column
    if model.kind is Kind.TEXT:
        model = column
    distinct = np.unique(model.values[~model.missing].astype(np.float64))
    if len(distinct) <= MOST_VALUES:
        names = {v: spelling(v) if np.isfinite(v) else str(v) for v in np.unique(values[~column.missing])}
        return [MISSING if g else names[v] for v, g in zip(values.tolist(), gone, strict=True)], []
    edges = _edges(model, bins)
    names_of = [
        f"{'' if low is None else f'{low:.6g} <= '}x{'' if high is None else f' < {high:.6g}'}"
        for low, high in zip([None, *edges], [*edges, None], strict=True)
    ]
    place = np.searchsorted(edges, values, side="right")
    return [MISSING if g else names_of[p] for p, g in zip(place.tolist(), gone, strict=True)], edges


def cut(name: str, labels: list[str], rows: NDArray[np.intp]) -> Iterator[Group]:
    """The groups of the column ``name`` among the given rows, by the labels of all rows."""
    values, place = np.unique(np.array(labels, dtype=np.str_)[rows], return_inverse=True)
    order = np.argsort(place, kind="stable")
    for value, members in zip(
        values.tolist(), np.split(order, np.cumsum(np.bincount(place))[:-1]), strict=True
    ):
        yield Group(name=f"{name}={value}", rows=members)
