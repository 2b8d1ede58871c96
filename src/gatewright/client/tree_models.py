"""A forest that stands alone as an ONNX model: its inputs are one matrix, or the columns by name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from gatewright.client.frames import Column, Kind, Rows
from gatewright.client.onnx_bytes import canonical_bytes
from gatewright.client.parity import Candidate, those_that_can_be_made
from gatewright.client.trees_onnx import (
    ML,
    ML_OPSET,
    Forest,
    Steps,
    code_of,
    label_array,
    write_answers,
    write_codes,
    write_labels,
    write_sums,
)
from gatewright.kernel.errors import BadInput

INPUT_NAME = "input"
OPSET = 18
IR_VERSION = 10
_TYPES: tuple[tuple[int, type[np.generic]], ...] = (
    (onnx.TensorProto.FLOAT, np.float32),
    (onnx.TensorProto.DOUBLE, np.float64),
)


def candidates(forest: Forest, rows: Rows) -> Iterator[Candidate]:
    """The forest with float32 inputs, then with float64 ones: a matrix, or one for each column."""
    yield from those_that_can_be_made(partial(_candidate, forest, rows, *each) for each in _TYPES)


def _candidate(forest: Forest, rows: Rows, element: int, dtype: type[np.generic]) -> Candidate:
    columns, matrix = rows.columns, rows.matrix
    steps = Steps("trees")
    if matrix is not None:
        feeds = {INPUT_NAME: single(matrix, dtype)}
        values = [helper.make_tensor_value_info(INPUT_NAME, element, [None, matrix.shape[1]])]
        features = write_codes(steps, forest, INPUT_NAME)
    else:
        feeds = {each.name: _cells(each, dtype) for each in columns}
        values = [
            helper.make_tensor_value_info(
                each.name, onnx.TensorProto.STRING if each.kind is Kind.TEXT else element, [None, 1]
            )
            for each in columns
        ]
        features = steps.add(
            "Concat", *(_feature(steps, forest, at, each) for at, each in enumerate(columns)), axis=1
        )
    answers = write_answers(steps, forest, write_sums(steps, forest, features))
    outputs = _outputs(steps, forest, answers, element, taken={each.name for each in values})
    graph = helper.make_graph(steps.nodes, "model", values, outputs)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="gatewright")
    return Candidate(onnx=canonical_bytes(model, {}), feeds=feeds)


def _cells(column: Column, dtype: type[np.generic]) -> NDArray[Any]:
    return column.values[:, None] if column.kind is Kind.TEXT else single(column.values[:, None], dtype)


def _feature(steps: Steps, forest: Forest, place: int, column: Column) -> str:
    known = forest.codes.get(place)
    if column.kind is Kind.TEXT:
        if known is None:
            raise BadInput(
                "client.text-column",
                f"The column {column.name!r} holds texts, and the trees take numbers there.",
                next="Fit with it as a category, or encode it in a pipeline (sklearn.preprocessing.OneHotEncoder).",
                place=f"column {column.name!r}",
            )
        return steps.cast(code_of(steps, column.name, known), onnx.TensorProto.DOUBLE)
    number = column.name
    if known is not None:
        number = code_of(steps, steps.cast(number, onnx.TensorProto.FLOAT), known)
    return steps.cast(number, onnx.TensorProto.DOUBLE)


def _outputs(steps: Steps, forest: Forest, answers: str, element: int, taken: set[str]) -> list[Any]:
    value, label, probabilities = (
        f"predicted_{name}" if name in taken else name for name in ("value", "label", "probabilities")
    )
    if forest.classes is None:
        steps.cast(answers, element, output=value)
        return [helper.make_tensor_value_info(value, element, [None, 1])]
    write_labels(steps, forest, answers, label)
    steps.cast(answers, element, output=probabilities)
    texts = label_array(forest.classes).dtype == object
    return [
        helper.make_tensor_value_info(
            label, onnx.TensorProto.STRING if texts else onnx.TensorProto.INT64, [None]
        ),
        helper.make_tensor_value_info(probabilities, element, [None, len(forest.classes)]),
    ]


def single(values: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """The values in another type; raises BadInput (``client.too-large``) where float32 cannot hold one."""
    with np.errstate(over="ignore"):
        cast: NDArray[Any] = values.astype(dtype)
    infinite = np.isinf(cast.reshape(len(cast), -1)).any(axis=1) if cast.dtype.kind == "f" else np.zeros(1)
    if infinite.any():
        raise BadInput(
            "client.too-large",
            "A row to compare on holds a value too large for float32.",
            next="Scale the column before fitting, for example to thousands.",
            place=f"row {int(np.argmax(infinite))}",
        )
    return cast
