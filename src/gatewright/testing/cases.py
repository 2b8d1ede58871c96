"""Builders of cases from a seed: small worlds with a known truth, for tests of checks.

Everything follows from the arguments; the same arguments give the same case, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.case import Case, Predictions, Timing
from gatewright.datasets.table import Column, Kind, Table
from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec

Floats = NDArray[np.float64]
TARGET = "answer"
CLASSES = {Task.BINARY: ("no", "yes"), Task.MULTICLASS: ("blue", "green", "red"), Task.REGRESSION: ()}


def number_column(name: str, values: Floats, *, whole: bool = False) -> Column:
    """A numeric column; NaN counts as missing."""
    found = np.asarray(values, dtype=np.float64)
    kind = Kind.INTEGER if whole else Kind.NUMBER
    return Column(name=name, kind=kind, values=found, missing=np.isnan(found))


def text_column(name: str, values: Sequence[str]) -> Column:
    """A text column; the empty text counts as missing."""
    found = np.array(list(values), dtype=object)
    return Column(name=name, kind=Kind.TEXT, values=found, missing=np.array([v == "" for v in values], bool))


def stack(first: Table, second: Table) -> Table:
    """The rows of the first table and then those of the second, which has the same columns."""
    return Table(
        columns=tuple(
            Column(
                name=a.name,
                kind=a.kind,
                values=np.concatenate([a.values, b.values]),
                missing=np.concatenate([a.missing, b.missing]),
            )
            for a, b in zip(first.columns, second.columns, strict=True)
        )
    )


def with_column(table: Table, column: Column) -> Table:
    """The table with one column put in the place of its namesake, or added at the end."""
    if column.name not in table:
        return Table(columns=(*table.columns, column))
    return Table(columns=tuple(column if c.name == column.name else c for c in table.columns))


def features(rows: int, columns: int, rng: np.random.Generator) -> Table:
    """``columns`` normal columns x0, x1, …, a text column ``site`` and a sensitive column ``group``."""
    numbers = [number_column(f"x{index}", rng.normal(size=rows)) for index in range(columns)]
    site = text_column("site", rng.choice(["north", "south", "east"], rows).tolist())
    group = text_column("group", rng.choice(["a", "b"], rows).tolist())
    return Table(columns=(*numbers, site, group))


def answered(table: Table, task: Task, rng: np.random.Generator) -> tuple[Table, Predictions]:
    """The table with its target, and the predictions of a calibrated model of its first columns."""
    rows = table.rows
    first = table.column("x0").values.astype(np.float64)
    if task is Task.REGRESSION:
        truth = 3 * first + rng.normal(size=rows)
        return with_column(table, number_column(TARGET, truth)), Predictions(labels=3 * first)
    classes = np.array(CLASSES[task], dtype=object)
    drive = np.stack([first * 1.5 * index for index in range(len(classes))], axis=1)
    scores = np.exp(drive - drive.max(axis=1, keepdims=True)) if rows else np.zeros((0, len(classes)))
    scores = scores / scores.sum(axis=1, keepdims=True)
    drawn = (rng.random((rows, 1)) > np.cumsum(scores, axis=1)[:, :-1]).sum(axis=1)
    best = scores.argmax(axis=1)
    target = text_column(TARGET, classes[drawn].tolist())
    return with_column(table, target), Predictions(labels=classes[best], scores=scores)


def signature(task: Task, columns: Sequence[str]) -> ModelSignature:
    """A model of one numeric matrix, labels and, for classes, scores."""
    classes = CLASSES[task]
    outputs = [TensorSpec(name="label", datatype=DataType.BYTES if classes else DataType.FP32, shape=(-1,))]
    if classes:
        outputs.append(TensorSpec(name="scores", datatype=DataType.FP32, shape=(-1, len(classes))))
    matrix = TensorSpec(name="X", datatype=DataType.FP32, shape=(-1, len(columns)), columns=tuple(columns))
    return ModelSignature(
        task=task,
        inputs=(matrix,),
        outputs=tuple(outputs),
        label_output="label",
        scores_output="scores" if classes else "",
        classes=classes,
    )


def case(
    seed: int,
    task: Task = Task.BINARY,
    *,
    train_rows: int = 300,
    test_rows: int = 200,
    columns: int = 8,
) -> Case:
    """A sound case: fresh test rows, a calibrated model, declared training rows, 500 timed calls."""
    rng = np.random.default_rng(seed)
    train, _ = answered(features(train_rows, columns, rng), task, rng)
    test, predictions = answered(features(test_rows, columns, rng), task, rng)
    return Case(
        signature=signature(task, [f"x{index}" for index in range(columns)]),
        target=TARGET,
        train=train,
        test=test,
        trained_on=train,
        predictions=predictions,
        timing=Timing(
            single_row=rng.lognormal(-7, 0.3, 500), model_bytes=40_000, peak_memory_bytes=90_000_000
        ),
        sensitive=("group",),
        slices=("site", "x1"),
        seed=seed,
    )


def leaking(sound: Case, rows: Sequence[int]) -> Case:
    """The case with the given test rows among the declared training rows, at their end."""
    return replace(sound, trained_on=stack(sound.train, sound.test.take(np.array(rows, dtype=np.intp))))


def _all_missing(table: Table) -> Table:
    return Table(
        columns=tuple(
            text_column(c.name, [""] * table.rows)
            if c.kind is Kind.TEXT
            else number_column(c.name, np.full(table.rows, np.nan))
            for c in table.columns
        )
    )


def _first_class(table: Table) -> Table:
    column = table.column(TARGET)
    if column.kind is Kind.TEXT:
        return with_column(table, text_column(TARGET, [str(column.values[0])] * table.rows))
    return with_column(table, number_column(TARGET, np.full(table.rows, float(column.values[0]))))


def _no_rows(table: Table) -> Table:
    return table.take(np.empty(0, dtype=np.intp))


def _no_answers(predictions: Predictions | None) -> Predictions | None:
    if predictions is None:
        return None
    scores = None if predictions.scores is None else predictions.scores[:0]
    return Predictions(labels=predictions.labels[:0], scores=scores)


def _without_rows(sound: Case) -> Case:
    return replace(
        sound, train=_no_rows(sound.train), test=_no_rows(sound.test), trained_on=_no_rows(sound.train),
        predictions=_no_answers(sound.predictions),
    )  # fmt: skip


def _without_a_test_row(sound: Case) -> Case:
    return replace(sound, test=_no_rows(sound.test), predictions=_no_answers(sound.predictions))


def _without_columns(sound: Case) -> Case:
    empty = Table(columns=())
    return replace(
        sound, train=empty, test=empty, trained_on=empty, predictions=_no_answers(sound.predictions)
    )


def _missing_features(sound: Case) -> Case:
    def gone(table: Table) -> Table:
        return with_column(_all_missing(table), table.column(TARGET))

    return replace(sound, train=gone(sound.train), test=gone(sound.test), trained_on=gone(sound.train))


def _missing_everything(sound: Case) -> Case:
    return replace(
        sound, train=_all_missing(sound.train), test=_all_missing(sound.test),
        trained_on=_all_missing(sound.train),
    )  # fmt: skip


def _one_class(sound: Case) -> Case:
    return replace(sound, test=_first_class(sound.test))


def _nothing_known(sound: Case) -> Case:
    return replace(sound, trained_on=None, predictions=None, timing=None, sensitive=(), slices=())


def _infinite(sound: Case) -> Case:
    values = sound.test.column("x0").values.astype(np.float64).copy()
    values[::3] = np.inf
    return replace(sound, test=with_column(sound.test, number_column("x0", values)))


def _other_kinds(sound: Case) -> Case:
    texts = [str(value) for value in sound.test.column("x0").values]
    return replace(sound, test=with_column(sound.test, text_column("x0", texts)))


def _few_calls(sound: Case) -> Case:
    return replace(sound, timing=Timing(single_row=np.array([0.001]), model_bytes=1))


def _copied(sound: Case) -> Case:
    return leaking(sound, range(min(5, sound.test.rows)))


ODDITIES: Mapping[str, Callable[[Case], Case]] = {
    "sound": lambda sound: sound,
    "no-rows": _without_rows,
    "no-test-row": _without_a_test_row,
    "no-columns": _without_columns,
    "features-all-missing": _missing_features,
    "everything-missing": _missing_everything,
    "one-class": _one_class,
    "nothing-known": _nothing_known,
    "infinite-values": _infinite,
    "kinds-differ": _other_kinds,
    "one-timed-call": _few_calls,
    "leaking": _copied,
}
"""Ways a case can be odd, by name: each makes one from a sound case."""


def odd_cases(seed: int) -> dict[str, Case]:
    """Every oddity of every task, by ``task/oddity``."""
    return {
        f"{task}/{name}": bend(case(seed, task, train_rows=120, test_rows=80))
        for task in Task
        for name, bend in ODDITIES.items()
    }
