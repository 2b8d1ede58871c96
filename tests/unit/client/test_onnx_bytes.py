"""Canonical bytes: named inputs, one version of each operator set, equal for equal models."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from gatewright.client.onnx_bytes import canonical_bytes, hold_outputs, join_in_float64, take_floats


def _model(nodes: list[Any], inputs: list[str], output: str, kind: int = TensorProto.DOUBLE) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, kind, [None, 1]) for name in inputs],
        [helper.make_tensor_value_info(output, kind, [None, len(inputs)])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _run(data: bytes, feeds: dict[str, Any]) -> Any:
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def test_inputs_get_their_names_even_where_a_value_has_one() -> None:
    """A column may be called like a value inside the graph, which then gives way; blanks stay blanks."""
    nodes = [helper.make_node("Neg", ["a"], ["net income"]), helper.make_node("Neg", ["net income"], ["y"])]
    data = canonical_bytes(_model(nodes, ["a"], "y"), {"a": "net income"})
    assert ["net income"] == [each.name for each in onnx.load_from_string(data).graph.input]
    assert [[2.0]] == _run(data, {"net income": np.array([[2.0]])}).tolist()


def test_inputs_that_nothing_reads_are_left_out_and_versions_named_once() -> None:
    """What is left is what is needed; the same model gives the same bytes."""
    made = [
        canonical_bytes(_model([helper.make_node("Neg", ["a"], ["y"])], ["a", "b"], "y"), {}) for _ in "12"
    ]
    model = onnx.load_from_string(made[0])
    assert ["a"] == [each.name for each in model.graph.input]
    assert ["", "ai.onnx.ml"] == [each.domain for each in model.opset_import]
    assert made[0] == made[1]


def test_float64_is_kept_inside_while_float32_is_taken() -> None:
    """Columns are joined in float64, inputs may be float32, and outputs hold what they declare."""
    join = helper.make_node(
        "FeatureVectorizer", ["a", "b"], ["x"], domain="ai.onnx.ml", inputdimensions=[1, 1]
    )
    model = _model([join, helper.make_node("Identity", ["x"], ["y"])], ["a", "b"], "y")
    join_in_float64(model)
    hold_outputs(model)
    fine = {name: np.array([[0.1]]) for name in "ab"}
    assert [[0.1, 0.1]] == _run(canonical_bytes(model, {}), fine).tolist()
    take_floats(model)
    single = np.float32(0.1)
    assert [[float(single)] * 2] == _run(
        canonical_bytes(model, {}), {name: np.array([[single]]) for name in "ab"}
    ).tolist()


def test_an_output_gets_the_type_that_it_declares() -> None:
    """Where the last node gives another float type, it is cast."""
    model = _model([helper.make_node("Cast", ["a"], ["y"], to=TensorProto.FLOAT)], ["a"], "y")
    hold_outputs(model)
    assert np.float64 == _run(canonical_bytes(model, {}), {"a": np.array([[1.0]])}).dtype
