"""The cheap model sees every kind of column and answers only rows it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from gatewright.checks.data.additive import COMMONEST, WIDEST, design, outside
from gatewright.datasets.table import Table
from gatewright.testing.cases import number_column, text_column


def test_breast_cancer_is_answered_as_well_as_by_a_logistic_regression() -> None:
    """Accuracy on unseen rows is at least 0.94 (logistic regression: about 0.97)."""
    features, truth = load_breast_cancer(return_X_y=True)
    table = Table(columns=tuple(number_column(f"x{i}", features[:, i]) for i in range(features.shape[1])))
    assert (outside(table, truth, 2, 0).argmax(axis=1) == truth).mean() >= 0.94


def test_a_label_has_no_part_in_its_own_probability() -> None:
    """Noise cannot be learned: rows of pure noise are answered like guesses."""
    rng = np.random.default_rng(3)
    table = Table(columns=tuple(number_column(f"x{i}", rng.normal(size=600)) for i in range(20)))
    given = rng.integers(0, 2, 600)
    assert pytest.approx(0.5, abs=0.08) == (outside(table, given, 2, 0).argmax(axis=1) == given).mean()


def test_a_step_in_a_number_and_a_text_are_seen() -> None:
    """A middle range of a number, which no straight line sees, and a rare text decide the class."""
    rng = np.random.default_rng(1)
    values, texts = rng.normal(size=2_000), rng.choice(["a", "b", "c"], 2_000)
    given = ((np.abs(values) < 0.6) ^ (texts == "c")).astype(np.intp)
    only = np.abs(values) < 0.6
    table = Table(columns=(number_column("x", values),))
    assert (outside(table, only.astype(np.intp), 2, 0).argmax(axis=1) == only).mean() > 0.9
    both = Table(columns=(number_column("x", values), text_column("t", texts.tolist())))
    assert (outside(both, given, 2, 0).argmax(axis=1) == given).mean() > 0.6


def test_probabilities_add_up_to_one_whatever_is_missing() -> None:
    """Missing numbers, infinite ones, a column without a value and missing texts give probabilities."""
    columns = (
        number_column("x", np.where(np.arange(200) % 3 == 0, np.nan, np.arange(200.0))),
        number_column("far", np.where(np.arange(200) % 5 == 0, np.inf, 1.0)),
        number_column("none", np.full(200, np.nan)),
        text_column("t", ["", "a"] * 100),
    )
    found = outside(Table(columns=columns), np.arange(200) % 4, 4, 0)
    assert np.allclose(1.0, found.sum(axis=1), atol=1e-5)
    assert np.isfinite(found).all()


def test_the_design_is_bounded() -> None:
    """Texts share a last place beyond the commonest, and many columns never make more than the widest."""
    many = Table(columns=(text_column("t", [str(i) for i in range(500)]),))
    assert (500, 1 + COMMONEST) == design(many).shape
    wide = Table(columns=tuple(number_column(f"x{i}", np.arange(30.0)) for i in range(WIDEST + 50)))
    assert (30, WIDEST + 1) == design(wide).shape
