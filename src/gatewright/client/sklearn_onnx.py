"""From a fitted scikit-learn estimator to ONNX bytes, with the proof that both answer alike.

    converted = convert(pipeline, x_test)
    Path("model.onnx").write_bytes(converted.onnx)
    print(converted.parity.sentence())

Given a matrix, the ONNX model takes one float32 matrix, ``input``; given named columns (a polars or
pandas DataFrame, or a mapping), it takes one input per column that it uses, named like it: float32
for numbers, texts for texts. A missing number is NaN and goes to the estimator as it is: one that
takes none is refused, one that does (an imputer, a tree) is compared on it. The reference is the estimator on the rows *as
they were given*: where those are float64, rounding them to float32 is part of what is compared, so
an estimator whose thresholds lie within that rounding is refused and told so, not waved through.

Runs in the owner's environment (extra ``studio``); nothing here is trusted later: the service reads
the bytes as it reads any other model.

A tie is no disagreement: where the estimator gives its two best classes the same probability (ten
trees of twenty on each side), the label is an accident of order, and float32 may break it the other
way. Such rows are counted apart and shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnxruntime
import polars as pl
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common import shape_calculator
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.operator_converters import random_forest
from sklearn.base import is_classifier, is_regressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from gatewright.kernel.errors import BadInput, Refused

INPUT_NAME = "input"
# Read by every ONNX Runtime since 1.14; skl2onnx writes an older one where an operator needs no newer.
TARGET_OPSET = {"": 18, "ai.onnx.ml": 3}
PROBABILITY_P99 = 1e-5
PROBABILITY_MAX = 1e-3
# Two classes closer than this tie: float32 cannot be held to an order between them.
TIE = PROBABILITY_P99
WORST_ROWS = 5
REASON_CHARACTERS = 200

# skl2onnx 1.20 writes this attribute of histogram trees as NumPy numbers, which onnx does not take.
_MISSING_GOES_LEFT = "nodes_missing_value_tracks_true"

PROBABILITY = "probability"
SPREAD = "standard deviations of the prediction"


AGREE = "Fit the estimator on float32 rows, or choose one whose ONNX form agrees."
IMPUTE = (
    "Missing cells are among the rows, and some estimators lose in ONNX what they do with them (forests "
    "do): impute in the pipeline (sklearn.impute.SimpleImputer)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """One row on which the two answer differently: its index, both answers, and how far apart they are."""

    row: int
    expected: str
    converted: str
    difference: float

    def sentence(self) -> str:
        """The row in words."""
        return f"row {self.row}: {self.expected} became {self.converted} (difference {self.difference:.2g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How alike the estimator and its ONNX form answer.

    ``labels_differ`` counts rows with another class (0 for regression), ``ties_differ`` further rows
    in which the estimator's two best classes tie and the other one was chosen. ``p99`` and ``largest`` are
    of the absolute difference per row, in ``unit``: the largest over a row's class probabilities,
    or the difference of the predicted value over the spread of all predictions. ``rounding_labels``
    counts rows in which the estimator itself answers another class once its input is rounded to
    float32. ``worst`` holds the rows that disagree most.
    """

    rows: int
    labels_differ: int
    ties_differ: int
    p99: float
    largest: float
    unit: str
    rounding_labels: int
    worst: tuple[Disagreement, ...]

    @property
    def holds(self) -> bool:
        """Whether every label is equal and both bounds are met."""
        return self.labels_differ == 0 and self.p99 <= PROBABILITY_P99 and self.largest <= PROBABILITY_MAX

    def sentence(self) -> str:
        """The result in words."""
        same = self.rows - self.labels_differ - self.ties_differ
        ties = f" ({self.ties_differ} are ties, broken the other way)" if self.ties_differ else ""
        return (
            f"{same} of {self.rows} rows get the same answer{ties}; the difference in "
            f"{self.unit} is at most {self.largest:.2g}, and {self.p99:.2g} at the 99th percentile."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A model as ONNX bytes, and how it was compared with the estimator."""

    onnx: bytes
    parity: Parity


Matrix: TypeAlias = NDArray[np.floating[Any]]
Features: TypeAlias = "Matrix | Mapping[str, NDArray[Any]] | Any"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows to compare on: as given, rounded to float32, and as the inputs of the ONNX model.

    ``inputs`` holds (name, type, array of shape (rows, columns)) in order; ``missing`` tells whether a
    number is.
    """

    given: Any
    rounded: Any
    inputs: tuple[tuple[str, Any, NDArray[Any]], ...]
    missing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """Labels (or values) of shape (n,) and, for classifiers, probabilities of shape (n, classes)."""

    labels: NDArray[Any]
    scores: NDArray[np.float64] | None


def convert(estimator: Any, features: Features) -> Converted:
    """Convert a fitted classifier or regressor and compare the two on ``features``.

    ``features`` has shape (rows, columns), float32 or float64, in the order the estimator was fitted
    on; or it is a DataFrame or mapping of named columns of numbers or texts, of which those that the
    estimator was not fitted on are left out. NaN is a missing number, "" a missing text. Use rows the
    estimator has not seen, and as many as there are.

    Raises BadInput when the estimator is not fitted, has no probabilities, has no ONNX form, or
    does not take these rows; Refused (``client.parity``) when a label differs, or probabilities do
    by more than 1e-5 at the 99th percentile or 1e-3 anywhere.
    """
    _require_convertible(estimator)
    rows = _read_rows(estimator, features)
    expected = _ask_estimator(estimator, rows.given, missing=rows.missing)
    model, names = _to_onnx(estimator, rows)
    feeds = {name: array for name, (_, _, array) in zip(names, rows.inputs, strict=True)}
    rounded = _ask_estimator(estimator, rows.rounded, missing=rows.missing)
    parity = _compare(expected, _ask_onnx(model, feeds), rounded)
    if not parity.holds:
        raise Refused(
            "client.parity",
            f"The ONNX form does not answer as the estimator does: {parity.sentence()}",
            why=_why(parity),
            next=IMPUTE if rows.missing else AGREE,
        )
    return Converted(onnx=model, parity=parity)


def _require_convertible(estimator: Any) -> None:
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise BadInput(
            "client.not-an-estimator",
            f"{type(estimator).__name__} is neither a scikit-learn classifier nor a regressor.",
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


def _read_rows(estimator: Any, features: Features) -> _Rows:
    if isinstance(features, Mapping) or hasattr(features, "columns"):
        return _named_rows(estimator, features)
    rows = np.asarray(features)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.dtype not in (np.float32, np.float64):
        raise BadInput(
            "client.features",
            f"The rows to compare on have shape {rows.shape} and type {rows.dtype}.",
            next="Give a float32 or float64 matrix with at least one row, or a DataFrame of named columns.",
        )
    rounded = _single(rows, "")
    kind = FloatTensorType([None, rows.shape[1]])
    return _Rows(
        given=rows,
        rounded=rounded,
        inputs=((INPUT_NAME, kind, rounded),),
        missing=bool(np.isnan(rounded).any()),
    )


def _named_rows(estimator: Any, features: Any) -> _Rows:
    """Rows of named columns; the estimator gets those it was fitted on, each is an input of its own."""
    names = list(features.columns if hasattr(features, "columns") else features)
    fitted = set(getattr(estimator, "feature_names_in_", names))
    columns = {name: _column(name, features[name]) for name in names if name in fitted}
    if len({len(values) for values in columns.values()}) != 1 or not all(map(len, columns.values())):
        raise BadInput(
            "client.features",
            "The rows to compare on have no column that the estimator knows, no rows, or uneven columns.",
            next="Give the columns that it was fitted on.",
        )
    rounded = {
        name: values if values.dtype == object else _single(values, name) for name, values in columns.items()
    }
    is_frame = hasattr(features, "columns")
    return _Rows(
        given=features[list(columns)] if is_frame else _frame(columns),
        rounded=_frame(rounded),
        inputs=tuple(
            (
                name,
                (StringTensorType if values.dtype == object else FloatTensorType)([None, 1]),
                values[:, None],
            )
            for name, values in rounded.items()
        ),
        missing=any(values.dtype != object and bool(np.isnan(values).any()) for values in rounded.values()),
    )


def _column(name: str, column: Any) -> NDArray[Any]:
    """A column of numbers, or of texts as objects of ``str``, shape (rows,)."""
    values = np.asarray(column)
    if values.ndim == 1 and values.dtype.kind in "iuf":
        return values
    if (
        values.ndim == 1
        and values.dtype.kind in "OU"
        and all(isinstance(each, str) for each in values.tolist())
    ):
        return values.astype(object)
    raise BadInput(
        "client.features",
        f"The column {name!r} holds neither numbers only nor texts only.",
        why='A missing text is written "" here, as the endpoint gets it; truth values are numbers or texts.',
        next='Fill missing texts with "" before fitting, or leave the column out of the pipeline.',
        place=f"column {name!r}",
    )


def _frame(columns: Mapping[str, NDArray[Any]]) -> pl.DataFrame:
    return pl.DataFrame(
        {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
    )


def _single(values: NDArray[Any], column: str) -> NDArray[np.float32]:
    """The values as float32; what is infinite, or would be, is refused with its row."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    infinite = np.isinf(rounded.reshape(len(rounded), -1)).any(axis=1)
    if infinite.any():
        raise BadInput(
            "client.features",
            "A row to compare on holds an infinite value, or one too large for float32.",
            place=f"row {int(np.argmax(infinite))}" + (f", column {column!r}" if column else ""),
        )
    return rounded


def _reason(error: Exception) -> str:
    """The error in one bounded line; skl2onnx puts whole trees behind ``attributes=``."""
    line = " ".join(str(error)[: 10 * REASON_CHARACTERS].partition("and attributes=")[0].split())
    return f"{type(error).__name__}: {line[:REASON_CHARACTERS]}{'…' if len(line) > REASON_CHARACTERS else ''}"


def _ask_estimator(estimator: Any, rows: Any, *, missing: bool) -> _Answers:
    try:
        labels = np.asarray(estimator.predict(rows))
        scores = np.asarray(estimator.predict_proba(rows), np.float64) if is_classifier(estimator) else None
    except (ValueError, TypeError) as error:
        if missing and "NaN" in str(error):
            raise BadInput(
                "client.missing-cells",
                "The estimator does not take missing cells.",
                next="Impute in the pipeline (sklearn.impute.SimpleImputer), or give rows without.",
            ) from None
        raise BadInput(
            "client.estimator-refused", "The estimator does not take these rows.", why=_reason(error)
        ) from error
    if labels.ndim != 1:
        raise BadInput(
            "client.several-outputs",
            f"The estimator answers {labels.shape[1]} values a row; one is supported.",
        )
    return _Answers(labels=labels, scores=scores)


def _histogram_trees(convert_trees: Any) -> Any:
    """The converter of histogram trees, with its truth values written as whole numbers."""

    def convert_whole(scope: Any, operator: Any, container: Any) -> None:
        add = container.add_node

        def add_node(kind: str, inputs: Any, outputs: Any, **attributes: Any) -> None:
            if _MISSING_GOES_LEFT in attributes:
                attributes[_MISSING_GOES_LEFT] = [int(each) for each in attributes[_MISSING_GOES_LEFT]]
            add(kind, inputs, outputs, **attributes)

        container.add_node = add_node
        try:
            convert_trees(scope, operator, container)
        finally:
            del container.add_node

    return convert_whole


_CONVERTERS = {
    HistGradientBoostingClassifier: _histogram_trees(random_forest.convert_sklearn_random_forest_classifier),
    HistGradientBoostingRegressor: _histogram_trees(
        random_forest.convert_sklearn_random_forest_regressor_converter
    ),
}
_SHAPES = {
    HistGradientBoostingClassifier: shape_calculator.calculate_linear_classifier_output_shapes,
    HistGradientBoostingRegressor: shape_calculator.calculate_linear_regressor_output_shapes,
}


def _to_onnx(estimator: Any, rows: _Rows) -> tuple[bytes, list[str]]:
    """Canonical bytes, and the names that the inputs got.

    Canonical: a fixed graph name, each operator set named once, no input that nothing reads.
    """
    options = {id(estimator): {"zipmap": False}} if is_classifier(estimator) else None
    try:
        model = convert_sklearn(
            estimator,
            name="model",
            initial_types=[(name, kind) for name, kind, _ in rows.inputs],
            options=options,
            target_opset=TARGET_OPSET,
            custom_conversion_functions=_CONVERTERS,
            custom_shape_calculators=_SHAPES,
        )
    except Exception as error:  # noqa: BLE001 - the library raises classes of its own, whose texts are bounded
        raise BadInput(
            "client.not-convertible",
            f"skl2onnx cannot convert this {type(estimator).__name__}.",
            why=_reason(error),
            next="Use an estimator that it supports, for example GradientBoosting* or RandomForest*, "
            "or export the model from another library.",
        ) from None
    names = [each.name for each in model.graph.input]
    read = {name for node in model.graph.node for name in node.input}
    for unread in [each for each in model.graph.input if each.name not in read]:
        model.graph.input.remove(unread)
    versions = {each.domain: each.version for each in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(
        onnx.helper.make_opsetid(domain, version) for domain, version in sorted(versions.items())
    )
    data: bytes = model.SerializeToString(deterministic=True)
    return data, names


def _ask_onnx(model: bytes, feeds: Mapping[str, NDArray[Any]]) -> _Answers:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})
    except Exception as error:  # noqa: BLE001 - the library raises classes of its own, whose texts are bounded
        raise BadInput(
            "client.not-runnable",
            "ONNX Runtime does not run the converted model on these rows.",
            why=_reason(error),
            next="Give the columns the types that the estimator was fitted on.",
        ) from None
    scores = np.asarray(outputs[1], np.float64) if len(outputs) > 1 else None
    return _Answers(labels=np.asarray(outputs[0]).reshape(-1), scores=scores)


def _differences(expected: _Answers, found: _Answers) -> tuple[NDArray[np.float64], str]:
    """Absolute difference per row, shape (n,), and its unit; what is not a number counts as infinite."""
    if expected.scores is not None and found.scores is not None:
        apart = np.abs(found.scores - expected.scores).max(axis=1)
        unit = PROBABILITY
    else:
        reference = expected.labels.astype(np.float64)
        apart = np.abs(found.labels.astype(np.float64) - reference) / (float(reference.std()) or 1.0)
        unit = SPREAD
    return np.where(np.isnan(apart), np.inf, apart), unit


def _ties(answers: _Answers) -> NDArray[np.bool_]:
    """Rows whose two best classes are equally probable, shape (n,)."""
    if answers.scores is None or answers.scores.shape[1] < 2:
        return np.zeros(len(answers.labels), bool)
    best = np.sort(answers.scores, axis=1)[:, -2:]
    return (best[:, 1] - best[:, 0]) <= TIE


def _compare(expected: _Answers, found: _Answers, rounded: _Answers) -> Parity:
    apart, unit = _differences(expected, found)
    is_label = expected.scores is not None
    other = (expected.labels != found.labels) if is_label else np.zeros(len(apart), bool)
    tied = _ties(expected)
    changed = other & ~tied
    rounding = int((expected.labels != rounded.labels).sum()) if is_label else 0
    order = np.lexsort((-apart, ~changed))[:WORST_ROWS]
    return Parity(
        rows=len(apart),
        labels_differ=int(changed.sum()),
        ties_differ=int((other & tied).sum()),
        p99=float(np.quantile(apart, 0.99, method="higher")),
        largest=float(apart.max()),
        unit=unit,
        rounding_labels=rounding,
        worst=tuple(
            Disagreement(
                row=int(row),
                expected=str(expected.labels[row]),
                converted=str(found.labels[row]),
                difference=float(apart[row]),
            )
            for row in order
        ),
    )


def _why(parity: Parity) -> str:
    rows = "; ".join(each.sentence() for each in parity.worst)
    if not parity.rounding_labels:
        return f"Worst rows: {rows}."
    return (
        f"Worst rows: {rows}. In {parity.rounding_labels} rows the estimator itself answers otherwise once "
        "its input is rounded to float32, which is what the ONNX model receives."
    )
