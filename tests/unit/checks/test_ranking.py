from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from gatewright.checks import ranking


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_the_area_agrees_with_scikit_learn(seed: int, levels: int) -> None:
    """The area is scikit-learn's, ties included, to 1e-12."""
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(80) < 30)
    scores = rng.integers(0, levels, 80) / levels
    found = ranking.area_under_curve(scores, positive)
    assert found is not None
    assert pytest.approx(roc_auc_score(positive, scores), abs=1e-12) == found[0]


@given(st.integers(0, 2**32 - 1))
def test_the_macro_area_agrees_with_scikit_learn(seed: int) -> None:
    """The one-vs-rest mean is scikit-learn's to 1e-12."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(90) % 3)
    scores = rng.dirichlet([1, 1, 1], 90)
    found = ranking.macro_area(scores, truth)
    assert found is not None
    assert pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"), abs=1e-12) == found[0]


def test_delong_variance_agrees_with_the_definition() -> None:
    """The placements are the structural components of DeLong's paper, computed pair by pair."""
    rng = np.random.default_rng(3)
    positive = rng.random(60) < 0.4
    scores = rng.integers(0, 9, 60).astype(float)
    pairs = scores[positive][:, None] - scores[~positive][None, :]
    kernel = (pairs > 0) + 0.5 * (pairs == 0)
    place = ranking.placements(scores, positive)
    assert pytest.approx(kernel.mean(axis=1)) == place[positive]
    assert pytest.approx(kernel.mean(axis=0)) == place[~positive]


@pytest.mark.parametrize(("ups", "downs"), [(5, 5), (60, 60), (200, 5)])
def test_a_perfect_ranking_keeps_an_honest_lower_bound(ups: int, downs: int) -> None:
    """An area of 1 has an upper bound of 1 and a lower bound that rows can raise, never 1."""
    positive = np.arange(ups + downs) < ups
    found = ranking.area_under_curve(positive.astype(float), positive)
    assert found is not None
    assert found[0] == 1
    assert found[1].high == 1
    assert 0.3 < found[1].low < 0.995
    worst = ranking.area_under_curve(-positive.astype(float), positive)
    assert worst is not None
    assert (0.0, 0.0) == (worst[0], worst[1].low)
    assert pytest.approx(1 - found[1].low) == worst[1].high


def test_too_few_rows_on_a_side_give_no_area() -> None:
    """Four positive rows are not enough, for two classes and for more."""
    assert ranking.area_under_curve(np.arange(50.0), np.arange(50) < 4) is None
    assert ranking.macro_area(np.ones((50, 3)) / 3, np.minimum(np.arange(50), 2).astype(np.intp)) is None
