"""How far groups are apart: the largest difference and the smallest ratio of their numbers.

Both are a maximum (or minimum) over ordered pairs of groups, and each bound is built from the
bounds of the pairs:

- The *pessimistic* bound (the high end of a difference, the low end of a ratio) is the worst of the
  pairs' one-sided 97.5 % bounds, without a correction for how many pairs there are. It needs none:
  it can only miss when the bound of the one pair that is truly the worst misses (the argument of
  intersection-union tests: Berger, Technometrics 24:295-300, 1982).
- The *optimistic* bound is the best of the pairs' bounds after Bonferroni's correction over all
  ordered pairs, for there any pair can miss.

A pair's bounds come from the two groups' own intervals: MOVER for a difference (Newcombe, Statistics
in Medicine 17:873-890, 1998, method 10, where the numbers are shares; Zou & Donner 27:1693-1702,
2008), MOVER-R for a ratio (Donner & Zou, Statistical Methods in Medical Research 21:347-359, 2012).
Groups share no rows, so their numbers are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from gatewright.checks.intervals import CONFIDENCE, wilson

SHARES = "MOVER over Wilson, worst pair of groups"
RATIOS = "MOVER-R over Wilson, worst pair of groups"
MEANS = "MOVER over Student's t, worst pair of groups"

Floats = NDArray[np.float64]


class Numbers(Protocol):
    """One number for each of K groups, with its interval."""

    @property
    def values(self) -> Floats:
        """The numbers, shape (K,)."""
        ...

    def bounds(self, confidence: float) -> tuple[Floats, Floats]:
        """The low and the high ends of their two-sided intervals, shape (K,) each."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """``counts`` out of ``sizes``, shape (K,) each; every size is above zero. Wilson's intervals."""

    counts: Floats
    sizes: Floats

    @property
    def values(self) -> Floats:
        """The shares, shape (K,)."""
        return self.counts / self.sizes

    def bounds(self, confidence: float) -> tuple[Floats, Floats]:
        """Wilson's bounds of each share, shape (K,) each."""
        found = [wilson(count, size, confidence) for count, size in zip(self.counts, self.sizes, strict=True)]
        return np.array([one.low for one in found]), np.array([one.high for one in found])


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Means with their standard ``errors`` and ``sizes``, shape (K,) each; every size is above one."""

    values: Floats
    errors: Floats
    sizes: Floats

    def bounds(self, confidence: float) -> tuple[Floats, Floats]:
        """The bounds of each mean by Student's t, shape (K,) each."""
        reach = stdtrit(self.sizes - 1, 0.5 + confidence / 2) * self.errors
        return self.values - reach, self.values + reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Disparity:
    """The worst pair: its number with bounds, the family it is of, and its higher and lower group."""

    value: float
    low: float
    high: float
    family: int
    upper: int
    lower: int


def _pairs(families: Sequence[Numbers]) -> int:
    return sum(len(family.values) * (len(family.values) - 1) for family in families)


def _corrected(families: Sequence[Numbers]) -> float:
    return 1 - (1 - CONFIDENCE) / max(1, _pairs(families))


def largest_difference(families: Sequence[Numbers]) -> Disparity | None:
    """The largest difference of two groups in any family; None where no family has two groups.

    ``family``, ``upper`` and ``lower`` say where it is; ``high`` is the pessimistic bound.
    """
    found: Disparity | None = None
    strict, best, worst = _corrected(families), 0.0, 0.0
    for index, family in enumerate(families):
        values = family.values
        if len(values) < 2:
            continue
        low, high = family.bounds(CONFIDENCE)
        gap = values[:, None] - values[None, :]
        reach = np.hypot((high - values)[:, None], (values - low)[None, :])
        np.fill_diagonal(reach, 0.0)
        worst = max(worst, float((gap + reach).max()))
        low, high = family.bounds(strict)
        best = max(best, float((gap - np.hypot((values - low)[:, None], (high - values)[None, :])).max()))
        upper, lower = int(values.argmax()), int(values.argmin())
        apart = float(values[upper] - values[lower])
        if found is None or apart > found.value:
            found = Disparity(value=apart, low=apart, high=apart, family=index, upper=upper, lower=lower)
    if found is None:
        return None
    return Disparity(
        value=found.value,
        low=min(best, found.value),
        high=max(worst, found.value),
        family=found.family,
        upper=found.upper,
        lower=found.lower,
    )


def _ratio_bounds(
    values: Floats, plain: tuple[Floats, Floats], strict: tuple[Floats, Floats]
) -> tuple[float, float]:
    """The least low bound and the least corrected high bound of any value over any other.

    Donner & Zou's closed forms, written so that a zero below the line is a limit and not an error.
    """
    product = np.outer(values, values)

    def inner(ends: Floats) -> Floats:
        return ends * (2 * values - ends)

    above, below = inner(plain[0])[:, None], inner(plain[1])[None, :]
    bottom = product + np.sqrt(np.maximum(0.0, product**2 - above * below))
    lows = np.divide(above, bottom, out=np.zeros_like(bottom), where=bottom > 0)
    above, below = inner(strict[1])[:, None], inner(strict[0])[None, :]
    top = product + np.sqrt(np.maximum(0.0, product**2 - above * below))
    highs = np.divide(top, below, out=np.ones_like(top), where=np.broadcast_to(below > 0, top.shape))
    np.fill_diagonal(lows, 1.0)
    np.fill_diagonal(highs, 1.0)
    return float(lows.min()), float(highs.min())


def smallest_ratio(families: Sequence[Shares]) -> Disparity | None:
    """The smallest ratio of two groups' shares in any family; ``low`` is the pessimistic bound.

    None where no family has two groups, and where all shares of a family are zero: 0 / 0.
    """
    found: Disparity | None = None
    strict, best, worst = _corrected(families), 1.0, 1.0
    for index, family in enumerate(families):
        values = family.values
        if len(values) < 2:
            continue
        upper, lower = int(values.argmax()), int(values.argmin())
        if values[upper] == 0:
            return None
        low, high = _ratio_bounds(values, family.bounds(CONFIDENCE), family.bounds(strict))
        worst, best = min(worst, low), min(best, high)
        share = float(values[lower] / values[upper])
        if found is None or share < found.value:
            found = Disparity(value=share, low=share, high=share, family=index, upper=upper, lower=lower)
    if found is None:
        return None
    return Disparity(
        value=found.value,
        low=max(0.0, min(worst, found.value)),
        high=max(best, found.value),
        family=found.family,
        upper=found.upper,
        lower=found.lower,
    )
