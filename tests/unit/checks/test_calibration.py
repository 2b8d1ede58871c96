from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gatewright.checks.calibration import calibration_error, noncentral_normal


@given(st.floats(3, 12), st.floats(0, 2000), st.floats(0.02, 0.98))
def test_the_normal_score_of_a_noncentral_chi_square_is_close(
    freedom: float, noncentrality: float, level: float
) -> None:
    """Sankaran's approximation is within 0.015 of scipy's distribution function."""
    value = stats.ncx2.ppf(level, freedom, noncentrality) if noncentrality else stats.chi2.ppf(level, freedom)
    score = noncentral_normal(float(value), freedom, noncentrality)
    assert pytest.approx(level, abs=0.015) == stats.norm.cdf(score)


def test_the_error_is_the_debiased_root_mean_square() -> None:
    """On many rows the error is the plain root-mean-square gap of the bins, less the noise."""
    rng = np.random.default_rng(2)
    stated = rng.random(50_000)
    happened = rng.random(50_000) < stated**2
    found = calibration_error(stated, happened)
    assert found is not None
    gaps = np.array([np.mean(p - p**2) for p in np.array_split(np.sort(stated), 10)])
    assert pytest.approx(float(np.sqrt(np.mean(gaps**2))), abs=0.005) == found.error
    assert found.rows.sum() == 50_000


def test_perfect_certainty_that_is_right_has_no_error_and_an_honest_bound() -> None:
    """Probabilities of 0 and 1 that are always right: nothing to judge noise by, so no interval."""
    truth = np.arange(200) < 80
    assert calibration_error(truth.astype(float), truth) is None
    nearly = np.where(truth, 0.98, 0.02)
    found = calibration_error(nearly, truth)
    assert found is not None
    assert 0 <= found.interval.low <= found.error <= found.interval.high


def test_too_few_rows_give_no_error() -> None:
    """Two bins of twenty rows are the least."""
    rows = np.linspace(0.1, 0.9, 39)
    assert calibration_error(rows, rows > 0.5) is None


@given(st.integers(0, 2**32 - 1), st.integers(40, 300))
def test_the_error_is_inside_its_interval(seed: int, rows: int) -> None:
    """Whatever the rows, zero is at most the lower bound and one at least the upper."""
    rng = np.random.default_rng(seed)
    stated = rng.beta(0.5, 0.5, rows)
    found = calibration_error(stated, rng.random(rows) < rng.random())
    assert found is not None
    assert 0 <= found.interval.low <= found.error + 1e-9
    assert found.error - 1e-9 <= found.interval.high <= 1
