"""Named columns with one type each, out of what people hold rows in: DataFrames, mappings, matrices.

A column is whole numbers, numbers, truth values or texts; a category is what its names are. A missing
number is NaN (so whole numbers with gaps are numbers), a missing text "". What is none of these (dates,
mixed objects, lists) is refused with the column's name and the way out. Neither pandas nor polars is
asked for anything that the other lacks, and neither is imported to read the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput
from gatewright.models.limits import TENSORS

SHOWN = 10
"""How many column names an error shows."""


class Kind(StrEnum):
    """What the values of a column are."""

    WHOLE = "whole numbers"
    NUMBER = "numbers"
    TRUTH = "truth values"
    TEXT = "texts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of shape (rows,): int64, float64 (NaN where missing), bool, or objects of ``str`` ("" where missing)."""

    name: str
    kind: Kind
    values: NDArray[Any]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which cells are missing, shape (rows,)."""
        if self.kind is Kind.NUMBER:
            return np.asarray(np.isnan(self.values))
        return np.asarray(self.values == "" if self.kind is Kind.TEXT else np.zeros(len(self.values), bool))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows to compare on: ``given`` as the model takes them; for ONNX as typed columns or as a ``matrix``."""

    given: Any
    columns: tuple[Column, ...]
    matrix: NDArray[Any] | None

    @property
    def missing(self) -> bool:
        """Whether a number or a text is missing."""
        if self.matrix is not None:
            return bool(np.isnan(self.matrix).any())
        return any(column.missing.any() for column in self.columns)


def is_named(features: Any) -> bool:
    """Whether the rows have column names: a mapping, or a DataFrame whose names are texts."""
    if isinstance(features, Mapping):
        return True
    names = getattr(features, "columns", None)
    return names is not None and any(isinstance(each, str) for each in names)


def names_of(features: Any) -> tuple[str, ...]:
    """The names of the columns, in order.

    Raises BadInput (``client.duplicate-columns``, ``client.features``) where two are the same or one is no text.
    """
    names = tuple(features) if isinstance(features, Mapping) else tuple(features.columns)
    if not all(isinstance(name, str) for name in names):
        raise BadInput(
            "client.features",
            "Some columns have names that are no texts.",
            next="Name every column with a text: frame.columns = frame.columns.astype(str).",
        )
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise BadInput(
            "client.duplicate-columns",
            f"Two columns have the same name: {', '.join(map(repr, twice[:SHOWN]))}.",
            next="Give every column its own name, or leave one of them out.",
        )
    return names


def columns_of(features: Any, names: Iterable[str] | None = None) -> tuple[Column, ...]:
    """The named columns (all, where none are named), each with its type.

    Raises BadInput: ``client.columns-absent`` where the rows lack one, ``client.column-type`` where one
    holds something else, ``client.infinite`` for infinite numbers, ``client.no-rows`` for empty or uneven rows.
    """
    have = names_of(features)
    wanted = have if names is None else tuple(names)
    absent = sorted(set(wanted) - set(have))
    if absent:
        raise BadInput(
            "client.columns-absent",
            f"The rows lack columns that the model was fitted on: {', '.join(map(repr, absent[:SHOWN]))}.",
            why=f"They have {', '.join(map(repr, have[:SHOWN]))}{', …' if len(have) > SHOWN else ''}.",
            next="Give the columns that it was fitted on, with the same names.",
        )
    columns = tuple(_column(name, features[name]) for name in wanted)
    lengths = {len(column.values) for column in columns}
    if len(lengths) != 1 or not lengths.pop():
        raise BadInput(
            "client.no-rows",
            "There are no rows to compare on, no columns, or columns of different lengths.",
            next="Give at least one row; 1,000 or more prove most.",
        )
    return columns


def select(features: Any, names: Sequence[str]) -> Any:
    """The same rows with these columns in this order: a frame of the same library (polars for a mapping)."""
    if isinstance(features, Mapping):
        return pl.DataFrame({name: _plain(features[name]) for name in names}, strict=False)
    return features[list(names)]


def matrix_of(features: Any) -> NDArray[Any]:
    """Unnamed rows as a matrix of float32 or float64, shape (rows, columns).

    Raises BadInput (``client.features``, ``client.infinite``, ``client.sparse``) for anything else.
    """
    _refuse_sparse(features, "The rows are a sparse matrix.")
    rows = np.asarray(features)
    if rows.ndim != 2 or 0 in rows.shape or rows.dtype.kind not in "iufb":
        raise BadInput(
            "client.features",
            f"The rows to compare on have shape {rows.shape} and type {rows.dtype}.",
            next="Give a matrix of numbers with at least one row, or a DataFrame of named columns.",
        )
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float64)
    infinite = np.isinf(rows).any(axis=1)
    if infinite.any():
        raise _infinite(int(np.argmax(infinite)), "")
    return rows


def read_rows(features: Any, names: Sequence[str] | None, *, as_matrix: bool = False) -> Rows:
    """The rows as a model takes them: with ``names``, the columns that it was fitted on, in their order.

    Without ``names`` every column counts; a model that was fitted on a matrix (``as_matrix``) is asked
    with one. Raises BadInput as :func:`columns_of` and :func:`matrix_of` do, and ``client.too-many-columns``.
    """
    if not is_named(features):
        matrix = matrix_of(features)
        return Rows(given=matrix, columns=(), matrix=matrix)
    wanted = names_of(features) if names is None else tuple(names)
    if len(wanted) > TENSORS:
        raise BadInput(
            "client.too-many-columns",
            f"The model takes {len(wanted):,} named columns; the limit is {TENSORS:,}.",
            why="Each becomes an input of its own.",
            next="Fit on a matrix, frame.to_numpy(), and give one here: it becomes one input of any width.",
        )
    columns = columns_of(features, wanted)
    if not as_matrix or any(column.kind is Kind.TEXT for column in columns):
        return Rows(given=select(features, wanted), columns=columns, matrix=None)
    given = np.stack([column.values.astype(np.float64) for column in columns], axis=1)
    return Rows(given=given, columns=columns, matrix=None)


def _plain(column: Any) -> Any:
    values = np.asarray(column)
    return values.tolist() if values.dtype.kind in "OU" else values


def _refuse_sparse(values: Any, what: str, place: str = "") -> None:
    if hasattr(values, "toarray") or str(getattr(values, "dtype", "")).startswith("Sparse"):
        raise BadInput(
            "client.sparse",
            what,
            why="An endpoint takes dense numbers.",
            next="Fit and compare on dense rows: rows.toarray(), or frame.sparse.to_dense().",
            place=place,
        )


def _column(name: str, column: Any) -> Column:
    _refuse_sparse(column, f"The column {name!r} is sparse.", f"column {name!r}")
    values = _polars_values(name, column) if isinstance(column, pl.Series) else _values(column)
    if values.dtype == np.uint64 and values.size and values.max() > np.iinfo(np.int64).max:
        values = values.astype(np.float64)
    if values.ndim == 1 and values.dtype.kind in "iu":
        return Column(name=name, kind=Kind.WHOLE, values=values.astype(np.int64))
    if values.ndim == 1 and values.dtype.kind == "b":
        return Column(name=name, kind=Kind.TRUTH, values=values)
    if values.ndim == 1 and values.dtype.kind == "f":
        infinite = np.isinf(values)
        if infinite.any():
            raise _infinite(int(np.argmax(infinite)), name)
        return Column(name=name, kind=Kind.NUMBER, values=values.astype(np.float64))
    if values.ndim == 1 and values.dtype.kind in "OU":
        return Column(name=name, kind=Kind.TEXT, values=_texts(name, values))
    raise _other_type(name, f"It is of type {values.dtype} and has {values.ndim} dimensions.")


def _polars_values(name: str, column: pl.Series) -> NDArray[Any]:
    kind = column.dtype
    if kind.is_integer() or kind.is_float() or kind.is_decimal():
        whole = kind.is_integer() and not column.null_count()
        return column.cast(pl.Int64 if whole else pl.Float64).to_numpy()
    if kind == pl.Boolean and not column.null_count():
        return column.to_numpy()
    if kind == pl.Boolean:
        return column.cast(pl.Float64).to_numpy()
    if kind.base_type() in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        texts: NDArray[Any] = np.array(column.cast(pl.String).to_list(), dtype=object)
        return texts
    raise _other_type(name, f"It holds {kind}.")


def _values(column: Any) -> NDArray[Any]:
    """The cells of a pandas column, an array or a list, in the simplest NumPy type that holds them."""
    kind: Any = getattr(column, "dtype", None)
    names = getattr(kind, "categories", None)
    if names is not None:  # a category is what its names are
        numbers = np.float64 if column.isna().any() else names.dtype
        column = column.astype(numbers if names.dtype.kind in "iufb" else object)
        kind = column.dtype
    if hasattr(kind, "numpy_dtype") and kind.kind in "iufb":  # pandas' types that know missing cells
        holds = np.float64 if column.isna().any() else kind.numpy_dtype
        return np.asarray(column.to_numpy(dtype=holds, na_value=np.nan))
    return np.asarray(column)


def _texts(name: str, values: NDArray[Any]) -> NDArray[np.object_]:
    cells = values.tolist()
    texts = np.empty(len(cells), dtype=object)
    texts[:] = ["" if is_gap(cell) else cell for cell in cells]
    others = {type(cell).__name__ for cell in texts.tolist() if not isinstance(cell, str)}
    if others:
        have = sorted(others | {"str" for cell in texts.tolist() if isinstance(cell, str) and cell})
        raise _other_type(name, f"It is an object column that holds {' and '.join(have[:SHOWN])}.")
    return texts


def is_gap(cell: object) -> bool:
    """Whether a cell is missing: None, NaN or pandas' NA."""
    return cell is None or type(cell).__name__ == "NAType" or (isinstance(cell, float) and cell != cell)  # noqa: PLR0124 - NaN


def _other_type(name: str, why: str) -> BadInput:
    return BadInput(
        "client.column-type",
        f"The column {name!r} holds neither numbers only nor texts only.",
        why=why,
        next="Make it one of them before fitting: astype(float) or astype(str); of a date, its year, month or age; "
        "or leave the column out.",
        place=f"column {name!r}",
    )


def _infinite(row: int, column: str) -> BadInput:
    return BadInput(
        "client.infinite",
        "A row to compare on holds an infinite value.",
        why="An endpoint takes none: JSON has no such number.",
        next="Write it as missing (NaN), or as a large number of your choice, in training too.",
        place=f"row {row}" + (f", column {column!r}" if column else ""),
    )
