"""The model's answers beside the true ones, row by row: what the performance checks compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Case
from gatewright.datasets.table import Column, Kind
from gatewright.models.signature import Task

NO_CLASS = -1

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAnswers:
    """Classes by their index in the signature, for the test rows that have a true answer.

    ``truth`` and ``answer`` have shape (n,); ``answer`` is ``NO_CLASS`` where the model said
    something that is not one of its classes. ``scores`` has shape (n, classes) or is None.
    ``rows`` holds the test row indices kept, shape (n,).
    """

    classes: tuple[str, ...]
    truth: Indices
    answer: Indices
    scores: Floats | None
    rows: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueAnswers:
    """True and predicted values, shape (n,) each, for the test rows that have a true value."""

    truth: Floats
    answer: Floats
    rows: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswers:
    """Why answers cannot be compared, and what to do."""

    reason: str
    next: str


Answers: TypeAlias = ClassAnswers | ValueAnswers | NoAnswers


def spelling(value: float) -> str:
    """A number as class names write it: ``1`` for 1.0."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def class_indices(column: Column, classes: Sequence[str]) -> Indices:
    """Index of each row's class, ``NO_CLASS`` where it is missing or not a class; shape (n,).

    A numeric column is matched by number, so that 1.0 is the class ``"1"``.
    """
    if column.kind is Kind.TEXT:
        known = {name: index for index, name in enumerate(classes)}
        found = [known.get(value, NO_CLASS) for value in column.values]
        return np.where(column.missing, NO_CLASS, np.array(found, dtype=np.intp))
    place = np.full(len(column.values), NO_CLASS, dtype=np.intp)
    values = column.values.astype(np.float64)
    for index, name in enumerate(classes):
        number = _number(name)
        if number is not None:
            place[values == number] = index
    return np.where(column.missing, NO_CLASS, place)


def label_indices(labels: NDArray[np.object_] | Floats, classes: Sequence[str]) -> Indices:
    """Index of each predicted label, ``NO_CLASS`` where it is not a class; shape (n,)."""
    by_name: dict[object, int] = {name: index for index, name in enumerate(classes)}
    by_number = {number: index for index, name in enumerate(classes) if (number := _number(name)) is not None}

    def place(label: object) -> int:
        found = by_name.get(label)
        if found is None:
            number = _number(str(label))
            found = NO_CLASS if number is None else by_number.get(number, NO_CLASS)
        return found

    seen = {label: place(label) for label in set(labels.tolist())}
    return np.array([seen[label] for label in labels.tolist()], dtype=np.intp)


def _classes(case: Case, truth: Column, rows: Indices) -> ClassAnswers | NoAnswers:
    predictions = case.predictions
    assert predictions is not None  # noqa: S101 - answers_of looked
    found = class_indices(truth, case.signature.classes)[rows]
    strange = int((found == NO_CLASS).sum())
    if strange:
        return NoAnswers(
            reason=f"{strange} test rows have a true class that the model does not know.",
            next="Train on every class of the target, or correct the classes of the signature.",
        )
    scores = predictions.scores
    if scores is not None and scores.shape != (len(truth.values), len(case.signature.classes)):
        return NoAnswers(
            reason=f"The model gives scores of shape {scores.shape}, not one per row and class.",
            next="Correct the signature's scores output or its classes.",
        )
    return ClassAnswers(
        classes=case.signature.classes,
        truth=found,
        answer=label_indices(predictions.labels[rows], case.signature.classes),
        scores=None if scores is None else scores[rows].astype(np.float64),
        rows=rows,
    )


def _values(case: Case, truth: Column, rows: Indices) -> ValueAnswers | NoAnswers:
    predictions = case.predictions
    assert predictions is not None  # noqa: S101 - answers_of looked
    if truth.kind is Kind.TEXT:
        return NoAnswers(
            reason=f"The target {case.target!r} holds text, and the model predicts numbers.",
            next="Declare a classification task, or name a numeric target.",
        )
    answer = np.asarray(predictions.labels, dtype=np.float64).reshape(-1)[rows]
    strange = int((~np.isfinite(answer)).sum())
    if strange:
        return NoAnswers(
            reason=f"The model answered {strange} test rows with a value that is not a finite number.",
            next="Find the inputs that make the model overflow, and mend the model.",
        )
    return ValueAnswers(truth=truth.values[rows].astype(np.float64), answer=answer, rows=rows)


def answers_of(case: Case) -> Answers:
    """The case's answers, by its task; :class:`NoAnswers` where there is nothing to compare."""
    if case.predictions is None:
        return NoAnswers(
            reason="The model's answers on the test rows were not given.",
            next="Run the check on a model that can be asked.",
        )
    if case.target not in case.test:
        return NoAnswers(
            reason=f"The test rows have no column {case.target!r} with the true answers.",
            next="Name the target column of the data set.",
        )
    truth = case.test.column(case.target)
    if len(case.predictions.labels) != len(truth.values):
        return NoAnswers(
            reason=f"There are {len(case.predictions.labels)} answers for {len(truth.values)} test rows.",
            next="Ask the model again about exactly the test rows.",
        )
    rows = np.flatnonzero(~truth.missing)
    if not len(rows):
        return NoAnswers(reason="No test row has a true answer.", next="Give test rows with their answers.")
    if case.signature.task is Task.REGRESSION:
        return _values(case, truth, rows)
    return _classes(case, truth, rows)
