"""From the texts of a column to its values: one rule for every file format.

A column is INTEGER when every cell that is not missing is a whole number, NUMBER when every one is
a finite decimal or exponent number, else TEXT. What looks like a number and is an identifier stays
TEXT, because a number would lose part of it: leading zeros (``007``) and integers beyond 2**53.
Blanks around a cell do not count for these questions; TEXT keeps its cells as they are, also those
that a spreadsheet would take for a formula: here they are data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from gatewright.datasets.limits import CELL_CHARACTERS, LARGEST_EXACT_INTEGER
from gatewright.datasets.table import Column, Kind
from gatewright.kernel.errors import BadInput

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "None", "?"})

_BLANKS = " \t"
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PADDED = re.compile(r"[+-]?0[0-9]")
_WHOLE_DIGITS = 17  # a sign and the 16 digits of 2**53


def _number(text: str) -> tuple[Kind, float]:
    """Kind and value of one cell without blanks; TEXT has the value NaN."""
    if _WHOLE.fullmatch(text):
        if len(text) > _WHOLE_DIGITS or _PADDED.match(text) or abs(int(text)) > LARGEST_EXACT_INTEGER:
            return Kind.TEXT, math.nan
        return Kind.INTEGER, float(text)
    if not _DECIMAL.fullmatch(text) or _PADDED.match(text):
        return Kind.TEXT, math.nan
    value = float(text)
    return (Kind.NUMBER, value) if math.isfinite(value) else (Kind.TEXT, math.nan)


def column_of(name: str, cells: Sequence[str]) -> Column:
    """The column that the texts of its cells describe.

    Raises :class:`BadInput` for a cell that is longer than the limit.
    """
    numbers: dict[str, float] = {}
    kind = Kind.INTEGER
    for cell in dict.fromkeys(cells):
        text = cell.strip(_BLANKS)
        if text in MISSING:
            numbers[cell] = math.nan
            continue
        found, numbers[cell] = _number(text)
        if found is Kind.TEXT:
            return _text(name, cells)
        kind = Kind.NUMBER if found is Kind.NUMBER else kind
    values = np.fromiter(map(numbers.__getitem__, cells), np.float64, len(cells))
    missing = np.isnan(values)
    if missing.all():
        return _text(name, cells)
    return Column(
        name=name, kind=kind, values=values + 0.0 if kind is Kind.INTEGER else values, missing=missing
    )


def _text(name: str, cells: Sequence[str]) -> Column:
    kept: dict[str, str] = {}
    for cell in dict.fromkeys(cells):
        if len(cell) > CELL_CHARACTERS:
            row = list(cells).index(cell) + 1
            raise BadInput(
                "datasets.cell-too-long",
                f"A cell has {len(cell):,} characters; the limit is {CELL_CHARACTERS:,}.",
                place=f"row {row}, column {name!r}",
            )
        kept[cell] = "" if cell.strip(_BLANKS) in MISSING else cell
    values = np.empty(len(cells), dtype=np.object_)
    values[:] = [kept[cell] for cell in cells]
    return Column(name=name, kind=Kind.TEXT, values=values, missing=values == "")
