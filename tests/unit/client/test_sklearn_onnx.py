"""Conversion of scikit-learn estimators keeps their answers, or says on which rows it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from gatewright.client.conversion import convert
from gatewright.client.parity import SPREAD
from gatewright.client.sklearn_onnx import TARGET_OPSET
from gatewright.kernel.errors import BadInput, Refused

CANCER = load_breast_cancer(return_X_y=True)


def cancer() -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of the breast cancer data."""
    rows, labels = CANCER
    return rows.copy(), labels.copy()


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


@pytest.mark.parametrize(
    ("estimator", "code"),
    [
        (StandardScaler(), "client.not-an-estimator"),
        (LogisticRegression(), "client.not-fitted"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "client.not-fitted"),
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


FINE = 1_000.0 + np.array([[0.0], [1e-6], [2e-6], [3e-6]] * 5)
"""Four values that float32 cannot tell apart."""


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), DecisionTreeClassifier(random_state=0)),
        GaussianNB(var_smoothing=1e-20),
    ],
    ids=lambda each: type(each).__name__,
)
def test_rows_that_float32_cannot_tell_apart_are_taken_as_float64(estimator: Any) -> None:
    """Where float32 inputs lose the answer and float64 ones keep it, the inputs are float64, and it says so."""
    fitted = estimator.fit(FINE, [0, 0, 1, 1] * 5)
    assert 1.0 == fitted.score(FINE, [0, 0, 1, 1] * 5)
    converted = convert(fitted, FINE)
    assert ("FP64", 0) == (converted.parity.inputs, converted.parity.labels_differ)
    (only,) = onnx.load_model_from_string(converted.onnx).graph.input
    assert onnx.TensorProto.DOUBLE == only.type.tensor_type.elem_type


def test_numbers_that_float32_holds_are_taken_as_float32_and_computed_with_in_float64() -> None:
    """A scaler before a tree may move a row across a split in float32; whole numbers stay float32 inputs."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 1_000_000, (3000, 4)).astype(float)
    labels = (rows[:, 0] * 3 + rows[:, 1] > 1_900_000).astype(int)
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), RandomForestClassifier(10, random_state=0))
    converted = convert(pipeline.fit(rows, labels), rows)
    assert ("FP32", 0, 3000) == (
        converted.parity.inputs,
        converted.parity.labels_differ,
        converted.parity.rows,
    )


def test_a_value_beyond_float32_is_taken_as_float64() -> None:
    """Numbers too large for float32 do not stop a conversion that float64 can make."""
    rows = np.arange(1.0, 101.0)[:, None] * 1e40
    trees = HistGradientBoostingRegressor(max_iter=3).fit(rows, rows[:, 0] / 1e40)
    assert ("FP64", True) == (convert(trees, rows).parity.inputs, convert(trees, rows).parity.holds)
    tree = make_pipeline(StandardScaler(), DecisionTreeClassifier()).fit(rows, np.arange(100) > 40)
    assert "FP64" == convert(tree, rows).parity.inputs


def test_a_form_that_answers_otherwise_is_refused_with_its_worst_rows() -> None:
    """skl2onnx 1.20 gives other probabilities for linear discriminant analysis: refused, with the rows."""
    rows, labels = cancer()
    fitted = LinearDiscriminantAnalysis().fit(rows, labels)
    with pytest.raises(Refused, match=r"does not answer as the model does.*Worst rows: row \d+: ") as caught:
        convert(fitted, rows)
    assert "client.parity" == caught.value.code


def double(values: Any) -> Any:
    """A function of one's own."""
    return values * 2


@pytest.mark.parametrize(
    ("step", "name", "words"),
    [
        (FunctionTransformer(double), "functiontransformer", "A function of one's own cannot be read"),
        (SplineTransformer(), "splinetransformer", "use a step of scikit-learn that skl2onnx knows"),
    ],
)
def test_the_step_that_has_no_onnx_form_is_named(step: Any, name: str, words: str) -> None:
    """The refusal names the step by its path, its class, and what to do instead; in a readable length."""
    rows, labels = cancer()
    fitted = make_pipeline(StandardScaler(), step, LogisticRegression(max_iter=5000)).fit(rows, labels)
    with pytest.raises(BadInput, match=rf"The step '{name}' \({type(step).__name__}\).*{words}") as caught:
        convert(fitted, rows)
    assert "client.not-convertible" == caught.value.code
    assert len(str(caught.value)) < 700


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
        HistGradientBoostingClassifier(max_iter=5),
    ],
    ids=["imputer", "histogram"],
)
def test_missing_cells_are_compared(estimator: Any) -> None:
    """An estimator that takes missing cells is compared on rows that have them, answer by answer."""
    rows, labels = gaps()
    parity = convert(estimator.fit(rows[:400], labels[:400]), rows[400:]).parity
    assert (169, 0) == (parity.rows, parity.labels_differ)
    assert parity.largest < 1e-5


def test_a_forest_keeps_what_it_does_with_missing_cells() -> None:
    """Forests learn which way a missing cell goes, and their ONNX form goes the same way."""
    rows, labels = gaps()
    forest = RandomForestClassifier(21, random_state=0).fit(rows[:400], labels[:400])
    assert convert(forest, rows[400:]).parity.holds


def test_missing_cells_that_an_estimator_refuses_are_told() -> None:
    """An estimator without an imputer is told what to do about missing cells."""
    rows, labels = gaps()
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.nan_to_num(rows), labels)
    with pytest.raises(BadInput, match=r"The estimator does not take missing cells.*Impute in the") as caught:
        convert(estimator, rows)
    assert "client.missing-cells" == caught.value.code


@pytest.mark.parametrize("classes", [2, 3])
def test_histogram_trees_are_converted(classes: int) -> None:
    """Histogram-based boosting, which skl2onnx 1.20 alone cannot write, answers alike, in a pipeline too."""
    rows, labels = gaps()
    labels = labels + (rows[:, 0] > 18) * (classes - 2)
    estimator = make_pipeline(SimpleImputer(), HistGradientBoostingClassifier(max_iter=5))
    assert convert(estimator.fit(rows[:400], labels[:400]), rows[400:]).parity.holds
    rows, target = load_diabetes(return_X_y=True)
    regressor = HistGradientBoostingRegressor(max_iter=5).fit(rows[:300].astype(np.float32), target[:300])
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
    assert {"net income": number, "years": number, "region": text} == kinds
    assert (200, 0) == (converted.parity.rows, converted.parity.labels_differ)


def test_named_columns_are_one_input_each_without_a_column_transformer_too() -> None:
    """An estimator fitted on a frame of numbers takes one input per column, and answers alike."""
    train = named(300, 1).select("years", "net income", "repaid")
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    fitted = estimator.fit(train.drop("repaid"), train["repaid"].to_numpy())
    converted = convert(fitted, train)
    inputs = onnx.load_model_from_string(converted.onnx).graph.input
    assert ["years", "net income"] == [each.name for each in inputs]


def numbers(make: Any) -> tuple[Any, np.ndarray]:
    """A frame of numbers, whole numbers and truth values, whose names a graph may use itself, and amounts."""
    rng = np.random.default_rng(3)
    columns = {
        "net income": rng.normal(size=200),
        "input": rng.integers(0, 9, 200),
        "variable": rng.random(200) < 0.5,
        "input_column_0": rng.normal(size=200),
    }
    amounts = 3 * columns["net income"] + columns["input"] + columns["variable"]
    return make({name: each.tolist() for name, each in columns.items()}), amounts


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame], ids=["polars", "pandas"])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=1000),
        SVC(probability=True, random_state=0),
        KNeighborsClassifier(),
        MLPClassifier(max_iter=20, random_state=0),
        DecisionTreeClassifier(random_state=0),
        CalibratedClassifierCV(LinearSVC()),
        make_pipeline(PCA(2), LogisticRegression()),
        Ridge(),
        SVR(),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:.*probability.*:FutureWarning"
)
def test_an_estimator_alone_takes_the_columns_of_a_frame(estimator: Any, make: Any) -> None:
    """Fitted on a frame without anything in front, it gets one input per column, whatever their names are."""
    frame, amounts = numbers(make)
    target = amounts if isinstance(estimator, (Ridge, SVR)) else (amounts > 4).astype(int)
    converted = convert(estimator.fit(frame, target), frame[list(reversed(frame.columns))])
    inputs = onnx.load_model_from_string(converted.onnx).graph.input
    assert list(frame.columns) == [each.name for each in inputs]
    assert {(1,)} == {tuple(d.dim_value for d in each.type.tensor_type.shape.dim[1:]) for each in inputs}
    assert (200, True) == (converted.parity.rows, converted.parity.holds)


def test_columns_that_float32_cannot_hold_are_joined_in_float64() -> None:
    """An estimator alone gets float64 inputs per column where its rows need them."""
    frame = pd.DataFrame({"fine": FINE[:, 0], "other": 0.0})
    converted = convert(GaussianNB(var_smoothing=1e-20).fit(frame[["fine"]], [0, 0, 1, 1] * 5), frame)
    assert ("FP64", 0) == (converted.parity.inputs, converted.parity.labels_differ)


@pytest.mark.parametrize("cells", ["1", "ten"])
def test_texts_for_an_estimator_that_takes_numbers_are_refused_by_column(cells: str) -> None:
    """Digits as texts, which scikit-learn reads as numbers, and words are refused with the way out."""
    frame, amounts = numbers(pd.DataFrame)
    fitted = LogisticRegression(max_iter=1000).fit(frame, amounts > 4)
    with pytest.raises(
        BadInput, match=r"The column 'input' holds texts, and LogisticRegression takes"
    ) as caught:
        convert(fitted, frame.assign(input=cells))
    assert "client.text-column" == caught.value.code


@pytest.mark.parametrize("make", [pl.DataFrame, pd.DataFrame], ids=["polars", "pandas"])
def test_columns_of_another_order_with_others_between_are_taken_by_name(make: Any) -> None:
    """The estimator and the ONNX form both get the columns they know, however the frame holds them."""
    train = named(300, 1)
    fitted = by_column(LogisticRegression()).fit(
        make({name: train[name].to_list() for name in train.columns if name != "repaid"}),
        train["repaid"].to_list(),
    )
    test = make({name: named(200, 2)[name].to_list() for name in reversed(train.columns)})
    assert convert(fitted, test).parity.holds


def test_categories_that_were_never_seen_answer_as_the_estimator_does() -> None:
    """An unseen text is no category to the one-hot encoder, and none to the ONNX form."""
    train = named(300, 1)
    fitted = by_column(LogisticRegression()).fit(train.drop("repaid"), train["repaid"].to_numpy())
    test = named(200, 2).with_columns(pl.lit("elsewhere").alias("region"))
    assert convert(fitted, test).parity.holds


def test_truth_values_and_whole_number_categories_are_inputs() -> None:
    """Booleans and coded categories are encoded from the numbers that an endpoint is sent."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"member": rng.random(400) < 0.5, "plan": rng.integers(1, 5, 400), "age": rng.integers(18, 80, 400)}
    )
    repaid = (frame.age + 20 * frame.member + 5 * (frame.plan == 3) > 60).astype(int)
    fitted = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["member", "plan"]), remainder="passthrough"),
        LogisticRegression(max_iter=2000),
    ).fit(frame, repaid)
    converted = convert(fitted, frame)
    assert ("FP32", 0) == (converted.parity.inputs, converted.parity.labels_differ)


def test_a_frame_for_an_estimator_that_was_fitted_on_a_matrix() -> None:
    """Its columns become the inputs, in their order, and the estimator is asked with a matrix."""
    rows, labels = cancer()
    frame = pd.DataFrame(rows).add_prefix("c")
    assert 30 == len(
        onnx.load_model_from_string(convert(CLASSIFIERS[0].fit(rows, labels), frame).onnx).graph.input
    )


def test_wide_rows_are_one_input() -> None:
    """5,000 columns are taken as a matrix."""
    rows = np.random.default_rng(0).normal(size=(60, 5000))
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(rows, rows[:, 0] > 0)
    assert convert(fitted, rows).parity.holds


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"region": [None]}, "client.missing-cells", 'fill missing texts with ""'),
        ({"region": [1.5]}, "client.estimator-refused", "columns and types that it was fitted on"),
        ({"years": ["ten"]}, "client.estimator-refused", "does not take these rows"),
        ({"years": [np.inf]}, "client.infinite", "infinite"),
        ({"years": []}, "client.no-rows", "different lengths"),
    ],
)
def test_a_column_that_cannot_be_compared_is_refused(
    change: dict[str, list[Any]], code: str, words: str
) -> None:
    """Missing texts, other types than were fitted on, infinite numbers and uneven lengths are told apart."""
    train = named(100, 1)
    fitted = by_column(LogisticRegression()).fit(train.drop("repaid"), train["repaid"].to_numpy())
    rows = {name: train[name].to_list()[:1] for name in train.columns}
    with pytest.raises(BadInput, match=words) as caught:
        convert(fitted, rows | change)
    assert code == caught.value.code


@pytest.mark.parametrize("vectorizer", [TfidfVectorizer(), CountVectorizer()])
def test_words_of_texts_are_refused_by_step(vectorizer: Any) -> None:
    """Their ONNX form would need operators of one runtime, which are not served: the step and the way out are told."""
    frame = pd.DataFrame({"note": ["late again", "on time", "late", "on time twice"] * 5, "age": range(20)})
    fitted = make_pipeline(
        make_column_transformer((vectorizer, "note"), (StandardScaler(), ["age"])), LogisticRegression()
    ).fit(frame, [0, 1, 0, 1] * 5)
    with pytest.raises(BadInput, match=r"vectorizer' .*cut a text into words: make columns of it") as caught:
        convert(fitted, frame)
    assert "client.not-convertible" == caught.value.code
