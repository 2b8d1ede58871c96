"""Splits: complete, disjoint, deterministic, stratified, and never leaking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.datasets.csv_reader import read_csv
from gatewright.datasets.splits import split
from gatewright.datasets.table import Table
from gatewright.kernel.errors import BadInput, Misuse

PINNED = [1, 3, 4, 8, 11, 18]


def _table(rows: int, distinct: int, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    lines = [
        f"{rng.integers(distinct)},{rng.choice(['u', 'v'])},{int(rng.random() < 0.3)}" for _ in range(rows)
    ]
    return read_csv(("x,t,y\n" + "\n".join(lines) + "\n").encode(), name="t.csv")


@given(st.integers(2, 120), st.integers(2, 60), st.integers(0, 2**40), st.floats(0.1, 0.9))
def test_no_features_stand_on_both_sides(rows: int, distinct: int, seed: int, share: float) -> None:
    """Law: the sides are disjoint, complete, not empty, and share no set of features."""
    table = _table(rows, distinct, seed % 1000)
    try:
        train, test = split(table, target="y", seed=seed, test_share=share)
    except BadInput:
        return
    features = list(zip(table.column("x").values, table.column("t").values, strict=True))

    assert sorted([*train, *test]) == list(range(rows))
    assert len(train)
    assert len(test)
    assert not {features[row] for row in train} & {features[row] for row in test}


def test_a_split_is_the_same_for_ever() -> None:
    """The split of fixed content and seed is pinned: another platform or NumPy must agree."""
    rows = "".join(f"{i},{i % 3}\n" for i in range(20))
    table = read_csv(f"x,y\n{rows}".encode(), name="t.csv")

    assert PINNED == split(table, target="y", seed=7, test_share=0.3)[1].tolist()
    assert PINNED != split(table, target="y", seed=8, test_share=0.3)[1].tolist()


def test_each_class_gives_its_share() -> None:
    """A rare class is in the test side in proportion."""
    rows = "".join(f"{i},{'rare' if i % 10 == 0 else 'often'}\n" for i in range(1000))
    table = read_csv(f"x,y\n{rows}".encode(), name="t.csv")
    _, test = split(table, target="y", seed=1, test_share=0.2)
    labels = table.column("y").values[test].tolist()

    assert (20, 180) == (labels.count("rare"), labels.count("often"))


def test_missing_cells_and_negative_zero_count_as_equal() -> None:
    """Rows that differ only in the sign of zero or share a gap are duplicates."""
    table = read_csv(b"x,z,y\n" + b"-0.0,NA,1\n0.0,?,0\n" * 5 + b"1.5,2,1\n2.5,3,0\n", name="t.csv")
    train, test = split(table, target="y", seed=3, test_share=0.5)
    duplicates = set(range(10))

    assert duplicates <= set(train.tolist()) or duplicates <= set(test.tolist())


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_a_share_outside_its_bounds_is_misuse(share: float) -> None:
    """The test share lies strictly between 0 and 1."""
    with pytest.raises(Misuse):
        split(_table(10, 10), target="y", seed=1, test_share=share)


def test_rows_that_are_all_equal_cannot_be_split() -> None:
    """Where one group holds every row, the refusal says why."""
    table = read_csv(b"x,y\n" + b"1,0\n1,1\n" * 20, name="t.csv")
    with pytest.raises(BadInput) as caught:
        split(table, target="y", seed=1, test_share=0.25)

    assert "1 different sets" in caught.value.refusal.why
