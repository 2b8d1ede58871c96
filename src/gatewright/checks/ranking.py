"""The area under the ROC curve, and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.intervals import CONFIDENCE, Floats, Interval, correlation, mean_of, normal_point

DELONG = "DeLong (1988), logit scale"
NEWCOMBE = "Newcombe (2006), method 5"
MACRO = "DeLong (1988) influence over one-vs-rest, logit scale"
MACRO_NEWCOMBE = "MOVER (Zou 2007) over Newcombe (2006), method 5, one-vs-rest"
FEWEST_PER_CLASS = 5
"""Below this many rows on either side the area is not reported."""
DELONG_PER_CLASS = 50
"""Below this many rows on either side DeLong's variance is too rough to stand alone."""

Flags = NDArray[np.bool_]


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; ties share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray(last - (count - 1) / 2, dtype=np.float64)[place]


def placements(scores: Floats, positive: Flags) -> Floats:
    """For each row, the share of the other side that it is ordered rightly against, shape (n,).

    The mean over the positive rows is the area under the curve, and so is the mean over the
    negative rows. Sun & Xu, IEEE Signal Processing Letters 21:1389-1393 (2014): O(n log n).
    """
    everyone = _midranks(scores)
    found = np.empty(len(scores))
    ups, downs = int(positive.sum()), int((~positive).sum())
    found[positive] = (everyone[positive] - _midranks(scores[positive])) / downs
    found[~positive] = 1 - (everyone[~positive] - _midranks(scores[~positive])) / ups
    return found


def _logit(area: float, error: float, confidence: float, method: str) -> Interval:
    reach = normal_point(confidence) * error / (area * (1 - area))
    centre = math.log(area / (1 - area))
    return Interval(
        low=1 / (1 + math.exp(min(700.0, reach - centre))),
        high=1 / (1 + math.exp(max(-700.0, -reach - centre))),
        method=method,
    )


def _wald_variance(area: float, ups: int, downs: int) -> float:
    """Variance of an area of this size under exponential scores (Hanley & McNeil 1982), symmetrised."""
    half = (ups + downs) / 2 - 1
    inner = 1 + half * (1 - area) / (2 - area) + half * area / (1 + area)
    return area * (1 - area) * inner / (ups * downs)


def newcombe(area: float, ups: int, downs: int, confidence: float = CONFIDENCE) -> Interval:
    """Score-type interval that is honest at areas of 0 and 1.

    Newcombe, Statistics in Medicine 25:559-573 (2006), method 5: at each bound θ the
    distance to the area is z·sqrt(V(θ)), found by bisection.
    """
    z = normal_point(confidence)

    def bound(end: float) -> float:
        inside, outside = area, end
        for _ in range(80):
            middle = (inside + outside) / 2
            if abs(area - middle) <= z * math.sqrt(_wald_variance(middle, ups, downs)):
                inside = middle
            else:
                outside = middle
        return inside

    return Interval(
        low=bound(0.0) if area > 0 else 0.0, high=bound(1.0) if area < 1 else 1.0, method=NEWCOMBE
    )


def area_under_curve(
    scores: Floats, positive: Flags, confidence: float = CONFIDENCE
) -> tuple[float, Interval] | None:
    """The area and its interval; None with too few rows on either side.

    DeLong, DeLong & Clarke-Pearson, Biometrics 44:837-845 (1988), on the logit scale. Where a side
    has few rows, or the ranking is perfect, Newcombe's interval stands in: DeLong's variance is
    then zero or too small.
    """
    ups, downs = int(positive.sum()), int((~positive).sum())
    if min(ups, downs) < FEWEST_PER_CLASS:
        return None
    place = placements(scores, positive)
    area = min(1.0, max(0.0, float(place[positive].mean())))
    variance = float(place[positive].var(ddof=1)) / ups + float(place[~positive].var(ddof=1)) / downs
    if min(ups, downs) < DELONG_PER_CLASS or variance <= 0 or not 0 < area < 1:
        return area, newcombe(area, ups, downs, confidence)
    return area, _logit(area, math.sqrt(variance), confidence, DELONG)


def macro_area(
    scores: Floats, truth: NDArray[np.intp], confidence: float = CONFIDENCE
) -> tuple[float, Interval] | None:
    """Plain mean of the one-vs-rest areas of K classes; ``scores`` (n, K), ``truth`` (n,) indices.

    The rows' influences on the K areas are added before the variance is taken, so the dependence
    between the areas is counted. None when a class has too few rows.
    """
    size, classes = scores.shape
    counts = np.bincount(truth, minlength=classes)
    if min(counts.min(), size - counts.max()) < FEWEST_PER_CLASS:
        return None
    influence = np.zeros((size, classes))
    areas: list[float] = []
    for index in range(classes):
        positive = truth == index
        place = placements(scores[:, index], positive)
        areas.append(min(1.0, max(0.0, float(place[positive].mean()))))
        share = positive.mean()
        influence[:, index] = (place - areas[-1]) / np.where(positive, share, 1 - share)
    area = float(np.mean(areas))
    error = math.sqrt(float(influence.mean(axis=1).var(ddof=1)) / size)
    if counts.min() < DELONG_PER_CLASS or error <= 0 or not 0 < area < 1:
        return area, _macro_newcombe(areas, counts, correlation(influence), confidence)
    return area, _logit(area, error, confidence, MACRO)


def _macro_newcombe(
    areas: Sequence[float], counts: NDArray[np.intp], together: Floats, confidence: float
) -> Interval:
    """MOVER over the classes' own bounds, with the correlation of the areas."""
    size = int(counts.sum())
    parts = [
        newcombe(area, int(count), size - int(count), confidence)
        for area, count in zip(areas, counts, strict=True)
    ]
    found = mean_of(areas, parts, together)
    return Interval(low=found.low, high=found.high, method=MACRO_NEWCOMBE)
