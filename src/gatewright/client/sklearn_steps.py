"""Steps of scikit-learn pipelines that skl2onnx 1.20 converts wrongly or not at all, written anew.

A missing text is "" in ONNX and NaN or None in a frame: encoders and imputers are converted as if "" had
been the missing text. ``SimpleImputer`` of numbers is written in the type of its input, which the
standard operator has in float32 alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from skl2onnx.operator_converters import imputer_op, one_hot_encoder, ordinal_encoder
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from gatewright.client.frames import is_gap
from gatewright.client.trees_onnx import ML, Steps

Converter = Callable[[Any, Any, Any], None]


def _takes_texts(operator: Any) -> bool:
    return any(isinstance(each.type, StringTensorType) for each in operator.inputs)


def _instead(convert: Converter, operator: Any, scope: Any, container: Any, **changes: Any) -> None:
    """Convert a copy of the operator's estimator with other attributes."""
    original = operator.raw_operator
    operator.raw_operator = copy.copy(original)
    vars(operator.raw_operator).update(changes)
    try:
        convert(scope, operator, container)
    finally:
        operator.raw_operator = original


def _one_hot(scope: Any, operator: Any, container: Any) -> None:
    convert = one_hot_encoder.convert_sklearn_one_hot_encoder
    known = [_texts(each) for each in operator.raw_operator.categories_]
    changes = {"categories_": known} if _takes_texts(operator) else {}
    _instead(convert, operator, scope, container, **changes)


def _texts(categories: NDArray[Any]) -> NDArray[np.object_]:
    return np.array(["" if is_gap(each) else each for each in categories.tolist()], dtype=object)


def _ordinal(scope: Any, operator: Any, container: Any) -> None:
    encoder = operator.raw_operator
    if not _takes_texts(operator) or encoder._infrequent_enabled:  # noqa: SLF001 - nothing public tells it
        ordinal_encoder.convert_sklearn_ordinal_encoder(scope, operator, container)
        return
    steps = Steps(scope.get_unique_variable_name("ordinal"))
    columns = [
        steps.add("Gather", each.full_name, steps.constant(np.array([at], np.int64)), axis=1)
        for each in operator.inputs
        for at in range(each.type.shape[1])
    ]
    unknown = float("nan") if encoder.unknown_value is None else float(encoder.unknown_value)
    parts = [
        steps.add(
            "LabelEncoder",
            column,
            domain=ML,
            keys_strings=_texts(known).tolist(),
            values_floats=[
                float(encoder.encoded_missing_value if is_gap(each) else code)
                for code, each in enumerate(known.tolist())
            ],
            default_float=unknown,
        )
        for column, known in zip(columns, encoder.categories_, strict=True)
    ]
    output = operator.outputs[0]
    to = output.type.to_onnx_type().tensor_type.elem_type
    steps.cast(steps.add("Concat", *parts, axis=1), to, output=output.full_name)
    container.nodes.extend(steps.nodes)
    container.node_domain_version_pair_sets.update({("", container.target_opset), (ML, 2)})


def _impute(scope: Any, operator: Any, container: Any) -> None:
    imputer = operator.raw_operator
    if imputer.add_indicator:
        raise NotImplementedError("SimpleImputer(add_indicator=True) has no ONNX form here")
    if any(is_gap(each) for each in imputer.statistics_) and not imputer.keep_empty_features:
        raise NotImplementedError(
            "SimpleImputer drops a column in which it saw no value: leave that column out"
        )
    if _takes_texts(operator):
        convert = imputer_op.convert_sklearn_imputer
        missing = "" if is_gap(imputer.missing_values) else imputer.missing_values
        _instead(convert, operator, scope, container, missing_values=missing)
    elif is_gap(imputer.missing_values) and isinstance(operator.outputs[0].type, DoubleTensorType):
        _impute_numbers(scope, operator, container)
    else:
        imputer_op.convert_sklearn_imputer(scope, operator, container)


def _impute_numbers(scope: Any, operator: Any, container: Any) -> None:
    steps = Steps(scope.get_unique_variable_name("impute"))
    names = [each.full_name for each in operator.inputs]
    values = names[0] if len(names) == 1 else steps.add("Concat", *names, axis=1)
    fill = steps.constant(np.asarray([operator.raw_operator.statistics_], np.float64))
    missing = steps.add("IsNaN", values)
    steps.add("Where", missing, fill, values, output=operator.outputs[0].full_name)
    container.nodes.extend(steps.nodes)
    container.node_domain_version_pair_sets.add(("", container.target_opset))


CONVERTERS: dict[type, Converter] = {
    SimpleImputer: _impute,
    OneHotEncoder: _one_hot,
    OrdinalEncoder: _ordinal,
}
