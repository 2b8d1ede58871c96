"""Encoders and imputers keep what they do with missing texts and numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from gatewright.client.conversion import convert
from gatewright.kernel.errors import BadInput

ORDINAL = {"handle_unknown": "use_encoded_value", "unknown_value": -1}


def _rows(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "region": rng.choice(["north", "south", "east"], 1000),
            "job": rng.choice(["a", "b"], 1000),
            "income": rng.normal(50, 10, 1000),
            "none": np.nan,
        }
    )
    labels = (rows["income"] + 8 * (rows["region"] == "north") + rng.normal(0, 4, 1000) > 52).astype(int)
    rows.loc[::7, "region"] = None
    rows.loc[::5, "income"] = np.nan
    return rows, labels.to_numpy()


@pytest.mark.parametrize(
    "step",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", drop="if_binary"),
        OrdinalEncoder(**ORDINAL),
        OrdinalEncoder(encoded_missing_value=-2, **ORDINAL),
        make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
        make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OrdinalEncoder(**ORDINAL)),
    ],
    ids=["one-hot", "one-hot, dropping", "ordinal", "ordinal with a code", "most frequent", "constant"],
)
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.filterwarnings("ignore:Found unknown categories")
def test_missing_and_unseen_texts_are_encoded_as_in_training(step: Any, unseen: bool) -> None:
    """A gap in a text is a category of its own, an imputed one or an unknown one, as the step has it."""
    rows, labels = _rows(1)
    columns = make_column_transformer((step, ["region", "job"]), (SimpleImputer(), ["income"]))
    last = make_pipeline(columns, SimpleImputer(), LogisticRegression(max_iter=2000))
    test = _rows(2)[0]
    if unseen:
        test.loc[::3, "region"] = "west"
    parity = convert(last.fit(rows, labels), test).parity
    assert (1000, 0) == (parity.rows, parity.labels_differ)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
def test_a_column_in_which_the_imputer_saw_nothing_is_refused() -> None:
    """An imputer drops such a column, which skl2onnx does not: it is to be left out."""
    rows, labels = _rows(1)
    rows = rows[["income", "none"]]
    fitted = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(rows, labels)
    with pytest.raises(BadInput, match="drops a column in which it saw no value"):
        convert(fitted, rows)


def test_an_imputer_s_indicator_is_refused_by_name() -> None:
    """What has no ONNX form is said."""
    rows, labels = _rows(1)
    fitted = make_pipeline(SimpleImputer(add_indicator=True), LogisticRegression(max_iter=2000))
    with pytest.raises(BadInput, match=r"SimpleImputer\(add_indicator=True\)"):
        convert(fitted.fit(rows[["income"]], labels), rows[["income"]])
