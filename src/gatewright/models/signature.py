"""What a model takes and gives: named tensors, types, shapes, and which output means what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DataType(StrEnum):
    """Element types, by their Open Inference Protocol v2 names; BF16 is that of its binary tensors."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class Task(StrEnum):
    """What the model is asked to do."""

    BINARY = "binary-classification"
    MULTICLASS = "multiclass-classification"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """A named tensor. ``shape`` uses -1 for a free dimension; the first one counts rows.

    ``columns`` names the data columns that fill it, in order: all features for a matrix input,
    one for a named input, none for an output.
    """

    name: str
    datatype: DataType
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """Inputs, outputs and their meaning.

    ``label_output`` gives the predicted class or value, ``scores_output`` the probabilities of
    ``classes`` in their order (shape (rows, classes)); empty text where the model has none.
    ``classes`` holds the class names as text, in the model's order; empty for regression.
    """

    task: Task
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    label_output: str = ""
    scores_output: str = ""
    classes: tuple[str, ...] = ()
