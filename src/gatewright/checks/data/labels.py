"""Which labels disagree with what the other rows say, and whether too many do.

**Question.** Are rows labelled as what they are not?

**Method.** Probabilities of a model that has not seen the row: for test rows the model's own; for
train rows those of the recipe's models in cross-validation, else of a cheap additive model fitted
here, in five folds, on at most ``MOST_ROWS`` rows (see ``additive``). Two things are read from them:

- *confident learning* (Northcutt, Jiang & Chuang, JAIR 2021; see ``confident``) estimates the share of
  rows whose label belongs to another class and ranks the rows to look at;
- *the surest rows*: of the rows answered with each class, the quarter with the highest probability.
  Among them even noisy classes hardly overlap, so labels that contradict the answer there are the
  part that overlap does not explain (anchor points: Liu & Tao, TPAMI 38:447, 2016).

The check fails when the lower bound of the contradicted share (Wilson) of the surest quarter is beyond
``largest_share``, and it looks like wrong labels rather than like a question that is hard to answer:
the share is at most ``SKILLED`` of what always answering the commonest class gets wrong, and it hardly
grows, by ``PLATEAU`` times at most (half a standard error added, on the logarithm), from the surest quarter
to the next. Doubt grows from one quarter to the
next; labels that were mixed up do not know how sure a model will be. Quarters of fewer than
``FEWEST_SUREST`` rows decide nothing.

**Not shown.** Wrong labels and answers that no column can give away are the same thing to every
method that sees only this table. Confident learning counts both, so its share is an upper reading on
data whose classes overlap (7 % on the Adult census, whose labels nobody shuffled); a failure says "look
at these rows", not "these are wrong". Not found: labels that are wrong wherever a row looks alike (a rule
misapplied everywhere), more than half of a class, and errors among the doubtful rows alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gatewright.checks.answers import (
    NO_CLASS,
    ClassAnswers,
    Floats,
    Indices,
    NoAnswers,
    answers_of,
    class_indices,
)
from gatewright.checks.case import Case
from gatewright.checks.data.additive import WIDEST, outside
from gatewright.checks.data.confident import Confident, confident, share_interval
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import Interval, wilson
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "data.labels"
TITLE = "Are rows labelled as what they are not?"
SPLITS = ("train", "test")
_CLASSES = (Task.BINARY, Task.MULTICLASS)
METRICS = {
    f"{name}-{split}": _CLASSES
    for split in SPLITS
    for name in ("contradicted-surest", "doubtful-share", "doubtful-rows")
}
MOST_ROWS = 10_000
"""Train rows that the cheap model is fitted on and asked about; a seeded sample where there are more."""
MOST_WORK = 10_000_000
"""Rows times their entries times classes of that fit; fewer rows are taken where there would be more."""
FEWEST_ROWS = 100
FEWEST_OF_CLASS = 10
QUARTERS = 4
FEWEST_SUREST = 150
"""Rows of a quarter below which no growth from one to the next can be told from none."""
SKILLED = 0.5
PLATEAU = 1.35
MOST_NAMED = 20
MOST_PAIRS = 10
NAME_LENGTH = 60
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_share``: how many labels of the surest rows may contradict the answer."""

    largest_share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.largest_share <= 1:
            raise Misuse("checks.parameter", f"largest_share of {NAME} must be from 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Labels of one split and what a model that has not seen them states.

    ``given`` (n,) are class indices, ``stated`` (n, K) probabilities, ``rows`` (n,) places in the split.
    """

    split: str
    source: str
    rows: Indices
    given: Indices
    stated: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One split, judged: the labels, the surest quarter and the next one as (contradicted, rows)."""

    asked: _Asked
    classes: tuple[str, ...]
    found: Confident
    share: Interval
    surest: tuple[int, int]
    next: tuple[int, int]
    guessing: float

    @property
    def bound(self) -> Interval:
        return wilson(*self.surest)

    def looks_wrong(self, limit: float) -> bool:
        """Whether contradicted labels of the surest rows are too many, and not like mere doubt."""
        (wrong, size), (wrong_next, size_next) = self.surest, self.next
        if self.bound.low <= limit or min(size, size_next) < FEWEST_SUREST:
            return False
        first, second = wrong / size, wrong_next / size_next
        noise = math.sqrt(1 / wrong - 1 / size + 1 / max(wrong_next, 1) - 1 / size_next)
        growth = second / first * math.exp(noise / 2)
        return first <= SKILLED * self.guessing and growth <= PLATEAU


def _probable(scores: Floats | None, kinds: int) -> bool:
    """Whether the scores are one finite probability for each class."""
    if scores is None or scores.ndim != 2 or scores.shape[1] != kinds or not np.isfinite(scores).all():
        return False
    beyond = max(-scores.min(), scores.max() - 1, np.abs(scores.sum(axis=1) - 1).max()) if len(scores) else 0
    return bool(beyond <= SUM_TOLERANCE)


def _test(case: Case) -> _Asked | str:
    found = answers_of(case)
    if isinstance(found, NoAnswers):
        return found.reason
    if (
        not isinstance(found, ClassAnswers)
        or found.scores is None
        or not _probable(found.scores, len(found.classes))
    ):
        return "The model states no probabilities for the test rows."
    source = "the model's own answers on the test rows"
    return _Asked(split="test", source=source, rows=found.rows, given=found.truth, stated=found.scores)


def _train(case: Case) -> _Asked | str:
    if case.target not in case.train:
        return f"The train rows have no column {case.target!r}."
    given = class_indices(case.train.column(case.target), case.signature.classes)
    if case.folds:
        return _folds(case, given)
    names = [name for name in _features(case) if name in case.train]
    kinds = len(case.signature.classes)
    rows = np.flatnonzero(given != NO_CLASS)
    if not names or not kinds or len(rows) < FEWEST_ROWS:
        return (
            f"The train split has {len(rows):,} labelled rows of {len(names)} columns: too little to judge."
        )
    most = min(MOST_ROWS, MOST_WORK // (min(2 * len(names) + 1, WIDEST) * kinds))
    known = len(rows)
    if known > most:
        rows = np.sort(np.random.default_rng(case.seed).choice(rows, most, replace=False))
    stated = outside(case.train.select(names).take(rows), given[rows], kinds, case.seed)
    part = f"{len(rows):,} of the {known:,}" if len(rows) < known else f"the {known:,}"
    source = f"an additive model fitted without them, in five folds, on {part} train rows"
    return _Asked(split="train", source=source, rows=rows, given=given[rows], stated=stated)


def _folds(case: Case, given: Indices) -> _Asked | str:
    kinds = len(case.signature.classes)
    parts = [
        (fold.rows, fold.predictions.scores)
        for fold in case.folds
        if fold.predictions.scores is not None and _probable(fold.predictions.scores, kinds)
    ]
    if not parts:
        return "The models of the recipe state no probabilities."
    rows = np.concatenate([rows for rows, _ in parts])
    stated = np.concatenate([scores for _, scores in parts])
    kept = given[rows] != NO_CLASS
    source = "models that the recipe trained without them"
    return _Asked(split="train", source=source, rows=rows[kept], given=given[rows[kept]], stated=stated[kept])


def _features(case: Case) -> tuple[str, ...]:
    named = tuple(dict.fromkeys(name for tensor in case.signature.inputs for name in tensor.columns))
    return tuple(name for name in named or case.train.names if name != case.target)


def _quarters(given: Indices, stated: Floats, seed: int) -> list[tuple[int, int]]:
    """Contradicted labels and rows in each quarter, surest first, of the rows answered with each class.

    Rows with equal probabilities come in a seeded order, so that the order of the file decides nothing.
    """
    mixed = np.random.default_rng(seed).permutation(len(given))
    answer = stated.argmax(axis=1)
    counts = [(0, 0)] * QUARTERS
    for kind in range(stated.shape[1]):
        rows = mixed[answer[mixed] == kind]
        rows = rows[np.argsort(-stated[rows, kind], kind="stable")]
        for index, part in enumerate(np.array_split(rows, QUARTERS)):
            wrong, size = counts[index]
            counts[index] = wrong + int((given[part] != kind).sum()), size + len(part)
    return counts


def _judge(asked: _Asked | str, classes: tuple[str, ...], seed: int) -> _Judged | str:
    """The split judged, without classes too rare to judge; or why it cannot be."""
    if isinstance(asked, str):
        return asked
    often = np.bincount(asked.given, minlength=len(classes)) >= FEWEST_OF_CLASS
    kept = np.flatnonzero(often[asked.given])
    if often.sum() < 2 or len(kept) < FEWEST_ROWS:
        return (
            f"The {asked.split} rows are too few to judge: {FEWEST_ROWS} rows, and {FEWEST_OF_CLASS} of each "
            "of two classes, are needed."
        )
    given = (np.cumsum(often) - 1)[asked.given[kept]]
    stated = np.clip(asked.stated[np.ix_(kept, np.flatnonzero(often))], 0.0, 1.0)
    found = confident(given, stated)
    quarters = _quarters(given, stated, seed)
    return _Judged(
        asked=_Asked(
            split=asked.split, source=asked.source, rows=asked.rows[kept], given=given, stated=stated
        ),
        classes=tuple(name for name, good in zip(classes, often, strict=True) if good),
        found=found,
        share=share_interval(found, given),
        surest=quarters[0],
        next=quarters[1],
        guessing=1 - float(np.bincount(given).max()) / len(given),
    )


def _metrics(judged: _Judged) -> list[Metric]:
    split, size = judged.asked.split, len(judged.asked.rows)
    wrong, surest = judged.surest
    bound, share = judged.bound, judged.found.share
    return [
        Metric(
            name=f"contradicted-surest-{split}", value=wrong / surest, low=bound.low, high=bound.high,
            size=surest, method=bound.method,
        ),
        Metric(
            name=f"doubtful-share-{split}", value=share, low=min(share, judged.share.low),
            high=max(share, judged.share.high), size=size, method=judged.share.method,
        ),
        Metric.exact(f"doubtful-rows-{split}", len(judged.found.issues), size=size),
    ]  # fmt: skip


def _evidence(judged: _Judged) -> dict[str, Json]:
    asked, found = judged.asked, judged.found
    names = [name[:NAME_LENGTH] for name in judged.classes]
    rows: list[Json] = []
    for place in found.issues[:MOST_NAMED].tolist():
        given, stated = int(asked.given[place]), asked.stated[place]
        other = int(stated.argmax())
        rows.append(
            {
                "row": int(asked.rows[place]) + 1, "label": names[given], "looks_like": names[other],
                "stated_label": round(float(stated[given]), 4), "stated_other": round(float(stated[other]), 4),
            }
        )  # fmt: skip
    apart = found.joint * (1 - np.eye(len(names)))
    order = np.argsort(-apart, axis=None, kind="stable")[:MOST_PAIRS]
    pairs: list[Json] = [
        {"label": names[i], "is": names[j], "share": float(apart[i, j])}
        for i, j in zip(*np.unravel_index(order, apart.shape), strict=True)
        if apart[i, j] > 0
    ]
    return {
        "judged_by": asked.source,
        "rows_judged": len(asked.rows),
        "rows": rows,
        "rows_total": len(found.issues),
        "pairs": pairs,
        "contradicted": [
            {"rows": size, "contradicted": wrong} for wrong, size in (judged.surest, judged.next)
        ],
    }


def _summary(sides: list[_Judged], wrong: list[_Judged]) -> str:
    if wrong:
        side = wrong[0]
        rows = ", ".join(str(int(side.asked.rows[place]) + 1) for place in side.found.issues[:5])
        return (
            f"About {side.surest[0] / side.surest[1]:.1%} of the {side.asked.split} labels contradict even what is "
            f"surest ({side.bound.low:.1%} to {side.bound.high:.1%}); look first at the {side.asked.split} rows {rows}."
        )
    said = [
        f"{side.asked.split}: {side.surest[0] / side.surest[1]:.1%} contradicted, {len(side.found.issues):,} rows "
        "worth a look"
        for side in sides
    ]
    return f"Labels are not shown to be wrong beyond doubt. Among the surest rows, {'; '.join(said)}."


def run(case: Case, parameters: Parameters) -> Finding:
    """Hold the labels of both splits against probabilities of models that have not seen them."""
    if case.signature.task is Task.REGRESSION:
        return Finding(
            check=NAME, outcome=Outcome.SKIPPED, summary="Amounts have no classes to be mistaken for.",
            reason="Confident learning is about classes, and the task is regression.",
        )  # fmt: skip
    tried = [_judge(asked, case.signature.classes, case.seed) for asked in (_train(case), _test(case))]
    sides = [side for side in tried if isinstance(side, _Judged)]
    notes = [side for side in tried if isinstance(side, str)]
    if not sides:
        return Finding(
            check=NAME, outcome=Outcome.UNKNOWN, summary="The labels were not judged.",
            reason=" ".join(dict.fromkeys(notes)), next="Give more labelled rows of each class.",
        )  # fmt: skip
    wrong = [side for side in sides if side.looks_wrong(parameters.largest_share)]
    return Finding(
        check=NAME,
        outcome=Outcome.FAILED if wrong else Outcome.PASSED,
        summary=_summary(sides, wrong),
        next="Look at the rows listed, correct what is wrong, and train again; where they are right, the columns "
        "lack what tells them apart, and largest_share may be raised with that reason." if wrong else "",
        metrics=tuple(metric for side in sides for metric in _metrics(side)),
        evidence={**{side.asked.split: _evidence(side) for side in sides}, "notes": list(notes)},
    )  # fmt: skip
