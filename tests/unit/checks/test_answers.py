from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.answers import ClassAnswers, NoAnswers, answers_of, class_indices, label_indices
from gatewright.checks.case import Case, Predictions
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, text_column, with_column


def test_numeric_targets_match_class_names_by_number() -> None:
    """The numbers 0.0 and 1.0 are the classes "0" and "1"; anything else is no class."""
    column = number_column("y", np.array([0.0, 1.0, np.nan, 2.0]))
    assert [0, 1, -1, -1] == class_indices(column, ("0", "1")).tolist()
    assert [0, 1, -1, -1] == class_indices(column, ("0.0", "1.0")).tolist()


def test_labels_match_by_name_or_number() -> None:
    """Labels are matched as text, and as numbers where both are."""
    assert [0, 1, 1, -1] == label_indices(np.array(["0", "1", "1.0", "x"], object), ("0", "1")).tolist()


def test_rows_without_a_true_answer_are_left_out() -> None:
    """Rows whose target is missing are not compared, and the rest keep their row numbers."""
    sound = case(1)
    texts = ["", *sound.test.column(TARGET).values[1:]]
    found = answers_of(replace(sound, test=with_column(sound.test, text_column(TARGET, texts))))
    assert isinstance(found, ClassAnswers)
    assert list(range(1, 200)) == found.rows.tolist()


def _shorter(sound: Case) -> Case:
    return replace(sound, predictions=Predictions(labels=np.array(["yes"], object)))


def _unknown_class(sound: Case) -> Case:
    return replace(sound, test=with_column(sound.test, text_column(TARGET, ["maybe"] * 200)))


def _not_finite(sound: Case) -> Case:
    return replace(sound, predictions=Predictions(labels=np.full(200, np.inf)))


def _text_target(sound: Case) -> Case:
    return replace(sound, test=with_column(sound.test, text_column(TARGET, ["many"] * 200)))


def _wide_scores(sound: Case) -> Case:
    labels = np.array(["yes"] * 200, object)
    return replace(sound, predictions=Predictions(labels=labels, scores=np.ones((200, 3))))


@pytest.mark.parametrize(
    ("task", "bend", "word"),
    [
        (Task.BINARY, lambda sound: replace(sound, predictions=None), "not given"),
        (Task.BINARY, lambda sound: replace(sound, target="nothing"), "no column"),
        (Task.BINARY, _shorter, "1 answers for 200"),
        (Task.BINARY, _unknown_class, "does not know"),
        (Task.BINARY, _wide_scores, "shape"),
        (Task.REGRESSION, _not_finite, "not a finite number"),
        (Task.REGRESSION, _text_target, "holds text"),
    ],
)
def test_answers_that_cannot_be_compared_say_why(task: Task, bend, word: str) -> None:
    """Each fault gives a reason and something to do."""
    found = answers_of(bend(case(1, task)))
    assert isinstance(found, NoAnswers)
    assert word in found.reason
    assert found.next
