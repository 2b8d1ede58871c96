"""Small ONNX models, built here and never committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

Build = Callable[..., onnx.ModelProto]


def build_model(
    nodes: Sequence[Any] | None = None,
    *,
    width: int = 2,
    opsets: Sequence[tuple[str, int]] = (("", 17), ("ai.onnx.ml", 3)),
    ir_version: int = 8,
    inputs: Sequence[Any] | None = None,
    outputs: Sequence[Any] | None = None,
    initializers: Sequence[Any] = (),
    functions: Sequence[Any] = (),
) -> onnx.ModelProto:
    """A model that copies a float matrix unless told otherwise."""
    graph = helper.make_graph(
        nodes if nodes is not None else [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, width])],
        list(initializers),
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in opsets],
        ir_version=ir_version,
        producer_name="tests",
    )
    model.functions.extend(functions)
    return model


@pytest.fixture
def build() -> Build:
    """The builder of small models."""
    return build_model
