"""Parquet, read through polars: the declared size is judged before any column is decoded.

A hostile file may crash or exhaust a native reader, so operations run this in a child process with
limits. Columns pass through the same rule as CSV cells (``cells.column_of``), so that the same data
reads the same from both formats.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import polars as pl

from gatewright.datasets.cells import column_of
from gatewright.datasets.csv_reader import require_good_names
from gatewright.datasets.limits import CELLS, COLUMNS, FILE_BYTES, LARGEST_EXACT_INTEGER
from gatewright.datasets.table import Column, Kind, Table
from gatewright.kernel.errors import BadInput

MAGIC = b"PAR1"
_SMALLEST = 12  # magic, footer length, magic


def read_parquet(data: bytes, *, name: str) -> Table:
    """Read a whole Parquet file of flat columns; ``name`` is what errors call it.

    Nulls and NaN are missing; booleans become the texts ``true`` and ``false``, dates and times ISO
    8601 text. Raises :class:`BadInput` for nested, binary and extension columns (all are named),
    infinite numbers, and files beyond the limits.
    """
    _require_frame(data, name)
    try:
        schema = dict(pl.read_parquet_schema(io.BytesIO(data)))
        _require_columns(schema, name)
        rows = int(pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item())
        _require_rows(rows, len(schema), name)
        frame = pl.read_parquet(io.BytesIO(data), use_statistics=False)
    except BadInput:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise BadInput(
            "datasets.parquet",
            f"{name} is not a readable Parquet file.",
            why=str(error)[:200],
            next="Write it again, without encryption.",
        ) from None
    return Table(columns=tuple(_column(series) for series in frame.iter_columns()))


def _require_frame(data: bytes, name: str) -> None:
    if len(data) > FILE_BYTES:
        raise BadInput(
            "datasets.file-too-large", f"{name} has {len(data):,} bytes; the limit is {FILE_BYTES:,}."
        )
    footer = int.from_bytes(data[-8:-4], "little")
    whole = len(data) >= _SMALLEST and data.startswith(MAGIC) and data.endswith(MAGIC)
    if not whole or footer > len(data) - _SMALLEST:
        raise BadInput(
            "datasets.parquet",
            f"{name} is not a whole Parquet file.",
            why="It does not begin and end as one; it may be cut off.",
            next="Copy or write it again.",
        )


def _require_columns(schema: dict[str, pl.DataType], name: str) -> None:
    if not schema:
        raise BadInput("datasets.empty", f"{name} has no columns.")
    if len(schema) > COLUMNS:
        raise BadInput("datasets.too-wide", f"{name} has {len(schema):,} columns; the limit is {COLUMNS:,}.")
    require_good_names(list(schema), name)
    refused = [f"{title!r} ({dtype})" for title, dtype in schema.items() if _reading(dtype) is None]
    if refused:
        raise BadInput(
            "datasets.column-type",
            f"{name} has columns that are not plain numbers, texts or dates: {', '.join(refused[:10])}.",
            next="Flatten nested columns and leave binary ones out.",
            place=f"column {refused[0]}",
        )


def _require_rows(rows: int, columns: int, name: str) -> None:
    if rows < 1:
        raise BadInput("datasets.no-rows", f"{name} has columns and no rows.")
    if rows * columns > CELLS:
        raise BadInput(
            "datasets.too-many-cells",
            f"{name} declares {rows * columns:,} cells; the limit is {CELLS:,}.",
            next="Give fewer rows or columns.",
        )


def _reading(dtype: pl.DataType) -> Callable[[pl.Series], Column] | None:
    if dtype.is_integer():
        return _integers
    if dtype.is_float() or dtype.is_decimal():
        return _floats
    texts = (pl.Boolean, pl.String, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Time, pl.Null)
    return _texts if dtype.base_type() in texts else None


def _column(series: pl.Series) -> Column:
    reading = _reading(series.dtype)
    assert reading is not None  # noqa: S101 - _require_columns let in nothing else
    return reading(series)


def _texts(series: pl.Series) -> Column:
    if series.dtype.base_type() is pl.Datetime:
        series = series.dt.to_string("iso:strict")
    return column_of(series.name, series.cast(pl.String).fill_null("").to_list())


def _integers(series: pl.Series) -> Column:
    known = series.drop_nulls()
    if known.is_empty() or any(abs(int(end)) > LARGEST_EXACT_INTEGER for end in (known.min(), known.max())):  # type: ignore[arg-type]
        return _texts(series)
    return _numeric(series, Kind.INTEGER)


def _floats(series: pl.Series) -> Column:
    return _numeric(series, Kind.NUMBER)


def _numeric(series: pl.Series, kind: Kind) -> Column:
    values = np.array(series.cast(pl.Float64).fill_null(float("nan")).to_numpy(), dtype=np.float64)
    missing = np.isnan(values)
    if missing.all():
        return column_of(series.name, [""] * len(values))
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        raise BadInput(
            "datasets.infinite",
            f"The column {series.name!r} holds an infinite number.",
            next="Write it as missing, or leave the row out.",
            place=f"row {int(infinite[0]) + 1}, column {series.name!r}",
        )
    return Column(name=series.name, kind=kind, values=values, missing=missing)
