"""Every tree estimator of scikit-learn answers alike as one ONNX operator, ties, gaps and categories included."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common import shape_calculator
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.operator_converters import random_forest
from sklearn.base import is_classifier
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from gatewright.client.conversion import convert
from gatewright.client.parity import Answers, Candidate, prove
from gatewright.client.sklearn_trees import TREES
from gatewright.kernel.errors import BadInput, Refused

ADULT = os.environ.get("GATEWRIGHT_ADULT", "")


def _rows(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """1,000 rows of five columns, a tenth of the cells missing, and labels that depend on three of them."""
    rng = np.random.default_rng(classes)
    rows = rng.normal(size=(1000, 5)).astype(np.float32)
    labels = np.digitize(rows[:, 0] + rows[:, 1] * rows[:, 2], np.linspace(-1, 1, classes + 1)[1:-1])
    rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows, labels


ESTIMATORS = [
    DecisionTreeClassifier(max_depth=6, random_state=0),
    DecisionTreeRegressor(random_state=0),
    ExtraTreeClassifier(random_state=0),
    ExtraTreeRegressor(max_depth=5, random_state=0),
    RandomForestClassifier(20, random_state=0),
    RandomForestRegressor(10, random_state=0),
    ExtraTreesClassifier(10, max_depth=8, random_state=0),
    ExtraTreesRegressor(10, random_state=0),
    GradientBoostingClassifier(n_estimators=10, random_state=0),
    GradientBoostingRegressor(n_estimators=10, loss="huber", random_state=0),
    HistGradientBoostingClassifier(max_iter=5, random_state=0),
    HistGradientBoostingRegressor(max_iter=5, loss="poisson", random_state=0),
]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda each: type(each).__name__)
def test_every_tree_estimator_answers_alike(estimator: Any, classes: int) -> None:
    """Two classes or three, forests with many ties, and missing cells where the estimator takes them."""
    rows, labels = _rows(classes)
    if isinstance(estimator, (GradientBoostingClassifier, GradientBoostingRegressor)):
        rows = np.nan_to_num(rows)
    parity = convert(estimator.fit(rows[:500], labels[:500]), rows).parity
    assert (1000, 0, "FP32") == (parity.rows, parity.labels_differ, parity.inputs)
    assert parity.largest < (1e-6 if is_classifier(estimator) else 1e-5)


def test_all_kinds_of_trees_are_tried() -> None:
    """Each estimator whose trees are read here has its test above."""
    assert set(TREES) == {type(each) for each in ESTIMATORS}


def test_ties_of_an_even_forest_fall_as_the_forest_s_do() -> None:
    """Where ten of twenty trees vote each way, the label is the same one."""
    rows, labels = _rows(2)
    forest = RandomForestClassifier(20, max_features=1, random_state=3).fit(rows[:500], labels[:500])
    assert 0 < (forest.predict_proba(rows)[:, 0] == 0.5).sum()
    assert 0 == convert(forest, rows).parity.labels_differ


def test_a_boosted_model_may_be_exponential_or_begin_at_zero() -> None:
    """The exponential loss has its own link, and init="zero" no constant."""
    rows, labels = _rows(2)
    fitted = GradientBoostingClassifier(n_estimators=5, loss="exponential", init="zero", random_state=0)
    assert convert(fitted.fit(np.nan_to_num(rows), labels), np.nan_to_num(rows)).parity.holds


def test_a_boosted_model_that_begins_with_another_model_is_refused() -> None:
    """What is added to the trees must be a constant."""
    rows, labels = _rows(2)
    first = LogisticRegression()
    fitted = GradientBoostingClassifier(n_estimators=2, init=first).fit(np.nan_to_num(rows), labels)
    with pytest.raises(BadInput, match="init=LogisticRegression depends on the row") as caught:
        convert(fitted, np.nan_to_num(rows))
    assert "client.not-convertible" == caught.value.code


def test_trees_inside_other_estimators_are_the_same() -> None:
    """Bagged trees answer alike in a pipeline."""
    rows, labels = _rows(3)
    assert convert(BaggingClassifier(n_estimators=5, random_state=0).fit(rows, labels), rows).parity.holds


def _loans(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    region = rng.choice([f"r{number}" for number in range(40)], rows).astype(object)
    frame = pd.DataFrame(
        {"income": rng.normal(50, 10, rows), "region": region, "plan": rng.integers(0, 9, rows) * 3.5}
    )
    odd = np.array([int(name[1:]) % 3 for name in region])
    frame["repaid"] = (frame["income"] + 9 * odd + 7 * (frame["plan"] % 2 == 1) > 62).astype(int)
    frame.loc[::11, "region"] = None
    frame.loc[::7, "income"] = np.nan
    frame.loc[::13, "plan"] = np.nan
    return frame


@pytest.mark.parametrize("make", ["pandas category", "pandas text", "polars"])
def test_categories_of_histogram_trees_are_split_as_the_estimator_does(make: str) -> None:
    """Texts and coded numbers, missing and never seen ones: sets of categories go where they went."""
    train, test = _loans(1000, 1), _loans(1000, 2)
    test.loc[:50, "region"] = "never seen"
    test.loc[100:150, "plan"] = 2.25
    if make == "pandas category":
        train["region"] = train["region"].astype("category")
        test["region"] = pd.Categorical(
            test["region"].where(test["region"] != "never seen"), categories=train["region"].cat.categories
        )
    if make == "polars":
        train, test = (pl.DataFrame(each.to_dict("list"), strict=False) for each in (train, test))
    features = ["income", "region", "plan"]
    fitted = HistGradientBoostingClassifier(
        max_iter=20, categorical_features=["region", "plan"], random_state=0
    )
    converted = convert(fitted.fit(train[features], np.asarray(train["repaid"])), test)
    (trees,) = [
        each for each in onnx.load_from_string(converted.onnx).graph.node if each.op_type == "TreeEnsemble"
    ]
    assert {0, 6} == set(
        onnx.numpy_helper.to_array(next(a.t for a in trees.attribute if a.name == "nodes_modes"))
    )
    assert (1000, 0) == (converted.parity.rows, converted.parity.labels_differ)


def test_categories_behind_an_encoder_are_split_as_the_estimator_does() -> None:
    """The same in a pipeline whose encoder numbers the categories."""
    train, test = _loans(1000, 1).drop(columns="plan"), _loans(1000, 2).drop(columns="plan")
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    fitted = make_pipeline(
        make_column_transformer((encoder, ["region"]), remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=10, categorical_features=[0], random_state=0),
    ).fit(train.drop(columns="repaid"), train["repaid"])
    assert convert(fitted, test).parity.holds


def _skl2onnx(fitted: Any, width: int) -> bytes:
    """The model as skl2onnx writes it by itself, but for one attribute whose truth values onnx does not take."""
    convert_trees = random_forest.convert_sklearn_random_forest_classifier

    def whole(scope: Any, operator: Any, container: Any) -> None:
        add = container.add_node

        def add_node(kind: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
            for name in attributes.keys() & {"nodes_missing_value_tracks_true"}:
                attributes[name] = [int(each) for each in attributes[name]]
            add(kind, inputs, outputs, **attributes)

        container.add_node = add_node
        convert_trees(scope, operator, container)

    kind = type(fitted)
    model = convert_sklearn(
        fitted,
        initial_types=[("x", FloatTensorType([None, width]))],
        options={id(fitted): {"zipmap": False}},
        custom_conversion_functions={kind: whole},
        custom_shape_calculators={kind: shape_calculator.calculate_linear_classifier_output_shapes},
    )
    return bytes(model.SerializeToString())


@pytest.mark.skipif(not ADULT, reason="GATEWRIGHT_ADULT names no folder with the Adult data")
def test_categories_that_skl2onnx_loses_on_adult_are_refused_and_ours_are_alike() -> None:
    """skl2onnx turns sets of categories into thresholds: thousands of labels flip, and the gate shows them."""
    train, test = (pl.read_csv(Path(ADULT) / f"{name}.csv") for name in ("train", "test"))
    texts = [name for name, kind in train.schema.items() if kind == pl.String and name != "income"]
    names = [*texts, *(name for name in train.columns if name not in [*texts, "income"])]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    coded = make_column_transformer((encoder, texts), remainder="passthrough").fit(train[names])
    rows = [np.asarray(coded.transform(each[names]), np.float32) for each in (train, test)]
    fitted = HistGradientBoostingClassifier(categorical_features=list(range(len(texts))), random_state=0)
    fitted.fit(rows[0], train["income"].to_numpy())
    expected = Answers(labels=fitted.predict(rows[1]), scores=fitted.predict_proba(rows[1]))
    model = _skl2onnx(fitted, rows[1].shape[1])
    with pytest.raises(Refused, match=r"of 16,281 rows get the same answer.*Worst rows: row \d+: ") as caught:
        prove(expected, [Candidate(onnx=model, feeds={"x": rows[1]})], advice="")
    assert "client.parity" == caught.value.code
    parity = convert(fitted, rows[1]).parity
    assert (16_281, 0) == (parity.rows, parity.labels_differ)
