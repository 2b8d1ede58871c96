"""Whether the model is worth having: better than a constant answer, and than a straight line.

**Question.** Does the model beat always giving the same answer? And does it beat a linear model of
the same columns, which is smaller, faster and easier to explain?

**Method.** Both simple models learn from the locked train rows and answer the same test rows as the
model. The constant one answers the most frequent class and states the classes' shares; for values
it answers the mean (measure ``mse``) and the median (measure ``mae``). The linear one is logistic
regression for classes and ridge regression for values (see ``linear``). Each difference is paired,
row by row: accuracy by McNemar's exact test with the interval of Bonett & Price (2012); balanced
accuracy by class; ROC-AUC by DeLong (1988); losses and errors by Student's paired t. The tests of
one comparison hold together (Holm 1979). The check fails where no measure shows the model to be
better than this constant *and* than the best constant of the test rows themselves (their most
frequent class and shares, their mean and median): a shifted class balance alone is no merit. How it stands against the straight line is told, and decides nothing here:
a policy may put a bound on a ``-over-linear`` number. Gains are turned so that above zero the model
is better.

**Not shown.** That the model is good enough for its use. The straight line sees texts only by their
frequent values, and at most ``linear.MOST_COLUMNS`` columns and ``linear.MOST_ROWS`` rows; a line
somebody tuned by hand may be better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gatewright.checks.answers import (
    NO_CLASS,
    ClassAnswers,
    Floats,
    Indices,
    NoAnswers,
    ValueAnswers,
    answers_of,
    class_indices,
)
from gatewright.checks.case import Case
from gatewright.checks.contrasts import Contrast, contrasts
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import FEWEST_VALUES
from gatewright.checks.performance import linear
from gatewright.checks.performance.shuffling import features_of
from gatewright.datasets.table import Kind, Table
from gatewright.kernel.canonical import Json
from gatewright.models.signature import Task

NAME = "performance.baseline"
TITLE = "Is the model better than a constant answer and a straight line?"
_CLASSES = (Task.BINARY, Task.MULTICLASS)
_MEASURES = {
    "accuracy": _CLASSES,
    "balanced-accuracy": _CLASSES,
    "log-loss": _CLASSES,
    "roc-auc": (Task.BINARY,),
    "mae": (Task.REGRESSION,),
    "mse": (Task.REGRESSION,),
}
METRICS = {
    f"{name}-over-{simple}": tasks for simple in ("constant", "linear") for name, tasks in _MEASURES.items()
}

Compared = ClassAnswers | ValueAnswers


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """None: which gains are enough is for the policy to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """What the straight line answered, and in words what it saw."""

    answers: Compared
    seen: dict[str, Json]


def run(case: Case, parameters: Parameters) -> Finding:  # noqa: ARG001 - every check takes its parameters
    """Compare the model with the constant and with the linear model."""
    found = answers_of(case)
    if isinstance(found, NoAnswers):
        return _unknown(found.reason, found.next)
    if len(found.rows) < FEWEST_VALUES:
        return _unknown(f"There are {len(found.rows)} test rows with an answer.", "Give at least 30.")
    learned = _learned(case)
    if learned is None:
        return _unknown(
            f"The training rows have no column {case.target!r} with answers that fit the model.",
            "Keep the target in the training rows; the simple models learn from it.",
        )
    train, truth = learned
    over_constant = _over_constant(found, _learned_constant(found, truth))
    over_best = _over_constant(found, _best_constant(found))
    line = _line(case, train, truth, found)
    over_linear = contrasts(found, line.answers) if line is not None else ()
    return _finding(found, truth, (over_constant, over_best), over_linear, line)


def _unknown(reason: str, advice: str) -> Finding:
    return Finding(
        check=NAME,
        outcome=Outcome.UNKNOWN,
        summary="The model was not compared with a simple one.",
        reason=reason,
        next=advice,
    )


def _learned(case: Case) -> tuple[Table, Indices | Floats] | None:
    """The train rows that have an answer, with it: class indices or values."""
    if case.target not in case.train:
        return None
    column = case.train.column(case.target)
    if case.signature.task is Task.REGRESSION:
        if column.kind is Kind.TEXT:
            return None
        values = column.values.astype(np.float64)
        kept = np.isfinite(values) & ~column.missing
        answers: Indices | Floats = values[kept]
    else:
        indices = class_indices(column, case.signature.classes)
        kept = indices != NO_CLASS
        answers = indices[kept]
    return (case.train.take(kept), answers) if kept.any() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Constant:
    """One answer for every row: shares of the classes, shape (K,), or a value for each measure."""

    shares: Floats
    values: dict[str, float]


def _learned_constant(found: Compared, truth: Indices | Floats) -> _Constant:
    if isinstance(found, ValueAnswers):
        return _middle(truth.astype(np.float64))
    counts = np.bincount(truth.astype(np.intp), minlength=len(found.classes))
    # one row more of each class: none is stated to be impossible
    return _Constant(shares=(counts + 1) / (counts.sum() + len(counts)), values={})


def _best_constant(found: Compared) -> _Constant:
    """What no constant can beat on the test rows; the shares are theirs exactly."""
    if isinstance(found, ValueAnswers):
        return _middle(found.truth)
    counts = np.bincount(found.truth, minlength=len(found.classes))
    return _Constant(shares=counts / counts.sum(), values={})


def _middle(truth: Floats) -> _Constant:
    return _Constant(
        shares=np.empty(0), values={"mae": float(np.median(truth)), "mse": float(np.mean(truth))}
    )


def _over_constant(found: Compared, constant: _Constant) -> tuple[Contrast, ...]:
    size = len(found.rows)
    if isinstance(found, ValueAnswers):
        kept = []
        for name, value in constant.values.items():
            always = replace(found, answer=np.full(size, value))
            kept += [each for each in contrasts(found, always) if each.name == name]
        return tuple(kept)
    always_one = replace(
        found,
        answer=np.full(size, int(constant.shares.argmax()), dtype=np.intp),
        scores=np.tile(constant.shares, (size, 1)),
    )
    return contrasts(found, always_one)


def _line(case: Case, train: Table, truth: Indices | Floats, found: Compared) -> _Line | None:
    """The linear model's answers; None where the columns say nothing to it."""
    wanted = features_of(case.signature)
    kinds = [
        {column.name: column.kind is Kind.TEXT for column in table.columns} for table in (train, case.test)
    ]
    names = tuple(
        name for name in wanted if all(name in each for each in kinds) and kinds[0][name] == kinds[1][name]
    )
    if isinstance(found, ValueAnswers):
        line = linear.fit_values(train, names, truth.astype(np.float64), case.seed)
        values = line.answers(case.test)[found.rows, 0]
        answers: Compared = replace(found, answer=values)
    else:
        line = linear.fit_classes(train, names, truth.astype(np.intp), len(found.classes), case.seed)
        stated = linear.probabilities(line, case.test)[found.rows]
        answers = replace(found, answer=stated.argmax(axis=1), scores=stated)
    if not line.scales:
        return None
    seen: dict[str, Json] = {
        "columns": len(line.scales),
        "columns_left_out": line.left_out + len(wanted) - len(names),
        "rows": line.rows,
        "weights": int(line.weights.size),
    }
    return _Line(answers=answers, seen=seen)


def _metrics(found: Sequence[Contrast], simple: str) -> list[Metric]:
    return [
        Metric(
            name=f"{each.name}-over-{simple}",
            value=each.gain.value,
            low=each.gain.low,
            high=each.gain.high,
            size=each.gain.size,
            method=each.gain.method,
        )
        for each in found
    ]


def _table(found: Sequence[Contrast]) -> list[Json]:
    return [
        {"measure": each.name, "model": each.left, "simple": each.right, "p_adjusted": each.adjusted}
        for each in found
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]


def _words(found: Sequence[Contrast]) -> str:
    """How the model stands against the straight line."""
    better = [each.name for each in found if each.better]
    worse = [each.name for each in found if each.worse]
    if not found:
        return "There was no straight line to compare with: the columns say nothing to one."
    if better and worse:
        return f"Against a straight line it is better in {_listed(better)} and worse in {_listed(worse)}."
    if better:
        return f"It is better than a straight line in {_listed(better)}."
    if worse:
        return f"A straight line is better in {_listed(worse)}: consider the simpler model."
    return "It is not shown to be better than a straight line: consider the simpler model."


def _finding(
    found: Compared,
    truth: Indices | Floats,
    over: tuple[Sequence[Contrast], Sequence[Contrast]],
    over_linear: Sequence[Contrast],
    line: _Line | None,
) -> Finding:
    """The outcome; ``over`` holds the gains over the constant of training, and over the best one there is."""
    over_constant, over_best = over
    best = {each.name for each in over_best if each.better}
    better = [each for each in over_constant if each.better and each.name in best]
    shifted = any(each.better for each in over_constant) and not better
    if isinstance(found, ClassAnswers):
        likely = found.classes[int(np.bincount(truth.astype(np.intp)).argmax())]
        constant = f"always answering {likely[:80]!r}"
    else:
        constant = "always answering the same value"
    evidence: dict[str, Json] = {
        "constant": constant,
        "over_constant": _table(over_constant),
        "over_best_constant": _table(over_best),
        "over_linear": _table(over_linear),
        "linear": None if line is None else line.seen,
        "multiplicity": "Holm",
        "against_linear": _words(over_linear),
    }
    metrics = (*_metrics(over_constant, "constant"), *_metrics(over_linear, "linear"))
    if not better:
        return Finding(
            check=NAME,
            outcome=Outcome.FAILED,
            summary="The model is not shown to be better than "
            f"{'the best constant answer' if shifted else constant}, on {len(found.rows)} test rows.",
            next="Look for features that say something about the target, or give more test rows.",
            metrics=metrics,
            evidence=evidence,
        )
    first = better[0]
    return Finding(
        check=NAME,
        outcome=Outcome.PASSED,
        summary=f"Better than {constant}: {first.name} {first.left:.4g} against {first.right:.4g}. "
        f"{_words(over_linear)}",
        metrics=metrics,
        evidence=evidence,
    )
