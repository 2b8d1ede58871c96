"""Weak slices: planted ones are found, absent ones are not, and how often is proven by simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gatewright.checks.case import Case
from gatewright.checks.finding import Finding, Outcome
from gatewright.checks.intervals import most_by_chance
from gatewright.checks.performance import weak_slices
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task
from gatewright.testing.alike import alike_case, false_alarms
from gatewright.testing.cases import number_column, with_column

DRAWS = 150


def _run(found: Case, **values: object) -> Finding:
    return weak_slices.run(found, weak_slices.Parameters(**values))  # type: ignore[arg-type]


def _weak(found: Finding) -> list[str]:
    named = found.evidence["weak"]
    assert isinstance(named, list)
    return [each["slice"] for each in named]


def _hurt(sound: Case, inside: np.ndarray, share: float = 0.5) -> Case:
    """The case with that share of the answers inside turned around, or far off."""
    assert sound.predictions is not None
    labels = sound.predictions.labels.copy()
    chosen = inside & (np.random.default_rng(1).random(len(inside)) < share)
    if sound.signature.task is Task.REGRESSION:
        labels = labels + np.where(chosen, 9.0, 0.0)
    else:
        labels[chosen] = np.where(labels[chosen] == "yes", "no", "yes")
    return replace(sound, predictions=replace(sound.predictions, labels=labels))


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_alike_rows_raise_few_false_alarms(task: Task) -> None:
    """Where all rows are alike, a slice is named in at most 5 % of the draws, as far as chance explains."""
    assert false_alarms(DRAWS, task, 400) <= most_by_chance(DRAWS, 0.05, 0.001)


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_a_planted_slice_is_found(task: Task) -> None:
    """A category whose answers were spoiled is named first, fails the check, and is worse as told."""
    sound = alike_case(1, task, 2_000)
    found = _run(_hurt(sound, sound.test.column("site").values == "north", 0.8))
    assert Outcome.FAILED is found.outcome
    assert "site=north" == _weak(found)[0]
    metric = next(each for each in found.metrics if each.slice == "site=north")
    assert metric.name == ("mae" if task is Task.REGRESSION else "accuracy")


def test_a_planted_pair_is_found() -> None:
    """A slice of two columns is found, not only the columns it is part of."""
    sound = alike_case(2, Task.BINARY, 4_000)
    high = sound.test.column("x3").values.astype(np.float64) > 0.67
    found = _run(_hurt(sound, high & (sound.test.column("site").values == "east"), 0.7))
    assert Outcome.FAILED is found.outcome
    worst = _weak(found)[0]
    assert worst.startswith("x3=0.7")
    assert worst.endswith("& site=east")


def test_overlapping_slices_are_told_once() -> None:
    """Of slices inside a spoiled category only the category itself is named."""
    sound = alike_case(3, Task.BINARY, 4_000)
    found = _run(_hurt(sound, sound.test.column("group").values == "a"))
    assert ["group=a"] == _weak(found)


def test_a_slightly_weak_slice_is_named_and_passes() -> None:
    """What is worse by less than largest_gap is told, and does not fail; by the parameter it does."""
    sound = alike_case(4, Task.BINARY, 8_000)
    hurt = _hurt(sound, sound.test.column("site").values == "south", 0.25)
    assert (Outcome.PASSED, ["site=south"]) == (_run(hurt).outcome, _weak(_run(hurt)))
    assert Outcome.FAILED is _run(hurt, largest_gap=0.06).outcome
    assert [] == _weak(_run(hurt, smallest_gap=0.19))


def test_the_numbers_come_from_rows_that_did_not_choose() -> None:
    """The rows of a named slice are about half of those it has, and the p-value is Fisher's."""
    sound = alike_case(5, Task.BINARY, 2_000)
    inside = sound.test.column("site").values == "north"
    found = _run(_hurt(sound, inside))
    metric = next(each for each in found.metrics if each.slice == "site=north")
    assert abs(metric.size - inside.sum() / 2) < 60
    assert {"rows_searched": 1_000, "rows_confirming": 1_000} == {
        name: found.evidence[name] for name in ("rows_searched", "rows_confirming")
    }


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_the_share_test_is_fishers(inside: int, outside: int, data: st.DataObject) -> None:
    """The one-sided p-value is that of SciPy's exact test."""
    wrong_in, wrong_out = data.draw(st.integers(0, inside)), data.draw(st.integers(0, outside))
    table = [[wrong_in, inside - wrong_in], [wrong_out, outside - wrong_out]]
    expected = stats.fisher_exact(table, alternative="greater").pvalue
    errors = [np.arange(inside) < wrong_in, np.arange(outside) < wrong_out]
    found = weak_slices.fisher(errors[0].astype(float), errors[1].astype(float))
    assert expected == pytest.approx(found, abs=1e-9)


def test_the_error_test_is_welchs() -> None:
    """The one-sided p-value is that of SciPy's test without equal variances."""
    rng = np.random.default_rng(6)
    inside, outside = rng.exponential(1.3, 40), rng.exponential(1.0, 200)
    expected = stats.ttest_ind(inside, outside, equal_var=False, alternative="greater").pvalue
    assert expected == pytest.approx(weak_slices.welch(inside, outside))


def test_it_says_whether_the_model_knows() -> None:
    """Beside the accuracy of a slice stands the accuracy that the model states there."""
    sound = alike_case(7, Task.BINARY, 2_000)
    assert sound.predictions is not None
    sure = np.where(sound.predictions.labels[:, None] == np.array(["no", "yes"]), 0.85, 0.15)
    stating = replace(sound, predictions=replace(sound.predictions, scores=sure))
    hurt = _hurt(stating, sound.test.column("site").values == "north")
    named = _run(hurt).evidence["weak"]
    assert isinstance(named, list)
    assert 0.85 == pytest.approx(named[0]["stated"])


def test_a_model_without_a_mistake_has_no_weak_slice() -> None:
    """Where no answer is wrong, slices are searched and none stands out."""
    sound = alike_case(8, Task.BINARY, 400)
    assert sound.predictions is not None
    labels = sound.test.column("answer").values.astype(object)
    found = _run(replace(sound, predictions=replace(sound.predictions, labels=labels)))
    assert Outcome.PASSED is found.outcome
    assert found.evidence["slices_searched"]


def test_too_few_rows_are_unknown() -> None:
    """Where no slice can have enough rows in both halves, nothing is claimed."""
    assert Outcome.UNKNOWN is _run(alike_case(9, Task.BINARY, 79)).outcome


def test_many_rows_and_columns_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limits a part of the rows is looked at and fewer columns are paired, and it says so."""
    monkeypatch.setattr(weak_slices, "MOST_ROWS", 500)
    monkeypatch.setattr(weak_slices, "MOST_PAIRED", 3)
    found = _run(alike_case(10, Task.BINARY, 900))
    assert (900, 250, 250, 10, 3) == tuple(
        found.evidence[name]
        for name in ("rows", "rows_searched", "rows_confirming", "columns", "columns_paired")
    )


@pytest.mark.parametrize(
    "values", [{"smallest_gap": 0.5}, {"smallest_ratio": 0.5}, {"smallest_slice": 1}, {"bins": 1}]
)
def test_nonsense_is_refused(values: dict[str, float]) -> None:
    """Parameters out of their range are refused before anything runs."""
    with pytest.raises(Misuse) as refused:
        weak_slices.Parameters(**values)  # type: ignore[arg-type]
    assert "checks.parameter" == refused.value.code


@pytest.mark.parametrize("row", range(2))
def test_one_far_error_hides_no_weak_slice(row: int) -> None:
    """A weak slice is found also where one row, in either half, is ten thousand times as far off."""
    sound = alike_case(1, Task.REGRESSION, 2_000)
    hurt = _hurt(sound, sound.test.column("site").values == "north", 0.8)
    assert hurt.predictions is not None
    labels = hurt.predictions.labels.astype(np.float64)
    order = np.random.default_rng(sound.seed).permutation(2_000)
    labels[order[row * 1_000]] += 1e5
    found = _run(replace(hurt, predictions=replace(hurt.predictions, labels=labels)))
    assert Outcome.FAILED is found.outcome
    assert "site=north" == _weak(found)[0]
    assert found.evidence["rows_limited"]


@pytest.mark.parametrize("scale", [1e155, 1e200, 1e307, 1e-200])
def test_errors_without_a_computable_spread_are_unknown(scale: float) -> None:
    """Where squares of errors overflow or vanish nothing can stand out, and that is no pass."""
    sound = alike_case(1, Task.REGRESSION, 2_000)
    assert sound.predictions is not None
    truth = sound.test.column("answer").values.astype(np.float64) * scale
    bent = replace(
        sound,
        test=with_column(sound.test, number_column("answer", truth)),
        predictions=replace(sound.predictions, labels=np.zeros(2_000)),
    )
    found = _run(bent)
    assert Outcome.UNKNOWN is found.outcome
    assert "another unit" in found.next
