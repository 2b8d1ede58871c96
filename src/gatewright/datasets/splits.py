"""Splitting a table before training so that nothing leaks, and writing a table as CSV."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gatewright.datasets.limits import CLASSES
from gatewright.datasets.table import Column, Kind, Table
from gatewright.kernel.errors import BadInput, Misuse


def split(
    table: Table, *, target: str, seed: int, test_share: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers (from 0, ascending) of the train and the test side; together they are every row.

    Rows with the same features stay on one side, whatever their target says, so that no test row
    was seen in training. A target with at most ``limits.CLASSES`` distinct values is stratified: each class gives about ``test_share`` of its rows to the test side.

    The same content and seed give the same split on every platform and NumPy version: the order
    comes from raw 64-bit draws of PCG64 seeded through SeedSequence (NEP 19 guarantees both
    streams; it does not guarantee ``Generator.permutation``), keyed by the seed and a SHA-256 of
    the content. Raises :class:`Misuse` for a share outside (0, 1) or a negative seed and
    :class:`BadInput` where a side would be empty.
    """
    if not 0 < test_share < 1:
        raise Misuse("datasets.test-share", "The test share must lie between 0 and 1.", next="Try 0.25.")
    if seed < 0:
        raise Misuse("datasets.seed", "The seed must not be negative.", next="Try 7.")
    column = table.column(target)
    codes = [_codes(column) for column in table.without((target,)).columns]
    groups, first = _groups(codes, table.rows)
    sizes = np.bincount(groups)
    strata = _strata(column)[first]
    keys = _keys(seed, [*codes, _codes(column)], len(sizes))
    in_test = np.zeros(len(sizes), dtype=np.bool_)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        members = members[np.argsort(keys[members], kind="stable")]
        quota = round(test_share * int(sizes[members].sum()))
        begins = np.cumsum(sizes[members]) - sizes[members]
        in_test[members[begins + sizes[members] / 2 < quota]] = True
    test = in_test[groups]
    if not test.any() or test.all():
        raise BadInput(
            "datasets.cannot-split",
            "The rows cannot be split: one side would be empty.",
            why=f"The {table.rows:,} rows have {len(sizes):,} different sets of features, and equal ones "
            "stay on one side.",
            next="Give more rows, or another test share.",
        )
    return np.flatnonzero(~test), np.flatnonzero(test)


def _codes(column: Column) -> NDArray[np.int64]:
    """A number per row, equal exactly where the cells are equal; the same on every platform."""
    if column.kind is Kind.TEXT:
        seen: dict[str, int] = {}
        texts = (seen.setdefault(text, len(seen)) for text in column.values)
        return np.fromiter(texts, np.int64, len(column.values))
    plain = np.where(column.missing, np.inf, column.values.astype(np.float64)) + 0.0  # -0.0 equals 0.0
    return plain.view(np.int64)


def _groups(codes: list[NDArray[np.int64]], rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The group of each row, numbered by first appearance, and the first row of each group."""
    matrix = np.stack(codes, axis=1) if codes else np.arange(rows, dtype=np.int64)[:, None]
    width = matrix.shape[1] * matrix.itemsize
    content = np.ascontiguousarray(matrix).tobytes()
    seen: dict[bytes, int] = {}
    keys = (content[start : start + width] for start in range(0, len(content), width))
    groups = np.fromiter((seen.setdefault(key, len(seen)) for key in keys), np.intp, rows)
    return groups, np.unique(groups, return_index=True)[1].astype(np.intp)


def _strata(target: Column) -> NDArray[np.int64]:
    codes = _codes(target)
    distinct, strata = np.unique(codes, return_inverse=True)
    few = len(distinct) <= CLASSES + 1  # one more, for rows whose target is missing
    return strata.astype(np.int64) if few else np.zeros(len(codes), dtype=np.int64)


def _keys(seed: int, codes: Iterable[NDArray[np.int64]], count: int) -> NDArray[np.uint64]:
    content = hashlib.sha256()
    for column in codes:
        content.update(column.astype("<i8").tobytes())
    words = [int.from_bytes(content.digest()[at : at + 4], "little") for at in range(0, 32, 4)]
    stream = np.random.PCG64(np.random.SeedSequence([seed, *words]))
    return np.asarray(stream.random_raw(count), dtype=np.uint64)


def to_csv(table: Table) -> bytes:
    """The table as CSV (RFC 4180, UTF-8, CRLF line ends).

    Whole numbers are written without ``.0``, others in the shortest form that reads back to the
    same bits; missing cells are empty. Law: ``read_csv(to_csv(t)) == t`` for every table that a
    reader of this package gave. Texts are written as they are; what opens the file in a
    spreadsheet must not take them for formulas.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(table.names)
    writer.writerows(zip(*(_cells(column) for column in table.columns), strict=True))
    return out.getvalue().encode("utf-8")


def _cells(column: Column) -> list[str]:
    values, gaps = column.values.tolist(), column.missing.tolist()
    if column.kind is Kind.TEXT:
        return [str(value) for value in values]
    whole = column.kind is Kind.INTEGER
    return [
        "" if gap else str(int(value)) if whole else repr(value)
        for value, gap in zip(values, gaps, strict=True)
    ]
