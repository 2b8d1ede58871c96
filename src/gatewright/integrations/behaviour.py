"""Behavioural tests of a model: what must not matter, what must push one way, what must be answered.

Source: Ribeiro, Wu, Guestrin & Singh, "Beyond Accuracy: Behavioral Testing of NLP Models with
CheckList", ACL 2020, section 2.2: the invariance test, the directional expectation test and the
minimum functionality test, here on rows of named columns.

Example::

    model = ModelUnderTest.of(pipeline.predict, rows=test_frame)
    model.invariance("sex", {"Male": "Female", "Female": "Male"}).holds(at_most=0.01)

A rate is judged on the upper end of its 95 % interval, as every gate here is. ``holds()`` without a
rate asks for no exception among the rows tried, and says nothing of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.intervals import Interval, wilson
from gatewright.integrations.rows import column_of, count_of, names_of, taken, with_column
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.reports.texts import visible

SHOWN = 8
"""Most rows that a failure shows, the worst first."""
CELL = 32
"""Most characters of a cell in that table."""
NAMED = 12
"""Most columns that an error names."""

Change: TypeAlias = "Mapping[Any, Any] | Callable[[NDArray[Any]], Any] | float"
Scores: TypeAlias = "Mapping[str, NDArray[np.float64]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a model says of n rows: its answers, shape (n,), and scores by what they are the score of.

    The scores of a model without classes stand under ``""``.
    """

    labels: NDArray[Any]
    scores: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One row that was tried: its name, what was changed, and the answers before and after."""

    row: str
    change: str
    answer: str
    score: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How often a model broke a promise, over the rows that were tried.

    ``worst`` holds the exceptions, the largest first, at most ``SHOWN``.
    """

    promise: str
    tried: int
    broken: int
    worst: tuple[Exchange, ...]

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the rate of exceptions (Wilson 1927)."""
        return wilson(self.broken, self.tried)

    def holds(self, at_most: float = 0.0) -> None:
        """Raise AssertionError unless the promise holds.

        With ``at_most``, a share from 0 to 1, the upper end of the rate's interval may not lie above
        it; so few rows have to show more. Without, no row tried may be an exception.
        """
        __tracebackhide__ = True
        if not 0 <= at_most < 1:
            raise Misuse(
                "integrations.share",
                f"at_most is a share from 0 to less than 1, not {at_most!r}.",
                next="Write at_most=0.01 for one row in a hundred.",
            )
        kept = self.interval.high <= at_most if at_most else self.broken == 0
        if not kept:
            raise AssertionError(self.sentence(at_most))

    def sentence(self, at_most: float = 0.0) -> str:
        """What was promised and what was seen, with the worst rows as a table."""
        said = f"{self.promise}: {self.broken:,} of {self.tried:,} rows are exceptions"
        if not at_most:
            return "\n".join([f"{said}; none may be.", *_table(self.worst)])
        rate, seen = _percent(self.broken / self.tried), self.interval
        between = f"{_percent(seen.low)} to {_percent(seen.high)}"
        said += f" ({rate}, 95 % interval {between}); at most {_percent(at_most)} may be."
        if self.broken / self.tried <= at_most:
            said += f" {self.tried:,} rows are too few to promise that."
        return "\n".join([said, *_table(self.worst)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """The rows that were tried: their names, what was done to each, and the answers before and after."""

    rows: Sequence[str]
    told: Sequence[str]
    before: Answers
    after: Answers


@dataclass(slots=True, kw_only=True)
class ModelUnderTest:
    """A model and the rows it is tried on.

    ``rows`` is a frame of pandas or polars, or a mapping of column names to arrays of shape (n,);
    ``ask`` takes rows of the same form.
    """

    rows: Any = field(repr=False)
    ask: Callable[[Any], Answers] = field(repr=False)
    _asked: Answers | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(
        cls, predict: Callable[[Any], Any], rows: Any, *, score: Callable[[Any], Any] | None = None
    ) -> ModelUnderTest:
        """Anything that can be called: ``predict`` gives one answer for each row, ``score`` one number.

        Decimal numbers that ``predict`` gives are scores too. Raises BadInput, when it is asked, for
        answers of another shape and for scores that are no finite numbers.
        """

        def ask(asked: Any) -> Answers:
            size = count_of(asked)
            labels = _one_each(predict(asked), size, "predict")
            if score is None and labels.dtype.kind != "f":
                return Answers(labels=labels, scores={})
            return Answers(
                labels=labels, scores={"": _numbers(labels if score is None else score(asked), size)}
            )

        return cls(rows=rows, ask=ask)

    def invariance(self, column: str, change: Change, *, within: float | None = None) -> Behaviour:
        """Changing ``column`` must leave the answer, or with ``within`` move no score further than that.

        ``change`` maps values to others (rows with other values are not tried), or is a function of
        the column's values, or a number to add. Only rows that it changes are tried.
        """
        tried = self._changed(column, change)
        moved = _moved(tried.before, tried.after)
        if within is None:
            wrong = np.asarray(tried.before.labels != tried.after.labels, dtype=bool)
            return _behaviour(f"The answer does not depend on {column}", tried, wrong, moved)
        _require_scores(tried.before)
        promise = f"No score moves by more than {within:g} with {column}"
        return _behaviour(promise, tried, ~(moved <= within), moved)

    def direction(
        self,
        column: str,
        change: Change,
        *,
        score: Literal["up", "down"],
        of: str = "",
        slack: float = 0.0,
    ) -> Behaviour:
        """Changing ``column`` must not move the score the other way by more than ``slack``.

        ``of`` names the class whose score is meant; without it the value of a regression, or the
        second of two classes.
        """
        if score not in {"up", "down"}:
            raise Misuse("integrations.direction", f"score is 'up' or 'down', not {score!r}.")
        tried = self._changed(column, change)
        which = _class_of(tried.before, of)
        rise = tried.after.scores[which] - tried.before.scores[which]
        against = -rise if score == "up" else rise
        named = f" of {which}" if which else ""
        promise = f"The score{named} goes {score} or stays with {column}"
        return _behaviour(promise, tried, ~(against <= slack), against, which)

    def gives(
        self,
        expected: Any,
        *,
        to: Mapping[str, Mapping[str, Any]] | Sequence[Mapping[str, Any]],
        within: float = 0.0,
    ) -> Behaviour:
        """These rows, each a mapping of columns to values, must get this answer, a number up to ``within``.

        Names may stand before the rows: ``to={"rich": {...}, "poor": {...}}``.
        """
        named = to if isinstance(to, Mapping) else {str(number): row for number, row in enumerate(to, 1)}
        if not named:
            raise Misuse("integrations.no-rows", "There are no rows to try.")
        columns = names_of(next(iter(named.values())))
        for name, row in named.items():
            if set(row) != set(columns):
                odd = sorted(set(row) ^ set(columns))[:NAMED]
                raise Misuse(
                    "integrations.row-columns",
                    f"Row {name} has other columns than the first: {', '.join(map(str, odd))}.",
                    next="Give every row the same columns.",
                )
        listed = {each: [row[each] for row in named.values()] for each in columns}
        found = self.ask(taken(self.rows, listed))
        wrong = np.array(
            [not _near(answer, expected, within) for answer in found.labels.tolist()], dtype=bool
        )
        told = [", ".join(f"{each}={_cell(row[each])}" for each in columns) for row in named.values()]
        tried = _Tried(rows=list(named), told=told, before=found, after=found)
        promise = f"The answer to these rows is {expected}"
        return _behaviour(promise, tried, wrong, wrong.astype(np.float64))

    def _changed(self, column: str, change: Change) -> _Tried:
        """The rows that the change changes, and what the model says of them before and after."""
        old = column_of(self.rows, column)
        new = _new_values(column, old, change)
        pairs = list(zip(old.tolist(), new.tolist(), strict=True))
        touched = np.array([not _same(a, b) for a, b in pairs], dtype=bool)
        if not touched.any():
            raise Misuse(
                "integrations.nothing-changed",
                f"The change touches no row: no value of {column} becomes another.",
                why=f"It holds, for example: {', '.join(_cell(each) for each in old[:5].tolist())}.",
            )
        if self._asked is None:
            self._asked = self.ask(self.rows)
        after = self.ask(with_column(self.rows, column, new))
        at = np.flatnonzero(touched).tolist()
        return _Tried(
            rows=[str(number + 1) for number in at],
            told=[f"{_cell(pairs[number][0])} → {_cell(pairs[number][1])}" for number in at],
            before=_only(self._asked, touched),
            after=_only(after, touched),
        )


def _one_each(given: Any, size: int, what: str) -> NDArray[Any]:
    values = np.asarray(given)
    if values.shape != (size,):
        raise BadInput(
            "integrations.answers",
            f"{what} gave answers of shape {values.shape} for {size:,} rows; it must be one for each.",
            next="For probabilities, give one column: score=lambda rows: model.predict_proba(rows)[:, 1].",
        )
    return values


def _numbers(given: Any, size: int) -> NDArray[np.float64]:
    values = _one_each(given, size, "score")
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise BadInput("integrations.scores", "score gave something that is no number.") from None
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0]) + 1
        raise BadInput("integrations.scores", "A score is not a finite number.", place=f"row {row}")
    return numbers


def _new_values(column: str, old: NDArray[Any], change: Change) -> NDArray[Any]:
    if isinstance(change, Mapping):
        values = [change.get(value, value) for value in old.tolist()]
        return np.array(values, dtype=object if old.dtype == object else None)
    if not callable(change):
        return np.asarray(_numeric(column, old) + change)
    new = np.asarray(change(old))
    if new.shape != old.shape:
        raise BadInput(
            "integrations.change",
            f"The change of {column} gave shape {new.shape} for {len(old):,} rows.",
            next="Give a function from an array of values to an array as long.",
        )
    return new


def _numeric(column: str, old: NDArray[Any]) -> NDArray[Any]:
    if old.dtype.kind not in "iuf":
        raise Misuse(
            "integrations.not-numeric",
            f"{column} holds no numbers, so nothing can be added to it.",
            next="Give a mapping of values, or a function.",
        )
    return old


def _class_of(answers: Answers, of: str) -> str:
    """Whose score is meant."""
    _require_scores(answers)
    names = list(answers.scores)
    if of in answers.scores:
        return of
    if of == "" and len(names) == 2:
        return names[1]
    raise Misuse(
        "integrations.which-score",
        f"The model has no score of {of!r}."
        if of
        else f"The model has {len(names)} scores; say which is meant.",
        next=f"Write of=… with one of: {', '.join(names[:NAMED])}." if names != [""] else "Leave of= out.",
    )


def _require_scores(answers: Answers) -> None:
    if not answers.scores:
        raise Misuse(
            "integrations.no-score",
            "The model gives answers and no score, so no score can be compared.",
            next="Give score=lambda rows: model.predict_proba(rows)[:, 1].",
        )


def _only(answers: Answers, rows: NDArray[np.bool_]) -> Answers:
    return Answers(
        labels=answers.labels[rows], scores={name: values[rows] for name, values in answers.scores.items()}
    )


def _moved(before: Answers, after: Answers) -> NDArray[np.float64]:
    """How far the score that moved most did, for each row; 1 for an answer without scores."""
    if not before.scores:
        return np.ones(len(before.labels))
    moves = [np.abs(after.scores[name] - before.scores[name]) for name in before.scores]
    return np.asarray(np.max(moves, axis=0), dtype=np.float64)


def _behaviour(
    promise: str,
    tried: _Tried,
    wrong: NDArray[np.bool_],
    sizes: NDArray[np.float64],
    which: str | None = None,
) -> Behaviour:
    """Count the exceptions, and tell of the largest. Without ``which`` the last class's score is shown."""
    shown = which if which is not None else next(iter(list(tried.before.scores)[-1:]), None)
    worst = np.flatnonzero(wrong)
    worst = worst[np.argsort(-sizes[worst], kind="stable")][:SHOWN]
    return Behaviour(
        promise=promise,
        tried=len(tried.rows),
        broken=int(wrong.sum()),
        worst=tuple(
            Exchange(
                row=_cell(tried.rows[at]),
                change=tried.told[at],
                answer=_pair(tried.before.labels[at], tried.after.labels[at]),
                score=""
                if shown is None
                else _pair(tried.before.scores[shown][at], tried.after.scores[shown][at]),
            )
            for at in worst.tolist()
        ),
    )


def _pair(old: Any, new: Any) -> str:
    return _cell(old) if _cell(old) == _cell(new) else f"{_cell(old)} → {_cell(new)}"


def _same(old: Any, new: Any) -> bool:
    """Equal, or both no number."""
    return bool(old == new) or (old != old and new != new)  # noqa: PLR0124 - NaN


def _near(answer: Any, expected: Any, within: float) -> bool:
    return _same(answer, expected) or bool(within and abs(answer - expected) <= within)


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    return visible(text.replace("\n", " "))[:CELL]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.1f} %"


def _table(worst: Sequence[Exchange]) -> list[str]:
    """The worst rows in columns, for a terminal."""
    lines = [("row", "change", "answer", "score")]
    lines += [(each.row, each.change, each.answer, each.score) for each in worst]
    widths = [max(len(line[at]) for line in lines) for at in range(4)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
        if worst
    ]
