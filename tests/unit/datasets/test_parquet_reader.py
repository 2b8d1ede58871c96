"""Parquet: the same values as CSV, and columns that are not plain are named."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import polars as pl
import pytest

from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.parquet_reader import read_parquet
from gatewright.datasets.splits import to_csv
from gatewright.datasets.table import Kind
from gatewright.kernel.errors import BadInput


def _parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


def test_plain_columns_become_the_kinds_of_csv() -> None:
    """Numbers, booleans, dates, texts and nulls read as their CSV form would."""
    data = _parquet(
        i=[1, None, 3], f=[1.0, float("nan"), 2.5], b=[True, False, None], t=["x", "?", None],
        d=[dt.date(2026, 3, 3)] * 3, dt=[dt.datetime(2026, 3, 3, 14, 5)] * 3,  # noqa: DTZ001 - naive on purpose
        big=[2**60, 1, 2], digits=["1", "2", "3"], none=[None] * 3,
    )  # fmt: skip
    table = read_parquet(data, name="t.parquet")

    assert ["integer", "number", "text", "text", "text", "text", "text", "integer", "text"] == [
        column.kind.value for column in table.columns
    ]
    assert [False, True, False] == table.column("f").missing.tolist()
    assert ["true", "false", ""] == table.column("b").values.tolist()
    assert "2026-03-03" == table.column("d").values[0]
    assert table.column("dt").values[0].startswith("2026-03-03T14:05:00")
    again = read_csv(to_csv(table), name="t.csv")
    assert [c.kind for c in table.columns] == [c.kind for c in again.columns]


def test_nested_and_binary_columns_are_named() -> None:
    """A list, a struct and a binary column are each refused by name."""
    data = _parquet(good=[1], items=[[1, 2]], pair=[{"a": 1}], raw=[b"x"])
    with pytest.raises(BadInput) as caught:
        read_parquet(data, name="t.parquet")

    assert "datasets.column-type" == caught.value.code
    assert all(name in caught.value.refusal.what for name in ("'items'", "'pair'", "'raw'"))
    assert "'good'" not in caught.value.refusal.what


def test_an_infinite_number_is_refused_with_its_row() -> None:
    """Infinity has no place in a column of numbers."""
    with pytest.raises(BadInput) as caught:
        read_parquet(_parquet(f=[1.0, float("inf")]), name="t.parquet")

    assert ("datasets.infinite", "row 2, column 'f'") == (caught.value.code, caught.value.refusal.place)


@pytest.mark.parametrize("cut", [1, 8, 40])
def test_a_cut_file_is_refused(cut: int) -> None:
    """A file without its end is refused before polars sees it."""
    with pytest.raises(BadInput) as caught:
        read_parquet(_parquet(a=[1, 2, 3])[:-cut], name="t.parquet")

    assert "datasets.parquet" == caught.value.code


def test_damage_inside_is_refused() -> None:
    """A footer that is not one is refused with the reader's reason."""
    data = bytearray(_parquet(a=[1, 2, 3]))
    data[-60:-8] = b"\xff" * 52
    with pytest.raises(BadInput) as caught:
        read_parquet(bytes(data), name="t.parquet")

    assert "datasets.parquet" == caught.value.code


def test_declared_rows_are_judged_before_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit on cells is applied to what the file declares."""
    monkeypatch.setattr("gatewright.datasets.parquet_reader.CELLS", 5)
    with pytest.raises(BadInput) as caught:
        read_parquet(_parquet(a=[1, 2, 3], b=[1, 2, 3]), name="t.parquet")

    assert "datasets.too-many-cells" == caught.value.code


def test_no_rows_are_refused() -> None:
    """Columns without rows are no data."""
    with pytest.raises(BadInput) as caught:
        read_parquet(_parquet(a=[]), name="t.parquet")

    assert "datasets.no-rows" == caught.value.code
    assert Kind.TEXT is read_parquet(_parquet(a=[None]), name="t.parquet").columns[0].kind
