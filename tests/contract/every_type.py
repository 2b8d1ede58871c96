"""Models with an input and an output of each of some data types, each output what went in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper

from gatewright.models.signature import DataType, ModelSignature, Task, TensorSpec
from gatewright.models.tensors import dtype_of

_ONNX = {
    DataType.BOOL: TensorProto.BOOL,
    DataType.UINT8: TensorProto.UINT8,
    DataType.UINT16: TensorProto.UINT16,
    DataType.UINT32: TensorProto.UINT32,
    DataType.UINT64: TensorProto.UINT64,
    DataType.INT8: TensorProto.INT8,
    DataType.INT16: TensorProto.INT16,
    DataType.INT32: TensorProto.INT32,
    DataType.INT64: TensorProto.INT64,
    DataType.FP16: TensorProto.FLOAT16,
    DataType.BF16: TensorProto.BFLOAT16,
    DataType.FP32: TensorProto.FLOAT,
    DataType.FP64: TensorProto.DOUBLE,
    DataType.BYTES: TensorProto.STRING,
}


def signature_of(kinds: Sequence[DataType]) -> ModelSignature:
    """An input and an output of two columns of each type."""
    return ModelSignature(
        task=Task.REGRESSION,
        inputs=tuple(TensorSpec(name=f"in {kind}", datatype=kind, shape=(-1, 2)) for kind in kinds),
        outputs=tuple(TensorSpec(name=f"out {kind}", datatype=kind, shape=(-1, 2)) for kind in kinds),
    )


def model_of(kinds: Sequence[DataType]) -> bytes:
    """ONNX: what goes into each input comes out of the output of its type."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"in {kind}"], [f"out {kind}"]) for kind in kinds],
        "identities",
        [helper.make_tensor_value_info(f"in {kind}", _ONNX[kind], [None, 2]) for kind in kinds],
        [helper.make_tensor_value_info(f"out {kind}", _ONNX[kind], [None, 2]) for kind in kinds],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def values_of(kind: DataType) -> np.ndarray[Any, Any]:
    """Two rows at the edges of what the type holds: shape (2, 2)."""
    if kind is DataType.BYTES:
        return np.array([[b"", b"a"], ["ü".encode(), b'"\\[{']], np.object_)
    if kind is DataType.BOOL:
        return np.array([[True, False], [False, True]])
    if "INT" in kind:
        held = np.iinfo(dtype_of(kind))
        return np.array([[held.min, held.max], [0, 1]], dtype_of(kind))
    largest = ml_dtypes.finfo(ml_dtypes.bfloat16 if kind is DataType.BF16 else dtype_of(kind)).max
    return np.array([[-float(largest), float(largest)], [-0.0, 1.5]], dtype_of(kind))
