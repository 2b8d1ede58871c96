"""Intervals: how far a number from a sample may be from the truth.

Every function returns an :class:`Interval` with the name of its method, or None where no honest
interval exists. All are two-sided and closed-form, so the same rows give the same bounds. The
coverage of each was measured by simulation: see ``bench/coverage.py`` and ``docs/checks.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, chdtri

CONFIDENCE = 0.95
FEWEST_VALUES = 30
"""Below this many values a mean has no interval: the methods rest on large samples."""

WILSON = "Wilson score (1927)"
MOVER = "MOVER (Zou & Donner 2008) over Wilson"
JACCARD = "Wilson score on the Jaccard index, transformed to F1"
MEAN = "scaled chi-square (Satterthwaite 1946), tail-adjusted"
NORMAL_IQR = 1.349
"""The interquartile range of a normal distribution in its standard deviations."""
RATIO = "delta method on the logarithm, tail-adjusted"
ORDER = "order statistics, binomial"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Two bounds and the method that gave them."""

    low: float
    high: float
    method: str


def normal_point(confidence: float) -> float:
    """The two-sided normal quantile: 1.96 for 0.95."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def computable(values: Floats) -> bool:
    """Whether the squares of the values, shape (n,), neither overflow nor vanish: a variance means something."""
    with np.errstate(over="ignore", invalid="ignore"):
        variance = float(np.var(values)) if len(values) else 0.0
    return math.isfinite(variance) and (variance > 0 or float(np.ptp(values)) == 0)


def robust_spread(values: Floats) -> float:
    """The smaller of the standard deviation and IQR / 1.349 (where that is above zero); shape (n,), n > 0.

    A single far value moves the first without bound and the second hardly (Huber, "Robust
    Statistics", 1981, section 5.1).
    """
    low, high = np.quantile(values, [0.25, 0.75])
    middle = float(high - low) / NORMAL_IQR
    whole = float(np.std(values))
    return min(whole, middle) if middle > 0 else whole


def wilson(count: float, size: float, confidence: float = CONFIDENCE) -> Interval:
    """Interval of a proportion ``count / size`` (Wilson, JASA 22:209-212, 1927); ``size`` > 0."""
    z = normal_point(confidence)
    share = count / size
    centre = share + z * z / (2 * size)
    reach = z * math.sqrt(max(0.0, share * (1 - share) / size) + z * z / (4 * size * size))
    scale = 1 + z * z / size
    return Interval(
        low=0.0 if count <= 0 else max(0.0, (centre - reach) / scale),
        high=1.0 if count >= size else min(1.0, (centre + reach) / scale),
        method=WILSON,
    )


def f1_interval(hits: int, misses: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of F1 = 2·hits / (2·hits + misses); ``misses`` counts false positives and negatives.

    Given how many rows are a hit or a miss, the hits are binomial and F1 = 2J / (1 + J) rises with
    their share J (the Jaccard index), so the Wilson bounds of J carry over.
    """
    found = wilson(hits, hits + misses, confidence)
    return Interval(
        low=2 * found.low / (1 + found.low), high=2 * found.high / (1 + found.high), method=JACCARD
    )


def correlation(influence: Floats) -> Floats:
    """Correlation of columns, shape (K, K); a column without variance counts as fully dependent."""
    centred = influence - influence.mean(axis=0)
    size = np.sqrt((centred**2).sum(axis=0))
    flat = size <= 1e-12
    ties = (centred.T @ centred) / np.outer(np.where(flat, 1, size), np.where(flat, 1, size))
    ties[flat, :] = 1.0
    ties[:, flat] = 1.0
    return np.asarray(ties, dtype=np.float64)


def mean_of(
    values: Sequence[float] | Floats, parts: Sequence[Interval], together: Floats | None = None
) -> Interval:
    """Interval of the plain mean of K estimates from the interval of each.

    MOVER, the method of variance estimates recovery: Zou & Donner, Statistics in Medicine
    27:1693-1702 (2008); with ``together``, the correlations (K, K), for dependent estimates (Zou, Psychological
    Methods 12:399-413, 2007). It keeps the honesty of the parts where the estimate is 0 or 1.
    """
    centre = np.asarray(values, dtype=np.float64)
    below = centre - np.array([part.low for part in parts])
    above = np.array([part.high for part in parts]) - centre
    ties = np.eye(len(centre)) if together is None else together
    mean = float(centre.mean())
    return Interval(
        low=mean - math.sqrt(max(0.0, float(below @ ties @ below))) / len(centre),
        high=mean + math.sqrt(max(0.0, float(above @ ties @ above))) / len(centre),
        method=MOVER,
    )


def _tail_factor(deviations: Floats) -> float:
    """How much to widen a variance that was itself estimated from heavy-tailed values (1 to 2).

    The squared coefficient of variation of a sample variance is about (kurtosis - 1) / n; that
    much is added, capped. Chosen by simulation: without it the mean of squared heavy-tailed errors
    is held in under 0.92 of the draws at n = 200; normal errors are left nearly as they are.
    """
    squares = deviations**2
    spread = float(squares.mean())
    kurtosis = float((squares**2).mean()) / spread**2
    return 1 + min((kurtosis - 1) / len(deviations), 1.0)


def positive_mean(values: Floats, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of the mean of non-negative, right-skewed values (losses, errors), shape (n,).

    The mean is taken as a scaled chi-square with the degrees of freedom that match its first two
    moments (Satterthwaite, Biometrics Bulletin 2:110-114, 1946): exact for squared normal errors.
    None for fewer than ``FEWEST_VALUES`` values or where they do not vary.
    """
    if len(values) < FEWEST_VALUES:
        return None
    mean = float(values.mean())
    variance = float(values.var(ddof=1))
    if not (math.isfinite(variance) and mean > 0 and math.sqrt(variance) > 1e-12 * mean):
        return None
    freedom = 2 * len(values) * mean**2 / (variance * _tail_factor(values - mean))
    tail = (1 - confidence) / 2
    if freedom < 0.1:  # the mean hangs on one or two rows: no bound above is worth its name
        return None
    return Interval(
        low=mean * freedom / float(chdtri(freedom, tail)),
        high=mean * freedom / float(chdtri(freedom, 1 - tail)),
        method=MEAN,
    )


def ratio_of_means(above: Floats, below: Floats, confidence: float = CONFIDENCE) -> Interval | None:
    """Interval of mean(above) / mean(below) for paired non-negative values, shape (n,) each.

    The delta method on the logarithm of the ratio. None where :func:`positive_mean` has none.
    """
    top, bottom = float(above.mean()), float(below.mean())
    if len(above) < FEWEST_VALUES or not (top > 0 and bottom > 0):
        return None
    influence = above / top - below / bottom
    variance = float(influence.var(ddof=1))
    if not (variance > 1e-24 and math.isfinite(variance)):
        return None
    reach = normal_point(confidence) * math.sqrt(
        variance * _tail_factor(influence) * (1 + 2 / len(above)) / len(above)
    )
    return Interval(low=top / bottom * math.exp(-reach), high=top / bottom * math.exp(reach), method=RATIO)


def quantile(ordered: Floats, share: float, confidence: float = CONFIDENCE) -> Interval | None:
    """Distribution-free interval of a quantile from sorted values (David & Nagaraja 2003, 7.1).

    The bounds are two of the values themselves; None where there are too few for a bound on either
    side (a 95 % interval of the 99th percentile needs 368).
    """
    size = len(ordered)
    tail = (1 - confidence) / 2
    below = bdtr(np.arange(size), size, share)  # P(at most k values lie below the quantile)
    low = int(np.searchsorted(below, tail, side="right")) - 1
    high = int(np.searchsorted(below, 1 - tail, side="left"))
    if low < 0 or high >= size:
        return None
    return Interval(low=float(ordered[low]), high=float(ordered[high]), method=ORDER)


def most_by_chance(size: int, rate: float, risk: float) -> int:
    """The smallest c with P(Binomial(size, rate) > c) ≤ ``risk``."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if 1 - float(bdtr(middle, size, rate)) <= risk:
            high = middle
        else:
            low = middle + 1
    return low
