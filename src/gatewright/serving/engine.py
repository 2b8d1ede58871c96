"""Runs a model from bytes in memory, never from a path.

One intra-operator thread: for the small models of this form, more threads cost more than they
give. A model is run once when it is loaded: what fails then is refused before it can serve, and the
time of the second run tells whether it may run on the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np
import onnxruntime

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import ModelSignature, TensorSpec
from gatewright.models.tensors import dtype_of
from gatewright.serving.codec import Array
from gatewright.serving.limits import MODEL

INLINE_SECONDS = 0.002
"""A model whose one-row run takes longer than this runs in a thread."""

_SILENT = 4


def _warm_row(spec: TensorSpec) -> Array:
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    dtype = dtype_of(spec.datatype)
    return np.full(shape, "", dtype) if dtype.kind == "O" else np.zeros(shape, dtype)


class Engine:
    """A loaded model. ``run`` may be called from one thread at a time or from many.

    Raises BadInput when ONNX Runtime cannot load the bytes or the model does not do what its
    signature says.
    """

    def __init__(self, model: bytes, signature: ModelSignature) -> None:
        if len(model) > MODEL.value:
            raise BadInput("serving.model-too-large", f"The model takes {len(model):,} bytes.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _SILENT
        self._inputs = tuple(spec.name for spec in signature.inputs)
        self._outputs = tuple(spec.name for spec in signature.outputs)
        warm = [_warm_row(spec) for spec in signature.inputs]
        everything = tuple(range(len(self._outputs)))
        try:
            self._session = onnxruntime.InferenceSession(
                model, sess_options=options, providers=["CPUExecutionProvider"]
            )
            answer = self.run(warm, everything)
            start = perf_counter()
            self.run(warm, everything)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own, by opset and by build
            raise BadInput("serving.model", "The model does not run.", why=str(error)[:300]) from None
        self.seconds = perf_counter() - start
        for array, spec in zip(answer, signature.outputs, strict=True):
            _check_output(array, spec)

    @property
    def inline(self) -> bool:
        """Whether one row is answered fast enough to run on the event loop."""
        return self.seconds <= INLINE_SECONDS

    def run(self, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
        """Outputs at the given places of the signature, for inputs in the signature's order."""
        names = [self._outputs[place] for place in outputs]
        found: list[Array] = self._session.run(names, dict(zip(self._inputs, inputs, strict=True)))
        return found


def _check_output(array: object, spec: TensorSpec) -> None:
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype == dtype_of(spec.datatype)
        and array.ndim == len(spec.shape)
        and all(fixed in {-1, size} for size, fixed in zip(array.shape, spec.shape, strict=True))
    )
    if not fits:
        raise BadInput("serving.model", f"The model's output {spec.name!r} is not what its signature says.")
