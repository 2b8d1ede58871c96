"""How far stated probabilities are from what happens.

The calibration error here is the *root-mean-square* (L2) one over equal-mass bins, with the
sampling noise taken out: Kumar, Liang & Ma, "Verified Uncertainty Calibration", NeurIPS 2019,
section 4. The ordinary plug-in ECE (the L1 mean of absolute gaps) is biased upwards and has no
interval that holds near zero; it is never larger than the L2 error over the same bins, so the
upper bound given here bounds it as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.intervals import CONFIDENCE, Floats, Interval, normal_point

MOST_BINS = 10
ROWS_PER_BIN = 20
"""Fewer rows than this in a bin make its gap mostly noise."""
FEWEST_BINS = 2
METHOD = "noncentral chi-square inversion (Satterthwaite scale, Sankaran 1963)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The error, its interval, and per bin: rows, mean stated probability, observed share."""

    error: float
    interval: Interval
    rows: NDArray[np.intp]
    stated: Floats
    observed: Floats


def _bins(stated: Floats) -> NDArray[np.intp]:
    """Bin of each row: equal-mass, equal probabilities never parted."""
    count = min(MOST_BINS, len(stated) // ROWS_PER_BIN)
    edges = np.unique(np.quantile(stated, np.arange(1, count) / count)) if count > 1 else np.empty(0)
    _, dense = np.unique(np.searchsorted(edges, stated, side="right"), return_inverse=True)
    return np.asarray(dense, dtype=np.intp)


def noncentral_normal(value: float, freedom: float, noncentrality: float) -> float:
    """Normal score of ``value`` under a noncentral chi-square (Sankaran, Biometrika 50:199, 1963)."""
    total, twice = freedom + noncentrality, freedom + 2 * noncentrality
    power = 1 - 2 * total * (freedom + 3 * noncentrality) / (3 * twice * twice)
    p = twice / total**2
    m = (power - 1) * (1 - 3 * power)
    centre = 1 + power * p * (power - 1 - 0.5 * (2 - power) * m * p)
    return float(((value / total) ** power - centre) / (power * math.sqrt(2 * p) * (1 + 0.5 * m * p)))


def _noncentrality(value: float, freedom: float, score: float) -> float:
    """The noncentrality under which ``value`` has the given normal score, at least 0."""
    if noncentral_normal(value, freedom, 0.0) <= score:
        return 0.0
    low, high = 0.0, max(1.0, value)
    while noncentral_normal(value, freedom, high) > score:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if noncentral_normal(value, freedom, middle) > score:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def calibration_error(
    stated: Floats, happened: NDArray[np.bool_], confidence: float = CONFIDENCE
) -> Calibration | None:
    """The error of stated probabilities, shape (n,), against what happened, shape (n,).

    The sum of squared gaps, weighted by rows, is about a scaled noncentral chi-square whose
    noncentrality is n·error²; the bounds are the noncentralities under which the observed sum is
    at its 97.5 % and 2.5 % point. A sum that is smaller than perfect calibration gives on average
    counts as that average for the upper bound (power-constrained, Cowan et al. 2011). None for
    fewer than two bins of ``ROWS_PER_BIN`` rows.
    """
    size = len(stated)
    if size < FEWEST_BINS * ROWS_PER_BIN:
        return None
    place = _bins(stated)
    rows = np.bincount(place)
    mean = np.bincount(place, stated) / rows
    share = np.bincount(place, happened.astype(np.float64)) / rows
    within = np.bincount(place, (happened - stated - (share - mean)[place]) ** 2)
    expected = np.bincount(place, stated * (1 - stated))
    # A bin without a surprise has no observed variance: one row at its stated variance is added.
    noise = (within + expected / rows) / rows
    total = float(np.sum(rows * (share - mean) ** 2))
    floor = float(noise.sum())
    if floor <= 0:
        return None
    scale = float(np.sum(noise**2)) / floor
    freedom = floor / scale
    score = normal_point(confidence)
    low = _noncentrality(total / scale, freedom, score)
    high = _noncentrality(max(total, floor) / scale, freedom, -score)
    return Calibration(
        error=math.sqrt(max(0.0, total - floor) / size),
        interval=Interval(
            low=math.sqrt(low * scale / size),
            high=min(1.0, math.sqrt(high * scale / size)),
            method=METHOD,
        ),
        rows=rows,
        stated=mean,
        observed=share,
    )
