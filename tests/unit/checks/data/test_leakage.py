from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gatewright.checks.case import Case
from gatewright.checks.data import leakage, matching
from gatewright.checks.finding import Finding, Outcome
from gatewright.datasets.table import Table
from gatewright.models.signature import Task
from gatewright.testing.cases import (
    TARGET,
    case,
    leaking,
    number_column,
    signature,
    stack,
    text_column,
    with_column,
)

NONE_NAMED: list[object] = []


def _run(found: Case, **values: float) -> Finding:
    return leakage.run(found, leakage.Parameters(**values))


def _number(found: Finding, name: str) -> float:
    return next(metric.value for metric in found.metrics if metric.name == name)


def _of(rng: np.random.Generator, kind: str, rows: int) -> Table:
    if kind == "binary":
        values = rng.integers(0, 2, (rows, 10)).astype(float)
    elif kind == "counts":
        values = rng.poisson(3, (rows, 8)).astype(float)
    else:
        values = rng.normal(size=(rows, 2))
    columns = [number_column(f"x{k}", values[:, k]) for k in range(values.shape[1])]
    return Table(columns=(*columns, number_column(TARGET, rng.normal(size=rows))))


def _world(kind: str, seed: int, copied: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    train, test = _of(rng, kind, 1500), _of(rng, kind, 400)
    names = [name for name in train.names if name != TARGET]
    return replace(
        case(seed, Task.REGRESSION),
        signature=signature(Task.REGRESSION, names),
        train=train,
        test=test,
        trained_on=stack(train, test.take(np.arange(copied))),
    )


def test_fresh_rows_pass() -> None:
    """Rows drawn anew match nothing, and nothing is named."""
    found = _run(case(1))
    assert Outcome.PASSED is found.outcome
    assert NONE_NAMED == found.evidence["rows"]
    assert 0 == _number(found, "matched-rows")


def test_copied_rows_fail_and_are_named_by_their_row_numbers() -> None:
    """Every copied test row is counted and named with its row in the training file."""
    found = _run(leaking(case(1), [4, 17, 30]))
    assert Outcome.FAILED is found.outcome
    assert [
        {"test_row": row, "training_row": 300 + place, "in": "declared training rows", "match": "exact"}
        for place, row in ((1, 5), (2, 18), (3, 31))
    ] == found.evidence["rows"]
    assert (3, 3, 3) == tuple(
        _number(found, name) for name in ("leaked-rows", "exact-rows", "exact-rows-with-target")
    )
    share = next(metric for metric in found.metrics if metric.name == "leaked-share")
    assert share.low < 3 / 200 < share.high
    assert "3 of 200 test rows" in found.summary


def test_at_most_twenty_rows_are_named_and_all_are_counted() -> None:
    """Fifty leaked rows are counted; twenty are named."""
    found = _run(leaking(case(1), range(50)))
    assert 50 == _number(found, "leaked-rows")
    assert 20 == len(found.evidence["rows"])
    assert 50 == found.evidence["rows_total"]


def test_a_copy_with_another_target_is_counted_apart() -> None:
    """The features decide; features with the target are counted separately."""
    sound = case(1, Task.REGRESSION)
    copy = sound.test.take(np.arange(4))
    copy = with_column(copy, number_column(TARGET, np.zeros(4)))
    found = _run(replace(sound, trained_on=stack(sound.train, copy)))
    assert (4, 0) == (_number(found, "exact-rows"), _number(found, "exact-rows-with-target"))
    assert Outcome.FAILED is found.outcome


def test_slightly_moved_copies_are_near() -> None:
    """Copies with a little noise in every number are found as near rows."""
    sound = case(2)
    copy = sound.test.take(np.arange(6))
    rng = np.random.default_rng(0)
    for index in range(8):
        values = copy.column(f"x{index}").values.astype(float) + rng.uniform(-0.003, 0.003, 6)
        copy = with_column(copy, number_column(f"x{index}", values))
    found = _run(replace(sound, trained_on=stack(sound.train, copy)))
    assert Outcome.FAILED is found.outcome
    assert (0, 6) == (_number(found, "exact-rows"), _number(found, "near-rows"))
    assert (
        Outcome.PASSED is _run(replace(sound, trained_on=stack(sound.train, copy)), near_fraction=0).outcome
    )


def test_copies_with_one_changed_cell_are_found_with_the_column() -> None:
    """A copy whose one cell was replaced is named with the column that differs."""
    sound = case(2)
    copy = with_column(sound.test.take(np.array([9])), number_column("x3", np.array([55.0])))
    found = _run(replace(sound, trained_on=stack(sound.train, copy)))
    assert Outcome.FAILED is found.outcome
    assert [
        {
            "test_row": 10,
            "training_row": 301,
            "in": "declared training rows",
            "match": "altered",
            "column": "x3",
        }
    ] == found.evidence["rows"]


def test_a_contaminated_split_fails_whatever_is_declared() -> None:
    """Test rows in the locked train split fail, with the row of the train split."""
    sound = case(3)
    train = stack(sound.train, sound.test.take(np.array([0, 1])))
    found = _run(replace(sound, train=train, trained_on=train))
    assert Outcome.FAILED is found.outcome
    assert ["train split"] * 2 == [row["in"] for row in found.evidence["rows"]]
    assert [301, 302] == [row["training_row"] for row in found.evidence["rows"]]
    assert "Split the data again" in found.next


@pytest.mark.parametrize("kind", ["binary", "counts", "two numbers"])
def test_rows_that_repeat_by_nature_do_not_fail(kind: str) -> None:
    """Data of few values or few columns repeats rows; what chance explains passes."""
    outcomes = [_run(_world(kind, seed)).outcome for seed in range(8)]
    assert [Outcome.PASSED] * 8 == outcomes


@pytest.mark.parametrize("kind", ["counts", "two numbers"])
def test_copies_among_naturally_repeating_rows_still_fail(kind: str) -> None:
    """Twenty copied rows are more than chance explains, though the data repeats by nature."""
    outcomes = [_run(_world(kind, seed, copied=20)).outcome for seed in range(8)]
    assert [Outcome.FAILED] * 8 == outcomes


def test_chance_is_learned_from_the_train_split() -> None:
    """The rate is the mean chance of a match, and 0 where no row repeats."""
    assert (0.0, 0.0) == leakage.chance_rate(np.zeros(100, np.intp), 100, 99)
    rate, upper = leakage.chance_rate(np.array([1, 1] + [0] * 98), 100, 99)
    assert pytest.approx(0.02) == rate
    assert 0.02 < upper < 0.25
    assert pytest.approx(0.02 * 50 / 99) == leakage.chance_rate(np.array([1, 1] + [0] * 98), 100, 50)[0]


@pytest.mark.parametrize(
    ("bend", "word"),
    [
        (lambda sound: replace(sound, trained_on=None), "not declared"),
        (lambda sound: replace(sound, trained_on=sound.train.without(["x2"])), "no column 'x2'"),
        (lambda sound: replace(sound, trained_on=sound.train.take(np.empty(0, np.intp))), "empty"),
        (lambda sound: replace(sound, test=sound.test.take(np.empty(0, np.intp))), "empty"),
    ],
)
def test_without_rows_to_compare_the_answer_is_unknown(bend, word: str) -> None:
    """What is not declared or not there is unknown, with what to do about it."""
    found = _run(bend(case(1)))
    assert Outcome.UNKNOWN is found.outcome
    assert word in found.reason
    assert found.next


def test_a_search_cut_short_never_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the bounded search ends early the answer is unknown, unless a leak was found already."""
    monkeypatch.setattr(matching, "MOST_PAIRS", 10)
    assert Outcome.UNKNOWN is _run(_world("two numbers", 1), near_fraction=0.1).outcome
    assert Outcome.FAILED is _run(_world("two numbers", 1, copied=40), near_fraction=0.1).outcome


def _spelled(sound: Case, spell: Callable[[float], str], junk: int = 0) -> Case:
    """All rows declared, test rows moved by 1e-6 and x0 as text, with junk cells in front."""
    moved = sound.test
    for name in (f"x{index}" for index in range(8)):
        moved = with_column(moved, number_column(name, moved.column(name).values.astype(float) * (1 + 1e-6)))
    declared = stack(sound.train, moved)
    texts = [spell(value) for value in declared.column("x0").values.tolist()]
    texts[:junk] = ["x"] * junk
    return replace(sound, trained_on=with_column(declared, text_column("x0", texts)))


def test_a_junk_cell_does_not_hide_moved_copies() -> None:
    """One text in a numeric column of the declared rows leaves the near search as it was."""
    found = _run(_spelled(case(2), repr, junk=1))
    assert Outcome.FAILED is found.outcome
    assert case(2).test.rows == _number(found, "near-rows")


@pytest.mark.parametrize("spelling", ["{:.17g} mm", "{:.17g}%", "{:_.17g}_0"])
def test_numbers_in_a_spelling_that_is_not_read_are_never_passed(spelling: str) -> None:
    """Units and other spellings of a numeric column are unknown, with the column's name and the way out."""
    found = _run(_spelled(case(2), spelling.format))
    assert Outcome.UNKNOWN is found.outcome
    assert "'x0'" in found.reason
    assert "Declare the rows as the model saw them" in found.next


def test_a_decimal_comma_is_never_passed() -> None:
    """A decimal comma in the declared rows is unknown."""
    assert Outcome.UNKNOWN is _run(_spelled(case(2), lambda value: repr(value).replace(".", ","))).outcome


@pytest.mark.parametrize(("junk", "outcome"), [(2, Outcome.PASSED), (3, Outcome.UNKNOWN)])
def test_a_few_unread_cells_are_borne(junk: int, outcome: Outcome) -> None:
    """Of 200 test rows, 1 % may have a declared row with a text instead of a number; not more."""
    sound = case(1)
    assert 200 == sound.test.rows
    texts = [repr(value) for value in sound.train.column("x0").values.tolist()]
    texts[:junk] = ["x"] * junk
    found = _run(replace(sound, trained_on=with_column(sound.train, text_column("x0", texts))))
    assert outcome is found.outcome


@pytest.mark.parametrize(
    "bend",
    [
        str.upper,
        lambda text: f" {text}\t",
        lambda text: f"\u200b{text}\u2060",
        lambda text: text.replace("e", "\uff45"),
        lambda text: f"\u00a0{text[:1]}\u00ad{text[1:]}",
    ],
)
def test_texts_in_another_dress_are_the_same(bend: Callable[[str], str]) -> None:
    """Case, blanks, zero-width characters and compatibility forms do not hide copied texts."""
    rng = np.random.default_rng(4)
    names = [f"t{index}" for index in range(6)]

    def drawn(rows: int) -> Table:
        texts = [[f"green-{value}" for value in rng.integers(0, 40, rows)] for _ in names]
        columns = [text_column(name, held) for name, held in zip(names, texts, strict=True)]
        return Table(columns=(*columns, number_column(TARGET, rng.normal(size=rows))))

    train, test = drawn(300), drawn(100)
    dressed = test
    for name in names:
        texts = [bend(text) for text in test.column(name).values.tolist()]
        dressed = with_column(dressed, text_column(name, texts))
    sound = replace(
        case(1, Task.REGRESSION),
        signature=signature(Task.REGRESSION, names), train=train, test=test, trained_on=train,
    )  # fmt: skip
    assert Outcome.PASSED is _run(sound).outcome
    found = _run(replace(sound, trained_on=stack(train, dressed)))
    assert Outcome.FAILED is found.outcome
    assert 100 == _number(found, "exact-rows")
