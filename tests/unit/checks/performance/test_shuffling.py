"""What is shuffled: one feature at a time, within limits, the promising ones first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Case, Predictions
from gatewright.checks.performance import shuffling
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, with_column
from unit.checks.performance.asked import columns_of


def _plan(found: Case) -> shuffling.Plan:
    assert found.predictions is not None
    plan = shuffling.plan(found.signature, found.test, TARGET, found.predictions, seed=found.seed)
    assert plan is not None
    return plan


def test_one_feature_is_shuffled_and_the_others_stay() -> None:
    """In each part of the stack only its feature differs, and that holds the same values."""
    found = case(1, test_rows=50, columns=3)
    plan = _plan(found)
    stacked = shuffling.stacked(plan, columns_of(found))
    assert (("x0", "x1", "x2"), 3, 450) == (plan.features, plan.repeats, plan.size)
    for index, feature in enumerate(plan.features):
        for repeat in range(plan.repeats):
            part = slice((index * 3 + repeat) * 50, (index * 3 + repeat + 1) * 50)
            for name, values in columns_of(found).items():
                same = bool((stacked[name][part] == values[plan.rows]).all())
                assert same == (name != feature)
            assert sorted(columns_of(found)[feature]) == sorted(stacked[feature][part])


def test_answers_come_back_to_their_features() -> None:
    """The stack's answers are cut where it was stacked."""
    found = case(2, Task.REGRESSION, test_rows=20, columns=2)
    plan = _plan(found)
    back = shuffling.unstacked(plan, Predictions(labels=np.arange(float(plan.size))))
    assert [("x0", 3), ("x1", 3)] == [(each.feature, len(each.answers)) for each in back]
    assert [80.0, 99.0] == [back[1].answers[1].labels[0], back[1].answers[1].labels[-1]]


def test_the_same_seed_shuffles_the_same() -> None:
    """Shuffling follows from the seed alone."""
    found = case(3, test_rows=40)
    first, same = (shuffling.stacked(_plan(found), columns_of(found))["x0"].tolist() for _ in range(2))
    other = shuffling.stacked(_plan(replace(found, seed=9)), columns_of(found))["x0"].tolist()
    assert first == same != other


def test_rows_without_an_answer_and_features_that_do_not_vary_are_left_out() -> None:
    """Only rows with a true answer are shuffled, and only features that shuffling can change."""
    found = case(4, Task.REGRESSION, test_rows=30, columns=3)
    truth = found.test.column(TARGET).values.astype(np.float64).copy()
    truth[:5] = np.nan
    test = with_column(found.test, number_column(TARGET, truth))
    plan = _plan(replace(found, test=with_column(test, number_column("x1", np.ones(30)))))
    assert (("x0", "x2"), list(range(5, 30))) == (plan.features, plan.rows.tolist())


def test_nothing_to_shuffle_is_no_plan() -> None:
    """Without a true answer there is nothing to shuffle for."""
    found = case(5, test_rows=30)
    assert found.predictions is not None
    without = found.test.without([TARGET])
    assert shuffling.plan(found.signature, without, TARGET, found.predictions, seed=0) is None


def test_a_wide_table_is_bounded_and_the_promising_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all features fit, those that go with the model's answers are shuffled."""
    monkeypatch.setattr(shuffling, "MOST_CELLS", 60_000)
    found = case(6, test_rows=300, columns=60)
    plan = _plan(found)
    assert plan.size * 60 <= 60_000
    assert "x0" == plan.features[0]
    assert 5 == len(plan.features)


def test_a_slow_model_is_asked_about_fewer_rows() -> None:
    """At a slow pace the rows are halved until they fit; a hopeless pace gives no plan."""
    plan = _plan(case(7, test_rows=1_600, columns=10))
    assert (1_600, 48_000) == (len(plan.rows), plan.size)
    kept = shuffling.within(plan, 1e-3)
    assert kept is not None
    assert (1_600, 48_000) == (len(kept.rows), kept.size)
    slower = shuffling.within(plan, 4e-3)
    assert slower is not None
    assert 400 == len(slower.rows)
    assert shuffling.within(plan, 1.0) is None
