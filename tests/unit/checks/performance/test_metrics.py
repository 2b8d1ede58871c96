from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from gatewright.checks.case import Case, Predictions
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.performance import metrics
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, text_column, with_column
from gatewright.testing.known_truth import classified, coverage, estimated

SEEDS = st.integers(0, 2**32 - 1)


def _run(found: Case, positive: str = "") -> Finding:
    return metrics.run(found, metrics.Parameters(positive_class=positive))


def _values(found: Finding) -> dict[str, float]:
    return {metric.name: metric.value for metric in found.metrics}


@settings(max_examples=40)
@given(SEEDS)
def test_two_classes_agree_with_scikit_learn(seed: int) -> None:
    """Every number for two classes is scikit-learn's to 1e-12."""
    sound = case(seed)
    truth, answer = sound.test.column(TARGET).values, sound.predictions.labels
    scores = sound.predictions.scores
    positive = (truth == "yes").astype(int)
    said = (answer == "yes").astype(int)
    expected = {
        "accuracy": oracle.accuracy_score(positive, said),
        "balanced-accuracy": oracle.balanced_accuracy_score(positive, said),
        "precision": oracle.precision_score(positive, said),
        "recall": oracle.recall_score(positive, said),
        "f1": oracle.f1_score(positive, said),
        "roc-auc": oracle.roc_auc_score(positive, scores[:, 1]),
        "log-loss": oracle.log_loss(positive, scores),
    }
    found = _values(_run(sound))
    found.pop("calibration-error")
    assert pytest.approx(expected, abs=1e-12) == found


@settings(max_examples=40)
@given(SEEDS)
def test_several_classes_agree_with_scikit_learn(seed: int) -> None:
    """Every number for three classes is scikit-learn's macro or one-vs-rest one to 1e-12."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(120) % 3)
    scores = rng.dirichlet([1, 1, 1], 120) + np.eye(3)[truth]
    scores /= scores.sum(axis=1, keepdims=True)
    said = scores.argmax(axis=1)
    expected = {
        "accuracy": oracle.accuracy_score(truth, said),
        "balanced-accuracy": oracle.balanced_accuracy_score(truth, said),
        "precision": oracle.precision_score(truth, said, average="macro"),
        "recall": oracle.recall_score(truth, said, average="macro"),
        "f1": oracle.f1_score(truth, said, average="macro"),
        "roc-auc": oracle.roc_auc_score(truth, scores, multi_class="ovr"),
        "log-loss": oracle.log_loss(truth, scores),
    }
    found = _values(_run(classified(Task.MULTICLASS, truth, scores)))
    found.pop("calibration-error")
    assert pytest.approx(expected, abs=1e-12) == found


@settings(max_examples=40)
@given(SEEDS, st.floats(0.01, 100))
def test_regression_agrees_with_scikit_learn(seed: int, scale: float) -> None:
    """RMSE, MAE and R² are scikit-learn's to 1e-12 of their size."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(5, 2, 80) * scale
    answer = truth + rng.normal(0, rng.uniform(0.1, 5), 80) * scale
    expected = {
        "mae": oracle.mean_absolute_error(truth, answer),
        "rmse": oracle.root_mean_squared_error(truth, answer),
        "r2": oracle.r2_score(truth, answer),
    }
    assert pytest.approx(expected, rel=1e-12, abs=1e-12) == _values(_run(estimated(truth, answer)))


def test_the_positive_class_can_be_named() -> None:
    """Precision and recall are about the second class unless another is named."""
    sound = case(4)
    first, second = _values(_run(sound)), _values(_run(sound, "no"))
    truth, answer = sound.test.column(TARGET).values == "no", sound.predictions.labels == "no"
    assert pytest.approx(oracle.precision_score(truth, answer)) == second["precision"]
    assert first["recall"] != second["recall"]
    assert pytest.approx(first["roc-auc"]) == second["roc-auc"]
    assert Outcome.UNKNOWN is _run(sound, "maybe").outcome


def _binary(truth: list[int], stated: list[float]) -> Case:
    scores = np.array(stated)
    return classified(Task.BINARY, np.array(truth), np.stack([1 - scores, scores], axis=1))


def test_a_perfect_model_keeps_honest_intervals() -> None:
    """All right: the value is 1 and the lower bound stays clearly below it."""
    found = _run(_binary([0, 1] * 30, [0.01, 0.99] * 30))
    bounds = {metric.name: (metric.value, metric.low) for metric in found.metrics}
    for name in ("accuracy", "balanced-accuracy", "precision", "recall", "f1", "roc-auc"):
        assert bounds[name][0] == 1
        assert 0.7 < bounds[name][1] < 0.99
    assert "log-loss" not in bounds


def test_numbers_without_meaning_are_left_out_with_a_note() -> None:
    """No positive row, no positive answer, one class: those numbers are absent and said to be."""
    found = _run(_binary([0] * 50, [0.1] * 50))
    assert {"accuracy", "calibration-error"} == set(_values(found))
    notes = " ".join(found.evidence["notes"])
    for name in ("balanced-accuracy", "precision", "recall", "f1", "roc-auc", "log-loss"):
        assert f"{name} is left out" in notes


def test_few_rows_give_shares_and_no_means() -> None:
    """Twelve rows allow Wilson's intervals, and no interval of a mean."""
    found = _run(_binary([0, 1] * 6, [0.2, 0.7, 0.6, 0.4] * 3))
    assert {"accuracy", "balanced-accuracy", "precision", "recall", "f1", "roc-auc"} == set(_values(found))


def test_a_model_without_scores_is_still_measured() -> None:
    """Labels alone give the shares; what needs scores is left out."""
    sound = case(4)
    found = _run(replace(sound, predictions=Predictions(labels=sound.predictions.labels)))
    assert {"accuracy", "balanced-accuracy", "precision", "recall", "f1"} == set(_values(found))


def test_scores_that_are_not_probabilities_only_rank() -> None:
    """Scores that do not add up to 1 give the area, and neither log loss nor calibration error."""
    sound = case(4)
    odd = Predictions(labels=sound.predictions.labels, scores=sound.predictions.scores * 3)
    found = _values(_run(replace(sound, predictions=odd)))
    assert "roc-auc" in found
    assert not {"log-loss", "calibration-error"} & set(found)


def test_answers_that_are_no_class_count_as_wrong() -> None:
    """A label outside the classes is a wrong answer, and is said."""
    sound = case(4)
    labels = sound.predictions.labels.copy()
    labels[:50] = "perhaps"
    found = _run(replace(sound, predictions=Predictions(labels=labels)))
    truth = sound.test.column(TARGET).values
    assert pytest.approx(float(np.mean(labels == truth))) == _values(found)["accuracy"]
    assert "50 answers are not one of the model's classes" in " ".join(found.evidence["notes"])


def test_labels_that_contradict_the_scores_are_counted() -> None:
    """Labels other than the class with the highest score are told with their exact count; ties and none are not."""
    sound = case(4)
    scores = sound.predictions.scores.copy()
    classes = np.array(sound.signature.classes, object)
    labels = classes[scores.argmax(axis=1)]
    scores[20:30] = 0.5
    labels[20:30] = classes[1]

    def notes(changed: np.ndarray) -> str:
        told = _run(replace(sound, predictions=Predictions(labels=changed, scores=scores)))
        return " ".join(told.evidence["notes"])

    assert "highest score" not in notes(labels)
    labels[:7] = classes[1 - scores[:7].argmax(axis=1)]
    assert "7 of 200 labels (3.50%, exact) are not the class with the highest score" in notes(labels)


def test_without_answers_the_outcome_is_unknown() -> None:
    """No predictions, no true answers: unknown with a reason."""
    sound = case(4)
    assert Outcome.UNKNOWN is _run(replace(sound, predictions=None)).outcome
    empty = with_column(sound.test, text_column(TARGET, [""] * 200))
    assert "No test row" in _run(replace(sound, test=empty)).reason
    few = estimated(np.arange(5.0), np.arange(5.0))
    assert "No metric could be computed" in _run(few).reason


def test_every_metric_names_its_interval_and_rows() -> None:
    """Each metric is inside an interval at 95 % with a method and the rows behind it."""
    for task in Task:
        for metric in _run(case(5, task)).metrics:
            assert metric.low <= metric.value <= metric.high
            assert (0.95, True) == (metric.confidence, bool(metric.method))
            assert 0 < metric.size <= 200


@pytest.mark.parametrize(
    "world",
    [
        "two classes, overconfident",
        "two classes, rare positives",
        "three classes, uneven",
        "regression, Laplace errors",
        "latency, log-normal",
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(world: str) -> None:
    """Over 300 seeded draws of 200 rows every interval holds the truth in at least 91 %."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = coverage(world, rows=200, draws=300, seed=3)
    assert found
    assert [] == [(one.metric, one.coverage) for one in found if one.coverage < 0.91]
