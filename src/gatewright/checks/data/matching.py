"""Finding rows that are the same, nearly, or all but one cell, without looking at every pair.

Each cell becomes 64 bits, mixed per column; a row is the sum of its cells, so that leaving a column
out is one subtraction. Near rows are looked up in a grid over the few columns that tell rows apart
best. All work is bounded before it is done: see ``MOST_PAIRS``.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gatewright.datasets.cells import MISSING
from gatewright.datasets.table import Column, Kind, Table

MOST_PAIRS = 20_000_000
"""Pairs of rows that a near search compares at most; beyond it the search is cut short, and says so."""
GRID_COLUMNS = 4
GRID_SAMPLE = 5_000
PAIRS_AT_ONCE = 2_000_000
FEWEST_COLUMNS = 8
"""Rows with fewer columns are not searched for one altered cell: too much agrees by chance."""

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_GONE = np.uint64(0x5851F42D4C957F2D)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?")
_MISSING = frozenset(text.casefold() for text in MISSING)


def mixed(words: Words) -> Words:
    """SplitMix64's finaliser (Steele, Lea & Flood 2014): every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        z = words + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def _bits(values: Floats) -> Words:
    """The bits of each number, -0 as 0."""
    return np.ascontiguousarray(values + 0.0, dtype=np.float64).view(np.uint64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows made comparable.

    ``cells`` (n, d) holds mixed cells, ``row`` (n,) their sum, ``words`` (n,) the sum over text
    columns alone, ``numbers`` (n, k) the numeric columns with NaN where missing, ``unread`` (n, d)
    which cells of numeric columns are texts and no numbers, and ``place`` (n,) each row's index in
    the table it came from.
    """

    cells: Words
    row: Words
    words: Words
    numbers: Floats
    unread: Flags
    place: Indices

    def take(self, rows: Indices | Flags) -> Rows:
        """The given rows."""
        return Rows(
            cells=self.cells[rows], row=self.row[rows], words=self.words[rows],
            numbers=self.numbers[rows], unread=self.unread[rows], place=self.place[rows],
        )  # fmt: skip

    def without(self, column: int) -> Words:
        """Each row's sum with one column left out, shape (n,)."""
        return np.asarray(self.row - self.cells[:, column], dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.row)


def plain(text: str) -> str:
    """A text as it is compared: NFKC (Unicode Annex 15), no format characters, blanks or case.

    Format characters are those of the category Cf, such as the zero-width space. "" is missing.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
        text = unicodedata.normalize("NFKC", text.casefold())
    text = " ".join(text.split()).casefold()
    return "" if text in _MISSING else text


def number(text: str) -> float:
    """The finite decimal or exponent number that a plain text is, -0 as 0; NaN where it is none."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value + 0.0 if math.isfinite(value) else math.nan


def _texts(part: Column, codes: dict[str, int]) -> tuple[Floats, Words, Flags]:
    """The number, the code and the lack of each cell of a text column, each shape (n,).

    ``codes`` is shared by the tables compared. Each distinct text is looked at once.
    """
    place: dict[str, int] = {}
    cells = np.array([place.setdefault(text, len(place)) for text in part.values.tolist()], dtype=np.intp)
    known = [plain(text) for text in place]
    values = np.array([number(text) for text in known], dtype=np.float64)
    raw = np.array([codes.setdefault(text, len(codes)) for text in known], dtype=np.uint64)
    gone = np.array([not text for text in known], dtype=bool)
    return values[cells], raw[cells], part.missing | gone[cells]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """One column of one table: mixed cells, numbers (NaN where none) and which are no number."""

    mixed: Words
    numbers: Floats
    unread: Flags


def _column(parts: Sequence[Column], salt: np.uint64) -> list[_Cells]:
    """One column in several tables; texts are read as numbers where any table holds numbers."""
    found: list[_Cells] = []
    codes: dict[str, int] = {}
    textual = all(part.kind is Kind.TEXT for part in parts)
    for part in parts:
        if part.kind is Kind.TEXT:
            values, raw, gone = _texts(part, codes)
            unread = np.isnan(values) & ~gone & (not textual)
            if not textual:
                raw = np.where(unread, mixed(raw ^ _GOLDEN), _bits(values))
        else:
            values, gone = part.values.astype(np.float64), part.missing
            raw, unread = _bits(values), np.zeros(len(values), dtype=bool)
        cells = mixed(mixed(np.where(gone, _GONE, raw)) ^ salt)
        found.append(_Cells(mixed=cells, numbers=np.where(gone, np.nan, values), unread=unread))
    return found


def comparable(tables: Sequence[Table], names: Sequence[str]) -> list[Rows]:
    """The named columns of several tables, made comparable with one another.

    A column that is text in some tables and numbers in others is compared as numbers; its texts
    that are no numbers are near to themselves only.
    """
    salts = mixed(np.arange(1, len(names) + 1, dtype=np.uint64))
    columns: list[list[_Cells]] = [[] for _ in tables]
    numeric: list[bool] = []
    for name, salt in zip(names, salts, strict=True):
        parts = [table.column(name) for table in tables]
        numeric.append(any(part.kind is not Kind.TEXT for part in parts))
        for held, cells in zip(columns, _column(parts, salt), strict=True):
            held.append(cells)
    return [_rows(table.rows, held, numeric) for table, held in zip(tables, columns, strict=True)]


def _rows(size: int, columns: Sequence[_Cells], numeric: Sequence[bool]) -> Rows:
    words = np.zeros(size, dtype=np.uint64)
    for column, is_number in zip(columns, numeric, strict=True):
        words = words + (np.where(column.unread, column.mixed, np.uint64(0)) if is_number else column.mixed)
    numbers = [column.numbers for column, is_number in zip(columns, numeric, strict=True) if is_number]
    cells = [column.mixed for column in columns]
    unread = [column.unread for column in columns]
    return Rows(
        cells=np.stack(cells, axis=1) if cells else np.zeros((size, 0), dtype=np.uint64),
        row=np.sum(cells, axis=0, dtype=np.uint64) if cells else np.zeros(size, dtype=np.uint64),
        words=words,
        numbers=np.stack(numbers, axis=1) if numbers else np.zeros((size, 0)),
        unread=np.stack(unread, axis=1) if unread else np.zeros((size, 0), dtype=bool),
        place=np.arange(size),
    )


def first_equal(wanted: Words, among: Words) -> Indices:
    """For each wanted word the first place it stands in ``among``, -1 where it does not; shape (n,)."""
    if not len(among):
        return np.full(len(wanted), -1, dtype=np.intp)
    found = np.full(len(wanted), -1, dtype=np.intp)
    ordered, asked = np.sort(among), np.sort(wanted)  # sorting both first is far cheaper than looking up
    if not (ordered[np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)] == asked).any():
        return found
    order = np.argsort(among, kind="stable")
    place = order[np.minimum(np.searchsorted(among[order], wanted), len(among) - 1)]
    return np.where(among[place] == wanted, place, -1)


def repeats(words: Words) -> Indices:
    """For each word how many others are equal to it, shape (n,)."""
    _, place, count = np.unique(words, return_inverse=True, return_counts=True)
    return np.asarray(count[place] - 1, dtype=np.intp)


def altered(wanted: Rows, among: Rows) -> tuple[Indices, Indices]:
    """For each wanted row the first row that differs in exactly one column, and that column.

    Both have shape (n,) and are -1 where there is none. Rows that are equal must be left out
    before. Nothing is searched below ``FEWEST_COLUMNS`` columns.
    """
    place = np.full(len(wanted), -1, dtype=np.intp)
    column = np.full(len(wanted), -1, dtype=np.intp)
    width = wanted.cells.shape[1]
    for index in range(width if width >= FEWEST_COLUMNS else 0):
        open_rows = np.flatnonzero(place < 0)
        found = first_equal(wanted.without(index)[open_rows], among.without(index))
        place[open_rows] = found
        column[open_rows[found >= 0]] = index
    return place, column


def altered_repeats(rows: Rows) -> Indices:
    """For each row how many others differ from it in exactly one column, shape (n,)."""
    same = repeats(rows.row)
    total = np.zeros(len(rows), dtype=np.intp)
    for index in range(rows.cells.shape[1]):
        total += repeats(rows.without(index)) - same
    return total


def tolerances(numbers: Floats, fraction: float) -> Floats:
    """How far apart two values of each numeric column may be and still be near, shape (k,).

    A fraction of the robust spread: the interquartile range over 1.349 (the standard deviation of
    a normal column); the 1st-to-99th percentile range over 4.65 where that is zero; zero for a
    column that hardly varies.
    """
    found = np.zeros(numbers.shape[1])
    for index in range(numbers.shape[1]):
        values = numbers[:, index]
        values = values[np.isfinite(values)]
        if len(values):
            p1, q1, q3, p99 = np.quantile(values, [0.01, 0.25, 0.75, 0.99])
            found[index] = fraction * ((q3 - q1) / 1.349 if q3 > q1 else (p99 - p1) / 4.65)
    return np.where(np.isfinite(found), found, 0.0)


def collisions(rows: Rows, tolerance: Floats | None = None) -> Floats:
    """For each column how often two different rows agree, shape (d,), in the order of ``cells``.

    With a tolerance, numbers that are near agree as well; the result then has one entry for all
    text columns together and one per numeric column.
    """
    size = len(rows)
    pairs = max(1, size * (size - 1))
    if tolerance is None:
        columns = [rows.cells[:, index] for index in range(rows.cells.shape[1])]
        return np.array([repeats(column).sum() / pairs for column in columns])
    found = [float(repeats(rows.words).sum()) / pairs]
    for index, reach in enumerate(tolerance):
        values = np.sort(rows.numbers[:, index][np.isfinite(rows.numbers[:, index])])
        inside = np.searchsorted(values, values + reach, "right") - np.searchsorted(values, values - reach)
        gone = size - len(values)
        found.append((float(inside.sum()) - len(values) + gone * (gone - 1)) / pairs)
    return np.array(found)


def _cells_of(values: Floats, tolerance: float) -> tuple[Words, Words]:
    """The grid cells that hold everything within the tolerance of each value: two at most."""
    if tolerance <= 0:
        return _bits(values), _bits(values)
    with np.errstate(invalid="ignore", over="ignore"):
        low = np.floor((values - tolerance) / (2 * tolerance))
        high = np.floor((values + tolerance) / (2 * tolerance))
    gone = np.isnan(values)
    return np.where(gone, _GONE, _bits(low)), np.where(gone, _GONE, _bits(high))


def _home_cell(values: Floats, tolerance: float) -> Words:
    if tolerance <= 0:
        return _bits(values)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(np.isnan(values), _GONE, _bits(np.floor(values / (2 * tolerance))))


def _grid(among: Rows, tolerance: Floats) -> list[int]:
    """The numeric columns whose cells tell rows apart best."""
    sample = among.numbers[:: max(1, len(among) // GRID_SAMPLE)]
    spread = [len(np.unique(_home_cell(sample[:, k], float(tolerance[k])))) for k in range(sample.shape[1])]
    order = sorted(range(len(spread)), key=lambda k: (-spread[k], k))
    return order[:GRID_COLUMNS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs of near rows, as indices into the two sides, shape (p,); ``cut_short`` when not all."""

    left: Indices
    right: Indices
    cut_short: bool


def _close(left: Rows, right: Rows, pairs: tuple[Indices, Indices], tolerance: Floats) -> Pairs:
    """The pairs within the tolerance in every numeric column and equal in every text column."""
    a, b = pairs
    keep = left.words[a] == right.words[b]
    a, b = a[keep], b[keep]
    for index in range(left.numbers.shape[1]):
        x, y = left.numbers[a, index], right.numbers[b, index]
        with np.errstate(invalid="ignore"):
            keep = (np.abs(x - y) <= tolerance[index]) | (x == y) | (np.isnan(x) & np.isnan(y))
        a, b = a[keep], b[keep]
    return Pairs(left=a, right=b, cut_short=False)


def near(left: Rows, right: Rows, tolerance: Floats) -> Pairs:
    """All pairs of near rows; equal rows are near as well.

    Rows are looked up in a grid of cells twice the tolerance wide over at most ``GRID_COLUMNS``
    columns, so a value reaches two cells a column. Give distinct rows: repeated ones multiply work.
    """
    grid = _grid(right, tolerance) if len(right) else []
    if not grid or not len(left):
        none = np.empty(0, dtype=np.intp)
        return Pairs(left=none, right=none, cut_short=False)
    salts = mixed(np.arange(101, 101 + len(grid), dtype=np.uint64))
    homes = right.words.copy()
    options: list[tuple[Words, Words]] = []
    for salt, index in zip(salts, grid, strict=True):
        homes = homes + mixed(_home_cell(right.numbers[:, index], float(tolerance[index])) ^ salt)
        options.append(_cells_of(left.numbers[:, index], float(tolerance[index])))
    order = np.argsort(homes, kind="stable")
    homes = homes[order]
    found: list[Pairs] = []
    budget = MOST_PAIRS
    for choice in product((0, 1), repeat=len(grid)):
        key = left.words.copy()
        fresh = np.ones(len(left), dtype=bool)
        for bit, salt, (low, high) in zip(choice, salts, options, strict=True):
            key = key + mixed((high if bit else low) ^ salt)
            if bit:
                fresh &= low != high
        start, stop = np.searchsorted(homes, key, "left"), np.searchsorted(homes, key, "right")
        count = np.where(fresh, stop - start, 0)
        pairs, used = _compare(left, right, (start, count, order), tolerance, budget)
        found += pairs
        budget -= used
    return Pairs(
        left=np.concatenate([part.left for part in found]) if found else np.empty(0, dtype=np.intp),
        right=np.concatenate([part.right for part in found]) if found else np.empty(0, dtype=np.intp),
        cut_short=budget < 0,
    )


def _compare(
    left: Rows, right: Rows, ranges: tuple[Indices, Indices, Indices], tolerance: Floats, budget: int
) -> tuple[list[Pairs], int]:
    """The close pairs among the candidates, and how many candidates there were.

    ``ranges`` gives for each left row the start and the count of its candidates in an order of the
    right rows. Candidates beyond the budget are counted and not compared.
    """
    start, count, order = ranges
    reach = np.cumsum(count)
    rows = np.flatnonzero((count > 0) & (reach <= budget))
    found: list[Pairs] = []
    while len(rows):
        size = int(np.searchsorted(np.cumsum(count[rows]), PAIRS_AT_ONCE, side="right")) or 1
        part, rows = rows[:size], rows[size:]
        many = count[part]
        a = np.repeat(part, many)
        step = np.arange(len(a)) - np.repeat(np.cumsum(many) - many, many)
        found.append(_close(left, right, (a, order[start[a] + step]), tolerance))
    return found, int(reach[-1])
