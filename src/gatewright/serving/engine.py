"""Runs a model from bytes in memory, never from a path, and finds out at load how it is best run.

One intra-operator thread: a worker has one core, and for small models more threads cost more than
they give. A model is run when it is loaded: what fails then is refused before it can serve, and the
times decide how it is served from then on:

- *inline*, on the thread that asks, the event loop included: where handing over would cost about as
  much as the run;
- in *threads*, which leave the event loop free;
- *batched*, in threads that run waiting requests together (:mod:`gatewright.serving.batching`): only
  where the rows of a joined run are those of single runs, bit for bit, and cost clearly less. What a
  caller is answered must not depend on who else is asking. Every probed row is another one, so a
  model that looks across rows is found out; one that does so for certain values only cannot be.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from time import thread_time
from typing import Any

import numpy as np
import onnxruntime

from gatewright.kernel.errors import BadInput
from gatewright.models.signature import DataType, ModelSignature, TensorSpec
from gatewright.models.tensors import bf16_bits, dtype_of, of_bf16_bits
from gatewright.serving.batching import Ended, Lane, Threads
from gatewright.serving.codec import Array
from gatewright.serving.limits import JOINED_TIME, MODEL

HANDOVER_SECONDS = 0.0001
"""About what it costs to have a request run by another thread."""
INLINE_SECONDS = 0.0005
"""A run of more time does not happen on the event loop."""
PROBED_ROWS = (2, 8, 32)
PROBE_SECONDS = 0.25
"""Loading a model spends at most about so much on finding out whether requests may be joined."""
SLOW_SECONDS = 0.025
"""A run of more time is timed once."""
GAIN = 1.25
"""A joined run must answer so many times as many rows in the same time, to be worth it."""

_SILENT = 4
_ONNX_BF16 = 16
"""Its number in ONNX's list of element types."""


class Way(StrEnum):
    """How requests meet a model."""

    INLINE = "inline"
    THREADS = "threads"
    BATCHED = "batched"


def _sample(spec: TensorSpec, rows: int) -> Array:
    """Rows of harmless values, each row another one; the first is all zeros, or empty texts."""
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    if spec.shape[:1] == (-1,):
        shape = (rows, *shape[1:])
    dtype = dtype_of(spec.datatype)
    if dtype.kind == "O":
        texts = np.full(shape, "", dtype)
        texts[1::2] = "a"
        return texts
    random = np.random.default_rng(0)
    values = random.standard_normal(shape) if dtype.kind == "f" else random.integers(0, 2, shape)
    if spec.shape[:1] == (-1,):
        values[0] = 0
    return np.asarray(values).astype(dtype)


def _same(one: Array, other: Array) -> bool:
    """Equal to the last bit; two NaN of one form are equal."""
    if one.dtype.kind == "O":
        return bool(one.tolist() == other.tolist())
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _free_by_rows(signature: ModelSignature) -> bool:
    """Whether every tensor has a free first dimension, and no other free one in what goes in."""
    every = (*signature.inputs, *signature.outputs)
    fixed = all(-1 not in spec.shape[1:] for spec in signature.inputs)
    return bool(signature.inputs) and fixed and all(spec.shape[:1] == (-1,) for spec in every)


def way_of(times: Mapping[int, float], *, joinable: bool) -> tuple[Way, int]:
    """How to run a model whose runs of so many rows take so many seconds; and how many rows to join at most.

    ``times`` has an entry for one row. Larger runs are taken as long as each row costs less in them, the
    first by a clear margin, and they end within :data:`~gatewright.serving.limits.JOINED_TIME`.
    """
    rows = 1
    for count in sorted(times) if joinable else ():
        margin = GAIN if rows == 1 else 1.0
        if times[count] * 1000 <= JOINED_TIME.value and margin * times[count] / count < times[rows] / rows:
            rows = count
    if times[1] <= HANDOVER_SECONDS:
        return Way.INLINE, 1
    if rows > 1 and times[rows] / rows + HANDOVER_SECONDS < times[1]:
        return Way.BATCHED, rows
    return (Way.INLINE if times[1] <= INLINE_SECONDS else Way.THREADS), 1


class Engine:
    """A loaded model. ``run`` may be called from one thread at a time or from many.

    ``seconds`` is the time of one row, and ``way`` how requests meet the model; ``joinable`` says whether
    rows come out the same alone and among others, and ``rows`` how many are joined at most. Raises
    BadInput when ONNX Runtime cannot load the bytes or the model does not do what its signature
    says.
    """

    def __init__(self, model: bytes, signature: ModelSignature) -> None:
        if len(model) > MODEL.value:
            raise BadInput("serving.model-too-large", f"The model takes {len(model):,} bytes.")
        self._inputs = tuple(spec.name for spec in signature.inputs)
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._narrow = tuple(spec.datatype is DataType.BF16 for spec in signature.inputs)
        everything = tuple(range(len(self._outputs)))
        row = [_sample(spec, 1) for spec in signature.inputs]
        try:
            self._session, self._begin_run = _session(model)
            self._options = onnxruntime.RunOptions()
            if any(spec.datatype is DataType.BF16 for spec in (*signature.inputs, *signature.outputs)):
                self.run = self._run_values  # type: ignore[method-assign]
            start = thread_time()
            answer = self.run(row, everything)
            self.seconds = thread_time() - start
            if self.seconds < SLOW_SECONDS:  # the first run of a quick model is not like the others
                self.seconds = self._time(row, everything)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises classes of its own, by opset and by build
            raise BadInput("serving.model", "The model does not run.", why=str(error)[:300]) from None
        for array, spec in zip(answer, signature.outputs, strict=True):
            _check_output(array, spec)
        self._times = {1: self.seconds}
        self.joinable = _free_by_rows(signature) and self._gives_the_same_joined(signature)
        self.way, self.rows = way_of(self._times, joinable=self.joinable)
        cheapest = min(took / rows for rows, took in self._times.items())
        most = sum(array.size for array in row) * max(1, int(INLINE_SECONDS / cheapest))
        self._inline_elements = most if self.way is Way.INLINE else -1
        self._lane = Lane(self.run, rows=self.rows, seconds=self.seconds)

    def _time(self, inputs: Sequence[Array], outputs: Sequence[int]) -> float:
        """Processor time of a run, so that a busy machine decides nothing: the best of three where it is quick."""
        best, spent = float("inf"), 0.0
        for _ in range(3):
            start = thread_time()
            self.run(inputs, outputs)
            took = thread_time() - start
            best, spent = min(best, took), spent + took
            if spent > SLOW_SECONDS:
                break
        return best

    def _gives_the_same_joined(self, signature: ModelSignature) -> bool:
        """Whether each row comes out the same, alone or among others; takes the times of several rows.

        Values that the model does not take tell nothing, nor does a model that is too slow to be tried.
        """
        budget, tried = PROBE_SECONDS, 0
        for rows in PROBED_ROWS:
            budget -= 2 * rows * self.seconds
            if budget < 0:
                break
            tried = rows
            if not self._is_same_joined([_sample(spec, rows) for spec in signature.inputs], rows):
                return False
        return tried > 0

    def _is_same_joined(self, joined: list[Array], rows: int) -> bool:
        everything = tuple(range(len(self._outputs)))
        try:
            alone = [self.run([a[row : row + 1] for a in joined], everything) for row in range(rows)]
            together = self.run(joined, everything)
            self._times[rows] = self._time(joined, everything)
        except Exception:  # noqa: BLE001 - ONNX Runtime raises classes of its own, by opset and by build
            return False
        return all(
            _same(np.concatenate([found[place] for found in alone]), array)
            for place, array in enumerate(together)
        )

    @property
    def inline(self) -> bool:
        """Whether one row is answered fast enough to run on the event loop."""
        return self.way is Way.INLINE

    def manner(self) -> dict[str, Any]:
        """How the model is run, for ``gatewright status``: ``joined_rows`` is 1 where none are joined."""
        took = {str(rows): round(seconds * 1e6) for rows, seconds in self._times.items()}
        return {"joined_rows": self.rows, "microseconds": took, "run": str(self.way)}

    @property
    def recent_seconds(self) -> float:
        """What a request takes of a thread's time lately."""
        return self._lane.seconds

    @property
    def joined(self) -> tuple[int, int]:
        """How many joined runs there were, and requests in them."""
        return self._lane.joined_runs, self._lane.joined_requests

    def is_quick(self, inputs: Sequence[Array]) -> bool:
        """Whether this request may run on the event loop."""
        elements = 0
        for array in inputs:
            elements += array.size
        return elements <= self._inline_elements

    def begin(
        self, inputs: Sequence[Array], outputs: tuple[int, ...], threads: Threads, ended: Ended
    ) -> None:
        """The same as ``run``, by one of the threads, which calls ``ended`` with outputs or exception."""
        self._lane.begin(inputs, outputs, threads, ended)

    def run(self, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
        """Outputs at the given places of the signature, for inputs in the signature's order."""
        names = [self._outputs[place] for place in outputs]
        found: list[Array] = self._begin_run(
            names, dict(zip(self._inputs, inputs, strict=True)), self._options
        )
        return found

    def _run_values(self, inputs: Sequence[Array], outputs: Sequence[int]) -> list[Array]:
        """The same where BF16 goes in or comes out, which NumPy does not have; held as FP32 here."""
        names = [self._outputs[place] for place in outputs]
        given = [
            onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bf16_bits(array), _ONNX_BF16)
            if narrow
            else onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
            for array, narrow in zip(inputs, self._narrow, strict=True)
        ]
        found = self._session.run_with_ort_values(names, dict(zip(self._inputs, given, strict=True)))
        return [_array(value) for value in found]


def _session(model: bytes) -> tuple[onnxruntime.InferenceSession, Callable[..., list[Array]]]:
    """A session, and the quickest way to run it.

    The checks that ``InferenceSession.run`` makes in Python before each run take a third of a small
    model's time and look for what the codec has already seen to; where the session underneath cannot
    be had, the documented way is taken.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    session = onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    if getattr(session, "_model_bytes", None) is model:
        session._model_bytes = b""  # noqa: SLF001 - kept for another provider; a model may be gigabytes
    return session, getattr(getattr(session, "_sess", None), "run", session.run)


def _array(value: onnxruntime.OrtValue) -> Array:
    """The content of a value that came out."""
    if value.element_type() != _ONNX_BF16:
        found: Array = value.numpy()
        return found
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return of_bf16_bits(np.frombuffer(raw, "<u2")).reshape(value.shape())


def _check_output(array: object, spec: TensorSpec) -> None:
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype == dtype_of(spec.datatype)
        and array.ndim == len(spec.shape)
        and all(fixed in {-1, size} for size, fixed in zip(array.shape, spec.shape, strict=True))
    )
    if not fits:
        raise BadInput("serving.model", f"The model's output {spec.name!r} is not what its signature says.")
