"""The child's job of running a model: a plan, the model and its inputs in; outputs and timings out."""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gatewright.kernel.errors import Refused
from gatewright.models.signature import DataType
from gatewright.models.tensors import (
    array_of,
    bf16_bits,
    datatype_of,
    encode_typed,
    of_bf16_bits,
    read_tensors,
)
from gatewright.operations.child_protocol import pack, unpack

Run: TypeAlias = "Callable[[list[str], Mapping[str, NDArray[Any]]], list[NDArray[Any]]]"

_BF16 = "tensor(bfloat16)"
_ONNX_BF16 = 16
"""Its number in ONNX's list of element types."""
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB on Linux


def work(data: bytes) -> bytes:
    """Packed JSON of the timings and encoded outputs; raises :class:`Refused` where it does not run."""
    plan_json, model, tensors = unpack(data)
    plan = json.loads(plan_json)
    feeds = _feeds(tensors)
    try:
        session = _session(model)
        run = _runner(session)
        outputs = _run(run, plan, feeds)
        samples = _single_rows(run, plan, feeds)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the runtime's own error types all mean: it does not run
        raise Refused(
            "models.cannot-run",
            "ONNX Runtime cannot run the model on this data.",
            why=f"It says: {str(error)[:500]}",
            next="Run it with onnxruntime where it was exported, and export it again.",
        ) from None
    narrow = {each.name for each in session.get_outputs() if each.type == _BF16}
    named = [
        (name, DataType.BF16 if name in narrow else datatype_of(values.dtype), values)
        for name, values in zip(plan["outputs"], map(np.asarray, outputs), strict=True)
    ]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    timing = {"peak_memory_bytes": peak, "single_row": samples}
    return pack([json.dumps(timing).encode("ascii"), encode_typed(named)])


def _feeds(tensors: bytes) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for tensor in read_tensors(tensors):
        values = array_of(tensor.datatype, tensor.shape, tensor.raw)
        if tensor.datatype is DataType.BYTES:  # the runtime takes texts as str
            texts = [element.decode("utf-8") for element in values.ravel()]
            values = np.array(texts, dtype=np.object_).reshape(values.shape)
        found[tensor.name] = values
    return found


def _session(model: bytes) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _runner(session: Any) -> Run:
    """How the model is run on arrays; BF16, which NumPy does not have, is held as FP32 outside it."""
    narrow = {each.name for each in session.get_inputs() if each.type == _BF16}
    if not narrow and all(each.type != _BF16 for each in session.get_outputs()):
        found: Run = session.run
        return found

    def run(outputs: list[str], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        given = {
            name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bf16_bits(values), _ONNX_BF16)
            if name in narrow
            else ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values))
            for name, values in feeds.items()
        }
        return [_array(value) for value in session.run_with_ort_values(outputs, given)]

    return run


def _array(value: Any) -> NDArray[Any]:
    if value.element_type() != _ONNX_BF16:
        found: NDArray[Any] = value.numpy()
        return found
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return of_bf16_bits(np.frombuffer(raw, "<u2")).reshape(value.shape())


def _run(run: Run, plan: Mapping[str, Any], feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Every wanted output for all rows, computed in bounded batches."""
    rows, batch = plan["rows"], plan["batch"]
    parts = [
        run(plan["outputs"], {name: values[at : at + batch] for name, values in feeds.items()})
        for at in range(0, rows, batch)
    ]
    for at, part in enumerate(parts):
        expected = min(batch, rows - at * batch)
        if any(np.ndim(values) == 0 or len(values) != expected for values in part):
            raise ValueError("an output does not have one entry per row")
    return [np.concatenate(values) for values in zip(*parts, strict=True)]


def _single_rows(run: Run, plan: Mapping[str, Any], feeds: Mapping[str, NDArray[Any]]) -> list[float]:
    """Wall-clock seconds of single-row calls, after warming up, within the time for it."""
    rows, samples = plan["rows"], []
    ends = time.perf_counter() + plan["sample_seconds"]
    for call in range(plan["warm_up"] + plan["samples"]):
        row = call % rows
        feed = {name: values[row : row + 1] for name, values in feeds.items()}
        begin = time.perf_counter()
        run(plan["outputs"], feed)
        end = time.perf_counter()
        if call >= plan["warm_up"]:
            samples.append(end - begin)
        if end > ends and samples:
            break
    return samples
