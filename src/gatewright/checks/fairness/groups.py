"""Whether the model treats declared groups of people alike.

**Question.** For the groups of every declared sensitive column, and of columns crossed: how far are
the model's answers, and its mistakes, apart?

**Method.** Classification, for the positive class (for several classes: each against the rest, and
the worst of them): the share answered positive (demographic parity; its ratio is the four-fifths
rule of the US Uniform Guidelines, 29 CFR 1607.4 D), the true-positive rate (equal opportunity:
Hardt, Price & Srebro, NeurIPS 2016), both error rates at once (equalised odds, the same paper) and
precision (predictive parity: Chouldechova, Big Data 5:153, 2017). Regression: the mean answer and
the mean error. Groups have Wilson's intervals (means: Student's t); the difference and the ratio of
the two groups furthest apart have intervals too, see ``disparities.py``. The check judges equalised
odds, or the mean error in robust standard deviations of the true values, by the *pessimistic* bound: it
passes when even that is within the limit.

**Too small.** The groups are those of the train rows and of all test rows, so that one without a
labelled test row is not forgotten: it has 0 rows. A group with fewer rows than ``smallest_group`` under a rate cannot be judged by it:
the bound of the difference is then 1 and that of the ratio 0, so that no rule can hold, and the
check is ``unknown`` where it judges that rate. Crossed groups that are too small are only listed,
unless ``small_crossings_count``.

**Not shown.** Whether the true answers are themselves unfair; groups that no declared column tells
apart; more columns crossed than ``crossed``; fairness to single people. Demographic parity, equal
rates of error and predictive parity cannot all hold where the groups' base rates differ
(Kleinberg, Mullainathan & Raghavan, ITCS 2017), so which one matters is for the policy to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gatewright.checks.answers import ClassAnswers, NoAnswers, ValueAnswers, answers_of
from gatewright.checks.case import Case
from gatewright.checks.cuts import labels_of_all
from gatewright.checks.fairness.disparities import (
    MEANS,
    RATIOS,
    SHARES,
    Disparity,
    Shares,
    largest_difference,
    smallest_ratio,
)
from gatewright.checks.fairness.rates import (
    FALSE_ALARM,
    HIT,
    MEAN_ANSWER,
    MEAN_ERROR,
    PRECISE,
    SELECTED,
    Grouping,
    Numbered,
    Rate,
    Seen,
    class_rates,
    crossings,
    grouping_of,
    narrowed,
    see,
    value_rates,
)
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import CONFIDENCE, WILSON, computable, robust_spread
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "fairness.groups"
TITLE = "Are declared groups of people treated alike?"
ODDS = "equalised-odds-difference"
ERROR = "mean-error-difference"
RATIO_OF = "-ratio"
GAPS: dict[str, tuple[str, ...]] = {
    "demographic-parity-difference": (SELECTED,),
    "demographic-parity-ratio": (SELECTED,),
    "equal-opportunity-difference": (HIT,),
    ODDS: (HIT, FALSE_ALARM),
    "equalised-odds-ratio": (HIT, FALSE_ALARM),
    "predictive-parity-difference": (PRECISE,),
    ERROR: (MEAN_ERROR,),
    "mean-prediction-difference": (MEAN_ANSWER,),
}
"""Each distance between groups, and the rates that it is the worst of."""
_CLASSES = (Task.BINARY, Task.MULTICLASS)
_VALUES = (Task.REGRESSION,)
_MEANS = (MEAN_ERROR, MEAN_ANSWER)
METRICS = {
    **{name: _VALUES if rates[0] in _MEANS else _CLASSES for name, rates in GAPS.items()},
    **dict.fromkeys((SELECTED, HIT, FALSE_ALARM, PRECISE), _CLASSES),
    **dict.fromkeys(_MEANS, _VALUES),
}
MOST_COLUMNS = 12
"""Declared sensitive columns that are compared; with more the check is ``unknown``."""
MOST_GROUPS = 1_000
"""Groups of one column that are compared; with more the check is ``unknown``."""
MOST_REPORTED = 240
"""Numbers of single groups in the report, declared columns first; all are judged."""
MOST_NAMED = 40
MOST_WORST = 20
STUDENT = "Student's t"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Limits on equalised odds (0 to 1) and on the mean error (in robust deviations of the truth).

    ``smallest_group``: rows that a group must have under a rate. ``crossed``: columns crossed at
    once, 1 for none. ``positive_class``: as in ``performance.metrics``; ``bins``: equal-mass parts
    of a numeric column.
    """

    largest_odds_difference: float = 0.2
    largest_error_difference: float = 0.5
    smallest_group: int = 30
    crossed: int = 2
    small_crossings_count: bool = False
    positive_class: str = ""
    bins: int = 4

    def __post_init__(self) -> None:
        good = 0 <= self.largest_odds_difference <= 1 and self.largest_error_difference >= 0
        if not (good and self.smallest_group >= 10 and 1 <= self.crossed <= 3 and 2 <= self.bins <= 20):
            raise Misuse(
                "checks.parameter",
                f"{NAME} takes largest_odds_difference from 0 to 1, largest_error_difference from 0, "
                "smallest_group from 10, crossed from 1 to 3, bins from 2 to 20.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gap:
    """How far the groups of one grouping are apart; ``ends`` names the two groups and their rates.

    ``doubtful``: a group that counts is too small, or there is only one.
    """

    metric: Metric
    doubtful: bool
    ends: str


def _group_metrics(grouping: Grouping, seen: Numbered) -> list[Metric]:
    low, high = seen.numbers.bounds(CONFIDENCE)
    rows = zip(seen.places, seen.sizes, seen.numbers.values, low, high, strict=True)
    of = f": {seen.rate.of}" if seen.rate.of else ""
    return [
        Metric(
            name=seen.rate.name,
            value=float(value),
            low=float(min(below, value)),
            high=float(max(above, value)),
            size=int(size),
            method=WILSON if seen.rate.share else STUDENT,
            slice=f"{grouping.groups[place]}{of}",
        )
        for place, size, value, below, above in rows
    ]


def _ends(grouping: Grouping, found: Disparity, family: Numbered) -> str:
    """As ``true-positive-rate 0.61 for sex=Male and 0.53 for sex=Female``."""
    of = f" of {family.rate.of}" if family.rate.of else ""
    ends = [
        f"{family.numbers.values[k]:.4g} for {grouping.groups[family.places[k]]}"
        for k in (found.upper, found.lower)
    ]
    return f"{family.rate.name}{of} {' and '.join(ends)}"


def _apart(name: str, families: Sequence[Numbered]) -> Disparity | None:
    if name.endswith(RATIO_OF):
        return smallest_ratio([one.numbers for one in families if isinstance(one.numbers, Shares)])
    return largest_difference([one.numbers for one in families])


def _bounds(name: str, found: Disparity, judged: Disparity | None) -> tuple[float, float]:
    """The bounds where a group is too small: one from the judged groups, the other the worst there is."""
    if name.endswith(RATIO_OF):
        return 0.0, max(found.value, judged.high if judged else 1.0)
    return min(found.value, judged.low if judged else 0.0), 1.0


def _gap(name: str, grouping: Grouping, seen: Sequence[Seen]) -> _Gap | None:
    """One distance within one grouping; None where there is nothing to compare.

    Where a group that counts is too small the value is over all groups with rows. Means have no
    worst value, and so no metric then.
    """
    alone = grouping.alone
    doubtful = grouping.small_count and (alone or any(one.small for one in seen))
    share = seen[0].judged.rate.share
    whole = all(len(one.judged.places) > 1 for one in seen)
    judged = _apart(name, [one.judged for one in seen]) if whole else None
    families = [one.every if doubtful else one.judged for one in seen]
    found = _apart(name, families) if doubtful else judged
    if alone or found is None or (doubtful and not share):
        return None
    low, high = _bounds(name, found, judged) if doubtful else (found.low, found.high)
    metric = Metric(
        name=name,
        value=found.value,
        low=max(0.0, low),
        high=min(1.0, high) if share else high,
        size=int(sum(one.sizes.sum() for one in families)),
        method=MEANS if not share else RATIOS if name.endswith(RATIO_OF) else SHARES,
        slice=grouping.name,
    )
    return _Gap(metric=metric, doubtful=doubtful, ends=_ends(grouping, found, families[found.family]))


def _gaps(grouping: Grouping, seen: Sequence[Seen]) -> list[_Gap]:
    gaps: list[_Gap] = []
    for name, rates in GAPS.items():
        wanted = [one for one in seen if one.every.rate.name in rates]
        found = _gap(name, grouping, wanted) if wanted else None
        if found is not None:
            gaps.append(found)
    return gaps


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standard:
    """What the check judges: the distance, its limit in the metric's unit, and its rates."""

    name: str
    limit: float

    @property
    def rates(self) -> tuple[str, ...]:
        return GAPS[self.name]


def _standard(found: ClassAnswers | ValueAnswers, parameters: Parameters) -> _Standard | None:
    """What is judged; None where numbers overflow or vanish on the way to a spread."""
    if isinstance(found, ClassAnswers):
        return _Standard(name=ODDS, limit=parameters.largest_odds_difference)
    with np.errstate(over="ignore"):  # computable tells it
        errors = found.answer - found.truth
    if not all(computable(values) for values in (found.truth, found.answer, errors)):
        return None
    return _Standard(name=ERROR, limit=parameters.largest_error_difference * robust_spread(found.truth))


def _doubts(seen: Sequence[tuple[Grouping, Sequence[Seen]]], standard: _Standard) -> list[str]:
    """What could not be judged and counts, as sentences; the smallest groups first."""
    alone = [
        f"The test rows hold only one group of {grouping.name}."
        for grouping, _ in seen
        if grouping.small_count and grouping.alone
    ]
    small = sorted(
        (rows, group, one.every.rate.name)
        for grouping, numbers in seen
        for one in numbers
        for group, rows in one.small
        if grouping.small_count and one.every.rate.name in standard.rates
    )
    return alone + [f"{group} has {rows} rows for its {rate}." for rows, group, rate in small]


def _evidence(
    seen: Sequence[tuple[Grouping, Sequence[Seen]]], worst: Sequence[_Gap], standard: _Standard
) -> dict[str, Json]:
    small: list[Json] = [
        {"slice": group, "metric": one.every.rate.name, "of": one.every.rate.of, "rows": rows}
        for _, numbers in seen
        for one in numbers
        for group, rows in one.small
    ]
    return {
        "judged_by": standard.name,
        "limit": standard.limit,
        "groups": sum(len(grouping.groups) for grouping, _ in seen),
        "worst": [
            {
                "slice": gap.metric.slice,
                "value": gap.metric.value,
                "at_most": gap.metric.high,
                "ends": gap.ends,
            }
            for gap in worst[:MOST_WORST]
        ],
        "too_small": small[:MOST_NAMED],
        "too_small_total": len(small),
    }


def _conclude(worst: Sequence[_Gap], doubts: Sequence[str], standard: _Standard, smallest: int) -> Finding:
    """The outcome with its words; ``worst`` are the gaps that the check judges, the widest first."""
    clear = [gap for gap in worst if gap.metric.low > standard.limit]
    beyond = clear or [gap for gap in worst if not gap.doubtful and gap.metric.high > standard.limit]
    if beyond:
        metric = beyond[0].metric
        words = (
            f"{metric.value:.3g}, interval {metric.low:.3g} to {metric.high:.3g}, limit {standard.limit:.3g}"
        )
        shown = "are treated differently" if clear else "are not shown to be treated alike"
        return Finding(
            check=NAME,
            outcome=Outcome.FAILED,
            summary=f"Groups of {metric.slice} {shown}: {standard.name} {words}; {beyond[0].ends}.",
            next="Mend the model, by reweighing its training rows for example, and measure again."
            if clear
            else "The interval reaches beyond the limit: give more test rows of the smaller groups, or mend the model.",
        )
    if doubts:
        return Finding(
            check=NAME,
            outcome=Outcome.UNKNOWN,
            summary="Not every declared group could be judged.",
            reason=f"{doubts[0]} {smallest} is the least." + f" {len(doubts) - 1} more." * (len(doubts) > 1),
            next="Merge small groups in the data, gather more test rows of them, or set smallest_group in "
            "the policy and accept wider intervals.",
        )
    most = worst[0].metric.high if worst else 0.0
    return Finding(
        check=NAME,
        outcome=Outcome.PASSED,
        summary=f"The {standard.name} of no declared or crossed groups is above {most:.3g} "
        f"(limit {standard.limit:.3g}).",
    )


def _no_answer(outcome: Outcome, reason: str, advice: str = "") -> Finding:
    return Finding(
        check=NAME, outcome=outcome, summary="Groups of people were not compared.", reason=reason, next=advice
    )


def _refuse(case: Case, parameters: Parameters) -> Finding | None:
    """Why nothing can be compared, where that is known before anything is measured."""
    if not case.sensitive:
        return _no_answer(
            Outcome.SKIPPED,
            "The data set declares no sensitive column.",
            "Declare the columns that describe groups of people, if the rows are about people.",
        )
    if len(case.sensitive) > MOST_COLUMNS:
        return _no_answer(
            Outcome.UNKNOWN,
            f"{len(case.sensitive)} sensitive columns are declared; {MOST_COLUMNS} is the most.",
            "Declare the columns that matter most.",
        )
    absent = [name for name in case.sensitive if name not in case.test]
    if absent:
        return _no_answer(
            Outcome.UNKNOWN,
            f"The test rows have no column {absent[0]!r}.",
            "Keep the declared columns in the test rows; the model need not use them.",
        )
    wanted = parameters.positive_class
    if wanted and case.signature.task is Task.BINARY and wanted not in case.signature.classes:
        return _no_answer(
            Outcome.UNKNOWN,
            f"The positive class {wanted!r} is not a class of the model.",
            f"Name one of: {', '.join(case.signature.classes[:20])}.",
        )
    return None


def _too_many(groupings: Sequence[Grouping], smallest: int) -> Finding | None:
    """The refusal of more groups than are compared; crossed groups count where they have the rows."""
    for grouping in groupings:
        large = int((np.bincount(grouping.place) >= smallest).sum())
        groups = len(grouping.groups) if grouping.small_count else large
        if groups > MOST_GROUPS:
            return _no_answer(
                Outcome.UNKNOWN,
                f"{grouping.name} has {groups} groups; {MOST_GROUPS} is the most.",
                "Merge values into fewer groups, declare a coarser column, or cross fewer columns.",
            )
    return None


def _rates(case: Case, found: ClassAnswers | ValueAnswers, wanted: str) -> tuple[Rate, ...]:
    if isinstance(found, ValueAnswers):
        return value_rates(found)
    if case.signature.task is Task.BINARY and len(found.classes) > 1:
        return class_rates(found, [found.classes.index(wanted) if wanted else 1], named=False)
    return class_rates(found, range(len(found.classes)), named=True)


def run(case: Case, parameters: Parameters) -> Finding:
    """Compare the groups of every declared sensitive column, and of columns crossed."""
    refusal = _refuse(case, parameters)
    if refusal is not None:
        return refusal
    found = answers_of(case)
    if isinstance(found, NoAnswers):
        return _no_answer(Outcome.UNKNOWN, found.reason, found.next)
    standard = _standard(found, parameters)
    if standard is None:
        return _no_answer(
            Outcome.UNKNOWN,
            "The true values or the answers are too large, or too close together, to compute their spread.",
            "Give the target in another unit, and look for values that cannot be right.",
        )
    labelled = {name: labels_of_all(name, case.test, case.train, parameters.bins) for name in case.sensitive}
    single = [grouping_of(name, labels) for name, (labels, _) in labelled.items()]
    crossed = crossings(single, depth=parameters.crossed, small_count=parameters.small_crossings_count)
    groupings = [narrowed(grouping, found.rows) for grouping in (*single, *crossed)]
    many = _too_many(groupings, parameters.smallest_group)
    if many is not None:
        return many
    rates = _rates(case, found, parameters.positive_class)
    seen = [
        (grouping, [see(rate, grouping, parameters.smallest_group) for rate in rates])
        for grouping in groupings
    ]
    gaps = [gap for grouping, numbers in seen for gap in _gaps(grouping, numbers)]
    worst = sorted(
        (gap for gap in gaps if gap.metric.name == standard.name), key=lambda gap: -gap.metric.high
    )
    concluded = _conclude(worst, _doubts(seen, standard), standard, parameters.smallest_group)
    own = [
        one for grouping, numbers in seen for rate in numbers for one in _group_metrics(grouping, rate.judged)
    ]
    return replace(
        concluded,
        metrics=(*(gap.metric for gap in gaps), *own[:MOST_REPORTED]),
        evidence={
            "edges": {name: list(cuts) for name, (_, cuts) in labelled.items() if cuts},
            **_evidence(seen, worst, standard),
        },
    )
