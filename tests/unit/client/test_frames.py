"""Rows as people hold them become named columns with one type each, or are refused with what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from gatewright.client.frames import Kind, columns_of, is_named, matrix_of, names_of, read_rows, select
from gatewright.kernel.errors import BadInput
from gatewright.models.limits import TENSORS

NUMPY = {"w": np.array([1, 2]), "n": np.array([1.5, np.nan]), "t": np.array([True, False]), "s": ["a", ""]}
PANDAS = [
    pd.DataFrame(NUMPY),
    pd.DataFrame(
        {
            "w": pd.array([1, 2], dtype="Int64"),
            "n": pd.array([1.5, None], dtype="Float64"),
            "t": pd.array([True, False], dtype="boolean"),
            "s": pd.array(["a", None], dtype="string"),
        }
    ),
    pd.DataFrame(
        {
            "w": pd.Categorical([1, 2]),
            "n": pd.Categorical([1.5, None]),
            "t": pd.Categorical([True, False]),
            "s": pd.Categorical(["a", None]),
        }
    ),
    pd.DataFrame({"w": np.array([1, 2], np.uint8), "n": [1.5, None], "t": [True, False], "s": ["a", None]}),
]
POLARS = [
    pl.DataFrame({"w": [1, 2], "n": [1.5, None], "t": [True, False], "s": ["a", None]}),
    pl.DataFrame(
        {"w": [1, 2], "n": [1.5, float("nan")], "t": [True, False], "s": ["a", None]},
        schema={"w": pl.UInt8, "n": pl.Float32, "t": pl.Boolean, "s": pl.Categorical},
    ),
    pl.DataFrame({"w": [1, 2], "n": [1.5, None], "t": [True, False], "s": ["a", None]}).with_columns(
        pl.col("s").cast(pl.Enum(["a", "b"])), pl.col("n").cast(pl.Decimal(4, 1))
    ),
]


@pytest.mark.parametrize("features", [NUMPY, *PANDAS, *POLARS])
def test_every_holder_of_rows_gives_the_same_columns(features: Any) -> None:
    """Mappings, pandas and polars, whatever their types are called, hold the same four kinds of values."""
    columns = {column.name: column for column in columns_of(features)}
    cells = {name: np.asarray(column.values).tolist() for name, column in columns.items()}
    kinds = {"w": Kind.WHOLE, "n": Kind.NUMBER, "t": Kind.TRUTH, "s": Kind.TEXT}
    assert kinds == {name: column.kind for name, column in columns.items()}
    assert [1, 2] == cells["w"]
    assert [True, False] == cells["t"]
    assert ["a", ""] == cells["s"]
    assert [False, True] == columns["n"].missing.tolist()
    assert [False, True] == columns["s"].missing.tolist()


@pytest.mark.parametrize(
    "features",
    [
        pd.DataFrame({"w": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame({"w": pd.array([True, None], dtype="boolean")}),
        pd.DataFrame({"w": pd.Categorical([1, None])}),
        pl.DataFrame({"w": [1, None]}),
        pl.DataFrame({"w": [True, None]}),
    ],
)
def test_whole_numbers_and_truth_values_with_gaps_are_numbers(features: Any) -> None:
    """What has no missing value of its own becomes a number, where NaN is one."""
    (column,) = columns_of(features)
    assert Kind.NUMBER == column.kind
    assert ([False, True], 1.0) == (column.missing.tolist(), column.values[0])  # noqa: PD011 - not pandas'


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pd.Series([1, "a"], dtype=object), "int and str"),
        (pd.Series(pd.to_datetime(["2024-01-01", None])), "datetime64"),
        (pd.Series([[1], [2]]), "list"),
        (pl.Series([[1], [2]]), "List"),
        (pl.Series(["2024-01-01"]).str.to_date(), "Date"),
        (np.zeros((2, 2)), "2 dimensions"),
        (np.array([1j, 2j]), "complex"),
    ],
)
def test_columns_of_anything_else_are_named_with_the_way_out(column: Any, words: str) -> None:
    """Mixed objects, dates and lists are refused with the column, what it holds, and what to do."""
    with pytest.raises(BadInput, match=rf"'odd'.*{words}.*Make it one of them") as caught:
        columns_of({"fine": [1, 2], "odd": column})
    assert "client.column-type" == caught.value.code


@pytest.mark.parametrize(
    ("features", "code"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "client.duplicate-columns"),
        (pd.DataFrame({"a": [1], 2: [1]}), "client.features"),
        (pd.DataFrame({"a": []}), "client.no-rows"),
        ({"a": [1], "b": [1, 2]}, "client.no-rows"),
        ({}, "client.no-rows"),
        ({"a": [1.0, np.inf]}, "client.infinite"),
        ({"a": csr_matrix(np.eye(2))}, "client.sparse"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 1])}), "client.sparse"),
    ],
)
def test_frames_that_cannot_be_read_are_refused(features: Any, code: str) -> None:
    """Names that repeat or are no texts, no or uneven rows, infinite and sparse columns have their own codes."""
    with pytest.raises(BadInput) as caught:
        columns_of(features)
    assert code == caught.value.code


@pytest.mark.parametrize(
    ("features", "code"),
    [
        (np.zeros(3), "client.features"),
        (np.zeros((0, 1)), "client.features"),
        (np.array([["a"]]), "client.features"),
        (np.array([[np.inf]]), "client.infinite"),
        (csr_matrix(np.eye(2)), "client.sparse"),
    ],
)
def test_matrices_that_cannot_be_read_are_refused(features: Any, code: str) -> None:
    """A matrix has two dimensions, rows, and finite numbers, and is dense."""
    with pytest.raises(BadInput) as caught:
        matrix_of(features)
    assert code == caught.value.code


def test_a_frame_without_names_is_a_matrix() -> None:
    """A matrix in pandas has numbered columns; such numbers are no names."""
    assert not is_named(pd.DataFrame(np.eye(2)))
    assert [[1.0, 0.0], [0.0, 1.0]] == matrix_of(pd.DataFrame(np.eye(2))).tolist()
    assert np.float64 == matrix_of(np.eye(2, dtype=int)).dtype


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame])
def test_columns_come_in_the_order_that_is_asked_for(make: Any) -> None:
    """Another order, and columns that nobody asks for, make no difference."""
    features = make({"b": [1, 2], "other": ["x", "y"], "a": [3, 4]})
    rows = read_rows(features, ["a", "b"])
    assert ["a", "b"] == [column.name for column in rows.columns]
    assert ("a", "b") == names_of(rows.given)
    assert ("b",) == names_of(select(features, ["b"]))


def test_a_column_that_is_absent_is_named() -> None:
    """The columns that the model was fitted on and the rows lack are named, beside those they have."""
    with pytest.raises(BadInput, match=r"lack columns .*: 'c'\. They have 'a', 'b'") as caught:
        read_rows({"a": [1], "b": [1]}, ["a", "c"])
    assert "client.columns-absent" == caught.value.code


def test_too_many_named_columns_are_refused_at_the_limit() -> None:
    """More columns than an endpoint takes inputs are refused before anything is converted, with the way out."""
    frame = pd.DataFrame(np.zeros((2, TENSORS + 1))).add_prefix("c")
    with pytest.raises(BadInput, match=r"1,001 named columns; the limit is 1,000.*Fit on a matrix") as caught:
        read_rows(frame, None)
    assert "client.too-many-columns" == caught.value.code
    assert TENSORS == len(read_rows(frame.iloc[:, 1:], None).columns)


def test_whole_numbers_beyond_int64_do_not_wrap() -> None:
    """An unsigned number too large for int64 stays itself, as a float."""
    (column,) = columns_of({"a": np.array([2**64 - 1], np.uint64)})
    assert (Kind.NUMBER, [float(2**64)]) == (column.kind, column.values.tolist())  # noqa: PD011 - not pandas'
