from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.performance import slices
from gatewright.models.signature import Task
from gatewright.testing.cases import case, number_column, text_column, with_column

LARGE = case(6, test_rows=2000)


def _run(found: Case, **values: object) -> Finding:
    return slices.run(found, slices.Parameters(**values))


def _hurt(sound: Case, group: str) -> Case:
    """Answers of one group turned around."""
    labels = sound.predictions.labels.copy()
    inside = sound.test.column("group").values == group
    if sound.signature.task is Task.REGRESSION:
        labels = labels + np.where(inside, 5.0, 0.0)
    else:
        labels[inside] = np.where(labels[inside] == "yes", "no", "yes")
    return replace(sound, predictions=replace(sound.predictions, labels=labels))


def test_even_groups_pass_with_every_group_named() -> None:
    """Each value of each declared column has its metrics, with interval and rows."""
    found = _run(LARGE)
    assert Outcome.PASSED is found.outcome
    names = {metric.slice for metric in found.metrics}
    assert {"group=a", "group=b", "site=north", "site=south", "site=east"} <= names
    assert 4 == len([name for name in names if name.startswith("x1=")])
    assert 3 == len(found.evidence["edges"]["x1"])
    sizes = [m.size for m in found.metrics if m.name == "accuracy" and m.slice.startswith("group=")]
    assert 2000 == sum(sizes)


@pytest.mark.parametrize("task", list(Task))
def test_a_group_that_is_clearly_worse_off_fails(task: Task) -> None:
    """When one group is answered wrongly it fails and is named first."""
    found = _run(_hurt(case(6, task, test_rows=2000), "b"))
    assert Outcome.FAILED is found.outcome
    assert "group=b" == found.evidence["worse"][0]["slice"]
    assert "group=b" in found.summary
    assert found.next


def test_the_rates_are_those_of_the_group() -> None:
    """True- and false-positive rates are counted over the group's positive and negative rows."""
    found = _run(LARGE)
    inside = LARGE.test.column("group").values == "a"
    truth, said = LARGE.test.column("answer").values[inside], LARGE.predictions.labels[inside]
    rates = {m.name: (m.value, m.size) for m in found.metrics if m.slice == "group=a"}
    assert pytest.approx(np.mean(said[truth == "yes"] == "yes")) == rates["true-positive-rate"][0]
    assert pytest.approx(np.mean(said[truth == "no"] == "yes")) == rates["false-positive-rate"][0]
    assert int((truth == "no").sum()) == rates["false-positive-rate"][1]


def test_small_groups_are_listed_and_never_dropped() -> None:
    """A group below the smallest size is said to be too small, with its rows."""
    texts = ["rare"] * 7 + ["usual"] * 1993
    found = _run(replace(LARGE, test=with_column(LARGE.test, text_column("site", texts))))
    small = [entry for entry in found.evidence["too_small"] if entry["slice"] == "site=rare"]
    assert {"slice": "site=rare", "metric": "accuracy", "rows": 7} == small[0]


def test_missing_values_are_a_group() -> None:
    """Rows without a value in the column are judged as a group of their own."""
    texts = [""] * 100 + ["usual"] * 1900
    found = _run(replace(LARGE, test=with_column(LARGE.test, text_column("site", texts))))
    assert "site=(missing)" in {metric.slice for metric in found.metrics}


def test_numbers_with_few_values_are_cut_by_value() -> None:
    """A code such as 0 and 1 is not cut into quantiles."""

    def coded(table):
        return with_column(table, number_column("x1", np.arange(table.rows) % 2.0, whole=True))

    found = _run(replace(LARGE, train=coded(LARGE.train), test=coded(LARGE.test)))
    assert {"x1=0", "x1=1"} == {m.slice for m in found.metrics if m.slice.startswith("x1=")}


def test_many_groups_do_not_fail_by_chance() -> None:
    """Sixty random groups of an even model pass in twenty of twenty worlds."""
    outcomes = []
    for seed in range(20):
        sound = case(seed, test_rows=3000)
        codes = np.random.default_rng(seed).integers(0, 60, 3000)
        test = with_column(sound.test, text_column("site", [f"s{code}" for code in codes]))
        outcomes.append(_run(replace(sound, test=test), largest_gap=0.05).outcome)
    assert [Outcome.PASSED] * 20 == outcomes


def test_a_wide_column_stays_inside_the_evidence() -> None:
    """Of two thousand groups the worst are reported, and the count of the others is told."""
    sound = case(3, test_rows=4000)
    codes = [f"value-{k % 120}-{'x' * 200}" for k in range(4000)]
    found = _run(replace(sound, test=with_column(sound.test, text_column("site", codes))))
    assert len({metric.slice for metric in found.metrics}) <= slices.MOST_REPORTED
    assert found.evidence["groups"] + found.evidence["too_small_total"] > slices.MOST_REPORTED


@pytest.mark.parametrize(
    ("bent", "outcome", "word"),
    [
        (replace(LARGE, sensitive=(), slices=()), Outcome.SKIPPED, "declares no"),
        (replace(LARGE, sensitive=("absent",)), Outcome.UNKNOWN, "no column 'absent'"),
        (replace(LARGE, predictions=None), Outcome.UNKNOWN, "not given"),
        (case(6, test_rows=20), Outcome.UNKNOWN, "fewer than 30 rows"),
    ],
)
def test_what_cannot_be_judged_says_why(bent: Case, outcome: Outcome, word: str) -> None:
    """Nothing declared is skipped; nothing to judge is unknown; both with a reason."""
    found = _run(bent)
    assert outcome is found.outcome
    assert word in found.reason


def _with_a_group_c(sound: Case, where: str, name: str) -> Case:
    """The case with a group c that only train rows have, only unlabelled test rows, or seven test rows."""
    learned = sound.train.column(name).values.tolist()
    values, truth = sound.test.column(name).values.tolist(), sound.test.column("answer").values.tolist()
    if where == "train":
        learned[:50] = ["c"] * 50
    elif where == "unlabelled":
        values[:400], truth[:400] = ["c"] * 400, [""] * 400
    else:
        values[:7] = ["c"] * 7
    test = with_column(with_column(sound.test, text_column(name, values)), text_column("answer", truth))
    return replace(sound, train=with_column(sound.train, text_column(name, learned)), test=test)


@pytest.mark.parametrize(("where", "rows"), [("train", 0), ("unlabelled", 0), ("few", 7)])
def test_a_sensitive_group_that_cannot_be_judged_is_unknown(where: str, rows: int) -> None:
    """A group of a sensitive column without enough labelled test rows is no pass, and says how many it has."""
    found = _run(_with_a_group_c(LARGE, where, "group"))
    assert Outcome.UNKNOWN is found.outcome
    assert f"group=c has {rows} test rows with an answer; 30 is the least." == found.reason
    assert found.next
    assert {"slice": "group=c", "metric": "accuracy", "rows": rows} in found.evidence["too_small"]
    assert "group=a" in {metric.slice for metric in found.metrics}


def test_a_failure_stands_beside_a_group_that_cannot_be_judged() -> None:
    """What the judged groups show is not hidden by one that cannot be judged."""
    assert Outcome.FAILED is _run(_with_a_group_c(_hurt(LARGE, "b"), "train", "group")).outcome


@pytest.mark.parametrize("where", ["train", "unlabelled"])
def test_a_slice_without_a_labelled_test_row_is_listed(where: str) -> None:
    """A value of a slice column that no labelled test row has is listed as too small with 0 rows."""
    found = _run(_with_a_group_c(LARGE, where, "site"))
    assert Outcome.PASSED is found.outcome
    assert {"slice": "site=c", "metric": "accuracy", "rows": 0} in found.evidence["too_small"]
