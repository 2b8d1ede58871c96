"""The straight line, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from gatewright.checks.performance import linear
from gatewright.datasets.table import Table
from gatewright.testing.cases import number_column, text_column


def _table(rows: int, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    columns = [number_column(f"x{index}", rng.normal(index, 1 + index, rows)) for index in range(4)]
    return Table(columns=(*columns, text_column("s", rng.choice(["a", "b", "c"], rows).tolist())))


def _standard(table: Table, like: Table) -> np.ndarray:
    parts = []
    for index in range(4):
        train = like.column(f"x{index}").values.astype(np.float64)
        parts.append((table.column(f"x{index}").values.astype(np.float64) - train.mean()) / train.std())
    texts = table.column("s").values
    return np.stack([*parts, *[(texts == text).astype(float) for text in "abc"]], axis=1)


NAMES = ("x0", "x1", "x2", "x3", "s")


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_those_of_the_reference(classes: int) -> None:
    """The probabilities are those of scikit-learn's logistic regression with the same penalty."""
    train, test = _table(400, 1), _table(100, 2)
    inputs = _standard(train, train)
    rng = np.random.default_rng(3)
    truth = (inputs[:, :classes] + rng.gumbel(size=(400, classes))).argmax(axis=1)
    found = linear.probabilities(linear.fit_classes(train, NAMES, truth, classes, 0), test)
    if classes == 2:  # two sets of weights, each penalised, are one set with half the penalty
        model = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000).fit(inputs, truth)
    else:
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(inputs, truth)
    np.testing.assert_allclose(model.predict_proba(_standard(test, train)), found, atol=1e-3)


def test_values_are_those_of_the_reference() -> None:
    """The values are those of scikit-learn's ridge regression."""
    train, test = _table(300, 4), _table(100, 5)
    inputs = _standard(train, train)
    truth = inputs @ np.arange(1.0, 8.0) + np.random.default_rng(6).normal(size=300)
    found = linear.fit_values(train, NAMES, truth, 0).answers(test)[:, 0]
    model = Ridge(alpha=1.0).fit(inputs, truth)
    np.testing.assert_allclose(model.predict(_standard(test, train)), found, rtol=1e-6)


def test_missing_and_far_numbers_do_not_tilt_the_line() -> None:
    """A missing number counts as the mean, an infinite or absurd one is held back."""
    train = Table(columns=(number_column("x", np.arange(100.0)),))
    line = linear.fit_values(train, ("x",), np.arange(100.0), 0)
    odd = Table(columns=(number_column("x", np.array([np.nan, 49.5, np.inf, 1e300])),))
    found = line.answers(odd)[:, 0]
    assert found[1] == pytest.approx(found[0])
    assert found[2] == found[3] < 500


def test_a_column_that_says_nothing_is_left_out() -> None:
    """A constant column, and one of unique texts, add nothing; beyond the width columns are left out."""
    rows = 200
    columns = [number_column("k", np.ones(rows)), text_column("id", [f"n{index}" for index in range(rows)])]
    wide = [
        number_column(f"x{index}", np.random.default_rng(index).normal(size=rows)) for index in range(405)
    ]
    table = Table(columns=(*columns, *wide))
    line = linear.fit_values(table, table.names, np.arange(float(rows)), 0)
    assert (linear.MOST_COLUMNS, 5) == (len(line.scales), line.left_out)


def test_many_rows_are_sampled_by_the_seed() -> None:
    """Beyond the limit a part of the rows is taken, the same part for the same seed."""
    rows = linear.MOST_ROWS + 1_000
    table = Table(columns=(number_column("x", np.random.default_rng(1).normal(size=rows)),))
    truth = np.random.default_rng(2).normal(size=rows)
    first, same, other = (linear.fit_values(table, ("x",), truth, seed) for seed in (1, 1, 2))
    assert linear.MOST_ROWS == first.rows
    assert first.weights.tolist() == same.weights.tolist() != other.weights.tolist()
