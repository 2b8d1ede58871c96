from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.fairness.disparities import Means, Shares, largest_difference, smallest_ratio
from gatewright.checks.intervals import wilson

WORLDS = [
    ((0.5, 0.5), (60, 60)),
    ((0.3, 0.6), (150, 80)),
    ((0.05, 0.1), (100, 200)),
    ((0.9, 0.95, 0.97), (40, 80, 300)),
    ((0.3, 0.3, 0.3, 0.3, 0.3), (50, 50, 50, 50, 50)),
    ((0.1, 0.6, 0.4, 0.55), (60, 60, 100, 400)),
]
DRAWS = 1_500
MOST_MISSED = 0.035

groups = st.lists(
    st.integers(1, 60).flatmap(lambda size: st.tuples(st.integers(0, size), st.just(size))),
    min_size=2,
    max_size=5,
)


def _shares(found: list[tuple[int, int]]) -> Shares:
    counts, sizes = np.array(found, dtype=float).T
    return Shares(counts=counts, sizes=sizes)


@pytest.mark.parametrize(("rates", "sizes"), WORLDS)
def test_each_bound_misses_no_more_than_it_may(rates: tuple[float, ...], sizes: tuple[int, ...]) -> None:
    """In 1,500 draws of a world each one-sided bound misses the truth in at most 3.5 % (2.5 % is its aim)."""
    rng = np.random.default_rng(20)
    gap, ratio = max(rates) - min(rates), min(rates) / max(rates)
    missed = np.zeros(4)
    for counts in rng.binomial(sizes, rates, (DRAWS, len(sizes))).astype(float):
        drawn = [Shares(counts=counts, sizes=np.array(sizes, dtype=float))]
        apart, part = largest_difference(drawn), smallest_ratio(drawn)
        assert apart is not None
        missed[:2] += (apart.low > gap, apart.high < gap)
        if part is not None:
            missed[2:] += (part.low > ratio, part.high < ratio)
    assert (missed / DRAWS <= MOST_MISSED).all(), missed / DRAWS


def test_the_bounds_of_a_clear_world_are_not_idle() -> None:
    """Where two groups differ clearly, both bounds together miss in 1.5 % of the draws at least."""
    rng = np.random.default_rng(21)
    missed = 0
    for counts in rng.binomial((200, 200), (0.3, 0.6), (DRAWS, 2)).astype(float):
        found = largest_difference([Shares(counts=counts, sizes=np.array([200.0, 200.0]))])
        assert found is not None
        missed += not found.low <= 0.3 <= found.high
    assert missed / DRAWS >= 0.015


def test_two_groups_have_newcombes_upper_bound() -> None:
    """56 of 70 against 48 of 80 is 0.2, high end 0.3339, as printed by Newcombe (1998), table II, method 10."""
    found = largest_difference([_shares([(56, 70), (48, 80)])])
    assert found is not None
    assert (0.2, 0.3339) == (pytest.approx(found.value), pytest.approx(found.high, abs=5e-5))


def test_no_group_is_missed_by_its_place() -> None:
    """The order of groups and of families changes no number."""
    found = [_shares([(5, 50), (30, 60), (9, 40)]), _shares([(20, 40), (39, 40)])]
    turned = [Shares(counts=one.counts[::-1], sizes=one.sizes[::-1]) for one in found[::-1]]
    for measure in (largest_difference, smallest_ratio):
        first, second = measure(found), measure(turned)
        assert first is not None
        assert second is not None
        assert (first.value, first.low, first.high) == pytest.approx((second.value, second.low, second.high))


@given(groups)
def test_bounds_enclose_the_value_and_stay_on_the_scale(found: list[tuple[int, int]]) -> None:
    """Difference and ratio lie in their intervals, and both in 0 to 1, for any counts."""
    shares = _shares(found)
    apart = largest_difference([shares])
    assert apart is not None
    assert 0 <= apart.low <= apart.value <= apart.high <= 1 + 1e-12
    part = smallest_ratio([shares])
    if shares.counts.any():
        assert part is not None
        assert 0 <= part.low <= part.value <= part.high <= 1 + 1e-12
    else:
        assert part is None


@given(groups)
def test_more_families_are_never_nearer(found: list[tuple[int, int]]) -> None:
    """The worst of two families is at least as far apart as either, in value and pessimistic bound."""
    one, other = _shares(found), _shares([(3, 9), (7, 12)])
    both, alone = largest_difference([one, other]), largest_difference([one])
    assert both is not None
    assert alone is not None
    assert both.value >= alone.value
    assert both.high >= alone.high


def test_nothing_to_compare_is_none() -> None:
    """One group alone has neither a difference nor a ratio."""
    alone = _shares([(3, 9)])
    assert (None, None) == (largest_difference([alone]), smallest_ratio([alone]))


def test_means_are_compared_by_students_t() -> None:
    """Two equal standard errors of 1 with many rows: the difference 3 reaches up to 3 + 1.96·√2."""
    means = Means(values=np.array([1.0, 4.0]), errors=np.ones(2), sizes=np.full(2, 1e7))
    found = largest_difference([means])
    assert found is not None
    assert (3.0, 1, 0) == (found.value, found.upper, found.lower)
    assert pytest.approx(3 + 1.959964 * 2**0.5, abs=1e-5) == found.high


def test_shares_have_wilsons_bounds() -> None:
    """The bounds of each group are those of the interval that is reported for it."""
    low, high = _shares([(5, 50)]).bounds(0.95)
    expected = wilson(5, 50)
    assert ([expected.low], [expected.high]) == (low.tolist(), high.tolist())
