"""From data columns to the tensors that a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, ModelSignature, TensorSpec
from gatewright.models.tensors import FLOATS, bf16_bits, dtype_of, of_bf16_bits


def feeds(signature: ModelSignature, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The input tensors for all rows, by input name, as ONNX Runtime takes them.

    ``columns`` maps data columns to arrays of shape (n,): float64 (NaN where missing) or objects of
    ``str``. A matrix input has shape (n, columns); a named input has the rank its specification
    says. Texts are objects of ``str``. Raises :class:`BadInput` where a column is absent, a whole-number input
    would get a missing or fractional value, or a numeric input would get text.
    """
    return {spec.name: _input(spec, columns) for spec in signature.inputs}


def _input(spec: TensorSpec, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    parts = [_column(spec, name, columns) for name in spec.columns]
    return parts[0] if len(spec.shape) == 1 else np.stack(parts, axis=1)


def _column(spec: TensorSpec, name: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if name not in columns:
        raise BadInput(
            "models.no-column",
            f"The model's input {spec.name!r} needs the column {name!r}, which the data does not have.",
            next="Give the columns the model was trained on.",
        )
    values = columns[name]
    if spec.datatype is DataType.BYTES:
        return values if values.dtype == np.object_ else _texts(values)
    if values.dtype == np.object_:
        raise BadInput(
            "models.feed-kind",
            f"The model's input {spec.name!r} takes numbers, and the column {name!r} holds text.",
            place=f"column {name!r}",
        )
    if spec.datatype not in FLOATS:
        _require_whole(spec, name, values)
    with np.errstate(over="ignore"):
        cast = values.astype(dtype_of(spec.datatype))
        if spec.datatype is DataType.BF16:
            cast = of_bf16_bits(bf16_bits(cast))
    if spec.datatype in FLOATS and not np.array_equal(np.isfinite(cast), np.isfinite(values)):
        row = int(np.flatnonzero(np.isfinite(cast) != np.isfinite(values))[0]) + 1
        raise BadInput(
            "models.out-of-range",
            f"The column {name!r} holds a number beyond {spec.datatype}, which the model takes.",
            place=f"row {row}, column {name!r}",
        )
    return cast


def _require_whole(spec: TensorSpec, name: str, values: NDArray[Any]) -> None:
    dtype = dtype_of(spec.datatype)
    low, high = (0, 1) if spec.datatype is DataType.BOOL else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    with np.errstate(invalid="ignore"):
        good = (values == np.floor(values)) & (values >= low) & (values <= high)
    if not good.all():
        row = int(np.flatnonzero(~good)[0]) + 1
        raise BadInput(
            "models.not-whole",
            f"The model's input {spec.name!r} takes {spec.datatype}, and the column {name!r} does not fit it.",
            why="A value is missing, has a fraction or is out of range.",
            place=f"row {row}, column {name!r}",
        )


def _texts(values: NDArray[Any]) -> NDArray[np.object_]:
    """Numbers where the model takes text: a text column may hold only numbers in some files."""
    texts = np.empty(len(values), dtype=np.object_)
    texts[:] = [
        "" if value != value else str(int(value)) if value == int(value) else repr(value)  # noqa: PLR0124 - NaN
        for value in values.tolist()
    ]
    return texts
