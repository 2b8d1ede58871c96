"""Two model versions on the same rows: in what one is better, where they disagree, what they cost.

Every difference is paired, row by row, and told as B minus A. The tests of the measures hold
together (Holm 1979), and so do those of the slices. Nothing is called better that was not shown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.answers import ClassAnswers, NoAnswers, ValueAnswers, answers_of
from gatewright.checks.case import Case, Timing
from gatewright.checks.contrasts import SIGNIFICANT, Contrast, contrasts
from gatewright.checks.intervals import Interval, quantile, wilson
from gatewright.checks.paired import Difference, holm, means, shares
from gatewright.checks.parts import cut

SMALLEST_SLICE = 30
BINS = 4
MOST_SLICES = 10
MOST_ROWS_NAMED = 20
SMALLER, FASTER = 0.8, 0.5
"""From this share of the other's size or time on, a version counts as smaller or faster.

The times are of two processes, one after the other, on a machine that may do other things: only a
large difference is told.
"""

A, B, NEITHER, MIXED, NOTHING = "a", "b", "neither", "mixed", "nothing"
"""What is recommended: a version, the cheaper of two that do not differ, a choice by people, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One measure of both; ``difference`` is B minus A, ``p`` holds over all measures, ``better`` is a, b or ""."""

    name: str
    a: float
    b: float
    higher_is_better: bool
    difference: float
    low: float
    high: float
    p: float
    method: str
    better: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceDifference:
    """A part of the rows where one version is shown to be better; fields as in :class:`Measured`."""

    slice: str
    measure: str
    rows: int
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    better: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What both cost, less being better; ``cheaper`` is a, b or "" where no clear difference is shown."""

    name: str
    unit: str
    a: float
    b: float
    cheaper: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRow:
    """A test row (from 1, the header not counted) on which the versions differ most."""

    row: int
    truth: str
    a: str
    b: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """On how many rows the answers differ, and who is right there (zeros for values)."""

    rows: int
    differ: int
    low: float
    high: float
    only_a_right: int
    only_b_right: int
    named: tuple[NamedRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All of it, and what follows: ``recommended`` is one of the codes of this module, ``sentence`` its words.

    ``doubts`` say why the numbers prove nothing; ``slices_tested`` counts the slices looked at.
    """

    a: str
    b: str
    measures: tuple[Measured, ...]
    costs: tuple[Cost, ...]
    disagreement: Disagreement
    slices: tuple[SliceDifference, ...]
    slices_tested: int
    doubts: tuple[str, ...]
    recommended: str
    sentence: str


def compare(
    a: Case, b: Case, names: tuple[str, str], doubts: Sequence[str], denied: Collection[str] = ()
) -> Comparison | NoAnswers:
    """Compare the answers of two cases with the same test rows and the same classes.

    ``denied`` are the names that the policy denied when they were last checked: none of them is recommended.
    """
    found = answers_of(a), answers_of(b)
    for each in found:
        if isinstance(each, NoAnswers):
            return each
    left, right = found
    if isinstance(left, NoAnswers) or isinstance(right, NoAnswers):  # looked at above; for the type
        return NoAnswers(reason="There are no answers.", next="Ask both models.")
    measures = tuple(_measured(each) for each in contrasts(right, left))
    slices, tested = _slices(b, left, right)
    costs = tuple(_costs(a.timing, b.timing))
    comparison = Comparison(
        a=names[0],
        b=names[1],
        measures=measures,
        costs=costs,
        disagreement=_disagreement(left, right),
        slices=slices,
        slices_tested=tested,
        doubts=tuple(doubts),
        recommended=NOTHING,
        sentence="",
    )
    recommended, sentence = _recommendation(comparison, denied)
    return replace(comparison, recommended=recommended, sentence=sentence)


def _measured(each: Contrast) -> Measured:
    """A contrast of B over A, turned back so that the difference has the measure's own sign."""
    change = each.gain if each.higher_is_better else each.gain.reversed
    return Measured(
        name=each.name,
        a=each.right,
        b=each.left,
        higher_is_better=each.higher_is_better,
        difference=change.value,
        low=change.low,
        high=change.high,
        p=each.adjusted,
        method=change.method,
        better=B if each.better else A if each.worse else "",
    )


def _rows(found: ClassAnswers | ValueAnswers) -> NDArray[np.float64]:
    """How wrong each answer is, shape (n,): 0 or 1, or the absolute error."""
    if isinstance(found, ClassAnswers):
        return np.asarray(found.truth != found.answer, dtype=np.float64)
    return np.abs(found.truth - found.answer)


def _slices(
    case: Case, left: ClassAnswers | ValueAnswers, right: ClassAnswers | ValueAnswers
) -> tuple[tuple[SliceDifference, ...], int]:
    """The parts of every column where the versions differ beyond chance, the largest difference first."""
    measure = "accuracy" if isinstance(left, ClassAnswers) else "mae"
    one, other = _rows(left), _rows(right)
    tested: list[tuple[str, NDArray[np.bool_], Difference]] = []
    learned = {column.name: column for column in case.train.columns}
    for column in case.test.columns:
        if column.name == case.target:
            continue
        parts = cut(column, learned.get(column.name), left.rows, BINS)
        for index, name in enumerate(parts.names):
            inside = parts.codes == index
            if inside.sum() >= SMALLEST_SLICE and (gap := _gap(one[inside], other[inside], measure)):
                tested.append((name, inside, gap))
    corrected = holm([gap.p for _, _, gap in tested])
    found = [
        SliceDifference(
            slice=name,
            measure=measure,
            rows=int(inside.sum()),
            a=_value(one[inside], measure),
            b=_value(other[inside], measure),
            difference=gap.value,
            low=gap.low,
            high=gap.high,
            p=p,
            better=B if (gap.value > 0) == (measure == "accuracy") else A,
        )
        for (name, inside, gap), p in zip(tested, corrected, strict=True)
        if p < SIGNIFICANT
    ]
    found.sort(key=lambda each: (-abs(each.difference), each.slice))
    return tuple(found[:MOST_SLICES]), len(tested)


def _value(errors: NDArray[np.float64], measure: str) -> float:
    return float(1 - errors.mean() if measure == "accuracy" else errors.mean())


def _gap(one: NDArray[np.float64], other: NDArray[np.float64], measure: str) -> Difference | None:
    """B minus A in the measure's own sign."""
    return shares(other == 0, one == 0) if measure == "accuracy" else means(other, one)


def _disagreement(left: ClassAnswers | ValueAnswers, right: ClassAnswers | ValueAnswers) -> Disagreement:
    gaps = np.abs(np.asarray(left.answer, dtype=np.float64) - np.asarray(right.answer, dtype=np.float64))
    differ = np.flatnonzero(gaps > 0)
    share = wilson(len(differ), len(gaps))
    right_ones = [0, 0]
    if isinstance(left, ClassAnswers):
        one, other = left.answer == left.truth, right.answer == left.truth
        right_ones = [int((one & ~other).sum()), int((~one & other).sum())]
        worst = differ[:MOST_ROWS_NAMED]
    else:
        worst = differ[np.argsort(-gaps[differ], kind="stable")][:MOST_ROWS_NAMED]
    return Disagreement(
        rows=len(gaps),
        differ=len(differ),
        low=share.low,
        high=share.high,
        only_a_right=right_ones[0],
        only_b_right=right_ones[1],
        named=tuple(
            NamedRow(
                row=int(left.rows[place]) + 1,
                truth=_said(left, left.truth[place]),
                a=_said(left, left.answer[place]),
                b=_said(right, right.answer[place]),
            )
            for place in worst
        ),
    )


def _said(found: ClassAnswers | ValueAnswers, value: float) -> str:
    if isinstance(found, ValueAnswers):
        return f"{value:.6g}"
    return found.classes[int(value)] if value >= 0 else "(no class)"


def _costs(a: Timing | None, b: Timing | None) -> Iterator[Cost]:
    """Size and time of a single row; times differ only where their intervals do, too."""
    if a is None or b is None:
        return
    yield Cost(
        name="model size",
        unit="bytes",
        a=float(a.model_bytes),
        b=float(b.model_bytes),
        cheaper=_smaller(a.model_bytes, b.model_bytes),
    )
    times = np.sort(a.single_row) * 1e3, np.sort(b.single_row) * 1e3
    for name, share in (("median time of a row", 0.5), ("p99 time of a row", 0.99)):
        one, other = (float(np.quantile(each, share)) for each in times)
        bounds = quantile(times[0], share), quantile(times[1], share)
        yield Cost(name=name, unit="ms", a=one, b=other, cheaper=_faster(*bounds))


def _smaller(a: int, b: int) -> str:
    return A if a <= SMALLER * b else B if b <= SMALLER * a else ""


def _faster(a: Interval | None, b: Interval | None) -> str:
    if a is None or b is None:
        return ""
    return A if a.high <= FASTER * b.low else B if b.high <= FASTER * a.low else ""


_LAST = "when it was last checked"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]


def _recommendation(found: Comparison, denied: Collection[str]) -> tuple[str, str]:
    """What follows from the numbers and from what the policy denied, and in which words."""
    if found.doubts:
        return NOTHING, f"Nothing is recommended: {' '.join(found.doubts)}"
    if {found.a, found.b} <= set(denied):
        return NOTHING, "Nothing is recommended: the policy denied both when they were last checked."
    better = [each.name for each in found.measures if each.better == B]
    worse = [each.name for each in found.measures if each.better == A]
    better_slices = [each.slice for each in found.slices if each.better == B]
    worse_slices = [each.slice for each in found.slices if each.better == A]
    rises = _words(better, better_slices)
    falls = _words(worse, worse_slices)
    if rises and falls:
        but = f" The policy denied {next(iter(denied))} {_LAST}." if denied else ""
        said = f"{found.b} is better {rises}, and worse {falls}."
        return MIXED, f"{said} Decide which of them your use needs.{but}"
    if rises and found.b in denied:
        said = f"{found.b} is better {rises}, but the policy denied it {_LAST}."
        return A, f"{said} Keep {found.a} until a check of {found.b} is allowed."
    if falls and found.a in denied:
        said = f"{found.b} is worse {falls}, and the policy denied {found.a} {_LAST}."
        return NOTHING, f"Nothing is recommended: {said}"
    if rises:
        return B, f"{found.b} is better {rises}; nothing shows it is worse. Ship {found.b}."
    if falls:
        return A, f"{found.b} is worse {falls}; nothing shows it is better. Keep {found.a}."
    return NEITHER, _undecided(found, denied)


def _words(measures: Sequence[str], slices: Sequence[str]) -> str:
    said = [f"in {_listed(measures)}"] if measures else []
    if slices:
        said.append(f"where {slices[0]}" + f" (and {len(slices) - 1} more slices)" * (len(slices) > 1))
    return " and ".join(said)


def _undecided(found: Comparison, denied: Collection[str]) -> str:
    """Two versions that do not differ: the one that is not denied stays, else the cheaper one, else A."""
    size = found.disagreement.rows
    said = (
        "Both give the same answers"
        if not found.disagreement.differ and all(each.difference == 0 for each in found.measures)
        else f"No difference is shown on {size:,} rows"
    )
    for name, other in ((found.a, found.b), (found.b, found.a)):
        if name in denied:
            return f"{said}. Keep {other}: the policy denied {name} {_LAST}."
    cheaper = {each.cheaper for each in found.costs} - {""}
    names = {A: found.a, B: found.b}
    if len(cheaper) == 1:
        which = cheaper.pop()
        why = _listed(
            list(dict.fromkeys(
                "smaller" if each.unit == "bytes" else "faster" for each in found.costs if each.cheaper == which
            ))
        )  # fmt: skip
        return f"{said}. Keep the {why} one, {names[which]}."
    return f"{said}, and neither is cheaper in everything. Keep {found.a}."
