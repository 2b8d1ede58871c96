"""Copies are found and named, and told apart from rows that repeat because there are few values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Case
from gatewright.checks.data.duplicates import Parameters, by_chance, run
from gatewright.checks.data.matching import comparable
from gatewright.checks.finding import Finding, Outcome
from gatewright.datasets.table import Table
from gatewright.kernel.errors import Misuse
from gatewright.models.signature import Task
from gatewright.testing.cases import TARGET, case, number_column, signature, stack, text_column, with_column

PLAIN = Parameters()


def table(values: np.ndarray, seed: int = 0) -> Table:
    """The values as columns, with a target drawn apart from them."""
    labels = np.random.default_rng(seed).choice(["no", "yes"], len(values))
    columns = tuple(number_column(f"x{i}", values[:, i]) for i in range(values.shape[1]))
    return Table(columns=(*columns, text_column(TARGET, labels.tolist())))


def asked(train: Table, test: Table | None = None) -> Finding:
    """The finding on two splits of the same columns; the test split is clean normal rows by default."""
    names = [name for name in train.names if name != TARGET]
    fresh = table(np.random.default_rng(99).normal(size=(200, len(names))))
    made = Case(
        signature=signature(Task.BINARY, names), target=TARGET, train=train, test=test or fresh, trained_on=None,
        predictions=None, timing=None,
    )  # fmt: skip
    return run(made, PLAIN)


def value(found: Finding, name: str) -> float:
    """The value of a metric."""
    return next(metric.value for metric in found.metrics if metric.name == name)


def doubled(rows: Table, share: float) -> Table:
    """The table with a share of its rows a second time."""
    again = np.random.default_rng(1).choice(rows.rows, int(share * rows.rows), replace=False)
    return stack(rows, rows.take(again))


def binary(rows: int, columns: int, seed: int = 0) -> Table:
    """Rows of fair coins."""
    return table(np.random.default_rng(seed).integers(0, 2, (rows, columns)).astype(np.float64))


def test_copies_among_continuous_rows_fail_and_are_named() -> None:
    """A fifth of the rows twice: a third of all rows repeat, none by chance, and pairs are named."""
    found = asked(doubled(table(np.random.default_rng(0).normal(size=(1_000, 5))), 0.2))
    assert Outcome.FAILED is found.outcome
    assert 400 / 1_200 == value(found, "repeated-share-train") == value(found, "copied-share-train")
    group = found.evidence["train"]["groups"][0]  # type: ignore[index,call-overload]
    assert 2 == group["times"] == len(group["rows"])  # type: ignore[index,call-overload]
    assert group["rows"][1] > 1_000 >= group["rows"][0]  # type: ignore[index,call-overload,operator]


def test_a_copy_in_the_test_split_is_told_apart_from_the_train_split() -> None:
    """Copies in the test split alone fail, and the train split stays clean."""
    clean = table(np.random.default_rng(0).normal(size=(500, 5)))
    found = asked(clean, doubled(table(np.random.default_rng(1).normal(size=(300, 5))), 0.3))
    assert Outcome.FAILED is found.outcome
    assert 0 == value(found, "repeated-rows-train")
    assert 180 == value(found, "repeated-rows-test")


@pytest.mark.parametrize("columns", [4, 10, 14])
def test_rows_of_few_values_repeat_by_nature(columns: int) -> None:
    """Two thousand rows of coins repeat in number, and no more than chance explains."""
    found = asked(binary(2_000, columns))
    assert Outcome.PASSED is found.outcome
    assert value(found, "repeated-rows-train") > 100
    assert 0 == value(found, "copied-share-train")


def test_copies_among_many_coins_are_more_than_chance() -> None:
    """Twenty coins repeat now and then; a quarter of the rows twice is found."""
    assert Outcome.PASSED is asked(binary(2_000, 20)).outcome
    assert Outcome.FAILED is asked(doubled(binary(2_000, 20), 0.25)).outcome


def test_columns_that_hang_together_repeat_by_nature() -> None:
    """Six categories as one column for each value: no single column can differ alone, and none is a copy."""
    rng = np.random.default_rng(4)
    drawn = rng.choice(5, (2_000, 6), p=[0.5, 0.2, 0.15, 0.1, 0.05])
    found = asked(table(np.concatenate([np.eye(5)[drawn[:, i]] for i in range(6)], axis=1)))
    assert value(found, "repeated-share-train") > 0.5
    assert Outcome.PASSED is found.outcome


@pytest.mark.parametrize("seed", range(5))
def test_what_chance_explains_is_about_what_chance_does(seed: int) -> None:
    """For independent columns the estimate is at least the rows that repeat, and not twice as many."""
    rows = binary(3_000, 16, seed)
    (found,) = comparable([rows], rows.names[:-1])
    repeated = len(rows.take(np.arange(3_000)).columns[0].values) - len(np.unique(found.row))
    assert repeated <= by_chance(found) < 4 * repeated + 200


def test_conflicting_copies_are_counted() -> None:
    """Copies with the other label are in conflict, all rows of their group with them."""
    rows = table(np.random.default_rng(0).normal(size=(1_000, 5)))
    again = rows.take(np.arange(200))
    other = [{"no": "yes", "yes": "no"}[text] for text in again.column(TARGET).values]
    found = asked(stack(rows, with_column(again, text_column(TARGET, other))))
    assert 400 / 1_200 == value(found, "conflicting-share-train")
    assert "have another label" in found.summary


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_near_copies_are_found_and_dense_rows_are_none(columns: int) -> None:
    """Rows with a little noise stand out; rows that are near because there are many of them do not."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(4_000, columns))
    assert Outcome.PASSED is asked(table(values)).outcome
    if columns > 1:
        altered = values[:1_000] + rng.normal(size=(1_000, columns)) * 1e-4
        found = asked(table(np.concatenate([values, altered])))
        assert Outcome.FAILED is found.outcome
        assert "nearly repeat" in found.summary


def test_splits_without_the_models_columns_are_unknown() -> None:
    """Rows that lack a column of the model cannot be compared."""
    sound = case(1)
    assert Outcome.UNKNOWN is run(replace(sound, test=sound.test.without(["x0"])), PLAIN).outcome


@pytest.mark.parametrize("wrong", [{"largest_share": 2.0}, {"near_fraction": 0.5}])
def test_shares_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    """A share beyond 1 and a wide near fraction are refused."""
    with pytest.raises(Misuse):
        Parameters(**wrong)
