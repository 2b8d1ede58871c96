"""Two sets of answers, measure by measure, against scikit-learn's values."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from gatewright.checks.answers import ClassAnswers, ValueAnswers
from gatewright.checks.contrasts import contrasts, probabilities

ROWS = np.arange(400)


def _answers(seed: int, sharp: float, classes: int = 2) -> ClassAnswers:
    rng = np.random.default_rng(7)
    truth = rng.integers(0, classes, 400)
    rng = np.random.default_rng(seed)
    odds = rng.normal(size=(400, classes)) + sharp * np.eye(classes)[truth]
    scores = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    names = tuple("abc"[:classes])
    return ClassAnswers(classes=names, truth=truth, answer=scores.argmax(axis=1), scores=scores, rows=ROWS)


def test_the_values_are_those_of_scikit_learn() -> None:
    """Accuracy, balanced accuracy, log loss and area of either side are the reference's."""
    left, right = _answers(1, 2.0), _answers(2, 1.0)
    found = {each.name: (each.left, each.right) for each in contrasts(left, right)}
    for index, side in enumerate((left, right)):
        assert side.scores is not None
        expected = {
            "accuracy": reference.accuracy_score(side.truth, side.answer),
            "balanced-accuracy": reference.balanced_accuracy_score(side.truth, side.answer),
            "log-loss": reference.log_loss(side.truth, side.scores),
            "roc-auc": reference.roc_auc_score(side.truth, side.scores[:, 1]),
        }
        assert expected == pytest.approx({name: pair[index] for name, pair in found.items()})


def test_a_better_model_is_better_in_every_measure() -> None:
    """The sharper scores win each measure; seen from the other side they lose each."""
    left, right = _answers(1, 2.0), _answers(2, 0.5)
    assert [True] * 4 == [each.better for each in contrasts(left, right)]
    assert [True] * 4 == [each.worse for each in contrasts(right, left)]


def test_equal_answers_are_neither() -> None:
    """A model compared with itself is neither better nor worse."""
    same = _answers(1, 1.0, classes=3)
    found = contrasts(same, same)
    assert [("accuracy", False), ("balanced-accuracy", False), ("log-loss", False)] == [
        (each.name, each.better or each.worse) for each in found
    ]


def test_values_are_compared_by_absolute_and_squared_errors() -> None:
    """The gain of mae and mse is above zero for the model with smaller errors."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=400)
    left = ValueAnswers(truth=truth, answer=truth + rng.normal(0, 0.5, 400), rows=ROWS)
    right = ValueAnswers(truth=truth, answer=truth + rng.normal(0, 1, 400), rows=ROWS)
    found = contrasts(left, right)
    assert [("mae", True), ("mse", True)] == [(each.name, each.better) for each in found]
    expected = reference.mean_squared_error(truth, left.answer)
    assert expected == pytest.approx(found[1].left)


def test_scores_that_are_no_probabilities_have_no_log_loss() -> None:
    """Margins are ranked, and nothing is stated by them."""
    right = _answers(2, 1.0)
    assert right.scores is not None
    margins = ClassAnswers(
        classes=right.classes, truth=right.truth, answer=right.answer, scores=right.scores * 5, rows=ROWS
    )
    assert probabilities(margins) is None
    assert ["accuracy", "balanced-accuracy", "roc-auc"] == [each.name for each in contrasts(margins, right)]
