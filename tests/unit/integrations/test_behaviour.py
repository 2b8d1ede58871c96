"""Behavioural tests of models that can be called: what they find, what they pass, what they say."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from gatewright.integrations.behaviour import Behaviour, ModelUnderTest
from gatewright.kernel.errors import BadInput, GatewrightError, Misuse

SIZE = 600
_RNG = np.random.default_rng(3)
COLUMNS: dict[str, Any] = {
    "income": _RNG.normal(50, 10, SIZE).round(2),
    "children": _RNG.integers(0, 4, SIZE),
    "sex": np.where(_RNG.random(SIZE) < 0.5, "Male", "Female").astype(object),
}
FORMS = {"arrays": COLUMNS, "pandas": pd.DataFrame(COLUMNS), "polars": pl.DataFrame(COLUMNS)}


def score(rows: Any) -> Any:
    """A score that rises with income and knows the sex of twelve rows in a hundred."""
    income, sex = np.asarray(rows["income"]), np.asarray(rows["sex"])
    return 1 / (1 + np.exp(-(income - 50) / 10)) - 0.1 * (sex == "Female")


def predict(rows: Any) -> Any:
    """The answer by that score."""
    return np.where(score(rows) > 0.5, "yes", "no")


def model(form: str = "arrays") -> ModelUnderTest:
    """The model on rows of a form."""
    return ModelUnderTest.of(predict, FORMS[form], score=score)


@pytest.mark.parametrize("form", FORMS)
def test_a_planted_dependence_is_found(form: str) -> None:
    """The exceptions are exactly the rows whose answer changes, in every form of rows."""
    swapped = {**COLUMNS, "sex": np.where(COLUMNS["sex"] == "Male", "Female", "Male")}
    expected = int((predict(COLUMNS) != predict(swapped)).sum())
    found = model(form).invariance("sex", {"Male": "Female", "Female": "Male"})
    assert (SIZE, expected) == (found.tried, found.broken)
    assert 10 < expected


@pytest.mark.parametrize("form", FORMS)
def test_what_does_not_matter_passes(form: str) -> None:
    """A column that the model does not read leaves every answer, exactly and up to a rate."""
    found = model(form).invariance("children", 1)
    found.holds()
    found.holds(at_most=0.01)
    assert 0 == found.broken


def test_only_rows_that_change_are_tried() -> None:
    """A mapping tries the rows that hold its keys, and no others."""
    assert int((COLUMNS["sex"] == "Male").sum()) == model().invariance("sex", {"Male": "Female"}).tried


def test_scores_may_be_held_to_a_distance() -> None:
    """With ``within`` the scores are compared: a tenth is moved by sex, and no more."""
    model().invariance("sex", {"Male": "Female"}, within=0.100001).holds()
    assert model().invariance("sex", {"Male": "Female"}, within=0.0999).broken > 0


@pytest.mark.parametrize("form", FORMS)
def test_a_direction_is_told_from_the_other(form: str) -> None:
    """More income raises the score in every row, so that it lowers it in none."""
    rising = model(form).direction("income", 5, score="up")
    falling = model(form).direction("income", 5, score="down")
    assert (0, SIZE) == (rising.broken, falling.broken)
    rising.holds(at_most=0.01)
    with pytest.raises(AssertionError, match="goes down or stays with income"):
        falling.holds(at_most=0.5)


def test_a_direction_may_have_slack() -> None:
    """A score that falls by less than the slack is no exception."""
    model().direction("income", 0.001, score="down", slack=0.01).holds()


def test_a_regression_answers_with_its_score() -> None:
    """Decimal numbers that predict gives are scores."""
    regression = ModelUnderTest.of(lambda rows: rows["income"] * 2.0, COLUMNS)
    regression.direction("income", 1, score="up").holds()
    regression.gives(20.0, to=[{"income": 10.1, "children": 0, "sex": "Male"}], within=0.3).holds()


@pytest.mark.parametrize("form", FORMS)
def test_named_rows_must_get_their_answer(form: str) -> None:
    """The rows that get another answer are named."""
    rich, poor = ({"income": income, "children": 0, "sex": "Male"} for income in (90.0, 10.0))
    model(form).gives("yes", to=[rich]).holds()
    with pytest.raises(
        AssertionError, match=r"(?s)1 of 2 rows are exceptions; none may be.*\n  poor .*income=10"
    ):
        model(form).gives("yes", to={"rich": rich, "poor": poor}).holds()


def behaviour(broken: int, tried: int) -> Behaviour:
    """A rate of exceptions."""
    return Behaviour(promise="It holds", tried=tried, broken=broken, worst=())


@given(st.integers(1, 5_000), st.data())
def test_the_interval_is_wilsons(tried: int, data: st.DataObject) -> None:
    """The interval of a rate is the one that SciPy computes."""
    broken = data.draw(st.integers(0, tried))
    found = behaviour(broken, tried).interval
    expected = binomtest(broken, tried).proportion_ci(0.95, "wilson")
    assert (expected.low, expected.high) == pytest.approx((found.low, found.high), abs=1e-9)


@pytest.mark.parametrize(
    ("broken", "tried", "at_most", "holds"),
    [
        (0, 1, 0.0, True),
        (1, 1_000_000, 0.0, False),
        (0, 380, 0.01, False),
        (0, 381, 0.01, True),
        (1, 1_000, 0.01, True),
        (9, 1_000, 0.01, False),
        (1, 10, 0.5, True),
    ],
)
def test_a_rate_is_judged_on_its_bound(broken: int, tried: int, at_most: float, holds: bool) -> None:
    """Few rows have to show more; without a rate not one exception is allowed."""
    if holds:
        behaviour(broken, tried).holds(at_most)
        return
    with pytest.raises(AssertionError):
        behaviour(broken, tried).holds(at_most)


def test_too_few_rows_are_named() -> None:
    """Where the rate is fine and its bound is not, the sentence says that the rows are too few."""
    assert "100 rows are too few to promise that." in behaviour(0, 100).sentence(0.01)
    assert "too few" not in behaviour(50, 100).sentence(0.01)


def test_the_worst_rows_come_first() -> None:
    """A failure shows the rows that moved most, in a table, with what was changed and the answers."""
    failure = model().invariance("income", 5, within=0.05).sentence(0.01)
    lines = failure.splitlines()
    assert ["row", "change", "answer", "score"] == lines[1].split()
    assert len(lines) == 2 + 8
    moved = [
        abs(float(old) - float(new))
        for old, new in re.findall(r"(\S+) → (\S+)$", "\n".join(lines[2:]), re.MULTILINE)
    ]
    assert sorted(moved, reverse=True) == pytest.approx(moved, abs=2e-4)
    row = int(lines[2].split()[0])
    assert f"{COLUMNS['income'][row - 1]:.4g} → {COLUMNS['income'][row - 1] + 5:.4g}" in lines[2]


def test_hostile_cells_are_shown_as_text() -> None:
    """Control characters of the data reach a terminal as their codes, and long cells are cut."""
    rows = {"name": np.array(["\x1b[2J" + "a" * 100], dtype=object)}
    found = ModelUnderTest.of(lambda asked: asked["name"], rows).invariance("name", lambda names: names + "b")
    assert "<U+001B>[2Jaaa" in found.sentence()
    assert max(map(len, found.sentence().splitlines())) < 200


def test_categories_stay_categories() -> None:
    """A pandas column of categories keeps its type, and a value that is none of them is refused."""
    frame = FORMS["pandas"].astype({"sex": "category"})
    seen = []
    asked = ModelUnderTest.of(lambda rows: seen.append(rows["sex"].dtype) or predict(rows), frame)
    asked.invariance("sex", {"Male": "Female"})
    assert {frame["sex"].dtype} == set(seen)
    asked.gives("yes", to=[{"income": 90.0, "children": 1.5, "sex": "Male"}]).holds()
    assert {frame["sex"].dtype} == set(seen)
    with pytest.raises(BadInput, match="none of the categories"):
        asked.invariance("sex", {"Male": "Other"})
    with pytest.raises(BadInput, match="none of the categories"):
        asked.gives("yes", to=[{"income": 90.0, "children": 1, "sex": "Other"}])


WRONG = {
    "integrations.no-column": lambda: model().invariance("sax", {"a": "b"}),
    "integrations.nothing-changed": lambda: model().invariance("sex", {"male": "female"}),
    "integrations.not-numeric": lambda: model().invariance("sex", 1),
    "integrations.change": lambda: model().invariance("income", lambda values: values[:3]),
    "integrations.direction": lambda: model().direction("income", 1, score="sideways"),  # type: ignore[arg-type]
    "integrations.which-score": lambda: model().direction("income", 1, score="up", of="maybe"),
    "integrations.no-score": lambda: ModelUnderTest.of(predict, COLUMNS).direction("income", 1, score="up"),
    "integrations.no-rows": lambda: model().gives("yes", to=[]),
    "integrations.row-columns": lambda: model().gives("yes", to=[{"income": 1.0}]),
    "integrations.share": lambda: behaviour(0, 1).holds(2),
    "integrations.answers": lambda: ModelUnderTest.of(lambda _: ["yes"], COLUMNS).invariance("income", 1),
    "integrations.scores": lambda: ModelUnderTest.of(
        predict, COLUMNS, score=lambda rows: np.full(len(rows["income"]), np.nan)
    ).direction("income", 1, score="up"),
    "integrations.two-columns": lambda: ModelUnderTest.of(
        predict, pd.concat([FORMS["pandas"], FORMS["pandas"]], axis=1)
    ).invariance("sex", {"Male": "Female"}),
}


@pytest.mark.parametrize("code", WRONG)
def test_bad_input_is_named(code: str) -> None:
    """Each kind of wrong use says what is wrong and what to do."""
    with pytest.raises(GatewrightError) as refused:
        WRONG[code]()
    assert code == refused.value.code
    assert isinstance(refused.value, Misuse | BadInput)


def test_the_nearest_column_is_suggested() -> None:
    """A misspelt column brings the name that was meant."""
    with pytest.raises(Misuse, match="Did you mean 'income'"):
        model().invariance("incme", 1)
