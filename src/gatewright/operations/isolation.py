"""Hostile bytes meet a parser only in a child process that has nothing to lose.

The child (``children``) runs in its own session with an empty environment, an empty private
folder, closed descriptors, limits on memory, time, files and tasks, and, where the kernel lets an
ordinary user make namespaces, without a network. What it answers is checked before it is believed,
and never unpickled. A child that crashes, exceeds a limit or answers nonsense is a refusal.

Not promised: that a parser exploit cannot read files the user can read. The child has the user's
eyes; it lacks hands (no file writing where limits hold) and a network to tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gatewright.datasets.table import Table
from gatewright.datasets.table_format import decode_table
from gatewright.kernel.digests import Digest
from gatewright.kernel.errors import BadInput, DependencyFailed, GatewrightError, Refused
from gatewright.models.facts import ModelFacts, decode_facts
from gatewright.models.feeds import feeds
from gatewright.models.formats import refuse_unless_onnx
from gatewright.models.signature import ModelSignature, TensorSpec
from gatewright.models.tensors import array_of, dtype_of, encode_arrays, read_tensors
from gatewright.operations.child_process import Ended, converse
from gatewright.operations.child_protocol import (
    EXIT_CANNOT_START,
    EXIT_MEMORY,
    REFUSAL,
    RESULT,
    Job,
    Limits,
    decode_refusal,
    pack,
    unpack,
)

_T = TypeVar("_T")

_MIB = 1024**2
_GIB = 1024**3

# Address space, not resident memory: an interpreter with its readers maps 0.6 to 2 GiB untouched.
INSPECT_LIMITS = Limits(memory_bytes=2 * _GIB, seconds=60, answer_bytes=64 * _MIB)
TABLE_LIMITS = Limits(memory_bytes=6 * _GIB, seconds=120, answer_bytes=2 * _GIB, tasks=64)
PREDICT_LIMITS = Limits(memory_bytes=4 * _GIB, seconds=300, answer_bytes=2 * _GIB, tasks=64)
INSPECT_MEMORY_PER_BYTE = 4
TABLE_MEMORY_PER_BYTE = 16
TABLE_BYTES_PER_SECOND = 2 * _MIB  # a fifth of what one idle core reads
PREDICT_MEMORY_PER_BYTE = 6

BATCH_ROWS = 1_024
SAMPLES = 1_000
WARM_UP = 20
SAMPLE_SECONDS = 10.0
PROBABILITY_TOLERANCE = 1e-3

_OUT_OF_MEMORY = (b"MemoryError", b"bad_alloc", b"memory allocation of", b"Cannot allocate memory")
_DATA_JOBS = (Job.READ_CSV, Job.READ_PARQUET)
_DATA_CODES = {
    "crash": "datasets.parser-crash",
    "memory": "datasets.parser-memory",
    "timeout": "datasets.parser-timeout",
}
_MODEL_CODES = {
    "crash": "models.parser-crash",
    "memory": "models.parser-memory",
    "timeout": "models.parser-timeout",
}
_PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a child gave back, and what protected us from it, in words."""

    data: bytes
    protections: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model gave for all rows.

    ``outputs`` maps output names to arrays whose first dimension is the rows (texts as objects of
    ``bytes``); ``single_row`` holds wall-clock seconds of single-row calls on one thread, shape (m,);
    ``peak_memory_bytes`` is the child's peak resident size.
    """

    outputs: Mapping[str, NDArray[Any]]
    single_row: NDArray[np.float64]
    peak_memory_bytes: int
    protections: tuple[str, ...]


def inspect_model(data: bytes) -> ModelFacts:
    """The facts about a model file; raises :class:`Refused` for whatever is not a plain ONNX model."""
    refusal = refuse_unless_onnx(data, "the model file")
    if refusal is not None:
        raise Refused.of(refusal)
    limits = _with_memory(INSPECT_LIMITS, INSPECT_MEMORY_PER_BYTE * len(data))
    answer = run_isolated(Job.INSPECT_ONNX, data, limits=limits)
    facts = _believed(Job.INSPECT_ONNX, lambda: decode_facts(answer.data))
    if facts.digest != Digest.of(data) or facts.bytes != len(data):
        raise _nonsense(Job.INSPECT_ONNX)
    return facts


def load_table(data: bytes, name: str) -> Table:
    """The table in a CSV or Parquet file, told apart by content.

    Raises :class:`BadInput` with the exact place of the first fault, and :class:`Refused` where the
    reader crashes or exceeds a limit.
    """
    limits = _with_memory(TABLE_LIMITS, TABLE_MEMORY_PER_BYTE * len(data))
    packed = pack([name.encode("utf-8", "replace"), data])
    job = Job.READ_PARQUET if data.startswith(_PARQUET) else Job.READ_CSV
    seconds = limits.seconds + len(data) // TABLE_BYTES_PER_SECOND
    limits = replace(limits, seconds=seconds, tasks=0 if job is Job.READ_CSV else limits.tasks)
    answer = run_isolated(job, packed, limits=limits)
    return _believed(job, lambda: decode_table(answer.data))


def predict(
    model: bytes, signature: ModelSignature, columns: Mapping[str, NDArray[Any]], *, samples: int = SAMPLES
) -> Prediction:
    """Run a model on all rows in a child, and time ``samples`` single-row calls.

    ``columns`` is what ``models.feeds.feeds`` takes. Raises :class:`BadInput` where the columns do
    not fit, and :class:`Refused` where the model does not run within the limits, or answers with
    other shapes or types than its signature says, numbers that are not finite, or scores that are
    not probabilities.
    """
    inputs = feeds(signature, columns)
    rows = min((len(values) for values in inputs.values()), default=0)
    if not rows:
        raise BadInput("models.no-rows", "There are no rows to predict.")
    plan = {
        "batch": BATCH_ROWS,
        "outputs": [spec.name for spec in signature.outputs],
        "rows": rows,
        "sample_seconds": SAMPLE_SECONDS,
        "samples": samples,
        "warm_up": WARM_UP,
    }
    packed = pack([json.dumps(plan).encode("utf-8"), model, encode_arrays(list(inputs.items()))])
    limits = _with_memory(PREDICT_LIMITS, PREDICT_MEMORY_PER_BYTE * len(packed))
    answer = run_isolated(Job.PREDICT, packed, limits=limits)
    found = _believed(Job.PREDICT, lambda: _prediction(answer))
    _require_outputs(signature, found.outputs, rows)
    return found


def run_isolated(job: Job, arguments: bytes, *, limits: Limits) -> Answer:
    """Do a named job in a child process.

    Raises the child's own refusal (:class:`BadInput` or :class:`Refused`); :class:`Refused` with
    ``<area>.parser-crash``, ``-timeout`` or ``-memory`` where it fails or answers nonsense; and
    :class:`DependencyFailed` where it cannot be started.
    """
    ended = converse(job, arguments, limits)
    ready, answer = frames(ended.output)
    if ended.timed_out:
        raise _failure(job, "timeout", f"It did not end within {limits.seconds} seconds.")
    if ended.status == EXIT_CANNOT_START:
        raise DependencyFailed(
            "operations.child-start",
            "The isolated reader cannot be started.",
            why=ended.errors.decode("utf-8", "replace")[-300:].strip(),
            next="Install what it needs: pip install 'gatewright[studio]'.",
        )
    if ended.status != 0:
        raise _crash(job, ended, limits)
    if answer is None or ready is None:
        raise _nonsense(job)
    if answer[:1] == REFUSAL:
        raise _believed(job, lambda: decode_refusal(answer[1:]))
    if answer[:1] != RESULT:
        raise _nonsense(job)
    return Answer(data=answer[1:], protections=_believed(job, lambda: protections(ready)))


def frames(output: bytes) -> tuple[bytes | None, bytes | None]:
    """The two frames of an answer; None for what is not there or not alone."""
    try:
        parts = unpack(output)
    except BadInput:
        return None, None
    return (parts[0], parts[1]) if len(parts) == 2 else (None, None)


def protections(ready: bytes) -> tuple[str, ...]:
    """What a child's first frame says of what protects from it."""
    return tuple(str(item) for item in json.loads(ready))


def _with_memory(limits: Limits, more: int) -> Limits:
    return replace(limits, memory_bytes=limits.memory_bytes + more)


def _failure(job: Job, reason: str, why: str) -> Refused:
    codes, subject = (_DATA_CODES, "The data file") if job in _DATA_JOBS else (_MODEL_CODES, "The model")
    return Refused(
        codes[reason],
        f"{subject} could not be read safely, so it is refused.",
        why=why,
        next="If you made the file yourself, write it again with current software and try once more.",
    )


def out_of_memory(ended: Ended) -> bool:
    """Whether a child ended because it wanted more memory than it may have."""
    return ended.status == EXIT_MEMORY or any(mark in ended.errors for mark in _OUT_OF_MEMORY)


def _crash(job: Job, ended: Ended, limits: Limits) -> Refused:
    if out_of_memory(ended):
        return _failure(
            job, "memory", f"Its reader wanted more than {limits.memory_bytes // _MIB:,} MiB of memory."
        )
    if ended.flooded:
        return _failure(job, "crash", f"Its reader answered with more than {limits.answer_bytes:,} bytes.")
    how = f"signal {-ended.status}" if ended.status < 0 else f"status {ended.status}"
    return _failure(job, "crash", f"Its reader ended with {how}.")


def _nonsense(job: Job) -> Refused:
    return _failure(job, "crash", "Its reader gave an answer that does not hold.")


def _believed(job: Job, read: Callable[[], _T]) -> _T:
    """What an answer means, where it means anything."""
    try:
        return read()
    except (GatewrightError, AttributeError, KeyError, TypeError, ValueError):
        raise _nonsense(job) from None


def _prediction(answer: Answer) -> Prediction:
    timing_json, tensors = unpack(answer.data)
    timing = json.loads(timing_json)
    return Prediction(
        outputs={
            tensor.name: array_of(tensor.datatype, tensor.shape, tensor.raw)
            for tensor in read_tensors(tensors)
        },
        single_row=np.array(timing["single_row"], dtype=np.float64),
        peak_memory_bytes=int(timing["peak_memory_bytes"]),
        protections=answer.protections,
    )


def _require_outputs(signature: ModelSignature, outputs: Mapping[str, NDArray[Any]], rows: int) -> None:
    for spec in signature.outputs:
        values = outputs.get(spec.name)
        if values is None or not _fits(spec, values, rows):
            raise Refused(
                "models.output-shape",
                f"The output {spec.name!r} is not what the model declares.",
                why=f"Declared {spec.datatype} {list(spec.shape)}, found "
                f"{'nothing' if values is None else f'{values.dtype} {list(values.shape)}'}.",
                next="Export the model again with true output types and shapes.",
                place=f"output {spec.name!r}",
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0]) + 1
            raise Refused(
                "models.not-finite",
                f"The model answers with numbers that are not finite in the output {spec.name!r}.",
                next="Handle missing values before or inside the model.",
                place=f"output {spec.name!r}, row {row}",
            )
    if signature.scores_output:
        _require_probabilities(signature, outputs[signature.scores_output])


def _fits(spec: TensorSpec, values: NDArray[Any], rows: int) -> bool:
    if values.ndim != len(spec.shape) or values.shape[0] != rows:
        return False
    return values.dtype == dtype_of(spec.datatype) and all(
        want in (-1, got) for want, got in zip(spec.shape[1:], values.shape[1:], strict=True)
    )


def _require_probabilities(signature: ModelSignature, scores: NDArray[Any]) -> None:
    values = scores.reshape(len(scores), -1).astype(np.float64)
    width = values.shape[1]
    if width != len(signature.classes) and not (width == 1 and len(signature.classes) == 2):
        raise Refused(
            "models.class-count",
            f"The model scores {width} classes, and the data has {len(signature.classes)}.",
            next="Give the data the model was trained on.",
            place=f"output {signature.scores_output!r}",
        )
    off = (values < -PROBABILITY_TOLERANCE) | (values > 1 + PROBABILITY_TOLERANCE)
    sums = values.sum(axis=1)
    if off.any() or (width > 1 and (np.abs(sums - 1) > PROBABILITY_TOLERANCE).any()):
        raise Refused(
            "models.not-probabilities",
            f"The scores in the output {signature.scores_output!r} are not probabilities.",
            why="They leave [0, 1] or do not add up to 1; they may be logits or margins.",
            next="End the model with Softmax (several classes) or Sigmoid (one score), or train with "
            "probability=True.",
            place=f"output {signature.scores_output!r}",
        )
