"""Whether rows stand in a split more than once, and whether they then say the same.

**Question.** Which rows of the train split, and which of the test split, are copies of one another?
A row that stands three times counts three times: in training it pulls harder than it should, in the
test it makes every interval look narrower than it is.

**Method.** Compared are the model's feature columns, as ``data.leakage`` compares them. Rows *repeat*
when every feature is equal, and *conflict* when they then have different targets. They are *near* when
texts are equal and every number is within ``near_fraction`` of its column's robust spread; at most
``MOST_PROBES`` rows of a split are looked up for that, against all others.

Data of few values repeats rows by nature, so what chance explains is taken off. Leave a block of
columns out: a pair that agrees outside the block agrees inside it as well with odds c / (1 - c), c
being how often two rows agree in the block. The pairs that agree outside and not inside thus say how many should
agree throughout; the largest such estimate over single columns and runs of columns counts, raised
to its 99.9 % point. Rows that repeat beyond it are *copies*. Near rows are told apart by reach: pairs
that are near by nature at least double when the reach doubles (in one dimension; faster in more),
and altered copies do not.

The check fails when, in either split, the lower bound of the share of copies, or of near rows beyond
nature, is above ``largest_share``; or when copies are shown and the lower bound of the share of rows
in conflict is above ``largest_conflicting_share``. Between the splits: see ``data.leakage``.

**Not shown.** Why rows repeat: the same customer twice is a fault, the same answer to a short
questionnaire is not. Copies with a changed text or on another scale. In data of few values alone copies
cannot be told from coincidence, and are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gatewright.checks.case import Case
from gatewright.checks.data.matching import (
    Indices,
    Rows,
    Words,
    comparable,
    near,
    repeats,
    tolerances,
)
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import Interval, wilson
from gatewright.datasets.table import Table
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "data.duplicates"
TITLE = "Do rows stand more than once?"
SPLITS = ("train", "test")
METRICS = {
    f"{name}-{split}": tuple(Task)
    for split in SPLITS
    for name in ("repeated-share", "copied-share", "conflicting-share", "near-share", "repeated-rows")
}
MOST_PROBES = 5_000
"""Distinct rows of a split that are looked up for near ones; a seeded sample where there are more."""
MOST_CELLS = 40_000_000
"""Rows times blocks that the search for chance sorts; fewer single columns are left out where there would be more."""
SINGLES = 64
RUNS = (2, 4, 8)
NORMAL_999 = 3.09
MOST_NAMED = 10
MOST_IN_GROUP = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``largest_share``: of a split's rows may be copies. ``largest_conflicting_share``: may repeat and disagree.

    ``near_fraction``: how far numbers of near rows may differ, as a share of their column's robust spread.
    """

    largest_share: float = 0.10
    largest_conflicting_share: float = 0.05
    near_fraction: float = 0.001

    def __post_init__(self) -> None:
        if not (0 <= self.largest_share <= 1 and 0 <= self.largest_conflicting_share <= 1):
            raise Misuse("checks.parameter", f"The shares of {NAME} must be from 0 to 1.")
        if not 0 <= self.near_fraction <= 0.1:
            raise Misuse("checks.parameter", f"near_fraction of {NAME} must be from 0 to 0.1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Near:
    """Probed rows, those with a near one, near pairs at the reach and at twice it, and examples.

    ``beyond`` is the lower bound of how many near rows a probed one has beyond nature.
    """

    probes: int
    near: int
    counts: tuple[int, int]
    beyond: float
    pairs: list[tuple[int, int]]
    cut_short: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One split: rows that repeat, what chance explains of them, those in conflict, and near rows."""

    split: str
    size: int
    repeated: int
    distinct: int
    explained: int
    conflicting: int
    groups: list[Indices]
    split_labels: list[bool]
    near: _Near

    @property
    def seen(self) -> float:
        """How many independent rows the split counts as: rows that repeat come in groups."""
        return self.size - self.repeated + self.distinct

    def share(self, rows: int) -> Interval:
        return wilson(rows / self.size * self.seen, self.seen)

    @property
    def copied(self) -> tuple[float, float, float]:
        """The share of copies with its bounds."""
        found, chance = self.share(self.repeated), self.explained / self.size
        value = max(0, self.repeated - self.explained) / self.size
        return value, max(0.0, min(value, found.low - chance)), found.high


def _blocks(rows: Rows) -> Iterator[Words]:
    """What each block of columns adds to the rows' sums: runs of columns first, then single ones."""
    width = rows.cells.shape[1]
    for count in RUNS:
        if width >= 2 * count:
            for part in np.array_split(np.arange(width), count):
                yield np.sum(rows.cells[:, part], axis=1, dtype=np.uint64)
    singles = min(SINGLES, width, MOST_CELLS // max(1, len(rows)))
    for index in np.unique(np.linspace(0, width - 1, singles).astype(np.intp)) if singles else ():
        yield rows.cells[:, index]


def by_chance(rows: Rows) -> int:
    """The most rows that repeat by nature, at the 99.9 % point; all of them for a single column."""
    size = len(rows)
    if rows.cells.shape[1] < 2:
        return size
    pairs, same = size * (size - 1), repeats(rows.row)
    most = 0.0
    for block in _blocks(rows):
        often = float(repeats(block).sum()) / pairs
        if often >= 1:
            return size
        outside = repeats(rows.row - block) - same
        partners = outside * (often / (1 - often))
        expected = float((1 - np.exp(-partners)).sum())
        group = 1 + float((partners**2).sum()) / max(float(partners.sum()), 1e-300)
        most = max(most, expected + NORMAL_999 * math.sqrt(expected * group))
    return min(size, math.ceil(most))


def _near(rows: Rows, fraction: float, seed: int) -> _Near:
    """Look up a sample of distinct rows among all distinct rows, at the reach asked for and at twice it."""
    _, first = np.unique(rows.row, return_index=True)
    distinct = rows.take(np.sort(first))
    order = np.random.default_rng(seed).permutation(len(distinct))[:MOST_PROBES]
    probes = np.sort(order)
    asked = distinct.take(probes)
    reach = tolerances(distinct.numbers, fraction)
    if not (reach > 0).any():
        return _Near(probes=len(probes), near=0, counts=(0, 0), beyond=0.0, pairs=[], cut_short=False)
    found = [near(asked, distinct, reach * times) for times in (1, 2)]
    apart = [probes[pairs.left] != pairs.right for pairs in found]
    close, wide = (
        np.bincount(pairs.left[others], minlength=len(probes))
        for pairs, others in zip(found, apart, strict=True)
    )
    beyond = 2.0 * close - wide  # by nature at least as many come with the second half of the reach
    noise = (
        NORMAL_999 * float(beyond.std()) * math.sqrt(2 / len(probes))
    )  # a pair may be probed from both ends
    left, right = found[0].left[apart[0]], found[0].right[apart[0]]
    named = zip(asked.place[left].tolist(), distinct.place[right].tolist(), strict=True)
    return _Near(
        probes=len(probes),
        near=int((close > 0).sum()),
        counts=(int(close.sum()), int(wide.sum())),
        beyond=max(0.0, float(beyond.mean()) - noise),
        pairs=sorted({(min(pair), max(pair)) for pair in named})[:MOST_NAMED],
        cut_short=any(part.cut_short for part in found),
    )


def _groups(rows: Rows, answers: Words) -> tuple[list[Indices], list[bool], int]:
    """The largest groups of equal rows, in conflict first; whether each is; and how many rows conflict."""
    _, place, count = np.unique(rows.row, return_inverse=True, return_counts=True)
    order = np.lexsort((answers, place))
    changes = (np.diff(place[order]) == 0) & (np.diff(answers[order]) != 0)
    conflict = np.zeros(len(count), dtype=bool)
    conflict[place[order][1:][changes]] = True
    many = np.flatnonzero(count > 1)
    many = many[np.lexsort((many, -count[many], ~conflict[many]))][:MOST_NAMED]
    groups = [np.flatnonzero(place == group) for group in many]
    return groups, [bool(conflict[group]) for group in many], int(count[conflict].sum())


def _side(split: str, table: Table, names: Sequence[str], case: Case, parameters: Parameters) -> _Side:
    rows = comparable([table], names)[0]
    same = repeats(rows.row) > 0
    repeated = int(same.sum())
    labelled = repeated and case.target in table
    answers = comparable([table], (case.target,))[0].row if labelled else np.zeros(len(rows), dtype=np.uint64)
    groups, split_labels, conflicting = _groups(rows, answers) if repeated else ([], [], 0)
    return _Side(
        split=split,
        size=len(rows),
        repeated=repeated,
        distinct=len(np.unique(rows.row[same])),
        explained=min(repeated, by_chance(rows)) if repeated else 0,
        conflicting=conflicting,
        groups=groups,
        split_labels=split_labels,
        near=_near(rows, parameters.near_fraction, case.seed),
    )


def _metrics(side: _Side) -> list[Metric]:
    copied, low, high = side.copied
    found, clash = side.share(side.repeated), side.share(side.conflicting)
    close = wilson(side.near.near, side.near.probes)
    shares = (
        ("repeated-share", side.repeated / side.size, found.low, found.high, found.method, side.size),
        ("copied-share", copied, low, high, f"{found.method}, less what chance explains", side.size),
        ("conflicting-share", side.conflicting / side.size, clash.low, clash.high, clash.method, side.size),
        (
            "near-share",
            side.near.near / side.near.probes,
            close.low,
            close.high,
            close.method,
            side.near.probes,
        ),
    )
    return [
        Metric.exact(f"repeated-rows-{side.split}", side.repeated, size=side.size),
        *(
            Metric(
                name=f"{name}-{side.split}", value=value, low=min(low, value), high=max(high, value),
                size=size, method=method,
            )
            for name, value, low, high, method, size in shares
        ),
    ]  # fmt: skip


def _evidence(side: _Side) -> dict[str, Json]:
    return {
        "rows": side.size,
        "repeated": side.repeated,
        "explained_by_chance": side.explained,
        "conflicting": side.conflicting,
        "groups": [
            {"rows": (group[:MOST_IN_GROUP] + 1).tolist(), "times": len(group), "labels_differ": clash}
            for group, clash in zip(side.groups, side.split_labels, strict=True)
        ],
        "near": {
            "rows_looked_up": side.near.probes,
            "near": side.near.near,
            "pairs_at_the_reach_and_at_twice_it": list(side.near.counts),
            "pairs": [[left + 1, right + 1] for left, right in side.near.pairs],
            "search_cut_short": side.near.cut_short,
        },
    }


def _faults(side: _Side, parameters: Parameters) -> list[str]:
    """What is wrong with one split, in sentences that fit after one another."""
    value, low, _ = side.copied
    faults: list[str] = []
    if low > parameters.largest_share:
        rows = ", ".join(str(int(row) + 1) for row in side.groups[0][:3]) if side.groups else ""
        faults.append(
            f"{value:.1%} of the {side.split} rows are copies of one another (such as the rows {rows})"
        )
    if side.near.beyond > parameters.largest_share:
        share = side.near.near / side.near.probes
        faults.append(f"{share:.1%} of the {side.split} rows nearly repeat another one")
    clash = side.conflicting / side.size
    if low > 0 and side.share(side.conflicting).low > parameters.largest_conflicting_share:
        faults.append(f"{clash:.1%} of the {side.split} rows repeat another one and have another label")
    return faults


def _told(side: _Side) -> str:
    if not side.repeated:
        return f"no {side.split} row repeats another"
    chance = " (no more than chance explains)" if side.repeated <= side.explained else ""
    return f"{side.repeated:,} of {side.size:,} {side.split} rows repeat another{chance}"


def run(case: Case, parameters: Parameters) -> Finding:
    """Search each split for rows that stand in it more than once."""
    named = tuple(dict.fromkeys(name for tensor in case.signature.inputs for name in tensor.columns))
    names = tuple(name for name in named or case.train.names if name != case.target)
    tables = dict(zip(SPLITS, (case.train, case.test), strict=True))
    for split, table in tables.items():
        absent = [name for name in names if name not in table]
        if absent or not names or not table.rows:
            missing = (
                f"lack the column {absent[0]!r}" if absent else "are empty" if names else "have no features"
            )
            return Finding(
                check=NAME, outcome=Outcome.UNKNOWN, summary="Whether rows repeat is not known.",
                reason=f"The {split} rows {missing}, so rows cannot be compared.",
                next="Register a data set whose splits have the columns that the model takes.",
            )  # fmt: skip
    sides = [_side(split, table, names, case, parameters) for split, table in tables.items()]
    faults = [fault for side in sides for fault in _faults(side, parameters)]
    told = "; ".join(faults) if faults else "; ".join(_told(side) for side in sides)
    return Finding(
        check=NAME,
        outcome=Outcome.FAILED if faults else Outcome.PASSED,
        summary=f"{told[0].upper()}{told[1:]}.",
        next="Keep each row once (before splitting, so that no copy crosses over), settle which of the "
        "conflicting labels is right, and train again." if faults else "",
        metrics=tuple(metric for side in sides for metric in _metrics(side)),
        evidence={side.split: _evidence(side) for side in sides},
    )  # fmt: skip
