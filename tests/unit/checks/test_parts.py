"""The parts of a column: every row in its part, with edges and categories from training."""

from __future__ import annotations

import numpy as np

from gatewright.checks.parts import MOST_CATEGORIES, NO_PART, cut
from gatewright.testing.cases import number_column, text_column

ALL = np.arange(6)


def test_numbers_are_cut_at_the_quartiles_of_training() -> None:
    """Edges come from the training rows; a missing number is a part of its own."""
    train = number_column("x", np.arange(101.0))
    found = cut(number_column("x", np.array([-5.0, 25.0, 49.0, 50.0, 1e9, np.nan])), train, ALL, 4)
    assert ("x=x < 25", "x=25 <= x < 50", "x=50 <= x < 75", "x=75 <= x", "x=(missing)") == found.names
    assert [0, 1, 1, 2, 3, 4] == found.codes.tolist()


def test_few_values_are_cut_by_value() -> None:
    """A number with few values in training has a part for each; one never seen there has none."""
    train = number_column("x", np.array([0.0, 1.0, 1.0]))
    found = cut(number_column("x", np.array([0.0, 1.0, 2.0, 0.0, np.nan, 0.5])), train, ALL, 4)
    assert ("x=0", "x=1", "x=(missing)") == found.names
    assert [0, 1, NO_PART, 0, 2, NO_PART] == found.codes.tolist()


def test_the_most_frequent_texts_are_parts() -> None:
    """Beyond so many texts a row is in no part; those asked for are the rows cut."""
    names = [f"t{index:02d}" for index in range(MOST_CATEGORIES + 1)]
    train = text_column("s", names * 2 + names[:-1])
    found = cut(text_column("s", ["t00", "t12", "", "new", "t11", "t01"]), train, np.array([0, 1, 2, 4]), 4)
    assert MOST_CATEGORIES + 1 == len(found.names)
    assert [0, NO_PART, MOST_CATEGORIES, 11] == found.codes.tolist()


def test_another_kind_in_training_does_not_count() -> None:
    """A column that is text in training and numbers in test is cut by its own values."""
    train = text_column("x", ["a", "b"])
    found = cut(number_column("x", np.array([1.0, 2.0, 2.0, 1.0, 1.0, 2.0])), train, ALL, 4)
    assert [0, 1, 1, 0, 0, 1] == found.codes.tolist()


def test_a_column_without_a_namesake_is_cut_by_its_own_values() -> None:
    """What training does not have has its edges from the rows at hand."""
    found = cut(number_column("x", np.array([1.0, 2.0, 2.0, 1.0, 1.0, 2.0])), None, ALL, 4)
    assert ("x=1", "x=2", "x=(missing)") == found.names


def test_long_texts_with_one_beginning_are_named_apart() -> None:
    """Two texts alike for 80 characters are two parts with two names."""
    texts = ["x" * 80 + end for end in "ababab"]
    found = cut(text_column("s", texts), None, ALL, 4)
    assert 3 == len(set(found.names))
