"""Models of XGBoost answer alike in ONNX: objectives, boosters, categories, gaps, early stopping."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import xgboost
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gatewright.client.conversion import convert
from gatewright.client.parity import SPREAD
from gatewright.kernel.errors import BadInput

SMALL = {"n_estimators": 8, "n_jobs": 1, "random_state": 0}


def _rows(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """1,000 rows of numbers with gaps, and three classes that depend on them."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(rng.normal(size=(1000, 4)), columns=["a", "b b", "c", "d"])
    labels = np.digitize(rows["a"] + rows["b b"] * rows["c"], [-0.5, 0.5])
    return rows.mask(rng.random(rows.shape) < 0.1), labels


def _two(labels: np.ndarray) -> np.ndarray:
    return (labels > 0).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        xgboost.XGBClassifier(**SMALL),
        xgboost.XGBClassifier(booster="dart", rate_drop=0.5, **SMALL),
        xgboost.XGBClassifier(**SMALL | {"n_estimators": 1, "num_parallel_tree": 6, "subsample": 0.8}),
        xgboost.XGBRegressor(**SMALL),
        xgboost.XGBRegressor(objective="count:poisson", **SMALL),
        xgboost.XGBRegressor(objective="reg:absoluteerror", **SMALL),
    ],
    ids=["trees", "dart", "forest", "squared error", "poisson", "absolute error"],
)
@pytest.mark.parametrize("named", [True, False])
def test_models_answer_alike(model: Any, named: bool) -> None:
    """Named columns and matrices, with gaps, two classes or three or values."""
    rows, labels = _rows()
    features = rows if named else rows.to_numpy()
    for target in (labels, _two(labels)):
        converted = convert(clone(model).fit(features, target), features)
        assert ("xgboost", 1000, 0) == (
            converted.library,
            converted.parity.rows,
            converted.parity.labels_differ,
        )
    if not isinstance(model, xgboost.XGBClassifier):
        assert SPREAD == converted.parity.unit
    inputs = [each.name for each in onnx.load_from_string(converted.onnx).graph.input]
    assert (["a", "b b", "c", "d"] if named else ["input"]) == inputs


@pytest.mark.parametrize(
    ("objective", "classes"),
    [("binary:logistic", 2), ("multi:softprob", 3), ("multi:softmax", 3), ("reg:squarederror", 1)],
)
def test_boosters_answer_alike(objective: str, classes: int) -> None:
    """A booster without scikit-learn's interface gives classes by number, or values."""
    rows, labels = _rows()
    settings = {"objective": objective, "nthread": 1} | ({"num_class": classes} if classes > 2 else {})
    table = xgboost.DMatrix(rows, label=labels if classes == 3 else _two(labels))
    parity = convert(xgboost.train(settings, table, 6), rows[["d", "c", "b b", "a"]]).parity
    assert (0, SPREAD if classes == 1 else "probability") == (parity.labels_differ, parity.unit)


@pytest.mark.parametrize("gaps", [False, True])
def test_categories_are_split_as_the_model_does(gaps: bool) -> None:
    """Sets of texts and of coded numbers, missing ones included, go where they went; the inputs are texts."""
    rows, labels = _rows()
    rng = np.random.default_rng(1)
    rows["region"] = pd.Categorical([f"r{number}" for number in rng.integers(0, 40, 1000)])
    rows["plan"] = pd.Categorical(rng.integers(1, 9, 1000) * 10)
    target = (
        (rows["plan"].astype(int) % 20 == 0) & (labels > 0) | rows["region"].isin(["r1", "r7", "r31"])
    ).astype(int)
    if gaps:
        rows.loc[::9, "region"] = None
        rows.loc[::7, "plan"] = None
    model = xgboost.XGBClassifier(enable_categorical=True, max_cat_to_onehot=2, **SMALL).fit(rows, target)
    converted = convert(model, rows)
    assert (1000, 0, "BYTES and FP32") == (
        converted.parity.rows, converted.parity.labels_differ, converted.parity.inputs,
    )  # fmt: skip


def test_coded_categories_of_a_matrix_are_codes() -> None:
    """Categories that are numbers in a matrix, with their kinds told to the booster, need no names."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(size=1000), rng.integers(0, 12, 1000)], axis=1)
    target = np.isin(rows[:, 1], [0, 3, 4, 9]).astype(int)
    table = xgboost.DMatrix(rows, label=target, feature_types=["float", "c"], enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "max_cat_to_onehot": 1, "nthread": 1}, table, 4)
    assert convert(booster, rows).parity.holds


def test_early_stopping_counts() -> None:
    """Trees behind the best round answer no more in scikit-learn's interface, and not in ONNX."""
    rows, labels = _rows()
    model = xgboost.XGBClassifier(n_estimators=60, learning_rate=1.0, early_stopping_rounds=2, n_jobs=1)
    model.fit(
        rows[:300], _two(labels)[:300], eval_set=[(rows[300:600], _two(labels)[300:600])], verbose=False
    )
    assert model.best_iteration + 1 < len(model.get_booster().get_dump())
    assert convert(model, rows).parity.holds


def test_a_pipeline_may_end_with_the_model() -> None:
    """Behind scikit-learn's steps the model is the same; the library is then scikit-learn."""
    rows, labels = _rows()
    for model in (xgboost.XGBClassifier(**SMALL), xgboost.XGBRegressor(**SMALL)):
        converted = convert(make_pipeline(StandardScaler(), model).fit(rows, labels), rows)
        assert ("scikit-learn", True) == (converted.library, converted.parity.holds)


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        (xgboost.XGBClassifier(), "client.not-fitted", "Call fit before"),
        (
            xgboost.XGBRegressor(booster="gblinear", updater="coord_descent"),
            "client.not-convertible",
            "gblinear",
        ),
        (
            xgboost.XGBRegressor(objective="survival:cox", n_estimators=1),
            "client.not-convertible",
            "survival:cox",
        ),
    ],
)
def test_what_has_no_onnx_form_is_said(model: Any, code: str, words: str) -> None:
    """Unfitted models, linear boosters and other objectives are refused with what is converted."""
    rows, labels = _rows()
    if code != "client.not-fitted":
        model.fit(rows.fillna(0), labels + 1.0)
    with pytest.raises(BadInput, match=words) as caught:
        convert(model, rows)
    assert code == caught.value.code


def test_several_outputs_and_other_columns_are_refused() -> None:
    """One value a row is served, from the columns that the model knows."""
    rows, labels = _rows()
    both = xgboost.XGBRegressor(**SMALL).fit(rows, np.stack([labels, labels], axis=1))
    with pytest.raises(BadInput) as caught:
        convert(both, rows)
    assert "client.several-outputs" == caught.value.code
    with pytest.raises(BadInput) as caught:
        convert(xgboost.XGBRegressor(**SMALL).fit(rows, labels), rows[["a"]])
    assert "client.columns-absent" == caught.value.code
