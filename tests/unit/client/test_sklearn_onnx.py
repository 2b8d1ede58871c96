"""Conversion of scikit-learn estimators keeps their answers, or says on which rows it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from gatewright.client.sklearn_onnx import SPREAD, TARGET_OPSET, convert
from gatewright.kernel.errors import BadInput, Refused


def cancer() -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of the breast cancer data."""
    rows, labels = load_breast_cancer(return_X_y=True)
    return rows, labels


CLASSIFIERS = [
    make_pipeline(StandardScaler(), LogisticRegression()),
    RandomForestClassifier(21, random_state=0),
    GradientBoostingClassifier(n_estimators=20, random_state=0),
    make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=20, random_state=0)),
]


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_a_classifier_answers_alike(estimator: Any, precision: type) -> None:
    """Linear models, forests and boosted trees get equal labels and probabilities within 1e-5."""
    rows, labels = cancer()
    converted = convert(estimator.fit(rows[:400], labels[:400]), rows[400:].astype(precision))
    assert (169, 0) == (converted.parity.rows, converted.parity.labels_differ)
    assert converted.parity.largest < 1e-5
    assert converted.parity.holds


@pytest.mark.parametrize("estimator", [Ridge(), GradientBoostingRegressor(n_estimators=20, random_state=0)])
def test_a_regressor_answers_alike(estimator: Any) -> None:
    """A regressor's difference is told in units of the spread of its predictions."""
    rows, target = load_diabetes(return_X_y=True)
    parity = convert(estimator.fit(rows[:300], target[:300]), rows[300:]).parity
    assert (142, 0, SPREAD) == (parity.rows, parity.labels_differ, parity.unit)
    assert parity.largest < 1e-5


def test_class_names_stay_text() -> None:
    """Labels that are text are compared as text and stay text in the model."""
    rows, labels = cancer()
    names = np.array(["malignant", "benign"])[labels]
    converted = convert(CLASSIFIERS[0].fit(rows, names), rows)
    assert 0 == converted.parity.labels_differ
    assert {each.expected for each in converted.parity.worst} <= {"malignant", "benign"}


def test_the_model_is_whole_and_repeats() -> None:
    """The bytes are a valid model with named tensors, no map type, each operator set once, and the same twice."""
    rows, labels = cancer()
    estimator = CLASSIFIERS[0].fit(rows, labels)
    first = convert(estimator, rows).onnx
    assert first == convert(estimator, rows).onnx
    model = onnx.load_model_from_string(first)
    onnx.checker.check_model(model)
    domains = [each.domain for each in model.opset_import]
    assert sorted(set(domains)) == domains
    assert all(each.version <= TARGET_OPSET[each.domain] for each in model.opset_import)
    assert ["input"] == [each.name for each in model.graph.input]
    assert ["label", "probabilities"] == [each.name for each in model.graph.output]
    assert all(each.type.HasField("tensor_type") for each in model.graph.output)


def test_a_tie_is_told_apart_from_a_disagreement() -> None:
    """Where ten of twenty trees vote each way, the other label is counted as a tie and shown as one."""
    rows, labels = cancer()
    forest = RandomForestClassifier(20, random_state=0).fit(rows[:400], labels[:400])
    parity = convert(forest, rows[400:]).parity
    halves = int((forest.predict_proba(rows[400:])[:, 0] == 0.5).sum())
    assert 0 == parity.labels_differ
    assert 0 < parity.ties_differ <= halves
    assert f"({parity.ties_differ} are ties" in parity.sentence()


def test_a_step_that_has_no_onnx_form_is_refused_briefly() -> None:
    """A pipeline with a function of one's own is refused, with the converter's reason cut to a readable length."""
    rows, labels = cancer()
    estimator = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression(max_iter=5000)).fit(
        rows, labels
    )
    with pytest.raises(BadInput) as caught:
        convert(estimator, rows)
    assert "client.not-convertible" == caught.value.code
    assert len(str(caught.value)) < 600


def test_a_tree_that_splits_inside_float32_rounding_is_refused() -> None:
    """A scaled tree whose threshold lies between two float64 values that float32 merges is refused with its rows."""
    rows = 1_000.0 + np.array([[0.0], [1e-6], [2e-6], [3e-6]] * 5)
    labels = np.array([0, 0, 1, 1] * 5)
    estimator = make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)).fit(rows, labels)
    assert 1.0 == estimator.score(rows, labels)
    with pytest.raises(Refused) as caught:
        convert(estimator, rows)
    assert "client.parity" == caught.value.code
    assert "In 10 rows the estimator itself answers otherwise" in caught.value.refusal.why


def test_a_sharp_boundary_inside_float32_rounding_is_refused() -> None:
    """An estimator that tells apart what float32 cannot is refused, with the rows and the cause."""
    centre, step = 16_777_216.0, 0.25
    rows = centre + np.array([[-step], [step], [-2 * step], [2 * step]] * 10)
    labels = (rows[:, 0] > centre).astype(int)
    estimator = LogisticRegression().fit(rows, labels)
    estimator.coef_ = np.array([[400.0]])
    estimator.intercept_ = np.array([-400.0 * centre])
    assert 1.0 == estimator.score(rows, labels)
    with pytest.raises(Refused) as caught:
        convert(estimator, rows)
    refusal = caught.value.refusal
    assert "client.parity" == refusal.code
    assert "row " in refusal.why
    assert "rounded to float32" in refusal.why


def test_a_value_that_float32_cannot_tell_is_refused() -> None:
    """A regressor whose answers differ by less than float32 resolves is refused with its worst rows."""
    rows = np.linspace(0.0, 1.0, 50).reshape(-1, 1)
    estimator = LinearRegression().fit(rows, 1e8 + rows[:, 0])
    with pytest.raises(Refused, match="does not answer as the estimator does") as caught:
        convert(estimator, rows)
    assert "became" in caught.value.refusal.why


@pytest.mark.parametrize(
    ("estimator", "code"),
    [
        (StandardScaler(), "client.not-an-estimator"),
        (LogisticRegression(), "client.not-fitted"),
        (LinearSVC().fit([[0.0], [1.0]], [0, 1]), "client.no-probabilities"),
        (Ridge().fit([[0.0], [1.0]], [[0, 1], [1, 0]]), "client.several-outputs"),
        (Ridge().fit([[0.0, 1.0], [1.0, 1.0]], [0, 1]), "client.estimator-refused"),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
def test_what_cannot_be_converted_is_said(estimator: Any, code: str) -> None:
    """An estimator of the wrong kind, unfitted or with other columns is refused by its own code."""
    with pytest.raises(BadInput) as caught:
        convert(estimator, np.zeros((3, 1)))
    assert code == caught.value.code


@pytest.mark.parametrize(
    "features",
    [np.zeros(3), np.zeros((0, 1)), np.zeros((3, 1), int), np.array([[np.inf]]), np.array([[1e300]])],
    ids=["one dimension", "no rows", "integers", "infinite", "beyond float32"],
)
def test_rows_that_cannot_be_compared_are_refused(features: np.ndarray) -> None:
    """Rows of another shape or type, or beyond float32, are refused before anything is converted."""
    with pytest.raises(BadInput) as caught:
        convert(Ridge().fit([[0.0], [1.0]], [0, 1]), features)
    assert "client.features" == caught.value.code


def gaps() -> tuple[np.ndarray, np.ndarray]:
    """The breast cancer data with every tenth cell missing."""
    rows, labels = cancer()
    rows = rows.astype(np.float32)
    rows[np.random.default_rng(5).random(rows.shape) < 0.1] = np.nan
    return rows, labels


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
        HistGradientBoostingClassifier(max_iter=20),
    ],
    ids=["imputer", "histogram"],
)
def test_missing_cells_are_compared(estimator: Any) -> None:
    """An estimator that takes missing cells is compared on rows that have them, answer by answer."""
    rows, labels = gaps()
    parity = convert(estimator.fit(rows[:400], labels[:400]), rows[400:]).parity
    assert (169, 0) == (parity.rows, parity.labels_differ)
    assert parity.largest < 1e-5


def test_missing_cells_that_an_estimator_refuses_are_told() -> None:
    """An estimator without an imputer is told what to do about missing cells."""
    rows, labels = gaps()
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.nan_to_num(rows), labels)
    with pytest.raises(
        BadInput, match=r"The estimator does not take missing cells\. Impute in the"
    ) as caught:
        convert(estimator, rows)
    assert "client.missing-cells" == caught.value.code


def test_a_forest_that_loses_its_missing_cells_is_refused() -> None:
    """Where the ONNX form treats missing cells otherwise, the refusal says to impute."""
    rows, labels = gaps()
    forest = RandomForestClassifier(21, random_state=0).fit(rows[:400], labels[:400])
    with pytest.raises(Refused, match="impute in the pipeline") as caught:
        convert(forest, rows[400:])
    assert "client.parity" == caught.value.code


@pytest.mark.parametrize("classes", [2, 3])
def test_histogram_trees_are_converted(classes: int) -> None:
    """Histogram-based boosting, which skl2onnx 1.20 alone cannot write, answers alike, in a pipeline too."""
    rows, labels = gaps()
    labels = labels + (rows[:, 0] > 18) * (classes - 2)
    estimator = make_pipeline(SimpleImputer(), HistGradientBoostingClassifier(max_iter=20))
    assert convert(estimator.fit(rows[:400], labels[:400]), rows[400:]).parity.holds
    rows, target = load_diabetes(return_X_y=True)
    regressor = HistGradientBoostingRegressor(max_iter=20).fit(rows[:300].astype(np.float32), target[:300])
    assert convert(regressor, rows[300:].astype(np.float32)).parity.holds


def named(rows: int, seed: int) -> pl.DataFrame:
    """Loans with an id, numbers with gaps, whole numbers, and texts with gaps."""
    rng = np.random.default_rng(seed)
    income = rng.normal(50, 10, rows)
    region = rng.choice(["north", "south", ""], rows)
    repaid = (income + 5 * (region == "north") + rng.normal(0, 5, rows) > 50).astype(int)
    income[::7] = np.nan
    return pl.DataFrame(
        {
            "loan id": [f"L{each}" for each in range(rows)],
            "net income": income,
            "years": rng.integers(0, 30, rows),
            "region": region.tolist(),
            "repaid": repaid,
        }
    )


def by_column(estimator: Any) -> Any:
    """A pipeline that imputes numbers and encodes texts, each by name, and drops the rest."""
    return make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), ["net income", "years"]),
            (OneHotEncoder(handle_unknown="ignore"), ["region"]),
        ),
        estimator,
    )


@pytest.mark.parametrize("as_mapping", [False, True], ids=["frame", "mapping"])
@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), GradientBoostingClassifier(n_estimators=20, random_state=0)]
)
def test_named_columns_become_named_inputs(estimator: Any, as_mapping: bool) -> None:
    """Numbers and texts are inputs of their own; the id and the target, which nothing reads, are none."""
    train, test = named(400, 1), named(200, 2)
    fitted = by_column(estimator).fit(train.drop("repaid"), train["repaid"].to_numpy())
    rows = {name: test[name].to_numpy() for name in test.columns} if as_mapping else test
    converted = convert(fitted, rows)
    inputs = onnx.load_model_from_string(converted.onnx).graph.input
    kinds = {each.name: each.type.tensor_type.elem_type for each in inputs}
    number, text = onnx.TensorProto.FLOAT, onnx.TensorProto.STRING
    assert {"net_income": number, "years": number, "region": text} == kinds
    assert (200, 0) == (converted.parity.rows, converted.parity.labels_differ)


def test_named_columns_are_one_input_each_without_a_column_transformer_too() -> None:
    """An estimator fitted on a frame of numbers takes one input per column, and answers alike."""
    train = named(300, 1).select("years", "net income", "repaid")
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    fitted = estimator.fit(train.drop("repaid"), train["repaid"].to_numpy())
    converted = convert(fitted, train)
    inputs = onnx.load_model_from_string(converted.onnx).graph.input
    assert ["years", "net_income"] == [each.name for each in inputs]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"region": [None]}, "neither numbers only nor texts only"),
        ({"years": [True]}, "neither numbers only nor texts only"),
        ({"years": [1e300]}, "too large for float32"),
        ({"years": []}, "uneven columns"),
        ({"years": ["ten"]}, "does not take these rows"),
    ],
)
def test_a_column_that_cannot_be_compared_is_refused(change: dict[str, list[Any]], words: str) -> None:
    """Columns of other values, infinite numbers or uneven lengths are refused with what to do."""
    train = named(100, 1)
    fitted = by_column(LogisticRegression()).fit(train.drop("repaid"), train["repaid"].to_numpy())
    rows = {name: train[name].to_list()[:1] for name in train.columns}
    with pytest.raises(BadInput, match=words):
        convert(fitted, rows | change)
