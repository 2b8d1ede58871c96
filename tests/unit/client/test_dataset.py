"""Frames become a registered dataset version that means the same, or are refused with the column."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.assembly.homes import create_home, open_home
from gatewright.client import dataset
from gatewright.client.dataset import Frames, plain, register, task_named
from gatewright.client.frames import columns_of
from gatewright.datasets.cells import MISSING
from gatewright.datasets.datasheet import Datasheet
from gatewright.datasets.parquet_reader import read_parquet
from gatewright.datasets.target import TargetKind
from gatewright.kernel.errors import BadInput, Misuse
from gatewright.operations.data import Description
from gatewright.operations.home import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home; each test uses names of its own."""
    root = tmp_path_factory.mktemp("home")
    create_home(root, "ada")
    with open_home(root) as opened:
        yield opened


def people(rows: int = 12) -> pd.DataFrame:
    """Every type that a frame may hold, with missing cells."""
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "age": numbers,
            "income": np.where(numbers == 3, np.nan, numbers * 1.5),
            "town": ["north", "", 'so"uth,\n', " 007", "ünï"] * (rows // 5) + ["north"] * (rows % 5),
            "kind": pd.Categorical(["a", "b", "c"] * (rows // 3)),
            "owner": numbers % 2 == 0,
            "visits": pd.array([None, *range(1, rows)], dtype="Int64"),
            "repaid": ["yes", "no"] * (rows // 2),
        }
    )


def about(**changes: Any) -> Description:
    """What is said of the rows."""
    return Description(**{"target": "repaid", "datasheet": Datasheet(), **changes})


def test_every_type_and_every_gap_is_kept(home: Home) -> None:
    """Whole numbers, numbers, texts, categories and truth values come back as they were, gaps included."""
    frame = people()
    version, new = register(home, "people", Frames.of(frame, frame, about()))
    assert new
    table = read_parquet(home.blobs.get(version.train), name="train")
    kinds = {column.name: column.kind.value for column in table.columns}
    assert {
        "age": "integer", "income": "number", "town": "text", "kind": "text", "owner": "integer",
        "visits": "number", "repaid": "text",
    } == kinds  # fmt: skip
    assert frame["town"].tolist() == list(table.column("town").values)
    assert [0, 3] == [int(np.flatnonzero(table.column(name).missing)[0]) for name in ("visits", "income")]
    assert ("no", "yes") == version.classes


def test_pandas_and_polars_register_the_same(home: Home) -> None:
    """The same rows from pandas, polars and a mapping are one version."""
    frame = people()
    mapping = {name: frame[name].tolist() for name in ("age", "town", "repaid")}
    first, _ = register(home, "same", Frames.of(frame[list(mapping)], frame[list(mapping)], about()))
    for other in (pl.DataFrame(mapping), mapping):
        found, new = register(home, "same", Frames.of(other, other, about()))
        assert (first.ref, False) == (found.ref, new)


def test_other_rows_or_other_words_are_a_new_version(home: Home) -> None:
    """What is not said the same, or has other rows, is registered anew, and then known again."""
    frame = people()
    given_ = [
        (frame, about()),
        (frame, about(sensitive=("town",), target="owner")),
        (frame, about(slices=("town",), dropped=("age",))),
        (frame, about(datasheet=Datasheet(title="People"))),
        (frame.iloc[1:], about()),
    ]
    for number, (train, said) in enumerate(given_, 1):
        version, new = register(home, "words", Frames.of(train, frame, said))
        assert (f"words@{number}", True) == (version.ref, new)
        assert (version, False) == register(home, "words", Frames.of(train, frame, said))


def test_of_a_dropped_column_nothing_is_kept(home: Home) -> None:
    """A dropped column may hold anything; the record has its name, and no stored byte has its cells."""
    frame = people().assign(secret=[{"a": 1}] * 12, note=["unmistakable"] * 12)
    version, _ = register(home, "dropped", Frames.of(frame, frame, about(dropped=("secret", "note"))))
    assert ("secret", "note") == version.dropped
    assert not {"secret", "note"} & {name for name, _ in version.features}
    assert all(b"unmistakable" not in home.blobs.get(digest) for digest in (version.train, version.schema))


def test_the_order_of_the_test_columns_does_not_count(home: Home) -> None:
    """Test columns in another order are taken in the order of training."""
    frame = people()
    register(home, "order", Frames.of(frame, frame, about()))
    shuffled = frame[list(reversed(frame.columns))]
    assert not register(home, "order", Frames.of(frame, shuffled, about()))[1]


@pytest.mark.parametrize("text", sorted(MISSING - {""}))
def test_a_text_that_reads_as_missing_is_refused(home: Home, text: str) -> None:
    """A model that learned from "?" is not judged on the empty text in silence."""
    frame = people().assign(town=["north", text] * 6)
    with pytest.raises(BadInput, match="read as a missing cell") as caught:
        register(home, "missing", Frames.of(frame, frame, about()))
    assert ("client.reads-as-missing", "row 1, column 'town'") == (
        caught.value.code,
        caught.value.refusal.place,
    )


@pytest.mark.parametrize(
    ("column", "code"),
    [
        (["1", "2"] * 6, "client.texts-of-numbers"),
        (np.full(12, np.nan), "client.numbers-lost"),
        (np.arange(12) + 2**60, "client.numbers-lost"),
        ([{"a": 1}] * 12, "client.column-type"),
        (pd.date_range("2020-01-01", periods=12), "client.column-type"),
        ([1, "a"] * 6, "client.column-type"),
        (np.full(12, np.inf), "client.infinite"),
    ],
    ids=["digits", "empty", "beyond", "objects", "dates", "mixed", "infinite"],
)
def test_what_cannot_be_kept_is_refused_by_name(home: Home, column: Any, code: str) -> None:
    """A column that would come back as something else is refused, naming it, and nothing is recorded."""
    frame = people().assign(odd=column)
    with pytest.raises(BadInput) as caught:
        register(home, "odd", Frames.of(frame, frame, about()))
    assert (code, True) == (caught.value.code, "odd" in str(caught.value))
    assert home.archive.get("datasets-latest", "odd") is None


def test_a_target_of_digits_is_its_own_name(home: Home) -> None:
    """Classes "0" and "1" mean the same as texts, as numbers and as truth values mean false and true."""
    frame = people()
    for number, (target, classes) in enumerate(
        ((["0", "1"] * 6, ("0", "1")), ([0, 1] * 6, ("0", "1")), ([False, True] * 6, ("false", "true")))
    ):
        given_ = frame.assign(repaid=target)
        version, _ = register(home, f"digits-{number}", Frames.of(given_, given_, about()))
        assert classes == version.classes


def test_types_that_differ_between_training_and_test_are_refused() -> None:
    """A column of numbers in training and of texts in the test is refused, naming it."""
    frame = people()
    with pytest.raises(
        BadInput, match="'age' holds whole numbers in training and texts in the test"
    ) as caught:
        register(home, "drift", Frames.of(frame, frame.assign(age=["old"] * 12), about()))
    assert "client.types-differ" == caught.value.code


@pytest.mark.parametrize(
    ("train", "test", "changes", "code"),
    [
        (people(), people().drop(columns="town"), {}, "client.columns-differ"),
        (people(), people().assign(more=1), {}, "client.columns-differ"),
        (people(), people(), {"target": "repayed"}, "client.no-column"),
        (people(), people(), {"sensitive": ("sex",)}, "client.no-column"),
        (people(), people(), {"dropped": ("id",)}, "client.no-column"),
        (np.zeros((3, 2)), people(), {}, "client.no-frame"),
        (people(), [1, 2], {}, "client.no-frame"),
        (pd.concat([people(), people()[["age"]]], axis=1), people(), {}, "client.duplicate-columns"),
        (people().rename(columns={"age": 0}), people(), {}, "client.features"),
    ],
    ids=["fewer", "more", "target", "sensitive", "drop", "matrix", "list", "twice", "unnamed"],
)
def test_frames_that_do_not_fit_are_refused(
    train: Any, test: Any, changes: dict[str, Any], code: str
) -> None:
    """Columns that are absent, other, twice or unnamed are told before anything is converted."""
    with pytest.raises(BadInput) as caught:
        Frames.of(train, test, about(**changes))
    assert code == caught.value.code


def test_the_nearest_column_is_named() -> None:
    """A misspelt target is answered with the name that was meant."""
    with pytest.raises(BadInput, match="Nearest: repaid"):
        Frames.of(people(), people(), about(target="repayed"))


def test_empty_frames_are_refused(home: Home) -> None:
    """Frames without rows are refused, and nothing is recorded."""
    frame = people()
    with pytest.raises(BadInput, match="no rows"):
        register(home, "empty", Frames.of(frame, frame.iloc[:0], about()))
    assert home.archive.get("datasets-latest", "empty") is None


def test_tasks_are_named_as_the_product_names_them() -> None:
    """A task is one of three words, none, or refused with the three."""
    assert (None, TargetKind.REGRESSION) == (task_named(""), task_named("regression"))
    with pytest.raises(Misuse, match="binary-classification, multiclass-classification, regression"):
        task_named("classify")


def test_rows_to_predict_are_plain_columns() -> None:
    """Columns to predict are float64 with NaN, or texts with the empty text, and others are left out."""
    found = plain(people(), ["income", "town", "owner"])
    assert ["income", "town", "owner"] == list(found)
    assert (np.float64, np.float64, True) == (
        found["income"].dtype,
        found["owner"].dtype,
        bool(np.isnan(found["income"][3])),
    )
    with pytest.raises(BadInput, match="town"):
        plain(people().drop(columns="town"), ["town"])
    with pytest.raises(BadInput, match="no column names"):
        plain(np.zeros((2, 2)), ["town"])


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
numbers = st.one_of(st.none(), st.floats(allow_infinity=False), st.integers(-(2**53), 2**53).map(float))


@given(st.lists(st.tuples(texts, numbers), min_size=1, max_size=8))
def test_what_is_written_reads_as_what_was_given(rows: list[tuple[str, float | None]]) -> None:
    """Any texts and numbers either come back cell by cell, or are refused."""
    frame = pl.DataFrame(
        {"t": [t for t, _ in rows], "n": [n for _, n in rows]}, {"t": pl.String, "n": pl.Float64}
    )
    columns = columns_of(frame)
    try:
        content, _ = dataset._content(columns, about(target="t"))
    except BadInput:
        return
    read = pl.read_parquet(io.BytesIO(content))
    assert frame["t"].to_list() == read["t"].to_list()
    assert frame["n"].fill_nan(None).to_list() == read["n"].to_list()


@pytest.mark.parametrize(
    "gaps",
    [[None], [None, 1.5], [None, 2], pl.Series([None, 1.5]), pd.Series([None, 1.5], dtype=object)],
    ids=str,
)
def test_none_in_a_column_of_numbers_is_a_missing_number(gaps: Any) -> None:
    """It is NaN where the model takes numbers, also alone, and a missing text where it takes texts."""
    found = plain({"debt": gaps, "town": ["a"] * len(gaps)}, ["debt", "town"], {"town"})["debt"]
    assert (np.dtype(np.float64), True) == (found.dtype, bool(np.isnan(found[0])))
    assert not np.isnan(found[1:]).any()
    assert [""] == list(plain({"town": [None]}, ["town"], {"town"})["town"])
    assert np.dtype(object) == plain({"debt": ["x"]}, ["debt"], ())["debt"].dtype
