from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gatewright.checks import intervals
from gatewright.checks.intervals import Interval


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_agrees_with_scipy(count: int, size: int) -> None:
    """Wilson's bounds are those of scipy's binomtest."""
    count = min(count, size)
    found = intervals.wilson(count, size)
    oracle = stats.binomtest(count, size).proportion_ci(method="wilson")
    assert pytest.approx((oracle.low, oracle.high), abs=1e-12) == (found.low, found.high)


@given(st.integers(1, 400), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantile_bounds_hold_at_the_stated_confidence(size: int, share: float) -> None:
    """The ranks chosen leave at most 2.5 % on each side, and the next tighter ranks would not."""
    ranks = np.arange(size, dtype=np.float64)
    found = intervals.quantile(ranks, share)
    if found is None:
        assert share**size > 0.025 or (1 - share) ** size > 0.025
        return
    low, high = int(found.low), int(found.high)
    assert stats.binom.cdf(low, size, share) <= 0.025 < stats.binom.cdf(low + 1, size, share)
    assert stats.binom.cdf(high, size, share) >= 0.975 > stats.binom.cdf(high - 1, size, share)


def test_the_99th_percentile_needs_368_samples() -> None:
    """With 367 samples there is no upper bound, with 368 there is."""
    assert intervals.quantile(np.arange(367.0), 0.99) is None
    assert intervals.quantile(np.arange(368.0), 0.99) is not None


@given(st.integers(0, 500), st.floats(0, 1), st.sampled_from([1e-3, 0.05]))
def test_most_by_chance_is_the_smallest_such_count(size: int, rate: float, risk: float) -> None:
    """At the count the tail is within the risk, and one below it is not."""
    found = intervals.most_by_chance(size, rate, risk)
    assert stats.binom.sf(found, size, rate) <= risk + 1e-12
    assert found == 0 or stats.binom.sf(found - 1, size, rate) > risk - 1e-12


@given(st.integers(0, 200), st.integers(0, 200))
def test_f1_interval_is_inside_zero_and_one_and_holds_the_point(hits: int, misses: int) -> None:
    """The bounds are in order, within [0, 1] and around F1."""
    if hits + misses == 0:
        return
    found = intervals.f1_interval(hits, misses)
    assert 0 <= found.low <= 2 * hits / (2 * hits + misses) + 1e-12
    assert 2 * hits / (2 * hits + misses) - 1e-12 <= found.high <= 1


def test_the_mean_of_one_part_is_the_part() -> None:
    """MOVER over a single estimate gives that estimate's own interval."""
    part = Interval(low=0.2, high=0.9, method="x")
    found = intervals.mean_of([0.5], [part])
    assert pytest.approx((0.2, 0.9)) == (found.low, found.high)


def test_dependent_parts_are_wider_than_independent_ones() -> None:
    """Full correlation averages the bounds; independence gives a narrower interval."""
    parts = [Interval(low=0.3, high=0.7, method="x")] * 4
    apart = intervals.mean_of([0.5] * 4, parts)
    together = intervals.mean_of([0.5] * 4, parts, np.ones((4, 4)))
    assert pytest.approx((0.4, 0.6)) == (apart.low, apart.high)
    assert pytest.approx((0.3, 0.7)) == (together.low, together.high)


def test_squared_normal_errors_get_nearly_the_exact_interval() -> None:
    """For squared normal errors the bounds are close to the exact chi-square ones."""
    squares = np.random.default_rng(5).normal(size=4000) ** 2
    found = intervals.positive_mean(squares)
    assert found is not None
    exact = 4000 * squares.mean() / stats.chi2.ppf([0.975, 0.025], 4000)
    assert pytest.approx(exact, rel=0.01) == (found.low, found.high)


@pytest.mark.parametrize(
    "values", [np.ones(29), np.ones(100), np.zeros(100), np.eye(1, 100)[0], np.full(100, np.nan)]
)
def test_means_without_an_honest_interval_have_none(values: np.ndarray) -> None:
    """Too few values, no variance, a mean that hangs on one row: no interval."""
    found = intervals.positive_mean(values)
    assert found is None or found.high > 3 * values.mean()


@given(st.lists(st.floats(1e-6, 1e6), min_size=30, max_size=60))
def test_a_mean_is_inside_its_interval(values: list[float]) -> None:
    """Wherever there is an interval, it is finite and holds the mean."""
    array = np.array(values)
    found = intervals.positive_mean(array)
    if found is not None:
        assert found.low <= array.mean() * (1 + 1e-9)
        assert array.mean() * (1 - 1e-9) <= found.high < math.inf


def test_a_ratio_without_variance_has_no_interval() -> None:
    """Equal columns have the ratio 1 and nothing to judge its noise by."""
    values = np.linspace(1, 2, 50)
    assert intervals.ratio_of_means(values, values) is None
