"""The column to be predicted: which task it calls for, and which targets cannot be used."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gatewright.datasets.limits import CLASSES
from gatewright.datasets.table import Column, Kind, Table
from gatewright.kernel.errors import BadInput


class TargetKind(StrEnum):
    """What predicting the column means; the texts are those of ``models.signature.Task``."""

    BINARY = "binary-classification"
    MULTICLASS = "multiclass-classification"
    REGRESSION = "regression"


def task_of(column: Column) -> TargetKind:
    """The task that a target's values call for.

    Text is always classes. Whole numbers are classes up to ``limits.CLASSES`` distinct values.
    Decimal numbers are amounts, but for two whole values (``0.0`` and ``1.0``), which are classes.
    """
    known = column.values[~column.missing]
    distinct = len(set(known.tolist()))
    if distinct == 2 and (column.kind is not Kind.NUMBER or _whole(known)):
        return TargetKind.BINARY
    if column.kind is Kind.TEXT or (column.kind is Kind.INTEGER and distinct <= CLASSES):
        return TargetKind.MULTICLASS
    return TargetKind.REGRESSION


def _whole(values: NDArray[np.float64] | NDArray[np.object_]) -> bool:
    return bool(np.all(np.mod(values.astype(np.float64), 1.0) == 0))


def _class_name(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def class_names(column: Column) -> tuple[str, ...]:
    """The class names as text, sorted as ``numpy.unique`` does: numbers by value, text by code point."""
    known = set(column.values[~column.missing].tolist())
    return tuple(value if isinstance(value, str) else _class_name(value) for value in sorted(known))


def check_target(table: Table, target: str, kind: TargetKind | None = None) -> TargetKind:
    """The task of the named target: the asked one, or without one what the values call for.

    Raises :class:`BadInput` for a target that is absent (with the nearest names), has no or one
    distinct value, or does not fit the asked task.
    """
    column = _column(table, target)
    known = column.values[~column.missing]
    if not len(known):
        raise _bad("datasets.target-missing", f"Every value of the target {target!r} is missing.", target)
    classes = class_names(column)
    if len(classes) == 1:
        raise _bad(
            "datasets.one-class",
            f"The target {target!r} has one value only, {classes[0][:80]!r}.",
            target,
            "Nothing can be learned or measured from it: give rows of every class.",
        )
    called_for = task_of(column)
    asked = kind or called_for
    _require_fit(column, asked, len(classes))
    if asked is TargetKind.MULTICLASS and len(classes) == 2:
        return TargetKind.BINARY
    return asked


def _column(table: Table, target: str) -> Column:
    if target in table:
        return table.column(target)
    lower = {name.lower(): name for name in table.names}
    near = [lower[match] for match in get_close_matches(target.lower()[:200], lower, n=3, cutoff=0.5)]
    raise BadInput(
        "datasets.no-target",
        f"The data has no column {target[:200]!r} to predict.",
        next=f"Nearest: {', '.join(near)}." if near else f"It has: {', '.join(table.names[:20])}.",
    )


def _require_fit(column: Column, asked: TargetKind, classes: int) -> None:
    target = column.name
    if asked is TargetKind.REGRESSION:
        if column.kind is Kind.TEXT:
            raise _bad(
                "datasets.target-not-numeric",
                f"Regression needs numbers, and the target {target!r} holds text.",
                target,
                "Choose a classification task, or a numeric target.",
            )
        return
    if column.kind is Kind.NUMBER and not _whole(column.values[~column.missing]):
        raise _bad(
            "datasets.target-not-classes",
            f"Classification needs classes, and the target {target!r} holds {classes:,} different "
            "decimal numbers.",
            target,
            "Choose regression, or turn the target into classes.",
        )
    if classes > CLASSES:
        raise _bad(
            "datasets.too-many-classes",
            f"The target {target!r} has {classes:,} classes; the limit is {CLASSES}.",
            target,
            "Choose regression for amounts; group rare classes.",
        )
    if asked is TargetKind.BINARY and classes != 2:
        raise _bad(
            "datasets.not-binary",
            f"Binary classification needs two classes, and the target {target!r} has {classes}.",
            target,
            "Choose multi-class classification.",
        )


def _bad(code: str, what: str, target: str, next_step: str = "") -> BadInput:
    return BadInput(code, what, next=next_step, place=f"column {target!r}")
