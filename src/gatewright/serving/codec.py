"""Bytes to tensors and back: Open Inference Protocol v2, JSON.

One :class:`Codec` is made for each loaded release, from its signature. It takes unknown fields, a
flat or a nested ``data``, and ``binary_data_output`` (answered in JSON, which clients accept). It
refuses what it cannot answer for: binary tensors, shared memory, tensors that the signature does
not name, values that do not fit.

Types: a float tensor may be sent in any float type and an integer tensor in any integer type that
holds the values; integers may be sent for floats where none loses a digit. In a float tensor ``null``
is a missing cell, and becomes NaN; every other type has none. What is committed to in the receipt is
the tensor in the *signature's* type, as the model saw it, each NaN in its one form (see
:mod:`gatewright.models.tensors`).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from gatewright.models.signature import DataType, ModelSignature, TensorSpec
from gatewright.models.tensors import TENSORS_MAGIC, dtype_of, raw_of
from gatewright.serving.admission import BINARY_REFUSED, Turned
from gatewright.serving.limits import (
    DEPTH,
    DIMENSIONS,
    ELEMENTS,
    REQUEST_ID,
    ROWS,
    TENSOR_NAME,
    TENSORS,
    TEXT,
)

Array = NDArray[Any]
Family: TypeAlias = type[float] | type[int] | type[bool] | type[str]

SHOWN_NAMES = 12
OBJECTS = 4 * TENSORS.value + 4
"""Most JSON objects of a request: each tensor and its parameters, asked for and given."""
_NESTED = re.compile(rb"\s*\[\s*\[")
# Possessive, and taking an unclosed string whole: every byte is looked at once, whatever is sent.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = np.zeros(256, np.int64)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SIZES = tuple(struct.Struct(f"<B{rank}QQ") for rank in range(DIMENSIONS.value + 1))
_FLOATS = frozenset({DataType.FP16, DataType.FP32, DataType.FP64})
_LARGEST = {kind: float(np.finfo(dtype_of(kind)).max) for kind in _FLOATS}
FEW = 256
"""Up to so many values a look at each costs less than calling NumPy to do it."""
_BY_NAME: dict[str, DataType] = {str(kind): kind for kind in DataType}
_FAMILY: dict[DataType, Family] = {
    **dict.fromkeys(DataType, int),
    **dict.fromkeys(_FLOATS, float),
    DataType.BOOL: bool,
    DataType.BYTES: str,
}


class WireInput(msgspec.Struct):
    """One input tensor of a request, its data still as text."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw(b"")
    parameters: msgspec.Raw = msgspec.Raw(b"")


class WireOutput(msgspec.Struct):
    """One output that a request asks for."""

    name: str
    parameters: msgspec.Raw = msgspec.Raw(b"")


class WireRequest(msgspec.Struct):
    """A request; fields that are not here are not looked at."""

    inputs: list[WireInput]
    id: str | None = None
    outputs: list[WireOutput] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that fits the signature.

    ``id`` is the caller's, or None; ``inputs`` are arrays in the signature's order, type and shape;
    ``outputs`` the places, in the signature, of the outputs that are to be answered.
    """

    id: str | None
    inputs: tuple[Array, ...]
    outputs: tuple[int, ...]


_REQUEST = msgspec.json.Decoder(WireRequest)
_ENCODE = msgspec.json.Encoder().encode
_NULL = "got `null`"
"""What the decoder says of a null where it wants a value."""


def _list_decoder(family: Family, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = float | None if family is float else family
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


_FAMILIES: tuple[Family, ...] = (float, int, bool, str)
_FLAT = {family: _list_decoder(family, 1) for family in _FAMILIES}
_DEEP = {
    (family, depth): _list_decoder(family, depth)
    for family in _FLAT
    for depth in range(1, DIMENSIONS.value + 1)
}


def _plain(error: Exception) -> str:
    """A decoder's complaint as half a sentence: bounded, and about the caller's text only."""
    return str(error)[:200].rstrip(".")


def check_depth(body: bytes) -> None:
    """Refuse deep nesting before any parser recurses; linear in the length of the body."""
    if body.count(b"[") + body.count(b"{") <= DEPTH.value:
        return
    brackets = _STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS)
    if brackets.count(b"{") > OBJECTS:
        raise Turned(400, f"A request names at most {TENSORS.value:,} inputs and as many outputs.")
    levels = np.cumsum(_STEPS[np.frombuffer(brackets, np.uint8)])
    if levels.size and int(levels.max()) > DEPTH.value:
        raise Turned(400, f"The JSON is nested deeper than {DEPTH.value} levels.")


def read_request(body: bytes) -> WireRequest:
    """The request's frame, or 400."""
    check_depth(body)
    try:
        request = _REQUEST.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Turned(400, f"The body is not an inference request: {_plain(error)}.") from None
    if request.id is not None and len(request.id) > REQUEST_ID.value:
        raise Turned(400, f"The id has more than {REQUEST_ID.value} characters.")
    if max(len(request.inputs), len(request.outputs or ())) > TENSORS.value:
        raise Turned(400, f"A request names at most {TENSORS.value:,} inputs and as many outputs.")
    return request


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[: TENSOR_NAME.value]) for name in names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES} more"


def _flatten(values: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    """Row-major values of a nested list; that there are enough rows is the caller's count to see."""
    for size in shape[1:]:
        if any(len(part) != size for part in values):
            raise Turned(400, f"The data of {name!r} is not nested as its shape {list(shape)} says.")
        values = list(chain.from_iterable(values))
    return values


def _values(wire: WireInput, family: Family, name: str) -> list[Any]:
    """The tensor's values, flat and in row-major order."""
    raw = bytes(wire.data)
    if not raw:
        raise Turned(400, f"The input {name!r} has no data.")
    try:
        if _NESTED.match(raw):
            return _flatten(_DEEP[family, len(wire.shape)].decode(raw), wire.shape, name)
        found: list[Any] = _FLAT[family].decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unfit(name, wire.datatype, _plain(error)) from None
    return found


def _unfit(name: str, kind: str, why: str) -> Turned:
    if _NULL in why and kind not in _FLOATS:
        return Turned(
            400,
            f"The input {name!r} was sent as {kind}, which has no missing cells: null stands in floats only.",
        )
    return Turned(400, f"The data of {name!r} does not fit {kind}: {why}.")


def _not_held(name: str, kind: str) -> Turned:
    return Turned(400, f"The input {name!r} has a value that {kind} cannot hold.")


def _all_within(values: list[Any], largest: float) -> bool:
    """Whether every value is a number that the type holds; a null is none."""
    try:
        return bool(-largest <= min(values) and max(values) <= largest)
    except (TypeError, ValueError):
        return False


def _floats(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    if wire in _FLOATS:
        if len(values) <= FEW and _all_within(values, _LARGEST[spec.datatype]):
            return np.array(values, dtype_of(spec.datatype))
        with np.errstate(over="ignore"):
            array = np.array(values, dtype_of(spec.datatype))
        if not np.isfinite(array).all():
            if np.isinf(array).any():
                raise _not_held(spec.name, spec.datatype)
            array[np.isnan(array)] = np.nan  # JSON has no NaN: these are the nulls, each in its one form
        return array
    whole = _integers(values, wire, spec.name)
    with np.errstate(over="ignore"):
        array = whole.astype(dtype_of(spec.datatype))
    if array.tolist() != whole.tolist():
        raise _not_held(spec.name, spec.datatype)
    return array


def _integers(values: list[Any], kind: DataType, name: str) -> Array:
    try:
        return np.array(values, dtype_of(kind))
    except OverflowError:
        raise _not_held(name, kind) from None


def _whole(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    array = _integers(values, wire, spec.name)
    return array if wire is spec.datatype else _integers(values, spec.datatype, spec.name)


def _truths(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    del wire, spec
    return np.array(values, np.bool_)


def _texts(values: list[Any], wire: DataType, spec: TensorSpec) -> Array:
    del wire
    if any(len(text) * 4 > TEXT.value and len(text.encode()) > TEXT.value for text in values):
        raise Turned(400, f"A text in {spec.name!r} is longer than {TEXT.value:,} bytes.")
    return np.array(values, np.object_)


_MAKERS: dict[Family, Callable[[list[Any], DataType, TensorSpec], Array]] = {
    float: _floats,
    int: _whole,
    bool: _truths,
    str: _texts,
}


def _sent(wire: WireInput, spec: TensorSpec) -> DataType:
    """The type the caller sends, when the signature's type can take it."""
    sent = _BY_NAME.get(wire.datatype)
    if sent is None:
        raise Turned(400, f"The input {spec.name!r} has the unknown datatype {wire.datatype[:40]!r}.")
    sent_family, family = _FAMILY[sent], _FAMILY[spec.datatype]
    if sent_family is family or (sent_family is int and family is float):
        return sent
    raise Turned(400, f"The input {spec.name!r} is {spec.datatype} and cannot be sent as {sent}.")


def _check_shape(shape: list[int], spec: TensorSpec) -> int:
    """Number of elements, computed without overflow, when the shape fits the signature."""
    if len(shape) > DIMENSIONS.value:
        raise Turned(400, f"The input {spec.name!r} has more than {DIMENSIONS.value} dimensions.")
    fits = len(shape) == len(spec.shape) and all(
        sent >= 1 and fixed in {-1, sent} for sent, fixed in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        columns = f"; its columns are {_names(spec.columns)}" if spec.columns else ""
        raise Turned(
            400, f"The input {spec.name!r} has shape {shape}; the model takes {list(spec.shape)}{columns}."
        )
    if shape and shape[0] > ROWS.value:
        raise Turned(400, f"The input {spec.name!r} has {shape[0]:,} rows; the limit is {ROWS.value:,}.")
    count = math.prod(shape)
    if count > ELEMENTS.value:
        raise Turned(400, f"The input {spec.name!r} has {count:,} elements; the limit is {ELEMENTS.value:,}.")
    return count


class _InputReader:
    """Reads one input of a signature; what is the same for every request is worked out once."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec
        self._tail = list(spec.shape[1:])
        self._plain = spec.shape[:1] == (-1,) and -1 not in self._tail
        self._elements = math.prod(self._tail)
        self._make = _MAKERS[_FAMILY[spec.datatype]]

    def _count(self, shape: list[int]) -> int:
        """Number of elements; the usual shape is recognised at once, any other one is gone through."""
        usual = self._plain and shape[1:] == self._tail and 1 <= shape[0] <= ROWS.value
        count = shape[0] * self._elements if usual else 0
        return count if 0 < count <= ELEMENTS.value else _check_shape(shape, self._spec)

    def read(self, wire: WireInput) -> Array:
        """The tensor, in the signature's type; raises Turned (400)."""
        spec, raw = self._spec, bytes(wire.parameters)
        if raw and b"binary_data_size" in raw:
            raise Turned(400, BINARY_REFUSED)
        if raw and b"shared_memory" in raw:
            raise Turned(400, "Shared memory is not offered here.")
        sent = _sent(wire, spec)
        count = self._count(wire.shape)
        values = _values(wire, _FAMILY[sent], spec.name)
        if len(values) != count:
            raise Turned(
                400, f"The input {spec.name!r} has {len(values):,} values; its shape asks for {count:,}."
            )
        return self._make(values, sent, spec).reshape(wire.shape)


def _finite(array: Array, values: list[float]) -> bool:
    """Whether all are numbers."""
    if len(values) <= FEW:
        return all(map(math.isfinite, values))
    return bool(np.isfinite(array).all())


def _title(spec: TensorSpec) -> bytes:
    """What the encodings of one named tensor begin with; see :mod:`gatewright.models.tensors`."""
    name, kind = spec.name.encode(), spec.datatype.encode()
    return b"".join((_U32.pack(len(name)), name, bytes((len(kind),)), kind))


def encode_tensors(titles: Sequence[bytes], arrays: Sequence[Array]) -> bytes:
    """Equal to :func:`gatewright.models.tensors.encode_arrays`, with the constant parts made before."""
    parts = [TENSORS_MAGIC, _U32.pack(len(arrays))]
    for title, array in zip(titles, arrays, strict=True):
        raw = raw_of(array) if array.dtype.kind == "O" else array.tobytes()
        rank = array.ndim
        sizes = _SIZES[rank].pack(rank, *array.shape, len(raw))
        parts += (_U64.pack(len(title) + len(sizes) + len(raw)), title, sizes, raw)
    return b"".join(parts)


class Codec:
    """Reads requests for one release and writes its answers."""

    def __init__(self, signature: ModelSignature) -> None:
        self._inputs = signature.inputs
        self._readers = tuple((spec.name, _InputReader(spec)) for spec in signature.inputs)
        self._outputs = signature.outputs
        self._places = {spec.name: place for place, spec in enumerate(signature.outputs)}
        self._all_outputs = tuple(range(len(signature.outputs)))
        self._input_titles = tuple(_title(spec) for spec in signature.inputs)
        self._output_titles = tuple(_title(spec) for spec in signature.outputs)
        self._heads = tuple(
            b'{"name":%b,"datatype":"%b","shape":' % (_ENCODE(spec.name), spec.datatype.encode())
            for spec in signature.outputs
        )

    def read(self, body: bytes) -> Asked:
        """Tensors of a request; raises Turned (400) with the reason when anything does not fit."""
        request = read_request(body)
        wires = {wire.name: wire for wire in request.inputs}
        self._check_names(request, wires)
        inputs = tuple([reader.read(wires[name]) for name, reader in self._readers])
        if len(inputs) > 1:
            self._check_together(inputs)
        return Asked(request.id, inputs, self._asked_outputs(request.outputs))

    def _check_names(self, request: WireRequest, wires: dict[str, WireInput]) -> None:
        if len(wires) != len(request.inputs):
            raise Turned(400, "An input is given twice.")
        missing = [spec.name for spec in self._inputs if spec.name not in wires]
        if missing:
            raise Turned(400, f"Missing inputs: {_names(missing)}.")
        if len(wires) != len(self._inputs):
            extra = sorted(set(wires) - {spec.name for spec in self._inputs})
            raise Turned(400, f"The model has no inputs named {_names(extra)}.")

    def _check_together(self, inputs: tuple[Array, ...]) -> None:
        rows = {
            array.shape[0]
            for array, spec in zip(inputs, self._inputs, strict=True)
            if spec.shape and spec.shape[0] == -1
        }
        if len(rows) > 1:
            raise Turned(400, f"The inputs have different numbers of rows: {sorted(rows)}.")
        if sum(array.size for array in inputs) > ELEMENTS.value:
            raise Turned(400, f"The inputs have more than {ELEMENTS.value:,} elements together.")

    def _asked_outputs(self, wires: list[WireOutput] | None) -> tuple[int, ...]:
        if not wires:
            return self._all_outputs
        for wire in wires:
            if b"shared_memory" in bytes(wire.parameters) or b'"classification"' in bytes(wire.parameters):
                raise Turned(400, "Only plain tensors are answered here.")
        unknown = [wire.name for wire in wires if wire.name not in self._places]
        if unknown:
            raise Turned(400, f"The model has no outputs named {_names(unknown)}.")
        places = tuple(self._places[wire.name] for wire in wires)
        if len(set(places)) != len(places):
            raise Turned(400, "An output is asked for twice.")
        return places

    def inputs_encoding(self, arrays: Sequence[Array]) -> bytes:
        """What the record commits to as input."""
        return encode_tensors(self._input_titles, arrays)

    def outputs_encoding(self, arrays: Sequence[Array], places: tuple[int, ...]) -> bytes:
        """What the record commits to as output: the tensors that are answered, in that order."""
        return encode_tensors([self._output_titles[place] for place in places], arrays)

    def write(self, arrays: Sequence[Array], places: tuple[int, ...]) -> bytes:
        """The ``outputs`` of an answer, as JSON; raises Turned (500) for a value JSON cannot hold."""
        parts = []
        for array, place in zip(arrays, places, strict=True):
            values = array.ravel().tolist()
            if array.dtype.kind == "f" and not _finite(array, values):
                name = self._outputs[place].name
                raise Turned(500, f"The model's output {name!r} is not a finite number for these inputs.")
            parts.append(b'%b%b,"data":%b}' % (self._heads[place], _ENCODE(array.shape), _ENCODE(values)))
        return b"[" + b",".join(parts) + b"]"
