from __future__ import annotations

import numpy as np

from gatewright.checks.cuts import MISSING, cut, labels_of
from gatewright.datasets.table import Table
from gatewright.testing.cases import number_column, text_column


def test_edges_come_from_the_training_rows() -> None:
    """A numeric column of test rows is cut where the training rows' quarters end."""
    train = Table(columns=(number_column("age", np.arange(101.0)),))
    labels, edges = labels_of(number_column("age", np.array([0.0, 25.0, 99.0, np.nan])), train, 4)
    assert [25.0, 50.0, 75.0] == edges
    assert ["x < 25", "25 <= x < 50", "75 <= x", MISSING] == labels


def test_texts_and_few_numbers_are_cut_by_value() -> None:
    """A text keeps its value and a code is written as a whole number."""
    empty = Table(columns=())
    assert (["a", MISSING], []) == labels_of(text_column("g", ["a", ""]), empty, 4)
    assert (["1", "2"], []) == labels_of(number_column("g", np.array([1.0, 2.0])), empty, 4)


def test_every_row_is_in_exactly_one_group() -> None:
    """The groups partition the rows that were asked for, in the order of their labels."""
    found = list(cut("g", ["b", "a", "b", "c"], np.array([0, 1, 2])))
    assert [("g=a", [1]), ("g=b", [0, 2])] == [(group.name, sorted(group.rows.tolist())) for group in found]
