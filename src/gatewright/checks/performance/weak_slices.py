"""Weak slices that nobody declared: where the model errs much more than elsewhere.

**Question.** Is there a part of the rows, by one column or two, where the answers are clearly worse
than over all rows?

**Method.** The test rows are split at random in two halves. In the first half every part of every
column (the model's own and the others in the test rows; texts by value, numbers in ``bins`` parts
of equal mass with edges from the training rows) and every pair of parts of two columns is looked
at; the at most ``MOST_NAMED`` worst that do not overlap are kept. Only these are tested, on the
second half, where nothing was searched: shares of wrong answers by the hypergeometric distribution
(Fisher's exact test, one-sided), absolute errors by Welch's t. The tests hold together (Holm 1979),
so the chance that *any* slice is named where all rows are alike is at most 5 %, whatever the number
of columns: a test proves it by simulation. Splitting is preferred to a permutation of the largest
statistic, because the numbers told about a slice then come from rows that did not choose it. A slice is named when it
is confirmed and worse than overall by ``smallest_gap`` (accuracy) or ``smallest_ratio`` (times the
mean absolute error). The check fails when even the better end of its interval, which holds together
over the slices tested, is worse by ``largest_gap`` or ``largest_ratio``.

**Far errors.** An absolute error beyond the third quartile by more than ``FAR`` interquartile ranges
counts as just that far, so that no single row can hide a slice by raising the overall error. The
evidence tells the limit and how many rows it met; the numbers of this check are of limited errors.

**Not shown.** Slices smaller than ``smallest_slice`` rows in either half, slices by three columns,
and parts that the bins blur. A weak slice is where the answers are worse, not why: the evidence
says, where the model states probabilities, whether it knows (``stated``: the accuracy it states for
those rows). Beyond ``MOST_ROWS`` rows a random part is looked at, and beyond ``MOST_PAIRED``
columns pairs are made of the columns with the worst parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, stdtr

from gatewright.checks.answers import ClassAnswers, Floats, Indices, NoAnswers, ValueAnswers, answers_of
from gatewright.checks.case import Case
from gatewright.checks.contrasts import SIGNIFICANT, probabilities
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import CONFIDENCE, Interval, computable, positive_mean, wilson
from gatewright.checks.paired import holm
from gatewright.checks.parts import Cut, cut
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "performance.weak-slices"
TITLE = "Is there a weak slice that nobody declared?"
METRICS = {
    "weak-slices": tuple(Task),
    "accuracy": (Task.BINARY, Task.MULTICLASS),
    "mae": (Task.REGRESSION,),
}
MOST_ROWS = 100_000
MOST_CELLS = 20_000_000
"""Rows times columns; fewer rows are looked at where there would be more."""
MOST_PAIRED = 50
MOST_CONSIDERED = 300
MOST_NAMED = 10
LARGEST_OVERLAP = 0.5
"""A slice that shares more of its rows with a worse one must be clearly worse than that one's other rows."""
FAR = 10.0
"""In interquartile ranges; Tukey ("Exploratory Data Analysis", 1977) calls values far out from 3 on."""
CLEARLY = 4.0
"""In standard errors, in the half that was searched."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_gap``, ``largest_ratio``: how much worse a slice may be, in accuracy and as a multiple of the error.

    ``smallest_gap``, ``smallest_ratio``: from when on a slice is named. ``smallest_slice``: rows it
    needs in either half. ``bins``: equal-mass parts of a numeric column.
    """

    largest_gap: float = 0.20
    largest_ratio: float = 2.0
    smallest_gap: float = 0.05
    smallest_ratio: float = 1.25
    smallest_slice: int = 20
    bins: int = 4

    def __post_init__(self) -> None:
        gaps = 0 <= self.smallest_gap <= self.largest_gap and 1 <= self.smallest_ratio <= self.largest_ratio
        if not (gaps and self.smallest_slice >= 10 and 2 <= self.bins <= 20):
            raise Misuse(
                "checks.parameter",
                f"{NAME} takes 0 <= smallest_gap <= largest_gap, 1 <= smallest_ratio <= largest_ratio, "
                "smallest_slice from 10 and bins from 2 to 20.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A slice of one part or of two, as places of cuts and parts; ``z`` is how far it stood out in the search."""

    parts: tuple[tuple[int, int], ...]
    z: float

    def name(self, cuts: Sequence[Cut]) -> str:
        return " & ".join(cuts[index].names[part] for index, part in self.parts)

    def members(self, cuts: Sequence[Cut]) -> Flags:
        """Which rows are in the slice, over both halves."""
        inside = [cuts[index].codes == part for index, part in self.parts]
        return np.asarray(np.all(inside, axis=0), dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tested:
    """A candidate in the second half: mean error inside and overall, and the chance of standing out so far."""

    name: str
    rows: Indices
    errors: Floats
    overall: float
    p: float
    adjusted: float = 1.0

    @property
    def value(self) -> float:
        return float(self.errors.mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """How an error is judged: by its gap (share of wrong answers) or its ratio (absolute errors)."""

    shares: bool
    smallest: float
    largest: float

    def excess(self, error: float, overall: float) -> float:
        return error - overall if self.shares else error / overall if overall > 0 else 1.0

    def interval(self, errors: Floats, confidence: float) -> Interval | None:
        if self.shares:
            return wilson(float(errors.sum()), len(errors), confidence)
        return positive_mean(errors, confidence)


def run(case: Case, parameters: Parameters) -> Finding:
    """Search one half of the test rows for weak slices, and confirm them on the other."""
    found = answers_of(case)
    if isinstance(found, NoAnswers):
        return _none(Outcome.UNKNOWN, found.reason, found.next)
    columns = [column for column in case.test.columns if column.name != case.target]
    if not columns:
        return _none(Outcome.SKIPPED, "The test rows have no column but the target.")
    most = min(MOST_ROWS, MOST_CELLS // len(columns))
    places = np.random.default_rng(case.seed).permutation(len(found.rows))[:most]
    half = len(places) // 2
    if half < 2 * parameters.smallest_slice:
        return _none(
            Outcome.UNKNOWN,
            f"There are {len(found.rows)} test rows with an answer; a slice and its rest need "
            f"{4 * parameters.smallest_slice}.",
            "Give more test rows.",
        )
    errors, limited = _limited(_errors(found)[places])
    if not computable(errors):
        return _none(
            Outcome.UNKNOWN,
            "The errors are too large, or too close together, to compute their spread.",
            "Give the target in another unit, and look for values that cannot be right.",
        )
    learned = {column.name: column for column in case.train.columns}
    rows = found.rows[places]
    cuts = [cut(column, learned.get(column.name), rows, parameters.bins) for column in columns]
    scale = _scale(found, parameters)
    candidates, searched = _search(cuts, errors, half, parameters.smallest_slice, scale)
    if not searched[2]:
        return _none(
            Outcome.UNKNOWN,
            f"No slice has {parameters.smallest_slice} rows in either half.",
            "Give more test rows.",
        )
    tested = _confirm(candidates, cuts, errors, half, parameters.smallest_slice)
    seen = {**_seen(found, places, searched, half), **limited}
    return _finding(tested, scale, seen, _stated(found, places))


def _none(outcome: Outcome, reason: str, advice: str = "") -> Finding:
    return Finding(
        check=NAME, outcome=outcome, summary="No weak slice was looked for.", reason=reason, next=advice
    )


def _scale(found: ClassAnswers | ValueAnswers, parameters: Parameters) -> _Scale:
    if isinstance(found, ClassAnswers):
        return _Scale(shares=True, smallest=parameters.smallest_gap, largest=parameters.largest_gap)
    return _Scale(shares=False, smallest=parameters.smallest_ratio, largest=parameters.largest_ratio)


def _errors(found: ClassAnswers | ValueAnswers) -> Floats:
    """1 where an answer is wrong, or how far it is off; shape (n,)."""
    if isinstance(found, ClassAnswers):
        return np.asarray(found.truth != found.answer, dtype=np.float64)
    with np.errstate(over="ignore"):  # computable tells it
        return np.abs(found.truth - found.answer)


def _limited(errors: Floats) -> tuple[Floats, dict[str, Json]]:
    """The errors with the far ones moved in, and what to tell of that; shares of wrong answers stay."""
    with np.errstate(invalid="ignore"):  # infinite errors: computable tells it
        low, high = np.quantile(errors, [0.25, 0.75])
    limit = float(high + FAR * (high - low))
    far = int((errors > limit).sum())
    if not (high > low and far):
        return errors, {}
    return np.minimum(errors, limit), {"errors_limited_at": limit, "rows_limited": far}


def _stated(found: ClassAnswers | ValueAnswers, places: Indices) -> Floats | None:
    """The probability that the model states for its own answers, shape (n,)."""
    stated = probabilities(found) if isinstance(found, ClassAnswers) else None
    return None if stated is None else stated.max(axis=1)[places]


def _seen(
    found: ClassAnswers | ValueAnswers, places: Indices, searched: tuple[int, int, int], half: int
) -> dict[str, Json]:
    columns, paired, slices = searched
    return {
        "columns": columns,
        "columns_paired": paired,
        "slices_searched": slices,
        "rows": len(found.rows),
        "rows_searched": half,
        "rows_confirming": len(places) - half,
        "multiplicity": "one half searched, the other confirms; Holm over the slices tested",
    }


def _search(
    cuts: Sequence[Cut], errors: Floats, half: int, smallest: int, scale: _Scale
) -> tuple[list[_Candidate], tuple[int, int, int]]:
    """The worst slices of the first half that do not overlap; and how much was looked at."""
    searched = errors[:half]
    codes = [each.codes[:half] for each in cuts]
    found: list[_Candidate] = []
    worst: list[tuple[float, int]] = []
    count = 0
    for index, each in enumerate(cuts):
        z = _standing_out(codes[index], len(each.names), searched, smallest, scale)
        count += int(np.isfinite(z).sum())
        found += [_Candidate(parts=((index, int(p)),), z=float(z[p])) for p in np.flatnonzero(z > 0)]
        worst.append((-float(z.max()), index))
    paired = sorted(index for _, index in sorted(worst)[:MOST_PAIRED])
    for one, other in ((a, b) for at, a in enumerate(paired) for b in paired[at + 1 :]):
        width = len(cuts[other].names)
        both = np.where((codes[one] < 0) | (codes[other] < 0), -1, codes[one] * width + codes[other])
        z = _standing_out(both, len(cuts[one].names) * width, searched, smallest, scale)
        count += int(np.isfinite(z).sum())
        found += [
            _Candidate(parts=((one, int(p) // width), (other, int(p) % width)), z=float(z[p]))
            for p in np.flatnonzero(z > 0)
        ]
    found.sort(key=lambda each: (-each.z, len(each.parts), each.parts))
    return _apart(found[:MOST_CONSIDERED], cuts, searched), (len(cuts), len(paired), count)


def _standing_out(codes: Indices, parts: int, errors: Floats, smallest: int, scale: _Scale) -> Floats:
    """How many standard errors each part's mean error is above the rest's; -inf where not of interest."""
    inside = np.bincount(codes + 1, minlength=parts + 1)[1:]
    sums = np.bincount(codes + 1, weights=errors, minlength=parts + 1)[1:]
    overall, spread, size = float(errors.mean()), float(errors.std()), len(errors)
    judged = (inside >= smallest) & (inside <= size - smallest)
    if not spread > 0:  # all rows are alike: nothing stands out
        return np.where(judged, 0.0, -np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / inside
        z = (means - overall) / (spread * np.sqrt(1 / inside - 1 / size))
    excess = means - overall if scale.shares else means / overall if overall > 0 else np.zeros(parts)
    worth = np.where(excess >= scale.smallest, z, 0.0)
    return np.asarray(np.where(judged & np.isfinite(z), worth, -np.inf), dtype=np.float64)


def _apart(found: Sequence[_Candidate], cuts: Sequence[Cut], errors: Floats) -> list[_Candidate]:
    """The worst first; one that lies mostly in a worse one stays only where it is clearly worse still."""
    kept: list[tuple[_Candidate, Flags]] = []
    spread = float(errors.std())
    for candidate in found:
        rows = candidate.members(cuts)[: len(errors)]
        if all(_adds(rows, other, errors, spread) for _, other in kept):
            kept.append((candidate, rows))
        if len(kept) == MOST_NAMED:
            break
    return [candidate for candidate, _ in kept]


def _adds(rows: Flags, other: Flags, errors: Floats, spread: float) -> bool:
    both = int((rows & other).sum())
    if both <= LARGEST_OVERLAP * min(int(rows.sum()), int(other.sum())):
        return True
    rest = other & ~rows
    if not rest.any():
        return False
    gap = float(errors[rows].mean() - errors[rest].mean())
    return gap > CLEARLY * spread * float(np.sqrt(1 / rows.sum() + 1 / rest.sum()))


def _confirm(
    candidates: Sequence[_Candidate], cuts: Sequence[Cut], errors: Floats, half: int, smallest: int
) -> list[_Tested]:
    """Each candidate in the second half, with p-values that hold together, the worst first."""
    fresh = errors[half:]
    shares = bool(np.isin(errors, (0.0, 1.0)).all())
    tested: list[_Tested] = []
    for candidate in candidates:
        inside = candidate.members(cuts)[half:]
        rows = np.flatnonzero(inside)
        enough = smallest <= len(rows) <= len(fresh) - smallest
        p = (fisher if shares else welch)(fresh[inside], fresh[~inside]) if enough else 1.0
        tested.append(
            _Tested(
                name=candidate.name(cuts),
                rows=rows + half,
                errors=fresh[inside],
                overall=float(fresh.mean()),
                p=p,
            )
        )
    corrected = holm([each.p for each in tested])
    return [
        _Tested(
            name=each.name, rows=each.rows, errors=each.errors, overall=each.overall, p=each.p, adjusted=p
        )
        for each, p in zip(tested, corrected, strict=True)
    ]


def fisher(inside: Floats, outside: Floats) -> float:
    """Chance of at least so many errors inside, given how many there are in all: Fisher's exact test."""
    m, n = len(inside), len(inside) + len(outside)
    k, all_wrong = int(inside.sum()), int(inside.sum() + outside.sum())
    counts = np.arange(k, min(m, all_wrong) + 1)
    logs = (
        _choose(np.array(all_wrong), counts)
        + _choose(np.array(n - all_wrong), m - counts)
        - _choose(np.array(n), np.array(m))
    )
    return min(1.0, float(np.exp(logs).sum()))


def _choose(n: Indices, k: Indices) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=np.float64)


def welch(inside: Floats, outside: Floats) -> float:
    """One-sided chance of a mean so much higher inside (Welch, Biometrika 34:28-35, 1947)."""
    parts = inside.var(ddof=1) / len(inside), outside.var(ddof=1) / len(outside)
    total = float(sum(parts))
    if total <= 0:
        return 1.0
    freedom = total**2 / float(parts[0] ** 2 / (len(inside) - 1) + parts[1] ** 2 / (len(outside) - 1))
    return float(stdtr(freedom, -float(inside.mean() - outside.mean()) / total**0.5))


def _named(tested: Sequence[_Tested], scale: _Scale) -> Iterator[tuple[_Tested, Interval]]:
    """The confirmed slices that matter, with the interval of each, the worst first."""
    kept = [
        (scale.excess(each.value, each.overall), each)
        for each in tested
        if each.adjusted < SIGNIFICANT and scale.excess(each.value, each.overall) >= scale.smallest
    ]
    for _, each in sorted(kept, key=lambda pair: (-pair[0], pair[1].name)):
        interval = scale.interval(each.errors, CONFIDENCE)
        if interval is not None:
            yield each, interval


def _at_least(each: _Tested, scale: _Scale, tests: int) -> float:
    """How much worse the slice is at the least, at a confidence that holds over all slices tested."""
    together = scale.interval(each.errors, 1 - 2 * (1 - CONFIDENCE) / max(2, tests))
    return -np.inf if together is None else scale.excess(together.low, each.overall)


def _finding(
    tested: Sequence[_Tested], scale: _Scale, seen: dict[str, Json], stated: Floats | None
) -> Finding:
    named = list(_named(tested, scale))
    bounds = [_at_least(each, scale, len(tested)) for each, _ in named]
    failing = [each for (each, _), bound in zip(named, bounds, strict=True) if bound > scale.largest]
    evidence: dict[str, Json] = {
        **seen,
        "slices_tested": len(tested),
        "weak": [
            _described(each, interval, bound, scale, stated)
            for (each, interval), bound in zip(named, bounds, strict=True)
        ],
    }
    metrics = (
        Metric.exact("weak-slices", len(named), size=len(tested)),
        *(_metric(each, interval, scale) for each, interval in named),
    )
    looked = f"{seen['slices_searched']:,} slices of {seen['columns']} columns searched"
    if not named:
        return Finding(
            check=NAME, outcome=Outcome.PASSED, metrics=metrics, evidence=evidence,
            summary=f"No weak slice was confirmed: {looked}, {len(tested)} tested on other rows.",
        )  # fmt: skip
    worst = failing[0] if failing else named[0][0]
    metric = _metric(worst, named[0][1], scale)
    overall = 1 - worst.overall if scale.shares else worst.overall
    summary = (
        f"{len(named)} weak slice{'s' * (len(named) > 1)}; {worst.name}: "
        f"{metric.name} {metric.value:.4g} against {overall:.4g} overall ({looked})."
    )
    return Finding(
        check=NAME,
        outcome=Outcome.FAILED if failing else Outcome.PASSED,
        summary=summary,
        next="Look at the rows of the slice: wrong labels, too few rows in training, or a feature that "
        "means something else there." if failing else "",
        metrics=metrics,
        evidence=evidence,
    )  # fmt: skip


def _metric(each: _Tested, interval: Interval, scale: _Scale) -> Metric:
    low, high = min(interval.low, each.value), max(interval.high, each.value)
    return Metric(
        name="accuracy" if scale.shares else "mae",
        value=1 - each.value if scale.shares else each.value,
        low=1 - high if scale.shares else low,
        high=1 - low if scale.shares else high,
        size=len(each.errors),
        method=interval.method,
        slice=each.name,
    )


def _described(
    each: _Tested, interval: Interval, bound: float, scale: _Scale, stated: Floats | None
) -> dict[str, Json]:
    metric = _metric(each, interval, scale)
    found: dict[str, Json] = {
        "slice": each.name,
        "metric": metric.name,
        "value": metric.value,
        "overall": 1 - each.overall if scale.shares else each.overall,
        "rows": len(each.rows),
        "p_adjusted": each.adjusted,
        "worse_by_at_least": bound if np.isfinite(bound) else None,
    }
    if stated is not None:
        found["stated"] = float(stated[each.rows].mean())
    return found
