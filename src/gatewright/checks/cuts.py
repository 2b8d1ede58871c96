"""Groups of rows by the values of a column: how slices and protected groups are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.answers import spelling
from gatewright.datasets.table import Column, Kind, Table

MOST_VALUES = 10
"""A numeric column with at most this many values in training is cut by value."""
NAME_LENGTH = 80
"""Characters of a text that name a group; a longer one is told by its beginning and its digest."""
DIGEST_LENGTH = 16
MISSING = "(missing)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group: its name ``column=value`` and the places of its rows among the answers."""

    name: str
    rows: NDArray[np.intp]


def shown(text: str, length: int = NAME_LENGTH) -> str:
    """A text as the name of a group: different texts keep different names, however long they are.

    A cut name is one character longer than any text that is not cut, so that none can spell it.
    """
    if len(text) <= length:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    return f"{text[: length - DIGEST_LENGTH]}…{digest}"


def parts_between(edges: Sequence[float]) -> list[str]:
    """The names of the parts that the edges cut numbers into, all different, as ``25 <= x < 50``."""
    ends = [f"{edge:.6g}" for edge in edges]
    if len(set(ends)) < len(ends):
        ends = [repr(float(edge)) for edge in edges]
    return [
        f"{'' if low is None else f'{low} <= '}x{'' if high is None else f' < {high}'}"
        for low, high in zip([None, *ends], [*ends, None], strict=True)
    ]


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
        return [MISSING if g else shown(t) for t, g in zip(texts, gone, strict=True)], []
    values = column.values.astype(np.float64)
    model = train.column(column.name) if column.name in train else column
    if model.kind is Kind.TEXT:
        model = column
    distinct = np.unique(model.values[~model.missing].astype(np.float64))
    if len(distinct) <= MOST_VALUES:
        names = {v: spelling(v) if np.isfinite(v) else str(v) for v in np.unique(values[~column.missing])}
        return [MISSING if g else names[v] for v, g in zip(values.tolist(), gone, strict=True)], []
    edges = _edges(model, bins)
    names_of = parts_between(edges)
    place = np.searchsorted(edges, values, side="right")
    return [MISSING if g else names_of[p] for p, g in zip(place.tolist(), gone, strict=True)], edges


def coded(labels: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """The different labels in order, and the place of each row's label among them, shape (n,)."""
    values = tuple(sorted(set(labels)))
    index = {value: place for place, value in enumerate(values)}
    return values, np.fromiter((index[label] for label in labels), dtype=np.intp, count=len(labels))


def labels_of_all(name: str, test: Table, train: Table, bins: int) -> tuple[list[str], list[float]]:
    """The group of each test row and then of each train row, with the edges of a numeric column."""
    labels, edges = labels_of(test.column(name), train, bins)
    learned = labels_of(train.column(name), train, bins)[0] if name in train else []
    return labels + learned, edges


def cut(name: str, labels: list[str], rows: NDArray[np.intp]) -> Iterator[Group]:
    """The groups of the column ``name``, with their places among the given rows.

    Every label is a group, also one that none of the given rows has.
    """
    values, places = coded(labels)
    place = places[rows]
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=len(values)))[:-1]
    for value, members in zip(values, np.split(order, ends) if len(values) else [], strict=True):
        yield Group(name=f"{name}={value}", rows=members)
