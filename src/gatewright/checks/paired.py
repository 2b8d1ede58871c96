"""Differences on the same rows: two sets of answers to the same questions, and how sure they differ.

Every function returns a :class:`Difference`, left minus right, with a two-sided interval and a
two-sided p-value, or None where no honest one exists. All are closed-form. How often the intervals
hold the truth and the tests raise a false alarm is tested by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, stdtr, stdtrit

from gatewright.checks.intervals import CONFIDENCE, FEWEST_VALUES, Floats, normal_point
from gatewright.checks.ranking import FEWEST_PER_CLASS, placements

MCNEMAR = "exact McNemar (1947); interval: Bonett & Price (2012)"
STRATIFIED = "adjusted Wald (Bonett & Price 2012), by class"
STUDENT = "paired t, tail-adjusted"
DELONG = "paired DeLong (1988)"
SAME = "no row differs"

Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Left minus right: ``low`` and ``high`` bound it at 95 %; ``p`` is two-sided; ``size`` counts rows."""

    value: float
    low: float
    high: float
    p: float
    size: int
    method: str

    @property
    def reversed(self) -> Difference:
        """Right minus left."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)


def _difference(value: float, around: tuple[float, float], p: float, size: int, method: str) -> Difference:
    """A difference with the interval centre ± reach that ``around`` gives; it holds its own value."""
    centre, reach = around
    return Difference(
        value=value,
        low=min(value, centre - reach),
        high=max(value, centre + reach),
        p=min(1.0, p),
        size=size,
        method=method,
    )


def same(size: int) -> Difference:
    """The difference of answers that are equal in every row."""
    return Difference(value=0.0, low=0.0, high=0.0, p=1.0, size=size, method=SAME)


def mcnemar(only_left: int, only_right: int) -> float:
    """Exact two-sided p-value of equal shares (McNemar, Psychometrika 12:153-157, 1947)."""
    discordant = only_left + only_right
    return min(1.0, 2 * float(bdtr(min(only_left, only_right), discordant, 0.5))) if discordant else 1.0


def _adjusted(left: Flags, right: Flags) -> tuple[float, float]:
    """Centre and variance of a paired difference of shares, with one row added to either side.

    Bonett & Price, Journal of Educational and Behavioral Statistics 37:479-488 (2012).
    """
    size = len(left) + 2
    up = (int((left & ~right).sum()) + 1) / size
    down = (int((~left & right).sum()) + 1) / size
    return up - down, (up + down - (up - down) ** 2) / size


def shares(left: Flags, right: Flags) -> Difference:
    """Difference of two shares of the same rows, shape (n,) each, n > 0."""
    centre, variance = _adjusted(left, right)
    p = mcnemar(int((left & ~right).sum()), int((~left & right).sum()))
    value = float(left.mean() - right.mean())
    return _difference(value, (centre, normal_point(CONFIDENCE) * math.sqrt(variance)), p, len(left), MCNEMAR)


def mean_shares(left: Flags, right: Flags, group: Indices, groups: int) -> Difference | None:
    """Difference of the plain means of a share over ``groups`` groups of rows; None where one is small."""
    if np.bincount(group, minlength=groups).min() < FEWEST_PER_CLASS:
        return None
    parts = [(left[group == index], right[group == index]) for index in range(groups)]
    value = float(np.mean([one.mean() - other.mean() for one, other in parts]))
    found = [_adjusted(one, other) for one, other in parts]
    centre = float(np.mean([each for each, _ in found]))
    error = math.sqrt(sum(variance for _, variance in found)) / groups
    p = 2 * float(ndtr(-abs(centre) / error))
    return _difference(value, (centre, normal_point(CONFIDENCE) * error), p, len(left), STRATIFIED)


def means(left: Floats, right: Floats) -> Difference | None:
    """Difference of two means over the same rows, shape (n,) each; None where they are too few.

    Student's paired t. The variance is widened by 1 + (kurtosis - 1) / n, at most 2, since it is
    itself estimated, and badly so from heavy tails (see ``intervals``).
    """
    gaps = left - right
    size = len(gaps)
    if size < FEWEST_VALUES:
        return None
    if not gaps.any():
        return same(size)
    value, variance = float(gaps.mean()), float(gaps.var(ddof=1))
    if not (math.isfinite(variance) and math.sqrt(variance) > 1e-12 * abs(value)):
        return None
    deviations = (gaps - value) ** 2
    tails = 1 + min((float((deviations**2).mean()) / float(deviations.mean()) ** 2 - 1) / size, 1.0)
    error = math.sqrt(variance * tails / size)
    p = 2 * float(stdtr(size - 1, -abs(value) / error))
    reach = float(stdtrit(size - 1, 0.5 + CONFIDENCE / 2)) * error
    return _difference(value, (value, reach), p, size, STUDENT)


def areas(left: Floats, right: Floats, positive: Flags) -> Difference | None:
    """Difference of two areas under the ROC curve on the same rows; None where a class is small.

    DeLong, DeLong & Clarke-Pearson, Biometrics 44:837-845 (1988), section 3.
    """
    ups, downs = int(positive.sum()), int((~positive).sum())
    if min(ups, downs) < FEWEST_PER_CLASS:
        return None
    gaps = placements(left, positive) - placements(right, positive)
    if not gaps.any():
        return same(len(gaps))
    value = float(gaps[positive].mean())
    variance = float(gaps[positive].var(ddof=1)) / ups + float(gaps[~positive].var(ddof=1)) / downs
    if variance <= 0:
        return None
    error = math.sqrt(variance)
    p = 2 * float(ndtr(-abs(value) / error))
    return _difference(value, (value, normal_point(CONFIDENCE) * error), p, len(gaps), DELONG)


def holm(values: Sequence[float]) -> list[float]:
    """P-values that hold together, in the order given (Holm, Scandinavian J. Statistics 6:65-70, 1979)."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    found, highest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        found[index] = highest
    return found
