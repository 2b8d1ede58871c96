"""Models of scikit-learn, pipelines of them included, as ONNX.

Given a matrix, the ONNX model takes one matrix, ``input``; given named columns (a polars or pandas
DataFrame, or a mapping), it takes one input per column that it uses, named like it: float32 for
numbers and truth values, texts for texts and categories. Columns of numbers are joined inside into the
matrix that an estimator is asked with, unless a ``ColumnTransformer`` picks among them. Where float32 does not prove parity,
float64 is tried, and then whole numbers and truth values as what they are.

A missing number is NaN and goes to the estimator as it is: one that takes none is refused, one that
does (an imputer, a tree) is compared on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common import shape_calculator
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.base import ClassifierMixin, is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from gatewright.client import lightgbm_onnx, xgboost_onnx
from gatewright.client.frames import Column, Kind, Rows, read_rows
from gatewright.client.onnx_bytes import (
    canonical_bytes,
    divide_input,
    hold_outputs,
    join_in_float64,
    take_floats,
)
from gatewright.client.parity import AGREE, Answers, Candidate, Parity, prove, reason, those_that_can_be_made
from gatewright.client.sklearn_steps import CONVERTERS, Converter
from gatewright.client.sklearn_trees import TREES, convert_trees, forest_of, write_forest
from gatewright.client.tree_models import INPUT_NAME, candidates, single
from gatewright.client.trees_onnx import Forest
from gatewright.kernel.errors import BadInput

# Read by every ONNX Runtime since 1.14; skl2onnx writes an older one where an operator needs no newer.
TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}

IMPUTE = (
    "Missing cells are among the rows, and some estimators lose in ONNX what they do with them: impute in "
    "the pipeline (sklearn.impute.SimpleImputer)."
)


def convert(estimator: Any, features: Any) -> tuple[bytes, Parity]:
    """Convert a fitted classifier or regressor and prove that both answer alike on ``features``.

    Raises BadInput when the estimator is not fitted, has no probabilities, has no ONNX form, or
    does not take these rows; Refused (``client.parity``) when the two answer otherwise.
    """
    require_convertible(estimator)
    rows = _read_rows(estimator, features)
    _require_numbers(estimator, rows)
    expected = ask(estimator, rows)
    return prove(expected, _candidates(estimator, rows), advice=IMPUTE if rows.missing else AGREE)


def require_convertible(estimator: Any) -> None:
    """Refuse what is no fitted classifier with probabilities and no fitted regressor."""
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise BadInput(
            "client.not-an-estimator",
            f"{type(estimator).__name__} is neither a scikit-learn classifier nor a regressor.",
            next="Give the fitted model, or a pipeline that ends with it.",
        )
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise BadInput(
            "client.not-fitted",
            f"The {type(estimator).__name__} has not been fitted.",
            next="Call fit before convert.",
        ) from None
    if is_classifier(estimator) and not hasattr(estimator, "predict_proba"):
        raise BadInput(
            "client.no-probabilities",
            f"{type(estimator).__name__} gives labels but no probabilities.",
            why="Calibration and thresholds are judged on probabilities.",
            next="Wrap it in sklearn.calibration.CalibratedClassifierCV.",
        )


def _read_rows(estimator: Any, features: Any) -> Rows:
    """The rows as the estimator takes them; one that was fitted without names gets a matrix."""
    fitted = getattr(estimator, "feature_names_in_", None)
    names = None if fitted is None else [str(name) for name in fitted]
    return read_rows(features, names, as_matrix=names is None)


def _require_numbers(estimator: Any, rows: Rows) -> None:
    """Refuse columns of texts where nothing in front of the estimator, nor in it, makes numbers of them."""
    steps = _steps(estimator).values()
    if any(
        isinstance(each, _TAKE_TEXTS) or not (is_classifier(each) or is_regressor(each)) for each in steps
    ):
        return
    for column in rows.columns:
        if column.kind is Kind.TEXT:
            raise BadInput(
                "client.text-column",
                f"The column {column.name!r} holds texts, and {type(estimator).__name__} takes numbers.",
                next="Fit a pipeline that encodes it first (sklearn.preprocessing.OneHotEncoder in a "
                "ColumnTransformer), or leave the column out.",
                place=f"column {column.name!r}",
            )


def ask(estimator: Any, rows: Rows) -> Answers:
    """What the estimator answers on the rows as they were given."""
    try:
        labels = np.asarray(estimator.predict(rows.given))
        scores = estimator.predict_proba(rows.given) if is_classifier(estimator) else None
    except (ValueError, TypeError) as error:
        raise _refused(rows, error) from error
    if labels.ndim != 1:
        raise BadInput(
            "client.several-outputs",
            f"The estimator answers {labels.shape[1]} values a row; one is supported.",
            next="Fit one estimator for each output.",
        )
    return Answers(labels=labels, scores=None if scores is None else np.asarray(scores, np.float64))


def _refused(rows: Rows, error: Exception) -> BadInput:
    texts = any(column.kind is Kind.TEXT and column.missing.any() for column in rows.columns)
    said = str(error)
    if (texts and any(word in said for word in _NO_TEXT)) or (rows.missing and "contains NaN" in said):
        return BadInput(
            "client.missing-cells",
            "The estimator does not take missing cells.",
            why=reason(error),
            next='Impute in the pipeline (sklearn.impute.SimpleImputer), fill missing texts with "" before '
            "fitting, or give rows without.",
        )
    return BadInput(
        "client.estimator-refused",
        "The model does not take these rows.",
        why=reason(error),
        next="Give rows with the columns and types that it was fitted on.",
    )


# What NumPy and scikit-learn say of missing texts.
_NO_TEXT = ("isnan", "NAType", "NoneType")
_TAKE_TEXTS = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)
_OWN_TYPES = {Kind.WHOLE: (Int64TensorType, np.int64), Kind.TRUTH: (BooleanTensorType, np.bool_)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """One way to write the estimator.

    ``outside`` is the type of the numbers it takes, ``inside`` the one it computes in; where it ``keeps``
    them, whole numbers and truth values stay what they are.
    """

    outside: type[np.generic]
    inside: type[np.generic]
    keeps: bool = False


_FORMS = (
    _Form(outside=np.float32, inside=np.float32),
    _Form(outside=np.float32, inside=np.float64),
    _Form(outside=np.float64, inside=np.float64),
)
_OWN_FORMS = (
    _Form(outside=np.float32, inside=np.float32, keeps=True),
    _Form(outside=np.float64, inside=np.float64, keeps=True),
)


def _candidates(estimator: Any, rows: Rows) -> Iterator[Candidate]:
    """ONNX forms of the estimator, the cheapest first; the first error is raised where there is none."""
    if type(estimator) in TREES:
        yield from candidates(_forest(estimator), rows)
        return
    own = {column.kind for column in rows.columns} & set(_OWN_TYPES)
    forms = (*_FORMS, *(_OWN_FORMS if own else ()))
    yield from those_that_can_be_made(partial(_candidate, estimator, rows, form) for form in forms)


def _forest(estimator: Any) -> Forest:
    try:
        return forest_of(estimator)
    except ValueError as error:
        raise _not_convertible(estimator, reason(error)) from None


def _candidate(estimator: Any, rows: Rows, form: _Form) -> Candidate:
    kind = FloatTensorType if form.inside is np.float32 else DoubleTensorType
    if rows.matrix is not None:
        typed = [(INPUT_NAME, kind([None, rows.matrix.shape[1]]), single(rows.matrix, form.outside))]
    else:
        typed = [_input(column, kind, form) for column in rows.columns]
    if _is_joined(estimator, rows, form):
        model = to_onnx(estimator, [(INPUT_NAME, kind([None, len(typed)]))])
        divide_input(model, len(typed))
    else:
        model = to_onnx(estimator, [(name, tensor) for name, tensor, _ in typed])
    names = {each.name: name for each, (name, _, _) in zip(model.graph.input, typed, strict=True)}
    if form.inside is np.float64:
        join_in_float64(model)
        hold_outputs(model)
    if form.outside is not form.inside:
        take_floats(model)
    return Candidate(onnx=canonical_bytes(model, names), feeds={name: array for name, _, array in typed})


def _is_joined(estimator: Any, rows: Rows, form: _Form) -> bool:
    """Whether the columns become one matrix inside: most steps take only one in skl2onnx."""
    if rows.matrix is not None or form.keeps or any(each.kind is Kind.TEXT for each in rows.columns):
        return False
    return not any(isinstance(each, ColumnTransformer) for each in _steps(estimator).values())


def _input(column: Column, kind: Any, form: _Form) -> tuple[str, Any, NDArray[Any]]:
    values = column.values[:, None]
    if column.kind is Kind.TEXT:
        return column.name, StringTensorType([None, 1]), values
    if form.keeps and column.kind in _OWN_TYPES:
        kind, dtype = _OWN_TYPES[column.kind]
        return column.name, kind([None, 1]), values.astype(dtype)
    return column.name, kind([None, 1]), single(values, form.outside)


_CONVERTERS: Mapping[type, Converter] = {**CONVERTERS, **dict.fromkeys(TREES, convert_trees)}


def _steps(estimator: Any) -> dict[str, Any]:
    """Every estimator inside, by its path of names; the whole has none."""
    inside = {name: each for name, each in estimator.get_params(deep=True).items() if hasattr(each, "fit")}
    return {"": estimator, **inside}


def _register_foreign(estimator: Any) -> None:
    """Tell skl2onnx how steps of other libraries are converted; once told, it goes on knowing."""
    for step in _steps(estimator).values():
        packages = {each.__module__.partition(".")[0] for each in type(step).__mro__}
        for package in packages & set(_FOREIGN):
            kind = type(step)
            update_registered_converter(
                kind,
                f"Gatewright{kind.__name__}",
                _shape(kind),
                _FOREIGN[package],
                options=_OPTIONS if issubclass(kind, ClassifierMixin) else None,
            )


def _foreign_converter(forest_of_model: Callable[[Any], Forest]) -> Converter:
    def convert_foreign(scope: Any, operator: Any, container: Any) -> None:
        write_forest(forest_of_model(operator.raw_operator), scope, operator, container)

    return convert_foreign


def _shape(kind: type) -> Any:
    if issubclass(kind, ClassifierMixin):
        return shape_calculator.calculate_linear_classifier_output_shapes
    return shape_calculator.calculate_linear_regressor_output_shapes


# What skl2onnx asks every classifier to know, whether it does anything about it or not.
_OPTIONS = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
_FOREIGN: Mapping[str, Converter] = {
    "xgboost": _foreign_converter(xgboost_onnx.forest_of),
    "lightgbm": _foreign_converter(lightgbm_onnx.forest_of),
}


_SHAPES = {each: _shape(each) for each in TREES}


def to_onnx(estimator: Any, inputs: list[tuple[str, Any]]) -> Any:
    """The ONNX model of an estimator whose inputs have these names and types.

    Raises BadInput (``client.not-convertible``), naming the step, where there is none.
    """
    options = {id(estimator): {"zipmap": False}} if is_classifier(estimator) else None
    _register_foreign(estimator)
    try:
        model = convert_sklearn(
            estimator,
            name="model",
            initial_types=inputs,
            options=options,
            target_opset=TARGET_OPSET,
            custom_conversion_functions=_CONVERTERS,
            custom_shape_calculators=_SHAPES,
        )
    except BadInput:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises classes of its own, whose texts are bounded
        raise _not_convertible(estimator, reason(error)) from None
    foreign = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx", "ai.onnx.ml"})
    if foreign:
        why = (
            f"Its ONNX form needs operators of {foreign[0]}, which belong to one runtime and are not served."
        )
        raise _not_convertible(estimator, why)
    return model


def _not_convertible(estimator: Any, why: str) -> BadInput:
    blamed = [
        (name, step)
        for name, step in _steps(estimator).items()
        if type(step) not in sklearn_operator_name_map
        or isinstance(step, CountVectorizer)
        or (isinstance(step, FunctionTransformer) and step.func is not None)
    ]
    name, step = blamed[0] if blamed else ("", estimator)
    return BadInput(
        "client.not-convertible",
        f"The step {name!r} ({type(step).__name__}) has no ONNX form."
        if name
        else f"This {type(step).__name__} has no ONNX form.",
        why=why,
        next=_ADVICE.get(
            type(step),
            "Do what it does before the rows reach the pipeline, or use a step of "
            "scikit-learn that skl2onnx knows.",
        ),
    )


_WORDS = (
    "ONNX has no standard way to cut a text into words: make columns of it before the pipeline (topics, counts of "
    "the words that matter), or treat it as a category (OneHotEncoder)."
)
_ADVICE: Mapping[type, str] = {
    FunctionTransformer: "A function of one's own cannot be read: compute the column before the pipeline, "
    "or use a scaler, PowerTransformer or PolynomialFeatures.",
    **dict.fromkeys((CountVectorizer, TfidfVectorizer), _WORDS),
}
