"""The numbers of groups: which row belongs to which group, and what a rate is in each of them.

Not here: how far groups are apart (``disparities.py``) and what that means (``groups.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.answers import ClassAnswers, ValueAnswers
from gatewright.checks.cuts import coded, shown
from gatewright.checks.fairness.disparities import Means, Shares

SELECTED = "selection-rate"
HIT = "true-positive-rate"
FALSE_ALARM = "false-positive-rate"
PRECISE = "precision"
MEAN_ERROR = "mean-error"
MEAN_ANSWER = "mean-prediction"
CROSS = " & "
CLASS_LENGTH = 40
"""Characters of a class's name in the name of a slice."""

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Numbers = Shares | Means


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A number per row, shape (n,), averaged over the ``base`` rows of a group.

    ``of`` names the class it is about, "" where there is but one; ``share`` says that the numbers
    are 0 and 1.
    """

    name: str
    values: Floats
    base: NDArray[np.bool_]
    of: str = ""
    share: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The groups of one column, or of columns crossed.

    ``groups`` holds a name for each, also where it has no row; ``place`` the group of each row,
    shape (n,). ``small_count``:
    whether a group that is too small to judge leaves the whole in doubt.
    """

    name: str
    groups: tuple[str, ...]
    place: Indices
    small_count: bool = True

    @property
    def alone(self) -> bool:
        """Whether the rows hold fewer than two of the groups."""
        return len(np.unique(self.place)) < 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """One rate in the groups at ``places`` of a grouping, shape (K,): its numbers and its rows there."""

    rate: Rate
    places: Indices
    sizes: Floats
    numbers: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One rate of one grouping: in every group with a row, and in those with enough of them.

    ``small`` holds the groups that have not enough, with their rows.
    """

    every: Numbered
    judged: Numbered
    small: tuple[tuple[str, int], ...]


def class_rates(found: ClassAnswers, positives: Sequence[int], *, named: bool) -> tuple[Rate, ...]:
    """The four rates of each class in ``positives``, that class against the rest."""
    everyone = np.ones(len(found.rows), dtype=bool)
    rates: list[Rate] = []
    for index in positives:
        of = shown(found.classes[index], CLASS_LENGTH) if named else ""
        said, true = found.answer == index, found.truth == index
        hits = said.astype(np.float64)
        rates += [
            Rate(name=SELECTED, values=hits, base=everyone, of=of),
            Rate(name=HIT, values=hits, base=true, of=of),
            Rate(name=FALSE_ALARM, values=hits, base=~true, of=of),
            Rate(name=PRECISE, values=true.astype(np.float64), base=said, of=of),
        ]
    return tuple(rates)


def value_rates(found: ValueAnswers) -> tuple[Rate, ...]:
    """The mean error (answer less truth) and the mean answer, in the unit of the target."""
    everyone = np.ones(len(found.rows), dtype=bool)
    return (
        Rate(name=MEAN_ERROR, values=found.answer - found.truth, base=everyone, share=False),
        Rate(name=MEAN_ANSWER, values=found.answer, base=everyone, share=False),
    )


def grouping_of(name: str, labels: Sequence[str]) -> Grouping:
    """The groups of one column from the label of each row."""
    values, place = coded(labels)
    return Grouping(name=name, groups=tuple(f"{name}={value}" for value in values), place=place)


def _crossing(parts: Sequence[Grouping], *, small_count: bool) -> Grouping:
    sizes = [len(part.groups) for part in parts]
    codes = (
        np.ravel_multi_index([part.place for part in parts], sizes) if len(parts[0].place) else np.empty(0)
    )
    found, place = np.unique(codes, return_inverse=True)
    ends = np.stack(np.unravel_index(found.astype(np.intp), sizes), axis=1).tolist() if len(found) else []
    return Grouping(
        name=CROSS.join(part.name for part in parts),
        groups=tuple(CROSS.join(part.groups[k] for part, k in zip(parts, end, strict=True)) for end in ends),
        place=place,
        small_count=small_count,
    )


def narrowed(grouping: Grouping, rows: Indices) -> Grouping:
    """The same groups, with the given rows alone in them."""
    return replace(grouping, place=grouping.place[rows])


def crossings(parts: Sequence[Grouping], *, depth: int, small_count: bool) -> tuple[Grouping, ...]:
    """Every crossing of two to ``depth`` of the groupings; only groups that have rows."""
    return tuple(
        _crossing(chosen, small_count=small_count)
        for size in range(2, depth + 1)
        for chosen in combinations(parts, size)
    )


def _numbers(rate: Rate, place: Indices, sizes: Floats, chosen: Indices) -> Numbers:
    """The rate's numbers in the chosen groups, all of which have rows."""
    values = rate.values[rate.base]
    sums = np.bincount(place, values, minlength=len(sizes)).astype(np.float64)
    if rate.share:
        return Shares(counts=sums[chosen], sizes=sizes[chosen])
    means = sums / np.maximum(sizes, 1)
    squares = np.bincount(place, (values - means[place]) ** 2, minlength=len(sizes))
    errors = np.sqrt(squares / np.maximum(sizes - 1, 1) / np.maximum(sizes, 1))
    return Means(values=means[chosen], errors=errors[chosen], sizes=sizes[chosen])


def see(rate: Rate, grouping: Grouping, smallest: int) -> Seen:
    """A rate in every group of a grouping; ``smallest`` rows of its base make a group judged."""
    place = grouping.place[rate.base]
    sizes = np.bincount(place, minlength=len(grouping.groups)).astype(np.float64)

    def numbered(chosen: Indices) -> Numbered:
        numbers = _numbers(rate, place, sizes, chosen)
        return Numbered(rate=rate, places=chosen, sizes=sizes[chosen], numbers=numbers)

    return Seen(
        every=numbered(np.flatnonzero(sizes > 0)),
        judged=numbered(np.flatnonzero(sizes >= smallest)),
        small=tuple((grouping.groups[k], int(sizes[k])) for k in np.flatnonzero(sizes < smallest).tolist()),
    )
