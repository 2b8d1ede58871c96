"""Differences on the same rows: against independent implementations, and by simulation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gatewright.checks.intervals import most_by_chance
from gatewright.checks.paired import (
    SAME,
    Difference,
    areas,
    holm,
    mcnemar,
    mean_shares,
    means,
    shares,
)

DRAWS = 1_000
"""Of each simulation; at 95 % at most 1 in 1,000 of such simulations misses more than this allows."""
MISSES = most_by_chance(DRAWS, 0.05, 0.001)

Drawn = tuple[Difference | None, float]


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_the_binomial_test(only_left: int, only_right: int) -> None:
    """The exact p-value is that of an independent binomial test of one half."""
    if only_left + only_right:
        expected = stats.binomtest(only_left, only_left + only_right, 0.5).pvalue
        assert expected == pytest.approx(mcnemar(only_left, only_right))
    else:
        assert mcnemar(0, 0) == 1.0


def test_the_mean_difference_is_the_paired_t_test() -> None:
    """With many rows and light tails the p-value and the interval are those of SciPy's paired t-test."""
    rng = np.random.default_rng(1)
    left, right = rng.normal(0.03, 1, 4_000), rng.normal(0, 1, 4_000)
    expected, found = stats.ttest_rel(left, right), means(left, right)
    assert found is not None
    assert expected.pvalue == pytest.approx(found.p, rel=0.01)
    interval = expected.confidence_interval()
    assert (interval.low, interval.high) == pytest.approx((found.low, found.high), rel=0.01)


def _brute_area(scores: np.ndarray, positive: np.ndarray) -> float:
    ups, downs = scores[positive][:, None], scores[~positive][None, :]
    return float(((ups > downs) + 0.5 * (ups == downs)).mean())


def test_the_area_difference_is_the_difference_of_the_areas() -> None:
    """The value is that of counting all pairs of rows, ties included."""
    rng = np.random.default_rng(2)
    positive = rng.random(200) < 0.4
    left = np.round(rng.normal(size=200) + positive, 1)
    right = np.round(rng.normal(size=200), 1)
    found = areas(left, right, positive)
    assert found is not None
    assert _brute_area(left, positive) - _brute_area(right, positive) == pytest.approx(found.value)


def test_the_area_variance_is_the_jackknife_variance() -> None:
    """DeLong's interval is as wide as one from leaving rows out, one at a time."""
    rng = np.random.default_rng(3)
    positive = np.arange(160) < 70
    left, right = rng.normal(size=160) + positive, rng.normal(size=160) + 0.5 * positive
    found = areas(left, right, positive)
    assert found is not None
    gaps = []
    for row in range(160):
        kept = np.arange(160) != row
        gaps.append(_brute_area(left[kept], positive[kept]) - _brute_area(right[kept], positive[kept]))
    each = np.array(gaps)
    parts = [each[positive], each[~positive]]
    variance = sum((len(part) - 1) / len(part) * ((part - part.mean()) ** 2).sum() for part in parts)
    assert 1.959964 * variance**0.5 == pytest.approx(found.high - found.value, rel=0.01)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(values: list[float]) -> None:
    """An adjusted value is the largest Bonferroni value of any set of hypotheses that holds it."""
    found = holm(values)
    for index in range(len(values)):
        sets = [
            chosen
            for size in range(1, len(values) + 1)
            for chosen in combinations(range(len(values)), size)
            if index in chosen
        ]
        expected = max(min(1.0, len(chosen) * min(values[i] for i in chosen)) for chosen in sets)
        assert expected == pytest.approx(found[index])


def test_equal_answers_do_not_differ() -> None:
    """Where no row differs the difference is nothing, surely, and says why."""
    values = np.linspace(0, 1, 50)
    flags = values > 0.5
    assert Difference(value=0.0, low=0.0, high=0.0, p=1.0, size=50, method=SAME) == means(values, values)
    assert Difference(value=0.0, low=0.0, high=0.0, p=1.0, size=50, method=SAME) == areas(
        values, values, flags
    )
    assert shares(flags, flags).p == 1.0


def test_too_few_rows_have_no_difference() -> None:
    """Fewer than thirty losses, or than five rows of a class, give no number."""
    few = np.arange(29.0)
    flags = np.arange(29) < 4
    assert means(few, -few) is None
    assert areas(few, -few, flags) is None
    assert mean_shares(flags, ~flags, flags.astype(np.intp), 2) is None


def test_the_other_way_round_is_the_opposite() -> None:
    """Right minus left has the opposite value and bounds."""
    found = Difference(value=0.1, low=-0.2, high=0.3, p=0.5, size=9, method="x")
    expected = Difference(value=-0.1, low=-0.3, high=0.2, p=0.5, size=9, method="x")
    assert expected == found.reversed


def _shares(rng: np.random.Generator) -> Drawn:
    left, right = rng.random(100) < 0.9, rng.random(100) < 0.8
    return shares(left, right), 0.1


def _mean_shares(rng: np.random.Generator) -> Drawn:
    group = (np.arange(120) < 30).astype(np.intp)
    left, right = rng.random(120) < 0.8, rng.random(120) < np.where(group, 0.8, 0.6)
    return mean_shares(left, right, group, 2), 0.1


def _means(rng: np.random.Generator) -> Drawn:
    left, right = rng.exponential(size=80), rng.exponential(size=80)
    return means(left, right), 0.0


def _areas(rng: np.random.Generator) -> Drawn:
    positive = np.arange(150) < 60
    shared = rng.normal(size=150) + positive
    return areas(shared + rng.normal(size=150), shared + rng.normal(size=150), positive), 0.0


@pytest.mark.parametrize("draw", [_shares, _mean_shares, _means, _areas], ids=lambda draw: draw.__name__)
def test_the_intervals_hold_the_truth(draw: Callable[[np.random.Generator], Drawn]) -> None:
    """The 95 % interval misses the true difference in no more of the draws than chance explains."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(DRAWS):
        found, truth = draw(rng)
        assert found is not None
        missed += not found.low <= truth <= found.high
    assert missed <= MISSES


@pytest.mark.parametrize("draw", [_means, _areas], ids=lambda draw: draw.__name__)
def test_equal_models_are_seldom_told_apart(draw: Callable[[np.random.Generator], Drawn]) -> None:
    """A test at 5 % raises a false alarm in no more of the draws than chance explains."""
    rng = np.random.default_rng(6)
    alarms = sum((found := draw(rng)[0]) is not None and found.p < 0.05 for _ in range(DRAWS))
    assert alarms <= MISSES
