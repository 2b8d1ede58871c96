"""The comparison with a constant answer and with a straight line."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Case, Predictions
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.performance import baseline
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, text_column, with_column


def _run(found: Case) -> Finding:
    return baseline.run(found, baseline.Parameters())


def _value(found: Finding, name: str) -> float:
    return next(metric.value for metric in found.metrics if metric.name == name)


@pytest.mark.parametrize("task", list(Task))
def test_a_model_that_learned_the_line_is_no_better_than_one(task: Task) -> None:
    """The builders' model is linear: better than a constant, and not shown to be better than a line."""
    found = _run(case(1, task, train_rows=20_000, test_rows=600))
    assert Outcome.PASSED is found.outcome
    assert "consider the simpler model" in found.summary
    lines = [metric for metric in found.metrics if metric.name.endswith("-over-linear")]
    assert lines
    assert [] == [metric.name for metric in lines if metric.low > 0.02]


@pytest.mark.parametrize("task", list(Task))
def test_a_model_that_knows_nothing_fails(task: Task) -> None:
    """Answers that have nothing to do with the rows are not shown to be better than a constant."""
    sound = case(2, task, test_rows=400)
    assert sound.predictions is not None
    order = np.random.default_rng(3).permutation(400)
    scores = sound.predictions.scores
    mixed = Predictions(
        labels=sound.predictions.labels[order], scores=None if scores is None else scores[order]
    )
    found = _run(replace(sound, predictions=mixed))
    assert Outcome.FAILED is found.outcome
    assert "not shown to be better than always answering" in found.summary


def _curved(seed: int) -> Case:
    """Classes by the distance from the middle, which no line can tell."""
    sound = case(seed, test_rows=800)

    def truth(table: object) -> list[str]:
        x = table.column("x0").values.astype(np.float64)  # type: ignore[attr-defined]
        return np.where(np.abs(x) > 0.7, "yes", "no").tolist()

    train = with_column(sound.train, text_column(TARGET, truth(sound.train)))
    test = with_column(sound.test, text_column(TARGET, truth(sound.test)))
    labels = np.array(truth(sound.test), dtype=object)
    scores = np.where(labels[:, None] == np.array(["no", "yes"]), 0.9, 0.1)
    return replace(sound, train=train, test=test, predictions=Predictions(labels=labels, scores=scores))


def test_a_model_of_a_curve_is_better_than_a_line() -> None:
    """Where the truth is not linear, that is told, with the gain and its interval."""
    found = _run(_curved(4))
    assert Outcome.PASSED is found.outcome
    assert "better than a straight line in accuracy" in found.summary
    assert _value(found, "accuracy-over-linear") > 0.3


def test_a_rare_class_is_judged_by_more_than_accuracy() -> None:
    """A model that ranks a rare class well passes, though always answering the frequent one is as often right."""
    rng = np.random.default_rng(5)
    sound = case(5, test_rows=1_000)
    rare = rng.random(1_000) < 0.04
    test = with_column(sound.test, text_column(TARGET, np.where(rare, "yes", "no").tolist()))
    chance = np.where(rare, 0.30, 0.03) * rng.uniform(0.1, 1.5, 1_000)
    predictions = Predictions(
        labels=np.full(1_000, "no", dtype=object), scores=np.stack([1 - chance, chance], axis=1)
    )
    learned = with_column(sound.train, text_column(TARGET, (["no"] * 24 + ["yes"]) * 12))
    found = _run(replace(sound, train=learned, test=test, predictions=predictions))
    assert Outcome.PASSED is found.outcome
    assert 0.0 == _value(found, "accuracy-over-constant")
    assert _value(found, "roc-auc-over-constant") > 0.4


def test_few_rows_are_unknown() -> None:
    """Below thirty test rows nothing is compared."""
    assert Outcome.UNKNOWN is _run(case(6, test_rows=29)).outcome


def test_without_training_answers_it_is_unknown() -> None:
    """The simple models learn from the train split, so its answers are needed."""
    sound = case(7)
    found = _run(replace(sound, train=sound.train.without([TARGET])))
    assert Outcome.UNKNOWN is found.outcome
    assert TARGET in found.reason


def test_the_constant_of_values_is_their_middle() -> None:
    """The gain over the constant is that over the mean (mse) and over the median (mae) of training."""
    sound = case(8, Task.REGRESSION, test_rows=300)
    learned = np.random.default_rng(9).exponential(4.0, 300)
    skewed = replace(sound, train=with_column(sound.train, number_column(TARGET, learned)))
    truth = sound.test.column(TARGET).values.astype(np.float64)
    assert sound.predictions is not None
    answer = sound.predictions.labels.astype(np.float64)
    found = _run(skewed)
    expected = np.mean((truth - learned.mean()) ** 2) - np.mean((truth - answer) ** 2)
    assert expected == pytest.approx(_value(found, "mse-over-constant"))
    expected = np.mean(np.abs(truth - np.median(learned))) - np.mean(np.abs(truth - answer))
    assert expected == pytest.approx(_value(found, "mae-over-constant"))


def _shifted(seed: int, task: Task) -> Case:
    """A case whose training answers are mostly the first class, or far below those of the test rows."""
    sound = case(seed, task, train_rows=3_000, test_rows=3_000)
    column = sound.train.column(TARGET)
    if task is Task.REGRESSION:
        values = column.values.astype(np.float64) - 5.0
        return replace(sound, train=with_column(sound.train, number_column(TARGET, values)))
    first = column.values == sound.signature.classes[0]
    others = np.flatnonzero(~first)[:100]
    return replace(sound, train=sound.train.take(np.concatenate([np.flatnonzero(first), others])))


@pytest.mark.parametrize("task", list(Task))
def test_a_constant_is_no_better_where_the_balance_has_shifted(task: Task) -> None:
    """The best constant of the test rows beats the one learned from other rows, and is no model for that."""
    shifted = _shifted(6, task)
    truth = shifted.test.column(TARGET).values
    if task is Task.REGRESSION:
        constant = Predictions(labels=np.full(3_000, float(np.mean(truth.astype(np.float64)))))
    else:
        shares = np.array([(truth == name).mean() for name in shifted.signature.classes])
        likely = shifted.signature.classes[int(shares.argmax())]
        constant = Predictions(
            labels=np.full(3_000, likely, dtype=object), scores=np.tile(shares, (3_000, 1))
        )
    found = _run(replace(shifted, predictions=constant))
    assert Outcome.FAILED is found.outcome
    assert "the best constant answer" in found.summary
    assert [] == [row["measure"] for row in found.evidence["over_best_constant"] if row["p_adjusted"] < 0.05]  # type: ignore[index,union-attr,operator,call-overload]


@pytest.mark.parametrize("task", list(Task))
def test_a_model_of_shifted_rows_still_passes(task: Task) -> None:
    """A model that knows the rows is better than either constant."""
    assert Outcome.PASSED is _run(_shifted(6, task)).outcome
