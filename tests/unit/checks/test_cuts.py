from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.cuts import MISSING, NAME_LENGTH, cut, labels_of, labels_of_all, shown
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
    """The groups partition the rows that were asked for, in the order of their labels; one may have none."""
    found = list(cut("g", ["b", "a", "b", "c"], np.array([0, 1, 2])))
    assert [("g=a", [1]), ("g=b", [0, 2]), ("g=c", [])] == [
        (group.name, sorted(group.rows.tolist())) for group in found
    ]


def test_no_label_gives_no_group() -> None:
    """Without a row there is nothing to name."""
    assert [] == list(cut("g", [], np.empty(0, dtype=np.intp)))


def test_the_groups_of_training_are_labels_too() -> None:
    """Test rows come first, then the train rows; without the column in training there are only the former."""
    test, train = (Table(columns=(text_column("g", values),)) for values in (["a", "b"], ["c"]))
    assert (["a", "b", "c"], []) == labels_of_all("g", test, train, 4)
    assert (["a", "b"], []) == labels_of_all("g", test, Table(columns=()), 4)


@given(st.sets(st.text(alphabet="xy", max_size=6).map(("x" * (NAME_LENGTH - 3)).__add__), max_size=20))
def test_different_texts_have_different_names(texts: set[str]) -> None:
    """A name is cut for display only: no two texts share one, and a short text is its own."""
    names = {text: shown(text) for text in texts}
    assert len(texts) == len(set(names.values()))
    assert [] == [text for text in texts if len(text) <= NAME_LENGTH and names[text] != text]
    assert max(map(len, names.values()), default=0) <= NAME_LENGTH + 1


def test_a_cut_name_cannot_be_spelled() -> None:
    """The name of a long text is longer than any name that is not cut, so no text can pose as it."""
    long = "x" * 500
    assert NAME_LENGTH + 1 == len(shown(long))
    assert shown(long) != shown(shown(long))


def test_near_edges_keep_their_parts_apart() -> None:
    """Numbers that differ beyond the sixth digit are cut into parts with different names."""
    values = 1e6 + np.arange(100) / 1000
    labels, _ = labels_of(number_column("x", values), Table(columns=()), 4)
    assert 4 == len(set(labels))
