from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Case
from gatewright.checks.data import schema
from gatewright.checks.finding import Finding, Outcome
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, signature, text_column, with_column

SOUND = case(1)
OPEN = replace(SOUND, signature=signature(Task.BINARY, ()))
"""The same case with a model that names no columns: every column counts as its own."""


def _run(found: Case) -> Finding:
    return schema.run(found, schema.Parameters())


def _put(found: Case, column, side: str = "test") -> Case:
    return replace(found, **{side: with_column(getattr(found, side), column)})


def _holes(count: int):
    values = np.zeros(200)
    values[:count] = np.nan
    return number_column("x1", values)


def test_splits_that_agree_pass() -> None:
    """Equal columns and sound targets pass without a problem."""
    found = _run(SOUND)
    assert Outcome.PASSED is found.outcome
    assert 0 == found.metrics[0].value


@pytest.mark.parametrize(
    ("bent", "word"),
    [
        (replace(SOUND, test=SOUND.test.without(["x0"])), "lack"),
        (replace(SOUND, train=SOUND.train.without(["x0"])), "training rows lack"),
        (replace(OPEN, test=OPEN.test.without(["site"])), "lack the column 'site'"),
        (_put(OPEN, number_column("new", np.zeros(200))), "'new'"),
        (_put(SOUND, text_column("x0", ["a"] * 200)), "holds number in training and text"),
        (
            _put(_put(SOUND, text_column("x0", ["a"] * 200)), text_column("x0", ["a"] * 300), "train"),
            "takes numbers",
        ),
        (_put(SOUND, _holes(40)), "lacks a value in 20.00%"),
        (_put(SOUND, _holes(200)), "no value at all"),
        (_put(SOUND, number_column("x0", np.full(200, 99.0))), "outside the training range"),
        (
            _put(OPEN, text_column("site", ["moon"] * 50 + ["north"] * 150)),
            "a text, which training never has",
        ),
        (replace(SOUND, target="nothing"), "no target column"),
        (_put(SOUND, text_column(TARGET, ["yes"] * 200)), "a single class"),
        (_put(SOUND, text_column(TARGET, ["perhaps", *["yes", "no"] * 99, "no"])), "'perhaps'"),
        (_put(SOUND, text_column(TARGET, ["", *["yes", "no"] * 99, "no"])), "missing in 1 of 200"),
        (_put(case(1, Task.REGRESSION), text_column(TARGET, ["much"] * 200)), "task is regression"),
    ],
)
def test_each_disagreement_fails_in_a_sentence(bent: Case, word: str) -> None:
    """Each fault fails the check, is said in a sentence and comes with advice."""
    found = _run(bent)
    assert Outcome.FAILED is found.outcome
    assert any(word in problem for problem in found.evidence["problems"])
    assert found.next


@pytest.mark.parametrize(
    ("bent", "word"),
    [
        (_put(SOUND, _holes(2)), "lacks a value"),
        (_put(SOUND, text_column("site", ["moon"] * 200)), "a text, which training never has"),
        (_put(SOUND, number_column("x0", np.zeros(300)), "train"), "one value in all training rows"),
        (_put(SOUND, number_column("x9", np.zeros(200))), "'x9'"),
        (case(1, Task.MULTICLASS, test_rows=2), "No test row has the class"),
    ],
)
def test_small_matters_are_noted(bent: Case, word: str) -> None:
    """What may be chance, or concerns no column of the model, is a note."""
    found = _run(bent)
    assert any(word in note for note in found.evidence["notes"])
    assert not any(word in problem for problem in found.evidence["problems"])


def test_a_share_fails_on_its_lower_bound_alone() -> None:
    """Two missing of 200 may be below 1 %; ten cannot be."""
    assert Outcome.PASSED is _run(_put(SOUND, _holes(2))).outcome
    assert Outcome.FAILED is _run(_put(SOUND, _holes(10))).outcome


def test_no_rows_are_unknown() -> None:
    """Without rows there is nothing to compare."""
    found = _run(replace(SOUND, test=SOUND.test.take(np.empty(0, np.intp))))
    assert Outcome.UNKNOWN is found.outcome
    assert "no test rows" in found.reason
