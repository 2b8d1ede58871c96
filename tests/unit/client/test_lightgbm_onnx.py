"""Models of LightGBM answer alike in ONNX: objectives, boosters, categories, gaps."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gatewright.client.conversion import convert
from gatewright.client.parity import SPREAD
from gatewright.kernel.errors import BadInput

SMALL = {"n_estimators": 8, "n_jobs": 1, "random_state": 0, "verbose": -1}


def _rows(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """1,000 rows of numbers with gaps, and three named classes that depend on them."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(rng.normal(size=(1000, 4)), columns=["a", "b", "c", "d"])
    labels = np.array(["low", "mid", "top"])[np.digitize(rows["a"] + rows["b"] * rows["c"], [-0.5, 0.5])]
    return rows.mask(rng.random(rows.shape) < 0.1), labels


@pytest.mark.parametrize(
    "model",
    [
        lightgbm.LGBMClassifier(**SMALL),
        lightgbm.LGBMClassifier(boosting_type="dart", **SMALL),
        lightgbm.LGBMClassifier(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5, **SMALL),
        lightgbm.LGBMRegressor(**SMALL),
        lightgbm.LGBMRegressor(objective="tweedie", **SMALL),
        lightgbm.LGBMRegressor(objective="quantile", alpha=0.8, **SMALL),
        lightgbm.LGBMRegressor(use_missing=False, **SMALL),
    ],
    ids=["trees", "dart", "forest", "l2", "tweedie", "quantile", "no missing"],
)
@pytest.mark.parametrize("named", [True, False])
def test_models_answer_alike(model: Any, named: bool) -> None:
    """Named columns and matrices, with gaps; the names of the classes are kept."""
    rows, labels = _rows()
    features = rows if named else rows.to_numpy()
    target = (
        labels if isinstance(model, lightgbm.LGBMClassifier) else np.unique(labels, return_inverse=True)[1]
    )
    converted = convert(model.fit(features, target), features)
    assert ("lightgbm", 1000, 0) == (converted.library, converted.parity.rows, converted.parity.labels_differ)
    if isinstance(model, lightgbm.LGBMClassifier):
        assert {"low", "mid", "top"} >= {each.expected for each in converted.parity.worst}
        assert convert(model.fit(features, target == "top"), features).parity.holds
    else:
        assert SPREAD == converted.parity.unit
    inputs = [each.name for each in onnx.load_from_string(converted.onnx).graph.input]
    assert (["a", "b", "c", "d"] if named else ["input"]) == inputs


@pytest.mark.parametrize(("objective", "classes"), [("binary", 2), ("multiclass", 3), ("regression", 1)])
def test_boosters_answer_alike(objective: str, classes: int) -> None:
    """A booster without scikit-learn's interface gives classes by number, or values; columns go by name."""
    rows, labels = _rows()
    codes = np.unique(labels, return_inverse=True)[1]
    settings = {"objective": objective, "verbose": -1, "num_threads": 1, "sigmoid": 1.5}
    settings |= {"num_class": classes} if classes > 2 else {}
    data = lightgbm.Dataset(rows, label=codes if classes == 3 else codes > 0)
    parity = convert(lightgbm.train(settings, data, 6), rows[["d", "c", "b", "a"]]).parity
    assert (0, SPREAD if classes == 1 else "probability") == (parity.labels_differ, parity.unit)


@pytest.mark.parametrize("gaps", [False, True])
def test_categories_are_split_as_the_model_does(gaps: bool) -> None:
    """Sets of texts and of coded numbers, missing ones included, go where they went; the inputs are texts."""
    rows, labels = _rows()
    rng = np.random.default_rng(1)
    rows["region"] = pd.Categorical([f"r{number}" for number in rng.integers(0, 40, 1000)])
    rows["plan"] = pd.Categorical(rng.integers(1, 9, 1000) * 10)
    rows["same"] = pd.Categorical(["one"] * 1000)
    target = (rows["plan"].astype(int) % 20 == 0) & (labels != "low") | rows["region"].isin(
        ["r1", "r7", "r31"]
    )
    if gaps:
        rows.loc[::9, "region"] = None
        rows.loc[::7, "plan"] = None
    converted = convert(lightgbm.LGBMClassifier(min_data_per_group=5, **SMALL).fit(rows, target), rows)
    assert (1000, 0, "BYTES and FP32") == (
        converted.parity.rows, converted.parity.labels_differ, converted.parity.inputs,
    )  # fmt: skip


def test_coded_categories_of_a_matrix_are_codes() -> None:
    """Categories that are numbers in a matrix need no names."""
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(size=1000), rng.integers(0, 12, 1000)], axis=1)
    model = lightgbm.LGBMClassifier(**SMALL).fit(
        rows, np.isin(rows[:, 1], [0, 3, 9]), categorical_feature=[1]
    )
    assert convert(model, rows).parity.holds


def test_a_split_that_float32_cannot_tell_is_taken_as_float64() -> None:
    """LightGBM splits in float64; where that matters the inputs are float64."""
    rows = 1_000.0 + np.tile([[0.0], [1e-6], [2e-6], [3e-6]], (50, 1))
    target = np.tile([0, 0, 1, 1], 50)
    parity = convert(lightgbm.LGBMClassifier(min_child_samples=1, **SMALL).fit(rows, target), rows).parity
    assert ("FP64", 0) == (parity.inputs, parity.labels_differ)


def test_gaps_that_training_had_not_count_as_zero() -> None:
    """A model that saw no missing number takes one for zero, and so does its ONNX form."""
    rows, labels = _rows()
    assert convert(lightgbm.LGBMClassifier(**SMALL).fit(rows.fillna(0.3), labels), rows).parity.holds


def test_a_pipeline_may_end_with_the_model() -> None:
    """Behind scikit-learn's steps the model is the same; the library is then scikit-learn."""
    rows, labels = _rows()
    scaled = StandardScaler().set_output(transform="pandas")
    converted = convert(make_pipeline(scaled, lightgbm.LGBMClassifier(**SMALL)).fit(rows, labels), rows)
    assert ("scikit-learn", True) == (converted.library, converted.parity.holds)


def _fitted(**settings: Any) -> Any:
    rows, _ = _rows()
    return lightgbm.LGBMRegressor(**(SMALL | settings)).fit(rows.fillna(0), rows["a"].fillna(0))


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        (None, "client.not-fitted", "Call fit before"),
        ({"linear_tree": True}, "client.not-convertible", "linear trees"),
        ({"reg_sqrt": True}, "client.not-convertible", "regression sqrt"),
    ],
)
def test_what_has_no_onnx_form_is_said(settings: dict[str, Any] | None, code: str, words: str) -> None:
    """Unfitted models, linear trees and other objectives are refused with what is converted."""
    model = lightgbm.LGBMRegressor() if settings is None else _fitted(**settings)
    with pytest.raises(BadInput, match=words) as caught:
        convert(model, _rows()[0])
    assert code == caught.value.code


def test_zero_as_missing_is_alike_or_refused() -> None:
    """Where zero counts as missing, a split that sends it another way than its size has no ONNX form."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-3, 4, (1000, 2)).astype(float)
    model = lightgbm.LGBMRegressor(zero_as_missing=True, **SMALL).fit(rows, (rows[:, 0] == 0) * 1.0)
    with pytest.raises(BadInput, match="zero_as_missing"):
        convert(model, rows)
