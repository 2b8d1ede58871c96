"""Bytes to tensors and back: the Open Inference Protocol v2, in JSON and with binary tensors.

One :class:`Codec` is made for each loaded release, from its signature. Unknown fields, and a flat or
a nested ``data``, are taken; an input may come, and an output may be asked for, as JSON or as binary
data. It refuses what it cannot answer for: shared memory, tensors that the signature does not name,
values that do not fit (:mod:`gatewright.serving.inputs`).

What is committed to in the receipt is the tensor in the *signature's* type, as the model saw it,
each NaN in its one form (see :mod:`gatewright.models.tensors`), whichever way it came.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from gatewright.models.signature import DataType, ModelSignature, TensorSpec
from gatewright.models.tensors import TENSORS_MAGIC, raw_of
from gatewright.serving.admission import Turned
from gatewright.serving.frames import (
    TOO_MANY,
    WireInput,
    WireOutput,
    WireRequest,
    check_id,
    check_subject,
    cut,
    read_request,
    split,
)
from gatewright.serving.inputs import FEW, InputReader, SentTensor, listed
from gatewright.serving.limits import DIMENSIONS, ELEMENTS, TENSORS

Array = NDArray[Any]
Raw: TypeAlias = Callable[[Array], bytes]

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SIZES = tuple(struct.Struct(f"<B{rank}QQ") for rank in range(DIMENSIONS.value + 1))
_NONE: frozenset[int] = frozenset()
_ENCODE = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Asked:
    """A request that fits the signature.

    ``id`` is the caller's, or None; ``inputs`` are arrays in the signature's order, type and shape;
    ``outputs`` the places, in the signature, of the outputs that are to be answered; ``subject`` whom
    the request is about, where the caller says so; ``binary`` the places of the outputs that are to
    be answered as binary data; ``named`` whether the request names its outputs.
    """

    id: str | None
    inputs: tuple[Array, ...]
    outputs: tuple[int, ...]
    subject: str | None = None
    binary: frozenset[int] = _NONE
    named: bool = False


def _finite(array: Array, values: list[float]) -> bool:
    """Whether all are numbers."""
    if len(values) <= FEW:
        return all(map(math.isfinite, values))
    return bool(np.isfinite(array).all())


SHAPES = 64
"""The heads of so many shapes of a tensor are kept; a caller may send any number of rows."""


class _Layout:
    """How the encodings of one tensor begin; what depends on its shape alone is made once for each shape.

    ``raw`` lays out the data of an array whose NaNs have their one form.
    """

    def __init__(self, spec: TensorSpec) -> None:
        name, kind = spec.name.encode(), spec.datatype.encode()
        self._title = b"".join((_U32.pack(len(name)), name, bytes((len(kind),)), kind))
        self._json = b'{"name":%b,"datatype":"%b","shape":' % (_ENCODE(spec.name), kind)
        self._fixed = spec.datatype is not DataType.BYTES
        self._heads: dict[tuple[int, ...], bytes] = {}
        self._json_heads: dict[tuple[int, ...], bytes] = {}
        self.raw: Raw = np.ndarray.tobytes
        if spec.datatype in (DataType.BYTES, DataType.BF16):
            self.raw = lambda array: raw_of(array, spec.datatype)

    def head(self, shape: tuple[int, ...], size: int) -> bytes:
        """What stands before ``size`` bytes of data in the tensor encoding."""
        found = self._heads.get(shape)
        if found is None:
            rank = len(shape)
            sizes = _SIZES[rank].pack(rank, *shape, size)
            found = b"".join((_U64.pack(len(self._title) + len(sizes) + size), self._title, sizes))
            if self._fixed and len(self._heads) < SHAPES:
                self._heads[shape] = found
        return found

    def json_head(self, shape: tuple[int, ...]) -> bytes:
        """What stands before the data, or the parameters, in a JSON answer."""
        found = self._json_heads.get(shape)
        if found is None:
            found = self._json + _ENCODE(shape)
            if len(self._json_heads) < SHAPES:
                self._json_heads[shape] = found
        return found


def _encoded(tensors: Sequence[_Layout], arrays: Sequence[Array]) -> bytes:
    """Equal to :func:`gatewright.models.tensors.encode_typed`, with the constant parts made before."""
    parts = [TENSORS_MAGIC, _U32.pack(len(arrays))]
    for tensor, array in zip(tensors, arrays, strict=True):
        raw = tensor.raw(array)
        parts += (tensor.head(array.shape, len(raw)), raw)
    return b"".join(parts)


class Codec:
    """Reads requests for one release and writes its answers."""

    def __init__(self, signature: ModelSignature) -> None:
        self._inputs = signature.inputs
        self._readers = tuple((spec.name, InputReader(spec)) for spec in signature.inputs)
        self._outputs = signature.outputs
        self._places = {spec.name: place for place, spec in enumerate(signature.outputs)}
        self._all_outputs = tuple(range(len(signature.outputs)))
        self._everything = frozenset(self._all_outputs)
        self._input_tensors = tuple(map(_Layout, signature.inputs))
        self._output_tensors = tuple(map(_Layout, signature.outputs))

    def read(self, body: bytes, header: int | None = None) -> Asked:
        """A REST request; raises Turned (400) with the reason when anything does not fit.

        ``header`` is the length in bytes of its JSON, where binary data may follow, else None: the whole
        body is JSON.
        """
        data = None
        if header is not None:
            body, data = split(body, header)
        request = read_request(body)
        wires = {wire.name: wire for wire in request.inputs}
        self._check_names(wires, len(request.inputs))
        raws = None if data is None else cut(request.inputs, data)
        inputs = tuple([reader.read(wires[name], raws) for name, reader in self._readers])
        if len(inputs) > 1:
            self._check_together(inputs)
        asked = Asked(request.id, inputs, self._all_outputs)
        if request.outputs or request.parameters is not None:
            self._read_wishes(request, asked)
        return asked

    def take(
        self,
        tensors: Sequence[SentTensor],
        outputs: Sequence[str] = (),
        *,
        request_id: str | None = None,
        subject: str | None = None,
    ) -> Asked:
        """A request that came as tensors, under the same rules; raises Turned (400).

        ``outputs`` names those that are to be answered, all where it is empty; all are to be answered as
        binary data. An empty ``request_id`` or ``subject`` is one.
        """
        if max(len(tensors), len(outputs)) > TENSORS.value:
            raise Turned(400, TOO_MANY)
        check_id(request_id)
        if subject is not None:
            check_subject(subject)
        sent = {tensor.name: tensor for tensor in tensors}
        self._check_names(sent, len(tensors))
        inputs = tuple([reader.take(sent[name]) for name, reader in self._readers])
        if len(inputs) > 1:
            self._check_together(inputs)
        places = self._named(outputs) if outputs else self._all_outputs
        return Asked(request_id, inputs, places, subject, self._everything, bool(outputs))

    def _check_names(self, sent: dict[str, WireInput] | dict[str, SentTensor], count: int) -> None:
        if len(sent) != count:
            raise Turned(400, "An input is given twice.")
        missing = [spec.name for spec in self._inputs if spec.name not in sent]
        if missing:
            raise Turned(400, f"Missing inputs: {listed(missing)}.")
        if len(sent) != len(self._inputs):
            extra = sorted(set(sent) - {spec.name for spec in self._inputs})
            raise Turned(400, f"The model has no inputs named {listed(extra)}.")

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

    def _read_wishes(self, request: WireRequest, asked: Asked) -> None:
        """Put into ``asked`` whom the request is about, which outputs it wants, and which as binary data."""
        binary = False
        if request.parameters is not None:
            asked.subject = request.parameters.subject
            if asked.subject is not None:
                check_subject(asked.subject)
            binary = bool(request.parameters.binary_data_output)
        if not request.outputs:
            asked.binary = self._everything if binary else _NONE
            return
        asked.outputs = self._named([wire.name for wire in request.outputs])
        asked.named = True
        asked.binary = frozenset(
            place
            for place, wire in zip(asked.outputs, request.outputs, strict=True)
            if _as_binary(wire, default=binary)
        )

    def _named(self, names: Sequence[str]) -> tuple[int, ...]:
        """The places of the outputs with these names."""
        unknown = [name for name in names if name not in self._places]
        if unknown:
            raise Turned(400, f"The model has no outputs named {listed(unknown)}.")
        places = tuple(self._places[name] for name in names)
        if len(set(places)) != len(places):
            raise Turned(400, "An output is asked for twice.")
        return places

    def inputs_encoding(self, arrays: Sequence[Array]) -> bytes:
        """What the record commits to as input."""
        return _encoded(self._input_tensors, arrays)

    def outputs_encoding(self, arrays: Sequence[Array], places: tuple[int, ...]) -> bytes:
        """What the record commits to as output: the tensors that are answered, in that order.

        NaNs have their one form (:func:`gatewright.models.tensors.settled`) where they may be answered.
        """
        return _encoded([self._output_tensors[place] for place in places], arrays)

    def write(self, arrays: Sequence[Array], places: tuple[int, ...]) -> bytes:
        """The ``outputs`` of an answer, as JSON; raises Turned (500) for a value JSON cannot hold."""
        return b"[%b]" % b",".join(map(self._written, arrays, places))

    def _written(self, array: Array, place: int) -> bytes:
        values = array.ravel().tolist()
        if array.dtype.kind == "f" and not _finite(array, values):
            name = self._outputs[place].name
            raise Turned(500, f"The model's output {name!r} is not a finite number for these inputs.")
        return b'%b,"data":%b}' % (self._output_tensors[place].json_head(array.shape), _ENCODE(values))

    def write_binary(
        self, arrays: Sequence[Array], places: tuple[int, ...], binary: frozenset[int]
    ) -> tuple[bytes, bytes]:
        """The ``outputs`` of an answer, and the binary data that follows its JSON, in that order.

        The outputs at the places ``binary`` are binary, the others JSON as :meth:`write` has it.
        """
        parts, raws = [], []
        for array, place in zip(arrays, places, strict=True):
            if place not in binary:
                parts.append(self._written(array, place))
                continue
            tensor = self._output_tensors[place]
            raw = tensor.raw(array)
            parts.append(
                b'%b,"parameters":{"binary_data_size":%d}}' % (tensor.json_head(array.shape), len(raw))
            )
            raws.append(raw)
        return b"[%b]" % b",".join(parts), b"".join(raws)

    def raw_outputs(self, arrays: Sequence[Array], places: tuple[int, ...]) -> list[bytes]:
        """The binary data of each output, as the protocol's binary tensor extension lays it out."""
        return [self._output_tensors[place].raw(array) for array, place in zip(arrays, places, strict=True)]


def _as_binary(wire: WireOutput, *, default: bool) -> bool:
    """Whether an output is to be binary; raises Turned (400) for what is not offered."""
    given = wire.parameters
    if given is None:
        return default
    if bytes(given.shared_memory_region) or bytes(given.classification):
        raise Turned(400, "Only plain tensors are answered here.")
    return default if given.binary_data is None else given.binary_data
