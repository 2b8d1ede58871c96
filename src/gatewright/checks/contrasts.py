"""Two sets of answers to the same rows, measure by measure: which is better, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gatewright.checks.answers import ClassAnswers, Floats, Indices, ValueAnswers
from gatewright.checks.paired import Difference, areas, holm, mean_shares, means, shares
from gatewright.checks.ranking import FEWEST_PER_CLASS, placements

SIGNIFICANT = 0.05
SUM_TOLERANCE = 1e-3
"""How far the probabilities of a row may be from 1 in total and still count as probabilities."""
_TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One measure of the left and of the right answers.

    ``gain`` is the difference turned so that above zero the left is better; ``adjusted`` its
    p-value after Holm's correction over all measures of the contrast.
    """

    name: str
    left: float
    right: float
    higher_is_better: bool
    gain: Difference
    adjusted: float = 1.0

    @property
    def better(self) -> bool:
        """Whether the left is shown to be better."""
        return self.adjusted < SIGNIFICANT and self.gain.value > 0

    @property
    def worse(self) -> bool:
        """Whether the left is shown to be worse."""
        return self.adjusted < SIGNIFICANT and self.gain.value < 0


def probabilities(found: ClassAnswers) -> Floats | None:
    """The scores where they are probabilities that add up to 1, clipped to [0, 1]; shape (n, classes)."""
    scores = found.scores
    if scores is None or not len(scores) or not np.isfinite(scores).all():
        return None
    beyond = max(-scores.min(), scores.max() - 1, np.abs(scores.sum(axis=1) - 1).max())
    return np.clip(scores, 0.0, 1.0) if beyond <= SUM_TOLERANCE else None


def log_losses(stated: Floats, truth: Indices) -> Floats:
    """-ln of the probability of each row's true class, shape (n,); probabilities are clipped at 2.2e-16."""
    return -np.log(np.clip(stated[np.arange(len(truth)), truth], _TINY, 1 - _TINY))


def contrasts(left: ClassAnswers | ValueAnswers, right: ClassAnswers | ValueAnswers) -> tuple[Contrast, ...]:
    """Every measure that both sides allow, on the same rows in the same order."""
    if isinstance(left, ClassAnswers) and isinstance(right, ClassAnswers):
        found = _classes(left, right)
    elif isinstance(left, ValueAnswers) and isinstance(right, ValueAnswers):
        found = _values(left, right)
    else:
        found = []
    corrected = holm([each.gain.p for each in found])
    return tuple(replace(each, adjusted=p) for each, p in zip(found, corrected, strict=True))


def _classes(left: ClassAnswers, right: ClassAnswers) -> list[Contrast]:
    truth, classes = left.truth, len(left.classes)
    one, other = left.answer == truth, right.answer == truth
    found = [_share("accuracy", float(one.mean()), float(other.mean()), shares(one, other))]
    gain = mean_shares(one, other, truth, classes)
    if gain is not None:
        recalls = [
            float(np.mean([right[truth == index].mean() for index in range(classes)]))
            for right in (one, other)
        ]
        found.append(_share("balanced-accuracy", recalls[0], recalls[1], gain))
    stated = probabilities(left), probabilities(right)
    if stated[0] is not None and stated[1] is not None:
        found += _loss("log-loss", log_losses(stated[0], truth), log_losses(stated[1], truth))
    return found + _areas(left, right)


def _areas(left: ClassAnswers, right: ClassAnswers) -> list[Contrast]:
    """The area under the ROC curve, for two classes with scores on both sides."""
    if len(left.classes) != 2 or left.scores is None or right.scores is None:
        return []
    if not (np.isfinite(left.scores).all() and np.isfinite(right.scores).all()):
        return []
    positive = left.truth == 1
    gain = areas(left.scores[:, 1], right.scores[:, 1], positive)
    if gain is None or min(positive.sum(), (~positive).sum()) < FEWEST_PER_CLASS:
        return []
    values = [
        min(1.0, float(placements(scores[:, 1], positive)[positive].mean()))
        for scores in (left.scores, right.scores)
    ]
    return [_share("roc-auc", values[0], values[1], gain)]


def _values(left: ValueAnswers, right: ValueAnswers) -> list[Contrast]:
    errors = np.abs(left.truth - left.answer), np.abs(right.truth - right.answer)
    return _loss("mae", *errors) + _loss("mse", errors[0] ** 2, errors[1] ** 2)


def _share(name: str, left: float, right: float, gain: Difference) -> Contrast:
    return Contrast(name=name, left=left, right=right, higher_is_better=True, gain=gain)


def _loss(name: str, left: Floats, right: Floats) -> list[Contrast]:
    gain = means(right, left)
    if gain is None:
        return []
    return [
        Contrast(
            name=name, left=float(left.mean()), right=float(right.mean()), higher_is_better=False, gain=gain
        )
    ]
