"""The parts of a column as small numbers, so that thousands of slices can be counted at once.

The same cuts as ``cuts``, but with at most ``MOST_CATEGORIES`` parts of a text column, the most
frequent ones in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.answers import spelling
from gatewright.checks.cuts import MISSING, MOST_VALUES, parts_between, shown
from gatewright.datasets.table import Column, Kind

NO_PART = -1
MOST_CATEGORIES = 12
"""The most frequent texts of a column are parts; rows with another text are in none."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The parts of one column: ``names`` as ``column=value``, ``codes`` (n,) the part of each row."""

    names: tuple[str, ...]
    codes: Indices


def cut(column: Column, train: Column | None, rows: Indices, bins: int) -> Cut:
    """The parts that the given rows of a column fall into; ``NO_PART`` where a row is in none.

    Texts are cut by value, numbers with few values too; other numbers into ``bins`` parts of equal
    mass in training (its namesake there, or None). Rows without a value are a part of their own.
    """
    model = train or column
    if (model.kind is Kind.TEXT) != (column.kind is Kind.TEXT) or model.missing.all():
        model = column
    gone = column.missing[rows]
    names: Sequence[str]
    if column.kind is Kind.TEXT:
        names, codes = _by_text(column, model, rows)
    else:
        names, codes = _by_number(column.values[rows].astype(np.float64), _known(model), bins)
    codes = np.where(gone, len(names), codes)
    named = tuple(f"{shown(column.name)}={shown(name)}" for name in (*names, MISSING))
    return Cut(names=named, codes=codes)


def _known(model: Column) -> NDArray[np.float64]:
    values = model.values[~model.missing].astype(np.float64)
    return values[np.isfinite(values)]


def _by_text(column: Column, model: Column, rows: Indices) -> tuple[list[str], Indices]:
    counts: dict[str, int] = {}
    for text in model.values[~model.missing].tolist():
        counts[text] = counts.get(text, 0) + 1
    names = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_CATEGORIES]
    place = {text: index for index, text in enumerate(names)}
    found = [place.get(text, NO_PART) for text in column.values[rows].tolist()]
    return names, np.array(found, dtype=np.intp)


def _by_number(
    values: NDArray[np.float64], known: NDArray[np.float64], bins: int
) -> tuple[Sequence[str], Indices]:
    distinct = np.unique(known)
    if len(distinct) <= MOST_VALUES:
        if not len(distinct):
            return [], np.full(len(values), NO_PART, dtype=np.intp)
        place = np.minimum(np.searchsorted(distinct, values), len(distinct) - 1)
        return [spelling(value) for value in distinct.tolist()], np.where(
            distinct[place] == values, place, NO_PART
        )
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)).tolist()
    return parts_between(edges), np.searchsorted(edges, values, side="right")
