"""Confident learning: which labels disagree with what the other rows say, and how many there are.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
Artificial Intelligence Research 70 (2021): thresholds and counts, section 3.1; the calibrated joint,
equation 3; pruning by noise rate, section 3.2. Everything rests on probabilities of a model that has
not seen the row it speaks about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewright.checks.intervals import Interval, mean_of, wilson

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

ROUNDING = 1e-9
"""A probability this little below a threshold, the mean of many, counts as at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confident:
    """What the labels are against the probabilities.

    ``thresholds`` (K,) is the mean probability of each class among the rows that carry it; ``counts``
    (K, K) the rows that carry class i and confidently look like class j; ``joint`` (K, K) the share of
    all rows that carries i and is j; ``issues`` the rows to look at, worst first, shape (m,);
    ``margin`` (n,) the probability of the label carried less that of the likeliest other class.
    """

    thresholds: Floats
    counts: Indices
    joint: Floats
    issues: Indices
    margin: Floats

    @property
    def share(self) -> float:
        """The share of rows whose label is estimated to be another class: the joint off its diagonal."""
        return float(self.joint.sum() - np.trace(self.joint))


def thresholds_of(given: Indices, stated: Floats) -> Floats:
    """The mean probability of each class among the rows that carry it, shape (K,); every class has rows."""
    own = stated[np.arange(len(given)), given]
    rows = np.bincount(given, minlength=stated.shape[1])
    return np.asarray(np.bincount(given, own, minlength=stated.shape[1]) / rows, dtype=np.float64)


def counts_of(given: Indices, stated: Floats, thresholds: Floats) -> Indices:
    """Rows by the class they carry and the likeliest class at or above its own threshold, shape (K, K)."""
    kinds = stated.shape[1]
    reached = np.where(stated >= thresholds - ROUNDING, stated, -1.0)
    sure = reached.max(axis=1) >= 0
    cells = given[sure] * kinds + reached[sure].argmax(axis=1)
    return np.asarray(np.bincount(cells, minlength=kinds * kinds).reshape(kinds, kinds), dtype=np.intp)


def joint_of(given: Indices, counts: Indices) -> Floats:
    """The counts, scaled so that each class has the rows that carry it and all add up to 1 (equation 3).

    A class without a confident row counts as right throughout.
    """
    rows = np.bincount(given, minlength=len(counts)).astype(np.float64)
    filled = counts + np.diag((counts.sum(axis=1) == 0).astype(np.intp))
    scaled = filled / filled.sum(axis=1, keepdims=True) * rows[:, None]
    return np.asarray(scaled / scaled.sum(), dtype=np.float64)


def _pruned(given: Indices, stated: Floats, joint: Floats) -> NDArray[np.bool_]:
    """For each pair of classes, the n·joint rows whose other class leads most over the one they carry."""
    taken = np.zeros(len(given), dtype=np.bool_)
    wanted = np.rint(joint * len(given)).astype(np.intp)
    for i in range(len(joint)):
        rows = np.flatnonzero(given == i)
        for j in np.flatnonzero(wanted[i]):
            if i != j:
                lead = stated[rows, j] - stated[rows, i]
                taken[rows[np.argsort(-lead, kind="stable")[: wanted[i, j]]]] = True
    return taken


def confident(given: Indices, stated: Floats) -> Confident:
    """Judge labels, shape (n,), by out-of-sample probabilities, shape (n, K); every class has rows.

    A row that the probabilities give the class it carries is never an issue.
    """
    thresholds = thresholds_of(given, stated)
    counts = counts_of(given, stated, thresholds)
    joint = joint_of(given, counts)
    place = np.arange(len(given))
    others = stated.copy()
    others[place, given] = -np.inf
    margin = stated[place, given] - others.max(axis=1)
    found = np.flatnonzero(_pruned(given, stated, joint) & (margin < 0))
    issues = found[np.argsort(margin[found], kind="stable")]
    return Confident(thresholds=thresholds, counts=counts, joint=joint, issues=issues, margin=margin)


def share_interval(found: Confident, given: Indices) -> Interval:
    """Interval of the estimated share: MOVER over Wilson's interval of each class's confident rows.

    It holds the sampling of rows, given the probabilities; how good these are it cannot hold.
    """
    rows = np.bincount(given, minlength=len(found.counts))
    total = found.counts.sum(axis=1)
    kinds = np.flatnonzero(total)
    weight = rows[kinds] / len(given) * len(kinds)
    off = total[kinds] - np.diag(found.counts)[kinds]
    parts = [wilson(int(o), int(t)) for o, t in zip(off, total[kinds], strict=True)]
    scaled = [
        Interval(low=w * part.low, high=w * part.high, method=part.method)
        for w, part in zip(weight, parts, strict=True)
    ]
    return mean_of(weight * off / total[kinds], scaled)
