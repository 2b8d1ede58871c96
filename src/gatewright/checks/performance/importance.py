"""Which features the model's answers rest on, and whether they all rest on one.

**Question.** How much worse do the answers get when one feature is shuffled among the test rows?
Does one feature alone carry nearly all of the model's skill, as a column does that knows the answer?

**Method.** Permutation importance (Breiman, Machine Learning 45:5-32, 2001, section 10; Fisher,
Rudin & Dominici, JMLR 20:177, 2019): the mean rise of the loss (log loss where the model states
probabilities, else the share of wrong answers; the absolute error for values), over the repetitions
and then over the rows, with Student's paired t over the rows. Features matter where the rise is
above zero after Holm's correction over all features. A feature's share of the skill is the rise of a
bounded loss (the Brier score for probabilities, since the log loss of a few rows can hide all
others; else the loss above) divided by its rise when the whole answers are shuffled, computed over
all pairs of rows, with the delta method for the ratio. The check fails where the lower bound of one
feature's share is above ``largest_share``, no other feature has ``RIVAL`` of that share, and the
model takes at least ``FEWEST_FEATURES`` features. That is a hint, not a proof: some honest tasks
rest on one feature, and then the policy may say ``largest_share = 1.0``.

**Not shown.** Shuffling breaks the ties between features, so the model is asked about rows that
cannot occur; what it does there says little about what it does on real ones. Two features that say
the same can stand in for each other: neither may matter alone, and a leak that two columns share is
not seen. What matters to the model need not matter in the world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gatewright.checks.answers import ClassAnswers, Floats, NoAnswers, ValueAnswers, answers_of
from gatewright.checks.case import Case, Predictions, Shuffled
from gatewright.checks.contrasts import SIGNIFICANT, log_losses, probabilities
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import FEWEST_VALUES, normal_point
from gatewright.checks.paired import Difference, holm, means
from gatewright.checks.performance.shuffling import features_of
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "performance.importance"
TITLE = "Which features do the answers rest on?"
METRICS = {"importance": tuple(Task), "largest-skill-share": tuple(Task)}
FEWEST_FEATURES = 3
RIVAL = 0.2
MOST_REPORTED = 60
"""Features with a metric, those with the largest rise."""
MOST_LISTED = 20
RATIO = "delta method"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_share``: how much of the skill one feature may carry alone; 1 lets it carry all."""

    largest_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.largest_share <= 1:
            raise Misuse("checks.parameter", f"{NAME} takes largest_share from 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share:
    """A part of the model's skill, in [0, 1], with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """One feature: the rise of the loss when it is shuffled, and its share of the skill."""

    feature: str
    rise: Difference
    share: _Share
    adjusted: float = 1.0

    @property
    def matters(self) -> bool:
        return self.adjusted < SIGNIFICANT and self.rise.value > 0


def run(case: Case, parameters: Parameters) -> Finding:
    """Weigh every feature that was shuffled."""
    if not case.shuffled:
        return _none(Outcome.SKIPPED, "No feature was shuffled: none varies, or the model was not asked.")
    if not all(each.answers for each in case.shuffled):
        return _none(
            Outcome.UNKNOWN,
            "The model did not answer the shuffled rows, or is too slow for so many.",
            "See what it does on values that occur, in combinations that did not.",
        )
    rows = case.shuffled[0].rows
    found = _asked(case, rows, _kept(case.predictions, rows))
    if isinstance(found, NoAnswers):
        return _none(Outcome.UNKNOWN, found.reason, found.next)
    cost = _cost(found)
    before = _Before(told=cost.told(found), bounded=cost.bounded(found), guessed=cost.guessed(found))
    skill = before.guessed - before.bounded
    if len(skill) < FEWEST_VALUES or not _shown(skill):
        return _none(
            Outcome.UNKNOWN,
            f"The model shows no skill on {len(skill)} test rows, so no feature can matter.",
            "See performance.baseline.",
        )
    weighed = [one for each in case.shuffled if (one := _weigh(case, each, cost, before)) is not None]
    corrected = holm([each.rise.p for each in weighed])
    weighed = [replace(each, adjusted=p) for each, p in zip(weighed, corrected, strict=True)]
    weighed.sort(key=lambda each: (-each.rise.value, each.feature))
    return _finding(case, weighed, parameters, cost.name)


def _none(outcome: Outcome, reason: str, advice: str = "") -> Finding:
    return Finding(
        check=NAME, outcome=outcome, summary="The features were not weighed.", reason=reason, next=advice
    )


def _kept(predictions: Predictions | None, rows: np.ndarray) -> Predictions | None:
    if predictions is None or len(predictions.labels) <= rows.max(initial=-1):
        return None
    scores = predictions.scores
    return Predictions(labels=predictions.labels[rows], scores=None if scores is None else scores[rows])


def _asked(
    case: Case, rows: np.ndarray, predictions: Predictions | None
) -> ClassAnswers | ValueAnswers | NoAnswers:
    """The answers on some rows of the test split."""
    if len(rows) and rows.max() >= case.test.rows:
        return NoAnswers(reason="The shuffled rows are not rows of the test split.", next="Shuffle again.")
    return answers_of(replace(case, test=case.test.select([case.target]).take(rows), predictions=predictions))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """What answers cost, row by row, shape (n,).

    As it is ``told``; ``bounded``; and ``guessed``: bounded, where all rows' answers are shuffled.
    """

    name: str
    told: Callable[[Any], Floats]
    bounded: Callable[[Any], Floats]
    guessed: Callable[[Any], Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """The costs of the answers to the rows as they are, shape (n,) each."""

    told: Floats
    bounded: Floats
    guessed: Floats


def _scores(found: ClassAnswers) -> Floats:
    stated = probabilities(found)
    assert stated is not None  # noqa: S101 - _cost looked
    return stated


def _brier(found: ClassAnswers) -> Floats:
    stated = _scores(found)
    right = stated[np.arange(len(stated)), found.truth]
    return np.asarray((stated**2).sum(axis=1) - 2 * right + 1, dtype=np.float64)


def _brier_guessed(found: ClassAnswers) -> Floats:
    stated = _scores(found)
    cost = float((stated**2).sum(axis=1).mean()) + 1 - 2 * stated.mean(axis=0)
    return np.asarray(cost[found.truth], dtype=np.float64)


def _wrong(found: ClassAnswers) -> Floats:
    return np.asarray(found.truth != found.answer, dtype=np.float64)


def _wrong_guessed(found: ClassAnswers) -> Floats:
    said = np.bincount(found.answer[found.answer >= 0], minlength=len(found.classes))
    return np.asarray(1 - said[found.truth] / len(found.truth), dtype=np.float64)


def _off(found: ValueAnswers) -> Floats:
    return np.abs(found.truth - found.answer)


def _off_guessed(found: ValueAnswers) -> Floats:
    return np.asarray(np.abs(found.truth[:, None] - found.answer[None, :]).mean(axis=1), dtype=np.float64)


def _log(found: ClassAnswers) -> Floats:
    return log_losses(_scores(found), found.truth)


_STATED = _Cost(name="log loss", told=_log, bounded=_brier, guessed=_brier_guessed)
_NAMED = _Cost(name="share of wrong answers", told=_wrong, bounded=_wrong, guessed=_wrong_guessed)
_VALUED = _Cost(name="absolute error", told=_off, bounded=_off, guessed=_off_guessed)


def _cost(found: ClassAnswers | ValueAnswers) -> _Cost:
    if isinstance(found, ValueAnswers):
        return _VALUED
    return _NAMED if probabilities(found) is None else _STATED


def _shown(skill: Floats) -> bool:
    found = means(skill, np.zeros(len(skill)))
    return found is not None and found.value > 0 and found.p < SIGNIFICANT


def _weigh(case: Case, shuffled: Shuffled, cost: _Cost, before: _Before) -> _Weighed | None:
    """One feature; None where its answers cannot be compared with those before."""
    told: list[Floats] = []
    bounded: list[Floats] = []
    for answer in shuffled.answers:
        found = _asked(case, shuffled.rows, answer)
        if isinstance(found, NoAnswers) or _cost(found) is not cost or len(found.rows) != len(before.told):
            return None
        told.append(cost.told(found))
        bounded.append(cost.bounded(found))
    rise = means(np.mean(told, axis=0), before.told)
    if rise is None:
        return None
    share = _share(np.mean(bounded, axis=0) - before.bounded, before.guessed - before.bounded)
    return _Weighed(feature=shuffled.feature, rise=rise, share=share)


def _share(rise: Floats, skill: Floats) -> _Share:
    """Mean rise over mean skill, with the delta method, held in [0, 1]."""
    ratio = float(rise.mean() / skill.mean())
    influence = (rise - ratio * skill) / skill.mean()
    reach = normal_point(0.95) * float(influence.std(ddof=1)) / len(rise) ** 0.5
    value, low, high = (min(1.0, max(0.0, bound)) for bound in (ratio, ratio - reach, ratio + reach))
    return _Share(value=value, low=low, high=high)


def _finding(case: Case, weighed: Sequence[_Weighed], parameters: Parameters, loss: str) -> Finding:
    if not weighed:
        return _none(Outcome.UNKNOWN, "No feature could be weighed.", "Give more test rows.")
    top = max(weighed, key=lambda each: each.share.value)
    rivals = [each for each in weighed if each is not top and each.share.value >= RIVAL * top.share.value]
    taken = len(features_of(case.signature))
    alone = top.share.low > parameters.largest_share and not rivals and taken >= FEWEST_FEATURES
    matter = [each for each in weighed if each.matters]
    first = case.shuffled[0]
    notes: list[Json] = []
    if taken > len(case.shuffled):
        notes.append(
            f"{len(case.shuffled)} of {taken} features were shuffled: those that vary, and, within the "
            "limits, those that go most with the answers."
        )
    evidence: dict[str, Json] = {
        "notes": notes,
        "loss": loss,
        "rows_shuffled": len(first.rows),
        "repeats": len(first.answers),
        "features": taken,
        "features_shuffled": len(case.shuffled),
        "matter": [each.feature[:80] for each in matter[:MOST_LISTED]],
        "not_shown_to_matter": [each.feature[:80] for each in weighed if not each.matters][:MOST_LISTED],
        "suspicious": top.feature[:80] if alone else None,
        "skill_shares": [
            {"feature": each.feature[:80], "share": each.share.value, "p_adjusted": each.adjusted}
            for each in weighed[:MOST_LISTED]
        ],
        "multiplicity": "Holm",
    }
    leading = ", ".join(each.feature for each in matter[:3]) + ", …" * (len(matter) > 3)
    summary = (
        f"The answers rest on {len(matter)} of {len(weighed)} features: {leading}."
        if matter
        else f"No feature of {len(weighed)} is shown to matter alone."
    )
    summary += f" {top.feature} carries {top.share.value:.0%} of the skill."
    if alone:
        summary = (
            f"{top.feature} alone carries {top.share.value:.0%} of the model's skill (at least "
            f"{top.share.low:.0%}), and no other feature a fifth of that: does it know the answer?"
        )
    return Finding(
        check=NAME,
        outcome=Outcome.FAILED if alone else Outcome.PASSED,
        summary=summary[:1000],
        next=f"Ask when and how {top.feature[:80]} is recorded. If it is known only with the answer, train without it; if it "
        f"is honest, say so in the policy: largest_share = 1.0 for {NAME}." if alone else "",
        metrics=_metrics(weighed, top),
        evidence=evidence,
    )  # fmt: skip


def _metrics(weighed: Sequence[_Weighed], top: _Weighed) -> tuple[Metric, ...]:
    share = top.share
    largest = Metric(
        name="largest-skill-share", value=share.value, low=share.low, high=share.high,
        size=top.rise.size, method=RATIO,
    )  # fmt: skip
    return (
        largest,
        *(
            Metric(
                name="importance",
                value=each.rise.value,
                low=each.rise.low,
                high=each.rise.high,
                size=each.rise.size,
                method=each.rise.method,
                slice=each.feature,
            )
            for each in weighed[:MOST_REPORTED]
        ),
    )
