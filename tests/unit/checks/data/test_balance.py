"""Classes too rare to measure fail; whether the splits are labelled alike is a test of the right size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gatewright.checks.case import Case
from gatewright.checks.data.balance import Parameters, alike, distance, run
from gatewright.checks.finding import Finding, Outcome
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, text_column, with_column

PLAIN = Parameters()


def labelled(train: list[str], test: list[str], task: Task = Task.MULTICLASS) -> Case:
    """A case with these labels."""
    sound = case(1, task, train_rows=len(train), test_rows=len(test))
    return replace(
        sound,
        train=with_column(sound.train, text_column(TARGET, train)),
        test=with_column(sound.test, text_column(TARGET, test)),
    )


def value(found: Finding, name: str) -> float:
    """The value of a metric."""
    return next(metric.value for metric in found.metrics if metric.name == name)


def test_a_sound_case_of_each_task_passes() -> None:
    """Both kinds of classes and amounts pass as drawn."""
    assert {Outcome.PASSED} == {run(case(2, task), PLAIN).outcome for task in Task}


def test_a_class_absent_from_train_fails() -> None:
    """A class that no train row has fails and is named, though the model knows it."""
    found = run(labelled(["blue", "green"] * 50, ["blue", "green", "red"] * 20), PLAIN)
    assert Outcome.FAILED is found.outcome
    assert "The class 'red' has 0 train rows, and 5 are needed." == found.summary


def test_a_class_with_too_few_test_rows_fails_and_the_limit_is_a_parameter() -> None:
    """Four test rows of a class are too few by default, and enough where the parameter says so."""
    made = labelled(["blue", "green", "red"] * 30, ["blue", "green"] * 20 + ["red"] * 4)
    assert Outcome.FAILED is run(made, PLAIN).outcome
    assert Outcome.PASSED is run(made, Parameters(fewest_test_rows=4)).outcome


def test_the_shares_and_the_rarest_class_are_counted() -> None:
    """Shares are counts over rows, and the rarest class has the rows it has."""
    found = run(labelled(["blue"] * 60 + ["green"] * 30 + ["red"] * 10, ["blue", "green", "red"] * 10), PLAIN)
    shares = {metric.slice: metric.value for metric in found.metrics if metric.name == "class-share-train"}
    assert {"blue": 0.6, "green": 0.3, "red": 0.1} == shares
    assert (10, 10) == (value(found, "rarest-rows-train"), value(found, "rarest-rows-test"))


def test_the_test_is_scipys_chi_square_where_counts_are_large() -> None:
    """The p-value is that of scipy's contingency test without correction."""
    train, test = np.array([500, 300, 200]), np.array([140, 100, 60])
    expected = stats.chi2_contingency(np.stack([train, test]), correction=False).pvalue
    assert pytest.approx(expected, rel=1e-9) == alike(train, test, 0)[0]


def test_the_test_is_the_exact_one_where_counts_are_small() -> None:
    """Two small classes: the exact conditional p-value lies within 0.002 of the interval of the draws."""
    train, test = np.array([14, 3]), np.array([4, 6])
    tables = [(np.array([18 - a, 9 - (10 - a)]), np.array([a, 10 - a])) for a in range(1, 11)]
    far = [stats.chi2_contingency(np.stack(pair), correction=False).statistic for pair in tables]
    chance = stats.hypergeom(27, 18, 10).pmf([pair[1][0] for pair in tables])
    exact = chance[np.array(far) >= far[3] - 1e-9].sum()
    _, low, high, method = alike(train, test, 0)
    assert low - 0.002 <= exact <= high + 0.002
    assert "9,999 draws" in method


def test_the_p_value_has_its_size_under_no_difference() -> None:
    """Of 400 pairs of splits from one distribution about 5 % have a p-value below 0.05."""
    rng = np.random.default_rng(0)
    below = sum(
        alike(rng.multinomial(400, [0.5, 0.3, 0.2]), rng.multinomial(150, [0.5, 0.3, 0.2]), 0)[0] < 0.05
        for _ in range(400)
    )
    assert 8 <= below <= 34


def test_a_shifted_split_is_told_and_passes() -> None:
    """Splits labelled otherwise have a tiny p-value and a named difference, and fail nothing."""
    found = run(labelled(["blue", "green"] * 200, ["blue"] * 90 + ["green"] * 30, Task.MULTICLASS), PLAIN)
    assert value(found, "alike-p") < 1e-4
    difference = next(metric for metric in found.metrics if metric.name == "share-difference")
    assert pytest.approx(0.25) == abs(difference.value)
    assert difference.low < difference.value < difference.high


def test_the_distance_and_its_p_value_are_scipys() -> None:
    """The Kolmogorov-Smirnov distance is scipy's, ties included."""
    rng = np.random.default_rng(2)
    a, b = np.round(rng.normal(size=300), 1), np.round(rng.normal(0.3, 1, size=200), 1)
    assert pytest.approx(stats.ks_2samp(a, b).statistic) == distance(a, b)


def test_amounts_that_are_nearly_all_the_same_fail() -> None:
    """A target that is one value throughout fails; outlying amounts are only counted."""
    sound = case(1, Task.REGRESSION)
    flat = with_column(sound.test, number_column(TARGET, np.zeros(200)))
    assert Outcome.FAILED is run(replace(sound, test=flat), PLAIN).outcome
    far = sound.train.column(TARGET).values.astype(np.float64).copy()
    far[:3] = 1e6
    found = run(replace(sound, train=with_column(sound.train, number_column(TARGET, far))), PLAIN)
    assert Outcome.PASSED is found.outcome
    assert 0.01 == value(found, "outlying-share-train")


def test_limits_out_of_range_are_refused() -> None:
    """Zero rows of a class and a share of zero are refused."""
    for wrong in ({"fewest_test_rows": 0}, {"largest_commonest_share": 0.0}):
        with pytest.raises(Misuse):
            Parameters(**wrong)  # type: ignore[arg-type]
