"""Whether test rows are among the rows that the model learned from.

**Question.** A model that has seen the test rows is not measured by them. Which test rows stand in
the rows the owner declares the model learned from (``trained_on``), or in the locked train split?

**Method.** Two pools are searched: the locked train split, and the declared rows *that the train
split does not hold*. Compared are the model's feature columns. A test row matches a row of a pool

- *exactly*, when every feature is equal (counted again with the target);
- *nearly*, when texts are equal and every number is within ``near_fraction`` of the column's robust
  spread in train (interquartile range over 1.349);
- *altered*, when all features but one are equal (rows of at least eight features).

Texts are compared after NFKC, without format characters, blanks around them and case. A feature that
is numeric in the locked rows is compared as numbers though a declared row holds a text there; where
more such rows are declared than ``MOST_UNREAD`` allows, the answer is unknown.

Rows repeat by nature where columns hold few values. So each count is compared with what chance
explains, learned from the locked train split: with c_i others matching train row i among n, a pool
of N rows holds a match for a fresh row with probability mean(1 - (1 - N/(n-1))**c_i), N capped at
n - 1. The share of train rows with any match is raised to its one-sided 99.9 % Wilson bound, its
sample size divided by the mean size of the matching groups. The rate is at least what independent
columns would give, from the product of the columns' own chances to agree, which is zero as soon
as one column never repeats a value. A kind of match fails when its count is beyond the 99.9 % point
of the binomial distribution at that rate; where chance explains nothing a single row fails. A test
row that the train split explains is not counted again against the declared rows.

**Not shown.** Copies with noise in several columns and one cell changed; copies on another scale;
leakage through features that know the answer; rows that were learned from but not declared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gatewright.checks.case import Case
from gatewright.checks.data.matching import (
    MOST_PAIRS,
    Flags,
    Floats,
    Indices,
    Rows,
    altered,
    altered_repeats,
    collisions,
    comparable,
    first_equal,
    mixed,
    near,
    repeats,
    tolerances,
)
from gatewright.checks.finding import Finding, Metric, Outcome
from gatewright.checks.intervals import most_by_chance, wilson
from gatewright.datasets.table import Table
from gatewright.kernel.canonical import Json
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task

NAME = "data.leakage"
TITLE = "Did the model learn from test rows?"
METRICS = {
    name: tuple(Task)
    for name in (
        "leaked-rows", "leaked-share", "matched-rows", "exact-rows", "exact-rows-with-target",
        "near-rows", "altered-rows", "rows-outside-train",
    )
}  # fmt: skip
MOST_NAMED = 20
CHANCE_PROBES = 5_000
"""Train rows whose near neighbours are counted to learn how often rows are near by nature."""
RISK = 1e-3
MOST_UNREAD = 0.01
"""Declared rows with a text where the locked rows hold numbers, as a share of the test rows: more may
hide so many test rows that the search is not conclusive."""
KINDS = ("exact", "near", "altered")
DECLARED, SPLIT = "declared training rows", "train split"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """``near_fraction``: how far numbers may differ, as a share of their column's robust spread."""

    near_fraction: float = 0.005

    def __post_init__(self) -> None:
        if not 0 <= self.near_fraction <= 0.1:
            raise Misuse("checks.parameter", f"near_fraction of {NAME} must be from 0 to 0.1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matches:
    """For each test row the matching pool row by kind, -1 where none; shape (n,) each.

    A row counts once, as the closest kind; ``column`` is the altered column.
    """

    pool: str
    size: int
    rows: dict[str, Indices]
    column: Indices
    cut_short: bool

    def count(self, kind: str, among: Flags) -> int:
        return int(((self.rows[kind] >= 0) & among).sum())

    def any(self) -> Flags:
        return np.asarray(np.logical_or.reduce([self.rows[kind] >= 0 for kind in KINDS]), dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """One kind of match in one pool: the count, and the most that chance explains."""

    pool: str
    kind: str
    count: int
    rate: float
    explained: int

    @property
    def leaks(self) -> bool:
        return self.count > self.explained


def _distinct(rows: Rows) -> Rows:
    _, first = np.unique(rows.row, return_index=True)
    return rows.take(np.sort(first))


def _match(name: str, test: Rows, pool: Rows, tolerance: Floats) -> _Matches:
    """Search one pool for every test row, closest kind first."""
    exact = first_equal(test.row, pool.row)
    kinds = {kind: np.full(len(test), -1, dtype=np.intp) for kind in KINDS}
    kinds["exact"] = np.where(exact >= 0, pool.place[exact] if len(pool) else -1, -1)
    column = np.full(len(test), -1, dtype=np.intp)
    left = np.flatnonzero(exact < 0)
    distinct = _distinct(pool)
    pairs = near(test.take(left), distinct, tolerance)
    found = np.full(len(left), np.iinfo(np.intp).max, dtype=np.intp)
    np.minimum.at(found, pairs.left, distinct.place[pairs.right])
    hit = found < np.iinfo(np.intp).max
    kinds["near"][left[hit]] = found[hit]
    left = left[~hit]
    place, which = altered(test.take(left), distinct)
    kinds["altered"][left] = np.where(place >= 0, distinct.place[place] if len(distinct) else -1, -1)
    column[left] = which
    return _Matches(pool=name, size=len(pool), rows=kinds, column=column, cut_short=pairs.cut_short)


def _others(kind: str, train: Rows, tolerance: Floats, seed: int) -> tuple[Indices, bool]:
    """For train rows (all, or a seeded sample), how many others match by this kind alone."""
    if kind == "exact":
        return repeats(train.row), False
    if kind == "altered":
        return altered_repeats(train), False
    distinct = _distinct(train)
    weight = repeats(train.row)[distinct.place] + 1
    probes = np.sort(
        np.random.default_rng(seed).permutation(len(distinct))[: min(CHANCE_PROBES, len(distinct))]
    )
    pairs = near(distinct.take(probes), distinct, tolerance)
    other = probes[pairs.left] != pairs.right
    near_rows = np.bincount(pairs.left[other], weight[pairs.right[other]], minlength=len(probes))
    return np.repeat(near_rows.astype(np.intp), weight[probes]), pairs.cut_short


def chance_rate(others: Indices, size: int, pool: int) -> tuple[float, float]:
    """How often a fresh row has a match among ``pool`` rows, and the upper bound of that rate.

    ``others`` counts the matches of train rows (all, or a sample) among the ``size - 1`` others.
    """
    if size < 2 or not others.any():
        return 0.0, 0.0
    share = min(1.0, pool / (size - 1))
    rate = float(np.mean(1 - (1 - share) ** others))
    matched = float(np.mean(others > 0))
    groups = 1 + float(others[others > 0].mean())
    seen = max(1.0, len(others) / groups)
    return rate, rate / matched * wilson(matched * seen, seen, 1 - 2 * RISK).high


def independent_rate(kind: str, train: Rows, tolerance: Floats, pool: int) -> float:
    """How often a fresh row would match among ``pool`` rows if the columns were independent."""
    agree = collisions(train, tolerance if kind == "near" else None)
    each = [float(np.prod(np.delete(agree, index))) for index in range(len(agree))]
    pair = float(np.sum(each)) if kind == "altered" else float(np.prod(agree))
    return 1.0 if pair >= 1 else -math.expm1(pool * math.log1p(-pair))


def _judge(
    found: _Matches, among: Flags, train: Rows, tolerance: Floats, seed: int
) -> tuple[list[_Verdict], bool]:
    """Each kind's count against what chance explains; chance is worked out only where rows match."""
    verdicts: list[_Verdict] = []
    cut_short = found.cut_short
    for kind in KINDS:
        count = found.count(kind, among)
        rate, explained = 0.0, 0
        if count:
            others, cut = _others(kind, train, tolerance, seed)
            cut_short |= cut
            rate, upper = chance_rate(others, len(train), found.size)
            apart = independent_rate(kind, train, tolerance, found.size)
            rate, upper = max(rate, apart), max(upper, apart)
            explained = most_by_chance(len(among), min(1.0, upper), RISK)
        verdicts.append(_Verdict(pool=found.pool, kind=kind, count=count, rate=rate, explained=explained))
    return verdicts, cut_short


def _features(case: Case) -> tuple[str, ...]:
    """The model's feature columns; without any, every column of the test rows but the target."""
    named = tuple(dict.fromkeys(name for tensor in case.signature.inputs for name in tensor.columns))
    found = named or case.test.names
    return tuple(name for name in found if name != case.target)


def _refusal(case: Case, names: Sequence[str]) -> Finding | None:
    """Why the question has no answer, or None."""
    if case.trained_on is None:
        return _unknown(
            "The rows that the model learned from are not declared.",
            "Declare them: give the training file with --trained-on.",
        )
    for table, what in (
        (case.trained_on, "declared training rows"),
        (case.test, "test rows"),
        (case.train, "train split"),
    ):
        absent = [name for name in names if name not in table]
        if absent or not names or not table.rows:
            missing = (
                f"have no column {absent[0]!r}" if absent else "are empty" if names else "have no features"
            )
            return _unknown(
                f"The {what} {missing}, so rows cannot be compared.",
                "Give the file with the columns that the model was trained on, unscaled and with their names.",
            )
    return None


def _unknown(reason: str, advice: str) -> Finding:
    return Finding(
        check=NAME, outcome=Outcome.UNKNOWN, summary="Whether test rows leaked is not known.",
        reason=reason, next=advice,
    )  # fmt: skip


def _with_target(case: Case, test: Rows, pools: Sequence[tuple[Table, Rows]]) -> int:
    """Test rows whose features and target both stand in a pool."""
    if case.target not in case.test or any(case.target not in table for table, _ in pools):
        return 0
    answers = comparable([case.test, *(table for table, _ in pools)], (case.target,))
    wanted = test.row + mixed(answers[0].row)
    found = np.zeros(len(test), dtype=bool)
    for (_, rows), answer in zip(pools, answers[1:], strict=True):
        found |= first_equal(wanted, rows.row + mixed(answer.row)) >= 0
    return int(found.sum())


def _named(
    matches: Sequence[_Matches], among: Sequence[Flags], verdicts: Sequence[_Verdict], names: Sequence[str]
) -> list[Json]:
    """At most ``MOST_NAMED`` matches as 1-based data rows, leaking kinds first."""
    leaking = {(verdict.pool, verdict.kind) for verdict in verdicts if verdict.leaks}
    order = sorted(
        ((found, mask, kind) for found, mask in zip(matches, among, strict=True) for kind in KINDS),
        key=lambda item: (item[0].pool, item[2]) not in leaking,
    )
    listed: list[Json] = []
    for found, mask, kind in order:
        for row in np.flatnonzero((found.rows[kind] >= 0) & mask)[: MOST_NAMED - len(listed)]:
            entry: dict[str, Json] = {
                "test_row": int(row) + 1,
                "training_row": int(found.rows[kind][row]) + 1,
                "in": found.pool,
                "match": kind,
            }
            if kind == "altered":
                entry["column"] = names[int(found.column[row])]
            listed.append(entry)
    return listed


def _metrics(
    matches: Sequence[_Matches], among: Sequence[Flags], leaked: Flags, with_target: int, outside: int
) -> tuple[Metric, ...]:
    size = len(leaked)

    def either(kind: str) -> int:
        parts = [(found.rows[kind] >= 0) & mask for found, mask in zip(matches, among, strict=True)]
        return int(np.logical_or.reduce(parts).sum())

    count = int(leaked.sum())
    share = wilson(count, size)
    matched = np.logical_or.reduce([found.any() & mask for found, mask in zip(matches, among, strict=True)])
    return (
        Metric.exact("leaked-rows", count, size=size),
        Metric(
            name="leaked-share", value=count / size, low=share.low, high=share.high, size=size,
            method=share.method,
        ),
        Metric.exact("matched-rows", int(matched.sum()), size=size),
        Metric.exact("exact-rows", either("exact"), size=size),
        Metric.exact("exact-rows-with-target", with_target, size=size),
        Metric.exact("near-rows", either("near"), size=size),
        Metric.exact("altered-rows", either("altered"), size=size),
        Metric.exact("rows-outside-train", outside, size=outside),
    )  # fmt: skip


def _words(verdicts: Sequence[_Verdict], size: int, leaked: int, listed: list[Json]) -> tuple[str, str]:
    """The summary and the advice."""
    total = sum(verdict.count for verdict in verdicts)
    if not leaked:
        chance = f" {total} match, no more than rows of this data match by chance." if total else ""
        return f"None of {size} test rows is shown to be among the declared training rows.{chance}", ""
    pools = sorted({verdict.pool for verdict in verdicts if verdict.leaks})
    rows = ", ".join(str(entry["test_row"]) for entry in listed[:5] if isinstance(entry, dict))
    advice = (
        "Train again without the test rows, and declare the rows used."
        if DECLARED in pools
        else "Split the data again so that equal rows stay on one side, and train on the new train split."
    )
    where = " and the ".join(pools)
    more = " and more" if leaked > 5 else ""
    return f"{leaked} of {size} test rows are among the {where}: test row {rows}{more}.", advice


def _doubt(outside: Rows, tested: int, names: Sequence[str], *, cut_short: bool) -> tuple[str, str]:
    """Why a search that found nothing shows nothing, and the way out; empty where it does show it."""
    unread = int(outside.unread.any(axis=1).sum())
    if unread > MOST_UNREAD * tested:
        worst = names[int(outside.unread.sum(axis=0).argmax())]
        reason = (
            f"{unread:,} declared rows hold texts where the locked rows hold numbers, most in the column "
            f"{worst!r}, so they cannot be compared."
        )
        return (
            reason,
            "Declare the rows as the model saw them: plain numbers, with a decimal point and without units.",
        )
    if cut_short:
        return (
            f"The search for near rows was cut short at {MOST_PAIRS:,} compared pairs.",
            "Lower near_fraction, or drop columns that hold the same value almost everywhere.",
        )
    return "", ""


def run(case: Case, parameters: Parameters) -> Finding:
    """Search the declared rows and the train split for the test rows."""
    names = _features(case)
    refusal = _refusal(case, names)
    if refusal is not None or case.trained_on is None:
        return refusal or _unknown("", "")
    same = case.trained_on is case.train  # most often, and then a million rows are not held twice
    tables = (case.test, case.train) if same else (case.test, case.train, case.trained_on)
    test, train, *others = comparable(tables, names)
    declared = others[0] if others else train
    tolerance = tolerances(train.numbers, parameters.near_fraction)
    outside = declared.take(first_equal(declared.row, train.row) < 0)
    split = _match(SPLIT, test, train, tolerance)
    extra = _match(DECLARED, test, outside, tolerance)
    among = (np.ones(len(test), dtype=bool), ~split.any())
    judged = [
        _judge(found, mask, train, tolerance, case.seed)
        for found, mask in zip((split, extra), among, strict=True)
    ]
    verdicts = [verdict for part, _ in judged for verdict in part]
    cut_short = any(cut for _, cut in judged)
    pools = ((case.train, train), (case.trained_on, declared))
    matches = (split, extra)
    leaked = np.zeros(len(test), dtype=bool)
    for verdict in verdicts:
        if verdict.leaks:
            index = 0 if verdict.pool == SPLIT else 1
            leaked |= (matches[index].rows[verdict.kind] >= 0) & among[index]
    listed = _named(matches, among, verdicts, names)
    count = int(leaked.sum())
    summary, advice = _words(verdicts, len(test), count, listed)
    reason, way_out = _doubt(outside, len(test), names, cut_short=cut_short)
    outcome = Outcome.FAILED if count else Outcome.UNKNOWN if reason else Outcome.PASSED
    if outcome is Outcome.UNKNOWN:
        advice = way_out
    else:
        reason = ""
    return Finding(
        check=NAME, outcome=outcome, summary=summary, reason=reason, next=advice,
        metrics=_metrics(matches, among, leaked, _with_target(case, test, pools), len(outside)),
        evidence={
            "rows": listed,
            "rows_total": int(np.logical_or.reduce([m.any() & a for m, a in zip(matches, among, strict=True)]).sum()),
            "kinds": [
                {"in": v.pool, "match": v.kind, "count": v.count, "chance_rate": v.rate,
                 "explained_by_chance": v.explained}
                for v in verdicts
            ],
            "columns_compared": len(names),
            "compared": {"test": len(test), "train": len(train), "declared": len(declared)},
            "near_search_cut_short": cut_short,
        },
    )  # fmt: skip
