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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.datasets.limits import CELL_CHARACTERS, LARGEST_EXACT_INTEGER
from gatewright.datasets.table import Column, Kind
from gatewright.kernel.errors import BadInput

MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "null", "None", "?"})

_BLANKS = " \t"
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_PADDED = re.compile(r"[+-]?0[0-9]")
_WHOLE_DIGITS = 17  # a sign and the 16 digits of 2**53
_PLAIN = re.compile(r"(?:[+-]?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?\n)+")
"""Cells, each with a line end, that are numbers without any doubt: read as one, ten times as fast."""
_FRACTION = re.compile(r"[.eE]")


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


def column_of(name: str, cells: Sequence[str], *, first: int = 1) -> Column:
    """The column that the texts of its cells describe; ``first`` is the row that errors call the first cell's.

    Raises :class:`BadInput` for a cell that is longer than the limit.
    """
    plain = _plain(name, cells)
    if plain is not None:
        return plain
    numbers: dict[str, float] = {}
    kind = Kind.INTEGER
    for cell in dict.fromkeys(cells):
        text = cell.strip(_BLANKS)
        if text in MISSING:
            numbers[cell] = math.nan
            continue
        found, numbers[cell] = _number(text)
        if found is Kind.TEXT:
            return text_of(name, cells, first=first)
        kind = Kind.NUMBER if found is Kind.NUMBER else kind
    values = np.fromiter(map(numbers.__getitem__, cells), np.float64, len(cells))
    missing = np.isnan(values)
    if missing.all():
        return text_of(name, cells, first=first)
    return Column(
        name=name, kind=kind, values=values + 0.0 if kind is Kind.INTEGER else values, missing=missing
    )


def _plain(name: str, cells: Sequence[str]) -> Column | None:
    """The column where every cell is plainly a number and none is missing; None where one is in doubt."""
    together = "\n".join((*cells, ""))
    if together.count("\n") != len(cells) or not _PLAIN.fullmatch(together):
        return None
    values = np.fromiter(map(float, cells), np.float64, len(cells))
    if not np.isfinite(values).all():
        return None
    whole = _FRACTION.search(together) is None
    return Column(
        name=name,
        kind=Kind.INTEGER if whole else Kind.NUMBER,
        values=values + 0.0 if whole else values,
        missing=np.zeros(len(values), dtype=np.bool_),
    )


def joined(parts: Sequence[Column]) -> Column:
    """One column from its consecutive parts, none of which is a number where another is text.

    A part without any value fits either.
    """
    known = [part.kind for part in parts if not part.missing.all()]
    missing = np.concatenate([part.missing for part in parts])
    if not known or Kind.TEXT in known:
        values: NDArray[Any] = np.concatenate([part.values for part in parts])
        return Column(name=parts[0].name, kind=Kind.TEXT, values=values, missing=missing)
    kind = Kind.NUMBER if Kind.NUMBER in known else Kind.INTEGER
    gone = (np.full(len(part.values), np.nan) if part.kind is Kind.TEXT else part.values for part in parts)
    return Column(name=parts[0].name, kind=kind, values=np.concatenate(list(gone)), missing=missing)


def differ(parts: Sequence[Column]) -> bool:
    """Whether some parts of a column hold text and others numbers, so that all have to be text."""
    return len({part.kind is Kind.TEXT for part in parts if not part.missing.all()}) > 1


def text_of(name: str, cells: Sequence[str], *, first: int = 1) -> Column:
    """The column of the cells as texts, whatever they look like."""
    kept: dict[str, str] = {}
    for cell in dict.fromkeys(cells):
        if len(cell) > CELL_CHARACTERS:
            row = list(cells).index(cell) + first
            raise BadInput(
                "datasets.cell-too-long",
                f"A cell has {len(cell):,} characters; the limit is {CELL_CHARACTERS:,}.",
                place=f"row {row}, column {name!r}",
            )
        kept[cell] = "" if cell.strip(_BLANKS) in MISSING else cell
    values = np.empty(len(cells), dtype=np.object_)
    values[:] = [kept[cell] for cell in cells]
    return Column(name=name, kind=Kind.TEXT, values=values, missing=values == "")
