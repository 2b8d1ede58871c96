"""Whether the train rows, the test rows and the model agree on what the columns are.

**Question.** Same columns and kinds in both splits; every column the model takes is there; no new
missing values, unknown categories or numbers beyond the training range; a target that is whole and
whose classes the model knows.

**Method.** Presence, kinds and targets are facts about the files. Shares (missing, unseen, out of
range) are proportions of the test rows with Wilson's interval; a column fails when the *lower*
bound of its share is beyond its limit. Only the model's own columns and the target can fail; other
columns are noted. Without named columns in the signature every column counts as the model's.

**Not shown.** Drift inside the training range (a column may move far without leaving it); whether
a value is true; whether a text column is a category or free text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.answers import NO_CLASS, class_indices
from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import wilson
from gatewright.datasets.table import Column, Kind, Table
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.kernel.plurals import many
from gatewright.models.signature import DataType, Task

NAME = "data.schema"
TITLE = "Do the data and the model agree on the columns?"
METRICS = {
    name: tuple(Task) for name in ("problems", "columns", "missing-share", "unseen-share", "outside-share")
}
MOST_LISTED = 40
MOST_REPORTED = 60
NAME_LENGTH = 80
_NEW = "which training never has"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How much of a column's test rows may be unlike training.

    ``largest_new_missing_share``: missing, though training has none missing;
    ``largest_unseen_share``: a category that training lacks; ``largest_outside_share``: a number
    beyond the training range.
    """

    largest_new_missing_share: float = 0.01
    largest_unseen_share: float = 0.05
    largest_outside_share: float = 0.05

    def __post_init__(self) -> None:
        shares = (self.largest_new_missing_share, self.largest_unseen_share, self.largest_outside_share)
        if not all(0 <= share <= 1 for share in shares):
            raise Misuse("checks.parameter", f"The shares of {NAME} must be from 0 to 1.")


@dataclass(slots=True, kw_only=True)
class _Page:
    """What was found so far: problems fail the check, notes do not."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shares: list[tuple[float, Metric]] = field(default_factory=list)

    def say(self, sentence: str, *, problem: bool) -> None:
        (self.problems if problem else self.notes).append(sentence)

    def share(self, name: str, column: str, flags: NDArray[np.bool_], limit: float) -> tuple[float, bool]:
        """Add a share of the test rows; returns it and whether it is clearly beyond its limit."""
        count, size = int(flags.sum()), len(flags)
        interval = wilson(count, size)
        metric = Metric(
            name=name, value=count / size, low=interval.low, high=interval.high, size=size,
            method=interval.method, slice=column[:NAME_LENGTH],
        )  # fmt: skip
        if count:
            self.shares.append((interval.low - limit, metric))
        return count / size, interval.low > limit


def _inputs(case: Case) -> dict[str, DataType]:
    """The model's columns and the element type each one fills."""
    return {name: tensor.datatype for tensor in case.signature.inputs for name in tensor.columns}


def _presence(case: Case, page: _Page, inputs: dict[str, DataType]) -> None:
    train, test = set(case.train.names), set(case.test.names)
    for table, what in ((train, "training"), (test, "test")):
        for name in inputs:
            if name not in table:
                page.say(f"The model takes the column {name!r}, which the {what} rows lack.", problem=True)
    for name in case.train.names:
        if name not in test and name not in inputs:
            wanted = name == case.target or not inputs
            page.say(f"The test rows lack the column {name!r} of the training rows.", problem=wanted)
    for name in case.test.names:
        if name not in train and name not in inputs:
            page.say(f"The test rows have the column {name!r}, {_NEW}.", problem=not inputs)


def _kinds(page: _Page, train: Column, test: Column, datatype: DataType | None, *, matters: bool) -> bool:
    """Compare kinds; returns whether the values can be compared."""
    text = {train.kind is Kind.TEXT, test.kind is Kind.TEXT}
    if len(text) == 2 and not (train.missing.all() or test.missing.all()):
        page.say(
            f"Column {train.name!r} holds {train.kind} in training and {test.kind} in the test rows.",
            problem=matters,
        )
        return False
    if train.kind is not test.kind:
        page.say(f"Column {train.name!r} is {train.kind} in training and {test.kind} in test.", problem=False)
    if datatype not in (None, DataType.BYTES) and Kind.TEXT in (train.kind, test.kind):
        page.say(f"The model takes numbers in {train.name!r}, and the data holds text.", problem=True)
    return len(text) == 1


def _missing(page: _Page, train: Column, test: Column, parameters: Parameters, *, matters: bool) -> None:
    for column, what in ((train, "training"), (test, "test")):
        if column.missing.all():
            page.say(f"Column {column.name!r} has no value at all in the {what} rows.", problem=matters)
    share, beyond = page.share("missing-share", test.name, test.missing, parameters.largest_new_missing_share)
    if share and not train.missing.any():
        page.say(
            f"Column {test.name!r} lacks a value in {share:.2%} of the test rows, and never in training.",
            problem=matters and beyond,
        )


def _values(page: _Page, train: Column, test: Column, parameters: Parameters, *, matters: bool) -> None:
    seen, asked = train.values[~train.missing], test.values[~test.missing]
    if not len(seen) or not len(asked):
        return
    if train.kind is Kind.TEXT:
        known = set(seen.tolist())
        if len(known) == 1:
            page.say(f"Column {train.name!r} has one value in all training rows.", problem=False)
        flags = np.array([value not in known for value in test.values.tolist()]) & ~test.missing
        share, beyond = page.share("unseen-share", test.name, flags, parameters.largest_unseen_share)
        what = f"a text, {_NEW},"
    else:
        low, high = float(seen.min()), float(seen.max())
        if low == high:
            page.say(f"Column {train.name!r} has one value in all training rows.", problem=False)
        numbers = test.values.astype(np.float64)
        flags = ((numbers < low) | (numbers > high)) & ~test.missing
        share, beyond = page.share("outside-share", test.name, flags, parameters.largest_outside_share)
        what = f"a number outside the training range {low:.6g} to {high:.6g}"
    if share:
        page.say(
            f"Column {test.name!r} has {what} in {share:.2%} of the test rows.", problem=matters and beyond
        )


def _target(case: Case, page: _Page) -> None:
    for table, what in ((case.train, "training"), (case.test, "test")):
        if case.target not in table:
            page.say(f"The {what} rows have no target column {case.target!r}.", problem=True)
            continue
        column = table.column(case.target)
        gone = int(column.missing.sum())
        if gone:
            page.say(f"The target is missing in {gone} of {table.rows} {what} rows.", problem=True)
        if gone < table.rows:
            _target_values(case, page, column, what)


def _target_values(case: Case, page: _Page, column: Column, what: str) -> None:
    if case.signature.task is Task.REGRESSION:
        if column.kind is Kind.TEXT:
            page.say(f"The target holds text in the {what} rows, and the task is regression.", problem=True)
        return
    found = class_indices(column, case.signature.classes)[~column.missing]
    strange = np.flatnonzero(found == NO_CLASS)
    if len(strange):
        value = str(column.values[~column.missing][strange[0]])[:NAME_LENGTH]
        page.say(
            f"The target of {len(strange)} {what} rows is not a class of the model, {value!r} for one.",
            problem=True,
        )
    present = set(found.tolist()) - {NO_CLASS}
    if len(present) == 1 and not len(strange):
        page.say(f"The target has a single class in the {what} rows.", problem=True)
    for index, name in enumerate(case.signature.classes):
        if index not in present:
            page.say(f"No {what} row has the class {name[:NAME_LENGTH]!r}.", problem=False)


def _columns(case: Case, page: _Page, inputs: dict[str, DataType], parameters: Parameters) -> None:
    for name in case.train.names:
        if name not in case.test or name == case.target:
            continue
        train, test = case.train.column(name), case.test.column(name)
        matters = name in inputs or not inputs
        same = _kinds(page, train, test, inputs.get(name), matters=matters)
        _missing(page, train, test, parameters, matters=matters)
        if same:
            _values(page, train, test, parameters, matters=matters)


def _missing_table(table: Table) -> list[Json]:
    shares = [(float(c.missing.mean()), c.name[:NAME_LENGTH]) for c in table.columns if c.missing.any()]
    return [{"column": name, "share": share} for share, name in sorted(shares, reverse=True)[:MOST_LISTED]]


def _listed(sentences: list[str]) -> list[Json]:
    return [sentence[:240] for sentence in sentences[:MOST_LISTED]]


def run(case: Case, parameters: Parameters) -> Finding:
    """Compare the splits with each other and with the model's signature."""
    if not case.train.rows or not case.test.rows:
        side = "training" if not case.train.rows else "test"
        return Finding(
            check=NAME,
            outcome=Outcome.UNKNOWN,
            summary="The columns were not compared.",
            reason=f"There are no {side} rows.",
            next="Register a data set whose splits have rows.",
        )
    page, inputs = _Page(), _inputs(case)
    _presence(case, page, inputs)
    _columns(case, page, inputs, parameters)
    _target(case, page)
    worst = sorted(page.shares, key=lambda pair: (-pair[0], pair[1].name, pair[1].slice))[:MOST_REPORTED]
    count = len(page.problems)
    return Finding(
        check=NAME,
        outcome=Outcome.FAILED if count else Outcome.PASSED,
        summary=f"{count} problems: {page.problems[0]}" if count > 1 else page.problems[0] if count
        else f"{many(len(case.test.names), 'column')} {'agrees' if len(case.test.names) == 1 else 'agree'}; "
        f"{many(len(page.notes), 'note')}.",
        next="Mend the data at its origin, or train again on rows like the test rows." if count else "",
        metrics=(
            Metric.exact("problems", count),
            Metric.exact("columns", len(case.test.names)),
            *(metric for _, metric in worst),
        ),
        evidence={
            "problems": _listed(page.problems),
            "notes": _listed(page.notes),
            "notes_total": len(page.notes),
            "missing_in_train": _missing_table(case.train),
            "missing_in_test": _missing_table(case.test),
            "rows": {"train": case.train.rows, "test": case.test.rows},
        },
    )  # fmt: skip
