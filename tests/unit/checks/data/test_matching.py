from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.checks.data import matching
from gatewright.datasets.table import Table
from gatewright.testing.cases import number_column, text_column

SEEDS = st.integers(0, 2**32 - 1)


def _table(rng: np.random.Generator, rows: int, width: int) -> Table:
    numbers = [number_column(f"n{k}", np.round(rng.normal(size=rows), 1)) for k in range(width)]
    numbers[0].values[rng.random(rows) < 0.1] = np.nan
    first = number_column("n0", numbers[0].values)
    words = text_column("t", rng.choice(["", "a", "b"], rows).tolist())
    return Table(columns=(first, *numbers[1:], words))


def _close(left: Table, right: Table, i: int, j: int, tolerance: np.ndarray) -> bool:
    if left.column("t").values[i] != right.column("t").values[j]:
        return False
    for k, reach in enumerate(tolerance):
        a, b = left.columns[k].values[i], right.columns[k].values[j]
        if not ((np.isnan(a) and np.isnan(b)) or abs(a - b) <= reach):
            return False
    return True


@given(SEEDS, st.integers(1, 5), st.sampled_from([0.0, 0.15, 0.7]))
def test_near_finds_exactly_the_pairs_of_a_full_search(seed: int, width: int, reach: float) -> None:
    """The grid finds the pairs that comparing every row with every row finds."""
    rng = np.random.default_rng(seed)
    left, right = _table(rng, 12, width), _table(rng, 15, width)
    names = left.names
    a, b = matching.comparable((left, right), names)
    tolerance = np.full(width, reach)
    found = matching.near(a, b, tolerance)
    wanted = {(i, j) for i, j in product(range(12), range(15)) if _close(left, right, i, j, tolerance)}
    assert wanted == set(zip(found.left.tolist(), found.right.tolist(), strict=True))
    assert len(wanted) == len(found.left)
    assert not found.cut_short


@given(SEEDS)
def test_altered_finds_the_rows_that_differ_in_one_cell(seed: int) -> None:
    """A copy with one changed cell is found, with the column that was changed."""
    rng = np.random.default_rng(seed)
    right = _table(rng, 30, 8)
    row, column = int(rng.integers(30)), int(rng.integers(8))
    left = right.take(np.array([row]))
    left.columns[column].values[0] = 77.0
    left.columns[column].missing[0] = False
    a, b = matching.comparable((left, right), left.names)
    place, which = matching.altered(a, b)
    assert [row] == place.tolist()
    assert [column] == which.tolist()


def test_narrow_rows_are_not_searched_for_an_altered_cell() -> None:
    """Seven columns agree too easily but for one."""
    rng = np.random.default_rng(1)
    right = _table(rng, 5, 6)
    left = right.take(np.array([2]))
    left.columns[1].values[0] = 77.0
    a, b = matching.comparable((left, right), left.names)
    assert [-1] == matching.altered(a, b)[0].tolist()


def test_the_same_value_in_another_form_is_equal() -> None:
    """A number, its text and minus zero compare equal; a missing cell equals a missing cell only."""
    left = Table(columns=(text_column("a", ["1", "1.50", "", "x", "-0"]),))
    right = Table(columns=(number_column("a", np.array([1.0, 1.5, np.nan, 7.0, 0.0])),))
    a, b = matching.comparable((left, right), ("a",))
    assert [0, 1, 2, -1] == matching.first_equal(a.row, b.row).tolist()[:4]
    zero = Table(columns=(number_column("a", np.array([-0.0])),))
    plus = Table(columns=(number_column("a", np.array([0.0])),))
    a, b = matching.comparable((zero, plus), ("a",))
    assert a.row == b.row


def test_values_swapped_between_columns_are_another_row() -> None:
    """The same cells in another order are not the same row."""
    left = Table(columns=(number_column("a", np.array([1.0])), number_column("b", np.array([2.0]))))
    right = Table(columns=(number_column("a", np.array([2.0])), number_column("b", np.array([1.0]))))
    a, b = matching.comparable((left, right), ("a", "b"))
    assert a.row != b.row


def test_work_beyond_the_limit_is_cut_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search with too many candidates stops and says so."""
    monkeypatch.setattr(matching, "MOST_PAIRS", 100)
    table = Table(columns=(number_column("a", np.linspace(0, 1e-9, 50)), number_column("b", np.arange(50.0))))
    (rows,) = matching.comparable((table,), ("a",))
    found = matching.near(rows, rows, np.array([1.0]))
    assert found.cut_short
    assert len(found.left) <= 100


@given(SEEDS)
def test_collisions_are_the_share_of_agreeing_pairs(seed: int) -> None:
    """Each column's chance to agree is counted over all ordered pairs of different rows."""
    rng = np.random.default_rng(seed)
    table = _table(rng, 14, 2)
    (rows,) = matching.comparable((table,), table.names)
    pairs = [(i, j) for i, j in product(range(14), range(14)) if i != j]
    cells = [np.mean([rows.cells[i, k] == rows.cells[j, k] for i, j in pairs]) for k in range(3)]
    assert pytest.approx(cells) == matching.collisions(rows)
    reach = np.array([0.25, 0.0])
    texts = table.column("t").values
    words = np.mean([texts[i] == texts[j] for i, j in pairs])
    near = []
    for k in range(2):
        v = table.columns[k].values
        both = [abs(v[i] - v[j]) <= reach[k] or (np.isnan(v[i]) and np.isnan(v[j])) for i, j in pairs]
        near.append(np.mean(both))
    assert pytest.approx([words, *near]) == matching.collisions(rows, reach)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.50", 1.5), ("+2e3", 2000.0), (".5", 0.5), ("1,5", np.nan), ("1_0", np.nan), ("1e999", np.nan)],
)
def test_only_plain_decimals_are_numbers(text: str, expected: float) -> None:
    """A decimal or exponent number is read; everything else is none."""
    np.testing.assert_equal(matching.number(matching.plain(text)), expected)


@pytest.mark.parametrize("text", ["", "\u200b", "N/A", " na\u200d ", "NULL"])
def test_words_for_missing_are_missing_in_every_dress(text: str) -> None:
    """What stands for a missing cell does so with format characters and in another case."""
    assert "" == matching.plain(text)


def test_a_junk_text_is_near_to_itself_only() -> None:
    """Among numbers a text is neither a missing cell nor another text."""
    left = Table(columns=(text_column("a", ["x", "", "1"]), number_column("b", np.arange(3.0))))
    right = Table(columns=(number_column("a", np.array([np.nan, np.nan, 1.0])), left.column("b")))
    rows, others, again = matching.comparable([left, right, left], ["a", "b"])
    assert [[True, False], [False, False], [False, False]] == rows.unread.tolist()
    tolerance = np.array([0.1, 0.1])
    found = matching.near(rows, others, tolerance)
    assert [(1, 1), (2, 2)] == sorted(zip(found.left.tolist(), found.right.tolist(), strict=True))
    same = matching.near(rows, again, tolerance)
    assert [0, 1, 2] == sorted(same.left.tolist())
