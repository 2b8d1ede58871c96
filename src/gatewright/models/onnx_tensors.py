"""The numbers inside an ONNX file: all there, of a known type, and finite, masks apart.

A mask is a tensor of nothing but 0 and minus infinity, or minus infinity alone: what attention adds to scores,
so that a softmax turns them into 0. Exporters write it as a constant; a weight never looks so.
What a tensor declares is compared with what it holds; nothing is allocated from a declared number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import SparseTensorProto, TensorProto

from gatewright.kernel.errors import Refused

# How many bits an element takes in raw_data, and which field holds it otherwise (onnx.proto, TensorProto).
_LAYOUT: dict[int, tuple[int, str]] = {
    TensorProto.FLOAT: (32, "float_data"),
    TensorProto.DOUBLE: (64, "double_data"),
    TensorProto.FLOAT16: (16, "int32_data"),
    TensorProto.BFLOAT16: (16, "int32_data"),
    TensorProto.BOOL: (8, "int32_data"),
    TensorProto.INT4: (4, "int32_data"),
    TensorProto.UINT4: (4, "int32_data"),
    TensorProto.INT8: (8, "int32_data"),
    TensorProto.UINT8: (8, "int32_data"),
    TensorProto.INT16: (16, "int32_data"),
    TensorProto.UINT16: (16, "int32_data"),
    TensorProto.INT32: (32, "int32_data"),
    TensorProto.INT64: (64, "int64_data"),
    TensorProto.UINT32: (32, "uint64_data"),
    TensorProto.UINT64: (64, "uint64_data"),
    TensorProto.STRING: (0, "string_data"),
}
_DATA_FIELDS = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data")
_RAW_FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "<f4",
    TensorProto.DOUBLE: "<f8",
    TensorProto.FLOAT16: "<f2",
}
_INLINE = (
    "Save it with its weights inside: onnx.save_model(onnx.load('model.onnx'), 'inlined.onnx'), "
    "next to its weight files."
)


def require_tensor(tensor: TensorProto, place: str, *, finite: bool = True) -> int:
    """How many elements the tensor holds.

    Raises :class:`Refused` for external data, an unknown element type, a size that is not the
    declared one, and (where ``finite`` is asked for) NaN or infinity in what is no mask.
    """
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise Refused(
            "models.external-data",
            "The model keeps weights in another file.",
            why="What is served is exactly the bytes that were checked, so they must hold everything.",
            next=_INLINE,
            place=place,
        )
    layout = _LAYOUT.get(tensor.data_type)
    if layout is None:
        raise Refused(
            "models.tensor-type", f"A tensor has the element type {tensor.data_type}, which is not read here.",
            next="Use plain floats, integers, booleans or texts.", place=place,
        )  # fmt: skip
    count = _declared(tensor, place)
    if not _holds(tensor, count, *layout):
        raise Refused(
            "models.tensor-size",
            f"A tensor declares {count:,} elements and holds another number of them.",
            next="The file is damaged: export it again.",
            place=place,
        )
    if finite and not _is_finite(tensor):
        raise Refused(
            "models.not-finite",
            "The model's weights hold NaN or infinity.",
            why="Predictions from them would not be numbers.",
            next="Train again, with a smaller learning rate or cleaned data.",
            place=place,
        )
    return count


def require_sparse(tensor: SparseTensorProto, place: str) -> int:
    """How many numbers a sparse tensor holds; see :func:`require_tensor`."""
    require_tensor(tensor.indices, place)
    return require_tensor(tensor.values, place)


def _declared(tensor: TensorProto, place: str) -> int:
    count = 1
    for size in tensor.dims:
        if size < 0:
            raise Refused("models.tensor-size", "A tensor declares a negative size.", place=place)
        count *= size
    return count


def _holds(tensor: TensorProto, count: int, bits: int, field: str) -> bool:
    filled = [name for name in _DATA_FIELDS if len(getattr(tensor, name))]
    if tensor.HasField("segment"):
        return False
    if tensor.HasField("raw_data") and bits:
        return not filled and len(tensor.raw_data) == (count * bits + 7) // 8
    packed = (count + 1) // 2 if bits == 4 else count
    return filled in ([], [field]) and len(getattr(tensor, field)) == packed


def _is_finite(tensor: TensorProto) -> bool:
    kind = tensor.data_type
    if kind == TensorProto.BFLOAT16:
        return bool(((_sixteen(tensor) & 0x7F80) != 0x7F80).all())
    if kind not in _RAW_FLOATS:
        return True
    values: NDArray[Any]
    if tensor.HasField("raw_data"):
        values = np.frombuffer(tensor.raw_data, _RAW_FLOATS[kind])
    elif kind == TensorProto.FLOAT16:
        values = _sixteen(tensor).view(np.float16)
    else:
        values = np.array(tensor.float_data or tensor.double_data, dtype=np.float64)
    return bool(np.isfinite(values).all()) or bool(((values == 0) | np.isneginf(values)).all())


def _sixteen(tensor: TensorProto) -> NDArray[np.uint16]:
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, "<u2").astype(np.uint16)
    return np.array(tensor.int32_data, dtype=np.int64).astype(np.uint16)
